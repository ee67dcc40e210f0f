//! From the rules' answers to bytes: frames, and items of lists.

use crate::case::Case;
use crate::wire::{ID, MOMENT_MS, OPTIONS, contents, id, message, user};
use anser::api::{ChatEntry, ChatType, StoredMessage};
use anser::ids::{ChatId, MessageId};
use anser::wire::encode;
use std::hint::black_box;

const OPERATIONS: u64 = 1024;
/// Where a connection's output is cut off.
const OUT_BYTES: usize = 32 << 10;

/// All that go out often.
pub fn cases() -> Vec<Case> {
    let [latin, han, escaped] = contents();
    let (offline, listed) = (latin.clone(), latin.clone());
    vec![
        of_output("encode/ack", write_ack),
        of_output("encode/message", move |out| encode::message_frame(&message(&latin), out)),
        of_output("encode/message-han", move |out| encode::message_frame(&message(&han), out)),
        of_output("encode/message-escaped", move |out| {
            encode::message_frame(&message(&escaped), out)
        }),
        of_output("encode/offline-item", move |out| write_offline_item(&offline, out)),
        of_output("encode/chat-item", move |out| write_chat_item(&listed, out)),
    ]
}

fn of_output(name: &'static str, write: impl Fn(&mut Vec<u8>) + 'static) -> Case {
    Case::repeated(name, OPERATIONS, move || {
        let mut out = Vec::with_capacity(2 * OUT_BYTES);
        move || {
            write(&mut out);
            if black_box(&out).len() > OUT_BYTES {
                out.clear();
            }
        }
    })
}

fn write_ack(out: &mut Vec<u8>) {
    let (own, source): (MessageId, MessageId) = (id(ID + 1), id(ID));
    encode::ack_frame(own, user(1026), ChatType::Single, source, MOMENT_MS, out);
}

fn write_offline_item(content: &str, out: &mut Vec<u8>) {
    let stored = StoredMessage {
        message: message(content),
        name: Some("Ann"),
        server_send_time_ms: MOMENT_MS + 2,
        seq: 1234,
    };
    encode::stored_item(&stored, out);
}

fn write_chat_item(content: &str, out: &mut Vec<u8>) {
    let entry = ChatEntry {
        owner: user(2051),
        peer: user(1026),
        id: ChatId::new(3075).expect("a positive number"),
        top: false,
        created_ms: MOMENT_MS - 86_400_000,
        updated_ms: MOMENT_MS,
        unread: 3,
        last: Some(message(content)),
    };
    encode::chat_item(&entry, &OPTIONS, out);
}
