//! WebSocket, point 4: who is pushed what, in which order, and what a pushed frame looks like.
#![allow(missing_docs)]

use anser_loadtest::json::{FRAME_KEYS, Integers, Keys};
use anser_loadtest::on_every_shard_count;
use anser_loadtest::world::{World, ids};
use serde_json::{Value, json};

on_every_shard_count! {
    a_pushed_frame_has_the_keys_and_values_of_the_contract,
    every_device_of_the_recipient_gets_it,
    the_senders_other_devices_get_it_and_the_sending_one_does_not,
    order_is_send_order_per_sender_and_recipient,
    two_people_converse,
    a_device_that_left_gets_nothing_and_disturbs_nobody,
    nobody_else_is_pushed_anything,
}

fn a_pushed_frame_has_the_keys_and_values_of_the_contract(world: &World) {
    for (anna, bo) in world.pairs() {
        let (mut client, mut peer) = (world.connect(anna), world.connect(bo));
        let id = client.send(bo, "Hello,World");
        let pushed = peer.expect_message(id);
        assert_eq!(Keys::of(&pushed.text).0, FRAME_KEYS);
        let frame = pushed.json;
        assert_eq!((frame.int("fromUserId"), frame.int("toUserId")), (anna, bo));
        assert_eq!((frame.text("msgType"), frame.text("chatType")), ("Text", "Single"));
        assert_eq!((&frame["teamId"], &frame["eventType"]), (&Value::Null, &Value::Null));
        assert_eq!((&frame["content"], &frame["isRead"]), (&json!("Hello,World"), &json!(false)));
        let state = frame.text("stateEnum");
        assert!(["Server", "ServerToClientIng"].contains(&state), "{state}");
        assert!(frame.int("timestamp") > 1_700_000_000_000, "{frame}");
    }
}

fn every_device_of_the_recipient_gets_it(world: &World) {
    for (anna, bo) in world.pairs() {
        let mut client = world.connect(anna);
        let mut devices: Vec<_> = (0..5).map(|_| world.connect(bo)).collect();
        let sent = [client.send(bo, "one"), client.send(bo, "two")];
        for device in &mut devices {
            for id in sent {
                assert_eq!(device.next_message().json.int("id"), id);
            }
            device.expect_nothing_more();
        }
    }
}

fn the_senders_other_devices_get_it_and_the_sending_one_does_not(world: &World) {
    for (anna, bo) in world.pairs() {
        let (mut phone, mut laptop) = (world.connect(anna), world.connect(anna));
        let mut peer = world.connect(bo);
        let id = phone.send(bo, "from my phone");
        let copy = laptop.expect_message(id);
        assert_eq!(Keys::of(&copy.text).0, FRAME_KEYS);
        assert_eq!((copy.json.int("fromUserId"), copy.json.int("toUserId")), (anna, bo));
        peer.expect_message(id);
        phone.expect_nothing_more();
        laptop.expect_nothing_more();
        peer.expect_nothing_more();
    }
}

fn order_is_send_order_per_sender_and_recipient(world: &World) {
    let cleo = world.person();
    let mut peer = world.connect(cleo);
    let (anna, bo) = world.pairs()[1];
    let (mut first, mut second) = (world.connect(anna), world.connect(bo));
    for number in 0..300 {
        first.post(cleo, &format!("{number}"));
        second.post(cleo, &format!("{number}"));
    }
    let mut next = [0, 0];
    for _ in 0..600 {
        let frame = peer.next_message().json;
        let author = usize::from(frame.int("fromUserId") == bo);
        assert_eq!(frame.text("content"), next[author].to_string());
        next[author] += 1;
    }
    assert_eq!(next, [300, 300]);
    let page = world.list("/im/message/user/get/page", json!({"userId": cleo, "pageSize": 200}));
    let seqs: Vec<i64> = page.iter().map(|message| message.int("seq")).collect();
    assert_eq!(seqs, (401..=600).rev().collect::<Vec<_>>(), "dense, by arrival");
}

fn two_people_converse(world: &World) {
    for (anna, bo) in world.pairs() {
        let (mut client, mut peer) = (world.connect(anna), world.connect(bo));
        for turn in 0..20 {
            let asked = client.send(bo, &format!("question {turn}"));
            assert_eq!(peer.next_message().json.int("id"), asked);
            peer.ack(asked);
            let answered = peer.send(anna, &format!("answer {turn}"));
            assert_eq!(client.next_message().json.int("id"), answered);
            client.ack(answered);
        }
        client.expect_nothing_more();
        peer.expect_nothing_more();
        assert_eq!(ids(&world.page(anna)), ids(&world.page(bo)), "both saw the same order");
        assert_eq!(world.offline(anna), Vec::<Value>::new());
        assert_eq!(world.offline(bo), Vec::<Value>::new());
    }
}

/// Invariant 1 of chat::presence.
fn a_device_that_left_gets_nothing_and_disturbs_nobody(world: &World) {
    for (anna, bo) in world.pairs() {
        let (mut client, mut staying) = (world.connect(anna), world.connect(bo));
        let leaving = world.connect(bo);
        let first = client.send(bo, "both there");
        drop(leaving);
        let sent: Vec<i64> = client.send_many(bo, 50);
        staying.expect_message(first);
        for id in sent {
            assert_eq!(staying.next_message().json.int("id"), id);
        }
        staying.expect_nothing_more();
    }
}

fn nobody_else_is_pushed_anything(world: &World) {
    let (anna, bo) = world.pairs()[1];
    let bystander = world.person();
    let mut third = world.connect(bystander);
    let mut client = world.connect(anna);
    client.send(bo, "private");
    let marker = client.send(bystander, "for you");
    assert_eq!(third.next_message().json.int("id"), marker);
    third.expect_nothing_more();
    assert_eq!(ids(&world.page(bystander)), [marker]);
}
