//! HTTP answers out: heads, bodies of errors, chunks.

use crate::wire::text::{Escaper, push, push_http_date, push_number};
use std::fmt::Write as _;

/// An answer that HTTP itself gives, before any call is understood.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    Malformed,
    ForeignPage,
    NotFound,
    NotAllowed,
    Timeout,
    BodyTooLarge,
    TargetTooLong,
    UnsupportedBody,
    UnknownExpectation,
    UpgradeRequired,
    HeadTooLarge,
    UnknownCoding,
    NoTunnel,
    Unavailable,
    UnknownVersion,
}

impl Fault {
    /// Status, and the `msg` of the body.
    pub(super) fn parts(self) -> (u16, &'static str) {
        match self {
            Fault::Malformed => (400, "malformed request"),
            Fault::ForeignPage => (403, "pages of this origin are not answered"),
            Fault::NotFound => (404, "no such path"),
            Fault::NotAllowed => (405, "this path does not know this method"),
            Fault::Timeout => (408, "the request took too long to arrive"),
            Fault::BodyTooLarge => (413, "the body is above 1 MiB"),
            Fault::TargetTooLong => (414, "the request line is above 16 KiB"),
            Fault::UnsupportedBody => (415, "the body must be plain JSON"),
            Fault::UnknownExpectation => (417, "only 100-continue can be expected"),
            Fault::UpgradeRequired => (426, "this path speaks WebSocket version 13"),
            Fault::HeadTooLarge => (431, "the head is above 16 KiB or 64 lines"),
            Fault::UnknownCoding => (501, "the only transfer coding is chunked"),
            Fault::NoTunnel => (501, "this server is no proxy"),
            Fault::Unavailable => (503, "the server is busy or stopping: try again"),
            Fault::UnknownVersion => (505, "the version must be HTTP/1"),
        }
    }
}

/// What an answer needs to know of its request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Manner {
    /// The connection goes on after the answer.
    pub(super) keep_alive: bool,
    /// HTTP/1.0: no chunks, and keep-alive has to be said.
    pub(super) is_old: bool,
    /// HEAD: no body.
    pub(super) is_head: bool,
    /// What the body is.
    pub(super) kind: Kind,
}

/// What the body of an answer is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Json,
    Plain,
    Bytes,
}

impl Kind {
    fn line(self) -> &'static str {
        match self {
            Kind::Json => "Content-Type: application/json\r\n",
            Kind::Plain => "Content-Type: text/plain; charset=utf-8\r\n",
            Kind::Bytes => "Content-Type: application/octet-stream\r\n",
        }
    }
}

impl Manner {
    /// The manner of an answer after which the connection ends.
    pub(super) const LAST: Manner =
        Manner { keep_alive: false, is_old: false, is_head: false, kind: Kind::Json };
}

/// The reason phrase of a status.
fn phrase(status: u16) -> &'static str {
    match status {
        101 => "Switching Protocols",
        200 => "OK",
        204 => "No Content",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Answer",
    }
}

/// Appends the status line and the header lines that every answer has. `seconds` since the epoch
/// is when it is given; 0 where nobody knows.
pub(super) fn push_head(status: u16, manner: Manner, seconds: u32, out: &mut Vec<u8>) {
    push("HTTP/1.1 ", out);
    push_number(status, out);
    push(" ", out);
    push(phrase(status), out);
    push("\r\nAccess-Control-Allow-Origin: *\r\n", out);
    if seconds > 0 {
        push("Date: ", out);
        push_http_date(seconds, out);
        push("\r\n", out);
    }
    match (manner.keep_alive, manner.is_old) {
        (false, _) => push("Connection: close\r\n", out),
        (true, true) => push("Connection: keep-alive\r\n", out),
        (true, false) => {}
    }
}

/// Appends the rest of a head whose body is in hand, then the body (unless it is HEAD's).
pub(super) fn push_body(body: &[u8], manner: Manner, out: &mut Vec<u8>) {
    if !body.is_empty() {
        push(manner.kind.line(), out);
    }
    push("Content-Length: ", out);
    push_number(body.len(), out);
    push("\r\n\r\n", out);
    if !manner.is_head {
        out.extend_from_slice(body);
    }
}

/// Appends a whole answer that HTTP itself gives; `lines` are further header lines.
pub(super) fn push_fault(
    fault: Fault,
    lines: &[&str],
    manner: Manner,
    seconds: u32,
    out: &mut Vec<u8>,
) {
    let (status, message) = fault.parts();
    push_head(status, manner, seconds, out);
    lines.iter().for_each(|line| push(line, out));
    push("Content-Type: application/json\r\nContent-Length: ", out);
    // {"msg":"","code":000} around the message, in which nothing has to be escaped.
    push_number(message.len() + 21, out);
    push("\r\n\r\n", out);
    if !manner.is_head {
        push_error_body(status, format_args!("{message}"), out);
    }
}

/// Appends `{"msg":..,"code":..}`.
pub(super) fn push_error_body(code: u16, message: std::fmt::Arguments<'_>, out: &mut Vec<u8>) {
    push("{\"msg\":\"", out);
    let written = Escaper { out, levels: 1 }.write_fmt(message);
    assert!(written.is_ok(), "writing to memory does not fail");
    push("\",\"code\":", out);
    push_number(code, out);
    push("}", out);
}

/// Appends one chunk; an empty one would end the body, so it is left out.
pub(super) fn push_chunk(part: &[u8], out: &mut Vec<u8>) {
    if part.is_empty() {
        return;
    }
    let digits = (usize::BITS - part.len().leading_zeros()).div_ceil(4);
    for place in (0..digits).rev() {
        out.push(b"0123456789abcdef"[part.len() >> (place * 4) & 15]);
    }
    push("\r\n", out);
    out.extend_from_slice(part);
    push("\r\n", out);
}
