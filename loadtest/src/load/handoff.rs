//! Connections that write their Auth and many messages at once, so that each socket moves to its
//! user's shard while its bytes are in the air. None may be lost, repeated or out of order.

use super::accounts::{MessageIds, SETTLE_WITHIN, Target};
use super::socket::{Poll, Socket};
use super::words::{self, Word};
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
    #[arg(long, default_value_t = 10_000)]
    pub connections: usize,
    /// Messages that follow each Auth in the same write; a page holds at most 200.
    #[arg(long, default_value_t = 20)]
    pub frames: u64,
}

impl Scenario for Handoff {
    const NAME: &'static str = "handoff";

    fn options(&self) -> &Run {
        &self.run
    }

    fn run(&self, outcome: &mut Outcome) -> Result<()> {
        ensure!((1..=200).contains(&self.frames), "1 to 200 frames");
        let mut poll = Poll::new()?;
        let users = self.target.register(self.connections)?;
        let mut sockets = (0..users.len())
            .map(|index| Socket::open(&poll, self.target.ws, index))
            .collect::<Result<Vec<Socket>>>()?;
        let ids = MessageIds::new();
        let begun = Instant::now();
        let mut acked: Vec<u64> = vec![0; users.len()];
        for index in 0..users.len() {
            let (from, to) = (users[index], users[(index + 1) % users.len()]);
            words::auth(&mut sockets[index].outbound, from, from);
            for number in 0..self.frames {
                words::message(&mut sockets[index].outbound, from, to, ids.of(number), number);
            }
            sockets[index].flush(&poll)?;
            if index % 64 == 0 {
                self.read(&mut poll, &mut sockets, &users, &mut acked, ids)?;
            }
        }
        let deadline = Instant::now() + SETTLE_WITHIN;
        while acked.iter().any(|count| *count <= self.frames) {
            let missing = acked.iter().filter(|count| **count <= self.frames).count();
            ensure!(Instant::now() < deadline, "{missing} connections miss Acks");
            self.read(&mut poll, &mut sockets, &users, &mut acked, ids)?;
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
        poll: &mut Poll,
        sockets: &mut [Socket],
        users: &[i64],
        acked: &mut [u64],
        ids: MessageIds,
    ) -> Result<()> {
        let mut ready = Vec::new();
        poll.wait(Duration::from_millis(5), &mut ready)?;
        for index in ready {
            sockets[index].receive(poll, |text, _| {
                match words::read(text) {
                    Some(Word::Ack { source }) => {
                        let count = acked[index];
                        let next = if count == 0 { users[index] } else { ids.of(count - 1) };
                        ensure!(source == next, "an Ack of {source} where {next} was the next");
                        ensure!(count <= self.frames, "an Ack too many: {source}");
                        acked[index] += 1;
                    }
                    Some(Word::Message { .. } | Word::Notice) => {}
                    None => bail!("refused: {}", text.escape_ascii()),
                }
                Ok(())
            })?;
            sockets[index].flush(poll)?;
        }
        Ok(())
    }

    /// Every recipient has each message of his neighbour once, in the order it was sent.
    fn check_pages(&self, users: &[i64], ids: MessageIds) -> Result<()> {
        let neighbour = |index: usize| users[(index + users.len() - 1) % users.len()];
        let bodies = users.iter().enumerate().map(|(index, user)| {
            json!({"fromUserId": user, "toUserId": neighbour(index), "pageSize": 200})
        });
        let expected: Vec<i64> = (0..self.frames).rev().map(|number| ids.of(number)).collect();
        let mut index = 0;
        self.target.post_all("/im/message/user/get/page", bodies, |page| {
            let page = page.as_array().context("a page is a list")?;
            let author = neighbour(index);
            let his = page.iter().filter(|message| message["fromUserId"] == author);
            let kept: Vec<i64> = his.filter_map(|message| message["id"].as_i64()).collect();
            ensure!(kept == expected, "{author} wrote {expected:?} and {kept:?} is there");
            index += 1;
            Ok(())
        })
    }
}
