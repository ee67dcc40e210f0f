//! What a shard does about durability: it moves its log on, and lets go what has become durable.
//!
//! Invariants:
//! 1. Durable effects leave in the order of their turns, and only when the store says that their
//!    position is durable.
//! 2. While as much waits for the disk as may, no request is taken up and no parcel drained:
//!    nothing grows, nothing is dropped.
//!
//! Left to others: what is written when (`store::log`, `log_writer`).

use crate::chat::turn::When;
use crate::limits::LOG_SYNC_MS;
use crate::metrics::rounds::Step;
use crate::metrics::{Counter, Gauge, Stage};
use crate::node::clock::steady_nanos;
use crate::node::control::Phase;
use crate::node::journeys::Ended;
use crate::node::ring::Completion;
use crate::node::shard_loop::{ShardError, ShardLoop};
use crate::store::{Store, StoreError};
use std::time::Duration;

/// How long a shard that does nothing else waits before it looks at its log again.
const PAUSE: Duration = Duration::from_micros(100);

impl<S: Store> ShardLoop<S> {
    /// Releases what has become durable, in order.
    pub(super) fn release_durable(&mut self) -> Result<(), StoreError> {
        let store = self.desk.shard.store();
        let (durable, synced) = (store.durable(), store.synced());
        for index in 0..self.desk.pending.len() {
            let mut ended = std::mem::take(&mut self.desk.pending[index]);
            let turn = &ended.turn;
            let is_synced = turn.position <= synced && !self.cut.holds(turn.position);
            let leave_synced = is_synced && !turn.synced.is_empty();
            if turn.position <= durable && !turn.durable.is_empty() {
                self.let_go(When::Durable, &mut ended)?;
            }
            if leave_synced {
                self.let_go(When::Synced, &mut ended)?;
            }
            self.desk.pending[index] = ended;
        }
        let desk = &mut self.desk;
        while let Some(Ended { turn, .. }) = desk.pending.front()
            && turn.durable.is_empty()
            && turn.synced.is_empty()
        {
            let Some(mut ended) = desk.pending.pop_front() else { break };
            ended.turn.clear();
            ended.journeys.clear();
            desk.spare_turns.push(ended);
        }
        desk.give_durable_parts()?;
        desk.release_settled()?;
        desk.metrics.set(Gauge::DurableLag, desk.pending.len() as u64);
        Ok(())
    }

    fn let_go(&mut self, when: When, ended: &mut Ended) -> Result<(), StoreError> {
        let released = steady_nanos();
        let before = self.steps.enter(Step::Release, released);
        ended.journeys.released(self.desk.profile.synced, released);
        self.desk.release(when, ended)?;
        self.steps.enter(before, steady_nanos());
        Ok(())
    }

    /// Sees to it that what waits becomes durable, and releases what has.
    pub(super) fn sync_if_awaited(&mut self) -> Result<(), ShardError> {
        if self.log_writer.is_none() {
            return Ok(self.sync_at_once()?);
        }
        if self.desk.pending.iter().any(|ended| !ended.turn.synced.is_empty()) {
            self.desk.shard.store_mut().sync()?;
        }
        self.move_log()?;
        Ok(self.release_durable()?)
    }

    /// A store without a log is synced when effects wait for it, or when it was not for long.
    fn sync_at_once(&mut self) -> Result<(), StoreError> {
        let store = self.desk.shard.store();
        let now_ms = self.desk.now.steady_ms;
        let is_old = store.written() > store.synced() && now_ms >= self.synced_ms + LOG_SYNC_MS;
        let is_awaited = !(self.desk.pending.is_empty() && self.desk.held_parts.is_empty());
        if !is_awaited && !is_old {
            return Ok(());
        }
        let start = steady_nanos();
        self.desk.shard.store_mut().sync()?;
        self.desk.profile.synced = steady_nanos();
        self.desk.metrics.record(Stage::Sync, self.desk.profile.synced - start);
        self.desk.metrics.count(Counter::Syncs, 1);
        self.synced_ms = now_ms;
        self.release_durable()
    }

    /// Whether requests and parcels are taken up now. Not while as much waits for the disk as may,
    /// or tables are made more slowly than rows come; and while the server drains only when nothing
    /// waits, so that an end comes.
    pub(super) fn takes_requests(&self) -> bool {
        self.takes_requests_at(steady_nanos())
    }

    /// The same, by a look at the clock that was just taken.
    pub(super) fn takes_requests_at(&self, now_ns: u64) -> bool {
        let is_ending = self.is_draining() && !self.desk.pending.is_empty();
        let is_closed = || self.admission.closed_for(now_ns).is_some();
        !is_ending && !self.desk.shard.store().is_full() && !is_closed()
    }

    /// Lets what was written since the last time count for when the next requests are taken up.
    pub(super) fn note_admission(&mut self) {
        let Some(recent) = self.desk.shard.store_mut().recent() else { return };
        let (taken, held) = (recent.taken_bytes(), recent.overlay().size());
        let indexed = self.desk.metrics.gauge(Gauge::IndexedBytes) as usize;
        self.admission.note(taken, held.saturating_sub(indexed), self.steps.looked());
    }

    /// When something is due though neither the ring nor the bell says so: requests are let in, or
    /// the log is written.
    pub(super) fn due_in(&mut self) -> Option<Duration> {
        let closed = self.admission.closed_for(steady_nanos());
        let recent = self.desk.shard.store_mut().recent();
        let rest = match (&self.log_writer, recent) {
            (Some(writer), Some(recent)) => writer.rest(recent),
            _ => None,
        };
        closed.into_iter().chain(rest).min()
    }

    /// Performs what the log wants.
    pub(super) fn move_log(&mut self) -> Result<(), ShardError> {
        let recent = self.desk.shard.store_mut().recent();
        let (Some(writer), Some(recent)) = (&mut self.log_writer, recent) else { return Ok(()) };
        let now_ms = self.desk.now.steady_ms;
        writer.step(recent, &mut self.ring, now_ms)
    }

    /// A completion of the log.
    pub(super) fn log_done(&mut self, completion: Completion) {
        let recent = self.desk.shard.store_mut().recent();
        let (Some(writer), Some(recent)) = (&mut self.log_writer, recent) else { return };
        match completion {
            Completion::Written { buffer, result } => {
                self.desk.profile.synced = writer.written(recent, buffer, result);
            }
            Completion::Synced(result) => {
                self.desk.profile.synced = self.desk.profile.round;
                writer.synced(recent, result);
            }
            _ => unreachable!("the caller has told them apart"),
        }
    }

    /// Waits until all that was written is on disk. Only where nothing else is to be done.
    pub fn sync_whole(&mut self) -> Result<(), ShardError> {
        loop {
            self.desk.shard.store_mut().sync()?;
            self.move_log()?;
            let store = self.desk.shard.store();
            if store.synced() == store.written() {
                return Ok(());
            }
            std::thread::sleep(PAUSE);
            self.ring.turn(&mut self.completions)?;
            self.reap(Phase::Stopping);
        }
    }

    /// The last sync; what the LSM lacks is left to the indexer.
    pub(super) fn finish(&mut self) -> Result<(), ShardError> {
        self.sync_whole()?;
        let recent = self.desk.shard.store_mut().recent();
        if let (Some(writer), Some(recent)) = (&mut self.log_writer, recent) {
            recent.seal();
            writer.pass_chunks(recent)?;
        }
        Ok(())
    }

    /// Connections whose receive ended for want of buffers while the store was full: they are
    /// armed again when it is not.
    pub(super) fn feed_starved(&mut self) {
        for token in std::mem::take(&mut self.starved) {
            self.desk.touch(token);
        }
    }
}
