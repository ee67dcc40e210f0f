//! Merging by threads, over stores of a few rows.

use super::*;
use crate::limits::STORE_MERGED_TABLES;
use crate::metrics::ShardMetrics;
use crate::node::pace::Pace;
use crate::store::tests::{put, rows, value};
use crate::store::view::tests::{BEGINNING, TempFolder, bytes_of, flip, open, open_apart};
use crate::store::{Direction, Position, Store};
use std::sync::mpsc::channel;

/// Far longer than any step takes.
const PATIENCE: Duration = Duration::from_secs(60);

struct House {
    pace: Arc<Pace>,
    turns: Arc<Turns>,
}

impl House {
    fn new(room: Arc<Room>) -> House {
        let shards: Arc<[_]> = [Arc::<ShardMetrics>::default()].into();
        House { pace: Pace::new(shards, room.clone()), turns: Turns::new(room) }
    }

    fn start(&self, view: &View) -> Merger {
        let brake = self.pace.brake(ShardId(0));
        view.brake(brake.clone());
        brake.opened();
        Merger::start(ShardId(0), view, &brake, &self.turns).expect("threads")
    }

    fn stop(self, merger: Merger) {
        self.pace.stop();
        drop(merger);
    }
}

/// Makes new tables of one row each.
fn make_tables(view: &mut View, count: usize) {
    for _ in 0..count {
        let number = view.written().next().0;
        put(view, format!("{number:08}").as_bytes(), b"row");
        put(view, b"last", number.to_string().as_bytes());
    }
}

fn wait_until(mut is_so: impl FnMut() -> bool) {
    let (_keep, never) = channel::<()>();
    let began = std::time::Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "it never comes");
        let _ = never.recv_timeout(Duration::from_millis(2));
    }
}

/// Invariant 1 of node::merger.
#[test]
fn whatever_is_due_is_merged() {
    let (folder, house) = (TempFolder::new(), House::new(Room::endless()));
    let mut view = open(&folder);
    make_tables(&mut view, STORE_MERGED_TABLES);
    let merger = house.start(&view);
    wait_until(|| view.levels().levels[2].runs > 0);
    make_tables(&mut view, STORE_MERGED_TABLES);
    merger.poke();
    wait_until(|| view.new_tables() < STORE_MERGED_TABLES && view.levels().levels[2].runs > 1);
    assert!(merger.failure().is_none());
    assert_eq!(value(&view, b"00000001"), Some(b"row".to_vec()));
    let newest = (view.written().0 - 1).to_string().into_bytes();
    assert_eq!(value(&view, b"last"), Some(newest), "the newest value");
    house.stop(merger);
}

/// Invariant 2 of node::merger.
#[test]
fn what_is_old_is_merged_by_one_at_a_time_and_where_there_is_room() {
    for room in [Room::without_any(), Room::endless()] {
        let (folder, house) = (TempFolder::new(), House::new(room.clone()));
        let mut view = open(&folder);
        let brake = house.pace.brake(ShardId(0));
        let merger = Merger::start(ShardId(0), &view, &brake, &house.turns).expect("threads");
        let shared = merger.shared.clone();
        make_tables(&mut view, 1);
        let (step, levels) = (Step::Merge(0, 6), view.levels());
        let others_turn = house.turns.old.lock().expect("no panic yet");
        let (done, is_done) = channel();
        let old = std::thread::spawn(move || done.send(shared.merge_old(step, &levels)));
        assert!(is_done.recv_timeout(Duration::from_millis(50)).is_err(), "it is not its turn");
        drop(others_turn);
        let merged = is_done.recv_timeout(PATIENCE).expect("it is").expect("the store is well");
        assert!(old.join().expect("no panic").is_ok());
        assert_eq!(merged, room.has(u64::MAX), "only where there is room");
        assert_eq!(view.levels().levels[6].runs, usize::from(merged));
        house.stop(merger);
    }
}

/// Invariant 5 of node::merger.
#[test]
fn stopped_in_the_midst_of_a_merge_it_ends_and_lets_go_of_the_store() {
    let (folder, house) = (TempFolder::new(), House::new(Room::endless()));
    let mut view = open(&folder);
    // More than the least pace merges in a minute.
    let large = vec![7; 8 << 20];
    for number in 0..STORE_MERGED_TABLES {
        put(&mut view, &[number as u8 + 1], &large);
    }
    let brake = house.pace.brake(ShardId(0));
    view.brake(brake.clone());
    // The store is never said to be open: the merge waits in its midst.
    let merger = Merger::start(ShardId(0), &view, &brake, &house.turns).expect("threads");
    wait_until(|| std::fs::read_dir(folder.path().join("keyspaces/1/tables")).is_ok());
    assert_eq!(view.written(), Position(STORE_MERGED_TABLES as u64));
    brake.opened();
    house.stop(merger);
    drop((view, brake));
    assert_eq!(value(&open(&folder), &[1]), Some(large));
}

/// Invariant 1 of store::view::link.
#[test]
fn what_is_linked_while_lanes_merge_is_whole() {
    let (folder, other, house) =
        (TempFolder::new(), TempFolder::new(), House::new(Room::endless()));
    let mut view = open(&folder);
    let merger = house.start(&view);
    let rounds = 4 * STORE_MERGED_TABLES as u64;
    for round in 1..=rounds {
        make_tables(&mut view, 1);
        merger.poke();
        let to = other.path().join(round.to_string());
        view.link(folder.path(), &to).expect("a moment is found");
    }
    house.stop(merger);
    for round in 1..=rounds {
        let to = other.path().join(round.to_string());
        let copy = View::open(&to, BEGINNING, 1 << 20).expect("it is a store");
        let number = (2 * round - 1).to_string().into_bytes();
        assert_eq!(value(&copy, b"last"), Some(number), "round {round}");
    }
}

/// Invariant 4 of node::merger.
#[test]
fn a_lane_that_fails_rests_and_the_others_go_on() {
    let (folder, house) = (TempFolder::new(), House::new(Room::endless()));
    let mut view = open(&folder);
    make_tables(&mut view, 1);
    let merger = house.start(&view);
    merger.give_up_old();
    assert!(merger.has_news() && !merger.has_news(), "once");
    make_tables(&mut view, STORE_MERGED_TABLES);
    merger.poke();
    wait_until(|| view.levels().levels[2].runs > 0);
    assert!(merger.failure().is_none(), "new tables are merged");
    house.stop(merger);
}

/// Invariant 4 of node::merger.
#[test]
fn what_the_system_refuses_is_told_once_and_lets_a_lane_rest() {
    let (folder, house) = (TempFolder::new(), House::new(Room::endless()));
    let mut view = open(&folder);
    make_tables(&mut view, STORE_MERGED_TABLES);
    std::fs::remove_dir_all(folder.path().join("keyspaces/1/tables")).expect("fjall's tables");
    let merger = house.start(&view);
    wait_until(|| merger.has_news());
    assert!(matches!(&*merger.shared.failed(), Some(StoreError::Disk(_))));
    merger.poke();
    assert!(!merger.has_news() && merger.failure().is_none(), "once");
    house.stop(merger);
}

/// Invariant 4 of node::merger.
#[test]
fn damage_is_an_error_when_there_are_as_many_new_tables_as_may_be() {
    let (folder, house) = (TempFolder::new(), House::new(Room::endless()));
    let mut view = open(&folder);
    make_tables(&mut view, STORE_MERGED_TABLES);
    for path in bytes_of(&folder.path().join("keyspaces/1/tables")).keys() {
        flip(path, 40);
    }
    let merger = house.start(&view);
    wait_until(|| merger.has_news());
    while view.new_tables() < STORE_NEW_TABLES_MAX {
        assert!(merger.failure().is_none(), "there may be more");
        make_tables(&mut view, 1);
        merger.poke();
    }
    assert!(matches!(merger.failure(), Some(StoreError::Unmerged(_))));
    assert!(merger.failure().is_none(), "once");
    house.stop(merger);
}

/// Invariant 3 of node::merger.
#[test]
fn want_of_descriptors_is_told_from_other_errors() {
    let of = |errno: Errno| StoreError::Folder { folder: "rows".into(), source: errno.into() };
    assert!(passes(&of(Errno::MFILE)) && passes(&of(Errno::NFILE)) && passes(&of(Errno::NOSPC)));
    assert!(!passes(&of(Errno::IO)) && !passes(&StoreError::Failed));
}

/// Invariant 2 of store::view::listed.
#[test]
fn what_is_listed_while_tables_come_and_are_merged_has_its_contents() {
    let (folder, house) = (TempFolder::new(), House::new(Room::endless()));
    let mut view = open_apart(&folder);
    let (merger, is_done) = (house.start(&view), AtomicBool::new(false));
    let found = |view: &View| rows(view, (b"a", b"b"), Direction::Forward);
    let readers = [view.reader(), view.reader()];
    std::thread::scope(|scope| {
        for reader in &readers {
            scope.spawn(|| {
                while !is_done.load(Relaxed) {
                    assert!(found(reader).iter().all(|(_, value)| value.len() == 2_000));
                }
            });
        }
        for number in 0..8 * STORE_MERGED_TABLES as u8 {
            put(&mut view, &[b'a', number], &[number; 2_000]);
            merger.poke();
        }
        is_done.store(true, Relaxed);
    });
    assert_eq!(found(&view).len(), 8 * STORE_MERGED_TABLES);
    house.stop(merger);
}
