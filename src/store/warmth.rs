//! Rows that a reader may have to fetch from a slow disk, and which were fetched lately.
//!
//! A shard must not wait for a disk. Before it applies an event it asks which rows that will read;
//! those that are not in memory and were not fetched lately are *needs*: another thread reads them
//! first, which brings their blocks into memory. It is a guess, and only time is lost by a wrong
//! one: the event reads for itself in any case.
//!
//! Invariants:
//! 1. What was fetched counts as warm for [`WARM_MS`] at least, unless many others came meanwhile,
//!    and for twice as long at most.
//! 2. Memory is fixed, and none is taken while the disk is trusted: then all counts as warm.
//!
//! Left to others: what an event reads (`chat::needs`), who fetches (`node::readers`), when a disk
//! is to be trusted (`node::parking`).

use super::keys::Key;
use super::{Direction, Range, Store, StoreError};
use crate::ids::{ShardId, UserId};
use crate::limits::{WARM_MS, WARM_PLACES};
use std::ops::ControlFlow;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Messages of a history that are fetched together: neighbours on the disk.
pub const MESSAGES_TOGETHER: u64 = 32;
/// Places that one tag may be at.
const WAYS: usize = 4;

/// Rows to fetch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Need {
    /// The shard that has them.
    pub at: ShardId,
    rows: Rows,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Rows {
    One(Box<[u8]>),
    /// Of a history, [`MESSAGES_TOGETHER`] from this seq on.
    Messages(UserId, u64),
    /// The first of a range, at most so many.
    Range(Key, Key, Direction, usize),
}

/// What stands for rows in [`Warmth`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tag(u64);

impl Tag {
    /// Of one row.
    pub fn of_row(key: &[u8]) -> Tag {
        Tag(xxh3_64_with_seed(key, 1))
    }

    /// Of a message's row among its neighbours.
    pub fn of_messages(owner: UserId, seq: u64) -> Tag {
        Tag(xxh3_64_with_seed(&Key::message(owner, seq / MESSAGES_TOGETHER), 2))
    }

    /// Of rows that a scan visits.
    pub fn of_range(from: &[u8], to: &[u8]) -> Tag {
        Tag(xxh3_64_with_seed(from, xxh3_64_with_seed(to, 3)))
    }
}

impl Need {
    /// One row.
    pub fn row(at: ShardId, key: &[u8]) -> Need {
        Need { at, rows: Rows::One(key.into()) }
    }

    /// A message's row and its neighbours.
    pub fn messages(at: ShardId, owner: UserId, seq: u64) -> Need {
        Need { at, rows: Rows::Messages(owner, seq - seq % MESSAGES_TOGETHER) }
    }

    /// The first rows of a scan.
    pub fn range(
        at: ShardId,
        (from, to): (Key, Key),
        direction: Direction,
        rows_max: usize,
    ) -> Need {
        Need { at, rows: Rows::Range(from, to, direction, rows_max) }
    }

    /// What is warm when this was fetched.
    pub fn tag(&self) -> Tag {
        match &self.rows {
            Rows::One(key) => Tag::of_row(key),
            Rows::Messages(owner, seq) => Tag::of_messages(*owner, *seq),
            Rows::Range(from, to, ..) => Tag::of_range(from, to),
        }
    }

    /// Reads the rows, as whoever needs them will. Waits for the disk.
    pub fn fetch(&self, store: &impl Store) -> Result<(), StoreError> {
        match &self.rows {
            Rows::One(key) => store.get(key, |_| ()).map(drop),
            Rows::Messages(owner, first) => (*first..first + MESSAGES_TOGETHER)
                .try_for_each(|seq| store.get(&Key::message(*owner, seq), |_| ()).map(drop)),
            Rows::Range(from, to, direction, rows_max) => {
                let mut rows = 0;
                let range = Range { from, to, direction: *direction };
                store.scan(range, &mut |_, _| {
                    rows += 1;
                    match rows < *rows_max {
                        true => ControlFlow::Continue(()),
                        false => ControlFlow::Break(()),
                    }
                })
            }
        }
    }
}

/// Tags of what was fetched lately.
#[derive(Default)]
pub struct Warmth {
    /// 24 bits of the tag and the round in which it was noted. Empty: the disk is trusted.
    places: Vec<[u32; WAYS]>,
    /// Of [`WARM_MS`] each. None is 0, which is that of vacant places.
    round: u8,
    round_ends_ms: u64,
}

impl Warmth {
    /// All counts as warm.
    pub fn is_trusting(&self) -> bool {
        self.places.is_empty()
    }

    /// The disk is quick, or the rows are in memory anyway.
    pub fn trust(&mut self) {
        self.places = Vec::new();
    }

    /// From now on only what was fetched lately is warm.
    pub fn distrust(&mut self) {
        if self.is_trusting() {
            self.places = vec![[0; WAYS]; WARM_PLACES / WAYS];
            self.round = 1;
        }
    }

    /// Lets time pass.
    pub fn age(&mut self, now_ms: u64) {
        if now_ms < self.round_ends_ms || self.is_trusting() {
            return;
        }
        self.round_ends_ms = now_ms + WARM_MS;
        self.round = if self.round == u8::MAX { 1 } else { self.round + 1 };
        let round = self.round;
        // A round that comes again would take for new what is very old.
        for place in self.places.iter_mut().flatten() {
            if !is_young(*place, round) {
                *place = 0;
            }
        }
    }

    /// Whether rows were fetched lately.
    pub fn has(&self, tag: Tag) -> bool {
        if self.is_trusting() {
            return true;
        }
        let (set, high) = self.place(tag);
        self.places[set].iter().any(|place| place & !0xFF == high && *place & 0xFF != 0)
    }

    /// Rows were fetched.
    pub fn note(&mut self, tag: Tag) {
        if self.is_trusting() {
            return;
        }
        let (set, high) = self.place(tag);
        let ways = &mut self.places[set];
        let same = ways.iter().position(|place| place & !0xFF == high);
        let vacant = || ways.iter().position(|place| place & 0xFF == 0);
        let way = same.or_else(vacant).unwrap_or(tag.0 as usize % WAYS);
        ways[way] = high | u32::from(self.round);
    }

    fn place(&self, Tag(tag): Tag) -> (usize, u32) {
        ((tag >> 32) as usize % self.places.len(), (tag as u32) & !0xFF)
    }
}

/// Noted in this round or the one before.
fn is_young(place: u32, round: u8) -> bool {
    let before = if round == 1 { u8::MAX } else { round - 1 };
    let noted = (place & 0xFF) as u8;
    noted == round || noted == before
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags() -> impl Iterator<Item = Tag> {
        (1..2_000_u32).map(|number| Tag::of_row(&number.to_be_bytes()))
    }

    /// Invariant 1 of store::warmth.
    #[test]
    fn what_was_fetched_is_warm_for_a_while_and_then_no_more() {
        let mut warmth = Warmth::default();
        warmth.distrust();
        let warm = |warmth: &Warmth| tags().filter(|tag| warmth.has(*tag)).count();
        let mut now_ms = 5;
        for _ in 0..600 {
            warmth.age(now_ms);
            assert_eq!(warm(&warmth), 0, "nothing was fetched for long");
            tags().for_each(|tag| warmth.note(tag));
            warmth.age(now_ms + WARM_MS);
            assert!(warm(&warmth) > 1_990, "{} are left", warm(&warmth));
            now_ms += 3 * WARM_MS;
            warmth.age(now_ms - WARM_MS);
        }
    }

    /// Invariant 2 of store::warmth.
    #[test]
    fn a_trusted_disk_is_warm_all_over_and_costs_nothing() {
        let mut warmth = Warmth::default();
        assert!(tags().all(|tag| warmth.has(tag)) && warmth.places.capacity() == 0);
        warmth.distrust();
        let before = warmth.places.capacity();
        for round in 0..100_u64 {
            (0..1_000).for_each(|n| warmth.note(Tag(n * round.wrapping_mul(0x9E37_79B9_7F4A))));
        }
        assert_eq!((warmth.places.capacity(), size_of::<[u32; WAYS]>()), (before, 16));
        warmth.trust();
        assert!(tags().all(|tag| warmth.has(tag)) && warmth.places.capacity() == 0);
    }

    #[test]
    fn rows_are_warm_by_what_was_fetched_of_them() {
        let (owner, at) = (UserId::FIRST, ShardId(0));
        let need = Need::messages(at, owner, 77);
        assert_eq!(need, Need::messages(at, owner, 64));
        assert_eq!(need.tag(), Tag::of_messages(owner, 95));
        assert_ne!(need.tag(), Tag::of_messages(owner, 96));
        assert_ne!(Need::row(at, &Key::message(owner, 77)).tag(), need.tag());
        let range = (Key::chats(owner), Key::chats(owner).after());
        let need = Need::range(at, range, Direction::Forward, 9);
        assert_eq!(need.tag(), Tag::of_range(&range.0, &range.1));
    }
}
