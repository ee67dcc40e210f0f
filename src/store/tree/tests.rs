//! The tree of rows beside an ordered map, and whole after each change. A failure names its seed.

use super::super::Direction;
use super::super::tests::{Dice, Row};
use super::*;
use std::collections::BTreeMap;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// Keys as the server makes them, and worse: streams that rise or fall, long ones that differ
/// behind the head, some that are the beginning of others.
fn key(dice: &mut Dice, n: u64) -> Vec<u8> {
    let owner = dice.below(3) as u8;
    let with = |kind: u8, number: u64| {
        let mut key = vec![kind, 0, 0, 0, owner];
        key.extend_from_slice(&number.to_be_bytes());
        key
    };
    match dice.below(8) {
        0..3 => with(8, n),
        3 => with(9, u64::MAX - n),
        4 => with(10, dice.below(1 << 40)),
        5 => {
            let mut key = vec![4; 16 + dice.below(20) as usize];
            key.extend_from_slice(&(dice.below(400) as u16).to_be_bytes());
            key.resize(key.len() + dice.below(3) as usize * 350, owner);
            key
        }
        6 => vec![0; 1 + dice.below(60) as usize],
        _ => (0..1 + dice.below(3)).map(|_| dice.below(6) as u8 * 51).collect(),
    }
}

fn rows(tree: &Tree, (from, to): (&[u8], &[u8]), direction: Direction) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut visit = |key: &[u8], value: &[u8]| {
        rows.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    };
    match direction {
        Direction::Forward => tree.scan_forward((from, to), &mut visit),
        Direction::Backward => tree.scan_backward((from, to), &mut visit),
    }
    rows
}

fn assert_like(tree: &Tree, model: &Model, (from, to): (&[u8], &[u8]), seed: u64) {
    let mut expected: Vec<Row> = match from < to {
        true => model
            .range(from.to_vec()..to.to_vec())
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
        false => Vec::new(),
    };
    let forward = rows(tree, (from, to), Direction::Forward);
    assert!(forward == expected, "seed {seed}: {from:?}..{to:?}, rising");
    expected.reverse();
    let backward = rows(tree, (from, to), Direction::Backward);
    assert!(backward == expected, "seed {seed}: {from:?}..{to:?}, falling");
}

/// Puts and removes at random, more of the ones for a while, then of the others.
fn run(seed: u64, changes: u64, mut each: impl FnMut(&mut Tree, &Model, &mut Dice)) -> Tree {
    let (mut dice, mut tree) = (Dice(seed), Tree::with_capacity(0, 0));
    let mut model = Model::new();
    for n in 0..changes {
        let is_shrinking = n / 2500 % 2 == 1;
        if dice.below(10) < if is_shrinking { 2 } else { 8 } {
            let (key, value) = (key(&mut dice, n), vec![n as u8; dice.below(90) as usize]);
            tree.put(&key, &value);
            model.insert(key, value);
        } else {
            let ago = dice.below(1500);
            let at = key(&mut dice, n.saturating_sub(ago));
            let found = model.range(at.clone()..).next().or(model.first_key_value());
            // Mostly a row that is there, and sometimes many of a stream's in a row.
            let key = found.map_or(at, |(key, _)| key.clone());
            let many = if is_shrinking && dice.below(20) == 0 { 60 } else { 1 };
            let gone: Vec<_> =
                model.range(key.clone()..).take(many).map(|row| row.0.clone()).collect();
            for key in gone {
                tree.remove(&key);
                model.remove(&key);
            }
            tree.remove(&[255; 4]);
        }
        each(&mut tree, &model, &mut dice);
    }
    tree
}

/// Invariant 1 of store::tree.
#[test]
fn leaves_hold_the_rows_in_key_order_both_ways() {
    for seed in 1..=6 {
        run(seed, 12_000, |tree, model, dice| {
            let n = dice.below(12_000);
            let (one, other) = (key(dice, n), key(dice, n));
            assert_eq!(tree.get(&one), model.get(&one).map(Vec::as_slice), "seed {seed}");
            assert_eq!(tree.len(), model.len(), "seed {seed}");
            if dice.below(60) == 0 {
                assert_like(tree, model, (&one, &other), seed);
                assert_like(tree, model, (&other, &one), seed);
            }
            if dice.below(600) == 0 {
                assert_like(tree, model, (&[], &[255; 4]), seed);
            }
        });
    }
}

/// Invariants 2 and 3 of store::tree.
/// Invariants 1 and 2 of store::tree::shape.
#[test]
fn a_tree_is_whole_after_each_change_and_gives_back_what_it_does_not_need() {
    for seed in 11..=14 {
        let mut levels = 0;
        let mut tree = run(seed, 9000, |tree, _, dice| {
            if dice.below(8) == 0 {
                levels = levels.max(tree.node(tree.root).level);
                check(tree, seed);
            }
        });
        assert!(levels >= 2, "seed {seed}: it grew to {levels} levels above the leaves");
        for (key, _) in rows(&tree, (&[], &[255; 4]), Direction::Forward) {
            tree.remove(&key);
            check(&tree, seed);
        }
        assert_eq!((tree.len(), tree.node(tree.root).level), (0, 0), "seed {seed}");
        assert_eq!(tree.blocks.held_and_free().0, 0, "seed {seed}");
    }
}

/// Invariant 5 of store::tree.
#[test]
fn a_finger_is_checked_before_it_is_used() {
    for seed in 21..=23 {
        run(seed, 6000, |tree, model, dice| {
            for finger in 0..tree.fingers.len() {
                let leaf = dice.below(tree.nodes.len() as u64) as u32;
                tree.fingers[finger] = Spot { leaf, slot: dice.below(40) as u32 };
            }
            let n = dice.below(6000);
            let key = key(dice, n);
            assert_eq!(tree.get(&key), model.get(&key).map(Vec::as_slice), "seed {seed}");
            if dice.below(100) == 0 {
                assert_like(tree, model, (&[], &[255; 4]), seed);
                check(tree, seed);
            }
        });
    }
}

/// Invariant 4 of store::tree.
#[test]
fn the_same_calls_make_the_same_tree() {
    let (one, other) = (run(31, 5000, |_, _, _| {}), run(31, 5000, |_, _, _| {}));
    assert_eq!(one.nodes.len(), other.nodes.len());
    for (one, other) in one.nodes.iter().zip(&other.nodes) {
        let links = |node: &Node| (node.level, node.parent, node.before, node.next);
        assert_eq!(links(one), links(other));
        assert_eq!(format!("{:?}", one.entries()), format!("{:?}", other.entries()));
    }
}

#[test]
fn so_much_memory_is_enough_for_so_many_rows_in_whatever_order_they_come() {
    const ROWS: u64 = 20_000;
    type Order = (&'static str, fn(u64) -> u64);
    let orders: [Order; 5] = [
        ("rising", |n| n),
        ("falling", |n| ROWS - n),
        ("mixed", |n| n * 7919 % ROWS),
        (
            "between two that were there",
            |n| if n < ROWS / 2 { n * 2 } else { (n - ROWS / 2) * 2 + 1 },
        ),
        ("from both ends", |n| if n % 2 == 0 { n } else { 2 * ROWS - n }),
    ];
    for (name, order) in orders {
        for long in [0, 40] {
            let key = |n: u64| [&vec![1; long][..], &order(n).to_be_bytes()].concat();
            let size = (long + 8 + 20) * ROWS as usize;
            let mut tree = Tree::with_capacity(ROWS as usize, size);
            let reserved = tree.reserved_bytes();
            for n in 0..ROWS {
                tree.put(&key(n), &[7; 20]);
            }
            // All but few of each stretch go, others come.
            for n in (0..ROWS).filter(|n| order(*n) % 12 > 0) {
                tree.remove(&key(n));
            }
            for n in (0..ROWS).filter(|n| order(*n) % 12 > 0).rev() {
                tree.put(&key(n), &[8; 20]);
            }
            check(&tree, long as u64);
            assert_eq!(tree.len() as u64, ROWS);
            assert_eq!(tree.reserved_bytes(), reserved, "{name}, {long} bytes in front");
        }
    }
}

#[test]
fn streams_of_rising_keys_fill_their_leaves() {
    let mut tree = Tree::with_capacity(0, 0);
    for n in 0..1000_u64 {
        for owner in 0..20 {
            tree.put(&[&[8, 0, 0, 0, owner][..], &n.to_be_bytes()].concat(), &[]);
        }
    }
    let leaves = chain(&tree, leftmost(&tree, tree.root)).len();
    assert!(leaves <= 20_000 / FAN_OUT * 11 / 10, "{leaves} leaves");
}

fn leftmost(tree: &Tree, mut node: u32) -> u32 {
    while tree.node(node).level > 0 {
        node = tree.node(node).entries()[0].target;
    }
    node
}

/// A level from its first node on, its links right both ways.
fn chain(tree: &Tree, first: u32) -> Vec<u32> {
    let (mut nodes, mut before, mut node) = (Vec::new(), NONE, first);
    while node != NONE {
        assert_eq!(tree.node(node).before, before, "links lead both ways");
        nodes.push(node);
        (before, node) = (node, tree.node(node).next);
    }
    nodes
}

fn key_of(tree: &Tree, entry: &Entry) -> Vec<u8> {
    match entry.head.is_long() {
        true => tree.blocks.read(entry.block, 0, entry.head.key_size()).to_vec(),
        false => entry.head.bytes()[..entry.head.key_size()].to_vec(),
    }
}

/// Asserts all that a tree always is.
fn check(tree: &Tree, seed: u64) {
    let (mut level, mut used, mut held) = (vec![tree.root], 0, 0);
    assert!(tree.node(tree.root).parent == NONE);
    loop {
        assert_eq!(chain(tree, level[0]), level, "seed {seed}: a level is linked in order");
        used += level.len();
        for pair in level.windows(2) {
            let (one, other) = (tree.node(pair[0]), tree.node(pair[1]));
            let is_enough = one.count() + other.count() > MERGED_MAX;
            assert!(one.parent != other.parent || is_enough, "seed {seed}: neighbours fit in one");
        }
        if tree.node(level[0]).level == 0 {
            break;
        }
        held += level.iter().map(|node| check_inner(tree, *node, seed)).sum::<usize>();
        let children = level.iter().flat_map(|node| tree.node(*node).entries());
        level = children.map(|entry| entry.target).collect();
    }
    let rows: Vec<&Entry> = level.iter().flat_map(|leaf| tree.node(*leaf).entries()).collect();
    let keys: Vec<_> = rows.iter().map(|row| key_of(tree, row)).collect();
    assert!(keys.is_sorted_by(|one, other| one < other), "seed {seed}: rows rise");
    assert_eq!(rows.len(), tree.len(), "seed {seed}");
    assert!(level.iter().all(|leaf| tree.node(*leaf).count() > 0 || level.len() == 1));
    let last = level.last().expect("there is a leaf");
    assert_eq!(tree.node(*last).fence.head, Head::EMPTY, "seed {seed}: nothing ends the last leaf");
    let sizes = rows.iter().map(|row| row.kept_key_size() + row.target as usize);
    held += sizes.map(blocks::taken_for).sum::<usize>();
    assert_eq!(tree.blocks.held_and_free().0, held, "seed {seed}: no block is lost");
    let (mut free, mut node) = (0, tree.free);
    while node != NONE {
        (free, node) = (free + 1, tree.node(node).next);
    }
    assert_eq!(used + free, tree.nodes.len(), "seed {seed}: no node is lost");
}

/// Asserts what holds above the leaves. Returns the bytes of blocks that the node holds.
fn check_inner(tree: &Tree, node: u32, seed: u64) -> usize {
    let mut held = 0;
    for (slot, entry) in tree.node(node).entries().iter().enumerate() {
        let child = tree.node(entry.target);
        assert_eq!((child.parent, child.level + 1), (node, tree.node(node).level), "seed {seed}");
        if slot == 0 {
            assert_eq!(entry.head, Head::EMPTY, "seed {seed}: the first entry is below all keys");
            continue;
        }
        let leaf = tree.node(leftmost(tree, entry.target));
        let before = tree.node(leaf.before);
        assert_eq!((before.fence.head, before.fence.block), (entry.head, entry.block));
        let key = key_of(tree, entry);
        assert!(key <= key_of(tree, &leaf.entries()[0]), "seed {seed}");
        assert!(key > key_of(tree, &before.entries()[before.count() - 1]), "seed {seed}");
        held += if entry.head.is_long() { blocks::taken_for(key.len()) } else { 0 };
    }
    held
}
