//! Message ids that this shard hands out, and those of its own frames.
//!
//! Invariants:
//! 1. An id leaves the shard only when a bound at or above it is on disk; whoever starts after a
//!    crash begins above all bounds.
//! 2. An id of a frame of the server's own is never a multiple of 1000: it is never a minted one.

use crate::api::{Refusal, Reply};
use crate::chat::directory::Directory;
use crate::chat::event::Now;
use crate::chat::records::Records;
use crate::chat::shard::{Place, Shard};
use crate::chat::turn::When;
use crate::ids::{MessageId, MintError, Minted, Minter, number_at};
use crate::limits::MINT_BOUND_MS;
use crate::metrics::Counter;
use crate::store::keys::{Key, Kind};
use crate::store::rows::NumberRow;
use crate::store::{Position, Store, StoreError};

/// A shard's minter and the bound that it keeps on disk. Numbers are ids / 1000.
pub struct MessageIds {
    minter: Minter,
    /// On disk.
    bound: u64,
    /// Written, and on disk once that position is.
    written: (u64, Position),
    /// Something was minted since the bound was last looked at.
    used: bool,
    last_frame: i64,
}

impl MessageIds {
    pub(super) fn open<S: Store>(
        records: &Records<S>,
        place: Place,
        directory: &Directory,
    ) -> Result<MessageIds, StoreError> {
        let bound = records.get::<NumberRow>(&Key::of(Kind::MintBound))?.map_or(0, |row| row.0);
        directory.raise_shown(bound);
        Ok(MessageIds {
            minter: Minter::new(place.shard.0, place.lanes, bound),
            bound,
            written: (bound, Position::default()),
            used: false,
            last_frame: 0,
        })
    }

    /// An id for a frame of the server's own.
    pub(super) fn frame(&mut self, now: &Now) -> MessageId {
        let (millis, rest) = (now.mint.micros / 1000, now.mint.micros % 1000);
        let snowflake = (millis << 22) + (rest << 22) / 1000;
        let mut id = (snowflake as i64).max(self.last_frame + 1).max(1);
        if id % 1000 == 0 {
            id += 1;
        }
        self.last_frame = id;
        MessageId::new(id).expect("it is at least 1")
    }
}

impl<S: Store> Shard<S> {
    /// Mints ids, and says when they may leave.
    pub(super) fn mint(&mut self, count: u16, now: &Now) -> Result<(Minted, When), MintError> {
        let minted = self.ids.minter.mint(now.mint, count)?;
        let highest = minted.highest();
        self.directory.raise_shown(highest);
        self.metrics.count(Counter::Minted, u64::from(count));
        self.ids.used = true;
        if highest > self.ids.written.0 {
            self.write_mint_bound(highest, now);
        }
        if self.records.store().synced() >= self.ids.written.1 {
            self.ids.bound = self.ids.written.0;
        }
        let when = if highest <= self.ids.bound { When::Now } else { When::Synced };
        Ok((minted, when))
    }

    pub(super) fn mint_ids(
        &mut self,
        count: Option<u16>,
        now: &Now,
    ) -> Result<(When, Reply), StoreError> {
        Ok(match self.mint(count.unwrap_or(1), now) {
            Ok((minted, when)) if count.is_none() => (when, Reply::Id(minted.first)),
            Ok((minted, when)) => (when, Reply::Ids(minted)),
            Err(MintError::TooFast) => (When::Now, Reply::Refused(Refusal::TooManyIds)),
        })
    }

    fn write_mint_bound(&mut self, highest: u64, now: &Now) {
        let ahead = number_at(now.mint.micros + MINT_BOUND_MS * 1000) - number_at(now.mint.micros);
        let bound = highest.max(number_at(now.mint.micros)) + ahead;
        self.records.put(&Key::of(Kind::MintBound), &NumberRow(bound));
        self.ids.written = (bound, self.records.next_position());
    }

    /// Moves the bound ahead of time, so that minting does not wait for the disk each time it
    /// reaches it. Does nothing while nothing is minted.
    pub(super) fn extend_mint_bound(&mut self, now: &Now) {
        let soon = number_at(now.mint.micros + MINT_BOUND_MS * 500);
        if std::mem::take(&mut self.ids.used) && soon > self.ids.written.0 {
            self.write_mint_bound(soon, now);
        }
    }
}
