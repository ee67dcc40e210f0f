//! Ordered rows in arenas: a skip list whose nodes, towers and bytes are three arrays, with a
//! hash index beside it for single rows.
//!
//! Invariants:
//! 1. Rows are in key order along each level, forward; along the back links, backward.
//! 2. Removing and putting as many rows of the same sizes takes no new memory: nodes keep their
//!    towers when they are used again, bytes go back to their size.
//! 3. Heights come from a counter, not from chance: the same calls make the same list.
//! 4. A finger is checked before it is used, so where it points is a matter of speed alone.
//!
//! Left to others: positions and durability (`memory`).

use super::Visit;
use super::blocks::{Block, Blocks};
use hashbrown::HashTable;
use std::cmp::Ordering;
use xxhash_rust::xxh3::xxh3_64;

const HEIGHT_MAX: usize = 16;
/// The node before all rows, and the one behind them: it has no key.
const HEAD: u32 = 0;
const START: Place = Place { node: HEAD, tower: 0 };
const FINGER_BITS: u32 = 8;
/// Links that a finger is moved along before a search is cheaper.
const FINGER_STEPS_MAX: usize = 4;

/// The first 24 bytes of a key, zeros behind a shorter one: all but identities fit, and nearly
/// every comparison ends here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
struct Prefix(u64, u64, u64);

impl Prefix {
    fn of(key: &[u8]) -> Prefix {
        Prefix(Prefix::word(key, 0), Prefix::word(key, 8), Prefix::word(key, 16))
    }

    /// Eight bytes from `at`, read at once where the key has eight.
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
}

/// Where a node and its tower lie. Both stay together for good.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Place {
    node: u32,
    tower: u32,
}

/// The next row of a level, with enough of its key to leave it alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Link {
    prefix: Prefix,
    to: Place,
}

impl Link {
    const END: Link = Link { prefix: Prefix(0, 0, 0), to: START };
}

/// On each level, the last place below a key.
type Path = [Place; HEIGHT_MAX];

#[derive(Clone, Copy)]
struct Node {
    prefix: Prefix,
    tower: u32,
    /// The row before this one; of a free node, the next free one.
    back: u32,
    /// Of a free node: empty.
    block: Block,
    key_size: u32,
    value_size: u32,
    height: u8,
}

/// A key that is looked for.
#[derive(Clone, Copy)]
struct Sought<'a> {
    key: &'a [u8],
    prefix: Prefix,
}

impl<'a> Sought<'a> {
    fn new(key: &'a [u8]) -> Sought<'a> {
        Sought { key, prefix: Prefix::of(key) }
    }

    /// Which finger points near this key: those of one kind and owner share one.
    fn finger(&self) -> usize {
        let owner = self.prefix.0 >> 24;
        (owner.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (u64::BITS - FINGER_BITS)) as usize
    }
}

/// Rows in key order.
#[derive(Clone)]
pub(super) struct SkipList {
    nodes: Vec<Node>,
    towers: Vec<Link>,
    blocks: Blocks,
    index: HashTable<u32>,
    /// Where rows were put or removed last.
    fingers: Vec<Path>,
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
            fingers: vec![[START; HEIGHT_MAX]; 1 << FINGER_BITS],
            free: HEAD,
            height: 1,
            made: 0,
        };
        let head = Node {
            prefix: Prefix::default(),
            tower: START.tower,
            back: HEAD,
            block: Block::EMPTY,
            key_size: 0,
            value_size: 0,
            height: HEIGHT_MAX as u8,
        };
        list.nodes.push(head);
        list.towers.resize(HEIGHT_MAX, Link::END);
        list
    }

    /// Rows held.
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// Bytes reserved from the allocator.
    pub(super) fn reserved_bytes(&self) -> usize {
        self.nodes.capacity() * size_of::<Node>()
            + self.towers.capacity() * size_of::<Link>()
            + self.fingers.capacity() * size_of::<Path>()
            + self.index.allocation_size()
            + self.blocks.capacity()
    }

    /// The value of a row.
    pub(super) fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.find(&Sought::new(key)).map(|node| self.value(node))
    }

    /// Puts a row, or gives it another value.
    pub(super) fn put(&mut self, key: &[u8], value: &[u8]) {
        let sought = Sought::new(key);
        match self.find(&sought) {
            Some(node) => self.replace(node, key, value),
            None => self.insert(&sought, value),
        }
    }

    /// Removes a row, if it is there.
    pub(super) fn remove(&mut self, key: &[u8]) {
        let (blocks, nodes) = (&self.blocks, &self.nodes);
        let is_it = |node: &u32| key_in(blocks, &nodes[*node as usize]) == key;
        let Ok(entry) = self.index.find_entry(xxh3_64(key), is_it) else { return };
        let (node, _) = entry.remove();
        let removed = self.nodes[node as usize];
        let sought = Sought { key, prefix: removed.prefix };
        let finger = sought.finger();
        self.fingers[finger][0] = self.place(removed.back);
        self.point(finger, &sought, removed.height);
        for level in 0..usize::from(removed.height) {
            let before = self.fingers[finger][level];
            assert!(self.next(before, level).to.node == node, "a row is linked on all its levels");
            *self.next_mut(before, level) = self.towers[removed.tower as usize + level];
        }
        let next = self.next(self.fingers[finger][0], 0).to.node;
        if next != HEAD {
            self.nodes[next as usize].back = removed.back;
        }
        self.blocks.free(removed.block);
        self.nodes[node as usize].block = Block::EMPTY;
        self.nodes[node as usize].back = self.free;
        self.free = node;
    }

    /// Visits `from..to`, rising.
    pub(super) fn scan_forward(&self, (from, to): (&[u8], &[u8]), visit: Visit<'_>) {
        let to = Sought::new(to);
        let mut link = self.next(self.before(&Sought::new(from))[0], 0);
        while link.to.node != HEAD && self.is_below(link.prefix, link.to.node, &to) {
            if visit(self.key(link.to.node), self.value(link.to.node)).is_break() {
                return;
            }
            link = self.next(link.to, 0);
        }
    }

    /// Visits `from..to`, falling.
    pub(super) fn scan_backward(&self, (from, to): (&[u8], &[u8]), visit: Visit<'_>) {
        let mut node = self.before(&Sought::new(to))[0].node;
        while node != HEAD && self.key(node) >= from {
            if visit(self.key(node), self.value(node)).is_break() {
                return;
            }
            node = self.nodes[node as usize].back;
        }
    }

    /// A row, by its finger if that points near where it is or would be.
    fn find(&self, sought: &Sought<'_>) -> Option<u32> {
        let finger = self.fingers[sought.finger()][0];
        let Some(before) = self.reach(finger, 0, sought) else {
            return self.indexed(sought.key);
        };
        let next = self.next(before, 0);
        let is_it = next.prefix == sought.prefix
            && next.to.node != HEAD
            && self.key(next.to.node) == sought.key;
        is_it.then_some(next.to.node)
    }

    fn indexed(&self, key: &[u8]) -> Option<u32> {
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

    fn insert(&mut self, sought: &Sought<'_>, value: &[u8]) {
        let Sought { key, prefix } = *sought;
        let node = self.take_node();
        let place = self.place(node);
        let height = self.nodes[node as usize].height;
        let finger = sought.finger();
        self.point(finger, sought, height);
        let block = self.blocks.take(key.len() + value.len());
        self.blocks.write(block, 0, key);
        self.blocks.write(block, key.len(), value);
        let row = &mut self.nodes[node as usize];
        row.prefix = prefix;
        row.block = block;
        row.key_size = size_of_part(key);
        row.value_size = size_of_part(value);
        row.back = self.fingers[finger][0].node;
        self.height = self.height.max(usize::from(height));
        for level in 0..usize::from(height) {
            let before = self.fingers[finger][level];
            let next = std::mem::replace(self.next_mut(before, level), Link { prefix, to: place });
            *self.next_mut(place, level) = next;
        }
        let next = self.next(place, 0).to.node;
        if next != HEAD {
            self.nodes[next as usize].back = node;
        }
        let (blocks, nodes) = (&self.blocks, &self.nodes);
        let hash_of = |node: &u32| xxh3_64(key_in(blocks, &nodes[*node as usize]));
        self.index.insert_unique(xxh3_64(key), node, hash_of);
    }

    /// Lets a finger point to the places before a key, on `height` levels at least. Where rows
    /// are put and removed one behind the other, it is there already.
    fn point(&mut self, finger: usize, sought: &Sought<'_>, height: u8) {
        for level in 0..usize::from(height) {
            match self.reach(self.fingers[finger][level], level, sought) {
                Some(place) => self.fingers[finger][level] = place,
                None => {
                    self.fingers[finger] = self.before(sought);
                    return;
                }
            }
        }
    }

    /// The places before a key.
    fn before(&self, sought: &Sought<'_>) -> Path {
        let mut before = [START; HEIGHT_MAX];
        let mut place = START;
        for level in (0..self.height).rev() {
            let mut next = self.next(place, level);
            while next.to.node != HEAD && self.is_below(next.prefix, next.to.node, sought) {
                place = next.to;
                next = self.next(place, level);
            }
            before[level] = place;
        }
        before
    }

    /// The last place below a key on a level; `None`: not near `place`, which is perhaps free.
    fn reach(&self, mut place: Place, level: usize, sought: &Sought<'_>) -> Option<Place> {
        let row = &self.nodes[place.node as usize];
        let is_held = row.block != Block::EMPTY;
        if place.node != HEAD && !(is_held && self.is_below(row.prefix, place.node, sought)) {
            return None;
        }
        for _ in 0..=FINGER_STEPS_MAX {
            let next = self.next(place, level);
            if next.to.node == HEAD || !self.is_below(next.prefix, next.to.node, sought) {
                return Some(place);
            }
            place = next.to;
        }
        None
    }

    fn is_below(&self, prefix: Prefix, node: u32, sought: &Sought<'_>) -> bool {
        match prefix.cmp(&sought.prefix) {
            Ordering::Less => true,
            Ordering::Greater => false,
            Ordering::Equal => self.key(node) < sought.key,
        }
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
        self.towers.resize(self.towers.len() + height, Link::END);
        let (prefix, block) = (Prefix::default(), Block::EMPTY);
        let (back, key_size, value_size, height) = (HEAD, 0, 0, height as u8);
        self.nodes.push(Node { prefix, tower, back, block, key_size, value_size, height });
        node
    }

    fn place(&self, node: u32) -> Place {
        Place { node, tower: self.nodes[node as usize].tower }
    }

    fn next(&self, place: Place, level: usize) -> &Link {
        &self.towers[place.tower as usize + level]
    }

    fn next_mut(&mut self, place: Place, level: usize) -> &mut Link {
        &mut self.towers[place.tower as usize + level]
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

    /// Invariant 1 of store::skip_list.
    #[test]
    fn rows_are_in_key_order_on_each_level_and_along_the_back_links() {
        let list = filled();
        for level in 0..HEIGHT_MAX {
            let (mut before, mut link) = (HEAD, list.next(START, level));
            while link.to.node != HEAD {
                let node = link.to.node;
                assert!(before == HEAD || list.key(before) < list.key(node), "level {level}");
                assert!(level > 0 || list.nodes[node as usize].back == before);
                assert_eq!(link.prefix, Prefix::of(list.key(node)), "level {level}");
                (before, link) = (node, list.next(link.to, level));
            }
        }
    }

    /// Invariant 3 of store::skip_list.
    #[test]
    fn the_same_calls_make_the_same_list() {
        let (one, other) = (filled(), filled());
        assert_eq!(one.towers, other.towers);
        assert!(one.height > 2, "a thousand rows need levels");
    }

    #[test]
    fn keys_that_share_a_prefix_are_told_apart() {
        let mut list = SkipList::with_capacity(0, 0);
        let keys: Vec<Vec<u8>> = (0..60).map(|size| vec![0; size + 1]).collect();
        for key in keys.iter().step_by(2).chain(keys.iter().skip(1).step_by(2)) {
            list.put(key, key);
        }
        list.remove(&keys[30]);
        assert!(list.get(&keys[30]).is_none());
        let mut sizes = Vec::new();
        list.scan_forward((&keys[0], &keys[59]), &mut |key, value| {
            assert_eq!(key, value);
            sizes.push(key.len());
            std::ops::ControlFlow::Continue(())
        });
        assert_eq!(sizes, (1..60).filter(|size| *size != 31).collect::<Vec<_>>());
    }

    #[test]
    fn a_prefix_is_the_first_bytes_of_a_key() {
        let bytes: Vec<u8> = (0xE0..=0xFF).collect();
        for size in 0..bytes.len() {
            let key = &bytes[..size];
            let mut padded = [0; 24];
            padded[..size.min(24)].copy_from_slice(&key[..size.min(24)]);
            assert_eq!(Prefix::of(key), Prefix::of(&padded), "{size} bytes");
            let first = u64::from_be_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|at: usize| padded[at]));
            assert_eq!(Prefix::of(key).0, first, "{size} bytes");
        }
    }
}
