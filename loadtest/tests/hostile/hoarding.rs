//! Those who make the server keep something for them: messages they never read, memory of requests
//! that are long answered, answers they never take.

use super::{narrow, raw};
use anser_loadtest::hostile::{MIB, Siege, at_once};
use anser_loadtest::http;
use anser_loadtest::json::Integers;
use anser_loadtest::server::Setup;
use anser_loadtest::websocket::{Connection, Frame, opcode};
use anser_loadtest::world::{Client, World, fresh_id};
use serde_json::json;
use std::io::{Read, Write};
use std::net::TcpStream;

/// Messages to people who do not read.
const MESSAGES: usize = 100_000;
/// People who do not read, with so many devices each.
const READERS: usize = 8;
const DEVICES: usize = 2;
/// Messages in one write.
const BURST: usize = 250;

/// A device that takes nothing in.
fn asleep(world: &World, user: i64) -> Client {
    let mut client = Client::over(Connection::upgrade(narrow(world.ws), &[]));
    client.authenticate(user);
    client
}

/// Sends all messages, and awaits that all are acked.
fn send_all(world: &World, people: &[i64]) {
    at_once(2, |part| {
        let mut client = world.connect(world.person());
        for burst in 0..MESSAGES / BURST / 2 {
            let to = people[(2 * burst + part) % people.len()];
            let (mut bytes, mut last) = (Vec::new(), 0);
            for _ in 0..BURST {
                last = fresh_id();
                let draft = client.draft(to, last, "you do not read this, do you?").to_string();
                Frame::whole(opcode::TEXT, draft.as_bytes()).write(&mut bytes);
            }
            client.connection.send_bytes(&bytes);
            let end = format!("{last}}}");
            let mut acked = 0;
            while acked < BURST {
                let text = client.connection.next_text();
                assert!(text.contains("\"Ack\""), "{text}");
                acked += 1;
                assert_eq!(text.contains(&end), acked == BURST, "acks come in order: {text}");
            }
        }
    });
}

/// What so many messages to people cost who are not there, or are and do not read; bytes.
fn cost(devices: usize) -> u64 {
    let siege = Siege::of(Setup::shards(2).with("--durability", "async"));
    let world = siege.world("readers");
    let people: [i64; READERS] = world.people();
    let devices = people.iter().flat_map(|user| (0..devices).map(|_| asleep(&world, *user)));
    let devices: Vec<Client> = devices.collect();
    send_all(&world, &people);
    for user in people {
        let limit = json!({"userId": user, "limit": 1});
        let waiting = world.list("/im/message/offline", limit);
        assert_eq!(waiting.len(), 1, "what is not read waits");
    }
    if !devices.is_empty() {
        let cut = siege.server().figure("anser_connections_cut_total") as usize;
        assert_eq!(cut, devices.len(), "12,500 messages are more than 1 MiB and a socket");
    }
    let grown = siege.grown();
    drop(devices);
    siege.end(256 * MIB);
    grown
}

#[test]
fn a_hundred_thousand_messages_to_readers_who_never_read_cost_little_more_than_to_nobody() {
    let (nobody, asleep) = (cost(0), cost(DEVICES));
    let words = format!("to nobody {} MiB, to sleepers {} MiB", nobody / MIB, asleep / MIB);
    eprintln!("{words}");
    assert!(asleep <= nobody + 64 * MIB, "{words}");
}

/// A megabyte that was answered, and one byte of another request: that byte is all that is kept.
#[test]
fn an_answered_request_leaves_no_memory_behind() {
    let siege = Siege::of(Setup::shards(2));
    let world = siege.world("left behind");
    let body = json!({"padding": "x".repeat((1 << 20) - 100)}).to_string();
    let request = http::post("/im/message/get/id", &body) + "P";
    let hold = |_| -> Vec<TcpStream> {
        let one = || {
            let mut stream = raw(world.http);
            stream.write_all(request.as_bytes()).expect("the server reads");
            let mut answer = [0; 15];
            stream.read_exact(&mut answer).expect("it answers");
            assert_eq!(&answer, b"HTTP/1.1 200 OK");
            stream
        };
        (0..150).map(|_| one()).collect()
    };
    let held: Vec<TcpStream> = at_once(2, hold).into_iter().flatten().collect();
    assert_eq!(held.len(), 300);
    siege.end(32 * MIB);
}

/// Pipelined requests with long answers, none of which is ever read.
#[test]
fn answers_that_nobody_takes_are_bounded() {
    let siege = Siege::of(Setup::shards(2));
    let world = siege.world("unread answers");
    let (anna, bo) = world.pairs()[1];
    let mut client = world.connect(anna);
    for _ in 0..20 {
        let ids: Vec<i64> = (0..10).map(|_| client.post(bo, &"x".repeat(20_000))).collect();
        ids.iter().for_each(|id| drop(client.expect_ack(*id)));
    }
    let calls = [
        http::post("/im/message/get/id", "{\"count\":1000}"),
        http::post("/im/message/user/get/page", &format!("{{\"userId\":{bo},\"pageSize\":200}}")),
        http::post("/im/message/offline", &format!("{{\"userId\":{bo}}}")),
    ];
    let held = at_once(4, |part| {
        let ask = |number: usize| {
            let mut stream = narrow(world.http);
            let requests = calls[(part + number) % calls.len()].repeat(2000);
            // It ends when the server reads no more, or has closed.
            let _ = stream.write_all(requests.as_bytes());
            stream
        };
        (0..6).map(ask).collect::<Vec<TcpStream>>()
    });
    assert!(world.call("/im/message/get/id", json!({})).int("id") > 0);
    // 24 peers: what they asked for and is not decoded, and what was answered and is not taken.
    siege.end(24 * 3 * MIB);
    drop(held);
}
