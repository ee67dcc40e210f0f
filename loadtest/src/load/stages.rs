//! Where the server says its time goes: the histograms of its stages, as `/metrics` shows them.

use super::reach;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// How often each stage took at most so long, all shards together: seconds as printed.
#[derive(Default)]
pub struct Stages(BTreeMap<String, Vec<(f64, u64)>>);

impl Stages {
    /// Asks a server's admin port; nothing when it does not answer any more.
    pub fn ask(admin: SocketAddr) -> Stages {
        reach::figures(admin).map_or_else(|_| Stages::default(), |figures| Stages::read(&figures))
    }

    fn read(figures: &str) -> Stages {
        let mut stages = Stages::default();
        for line in figures.lines() {
            let Some(rest) = line.strip_prefix("anser_stage_seconds_bucket{") else { continue };
            let label = |key: &str| {
                let start = rest.find(key)? + key.len();
                let length = rest[start..].find('"')?;
                Some(&rest[start..start + length])
            };
            let (Some(stage), Some(bound)) = (label("stage=\""), label("le=\"")) else { continue };
            let count = rest.rsplit(' ').next().and_then(|count| count.parse().ok());
            let bound = if bound == "+Inf" { Ok(f64::INFINITY) } else { bound.parse() };
            let (Some(count), Ok(bound)) = (count, bound) else { continue };
            stages.add(stage, bound, count);
        }
        stages
    }

    fn add(&mut self, stage: &str, bound: f64, count: u64) {
        let buckets = self.0.entry(stage.to_owned()).or_default();
        match buckets.iter_mut().find(|(other, _)| *other == bound) {
            Some((_, sum)) => *sum += count,
            None => buckets.push((bound, count)),
        }
    }

    /// What was added since `before`, in ms: each figure is the bound of the bucket it lies in.
    pub fn since(&self, before: &Stages) -> Value {
        let mut report = json!({});
        for (stage, buckets) in &self.0 {
            let old = before.0.get(stage);
            let old = |place: usize| old.and_then(|old| old.get(place)).map_or(0, |it| it.1);
            let counts: Vec<(f64, u64)> = buckets
                .iter()
                .enumerate()
                // A server that was started anew counts from 0.
                .map(|(place, (bound, count))| (*bound, count.saturating_sub(old(place))))
                .collect();
            let total = counts.last().map_or(0, |last| last.1);
            let at = |share: f64| {
                let wanted = (total as f64 * share).ceil() as u64;
                let bucket = counts.iter().find(|(_, below)| *below >= wanted);
                bucket.map_or(0.0, |(bound, _)| bound * 1000.0)
            };
            report[stage] = json!({
                "count": total, "p50": at(0.5), "p99": at(0.99), "p99_9": at(0.999), "max": at(1.0),
            });
        }
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_told_by_stage_over_all_shards() {
        let figures = |counts: [u64; 3]| {
            let bounds = ["0.001", "0.008", "+Inf"];
            let lines = bounds.iter().zip(counts).map(|(bound, count)| {
                let name = "anser_stage_seconds_bucket";
                format!(
                    "{name}{{shard=\"0\",stage=\"sync\",le=\"{bound}\"}} {count}\n\
                     {name}{{shard=\"1\",stage=\"sync\",le=\"{bound}\"}} {count}\n"
                )
            });
            Stages::read(&lines.collect::<String>())
        };
        let report = figures([1000, 1001, 1001]).since(&figures([500, 500, 500]));
        let sync = &report["sync"];
        assert_eq!((&sync["count"], &sync["p50"]), (&json!(1002), &json!(1.0)));
        assert_eq!((&sync["p99_9"], &sync["max"]), (&json!(8.0), &json!(8.0)));
    }
}
