//! The admin port's documents, read.

use crate::admin::get;
use crate::latency::Histogram;
use anyhow::Context;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// `/admin/latency`: how long messages and rounds took, since the server's start.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Latency {
    /// The server's steady clock, ns.
    pub steady_ns: u64,
    /// Its wall clock, ms since the Unix epoch.
    pub unix_ms: u64,
    /// By shard, from 0.
    pub shards: Vec<ShardLatency>,
}

/// One shard's histograms.
#[derive(Clone, Debug, Deserialize)]
pub struct ShardLatency {
    /// The shard.
    pub shard: u16,
    /// By span of a message's way.
    pub messages: BTreeMap<String, Histogram>,
    /// By step of a shard's round.
    pub rounds: BTreeMap<String, Histogram>,
}

/// What came between two readings of [`Latency`].
#[derive(Debug)]
pub struct Period {
    /// How long it was, by the server's steady clock, ns.
    pub nanos: u64,
    /// By shard, from 0.
    pub shards: Vec<ShardLatency>,
}

/// How far back `/admin/slow` looks.
const SLOW_SECONDS_MAX: f64 = 300.0;

/// `/admin/slow`: the slowest messages of the last minutes, slowest first.
#[derive(Clone, Default, Debug, Deserialize)]
pub struct Slow {
    /// Each whole.
    pub messages: Vec<SlowMessage>,
}

/// A slow message, without what it says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SlowMessage {
    /// Its id, as text: many readers of JSON round such numbers.
    pub id: String,
    /// Who sent it.
    pub author: i64,
    /// To whom.
    pub recipient: i64,
    /// The author's shard.
    pub shard: u16,
    /// The recipient's.
    pub to_shard: u16,
    /// From its arrival to its last stage, ns.
    pub total_ns: u64,
    /// When it arrived, ms since the Unix epoch.
    pub received_unix_ms: u64,
    /// Its stages, ns after it arrived; those that never were are missing.
    pub stamps_ns: BTreeMap<String, u64>,
}

impl SlowMessage {
    /// Whether another came at the same time on the same shard and took as long: they shared a
    /// turn, and showing one of them shows both.
    fn is_like(&self, other: &SlowMessage) -> bool {
        let key = |one: &SlowMessage| (one.shard, one.received_unix_ms, one.total_ns);
        key(self) == key(other)
    }
}

/// The first of each kind of slow messages, and how many are like it, itself among them.
pub fn kinds(messages: &[SlowMessage]) -> Vec<(&SlowMessage, usize)> {
    let mut kinds: Vec<(&SlowMessage, usize)> = Vec::new();
    for message in messages {
        match kinds.iter_mut().find(|(first, _)| first.is_like(message)) {
            Some((_, count)) => *count += 1,
            None => kinds.push((message, 1)),
        }
    }
    kinds
}

/// `/admin/away`: rounds in which a shard heard nobody for long, newest first.
#[derive(Clone, Default, Debug, Deserialize)]
pub struct Away {
    /// Each round.
    pub rounds: Vec<AwayRound>,
}

/// A long round of a shard.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AwayRound {
    /// The shard.
    pub shard: u16,
    /// When it began, ms since the Unix epoch.
    pub unix_ms: u64,
    /// How long it was, ns.
    pub ns: u64,
    /// The step that took longest.
    pub doing: String,
    /// How long that took, ns.
    pub doing_ns: u64,
    /// How long the shard waited for a core meanwhile, ns, at most.
    pub waited_ns: u64,
}

/// Asks for `/admin/latency`.
pub fn latency(admin: SocketAddr) -> anyhow::Result<Latency> {
    read(admin, "/admin/latency")
}

/// Asks for `/admin/slow`: all that is kept.
pub fn slow(admin: SocketAddr) -> anyhow::Result<Slow> {
    read(admin, "/admin/slow")
}

/// Asks for `/admin/slow` of what has ended within so many seconds.
pub fn slow_within(admin: SocketAddr, seconds: f64) -> anyhow::Result<Slow> {
    read(admin, &format!("/admin/slow?seconds={:.3}", seconds.min(SLOW_SECONDS_MAX)))
}

/// Asks for `/admin/away`.
pub fn away(admin: SocketAddr) -> anyhow::Result<Away> {
    read(admin, "/admin/away")
}

fn read<T: DeserializeOwned>(admin: SocketAddr, path: &str) -> anyhow::Result<T> {
    let body = get(admin, path)?;
    serde_json::from_str(&body).with_context(|| format!("{path} of {admin} makes no sense"))
}

impl Latency {
    /// What came since an earlier reading; `None` if that was of another run of the server.
    pub fn since(&self, before: &Latency) -> Option<Period> {
        let nanos = self.steady_ns.checked_sub(before.steady_ns)?;
        let mut shards = Vec::new();
        for now in &self.shards {
            let before = before.shards.iter().find(|before| before.shard == now.shard)?;
            shards.push(ShardLatency {
                shard: now.shard,
                messages: all_since(&now.messages, &before.messages)?,
                rounds: all_since(&now.rounds, &before.rounds)?,
            });
        }
        Some(Period { nanos, shards })
    }
}

fn all_since(
    now: &BTreeMap<String, Histogram>,
    before: &BTreeMap<String, Histogram>,
) -> Option<BTreeMap<String, Histogram>> {
    let none = Histogram::default();
    let more = now.iter().map(|(name, histogram)| {
        let more = histogram.since(before.get(name).unwrap_or(&none))?;
        Some((name.clone(), more))
    });
    more.collect()
}

impl ShardLatency {
    /// A span of messages; empty when the server does not know it.
    pub fn message(&self, span: &str) -> Histogram {
        self.messages.get(span).cloned().unwrap_or_default()
    }

    /// A step of rounds; empty when the server does not know it.
    pub fn round(&self, step: &str) -> Histogram {
        self.rounds.get(step).cloned().unwrap_or_default()
    }
}

impl Period {
    /// How long it was, in seconds; never 0.
    pub fn seconds(&self) -> f64 {
        self.nanos.max(1) as f64 / 1e9
    }

    /// A span of messages, all shards together.
    pub fn message(&self, span: &str) -> Histogram {
        sum(self.shards.iter().map(|shard| shard.message(span)))
    }

    /// A step of rounds, all shards together.
    pub fn round(&self, step: &str) -> Histogram {
        sum(self.shards.iter().map(|shard| shard.round(step)))
    }
}

fn sum(histograms: impl Iterator<Item = Histogram>) -> Histogram {
    histograms.fold(Histogram::default(), |mut all, one| {
        all.add(&one);
        all
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::stub;

    const LATENCY: &str = r#"{"steadyNs":5000000000,"unixMs":1795485403547,"shards":[
        {"shard":0,"messages":{"ack":{"count":2,"sumNs":3000,"buckets":[[2048,2]]}},"rounds":{}},
        {"shard":1,"messages":{},"rounds":{"away":{"count":1,"sumNs":90,"buckets":[[96,1]]}}}]}"#;

    const SLOW: &str = r#"{"steadyNs":1,"unixMs":2,"messages":[{"id":"1268242042090295000",
        "author":119,"recipient":145,"shard":0,"toShard":1,"totalNs":77,"receivedUnixMs":3,
        "stampsNs":{"received":0,"decoded":70,"pushed":77}}]}"#;

    const AWAY: &str = r#"{"steadyNs":1,"unixMs":2,"rounds":[
        {"shard":1,"unixMs":4,"ns":2500000,"doing":"decode","doingNs":2400000,
         "waitedNs":2000000}]}"#;

    fn answer(path: &str) -> Option<String> {
        let document = match path {
            "/admin/latency" => LATENCY,
            "/admin/slow" => SLOW,
            "/admin/away" => AWAY,
            _ => return None,
        };
        Some(document.to_owned())
    }

    #[test]
    fn the_documents_of_the_admin_port_are_read() {
        let admin = stub::serve(answer);
        let latency = latency(admin).expect("it is there");
        assert_eq!((latency.shards[0].message("ack").sum_ns, latency.shards.len()), (3000, 2));
        let slow = slow(admin).expect("it is there");
        assert_eq!(slow.messages[0].id, "1268242042090295000");
        assert_eq!(slow.messages[0].stamps_ns["decoded"], 70);
        let away = away(admin).expect("it is there");
        assert_eq!((away.rounds[0].ns, &*away.rounds[0].doing), (2_500_000, "decode"));
    }

    #[test]
    fn messages_that_shared_a_turn_are_of_one_kind() {
        let slow: Slow = serde_json::from_str(SLOW).expect("as above");
        let first = &slow.messages[0];
        let slower = SlowMessage { total_ns: 78, ..first.clone() };
        let other = SlowMessage { shard: 1, ..first.clone() };
        let like = SlowMessage { id: "2".to_owned(), ..first.clone() };
        let messages = [slower, first.clone(), other, like];
        let counts: Vec<_> = kinds(&messages).into_iter().map(|(_, count)| count).collect();
        assert_eq!(counts, [1, 2, 1]);
    }

    #[test]
    fn another_document_is_told_and_not_taken_for_this_one() {
        let admin = stub::serve(|_| Some("<html>".to_owned()));
        let told = latency(admin).expect_err("that is no JSON").to_string();
        assert_eq!(told, format!("/admin/latency of {admin} makes no sense"));
    }

    #[test]
    fn a_period_adds_up_over_shards_and_another_run_has_none() {
        let before: Latency = serde_json::from_str(LATENCY).expect("as above");
        let mut after = before.clone();
        after.steady_ns += 2_000_000_000;
        for shard in &mut after.shards {
            let more = r#"{"count":9,"sumNs":7000,"buckets":[[1024,1],[2048,3]]}"#;
            let more = serde_json::from_str(more).expect("as above");
            shard.messages.insert("ack".to_owned(), more);
        }
        let period = after.since(&before).expect("it only grew");
        assert_eq!(period.seconds(), 2.0);
        assert_eq!((period.message("ack").count(), period.message("ack").sum_ns), (6, 11_000));
        assert_eq!(period.round("away").count(), 0);
        assert!(before.since(&after).is_none());
    }
}
