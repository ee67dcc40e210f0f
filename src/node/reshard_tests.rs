//! Folders that must not be resharded, and what is left of them.

use super::*;
use crate::ids::UserId;
use crate::node::data_folder::{Shards, open_or_create};
use crate::store::log::Durability;
use crate::store::rows::{OutboxRow, UserRow};
use crate::store::view::tests::TempFolder;

/// A folder of two shards with some rows in the first, and one in the second.
fn folder(first: &Batch, second: &Batch) -> TempFolder {
    let folder = TempFolder::new();
    let shards = Shards { asked: Some(2), default: 1 };
    open_or_create(folder.path(), shards).expect("new");
    for (shard, batch) in [first, second].into_iter().enumerate() {
        let home = data_folder::shard_folder(folder.path(), ShardId(shard as u16));
        let (_, mut writable) =
            recover::open(&home, 7, Durability::Sync, 1 << 20).expect("it is new");
        if !batch.is_empty() {
            writable.view.write(batch).expect("the disk is well");
        }
    }
    folder
}

fn with<R>(key: &[u8], row: &R) -> Batch
where
    R: for<'a> rkyv::Serialize<crate::store::rows::RowSerializer<'a>>,
{
    let mut batch = Batch::new();
    batch.put_with(key, |bytes| RowWriter::default().append(row, bytes));
    batch
}

fn shards_of(folder: &TempFolder) -> u16 {
    let (manifest, _) = data_folder::open_stopped(folder.path()).expect("it works");
    manifest.shards
}

#[test]
fn what_is_on_its_way_between_shards_is_not_lost() {
    let relay = with(&Key::outbox(ShardId(1), 3, 9), &OutboxRow { author: 2, seq: 1 });
    let lost = folder(&relay, &Batch::new());
    let refused = run(lost.path(), 4, &mut |_| ()).expect_err("it would be lost");
    assert!(matches!(refused, ReshardError::Underway { shards: 2, .. }), "{refused}");
    assert!(refused.to_string().contains("--shards 2"), "{refused}");
    assert_eq!(shards_of(&lost), 2);
    let applied = with(&Key::applied(ShardId(0)), &StreamRow { epoch: 3, sequence: 9 });
    let folder = folder(&relay, &applied);
    let done = run(folder.path(), 4, &mut |_| ()).expect("it has arrived");
    assert_eq!(done, Done::Resharded { rows: 8, shards: 4, parted: 0 });
    assert_eq!(shards_of(&folder), 4);
    assert_eq!(run(folder.path(), 4, &mut |_| ()).expect("it is there"), Done::Already(4));
}

/// Invariant 2 of node::reshard.
#[test]
fn rows_that_do_not_agree_are_left_where_they_are() {
    let user = UserId::new(1024).expect("positive");
    let folder = folder(&with(&Key::user(user), &UserRow::default()), &Batch::new());
    let refused = run(folder.path(), 3, &mut |_| ()).expect_err("he has no profile");
    assert!(refused.to_string().contains("anser-tools verify"), "{refused}");
    assert_eq!(shards_of(&folder), 2);
    let (manifest, _lock) = data_folder::open_stopped(folder.path()).expect("it works");
    let old = open_shards(folder.path(), &manifest).expect("it is whole");
    assert!(old[0].get(&Key::user(user), |_| ()).expect("it is whole").is_some());
}

#[test]
fn rows_for_many_shards_become_few_large_tables() {
    let folder = TempFolder::new();
    let shards = Shards { asked: Some(4), default: 1 };
    let (manifest, _lock) = open_or_create(folder.path(), shards).expect("new");
    let new = manifest.resharded(4).expect("it can");
    let mut writing = Writing::begin(folder.path(), &new).expect("it is new");
    let contents = vec![7; 64 * 1024];
    for user in 1024..3 * 1024 {
        let key = Key::user(UserId::new(user).expect("positive"));
        writing.take(ShardId(0), &key, &contents).expect("the disk is well");
        let gathered: usize = writing.batches.iter().map(Batch::size).sum();
        assert_eq!(writing.gathered_bytes, gathered);
        assert!(gathered < RESHARD_BYTES_MAX, "memory is bounded");
    }
    // What lies apart is of tables large enough for that.
    let apart: u64 = writing.views.iter().map(|view| view.levels().contents).sum();
    assert!(apart > RESHARD_BYTES_MAX as u64 / 2, "{apart} bytes");
}
