//! What was pushed and not acked is pushed again, to those devices that do ack.
//!
//! Invariants:
//! 1. A message is pushed again at most [`REDELIVERIES_MAX`] times, [`REDELIVER_AFTER_MS`] apart.
//! 2. Only a device that has acked before gets a message again.
//! 3. Whether or not it is pushed again, a message stays in the offline list until it is acked.
//! 4. What is pushed again is on disk, as what is pushed first.

use crate::api::DeliveryState;
use crate::chat::event::{Effect, Letter, Now, StoredPart};
use crate::chat::line::Line;
use crate::chat::shard::Shard;
use crate::chat::turn::{Turn, When};
use crate::ids::UserId;
use crate::limits::{
    AWAITED_ACKS_MAX, REDELIVER_AFTER_MS, REDELIVERIES_MAX, REDELIVERIES_PER_STEP_MAX,
};
use crate::metrics::Counter;
use crate::store::{Store, StoreError};

/// A message that was pushed.
#[derive(Clone, Copy)]
struct Awaited {
    due_ms: u64,
    seq: u64,
    user: UserId,
    times: u8,
}

/// Messages pushed, in the order in which they are due: each waits equally long.
#[derive(Default)]
pub struct Redelivery {
    queue: Line<Awaited>,
}

impl Redelivery {
    /// A message was pushed for the first time.
    pub(super) fn expect_ack(&mut self, user: UserId, seq: u64, now: &Now) {
        self.wait(Awaited { due_ms: now.steady_ms + REDELIVER_AFTER_MS, seq, user, times: 0 });
    }

    fn wait(&mut self, awaited: Awaited) {
        if self.queue.count() >= AWAITED_ACKS_MAX {
            self.queue.pop();
        }
        self.queue.push(awaited);
    }

    fn next_due(&mut self, now: &Now) -> Option<Awaited> {
        let is_due = self.queue.first().is_some_and(|first| first.due_ms <= now.steady_ms);
        if is_due { self.queue.pop() } else { None }
    }
}

impl<S: Store> Shard<S> {
    pub(super) fn redeliver(&mut self, now: &Now, turn: &mut Turn) -> Result<(), StoreError> {
        for _ in 0..REDELIVERIES_PER_STEP_MAX {
            let Some(awaited) = self.redelivery.next_due(now) else { break };
            // What cannot be read is not pushed again: it waits in the offline list.
            let pushed = self.attempt(turn, |shard, turn| shard.push_again(awaited, turn))?;
            if pushed != Some(true) {
                continue;
            }
            let times = awaited.times + 1;
            if times < REDELIVERIES_MAX {
                let due_ms = now.steady_ms + REDELIVER_AFTER_MS;
                self.redelivery.wait(Awaited { due_ms, times, ..awaited });
            }
        }
        Ok(())
    }

    fn is_still_awaited(&mut self, awaited: Awaited) -> Result<bool, StoreError> {
        let user = awaited.user;
        if self.presence.of(user).is_empty() || self.records.user(user)?.offline == 0 {
            return Ok(false);
        }
        self.records.is_waiting(user, awaited.seq)
    }

    /// Pushes it, if it is awaited still, to those who ack; whether it is.
    fn push_again(&mut self, awaited: Awaited, turn: &mut Turn) -> Result<bool, StoreError> {
        if !self.is_still_awaited(awaited)? {
            return Ok(false);
        }
        let seats = self.presence.of(awaited.user);
        if seats.iter().all(|seat| !seat.acks) {
            return Ok(true);
        }
        let kept = self.records.message(awaited.user, awaited.seq, |stored, _| {
            let part = StoredPart {
                name: stored.name.map(|name| turn.keep(name)),
                server_send_time_ms: stored.server_send_time_ms,
                seq: stored.seq,
            };
            (Letter::of(&stored.message), turn.keep(stored.message.content), part)
        })?;
        let Some((letter, content, part)) = kept else { return Ok(true) };
        let state = DeliveryState::ServerToClientIng;
        for seat in seats.iter().filter(|seat| seat.acks) {
            let stored = Some(part);
            // On a disk that takes minutes for a write it may not be on disk even now.
            turn.want(
                When::Durable,
                Effect::Push { to: seat.connection, letter, content, state, stored },
            );
            self.metrics.count(Counter::Redelivered, 1);
        }
        Ok(true)
    }
}
