//! Latencies in a histogram of the kind that others read, too: HDR, with three significant digits.

use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// The longest that is told apart, µs: an hour. What took longer counts as that.
const LONGEST_US: u64 = 3_600_000_000;
/// Significant digits: a figure is at most 0.1 % above the truth.
const DIGITS: u8 = 3;

/// How long things took, in µs; some 180 KiB, and one addition to record.
#[derive(Clone, Debug, PartialEq)]
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Latencies {
        let histogram = Histogram::new_with_bounds(1, LONGEST_US, DIGITS);
        Latencies(histogram.expect("the bounds are in order and the digits few"))
    }
}

impl Latencies {
    /// Records one, in µs.
    pub fn record(&mut self, micros: u64) {
        self.0.saturating_record(micros);
    }

    /// The latency that `share` (0..=1) of all stayed at or below, in ms; 0 when there are none.
    pub fn quantile_ms(&self, share: f64) -> f64 {
        self.0.value_at_quantile(share) as f64 / 1000.0
    }

    /// How many were recorded.
    pub fn total(&self) -> u64 {
        self.0.len()
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.0.reset();
    }

    /// Adds those of another.
    pub fn add(&mut self, other: &Latencies) {
        self.0.add(&other.0).expect("all have the same bounds");
    }

    /// p50, p90, p99, p99.9, p99.99 and the longest for a report.
    pub fn summary(&self) -> Value {
        let ms = |share| self.quantile_ms(share);
        json!({
            "count": self.total(), "p50_ms": ms(0.5), "p90_ms": ms(0.9), "p99_ms": ms(0.99),
            "p99_9_ms": ms(0.999), "p99_99_ms": ms(0.9999), "max_ms": ms(1.0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_at_most_a_thousandth_above_the_truth() {
        for micros in (0..200).chain([999, 1000, 65_535, 65_536, 12_345_678]) {
            let mut latencies = Latencies::default();
            latencies.record(micros);
            let shown = (latencies.quantile_ms(0.5) * 1000.0).round() as u64;
            assert!(shown >= micros && shown <= micros + micros / 1000, "{micros} as {shown}");
        }
    }

    #[test]
    fn what_took_longer_than_an_hour_counts_as_an_hour() {
        let mut latencies = Latencies::default();
        latencies.record(u64::MAX);
        let hour_ms = LONGEST_US as f64 / 1000.0;
        let shown = latencies.quantile_ms(1.0);
        assert!((hour_ms..hour_ms * 1.001).contains(&shown), "{shown}");
    }

    #[test]
    fn quantiles_rise_with_their_share() {
        let mut latencies = Latencies::default();
        (1..=1000).for_each(|number| latencies.record(number * 1000));
        let [p50, p99] = [0.5, 0.99].map(|share| latencies.quantile_ms(share));
        assert!((500.0..501.0).contains(&p50) && (990.0..991.0).contains(&p99), "{p50} {p99}");
    }
}
