//! A client acks what it received.
//!
//! Invariants:
//! 1. A message leaves the offline list once, by the first ack of any device, in the same batch in
//!    which its chat's marks show it.
//! 2. Acking what is not in the offline list changes no row.
//! 3. However much one ack names, one turn does at most [`ACKS_PER_STEP_MAX`] of it.

use crate::api::Acked;
use crate::chat::event::Now;
use crate::chat::shard::{Device, Shard};
use crate::chat::turn::Turn;
use crate::ids::{MessageId, UserId};
use crate::limits::{ACKS_PER_STEP_MAX, CHORES_MAX};
use crate::metrics::Counter;
use crate::store::keys::Key;
use crate::store::rows::{OfflineIdRow, OfflineRow, RowError, read_owned};
use crate::store::{Direction, Store, StoreError};
use std::collections::VecDeque;
use std::ops::ControlFlow;

/// Acks too large for one turn: all of a user's up to a seq. What is not done when the server
/// stops is offered again.
#[derive(Default)]
pub struct Chores {
    waiting: VecDeque<(UserId, u64)>,
}

impl<S: Store> Shard<S> {
    pub(super) fn acknowledge(
        &mut self,
        device: Device,
        acked: Acked<'_>,
        now: &Now,
        turn: &mut Turn,
    ) -> Result<(), StoreError> {
        self.presence.note_ack(device);
        match acked {
            Acked::One(id) => self.ack_id(device.user, id)?,
            Acked::Many(ids) => {
                for id in ids {
                    self.ack_id(device.user, *id)?;
                }
            }
            Acked::UpTo(id) => match self.last_waiting(device.user, id)? {
                Some(seq) => self.ack_up_to(device.user, seq)?,
                None => self.metrics.count(Counter::IgnoredAcks, 1),
            },
        }
        self.tell_what_was_left_out(device.user, now, turn)
    }

    /// Acks every waiting message of this id.
    fn ack_id(&mut self, user: UserId, id: MessageId) -> Result<(), StoreError> {
        let key = Key::offline_id(user, id);
        let Some(row) = self.records.get::<OfflineIdRow>(&key)? else {
            self.metrics.count(Counter::IgnoredAcks, 1);
            return Ok(());
        };
        self.records.remove(&key);
        for waiting in std::iter::once(&row.first).chain(&row.others) {
            self.settle(user, waiting)?;
        }
        Ok(())
    }

    /// The seq of the last waiting message of this id.
    fn last_waiting(&self, user: UserId, id: MessageId) -> Result<Option<u64>, StoreError> {
        let row = self.records.get::<OfflineIdRow>(&Key::offline_id(user, id))?;
        let last = |row: OfflineIdRow| row.others.last().map_or(row.first.seq, |last| last.seq);
        Ok(row.map(last))
    }

    /// Acks all that waits up to a seq: some now, the rest as a chore.
    fn ack_up_to(&mut self, user: UserId, seq: u64) -> Result<(), StoreError> {
        let rows = self.waiting_between(user, 0, seq, ACKS_PER_STEP_MAX)?;
        for waiting in &rows {
            let id = MessageId::new(waiting.id).ok_or(RowError::Damaged)?;
            self.forget_id(user, id, waiting)?;
            self.settle(user, waiting)?;
        }
        let may_be_more = rows.len() == ACKS_PER_STEP_MAX;
        if may_be_more && self.chores.waiting.len() < CHORES_MAX {
            self.chores.waiting.push_back((user, seq));
        }
        Ok(())
    }

    /// Waiting messages with a seq above `after`, up to `up_to`, oldest first, at most `count`.
    pub(super) fn waiting_between(
        &mut self,
        user: UserId,
        after: u64,
        up_to: u64,
        count: usize,
    ) -> Result<Vec<OfflineRow>, StoreError> {
        let from = Key::offline(user, after.saturating_add(1));
        let end = Key::offline(user, up_to).after();
        if after >= up_to || count == 0 {
            return Ok(Vec::new());
        }
        let mut rows = Vec::new();
        self.records.scan(&from, &end, Direction::Forward, &mut |_, value| {
            rows.push(read_owned::<OfflineRow>(value));
            if rows.len() == count { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(rows.into_iter().collect::<Result<Vec<_>, RowError>>()?)
    }

    /// Takes one message out of the row of its id.
    fn forget_id(
        &mut self,
        user: UserId,
        id: MessageId,
        gone: &OfflineRow,
    ) -> Result<(), StoreError> {
        let key = Key::offline_id(user, id);
        let row = self.records.get::<OfflineIdRow>(&key)?.ok_or(RowError::Missing)?;
        let mut left = std::iter::once(row.first).chain(row.others).filter(|row| row != gone);
        match left.next() {
            None => self.records.remove(&key),
            Some(first) => {
                let row = OfflineIdRow { first, others: left.collect() };
                self.records.put(&key, &row);
            }
        }
        Ok(())
    }

    /// A waiting message becomes an acked one.
    fn settle(&mut self, user: UserId, waiting: &OfflineRow) -> Result<(), StoreError> {
        let author = UserId::new(i64::from(waiting.author)).ok_or(RowError::Damaged)?;
        self.records.remove(&Key::offline(user, waiting.seq));
        let row = self.records.change_user(user)?;
        row.offline = row.offline.saturating_sub(1);
        let chat = self.records.change_chat(user, author)?.ok_or(RowError::Missing)?;
        chat.unacked = chat.unacked.saturating_sub(1);
        chat.acked.insert(waiting.ordinal);
        if chat.unacked == 0 {
            // All that was received is acked: gaps that did not fit are closed.
            chat.acked.raise(chat.received);
        }
        chat.pushed.raise(chat.acked.up_to);
        self.marks_changed(user, author);
        self.notices.note_ack(user, waiting.seq);
        self.metrics.count(Counter::ClientAcks, 1);
        Ok(())
    }

    /// Goes on with one ack that was too large for its turn.
    pub(super) fn do_chores(&mut self, now: &Now, turn: &mut Turn) -> Result<(), StoreError> {
        if let Some((user, seq)) = self.chores.waiting.pop_front() {
            self.ack_up_to(user, seq)?;
            self.tell_what_was_left_out(user, now, turn)?;
        }
        Ok(())
    }
}
