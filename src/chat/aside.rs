//! What came from another shard for a user whose rows cannot be read waits beside them, and so does
//! all that follows.
//!
//! Its author was told that it is safe, so it cannot be refused. It becomes a row of its own, all
//! else that comes for this user goes behind it, and the stream that brought it goes on. It is
//! tried again with the next start, for rows are mended while the server is stopped, and now and
//! then before that: an error of the disk may pass.
//!
//! Invariants:
//! 1. A message is set aside in the same turn in which its place in the stream is noted, and
//!    arrives in the same turn in which it is set aside no more: it is neither lost nor doubled.
//! 2. What is set aside for a user arrives in the order in which it came, before anything newer.
//! 3. Nobody but this user waits.
//!
//! Left to others: what it is to arrive (`deliver`), which rows cannot be read (`damage`).

use crate::chat::cache::FixedMap;
use crate::chat::event::{Now, StreamPosition};
use crate::chat::outbox::relay_at;
use crate::chat::records::{Records, Writing};
use crate::chat::shard::Shard;
use crate::chat::turn::Turn;
use crate::ids::UserId;
use crate::limits::{ASIDE_EVERY_MS, ASIDE_PER_STEP_MAX};
use crate::metrics::Gauge;
use crate::store::keys::{Key, KeyReader, Kind};
use crate::store::rows::RowError;
use crate::store::{Direction, Store, StoreError};
use std::collections::VecDeque;
use std::ops::ControlFlow;

/// For whom something is set aside, and how much of it.
#[derive(Default)]
pub struct Aside {
    counts: FixedMap<UserId, u64>,
    total: u64,
    /// The same users and when they are due, soonest first: each waits equally long.
    due: VecDeque<(u64, UserId)>,
    /// The number of what came last, for whomever.
    newest: u64,
}

impl Aside {
    /// Finds what earlier runs have set aside. All of it is due.
    pub(super) fn open<S: Store>(records: &mut Records<S>) -> Result<Aside, StoreError> {
        let (from, to) = (Key::of(Kind::Aside), Key::of(Kind::Aside).after());
        let mut aside = Aside::default();
        let mut is_damaged = false;
        records.scan(&from, &to, Direction::Forward, &mut |key, _| {
            match user_and_number(key) {
                Some((user, number)) => aside.note(user, number, 0),
                None => is_damaged = true,
            }
            ControlFlow::Continue(())
        })?;
        if is_damaged { Err(RowError::Key.into()) } else { Ok(aside) }
    }

    fn note(&mut self, user: UserId, number: u64, due_ms: u64) {
        self.newest = self.newest.max(number);
        let count = self.counts.entry(user).or_insert(0);
        if *count == 0 {
            self.due.push_back((due_ms, user));
        }
        *count += 1;
        self.total += 1;
    }

    /// So many of what is set aside for a user have arrived. Returns whether some has not.
    fn note_arrived(&mut self, user: UserId, arrived: u64) -> bool {
        let count = self.counts.get_mut(&user).expect("something is set aside for him");
        *count -= arrived;
        let is_left = *count > 0;
        if !is_left {
            self.counts.remove(&user);
        }
        self.total -= arrived;
        is_left
    }

    /// Whether something is set aside for this user: then all that comes is.
    pub(super) fn is_for(&self, user: UserId) -> bool {
        !self.counts.is_empty() && self.counts.contains_key(&user)
    }

    /// Messages set aside.
    pub(super) fn count(&self) -> u64 {
        self.total
    }

    fn next_due(&mut self, now: &Now) -> Option<UserId> {
        let is_due = self.due.front().is_some_and(|(due_ms, _)| *due_ms <= now.steady_ms);
        if is_due { self.due.pop_front().map(|(_, user)| user) } else { None }
    }
}

fn user_and_number(key: &[u8]) -> Option<(UserId, u64)> {
    let mut reader = KeyReader::new(key);
    Some((reader.user()?, reader.number()?))
}

impl<S: Store> Shard<S> {
    /// Sets a message aside until its recipient's rows can be read. Reads nothing.
    pub(super) fn set_aside(&mut self, writing: &Writing<'_>, now: &Now) {
        let user = writing.letter.to;
        let is_first = !self.aside.is_for(user);
        let number = self.aside.newest + 1;
        self.aside.note(user, number, now.steady_ms + ASIDE_EVERY_MS);
        self.records.put_writing(&Key::aside(user, number), writing);
        self.metrics.set(Gauge::SetAside, self.aside.total);
        let users = self.aside.counts.len();
        // Where a whole table is damaged there may be many.
        if is_first && users.is_power_of_two() {
            tracing::error!(
                shard = %self.place.shard,
                user = user.number(),
                users,
                "what is stored of a user cannot be read: messages to him are set aside"
            );
        }
    }

    /// Lets what is due arrive, some of it each time: as much as a turn may gather.
    pub(super) fn take_up_aside(&mut self, now: &Now, turn: &mut Turn) -> Result<(), StoreError> {
        let mut rest = ASIDE_PER_STEP_MAX;
        while rest > 0
            && !self.is_turn_full()
            && let Some(user) = self.aside.next_due(now)
        {
            // Trying costs something, too.
            rest = rest.saturating_sub(self.take_up_aside_of(user, rest, now, turn)?.max(1));
        }
        Ok(())
    }

    fn is_turn_full(&self) -> bool {
        self.has_gathered_enough() || self.records.store().is_full()
    }

    /// Lets at most so many arrive of what is set aside for a user who is due. Returns how many
    /// were looked at.
    fn take_up_aside_of(
        &mut self,
        user: UserId,
        most: usize,
        now: &Now,
        turn: &mut Turn,
    ) -> Result<usize, StoreError> {
        let numbers = self.some_aside_of(user, most)?;
        let (mut arrived, mut is_broken) = (0, numbers.is_empty());
        for number in &numbers {
            if self.is_turn_full() {
                break;
            }
            let arrive =
                |shard: &mut Self, turn: &mut Turn| shard.arrive_late(user, *number, now, turn);
            if self.attempt(turn, arrive)?.is_none() {
                is_broken = true;
                break;
            }
            arrived += 1;
        }
        if self.aside.note_arrived(user, arrived) {
            match is_broken {
                true => self.aside.due.push_back((now.steady_ms + ASIDE_EVERY_MS, user)),
                false => self.aside.due.push_front((now.steady_ms, user)),
            }
        }
        self.metrics.set(Gauge::SetAside, self.aside.total);
        if self.aside.total == 0 {
            tracing::info!(shard = %self.place.shard, "all that was set aside has arrived");
        }
        Ok(numbers.len())
    }

    /// The numbers of the oldest that are set aside for a user, as far as they can be read.
    fn some_aside_of(&mut self, user: UserId, most: usize) -> Result<Vec<u64>, StoreError> {
        let (from, to) = (Key::aside_of(user), Key::aside_of(user).after());
        let mut numbers = Vec::new();
        let scanned = self.records.scan(&from, &to, Direction::Forward, &mut |key, _| {
            numbers.push(user_and_number(key).map(|(_, number)| number));
            let is_enough = numbers.len() >= most;
            if is_enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        self.unless_damaged(scanned)?;
        let numbers: Option<Vec<u64>> = numbers.into_iter().collect();
        Ok(numbers.ok_or(RowError::Key)?)
    }

    fn arrive_late(
        &mut self,
        user: UserId,
        number: u64,
        now: &Now,
        turn: &mut Turn,
    ) -> Result<(), StoreError> {
        let key = Key::aside(user, number);
        let relay = relay_at(&self.records, &key, number, StreamPosition::default())?;
        self.arrive(&Writing::of(&relay), now, turn)?;
        self.records.remove(&key);
        Ok(())
    }
}
