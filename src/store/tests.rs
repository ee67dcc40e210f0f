//! One suite for both stores: each numbered invariant of [`Store`], and a long run against an
//! ordered map. A failure names its seed.

use super::memory::{self, MemoryStore};
use super::view::{self, View};
use super::{Batch, Direction, Position, Range, Store, StoreError};
use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder of its own for one test, removed with all that is in it. It is not made.
pub(crate) struct TempFolder(PathBuf);

impl TempFolder {
    pub(crate) fn new() -> TempFolder {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("anser-test-{}-{count}", std::process::id());
        TempFolder(std::env::temp_dir().join(name))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        // Nothing to do about a folder that stays, or was never made.
        let _ = fs::remove_dir_all(&self.0);
    }
}

type Row = (Vec<u8>, Vec<u8>);

fn open(folder: &TempFolder) -> View {
    View::open(folder.path(), view::Durability::Sync, 1 << 20).expect("the folder is ours")
}

fn manual() -> MemoryStore {
    MemoryStore::default().with_durability(memory::Durability::Manual)
}

fn put(store: &mut impl Store, key: &[u8], value: &[u8]) -> Position {
    let mut batch = Batch::new();
    batch.put(key, value);
    store.write(&batch).expect("the store is well")
}

fn value(store: &impl Store, key: &[u8]) -> Option<Vec<u8>> {
    store.get(key, <[u8]>::to_vec).expect("the store is well")
}

fn rows(store: &impl Store, (from, to): (&[u8], &[u8]), direction: Direction) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut visit = |key: &[u8], value: &[u8]| {
        rows.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    };
    store.scan(Range { from, to, direction }, &mut visit).expect("the store is well");
    rows
}

/// A small fixed-seed generator (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
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
    behaves_like_an_ordered_map(open(&folder), 6, 400);
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

#[test]
fn positions_rise_by_one_and_durable_stays_between_synced_and_written() {
    let (folder, other) = (TempFolder::new(), TempFolder::new());
    positions_rise(MemoryStore::default());
    positions_rise(manual());
    positions_rise(open(&folder));
    let store = View::open(other.path(), view::Durability::Async, 1 << 20).expect("ours");
    positions_rise(store);
}

#[test]
fn durable_is_what_the_durability_promises() {
    let (folder, other) = (TempFolder::new(), TempFolder::new());
    let mut sync = open(&folder);
    let mut relaxed = View::open(other.path(), view::Durability::Async, 1 << 20).expect("ours");
    put(&mut sync, b"a", b"1");
    put(&mut relaxed, b"a", b"1");
    assert_eq!((sync.durable(), sync.synced()), (Position(0), Position(0)));
    assert_eq!((relaxed.durable(), relaxed.synced()), (Position(1), Position(0)));
    sync.sync().expect("the store is well");
    relaxed.sync().expect("the store is well");
    assert_eq!((sync.durable(), sync.synced()), (Position(1), Position(1)));
    assert_eq!((relaxed.durable(), relaxed.synced()), (Position(1), Position(1)));
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

#[test]
fn what_written_covers_every_later_read_sees() {
    let folder = TempFolder::new();
    sees_what_is_written(MemoryStore::default());
    sees_what_is_written(manual());
    sees_what_is_written(open(&folder));
}

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

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("temporary");
    for entry in fs::read_dir(from).expect("temporary") {
        let entry = entry.expect("temporary");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("temporary").is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("temporary");
        }
    }
}

#[test]
fn a_view_opened_again_holds_everything() {
    let folder = TempFolder::new();
    let mut store = open(&folder);
    for n in 0..500_u32 {
        put(&mut store, &n.to_be_bytes(), &n.to_le_bytes());
    }
    drop(store);
    let store = open(&folder);
    assert_eq!((store.written(), store.durable()), (Position(0), Position(0)));
    assert_eq!(rows(&store, (&[0; 4], &[1; 4]), Direction::Backward).len(), 500);
}

#[test]
fn what_write_returned_for_survives_the_death_of_the_process() {
    let (folder, left) = (TempFolder::new(), TempFolder::new());
    let mut store = open(&folder);
    for round in 0..3_u8 {
        let mut batch = Batch::new();
        for n in 0..100_u8 {
            batch.put(&[n], &[round; 200]);
        }
        store.write(&batch).expect("the store is well");
        // The files as a SIGKILL at this moment leaves them.
        copy(folder.path(), left.path());
        let found = open(&left);
        let found = rows(&found, (&[0], &[100]), Direction::Forward);
        assert_eq!(found.len(), 100);
        assert!(found.iter().all(|(_, value)| *value == [round; 200]));
        fs::remove_dir_all(left.path()).expect("temporary");
    }
}

#[test]
fn a_batch_cut_short_by_a_crash_is_not_there_at_all() {
    let (folder, left) = (TempFolder::new(), TempFolder::new());
    let mut store = open(&folder);
    put(&mut store, b"a", b"1");
    let mut batch = Batch::new();
    for n in 0..50_u8 {
        batch.put(&[b'b', n], &[n; 100]);
    }
    store.write(&batch).expect("the store is well");
    copy(folder.path(), left.path());
    let journal = left.path().join("0.jnl");
    let file = fs::OpenOptions::new().write(true).open(&journal).expect("fjall's first journal");
    file.set_len(2000).expect("temporary");
    let found = open(&left);
    assert_eq!(rows(&found, (b"a", b"c"), Direction::Forward).len(), 1);
}

#[test]
fn a_store_with_a_part_missing_is_refused_and_never_taken_for_empty() {
    let folder = TempFolder::new();
    let mut store = open(&folder);
    put(&mut store, b"a", b"1");
    drop(store);
    for part in ["version", "lock", "0.jnl", "keyspaces/0", "keyspaces/1", "keyspaces/1/current"] {
        let left = TempFolder::new();
        copy(folder.path(), left.path());
        let path = left.path().join(part);
        let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        removed.expect("the part was there");
        let refusal = View::open(left.path(), view::Durability::Sync, 1 << 20).err();
        assert!(matches!(refusal, Some(StoreError::Damaged { .. })), "{part}: {refusal:?}");
    }
}

#[test]
fn a_half_made_store_is_made_again() {
    let folder = TempFolder::new();
    let unfinished = PathBuf::from(format!("{}.new", folder.path().display()));
    fs::create_dir_all(&unfinished).expect("temporary");
    fs::write(unfinished.join("0.jnl"), "half").expect("temporary");
    put(&mut open(&folder), b"a", b"1");
    assert!(!unfinished.exists());
    assert_eq!(value(&open(&folder), b"a"), Some(b"1".to_vec()));
}

#[test]
fn a_store_in_use_is_refused() {
    let folder = TempFolder::new();
    let _store = open(&folder);
    let refusal = View::open(folder.path(), view::Durability::Sync, 1 << 20).err();
    assert!(matches!(refusal, Some(StoreError::InUse { .. })), "{refusal:?}");
}
