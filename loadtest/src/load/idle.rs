//! Many connections that do nothing but live; then, if wanted, they all chat.
//!
//! Their memory is the server's and the kernel's: its slabs (sockets, files) and its queues.

use super::accounts::Target;
use super::crew::{Crew, Order};
use super::process;
use super::seconds::Seconds;
use crate::arguments;
use crate::interrupt;
use crate::outcome::{Outcome, Run, Scenario};
use anyhow::Result;
use serde::Serialize;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How long the server gets to finish what registering or leaving began, before its memory is read.
const CALM: Duration = Duration::from_secs(2);

/// What to run.
#[derive(Clone, Debug, Serialize, clap::Args)]
pub struct Idle {
    /// Where.
    #[command(flatten)]
    #[serde(skip)]
    pub target: Target,
    /// What every scenario is told.
    #[command(flatten)]
    #[serde(skip)]
    pub run: Run,
    /// Connections, each of a user of its own.
    #[arg(long, default_value_t = 15_000, value_parser = arguments::paired)]
    pub connections: usize,
    /// Each connection sends a Heartbeat so often.
    #[arg(long, default_value_t = 15, value_parser = arguments::positive::<u64>)]
    pub heartbeat_seconds: u64,
    /// How long to idle.
    #[arg(long, default_value_t = 30, value_parser = arguments::positive::<u64>)]
    pub seconds: u64,
    /// How long to idle before measuring, in each round.
    #[arg(long, default_value_t = 0)]
    pub warm_seconds: u64,
    /// All of them leave and come again, so often in all.
    #[arg(long, default_value_t = 1, value_parser = arguments::positive::<usize>)]
    pub rounds: usize,
    /// Afterwards everybody sends a message to his neighbour.
    #[arg(long)]
    pub then_chat: bool,
}

impl Scenario for Idle {
    const NAME: &'static str = "idle";

    fn options(&self) -> &Run {
        &self.run
    }

    fn target(&self) -> Option<&Target> {
        Some(&self.target)
    }

    fn run(&self, outcome: &mut Outcome) -> Result<()> {
        let users = self.target.register(self.connections)?;
        let crew = Crew::start(&self.target, self.connections / 2, 2)?;
        std::thread::sleep(CALM);
        let before = Memory::read(&self.target);
        outcome.add(json!({"threads": crew.count()}));
        if self.target.is_process_known(outcome) {
            outcome.add(json!({"resident_bytes_before": before.resident_bytes}));
        }
        let mut seconds = Seconds::begin(&self.target, "heartbeats");
        seconds.pause();
        let mut rounds = Vec::new();
        let ended = (1..=self.rounds).try_for_each(|round| -> Result<()> {
            // Of a round that is broken off there is what was measured until then.
            let mut report = json!({"round": round});
            let ended = self.round(&crew, &users, before, &mut seconds, &mut report);
            rounds.push(report);
            ended
        });
        seconds.end(outcome);
        let is_negative = |report: &Value| {
            report["resident_bytes_per_connection"].as_i64().is_some_and(|bytes| bytes < 0)
        };
        if rounds.iter().any(is_negative) {
            outcome.flag("the server was not fresh: with the connections it held less than before");
        }
        outcome.add(json!({"rounds": rounds}));
        ended
    }
}

impl Idle {
    /// All come, idle, chat if they are to, and leave. What is measured goes into the report.
    fn round(
        &self,
        crew: &Crew,
        users: &[i64],
        before: Memory,
        seconds: &mut Seconds,
        report: &mut Value,
    ) -> Result<()> {
        let (begun, own_before) = (Instant::now(), process::own_cpu_ms());
        crew.connect(users)?;
        let connecting = begun.elapsed().as_secs_f64();
        let connecting_own_ms = process::own_cpu_ms().saturating_sub(own_before);
        let rate = (self.connections as f64 / connecting).round();
        report["connects_per_second"] = json!(rate);
        report["connecting_own_cores"] = json!(connecting_own_ms as f64 / 1000.0 / connecting);
        let (heartbeat_seconds, warm_seconds) = (self.heartbeat_seconds, self.warm_seconds);
        crew.all(&Order::Idle { heartbeat_seconds, seconds: warm_seconds }, |_, _| {})?;
        let (cpu_before, own_before) = (self.target.cpu_ms(), process::own_cpu_ms());
        let (begun, mut beaten) = (Instant::now(), 0);
        seconds.resume();
        let idled = crew.all(&Order::Idle { heartbeat_seconds, seconds: self.seconds }, |_, _| {
            let share = begun.elapsed().as_secs_f64() / heartbeat_seconds as f64;
            let due = (share * users.len() as f64) as u64;
            seconds.count(due - beaten);
            seconds.look();
            beaten = due;
        });
        interrupt::broke_off(idled)?;
        seconds.pause();
        let took_ms = begun.elapsed().as_millis() as f64;
        let used_ms = self.target.cpu_ms().saturating_sub(cpu_before);
        let used_own_ms = process::own_cpu_ms().saturating_sub(own_before);
        let now = Memory::read(&self.target);
        let each = |now: u64, before: u64| difference(now, before) / users.len() as i64;
        let queues = each(now.queue_bytes, before.queue_bytes);
        report["kernel_queue_bytes_per_connection"] = json!(queues);
        let slabs = each(now.slab_bytes, before.slab_bytes);
        report["kernel_slab_bytes_per_connection"] = json!(slabs);
        report["own_cores"] = json!(used_own_ms as f64 / took_ms);
        report["seconds"] = json!(took_ms / 1000.0);
        if self.target.is_process_there() {
            let resident = each(now.resident_bytes, before.resident_bytes);
            report["resident_bytes_per_connection"] = json!(resident);
            report["server_cores"] = json!(used_ms as f64 / took_ms);
        }
        interrupt::check()?;
        if self.then_chat {
            let begun = Instant::now();
            crew.all(&Order::Chat, |_, _| {})?;
            report["chat_ms"] = json!(begun.elapsed().as_millis() as u64);
        }
        crew.all(&Order::Leave, |_, _| {})?;
        std::thread::sleep(CALM);
        if self.target.is_process_there() {
            let left = Memory::read(&self.target).resident_bytes;
            report["resident_bytes_left"] = json!(difference(left, before.resident_bytes));
        }
        Ok(())
    }
}

/// How many bytes more there are now; fewer where memory was given back that was held before.
fn difference(now: u64, before: u64) -> i64 {
    now as i64 - before as i64
}

/// What is held at one time: the server's own memory, and the kernel's for all of the machine,
/// in which both ends of each connection are where they are on one machine.
#[derive(Clone, Copy)]
struct Memory {
    resident_bytes: u64,
    queue_bytes: u64,
    slab_bytes: u64,
}

impl Memory {
    fn read(target: &Target) -> Memory {
        let (queue_bytes, slab_bytes) = process::kernel_bytes().unwrap_or_default();
        Memory { resident_bytes: target.resident_bytes(), queue_bytes, slab_bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_was_given_back_is_told_as_less() {
        assert_eq!((difference(7, 3), difference(3, 7)), (4, -4));
    }
}
