//! A client acks what it received.
//!
//! Invariants:
//! 1. A message leaves the offline list once, by the first ack of any device, in the same batch in
//!    which its chat's marks show it.
//! 2. Acking what is not in the offline list changes no row.
//! 3. However much one ack names, one turn does at most [`ACKS_PER_STEP_MAX`] of it.

use crate::api::Acked;
use crate::chat::by_id::Index;
use crate::chat::damage::Asker;
use crate::chat::event::Now;
use crate::chat::expected::Received;
use crate::chat::shard::{Device, Shard};
use crate::chat::turn::Turn;
use crate::chat::waiting::{Waiter, Window};
use crate::ids::{MessageId, UserId};
use crate::limits::{ACKS_PER_STEP_MAX, CHORES_MAX};
use crate::metrics::Counter;
use crate::store::keys::Side;
use crate::store::rows::RowError;
use crate::store::{Store, StoreError};
use std::collections::VecDeque;

/// Acks too large for one turn: all of a user's up to a seq. What is not done when the server
/// stops is offered again.
#[derive(Default)]
pub struct Chores {
    waiting: VecDeque<(UserId, u64)>,
}

/// The id that an Error about it names; `None`: there are several.
pub(super) fn source_of(acked: Acked<'_>) -> Option<MessageId> {
    if let Acked::One(id) = acked { Some(id) } else { None }
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
        let user = device.user;
        // What cannot be read waits on, all else is acked.
        let mut is_readable = true;
        match acked {
            Acked::One(id) => is_readable = self.ack_id(user, id, turn)?,
            Acked::Many(ids) => {
                for id in ids {
                    is_readable &= self.ack_id(user, *id, turn)?;
                }
            }
            Acked::UpTo(id) => match self.last_received(user, id)? {
                Some(seq) => is_readable = self.ack_up_to(user, seq, turn)?,
                None => self.metrics.count(Counter::IgnoredAcks, 1),
            },
        }
        if !is_readable {
            self.tell_of_damage(Asker::Frame(device.connection, source_of(acked)), turn);
        }
        self.tell_what_was_left_out(user, now, turn)
    }

    /// Acks every waiting message of this id. Returns whether they could be read.
    fn ack_id(&mut self, user: UserId, id: MessageId, turn: &mut Turn) -> Result<bool, StoreError> {
        let acked = match self.expected.find(user, id) {
            Some(received) => self.attempt(turn, |shard, _| shard.ack_received(user, received))?,
            None => self.ack_indexed(user, id, turn)?,
        };
        if acked == Some(false) {
            self.metrics.count(Counter::IgnoredAcks, 1);
        }
        Ok(acked.is_some())
    }

    fn ack_received(&mut self, user: UserId, received: Received) -> Result<bool, StoreError> {
        let Some(waiter) = self.records.waiter(user, received.seq)? else { return Ok(false) };
        self.settle(user, waiter, received)?;
        Ok(true)
    }

    /// The same for ids that are not expected. Returns whether any message waited; `None`: not
    /// all could be read.
    fn ack_indexed(
        &mut self,
        user: UserId,
        id: MessageId,
        turn: &mut Turn,
    ) -> Result<Option<bool>, StoreError> {
        let mut seqs = std::mem::take(&mut self.seqs);
        seqs.clear();
        let index = Index { owner: user, side: Side::Received };
        let found = self.attempt(turn, |shard, _| shard.records.find_id(index, id, &mut seqs))?;
        let mut is_acked = found.map(|()| false);
        if is_acked.is_none() {
            seqs.clear();
        }
        for seq in &seqs {
            let outcome = self.attempt(turn, |shard, _| shard.ack_seq(user, *seq))?;
            is_acked = is_acked.zip(outcome).map(|(before, this)| before || this);
        }
        self.seqs = seqs;
        Ok(is_acked)
    }

    /// Acks one place of a history. Returns whether a message waited there.
    fn ack_seq(&mut self, user: UserId, seq: u64) -> Result<bool, StoreError> {
        let Some(waiter) = self.records.waiter(user, seq)? else { return Ok(false) };
        let received = self.records.message(user, seq, |stored, ordinal| Received {
            seq,
            author: stored.message.from,
            ordinal,
        })?;
        match received {
            Some(received) => self.settle(user, waiter, received)?,
            // It is kept no more: only the count has to follow.
            None => {
                self.records.end_waiting(waiter)?;
                self.records.change_user(user)?.offline -= 1;
            }
        }
        Ok(true)
    }

    /// The seq of the last message received under an id, acked or not.
    fn last_received(&mut self, user: UserId, id: MessageId) -> Result<Option<u64>, StoreError> {
        let mut last = None;
        self.each_of_id(Index { owner: user, side: Side::Received }, id, |_, seq| {
            last = last.max(Some(seq));
            Ok(())
        })?;
        Ok(last)
    }

    /// Acks all that waits up to a seq: some now, the rest as a chore. Returns whether all that was
    /// looked at could be read.
    fn ack_up_to(&mut self, user: UserId, seq: u64, turn: &mut Turn) -> Result<bool, StoreError> {
        let mut seqs = std::mem::take(&mut self.seqs);
        seqs.clear();
        let window = Window { after: 0, up_to: seq, count: ACKS_PER_STEP_MAX };
        self.records.waiting_seqs(user, window, &mut seqs)?;
        let mut acked = 0;
        for waiting in &seqs {
            let outcome = self.attempt(turn, |shard, _| shard.ack_seq(user, *waiting))?;
            acked += usize::from(outcome.is_some());
        }
        // What is damaged waits on: where there is nothing else, there is no more.
        let may_be_more = seqs.len() == ACKS_PER_STEP_MAX && acked > 0;
        if may_be_more && self.chores.waiting.len() < CHORES_MAX {
            self.chores.waiting.push_back((user, seq));
        }
        let is_readable = acked == seqs.len();
        self.seqs = seqs;
        Ok(is_readable)
    }

    /// A waiting message becomes an acked one.
    fn settle(
        &mut self,
        user: UserId,
        waiter: Waiter,
        received: Received,
    ) -> Result<(), StoreError> {
        let Received { seq, author, ordinal } = received;
        // The chat comes first: it may have to be read.
        let chat = self.records.change_chat(user, author)?.ok_or(RowError::Missing)?;
        chat.unacked = chat.unacked.saturating_sub(1);
        chat.acked.insert(ordinal);
        if chat.unacked == 0 {
            // All that was received is acked: gaps that did not fit are closed.
            chat.acked.raise(chat.received);
        }
        chat.pushed.raise(chat.acked.up_to);
        self.records.end_waiting(waiter)?;
        self.records.change_user(user)?.offline -= 1;
        self.marks_changed(user, author);
        self.notices.note_ack(user, seq);
        self.metrics.count(Counter::ClientAcks, 1);
        Ok(())
    }

    /// Goes on with one ack that was too large for its turn.
    pub(super) fn do_chores(&mut self, now: &Now, turn: &mut Turn) -> Result<(), StoreError> {
        if let Some((user, seq)) = self.chores.waiting.pop_front() {
            let work = |shard: &mut Self, turn: &mut Turn| shard.ack_up_to(user, seq, turn);
            self.attempt(turn, work)?;
            self.tell_what_was_left_out(user, now, turn)?;
        }
        Ok(())
    }
}
