//! A connection after its upgrade: frames to requests, held frames, refusals, the close.
//!
//! Invariants:
//! 1. Before Auth only Auth reaches the rules; what came before it follows it, in order.
//! 2. After a close frame, whoever sent it, nothing is decoded and nothing is sent.
//! 3. [`REFUSED_FRAMES_MAX`] refused messages in a row end the connection.

use crate::api::{Refusal, Request};
use crate::ids::{MessageId, UserId};
use crate::limits::REFUSED_FRAMES_MAX;
use crate::wire::buffer::Rest;
use crate::wire::codec::{Codec, Decoder, Step};
use crate::wire::encode;
use crate::wire::frame::{self, Header, Kind, Payload};
use crate::wire::incoming::{self, Refused};
use crate::wire::session::CloseCode;

/// The state of one WebSocket. Once `is_closed` it is only good for its `user`.
#[derive(Default)]
pub(super) struct WebSocket {
    pub(super) user: Option<UserId>,
    rest: Option<Box<Rest>>,
    /// An Auth was given to the rules and is not answered yet.
    pub(super) is_asking: bool,
    pub(super) is_closed: bool,
    /// The peer's side is closed.
    is_ended: bool,
    refused: u8,
}

impl WebSocket {
    /// See [`crate::wire::session::Session::next`].
    pub(super) fn next<'a>(
        &mut self,
        codec: &'a mut Codec,
        input: &[u8],
        out: &mut Vec<u8>,
    ) -> (usize, Step<'a>) {
        if self.is_asking {
            return (0, Step::More);
        }
        if self.user.is_some() && self.take_held(&mut codec.frame) {
            let Codec { decoder, frame, plain, refusal, .. } = codec;
            return (0, self.step(decoder, Payload::plain(frame), plain, refusal, out));
        }
        let before = self.rest.as_ref().and_then(|rest| rest.fragments.as_ref()).map(Vec::len);
        let header = match Header::read(input, before) {
            Ok(Some(header)) if header.end <= input.len() => header,
            Ok(_) => {
                if self.is_ended {
                    self.end();
                }
                return (0, Step::More);
            }
            Err(code) => {
                self.close(code, out);
                return (input.len(), Step::Handled);
            }
        };
        let payload = header.payload(input);
        let step = match header.kind {
            Kind::Text | Kind::Continuation => self.data(header, codec, payload, out),
            kind => {
                self.control(kind, unmasked(payload, &mut codec.plain), out);
                Step::Handled
            }
        };
        (header.end, step)
    }

    fn control(&mut self, kind: Kind, payload: &[u8], out: &mut Vec<u8>) {
        match kind {
            Kind::Ping => frame::push_pong(payload, out),
            Kind::Close => {
                frame::push_close(frame::close_answer(payload), "", out);
                self.end();
            }
            Kind::Pong | Kind::Text | Kind::Continuation => {}
        }
    }

    /// A text frame or a fragment of one.
    fn data<'a>(
        &mut self,
        header: Header,
        codec: &'a mut Codec,
        payload: Payload<'_>,
        out: &mut Vec<u8>,
    ) -> Step<'a> {
        let Codec { decoder, frame, plain, refusal, .. } = codec;
        if header.is_final && header.kind == Kind::Text {
            return self.message(decoder, payload, plain, refusal, out);
        }
        let rest = self.rest.get_or_insert_default();
        let fragments = rest.fragments.get_or_insert_default();
        payload.append_to(fragments);
        if !header.is_final {
            return Step::Handled;
        }
        frame.clear();
        frame.append(fragments);
        rest.fragments = None;
        self.forget_empty_rest();
        self.message(decoder, Payload::plain(frame), plain, refusal, out)
    }

    /// A whole message; `plain` is scratch memory for what is no request.
    fn message<'a>(
        &mut self,
        decoder: &'a mut Decoder,
        message: Payload<'_>,
        plain: &mut Vec<u8>,
        refusal: &mut Option<Refusal>,
        out: &mut Vec<u8>,
    ) -> Step<'a> {
        if self.user.is_some() {
            return self.step(decoder, message, plain, refusal, out);
        }
        match incoming::decode(decoder, message) {
            Ok(request @ Request::Auth { .. }) => {
                self.is_asking = true;
                Step::Request(request)
            }
            Ok(Request::Heartbeat) => Step::Handled,
            Ok(_) => {
                let held = &mut self.rest.get_or_insert_default().held;
                if !held.keep(unmasked(message, plain)) {
                    self.close(CloseCode::AuthTimeout, out);
                }
                Step::Handled
            }
            Err(Refused { source, refusal: Refusal::NotAuthenticated }) => {
                *refusal = Some(Refusal::NotAuthenticated);
                self.refuse_auth(source, out);
                Step::Handled
            }
            Err(refused) => self.refuse_here(refused, unmasked(message, plain), refusal, out),
        }
    }

    /// A whole message of an authenticated user.
    fn step<'a>(
        &mut self,
        decoder: &'a mut Decoder,
        message: Payload<'_>,
        plain: &mut Vec<u8>,
        refusal: &mut Option<Refusal>,
        out: &mut Vec<u8>,
    ) -> Step<'a> {
        match incoming::decode(decoder, message) {
            Ok(request) => {
                if matches!(request, Request::Ack(_) | Request::Heartbeat) {
                    self.accepted();
                }
                Step::Request(request)
            }
            Err(refused) => self.refuse_here(refused, unmasked(message, plain), refusal, out),
        }
    }

    /// Answers what was refused. Text that is no UTF-8 is no JSON either: only here is it told from
    /// text that is, so that no good message is looked at for it twice.
    fn refuse_here<'a>(
        &mut self,
        refused: Refused,
        text: &[u8],
        refusal: &mut Option<Refusal>,
        out: &mut Vec<u8>,
    ) -> Step<'a> {
        if refused.refusal == Refusal::NotJson && simdutf8::basic::from_utf8(text).is_err() {
            self.close(CloseCode::BadText, out);
            return Step::Handled;
        }
        *refusal = Some(refused.refusal);
        self.refuse(refused.source, refused.refusal, out);
        Step::Handled
    }

    /// Moves the oldest held message to `frame`; whether there was one.
    fn take_held(&mut self, frame: &mut Vec<u8>) -> bool {
        let Some(message) = self.rest.as_mut().and_then(|rest| rest.held.take()) else {
            return false;
        };
        frame.clear();
        frame.extend_from_slice(message);
        self.forget_empty_rest();
        true
    }

    fn forget_empty_rest(&mut self) {
        self.rest.take_if(|rest| rest.is_empty());
    }

    /// Bytes held.
    pub(super) fn held_bytes(&self) -> usize {
        self.rest.as_ref().map_or(0, |rest| rest.bytes())
    }

    /// A message was accepted: refusals are counted from 0 again.
    pub(super) fn accepted(&mut self) {
        self.refused = 0;
    }

    /// Auth succeeded.
    pub(super) fn welcome(&mut self, user: UserId) {
        self.is_asking = false;
        self.user = Some(user);
        self.accepted();
    }

    /// Auth failed.
    pub(super) fn refuse_auth(&mut self, source: Option<MessageId>, out: &mut Vec<u8>) {
        if !self.is_closed {
            self.is_asking = false;
            encode::error_frame(source, Refusal::NotAuthenticated, self.user, out);
            self.close(CloseCode::NotAuthenticated, out);
        }
    }

    /// Appends an Error frame, and closes when there were too many.
    pub(super) fn refuse(
        &mut self,
        source: Option<MessageId>,
        refusal: Refusal,
        out: &mut Vec<u8>,
    ) {
        if self.is_closed {
            return;
        }
        encode::error_frame(source, refusal, self.user, out);
        self.refused += 1;
        if u32::from(self.refused) >= REFUSED_FRAMES_MAX {
            self.close(CloseCode::Policy, out);
        }
    }

    /// Appends a close frame; nothing follows it.
    pub(super) fn close(&mut self, code: CloseCode, out: &mut Vec<u8>) {
        if !self.is_closed {
            frame::push_close(Some(code as u16), code.reason(), out);
            self.end();
        }
    }

    /// The peer says no more. What is whole in the window is still decoded by [`Self::next`].
    pub(super) fn end_of_input(&mut self) {
        self.is_ended = true;
    }

    /// Ends without a word.
    pub(super) fn end(&mut self) {
        self.is_closed = true;
        self.is_asking = false;
        self.rest = None;
    }
}

/// The bytes of a payload without its mask, in `plain`.
fn unmasked<'p>(payload: Payload<'_>, plain: &'p mut Vec<u8>) -> &'p [u8] {
    plain.clear();
    payload.append_to(plain);
    plain
}

const _: () = assert!(REFUSED_FRAMES_MAX < 256, "the count is a byte");
