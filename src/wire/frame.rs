//! WebSocket frames by RFC 6455: headers judged, payloads unmasked, frames written.
//!
//! Invariants:
//! 1. A frame is judged from its header alone, before any of its payload is there.
//! 2. Only what the RFC lets a client send passes: masked, no reserved bits, known opcodes, the
//!    shortest form of each length, control frames whole and at most 125 bytes.
//! 3. What is written here reads back in tungstenite as the same frame.

use crate::wire::codec::{Dialect, Form};
use crate::wire::session::CloseCode;
use std::io::Cursor;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// The longest header of a client's frame.
pub(super) const HEADER_BYTES_MAX: usize = 14;
/// The most a control frame may carry.
const CONTROL_BYTES_MAX: usize = 125;

/// What a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Text,
    Binary,
    Continuation,
    Close,
    Ping,
    Pong,
}

/// A frame whose header has passed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Header {
    pub(super) kind: Kind,
    /// The last frame of its message.
    pub(super) is_final: bool,
    /// Where the payload begins.
    pub(super) start: usize,
    /// Where the payload ends.
    pub(super) end: usize,
    pub(super) mask: [u8; 4],
}

impl Header {
    /// Reads the header at the front of `input`; `None` while it is not all there. `before` is
    /// what the message has gathered by earlier fragments, if this may continue one.
    pub(super) fn read(
        input: &[u8],
        before: Option<usize>,
        dialect: Dialect,
    ) -> Result<Option<Header>, CloseCode> {
        let front = &input[..input.len().min(HEADER_BYTES_MAX)];
        let mut cursor = Cursor::new(front);
        let parsed = FrameHeader::parse(&mut cursor).map_err(|_| CloseCode::Protocol)?;
        let Some((header, length)) = parsed else { return Ok(None) };
        let start = usize::try_from(cursor.position()).map_err(|_| CloseCode::Protocol)?;
        let Some(mask) = header.mask else { return Err(CloseCode::Protocol) };
        let is_length = start == header.len(length) && length >> 63 == 0;
        if header.rsv1 || header.rsv2 || header.rsv3 || !is_length {
            return Err(CloseCode::Protocol);
        }
        let kind = kind_of(&header, length, before.is_some(), dialect)?;
        let gathered = if kind == Kind::Continuation { before.unwrap_or(0) } else { 0 };
        let length = usize::try_from(length).map_err(|_| CloseCode::TooBig)?;
        if length > dialect.message_bytes_max().saturating_sub(gathered) {
            return Err(CloseCode::TooBig);
        }
        let end = start + length;
        Ok(Some(Header { kind, is_final: header.is_final, start, end, mask }))
    }

    /// The payload of a frame, as far as it is there.
    pub(super) fn payload<'a>(&self, input: &'a [u8]) -> Payload<'a> {
        Payload { masked: &input[self.start..self.end.min(input.len())], mask: self.mask }
    }
}

/// Bytes as a client sent them: under his mask, and left so. Whoever needs them takes a plain copy.
#[derive(Clone, Copy)]
pub(super) struct Payload<'a> {
    masked: &'a [u8],
    mask: [u8; 4],
}

impl<'a> Payload<'a> {
    /// Bytes without a mask: under a mask of zeros they are what they are.
    pub(super) fn plain(bytes: &'a [u8]) -> Payload<'a> {
        Payload { masked: bytes, mask: [0; 4] }
    }

    /// Bytes that lie at `at` of a frame's payload, whose mask began with it.
    pub(super) fn masked(bytes: &'a [u8], mut mask: [u8; 4], at: usize) -> Payload<'a> {
        mask.rotate_left(at % 4);
        Payload { masked: bytes, mask }
    }

    /// What lies behind the first `bytes`.
    pub(super) fn skip(self, bytes: usize) -> Payload<'a> {
        Payload::masked(&self.masked[bytes..], self.mask, bytes)
    }

    pub(super) fn len(self) -> usize {
        self.masked.len()
    }

    /// Writes the bytes without their mask over `plain`, which is as long as they are. Costs what
    /// a copy costs.
    pub(super) fn write_to(self, plain: &mut [u8]) {
        assert!(plain.len() == self.len(), "there is room for all of it and no more");
        let [a, b, c, d] = self.mask;
        let wide = [a, b, c, d, a, b, c, d];
        let (masked, masked_rest) = self.masked.as_chunks::<8>();
        let (words, rest) = plain.as_chunks_mut::<8>();
        for (word, masked) in words.iter_mut().zip(masked) {
            *word = (u64::from_ne_bytes(*masked) ^ u64::from_ne_bytes(wide)).to_ne_bytes();
        }
        for ((byte, masked), mask) in rest.iter_mut().zip(masked_rest).zip(wide) {
            *byte = masked ^ mask;
        }
    }

    /// Appends the bytes without their mask.
    pub(super) fn append_to(self, plain: &mut Vec<u8>) {
        let before = plain.len();
        plain.resize(before + self.len(), 0);
        self.write_to(&mut plain[before..]);
    }
}

/// What the frame is, if it may come now.
fn kind_of(
    header: &FrameHeader,
    length: u64,
    is_continuing: bool,
    dialect: Dialect,
) -> Result<Kind, CloseCode> {
    let control = |kind| {
        let is_whole = header.is_final && length <= CONTROL_BYTES_MAX as u64;
        if is_whole { Ok(kind) } else { Err(CloseCode::Protocol) }
    };
    match header.opcode {
        OpCode::Control(Control::Close) => control(Kind::Close),
        OpCode::Control(Control::Ping) => control(Kind::Ping),
        OpCode::Control(Control::Pong) => control(Kind::Pong),
        OpCode::Data(Data::Continue) if is_continuing => Ok(Kind::Continuation),
        OpCode::Data(Data::Text) if !is_continuing => Ok(Kind::Text),
        OpCode::Data(Data::Binary) if !is_continuing => match dialect {
            Dialect::Chat => Err(CloseCode::Unsupported),
            Dialect::Bare => Ok(Kind::Binary),
        },
        _ => Err(CloseCode::Protocol),
    }
}

/// The code to answer a peer's close frame with: his own, or why it was wrong. `None`: he gave
/// none.
pub(super) fn close_answer(payload: &[u8]) -> Option<u16> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return (!payload.is_empty()).then_some(CloseCode::Protocol as u16);
    };
    let code = u16::from_be_bytes(*code);
    let is_known = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
    match (is_known, simdutf8::basic::from_utf8(reason)) {
        (false, _) => Some(CloseCode::Protocol as u16),
        (true, Err(_)) => Some(CloseCode::BadText as u16),
        (true, Ok(_)) => Some(code),
    }
}

/// Appends a close frame.
pub(super) fn push_close(code: Option<u16>, reason: &str, out: &mut Vec<u8>) {
    let length = code.map_or(0, |_| 2 + reason.len());
    assert!(length <= CONTROL_BYTES_MAX, "a close frame's reason is short");
    out.extend_from_slice(&[0x88, length as u8]);
    if let Some(code) = code {
        out.extend_from_slice(&code.to_be_bytes());
        out.extend_from_slice(reason.as_bytes());
    }
}

/// Appends a ping without payload.
pub(super) fn push_ping(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0x89, 0]);
}

/// Appends the pong that answers a ping.
pub(super) fn push_pong(payload: &[u8], out: &mut Vec<u8>) {
    assert!(payload.len() <= CONTROL_BYTES_MAX, "a ping's payload was judged before");
    out.extend_from_slice(&[0x8A, payload.len() as u8]);
    out.extend_from_slice(payload);
}

/// Appends a message in one frame.
pub(super) fn push_message(form: Form, message: &[u8], out: &mut Vec<u8>) {
    out.reserve(HEADER_BYTES_MAX + message.len());
    out.push(match form {
        Form::Text => 0x81,
        Form::Binary => 0x82,
    });
    match message.len() {
        short @ 0..=125 => out.push(short as u8),
        middling @ 126..=0xFFFF => {
            out.push(126);
            out.extend_from_slice(&(middling as u16).to_be_bytes());
        }
        long => {
            out.push(127);
            out.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(message);
}

/// Appends a text frame around what `write` appends. Room is left for the header of a middling
/// frame; the payload moves by a few bytes when it turns out short or long.
pub(super) fn push_text(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    const ROOM: usize = 4;
    let at = out.len();
    out.extend_from_slice(&[0x81, 126, 0, 0]);
    write(out);
    let start = at + ROOM;
    match out.len() - start {
        short @ 0..=125 => {
            out[at + 1] = short as u8;
            out.copy_within(start.., at + 2);
            out.truncate(at + 2 + short);
        }
        middling @ 126..=0xFFFF => {
            out[at + 2..start].copy_from_slice(&(middling as u16).to_be_bytes());
        }
        long => {
            out.resize(at + 10 + long, 0);
            out.copy_within(start..start + long, at + 10);
            out[at + 1] = 127;
            out[at + 2..at + 10].copy_from_slice(&(long as u64).to_be_bytes());
        }
    }
}
