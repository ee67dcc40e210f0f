//! Latencies in a log-linear histogram: at most 1.6 % wrong, one addition to record.

/// Steps within one doubling.
const STEPS: u64 = 64;

/// How long things took.
#[derive(Clone, Debug)]
pub struct Latencies {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Latencies {
    fn default() -> Latencies {
        Latencies { counts: vec![0; 64 * STEPS as usize], total: 0 }
    }
}

impl Latencies {
    /// Records one, in microseconds.
    pub fn record(&mut self, micros: u64) {
        self.counts[place(micros)] += 1;
        self.total += 1;
    }

    /// The latency that `share` (0..=1) of all stayed at or below, in ms; 0 when there are none.
    pub fn quantile_ms(&self, share: f64) -> f64 {
        let wanted = (share * self.total as f64).ceil() as u64;
        let mut seen = 0;
        for (place, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted && *count > 0 {
                return highest(place as u64) as f64 / 1000.0;
            }
        }
        0.0
    }

    /// How many were recorded.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// p50, p90, p99, p99.9, p99.99 and the longest for a report.
    pub fn summary(&self) -> serde_json::Value {
        let ms = |share| self.quantile_ms(share);
        serde_json::json!({
            "count": self.total, "p50_ms": ms(0.5), "p90_ms": ms(0.9), "p99_ms": ms(0.99),
            "p99_9_ms": ms(0.999), "p99_99_ms": ms(0.9999), "max_ms": ms(1.0),
        })
    }
}

fn place(micros: u64) -> usize {
    let doubling = (micros / STEPS).checked_ilog2().map_or(0, |log| log + 1);
    let shift = doubling.saturating_sub(1);
    let step = (micros >> shift) - if doubling == 0 { 0 } else { STEPS };
    (u64::from(doubling) * STEPS + step) as usize
}

fn highest(place: u64) -> u64 {
    let (doubling, step) = (place / STEPS, place % STEPS);
    if doubling == 0 { step } else { ((STEPS + step + 1) << (doubling - 1)) - 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_at_most_one_step_above_the_truth() {
        for micros in (0..200).chain([999, 1000, 65_535, 65_536, 12_345_678, 1 << 40]) {
            let mut latencies = Latencies::default();
            latencies.record(micros);
            let shown = (latencies.quantile_ms(0.5) * 1000.0).round() as u64;
            assert!(shown >= micros && shown <= micros + micros / STEPS, "{micros} as {shown}");
        }
    }

    #[test]
    fn quantiles_rise_with_their_share() {
        let mut latencies = Latencies::default();
        (1..=1000).for_each(|number| latencies.record(number * 1000));
        let [p50, p99] = [0.5, 0.99].map(|share| latencies.quantile_ms(share));
        assert!((500.0..510.0).contains(&p50) && (990.0..1010.0).contains(&p99), "{p50} {p99}");
    }
}
