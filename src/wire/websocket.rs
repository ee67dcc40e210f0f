//! A connection after its upgrade: frames to requests, held frames, refusals, the close.
//!
//! Invariants:
//! 1. Before Auth only Auth reaches the rules; what came before it follows it, in order.
//! 2. After a close frame, whoever sent it, nothing is decoded and nothing is sent.
//! 3. [`REFUSED_FRAMES_MAX`] refused messages in a row end the connection.

use crate::api::{Refusal, Request};
use crate::ids::{MessageId, UserId};
use crate::limits::{FRAME_BYTES_MAX, REFUSED_FRAMES_MAX};
use crate::wire::buffer::{Gathered, Rest, whole_characters};
use crate::wire::codec::{Codec, Decoder, Dialect, Form, Step};
use crate::wire::encode;
use crate::wire::frame::{self, HEADER_BYTES_MAX, Header, Kind, Payload};
use crate::wire::incoming::{self, Refused};
use crate::wire::session::CloseCode;

/// The state of one WebSocket. Once `is_closed` it is only good for its `user`.
#[derive(Default)]
pub(super) struct WebSocket {
    pub(super) user: Option<UserId>,
    rest: Option<Box<Rest>>,
    /// Payload bytes of the frame in front of the input, of which not all is there, that were found
    /// to be text.
    checked: u32,
    dialect: Dialect,
    /// An Auth was given to the rules and is not answered yet.
    pub(super) is_asking: bool,
    pub(super) is_closed: bool,
    /// The peer's side is closed.
    is_ended: bool,
    refused: u8,
}

impl WebSocket {
    /// A fresh one.
    pub(super) fn speaking(dialect: Dialect) -> WebSocket {
        WebSocket { dialect, ..WebSocket::default() }
    }

    /// It has yet to say who it is.
    pub(super) fn is_unknown(&self) -> bool {
        self.user.is_none() && self.dialect == Dialect::Chat && !self.is_closed
    }

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
        if self.dialect == Dialect::Bare {
            codec.forget_the_huge();
        }
        if self.user.is_some() && self.take_held(&mut codec.frame) {
            let Codec { decoder, frame, plain, refusal, .. } = codec;
            return (0, self.step(decoder, Payload::plain(frame), plain, refusal, out));
        }
        let gathered = self.gathered();
        if gathered.is_some_and(|gathered| gathered.frame.is_some()) {
            return self.take_part(codec, input, out);
        }
        let before = gathered.map(Gathered::len);
        let header = match Header::read(input, before, self.dialect) {
            Ok(Some(header)) if header.end <= input.len() => header,
            Ok(header) => return self.wait(header, codec, input, out),
            Err(code) => {
                self.close(code, out);
                return (input.len(), Step::Handled);
            }
        };
        self.checked = 0;
        let payload = header.payload(input);
        let step = match header.kind {
            Kind::Text | Kind::Binary | Kind::Continuation => {
                self.data(header, codec, payload, out)
            }
            kind => {
                self.control(kind, unmasked(payload, &mut codec.plain), out);
                Step::Handled
            }
        };
        (header.end, step)
    }

    fn gathered(&self) -> Option<&Gathered> {
        self.rest.as_ref()?.gathered.as_ref()
    }

    /// Not all of a frame is there. Of a frame that one window holds the text is checked as far as
    /// it is there; a larger one is taken in parts.
    fn wait<'a>(
        &mut self,
        header: Option<Header>,
        codec: &'a mut Codec,
        input: &[u8],
        out: &mut Vec<u8>,
    ) -> (usize, Step<'a>) {
        if let Some(header) = header {
            if header.end > HEADER_BYTES_MAX + FRAME_BYTES_MAX {
                self.checked = 0;
                self.gather(header.kind).begin_frame(header);
                return (header.start, Step::Handled);
            }
            if let Err(code) = self.check_part(&header, input, &mut codec.plain) {
                self.close(code, out);
                return (input.len(), Step::Handled);
            }
        }
        if self.is_ended {
            self.end();
        }
        (0, Step::More)
    }

    /// Checks what is new of a text frame.
    fn check_part(
        &mut self,
        header: &Header,
        input: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<(), CloseCode> {
        let gathered = self.gathered();
        let is_text = match header.kind {
            Kind::Text => true,
            Kind::Continuation => gathered.is_some_and(|it| it.form() == Form::Text),
            Kind::Binary | Kind::Close | Kind::Ping | Kind::Pong => false,
        };
        let came = header.payload(input).skip(self.checked as usize);
        if !is_text || came.len() == 0 {
            return Ok(());
        }
        plain.clear();
        if self.checked == 0 {
            plain.extend_from_slice(gathered.map_or(&[], Gathered::begun_character));
        }
        let before = plain.len();
        came.append_to(plain);
        let whole = whole_characters(plain)?.saturating_sub(before);
        self.checked += u32::try_from(whole).expect("a frame that waits fits a window");
        Ok(())
    }

    /// Takes more of a frame that no window holds.
    fn take_part<'a>(
        &mut self,
        codec: &'a mut Codec,
        input: &[u8],
        out: &mut Vec<u8>,
    ) -> (usize, Step<'a>) {
        if input.is_empty() {
            if self.is_ended {
                self.end();
            }
            return (0, Step::More);
        }
        let gathered = self.gather(Kind::Continuation);
        let taken = match gathered.take_part(input) {
            Ok(taken) => taken,
            Err(code) => {
                self.close(code, out);
                return (input.len(), Step::Handled);
            }
        };
        let step = match gathered.frame.take_if(|frame| frame.is_taken()) {
            Some(frame) if frame.is_final => self.finish(codec, out),
            Some(_) | None => Step::Handled,
        };
        (taken, step)
    }

    fn control(&mut self, kind: Kind, payload: &[u8], out: &mut Vec<u8>) {
        match kind {
            Kind::Ping => frame::push_pong(payload, out),
            Kind::Close => {
                frame::push_close(frame::close_answer(payload), "", out);
                self.end();
            }
            Kind::Pong | Kind::Text | Kind::Binary | Kind::Continuation => {}
        }
    }

    /// A whole data frame, or a fragment.
    fn data<'a>(
        &mut self,
        header: Header,
        codec: &'a mut Codec,
        payload: Payload<'_>,
        out: &mut Vec<u8>,
    ) -> Step<'a> {
        if header.is_final && header.kind != Kind::Continuation {
            if self.dialect == Dialect::Bare {
                return self.bare(header.kind, codec, payload, out);
            }
            let Codec { decoder, plain, refusal, .. } = codec;
            return self.message(decoder, payload, plain, refusal, out);
        }
        if let Err(code) = self.gather(header.kind).append(payload) {
            self.close(code, out);
            return Step::Handled;
        }
        if header.is_final { self.finish(codec, out) } else { Step::Handled }
    }

    /// The message that has begun, or begins with a frame of this kind.
    fn gather(&mut self, kind: Kind) -> &mut Gathered {
        let form = if kind == Kind::Binary { Form::Binary } else { Form::Text };
        let rest = self.rest.get_or_insert_default();
        rest.gathered.get_or_insert_with(|| Gathered::new(form))
    }

    /// A whole frame of the bare dialect.
    fn bare<'a>(
        &mut self,
        kind: Kind,
        codec: &'a mut Codec,
        payload: Payload<'_>,
        out: &mut Vec<u8>,
    ) -> Step<'a> {
        let message = unmasked(payload, &mut codec.plain);
        if kind == Kind::Binary {
            return Step::Message(Form::Binary, message);
        }
        if simdutf8::basic::from_utf8(message).is_err() {
            self.close(CloseCode::BadText, out);
            return Step::Handled;
        }
        Step::Message(Form::Text, message)
    }

    /// All of a message has been gathered.
    fn finish<'a>(&mut self, codec: &'a mut Codec, out: &mut Vec<u8>) -> Step<'a> {
        let gathered = self.rest.as_mut().and_then(|rest| rest.gathered.take());
        let gathered = gathered.expect("a message is finished that was begun");
        self.forget_empty_rest();
        let form = gathered.form();
        codec.frame = match gathered.finish() {
            Ok(message) => message,
            Err(code) => {
                self.close(code, out);
                return Step::Handled;
            }
        };
        let Codec { decoder, frame, plain, refusal, .. } = codec;
        match self.dialect {
            Dialect::Chat => self.message(decoder, Payload::plain(frame), plain, refusal, out),
            Dialect::Bare => Step::Message(form, frame),
        }
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
                self.refuse_auth(source, Refusal::NotAuthenticated, out);
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
    pub(super) fn refuse_auth(
        &mut self,
        source: Option<MessageId>,
        refusal: Refusal,
        out: &mut Vec<u8>,
    ) {
        if !self.is_closed {
            self.is_asking = false;
            encode::error_frame(source, refusal, self.user, out);
            let code = match refusal {
                Refusal::NotAuthenticated => CloseCode::NotAuthenticated,
                _ => CloseCode::Internal,
            };
            self.close(code, out);
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
        // Damage is no fault of the peer.
        self.refused += u8::from(refusal != Refusal::Unreadable);
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
