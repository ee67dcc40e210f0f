//! One connection's life: HTTP requests one after the other, or one upgrade and then frames.
//!
//! Invariants:
//! 1. A session is small and holds no buffer while idle: [`SESSION_BYTES_MAX`].
//! 2. Answers leave in the order of their requests: no request is decoded before the one before
//!    it is answered.
//! 3. After `is_closing` nothing is decoded and nothing is appended.
//!
//! Left to others: the window of bytes received, the socket, and when a time limit is over.

use crate::api::Refusal;
use crate::ids::{MessageId, UserId};
pub use crate::wire::codec::{Codec, Dialect, ErrorStyle, Form, Step, WireOptions};
use crate::wire::exchange::Exchange;
use crate::wire::websocket::WebSocket;
use crate::wire::{answer::Fault, frame};

/// The size of a [`Session`], asserted below.
pub const SESSION_BYTES_MAX: usize = 64;

/// Which listener a connection came in by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Port {
    /// HTTP calls, and the upgrade at `/ws`.
    Http,
    /// Only the upgrade at `/ws`.
    WebSocket,
}

/// WebSocket close codes that the server starts a close with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub enum CloseCode {
    /// All is said.
    Normal = 1000,
    /// The server is stopping.
    GoingAway = 1001,
    /// The peer broke the WebSocket protocol.
    Protocol = 1002,
    /// A binary frame.
    Unsupported = 1003,
    /// A text frame that is no UTF-8.
    BadText = 1007,
    /// Too many refused frames in a row.
    Policy = 1008,
    /// A message beyond [`crate::limits::FRAME_BYTES_MAX`].
    TooBig = 1009,
    /// The server cannot read what it has stored of the peer.
    Internal = 1011,
    /// A bound was reached; the peer may come again.
    TryAgain = 1013,
    /// The Auth was refused.
    NotAuthenticated = 4401,
    /// There was no Auth in time, or too much before it.
    AuthTimeout = 4408,
    /// A newer connection of the same user took this one's place.
    Replaced = 4409,
}

impl CloseCode {
    /// The reason that a close frame gives with the code.
    pub fn reason(self) -> &'static str {
        match self {
            CloseCode::Normal => "",
            CloseCode::GoingAway => "the server is stopping",
            CloseCode::Protocol => "protocol violation",
            CloseCode::Unsupported => "text frames only",
            CloseCode::BadText => "not UTF-8",
            CloseCode::Policy => "too many refused frames",
            CloseCode::TooBig => "message too large",
            CloseCode::Internal => "stored rows are damaged",
            CloseCode::TryAgain => "too much unsent or unread",
            CloseCode::NotAuthenticated => "not authenticated",
            CloseCode::AuthTimeout => "no Auth in time",
            CloseCode::Replaced => "too many connections of this user",
        }
    }
}

/// One connection's protocol state. Holds no buffer while idle: at most 64 bytes.
pub struct Session {
    phase: Phase,
}

enum Phase {
    Http(Exchange),
    WebSocket(WebSocket),
}

const _: () = assert!(size_of::<Session>() <= SESSION_BYTES_MAX, "an idle session is small");

impl Session {
    /// A fresh connection.
    pub fn new(port: Port) -> Session {
        Session { phase: Phase::Http(Exchange::new(port)) }
    }

    /// Decodes the next thing in `input` (bytes received, not yet consumed; a body's chunks are
    /// joined in place). Returns how many bytes are done with, and what they were. Consumed bytes
    /// must not be given again; the rest must, in front of what comes next.
    /// Protocol answers (pong, 100-continue, 4xx, 101, close frames, Error frames of the wire's own
    /// refusals) go to `out`. After `is_closing` nothing more is decoded: all input is consumed.
    pub fn next<'a>(
        &mut self,
        codec: &'a mut Codec,
        input: &mut [u8],
        out: &mut Vec<u8>,
    ) -> (usize, Step<'a>) {
        let (bytes, dialect) = (input.len(), codec.options.dialect);
        if self.is_closing() {
            return (bytes, Step::More);
        }
        let (consumed, step) = match &mut self.phase {
            Phase::Http(exchange) => exchange.next(codec, input, out),
            Phase::WebSocket(socket) => socket.next(codec, input, out),
        };
        assert!(consumed <= bytes, "no more is consumed than there is");
        if let Phase::Http(Exchange { is_upgraded: true, .. }) = self.phase {
            self.phase = Phase::WebSocket(WebSocket::speaking(dialect));
        }
        (if self.is_closing() { bytes } else { consumed }, step)
    }

    /// The peer half-closed or the socket died. An answer that is owed is still given; what is
    /// decodable in the window still is; then the session is closing.
    pub fn end_of_input(&mut self) {
        match &mut self.phase {
            Phase::Http(exchange) => exchange.end_of_input(),
            Phase::WebSocket(socket) => socket.end_of_input(),
        }
    }

    /// `next` only wants the answer to the request it gave, not bytes.
    pub fn is_awaiting(&self) -> bool {
        match &self.phase {
            Phase::Http(exchange) => exchange.is_awaiting(),
            Phase::WebSocket(socket) => socket.is_asking,
        }
    }

    /// Nothing more is decoded; when `out` has been sent the socket is to be shut down.
    pub fn is_closing(&self) -> bool {
        match &self.phase {
            Phase::Http(exchange) => exchange.is_closed,
            Phase::WebSocket(socket) => socket.is_closed,
        }
    }

    /// Upgraded to WebSocket.
    pub fn is_websocket(&self) -> bool {
        matches!(self.phase, Phase::WebSocket(_))
    }

    /// The authenticated user, also while closing.
    pub fn user(&self) -> Option<UserId> {
        match &self.phase {
            Phase::Http(_) => None,
            Phase::WebSocket(socket) => socket.user,
        }
    }

    /// The 10 s limit applies: some of a request's head or body is there, or a WebSocket has not
    /// authenticated yet.
    pub fn is_unfinished(&self) -> bool {
        match &self.phase {
            Phase::Http(exchange) => exchange.is_begun(),
            Phase::WebSocket(socket) => socket.is_unknown(),
        }
    }

    /// Bytes held (frames before Auth, fragments).
    pub fn held_bytes(&self) -> usize {
        match &self.phase {
            Phase::Http(_) => 0,
            Phase::WebSocket(socket) => socket.held_bytes(),
        }
    }

    /// Auth succeeded: held frames come out of `next` first (even with empty input), in order.
    pub fn welcome(&mut self, user: UserId) {
        if let Phase::WebSocket(socket) = &mut self.phase {
            socket.welcome(user);
        }
    }

    /// Auth was refused: appends an Error frame and a close, 4401 or, if that was not the peer's
    /// fault, 1011.
    pub fn refuse_auth(&mut self, source: Option<MessageId>, refusal: Refusal, out: &mut Vec<u8>) {
        if let Phase::WebSocket(socket) = &mut self.phase {
            socket.refuse_auth(source, refusal, out);
        }
    }

    /// A Send was accepted (its Ack is being written): refusals are counted from 0 again.
    pub fn accepted(&mut self) {
        if let Phase::WebSocket(socket) = &mut self.phase {
            socket.accepted();
        }
    }

    /// Appends an Error frame; the 20th in a row closes with 1008.
    pub fn refuse(&mut self, source: Option<MessageId>, refusal: Refusal, out: &mut Vec<u8>) {
        if let Phase::WebSocket(socket) = &mut self.phase {
            socket.refuse(source, refusal, out);
        }
    }

    /// Appends a whole message (WebSocket only).
    pub fn say(&self, form: Form, message: &[u8], out: &mut Vec<u8>) {
        if self.is_websocket() && !self.is_closing() {
            frame::push_message(form, message, out);
        }
    }

    /// Answers the awaited HTTP request, whole.
    pub fn answer(&mut self, status: u16, body: &[u8], out: &mut Vec<u8>) {
        if let Phase::Http(exchange) = &mut self.phase {
            exchange.answer(status, body, out);
        }
    }

    /// Begins the awaited answer (200, JSON) whose length is not known; then `answer_part`s,
    /// `answer_end`.
    pub fn answer_begin(&mut self, out: &mut Vec<u8>) {
        if let Phase::Http(exchange) = &mut self.phase {
            exchange.answer_begin(out);
        }
    }

    /// A part of it.
    pub fn answer_part(&mut self, body: &[u8], out: &mut Vec<u8>) {
        if let Phase::Http(exchange) = &mut self.phase {
            exchange.answer_part(body, out);
        }
    }

    /// Its end.
    pub fn answer_end(&mut self, out: &mut Vec<u8>) {
        if let Phase::Http(exchange) = &mut self.phase {
            exchange.answer_end(out);
        }
    }

    /// Closes: a close frame on a WebSocket; else 408 (`AuthTimeout`, if a request was begun) or
    /// 503 (other codes, if an answer is owed and not begun); then closing.
    pub fn close(&mut self, code: CloseCode, out: &mut Vec<u8>) {
        match &mut self.phase {
            Phase::WebSocket(socket) => socket.close(code, out),
            Phase::Http(exchange) if code == CloseCode::AuthTimeout => {
                exchange.close(exchange.is_begun(), Fault::Timeout, out);
            }
            Phase::Http(exchange) => {
                let is_owed = exchange.is_awaiting() || exchange.is_begun();
                exchange.close(is_owed, Fault::Unavailable, out);
            }
        }
    }

    /// Appends a Ping frame (WebSocket only).
    pub fn ping(&mut self, out: &mut Vec<u8>) {
        if self.is_websocket() && !self.is_closing() {
            frame::push_ping(out);
        }
    }
}
