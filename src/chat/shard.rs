//! STUB: signatures only, to be replaced.
use crate::api::{ChatEntry, StoredMessage};
use crate::chat::directory::Directory;
use crate::chat::event::{Event, Now, Relay, StreamPosition};
use crate::chat::history::Listing;
use crate::chat::turn::Turn;
use crate::ids::ShardId;
use crate::metrics::ShardMetrics;
use crate::store::{Store, StoreError};
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

/// The rules of one shard.
pub struct Shard<S: Store> {
    store: S,
}

impl<S: Store> Shard<S> {
    /// Opens the rows of a shard: loads its users into the directory, raises `directory.shown()`
    /// above every id it may have shown before, begins a new relay epoch (synced), finds the outbox
    /// rows of earlier runs.
    pub fn open(
        _store: S,
        _place: Place,
        _directory: Arc<Directory>,
        _metrics: Arc<ShardMetrics>,
    ) -> Result<Shard<S>, StoreError> {
        todo!()
    }
    /// Applies one event. An error is the disk's: the shard must stop.
    pub fn apply(
        &mut self,
        _event: Event<'_>,
        _now: &Now,
        _turn: &mut Turn,
    ) -> Result<(), StoreError> {
        todo!()
    }
    /// Writes the rows that the turn gathered; sets `turn.position`.
    pub fn end_turn(&mut self, _turn: &mut Turn) -> Result<(), StoreError> {
        todo!()
    }
    /// Row changes gathered since the last write, in bytes: the node ends the turn when it is too much.
    pub fn gathered_bytes(&self) -> usize {
        todo!()
    }
    /// Gives the next items of a list to `sink`, until it breaks (the item it broke at was taken)
    /// or all are given: then `true`.
    pub fn list(
        &mut self,
        _listing: &mut Listing,
        _sink: &mut dyn FnMut(Item<'_>) -> ControlFlow<()>,
    ) -> Result<bool, StoreError> {
        todo!()
    }
    /// A durable `Effect::Relay` is being released: may it be posted? `false`: it is read from its
    /// row later (the stream is behind, or too much of it is unconfirmed).
    pub fn may_post(&mut self, _to: ShardId, _position: StreamPosition) -> bool {
        todo!()
    }
    /// The mesh was full: nothing from `first` on has been posted after all.
    pub fn take_back(&mut self, _to: ShardId, _first: StreamPosition) {
        todo!()
    }
    /// Whether released relays wait to be read from their rows, and may be posted now.
    pub fn is_behind(&self, _to: ShardId) -> bool {
        todo!()
    }
    /// Reads the next relays of a stream that is behind, at most `limits::PARCEL_RELAYS_MAX`; they
    /// count as posted (see `take_back`).
    pub fn read_outbox(&mut self, _to: ShardId) -> Result<Vec<Relay>, StoreError> {
        todo!()
    }
    /// Every relay that was found at start has been confirmed.
    pub fn is_replayed(&self) -> bool {
        todo!()
    }
    /// The store.
    pub fn store(&self) -> &S {
        &self.store
    }
    /// The store, to sync it.
    pub fn store_mut(&mut self) -> &mut S {
        &mut self.store
    }
}
