//! What can be said to a server that nobody should say: others' names and messages, numbers beyond
//! all bounds, nesting and keys without end. All of it at the same time, to one server.

use anser_loadtest::PATIENCE;
use anser_loadtest::hostile::{MIB, Siege};
use anser_loadtest::http::{self, Answer};
use anser_loadtest::json::Integers;
use anser_loadtest::server::Setup;
use anser_loadtest::websocket::{Connection, Received};
use anser_loadtest::world::{Client, World, fresh_id, ids};
use serde_json::{Value, json};
use std::time::Instant;

/// A name, and what is said.
type Kind = (&'static str, fn(&World));

#[test]
fn nothing_that_is_said_does_more_than_it_may() {
    let siege = Siege::of(Setup::shards(2));
    let kinds: [Kind; 6] = [
        ("forged authors", nobody_writes_for_another),
        ("forged acks", nobody_acks_for_another),
        ("frames as calls", frames_are_no_calls),
        ("numbers", absurd_numbers_are_refused_and_change_nothing),
        ("nesting", nesting_without_end_is_refused),
        ("keys", keys_and_escapes_of_every_kind_are_read),
    ];
    std::thread::scope(|scope| {
        for (name, kind) in kinds {
            let world = siege.world(name);
            let thread = std::thread::Builder::new().name(name.to_owned());
            thread.spawn_scoped(scope, move || kind(&world)).expect("a thread");
        }
    });
    siege.end(32 * MIB);
}

/// Two who have written to each other once, and what each has.
fn friends(world: &World) -> (i64, i64, Vec<i64>) {
    let (anna, bo) = world.pairs()[1];
    let (mut client, mut peer) = (world.connect(anna), world.connect(bo));
    let sent = client.send_many(bo, 5);
    sent.iter().for_each(|id| drop(peer.expect_message(*id)));
    (anna, bo, sent)
}

fn nobody_writes_for_another(world: &World) {
    let (anna, bo, sent) = friends(world);
    let mallory = world.person();
    let mut forger = world.connect(mallory);
    let names =
        [json!(anna), json!(anna.to_string()), json!(1), json!(i64::MAX), json!(15_000_000)];
    let kinds = ["Text", "Image", "File", "Video", "Audio", "Location", "Link", "Event"];
    for (name, kind) in names.iter().flat_map(|name| kinds.map(|kind| (name, kind))) {
        let id = fresh_id();
        let error = forger.say_refused(json!({"id": id, "fromUserId": name, "toUserId": bo,
            "chatType": "Single", "msgType": kind, "content": "forged"}));
        assert_eq!((error.int("srcId"), error.int("code")), (id, 403), "{error}");
        forger.say(json!({"msgType": "Heartbeat", "fromUserId": name}));
    }
    // Whoever is named twice is the one that is named last.
    let twice = format!(
        "{{\"id\":{},\"fromUserId\":{mallory},\"fromUserId\":{anna},\"toUserId\":{bo},\
         \"msgType\":\"Text\",\"content\":\"x\"}}",
        fresh_id()
    );
    forger.connection.send_text(&twice);
    assert_eq!(forger.expect_error().int("code"), 403);
    let other = json!({"msgType": "Auth", "fromUserId": anna, "content": "t", "id": fresh_id()});
    assert_eq!(forger.say_refused(other).int("code"), 409);
    let id = forger.send(mallory, "I am still who I was");
    assert_eq!(world.page(mallory)[0].int("fromUserId"), mallory);
    assert_eq!(ids(&world.page(mallory)), [id]);
    for user in [anna, bo] {
        let mut newest = ids(&world.page(user));
        newest.reverse();
        assert_eq!(newest, sent, "nothing came to {user}, nothing went from him");
    }
}

fn nobody_acks_for_another(world: &World) {
    let (anna, bo, sent) = friends(world);
    let mallory = world.person();
    let mut forger = world.connect(mallory);
    // His own id for somebody else's message does not make it his.
    let own = forger.draft(mallory, sent[0], "mine");
    forger.say_acked(own);
    let contents = [
        json!({"srcId": sent[0]}),
        json!({"srcIds": sent}),
        json!({"upTo": sent[4]}),
        json!({"upTo": i64::MAX}),
    ];
    for content in contents {
        for name in [json!(mallory), json!(bo), json!(anna), Value::Null] {
            for content in [json!(content.to_string()), content.clone()] {
                forger.say(json!({"msgType": "Ack", "fromUserId": name, "toUserId": bo,
                    "chatType": "Single", "content": content}));
            }
        }
    }
    let mut author = world.connect(anna);
    author.say(json!({"msgType": "Ack", "content": json!({"srcIds": sent}).to_string()}));
    author.catch_up();
    forger.catch_up();
    assert_eq!(ids(&world.offline(bo)), sent, "what bo has not acked waits for him");
    assert!(world.page(bo).iter().all(|message| message.text("stateEnum") != "Client"));
    assert_eq!(world.call("/im/user/chat/unread/count", json!({"userId": bo}))["count"], 5);
}

/// There is no call that sends or acks: a frame that is posted somewhere is at best a bad call.
fn frames_are_no_calls(world: &World) {
    let (anna, bo, sent) = friends(world);
    let mut client = http::Client::connect(world.http);
    let send = json!({"id": fresh_id(), "fromUserId": anna, "toUserId": bo, "msgType": "Text",
        "content": "forged"});
    let ack = json!({"msgType": "Ack", "fromUserId": bo, "content": {"srcIds": sent}});
    let paths = ["/ws", "/im/message/send", "/im/message/ack", "/im/user/chat/clear/unread"];
    for (path, frame) in paths.iter().flat_map(|path| [&send, &ack].map(|frame| (path, frame))) {
        let answer = client.post(path, &frame.to_string());
        assert!(matches!(answer.status, 404 | 405 | 500), "{path}: {answer:?}");
    }
    assert_eq!(ids(&world.offline(bo)), sent);
    assert_eq!(world.page(bo).len(), sent.len());
}

/// Numbers, and what is none, as they stand on the wire.
fn absurd_numbers() -> Vec<String> {
    let words = "-1 -0 -9223372036854775808 -9223372036854775809 9223372036854775807 \
        9223372036854775808 18446744073709551615 18446744073709551616 1.5 1.0 1e3 1E400 -1e-400 \
        0.1e-7 4294967296 2147483648 00 01 +1 0x10 1_000 NaN Infinity -Infinity - . 1. true \
        [] {} [1] \"\" \" 1\" \"1 \" \"-1\" \"1e3\" \"9223372036854775808\" \"1.0\" \"\\u0031\"";
    let mut all: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
    all.extend(["9".repeat(1_000), format!("\"{}\"", "9".repeat(1_000))]);
    all.extend([format!("1.{}", "3".repeat(1_000)), format!("-{}e-999", "1".repeat(1_000))]);
    all
}

/// What came of a call: an answer that says something, and a connection that goes on.
#[track_caller]
fn is_answered(answer: &Answer, asked: &str) {
    match answer.status {
        200 => {}
        500 => assert_eq!(answer.json().int("code"), 500, "{asked}: {answer:?}"),
        _ => panic!("{asked}: {answer:?}"),
    }
}

fn absurd_numbers_are_refused_and_change_nothing(world: &World) {
    let (anna, bo, sent) = friends(world);
    let calls: [(&str, &str, &[&str]); 9] = [
        ("/im/message/get/id", "", &["count"]),
        ("/im/message/user/get/page", "userId", &["userId", "pageNum", "pageSize", "beforeSeq"]),
        ("/im/message/user/get/page", "pair", &["fromUserId", "toUserId", "pageNum", "beforeSeq"]),
        ("/im/message/offline", "userId", &["userId", "limit", "afterSeq"]),
        ("/im/user/chat/list", "userId", &["userId", "limit"]),
        ("/im/user/chat/unread/count", "userId", &["userId"]),
        ("/im/user/chat/clear/unread2", "pair", &["fromUserId", "toUserId"]),
        ("/im/user/delete/chat/list", "", &["id"]),
        ("/im/user/chat/top", "top", &["id"]),
    ];
    let (mut client, mut peer) = (http::Client::connect(world.http), world.connect(anna));
    let numbers = absurd_numbers();
    for (path, given, fields) in calls {
        let given = match given {
            "userId" => format!("\"userId\":{bo},"),
            "pair" => format!("\"fromUserId\":{bo},\"toUserId\":{bo},"),
            "top" => "\"top\":true,".to_owned(),
            _ => String::new(),
        };
        // A key that is there twice counts as it stands last.
        for (field, number) in
            fields.iter().flat_map(|field| numbers.iter().map(move |n| (field, n)))
        {
            let body = format!("{{{given}\"{field}\":{number}}}");
            is_answered(&client.post(path, &body), &body);
        }
    }
    for (field, number) in ["id", "toUserId", "teamId", "fromUserId"]
        .iter()
        .flat_map(|field| numbers.iter().map(move |number| (field, number)))
    {
        let frame = format!(
            "{{\"msgType\":\"Event\",\"toUserId\":15000000,\"content\":\"x\",\"{field}\":{number}}}"
        );
        peer.connection.send_text(&frame);
        peer.expect_error();
        peer.say(json!({"msgType": "Heartbeat"}));
    }
    for number in &numbers {
        for key in ["srcId", "upTo"] {
            let quoted = number.replace('"', "\\\"");
            let content = format!("{{\\\"{key}\\\":{quoted}}}");
            peer.connection
                .send_text(&format!("{{\"msgType\":\"Ack\",\"content\":\"{content}\"}}"));
            peer.say(json!({"msgType": "Heartbeat"}));
        }
    }
    let id = fresh_id();
    peer.say(json!({"msgType": "Auth", "fromUserId": anna, "content": "t", "id": id}));
    peer.expect("the end of the refusals", |frame| {
        frame.json["msgType"] == "Ack" && frame.source() == Some(id)
    });
    assert_eq!(ids(&world.offline(bo)), sent);
    timestamps_of_any_size_are_carried(world, &mut world.connect(anna), bo);
}

/// A time that no calendar knows is a number like any other.
fn timestamps_of_any_size_are_carried(world: &World, client: &mut Client, to: i64) {
    for timestamp in [1, 99_999_999_999, i64::MAX / 1000, i64::MAX - 1, i64::MAX] {
        let mut draft = client.draft(to, fresh_id(), "when?");
        draft["timestamp"] = json!(timestamp);
        let id = client.say_acked(draft).source().expect("an id");
        let newest = &world.page(to)[0];
        assert_eq!(newest.int("id"), id);
        assert!(newest.int("timestamp") >= timestamp, "{newest}");
        assert_eq!(world.chats(to)[0]["lastMsgId"]["timestamp"], newest["timestamp"]);
    }
}

fn nesting_without_end_is_refused(world: &World) {
    let [anna, bo] = world.people();
    let mut client = http::Client::connect(world.http);
    let deep = |open: &str, close: &str, depth: usize, inner: &str| {
        open.repeat(depth) + inner + &close.repeat(depth)
    };
    let documents = [
        deep("[", "]", 100_000, ""),
        deep("[", "", 1_000_000, ""),
        deep("{\"a\":", "}", 100_000, "1"),
        deep("[{\"a\":", "}]", 80_000, "1"),
        format!("{{\"a\":{},\"count\":1}}", deep("[", "]", 100_000, "1")),
        format!("{{\"a\":[{}1]}}", "1,".repeat(500_000)),
        format!("{{{}\"a\":1}}", "\"a\":1,".repeat(150_000)),
        format!("{{\"a\":[{}[]]}}", "[],".repeat(300_000)),
        "\"".repeat(1_000_000),
        "\\".repeat(1_000_000),
        "{\"a\":\"".to_owned() + &"\\u0041".repeat(170_000),
    ];
    for document in &documents {
        let answer = client.post("/im/message/get/id", document);
        assert_eq!((answer.status, answer.json().int("code")), (500, 500), "{:.40}", document);
    }
    let mut peer = world.connect(anna);
    for document in &documents {
        let front = &document.as_bytes()[..document.len().min(64 * 1024)];
        peer.connection.send_text(std::str::from_utf8(front).expect("ASCII"));
        assert_eq!(peer.expect_error().int("code"), 400);
        let mut in_content = peer.draft(bo, fresh_id(), "");
        in_content["content"] = json!(&document[..document.len().min(20_000)]);
        peer.say_acked(in_content);
    }
    assert_eq!(world.page(bo).len(), documents.len(), "a text may say what it likes");
}

fn keys_and_escapes_of_every_kind_are_read(world: &World) {
    let (anna, bo) = world.pairs()[1];
    let (mut client, mut peer) = (world.connect(anna), world.connect(bo));
    let long = "k".repeat(16 * 1024);
    let mut plain = String::new();
    let mut escaped = String::new();
    let every = (0..0x300).chain(0x2000..0x2100).chain(0xFFF0..0x10010).filter_map(char::from_u32);
    for letter in every {
        plain.push(letter);
        let mut units = [0; 2];
        letter
            .encode_utf16(&mut units)
            .iter()
            .for_each(|unit| escaped += &format!("\\u{unit:04X}"));
    }
    for (letter, escape) in [('"', "\\\""), ('\\', "\\\\"), ('/', "\\/"), ('\n', "\\n")] {
        plain.push(letter);
        escaped += escape;
    }
    for (letter, escape) in [('\u{8}', "\\b"), ('\u{C}', "\\f"), ('\r', "\\r"), ('\t', "\\t")] {
        plain.push(letter);
        escaped += escape;
    }
    let id = fresh_id();
    client.connection.send_text(&format!(
        "{{\"{long}\":\"{long}\",\"\":0,\"\\u0000\":[],\"\\u0069d\":{id},\"toUserId\":{bo},\
         \"msgType\":\"\\u0054ext\",\"content\":\"{escaped}\"}}"
    ));
    client.expect_ack(id);
    assert_eq!(peer.next_message().json["content"], plain.as_str());
    assert_eq!(world.page(bo)[0]["content"], plain.as_str());
    // Half a letter is none, in text and in names.
    for half in ["\\uD800", "\\uDFFF\\uD800", "\\uD800\\u0041", "\\u12", "\\x41", "\\", "\\u{41}"] {
        let text = format!("{{\"toUserId\":{bo},\"msgType\":\"Text\",\"content\":\"{half}\"}}");
        client.connection.send_text(&text);
        assert_eq!(client.expect_error().int("code"), 400, "{half}");
        let body = format!("{{\"company\":\"{half}\",\"app\":\"a\",\"thirdUserId\":\"b\"}}");
        let answer = http::Client::connect(world.http).post("/im/user/register", &body);
        assert_eq!(answer.status, 500, "{half}");
    }
    let mut bare = Connection::open(world.ws);
    bare.send_text("{\"content\":\"\u{0}\u{1f}\"}");
    assert!(matches!(bare.next(Instant::now() + PATIENCE), Received::Text(_)), "it is refused");
    for name in [long.as_str(), plain.as_str(), ""] {
        world.refused("/im/user/register", world.identity(name), "thirdUserId");
    }
    let odd: String = plain.chars().filter(|letter| !letter.is_alphanumeric()).take(100).collect();
    let user = world.register(&odd);
    assert_eq!(world.call("/im/user/find", world.identity(&odd)).int("userId"), user);
}
