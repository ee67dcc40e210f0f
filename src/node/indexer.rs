//! The indexer: one thread that opens every shard's LSM, gathers sealed chunks and makes tables of
//! them, and makes the log's files, and memory for chunks, before they are needed.
//!
//! Invariants:
//! 1. A shard hears that its chunks are applied, and synced, after they are: a table is on disk
//!    when it is listed.
//! 2. The threads that merge tables are started from this one, so they share its cores and its
//!    priority, which is below that of the shards.
//! 3. Chunks are gathered for [`INDEX_MS`] at most, until there are [`INDEX_BYTES`]: many small
//!    tables would cost more than a few large ones.
//! 4. While compaction of a shard is behind its tables are made slowly, and in the end not at all:
//!    its chunks wait, and then its senders do. Other shards do not.
//! 5. After an error of a shard's LSM nothing more of that shard is applied; the shard is told.
//! 6. A cut of a shard has all chunks handed over before it and none of those behind it.
//! 7. A segment or table for which the disk has no room waits until there is: nothing fails, no
//!    chunk is dropped.
//!
//! Left to others: which chunks may be applied (`store::recent`), what is in them.

use crate::config::IndexerCore;
use crate::ids::ShardId;
use crate::limits::{DISK_MARGIN_BYTES, DISK_RETRY_MS, INDEX_BYTES, INDEX_MS, SEGMENT_BYTES};
use crate::node::clock::steady_nanos;
use crate::node::cuts::Cuts;
use crate::node::log_files;
use crate::node::log_record;
use crate::node::merger::{Merger, Turns};
use crate::node::merging::Merging;
use crate::node::mesh::Doorbell;
use crate::node::pace::{Pace, ShardPace};
use crate::node::recover::{self, Opened, Writable};
use crate::node::room::Room;
use crate::node::zeros::Zeros;
use crate::store::log::Durability;
use crate::store::log::format::Covered;
use crate::store::log::segments::Place;
use crate::store::overlay::chunk::Chunk;
use crate::store::recent::Cut;
use crate::store::view::Brake;
use crate::store::{Position, StoreError};
use rustix::fd::OwnedFd;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::time::Duration;

/// How much less than a shard this thread is worth where they share a core.
const NICENESS: i32 = 10;
/// How often it looks whether a table is due, or compaction has caught up.
const LOOK: Duration = Duration::from_millis(20);
/// How often it looks after merges when there is nothing else to do.
const IDLE_LOOK: Duration = Duration::from_secs(1);

/// How a shard's store is opened.
#[derive(Clone, Debug)]
pub struct Opening {
    /// The shard's folder.
    pub folder: PathBuf,
    /// What an ack means.
    pub durability: Durability,
    /// Blocks of tables kept in memory, bytes.
    pub cache_bytes: u64,
}

/// What shards ask for.
enum Job {
    Open(ShardId, Opening, SyncSender<Result<Opened, StoreError>>),
    Apply(ShardId, Arc<Chunk>),
    Cut(ShardId, Cut),
    MakeSegment(ShardId),
    MakeChunk(ShardId),
}

/// What a shard is told.
pub enum Notice {
    /// The oldest chunk is in the LSM, up to this position.
    Applied(Position),
    /// The LSM has synced all up to here.
    Synced(Position),
    /// A file for the log.
    Made(Place, OwnedFd),
    /// A chunk to be filled.
    Spare(Box<Chunk>),
    /// Some tables are merged no more.
    Unmerged,
    /// In so many groups of rows what was to go stays: those beside it cannot be read.
    Kept(u64),
    /// Nothing more will come.
    Failed(StoreError),
}

/// A shard's end.
pub struct Link {
    /// Whose it is.
    pub shard: ShardId,
    jobs: Sender<Job>,
    notices: Receiver<Notice>,
    cores: Arc<[usize]>,
}

impl Link {
    /// Opens the shard's store; waits until it is.
    pub fn open(&self, opening: Opening) -> Result<Opened, StoreError> {
        let (reply, answer) = sync_channel(1);
        self.ask(Job::Open(self.shard, opening, reply))?;
        answer.recv().map_err(|_| StoreError::Indexer)?
    }

    /// Hands over a chunk.
    pub fn apply(&self, chunk: Arc<Chunk>) -> Result<(), StoreError> {
        self.ask(Job::Apply(self.shard, chunk))
    }

    /// Wants a cut behind all that was handed over.
    pub fn cut(&self, cut: Cut) -> Result<(), StoreError> {
        self.ask(Job::Cut(self.shard, cut))
    }

    /// Wants one more file for the log.
    pub fn make_segment(&self) -> Result<(), StoreError> {
        self.ask(Job::MakeSegment(self.shard))
    }

    /// Wants one more chunk whose memory is there.
    pub fn make_chunk(&self) -> Result<(), StoreError> {
        self.ask(Job::MakeChunk(self.shard))
    }

    /// Where the indexer runs.
    pub fn cores(&self) -> &[usize] {
        &self.cores
    }

    /// What has happened since.
    pub fn notices(&self) -> impl Iterator<Item = Notice> {
        self.notices.try_iter()
    }

    fn ask(&self, job: Job) -> Result<(), StoreError> {
        self.jobs.send(job).map_err(|_| StoreError::Indexer)
    }
}

/// A file of the log, which is told of before it is used.
fn make_segment(
    folder: &Path,
    place: Place,
    pace: Option<&ShardPace>,
) -> Result<OwnedFd, StoreError> {
    let mut zeros = pace.map(|pace| Zeros::begin(pace, place.bytes));
    let file = log_files::make(folder, place.number, place.bytes, |there| {
        if let Some(zeros) = &mut zeros {
            zeros.wrote(there);
        }
    })?;
    let (places, _) = log_files::find(folder)?;
    log_record::note(folder, &places)?;
    Ok(file)
}

/// One shard as the indexer knows it.
struct Charge {
    notices: Sender<Notice>,
    store: Option<Writable>,
    pace: Option<Arc<ShardPace>>,
    merger: Option<Merger>,
    /// Chunks for the next table, oldest first.
    gathered: Vec<Arc<Chunk>>,
    gathered_bytes: usize,
    /// When the oldest of them came.
    since_ms: u64,
    /// A segment that the shard still wants: there was no room for it.
    wants_segment: bool,
    /// No table or segment is made before: there was no room, or too much to be merged.
    not_before_ms: u64,
    /// How far compaction is.
    merging: Merging,
}

struct Indexer {
    jobs: Receiver<Job>,
    charges: Vec<Charge>,
    bells: Arc<[Doorbell]>,
    cuts: Arc<Cuts>,
    pace: Arc<Pace>,
    room: Arc<Room>,
    turns: Arc<Turns>,
    identity: u64,
}

/// Starts the thread, a link for each bell. What is received in the end says that it has ended,
/// which it does when all links are gone and all that was handed over is on disk.
pub fn start(
    bells: &Arc<[Doorbell]>,
    cuts: &Arc<Cuts>,
    pace: &Arc<Pace>,
    room: &Arc<Room>,
    core: IndexerCore,
    cores: &[usize],
) -> io::Result<(Vec<Link>, Receiver<()>)> {
    let (jobs, inbox) = channel();
    let (mut links, mut charges) = (Vec::new(), Vec::new());
    let set: Arc<[usize]> = cpus(core, cores).into();
    for index in 0..bells.len() {
        let (sender, notices) = channel();
        let (shard, jobs, cores) = (ShardId(index as u16), jobs.clone(), set.clone());
        links.push(Link { shard, jobs, notices, cores });
        charges.push(Charge {
            notices: sender,
            store: None,
            pace: None,
            merger: None,
            gathered: Vec::new(),
            gathered_bytes: 0,
            since_ms: 0,
            wants_segment: false,
            not_before_ms: 0,
            merging: Merging::default(),
        });
    }
    let (ended, end) = sync_channel(1);
    let (bells, cuts, pace, room) = (bells.clone(), cuts.clone(), pace.clone(), room.clone());
    let (turns, identity) = (Turns::new(room.clone()), identity()?);
    let indexer = Indexer { jobs: inbox, charges, bells, cuts, pace, room, turns, identity };
    std::thread::Builder::new().name("indexer".to_owned()).spawn(move || {
        step_back(&set);
        indexer.run();
        // Nobody waits any more when the main thread has given up.
        let _ = ended.send(());
    })?;
    Ok((links, end))
}

/// The cores that the indexer, and the kernel's workers for the log, run on.
pub fn cpus(core: IndexerCore, cores: &[usize]) -> Vec<usize> {
    let last = cores.len().saturating_sub(1);
    match core {
        IndexerCore::Shared => cores.to_vec(),
        IndexerCore::Last => cores[last..].to_vec(),
        IndexerCore::At(place) => vec![cores[usize::from(place) % cores.len()]],
    }
}

/// A number that no other log has.
pub fn identity() -> io::Result<u64> {
    let mut bytes = [0; 8];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

/// Both can be refused by a container; then the indexer is only less polite.
fn step_back(cores: &[usize]) {
    let mut set = rustix::thread::CpuSet::new();
    cores.iter().for_each(|core| set.set(*core));
    if let Err(error) = rustix::thread::sched_setaffinity(None, &set) {
        tracing::warn!(%error, "the indexer cannot be bound to its core");
    }
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::warn!(%error, "the indexer cannot be given a lower priority");
    }
}

impl Indexer {
    fn run(mut self) {
        loop {
            match self.next() {
                Ok(job) => self.perform(job),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            for shard in 0..self.charges.len() {
                if self.charges[shard].merger.as_ref().is_some_and(Merger::has_news) {
                    self.tell(ShardId(shard as u16), Notice::Unmerged);
                }
                if self.charges[shard].is_due(now_ms()) {
                    self.index(shard);
                }
                if self.charges[shard].wants_segment_now(now_ms()) {
                    self.make_segment(ShardId(shard as u16));
                }
            }
        }
        for shard in 0..self.charges.len() {
            while self.make_table(shard) {}
        }
        self.pace.stop();
    }

    /// The next job, or time to look whether a table is due.
    fn next(&self) -> Result<Job, RecvTimeoutError> {
        let is_idle = |charge: &Charge| charge.gathered.is_empty() && !charge.wants_segment;
        self.jobs.recv_timeout(if self.charges.iter().all(is_idle) { IDLE_LOOK } else { LOOK })
    }

    fn perform(&mut self, job: Job) {
        match job {
            Job::Open(shard, opening, reply) => {
                let opened = self.open(shard, &opening);
                // A shard that is gone has failed, and the server stops.
                let _ = reply.send(opened);
            }
            Job::Apply(shard, chunk) => self.charges[usize::from(shard.0)].gather(chunk),
            Job::Cut(shard, cut) => self.cut(shard, cut),
            Job::MakeSegment(shard) => self.make_segment(shard),
            Job::MakeChunk(shard) => self.make_chunk(shard),
        }
    }

    /// Makes a table of what was gathered, and links the store as it is then.
    fn cut(&mut self, shard: ShardId, cut: Cut) {
        while self.make_table(usize::from(shard.0)) {}
        let charge = &self.charges[usize::from(shard.0)];
        let outcome = match &charge.store {
            None => Err(StoreError::Indexer),
            Some(_) if !charge.gathered.is_empty() => Err(StoreError::NoRoom),
            Some(store) => {
                assert_eq!(store.covered.position, cut.position, "all of the cut was handed over");
                let to = self.cuts.rows_folder(cut.number, shard);
                store.view.link(&store.rows_folder, &to)
            }
        };
        self.cuts.linked(shard, cut, outcome);
    }

    fn open(&mut self, shard: ShardId, opening: &Opening) -> Result<Opened, StoreError> {
        let Opening { folder, durability, cache_bytes } = opening;
        let identity = self.identity.wrapping_add(u64::from(shard.0));
        let brake = self.pace.brake(shard);
        let opened =
            recover::open_braked(folder, identity, *durability, *cache_bytes, Some(brake.clone()));
        brake.opened();
        let (opened, writable) = opened?;
        let charge = &mut self.charges[usize::from(shard.0)];
        let merger = Merger::start(shard, &writable.view, &brake, &self.turns);
        let refused = |source| StoreError::Folder { folder: folder.clone(), source };
        charge.merger = Some(merger.map_err(refused)?);
        (charge.store, charge.pace) = (Some(writable), Some(brake));
        Ok(opened)
    }

    /// Makes a table of what was gathered, unless compaction should catch up first.
    fn index(&mut self, shard: usize) {
        let charge = &mut self.charges[shard];
        let Some(store) = &charge.store else { return };
        if let Some(error) = charge.merger.as_ref().and_then(Merger::failure) {
            self.fail(ShardId(shard as u16), error);
        } else if charge.merging.may_make(store.view.new_tables(), now_ms()) {
            self.make_table(shard);
        } else {
            charge.wait_for_merging(now_ms());
        }
    }

    /// Makes a table of the oldest chunks that were gathered, if the disk has room for it. Returns
    /// whether it has.
    fn make_table(&mut self, shard: usize) -> bool {
        let charge = &mut self.charges[shard];
        let (count, bytes) = charge.next_table();
        if !self.room.has(bytes as u64 + DISK_MARGIN_BYTES) {
            charge.not_before_ms = now_ms() + DISK_RETRY_MS;
            return false;
        }
        let (Some(store), Some(pace)) = (&mut charge.store, charge.pace.clone()) else {
            return false;
        };
        let chunks: Vec<_> = charge.gathered.drain(..count).collect();
        charge.gathered_bytes -= bytes;
        let Some(last) = chunks.last() else { return false };
        pace.begin_table(bytes);
        let covered = Covered { position: last.last(), ..store.covered };
        let outcome = store.view.apply(&chunks, covered);
        charge.merging.made(now_ms());
        let shard = ShardId(shard as u16);
        let kept = match outcome {
            Ok(kept) => kept,
            Err(StoreError::NoRoom) => {
                // Somebody else took what there was: the log has it all, and it is tried again.
                charge.gathered.splice(0..0, chunks);
                charge.gathered_bytes += bytes;
                charge.not_before_ms = now_ms() + DISK_RETRY_MS;
                pace.end_table();
                return false;
            }
            Err(error) => {
                self.fail(shard, error);
                return false;
            }
        };
        store.covered = covered;
        if kept > 0 {
            self.tell(shard, Notice::Kept(kept));
        }
        for chunk in chunks {
            let position = chunk.last();
            // The shard uses its memory again if nobody else holds it.
            drop(chunk);
            self.tell(shard, Notice::Applied(position));
        }
        pace.end_table();
        if let Some(merger) = &self.charges[usize::from(shard.0)].merger {
            merger.poke();
        }
        self.tell(shard, Notice::Synced(covered.position));
        true
    }

    fn make_chunk(&self, shard: ShardId) {
        let pace = &self.charges[usize::from(shard.0)].pace;
        let chunk = Chunk::ready(|| pace.iter().for_each(|pace| pace.rest()));
        self.tell(shard, Notice::Spare(Box::new(chunk)));
    }

    fn make_segment(&mut self, shard: ShardId) {
        let charge = &mut self.charges[usize::from(shard.0)];
        let Some(store) = &mut charge.store else { return };
        charge.wants_segment = false;
        let place = Place { number: store.next_number, bytes: SEGMENT_BYTES };
        let made = match self.room.has(SEGMENT_BYTES + DISK_MARGIN_BYTES) {
            true => make_segment(&store.log_folder, place, charge.pace.as_deref()),
            false => Err(StoreError::NoRoom),
        };
        match made {
            Ok(file) => {
                store.next_number += 1;
                self.tell(shard, Notice::Made(place, file));
            }
            Err(StoreError::NoRoom) => {
                charge.wants_segment = true;
                charge.not_before_ms = now_ms() + DISK_RETRY_MS;
            }
            Err(error) => self.fail(shard, error),
        }
    }

    fn fail(&mut self, shard: ShardId, error: StoreError) {
        self.charges[usize::from(shard.0)].store = None;
        self.tell(shard, Notice::Failed(error));
    }

    fn tell(&self, shard: ShardId, notice: Notice) {
        // A shard that is gone hears nothing and needs nothing.
        let _ = self.charges[usize::from(shard.0)].notices.send(notice);
        self.bells[usize::from(shard.0)].ring();
    }
}

impl Charge {
    fn gather(&mut self, chunk: Arc<Chunk>) {
        if self.gathered.is_empty() {
            self.since_ms = now_ms();
        }
        self.gathered_bytes += chunk.size();
        self.gathered.push(chunk);
    }

    fn is_due(&self, now_ms: u64) -> bool {
        let is_old = now_ms >= self.since_ms + INDEX_MS;
        let is_enough = is_old || self.gathered_bytes >= INDEX_BYTES;
        !self.gathered.is_empty() && is_enough && now_ms >= self.not_before_ms
    }

    /// How many chunks the next table is made of, and their bytes: all tables have about the same,
    /// so that the pace of tables is one of bytes.
    fn next_table(&self) -> (usize, usize) {
        let (mut count, mut bytes) = (0, 0);
        for chunk in &self.gathered {
            if bytes >= INDEX_BYTES {
                break;
            }
            (count, bytes) = (count + 1, bytes + chunk.size());
        }
        (count, bytes)
    }

    /// The next table waits. Senders see it come nearer and not all at once.
    fn wait_for_merging(&mut self, now_ms: u64) {
        self.not_before_ms = now_ms + LOOK.as_millis() as u64;
        let (_, bytes) = self.next_table();
        if let Some(pace) = &self.pace {
            pace.give_credit((bytes as f64 * self.merging.nearness(now_ms)) as u64);
        }
    }

    fn wants_segment_now(&self, now_ms: u64) -> bool {
        self.wants_segment && now_ms >= self.not_before_ms
    }
}

fn now_ms() -> u64 {
    steady_nanos() / 1_000_000
}

#[cfg(test)]
#[path = "indexer_tests.rs"]
mod tests;
