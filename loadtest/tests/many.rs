//! What it takes many of: chat lists at their bound, a shard's total of unsent bytes.
#![allow(missing_docs)]

use anser_loadtest::PATIENCE;
use anser_loadtest::http;
use anser_loadtest::json::Integers;
use anser_loadtest::server::Setup;
use anser_loadtest::websocket::{Connection, Frame, Received, opcode};
use anser_loadtest::world::{Client, World, fresh_id, ids};
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Instant;

/// Entries that a chat list keeps.
const CHATS_MAX: usize = 10_000;
/// Entries above them, before the oldest leave together.
const CHATS_SLACK: usize = 256;

/// Registers many people, from several connections at once.
fn register_many(world: &World, count: usize) -> Vec<i64> {
    std::thread::scope(|scope| {
        let part = |first: usize| {
            scope.spawn(move || {
                let mut client = http::Client::connect(world.http);
                let bodies = (first..count).step_by(32);
                let bodies = bodies.map(|number| world.identity(&format!("many {number}")));
                let register = |body: serde_json::Value| {
                    client.post("/im/user/register", &body.to_string()).json().int("userId")
                };
                bodies.map(register).collect::<Vec<i64>>()
            })
        };
        let parts: Vec<_> = (0..32).map(part).collect();
        parts.into_iter().flat_map(|part| part.join().expect("it registers")).collect()
    })
}

/// Invariant 3 of chat::chats.
#[test]
fn a_chat_list_keeps_ten_thousand_entries_and_the_oldest_leave() {
    let server = Setup::shards(2).with("--durability", "async").start();
    let world = World::on(&server, "many chats");
    let anna = world.person();
    let people = register_many(&world, CHATS_MAX + CHATS_SLACK + 50);
    let mut client = world.connect(anna);
    let mut sent = Vec::new();
    for part in people.chunks(500) {
        let mut bytes = Vec::new();
        let messages: Vec<i64> = part.iter().map(|_| fresh_id()).collect();
        for (to, id) in part.iter().zip(&messages) {
            let draft = client.draft(*to, *id, "x").to_string();
            Frame::whole(opcode::TEXT, draft.as_bytes()).write(&mut bytes);
        }
        client.connection.send_bytes(&bytes);
        messages.iter().for_each(|id| drop(client.expect_ack(*id)));
        sent.extend(messages);
    }
    let chats = world.list("/im/user/chat/list", json!({"userId": anna}));
    let peers: BTreeSet<i64> = chats.iter().map(|entry| entry.int("toUserId")).collect();
    assert_eq!(peers.len(), chats.len(), "nobody is there twice");
    assert!((CHATS_MAX..=CHATS_MAX + CHATS_SLACK).contains(&chats.len()), "{}", chats.len());
    let expected: BTreeSet<i64> = people[people.len() - chats.len()..].iter().copied().collect();
    assert_eq!(peers, expected, "those who left are the oldest");
    let pair = json!({"fromUserId": anna, "toUserId": people[0]});
    assert_eq!(ids(&world.list("/im/message/user/get/page", pair)), sent[..1], "messages stay");
    let again = client.send(people[0], "back");
    let first = world.list("/im/user/chat/list", json!({"userId": anna, "limit": 10_000}));
    assert!(first.iter().any(|entry| entry["lastMsgId"]["id"] == again), "and come back");
}

/// A device that takes nothing in. Its segments are small: for large ones the kernel would keep
/// megabytes itself before the server has anything unsent.
fn asleep(world: &World, user: i64) -> Client {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_tcp_mss(536).expect("a TCP socket");
    socket.set_recv_buffer_size(16 * 1024).expect("a socket");
    socket.connect(&world.ws.into()).expect("the server listens");
    let mut client = Client::over(Connection::upgrade(socket.into(), &[]));
    client.authenticate(user);
    client
}

/// Invariant 4 of node::settle.
#[test]
fn at_a_shards_total_of_unsent_bytes_the_largest_holders_are_cut_and_nobody_else() {
    let server = Setup::shards(1).with("--durability", "async").start();
    let world = World::on(&server, "unsent");
    let (anna, awake) = (world.person(), world.person());
    let (mut client, mut undisturbed) = (world.connect(anna), world.connect(awake));
    let people: [i64; 32] = world.people();
    let mut devices: Vec<Vec<Client>> =
        people.iter().map(|user| (0..16).map(|_| asleep(&world, *user)).collect()).collect();
    let content = "x".repeat(60_000);
    // The first has the most by far, and less than each connection may hold.
    let unsent = || server.figure("anser_unsent_bytes") as u64;
    let mut most = 0;
    while unsent() < 16 * 800_000 {
        client.send(people[0], &content);
        most += 1;
        assert!(most < 60, "{} bytes are unsent", unsent());
    }
    assert_eq!(server.figure("anser_connections_cut_total"), 0.0);
    let is_reached = 'sending: {
        for _ in 0..40 {
            for user in &people[1..] {
                client.send(*user, &content);
                if server.figure("anser_connections_cut_total") > 0.0 {
                    break 'sending true;
                }
            }
        }
        false
    };
    assert!(is_reached, "{} bytes are unsent", unsent());
    let id = client.send(awake, "undisturbed");
    undisturbed.expect_message(id);
    assert!((240 << 20..=256 << 20).contains(&unsent()), "{} bytes are unsent", unsent());
    let cut = server.figure("anser_connections_cut_total") as u64;
    assert!((1..=8).contains(&cut), "{cut} were cut though one was enough for each message");
    let closed = devices[0].iter_mut().filter_map(|device| {
        for _ in 0..most {
            match device.connection.next(Instant::now() + PATIENCE) {
                Received::Text(_) => {}
                Received::Close(code, _) => return Some(code),
                other => panic!("a message or a close was expected, not {other:?}"),
            }
        }
        None
    });
    assert_eq!(
        closed.collect::<Vec<_>>(),
        vec![1013; cut as usize],
        "all of them were the first's"
    );
    assert_eq!(world.offline(people[0]).len(), most, "nothing is lost");
}
