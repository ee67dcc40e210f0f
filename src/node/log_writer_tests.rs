//! The log on a real ring, with the indexer behind it, and with a disk that refuses.

use super::*;
use crate::config::IndexerCore;
use crate::limits::{
    CHUNK_BYTES, DISK_SLOW_SHOWN_MS, FIRST_SEGMENT_BYTES, LOG_SEGMENTS_MAX, SEGMENT_BYTES,
    SEGMENT_SPARE_PARTS, SPARE_CHUNKS_AHEAD,
};
use crate::node::cuts::Cuts;
use crate::node::indexer::{self, Opening};
use crate::node::mesh::{Doorbell, bells};
use crate::node::pace::Pace;
use crate::node::recover::Opened;
use crate::node::ring::Completion;
use crate::node::room::Room;
use crate::store::log::Durability;
use crate::store::logged::LoggedStore;
use crate::store::view::View;
use crate::store::view::tests::TempFolder;
use crate::store::{Batch, Position, Store};
use std::sync::mpsc::Receiver;

/// A shard's store, log writer and ring, without the shard.
struct Bench {
    store: LoggedStore<View>,
    writer: LogWriter,
    ring: Ring,
    end: Receiver<()>,
    _bells: Arc<[Doorbell]>,
}

impl Bench {
    fn open(folder: &TempFolder, durability: Durability) -> Bench {
        let bells = bells(1).expect("an eventfd");
        let cuts = Arc::new(Cuts::new(folder.path().to_owned(), bells.clone()));
        let (mut links, end) = indexer::start(
            &bells,
            &cuts,
            &Pace::new(vec![Arc::default(); 2].into(), Room::endless()),
            &Room::endless(),
            IndexerCore::Shared,
            &[0],
        )
        .expect("a thread");
        let link = links.pop().expect("one for each bell");
        let opening =
            Opening { folder: folder.path().to_owned(), durability, cache_bytes: 1 << 20 };
        let Opened { view, log, files } = link.open(opening).expect("ours");
        let bell = bells[0].fd().try_clone_to_owned().expect("a descriptor");
        let ring = Ring::new(bell).expect("this machine has io_uring");
        let writer = LogWriter::new(link, files, Arc::default());
        Bench { store: LoggedStore::new(view, log), writer, ring, end, _bells: bells }
    }

    fn turn(&mut self, number: u32, bytes: usize) -> Position {
        let mut batch = Batch::new();
        batch.put(&[&[1][..], &number.to_be_bytes()].concat(), &vec![number as u8; bytes]);
        self.store.write(&batch).expect("the store is well")
    }

    fn step(&mut self) -> Result<(), ShardError> {
        let recent = self.store.recent().expect("it has a log");
        let now_ms = steady_nanos() / 1_000_000;
        self.writer.step(recent, &mut self.ring, now_ms)?;
        let mut completions = Vec::new();
        self.ring.turn(&mut completions)?;
        for completion in completions {
            let recent = self.store.recent().expect("it has a log");
            match completion {
                Completion::Written { buffer, result } => {
                    self.writer.written(recent, buffer, result);
                }
                Completion::Synced(result) => self.writer.synced(recent, result),
                other => panic!("{other:?} was not asked for"),
            }
        }
        Ok(())
    }

    /// Steps until `enough`, or half a minute has passed.
    fn until(&mut self, what: &str, mut enough: impl FnMut(&mut Bench) -> bool) {
        let begun = steady_nanos();
        while !enough(self) {
            self.step().expect("the disk is well");
            assert!(steady_nanos() - begun < 30_000_000_000, "{what} did not happen");
            std::thread::yield_now();
        }
    }

    fn close(self) {
        drop((self.store, self.writer));
        self.end.recv().expect("the indexer ends with its last link");
    }
}

#[test]
fn turns_become_durable_then_indexed_and_are_there_after_a_restart() {
    for durability in [Durability::Sync, Durability::Async] {
        let folder = TempFolder::new();
        let mut bench = Bench::open(&folder, durability);
        let last = (0..100).map(|number| bench.turn(number, 200)).last().expect("100 turns");
        bench.until("durable", |bench| bench.store.durable() == last);
        bench.until("synced", |bench| bench.store.synced() == last);
        bench.until("indexed", |bench| bench.store.recent().expect("a log").is_settled());
        let value = bench.store.below().get(&[1, 0, 0, 0, 99], <[u8]>::to_vec);
        assert_eq!(value.expect("the store is well"), Some(vec![99; 200]));
        bench.turn(100, 200);
        bench.until("durable", |bench| bench.store.synced() == last.next());
        bench.close();
        let bench = Bench::open(&folder, durability);
        assert_eq!(bench.store.written(), last.next());
        let value = bench.store.get(&[1, 0, 0, 0, 100], <[u8]>::to_vec);
        assert_eq!(value.expect("the store is well"), Some(vec![100; 200]));
        bench.close();
    }
}

#[test]
fn chunks_are_made_ready_when_rows_come_fast() {
    let folder = TempFolder::new();
    let mut bench = Bench::open(&folder, Durability::Sync);
    let spares = |bench: &mut Bench| bench.store.recent().expect("a log").overlay().spares();
    bench.turn(0, 200);
    bench.step().expect("the disk is well");
    let bytes = 512 * 1024;
    for number in 1..=(CHUNK_BYTES / 2 / bytes) as u32 {
        assert_eq!(spares(&mut bench), 0, "rows come slowly so far");
        bench.turn(number, bytes);
    }
    bench.until("spare chunks", |bench| spares(bench) >= SPARE_CHUNKS_AHEAD);
    bench.close();
}

#[test]
fn segments_are_made_before_they_are_needed_and_used_again() {
    let folder = TempFolder::new();
    let mut bench = Bench::open(&folder, Durability::Sync);
    let count = |bench: &mut Bench| bench.store.recent().expect("a log").log().segments().count();
    assert_eq!(count(&mut bench), 1);
    let bytes = 512 * 1024;
    for number in 0..(FIRST_SEGMENT_BYTES / SEGMENT_SPARE_PARTS) as u32 / bytes + 2 {
        let last = bench.turn(number, bytes as usize);
        bench.until("durable", |bench| bench.store.durable() == last);
    }
    bench.until("another segment", |bench| count(bench) == 2);
    // More segments were begun than there are files: one is used again.
    let begun =
        |bench: &mut Bench| bench.store.recent().expect("a log").log().segments().sequence();
    let first = begun(&mut bench);
    let mut number = 0;
    while begun(&mut bench) - first < count(&mut bench) as u64 {
        let last = bench.turn(number % 8, bytes as usize);
        bench.until("durable", |bench| bench.store.durable() == last);
        number += 1;
        assert!(u64::from(number * bytes) < LOG_SEGMENTS_MAX as u64 * SEGMENT_BYTES, "none is");
    }
    bench.close();
}

/// Invariant 2 of node::log_writer.
#[test]
fn the_disk_rests_after_a_write_unless_much_waits() {
    let folder = TempFolder::new();
    let mut bench = Bench::open(&folder, Durability::Sync);
    let last = bench.turn(0, 200);
    bench.until("durable", |bench| bench.store.durable() == last);
    let most = steady_nanos() + LOG_REST_MS_MAX * 1_000_000;
    assert!((1..=most).contains(&bench.writer.rests_until), "it rests, and not for long");
    bench.writer.rests_until = u64::MAX;
    let small = bench.turn(1, 200);
    for _ in 0..100 {
        bench.step().expect("the disk is well");
        assert_eq!(bench.store.durable(), last);
    }
    let recent = bench.store.recent().expect("a log");
    assert!(bench.writer.rest(recent).is_some(), "the shard wakes in time");
    let large = bench.turn(2, LOG_GATHER_BYTES);
    assert!(small < large);
    bench.until("durable", |bench| bench.store.durable() == large);
    let small = bench.turn(3, 200);
    bench.until("durable", |bench| bench.store.durable() == small);
    let recent = bench.store.recent().expect("a log");
    assert!(bench.writer.rest(recent).is_none(), "nothing waits");
    bench.close();
}

/// Invariant 1 of node::log_writer.
#[test]
fn after_a_write_that_failed_nothing_is_acked_and_every_step_fails() {
    let folder = TempFolder::new();
    let mut bench = Bench::open(&folder, Durability::Sync);
    let last = bench.turn(1, 100);
    bench.until("durable", |bench| bench.store.durable() == last);
    let full =
        std::fs::OpenOptions::new().write(true).open("/dev/full").expect("every Linux has it");
    bench.writer.files.add(0, full.into());
    bench.turn(2, 100);
    let begun = steady_nanos();
    let error = loop {
        match bench.step() {
            Err(error) => break error,
            Ok(()) => assert!(steady_nanos() - begun < 30_000_000_000, "it never failed"),
        }
    };
    let words = format!("{error}");
    assert!(words.contains("commit log cannot be written"), "{words}");
    assert!(words.contains("000000.segment"), "{words}");
    assert!(bench.step().is_err(), "and never again");
    assert_eq!(bench.store.durable(), last, "no ack after a failed write");
    assert!(matches!(bench.store.write(&Batch::new()), Err(StoreError::Failed)));
}

/// Invariant 1 of node::log_writer.
#[test]
fn after_a_sync_that_failed_nothing_is_synced_and_every_step_fails() {
    let folder = TempFolder::new();
    let mut bench = Bench::open(&folder, Durability::Async);
    let last = bench.turn(1, 100);
    bench.until("written", |bench| bench.store.durable() == last);
    let recent = bench.store.recent().expect("it has a log");
    recent.log_mut().ask_sync();
    assert_eq!(recent.log_mut().next_sync(), Some(0));
    bench.writer.syncing = Some(InFlight { place: 0, begun: steady_nanos() });
    bench.writer.synced(recent, Err(Errno::IO));
    for _ in 0..3 {
        assert!(bench.step().is_err());
    }
    assert_eq!(bench.store.synced(), Position(0));
    assert!(matches!(bench.store.sync(), Err(StoreError::Failed)));
}

/// Invariant 3 of node::log_writer.
#[test]
fn a_disk_that_keeps_the_log_waiting_is_shown_to_be_slow() {
    let folder = TempFolder::new();
    let mut bench = Bench::open(&folder, Durability::Sync);
    let look = |bench: &mut Bench, ms_later: u64| {
        let recent = bench.store.recent().expect("it has a log");
        bench.writer.see_slowness(recent, steady_nanos() / 1_000_000 + ms_later);
        bench.writer.metrics.gauge(Gauge::DiskSlow)
    };
    let last = bench.turn(1, 100);
    bench.until("written", |bench| bench.store.durable() == last);
    assert_eq!(look(&mut bench, 2 * DISK_SLOW_MS), 0, "nothing waits");
    let in_flight = Some(InFlight { place: 0, begun: steady_nanos() });
    bench.writer.writing = in_flight;
    assert_eq!(look(&mut bench, DISK_SLOW_MS / 2), 0);
    assert_eq!(look(&mut bench, 2 * DISK_SLOW_MS), 1);
    bench.writer.writing = None;
    bench.writer.syncing = in_flight;
    assert_eq!(look(&mut bench, 2 * DISK_SLOW_SHOWN_MS), 1);
    bench.writer.syncing = None;
    assert_eq!(look(&mut bench, 4 * DISK_SLOW_SHOWN_MS), 0);
    bench.close();
}
