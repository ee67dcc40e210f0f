//! What a session holds back for a while: frames before Auth, and a message of which not all came.
//!
//! Invariants:
//! 1. Never more than [`HELD_FRAMES_MAX`] frames and [`HELD_BYTES_MAX`] bytes of them.
//! 2. Frames come out whole and in the order in which they went in.
//! 3. A text is refused at the first byte that no UTF-8 has there, whatever is still to come.

use crate::limits::{HELD_BYTES_MAX, HELD_FRAMES_MAX};
use crate::wire::codec::Form;
use crate::wire::frame::{Header, Payload};
use crate::wire::session::CloseCode;

/// The rare part of a WebSocket's state; an idle session has none.
#[derive(Default)]
pub(super) struct Rest {
    /// A message that has begun.
    pub(super) gathered: Option<Gathered>,
    /// Frames before Auth.
    pub(super) held: Held,
}

impl Rest {
    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.gathered.as_ref().map_or(0, |gathered| gathered.bytes.len()) + self.held.bytes.len()
    }

    /// Whether there is nothing to remember any more.
    pub(super) fn is_empty(&self) -> bool {
        self.gathered.is_none() && self.held.is_empty()
    }
}

/// What has come of a message in fragments, or in a frame that is taken in parts.
pub(super) struct Gathered {
    form: Form,
    bytes: Vec<u8>,
    /// Bytes that are whole characters, of a text.
    checked: usize,
    /// The frame of which more is to come.
    pub(super) frame: Option<Unfinished>,
}

/// A frame that is taken in parts.
#[derive(Clone, Copy)]
pub(super) struct Unfinished {
    /// Payload bytes taken, and all of them.
    taken: usize,
    bytes: usize,
    mask: [u8; 4],
    pub(super) is_final: bool,
}

impl Gathered {
    /// Nothing yet of a message.
    pub(super) fn new(form: Form) -> Gathered {
        Gathered { form, bytes: Vec::new(), checked: 0, frame: None }
    }

    pub(super) fn form(&self) -> Form {
        self.form
    }

    /// Bytes of the message so far.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The beginning of a text's last character, if not all of that has come.
    pub(super) fn begun_character(&self) -> &[u8] {
        &self.bytes[self.checked..]
    }

    /// Takes more of the message.
    pub(super) fn append(&mut self, payload: Payload<'_>) -> Result<(), CloseCode> {
        payload.append_to(&mut self.bytes);
        if self.form == Form::Text {
            self.checked += whole_characters(&self.bytes[self.checked..])?;
        }
        Ok(())
    }

    /// Begins a frame that is taken in parts.
    pub(super) fn begin_frame(&mut self, header: Header) {
        let Header { start, end, mask, is_final, .. } = header;
        self.frame = Some(Unfinished { taken: 0, bytes: end - start, mask, is_final });
    }

    /// Takes what there is of it; how many bytes that is.
    pub(super) fn take_part(&mut self, input: &[u8]) -> Result<usize, CloseCode> {
        let Some(frame) = &mut self.frame else { return Ok(0) };
        let part = &input[..input.len().min(frame.bytes - frame.taken)];
        let payload = Payload::masked(part, frame.mask, frame.taken);
        frame.taken += part.len();
        assert!(frame.taken <= frame.bytes, "no more is taken than the frame has");
        self.append(payload)?;
        Ok(part.len())
    }

    /// The whole message.
    pub(super) fn finish(self) -> Result<Vec<u8>, CloseCode> {
        let is_whole = self.form == Form::Binary || self.checked == self.bytes.len();
        if is_whole { Ok(self.bytes) } else { Err(CloseCode::BadText) }
    }
}

impl Unfinished {
    /// Whether all of it was taken.
    pub(super) fn is_taken(&self) -> bool {
        self.taken == self.bytes
    }
}

/// How many bytes in front are whole characters; what follows is at most the beginning of one.
pub(super) fn whole_characters(text: &[u8]) -> Result<usize, CloseCode> {
    match simdutf8::compat::from_utf8(text) {
        Ok(_) => Ok(text.len()),
        Err(error) if error.error_len().is_none() => Ok(error.valid_up_to()),
        Err(_) => Err(CloseCode::BadText),
    }
}

/// Messages that wait for Auth, one behind the other.
#[derive(Default)]
pub(super) struct Held {
    bytes: Vec<u8>,
    ends: Vec<u32>,
    taken: usize,
}

impl Held {
    /// Keeps a message; `false` when a bound is reached.
    pub(super) fn keep(&mut self, message: &[u8]) -> bool {
        let bytes = self.bytes.len() + message.len();
        if self.ends.len() >= HELD_FRAMES_MAX || bytes > HELD_BYTES_MAX {
            return false;
        }
        self.bytes.extend_from_slice(message);
        self.ends.push(u32::try_from(bytes).expect("HELD_BYTES_MAX is far below 4 GiB"));
        true
    }

    /// The oldest message not yet taken.
    pub(super) fn take(&mut self) -> Option<&[u8]> {
        let start = self.taken.checked_sub(1).map_or(0, |last| self.ends[last] as usize);
        let end = *self.ends.get(self.taken)? as usize;
        self.taken += 1;
        Some(&self.bytes[start..end])
    }

    /// Whether all has been taken.
    pub(super) fn is_empty(&self) -> bool {
        self.taken == self.ends.len()
    }
}
