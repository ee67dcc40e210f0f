//! Events that wait until the rows they read are in memory: a slow disk slows its user, not the
//! shard.
//!
//! Invariants:
//! 1. An event that lacks rows changes nothing and is parked; it is applied when readers have
//!    fetched them, and others of the shard go on meanwhile.
//! 2. Behind a parked request of a connection nothing of it is decoded: its order is kept.
//! 3. At most [`PARKED_MAX`] events are parked, each has [`NEEDS_UNDER_WAY_MAX`] fetches under way,
//!    and none waits more than [`NEEDS_STAGES_MAX`] times: then it reads for itself.
//! 4. The disk is trusted, and nothing parked, when [`QUICK_READS`] fetches in a row were quick,
//!    until a read was slow. Time in which the reading thread had no core is not the disk's.
//!
//! What is parked when the server stops was never applied, and nobody was told that it was. Left to
//! others: which rows an event lacks (`chat::needs`), fetching them (`readers`).

use crate::api::Request;
use crate::chat::event::Event;
use crate::chat::history::Listing;
use crate::chat::kept::KeptRequest;
use crate::ids::{ConnectionId, UserId};
use crate::limits::{NEEDS_STAGES_MAX, NEEDS_UNDER_WAY_MAX, PARKED_MAX, QUICK_READS, SLOW_READ_NS};
use crate::metrics::Counter;
use crate::metrics::message::Journey;
use crate::node::clock::steady_nanos;
use crate::node::connection::token_of;
use crate::node::core_wait::CoreWait;
use crate::node::desk::Desk;
use crate::node::readers::{Fetched, Fetcher};
use crate::speech::Part;
use crate::store::warmth::Need;
use crate::store::{Store, StoreError};
use std::collections::{BTreeMap, VecDeque};

/// How old the shard's own waiting for its core may be when an event begins that is timed alone.
const CORE_WAIT_AGE_NS: u64 = 1_000_000;
/// Events that are timed one by one after something has taken long.
const TIMED_EVENTS: u32 = 64 * 1024;

/// What is parked.
pub enum Waiting {
    /// A request of a connection, and whose it is; a message is followed.
    Request(ConnectionId, Option<UserId>, KeptRequest, Option<Box<Journey>>),
    /// A part of a list, for a connection.
    Part(ConnectionId, Box<Listing>, Part),
    /// What retention lets a user forget.
    Chore(UserId),
}

struct Parked {
    waiting: Waiting,
    /// Not asked for yet, last first.
    needs: Vec<Need>,
    under_way: usize,
    stages: u8,
}

/// All that is parked at a shard.
#[derive(Default)]
pub struct Parking {
    /// `None`: there is no disk, and nothing is ever parked.
    fetcher: Option<Fetcher>,
    /// The shard's own waiting for its core, while there is a fetcher, and when it was looked at.
    core_wait: Option<CoreWait>,
    core_looked_ns: u64,
    parked: BTreeMap<u64, Parked>,
    next_ticket: u64,
    fetched: VecDeque<Fetched>,
    /// Fetches in a row that were quick.
    quick: u32,
    /// Reads below that were there when it was last looked.
    reads: u64,
    looked_ns: u64,
    timed_events: u32,
}

impl Parking {
    /// Whether another event may be parked.
    pub fn has_room(&self) -> bool {
        self.fetcher.is_some() && self.parked.len() < PARKED_MAX
    }

    /// Events parked.
    pub fn count(&self) -> usize {
        self.parked.len()
    }

    /// Parks what lacks rows, for the first time or after so many.
    pub fn park(&mut self, waiting: Waiting, mut needs: Vec<Need>, stages: u8) {
        assert!(!needs.is_empty(), "what lacks nothing is not parked");
        let fetcher = self.fetcher.as_ref().expect("there is room only where there are readers");
        self.next_ticket += 1;
        // Those found first are fetched first.
        needs.reverse();
        let mut under_way = 0;
        while under_way < NEEDS_UNDER_WAY_MAX
            && let Some(need) = needs.pop()
        {
            fetcher.fetch(self.next_ticket, need);
            under_way += 1;
        }
        self.parked.insert(self.next_ticket, Parked { waiting, needs, under_way, stages });
    }

    /// Takes in what readers have fetched. Returns whether anything is there to be taken up.
    pub fn collect(&mut self) -> bool {
        if let Some(fetcher) = &self.fetcher {
            self.fetched.extend(fetcher.fetched());
        }
        !self.fetched.is_empty()
    }

    /// What readers have fetched was not all taken up.
    pub fn is_busy(&self) -> bool {
        !self.fetched.is_empty()
    }

    /// A round begins now.
    pub fn begin_round(&mut self, now_ns: u64) {
        self.looked_ns = now_ns;
    }

    /// Before an event: while something is suspected, each is timed alone.
    pub fn begin_event(&mut self) {
        if self.timed_events > 0 {
            self.timed_events -= 1;
            self.looked_ns = steady_nanos();
            if self.looked_ns >= self.core_looked_ns + CORE_WAIT_AGE_NS {
                self.core_waited(self.looked_ns);
            }
        }
    }

    /// How long the shard had no core since the last look, ns.
    fn core_waited(&mut self, now_ns: u64) -> u64 {
        self.core_looked_ns = now_ns;
        self.core_wait.as_mut().map_or(0, CoreWait::look)
    }

    /// Rows are there. Returns what may go on with them.
    fn receive(&mut self, ticket: u64) -> Option<Parked> {
        let parked = self.parked.get_mut(&ticket)?;
        parked.under_way -= 1;
        if let (Some(need), Some(fetcher)) = (parked.needs.pop(), &self.fetcher) {
            fetcher.fetch(ticket, need);
            parked.under_way += 1;
        }
        if parked.under_way == 0 { self.parked.remove(&ticket) } else { None }
    }
}

impl<S: Store> Desk<S> {
    /// From now on rows are fetched by these readers, as long as the disk is not trusted. To be
    /// called on the shard's thread.
    pub fn fetch_with(&mut self, fetcher: Fetcher) {
        self.parking.fetcher = Some(fetcher);
        self.parking.core_wait = Some(CoreWait::of_this_thread());
        self.shard.warmth_mut().distrust();
    }

    /// Applies a request, or parks it.
    pub fn admit(
        &mut self,
        to: ConnectionId,
        user: Option<UserId>,
        request: Request<'_>,
    ) -> Result<(), StoreError> {
        let needs = self.shard.needs(user, &request)?;
        if needs.is_empty() || !self.parking.has_room() {
            return self.apply(Event::Request { connection: to, user, request });
        }
        self.metrics.count(Counter::Parked, 1);
        let kept = KeptRequest::of(request);
        self.hold(to, true);
        self.parking.park(Waiting::Request(to, user, kept, None), needs, 1);
        Ok(())
    }

    /// Goes on with what has its rows, unless the turn is full.
    pub fn resume_parked(&mut self) -> Result<(), StoreError> {
        self.parking.collect();
        while !self.is_turn_full() {
            let Some(fetched) = self.parking.fetched.pop_front() else { break };
            self.shard.warmth_mut().note(fetched.tag);
            self.judge_disk(fetched.took_ns);
            if let Some(parked) = self.parking.receive(fetched.ticket) {
                self.go_on(parked.waiting, parked.stages)?;
            }
        }
        Ok(())
    }

    fn go_on(&mut self, waiting: Waiting, stages: u8) -> Result<(), StoreError> {
        let (to, user, kept, journey) = match waiting {
            Waiting::Part(to, listing, part) => return self.give_part(to, listing, part, stages),
            Waiting::Chore(user) => return self.forget(user, stages),
            Waiting::Request(to, user, kept, journey) => (to, user, kept, journey),
        };
        let needs = kept.lend(|request| self.shard.needs(user, &request))?;
        if !needs.is_empty() && stages < NEEDS_STAGES_MAX {
            let waiting = Waiting::Request(to, user, kept, journey);
            self.parking.park(waiting, needs, stages + 1);
            return Ok(());
        }
        self.hold(to, false);
        kept.lend(|request| {
            let event = Event::Request { connection: to, user, request };
            self.apply_message(event, journey.map(|journey| *journey))
        })
    }

    /// Nothing more of a connection is decoded, or it is again.
    fn hold(&mut self, to: ConnectionId, is_held: bool) {
        if !self.is_here(to.shard) {
            return;
        }
        let token = token_of(to);
        if let Some(connection) = self.table.get(token) {
            connection.flags.parked = is_held;
            self.touch(token);
            self.make_ready(token);
        }
    }

    /// A fetch took so long.
    fn judge_disk(&mut self, took_ns: u64) {
        let parking = &mut self.parking;
        parking.quick = if took_ns < SLOW_READ_NS { parking.quick + 1 } else { 0 };
        if parking.quick >= QUICK_READS && !self.shard.warmth_mut().is_trusting() {
            self.shard.warmth_mut().trust();
            parking.timed_events = 0;
        }
    }

    /// After an event: a slow read ends the trust. It costs a look at the clock only if the event
    /// has read what may be on the disk.
    pub fn end_event(&mut self) {
        let reads = self.shard.store().reads_below();
        if reads == self.parking.reads {
            return;
        }
        self.parking.reads = reads;
        if self.parking.fetcher.is_none() || !self.shard.warmth_mut().is_trusting() {
            return;
        }
        let now_ns = steady_nanos();
        let took_ns = now_ns - self.parking.looked_ns;
        if took_ns < SLOW_READ_NS {
            self.parking.looked_ns = now_ns;
            return;
        }
        // Many events may have passed since the last look: the next ones are timed alone.
        if self.parking.timed_events > 0
            && took_ns.saturating_sub(self.parking.core_waited(now_ns)) >= SLOW_READ_NS
        {
            self.shard.warmth_mut().distrust();
            self.parking.quick = 0;
        }
        self.parking.timed_events = TIMED_EVENTS;
        self.parking.looked_ns = now_ns;
    }
}

#[cfg(test)]
#[path = "parking_tests.rs"]
mod tests;
