//! Tests of settling: sends, last words, farewells, and the totals of a shard.

use super::*;
use crate::limits::{SHARD_UNSENT_BYTES_MAX, UNSENT_BYTES_MAX};
use crate::node::connection::tests::connection;
use crate::node::connection::{Receiving, Table};
use crate::node::house::{House, Peer, call, frame};
use crate::wire::session::Port;
use rustix::net::sockopt;
use std::time::Duration;

/// More than narrow sockets keep for a peer who does not read, and below what one may hold.
const STUCK_BYTES: usize = 900 * 1024;

/// Puts output on a connection, as a release would.
fn write(house: &mut House, peer: &Peer, bytes: Vec<u8>) {
    let connection = house.server_side(0, peer).expect("it is open");
    connection.out.extend_from_slice(&bytes);
    house.shards[0].desk.touch(peer.token);
}

/// Invariant 1 of node::settle.
#[test]
fn one_send_is_in_flight_and_what_is_written_meanwhile_goes_in_one() {
    let mut house = House::new(1);
    let mut peer = house.connect_narrow(0, Port::Http);
    house.round();
    house.server_side(0, &peer).expect("open").out = vec![b'a'; STUCK_BYTES];
    house.shards[0].flush(peer.token);
    for part in [b'b', b'c', b'd'] {
        write(&mut house, &peer, vec![part; 10]);
        let shard = &mut house.shards[0];
        shard.flush(peer.token);
        shard.ring.turn(&mut Vec::new()).expect("it turns");
        assert_eq!(shard.ring.sends_in_flight(), 1);
    }
    let connection = house.server_side(0, &peer).expect("open");
    assert_eq!(connection.sending as usize, STUCK_BYTES);
    assert_eq!(connection.out, b"bbbbbbbbbbccccccccccdddddddddd");
    house.until("the rest", |_| {
        peer.read();
        peer.received.len() == STUCK_BYTES + 30
    });
    assert!(peer.received.ends_with(b"aabbbbbbbbbbccccccccccdddddddddd"));
}

/// Invariant 2 of node::settle.
#[test]
fn the_last_word_is_read_before_the_end_and_the_socket_stays_until_the_peer_ends() {
    let mut house = House::new(1);
    let mut peer = house.connect(0, Port::Http);
    peer.say("GET /im/test HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    house.until("the end", |_| !peer.read());
    assert!(peer.received.ends_with(b"Hello im"), "{:?}", peer.received);
    (0..20).for_each(|_| house.round());
    assert!(house.server_side(0, &peer).is_some_and(|open| open.flags.shut), "it waits for us");
    // What comes now is read and means nothing.
    peer.say(call("/im/message/get/id", "{}"));
    (0..20).for_each(|_| house.round());
    assert!(house.server_side(0, &peer).is_some());
    peer.stream.shutdown(std::net::Shutdown::Write).expect("a socket");
    house.until("it is closed", |house| house.server_side(0, &peer).is_none());
}

/// Rounds until a connection is gone; how often the rules heard of it.
fn farewells(house: &mut House, peer: &Peer) -> usize {
    let mut told = 0;
    house.until("it is gone", |house| {
        told += house.shards[0].desk.departed.len();
        house.server_side(0, peer).is_none() && house.shards[0].desk.departed.is_empty()
    });
    told
}

/// Invariant 3 of node::settle.
#[test]
fn the_rules_hear_once_that_a_connection_is_gone_whatever_ended_it() {
    let mut house = House::new(1);
    let user = house.person(0);
    let ends: [fn(&mut House, &mut Peer); 5] = [
        |_, peer| peer.stream.shutdown(std::net::Shutdown::Both).expect("a socket"),
        |_, peer| {
            sockopt::set_socket_linger(&peer.stream, Some(Duration::ZERO)).expect("a socket");
            *peer = Peer { stream: another_socket(), token: peer.token, received: Vec::new() };
        },
        |_, peer| {
            peer.say([0x88, 0x80, 0, 0, 0, 0]);
            peer.stream.shutdown(std::net::Shutdown::Write).expect("a socket");
        },
        |house, peer| {
            house.shards[0].cut_with(peer.token, CloseCode::TryAgain);
            peer.stream.shutdown(std::net::Shutdown::Write).expect("a socket");
        },
        |house, peer| {
            house.server_side(0, peer).expect("open").flags.dead = true;
            house.shards[0].desk.touch(peer.token);
        },
    ];
    for (number, end) in ends.into_iter().enumerate() {
        let mut peer = house.device(user);
        assert_eq!(house.shards[0].desk.authenticated, 1);
        end(&mut house, &mut peer);
        assert_eq!(farewells(&mut house, &peer), 1, "end {number}");
        assert_eq!(house.shards[0].desk.authenticated, 0, "end {number}");
    }
}

fn another_socket() -> std::net::TcpStream {
    let door = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    std::net::TcpStream::connect(door.local_addr().expect("bound")).expect("connected")
}

/// Invariant 4 of node::settle.
#[test]
fn who_does_not_read_is_cut_beyond_his_bound_and_not_before() {
    let mut house = House::new(1);
    let user = house.person(0);
    let peer = house.device(user);
    let connection = house.server_side(0, &peer).expect("open");
    // As if it were handed to the ring and never taken.
    connection.sending = UNSENT_BYTES_MAX as u32;
    house.shards[0].desk.touch(peer.token);
    house.round();
    assert!(!house.server_side(0, &peer).expect("open").is_over());
    write(&mut house, &peer, vec![0]);
    house.round();
    let connection = house.server_side(0, &peer).expect("open");
    assert!(connection.is_over());
    assert_eq!(connection.out[2..4], 1013_u16.to_be_bytes(), "all else was dropped");
}

/// Invariant 4 of node::settle.
#[test]
fn at_a_shards_total_the_largest_holder_is_cut() {
    let mut house = House::new(1);
    let each = 900 * 1024;
    let peers: Vec<Peer> = (0..300).map(|_| house.connect(0, Port::Http)).collect();
    house.round();
    for (number, peer) in peers.iter().enumerate() {
        let more = if number == 123 { 100 * 1024 } else { number };
        let connection = house.server_side(0, peer).expect("open");
        // Handed to the ring and never taken: what is unsent is counted, and costs no memory.
        connection.sending = (each + more) as u32;
        house.shards[0].desk.touch(peer.token);
    }
    let over = |house: &mut House| -> Vec<usize> {
        let is_over =
            |at: &usize| house.server_side(0, &peers[*at]).is_none_or(|one| one.is_over());
        (0..peers.len()).filter(is_over).collect()
    };
    house.round();
    assert_eq!(over(&mut house), [123], "the largest goes first");
    (0..400).for_each(|_| house.round());
    let gone = over(&mut house);
    assert!(house.shards[0].totals.unsent <= SHARD_UNSENT_BYTES_MAX);
    assert!((2..30).contains(&gone.len()), "no more than it takes: {gone:?}");
    let smallest = peers.len() - gone.len();
    assert!(gone.iter().all(|at| *at == 123 || *at > smallest), "the larger ones: {gone:?}");
}

/// Invariant 1 of node::connection.
#[test]
fn a_place_is_given_away_only_when_nothing_of_its_last_connection_is_in_flight() {
    let mut house = House::new(1);
    let user = house.person(0);
    let peer = house.device(user);
    let places = house.shards[0].desk.table.places();
    let armed = house.server_side(0, &peer).expect("open");
    assert_eq!(armed.receiving, Receiving::Armed);
    armed.flags.dead = true;
    house.shards[0].settle(peer.token).expect("no disk");
    assert!(house.server_side(0, &peer).is_some(), "its receive has not ended");
    house.until("it is gone", |house| house.server_side(0, &peer).is_none());
    house.device(user);
    assert_eq!(house.shards[0].desk.table.places(), places, "the place is used again");
}

/// Invariant 1 of node::connection.
#[test]
#[should_panic(expected = "nothing is received for it any more")]
fn a_connection_that_still_receives_is_never_taken_out() {
    let mut table = Table::new(crate::ids::ShardId(0));
    let armed = Connection { receiving: Receiving::Armed, ..connection() };
    let token = table.insert(armed, 0);
    table.remove(token);
}

/// Invariant 1 of node::release.
#[test]
fn an_effect_for_a_connection_that_is_gone_is_dropped_and_its_message_waits() {
    let mut house = House::new(1);
    let (anna, bo) = (house.person(0), house.person(0));
    let (mut client, gone) = (house.device(anna), house.device(bo));
    // Dead for the kernel, and the rules do not know it yet.
    house.server_side(0, &gone).expect("open").flags.dead = true;
    client.say(frame(&format!(
        r#"{{"id":77,"toUserId":{},"msgType":"Text","content":"waits"}}"#,
        bo.number()
    )));
    house.until_received(&mut client, "srcId\\\":77}", 1);
    let mut http = house.connect(0, Port::Http);
    let body = format!(r#"{{"userId":{}}}"#, bo.number());
    http.say(call("/im/message/offline", &body));
    house.until_received(&mut http, "\"content\":\"waits\"", 1);
}
