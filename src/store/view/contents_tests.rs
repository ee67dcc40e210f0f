//! What lies apart from tables: read, damaged, removed.

use super::tests::{TempFolder, open, open_apart};
use super::tiers::{Lane, Step};
use super::{Braked, CONTENTS, KEYSPACE, View, open_database};
use crate::ids::UserId;
use crate::limits::{APART_TABLE_BYTES, STORE_STALE_MIN_BYTES};
use crate::store::keys::Key;
use crate::store::tests::{Dice, rows, value};
use crate::store::{Batch, Direction, Store, StoreError};
use fjall::{KeyspaceCreateOptions, PersistMode};
use std::fs;
use std::path::PathBuf;

/// Messages of a user; four of them are a pack.
const MESSAGES: u64 = 64;
const MESSAGE_BYTES: usize = 4_000;

fn message(user: i64, seq: u64) -> (Key, Vec<u8>) {
    let key = Key::message(UserId::new(user).expect("positive"), seq);
    let mut bytes = vec![2 + (seq % 100) as u8; MESSAGE_BYTES];
    bytes[1..9].copy_from_slice(&user.to_le_bytes());
    (key, bytes)
}

/// A table of some users' messages.
fn put(view: &mut View, users: std::ops::Range<i64>) {
    let mut batch = Batch::new();
    for (key, bytes) in users.flat_map(|user| (0..MESSAGES).map(move |seq| message(user, seq))) {
        batch.put(&key, &bytes);
    }
    view.write(&batch).expect("the store is well");
}

/// A table that takes all messages away whose seq is below; of so many groups none went.
fn remove(view: &mut View, users: std::ops::Range<i64>, below: u64) -> u64 {
    let mut batch = Batch::new();
    for (key, _) in users.flat_map(|user| (0..below).map(move |seq| message(user, seq))) {
        batch.remove(&key);
    }
    let mut changes: Vec<_> = batch.iter().collect();
    changes.sort_unstable_by_key(|(key, _)| *key);
    view.ingest(batch.size(), changes.into_iter()).expect("the store is well")
}

fn merge(view: &View, from: u8, to: u8) {
    view.merge(Lane::Old, Step::Merge(from, to)).expect("the store is well");
}

/// Whether exactly these messages are there.
fn holds(view: &View, users: std::ops::Range<i64>, seqs: std::ops::Range<u64>) {
    for user in users {
        let expected: Vec<_> = seqs
            .clone()
            .map(|seq| message(user, seq))
            .map(|(key, bytes)| (key.to_vec(), bytes))
            .collect();
        let (from, to) = (message(user, 0).0, message(user, MESSAGES).0);
        assert!(rows(view, (&from, &to), Direction::Forward) == expected, "of user {user}");
        for seq in 0..MESSAGES {
            let (key, bytes) = message(user, seq);
            let is_there = seqs.contains(&seq);
            assert_eq!(value(view, &key), is_there.then_some(bytes), "{user}: {seq}");
        }
    }
}

/// The files of contents, and the bytes in each.
fn files(view: &View) -> Vec<(PathBuf, u64)> {
    let entries = fs::read_dir(view.rows.path().join(CONTENTS)).expect("it is there");
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("it stays"))
        .map(|entry| (entry.path(), entry.metadata().expect("it stays").len()))
        .collect();
    files.sort();
    files
}

fn bytes(view: &View) -> u64 {
    files(view).iter().map(|(_, bytes)| bytes).sum()
}

/// Invariant 2 of store::view::contents.
#[test]
fn contents_lie_apart_from_large_tables_only() {
    let folder = TempFolder::new();
    let mut view = open(&folder);
    let user_bytes = MESSAGES as usize * MESSAGE_BYTES;
    put(&mut view, 1..(APART_TABLE_BYTES / user_bytes) as i64);
    assert_eq!(files(&view), [], "it is a small one");
    let large = 100..(102 + APART_TABLE_BYTES / user_bytes) as i64;
    put(&mut view, large.clone());
    let apart = bytes(&view);
    assert!(apart >= APART_TABLE_BYTES as u64 && files(&view).len() == 1, "{apart}");
    assert!(view.levels().levels[0].bytes < APART_TABLE_BYTES as u64 + 1_000_000);
    holds(&view, large.clone(), 0..MESSAGES);
    // No merge touches it.
    let before = files(&view);
    merge(&view, 0, 6);
    assert_eq!(files(&view), before);
    drop(view);
    let view = open(&folder);
    holds(&view, large, 0..MESSAGES);
    holds(&view, 1..3, 0..MESSAGES);
}

/// Invariant 1 of store::view::contents.
#[test]
fn damaged_contents_are_an_error_and_never_read_as_others() {
    let (folder, mut dice) = (TempFolder::new(), Dice(11));
    let mut view = open_apart(&folder);
    put(&mut view, 1..3);
    let (path, length) = files(&view).remove(0);
    let whole = fs::read(&path).expect("just written");
    let mut refused = 0;
    for _ in 0..200 {
        let mut bytes = whole.clone();
        match dice.below(8) {
            0 => bytes.truncate(dice.below(length) as usize),
            _ => bytes[dice.below(length) as usize] ^= 1 + dice.below(255) as u8,
        }
        // In place: the file is open.
        fs::write(&path, &bytes).expect("temporary");
        for seq in (0..MESSAGES).step_by(4) {
            let (key, expected) = message(1 + (seq % 2) as i64, seq);
            match view.get(&key, <[u8]>::to_vec) {
                Ok(found) => assert_eq!(found, Some(expected)),
                Err(StoreError::Unreadable(_)) => refused += 1,
                Err(error) => panic!("{error}"),
            }
        }
    }
    assert!(refused > 100, "{refused}");
    fs::write(&path, whole).expect("temporary");
    holds(&view, 1..3, 0..MESSAGES);
}

#[test]
fn what_cannot_be_read_stays_when_its_neighbours_are_to_go() {
    let folder = TempFolder::new();
    let mut view = open_apart(&folder);
    put(&mut view, 1..3);
    let (path, _) = files(&view).remove(0);
    let whole = fs::read(&path).expect("just written");
    fs::write(&path, whole.iter().map(|byte| !byte).collect::<Vec<u8>>()).expect("temporary");
    assert_eq!(remove(&mut view, 1..2, 5), 1, "that it stays is told");
    assert!(view.get(&message(1, 9).0, |_| ()).is_err(), "it was not lost with what was to go");
    fs::write(&path, whole).expect("temporary");
    holds(&view, 1..3, 0..MESSAGES);
}

/// Invariant 2 of store::view.
#[test]
fn a_store_without_its_contents_is_refused() {
    let folder = TempFolder::new();
    let mut view = open(&folder);
    put(&mut view, 5..6);
    let contents = view.rows.path().join(CONTENTS);
    drop(view);
    fs::remove_dir(contents).expect("it is empty");
    let mut view = open_apart(&folder);
    holds(&view, 5..6, 0..MESSAGES);
    put(&mut view, 1..3);
    put(&mut view, 3..5);
    let ((one, _), contents) = (files(&view).remove(0), view.rows.path().join(CONTENTS));
    drop(view);
    fs::remove_file(one).expect("it was there");
    let is_refused = || {
        let opened = View::open(folder.path(), super::tests::BEGINNING, 1 << 20);
        matches!(opened.err(), Some(StoreError::Broken { .. }))
    };
    assert!(is_refused() && is_refused(), "and so it stays");
    fs::remove_dir_all(contents).expect("it was there");
    assert!(is_refused() && is_refused(), "and so it stays");
}

/// Invariant 3 of store::view::contents.
#[test]
fn removed_contents_leave_the_disk() {
    let folder = TempFolder::new();
    let mut view = open_apart(&folder);
    (0..4).for_each(|table| put(&mut view, 1 + table * 5..1 + (table + 1) * 5));
    merge(&view, 0, 6);
    let all = bytes(&view);
    assert!(all >= 4 * STORE_STALE_MIN_BYTES);
    // All of one file goes, half of another, little of a third.
    assert_eq!(remove(&mut view, 1..6, MESSAGES), 0);
    remove(&mut view, 6..11, MESSAGES / 2);
    remove(&mut view, 11..12, 4);
    merge(&view, 0, 6);
    let (mut merges, levels) = (0, view.levels());
    let (half, rest) = (all / 4 / 2, levels.rest);
    assert!((half * 9 / 10..half * 11 / 10 + all / 50).contains(&rest), "{rest} of {all}");
    assert!(Step::Merge(4, 6).bytes(&levels) > rest, "room for it is asked for");
    while let Some(Step::Merge(from, to)) = Lane::Old.next(&view.levels()) {
        merge(&view, from, to);
        merges += 1;
        assert!(merges < 5, "what frees nothing is not tried again and again");
    }
    let left = bytes(&view);
    assert!(left < all * 11 / 16 && left > all * 9 / 16, "{left} of {all}");
    let check = |view: &View| {
        holds(view, 1..6, 0..0);
        holds(view, 6..11, MESSAGES / 2..MESSAGES);
        holds(view, 11..12, 4..MESSAGES);
        holds(view, 12..21, 0..MESSAGES);
    };
    check(&view);
    drop(view);
    check(&open(&folder));
}

/// Invariant 6 of store::view::tiers.
#[test]
fn stale_contents_that_newer_tables_speak_of_are_not_merged_for_in_vain() {
    let folder = TempFolder::new();
    let mut view = open_apart(&folder);
    put(&mut view, 1..20);
    let all = bytes(&view);
    remove(&mut view, 1..20, MESSAGES / 2);
    // The file belongs to level 2: a merge of what is old does not see it.
    merge(&view, 0, 2);
    assert_eq!(Lane::Old.next(&view.levels()), Some(Step::Merge(4, 6)));
    merge(&view, 4, 6);
    assert_eq!(Lane::Old.next(&view.levels()), None, "it did not help");
    holds(&view, 1..20, MESSAGES / 2..MESSAGES);
    // It comes down with newer ones, and then it does.
    view.merge(Lane::Middle, Step::Move(2, 4)).expect("the store is well");
    assert_eq!(Lane::Old.next(&view.levels()), Some(Step::Merge(4, 6)));
    merge(&view, 4, 6);
    let left = bytes(&view);
    assert!((all * 7 / 16..all * 9 / 16).contains(&left), "{left} of {all}");
    holds(&view, 1..20, MESSAGES / 2..MESSAGES);
}

#[test]
fn a_file_that_a_crash_left_unfinished_is_not_there_at_all() {
    let folder = TempFolder::new();
    let mut view = open_apart(&folder);
    put(&mut view, 1..3);
    let before = files(&view);
    fs::write(view.rows.path().join(CONTENTS).join("99"), "half a file").expect("temporary");
    drop(view);
    let mut view = open_apart(&folder);
    assert_eq!(files(&view), before);
    put(&mut view, 3..5);
    holds(&view, 1..5, 0..MESSAGES);
}

#[test]
fn a_store_of_an_earlier_server_goes_on_with_all_in_its_tables() {
    let folder = TempFolder::new();
    let braked = Braked::default();
    let database = open_database(folder.path(), 0, &braked).expect("the folder is ours");
    let options = || KeyspaceCreateOptions::default().manual_journal_persist(true);
    let made = database.keyspace(KEYSPACE, options).expect("the folder is ours");
    database.persist(PersistMode::SyncAll).expect("the folder is ours");
    drop((made, database));
    let mut view = open_apart(&folder);
    (0..3).for_each(|table| put(&mut view, 1 + table * 3..1 + (table + 1) * 3));
    remove(&mut view, 1..4, MESSAGES / 2);
    merge(&view, 0, 6);
    assert!(!view.rows.path().join(CONTENTS).exists());
    drop(view);
    let view = open(&folder);
    holds(&view, 1..4, MESSAGES / 2..MESSAGES);
    holds(&view, 4..10, 0..MESSAGES);
}
