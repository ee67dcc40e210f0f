//! What is not yet in the LSM: the log's tail on disk and the same rows in memory. The part of a
//! store that its shard has to keep moving.
//!
//! Invariants (`log` has those of the whole):
//! 1. A turn is in the log and in the overlay, or in neither.
//! 2. A chunk is handed out only when its last turn is synced, once, and in order.
//! 3. A chunk is dropped only when it was applied.
//!
//! Left to others: performing writes and syncs (`node::log_writer`), applying (`node::indexer`).

use super::log::Log;
use super::overlay::Overlay;
use super::overlay::chunk::Chunk;
use super::{Batch, Position};
use crate::limits::{CHUNK_BYTES, CHUNK_LOG_BYTES, CHUNK_MS};
use std::sync::Arc;

/// The log and the overlay of one shard.
pub struct Recent {
    log: Log,
    overlay: Overlay,
    /// Sealed chunks that the indexer has.
    handed: usize,
    /// Up to here the LSM has all rows.
    applied: Position,
    sealed_ms: u64,
    /// Bytes of row changes in the open chunk, those that were replaced included.
    open_bytes: usize,
}

impl Recent {
    /// Begins with nothing but what the LSM has.
    pub fn new(log: Log) -> Recent {
        let applied = log.appended();
        Recent { log, overlay: Overlay::default(), handed: 0, applied, sealed_ms: 0, open_bytes: 0 }
    }

    /// Takes a turn.
    pub fn append(&mut self, batch: &Batch) -> Position {
        let position = self.log.append(batch);
        self.overlay.apply(batch, position);
        self.open_bytes += batch.size();
        if self.overlay.open().size() >= CHUNK_BYTES || self.open_bytes >= CHUNK_LOG_BYTES {
            self.seal();
        }
        position
    }

    /// Seals the chunk being filled if it has waited for long. `now_ms` only rises.
    pub fn seal_if_old(&mut self, now_ms: u64) {
        if now_ms >= self.sealed_ms + CHUNK_MS {
            self.sealed_ms = now_ms;
            self.seal();
        }
    }

    /// Seals the chunk being filled, if there is anything in it.
    pub fn seal(&mut self) {
        self.open_bytes = 0;
        if !self.overlay.open().is_empty() {
            self.overlay.seal();
        }
    }

    /// The next chunk for the indexer.
    pub fn next_chunk(&mut self) -> Option<Arc<Chunk>> {
        let chunk = self.overlay.sealed(self.handed)?;
        if chunk.last() > self.log.synced() || self.log.has_failed() {
            return None;
        }
        let chunk = Arc::clone(chunk);
        self.handed += 1;
        Some(chunk)
    }

    /// The oldest chunk handed out is in the LSM, up to this position.
    pub fn applied(&mut self, position: Position) {
        assert!(self.handed > 0, "a chunk is applied after it was handed out");
        assert!(position <= self.log.synced(), "the LSM gets only what is synced");
        assert!(position > self.applied, "chunks are applied in their order");
        self.handed -= 1;
        self.applied = position;
        self.overlay.drop_oldest();
    }

    /// The LSM has synced all up to here.
    pub fn released(&mut self, position: Position) {
        assert!(position <= self.applied, "only what was applied can be synced");
        self.log.released(position);
    }

    /// The log.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The log, to perform what it wants.
    pub fn log_mut(&mut self) -> &mut Log {
        &mut self.log
    }

    /// The rows in memory.
    pub fn overlay(&self) -> &Overlay {
        &self.overlay
    }

    /// Turns that the LSM lacks.
    pub fn lag(&self) -> u64 {
        self.log.appended().0 - self.applied.0
    }

    /// All that was appended is in the LSM.
    pub fn is_settled(&self) -> bool {
        self.applied == self.log.appended()
    }

    /// Senders must wait.
    pub fn is_full(&self) -> bool {
        self.log.is_full() || self.overlay.is_full()
    }
}
