//! Rows that a shard keeps decoded in memory.
//!
//! Invariants:
//! 1. An entry that its owner calls busy (changed and not yet written) is never given up.
//! 2. At most `entries_max` entries are held, but for busy ones.
//!
//! Looking up an entry that is there allocates nothing.

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use std::hash::Hash;

/// A hash map whose order of iteration is the same in every run.
pub type FixedMap<K, V> = HashMap<K, V, FixedState>;

struct Entry<K, V> {
    key: K,
    value: V,
    used: bool,
}

/// Entries found by key, given up by the clock algorithm.
pub struct Cache<K, V> {
    places: FixedMap<K, u32>,
    entries: Vec<Entry<K, V>>,
    hand: usize,
    entries_max: usize,
}

impl<K: Copy + Eq + Hash, V> Cache<K, V> {
    /// An empty cache; memory is taken as it fills.
    pub fn new(entries_max: usize) -> Cache<K, V> {
        assert!(entries_max > 0, "a cache holds something");
        Cache { places: FixedMap::default(), entries: Vec::new(), hand: 0, entries_max }
    }

    /// An entry, which counts as used by this.
    pub fn get(&mut self, key: K) -> Option<&mut V> {
        let entry = &mut self.entries[*self.places.get(&key)? as usize];
        entry.used = true;
        Some(&mut entry.value)
    }

    /// An entry, left as it is.
    pub fn peek(&self, key: K) -> Option<&V> {
        Some(&self.entries[*self.places.get(&key)? as usize].value)
    }

    /// Adds an entry that is not there, in the place of an old one that is not busy when the cache
    /// is full.
    pub fn insert(&mut self, key: K, value: V, is_busy: impl Fn(&V) -> bool) -> &mut V {
        assert!(!self.places.contains_key(&key), "an entry is added once");
        let entry = Entry { key, value, used: true };
        let place = match self.free_place(is_busy) {
            Some(place) => {
                self.places.remove(&self.entries[place].key);
                self.entries[place] = entry;
                place
            }
            None => {
                self.entries.push(entry);
                self.entries.len() - 1
            }
        };
        self.places.insert(key, u32::try_from(place).expect("a cache is bounded far below 2^32"));
        &mut self.entries[place].value
    }

    /// The place of an entry to give up; `None`: there is room, or all are busy.
    fn free_place(&mut self, is_busy: impl Fn(&V) -> bool) -> Option<usize> {
        if self.entries.len() < self.entries_max {
            return None;
        }
        // Two rounds at most: the first takes the marks of use away.
        for _ in 0..self.entries.len() * 2 {
            let place = self.hand;
            self.hand = (self.hand + 1) % self.entries.len();
            let entry = &mut self.entries[place];
            if !entry.used && !is_busy(&entry.value) {
                return Some(place);
            }
            entry.used = false;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Invariant 2 of chat::cache.
    #[test]
    fn the_bound_is_kept_and_what_is_used_stays() {
        let mut cache = Cache::new(8);
        for key in 0..100_u32 {
            cache.insert(key, key * 2, |_| false);
            if key >= 1 {
                assert_eq!(cache.get(1), Some(&mut 2), "used all the time");
            }
        }
        assert_eq!(cache.entries.len(), 8);
        assert_eq!(cache.peek(99), Some(&198));
        assert_eq!(cache.peek(50), None);
    }

    /// Invariant 1 of chat::cache.
    #[test]
    fn a_busy_entry_is_never_given_up() {
        let mut cache = Cache::new(4);
        for key in 0..40_u32 {
            cache.insert(key, key, |value| *value < 10);
        }
        assert!((0..10).all(|key| cache.peek(key) == Some(&key)));
        assert!(cache.entries.len() <= 11);
    }
}
