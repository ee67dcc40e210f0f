//! A disk that runs full under a running server: what is new is refused, all else goes on, and
//! nothing acked is lost.
#![allow(missing_docs)]

use anser_loadtest::crash::power::Disk;
use anser_loadtest::json::Integers;
use anser_loadtest::server::{Folder, Server, Setup, eventually, run, run_tools};
use anser_loadtest::world::{Client, Pair, World, fresh_id, ids};
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use serde_json::Value;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

const MIB: u64 = 1 << 20;

/// A file of somebody else that leaves so much room.
fn fill(disk: &Disk, leaving: u64) -> PathBuf {
    let path = disk.folder().join("of somebody else");
    let about = statvfs(disk.folder()).expect("it is mounted");
    let bytes = (about.f_bavail * about.f_frsize).saturating_sub(leaving);
    let file = File::create(&path).expect("there is room for a name");
    fallocate(&file, FallocateFlags::empty(), 0, bytes).expect("so much is free");
    path
}

/// A file of somebody else that leaves nothing at all, not even to root.
fn fill_whole(disk: &Disk) -> PathBuf {
    let path = disk.folder().join("of somebody else");
    let mut file = File::create(&path).expect("there is room for a name");
    let mut piece = vec![7; MIB as usize];
    while !piece.is_empty() {
        if file.write_all(&piece).is_err() {
            piece.truncate(piece.len() / 2);
        }
    }
    path
}

fn wait_for(server: &Server, status: &str) {
    eventually(status, || (server.health() == status).then_some(()));
}

/// Sends something new and is told that the disk is full.
fn is_refused(client: &mut Client, to: i64) -> Value {
    let draft = client.draft(to, fresh_id(), "new");
    let error = client.say_refused(draft);
    assert_eq!(error["code"], 503, "{error}");
    assert!(error["msg"].as_str().is_some_and(|words| words.contains("disk is full")), "{error}");
    error
}

fn verify(data: &Path) {
    let done = run_tools(&["verify", "--data-dir", &data.to_string_lossy()]);
    assert_eq!(done.code, Some(0), "{}", done.said);
}

/// A server of so many shards on a disk of its own, if this machine can make one.
fn served(shards: u16) -> Option<(Disk, Server)> {
    if let Some(missing) = Disk::is_missing() {
        eprintln!("SKIPPED the full disk: this machine lacks {missing}");
        return None;
    }
    let disk = Disk::make(None, 1024 * MIB).expect("root may mount");
    let folder = Folder::with_data(disk.folder().join("data"));
    let server = Setup::shards(shards).start_in(folder);
    Some((disk, server))
}

#[test]
fn a_full_disk_refuses_what_is_new_and_all_goes_on_when_there_is_room() {
    let Some((disk, server)) = served(2) else { return };
    let world = World::on(&server, "full");
    let (anna, bo) = world.pair(Pair::Apart);
    let mut client = world.connect(anna);
    let mut sent = client.send_many(bo, 300);
    assert_eq!(server.health(), "ok");

    // Less than the reserve: an eighth of the disk.
    let foreign = fill(&disk, 100 * MIB);
    wait_for(&server, "disk full");
    assert!(server.figure("anser_disk_full") > 0.0);
    assert!(server.figure("anser_disk_free_bytes") < f64::from(server.setup.shards) * 128e6 * 1.05);
    is_refused(&mut client, bo);
    let stranger = world.post("/im/user/register", world.identity("late"));
    assert_eq!((stranger.status, stranger.json().int("code")), (503, 503));
    assert_eq!(ids(&world.offline(bo)), sent, "it can be read");
    let mut peer = world.connect(bo);
    peer.expect_offline_event();
    for id in sent.drain(..100) {
        peer.ack(id);
    }
    eventually("acks go on", || (ids(&world.offline(bo)) == sent).then_some(()));

    std::fs::remove_file(&foreign).expect("it is there");
    wait_for(&server, "ok");
    let more = client.send_many(bo, 50);
    more.iter().for_each(|id| drop(peer.expect_message(*id)));
    sent.extend(more);

    // Full to the last byte, a kill, and a start when there is some room again.
    let foreign = fill(&disk, 0);
    wait_for(&server, "disk full");
    is_refused(&mut client, bo);
    peer.ack(sent.remove(0));
    eventually("acks go on", || (ids(&world.offline(bo)) == sent).then_some(()));
    drop((client, peer));
    let arguments = server.arguments();
    let stopped = server.kill();
    let refused = run(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
    assert_eq!(refused.code, Some(1), "what the log has needs tables: {}", refused.said);
    assert!(refused.said.contains("disk space"), "{}", refused.said);
    std::fs::remove_file(&foreign).expect("it is there");
    let foreign = fill(&disk, 100 * MIB);
    let server = stopped.start();
    let world = World::on(&server, "full");
    assert_eq!(server.health(), "disk full");
    assert_eq!(ids(&world.offline(bo)), sent);
    is_refused(&mut world.connect(anna), bo);
    std::fs::remove_file(&foreign).expect("it is there");
    wait_for(&server, "ok");
    let mut client = world.connect(anna);
    sent.extend(client.send_many(bo, 20));
    assert_eq!(ids(&world.offline(bo)), sent);
    drop(client);
    let log = server.log();
    for words in ["the disk is full", "the disk has room"] {
        assert!(log.contains(words), "{words}: {log}");
    }
    verify(&server.stop().data());
}

#[test]
fn a_disk_that_somebody_fills_while_tables_are_made_stops_nothing() {
    let Some((disk, server)) = served(1) else { return };
    let world = World::on(&server, "filled");
    let (anna, bo) = world.pair(Pair::Apart);
    let mut client = world.connect(anna);
    let content = "x".repeat(8_000);
    let mut sent = Vec::new();
    for _ in 0..4 {
        sent.extend((0..400).map(|_| client.send(bo, &content)));
        let foreign = fill_whole(&disk);
        wait_for(&server, "disk full");
        is_refused(&mut client, bo);
        assert_eq!(ids(&world.offline(bo)), sent, "it can be read");
        std::fs::remove_file(&foreign).expect("it is there");
        wait_for(&server, "ok");
    }
    drop(client);
    let stopped = server.stop();
    verify(&stopped.data());
    let server = stopped.start();
    assert_eq!(ids(&World::on(&server, "filled").offline(bo)), sent);
}
