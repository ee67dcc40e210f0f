//! Lists, part by part, as in `node::listing`.

use super::cold::Waiting;
use super::{Ground, Host};
use crate::chat::history::Listing;
use crate::ids::{ConnectionId, ShardId};
use crate::limits::NEEDS_STAGES_MAX;
use crate::sim::chronicle::Halt;
use crate::sim::coverage::Stage;
use crate::sim::lines::{Errand, Token, id_of, token_of};
use crate::sim::mesh::{Answer, Parcel};
use crate::speech::{self, Part};
use crate::store::{Position, Store};

/// A part that is made.
struct Made {
    to: ConnectionId,
    part: Part,
    body: Vec<u8>,
    rest: Option<Box<Listing>>,
}

/// Parts that wait for the position of what they show.
#[derive(Default)]
pub(super) struct HeldParts(Vec<(Position, Made)>);

impl HeldParts {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Host {
    /// Begins to answer with a list.
    pub(super) fn begin_list(
        &mut self,
        to: ConnectionId,
        listing: Box<Listing>,
        ground: &mut Ground<'_>,
    ) -> Result<(), Halt> {
        if to.shard == self.place.shard && self.reach(token_of(to)).is_none() {
            return Ok(());
        }
        self.give_part(to, listing, Part::First, 0, ground)
    }

    /// Answers with a part of a list, or parks it if it lacks rows.
    pub(super) fn give_part(
        &mut self,
        to: ConnectionId,
        mut listing: Box<Listing>,
        part: Part,
        stages: u8,
        ground: &mut Ground<'_>,
    ) -> Result<(), Halt> {
        let needs = self.shard.needs_of_list(&listing)?;
        if !needs.is_empty() && stages < NEEDS_STAGES_MAX && self.parking.has_room() {
            let waiting = Waiting::Part(to, listing, part);
            self.parking.park(waiting, needs, stages + 1, &mut self.wants);
            return Ok(());
        }
        let mut body = Vec::new();
        let (shard, options) = (&mut self.shard, &self.options);
        let whole = speech::list_part(shard, &mut listing, part, options, &mut body)?;
        ground.chronicle.pass(self.place.shard, Stage::Listed)?;
        let needed = self.shard.needed_by(&listing)?;
        let made = Made { to, part, body, rest: (!whole).then_some(listing) };
        match needed <= self.shard.store().durable() {
            true => self.give(made, ground),
            false => self.held_parts.0.push((needed, made)),
        }
        Ok(())
    }

    /// Gives the parts that show only what is durable by now.
    pub(super) fn give_durable_parts(&mut self, ground: &mut Ground<'_>) {
        let durable = self.shard.store().durable();
        for (needed, made) in std::mem::take(&mut self.held_parts.0) {
            match needed <= durable {
                true => self.give(made, ground),
                false => self.held_parts.0.push((needed, made)),
            }
        }
    }

    fn give(&mut self, made: Made, ground: &mut Ground<'_>) {
        let Made { to, part, body, rest } = made;
        if to.shard != self.place.shard {
            let answer = match (part, rest.is_none()) {
                (Part::First, true) => Answer::Whole(200, body),
                (Part::First, false) => Answer::First(body),
                (Part::Next, true) => Answer::Last(body),
                (Part::Next, false) => Answer::Next(body),
            };
            if let Some(rest) = rest {
                self.abroad.insert(key(to), rest);
            }
            return ground.mesh.post(self.place.shard, to.shard, Parcel::Answer(to, answer));
        }
        match (part, rest) {
            (Part::First, None) => self.answer(to, 200, &body),
            (Part::First, Some(rest)) => self.begin_answer(to, &body, Errand::List(rest)),
            (Part::Next, rest) => self.add_part(to, &body, rest.map(Errand::List)),
        }
    }

    /// All of the last part has left: the next one, from here or from another shard.
    pub(super) fn continue_list(
        &mut self,
        token: Token,
        ground: &mut Ground<'_>,
    ) -> Result<(), Halt> {
        let id = id_of(self.place.shard, token);
        let Some(line) = self.lines.get(token) else { return Ok(()) };
        match line.errand.take() {
            Some(Errand::List(listing)) => self.give_part(id, listing, Part::Next, 0, ground)?,
            Some(Errand::ListFrom(shard)) => {
                ground.mesh.post(self.place.shard, shard, Parcel::NextPart(id));
            }
            other => line.errand = other,
        }
        Ok(())
    }

    /// Makes the next part for a connection of another shard.
    pub(super) fn next_part_abroad(
        &mut self,
        to: ConnectionId,
        ground: &mut Ground<'_>,
    ) -> Result<(), Halt> {
        let Some(listing) = self.abroad.remove(&key(to)) else { return Ok(()) };
        self.give_part(to, listing, Part::Next, 0, ground)
    }

    /// Its reader is gone.
    pub(super) fn abandon_list(&mut self, to: ConnectionId) {
        self.abroad.remove(&key(to));
    }

    /// Another shard has answered, or answered a part.
    pub(super) fn receive_answer(
        &mut self,
        from: ShardId,
        to: ConnectionId,
        answer: Answer,
        ground: &mut Ground<'_>,
    ) {
        let is_last = matches!(answer, Answer::Whole(..) | Answer::Last(_));
        if is_last {
            self.forwarded -= 1;
        }
        if self.reach(token_of(to)).is_none() {
            if !is_last {
                self.forwarded -= 1;
                ground.mesh.post(self.place.shard, from, Parcel::Abandon(to));
            }
            return;
        }
        match answer {
            Answer::Whole(status, body) => self.answer(to, status, &body),
            Answer::First(body) => self.begin_answer(to, &body, Errand::ListFrom(from)),
            Answer::Next(body) => self.add_part(to, &body, Some(Errand::ListFrom(from))),
            Answer::Last(body) => self.add_part(to, &body, None),
        }
    }

    fn begin_answer(&mut self, to: ConnectionId, body: &[u8], errand: Errand) {
        if let Some(line) = self.reach(token_of(to)) {
            line.session.answer_begin(&mut line.out);
            line.session.answer_part(body, &mut line.out);
            line.errand = Some(errand);
        }
    }

    fn add_part(&mut self, to: ConnectionId, body: &[u8], errand: Option<Errand>) {
        let token = token_of(to);
        let Some(line) = self.reach(token) else { return };
        line.session.answer_part(body, &mut line.out);
        line.errand = errand;
        if line.errand.is_none() {
            line.session.answer_end(&mut line.out);
            self.make_ready(token);
        }
    }
}

fn key(id: ConnectionId) -> (u16, u32, u32) {
    (id.shard.0, id.index, id.generation)
}
