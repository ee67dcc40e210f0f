//! Rows of neighbouring turns, the newest value of each: first filled by the shard, then sealed
//! and read by the indexer.
//!
//! Invariants:
//! 1. Each key is there once, with its last change.
//! 2. A cleared chunk keeps its memory, one made like another has as much, and a ready one has
//!    enough for usual rows: filling it allocates nothing. A table that grew while 200,000 rows are
//!    in it would hold up its shard for 15 ms.

use crate::limits::{CHUNK_BYTES, TURN_BYTES_MAX};
use crate::store::Position;
use crate::store::batch::Change;
use crate::store::keys::Kind;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Slot;
use xxhash_rust::xxh3::xxh3_64;

/// Stands for the length of a value when the row goes.
const REMOVED: u32 = u32::MAX;
/// What an entry costs beside its key and value, about.
const ENTRY_BYTES: usize = size_of::<Entry>() + 8;
/// Bytes that a ready chunk touches at once, and rows.
const TOUCHED_BYTES: usize = CHUNK_BYTES / 32;
const TOUCHED_ROWS: u32 = 8 * 1024;
/// Key and value of small rows: a ready chunk has room for as many as make it full.
const SMALL_ROW_BYTES: usize = 64;

/// One row's last change.
#[derive(Clone, Copy, Default)]
struct Entry {
    key: u32,
    key_bytes: u16,
    /// The first change of the row in this chunk made it.
    was_put_first: bool,
    value: u32,
    value_bytes: u32,
    /// Room at `value`: a value that fits takes the place of the one before.
    room: u32,
    hash: u32,
}

/// Row changes by key.
#[derive(Default)]
pub struct Chunk {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    newest: HashTable<u32>,
    last: Position,
}

/// A row's place in its chunk, in the order of first changes.
pub type Place = u32;

/// The hash by which chunks find a key.
pub fn hash_of(key: &[u8]) -> u64 {
    doubled(xxh3_64(key) as u32)
}

/// A hash of which both ends count, as the table wants it; entries keep one half.
fn doubled(hash: u32) -> u64 {
    u64::from(hash) << u32::BITS | u64::from(hash)
}

/// Rows that are put at most once in the life of a folder, and then only removed.
fn is_write_once(key: &[u8]) -> bool {
    key.first() == Some(&(Kind::Outbox as u8))
}

impl Chunk {
    /// Changes a row. Returns its place if it is new here.
    pub fn change(&mut self, key: &[u8], change: Change<'_>) -> Option<Place> {
        let hash = hash_of(key);
        let (bytes, entries) = (&self.bytes, &self.entries);
        let is_it = |at: &u32| key_of(bytes, entries[*at as usize]) == key;
        let rehash = |at: &u32| doubled(entries[*at as usize].hash);
        match self.newest.entry(hash, is_it, rehash) {
            Slot::Occupied(found) => {
                let at = *found.get();
                self.replace(at, change);
                None
            }
            Slot::Vacant(free) => {
                let at = place(self.entries.len());
                free.insert(at);
                self.append(key, change, hash);
                Some(at)
            }
        }
    }

    fn append(&mut self, key: &[u8], change: Change<'_>, hash: u64) {
        let start = place(self.bytes.len());
        self.bytes.extend_from_slice(key);
        let value = place(self.bytes.len());
        let (value_bytes, room) = match change {
            Change::Put(new) => {
                self.bytes.extend_from_slice(new);
                (place(new.len()), place(new.len()))
            }
            Change::Remove => (REMOVED, 0),
        };
        let key_bytes = u16::try_from(key.len()).expect("keys are bounded far below 64 KiB");
        let was_put_first = value_bytes != REMOVED;
        let hash = hash as u32;
        self.entries.push(Entry {
            key: start,
            key_bytes,
            was_put_first,
            value,
            value_bytes,
            room,
            hash,
        });
    }

    fn replace(&mut self, at: Place, change: Change<'_>) {
        let entry = &mut self.entries[at as usize];
        let Change::Put(new) = change else {
            entry.value_bytes = REMOVED;
            return;
        };
        entry.value_bytes = place(new.len());
        if new.len() > entry.room as usize {
            entry.value = place(self.bytes.len());
            entry.room = entry.value_bytes;
            self.bytes.extend_from_slice(new);
        } else {
            let start = entry.value as usize;
            self.bytes[start..start + new.len()].copy_from_slice(new);
        }
    }

    /// What this chunk does to a row; `None`: nothing. `hash` is [`hash_of`] the key.
    pub fn get(&self, key: &[u8], hash: u64) -> Option<Change<'_>> {
        let is_it = |at: &u32| {
            let entry = self.entries[*at as usize];
            entry.hash == hash as u32 && key_of(&self.bytes, entry) == key
        };
        self.newest.find(hash, is_it).map(|at| self.change_at(*at))
    }

    /// The key at a place.
    pub fn key_at(&self, at: Place) -> &[u8] {
        key_of(&self.bytes, self.entries[at as usize])
    }

    /// The last change of the row at a place.
    pub fn change_at(&self, at: Place) -> Change<'_> {
        let entry = self.entries[at as usize];
        if entry.value_bytes == REMOVED {
            return Change::Remove;
        }
        let start = entry.value as usize;
        Change::Put(&self.bytes[start..start + entry.value_bytes as usize])
    }

    /// Whether the first change of the row at a place made it: no older chunk has it then, if it
    /// is written once.
    pub(super) fn was_born_at(&self, at: Place) -> bool {
        self.entries[at as usize].was_put_first && is_write_once(self.key_at(at))
    }

    /// Notes the turn whose changes were the last.
    pub fn note(&mut self, position: Position) {
        assert!(position > self.last, "turns come in order");
        self.last = position;
    }

    /// The last turn whose changes are here.
    pub fn last(&self) -> Position {
        self.last
    }

    /// Bytes of memory used, about.
    pub fn size(&self) -> usize {
        self.bytes.len() + self.entries.len() * ENTRY_BYTES
    }

    /// Rows changed.
    pub fn count(&self) -> usize {
        self.entries.len()
    }

    /// Nothing was changed.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// An empty chunk that is full before it grows, and all of whose memory was touched: 11 MB.
    ///
    /// Memory that nobody has touched is not there yet. The kernel gives it page by page, and the
    /// host of a virtual machine by pieces of 2 MiB, each of which has held up a shard for 5 ms.
    /// `rest` is called after each millisecond of it, about.
    pub fn ready(mut rest: impl FnMut()) -> Chunk {
        let rows = CHUNK_BYTES.div_ceil(ENTRY_BYTES + SMALL_ROW_BYTES);
        let mut chunk = Chunk::of_room(CHUNK_BYTES + TURN_BYTES_MAX, rows, rows);
        while chunk.bytes.len() < CHUNK_BYTES {
            chunk.bytes.resize(chunk.bytes.len() + TOUCHED_BYTES, 0);
            rest();
        }
        for at in 0..place(rows) {
            chunk.entries.push(Entry::default());
            let rehash = |_: &u32| unreachable!("it has room");
            chunk.newest.insert_unique(hash_of(&at.to_ne_bytes()), at, rehash);
            if at % TOUCHED_ROWS == 0 {
                rest();
            }
        }
        chunk.clear();
        chunk
    }

    /// An empty chunk with as much memory as this one.
    pub fn like(&self) -> Chunk {
        let rows = self.newest.capacity();
        Chunk::of_room(self.bytes.capacity(), self.entries.capacity(), rows)
    }

    fn of_room(bytes: usize, entries: usize, rows: usize) -> Chunk {
        Chunk {
            bytes: Vec::with_capacity(bytes),
            entries: Vec::with_capacity(entries),
            newest: HashTable::with_capacity(rows),
            last: Position::default(),
        }
    }

    /// Empties the chunk and keeps its memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
        self.newest.clear();
        self.last = Position::default();
    }
}

fn key_of(bytes: &[u8], entry: Entry) -> &[u8] {
    &bytes[entry.key as usize..][..usize::from(entry.key_bytes)]
}

fn place(length: usize) -> u32 {
    u32::try_from(length).expect("a chunk is bounded far below 4 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get<'a>(chunk: &'a Chunk, key: &[u8]) -> Option<Change<'a>> {
        chunk.get(key, hash_of(key))
    }

    /// Invariant 1 of store::overlay::chunk.
    #[test]
    fn a_key_is_there_once_with_its_last_change() {
        let mut chunk = Chunk::default();
        assert_eq!(chunk.change(b"a", Change::Put(b"11")), Some(0));
        assert_eq!(chunk.change(b"b", Change::Remove), Some(1));
        assert_eq!(chunk.change(b"a", Change::Put(b"2")), None);
        assert_eq!(get(&chunk, b"a"), Some(Change::Put(b"2")));
        chunk.change(b"a", Change::Put(b"longer than before"));
        chunk.change(b"b", Change::Put(b"back"));
        assert_eq!(get(&chunk, b"a"), Some(Change::Put(b"longer than before")));
        assert_eq!(get(&chunk, b"b"), Some(Change::Put(b"back")));
        assert_eq!((get(&chunk, b"c"), chunk.count()), (None, 2));
    }

    /// Invariant 2 of store::overlay::chunk.
    #[test]
    fn a_cleared_chunk_keeps_its_memory() {
        let mut chunk = Chunk::default();
        let fill = |chunk: &mut Chunk| {
            for n in 0_u32..1000 {
                chunk.change(&n.to_be_bytes(), Change::Put(&[7; 40]));
            }
        };
        fill(&mut chunk);
        let before = (chunk.bytes.capacity(), chunk.entries.capacity(), chunk.newest.capacity());
        let like = chunk.like();
        chunk.clear();
        for mut chunk in [chunk, like] {
            assert!(chunk.is_empty() && get(&chunk, &[0; 4]).is_none());
            fill(&mut chunk);
            let after = (chunk.bytes.capacity(), chunk.entries.capacity(), chunk.newest.capacity());
            assert_eq!(before, after);
        }
    }

    /// Invariant 2 of store::overlay::chunk.
    #[test]
    fn a_ready_chunk_is_full_before_it_grows() {
        for value_bytes in [SMALL_ROW_BYTES - 4, 200, 4096] {
            let mut chunk = Chunk::ready(|| {});
            let capacities =
                |it: &Chunk| (it.bytes.capacity(), it.entries.capacity(), it.newest.capacity());
            let before = capacities(&chunk);
            let mut rows = 0_u32..;
            while chunk.size() < CHUNK_BYTES {
                let key = rows.next().expect("numbers").to_be_bytes();
                chunk.change(&key, Change::Put(&vec![7; value_bytes]));
            }
            assert_eq!(before, capacities(&chunk), "rows of {value_bytes}");
        }
    }
}
