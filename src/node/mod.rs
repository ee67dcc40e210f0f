//! The node: sockets, threads, clocks, and the shards that run on them.
//!
//! Invariants (each file has its own; these hold over all):
//! 1. One thread a shard, pinned; shards exchange owned values and share only the directory.
//! 2. Nothing here decides what a message means: `wire` reads bytes, `chat` has the rules, and
//!    what they want is performed.
//! 3. A shard waits in one place only: for its bell, when there is nothing to do.
//!
//! The way of a message: `listener` -> `ring` -> `shard_loop` -> `intake` -> the rules ->
//! `release` -> `settle` -> `ring`. To another shard: `release` -> `mesh` -> its `shard_loop`.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "clocks, threads and locks live here, so that they live nowhere else"
)]
mod admin_cuts;
pub mod admin_port;
pub mod admission;
mod bounds;
pub mod clock;
pub mod connection;
pub mod control;
mod core_wait;
pub mod cuts;
mod cutting;
pub mod data_folder;
pub mod desk;
mod disk_cache;
pub mod doctor;
pub mod durable;
pub mod echo;
pub mod exchange;
pub mod forgetting;
pub mod handoff;
#[cfg(test)]
mod house;
pub mod import;
pub mod indexer;
pub mod intake;
pub mod journeys;
pub mod lanes;
pub mod launch;
pub mod listener;
pub mod listing;
pub mod log_files;
pub mod log_record;
pub mod log_writer;
pub mod manifest_file;
pub mod merger;
pub mod merging;
pub mod mesh;
pub mod offline;
pub mod pace;
pub mod parking;
pub mod profile;
pub mod readers;
pub mod recover;
pub mod release;
pub mod remover;
pub mod reshard;
pub mod ring;
pub mod room;
pub mod settle;
pub mod shard_loop;
pub mod slowness;
pub mod steps;
pub mod stopped;
pub mod sweep;
pub mod trails;
pub mod watch;
pub mod young;
pub mod zeros;

pub use launch::{ServeError, serve};
