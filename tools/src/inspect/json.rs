//! Rows as JSON.

use anser::api::{ChatType, EventType, MessageType};
use anser::store::parts::{Parts, words};
use anser::store::rows::{
    ArchivedMessageRow, ArchivedProfileRow, ChatIdRow, ChatRow, IdBlockRow, IdEntry, IdsRow,
    LateIdRow, MarksRow, NumberRow, OutboxRow, PairBlockRow, RowError, SlotRow, StreamRow, UserRow,
    WaitingRow, read, read_owned,
};
use serde_json::{Value, json};

/// The greatest number that every reader of JSON keeps exactly.
const EXACT_MAX: u64 = 1 << 53;

/// Whether contents of messages are printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Contents {
    /// They are.
    Shown,
    /// Their length is.
    Hidden,
}

/// A number that no reader rounds.
pub fn number(number: u64) -> Value {
    if number <= EXACT_MAX { json!(number) } else { json!(number.to_string()) }
}

fn id(id: i64) -> Value {
    u64::try_from(id).map_or_else(|_| json!(id), number)
}

/// What a key names.
pub fn key(key: &[u8]) -> Value {
    let Some(parts) = Parts::of(key) else { return json!({"kind": null, "key": words(key)}) };
    match parts {
        Parts::Epoch => json!({"kind": "epoch"}),
        Parts::MintBound => json!({"kind": "mintBound"}),
        Parts::Slot(slot) => json!({"kind": "slot", "slot": slot.index()}),
        Parts::Identity(who) => json!({
            "kind": "identity", "company": who.company, "app": who.app,
            "thirdUserId": who.third_user_id,
        }),
        Parts::Tenant(user) => json!({"kind": "tenant", "user": user.number()}),
        Parts::Profile(user) => json!({"kind": "profile", "user": user.number()}),
        Parts::User(user) => json!({"kind": "user", "user": user.number()}),
        Parts::Message { owner, seq } => {
            json!({"kind": "message", "owner": owner.number(), "seq": number(seq)})
        }
        Parts::Chat { owner, peer } => {
            json!({"kind": "chat", "owner": owner.number(), "peer": peer.number()})
        }
        Parts::HiddenChat { owner, peer } => {
            json!({"kind": "hiddenChat", "owner": owner.number(), "peer": peer.number()})
        }
        Parts::ChatId(chat) => json!({"kind": "chatId", "id": number(chat.number())}),
        Parts::Outbox { to, epoch, sequence } => json!({
            "kind": "outbox", "to": to.0, "epoch": number(epoch), "sequence": number(sequence),
        }),
        Parts::Applied(from) => json!({"kind": "applied", "from": from.0}),
        Parts::MarksDue { reader, author } => {
            json!({"kind": "marksDue", "reader": reader.number(), "author": author.number()})
        }
        Parts::PairBlock { owner, peer, block } => json!({
            "kind": "pairBlock", "owner": owner.number(), "peer": peer.number(),
            "block": number(block),
        }),
        Parts::IdBlock { owner, side, lowest } => json!({
            "kind": "idBlock", "owner": owner.number(), "side": format!("{side:?}"),
            "lowest": id(lowest.number()),
        }),
        Parts::LateId { owner, side, id: late } => json!({
            "kind": "lateId", "owner": owner.number(), "side": format!("{side:?}"),
            "id": id(late.number()),
        }),
        Parts::Waiting { owner, block } => {
            json!({"kind": "waiting", "owner": owner.number(), "block": number(block)})
        }
        Parts::Forgotten(user) => json!({"kind": "forgotten", "user": user.number()}),
        Parts::ForgottenChat { owner, peer } => {
            json!({"kind": "forgottenChat", "owner": owner.number(), "peer": peer.number()})
        }
        Parts::Aside { recipient, number: at } => {
            json!({"kind": "aside", "recipient": recipient.number(), "number": number(at)})
        }
    }
}

/// A row: its key and, under `row`, what it holds; or `error`.
pub fn row(bytes: &[u8], row: &[u8], contents: Contents) -> Value {
    let mut line = key(bytes);
    match Parts::of(bytes).map(|parts| value(&parts, row, contents)) {
        Some(Ok(value)) => line["row"] = value,
        Some(Err(error)) => line["error"] = error.to_string().into(),
        None => line["error"] = "no kind of row has such a key".into(),
    }
    line
}

fn value(parts: &Parts<'_>, row: &[u8], contents: Contents) -> Result<Value, RowError> {
    Ok(match parts {
        Parts::Epoch
        | Parts::MintBound
        | Parts::Identity(_)
        | Parts::Tenant(_)
        | Parts::MarksDue { .. } => number(read_owned::<NumberRow>(row)?.0),
        Parts::Slot(_) => {
            let SlotRow { next_user, next_chat } = read_owned(row)?;
            json!({"nextUser": next_user, "nextChat": number(next_chat)})
        }
        Parts::Profile(_) => {
            let row = read::<ArchivedProfileRow<'_>>(row)?;
            json!({
                "company": &*row.company, "app": &*row.app, "thirdUserId": &*row.third_user_id,
                "registeredMs": row.registered_ms.to_native(),
            })
        }
        Parts::User(_) | Parts::Forgotten(_) => user(&read_owned::<UserRow>(row)?),
        Parts::Message { .. } | Parts::Aside { .. } => {
            message(read::<ArchivedMessageRow<'_>>(row)?, contents)
        }
        Parts::Chat { .. } | Parts::HiddenChat { .. } | Parts::ForgottenChat { .. } => {
            chat(&read_owned::<ChatRow>(row)?)
        }
        Parts::ChatId(_) => {
            let ChatIdRow { owner, peer } = read_owned(row)?;
            json!({"owner": owner, "peer": peer})
        }
        Parts::Outbox { .. } => {
            let OutboxRow { author, seq } = read_owned(row)?;
            json!({"author": author, "seq": number(seq)})
        }
        Parts::Applied(_) => {
            let StreamRow { epoch, sequence } = read_owned(row)?;
            json!({"epoch": number(epoch), "sequence": number(sequence)})
        }
        Parts::PairBlock { .. } => seqs(&read_owned::<PairBlockRow>(row)?.seqs),
        Parts::IdBlock { .. } => entries(&read_owned::<IdBlockRow>(row)?.entries),
        Parts::LateId { .. } => seqs(&read_owned::<LateIdRow>(row)?.seqs),
        Parts::Waiting { .. } => bits(read_owned::<WaitingRow>(row)?.0),
    })
}

fn seqs(seqs: &[u64]) -> Value {
    seqs.iter().copied().map(number).collect()
}

fn entries(entries: &[IdEntry]) -> Value {
    entries.iter().map(|entry| json!({"id": id(entry.id), "seq": number(entry.seq)})).collect()
}

/// The places of a block that are marked.
fn bits(marks: u128) -> Value {
    (0..u128::BITS).filter(|bit| marks >> bit & 1 == 1).collect()
}

fn marks(marks: &MarksRow) -> Value {
    let range = |&(first, last): &(u64, u64)| json!([number(first), number(last)]);
    let ranges: Value = marks.ranges.iter().map(range).collect();
    json!({"upTo": number(marks.up_to), "ranges": ranges})
}

fn user(row: &UserRow) -> Value {
    json!({
        "name": row.name, "tenant": row.tenant, "lastSeq": number(row.last_seq),
        "highestSent": id(row.highest_sent), "highestReceived": id(row.highest_received),
        "waiting": number(row.offline), "newestWaiting": bits(row.waiting),
        "listed": row.listed, "unread": number(row.unread),
        "sent": ids(&row.sent), "received": ids(&row.received),
    })
}

fn ids(row: &IdsRow) -> Value {
    json!({
        "newestIds": entries(&row.recent), "idsInBlocksUpTo": id(row.indexed_up_to),
        "highestLateId": id(row.highest_late),
    })
}

fn chat(row: &ChatRow) -> Value {
    json!({
        "id": number(row.id), "createdMs": row.created_ms, "updatedMs": row.updated_ms,
        "top": row.top, "listed": row.listed, "messages": number(row.messages),
        "newest": seqs(&row.recent), "lastSeq": number(row.last_seq),
        "unread": number(row.unread), "received": number(row.received),
        "waiting": number(row.unacked), "pushed": marks(&row.pushed), "acked": marks(&row.acked),
        "readUpTo": number(row.read_up_to), "sent": number(row.sent),
        "peerPushed": marks(&row.peer_pushed), "peerAcked": marks(&row.peer_acked),
        "peerReadUpTo": number(row.peer_read_up_to),
    })
}

fn message(row: &ArchivedMessageRow<'_>, contents: Contents) -> Value {
    let word = |word: Option<String>, number: u8| word.unwrap_or_else(|| number.to_string());
    let kind = MessageType::ALL.get(usize::from(row.kind)).map(|kind| format!("{kind:?}"));
    let chat = ChatType::ALL.get(usize::from(row.chat_type)).map(|chat| format!("{chat:?}"));
    let event = row.event.as_ref().map(|event| {
        word(EventType::ALL.get(usize::from(*event)).map(|event| format!("{event:?}")), *event)
    });
    let mut value = json!({
        "from": row.from.to_native(), "to": row.to.to_native(), "msgType": word(kind, row.kind),
        "chatType": word(chat, row.chat_type), "eventType": event,
        "teamId": row.team.as_ref().map(|team| id(team.to_native())),
        "id": id(row.id.to_native()), "timestamp": row.timestamp_ms.to_native(),
        "serverSendTime": row.server_send_time_ms.to_native(),
        "ordinal": number(row.ordinal.to_native()), "contentBytes": row.content.len(),
    });
    if contents == Contents::Shown {
        value["content"] = (*row.content).into();
        value["name"] = row.name.as_ref().map(|name| &**name).into();
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use anser::ids::{ChatId, UserId};
    use anser::store::keys::Key;
    use anser::store::rows::{MessageRow, RowWriter};

    fn message_row() -> (Vec<u8>, Vec<u8>) {
        let row = MessageRow {
            from: 5,
            to: 6,
            kind: 4,
            chat_type: 0,
            event: None,
            team: None,
            id: (1 << 53) + 1,
            timestamp_ms: 1,
            server_send_time_ms: 2,
            ordinal: 3,
            content: "a secret",
            name: Some("Ann"),
        };
        let mut bytes = Vec::new();
        RowWriter::default().append(&row, &mut bytes);
        (Key::message(UserId::new(5).expect("positive"), 7).to_vec(), bytes)
    }

    /// Holds invariant 1 of `inspect`.
    #[test]
    fn contents_are_printed_only_when_they_were_asked_for() {
        let (key, bytes) = message_row();
        assert!(!row(&key, &bytes, Contents::Hidden).to_string().contains("secret"));
        assert_eq!(row(&key, &bytes, Contents::Shown)["row"]["content"], "a secret");
    }

    /// Holds invariant 2 of `inspect`.
    #[test]
    fn a_number_that_may_be_rounded_is_a_string() {
        let (key, bytes) = message_row();
        assert_eq!(row(&key, &bytes, Contents::Hidden)["row"]["id"], "9007199254740993");
        assert_eq!(number(1 << 53), json!(9_007_199_254_740_992_u64));
        let chat = Key::chat_id(ChatId::new(i64::MAX).expect("positive"));
        assert_eq!(super::key(&chat)["id"], "9223372036854775807");
        assert_eq!(
            row(&key, &[9], Contents::Hidden)["error"],
            "its version is 9, this server reads 3"
        );
    }
}
