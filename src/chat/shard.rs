//! One shard's rules: events in, row changes and effects out.
//!
//! Invariants:
//! 1. The same rows, events and moments give the same rows and effects, byte for byte.
//! 2. Nothing is half done: an event that is refused changes no row.
//! 3. An effect that tells of a change leaves only when that change is durable; one that only reads
//!    leaves when what it read is.
//!
//! Left to others: bytes (`wire`), when to write and sync, where effects go (`node`).

use crate::api::{ChatEntry, Refusal, Reply, Request, StoredMessage};
use crate::chat::acknowledge::{Chores, source_of};
use crate::chat::aside::Aside;
use crate::chat::by_id::Index;
use crate::chat::damage::Asker;
use crate::chat::directory::Directory;
use crate::chat::event::{Effect, Event, Now, Relay, StreamPosition};
use crate::chat::expected::Expected;
use crate::chat::forget::Forgetting;
use crate::chat::marks_relay::MarksRelay;
use crate::chat::message_ids::MessageIds;
use crate::chat::notices::Notices;
use crate::chat::outbox::Outbox;
use crate::chat::presence::Presence;
use crate::chat::records::Records;
use crate::chat::redeliver::Redelivery;
use crate::chat::turn::{Turn, When};
use crate::ids::{ConnectionId, MessageId, ShardId, UserId};
use crate::limits::TURN_BYTES_MAX;
use crate::metrics::{Counter, Gauge, ShardMetrics};
use crate::store::keys::{Key, KeyReader, Kind};
use crate::store::rows::{NumberRow, RowError};
use crate::store::warmth::Warmth;
use crate::store::{Direction, Position, Range, Store, StoreError};
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Where a shard stands among others.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Which one it is.
    pub shard: ShardId,
    /// How many there are.
    pub shards: u16,
    /// Minting lanes of the whole system: a power of two, at least `shards`.
    pub lanes: u16,
}

/// One item of a list answer.
pub enum Item<'a> {
    /// Of a page or an offline list.
    Message(StoredMessage<'a>),
    /// Of a chat list.
    Chat(ChatEntry<'a>),
}

/// What a list calls for each item. `Break`: that was enough for now.
pub type Sink<'a> = &'a mut dyn FnMut(Item<'_>) -> ControlFlow<()>;

/// An authenticated connection and its user.
#[derive(Clone, Copy, Debug)]
pub(super) struct Device {
    /// The connection.
    pub connection: ConnectionId,
    /// Whose it is.
    pub user: UserId,
}

/// The rules of one shard and all that they remember.
pub struct Shard<S: Store> {
    pub(super) place: Place,
    pub(super) directory: Arc<Directory>,
    pub(super) metrics: Arc<ShardMetrics>,
    pub(super) records: Records<S>,
    pub(super) ids: MessageIds,
    pub(super) outbox: Outbox,
    pub(super) aside: Aside,
    pub(super) presence: Presence,
    pub(super) marks: MarksRelay,
    pub(super) redelivery: Redelivery,
    pub(super) chores: Chores,
    pub(super) notices: Notices,
    pub(super) expected: Expected,
    pub(super) forgetting: Forgetting,
    pub(super) warmth: Warmth,
    /// What other shards are told when a turn is on disk, by its position.
    settling: VecDeque<(Position, Effect)>,
    /// Scratch memory for places of a history.
    pub(super) seqs: Vec<u64>,
}

impl<S: Store> Shard<S> {
    /// Opens the rows of a shard: enrols its users in the directory, raises `directory.shown()`
    /// above every id it may have shown before, begins a new relay epoch (it must be on disk, see
    /// `Store::sync`, before any effect leaves), finds the relays that earlier runs did not see
    /// confirmed. Reads every user's tenant row: 4 bytes each.
    pub fn open(
        store: S,
        place: Place,
        directory: Arc<Directory>,
        metrics: Arc<ShardMetrics>,
    ) -> Result<Shard<S>, StoreError> {
        assert!(place.shard.0 < place.shards, "a shard is one of the shards");
        assert!(place.lanes >= place.shards, "every shard has a lane of its own");
        enroll_all(&store, place, &directory)?;
        let mut records = Records::new(store);
        let ids = MessageIds::open(&records, place, &directory)?;
        let outbox = Outbox::open(&mut records, place)?;
        let aside = Aside::open(&mut records)?;
        metrics.set(Gauge::SetAside, aside.count());
        let marks = MarksRelay::open(&mut records)?;
        records.write_out()?;
        records.store_mut().sync()?;
        Ok(Shard {
            place,
            directory,
            metrics,
            records,
            ids,
            outbox,
            aside,
            marks,
            presence: Presence::default(),
            redelivery: Redelivery::default(),
            chores: Chores::default(),
            notices: Notices::default(),
            expected: Expected::default(),
            forgetting: Forgetting::default(),
            warmth: Warmth::default(),
            settling: VecDeque::new(),
            seqs: Vec::new(),
        })
    }

    /// Applies one event. An error is the disk's: the shard must stop and ack nothing more.
    pub fn apply(
        &mut self,
        event: Event<'_>,
        now: &Now,
        turn: &mut Turn,
    ) -> Result<(), StoreError> {
        match event {
            Event::Request { connection, user, request } => {
                let asker = Asker::of(connection, &request);
                let work = |shard: &mut Self, turn: &mut Turn| {
                    shard.request(connection, user, request, now, turn)
                };
                if self.attempt(turn, work)?.is_none() {
                    self.tell_of_damage(asker, turn);
                }
                Ok(())
            }
            Event::Closed { connection, user } => {
                self.presence.remove(Device { connection, user });
                Ok(())
            }
            Event::Relay { from, relay } => self.relayed(from, &relay, now, turn),
            Event::Confirmed { by, stream } => self.confirmed(by, stream),
            // Passed over it is told again, for its receipt is missing.
            Event::Marks { from, notice } => self
                .attempt(turn, |shard, turn| shard.marks_received(from, &notice, turn))
                .map(drop),
            Event::MarksApplied { by: _, receipt } => {
                self.marks_applied(receipt);
                Ok(())
            }
            Event::Forget { user } => {
                self.attempt(turn, |shard, _| shard.forget(user, now)).map(drop)
            }
            Event::Tick => self.tick(now, turn),
        }
    }

    fn request(
        &mut self,
        connection: ConnectionId,
        user: Option<UserId>,
        request: Request<'_>,
        now: &Now,
        turn: &mut Turn,
    ) -> Result<(), StoreError> {
        match request {
            Request::Auth { user: claimed, token: _, id } => {
                self.authenticate(connection, user, claimed, id, now, turn)
            }
            Request::Send(draft) => match user {
                Some(user) => self.send(Device { connection, user }, &draft, now, turn),
                None => {
                    self.refuse(connection, draft.id, Refusal::NotAuthenticated, turn);
                    Ok(())
                }
            },
            Request::Ack(acked) => match user {
                Some(user) => self.acknowledge(Device { connection, user }, acked, now, turn),
                None => {
                    self.refuse(connection, source_of(acked), Refusal::NotAuthenticated, turn);
                    Ok(())
                }
            },
            Request::Heartbeat => Ok(()),
            call => {
                let answer = self.call(connection, call, now, turn)?;
                if let Some((when, reply)) = answer {
                    self.reply(connection, when, reply, turn);
                }
                Ok(())
            }
        }
    }

    /// An HTTP call; `None`: it is answered with a list.
    fn call(
        &mut self,
        to: ConnectionId,
        call: Request<'_>,
        now: &Now,
        turn: &mut Turn,
    ) -> Result<Option<(When, Reply)>, StoreError> {
        let answer = match call {
            Request::Register { identity, name } => self.register(&identity, name, now, turn)?,
            Request::Find(identity) => self.find(&identity)?,
            Request::MintIds(count) => self.mint_ids(count, now)?,
            Request::ClearUnread(chat) => self.clear_unread(chat)?,
            Request::ClearUnreadOf { owner, peer } => self.clear_unread_of(owner, peer)?,
            Request::DeleteChat(chat) => self.delete_chat(chat)?,
            Request::Top { chat, top } => self.top(chat, top)?,
            Request::UnreadCount(user) => self.unread_count(user)?,
            Request::Hello => (When::Now, Reply::Hello),
            Request::Page { .. }
            | Request::PairPage { .. }
            | Request::Offline { .. }
            | Request::ChatList { .. } => match self.listing(&call)? {
                Ok(listing) => {
                    turn.want(When::Now, Effect::List { to, listing: Box::new(listing) });
                    return Ok(None);
                }
                Err(refusal) => (When::Now, Reply::Refused(refusal)),
            },
            Request::Auth { .. } | Request::Send(_) | Request::Ack(_) | Request::Heartbeat => {
                unreachable!("frames were told from calls before")
            }
        };
        Ok(Some(answer))
    }

    pub(super) fn reply(&mut self, to: ConnectionId, when: When, reply: Reply, turn: &mut Turn) {
        if let Reply::Refused(refusal) = &reply {
            self.metrics.refuse(refusal.reason());
        }
        turn.want(when, Effect::Reply { to, reply });
    }

    /// Refuses a frame.
    pub(super) fn refuse(
        &mut self,
        to: ConnectionId,
        source: Option<MessageId>,
        refusal: Refusal,
        turn: &mut Turn,
    ) {
        self.metrics.refuse(refusal.reason());
        turn.want(When::Now, Effect::Refuse { to, source, refusal });
    }

    /// Refuses an Auth, and its connection with it.
    pub(super) fn refuse_auth(
        &mut self,
        to: ConnectionId,
        source: Option<MessageId>,
        refusal: Refusal,
        turn: &mut Turn,
    ) {
        self.metrics.refuse(refusal.reason());
        turn.want(When::Now, Effect::RefuseAuth { to, source, refusal });
    }

    fn tick(&mut self, now: &Now, turn: &mut Turn) -> Result<(), StoreError> {
        self.warmth.age(now.steady_ms);
        self.redeliver(now, turn)?;
        self.take_up_aside(now, turn)?;
        self.relay_marks(now, turn)?;
        self.do_chores(now, turn)?;
        self.extend_mint_bound(now);
        self.sweep_users(now)
    }

    /// Ends a turn: writes the rows it changed and sets `turn.position`.
    pub fn end_turn(&mut self, turn: &mut Turn) -> Result<(), StoreError> {
        self.confirm_relays(turn);
        self.records.write_out()?;
        self.metrics.count(Counter::BytesWritten, self.records.take_written_bytes());
        turn.position = self.records.store().written();
        self.settling.extend(turn.settled.drain(..).map(|effect| (turn.position, effect)));
        Ok(())
    }

    /// The next effect whose turn is on disk by now and that was wanted for then. With `async` a
    /// turn counts as durable before that; what the other shard forgets then must not depend on it.
    pub fn next_settled(&mut self) -> Option<Effect> {
        let synced = self.records.store().synced();
        let (position, _) = self.settling.front()?;
        if *position > synced {
            return None;
        }
        self.settling.pop_front().map(|(_, effect)| effect)
    }

    /// Bytes of row changes gathered since the last write: a turn ends when they are too many.
    pub fn gathered_bytes(&self) -> usize {
        self.records.gathered_bytes()
    }

    /// As many bytes are gathered as one turn may gather.
    pub fn has_gathered_enough(&self) -> bool {
        self.gathered_bytes() >= TURN_BYTES_MAX
    }

    /// Enrols a user whose registration is on disk.
    pub fn enroll(&mut self, user: UserId, tenant: u32) {
        self.directory.enroll(user, tenant);
    }

    /// A durable `Effect::Relay` is being released: may it be posted? `false`: it is read from its
    /// row later (the stream is behind, or too much of it is unconfirmed).
    pub fn may_post(&mut self, to: ShardId, position: StreamPosition) -> bool {
        self.outbox.release(to, position)
    }

    /// The mesh was full: nothing from `first` on has been posted after all.
    pub fn take_back(&mut self, to: ShardId, first: StreamPosition) {
        self.outbox.take_back(to, first);
    }

    /// Whether released relays wait to be read from their rows, and may be posted now.
    pub fn is_behind(&self, to: ShardId) -> bool {
        self.outbox.is_behind(to)
    }

    /// Reads the next relays of a stream that is behind, at most
    /// [`crate::limits::PARCEL_RELAYS_MAX`]; they count as posted (see [`Shard::take_back`]).
    pub fn read_outbox(&mut self, to: ShardId) -> Result<Vec<Relay>, StoreError> {
        self.outbox.read(&mut self.records, to)
    }

    /// Every relay that was found at start has been confirmed.
    pub fn is_replayed(&self) -> bool {
        self.outbox.is_replayed()
    }

    /// The store.
    pub fn store(&self) -> &S {
        self.records.store()
    }

    /// The store, to sync it.
    pub fn store_mut(&mut self) -> &mut S {
        self.records.store_mut()
    }

    /// Which rows were fetched lately; it trusts the disk until told otherwise.
    pub fn warmth_mut(&mut self) -> &mut Warmth {
        &mut self.warmth
    }

    /// Does something with the place of each message of one side of a history of an id.
    pub(super) fn each_of_id(
        &mut self,
        index: Index,
        id: MessageId,
        mut act: impl FnMut(&mut Self, u64) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut seqs = std::mem::take(&mut self.seqs);
        seqs.clear();
        let found = self.records.find_id(index, id, &mut seqs);
        let outcome = found.and_then(|()| seqs.iter().try_for_each(|seq| act(self, *seq)));
        self.seqs = seqs;
        outcome
    }

    /// When a reply that read this user's rows may leave; visibility rule (c).
    pub(super) fn when_read(&mut self, user: UserId) -> Result<When, StoreError> {
        let touched = self.records.touched(user)?;
        Ok(if touched <= self.records.store().durable() { When::Now } else { When::Durable })
    }

    /// Whether this is a registered user (of this shard or another).
    pub(super) fn is_registered(&self, user: UserId) -> bool {
        self.directory.tenant(user).is_some()
    }
}

/// Enrols every user that the store holds. All must be at home here, or the store is another's.
fn enroll_all(store: &impl Store, place: Place, directory: &Directory) -> Result<(), StoreError> {
    let (from, to) = (Key::of(Kind::Tenant), Key::of(Kind::Tenant).after());
    let range = Range { from: &from, to: &to, direction: Direction::Forward };
    let mut outcome = Ok(());
    store.scan(range, &mut |key, value| {
        let user = KeyReader::new(key).user().ok_or(RowError::Key);
        let tenant = crate::store::rows::read_owned::<NumberRow>(value);
        match (user, tenant) {
            (Ok(user), _) if user.home(place.shards) != place.shard => {
                outcome = Err(StoreError::Misplaced { user: user.number() });
                ControlFlow::Break(())
            }
            (Ok(user), Ok(NumberRow(tenant))) if tenant != 0 => {
                directory.enroll(user, tenant as u32);
                ControlFlow::Continue(())
            }
            (Ok(_), Ok(_)) => {
                outcome = Err(RowError::Damaged.into());
                ControlFlow::Break(())
            }
            (Err(error), _) | (_, Err(error)) => {
                outcome = Err(error.into());
                ControlFlow::Break(())
            }
        }
    })?;
    outcome
}
