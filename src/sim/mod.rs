//! The test world: all shards of a server in one thread, with a simulated disk, mesh and clock.
//!
//! Invariants:
//! 1. The same seed gives the same run: whatever fails is replayed by its seed alone.
//! 2. The disk forgets, at a crash, all that was not synced; the mesh forgets all it held.
//! 3. An effect is performed only when the rules allow: what is durable waits for a sync.
//! 4. A world that is started from a cut of another, made at any moment, holds all that was acked
//!    before the cut was wanted, agrees with itself, and goes on.
//!
//! Left to others: bytes and sockets. The world speaks the rules' own language.

pub mod answers;
#[cfg(test)]
mod audit_tests;
pub mod checkers;
pub mod cold;
#[cfg(test)]
mod cold_tests;
mod cuts;
pub mod disk;
#[cfg(test)]
mod forget_tests;
#[cfg(test)]
mod log_tests;
pub mod machine;
pub mod model;
pub mod observation;
#[cfg(test)]
mod portable_tests;
pub mod prng;
pub mod rules;
pub mod storage;
pub mod users;
pub mod world;

#[cfg(test)]
mod tests;
