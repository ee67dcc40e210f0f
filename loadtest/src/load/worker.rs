//! What one worker thread does: it obeys the orders of its [`Crew`](super::crew::Crew).

use super::accounts::{MessageIds, SETTLE_WITHIN, Target};
use super::comeback::{Comeback, Return};
use super::crew::{Answer, Order};
use super::part::Part;
use super::sockets::{Said, Sockets};
use super::words::{self, Word};
use anyhow::{Context, Result, bail, ensure};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// Obeys orders until no more come; tells what became of each.
pub fn work(part: &Part, orders: &Receiver<Order>, tell: &impl Fn(Answer)) {
    let mut worker: Option<Worker> = None;
    let mut settled = part.settle_in();
    for order in orders {
        let settled = std::mem::replace(&mut settled, Ok(()));
        let done = settled.and_then(|()| obey(&mut worker, order, tell));
        tell(match done {
            Ok(back) => Answer::Done(back),
            Err(error) => Answer::Failed(format!("{error:#}")),
        });
    }
}

/// Users and their connections, each at the place of his index.
struct Worker {
    target: Target,
    users: Vec<i64>,
    sockets: Sockets,
}

fn obey(worker: &mut Option<Worker>, order: Order, tell: &impl Fn(Answer)) -> Result<Return> {
    if let Order::Connect { target, users } = order {
        let sockets = target.connect(Sockets::of(&target.part)?, &users)?;
        *worker = Some(Worker { target, users, sockets });
        return Ok(Return::default());
    }
    if let Order::Leave = order {
        *worker = None;
        return Ok(Return::default());
    }
    let worker = worker.as_mut().context("there are no connections")?;
    match order {
        Order::Idle { heartbeat_seconds, seconds } => worker.idle(heartbeat_seconds, seconds)?,
        Order::Chat => worker.chat()?,
        Order::Cut => worker.cut()?,
        Order::Ack { ids } => worker.ack(ids)?,
        Order::Return { within_ms } => {
            let Worker { target, users, sockets } = worker;
            let told = |done, failed| tell(Answer::Under { done, failed });
            return Comeback::new(target.ws, users, within_ms).run(sockets, told);
        }
        Order::Connect { .. } | Order::Leave => unreachable!("they are done above"),
    }
    Ok(Return::default())
}

impl Worker {
    /// Heartbeats go out evenly over time; nothing but Pings comes in.
    fn idle(&mut self, heartbeat_seconds: u64, seconds: u64) -> Result<()> {
        let begun = Instant::now();
        let mut beaten = 0;
        while begun.elapsed() < Duration::from_secs(seconds) {
            let share = begun.elapsed().as_secs_f64() / heartbeat_seconds as f64;
            let due = (share * self.users.len() as f64) as usize;
            for index in (beaten..due).map(|number| number % self.users.len()) {
                words::heartbeat(self.sockets.outbound(index), self.users[index]);
            }
            beaten = due;
            self.quiet(Duration::from_millis(1))?;
        }
        Ok(())
    }

    /// What is queued leaves, and nothing comes.
    fn quiet(&mut self, most: Duration) -> Result<()> {
        self.sockets.round(most, |_, said, _| {
            bail!("nothing should come to the idle, but {}", said.text()?.escape_ascii())
        })
    }

    /// Everybody writes to his neighbour at once; each must get one Ack and one message.
    fn chat(&mut self) -> Result<()> {
        let (ids, users) = (MessageIds::new(), &self.users);
        let id = |index: usize| ids.of((self.target.part.first_connection() + index) as u64);
        for (index, from) in users.iter().enumerate() {
            let out = self.sockets.outbound(index);
            words::message(out, *from, users[index ^ 1], id(index), 0);
        }
        let deadline = Instant::now() + SETTLE_WITHIN;
        let mut left = users.len() * 2;
        let mut seen = vec![(false, false); users.len()];
        while left > 0 {
            ensure!(Instant::now() < deadline, "{left} Acks or messages never came");
            self.sockets.round(Duration::from_millis(50), |index, said, out| {
                let text = said.text()?;
                let was_seen = match words::read(text) {
                    Some(Word::Ack { source }) if source == id(index) => {
                        std::mem::replace(&mut seen[index].0, true)
                    }
                    Some(Word::Message { id: of, content, .. }) if of == id(index ^ 1) => {
                        let mut expected = Vec::new();
                        words::content(&mut expected, users[index ^ 1], 0);
                        ensure!(content == expected, "message {of} has another content");
                        words::ack(out, of);
                        std::mem::replace(&mut seen[index].1, true)
                    }
                    _ => bail!("not what was expected: {}", text.escape_ascii()),
                };
                ensure!(!was_seen, "it came twice: {}", text.escape_ascii());
                left -= 1;
                Ok(())
            })?;
        }
        // The last acks are still to be sent.
        self.quiet(Duration::ZERO)
    }

    /// All connections break at once, without a Close; ends when all have.
    fn cut(&mut self) -> Result<()> {
        (0..self.users.len()).try_for_each(|index| self.sockets.cut(index))?;
        let (mut left, deadline) = (self.users.len(), Instant::now() + SETTLE_WITHIN);
        while left > 0 {
            ensure!(Instant::now() < deadline, "{left} connections do not end");
            self.sockets.round(Duration::from_millis(50), |_, said, _| match said {
                Said::Gone(_) => {
                    left -= 1;
                    Ok(())
                }
                said => bail!("nothing should come, but {}", said.text()?.escape_ascii()),
            })?;
        }
        Ok(())
    }

    /// Each acks the message that he missed; nothing more may come to him.
    fn ack(&mut self, ids: MessageIds) -> Result<()> {
        for index in 0..self.users.len() {
            words::ack(
                self.sockets.outbound(index),
                ids.of((self.target.part.first_connection() + index) as u64),
            );
        }
        self.quiet(Duration::ZERO)
    }
}
