//! Health and readiness, judged from the shards' gauges, as JSON.

use crate::ids::ShardId;
use crate::metrics::{Counter, Gauge, ShardMetrics};
use std::fmt::Write;
use std::sync::Arc;

/// A shard that took no turn for so long is stuck: idle ones take ten a second.
pub const SILENT_AFTER_MS: u64 = 5_000;

/// How far the server is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Readiness {
    /// Opening stores, applying what outboxes hold.
    Starting,
    /// Accepting.
    Ready,
    /// Told to stop: finishing what was begun.
    Draining,
}

impl Readiness {
    /// The word for operators.
    pub fn word(self) -> &'static str {
        match self {
            Readiness::Starting => "starting",
            Readiness::Ready => "ready",
            Readiness::Draining => "draining",
        }
    }
}

/// Shards that are not well.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Health {
    /// Their stores have failed: they ack nothing any more.
    pub failed: Vec<ShardId>,
    /// They take no turns.
    pub silent: Vec<ShardId>,
    /// The disk is full: nothing new is stored, all else goes on.
    pub is_disk_full: bool,
    /// They have met rows on the disk that cannot be read: those of other users are served.
    pub damaged: Vec<ShardId>,
    /// The disk keeps them waiting for over a second: all goes on, slowly.
    pub slow_disk: Vec<ShardId>,
}

impl Health {
    /// Looks at all shards. `steady_ms` is the clock that [`Gauge::Heartbeat`] is set from; a
    /// shard that has not taken its first turn is starting, not silent.
    pub fn of(shards: &[Arc<ShardMetrics>], steady_ms: u64) -> Health {
        let mut health = Health::default();
        for (index, shard) in shards.iter().enumerate() {
            let id = ShardId(index as u16);
            if shard.gauge(Gauge::StoreFailed) != 0 {
                health.failed.push(id);
            }
            if shard.counter(Counter::Unreadable) != 0 {
                health.damaged.push(id);
            }
            if shard.gauge(Gauge::DiskSlow) != 0 {
                health.slow_disk.push(id);
            }
            health.is_disk_full |= shard.gauge(Gauge::DiskFull) != 0;
            let heartbeat = shard.gauge(Gauge::Heartbeat);
            if heartbeat != 0 && steady_ms.saturating_sub(heartbeat) > SILENT_AFTER_MS {
                health.silent.push(id);
            }
        }
        health
    }

    /// Whether every shard is well.
    pub fn is_good(&self) -> bool {
        self.failed.is_empty() && self.silent.is_empty()
    }
}

/// The body of `/healthz`.
pub fn health_json(health: &Health, durability: &str, shards: usize) -> String {
    let status = match health {
        _ if !health.is_good() => "failed",
        _ if health.is_disk_full => "disk full",
        _ if !health.damaged.is_empty() => "damaged",
        _ if !health.slow_disk.is_empty() => "slow disk",
        _ => "ok",
    };
    let mut out = start(status, durability, shards);
    list(&mut out, "storeFailed", &health.failed);
    list(&mut out, "silent", &health.silent);
    list(&mut out, "damaged", &health.damaged);
    list(&mut out, "slowDisk", &health.slow_disk);
    out.push_str("}\n");
    out
}

/// The body of `/readyz`.
pub fn readiness_json(readiness: Readiness, durability: &str, shards: usize) -> String {
    let mut out = start(readiness.word(), durability, shards);
    out.push_str("}\n");
    out
}

/// The ports that users talk to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ports {
    /// HTTP calls.
    pub http: u16,
    /// WebSockets.
    pub ws: u16,
}

/// The body of `/admin/ports`.
pub fn ports_json(ports: Ports) -> String {
    format!("{{\"http\":{},\"ws\":{}}}\n", ports.http, ports.ws)
}

/// Words are our own and need no escaping.
fn start(status: &str, durability: &str, shards: usize) -> String {
    format!("{{\"status\":\"{status}\",\"durability\":\"{durability}\",\"shards\":{shards}")
}

fn list(out: &mut String, key: &str, shards: &[ShardId]) {
    if shards.is_empty() {
        return;
    }
    let mut separator = '[';
    let _ = write!(out, ",\"{key}\":");
    for shard in shards {
        let _ = write!(out, "{separator}{shard}");
        separator = ',';
    }
    out.push(']');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shards(count: usize) -> Vec<Arc<ShardMetrics>> {
        (0..count).map(|_| Arc::default()).collect()
    }

    /// Invariant 3 of admin.
    #[test]
    fn health_is_red_only_for_a_failed_store_or_a_silent_shard() {
        let shards = shards(3);
        assert!(Health::of(&shards, 60_000).is_good(), "nobody has taken a turn yet");
        shards[0].set(Gauge::Heartbeat, 55_000);
        shards[1].set(Gauge::Heartbeat, 54_999);
        let health = Health::of(&shards, 60_000);
        assert_eq!(health.silent, [ShardId(1)]);
        assert!(!health.is_good());
        shards[1].set(Gauge::Heartbeat, 61_000);
        assert!(Health::of(&shards, 60_000).is_good());
        shards[0].count(Counter::Unreadable, 1);
        let health = Health::of(&shards, 60_000);
        assert!(health.is_good() && health.damaged == [ShardId(0)]);
        shards[1].set(Gauge::DiskSlow, 1);
        let health = Health::of(&shards, 60_000);
        assert!(health.is_good() && health.slow_disk == [ShardId(1)]);
        shards[2].set(Gauge::StoreFailed, 1);
        assert_eq!(Health::of(&shards, 60_000).failed, [ShardId(2)]);
    }

    #[test]
    fn bodies_are_json_with_the_shards_that_are_not_well() {
        let good = health_json(&Health::default(), "sync", 2);
        assert_eq!(good, "{\"status\":\"ok\",\"durability\":\"sync\",\"shards\":2}\n");
        let full = Health { is_disk_full: true, ..Health::default() };
        let expected = "{\"status\":\"disk full\",\"durability\":\"sync\",\"shards\":2}\n";
        assert_eq!(health_json(&full, "sync", 2), expected);
        assert!(full.is_good(), "nothing is lost, and starting again would not help");
        let damaged = Health { damaged: vec![ShardId(1)], ..Health::default() };
        let expected =
            "{\"status\":\"damaged\",\"durability\":\"sync\",\"shards\":2,\"damaged\":[1]}\n";
        assert_eq!(health_json(&damaged, "sync", 2), expected);
        assert!(damaged.is_good(), "starting again would not help, and all others are served");
        let slow = Health { slow_disk: vec![ShardId(0)], ..Health::default() };
        let expected =
            "{\"status\":\"slow disk\",\"durability\":\"sync\",\"shards\":1,\"slowDisk\":[0]}\n";
        assert_eq!(health_json(&slow, "sync", 1), expected);
        assert!(slow.is_good(), "a start would have to read from that disk, too");
        let bad = Health { failed: vec![ShardId(0), ShardId(3)], ..Health::default() };
        let expected =
            "{\"status\":\"failed\",\"durability\":\"async\",\"shards\":4,\"storeFailed\":[0,3]}\n";
        assert_eq!(health_json(&bad, "async", 4), expected);
        let ready = readiness_json(Readiness::Draining, "none", 1);
        assert_eq!(ready, "{\"status\":\"draining\",\"durability\":\"none\",\"shards\":1}\n");
        let ports = ports_json(Ports { http: 8093, ws: 6666 });
        assert_eq!(ports, "{\"http\":8093,\"ws\":6666}\n");
    }
}
