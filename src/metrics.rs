//! Counters, gauges and histograms, one set a shard.
//!
//! Invariants:
//! 1. Only its shard writes a set, by relaxed stores without a lock, and reading never disturbs
//!    it; a reader sees each figure whole, not all of one moment.
//! 2. A histogram's buckets are log-linear: no value is off by more than one part in eight.
//!
//! What is kept whole and not counted (the slowest messages, rounds that took long) the shard
//! replaces from time to time by another list: whoever reads has the old one or the new.

use arc_swap::ArcSwap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Declares an enum whose variants index an array, each with its exposition name and help text.
macro_rules! figures {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $text:literal, $help:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(usize)]
        pub enum $name { $(#[doc = $help] $variant),* }

        impl $name {
            /// Every figure, in order.
            pub const ALL: &'static [$name] = &[$($name::$variant),*];

            /// The name in the exposition, without prefix.
            pub fn name(self) -> &'static str {
                match self { $($name::$variant => $text),* }
            }

            /// One sentence for the exposition.
            pub fn help(self) -> &'static str {
                match self { $($name::$variant => $help),* }
            }
        }
    };
}

pub mod message;
pub mod rounds;
pub mod slowest;

use message::Span;
use rounds::{AwayRound, Step};
use slowest::Slices;

figures! {
    /// What only grows.
    Counter {
        Accepted = "connections_accepted_total", "Connections accepted.";
        Closed = "connections_closed_total", "Connections closed, for whatever reason.";
        Authenticated = "authentications_total", "Auth frames that succeeded.";
        MovedIn = "connections_moved_total", "Connections taken over from another shard.";
        HttpRequests = "http_requests_total", "HTTP requests decoded.";
        Forwarded = "http_forwarded_total", "HTTP requests passed on to their shard.";
        Frames = "frames_total", "WebSocket messages decoded.";
        Sent = "messages_sent_total", "Messages stored for their author.";
        SentAgain = "messages_duplicate_total", "Messages sent again and acked again.";
        Delivered = "messages_delivered_total", "Messages stored for their recipient.";
        Pushed = "messages_pushed_total", "Frames with a message put on a recipient's connection.";
        Redelivered = "messages_redelivered_total", "Messages pushed again because no ack came.";
        ServerAcks = "acks_sent_total", "Server acks sent.";
        ClientAcks = "acks_received_total", "Messages acked by their recipient.";
        IgnoredAcks = "acks_ignored_total", "Acks that named nothing in the offline list.";
        OfflineServed = "offline_served_total", "Messages handed out by offline fetches.";
        Minted = "ids_minted_total", "Message ids handed out.";
        Registered = "users_registered_total", "Users registered.";
        Refused = "refusals_total", "Requests and frames refused.";
        Cut = "connections_cut_total", "Connections closed because a bound was reached.";
        MeshFull = "mesh_full_total", "Times a parcel found the mesh full.";
        Unreadable = "unreadable_total", "Reads that met rows on the disk which cannot be read.";
        Forgotten = "messages_forgotten_total", "Messages of a history that retention has removed.";
        Parked = "parked_total", "Requests and parts of lists that waited for rows on a slow disk.";
        Turns = "turns_total", "Turns taken.";
        Syncs = "syncs_total", "Writes to the commit log, or syncs of a store without one.";
        BytesIn = "bytes_received_total", "Bytes received on connections.";
        BytesOut = "bytes_sent_total", "Bytes sent on connections.";
        BytesWritten = "store_bytes_total", "Bytes of row changes written to the store.";
        Unfollowed = "messages_unfollowed_total", "Acks and pushes whose time was not taken.";
    }
}

figures! {
    /// What goes up and down.
    Gauge {
        Connections = "connections", "Connections open now.";
        AuthenticatedNow = "connections_authenticated", "Connections with an authenticated user.";
        UnsentBytes = "unsent_bytes", "Bytes waiting to be sent.";
        HeldBytes = "held_bytes", "Bytes held before an Auth.";
        BodyBytes = "request_bytes", "Bytes of unfinished requests.";
        MeshDepth = "mesh_depth", "Parcels waiting for this shard.";
        DurableLag = "durable_lag", "Turns written but not yet durable.";
        OverlayBytes = "overlay_bytes", "Bytes of rows that the LSM does not have yet.";
        IndexedBytes = "indexed_bytes", "Bytes of them that a table being made has.";
        IndexLag = "index_lag", "Turns that the LSM does not have yet.";
        LogWaitingBytes = "log_waiting_bytes", "Bytes that wait to be written to the log.";
        LogSegments = "log_segments", "Files of the commit log.";
        LogRoom = "log_room_bytes", "Room in the one being filled; 0: a write waits for the next.";
        SetAside = "messages_set_aside", "Messages whose recipient's rows cannot be read.";
        DiskFree = "disk_free_bytes", "Room on the disk of the data folder.";
        DiskFull = "disk_full", "1 while the disk has too little room: nothing new is stored.";
        DiskSlow = "disk_slow", "1 while the disk keeps the shard waiting for over a second.";
        AcceptPaused = "accept_paused", "1 while accepting pauses for want of descriptors.";
        StoreFailed = "store_failed", "1 once the store has failed: nothing is acked any more.";
        Heartbeat = "heartbeat_seconds", "Steady time of the shard's last turn; kept in ms.";
    }
}

figures! {
    /// Where a shard's time goes, in nanoseconds.
    Stage {
        Turn = "turn", "From the first request of a turn to its rows handed to the store.";
        Write = "write", "Handing a turn's rows to the store.";
        Sync = "sync", "One write to the commit log, with its sync unless acks do not wait for it.";
        Release = "release", "Putting a turn's effects on their connections.";
        Away = "away", "One round of a shard: meanwhile it hears nobody.";
    }
}

/// Buckets: 8 to each power of two, up to 2^40 (18 minutes in nanoseconds).
pub const BUCKETS: usize = 38 * 8;

/// A log-linear histogram.
pub struct Histogram {
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram {
            buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
        }
    }
}

/// The bucket that a value falls into.
fn bucket_of(value: u64) -> usize {
    if value < 8 {
        return value as usize;
    }
    let power = 63 - value.leading_zeros() as usize;
    let eighth = (value >> (power - 3)) as usize & 7;
    ((power - 2) * 8 + eighth).min(BUCKETS - 1)
}

/// The smallest value above a bucket.
pub fn bucket_end(bucket: usize) -> u64 {
    if bucket < 8 {
        return bucket as u64 + 1;
    }
    let (power, eighth) = (bucket / 8 + 2, bucket % 8);
    (9 + eighth as u64) << (power - 3)
}

impl Histogram {
    /// Notes one value. Only the owning shard calls this.
    pub fn record(&self, value: u64) {
        add(&self.buckets[bucket_of(value)], 1);
        add(&self.sum, value);
    }

    /// Counts by bucket, and the sum of all values.
    pub fn read(&self) -> (Vec<u64>, u64) {
        (self.buckets.iter().map(|cell| cell.load(Relaxed)).collect(), self.sum.load(Relaxed))
    }
}

/// A store, not a locked add: there is one writer.
fn add(cell: &AtomicU64, value: u64) {
    cell.store(cell.load(Relaxed).wrapping_add(value), Relaxed);
}

/// The reasons of [`crate::api::Refusal`] that are counted apart; see [`ShardMetrics::refuse`].
pub const REASONS_MAX: usize = 32;
/// The shards that relays are counted apart for; what `limits` allows is not more.
pub const TARGETS_MAX: usize = 256;

/// One shard's figures.
pub struct ShardMetrics {
    counters: Box<[AtomicU64]>,
    gauges: Box<[AtomicU64]>,
    stages: Box<[Histogram]>,
    spans: Box<[Histogram]>,
    away: Box<[AtomicU64]>,
    slowest: ArcSwap<Slices>,
    away_rounds: ArcSwap<Vec<AwayRound>>,
    refusals: [(std::sync::OnceLock<&'static str>, AtomicU64); REASONS_MAX],
    relays: Box<[AtomicU64]>,
}

impl Default for ShardMetrics {
    fn default() -> ShardMetrics {
        let zeros = |count: usize| (0..count).map(|_| AtomicU64::new(0)).collect();
        ShardMetrics {
            counters: zeros(Counter::ALL.len()),
            gauges: zeros(Gauge::ALL.len()),
            stages: Stage::ALL.iter().map(|_| Histogram::default()).collect(),
            spans: Span::ALL.iter().map(|_| Histogram::default()).collect(),
            away: zeros(Step::ALL.len()),
            slowest: ArcSwap::default(),
            away_rounds: ArcSwap::default(),
            refusals: std::array::from_fn(|_| Default::default()),
            relays: zeros(TARGETS_MAX),
        }
    }
}

impl ShardMetrics {
    /// Adds to a counter. Only the owning shard calls this.
    pub fn count(&self, counter: Counter, more: u64) {
        add(&self.counters[counter as usize], more);
    }

    /// Sets a gauge. Only the owning shard calls this.
    pub fn set(&self, gauge: Gauge, value: u64) {
        self.gauges[gauge as usize].store(value, Relaxed);
    }

    /// Notes a duration of a stage, ns. Only the owning shard calls this.
    pub fn record(&self, stage: Stage, nanos: u64) {
        self.stages[stage as usize].record(nanos);
    }

    /// Notes a span of a message, ns. Only the owning shard calls this.
    pub fn record_span(&self, span: Span, nanos: u64) {
        self.spans[span as usize].record(nanos);
    }

    /// Counts a round that took long under what it was doing, and shows `last` from now on: the
    /// last such rounds, oldest first. Only the owning shard calls this.
    pub fn note_away(&self, doing: Step, last: Vec<AwayRound>) {
        add(&self.away[doing as usize], 1);
        self.away_rounds.store(Arc::new(last));
    }

    /// Shows other slowest messages from now on. Only the owning shard calls this.
    pub fn show_slowest(&self, slices: Slices) {
        self.slowest.store(Arc::new(slices));
    }

    /// Counts a refusal under its reason. Only the owning shard calls this.
    pub fn refuse(&self, reason: &'static str) {
        self.count(Counter::Refused, 1);
        let cell = self.refusals.iter().find(|(name, _)| *name.get_or_init(|| reason) == reason);
        if let Some((_, count)) = cell {
            add(count, 1);
        }
    }

    /// Counts messages posted to another shard, by its number. Only the owning shard calls this.
    pub fn relay(&self, to: u16, more: u64) {
        add(&self.relays[usize::from(to)], more);
    }

    /// A counter's value.
    pub fn counter(&self, counter: Counter) -> u64 {
        self.counters[counter as usize].load(Relaxed)
    }

    /// A gauge's value.
    pub fn gauge(&self, gauge: Gauge) -> u64 {
        self.gauges[gauge as usize].load(Relaxed)
    }

    /// A stage's histogram.
    pub fn stage(&self, stage: Stage) -> &Histogram {
        &self.stages[stage as usize]
    }

    /// A span's histogram.
    pub fn span(&self, span: Span) -> &Histogram {
        &self.spans[span as usize]
    }

    /// Rounds that took long while this was what took longest.
    pub fn away(&self, doing: Step) -> u64 {
        self.away[doing as usize].load(Relaxed)
    }

    /// The last rounds that took long, oldest first.
    pub fn away_rounds(&self) -> Arc<Vec<AwayRound>> {
        self.away_rounds.load_full()
    }

    /// The slowest messages, as they were last shown.
    pub fn slowest(&self) -> Arc<Slices> {
        self.slowest.load_full()
    }

    /// Refusals by reason, as far as any happened.
    pub fn refusals(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.refusals.iter().filter_map(|(name, count)| Some((*name.get()?, count.load(Relaxed))))
    }

    /// Messages posted to other shards, by the number of each that any were posted to.
    pub fn relays(&self) -> impl Iterator<Item = (usize, u64)> {
        let counts = self.relays.iter().map(|count| count.load(Relaxed)).enumerate();
        counts.filter(|(_, count)| *count != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Invariant 2 of metrics.
    #[test]
    fn no_value_is_off_by_more_than_an_eighth() {
        let mut value = 1_u64;
        while value < 1 << 39 {
            let end = bucket_end(bucket_of(value));
            assert!(end > value && end - value <= value / 8 + 1, "{value} ends at {end}");
            value += value / 7 + 1;
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn refusals_are_counted_by_reason() {
        let metrics = ShardMetrics::default();
        metrics.refuse("busy");
        metrics.refuse("not_json");
        metrics.refuse("busy");
        let counts: Vec<_> = metrics.refusals().collect();
        assert_eq!(counts, [("busy", 2), ("not_json", 1)]);
        assert_eq!(metrics.counter(Counter::Refused), 3);
    }
}
