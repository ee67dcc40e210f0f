//! What the rules want said, in the words of the wire: the one place where `chat` and `wire` meet.
//!
//! A list is given in parts which, put together, are one JSON array, wherever they were cut.
//!
//! Left to others: which connection it is for and when it leaves (`node`, `sim`).

use crate::api::{DeliveryState, StoredMessage};
use crate::chat::event::{Letter, OfflineNotice, ServerAck, StoredPart};
use crate::chat::history::Listing;
use crate::chat::shard::{Item, Shard};
use crate::chat::turn::Turn;
use crate::limits::{LIST_AHEAD, LIST_PART_BYTES};
use crate::store::{Store, StoreError};
use crate::wire::encode;
use crate::wire::session::{Session, WireOptions};
use std::ops::ControlFlow;

/// A message as an effect names it, but for its text.
pub struct Pushed {
    /// The message.
    pub letter: Letter,
    /// As its reader sees it.
    pub state: DeliveryState,
    /// Present when it is pushed again.
    pub stored: Option<StoredPart>,
}

/// Which part of a list is made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The answer begins with it.
    First,
    /// Others were before it.
    Next,
}

/// Appends an Ack frame; refusals of the session are counted from 0 again.
pub fn acknowledge(ack: &ServerAck, session: &mut Session, out: &mut Vec<u8>) {
    let ServerAck { id, user, chat_type, source, timestamp_ms } = *ack;
    session.accepted();
    encode::ack_frame(id, user, chat_type, source, timestamp_ms, out);
}

/// Appends an OfflineMessage event.
pub fn notify(notice: &OfflineNotice, out: &mut Vec<u8>) {
    let OfflineNotice { id, user, count, timestamp_ms } = *notice;
    encode::offline_frame(id, user, count, timestamp_ms, out);
}

/// Appends a message's frame. Its text, and the author's name, are kept by `turn`.
pub fn push(pushed: Pushed, content: &str, turn: &Turn, out: &mut Vec<u8>) {
    let Pushed { letter, state, stored } = pushed;
    let message = letter.with(content, state);
    let Some(StoredPart { name, server_send_time_ms, seq }) = stored else {
        return encode::message_frame(&message, out);
    };
    let name = name.map(|name| turn.text(name));
    encode::stored_frame(&StoredMessage { message, name, server_send_time_ms, seq }, out);
}

/// Makes the next part of a list in `body`; `true`: the list has ended with it.
pub fn list_part<S: Store>(
    shard: &mut Shard<S>,
    listing: &mut Listing,
    part: Part,
    options: &WireOptions,
    body: &mut Vec<u8>,
) -> Result<bool, StoreError> {
    body.clear();
    let mut separator = match part {
        Part::First => b'[',
        Part::Next => b',',
    };
    let mut left = LIST_AHEAD;
    let whole = shard.list(listing, &mut |item| {
        body.push(separator);
        separator = b',';
        match item {
            Item::Message(message) => encode::stored_item(&message, body),
            Item::Chat(entry) => encode::chat_item(&entry, options, body),
        }
        left -= 1;
        match body.len() < LIST_PART_BYTES && left > 0 {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    })?;
    if whole && part == Part::First && body.is_empty() {
        body.push(b'[');
    }
    if whole {
        body.push(b']');
    }
    Ok(whole)
}
