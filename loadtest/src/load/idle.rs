//! Many connections that do nothing but live; then, if wanted, they all chat.

use super::accounts::{MessageIds, SETTLE_WITHIN, Target};
use super::process;
use super::seconds::Seconds;
use super::sockets::Sockets;
use super::words::{self, Word};
use crate::outcome::{Outcome, Run, Scenario};
use anyhow::{Result, bail, ensure};
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
    #[arg(long, default_value_t = 15_000)]
    pub connections: usize,
    /// Each connection sends a Heartbeat so often.
    #[arg(long, default_value_t = 15)]
    pub heartbeat_seconds: u64,
    /// How long to idle.
    #[arg(long, default_value_t = 30)]
    pub seconds: u64,
    /// All of them leave and come again, so often in all.
    #[arg(long, default_value_t = 1)]
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
        ensure!(self.connections.is_multiple_of(2), "neighbours are pairs: an even number, please");
        let users = self.target.register(self.connections)?;
        std::thread::sleep(CALM);
        let before = self.target.resident_bytes();
        outcome.add(json!({"resident_bytes_before": before}));
        let mut seconds = Seconds::begin(&self.target, "heartbeats");
        let mut rounds = Vec::new();
        for round in 1..=self.rounds {
            let mut report = self.round(&users, before, &mut seconds)?;
            std::thread::sleep(CALM);
            report["resident_bytes_left"] =
                json!(self.target.resident_bytes().saturating_sub(before));
            report["round"] = json!(round);
            rounds.push(report);
        }
        seconds.end(outcome);
        outcome.add(json!({"rounds": rounds}));
        Ok(())
    }
}

impl Idle {
    /// All come, idle, chat if they are to, and leave.
    fn round(&self, users: &[i64], resident_before: u64, seconds: &mut Seconds) -> Result<Value> {
        let begun = Instant::now();
        let mut sockets = self.target.connect(Sockets::new()?, users)?;
        let connecting = begun.elapsed();
        let (cpu_before, own_before) = (self.target.cpu_ms(), process::own_cpu_ms());
        let begun = Instant::now();
        self.idle(&mut sockets, users, seconds)?;
        let took = begun.elapsed();
        let used_ms = self.target.cpu_ms() - cpu_before;
        let own_ms = process::own_cpu_ms() - own_before;
        let grown = self.target.resident_bytes().saturating_sub(resident_before);
        let mut report = json!({
            "connects_per_second": (self.connections as f64 / connecting.as_secs_f64()).round(),
            "resident_bytes_per_connection": grown / self.connections.max(1) as u64,
            "server_cores": used_ms as f64 / took.as_millis() as f64,
            "own_cores": own_ms as f64 / took.as_millis() as f64,
        });
        if self.then_chat {
            let begun = Instant::now();
            chat(&mut sockets, users)?;
            report["chat_ms"] = json!(begun.elapsed().as_millis() as u64);
        }
        Ok(report)
    }

    /// Heartbeats go out evenly over time; nothing but Pings comes in.
    fn idle(&self, sockets: &mut Sockets, users: &[i64], seconds: &mut Seconds) -> Result<()> {
        let begun = Instant::now();
        let mut beaten = 0;
        while begun.elapsed() < Duration::from_secs(self.seconds) {
            let share = begun.elapsed().as_secs_f64() / self.heartbeat_seconds as f64;
            let due = (share * users.len() as f64) as usize;
            for index in (beaten..due).map(|number| number % users.len()) {
                words::heartbeat(sockets.outbound(index), users[index]);
            }
            seconds.count((due - beaten) as u64);
            seconds.look();
            beaten = due;
            sockets.round(Duration::from_millis(1), |_, said, _| {
                bail!("nothing should come to the idle, but {}", said.text()?.escape_ascii())
            })?;
        }
        Ok(())
    }
}

/// Everybody writes to his neighbour at once; each must get one Ack and one message.
fn chat(sockets: &mut Sockets, users: &[i64]) -> Result<()> {
    let ids = MessageIds::new();
    for (index, from) in users.iter().enumerate() {
        let id = ids.of(index as u64);
        words::message(sockets.outbound(index), *from, users[index ^ 1], id, 0);
    }
    let deadline = Instant::now() + SETTLE_WITHIN;
    let mut left = users.len() * 2;
    let mut seen = vec![(false, false); users.len()];
    while left > 0 {
        ensure!(Instant::now() < deadline, "{left} Acks or messages never came");
        sockets.round(Duration::from_millis(50), |index, said, out| {
            let text = said.text()?;
            let was_seen = match words::read(text) {
                Some(Word::Ack { source }) if source == ids.of(index as u64) => {
                    std::mem::replace(&mut seen[index].0, true)
                }
                Some(Word::Message { id, content }) if id == ids.of(index as u64 ^ 1) => {
                    let mut expected = Vec::new();
                    words::content(&mut expected, users[index ^ 1], 0);
                    ensure!(content == expected, "message {id} has another content");
                    words::ack(out, id);
                    std::mem::replace(&mut seen[index].1, true)
                }
                _ => bail!("not what was expected: {}", text.escape_ascii()),
            };
            ensure!(!was_seen, "it came twice: {}", text.escape_ascii());
            left -= 1;
            Ok(())
        })?;
    }
    // The last acks are still to be sent.
    sockets.round(Duration::ZERO, |_, said, _| {
        bail!("nothing more should come, but {}", said.text()?.escape_ascii())
    })
}
