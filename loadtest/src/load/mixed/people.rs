//! People who come, do what people do, and go; and whether the server gives each his due.
//!
//! Nothing is sent here: what is to be done is a [`Todo`]. A person does one thing after another.
//! He acks what he gets as it comes, except while he fetches what he missed (that he acks as a
//! whole), and after his last words: those messages he will find again.

use super::asking::{Asked, What};
use super::day::Day;
use super::model::Model;
use super::plan::{Happening, Plan};
use crate::latencies::Latencies;
use crate::load::words::{self, Word};
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeMap;

/// What is to be done for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Todo {
    /// Open his connection.
    Connect(usize),
    /// Send frames on it.
    Say(usize, Vec<u8>),
    /// End it.
    Cut(usize),
    /// Send an HTTP request.
    Ask(usize, String),
}

/// Where a person is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// Without a connection.
    Away,
    /// Until the Ack of his Auth.
    Coming,
    /// Until he knows what he missed.
    Fetching,
    /// Does one thing after another.
    Here,
    /// Until his answers and Acks have come.
    Parting,
    /// Until an Auth again is acked: whatever he acked before is known to the server then.
    Leaving,
    /// Until his connection has ended.
    Closing,
}

/// Messages that came one after another: the first, and the one after the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pushed {
    pub(super) first: u64,
    pub(super) next: u64,
}

/// One of them.
#[derive(Clone, Debug)]
pub(super) struct Person {
    pub(super) presence: Presence,
    pub(super) session: u64,
    since_us: u64,
    pub(super) asked: Option<Asked>,
    /// Messages of each other that came in this session.
    pub(super) pushed: Vec<Option<Pushed>>,
    /// How many messages of each other the server had when he came.
    met: Vec<u64>,
    /// Whether he must be told that messages wait, and was.
    is_notice_due: bool,
    is_notified: bool,
}

/// What part of the day it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// People come and go.
    Day,
    /// Everybody comes and stays, and nobody does anything.
    Evening,
    /// Everybody goes.
    Night,
}

/// All people, what they have sent, and what was measured.
pub struct People {
    pub(super) day: Day,
    /// What was sent.
    pub model: Model,
    pub(super) plan: Plan,
    pub(super) people: Vec<Person>,
    pub(super) phase: Phase,
    /// What is to be done, in order.
    pub todo: Vec<Todo>,
    /// How long things took, by their names.
    pub took: BTreeMap<&'static str, Latencies>,
    /// How long each message took that was pushed since this was looked at, µs.
    pub pushed_us: Vec<u64>,
    /// Sessions so far.
    pub sessions: u64,
    /// Messages that were pushed to people who were there.
    pub pushed: u64,
    /// Messages that people found when they came, and were not pushed while they looked.
    pub found: u64,
}

impl People {
    /// Everybody is away when the day begins.
    pub fn new(day: Day, users: Vec<i64>, seed: u64) -> People {
        let person = Person {
            presence: Presence::Away,
            session: 0,
            since_us: 0,
            asked: None,
            pushed: vec![None; day.circle - 1],
            met: vec![0; day.circle - 1],
            is_notice_due: false,
            is_notified: false,
        };
        let people = vec![person; users.len()];
        let model = Model::new(users, day.circle);
        let mut plan = Plan::new(seed);
        plan.after(0, 0.0, Happening::Arrival);
        let (todo, took, pushed_us) = Default::default();
        let (phase, [sessions, pushed, found]) = (Phase::Day, [0; 3]);
        People { day, model, plan, people, phase, todo, took, pushed_us, sessions, pushed, found }
    }

    /// How long nothing is due, at most so long, µs.
    pub fn pause_us(&self, now_us: u64, most_us: u64) -> u64 {
        self.plan.pause_us(now_us, most_us)
    }

    /// Lets happen what is due.
    pub fn live(&mut self, now_us: u64) {
        while let Some((due_us, happening)) = self.plan.due(now_us) {
            match happening {
                Happening::Arrival => self.arrival(due_us),
                Happening::Act { person, session } => self.act(person, session, due_us),
                Happening::Leave { person, session } if self.is_here(person, session) => {
                    self.part(person);
                }
                Happening::Leave { .. } => {}
            }
        }
        if self.phase == Phase::Evening {
            for person in 0..self.people.len() {
                self.come(person, now_us);
            }
        }
    }

    /// The day is over: everybody comes and stays.
    pub fn gather(&mut self) {
        self.plan.forget();
        self.phase = Phase::Evening;
        for person in &mut self.people {
            if person.presence == Presence::Parting {
                person.presence = Presence::Here;
            }
        }
    }

    /// Everybody goes.
    pub fn disperse(&mut self) {
        self.phase = Phase::Night;
        (0..self.people.len()).for_each(|person| self.part(person));
    }

    /// What keeps the evening or the night from ending, in words.
    pub fn unsettled(&self) -> Option<String> {
        let wanted = if self.phase == Phase::Night { Presence::Away } else { Presence::Here };
        let is_settled = |person: &&Person| person.presence == wanted && person.asked.is_none();
        let moving = self.people.len() - self.people.iter().filter(is_settled).count();
        let channels = self.model.unquiet();
        let quiet = moving == 0 && (channels == 0 || self.phase == Phase::Night);
        let words = || format!("{moving} people and {channels} conversations have not settled");
        (!quiet).then(words)
    }

    fn is_here(&self, person: usize, session: u64) -> bool {
        let one = &self.people[person];
        (one.presence, one.session) == (Presence::Here, session)
    }

    fn arrival(&mut self, due_us: u64) {
        let share = due_us as f64 / (self.day.seconds * 1_000_000) as f64;
        let pause_us = 1_000_000.0 / self.day.arrivals_per_second(share).max(0.001);
        self.plan.after(due_us, pause_us, Happening::Arrival);
        let first = self.plan.dice.below(self.people.len() as u64) as usize;
        let mut all = (first..self.people.len()).chain(0..first);
        if let Some(person) = all.find(|one| self.people[*one].presence == Presence::Away) {
            self.come(person, due_us);
        }
    }

    /// Somebody comes, if he is away.
    fn come(&mut self, person: usize, due_us: u64) {
        let one = &mut self.people[person];
        if one.presence == Presence::Away {
            (one.presence, one.since_us) = (Presence::Coming, due_us);
            one.session += 1;
            self.sessions += 1;
            self.todo.push(Todo::Connect(person));
        }
    }

    /// His connection is open: he says who he is.
    pub fn connected(&mut self, person: usize, out: &mut Vec<u8>) {
        let floor = self.model.floor(person);
        let waits = |(slot, ways): (usize, &super::model::Ways)| {
            let other = self.model.other(person, slot);
            ways.from > self.model.channel(other, person).taken
        };
        let is_due = floor.iter().enumerate().any(waits);
        let one = &mut self.people[person];
        (one.is_notice_due, one.is_notified) = (is_due, false);
        one.met = floor.iter().map(|ways| ways.from).collect();
        let user = self.model.user(person);
        words::auth(out, user, user);
    }

    /// Takes a frame that came to somebody; what he answers at once is appended.
    ///
    /// # Errors
    /// When it should not have come, or not so.
    pub fn hear(
        &mut self,
        person: usize,
        text: &[u8],
        out: &mut Vec<u8>,
        now_us: u64,
    ) -> Result<()> {
        match words::read(text) {
            Some(Word::Ack { source }) if source == self.model.user(person) => {
                self.authenticated(person, now_us)
            }
            Some(Word::Ack { source }) => self.stored(person, source, now_us),
            Some(Word::Message { id, content, .. }) => self.got(person, id, content, out, now_us),
            Some(Word::Notice) => {
                self.people[person].is_notified = true;
                Ok(())
            }
            None => bail!("not what a server should say: {}", text.escape_ascii()),
        }
    }

    fn authenticated(&mut self, person: usize, now_us: u64) -> Result<()> {
        let one = &mut self.people[person];
        match one.presence {
            Presence::Coming => {
                one.presence = Presence::Fetching;
                let since_us = one.since_us;
                self.note("connect", since_us, now_us);
                self.ask(person, What::Offline, now_us);
            }
            Presence::Leaving => {
                let is_told = one.is_notified || !one.is_notice_due;
                ensure!(is_told, "LOST: the notice that messages wait");
                one.presence = Presence::Closing;
                self.todo.push(Todo::Cut(person));
            }
            presence => bail!("the Ack of an Auth while {presence:?}"),
        }
        Ok(())
    }

    /// The server has acked a message of somebody.
    fn stored(&mut self, author: usize, id: i64, now_us: u64) -> Result<()> {
        let (by, reader, number) = self.model.message(id)?;
        ensure!(by == author, "an Ack of another's message {id}");
        let channel = self.model.channel_mut(author, reader);
        let next = channel.stored;
        ensure!(number == next, "an Ack of number {number} where {next} was the next");
        channel.stored += 1;
        let sent_us = channel.sent_us[number as usize];
        self.note("ack", sent_us, now_us);
        if self.people[author].presence == Presence::Parting {
            self.part(author);
        }
        Ok(())
    }

    /// A message has come to somebody.
    fn got(
        &mut self,
        reader: usize,
        id: i64,
        content: &[u8],
        out: &mut Vec<u8>,
        now_us: u64,
    ) -> Result<()> {
        let (author, to, number) = self.model.check_content(id, content)?;
        ensure!(to == reader, "message {id} is for another");
        let slot = self.model.slot_of(reader, self.model.user(author)).context("a stranger's")?;
        let one = &mut self.people[reader];
        let channel = self.model.channel_mut(author, reader);
        let first = match one.pushed[slot] {
            Some(pushed) => {
                let next = pushed.next;
                ensure!(number == next, "message {id} is number {number}, not {next}");
                pushed.first
            }
            None => {
                // What the server had when he came is not pushed, but fetched.
                let fetches = matches!(one.presence, Presence::Coming | Presence::Fetching);
                let most = if fetches { u64::MAX } else { channel.taken };
                let (least, is_in) = (one.met[slot], number >= one.met[slot] && number <= most);
                ensure!(is_in, "message {id} is number {number}, not {least} to {most}");
                number
            }
        };
        one.pushed[slot] = Some(Pushed { first, next: number + 1 });
        // What he has found as well was acked then.
        let acks_at_once = matches!(one.presence, Presence::Here | Presence::Parting);
        if acks_at_once && number >= channel.taken {
            channel.taken = number + 1;
            self.pushed += 1;
            words::ack(out, id);
        }
        let sent_us = channel.sent_us[number as usize];
        self.pushed_us.push(now_us.saturating_sub(sent_us));
        self.note("delivery", sent_us, now_us);
        Ok(())
    }

    /// His connection has ended.
    ///
    /// # Errors
    /// When it was not he who ended it.
    pub fn disconnected(&mut self, person: usize, why: &str) -> Result<()> {
        let one = &mut self.people[person];
        ensure!(one.presence == Presence::Closing, "a connection ended: {why}");
        one.presence = Presence::Away;
        one.pushed.fill(None);
        Ok(())
    }

    /// Goes as soon as all his answers and Acks have come.
    pub(super) fn part(&mut self, person: usize) {
        let one = &mut self.people[person];
        if !matches!(one.presence, Presence::Here | Presence::Parting) {
            return;
        }
        one.presence = Presence::Parting;
        if one.asked.is_none() && self.model.is_stored(person) {
            one.presence = Presence::Leaving;
            let (user, mut frame) = (self.model.user(person), Vec::new());
            words::auth(&mut frame, user, user);
            self.todo.push(Todo::Say(person, frame));
        }
    }

    /// A person does one thing of all that people do.
    fn act(&mut self, person: usize, session: u64, due_us: u64) {
        if !self.is_here(person, session) {
            return;
        }
        let dice = &mut self.plan.dice;
        let slot = dice.below(self.model.others() as u64) as usize;
        let shares = &self.day.shares;
        let mut drawn = dice.below(shares.total());
        let mut is_drawn = |share: u64| {
            let is_it = drawn < share;
            drawn = drawn.saturating_sub(share);
            is_it
        };
        // One after another: each takes its share of what the others have left.
        if is_drawn(shares.send) {
            self.send(person, slot, due_us);
            self.plan_next(person, due_us);
        } else if is_drawn(shares.page) {
            let scroll = Model::scroll(&self.model.floor(person), slot);
            let more = shares.scroll_pages_max;
            self.ask(person, What::Page { slot, scroll, more }, due_us);
        } else if is_drawn(shares.chats) {
            self.ask(person, What::Chats, due_us);
        } else {
            let ways = self.model.floor(person)[slot];
            // A chat that has no message is unknown.
            let is_clear = !is_drawn(shares.unread) && ways.from + ways.to > 0;
            let what = if is_clear { What::Clear { slot } } else { What::Unread };
            self.ask(person, what, due_us);
        }
    }

    pub(super) fn plan_next(&mut self, person: usize, now_us: u64) {
        let session = self.people[person].session;
        if self.phase == Phase::Day {
            let mean_us = (self.day.actions.pause_ms_mean * 1000) as f64;
            self.plan.after(now_us, mean_us, Happening::Act { person, session });
        }
    }

    fn send(&mut self, author: usize, slot: usize, due_us: u64) {
        let reader = self.model.other(author, slot);
        let (from, to) = (self.model.user(author), self.model.user(reader));
        let channel = self.model.channel_mut(author, reader);
        let number = channel.sent();
        channel.sent_us.push(due_us);
        let mut frame = Vec::new();
        words::message(&mut frame, from, to, self.model.id(author, reader, number), number);
        self.todo.push(Todo::Say(author, frame));
    }

    pub(super) fn note(&mut self, what: &'static str, since_us: u64, now_us: u64) {
        self.took.entry(what).or_default().record(now_us.saturating_sub(since_us));
    }
}

#[cfg(test)]
#[path = "people_tests.rs"]
mod tests;
