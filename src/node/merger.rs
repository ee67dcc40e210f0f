//! The threads that merge a shard's tables: one for each lane, so that a merge of all that is old,
//! which takes minutes, never holds up those that new tables wait for; and one that gives back what
//! they have replaced.
//!
//! Invariants:
//! 1. Whatever is due is merged, as soon as the indexer has made a table or another lane a run.
//! 2. Of all shards only one at a time merges what is old, and only when the disk has room for it:
//!    such a merge writes all tables of a shard again before anything is removed.
//! 3. Want of descriptors passes, and so does want of room, which somebody else may have taken.
//! 4. Any other error changes nothing: the lane rests until the next start, and that is told, once.
//!    It is an error of the shard when there are as many new tables as may be.
//! 5. Dropped, the threads end and let go of the store, in the midst of a merge, too.
//!
//! Left to others: what is due (`store::view::tiers`), how fast (`pace`).

use crate::ids::ShardId;
use crate::limits::{DISK_MARGIN_BYTES, MERGE_RETRY_MS, STORE_NEW_TABLES_MAX};
use crate::node::pace::ShardPace;
use crate::node::remover;
use crate::node::room::Room;
use crate::store::view::View;
use crate::store::view::tiers::{Lane, Levels, Step};
use crate::store::{StoreError, is_want_of_room};
use rustix::io::Errno;
use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// What all shards' threads share.
pub struct Turns {
    room: Arc<Room>,
    /// Held by whoever merges what is old.
    old: Mutex<()>,
}

/// One shard's threads. Dropped, it waits for them to end: not long if the pace was stopped before.
pub struct Merger {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    view: View,
    pace: Arc<ShardPace>,
    turns: Arc<Turns>,
    /// Wakes each thread up.
    pokes: Vec<SyncSender<()>>,
    shard: ShardId,
    /// Why a lane rests.
    failed: Mutex<Option<StoreError>>,
    is_told: AtomicBool,
    is_closing: AtomicBool,
}

impl Turns {
    /// For shards whose stores are all on this disk.
    pub fn new(room: Arc<Room>) -> Arc<Turns> {
        Arc::new(Turns { room, old: Mutex::new(()) })
    }
}

impl Merger {
    /// Starts a shard's threads. They have the priority and the cores of the caller.
    pub fn start(
        shard: ShardId,
        view: &View,
        pace: &Arc<ShardPace>,
        turns: &Arc<Turns>,
    ) -> io::Result<Merger> {
        let threads = Lane::ALL.len() + 1;
        let (pokes, mut wakes): (Vec<_>, Vec<_>) = (0..threads).map(|_| sync_channel(1)).unzip();
        let (view, pace, turns) = (view.reader(), pace.clone(), turns.clone());
        let shared = Arc::new(Shared {
            view,
            pace,
            turns,
            pokes,
            shard,
            failed: Mutex::default(),
            is_told: AtomicBool::new(false),
            is_closing: AtomicBool::new(false),
        });
        let spawn =
            |name, run: Box<dyn FnOnce() + Send>| std::thread::Builder::new().name(name).spawn(run);
        let mut threads = Vec::new();
        for (lane, wake) in Lane::ALL.into_iter().zip(wakes.drain(1..)) {
            let (name, shared) = (format!("merger-{shard}-{lane:?}"), shared.clone());
            threads.push(spawn(name.to_lowercase(), Box::new(move || shared.run(lane, &wake)))?);
        }
        for wake in wakes {
            let (name, shared) = (format!("remover-{shard}"), shared.clone());
            threads.push(spawn(name, Box::new(move || shared.remove(&wake)))?);
        }
        let merger = Merger { shared, threads };
        merger.poke();
        Ok(merger)
    }

    /// There is a new table.
    pub fn poke(&self) {
        self.shared.poke();
    }

    /// The error because of which no table can be made any more, given once.
    pub fn failure(&self) -> Option<StoreError> {
        let is_stuck = self.shared.view.new_tables() >= STORE_NEW_TABLES_MAX;
        let error = is_stuck.then(|| self.shared.failed().take()).flatten();
        error.map(|error| StoreError::Unmerged(Box::new(error)))
    }

    /// Lets a lane rest.
    #[cfg(test)]
    pub fn give_up_old(&self) {
        self.shared.give_up(Lane::Old, StoreError::Asked);
    }

    /// A lane rests, and that was not told before.
    pub fn has_news(&self) -> bool {
        self.shared.failed().is_some() && !self.shared.is_told.swap(true, Relaxed)
    }
}

impl Drop for Merger {
    fn drop(&mut self) {
        self.shared.is_closing.store(true, Relaxed);
        self.poke();
        for thread in self.threads.drain(..) {
            // A panic in it has been printed, and the store is closed all the same.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn poke(&self) {
        self.pace.lanes().see(&self.view.levels());
        for poke in &self.pokes {
            // One that is full has not been looked at yet.
            let _ = poke.try_send(());
        }
    }

    fn is_closing(&self) -> bool {
        self.is_closing.load(Relaxed)
    }

    fn run(&self, lane: Lane, wake: &Receiver<()>) {
        let retry = Duration::from_millis(MERGE_RETRY_MS);
        while wake.recv_timeout(retry) != Err(RecvTimeoutError::Disconnected) {
            if let Err(error) = self.work(lane) {
                // A merge that was given up is none that failed.
                if !self.is_closing() && !self.pace.is_stopping() {
                    self.give_up(lane, error);
                }
                return;
            }
            if self.is_closing() {
                return;
            }
        }
    }

    fn remove(&self, wake: &Receiver<()>) {
        let (retry, mut is_told) = (Duration::from_millis(MERGE_RETRY_MS), false);
        while wake.recv_timeout(retry) != Err(RecvTimeoutError::Disconnected) && !self.is_closing()
        {
            let given = remover::give_back(&self.view, &self.pace, || self.is_closing());
            if let Err(error) = given
                && !std::mem::replace(&mut is_told, true)
            {
                let shard = self.shard;
                tracing::warn!(%shard, %error, "files that nobody needs cannot be removed");
            }
        }
    }

    fn failed(&self) -> MutexGuard<'_, Option<StoreError>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_up(&self, lane: Lane, error: StoreError) {
        tracing::error!(
            shard = %self.shard,
            ?lane,
            error = error.in_full(),
            "tables cannot be merged until the next start, and reads slow down; if a file of them \
             is damaged, `anser-tools verify` says which"
        );
        self.failed().get_or_insert(error);
    }

    /// Does all that is due in a lane.
    fn work(&self, lane: Lane) -> Result<(), StoreError> {
        while !self.is_closing() {
            let levels = self.view.levels();
            let Some(step) = lane.next(&levels) else { break };
            let is_done = match lane {
                Lane::Old => self.merge_old(step, &levels)?,
                Lane::New | Lane::Middle => self.merge(lane, step, &levels)?,
            };
            // A merge that the LSM has declined is not tried again at once.
            if !is_done || self.view.levels() == levels {
                break;
            }
            self.poke();
        }
        Ok(())
    }

    /// Returns whether there was room for it.
    fn merge_old(&self, step: Step, levels: &Levels) -> Result<bool, StoreError> {
        let _turn = self.turns.old.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_closing() {
            return Ok(false);
        }
        self.merge(Lane::Old, step, levels)
    }

    /// Returns whether there was room for it, and descriptors: it opens all tables and stale
    /// contents at once, and connections have theirs first.
    fn merge(&self, lane: Lane, step: Step, levels: &Levels) -> Result<bool, StoreError> {
        // What a merge has written that finds no room stays until the next start.
        if !self.turns.room.has(step.bytes(levels) + DISK_MARGIN_BYTES) {
            return Ok(false);
        }
        self.pace.lanes().begin(lane, lane.haste(levels));
        match self.view.merge(lane, step) {
            Err(error) if passes(&error) => Ok(false),
            outcome => outcome.map(|()| true),
        }
    }
}

/// It was for want of something of which there is more another time.
fn passes(error: &StoreError) -> bool {
    let Some(error) = StoreError::io(error) else { return false };
    let is_out_of_files = matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE));
    is_out_of_files || is_want_of_room(error)
}

#[cfg(test)]
#[path = "merger_tests.rs"]
mod tests;
