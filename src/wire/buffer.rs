//! What a session holds back for a while: frames before Auth, and fragments of one message.
//!
//! Invariants:
//! 1. Never more than [`HELD_FRAMES_MAX`] frames and [`HELD_BYTES_MAX`] bytes of them.
//! 2. Frames come out whole and in the order in which they went in.

use crate::limits::{HELD_BYTES_MAX, HELD_FRAMES_MAX};

/// The rare part of a WebSocket's state; an idle session has none.
#[derive(Default)]
pub(super) struct Rest {
    /// The fragments so far, when a message has begun in fragments.
    pub(super) fragments: Option<Vec<u8>>,
    /// Frames before Auth.
    pub(super) held: Held,
}

impl Rest {
    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.fragments.as_ref().map_or(0, Vec::len) + self.held.bytes.len()
    }

    /// Whether there is nothing to remember any more.
    pub(super) fn is_empty(&self) -> bool {
        self.fragments.is_none() && self.held.is_empty()
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
