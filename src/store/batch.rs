//! Row changes gathered by one turn, written together.
//!
//! Invariants:
//! 1. The last change of a key is the one that is written, and the one that `get` shows.
//! 2. A cleared batch keeps its memory: filling it again allocates nothing.

/// Slots of the smallest table.
const SLOTS_MIN: usize = 64;
const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;

/// One change: a row put, or removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change<'a> {
    /// The row's new value.
    Put(&'a [u8]),
    /// The row goes.
    Remove,
}

/// A change: its key lies at `start..middle`, its value at `middle..end`.
#[derive(Clone, Copy)]
struct Entry {
    start: u32,
    middle: u32,
    end: u32,
    hash: u32,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Put,
    Remove,
    Replaced,
}

/// A place in the table: the newest change of a key, if it was taken in this round.
#[derive(Clone, Copy)]
struct Slot {
    round: u32,
    entry: u32,
}

impl Slot {
    const VACANT: Slot = Slot { round: u32::MAX, entry: 0 };
}

/// Row changes in the order they were made, each key once. At most
/// [`crate::limits::TURN_BYTES_MAX`] bytes and one event more.
#[derive(Default)]
pub struct Batch {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    /// Open addressing, at most half of it taken; a power of two once there is a change.
    newest: Vec<Slot>,
    /// Rises when the batch is cleared, and so empties the table. Never that of a vacant slot.
    round: u32,
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
        self.note(key, Kind::Put, write);
    }

    /// Puts a row.
    pub fn put(&mut self, key: &[u8], value: &[u8]) {
        self.put_with(key, |bytes| bytes.extend_from_slice(value));
    }

    /// Removes a row, whether or not there is one.
    pub fn remove(&mut self, key: &[u8]) {
        self.note(key, Kind::Remove, |_| {});
    }

    /// What this batch will do to a row; `None`: nothing.
    pub fn get(&self, key: &[u8]) -> Option<Change<'_>> {
        if self.is_empty() {
            return None;
        }
        let slot = self.find(key, hash_of(key)).ok()?;
        Some(self.change(&self.entries[self.newest[slot].entry as usize]))
    }

    /// The changes to write: each key once.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Change<'_>)> {
        let live = self.entries.iter().filter(|entry| entry.kind != Kind::Replaced);
        live.map(|entry| (self.key(entry), self.change(entry)))
    }

    /// Empties the batch and keeps its memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
        self.round += 1;
        if self.round == Slot::VACANT.round {
            self.newest.fill(Slot::VACANT);
            self.round = 0;
        }
    }

    fn note(&mut self, key: &[u8], kind: Kind, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(key);
        let middle = self.bytes.len();
        write(&mut self.bytes);
        assert!(self.bytes.len() >= middle, "a value is appended, nothing is taken away");
        if self.newest.len() < (self.entries.len() + 1) * 2 {
            self.enlarge();
        }
        let hash = hash_of(key);
        let entry = position(self.entries.len());
        let slot = self.find(key, hash).unwrap_or_else(|vacant| vacant);
        let before = std::mem::replace(&mut self.newest[slot], Slot { round: self.round, entry });
        if before.round == self.round {
            self.entries[before.entry as usize].kind = Kind::Replaced;
        }
        let (start, middle, end) = (position(start), position(middle), position(self.bytes.len()));
        self.entries.push(Entry { start, middle, end, hash, kind });
    }

    /// The slot of a key, or else the one that it would take.
    fn find(&self, key: &[u8], hash: u32) -> Result<usize, usize> {
        let mask = self.newest.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let slot = self.newest[at];
            if slot.round != self.round {
                return Err(at);
            }
            let entry = &self.entries[slot.entry as usize];
            if entry.hash == hash && self.key(entry) == key {
                return Ok(at);
            }
            at = (at + 1) & mask;
        }
    }

    /// Makes the table twice as large.
    fn enlarge(&mut self) {
        let slots = (self.newest.len() * 2).max(SLOTS_MIN);
        self.newest.clear();
        self.newest.resize(slots, Slot::VACANT);
        for (index, entry) in self.entries.iter().enumerate() {
            if entry.kind == Kind::Replaced {
                continue;
            }
            let mut at = entry.hash as usize & (slots - 1);
            while self.newest[at].round == self.round {
                at = (at + 1) & (slots - 1);
            }
            self.newest[at] = Slot { round: self.round, entry: position(index) };
        }
    }

    fn key(&self, entry: &Entry) -> &[u8] {
        &self.bytes[entry.start as usize..entry.middle as usize]
    }

    fn change(&self, entry: &Entry) -> Change<'_> {
        match entry.kind {
            Kind::Put => Change::Put(&self.bytes[entry.middle as usize..entry.end as usize]),
            Kind::Remove | Kind::Replaced => Change::Remove,
        }
    }
}

/// A short hash: it spreads the keys of one turn.
fn hash_of(key: &[u8]) -> u32 {
    let (mut hash, mut rest) = (key.len() as u64, key);
    while let Some((word, behind)) = rest.split_first_chunk() {
        hash = mixed(hash ^ u64::from_le_bytes(*word));
        rest = behind;
    }
    let last = match key.last_chunk() {
        Some(last) => u64::from_le_bytes(*last),
        None => rest.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    };
    mixed(hash ^ last) as u32
}

/// Each bit of a word in all of its bits.
fn mixed(word: u64) -> u64 {
    let product = u128::from(word ^ MULTIPLIER) * u128::from(MULTIPLIER);
    (product >> 64) as u64 ^ product as u64
}

fn position(length: usize) -> u32 {
    u32::try_from(length).expect("a batch is bounded far below 4 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

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

    fn change(value: &Option<Vec<u8>>) -> Change<'_> {
        value.as_deref().map_or(Change::Remove, Change::Put)
    }

    #[test]
    fn the_last_change_is_the_one_written_however_many_there_are_and_whatever_was_before() {
        let mut seed = 1_u64;
        let mut below = |bound: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % bound
        };
        // The table is emptied by its round, which comes to its end here.
        let mut batch = Batch { round: u32::MAX - 20, ..Batch::default() };
        for round in 0..40 {
            let mut model = BTreeMap::new();
            for n in 0..below(3000) as u32 {
                let mut key = vec![below(3) as u8; below(30) as usize];
                key.extend_from_slice(&(below(200) as u32).to_be_bytes());
                let value = (below(3) > 0).then(|| n.to_le_bytes().to_vec());
                match &value {
                    Some(value) => batch.put(&key, value),
                    None => batch.remove(&key),
                }
                model.insert(key, value);
            }
            let mut written: Vec<_> = batch.iter().collect();
            written.sort_by_key(|row| row.0);
            let expected = model.iter().map(|(key, value)| (&key[..], change(value)));
            assert!(written.into_iter().eq(expected), "round {round}");
            for (key, value) in &model {
                assert_eq!(batch.get(key), Some(change(value)), "round {round}");
                let other = [&key[..], &[9]].concat();
                assert_eq!(batch.get(&other), model.get(&other).map(change), "round {round}");
            }
            batch.clear();
            assert!(model.keys().all(|key| batch.get(key).is_none()), "round {round}");
        }
        assert!(batch.round < 40, "the round has begun again");
    }

    #[test]
    fn a_round_that_comes_again_finds_nothing_of_the_one_before() {
        let mut batch = Batch::new();
        batch.put(b"a", b"1");
        batch.put(b"b", b"2");
        batch.clear();
        batch.round = u32::MAX - 1;
        batch.clear();
        assert_eq!(batch.round, 0, "the round of the changes above");
        batch.put(b"b", b"3");
        assert_eq!(batch.get(b"a"), None);
        assert!(batch.iter().eq([(&b"b"[..], Change::Put(b"3"))]));
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
