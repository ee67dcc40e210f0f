//! A host's log and LSM, as in `node::log_writer` and `node::indexer`.

use super::{Ground, Host, Want};
use crate::limits::LOG_SYNC_MS;
use crate::sim::chronicle::Halt;
use crate::sim::coverage::Stage;
use crate::store::keys::{Key, Kind};
use crate::store::log::Outcome;
use crate::store::{Direction, Range, Store, StoreError};
use std::ops::ControlFlow;

impl Host {
    /// Does all that the log wants now.
    pub(super) fn move_log(&mut self, ground: &mut Ground<'_>) -> Result<(), Halt> {
        let (shard, now_ms) = (self.place.shard, self.now.steady_ms);
        if self.storage.take_chunks(self.shard.store_mut(), now_ms) > 0 {
            self.wants.push(Want::Index);
            ground.chronicle.pass(shard, Stage::Handed)?;
        }
        if crate::sim::storage::recent(self.shard.store_mut()).log_mut().segments_mut().ask() {
            self.wants.push(Want::Segment);
        }
        if now_ms >= self.sync_asked_ms + LOG_SYNC_MS {
            self.sync_asked_ms = now_ms;
            self.shard.store_mut().sync()?;
        }
        if self.storage.start_write(self.shard.store_mut()) {
            self.wants.push(Want::Write);
            self.note_write(ground)?;
        }
        if self.storage.start_sync(self.shard.store_mut()) {
            self.wants.push(Want::Sync);
        }
        Ok(())
    }

    fn note_write(&mut self, ground: &mut Ground<'_>) -> Result<(), Halt> {
        let Some(write) = &self.storage.in_flight else { return Ok(()) };
        let (shard, place, bytes) = (self.place.shard, write.place, write.buffer.len());
        let words = format_args!("writes {bytes} bytes to segment {place}, {}", write.offset);
        ground.chronicle.tell(shard, words);
        let begins = write.offset == 0;
        ground.chronicle.pass(shard, Stage::Writing)?;
        if begins && self.begun_files.contains(&place) {
            ground.chronicle.pass(shard, Stage::SegmentReused)?;
        }
        if begins {
            self.begun_files.push(place);
        }
        Ok(())
    }

    /// The write in flight is done, or has failed.
    pub fn write_done(&mut self, outcome: Outcome, ground: &mut Ground<'_>) -> Result<(), Halt> {
        if !self.storage.finish_write(self.shard.store_mut(), outcome) {
            return Ok(());
        }
        let (shard, store) = (self.place.shard, self.shard.store());
        let (durable, synced) = (store.durable().0, store.synced().0);
        ground.chronicle.tell(shard, format_args!("{outcome:?}: turn {durable} is durable"));
        if outcome == Outcome::Failed {
            return Err(StoreError::Failed.into());
        }
        ground.chronicle.pass(shard, Stage::Written)?;
        if synced == durable {
            ground.chronicle.pass(shard, Stage::Synced)?;
        }
        Ok(())
    }

    /// The sync under way is done.
    pub fn sync_done(&mut self, ground: &mut Ground<'_>) -> Result<(), Halt> {
        if self.storage.finish_sync(self.shard.store_mut(), Outcome::Done) {
            let synced = self.shard.store().synced().0;
            ground.chronicle.tell(self.place.shard, format_args!("turn {synced} is synced"));
            ground.chronicle.pass(self.place.shard, Stage::Synced)?;
        }
        Ok(())
    }

    /// The indexer applies chunks.
    pub fn index(&mut self, chunks: usize, ground: &mut Ground<'_>) -> Result<(), Halt> {
        let shard = self.place.shard;
        if self.storage.apply(self.shard.store_mut(), chunks) {
            ground.chronicle.tell(shard, format_args!("the LSM gets chunks"));
            if !std::mem::replace(&mut self.is_lsm_syncing, true) {
                self.wants.push(Want::SyncTables);
            }
            ground.chronicle.pass(shard, Stage::Indexed)?;
        }
        if !self.storage.chunks.is_empty() {
            self.wants.push(Want::Index);
        }
        Ok(())
    }

    /// The LSM has synced all that was applied.
    pub fn sync_tables(&mut self, ground: &mut Ground<'_>) -> Result<(), Halt> {
        self.is_lsm_syncing = false;
        self.storage.sync_lsm(self.shard.store_mut());
        ground.chronicle.pass(self.place.shard, Stage::TableSynced)
    }

    /// A segment is made.
    pub fn make_segment(&mut self, ground: &mut Ground<'_>) -> Result<(), Halt> {
        self.storage.make_segment(self.shard.store_mut());
        ground.chronicle.pass(self.place.shard, Stage::SegmentMade)
    }

    /// Sees to it that what waits becomes durable, and releases what has.
    pub(super) fn sync_if_awaited(&mut self, ground: &mut Ground<'_>) -> Result<(), Halt> {
        if self.pending.iter().any(|turn| !turn.synced.is_empty()) {
            self.shard.store_mut().sync()?;
        }
        self.move_log(ground)?;
        self.release_durable(ground)
    }

    /// Waits until all that was written is on disk.
    pub(super) fn sync_whole(&mut self) {
        let rows = self.shard.store_mut();
        while rows.synced() < rows.written() {
            rows.sync().expect("the log is new");
            self.storage.start_write(rows);
            self.storage.finish_write(rows, Outcome::Done);
            self.storage.start_sync(rows);
            self.storage.finish_sync(rows, Outcome::Done);
        }
    }

    /// Rows of relays that no other shard has confirmed.
    pub(super) fn outbox_rows(&self) -> usize {
        let (from, to) = (Key::of(Kind::Outbox), Key::of(Kind::Outbox).after());
        let range = Range { from: &from, to: &to, direction: Direction::Forward };
        let mut rows = 0;
        let count = &mut |_: &[u8], _: &[u8]| {
            rows += 1;
            ControlFlow::Continue(())
        };
        self.shard.store().scan(range, count).expect("memory does not fail");
        rows
    }
}
