//! Bytes at addresses that a disk can be given directly.
//!
//! Invariants:
//! 1. The first byte's address and the capacity are multiples of [`BLOCK_BYTES`].
//! 2. Every byte up to the capacity is initialised: memory is zeroed when it is taken.
//!
//! Left to others: what is in it (`log`), handing it to the kernel (`node::ring`).

// An alignment of its own is more than `Vec` can promise. Each block states why it holds.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;

/// What addresses, offsets and lengths of direct writes are multiples of.
pub const BLOCK_BYTES: usize = 4096;

/// A growing list of bytes, aligned for direct writes.
pub struct AlignedBuffer {
    memory: NonNull<u8>,
    capacity: usize,
    length: usize,
}

// SAFETY: the memory belongs to the buffer alone and is reached only through it.
unsafe impl Send for AlignedBuffer {}

impl AlignedBuffer {
    /// Room for `capacity` bytes, rounded up to whole blocks, at least one. It grows when it must.
    pub fn with_capacity(capacity: usize) -> AlignedBuffer {
        let capacity = capacity.max(1).next_multiple_of(BLOCK_BYTES);
        // SAFETY: the size is at least one block, so it is not zero.
        let memory = unsafe { alloc_zeroed(layout(capacity)) };
        let Some(memory) = NonNull::new(memory) else { handle_alloc_error(layout(capacity)) };
        AlignedBuffer { memory, capacity, length: 0 }
    }

    /// Bytes held.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Nothing is held.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The bytes held.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `length <= capacity`, all of it initialised (invariant 2), borrowed with `self`.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr(), self.length) }
    }

    /// The same, to be changed.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above; `self` is borrowed alone.
        unsafe { std::slice::from_raw_parts_mut(self.memory.as_ptr(), self.length) }
    }

    /// Appends bytes.
    pub fn extend(&mut self, more: &[u8]) {
        let start = self.length;
        self.lengthen(start + more.len());
        self.bytes_mut()[start..].copy_from_slice(more);
    }

    /// Fills up with zeros to a whole number of blocks.
    pub fn pad(&mut self) {
        let (start, end) = (self.length, self.length.next_multiple_of(BLOCK_BYTES));
        self.lengthen(end);
        self.bytes_mut()[start..].fill(0);
    }

    /// Forgets all bytes from `length` on.
    pub fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
    }

    /// Makes it `length` bytes long; what is new has any value.
    fn lengthen(&mut self, length: usize) {
        if length > self.capacity {
            let mut larger = AlignedBuffer::with_capacity(length.max(2 * self.capacity));
            larger.length = self.length;
            larger.bytes_mut().copy_from_slice(self.bytes());
            std::mem::swap(self, &mut larger);
        }
        self.length = length;
    }
}

impl std::fmt::Debug for AlignedBuffer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} aligned bytes", self.length)
    }
}

impl Drop for AlignedBuffer {
    fn drop(&mut self) {
        // SAFETY: the memory was taken with this very layout and nobody has it any more.
        unsafe { dealloc(self.memory.as_ptr(), layout(self.capacity)) };
    }
}

fn layout(capacity: usize) -> Layout {
    Layout::from_size_align(capacity, BLOCK_BYTES).expect("whole blocks, far below the maximum")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Invariant 1 of store::aligned.
    #[test]
    fn bytes_stay_aligned_and_whole_however_it_grows() {
        let mut buffer = AlignedBuffer::with_capacity(0);
        let mut expected = Vec::new();
        for round in 0..200_u8 {
            let more = vec![round; usize::from(round) * 7];
            buffer.extend(&more);
            expected.extend_from_slice(&more);
            assert_eq!(buffer.bytes().as_ptr() as usize % BLOCK_BYTES, 0);
            assert_eq!(buffer.capacity % BLOCK_BYTES, 0);
        }
        assert_eq!(buffer.bytes(), expected);
        buffer.pad();
        assert_eq!(buffer.len() % BLOCK_BYTES, 0);
        assert!(buffer.bytes()[expected.len()..].iter().all(|byte| *byte == 0));
        buffer.truncate(10);
        assert_eq!(buffer.bytes(), &expected[..10]);
    }

    /// Invariant 2 of store::aligned.
    #[test]
    fn memory_is_zeroed_when_it_is_taken_whatever_was_in_it_before() {
        for blocks in 1..20 {
            let capacity = blocks * BLOCK_BYTES;
            let mut used = AlignedBuffer::with_capacity(capacity);
            used.extend(&vec![7; capacity]);
            drop(used);
            let mut buffer = AlignedBuffer::with_capacity(capacity);
            buffer.lengthen(capacity);
            assert!(buffer.bytes().iter().all(|byte| *byte == 0));
            buffer.bytes_mut().fill(7);
            buffer.lengthen(2 * capacity);
            assert!(buffer.bytes()[..capacity].iter().all(|byte| *byte == 7));
            assert!(buffer.bytes()[capacity..].iter().all(|byte| *byte == 0), "grown");
        }
    }

    #[test]
    fn padding_is_zero_where_other_bytes_were_before() {
        let mut buffer = AlignedBuffer::with_capacity(BLOCK_BYTES);
        buffer.extend(&[7; BLOCK_BYTES]);
        buffer.truncate(3);
        buffer.pad();
        assert!(buffer.bytes()[3..].iter().all(|byte| *byte == 0));
    }
}
