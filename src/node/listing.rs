//! Lists: answered part by part, the next when the last has left.
//!
//! Invariants:
//! 1. At most one part of a list, about [`crate::limits::LIST_PART_BYTES`], is in memory for a
//!    connection.
//! 2. A list is read by the shard that keeps its rows; for a connection of another shard the
//!    parts cross the mesh, each asked for when the one before has left.
//! 3. A list whose reader is gone is forgotten on both shards.
//! 4. A part leaves when all that it shows is durable: no crash takes back what a list has shown.
//! 5. At most [`HELD_PARTS_MAX`] parts are made and wait for that; others are made afterwards.
//! 6. A list that meets rows which cannot be read is refused; one that was begun ends, with its
//!    connection, before its end.
//!
//! Left to others: what is in a list (`chat::history`), and in a part of it (`speech`).

use crate::api::{Refusal, Reply};
use crate::chat::history::Listing;
use crate::ids::{ConnectionId, ShardId};
use crate::limits::{HELD_PARTS_MAX, NEEDS_STAGES_MAX};
use crate::metrics::Counter;
use crate::node::connection::{Errand, token_of};
use crate::node::desk::Desk;
use crate::node::mesh::{Answer, Parcel};
use crate::node::parking::Waiting;
use crate::node::ring::Token;
use crate::speech::{self, Part};
use crate::store::{Position, Store, StoreError};
use crate::wire::session::CloseCode;
use std::collections::VecDeque;

/// A part that is made.
struct Made {
    to: ConnectionId,
    part: Part,
    body: Vec<u8>,
    /// What follows it.
    rest: Option<Box<Listing>>,
}

/// A part that is to be made.
type Wanted = (ConnectionId, Box<Listing>, Part, u8);

/// Parts that wait for the disk.
#[derive(Default)]
pub struct HeldParts {
    /// Each with the position of what it shows.
    made: Vec<(Position, Made)>,
    /// For whom there was no room among these.
    wanted: VecDeque<Wanted>,
}

impl HeldParts {
    /// No part waits.
    pub fn is_empty(&self) -> bool {
        self.made.is_empty() && self.wanted.is_empty()
    }

    /// Parts that are made, and that are to be.
    #[cfg(test)]
    pub fn counts(&self) -> (usize, usize) {
        (self.made.len(), self.wanted.len())
    }
}

impl<S: Store> Desk<S> {
    /// Begins to answer with a list; most lists end in their first part.
    pub fn begin_list(
        &mut self,
        to: ConnectionId,
        listing: Box<Listing>,
    ) -> Result<(), StoreError> {
        if self.is_here(to.shard) && self.reach(token_of(to)).is_none() {
            return Ok(());
        }
        self.give_part(to, listing, Part::First, 0)
    }

    /// Answers with a part of a list, or parks it if it lacks rows; it did so many times before.
    pub fn give_part(
        &mut self,
        to: ConnectionId,
        mut listing: Box<Listing>,
        part: Part,
        stages: u8,
    ) -> Result<(), StoreError> {
        if self.held_parts.made.len() >= HELD_PARTS_MAX {
            self.held_parts.wanted.push_back((to, listing, part, stages));
            return Ok(());
        }
        let needs = self.shard.needs_of_list(&listing)?;
        if !needs.is_empty() && stages < NEEDS_STAGES_MAX && self.parking.has_room() {
            self.metrics.count(Counter::Parked, u64::from(stages == 0));
            self.parking.park(Waiting::Part(to, listing, part), needs, stages + 1);
            return Ok(());
        }
        self.parking.begin_event();
        let mut body = std::mem::take(&mut self.body);
        let options = &self.options;
        let shard = &mut self.shard;
        let outcome = speech::list_part(shard, &mut listing, part, options, &mut body)
            .and_then(|whole| Ok((whole, shard.needed_by(&listing)?)));
        let readable = shard.unless_damaged(outcome)?;
        self.end_event();
        let Some((whole, needed)) = readable else {
            self.body = body;
            self.break_off(to, part);
            return Ok(());
        };
        let rest = (!whole).then_some(listing);
        let made = Made { to, part, body, rest };
        match needed <= self.shard.store().durable() {
            true => self.give(made),
            false => self.held_parts.made.push((needed, made)),
        }
        Ok(())
    }

    /// Gives the parts that show only what is durable by now, and makes those that found no room.
    pub fn give_durable_parts(&mut self) -> Result<(), StoreError> {
        let durable = self.shard.store().durable();
        let is_due = |held: &mut (Position, Made)| held.0 <= durable;
        let due: Vec<_> = self.held_parts.made.extract_if(.., is_due).collect();
        if due.is_empty() {
            return Ok(());
        }
        due.into_iter().for_each(|(_, made)| self.give(made));
        for _ in 0..self.held_parts.wanted.len() {
            let Some((to, listing, part, stages)) = self.held_parts.wanted.pop_front() else {
                break;
            };
            if !self.is_here(to.shard) || self.reach(token_of(to)).is_some() {
                self.give_part(to, listing, part, stages)?;
            }
        }
        Ok(())
    }

    /// The list goes on with what cannot be read. One that was begun ends without its end: nobody
    /// takes it for whole.
    fn break_off(&mut self, to: ConnectionId, part: Part) {
        if part == Part::First {
            self.metrics.refuse(Refusal::Unreadable.reason());
            return self.reply(to, &Reply::Refused(Refusal::Unreadable));
        }
        match self.is_here(to.shard) {
            true => self.close(token_of(to), CloseCode::Internal),
            false => self.mesh.post(to.shard, Parcel::Answer(to, Answer::Broken)),
        }
    }

    fn give(&mut self, made: Made) {
        let Made { to, part, body, rest } = made;
        if !self.is_here(to.shard) {
            let answer = match (part, rest.is_none()) {
                (Part::First, true) => Answer::Whole { status: 200, body },
                (Part::First, false) => Answer::First(body),
                (Part::Next, true) => Answer::Last(body),
                (Part::Next, false) => Answer::Next(body),
            };
            if let Some(rest) = rest {
                self.abroad.insert(key(to), rest);
            }
            return self.mesh.post(to.shard, Parcel::Answer(to, answer));
        }
        match (part, rest) {
            (Part::First, None) => self.answer(to, 200, &body),
            (Part::First, Some(rest)) => self.begin_answer(to, &body, Errand::List(rest)),
            (Part::Next, rest) => self.add_part(to, &body, rest.map(Errand::List)),
        }
        self.body = body;
    }

    /// All of the last part has left: the next one, from here or from another shard.
    pub fn continue_list(&mut self, token: Token) -> Result<(), StoreError> {
        let id = self.table.id(token);
        let Some(connection) = self.table.get(token) else { return Ok(()) };
        match connection.errand.take() {
            Some(Errand::List(listing)) => self.give_part(id, listing, Part::Next, 0)?,
            // Asked for once; the part brings the errand back.
            Some(Errand::ListFrom(shard)) => self.mesh.post(shard, Parcel::NextPart(id)),
            Some(Errand::SendFirst) => self.make_ready(token),
            other => connection.errand = other,
        }
        Ok(())
    }

    /// Makes the next part for a connection of another shard.
    pub fn next_part_abroad(&mut self, to: ConnectionId) -> Result<(), StoreError> {
        let Some(listing) = self.abroad.remove(&key(to)) else { return Ok(()) };
        self.give_part(to, listing, Part::Next, 0)
    }

    /// Its reader is gone.
    pub fn abandon_list(&mut self, to: ConnectionId) {
        self.abroad.remove(&key(to));
    }

    /// Another shard has answered, or answered a part.
    pub fn receive_answer(&mut self, from: ShardId, to: ConnectionId, answer: Answer) {
        let is_last = matches!(answer, Answer::Whole { .. } | Answer::Last(_) | Answer::Broken);
        if is_last {
            self.forwarded -= 1;
        }
        if self.reach(token_of(to)).is_none() {
            if !is_last {
                self.forwarded -= 1;
                self.mesh.post(from, Parcel::Abandon(to));
            }
            return;
        }
        match answer {
            Answer::Whole { status, body } => self.answer(to, status, &body),
            Answer::First(body) => self.begin_answer(to, &body, Errand::ListFrom(from)),
            Answer::Next(body) => self.add_part(to, &body, Some(Errand::ListFrom(from))),
            Answer::Last(body) => self.add_part(to, &body, None),
            Answer::Broken => self.close(token_of(to), CloseCode::Internal),
        }
    }

    fn begin_answer(&mut self, to: ConnectionId, body: &[u8], errand: Errand) {
        if let Some(connection) = self.reach(token_of(to)) {
            connection.session.answer_begin(&mut connection.out);
            connection.session.answer_part(body, &mut connection.out);
            connection.errand = Some(errand);
        }
    }

    fn add_part(&mut self, to: ConnectionId, body: &[u8], errand: Option<Errand>) {
        let token = token_of(to);
        let Some(connection) = self.reach(token) else { return };
        connection.session.answer_part(body, &mut connection.out);
        connection.errand = errand;
        if connection.errand.is_none() {
            connection.session.answer_end(&mut connection.out);
            self.make_ready(token);
        }
    }
}

fn key(id: ConnectionId) -> (u16, u32, u32) {
    (id.shard.0, id.index, id.generation)
}

#[cfg(test)]
#[path = "listing_tests.rs"]
mod tests;
