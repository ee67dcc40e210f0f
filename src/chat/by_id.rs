//! Where a message is, by its id: the id indexes of each user's history.
//!
//! There are two, of what he sent and of what he received: two who write to each other draw their
//! ids from where they like, and the ids of each rise.
//!
//! Clients choose ids, and nearly always let them rise. Such ids gather in the user's row and leave
//! it in blocks, so that a message costs an eighth of a row; a late one, which does not rise, has a
//! row of its own. Several authors with ids of different beginnings make one stream that rises into
//! blocks and others that are late, each of which rises, too: the highest late id is known, so that
//! one above it needs no look for an older row.
//!
//! Invariants:
//! 1. Every message that was put into a history is found by its id, whatever the order of ids;
//!    nothing else is found.
//! 2. Blocks of one side do not overlap, and an id above all blocks is in the user's row only: a
//!    block never changes once it is there.
//! 3. An id above all late ones costs no read.
//!
//! Left to others: whether what is found is meant (`send`, `acknowledge`).

use crate::chat::records::Records;
use crate::ids::{MessageId, UserId};
use crate::store::keys::{Key, Side};
use crate::store::rows::{ID_BLOCK, IdBlockRow, IdEntry, IdsRow, LateIdRow, RowError, read_owned};
use crate::store::{Direction, Store, StoreError};
use std::ops::ControlFlow;

/// The block of an index that was read last: acks of a list ask for it again and again.
pub(super) type LastBlock = Option<(UserId, Side, IdBlockRow)>;

/// One of a user's indexes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Index {
    pub owner: UserId,
    pub side: Side,
}

/// Where an id has to go.
pub(super) enum Filed {
    InRow,
    InBlock(IdBlockRow),
    /// In a row of late ids: the first of this id for sure, or perhaps not.
    Late {
        is_first: bool,
    },
}

/// Notes an id in its user's row.
pub(super) fn file(ids: &mut IdsRow, entry: IdEntry) -> Filed {
    if entry.id <= ids.indexed_up_to {
        let is_first = entry.id > ids.highest_late;
        ids.highest_late = ids.highest_late.max(entry.id);
        return Filed::Late { is_first };
    }
    ids.recent.push(entry);
    let Ok(mut entries) = <[IdEntry; ID_BLOCK]>::try_from(ids.recent.as_slice()) else {
        return Filed::InRow;
    };
    entries.sort_unstable();
    ids.recent.clear();
    ids.indexed_up_to = entries[ID_BLOCK - 1].id;
    Filed::InBlock(IdBlockRow { entries })
}

impl<S: Store> Records<S> {
    /// Looks whether a message can be indexed: if that needs a row that cannot be read, it is
    /// found now.
    pub fn prepare_id(&mut self, index: Index, id: MessageId) -> Result<(), StoreError> {
        let Index { owner, side } = index;
        let ids = self.user(owner)?.ids(side);
        if id.number() <= ids.indexed_up_to.min(ids.highest_late) {
            drop(self.get::<LateIdRow>(&Key::late_id(owner, side, id))?);
        }
        Ok(())
    }

    /// Notes under which id a message was put into a history.
    pub fn index_id(&mut self, index: Index, id: MessageId, seq: u64) -> Result<(), StoreError> {
        let Index { owner, side } = index;
        match file(self.change_user(owner)?.ids_mut(side), IdEntry { id: id.number(), seq }) {
            Filed::InRow => {}
            Filed::InBlock(block) => {
                let lowest = MessageId::new(block.entries[0].id).ok_or(RowError::Damaged)?;
                self.put(&Key::id_block(owner, side, lowest), &block);
            }
            Filed::Late { is_first } => {
                let key = Key::late_id(owner, side, id);
                let before = if is_first { None } else { self.get::<LateIdRow>(&key)? };
                let mut row = before.unwrap_or_default();
                row.seqs.push(seq);
                self.put(&key, &row);
            }
        }
        Ok(())
    }

    /// Removes a block whose messages are all gone.
    pub fn remove_id_block(&mut self, index: Index, block: &IdBlockRow) -> Result<(), StoreError> {
        let lowest = MessageId::new(block.entries[0].id).ok_or(RowError::Damaged)?;
        self.remove(&Key::id_block(index.owner, index.side, lowest));
        self.last_block = None;
        Ok(())
    }

    /// Appends the seqs of all messages of one side of a history that came under an id. A rising id
    /// costs no read, any other a row and a short scan.
    pub fn find_id(
        &mut self,
        index: Index,
        id: MessageId,
        seqs: &mut Vec<u64>,
    ) -> Result<(), StoreError> {
        let Index { owner, side } = index;
        let ids = self.user(owner)?.ids(side);
        if id.number() > ids.indexed_up_to {
            append(&ids.recent, id, seqs);
            return Ok(());
        }
        if id.number() <= ids.highest_late
            && let Some(late) = self.get::<LateIdRow>(&Key::late_id(owner, side, id))?
        {
            seqs.extend(late.seqs);
        }
        if let Some(block) = self.block_of(index, id)? {
            append(&block.entries, id, seqs);
        }
        Ok(())
    }

    /// The only block that an id can be in.
    fn block_of(&mut self, index: Index, id: MessageId) -> Result<Option<IdBlockRow>, StoreError> {
        let Index { owner, side } = index;
        if let Some((of, its, block)) = &self.last_block
            && (*of, *its) == (owner, side)
            && block.entries[0].id <= id.number()
            && id.number() <= block.entries[ID_BLOCK - 1].id
        {
            return Ok(Some(*block));
        }
        let (from, to) = (Key::id_blocks(owner, side), Key::id_block(owner, side, id).after());
        let mut found = None;
        self.scan(&from, &to, Direction::Backward, &mut |_, value| {
            found = Some(read_owned::<IdBlockRow>(value));
            ControlFlow::Break(())
        })?;
        let block = found.transpose()?;
        if let Some(block) = block {
            self.last_block = Some((owner, side, block));
        }
        Ok(block)
    }
}

fn append(entries: &[IdEntry], id: MessageId, seqs: &mut Vec<u64>) {
    let matching = entries.iter().filter(|entry| entry.id == id.number());
    seqs.extend(matching.map(|entry| entry.seq));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::keys::Kind;
    use crate::store::memory::MemoryStore;
    use crate::store::rows::UserRow;
    use crate::store::{Batch, Position, Range, Visit};
    use std::collections::BTreeMap;

    fn user(number: i64) -> UserId {
        UserId::new(number).expect("positive")
    }

    fn received(owner: UserId) -> Index {
        Index { owner, side: Side::Received }
    }

    fn records() -> Records<MemoryStore> {
        let mut records = Records::new(MemoryStore::default());
        [5, 6].iter().for_each(|n| records.add_user(user(*n), UserRow::default()));
        records
    }

    fn found(records: &mut Records<MemoryStore>, index: Index, id: i64) -> Vec<u64> {
        let mut seqs = Vec::new();
        let id = MessageId::new(id).expect("positive");
        records.find_id(index, id, &mut seqs).expect("memory does not fail");
        seqs.sort_unstable();
        seqs
    }

    /// Invariant 1 of chat::by_id.
    #[test]
    fn every_message_is_found_by_its_id_whatever_the_order_of_ids() {
        for mut seed in 1..200_u64 {
            let (mut records, mut model) = (records(), BTreeMap::<_, Vec<u64>>::new());
            let spread = 1 + seed % 40;
            for seq in 1..120 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                // From strictly rising to all over the place, with repetitions.
                let id = 1 + (seq + (seed >> 33) % spread) as i64;
                let owner = user(5 + (seed >> 60) as i64 % 2);
                let index = Index { owner, side: Side::ALL[(seed >> 50) as usize % 2] };
                model.entry((owner, index.side, id)).or_default().push(seq);
                let id = MessageId::new(id).expect("positive");
                records.index_id(index, id, seq).expect("memory does not fail");
                if seq % 7 == 0 {
                    records.write_out().expect("memory does not fail");
                }
            }
            let indexes = [5, 6].iter().flat_map(|n| Side::ALL.map(|side| (user(*n), side)));
            for (owner, side) in indexes {
                for id in 1..170 {
                    let expected = model.remove(&(owner, side, id)).unwrap_or_default();
                    let found = found(&mut records, Index { owner, side }, id);
                    assert_eq!(found, expected, "{owner:?} {side:?} {id}");
                }
            }
        }
    }

    /// Refuses to read rows of late ids.
    struct Unread(MemoryStore);

    impl Store for Unread {
        fn get<R>(
            &self,
            key: &[u8],
            read: impl FnOnce(&[u8]) -> R,
        ) -> Result<Option<R>, StoreError> {
            assert_ne!(key[0], Kind::LateId as u8, "a late id was looked for");
            self.0.get(key, read)
        }

        fn scan(&self, range: Range<'_>, visit: Visit<'_>) -> Result<(), StoreError> {
            self.0.scan(range, visit)
        }

        fn write(&mut self, batch: &Batch) -> Result<Position, StoreError> {
            self.0.write(batch)
        }

        fn sync(&mut self) -> Result<(), StoreError> {
            self.0.sync()
        }

        fn written(&self) -> Position {
            self.0.written()
        }

        fn durable(&self) -> Position {
            self.0.durable()
        }

        fn synced(&self) -> Position {
            self.0.synced()
        }
    }

    /// Invariant 3 of chat::by_id.
    #[test]
    fn an_id_above_all_late_ones_costs_no_read() {
        let mut records = Records::new(Unread(MemoryStore::default()));
        records.add_user(user(5), UserRow::default());
        for seq in 1..=200 {
            // Two authors, whose ids begin far apart.
            let id = seq as i64 + if seq % 2 == 0 { 1_000_000 } else { 1_000 };
            let id = MessageId::new(id).expect("positive");
            records.index_id(received(user(5)), id, seq).expect("memory does not fail");
            records.write_out().expect("memory does not fail");
        }
        let mut late = 0;
        let (from, to) = (Key::of(Kind::LateId), Key::of(Kind::LateId).after());
        let count = &mut |_: &[u8], _: &[u8]| {
            late += 1;
            ControlFlow::Continue(())
        };
        records.scan(&from, &to, Direction::Forward, count).expect("memory does not fail");
        assert!((90..=96).contains(&late), "{late}");
        let above = records.user(user(5)).expect("there").received.highest_late + 1;
        let (above, mut seqs) = (MessageId::new(above).expect("positive"), Vec::new());
        records.find_id(received(user(5)), above, &mut seqs).expect("memory does not fail");
        assert!(seqs.is_empty());
    }

    /// Invariant 2 of chat::by_id.
    #[test]
    fn blocks_do_not_overlap_and_are_all_that_rising_ids_cost() {
        let mut records = records();
        for seq in 1..=80 {
            // Two authors whose clocks differ a little.
            let id = MessageId::new(1000 + seq as i64 * 10 + (seq % 2) as i64 * 15);
            records
                .index_id(received(user(5)), id.expect("positive"), seq)
                .expect("memory does not fail");
        }
        records.write_out().expect("memory does not fail");
        let (mut last, mut blocks) = (0, 0);
        let (from, to) = (Key::of(Kind::IdBlock), Key::of(Kind::IdBlock).after());
        records
            .scan(&from, &to, Direction::Forward, &mut |_, value| {
                let block = read_owned::<IdBlockRow>(value).expect("a block");
                assert!(block.entries[0].id > last && block.entries.is_sorted());
                last = block.entries[ID_BLOCK - 1].id;
                blocks += 1;
                ControlFlow::Continue(())
            })
            .expect("memory does not fail");
        assert!((8..=10).contains(&blocks), "{blocks}");
        assert_eq!(records.user(user(5)).expect("there").received.indexed_up_to, last);
    }
}
