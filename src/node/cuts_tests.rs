//! Cuts as those see them who ask for them and who link them.

use super::*;
use crate::node::mesh::bells;
use crate::store::Position;
use crate::store::manifest::Manifest;
use crate::store::view::tests::TempFolder;

const LONG: Duration = Duration::from_secs(30);

fn cuts(folder: &TempFolder) -> Cuts {
    fs::create_dir_all(folder.path()).expect("temporary");
    let manifest = Manifest::new(2).expect("a count in range");
    manifest_file::write(folder.path(), &manifest).expect("temporary");
    Cuts::new(folder.path().to_owned(), bells(2).expect("eventfds"))
}

/// Does for one shard what the indexer does.
fn link(cuts: &Cuts, number: u64, shard: u16, outcome: Result<(), StoreError>) {
    let shard = ShardId(shard);
    let rows = cuts.rows_folder(number, shard);
    fs::create_dir_all(&rows).expect("temporary");
    fs::write(rows.join("version"), "1").expect("temporary");
    let files = outcome
        .map(|()| vec![Listed { path: "version".to_owned(), bytes: 1, checksum: checksum(b"1") }]);
    cuts.linked(shard, Cut { number, position: Position(40 + u64::from(shard.0)) }, files);
}

fn folders(folder: &TempFolder) -> Vec<String> {
    let entries = fs::read_dir(folder.path().join(FOLDER)).expect("it was made");
    let name = |entry: io::Result<fs::DirEntry>| entry.expect("temporary").file_name();
    let mut names: Vec<_> =
        entries.map(|entry| name(entry).into_string().expect("ASCII")).collect();
    names.sort();
    names
}

/// Invariant 1 of node::cuts.
#[test]
fn a_cut_is_whole_with_its_list_or_failed_and_gone() {
    let folder = TempFolder::new();
    let cuts = cuts(&folder);
    assert_eq!((cuts.wanted(), cuts.want(), cuts.wanted()), (0, Ok(1), 1));
    assert_eq!(cuts.want(), Err(CutError::Busy), "one at a time");
    cuts.begin();
    assert!(!cuts.have_all_begun(1));
    cuts.begin();
    assert!(cuts.have_all_begun(1));
    link(&cuts, 1, 1, Ok(()));
    assert_eq!(cuts.want(), Err(CutError::Busy), "one shard is missing");
    link(&cuts, 1, 0, Ok(()));
    let list = fs::read_to_string(folder.path().join("backups/cut-1/cut.toml")).expect("whole");
    let list = Inventory::parse(&list).expect("just written");
    let paths: Vec<_> = list.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["manifest.toml", "shard-0/rows/version", "shard-1/rows/version"]);
    assert_eq!((list.shards, list.positions), (2, vec![40, 41]));
    assert_eq!(cuts.want(), Ok(2));
    assert!(!cuts.have_all_begun(2) && cuts.have_all_begun(1));
    link(&cuts, 2, 0, Err(StoreError::Indexer));
    link(&cuts, 2, 1, Ok(()));
    assert_eq!(folders(&folder), ["cut-1"], "what failed is removed");
    assert_eq!(cuts.want(), Ok(3));
}

/// Invariant 2 of node::cuts.
#[test]
fn few_cuts_are_kept_and_none_over_a_start() {
    let folder = TempFolder::new();
    let running = cuts(&folder);
    for number in 1..=4 {
        assert_eq!(running.want(), Ok(number));
        (0..2).for_each(|shard| link(&running, number, shard, Ok(())));
    }
    assert_eq!(folders(&folder), ["cut-3", "cut-4"]);
    assert!(running.remove(3) && !running.remove(3) && !running.remove(1));
    assert_eq!(folders(&folder), ["cut-4"]);
    let next = cuts(&folder);
    next.remove_stale().expect("temporary");
    assert!(!folder.path().join(FOLDER).exists());
    next.remove_stale().expect("there is nothing to remove");
}

/// Invariant 3 of node::cuts.
#[test]
fn who_waits_for_a_cut_has_it_or_has_lost_his_patience() {
    let folder = TempFolder::new();
    let cuts = cuts(&folder);
    assert_eq!(cuts.make(Duration::from_millis(20)), Err(CutError::Late));
    assert_eq!(cuts.make(LONG), Err(CutError::Busy), "it is still being made");
    (0..2).for_each(|shard| link(&cuts, 1, shard, Ok(())));
    for (outcome, is_there) in [(Ok(()), true), (Err(StoreError::Asked), false)] {
        let made = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| cuts.make(LONG));
            while cuts.state().making.is_none() {
                std::thread::yield_now();
            }
            let number = cuts.wanted();
            link(&cuts, number, 0, Ok(()));
            link(&cuts, number, 1, outcome);
            waiting.join().expect("it ends")
        });
        assert_eq!(made.is_ok(), is_there, "{made:?}");
    }
}
