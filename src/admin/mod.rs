//! What operators see: figures, health and a page, rendered from snapshots.
//!
//! Invariants:
//! 1. Rendering is pure: the same figures give the same bytes, nothing is locked or counted.
//! 2. A family's HELP and TYPE stand once, before all its samples.
//! 3. Health is red once a shard's store has failed or a shard has gone silent, and never before.
//!
//! Left to others: sockets, clocks and the process's own figures (`node::admin_port`).

pub mod exposition;
pub mod page;
pub mod profile;
pub mod status;
