//! Messages to people who are away, and how fast they fetch them when they come back.
//!
//! Whoever comes back must get every message once, unchanged, in the order in which it was sent.
//! When he has acked them nothing may be left.

use super::accounts::{MessageIds, Target};
use super::pace::Pace;
use super::part::Part;
use super::seconds::Seconds;
use super::sockets::Sockets;
use super::usage::{Counted, Usage};
use super::words::{self, Word};
use crate::arguments;
use crate::http::{Client, post};
use crate::outcome::{self, Outcome, Run, Scenario};
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::time::{Duration, Instant};

/// What to run.
#[derive(Clone, Debug, Serialize, clap::Args)]
pub struct Offline {
    /// Where.
    #[command(flatten)]
    #[serde(skip)]
    pub target: Target,
    /// What every scenario is told.
    #[command(flatten)]
    #[serde(skip)]
    pub run: Run,
    /// Users who are away; as many others write to them, each to one.
    #[arg(long, default_value_t = 1000, value_parser = arguments::positive::<usize>)]
    pub users: usize,
    /// Messages in all.
    #[arg(long, default_value_t = 100_000, value_parser = arguments::positive::<usize>)]
    pub messages: usize,
    /// Messages without an Ack that each author has at most.
    #[arg(long, default_value_t = 16, value_parser = arguments::positive::<usize>)]
    pub window: usize,
    /// The longest that storing may take, and fetching.
    #[arg(long, default_value_t = 60, value_parser = arguments::up_to::<1_000_000>)]
    #[serde(skip)]
    pub seconds: u64,
    /// How long all rest, connected, before they store, and before they fetch.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=1_000_000))]
    pub warm_seconds: u64,
}

/// Requests in flight on the connection that fetches.
const PIPELINED: usize = 8;
/// The most messages that one call gives.
const LIMIT: usize = 10_000;

/// A message of an offline list, as far as it is checked.
#[derive(Deserialize)]
struct Kept<'a> {
    id: i64,
    content: &'a str,
}

impl Scenario for Offline {
    const NAME: &'static str = "offline";

    fn options(&self) -> &Run {
        &self.run
    }

    fn target(&self) -> Option<&Target> {
        Some(&self.target)
    }

    fn divided(&self) -> Result<Vec<(Part, Offline)>> {
        self.check_even()?;
        self.target.divided(self.users, 1, |target| {
            let users = target.part.units().len();
            Offline { users, messages: self.each() * users, target, ..self.clone() }
        })
    }

    fn run(&self, outcome: &mut Outcome) -> Result<()> {
        ensure!(self.messages / self.users <= LIMIT, "at most {LIMIT} messages a user");
        let (people, ids) = self.fill(outcome)?;
        let (authors, readers) = people.split_at(self.users);
        self.drain(authors, readers, ids, outcome)
    }
}

impl Offline {
    /// Stores the messages for people of its own, who never come: authors first, then readers.
    ///
    /// # Errors
    /// When an Ack is missing or wrong, or the server refuses.
    pub fn fill(&self, outcome: &mut Outcome) -> Result<(Vec<i64>, MessageIds)> {
        self.check_even()?;
        let people = self.target.register(2 * self.users)?;
        let (authors, readers) = people.split_at(self.users);
        let ids = MessageIds::new();
        self.store(authors, readers, ids, outcome)?;
        Ok((people, ids))
    }

    fn check_even(&self) -> Result<()> {
        let is_even = self.messages.is_multiple_of(self.users);
        ensure!(is_even, "everybody gets as many messages");
        Ok(())
    }

    fn deadline(&self) -> Instant {
        Instant::now() + Duration::from_secs(self.seconds)
    }

    fn each(&self) -> usize {
        self.messages / self.users
    }

    /// Every author writes to his reader, who is not there; ends with the last Ack.
    fn store(
        &self,
        authors: &[i64],
        readers: &[i64],
        ids: MessageIds,
        outcome: &mut Outcome,
    ) -> Result<()> {
        let mut sockets = self.target.connect(Sockets::of(&self.target.part)?, authors)?;
        std::thread::sleep(Duration::from_secs(self.warm_seconds));
        self.target.part.begin_together()?;
        let usage = Usage::begin(&self.target);
        let write = |index: usize, number: usize, out: &mut Vec<u8>| {
            let id = self.id(ids, index, number);
            words::message(out, authors[index], readers[index], id, number as u64);
        };
        let mut acked = vec![0; self.users];
        for index in 0..self.users {
            let out = sockets.outbound(index);
            (0..self.window.min(self.each())).for_each(|number| write(index, number, out));
        }
        let (mut left, mut pace) = (self.messages, Pace::begin());
        let mut seconds = Seconds::begin(&self.target, "stored");
        let deadline = self.deadline();
        while left > 0 {
            let left_before = left;
            let within = self.seconds;
            ensure!(Instant::now() < deadline, "{left} messages were not acked within {within} s");
            sockets.round(Duration::from_millis(50), |index, said, out| {
                let (text, acked) = (said.text()?, &mut acked[index]);
                match words::read(text) {
                    Some(Word::Ack { source }) if source == self.id(ids, index, *acked) => {}
                    _ => bail!("not the next Ack: {}", text.escape_ascii()),
                }
                let next = *acked + self.window;
                if next < self.each() {
                    write(index, next, out);
                }
                (*acked, left) = (*acked + 1, left - 1);
                Ok(())
            })?;
            pace.count(left_before - left);
            seconds.count((left_before - left) as u64);
            seconds.look();
        }
        seconds.end(outcome);
        let mut used = usage.end(&self.target, Counted::delivered(self.messages as u64), outcome);
        outcome::join(&mut used, pace.report());
        outcome.add(json!({"store": used}));
        Ok(())
    }

    /// Every reader comes back, fetches all, and acks it; ends when nothing is left for anybody.
    fn drain(
        &self,
        authors: &[i64],
        readers: &[i64],
        ids: MessageIds,
        outcome: &mut Outcome,
    ) -> Result<()> {
        let mut sockets = self.target.connect(Sockets::of(&self.target.part)?, readers)?;
        std::thread::sleep(Duration::from_secs(self.warm_seconds));
        self.target.part.begin_together()?;
        let usage = Usage::begin(&self.target);
        let mut client = Client::connect(self.target.http);
        let everybody: Vec<usize> = (0..self.users).collect();
        let (begun, mut pace) = (Instant::now(), Pace::begin());
        for part in everybody.chunks(PIPELINED) {
            ask(&mut client, part, readers);
            for index in part {
                let answer = client.answer();
                ensure!(answer.status == 200, "{answer:?}");
                self.check(*index, authors[*index], ids, &answer.body)?;
                pace.count(self.each());
                let last = self.id(ids, *index, self.each() - 1);
                words::ack_up_to(sockets.outbound(*index), last);
            }
            quiet(&mut sockets)?;
        }
        let all = self.target.part.meet(self.messages as u64);
        let fetched_after = begun.elapsed().as_secs_f64();
        self.until_nothing_is_left(&mut client, readers)?;
        let mut used = usage.end(&self.target, Counted::delivered(self.messages as u64), outcome);
        if self.target.part.is_first() {
            used["fetched_per_second"] = json!((all as f64 / fetched_after).round());
        }
        outcome::join(&mut used, pace.report());
        outcome.add(json!({"drain": used}));
        quiet(&mut sockets)
    }

    /// One user's list is all that he was sent.
    fn check(&self, index: usize, author: i64, ids: MessageIds, body: &str) -> Result<()> {
        let kept: Vec<Kept<'_>> = serde_json::from_str(body).context("an offline list")?;
        ensure!(kept.len() == self.each(), "{} messages wait, not {}", kept.len(), self.each());
        let mut content = Vec::new();
        for (number, kept) in kept.iter().enumerate() {
            content.clear();
            words::content(&mut content, author, number as u64);
            let id = self.id(ids, index, number);
            ensure!(kept.id == id, "message {} in the place of {id}", kept.id);
            ensure!(kept.content.as_bytes() == content, "message {id} has another content");
        }
        Ok(())
    }

    fn until_nothing_is_left(&self, client: &mut Client, readers: &[i64]) -> Result<()> {
        let deadline = self.deadline();
        let mut left: Vec<usize> = (0..self.users).collect();
        while !left.is_empty() {
            ensure!(Instant::now() < deadline, "{} users still have messages", left.len());
            let mut still = Vec::new();
            for part in left.chunks(PIPELINED) {
                ask(client, part, readers);
                for index in part {
                    let answer = client.answer();
                    ensure!(answer.status == 200, "{answer:?}");
                    if answer.body != "[]" {
                        still.push(*index);
                    }
                }
            }
            left = still;
        }
        Ok(())
    }

    /// Ids differ between authors, too.
    fn id(&self, ids: MessageIds, index: usize, number: usize) -> i64 {
        ids.of((number * self.users + index) as u64)
    }
}

/// Asks for the lists of some readers.
fn ask(client: &mut Client, indexes: &[usize], readers: &[i64]) {
    let request = |index: &usize| {
        let body = json!({"userId": readers[*index], "limit": LIMIT});
        post("/im/message/offline", &body.to_string())
    };
    client.send(indexes.iter().map(request).collect::<String>());
}

/// What is queued leaves; nothing comes to anybody but the notice that something waits.
fn quiet(sockets: &mut Sockets) -> Result<()> {
    sockets.round(Duration::ZERO, |_, said, _| {
        let text = said.text()?;
        match words::read(text) {
            Some(Word::Notice) => Ok(()),
            _ => bail!("nothing should come, but {}", text.escape_ascii()),
        }
    })
}
