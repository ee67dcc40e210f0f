//! What all sessions of a shard share, and the wire's settings.

use crate::api::{Refusal, Request};
use crate::ids::MessageId;
use crate::limits::{ECHO_MESSAGE_BYTES_MAX, FRAME_BYTES_MAX};
use crate::wire::json::Json;

/// What all sessions of a shard share: scratch memory for decoding and the wire's settings.
pub struct Codec {
    pub(super) options: WireOptions,
    pub(super) decoder: Decoder,
    /// A frame that does not lie in the window as it is: reassembled, or held before Auth.
    pub(super) frame: Vec<u8>,
    /// A payload without its mask, where that is rarely needed.
    pub(super) plain: Vec<u8>,
    pub(super) refusal: Option<Refusal>,
    /// Seconds since the epoch; 0 for who has no clock.
    pub(super) seconds: u32,
}

/// The part of a [`Codec`] that decoded requests borrow from.
pub(super) struct Decoder {
    pub(super) json: Json,
    pub(super) ids: Vec<MessageId>,
}

/// Settings that change bytes on the wire.
#[derive(Clone, Copy, Default, Debug)]
pub struct WireOptions {
    /// What is said over it.
    pub dialect: Dialect,
    /// Refused calls: 500 (`seed`) or 400/404 (`rest`).
    pub errors: ErrorStyle,
    /// Seconds east of UTC, for `createTime` and its like.
    pub utc_offset_seconds: i32,
    /// Whose web pages are answered; `None`: all.
    pub origins: Option<&'static [String]>,
}

impl WireOptions {
    /// Whether a request is answered that names this origin, or none as programs do.
    pub(super) fn allows(&self, origin: Option<&[u8]>) -> bool {
        let (Some(origin), Some(allowed)) = (origin, self.origins) else { return true };
        allowed.iter().any(|allowed| origin.eq_ignore_ascii_case(allowed.as_bytes()))
    }
}

/// What is said over connections. The protocols below it, and their rules, are the same.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Dialect {
    /// The chat: JSON in texts of at most [`FRAME_BYTES_MAX`], calls at fixed paths.
    #[default]
    Chat,
    /// Anything: texts and bytes of at most [`ECHO_MESSAGE_BYTES_MAX`], every method and path. They
    /// are given as they came.
    Bare,
}

impl Dialect {
    /// Bytes of a message, whole or reassembled. Beyond: close 1009.
    pub(super) fn message_bytes_max(self) -> usize {
        match self {
            Dialect::Chat => FRAME_BYTES_MAX,
            Dialect::Bare => ECHO_MESSAGE_BYTES_MAX,
        }
    }
}

/// What a WebSocket message consists of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// UTF-8.
    Text,
    /// Bytes.
    Binary,
}

/// How a call that is understood but refused is answered over HTTP.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum ErrorStyle {
    /// 500 with code 500.
    #[default]
    Seed,
    /// 400, 404, 409 with the same code.
    Rest,
}

/// What [`Session::next`](super::session::Session::next) made of the bytes.
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
    /// A whole message, of the bare dialect.
    Message(Form, &'a [u8]),
    /// What an HTTP request of the bare dialect carries. `next` says `More` until it is answered.
    Content(&'a [u8]),
}

impl Codec {
    /// Scratch memory for one shard.
    pub fn new(options: WireOptions) -> Codec {
        Codec {
            options,
            decoder: Decoder { json: Json::new(), ids: Vec::new() },
            frame: Vec::new(),
            plain: Vec::new(),
            refusal: None,
            seconds: 0,
        }
    }

    /// Tells the time, ms since the epoch: from now on answers say when they were made.
    pub fn set_time(&mut self, wall_ms: i64) {
        self.seconds = u32::try_from(wall_ms / 1000).unwrap_or(0);
    }

    /// The settings it was made with.
    pub fn options(&self) -> &WireOptions {
        &self.options
    }

    /// Drops scratch memory that a message above [`FRAME_BYTES_MAX`] has left behind.
    pub(super) fn forget_the_huge(&mut self) {
        for scratch in [&mut self.frame, &mut self.plain] {
            if scratch.capacity() > 2 * FRAME_BYTES_MAX {
                *scratch = Vec::new();
            }
        }
    }

    /// Why the wire itself refused the last frame or call that it handled, once: for counting.
    pub fn take_refusal(&mut self) -> Option<Refusal> {
        self.refusal.take()
    }
}
