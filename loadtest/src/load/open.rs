//! Pairs that write to each other at a fixed rate, whatever the server does.
//!
//! Each message has an intended time, and its latency counts from then: a server, or a generator,
//! that falls behind cannot hide it (no coordinated omission).

use super::accounts::Target;
use super::driver::Driver;
use super::driver::peer::{Peer, Play};
use super::limit::{Ceiling, Frames};
use super::part::Part;
use super::players::Players;
use super::schedule::{Arrivals, Schedule};
use super::usage::{Counted, Usage};
use crate::arguments;
use crate::outcome::{Outcome, Run, Scenario};
use anyhow::Result;
use serde::Serialize;
use std::iter::Peekable;
use std::time::Duration;

/// What to run.
#[derive(Clone, Debug, Serialize, clap::Args)]
pub struct Open {
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
    /// Users, in pairs.
    #[arg(long, default_value_t = 1000, value_parser = arguments::paired)]
    pub users: usize,
    /// Messages a second, of all together.
    #[arg(long, default_value_t = 20_000, value_parser = arguments::up_to::<10_000_000>)]
    pub rate: u64,
    /// When each is sent, and by whom.
    #[arg(long, value_enum, default_value = "in-turn")]
    pub arrivals: Arrivals,
    /// Look at what is due, and at what has come, each so many us only, and sleep in between,
    /// instead of at each message. 0: at each.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=10_000))]
    pub tick_us: u64,
    /// How long to measure.
    #[arg(long, default_value_t = 30, value_parser = arguments::up_to::<1_000_000>)]
    pub seconds: u64,
    /// How long to run before measuring.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(..=1_000_000))]
    pub warm_seconds: u64,
    /// Do not measure first, for 2 s, what this machine can do at most (see `limit`), and so tell
    /// no share of it.
    #[arg(long)]
    #[serde(skip)]
    pub no_limit: bool,
}

/// Messages in flight in each pair where the machine's limit is measured: enough to reach it.
const WINDOW: u64 = 16;
/// The longest wait for the server when nothing is due.
const WAIT_US: u64 = 50_000;
/// What waits is counted once for so many messages sent.
const COUNTED_EACH: u64 = 1024;
/// Seconds of the rate whose Acks and deliveries may wait. Beyond, the server is over its capacity:
/// what would come is known, and memory is not.
const BEHIND_SECONDS: u64 = 10;
/// Seconds of the rate that wait when the run ends from which on the rate was not held.
const HELD_SECONDS: u64 = 1;

impl Scenario for Open {
    const NAME: &'static str = "open";

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
        let (pairs, window) = (self.users / 2, WINDOW);
        let rate = "delivered_per_second";
        (!self.no_limit).then_some(Ceiling { frames: Frames::Messages, pairs, window, rate })
    }

    fn divided(&self) -> Result<Vec<(Part, Open)>> {
        self.target.divided(self.users / 2, 2, |target| {
            let (users, rate) = (2 * target.part.units().len(), target.part.share_of(self.rate));
            let run = self.run.of(&target.part);
            Open { users, rate, run, target, ..self.clone() }
        })
    }

    fn run(&self, outcome: &mut Outcome) -> Result<()> {
        self.peer.play(self, &self.target, outcome)
    }
}

impl Play for Open {
    fn with(&self, driver: impl Driver, outcome: &mut Outcome) -> Result<()> {
        let mut players = Players::join(&self.target, driver, self.users)?;
        let Open { arrivals, users, rate, run: Run { seed, .. }, .. } = *self;
        players.tick_each(Duration::from_micros(self.tick_us));
        let start_us = players.now_us();
        let mut schedule = Schedule::new(arrivals, users, rate, start_us, seed).peekable();
        self.play(&mut players, &mut schedule, self.warm_seconds)?;
        players.begin_from(schedule.peek().map_or(start_us, |due| due.at_us));
        let usage = Usage::begin(&self.target);
        let played = self.play(&mut players, &mut schedule, self.seconds);
        let played = self.target.part.for_all(played);
        let part = &self.target.part;
        let (waiting, rate) = (part.meet(players.missing() / 2), part.meet(self.rate));
        if waiting > HELD_SECONDS * rate && part.is_first() {
            outcome.flag(format!(
                "the server did not hold {rate} messages a second: when sending ended {waiting} of \
                 them waited for it"
            ));
        }
        let used = usage.end(&self.target, Counted::delivered(players.delivered()), outcome);
        outcome.add(used);
        let drained = played.and_then(|()| players.drain());
        players.report(outcome);
        drained
    }
}

impl Open {
    /// Sends the messages of so many seconds, each at its time; ends early when far too much waits.
    fn play<D: Driver>(
        &self,
        players: &mut Players<D>,
        schedule: &mut Peekable<Schedule>,
        seconds: u64,
    ) -> Result<()> {
        let mut left = seconds * self.rate;
        while left > 0 {
            let now_us = players.now_us();
            while left > 0
                && let Some(due) = schedule.next_if(|due| due.at_us <= now_us)
            {
                players.throw_late(due.index, due.at_us, now_us)?;
                left -= 1;
                let is_counted = left.is_multiple_of(COUNTED_EACH);
                if is_counted && players.missing() / 2 > BEHIND_SECONDS * self.rate {
                    self.target.part.say_enough();
                }
                if is_counted && self.target.part.is_enough() {
                    return Ok(());
                }
            }
            let next_us = schedule.peek().map_or(0, |due| due.at_us);
            let wait_us = next_us.saturating_sub(players.now_us()).min(WAIT_US);
            players.round(Duration::from_micros(wait_us), |_, _, _| Ok(()))?;
        }
        Ok(())
    }
}
