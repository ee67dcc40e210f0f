//! Streams of relays from this shard to each other one, and how far theirs were applied here.
//!
//! Invariants:
//! 1. Relays are posted in the order of their positions; one is left out only to be posted later.
//! 2. A relay's row stays until the other shard has it on disk, whatever the durability.
//! 3. An epoch is used by one run only: its number is on disk before its first relay.
//! 4. At most [`UNCONFIRMED_RELAYS_MAX`] relays of a stream are posted and not confirmed.

use crate::chat::event::{Effect, Letter, Relay, StreamPosition};
use crate::chat::pending::Pending;
use crate::chat::records::Records;
use crate::chat::shard::{Place, Shard};
use crate::chat::turn::{Turn, When};
use crate::ids::{ShardId, UserId};
use crate::limits::{PARCEL_RELAYS_MAX, UNCONFIRMED_RELAYS_MAX};
use crate::store::keys::{Key, KeyReader, Kind};
use crate::store::rows::{NumberRow, OutboxRow, RowError, StreamRow, read_owned};
use crate::store::{Direction, Store, StoreError};
use std::ops::ControlFlow;

/// What goes to one other shard.
#[derive(Clone, Copy, Default)]
struct Outgoing {
    /// The sequence of the newest relay of this epoch.
    newest: u64,
    /// The newest relay whose row is durable.
    released: StreamPosition,
    /// The newest relay put into the mesh.
    posted: StreamPosition,
    /// The newest relay that the other shard has on disk.
    confirmed: StreamPosition,
    /// The newest relay of an earlier run.
    inherited: StreamPosition,
}

/// What comes from one other shard.
#[derive(Clone, Copy, Default)]
struct Incoming {
    applied: StreamPosition,
    owes_confirm: bool,
}

/// All streams of a shard, by the other shard.
pub struct Outbox {
    epoch: u64,
    outgoing: Vec<Outgoing>,
    incoming: Vec<Incoming>,
    /// `None`: nobody wants to know.
    pending: Option<Pending>,
}

impl Outbox {
    pub(super) fn open<S: Store>(
        records: &mut Records<S>,
        place: Place,
    ) -> Result<Outbox, StoreError> {
        let before = records.get::<NumberRow>(&Key::of(Kind::Epoch))?.map_or(0, |row| row.0);
        let mut outbox = Outbox {
            epoch: before + 1,
            outgoing: vec![Outgoing::default(); usize::from(place.shards)],
            incoming: vec![Incoming::default(); usize::from(place.shards)],
            pending: None,
        };
        records.put(&Key::of(Kind::Epoch), &NumberRow(outbox.epoch));
        for other in 0..place.shards {
            let newest = newest_row(records, ShardId(other))?;
            let outgoing = &mut outbox.outgoing[usize::from(other)];
            outgoing.released = newest.unwrap_or_default();
            outgoing.inherited = newest.unwrap_or_default();
            let applied = records.get::<StreamRow>(&Key::applied(ShardId(other)))?;
            if let Some(StreamRow { epoch, sequence }) = applied {
                let applied = StreamPosition { epoch, sequence };
                outbox.incoming[usize::from(other)].applied = applied;
            }
        }
        Ok(outbox)
    }

    /// The position of the next relay to `to`.
    pub(super) fn next_position(&mut self, to: ShardId) -> StreamPosition {
        let outgoing = &mut self.outgoing[usize::from(to.0)];
        outgoing.newest += 1;
        StreamPosition { epoch: self.epoch, sequence: outgoing.newest }
    }

    /// A relay's row is durable. Returns whether it may be posted at once.
    pub(super) fn release(&mut self, to: ShardId, position: StreamPosition) -> bool {
        let is_first_of_epoch = position.epoch == self.epoch;
        assert!(is_first_of_epoch, "only relays of this run are released");
        let outgoing = &mut self.outgoing[usize::from(to.0)];
        assert!(position > outgoing.released, "relays are released in order");
        let is_next = outgoing.posted == outgoing.released && !outgoing.is_choked(self.epoch);
        outgoing.released = position;
        if is_next {
            outgoing.posted = position;
        }
        is_next
    }

    pub(super) fn take_back(&mut self, to: ShardId, first: StreamPosition) {
        let outgoing = &mut self.outgoing[usize::from(to.0)];
        assert!(first <= outgoing.posted, "only what was posted is taken back");
        assert!(first.sequence > 0, "relays are counted from 1");
        outgoing.posted = StreamPosition { epoch: first.epoch, sequence: first.sequence - 1 };
    }

    pub(super) fn is_behind(&self, to: ShardId) -> bool {
        let outgoing = &self.outgoing[usize::from(to.0)];
        outgoing.posted < outgoing.released && !outgoing.is_choked(self.epoch)
    }

    pub(super) fn is_replayed(&self) -> bool {
        self.outgoing.iter().all(|outgoing| outgoing.confirmed >= outgoing.inherited)
    }

    /// The next relays after the last posted one, up to the last released one.
    pub(super) fn read<S: Store>(
        &mut self,
        records: &mut Records<S>,
        to: ShardId,
    ) -> Result<Vec<Relay>, StoreError> {
        let outgoing = &mut self.outgoing[usize::from(to.0)];
        let from = Key::outbox(to, outgoing.posted.epoch, outgoing.posted.sequence + 1);
        let end = Key::outbox(to, outgoing.released.epoch, outgoing.released.sequence + 1);
        let mut rows = Vec::new();
        records.scan(&from, &end, Direction::Forward, &mut |key, value| {
            rows.push(outbox_row(to, key, value));
            let is_enough = rows.len() == PARCEL_RELAYS_MAX;
            if is_enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        let mut relays = Vec::with_capacity(rows.len());
        for row in rows {
            let (position, row) = row?;
            relays.push(relay_of(records, position, row)?);
        }
        // Rows run out only when all that was released is there (or was confirmed long ago).
        let is_last = relays.len() < PARCEL_RELAYS_MAX;
        outgoing.posted = match relays.last() {
            Some(last) if !is_last => last.position,
            _ => outgoing.released,
        };
        Ok(relays)
    }

    /// Whether a relay of another shard is new. Whether or not, it is owed a confirm.
    pub(super) fn is_new(&mut self, from: ShardId, position: StreamPosition) -> bool {
        let incoming = &mut self.incoming[usize::from(from.0)];
        incoming.owes_confirm = true;
        position > incoming.applied
    }

    /// Notes a new relay of another shard.
    pub(super) fn take_in<S: Store>(
        &mut self,
        records: &mut Records<S>,
        from: ShardId,
        position: StreamPosition,
    ) {
        self.incoming[usize::from(from.0)].applied = position;
        let row = StreamRow { epoch: position.epoch, sequence: position.sequence };
        records.put(&Key::applied(from), &row);
    }

    /// Keeps in mind from now on which messages are on their way. Reads all rows of relays.
    pub(super) fn watch_pending<S: Store>(
        &mut self,
        records: &mut Records<S>,
    ) -> Result<(), StoreError> {
        let mut pending = Pending::new(self.outgoing.len());
        for to in (0..self.outgoing.len() as u16).map(ShardId) {
            let (from, end) = (Key::outbox_of(to), Key::outbox_of(to).after());
            let mut outcome = Ok(());
            records.scan(&from, &end, Direction::Forward, &mut |key, value| {
                match outbox_row(to, key, value) {
                    Ok((position, row)) => pending.begin(to, position, row),
                    Err(error) => outcome = Err(error),
                }
                if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
            outcome?;
        }
        self.pending = Some(pending);
        Ok(())
    }

    /// A message has been put on its way.
    pub(super) fn note_pending(&mut self, to: ShardId, position: StreamPosition, row: OutboxRow) {
        if let Some(pending) = &mut self.pending {
            pending.begin(to, position, row);
        }
    }

    /// Whether a message may still have to be read for its relay.
    pub(super) fn is_pending(&self, author: UserId, seq: u64) -> bool {
        let Some(pending) = &self.pending else { return true };
        pending.has(OutboxRow { author: author.number(), seq })
    }

    /// The streams whose senders wait for a confirm.
    fn take_confirms(&mut self) -> impl Iterator<Item = (ShardId, StreamPosition)> + '_ {
        self.incoming.iter_mut().enumerate().filter_map(|(from, incoming)| {
            let owes = std::mem::take(&mut incoming.owes_confirm);
            owes.then_some((ShardId(from as u16), incoming.applied))
        })
    }
}

impl Outgoing {
    /// As much is unconfirmed as may be.
    fn is_choked(&self, epoch: u64) -> bool {
        let confirmed = if self.confirmed.epoch == epoch { self.confirmed.sequence } else { 0 };
        self.posted.epoch == epoch
            && self.posted.sequence.saturating_sub(confirmed) >= UNCONFIRMED_RELAYS_MAX
    }
}

fn outbox_row(
    to: ShardId,
    key: &[u8],
    value: &[u8],
) -> Result<(StreamPosition, OutboxRow), RowError> {
    let mut reader = KeyReader::new(key);
    let found = reader.shard().ok_or(RowError::Key)?;
    assert_eq!(found, to, "a stream's rows lie together");
    let epoch = reader.number().ok_or(RowError::Key)?;
    let sequence = reader.number().ok_or(RowError::Key)?;
    Ok((StreamPosition { epoch, sequence }, read_owned::<OutboxRow>(value)?))
}

fn newest_row<S: Store>(
    records: &mut Records<S>,
    to: ShardId,
) -> Result<Option<StreamPosition>, StoreError> {
    let (from, end) = (Key::outbox_of(to), Key::outbox_of(to).after());
    let mut newest = None;
    records.scan(&from, &end, Direction::Backward, &mut |key, value| {
        newest = Some(outbox_row(to, key, value));
        ControlFlow::Break(())
    })?;
    Ok(newest.transpose()?.map(|(position, _)| position))
}

fn relay_of<S: Store>(
    records: &Records<S>,
    position: StreamPosition,
    row: OutboxRow,
) -> Result<Relay, StoreError> {
    let author = UserId::new(i64::from(row.author)).ok_or(RowError::Damaged)?;
    relay_at(records, &Key::message(author, row.seq), row.seq, position)
}

/// A relay of the message that lies under this key, and its number there.
pub(super) fn relay_at<S: Store>(
    records: &Records<S>,
    key: &Key,
    number: u64,
    position: StreamPosition,
) -> Result<Relay, StoreError> {
    let relay = records.message_at(key, number, |stored, ordinal| Relay {
        position,
        letter: Letter::of(&stored.message),
        ordinal,
        server_send_time_ms: stored.server_send_time_ms,
        content: stored.message.content.into(),
        name: stored.name.map(Into::into),
    })?;
    Ok(relay.ok_or(RowError::Missing)?)
}

impl<S: Store> Shard<S> {
    /// Another shard holds our relays up to here: their rows go.
    pub(super) fn confirmed(&mut self, by: ShardId, to: StreamPosition) -> Result<(), StoreError> {
        let outgoing = &mut self.outbox.outgoing[usize::from(by.0)];
        if to <= outgoing.confirmed {
            return Ok(());
        }
        let before = std::mem::replace(&mut outgoing.confirmed, to);
        if let Some(pending) = &mut self.outbox.pending {
            pending.end(by, to);
        }
        if before.epoch == to.epoch {
            for sequence in before.sequence + 1..=to.sequence {
                self.records.remove(&Key::outbox(by, to.epoch, sequence));
            }
            return Ok(());
        }
        let from = Key::outbox(by, before.epoch, before.sequence + 1);
        let end = Key::outbox(by, to.epoch, to.sequence + 1);
        let mut confirmed = Vec::new();
        self.records.scan(&from, &end, Direction::Forward, &mut |key, _| {
            confirmed.push(key.to_vec());
            ControlFlow::Continue(())
        })?;
        for key in confirmed {
            self.records.remove(&key);
        }
        Ok(())
    }

    /// Confirms what this turn applied, once a stream.
    pub(super) fn confirm_relays(&mut self, turn: &mut Turn) {
        for (to, stream) in self.outbox.take_confirms() {
            turn.want(When::Settled, Effect::Confirm { to, stream });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::store::memory::MemoryStore;

    const TO: ShardId = ShardId(1);

    /// Invariant 4 of chat::outbox.
    #[test]
    fn a_stream_waits_while_as_many_relays_are_unconfirmed_as_may_be() {
        let mut records = Records::new(MemoryStore::default());
        let place = Place { shard: ShardId(0), shards: 2, lanes: 2 };
        let mut outbox = Outbox::open(&mut records, place).expect("memory does not fail");
        for _ in 0..UNCONFIRMED_RELAYS_MAX {
            let position = outbox.next_position(TO);
            assert!(outbox.release(TO, position));
        }
        let (first, second) = (outbox.next_position(TO), outbox.next_position(TO));
        assert!(!outbox.release(TO, first) && !outbox.is_behind(TO));
        outbox.outgoing[1].confirmed = StreamPosition { sequence: 1, ..first };
        assert!(outbox.is_behind(TO), "there is room for one again");
        assert!(!outbox.release(TO, second), "which goes to the one that waits");
    }
}
