//! Ordered rows in arenas: a tree of nodes of 32 entries, all in one array, with the first bytes
//! of each key in its node; values and long keys lie in blocks.
//!
//! Invariants:
//! 1. Leaves hold the rows in key order, from leaf to leaf along their links, both ways.
//! 2. Two neighbours under one parent hold more than [`MERGED_MAX`] entries together, and no leaf
//!    is empty (but for one without any rows): so much memory is enough for so many rows.
//! 3. Nodes and blocks are given back when they are no longer needed, and used again before new
//!    memory is taken.
//! 4. The same calls make the same tree.
//! 5. A finger is checked before it is used, so where it points is a matter of speed alone.
//!
//! Left to others: positions and durability (`memory`).

mod node;
mod shape;
#[cfg(test)]
mod tests;

use super::Visit;
use super::blocks::{self, Blocks, NONE};
use node::{Entry, FAN_OUT, Head, Node, Sought};
use std::ops::ControlFlow;

const FINGER_BITS: u32 = 10;
/// Entries of two neighbours that become one node: what is left free keeps it from splitting soon.
const MERGED_MAX: usize = FAN_OUT / 2;
/// Rows to a node, at the least: by invariant 2 more than 8 to a leaf, and so on each level.
const ROWS_PER_NODE: usize = 7;
/// Nodes besides: a level's last, and those that a split takes before it gives others back.
const SPARE_NODES: usize = 16;

/// A place in a leaf: of a row, or where it would be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Spot {
    leaf: u32,
    slot: u32,
}

/// Rows in key order.
#[derive(Clone)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    blocks: Blocks,
    /// Where rows of a kind and owner were put or removed last.
    fingers: Vec<Spot>,
    root: u32,
    free: u32,
    rows: usize,
}

impl Tree {
    /// An empty tree that allocates nothing until it holds more than `rows` rows at once, of
    /// `bytes` bytes together. All of its memory is written once, here.
    pub(super) fn with_capacity(rows: usize, bytes: usize) -> Tree {
        let nodes = vec![Node::FREE; rows / ROWS_PER_NODE + SPARE_NODES];
        let blocks = Blocks::with_capacity(bytes + bytes / 2 + rows * 16);
        let fingers = vec![Spot { leaf: 0, slot: 0 }; 1 << FINGER_BITS];
        let mut tree = Tree { nodes, blocks, fingers, root: NONE, free: NONE, rows: 0 };
        for node in (0..tree.nodes.len() as u32).rev() {
            tree.give_back(node);
        }
        tree.root = tree.take_node(0);
        tree
    }

    /// Rows held.
    pub(super) fn len(&self) -> usize {
        self.rows
    }

    /// Bytes reserved from the allocator.
    pub(super) fn reserved_bytes(&self) -> usize {
        self.nodes.capacity() * size_of::<Node>()
            + self.fingers.capacity() * size_of::<Spot>()
            + self.blocks.capacity()
    }

    /// The value of a row.
    pub(super) fn get(&self, key: &[u8]) -> Option<&[u8]> {
        let sought = Sought::new(key);
        self.row(self.locate(&sought), &sought).map(|row| self.value(row))
    }

    /// Puts a row, or gives it another value.
    pub(super) fn put(&mut self, key: &[u8], value: &[u8]) {
        let sought = Sought::new(key);
        let mut spot = self.locate(&sought);
        match self.row(spot, &sought) {
            Some(row) => {
                let row = self.with_value(*row, key, value);
                *self.node_mut(spot.leaf).entry_mut(spot.slot as usize) = row;
            }
            None => {
                let row = self.new_row(&sought, value);
                spot = self.insert(spot.leaf, spot.slot as usize, row);
                self.rows += 1;
            }
        }
        self.point(&sought, spot);
    }

    /// Removes a row, if it is there.
    pub(super) fn remove(&mut self, key: &[u8]) {
        let sought = Sought::new(key);
        let spot = self.locate(&sought);
        if self.row(spot, &sought).is_none() {
            return;
        }
        let row = self.node_mut(spot.leaf).remove(spot.slot as usize);
        self.blocks.free(row.block, row.kept_key_size() + row.target as usize);
        self.rows -= 1;
        self.point(&sought, spot);
        if self.node(spot.leaf).count() == 0 {
            self.drop_leaf(spot.leaf);
        } else {
            self.settle(spot.leaf);
        }
    }

    /// Visits `from..to`, rising.
    pub(super) fn scan_forward(&self, (from, to): (&[u8], &[u8]), visit: Visit<'_>) {
        let Spot { mut leaf, slot } = self.locate(&Sought::new(from));
        let (mut slot, to) = (slot as usize, Sought::new(to));
        while leaf != NONE {
            for row in &self.node(leaf).entries()[slot..] {
                if !row.is_below(&to, &self.blocks) || self.show(row, visit).is_break() {
                    return;
                }
            }
            (leaf, slot) = (self.node(leaf).next, 0);
        }
    }

    /// Visits `from..to`, falling.
    pub(super) fn scan_backward(&self, (from, to): (&[u8], &[u8]), visit: Visit<'_>) {
        let Spot { mut leaf, slot } = self.locate(&Sought::new(to));
        let (mut slot, from) = (slot as usize, Sought::new(from));
        loop {
            for row in self.node(leaf).entries()[..slot].iter().rev() {
                if row.is_below(&from, &self.blocks) || self.show(row, visit).is_break() {
                    return;
                }
            }
            leaf = self.node(leaf).before;
            if leaf == NONE {
                return;
            }
            slot = self.node(leaf).count();
        }
    }

    fn show(&self, row: &Entry, visit: Visit<'_>) -> ControlFlow<()> {
        let (head, size) = (row.head.bytes(), row.head.key_size());
        if row.head.is_long() {
            return visit(self.blocks.read(row.block, 0, size), self.value(row));
        }
        visit(&head[..size], self.value(row))
    }

    /// Where a key is or would be.
    fn locate(&self, sought: &Sought<'_>) -> Spot {
        let finger = self.fingers[finger_of(sought.head)];
        if let Some(spot) = self.near(finger, sought) {
            return spot;
        }
        let mut leaf = self.root;
        while self.node(leaf).level > 0 {
            leaf = self.node(leaf).child(sought, &self.blocks);
        }
        Spot { leaf, slot: self.node(leaf).below(sought, &self.blocks) as u32 }
    }

    /// The same, if it is in the finger's leaf: mostly right behind the finger, as keys of one
    /// owner rise.
    fn near(&self, finger: Spot, sought: &Sought<'_>) -> Option<Spot> {
        let node = self.node(finger.leaf);
        if node.level > 0 || node.count() == 0 {
            return None;
        }
        let (rows, last) = (node.entries(), node.count() - 1);
        let guess = last.min(finger.slot as usize);
        if rows[guess].is(sought, &self.blocks) {
            return Some(Spot { leaf: finger.leaf, slot: guess as u32 });
        }
        let is_below = |slot: usize| rows[slot].is_below(sought, &self.blocks);
        let slot = match is_below(guess) && (guess == last || !is_below(guess + 1)) {
            true => guess + 1,
            false => node.below(sought, &self.blocks),
        };
        let is_inside = match slot {
            0 => rows[0].is(sought, &self.blocks),
            _ if slot <= last || node.fence.head == Head::EMPTY => true,
            _ => node.fence.is_above(sought, &self.blocks),
        };
        is_inside.then_some(Spot { leaf: finger.leaf, slot: slot as u32 })
    }

    fn point(&mut self, sought: &Sought<'_>, spot: Spot) {
        self.fingers[finger_of(sought.head)] = spot;
    }

    /// The row at a place, if it is the one sought.
    fn row(&self, spot: Spot, sought: &Sought<'_>) -> Option<&Entry> {
        let row = self.node(spot.leaf).entries().get(spot.slot as usize)?;
        row.is(sought, &self.blocks).then_some(row)
    }

    fn value(&self, row: &Entry) -> &[u8] {
        self.blocks.read(row.block, row.kept_key_size(), row.target as usize)
    }

    fn new_row(&mut self, sought: &Sought<'_>, value: &[u8]) -> Entry {
        let mut row = Entry { head: sought.head, block: NONE, target: size_of_value(value) };
        let key_size = row.kept_key_size();
        row.block = self.blocks.take(key_size + value.len());
        self.blocks.write(row.block, 0, &sought.key[..key_size]);
        self.blocks.write(row.block, key_size, value);
        row
    }

    /// The row with another value, in another block if it must.
    fn with_value(&mut self, mut row: Entry, key: &[u8], value: &[u8]) -> Entry {
        let key_size = row.kept_key_size();
        let (before, size) = (key_size + row.target as usize, key_size + value.len());
        if !blocks::are_alike(before, size) {
            self.blocks.free(row.block, before);
            row.block = self.blocks.take(size);
            self.blocks.write(row.block, 0, &key[..key_size]);
        }
        row.target = size_of_value(value);
        self.blocks.write(row.block, key_size, value);
        row
    }

    fn node(&self, node: u32) -> &Node {
        &self.nodes[node as usize]
    }

    fn node_mut(&mut self, node: u32) -> &mut Node {
        &mut self.nodes[node as usize]
    }
}

/// Which finger points near a key: those of one kind and owner share one.
fn finger_of(head: Head) -> usize {
    (head.owner().wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (u64::BITS - FINGER_BITS)) as usize
}

fn size_of_value(value: &[u8]) -> u32 {
    u32::try_from(value.len()).expect("a batch is bounded far below 4 GiB")
}
