//! What histograms of a message's spans come down to: percentiles, and shares of the whole way.

use crate::latency::Histogram;
use crate::spans::{Kind, Path};
use serde::Serialize;

/// What readers of a percentile must know; a slow message that is shown alone is exact.
pub const BUCKETS: &str =
    "p50 to max end buckets: an eighth too high at most; slowest messages are exact";

/// What a histogram comes down to.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// Whose they are.
    pub name: &'static str,
    /// How many.
    pub count: u64,
    /// Half of them took at most so long, ns.
    pub p50_ns: u64,
    /// 99 % of them.
    pub p99_ns: u64,
    /// 99.9 % of them.
    pub p999_ns: u64,
    /// All of them.
    pub max_ns: u64,
    /// All of them together, ns.
    pub sum_ns: u64,
}

/// One way of a message, span by span.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Way {
    /// Where it leads.
    pub words: &'static str,
    /// From end to end.
    pub whole: Figures,
    /// Its parts, in order.
    pub spans: Vec<Part>,
    /// What its parts have of the whole, added up: 1 when nothing is missing or counted twice.
    pub agreement: f64,
    /// What the parts in which a message waits have of the whole.
    pub queueing: f64,
    /// What the others have.
    pub work: f64,
}

/// A span of a way.
#[derive(Clone, Debug, Serialize)]
pub struct Part {
    /// Its figures, of all messages.
    #[serde(flatten)]
    pub figures: Figures,
    /// Whether messages wait in it.
    pub kind: Kind,
    /// What it has of the whole, by sums.
    pub share: f64,
}

impl Figures {
    /// Of a histogram.
    pub fn of(name: &'static str, histogram: &Histogram) -> Figures {
        Figures {
            name,
            count: histogram.count(),
            p50_ns: histogram.percentile(0.5),
            p99_ns: histogram.percentile(0.99),
            p999_ns: histogram.percentile(0.999),
            max_ns: histogram.max(),
            sum_ns: histogram.sum_ns,
        }
    }
}

impl Way {
    /// Of histograms by name. All but the last span are also those of messages that did not get to
    /// the end, as those for recipients who are away: as many as did count, by the mean of all.
    pub fn of(path: &'static Path, histogram: impl Fn(&str) -> Histogram) -> Way {
        let whole = Figures::of(path.whole, &histogram(path.whole));
        let begun = histogram(path.spans[0].name).count();
        let reached = whole.count as f64 / begun.max(1) as f64;
        let parts = path.spans.iter().enumerate().map(|(index, span)| {
            let figures = Figures::of(span.name, &histogram(span.name));
            let of_these = if index < path.anyway { reached } else { 1.0 };
            let share = figures.sum_ns as f64 * of_these / whole.sum_ns.max(1) as f64;
            Part { figures, kind: span.kind, share }
        });
        let spans: Vec<Part> = parts.collect();
        let of_kind =
            |kind| spans.iter().filter(move |part| part.kind == kind).map(|part| part.share);
        let queueing: f64 = of_kind(Kind::Queueing).sum();
        let work: f64 = of_kind(Kind::Work).sum();
        Way { words: path.words, whole, spans, agreement: queueing + work, queueing, work }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use crate::spans::{TO_ACK, TO_RECIPIENT};

    fn way(path: &'static Path) -> Way {
        let [first, _, last] = fixture::readings();
        let period = last.since(&first).expect("one run");
        Way::of(path, |span| period.message(span))
    }

    #[test]
    fn shares_of_the_stages_add_up_to_the_whole() {
        let ack = &way(&TO_ACK);
        assert_eq!((ack.whole.count, ack.whole.sum_ns), (400, 400_000_000));
        assert!((ack.agreement - 1.0).abs() < 1e-9, "{}", ack.agreement);
        let sync = &ack.spans[3];
        assert_eq!((sync.figures.name, sync.kind), ("sync", Kind::Queueing));
        assert!((sync.share - 0.6).abs() < 1e-9, "{}", sync.share);
        assert!((ack.queueing - 0.9).abs() < 1e-9 && (ack.work - 0.1).abs() < 1e-9);
    }

    #[test]
    fn a_delivery_counts_the_stages_of_as_many_messages_as_were_delivered() {
        let delivery = &way(&TO_RECIPIENT);
        assert_eq!(delivery.whole.count, 200, "half of the recipients are away");
        assert!((delivery.agreement - 1.0).abs() < 1e-9, "{}", delivery.agreement);
    }

    #[test]
    fn a_stage_that_is_missing_is_seen_in_the_agreement() {
        let [first, _, last] = fixture::readings();
        let period = last.since(&first).expect("one run");
        let way = Way::of(&TO_ACK, |span| match span {
            "sync" => Histogram::default(),
            _ => period.message(span),
        });
        assert!((way.agreement - 0.4).abs() < 1e-9, "{}", way.agreement);
    }
}
