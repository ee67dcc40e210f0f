//! A disk that fails under a running server: no Ack ever after, health in red, plain words.
#![allow(missing_docs)]

use anser_loadtest::PATIENCE;
use anser_loadtest::http;
use anser_loadtest::server::{Setup, pause};
use anser_loadtest::websocket::{Frame, Received, opcode};
use anser_loadtest::world::{Pair, World, fresh_id, ids};
use std::time::{Duration, Instant};

/// Above what the log of the server's own words takes, below what the messages take.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Invariant 4 of node::launch.
/// Invariant 3 of admin.
#[test]
fn a_failed_disk_ends_all_acks_shows_red_and_stops_the_server_with_its_reason() {
    let mut server = Setup::shards(2).surviving_large_files().start();
    let world = World::on(&server, "failing");
    let (anna, bo) = world.pair(Pair::Together);
    let bystander =
        (0..200).map(|_| world.person()).find(|user| world.home(*user) != world.home(anna));
    // Whoever does not answer the goodbye holds up the end for as long as closing may take.
    let mut other_shard = world.connect(bystander.expect("users spread over shards"));
    let mut client = world.connect(anna);
    client.send(bo, "the disk is well");
    assert_eq!(http::get(server.admin, "/healthz").status, 200);
    server.refuse_files_beyond(FILE_BYTES_MAX);
    let content = "x".repeat(60_000);
    let (mut sent, mut acked, deadline) = (Vec::new(), 0, Instant::now() + PATIENCE);
    'sending: loop {
        assert!(sent.len() < 2000 && Instant::now() < deadline, "{acked} acks and no failure");
        let id = fresh_id();
        let draft = client.draft(bo, id, &content).to_string();
        client.connection.send_all_you_can(&Frame::whole(opcode::TEXT, draft.as_bytes()).bytes());
        sent.push(id);
        loop {
            match client.connection.next(Instant::now() + Duration::from_secs(5)) {
                Received::Text(text) if text.contains("\"Ack\"") => {
                    acked += 1;
                    break;
                }
                Received::Text(text) => panic!("an Ack was expected, not {text}"),
                Received::Ping(_) => {}
                _ => break 'sending,
            }
        }
    }
    assert!(acked < sent.len(), "the last was never acked");
    let red = loop {
        match std::net::TcpStream::connect(server.admin) {
            Ok(_) if server.is_running() => match http::get(server.admin, "/healthz").status {
                200 => pause(),
                other => break other,
            },
            _ => panic!("it ended before it showed red; log:\n{}", server.log()),
        }
        assert!(Instant::now() < deadline, "health is never red");
    };
    assert_eq!(red, 503);
    assert_eq!(other_shard.connection.until_closed(PATIENCE), 1001, "the others are told");
    let status = server.wait(Duration::from_secs(15));
    assert_eq!(status.code(), Some(1), "log:\n{}", server.log());
    let log = server.log();
    let home = world.home(anna);
    for words in [format!("shard {home} failed"), "the commit log cannot be written".to_owned()] {
        assert!(log.contains(&words), "{words:?} in the log:\n{log}");
    }
    let server = server.kill().start();
    let kept = ids(&World::on(&server, "failing").offline(bo));
    assert!(kept.len() > acked, "{} kept of {acked} acked and one before", kept.len());
    assert_eq!(kept[1..], sent[..kept.len() - 1], "all that was acked, in order");
}
