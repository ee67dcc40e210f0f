//! Ordered rows in arenas: a skip list whose nodes, towers and bytes are three arrays, with a
//! hash index beside it for single rows.
//!
//! Invariants:
//! 1. Rows are in key order along each level, forward; along the back links, backward.
//! 2. Removing and putting as many rows of the same sizes takes no new memory: nodes keep their
//!    towers when they are used again, bytes go back to their size.
//! 3. Heights come from a counter, not from chance: the same calls make the same list.
//!
//! Left to others: positions and durability (`memory`).

use super::Visit;
use super::blocks::{Block, Blocks};
use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

const HEIGHT_MAX: usize = 16;
/// The node before all rows, and the one behind them: it has no key.
const HEAD: u32 = 0;

#[derive(Clone, Copy)]
struct Node {
    tower: u32,
    /// The row before this one; of a free node, the next free one.
    back: u32,
    block: Block,
    key_size: u32,
    value_size: u32,
    height: u8,
}

/// Rows in key order.
#[derive(Clone)]
pub(super) struct SkipList {
    nodes: Vec<Node>,
    towers: Vec<u32>,
    blocks: Blocks,
    index: HashTable<u32>,
    free: u32,
    height: usize,
    made: u64,
}

impl SkipList {
    /// An empty list that allocates nothing until it holds more than `rows` rows at once, of
    /// `bytes` bytes together.
    pub(super) fn with_capacity(rows: usize, bytes: usize) -> SkipList {
        let mut list = SkipList {
            nodes: Vec::with_capacity(rows + 1),
            towers: Vec::with_capacity(HEIGHT_MAX + rows * 3 / 2),
            blocks: Blocks::with_capacity(bytes + bytes / 4 + rows * 16),
            // A table that is at most half full clears away its tombstones in place.
            index: HashTable::with_capacity(rows * 2),
            free: HEAD,
            height: 1,
            made: 0,
        };
        let head = Node {
            tower: 0,
            back: HEAD,
            block: Block::EMPTY,
            key_size: 0,
            value_size: 0,
            height: HEIGHT_MAX as u8,
        };
        list.nodes.push(head);
        list.towers.resize(HEIGHT_MAX, HEAD);
        list
    }

    /// Rows held.
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// Bytes reserved from the allocator.
    pub(super) fn reserved_bytes(&self) -> usize {
        self.nodes.capacity() * size_of::<Node>()
            + self.towers.capacity() * size_of::<u32>()
            + self.index.allocation_size()
            + self.blocks.capacity()
    }

    /// The value of a row.
    pub(super) fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.find(key).map(|node| self.value(node))
    }

    /// Puts a row, or gives it another value.
    pub(super) fn put(&mut self, key: &[u8], value: &[u8]) {
        match self.find(key) {
            Some(node) => self.replace(node, key, value),
            None => self.insert(key, value),
        }
    }

    /// Removes a row, if it is there.
    pub(super) fn remove(&mut self, key: &[u8]) {
        let (blocks, nodes) = (&self.blocks, &self.nodes);
        let is_it = |node: &u32| key_in(blocks, &nodes[*node as usize]) == key;
        let Ok(entry) = self.index.find_entry(xxh3_64(key), is_it) else { return };
        let (node, _) = entry.remove();
        let before = self.before(key);
        let removed = self.nodes[node as usize];
        for (level, before) in before.iter().enumerate().take(usize::from(removed.height)) {
            assert!(self.next(*before, level) == node, "a row is linked on all its levels");
            let next = self.next(node, level);
            self.link(*before, level, next);
        }
        let next = self.next(node, 0);
        if next != HEAD {
            self.nodes[next as usize].back = removed.back;
        }
        self.blocks.free(removed.block);
        self.nodes[node as usize].back = self.free;
        self.free = node;
    }

    /// Visits `from..to`, rising.
    pub(super) fn scan_forward(&self, (from, to): (&[u8], &[u8]), visit: Visit<'_>) {
        let mut node = self.next(self.before(from)[0], 0);
        while node != HEAD && self.key(node) < to {
            if visit(self.key(node), self.value(node)).is_break() {
                return;
            }
            node = self.next(node, 0);
        }
    }

    /// Visits `from..to`, falling.
    pub(super) fn scan_backward(&self, (from, to): (&[u8], &[u8]), visit: Visit<'_>) {
        let mut node = self.before(to)[0];
        while node != HEAD && self.key(node) >= from {
            if visit(self.key(node), self.value(node)).is_break() {
                return;
            }
            node = self.nodes[node as usize].back;
        }
    }

    fn find(&self, key: &[u8]) -> Option<u32> {
        self.index.find(xxh3_64(key), |node| self.key(*node) == key).copied()
    }

    fn replace(&mut self, node: u32, key: &[u8], value: &[u8]) {
        let Node { block, key_size, .. } = self.nodes[node as usize];
        let size = key.len() + value.len();
        if !block.suits(size) {
            self.blocks.free(block);
            let block = self.blocks.take(size);
            self.blocks.write(block, 0, key);
            self.nodes[node as usize].block = block;
        }
        let row = &mut self.nodes[node as usize];
        row.value_size = size_of_part(value);
        self.blocks.write(row.block, key_size as usize, value);
    }

    fn insert(&mut self, key: &[u8], value: &[u8]) {
        let before = self.before(key);
        let node = self.take_node();
        let block = self.blocks.take(key.len() + value.len());
        self.blocks.write(block, 0, key);
        self.blocks.write(block, key.len(), value);
        let row = &mut self.nodes[node as usize];
        row.block = block;
        row.key_size = size_of_part(key);
        row.value_size = size_of_part(value);
        row.back = before[0];
        let height = usize::from(row.height);
        self.height = self.height.max(height);
        for (level, before) in before.iter().enumerate().take(height) {
            let next = self.next(*before, level);
            self.link(node, level, next);
            self.link(*before, level, node);
        }
        let next = self.next(node, 0);
        if next != HEAD {
            self.nodes[next as usize].back = node;
        }
        let (blocks, nodes) = (&self.blocks, &self.nodes);
        let hash_of = |node: &u32| xxh3_64(key_in(blocks, &nodes[*node as usize]));
        self.index.insert_unique(xxh3_64(key), node, hash_of);
    }

    /// On each level, the last node below `key`.
    fn before(&self, key: &[u8]) -> [u32; HEIGHT_MAX] {
        let mut before = [HEAD; HEIGHT_MAX];
        let mut node = HEAD;
        for level in (0..self.height).rev() {
            let mut next = self.next(node, level);
            while next != HEAD && self.key(next) < key {
                node = next;
                next = self.next(node, level);
            }
            before[level] = node;
        }
        before
    }

    /// A free node with its old tower, or a new one: a quarter of them reach the next level.
    fn take_node(&mut self) -> u32 {
        if self.free != HEAD {
            let node = self.free;
            self.free = self.nodes[node as usize].back;
            return node;
        }
        self.made += 1;
        let chance = xxh3_64(&self.made.to_le_bytes());
        let height = (1 + chance.trailing_zeros() as usize / 2).min(HEIGHT_MAX);
        let node = u32::try_from(self.nodes.len()).expect("4 G rows do not fit in memory");
        let tower = u32::try_from(self.towers.len()).expect("towers are 4/3 links high");
        self.towers.resize(self.towers.len() + height, HEAD);
        let height = height as u8;
        let block = Block::EMPTY;
        self.nodes.push(Node { tower, back: HEAD, block, key_size: 0, value_size: 0, height });
        node
    }

    fn next(&self, node: u32, level: usize) -> u32 {
        self.towers[self.nodes[node as usize].tower as usize + level]
    }

    fn link(&mut self, node: u32, level: usize, next: u32) {
        let at = self.nodes[node as usize].tower as usize + level;
        self.towers[at] = next;
    }

    fn key(&self, node: u32) -> &[u8] {
        key_in(&self.blocks, &self.nodes[node as usize])
    }

    fn value(&self, node: u32) -> &[u8] {
        let row = &self.nodes[node as usize];
        self.blocks.read(row.block, row.key_size as usize, row.value_size as usize)
    }
}

fn key_in<'a>(blocks: &'a Blocks, node: &Node) -> &'a [u8] {
    blocks.read(node.block, 0, node.key_size as usize)
}

fn size_of_part(part: &[u8]) -> u32 {
    u32::try_from(part.len()).expect("a batch is bounded far below 4 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled() -> SkipList {
        let mut list = SkipList::with_capacity(0, 0);
        for n in 0..3000_u32 {
            list.put(&(n * 7919 % 1009).to_be_bytes(), &n.to_le_bytes());
            list.remove(&(n * 31 % 1009).to_be_bytes());
        }
        list
    }

    #[test]
    fn rows_are_in_key_order_on_each_level_and_along_the_back_links() {
        let list = filled();
        for level in 0..HEIGHT_MAX {
            let (mut before, mut node) = (HEAD, list.next(HEAD, level));
            while node != HEAD {
                assert!(before == HEAD || list.key(before) < list.key(node), "level {level}");
                assert!(level > 0 || list.nodes[node as usize].back == before);
                (before, node) = (node, list.next(node, level));
            }
        }
    }

    #[test]
    fn the_same_calls_make_the_same_list() {
        let (one, other) = (filled(), filled());
        assert_eq!(one.towers, other.towers);
        assert!(one.height > 2, "a thousand rows need levels");
    }
}
