//! Rows of what retention has removed, from their portable items.

use super::{ForgottenChatItem, ForgottenIdsItem, ForgottenItem, ItemError};
use crate::store::rows::{ChatRow, ID_BLOCK, IdEntry, IdsRow, PAIR_BLOCK, UserRow};

/// A count that leaves numbers for what is still to come.
pub(super) fn bounded_count(count: u64, field: &'static str) -> Result<u64, ItemError> {
    if i64::try_from(count).is_ok() { Ok(count) } else { Err(ItemError::Range(field)) }
}

pub(super) fn forgotten_user(item: &ForgottenItem) -> Result<UserRow, ItemError> {
    Ok(UserRow {
        last_seq: bounded_count(item.last_seq, "lastSeq")?,
        highest_sent: forgotten_id(&item.highest_sent)?,
        highest_received: forgotten_id(&item.highest_received)?,
        sent: forgotten_ids(&item.sent)?,
        received: forgotten_ids(&item.received)?,
        ..UserRow::default()
    })
}

fn forgotten_ids(item: &ForgottenIdsItem) -> Result<IdsRow, ItemError> {
    let entry = |(text, seq): &(String, u64)| Ok(IdEntry { id: forgotten_id(text)?, seq: *seq });
    if item.recent.len() >= ID_BLOCK {
        return Err(ItemError::Range("recent"));
    }
    Ok(IdsRow {
        recent: item.recent.iter().map(entry).collect::<Result<_, _>>()?,
        indexed_up_to: forgotten_id(&item.indexed_up_to)?,
        highest_late: forgotten_id(&item.highest_late)?,
    })
}

fn forgotten_id(text: &str) -> Result<i64, ItemError> {
    text.parse().map_err(|_| ItemError::Range("an id in `forgotten`"))
}

pub(super) fn forgotten_chat(item: &ForgottenChatItem) -> Result<ChatRow, ItemError> {
    let ForgottenChatItem { messages, ref recent, last_seq, received, sent } = *item;
    if recent.len() as u64 != messages % PAIR_BLOCK as u64 {
        return Err(ItemError::Range("recent"));
    }
    Ok(ChatRow {
        messages: bounded_count(messages, "messages")?,
        recent: recent.clone(),
        last_seq,
        received: bounded_count(received, "received")?,
        sent: bounded_count(sent, "sent")?,
        ..ChatRow::default()
    })
}
