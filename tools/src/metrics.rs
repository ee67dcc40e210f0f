//! What `/metrics` says, read: one figure for each name and shard.

use crate::admin::get;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Metrics of one instant, without the prefix `anser_` and without histograms.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Metrics {
    /// By name and shard; what has no shard has none here, other labels are added up.
    values: BTreeMap<(String, Option<u16>), f64>,
    /// What the server says of itself in `anser_info`: version, durability.
    labels: BTreeMap<String, String>,
}

/// Asks for `/metrics`.
pub fn metrics(admin: SocketAddr) -> anyhow::Result<Metrics> {
    Ok(Metrics::read(&get(admin, "/metrics")?))
}

impl Metrics {
    /// Reads Prometheus' text format, as far as the server uses it; other lines are passed over.
    pub fn read(text: &str) -> Metrics {
        let mut metrics = Metrics::default();
        for line in text.lines() {
            let Some((sample, value)) = line.rsplit_once(' ') else { continue };
            let Some(sample) = sample.strip_prefix("anser_") else { continue };
            let Ok(value) = value.parse::<f64>() else { continue };
            let (name, labels) = sample.split_once('{').unwrap_or((sample, ""));
            if labels.contains("stage=\"") {
                continue;
            }
            if name == "info" {
                metrics.labels.extend(pairs(labels));
            }
            let shard = pairs(labels).find(|(key, _)| key == "shard");
            let shard = shard.and_then(|(_, shard)| shard.parse().ok());
            *metrics.values.entry((name.to_owned(), shard)).or_default() += value;
        }
        metrics
    }

    /// One that the process has once; 0 when it is not there.
    pub fn of_process(&self, name: &str) -> f64 {
        self.values.get(&(name.to_owned(), None)).copied().unwrap_or(0.0)
    }

    /// A shard's; 0 when it is not there.
    pub fn of_shard(&self, name: &str, shard: u16) -> f64 {
        self.values.get(&(name.to_owned(), Some(shard))).copied().unwrap_or(0.0)
    }

    /// That of all shards together.
    pub fn of_all(&self, name: &str) -> f64 {
        let of_name = self.values.iter().filter(|((other, _), _)| other == name);
        of_name.map(|(_, value)| value).sum()
    }

    /// A word that the server says of itself; empty when it does not.
    pub fn label(&self, key: &str) -> &str {
        self.labels.get(key).map_or("", String::as_str)
    }
}

/// `a="b",c="d"}`: none of the server's values holds a quote or a comma.
fn pairs(labels: &str) -> impl Iterator<Item = (String, String)> {
    labels.trim_end_matches('}').split(',').filter_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        Some((key.to_owned(), value.trim_matches('"').to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# HELP anser_info What runs: always 1.\n\
        anser_info{version=\"0.1.0\",durability=\"sync\"} 1\n\
        anser_process_cpu_seconds_total 12.5\n\
        anser_connections{shard=\"0\"} 3\n\
        anser_connections{shard=\"1\"} 4\n\
        anser_refusals_total{shard=\"0\",reason=\"busy\"} 5\n\
        anser_refusals_total{shard=\"0\",reason=\"other\"} 1\n\
        anser_stage_seconds_sum{shard=\"0\",stage=\"sync\"} 9.25\n\
        nonsense\n";

    #[test]
    fn figures_are_found_by_name_and_shard_and_other_labels_add_up() {
        let metrics = Metrics::read(TEXT);
        assert_eq!(metrics.of_process("process_cpu_seconds_total"), 12.5);
        assert_eq!(metrics.of_shard("connections", 1), 4.0);
        assert_eq!(metrics.of_all("connections"), 7.0);
        assert_eq!(metrics.of_shard("refusals_total", 0), 6.0);
        assert_eq!((metrics.label("version"), metrics.label("durability")), ("0.1.0", "sync"));
        assert_eq!(metrics.of_all("stage_seconds_sum"), 0.0, "histograms come from elsewhere");
        assert_eq!(metrics.of_all("not_there"), 0.0);
    }
}
