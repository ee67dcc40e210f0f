//! Tests of lists: their parts, the mesh between, and readers who leave.

use super::*;
use crate::chat::event::Event;
use crate::ids::UserId;
use crate::limits::LIST_PART_BYTES;
use crate::node::clock::steady_nanos;
use crate::node::connection::Connection;
use crate::node::control::Phase;
use crate::node::house::{ACK, House, Peer, call, text};
use crate::store::keys::Key;
use crate::wire::session::Port;
use rustix::net::sockopt;
use std::time::Duration;

/// Bytes of a stored message beside its text, at most.
const KEYS_BYTES: usize = 500;
const TEXT_BYTES: usize = 1000;
const MESSAGES: usize = 1500;

/// A house where somebody on the last shard has more messages than sockets and parts hold.
fn house_with_a_long_list(shards: u16) -> (House, UserId) {
    let mut house = House::new(shards);
    let (anna, bo) = (house.person(shards - 1), house.person(shards - 1));
    let mut peer = house.device(anna);
    for number in 0..MESSAGES as u64 {
        peer.say(text(1000 + number, bo, &"x".repeat(TEXT_BYTES)));
        house.round();
    }
    house.until_received(&mut peer, ACK, MESSAGES);
    (house, bo)
}

/// Asks the first shard for somebody's offline list over sockets that keep little.
fn ask_for_list(house: &mut House, user: UserId) -> Peer {
    let mut peer = house.connect_narrow(0, Port::Http);
    peer.say(call("/im/message/offline", &format!(r#"{{"userId":{}}}"#, user.number())));
    peer
}

/// Reads to the end of a chunked answer and looks at the server's side after each round.
fn read_all(house: &mut House, peer: &mut Peer, mut look: impl FnMut(&Connection)) {
    house.until("the whole list", |house| {
        look(house.server_side(0, peer).expect("it is open"));
        peer.read();
        peer.received.ends_with(b"\r\n0\r\n\r\n")
    });
    assert_eq!(peer.count(r#""msgType":"Text""#), MESSAGES);
}

/// Invariant 1 of node::listing.
#[test]
fn at_most_one_part_of_a_list_is_in_memory() {
    for shards in [1, 2] {
        let (mut house, bo) = house_with_a_long_list(shards);
        let mut peer = ask_for_list(&mut house, bo);
        let mut held_max = 0;
        read_all(&mut house, &mut peer, |open| held_max = held_max.max(open.unsent()));
        assert!(held_max > LIST_PART_BYTES / 2, "{held_max} bytes: it is given in parts");
        let part_max = LIST_PART_BYTES + TEXT_BYTES + KEYS_BYTES;
        assert!(held_max <= part_max, "{held_max} bytes");
    }
}

/// Invariant 2 of node::listing.
#[test]
fn the_shard_with_the_rows_is_asked_for_a_part_when_the_one_before_has_left() {
    let (mut house, bo) = house_with_a_long_list(2);
    let mut peer = ask_for_list(&mut house, bo);
    house.until("the first part", |house| house.shards[1].desk.abroad.len() == 1);
    // Who has asked has no errand until the part is there.
    let (mut has_asked, mut parts) = (false, 0);
    read_all(&mut house, &mut peer, |open| {
        let asks = open.errand.is_none() && open.session.is_awaiting();
        assert!(!asks || open.unsent() == 0, "the part before has not left");
        parts += usize::from(asks && !has_asked);
        has_asked = asks;
    });
    let least = MESSAGES * TEXT_BYTES / (LIST_PART_BYTES + TEXT_BYTES + KEYS_BYTES);
    assert!(parts >= least, "{parts} parts of at least {least} were asked for");
    assert!(house.shards[0].desk.abroad.is_empty() && house.shards[1].desk.abroad.is_empty());
    assert_eq!(house.shards[0].desk.forwarded, 0);
}

/// Invariant 3 of node::listing.
#[test]
fn a_list_whose_reader_is_gone_is_forgotten_on_both_shards() {
    let (mut house, bo) = house_with_a_long_list(2);
    for rounds in [0, 1, 5, 60] {
        let peer = ask_for_list(&mut house, bo);
        house.until("it began", |house| house.shards[0].desk.forwarded == 1);
        (0..rounds).for_each(|_| house.round());
        let token = peer.token;
        drop(peer);
        house.until("it is forgotten", |house| {
            let gone = house.shards[0].desk.table.get(token).is_none();
            let [here, there] = [0, 1].map(|shard| &house.shards[shard].desk);
            gone && here.forwarded == 0 && there.abroad.is_empty()
        });
    }
    // The rules are none the worse for it.
    house.shards[1].desk.apply(Event::Tick).expect("no disk");
    let mut peer = ask_for_list(&mut house, bo);
    read_all(&mut house, &mut peer, |_| {});
}

/// Invariant 6 of node::listing.
#[test]
fn a_list_that_cannot_be_read_is_refused_or_ends_before_its_end() {
    for shards in [1, 2] {
        let (mut house, bo) = house_with_a_long_list(shards);
        let damage = |house: &mut House, seq| {
            let home = &mut house.shards[usize::from(shards - 1)].desk;
            home.shard.store_mut().set_damaged([Key::message(bo, seq).to_vec()].into());
        };
        damage(&mut house, 1);
        let mut peer = ask_for_list(&mut house, bo);
        house.until("it is refused", |_| peer.count("is damaged") == 1);
        assert!(peer.received.starts_with(b"HTTP/1.1 500 "), "as all refusals are");
        let path = "/im/message/offline";
        let answer = house.ask(&mut peer, path, &format!(r#"{{"userId":{}}}"#, bo.number()));
        assert!(answer.contains("is damaged"), "the connection is as it was: {answer}");

        damage(&mut house, MESSAGES as u64 - 1);
        let mut peer = ask_for_list(&mut house, bo);
        house.until("it is closed", |_| !peer.read());
        let given = peer.count(r#""msgType":"Text""#);
        assert!((MESSAGES / 2..MESSAGES - 1).contains(&given), "{given}");
        assert!(!peer.received.ends_with(b"\r\n0\r\n\r\n"), "nobody takes it for whole");
        assert_eq!(house.shards[0].desk.forwarded, 0);
        assert!(house.shards.iter().all(|shard| shard.desk.abroad.is_empty()));

        damage(&mut house, 0);
        let mut peer = ask_for_list(&mut house, bo);
        read_all(&mut house, &mut peer, |_| {});
    }
}

/// Invariant 3 of node::listing.
#[test]
fn a_part_that_finds_its_reader_gone_ends_the_list() {
    let (mut house, bo) = house_with_a_long_list(2);
    let peer = ask_for_list(&mut house, bo);
    let token = peer.token;
    let start = steady_nanos();
    let alone_until = |house: &mut House, is_so: fn(&mut House, Token) -> bool| {
        while !is_so(house, token) {
            house.shards[0].round(Phase::Serving).expect("a round");
            assert!(steady_nanos() - start < 30_000_000_000, "not within 30 s");
        }
    };
    alone_until(&mut house, |house, _| house.shards[0].desk.forwarded == 1);
    // A reset, before the other shard has answered.
    sockopt::set_socket_linger(&peer.stream, Some(Duration::ZERO)).expect("a socket");
    drop(peer);
    alone_until(&mut house, |house, token| house.shards[0].desk.table.get(token).is_none());
    house.until("it is forgotten", |house| house.shards[0].desk.forwarded == 0);
    (0..10).for_each(|_| house.round());
    assert!(house.shards[1].desk.abroad.is_empty());
}
