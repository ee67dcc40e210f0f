//! What each second of a run was like: how much was done, how long it took, and what it cost.
//!
//! A scenario's loop records what is done and calls [`Seconds::look`] as often as it comes by;
//! once a second that reads the counters, and at other times it costs a look at the clock.

use super::accounts::Target;
use super::process;
use super::progress::Progress;
use crate::latencies::Latencies;
use crate::outcome::{Outcome, Series};
use std::time::{Duration, Instant};

/// How long a second is.
const SECOND: Duration = Duration::from_secs(1);
/// The shortest rest of a run that counts as a second of its own; a shorter one is left out.
const REST: Duration = Duration::from_millis(900);

/// One second that is over.
#[derive(Debug)]
pub struct Second {
    /// How much was done, made exact for a second that was a little longer.
    pub rate: f64,
    /// How long it took.
    pub took: Latencies,
    /// What went wrong and was tried again.
    pub errors: u64,
    /// Cores that the load generator used.
    pub own_cores: f64,
    /// Cores that the server used, when its process is known.
    pub server_cores: Option<f64>,
}

/// The seconds so far.
pub struct Seconds {
    target: Target,
    what: &'static str,
    progress: Progress,
    begun: Instant,
    is_paused: bool,
    count: u64,
    errors: u64,
    took: Latencies,
    ended: usize,
    server_ms: u64,
    own_ms: u64,
    workers: Vec<u32>,
    series: Series,
}

impl Seconds {
    /// Begins the first second; `what` is counted in them, such as `delivered`.
    pub fn begin(target: &Target, what: &'static str) -> Seconds {
        Seconds {
            target: target.clone(),
            what,
            progress: Progress::begin(what),
            begun: Instant::now(),
            is_paused: false,
            count: 0,
            errors: 0,
            took: Latencies::default(),
            ended: 0,
            server_ms: target.cpu_ms(),
            own_ms: process::own_cpu_ms(),
            workers: Vec::new(),
            series: Series::new(),
        }
    }

    /// The same where other processes of ours work, too: their CPU is our own.
    pub fn with_workers(mut self, workers: Vec<u32>) -> Seconds {
        self.workers = workers;
        self.own_ms = self.own_cpu_ms();
        self
    }

    fn own_cpu_ms(&self) -> u64 {
        let workers = self.workers.iter().filter_map(|worker| process::cpu_ms(*worker));
        process::own_cpu_ms() + workers.sum::<u64>()
    }

    /// Counts one that took so long, µs.
    pub fn record(&mut self, took_us: u64) {
        self.count += 1;
        self.took.record(took_us);
    }

    /// Counts some of which nobody knows how long they took.
    pub fn count(&mut self, more: u64) {
        self.count += more;
    }

    /// Counts what went wrong, which the scenario tries again.
    pub fn count_errors(&mut self, more: u64) {
        self.errors += more;
    }

    /// Ends the second if it is over.
    pub fn look(&mut self) {
        if !self.is_paused && self.begun.elapsed() >= SECOND {
            self.end_second();
        }
    }

    /// What comes until [`Seconds::resume`] is no part of any second; the last one before it ends
    /// here, if most of it is over.
    pub fn pause(&mut self) {
        if !self.is_paused && self.begun.elapsed() >= REST {
            self.end_second();
        }
        self.is_paused = true;
    }

    /// A new second begins.
    pub fn resume(&mut self) {
        self.take_second();
        self.is_paused = false;
    }

    /// Gives the outcome what all seconds were like, the last one if most of it is over.
    pub fn end(mut self, outcome: &mut Outcome) {
        self.pause();
        self.series.values_mut().for_each(|values| values.resize(self.ended, 0.0));
        outcome.series.append(&mut self.series);
    }

    fn end_second(&mut self) {
        let second = self.take_second();
        self.push(self.what, second.rate);
        if second.took.total() > 0 {
            for (name, share) in [("p50_ms", 0.5), ("p99_ms", 0.99), ("worst_ms", 1.0)] {
                self.push(name, second.took.quantile_ms(share));
            }
        }
        if second.errors > 0 {
            self.push("errors", second.errors as f64);
        }
        self.push("own_cores", second.own_cores);
        if let Some(cores) = second.server_cores {
            self.push("server_cores", cores);
            self.push("server_resident_bytes", self.target.resident_bytes() as f64);
        }
        self.ended += 1;
        self.progress.show(&second);
    }

    /// The second until here; the next one begins.
    fn take_second(&mut self) -> Second {
        let seconds = self.begun.elapsed().as_secs_f64();
        self.begun = Instant::now();
        let cores = |used_ms: u64| used_ms as f64 / 1000.0 / seconds;
        let (own_ms, server_ms) = (self.own_cpu_ms(), self.target.cpu_ms());
        let own_before = std::mem::replace(&mut self.own_ms, own_ms);
        let server_before = std::mem::replace(&mut self.server_ms, server_ms);
        Second {
            rate: std::mem::take(&mut self.count) as f64 / seconds,
            took: std::mem::take(&mut self.took),
            errors: std::mem::take(&mut self.errors),
            own_cores: cores(own_ms.saturating_sub(own_before)),
            server_cores: self
                .target
                .server_pid
                .map(|_| cores(server_ms.saturating_sub(server_before))),
        }
    }

    /// A second without a value has 0. Three digits behind the point are more than any is good for.
    fn push(&mut self, name: &str, value: f64) {
        let values = self.series.entry(format!("{name}_each_second")).or_default();
        values.resize(self.ended, 0.0);
        values.push((value * 1000.0).round() / 1000.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_without_a_value_keep_their_place() {
        let target = Target {
            http: "127.0.0.1:1".parse().expect("an address"),
            ws: "127.0.0.1:1".parse().expect("an address"),
            server_pid: Some(std::process::id()),
            admin: None,
        };
        let mut seconds = Seconds::begin(&target, "delivered");
        seconds.count(3);
        seconds.end_second();
        seconds.record(2_000);
        seconds.count_errors(1);
        seconds.end_second();
        seconds.end_second();
        seconds.pause();
        seconds.begun -= SECOND;
        (0..2).for_each(|_| seconds.look());
        seconds.resume();
        seconds.pause();
        let series = &seconds.series;
        let worst = &series["worst_ms_each_second"];
        assert_eq!((worst.len(), worst[0], worst[1]), (2, 0.0, 2.0));
        assert_eq!(series["delivered_each_second"].len(), 3);
        assert_eq!(series["errors_each_second"], [0.0, 1.0]);
        assert!(series["server_resident_bytes_each_second"].iter().all(|bytes| *bytes > 0.0));
    }
}
