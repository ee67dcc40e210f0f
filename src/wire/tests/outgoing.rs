//! Frames and bodies out: byte for byte what the contract says.

use super::{Dice, Peer};
use crate::api::{
    ChatEntry, ChatType, DeliveryState, EventType, Field, Message, MessageType, Refusal, Reply,
    StoredMessage,
};
use crate::ids::{ChatId, MessageId, TeamId, UserId};
use crate::wire::encode;
use crate::wire::session::{Dialect, ErrorStyle, WireOptions};
use crate::wire::text::{push_date, push_string};

const OPTIONS: WireOptions = WireOptions {
    dialect: Dialect::Chat,
    errors: ErrorStyle::Seed,
    utc_offset_seconds: 28_800,
    origins: None,
};

fn user(number: i64) -> UserId {
    UserId::new(number).expect("a small positive number")
}

fn id(number: i64) -> MessageId {
    MessageId::new(number).expect("a positive number")
}

fn message() -> Message<'static> {
    Message {
        kind: MessageType::Text,
        from: user(3),
        to: user(2),
        team: None,
        event: None,
        content: "a\"\\\n\u{1}你“",
        id: id(1_268_242_042_090_295_296),
        timestamp_ms: 1_722_492_806_373,
        chat_type: ChatType::Single,
        state: DeliveryState::ServerToClientIng,
        is_read: false,
    }
}

/// The payload of one frame.
fn payload(frame: &[u8]) -> &str {
    assert_eq!(frame[..2], [0x81, 126], "a frame of middling length");
    assert_eq!(usize::from(u16::from_be_bytes([frame[2], frame[3]])), frame.len() - 4);
    std::str::from_utf8(&frame[4..]).expect("frames are UTF-8")
}

/// Invariant 1 of wire::encode.
#[test]
fn a_message_has_its_keys_in_the_order_of_the_contract() {
    let keys = r#"{"msgType":"Text","fromUserId":3,"toUserId":2,"teamId":null,"eventType":null,"content":"a\"\\\n\u0001你“","id":1268242042090295296,"timestamp":1722492806373,"chatType":"Single","stateEnum":"ServerToClientIng","isRead":false"#;
    let mut out = Vec::new();
    encode::message_frame(&message(), &mut out);
    assert_eq!(payload(&out), format!("{keys}}}"));
    let stored =
        StoredMessage { message: message(), name: Some("鹅"), server_send_time_ms: 9, seq: 4 };
    out.clear();
    encode::stored_frame(&stored, &mut out);
    let more = r#","name":"鹅","serverSendTime":9,"seq":4}"#;
    assert_eq!(payload(&out), format!("{keys}{more}"));
    out.clear();
    encode::stored_item(&stored, &mut out);
    assert_eq!(String::from_utf8_lossy(&out), format!("{keys}{more}"));
}

#[test]
fn optional_keys_are_written_when_they_are_there() {
    let mut out = Vec::new();
    let (team, event) = (Some(TeamId(7)), Some(EventType::Like));
    let kind = MessageType::Event;
    encode::message_frame(&Message { kind, team, event, is_read: true, ..message() }, &mut out);
    let text = payload(&out);
    assert!(
        text.contains(r#""teamId":7,"eventType":"Like","#) && text.ends_with("\"isRead\":true}")
    );
}

#[test]
fn the_servers_own_frames_have_the_same_eleven_keys() {
    let mut out = Vec::new();
    encode::ack_frame(id(9), user(3), ChatType::Single, id(5), 77, &mut out);
    let ack = r#"{"msgType":"Ack","fromUserId":1,"toUserId":3,"teamId":null,"eventType":null,"content":"{\"srcId\":5}","id":9,"timestamp":77,"chatType":"Single","stateEnum":"Server","isRead":false}"#;
    assert_eq!(payload(&out), ack);
    out.clear();
    encode::offline_frame(id(9), user(3), 12, 77, &mut out);
    let notice = r#"{"msgType":"Event","fromUserId":1,"toUserId":3,"teamId":null,"eventType":"OfflineMessage","content":"您有12离线消息","id":9,"timestamp":77,"chatType":"Single","stateEnum":"Server","isRead":false}"#;
    assert_eq!(payload(&out), notice);
    let mut peer = Peer::authenticated();
    let refusal = Refusal::WrongType { field: Field("x"), expected: "a \"b\"" };
    peer.session.refuse(Some(id(5)), refusal, &mut peer.out);
    let error = r#"{"msgType":"Error","fromUserId":1,"toUserId":3,"teamId":null,"eventType":null,"content":"{\"srcId\":5,\"code\":400,\"msg\":\"x must be a \\\"b\\\"\"}","id":0,"timestamp":0,"chatType":"Single","stateEnum":"Server","isRead":false}"#;
    assert_eq!(payload(&peer.out), error);
}

#[test]
fn a_chat_entry_has_the_keys_of_the_document() {
    let mut entry = ChatEntry {
        owner: user(2),
        peer: user(3),
        id: ChatId::new(1026).expect("a positive number"),
        top: true,
        created_ms: 1_722_490_190_000,
        updated_ms: 1_722_492_806_373,
        unread: 2,
        last: Some(Message { content: "/f", kind: MessageType::Image, ..message() }),
    };
    let mut out = Vec::new();
    encode::chat_item(&entry, &OPTIONS, &mut out);
    let text = r#"{"top":true,"lastMsgId":{"msgType":"Image","id":1268242042090295296,"content":"/f","timestamp":1722492806373},"createTime":"2024-08-01 13:29:50","fromUserId":2,"teamId":null,"updateTime":"2024-08-01 14:13:26","id":1026,"unReadCount":2,"toUserId":3,"chatType":"Single","lastMsgDate":"2024-08-01 14:13:26"}"#;
    assert_eq!(String::from_utf8_lossy(&out), text);
    entry.last = None;
    out.clear();
    encode::chat_item(&entry, &OPTIONS, &mut out);
    let text = String::from_utf8_lossy(&out);
    assert!(text.contains("\"lastMsgId\":null") && text.ends_with("\"lastMsgDate\":null}"));
}

#[test]
fn replies_have_the_bodies_of_the_contract() {
    let minted = crate::ids::Minted { first: id(5000), step: 2000, count: 3 };
    let name = Some("n\"".into());
    for (reply, status, text) in [
        (Reply::Registered(user(5)), 200, r#"{"userId":5}"#),
        (Reply::Found { user: user(5), name }, 200, r#"{"userId":5,"name":"n\""}"#),
        (Reply::Found { user: user(5), name: None }, 200, r#"{"userId":5,"name":null}"#),
        (Reply::Id(id(7000)), 200, r#"{"id":7000}"#),
        (Reply::Ids(minted), 200, r#"{"id":5000,"ids":[5000,7000,9000]}"#),
        (Reply::Count(4), 200, r#"{"count":4}"#),
        (Reply::Empty, 200, ""),
        (Reply::Hello, 200, "Hello im"),
    ] {
        let mut body = Vec::new();
        assert_eq!(encode::reply_body(&reply, &OPTIONS, &mut body), status);
        assert_eq!(String::from_utf8_lossy(&body), text);
    }
}

#[test]
fn refusals_are_500_in_the_seeds_style_but_for_what_cannot_be_done_now() {
    for (refusal, seed, rest) in [
        (Refusal::NotJson, 500, 400),
        (Refusal::NotAuthenticated, 500, 401),
        (Refusal::NotYou, 500, 403),
        (Refusal::UnknownChat, 500, 404),
        (Refusal::IdUsed, 500, 409),
        (Refusal::TooManyIds, 429, 429),
        (Refusal::Busy, 503, 503),
        (Refusal::StoreFailed, 503, 503),
        (Refusal::DiskFull, 503, 503),
        (Refusal::Draining, 503, 503),
    ] {
        for (errors, code) in [(ErrorStyle::Seed, seed), (ErrorStyle::Rest, rest)] {
            let mut body = Vec::new();
            let options = WireOptions { errors, ..OPTIONS };
            let status = encode::reply_body(&Reply::Refused(refusal), &options, &mut body);
            assert_eq!(status, code);
            let text = String::from_utf8_lossy(&body);
            assert!(text.ends_with(&format!("\",\"code\":{code}}}")), "{text}");
        }
    }
}

/// Invariant 1 of wire::text.
#[test]
fn strings_read_back_as_they_were() {
    let mut dice = Dice(99);
    for _ in 0..2000 {
        let letters =
            ['a', '"', '\\', '\n', '\u{0}', '\u{1f}', '\u{7f}', 'é', '你', '\u{2028}', '😀'];
        let text: String = (0..dice.below(80)).map(|_| letters[dice.below(11)]).collect();
        let mut json = Vec::new();
        push_string(&text, &mut json);
        let mut json = [b"[", &json[..], b"]"].concat();
        let tape = simd_json::to_tape(&mut json).expect("what is written is JSON");
        assert_eq!(tape.0[1], simd_json::Node::String(&text));
    }
}

#[test]
fn dates_are_civil_dates_at_the_offset() {
    for (ms, offset, text) in [
        (0, 0, "\"1970-01-01 00:00:00\""),
        (1_722_492_806_373, 28_800, "\"2024-08-01 14:13:26\""),
        (951_782_399_999, 0, "\"2000-02-28 23:59:59\""),
        (951_782_400_000, -1, "\"2000-02-28 23:59:59\""),
        (i64::MAX, 0, "\"1970-01-01 00:00:00\""),
        (i64::MIN, 0, "\"1970-01-01 00:00:00\""),
    ] {
        let mut out = Vec::new();
        push_date(ms, offset, &mut out);
        assert_eq!(String::from_utf8_lossy(&out), text);
    }
}
