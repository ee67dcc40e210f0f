//! The indexer's steps by hand, and its thread as the system sees it.

use super::*;
use crate::limits::STORE_NEW_TABLES_MAX;
use crate::node::manifest_file;
use crate::node::mesh::bells;
use crate::node::pace::Pace;
use crate::store::Store;
use crate::store::batch::Change;
use crate::store::manifest::Manifest;
use crate::store::view::tests::TempFolder;
use std::fs;

const DURABILITY: Durability = Durability::Sync;

fn opening(folder: &TempFolder) -> Opening {
    Opening { folder: folder.path().to_owned(), durability: DURABILITY, cache_bytes: 1 << 20 }
}

fn charge() -> (Charge, Receiver<Notice>) {
    let (notices, heard) = channel();
    let charge = Charge {
        notices,
        store: None,
        pace: None,
        merger: None,
        gathered: Vec::new(),
        gathered_bytes: 0,
        since_ms: 0,
        wants_segment: false,
        not_before_ms: 0,
        merging: Merging::default(),
    };
    (charge, heard)
}

/// An indexer of two shards that does what a test says, and what its shards hear.
fn indexer() -> (Indexer, [Receiver<Notice>; 2]) {
    let (_, jobs) = channel();
    let ((one, heard), (other, too)) = (charge(), charge());
    let bells = bells(2).expect("eventfds");
    let cuts = Arc::new(Cuts::new(std::env::temp_dir(), bells.clone()));
    (
        Indexer {
            jobs,
            charges: vec![one, other],
            bells,
            cuts,
            pace: Pace::new(vec![Arc::default(); 2].into(), Room::endless()),
            room: Room::endless(),
            turns: Turns::new(Room::endless()),
            identity: 9,
        },
        [heard, too],
    )
}

fn chunk(turn: u64) -> Arc<Chunk> {
    let mut chunk = Chunk::default();
    chunk.change(b"\x01row", Change::Put(&turn.to_le_bytes()));
    chunk.note(Position(turn));
    Arc::new(chunk)
}

/// What was heard, in a word each.
fn words(heard: &Receiver<Notice>) -> Vec<(&'static str, u64)> {
    let word = |notice| match notice {
        Notice::Applied(position) => ("applied", position.0),
        Notice::Synced(position) => ("synced", position.0),
        Notice::Made(..) => ("made", 0),
        Notice::Spare(_) => ("spare", 0),
        Notice::Unmerged => ("unmerged", 0),
        Notice::Kept(groups) => ("kept", groups),
        Notice::Failed(_) => ("failed", 0),
    };
    heard.try_iter().map(word).collect()
}

#[test]
fn a_shard_hears_that_tables_are_merged_no_more_when_nobody_sends_anything() {
    let folder = TempFolder::new();
    let (mut indexer, [heard, _]) = indexer();
    let (jobs, inbox) = channel();
    indexer.jobs = inbox;
    indexer.open(ShardId(0), &opening(&folder)).expect("the folder is ours");
    let merger = indexer.charges[0].merger.as_ref();
    merger.expect("it is open").give_up_old();
    let thread = std::thread::spawn(|| indexer.run());
    let told = heard.recv_timeout(Duration::from_secs(60));
    assert!(matches!(told, Ok(Notice::Unmerged)), "it looks by itself");
    drop(jobs);
    thread.join().expect("all that was handed over is on disk");
}

/// Invariant 1 of node::indexer.
#[test]
fn a_shard_hears_of_its_chunks_when_their_table_is_on_disk() {
    let folder = TempFolder::new();
    let (mut indexer, [heard, _]) = indexer();
    let opened = indexer.open(ShardId(0), &opening(&folder)).expect("ours");
    for turn in [1, 2] {
        indexer.perform(Job::Apply(ShardId(0), chunk(turn)));
    }
    assert_eq!(words(&heard), [], "gathered is not applied");
    indexer.index(0);
    assert_eq!(words(&heard), [("applied", 1), ("applied", 2), ("synced", 2)]);
    let row = |view: &crate::store::view::View| view.get(b"\x01row", <[u8]>::to_vec);
    let expected = Some(2_u64.to_le_bytes().to_vec());
    assert_eq!(row(&opened.view).expect("the store is well"), expected);
    drop((indexer, opened));
    // The log has nothing: what is found again is the LSM's.
    let (opened, writable) = recover::open(folder.path(), 9, DURABILITY, 1 << 20).expect("ours");
    assert_eq!(row(&opened.view).expect("the store is well"), expected);
    assert_eq!(writable.covered.position, Position(2));
}

/// The nice value and the cores of each thread of this process but the indexers themselves.
fn threads() -> Vec<(String, i32, String)> {
    let mut all = Vec::new();
    for task in fs::read_dir("/proc/self/task").expect("Linux") {
        let path = task.expect("Linux").path();
        // A thread of another test may just have ended.
        let read = |name| fs::read_to_string(path.join(name)).unwrap_or_default();
        let (name, stat, status) = (read("comm"), read("stat"), read("status"));
        let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let nice = fields.split_whitespace().nth(16).and_then(|nice| nice.parse().ok());
        let cores = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        if let (Some(nice), Some(cores)) = (nice, cores)
            && name.trim() != "indexer"
        {
            all.push((name.trim().to_owned(), nice, cores.trim().to_owned()));
        }
    }
    all
}

/// Invariant 2 of node::indexer.
#[test]
fn those_who_merge_share_the_indexers_core_and_its_low_priority() {
    let folder = TempFolder::new();
    let allowed = rustix::thread::sched_getaffinity(None).expect("Linux");
    let last = (0..1024).rev().find(|core| allowed.is_set(*core)).expect("we run on one");
    let bells = bells(1).expect("an eventfd");
    let cuts = Arc::new(Cuts::new(folder.path().to_owned(), bells.clone()));
    let (mut links, end) = start(
        &bells,
        &cuts,
        &Pace::new(vec![Arc::default(); 2].into(), Room::endless()),
        &Room::endless(),
        IndexerCore::Last,
        &[last],
    )
    .expect("a thread");
    let link = links.pop().expect("one for each bell");
    let opened = link.open(opening(&folder)).expect("ours");
    let (cores, lanes) = (last.to_string(), crate::store::view::tiers::Lane::ALL.len());
    // A thread has the name of the one that made it until it runs.
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    loop {
        let all = threads();
        let mergers = all.iter().filter(|(name, ..)| name.starts_with("merger-0-"));
        let ours = mergers.filter(|(_, nice, set)| *nice >= NICENESS && *set == cores).count();
        if ours >= lanes {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{ours} on {cores} of {all:?}");
        std::thread::yield_now();
    }
    drop((opened, link, links));
    end.recv().expect("the indexer ends with its last link");
}

/// Invariant 3 of node::indexer.
#[test]
fn chunks_are_gathered_until_they_are_old_or_many() {
    let (mut charge, _heard) = charge();
    assert!(!charge.is_due(u64::MAX), "there is nothing to index");
    charge.gather(chunk(1));
    let since_ms = charge.since_ms;
    charge.gather(chunk(2));
    assert_eq!(charge.since_ms, since_ms, "the oldest counts");
    assert!(!charge.is_due(since_ms + INDEX_MS - 1));
    assert!(charge.is_due(since_ms + INDEX_MS));
    let mut large = Chunk::default();
    large.change(b"\x01row", Change::Put(&vec![7; INDEX_BYTES / 4]));
    let large = Arc::new(large);
    for count in 1..=4 {
        assert!(!charge.is_due(charge.since_ms), "{count}");
        charge.gather(large.clone());
    }
    assert!(charge.is_due(charge.since_ms), "as many bytes as a table should have");
}

/// Invariant 4 of node::indexer.
#[test]
fn a_shard_whose_tables_are_not_merged_waits_and_others_do_not() {
    let (folder, other) = (TempFolder::new(), TempFolder::new());
    let (mut indexer, [heard, too]) = indexer();
    let _opened = indexer.open(ShardId(0), &opening(&folder)).expect("ours");
    let _too = indexer.open(ShardId(1), &opening(&other)).expect("ours");
    // As if so many were made just now and none was merged.
    (0..STORE_NEW_TABLES_MAX).for_each(|_| indexer.charges[0].merging.made(now_ms()));
    assert!(!indexer.charges[0].merging.may_make(STORE_NEW_TABLES_MAX, now_ms()));
    indexer.charges[0].not_before_ms = u64::MAX;
    for shard in [0, 1] {
        indexer.perform(Job::Apply(ShardId(shard), chunk(1)));
        indexer.charges[usize::from(shard)].since_ms = 0;
        if indexer.charges[usize::from(shard)].is_due(now_ms()) {
            indexer.index(usize::from(shard));
        }
    }
    assert_eq!((words(&heard), words(&too)), (vec![], vec![("applied", 1), ("synced", 1)]));
    indexer.charges[0].not_before_ms = 0;
    indexer.index(0);
    assert_eq!(words(&heard), [("applied", 1), ("synced", 1)]);
}

/// Invariant 7 of node::indexer.
#[test]
fn what_finds_no_room_waits_until_there_is() {
    let folder = TempFolder::new();
    let (mut indexer, [heard, _]) = indexer();
    let _opened = indexer.open(ShardId(0), &opening(&folder)).expect("ours");
    indexer.room = Room::without_any();
    indexer.perform(Job::Apply(ShardId(0), chunk(1)));
    indexer.index(0);
    indexer.perform(Job::MakeSegment(ShardId(0)));
    assert!(words(&heard).is_empty(), "neither made nor failed");
    assert!(!indexer.charges[0].is_due(now_ms()), "it is not tried all the time");
    assert!(indexer.charges[0].wants_segment_now(now_ms() + DISK_RETRY_MS));
    indexer.room = Room::endless();
    indexer.perform(Job::Apply(ShardId(0), chunk(2)));
    indexer.index(0);
    indexer.make_segment(ShardId(0));
    assert_eq!(words(&heard), [("applied", 1), ("applied", 2), ("synced", 2), ("made", 0)]);
    assert!(!indexer.charges[0].wants_segment);
}

/// Invariant 1 of node::log_record.
#[test]
fn a_segment_is_in_the_record_when_the_shard_hears_of_it() {
    let folder = TempFolder::new();
    let (mut indexer, [heard, _]) = indexer();
    drop(indexer.open(ShardId(0), &opening(&folder)).expect("ours"));
    indexer.make_segment(ShardId(0));
    assert_eq!(words(&heard), [("made", 0)]);
    drop(indexer);
    let open = || recover::open(folder.path(), 7, Durability::Sync, 1 << 20).map(drop);
    for number in [1, 0] {
        let segment = log_files::path(&folder.path().join("log"), number);
        let aside = folder.path().join("aside");
        fs::rename(&segment, &aside).expect("it was made");
        let refusal = open().expect_err("it may have held something").to_string();
        assert!(refusal.contains(&segment.display().to_string()), "{refusal}");
        fs::rename(&aside, &segment).expect("temporary");
    }
    open().expect("all are there");
}

/// Invariant 5 of node::indexer.
#[test]
fn after_an_error_nothing_more_of_that_shard_is_applied_and_it_is_told() {
    let (folder, healthy) = (TempFolder::new(), TempFolder::new());
    let (mut indexer, [heard, other]) = indexer();
    let _opened = indexer.open(ShardId(0), &opening(&folder)).expect("ours");
    let _too = indexer.open(ShardId(1), &opening(&healthy)).expect("ours");
    // Nowhere to put a table.
    fs::remove_dir_all(folder.path().join("rows/keyspaces/1/tables")).expect("fjall's tables");
    for turn in [1, 2] {
        for shard in [0, 1] {
            indexer.perform(Job::Apply(ShardId(shard), chunk(turn)));
            indexer.index(usize::from(shard));
        }
        indexer.perform(Job::MakeSegment(ShardId(0)));
    }
    assert_eq!(words(&heard), [("failed", 0)], "once, and nothing after it");
    let expected = [("applied", 1), ("synced", 1), ("applied", 2), ("synced", 2)];
    assert_eq!(words(&other), expected);
}

/// Invariant 6 of node::indexer.
#[test]
fn a_cut_has_the_chunks_before_it_and_none_behind_it() {
    let folder = TempFolder::new();
    let (mut indexer, [heard, _]) = indexer();
    let cuts = Arc::new(Cuts::new(folder.path().to_owned(), bells(1).expect("an eventfd")));
    indexer.cuts = cuts.clone();
    let place = Opening { folder: folder.path().join("shard-0"), ..opening(&folder) };
    fs::create_dir_all(folder.path()).expect("temporary");
    let manifest = Manifest::new(1).expect("a count in range");
    manifest_file::write(folder.path(), &manifest).expect("temporary");
    let _opened = indexer.open(ShardId(0), &place).expect("ours");
    for turn in [1, 2, 3] {
        indexer.perform(Job::Apply(ShardId(0), chunk(turn)));
    }
    let number = cuts.want().expect("nothing else is made");
    indexer.perform(Job::Cut(ShardId(0), Cut { number, position: Position(3) }));
    assert_eq!(words(&heard).last(), Some(&("synced", 3)), "out of turn");
    indexer.perform(Job::Apply(ShardId(0), chunk(4)));
    indexer.index(0);
    let cut = folder.path().join("backups/cut-1/shard-0/rows");
    let view = crate::store::view::View::open(&cut, place_beginning(), 1 << 20).expect("a store");
    let row = view.get(b"\x01row", <[u8]>::to_vec).expect("the store is well");
    assert_eq!(row, Some(3_u64.to_le_bytes().to_vec()));
    assert_eq!(view.covered(&cut).expect("it says so").position, Position(3));
}

fn place_beginning() -> Covered {
    Covered { log: 0, position: Position(0), first_sequence: 1 }
}

#[test]
fn the_indexer_takes_the_last_core_unless_told_otherwise() {
    let cores = [2, 3, 5];
    assert_eq!(cpus(IndexerCore::Last, &cores), [5]);
    assert_eq!(cpus(IndexerCore::At(0), &cores), [2]);
    assert_eq!(cpus(IndexerCore::At(4), &cores), [3]);
    assert_eq!(cpus(IndexerCore::Shared, &cores), cores);
    assert_eq!(cpus(IndexerCore::Last, &[7]), [7]);
}
