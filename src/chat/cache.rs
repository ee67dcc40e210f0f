//! Rows that a shard keeps decoded in memory.
//!
//! Invariants:
//! 1. An entry that its owner calls busy (changed and not yet written) is never given up.
//! 2. At most `entries_max` entries are held, but for busy ones.
//!
//! Looking up an entry that is there allocates nothing.

use crate::chat::pool::Pool;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use std::hash::Hash;

/// A hash map whose order of iteration is the same in every run.
pub type FixedMap<K, V> = HashMap<K, V, FixedState>;

/// Where an entry is, until the next insertion.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place(u32);

struct Entry<V> {
    value: V,
    used: bool,
}

/// Entries found by key, given up by the clock algorithm.
pub struct Cache<K, V> {
    entries: Pool<K, Entry<V>>,
    hand: u32,
    entries_max: usize,
}

impl<K: Copy + Eq + Hash, V> Cache<K, V> {
    /// An empty cache; memory is taken as it fills.
    pub fn new(entries_max: usize) -> Cache<K, V> {
        assert!(entries_max > 0, "a cache holds something");
        Cache { entries: Pool::default(), hand: 0, entries_max }
    }

    /// Where an entry is.
    pub fn find(&self, key: K) -> Option<Place> {
        self.entries.place(key).map(Place)
    }

    /// The entry at a place that was found since the last insertion; it counts as used by this.
    pub fn at(&mut self, place: Place) -> &mut V {
        let found = self.entries.at_mut(place.0);
        let (_, entry) = found.expect("nothing was given up since the place was found");
        entry.used = true;
        &mut entry.value
    }

    /// An entry, left as it is.
    pub fn peek(&self, key: K) -> Option<&V> {
        self.entries.get(key).map(|entry| &entry.value)
    }

    /// Adds an entry that is not there, in the place of an old one that is not busy when the cache
    /// is full.
    pub fn insert(&mut self, key: K, value: V, is_busy: impl Fn(&V) -> bool) -> Place {
        if let Some(old) = self.old_entry(is_busy) {
            self.entries.remove(old);
        }
        Place(self.entries.insert(key, Entry { value, used: true }))
    }

    /// An entry to give up; `None`: there is room, or all are busy.
    fn old_entry(&mut self, is_busy: impl Fn(&V) -> bool) -> Option<K> {
        if self.entries.count() < self.entries_max {
            return None;
        }
        // Two rounds at most: the first takes the marks of use away.
        for _ in 0..self.entries.places() * 2 {
            let place = self.hand;
            self.hand = (self.hand + 1) % self.entries.places();
            let Some((key, entry)) = self.entries.at_mut(place) else { continue };
            if !entry.used && !is_busy(&entry.value) {
                return Some(key);
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
                let place = cache.find(1).expect("it is used all the time");
                assert_eq!(*cache.at(place), 2);
            }
        }
        assert_eq!(cache.entries.count(), 8);
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
        assert!(cache.entries.count() <= 11);
    }
}
