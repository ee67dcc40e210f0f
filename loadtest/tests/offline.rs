//! `/im/message/offline` and the OfflineMessage event.
#![allow(missing_docs)]

use anser_loadtest::json::{FRAME_KEYS, Integers, Keys, STORED_KEYS};
use anser_loadtest::on_every_shard_count;
use anser_loadtest::websocket::{Frame, opcode};
use anser_loadtest::world::{World, fresh_id, ids};
use serde_json::{Value, json};

const OFFLINE: &str = "/im/message/offline";

on_every_shard_count! {
    what_nobody_acked_is_listed_oldest_first,
    fetching_changes_nothing,
    the_event_says_how_many_and_nothing_else_is_pushed,
    without_offline_messages_there_is_no_event,
    pushed_but_unacked_messages_are_offline_too,
    a_limit_and_a_cursor_give_parts,
    the_event_comes_again_when_the_given_part_is_acked,
    bounds_are_refused_by_name,
    ten_thousand_are_streamed_and_the_rest_is_announced,
}

fn what_nobody_acked_is_listed_oldest_first(world: &World) {
    for (anna, bo) in world.pairs() {
        let mut body = world.identity("sender");
        body["name"] = json!("The Sender");
        let sender = world.call("/im/user/register", body).int("userId");
        let (mut client, mut named) = (world.connect(anna), world.connect(sender));
        let sent = [client.send(bo, "one"), client.send(bo, "two"), named.send(bo, "three")];
        let answer = world.post(OFFLINE, json!({"userId": bo}));
        let list = answer.json();
        let list = list.as_array().expect("a list");
        assert_eq!(ids(list), sent);
        for keys in Keys::of_each(&answer.body) {
            assert_eq!(keys.0[..11], FRAME_KEYS);
            assert_eq!(keys.0[11..], STORED_KEYS);
        }
        for (place, message) in list.iter().enumerate() {
            assert_eq!(message.int("seq"), place as i64 + 1);
            assert_eq!(
                (&message["stateEnum"], &message["isRead"]),
                (&json!("Server"), &json!(false))
            );
            assert_eq!(message.int("toUserId"), bo);
        }
        assert_eq!((&list[0]["name"], &list[2]["name"]), (&Value::Null, &json!("The Sender")));
    }
}

/// Invariant 3 of chat::history.
fn fetching_changes_nothing(world: &World) {
    let (anna, bo) = world.pairs()[1];
    let mut client = world.connect(anna);
    client.send_many(bo, 5);
    let first = world.offline(bo);
    assert_eq!(world.offline(bo), first);
    assert_eq!(world.offline(bo), first);
    assert_eq!(first.len(), 5);
    assert_eq!(world.page(bo).iter().filter(|message| message["stateEnum"] == "Server").count(), 5);
}

fn the_event_says_how_many_and_nothing_else_is_pushed(world: &World) {
    for (anna, bo) in world.pairs() {
        let mut client = world.connect(anna);
        client.send_many(bo, 12);
        let mut peer = world.connect(bo);
        let mut frames = peer.unasked();
        assert_eq!(frames.len(), 1, "{frames:#?}");
        let event = frames.remove(0);
        assert_eq!(Keys::of(&event.text).0, FRAME_KEYS);
        assert_eq!(
            (event.json.text("msgType"), event.json.text("eventType")),
            ("Event", "OfflineMessage")
        );
        assert_eq!((event.json.int("fromUserId"), event.json.int("toUserId")), (1, bo));
        assert_eq!(
            (event.json.text("chatType"), event.json.text("content")),
            ("Single", "您有12离线消息")
        );
        assert!(event.json.int("id") % 1000 != 0 || event.json.int("id") == 0, "{}", event.text);
    }
}

fn without_offline_messages_there_is_no_event(world: &World) {
    let (anna, bo) = world.pairs()[1];
    let mut peer = world.connect(bo);
    peer.expect_nothing_more();
    let id = world.connect(anna).send(bo, "x");
    peer.expect_message(id);
    peer.ack(id);
    peer.catch_up();
    drop(peer);
    world.connect(bo).expect_nothing_more();
}

fn pushed_but_unacked_messages_are_offline_too(world: &World) {
    let (anna, bo) = world.pairs()[1];
    let (mut client, mut peer) = (world.connect(anna), world.connect(bo));
    let id = client.send(bo, "pushed");
    peer.expect_message(id);
    peer.catch_up();
    let list = world.offline(bo);
    assert_eq!(ids(&list), [id]);
    assert_eq!(list[0]["stateEnum"], "ServerToClientIng");
    drop(peer);
    assert_eq!(world.connect(bo).expect_offline_event(), "您有1离线消息");
}

fn a_limit_and_a_cursor_give_parts(world: &World) {
    let (anna, bo) = world.pairs()[1];
    let mut client = world.connect(anna);
    let sent: Vec<i64> = client.send_many(bo, 10);
    let part = |body: Value| ids(&world.list(OFFLINE, body));
    assert_eq!(part(json!({"userId": bo, "limit": 3})), sent[..3]);
    assert_eq!(part(json!({"userId": bo, "limit": 3, "afterSeq": 3})), sent[3..6]);
    assert_eq!(part(json!({"userId": bo, "afterSeq": 8})), sent[8..]);
    assert_eq!(part(json!({"userId": bo, "afterSeq": 10})), Vec::<i64>::new());
    assert_eq!(part(json!({"userId": bo.to_string(), "limit": 10000})), sent);
}

fn the_event_comes_again_when_the_given_part_is_acked(world: &World) {
    for (anna, bo) in world.pairs() {
        let mut client = world.connect(anna);
        let sent: Vec<i64> = client.send_many(bo, 10);
        let mut peer = world.connect(bo);
        assert_eq!(peer.expect_offline_event(), "您有10离线消息");
        let given = world.list(OFFLINE, json!({"userId": bo, "limit": 3}));
        assert_eq!(ids(&given), sent[..3]);
        peer.ack(sent[0]);
        peer.ack(sent[1]);
        peer.expect_nothing_more();
        peer.ack(sent[2]);
        assert_eq!(peer.expect_offline_event(), "您有7离线消息");
        let rest = world.list(OFFLINE, json!({"userId": bo}));
        assert_eq!(ids(&rest), sent[3..]);
        sent[3..].iter().for_each(|id| peer.ack(*id));
        peer.expect_nothing_more();
        assert_eq!(world.offline(bo), Vec::<Value>::new());
    }
}

fn bounds_are_refused_by_name(world: &World) {
    let bo = world.person();
    for limit in [json!(0), json!(10_001), json!(-1), json!("x"), json!(2.5)] {
        world.refused(OFFLINE, json!({"userId": bo, "limit": limit}), "limit");
    }
    for after in [json!(-1), json!("x"), json!([])] {
        world.refused(OFFLINE, json!({"userId": bo, "afterSeq": after}), "afterSeq");
    }
    for user in [json!(15_000_000), json!(0), json!("x"), Value::Null, json!({})] {
        world.refused(OFFLINE, json!({"userId": user}), "userId");
    }
    world.refused(OFFLINE, json!({}), "userId");
}

fn ten_thousand_are_streamed_and_the_rest_is_announced(world: &World) {
    let (anna, bo) = world.pairs()[1];
    let mut client = world.connect(anna);
    let sent: Vec<i64> = (0..10_050).map(|_| fresh_id()).collect();
    for part in sent.chunks(500) {
        let mut bytes = Vec::new();
        for id in part {
            let draft = client.draft(bo, *id, "one of many").to_string();
            Frame::whole(opcode::TEXT, draft.as_bytes()).write(&mut bytes);
        }
        client.connection.send_bytes(&bytes);
        part.iter().for_each(|id| drop(client.expect_ack(*id)));
    }
    let mut peer = world.connect(bo);
    assert_eq!(peer.expect_offline_event(), "您有10050离线消息");
    let answer = world.post(OFFLINE, json!({"userId": bo}));
    assert_eq!(answer.header("transfer-encoding"), Some("chunked"), "streamed");
    let list = answer.json();
    assert_eq!(ids(list.as_array().expect("a list")), sent[..10_000]);
    peer.say(json!({"msgType": "Ack", "content": format!("{{'upTo':{}}}", sent[9_999])}));
    assert_eq!(peer.expect_offline_event(), "您有50离线消息");
    assert_eq!(ids(&world.offline(bo)), sent[10_000..]);
}
