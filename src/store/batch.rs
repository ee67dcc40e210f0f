//! Row changes gathered by one turn, written together.
//!
//! Invariants:
//! 1. The last change of a key is the one that is written, and the one that `get` shows.
//! 2. A cleared batch keeps its memory: filling it again allocates nothing.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Slot;
use xxhash_rust::xxh3::xxh3_64;

/// One change: a row put, or removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change<'a> {
    /// The row's new value.
    Put(&'a [u8]),
    /// The row goes.
    Remove,
}

#[derive(Clone, Copy)]
struct Entry {
    key: (u32, u32),
    value: (u32, u32),
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Put,
    Remove,
    Replaced,
}

/// Row changes in the order they were made, each key once. At most
/// [`crate::limits::TURN_BYTES_MAX`] bytes and one event more.
#[derive(Default)]
pub struct Batch {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    newest: HashTable<u32>,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// Nothing to write.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of keys and values gathered so far, replaced ones included.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Puts a row whose value `write` appends to the buffer it is given.
    pub fn put_with(&mut self, key: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        let key = self.append(|bytes| bytes.extend_from_slice(key));
        let value = self.append(write);
        self.note(Entry { key, value, kind: Kind::Put });
    }

    /// Puts a row.
    pub fn put(&mut self, key: &[u8], value: &[u8]) {
        self.put_with(key, |bytes| bytes.extend_from_slice(value));
    }

    /// Removes a row, whether or not there is one.
    pub fn remove(&mut self, key: &[u8]) {
        let key = self.append(|bytes| bytes.extend_from_slice(key));
        self.note(Entry { key, value: (0, 0), kind: Kind::Remove });
    }

    /// What this batch will do to a row; `None`: nothing.
    pub fn get(&self, key: &[u8]) -> Option<Change<'_>> {
        let found = self.newest.find(xxh3_64(key), |at| self.key(*at) == key)?;
        Some(self.change(&self.entries[*found as usize]))
    }

    /// The changes to write: each key once.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Change<'_>)> {
        let live = self.entries.iter().filter(|entry| entry.kind != Kind::Replaced);
        live.map(|entry| (self.slice(entry.key), self.change(entry)))
    }

    /// Empties the batch and keeps its memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
        self.newest.clear();
    }

    fn append(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> (u32, u32) {
        let start = self.bytes.len();
        write(&mut self.bytes);
        assert!(self.bytes.len() >= start, "a value is appended, nothing is taken away");
        (position(start), position(self.bytes.len()))
    }

    fn note(&mut self, entry: Entry) {
        let at = position(self.entries.len());
        self.entries.push(entry);
        let (bytes, entries) = (&self.bytes, &mut self.entries);
        let key_of = |entry: Entry| &bytes[entry.key.0 as usize..entry.key.1 as usize];
        let key = key_of(entry);
        let hash = xxh3_64(key);
        let is_it = |other: &u32| key_of(entries[*other as usize]) == key;
        let hash_of = |other: &u32| xxh3_64(key_of(entries[*other as usize]));
        match self.newest.entry(hash, is_it, hash_of) {
            Slot::Occupied(mut newest) => {
                let other = std::mem::replace(newest.get_mut(), at);
                entries[other as usize].kind = Kind::Replaced;
            }
            Slot::Vacant(newest) => {
                newest.insert(at);
            }
        }
    }

    fn key(&self, at: u32) -> &[u8] {
        self.slice(self.entries[at as usize].key)
    }

    fn slice(&self, (start, end): (u32, u32)) -> &[u8] {
        &self.bytes[start as usize..end as usize]
    }

    fn change(&self, entry: &Entry) -> Change<'_> {
        match entry.kind {
            Kind::Put => Change::Put(self.slice(entry.value)),
            Kind::Remove | Kind::Replaced => Change::Remove,
        }
    }
}

fn position(length: usize) -> u32 {
    u32::try_from(length).expect("a batch is bounded far below 4 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Invariant 1 of store::batch.
    #[test]
    fn the_last_change_of_a_key_is_the_one_written() {
        let mut batch = Batch::new();
        batch.put(b"a", b"1");
        batch.put(b"b", b"2");
        batch.put(b"a", b"3");
        batch.remove(b"b");
        assert_eq!(batch.get(b"a"), Some(Change::Put(b"3")));
        assert_eq!(batch.get(b"b"), Some(Change::Remove));
        assert_eq!(batch.get(b"c"), None);
        let all: Vec<_> = batch.iter().collect();
        assert_eq!(all, [(&b"a"[..], Change::Put(b"3")), (&b"b"[..], Change::Remove)]);
        batch.clear();
        assert!(batch.is_empty() && batch.get(b"a").is_none());
    }

    /// Invariant 2 of store::batch.
    #[test]
    fn a_cleared_batch_keeps_its_memory() {
        let mut batch = Batch::new();
        let fill = |batch: &mut Batch| {
            for n in 0_u32..1000 {
                batch.put(&n.to_be_bytes(), &[7; 40]);
            }
        };
        fill(&mut batch);
        batch.clear();
        let before = (batch.bytes.capacity(), batch.entries.capacity(), batch.newest.capacity());
        fill(&mut batch);
        let after = (batch.bytes.capacity(), batch.entries.capacity(), batch.newest.capacity());
        assert_eq!(before, after);
    }
}
