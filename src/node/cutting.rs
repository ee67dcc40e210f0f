//! A shard's part in a cut of the whole server: it notes where its turns are cut, posts a marker,
//! and goes on.
//!
//! Invariants:
//! 1. A cut falls between two turns, and markers are posted between what they want posted. What a
//!    parcel before a marker brought is in it, what one behind the marker brought is not.
//! 2. A shard begins each cut once, by itself or at the first marker, also while its store is full.
//!
//! Left to others: why that is enough (`store::cut`), what is held back (`durable`), linking
//! (`indexer`).

use crate::node::clock::steady_nanos;
use crate::node::mesh::Parcel;
use crate::node::shard_loop::ShardLoop;
use crate::store::{Store, StoreError};

impl<S: Store> ShardLoop<S> {
    /// Begins the cut that is wanted, unless it has, and notes when all have.
    pub(super) fn look_for_cut(&mut self) -> Result<(), StoreError> {
        if self.has_cut_news() {
            let wanted = self.control.cuts().wanted();
            self.begin_cut(wanted)?;
            self.note_that_all_have_begun();
        }
        Ok(())
    }

    /// There is a cut to begin, or something held back that may go.
    pub(super) fn has_cut_news(&self) -> bool {
        let cuts = self.control.cuts();
        let may_go = |number| cuts.have_all_begun(number);
        self.cut.is_new(cuts.wanted()) || self.cut.alone().is_some_and(may_go)
    }

    fn note_that_all_have_begun(&mut self) {
        let cuts = self.control.cuts();
        if self.cut.alone().is_some_and(|number| cuts.have_all_begun(number)) {
            self.cut.all_have_begun();
        }
    }

    /// Ends the turn and begins a cut behind it, unless that was done.
    pub(super) fn begin_cut(&mut self, number: u64) -> Result<(), StoreError> {
        if !self.cut.is_new(number) {
            return Ok(());
        }
        // The cut before is done: what it held back may go.
        self.note_that_all_have_begun();
        self.end_turn(steady_nanos())?;
        let store = self.desk.shard.store_mut();
        let position = store.written();
        if let Some(recent) = store.recent() {
            recent.begin_cut(number);
        }
        self.cut.begin(number, position);
        for to in self.desk.mesh.others() {
            self.desk.mesh.post(to, Parcel::Marker(number));
        }
        self.control.cuts().begin();
        Ok(())
    }
}

#[cfg(test)]
#[path = "cutting_tests.rs"]
mod tests;
