//! Latencies in a histogram of the kind that others read, too: HDR, with three significant digits.
//!
//! As JSON they are their quantiles and, under [`HISTOGRAM`], the whole: HDR's V2 encoding of µs,
//! compressed ("V2 deflate"), as base64.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The longest that is told apart, µs: an hour. What took longer counts as that.
const LONGEST_US: u64 = 3_600_000_000;
/// Significant digits: a figure is at most 0.1 % above the truth.
const DIGITS: u8 = 3;

/// Points of a curve from one share to that twice as close to 1.
const STEPS_TO_HALF: u32 = 5;
/// The key of the whole histogram.
pub const HISTOGRAM: &str = "hdr_v2_deflate_base64";

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

    /// For a plot: shares that rise towards 1, some steps until twice as close, and the latency
    /// (ms) of each. The longest stands at the share that half of a single one would be left of.
    pub fn curve(&self) -> Vec<(f64, f64)> {
        let mut curve = Vec::new();
        let last = 1.0 - 0.5 / self.total() as f64;
        for step in self.0.iter_quantiles(STEPS_TO_HALF) {
            let share = step.quantile_iterated_to().min(last);
            curve.push((share, step.value_iterated_to() as f64 / 1000.0));
        }
        curve
    }

    /// The mean, ms; 0 when there are none.
    pub fn mean_ms(&self) -> f64 {
        self.0.mean().round() / 1000.0
    }

    /// The mean, p50, p90, p99, p99.9, p99.99 and the longest for a report.
    pub fn summary(&self) -> Value {
        let ms = |share| self.quantile_ms(share);
        json!({
            "count": self.total(), "mean_ms": self.mean_ms(),
            "p50_ms": ms(0.5), "p90_ms": ms(0.9), "p99_ms": ms(0.99),
            "p99_9_ms": ms(0.999), "p99_99_ms": ms(0.9999), "max_ms": ms(1.0),
        })
    }
}

impl Serialize for Latencies {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::new();
        let written = V2DeflateSerializer::new().serialize(&self.0, &mut bytes);
        written.map_err(S::Error::custom)?;
        let mut object = self.summary();
        object[HISTOGRAM] = STANDARD.encode(bytes).into();
        object.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Latencies {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Latencies, D::Error> {
        let object = Value::deserialize(deserializer)?;
        let text = object[HISTOGRAM].as_str();
        let text = text.ok_or_else(|| D::Error::missing_field(HISTOGRAM))?;
        let bytes = STANDARD.decode(text).map_err(D::Error::custom)?;
        let read: Histogram<u64> =
            Deserializer::new().deserialize(&mut &bytes[..]).map_err(D::Error::custom)?;
        let mut latencies = Latencies::default();
        latencies.0.add(&read).map_err(D::Error::custom)?;
        Ok(latencies)
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
    fn a_histogram_survives_its_way_through_json() {
        let mut latencies = Latencies::default();
        (0..10_000).for_each(|number| latencies.record(number * number));
        let text = serde_json::to_string(&latencies).expect("a histogram is finite");
        let object: Value = serde_json::from_str(&text).expect("it was just written");
        assert_eq!(object["count"], 10_000);
        let read: Latencies = serde_json::from_str(&text).expect("it was just written");
        assert_eq!((&read, read.summary()), (&latencies, latencies.summary()));
        // Others read it, too: this is how their libraries begin.
        let whole = object[HISTOGRAM].as_str().expect("text");
        assert!(whole.starts_with("HISTFAAA"), "the cookie of V2 deflate: {whole}");
        assert!(serde_json::from_str::<Latencies>(r#"{"count":1}"#).is_err());
        let damaged = text.replace("HISTFAAA", "AISTFAAA");
        assert!(serde_json::from_str::<Latencies>(&damaged).is_err());
    }

    #[test]
    fn a_curve_rises_to_the_longest() {
        let mut latencies = Latencies::default();
        (1..=10_000).for_each(|number| latencies.record(number * 100));
        let curve = latencies.curve();
        assert!(curve.windows(2).all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 <= pair[1].1));
        let at = |share: f64| curve.iter().find(|point| point.0 >= share).expect("it reaches 1").1;
        assert!((990.0..993.0).contains(&at(0.99)), "{}", at(0.99));
        let longest = curve.last().expect("there are points");
        assert!(longest.0 == 0.999_95 && (1000.0..1001.0).contains(&longest.1), "{longest:?}");
        assert_eq!(Latencies::default().curve(), []);
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
        let mean = latencies.mean_ms();
        assert!((500.0..501.0).contains(&mean), "{mean}");
        let [p50, p99] = [0.5, 0.99].map(|share| latencies.quantile_ms(share));
        assert!((500.0..501.0).contains(&p50) && (990.0..991.0).contains(&p99), "{p50} {p99}");
    }
}
