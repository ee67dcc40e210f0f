//! What each second of a run was like: how much was done, how long it took, and what it cost.
//!
//! A scenario's loop records what is done and calls [`Seconds::look`] as often as it comes by;
//! once a second that reads the counters, and at other times it costs a look at the clock.

use super::accounts::Target;
use super::process;
use crate::latencies::Latencies;
use crate::outcome::{Outcome, Series};
use std::time::{Duration, Instant};

/// How long a second is.
const SECOND: Duration = Duration::from_secs(1);
/// The shortest rest of a run that counts as a second of its own.
const REST: Duration = Duration::from_millis(500);

/// The seconds so far.
pub struct Seconds {
    target: Target,
    what: &'static str,
    begun: Instant,
    count: u64,
    took: Latencies,
    ended: usize,
    server_ms: u64,
    own_ms: u64,
    series: Series,
}

impl Seconds {
    /// Begins the first second; `what` is counted in them, such as `delivered`.
    pub fn begin(target: &Target, what: &'static str) -> Seconds {
        Seconds {
            target: target.clone(),
            what,
            begun: Instant::now(),
            count: 0,
            took: Latencies::default(),
            ended: 0,
            server_ms: target.cpu_ms(),
            own_ms: process::own_cpu_ms(),
            series: Series::new(),
        }
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

    /// Ends the second if it is over.
    pub fn look(&mut self) {
        if self.begun.elapsed() >= SECOND {
            self.end_second();
        }
    }

    /// Gives the outcome what all seconds were like, the last one if most of it is over.
    pub fn end(mut self, outcome: &mut Outcome) {
        if self.begun.elapsed() >= REST {
            self.end_second();
        }
        self.series.values_mut().for_each(|values| values.resize(self.ended, 0.0));
        outcome.series.append(&mut self.series);
    }

    fn end_second(&mut self) {
        let seconds = self.begun.elapsed().as_secs_f64();
        self.push(self.what, self.count as f64 / seconds);
        if self.took.total() > 0 {
            for (name, share) in [("p50_ms", 0.5), ("p99_ms", 0.99), ("worst_ms", 1.0)] {
                self.push(name, self.took.quantile_ms(share));
            }
        }
        let own_ms = process::own_cpu_ms();
        self.push("own_cores", (own_ms - self.own_ms) as f64 / 1000.0 / seconds);
        if self.target.server_pid.is_some() {
            let server_ms = self.target.cpu_ms();
            let used_ms = server_ms.saturating_sub(self.server_ms);
            self.push("server_cores", used_ms as f64 / 1000.0 / seconds);
            self.push("server_resident_bytes", self.target.resident_bytes() as f64);
            self.server_ms = server_ms;
        }
        self.own_ms = own_ms;
        (self.begun, self.count) = (Instant::now(), 0);
        self.ended += 1;
        self.took.clear();
    }

    /// A second without a value has 0. Three digits behind the point are more than any is good for.
    fn push(&mut self, name: &str, value: f64) {
        let values = self.series.entry(format!("{name}_each_second")).or_default();
        values.resize(self.ended, 0.0);
        values.push((value * 1000.0).round() / 1000.0);
    }
}
