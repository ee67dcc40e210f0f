//! Opening what crashes and damage leave, on real files.

use super::*;
use crate::limits::BRAKE_STEP_BYTES;
use crate::store::batch::Change;
use crate::store::log::format::Head;
use crate::store::log::{Outcome, Write};
use crate::store::logged::LoggedStore;
use crate::store::view::tests::TempFolder;
use crate::store::view::{Folders, Writer, Written};
use crate::store::{Batch, Direction, Range, Store};
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;

const IDENTITY: u64 = 1234;

/// A store as a shard has it, with its writes done by hand.
pub(in crate::node) struct Shard {
    store: LoggedStore<View>,
    files: LogFiles,
    writable: Writable,
}

fn try_open(folder: &TempFolder) -> Result<Shard, StoreError> {
    let (opened, writable) = open(folder.path(), IDENTITY, Durability::Sync, 1 << 20)?;
    let Opened { view, log, files } = opened;
    Ok(Shard { store: LoggedStore::new(view, log), files, writable })
}

pub(in crate::node) fn opened(folder: &TempFolder) -> Shard {
    try_open(folder).expect("the folder is ours")
}

impl Shard {
    pub(in crate::node) fn turn(&mut self, number: u32) {
        let mut batch = Batch::new();
        batch.put(&[&[1][..], &number.to_be_bytes()].concat(), &number.to_le_bytes());
        batch.put(b"\x02last", &number.to_le_bytes());
        self.store.write(&batch).expect("the store is well");
        let log = self.store.recent().expect("it has a log").log_mut();
        let Write { place, offset, buffer, from, .. } = log.next_write().expect("just appended");
        let bytes = &buffer.bytes()[from..];
        let written = rustix::io::pwrite(self.files.file(place), bytes, offset).expect("room");
        assert_eq!(written, bytes.len());
        let log = self.store.recent().expect("it has a log").log_mut();
        log.written(buffer, Outcome::Done);
    }

    pub(in crate::node) fn index(&mut self) {
        let recent = self.store.recent().expect("it has a log");
        recent.seal();
        let chunk = recent.next_chunk().expect("all is synced");
        let covered = Covered { position: chunk.last(), ..self.writable.covered };
        let chunks = [chunk];
        self.writable.view.apply(&chunks, covered).expect("the store is well");
        recent.applied(covered.position);
    }

    pub(in crate::node) fn rows(&self) -> usize {
        let mut count = 0;
        let range = Range { from: &[1], to: &[2], direction: Direction::Forward };
        let visit = &mut |_: &[u8], _: &[u8]| {
            count += 1;
            ControlFlow::Continue(())
        };
        self.store.scan(range, visit).expect("the store is well");
        count
    }
}

fn segment(folder: &TempFolder, number: u32) -> PathBuf {
    log_files::path(&folder.path().join("log"), number)
}

/// Invariant 1 of node::recover.
#[test]
fn a_log_is_replayed_over_whatever_the_lsm_holds() {
    let folder = TempFolder::new();
    for round in 0..4_u32 {
        let mut shard = opened(&folder);
        assert_eq!(shard.rows() as u32, round * 10, "round {round}");
        for turn in 0..10 {
            shard.turn(round * 10 + turn);
            if turn == 3 * round {
                shard.index();
            }
        }
        assert_eq!(shard.rows() as u32, round * 10 + 10);
        let last = shard.store.get(b"\x02last", <[u8]>::to_vec).expect("the store is well");
        assert_eq!(last, Some((round * 10 + 9).to_le_bytes().to_vec()), "the newest value holds");
    }
    let mut shard = opened(&folder);
    assert_eq!((shard.rows(), shard.store.written()), (40, Position(40)));
    assert_eq!(shard.writable.covered.position, Position(40), "all of it is in the LSM");
    assert!(shard.store.recent().expect("it has a log").overlay().open().is_empty());
    let last = shard.store.get(b"\x02last", <[u8]>::to_vec).expect("the store is well");
    assert_eq!(last, Some(39_u32.to_le_bytes().to_vec()));
    let before = Header::read(&fs::read(segment(&folder, 0)).expect("ours"));
    shard.turn(40);
    let after = Header::read(&fs::read(segment(&folder, 0)).expect("ours"));
    let (Head::Segment(before), Head::Segment(after)) = (before, after) else {
        panic!("{before:?}, {after:?}")
    };
    assert!(after.sequence > before.sequence, "a segment that no record is in");
    assert_eq!(after.first, Position(41));
}

#[test]
fn damage_in_the_middle_is_refused_and_named_and_the_log_is_left_as_it_is() {
    let folder = TempFolder::new();
    let mut shard = opened(&folder);
    (0..10).for_each(|turn| shard.turn(turn));
    drop(shard);
    let file = fs::OpenOptions::new().write(true).open(segment(&folder, 0)).expect("ours");
    // Each turn has a block of its own, after the header's.
    file.write_all_at(&[0xFF], 4096 * 5 + 60).expect("temporary");
    let before = fs::read(segment(&folder, 0)).expect("ours");
    for _ in 0..2 {
        let refusal = try_open(&folder).err().expect("damaged");
        let StoreError::LogDamaged { segment: named, offset, missing } = &refusal else {
            panic!("{refusal:?}")
        };
        assert_eq!((named, *missing), (&segment(&folder, 0), 5));
        assert!((4096 * 4..=4096 * 5).contains(offset), "{offset}");
        assert!(refusal.to_string().contains("put the data folder back from a copy"));
        assert!(fs::read(segment(&folder, 0)).expect("ours") == before, "nothing was changed");
    }
}

#[test]
fn a_torn_last_write_is_the_end_of_the_log() {
    let folder = TempFolder::new();
    let mut shard = opened(&folder);
    (0..10).for_each(|turn| shard.turn(turn));
    drop(shard);
    let file = fs::OpenOptions::new().write(true).open(segment(&folder, 0)).expect("ours");
    file.write_all_at(&[0; 2048], 4096 * 10).expect("temporary");
    let shard = opened(&folder);
    assert_eq!((shard.rows(), shard.store.written()), (9, Position(9)));
}

/// Invariant 2 of node::recover.
#[test]
fn half_a_store_is_refused_and_never_taken_for_an_empty_one() {
    let folder = TempFolder::new();
    let mut shard = opened(&folder);
    shard.turn(1);
    drop(shard);
    let rows = folder.path().join("rows");
    fs::rename(&rows, folder.path().join("elsewhere")).expect("temporary");
    let refusal = try_open(&folder).err();
    assert!(matches!(refusal, Some(StoreError::Damaged { .. })), "{refusal:?}");
    fs::rename(folder.path().join("elsewhere"), &rows).expect("temporary");
    fs::rename(segment(&folder, 0), folder.path().join("elsewhere")).expect("temporary");
    let refusal = try_open(&folder).err();
    assert!(matches!(refusal, Some(StoreError::Damaged { .. })), "{refusal:?}");
    fs::rename(folder.path().join("elsewhere"), segment(&folder, 0)).expect("temporary");
    assert_eq!(opened(&folder).rows(), 1);
}

#[test]
fn a_segment_of_another_log_is_refused() {
    let (folder, other) = (TempFolder::new(), TempFolder::new());
    opened(&folder).turn(1);
    let (store, _) = open(other.path(), IDENTITY + 1, Durability::Sync, 1 << 20).expect("new");
    drop(store);
    fs::copy(segment(&folder, 0), segment(&other, 1)).expect("temporary");
    let refusal = try_open(&other).err();
    assert!(matches!(refusal, Some(StoreError::LogForeign { .. })), "{refusal:?}");
}

/// Invariant 3 of node::recover.
#[test]
fn rows_that_were_put_back_go_on_with_a_log_of_their_own() {
    let (folder, back) = (TempFolder::new(), TempFolder::new());
    let mut shard = opened(&folder);
    (0..10).for_each(|turn| shard.turn(turn));
    shard.index();
    let to = back.path().join("rows");
    shard.writable.view.link(&folder.path().join("rows"), &to).expect("a moment is found");
    (10..20).for_each(|turn| shard.turn(turn));
    drop(shard);
    let refused = try_open(&back).err().expect("rows without a log");
    assert!(matches!(refused, StoreError::Damaged { .. }), "{refused}");
    fs::remove_dir_all(back.path().join("log")).expect("temporary");
    adopt(back.path(), IDENTITY + 1).expect("rows and no log");
    assert!(matches!(adopt(back.path(), 1), Err(StoreError::LogForeign { .. })), "once");
    let mut shard = opened(&back);
    assert_eq!((shard.rows(), shard.store.written()), (10, Position(10)));
    (30..40).for_each(|turn| shard.turn(turn));
    drop(shard);
    assert_eq!(opened(&back).rows(), 20, "what was acked since is there");
    // The old log goes on from the same position; here it is a stranger.
    fs::copy(segment(&folder, 0), segment(&back, 7)).expect("temporary");
    let refused = try_open(&back).err().expect("a segment of the old log");
    assert!(matches!(refused, StoreError::LogForeign { .. }), "{refused}");
}

/// Knows whether somebody waits for a merge.
#[derive(Default)]
struct Hurrying {
    is_hurried: AtomicBool,
}

impl Brake for Hurrying {
    fn wrote(&self, _: &Folders, _: Written, writer: Writer) -> ControlFlow<()> {
        assert!(writer == Writer::Indexer || self.is_hurried.load(SeqCst), "nobody else merges");
        ControlFlow::Continue(())
    }

    fn hurry(&self) {
        self.is_hurried.store(true, SeqCst);
    }
}

/// Invariant 4 of node::recover.
#[test]
fn a_server_that_always_ends_at_its_start_never_makes_more_tables_than_can_be_counted() {
    let folder = TempFolder::new();
    let (mut most, mut hurried) = (0, 0);
    for start in 0..STORE_NEW_TABLES_MAX + 20 {
        let brake = Arc::new(Hurrying::default());
        let opened =
            open_braked(folder.path(), IDENTITY, Durability::Sync, 1 << 20, Some(brake.clone()));
        let (opened, mut writable) = opened.expect("it opens");
        let mut chunk = Chunk::default();
        // Enough for the brake to be asked.
        for row in 0..2_u32 {
            let value = vec![start as u8; BRAKE_STEP_BYTES];
            chunk.change(&[&[1][..], &row.to_be_bytes()].concat(), Change::Put(&value));
        }
        let covered = Covered { position: writable.covered.position.next(), ..writable.covered };
        writable.view.apply(&[Arc::new(chunk)], covered).expect("the store is well");
        most = most.max(writable.view.new_tables());
        hurried += usize::from(brake.is_hurried.load(SeqCst));
        drop((opened, writable));
    }
    assert!(hurried > 0, "{most} were new: the test does not make enough tables");
    assert!(most <= STORE_NEW_TABLES_MAX + 2, "{most}");
}
