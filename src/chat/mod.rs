//! The rules. One deterministic state machine per shard: (state, event, now) -> row changes and
//! effects.
//!
//! Start with [`shard`], then follow one message: [`send`], [`outbox`], [`deliver`],
//! [`acknowledge`]. What a list shows is in [`history`] and [`chats`].
//!
//! Invariants:
//! 1. No clock, no randomness, no I/O but through the store, no order of iteration that differs
//!    between runs: the same rows, events and moments give the same rows and effects.
//! 2. What was acked is in both histories for ever, or forgotten as retention says.
//! 3. A message is in a history once under its author's id, and never changes.
//! 4. Messages of one author reach one recipient in the order in which they were sent.
//! 5. Unread are the messages received since the last clear.
//! 6. The offline list is what was received and not acked.
//! 7. Pages and chat lists show one and the same history.
//! 8. Minted ids are unique and rise; an identity is one user, a pair one chat.
//! 9. Nothing is shown that its author has not sent so, nor to those whom it does not concern.
//! 10. What waits is bounded.
//! 11. When faults end, what was said is answered, and every message arrives.
//!
//! 2 to 11 are what clients can hold a server to, whatever crashes: `sim::checkers` judges them, by
//! these numbers less one.
//!
//! State belongs to one shard; the [`directory`] is the only thing that shards share.
//!
//! Left to others: bytes (`wire`), sockets, threads, time and the mesh (`node`), disks (`store`).

mod acknowledge;
mod aside;
pub mod audit;
mod by_id;
mod by_number;
pub mod cache;
mod chats;
pub mod chunks;
pub mod clock;
mod damage;
mod deliver;
pub mod directory;
pub mod event;
mod expected;
pub mod forget;
pub mod history;
pub mod kept;
mod line;
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
