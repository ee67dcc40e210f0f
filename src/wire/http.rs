//! Request heads: `httparse` reads the lines, this file judges what they say together.
//!
//! Invariants:
//! 1. Where a body ends is never in doubt: whatever two readers could take differently is 400.
//! 2. The first fault in the order of the bytes decides, however they were cut.
//! 3. A head is at most [`HEAD_BYTES_MAX`] bytes and [`HEADERS_MAX`] lines.

use crate::limits::{BODY_BYTES_MAX, HEAD_BYTES_MAX, HEADERS_MAX};
use crate::wire::answer::Fault;
use crate::wire::codec::Dialect;
use crate::wire::routes::{Method, Route};
use crate::wire::session::Port;
use crate::wire::upgrade::Handshake;
use core::net::Ipv6Addr;
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
    /// The web page that asks, as a place in the head.
    pub(super) origin: Option<Range<usize>>,
}

/// Reads the head at the front of `input`; `None` while it is not all there.
pub(super) fn read_head(input: &[u8], port: Port, dialect: Dialect) -> Result<Option<Head>, Fault> {
    let front = &input[..input.len().min(HEAD_BYTES_MAX)];
    let mut lines = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut lines);
    match request.parse(front) {
        Ok(httparse::Status::Complete(bytes)) => {
            let is_clean = has_whole_line_ends(&front[..bytes]);
            if is_clean {
                judge(&request, front, bytes, (port, dialect)).map(Some)
            } else {
                Err(Fault::Malformed)
            }
        }
        Ok(httparse::Status::Partial) => partial(front),
        Err(httparse::Error::TooManyHeaders) => Err(Fault::HeadTooLarge),
        Err(httparse::Error::Version) => match (later_minor(front), version_fault(front)) {
            (Some(at), _) => {
                let mut known = front.to_vec();
                known[at] = b'1';
                read_head(&known, port, dialect)
            }
            (None, Some(fault)) => Err(fault),
            (None, None) => partial(front),
        },
        Err(_) => Err(Fault::Malformed),
    }
}

/// The rest of a head is awaited, if it can still be short enough.
fn partial(front: &[u8]) -> Result<Option<Head>, Fault> {
    if front.len() < HEAD_BYTES_MAX { Ok(None) } else { Err(too_long(front)) }
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

/// What stands in the request line where the version does, from there on.
fn version(front: &[u8]) -> &[u8] {
    let line = front.trim_ascii_start();
    line.splitn(3, |byte| *byte == b' ').nth(2).unwrap_or(b"?")
}

/// Where a version of HTTP/1 says that it is a later one than is known here: that is read as the
/// last which is (RFC 9110, 2.5).
fn later_minor(front: &[u8]) -> Option<usize> {
    let version = version(front);
    let [minor, b'\r', ..] = version.strip_prefix(b"HTTP/1.")? else { return None };
    let at = front.len() - version.len() + b"HTTP/1.".len();
    (b'2'..=b'9').contains(minor).then_some(at)
}

/// Another version of HTTP, or no HTTP; `None` while that cannot be told.
fn version_fault(front: &[u8]) -> Option<Fault> {
    let mut pattern = b"HTTP/0.0\r".iter();
    for byte in version(front) {
        match pattern.next() {
            Some(b'0') if byte.is_ascii_digit() => {}
            Some(expected) if expected == byte => {}
            Some(_) => return Some(Fault::Malformed),
            None => break,
        }
    }
    pattern.as_slice().is_empty().then_some(Fault::UnknownVersion)
}

/// What the header lines say of the message's frame, gathered line by line.
#[derive(Default)]
struct Lines {
    hosts: u32,
    length: Option<usize>,
    codings: u32,
    coding: Option<Coding>,
    says_close: bool,
    says_keep_alive: bool,
    expectations: u32,
    expects_continue: bool,
    is_unreadable: bool,
    handshake: Handshake,
    asked_headers: Option<Range<usize>>,
    origin: Option<Range<usize>>,
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
            self.coding = coding(value);
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
        } else if is("Origin") {
            self.origin = place_in(head, value);
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
    (port, dialect): (Port, Dialect),
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
        (1, None) if !is_old => match lines.coding {
            Some(Coding::Chunked) => Length::Chunked,
            Some(Coding::ChunkedAtLast) => return Err(Fault::UnknownCoding),
            None => return Err(Fault::Malformed),
        },
        _ => return Err(Fault::Malformed),
    };
    if matches!(length, Length::Exact(length) if length > BODY_BYTES_MAX) {
        return Err(Fault::BodyTooLarge);
    }
    if lines.expectations > 0 && !lines.expects_continue {
        return Err(Fault::UnknownExpectation);
    }
    let method = Method::of(request.method.unwrap_or(""));
    let target = request.path.unwrap_or("");
    if !is_target(target, method) {
        return Err(Fault::Malformed);
    }
    Ok(Head {
        bytes,
        method,
        route: Route::of(target, port, dialect),
        length,
        keep_alive: !lines.says_close && (!is_old || lines.says_keep_alive),
        is_old,
        expects_continue: lines.expects_continue && !is_old,
        is_readable: !lines.is_unreadable,
        handshake: lines.handshake,
        asked_headers: lines.asked_headers,
        origin: lines.origin,
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

/// How a body is coded, where its end can be found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Coding {
    Chunked,
    /// In chunks, and before that otherwise.
    ChunkedAtLast,
}

/// The coding that a line names; `None` where the end of such a body cannot be found, or where two
/// readers could find different ones.
fn coding(value: &[u8]) -> Option<Coding> {
    let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    if is_chunked(value) {
        return Some(Coding::Chunked);
    }
    let mut codings = value.rsplit(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let ends_in_chunks = codings.next().is_some_and(is_chunked);
    let are_others_known = codings.all(|coding| is_token(coding) && !is_chunked(coding));
    (ends_in_chunks && are_others_known).then_some(Coding::ChunkedAtLast)
}

/// Whether this is a target of a form that goes with the method.
fn is_target(target: &str, method: Method) -> bool {
    if !target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return false;
    }
    match method {
        Method::Connect => is_host(target.as_bytes()) && target.contains(':'),
        Method::Options if target == "*" => true,
        _ => target.starts_with('/') || absolute(target).is_some(),
    }
}

/// What follows the authority of a target in absolute form, as proxies get it.
pub(super) fn absolute(target: &str) -> Option<&str> {
    let (scheme, rest) = target.split_once("://")?;
    let is_known = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    (is_known && is_host(authority.as_bytes())).then_some(path)
}

/// Whether this is a token of RFC 9110.
pub(super) fn is_token(word: &[u8]) -> bool {
    let in_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !word.is_empty() && word.iter().all(in_token)
}

/// Whether this is a name or address with or without a port, as a URI of HTTP has them. A comma,
/// which such a name may have, would rather be two lines put together by somebody.
fn is_host(value: &[u8]) -> bool {
    let (host, port) = match value.iter().rposition(|byte| *byte == b':') {
        Some(at) if value[at + 1..].iter().all(u8::is_ascii_digit) => value.split_at(at),
        _ => (value, &[][..]),
    };
    let is_port = port.len() <= 6;
    is_port
        && match host {
            [b'[', address @ .., b']'] => is_address(address),
            name => !name.is_empty() && is_name(name),
        }
}

fn in_name(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+;=".contains(byte)
}

/// Whether these are letters of a name; each percent sign stands before two hexadecimal digits.
fn is_name(name: &[u8]) -> bool {
    let mut parts = name.split(|byte| *byte == b'%');
    let is_escaped = |part: &[u8]| {
        let digits = part.first_chunk::<2>();
        digits.is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit))
    };
    parts.next().is_none_or(|part| part.iter().all(in_name))
        && parts.all(|part| is_escaped(part) && part.iter().all(in_name))
}

/// Whether this is what may stand in brackets: an address of IPv6, or of a kind to come.
fn is_address(address: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(address) else { return false };
    let is_future = |rest: &str| {
        let Some((version, address)) = rest.split_once('.') else { return false };
        let is_part = |byte: &u8| in_name(byte) || *byte == b':';
        let is_hex = version.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hex
            && !version.is_empty()
            && !address.is_empty()
            && address.as_bytes().iter().all(is_part)
    };
    text.parse::<Ipv6Addr>().is_ok() || text.strip_prefix(['v', 'V']).is_some_and(is_future)
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
