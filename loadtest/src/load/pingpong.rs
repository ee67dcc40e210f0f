//! Pairs that throw messages to each other, a fixed number in flight.
//!
//! A message counts when it was sent, acked by the server, delivered, and acked by its reader.
//! Each delivery throws the next message back, so the loop is closed: its latency is queueing.

use super::accounts::Target;
use super::driver::Driver;
use super::driver::peer::{Peer, Play};
use super::limit::{Ceiling, Frames};
use super::part::Part;
use super::players::Players;
use super::usage::{Counted, Usage};
use crate::arguments;
use crate::outcome::{Outcome, Run, Scenario};
use anyhow::Result;
use serde::Serialize;
use std::time::{Duration, Instant};

/// What to run.
#[derive(Clone, Debug, Serialize, clap::Args)]
pub struct PingPong {
    /// Where.
    #[command(flatten)]
    #[serde(skip)]
    pub target: Target,
    /// What every scenario is told.
    #[command(flatten)]
    #[serde(skip)]
    pub run: Run,
    /// In which protocol.
    #[command(flatten)]
    #[serde(flatten)]
    pub peer: Peer,
    /// Pairs of users.
    #[arg(long, default_value_t = 500, value_parser = arguments::positive::<usize>)]
    pub pairs: usize,
    /// Messages in flight in each pair.
    #[arg(long, default_value_t = 1, value_parser = arguments::up_to::<65_536>)]
    pub window: u64,
    /// How long to measure.
    #[arg(long, default_value_t = 10, value_parser = arguments::positive::<u64>)]
    pub seconds: u64,
    /// How long to run before measuring.
    #[arg(long, default_value_t = 2)]
    pub warm_seconds: u64,
    /// Do not measure first, for 2 s, what this machine can do at most (see `limit`), and so tell
    /// no share of it.
    #[arg(long)]
    #[serde(skip)]
    pub no_limit: bool,
}

impl Scenario for PingPong {
    const NAME: &'static str = "pingpong";

    fn options(&self) -> &Run {
        &self.run
    }

    fn target(&self) -> Option<&Target> {
        Some(&self.target)
    }

    fn check(&self) -> Result<()> {
        self.peer.check(&self.target)
    }

    fn ceiling(&self) -> Option<Ceiling> {
        let (pairs, window) = (self.pairs, self.window);
        let rate = "delivered_per_second";
        (!self.no_limit).then_some(Ceiling { frames: Frames::Messages, pairs, window, rate })
    }

    fn divided(&self) -> Result<Vec<(Part, PingPong)>> {
        self.target.divided(self.pairs, 2, |target| {
            let pairs = target.part.units().len();
            PingPong { pairs, target, ..self.clone() }
        })
    }

    fn run(&self, outcome: &mut Outcome) -> Result<()> {
        self.peer.play(self, &self.target, outcome)
    }
}

impl Play for PingPong {
    fn with(&self, driver: impl Driver, outcome: &mut Outcome) -> Result<()> {
        let mut players = Players::join(&self.target, driver, self.pairs * 2)?;
        let share = |index: usize| match index % 2 {
            0 => self.window.div_ceil(2),
            _ => self.window / 2,
        };
        let mut owed: Vec<u64> = (0..self.pairs * 2).map(share).collect();
        for index in 0..owed.len() {
            self.throw(&mut players, &mut owed, index)?;
        }
        self.play(&mut players, &mut owed, self.warm_seconds)?;
        players.begin();
        let usage = Usage::begin(&self.target);
        let played = self.play(&mut players, &mut owed, self.seconds);
        let played = self.target.part.for_all(played);
        let used = usage.end(&self.target, Counted::delivered(players.delivered()), outcome);
        outcome.add(used);
        players.report(outcome);
        played?;
        players.drain()
    }
}

impl PingPong {
    fn play<D: Driver>(
        &self,
        players: &mut Players<D>,
        owed: &mut [u64],
        seconds: u64,
    ) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < end {
            players.round(Duration::from_millis(50), |players, index, got| {
                owed[index] += got;
                self.throw(players, owed, index)
            })?;
        }
        Ok(())
    }

    /// Throws what a player owes, unless too many of his wait for the server's Acks.
    fn throw<D: Driver>(
        &self,
        players: &mut Players<D>,
        owed: &mut [u64],
        index: usize,
    ) -> Result<()> {
        let now_us = players.now_us();
        while owed[index] > 0 && players.unacked(index) < (self.window * 4).max(16) {
            players.throw(index, now_us)?;
            owed[index] -= 1;
        }
        Ok(())
    }
}
