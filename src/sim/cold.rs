//! A slow disk in the world: a request waits until the rows that it reads were fetched, one by one
//! and in any order, while others go on.
//!
//! Invariants:
//! 1. Requests of a connection are applied in the order in which they came.
//! 2. An event that was applied has read no cold row (see [`World::check_reads`]).

use crate::api::Request;
use crate::chat::event::Event;
use crate::chat::history::Listing;
use crate::chat::kept::KeptRequest;
use crate::ids::{ConnectionId, UserId};
use crate::sim::prng::Prng;
use crate::sim::world::World;
use crate::store::keys::Kind;
use crate::store::warmth::{Need, Tag};
use std::collections::{BTreeMap, VecDeque};

/// What came by a connection.
enum Asked {
    Request(Option<UserId>, KeptRequest),
    Closed(UserId),
}

/// What waits of a connection, and what its first lacks.
#[derive(Default)]
struct Queue {
    asked: VecDeque<Asked>,
    needs: Vec<Need>,
}

/// All that waits for the disk.
pub(super) struct Cold {
    prng: Prng,
    queues: BTreeMap<ConnectionId, Queue>,
    /// Events that had to wait.
    pub parked: u64,
}

impl World {
    /// From now on the disks are slow, and nothing of them is in memory.
    pub fn make_cold(&mut self, seed: u64) {
        self.cold = Some(Cold { prng: Prng::new(seed), queues: BTreeMap::new(), parked: 0 });
        self.chill();
    }

    /// Nothing of the disks is in memory any more.
    pub fn chill(&mut self) {
        if self.cold.is_none() {
            return;
        }
        for shard in &mut self.shards {
            shard.warmth_mut().trust();
            shard.warmth_mut().distrust();
            shard.store_mut().make_cold();
        }
    }

    /// How many events had to wait so far.
    pub fn parked(&self) -> u64 {
        self.cold.as_ref().map_or(0, |cold| cold.parked)
    }

    /// A request comes by a connection.
    pub(super) fn ask(&mut self, to: ConnectionId, user: Option<UserId>, request: Request<'_>) {
        let Some(cold) = &mut self.cold else {
            return self.apply_request(to, user, request);
        };
        let queue = cold.queues.entry(to).or_default();
        queue.asked.push_back(Asked::Request(user, KeptRequest::of(request)));
        self.go_on(to);
    }

    /// A connection ends, when all that it has said was done.
    pub(super) fn close(&mut self, to: ConnectionId, user: UserId) {
        match &mut self.cold {
            Some(cold) => {
                cold.queues.entry(to).or_default().asked.push_back(Asked::Closed(user));
                self.go_on(to);
            }
            None => self.turn(usize::from(to.shard.0), |_| Event::Closed { connection: to, user }),
        }
    }

    fn apply_request(&mut self, connection: ConnectionId, user: Option<UserId>, r: Request<'_>) {
        let request = r;
        self.turn(usize::from(connection.shard.0), |_| Event::Request {
            connection,
            user,
            request,
        });
    }

    /// Applies what lacks nothing of a connection.
    fn go_on(&mut self, to: ConnectionId) {
        let shard = usize::from(to.shard.0);
        while let Some(cold) = &mut self.cold
            && let Some(queue) = cold.queues.get_mut(&to)
            && queue.needs.is_empty()
        {
            match queue.asked.pop_front() {
                None => {
                    cold.queues.remove(&to);
                }
                Some(Asked::Closed(user)) => {
                    self.turn(shard, |_| Event::Closed { connection: to, user });
                }
                Some(Asked::Request(user, kept)) => {
                    let rules = &mut self.shards[shard];
                    let needs = kept.lend(|request| rules.needs(user, &request));
                    queue.needs = needs.expect("memory does not fail");
                    if !queue.needs.is_empty() {
                        cold.parked += 1;
                        queue.asked.push_front(Asked::Request(user, kept));
                        return;
                    }
                    rules.store_mut().take_reads();
                    kept.lend(|request| self.apply_request(to, user, request));
                    self.check_reads(shard);
                }
            }
        }
    }

    /// All that a shard has read since it was last asked was warm.
    pub(super) fn check_reads(&mut self, shard: usize) {
        let reads = self.shards[shard].store_mut().take_reads();
        let warmth = self.shards[shard].warmth_mut();
        for (from, to) in reads {
            let is_warm = match to {
                Some(to) => warmth.has(Tag::of_range(&from, &to)),
                None if from[0] == Kind::Message as u8 => {
                    let (owner, seq) = crate::store::keys::message_of(&from).expect("a message");
                    warmth.has(Tag::of_messages(owner, seq)) || warmth.has(Tag::of_row(&from))
                }
                None => warmth.has(Tag::of_row(&from)),
            };
            assert!(is_warm, "shard {shard} waits for the disk to read {from:?}");
        }
    }

    /// Fetches one of the rows that somebody waits for; `false`: nobody does.
    pub fn thaw_one(&mut self) -> bool {
        let Some(cold) = &mut self.cold else { return false };
        let count = cold.queues.len() as u64;
        if count == 0 {
            return false;
        }
        let chosen = cold.prng.below(count) as usize;
        let (to, queue) = cold.queues.iter_mut().nth(chosen).expect("there are so many");
        let to = *to;
        let need = cold.prng.below(queue.needs.len() as u64) as usize;
        let need = queue.needs.swap_remove(need);
        self.fetch(usize::from(to.shard.0), &need);
        self.go_on(to);
        true
    }

    /// Rows come into memory for a shard, from its own disk or another's.
    pub(super) fn fetch(&mut self, shard: usize, need: &Need) {
        let from = &self.shards[usize::from(need.at.0)];
        // What cannot be read is found by whoever reads it then.
        from.unless_damaged(need.fetch(from.store())).expect("memory does not fail");
        self.shards[shard].warmth_mut().note(need.tag());
    }

    /// Fetches for everybody until a connection waits no more.
    pub(super) fn thaw_for(&mut self, to: ConnectionId) {
        while self.cold.as_ref().is_some_and(|cold| cold.queues.contains_key(&to)) {
            self.thaw_one();
        }
    }

    /// Fetches what the next items of a list lack.
    pub(super) fn warm_list(&mut self, shard: usize, listing: &Listing) {
        if self.cold.is_none() {
            return;
        }
        loop {
            let needs = self.shards[shard].needs_of_list(listing).expect("memory does not fail");
            if needs.is_empty() {
                break;
            }
            needs.iter().for_each(|need| self.fetch(shard, need));
            self.cold.iter_mut().for_each(|cold| cold.parked += 1);
        }
        self.shards[shard].store_mut().take_reads();
    }

    /// Fetches what forgetting lacks.
    pub(super) fn warm_forgetting(&mut self, shard: usize, user: UserId) {
        let now = self.now();
        while self.cold.is_some() {
            let needs = self.shards[shard].needs_to_forget(user, &now);
            let needs = needs.expect("memory does not fail");
            if needs.is_empty() {
                break;
            }
            needs.iter().for_each(|need| self.fetch(shard, need));
            self.cold.iter_mut().for_each(|cold| cold.parked += 1);
        }
        self.shards[shard].store_mut().take_reads();
    }

    /// Fetches all that anybody waits for.
    pub fn thaw(&mut self) {
        while self.thaw_one() {}
    }
}
