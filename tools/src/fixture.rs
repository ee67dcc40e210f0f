//! Documents of a server that never was, for tests: two shards, two seconds, round figures.

use crate::readings::{Away, Latency, Slow};
use serde_json::{Value, json};

/// When it began, ms since the Unix epoch.
pub const UNIX_MS: u64 = 1_795_485_400_000;

/// What one message costs in each span, ns. The first six make up an Ack of 1 ms, all but `send`
/// and `ack` a delivery of 2 ms.
const SPANS: &[(&str, u64)] = &[
    ("decode", 100_000),
    ("apply", 60_000),
    ("write", 40_000),
    ("sync", 600_000),
    ("release", 150_000),
    ("send", 50_000),
    ("ack", 1_000_000),
    ("relay", 200_000),
    ("deliver", 50_000),
];

/// The same of those whose recipients are there: half of all.
const THERE: &[(&str, u64)] = &[("push", 800_000), ("delivery", 2_000_000)];

/// `count` durations of so many ns each, all in one bucket.
fn histogram(nanos: u64, count: u64) -> Value {
    let end = nanos.next_power_of_two();
    let buckets = if count == 0 { json!([]) } else { json!([[end, count]]) };
    json!({"count": count, "sumNs": nanos * count, "buckets": buckets})
}

fn shard(shard: u16, messages: u64) -> Value {
    let mut spans = json!({});
    for (span, nanos) in SPANS {
        spans[span] = histogram(*nanos, messages);
    }
    for (span, nanos) in THERE {
        spans[span] = histogram(*nanos, messages / 2);
    }
    let rounds = json!({
        "turn": histogram(20_000, messages),
        "write": histogram(5_000, messages),
        "sync": histogram(500_000, messages / 2),
        "release": histogram(3_000, messages),
        "away": histogram(2_500_000, messages),
    });
    json!({"shard": shard, "messages": spans, "rounds": rounds})
}

/// `/admin/latency` after so many seconds, in each of which each shard acks 100 messages.
pub fn latency(seconds: u64) -> Value {
    let messages = 1_000 + 100 * seconds;
    json!({
        "steadyNs": 5_000_000_000 + seconds * 1_000_000_000,
        "unixMs": UNIX_MS + 1000 * seconds,
        "shards": [shard(0, messages), shard(1, messages)],
    })
}

/// `/admin/slow`: two of this stretch, one of before.
pub fn slow() -> Value {
    let message = |id: &str, received: u64, part: u64| {
        json!({
            "id": id, "author": 119, "recipient": 145, "shard": 0, "toShard": 1,
            "totalNs": 10 * part, "receivedUnixMs": received,
            "stampsNs": {
                "received": 0, "decoded": part, "applied": 2 * part, "written": 3 * part,
                "synced": 6 * part, "released": 7 * part, "sent": 8 * part, "relayed": 8 * part,
                "delivered": 9 * part, "pushed": 10 * part,
            },
        })
    };
    json!({"steadyNs": 1, "unixMs": UNIX_MS, "messages": [
        message("1268242042090294000", UNIX_MS - 100, 9_000_000),
        message("1268242042090296000", UNIX_MS + 1200, 2_000_000),
        message("1268242042090295000", UNIX_MS + 100, 1_000_000),
    ]})
}

/// `/admin/away`: two of this stretch, one of before.
pub fn away() -> Value {
    let round = |unix_ms: u64, ns: u64| {
        json!({
            "shard": 0, "unixMs": unix_ms, "ns": ns, "doing": "decode", "doingNs": ns / 2,
            "waitedNs": ns / 4,
        })
    };
    json!({"steadyNs": 1, "unixMs": UNIX_MS, "rounds": [
        round(UNIX_MS + 1900, 2_500_000),
        round(UNIX_MS + 300, 17_000_000),
        round(UNIX_MS - 5, 99_000_000),
    ]})
}

/// Three readings, a second apart.
pub fn readings() -> [Latency; 3] {
    [0, 1, 2].map(|seconds| serde_json::from_value(latency(seconds)).expect("as documented"))
}

/// What the server kept whole.
pub fn kept() -> (Slow, Away) {
    let slow = serde_json::from_value(slow()).expect("as documented");
    (slow, serde_json::from_value(away()).expect("as documented"))
}

/// `/metrics` after so many seconds of a server that had run for two hours and five minutes.
pub fn metrics(seconds: u64) -> String {
    let started = UNIX_MS / 1000 - 7500;
    let mut text = format!(
        "anser_info{{version=\"0.1.0\",durability=\"sync\"}} 1\n\
         anser_process_start_time_seconds {started}\n\
         anser_process_cpu_seconds_total {}\n\
         anser_process_resident_bytes 199229440\n",
        400.0 + 0.5 * seconds as f64
    );
    for shard in 0..2 {
        let figures = [
            ("messages_sent_total", 1_000 + 100 * seconds),
            ("messages_pushed_total", 500 + 50 * seconds),
            ("acks_received_total", 500 + 49 * seconds),
            ("http_requests_total", 7 * seconds),
            ("bytes_received_total", 30_000 * seconds),
            ("bytes_sent_total", 60_000 * seconds),
            ("connections", 50 + seconds),
            ("overlay_bytes", 25_165_824),
            ("index_lag", 1_234),
            ("log_segments", 3),
            ("store_failed", 0),
        ];
        for (name, value) in figures {
            text.push_str(&format!("anser_{name}{{shard=\"{shard}\"}} {value}\n"));
        }
    }
    text
}
