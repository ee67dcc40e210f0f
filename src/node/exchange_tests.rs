//! Parcels of large messages between the shards of a house.

use crate::ids::UserId;
use crate::limits::{FRAME_BYTES_MAX, PARCEL_RELAYS_MAX, TURN_BYTES_MAX};
use crate::metrics::Counter;
use crate::node::control::Phase;
use crate::node::house::{ACK, House, Peer, text};

/// Messages that are nearly as large as may be, acked by their shard and posted to the other one.
fn post(house: &mut House, from: &mut Peer, to: UserId, count: usize) {
    let content = "x".repeat(FRAME_BYTES_MAX - 1024);
    for id in 1..=count as u64 {
        from.say(text(id, to, &content));
        while from.count(ACK) < id as usize {
            house.shards[0].round(Phase::Serving).expect("memory does not fail");
            from.read();
        }
    }
}

/// Invariant 1 of node::exchange.
#[test]
fn a_turn_ends_in_the_midst_of_a_parcel_when_it_is_full() {
    let mut house = House::new(2);
    let (a, b) = (house.person(0), house.person(1));
    let mut ann = house.device(a);
    post(&mut house, &mut ann, b, PARCEL_RELAYS_MAX / 2);
    let figure = |house: &House, counter| house.shards[1].desk.metrics.counter(counter);
    let before = figure(&house, Counter::Turns);
    house.shards[1].drain_mesh().expect("memory does not fail");
    let bytes = PARCEL_RELAYS_MAX / 2 * (FRAME_BYTES_MAX - 1024);
    let turns = figure(&house, Counter::Turns) - before;
    assert!(turns as usize >= bytes / (TURN_BYTES_MAX + FRAME_BYTES_MAX) - 1, "{turns}");
    assert!(house.shards[1].desk.shard.gathered_bytes() <= TURN_BYTES_MAX + FRAME_BYTES_MAX);
    assert!(house.shards[1].parcels.is_empty(), "memory never waits for a disk");
}

/// Invariant 1 of node::exchange.
#[test]
fn what_finds_the_store_full_is_the_first_of_a_later_round() {
    let mut house = House::new(2);
    let (a, b) = (house.person(0), house.person(1));
    let mut ann = house.device(a);
    post(&mut house, &mut ann, b, PARCEL_RELAYS_MAX / 2);
    house.shards[1].desk.shard.store_mut().set_full(true);
    let turns = |house: &House| house.shards[1].desk.metrics.counter(Counter::Turns);
    let before = turns(&house);
    house.shards[1].drain_mesh().expect("memory does not fail");
    assert_eq!(turns(&house) - before, 1, "the one that was begun");
    assert!(!house.shards[1].parcels.is_empty());
    house.shards[1].desk.shard.store_mut().set_full(false);
    let count = |house: &House| house.shards[1].desk.metrics.counter(Counter::Delivered);
    house.until("all of them", |house| count(house) == PARCEL_RELAYS_MAX as u64 / 2);
}
