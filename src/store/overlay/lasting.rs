//! What neighbouring chunks change together, as it goes into a table.
//!
//! Invariants:
//! 1. Each row comes once, with its newest change, in the order of keys. A write-once row that was
//!    put and removed within the chunks does not come: no older value of it is anywhere.
//! 2. Rows are put in order as they are taken, [`PIECE`] at a time, and not all at once; whoever
//!    takes them can rest meanwhile.
//!
//! To sort a table's rows at once took its thread 30 to 45 ms in which it did not sleep. Where its
//! core is shared, as with a load generator and with the kernel's thread that completes synced
//! writes (bound to the core of the disk's interrupts), that thread was not run for up to 90 ms,
//! and so nothing was acked. Whoever writes tables sleeps after every few hundred rows
//! (`node::pace`).

use super::chunk::{Chunk, Place};
use crate::store::batch::Change;
use std::cmp::Ordering;
use std::sync::Arc;

/// Rows that are sorted at once, at most: within a millisecond.
const PIECE: usize = 4096;

/// Numbers that a key's first bytes are.
const BEGINNING: usize = 3;

/// A change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Spot {
    /// How its key begins: 24 bytes, so that most comparisons need no other memory.
    beginning: [u64; BEGINNING],
    /// The number of its chunk.
    chunk: u32,
    /// Its place in it.
    at: Place,
}

/// The changes of all chunks in the order of keys, newer ones of a key first.
struct InOrder<'a, R> {
    rest: R,
    chunks: &'a [Arc<Chunk>],
    spots: Vec<Spot>,
    /// Up to here they are in order.
    sorted: usize,
    /// What lies before each of these comes before what lies behind it; the nearest is last.
    ends: Vec<usize>,
}

/// What neighbouring chunks, oldest first, change together: each row once, in the order of keys,
/// without those that nobody has seen outside of them. n rows cost about n log n comparisons.
/// `rest` is called whenever some milliseconds may have passed since the last row.
pub fn lasting(
    chunks: &[Arc<Chunk>],
    rest: impl Fn(),
) -> impl Iterator<Item = (&[u8], Change<'_>)> {
    let mut rows = InOrder::of(chunks, rest);
    let mut next = 0;
    std::iter::from_fn(move || {
        while let Some(newest) = rows.at(next) {
            let mut oldest = newest;
            next += 1;
            while let Some(older) = rows.at(next).filter(|spot| rows.is_same_key(*spot, newest)) {
                oldest = older;
                next += 1;
            }
            let change = rows.chunk(newest).change_at(newest.at);
            let was_born_here = rows.chunk(oldest).was_born_at(oldest.at);
            if change != Change::Remove || !was_born_here {
                return Some((rows.key(newest), change));
            }
        }
        None
    })
}

impl<'a, R: Fn()> InOrder<'a, R> {
    fn of(chunks: &'a [Arc<Chunk>], rest: R) -> InOrder<'a, R> {
        let count = chunks.iter().map(|chunk| chunk.count()).sum();
        let mut spots = Vec::with_capacity(count);
        for (index, chunk) in chunks.iter().enumerate() {
            let places = 0..chunk.count() as Place;
            let spot = |at| {
                let beginning = beginning(chunk.key_at(at));
                Spot { beginning, chunk: index as u32, at }
            };
            spots.extend(places.map(spot));
            rest();
        }
        InOrder { rest, chunks, spots, sorted: 0, ends: vec![count] }
    }

    fn chunk(&self, spot: Spot) -> &'a Chunk {
        &self.chunks[spot.chunk as usize]
    }

    fn key(&self, spot: Spot) -> &'a [u8] {
        self.chunk(spot).key_at(spot.at)
    }

    fn is_same_key(&self, one: Spot, other: Spot) -> bool {
        one.beginning == other.beginning && self.key(one) == self.key(other)
    }

    /// The change that is so many behind the first.
    fn at(&mut self, index: usize) -> Option<Spot> {
        while index >= self.sorted && self.sort_more() {}
        self.spots.get(index).copied()
    }

    /// Puts the next piece in order; `false`: all are. What lies behind is halved until the piece
    /// is small: of each half nothing more is known than that.
    fn sort_more(&mut self) -> bool {
        let start = self.sorted;
        let Some(mut end) = self.ends.pop() else { return false };
        let chunks = self.chunks;
        let order = |one: &Spot, other: &Spot| compare(chunks, *one, *other);
        while end - start > PIECE {
            self.ends.push(end);
            let half = (end - start) / 2;
            self.spots[start..end].select_nth_unstable_by(half, order);
            end = start + half;
            (self.rest)();
        }
        self.spots[start..end].sort_unstable_by(order);
        self.sorted = end;
        true
    }
}

fn compare(chunks: &[Arc<Chunk>], one: Spot, other: Spot) -> Ordering {
    let key = |spot: Spot| chunks[spot.chunk as usize].key_at(spot.at);
    let whole = || key(one).cmp(key(other));
    one.beginning.cmp(&other.beginning).then_with(whole).then_with(|| other.chunk.cmp(&one.chunk))
}

/// The first bytes of a key as numbers of the same order.
fn beginning(key: &[u8]) -> [u64; BEGINNING] {
    let mut bytes = [0; BEGINNING * size_of::<u64>()];
    let length = key.len().min(bytes.len());
    bytes[..length].copy_from_slice(&key[..length]);
    let (numbers, _) = bytes.as_chunks();
    std::array::from_fn(|index| u64::from_be_bytes(numbers[index]))
}

#[cfg(test)]
mod tests {
    use super::super::chunk::hash_of;
    use super::*;
    use crate::store::keys::Kind;
    use crate::store::tests::Dice;
    use std::collections::BTreeMap;

    /// Invariant 1 of store::overlay::lasting.
    #[test]
    fn a_write_once_row_that_came_and_went_never_reaches_the_lsm() {
        let mut chunk = Chunk::default();
        let (outbox, chat) = ([Kind::Outbox as u8, 1], [Kind::Chat as u8, 1]);
        let older = [Kind::Outbox as u8, 2];
        for key in [outbox, chat] {
            chunk.change(&key, Change::Put(b"row"));
            chunk.change(&key, Change::Remove);
        }
        chunk.change(&older, Change::Remove);
        assert_eq!(
            chunk.get(&outbox, hash_of(&outbox)),
            Some(Change::Remove),
            "readers see that it is gone"
        );
        let chunks = [Arc::new(chunk)];
        let expected = [(&chat[..], Change::Remove), (&older[..], Change::Remove)];
        assert_eq!(lasting(&chunks, || {}).collect::<Vec<_>>(), expected);
    }

    /// Invariant 1 of store::overlay::lasting.
    #[test]
    fn chunks_together_change_each_row_once_in_the_order_of_keys() {
        let of = |changes: &[(&[u8], Change<'_>)]| {
            let mut chunk = Chunk::default();
            for (key, change) in changes {
                chunk.change(key, *change);
            }
            Arc::new(chunk)
        };
        let (put, outbox) = (Change::Put, [Kind::Outbox as u8, 1]);
        let chunks = [
            of(&[(b"zz", put(b"1")), (b"0123456789abcdefgh", put(b"2")), (&outbox, put(b"3"))]),
            of(&[(b"zz", put(b"4")), (b"zz\0", put(b"5")), (b"0123456789abcdefg", put(b"6"))]),
            of(&[(b"0123456789abcdefgh", Change::Remove), (&outbox, Change::Remove)]),
        ];
        let expected: [(&[u8], _); 4] = [
            (b"0123456789abcdefg", put(b"6")),
            (b"0123456789abcdefgh", Change::Remove),
            (b"zz", put(b"4")),
            (b"zz\0", put(b"5")),
        ];
        assert_eq!(lasting(&chunks, || {}).collect::<Vec<_>>(), expected);
        let expected: [(&[u8], _); 3] = [(&outbox, Change::Remove), expected[0], expected[1]];
        assert_eq!(lasting(&chunks[1..], || {}).take(3).collect::<Vec<_>>(), expected);
    }

    /// Invariant 1 of store::overlay::lasting.
    #[test]
    fn many_pieces_give_what_an_ordered_map_gives() {
        let mut dice = Dice(7);
        let mut model = BTreeMap::new();
        let mut chunks = Vec::new();
        for number in 0..3_u8 {
            let mut chunk = Chunk::default();
            for _ in 0..20_000 {
                // Many keys begin alike, and many are changed in several chunks.
                let key = format!("0123456789abcdefghijklmn{:05}", dice.below(30_000)).into_bytes();
                let change =
                    if dice.below(5) == 0 { Change::Remove } else { Change::Put(&[number]) };
                chunk.change(&key, change);
                model.insert(key, if change == Change::Remove { None } else { Some(number) });
            }
            chunks.push(Arc::new(chunk));
        }
        let found = lasting(&chunks, || {}).map(|(key, change)| match change {
            Change::Put(value) => (key.to_vec(), Some(value[0])),
            Change::Remove => (key.to_vec(), None),
        });
        assert!(found.eq(model));
    }

    /// Invariant 2 of store::overlay::lasting.
    #[test]
    fn rows_are_put_in_order_as_they_are_taken() {
        let mut chunk = Chunk::default();
        let count = 20 * PIECE as u32;
        // 7919 is a prime: each number comes once.
        let keys = (0..count).map(|n| n * 7919 % count);
        keys.for_each(|n| assert!(chunk.change(&n.to_be_bytes(), Change::Remove).is_some()));
        let chunks = [Arc::new(chunk)];
        let mut rows = InOrder::of(&chunks, || {});
        for index in 0..count as usize {
            assert!(rows.at(index).is_some());
            assert!(index < rows.sorted && rows.sorted <= index + PIECE, "{index}");
        }
        assert_eq!(rows.at(count as usize), None);
        assert_eq!(lasting(&[], || {}).count(), 0);
    }
}
