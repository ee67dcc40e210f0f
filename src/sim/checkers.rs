//! What must hold of a simulated server, whatever its seed did to it, as its people see it.
//!
//! Each observation is given to the [`Model`], which knows what is sure and what is possible, and
//! judged by the checkers; the first that finds something wrong ends the run with its name, the
//! user, the message, what was expected and what was found.
//!
//! Invariants:
//! 1. `kept`: what was acked is in both histories for ever, or is forgotten as retention says.
//! 2. `once`: an author's message under an id is in a history once, at one place, and never looks
//!    different; what was not taken in never appears later.
//! 3. `order`: messages of one author are at their recipient, and on each connection, in the order
//!    in which they were sent.
//! 4. `unread`: a count is that of the messages received since the last clear, and only a clear
//!    makes a message read.
//! 5. `offline`: what waits is what was received and not acked, only an Ack ends that, for good;
//!    who comes, or has acked all of a part that was given, is told when anything waits.
//! 6. `lists`: pages and chat lists are what the model's one map of rows says; states do not go
//!    back; who is registered is found, under the last name that he was given.
//! 7. `ids`: minted ids are unique and rise, over shards, crashes and clocks; an identity is one
//!    user, for ever once its registration was answered, and a pair one chat.
//! 8. `forged`: nothing appears that its author has not sent so, or before those whom it does not
//!    concern.
//! 9. `bounds`: what the server holds is within the limits.
//! 10. `arrives`: when faults have ended, all that was said is answered, and every message is where
//!     it is to be, on every connection that was there. Who says what is right is not shut out, and
//!     of a user's connections the oldest alone when there are too many. What is not acked is
//!     pushed again.

use crate::chat::audit::{self, Finding};
use crate::ids::UserId;
pub use crate::sim::model::Terms;
use crate::sim::model::{Key, Model, Named, Step};
use crate::sim::observation::{Call, DeviceId, Failure, Moment, Observation, Said};
use crate::store::Store;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

mod bounds;
mod calls;
mod chats;
mod evening;
mod frames;
mod offline;
mod pages;
mod parts;
mod people;
mod sights;
#[cfg(test)]
mod tests;

use parts::Parts;
use people::People;

/// Whatever crashed when, the rows of all shards agree.
pub(crate) fn audit<S: Store>(stores: &[&S]) {
    let mut report = |finding: Finding| panic!("{finding}");
    audit::run(stores, &mut report).expect("memory does not fail");
}

/// A question: all that was sure when it was asked is in its answer, and nothing that was
/// impossible when that came.
#[derive(Clone, Copy, Debug)]
struct Span {
    asked: Step,
    answered: Step,
}

/// One connection, as its client knows it.
#[derive(Default)]
struct Line {
    user: Option<UserId>,
    /// The id of its Auth, and when that was said.
    auth: Option<(Option<i64>, Step)>,
    /// Its Auth was acked.
    welcomed: Option<Step>,
    /// Ids of later Auths, and whether they said the same.
    again: Vec<(i64, bool)>,
    /// Frames said before Auth.
    early: Vec<(Said, Step)>,
    /// Ids of what was said here and must be refused.
    doomed: Vec<i64>,
    /// Acks of which nothing has shown yet that they were taken in.
    acks: Vec<(Named, Step)>,
    /// It was welcomed, and is to be told next that messages wait.
    owes_notice: bool,
    /// When it was told last that messages wait.
    told: Option<Step>,
    has_acked: bool,
    /// When the last frame was said here of those whose Acks have come.
    answered: Step,
    /// It has said what no client says.
    babbles: bool,
    /// Messages pushed here, in turn.
    pushed: Vec<Key>,
    /// Those pushed here again.
    pushed_again: BTreeSet<Key>,
    /// Calls that are not answered.
    calls: VecDeque<Step>,
    /// Its client has ended its side: for the server it may be gone.
    has_left: bool,
    is_ended: bool,
}

/// All checkers, and what they know.
pub struct Checkers {
    model: Model,
    lines: BTreeMap<DeviceId, Line>,
    people: People,
    parts: Parts,
    /// Which message a text was seen as.
    texts: BTreeMap<String, Key>,
    minted: BTreeSet<i64>,
    /// The highest id minted so far, by the step at which it was known.
    highest: BTreeMap<Step, i64>,
    /// When the server went down last.
    crashed: Step,
    evening: Option<Step>,
    /// Whose whole history was shown since the evening.
    walked: BTreeSet<UserId>,
}

fn failure(checker: &'static str, user: UserId, words: String) -> Failure {
    Failure { checker, user: Some(user), message: None, words }
}

fn about(checker: &'static str, user: UserId, message: Key, words: String) -> Failure {
    let words = format!("the message of {}: {words}", message.0.number());
    Failure { checker, user: Some(user), message: Some(message.1), words }
}

impl Checkers {
    /// Nothing has happened yet.
    pub fn new(terms: Terms) -> Checkers {
        Checkers {
            model: Model::new(terms),
            lines: BTreeMap::new(),
            people: People::default(),
            parts: Parts::default(),
            texts: BTreeMap::new(),
            minted: BTreeSet::new(),
            highest: BTreeMap::new(),
            crashed: 0,
            evening: None,
            walked: BTreeSet::new(),
        }
    }

    /// Judges what was observed next.
    pub fn note(&mut self, at: Moment, observation: &Observation<'_>) -> Result<(), Failure> {
        let step = self.model.begin_step(at);
        match observation {
            Observation::Said { device, frame } => self.said(*device, frame, step),
            Observation::Heard { device, frame } => self.heard(*device, frame, step),
            Observation::Called { device, call } => {
                self.called(*device, call, step);
                Ok(())
            }
            Observation::Answered { device, call, status, body } => {
                let asked = self.next_asked(*device, call)?;
                self.answered(call, *status, body, Span { asked, answered: step })
            }
            Observation::Left { device } => {
                self.lines.entry(*device).or_default().has_left = true;
                Ok(())
            }
            Observation::Ended { device, .. } => {
                self.lines.entry(*device).or_default().is_ended = true;
                Ok(())
            }
            Observation::Crashed { crash, durable } => {
                self.crashed = step;
                self.model.crashed(*crash, *durable);
                if self.model.may_lose(*crash) {
                    self.people.keep_answered();
                }
                // What was left out is remembered in memory only.
                self.parts = Parts::default();
                self.lines.values_mut().for_each(|line| line.is_ended = true);
                Ok(())
            }
            Observation::Morning => self.morning_came(at, step),
            Observation::Evening => self.evening_came(step),
            Observation::Sizes(sizes) => bounds::check(sizes, self.evening.is_some()),
            Observation::Recovered
            | Observation::Stalled(_)
            | Observation::Resumed(_)
            | Observation::DiskFull(_)
            | Observation::DiskFailed(_)
            | Observation::ClockJumped(_) => Ok(()),
        }
    }

    /// When the call was said to which this answers.
    fn next_asked(&mut self, device: DeviceId, call: &Call) -> Result<Step, Failure> {
        let line = self.lines.entry(device).or_default();
        line.calls.pop_front().ok_or_else(|| Failure {
            checker: "forged",
            user: None,
            message: None,
            words: format!("{device} was answered what it had not asked: {call:?}"),
        })
    }
}
