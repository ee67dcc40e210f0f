//! Users spread over shards and nobody notices: sockets that move, requests for elsewhere.
#![allow(missing_docs)]

use anser_loadtest::http::{Client as HttpClient, post};
use anser_loadtest::json::Integers;
use anser_loadtest::on_every_shard_count;
use anser_loadtest::server::Setup;
use anser_loadtest::websocket::{Connection, Frame, opcode};
use anser_loadtest::world::{Client, Pair, World, fresh_id, ids};
use serde_json::json;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

on_every_shard_count! {
    users_spread_over_all_shards,
    everybody_writes_to_everybody_in_order,
    one_connection_may_ask_about_everybody,
    a_moving_socket_loses_nothing_of_what_follows_its_auth,
    a_request_cut_in_two_moves_whole,
    chats_of_every_shard_are_cleared_from_anywhere,
}

/// Invariant 1 of node.
#[test]
fn every_shard_has_threads_of_its_own_on_one_core() {
    let world = World::shared(4, "threads");
    let tasks = format!("/proc/{}/task", world.server_id);
    let mut pinned = BTreeSet::new();
    for task in std::fs::read_dir(tasks).expect("the server runs") {
        let status = task.expect("a task").path().join("status");
        let status = std::fs::read_to_string(status).unwrap_or_default();
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
        let name = field("Name:").unwrap_or_default().trim();
        // The executor numbers its threads too: shard-2-3.
        let number = name.strip_prefix("shard-").and_then(|rest| rest.split('-').next());
        if let Some(number) = number.and_then(|number| number.parse::<u16>().ok()) {
            let cores = field("Cpus_allowed_list:").unwrap_or_default().trim();
            assert!(cores.parse::<u32>().is_ok(), "{name} may run on {cores}");
            pinned.insert(number);
        }
    }
    assert_eq!(pinned, BTreeSet::from([0, 1, 2, 3]));
}

/// Invariant 3 of node.
/// Invariant 6 of node::shard_loop.
#[test]
fn an_idle_server_neither_spins_nor_misses_a_ring() {
    let server = Setup::shards(2).start();
    let world = World::on(&server, "idle");
    let (anna, bo) = world.pair(Pair::Apart);
    let (mut client, mut peer) = (world.connect(anna), world.connect(bo));
    let cpu_ms = || anser_loadtest::load::process::cpu_ms(server.id()).expect("it runs");
    let (before, begun) = (cpu_ms(), Instant::now());
    while begun.elapsed() < Duration::from_secs(2) {
        anser_loadtest::server::pause();
    }
    let busy = cpu_ms() - before;
    assert!(busy < 400, "{busy} ms of CPU in {:?} of nothing", begun.elapsed());
    // Both shards have parked before each of these: a lost ring would wait for the next tick.
    for _ in 0..100 {
        anser_loadtest::server::pause();
        let id = client.send(bo, "wake up");
        peer.expect_message(id);
    }
}

fn users_spread_over_all_shards(world: &World) {
    let homes: BTreeSet<u16> = (0..64).map(|_| world.home(world.person())).collect();
    assert_eq!(homes.len(), usize::from(world.shards), "{homes:?}");
}

fn everybody_writes_to_everybody_in_order(world: &World) {
    let people: [i64; 10] = world.people();
    let mut clients = people.map(|user| world.connect(user));
    for number in 0..10 {
        for client in &mut clients {
            for to in people {
                client.post(to, &number.to_string());
            }
        }
    }
    for (place, client) in clients.iter_mut().enumerate() {
        let mut next = [0; 10];
        // A note to self is not pushed to the connection it came from.
        for _ in 0..90 {
            let frame = client.next_message().json;
            let author = people.iter().position(|user| *user == frame.int("fromUserId"));
            let author = author.expect("one of us");
            assert_eq!(frame.int("toUserId"), people[place]);
            assert_eq!(frame.text("content"), next[author].to_string(), "from {author}");
            next[author] += 1;
        }
        next[place] = 10;
        assert_eq!(next, [10; 10]);
    }
    for user in people {
        assert_eq!(world.page(user).len(), 190, "10 to self, 90 sent, 90 received");
        assert_eq!(world.offline(user).len(), 90);
    }
}

fn one_connection_may_ask_about_everybody(world: &World) {
    let people: [i64; 12] = world.people();
    for user in people {
        world.connect(user).send(people[0], &format!("from {user}"));
    }
    let mut client = HttpClient::connect(world.http);
    for _ in 0..5 {
        for user in people {
            let body = json!({"userId": user, "pageSize": 200}).to_string();
            let page = client.post("/im/message/user/get/page", &body).json();
            let page = page.as_array().expect("a list");
            let contents: Vec<&str> = page.iter().map(|message| message.text("content")).collect();
            assert!(contents.contains(&&*format!("from {user}")), "{contents:?}");
        }
    }
    // The same user many times over, so that the connection moves to his home, then another's.
    for user in people {
        let body = json!({"userId": user}).to_string();
        client.send(post("/im/user/chat/unread/count", &body).repeat(30));
        for _ in 0..30 {
            let expected = if user == people[0] { 11 } else { 0 };
            assert_eq!(client.answer().json().int("count"), expected);
        }
    }
}

fn a_moving_socket_loses_nothing_of_what_follows_its_auth(world: &World) {
    let people: [i64; 8] = world.people();
    let mut all = Vec::new();
    for round in 0..15 {
        for (place, user) in people.into_iter().enumerate() {
            let to = people[(place + round) % 8];
            let sent: Vec<i64> = (0..20).map(|_| fresh_id()).collect();
            let mut bytes = Vec::new();
            let auth = json!({"msgType": "Auth", "fromUserId": user, "content": "t"}).to_string();
            Frame::whole(opcode::TEXT, auth.as_bytes()).write(&mut bytes);
            for id in &sent {
                let text = json!({"id": id, "toUserId": to, "msgType": "Text", "content": "x"});
                Frame::whole(opcode::TEXT, text.to_string().as_bytes()).write(&mut bytes);
            }
            let mut connection = Connection::open(world.ws);
            connection.send_bytes(&bytes);
            all.push((Client::over(connection), user, to, sent));
        }
    }
    for (client, user, to, sent) in &mut all {
        for id in sent.iter() {
            let ack = client.expect("an Ack", |frame| frame.json["msgType"] == "Ack");
            assert_eq!(ack.source(), Some(*id), "acks come once and in order");
        }
        let pair = json!({"fromUserId": to, "toUserId": user, "pageSize": 200});
        let page = world.list("/im/message/user/get/page", pair);
        let mut kept = ids(&page);
        kept.retain(|id| sent.contains(id));
        kept.reverse();
        assert_eq!(kept, *sent, "stored once and in order");
    }
}

fn a_request_cut_in_two_moves_whole(world: &World) {
    for (anna, bo) in world.pairs() {
        let id = fresh_id();
        let auth = json!({"msgType": "Auth", "fromUserId": anna, "content": "t"}).to_string();
        let text = json!({"id": id, "toUserId": bo, "msgType": "Text", "content": "in two"});
        let text = text.to_string();
        let mut bytes = Frame::whole(opcode::TEXT, auth.as_bytes()).bytes();
        let auth_bytes = bytes.len();
        Frame::part(opcode::TEXT, &text.as_bytes()[..10]).write(&mut bytes);
        Frame::whole(opcode::CONTINUATION, &text.as_bytes()[10..]).write(&mut bytes);
        for cut in [auth_bytes, auth_bytes + 3, auth_bytes + 12, auth_bytes + 18, bytes.len() - 1] {
            let mut connection = Connection::open(world.ws);
            connection.send_bytes(&bytes[..cut]);
            connection.send_bytes(&bytes[cut..]);
            Client::over(connection).expect_ack(id);
        }
        assert_eq!(ids(&world.page(bo)), [id]);
    }
}

fn chats_of_every_shard_are_cleared_from_anywhere(world: &World) {
    let author = world.person();
    let mut client = world.connect(author);
    let mut http = HttpClient::connect(world.http);
    for reader in world.people::<12>() {
        client.send(reader, "x");
        let list = http.post("/im/user/chat/list", &json!({"userId": reader}).to_string()).json();
        assert_eq!(list[0].int("unReadCount"), 1);
        let clear = json!({"id": list[0]["id"]}).to_string();
        assert_eq!(http.post("/im/user/chat/clear/unread", &clear).status, 200);
        let count = http.post("/im/user/chat/unread/count", &json!({"userId": reader}).to_string());
        assert_eq!(count.json().int("count"), 0, "whoever asks after a 200 sees it");
    }
}
