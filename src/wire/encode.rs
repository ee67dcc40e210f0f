//! STUB: signatures only, to be replaced. Frames and bodies out, by hand, no allocation beyond `out`.
use crate::api::{ChatEntry, ChatType, Message, MessageType, Reply, StoredMessage};
use crate::ids::{MessageId, UserId};
use crate::wire::session::{Codec, WireOptions};
/// Appends a whole text frame with a message of 11 keys.
pub fn message_frame(_message: &Message<'_>, _out: &mut Vec<u8>) {
    todo!()
}
/// Appends a whole text frame with a message of 14 keys.
pub fn stored_frame(_message: &StoredMessage<'_>, _out: &mut Vec<u8>) {
    todo!()
}
/// Appends a server Ack frame. `id` is the frame's own.
pub fn ack_frame(
    _id: MessageId,
    _to: UserId,
    _chat_type: ChatType,
    _source: MessageId,
    _timestamp_ms: i64,
    _out: &mut Vec<u8>,
) {
    todo!()
}
/// Appends an OfflineMessage event frame.
pub fn offline_frame(
    _id: MessageId,
    _to: UserId,
    _count: u64,
    _timestamp_ms: i64,
    _out: &mut Vec<u8>,
) {
    todo!()
}
/// Appends a reply's body; returns the HTTP status.
pub fn reply_body(_reply: &Reply, _options: &WireOptions, _body: &mut Vec<u8>) -> u16 {
    todo!()
}
/// Appends a list item, without separator.
pub fn stored_item(_message: &StoredMessage<'_>, _body: &mut Vec<u8>) {
    todo!()
}
/// Appends a list item, without separator.
pub fn chat_item(_entry: &ChatEntry<'_>, _options: &WireOptions, _body: &mut Vec<u8>) {
    todo!()
}
