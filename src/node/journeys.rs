//! The messages of a turn: when each was where, and which effects are whose.
//!
//! The rules know nothing of this: what an event wants is what the turn wants more after it than
//! before it.
//!
//! Invariants:
//! 1. An effect belongs to the message whose event has wanted it, and to no other.
//!
//! Left to others: what is done with the times (`profile`).

use crate::chat::turn::{Turn, When};
use crate::metrics::message::{Journey, Stamp};

/// Effects of a turn by when they may leave: now, durable, synced.
type Counts = [u32; 3];

/// How much a turn wanted at some moment.
#[derive(Clone, Copy)]
pub struct Wanted(Counts);

impl Wanted {
    /// What a turn wants so far.
    pub fn of(turn: &Turn) -> Wanted {
        Wanted([&turn.now, &turn.durable, &turn.synced].map(|effects| effects.len() as u32))
    }
}

/// A message of a turn, and its effects: from and until.
pub struct Followed {
    /// The message.
    pub journey: Journey,
    /// It is on its way to a device of its recipient.
    pub is_pushed: bool,
    from: Counts,
    until: Counts,
}

/// The messages of one turn, in the order in which they were applied.
#[derive(Default)]
pub struct Journeys(Vec<Followed>);

/// A turn whose rows are with the store, and its messages.
#[derive(Default)]
pub struct Ended {
    /// What is to leave.
    pub turn: Turn,
    /// Whose it is.
    pub journeys: Journeys,
}

impl Journeys {
    /// Adds a message that was just applied: `before` is what the turn wanted without it.
    pub fn add(&mut self, journey: Journey, before: Wanted, turn: &Turn) {
        let (from, until) = (before.0, Wanted::of(turn).0);
        self.0.push(Followed { journey, is_pushed: false, from, until });
    }

    /// The turn ended: its events were applied, then its rows written.
    pub fn ended(&mut self, applied: u64, written: u64) {
        for Followed { journey, .. } in &mut self.0 {
            if is_from_elsewhere(journey) {
                journey.stamps.set(Stamp::Delivered, applied);
            } else {
                journey.stamps.set(Stamp::Applied, applied);
                journey.stamps.set(Stamp::Written, written);
            }
        }
    }

    /// What is durable begins to leave, at `released`; the last sync was over at `synced`.
    pub fn released(&mut self, synced: u64, released: u64) {
        for Followed { journey, .. } in &mut self.0 {
            if !is_from_elsewhere(journey) {
                // A store that is durable at once may have been synced before.
                let written = journey.stamps.at(Stamp::Written).unwrap_or(0);
                journey.stamps.set(Stamp::Synced, synced.max(written));
                journey.stamps.set(Stamp::Released, released);
            }
        }
    }

    /// The messages of other shards.
    pub fn from_elsewhere(&self) -> impl Iterator<Item = &Journey> {
        self.0.iter().map(|followed| &followed.journey).filter(|it| is_from_elsewhere(it))
    }

    /// The message that wanted an effect of a class. `at` is where the last one was found, 0 at
    /// first: effects are asked for in their order.
    pub fn of(&mut self, at: &mut usize, when: When, effect: usize) -> Option<&mut Followed> {
        let (class, effect) = (when as usize, effect as u32);
        while self.0.get(*at).is_some_and(|followed| followed.until[class] <= effect) {
            *at += 1;
        }
        self.0.get_mut(*at).filter(|followed| followed.from[class] <= effect)
    }

    /// Forgets all and keeps the memory.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// Another shard has stored it, and this one delivers it.
fn is_from_elsewhere(journey: &Journey) -> bool {
    journey.stamps.at(Stamp::Relayed).is_some()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::api::Refusal;
    use crate::chat::event::Effect;
    use crate::ids::{ConnectionId, ShardId};
    use crate::metrics::message::Stamps;

    /// A message of which nothing is known but its id and when it was received.
    pub fn journey(id: i64, received: u64) -> Journey {
        let mut stamps = Stamps::default();
        stamps.set(Stamp::Received, received);
        Journey { id, author: 3, recipient: 4, shard: 0, to_shard: 0, stamps }
    }

    fn want(turn: &mut Turn, when: When, times: usize) {
        let to = ConnectionId { shard: ShardId(0), index: 0, generation: 0 };
        for _ in 0..times {
            turn.want(when, Effect::Refuse { to, source: None, refusal: Refusal::Busy });
        }
    }

    /// Invariant 1 of node::journeys.
    #[test]
    fn an_effect_belongs_to_the_message_that_wanted_it() {
        let (mut turn, mut journeys) = (Turn::default(), Journeys::default());
        // (durable, synced) of each event; every second one is no message.
        let events = [(1, 0), (2, 1), (0, 0), (3, 0), (0, 2), (1, 1), (2, 0)];
        let mut owners: [Vec<Option<i64>>; 2] = Default::default();
        for (id, (durable, synced)) in events.into_iter().enumerate() {
            let before = Wanted::of(&turn);
            want(&mut turn, When::Durable, durable);
            want(&mut turn, When::Synced, synced);
            let owner = (id % 2 == 0).then_some(id as i64);
            if let Some(id) = owner {
                journeys.add(journey(id, 5), before, &turn);
            }
            owners[0].extend(vec![owner; durable]);
            owners[1].extend(vec![owner; synced]);
        }
        for (when, owners) in [When::Durable, When::Synced].into_iter().zip(owners) {
            let mut at = 0;
            let found = (0..owners.len())
                .map(|effect| journeys.of(&mut at, when, effect).map(|it| it.journey.id));
            assert_eq!(found.collect::<Vec<_>>(), owners, "{when:?}");
        }
    }

    #[test]
    fn a_turn_marks_its_own_messages_and_those_from_elsewhere_apart() {
        let (turn, mut journeys) = (Turn::default(), Journeys::default());
        let mut relayed = journey(2, 5);
        relayed.stamps.set(Stamp::Released, 9);
        relayed.stamps.set(Stamp::Relayed, 10);
        for journey in [journey(1, 5), relayed] {
            journeys.add(journey, Wanted::of(&turn), &turn);
        }
        journeys.ended(20, 30);
        journeys.released(25, 40);
        let [own, relayed] = [0, 1].map(|at: usize| journeys.0[at].journey.stamps);
        let taken = [Stamp::Applied, Stamp::Written, Stamp::Synced, Stamp::Released];
        assert_eq!(taken.map(|stamp| own.at(stamp)), [20, 30, 30, 40].map(Some));
        assert_eq!(own.at(Stamp::Delivered), None);
        assert_eq!(relayed.at(Stamp::Delivered), Some(20));
        assert_eq!((relayed.at(Stamp::Released), relayed.at(Stamp::Written)), (Some(9), None));
        assert_eq!(journeys.from_elsewhere().count(), 1);
    }
}
