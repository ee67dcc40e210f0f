//! What a run cost: time of cores by thread, bytes written, memory.

use super::accounts::Target;
use super::process;
use super::stages::Stages;
use crate::outcome::Outcome;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Instant;

/// So much of a core another process must have had to be told: 1 ms of a second.
const OTHER_CORES_MIN: f64 = 0.001;

/// What was done meanwhile.
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    /// So many messages, or what a scenario has instead.
    pub messages: u64,
    /// What so many a second are called, such as `delivered_per_second`.
    pub rate: &'static str,
}

impl Counted {
    /// So many messages have come to their recipients.
    pub fn delivered(messages: u64) -> Counted {
        Counted { messages, rate: "delivered_per_second" }
    }
}

/// Where the counters stood when measuring began.
pub struct Usage {
    begun: Instant,
    own_ms: u64,
    server_ms: u64,
    threads_ms: BTreeMap<String, u64>,
    others_ms: BTreeMap<String, u64>,
    written: u64,
    stolen_ms: u64,
    stages: Option<Stages>,
}

impl Usage {
    /// Reads the counters.
    pub fn begin(target: &Target) -> Usage {
        let is_first = target.part.is_first();
        Usage {
            begun: Instant::now(),
            own_ms: process::own_cpu_ms(),
            server_ms: target.cpu_ms(),
            threads_ms: target.threads_cpu_ms(),
            others_ms: if is_first { target.others_cpu_ms() } else { BTreeMap::new() },
            written: target.written_bytes(),
            stolen_ms: process::stolen_ms(),
            stages: is_first.then(|| target.stages()).flatten(),
        }
    }

    /// What was used since, also for each of so many messages; the outcome gets the warnings. Of
    /// several parts the first one tells it of all: they meet here.
    ///
    /// The bytes written are all that the process had written: log segments that it makes ahead,
    /// full of zeros, are among them, and in a short run they are most of it.
    pub fn end(&self, target: &Target, counted: Counted, outcome: &mut Outcome) -> Value {
        let Counted { messages, rate } = counted;
        let messages = target.part.meet(messages);
        if !target.part.is_first() {
            return json!({});
        }
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
        let own_cores = share(process::own_cpu_ms() - self.own_ms);
        outcome.note_own_cores(own_cores, target.part.count());
        let mut used = json!({
            "seconds": took.as_secs_f64(),
            rate: (messages as f64 / took.as_secs_f64()).round(),
            "own_cores": own_cores,
            "cores_were_away_ms": process::stolen_ms() - self.stolen_ms,
        });
        if target.is_process_known(outcome) {
            let written = target.written_bytes().saturating_sub(self.written);
            used["server_cores"] = json!(share(target.cpu_ms().saturating_sub(self.server_ms)));
            used["cpu_us_a_message_by_thread"] = json!(threads);
            used["others_cores"] = json!(self.others_cores(target, share));
            used["bytes_written_a_message"] = json!(each(written));
            used["server_resident_bytes"] = json!(target.resident_bytes());
        }
        if let (Some(now), Some(before)) = (target.stages(), &self.stages) {
            used["server_stages_ms"] = now.since(before);
        }
        used
    }

    /// How much of a core each other process had since, by name, without those that had next to
    /// nothing. What they had while the server or the load waited for it is in the tail.
    fn others_cores(&self, target: &Target, share: impl Fn(u64) -> f64) -> BTreeMap<String, f64> {
        let since = |(name, ms): (String, u64)| {
            let before = self.others_ms.get(&name).copied().unwrap_or(0);
            (name, share(ms.saturating_sub(before)))
        };
        let all = target.others_cpu_ms().into_iter().map(since);
        all.filter(|(_, cores)| *cores >= OTHER_CORES_MIN).collect()
    }
}
