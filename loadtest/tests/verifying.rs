//! `anser-tools verify` on folders of servers that were stopped, killed, and damaged.

use anser_loadtest::json::Integers;
use anser_loadtest::server::{Finished, Setup, eventually, run, run_tools};
use anser_loadtest::websocket::Received;
use anser_loadtest::world::{World, ids};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

fn verify(data: &Path) -> Finished {
    run_tools(&["verify", "--data-dir", data.to_str().expect("a plain name")])
}

#[track_caller]
fn is_clean(data: &Path) {
    let done = verify(data);
    assert_eq!(done.code, Some(0), "{}", done.said);
    assert!(done.said.contains(": 0 findings"), "{}", done.said);
}

/// One person among others: sends to all, acks some of what comes, reads and deletes chats.
fn live(world: &World, people: &[i64], own: usize, sent: &AtomicUsize, stop: &AtomicBool) {
    let mut client = world.connect(people[own]);
    for turn in 0.. {
        if stop.load(SeqCst) {
            return;
        }
        client.post(people[(own + turn) % people.len()], "a word");
        sent.fetch_add(1, SeqCst);
        let soon = Instant::now() + Duration::from_millis(50);
        let Received::Text(text) = client.connection.next(soon) else { continue };
        if text.contains(r#""msgType":"Text""#) && turn % 3 > 0 {
            client.ack(serde_json::from_str::<Value>(&text).expect("JSON").int("id"));
        }
        let (owner, peer) = (people[own], people[turn % people.len()]);
        if turn % 40 == 39 {
            let call = json!({"fromUserId": owner, "toUserId": peer});
            world.post("/im/user/chat/clear/unread2", call);
        }
        if turn % 70 == 69 {
            let chats = world.chats(owner);
            world.post("/im/user/delete/chat/list", json!({"id": chats[0].int("id")}));
        }
    }
}

#[test]
fn a_folder_is_clean_after_a_stop_and_after_a_kill_under_load() {
    let server = Setup::shards(4).start();
    let world = World::on(&server, "verified");
    let people: Vec<i64> = (0..6).map(|_| world.person()).collect();
    let (sent, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let (world, people, sent, stop) = (&world, &people, &sent, &stop);
        for own in 0..people.len() {
            scope.spawn(move || live(world, people, own, sent, stop));
        }
        eventually("many messages", || (sent.load(SeqCst) > 3000).then_some(()));
        stop.store(true, SeqCst);
    });
    let refused = verify(&server.data());
    assert_eq!(refused.code, Some(2), "{}", refused.said);
    assert!(refused.said.contains("in use by another server"), "{}", refused.said);
    // What was posted last is under way.
    let mut clients: Vec<_> = people.iter().map(|person| world.connect(*person)).collect();
    for (index, client) in clients.iter_mut().enumerate() {
        for n in 0..200 {
            client.post(people[(index + n) % people.len()], "late");
        }
    }
    let stopped = server.kill();
    is_clean(&stopped.data());
    let stopped = stopped.start().stop();
    is_clean(&stopped.data());
}

#[test]
fn a_damaged_log_is_named_and_cannot_be_read() {
    let server = Setup::shards(1).start();
    let world = World::on(&server, "verified");
    let [ann, bo] = world.people();
    let mut client = world.connect(ann);
    for _ in 0..20 {
        client.send(bo, "a word");
    }
    let stopped = server.kill();
    let segment = stopped.data().join("shard-0/log/000000.segment");
    let file = fs::OpenOptions::new().write(true).open(&segment).expect("it was begun");
    file.write_all_at(&[0; 64], 4096).expect("it is ours");
    let refused = verify(&stopped.data());
    assert_eq!(refused.code, Some(2), "{}", refused.said);
    assert!(refused.said.contains("000000.segment"), "{}", refused.said);
}

/// Changes one byte of a file, and can put it back.
fn change(file: &Path) -> impl FnOnce() + use<> {
    let whole = fs::read(file).expect("it is there");
    let mut changed = whole.clone();
    changed[whole.len() / 2] ^= 0x90;
    fs::write(file, changed).expect("it is ours");
    let file = file.to_owned();
    move || fs::write(file, whole).expect("it is ours")
}

#[test]
fn lists_that_are_damaged_are_put_back_or_refused_with_what_to_do() {
    let server = Setup::shards(1).start();
    let world = World::on(&server, "verified");
    let [ann, bo] = world.people();
    let sent = world.connect(ann).send(bo, "a word");
    let stopped = server.stop();
    let data = stopped.data();
    drop(change(&data.join("manifest.toml")));
    let done = verify(&data);
    assert_eq!(done.code, Some(0), "{}", done.said);
    assert!(done.said.contains("manifest.toml: was damaged or gone"), "{}", done.said);
    is_clean(&data);
    fs::remove_file(data.join("manifest.toml")).expect("it is ours");
    let server = stopped.start();
    let told = "put back from its second copy";
    assert!(server.log().contains(told), "{}", server.log());
    assert_eq!(ids(&World::on(&server, "verified").offline(bo)), [sent]);
    let stopped = server.stop();
    let put_back = change(&data.join("shard-0/segments.toml"));
    let refused = run(&["serve", "--data-dir", data.to_str().expect("a plain name")], &[]);
    assert_eq!(refused.code, Some(1), "{}", refused.said);
    assert!(refused.said.contains("segments.toml is damaged"), "{}", refused.said);
    put_back();
    let server = stopped.start();
    assert_eq!(ids(&World::on(&server, "verified").offline(bo)), [sent]);
}

fn inspect(data: &Path, what: &[&str]) -> Vec<Value> {
    let data = data.to_str().expect("a plain name");
    let done = run_tools(&[&["inspect", "--data-dir", data], what].concat());
    assert_eq!(done.code, Some(0), "{}", done.said);
    let lines = done.said.lines();
    lines.map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

#[test]
fn rows_and_records_are_shown_as_lines_of_json() {
    let server = Setup::shards(2).start();
    let world = World::on(&server, "inspected");
    let [ann, bo] = world.people();
    let id = world.connect(ann).send(bo, "a secret");
    let home = world.home(ann).to_string();
    let stopped = server.kill();
    let data = stopped.data();
    let manifest = inspect(&data, &["manifest"]);
    assert_eq!((&manifest[0]["shards"], manifest.len()), (&json!(2), 3));
    let rows = inspect(&data, &["user", &ann.to_string()]);
    let row = |kind: &str| rows.iter().find(|row| row["kind"] == kind).expect("it is there");
    assert_eq!(row("user")["row"]["highestSent"], id.to_string());
    assert_eq!(row("message")["row"]["to"], bo);
    assert_eq!(row("chat")["peer"], bo);
    let all = inspect(&data, &["rows", "--shard", &home]);
    assert!(rows.iter().all(|row| all.contains(row)), "they are among the shard's rows");
    let log = inspect(&data, &["log", "--shard", &home, "--from", "2"]);
    assert_eq!(log[0]["position"], 2);
    let changes = |record: &Value| record["changes"].as_array().expect("a list").clone();
    let of_message = |change: &Value| change["put"]["kind"] == "message";
    assert!(log.iter().any(|record| changes(record).iter().any(of_message)));
    assert!(!format!("{all:?}{log:?}").contains("secret"));
    let shown = inspect(&data, &["rows", "--shard", &home, "--contents"]);
    assert!(format!("{shown:?}").contains("a secret"));
    let nobody = run_tools(&["inspect", "--data-dir", data.to_str().expect("plain"), "user", "9"]);
    assert_eq!(nobody.code, Some(1), "{}", nobody.said);
}
