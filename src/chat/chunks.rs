//! A list that grows by chunks and never moves what it holds.
//!
//! Invariants:
//! 1. Growing copies nothing and leaves no outgrown memory behind, as doubling does.
//! 2. Less than one chunk of it is room for more.

use std::ops::{Index, IndexMut};

/// Elements of a chunk. Of those that a connection costs, a chunk is 6 to 40 KiB.
const CHUNK: usize = 256;

/// Elements by their index.
pub struct Chunks<T> {
    chunks: Vec<Vec<T>>,
}

impl<T> Default for Chunks<T> {
    fn default() -> Chunks<T> {
        Chunks { chunks: Vec::new() }
    }
}

impl<T> Chunks<T> {
    /// Elements there are.
    pub fn count(&self) -> u32 {
        let last = self.chunks.last().map_or(CHUNK, Vec::len);
        (self.chunks.len() * CHUNK + last - CHUNK) as u32
    }

    /// Appends an element and returns its index.
    pub fn push(&mut self, element: T) -> u32 {
        let index = self.count();
        assert!(index < u32::MAX, "an index is 32 bits");
        if index as usize == self.chunks.len() * CHUNK {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        self.chunks[index as usize / CHUNK].push(element);
        index
    }

    /// The element of an index, if there is one.
    pub fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.chunks.get_mut(index as usize / CHUNK)?.get_mut(index as usize % CHUNK)
    }
}

impl<T> Index<u32> for Chunks<T> {
    type Output = T;

    fn index(&self, index: u32) -> &T {
        &self.chunks[index as usize / CHUNK][index as usize % CHUNK]
    }
}

impl<T> IndexMut<u32> for Chunks<T> {
    fn index_mut(&mut self, index: u32) -> &mut T {
        &mut self.chunks[index as usize / CHUNK][index as usize % CHUNK]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Invariant 1 of chat::chunks.
    #[test]
    fn growing_copies_nothing_and_leaves_no_outgrown_memory_behind() {
        let mut list = Chunks::default();
        list.push(0_u64);
        let first = std::ptr::from_ref(&list[0]);
        for number in 1..1000 {
            assert_eq!(list.count(), number);
            assert_eq!(list.push(u64::from(number)), number);
        }
        assert_eq!(std::ptr::from_ref(&list[0]), first);
        assert!((0..1000).all(|index| list[index] == u64::from(index)));
        assert_eq!(list.get_mut(1000), None);
    }

    /// Invariant 2 of chat::chunks.
    #[test]
    fn less_than_one_chunk_is_room_for_more() {
        let mut list = Chunks::default();
        for _ in 0..3 * CHUNK {
            let count = list.push(()) as usize + 1;
            assert!(list.chunks.len() * CHUNK - count < CHUNK);
        }
    }
}
