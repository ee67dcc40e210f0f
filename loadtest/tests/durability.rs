//! What an Ack is worth: restarts, kills under load, and who may use a data folder.
#![allow(missing_docs)]

use anser_loadtest::PATIENCE;
use anser_loadtest::http;
use anser_loadtest::json::Integers;
use anser_loadtest::server::{Server, Setup, run, run_tools};
use anser_loadtest::websocket::Received;
use anser_loadtest::world::{Pair, World, fresh_id, ids};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How a server ends.
#[derive(Clone, Copy)]
enum End {
    Stop,
    Kill,
}

fn restart(server: Server, end: End) -> Server {
    match end {
        End::Stop => server.stop().start(),
        End::Kill => server.kill().start(),
    }
}

macro_rules! on_each {
    ($($module:ident($shards:expr)),+) => {$(
        mod $module {
            #[test]
            fn a_restart_keeps_everything() {
                super::keeps_everything($shards, super::End::Stop);
            }
            #[test]
            fn a_kill_keeps_everything() {
                super::keeps_everything($shards, super::End::Kill);
            }
            #[test]
            fn a_kill_under_load_loses_nothing_acked() {
                super::loses_nothing_acked($shards, "sync");
            }
            #[test]
            fn a_kill_under_load_loses_nothing_acked_in_async_mode() {
                super::loses_nothing_acked($shards, "async");
            }
            #[test]
            fn a_stop_under_load_drains() {
                super::drains($shards);
            }
            #[test]
            fn ids_rise_over_kills() {
                super::ids_rise($shards);
            }
        }
    )+};
}

on_each!(one_shard(1), two_shards(2), four_shards(4));

/// Everything that can be asked about somebody, but for the state of delivery.
fn all_about(world: &World, user: i64) -> Value {
    let calm = |mut messages: Vec<Value>| {
        for message in &mut messages {
            if message["fromUserId"] == user {
                message["stateEnum"] = Value::Null;
                message["isRead"] = Value::Null;
            }
        }
        messages
    };
    json!({
        "page": calm(world.page(user)),
        "offline": calm(world.offline(user)),
        "chats": world.chats(user),
        "unread": world.call("/im/user/chat/unread/count", json!({"userId": user})),
    })
}

fn keeps_everything(shards: u16, end: End) {
    let server = Setup::shards(shards).start();
    let world = World::on(&server, "keeping");
    let mut named = world.identity("named");
    named["name"] = json!("Named 名");
    let anna = world.call("/im/user/register", named).int("userId");
    let (bo, cleo) = world.pair(Pair::Apart);
    let mut client = world.connect(anna);
    let mut peer = world.connect(bo);
    let used = client.send(bo, "first");
    client.send_many(bo, 20);
    client.send_many(cleo, 3);
    peer.send(anna, "back");
    peer.ack(used);
    peer.catch_up();
    let chat = |owner: i64, other: i64| -> i64 {
        let chats = world.chats(owner);
        let entry = chats.iter().find(|entry| entry.int("toUserId") == other);
        entry.expect("an entry").int("id")
    };
    world.command("/im/user/chat/top", json!({"id": chat(anna, cleo), "top": true}));
    world.command("/im/user/chat/clear/unread", json!({"id": chat(anna, bo)}));
    let deleted = chat(cleo, anna);
    world.command("/im/user/delete/chat/list", json!({"id": deleted}));
    drop((client, peer));
    let before = [anna, bo, cleo].map(|user| all_about(&world, user));
    assert_eq!(before[1]["offline"].as_array().map(Vec::len), Some(20));

    let server = restart(server, end);
    let world = World::on(&server, "keeping");
    let after = [anna, bo, cleo].map(|user| all_about(&world, user));
    // A crash may forget an Ack, never anything else; this one was not crashed into.
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(after["page"].as_array().map(Vec::len), before["page"].as_array().map(Vec::len));
        assert_eq!(after["chats"], before["chats"]);
        assert_eq!(after["unread"], before["unread"]);
        if matches!(end, End::Stop) {
            assert_eq!(after, before);
        }
    }
    assert_eq!(world.register("named"), anna);
    assert_eq!(world.call("/im/user/find", world.identity("named"))["name"], "Named 名");
    let mut client = world.connect(anna);
    let again = client.draft(bo, used, "first");
    client.say_acked(again);
    let error = {
        let other = client.draft(bo, used, "something else");
        client.say_refused(other)
    };
    assert_eq!(error["code"], 409);
    assert_eq!(world.page(bo).len(), 22, "a resent message is known after a restart");
    client.send(cleo, "to a deleted chat");
    let back = world.chats(cleo);
    assert_eq!((back[0].int("id"), back[0].int("unReadCount")), (deleted, 1));
}

/// What one sender did until his connection ended.
struct Story {
    recipient: i64,
    sender: i64,
    sent: Vec<i64>,
    acked: usize,
}

/// Sends with 32 messages in flight until the connection ends.
fn send_until_the_end(
    world: &World,
    (sender, recipient): (i64, i64),
    total: &AtomicUsize,
    connected: &AtomicUsize,
) -> Story {
    let mut client = world.connect(sender);
    connected.fetch_add(1, Ordering::Relaxed);
    let mut story = Story { recipient, sender, sent: Vec::new(), acked: 0 };
    loop {
        while story.sent.len() < story.acked + 32 {
            let id = fresh_id();
            let draft = client.draft(recipient, id, &format!("message {id}")).to_string();
            let frame = anser_loadtest::websocket::Frame::whole(1, draft.as_bytes()).bytes();
            client.connection.send_all_you_can(&frame);
            story.sent.push(id);
        }
        match client.connection.next(Instant::now() + PATIENCE) {
            Received::Text(text) => {
                let expected = story.sent[story.acked].to_string();
                assert!(text.contains(&expected), "acks come in order: {expected} in {text}");
                story.acked += 1;
                total.fetch_add(1, Ordering::Relaxed);
            }
            Received::Close(..) | Received::Gone => return story,
            other => panic!("an Ack was expected, not {other:?}"),
        }
    }
}

/// Runs senders until `acked` messages were acked, then ends the server.
fn load_until(server: Server, world: &World, acked: usize, end: End) -> (Server, Vec<Story>) {
    let pairs: Vec<(i64, i64)> = [world.pairs(), world.pairs()].concat();
    let (total, connected) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let count = pairs.len();
    std::thread::scope(|scope| {
        let (total, connected) = (&total, &connected);
        let senders: Vec<_> = pairs
            .into_iter()
            .map(|pair| scope.spawn(move || send_until_the_end(world, pair, total, connected)))
            .collect();
        let deadline = Instant::now() + PATIENCE;
        let are_all_there = || connected.load(Ordering::Relaxed) == count;
        while total.load(Ordering::Relaxed) < acked || !are_all_there() {
            assert!(Instant::now() < deadline, "{acked} messages take less than {PATIENCE:?}");
            anser_loadtest::server::pause();
        }
        let stopped = match end {
            End::Stop => server.stop(),
            End::Kill => server.kill(),
        };
        let stories = senders.into_iter().map(|sender| sender.join().expect("it ends"));
        let stories = stories.collect();
        verify(&stopped.data());
        (stopped.start(), stories)
    })
}

/// All rows agree, whatever was under way.
#[track_caller]
fn verify(data: &std::path::Path) {
    let done = run_tools(&["verify", "--data-dir", data.to_str().expect("a plain name")]);
    assert_eq!(done.code, Some(0), "{}", done.said);
}

/// Every acked message is there once and in order, at both sides; the others can be sent again.
fn check_stories(world: &World, stories: &[Story]) {
    for story in stories {
        let waiting = world.offline(story.recipient);
        for message in &waiting {
            assert_eq!(message["content"], format!("message {}", message.int("id")));
        }
        let kept = ids(&waiting);
        let unique: BTreeSet<&i64> = kept.iter().collect();
        assert_eq!(unique.len(), kept.len(), "nothing is there twice");
        assert!(kept.len() >= story.acked, "{} kept of {} acked", kept.len(), story.acked);
        assert_eq!(kept, story.sent[..kept.len()], "all acked ones, in the order they were sent");
        let newest = world.page(story.sender);
        let expected: Vec<i64> = story.sent[..kept.len()].iter().rev().take(200).copied().collect();
        assert_eq!(ids(&newest), expected, "the sender's own history");
        let mut client = world.connect(story.sender);
        for id in &story.sent[story.acked.saturating_sub(5)..] {
            let draft = client.draft(story.recipient, *id, &format!("message {id}"));
            client.say_acked(draft);
        }
        assert_eq!(ids(&world.offline(story.recipient)), story.sent, "sent again, stored once");
    }
}

fn loses_nothing_acked(shards: u16, durability: &str) {
    let server = Setup::shards(shards).with("--durability", durability).start();
    let world = World::on(&server, "killed");
    let (server, stories) = load_until(server, &world, 1500, End::Kill);
    check_stories(&World::on(&server, "killed"), &stories);
}

/// Kills one server after another on the same folder. `ANSER_KILLS` says how many; a few by
/// default.
fn outlives_many_kills(shards: u16, durability: &str) {
    let kills = std::env::var("ANSER_KILLS").ok().and_then(|count| count.parse().ok());
    let mut server = Setup::shards(shards).with("--durability", durability).start();
    let mut all = Vec::new();
    for kill in 0..kills.unwrap_or(5) {
        let name = format!("kill {kill}");
        let world = World::on(&server, &name);
        let stories;
        (server, stories) = load_until(server, &world, 100 + kill * 397 % 2000, End::Kill);
        check_stories(&World::on(&server, &name), &stories);
        all.extend(stories);
    }
    // What outlived its own kill has outlived all later ones.
    let world = World::on(&server, "after all kills");
    for story in all {
        assert_eq!(ids(&world.offline(story.recipient)), story.sent);
    }
}

#[test]
fn many_kills_lose_nothing_acked() {
    outlives_many_kills(2, "sync");
}

#[test]
fn many_kills_lose_nothing_acked_in_async_mode() {
    outlives_many_kills(2, "async");
}

fn drains(shards: u16) {
    let server = Setup::shards(shards).start();
    let world = World::on(&server, "drained");
    let mut idle = world.connect(world.person());
    let (server, stories) = load_until(server, &world, 1000, End::Stop);
    assert_eq!(idle.connection.until_closed(PATIENCE), 1001, "a stopping server says goodbye");
    check_stories(&World::on(&server, "drained"), &stories);
}

fn ids_rise(shards: u16) {
    let mut server = Setup::shards(shards).start();
    let mut last = 0;
    for _ in 0..3 {
        let world = World::on(&server, "minting");
        for _ in 0..8 {
            let ids = world.call("/im/message/get/id", json!({"count": 1000}));
            assert!(ids.int("id") > last, "{} came after {last}", ids.int("id"));
            let highest = ids["ids"].as_array().and_then(|ids| ids.last()?.as_i64());
            last = highest.expect("a thousand ids");
        }
        server = server.kill().start();
    }
}

/// Invariant 1 of node::launch.
#[test]
fn a_second_server_on_the_same_folder_refuses() {
    let server = Setup::shards(1).start();
    let world = World::on(&server, "alone");
    let arguments = server.arguments();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let second = run(&arguments, &[]);
    assert!(matches!(second.code, Some(1 | 2)), "{second:?}");
    let folder = server.data().to_string_lossy().into_owned();
    assert!(second.said.contains(&folder), "it names the folder: {}", second.said);
    world.register("the first is undisturbed");
    server.stop();
}

#[test]
fn another_shard_count_refuses_and_changes_nothing() {
    let server = Setup::shards(2).start();
    let anna = World::on(&server, "counted").register("anna");
    let mut stopped = server.stop();
    let data = stopped.data().to_string_lossy().into_owned();
    let ports = ["--http", "127.0.0.1:0", "--ws", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let arguments = [&["serve", "--data-dir", &data, "--shards", "4"][..], &ports].concat();
    let refused = run(&arguments, &[]);
    assert!(matches!(refused.code, Some(1 | 2)), "{refused:?}");
    assert!(refused.said.contains("shards"), "{}", refused.said);
    stopped.setup.shards = 2;
    let server = stopped.start();
    assert_eq!(World::on(&server, "counted").register("anna"), anna);
}

#[test]
fn interrupt_drains_like_terminate() {
    let mut server = Setup::shards(2).start();
    server.signal(rustix::process::Signal::INT);
    assert_eq!(server.wait(Duration::from_secs(10)).code(), Some(0));
}

/// For minting it is the same whether the clock was set back or ids ran ahead of it: the next run
/// begins ten seconds behind what the last one has shown.
#[test]
fn ids_rise_when_the_next_run_begins_behind_those_shown() {
    let server = Setup::shards(8).start();
    let mut client = http::Client::connect(server.http);
    let request = http::post("/im/message/get/id", "{\"count\":1000}");
    let (mut last, deadline) = (0, Instant::now() + PATIENCE);
    'minting: loop {
        assert!(Instant::now() < deadline, "no 429 though ids were minted as fast as can be");
        client.send(request.repeat(64));
        for answer in (0..64).map(|_| client.answer()).collect::<Vec<_>>() {
            if answer.status != 200 {
                break 'minting;
            }
            let ids = answer.json();
            last = ids["ids"][999].as_i64().expect("a thousand ids");
        }
    }
    let server = server.kill().start();
    let world = World::on(&server, "behind");
    let id = anser_loadtest::server::eventually("ids again", || {
        let answer = world.post("/im/message/get/id", json!({}));
        (answer.status == 200).then(|| answer.json().int("id"))
    });
    assert!(id > last, "{id} came after {last}");
}

/// Invariant 3 of node::launch.
#[test]
fn a_request_begun_before_draining_is_answered_503() {
    let mut server = Setup::shards(2).start();
    let world = World::on(&server, "draining");
    let mut begun = http::Client::connect(world.http);
    let request = http::post("/im/user/register", &world.identity("late").to_string());
    begun.send(&request[..request.len() - 1]);
    // What was sent before is read before this is answered, on whichever shard.
    anser_loadtest::server::eventually("the half request", || {
        let figures = http::get(server.admin, "/metrics").body;
        let held = figures.lines().filter(|line| line.starts_with("anser_request_bytes{"));
        held.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .any(|bytes| bytes > 0.0)
            .then_some(())
    });
    server.terminate();
    let answer = begun.answer();
    assert_eq!((answer.status, answer.json().int("code")), (503, 503), "{answer:?}");
    begun.expect_closed();
    drop(begun);
    assert_eq!(server.wait(Duration::from_secs(10)).code(), Some(0));
}
