//! Retention in a house whose readers are the test itself.

use super::*;
use crate::limits::{FORGET_EACH, TURN_REQUESTS_MAX};
use crate::node::house::{ACK, House, Peer, text};
use crate::node::mesh::bells;
use crate::node::readers::{Jobs, fetchers};

/// A house of one shard that keeps so many messages, a user with a device, and his peer.
fn house(messages: u64) -> (House, Peer, UserId) {
    let mut house = House::new(1);
    let retention = Retention { messages: Some(messages), days: None };
    house.shards[0].desk.shard.retain(retention).expect("memory does not fail");
    let (a, b) = (house.person(0), house.person(0));
    let ann = house.device(a);
    (house, ann, b)
}

fn forgotten(house: &House) -> u64 {
    house.shards[0].desk.metrics.counter(crate::metrics::Counter::Forgotten)
}

/// Invariant 1 of node::forgetting.
#[test]
fn as_much_is_forgotten_as_comes() {
    let (mut house, mut ann, b) = house(16);
    let sent = 4 * TURN_REQUESTS_MAX as u64;
    for id in 1..=sent {
        ann.say(text(id, b, "x"));
        if id % 64 == 0 {
            house.until_received(&mut ann, ACK, id as usize);
            // Of each of the two histories so many are kept, and those since the last look.
            let kept = 2 * id - forgotten(&house);
            assert!(kept <= 2 * (16 + 64 + FORGET_EACH), "{kept} of {id}");
        }
    }
}

/// Invariant 2 of node::forgetting.
#[test]
fn on_a_slow_disk_forgetting_waits_for_its_rows_and_nobody_for_it() {
    let (mut house, mut ann, b) = house(8);
    (1..=7).for_each(|id| ann.say(text(id, b, "an old one")));
    house.until_received(&mut ann, ACK, 7);
    let bells = bells(1).expect("an eventfd");
    let (fetcher, jobs): (_, Jobs) = fetchers(&bells).pop().expect("one for each bell");
    house.shards[0].desk.fetch_with(fetcher);
    house.shards[0].desk.shard.store_mut().make_cold();
    (8..=40).for_each(|id| ann.say(text(id, b, "a new one")));
    house.until("it is parked", |house| house.shards[0].desk.parking.count() > 0);
    // What she sends herself needs the same rows and waits, too; nothing is forgotten before.
    assert_eq!(forgotten(&house), 0);
    house.until("it is forgotten", |house| {
        while let Some(job) = jobs.next() {
            jobs.perform(job, 0);
        }
        forgotten(house) >= 2 * (40 - 8 - FORGET_EACH)
    });
    house.until_received(&mut ann, ACK, 40);
    house.until("nobody waits", |house| {
        while let Some(job) = jobs.next() {
            jobs.perform(job, 0);
        }
        house.shards[0].desk.parking.count() == 0
    });
}
