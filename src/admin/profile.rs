//! The latency profile as JSON: where messages' time goes, the slowest, and rounds that took long.
//!
//! All figures grow since the start: whoever wants those of a time subtracts two readings.

use crate::metrics::message::{Journey, Span, Stamp};
use crate::metrics::slowest::{WINDOW_NS, slowest_of};
use crate::metrics::{Histogram, ShardMetrics, Stage, bucket_end};
use std::cmp::Reverse;
use std::fmt::Write;
use std::sync::Arc;

/// When a document is made, by both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Monotonic time, ns: the clock of all stamps.
    pub steady_ns: u64,
    /// Ms since the Unix epoch.
    pub unix_ms: i64,
}

/// The body of `/admin/latency`: histograms of each shard, buckets that hold nothing left out.
pub fn latency_json(moment: Moment, shards: &[Arc<ShardMetrics>]) -> String {
    let mut out = start(moment, "shards");
    list(&mut out, shards.iter().enumerate(), |out, (index, shard)| {
        let _ = write!(out, "{{\"shard\":{index},\"messages\":{{");
        let spans = Span::ALL.iter().map(|span| (span.name(), shard.span(*span)));
        separated(out, spans, histogram);
        out.push_str("},\"rounds\":{");
        let stages = Stage::ALL.iter().map(|stage| (stage.name(), shard.stage(*stage)));
        separated(out, stages, histogram);
        out.push_str("}}");
    });
    out
}

/// How far back `/admin/slow` looks, ns, by its query: `seconds=2.5`, or all that is kept. `None`:
/// it is another query.
pub fn slow_within(query: &str) -> Option<u64> {
    if query.is_empty() {
        return Some(WINDOW_NS);
    }
    let seconds = query.strip_prefix("seconds=")?.parse::<f64>().ok()?;
    let ns = (seconds * 1e9) as u64;
    (1..=WINDOW_NS).contains(&ns).then_some(ns)
}

/// The body of `/admin/slow`: the slowest messages that ended within so many ns, slowest first. Who
/// and when, and nothing of what they say.
pub fn slow_json(moment: Moment, shards: &[Arc<ShardMetrics>], within_ns: u64) -> String {
    let shown: Vec<_> = shards.iter().map(|shard| shard.slowest()).collect();
    let slices = shown.iter().map(|slices| &**slices);
    let slowest = slowest_of(slices, moment.steady_ns, within_ns);
    let mut out = start(moment, "messages");
    list(&mut out, slowest.iter(), |out, journey| message(out, journey, moment));
    out
}

/// The body of `/admin/away`: the last rounds of each shard that took long, newest first.
pub fn away_json(moment: Moment, shards: &[Arc<ShardMetrics>]) -> String {
    let each = shards.iter().enumerate();
    let mut rounds: Vec<_> = each
        .flat_map(|(index, shard)| {
            let rounds = shard.away_rounds();
            let newest_first = rounds.iter().rev().map(|round| (index, *round));
            newest_first.collect::<Vec<_>>()
        })
        .collect();
    rounds.sort_by_key(|(_, round)| Reverse(round.unix_ms));
    let mut out = start(moment, "rounds");
    list(&mut out, rounds.iter(), |out, (shard, round)| {
        let (unix_ms, ns, doing) = (round.unix_ms, round.nanos, round.doing.name());
        let (doing_ns, waited_ns) = (round.doing_nanos, round.waited_nanos);
        let _ = write!(
            out,
            "{{\"shard\":{shard},\"unixMs\":{unix_ms},\"ns\":{ns},\"doing\":\"{doing}\",\
             \"doingNs\":{doing_ns},\"waitedNs\":{waited_ns}}}"
        );
    });
    out
}

fn start(moment: Moment, key: &str) -> String {
    let Moment { steady_ns, unix_ms } = moment;
    format!("{{\"steadyNs\":{steady_ns},\"unixMs\":{unix_ms},\"{key}\":[")
}

/// The items of a document's only list, and its end.
fn list<T>(out: &mut String, items: impl Iterator<Item = T>, item: impl Fn(&mut String, T)) {
    separated(out, items, item);
    out.push_str("]}\n");
}

fn separated<T>(out: &mut String, items: impl Iterator<Item = T>, item: impl Fn(&mut String, T)) {
    for (index, next) in items.enumerate() {
        if index > 0 {
            out.push(',');
        }
        item(out, next);
    }
}

fn histogram(out: &mut String, (name, histogram): (&str, &Histogram)) {
    let (counts, sum) = histogram.read();
    let count: u64 = counts.iter().sum();
    let _ = write!(out, "\"{name}\":{{\"count\":{count},\"sumNs\":{sum},\"buckets\":[");
    let filled = counts.iter().enumerate().filter(|(_, count)| **count > 0);
    separated(out, filled, |out, (bucket, count)| {
        let _ = write!(out, "[{},{count}]", bucket_end(bucket));
    });
    out.push_str("]}");
}

fn message(out: &mut String, journey: &Journey, moment: Moment) {
    let Journey { id, author, recipient, shard, to_shard, stamps } = journey;
    let (received, total) = (stamps.received(), stamps.total());
    let ago_ms = moment.steady_ns.saturating_sub(received) / 1_000_000;
    let received_ms = moment.unix_ms - ago_ms as i64;
    let _ = write!(
        out,
        "{{\"id\":\"{id}\",\"author\":{author},\"recipient\":{recipient},\"shard\":{shard},\
         \"toShard\":{to_shard},\"totalNs\":{total},\"receivedUnixMs\":{received_ms},\
         \"stampsNs\":{{"
    );
    let taken = Stamp::ALL.iter().filter_map(|stamp| Some((stamp.name(), stamps.at(*stamp)?)));
    separated(out, taken, |out, (name, nanos)| {
        let _ = write!(out, "\"{name}\":{}", nanos - received);
    });
    out.push_str("}}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::message::Stamps;
    use crate::metrics::rounds::{AwayRound, Step};

    const MOMENT: Moment = Moment { steady_ns: 90_000_000_000, unix_ms: 1_720_000_000_000 };

    fn shards() -> [Arc<ShardMetrics>; 2] {
        [Arc::default(), Arc::default()]
    }

    #[test]
    fn histograms_have_a_count_a_sum_and_the_buckets_that_hold_something() {
        let shards = shards();
        for nanos in [7, 7, 1000] {
            shards[1].record_span(Span::Sync, nanos);
        }
        shards[0].record(Stage::Away, 3);
        let json = latency_json(MOMENT, &shards);
        let head = "{\"steadyNs\":90000000000,\"unixMs\":1720000000000,\"shards\":[{\"shard\":0,\
            \"messages\":{\"decode\":{\"count\":0,\"sumNs\":0,\"buckets\":[]},\"apply\":";
        assert!(json.starts_with(head), "{json}");
        let sync = "\"sync\":{\"count\":3,\"sumNs\":1014,\"buckets\":[[8,2],[1024,1]]}";
        assert_eq!(json.matches(sync).count(), 1, "{json}");
        let away = "\"away\":{\"count\":1,\"sumNs\":3,\"buckets\":[[4,1]]}}},{\"shard\":1,";
        assert!(json.contains(away), "{json}");
        assert!(json.ends_with("}}]}\n"));
    }

    #[test]
    fn a_slow_message_has_its_stamps_and_leaves_out_what_never_happened() {
        let shards = shards();
        let mut stamps = Stamps::default();
        stamps.set(Stamp::Received, 80_000_000_000);
        stamps.set(Stamp::Decoded, 80_000_000_100);
        stamps.set(Stamp::Pushed, 80_500_000_000);
        let id = 1_234_567_890_123_456_789;
        let journey = Journey { id, author: 119, recipient: 145, shard: 0, to_shard: 1, stamps };
        shards[1].show_slowest(vec![Arc::from([journey])]);
        let expected = "{\"steadyNs\":90000000000,\"unixMs\":1720000000000,\"messages\":[\
            {\"id\":\"1234567890123456789\",\"author\":119,\"recipient\":145,\"shard\":0,\
            \"toShard\":1,\"totalNs\":500000000,\"receivedUnixMs\":1719999990000,\
            \"stampsNs\":{\"received\":0,\"decoded\":100,\"pushed\":500000000}}]}\n";
        assert_eq!(slow_json(MOMENT, &shards, WINDOW_NS), expected);
        let later = Moment { steady_ns: 400_000_000_000, ..MOMENT };
        for (moment, within_ns) in [(later, WINDOW_NS), (MOMENT, 9_000_000_000)] {
            let none = slow_json(moment, &shards, within_ns);
            assert!(none.ends_with("\"messages\":[]}\n"), "{none}");
        }
    }

    #[test]
    fn slow_messages_are_asked_for_of_so_many_seconds_or_of_all() {
        let seconds = |seconds: u64| Some(seconds * 1_000_000_000);
        for (query, within) in [("", seconds(300)), ("seconds=1", seconds(1))] {
            assert_eq!(slow_within(query), within, "{query}");
        }
        assert_eq!(slow_within("seconds=0.25"), Some(250_000_000));
        assert_eq!(slow_within("seconds=300"), seconds(300));
        for wrong in
            ["seconds=0", "seconds=301", "seconds=", "seconds=-1", "s=1", "seconds", "seconds=NaN"]
        {
            assert_eq!(slow_within(wrong), None, "{wrong}");
        }
        assert_eq!(slow_within(&format!("seconds={}", u64::MAX)), None);
    }

    #[test]
    fn rounds_that_took_long_come_newest_first_over_all_shards() {
        let shards = shards();
        let round = |unix_ms, doing| AwayRound {
            unix_ms,
            nanos: 9,
            doing,
            doing_nanos: 5,
            waited_nanos: 3,
        };
        shards[0].note_away(Step::Decode, vec![round(1, Step::Ring), round(4, Step::Decode)]);
        shards[1].note_away(Step::Settle, vec![round(2, Step::Settle)]);
        let json = away_json(MOMENT, &shards);
        let first = "\"rounds\":[{\"shard\":0,\"unixMs\":4,\"ns\":9,\"doing\":\"decode\",\
            \"doingNs\":5,\"waitedNs\":3},{\"shard\":1,\"unixMs\":2,";
        assert!(json.contains(first), "{json}");
        assert_eq!(json.matches("\"doing\"").count(), 3);
    }

    /// Invariant 1 of admin.
    #[test]
    fn the_same_figures_give_the_same_documents() {
        let shards = shards();
        shards[0].record_span(Span::Ack, 12);
        for render in [latency_json, away_json] {
            assert_eq!(render(MOMENT, &shards), render(MOMENT, &shards));
        }
        let slow = || slow_json(MOMENT, &shards, WINDOW_NS);
        assert_eq!(slow(), slow());
    }
}
