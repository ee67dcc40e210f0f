//! The indexer: one thread that opens every shard's LSM, puts sealed chunks into it, syncs it from
//! time to time, and makes the log's files before they are needed.
//!
//! Invariants:
//! 1. A shard hears that its chunk is applied after it is, and that it is synced after that.
//! 2. The LSM's own threads are started from this one, so they share its cores and its priority,
//!    which is below that of the shards.
//! 3. After an error of a shard's LSM nothing more of that shard is applied; the shard is told.
//!
//! Left to others: which chunks may be applied (`store::recent`), what is in them.

use crate::config::IndexerCore;
use crate::ids::ShardId;
use crate::limits::{INDEX_SYNC_BYTES, INDEX_SYNC_MS, SEGMENT_BYTES};
use crate::node::clock::steady_nanos;
use crate::node::log_files;
use crate::node::mesh::Doorbell;
use crate::node::recover::{self, Opened, Writable};
use crate::store::log::Durability;
use crate::store::log::format::Covered;
use crate::store::log::segments::Place;
use crate::store::overlay::chunk::Chunk;
use crate::store::{Position, Store, StoreError};
use rustix::fd::OwnedFd;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::time::Duration;

/// How much less than a shard this thread is worth where they share a core.
const NICENESS: i32 = 10;

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
    MakeSegment(ShardId),
}

/// What a shard is told.
pub enum Notice {
    /// The oldest chunk is in the LSM, up to this position.
    Applied(Position),
    /// The LSM has synced all up to here.
    Synced(Position),
    /// A file for the log.
    Made(Place, OwnedFd),
    /// Nothing more will come.
    Failed(StoreError),
}

/// A shard's end.
pub struct Link {
    shard: ShardId,
    jobs: Sender<Job>,
    notices: Receiver<Notice>,
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

    /// Wants one more file for the log.
    pub fn make_segment(&self) -> Result<(), StoreError> {
        self.ask(Job::MakeSegment(self.shard))
    }

    /// What has happened since.
    pub fn notices(&self) -> impl Iterator<Item = Notice> {
        self.notices.try_iter()
    }

    fn ask(&self, job: Job) -> Result<(), StoreError> {
        self.jobs.send(job).map_err(|_| StoreError::Indexer)
    }
}

/// One shard as the indexer knows it.
struct Charge {
    notices: Sender<Notice>,
    store: Option<Writable>,
    /// Up to here the LSM was synced.
    synced: Position,
    synced_ms: u64,
    unsynced_bytes: usize,
}

struct Indexer {
    jobs: Receiver<Job>,
    charges: Vec<Charge>,
    bells: Arc<[Doorbell]>,
    identity: u64,
}

/// Starts the thread, a link for each bell. What is received in the end says that it has ended,
/// which it does when all links are gone and all that was handed over is applied and synced.
pub fn start(
    bells: &Arc<[Doorbell]>,
    core: IndexerCore,
    cores: &[usize],
) -> io::Result<(Vec<Link>, Receiver<()>)> {
    let (jobs, inbox) = channel();
    let (mut links, mut charges) = (Vec::new(), Vec::new());
    for index in 0..bells.len() {
        let (sender, notices) = channel();
        links.push(Link { shard: ShardId(index as u16), jobs: jobs.clone(), notices });
        charges.push(Charge {
            notices: sender,
            store: None,
            synced: Position(0),
            synced_ms: 0,
            unsynced_bytes: 0,
        });
    }
    let set = cpus(core, cores);
    let (ended, end) = sync_channel(1);
    let indexer = Indexer { jobs: inbox, charges, bells: bells.clone(), identity: identity()? };
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
fn identity() -> io::Result<u64> {
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
            self.sync_due(steady_nanos() / 1_000_000);
        }
        for shard in 0..self.charges.len() {
            self.sync(shard);
        }
    }

    /// The next job, or the time to sync somebody's LSM.
    fn next(&self) -> Result<Job, RecvTimeoutError> {
        match self.charges.iter().any(Charge::is_unsynced) {
            true => self.jobs.recv_timeout(Duration::from_millis(INDEX_SYNC_MS)),
            false => self.jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    fn perform(&mut self, job: Job) {
        match job {
            Job::Open(shard, opening, reply) => {
                let opened = self.open(shard, &opening);
                // A shard that is gone has failed, and the server stops.
                let _ = reply.send(opened);
            }
            Job::Apply(shard, chunk) => self.apply(shard, chunk),
            Job::MakeSegment(shard) => self.make_segment(shard),
        }
    }

    fn open(&mut self, shard: ShardId, opening: &Opening) -> Result<Opened, StoreError> {
        let Opening { folder, durability, cache_bytes } = opening;
        let identity = self.identity.wrapping_add(u64::from(shard.0));
        let (opened, writable) = recover::open(folder, identity, *durability, *cache_bytes)?;
        let charge = &mut self.charges[usize::from(shard.0)];
        charge.synced = writable.covered.position;
        charge.store = Some(writable);
        Ok(opened)
    }

    fn apply(&mut self, shard: ShardId, chunk: Arc<Chunk>) {
        let charge = &mut self.charges[usize::from(shard.0)];
        let Some(store) = &mut charge.store else { return };
        let covered = Covered { position: chunk.last(), ..store.covered };
        let outcome = store.view.apply(&chunk, covered);
        charge.unsynced_bytes += chunk.size();
        // The shard uses its memory again if nobody else holds it.
        drop(chunk);
        match outcome {
            Ok(()) => {
                store.covered = covered;
                self.tell(shard, Notice::Applied(covered.position));
            }
            Err(error) => self.fail(shard, error),
        }
    }

    fn sync_due(&mut self, now_ms: u64) {
        for shard in 0..self.charges.len() {
            let charge = &self.charges[shard];
            let is_old = now_ms >= charge.synced_ms + INDEX_SYNC_MS;
            let is_due = is_old || charge.unsynced_bytes >= INDEX_SYNC_BYTES;
            if is_due && charge.is_unsynced() {
                self.sync(shard);
                self.charges[shard].synced_ms = steady_nanos() / 1_000_000;
            }
        }
    }

    fn sync(&mut self, shard: usize) {
        let charge = &mut self.charges[shard];
        let Some(store) = charge.store.as_mut().filter(|_| charge.unsynced_bytes > 0) else {
            return;
        };
        let outcome = store.view.sync();
        charge.unsynced_bytes = 0;
        charge.synced = store.covered.position;
        let (shard, synced) = (ShardId(shard as u16), charge.synced);
        match outcome {
            Ok(()) => self.tell(shard, Notice::Synced(synced)),
            Err(error) => self.fail(shard, error),
        }
    }

    fn make_segment(&mut self, shard: ShardId) {
        let Some(store) = &mut self.charges[usize::from(shard.0)].store else { return };
        let place = Place { number: store.next_number, bytes: SEGMENT_BYTES };
        match log_files::make(&store.log_folder, place.number, place.bytes) {
            Ok(file) => {
                store.next_number += 1;
                self.tell(shard, Notice::Made(place, file));
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
    fn is_unsynced(&self) -> bool {
        self.unsynced_bytes > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_indexer_takes_the_last_core_unless_told_otherwise() {
        let cores = [2, 3, 5];
        assert_eq!(cpus(IndexerCore::Last, &cores), [5]);
        assert_eq!(cpus(IndexerCore::At(0), &cores), [2]);
        assert_eq!(cpus(IndexerCore::At(4), &cores), [3]);
        assert_eq!(cpus(IndexerCore::Shared, &cores), cores);
        assert_eq!(cpus(IndexerCore::Last, &[7]), [7]);
    }
}
