//! A connection before its upgrade: requests in, one at a time, and their answers.
//!
//! Invariants:
//! 1. Exactly one final answer leaves for each request, in order.
//! 2. A fault in where a request ends closes the connection; any other leaves it open.
//!
//! A request that is not all there costs no second look at what was seen, but for its head.

use crate::api::{Refusal, Reply};
use crate::wire::answer::{self, Fault, Kind, Manner};
use crate::wire::body::{self, Scan};
use crate::wire::calls;
use crate::wire::codec::{Codec, Step};
use crate::wire::encode;
use crate::wire::http::{self, Head, Length};
use crate::wire::routes::{Call, Method, Route};
use crate::wire::session::Port;
use crate::wire::text::push;
use crate::wire::upgrade::{self, Verdict};

/// The HTTP state of one connection.
pub(super) struct Exchange {
    port: Port,
    /// How the awaited answer is to be given.
    owed: Option<Manner>,
    /// The awaited answer has begun.
    is_streaming: bool,
    /// Of the request that is not all there yet.
    progress: Progress,
    is_begun: bool,
    has_continued: bool,
    /// An empty line came in front of the request.
    has_skipped: bool,
    /// The time when it was last looked at, seconds since the epoch; 0: unknown.
    seconds: u32,
    is_ended: bool,
    pub(super) is_closed: bool,
    pub(super) is_upgraded: bool,
}

/// What is known of a request that is not all there yet.
#[derive(Clone, Copy, Default)]
struct Progress {
    /// Nothing new can be said before there are so many bytes.
    wanted: u32,
    scan: Scan,
}

/// A request that is all there: its bytes, and where its content is in them.
struct Extent {
    bytes: usize,
    content: Content,
}

enum Content {
    Plain,
    Chunked(body::Whole),
}

impl Extent {
    /// What the request carries; chunks are joined in place.
    fn body<'i>(&self, head: &Head, input: &'i mut [u8]) -> &'i [u8] {
        let body = &mut input[head.bytes..self.bytes];
        match self.content {
            Content::Plain => body,
            Content::Chunked(whole) => body::join(body, whole),
        }
    }
}

impl Exchange {
    pub(super) fn new(port: Port) -> Exchange {
        Exchange {
            port,
            owed: None,
            is_streaming: false,
            progress: Progress::default(),
            is_begun: false,
            has_continued: false,
            has_skipped: false,
            seconds: 0,
            is_ended: false,
            is_closed: false,
            is_upgraded: false,
        }
    }

    pub(super) fn is_awaiting(&self) -> bool {
        self.owed.is_some()
    }

    pub(super) fn is_begun(&self) -> bool {
        self.is_begun
    }

    pub(super) fn end_of_input(&mut self) {
        self.is_ended = true;
    }

    /// Nothing is known of a request.
    fn forget_progress(&mut self) {
        self.progress = Progress::default();
        self.is_begun = false;
        self.has_continued = false;
        self.has_skipped = false;
    }

    /// See [`crate::wire::session::Session::next`].
    pub(super) fn next<'a>(
        &mut self,
        codec: &'a mut Codec,
        input: &mut [u8],
        out: &mut Vec<u8>,
    ) -> (usize, Step<'a>) {
        if self.is_awaiting() {
            return (0, Step::More);
        }
        self.seconds = codec.seconds;
        if !self.has_skipped && input.starts_with(b"\r\n") {
            // Some clients end a body with one too much: RFC 9112 has it passed over, and no
            // request is begun by it.
            self.has_skipped = true;
            self.is_begun = false;
            return (2, Step::Handled);
        }
        if input.len() < self.progress.wanted as usize || input.is_empty() {
            return self.more(input);
        }
        let dialect = codec.options.dialect;
        let head = match http::read_head(input, self.port, dialect) {
            Ok(Some(head)) => head,
            Ok(None) => return self.more(input),
            Err(fault) => return self.fail(fault, input, out),
        };
        if head.expects_continue && head.length != Length::Exact(0) && !self.has_continued {
            self.has_continued = true;
            self.is_begun = true;
            push("HTTP/1.1 100 Continue\r\n\r\n", out);
            return (0, Step::Handled);
        }
        let extent = match self.extent(&head, input) {
            Ok(Some(extent)) => extent,
            Ok(None) => return self.more(input),
            Err(fault) => return self.fail(fault, input, out),
        };
        self.forget_progress();
        (extent.bytes, self.take(&head, extent, codec, input, out))
    }

    fn more<'a>(&mut self, input: &[u8]) -> (usize, Step<'a>) {
        self.is_begun = !input.is_empty();
        self.is_closed |= self.is_ended;
        (0, Step::More)
    }

    /// The request does not show where it ends: nothing behind it can be read.
    fn fail<'a>(&mut self, fault: Fault, input: &[u8], out: &mut Vec<u8>) -> (usize, Step<'a>) {
        // Nothing in these bytes is a fault: it is the same however they come.
        let is_head = input.starts_with(b"HEAD ");
        answer::push_fault(fault, &[], Manner { is_head, ..Manner::LAST }, self.seconds, out);
        self.forget_progress();
        self.is_closed = true;
        (input.len(), Step::Handled)
    }

    /// How far the request goes; `None` while it is not all there.
    fn extent(&mut self, head: &Head, input: &[u8]) -> Result<Option<Extent>, Fault> {
        let (bytes, content) = match head.length {
            Length::Exact(length) => (head.bytes + length, Content::Plain),
            Length::Chunked => match self.progress.scan.advance(&input[head.bytes..])? {
                Some(whole) => (head.bytes + whole.bytes, Content::Chunked(whole)),
                None => (input.len() + 1, Content::Plain),
            },
        };
        if input.len() < bytes {
            self.progress.wanted = u32::try_from(bytes).expect("a request is far below 4 GiB");
            return Ok(None);
        }
        Ok(Some(Extent { bytes, content }))
    }

    /// Takes up a request that is all there.
    fn take<'a>(
        &mut self,
        head: &Head,
        extent: Extent,
        codec: &'a mut Codec,
        input: &mut [u8],
        out: &mut Vec<u8>,
    ) -> Step<'a> {
        let manner = Manner {
            keep_alive: head.keep_alive,
            is_old: head.is_old,
            is_head: head.method == Method::Head,
            kind: match head.route {
                Some(Route::Hello) => Kind::Plain,
                Some(Route::Any) => Kind::Bytes,
                _ => Kind::Json,
            },
        };
        if head.method == Method::Connect {
            return self.fault(Fault::NoTunnel, &[], manner, out);
        }
        let origin = head.origin.clone().map(|place| &input[place]);
        if !codec.options.allows(origin) {
            return self.fault(Fault::ForeignPage, &[], manner, out);
        }
        let Some(route) = head.route else { return self.fault(Fault::NotFound, &[], manner, out) };
        if head.method == Method::Options && route != Route::Any {
            return self.preflight(route, head, input, manner, out);
        }
        if !route.allows(head.method) {
            let lines = ["Allow: ", route.allow(), "\r\n"];
            return self.fault(Fault::NotAllowed, &lines, manner, out);
        }
        match route {
            Route::Call(_) if !head.is_readable => {
                self.fault(Fault::UnsupportedBody, &[], manner, out)
            }
            Route::Call(call) => {
                let body = extent.body(head, input);
                self.call(call, manner, codec, body, out)
            }
            Route::Any => {
                self.owed = Some(manner);
                codec.plain.clear();
                codec.plain.extend_from_slice(extent.body(head, input));
                Step::Content(&codec.plain)
            }
            Route::Hello | Route::Server => {
                self.owed = Some(manner);
                Step::Request(crate::api::Request::Hello)
            }
            // HTTP/1.0 knows no upgrade: RFC 9110 has it ignored there.
            Route::WebSocket if head.is_old => self.upgrade(Verdict::Required, manner, out),
            Route::WebSocket => self.upgrade(head.handshake.verdict(), manner, out),
        }
    }

    fn call<'a>(
        &mut self,
        call: Call,
        manner: Manner,
        codec: &'a mut Codec,
        body: &[u8],
        out: &mut Vec<u8>,
    ) -> Step<'a> {
        let Codec { decoder, frame, options, refusal, .. } = codec;
        self.owed = Some(manner);
        match calls::decode(call, &mut decoder.json, body) {
            Ok(request) => Step::Request(request),
            Err(refused) => {
                *refusal = Some(refused);
                self.refuse(refused, options, frame, out)
            }
        }
    }

    fn refuse<'a>(
        &mut self,
        refusal: Refusal,
        options: &crate::wire::session::WireOptions,
        body: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Step<'a> {
        body.clear();
        let status = encode::reply_body(&Reply::Refused(refusal), options, body);
        self.answer(status, body, out);
        Step::Handled
    }

    fn upgrade<'a>(&mut self, verdict: Verdict, manner: Manner, out: &mut Vec<u8>) -> Step<'a> {
        match verdict {
            Verdict::Accepted(key) => {
                upgrade::push_accept(&key, out);
                self.is_upgraded = true;
                Step::Handled
            }
            Verdict::Required => {
                let lines = [
                    "Connection: Upgrade\r\nUpgrade: websocket\r\n",
                    "Sec-WebSocket-Version: 13\r\n",
                ];
                self.fault(Fault::UpgradeRequired, &lines, manner, out)
            }
            Verdict::Malformed => self.fault(Fault::Malformed, &[], manner, out),
        }
    }

    fn preflight<'a>(
        &mut self,
        route: Route,
        head: &Head,
        input: &[u8],
        manner: Manner,
        out: &mut Vec<u8>,
    ) -> Step<'a> {
        answer::push_head(204, manner, self.seconds, out);
        for name in ["Allow: ", "Access-Control-Allow-Methods: "] {
            push(name, out);
            push(route.allow(), out);
            push("\r\n", out);
        }
        push("Access-Control-Allow-Headers: ", out);
        match head.asked_headers.clone() {
            Some(asked) if !asked.is_empty() => out.extend_from_slice(&input[asked]),
            _ => push("Content-Type, Authorization", out),
        }
        push("\r\nAccess-Control-Max-Age: 86400\r\n\r\n", out);
        self.finish(manner);
        Step::Handled
    }

    /// Answers with a fault that leaves the connection as it is.
    fn fault<'a>(
        &mut self,
        fault: Fault,
        lines: &[&str],
        manner: Manner,
        out: &mut Vec<u8>,
    ) -> Step<'a> {
        answer::push_fault(fault, lines, manner, self.seconds, out);
        self.finish(manner);
        Step::Handled
    }

    /// The answer is out.
    fn finish(&mut self, manner: Manner) {
        self.owed = None;
        self.is_streaming = false;
        self.is_closed |= !manner.keep_alive;
    }

    /// Answers the awaited request, whole.
    pub(super) fn answer(&mut self, status: u16, body: &[u8], out: &mut Vec<u8>) {
        let Some(manner) = self.owed.filter(|_| !self.is_streaming && !self.is_closed) else {
            return;
        };
        answer::push_head(status, manner, self.seconds, out);
        answer::push_body(body, manner, out);
        self.finish(manner);
    }

    /// Begins the awaited answer. HTTP/1.0 knows no chunks: there the connection's end ends it.
    pub(super) fn answer_begin(&mut self, out: &mut Vec<u8>) {
        let Some(mut manner) = self.owed.filter(|_| !self.is_streaming && !self.is_closed) else {
            return;
        };
        manner.keep_alive &= !manner.is_old;
        self.owed = Some(manner);
        self.is_streaming = true;
        answer::push_head(200, manner, self.seconds, out);
        push("Content-Type: application/json\r\n", out);
        push(if manner.is_old { "\r\n" } else { "Transfer-Encoding: chunked\r\n\r\n" }, out);
    }

    /// Appends a part of it.
    pub(super) fn answer_part(&mut self, part: &[u8], out: &mut Vec<u8>) {
        match self.owed.filter(|_| self.is_streaming && !self.is_closed) {
            Some(manner) if manner.is_old => out.extend_from_slice(part),
            Some(_) => answer::push_chunk(part, out),
            None => {}
        }
    }

    /// Appends its end.
    pub(super) fn answer_end(&mut self, out: &mut Vec<u8>) {
        let Some(manner) = self.owed.filter(|_| self.is_streaming && !self.is_closed) else {
            return;
        };
        if !manner.is_old {
            push("0\r\n\r\n", out);
        }
        self.finish(manner);
    }

    /// Closes; with `fault` as the last answer if one is owed and none has begun.
    pub(super) fn close(&mut self, is_owed: bool, fault: Fault, out: &mut Vec<u8>) {
        if is_owed && !self.is_streaming && !self.is_closed {
            let is_head = self.owed.is_some_and(|manner| manner.is_head);
            let manner = Manner { is_head, ..Manner::LAST };
            answer::push_fault(fault, &[], manner, self.seconds, out);
        }
        self.owed = None;
        self.forget_progress();
        self.is_closed = true;
    }
}
