//! Between shards: each message that was sent is at its recipient or on its way to him, as it was
//! sent.
//!
//! What every history has sent and received is added up by pair in a table of fixed size; only
//! where two sums differ messages are compared one by one.

use super::{Audit, Finding, chat, row, scan};
use crate::chat::event::{Letter, StreamPosition};
use crate::chat::records::letter_of;
use crate::ids::{ShardId, UserId};
use crate::store::keys::{Key, Kind};
use crate::store::parts::{Parts, range_of};
use crate::store::rows::{ArchivedMessageRow, OutboxRow, StreamRow, read, read_owned};
use crate::store::{Store, StoreError};
use std::collections::{BTreeMap, BTreeSet};
use xxhash_rust::xxh3::{Xxh3Default, xxh3_64};

/// Places of the table.
const SUMS: usize = 64 * 1024;
/// Messages that are compared one by one at most.
const COMPARED_MAX: usize = 100_000;

/// Sums of what was sent and of what has arrived or is on its way.
pub(super) struct Sums {
    sent: Vec<u64>,
    arrived: Vec<u64>,
}

impl Default for Sums {
    fn default() -> Sums {
        Sums { sent: vec![0; SUMS], arrived: vec![0; SUMS] }
    }
}

/// The place of a pair in the table.
fn place_of(from: UserId, to: UserId) -> usize {
    let pair = [from.number().to_le_bytes(), to.number().to_le_bytes()].concat();
    xxh3_64(&pair) as usize % SUMS
}

/// All that the two rows of a message share.
fn digest(message: &ArchivedMessageRow<'_>) -> u64 {
    let mut hash = Xxh3Default::new();
    let numbers = [
        u64::from(message.from.to_native()) << 32 | u64::from(message.to.to_native()),
        u64::from(message.kind) << 8 | u64::from(message.chat_type),
        message.event.as_ref().map_or(256, |event| u64::from(*event)),
        message.team.as_ref().map_or(0, |team| team.to_native() as u64),
        message.id.to_native() as u64,
        message.timestamp_ms.to_native() as u64,
        message.server_send_time_ms.to_native() as u64,
        message.ordinal.to_native(),
        message.content.len() as u64,
    ];
    numbers.iter().for_each(|number| hash.update(&number.to_le_bytes()));
    hash.update(message.content.as_bytes());
    if let Some(name) = message.name.as_ref() {
        hash.update(name.as_bytes());
    }
    hash.digest()
}

impl Sums {
    /// Adds a message of a user's history.
    pub fn add(&mut self, owner: UserId, letter: &Letter, message: &ArchivedMessageRow<'_>) {
        if letter.from == letter.to {
            return;
        }
        let side = if owner == letter.from { &mut self.sent } else { &mut self.arrived };
        let sum = &mut side[place_of(letter.from, letter.to)];
        *sum = sum.wrapping_add(digest(message));
    }
}

/// A message that has two rows, or one and a relay.
#[derive(Clone, Copy, Default)]
struct Ends {
    sent: Option<(u64, u64)>,
    arrived: Option<(u64, u64)>,
    is_on_its_way: bool,
    /// What is set aside: its number there, the newest if it came twice.
    aside: Option<(u64, u64)>,
}

impl Ends {
    /// What is wrong with a message from one to another: its other end is not what is named, seen
    /// from the row of this user with this key; and whether that may be so by itself for a while.
    fn judged(self, from: UserId, to: UserId) -> Option<(&'static str, UserId, Key, bool)> {
        let sent_at = |seq| Key::message(from, seq);
        let arrived_at = |seq| Key::message(to, seq);
        let aside_at = |number| Key::aside(to, number);
        match self {
            Ends { arrived: Some(here), aside: Some(there), .. } if here.1 == there.1 => {
                Some(("here once", to, aside_at(there.0), false))
            }
            Ends { sent: Some(one), arrived: Some(other), .. } if one.1 == other.1 => None,
            Ends { sent: Some(_), arrived: None, is_on_its_way: true, .. } => None,
            Ends { sent: Some(one), arrived: None, aside: Some(other), .. } => {
                let is_same = one.1 == other.1;
                (!is_same).then(|| ("set aside as it was sent", from, sent_at(one.0), false))
            }
            Ends { sent: Some((seq, _)), arrived: None, aside: None, .. } => {
                Some(("arrived", from, sent_at(seq), false))
            }
            Ends { sent: None, arrived: Some((seq, _)), .. } => {
                Some(("sent", to, arrived_at(seq), true))
            }
            Ends { arrived: Some((seq, _)), is_on_its_way, aside, .. } => {
                let may_differ = is_on_its_way || aside.is_some();
                Some(("as it was sent", to, arrived_at(seq), may_differ))
            }
            Ends { sent: None, aside: Some((number, _)), .. } => {
                Some(("sent", to, aside_at(number), true))
            }
            Ends { sent: None, arrived: None, aside: None, .. } => None,
        }
    }
}

/// Messages by author, recipient and ordinal.
type Messages = BTreeMap<(UserId, UserId, u64), Ends>;

/// The ends of a message that may have to be compared.
fn ends_of<'a>(
    message: &ArchivedMessageRow<'_>,
    differing: &BTreeSet<usize>,
    messages: &'a mut Messages,
) -> Option<&'a mut Ends> {
    let letter = letter_of(message)?;
    let number = (letter.from, letter.to, message.ordinal.to_native());
    let is_meant = letter.from != letter.to
        && differing.contains(&place_of(letter.from, letter.to))
        && (messages.len() < COMPARED_MAX || messages.contains_key(&number));
    is_meant.then(|| messages.entry(number).or_default())
}

impl<S: Store> Audit<'_, S> {
    /// The relays of a shard are dense, from the first that the other shard lacks.
    pub(super) fn check_outbox(&mut self, shard: ShardId) -> Result<(), StoreError> {
        let (from, to) = range_of(Kind::Outbox);
        let mut before: Option<(ShardId, StreamPosition)> = None;
        let store = self.store(shard);
        scan(store, &from, &to, |key, value| {
            let Some(Parts::Outbox { to, epoch, sequence }) = Parts::of(key) else {
                return Ok(());
            };
            let Ok(row) = read_owned::<OutboxRow>(value) else { return Ok(()) };
            if to.0 >= self.count() || to == shard {
                self.miss((shard, key), "a relay to another shard", "no such shard");
                return Ok(());
            }
            self.counts.relays += 1;
            let position = StreamPosition { epoch, sequence };
            let applied = self.applied(shard, to)?;
            let last = match before {
                Some((other, last)) if other == to => last,
                _ => applied,
            };
            let is_first = before.is_none_or(|(other, _)| other != to);
            let follows = (epoch == last.epoch && last.sequence.checked_add(1) == Some(sequence))
                || (epoch > last.epoch && sequence == 1)
                || (is_first && position <= applied);
            if !follows {
                let expected = format!("the relay after {}/{}", last.epoch, last.sequence);
                self.miss((shard, key), &expected, "a later one: relays are missing");
            }
            before = Some((to, position));
            self.check_relay(shard, key, to, row, position > applied)
        })
    }

    /// What is set aside for a user was sent to him.
    pub(super) fn check_aside(&mut self, shard: ShardId) -> Result<(), StoreError> {
        let (from, to) = range_of(Kind::Aside);
        scan(self.store(shard), &from, &to, |key, value| {
            let Some(Parts::Aside { recipient, .. }) = Parts::of(key) else { return Ok(()) };
            let Ok(message) = read::<ArchivedMessageRow<'_>>(value) else { return Ok(()) };
            let Some(letter) = letter_of(message) else { return Ok(()) };
            self.counts.aside += 1;
            if letter.to != recipient || letter.from == recipient {
                self.miss((shard, key), "a message to this user", "another");
                return Ok(());
            }
            // As of a history: of what the other end has forgotten nothing is compared.
            if message.ordinal > self.horizon(letter.from, recipient)? {
                self.sums.add(recipient, &letter, message);
            }
            Ok(())
        })
    }

    fn applied(&self, from: ShardId, to: ShardId) -> Result<StreamPosition, StoreError> {
        let applied = row::<StreamRow>(self.store(to), &Key::applied(from))?;
        Ok(applied.map_or(StreamPosition::default(), |row| StreamPosition {
            epoch: row.epoch,
            sequence: row.sequence,
        }))
    }

    fn check_relay(
        &mut self,
        shard: ShardId,
        key: &[u8],
        to: ShardId,
        row: OutboxRow,
        is_on_its_way: bool,
    ) -> Result<(), StoreError> {
        let shards = self.count();
        let author = UserId::new(i64::from(row.author));
        let message = |bytes: &[u8]| {
            let message = read::<ArchivedMessageRow<'_>>(bytes).ok()?;
            let letter = letter_of(message)?;
            let is_meant = Some(letter.from) == author && letter.to.home(shards) == to;
            is_meant.then(|| (place_of(letter.from, letter.to), digest(message)))
        };
        let found = match author {
            Some(author) => {
                self.store(shard).get(&Key::message(author, row.seq), message)?.flatten()
            }
            None => None,
        };
        match found {
            Some((place, digest)) if is_on_its_way => {
                let sum = &mut self.sums.arrived[place];
                *sum = sum.wrapping_add(digest);
            }
            Some(_) => {}
            None => self.miss((shard, key), "a message to a user of that shard", "none"),
        }
        Ok(())
    }

    /// Compares the sums, and the messages of those that differ.
    pub(super) fn check_sums(&mut self) -> Result<(), StoreError> {
        let differing: BTreeSet<usize> =
            (0..SUMS).filter(|at| self.sums.sent[*at] != self.sums.arrived[*at]).collect();
        if differing.is_empty() {
            return Ok(());
        }
        let mut messages = Messages::new();
        for shard in self.places() {
            self.collect(shard, &differing, &mut messages)?;
        }
        for ((from, to, ordinal), ends) in messages {
            if ordinal <= self.horizon(from, to)? {
                continue;
            }
            let Some((end, user, key, may_differ)) = ends.judged(from, to) else { continue };
            // Only where numbers came twice, or are about to, another one is known under it there.
            let is_parted =
                may_differ || chat(self.home(to), to, from)?.is_some_and(|chat| chat.is_parted);
            let (shard, key) = (user.home(self.count()), key.to_vec());
            let (from, to) = (from.number(), to.number());
            let expected = format!("{end}: number {ordinal} of {from} to {to}");
            let (part, found) = ("other end", "no such message there".to_owned());
            self.find(Finding { shard, key, part, expected, found, is_parted });
        }
        Ok(())
    }

    fn collect(
        &mut self,
        shard: ShardId,
        differing: &BTreeSet<usize>,
        messages: &mut Messages,
    ) -> Result<(), StoreError> {
        let store = self.store(shard);
        let (from, to) = range_of(Kind::Message);
        scan(store, &from, &to, |key, value| {
            let Some(Parts::Message { owner, seq }) = Parts::of(key) else { return Ok(()) };
            let Ok(message) = read::<ArchivedMessageRow<'_>>(value) else { return Ok(()) };
            if let Some(ends) = ends_of(message, differing, messages) {
                let is_his = owner.number() == message.from.to_native();
                let end = if is_his { &mut ends.sent } else { &mut ends.arrived };
                *end = Some((seq, digest(message)));
            }
            Ok(())
        })?;
        let (from, to) = range_of(Kind::Outbox);
        scan(store, &from, &to, |key, value| {
            let Some(Parts::Outbox { to, epoch, sequence }) = Parts::of(key) else {
                return Ok(());
            };
            let Ok(row) = read_owned::<OutboxRow>(value) else { return Ok(()) };
            let Some(author) = UserId::new(i64::from(row.author)) else { return Ok(()) };
            let position = StreamPosition { epoch, sequence };
            if to.0 >= self.count() || position <= self.applied(shard, to)? {
                return Ok(());
            }
            store.get(&Key::message(author, row.seq), |bytes| {
                let Ok(message) = read::<ArchivedMessageRow<'_>>(bytes) else { return };
                if let Some(ends) = ends_of(message, differing, messages) {
                    ends.is_on_its_way = true;
                }
            })?;
            Ok(())
        })?;
        let (from, to) = range_of(Kind::Aside);
        scan(store, &from, &to, |key, value| {
            let Some(Parts::Aside { number, .. }) = Parts::of(key) else { return Ok(()) };
            let Ok(message) = read::<ArchivedMessageRow<'_>>(value) else { return Ok(()) };
            if let Some(ends) = ends_of(message, differing, messages) {
                ends.aside = Some((number, digest(message)));
            }
            Ok(())
        })
    }
}
