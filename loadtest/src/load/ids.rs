//! Message ids, one call for each message, as the known clients ask for them.
//!
//! Every id must be a multiple of 1000, above all that its connection got before, and handed out
//! once.

use super::accounts::{SETTLE_WITHIN, Target};
use super::answers::{Answer, Answers};
use super::limit::{Ceiling, Frames};
use super::part::Part;
use super::seconds::Seconds;
use super::streams::{Heard, Streams};
use super::usage::{Counted, Usage};
use crate::arguments;
use crate::http::post;
use crate::latencies::Latencies;
use crate::outcome::{Outcome, Run, Scenario};
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What to run.
#[derive(Clone, Debug, Serialize, clap::Args)]
pub struct Ids {
    /// Where.
    #[command(flatten)]
    #[serde(skip)]
    pub target: Target,
    /// What every scenario is told.
    #[command(flatten)]
    #[serde(skip)]
    pub run: Run,
    /// Keep-alive connections.
    #[arg(long, default_value_t = 64, value_parser = arguments::positive::<usize>)]
    pub connections: usize,
    /// Requests in flight on each.
    #[arg(long, default_value_t = 1, value_parser = arguments::positive::<usize>)]
    pub pipelined: usize,
    /// How long to measure.
    #[arg(long, default_value_t = 10, value_parser = arguments::positive::<u64>)]
    pub seconds: u64,
    /// How long to run before measuring.
    #[arg(long, default_value_t = 1)]
    pub warm_seconds: u64,
    /// Do not measure first, for 2 s, what this machine can do at most (see `limit`), and so tell
    /// no share of it.
    #[arg(long)]
    #[serde(skip)]
    pub no_limit: bool,
    /// What all parts of the run were given.
    #[arg(skip)]
    #[serde(skip)]
    pub given: Arc<Mutex<Vec<i64>>>,
}

/// What a call answers.
#[derive(Deserialize)]
struct Given {
    id: i64,
}

/// One connection.
#[derive(Default)]
struct Asker {
    /// When each request was made that has no answer, µs.
    asked_us: VecDeque<u64>,
    answers: Answers,
    last_id: i64,
}

/// All connections and what they were given.
struct Asking {
    streams: Streams,
    askers: Vec<Asker>,
    request: String,
    begun: Instant,
    /// When measuring began: what was asked before is not in `took`.
    since_us: u64,
    ids: Vec<i64>,
    took: Latencies,
    seconds: Seconds,
}

impl Scenario for Ids {
    const NAME: &'static str = "ids";

    fn options(&self) -> &Run {
        &self.run
    }

    fn target(&self) -> Option<&Target> {
        Some(&self.target)
    }

    fn ceiling(&self) -> Option<Ceiling> {
        let (pairs, window) = (self.connections.div_ceil(2), 2 * self.pipelined as u64);
        let rate = "ids_per_second";
        (!self.no_limit).then_some(Ceiling { frames: Frames::Calls, pairs, window, rate })
    }

    fn divided(&self) -> Result<Vec<(Part, Ids)>> {
        self.target.divided(self.connections, 1, |target| {
            let connections = target.part.units().len();
            Ids { connections, target, ..self.clone() }
        })
    }

    fn run(&self, outcome: &mut Outcome) -> Result<()> {
        self.target.part.begin_together()?;
        let mut asking = self.begin()?;
        asking.until(self.warm_seconds)?;
        let given_before = asking.ids.len();
        asking.took = Latencies::default();
        asking.since_us = asking.begun.elapsed().as_micros() as u64;
        asking.seconds.start_over();
        let usage = Usage::begin(&self.target);
        let asked = self.target.part.for_all(asking.until(self.seconds));
        let given = asking.ids.len() - given_before;
        let counted = Counted { messages: given as u64, rate: "ids_per_second" };
        let used = usage.end(&self.target, counted, outcome);
        outcome.add(used);
        outcome.add(json!({"given": given}));
        outcome.latencies.insert("answer".to_owned(), asking.took.clone());
        let settled = asked.and_then(|()| asking.settle());
        asking.seconds.end(outcome);
        settled?;
        check_unique(&self.given, asking.ids)
    }
}

impl Ids {
    /// Connects all and makes their first requests.
    fn begin(&self) -> Result<Asking> {
        let mut streams = Streams::of(&self.target.part)?;
        let request = post("/im/message/get/id", "{}");
        for _ in 0..self.connections {
            let place = streams.open(self.target.http)?;
            let first = request.repeat(self.pipelined);
            streams.outbound(place).extend_from_slice(first.as_bytes());
        }
        let asker = || Asker { asked_us: vec![0; self.pipelined].into(), ..Asker::default() };
        Ok(Asking {
            streams,
            askers: (0..self.connections).map(|_| asker()).collect(),
            request,
            begun: Instant::now(),
            since_us: 0,
            ids: Vec::new(),
            took: Latencies::default(),
            seconds: Seconds::begin(&self.target, "given"),
        })
    }
}

impl Asking {
    /// Asks so long: each answer is followed by a request.
    fn until(&mut self, seconds: u64) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < end {
            self.round(true)?;
        }
        Ok(())
    }

    /// Takes the answers that are owed.
    fn settle(&mut self) -> Result<()> {
        let deadline = Instant::now() + SETTLE_WITHIN;
        while self.askers.iter().any(|asker| !asker.asked_us.is_empty()) {
            ensure!(Instant::now() < deadline, "answers never came");
            self.round(false)?;
        }
        Ok(())
    }

    fn round(&mut self, asks_again: bool) -> Result<()> {
        let Asking { streams, askers, request, begun, since_us, ids, took, seconds } = self;
        seconds.look();
        streams.round(Duration::from_millis(50), |place, heard, out| {
            let Heard::Bytes(bytes) = heard else { bail!("a connection ended: {heard:?}") };
            let asker = &mut askers[place];
            let now_us = begun.elapsed().as_micros() as u64;
            let Asker { asked_us, answers, last_id } = asker;
            answers.receive(bytes, |answer| {
                let id = given(answer)?;
                let made_us = asked_us.pop_front().context("an answer to nothing")?;
                if made_us >= *since_us {
                    took.record(now_us - made_us);
                }
                seconds.record(now_us - made_us);
                let last = std::mem::replace(last_id, id);
                ensure!(id > last, "id {id} was given after {last} on the same connection");
                ensure!(id % 1000 == 0, "id {id} is no multiple of 1000");
                ids.push(id);
                if asks_again {
                    out.extend_from_slice(request.as_bytes());
                    asked_us.push_back(now_us);
                }
                Ok(())
            })
        })
    }
}

/// The id that an answer gives.
fn given(answer: Answer<'_>) -> Result<i64> {
    let Answer { status, body } = answer;
    ensure!(status == 200, "refused: {status} {}", body.escape_ascii());
    let given: Given = serde_json::from_slice(body).context("an id")?;
    Ok(given.id)
}

/// Whoever comes last looks at all.
fn check_unique(given: &Mutex<Vec<i64>>, mut ids: Vec<i64>) -> Result<()> {
    let mut all = given.lock().expect("nobody panics while he looks");
    all.append(&mut ids);
    all.sort_unstable();
    let twice = all.windows(2).find(|pair| pair[0] == pair[1]);
    ensure!(twice.is_none(), "an id was given twice: {twice:?}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_when_it_is_whole_and_an_id_given_twice_is_found() {
        let read = |bytes: &[u8]| -> Result<Option<i64>> {
            let mut id = None;
            Answers::default().receive(bytes, |answer| {
                id = Some(given(answer)?);
                Ok(())
            })?;
            Ok(id)
        };
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{\"id\":123000}HTTP";
        let end = whole.len() - 4;
        for cut in 0..end {
            assert_eq!(read(&whole[..cut]).expect("a part"), None, "{cut} bytes");
        }
        assert_eq!(read(whole).expect("an answer and a part"), Some(123_000));
        assert!(read(b"HTTP/1.1 429 Slow\r\nContent-Length: 2\r\n\r\n{}").is_err());
        let given = Mutex::default();
        assert!(check_unique(&given, vec![3000, 1000, 2000]).is_ok());
        assert!(check_unique(&given, vec![5000, 4000]).is_ok());
        assert!(check_unique(&given, vec![6000, 2000]).is_err(), "another part was given 2000");
        assert!(check_unique(&Mutex::default(), vec![3000, 1000, 2000, 1000]).is_err());
    }
}
