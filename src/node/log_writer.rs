//! Performs what a shard's log wants, on the shard's own ring, and passes chunks to the indexer.
//!
//! Invariants:
//! 1. After a write or sync that failed every step fails: the shard stops and acks nothing more.
//! 2. After each write the disk rests for one and a half times as long as that took,
//!    [`LOG_REST_MS_MAX`] at most, unless [`LOG_GATHER_BYTES`] wait: what comes meanwhile goes into
//!    one write and not into many.
//! 3. A disk that keeps the log waiting for [`DISK_SLOW_MS`] is shown to be slow while it does.
//!
//! At 20,000 messages a second a write cost the machine more than the messages in it, and the
//! shard as much. With the rest there are 4,500 writes a second and not 8,000, and the median of an
//! ack is 0.1 ms longer.
//!
//! A write is on disk when one request says so, or, where the disk has a cache and cannot put a
//! single write through it, when the flush behind it does (`node::disk_cache` tells which).
//!
//! It decides nothing: what is written, synced, handed out and used again is said by
//! `store::recent` and `store::log`, which are told how it went.
//!
//! Why an ack means "on disk", as the argument at the head of `store` goes on here: `step` hands
//! the ring one write with `RWF_DSYNC`, or with a flush behind it, and only when that whole request
//! has succeeded does `written` tell the log, whose durable position is all that lets acks go. A
//! request that failed leaves that position where it was, for good: invariant 1.

use crate::limits::{DISK_SLOW_MS, LOG_GATHER_BYTES, LOG_REST_MS_MAX, LOG_SYNC_MS};
use crate::metrics::{Counter, Gauge, ShardMetrics, Stage};
use crate::node::clock::steady_nanos;
use crate::node::indexer::{Link, Notice};
use crate::node::log_files::LogFiles;
use crate::node::ring::{Ends, Ring};
use crate::node::shard_loop::ShardError;
use crate::node::slowness::Slowness;
use crate::store::StoreError;
use crate::store::aligned::AlignedBuffer;
use crate::store::log::Outcome;
use crate::store::recent::Recent;
use rustix::io::Errno;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What the disk was asked for and has not said yet.
#[derive(Clone, Copy)]
struct InFlight {
    /// The file.
    place: u32,
    /// Steady ns.
    begun: u64,
}

/// One shard's hands for its log.
pub struct LogWriter {
    link: Link,
    files: LogFiles,
    metrics: Arc<ShardMetrics>,
    /// The write and the sync in flight.
    writing: Option<InFlight>,
    syncing: Option<InFlight>,
    sync_asked_ms: u64,
    slowness: Slowness,
    /// Until when the disk rests, steady ns.
    rests_until: u64,
    failure: Option<(PathBuf, Errno)>,
}

impl LogWriter {
    /// Writes to files that are open, and passes chunks along a link.
    pub fn new(link: Link, files: LogFiles, metrics: Arc<ShardMetrics>) -> LogWriter {
        LogWriter {
            link,
            files,
            metrics,
            writing: None,
            syncing: None,
            sync_asked_ms: 0,
            slowness: Slowness::default(),
            rests_until: 0,
            failure: None,
        }
    }

    /// Keeps what the kernel does for the log away from the shards, as far as it lets us.
    pub fn bind_workers(&self, ring: &mut Ring) {
        if let Err(error) = ring.bind_workers(self.link.cores()) {
            tracing::warn!(%error, "the kernel's workers cannot be bound to the indexer's cores");
        }
    }

    /// The write in flight is done. Returns when that was noticed, steady ns.
    pub fn written(
        &mut self,
        recent: &mut Recent,
        buffer: AlignedBuffer,
        result: Result<(), Errno>,
    ) -> u64 {
        let InFlight { place, begun } = self.writing.take().expect("a write was in flight");
        let now = steady_nanos();
        self.metrics.record(Stage::Sync, now - begun);
        self.rests_until = now + ((now - begun) * 3 / 2).min(LOG_REST_MS_MAX * 1_000_000);
        self.metrics.count(Counter::Syncs, 1);
        self.tell_if_slow(place, (now - begun) / 1_000_000);
        let outcome = self.judge(place, result);
        recent.log_mut().written(buffer, outcome);
        now
    }

    /// The sync in flight is done.
    pub fn synced(&mut self, recent: &mut Recent, result: Result<(), Errno>) {
        let InFlight { place, begun } = self.syncing.take().expect("a sync was in flight");
        self.tell_if_slow(place, (steady_nanos() - begun) / 1_000_000);
        let outcome = self.judge(place, result);
        recent.log_mut().sync_done(outcome);
    }

    fn tell_if_slow(&self, place: u32, took_ms: u64) {
        if took_ms >= DISK_SLOW_MS {
            let segment = self.files.path(place);
            tracing::warn!(
                shard = %self.link.shard,
                segment = %segment.display(),
                took_ms,
                "the disk took that long for the log: it is in trouble or has too much to do, and \
                 all that is to be on disk waits for it"
            );
        }
    }

    fn judge(&mut self, place: u32, result: Result<(), Errno>) -> Outcome {
        let Err(error) = result else { return Outcome::Done };
        self.failure.get_or_insert((self.files.path(place), error));
        Outcome::Failed
    }

    /// Does all that can be done now.
    pub fn step(
        &mut self,
        recent: &mut Recent,
        ring: &mut Ring,
        now_ms: u64,
    ) -> Result<(), ShardError> {
        if let Some((segment, error)) = &self.failure {
            let (segment, source) = (segment.clone(), (*error).into());
            return Err(StoreError::Log { segment, source }.into());
        }
        self.take_notices(recent)?;
        recent.seal_if_old(now_ms);
        self.pass_chunks(recent)?;
        if recent.log_mut().segments_mut().ask() {
            self.link.make_segment()?;
        }
        while recent.ask_spare() {
            self.link.make_chunk()?;
        }
        if now_ms >= self.sync_asked_ms + LOG_SYNC_MS {
            self.sync_asked_ms = now_ms;
            recent.log_mut().ask_sync();
        }
        if self.rest(recent).is_none()
            && let Some(write) = recent.log_mut().next_write()
        {
            self.writing = Some(InFlight { place: write.place, begun: steady_nanos() });
            let file = self.files.file(write.place);
            let ends = if write.syncs { self.files.durable() } else { Ends::Written };
            ring.write(file, write.buffer, write.from, write.offset, ends)?;
            // It should not wait for the rest of the round.
            ring.submit()?;
        }
        if let Some(place) = recent.log_mut().next_sync() {
            self.syncing = Some(InFlight { place, begun: steady_nanos() });
            ring.sync_data(self.files.file(place))?;
        }
        self.see_slowness(recent, now_ms);
        self.show(recent);
        Ok(())
    }

    /// Looks how long the disk has kept the shard waiting.
    fn see_slowness(&mut self, recent: &Recent, now_ms: u64) {
        let begun = |asked: InFlight| asked.begun / 1_000_000;
        let in_flight = self.writing.map(begun).into_iter().chain(self.syncing.map(begun)).min();
        let was_slow = self.slowness.is_slow();
        self.slowness.see(now_ms, in_flight, recent.is_full());
        let is_slow = self.slowness.is_slow();
        match (was_slow, is_slow) {
            (false, true) => tracing::warn!(
                shard = %self.link.shard,
                waits_to_be_written = recent.log().waiting_bytes(),
                waits_to_be_indexed = recent.overlay().size(),
                "the disk is slow: it has kept this shard waiting for over a second"
            ),
            (true, false) => tracing::info!(shard = %self.link.shard, "the disk is slow no more"),
            _ => {}
        }
        self.metrics.set(Gauge::DiskSlow, is_slow.into());
    }

    /// Hands all chunks that may go to the indexer, and a cut behind those that belong to it.
    pub fn pass_chunks(&mut self, recent: &mut Recent) -> Result<(), StoreError> {
        loop {
            if let Some(cut) = recent.next_cut() {
                self.link.cut(cut)?;
            }
            let Some(chunk) = recent.next_chunk() else { return Ok(()) };
            self.link.apply(chunk)?;
        }
    }

    fn take_notices(&mut self, recent: &mut Recent) -> Result<(), StoreError> {
        for notice in self.link.notices() {
            match notice {
                Notice::Applied(position) => recent.applied(position),
                Notice::Synced(position) => recent.released(position),
                Notice::Made(place, file) => {
                    self.files.add(place.number, file);
                    recent.log_mut().segments_mut().add(place);
                }
                Notice::Spare(chunk) => recent.add_spare(*chunk),
                Notice::Unmerged => self.metrics.count(Counter::Unreadable, 1),
                Notice::Kept(groups) => self.tell_of_kept(groups),
                Notice::Failed(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn tell_of_kept(&self, groups: u64) {
        self.metrics.count(Counter::Unreadable, groups);
        tracing::error!(
            shard = %self.link.shard,
            groups,
            "what was removed stays on the disk, for the rows that it is packed with cannot be \
             read; `anser-tools verify` says which file is damaged"
        );
    }

    /// How long the next write is held back for more to come; `None`: there is none, or it may go.
    pub fn rest(&self, recent: &Recent) -> Option<Duration> {
        let is_worth_it = (1..LOG_GATHER_BYTES).contains(&recent.log().waiting_bytes());
        let left = if is_worth_it { self.rests_until.saturating_sub(steady_nanos()) } else { 0 };
        (left > 0).then(|| Duration::from_nanos(left))
    }

    fn show(&self, recent: &Recent) {
        self.metrics.set(Gauge::OverlayBytes, recent.overlay().size() as u64);
        self.metrics.set(Gauge::IndexLag, recent.lag());
        self.metrics.set(Gauge::LogWaitingBytes, recent.log().waiting_bytes() as u64);
        let segments = recent.log().segments();
        self.metrics.set(Gauge::LogSegments, segments.count() as u64);
        self.metrics.set(Gauge::LogRoom, segments.room_until_short());
    }
}

#[cfg(test)]
#[path = "log_writer_tests.rs"]
mod tests;
