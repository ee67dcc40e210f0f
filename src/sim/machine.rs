//! One shard's rows on a simulated disk, and all that they were ever told.
//!
//! Invariants:
//! 1. After a crash the rows are those after some turn, whole, and that turn is no earlier than
//!    the last that was durable.

use crate::sim::disk::Crash;
use crate::sim::prng::Prng;
use crate::sim::storage::{self, Ruins, Storage};
use crate::store::batch::Change;
use crate::store::log::recovery::Refusal;
use crate::store::log::{Durability, Outcome};
use crate::store::recent::Recent;
use crate::store::{Batch, Direction, Position, Range, Store};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// Rows by key.
pub type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// What a turn changed; a row without a value went.
type Changes = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// A store, its disk, and what its rows were after each turn.
pub struct Machine {
    /// The store.
    pub store: storage::Rows,
    /// Its disk.
    pub storage: Storage,
    /// The last position that was durable.
    acked: Position,
    /// The last position that was synced.
    synced: Position,
    /// The position of `base`.
    first: Position,
    /// The rows at the start, and what each turn changed.
    base: Rows,
    changes: Vec<Changes>,
    now_ms: u64,
}

impl Machine {
    /// An empty store with `files` segments.
    pub fn new(durability: Durability, files: u32) -> Machine {
        Machine::with(Storage::new(durability, files), Rows::new())
    }

    fn with((store, storage): (storage::Rows, Storage), base: Rows) -> Machine {
        let first = store.written();
        let (acked, synced, changes, now_ms) = (first, first, Vec::new(), 0);
        Machine { store, storage, acked, synced, first, base, changes, now_ms }
    }

    /// The log and the overlay.
    pub fn recent(&mut self) -> &mut Recent {
        storage::recent(&mut self.store)
    }

    /// One turn.
    pub fn turn(&mut self, batch: &Batch) -> Position {
        let change = |(key, change): (&[u8], Change<'_>)| match change {
            Change::Put(value) => (key.to_vec(), Some(value.to_vec())),
            Change::Remove => (key.to_vec(), None),
        };
        self.changes.push(batch.iter().map(change).collect());
        self.store.write(batch).expect("the store is well")
    }

    /// Starts the next write; `false`: there is none.
    pub fn start_write(&mut self) -> bool {
        self.storage.start_write(&mut self.store)
    }

    /// The write in flight is done.
    pub fn finish_write(&mut self, outcome: Outcome) {
        self.storage.finish_write(&mut self.store, outcome);
        self.note();
    }

    /// Remembers what was promised.
    fn note(&mut self) {
        assert!(self.store.durable() >= self.acked && self.store.synced() >= self.synced);
        self.acked = self.store.durable();
        self.synced = self.store.synced();
    }

    /// One sync, if one is wanted; `false`: none is.
    pub fn sync_one(&mut self) -> bool {
        if !self.storage.start_sync(&mut self.store) {
            return false;
        }
        self.storage.finish_sync(&mut self.store, Outcome::Done);
        self.note();
        true
    }

    /// Seals the open chunk and hands out what may go.
    pub fn seal(&mut self) {
        self.now_ms += 1000;
        self.storage.take_chunks(&mut self.store, self.now_ms);
    }

    /// The indexer applies its oldest chunk.
    pub fn apply_one(&mut self) {
        self.apply(1);
    }

    /// The indexer applies its oldest chunks together.
    pub fn apply(&mut self, count: usize) {
        self.storage.apply(&mut self.store, count);
    }

    /// The LSM syncs; segments are free again.
    pub fn sync_lsm(&mut self) {
        self.storage.sync_lsm(&mut self.store);
    }

    /// Writes, syncs, applies and releases everything.
    pub fn settle(&mut self) {
        loop {
            self.finish_write(Outcome::Done);
            if self.start_write() {
                continue;
            }
            self.store.sync().expect("the store is well");
            while self.sync_one() {}
            self.seal();
            let had_chunks = !self.storage.chunks.is_empty();
            while !self.storage.chunks.is_empty() {
                self.apply_one();
            }
            self.sync_lsm();
            if self.recent().log().waiting_bytes() == 0 {
                return;
            }
            assert!(had_chunks, "a log that waits for a segment gets one");
        }
    }

    /// Goes down and comes back. The rows found must be those after a turn that is no earlier
    /// than the last durable one.
    pub fn crash(self, crash: Crash, prng: &mut Prng) -> Result<Machine, Refusal> {
        let mut ruins = self.storage.crash(&self.store, crash, prng);
        while prng.once_in(4) {
            ruins = Ruins::recover_half(ruins, prng)?;
        }
        let (store, storage) = ruins.recover()?;
        let found = store.written();
        // In async mode only a kill keeps what was acked.
        let kept = if crash == Crash::Kill { self.acked } else { self.synced };
        assert!(found >= kept, "{crash:?}: {kept:?} was promised, {found:?} was found");
        let turns = (found.0 - self.first.0) as usize;
        assert!(turns <= self.changes.len(), "nothing is found that never was");
        let mut rows = self.base;
        for (key, value) in self.changes.into_iter().take(turns).flatten() {
            match value {
                Some(value) => rows.insert(key, value),
                None => rows.remove(&key),
            };
        }
        let machine = Machine::with((store, storage), rows);
        assert_eq!(machine.rows(), machine.base, "the rows are those after turn {}", found.0);
        Ok(machine)
    }

    /// All rows, as a reader sees them.
    pub fn rows(&self) -> Rows {
        let mut rows = Rows::new();
        let range = Range { from: &[1], to: &[255], direction: Direction::Forward };
        let visit = &mut |key: &[u8], value: &[u8]| {
            rows.insert(key.to_vec(), value.to_vec());
            ControlFlow::Continue(())
        };
        self.store.scan(range, visit).expect("memory does not fail");
        rows
    }
}
