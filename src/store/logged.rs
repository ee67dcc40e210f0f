//! The store of a running server: a log that makes turns durable, an overlay that shows them, and
//! an LSM that has them a moment later.
//!
//! Invariants:
//! 1. A write never goes to the LSM.
//!
//! Nothing here waits for a disk but reads of rows that only the LSM has: see `warmth`.
//!
//! Left to others: moving the log and the overlay on (`recent`, `node::log_writer`).

use super::batch::Change;
use super::log::Log;
use super::recent::Recent;
use super::{Batch, Position, Range, Store, StoreError, Visit};
use std::cell::Cell;

/// A log and an overlay over the store `S`, which others fill.
pub struct LoggedStore<S: Store> {
    below: S,
    recent: Recent,
    reads_below: Cell<u64>,
}

impl<S: Store> LoggedStore<S> {
    /// A store whose rows up to the log's beginning are all in `below`.
    pub fn new(below: S, log: Log) -> LoggedStore<S> {
        LoggedStore { below, recent: Recent::new(log), reads_below: Cell::new(0) }
    }

    /// The store that has what was applied.
    pub fn below(&self) -> &S {
        &self.below
    }

    /// The same, to apply to it.
    pub fn below_mut(&mut self) -> &mut S {
        &mut self.below
    }
}

impl<S: Store> Store for LoggedStore<S> {
    fn get<R>(&self, key: &[u8], read: impl FnOnce(&[u8]) -> R) -> Result<Option<R>, StoreError> {
        match self.recent.overlay().get(key) {
            Some(Change::Put(value)) => Ok(Some(read(value))),
            Some(Change::Remove) => Ok(None),
            None => {
                self.reads_below.set(self.reads_below.get() + 1);
                self.below.get(key, read)
            }
        }
    }

    fn scan(&self, range: Range<'_>, visit: Visit<'_>) -> Result<(), StoreError> {
        self.reads_below.set(self.reads_below.get() + 1);
        self.recent.overlay().scan(&self.below, range, visit)
    }

    fn write(&mut self, batch: &Batch) -> Result<Position, StoreError> {
        if self.recent.log().has_failed() {
            return Err(StoreError::Failed);
        }
        Ok(self.recent.append(batch))
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        if self.recent.log().has_failed() {
            return Err(StoreError::Failed);
        }
        self.recent.log_mut().ask_sync();
        Ok(())
    }

    fn written(&self) -> Position {
        self.recent.log().appended()
    }

    fn durable(&self) -> Position {
        self.recent.log().durable()
    }

    fn synced(&self) -> Position {
        self.recent.log().synced()
    }

    fn is_at_hand(&self, key: &[u8]) -> bool {
        self.recent.overlay().get(key).is_some()
    }

    fn reads_below(&self) -> u64 {
        self.reads_below.get()
    }

    fn is_full(&self) -> bool {
        self.recent.is_full()
    }

    fn recent(&mut self) -> Option<&mut Recent> {
        Some(&mut self.recent)
    }
}
