//! One shard's store on a simulated disk, and all that it was ever told: what `node` does with a
//! log, step by step, so that it can be broken off between any two steps.
//!
//! Invariants:
//! 1. After a crash the rows are those after some turn, whole, and that turn is no earlier than
//!    the last that was durable.

use crate::sim::disk::{Crash, Disk};
use crate::sim::prng::Prng;
use crate::store::batch::Change;
use crate::store::log::format::{COVERED_KEY, Covered, Header};
use crate::store::log::recovery::{Found, Recovery, Refusal};
use crate::store::log::segments::Place;
use crate::store::log::{Beginning, Durability, Log, Outcome, Write};
use crate::store::logged::LoggedStore;
use crate::store::memory::{self, MemoryStore};
use crate::store::overlay::chunk::{Chunk, lasting};
use crate::store::recent::Recent;
use crate::store::{Batch, Direction, Position, Range, Store};
use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Bytes of a segment here: small, so that many are begun.
pub const SEGMENT: u64 = 64 * 1024;
/// The log's number.
const LOG: u64 = 77;

/// Rows by key.
pub type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// What a turn changed; a row without a value went.
type Changes = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// A store, its disk, and what its rows were after each turn.
pub struct Machine {
    /// The store.
    pub store: LoggedStore<MemoryStore>,
    /// Where its log is.
    pub disk: Disk,
    /// The write in flight.
    pub in_flight: Option<Write>,
    /// Chunks that the indexer has not applied.
    pub chunks: VecDeque<Arc<Chunk>>,
    durability: Durability,
    first_sequence: u64,
    /// The last position that the LSM was given.
    covered: Position,
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

fn lsm() -> MemoryStore {
    MemoryStore::default().with_durability(memory::Durability::Manual)
}

fn covered_batch(position: Position, first_sequence: u64) -> Batch {
    let mut batch = Batch::new();
    batch.put(COVERED_KEY, &Covered { log: LOG, position, first_sequence }.print());
    batch
}

impl Machine {
    /// An empty store with `files` segments.
    pub fn new(durability: Durability, files: u32) -> Machine {
        let mut below = lsm();
        below.write(&covered_batch(Position(0), 1)).expect("memory does not fail");
        below.sync().expect("memory does not fail");
        let mut disk = Disk::default();
        (0..files).for_each(|place| disk.make(place, SEGMENT as usize));
        Machine::with(below, disk, durability, Position(0), 1)
    }

    fn with(
        below: MemoryStore,
        disk: Disk,
        durability: Durability,
        written: Position,
        next_sequence: u64,
    ) -> Machine {
        let free = disk.files().map(|(number, bytes)| Place { number, bytes: bytes.len() as u64 });
        let beginning = Beginning { log: LOG, written, next_sequence, free: free.collect() };
        Machine {
            store: LoggedStore::new(below, Log::new(beginning, durability)),
            disk,
            in_flight: None,
            chunks: VecDeque::new(),
            durability,
            first_sequence: next_sequence,
            covered: written,
            acked: written,
            synced: written,
            first: written,
            base: Rows::new(),
            changes: Vec::new(),
            now_ms: 0,
        }
    }

    /// The log and the overlay.
    pub fn recent(&mut self) -> &mut Recent {
        self.store.recent().expect("this store has a log")
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
        let Some(write) = self.recent().log_mut().next_write() else { return false };
        self.disk.write(write.place, write.offset, &write.buffer.bytes()[write.from..]);
        self.in_flight = Some(write);
        true
    }

    /// The write in flight is done.
    pub fn finish_write(&mut self, outcome: Outcome) {
        let Some(write) = self.in_flight.take() else { return };
        if write.syncs && outcome == Outcome::Done {
            self.disk.sync(write.place);
        }
        self.recent().log_mut().written(write.buffer, outcome);
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
        let Some(place) = self.recent().log_mut().next_sync() else { return false };
        self.disk.sync(place);
        self.recent().log_mut().sync_done(Outcome::Done);
        self.note();
        true
    }

    /// Seals the open chunk and hands out what may go.
    pub fn seal(&mut self) {
        self.now_ms += 1000;
        let now_ms = self.now_ms;
        self.recent().seal_if_old(now_ms);
        while let Some(chunk) = self.recent().next_chunk() {
            self.chunks.push_back(chunk);
        }
    }

    /// The indexer applies its oldest chunk.
    pub fn apply_one(&mut self) {
        self.apply(1);
    }

    /// The indexer applies its oldest chunks together.
    pub fn apply(&mut self, count: usize) {
        let count = count.min(self.chunks.len());
        let chunks: Vec<_> = self.chunks.drain(..count).collect();
        let Some(last) = chunks.last().map(|chunk| chunk.last()) else { return };
        let mut batch = covered_batch(last, self.first_sequence);
        lasting(&chunks).for_each(|(key, change)| add(&mut batch, key, change));
        self.store.below_mut().write(&batch).expect("memory does not fail");
        self.covered = last;
        for chunk in chunks {
            let last = chunk.last();
            drop(chunk);
            self.recent().applied(last);
        }
    }

    /// The LSM syncs; segments are free again.
    pub fn sync_lsm(&mut self) {
        self.store.below_mut().sync().expect("memory does not fail");
        let covered = self.covered;
        self.recent().released(covered);
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
            let had_chunks = !self.chunks.is_empty();
            while !self.chunks.is_empty() {
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
        let below = self.store.below();
        let kept = match crash {
            Crash::Kill => below.written(),
            Crash::PowerCut => {
                let unsynced = below.written().0 - below.synced().0;
                Position(below.synced().0 + prng.below(unsynced + 1))
            }
        };
        let below = below.crash_keeping(kept);
        let disk = self.disk.crash(crash, prng);
        let mut machine = Machine::recover(below, disk, self.durability)?;
        let found = machine.store.written();
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
        assert_eq!(machine.rows(), rows, "the rows are those after turn {}", found.0);
        machine.base = rows;
        Ok(machine)
    }

    /// Opens what a crash left, as `node` does.
    fn recover(below: MemoryStore, disk: Disk, durability: Durability) -> Result<Machine, Refusal> {
        let mut below = below;
        let covered = below.get(COVERED_KEY, Covered::parse).expect("memory does not fail");
        let covered = covered.flatten().expect("the row was there from the beginning");
        let head = |(place, bytes): (u32, &[u8])| Found { place, head: Header::read(bytes) };
        let found: Vec<Found> = disk.files().map(head).collect();
        let mut recovery = Recovery::new(covered, &found)?;
        let mut batch = Batch::new();
        for place in recovery.order() {
            let (_, bytes) = disk.files().find(|file| file.0 == place).expect("it was found");
            recovery.read(place, bytes, |_, key, change| add(&mut batch, key, change));
        }
        let end = recovery.finish()?;
        let covered = Covered { log: LOG, position: end.last, first_sequence: end.next_sequence };
        batch.put(COVERED_KEY, &covered.print());
        below.write(&batch).expect("memory does not fail");
        below.sync().expect("memory does not fail");
        Ok(Machine::with(below, disk, durability, end.last, end.next_sequence))
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

fn add(batch: &mut Batch, key: &[u8], change: Change<'_>) {
    match change {
        Change::Put(value) => batch.put(key, value),
        Change::Remove => batch.remove(key),
    }
}
