//! A server without bytes: shards, their disks, the mesh between them, and what peers were sent.

use crate::api::{DeliveryState, MessageType, Refusal, Reply, Request};
use crate::chat::directory::Directory;
use crate::chat::event::{Effect, Event, MarksNotice, MarksReceipt, Now, Relay, StreamPosition};
use crate::chat::forget::Retention;
use crate::chat::shard::{Item, Place, Shard};
use crate::chat::turn::Turn;
use crate::ids::{ConnectionId, MessageId, MintClock, ShardId, UserId, number_at};
use crate::metrics::ShardMetrics;
use crate::sim::cold::Cold;
use crate::sim::cuts::Cuts;
use crate::sim::damage::REFUSED;
use crate::store::memory::{Durability, MemoryStore};
use crate::store::{Store, StoreError};
use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;

/// What a peer was sent.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)] // Each is the frame or answer of its name.
pub enum Sent {
    Welcome { ack: Option<MessageId>, waiting: u64 },
    AuthRefused,
    Refused(Refusal),
    Ack(MessageId),
    Waiting(u64),
    Message { id: MessageId, from: UserId, content: String, state: DeliveryState, again: bool },
    Closed,
    Reply(Reply),
    Messages(Vec<Kept>),
    Chats(Vec<Entry>),
}

/// A message of a list.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct Kept {
    pub id: MessageId,
    pub from: UserId,
    pub to: UserId,
    pub kind: MessageType,
    pub content: String,
    pub state: DeliveryState,
    pub is_read: bool,
    pub seq: u64,
    pub name: Option<String>,
}

/// An entry of a chat list.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct Entry {
    pub id: u64,
    pub peer: UserId,
    pub top: bool,
    pub unread: u64,
    pub last: Option<MessageId>,
}

enum Parcel {
    Relay(Relay),
    Confirm(StreamPosition),
    Marks(MarksNotice),
    Applied(MarksReceipt),
    Marker(u64),
}

/// The world.
pub struct World {
    /// The shards.
    pub shards: Vec<Shard<MemoryStore>>,
    pub(super) directory: Arc<Directory>,
    pub(super) metrics: Vec<Arc<ShardMetrics>>,
    mesh: BTreeMap<(ShardId, ShardId), VecDeque<Parcel>>,
    waiting: Vec<VecDeque<Turn>>,
    /// Lists that show what is not durable yet, by shard.
    held: Vec<Vec<(ConnectionId, Sent)>>,
    sent: BTreeMap<ConnectionId, Vec<Sent>>,
    connections: u32,
    /// Parcels that a lane holds; a full one makes its stream read on from the outbox.
    pub lane_room: usize,
    steady_ms: u64,
    /// The disk has too little room.
    pub is_disk_full: bool,
    pub(super) cuts: Cuts,
    pub(super) cold: Option<Cold>,
}

const START_MICROS: u64 = 300_000_000_000_000;

fn place(shard: u16, shards: u16) -> Place {
    Place { shard: ShardId(shard), shards, lanes: shards.next_power_of_two() }
}

impl World {
    /// A fresh server.
    pub fn new(shards: u16) -> World {
        let stores =
            (0..shards).map(|_| MemoryStore::default().with_durability(Durability::Manual));
        World::open(stores.collect(), 0).expect("an empty store opens")
    }

    /// A server that finds these rows, which need not agree.
    pub(super) fn open(stores: Vec<MemoryStore>, steady_ms: u64) -> Result<World, StoreError> {
        let directory = Arc::new(Directory::new());
        let count = stores.len() as u16;
        let metrics: Vec<Arc<ShardMetrics>> = stores.iter().map(|_| Arc::default()).collect();
        let mut shards = Vec::new();
        for (number, store) in stores.into_iter().enumerate() {
            let (metrics, place) = (metrics[number].clone(), place(number as u16, count));
            shards.push(Shard::open(store, place, directory.clone(), metrics)?);
        }
        Ok(World {
            cuts: Cuts::new(count),
            cold: None,
            waiting: shards.iter().map(|_| VecDeque::new()).collect(),
            held: shards.iter().map(|_| Vec::new()).collect(),
            shards,
            directory,
            metrics,
            mesh: BTreeMap::new(),
            sent: BTreeMap::new(),
            connections: 0,
            lane_room: 64,
            steady_ms,
            is_disk_full: false,
        })
    }

    /// The same disks after a power cut: what was not synced is gone, and so are all connections.
    pub fn crash(self) -> World {
        let stores = self.shards.iter().map(|shard| shard.store().crash()).collect();
        World::restart(stores, self.steady_ms)
    }

    /// The same disks after a power cut that took more of one than of the others, as `async`
    /// allows: it has what this world had kept then.
    pub fn part(self, shard: usize, before: MemoryStore) -> World {
        let mut stores: Vec<_> = self.shards.iter().map(|shard| shard.store().crash()).collect();
        stores[shard] = before;
        let mut world = World::open(stores, self.steady_ms).expect("what was synced opens");
        world.settle();
        world
    }

    /// A server that finds these rows.
    pub(super) fn restart(stores: Vec<MemoryStore>, steady_ms: u64) -> World {
        super::checkers::audit(&stores.iter().collect::<Vec<_>>());
        let mut world = World::open(stores, steady_ms).expect("what was synced opens");
        world.settle();
        assert!(world.shards.iter().all(Shard::is_replayed), "outboxes of earlier runs are empty");
        world
    }

    /// The moment, ms.
    pub(super) fn steady_ms(&self) -> u64 {
        self.steady_ms
    }

    /// The moment.
    pub fn now(&self) -> Now {
        let micros = START_MICROS + self.steady_ms * 1000;
        let floor = self.directory.shown();
        let mint = MintClock { micros: micros.max(crate::ids::micros_at(floor)), shown: floor };
        assert!(number_at(mint.micros) >= floor, "the minting clock begins above all bounds");
        let (steady_ms, is_disk_full) = (self.steady_ms, self.is_disk_full);
        Now { wall_ms: 1_720_000_000_000 + steady_ms as i64, steady_ms, mint, is_disk_full }
    }

    /// Lets time pass, with a tick of every shard at its end.
    pub fn pass(&mut self, millis: u64) {
        self.pass_unsynced(millis);
        self.settle();
    }

    /// The same, and no disk gets anything done meanwhile.
    pub fn pass_unsynced(&mut self, millis: u64) {
        self.steady_ms += millis;
        for shard in 0..self.shards.len() {
            self.turn(shard, |_| Event::Tick);
        }
    }

    /// One turn of one shard with one event.
    pub fn turn<'a>(&mut self, shard: usize, event: impl FnOnce(&Self) -> Event<'a>) {
        let now = self.now();
        let event = event(self);
        let mut turn = Turn::default();
        let rules = &mut self.shards[shard];
        rules.apply(event, &now, &mut turn).expect("memory does not fail");
        rules.end_turn(&mut turn).expect("memory does not fail");
        self.finish(shard, turn);
    }

    fn finish(&mut self, shard: usize, mut turn: Turn) {
        let at_once = std::mem::take(&mut turn.now);
        self.release(shard, at_once, &turn);
        self.waiting[shard].push_back(turn);
    }

    /// Syncs a shard's disk and performs what waited for that.
    pub fn sync(&mut self, shard: usize) {
        self.shards[shard].store_mut().sync().expect("memory does not fail");
        for mut turn in std::mem::take(&mut self.waiting[shard]) {
            assert!(turn.position <= self.shards[shard].store().synced(), "all is synced");
            let durable = std::mem::take(&mut turn.durable);
            if !durable.is_empty() {
                self.release(shard, durable, &turn);
            }
            if self.cuts.holds(shard, turn.position) && !turn.synced.is_empty() {
                self.waiting[shard].push_back(turn);
                continue;
            }
            let synced = std::mem::take(&mut turn.synced);
            self.release(shard, synced, &turn);
        }
        let settled = std::iter::from_fn(|| self.shards[shard].next_settled()).collect();
        self.release(shard, settled, &Turn::default());
        for (to, sent) in std::mem::take(&mut self.held[shard]) {
            self.sent.entry(to).or_default().push(sent);
        }
    }

    /// Delivers the next parcel of one lane, if there is one, in a turn of its own.
    pub fn deliver(&mut self, from: ShardId, to: ShardId) -> bool {
        let next = self.mesh.get_mut(&(from, to)).and_then(VecDeque::pop_front);
        let Some(parcel) = next else { return false };
        if let Parcel::Marker(number) = parcel {
            self.begin_cut(usize::from(to.0), number);
            return true;
        }
        self.turn(usize::from(to.0), |_| match parcel {
            Parcel::Relay(relay) => Event::Relay { from, relay },
            Parcel::Confirm(stream) => Event::Confirmed { by: from, stream },
            Parcel::Marks(notice) => Event::Marks { from, notice },
            Parcel::Applied(receipt) => Event::MarksApplied { by: from, receipt },
            Parcel::Marker(_) => unreachable!("it was taken before"),
        });
        true
    }

    /// Goes on until every disk is synced and nothing is on its way.
    pub fn settle(&mut self) {
        let count = self.shards.len() as u16;
        self.thaw();
        self.begin_cut_everywhere();
        for _ in 0..100_000 {
            let mut moved = false;
            for from in 0..count {
                self.sync(usize::from(from));
                for to in 0..count {
                    moved |= self.post_behind(usize::from(from), ShardId(to));
                    moved |= self.deliver(ShardId(from), ShardId(to));
                }
            }
            let is_empty = self.mesh.values().all(VecDeque::is_empty);
            if !moved && is_empty && self.waiting.iter().all(VecDeque::is_empty) {
                return;
            }
        }
        panic!("the world does not come to rest");
    }

    /// A shard begins a cut, unless it has.
    pub(super) fn begin_cut(&mut self, shard: usize, number: u64) {
        if self.cuts.begin(shard, number, self.shards[shard].store()) {
            for to in (0..self.shards.len()).filter(|to| *to != shard) {
                let lane = (ShardId(shard as u16), ShardId(to as u16));
                self.mesh.entry(lane).or_default().push_back(Parcel::Marker(number));
            }
        }
    }

    fn begin_cut_everywhere(&mut self) {
        (0..self.shards.len()).for_each(|shard| self.begin_cut(shard, self.cuts.wanted()));
    }

    fn post_behind(&mut self, from: usize, to: ShardId) -> bool {
        if !self.shards[from].is_behind(to) {
            return false;
        }
        let relays = self.shards[from].read_outbox(to).expect("memory does not fail");
        relays.into_iter().all(|relay| self.post(from, to, relay))
    }

    /// Posts a relay. `false`: there was no room, and nothing after it may be posted.
    fn post(&mut self, from: usize, to: ShardId, relay: Relay) -> bool {
        let lane = self.mesh.entry((ShardId(from as u16), to)).or_default();
        let has_room = lane.len() < self.lane_room;
        if has_room {
            lane.push_back(Parcel::Relay(relay));
        } else {
            self.shards[from].take_back(to, relay.position);
        }
        has_room
    }

    fn release(&mut self, shard: usize, effects: Vec<Effect>, turn: &Turn) {
        let lane = |to: ShardId| (ShardId(shard as u16), to);
        for effect in effects {
            let (to, sent) = match effect {
                Effect::Enroll { user, tenant } => {
                    self.shards[shard].enroll(user, tenant);
                    continue;
                }
                Effect::Relay { to, relay } => {
                    if self.shards[shard].may_post(to, relay.position) {
                        self.post(shard, to, relay);
                    }
                    continue;
                }
                Effect::Confirm { to, stream } => {
                    self.mesh.entry(lane(to)).or_default().push_back(Parcel::Confirm(stream));
                    continue;
                }
                Effect::Marks { to, notice } => {
                    self.mesh.entry(lane(to)).or_default().push_back(Parcel::Marks(notice));
                    continue;
                }
                Effect::MarksApplied { to, receipt } => {
                    self.mesh.entry(lane(to)).or_default().push_back(Parcel::Applied(receipt));
                    continue;
                }
                Effect::List { to, mut listing } => {
                    let sent = self.read(shard, &mut listing);
                    if sent == REFUSED {
                        self.sent.entry(to).or_default().push(sent);
                        continue;
                    }
                    let rules = &mut self.shards[shard];
                    let needed = rules.needed_by(&listing).expect("memory does not fail");
                    if needed > rules.store().durable() {
                        self.held[shard].push((to, sent));
                        continue;
                    }
                    (to, sent)
                }
                Effect::Reply { to, reply } => (to, Sent::Reply(reply)),
                Effect::Welcome { to, ack, notice, .. } => {
                    let waiting = notice.map_or(0, |notice| notice.count);
                    (to, Sent::Welcome { ack: ack.map(|ack| ack.source), waiting })
                }
                Effect::RefuseAuth { to, .. } => (to, Sent::AuthRefused),
                Effect::Refuse { to, refusal, .. } => (to, Sent::Refused(refusal)),
                Effect::Ack { to, ack } => (to, Sent::Ack(ack.source)),
                Effect::Notice { to, notice } => (to, Sent::Waiting(notice.count)),
                Effect::Close { to, .. } => (to, Sent::Closed),
                Effect::Push { to, letter, content, state, stored } => {
                    let (id, from) = (letter.id, letter.from);
                    let content = turn.text(content).to_owned();
                    let again = stored.is_some();
                    (to, Sent::Message { id, from, content, state, again })
                }
            };
            self.sent.entry(to).or_default().push(sent);
        }
    }

    fn read(&mut self, shard: usize, listing: &mut crate::chat::history::Listing) -> Sent {
        let (mut messages, mut chats) = (Vec::new(), Vec::new());
        // Broken off after each item: lists must not care.
        loop {
            self.warm_list(shard, listing);
            let outcome = self.shards[shard].list(listing, &mut |item| {
                match item {
                    Item::Message(stored) => messages.push(Kept {
                        id: stored.message.id,
                        from: stored.message.from,
                        to: stored.message.to,
                        kind: stored.message.kind,
                        content: stored.message.content.to_owned(),
                        state: stored.message.state,
                        is_read: stored.message.is_read,
                        seq: stored.seq,
                        name: stored.name.map(str::to_owned),
                    }),
                    Item::Chat(entry) => chats.push(Entry {
                        id: entry.id.number(),
                        peer: entry.peer,
                        top: entry.top,
                        unread: entry.unread,
                        last: entry.last.map(|last| last.id),
                    }),
                }
                ControlFlow::Break(())
            });
            self.check_reads(shard);
            let shard = &self.shards[shard];
            match shard.unless_damaged(outcome).expect("memory does not fail") {
                Some(true) => break,
                Some(false) => {}
                None => return REFUSED,
            }
        }
        if chats.is_empty() { Sent::Messages(messages) } else { Sent::Chats(chats) }
    }

    /// A connection nobody had before, at a shard.
    pub fn connection(&mut self, shard: ShardId) -> ConnectionId {
        self.connections += 1;
        ConnectionId { shard, index: self.connections, generation: 1 }
    }

    /// The shard where a user is at home.
    pub fn home(&self, user: UserId) -> ShardId {
        user.home(self.shards.len() as u16)
    }

    /// What a connection was sent since it was last asked.
    pub fn take_sent(&mut self, connection: ConnectionId) -> Vec<Sent> {
        self.sent.remove(&connection).unwrap_or_default()
    }

    /// Says how much every shard keeps; to be said again after each crash.
    pub fn retain(&mut self, retention: Retention) {
        for shard in &mut self.shards {
            shard.retain(retention).expect("memory does not fail");
        }
    }

    /// Lets a shard forget what is due, a turn for each user. Returns how many were looked at.
    pub fn forget(&mut self, shard: usize) -> usize {
        let mut users = 0;
        while let Some(user) = self.shards[shard].next_to_forget() {
            users += 1;
            self.warm_forgetting(shard, user);
            self.turn(shard, |_| Event::Forget { user });
            self.check_reads(shard);
        }
        users
    }

    /// Makes a call at its home and waits for the answer.
    pub fn call(&mut self, request: Request<'static>) -> Sent {
        let shard = match request.home() {
            crate::api::Home::Anywhere => ShardId(0),
            crate::api::Home::Slot(slot) => slot.home(self.shards.len() as u16),
        };
        let connection = self.connection(shard);
        self.ask(connection, None, request);
        self.thaw_for(connection);
        self.sync(usize::from(shard.0));
        if !self.sent.contains_key(&connection) {
            // It waits until the others have begun a cut, which takes no time worth a thought.
            self.begin_cut_everywhere();
            self.sync(usize::from(shard.0));
        }
        self.take_sent(connection).pop().expect("a call is answered")
    }
}
