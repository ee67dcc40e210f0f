//! How long a server that has much to keep needs from its start to its first Ack.
//!
//! It is a server of its own: it is filled with messages, and then stopped and started again.

use crate::arguments;
use crate::cores::{Shares, allowed};
use crate::latencies::Latencies;
use crate::load::accounts::{MessageIds, Target};
use crate::load::offline::Offline;
use crate::load::sockets::Sockets;
use crate::load::words::{self, Word};
use crate::outcome::{Outcome, Run, Scenario};
use crate::server::{Server, Setup};
use anyhow::{Result, ensure};
use serde::Serialize;
use serde_json::json;
use std::time::{Duration, Instant};

/// The most messages that are stored by one set of users.
const BATCH: usize = 1_000_000;
/// Users away in a set, each with one who writes to them.
const READERS: usize = 1_000;
/// How long the first Ack may take when the server says that it is ready.
const ACK_WITHIN: Duration = Duration::from_secs(60);

/// What to run.
#[derive(Clone, Debug, Serialize, clap::Args)]
pub struct Restart {
    /// What every scenario is told.
    #[command(flatten)]
    #[serde(skip)]
    pub run: Run,
    /// Messages that are stored before: a multiple of 1,000, beyond 1,000,000 of that.
    #[arg(long, default_value_t = 1_000_000, value_parser = arguments::positive::<usize>)]
    pub messages: usize,
    /// How often it is stopped and started.
    #[arg(long, default_value_t = 3, value_parser = arguments::positive::<usize>)]
    pub restarts: usize,
    /// It is killed instead of asked to stop.
    #[arg(long)]
    pub kill: bool,
    /// What an Ack means.
    #[arg(long, default_value = "sync")]
    pub durability: String,
}

impl Scenario for Restart {
    const NAME: &'static str = "restart";

    fn options(&self) -> &Run {
        &self.run
    }

    fn run(&self, outcome: &mut Outcome) -> Result<()> {
        let batch = self.messages.min(BATCH);
        let is_even = batch.is_multiple_of(READERS) && self.messages.is_multiple_of(batch);
        ensure!(is_even, "messages are a multiple of 1,000, or of 1,000,000");
        let setup = Setup::shards(1).with("--durability", &self.durability);
        let mut server = setup.on_cores(Shares::of(&allowed()).server).start();
        for _ in 0..self.messages / batch {
            let (target, run) = (target(&server), self.run.clone());
            Offline {
                target,
                run,
                users: READERS,
                messages: batch,
                window: 16,
                seconds: 600,
                warm_seconds: 0,
            }
            .fill(outcome)?;
        }
        let pair = target(&server).register(2)?;
        let (mut ready, mut first_ack) = (Latencies::default(), Latencies::default());
        for _ in 0..self.restarts {
            let stopped = if self.kill { server.kill() } else { server.stop() };
            let begun = Instant::now();
            server = stopped.start();
            ready.record(begun.elapsed().as_micros() as u64);
            ack(&target(&server), &pair)?;
            first_ack.record(begun.elapsed().as_micros() as u64);
        }
        outcome.latencies.insert("ready".to_owned(), ready);
        outcome.latencies.insert("first_ack".to_owned(), first_ack);
        outcome.add(json!({"server_resident_bytes": target(&server).resident_bytes()}));
        Ok(())
    }
}

fn target(server: &Server) -> Target {
    let (http, ws, admin) = (server.http, server.ws, Some(server.admin));
    Target { server_pid: Some(server.id()), admin, ..Target::at(http, ws) }
}

/// The first of two users writes to the second, who is not there, and gets his Ack.
fn ack(target: &Target, pair: &[i64]) -> Result<()> {
    let mut sockets = target.connect(Sockets::new()?, &pair[..1])?;
    let id = MessageIds::new().of(0);
    words::message(sockets.outbound(0), pair[0], pair[1], id, 0);
    let (deadline, mut is_acked) = (Instant::now() + ACK_WITHIN, false);
    while !is_acked {
        ensure!(Instant::now() < deadline, "LOST: the first Ack after a start never came");
        sockets.round(Duration::from_millis(10), |_, said, _| {
            is_acked |= words::read(said.text()?) == Some(Word::Ack { source: id });
            Ok(())
        })?;
    }
    Ok(())
}
