//! Frames of a WebSocket, as a session takes them: judged, put together, unmasked.
//!
//! A whole text frame of 200 bytes is `decode/text`; what a large one takes beyond it is the mask,
//! and the search for the end of its text.

use crate::case::Case;
use crate::wire::{Wire, contents, frame, masked, text_message};

const OPERATIONS: u64 = 1024;
const LARGE_BYTES: usize = 16 << 10;

/// Frames by what is to be done with them.
pub fn cases() -> Vec<Case> {
    vec![
        Case::repeated("frame/cut", OPERATIONS, cut),
        Case::repeated("frame/ping", OPERATIONS, ping),
        Case::repeated("frame/fragments", OPERATIONS, fragments).allocating(),
        Case::repeated("frame/text-16k", 64, large),
    ]
}

/// Half a frame is there, and nothing new of it: only its header is read.
fn cut() -> impl FnMut() {
    let (mut wire, mut bytes) = (Wire::authenticated(), masked(&text_message(&contents()[0])));
    bytes.truncate(bytes.len() / 2);
    move || wire.more(&mut bytes)
}

/// The largest ping, and its pong.
fn ping() -> impl FnMut() {
    let (mut wire, mut bytes) = (Wire::authenticated(), frame(0x89, &"x".repeat(125)));
    move || wire.handled(&mut bytes)
}

/// A text in two frames. What came of it waits in memory of the session's own.
fn fragments() -> impl FnMut() {
    let text = text_message(&contents()[0]);
    let (first, last) = text.split_at(text.len() / 2);
    let (mut wire, mut first, mut last) =
        (Wire::authenticated(), frame(0x01, first), frame(0x80, last));
    move || {
        wire.handled(&mut first);
        wire.request(&mut last);
    }
}

fn large() -> impl FnMut() {
    let text = text_message(&"x".repeat(LARGE_BYTES));
    let (mut wire, mut bytes) = (Wire::authenticated(), masked(&text));
    move || wire.request(&mut bytes)
}
