//! The load generator: one thread, non-blocking sockets, batched reads and writes.
//!
//! It checks every message it carries (content, order, once), because a fast server that loses
//! one is not fast. It says what it used itself: at a whole core, it was the limit.

pub mod accounts;
pub mod handoff;
pub mod idle;
pub mod offline;
pub mod open;
pub mod pingpong;
pub mod players;
pub mod process;
pub mod seconds;
pub mod socket;
pub mod stages;
pub mod usage;
pub mod words;
