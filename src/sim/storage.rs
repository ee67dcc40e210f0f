//! What `node` does with one shard's log and LSM, step by step, on a simulated disk, so that it can
//! be broken off between any two steps.
//!
//! Invariants:
//! 1. A recovery that is broken off leaves what the next one recovers.
//!
//! It decides nothing: what is written, synced, handed out and used again is said by
//! `store::recent` and `store::log`, as in `node::log_writer`, `node::indexer` and `node::recover`.
//! The LSM is a [`MemoryStore`] that forgets what was applied and not synced.

use crate::sim::disk::{Crash, Disk};
use crate::sim::prng::Prng;
use crate::store::batch::Change;
use crate::store::log::format::{Covered, Header};
use crate::store::log::recovery::{Found, Recovery, Refusal};
use crate::store::log::segments::Place;
use crate::store::log::{Beginning, Durability, Log, Outcome, Write};
use crate::store::logged::LoggedStore;
use crate::store::memory::{self, MemoryStore};
use crate::store::overlay::chunk::Chunk;
use crate::store::overlay::lasting::lasting;
use crate::store::recent::Recent;
use crate::store::{Batch, Position, Store};
use std::collections::VecDeque;
use std::sync::Arc;

/// Bytes of a segment here: small, so that many are begun.
pub const SEGMENT: u64 = 64 * 1024;
/// The log's number.
const LOG: u64 = 77;
/// The key of the row that says how much of the log the LSM holds: above those of all kinds, where
/// nobody looks who reads all rows.
const COVERED_KEY: &[u8] = &[u8::MAX];

/// A shard's rows.
pub type Rows = LoggedStore<MemoryStore>;

/// A shard's disk, and what is under way on it.
pub struct Storage {
    /// Where the log is.
    pub disk: Disk,
    /// The write in flight.
    pub in_flight: Option<Write>,
    /// Chunks that the indexer has not applied.
    pub chunks: VecDeque<Arc<Chunk>>,
    syncing: Option<u32>,
    durability: Durability,
    first_sequence: u64,
    /// The last position that the LSM was given.
    covered: Position,
}

/// What a crash has left.
pub struct Ruins {
    below: MemoryStore,
    disk: Disk,
    durability: Durability,
}

/// The log and the overlay of rows.
pub fn recent(rows: &mut Rows) -> &mut Recent {
    rows.recent().expect("this store has a log")
}

fn covered_batch(position: Position, first_sequence: u64) -> Batch {
    let mut batch = Batch::new();
    batch.put(COVERED_KEY, &Covered { log: LOG, position, first_sequence }.print());
    batch
}

fn add(batch: &mut Batch, key: &[u8], change: Change<'_>) {
    match change {
        Change::Put(value) => batch.put(key, value),
        Change::Remove => batch.remove(key),
    }
}

impl Storage {
    /// No rows, and a log with `files` segments.
    pub fn new(durability: Durability, files: u32) -> (Rows, Storage) {
        let mut below = MemoryStore::default().with_durability(memory::Durability::Manual);
        below.write(&covered_batch(Position(0), 1)).expect("memory does not fail");
        below.sync().expect("memory does not fail");
        let mut disk = Disk::default();
        (0..files).for_each(|place| disk.make(place, SEGMENT as usize));
        Storage::with(Ruins { below, disk, durability }, Position(0), 1)
    }

    fn with(ruins: Ruins, written: Position, next_sequence: u64) -> (Rows, Storage) {
        let Ruins { below, disk, durability } = ruins;
        let free = disk.files().map(|(number, bytes)| Place { number, bytes: bytes.len() as u64 });
        let beginning = Beginning { log: LOG, written, next_sequence, free: free.collect() };
        let rows = LoggedStore::new(below, Log::new(beginning, durability));
        let storage = Storage {
            disk,
            in_flight: None,
            chunks: VecDeque::new(),
            syncing: None,
            durability,
            first_sequence: next_sequence,
            covered: written,
        };
        (rows, storage)
    }

    /// Starts the next write; `false`: there is none.
    pub fn start_write(&mut self, rows: &mut Rows) -> bool {
        let Some(write) = recent(rows).log_mut().next_write() else { return false };
        self.disk.write(write.place, write.offset, &write.buffer.bytes()[write.from..]);
        self.in_flight = Some(write);
        true
    }

    /// The write in flight is done; `false`: there was none.
    pub fn finish_write(&mut self, rows: &mut Rows, outcome: Outcome) -> bool {
        let Some(write) = self.in_flight.take() else { return false };
        if write.syncs && outcome == Outcome::Done {
            self.disk.sync(write.place);
        }
        recent(rows).log_mut().written(write.buffer, outcome);
        true
    }

    /// Starts the sync that is wanted; `false`: none is.
    pub fn start_sync(&mut self, rows: &mut Rows) -> bool {
        let next = recent(rows).log_mut().next_sync();
        self.syncing = next.or(self.syncing);
        next.is_some()
    }

    /// The sync under way is done; `false`: there was none.
    pub fn finish_sync(&mut self, rows: &mut Rows, outcome: Outcome) -> bool {
        let Some(place) = self.syncing.take() else { return false };
        if outcome == Outcome::Done {
            self.disk.sync(place);
        }
        recent(rows).log_mut().sync_done(outcome);
        true
    }

    /// Seals the open chunk if it is old, and takes what may go to the indexer; how many there are.
    pub fn take_chunks(&mut self, rows: &mut Rows, now_ms: u64) -> usize {
        recent(rows).seal_if_old(now_ms);
        // Segments are small here, and an open chunk must not need all of them (see `limits`).
        if recent(rows).open_bytes() >= SEGMENT as usize / 2 {
            recent(rows).seal();
        }
        let before = self.chunks.len();
        while let Some(chunk) = recent(rows).next_chunk() {
            self.chunks.push_back(chunk);
        }
        self.chunks.len() - before
    }

    /// The indexer applies its oldest chunks together; `false`: it has none.
    pub fn apply(&mut self, rows: &mut Rows, count: usize) -> bool {
        let count = count.min(self.chunks.len());
        let chunks: Vec<_> = self.chunks.drain(..count).collect();
        let Some(last) = chunks.last().map(|chunk| chunk.last()) else { return false };
        let mut batch = covered_batch(last, self.first_sequence);
        lasting(&chunks, || {}).for_each(|(key, change)| add(&mut batch, key, change));
        rows.below_mut().write(&batch).expect("memory does not fail");
        self.covered = last;
        for chunk in chunks {
            let last = chunk.last();
            drop(chunk);
            recent(rows).applied(last);
        }
        true
    }

    /// The LSM syncs; segments are free again.
    pub fn sync_lsm(&mut self, rows: &mut Rows) {
        rows.below_mut().sync().expect("memory does not fail");
        recent(rows).released(self.covered);
    }

    /// Makes the segment that was asked for.
    pub fn make_segment(&mut self, rows: &mut Rows) {
        let number = self.disk.files().map(|(number, _)| number + 1).max().unwrap_or(0);
        self.disk.make(number, SEGMENT as usize);
        recent(rows).log_mut().segments_mut().add(Place { number, bytes: SEGMENT });
    }

    /// Goes down. After a power cut the LSM has what it has synced, and some of what came after.
    pub fn crash(self, rows: &Rows, crash: Crash, prng: &mut Prng) -> Ruins {
        let below = rows.below();
        let kept = match crash {
            Crash::Kill => below.written(),
            Crash::PowerCut => {
                let unsynced = below.written().0 - below.synced().0;
                Position(below.synced().0 + prng.below(unsynced + 1))
            }
        };
        let below = below.crash_keeping(kept);
        Ruins { below, disk: self.disk.crash(crash, prng), durability: self.durability }
    }
}

impl Ruins {
    /// Puts into the LSM what only the log has; the position and first sequence to go on with.
    fn replay(&mut self) -> Result<(Position, u64), Refusal> {
        let covered = self.below.get(COVERED_KEY, Covered::parse).expect("memory does not fail");
        let covered = covered.flatten().expect("the row was there from the beginning");
        let head = |(place, bytes): (u32, &[u8])| Found { place, head: Header::read(bytes) };
        let found: Vec<Found> = self.disk.files().map(head).collect();
        let mut recovery = Recovery::new(covered, &found)?;
        let mut batch = Batch::new();
        for place in recovery.order() {
            let (_, bytes) = self.disk.files().find(|file| file.0 == place).expect("it was found");
            recovery.read(place, bytes, |_, key, change| add(&mut batch, key, change));
        }
        let end = recovery.finish()?;
        let covered = Covered { log: LOG, position: end.last, first_sequence: end.next_sequence };
        batch.put(COVERED_KEY, &covered.print());
        self.below.write(&batch).expect("memory does not fail");
        Ok((end.last, end.next_sequence))
    }

    /// Comes up, as far as rows go.
    pub fn recover(mut self) -> Result<(Rows, Storage), Refusal> {
        let (written, next_sequence) = self.replay()?;
        self.below.sync().expect("memory does not fail");
        Ok(Storage::with(self, written, next_sequence))
    }

    /// Comes up, and goes down before the LSM has synced.
    pub fn recover_half(mut self, prng: &mut Prng) -> Result<Ruins, Refusal> {
        self.replay()?;
        let kept = if prng.once_in(2) { self.below.written() } else { self.below.synced() };
        let below = self.below.crash_keeping(kept);
        Ok(Ruins { below, ..self })
    }
}
