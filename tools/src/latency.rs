//! How long things took: histograms as the admin port gives them, and what is read off them.
//!
//! A value is known by its bucket alone. What is told of one is the end of its bucket, so that
//! nothing took longer than is said; the server's buckets make that too much by an eighth at most.

use serde::Deserialize;
use std::collections::BTreeMap;

/// Durations in nanoseconds, by bucket.
#[derive(Clone, PartialEq, Eq, Default, Debug, Deserialize)]
#[serde(from = "Document")]
pub struct Histogram {
    /// The exact sum of all durations, ns.
    pub sum_ns: u64,
    /// How many fell into the bucket that ends here, ns.
    buckets: BTreeMap<u64, u64>,
}

/// The admin port's way to write one. Its `count` is not read: it may be of another instant than
/// the buckets, whose sum is the count that percentiles need.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    sum_ns: u64,
    buckets: Vec<(u64, u64)>,
}

impl From<Document> for Histogram {
    fn from(document: Document) -> Histogram {
        Histogram { sum_ns: document.sum_ns, buckets: document.buckets.into_iter().collect() }
    }
}

impl Histogram {
    /// How many durations there are.
    pub fn count(&self) -> u64 {
        self.buckets.values().sum()
    }

    /// The end of each bucket that holds something, ns, and what it holds, ascending.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> {
        self.buckets.iter().map(|(end, count)| (*end, *count))
    }

    /// What was added since an earlier reading; `None` if that was of another run of the server.
    pub fn since(&self, before: &Histogram) -> Option<Histogram> {
        let mut more = self.clone();
        more.sum_ns = more.sum_ns.checked_sub(before.sum_ns)?;
        for (end, count) in before.buckets() {
            let left = more.buckets.get_mut(&end)?;
            *left = left.checked_sub(count)?;
        }
        more.buckets.retain(|_, count| *count > 0);
        Some(more)
    }

    /// Takes in another's durations.
    pub fn add(&mut self, other: &Histogram) {
        self.sum_ns += other.sum_ns;
        for (end, count) in other.buckets() {
            *self.buckets.entry(end).or_default() += count;
        }
    }

    /// What the given share of all durations (0 to 1) did not exceed, ns; 0 when there are none.
    pub fn percentile(&self, share: f64) -> u64 {
        let wanted = (self.count() as f64 * share).ceil().max(1.0) as u64;
        let mut below = 0;
        let found = self.buckets().find(|(_, count)| {
            below += count;
            below >= wanted
        });
        found.map_or(0, |(end, _)| end)
    }

    /// What none exceeded, ns; 0 when there are none.
    pub fn max(&self) -> u64 {
        self.buckets.last_key_value().map_or(0, |(end, _)| *end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(sum_ns: u64, buckets: &[(u64, u64)]) -> Histogram {
        Histogram { sum_ns, buckets: buckets.iter().copied().collect() }
    }

    #[test]
    fn percentiles_are_the_ends_of_the_buckets_they_lie_in() {
        let known = histogram(0, &[(1000, 50), (2000, 49), (4000, 0), (8000, 1)]);
        assert_eq!(known.count(), 100);
        let shares = [0.0, 0.01, 0.5, 0.51, 0.99, 0.991, 0.999, 1.0];
        let expected = [1000, 1000, 1000, 2000, 2000, 8000, 8000, 8000];
        assert_eq!(shares.map(|share| known.percentile(share)), expected);
        assert_eq!(known.max(), 8000);
    }

    #[test]
    fn one_duration_is_every_percentile_and_none_is_zero() {
        let one = histogram(700, &[(768, 1)]);
        assert_eq!([0.5, 0.99, 0.999].map(|share| one.percentile(share)), [768; 3]);
        let none = Histogram::default();
        assert_eq!((none.percentile(0.5), none.max(), none.count()), (0, 0, 0));
    }

    #[test]
    fn a_difference_holds_what_came_between_and_another_run_has_none() {
        let before = histogram(100, &[(8, 10), (16, 2)]);
        let after = histogram(180, &[(8, 10), (16, 5), (32, 1)]);
        let between = after.since(&before).expect("it only grew");
        assert_eq!(between, histogram(80, &[(16, 3), (32, 1)]));
        assert_eq!(before.since(&after), None, "a sum never shrinks");
        let other = histogram(500, &[(8, 9), (64, 9)]);
        assert_eq!(other.since(&before), None, "a bucket never shrinks");
        let other = histogram(500, &[(64, 9)]);
        assert_eq!(other.since(&before), None, "a bucket never empties");
    }

    #[test]
    fn sums_and_buckets_of_shards_add_up() {
        let mut all = histogram(5, &[(8, 1)]);
        all.add(&histogram(30, &[(8, 2), (16, 1)]));
        assert_eq!(all, histogram(35, &[(8, 3), (16, 1)]));
    }

    #[test]
    fn the_documents_buckets_are_counted_and_its_count_is_not_trusted() {
        let text = r#"{"count":9,"sumNs":2500,"buckets":[[1024,2],[1152,1]]}"#;
        let read: Histogram = serde_json::from_str(text).expect("as the admin port writes it");
        assert_eq!(read, histogram(2500, &[(1024, 2), (1152, 1)]));
        assert_eq!(read.count(), 3);
    }
}
