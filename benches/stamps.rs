//! What the stamps of one message cost: all that the latency profile does for it, from its arrival
//! until the kernel has its Ack and its push, with every look at the clock. The message itself is
//! `turn` with as many messages, of which this is to be a small part: there it is not contained.
//!
//! The clock is the standard library's: the node's costs the same, but not under callgrind, where
//! it has no vDSO to call. What it says is not used: a message that is slow on a busy machine costs
//! more to note, and counts would differ.
#![allow(clippy::disallowed_methods)]

use crate::case::{Case, Meter, Run};
use crate::wire::{MOMENT_MS, id, user};
use anser::api::{ChatType, DeliveryState, MessageType};
use anser::chat::event::{Effect, Letter, ServerAck, Span};
use anser::chat::shard::Place;
use anser::chat::turn::When;
use anser::ids::{ConnectionId, ShardId};
use anser::metrics::ShardMetrics;
use anser::node::journeys::{Ended, Wanted};
use anser::node::profile::{Arrival, Profile};
use anser::node::trails::Trail;
use std::cell::Cell;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

const MESSAGES: usize = 4096;
/// From one look at the clock to the next.
const LOOK_NS: u64 = 250;
const TO: ConnectionId = ConnectionId { shard: ShardId(0), index: 0, generation: 1 };

/// Turns by their size.
pub fn cases() -> Vec<Case> {
    [("stamps/1", 1), ("stamps/16", 16), ("stamps/64", 64)]
        .map(|(name, messages)| Case::new(name, MESSAGES as u64, move || turns(messages)))
        .into()
}

fn turns(turn_messages: usize) -> Run {
    let mut stamping = Stamping::new();
    Box::new(move |meter: &mut Meter| {
        meter.take(|| (0..MESSAGES / turn_messages).for_each(|_| stamping.turn(turn_messages)));
        stamping.profile.show();
    })
}

/// A shard that does nothing but stamp.
struct Stamping {
    profile: Profile,
    ended: Ended,
    trails: [Trail; 2],
    clock: Clock,
}

/// Costs what a clock costs, and is the same in every run.
struct Clock {
    real: Instant,
    nanos: Cell<u64>,
}

impl Clock {
    fn steady_nanos(&self) -> u64 {
        black_box(self.real.elapsed());
        self.nanos.set(self.nanos.get() + LOOK_NS);
        self.nanos.get()
    }
}

impl Stamping {
    fn new() -> Stamping {
        let place = Place { shard: ShardId(0), shards: 1, lanes: 1 };
        let profile = Profile::new(place, Arc::new(ShardMetrics::default()));
        let (ended, trails) = (Ended::default(), [Trail::default(); 2]);
        let clock = Clock { real: Instant::now(), nanos: Cell::new(0) };
        Stamping { profile, ended, trails, clock }
    }

    /// A turn of messages each of which came in a buffer of its own.
    fn turn(&mut self, messages: usize) {
        let Stamping { profile, ended, trails, clock } = self;
        let steady_nanos = || clock.steady_nanos();
        profile.round = steady_nanos();
        for number in 1..=messages as i64 {
            let arrival = Arrival { received: profile.round, decoded: Some(steady_nanos()) };
            let journey = profile.begin(user(1027), user(2051), arrival);
            let before = Wanted::of(&ended.turn);
            let (push, ack) = wanted(number);
            ended.turn.want(When::Durable, push);
            ended.turn.want(When::Durable, ack);
            profile.journeys.add(journey, before, &ended.turn);
        }
        let spare = std::mem::take(&mut ended.journeys);
        ended.journeys = profile.end_turn(steady_nanos(), steady_nanos(), spare);
        profile.synced = steady_nanos();
        ended.journeys.released(profile.synced, steady_nanos());
        let mut at = 0;
        for (index, effect) in ended.turn.durable.iter().enumerate() {
            let followed = ended.journeys.of(&mut at, When::Durable, index);
            let followed = followed.expect("all effects are of messages");
            match effect {
                Effect::Ack { .. } => profile.acked(followed, Some(&mut trails[0])),
                _ => profile.pushed(followed, Some(&mut trails[1])),
            }
        }
        ended.turn.clear();
        ended.journeys.clear();
        assert!(trails.iter().all(|trail| profile.launch(*trail)));
        profile.round = steady_nanos();
        trails.iter_mut().for_each(|trail| profile.land(trail));
    }
}

/// What the rules want for a message: that it is pushed, and that it is acked.
fn wanted(number: i64) -> (Effect, Effect) {
    let (id, chat_type, timestamp_ms) = (id(number), ChatType::Single, MOMENT_MS);
    let (from, to, kind) = (user(1027), user(2051), MessageType::Text);
    let letter = Letter { kind, from, to, team: None, event: None, id, timestamp_ms, chat_type };
    let (state, stored) = (DeliveryState::ServerToClientIng, None);
    let content = Span { start: 0, end: 0 };
    let ack = ServerAck { id, user: from, chat_type, source: id, timestamp_ms };
    (Effect::Push { to: TO, letter, content, state, stored }, Effect::Ack { to: TO, ack })
}
