//! One suite for both stores: each numbered invariant of [`Store`], and a long run against an
//! ordered map. A failure names its seed.

use super::memory::{self, MemoryStore};
use super::view::tests::{TempFolder, open};
use super::{Batch, Direction, Position, Range, Store, StoreError};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

pub(crate) type Row = (Vec<u8>, Vec<u8>);

fn manual() -> MemoryStore {
    MemoryStore::default().with_durability(memory::Durability::Manual)
}

pub(crate) fn put(store: &mut impl Store, key: &[u8], value: &[u8]) -> Position {
    let mut batch = Batch::new();
    batch.put(key, value);
    store.write(&batch).expect("the store is well")
}

pub(crate) fn value(store: &impl Store, key: &[u8]) -> Option<Vec<u8>> {
    store.get(key, <[u8]>::to_vec).expect("the store is well")
}

pub(crate) fn rows(
    store: &impl Store,
    (from, to): (&[u8], &[u8]),
    direction: Direction,
) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut visit = |key: &[u8], value: &[u8]| {
        rows.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    };
    store.scan(Range { from, to, direction }, &mut visit).expect("the store is well");
    rows
}

/// A small fixed-seed generator (xorshift).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    /// Keys share long beginnings and have different lengths.
    fn key(&mut self) -> Vec<u8> {
        let mut key = vec![7; 1 + self.below(3) as usize];
        key.push(self.below(250) as u8);
        key
    }
}

fn behaves_like_an_ordered_map(mut store: impl Store, seed: u64, batches: usize) {
    let mut dice = Dice(seed);
    let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let mut batch = Batch::new();
    for round in 0..batches {
        batch.clear();
        for _ in 0..dice.below(20) {
            let key = dice.key();
            if dice.below(3) == 0 {
                batch.remove(&key);
                model.remove(&key);
            } else {
                let value = vec![round as u8; dice.below(300) as usize];
                batch.put(&key, &value);
                model.insert(key, value);
            }
        }
        store.write(&batch).expect("the store is well");
        let key = dice.key();
        assert_eq!(value(&store, &key), model.get(&key).cloned(), "seed {seed}, round {round}");
        let (from, to) = (dice.key(), dice.key());
        let expected: Vec<Row> = if from < to {
            model.range(from.clone()..to.clone()).map(|(k, v)| (k.clone(), v.clone())).collect()
        } else {
            Vec::new()
        };
        let forward = rows(&store, (&from, &to), Direction::Forward);
        assert_eq!(forward, expected, "seed {seed}, round {round}");
        let mut backward = rows(&store, (&from, &to), Direction::Backward);
        backward.reverse();
        assert_eq!(backward, expected, "seed {seed}, round {round}");
    }
}

#[test]
fn both_stores_behave_like_an_ordered_map() {
    for seed in 1..=5 {
        behaves_like_an_ordered_map(MemoryStore::default(), seed, 2000);
    }
    let folder = TempFolder::new();
    behaves_like_an_ordered_map(open(&folder), 6, 60);
}

fn scan_stops_at_a_break(mut store: impl Store) {
    for n in 0..10_u8 {
        put(&mut store, &[n], &[n]);
    }
    for (direction, expected) in [(Direction::Forward, [2, 3]), (Direction::Backward, [7, 6])] {
        let mut seen = Vec::new();
        let mut visit = |key: &[u8], _: &[u8]| {
            seen.push(key[0]);
            if seen.len() == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let range = Range { from: &[2], to: &[8], direction };
        store.scan(range, &mut visit).expect("the store is well");
        assert_eq!(seen, expected);
    }
}

#[test]
fn a_scan_stops_at_a_break() {
    let folder = TempFolder::new();
    scan_stops_at_a_break(MemoryStore::default());
    scan_stops_at_a_break(open(&folder));
}

fn positions_rise(mut store: impl Store) {
    let mut last = (Position(0), Position(0));
    for n in 1..=20_u8 {
        // An empty batch has its position too.
        let position = match n % 3 {
            0 => store.write(&Batch::new()).expect("the store is well"),
            _ => put(&mut store, &[n], &[n]),
        };
        assert_eq!(position, Position(u64::from(n)));
        if n % 4 == 0 {
            store.sync().expect("the store is well");
            assert_eq!(store.synced(), position);
        }
        assert_eq!(store.written(), position);
        assert!(store.synced() <= store.durable() && store.durable() <= store.written());
        assert!(store.durable() >= last.0 && store.synced() >= last.1);
        last = (store.durable(), store.synced());
    }
}

/// Invariants 1 and 2 of store.
#[test]
fn positions_rise_by_one_and_durable_stays_between_synced_and_written() {
    let folder = TempFolder::new();
    positions_rise(MemoryStore::default());
    positions_rise(manual());
    positions_rise(open(&folder));
}

fn sees_what_is_written(mut store: impl Store) {
    put(&mut store, b"a", b"1");
    let mut batch = Batch::new();
    batch.put(b"a", b"22");
    batch.put(b"b", b"");
    batch.remove(b"nobody");
    store.write(&batch).expect("the store is well");
    assert_eq!(value(&store, b"a"), Some(b"22".to_vec()));
    assert_eq!(value(&store, b"b"), Some(Vec::new()));
    assert_eq!(value(&store, b"c"), None);
    assert_eq!(rows(&store, (b"a", b"b"), Direction::Forward).len(), 1);
    assert!(rows(&store, (b"b", b"a"), Direction::Backward).is_empty());
}

/// Invariant 3 of store.
#[test]
fn what_written_covers_every_later_read_sees() {
    let folder = TempFolder::new();
    sees_what_is_written(MemoryStore::default());
    sees_what_is_written(manual());
    sees_what_is_written(open(&folder));
}

/// Invariant 4 of store.
#[test]
fn a_failed_memory_store_is_failed_for_good() {
    let fails: [fn(&mut MemoryStore); 2] =
        [MemoryStore::fail_next_write, MemoryStore::fail_next_sync];
    for fail in fails {
        let mut store = manual();
        put(&mut store, b"a", b"1");
        store.sync().expect("the store is well");
        fail(&mut store);
        let mut batch = Batch::new();
        batch.put(b"b", b"2");
        let failed = store.write(&batch).and_then(|_| store.sync());
        assert!(matches!(failed, Err(StoreError::Asked)));
        let before = store.written();
        assert!(matches!(store.write(&batch), Err(StoreError::Failed)));
        assert!(matches!(store.sync(), Err(StoreError::Failed)));
        assert_eq!((store.durable(), store.written()), (Position(1), before));
    }
}

/// Invariant 2 of sim.
/// Invariant 2 of store::memory.
#[test]
fn a_crash_of_memory_keeps_whole_batches_up_to_a_position() {
    let mut store = manual();
    put(&mut store, b"a", b"1");
    store.sync().expect("the store is well");
    let mut batch = Batch::new();
    batch.put(b"a", b"2");
    batch.put(b"b", b"2");
    store.write(&batch).expect("the store is well");
    batch.clear();
    batch.remove(b"a");
    store.write(&batch).expect("the store is well");
    let all = |store: &MemoryStore| rows(store, (b"a", b"z"), Direction::Forward);
    let row = |key: &[u8], value: &[u8]| (key.to_vec(), value.to_vec());
    assert_eq!(all(&store), [row(b"b", b"2")]);
    assert_eq!(all(&store.crash()), [row(b"a", b"1")]);
    assert_eq!(all(&store.crash_keeping(Position(2))), [row(b"a", b"2"), row(b"b", b"2")]);
    assert_eq!(all(&store.crash_keeping(Position(3))), [row(b"b", b"2")]);
    assert_eq!(store.crash().written(), Position(0));
}

#[test]
fn a_stand_in_store_throws_away_what_it_does_not_keep() {
    let mut store = MemoryStore::default().keeping(|key| key[0] != b'm');
    put(&mut store, b"m1", b"message");
    put(&mut store, b"u1", b"user");
    assert_eq!((value(&store, b"m1"), store.row_count()), (None, 1));
}

/// Invariant 1 of store::memory.
#[test]
fn rows_born_and_removed_for_ever_take_no_new_memory() {
    const WINDOW: u64 = 1000;
    let mut store = MemoryStore::with_capacity(WINDOW as usize + 2, 400 * WINDOW as usize);
    let reserved = store.reserved_bytes();
    let mut batch = Batch::new();
    for n in 0..1_000_000_u64 {
        batch.clear();
        batch.put(&n.to_be_bytes(), &[7; 300][..(n * 7 % 300) as usize]);
        if n >= WINDOW {
            batch.remove(&(n - WINDOW).to_be_bytes());
        }
        store.write(&batch).expect("the store is well");
    }
    assert_eq!(store.row_count() as u64, WINDOW);
    assert_eq!(store.reserved_bytes(), reserved);
}
