//! Users whose connections broke come back as the known clients do: after a failed try they wait
//! for three seconds, and after ten tries they give up.

use super::accounts::SETTLE_WITHIN;
use super::sockets::{Said, Sockets};
use super::words::{self, Word};
use anyhow::{Result, bail, ensure};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// What a client waits after a try that failed.
const AGAIN_AFTER: Duration = Duration::from_secs(3);
/// After so many tries in vain a client gives up.
const TRIES_MAX: u32 = 10;

/// How often a worker tells how far it is.
const TELLS: Duration = Duration::from_millis(250);
/// Tries that begin before the next look at what the server says.
const TRIES_AT_ONCE: usize = 64;

/// How it went, of one worker or of all.
#[derive(Debug, Default)]
pub struct Return {
    /// How long the try that succeeded took, from connecting to the Ack of its Auth, µs.
    pub reconnect_us: Vec<u64>,
    /// When each was back, since the first try of all, µs.
    pub back_us: Vec<u64>,
    /// Tries in all.
    pub tries: u64,
    /// Why tries failed, and how many did so.
    pub failures: BTreeMap<String, u64>,
    /// Users who gave up.
    pub gave_up: u64,
    /// Users who were told that something waits for them.
    pub told: u64,
}

impl Return {
    /// Adds what another worker has to tell.
    pub fn join(&mut self, mut other: Return) {
        self.reconnect_us.append(&mut other.reconnect_us);
        self.back_us.append(&mut other.back_us);
        self.tries += other.tries;
        for (why, count) in other.failures {
            *self.failures.entry(why).or_default() += count;
        }
        self.gave_up += other.gave_up;
        self.told += other.told;
    }
}

/// One user on his way back.
#[derive(Clone, Copy, Default)]
struct Away {
    tries: u32,
    began_us: u64,
    is_back: bool,
    is_told: bool,
}

/// All users of a worker on their way back.
pub struct Comeback<'a> {
    ws: SocketAddr,
    users: &'a [i64],
    within_ms: u64,
    begun: Instant,
    away: Vec<Away>,
    /// Those who try again, and when, µs: in order, for all wait equally long.
    again: VecDeque<(u64, usize)>,
    report: Return,
}

impl<'a> Comeback<'a> {
    /// Nobody has tried yet; the first tries will be spread evenly over `within_ms`.
    pub fn new(ws: SocketAddr, users: &'a [i64], within_ms: u64) -> Comeback<'a> {
        let away = vec![Away::default(); users.len()];
        let (again, report, begun) = (VecDeque::new(), Return::default(), Instant::now());
        Comeback { ws, users, within_ms, begun, away, again, report }
    }

    /// Ends when everybody is back and told of what he missed, or has given up.
    ///
    /// # Errors
    /// When somebody is neither, is told twice, or hears what he should not.
    pub fn run(mut self, sockets: &mut Sockets, tell: impl Fn(u64, u64)) -> Result<Return> {
        let waits = AGAIN_AFTER * TRIES_MAX + Duration::from_millis(self.within_ms);
        self.begun = Instant::now();
        let deadline = self.begun + waits + SETTLE_WITHIN;
        let (mut tried, mut told_at, mut told_before) = (0, self.begun, (0, 0));
        loop {
            if told_at.elapsed() >= TELLS {
                let now = (self.report.back_us.len() as u64, self.report.failures.values().sum());
                tell(now.0 - told_before.0, now.1 - told_before.1);
                (told_at, told_before) = (Instant::now(), now);
            }
            let (back, told) = (self.report.back_us.len(), self.report.told as usize);
            let gave_up = self.report.gave_up as usize;
            let all = self.users.len() - gave_up;
            if back == all && told == all {
                return Ok(self.report);
            }
            ensure!(
                Instant::now() < deadline,
                "of {} users {back} are back, {told} were told of what they missed, {gave_up} gave \
                 up; tries failed so: {:?}",
                self.users.len(),
                self.report.failures
            );
            self.attempt_due(sockets, &mut tried)?;
            let most = Duration::from_millis(if tried < self.users.len() { 1 } else { 20 });
            sockets.round(most, |place, said, out| self.hear(place, said, out))?;
        }
    }

    fn now_us(&self) -> u64 {
        self.begun.elapsed().as_micros() as u64
    }

    fn first_try_us(&self, place: usize) -> u64 {
        self.within_ms * 1000 * place as u64 / self.users.len() as u64
    }

    /// Begins the tries that are due, but not so many that nobody is heard meanwhile.
    fn attempt_due(&mut self, sockets: &mut Sockets, tried: &mut usize) -> Result<()> {
        for _ in 0..TRIES_AT_ONCE {
            let now_us = self.now_us();
            let again = self.again.front().filter(|(due_us, _)| *due_us <= now_us);
            if let Some(&(_, place)) = again {
                self.again.pop_front();
                self.attempt(sockets, place)?;
            } else if *tried < self.users.len() && self.first_try_us(*tried) <= now_us {
                self.attempt(sockets, *tried)?;
                *tried += 1;
            } else {
                break;
            }
        }
        Ok(())
    }

    fn attempt(&mut self, sockets: &mut Sockets, place: usize) -> Result<()> {
        let began_us = self.now_us();
        let away = &mut self.away[place];
        (away.tries, away.began_us) = (away.tries + 1, began_us);
        self.report.tries += 1;
        sockets.reopen(place, self.ws)
    }

    fn hear(&mut self, place: usize, said: Said<'_>, out: &mut Vec<u8>) -> Result<()> {
        let (user, now_us) = (self.users[place], self.now_us());
        let away = &mut self.away[place];
        match said {
            Said::Upgraded => words::auth(out, user, user),
            Said::Gone(why) => {
                ensure!(!away.is_back, "user {user} was back, and then: {why}");
                *self.report.failures.entry(why).or_default() += 1;
                self.report.told -= u64::from(std::mem::take(&mut away.is_told));
                if away.tries == TRIES_MAX {
                    self.report.gave_up += 1;
                } else {
                    self.again.push_back((now_us + AGAIN_AFTER.as_micros() as u64, place));
                }
            }
            said => {
                let text = said.text()?;
                match words::read(text) {
                    Some(Word::Ack { source }) if source == user && !away.is_back => {
                        away.is_back = true;
                        self.report.reconnect_us.push(now_us - away.began_us);
                        self.report.back_us.push(now_us);
                    }
                    Some(Word::Notice) if !away.is_told => {
                        away.is_told = true;
                        self.report.told += 1;
                    }
                    _ => bail!("not what user {user} should hear: {}", text.escape_ascii()),
                }
            }
        }
        Ok(())
    }
}
