//! What is thrown: the frames of messages, or calls.

use crate::load::{frame, words};
use crate::websocket::opcode;
use anyhow::Result;
use serde::Serialize;

/// What is thrown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Frames {
    /// Messages, as `pingpong` and `open` send them, each with its recipient's ack.
    Messages,
    /// Calls, as `ids` makes them.
    Calls,
}

/// Appends the frame by which a connection says its number.
pub fn hello(out: &mut Vec<u8>, number: usize) {
    frame::binary(out, |out| out.extend((number as u64).to_le_bytes()));
}

/// The number, if the frame says it.
pub fn number(frame: &[u8]) -> Option<usize> {
    let is_hello = frame.first()? & 0x0F == opcode::BINARY;
    let number = u64::from_le_bytes(*frame.last_chunk()?);
    is_hello.then(|| usize::try_from(number).ok()).flatten()
}

/// Appends a message.
pub fn message(out: &mut Vec<u8>, from: usize, number: u64) {
    words::message(out, from as i64, (from ^ 1) as i64, id(number), number);
}

/// Appends the ack of a message.
pub fn ack(out: &mut Vec<u8>, number: u64) {
    words::ack(out, id(number));
}

/// Ids as long as real ones.
fn id(number: u64) -> i64 {
    1_000_000_000_000_000_000 + number as i64
}

/// Whether a frame is a message: they alone are long.
pub fn is_message(frame: &[u8]) -> bool {
    frame[1] & 0x7F == 126
}

/// Cuts bytes into frames.
#[derive(Debug, Default)]
pub struct Cutter {
    /// The frame that is not there as a whole.
    rest: Vec<u8>,
}

impl Cutter {
    /// Shows each frame that is whole.
    ///
    /// # Errors
    /// Those of `each`.
    pub fn cut(&mut self, bytes: &[u8], mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let is_first = self.rest.is_empty();
        if !is_first {
            self.rest.extend_from_slice(bytes);
        }
        let all = if is_first { bytes } else { &self.rest[..] };
        let mut at = 0;
        while let Some(length) = frame_bytes(&all[at..]) {
            each(&all[at..at + length])?;
            at += length;
        }
        match is_first {
            true => self.rest.extend_from_slice(&bytes[at..]),
            false => drop(self.rest.drain(..at)),
        }
        Ok(())
    }
}

/// How long the first frame is, a client's with a mask, if all of it is there.
fn frame_bytes(bytes: &[u8]) -> Option<usize> {
    let length = match *bytes {
        [_, length, high, low, ..] if length & 0x7F == 126 => {
            8 + usize::from(u16::from_be_bytes([high, low]))
        }
        [_, length, ..] if length & 0x7F < 126 => 6 + usize::from(length & 0x7F),
        _ => return None,
    };
    (bytes.len() >= length).then_some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_told_apart_however_their_bytes_come() {
        let mut all = Vec::new();
        hello(&mut all, 7);
        message(&mut all, 6, 3);
        ack(&mut all, 3);
        for size in 1..all.len() {
            let (mut cutter, mut seen, mut whole) = (Cutter::default(), Vec::new(), Vec::new());
            for bytes in all.chunks(size) {
                let cut = cutter.cut(bytes, |frame| {
                    seen.push((number(frame), is_message(frame)));
                    whole.extend_from_slice(frame);
                    Ok(())
                });
                cut.expect("each takes all");
            }
            assert_eq!(seen, [(Some(7), false), (None, true), (None, false)], "{size} at a time");
            assert_eq!(whole, all);
        }
    }
}
