//! Which messages of a history wait for an ack: one bit each, [`WAITING_BLOCK`] to a block. The
//! newest block is in the user's row; an older one has a row only while a message in it waits.
//!
//! Invariants:
//! 1. A message waits from its delivery until it is taken off, once; what is not waiting is not
//!    taken off.
//! 2. Waiting messages are listed in the order of their arrival.
//! 3. What does not wait cannot be taken off.
//!
//! Left to others: counts and marks (`deliver`, `acknowledge`).

use crate::chat::records::Records;
use crate::ids::UserId;
use crate::store::keys::{Key, KeyReader};
use crate::store::rows::{RowError, WAITING_BLOCK, WaitingRow, read_owned};
use crate::store::{Direction, Store, StoreError};
use std::ops::ControlFlow;

/// The block of a seq, and its bit there.
pub(super) fn place_of(seq: u64) -> (u64, u128) {
    (seq / WAITING_BLOCK, 1 << (seq % WAITING_BLOCK))
}

/// A message that waits: its block, and who else waits there.
pub(super) struct Waiter {
    owner: UserId,
    block: u64,
    others: u128,
}

/// Seqs looked for: above `after`, up to `up_to`, at most `count`.
#[derive(Clone, Copy)]
pub struct Window {
    /// Seqs above this one.
    pub after: u64,
    /// Seqs up to this one.
    pub up_to: u64,
    /// How many.
    pub count: usize,
}

impl Window {
    /// Appends the marked seqs of a block that are in the window.
    fn take(&self, block: u64, mut marks: u128, seqs: &mut Vec<u64>) {
        while marks != 0 && seqs.len() < self.count {
            let seq = block * WAITING_BLOCK + u64::from(marks.trailing_zeros());
            marks &= marks - 1;
            if seq > self.after && seq <= self.up_to {
                seqs.push(seq);
            }
        }
    }
}

impl<S: Store> Records<S> {
    /// The place of the next message of a history.
    pub fn next_seq(&mut self, owner: UserId) -> Result<u64, StoreError> {
        let user = self.change_user(owner)?;
        user.last_seq += 1;
        let seq = user.last_seq;
        if !seq.is_multiple_of(WAITING_BLOCK) {
            return Ok(seq);
        }
        let marks = std::mem::take(&mut user.waiting);
        if marks != 0 {
            self.put(&Key::waiting(owner, seq / WAITING_BLOCK - 1), &WaitingRow(marks));
        }
        Ok(seq)
    }

    /// The newest message of a history waits for an ack.
    pub fn begin_waiting(&mut self, owner: UserId) -> Result<(), StoreError> {
        let user = self.change_user(owner)?;
        let (_, bit) = place_of(user.last_seq);
        assert!(user.waiting & bit == 0, "a message begins to wait once");
        user.waiting |= bit;
        Ok(())
    }

    /// Whether a message waits for an ack.
    pub fn is_waiting(&mut self, owner: UserId, seq: u64) -> Result<bool, StoreError> {
        let (block, bit) = place_of(seq);
        Ok(self.waiting_marks(owner, block)? & bit != 0)
    }

    fn waiting_marks(&mut self, owner: UserId, block: u64) -> Result<u128, StoreError> {
        let user = self.user(owner)?;
        if block == place_of(user.last_seq).0 {
            return Ok(user.waiting);
        }
        let row = self.get::<WaitingRow>(&Key::waiting(owner, block))?;
        Ok(row.map_or(0, |row| row.0))
    }

    /// A message that waits, to be taken off; `None`: it does not.
    pub fn waiter(&mut self, owner: UserId, seq: u64) -> Result<Option<Waiter>, StoreError> {
        let (block, bit) = place_of(seq);
        let marks = self.waiting_marks(owner, block)?;
        Ok((marks & bit != 0).then_some(Waiter { owner, block, others: marks & !bit }))
    }

    /// A message waits no more. No other of its owner has begun or ceased to wait since it was
    /// looked up.
    pub fn end_waiting(&mut self, waiter: Waiter) -> Result<(), StoreError> {
        let Waiter { owner, block, others } = waiter;
        let user = self.change_user(owner)?;
        let key = Key::waiting(owner, block);
        if block == place_of(user.last_seq).0 {
            user.waiting = others;
        } else if others == 0 {
            self.remove(&key);
        } else {
            self.put(&key, &WaitingRow(others));
        }
        Ok(())
    }

    /// Puts the seqs of waiting messages in a window into `seqs`, which is empty, oldest first.
    pub fn waiting_seqs(
        &mut self,
        owner: UserId,
        window: Window,
        seqs: &mut Vec<u64>,
    ) -> Result<(), StoreError> {
        assert!(seqs.is_empty(), "a window's count is that of the whole list");
        let Window { after, up_to, count } = window;
        let user = self.user(owner)?;
        let (newest, newest_marks) = (place_of(user.last_seq).0, user.waiting);
        if after >= up_to || count == 0 || user.offline == 0 {
            return Ok(());
        }
        let (first, last) = (place_of(after + 1).0, place_of(up_to).0);
        if first < newest {
            let end = newest.min(last + 1);
            let (from, to) = (Key::waiting(owner, first), Key::waiting(owner, end));
            let mut outcome = Ok(());
            self.scan(&from, &to, Direction::Forward, &mut |key, value| {
                match read_block(key, value) {
                    Ok((block, marks)) => window.take(block, marks, seqs),
                    Err(error) => outcome = Err(error),
                }
                let is_enough = seqs.len() >= count || outcome.is_err();
                if is_enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
            outcome?;
        }
        window.take(newest, newest_marks, seqs);
        Ok(())
    }
}

fn read_block(key: &[u8], value: &[u8]) -> Result<(u64, u128), RowError> {
    let mut reader = KeyReader::new(key);
    let block = reader.user().and_then(|_| reader.number()).ok_or(RowError::Key)?;
    Ok((block, read_owned::<WaitingRow>(value)?.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryStore;
    use crate::store::rows::UserRow;
    use std::collections::BTreeSet;

    fn owner() -> UserId {
        UserId::new(7).expect("positive")
    }

    fn list(records: &mut Records<MemoryStore>, window: Window) -> Vec<u64> {
        let mut seqs = Vec::new();
        records.waiting_seqs(owner(), window, &mut seqs).expect("memory does not fail");
        seqs
    }

    /// Invariants 1 and 2 of chat::waiting.
    #[test]
    fn what_waits_is_listed_in_the_order_of_arrival_until_it_is_taken_off() {
        for mut seed in 1..60_u64 {
            let mut random = |below: u64| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (seed >> 33) % below
            };
            let mut records = Records::new(MemoryStore::default());
            records.add_user(owner(), UserRow::default());
            let mut model = BTreeSet::new();
            for _ in 0..900 {
                match random(5) {
                    0..=2 => {
                        let seq = records.next_seq(owner()).expect("memory does not fail");
                        if random(3) > 0 {
                            records.begin_waiting(owner()).expect("memory does not fail");
                            records.change_user(owner()).expect("there").offline += 1;
                            model.insert(seq);
                        }
                    }
                    3 => {
                        let seq = 1 + random(600);
                        let waiter = records.waiter(owner(), seq).expect("memory does not fail");
                        let did_wait = model.remove(&seq);
                        assert_eq!(waiter.is_some(), did_wait);
                        let ended = waiter.map(|waiter| records.end_waiting(waiter));
                        ended.transpose().expect("memory does not fail");
                        let user = records.change_user(owner()).expect("there");
                        user.offline -= u64::from(did_wait);
                    }
                    _ => {
                        records.write_out().expect("memory does not fail");
                    }
                }
            }
            let window =
                Window { after: random(300), up_to: random(600), count: 1 + random(200) as usize };
            let inside = model.iter().filter(|seq| **seq > window.after && **seq <= window.up_to);
            let expected: Vec<u64> = inside.copied().take(window.count).collect();
            assert_eq!(list(&mut records, window), expected);
            for seq in 1..600 {
                let is_waiting = records.is_waiting(owner(), seq).expect("memory does not fail");
                assert_eq!(is_waiting, model.contains(&seq), "{seq}");
            }
        }
    }

    /// Invariant 3 of chat::waiting.
    #[test]
    fn taking_off_what_does_not_wait_changes_no_row() {
        let mut records = Records::new(MemoryStore::default());
        records.add_user(owner(), UserRow::default());
        for _ in 0..3 * WAITING_BLOCK {
            records.next_seq(owner()).expect("memory does not fail");
        }
        records.write_out().expect("memory does not fail");
        let before = records.store().written();
        for seq in 0..4 * WAITING_BLOCK {
            assert!(records.waiter(owner(), seq).expect("memory does not fail").is_none());
        }
        records.write_out().expect("memory does not fail");
        assert_eq!(records.store().written(), before);
    }
}
