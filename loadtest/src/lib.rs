//! Anser as a stranger meets it: what the black-box tests and the load generator share.
//!
//! Nothing here knows the server from the inside: it is a process that is started, talked to over
//! sockets and stopped by signals; what is expected of it is written down in the contract, and
//! every byte of it is read by code of our own or of third parties. Of the `anser` crate only the
//! ring is used, which moves bytes and reads none, and how an address is written.
//!
//! * [`server`] starts, stops, kills and restarts the real binary on a folder of its own.
//! * [`http`] and [`websocket`] are small blocking clients that can also misbehave.
//! * [`echo`] starts the binary that says back what comes, for the protocols' own rules.
//! * [`world`] makes users, pairs and conversations of them, for tests that read as sentences.
//! * [`hostile`] lets two people chat through whatever a test does to a server.
//! * [`crash`] kills a server again and again and looks for what it acked.
//! * [`restart`] fills a server and times its start.
//! * [`load`] is the load generator: one ring a thread, every message checked.
//! * [`outcome`] is what each of its scenarios gives back; [`document`] keeps it in a file,
//!   and [`report`] shows it to people.
//! * [`compare`] sets such documents against each other; [`suite`] makes all of the README's.

// Tests wait for real servers with real deadlines; none of the rules' determinism is at stake.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod arguments;
pub mod compare;
pub mod cores;
pub mod crash;
pub mod dice;
pub mod document;
pub mod echo;
pub mod hostile;
pub mod http;
pub mod interrupt;
pub mod json;
pub mod latencies;
pub mod load;
pub mod outcome;
pub mod peers;
pub mod programs;
pub mod python;
pub mod relay;
pub mod report;
pub mod restart;
pub mod server;
pub mod suite;
pub mod websocket;
pub mod world;

use std::time::Duration;

/// How long a test waits for what must come. Generous: it bounds a failure, not a success.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Runs each named test on servers of one, two and four shards.
///
/// A test is a `fn(&World)`. Tests of one file share a server per shard count; each has a tenant
/// of its own, so that none sees another's users.
#[macro_export]
macro_rules! on_every_shard_count {
    ($($test:ident),+ $(,)?) => {
        $crate::on_shard_count!(one_shard, 1, $($test),+);
        $crate::on_shard_count!(two_shards, 2, $($test),+);
        $crate::on_shard_count!(four_shards, 4, $($test),+);
    };
}

/// Runs each named test on a server with one given count of shards.
#[macro_export]
macro_rules! on_shard_count {
    ($module:ident, $shards:expr, $($test:ident),+ $(,)?) => {
        mod $module {
            $(#[test]
            fn $test() {
                super::$test(&$crate::world::World::shared($shards, stringify!($test)));
            })+
        }
    };
}
