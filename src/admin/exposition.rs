//! The figures in Prometheus' text format, version 0.0.4.

use crate::metrics::message::Span;
use crate::metrics::rounds::Step;
use crate::metrics::{Counter, Gauge, Histogram, ShardMetrics, Stage, bucket_end};
use std::fmt::Write;
use std::sync::Arc;

/// The format's media type.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Powers of two, in nanoseconds, that histograms are thinned to: 1 us to 17 s.
const BOUND_POWERS: std::ops::RangeInclusive<u32> = 10..=34;

/// The family of messages between shards; a pair that had none has no sample.
const RELAYS: &str = "messages_relayed_total";

/// What the process says of itself.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    /// Memory in use, bytes.
    pub resident_bytes: u64,
    /// Descriptors open.
    pub open_files: u64,
    /// CPU used by all threads, seconds.
    pub cpu_seconds: f64,
    /// Seconds since the Unix epoch.
    pub start_seconds: f64,
    /// `sync`, `async` or `none`.
    pub durability: &'static str,
}

/// Everything, shard by shard.
pub fn render(shards: &[Arc<ShardMetrics>], process: &Process) -> String {
    let mut page = Page { out: String::with_capacity(16 * 1024) };
    page.process(process);
    for counter in Counter::ALL {
        page.family(counter.name(), counter.help(), "counter");
        for (index, shard) in shards.iter().enumerate() {
            match counter {
                Counter::Refused => page.refusals(index, shard),
                _ => page.sample(counter.name(), index, shard.counter(*counter)),
            }
        }
    }
    for gauge in Gauge::ALL {
        page.family(gauge.name(), gauge.help(), "gauge");
        for (index, shard) in shards.iter().enumerate() {
            let value = shard.gauge(*gauge);
            match gauge {
                Gauge::Heartbeat => page.milliseconds(gauge.name(), index, value),
                _ => page.sample(gauge.name(), index, value),
            }
        }
    }
    page.family(RELAYS, "Messages posted to another shard.", "counter");
    for (index, shard) in shards.iter().enumerate() {
        page.relays(index, shard);
    }
    page.family("away_total", "Rounds that took long, by their longest step.", "counter");
    for step in Step::ALL {
        for (index, shard) in shards.iter().enumerate() {
            page.away(*step, index, shard);
        }
    }
    page.family("stage_seconds", "Where a shard's time goes, by stage.", "histogram");
    for stage in Stage::ALL {
        for (index, shard) in shards.iter().enumerate() {
            let labels = format!("shard=\"{index}\",stage=\"{}\"", stage.name());
            page.histogram("stage_seconds", &labels, shard.stage(*stage));
        }
    }
    page.family("message_seconds", "Where a message's time goes, by span.", "histogram");
    for span in Span::ALL {
        for (index, shard) in shards.iter().enumerate() {
            let labels = format!("shard=\"{index}\",span=\"{}\"", span.name());
            page.histogram("message_seconds", &labels, shard.span(*span));
        }
    }
    page.out
}

struct Page {
    out: String,
}

/// Writing to a `String` cannot fail, so the results below are dropped.
impl Page {
    fn family(&mut self, name: &str, help: &str, kind: &str) {
        let _ = writeln!(self.out, "# HELP anser_{name} {help}");
        let _ = writeln!(self.out, "# TYPE anser_{name} {kind}");
    }

    fn sample(&mut self, name: &str, shard: usize, value: u64) {
        let _ = writeln!(self.out, "anser_{name}{{shard=\"{shard}\"}} {value}");
    }

    /// What is kept in ms is shown in seconds, as Prometheus has all times.
    fn milliseconds(&mut self, name: &str, shard: usize, value: u64) {
        let seconds = value as f64 / 1e3;
        let _ = writeln!(self.out, "anser_{name}{{shard=\"{shard}\"}} {seconds}");
    }

    fn process(&mut self, process: &Process) {
        let (version, revision) = (env!("CARGO_PKG_VERSION"), env!("ANSER_REVISION"));
        let durability = process.durability;
        self.family("info", "What runs: always 1.", "gauge");
        let _ = writeln!(
            self.out,
            "anser_info{{version=\"{version}\",revision=\"{revision}\",\
             durability=\"{durability}\"}} 1"
        );
        self.family("process_resident_bytes", "Memory in use.", "gauge");
        let _ = writeln!(self.out, "anser_process_resident_bytes {}", process.resident_bytes);
        self.family("process_open_files", "Descriptors open.", "gauge");
        let _ = writeln!(self.out, "anser_process_open_files {}", process.open_files);
        self.family("process_cpu_seconds_total", "CPU used by all threads.", "counter");
        let _ = writeln!(self.out, "anser_process_cpu_seconds_total {}", process.cpu_seconds);
        self.family("process_start_time_seconds", "When it started, Unix time.", "gauge");
        let _ = writeln!(self.out, "anser_process_start_time_seconds {}", process.start_seconds);
    }

    /// By reason; those that found no place of their own are `other`, so that the sum is right.
    fn refusals(&mut self, index: usize, shard: &ShardMetrics) {
        let total = shard.counter(Counter::Refused);
        let mut named = 0;
        for (reason, count) in shard.refusals() {
            named += count;
            self.refusal(index, reason, count);
        }
        self.refusal(index, "other", total.saturating_sub(named));
    }

    fn refusal(&mut self, index: usize, reason: &str, count: u64) {
        let name = Counter::Refused.name();
        let _ = writeln!(self.out, "anser_{name}{{shard=\"{index}\",reason=\"{reason}\"}} {count}");
    }

    fn relays(&mut self, index: usize, shard: &ShardMetrics) {
        for (to, count) in shard.relays() {
            let _ = writeln!(self.out, "anser_{RELAYS}{{shard=\"{index}\",to=\"{to}\"}} {count}");
        }
    }

    fn away(&mut self, step: Step, index: usize, shard: &ShardMetrics) {
        let (doing, count) = (step.name(), shard.away(step));
        let _ =
            writeln!(self.out, "anser_away_total{{shard=\"{index}\",doing=\"{doing}\"}} {count}");
    }

    /// Buckets hold what is below their bound; in whole nanoseconds that is `le` but for one.
    fn histogram(&mut self, name: &str, labels: &str, histogram: &Histogram) {
        let (counts, sum) = histogram.read();
        let mut below = 0;
        let mut buckets = counts.iter().enumerate().peekable();
        for power in BOUND_POWERS {
            let bound = 1_u64 << power;
            while let Some((_, count)) = buckets.next_if(|(at, _)| bucket_end(*at) <= bound) {
                below += count;
            }
            let seconds = bound as f64 / 1e9;
            let _ = writeln!(self.out, "anser_{name}_bucket{{{labels},le=\"{seconds}\"}} {below}");
        }
        let total: u64 = counts.iter().sum();
        let seconds = sum as f64 / 1e9;
        let _ = writeln!(self.out, "anser_{name}_bucket{{{labels},le=\"+Inf\"}} {total}");
        let _ = writeln!(self.out, "anser_{name}_sum{{{labels}}} {seconds}");
        let _ = writeln!(self.out, "anser_{name}_count{{{labels}}} {total}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const PROCESS: Process = Process {
        resident_bytes: 1024,
        open_files: 9,
        cpu_seconds: 1.5,
        start_seconds: 1_700_000_000.25,
        durability: "sync",
    };

    fn render_with(fill: impl Fn(&ShardMetrics)) -> String {
        let shards = [Arc::<ShardMetrics>::default(), Arc::default()];
        fill(&shards[1]);
        render(&shards, &PROCESS)
    }

    /// Invariant 2 of admin.
    #[test]
    fn help_and_type_stand_once_before_all_samples_of_a_family() {
        let text = render_with(|_| {});
        let (mut families, mut current) = (BTreeSet::new(), String::new());
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                current = help.split(' ').next().expect("a name").to_owned();
                assert!(families.insert(current.clone()), "{current} comes twice");
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                assert!(kind.starts_with(&format!("{current} ")), "{kind}");
            } else {
                assert!(line.starts_with(&current), "{line} is not of {current}");
            }
        }
        assert_eq!(families.len(), Counter::ALL.len() + Gauge::ALL.len() + 9);
    }

    #[test]
    fn figures_carry_their_shard() {
        let text = render_with(|shard| {
            shard.count(Counter::Sent, 7);
            shard.record_span(Span::Delivery, 2_000_000);
            shard.note_away(Step::Decode, Vec::new());
            shard.set(Gauge::Connections, 3);
            shard.set(Gauge::Heartbeat, 61_250);
            shard.relay(0, 5);
        });
        assert!(text.contains("anser_messages_sent_total{shard=\"0\"} 0\n"), "{text}");
        assert!(text.contains("anser_messages_sent_total{shard=\"1\"} 7\n"));
        assert!(text.contains("anser_connections{shard=\"1\"} 3\n"));
        assert!(text.contains("anser_heartbeat_seconds{shard=\"1\"} 61.25\n"));
        assert!(text.contains("anser_messages_relayed_total{shard=\"1\",to=\"0\"} 5\n"));
        assert!(text.contains("anser_away_total{shard=\"1\",doing=\"decode\"} 1\n"));
        let delivery = "anser_message_seconds_count{shard=\"1\",span=\"delivery\"} 1\n";
        assert!(text.contains(delivery), "{text}");
        assert!(text.contains("anser_process_start_time_seconds 1700000000.25\n"));
    }

    #[test]
    fn refusals_add_up_over_their_reasons() {
        let reasons: Vec<&'static str> = (0..40).map(|n| &*format!("r{n}").leak()).collect();
        let text = render_with(|shard| reasons.iter().for_each(|reason| shard.refuse(reason)));
        let sum: u64 = text
            .lines()
            .filter(|line| line.starts_with("anser_refusals_total{shard=\"1\""))
            .map(|line| line.rsplit(' ').next().expect("a value").parse::<u64>().expect("a number"))
            .sum();
        assert_eq!(sum, 40);
        assert!(text.contains("{shard=\"1\",reason=\"r0\"} 1\n"));
    }

    #[test]
    fn histogram_buckets_rise_and_end_with_the_count() {
        let text = render_with(|shard| {
            for nanos in [500, 1023, 1024, 3_000_000, u64::from(u32::MAX) * 100] {
                shard.record(Stage::Sync, nanos);
            }
        });
        let sync: Vec<_> =
            text.lines().filter(|line| line.contains("shard=\"1\",stage=\"sync\"")).collect();
        assert!(sync[0].ends_with("le=\"0.000001024\"} 2"), "{}", sync[0]);
        assert!(sync[1].ends_with("le=\"0.000002048\"} 3"), "{}", sync[1]);
        assert!(sync[12].ends_with("le=\"0.004194304\"} 4"), "{}", sync[12]);
        assert!(sync[25].ends_with("le=\"+Inf\"} 5"), "{}", sync[25]);
        assert_eq!(sync[27], "anser_stage_seconds_count{shard=\"1\",stage=\"sync\"} 5");
    }

    /// Invariant 1 of admin.
    #[test]
    fn the_same_figures_give_the_same_bytes_and_reading_changes_none() {
        let shards = [Arc::<ShardMetrics>::default(), Arc::default()];
        shards[0].count(Counter::Sent, 5);
        shards[1].record(Stage::Sync, 77);
        let first = render(&shards, &PROCESS);
        assert_eq!(render(&shards, &PROCESS), first);
    }
}
