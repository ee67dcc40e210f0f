//! What takes the contract a while: redelivery after 60 s, silence of 90 s, strangers of 10 s. And
//! slow disks, which are tried meanwhile.
//!
//! One test; all that it waits for passes at the same time on servers of 1, 2 and 4 shards.
#![allow(missing_docs)]

mod disk;

use anser_loadtest::http::{self, Client as HttpClient};
use anser_loadtest::json::{FRAME_KEYS, Integers, Keys, STORED_KEYS};
use anser_loadtest::server::Setup;
use anser_loadtest::websocket::{Connection, Received};
use anser_loadtest::world::{World, fresh_id, ids};
use serde_json::json;
use std::time::{Duration, Instant};

#[test]
fn deadlines_of_the_contract_are_kept() {
    let servers = [1, 2, 4].map(|shards| Setup::shards(shards).start());
    let waits: [fn(&World); 6] = [
        unacked_messages_are_pushed_again_to_those_who_ack,
        silent_connections_are_pinged_then_dropped,
        answering_pings_or_sending_heartbeats_keeps_a_connection,
        strangers_have_ten_seconds,
        unfinished_requests_have_ten_seconds,
        a_slow_drip_is_no_request,
    ];
    std::thread::scope(|scope| {
        for (server, wait) in servers.iter().flat_map(|server| waits.map(|wait| (server, wait))) {
            scope.spawn(move || wait(&World::on(server, "slow")));
        }
    });
}

/// Asserts that something took about as long as the contract says.
#[track_caller]
fn assert_took(since: Instant, seconds: u64) {
    let took = since.elapsed();
    let allowed = Duration::from_secs(seconds) - Duration::from_millis(500);
    assert!(took >= allowed, "{took:?} is sooner than {seconds} s");
    assert!(took < allowed + Duration::from_secs(15), "{took:?} is later than {seconds} s");
}

fn unacked_messages_are_pushed_again_to_those_who_ack(world: &World) {
    let name = |part: &str| world.register(&format!("redelivery {part}"));
    let (anna, bo) = (name("anna"), name("bo"));
    let (mut client, mut acking, mut never) =
        (world.connect(anna), world.connect(bo), world.connect(bo));
    let first = client.send(bo, "acked");
    acking.expect_message(first);
    acking.ack(first);
    let id = client.send(bo, "not acked");
    acking.expect_message(id);
    let begun = Instant::now();
    let again = loop {
        match acking.connection.next(begun + Duration::from_secs(80)) {
            Received::Text(text) => break text,
            Received::Ping(_) => {}
            other => panic!("a redelivery was expected, not {other:?}"),
        }
    };
    assert_took(begun, 60);
    let keys = Keys::of(&again).0;
    assert_eq!(
        (&keys[..11], &keys[11..]),
        (&FRAME_KEYS.map(String::from)[..], &STORED_KEYS.map(String::from)[..])
    );
    assert_eq!(anser_loadtest::json::value(&again).int("id"), id);
    assert_eq!(ids(&world.offline(bo)), [id], "it stays offline whatever happens");
    acking.ack(id);
    acking.expect_nothing_more();
    never.expect_message(first);
    never.expect_message(id);
    never.expect_nothing_more();
}

fn silent_connections_are_pinged_then_dropped(world: &World) {
    let mut client = world.connect(world.register("silent"));
    client.connection.answers_pings = false;
    let begun = Instant::now();
    let mut pings = 0;
    loop {
        match client.connection.next(begun + Duration::from_secs(110)) {
            Received::Ping(_) => pings += 1,
            Received::Close(..) | Received::Gone => break,
            other => panic!("a Ping or the end was expected, not {other:?}"),
        }
    }
    assert_took(begun, 90);
    assert!(pings >= 1, "an idle connection is asked before it is dropped");
}

fn answering_pings_or_sending_heartbeats_keeps_a_connection(world: &World) {
    let user = world.register("alive");
    let (mut answering, mut beating) = (world.connect(user), world.connect(user));
    beating.connection.answers_pings = false;
    let begun = Instant::now();
    let mut pings = 0;
    while begun.elapsed() < Duration::from_secs(105) {
        beating.say(json!({"fromUserId": user, "msgType": "Heartbeat"}));
        match answering.connection.next(Instant::now() + Duration::from_secs(15)) {
            Received::Ping(_) => pings += 1,
            Received::Nothing => {}
            other => panic!("a Ping was expected, not {other:?}"),
        }
    }
    assert!(pings >= 2, "{pings} Pings in 105 s");
    answering.send(user, "still here");
    beating.catch_up();
}

fn strangers_have_ten_seconds(world: &World) {
    let bo = world.register("strangers");
    let begun = Instant::now();
    let mut silent = Connection::open(world.ws);
    let mut pushy = world.stranger();
    pushy.say(json!({"id": fresh_id(), "toUserId": bo, "msgType": "Text", "content": "x"}));
    assert_eq!(silent.until_closed(Duration::from_secs(25)), 4408);
    assert_eq!(pushy.connection.until_closed(Duration::from_secs(25)), 4408);
    assert_took(begun, 10);
    assert_eq!(ids(&world.page(bo)), Vec::<i64>::new());
}

fn unfinished_requests_have_ten_seconds(world: &World) {
    let begun = Instant::now();
    let mut head = HttpClient::connect(world.http);
    head.send("POST /im/user/register HTTP/1.1\r\nHost: h\r\n");
    let mut body = HttpClient::connect(world.http);
    body.send("POST /im/user/register HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n{");
    let mut nothing = HttpClient::connect(world.http);
    for client in [&mut head, &mut body] {
        let answer = client.answer();
        assert_eq!((answer.status, answer.json().int("code")), (408, 408), "{answer:?}");
        client.expect_closed();
    }
    nothing.expect_closed();
    assert_took(begun, 10);
}

fn a_slow_drip_is_no_request(world: &World) {
    let begun = Instant::now();
    let mut client = HttpClient::connect(world.http);
    let request = http::post("/im/message/get/id", "{}");
    // One byte every 400 ms: each byte is a sign of life, the whole is none.
    for byte in request.bytes() {
        if begun.elapsed() > Duration::from_secs(14) {
            break;
        }
        client.send_all_you_can([byte]);
        std::thread::sleep(Duration::from_millis(400));
    }
    assert_eq!(client.answer().status, 408);
}
