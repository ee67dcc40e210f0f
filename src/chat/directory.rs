//! Which users exist, for every shard to ask without asking another.
//!
//! Invariants:
//! 1. Only a user's home shard enrols him; every shard reads with one atomic load.
//! 2. Who is found once is found ever after, in the same tenant.
//! 3. `shown` never sinks: every id minted after it was read is greater than all shown before.
//!
//! It is the one structure that shards share. 4 bytes a user.

use crate::ids::{SLOTS, Slot, UserId};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Users of a slot's first chunk; each next chunk holds twice as many.
const FIRST_CHUNK: u32 = 32;
/// Chunks of a slot: enough for every index that a user id has room for.
const CHUNKS: usize = 18;

type Chunk = Box<[AtomicU32]>;

/// Users by slot and index, and the highest minted number.
pub struct Directory {
    slots: Box<[[OnceLock<Chunk>; CHUNKS]]>,
    shown: AtomicU64,
}

impl Default for Directory {
    fn default() -> Directory {
        Directory::new()
    }
}

/// The chunk that holds a slot's `index`-th user, and the place in it.
fn place_of(index: u32) -> (usize, usize) {
    let chunk = (index / FIRST_CHUNK + 1).ilog2();
    let before = FIRST_CHUNK * ((1 << chunk) - 1);
    (chunk as usize, (index - before) as usize)
}

impl Directory {
    /// An empty directory.
    pub fn new() -> Directory {
        let slot = |_| std::array::from_fn(|_| OnceLock::new());
        Directory { slots: (0..SLOTS).map(slot).collect(), shown: AtomicU64::new(0) }
    }

    /// The tenant of a registered user; `None`: nobody.
    pub fn tenant(&self, user: UserId) -> Option<u32> {
        let (chunk, place) = place_of(user.index_in_slot());
        let chunk = self.slots[usize::from(user.slot().index())].get(chunk)?.get()?;
        Some(chunk[place].load(Ordering::Acquire)).filter(|tenant| *tenant != 0)
    }

    /// Adds a user whose row is on disk. Called by his home shard only.
    pub fn enroll(&self, user: UserId, tenant: u32) {
        assert!(tenant != 0, "0 means nobody");
        let (chunk, place) = place_of(user.index_in_slot());
        let size = (FIRST_CHUNK as usize) << chunk;
        let make = || (0..size).map(|_| AtomicU32::new(0)).collect();
        let cell = &self.slots[usize::from(user.slot().index())][chunk].get_or_init(make)[place];
        let before = cell.load(Ordering::Relaxed);
        assert!(before == 0 || before == tenant, "a user never changes his tenant");
        cell.store(tenant, Ordering::Release);
    }

    /// The highest minted number (id / 1000) that any shard may have shown.
    pub fn shown(&self) -> u64 {
        self.shown.load(Ordering::Acquire)
    }

    /// Raises it. A shard does so before the ids leave it.
    pub fn raise_shown(&self, number: u64) {
        self.shown.fetch_max(number, Ordering::AcqRel);
    }
}

/// The tenant number of a company's application: the same on every machine, without asking
/// anybody. Two applications share a number by a chance of one in 4 thousand million.
pub fn tenant_number(company: &str, app: &str) -> u32 {
    let mut hash = xxhash_rust::xxh3::Xxh3Default::new();
    hash.update(&(company.len() as u64).to_le_bytes());
    hash.update(company.as_bytes());
    hash.update(app.as_bytes());
    (hash.digest() as u32).max(1)
}

/// The first index that registration hands out in a slot: users 0 and 1 do not exist.
pub fn first_index(slot: Slot) -> u32 {
    u32::from(u32::from(slot.index()) < UserId::FIRST.number())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Invariant 1 of chat::directory.
    #[test]
    fn who_was_enrolled_is_found_and_nobody_else() {
        let directory = Directory::new();
        for slot in [0, 1, 500, 1023] {
            let slot = Slot::of(slot);
            for index in (first_index(slot)..5000).step_by(7) {
                let user = UserId::in_slot(slot, index).expect("small");
                assert_eq!(directory.tenant(user), None);
                directory.enroll(user, index + 1);
                assert_eq!(directory.tenant(user), Some(index + 1));
            }
        }
        let last = UserId::new(i64::from(u32::MAX)).expect("the last id");
        assert_eq!(directory.tenant(last), None);
    }

    /// Invariant 2 of chat::directory.
    #[test]
    fn every_index_has_its_own_place() {
        let mut expected = (0, 0);
        for index in 0..100_000 {
            assert_eq!(place_of(index), expected);
            expected.1 += 1;
            if expected.1 == (FIRST_CHUNK as usize) << expected.0 {
                expected = (expected.0 + 1, 0);
            }
        }
        assert!(place_of(u32::MAX / u32::from(SLOTS)).0 < CHUNKS);
    }

    /// Invariant 3 of chat::directory.
    #[test]
    fn shown_never_sinks() {
        let directory = Directory::new();
        directory.raise_shown(7);
        directory.raise_shown(3);
        assert_eq!(directory.shown(), 7);
    }
}
