//! Frames and bodies out, by hand.
//!
//! Invariants:
//! 1. A frame has its 11 keys (a stored message its 14), always all of them, in the contract's
//!    order; what is unknown is null.
//!
//! Nothing is allocated but room in `out`. An Error frame tells nobody's message: its own `id` and
//! `timestamp` are 0.

use crate::api::{
    ChatEntry, ChatType, EventType, Message, MessageType, Refusal, Reply, StoredMessage,
};
use crate::ids::{MessageId, TeamId, UserId};
use crate::wire::answer::push_error_body;
use crate::wire::codec::{ErrorStyle, WireOptions};
use crate::wire::frame::push_text;
use crate::wire::text::{
    Escaper, push, push_date, push_escaped, push_number, push_string, push_string_or_null,
};
use std::fmt::Write as _;

/// Appends a whole text frame with a message of 11 keys.
pub fn message_frame(message: &Message<'_>, out: &mut Vec<u8>) {
    push_text(out, |out| {
        push_message(message, out);
        out.push(b'}');
    });
}

/// Appends a whole text frame with a message of 14 keys.
pub fn stored_frame(message: &StoredMessage<'_>, out: &mut Vec<u8>) {
    push_text(out, |out| stored_item(message, out));
}

/// The server's own frame to a user: what differs between Ack, Event and Error.
struct Own {
    kind: &'static str,
    id: i64,
    to: Option<UserId>,
    event: Option<EventType>,
    chat_type: ChatType,
    timestamp_ms: i64,
}

/// Appends one of the server's own frames; `content` appends what stands between the quotes.
fn own_frame(own: Own, out: &mut Vec<u8>, content: impl FnOnce(&mut Vec<u8>)) {
    push_text(out, |out| {
        push("{\"msgType\":\"", out);
        push(own.kind, out);
        push("\",\"fromUserId\":1,\"toUserId\":", out);
        match own.to {
            Some(user) => push_number(user.number(), out),
            None => push("null", out),
        }
        match own.event {
            None => push(",\"teamId\":null,\"eventType\":null", out),
            event => push_team_and_event(None, event, out),
        }
        push(",\"content\":\"", out);
        content(out);
        push("\",\"id\":", out);
        push_number(own.id, out);
        push(",\"timestamp\":", out);
        push_number(own.timestamp_ms, out);
        push(",\"chatType\":\"", out);
        push(own.chat_type.name(), out);
        push("\",\"stateEnum\":\"Server\",\"isRead\":false}", out);
    });
}

/// Appends a server Ack frame. `id` is the frame's own.
pub fn ack_frame(
    id: MessageId,
    to: UserId,
    chat_type: ChatType,
    source: MessageId,
    timestamp_ms: i64,
    out: &mut Vec<u8>,
) {
    let (kind, event) = (MessageType::Ack.name(), None);
    let own = Own { kind, id: id.number(), to: Some(to), event, chat_type, timestamp_ms };
    own_frame(own, out, |out| {
        push("{\\\"srcId\\\":", out);
        push_number(source.number(), out);
        push("}", out);
    });
}

/// Appends an OfflineMessage event frame.
pub fn offline_frame(id: MessageId, to: UserId, count: u64, timestamp_ms: i64, out: &mut Vec<u8>) {
    let (kind, event) = (MessageType::Event.name(), Some(EventType::OfflineMessage));
    let chat_type = ChatType::Single;
    let own = Own { kind, id: id.number(), to: Some(to), event, chat_type, timestamp_ms };
    own_frame(own, out, |out| {
        push("您有", out);
        push_number(count, out);
        push("离线消息", out);
    });
}

/// Appends an Error frame.
pub(super) fn error_frame(
    source: Option<MessageId>,
    refusal: Refusal,
    to: Option<UserId>,
    out: &mut Vec<u8>,
) {
    let kind = MessageType::Error.name();
    let chat_type = ChatType::Single;
    let own = Own { kind, id: 0, to, event: None, chat_type, timestamp_ms: 0 };
    own_frame(own, out, |out| {
        push("{\\\"srcId\\\":", out);
        match source {
            Some(source) => push_number(source.number(), out),
            None => push("null", out),
        }
        push(",\\\"code\\\":", out);
        push_number(refusal.code(), out);
        push(",\\\"msg\\\":\\\"", out);
        let written = write!(Escaper { out, levels: 2 }, "{refusal}");
        assert!(written.is_ok(), "writing to memory does not fail");
        push("\\\"}", out);
    });
}

/// Appends a message of 11 keys without its closing brace.
fn push_message(message: &Message<'_>, out: &mut Vec<u8>) {
    push("{\"msgType\":\"", out);
    push(message.kind.name(), out);
    push("\",\"fromUserId\":", out);
    push_number(message.from.number(), out);
    push(",\"toUserId\":", out);
    push_number(message.to.number(), out);
    match (message.team, message.event) {
        (None, None) => push(",\"teamId\":null,\"eventType\":null", out),
        (team, event) => push_team_and_event(team, event, out),
    }
    push(",\"content\":\"", out);
    push_escaped(message.content, out);
    push("\",\"id\":", out);
    push_number(message.id.number(), out);
    push(",\"timestamp\":", out);
    push_number(message.timestamp_ms, out);
    push(",\"chatType\":\"", out);
    push(message.chat_type.name(), out);
    push("\",\"stateEnum\":\"", out);
    push(message.state.name(), out);
    push(if message.is_read { "\",\"isRead\":true" } else { "\",\"isRead\":false" }, out);
}

/// Appends the two keys that hardly any message fills.
#[cold]
fn push_team_and_event(team: Option<TeamId>, event: Option<EventType>, out: &mut Vec<u8>) {
    push(",\"teamId\":", out);
    match team {
        Some(team) => push_number(team.0, out),
        None => push("null", out),
    }
    push(",\"eventType\":", out);
    push_string_or_null(event.map(|event| event.name()), out);
}

/// Appends a list item, without separator.
pub fn stored_item(message: &StoredMessage<'_>, body: &mut Vec<u8>) {
    push_message(&message.message, body);
    push(",\"name\":", body);
    push_string_or_null(message.name, body);
    push(",\"serverSendTime\":", body);
    push_number(message.server_send_time_ms, body);
    push(",\"seq\":", body);
    push_number(message.seq, body);
    push("}", body);
}

/// Appends a list item, without separator.
pub fn chat_item(entry: &ChatEntry<'_>, options: &WireOptions, body: &mut Vec<u8>) {
    let offset = options.utc_offset_seconds;
    push(if entry.top { "{\"top\":true" } else { "{\"top\":false" }, body);
    push(",\"lastMsgId\":", body);
    match &entry.last {
        Some(last) => {
            push("{\"msgType\":\"", body);
            push(last.kind.name(), body);
            push("\",\"id\":", body);
            push_number(last.id.number(), body);
            push(",\"content\":", body);
            push_string(last.content, body);
            push(",\"timestamp\":", body);
            push_number(last.timestamp_ms, body);
            push("}", body);
        }
        None => push("null", body),
    }
    push(",\"createTime\":", body);
    push_date(entry.created_ms, offset, body);
    push(",\"fromUserId\":", body);
    push_number(entry.owner.number(), body);
    push(",\"teamId\":null,\"updateTime\":", body);
    push_date(entry.updated_ms, offset, body);
    push(",\"id\":", body);
    push_number(entry.id.number(), body);
    push(",\"unReadCount\":", body);
    push_number(entry.unread, body);
    push(",\"toUserId\":", body);
    push_number(entry.peer.number(), body);
    push(",\"chatType\":\"Single\",\"lastMsgDate\":", body);
    match entry.last {
        Some(_) => push_date(entry.updated_ms, offset, body),
        None => push("null", body),
    }
    push("}", body);
}

/// Appends a reply's body; returns the HTTP status.
pub fn reply_body(reply: &Reply, options: &WireOptions, body: &mut Vec<u8>) -> u16 {
    match reply {
        Reply::Registered(user) => push_fields(body, &[("userId", i64::from(user.number()))]),
        Reply::Found { user, name } => {
            push("{\"userId\":", body);
            push_number(user.number(), body);
            push(",\"name\":", body);
            push_string_or_null(name.as_deref(), body);
            push("}", body);
        }
        Reply::Id(id) => push_fields(body, &[("id", id.number())]),
        Reply::Ids(minted) => {
            push("{\"id\":", body);
            push_number(minted.first.number(), body);
            push(",\"ids\":", body);
            for (index, id) in minted.iter().enumerate() {
                push(if index == 0 { "[" } else { "," }, body);
                push_number(id.number(), body);
            }
            push("]}", body);
        }
        Reply::Count(count) => {
            push("{\"count\":", body);
            push_number(*count, body);
            push("}", body);
        }
        Reply::Empty => {}
        Reply::Hello => push("Hello im", body),
        Reply::Refused(refusal) => {
            let status = status_of(*refusal, options.errors);
            push_error_body(status, format_args!("{refusal}"), body);
            return status;
        }
    }
    200
}

/// Appends an object of one number.
fn push_fields(body: &mut Vec<u8>, fields: &[(&str, i64)]) {
    for (name, number) in fields {
        push("{\"", body);
        push(name, body);
        push("\":", body);
        push_number(*number, body);
        push("}", body);
    }
}

/// What the server cannot do now keeps HTTP's code in both styles.
fn status_of(refusal: Refusal, errors: ErrorStyle) -> u16 {
    match (refusal.code(), errors) {
        (code @ (429 | 503), _) | (code, ErrorStyle::Rest) => code,
        (_, ErrorStyle::Seed) => 500,
    }
}
