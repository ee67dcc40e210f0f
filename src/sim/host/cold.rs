//! Events that wait for rows on a slow disk, as in `node::parking`.

use super::{Ground, Host, Want};
use crate::chat::event::Event;
use crate::chat::history::Listing;
use crate::chat::kept::KeptRequest;
use crate::ids::{ConnectionId, UserId};
use crate::limits::{NEEDS_STAGES_MAX, NEEDS_UNDER_WAY_MAX, PARKED_MAX};
use crate::sim::chronicle::Halt;
use crate::sim::coverage::Stage;
use crate::sim::lines::token_of;
use crate::speech::Part;
use crate::store::warmth::{Need, Tag};
use std::collections::{BTreeMap, VecDeque};

/// Names what is parked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Ticket(u64);

/// Rows to be fetched for something parked.
pub struct Fetch {
    pub ticket: Ticket,
    pub need: Need,
}

/// What is parked.
pub(super) enum Waiting {
    Request(ConnectionId, Option<UserId>, KeptRequest),
    Part(ConnectionId, Box<Listing>, Part),
    Chore(UserId),
}

struct Parked {
    waiting: Waiting,
    needs: Vec<Need>,
    under_way: usize,
    stages: u8,
}

/// All that is parked at a shard.
pub(super) struct Parking {
    is_cold: bool,
    parked: BTreeMap<Ticket, Parked>,
    tickets: u64,
    fetched: VecDeque<(Ticket, Tag)>,
}

impl Parking {
    pub fn new(is_cold: bool) -> Parking {
        Parking { is_cold, parked: BTreeMap::new(), tickets: 0, fetched: VecDeque::new() }
    }

    pub fn has_room(&self) -> bool {
        self.is_cold && self.parked.len() < PARKED_MAX
    }

    pub fn count(&self) -> usize {
        self.parked.len()
    }

    pub fn is_busy(&self) -> bool {
        !self.fetched.is_empty()
    }

    pub fn park(&mut self, waiting: Waiting, needs: Vec<Need>, stages: u8, wants: &mut Vec<Want>) {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let mut parked = Parked { waiting, needs, under_way: 0, stages };
        parked.needs.reverse();
        while parked.under_way < NEEDS_UNDER_WAY_MAX
            && let Some(need) = parked.needs.pop()
        {
            wants.push(Want::Fetch(Fetch { ticket, need }));
            parked.under_way += 1;
        }
        self.parked.insert(ticket, parked);
    }

    /// Rows are there. Returns what may go on with them.
    fn receive(&mut self, ticket: Ticket, wants: &mut Vec<Want>) -> Option<Parked> {
        let parked = self.parked.get_mut(&ticket)?;
        parked.under_way -= 1;
        if let Some(need) = parked.needs.pop() {
            wants.push(Want::Fetch(Fetch { ticket, need }));
            parked.under_way += 1;
        }
        if parked.under_way == 0 { self.parked.remove(&ticket) } else { None }
    }
}

impl Host {
    /// A reader has fetched rows.
    pub fn fetched(&mut self, ticket: Ticket, tag: Tag) {
        self.parking.fetched.push_back((ticket, tag));
    }

    /// Goes on with what has its rows, unless the turn is full.
    pub(super) fn resume_parked(&mut self, ground: &mut Ground<'_>) -> Result<(), Halt> {
        while !self.is_turn_full(ground) {
            let Some((ticket, tag)) = self.parking.fetched.pop_front() else { break };
            self.shard.warmth_mut().note(tag);
            if let Some(parked) = self.parking.receive(ticket, &mut self.wants) {
                ground.chronicle.pass(self.place.shard, Stage::Fetched)?;
                self.go_on(parked.waiting, parked.stages, ground)?;
            }
        }
        Ok(())
    }

    fn go_on(&mut self, waiting: Waiting, stages: u8, ground: &mut Ground<'_>) -> Result<(), Halt> {
        let (to, user, kept) = match waiting {
            Waiting::Part(to, listing, part) => {
                return self.give_part(to, listing, part, stages, ground);
            }
            Waiting::Chore(user) => return self.forget(user, stages, ground),
            Waiting::Request(to, user, kept) => (to, user, kept),
        };
        let needs = kept.lend(|request| self.shard.needs(user, &request))?;
        if !needs.is_empty() && stages < NEEDS_STAGES_MAX {
            let waiting = Waiting::Request(to, user, kept);
            self.parking.park(waiting, needs, stages + 1, &mut self.wants);
            return Ok(());
        }
        if to.shard == self.place.shard {
            let token = token_of(to);
            if let Some(line) = self.lines.get(token) {
                line.flags.parked = false;
            }
            self.touch(token);
            self.make_ready(token);
        }
        kept.lend(|request| self.apply(Event::Request { connection: to, user, request }))?;
        ground.chronicle.pass(self.place.shard, Stage::Applied)
    }

    /// Lets some users forget.
    pub(super) fn forget_some(&mut self, ground: &mut Ground<'_>) -> Result<(), Halt> {
        while !self.is_turn_full(ground) {
            let Some(user) = self.shard.next_to_forget() else { break };
            self.forget(user, 0, ground)?;
        }
        Ok(())
    }

    fn forget(&mut self, user: UserId, stages: u8, ground: &mut Ground<'_>) -> Result<(), Halt> {
        let needs = self.shard.needs_to_forget(user, &self.now)?;
        if !needs.is_empty() && stages < NEEDS_STAGES_MAX && self.parking.has_room() {
            self.parking.park(Waiting::Chore(user), needs, stages + 1, &mut self.wants);
            return Ok(());
        }
        self.apply(Event::Forget { user })?;
        ground.chronicle.pass(self.place.shard, Stage::Forgotten)
    }
}
