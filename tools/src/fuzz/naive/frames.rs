//! Frames as RFC 6455 has them: headers read one after the other, and tungstenite's context, which
//! reads the same bytes.

use anser::limits::FRAME_BYTES_MAX;
use anser::sim::prng::Prng;
use std::io::{self, Read, Write};
use tungstenite::Message;
use tungstenite::error::Error;
use tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};

/// A client's frame; `first` is its first byte.
pub fn masked(first: u8, payload: &[u8], prng: &mut Prng) -> Vec<u8> {
    let mask = if prng.once_in(2) {
        [0; 4]
    } else {
        prng.below(1 << 32).to_le_bytes()[..4].try_into().unwrap_or([0; 4])
    };
    let mut frame = header(first, 0x80, payload.len());
    frame.extend_from_slice(&mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// The first bytes of a frame, up to its mask.
pub fn header(first: u8, is_masked: u8, length: usize) -> Vec<u8> {
    let mut header = vec![first];
    match length {
        0..=125 => header.push(is_masked | length as u8),
        126..=0xFFFF => {
            header.push(is_masked | 126);
            header.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            header.push(is_masked | 127);
            header.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    header
}

/// A frame's header, as it is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Its first byte.
    pub first: u8,
    /// Bytes of the payload.
    pub length: u64,
    /// The mask, if there is one.
    pub mask: Option<[u8; 4]>,
    /// Where the payload begins.
    pub start: usize,
    /// The length takes more bytes than it needs.
    pub is_long: bool,
}

impl Header {
    /// The header at the front; `None`: it is not all there.
    pub fn read(bytes: &[u8]) -> Option<Header> {
        let (&[first, second], rest) = bytes.split_first_chunk()?;
        let (length, size, least) = match second & 0x7F {
            126 => (u64::from(u16::from_be_bytes(*rest.first_chunk()?)), 2, 126),
            127 => (u64::from_be_bytes(*rest.first_chunk()?), 8, 0x1_0000),
            short => (u64::from(short), 0, 0),
        };
        let start = 2 + size;
        let is_long = length < least;
        if second & 0x80 == 0 {
            return Some(Header { first, length, mask: None, start, is_long });
        }
        let mask = *rest.get(size..)?.first_chunk()?;
        Some(Header { first, length, mask: Some(mask), start: start + 4, is_long })
    }

    /// The opcode.
    pub fn opcode(&self) -> u8 {
        self.first & 0x0F
    }

    /// The last of its message.
    pub fn is_final(&self) -> bool {
        self.first & 0x80 != 0
    }

    /// Close, Ping, Pong or what is not known yet.
    pub fn is_control(&self) -> bool {
        self.opcode() >= 8
    }

    /// Codes that this frame may be refused with, when a message has gathered `before` in
    /// fragments. None: it is to be taken.
    pub fn refusals(&self, before: Option<usize>) -> Vec<u16> {
        let mut codes = Vec::new();
        let is_known = matches!(self.opcode(), 0 | 1 | 2 | 8 | 9 | 10);
        let is_whole = self.is_final() && self.length <= 125;
        let is_in_order = self.is_control() || (self.opcode() == 0) == before.is_some();
        let is_well = self.first & 0x70 == 0 && self.mask.is_some() && is_known && is_in_order;
        let is_length = !self.is_long && self.length >> 63 == 0;
        if !is_well || !is_length || (self.is_control() && !is_whole) {
            codes.push(1002);
        }
        if self.opcode() == 2 {
            codes.push(1003);
        }
        let gathered = if self.opcode() == 0 { before.unwrap_or(0) } else { 0 };
        if self.length > FRAME_BYTES_MAX.saturating_sub(gathered) as u64 {
            codes.push(1009);
        }
        codes
    }

    /// The payload without its mask; `None`: it is not all there.
    pub fn payload(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let end = self.start.checked_add(usize::try_from(self.length).ok()?)?;
        let mask = self.mask.unwrap_or([0; 4]);
        let payload = bytes.get(self.start..end)?;
        Some(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect())
    }

    /// Bytes of the whole frame.
    pub fn bytes(&self) -> usize {
        self.start.saturating_add(usize::try_from(self.length).unwrap_or(usize::MAX))
    }
}

/// What tungstenite reads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Seen {
    /// A whole text.
    Text(String),
    /// A ping.
    Ping(Vec<u8>),
    /// A close with this code, or none.
    Close(Option<u16>),
    /// A whole binary message.
    Binary,
    /// A refusal with this code.
    Refused(u16),
}

/// Bytes to read, and nowhere to write to.
struct Source<'b>(&'b [u8]);

impl Read for Source<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        match self.0.read(to) {
            Ok(0) => Err(io::ErrorKind::WouldBlock.into()),
            read => read,
        }
    }
}

impl Write for Source<'_> {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        Ok(from.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// All that tungstenite reads of these bytes, as a server with our limits.
pub fn tungstenite(bytes: &[u8]) -> Vec<Seen> {
    let config = WebSocketConfig::default()
        .read_buffer_size(8 * 1024)
        .max_message_size(Some(FRAME_BYTES_MAX))
        .max_frame_size(Some(FRAME_BYTES_MAX));
    let mut context = WebSocketContext::new(Role::Server, Some(config));
    let (mut source, mut all) = (Source(bytes), Vec::new());
    loop {
        let one = match context.read(&mut source) {
            Ok(Message::Text(text)) => Seen::Text(text.as_str().to_owned()),
            Ok(Message::Ping(payload)) => Seen::Ping(payload.to_vec()),
            Ok(Message::Pong(_)) => continue,
            Ok(Message::Close(close)) => Seen::Close(close.map(|close| close.code.into())),
            Ok(Message::Binary(_) | Message::Frame(_)) => Seen::Binary,
            Err(Error::Io(_)) => return all,
            Err(Error::Capacity(_)) => Seen::Refused(1009),
            Err(Error::Utf8(_)) => Seen::Refused(1007),
            Err(_) => Seen::Refused(1002),
        };
        let is_last = matches!(one, Seen::Close(_) | Seen::Refused(_));
        all.push(one);
        if is_last {
            return all;
        }
    }
}
