//! The load generator: one thread and one ring, no task for a connection. Only where there may be
//! no more files than a run has connections are there more of them ([`part`]).
//!
//! [`streams`] moves bytes, all connections' in one system call a round; [`sockets`] makes
//! WebSocket frames of them; the scenarios are above.
//!
//! It checks every message it carries (content, order, once), because a fast server that loses
//! one is not fast. It says what it used itself: at a whole core, it was the limit.

pub mod accounts;
pub mod answers;
pub mod comeback;
pub mod crew;
pub mod disk;
pub mod driver;
pub mod frame;
pub mod gap;
pub mod handoff;
pub mod idle;
pub mod ids;
pub mod limit;
pub mod mixed;
pub mod offline;
pub mod open;
pub mod pace;
pub mod part;
pub mod pingpong;
pub mod players;
pub mod process;
pub mod progress;
pub mod reach;
pub mod scale;
pub mod schedule;
pub mod seconds;
pub mod sockets;
pub mod stages;
pub mod storm;
pub mod streams;
pub mod usage;
pub mod words;
pub mod worker;
