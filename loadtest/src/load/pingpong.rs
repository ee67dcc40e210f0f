//! Pairs that throw messages to each other, a fixed number in flight.
//!
//! A message counts when it was sent, acked by the server, delivered, and acked by its reader.
//! Each delivery throws the next message back, so the loop is closed: its latency is queueing.

use super::accounts::{MessageIds, SETTLE_WITHIN, Target};
use super::latencies::Latencies;
use super::process;
use super::socket::{Poll, Socket};
use super::words::{self, Word};
use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// What to run.
#[derive(Clone, Debug, clap::Args)]
pub struct PingPong {
    /// Where.
    #[command(flatten)]
    pub target: Target,
    /// Pairs of users.
    #[arg(long, default_value_t = 500)]
    pub pairs: usize,
    /// Messages in flight in each pair.
    #[arg(long, default_value_t = 1)]
    pub window: u64,
    /// How long to measure.
    #[arg(long, default_value_t = 10)]
    pub seconds: u64,
    /// How long to run before measuring.
    #[arg(long, default_value_t = 2)]
    pub warm_seconds: u64,
}

/// One user of a pair: what he sent, and what he got from the other.
struct Player {
    user: i64,
    peer: i64,
    sent: u64,
    acked: u64,
    received: u64,
    /// Messages to throw that wait for the server's Acks.
    owed: u64,
    /// When each message in flight was sent, µs; by number modulo its length.
    sent_at: Vec<u64>,
}

/// What all players share.
struct Game {
    ids: MessageIds,
    begun: Instant,
    is_over: bool,
    acks: Latencies,
    deliveries: Latencies,
    expected: Vec<u8>,
}

impl Player {
    fn throw(&mut self, game: &Game, out: &mut Vec<u8>) {
        while self.owed > 0 && self.sent - self.acked < self.sent_at.len() as u64 && !game.is_over {
            let place = (self.sent % self.sent_at.len() as u64) as usize;
            self.sent_at[place] = game.now_us();
            words::message(out, self.user, self.peer, game.ids.of(self.sent), self.sent);
            self.sent += 1;
            self.owed -= 1;
        }
    }

    fn acked(&mut self, game: &mut Game, source: i64) -> Result<()> {
        ensure!(self.acked < self.sent, "an Ack of {source}, which was not sent");
        let expected = game.ids.of(self.acked);
        ensure!(source == expected, "an Ack of {source} where {expected} was the next");
        let place = (self.acked % self.sent_at.len() as u64) as usize;
        let took = game.now_us() - self.sent_at[place];
        game.acks.record(took);
        self.acked += 1;
        Ok(())
    }
}

impl Game {
    fn now_us(&self) -> u64 {
        self.begun.elapsed().as_micros() as u64
    }
}

impl PingPong {
    /// Runs it and reports.
    ///
    /// # Errors
    /// When a message is lost, changed, repeated or out of order, or the server refuses.
    pub fn run(&self) -> Result<Value> {
        let mut poll = Poll::new()?;
        let users = self.target.register(self.pairs * 2)?;
        let mut sockets = self.target.connect(&mut poll, &users)?;
        let places = (self.window * 4).next_power_of_two().max(16) as usize;
        let player = |index: usize| Player {
            user: users[index],
            peer: users[index ^ 1],
            sent: 0,
            acked: 0,
            received: 0,
            owed: if index.is_multiple_of(2) { self.window.div_ceil(2) } else { self.window / 2 },
            sent_at: vec![0; places],
        };
        let mut players: Vec<Player> = (0..users.len()).map(player).collect();
        let mut game = Game {
            ids: MessageIds::new(),
            begun: Instant::now(),
            is_over: false,
            acks: Latencies::default(),
            deliveries: Latencies::default(),
            expected: Vec::new(),
        };
        for (player, socket) in players.iter_mut().zip(&mut sockets) {
            player.throw(&game, &mut socket.outbound);
            socket.flush(&poll)?;
        }
        self.play(&mut poll, &mut sockets, &mut players, &mut game, self.warm_seconds)?;
        (game.acks, game.deliveries) = Default::default();
        let delivered = |players: &[Player]| players.iter().map(|one| one.received).sum::<u64>();
        let before = (Instant::now(), delivered(&players), self.target.cpu_ms(), own_cpu_ms());
        self.play(&mut poll, &mut sockets, &mut players, &mut game, self.seconds)?;
        let took = before.0.elapsed();
        let counted = delivered(&players) - before.1;
        let core_share = |used_ms: u64| used_ms as f64 / took.as_millis() as f64;
        let report = json!({
            "test": "pingpong",
            "pairs": self.pairs,
            "window": self.window,
            "seconds": took.as_secs_f64(),
            "delivered": counted,
            "delivered_per_second": (counted as f64 / took.as_secs_f64()).round(),
            "ack": game.acks.summary(),
            "delivery": game.deliveries.summary(),
            "server_cores": core_share(self.target.cpu_ms() - before.2),
            "own_cores": core_share(own_cpu_ms() - before.3),
        });
        game.is_over = true;
        self.drain(&mut poll, &mut sockets, &mut players, &mut game)?;
        Ok(report)
    }

    fn play(
        &self,
        poll: &mut Poll,
        sockets: &mut [Socket],
        players: &mut [Player],
        game: &mut Game,
        seconds: u64,
    ) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < end {
            round(poll, sockets, players, game)?;
        }
        Ok(())
    }

    /// Nothing is thrown any more; whatever was sent must be acked and delivered.
    fn drain(
        &self,
        poll: &mut Poll,
        sockets: &mut [Socket],
        players: &mut [Player],
        game: &mut Game,
    ) -> Result<()> {
        let deadline = Instant::now() + SETTLE_WITHIN;
        let left = |players: &[Player]| {
            let of = |index: usize| {
                let (one, other) = (&players[index], &players[index ^ 1]);
                (one.sent - one.acked) + (one.sent - other.received)
            };
            (0..players.len()).map(of).sum::<u64>()
        };
        while left(players) > 0 {
            let lost = left(players);
            ensure!(Instant::now() < deadline, "{lost} Acks or deliveries never came");
            round(poll, sockets, players, game)?;
        }
        Ok(())
    }
}

fn own_cpu_ms() -> u64 {
    process::cpu_ms(std::process::id()).unwrap_or(0)
}

/// Reads whatever is there, checks it, and answers it.
fn round(
    poll: &mut Poll,
    sockets: &mut [Socket],
    players: &mut [Player],
    game: &mut Game,
) -> Result<()> {
    let mut ready = Vec::new();
    poll.wait(Duration::from_millis(50), &mut ready)?;
    for index in ready {
        sockets[index].receive(poll, |text, out| {
            match words::read(text) {
                Some(Word::Ack { source }) => players[index].acked(game, source)?,
                Some(Word::Message { id, content }) => {
                    delivered(players, index, game, (id, content))?;
                    words::ack(out, id);
                }
                _ => bail!("not what a server should say: {}", text.escape_ascii()),
            }
            players[index].throw(game, out);
            Ok(())
        })?;
        sockets[index].flush(poll)?;
    }
    Ok(())
}

/// Checks that this is exactly the next message of the other player.
fn delivered(
    players: &mut [Player],
    index: usize,
    game: &mut Game,
    (id, content): (i64, &[u8]),
) -> Result<()> {
    let author = &players[index ^ 1];
    let number = players[index].received;
    ensure!(number < author.sent, "message {id} was never sent");
    ensure!(id == game.ids.of(number), "message {id} where number {number} was the next");
    game.expected.clear();
    words::content(&mut game.expected, author.user, number);
    ensure!(content == game.expected, "message {id} has another content");
    let place = (number % author.sent_at.len() as u64) as usize;
    let sent_at = author.sent_at[place];
    let took = game.now_us() - sent_at;
    game.deliveries.record(took);
    let reader = &mut players[index];
    reader.received += 1;
    reader.owed += 1;
    Ok(())
}
