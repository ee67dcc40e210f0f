//! What the main thread tells all shards, and what they tell it.
//!
//! Invariants:
//! 1. Phases only go on, never back.
//! 2. A shard that waits for its bell wakes for a new phase.
//!
//! Left to others: when the phase changes (`launch`).

use crate::ids::ShardId;
use crate::node::cuts::Cuts;
use crate::node::mesh::Doorbell;
use crate::node::shard_loop::ShardError;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::Sender;

/// How far the server is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Phase {
    /// Stores are being opened.
    Opening,
    /// What outboxes hold is being applied.
    Replaying,
    /// Connections are accepted.
    Serving,
    /// What was begun is being finished.
    Draining,
    /// The last sync, then the end.
    Stopping,
}

/// What a shard, or the signal thread, has to say.
#[derive(Debug)]
pub enum Report {
    /// A shard has opened its store.
    Opened,
    /// All that a shard's outbox held at start is confirmed.
    Replayed,
    /// A shard has no connection any more, or gave up waiting.
    Drained,
    /// A shard has ended.
    Ended(ShardId, Result<(), ShardError>),
    /// SIGTERM or SIGINT.
    Signal,
}

/// The phase, shared.
pub struct Stage {
    phase: AtomicU8,
    bells: Arc<[Doorbell]>,
}

impl Stage {
    /// The beginning.
    pub fn new(bells: Arc<[Doorbell]>) -> Stage {
        Stage { phase: AtomicU8::new(Phase::Opening as u8), bells }
    }

    /// Goes on to a phase, unless a later one is reached already, and wakes everybody.
    pub fn advance(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::SeqCst);
        self.bells.iter().for_each(Doorbell::ring);
    }

    /// How far the server is.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::SeqCst) {
            0 => Phase::Opening,
            1 => Phase::Replaying,
            2 => Phase::Serving,
            3 => Phase::Draining,
            _ => Phase::Stopping,
        }
    }
}

/// A shard's way to and from the main thread.
pub struct Control {
    stage: Arc<Stage>,
    cuts: Arc<Cuts>,
    reports: Sender<Report>,
}

impl Control {
    /// A shard's end.
    pub fn new(stage: Arc<Stage>, cuts: Arc<Cuts>, reports: Sender<Report>) -> Control {
        Control { stage, cuts, reports }
    }

    /// How far the server is.
    pub fn phase(&self) -> Phase {
        self.stage.phase()
    }

    /// Which cut is wanted.
    pub fn cuts(&self) -> &Cuts {
        &self.cuts
    }

    /// Tells the main thread.
    pub fn report(&self, report: Report) {
        // The main thread is gone only when the process ends.
        let _ = self.reports.send(report);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    /// Invariant 1 of node::control.
    #[test]
    fn phases_never_go_back() {
        let stage = Stage::new(crate::node::mesh::bells(1).expect("an eventfd"));
        stage.advance(Phase::Draining);
        stage.advance(Phase::Serving);
        assert_eq!(stage.phase(), Phase::Draining);
    }

    /// Invariant 2 of node::control.
    #[test]
    fn a_shard_that_waits_for_its_bell_wakes_for_a_new_phase() {
        let bells = crate::node::mesh::bells(2).expect("eventfds");
        let stage = Stage::new(bells.clone());
        for phase in [Phase::Replaying, Phase::Serving, Phase::Draining, Phase::Stopping] {
            bells.iter().for_each(Doorbell::park);
            stage.advance(phase);
            for bell in bells.iter() {
                let fd = bell.fd();
                let deadline = Timespec { tv_sec: 10, tv_nsec: 0 };
                let woken = poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&deadline));
                assert_eq!(woken, Ok(1), "{phase:?}");
                bell.unpark();
            }
        }
    }
}
