//! Requests in: every field, every tolerance, every refusal.

use super::{Peer, call};
use crate::wire::session::Port;

/// What an authenticated frame decodes to, or the Error that it earns.
fn frame(text: &str) -> String {
    let mut peer = Peer::authenticated();
    peer.say(text);
    peer.seen.pop().unwrap_or_else(|| peer.text())
}

/// What a call decodes to, or its answer.
fn asked(path: &str, body: &str) -> String {
    let mut peer = Peer::new(Port::Http);
    peer.give(&call(path, body));
    peer.seen.pop().unwrap_or_else(|| peer.text())
}

fn assert_says(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "{part:?} is not in {said}");
    }
}

/// Invariant 3 of wire.
/// Invariant 1 of wire::json.
#[test]
fn ids_of_19_digits_stay_exact_as_numbers_and_as_strings() {
    for id in ["1268242042090295296", "\"1268242042090295297\"", "9223372036854775807", "1"] {
        let digits = id.trim_matches('"');
        let text = format!(r#"{{"msgType":"Text","toUserId":"2","id":{id},"content":"x"}}"#);
        assert_says(&frame(&text), &[&format!("id: Some(MessageId({digits}))"), "to: UserId(2)"]);
    }
}

#[test]
fn bad_ids_are_refused_by_name() {
    for (id, message) in [
        ("9223372036854775808", "id must be at most 9223372036854775807"),
        ("\"99999999999999999999\"", "id must be at most"),
        ("-1", "id must be a positive number"),
        ("12.0", "id must be a whole number"),
        ("\"\"", "id must be a whole number"),
        ("\"+5\"", "id must be a whole number"),
        ("\"0x5\"", "id must be a whole number"),
        ("true", "id must be a whole number"),
        ("[1]", "id must be a whole number"),
    ] {
        let text = format!(r#"{{"msgType":"Text","toUserId":2,"id":{id}}}"#);
        assert_says(&frame(&text), &[message, "\\\"code\\\":400", "\\\"srcId\\\":null"]);
    }
}

/// Invariant 2 of wire::incoming.
#[test]
fn a_draft_carries_what_was_sent_and_defaults_the_rest() {
    let all = r#"{"msgType":"Event","fromUserId":3,"toUserId":2,"teamId":7,"eventType":"Like",
        "content":"a\"b\u4f60","id":5,"timestamp":1722332144,"chatType":"Group","stateEnum":"x",
        "isRead":null,"more":{"id":[1,{"a":2}]}}"#;
    assert_says(
        &frame(all),
        &[
            "from: Some(UserId(3))",
            "team: Some(TeamId(7))",
            "event: Some(Like)",
            "chat_type: Group",
            "content: \"a\\\"b你\"",
            "id: Some(MessageId(5))",
            "timestamp_ms: Some(1722332144000)",
        ],
    );
    assert_says(
        &frame(r#"{"msgType":"Text","toUserId":2,"content":null,"id":0,"teamId":null}"#),
        &[
            "id: None",
            "from: None",
            "team: None",
            "chat_type: Single",
            "event: None",
            "content: \"\"",
            "timestamp_ms: None",
        ],
    );
    let ms = r#"{"msgType":"Text","toUserId":2,"timestamp":"1722332144206","id":1,"id":2}"#;
    assert_says(&frame(ms), &["timestamp_ms: Some(1722332144206)", "id: Some(MessageId(2))"]);
}

/// Invariant 1 of wire::incoming.
#[test]
fn refused_frames_name_the_field_and_the_id() {
    for (text, parts) in [
        ("[]", ["not a JSON object", "\\\"srcId\\\":null", "\\\"code\\\":400"]),
        ("", ["not a JSON object", "\\\"srcId\\\":null", "\\\"code\\\":400"]),
        (r#"{"id":9}"#, ["msgType is missing", "\\\"srcId\\\":9,", "400"]),
        (r#"{"id":9,"msgType":5}"#, ["msgType must be a string", "\\\"srcId\\\":9,", "400"]),
        (r#"{"id":9,"msgType":"Smell"}"#, ["msgType names nothing known", "9", "400"]),
        (r#"{"id":9,"msgType":"Error"}"#, ["msgType names nothing known", "9", "400"]),
        (r#"{"id":9,"msgType":"Text"}"#, ["toUserId is missing", "9", "400"]),
        (r#"{"id":9,"msgType":"Text","toUserId":0}"#, ["toUserId must be", "9", "400"]),
        (r#"{"id":9,"msgType":"Text","toUserId":4294967296}"#, ["known user", "9", "404"]),
        (r#"{"id":9,"msgType":"Text","toUserId":2,"content":5}"#, ["content must be", "9", "400"]),
        (r#"{"id":9,"msgType":"Text","chatType":"Group"}"#, ["Group is not built", "9", "400"]),
        (r#"{"id":9,"msgType":"Text","chatType":"Pair"}"#, ["chatType names", "9", "400"]),
        (
            r#"{"id":9,"msgType":"Text","toUserId":2,"fromUserId":99999999999}"#,
            ["fromUserId is not the user", "9", "403"],
        ),
        (
            r#"{"id":9,"msgType":"Event","toUserId":2,"eventType":"Odd"}"#,
            ["eventType names", "9", "400"],
        ),
        (r#"{"msgType":"Ack"}"#, ["content is missing", "null", "400"]),
    ] {
        assert_says(&frame(text), &parts);
    }
}

/// Invariant 2 of wire::json.
#[test]
fn curly_quotes_are_straightened_only_where_the_json_needs_it() {
    let curly = "{“msgType”:“Text”,“toUserId”:2,“content”:“你好”}";
    assert_says(&frame(curly), &["content: \"你好\"", "to: UserId(2)"]);
    let valid = r#"{"msgType":"Text","toUserId":2,"content":"他说“好”"}"#;
    assert_says(&frame(valid), &["content: \"他说“好”\""]);
    assert_says(&frame("{“msgType”:“Text”"), &["not a JSON object"]);
}

#[test]
fn a_token_is_read_however_it_is_wrapped() {
    for (content, token) in [
        (r#""plain""#, "plain"),
        (r#""{'a.b-c'}""#, "a.b-c"),
        (r#""{\"quoted\"}""#, "quoted"),
        (r#""{\"token\":\"x y\"}""#, "x y"),
        (r#""{ 'token' : 'z' }""#, "z"),
        (r#"{"token":"nested"}"#, "nested"),
        (r#""{other:1}""#, "{other:1}"),
        (r#""""#, ""),
        ("null", ""),
    ] {
        let text = format!(r#"{{"msgType":"Auth","fromUserId":3,"id":4,"content":{content}}}"#);
        let expected = [format!("token: {token:?}"), "id: Some(MessageId(4))".into()];
        assert_says(&frame(&text), &[&expected[0], &expected[1], "user: UserId(3)"]);
    }
}

#[test]
fn a_clients_ack_is_read_however_it_is_written() {
    let n = "1268242042090295296";
    let one = format!("Ack(One(MessageId({n})))");
    let many = "Ack(Many([MessageId(1), MessageId(2)]))";
    for (content, expected) in [
        (format!(r#""{{'srcId':{n}}}""#), one.as_str()),
        (format!(r#"" {{ 'srcId' : '{n}' }} ""#), &one),
        (format!(r#""{{\"srcId\":{n}}}""#), &one),
        (format!(r#""{{\"srcId\":\"{n}\"}}""#), &one),
        (format!(r#""{{srcId:{n},other:'x'}}""#), &one),
        (format!(r#"{{"srcId":{n}}}"#), &one),
        (format!(r#"{{"srcId":"{n}"}}"#), &one),
        (r#""{\"srcIds\":[1, '2']}""#.into(), many),
        (r#"{"srcIds":[1,"2"]}"#.into(), many),
        (r#""{'srcIds':[]}""#.into(), "Ack(Many([]))"),
        (r#""{'upTo': 7}""#.into(), "Ack(UpTo(MessageId(7)))"),
        (r#"{"upTo":7}"#.into(), "Ack(UpTo(MessageId(7)))"),
    ] {
        let text = format!(r#"{{"chatType":"Single","msgType":"Ack","content":{content}}}"#);
        assert_eq!(frame(&text), expected, "{content}");
    }
}

/// Invariant 1 of wire::ack.
#[test]
fn an_ack_that_names_nothing_is_refused() {
    let many = format!(r#""{{'srcIds':[{}1]}}""#, "1,".repeat(4096));
    for (content, message) in [
        (r#""hello""#, "content must be"),
        (r#""{}""#, "content must be"),
        (r#""{'srcId':}""#, "content must be"),
        (r#""{'srcId':1""#, "content must be"),
        (r#""{'srcId':1} x""#, "content must be"),
        (r#""{'srcId':1.5}""#, "srcId must be a whole number"),
        (r#""{'srcId':0}""#, "srcId must be a positive number"),
        (r#""{'srcIds':5}""#, "content must be"),
        (r#"{"srcIds":5}"#, "srcIds must be a list of ids"),
        ("5", "content must be"),
        (&many, "srcIds must be at most 4096 ids"),
    ] {
        assert_says(&frame(&format!(r#"{{"msgType":"Ack","content":{content}}}"#)), &[message]);
    }
}

#[test]
fn calls_decode_with_their_defaults_and_bounds() {
    let page = "/im/message/user/get/page";
    let offline = "/im/message/offline";
    let identity = r#"{"company":"c","app":"a","thirdUserId":12345678901234567890}"#;
    for (path, body, parts) in [
        (page, r#"{"userId":3}"#, &["Page { user: UserId(3), start: Number(1), size: 10"][..]),
        (page, r#"{"userId":"3","pageNum":2,"pageSize":200}"#, &["Number(2), size: 200"]),
        (page, r#"{"userId":3,"beforeSeq":9}"#, &["start: Before(9)"]),
        (
            page,
            r#"{"fromUserId":3,"toUserId":2}"#,
            &["PairPage { owner: UserId(3), peer: UserId(2)"],
        ),
        (page, "{}", &["userId is missing"]),
        (page, r#"{"fromUserId":3}"#, &["toUserId is missing"]),
        (page, r#"{"userId":3,"pageSize":201}"#, &["pageSize must be 1 to 200"]),
        (page, r#"{"userId":3,"pageNum":0}"#, &["pageNum must be 1 or more"]),
        (offline, r#"{"userId":3}"#, &["after_seq: 0, limit: 10000"]),
        (offline, r#"{"userId":3,"afterSeq":5,"limit":1}"#, &["after_seq: 5, limit: 1 "]),
        (offline, r#"{"userId":3,"limit":10001}"#, &["limit must be 1 to 10000"]),
        ("/im/user/register", identity, &["third_user_id: \"12345678901234567890\"", "name: None"]),
        (
            "/im/user/find",
            r#"{"company":"c","app":"","thirdUserId":"x"}"#,
            &["app must be 1 to 256"],
        ),
        (
            "/im/user/find",
            r#"{"company":"c","app":"a","thirdUserId":1.5}"#,
            &["thirdUserId must be"],
        ),
        (
            "/im/user/find",
            r#"{"company":"c","app":"a","thirdUserId":null}"#,
            &["thirdUserId is missing"],
        ),
        ("/im/message/get/id", "", &["MintIds(None)"]),
        ("/im/message/get/id", r#"{"count":1000}"#, &["MintIds(Some(1000))"]),
        ("/im/message/get/id", r#"{"count":1001}"#, &["count must be 1 to 1000"]),
        ("/im/user/chat/clear/unread", r#"{"id":"2"}"#, &["ClearUnread(ChatId(2))"]),
        ("/im/user/chat/clear/unread2", r#"{"fromUserId":3,"toUserId":2}"#, &["owner: UserId(3)"]),
        ("/im/user/delete/chat/list", r#"{"id":0}"#, &["id must be a positive number"]),
        ("/im/user/chat/unread/count", r#"{"userId":3}"#, &["UnreadCount(UserId(3))"]),
        ("/im/user/chat/top", r#"{"id":2,"top":true}"#, &["chat: ChatId(2), top: true"]),
        ("/im/user/chat/top", r#"{"id":2,"top":1}"#, &["top must be true or false"]),
        ("/im/user/chat/list", r#"{"userId":3,"limit":7}"#, &["limit: 7"]),
    ] {
        assert_says(&asked(path, body), parts);
    }
}

#[test]
fn json_too_deep_or_of_too_many_values_is_refused() {
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(40), "]".repeat(40));
    let wide = format!("{{\"a\":[{}1]}}", "1,".repeat(20_000));
    for text in [deep, wide] {
        assert_says(&frame(&text), &["not a JSON object"]);
    }
}
