//! Text out: JSON strings, numbers, dates, by hand. Text in: the wrappings of a token.
//!
//! Invariants:
//! 1. Everything written as a JSON string reads back as the same text.
//!
//! Nothing is allocated but room in the caller's buffer.

use jiff::{Timestamp, tz::Offset};
use std::borrow::Cow;
use std::fmt;

/// Bytes looked at together while nothing has to be escaped.
const STRIDE: usize = 32;

fn needs_escape(byte: u8) -> bool {
    (byte < 0x20) | (byte == b'"') | (byte == b'\\')
}

/// Appends a string with its quotes.
pub(super) fn push_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    push_escaped(text, out);
    out.push(b'"');
}

/// Appends a string with its quotes, or null.
pub(super) fn push_string_or_null(text: Option<&str>, out: &mut Vec<u8>) {
    match text {
        Some(text) => push_string(text, out),
        None => out.extend_from_slice(b"null"),
    }
}

/// Appends what stands between a string's quotes: in one copy up to the first byte that has to be
/// escaped, which is all of most texts.
pub(super) fn push_escaped(text: &str, out: &mut Vec<u8>) {
    let (clean, rest) = text.as_bytes().split_at(clean_bytes(text.as_bytes()));
    out.extend_from_slice(clean);
    for piece in rest.chunks(STRIDE) {
        if is_clean(piece) {
            out.extend_from_slice(piece);
        } else {
            piece.iter().for_each(|byte| push_escaped_byte(*byte, out));
        }
    }
}

/// How many bytes in front need no escape, in whole strides or all of them. What is left behind
/// the last whole stride is looked at together with clean bytes before it, not byte by byte.
fn clean_bytes(text: &[u8]) -> usize {
    let (pieces, rest) = text.as_chunks::<STRIDE>();
    let clean = pieces.iter().take_while(|piece| is_clean(*piece)).count();
    let is_last_clean =
        text.last_chunk::<STRIDE>().map_or_else(|| is_clean(rest), |last| is_clean(last));
    if clean == pieces.len() && is_last_clean { text.len() } else { clean * STRIDE }
}

/// Whether nothing in a piece has to be escaped. All of it is looked at, found or not: so it
/// compiles to a few vector instructions a stride.
#[inline(always)]
fn is_clean(piece: &[u8]) -> bool {
    !piece.iter().fold(false, |found, byte| found | needs_escape(*byte))
}

fn push_escaped_byte(byte: u8, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match byte {
        b'"' => out.extend_from_slice(b"\\\""),
        b'\\' => out.extend_from_slice(b"\\\\"),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        0..0x20 => {
            out.extend_from_slice(b"\\u00");
            out.push(HEX[usize::from(byte >> 4)]);
            out.push(HEX[usize::from(byte & 15)]);
        }
        _ => out.push(byte),
    }
}

/// Appends a number.
pub(super) fn push_number(number: impl itoa::Integer, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends bytes as they are.
pub(super) fn push(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(text.as_bytes());
}

/// Appends `"YYYY-MM-DD HH:MM:SS"` with its quotes. A moment outside the years 0 to 9999 reads as
/// the epoch: it is a date for people, and no clock ever showed it.
pub(super) fn push_date(ms: i64, utc_offset_seconds: i32, out: &mut Vec<u8>) {
    let offset = Offset::from_seconds(utc_offset_seconds).unwrap_or(Offset::UTC);
    let moment = Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH);
    let mut date = offset.to_datetime(moment);
    if date.year() < 0 {
        date = offset.to_datetime(Timestamp::UNIX_EPOCH);
    }
    let year = date.year().unsigned_abs();
    let digits = |number: u16| [b'0' + (number / 10 % 10) as u8, b'0' + (number % 10) as u8];
    out.push(b'"');
    out.extend_from_slice(&digits(year / 100));
    out.extend_from_slice(&digits(year));
    let parts = [date.month(), date.day(), date.hour(), date.minute(), date.second()];
    for (separator, part) in b"-- ::".iter().zip(parts) {
        out.push(*separator);
        out.extend_from_slice(&digits(u16::from(part.unsigned_abs())));
    }
    out.push(b'"');
}

/// Appends a moment, in seconds since the epoch, as HTTP has it: `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(super) fn push_http_date(seconds: u32, out: &mut Vec<u8>) {
    const DAYS: &[u8; 21] = b"ThuFriSatSunMonTueWed";
    const MONTHS: &[u8; 36] = b"MarAprMayJunJulAugSepOctNovDecJanFeb";
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Years begin in March here, so that the day that some of them have more is their last.
    let days_since_0 = days + 719_468;
    let (era, day) = (days_since_0 / 146_097, days_since_0 % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let year = era * 400 + year + u32::from(month >= 10);
    let name = |names: &[u8], at: u32| [0, 1, 2].map(|letter| names[at as usize * 3 + letter]);
    let digits = |number: u32| [b'0' + (number / 10 % 10) as u8, b'0' + (number % 10) as u8];
    out.extend_from_slice(&name(DAYS, days % 7));
    out.extend_from_slice(b", ");
    out.extend_from_slice(&digits(day));
    out.push(b' ');
    out.extend_from_slice(&name(MONTHS, month));
    out.push(b' ');
    out.extend_from_slice(&digits(year / 100));
    out.extend_from_slice(&digits(year));
    for (separator, part) in b" ::".iter().zip([second / 3600, second / 60 % 60, second % 60]) {
        out.push(*separator);
        out.extend_from_slice(&digits(part));
    }
    out.extend_from_slice(b" GMT");
}

/// Escapes what is formatted into it, `levels` times over: 1 inside a JSON string, 2 inside a
/// JSON string inside a JSON string. For words of ours: a control character becomes a space.
pub(super) struct Escaper<'a> {
    pub(super) out: &'a mut Vec<u8>,
    pub(super) levels: u8,
}

impl fmt::Write for Escaper<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            push_nested(byte, self.levels, self.out);
        }
        Ok(())
    }
}

/// Appends a byte escaped `levels` times over.
fn push_nested(byte: u8, levels: u8, out: &mut Vec<u8>) {
    match (levels, byte) {
        (0, _) => out.push(byte),
        (_, b'"' | b'\\') => {
            push_nested(b'\\', levels - 1, out);
            push_nested(byte, levels - 1, out);
        }
        (_, 0..0x20) => push_nested(b' ', 0, out),
        _ => out.push(byte),
    }
}

/// A token without its wrapping: `{'token'}`, `{"token"}` or `{"token":"..."}`; else as it is.
pub(super) fn unwrap_token(content: &str) -> Cow<'_, str> {
    unwrapped(content).unwrap_or(Cow::Borrowed(content))
}

fn unwrapped(content: &str) -> Option<Cow<'_, str>> {
    let inside = content.trim().strip_prefix('{')?.strip_suffix('}')?.trim();
    let quote = inside.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
    let inside = inside.strip_prefix(quote)?.strip_suffix(quote)?;
    let Some((key, value)) = inside.split_once(quote) else { return Some(unescaped(inside)) };
    let value = value.trim_start().strip_prefix(':')?.trim_start().strip_prefix(quote)?;
    (key == "token").then(|| unescaped(value))
}

/// A token with `\x` read as `x`; tokens need no other escapes.
fn unescaped(token: &str) -> Cow<'_, str> {
    if !token.contains('\\') {
        return Cow::Borrowed(token);
    }
    let mut plain = String::with_capacity(token.len());
    let mut letters = token.chars();
    while let Some(letter) = letters.next() {
        plain.push(if letter == '\\' { letters.next().unwrap_or('\\') } else { letter });
    }
    Cow::Owned(plain)
}
