//! WebSocket, point 5: what a client's Ack does, in each of its forms, and what it does not.
#![allow(missing_docs)]

use anser_loadtest::on_every_shard_count;
use anser_loadtest::server::eventually;
use anser_loadtest::world::{Client, World, fresh_id, ids};
use serde_json::{Value, json};

on_every_shard_count! {
    every_form_of_an_ack_takes_the_message_out_of_the_offline_list,
    many_are_acked_by_one_frame,
    up_to_acks_all_that_arrived_before,
    an_ack_is_idempotent_and_has_no_reply,
    acks_of_unknown_or_own_messages_change_nothing,
    the_first_ack_of_any_device_counts_for_all,
    an_ack_of_a_shared_id_acks_every_message_of_that_id,
    the_state_goes_from_server_over_pushed_to_client,
    acks_out_of_order_are_exact,
}

fn delivered(world: &World, count: usize) -> (Client, Client, i64, i64, Vec<i64>) {
    let (anna, bo) = world.pairs()[1];
    let (mut client, mut peer) = (world.connect(anna), world.connect(bo));
    let sent: Vec<i64> = client.send_many(bo, count);
    sent.iter().for_each(|id| drop(peer.expect_message(*id)));
    (client, peer, anna, bo, sent)
}

fn ack_of(content: Value) -> Value {
    json!({"chatType": "Single", "msgType": "Ack", "content": content})
}

fn every_form_of_an_ack_takes_the_message_out_of_the_offline_list(world: &World) {
    let (_client, mut peer, _, bo, sent) = delivered(world, 7);
    let forms = [
        json!({"id": fresh_id(), "chatType": "Single", "msgType": "Ack",
            "content": format!("{{'srcId': {}}}", sent[0])}),
        ack_of(json!(format!("{{'srcId':{}}}", sent[1]))),
        ack_of(json!(format!("{{\"srcId\":{}}}", sent[2]))),
        ack_of(json!(format!("{{\"srcId\":\"{}\"}}", sent[3]))),
        json!({"msgType": "Ack", "fromUserId": bo, "toUserId": 1, "id": null, "chatType": "Single",
            "content": format!("{{ \"srcId\" : {} }}", sent[4])}),
        ack_of(json!(format!("{{\"srcIds\":[{}]}}", sent[5]))),
        ack_of(json!(format!("{{\"upTo\":{}}}", sent[6]))),
    ];
    for (number, form) in forms.into_iter().enumerate() {
        assert_eq!(ids(&world.offline(bo)), sent[number..], "before form {number}");
        peer.say(form);
        peer.expect_nothing_more();
    }
    assert_eq!(world.offline(bo), Vec::<Value>::new());
    assert_eq!(world.page(bo).len(), 7, "acked messages stay in the history");
}

fn many_are_acked_by_one_frame(world: &World) {
    let (_client, mut peer, _, bo, sent) = delivered(world, 200);
    let odd: Vec<i64> = sent.iter().copied().skip(1).step_by(2).collect();
    let even: Vec<i64> = sent.iter().copied().step_by(2).collect();
    peer.say(ack_of(json!(json!({"srcIds": odd}).to_string())));
    peer.expect_nothing_more();
    assert_eq!(ids(&world.offline(bo)), even);
}

fn up_to_acks_all_that_arrived_before(world: &World) {
    let (_client, mut peer, _, bo, sent) = delivered(world, 10);
    peer.ack(sent[6]);
    for last in [4, 6] {
        peer.say(ack_of(json!(format!("{{'upTo':{}}}", sent[last]))));
        peer.expect_nothing_more();
        let waiting = world.offline(bo);
        assert_eq!(ids(&waiting).last(), sent.last());
        assert_eq!(ids(&waiting)[0], if last == 4 { sent[5] } else { sent[7] });
    }
}

fn an_ack_is_idempotent_and_has_no_reply(world: &World) {
    let (_client, mut peer, _, bo, sent) = delivered(world, 2);
    (0..3).for_each(|_| peer.ack(sent[0]));
    peer.expect_nothing_more();
    assert_eq!(ids(&world.offline(bo)), sent[1..]);
}

/// Invariant 2 of chat::acknowledge.
fn acks_of_unknown_or_own_messages_change_nothing(world: &World) {
    let (mut client, mut peer, anna, bo, sent) = delivered(world, 2);
    client.ack(sent[0]);
    client.say(ack_of(json!(format!("{{\"upTo\":{}}}", sent[1]))));
    client.expect_nothing_more();
    peer.ack(123_456_789);
    let mut others = world.connect(world.person());
    others.ack(sent[0]);
    others.expect_nothing_more();
    peer.expect_nothing_more();
    assert_eq!(ids(&world.offline(bo)), sent, "only the recipient's own acks count");
    assert_eq!(world.offline(anna), Vec::<Value>::new());
}

/// Invariant 1 of chat::acknowledge.
fn the_first_ack_of_any_device_counts_for_all(world: &World) {
    let (mut client, mut phone, _, bo, sent) = delivered(world, 3);
    let mut laptop = world.connect(bo);
    assert_eq!(laptop.expect_offline_event(), "您有3离线消息");
    let fourth = client.send(bo, "to both");
    phone.expect_message(fourth);
    laptop.expect_message(fourth);
    laptop.ack(sent[1]);
    laptop.ack(fourth);
    laptop.expect_nothing_more();
    assert_eq!(ids(&world.offline(bo)), [sent[0], sent[2]]);
    phone.ack(fourth);
    phone.expect_nothing_more();
    assert_eq!(
        ids(&world.page(bo)),
        [fourth, sent[2], sent[1], sent[0]],
        "others catch up by page"
    );
}

fn an_ack_of_a_shared_id_acks_every_message_of_that_id(world: &World) {
    let (anna, bo) = world.pairs()[1];
    let cleo = world.person();
    let id = fresh_id();
    for sender in [anna, bo] {
        let mut client = world.connect(sender);
        let draft = client.draft(cleo, id, "same id");
        client.say_acked(draft);
    }
    let mut peer = world.connect(cleo);
    assert_eq!(peer.expect_offline_event(), "您有2离线消息");
    peer.ack(id);
    peer.expect_nothing_more();
    assert_eq!(world.offline(cleo), Vec::<Value>::new());
}

fn state(world: &World, user: i64, id: i64) -> String {
    let page = world.page(user);
    let message = page.iter().find(|message| message["id"] == id).expect("it is on the page");
    message["stateEnum"].as_str().expect("a state").to_owned()
}

/// The sender's own view follows within a second.
#[track_caller]
fn follows(world: &World, sender: i64, id: i64, expected: &str) {
    let begun = std::time::Instant::now();
    eventually(&format!("the sender sees {expected}"), || {
        (state(world, sender, id) == expected).then_some(())
    });
    assert!(begun.elapsed().as_millis() < 1500, "the sender's view took {:?}", begun.elapsed());
}

fn the_state_goes_from_server_over_pushed_to_client(world: &World) {
    for (anna, bo) in world.pairs() {
        let mut client = world.connect(anna);
        let unseen = client.send(bo, "you are away");
        assert_eq!(state(world, bo, unseen), "Server");
        assert_eq!(state(world, anna, unseen), "Server");
        let mut peer = world.connect(bo);
        let id = client.send(bo, "you are there");
        peer.expect_message(id);
        follows(world, bo, id, "ServerToClientIng");
        follows(world, anna, id, "ServerToClientIng");
        peer.ack(id);
        peer.catch_up();
        assert_eq!(state(world, bo, id), "Client");
        follows(world, anna, id, "Client");
        assert_ne!(state(world, bo, unseen), "Client", "nobody acked it");
        peer.ack(unseen);
        peer.catch_up();
        assert_eq!(state(world, bo, unseen), "Client");
        follows(world, anna, unseen, "Client");
    }
}

fn acks_out_of_order_are_exact(world: &World) {
    let (_client, mut peer, anna, bo, sent) = delivered(world, 40);
    let mut left: Vec<i64> = sent.clone();
    for step in 0..40 {
        let id = left.remove(step * 7 % left.len());
        peer.ack(id);
        if step % 8 == 7 {
            peer.catch_up();
            assert_eq!(ids(&world.offline(bo)), left);
        }
    }
    follows(world, anna, sent[0], "Client");
    eventually("the sender sees every message acked", || {
        world.page(anna).iter().all(|message| message["stateEnum"] == "Client").then_some(())
    });
}
