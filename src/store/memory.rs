//! Rows of one shard in memory: for tests, for `sim`, and for measuring the server without a disk.
//!
//! Invariants:
//! 1. Once as much was reserved as is held at once, putting, overwriting and removing rows
//!    allocates nothing (unless unsynced changes are kept for [`MemoryStore::crash`]).
//! 2. `crash` gives what a restart finds: each batch up to a position whole, no later one.
//!
//! Left to others: order and memory of the rows (`tree`, `blocks`).

use super::tree::Tree;
use super::{Batch, Direction, Position, Range, Store, StoreError, Visit, batch::Change};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::ControlFlow;

/// When a written batch counts as durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// At once.
    Immediate,
    /// When `sync` is called: earlier changes can be lost in a crash.
    Manual,
}

/// Keys that were read, and ranges that were scanned.
pub type Reads = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// What a row was before an unsynced change.
#[derive(Clone)]
struct Undo {
    position: Position,
    key: Vec<u8>,
    value: Option<Vec<u8>>,
}

/// What the disk is to refuse next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Failing {
    Nothing,
    Write,
    Sync,
    Everything,
}

/// A store without a disk.
pub struct MemoryStore {
    rows: Tree,
    durability: Durability,
    keeps: fn(&[u8]) -> bool,
    written: Position,
    synced: Position,
    unsynced: Vec<Undo>,
    failing: Failing,
    is_full: bool,
    /// What was read of a disk that is slow; `None`: there is no disk.
    reads: Option<Box<RefCell<Reads>>>,
    /// Keys of rows that the disk gives back no more.
    damaged: BTreeSet<Vec<u8>>,
}

impl Default for MemoryStore {
    fn default() -> MemoryStore {
        MemoryStore::with_capacity(0, 0)
    }
}

impl MemoryStore {
    /// An empty store, durable at once, with room for `rows` rows of `bytes` bytes in all (keys
    /// and values). It grows when it must.
    pub fn with_capacity(rows: usize, bytes: usize) -> MemoryStore {
        MemoryStore {
            rows: Tree::with_capacity(rows, bytes),
            durability: Durability::Immediate,
            keeps: |_| true,
            written: Position::default(),
            synced: Position::default(),
            unsynced: Vec::new(),
            failing: Failing::Nothing,
            is_full: false,
            reads: None,
            damaged: BTreeSet::new(),
        }
    }

    /// The same store under another durability.
    pub fn with_durability(self, durability: Durability) -> MemoryStore {
        MemoryStore { durability, ..self }
    }

    /// The same store, which from now on throws away rows whose key `keeps` refuses: a stand-in
    /// that measures the server without its messages.
    pub fn keeping(self, keeps: fn(&[u8]) -> bool) -> MemoryStore {
        MemoryStore { keeps, ..self }
    }

    /// The next write fails, and the store with it.
    pub fn fail_next_write(&mut self) {
        self.failing = Failing::Write;
    }

    /// The next sync fails, and the store with it.
    pub fn fail_next_sync(&mut self) {
        self.failing = Failing::Sync;
    }

    /// From now on as much waits as may, or no longer.
    pub fn set_full(&mut self, is_full: bool) {
        self.is_full = is_full;
    }

    /// From now on rows are as if on a slow disk, and it is noted which of them are read.
    pub fn make_cold(&mut self) {
        self.reads.get_or_insert_default();
    }

    /// What was read since it was last asked.
    pub fn take_reads(&mut self) -> Reads {
        self.reads.as_mut().map(|reads| std::mem::take(reads.get_mut())).unwrap_or_default()
    }

    /// From now on these rows cannot be read, and all others can.
    pub fn set_damaged(&mut self, keys: BTreeSet<Vec<u8>>) {
        self.damaged = keys;
    }

    fn refuse_damaged(&self, key: &[u8]) -> Result<(), StoreError> {
        match self.damaged.contains(key) {
            true => Err(StoreError::Unreadable("a test asked for it".into())),
            false => Ok(()),
        }
    }

    /// What a restart finds after a power cut that took all that was not synced.
    pub fn crash(&self) -> MemoryStore {
        self.crash_keeping(self.synced)
    }

    /// What a restart finds when the disk had got batches up to `last` by itself. `last` is at
    /// least [`Store::synced`].
    pub fn crash_keeping(&self, last: Position) -> MemoryStore {
        assert!(last >= self.synced, "what is synced is not lost");
        assert!(last <= self.written, "what was not written is not found");
        let mut rows = self.rows.clone();
        for undo in self.unsynced.iter().rev().take_while(|undo| undo.position > last) {
            match &undo.value {
                Some(value) => rows.put(&undo.key, value),
                None => rows.remove(&undo.key),
            }
        }
        let (durability, keeps) = (self.durability, self.keeps);
        MemoryStore { rows, durability, keeps, ..MemoryStore::default() }
    }

    /// Rows held.
    pub fn row_count(&self) -> usize {
        self.rows.len()
    }

    /// Bytes that the rows have taken from the allocator, used or not.
    pub fn reserved_bytes(&self) -> usize {
        self.rows.reserved_bytes()
    }

    fn fail_if(&mut self, asked: Failing) -> Result<(), StoreError> {
        if self.failing == Failing::Everything {
            return Err(StoreError::Failed);
        }
        if self.failing == asked {
            self.failing = Failing::Everything;
            return Err(StoreError::Asked);
        }
        Ok(())
    }

    fn remember(&mut self, position: Position, key: &[u8]) {
        let value = self.rows.get(key).map(<[u8]>::to_vec);
        self.unsynced.push(Undo { position, key: key.to_vec(), value });
    }
}

impl Store for MemoryStore {
    fn get<R>(&self, key: &[u8], read: impl FnOnce(&[u8]) -> R) -> Result<Option<R>, StoreError> {
        if let Some(reads) = &self.reads {
            reads.borrow_mut().push((key.to_vec(), None));
        }
        self.refuse_damaged(key)?;
        Ok(self.rows.get(key).map(read))
    }

    fn scan(&self, range: Range<'_>, visit: Visit<'_>) -> Result<(), StoreError> {
        if let Some(reads) = &self.reads {
            reads.borrow_mut().push((range.from.to_vec(), Some(range.to.to_vec())));
        }
        let mut outcome = Ok(());
        let mut read = |key: &[u8], value: &[u8]| {
            outcome = self.refuse_damaged(key);
            if outcome.is_err() { ControlFlow::Break(()) } else { visit(key, value) }
        };
        match range.direction {
            Direction::Forward => self.rows.scan_forward((range.from, range.to), &mut read),
            Direction::Backward => self.rows.scan_backward((range.from, range.to), &mut read),
        }
        outcome
    }

    fn write(&mut self, batch: &Batch) -> Result<Position, StoreError> {
        self.fail_if(Failing::Write)?;
        let (position, keeps) = (self.written.next(), self.keeps);
        for (key, change) in batch.iter().filter(|(key, _)| keeps(key)) {
            assert!(!key.is_empty(), "a row has a key");
            if self.durability == Durability::Manual {
                self.remember(position, key);
            }
            // What is written anew is there again.
            self.damaged.remove(key);
            match change {
                Change::Put(value) => self.rows.put(key, value),
                Change::Remove => self.rows.remove(key),
            }
        }
        self.written = position;
        if self.durability == Durability::Immediate {
            self.synced = position;
        }
        Ok(position)
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.fail_if(Failing::Sync)?;
        self.unsynced.clear();
        self.synced = self.written;
        Ok(())
    }

    fn written(&self) -> Position {
        self.written
    }

    fn durable(&self) -> Position {
        self.synced
    }

    fn synced(&self) -> Position {
        self.synced
    }

    fn is_full(&self) -> bool {
        self.is_full
    }

    fn is_at_hand(&self, _key: &[u8]) -> bool {
        self.reads.is_none()
    }

    fn reads_below(&self) -> u64 {
        self.reads.as_ref().map_or(0, |reads| reads.borrow().len() as u64)
    }
}
