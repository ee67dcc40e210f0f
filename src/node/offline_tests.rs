//! Folders with rows in tables and in the log, on real files.

use super::*;
use crate::node::data_folder::{Shards, open_or_create};
use crate::node::recover::tests::{Shard, opened};
use crate::store::Direction;
use crate::store::aligned::BLOCK_BYTES;
use crate::store::view::tests::{TempFolder, bytes_of, flip};
use std::fs;
use std::os::unix::fs::FileExt;

fn turns(shard: &mut Shard, numbers: std::ops::Range<u32>) {
    numbers.for_each(|number| shard.turn(number));
}

/// Invariants 2 and 3 of node::offline.
#[test]
fn rows_of_the_tables_and_of_the_log_are_read_and_nothing_is_changed() {
    let folder = TempFolder::new();
    let mut shard = opened(&folder);
    turns(&mut shard, 0..10);
    shard.index();
    turns(&mut shard, 10..25);
    drop(shard);
    let before = bytes_of(folder.path());
    let shard = OfflineShard::open(ShardId(0), folder.path()).expect("whole");
    assert_eq!((shard.covered.position, shard.last), (Position(10), Position(25)));
    let mut keys = Vec::new();
    let range = Range { from: &[0], to: &[2], direction: Direction::Forward };
    let mut visit = |key: &[u8], _: &[u8]| {
        keys.push(key[1..].to_vec());
        ControlFlow::Continue(())
    };
    shard.scan(range, &mut visit).expect("whole");
    assert_eq!(keys, (0..25_u32).map(|n| n.to_be_bytes().to_vec()).collect::<Vec<_>>());
    let last = shard.get(b"\x02last", <[u8]>::to_vec).expect("whole");
    assert_eq!(last, Some(24_u32.to_le_bytes().to_vec()), "the newest value");
    drop(shard);
    // fjall removes lists of tables that are not in force, as every opening does.
    let after = bytes_of(folder.path());
    let other = after.iter().filter(|(path, bytes)| before.get(*path) != Some(*bytes));
    assert_eq!(other.map(|(path, _)| path).collect::<Vec<_>>(), [] as [&PathBuf; 0]);
    let name = |path: &PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let number = |name: String| name.strip_prefix('v')?.parse::<u64>().ok();
    let is_log_or_table = |path: &&PathBuf| name(path).and_then(number).is_none();
    assert!(before.keys().filter(is_log_or_table).all(|path| after.contains_key(path)));
    assert_eq!(opened(&folder).rows(), 25, "a start finds the same");
}

#[test]
fn a_table_that_is_not_what_was_written_is_told_by_its_name() {
    let folder = TempFolder::new();
    let mut shard = opened(&folder);
    for from in [0, 10] {
        turns(&mut shard, from..from + 10);
        shard.index();
    }
    drop(shard);
    let tables = folder.path().join("rows/keyspaces/1/tables");
    let mut numbers: Vec<u64> = fs::read_dir(&tables)
        .expect("they were made")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    numbers.sort();
    let [.., older, newest] = numbers[..] else { panic!("two tables, not {numbers:?}") };
    let [older, newest] = [older, newest].map(|number| tables.join(number.to_string()));
    let open = || OfflineShard::open(ShardId(0), folder.path());
    let changed = || open().expect("it opens").changed_files().expect("they can be read");
    assert_eq!(changed(), [] as [PathBuf; 0]);
    flip(&older, 30);
    assert_eq!(changed(), std::slice::from_ref(&older));
    flip(&older, 30);
    // This one says how much of the log there is: without it nothing opens.
    flip(&newest, 30);
    let refusal = open().err().expect("it cannot be read").to_string();
    assert!(refusal.contains(&newest.display().to_string()), "{refusal}");
}

#[test]
fn records_are_found_by_their_position_and_missing_ones_are_named() {
    let folder = TempFolder::new();
    let mut shard = opened(&folder);
    turns(&mut shard, 0..20);
    shard.index();
    drop(shard);
    let shard = OfflineShard::open(ShardId(0), folder.path()).expect("whole");
    let mut positions = Vec::new();
    let mut visit = |record: Record<'_>| {
        assert_eq!(record.count(), 2);
        positions.push(record.position.0);
        ControlFlow::Continue(())
    };
    shard.records(Position(5), Position(8), &mut visit).expect("whole");
    assert_eq!(positions, [5, 6, 7, 8]);
    assert_eq!(shard.check_log().expect("whole"), (20, Vec::new()));
    let mut places = Vec::new();
    let mut note = |record: Record<'_>| {
        places.push(record.offset);
        ControlFlow::Continue(())
    };
    shard.records(Position(10), Position(10), &mut note).expect("whole");
    let (first, _) = shard.segments[0];
    drop(shard);
    // A segment was begun after the tenth record of this one was damaged; the tables have it.
    let log = folder.path().join("log");
    let mut block = vec![0; 2 * BLOCK_BYTES];
    let (sequence, first_position) = (first.sequence + 1, Position(21));
    let next = Header { sequence, first: first_position, synced: Position(20), ..first };
    next.write(&mut block);
    fs::write(log_files::path(&log, 1), &block).expect("ours");
    let segment = log_files::path(&log, 0);
    let file = fs::OpenOptions::new().write(true).open(&segment).expect("ours");
    file.write_all_at(&[0xEE; 50], places[0]).expect("ours");
    let shard = OfflineShard::open(ShardId(0), folder.path()).expect("the tables have it all");
    let (whole, gaps) = shard.check_log().expect("it can be read");
    let (first, next) = (Position(10), Position(21));
    assert_eq!((whole, gaps.len()), (9, 1));
    assert_eq!((&gaps[0].segment, gaps[0].first, gaps[0].next), (&segment, first, next));
}

/// Invariant 1 of node::offline.
#[test]
fn a_running_servers_folder_is_refused_and_an_open_one_is_locked() {
    let folder = TempFolder::new();
    let shards = Shards { asked: Some(2), default: 1 };
    let running = open_or_create(folder.path(), shards).expect("new");
    let refused = Offline::open(folder.path()).err().expect("in use").to_string();
    assert!(refused.contains("in use by another server"), "{refused}");
    drop(running);
    let offline = Offline::open(folder.path()).expect("nobody uses it");
    assert_eq!(offline.shards.len(), 2, "shards that were never made are empty");
    assert!(open_or_create(folder.path(), shards).is_err());
    drop(offline);
    open_or_create(folder.path(), shards).expect("it is free");
}
