//! Byte blocks in one growing array: the memory under [`super::memory::MemoryStore`].
//!
//! Invariants:
//! 1. A block is at most a quarter larger than what was asked for (16 bytes when that is more).
//! 2. A freed block is given out again before the array grows for its size: where as much is
//!    freed as taken, memory stands still.
//!
//! Left to others: what is in a block, and who holds it (`skip_list`).

const UNIT_BYTES: usize = 16;
const SMALL_CLASSES: usize = 8;
const CLASSES: usize = SMALL_CLASSES + 4 * 24;
const NONE: u32 = u32::MAX;

/// A place in [`Blocks`], not `Clone` by accident: whoever holds it frees it once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Block {
    unit: u32,
    class: u8,
}

impl Block {
    /// No bytes at all.
    pub(super) const EMPTY: Block = Block { unit: NONE, class: 0 };

    /// Whether `size` bytes have their place in this block, and no smaller one would do.
    pub(super) fn suits(self, size: usize) -> bool {
        self.unit != NONE && class_of(size) == usize::from(self.class)
    }
}

/// Blocks of some hundred sizes, each with a chain of free ones.
#[derive(Clone)]
pub(super) struct Blocks {
    bytes: Vec<u8>,
    free: [u32; CLASSES],
}

impl Blocks {
    pub(super) fn with_capacity(bytes: usize) -> Blocks {
        Blocks { bytes: Vec::with_capacity(bytes), free: [NONE; CLASSES] }
    }

    /// Bytes reserved from the allocator.
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// A block for `size` bytes; what is in it is left over from earlier.
    pub(super) fn take(&mut self, size: usize) -> Block {
        let class = class_of(size);
        let found = self.free[class];
        if found != NONE {
            let next = &self.bytes[start(found)..start(found) + 4];
            let next = next.try_into().expect("four bytes were taken");
            self.free[class] = u32::from_le_bytes(next);
            return Block { unit: found, class: class as u8 };
        }
        let unit = u32::try_from(self.bytes.len() / UNIT_BYTES).expect("64 GiB are not reached");
        assert!(unit != NONE, "the last unit is nobody's");
        self.bytes.resize(self.bytes.len() + class_units(class) * UNIT_BYTES, 0);
        Block { unit, class: class as u8 }
    }

    /// Gives a block back.
    pub(super) fn free(&mut self, block: Block) {
        if block.unit == NONE {
            return;
        }
        let head = &mut self.free[usize::from(block.class)];
        self.bytes[start(block.unit)..start(block.unit) + 4].copy_from_slice(&head.to_le_bytes());
        *head = block.unit;
    }

    /// The first `size` bytes of a block, from `offset`.
    pub(super) fn read(&self, block: Block, offset: usize, size: usize) -> &[u8] {
        let from = start(block.unit) + offset;
        debug_assert!(offset + size <= class_units(usize::from(block.class)) * UNIT_BYTES);
        &self.bytes[from..from + size]
    }

    /// Copies `bytes` into a block, from `offset`.
    pub(super) fn write(&mut self, block: Block, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        assert!(end <= class_units(usize::from(block.class)) * UNIT_BYTES, "the block holds it");
        let from = start(block.unit) + offset;
        self.bytes[from..from + bytes.len()].copy_from_slice(bytes);
    }
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
            let given = class_units(class_of(size)) * UNIT_BYTES;
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
        blocks.free(first);
        assert_eq!(blocks.take(105), first);
        assert_ne!(blocks.take(105), first);
        assert_eq!(blocks.read(second, 40, 5), b"stays");
    }
}
