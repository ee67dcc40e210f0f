//! The same work among more and more users and stored messages: what it costs as both grow.
//!
//! First the users grow from row to row, then the stored messages; between rows the server is
//! filled up. The work is that of `pingpong`, by users of its own. What a row costs is compared
//! with the first one.

use super::accounts::Target;
use super::driver::peer::Peer;
use super::driver::seed::Seed;
use super::pingpong::PingPong;
use super::players::Players;
use super::sockets::Opening;
use crate::arguments;
use crate::outcome::{Outcome, Run, Scenario};
use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde_json::{Value, json};
use std::time::Duration;

/// Users of the filling who are there at once.
const FILLING_AT_ONCE: usize = 1_000;
/// Messages of one of them without an Ack.
const FILLING_WINDOW: u64 = 64;

/// What to run.
#[derive(Clone, Debug, Serialize, clap::Args)]
pub struct Scale {
    /// Where.
    #[command(flatten)]
    #[serde(skip)]
    pub target: Target,
    /// What every scenario is told.
    #[command(flatten)]
    #[serde(skip)]
    pub run: Run,
    /// Registered users, row by row; never fewer than before.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 10_000, 100_000],
        value_parser = arguments::several)]
    pub users: Vec<usize>,
    /// Stored messages, row by row, once all users are there; never fewer than before.
    #[arg(long, value_delimiter = ',', default_values_t = [0, 100_000, 1_000_000])]
    pub stored: Vec<u64>,
    /// Pairs of users who do the work.
    #[arg(long, default_value_t = 500, value_parser = arguments::positive::<usize>)]
    pub pairs: usize,
    /// Messages in flight in each pair.
    #[arg(long, default_value_t = 16, value_parser = arguments::positive::<u64>)]
    pub window: u64,
    /// How long to measure each row.
    #[arg(long, default_value_t = 10, value_parser = arguments::positive::<u64>)]
    pub seconds: u64,
    /// How long to run before measuring.
    #[arg(long, default_value_t = 2)]
    pub warm_seconds: u64,
}

/// What the server holds because of this run.
#[derive(Default)]
struct Held {
    users: Vec<i64>,
    stored: u64,
    /// Messages of the work, in pairs of its own.
    worked: u64,
}

/// What the work cost at one size.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Row {
    users: usize,
    stored: u64,
    /// Messages that were measured in the rows before: they lie beside those.
    worked_before: u64,
    delivered_per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    /// Not there when the server's process is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_us_a_message: Option<f64>,
}

impl Scenario for Scale {
    const NAME: &'static str = "scale";

    fn options(&self) -> &Run {
        &self.run
    }

    fn target(&self) -> Option<&Target> {
        Some(&self.target)
    }

    fn run(&self, outcome: &mut Outcome) -> Result<()> {
        let sizes = self.sizes()?;
        let (mut held, mut rows) = (Held::default(), Vec::new());
        for (users, stored) in sizes {
            self.fill(&mut held, users, stored)?;
            let row = self.measure(&mut held, outcome)?;
            eprintln!("{}", serde_json::to_string(&row)?);
            rows.push(row);
            outcome.add(json!({"rows": compared(&rows)}));
        }
        Ok(())
    }
}

impl Scale {
    /// How many users and messages there are in each row.
    fn sizes(&self) -> Result<Vec<(usize, u64)>> {
        let grows = self.users.is_sorted() && self.stored.is_sorted();
        ensure!(grows, "users and stored messages only grow");
        let first = *self.stored.first().context("a number of stored messages")?;
        let last = *self.users.last().context("a number of users")?;
        let by_users = self.users.iter().map(|users| (*users, first));
        Ok(by_users.chain(self.stored[1..].iter().map(|stored| (last, *stored))).collect())
    }

    /// Registers users and lets them write to each other until there are so many.
    fn fill(&self, held: &mut Held, users: usize, stored: u64) -> Result<()> {
        let more = self.target.register(users.saturating_sub(held.users.len()))?;
        held.users.extend(more);
        let missing = stored.saturating_sub(held.stored);
        let pairs = held.users.len() / 2;
        let (each, rest) = (missing / pairs as u64, missing % pairs as u64);
        // The first pairs write one more than the others.
        let share = |pair: usize| each + u64::from((pair as u64) < rest);
        let writing = if each > 0 { pairs } else { rest as usize };
        for start in (0..writing).step_by(FILLING_AT_ONCE / 2) {
            let end = writing.min(start + FILLING_AT_ONCE / 2);
            let shares: Vec<u64> = (start..end).map(share).collect();
            self.write(&held.users[start * 2..end * 2], &shares)?;
            held.stored += shares.iter().sum::<u64>();
        }
        Ok(())
    }

    /// The first of each pair writes so many messages to the second.
    fn write(&self, users: &[i64], shares: &[u64]) -> Result<()> {
        let seed = Seed::new(Opening::seed(self.target.ws));
        let mut players = Players::among(&self.target, seed, users)?;
        let mut left = shares.to_vec();
        for (pair, left) in left.iter_mut().enumerate() {
            throw(&mut players, pair * 2, left)?;
        }
        while left.iter().any(|left| *left > 0) {
            players.round(Duration::from_millis(50), |players, index, _| {
                throw(players, index, &mut left[index / 2])
            })?;
        }
        players.settle()
    }

    /// Does the work beside what is held.
    fn measure(&self, held: &mut Held, outcome: &mut Outcome) -> Result<Row> {
        let work = PingPong {
            target: self.target.clone(),
            run: self.run.clone(),
            peer: Peer::seed(),
            pairs: self.pairs,
            window: self.window,
            seconds: self.seconds,
            warm_seconds: self.warm_seconds,
            no_limit: false,
        };
        let (users, stored, worked_before) = (held.users.len(), held.stored, held.worked);
        let mut done = Outcome::of(&work)?;
        let figures = done.passed().with_context(|| format!("with {users} users"))?;
        let figure = |name: &str| figures[name].as_f64().context("a figure of pingpong");
        let delivered_per_second = figure("delivered_per_second")?;
        let cores = figures["server_cores"].as_f64();
        held.worked += figure("delivered")? as u64;
        let took = done.latencies.get("delivery");
        let [p50_ms, p99_ms] = [0.5, 0.99].map(|it| took.map_or(0.0, |took| took.quantile_ms(it)));
        done.flags.retain(|flag| !outcome.flags.contains(flag));
        outcome.flags.append(&mut done.flags);
        let cpu_us_a_message = cores.map(|cores| cores * 1e6 / delivered_per_second.max(1.0));
        Ok(Row {
            users,
            stored,
            worked_before,
            delivered_per_second,
            p50_ms,
            p99_ms,
            cpu_us_a_message,
        })
    }
}

/// Throws what is left, as far as the window goes; only the first of a pair writes.
fn throw(players: &mut Players<Seed>, index: usize, left: &mut u64) -> Result<()> {
    let now_us = players.now_us();
    while index.is_multiple_of(2) && *left > 0 && players.unacked(index) < FILLING_WINDOW {
        players.throw(index, now_us)?;
        *left -= 1;
    }
    Ok(())
}

/// Each row, and its figures as ratios to those of the first.
fn compared(rows: &[Row]) -> Vec<Value> {
    let ratio = |one: f64, first: f64| if first > 0.0 { one / first } else { 1.0 };
    let with_ratios = |row: &Row| {
        let (first, mut value) = (&rows[0], json!(row));
        for (name, one, first) in [
            ("delivered_per_second_ratio", row.delivered_per_second, first.delivered_per_second),
            ("p50_ms_ratio", row.p50_ms, first.p50_ms),
            ("p99_ms_ratio", row.p99_ms, first.p99_ms),
        ] {
            value[name] = json!(ratio(one, first));
        }
        if let (Some(one), Some(first)) = (row.cpu_us_a_message, first.cpu_us_a_message) {
            value["cpu_us_a_message_ratio"] = json!(ratio(one, first));
        }
        value
    };
    rows.iter().map(with_ratios).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        scale: Scale,
    }

    fn sizes(arguments: &[&str]) -> Result<Vec<(usize, u64)>> {
        Line::try_parse_from([&["scale"], arguments].concat())?.scale.sizes()
    }

    #[test]
    fn users_grow_first_and_then_what_is_stored() {
        let sizes_of = |users, stored| sizes(&["--users", users, "--stored", stored]);
        let expected = [(10, 0), (100, 0), (100, 5), (100, 50)];
        assert_eq!(sizes_of("10,100", "0,5,50").expect("they grow"), expected);
        assert_eq!(sizes(&[]).expect("they grow").len(), 5);
        assert!(sizes_of("100,10", "0").is_err() && sizes_of("10", "5,0").is_err());
        assert!(sizes_of("1", "0").is_err());
    }

    #[test]
    fn rows_are_compared_with_the_first() {
        let row = |users, cpu_us_a_message| {
            let (delivered_per_second, p50_ms, p99_ms) = (1000.0, 1.0, 2.0);
            Row {
                users,
                stored: 0,
                worked_before: 0,
                delivered_per_second,
                p50_ms,
                p99_ms,
                cpu_us_a_message: Some(cpu_us_a_message),
            }
        };
        let rows = compared(&[row(10, 20.0), row(100, 25.0)]);
        assert_eq!(rows[0]["cpu_us_a_message_ratio"], json!(1.0));
        assert_eq!(rows[1]["cpu_us_a_message_ratio"], json!(1.25));
        assert_eq!(rows[1]["users"], json!(100));
    }
}
