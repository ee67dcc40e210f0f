//! Where the n-th message of a chat is: seqs by number, for pages of one pair. The newest are in
//! the chat's row and leave it in blocks, so that a message costs an eighth of a row.
//!
//! Invariants:
//! 1. Numbers are dense, from 1, in the order of arrival; each has one seq for ever.
//!
//! A number is found with at most one row besides the chat's.

use crate::chat::records::Records;
use crate::ids::UserId;
use crate::store::keys::Key;
use crate::store::rows::{ChatRow, PAIR_BLOCK, PairBlockRow};
use crate::store::{Store, StoreError};

/// The block of a number, and the place in it.
pub(super) fn place_of(number: u64) -> (u64, usize) {
    let block = PAIR_BLOCK as u64;
    ((number - 1) / block, ((number - 1) % block) as usize)
}

/// A block that has become whole.
#[must_use = "a whole block is in no row yet"]
pub struct WholeBlock {
    pub(super) number: u64,
    pub(super) row: PairBlockRow,
}

impl ChatRow {
    /// Gives the next message of a chat its number.
    pub fn add_message(&mut self, seq: u64) -> Option<WholeBlock> {
        self.messages += 1;
        self.last_seq = seq;
        self.recent.push(seq);
        let seqs = self.recent.as_slice().try_into().ok()?;
        self.recent.clear();
        Some(WholeBlock { number: place_of(self.messages).0, row: PairBlockRow { seqs } })
    }

    /// Counts a message received under this ordinal. One that came before tells that the peer's
    /// home has lost what it had counted.
    pub fn count_received(&mut self, ordinal: u64) {
        self.is_parted |= ordinal <= self.received;
        self.received = self.received.max(ordinal);
    }
}

impl<S: Store> Records<S> {
    /// Puts a whole block of a chat's messages.
    pub fn put_pair_block(&mut self, owner: UserId, peer: UserId, block: &WholeBlock) {
        self.put(&Key::pair_block(owner, peer, block.number), &block.row);
    }

    /// The seq of the n-th message of a chat; `None`: there is none, or it is kept no more.
    pub fn seq_of_number(
        &mut self,
        owner: UserId,
        peer: UserId,
        number: u64,
    ) -> Result<Option<u64>, StoreError> {
        let Some(chat) = self.chat(owner, peer)? else { return Ok(None) };
        if number == 0 || number > chat.messages {
            return Ok(None);
        }
        let (block, place) = place_of(number);
        // The next message's block is the one that is still in the chat's row.
        if block == place_of(chat.messages + 1).0 {
            return Ok(chat.recent.get(place).copied());
        }
        let row = self.get::<PairBlockRow>(&Key::pair_block(owner, peer, block))?;
        Ok(row.map(|row| row.seqs[place]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryStore;
    use crate::store::rows::UserRow;

    /// Invariant 1 of chat::by_number.
    #[test]
    fn numbers_are_dense_and_each_has_its_seq_for_ever() {
        let [owner, peer] = [5, 6].map(|number| UserId::new(number).expect("positive"));
        let mut records = Records::new(MemoryStore::default());
        records.add_user(owner, UserRow::default());
        records.add_chat(owner, peer, ChatRow::default()).expect("memory does not fail");
        for number in 1..=50 {
            let chat = records.change_chat(owner, peer).expect("memory does not fail");
            if let Some(block) = chat.expect("there").add_message(number * 3) {
                records.put_pair_block(owner, peer, &block);
            }
            if number % 5 == 0 {
                records.write_out().expect("memory does not fail");
            }
            for earlier in 0..=number + 1 {
                let seq = records.seq_of_number(owner, peer, earlier);
                let expected = (1..=number).contains(&earlier).then_some(earlier * 3);
                assert_eq!(seq.expect("memory does not fail"), expected, "{earlier} of {number}");
            }
        }
    }
}
