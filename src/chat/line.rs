//! A queue that grows by pieces and never moves what waits in it.
//!
//! Invariants:
//! 1. What was put in comes out in its order.
//! 2. It holds the memory of what waits and of at most two pieces more, and takes a piece at a
//!    time: a list of half a million that doubled held its shard up for 30 ms.

use std::collections::VecDeque;

/// Elements of a piece.
const PIECE: usize = 4096;

/// Elements, first in, first out.
pub struct Line<T> {
    /// Never empty between the first and the last.
    pieces: VecDeque<VecDeque<T>>,
    spare: Option<VecDeque<T>>,
    count: usize,
}

impl<T> Default for Line<T> {
    fn default() -> Line<T> {
        Line { pieces: VecDeque::new(), spare: None, count: 0 }
    }
}

impl<T> Line<T> {
    /// Elements that wait.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Adds one behind all others.
    pub fn push(&mut self, element: T) {
        let has_room = |piece: &VecDeque<T>| piece.len() < piece.capacity();
        if !self.pieces.back().is_some_and(has_room) {
            let fresh = || VecDeque::with_capacity(PIECE);
            self.pieces.push_back(self.spare.take().unwrap_or_else(fresh));
        }
        self.pieces.back_mut().expect("one was just seen to").push_back(element);
        self.count += 1;
    }

    /// The one that has waited longest.
    pub fn first(&self) -> Option<&T> {
        self.pieces.front()?.front()
    }

    /// Takes out the one that has waited longest.
    pub fn pop(&mut self) -> Option<T> {
        let piece = self.pieces.front_mut()?;
        let element = piece.pop_front()?;
        self.count -= 1;
        if piece.is_empty() {
            self.spare = self.pieces.pop_front();
        }
        Some(element)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Invariant 1 of chat::line.
    #[test]
    fn what_was_put_in_comes_out_in_its_order() {
        let (mut line, mut put, mut taken) = (Line::default(), 0_usize, 0);
        for round in 1..40 {
            // It grows to several pieces, and shrinks to nothing.
            let (more, fewer) = if round < 20 { (1000, 300) } else { (300, 1000) };
            for _ in 0..more {
                line.push(put);
                put += 1;
            }
            for _ in 0..fewer {
                let first = line.first().copied();
                assert_eq!(line.pop(), first);
                assert_eq!(first, (taken < put).then_some(taken));
                taken += usize::from(first.is_some());
            }
            assert_eq!(line.count(), put - taken);
        }
        assert!(put > 3 * PIECE && line.count() == 0);
    }

    /// Invariant 2 of chat::line.
    #[test]
    fn a_piece_is_taken_at_a_time_and_memory_goes_with_what_waited() {
        let mut line = Line::default();
        let growing =
            allocation_counter::measure(|| (0..100 * PIECE as u64).for_each(|n| line.push(n)));
        let whole = (100 * PIECE * size_of::<u64>()) as u64;
        assert!(growing.bytes_total < whole + whole / 20, "nothing is taken twice: {growing:?}");
        let steady = allocation_counter::measure(|| {
            for n in 0..10 * PIECE as u64 {
                line.push(n);
                line.pop();
            }
        });
        let piece = (PIECE * size_of::<u64>()) as u64;
        assert!(steady.bytes_total <= piece, "a piece that became empty is the next: {steady:?}");
        while line.pop().is_some() {}
        assert!(line.pieces.len() + usize::from(line.spare.is_some()) <= 2);
    }
}
