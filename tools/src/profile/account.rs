//! The account of where messages' time went, made of readings: figures alone, no words.

use crate::readings::{Away, AwayRound, Latency, Period, ShardLatency, Slow, SlowMessage};
use crate::spans::{TO_ACK, TO_RECIPIENT};
use crate::ways::{Figures, Way};
use anyhow::Context;
use serde::Serialize;

/// The steps of a shard's round that have histograms, in order, and what `away` adds up to.
const STEPS: &[&str] = &["turn", "write", "sync", "release", "away"];

/// Where the time went in one stretch of a server's life.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    /// When it began, ms since the Unix epoch, by the server's clock.
    pub begun_unix_ms: u64,
    /// How long it was.
    pub seconds: f64,
    /// Why it is shorter than it was to be, if it is.
    pub broken_off: Option<String>,
    /// To the author's Ack, and to the recipient.
    pub ways: Vec<Way>,
    /// The shards' rounds, step by step.
    pub rounds: Vec<Figures>,
    /// By shard.
    pub shards: Vec<Shard>,
    /// Second by second.
    pub times: Vec<Second>,
    /// The slowest messages that ended in it, slowest first.
    pub slowest: Vec<SlowMessage>,
    /// Rounds of it in which a shard heard nobody for long, longest first.
    pub away: Vec<AwayRound>,
}

/// One shard's part in it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shard {
    /// The shard.
    pub shard: u16,
    /// Arrival to Ack, of its authors.
    pub ack: Figures,
    /// What they waited of that.
    pub queueing: f64,
    /// Arrival to push.
    pub delivery: Figures,
    /// Its rounds.
    pub away: Figures,
    /// What of the time it was in them.
    pub busy: f64,
}

/// One second of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Second {
    /// When it ended, since the beginning.
    pub end_seconds: f64,
    /// How long it was.
    pub seconds: f64,
    /// Arrival to Ack.
    pub ack: Figures,
    /// Arrival to push.
    pub delivery: Figures,
    /// Writes to the log.
    pub sync: Figures,
    /// The shards' rounds.
    pub away: Figures,
    /// Arrival to Ack: the end of each bucket, ns, and what it holds.
    pub ack_buckets: Vec<(u64, u64)>,
}

impl Second {
    /// Of what came between two readings, of which the later was taken `end_seconds` after the
    /// first of all.
    pub fn of(period: &Period, end_seconds: f64) -> Second {
        let ack = period.message("ack");
        Second {
            end_seconds,
            seconds: period.seconds(),
            ack: Figures::of("ack", &ack),
            delivery: Figures::of("delivery", &period.message("delivery")),
            sync: Figures::of("sync", &period.round("sync")),
            away: Figures::of("away", &period.round("away")),
            ack_buckets: ack.buckets().collect(),
        }
    }
}

impl Account {
    /// Of readings taken one after another, and of what the server kept whole meanwhile.
    pub fn of(
        first: &Latency,
        last: &Latency,
        times: Vec<Second>,
        (slow, away): (Slow, Away),
    ) -> anyhow::Result<Account> {
        let period = last.since(first).context(ANOTHER_RUN)?;
        let is_of_it = |unix_ms: u64| (first.unix_ms..=last.unix_ms).contains(&unix_ms);
        let mut slowest = slow.messages;
        // As spans are counted: when it ended.
        let ended_ms =
            |message: &SlowMessage| message.received_unix_ms + message.total_ns / 1_000_000;
        slowest.retain(|message| is_of_it(ended_ms(message)));
        slowest.sort_by_key(|message| std::cmp::Reverse(message.total_ns));
        let mut away = away.rounds;
        away.retain(|round| is_of_it(round.unix_ms));
        away.sort_by_key(|round| std::cmp::Reverse(round.ns));
        let seconds = period.seconds();
        Ok(Account {
            begun_unix_ms: first.unix_ms,
            seconds,
            broken_off: None,
            ways: [&TO_ACK, &TO_RECIPIENT]
                .map(|path| Way::of(path, |span| period.message(span)))
                .into(),
            rounds: STEPS.iter().map(|step| Figures::of(step, &period.round(step))).collect(),
            shards: period.shards.iter().map(|shard| Shard::of(shard, period.nanos)).collect(),
            times,
            slowest,
            away,
        })
    }
}

/// Two readings do not belong together.
pub const ANOTHER_RUN: &str = "the server was started again meanwhile: nothing can be told of it";

impl Shard {
    fn of(shard: &ShardLatency, nanos: u64) -> Shard {
        let away = Figures::of("away", &shard.round("away"));
        Shard {
            shard: shard.shard,
            ack: Figures::of("ack", &shard.message("ack")),
            queueing: Way::of(&TO_ACK, |span| shard.message(span)).queueing,
            delivery: Figures::of("delivery", &shard.message("delivery")),
            busy: away.sum_ns as f64 / nanos.max(1) as f64,
            away,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn account() -> Account {
        let [first, _, last] = fixture::readings();
        let times = Vec::new();
        Account::of(&first, &last, times, fixture::kept()).expect("one run")
    }

    #[test]
    fn what_was_kept_is_told_of_this_stretch_alone_and_the_worst_first() {
        let account = account();
        let ids: Vec<_> = account.slowest.iter().map(|message| &*message.id).collect();
        assert_eq!(ids, ["1268242042090296000", "1268242042090295000"]);
        let away: Vec<_> = account.away.iter().map(|round| round.ns).collect();
        assert_eq!(away, [17_000_000, 2_500_000]);
    }

    #[test]
    fn each_shard_has_its_part_and_a_server_that_was_started_again_none() {
        let account = account();
        let acks: Vec<_> = account.shards.iter().map(|shard| shard.ack.count).collect();
        assert_eq!(acks, [200, 200]);
        assert!((account.shards[0].busy - 0.25).abs() < 1e-9, "{}", account.shards[0].busy);
        let [first, _, last] = fixture::readings();
        let told = Account::of(&last, &first, Vec::new(), fixture::kept());
        assert_eq!(told.expect_err("time ran backwards").to_string(), ANOTHER_RUN);
    }
}
