//! What only a store on disk can be asked: what a crash leaves, and what damage does.

use super::copies::COPIES;
use super::{View, disk};
use crate::store::batch::Change;
use crate::store::log::format::Covered;
use crate::store::overlay::chunk::Chunk;
use crate::store::tests::{Row, put, rows, value};
use crate::store::{Batch, Direction, Position, Store, StoreError};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{fs, io};

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

/// What a new store covers: nothing.
pub(crate) const BEGINNING: Covered = Covered { log: 5, position: Position(0), first_sequence: 1 };

pub(crate) fn open(folder: &TempFolder) -> View {
    View::open(folder.path(), BEGINNING, 1 << 20).expect("the folder is ours")
}

/// The same with all large values apart.
pub(crate) fn open_apart(folder: &TempFolder) -> View {
    View { apart_from: 0, ..open(folder) }
}

/// All files of a folder, and their bytes.
pub(crate) fn bytes_of(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("ours") {
        let path = entry.expect("ours").path();
        if path.is_dir() {
            found.extend(bytes_of(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).expect("ours"));
        }
    }
    found
}

/// Changes a bit of a file's byte, or changes it back.
pub(crate) fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).expect("ours");
    bytes[at] ^= 1;
    fs::write(path, bytes).expect("ours");
}

/// Copies a folder as it is at one moment: again, while fjall's threads change it meanwhile.
pub(crate) fn copy(from: &Path, to: &Path) {
    for _ in 0..1_000 {
        let before = files(from).ok();
        let is_copied = copy_once(from, to).is_ok();
        if is_copied && before.is_some() && files(from).ok() == before {
            return;
        }
        fs::remove_dir_all(to).expect("temporary");
    }
    panic!("{} never stays as it is", from.display());
}

/// The files below a folder and the bytes in each.
fn files(folder: &Path) -> io::Result<BTreeSet<(PathBuf, u64)>> {
    let mut all = BTreeSet::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => all.extend(files(&entry.path())?),
            false => all.extend([(entry.path(), entry.metadata()?.len())]),
        }
    }
    Ok(all)
}

fn copy_once(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_once(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

#[test]
fn a_view_opened_again_holds_everything() {
    let folder = TempFolder::new();
    let mut store = open(&folder);
    for n in 0..50_u32 {
        put(&mut store, &(n | 1 << 24).to_be_bytes(), &n.to_le_bytes());
    }
    drop(store);
    let store = open(&folder);
    assert_eq!((store.written(), store.durable()), (Position(0), Position(0)));
    assert_eq!(rows(&store, (&[1], &[2]), Direction::Backward).len(), 50);
}

/// Invariant 1 of store::view.
#[test]
fn what_write_returned_for_survives_the_death_of_the_process() {
    let folder = TempFolder::new();
    let mut store = open_apart(&folder);
    for round in 0..3_u8 {
        let mut batch = Batch::new();
        for n in 1..=100_u8 {
            batch.put(&[n], &vec![round; 100 * usize::from(n)]);
        }
        store.write(&batch).expect("the store is well");
        // The files as a SIGKILL at this moment leaves them.
        let left = TempFolder::new();
        copy(folder.path(), left.path());
        let found = open(&left);
        let found = rows(&found, (&[1], &[101]), Direction::Forward);
        assert_eq!(found.len(), 100);
        let is_whole = |(key, value): &Row| *value == vec![round; 100 * usize::from(key[0])];
        assert!(found.iter().all(is_whole));
    }
}

/// Invariant 1 of store.
#[test]
fn a_table_that_a_crash_left_unfinished_is_not_there_at_all() {
    let folder = TempFolder::new();
    put(&mut open(&folder), b"a", b"1");
    // fjall lists a table only when it is whole: one that is not listed is as good as none.
    let tables = folder.path().join("keyspaces/1/tables");
    let count = || fs::read_dir(&tables).expect("fjall's tables").count();
    let before = count();
    fs::write(tables.join("99"), "half a table").expect("temporary");
    let found = open(&folder);
    assert_eq!(rows(&found, (b"a", b"c"), Direction::Forward).len(), 1);
    assert_eq!(count(), before);
}

/// Invariant 2 of store::view.
#[test]
fn a_store_with_a_part_missing_is_refused_and_never_taken_for_empty() {
    let folder = TempFolder::new();
    let mut store = open(&folder);
    put(&mut store, b"a", b"1");
    drop(store);
    for part in ["version", "lock", "0.jnl", "keyspaces/0", "keyspaces/1", "keyspaces/1/current"] {
        let left = TempFolder::new();
        copy(folder.path(), left.path());
        // With them some of it would be put back.
        fs::remove_dir_all(left.path().join(COPIES)).expect("a store has some");
        let path = left.path().join(part);
        let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        removed.expect("the part was there");
        let refusal = View::open(left.path(), BEGINNING, 1 << 20).err();
        assert!(matches!(refusal, Some(StoreError::Damaged { .. })), "{part}: {refusal:?}");
    }
}

/// Invariant 3 of store::view.
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
    let refusal = View::open(folder.path(), BEGINNING, 1 << 20).err();
    assert!(matches!(refusal, Some(StoreError::InUse { .. })), "{refusal:?}");
}

/// Invariant 4 of store.
#[test]
fn a_failed_view_is_failed_for_good() {
    let folder = TempFolder::new();
    let mut view = View::open(folder.path(), BEGINNING, 1 << 20).expect("ours");
    let mut batch = Batch::new();
    batch.put(b"a", b"1");
    view.write(&batch).expect("the store is well");
    let failed: Result<(), _> = view.checked(Err(disk(fjall::Error::Poisoned)));
    assert!(matches!(failed, Err(StoreError::Disk(_))));
    assert!(matches!(view.write(&batch), Err(StoreError::Failed)));
    assert!(matches!(view.sync(), Err(StoreError::Failed)));
    assert_eq!((view.durable(), view.written()), (Position(0), Position(1)));
}

/// Invariant 4 of store.
#[test]
fn want_of_room_passes() {
    let folder = TempFolder::new();
    let mut view = View::open(folder.path(), BEGINNING, 1 << 20).expect("ours");
    let full = || disk(lsm_tree::Error::Io(io::ErrorKind::StorageFull.into()));
    let failed: Result<(), _> = view.checked(Err(full()));
    assert!(matches!(failed, Err(StoreError::NoRoom)));
    put(&mut view, b"a", b"1");
    assert_eq!(value(&view, b"a"), Some(b"1".to_vec()));
}

#[test]
fn an_error_of_the_system_is_found_behind_the_lsms() {
    let error = disk(lsm_tree::Error::Io(io::ErrorKind::StorageFull.into()));
    assert_eq!(error.io().map(io::Error::kind), Some(io::ErrorKind::StorageFull));
    assert!(disk(fjall::Error::Poisoned).io().is_none());
}

/// Invariant 4 of store::view.
/// Invariant 3 of store::log.
#[test]
fn rows_and_the_position_that_they_reach_come_in_one_batch() {
    let folder = TempFolder::new();
    let mut store = open(&folder);
    assert_eq!(store.covered(folder.path()).expect("made with it"), BEGINNING);
    for turn in 1..=3_u64 {
        let mut chunk = Chunk::default();
        chunk.change(b"a", Change::Put(&turn.to_le_bytes()));
        chunk.note(Position(turn));
        let covered = Covered { position: Position(turn), ..BEGINNING };
        store.apply(&[Arc::new(chunk)], covered).expect("the store is well");
        let (left, reader) = (TempFolder::new(), store.reader());
        copy(folder.path(), left.path());
        for store in [&reader, &open(&left)] {
            assert_eq!(value(store, b"a"), Some(turn.to_le_bytes().to_vec()));
            assert_eq!(store.covered(folder.path()).expect("it is there"), covered);
        }
    }
}
