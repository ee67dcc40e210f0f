//! Rows that are in the log and not yet in the LSM: what every read sees first.
//!
//! Invariants:
//! 1. A read sees the newest change of a row that any chunk holds, else the LSM's row.
//! 2. Chunks leave in the order in which they were sealed, and only when they were applied.
//! 3. What is held is bounded by [`OVERLAY_BYTES_MAX`] and the turn that reaches it.
//! 4. A read of one owner's rows looks into no sealed chunk without rows of him, but for a few by
//!    chance: those are not put in order for it.
//! 5. A chunk that is full is followed by one whose memory is there, but for the first few of a
//!    load that begins.
//!
//! Left to others: when a chunk is sealed and may go (`recent`), applying it (`node::indexer`).

pub mod chunk;
pub mod lasting;
mod order;
mod owners;
mod scan;
#[cfg(test)]
mod tests;

use super::batch::Change;
use super::{Batch, Position, Range, Store, StoreError, Visit};
use crate::limits::{
    CHUNK_BYTES, OVERLAY_BYTES_MAX, SPARE_CHUNK_SECONDS, SPARE_CHUNKS_AHEAD, SPARE_CHUNKS_MAX,
};
use chunk::{Chunk, hash_of};
use order::Order;
use owners::{Owner, Owners};
use scan::Merge;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;

/// A sealed chunk; the indexer reads it on another thread.
struct Sealed {
    chunk: Arc<Chunk>,
    order: RefCell<Order>,
    owners: Owners,
}

/// All chunks of a shard.
#[derive(Default)]
pub struct Overlay {
    open: Chunk,
    order: RefCell<Order>,
    owners: Owners,
    /// Oldest first.
    sealed: VecDeque<Sealed>,
    sealed_bytes: usize,
    spare: Vec<(Chunk, Order, Owners)>,
    /// Spare chunks that somebody makes ready.
    asked: usize,
    /// So few were spare since memory was last given back, or kept.
    least_spare: usize,
    /// Seconds since in which rows came slowly.
    slow_seconds: u32,
}

impl Overlay {
    /// Begins with a chunk whose memory is there.
    pub fn make_room(&mut self) {
        assert!(self.open.is_empty(), "room is made before the first row");
        self.open = Chunk::ready(|| {});
    }

    /// Whether one more spare chunk is to be made ready, by somebody who has time: rows come fast
    /// and few are left. Each is asked for once.
    pub fn ask_spare(&mut self) -> bool {
        let is_fast = self.open.size() >= CHUNK_BYTES / 2;
        let asks = is_fast && self.spare.len() + self.asked < SPARE_CHUNKS_AHEAD;
        self.asked += usize::from(asks);
        asks
    }

    /// Takes a spare chunk that was asked for.
    pub fn add_spare(&mut self, chunk: Chunk) {
        self.asked -= 1;
        self.spare.push((chunk, Order::default(), Owners::default()));
    }

    /// Spare chunks that are there.
    #[cfg(test)]
    pub fn spares(&self) -> usize {
        self.spare.len()
    }

    /// Rows come slowly, as is said once a second: gives memory back, a chunk at a time, if it was
    /// not needed for long.
    pub fn give_back(&mut self) {
        self.slow_seconds += 1;
        if self.slow_seconds < SPARE_CHUNK_SECONDS {
            return;
        }
        if self.least_spare > 0 {
            self.spare.pop();
        }
        (self.slow_seconds, self.least_spare) = (0, self.spare.len());
    }

    /// Takes a turn's changes.
    pub fn apply(&mut self, batch: &Batch, position: Position) {
        let order = self.order.get_mut();
        for (key, change) in batch.iter() {
            if let Some(at) = self.open.change(key, change) {
                order.add(key, at);
                self.owners.note(key);
            }
        }
        self.open.note(position);
    }

    /// The newest change of a row; `None`: the LSM's row holds.
    pub fn get(&self, key: &[u8]) -> Option<Change<'_>> {
        let hash = hash_of(key);
        let sealed =
            || self.sealed_of(Owner::of(key)).find_map(|sealed| sealed.chunk.get(key, hash));
        self.open.get(key, hash).or_else(sealed)
    }

    /// Sealed chunks that may have rows of an owner, newest first. `None`: of anybody.
    fn sealed_of(&self, owner: Option<Owner>) -> impl Iterator<Item = &Sealed> {
        self.sealed.iter().rev().filter(move |sealed| sealed.owners.may_have(owner))
    }

    /// Visits rows of the overlay over those of `below`.
    pub fn scan(
        &self,
        below: &impl Store,
        range: Range<'_>,
        visit: Visit<'_>,
    ) -> Result<(), StoreError> {
        if range.from >= range.to {
            return Ok(());
        }
        let mut merge = Merge::new(range.direction);
        let bounds = (range.from, range.to);
        let mut take = |chunk, order: &RefCell<Order>| {
            order.borrow_mut().runs(chunk, bounds, &mut |run| merge.add(chunk, run));
        };
        take(&self.open, &self.order);
        for sealed in self.sealed_of(Owner::of_range(&range)) {
            take(&*sealed.chunk, &sealed.order);
        }
        merge.over(below, range, visit)
    }

    /// Rows of the chunk being filled.
    pub fn open(&self) -> &Chunk {
        &self.open
    }

    /// Seals the chunk being filled and begins the next.
    pub fn seal(&mut self) {
        assert!(!self.open.is_empty(), "an empty chunk is not sealed");
        let like = || (self.open.like(), Order::default(), Owners::default());
        let (chunk, order, owners) = self.spare.pop().unwrap_or_else(like);
        self.least_spare = self.least_spare.min(self.spare.len());
        let chunk = Arc::new(std::mem::replace(&mut self.open, chunk));
        let order = RefCell::new(self.order.replace(order));
        let owners = std::mem::replace(&mut self.owners, owners);
        self.sealed_bytes += chunk.size();
        self.sealed.push_back(Sealed { chunk, order, owners });
    }

    /// A sealed chunk, counted from the oldest.
    pub fn sealed(&self, index: usize) -> Option<&Arc<Chunk>> {
        self.sealed.get(index).map(|sealed| &sealed.chunk)
    }

    /// Drops the oldest sealed chunk: the LSM has its rows.
    pub fn drop_oldest(&mut self) {
        let Sealed { chunk, order, mut owners } =
            self.sealed.pop_front().expect("it was sealed before");
        self.sealed_bytes -= chunk.size();
        // The indexer may still be about to drop its handle: then the memory goes with it.
        if let Ok(mut chunk) = Arc::try_unwrap(chunk)
            && self.spare.len() < SPARE_CHUNKS_MAX
        {
            let mut order = order.into_inner();
            chunk.clear();
            order.clear();
            owners.clear();
            self.spare.push((chunk, order, owners));
        }
    }

    /// Bytes held, about.
    pub fn size(&self) -> usize {
        self.sealed_bytes + self.open.size()
    }

    /// As much is held as may be.
    pub fn is_full(&self) -> bool {
        self.size() >= OVERLAY_BYTES_MAX
    }
}
