//! Those who take every descriptor that the server may have.

use super::raw;
use anser_loadtest::hostile::{MIB, Siege};
use anser_loadtest::http;
use anser_loadtest::load::process::open_files;
use anser_loadtest::server::Setup;
use anser_loadtest::websocket::upgrade_request;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// Descriptors of the server.
const FILES: u32 = 300;
/// Connections that want one.
const WANTED: usize = 600;
/// Time in which each shard makes a table or two: they need descriptors, too.
const HELD: Duration = Duration::from_secs(8);

/// Files in a folder and all folders in it.
fn files_in(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let count = |entry: std::fs::DirEntry| match entry.path() {
        path if path.is_dir() => files_in(&path),
        _ => 1,
    };
    entries.map(count).sum()
}

/// Connections wait, and what the server needs for itself it has: it goes on writing tables, and
/// its operators see it. When some leave, others come in.
///
/// Invariant 3 of node::listener.
#[test]
fn connections_that_take_all_descriptors_leave_the_server_those_it_needs() {
    let siege = Siege::of(Setup::shards(2).open_files(FILES));
    let world = siege.world("descriptors");
    let process = siege.server().id();
    let begun = Instant::now();
    let mut waiting: Vec<TcpStream> = Vec::new();
    let files = files_in(&siege.server().data());
    while begun.elapsed() < HELD {
        // Some leave all the time, and others come: whatever is free is taken.
        waiting.drain(..waiting.len() / 10);
        while waiting.len() < WANTED {
            let mut stream = raw(world.ws);
            let _ = stream.write_all(upgrade_request("/ws").as_bytes());
            waiting.push(stream);
        }
        let health = http::get(siege.server().admin, "/healthz");
        assert_eq!(health.status, 200, "{}", siege.server().log());
        let (open, limit) = open_files(process).expect("it runs");
        assert!(open < limit, "{open} of {limit} files are open");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(files_in(&siege.server().data()) > files, "tables were made meanwhile");
    drop(waiting);
    siege.until_left_alone(0);
    let (anna, bo) = world.pairs()[1];
    let mut peer = world.connect(bo);
    let id = world.connect(anna).send(bo, "there is room again");
    peer.expect_message(id);
    siege.end(16 * MIB);
}
