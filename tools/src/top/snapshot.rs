//! What `top` shows: figures of the last interval, made of two readings.

use crate::metrics::{self, Metrics};
use crate::readings::{self, Latency, Period, Slow, SlowMessage};
use crate::spans::{TO_ACK, TO_RECIPIENT};
use crate::ways::{Figures, Way};
use std::net::SocketAddr;

/// Rates that the little chart remembers.
const HISTORY_MAX: usize = 600;

/// All that the server says of itself at one moment.
#[derive(Debug)]
pub struct Reading {
    latency: Latency,
    slow: Slow,
    metrics: Metrics,
}

/// What is on the screen.
pub struct View {
    /// The server.
    pub admin: SocketAddr,
    /// Its figures, once there were two readings of one run.
    pub snapshot: Option<Snapshot>,
    /// Why the last reading failed.
    pub lost: Option<String>,
    /// Messages sent a second, oldest first.
    pub history: Vec<u64>,
    last: Option<Reading>,
}

/// Figures of one interval.
pub struct Snapshot {
    /// Its version.
    pub version: String,
    /// What an Ack means: `sync`, `async` or `none`.
    pub durability: String,
    /// How long the server runs, s.
    pub up_seconds: f64,
    /// How long the interval was, s.
    pub seconds: f64,
    /// CPU of all its threads, in cores.
    pub cores: f64,
    /// Its memory.
    pub resident_bytes: f64,
    /// What the shards count together.
    pub all: Counts,
    /// What each counts, with its number.
    pub shards: Vec<(u16, Counts)>,
    /// To the Ack and to the recipient.
    pub ways: [Way; 2],
    /// Steps of rounds: a turn, a write to the log, a whole round.
    pub rounds: [Figures; 3],
    /// The slowest of the last minutes, slowest first.
    pub slowest: Vec<SlowMessage>,
    /// The server's wall clock, ms since the Unix epoch.
    pub unix_ms: u64,
    /// What an operator has to know at once.
    pub alarms: Vec<&'static str>,
}

/// Figures of one shard, or of all: rates by the second, and what is there at the end.
#[derive(Default)]
pub struct Counts {
    /// Messages stored for their authors.
    pub sent: f64,
    /// Frames put on recipients' connections.
    pub pushed: f64,
    /// Messages acked by recipients.
    pub acked: f64,
    /// HTTP requests.
    pub requests: f64,
    /// What was refused.
    pub refused: f64,
    /// Bytes received on connections.
    pub bytes_in: f64,
    /// Bytes sent on them.
    pub bytes_out: f64,
    /// Connections open.
    pub connections: f64,
    /// Bytes of rows that the LSM does not have.
    pub overlay_bytes: f64,
    /// Turns that it does not have.
    pub index_lag: f64,
    /// Files of the log.
    pub log_segments: f64,
    /// A round, 99 %, ns.
    pub away_p99_ns: u64,
    /// A write to the log, 99 %, ns.
    pub sync_p99_ns: u64,
    /// What of the time was spent in rounds; of all shards: the busiest.
    pub busy: f64,
}

impl Reading {
    /// Asks the server.
    pub fn take(admin: SocketAddr) -> anyhow::Result<Reading> {
        Ok(Reading {
            latency: readings::latency(admin)?,
            slow: readings::slow(admin)?,
            metrics: metrics::metrics(admin)?,
        })
    }

    #[cfg(test)]
    pub fn fixture(seconds: u64) -> Reading {
        use crate::fixture;
        Reading {
            latency: serde_json::from_value(fixture::latency(seconds)).expect("as documented"),
            slow: fixture::kept().0,
            metrics: Metrics::read(&fixture::metrics(seconds)),
        }
    }
}

impl View {
    /// Of a server of which nothing is known.
    pub fn new(admin: SocketAddr) -> View {
        View { admin, snapshot: None, lost: None, history: Vec::new(), last: None }
    }

    /// Takes in what the server said, or why it did not: then its last figures stay.
    pub fn take(&mut self, reading: Result<Reading, String>) {
        let now = match reading {
            Ok(now) => now,
            Err(words) => return self.lost = Some(words),
        };
        self.lost = None;
        if let Some(snapshot) = self.last.as_ref().and_then(|before| Snapshot::of(before, &now)) {
            self.history.push(snapshot.all.sent.round() as u64);
            let too_many = self.history.len().saturating_sub(HISTORY_MAX);
            self.history.drain(..too_many);
            self.snapshot = Some(snapshot);
        }
        self.last = Some(now);
    }
}

impl Snapshot {
    /// Of two readings; `None` if they are of different runs of the server.
    fn of(before: &Reading, now: &Reading) -> Option<Snapshot> {
        let started = |reading: &Reading| reading.metrics.of_process("process_start_time_seconds");
        if started(before) != started(now) {
            return None;
        }
        let period = now.latency.since(&before.latency)?;
        let metrics = &now.metrics;
        let cpu = |reading: &Reading| reading.metrics.of_process("process_cpu_seconds_total");
        let shards: Vec<_> = (period.shards.iter())
            .map(|shard| (shard.shard, Counts::of_shard(shard.shard, (before, now), &period)))
            .collect();
        let rounds = ["turn", "sync", "away"];
        let alarms = [
            ("store_failed", "a store has failed: nothing is acked any more"),
            ("disk_full", "the disk is full: nothing new is stored"),
            ("accept_paused", "no descriptors left: accepting pauses"),
        ];
        Some(Snapshot {
            version: metrics.label("version").to_owned(),
            durability: metrics.label("durability").to_owned(),
            up_seconds: now.latency.unix_ms as f64 / 1e3 - started(now),
            seconds: period.seconds(),
            cores: (cpu(now) - cpu(before)) / period.seconds(),
            resident_bytes: metrics.of_process("process_resident_bytes"),
            all: Counts::of_all((before, now), &period, &shards),
            shards,
            ways: [&TO_ACK, &TO_RECIPIENT].map(|path| Way::of(path, |span| period.message(span))),
            rounds: rounds.map(|step| Figures::of(step, &period.round(step))),
            slowest: now.slow.messages.clone(),
            unix_ms: now.latency.unix_ms,
            alarms: alarms
                .into_iter()
                .filter_map(|(gauge, words)| (metrics.of_all(gauge) > 0.0).then_some(words))
                .collect(),
        })
    }
}

impl Counts {
    fn of_shard(shard: u16, (before, now): (&Reading, &Reading), period: &Period) -> Counts {
        let mut counts = Counts::read(period.seconds(), |name| {
            [before, now].map(|reading| reading.metrics.of_shard(name, shard))
        });
        if let Some(latency) = period.shards.iter().find(|other| other.shard == shard) {
            let away = latency.round("away");
            counts.away_p99_ns = away.percentile(0.99);
            counts.sync_p99_ns = latency.round("sync").percentile(0.99);
            counts.busy = away.sum_ns as f64 / period.nanos.max(1) as f64;
        }
        counts
    }

    fn of_all(
        (before, now): (&Reading, &Reading),
        period: &Period,
        shards: &[(u16, Counts)],
    ) -> Counts {
        let counts = Counts::read(period.seconds(), |name| {
            [before, now].map(|reading| reading.metrics.of_all(name))
        });
        Counts {
            away_p99_ns: period.round("away").percentile(0.99),
            sync_p99_ns: period.round("sync").percentile(0.99),
            busy: shards.iter().map(|(_, counts)| counts.busy).fold(0.0, f64::max),
            ..counts
        }
    }

    /// By what a figure was before, and is now.
    fn read(seconds: f64, figure: impl Fn(&str) -> [f64; 2]) -> Counts {
        let rate = |name| {
            let [before, now] = figure(name);
            (now - before).max(0.0) / seconds
        };
        let level = |name| figure(name)[1];
        Counts {
            sent: rate("messages_sent_total"),
            pushed: rate("messages_pushed_total"),
            acked: rate("acks_received_total"),
            requests: rate("http_requests_total"),
            refused: rate("refusals_total"),
            bytes_in: rate("bytes_received_total"),
            bytes_out: rate("bytes_sent_total"),
            connections: level("connections"),
            overlay_bytes: level("overlay_bytes"),
            index_lag: level("index_lag"),
            log_segments: level("log_segments"),
            ..Counts::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> View {
        View::new("127.0.0.1:8094".parse().expect("an address"))
    }

    #[test]
    fn rates_are_of_the_interval_and_levels_of_its_end() {
        let mut view = view();
        view.take(Ok(Reading::fixture(1)));
        assert!(view.snapshot.is_none(), "one reading has no rates");
        view.take(Ok(Reading::fixture(3)));
        let snapshot = view.snapshot.as_ref().expect("two have");
        assert_eq!((snapshot.seconds, snapshot.all.sent), (2.0, 200.0));
        assert_eq!(snapshot.shards[1].1.sent, 100.0);
        assert_eq!(snapshot.shards[1].1.connections, 53.0);
        assert!((snapshot.shards[0].1.busy - 0.25).abs() < 1e-9);
        assert!((snapshot.cores - 0.5).abs() < 1e-9, "{}", snapshot.cores);
        assert_eq!(snapshot.ways[0].whole.count, 400);
        assert_eq!(view.history, [200]);
        assert_eq!(snapshot.up_seconds, 7503.0);
    }

    #[test]
    fn a_lost_server_keeps_its_figures_and_comes_back() {
        let mut view = view();
        for seconds in [1, 2] {
            view.take(Ok(Reading::fixture(seconds)));
        }
        view.take(Err("no server answers".to_owned()));
        assert!(view.snapshot.is_some() && view.lost.is_some());
        let mut other = Reading::fixture(0);
        other.metrics = Metrics::read("anser_process_start_time_seconds 1795485555\n");
        view.take(Ok(other));
        assert_eq!(view.lost, None);
        assert_eq!(view.history.len(), 1, "figures of two runs have no difference");
        view.take(Ok(Reading::fixture(4)));
        view.take(Ok(Reading::fixture(5)));
        assert_eq!(view.history.len(), 2);
    }
}
