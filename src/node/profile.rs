//! The latency profile: stamps of every message, taken around what the shard does anyway.
//!
//! The clock is read once for many: a round's for what it received and what the kernel has sent, a
//! buffer's for the messages decoded from it, a turn's when its events are applied, its rows
//! written and its effects released, a parcel's for the relays in it. A span is recorded when it
//! ends, for every message.
//!
//! Invariants:
//! 1. The spans of a message add up: each begins with the very stamp that another ended with.
//! 2. Whatever an Ack or a push waits for on the way to another shard, its time goes on, unless
//!    [`LATE_RELAYS_MAX`] wait already; those are counted.
//!
//! Left to others: whose effects are whose (`journeys`), frames in flight (`trails`).

use crate::chat::event::{Letter, StreamPosition};
use crate::chat::shard::Place;
use crate::ids::{ShardId, UserId};
use crate::limits::LATE_RELAYS_MAX;
use crate::metrics::message::{Journey, Span, Stamp, Stamps};
use crate::metrics::slowest::Slowest;
use crate::metrics::{Counter, ShardMetrics};
use crate::node::journeys::{Followed, Journeys};
use crate::node::trails::{Leaving, Trail, Trails};
use std::collections::BTreeMap;
use std::sync::Arc;

/// When bytes came, and when the first message in them was decoded, steady ns.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// The round that found them began then.
    pub received: u64,
    /// `None`: no message was decoded from them so far.
    pub decoded: Option<u64>,
}

/// One shard's profile.
pub struct Profile {
    place: Place,
    metrics: Arc<ShardMetrics>,
    /// The messages of the turn being made.
    pub journeys: Journeys,
    /// When the round began, steady ns.
    pub round: u64,
    /// When the store was last synced, steady ns.
    pub synced: u64,
    trails: Trails,
    slowest: Slowest,
    /// Relays that will be read from the outbox, by destination.
    late: Vec<BTreeMap<StreamPosition, Stamps>>,
}

impl Profile {
    /// A shard's, of which nothing is known.
    pub fn new(place: Place, metrics: Arc<ShardMetrics>) -> Profile {
        Profile {
            place,
            metrics,
            journeys: Journeys::default(),
            round: 0,
            synced: 0,
            trails: Trails::default(),
            slowest: Slowest::default(),
            late: (0..place.shards).map(|_| BTreeMap::new()).collect(),
        }
    }

    /// A message that its author has sent; its id may not be known yet.
    pub fn begin(&self, author: UserId, recipient: UserId, arrival: Arrival) -> Journey {
        let mut stamps = Stamps::default();
        stamps.set(Stamp::Received, arrival.received);
        stamps.set(Stamp::Decoded, arrival.decoded.unwrap_or(arrival.received));
        let shards = self.place.shards;
        Journey {
            id: 0,
            author: author.number(),
            recipient: recipient.number(),
            shard: author.home(shards).0,
            to_shard: recipient.home(shards).0,
            stamps,
        }
    }

    /// A message that another shard has relayed.
    pub fn arrive(&self, letter: &Letter, stamps: Stamps, relayed: u64) -> Journey {
        let mut stamps = stamps;
        stamps.set(Stamp::Relayed, relayed);
        let shards = self.place.shards;
        Journey {
            id: letter.id.number(),
            author: letter.from.number(),
            recipient: letter.to.number(),
            shard: letter.from.home(shards).0,
            to_shard: letter.to.home(shards).0,
            stamps,
        }
    }

    /// The turn being made has ended. Returns its messages; others may be added with the memory
    /// of `spare`.
    pub fn end_turn(&mut self, applied: u64, written: u64, spare: Journeys) -> Journeys {
        self.journeys.ended(applied, written);
        for journey in self.journeys.from_elsewhere() {
            record(&self.metrics, &journey.stamps, &[Span::Relay, Span::Deliver]);
        }
        std::mem::replace(&mut self.journeys, spare)
    }

    /// A message's Ack is written to a connection's output, or to none as its author is gone.
    pub fn acked(&mut self, followed: &Followed, trail: Option<&mut Trail>) {
        record(&self.metrics, &followed.journey.stamps, &Span::BEFORE_RELEASE);
        self.follow(trail, Leaving { stamp: Stamp::Sent, journey: followed.journey });
    }

    /// A message is written to the output of a device of its recipient. Its first device counts.
    pub fn pushed(&mut self, followed: &mut Followed, trail: Option<&mut Trail>) {
        if trail.is_some() && !std::mem::replace(&mut followed.is_pushed, true) {
            self.follow(trail, Leaving { stamp: Stamp::Pushed, journey: followed.journey });
        }
    }

    fn follow(&mut self, trail: Option<&mut Trail>, leaving: Leaving) {
        if trail.is_some_and(|trail| !self.trails.add(trail, leaving)) {
            self.metrics.count(Counter::Unfollowed, 1);
        }
    }

    /// All frames of a trail are handed to the ring, in one send; `false`: there are none.
    pub fn launch(&mut self, trail: Trail) -> bool {
        self.trails.launch(trail)
    }

    /// The kernel has all that was handed to the ring.
    pub fn land(&mut self, trail: &mut Trail) {
        let Profile { trails, metrics, slowest, round, .. } = self;
        trails.land(trail, |Leaving { stamp, mut journey }| {
            journey.stamps.set(stamp, *round);
            let spans = match stamp {
                Stamp::Sent => [Span::Send, Span::Ack],
                _ => [Span::Push, Span::Delivery],
            };
            record(metrics, &journey.stamps, &spans);
            slowest.offer(&journey);
        });
    }

    /// The frames of a trail will not leave.
    pub fn drop(&mut self, trail: Trail) {
        self.trails.drop(trail);
    }

    /// A relay is not posted and will be read from the outbox.
    pub fn put_off(&mut self, to: ShardId, position: StreamPosition, stamps: Stamps) {
        let late = &mut self.late[usize::from(to.0)];
        if late.len() < LATE_RELAYS_MAX {
            late.insert(position, stamps);
        } else {
            self.metrics.count(Counter::Unfollowed, 1);
        }
    }

    /// The stamps of a relay that was read from the outbox.
    pub fn late(&mut self, to: ShardId, position: StreamPosition) -> Option<Stamps> {
        self.late[usize::from(to.0)].remove(&position)
    }

    /// Shows the slowest messages to whoever asks, if there are others than before.
    pub fn show(&mut self) {
        if let Some(slices) = self.slowest.look(self.round) {
            self.metrics.show_slowest(slices);
        }
    }
}

fn record(metrics: &ShardMetrics, stamps: &Stamps, spans: &[Span]) {
    for span in spans {
        if let Some(nanos) = stamps.span(*span) {
            metrics.record_span(*span, nanos);
        }
    }
}

#[cfg(test)]
#[path = "profile_tests.rs"]
mod tests;
