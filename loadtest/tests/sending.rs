//! WebSocket, points 2 and 3: what can be sent, what an Ack says, and what is refused.
#![allow(missing_docs)]

use anser_loadtest::json::{FRAME_KEYS, Integers, Keys};
use anser_loadtest::on_every_shard_count;
use anser_loadtest::world::{World, fresh_id, ids, now_ms};
use serde_json::{Value, json};
use std::collections::BTreeSet;

on_every_shard_count! {
    an_ack_has_the_keys_and_values_of_the_contract,
    whoever_asks_after_an_ack_sees_the_message,
    ids_of_nineteen_digits_stay_exact,
    any_positive_id_is_legal,
    an_id_may_be_a_string,
    a_missing_id_is_made_by_the_server,
    the_author_may_be_left_out_but_not_be_another,
    the_same_message_again_is_acked_again_and_stored_once,
    a_used_id_with_something_else_is_refused,
    two_senders_may_use_the_same_id,
    a_note_to_self_is_stored_once_and_never_offline,
    nobody_writes_to_the_system_or_to_nobody,
    tenants_do_not_know_each_other,
    what_is_not_built_or_not_known_is_refused_by_name,
    frames_that_are_no_objects_are_refused,
    curly_quotes_are_read_where_json_fails_and_kept_where_it_does_not,
    unknown_keys_are_ignored,
    timestamps_in_seconds_become_milliseconds,
    content_arrives_byte_for_byte,
    every_type_and_event_is_carried,
    a_thousand_in_one_write_are_acked_and_stored_in_order,
    heartbeats_have_no_reply,
}

/// Invariant 2 of chat::message_ids.
fn an_ack_has_the_keys_and_values_of_the_contract(world: &World) {
    for (anna, bo) in world.pairs() {
        let mut client = world.connect(anna);
        let id = client.post(bo, "hello");
        let ack = client.expect_ack(id);
        assert_eq!(Keys::of(&ack.text).0, FRAME_KEYS);
        assert_eq!(ack.json["msgType"], "Ack");
        assert_eq!(ack.json["chatType"], "Single");
        assert_eq!((ack.json.int("fromUserId"), ack.json.int("toUserId")), (1, anna));
        assert_eq!(ack.json.text("content"), format!("{{\"srcId\":{id}}}"));
        let own = ack.json.int("id");
        assert!(own > 0 && own != id && own % 1000 != 0, "the Ack's own id {own}");
        assert_eq!((&ack.json["teamId"], &ack.json["eventType"]), (&Value::Null, &Value::Null));
    }
}

fn whoever_asks_after_an_ack_sees_the_message(world: &World) {
    for (anna, bo) in world.pairs() {
        let mut client = world.connect(anna);
        for _ in 0..50 {
            let id = client.send(bo, "seen at once");
            assert_eq!(ids(&world.page(bo))[0], id, "at the recipient");
            assert_eq!(ids(&world.page(anna))[0], id, "at the sender");
            assert_eq!(ids(&world.offline(bo)).last(), Some(&id), "offline");
        }
    }
}

fn ids_of_nineteen_digits_stay_exact(world: &World) {
    let [anna, bo] = world.people();
    let (mut client, mut peer) = (world.connect(anna), world.connect(bo));
    for id in [1_268_242_042_090_295_297, 9_007_199_254_740_993, i64::MAX, i64::MAX - 1] {
        let draft = client.draft(bo, id, "exact");
        client.say_acked(draft);
        let pushed = peer.expect_message(id);
        assert!(pushed.text.contains(&format!("\"id\":{id},")), "{}", pushed.text);
        assert_eq!(world.page(bo)[0].int("id"), id);
    }
}

fn any_positive_id_is_legal(world: &World) {
    let [anna, bo] = world.people();
    let mut client = world.connect(anna);
    for id in [1, 2, 1000, 5, 4_000_000_000] {
        let draft = client.draft(bo, id, "small");
        client.say_acked(draft);
    }
    assert_eq!(ids(&world.page(bo)), [4_000_000_000, 5, 1000, 2, 1], "by arrival, not by id");
    for id in [json!(-1), json!(i64::MIN), json!(9_223_372_036_854_775_808_u64), json!(1.5)] {
        let mut draft = client.draft(bo, 1, "x");
        draft["id"] = id;
        let error = client.say_refused(draft);
        assert!(error.text("msg").contains("id"), "{error}");
    }
    assert_eq!(world.page(bo).len(), 5);
}

fn an_id_may_be_a_string(world: &World) {
    let [anna, bo] = world.people();
    let (mut client, mut peer) = (world.connect(anna), world.connect(bo));
    let id = fresh_id();
    client.say(json!({"id": id.to_string(), "fromUserId": anna.to_string(),
        "toUserId": bo.to_string(), "msgType": "Text", "content": "text"}));
    client.expect_ack(id);
    let pushed = peer.expect_message(id);
    assert_eq!((pushed.json.int("fromUserId"), pushed.json.int("toUserId")), (anna, bo));
    assert_eq!(world.page(bo)[0].int("id"), id, "output is a number");
}

fn a_missing_id_is_made_by_the_server(world: &World) {
    for (anna, bo) in world.pairs() {
        let (mut client, mut peer) = (world.connect(anna), world.connect(bo));
        let mut seen = BTreeSet::new();
        for id in [None, Some(json!(0)), Some(Value::Null), Some(json!("0"))] {
            let mut draft = client.draft(bo, 1, "no id");
            match id {
                None => drop(draft.as_object_mut().expect("an object").remove("id")),
                Some(id) => draft["id"] = id,
            }
            client.say(draft);
            let ack = client.expect("an Ack", |frame| frame.json["msgType"] == "Ack");
            let made = ack.source().expect("the Ack names the id");
            assert!(made > 0 && seen.insert(made), "{made}");
            peer.expect_message(made);
        }
    }
}

fn the_author_may_be_left_out_but_not_be_another(world: &World) {
    let [anna, bo] = world.people();
    let (mut client, mut peer) = (world.connect(anna), world.connect(bo));
    let mut draft = client.draft(bo, fresh_id(), "anonymous?");
    draft.as_object_mut().expect("an object").remove("fromUserId");
    client.say_acked(draft);
    assert_eq!(peer.next_message().json.int("fromUserId"), anna);
    let mut forged = client.draft(bo, 4242, "forged");
    forged["fromUserId"] = json!(bo);
    let error = client.say_refused(forged);
    assert_eq!((&error["srcId"], &error["code"]), (&json!(4242), &json!(403)), "{error}");
    assert!(error.text("msg").contains("fromUserId"), "{error}");
    assert_eq!(world.page(bo).len(), 1);
}

fn the_same_message_again_is_acked_again_and_stored_once(world: &World) {
    for (anna, bo) in world.pairs() {
        let (mut client, mut peer) = (world.connect(anna), world.connect(bo));
        let id = fresh_id();
        let draft = client.draft(bo, id, "once");
        for _ in 0..3 {
            client.say_acked(draft.clone());
        }
        let later = client.send(bo, "later");
        client.say_acked(draft.clone());
        let mut second_device = world.connect(anna);
        second_device.say_acked(draft);
        let last = client.send(bo, "last");
        for expected in [id, later, last] {
            assert_eq!(peer.next_message().json.int("id"), expected, "pushed once, in order");
        }
        assert_eq!(ids(&world.page(bo)), [last, later, id]);
        assert_eq!(ids(&world.page(anna)), [last, later, id]);
        assert_eq!(world.call("/im/user/chat/unread/count", json!({"userId": bo}))["count"], 3);
    }
}

fn a_used_id_with_something_else_is_refused(world: &World) {
    let [anna, bo, cleo] = world.people();
    let mut client = world.connect(anna);
    let id = client.send(bo, "first");
    client.send(bo, "between");
    let mut others = vec![client.draft(bo, id, "second"), client.draft(cleo, id, "first")];
    let mut image = client.draft(bo, id, "first");
    image["msgType"] = json!("Image");
    others.push(image);
    for other in others {
        let error = client.say_refused(other);
        assert_eq!((&error["srcId"], &error["code"]), (&json!(id), &json!(409)), "{error}");
    }
    let page = world.page(bo);
    assert_eq!(page.len(), 2);
    assert_eq!(
        (page[1]["content"].as_str(), page[1]["msgType"].as_str()),
        (Some("first"), Some("Text"))
    );
    assert_eq!(world.page(cleo), Vec::<Value>::new());
}

fn two_senders_may_use_the_same_id(world: &World) {
    for (anna, bo) in world.pairs() {
        let cleo = world.person();
        let id = fresh_id();
        let (mut first, mut second) = (world.connect(anna), world.connect(bo));
        let (from_anna, from_bo) = (first.draft(cleo, id, "anna"), second.draft(cleo, id, "bo"));
        first.say_acked(from_anna.clone());
        second.say_acked(from_bo);
        first.say_acked(from_anna);
        let page = world.page(cleo);
        assert_eq!(ids(&page), [id, id]);
        assert_eq!((&page[0]["content"], &page[1]["content"]), (&json!("bo"), &json!("anna")));
    }
}

fn a_note_to_self_is_stored_once_and_never_offline(world: &World) {
    let anna = world.person();
    let (mut phone, mut laptop) = (world.connect(anna), world.connect(anna));
    let id = phone.send(anna, "buy milk");
    assert_eq!(laptop.expect_message(id).json["content"], "buy milk");
    phone.expect_nothing_more();
    laptop.expect_nothing_more();
    let page = world.page(anna);
    assert_eq!(ids(&page), [id]);
    assert_eq!(page[0]["stateEnum"], "Client");
    assert_eq!(world.offline(anna), Vec::<Value>::new());
    assert_eq!(world.call("/im/user/chat/unread/count", json!({"userId": anna}))["count"], 0);
    let chats = world.chats(anna);
    assert_eq!(chats.len(), 1);
    assert_eq!((chats[0].int("fromUserId"), chats[0].int("toUserId")), (anna, anna));
}

fn nobody_writes_to_the_system_or_to_nobody(world: &World) {
    let anna = world.person();
    let mut client = world.connect(anna);
    for to in [
        json!(1),
        json!(0),
        json!(-3),
        json!(15_000_000),
        json!(1_i64 << 40),
        json!("bo"),
        Value::Null,
    ] {
        let mut draft = client.draft(2, 31, "x");
        draft["toUserId"] = to.clone();
        let error = client.say_refused(draft);
        assert_eq!(error["srcId"], 31, "{to}: {error}");
        assert!(error.text("msg").contains("toUserId"), "{to}: {error}");
    }
    assert_eq!(world.page(anna), Vec::<Value>::new());
    assert_eq!(world.chats(anna), Vec::<Value>::new());
}

fn tenants_do_not_know_each_other(world: &World) {
    let anna = world.person();
    let mut client = world.connect(anna);
    let id_of = |company: &Value, app: &str| {
        let body = json!({"company": company, "app": app, "thirdUserId": "stranger"});
        world.call("/im/user/register", body).int("userId")
    };
    let company = world.identity("x")["company"].clone();
    let strangers = [id_of(&company, "another app"), id_of(&json!("another company"), "chat")];
    for stranger in strangers {
        let draft = client.draft(stranger, 8, "hello?");
        let error = client.say_refused(draft);
        assert_eq!((&error["srcId"], &error["code"]), (&json!(8), &json!(404)), "{error}");
        assert!(error.text("msg").contains("toUserId"), "as of any unknown user: {error}");
        assert_eq!(world.page(stranger), Vec::<Value>::new());
    }
    let colleague = id_of(&company, "chat");
    client.send(colleague, "hello");
}

fn what_is_not_built_or_not_known_is_refused_by_name(world: &World) {
    let [anna, bo] = world.people();
    let mut client = world.connect(anna);
    for (key, value, named) in [
        ("chatType", json!("Group"), "Group"),
        ("chatType", json!("Custom"), "Custom"),
        ("chatType", json!("Room"), "Room"),
        ("chatType", json!("Double"), "chatType"),
        ("chatType", json!(1), "chatType"),
        ("msgType", json!("Smell"), "msgType"),
        ("msgType", json!("Error"), "msgType"),
        ("msgType", Value::Null, "msgType"),
        ("content", json!(5), "content"),
        ("content", json!({"a": 1}), "content"),
        ("eventType", json!("Dance"), "eventType"),
        ("timestamp", json!("soon"), "timestamp"),
    ] {
        let mut draft = client.draft(bo, 55, "x");
        draft[key] = value.clone();
        let error = client.say_refused(draft);
        assert_eq!((&error["srcId"], &error["code"]), (&json!(55), &json!(400)), "{key} {value}");
        assert!(error.text("msg").contains(named), "{key} {value}: {error}");
    }
    client.send(bo, "still here");
    assert_eq!(world.page(bo).len(), 1);
}

fn frames_that_are_no_objects_are_refused(world: &World) {
    let [anna, bo] = world.people();
    let mut client = world.connect(anna);
    let deep = "[".repeat(5000);
    for text in ["", " ", "hello", "[]", "7", "null", "{", "{\"id\":1,}", "{'id':1}", &deep] {
        client.connection.send_text(text);
        let error = client.expect_error();
        assert_eq!((&error["srcId"], &error["code"]), (&Value::Null, &json!(400)), "{text:.20}");
    }
    client.send(bo, "still here");
}

fn curly_quotes_are_read_where_json_fails_and_kept_where_it_does_not(world: &World) {
    let [anna, bo] = world.people();
    let mut client = world.connect(anna);
    let id = fresh_id();
    client.connection.send_text(&format!(
        "{{“id”:{id},“fromUserId”:{anna},“toUserId”:{bo},“chatType”:“Single”,“msgType”:“Text”,\
         “content”:“Hello,World”}}"
    ));
    client.expect_ack(id);
    assert_eq!(world.page(bo)[0]["content"], "Hello,World");
    let quoted = client.send(bo, "she said “yes”");
    assert_eq!(world.page(bo)[0]["content"], "she said “yes”");
    assert_eq!(ids(&world.page(bo)), [quoted, id]);
    client.connection.send_text("{“id”:5,“msgType”:}");
    client.expect_error();
}

fn unknown_keys_are_ignored(world: &World) {
    let [anna, bo] = world.people();
    let (mut client, mut peer) = (world.connect(anna), world.connect(bo));
    let mut draft = client.draft(bo, fresh_id(), "x");
    draft["colour"] = json!({"deep": [1, {"x": [null, 1e300]}]});
    draft["stateEnum"] = json!("Nonsense");
    draft["isRead"] = json!(true);
    client.say_acked(draft);
    let pushed = peer.next_message();
    assert_eq!(Keys::of(&pushed.text).0, FRAME_KEYS);
    assert_eq!(pushed.json["isRead"], false);
}

fn timestamps_in_seconds_become_milliseconds(world: &World) {
    let [anna, bo] = world.people();
    let (mut client, mut peer) = (world.connect(anna), world.connect(bo));
    for (sent, shown) in [
        (json!(1_722_332_144), 1_722_332_144_000),
        (json!(1_722_332_144_206_i64), 1_722_332_144_206),
        (json!("1722332144206"), 1_722_332_144_206),
    ] {
        let mut draft = client.draft(bo, fresh_id(), "x");
        draft["timestamp"] = sent;
        client.say_acked(draft);
        assert_eq!(peer.next_message().json.int("timestamp"), shown);
        assert_eq!(world.page(bo)[0].int("timestamp"), shown);
    }
    let before = now_ms();
    client.send(bo, "no timestamp");
    let stored = world.page(bo).remove(0);
    for key in ["timestamp", "serverSendTime"] {
        let near = before - 1000..=now_ms() + 1000;
        assert!(near.contains(&stored.int(key)), "{key} is the server's clock: {stored}");
    }
}

fn content_arrives_byte_for_byte(world: &World) {
    let contents = [
        "",
        " ",
        "鸿雁传书 🪿 \u{1F468}\u{200D}\u{1F469}",
        "\"quoted\" \\ back / slash",
        "tab\tline\r\nbell\u{7}nul\u{0}del\u{7f}",
        "\u{2028}\u{2029}\u{feff}\u{fffd}",
        "{\"srcId\":1}",
        &"x".repeat(60_000),
        &"雁".repeat(20_000),
    ];
    for (anna, bo) in world.pairs() {
        let (mut client, mut peer) = (world.connect(anna), world.connect(bo));
        for content in contents {
            client.send(bo, content);
            assert_eq!(peer.next_message().json["content"], content);
            assert_eq!(world.page(bo)[0]["content"], content);
            assert_eq!(world.page(anna)[0]["content"], content);
        }
    }
}

fn every_type_and_event_is_carried(world: &World) {
    let [anna, bo] = world.people();
    let (mut client, mut peer) = (world.connect(anna), world.connect(bo));
    for kind in ["Text", "Image", "File", "Video", "Audio", "Location", "Link", "Event"] {
        let mut draft = client.draft(bo, fresh_id(), "/file/down/123123.png");
        draft["msgType"] = json!(kind);
        draft["teamId"] = json!(77);
        client.say_acked(draft);
        let pushed = peer.next_message().json;
        assert_eq!((&pushed["msgType"], &pushed["teamId"]), (&json!(kind), &json!(77)));
        let stored = world.page(bo).remove(0);
        assert_eq!((&stored["msgType"], &stored["teamId"]), (&json!(kind), &json!(77)));
    }
    let events = ["Offline", "Online", "Comment", "Like", "Relay", "Share", "Follow", "Unfollow"];
    for event in events {
        let mut draft = client.draft(bo, fresh_id(), "");
        draft["msgType"] = json!("Event");
        draft["eventType"] = json!(event);
        client.say_acked(draft);
        assert_eq!(peer.next_message().json["eventType"], event);
        assert_eq!(world.page(bo)[0]["eventType"], event);
    }
    let mut bare = client.draft(bo, fresh_id(), "x");
    let keys = bare.as_object_mut().expect("an object");
    keys.remove("chatType");
    keys.remove("content");
    client.say_acked(bare);
    let pushed = peer.next_message().json;
    assert_eq!((&pushed["chatType"], &pushed["content"]), (&json!("Single"), &json!("")));
}

fn a_thousand_in_one_write_are_acked_and_stored_in_order(world: &World) {
    use anser_loadtest::websocket::{Frame, opcode};
    for (anna, bo) in world.pairs() {
        let (mut client, mut peer) = (world.connect(anna), world.connect(bo));
        let sent: Vec<i64> = (0..1000).map(|_| fresh_id()).collect();
        let mut bytes = Vec::new();
        for (number, id) in sent.iter().enumerate() {
            let draft = client.draft(bo, *id, &number.to_string()).to_string();
            Frame::whole(opcode::TEXT, draft.as_bytes()).write(&mut bytes);
        }
        client.connection.send_bytes(&bytes);
        let acked = sent.iter().map(|_| client.expect("an Ack", |_| true).source());
        assert_eq!(acked.collect::<Vec<_>>(), sent.iter().copied().map(Some).collect::<Vec<_>>());
        let came: Vec<i64> = sent.iter().map(|_| peer.next_message().json.int("id")).collect();
        assert_eq!(came, sent);
        assert_eq!(ids(&world.offline(bo)), sent, "offline is oldest first");
    }
}

fn heartbeats_have_no_reply(world: &World) {
    let anna = world.person();
    let mut client = world.connect(anna);
    for heartbeat in [
        json!({"fromUserId": anna, "msgType": "Heartbeat"}),
        json!({"msgType": "Heartbeat"}),
        json!({"fromUserId": anna, "msgType": "Heartbeat", "id": 5, "content": null}),
    ] {
        client.say(heartbeat);
    }
    client.expect_nothing_more();
}
