//! Tests of moving: when a connection goes, what goes with it, and that the dead stay.

use crate::api::Request;
use crate::ids::UserId;
use crate::node::control::Phase;
use crate::node::house::{ACK, House, Peer, UPGRADE, auth, text};
use crate::node::mesh::Parcel;
use crate::wire::session::Port;
use rustix::net::sockopt;
use std::time::Duration;

/// A stranger on the first shard, whose user lives on the second, and who takes nothing of what
/// is written to him.
fn stuck_stranger() -> (House, UserId, Peer) {
    let mut house = House::new(2);
    let user = house.person(1);
    let mut peer = house.connect_narrow(0, Port::WebSocket);
    peer.say(UPGRADE);
    house.until_received(&mut peer, "101", 1);
    peer.received.clear();
    house.server_side(0, &peer).expect("open").out = vec![b'.'; 900 * 1024];
    house.shards[0].desk.touch(peer.token);
    house.round();
    peer.say(auth(user));
    house.until("it wants to go", |house| {
        house.server_side(0, &peer).expect("it cannot go yet").is_leaving()
    });
    (house, user, peer)
}

/// Invariant 1 of node::handoff.
#[test]
fn a_connection_moves_only_when_nothing_of_it_is_in_flight() {
    let (mut house, user, mut peer) = stuck_stranger();
    let other = house.person(1);
    // What comes while it waits to go keeps its order.
    for number in 1..=30 {
        peer.say(text(number, other, "on the way"));
        house.round();
    }
    assert!(house.server_side(0, &peer).is_some_and(|waits| waits.sending > 0));
    house.until_received(&mut peer, ACK, 31);
    assert!(house.server_side(0, &peer).is_none(), "it has gone");
    assert_eq!(house.shards[1].desk.authenticated, 1);
    let came = String::from_utf8_lossy(&peer.received).into_owned();
    assert!(came.starts_with(&".".repeat(900 * 1024)), "what was owed came first");
    let places = (1..=30).map(|number| came.find(&format!("srcId\\\":{number}}}")));
    let places: Vec<_> = places.collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?} {user:?}");
}

/// Invariant 1 of node::handoff.
#[test]
fn bytes_that_wait_to_be_decoded_hold_a_connection_back() {
    let (mut house, _, mut peer) = stuck_stranger();
    house.server_side(0, &peer).expect("it waits").waiting += 1;
    house.until("all it is owed", |house| {
        peer.read();
        house.server_side(0, &peer).expect("it waits").sending == 0
    });
    (0..50).for_each(|_| house.round());
    house.server_side(0, &peer).expect("it has not gone").waiting -= 1;
    house.shards[0].desk.touch(peer.token);
    house.until_received(&mut peer, ACK, 1);
    assert!(house.server_side(0, &peer).is_none());
}

/// Invariant 2 of node::handoff.
#[test]
fn it_arrives_with_all_that_it_had_and_its_request_is_applied_first() {
    let mut house = House::new(2);
    let (user, other) = (house.person(1), house.person(1));
    let mut peer = house.connect(0, Port::WebSocket);
    let (held, behind) = (text(5, other, "held before Auth"), text(6, other, "behind Auth"));
    let cut = behind.len() / 2;
    peer.say([UPGRADE.as_bytes(), &held, &auth(user), &behind[..cut]].concat());
    let mut parcels = Vec::new();
    let start = crate::node::clock::steady_nanos();
    while parcels.is_empty() {
        house.shards[0].round(Phase::Serving).expect("a round");
        house.shards[1].desk.mesh.drain(&mut parcels);
        assert!(crate::node::clock::steady_nanos() - start < 30_000_000_000, "it never moved");
    }
    let Some((_, Parcel::Move(moving))) = parcels.pop() else { panic!("something else came") };
    assert!(matches!(moving.request, Request::Auth { user: claimed, .. } if claimed == user));
    assert_eq!(moving.window, behind[..cut], "the rest of what it had sent");
    assert!(moving.session.is_websocket() && moving.session.held_bytes() > 0);
    house.shards[1].take_over(*moving).expect("no disk");
    peer.say(&behind[cut..]);
    house.until_received(&mut peer, ACK, 3);
    let came = String::from_utf8_lossy(&peer.received).into_owned();
    let place = |id: u32| came.find(&format!("srcId\\\":{id}}}"));
    let places = [place(user.number()), place(5), place(6)];
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?}");
}

/// Invariant 3 of node::handoff.
#[test]
fn a_connection_that_dies_on_the_way_goes_nowhere() {
    let (mut house, _, peer) = stuck_stranger();
    let token = peer.token;
    // A reset: what is in flight fails.
    sockopt::set_socket_linger(&peer.stream, Some(Duration::ZERO)).expect("a socket");
    drop(peer);
    let mut parcels = Vec::new();
    let start = crate::node::clock::steady_nanos();
    while house.shards[0].desk.table.get(token).is_some() {
        house.shards[0].round(Phase::Serving).expect("a round");
        house.shards[1].desk.mesh.drain(&mut parcels);
        assert!(crate::node::clock::steady_nanos() - start < 30_000_000_000, "it never went");
    }
    house.shards[1].desk.mesh.drain(&mut parcels);
    assert!(parcels.is_empty());
}
