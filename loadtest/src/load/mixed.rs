//! A day in a minute: people come and go, write to each other, read pages, chat lists and counts.
//!
//! Everything is checked: each message comes once, unchanged and in order; whoever comes back
//! finds exactly what he missed; pages, chats and counts agree with what was sent, when people ask
//! and once more when all have gone. How long each kind of request takes is told apart.

mod aftermath;
mod asking;
mod calls;
mod checks;
pub mod day;
mod model;
mod people;
mod plan;

use super::accounts::{SETTLE_WITHIN, Target};
use super::part::Part;
use super::seconds::Seconds;
use super::sockets::{Said, Sockets};
use super::usage::{Counted, Usage};
use crate::arguments;
use crate::outcome::{Outcome, Run, Scenario};
use anyhow::{Result, bail, ensure};
use calls::Calls;
use day::Day;
use people::{People, Todo};
use serde::Serialize;
use serde_json::json;
use std::time::{Duration, Instant};

/// The longest wait for the server when nothing is due, µs.
const WAIT_US: u64 = 50_000;

/// What to run.
#[derive(Clone, Debug, Serialize, clap::Args)]
pub struct Mixed {
    /// Where.
    #[command(flatten)]
    #[serde(skip)]
    pub target: Target,
    /// What every scenario is told.
    #[command(flatten)]
    #[serde(skip)]
    pub run: Run,
    /// What the day is like: a file such as `loadtest/scenarios/day.toml`, which is built in.
    #[arg(long = "scenario", value_name = "FILE", default_value = day::BUILT_IN_NAME,
        value_parser = read_day)]
    #[serde(flatten)]
    pub day: Day,
    /// How long to measure, if not as long as the scenario says.
    // Among the settings it takes the place of the scenario's: it stands behind that.
    #[arg(long, value_parser = arguments::positive::<u64>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// How much longer the day is: people live so long before measuring.
    #[arg(long, default_value_t = 0)]
    pub warm_seconds: u64,
    /// Connections over which all people make their HTTP calls.
    #[arg(long, default_value_t = 64, value_parser = arguments::positive::<usize>)]
    pub http_connections: usize,
}

fn read_day(file: &str) -> Result<Day, String> {
    Day::read(file).map_err(|error| format!("{error:#}"))
}

impl Scenario for Mixed {
    const NAME: &'static str = "mixed";

    fn options(&self) -> &Run {
        &self.run
    }

    fn target(&self) -> Option<&Target> {
        Some(&self.target)
    }

    fn divided(&self) -> Result<Vec<(Part, Mixed)>> {
        let circle = self.day.circle;
        let mut parts = self.target.divided(self.day.users / circle, circle, |target| {
            let mut day = self.day.clone();
            day.users = target.part.units().len() * circle;
            day.sessions.arrivals_per_second *= day.users as f64 / self.day.users as f64;
            Mixed { day, run: self.run.of(&target.part), target, ..self.clone() }
        })?;
        let http_connections = self.http_connections.div_ceil(parts.len());
        parts.iter_mut().for_each(|(_, part)| part.http_connections = http_connections);
        Ok(parts)
    }

    fn run(&self, outcome: &mut Outcome) -> Result<()> {
        let mut day = self.day.clone();
        day.seconds = self.seconds.unwrap_or(day.seconds) + self.warm_seconds;
        let [warm, whole] = [self.warm_seconds, day.seconds].map(Duration::from_secs);
        let users = self.target.register(day.users)?;
        let people = People::new(day, users, self.run.seed);
        self.target.part.begin_together()?;
        let mut town = Town::new(&self.target, people, self.http_connections)?;
        let mut seconds = Seconds::begin(&self.target, "pushed");
        town.live(&mut seconds, warm)?;
        town.people.took.clear();
        town.people.sessions = 0;
        let sent_before = town.people.model.sent();
        let usage = Usage::begin(&self.target);
        seconds.start_over();
        let lived = self.target.part.for_all(town.live(&mut seconds, whole));
        seconds.end(outcome);
        let messages = town.people.model.sent();
        let sent = messages - sent_before;
        let counted = Counted { messages: sent, rate: "sent_per_second" };
        let used = usage.end(&self.target, counted, outcome);
        town.report(outcome);
        outcome.add(used);
        outcome.add(json!({"sent": sent}));
        lived?;
        town.people.gather();
        town.settle()?;
        town.people.disperse();
        town.settle()?;
        // What was under way at the end of the day has come by now: each message was either
        // pushed to a session or found at the beginning of one.
        let People { pushed, found, .. } = town.people;
        outcome.add(json!({"pushed": pushed, "found": found}));
        ensure!(pushed + found == messages, "of {messages}, {pushed} were pushed, {found} found");
        aftermath::check(&self.target, &town.people.model)
    }
}

/// People and their connections.
struct Town {
    target: Target,
    people: People,
    sockets: Sockets,
    calls: Calls,
    /// The place of each person's connection, once he has had one.
    places: Vec<Option<usize>>,
    /// Who has the places behind those of the calls.
    owners: Vec<usize>,
    begun: Instant,
}

impl Town {
    fn new(target: &Target, people: People, http_connections: usize) -> Result<Town> {
        let mut sockets = Sockets::of(&target.part)?;
        let calls = Calls::open(&mut sockets, target.http, http_connections)?;
        let places = vec![None; people.model.people()];
        let (target, owners, begun) = (target.clone(), Vec::new(), Instant::now());
        Ok(Town { target, people, sockets, calls, places, owners, begun })
    }

    fn now_us(&self) -> u64 {
        self.begun.elapsed().as_micros() as u64
    }

    /// People live until the day has been so long.
    fn live(&mut self, seconds: &mut Seconds, day: Duration) -> Result<()> {
        while self.begun.elapsed() < day {
            self.round()?;
            self.people.pushed_us.drain(..).for_each(|took_us| seconds.record(took_us));
            seconds.look();
        }
        Ok(())
    }

    /// Until all are where they are to be.
    fn settle(&mut self) -> Result<()> {
        let deadline = Instant::now() + SETTLE_WITHIN;
        while let Some(words) = self.people.unsettled() {
            ensure!(Instant::now() < deadline, "LOST: {words}");
            self.round()?;
        }
        Ok(())
    }

    /// What is due happens, what is to be sent is sent, and what comes is heard.
    fn round(&mut self) -> Result<()> {
        self.people.live(self.now_us());
        self.perform()?;
        let most = Duration::from_micros(self.people.pause_us(self.now_us(), WAIT_US));
        let Town { people, sockets, calls, owners, begun, .. } = self;
        sockets.round(most, |place, said, out| {
            let now_us = begun.elapsed().as_micros() as u64;
            let Some(index) = place.checked_sub(calls.places()) else {
                return match said {
                    Said::Bytes(bytes) => calls.receive(place, bytes, |person, answer| {
                        people.answered(person, answer.status, answer.body, now_us)
                    }),
                    Said::Gone(why) => calls.ended(place, &why),
                    other => bail!("an HTTP connection: {other:?}"),
                };
            };
            let person = owners[index];
            match said {
                Said::Upgraded => {
                    people.connected(person, out);
                    Ok(())
                }
                Said::Text(text) => people.hear(person, text, out, now_us),
                Said::Bytes(bytes) => bail!("not a text: {}", bytes.escape_ascii()),
                Said::Gone(why) => people.disconnected(person, &why),
            }
        })?;
        self.calls.send_waiting(&mut self.sockets)?;
        self.perform()
    }

    /// Does what is to be done for people; it leaves with the next round.
    fn perform(&mut self) -> Result<()> {
        for todo in std::mem::take(&mut self.people.todo) {
            match todo {
                Todo::Connect(person) => self.connect(person)?,
                Todo::Say(person, frames) => {
                    let place = self.place(person);
                    self.sockets.outbound(place).extend_from_slice(&frames);
                }
                Todo::Cut(person) => {
                    let place = self.place(person);
                    self.sockets.cut(place)?;
                }
                Todo::Ask(person, request) => {
                    self.calls.ask(&mut self.sockets, person, request)?;
                }
            }
        }
        Ok(())
    }

    fn place(&self, person: usize) -> usize {
        self.places[person].expect("he has come before he does anything")
    }

    fn connect(&mut self, person: usize) -> Result<()> {
        if let Some(place) = self.places[person] {
            return self.sockets.reopen(place, self.target.ws);
        }
        self.places[person] = Some(self.sockets.open(self.target.ws)?);
        self.owners.push(person);
        Ok(())
    }

    /// Gives the outcome what was measured.
    fn report(&self, outcome: &mut Outcome) {
        for (name, latencies) in &self.people.took {
            outcome.latencies.insert((*name).to_owned(), latencies.clone());
        }
        outcome.add(json!({
            "sessions": self.people.sessions,
            "messages": self.people.model.sent(),
        }));
    }
}
