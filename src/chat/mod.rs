//! The rules. One deterministic state machine per shard: (state, event, now) -> row changes and
//! effects.
//!
//! Start with [`shard`], then follow one message: [`send`], [`outbox`], [`deliver`],
//! [`acknowledge`]. What a list shows is in [`history`] and [`chats`].
//!
//! Invariants:
//! 1. No clock, no randomness, no I/O but through the store, no order of iteration that differs
//!    between runs: the same rows, events and moments give the same rows and effects.
//!
//! State belongs to one shard; the [`directory`] is the only thing that shards share.
//!
//! Left to others: bytes (`wire`), sockets, threads, time and the mesh (`node`), disks (`store`).

mod acknowledge;
pub mod audit;
mod by_id;
mod by_number;
pub mod cache;
mod chats;
pub mod chunks;
pub mod clock;
mod deliver;
pub mod directory;
pub mod event;
mod expected;
pub mod forget;
pub mod history;
pub mod kept;
pub mod marks;
mod marks_relay;
mod message_ids;
mod needs;
mod notices;
mod outbox;
mod pending;
mod pool;
pub mod portable;
mod presence;
mod records;
mod redeliver;
mod register;
mod send;
pub mod shard;
pub mod turn;
mod waiting;
pub mod way;
