//! The chat list, unread counts, clear, delete and top.
#![allow(missing_docs)]

use anser_loadtest::json::{Integers, Keys};
use anser_loadtest::on_every_shard_count;
use anser_loadtest::world::{World, now_ms};
use serde_json::{Value, json};

const LIST: &str = "/im/user/chat/list";
const CLEAR: &str = "/im/user/chat/clear/unread";
const CLEAR_PAIR: &str = "/im/user/chat/clear/unread2";
const DELETE: &str = "/im/user/delete/chat/list";
const COUNT: &str = "/im/user/chat/unread/count";
const TOP: &str = "/im/user/chat/top";

on_every_shard_count! {
    an_entry_has_the_keys_and_values_of_the_contract,
    both_sides_have_an_entry_of_their_own,
    unread_counts_content_received_since_the_last_clear,
    clearing_by_id_and_by_pair_clears_one_chat,
    a_deleted_chat_comes_back_with_its_id_and_keeps_its_messages,
    top_comes_first_then_the_newest,
    a_limit_shortens_the_list,
    unknown_chats_are_refused,
    missing_and_wrong_keys_are_refused_by_name,
    entries_of_many_have_ids_of_their_own,
}

fn unread(world: &World, user: i64) -> i64 {
    world.call(COUNT, json!({"userId": user})).int("count")
}

fn entry(world: &World, owner: i64, peer: i64) -> Option<Value> {
    world.chats(owner).into_iter().find(|entry| entry.int("toUserId") == peer)
}

#[track_caller]
fn chat_id(world: &World, owner: i64, peer: i64) -> i64 {
    entry(world, owner, peer).expect("there is such an entry").int("id")
}

fn assert_is_date(text: &str) {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
    assert_eq!(shape, "9999-99-99 99:99:99", "{text}");
}

fn an_entry_has_the_keys_and_values_of_the_contract(world: &World) {
    for (anna, bo) in world.pairs() {
        let mut client = world.connect(anna);
        client.send(bo, "first");
        let mut image = client.draft(bo, 1_268_572_304_611_348_481, "/file/down/123123.png");
        image["msgType"] = json!("Image");
        client.say_acked(image);
        let answer = world.post(LIST, json!({"userId": bo}));
        let keys = Keys::of_each(&answer.body);
        assert_eq!(
            keys[0].0,
            [
                "top",
                "lastMsgId",
                "createTime",
                "fromUserId",
                "teamId",
                "updateTime",
                "id",
                "unReadCount",
                "toUserId",
                "chatType",
                "lastMsgDate"
            ]
        );
        let entry = &answer.json()[0];
        assert_eq!((&entry["top"], &entry["teamId"]), (&json!(false), &Value::Null));
        assert_eq!((entry.int("fromUserId"), entry.int("toUserId")), (bo, anna));
        assert_eq!((entry.int("unReadCount"), entry.text("chatType")), (2, "Single"));
        for key in ["createTime", "updateTime", "lastMsgDate"] {
            assert_is_date(entry.text(key));
        }
        let last = &entry["lastMsgId"];
        let start = answer.body.find("\"lastMsgId\":").expect("the key") + 12;
        let end = start + answer.body[start..].find('}').expect("its end") + 1;
        let last_keys = Keys::of(&answer.body[start..end]).0;
        assert_eq!(last_keys, ["msgType", "id", "content", "timestamp"]);
        assert_eq!((last.text("msgType"), last.int("id")), ("Image", 1_268_572_304_611_348_481));
        assert_eq!(last.text("content"), "/file/down/123123.png");
        assert!((now_ms() - last.int("timestamp")).abs() < 60_000, "{last}");
        assert!(entry.int("id") > 0);
    }
}

fn both_sides_have_an_entry_of_their_own(world: &World) {
    for (anna, bo) in world.pairs() {
        world.connect(anna).send(bo, "hello");
        let (hers, his) = (chat_id(world, anna, bo), chat_id(world, bo, anna));
        assert_ne!(hers, his);
        assert_eq!((unread(world, anna), unread(world, bo)), (0, 1));
        world.connect(bo).send(anna, "hello back");
        assert_eq!((chat_id(world, anna, bo), chat_id(world, bo, anna)), (hers, his));
        assert_eq!((unread(world, anna), unread(world, bo)), (1, 1), "own sends clear nothing");
        assert_eq!((world.chats(anna).len(), world.chats(bo).len()), (1, 1));
    }
}

fn unread_counts_content_received_since_the_last_clear(world: &World) {
    let (anna, bo) = world.pairs()[1];
    let cleo = world.person();
    let (mut client, mut peer) = (world.connect(anna), world.connect(bo));
    let mut third = world.connect(cleo);
    for kind in ["Text", "Image", "File", "Video", "Audio", "Location", "Link", "Event"] {
        let mut draft = client.draft(bo, anser_loadtest::world::fresh_id(), "x");
        draft["msgType"] = json!(kind);
        client.say_acked(draft);
    }
    assert_eq!(unread(world, bo), 7, "an Event is not counted");
    third.send(bo, "from cleo");
    assert_eq!(unread(world, bo), 8);
    peer.send(anna, "own");
    peer.send(bo, "to self");
    assert_eq!(unread(world, bo), 8);
    let of = |other| entry(world, bo, other).expect("an entry").int("unReadCount");
    assert_eq!((of(anna), of(cleo), of(bo)), (7, 1, 0));
    let offline: Vec<i64> = anser_loadtest::world::ids(&world.offline(bo));
    offline.into_iter().for_each(|id| peer.ack(id));
    peer.catch_up();
    assert_eq!(unread(world, bo), 8, "acked is not read");
}

fn clearing_by_id_and_by_pair_clears_one_chat(world: &World) {
    for (anna, bo) in world.pairs() {
        let cleo = world.person();
        let (mut client, mut third) = (world.connect(anna), world.connect(cleo));
        let send_both = |client: &mut anser_loadtest::world::Client, third: &mut _| {
            client.send(bo, "x");
            client.send(bo, "y");
            anser_loadtest::world::Client::send(third, bo, "z");
        };
        send_both(&mut client, &mut third);
        world.command(CLEAR, json!({"id": chat_id(world, bo, anna)}));
        assert_eq!(unread(world, bo), 1);
        send_both(&mut client, &mut third);
        assert_eq!(unread(world, bo), 4);
        world.command(CLEAR_PAIR, json!({"fromUserId": bo, "toUserId": cleo}));
        assert_eq!(unread(world, bo), 2);
        world.command(CLEAR, json!({"id": chat_id(world, bo, anna).to_string()}));
        world.command(CLEAR, json!({"id": chat_id(world, bo, anna)}));
        assert_eq!(unread(world, bo), 0);
        assert_eq!(world.offline(bo).len(), 6, "read is not acked");
    }
}

fn a_deleted_chat_comes_back_with_its_id_and_keeps_its_messages(world: &World) {
    for (anna, bo) in world.pairs() {
        let mut client = world.connect(anna);
        client.send(bo, "before");
        client.send(bo, "before too");
        let id = chat_id(world, bo, anna);
        world.command(TOP, json!({"id": id, "top": true}));
        world.command(DELETE, json!({"id": id}));
        assert_eq!(entry(world, bo, anna), None);
        assert_eq!(unread(world, bo), 0, "its unread left with it");
        assert_eq!(world.page(bo).len(), 2, "its messages did not");
        assert!(entry(world, anna, bo).is_some(), "the other side keeps its own");
        client.send(bo, "after");
        let back = entry(world, bo, anna).expect("a new message brings it back");
        assert_eq!((back.int("id"), back.int("unReadCount")), (id, 1));
        assert_eq!(back["lastMsgId"]["content"], "after");
        world.command(DELETE, json!({"id": id}));
        world.connect(bo).send(anna, "an own message brings it back too");
        assert_eq!(chat_id(world, bo, anna), id);
    }
}

fn top_comes_first_then_the_newest(world: &World) {
    let bo = world.person();
    let friends: [i64; 5] = world.people();
    for friend in friends {
        world.connect(friend).send(bo, "hello");
    }
    let order =
        || -> Vec<i64> { world.chats(bo).iter().map(|entry| entry.int("toUserId")).collect() };
    let [a, b, c, d, e] = friends;
    assert_eq!(order(), [e, d, c, b, a]);
    let set = |friend, top: bool| {
        world.command(TOP, json!({"id": chat_id(world, bo, friend), "top": top}));
    };
    set(b, true);
    assert_eq!(order(), [b, e, d, c, a]);
    assert_eq!(world.chats(bo)[0]["top"], true);
    set(d, true);
    assert_eq!(order(), [d, b, e, c, a], "several at the top: the newest first");
    world.connect(bo).send(a, "own messages count as news");
    assert_eq!(order(), [d, b, a, e, c]);
    world.connect(b).send(bo, "news at the top");
    assert_eq!(order(), [b, d, a, e, c]);
    set(b, false);
    assert_eq!(order(), [d, b, a, e, c]);
    set(d, false);
    set(d, false);
    assert_eq!(order(), [b, a, e, d, c]);
}

fn a_limit_shortens_the_list(world: &World) {
    let bo = world.person();
    let mut client = world.connect(bo);
    for friend in world.people::<12>() {
        client.send(friend, "hello");
    }
    let whole = world.chats(bo);
    assert_eq!(whole.len(), 12);
    assert_eq!(world.list(LIST, json!({"userId": bo, "limit": 5})), whole[..5]);
    for limit in [json!(0), json!(10_001), json!("x"), json!(-1)] {
        world.refused(LIST, json!({"userId": bo, "limit": limit}), "limit");
    }
}

fn unknown_chats_are_refused(world: &World) {
    let [anna, bo] = world.people();
    for id in [999_999_999_i64, 1, i64::MAX] {
        world.refused(CLEAR, json!({"id": id}), "chat");
        world.refused(DELETE, json!({"id": id}), "chat");
        world.refused(TOP, json!({"id": id, "top": true}), "chat");
    }
    world.refused(CLEAR_PAIR, json!({"fromUserId": anna, "toUserId": bo}), "chat");
    world.refused(COUNT, json!({"userId": 15_000_000}), "userId");
    world.refused(LIST, json!({"userId": 15_000_000}), "userId");
}

fn missing_and_wrong_keys_are_refused_by_name(world: &World) {
    let [anna, bo] = world.people();
    world.connect(anna).send(bo, "x");
    let id = chat_id(world, bo, anna);
    for path in [CLEAR, DELETE, TOP] {
        for value in [Value::Null, json!("x"), json!(-1), json!(0), json!([]), json!(1.5)] {
            world.refused(path, json!({"id": value, "top": true}), "id");
        }
        world.refused(path, json!({"top": true}), "id");
    }
    for top in [Value::Null, json!("yes"), json!(7), json!([])] {
        world.refused(TOP, json!({"id": id, "top": top}), "top");
    }
    world.refused(CLEAR_PAIR, json!({"fromUserId": bo}), "toUserId");
    world.refused(CLEAR_PAIR, json!({"toUserId": bo}), "fromUserId");
    for path in [LIST, COUNT] {
        for value in [Value::Null, json!("x"), json!(0), json!(true)] {
            world.refused(path, json!({"userId": value}), "userId");
        }
        world.refused(path, json!({}), "userId");
    }
    assert_eq!((unread(world, bo), world.chats(bo).len()), (1, 1), "nothing was half done");
}

fn entries_of_many_have_ids_of_their_own(world: &World) {
    let bo = world.person();
    let mut client = world.connect(bo);
    let mut seen = std::collections::BTreeSet::new();
    for friend in world.people::<20>() {
        client.send(friend, "hello");
        assert!(seen.insert(chat_id(world, friend, bo)), "of {friend}");
    }
    for entry in world.chats(bo) {
        assert!(seen.insert(entry.int("id")), "{entry}");
    }
    assert_eq!(seen.len(), 40);
}
