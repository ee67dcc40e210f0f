//! Worker processes, each with its share of a run's connections: one process may open only so
//! many files.
//!
//! Orders go to their standard input, answers come from their standard output, a line of JSON
//! each. A worker ends when its input does, so none outlives the run.

use super::accounts::{FILES_BESIDE, MessageIds, Target};
use super::process;
use crate::interrupt;
use crate::server::profile_folder;
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::ops::Range;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// How often the run looks at its own affairs while workers are at work.
const LOOK: Duration = Duration::from_millis(100);

/// What a worker is to do with its connections. All but the first need them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Order {
    /// Connect and authenticate these users, whose first has this number in the run.
    Connect {
        /// Where.
        target: Target,
        /// The number of the first.
        first: usize,
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
#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    /// It goes on: what there was since this was told last.
    Under {
        /// How many are done.
        done: u64,
        /// How many tries have failed.
        failed: u64,
    },
    /// It is done; what there is to tell.
    Done(Value),
    /// It failed: why.
    Failed(String),
}

struct Worker {
    process: Child,
    share: Range<usize>,
}

/// The workers of a run.
pub struct Crew {
    workers: Vec<Worker>,
    answers: Receiver<(usize, Result<Answer>)>,
}

impl Crew {
    /// Starts as many workers as so many connections need, with an even number of them each.
    ///
    /// # Errors
    /// When a process cannot be started.
    pub fn start(connections: usize, per_process: Option<usize>) -> Result<Crew> {
        let most = per_process.unwrap_or_else(|| process::files_max().saturating_sub(FILES_BESIDE));
        let most = most & !1;
        ensure!(most > 0, "a process needs at least two connections");
        let count = connections.div_ceil(most).max(1);
        let each = connections.div_ceil(count).next_multiple_of(2);
        let (told, answers) = channel();
        let mut crew = Crew { workers: Vec::new(), answers };
        for number in 0..count {
            let mut command = Command::new(own_program()?);
            command.arg("worker").stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut process = command.spawn().context("a worker process")?;
            let said = process.stdout.take().context("it is piped")?;
            let told = told.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(said).lines() {
                    let read = line.context("a worker").and_then(|line| {
                        serde_json::from_str(&line).context("an answer of a worker")
                    });
                    // Whoever waits no more has failed already.
                    let _ = told.send((number, read));
                }
                let _ = told.send((number, Err(anyhow::anyhow!("a worker ended"))));
            });
            let share = (number * each).min(connections)..((number + 1) * each).min(connections);
            crew.workers.push(Worker { process, share });
        }
        Ok(crew)
    }

    /// How many processes there are.
    pub fn count(&self) -> usize {
        self.workers.len()
    }

    /// Their process ids.
    pub fn ids(&self) -> Vec<u32> {
        self.workers.iter().map(|worker| worker.process.id()).collect()
    }

    /// The CPU time of all so far, ms.
    pub fn cpu_ms(&self) -> u64 {
        self.ids().into_iter().filter_map(process::cpu_ms).sum()
    }

    /// Connects the users, each worker its share.
    ///
    /// # Errors
    /// When a worker fails.
    pub fn connect(&mut self, target: &Target, users: &[i64]) -> Result<()> {
        let order = |share: &Range<usize>| Order::Connect {
            target: target.clone(),
            first: share.start,
            users: users[share.clone()].to_vec(),
        };
        self.perform(order, |_, _| {}).map(drop)
    }

    /// Gives all the same order and their answers in order; `meanwhile` is called again and again
    /// with what was done and what failed since.
    ///
    /// # Errors
    /// When a worker fails: what the first of those says. The others are not waited for: what
    /// that one has left may be what they lack.
    pub fn all(&mut self, order: &Order, meanwhile: impl FnMut(u64, u64)) -> Result<Vec<Value>> {
        self.perform(|_| order.clone(), meanwhile)
    }

    fn perform(
        &mut self,
        order: impl Fn(&Range<usize>) -> Order,
        mut meanwhile: impl FnMut(u64, u64),
    ) -> Result<Vec<Value>> {
        for worker in &mut self.workers {
            let mut line = serde_json::to_vec(&order(&worker.share))?;
            line.push(b'\n');
            let orders = worker.process.stdin.as_mut().context("it is piped")?;
            orders.write_all(&line).context("a worker takes no orders")?;
        }
        let count = self.workers.len();
        let mut answers = vec![None; count];
        while answers.iter().any(Option::is_none) {
            let answer = self.answers.recv_timeout(LOOK);
            // A terminal interrupts the workers as well, which end then.
            interrupt::check()?;
            match answer {
                Ok((number, Ok(Answer::Done(value)))) => answers[number] = Some(value),
                Ok((_, Ok(Answer::Under { done, failed }))) => meanwhile(done, failed),
                Ok((_, Ok(Answer::Failed(why)))) if count == 1 => bail!("{why}"),
                Ok((number, Ok(Answer::Failed(why)))) => {
                    bail!("process {} of {count}: {why}", number + 1)
                }
                Ok((_, Err(error))) => return Err(error),
                Err(RecvTimeoutError::Timeout) => meanwhile(0, 0),
                Err(RecvTimeoutError::Disconnected) => bail!("the workers are gone"),
            }
        }
        Ok(answers.into_iter().flatten().collect())
    }
}

/// The load generator's program: this very one, unless this is a test.
fn own_program() -> Result<PathBuf> {
    const NAME: &str = "anser-loadtest";
    let own = std::env::current_exe().context("the path of this program")?;
    let is_it = own.file_name().is_some_and(|name| name == NAME);
    Ok(if is_it { own } else { profile_folder().join(NAME) })
}

impl Drop for Crew {
    fn drop(&mut self) {
        for worker in &mut self.workers {
            // It may have ended, and been waited for, already.
            let _ = worker.process.kill();
            let _ = worker.process.wait();
        }
    }
}
