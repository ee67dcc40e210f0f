//! Test worlds: all shards of a server in one thread, with a simulated disk, mesh and clock.
//!
//! A [`town`] is a whole server and its people, down to bytes: one seed, one life, judged by
//! [`checkers`]. A [`world`] has only the rules, in their own language, for tests that say step by
//! step what happens; a [`machine`] has only one shard's log.
//!
//! Invariants:
//! 1. The same seed gives the same run: whatever fails is replayed by its seed alone.
//! 2. The disk forgets, at a crash, all that was not synced; the mesh forgets all it held.
//! 3. An effect is performed only when the rules allow: what is durable waits for a sync.
//! 4. A world that is started from a cut of another, made at any moment, holds all that was acked
//!    before the cut was wanted, agrees with itself, and goes on.
//!
//! Left to others: real sockets, files and threads (`node`), fjall (`loadtest`'s crashes).

pub mod answers;
#[cfg(test)]
mod aside_tests;
#[cfg(test)]
mod audit_tests;
pub mod checkers;
mod chronicle;
mod client;
pub mod cold;
#[cfg(test)]
mod cold_tests;
pub mod coverage;
mod cuts;
pub mod damage;
#[cfg(test)]
mod damage_tests;
pub mod disk;
#[cfg(test)]
mod forget_tests;
mod host;
mod lines;
#[cfg(test)]
mod log_tests;
pub mod machine;
mod mesh;
pub mod model;
mod network;
pub mod observation;
#[cfg(test)]
mod parted_tests;
pub mod plan;
#[cfg(test)]
mod portable_tests;
pub mod prng;
pub mod rules;
mod sight;
pub mod storage;
pub mod town;
pub mod users;
pub mod world;

#[cfg(test)]
mod tests;
