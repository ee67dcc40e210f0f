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

/// How often the other parts of a run tell the first one what was done.
const GIVES_EACH: Duration = Duration::from_millis(20);
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
    /// The server's memory in the end, when its process is known.
    pub server_resident_bytes: Option<u64>,
}

/// The seconds so far.
pub struct Seconds {
    target: Target,
    what: &'static str,
    progress: Progress,
    begun: Instant,
    is_paused: bool,
    tally: Tally,
    ended: usize,
    server_ms: u64,
    own_ms: u64,
    series: Series,
}

/// What was done.
#[derive(Debug, Default)]
pub struct Tally {
    count: u64,
    errors: u64,
    took: Latencies,
}

impl Tally {
    /// Adds it to another, and begins anew.
    pub fn move_to(&mut self, other: &mut Tally) {
        other.count += std::mem::take(&mut self.count);
        other.errors += std::mem::take(&mut self.errors);
        if self.took.total() > 0 {
            other.took.add(&self.took);
            self.took.clear();
        }
    }
}

impl Seconds {
    /// Begins the first second; `what` is counted in them, such as `delivered`. In a run of
    /// several parts the first one has the seconds of all.
    pub fn begin(target: &Target, what: &'static str) -> Seconds {
        Seconds {
            target: target.clone(),
            what,
            progress: Progress::begin(what),
            begun: Instant::now(),
            is_paused: false,
            tally: Tally::default(),
            ended: 0,
            server_ms: target.cpu_ms(),
            own_ms: process::own_cpu_ms(),
            series: Series::new(),
        }
    }

    /// Forgets all that was until now, and begins the first second again.
    pub fn start_over(&mut self) {
        self.take_second();
        (self.series, self.ended) = Default::default();
    }

    /// Counts one that took so long, µs.
    pub fn record(&mut self, took_us: u64) {
        self.tally.count += 1;
        self.tally.took.record(took_us);
    }

    /// Counts some of which nobody knows how long they took.
    pub fn count(&mut self, more: u64) {
        self.tally.count += more;
    }

    /// Counts what went wrong, which the scenario tries again.
    pub fn count_errors(&mut self, more: u64) {
        self.tally.errors += more;
    }

    /// Ends the second if it is over.
    pub fn look(&mut self) {
        self.end_step(SECOND);
    }

    /// What comes until [`Seconds::resume`] is no part of any second; the last one before it ends
    /// here, if most of it is over.
    pub fn pause(&mut self) {
        self.end_step(REST);
        self.is_paused = true;
    }

    /// Ends the second if so much of it is over; a part that is not the first gives it what was
    /// done much more often.
    fn end_step(&mut self, second: Duration) {
        let part = &self.target.part;
        let step = if part.is_first() { second } else { GIVES_EACH };
        if self.is_paused || self.begun.elapsed() < step {
            return;
        }
        if part.is_first() {
            self.end_second();
        } else {
            part.give(&mut self.tally);
            self.begun = Instant::now();
        }
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
        }
        if let Some(bytes) = second.server_resident_bytes {
            self.push("server_resident_bytes", bytes as f64);
        }
        self.ended += 1;
        self.progress.show(&second);
    }

    /// The second until here; the next one begins.
    fn take_second(&mut self) -> Second {
        let seconds = self.begun.elapsed().as_secs_f64();
        self.begun = Instant::now();
        let cores = |used_ms: u64| used_ms as f64 / 1000.0 / seconds;
        let (own_ms, server_ms) = (process::own_cpu_ms(), self.target.cpu_ms());
        let own_before = std::mem::replace(&mut self.own_ms, own_ms);
        let server_before = std::mem::replace(&mut self.server_ms, server_ms);
        let server_resident_bytes = self.target.server_pid.and_then(process::resident_bytes);
        let mut done = std::mem::take(&mut self.tally);
        if self.target.part.is_first() {
            self.target.part.take_given(&mut done);
        }
        Second {
            rate: done.count as f64 / seconds,
            took: done.took,
            errors: done.errors,
            own_cores: cores(own_ms.saturating_sub(own_before)),
            // Of a process that has ended nothing is told.
            server_cores: server_resident_bytes
                .map(|_| cores(server_ms.saturating_sub(server_before))),
            server_resident_bytes,
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
        let nowhere = "127.0.0.1:1".parse().expect("an address");
        let mut target = Target::at(nowhere, nowhere);
        target.server_pid = Some(std::process::id());
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
