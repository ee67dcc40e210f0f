//! How fast tables are written: slowly and evenly, as long as there is time.
//!
//! The disk does one thing after another. When a table is synced at its end, tens of megabytes go
//! to the disk at once, and a write to the commit log that comes then waits behind all of them
//! (32 MiB each 0.65 s on an idle machine: 30 ms at the 99.9th percentile, 36 at most). So what
//! goes into tables is handed to the disk in small pieces, and no faster than needed. Nobody waits
//! for a piece, and none is synced: each sync would be a flush of the disk's cache and a commit of
//! the file system's journal, which cost a tenth of all messages.
//!
//! Invariants:
//! 1. All shards' new tables together are written no faster than [`TABLE_BYTES_PER_SECOND`], while
//!    little waits to be indexed.
//! 2. While a shard's store is opened its compaction waits, at most [`OPENING_MS_MAX`]: whoever
//!    restarts waits for the log to be read and for nothing else.
//! 3. The fuller an overlay is the faster tables are written, in the end without a bound: the brake
//!    never makes senders wait.
//! 4. How much of its chunks a table being made has is shown as it grows, and nothing of it once
//!    the chunks are given back.
//! 5. Compaction waits while the disk has hardly any room: it would not stop at the end of the disk
//!    but fail.
//!
//! Left to others: who writes how much (`store::view::brake`), which files it went to (`young`).

use crate::ids::ShardId;
use crate::limits::{
    MERGE_ROOM_BYTES, OPENING_MS_MAX, OVERLAY_BYTES_MAX, PACE_AHEAD_MS_MAX, TABLE_BYTES_PER_SECOND,
};
use crate::metrics::{Gauge, ShardMetrics};
use crate::node::clock::steady_nanos;
use crate::node::lanes::Lanes;
use crate::node::room::Room;
use crate::node::young::Young;
use crate::store::view::{Brake, Folders, Writer, Written};
use std::ops::ControlFlow;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long the indexer sleeps, at least, when it has worked for a millisecond or a few: what the
/// kernel has to do on its core, such as completing synced writes, may not be done before.
const REST: Duration = Duration::from_micros(50);
/// How often a writer that waits for an opening looks whether it is over.
const LOOK: Duration = Duration::from_millis(5);
const NANOS_PER_SECOND: u64 = 1_000_000_000;
/// Above this part of a full overlay tables are written as fast as the disk can, in hundredths.
const URGENT_PERCENT: u64 = 50;
/// Up to this part nothing is urgent.
const CALM_PERCENT: u64 = 30;
/// How often faster tables are written just before they are urgent.
const HASTE: u64 = 8;

/// The pace of all shards' tables.
pub struct Pace {
    shards: Arc<[Arc<ShardMetrics>]>,
    room: Arc<Room>,
    /// Until when what was written so far takes, at the pace of its time; steady ns.
    taken_until: Mutex<u64>,
    is_stopping: AtomicBool,
}

/// The pace of one shard's tables.
pub struct ShardPace {
    pace: Arc<Pace>,
    metrics: Arc<ShardMetrics>,
    /// The indexer's table.
    table: Mutex<Table>,
    young: Mutex<[Young; 2]>,
    lanes: Lanes,
    /// When compaction may begin at the latest, steady ms; 0: it may.
    opening_until_ms: AtomicU64,
    /// The opening waits for compaction: nothing else is disturbed by it.
    is_hurried: AtomicBool,
}

/// What the indexer makes a table of, and how far it is.
struct Table {
    chunk_bytes: u64,
    written: u64,
    /// Bytes of its chunks that count as indexed in any case.
    credit: u64,
    /// Bytes of chunks for 256 bytes in a table, by the table before: chunks hold what was replaced
    /// or is gone again, too.
    chunk_bytes_of_256: u64,
}

impl Pace {
    /// A pace that looks at how much each shard has waiting.
    pub fn new(shards: Arc<[Arc<ShardMetrics>]>, room: Arc<Room>) -> Arc<Pace> {
        let (taken_until, is_stopping) = (Mutex::new(0), AtomicBool::new(false));
        Arc::new(Pace { shards, room, taken_until, is_stopping })
    }

    /// The brake of one shard whose store is being opened.
    pub fn brake(self: &Arc<Pace>, shard: ShardId) -> Arc<ShardPace> {
        let opening_until_ms = AtomicU64::new(now_ms() + OPENING_MS_MAX);
        let (young, lanes) = (Mutex::default(), Lanes::default());
        let metrics = self.shards[usize::from(shard.0)].clone();
        let table =
            Mutex::new(Table { chunk_bytes: 0, written: 0, credit: 0, chunk_bytes_of_256: 256 });
        let (pace, is_hurried) = (self.clone(), AtomicBool::new(false));
        Arc::new(ShardPace { pace, metrics, table, young, lanes, opening_until_ms, is_hurried })
    }

    /// The indexer has done its work: compaction is given up, it can go on after the next start.
    pub fn stop(&self) {
        self.is_stopping.store(true, Relaxed);
    }

    /// Bytes a second now; `None`: as fast as can be.
    fn bytes_per_second(&self) -> Option<u64> {
        let waiting = |shard: &Arc<ShardMetrics>| shard.gauge(Gauge::OverlayBytes);
        let most = self.shards.iter().map(waiting).max().unwrap_or(0);
        pace_at(most * 100 / OVERLAY_BYTES_MAX as u64)
    }

    /// How long a writer should wait that has just written so many bytes, ns.
    fn wait_ns(&self, bytes: usize, now_ns: u64) -> u64 {
        let Some(pace) = self.bytes_per_second() else { return 0 };
        let takes_ns = (bytes as u64).saturating_mul(NANOS_PER_SECOND) / pace;
        let mut until = self.taken_until.lock().unwrap_or_else(PoisonError::into_inner);
        let most = now_ns + PACE_AHEAD_MS_MAX * 1_000_000;
        *until = (*until).max(now_ns).saturating_add(takes_ns).min(most);
        *until - now_ns
    }
}

/// The pace when the fullest overlay is so full, in hundredths; `None`: unbounded.
fn pace_at(percent: u64) -> Option<u64> {
    if percent >= URGENT_PERCENT {
        return None;
    }
    let above = percent.saturating_sub(CALM_PERCENT);
    let haste = TABLE_BYTES_PER_SECOND * (HASTE - 1) * above / (URGENT_PERCENT - CALM_PERCENT);
    Some(TABLE_BYTES_PER_SECOND + haste)
}

impl ShardPace {
    /// The store is open.
    pub fn opened(&self) {
        self.is_hurried.store(false, Relaxed);
        self.opening_until_ms.store(0, Relaxed);
    }

    /// The indexer begins to make a table of so many bytes of chunks.
    pub fn begin_table(&self, chunk_bytes: usize) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        (table.chunk_bytes, table.written) = (chunk_bytes as u64, 0);
    }

    /// The indexer waits before the next table: so many bytes of its chunks count as indexed
    /// meanwhile, and while it is made until it has more.
    pub fn give_credit(&self, bytes: u64) {
        self.table.lock().unwrap_or_else(PoisonError::into_inner).credit = bytes;
        self.metrics.set(Gauge::IndexedBytes, bytes);
    }

    /// The table is there, and its chunks were given back.
    pub fn end_table(&self) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bytes) = (table.chunk_bytes * 256).checked_div(table.written) {
            table.chunk_bytes_of_256 = bytes.min(4 * 256);
        }
        table.credit = 0;
        self.metrics.set(Gauge::IndexedBytes, 0);
    }

    /// How fast each lane should merge.
    pub fn lanes(&self) -> &Lanes {
        &self.lanes
    }

    /// How many shards share the pace.
    pub fn shards(&self) -> usize {
        self.pace.shards.len()
    }

    /// What its shard shows.
    pub fn metrics(&self) -> &ShardMetrics {
        &self.metrics
    }

    /// How long whoever has just written so many bytes should wait, ns, whatever he writes.
    pub fn wait_ns(&self, bytes: usize, now_ns: u64) -> u64 {
        self.pace.wait_ns(bytes, now_ns)
    }

    fn show_table(&self, bytes: usize) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.written += bytes as u64;
        let indexed = (table.written * table.chunk_bytes_of_256 / 256).max(table.credit);
        self.metrics.set(Gauge::IndexedBytes, indexed.min(table.chunk_bytes));
    }

    fn hand_over(&self, folders: &Folders, written: Written) {
        let mut young = self.young.lock().unwrap_or_else(PoisonError::into_inner);
        let [tables, contents] = &mut *young;
        tables.wrote(&folders.tables, written.tables);
        if written.apart > 0 {
            contents.wrote(&folders.contents, written.apart);
        }
    }

    /// Merges are given up from now on.
    pub fn is_stopping(&self) -> bool {
        self.pace.is_stopping.load(Relaxed)
    }

    /// A merge that finds no room would end the store: it waits for some, until the server stops.
    pub fn lacks_room(&self) -> bool {
        !self.is_stopping() && !self.pace.room.has(MERGE_ROOM_BYTES)
    }

    fn is_opening(&self) -> bool {
        now_ms() < self.opening_until_ms.load(Relaxed)
    }
}

impl Brake for ShardPace {
    fn wrote(&self, folders: &Folders, written: Written, writer: Writer) -> ControlFlow<()> {
        if writer == Writer::Indexer && self.is_opening() {
            return ControlFlow::Continue(());
        }
        while self.is_opening() || writer != Writer::Indexer && self.lacks_room() {
            std::thread::sleep(LOOK);
        }
        if writer == Writer::Indexer {
            self.show_table(written.bytes());
        }
        if self.is_hurried.load(Relaxed) {
            return ControlFlow::Continue(());
        }
        self.hand_over(folders, written);
        if self.is_stopping() {
            return ControlFlow::Break(());
        }
        let now_ns = steady_nanos();
        let wait_ns = match writer {
            Writer::Indexer => {
                self.lanes.came(written.tables, now_ns);
                self.pace.wait_ns(written.bytes(), now_ns)
            }
            Writer::Merger(lane) => self.lanes.wait_ns(lane, written.bytes(), now_ns),
        };
        if wait_ns > 0 {
            std::thread::sleep(Duration::from_nanos(wait_ns));
        }
        ControlFlow::Continue(())
    }

    fn rest(&self) {
        let is_urgent = self.pace.bytes_per_second().is_none();
        if !is_urgent && !self.is_opening() && !self.is_hurried.load(Relaxed) {
            std::thread::sleep(REST);
        }
    }

    fn hurry(&self) {
        self.opening_until_ms.store(0, Relaxed);
        self.is_hurried.store(true, Relaxed);
    }
}

fn now_ms() -> u64 {
    steady_nanos() / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::view::tests::TempFolder;
    use crate::store::view::tiers::Lane;

    fn pace(overlay_bytes: usize) -> Arc<Pace> {
        let metrics = Arc::new(ShardMetrics::default());
        metrics.set(Gauge::OverlayBytes, overlay_bytes as u64);
        Pace::new([metrics].into(), Room::endless())
    }

    fn folders(folder: &TempFolder) -> Folders {
        let folder = folder.path().to_owned();
        Folders { tables: folder.clone(), contents: folder }
    }

    fn bytes(tables: usize) -> Written {
        Written { tables, apart: 0 }
    }

    /// Invariant 1 of node::pace.
    #[test]
    fn all_tables_together_keep_to_the_pace() {
        let pace = pace(0);
        let (mut now_ns, mut written) = (1_000, 0);
        for _ in 0..1_000 {
            written += 100_000;
            now_ns += pace.wait_ns(100_000, now_ns);
        }
        let expected = written * NANOS_PER_SECOND / TABLE_BYTES_PER_SECOND;
        assert!((expected - expected / 100..=expected + 2_000).contains(&now_ns), "{now_ns}");
        // Time that was not used is not made up for.
        now_ns += 10 * NANOS_PER_SECOND;
        assert!(pace.wait_ns(100_000, now_ns) > 0);
    }

    /// Invariant 3 of node::pace.
    #[test]
    fn the_fuller_an_overlay_the_faster_tables_are_written() {
        assert_eq!(pace_at(0), Some(TABLE_BYTES_PER_SECOND));
        let paces: Vec<u64> =
            (0..=100).map(|percent| pace_at(percent).unwrap_or(u64::MAX)).collect();
        assert!(paces.is_sorted());
        assert_eq!(pace(OVERLAY_BYTES_MAX).wait_ns(1 << 30, 5), 0);
        // Whatever was written in a hurry is not waited for later.
        let calm = pace(0);
        assert!(calm.wait_ns(1 << 40, 5) <= PACE_AHEAD_MS_MAX * 1_000_000);
    }

    /// Invariant 2 of node::pace.
    #[test]
    fn compaction_waits_until_the_store_is_open_and_the_indexer_does_not() {
        let (folder, brake) = (TempFolder::new(), pace(0).brake(ShardId(0)));
        assert!(brake.wrote(&folders(&folder), bytes(1), Writer::Indexer).is_continue());
        let (done, is_done) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let goes_on = brake.wrote(&folders(&folder), bytes(1), Writer::Merger(Lane::New));
                done.send(goes_on.is_continue())
            });
            assert!(is_done.recv_timeout(LOOK * 4).is_err(), "it waits");
            brake.opened();
            assert_eq!(is_done.recv(), Ok(true), "it goes on");
        });
        brake.hurry();
        let taken_until = *brake.pace.taken_until.lock().expect("no panic yet");
        assert!(
            brake
                .wrote(&folders(&folder), bytes(usize::MAX), Writer::Merger(Lane::New))
                .is_continue()
        );
        let after = *brake.pace.taken_until.lock().expect("no panic yet");
        assert_eq!(after, taken_until, "an opening waits for it: it keeps to no pace");
        brake.opened();
        brake.pace.stop();
        assert!(brake.wrote(&folders(&folder), bytes(1), Writer::Merger(Lane::New)).is_break());
    }

    /// Invariant 5 of node::pace.
    #[test]
    fn compaction_waits_for_room_and_not_when_the_server_stops() {
        let metrics = Arc::<ShardMetrics>::default();
        let folder = TempFolder::new();
        std::fs::create_dir_all(folder.path()).expect("temporary");
        let brake = Pace::new([metrics].into(), Room::without_any()).brake(ShardId(0));
        brake.opened();
        assert!(
            brake.wrote(&folders(&folder), bytes(1), Writer::Indexer).is_continue(),
            "it has looked"
        );
        let (done, is_done) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let goes_on = brake.wrote(&folders(&folder), bytes(1), Writer::Merger(Lane::New));
                done.send(goes_on.is_continue())
            });
            assert!(is_done.recv_timeout(LOOK * 4).is_err(), "it waits");
            brake.pace.stop();
            assert_eq!(is_done.recv(), Ok(false), "it is given up");
        });
    }

    /// Invariant 4 of node::pace.
    #[test]
    fn what_a_table_being_made_has_is_shown_in_bytes_of_its_chunks() {
        let (folder, brake) = (TempFolder::new(), pace(OVERLAY_BYTES_MAX).brake(ShardId(0)));
        brake.opened();
        let shown = || brake.metrics.gauge(Gauge::IndexedBytes);
        // The first is measured: of 300 bytes of chunks 100 come into the table.
        for expected in [[50, 100], [150, 300]] {
            brake.begin_table(300);
            for indexed in expected {
                assert!(brake.wrote(&folders(&folder), bytes(50), Writer::Indexer).is_continue());
                assert_eq!(shown(), indexed);
            }
            assert!(
                brake.wrote(&folders(&folder), bytes(50), Writer::Merger(Lane::New)).is_continue()
            );
            assert_eq!(shown(), expected[1], "compaction makes no table of chunks");
            brake.end_table();
            assert_eq!(shown(), 0);
        }
        brake.give_credit(200);
        assert_eq!(shown(), 200, "it waits before it is made");
        brake.begin_table(300);
        for expected in [200, 300] {
            assert!(brake.wrote(&folders(&folder), bytes(50), Writer::Indexer).is_continue());
            assert_eq!(shown(), expected);
        }
    }
}
