//! Retention: histories are forgotten from their oldest end, by age, by number, or not at all.
//!
//! What is forgotten of a user is kept as a user of its own: a row of the same shape, as those
//! messages alone would have made it, and one for each of his chats. Filing the forgotten messages
//! there again, in their order, tells which blocks of the indexes hold nothing else and can go; and
//! whoever checks rows begins with it.
//!
//! Invariants:
//! 1. What is forgotten is a beginning of the history: by number all but the newest so many, by age
//!    all before the first that is younger. Nothing else goes.
//! 2. No row but these tells of a forgotten message: neither indexes nor counts.
//! 3. A message that is on its way to another shard is not forgotten: its relay is read from it.
//! 4. One event forgets at most [`FORGET_STEP`] messages.
//! 5. A clock that jumps ahead while the server runs makes nothing old.
//! 6. A message is not stored again because it is forgotten: an id no higher than a forgotten one
//!    of its author is refused, unless it is found.
//! 7. Each user is looked at once in [`FORGET_SWEEP_MS`], or as often as [`FORGET_TICK_USERS`] at
//!    each tick allow.
//!
//! Left to others: when the event is offered, and fetching rows for it (`node::forgetting`).

use crate::chat::by_id::{Filed, Index, file};
use crate::chat::directory::first_index;
use crate::chat::event::{Letter, Now};
use crate::chat::needs::Needs;
use crate::chat::shard::Shard;
use crate::chat::waiting::Waiter;
use crate::ids::{MessageId, SLOTS, Slot, UserId};
use crate::limits::{FORGET_DUE_MAX, FORGET_EACH, FORGET_STEP, FORGET_SWEEP_MS, FORGET_TICK_USERS};
use crate::metrics::Counter;
use crate::store::keys::{Key, Side};
use crate::store::rows::{ChatRow, IdEntry, LateIdRow, RowError, UserRow};
use crate::store::warmth::Need;
use crate::store::{Store, StoreError};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};

const MS_A_DAY: i64 = 24 * 60 * 60 * 1_000;

/// How much of each history is kept. Both: what either of them lets go is forgotten.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Retention {
    /// The newest so many messages.
    pub messages: Option<u64>,
    /// Messages of the last so many days.
    pub days: Option<u32>,
}

impl Retention {
    fn is_on(&self) -> bool {
        self.messages.is_some() || self.days.is_some()
    }
}

/// Who may have something to forget.
#[derive(Default)]
pub(super) struct Forgetting {
    retention: Retention,
    /// The wall's and the steady clock's ms when the first tick came.
    began: Option<(i64, u64)>,
    due: VecDeque<UserId>,
    sweep: Sweep,
}

/// Where looking at all users is.
#[derive(Default)]
struct Sweep {
    slot: u16,
    index: u32,
    /// When it began; `None`: it begins at the next tick.
    since_ms: Option<u64>,
}

/// A message that may be forgotten.
struct Candidate {
    letter: Letter,
    ordinal: u64,
    server_send_time_ms: i64,
}

/// Up to which message one event forgets: those that lie together go together, if they all go.
fn last_of_step(first: u64) -> u64 {
    first | (FORGET_STEP - 1)
}

/// What forgetting a message changes besides.
struct Affected {
    /// The row of its id, if that came late.
    late: Option<LateIdRow>,
    waiter: Option<Waiter>,
}

/// What is forgotten of a user, as rows of their own.
struct Gone {
    user: UserRow,
    chats: BTreeMap<UserId, ChatRow>,
}

impl Forgetting {
    /// A message was put at this place of a history.
    pub fn note(&mut self, user: UserId, seq: u64) {
        let Some(most) = self.retention.messages else { return };
        if seq > most && seq.is_multiple_of(FORGET_EACH) {
            self.queue(user);
        }
    }

    /// What finds no room is found by the next sweep.
    fn queue(&mut self, user: UserId) {
        if self.due.len() < FORGET_DUE_MAX && self.due.back() != Some(&user) {
            self.due.push_back(user);
        }
    }

    /// Before which time, in ms since the Unix epoch, messages are old.
    fn horizon_ms(&self, now: &Now) -> Option<i64> {
        let days = i64::from(self.retention.days?);
        let (wall_ms, steady_ms) = self.began?;
        let passed_ms = now.steady_ms.saturating_sub(steady_ms) as i64;
        Some(now.wall_ms.min(wall_ms.saturating_add(passed_ms)) - days * MS_A_DAY)
    }
}

impl<S: Store> Shard<S> {
    /// Says how much is kept from now on. To be called before the first event.
    pub fn retain(&mut self, retention: Retention) -> Result<(), StoreError> {
        self.forgetting.retention = retention;
        if retention.is_on() { self.outbox.watch_pending(&mut self.records) } else { Ok(()) }
    }

    /// Somebody who may have something to forget. He is offered once.
    pub fn next_to_forget(&mut self) -> Option<UserId> {
        self.forgetting.due.pop_front()
    }

    /// Looks at some more users, at each tick.
    pub(super) fn sweep_users(&mut self, now: &Now) -> Result<(), StoreError> {
        if !self.forgetting.retention.is_on() {
            return Ok(());
        }
        self.forgetting.began.get_or_insert((now.wall_ms, now.steady_ms));
        let since_ms = *self.forgetting.sweep.since_ms.get_or_insert(now.steady_ms);
        let has_room = self.forgetting.due.len() + FORGET_TICK_USERS <= FORGET_DUE_MAX;
        if now.steady_ms < since_ms || !has_room {
            return Ok(());
        }
        let mut left = FORGET_TICK_USERS as u32;
        while left > 0 && self.forgetting.sweep.slot < SLOTS {
            left = self.sweep_slot(left)?;
        }
        if self.forgetting.sweep.slot == SLOTS {
            let since_ms = Some(since_ms + FORGET_SWEEP_MS);
            self.forgetting.sweep = Sweep { since_ms, ..Sweep::default() };
        }
        Ok(())
    }

    /// Goes on with the slot that the sweep is at. Returns how many more users may be looked at; a
    /// slot costs as much as a user.
    fn sweep_slot(&mut self, left: u32) -> Result<u32, StoreError> {
        let slot = Slot::of(u64::from(self.forgetting.sweep.slot));
        let is_here = slot.home(self.place.shards) == self.place.shard;
        let first = first_index(slot);
        let end = match is_here {
            true => self.unless_damaged(self.slot_counters(slot))?.map(|slot| slot.next_user),
            false => None,
        };
        let end = end.unwrap_or(first);
        let from = self.forgetting.sweep.index.max(first);
        let to = end.min(from.saturating_add(left));
        for index in from..to {
            let user = UserId::in_slot(slot, index).expect("who was registered has a number");
            self.forgetting.queue(user);
        }
        let sweep = &mut self.forgetting.sweep;
        sweep.index = to;
        if to >= end {
            (sweep.slot, sweep.index) = (sweep.slot + 1, 0);
        }
        Ok(left - (to - from).max(u32::from(is_here)).min(left))
    }

    /// Which rows forgetting lacks; none: it can be done.
    pub fn needs_to_forget(&mut self, user: UserId, now: &Now) -> Result<Vec<Need>, StoreError> {
        self.lacking(|shard, needs| shard.needs_of_forgetting(user, now, needs))
    }

    fn needs_of_forgetting(
        &mut self,
        user: UserId,
        now: &Now,
        needs: &mut Needs,
    ) -> Result<(), StoreError> {
        self.lacks_user(user, needs);
        let key = Key::forgotten(user);
        if self.lacks_row(self.place.shard, &key, needs) || needs.are_lacking() {
            return Ok(());
        }
        let last_seq = self.records.user(user)?.last_seq;
        let gone = self.records.get::<UserRow>(&key)?.map_or(0, |gone| gone.last_seq);
        for seq in gone + 1..=last_seq.min(last_of_step(gone + 1)) {
            if self.lacks_message(user, seq, needs) {
                break;
            }
            let Some(found) = self.candidate(user, seq)? else { break };
            if !self.is_to_be_forgotten(user, (seq, last_seq), &found, now) {
                break;
            }
            let peer = found.letter.other(user);
            self.lacks_chat(user, peer, needs);
            self.lacks_row(self.place.shard, &Key::forgotten_chat(user, peer), needs);
            self.lacks_marks(user, seq, needs)?;
            let (id, side) = (found.letter.id, Side::of(user, found.letter.from));
            if id.number() <= self.records.user(user)?.ids(side).highest_late {
                let key = Key::late_id(user, side, id);
                self.lacks_row(self.place.shard, &key, needs);
            }
        }
        Ok(())
    }

    /// Forgets the oldest messages of a user, if any are to be forgotten.
    pub(super) fn forget(&mut self, user: UserId, now: &Now) -> Result<(), StoreError> {
        let last_seq = self.records.user(user)?.last_seq;
        let key = Key::forgotten(user);
        let row = self.records.get::<UserRow>(&key)?.unwrap_or_default();
        let mut gone = Gone { user: row, chats: BTreeMap::new() };
        let first = gone.user.last_seq + 1;
        let last = last_of_step(first);
        // All that lie together are read before one of them goes: where one cannot be read, none
        // can be taken out.
        let found = (first..=last.min(last_seq)).map(|seq| self.candidate(user, seq));
        let found = found.collect::<Result<Option<Vec<Candidate>>, StoreError>>()?;
        let mut seq = first;
        for found in found.ok_or(RowError::Missing)? {
            if !self.is_to_be_forgotten(user, (seq, last_seq), &found, now) {
                break;
            }
            let affected = self.affected(user, seq, &found, &mut gone);
            let Some(affected) = self.unless_damaged(affected)? else { break };
            self.forget_one(user, seq, &found, affected, &mut gone)?;
            seq += 1;
        }
        if seq == first {
            return Ok(());
        }
        self.records.touch(user)?;
        self.records.put(&key, &gone.user);
        for (peer, chat) in &gone.chats {
            self.records.put(&Key::forgotten_chat(user, *peer), chat);
        }
        self.metrics.count(Counter::Forgotten, seq - first);
        if seq > last {
            self.forgetting.queue(user);
        }
        Ok(())
    }

    /// Whether an author's id is no higher than one that he sent a forgotten message under.
    pub(super) fn is_among_forgotten(
        &self,
        author: UserId,
        id: MessageId,
    ) -> Result<bool, StoreError> {
        let gone = self.records.get::<UserRow>(&Key::forgotten(author))?;
        Ok(gone.is_some_and(|gone| id.number() <= gone.highest_sent))
    }

    fn candidate(&self, user: UserId, seq: u64) -> Result<Option<Candidate>, StoreError> {
        self.records.message(user, seq, |stored, ordinal| Candidate {
            letter: Letter::of(&stored.message),
            ordinal,
            server_send_time_ms: stored.server_send_time_ms,
        })
    }

    /// `place`: of the message, and of the newest of the history.
    fn is_to_be_forgotten(
        &self,
        user: UserId,
        place: (u64, u64),
        found: &Candidate,
        now: &Now,
    ) -> bool {
        let (seq, last_seq) = place;
        let is_beyond = self.forgetting.retention.messages.is_some_and(|most| {
            let newer = last_seq - seq;
            newer >= most
        });
        let horizon_ms = self.forgetting.horizon_ms(now);
        let is_old = horizon_ms.is_some_and(|horizon| found.server_send_time_ms < horizon);
        (is_beyond || is_old) && !self.outbox.is_pending(user, seq)
    }

    /// Reads what forgetting a message changes.
    fn affected(
        &mut self,
        user: UserId,
        seq: u64,
        found: &Candidate,
        gone: &mut Gone,
    ) -> Result<Affected, StoreError> {
        let (letter, peer) = (&found.letter, found.letter.other(user));
        let side = Side::of(user, letter.from);
        let is_late = letter.id.number() <= gone.user.ids(side).indexed_up_to;
        let late = match is_late {
            true => self.records.get::<LateIdRow>(&Key::late_id(user, side, letter.id))?,
            false => None,
        };
        let waiter = match letter.from == user {
            true => None,
            false => {
                self.records.chat(user, peer)?.ok_or(RowError::Missing)?;
                self.records.waiter(user, seq)?
            }
        };
        // The last one, for all that is here is written in the end.
        if let Entry::Vacant(entry) = gone.chats.entry(peer) {
            let row = self.records.get::<ChatRow>(&Key::forgotten_chat(user, peer))?;
            entry.insert(row.unwrap_or_default());
        }
        Ok(Affected { late, waiter })
    }

    /// Takes one message out of all rows.
    fn forget_one(
        &mut self,
        user: UserId,
        seq: u64,
        found: &Candidate,
        affected: Affected,
        gone: &mut Gone,
    ) -> Result<(), StoreError> {
        let Affected { late, waiter } = affected;
        let (letter, peer) = (&found.letter, found.letter.other(user));
        self.records.remove(&Key::message(user, seq));
        gone.user.last_seq = seq;
        let (id, index) = (letter.id, Index { owner: user, side: Side::of(user, letter.from) });
        match file(gone.user.ids_mut(index.side), IdEntry { id: id.number(), seq }) {
            Filed::InRow => {}
            Filed::InBlock(block) => self.records.remove_id_block(index, &block)?,
            Filed::Late { .. } => {
                let late = late.ok_or(RowError::Missing)?;
                self.forget_late(user, &Key::late_id(user, index.side, id), late, seq)?;
            }
        }
        let chat = gone.chats.entry(peer).or_default();
        if let Some(whole) = chat.add_message(seq) {
            self.records.remove(&Key::pair_block(user, peer, whole.number));
        }
        if letter.from == user {
            chat.sent = found.ordinal;
            gone.user.highest_sent = gone.user.highest_sent.max(id.number());
            return Ok(());
        }
        chat.received = found.ordinal;
        gone.user.highest_received = gone.user.highest_received.max(id.number());
        self.forget_received(user, peer, waiter, found)
    }

    fn forget_late(
        &mut self,
        user: UserId,
        key: &Key,
        mut row: LateIdRow,
        seq: u64,
    ) -> Result<(), StoreError> {
        row.seqs.retain(|late| *late != seq);
        match row.seqs.is_empty() {
            true => self.records.remove(key),
            false => self.records.put(key, &row),
        }
        self.records.touch(user)
    }

    /// Counts follow when a received message goes that was not acked, or not read.
    fn forget_received(
        &mut self,
        user: UserId,
        peer: UserId,
        waiter: Option<Waiter>,
        found: &Candidate,
    ) -> Result<(), StoreError> {
        let was_waiting = waiter.is_some();
        if let Some(waiter) = waiter {
            self.records.end_waiting(waiter)?;
        }
        let chat = self.records.chat(user, peer)?.ok_or(RowError::Missing)?;
        let was_unread = found.letter.kind.is_content() && found.ordinal > chat.read_up_to;
        if was_waiting || was_unread {
            let chat = self.records.change_chat(user, peer)?.ok_or(RowError::Missing)?;
            chat.unacked = chat.unacked.saturating_sub(u64::from(was_waiting));
            chat.unread = chat.unread.saturating_sub(u64::from(was_unread));
            let row = self.records.change_user(user)?;
            row.offline -= u64::from(was_waiting);
            row.unread = row.unread.saturating_sub(u64::from(was_unread));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::MintClock;

    /// Invariant 5 of chat::forget.
    #[test]
    fn a_clock_that_jumps_ahead_makes_nothing_old() {
        let retention = Retention { messages: None, days: Some(2) };
        let began = Some((9_000 * MS_A_DAY, 7));
        let forgetting = Forgetting { retention, began, ..Forgetting::default() };
        let horizon = |wall_ms, steady_ms| {
            let now = Now { steady_ms, ..now_of(wall_ms) };
            forgetting.horizon_ms(&now).expect("it is on")
        };
        assert_eq!(horizon(9_000 * MS_A_DAY, 7), 8_998 * MS_A_DAY);
        assert_eq!(horizon(19_000 * MS_A_DAY, 7), 8_998 * MS_A_DAY, "it jumped");
        let day = MS_A_DAY as u64;
        assert_eq!(horizon(19_000 * MS_A_DAY, 7 + day), 8_999 * MS_A_DAY, "a day has passed");
        assert_eq!(horizon(5 * MS_A_DAY, 7 + day), 3 * MS_A_DAY, "it was set back");
        assert_eq!(Forgetting::default().horizon_ms(&now_of(5)), None, "it is off");
    }

    fn now_of(wall_ms: i64) -> Now {
        let mint = MintClock { micros: 0, shown: 0 };
        Now { wall_ms, steady_ms: 0, mint, is_disk_full: false }
    }
}
