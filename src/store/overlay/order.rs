//! The order of a chunk's keys, made only as far as somebody scans: rows that nobody scans cost
//! a push each.
//!
//! Invariants:
//! 1. All places of a kind are in its list once; a list is runs of rising keys and a tail of at
//!    most [`TAIL_MAX`] places once it was tidied.
//! 2. Runs shrink in length by half or more from one to the next: there are few of them.

use super::chunk::{Chunk, Place};

/// Places at the end of a list that a scan sorts for itself.
const TAIL_MAX: usize = 64;

/// The places of one kind of rows.
#[derive(Default)]
struct List {
    places: Vec<Place>,
    /// Where runs end.
    runs: Vec<usize>,
}

/// The places of all kinds, by the first byte of their keys.
#[derive(Default)]
pub struct Order {
    lists: Vec<List>,
}

impl Order {
    /// Notes a new row.
    pub fn add(&mut self, key: &[u8], at: Place) {
        let kind = usize::from(*key.first().expect("a row has a key"));
        if kind >= self.lists.len() {
            self.lists.resize_with(kind + 1, List::default);
        }
        self.lists[kind].places.push(at);
    }

    /// Calls `found` with each run of places whose keys are in `from..to`, in rising order.
    pub fn runs(
        &mut self,
        chunk: &Chunk,
        (from, to): (&[u8], &[u8]),
        found: &mut impl FnMut(&[Place]),
    ) {
        let first = from.first().map_or(0, |kind| usize::from(*kind));
        let last = to.first().map_or(0, |kind| usize::from(*kind));
        for list in self.lists.iter_mut().take(last + 1).skip(first) {
            list.tidy(chunk);
            let mut start = 0;
            for end in &list.runs {
                let run = &list.places[start..*end];
                let low = run.partition_point(|at| chunk.key_at(*at) < from);
                let high = run.partition_point(|at| chunk.key_at(*at) < to);
                if low < high {
                    found(&run[low..high]);
                }
                start = *end;
            }
            let in_range = |at: &&Place| (from..to).contains(&chunk.key_at(**at));
            let mut tail: Vec<Place> =
                list.places[start..].iter().filter(in_range).copied().collect();
            if !tail.is_empty() {
                tail.sort_unstable_by_key(|at| chunk.key_at(*at));
                found(&tail);
            }
        }
    }

    /// Whether any scan has put rows in order.
    #[cfg(test)]
    pub fn has_runs(&self) -> bool {
        self.lists.iter().any(|list| !list.runs.is_empty())
    }

    /// Forgets all rows and keeps the memory.
    pub fn clear(&mut self) {
        for list in &mut self.lists {
            list.places.clear();
            list.runs.clear();
        }
    }
}

impl List {
    /// Makes a long tail a run, and merges runs of about the same length.
    fn tidy(&mut self, chunk: &Chunk) {
        let mut start = self.runs.last().copied().unwrap_or(0);
        if self.places.len() - start <= TAIL_MAX {
            return;
        }
        let end = self.places.len();
        while let Some(before) = self.runs.last().copied() {
            let first = if self.runs.len() > 1 { self.runs[self.runs.len() - 2] } else { 0 };
            if before - first >= 2 * (end - start) {
                break;
            }
            self.runs.pop();
            start = first;
        }
        // The sort finds what is sorted already, so that this merges.
        self.places[start..].sort_by(|one, other| chunk.key_at(*one).cmp(chunk.key_at(*other)));
        self.runs.push(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::batch::Change;

    /// Invariants 1 and 2 of store::overlay::order.
    #[test]
    fn places_are_there_once_in_few_sorted_runs_and_a_short_tail() {
        let (mut chunk, mut order) = (Chunk::default(), Order::default());
        for round in 1..200_u64 {
            for step in 0..round * 37 % 150 {
                let number = (round * 1_000 + step).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                let key = [&[(number % 3) as u8 + 1][..], &number.to_be_bytes()].concat();
                if let Some(at) = chunk.change(&key, Change::Put(b"row")) {
                    order.add(&key, at);
                }
            }
            let mut seen = Vec::new();
            order.runs(&chunk, (&[0], &[9]), &mut |run| {
                assert!(run.is_sorted_by_key(|at| chunk.key_at(*at)));
                seen.extend_from_slice(run);
            });
            seen.sort_unstable();
            assert!(seen.into_iter().eq(0..chunk.count() as Place), "round {round}");
            for list in &order.lists {
                let starts = std::iter::once(0).chain(list.runs.iter().copied());
                let lengths: Vec<_> =
                    starts.zip(&list.runs).map(|(start, end)| end - start).collect();
                assert!(lengths.windows(2).all(|pair| pair[0] >= 2 * pair[1]), "{lengths:?}");
                let tail = list.places.len() - lengths.iter().sum::<usize>();
                assert!(tail <= TAIL_MAX, "{tail}");
            }
        }
    }
}
