//! What a run cost: time of cores by thread, bytes written, memory.

use super::accounts::Target;
use super::process;
use super::stages::Stages;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Instant;

/// Where the counters stood when measuring began.
pub struct Usage {
    begun: Instant,
    own_ms: u64,
    server_ms: u64,
    threads_ms: BTreeMap<String, u64>,
    written: u64,
    stolen_ms: u64,
    stages: Stages,
}

impl Usage {
    /// Reads the counters.
    pub fn begin(target: &Target) -> Usage {
        Usage {
            begun: Instant::now(),
            own_ms: own_cpu_ms(),
            server_ms: target.cpu_ms(),
            threads_ms: target.threads_cpu_ms(),
            written: target.written_bytes(),
            stolen_ms: process::stolen_ms(),
            stages: target.stages(),
        }
    }

    /// Adds what was used since, also for each of so many messages.
    pub fn report(&self, target: &Target, messages: u64, report: &mut Value) {
        let took = self.begun.elapsed();
        let share = |used_ms: u64| used_ms as f64 / took.as_millis() as f64;
        let each = |total: u64| total as f64 / messages.max(1) as f64;
        let threads: BTreeMap<String, f64> = target
            .threads_cpu_ms()
            .into_iter()
            .map(|(name, ms)| {
                let before = self.threads_ms.get(&name).copied().unwrap_or(0);
                (name, each(ms.saturating_sub(before) * 1000))
            })
            .collect();
        join(
            report,
            json!({
                "seconds": took.as_secs_f64(),
                "delivered_per_second": (messages as f64 / took.as_secs_f64()).round(),
                "server_cores": share(target.cpu_ms() - self.server_ms),
                "own_cores": share(own_cpu_ms() - self.own_ms),
                "cpu_us_a_message_by_thread": threads,
                "bytes_written_a_message": each(target.written_bytes() - self.written),
                "server_resident_bytes": target.resident_bytes(),
                "cores_were_away_ms": process::stolen_ms() - self.stolen_ms,
                "server_stages_ms": target.stages().since(&self.stages),
            }),
        );
    }
}

/// Adds the members of one object to another.
pub fn join(report: &mut Value, more: Value) {
    if let (Value::Object(report), Value::Object(mut more)) = (report, more) {
        report.append(&mut more);
    }
}

fn own_cpu_ms() -> u64 {
    process::cpu_ms(std::process::id()).unwrap_or(0)
}
