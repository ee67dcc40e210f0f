//! `/im/message/user/get/page`: by number, by cursor, by user and by pair.
#![allow(missing_docs)]

use anser_loadtest::json::{FRAME_KEYS, Integers, Keys, STORED_KEYS};
use anser_loadtest::on_every_shard_count;
use anser_loadtest::world::{World, ids};
use serde_json::{Value, json};

const PAGE: &str = "/im/message/user/get/page";

on_every_shard_count! {
    a_stored_message_has_fourteen_keys_in_order,
    pages_are_newest_first_and_the_last_is_short,
    cursors_and_numbers_show_the_same,
    a_pair_is_shown_in_both_directions_as_one_side_sees_it,
    seq_is_dense_for_each_user,
    order_is_arrival_not_id_or_timestamp,
    bounds_are_refused_by_name,
    somebody_without_messages_has_an_empty_page,
    messages_read_as_read_after_a_clear,
}

fn a_stored_message_has_fourteen_keys_in_order(world: &World) {
    let (anna, bo) = world.pairs()[1];
    let id = world.connect(anna).send(bo, "x");
    for user in [anna, bo] {
        let answer = world.post(PAGE, json!({"userId": user}));
        let keys = Keys::of_each(&answer.body);
        assert_eq!(keys.len(), 1);
        assert_eq!(
            (&keys[0].0[..11], &keys[0].0[11..]),
            (&FRAME_KEYS.map(String::from)[..], &STORED_KEYS.map(String::from)[..])
        );
        assert_eq!(answer.json()[0].int("id"), id);
        assert_eq!(answer.json()[0].int("seq"), 1);
    }
}

fn pages_are_newest_first_and_the_last_is_short(world: &World) {
    let (anna, bo) = world.pairs()[1];
    let mut client = world.connect(anna);
    let mut sent: Vec<i64> = client.send_many(bo, 25);
    sent.reverse();
    let page = |body: Value| ids(&world.list(PAGE, body));
    for user in [anna, bo] {
        assert_eq!(page(json!({"userId": user})), sent[..10], "page 1 of 10 by default");
        assert_eq!(page(json!({"userId": user, "pageNum": 2})), sent[10..20]);
        assert_eq!(page(json!({"userId": user, "pageNum": 3, "pageSize": 10})), sent[20..]);
        assert_eq!(page(json!({"userId": user, "pageNum": 4})), Vec::<i64>::new());
        assert_eq!(page(json!({"userId": user, "pageNum": 1_000_000_000})), Vec::<i64>::new());
        assert_eq!(page(json!({"userId": user, "pageNum": "2", "pageSize": "7"})), sent[7..14]);
        assert_eq!(page(json!({"userId": user, "pageNum": 25, "pageSize": 1})), sent[24..]);
        assert_eq!(page(json!({"userId": user, "pageSize": 200})), sent);
    }
}

fn cursors_and_numbers_show_the_same(world: &World) {
    let (anna, bo) = world.pairs()[1];
    let (mut client, mut peer) = (world.connect(anna), world.connect(bo));
    for _ in 0..15 {
        client.send(bo, "there");
        peer.send(anna, "back");
    }
    for base in [json!({"userId": bo}), json!({"fromUserId": bo, "toUserId": anna})] {
        let mut before = None;
        for number in 1..=5 {
            let mut body = base.clone();
            body["pageSize"] = json!(7);
            let mut by_number = body.clone();
            by_number["pageNum"] = json!(number);
            if let Some(seq) = before {
                body["beforeSeq"] = json!(seq);
            }
            let page = world.list(PAGE, body);
            assert_eq!(ids(&page), ids(&world.list(PAGE, by_number)), "page {number}");
            before = page.last().map(|message| message.int("seq"));
        }
        assert_eq!(before, Some(1), "30 messages are 4 pages of 7 and 2 more");
        let mut beyond = base.clone();
        beyond["beforeSeq"] = json!(1);
        assert_eq!(world.list(PAGE, beyond), Vec::<Value>::new());
    }
}

fn a_pair_is_shown_in_both_directions_as_one_side_sees_it(world: &World) {
    for (anna, bo) in world.pairs() {
        let cleo = world.person();
        let (mut client, mut peer) = (world.connect(anna), world.connect(bo));
        let mut third = world.connect(cleo);
        let mut between = Vec::new();
        for _ in 0..6 {
            between.push(client.send(bo, "to bo"));
            client.send(cleo, "to cleo");
            between.push(peer.send(anna, "to anna"));
            third.send(anna, "from cleo");
        }
        between.reverse();
        let pair = |from: i64, to: i64| {
            ids(&world.list(PAGE, json!({"fromUserId": from, "toUserId": to, "pageSize": 50})))
        };
        assert_eq!(pair(anna, bo), between);
        assert_eq!(pair(bo, anna), between);
        assert_eq!(pair(bo, cleo), Vec::<i64>::new());
        assert_eq!(pair(anna, cleo).len(), 12);
        let second = json!({"fromUserId": anna, "toUserId": bo, "pageNum": 2, "pageSize": 5});
        assert_eq!(ids(&world.list(PAGE, second)), between[5..10]);
        assert_eq!(ids(&world.page(anna)).len(), 24);
    }
}

fn seq_is_dense_for_each_user(world: &World) {
    let (anna, bo) = world.pairs()[1];
    let cleo = world.person();
    let mut clients = [world.connect(anna), world.connect(bo), world.connect(cleo)];
    let users = [anna, bo, cleo];
    for number in 0..30 {
        let to = users[(number * 2 + 1) % 3];
        clients[number % 3].send(to, "x");
    }
    for user in users {
        let page = world.page(user);
        let seqs: Vec<i64> = page.iter().map(|message| message.int("seq")).collect();
        let dense: Vec<i64> = (1..=page.len() as i64).rev().collect();
        assert_eq!(seqs, dense, "of {user}");
    }
}

fn order_is_arrival_not_id_or_timestamp(world: &World) {
    let (anna, bo) = world.pairs()[1];
    let mut client = world.connect(anna);
    let order = [(500, 30), (100, 20), (900, 10), (300, 40)];
    for (id, second) in order {
        let mut draft = client.draft(bo, id, "x");
        draft["timestamp"] = json!(1_700_000_000_000_i64 + second * 1000);
        client.say_acked(draft);
    }
    assert_eq!(ids(&world.page(bo)), [300, 900, 100, 500]);
    assert_eq!(ids(&world.page(anna)), [300, 900, 100, 500]);
    assert_eq!(ids(&world.offline(bo)), [500, 100, 900, 300]);
}

fn bounds_are_refused_by_name(world: &World) {
    let [anna, bo] = world.people();
    for (key, values) in [
        ("pageSize", [json!(0), json!(201), json!(-1), json!("x")]),
        ("pageNum", [json!(0), json!(-1), json!("one"), json!(1.5)]),
        ("beforeSeq", [json!(-1), json!("x"), json!({}), json!(0.5)]),
    ] {
        for value in values {
            for mut body in [json!({"userId": bo}), json!({"fromUserId": anna, "toUserId": bo})] {
                body[key] = value.clone();
                world.refused(PAGE, body, key);
            }
        }
    }
    world.refused(PAGE, json!({"userId": 15_000_000}), "userId");
    world.refused(PAGE, json!({"userId": "x"}), "userId");
    world.refused(PAGE, json!({"fromUserId": 15_000_000, "toUserId": bo}), "fromUserId");
    world.refused(PAGE, json!({"fromUserId": anna}), "toUserId");
    world.refused(PAGE, json!({"pageNum": 1}), "userId");
}

fn somebody_without_messages_has_an_empty_page(world: &World) {
    let [anna, bo] = world.people();
    for path in [PAGE, "/im/message/offline", "/im/user/chat/list"] {
        let answer = world.post(path, json!({"userId": anna}));
        assert_eq!((answer.status, answer.body.as_str()), (200, "[]"), "{path}");
    }
    let pair = world.post(PAGE, json!({"fromUserId": anna, "toUserId": bo}));
    assert_eq!((pair.status, pair.body.as_str()), (200, "[]"));
}

fn messages_read_as_read_after_a_clear(world: &World) {
    for (anna, bo) in world.pairs() {
        let mut client = world.connect(anna);
        client.send_many(bo, 4);
        let read = |user| -> Vec<bool> {
            let read = world.page(user).into_iter().map(|message| message["isRead"] == true);
            read.collect()
        };
        assert_eq!(read(bo), [false; 4]);
        world.command("/im/user/chat/clear/unread2", json!({"fromUserId": bo, "toUserId": anna}));
        assert_eq!(read(bo), [true; 4]);
        client.send(bo, "new");
        assert_eq!(read(bo), [false, true, true, true, true], "only what was received so far");
        anser_loadtest::server::eventually("the sender sees what was read", || {
            (read(anna) == [false, true, true, true, true]).then_some(())
        });
    }
}
