//! Chunked bodies: found whole first, then moved together in place.
//!
//! Invariants:
//! 1. However many pieces a body arrives in, it is the same body; a chunk is looked at once.
//! 2. Sizes are hexadecimal digits, extensions and trailers are of RFC 9112's form, lines end in
//!    CR LF, and nothing else passes.
//! 3. A body is at most [`BODY_BYTES_MAX`] bytes, its chunks and trailers with it at most
//!    [`REGION_BYTES_MAX`].

use crate::limits::{BODY_BYTES_MAX, HEAD_BYTES_MAX, WINDOW_BYTES_MAX};
use crate::wire::answer::Fault;
use crate::wire::http::is_token;

/// A line with a chunk's size, or a trailer line, is at most this long.
const LINE_BYTES_MAX: usize = 1024;

/// Bytes of a body with all that frames it, so that a request always fits the window.
const REGION_BYTES_MAX: usize = BODY_BYTES_MAX + HEAD_BYTES_MAX - 2 * LINE_BYTES_MAX;

/// How far the scan of a body has come.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Scan {
    /// Where the next chunk's size is, from the start of the body.
    at: u32,
    /// Bytes of all chunks before it.
    body: u32,
}

/// A chunked body that is all there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Whole {
    /// Bytes that it takes up with its chunks' sizes.
    pub(super) bytes: usize,
    /// Bytes of its content.
    pub(super) body_bytes: usize,
}

impl Scan {
    /// Goes on scanning; `None` while the body is not all there.
    pub(super) fn advance(&mut self, input: &[u8]) -> Result<Option<Whole>, Fault> {
        loop {
            let at = self.at as usize;
            let Some((size, line_bytes)) = size_line(&input[at..])? else { break };
            let start = at + line_bytes;
            if size == 0 {
                // They are looked at from the first for each piece that comes: they are as few as
                // a head's.
                let most = REGION_BYTES_MAX.saturating_sub(start).min(HEAD_BYTES_MAX);
                let trailers = trailers_end(&input[start..], most)?;
                let body_bytes = self.body as usize;
                return Ok(trailers.map(|bytes| Whole { bytes: start + bytes, body_bytes }));
            }
            if self.body as usize + size > BODY_BYTES_MAX || start + size > REGION_BYTES_MAX {
                return Err(Fault::BodyTooLarge);
            }
            let end = start + size;
            match input.get(end..) {
                None | Some([] | [b'\r']) => break,
                Some([b'\r', b'\n', ..]) => {}
                Some(_) => return Err(Fault::Malformed),
            }
            self.at = u32::try_from(end + 2).expect("a body is bounded far below 4 GiB");
            self.body += u32::try_from(size).expect("a body is bounded far below 4 GiB");
        }
        Ok(None)
    }
}

/// A line without its end, and its bytes with it; `None` while it is not all there.
fn line(input: &[u8]) -> Result<Option<(&[u8], usize)>, Fault> {
    let front = &input[..input.len().min(LINE_BYTES_MAX)];
    let Some(at) = front.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
        return if front.len() < LINE_BYTES_MAX { Ok(None) } else { Err(Fault::Malformed) };
    };
    match input[at..] {
        [b'\r'] => Ok(None),
        [b'\r', b'\n', ..] => Ok(Some((&input[..at], at + 2))),
        _ => Err(Fault::Malformed),
    }
}

/// The size of a chunk and the bytes of its line; extensions are ignored.
fn size_line(input: &[u8]) -> Result<Option<(usize, usize)>, Fault> {
    let Some((line, bytes)) = line(input)? else { return Ok(None) };
    let digits = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
    let (digits, after) = line.split_at(digits);
    if digits.is_empty() || digits.len() > 16 || !are_extensions(after) {
        return Err(Fault::Malformed);
    }
    let nibble = |digit: u8| char::from(digit).to_digit(16).map_or(0, |nibble| nibble as usize);
    let size = digits.iter().fold(0_usize, |size, digit| (size << 4) | nibble(*digit));
    if size > BODY_BYTES_MAX { Err(Fault::BodyTooLarge) } else { Ok(Some((size, bytes))) }
}

/// Whether these are extensions of a chunk, or none.
fn are_extensions(mut rest: &[u8]) -> bool {
    while !rest.is_empty() {
        let Some(extension) = skip_blanks(rest).strip_prefix(b";") else { return false };
        let Some(after) = skip_token(skip_blanks(extension)) else { return false };
        rest = after;
        if let Some(value) = skip_blanks(rest).strip_prefix(b"=") {
            let value = skip_blanks(value);
            let after = skip_token(value).or_else(|| skip_quoted(value));
            let Some(after) = after else { return false };
            rest = after;
        }
    }
    true
}

fn skip_blanks(text: &[u8]) -> &[u8] {
    let blanks = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    &text[blanks..]
}

/// What follows a token; `None` if there is none.
fn skip_token(text: &[u8]) -> Option<&[u8]> {
    let end = text.iter().position(|byte| !is_token(&[*byte])).unwrap_or(text.len());
    (end > 0).then_some(&text[end..])
}

/// What follows a quoted string; `None` if there is none.
fn skip_quoted(text: &[u8]) -> Option<&[u8]> {
    let mut rest = text.strip_prefix(b"\"")?;
    loop {
        rest = match rest {
            [b'"', after @ ..] => return Some(after),
            [b'\\', byte, after @ ..] if is_text(*byte) => after,
            [byte, after @ ..] if is_text(*byte) && *byte != b'\\' => after,
            _ => return None,
        };
    }
}

/// Whether a byte may stand in a field's value.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7F)
}

/// Whether a line is a field with its value.
fn is_field(line: &[u8]) -> bool {
    let Some(colon) = line.iter().position(|byte| *byte == b':') else { return false };
    is_token(&line[..colon]) && line[colon..].iter().all(|byte| is_text(*byte))
}

/// The bytes of all trailers with the empty line behind them.
fn trailers_end(input: &[u8], bytes_max: usize) -> Result<Option<usize>, Fault> {
    let mut at = 0;
    while let Some((line, bytes)) = line(&input[at..])? {
        at += bytes;
        if at > bytes_max {
            return Err(Fault::HeadTooLarge);
        }
        if line.is_empty() {
            return Ok(Some(at));
        }
        if !is_field(line) {
            return Err(Fault::Malformed);
        }
    }
    if input.len() > bytes_max { Err(Fault::HeadTooLarge) } else { Ok(None) }
}

/// Moves the chunks of a whole body to its front; returns the content.
pub(super) fn join(input: &mut [u8], whole: Whole) -> &mut [u8] {
    let (mut from, mut to) = (0, 0);
    while to < whole.body_bytes {
        let found = size_line(&input[from..]).ok().flatten();
        let (size, line_bytes) = found.expect("the body was scanned before");
        let start = from + line_bytes;
        input.copy_within(start..start + size, to);
        to += size;
        from = start + size + 2;
    }
    assert!(to == whole.body_bytes, "the chunks are what the scan found");
    &mut input[..to]
}

const _: () = assert!(HEAD_BYTES_MAX + REGION_BYTES_MAX + LINE_BYTES_MAX < WINDOW_BYTES_MAX);
