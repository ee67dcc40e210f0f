//! One node of the tree of rows: what it keeps of each key, and how it is searched.
//!
//! Invariants:
//! 1. Heads are in the order of their keys, and two keys of at most [`HEAD_BYTES`] bytes are the
//!    same if their heads are.
//! 2. A node's entries are in key order, each key once.
//!
//! Left to others: which node holds which keys (`tree`), where values lie (`blocks`).

use super::super::blocks::{Blocks, NONE};
use std::cmp::Ordering;

/// Bytes of a key that an entry keeps: all but identities fit.
pub(super) const HEAD_BYTES: usize = 22;
/// Entries of a full node.
pub(super) const FAN_OUT: usize = 32;

/// The first bytes of a key, zeros behind a shorter one, then its size: nearly every comparison
/// ends here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Head(u64, u64, u64);

impl Head {
    /// Of the empty key, which is below all others.
    pub(super) const EMPTY: Head = Head(0, 0, 0);

    /// Of a key of at most 65,535 bytes.
    pub(super) fn of(key: &[u8]) -> Head {
        let size = u16::try_from(key.len()).expect("a key's bytes are counted in 16 bits");
        let last = word(key, 16) & !0xFFFF | u64::from(size);
        Head(word(key, 0), word(key, 8), last)
    }

    /// Bytes of the key.
    pub(super) fn key_size(self) -> usize {
        usize::from(self.2 as u16)
    }

    /// Whether the key goes on behind its head.
    pub(super) fn is_long(self) -> bool {
        self.key_size() > HEAD_BYTES
    }

    /// Kind and owner of a row.
    pub(super) fn owner(self) -> u64 {
        self.0 >> 24
    }

    /// The first [`HEAD_BYTES`] bytes, and two more of no meaning.
    pub(super) fn bytes(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        for (part, word) in bytes.chunks_exact_mut(8).zip([self.0, self.1, self.2]) {
            part.copy_from_slice(&word.to_be_bytes());
        }
        bytes
    }

    /// The order of heads without a branch: a search cannot foretell how it ends.
    #[inline]
    fn is_below(self, other: Head) -> bool {
        let (_, borrow) = self.2.borrowing_sub(other.2, false);
        let (_, borrow) = self.1.borrowing_sub(other.1, borrow);
        self.0.borrowing_sub(other.0, borrow).1
    }

    fn begins_like(self, other: Head) -> bool {
        (self.0, self.1, self.2 >> 16) == (other.0, other.1, other.2 >> 16)
    }
}

/// Eight bytes from `at`, read at once where the key has eight; zeros behind its end.
fn word(key: &[u8], at: usize) -> u64 {
    let rest = key.get(at..).unwrap_or_default();
    if let Some(whole) = rest.first_chunk() {
        return u64::from_be_bytes(*whole);
    }
    if rest.is_empty() {
        return 0;
    }
    let last = match key.last_chunk() {
        Some(last) => u64::from_be_bytes(*last),
        None => rest.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    };
    // What stands before `at` is shifted out.
    last << ((8 - rest.len()) * 8)
}

/// A key that is looked for.
#[derive(Clone, Copy)]
pub(super) struct Sought<'a> {
    pub(super) key: &'a [u8],
    pub(super) head: Head,
}

impl<'a> Sought<'a> {
    pub(super) fn new(key: &'a [u8]) -> Sought<'a> {
        Sought { key, head: Head::of(key) }
    }
}

/// A row of a leaf; higher up, a node below and the key from which it holds all.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) head: Head,
    /// Where the key lies if it is long, and behind it a row's value.
    pub(super) block: u32,
    /// Bytes of a row's value; higher up, the node below.
    pub(super) target: u32,
}

impl Entry {
    /// Of no row: below all keys.
    pub(super) const EMPTY: Entry = Entry { head: Head::EMPTY, block: NONE, target: NONE };

    /// Bytes of the key that are kept in the block.
    pub(super) fn kept_key_size(&self) -> usize {
        if self.head.is_long() { self.head.key_size() } else { 0 }
    }

    /// Whether this key is before the one sought.
    #[inline]
    pub(super) fn is_below(&self, sought: &Sought<'_>, blocks: &Blocks) -> bool {
        match sought.head.is_long() {
            true => self.compare_long(sought, blocks).is_lt(),
            false => self.head.is_below(sought.head),
        }
    }

    /// Whether this key is behind the one sought.
    #[inline]
    pub(super) fn is_above(&self, sought: &Sought<'_>, blocks: &Blocks) -> bool {
        match sought.head.is_long() {
            true => self.compare_long(sought, blocks).is_gt(),
            false => sought.head.is_below(self.head),
        }
    }

    #[cold]
    fn compare_long(&self, sought: &Sought<'_>, blocks: &Blocks) -> Ordering {
        if self.head.is_long() && self.head.begins_like(sought.head) {
            return blocks.read(self.block, 0, self.head.key_size()).cmp(sought.key);
        }
        self.head.cmp(&sought.head)
    }

    /// Whether this is the key sought.
    #[inline]
    pub(super) fn is(&self, sought: &Sought<'_>, blocks: &Blocks) -> bool {
        self.head == sought.head
            && (!sought.head.is_long() || self.compare_long(sought, blocks).is_eq())
    }
}

/// A node of the tree; which of its neighbours are there, [`NONE`] says.
#[derive(Clone)]
#[repr(C, align(64))]
pub(super) struct Node {
    entries: [Entry; FAN_OUT],
    count: u32,
    /// 0: a leaf, its entries are rows. [`NONE`]: free.
    pub(super) level: u32,
    pub(super) parent: u32,
    /// The one before on its level.
    pub(super) before: u32,
    /// The one behind on its level; of a free node, the next free one.
    pub(super) next: u32,
    /// Of a leaf, where its keys end; the empty key: nowhere. Its parent's entry owns the block.
    pub(super) fence: Entry,
}

impl Node {
    /// A node of no tree.
    pub(super) const FREE: Node = Node {
        entries: [Entry::EMPTY; FAN_OUT],
        count: 0,
        level: NONE,
        parent: NONE,
        before: NONE,
        next: NONE,
        fence: Entry::EMPTY,
    };

    /// Makes this a free node; its entries stay as they were.
    pub(super) fn clear(&mut self, next_free: u32) {
        (self.count, self.level, self.fence) = (0, NONE, Entry::EMPTY);
        (self.parent, self.before, self.next) = (NONE, NONE, next_free);
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries[..self.count()]
    }

    pub(super) fn entry_mut(&mut self, at: usize) -> &mut Entry {
        let count = self.count();
        &mut self.entries[..count][at]
    }

    pub(super) fn count(&self) -> usize {
        self.count as usize
    }

    pub(super) fn is_full(&self) -> bool {
        self.count() == FAN_OUT
    }

    /// Puts an entry before the one at `at`, or behind all.
    pub(super) fn insert(&mut self, at: usize, entry: Entry) {
        let count = self.count();
        assert!(count < FAN_OUT && at <= count, "there is room, and no gap");
        self.entries.copy_within(at..count, at + 1);
        self.entries[at] = entry;
        self.count += 1;
    }

    pub(super) fn remove(&mut self, at: usize) -> Entry {
        let (count, entry) = (self.count(), self.entries()[at]);
        self.entries.copy_within(at + 1..count, at);
        self.count -= 1;
        entry
    }

    /// Moves the entries from `at` behind those of `other`.
    pub(super) fn move_to(&mut self, at: usize, other: &mut Node) {
        let (moved, behind) = (&self.entries()[at..], other.count());
        other.entries[behind..][..moved.len()].copy_from_slice(moved);
        other.count += moved.len() as u32;
        self.count = at as u32;
    }

    /// How many of the entries are below the key sought.
    pub(super) fn below(&self, sought: &Sought<'_>, blocks: &Blocks) -> usize {
        self.entries().partition_point(|entry| entry.is_below(sought, blocks))
    }

    /// The node below that holds the key sought. The first entry is below all keys.
    pub(super) fn child(&self, sought: &Sought<'_>, blocks: &Blocks) -> u32 {
        let entries = self.entries();
        let reached = entries.partition_point(|entry| !entry.is_above(sought, blocks));
        entries[reached - 1].target
    }

    /// Which of the entries leads to `child`.
    pub(super) fn slot_of(&self, child: u32) -> usize {
        let found = self.entries().iter().position(|entry| entry.target == child);
        found.expect("a parent knows its children")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Invariant 1 of store::tree::node.
    #[test]
    fn heads_are_in_the_order_of_their_keys() {
        let mut keys: Vec<Vec<u8>> = Vec::new();
        for size in 0..=HEAD_BYTES + 3 {
            for byte in [0, 1, 0x7F, 0xFF] {
                for last in [0, 1, 0xFF] {
                    let mut key = vec![byte; size];
                    key.extend_from_slice(&[last]);
                    keys.extend([key, vec![byte; size]]);
                }
            }
        }
        for one in &keys {
            for other in &keys {
                let (head, other_head) = (Head::of(one), Head::of(other));
                let heads = head.cmp(&other_head);
                assert_eq!(head.is_below(other_head), heads.is_lt(), "{one:?} {other:?}");
                let is_told_by_keys = head.is_long() && other_head.is_long();
                if !is_told_by_keys || !head.begins_like(other_head) {
                    assert_eq!(heads, one.cmp(other), "{one:?} {other:?}");
                }
            }
        }
    }

    #[test]
    fn a_head_holds_the_first_bytes_of_a_key_and_its_size() {
        let bytes: Vec<u8> = (0xC0..=0xFF).collect();
        for size in 0..bytes.len() {
            let head = Head::of(&bytes[..size]);
            let kept = size.min(HEAD_BYTES);
            assert_eq!(head.bytes()[..kept], bytes[..kept], "{size} bytes");
            assert!(head.bytes()[kept..HEAD_BYTES].iter().all(|byte| *byte == 0), "{size} bytes");
            assert_eq!((head.key_size(), head.is_long()), (size, size > HEAD_BYTES));
        }
    }

    /// Invariant 2 of store::tree::node.
    #[test]
    fn entries_are_in_key_order_each_key_once() {
        let blocks = Blocks::with_capacity(0);
        let mut node = Node::FREE;
        for n in 0..FAN_OUT as u8 {
            let key = [n * 5 % FAN_OUT as u8];
            let sought = Sought::new(&key);
            let at = node.below(&sought, &blocks);
            node.insert(at, Entry { head: sought.head, ..Entry::EMPTY });
        }
        let removed = node.remove(7);
        assert_eq!(removed.head, Head::of(&[7]));
        let mut other = Node::FREE;
        node.move_to(20, &mut other);
        let keys = |node: &Node| -> Vec<u8> {
            node.entries().iter().map(|entry| entry.head.bytes()[0]).collect()
        };
        assert_eq!(keys(&node), (0..21).filter(|n| *n != 7).collect::<Vec<u8>>());
        assert_eq!(keys(&other), (21..32).collect::<Vec<u8>>());
    }
}
