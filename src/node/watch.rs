//! The main thread's part: it hears what shards report, moves the server from phase to phase, and
//! says so.
//!
//! Invariants:
//! 1. Nobody is served before every shard is open and has replayed, nor before the data folder says
//!    that all of its shards were made.
//! 2. A shard that failed ends the server, with its error.
//! 3. Draining ends in time, whoever is left.
//!
//! Left to others: starting it all (`launch`).

use crate::admin::status::Readiness;
use crate::config::Config;
use crate::ids::ShardId;
use crate::limits::DRAIN_MS_MAX;
use crate::node::admin_port::AdminState;
use crate::node::control::{Phase, Report, Stage};
use crate::node::data_folder;
use crate::node::launch::ServeError;
use crate::node::shard_loop::ShardError;
use crate::store::manifest::Manifest;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// Where everything listens.
pub struct Addresses {
    /// HTTP calls.
    pub http: SocketAddr,
    /// WebSockets.
    pub ws: SocketAddr,
    /// Operators.
    pub admin: SocketAddr,
}

/// The main thread's part: it waits for reports and moves the server on.
pub struct Watch<'a> {
    /// The settings.
    pub config: &'a Config,
    /// What the data folder says of itself, where there is one.
    pub folder: Option<&'a Manifest>,
    /// What shards follow.
    pub stage: Arc<Stage>,
    /// What they report.
    pub inbox: Receiver<Report>,
    /// What operators see.
    pub admin_state: Arc<AdminState>,
    /// Where it listens.
    pub addresses: Addresses,
    /// How many there are.
    pub shards: u16,
    /// Says that the indexer has ended, where there is one.
    pub indexed: Option<Receiver<()>>,
}

/// What the main thread has heard so far.
#[derive(Default)]
struct Heard {
    opened: u16,
    replayed: u16,
    drained: u16,
    ended: u16,
    failure: Option<(ShardId, ShardError)>,
    is_told_to_stop: bool,
}

impl Watch<'_> {
    /// Returns when all has ended.
    pub fn run(self) -> Result<(), ServeError> {
        let mut heard = Heard::default();
        let mut deadline = None;
        while heard.ended < self.shards {
            let Some(report) = self.next(deadline) else { break };
            heard.note(report);
            if heard.opened == self.shards && self.stage.phase() == Phase::Opening {
                if let Some(manifest) = self.folder {
                    data_folder::complete(&self.config.data_dir, manifest)?;
                }
                self.stage.advance(Phase::Replaying);
            }
            if heard.replayed == self.shards && self.stage.phase() == Phase::Replaying {
                self.stage.advance(Phase::Serving);
                self.say_ready();
            }
            if heard.is_told_to_stop && deadline.is_none() {
                self.admin_state.set_readiness(Readiness::Draining);
                self.stage.advance(Phase::Draining);
                deadline = Some(Instant::now() + Duration::from_millis(DRAIN_MS_MAX));
            }
            if heard.drained >= self.shards {
                self.stage.advance(Phase::Stopping);
            }
        }
        self.wait_for_indexer(deadline);
        tracing::info!("stopped");
        match heard.failure {
            Some((shard, error)) => Err(ServeError::Shard(shard, error)),
            None => Ok(()),
        }
    }

    /// Waits until the indexer has put away what it was given, as long as there is time: what it
    /// does not get done the next start does.
    fn wait_for_indexer(&self, deadline: Option<Instant>) {
        let Some(end) = &self.indexed else { return };
        let left = deadline.map_or(Duration::ZERO, |end| end.duration_since(Instant::now()));
        if end.recv_timeout(left) == Err(RecvTimeoutError::Timeout) {
            tracing::info!("the next start replays a part of the commit log");
        }
    }

    /// The next report; `None`: draining took too long.
    fn next(&self, deadline: Option<Instant>) -> Option<Report> {
        let Some(deadline) = deadline else { return self.inbox.recv().ok() };
        let left = deadline.saturating_duration_since(Instant::now());
        match self.inbox.recv_timeout(left) {
            Ok(report) => Some(report),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                tracing::warn!("draining took too long: stopping all the same");
                None
            }
        }
    }

    fn say_ready(&self) {
        self.admin_state.set_readiness(Readiness::Ready);
        let Addresses { http, ws, admin } = self.addresses;
        let (shards, durability) = (self.shards, self.config.durability_word());
        let data = self.config.data_dir.display();
        let mut out = io::stdout().lock();
        // A closed standard output is the operator's choice.
        let _ = writeln!(
            out,
            "ready http={http} ws={ws} admin={admin} shards={shards} durability={durability} \
             data={data}"
        );
        let _ = out.flush();
        tracing::info!(%http, %ws, %admin, shards, durability, "ready");
    }
}

impl Heard {
    fn note(&mut self, report: Report) {
        match report {
            Report::Opened => self.opened += 1,
            Report::Replayed => self.replayed += 1,
            Report::Drained => self.drained += 1,
            Report::Ended(_, Ok(())) => self.ended += 1,
            Report::Ended(shard, Err(error)) => {
                tracing::error!(%shard, %error, "a shard has failed: the server stops");
                self.ended += 1;
                self.drained += 1;
                self.is_told_to_stop = true;
                self.failure.get_or_insert((shard, error));
            }
            Report::Signal => {
                tracing::info!("told to stop: draining");
                self.is_told_to_stop = true;
            }
        }
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
