//! What is not yet in the LSM: the log's tail on disk and the same rows in memory. The part of a
//! store that its shard has to keep moving.
//!
//! Invariants (`log` has those of the whole):
//! 1. A turn is in the log and in the overlay, or in neither.
//! 2. A chunk is handed out only when its last turn is synced, once, and in order.
//! 3. A chunk is dropped only when it was applied.
//! 4. A cut is handed out after the last chunk that belongs to it and before the next one, and no
//!    chunk holds turns of both sides of it.
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
    /// Bytes that the overlay ever took.
    taken_bytes: u64,
    /// A cut that waits until the indexer has all that belongs to it.
    cut: Option<Cut>,
}

/// A moment of this shard: the end of a turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cut {
    /// The number of the cut, over all shards.
    pub number: u64,
    /// The last turn in it.
    pub position: Position,
}

impl Recent {
    /// Begins with nothing but what the LSM has.
    pub fn new(log: Log) -> Recent {
        let applied = log.appended();
        Recent {
            log,
            overlay: Overlay::default(),
            handed: 0,
            applied,
            sealed_ms: 0,
            open_bytes: 0,
            taken_bytes: 0,
            cut: None,
        }
    }

    /// Takes memory ahead for the first writes and rows, so that no turn has to wait for it.
    pub fn make_room(&mut self) {
        self.log.make_room();
        self.overlay.make_room();
    }

    /// Whether one more spare chunk is to be made ready; see [`Overlay::ask_spare`].
    pub fn ask_spare(&mut self) -> bool {
        self.overlay.ask_spare()
    }

    /// Takes a spare chunk that was asked for.
    pub fn add_spare(&mut self, chunk: Chunk) {
        self.overlay.add_spare(chunk);
    }

    /// Takes a turn.
    pub fn append(&mut self, batch: &Batch) -> Position {
        let position = self.log.append(batch);
        let before = self.overlay.size();
        self.overlay.apply(batch, position);
        self.taken_bytes += (self.overlay.size() - before) as u64;
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
            if self.overlay.open().size() < CHUNK_BYTES / 2 {
                self.overlay.give_back();
            }
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

    /// Begins a cut: what was appended so far is in it, nothing later. Costs what sealing costs.
    pub fn begin_cut(&mut self, number: u64) {
        assert!(self.cut.is_none(), "a cut is begun when the one before was handed out");
        self.seal();
        self.cut = Some(Cut { number, position: self.log.appended() });
    }

    /// The cut that was begun, when all that belongs to it was handed out; to be asked for before
    /// each chunk.
    pub fn next_cut(&mut self) -> Option<Cut> {
        let cut = self.cut?;
        let next = self.overlay.sealed(self.handed);
        let is_due = next.is_none_or(|chunk| chunk.last() > cut.position);
        if is_due { self.cut.take() } else { None }
    }

    /// The next chunk for the indexer.
    pub fn next_chunk(&mut self) -> Option<Arc<Chunk>> {
        let chunk = self.overlay.sealed(self.handed)?;
        let is_in_order = self.cut.is_none_or(|cut| chunk.last() <= cut.position);
        assert!(is_in_order, "a cut is asked for before each chunk");
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

    /// Bytes of row changes in the open chunk, those that were replaced included.
    pub fn open_bytes(&self) -> usize {
        self.open_bytes
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

    /// Bytes that the overlay ever took, as it counts them.
    pub fn taken_bytes(&self) -> u64 {
        self.taken_bytes
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::log::segments::Place;
    use crate::store::log::{Beginning, Durability, Outcome};

    fn recent() -> Recent {
        let free = vec![Place { number: 0, bytes: 1 << 20 }];
        let beginning = Beginning { log: 1, written: Position(7), next_sequence: 1, free };
        Recent::new(Log::new(beginning, Durability::Sync))
    }

    fn append(recent: &mut Recent) {
        let mut batch = Batch::new();
        batch.put(b"\x01row", b"value");
        recent.append(&batch);
    }

    fn sync(recent: &mut Recent) {
        while let Some(write) = recent.log_mut().next_write() {
            recent.log_mut().written(write.buffer, Outcome::Done);
        }
    }

    #[test]
    fn what_room_was_made_for_takes_no_more_memory() {
        let mut recent = recent();
        recent.make_room();
        let mut batch = Batch::new();
        for row in 0..1000_u32 {
            batch.put(&row.to_be_bytes(), &[7; 900]);
        }
        let counted = allocation_counter::measure(|| {
            recent.append(&batch);
        });
        // What it costs to know the order and the owners of rows.
        assert!(counted.bytes_total < 32 * 1024, "{counted:?}");
    }

    /// Invariant 4 of store::recent.
    #[test]
    fn a_cut_is_handed_out_between_its_own_chunks_and_the_later_ones() {
        let mut recent = recent();
        recent.begin_cut(1);
        let cut = Cut { number: 1, position: Position(7) };
        assert_eq!((recent.next_cut(), recent.next_cut()), (Some(cut), None), "all is applied");
        (0..3).for_each(|_| append(&mut recent));
        recent.seal();
        (0..2).for_each(|_| append(&mut recent));
        recent.begin_cut(2);
        (0..4).for_each(|_| append(&mut recent));
        recent.seal();
        assert_eq!(recent.next_cut(), None);
        assert!(recent.next_chunk().is_none(), "nothing is synced");
        sync(&mut recent);
        for last in [10, 12] {
            assert_eq!(recent.next_cut(), None, "a chunk of it is still here");
            let chunk = recent.next_chunk().expect("it is synced");
            assert_eq!(chunk.last(), Position(last));
        }
        let cut = Cut { number: 2, position: Position(12) };
        assert_eq!((recent.next_cut(), recent.next_cut()), (Some(cut), None));
        assert_eq!(recent.next_chunk().expect("it is synced").last(), Position(16));
    }
}
