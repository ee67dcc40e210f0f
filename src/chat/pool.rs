//! Values found by key, small and without gaps.
//!
//! Invariants:
//! 1. A key has one value and one place; the place of a value that was removed is the next to be
//!    given away.
//! 2. Finding allocates nothing, and adding moves one part of the index at most: to double an index
//!    of a quarter of a million keys at once held its shard up for 10 to 20 ms, and four times as
//!    many keys would have for four times as long.
//!
//! A place costs its value, its key and 6 to 11 bytes of index: a map of the values themselves
//! would be empty by half after it doubled.

use crate::chat::chunks::Chunks;
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use std::hash::{BuildHasher, Hash};

/// Parts of the index, each of which grows by itself: of a million keys one holds 4,000, which are
/// moved within 0.4 ms.
const PARTS: usize = 256;

/// Values by key.
pub struct Pool<K, V> {
    parts: Box<[HashTable<u32>]>,
    count: usize,
    places: Chunks<Option<(K, V)>>,
    free: Vec<u32>,
}

impl<K, V> Default for Pool<K, V> {
    fn default() -> Pool<K, V> {
        let parts = (0..PARTS).map(|_| HashTable::new()).collect();
        Pool { parts, count: 0, places: Chunks::default(), free: Vec::new() }
    }
}

fn hash<K: Hash>(key: &K) -> u64 {
    FixedState::default().hash_one(key)
}

/// The part of a hash, by bits of it that the part itself does not look at before it has billions
/// of keys.
fn part(hash: u64) -> usize {
    (hash >> 40) as usize % PARTS
}

impl<K: Copy + Eq + Hash, V> Pool<K, V> {
    /// Values there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Places there are, taken or not.
    pub fn places(&self) -> u32 {
        self.places.count()
    }

    /// What a place holds.
    pub fn at_mut(&mut self, place: u32) -> Option<(K, &mut V)> {
        self.places.get_mut(place)?.as_mut().map(|(key, value)| (*key, value))
    }

    /// The place of a key's value.
    pub fn place(&self, key: K) -> Option<u32> {
        let is_its = |place: &u32| self.places[*place].as_ref().is_some_and(|(k, _)| *k == key);
        let hash = hash(&key);
        self.parts[part(hash)].find(hash, is_its).copied()
    }

    /// The value of a key.
    pub fn get(&self, key: K) -> Option<&V> {
        self.places[self.place(key)?].as_ref().map(|(_, value)| value)
    }

    /// The value of a key, to be changed.
    pub fn get_mut(&mut self, key: K) -> Option<&mut V> {
        let place = self.place(key)?;
        self.places[place].as_mut().map(|(_, value)| value)
    }

    /// Adds the value of a key that has none, and returns its place.
    pub fn insert(&mut self, key: K, value: V) -> u32 {
        assert!(self.place(key).is_none(), "a key has one value");
        let place = match self.free.pop() {
            Some(place) => place,
            None => self.places.push(None),
        };
        let places = &mut self.places;
        assert!(places[place].is_none(), "a place holds one value");
        places[place] = Some((key, value));
        let hash_at = |place: &u32| {
            let (key, _) = places[*place].as_ref().expect("only taken places are in the index");
            hash(key)
        };
        let hash = hash(&key);
        self.parts[part(hash)].insert_unique(hash, place, hash_at);
        self.count += 1;
        place
    }

    /// Removes a key and its value.
    pub fn remove(&mut self, key: K) -> Option<V> {
        let places = &self.places;
        let is_its = |place: &u32| places[*place].as_ref().is_some_and(|(k, _)| *k == key);
        let hash = hash(&key);
        let (place, _) = self.parts[part(hash)].find_entry(hash, is_its).ok()?.remove();
        self.count -= 1;
        self.free.push(place);
        self.places[place].take().map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Invariant 1 of chat::pool.
    #[test]
    fn a_key_has_one_value_and_one_place() {
        let mut pool = Pool::default();
        for key in 0..1000_u32 {
            pool.insert(key, key + 1);
        }
        for key in (0..1000).step_by(3) {
            assert_eq!(pool.remove(key), Some(key + 1));
            assert_eq!((pool.remove(key), pool.get(key)), (None, None));
        }
        assert_eq!((pool.count(), pool.places()), (666, 1000));
        for key in 2000..2334 {
            pool.insert(key, key + 1);
        }
        assert_eq!((pool.count(), pool.places()), (1000, 1000), "places are given away again");
        let keys = (0..1000).filter(|key| key % 3 != 0).chain(2000..2334);
        assert!(keys.into_iter().all(|key| pool.get_mut(key).copied() == Some(key + 1)));
        let mut held: Vec<u32> = (0..1000).filter_map(|at| Some(*pool.at_mut(at)?.1)).collect();
        held.sort_unstable();
        held.dedup();
        assert_eq!(held.len(), 1000);
    }

    /// Invariant 2 of chat::pool.
    #[test]
    fn finding_allocates_nothing_and_adding_moves_one_part_at_most() {
        let mut pool = Pool::default();
        let keys = 100_000_u32;
        let most = (0..keys).map(|key| {
            let adding = allocation_counter::measure(|| {
                pool.insert(key, key);
            });
            adding.bytes_max
        });
        // The list of chunks doubles as well: two words for 256 values.
        let most = most.max().expect("keys");
        assert!(most < 24 * 1024, "{most} bytes for one key");
        let finding = allocation_counter::measure(|| {
            assert!((0..keys).all(|key| pool.get(key) == Some(&key)));
        });
        assert_eq!(finding.count_total, 0);
        let largest = pool.parts.iter().map(HashTable::len).max().expect("parts");
        assert!(largest < 2 * keys as usize / PARTS, "{largest} of {keys} keys in one part");
    }
}
