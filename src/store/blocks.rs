//! Byte blocks in one growing array: the memory under [`super::memory::MemoryStore`].
//!
//! Invariants:
//! 1. A block is at most a quarter larger than what was asked for (16 bytes when that is more).
//! 2. A freed block is given out again before the array grows for its size: where as much is
//!    freed as taken, memory stands still.
//! 3. What was reserved has been written once: no later write waits for its page.
//!
//! Left to others: what is in a block, how large it is, and who holds it (`tree`).

const UNIT_BYTES: usize = 16;
const SMALL_CLASSES: usize = 8;
const CLASSES: usize = SMALL_CLASSES + 4 * 24;
const GROWTH_BYTES_MIN: usize = 4096;
/// No block.
pub(super) const NONE: u32 = u32::MAX;
/// What fresh memory is written with. Not 0: zeroed memory may come without pages.
const FRESH: u8 = 0xA5;

/// Blocks of some hundred sizes, each with a chain of free ones. A block is named by its first
/// unit; whoever holds it knows the size he asked for and frees it once.
#[derive(Clone)]
pub(super) struct Blocks {
    bytes: Vec<u8>,
    used: usize,
    free: [u32; CLASSES],
}

impl Blocks {
    /// No blocks, and room for `bytes` bytes of them.
    pub(super) fn with_capacity(bytes: usize) -> Blocks {
        Blocks { bytes: vec![FRESH; bytes], used: 0, free: [NONE; CLASSES] }
    }

    /// Bytes reserved from the allocator.
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// A block for `size` bytes; what is in it is left over from earlier.
    pub(super) fn take(&mut self, size: usize) -> u32 {
        let class = class_of(size);
        let found = self.free[class];
        if found != NONE {
            let next = self.bytes[start(found)..].first_chunk().expect("a block has 16 bytes");
            self.free[class] = u32::from_le_bytes(*next);
            return found;
        }
        let unit = u32::try_from(self.used / UNIT_BYTES).expect("64 GiB are not reached");
        assert!(unit != NONE, "the last unit is nobody's");
        self.used += class_units(class) * UNIT_BYTES;
        if self.used > self.bytes.len() {
            let grown = self.used.max(self.bytes.len() * 2).max(GROWTH_BYTES_MIN);
            self.bytes.resize(grown, FRESH);
        }
        unit
    }

    /// Gives a block of `size` bytes back.
    pub(super) fn free(&mut self, unit: u32, size: usize) {
        assert!(unit != NONE, "only what was taken is freed");
        let head = &mut self.free[class_of(size)];
        self.bytes[start(unit)..start(unit) + 4].copy_from_slice(&head.to_le_bytes());
        *head = unit;
    }

    /// `size` bytes of a block, from `offset`.
    pub(super) fn read(&self, unit: u32, offset: usize, size: usize) -> &[u8] {
        let from = start(unit) + offset;
        &self.bytes[from..from + size]
    }

    /// Copies `bytes` into a block, from `offset`. The block is large enough.
    pub(super) fn write(&mut self, unit: u32, offset: usize, bytes: &[u8]) {
        let from = start(unit) + offset;
        self.bytes[from..from + bytes.len()].copy_from_slice(bytes);
    }

    /// Another block with the same `size` bytes.
    pub(super) fn copy(&mut self, unit: u32, size: usize) -> u32 {
        let copy = self.take(size);
        self.bytes.copy_within(start(unit)..start(unit) + size, start(copy));
        copy
    }

    /// Bytes in blocks that are held, and in those that are free, by walking their chains.
    #[cfg(test)]
    pub(super) fn held_and_free(&self) -> (usize, usize) {
        let mut free = 0;
        for (class, first) in self.free.iter().enumerate() {
            let mut unit = *first;
            while unit != NONE {
                free += class_units(class) * UNIT_BYTES;
                let next = self.bytes[start(unit)..].first_chunk().expect("a block has 16 bytes");
                unit = u32::from_le_bytes(*next);
            }
        }
        (self.used - free, free)
    }
}

/// Whether blocks of both sizes are the same: one can take the other's content.
pub(super) fn are_alike(one: usize, other: usize) -> bool {
    class_of(one) == class_of(other)
}

/// Bytes that a block for `size` bytes takes.
#[cfg(test)]
pub(super) fn taken_for(size: usize) -> usize {
    class_units(class_of(size)) * UNIT_BYTES
}

fn start(unit: u32) -> usize {
    unit as usize * UNIT_BYTES
}

/// Eight sizes a unit apart, then four to each doubling.
fn class_of(size: usize) -> usize {
    let units = size.div_ceil(UNIT_BYTES).max(1);
    if units <= SMALL_CLASSES {
        return units - 1;
    }
    let doubling = (units - 1).ilog2() as usize;
    let quarter = (units - 1) >> (doubling - 2);
    SMALL_CLASSES + (doubling - 3) * 4 + (quarter - 4)
}

/// Units of a block of this class.
fn class_units(class: usize) -> usize {
    match class.checked_sub(SMALL_CLASSES) {
        None => class + 1,
        Some(above) => (above % 4 + 5) << (above / 4 + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Invariant 1 of store::blocks.
    #[test]
    fn a_block_is_at_most_a_quarter_larger_than_asked() {
        for size in (0..3000).chain([65_535, 65_536, 65_537, 1 << 20, (4 << 20) + 1]) {
            let given = taken_for(size);
            assert!(given >= size, "{given} for {size}");
            assert!(given <= size + (size / 4).max(UNIT_BYTES), "{given} for {size}");
        }
    }

    /// Invariant 2 of store::blocks.
    #[test]
    fn a_freed_block_is_given_out_again() {
        let mut blocks = Blocks::with_capacity(0);
        let first = blocks.take(100);
        let second = blocks.take(100);
        blocks.write(second, 40, b"stays");
        blocks.free(first, 100);
        assert_eq!(blocks.take(105), first);
        assert_ne!(blocks.take(105), first);
        assert_eq!(blocks.read(second, 40, 5), b"stays");
    }

    /// Invariant 3 of store::blocks.
    #[test]
    fn reserved_memory_is_written_once_and_then_given_out() {
        let mut blocks = Blocks::with_capacity(10_000);
        let reserved = blocks.capacity();
        assert!(blocks.bytes.len() == 10_000 && blocks.bytes.iter().all(|byte| *byte == FRESH));
        for _ in 0..10_000 / 48 {
            blocks.take(48);
        }
        assert_eq!(blocks.capacity(), reserved);
        blocks.take(48);
        assert!(blocks.capacity() > reserved);
    }
}
