//! One shard's loop: rounds of looking, one turn, releasing, settling; then it parks.
//!
//! Invariants:
//! 1. A round reaps the ring, reads the clock, drains the mesh and applies what it brought, and
//!    only then decodes requests: whoever saw an Ack sees its message.
//! 2. Requests that came over the mesh are applied only after a second look for relays: whatever
//!    was posted before them, by whichever shard, is applied before them.
//! 3. Durable effects leave only when the store says that their position is durable, in order.
//! 4. After an error of the store nothing is released any more.
//! 5. While the store is full, or the indexer far behind, no request is taken up.
//! 6. An idle shard waits for its bell: it neither spins nor misses a ring.
//!
//! Left to others: each step (`intake`, `release`, `durable`, `settle`, `sweep`), threads
//! (`launch`).

use crate::chat::clock::Clock;
use crate::chat::event::Event;
use crate::chat::turn::When;
use crate::ids::ShardId;
use crate::limits::{CONNECTIONS_PER_SHARD_MAX, DRAIN_MS_MAX};
use crate::metrics::rounds::Step;
use crate::metrics::{Counter, Gauge, Stage};
use crate::node::admission::Admission;
use crate::node::clock::{self, steady_nanos};
use crate::node::connection::{Connection, Receiving};
use crate::node::control::{Control, Phase, Report};
use crate::node::core_wait::CoreWait;
use crate::node::desk::Desk;
use crate::node::listener::{Listeners, PORTS};
use crate::node::log_writer::LogWriter;
use crate::node::mesh::Parcel;
use crate::node::ring::{Completion, Filled, Ring, Token};
use crate::node::settle::Totals;
use crate::node::steps::Steps;
use crate::store::cut::CutOrder;
use crate::store::{Store, StoreError};
use crate::wire::session::{CloseCode, Session};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::io;

/// How often a shard looks at what is due.
const TICK_MS: u32 = 100;
/// The same while something waits for room: descriptors, or a queue of the mesh.
const SOON_MS: u32 = 10;
/// Of [`DRAIN_MS_MAX`], the time that is left for the last sync.
const LAST_SYNC_MS: u64 = 1_500;

/// Why a shard stopped.
#[derive(Debug, thiserror::Error)]
pub enum ShardError {
    /// Its disk failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The kernel refused its ring.
    #[error("io_uring failed")]
    Ring(#[from] io::Error),
}

/// Bytes that wait to be decoded.
struct Heard {
    token: Token,
    filled: Filled,
    received_ns: u64,
}

/// One shard at work.
pub struct ShardLoop<S: Store> {
    pub(super) ring: Ring,
    pub(super) desk: Desk<S>,
    pub(super) totals: Totals,
    /// A request could not be handed to the ring: the shard cannot go on.
    pub(super) ring_failed: bool,
    /// Moves the store's log, if it has one.
    pub(super) log_writer: Option<LogWriter>,
    pub(super) completions: Vec<Completion>,
    pub(super) starved: Vec<Token>,
    pub(super) synced_ms: u64,
    pub(super) control: Control,
    /// Lets requests in as fast as tables are made.
    pub(super) admission: Admission,
    /// Its part in cuts of the server.
    pub(super) cut: CutOrder,
    /// What its rounds are made of.
    pub(super) steps: Steps,
    /// What it waited for its core.
    core_wait: CoreWait,
    listeners: Listeners,
    clock: Clock,
    pub(super) parcels: VecDeque<(ShardId, Parcel)>,
    pub(super) deferred: VecDeque<(ShardId, Parcel)>,
    inbox: VecDeque<Heard>,
    is_tick_due: bool,
    ticked_ms: u64,
    sweep_part: u32,
    draining_since_ms: Option<u64>,
    is_anchored: bool,
    has_replayed: bool,
    has_drained: bool,
}

impl<S: Store> ShardLoop<S> {
    /// A shard that has opened its store. Must be made on the thread that runs it.
    pub fn new(
        desk: Desk<S>,
        listeners: Listeners,
        control: Control,
        clock: Clock,
        log_writer: Option<LogWriter>,
    ) -> io::Result<ShardLoop<S>> {
        let mut ring = Ring::new(desk.mesh.bell().fd().try_clone_to_owned()?)?;
        if let Some(writer) = &log_writer {
            writer.bind_workers(&mut ring);
        }
        Ok(ShardLoop {
            ring,
            desk,
            totals: Totals::default(),
            ring_failed: false,
            log_writer,
            completions: Vec::new(),
            starved: Vec::new(),
            synced_ms: 0,
            control,
            admission: Admission::default(),
            cut: CutOrder::default(),
            steps: Steps::default(),
            core_wait: CoreWait::of_this_thread(),
            listeners,
            clock,
            parcels: VecDeque::new(),
            deferred: VecDeque::new(),
            inbox: VecDeque::new(),
            is_tick_due: true,
            ticked_ms: 0,
            sweep_part: 0,
            draining_since_ms: None,
            is_anchored: false,
            has_replayed: false,
            has_drained: false,
        })
    }

    /// Tells the main thread that this shard has opened its rows.
    pub fn report_opened(&self) {
        self.control.report(Report::Opened);
    }

    /// Runs until the server stops, or the disk fails.
    ///
    /// It waits in its ring and not in the executor, whose only task it is: the executor takes ten
    /// system calls to park and wake, the ring one.
    pub fn run(mut self) -> Result<(), ShardError> {
        let result = self.serve();
        if result.is_err() {
            self.desk.metrics.set(Gauge::StoreFailed, 1);
        }
        result
    }

    fn serve(&mut self) -> Result<(), ShardError> {
        self.ring.tick(TICK_MS)?;
        loop {
            let phase = self.control.phase();
            if phase == Phase::Stopping {
                return self.finish();
            }
            self.round(phase)?;
            match self.is_busy() {
                true => self.steps.go_on(),
                false => self.wait(phase)?,
            }
        }
    }

    /// Waits for the ring or the bell, unless another shard or the phase has something after all.
    fn wait(&mut self, phase: Phase) -> Result<(), ShardError> {
        self.desk.mesh.bell().park();
        // The indexer may have made room, and not rung, just before the bell was parked.
        self.move_log()?;
        let takes_parcels = self.takes_requests();
        if takes_parcels {
            self.desk.mesh.drain(&mut self.parcels);
        }
        self.desk.parking.collect();
        let is_found = takes_parcels && !self.parcels.is_empty() || self.is_busy();
        if !is_found && self.control.phase() == phase {
            match self.due_in() {
                None => self.ring.wait()?,
                Some(time) => self.ring.wait_at_most(time)?,
            }
        }
        self.desk.mesh.bell().unpark();
        Ok(())
    }

    /// Looks once at everything, and does what there is to do.
    pub(super) fn round(&mut self, phase: Phase) -> Result<(), ShardError> {
        self.ring.turn(&mut self.completions)?;
        let start = steady_nanos();
        self.steps.begin(start);
        self.desk.profile.round = start;
        if !self.is_anchored && phase != Phase::Opening {
            // Only now is it known which ids any shard has shown before.
            self.is_anchored = true;
            self.clock = Clock::new(clock::read(), self.desk.directory.shown());
        }
        self.desk.parking.begin_round(start);
        let now = self.clock.now(clock::read(), self.desk.directory.shown());
        self.desk.begin_round(now);
        self.desk.now.is_disk_full = self.desk.metrics.gauge(Gauge::DiskFull) != 0;
        self.reap(phase);
        self.move_log()?;
        self.look_for_cut()?;
        self.steps.enter(Step::Exchange, steady_nanos());
        let takes_requests = self.takes_requests_at(self.steps.looked());
        if takes_requests {
            self.feed_starved();
            self.exchange()?;
        }
        self.steps.pass_to(Step::Tick);
        self.tick_if_due()?;
        self.steps.pass_to(Step::Decode);
        self.depart()?;
        // Whoever asks sees all that was relayed before.
        if takes_requests && self.parcels.is_empty() {
            self.decode()?;
            self.desk.forget_some()?;
        }
        self.end_turn(start)?;
        self.steps.enter(Step::Log, steady_nanos());
        self.sync_if_awaited()?;
        self.steps.enter(Step::Settle, steady_nanos());
        self.note_admission();
        self.desk.catch_up()?;
        self.follow(phase)?;
        self.settle_touched()?;
        self.desk.mesh.flush();
        self.desk.metrics.set(Gauge::Heartbeat, self.desk.now.steady_ms);
        self.end_round();
        match self.ring_failed {
            true => Err(io::Error::from(Errno::IO).into()),
            false => Ok(()),
        }
    }

    /// Counts how long the round took, and names what took long.
    fn end_round(&mut self) {
        let wall_ms = self.desk.now.wall_ms;
        let (nanos, away) = self.steps.end(steady_nanos(), wall_ms, || self.core_wait.look());
        self.desk.metrics.record(Stage::Away, nanos);
        if let Some(away) = away {
            let (shard, doing) = (self.desk.place.shard.0, away.doing.name());
            let (doing_ns, waited_ns) = (away.doing_nanos, away.waited_nanos);
            tracing::debug!(shard, ns = nanos, doing, doing_ns, waited_ns, "away");
            self.desk.metrics.note_away(away.doing, self.steps.away());
        }
    }

    /// Something can be done without anybody's word.
    fn is_busy(&self) -> bool {
        let desk = &self.desk;
        let waits = self.inbox.len() + self.deferred.len() + desk.ready.len() + self.starved.len();
        let can_go_on = (waits > 0 || desk.parking.is_busy()) && self.takes_requests();
        let has_touched = !(desk.departed.is_empty() && desk.touched.is_empty());
        can_go_on || has_touched || self.has_cut_news()
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining_since_ms.is_some()
    }

    /// Notes what has completed. Received bytes stay where they are until they are decoded.
    pub(super) fn reap(&mut self, phase: Phase) {
        let now_ms = self.desk.now_ms();
        let mut completions = std::mem::take(&mut self.completions);
        for completion in completions.drain(..) {
            match completion {
                Completion::Accepted { listener, socket } => {
                    if !self.listeners.accepted(listener, &socket, self.desk.now.steady_ms) {
                        self.desk.metrics.count(Counter::Cut, 1);
                    } else if phase == Phase::Serving && !self.is_draining() {
                        let session = Session::new(PORTS[listener as usize]);
                        let connection = Connection::new(socket, session);
                        let token = self.desk.table.insert(connection, now_ms);
                        self.desk.metrics.count(Counter::Accepted, 1);
                        self.desk.touch(token);
                    }
                }
                Completion::AcceptFailed { listener, error } => {
                    self.listeners.failed(listener, error, self.desk.now.steady_ms);
                }
                Completion::Received { token, filled, more } => {
                    self.received(token, filled, more);
                }
                Completion::ReceiveEnded { token, result } => self.receive_ended(token, result),
                Completion::Sent { token, bytes, result } => {
                    if let Some(connection) = self.desk.table.get(token) {
                        connection.sending = 0;
                        connection.flags.dead |= result.is_err();
                        if std::mem::take(&mut connection.flags.flying) && result.is_ok() {
                            self.desk.profile.land(&mut connection.trail);
                        }
                    }
                    self.desk.recycle(bytes);
                    self.desk.touch(token);
                }
                Completion::CancelMissed { token } => self.cancel_again(token),
                Completion::Ticked => self.is_tick_due = true,
                done @ (Completion::Written { .. } | Completion::Synced(_)) => self.log_done(done),
            }
        }
        self.completions = completions;
    }

    fn received(&mut self, token: Token, filled: Filled, more: bool) {
        let now_ms = self.desk.now_ms();
        self.desk.metrics.count(Counter::BytesIn, filled.length() as u64);
        let Some(connection) = self.desk.table.get(token) else {
            return self.ring.give_back(filled);
        };
        connection.waiting += 1;
        connection.flags.spoke = true;
        connection.flags.pinged = false;
        if !more {
            connection.receiving = Receiving::Off;
        }
        self.desk.table.hear(token, now_ms);
        self.desk.touch(token);
        let received_ns = self.desk.profile.round;
        self.inbox.push_back(Heard { token, filled, received_ns });
    }

    /// A receive that should end was not found: if it goes on, it is cancelled again.
    fn cancel_again(&mut self, token: Token) {
        let Some(connection) = self.desk.table.get(token) else { return };
        if connection.receiving == Receiving::Ending {
            self.ring_failed |= self.ring.cancel_receive(token).is_err();
        }
    }

    fn receive_ended(&mut self, token: Token, result: Result<(), Errno>) {
        let is_hungry = result == Err(Errno::NOBUFS) && !self.takes_requests();
        let Some(connection) = self.desk.table.get(token) else { return };
        connection.receiving = Receiving::Off;
        if is_hungry {
            return self.starved.push(token);
        }
        match result {
            Ok(()) => connection.flags.ended = true,
            Err(Errno::CANCELED | Errno::NOBUFS | Errno::INTR | Errno::AGAIN) => {}
            Err(_) => connection.flags.dead = true,
        }
        self.desk.touch(token);
    }

    fn tick_if_due(&mut self) -> Result<(), ShardError> {
        if !std::mem::take(&mut self.is_tick_due) {
            return Ok(());
        }
        let waits = self.listeners.is_paused() || self.desk.mesh.kept() > 0;
        self.ring.tick(if waits { SOON_MS } else { TICK_MS })?;
        let now_ms = self.desk.now.steady_ms;
        if now_ms >= self.ticked_ms + u64::from(TICK_MS) - u64::from(SOON_MS) {
            self.ticked_ms = now_ms;
            self.desk.apply(Event::Tick)?;
            self.desk.sweep(self.sweep_part);
            self.sweep_part = self.sweep_part.wrapping_add(1);
            self.desk.profile.show();
            self.core_wait.look();
        }
        self.steps.enter(Step::Decode, steady_nanos());
        Ok(())
    }

    fn depart(&mut self) -> Result<(), StoreError> {
        let mut departed = std::mem::take(&mut self.desk.departed);
        for (connection, user) in departed.drain(..) {
            self.desk.apply(Event::Closed { connection, user })?;
        }
        self.desk.departed.append(&mut departed);
        Ok(())
    }

    /// Goes on with what was parked, then decodes what waits, oldest first, until the turn is full.
    fn decode(&mut self) -> Result<(), StoreError> {
        self.desk.resume_parked()?;
        for _ in 0..self.desk.ready.len() {
            if self.desk.is_turn_full() {
                return Ok(());
            }
            let Some(token) = self.desk.ready.pop_front() else { break };
            if let Some(connection) = self.desk.table.get(token) {
                connection.flags.ready = false;
                self.desk.decode_window(token)?;
                self.desk.touch(token);
            }
        }
        while !self.desk.is_turn_full() {
            let Some(heard) = self.inbox.pop_front() else { break };
            let Heard { token, mut filled, received_ns } = heard;
            if let Some(connection) = self.desk.table.get(token) {
                connection.waiting -= 1;
            }
            let bytes = self.ring.bytes(&mut filled);
            let result = self.desk.decode_received(token, bytes, received_ns);
            self.ring.give_back(filled);
            self.desk.touch(token);
            result?;
        }
        Ok(())
    }

    /// Writes the rows of the turn and lets go what may go at once.
    pub(super) fn end_turn(&mut self, start: u64) -> Result<(), StoreError> {
        let desk = &mut self.desk;
        if std::mem::take(&mut desk.applied) == 0 && desk.shard.gathered_bytes() == 0 {
            return Ok(());
        }
        let write_start = steady_nanos();
        let before = self.steps.enter(Step::Write, write_start);
        desk.shard.end_turn(&mut desk.turn)?;
        let release_start = steady_nanos();
        self.steps.enter(Step::Release, release_start);
        let mut ended = desk.take_turn(write_start, release_start);
        desk.release(When::Now, &mut ended)?;
        let release_end = steady_nanos();
        self.steps.enter(before, release_end);
        desk.metrics.count(Counter::Turns, 1);
        desk.metrics.record(Stage::Turn, write_start - start);
        desk.metrics.record(Stage::Write, release_start - write_start);
        desk.metrics.record(Stage::Release, release_end - release_start);
        desk.pending.push_back(ended);
        self.release_durable()
    }

    /// Does what the server's phase asks for.
    fn follow(&mut self, phase: Phase) -> Result<(), ShardError> {
        let now_ms = self.desk.now.steady_ms;
        if !self.has_replayed && self.desk.shard.is_replayed() && phase != Phase::Opening {
            self.has_replayed = true;
            self.control.report(Report::Replayed);
        }
        if phase == Phase::Serving && self.desk.table.count() < CONNECTIONS_PER_SHARD_MAX {
            self.listeners.accept(&mut self.ring, now_ms)?;
            let (gauge, value) = self.listeners.gauge();
            self.desk.metrics.set(gauge, value);
        }
        if phase == Phase::Draining {
            self.drain(now_ms)?;
        }
        Ok(())
    }

    /// Says goodbye to whoever is owed nothing, until nobody is left or the time is over.
    fn drain(&mut self, now_ms: u64) -> io::Result<()> {
        if self.draining_since_ms.is_none() {
            self.listeners.stop(&mut self.ring)?;
        }
        let since = *self.draining_since_ms.get_or_insert(now_ms);
        if self.desk.pending.is_empty() {
            for index in 0..self.desk.table.places() {
                let Some((token, connection)) = self.desk.table.at(index) else { continue };
                let owes = connection.session.is_awaiting() || connection.is_held();
                if !owes && !connection.is_over() {
                    self.desk.close(token, CloseCode::GoingAway);
                    self.desk.table.begin(token, self.desk.now_ms());
                }
            }
        }
        let is_over = now_ms - since > DRAIN_MS_MAX - LAST_SYNC_MS;
        if (self.desk.table.count() == 0 || is_over) && !self.has_drained {
            self.has_drained = true;
            self.control.report(Report::Drained);
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "shard_loop_tests.rs"]
mod tests;
