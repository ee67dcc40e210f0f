//! Chat lists: entries, unread counts, and what their owners do with them.
//!
//! Invariants:
//! 1. A pair has one entry in each one's list, with one id for ever, listed or not.
//! 2. A user's unread count is the sum of those of his listed entries.
//! 3. A list holds at most [`CHATS_MAX`] + [`CHATS_SLACK`] entries; of more, the oldest leave.

use crate::api::{Field, Refusal, Reply};
use crate::chat::event::Now;
use crate::chat::shard::Shard;
use crate::chat::turn::When;
use crate::ids::{ChatId, UserId};
use crate::limits::{CHATS_MAX, CHATS_SLACK};
use crate::store::keys::{Key, KeyReader};
use crate::store::rows::{ArchivedChatRow, ChatIdRow, ChatRow, RowError, read};
use crate::store::{Direction, Store, StoreError};
use std::cmp::Reverse;
use std::ops::ControlFlow;

/// An entry's place in its list: smaller comes first.
pub(super) type Rank = (Reverse<bool>, Reverse<u64>);

impl<S: Store> Shard<S> {
    /// Whether a list needs room for a pair, which is not in it. What adding the pair reads, and
    /// cannot be read, is found now.
    pub(super) fn lacks_chat_of(
        &mut self,
        owner: UserId,
        peer: UserId,
    ) -> Result<bool, StoreError> {
        match self.records.chat(owner, peer)?.map(|chat| chat.listed) {
            Some(true) => return Ok(false),
            Some(false) => {}
            None => drop(self.slot_counters(owner.slot())?),
        }
        Ok(true)
    }

    /// The chat of a pair, made or listed again if need be, to be changed. There is room for it:
    /// see [`Shard::make_room`].
    pub(super) fn chat_to_change(
        &mut self,
        owner: UserId,
        peer: UserId,
        now: &Now,
    ) -> Result<&mut ChatRow, StoreError> {
        match self.records.chat(owner, peer)?.map(|chat| chat.listed) {
            Some(true) => {}
            Some(false) => {
                self.records.change_user(owner)?.listed += 1;
                let chat = self.records.change_chat(owner, peer)?.ok_or(RowError::Missing)?;
                chat.listed = true;
            }
            None => self.add_chat(owner, peer, now)?,
        }
        Ok(self.records.change_chat(owner, peer)?.ok_or(RowError::Missing)?)
    }

    fn add_chat(&mut self, owner: UserId, peer: UserId, now: &Now) -> Result<(), StoreError> {
        let slot = owner.slot();
        let mut counters = self.slot_counters(slot)?;
        let id = ChatId::in_slot(slot, counters.next_chat);
        counters.next_chat += 1;
        self.records.put(&Key::slot(slot), &counters);
        let row = ChatIdRow { owner: owner.number(), peer: peer.number() };
        self.records.put(&Key::chat_id(id), &row);
        self.records.change_user(owner)?.listed += 1;
        let chat = ChatRow {
            id: id.number(),
            created_ms: now.wall_ms,
            updated_ms: now.wall_ms,
            listed: true,
            ..ChatRow::default()
        };
        self.records.add_chat(owner, peer, chat)
    }

    /// Lets the oldest entries leave a list that is full. It comes before anything else that an
    /// event changes: it scans, which writes out what was changed, and half an event must never be
    /// durable without the rest.
    pub(super) fn make_room(&mut self, owner: UserId) -> Result<(), StoreError> {
        if self.records.user(owner)?.listed < CHATS_MAX + CHATS_SLACK {
            return Ok(());
        }
        let ranked = self.ranked_chats(owner)?;
        for (_, peer) in ranked.into_iter().skip(CHATS_MAX as usize - 1) {
            self.unlist(owner, peer)?;
        }
        Ok(())
    }

    /// The entries of a list, in its order.
    pub(super) fn ranked_chats(
        &mut self,
        owner: UserId,
    ) -> Result<Vec<(Rank, UserId)>, StoreError> {
        let (from, to) = (Key::chats(owner), Key::chats(owner).after());
        let mut rows = Vec::new();
        self.records.scan(&from, &to, Direction::Forward, &mut |key, value| {
            let mut reader = KeyReader::new(key);
            let peer = reader.user().and_then(|_| reader.user()).ok_or(RowError::Key);
            rows.push(peer.and_then(|peer| {
                let row = read::<ArchivedChatRow>(value)?;
                Ok(((Reverse(row.top), Reverse(row.last_seq.to_native())), peer))
            }));
            ControlFlow::Continue(())
        })?;
        let mut ranked = rows.into_iter().collect::<Result<Vec<(Rank, UserId)>, RowError>>()?;
        ranked.sort_unstable();
        Ok(ranked)
    }

    /// Takes an entry and its unread count out of the list. Its messages stay.
    fn unlist(&mut self, owner: UserId, peer: UserId) -> Result<(), StoreError> {
        self.mark_read(owner, peer)?;
        let chat = self.records.change_chat(owner, peer)?.ok_or(RowError::Missing)?;
        chat.top = false;
        if std::mem::take(&mut chat.listed) {
            self.records.change_user(owner)?.listed -= 1;
        }
        Ok(())
    }

    /// All that was received so far is read.
    fn mark_read(&mut self, owner: UserId, peer: UserId) -> Result<(), StoreError> {
        let chat = self.records.chat(owner, peer)?.ok_or(RowError::Missing)?;
        if chat.unread == 0 && chat.read_up_to == chat.received {
            return Ok(());
        }
        let chat = self.records.change_chat(owner, peer)?.ok_or(RowError::Missing)?;
        let unread = std::mem::take(&mut chat.unread);
        chat.read_up_to = chat.received;
        let user = self.records.change_user(owner)?;
        user.unread = user.unread.saturating_sub(unread);
        if owner != peer {
            self.marks_changed(owner, peer);
        }
        Ok(())
    }

    pub(super) fn pair_of(&self, chat: ChatId) -> Result<Option<(UserId, UserId)>, StoreError> {
        let Some(row) = self.records.get::<ChatIdRow>(&Key::chat_id(chat))? else {
            return Ok(None);
        };
        let user = |number: u32| UserId::new(i64::from(number)).ok_or(RowError::Damaged);
        Ok(Some((user(row.owner)?, user(row.peer)?)))
    }

    /// Does something with an entry named by its id.
    fn with_chat(
        &mut self,
        chat: ChatId,
        act: impl FnOnce(&mut Self, UserId, UserId) -> Result<(), StoreError>,
    ) -> Result<(When, Reply), StoreError> {
        let Some((owner, peer)) = self.pair_of(chat)? else {
            return Ok((When::Now, Reply::Refused(Refusal::UnknownChat)));
        };
        act(self, owner, peer)?;
        // Durable also when nothing changed: an earlier change may still wait for the disk.
        Ok((When::Durable, Reply::Empty))
    }

    pub(super) fn clear_unread(&mut self, chat: ChatId) -> Result<(When, Reply), StoreError> {
        self.with_chat(chat, |shard, owner, peer| shard.mark_read(owner, peer))
    }

    pub(super) fn delete_chat(&mut self, chat: ChatId) -> Result<(When, Reply), StoreError> {
        self.with_chat(chat, |shard, owner, peer| shard.unlist(owner, peer))
    }

    pub(super) fn clear_unread_of(
        &mut self,
        owner: UserId,
        peer: UserId,
    ) -> Result<(When, Reply), StoreError> {
        let refusal = if !self.is_registered(owner) {
            Refusal::UnknownUser(Field("fromUserId"))
        } else if !self.is_registered(peer) {
            Refusal::UnknownUser(Field("toUserId"))
        } else if self.records.chat(owner, peer)?.is_none() {
            Refusal::UnknownChat
        } else {
            self.mark_read(owner, peer)?;
            return Ok((When::Durable, Reply::Empty));
        };
        Ok((When::Now, Reply::Refused(refusal)))
    }

    pub(super) fn top(&mut self, chat: ChatId, top: bool) -> Result<(When, Reply), StoreError> {
        let pair = self.pair_of(chat)?;
        if let Some((owner, peer)) = pair
            && self.records.chat(owner, peer)?.is_some_and(|chat| chat.listed)
        {
            let chat = self.records.change_chat(owner, peer)?.ok_or(RowError::Missing)?;
            chat.top = top;
            return Ok((When::Durable, Reply::Empty));
        }
        Ok((When::Now, Reply::Refused(Refusal::UnknownChat)))
    }

    pub(super) fn unread_count(&mut self, user: UserId) -> Result<(When, Reply), StoreError> {
        if !self.is_registered(user) {
            let refusal = Refusal::UnknownUser(Field("userId"));
            return Ok((When::Now, Reply::Refused(refusal)));
        }
        let count = self.records.user(user)?.unread;
        Ok((self.when_read(user)?, Reply::Count(count)))
    }
}
