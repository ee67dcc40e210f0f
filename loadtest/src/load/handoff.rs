//! Connections that write their Auth and many messages at once, so that each socket moves to its
//! user's shard while its bytes are in the air. None may be lost, repeated or out of order.

use super::accounts::{CONNECTING, MessageIds, SETTLE_WITHIN, Target};
use super::sockets::{Said, Sockets};
use super::words::{self, Word};
use crate::arguments;
use crate::outcome::{Outcome, Run, Scenario};
use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use serde_json::json;
use std::time::{Duration, Instant};

/// What to run.
#[derive(Clone, Debug, Serialize, clap::Args)]
pub struct Handoff {
    /// Where.
    #[command(flatten)]
    #[serde(skip)]
    pub target: Target,
    /// What every scenario is told.
    #[command(flatten)]
    #[serde(skip)]
    pub run: Run,
    /// Connections, each of a user of its own.
    #[arg(long, default_value_t = 10_000, value_parser = arguments::several)]
    pub connections: usize,
    /// Messages that follow each Auth in the same write; a page holds at most 200.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=200))]
    pub frames: u64,
}

impl Scenario for Handoff {
    const NAME: &'static str = "handoff";

    fn options(&self) -> &Run {
        &self.run
    }

    fn target(&self) -> Option<&Target> {
        Some(&self.target)
    }

    fn run(&self, outcome: &mut Outcome) -> Result<()> {
        let mut sockets = Sockets::new()?;
        let users = self.target.register(self.connections)?;
        let mut upgraded = 0;
        while upgraded < users.len() {
            while sockets.count() < users.len().min(upgraded + CONNECTING) {
                sockets.open(self.target.ws)?;
            }
            sockets.round(Duration::from_millis(50), |_, said, _| match said {
                Said::Upgraded => {
                    upgraded += 1;
                    Ok(())
                }
                said => bail!("nothing should come yet, but {}", said.text()?.escape_ascii()),
            })?;
        }
        let ids = MessageIds::new();
        let begun = Instant::now();
        let mut acked: Vec<u64> = vec![0; users.len()];
        for index in 0..users.len() {
            let (from, to) = (users[index], users[(index + 1) % users.len()]);
            let out = sockets.outbound(index);
            words::auth(out, from, from);
            for number in 0..self.frames {
                words::message(out, from, to, self.id(ids, index, number), number);
            }
            if index % 64 == 0 {
                self.read(&mut sockets, &users, &mut acked, ids)?;
            }
        }
        let deadline = Instant::now() + SETTLE_WITHIN;
        while acked.iter().any(|count| *count <= self.frames) {
            let missing = acked.iter().filter(|count| **count <= self.frames).count();
            ensure!(Instant::now() < deadline, "{missing} connections miss Acks");
            self.read(&mut sockets, &users, &mut acked, ids)?;
        }
        let took = begun.elapsed();
        self.check_pages(&users, ids)?;
        let messages = users.len() as u64 * self.frames;
        outcome.add(json!({
            "messages": messages,
            "lost": 0,
            "acked_per_second": (messages as f64 / took.as_secs_f64()).round(),
            "seconds": took.as_secs_f64(),
        }));
        Ok(())
    }
}

impl Handoff {
    /// Reads Acks, which must come in order: the Auth's first. Pushes are checked by their pages.
    fn read(
        &self,
        sockets: &mut Sockets,
        users: &[i64],
        acked: &mut [u64],
        ids: MessageIds,
    ) -> Result<()> {
        sockets.round(Duration::from_millis(5), |index, said, _| {
            let text = said.text()?;
            match words::read(text) {
                Some(Word::Ack { source }) => {
                    let count = acked[index];
                    let id = |number| self.id(ids, index, number);
                    let next = if count == 0 { users[index] } else { id(count - 1) };
                    ensure!(source == next, "an Ack of {source} where {next} was the next");
                    ensure!(count <= self.frames, "an Ack too many: {source}");
                    acked[index] += 1;
                }
                Some(Word::Message { .. } | Word::Notice) => {}
                None => bail!("refused: {}", text.escape_ascii()),
            }
            Ok(())
        })
    }

    /// The id of a message of the author at this place: those of all authors differ.
    fn id(&self, ids: MessageIds, place: usize, number: u64) -> i64 {
        ids.of(number * self.connections as u64 + place as u64)
    }

    /// Every recipient has each message of his neighbour once, in the order it was sent.
    fn check_pages(&self, users: &[i64], ids: MessageIds) -> Result<()> {
        let neighbour = |index: usize| (index + users.len() - 1) % users.len();
        let bodies = users.iter().enumerate().map(|(index, user)| {
            json!({"fromUserId": user, "toUserId": users[neighbour(index)], "pageSize": 200})
        });
        let mut index = 0;
        self.target.post_all("/im/message/user/get/page", bodies, |page| {
            let page = page.as_array().context("a page is a list")?;
            let place = neighbour(index);
            let (author, id) = (users[place], |number| self.id(ids, place, number));
            let expected: Vec<i64> = (0..self.frames).rev().map(id).collect();
            let his = page.iter().filter(|message| message["fromUserId"] == author);
            let kept: Vec<i64> = his.filter_map(|message| message["id"].as_i64()).collect();
            ensure!(kept == expected, "{author} wrote {expected:?} and {kept:?} is there");
            index += 1;
            Ok(())
        })
    }
}
