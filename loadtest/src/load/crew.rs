//! Worker threads, each with its part of a run's connections.
//!
//! They obey orders. A worker ends when nobody gives it any more, so none outlives the run.

use super::accounts::{MessageIds, Target};
use super::comeback::Return;
use super::part::Part;
use super::worker;
use crate::interrupt;
use anyhow::{Context, Result, anyhow, bail};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often the run looks at its own affairs while workers are at work.
const LOOK: Duration = Duration::from_millis(100);

/// What a worker is to do with its connections. All but the first need them.
#[derive(Clone, Debug)]
pub enum Order {
    /// Connect and authenticate these users.
    Connect {
        /// Where, and which part of the run it is.
        target: Target,
        /// All of them.
        users: Vec<i64>,
    },
    /// Live, with a Heartbeat of each every so many seconds.
    Idle {
        /// Between two Heartbeats.
        heartbeat_seconds: u64,
        /// How long.
        seconds: u64,
    },
    /// Write to each other in pairs.
    Chat,
    /// Leave: the connections are closed.
    Leave,
    /// Break all connections at once.
    Cut,
    /// Come back, the first tries evenly spread; each must be told of what he missed.
    Return {
        /// Over how long the first tries are spread.
        within_ms: u64,
    },
    /// Ack what was missed: a message under an id by the user's number in the run.
    Ack {
        /// The ids of the run.
        ids: MessageIds,
    },
}

/// What became of an order.
#[derive(Debug)]
pub enum Answer {
    /// It goes on: what there was since this was told last.
    Under {
        /// How many are done.
        done: u64,
        /// How many tries have failed.
        failed: u64,
    },
    /// It is done; who came back, if that was the order.
    Done(Return),
    /// It failed: why.
    Failed(String),
}

struct Worker {
    part: Part,
    orders: Sender<Order>,
    thread: JoinHandle<()>,
}

/// The workers of a run.
pub struct Crew {
    target: Target,
    workers: Vec<Worker>,
    answers: Receiver<(usize, Answer)>,
}

impl Crew {
    /// Starts as many workers as so many connections need, `per_unit` for each of so many units.
    ///
    /// # Errors
    /// When a thread cannot have enough files.
    pub fn start(target: &Target, units: usize, per_unit: usize) -> Result<Crew> {
        let (told, answers) = channel();
        let start = |part: Part| {
            let (orders, given) = channel();
            let (told, own) = (told.clone(), part.clone());
            let thread = std::thread::spawn(move || {
                // Whoever waits no more has failed already.
                let tell = |answer| drop(told.send((own.number(), answer)));
                worker::work(&own, &given, &tell);
            });
            Worker { part, orders, thread }
        };
        let workers = target.parts(units, per_unit)?.into_iter().map(start).collect();
        Ok(Crew { target: target.clone(), workers, answers })
    }

    /// How many threads there are.
    pub fn count(&self) -> usize {
        self.workers.len()
    }

    /// Connects the users, each worker its share.
    ///
    /// # Errors
    /// When a worker fails.
    pub fn connect(&self, users: &[i64]) -> Result<()> {
        let order = |part: &Part| Order::Connect {
            target: self.target.with(part.clone()),
            users: users[part.connections()].to_vec(),
        };
        self.perform(order, |_, _| {}).map(drop)
    }

    /// Gives all the same order and who came back by it; `meanwhile` is called again and again
    /// with what was done and what failed since.
    ///
    /// # Errors
    /// When a worker fails: what the first of those says. The others are not waited for: what
    /// that one has left may be what they lack.
    pub fn all(&self, order: &Order, meanwhile: impl FnMut(u64, u64)) -> Result<Return> {
        self.perform(|_| order.clone(), meanwhile)
    }

    fn perform(
        &self,
        order: impl Fn(&Part) -> Order,
        mut meanwhile: impl FnMut(u64, u64),
    ) -> Result<Return> {
        for worker in &self.workers {
            let given = worker.orders.send(order(&worker.part));
            given.map_err(|_| anyhow!("a worker has ended")).context("an order")?;
        }
        let (mut all, mut left) = (Return::default(), self.workers.len());
        while left > 0 {
            let answer = self.answers.recv_timeout(LOOK);
            interrupt::check()?;
            match answer {
                Ok((_, Answer::Done(done))) => {
                    all.join(done);
                    left -= 1;
                }
                Ok((_, Answer::Under { done, failed })) => meanwhile(done, failed),
                Ok((_, Answer::Failed(why))) if self.count() == 1 => bail!("{why}"),
                Ok((number, Answer::Failed(why))) => {
                    bail!("part {} of {}: {why}", number + 1, self.count())
                }
                Err(RecvTimeoutError::Timeout) => {
                    let ended = self.workers.iter().any(|worker| worker.thread.is_finished());
                    if ended {
                        bail!("a worker has ended");
                    }
                    meanwhile(0, 0);
                }
                Err(RecvTimeoutError::Disconnected) => bail!("the workers are gone"),
            }
        }
        Ok(all)
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        for Worker { part, orders, thread } in self.workers.drain(..) {
            part.call_off("the run is over");
            drop(orders);
            // Why it failed, if it did, has been told.
            let _ = thread.join();
        }
    }
}
