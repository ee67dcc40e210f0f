//! What all sessions of a shard share, and the wire's settings.

use crate::api::{Refusal, Request};
use crate::ids::MessageId;
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
}

/// The part of a [`Codec`] that decoded requests borrow from.
pub(super) struct Decoder {
    pub(super) json: Json,
    pub(super) ids: Vec<MessageId>,
}

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
        }
    }

    /// The settings it was made with.
    pub fn options(&self) -> &WireOptions {
        &self.options
    }

    /// Why the wire itself refused the last frame or call that it handled, once: for counting.
    pub fn take_refusal(&mut self) -> Option<Refusal> {
        self.refusal.take()
    }
}
