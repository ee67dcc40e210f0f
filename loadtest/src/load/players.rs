//! Users in pairs who write to each other, and what each must get: every message once, whole and
//! in order, and an Ack for each he sent.

use super::accounts::Target;
use super::driver::{Driver, Heard, Message};
use super::gap::{Gap, Kind};
use super::seconds::Seconds;
use super::sockets::Sockets;
use super::words;
use crate::latencies::Latencies;
use crate::outcome::Outcome;
use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long something may be late before it counts as lost, when what follows it has come.
const LATE_WITHIN: Duration = Duration::from_secs(2);
/// After so long in which nothing comes of what is owed, it is lost.
const SILENCE: Duration = Duration::from_secs(10);
/// How long is listened on when all has come: what comes then is too much.
const AFTERWARDS: Duration = Duration::from_millis(300);

/// One user of a pair: what he sent, and what he got from the other.
struct Player {
    user: i64,
    peer: i64,
    sent: u64,
    acked: u64,
    received: u64,
    /// When his messages were sent that are not both acked and received, oldest first, µs.
    sent_at: VecDeque<u64>,
}

impl Player {
    /// When his message `number` was sent; `seen`: how many the other has received.
    fn sent_at(&self, number: u64, seen: u64) -> u64 {
        let first = self.acked.min(seen);
        self.sent_at[(number - first) as usize]
    }
}

/// What is known of all players, and what was measured.
struct Score {
    players: Vec<Player>,
    /// The place of the first of them among the users of all parts of the run.
    first_place: usize,
    begun: Instant,
    /// When measuring began: what was sent before is in no latency.
    since_us: u64,
    acks: Latencies,
    deliveries: Latencies,
    /// How much later than intended messages were sent.
    lateness: Latencies,
    delivered: u64,
    seconds: Seconds,
    delivered_at_us: u64,
    longest_pause_us: u64,
    expected: Vec<u8>,
    /// Who was heard in this round, and how many messages he got.
    heard: Vec<(usize, u64)>,
    gap: Option<Gap>,
}

/// All players and their connections.
pub struct Players<D: Driver> {
    target: Target,
    driver: D,
    score: Score,
    sockets: Sockets,
    sessions: Vec<D::Session>,
}

impl<D: Driver> Players<D> {
    /// Registers users and connects them; 2n and 2n + 1 are a pair. Parts of a run begin together.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn join(target: &Target, driver: D, users: usize) -> Result<Players<D>> {
        let users = driver.register(target, users)?;
        let mut players = Players::among(target, driver, &users)?;
        target.part.begin_together()?;
        players.score.seconds.start_over();
        Ok(players)
    }

    /// See [`Streams::tick_each`](super::streams::Streams::tick_each).
    pub fn tick_each(&mut self, tick: Duration) {
        self.sockets.tick_each(tick);
    }

    /// Connects users who exist already.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn among(target: &Target, driver: D, users: &[i64]) -> Result<Players<D>> {
        let (sockets, sessions) = target.connect_as(&driver, Sockets::of(&target.part)?, users)?;
        let player = |index: usize| Player {
            user: users[index],
            peer: users[index ^ 1],
            sent: 0,
            acked: 0,
            received: 0,
            sent_at: VecDeque::new(),
        };
        let score = Score {
            players: (0..users.len()).map(player).collect(),
            first_place: target.part.first_connection(),
            begun: Instant::now(),
            since_us: 0,
            acks: Latencies::default(),
            deliveries: Latencies::default(),
            lateness: Latencies::default(),
            delivered: 0,
            seconds: Seconds::begin(target, "delivered"),
            delivered_at_us: 0,
            longest_pause_us: 0,
            expected: Vec::new(),
            heard: Vec::new(),
            gap: None,
        };
        Ok(Players { target: target.clone(), driver, score, sockets, sessions })
    }

    /// Time since the start, µs.
    pub fn now_us(&self) -> u64 {
        self.score.now_us()
    }

    /// Messages of a player that the server has not acked.
    pub fn unacked(&self, index: usize) -> u64 {
        self.score.players[index].sent - self.score.players[index].acked
    }

    /// Queues a player's next message, which leaves with the next round; its latency counts from
    /// `since_us`.
    ///
    /// # Errors
    /// When more of his messages wait for their Acks than the protocol allows.
    pub fn throw(&mut self, index: usize, since_us: u64) -> Result<()> {
        let player = &mut self.score.players[index];
        player.sent_at.push_back(since_us);
        let message = Message { from: player.user, to: player.peer, number: player.sent };
        player.sent += 1;
        self.driver.send(&mut self.sessions[index], message, self.sockets.outbound(index))
    }

    /// The same for one that was intended at `since_us`; how much later it is sent is told, too.
    ///
    /// # Errors
    /// As [`Players::throw`].
    pub fn throw_late(&mut self, index: usize, since_us: u64, now_us: u64) -> Result<()> {
        self.score.lateness.record(now_us - since_us);
        self.throw(index, since_us)
    }

    /// Waits for the server, at most so long; checks whatever came, acks it, and lets `respond`
    /// throw: it gets a player that was heard and how many messages he got.
    ///
    /// # Errors
    /// When a message is changed, repeated or out of order, or the server refuses.
    pub fn round(
        &mut self,
        most: Duration,
        mut respond: impl FnMut(&mut Players<D>, usize, u64) -> Result<()>,
    ) -> Result<()> {
        self.score.seconds.look();
        self.listen(most)?;
        if self.score.gap.is_some() {
            return self.fail_by_gap();
        }
        let mut heard = std::mem::take(&mut self.score.heard);
        for (index, got) in heard.drain(..) {
            respond(self, index, got)?;
        }
        self.score.heard = heard;
        Ok(())
    }

    /// Waits at most so long, and takes whatever comes.
    fn listen(&mut self, most: Duration) -> Result<()> {
        let Players { driver, score, sockets, sessions, .. } = self;
        sockets.round(most, |index, said, out| {
            score.hear_of(index);
            let session = &mut sessions[index];
            driver.hear(session, said.payload()?, out, |heard| score.take(driver, index, heard))
        })
    }

    /// Something came too early: waits a little for what should have come first, and fails.
    fn fail_by_gap(&mut self) -> Result<()> {
        let deadline = Instant::now() + LATE_WITHIN;
        loop {
            let gap = self.score.gap.as_ref().context("there is a gap")?;
            if gap.is_filled() || Instant::now() >= deadline {
                let name = |author, number| self.score.name(&self.driver, author, number);
                bail!("{}", gap.verdict(name));
            }
            self.listen(Duration::from_millis(50))?;
        }
    }

    /// Begins to measure: what was before is forgotten.
    pub fn begin(&mut self) {
        self.begin_from(self.now_us());
    }

    /// The same; what was to be sent before `since_us` is in no latency.
    pub fn begin_from(&mut self, since_us: u64) {
        let now_us = self.now_us();
        let score = &mut self.score;
        score.since_us = since_us;
        (score.acks, score.deliveries, score.lateness, score.delivered) = Default::default();
        score.seconds.start_over();
        (score.delivered_at_us, score.longest_pause_us) = (now_us, 0);
    }

    /// Messages delivered since [`Players::begin`].
    pub fn delivered(&self) -> u64 {
        self.score.delivered
    }

    /// Gives the outcome what was measured since [`Players::begin`]; the seconds end here.
    pub fn report(&mut self, outcome: &mut Outcome) {
        let delivered = self.delivered();
        let score = &mut self.score;
        outcome.add(json!({
            "delivered": delivered,
            "longest_pause_ms": score.longest_pause_us as f64 / 1000.0,
        }));
        let fresh = Seconds::begin(&self.target, "delivered");
        std::mem::replace(&mut score.seconds, fresh).end(outcome);
        for (name, latencies) in [("ack", &score.acks), ("delivery", &score.deliveries)] {
            outcome.latencies.insert(name.to_owned(), latencies.clone());
        }
        if score.lateness.total() > 0 {
            outcome.latencies.insert("lateness".to_owned(), score.lateness.clone());
        }
    }

    /// Acks and deliveries that are owed.
    pub fn missing(&self) -> u64 {
        self.score.missing()
    }

    /// Nothing is thrown any more; whatever was sent must be acked and delivered, however long that
    /// takes, as long as something comes.
    ///
    /// # Errors
    /// When something never comes, or comes wrong.
    pub fn settle(&mut self) -> Result<()> {
        let (mut missing, mut deadline) = (self.score.missing(), Instant::now() + SILENCE);
        while missing > 0 {
            ensure!(
                Instant::now() < deadline,
                "LOST: {missing} Acks or deliveries never came, among them {}",
                self.score.first_missing(&self.driver)
            );
            self.round(Duration::from_millis(50), |_, _, _| Ok(()))?;
            let before = std::mem::replace(&mut missing, self.score.missing());
            if missing < before {
                deadline = Instant::now() + SILENCE;
            }
        }
        Ok(())
    }

    /// The same; then nothing more may come, and nothing may wait for anybody.
    ///
    /// # Errors
    /// When something never comes, comes wrong, comes too often, or was acked and stays.
    pub fn drain(&mut self) -> Result<()> {
        self.settle()?;
        let end = Instant::now() + AFTERWARDS;
        while Instant::now() < end {
            self.round(Duration::from_millis(50), |_, _, _| Ok(()))?;
        }
        let users: Vec<i64> = self.score.players.iter().map(|player| player.user).collect();
        self.driver.check_nothing_is_left(&self.target, &users)
    }
}

impl Score {
    fn now_us(&self) -> u64 {
        self.begun.elapsed().as_micros() as u64
    }

    /// Acks and deliveries that are owed.
    fn missing(&self) -> u64 {
        let of = |(index, one): (usize, &Player)| {
            (one.sent - one.acked) + (one.sent - self.players[index ^ 1].received)
        };
        self.players.iter().enumerate().map(of).sum()
    }

    /// One of them.
    fn first_missing(&self, driver: &impl Driver) -> String {
        let name = |author, number| self.name(driver, author, number);
        let of = |(author, one): (usize, &Player)| {
            let received = self.players[author ^ 1].received;
            if received < one.sent {
                Some(name(author, received))
            } else if one.acked < one.sent {
                Some(format!("the Ack of {}", name(author, one.acked)))
            } else {
                None
            }
        };
        self.players.iter().enumerate().find_map(of).unwrap_or_default()
    }

    /// What reports call a message.
    fn name(&self, driver: &impl Driver, author: usize, number: u64) -> String {
        let Player { user: from, peer: to, .. } = self.players[author];
        driver.naming(self.first_place + author, Message { from, to, number })
    }

    fn hear_of(&mut self, index: usize) {
        if self.heard.last().is_none_or(|last| last.0 != index) {
            self.heard.push((index, 0));
        }
    }

    fn take(&mut self, driver: &impl Driver, index: usize, heard: Heard<'_>) -> Result<()> {
        if let Some(gap) = &mut self.gap {
            gap.hear(index, heard);
            return Ok(());
        }
        match heard {
            Heard::Acked { number } => self.acked(driver, index, number),
            Heard::Message { number, content } => self.delivered(driver, index, number, content),
            Heard::Ready => bail!("a player is ready again"),
        }
    }

    /// Checks that this is the Ack of the oldest message that has none.
    fn acked(&mut self, driver: &impl Driver, index: usize, number: u64) -> Result<()> {
        let seen = self.players[index ^ 1].received;
        let player = &self.players[index];
        let expected = player.acked;
        let name = || self.name(driver, index, number);
        ensure!(number >= expected, "DOUBLED: the Ack of {} came again", name());
        ensure!(number < player.sent, "CHANGED: an Ack of {}, never sent", name());
        if number != expected {
            self.gap = Some(Gap::new(index, Kind::Ack, expected, number));
            return Ok(());
        }
        let (now_us, sent_at) = (self.now_us(), player.sent_at(player.acked, seen));
        if sent_at >= self.since_us {
            self.acks.record(now_us.saturating_sub(sent_at));
        }
        let player = &mut self.players[index];
        if player.acked < seen {
            player.sent_at.pop_front();
        }
        player.acked += 1;
        Ok(())
    }

    /// Checks that this is exactly the next message of the other player.
    fn delivered(
        &mut self,
        driver: &impl Driver,
        index: usize,
        number: u64,
        content: &[u8],
    ) -> Result<()> {
        let (author, expected) = (&self.players[index ^ 1], self.players[index].received);
        let name = || self.name(driver, index ^ 1, number);
        ensure!(number >= expected, "DOUBLED: {} came again", name());
        ensure!(number < author.sent, "CHANGED: {} was never sent", name());
        if number != expected {
            self.gap = Some(Gap::new(index, Kind::Message, expected, number));
            return Ok(());
        }
        self.expected.clear();
        words::content(&mut self.expected, author.user, number);
        let is_right = content == self.expected;
        ensure!(is_right, "CHANGED: {} has another content", self.name(driver, index ^ 1, number));
        let sent_at = author.sent_at(number, number);
        let is_last_use = number < author.acked;
        self.note(sent_at);
        if is_last_use {
            self.players[index ^ 1].sent_at.pop_front();
        }
        self.players[index].received += 1;
        if let Some((_, got)) = self.heard.last_mut() {
            *got += 1;
        }
        Ok(())
    }

    fn note(&mut self, sent_at: u64) {
        let now_us = self.now_us();
        let took = now_us.saturating_sub(sent_at);
        self.delivered += 1;
        if sent_at >= self.since_us {
            self.deliveries.record(took);
        }
        self.longest_pause_us = self.longest_pause_us.max(now_us - self.delivered_at_us);
        self.delivered_at_us = now_us;
        self.seconds.record(took);
    }
}
