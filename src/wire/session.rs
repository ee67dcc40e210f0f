//! STUB: signatures only, to be replaced.
use crate::api::{Refusal, Request};
use crate::ids::{MessageId, UserId};

/// Which listener a connection came in by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Port {
    /// HTTP calls, and the upgrade at `/ws`.
    Http,
    /// Only the upgrade at `/ws`.
    WebSocket,
}

/// What `Session::next` made of the bytes.
#[derive(Debug)]
pub enum Step<'a> {
    /// Nothing can be decoded before more bytes come (or before the awaited answer is given).
    More,
    /// Something was handled without the rules (a ping, a refused frame, an upgrade, a 404): what
    /// there is to send has been appended to `out`. Call again.
    Handled,
    /// For the rules. After an HTTP request `next` says `More` until it is answered. After an Auth
    /// it says `More` until `welcome` or `refuse_auth`.
    Request(Request<'a>),
}

/// One connection's protocol state. Holds no buffer while idle: at most 64 bytes.
pub struct Session {}

/// What all sessions of a shard share: scratch memory for decoding and the wire's settings.
pub struct Codec {}

/// Settings that change bytes on the wire.
#[derive(Clone, Copy, Debug)]
pub struct WireOptions {
    /// Refused calls: 500 (`seed`) or 400/404 (`rest`).
    pub errors: ErrorStyle,
    /// Seconds east of UTC, for `createTime` and its like.
    pub utc_offset_seconds: i32,
}

/// How a call that is understood but refused is answered over HTTP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorStyle {
    /// 500 with code 500.
    Seed,
    /// 400, 404, 409 with the same code.
    Rest,
}

impl Codec {
    /// Scratch memory for one shard.
    pub fn new(_options: WireOptions) -> Codec {
        todo!()
    }
}

/// WebSocket close codes that the server starts a close with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
#[allow(missing_docs)]
pub enum CloseCode {
    Normal = 1000,
    GoingAway = 1001,
    Protocol = 1002,
    Unsupported = 1003,
    BadText = 1007,
    Policy = 1008,
    TooBig = 1009,
    TryAgain = 1013,
    NotAuthenticated = 4401,
    AuthTimeout = 4408,
    Replaced = 4409,
}

impl Session {
    /// A fresh connection.
    pub fn new(_port: Port) -> Session {
        todo!()
    }
    /// Decodes the next thing in `input` (bytes received, not yet consumed; frames are unmasked and
    /// JSON is unescaped in place). Returns how many bytes are done with, and what they were.
    /// Consumed bytes must not be given again; the rest must, in front of what comes next.
    /// Protocol answers (pong, 100-continue, 4xx, 101, close frames, Error frames of the wire's own
    /// refusals) go to `out`. After `is_closing` nothing more is decoded: all input is consumed.
    pub fn next<'a>(
        &mut self,
        _codec: &'a mut Codec,
        _input: &'a mut [u8],
        _out: &mut Vec<u8>,
    ) -> (usize, Step<'a>) {
        todo!()
    }
    /// The peer half-closed or the socket died: whether an unfinished message was cut off.
    pub fn end_of_input(&mut self) {}
    /// `next` only wants the answer to the request it gave, not bytes.
    pub fn is_awaiting(&self) -> bool {
        todo!()
    }
    /// Nothing more is decoded; when `out` has been sent the socket is to be shut down.
    pub fn is_closing(&self) -> bool {
        todo!()
    }
    /// Upgraded to WebSocket.
    pub fn is_websocket(&self) -> bool {
        todo!()
    }
    /// The authenticated user.
    pub fn user(&self) -> Option<UserId> {
        todo!()
    }
    /// A request has begun (some of its head or body is there) or frames are held: the 10 s limit applies.
    pub fn is_unfinished(&self) -> bool {
        todo!()
    }
    /// Bytes held (frames before Auth, fragments).
    pub fn held_bytes(&self) -> usize {
        todo!()
    }
    /// Auth succeeded: held frames come out of `next` first (even with empty input), in order.
    pub fn welcome(&mut self, _user: UserId) {
        todo!()
    }
    /// Auth was refused: appends an Error frame (code 401) and close 4401.
    pub fn refuse_auth(&mut self, _source: Option<MessageId>, _out: &mut Vec<u8>) {
        todo!()
    }
    /// Appends an Error frame; the 20th in a row closes with 1008.
    pub fn refuse(&mut self, _source: Option<MessageId>, _refusal: Refusal, _out: &mut Vec<u8>) {
        todo!()
    }
    /// Answers the awaited HTTP request, whole.
    pub fn answer(&mut self, _status: u16, _body: &[u8], _out: &mut Vec<u8>) {
        todo!()
    }
    /// Begins the awaited answer (200, JSON) whose length is not known; then `answer_part`s, `answer_end`.
    pub fn answer_begin(&mut self, _out: &mut Vec<u8>) {
        todo!()
    }
    /// A part of it.
    pub fn answer_part(&mut self, _body: &[u8], _out: &mut Vec<u8>) {
        todo!()
    }
    /// Its end.
    pub fn answer_end(&mut self, _out: &mut Vec<u8>) {
        todo!()
    }
    /// Closes: a close frame on a WebSocket, else (`AuthTimeout`: 408 if a request was begun; others: 503 if an answer is owed), then closing.
    pub fn close(&mut self, _code: CloseCode, _out: &mut Vec<u8>) {
        todo!()
    }
    /// Appends a Ping frame (WebSocket only).
    pub fn ping(&mut self, _out: &mut Vec<u8>) {
        todo!()
    }
}
