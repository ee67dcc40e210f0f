//! WebSocket, point 1: who may open a session, how he says so, and what he may say before.
#![allow(missing_docs)]

use anser_loadtest::PATIENCE;
use anser_loadtest::json::{FRAME_KEYS, Integers, Keys};
use anser_loadtest::on_every_shard_count;
use anser_loadtest::websocket::Received;
use anser_loadtest::world::{World, fresh_id, ids};
use serde_json::{Value, json};
use std::time::Instant;

on_every_shard_count! {
    every_form_of_a_token_is_taken,
    an_auth_with_an_id_is_acked,
    an_auth_without_an_id_has_no_reply,
    strangers_are_told_why_and_closed,
    authenticating_again_as_the_same_user_is_acked,
    authenticating_again_as_another_changes_nothing,
    frames_before_auth_are_processed_in_order_after_it,
    sixty_four_frames_are_held_and_no_more,
    sixty_four_kilobytes_are_held_and_no_more,
    a_broken_frame_before_auth_is_refused_at_once,
    what_was_held_for_a_stranger_is_never_sent,
    everything_in_one_write_with_the_handshake,
}

fn every_form_of_a_token_is_taken(world: &World) {
    let user = world.person();
    let forms = [json!("secret"), json!("{'token'}"), json!("{\"token\":\"secret\"}"), json!("")];
    for content in forms {
        let mut client = world.stranger();
        let id = fresh_id();
        client.say(json!({"msgType": "Auth", "fromUserId": user, "content": content, "id": id}));
        client.expect_ack(id);
    }
    // The document's own example, and a user id as a string.
    for from in [json!(user), json!(user.to_string())] {
        let mut client = world.stranger();
        client.say(json!({"msgType": "Auth", "fromUserId": from, "content": "{'token'}"}));
        let id = fresh_id();
        client.say(json!({"id": id, "fromUserId": user, "toUserId": user, "chatType": "Single",
            "msgType": "Text", "content": "it is me"}));
        client.expect_ack(id);
    }
}

fn an_auth_with_an_id_is_acked(world: &World) {
    let user = world.person();
    for id in [json!(fresh_id()), json!(fresh_id().to_string())] {
        let mut client = world.stranger();
        client.say(json!({"msgType": "Auth", "fromUserId": user, "content": "t", "id": id}));
        let id = id.as_i64().unwrap_or_else(|| id.as_str().expect("text").parse().expect("digits"));
        let ack = client.expect_ack(id);
        assert_eq!(Keys::of(&ack.text).0, FRAME_KEYS);
        assert_eq!((ack.json.int("fromUserId"), ack.json.int("toUserId")), (1, user));
    }
}

fn an_auth_without_an_id_has_no_reply(world: &World) {
    let user = world.person();
    let mut client = world.stranger();
    client.say(json!({"msgType": "Auth", "fromUserId": user, "content": "t"}));
    let id = fresh_id();
    client.say(json!({"msgType": "Auth", "fromUserId": user, "content": "t", "id": id}));
    let text = client.connection.next_text();
    assert!(text.contains(&id.to_string()), "the first frame answers the second Auth: {text}");
}

fn strangers_are_told_why_and_closed(world: &World) {
    let nobody = 16_000_000;
    for from in [json!(nobody), json!(1), json!(0), json!(-5), json!("x"), Value::Null, json!(2.5)]
    {
        let mut client = world.stranger();
        client.say(json!({"msgType": "Auth", "fromUserId": from, "content": "t", "id": 5}));
        let error = client.expect_error();
        assert_eq!(error["srcId"], 5, "{from}: {error}");
        if from == nobody || from == 1 {
            assert_eq!(error["code"], 401, "{from}: {error}");
            client.connection.expect_close(4401);
        }
    }
}

fn authenticating_again_as_the_same_user_is_acked(world: &World) {
    let (anna, bo) = world.pairs()[1];
    let (mut client, mut other) = (world.connect(anna), world.connect(bo));
    client.authenticate(anna);
    let id = other.send(anna, "once");
    client.expect_message(id);
    client.expect_nothing_more();
}

fn authenticating_again_as_another_changes_nothing(world: &World) {
    for (anna, bo) in world.pairs() {
        let mut client = world.connect(anna);
        let auth = json!({"msgType": "Auth", "fromUserId": bo, "content": "t", "id": 9});
        let error = client.say_refused(auth);
        assert_eq!((&error["srcId"], &error["code"]), (&json!(9), &json!(409)), "{error}");
        let id = client.send(bo, "still anna");
        assert_eq!(world.page(bo)[0]["fromUserId"], anna);
        assert_eq!(ids(&world.page(bo)), [id]);
    }
}

fn frames_before_auth_are_processed_in_order_after_it(world: &World) {
    for (anna, bo) in world.pairs() {
        let (mut early, mut peer) = (world.stranger(), world.connect(bo));
        let sent: Vec<i64> = (0..30).map(|_| fresh_id()).collect();
        early.say(json!({"fromUserId": anna, "msgType": "Heartbeat"}));
        for id in &sent {
            early.say(json!({"id": id, "fromUserId": anna, "toUserId": bo, "msgType": "Text",
                "chatType": "Single", "content": id.to_string()}));
        }
        early.authenticate(anna);
        let acked: Vec<_> = sent.iter().map(|id| early.expect_ack(*id)).collect();
        assert_eq!(acked.len(), 30);
        let came: Vec<i64> = sent.iter().map(|_| peer.next_message().json.int("id")).collect();
        assert_eq!(came, sent, "in the order they were sent");
    }
}

fn sixty_four_frames_are_held_and_no_more(world: &World) {
    let [anna, bo] = world.people();
    let frame = |id: i64| json!({"id": id, "fromUserId": anna, "toUserId": bo, "msgType": "Text", "content": "x"});
    let mut patient = world.stranger();
    let sent: Vec<i64> = (0..64).map(|_| fresh_id()).collect();
    sent.iter().for_each(|id| patient.say(frame(*id)));
    patient.authenticate(anna);
    sent.iter().for_each(|id| drop(patient.expect_ack(*id)));

    let mut pushy = world.stranger();
    (0..65).for_each(|_| pushy.say(frame(fresh_id())));
    pushy.connection.expect_close(4408);
    assert_eq!(world.page(bo).len(), 64, "what a stranger sent was not stored");
}

fn sixty_four_kilobytes_are_held_and_no_more(world: &World) {
    let [anna, bo] = world.people();
    let frame = |id: i64, bytes: usize| {
        json!({"id": id, "fromUserId": anna, "toUserId": bo, "msgType": "Text",
            "content": "x".repeat(bytes)})
    };
    let mut patient = world.stranger();
    let (first, second) = (fresh_id(), fresh_id());
    patient.say(frame(first, 30_000));
    patient.say(frame(second, 30_000));
    patient.authenticate(anna);
    patient.expect_ack(first);
    patient.expect_ack(second);

    let mut pushy = world.stranger();
    (0..3).for_each(|_| pushy.say(frame(fresh_id(), 30_000)));
    pushy.connection.expect_close(4408);
}

fn a_broken_frame_before_auth_is_refused_at_once(world: &World) {
    let user = world.person();
    let mut client = world.stranger();
    client.connection.send_text("no JSON at all");
    assert_eq!(client.expect_error()["srcId"], Value::Null);
    client.authenticate(user);
}

fn what_was_held_for_a_stranger_is_never_sent(world: &World) {
    let [anna, bo] = world.people();
    let mut client = world.stranger();
    client.say(json!({"id": 77, "fromUserId": anna, "toUserId": bo, "msgType": "Text"}));
    client.say(json!({"msgType": "Auth", "fromUserId": 15_999_999, "content": "t"}));
    client.connection.expect_close(4401);
    assert_eq!(world.page(anna), Vec::<Value>::new());
    assert_eq!(world.page(bo), Vec::<Value>::new());
}

fn everything_in_one_write_with_the_handshake(world: &World) {
    use anser_loadtest::websocket::{Connection, Frame, opcode};
    for (anna, bo) in world.pairs() {
        let mut bytes = Vec::new();
        let auth = json!({"msgType": "Auth", "fromUserId": anna, "content": "t"}).to_string();
        Frame::whole(opcode::TEXT, auth.as_bytes()).write(&mut bytes);
        let sent: Vec<i64> = (0..20).map(|_| fresh_id()).collect();
        for id in &sent {
            let text = json!({"id": id, "toUserId": bo, "msgType": "Text", "content": "x"});
            Frame::whole(opcode::TEXT, text.to_string().as_bytes()).write(&mut bytes);
        }
        let mut connection = Connection::open_with(world.ws, &bytes);
        for id in &sent {
            match connection.next(Instant::now() + PATIENCE) {
                Received::Text(text) => assert!(text.contains(&id.to_string()), "{id}: {text}"),
                other => panic!("an Ack of {id} was expected, not {other:?}"),
            }
        }
        let newest_first: Vec<i64> = sent.iter().rev().copied().collect();
        assert_eq!(ids(&world.page(bo)), newest_first);
    }
}
