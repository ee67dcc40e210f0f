//! Request heads: `httparse` reads the lines, this file judges what they say together.
//!
//! Invariants:
//! 1. Where a body ends is never in doubt: whatever two readers could take differently is 400.
//! 2. The first fault in the order of the bytes decides, however they were cut.
//! 3. A head is at most [`HEAD_BYTES_MAX`] bytes and [`HEADERS_MAX`] lines.

use crate::limits::{BODY_BYTES_MAX, HEAD_BYTES_MAX, HEADERS_MAX};
use crate::wire::answer::Fault;
use crate::wire::routes::{Method, Route};
use crate::wire::session::Port;
use crate::wire::upgrade::Handshake;
use std::ops::Range;

/// How the end of a body is found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Length {
    Exact(usize),
    Chunked,
}

/// What a head says, as far as it matters here.
#[derive(Debug)]
pub(super) struct Head {
    /// Of the head itself.
    pub(super) bytes: usize,
    pub(super) method: Method,
    pub(super) route: Option<Route>,
    pub(super) length: Length,
    pub(super) keep_alive: bool,
    /// HTTP/1.0.
    pub(super) is_old: bool,
    pub(super) expects_continue: bool,
    /// The body is of a type and coding that is read here.
    pub(super) is_readable: bool,
    pub(super) handshake: Handshake,
    /// The header names that a preflight asks for, as a place in the head.
    pub(super) asked_headers: Option<Range<usize>>,
}

/// Reads the head at the front of `input`; `None` while it is not all there.
pub(super) fn read_head(input: &[u8], port: Port) -> Result<Option<Head>, Fault> {
    let front = &input[..input.len().min(HEAD_BYTES_MAX)];
    let mut lines = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut lines);
    match request.parse(front) {
        Ok(httparse::Status::Complete(bytes)) => {
            let is_clean = has_whole_line_ends(&front[..bytes]);
            if is_clean {
                judge(&request, front, bytes, port).map(Some)
            } else {
                Err(Fault::Malformed)
            }
        }
        Ok(httparse::Status::Partial) if front.len() < HEAD_BYTES_MAX => Ok(None),
        Ok(httparse::Status::Partial) => Err(too_long(front)),
        Err(httparse::Error::TooManyHeaders) => Err(Fault::HeadTooLarge),
        Err(httparse::Error::Version) => Err(version_fault(front)),
        Err(_) => Err(Fault::Malformed),
    }
}

/// Whether every line feed follows a carriage return, and no carriage return stands alone.
fn has_whole_line_ends(head: &[u8]) -> bool {
    let mut before = 0;
    head.iter().all(|byte| {
        let is_whole = (*byte == b'\n') == (before == b'\r');
        before = *byte;
        is_whole
    })
}

/// A head that is too long: of its first line, or of all.
fn too_long(front: &[u8]) -> Fault {
    let first_line = front.trim_ascii_start();
    if first_line.contains(&b'\n') { Fault::HeadTooLarge } else { Fault::TargetTooLong }
}

/// Another version of HTTP, or no HTTP.
fn version_fault(front: &[u8]) -> Fault {
    let line = front.trim_ascii_start();
    let version = line.splitn(3, |byte| *byte == b' ').nth(2).unwrap_or(&[]);
    if version.starts_with(b"HTTP/") { Fault::UnknownVersion } else { Fault::Malformed }
}

/// What the header lines say of the message's frame, gathered line by line.
#[derive(Default)]
struct Lines {
    hosts: u32,
    length: Option<usize>,
    codings: u32,
    is_chunked: bool,
    says_close: bool,
    says_keep_alive: bool,
    expectations: u32,
    expects_continue: bool,
    is_unreadable: bool,
    handshake: Handshake,
    asked_headers: Option<Range<usize>>,
}

impl Lines {
    fn note(&mut self, name: &str, value: &[u8], head: &[u8]) -> Result<(), Fault> {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        if is("Host") {
            if !is_host(value) {
                return Err(Fault::Malformed);
            }
            self.hosts += 1;
        } else if is("Content-Length") {
            let length = content_length(value)?;
            if self.length.is_some_and(|before| before != length) {
                return Err(Fault::Malformed);
            }
            self.length = Some(length);
        } else if is("Transfer-Encoding") {
            self.codings += 1;
            self.is_chunked = value.eq_ignore_ascii_case(b"chunked");
        } else if is("Connection") {
            self.says_close |= has_token(value, "close");
            self.says_keep_alive |= has_token(value, "keep-alive");
            self.handshake.note_connection(value);
        } else if is("Expect") {
            self.expectations += 1;
            self.expects_continue = value.eq_ignore_ascii_case(b"100-continue");
        } else if is("Content-Type") {
            self.is_unreadable |= !is_json_or_text(value);
        } else if is("Content-Encoding") {
            self.is_unreadable |= !value.eq_ignore_ascii_case(b"identity");
        } else if is("Access-Control-Request-Headers") {
            self.asked_headers = place_in(head, value);
        } else {
            self.handshake.note(name, value);
        }
        Ok(())
    }
}

fn judge(
    request: &httparse::Request<'_, '_>,
    front: &[u8],
    bytes: usize,
    port: Port,
) -> Result<Head, Fault> {
    let mut lines = Lines::default();
    for line in request.headers.iter() {
        lines.note(line.name, line.value.trim_ascii(), front)?;
    }
    let is_old = request.version == Some(0);
    if lines.hosts > 1 || (lines.hosts == 0 && !is_old) {
        return Err(Fault::Malformed);
    }
    let length = match (lines.codings, lines.length) {
        (0, length) => Length::Exact(length.unwrap_or(0)),
        (1, None) if !is_old && lines.is_chunked => Length::Chunked,
        (1, None) if !is_old => return Err(Fault::UnknownCoding),
        _ => return Err(Fault::Malformed),
    };
    if matches!(length, Length::Exact(length) if length > BODY_BYTES_MAX) {
        return Err(Fault::BodyTooLarge);
    }
    if lines.expectations > 0 && !lines.expects_continue {
        return Err(Fault::UnknownExpectation);
    }
    let method = Method::of(request.method.unwrap_or(""));
    Ok(Head {
        bytes,
        method,
        route: Route::of(request.path.unwrap_or(""), port),
        length,
        keep_alive: !lines.says_close && (!is_old || lines.says_keep_alive),
        is_old,
        expects_continue: lines.expects_continue && !is_old,
        is_readable: !lines.is_unreadable,
        handshake: lines.handshake,
        asked_headers: lines.asked_headers,
    })
}

/// Digits and nothing else. A number of more digits than fit is too large, whatever it is.
fn content_length(value: &[u8]) -> Result<usize, Fault> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Fault::Malformed);
    }
    let digits = value.iter();
    Ok(digits.fold(0_usize, |length, digit| {
        length.saturating_mul(10).saturating_add(usize::from(digit - b'0'))
    }))
}

/// Whether this is a name or address with or without a port, as a URI has them; or nothing.
fn is_host(value: &[u8]) -> bool {
    let (host, port) = match value.iter().rposition(|byte| *byte == b':') {
        Some(at) if value[at + 1..].iter().all(u8::is_ascii_digit) => value.split_at(at),
        _ => (value, &[][..]),
    };
    let in_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(byte);
    let is_port = port.len() <= 6;
    is_port
        && match host {
            [b'[', address @ .., b']'] => {
                !address.is_empty() && address.iter().all(|byte| in_name(byte) || *byte == b':')
            }
            name => name.iter().all(in_name),
        }
}

/// Whether a comma-separated list holds a token.
pub(super) fn has_token(list: &[u8], token: &str) -> bool {
    let mut tokens = list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    tokens.any(|found| found.eq_ignore_ascii_case(token.as_bytes()))
}

/// Types that JSON is sent as. curl's default is among them: the body is JSON all the same.
fn is_json_or_text(value: &[u8]) -> bool {
    let essence = value.split(|byte| *byte == b';').next().unwrap_or(value).trim_ascii();
    const KNOWN: [&[u8]; 5] = [
        b"",
        b"application/json",
        b"text/json",
        b"text/plain",
        b"application/x-www-form-urlencoded",
    ];
    let ending = &essence[essence.len().saturating_sub(5)..];
    KNOWN.iter().any(|known| essence.eq_ignore_ascii_case(known))
        || ending.eq_ignore_ascii_case(b"+json")
}

/// Where a part of the head lies in it.
fn place_in(head: &[u8], part: &[u8]) -> Option<Range<usize>> {
    let start = part.as_ptr().addr().checked_sub(head.as_ptr().addr())?;
    let place = start..start + part.len();
    (head.get(place.clone())? == part).then_some(place)
}
