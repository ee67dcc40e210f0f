//! Backups of running servers, and servers that are started from them.

mod one_file;

use anser_loadtest::PATIENCE;
use anser_loadtest::json::Integers;
use anser_loadtest::server::{Finished, Folder, Server, Setup, eventually, run_tools, tools};
use anser_loadtest::websocket::Received;
use anser_loadtest::world::{Pair, World, ids};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant, SystemTime};

const TENANT: &str = "kept";

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain name")
}

#[track_caller]
fn back_up(server: &Server, to: &Path) -> Finished {
    let done = run_tools(&["backup", "--admin", &server.admin.to_string(), "--to", text(to)]);
    assert_eq!(done.code, Some(0), "{}", done.said);
    done
}

#[track_caller]
fn restore(from: &Path) -> Folder {
    let folder = Folder::new();
    let done = run_tools(&["restore", "--from", text(from), "--data-dir", text(&folder.data())]);
    assert_eq!(done.code, Some(0), "{}", done.said);
    folder
}

/// What one person sends to another for as long as the load lasts.
struct Stream {
    from: i64,
    to: i64,
    acked: AtomicUsize,
}

fn is_ack_of(text: &str, id: i64) -> bool {
    text.contains(r#""msgType":"Ack""#) && text.contains(&id.to_string())
}

/// How much is sent: so much that it lasts over a backup, and not more than is soon compared.
#[derive(Default)]
struct Load {
    /// Messages that each may send so far.
    allowed: AtomicUsize,
    is_over: AtomicBool,
}

impl Load {
    fn is_over(&self) -> bool {
        self.is_over.load(SeqCst)
    }
}

/// Ends the load however its test ends.
struct Running<'a>(&'a Load);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, SeqCst);
    }
}

/// Sends with 8 messages in flight as many as are allowed, and acks every second one of the first
/// that come: so many gaps that each is remembered exactly.
fn stream(world: &World, stream: &Stream, load: &Load) -> Vec<i64> {
    let mut client = world.connect(stream.from);
    let (mut sent, mut received) = (Vec::<i64>::new(), 0);
    loop {
        let acked = stream.acked.load(SeqCst);
        if load.is_over() && acked == sent.len() {
            return sent;
        }
        let allowed = load.allowed.load(SeqCst).min(acked + 8);
        while !load.is_over() && sent.len() < allowed {
            sent.push(client.post(stream.to, "content of no other length"));
        }
        let has_rest = acked == sent.len();
        let patience = if has_rest { Duration::from_millis(10) } else { PATIENCE };
        match client.connection.next(Instant::now() + patience) {
            Received::Nothing if has_rest => {}
            Received::Text(text) if sent.get(acked).is_some_and(|id| is_ack_of(&text, *id)) => {
                stream.acked.store(acked + 1, SeqCst);
            }
            Received::Text(text) if text.contains(r#""eventType":"OfflineMessage""#) => {}
            Received::Text(text) => {
                let id = serde_json::from_str::<Value>(&text).expect("JSON").int("id");
                assert!(text.contains(r#""msgType":"Text""#), "acks come in order, not {text}");
                received += 1;
                if received < 400 && received % 2 == 0 {
                    client.ack(id);
                }
            }
            other => panic!("an Ack was expected, not {other:?}"),
        }
    }
}

/// Registers people one after the other, each of whom is written to at once.
fn newcomers(world: &World, author: i64, people: &Mutex<Vec<(String, i64)>>, load: &Load) {
    let mut client = world.connect(author);
    for number in 0.. {
        while !load.is_over() && number * 5 >= load.allowed.load(SeqCst) {
            anser_loadtest::server::pause();
        }
        if load.is_over() {
            return;
        }
        let name = format!("newcomer {number}");
        let user = world.register(&name);
        people.lock().expect("nobody panicked").push((name, user));
        client.send(user, "welcome");
    }
}

/// What was certain when a backup was asked for, and the server restored from it.
struct Restored {
    folder: Folder,
    acked: Vec<usize>,
    newcomers: usize,
}

/// What is known of the first server when all is over.
struct Later {
    sent: Vec<Vec<i64>>,
    people: Vec<(String, i64)>,
    /// An id that it has handed out.
    minted: i64,
}

/// All that one person and another wrote to each other, as the first sees it, oldest first.
fn history(world: &World, owner: i64, peer: i64) -> Vec<Value> {
    let (mut all, mut before) = (Vec::new(), None);
    loop {
        let mut call = json!({"fromUserId": owner, "toUserId": peer, "pageSize": 200});
        if let Some(seq) = before {
            call["beforeSeq"] = json!(seq);
        }
        let page = world.list("/im/message/user/get/page", call);
        before = page.last().map(|oldest| oldest.int("seq"));
        let is_last = page.len() < 200;
        all.extend(page);
        if is_last {
            all.reverse();
            return all;
        }
    }
}

/// All that waits for somebody, oldest first.
fn offline(world: &World, user: i64) -> Vec<Value> {
    let mut all = Vec::new();
    loop {
        let after = all.last().map_or(0, |newest: &Value| newest.int("seq"));
        let call = json!({"userId": user, "afterSeq": after, "limit": 5000});
        let part = world.list("/im/message/offline", call);
        let is_last = part.len() < 5000;
        all.extend(part);
        if is_last {
            return all;
        }
    }
}

fn of_author(messages: &[Value], author: i64) -> Vec<(i64, String)> {
    let by = messages.iter().filter(|message| message["fromUserId"] == author);
    by.map(|message| (message.int("id"), message["content"].to_string())).collect()
}

/// A restored server has what was acked before, once and in order, at both ends, and goes on.
fn check(restored: Restored, streams: &[Stream], later: &Later) {
    let Later { sent, people, minted } = later;
    let server = Setup::shards(4).start_in(restored.folder);
    let world = World::on(&server, TENANT);
    for ((stream, sent), acked) in streams.iter().zip(sent).zip(&restored.acked) {
        let there = history(&world, stream.to, stream.from);
        let kept = of_author(&there, stream.from);
        let kept_ids: Vec<i64> = kept.iter().map(|(id, _)| *id).collect();
        assert!(kept.len() >= *acked, "{} kept of {acked} acked", kept.len());
        assert_eq!(kept_ids, sent[..kept.len()], "all of them, once, in the order of sending");
        assert!(kept.iter().all(|(_, text)| text == r#""content of no other length""#));
        let here = history(&world, stream.from, stream.to);
        assert_eq!(of_author(&here, stream.from), kept, "both ends agree");
        let waits = there
            .iter()
            .filter(|message| message["toUserId"] == stream.to && message["stateEnum"] != "Client");
        let expected: Vec<i64> = waits.map(|message| message.int("id")).collect();
        let mut offline = offline(&world, stream.to);
        offline.retain(|message| message["fromUserId"] == stream.from);
        assert_eq!(ids(&offline), expected, "the offline list is what was not acked");
    }
    for (name, user) in &people[..restored.newcomers] {
        assert_eq!(world.register(name), *user, "who was registered before is there");
    }
    let next = world.call("/im/message/get/id", json!({})).int("id");
    assert!(next > *minted, "ids rise above all that the other server has handed out");
    for stream in streams {
        let id = world.connect(stream.from).send(stream.to, "it goes on");
        let there = history(&world, stream.to, stream.from);
        assert_eq!(there.last().map(|message| message.int("id")), Some(id));
    }
    server.stop().start().stop();
}

/// Invariant 2 of node::cuts.
#[test]
fn a_backup_under_load_is_one_moment_of_all_shards() {
    is_one_moment("sync");
}

#[test]
fn a_backup_under_load_is_one_moment_of_all_shards_in_async_mode() {
    is_one_moment("async");
}

fn is_one_moment(durability: &str) {
    let server = Setup::shards(4).with("--durability", durability).start();
    let world = World::on(&server, TENANT);
    let pairs: Vec<_> = (0..4).map(|_| world.pair(Pair::Apart)).collect();
    let pairs = pairs.into_iter().chain([world.pair(Pair::Together)]);
    let streams: Vec<Stream> = pairs
        .flat_map(|(a, b)| [(a, b), (b, a)])
        .map(|(from, to)| Stream { from, to, acked: AtomicUsize::new(0) })
        .collect();
    let (load, people) = (Load::default(), Mutex::new(Vec::new()));
    let backup = Folder::new();
    let to = backup.path().join("backup");
    let total = || streams.iter().map(|stream| stream.acked.load(SeqCst)).sum::<usize>();
    let known = || people.lock().expect("nobody panicked").len();
    let (restored, sent) = std::thread::scope(|scope| {
        let (world, load) = (&world, &load);
        let running = Running(load);
        let senders: Vec<_> =
            streams.iter().map(|it| scope.spawn(move || stream(world, it, load))).collect();
        let (author, people) = (world.person(), &people);
        scope.spawn(move || newcomers(world, author, people, load));
        let mut restored = Vec::new();
        for round in 1..=3 {
            load.allowed.fetch_add(500, SeqCst);
            eventually("more messages and people", || {
                (total() >= round * 400 && known() > round * 5).then_some(())
            });
            let acked = streams.iter().map(|stream| stream.acked.load(SeqCst)).collect();
            let newcomers = known();
            let before = total();
            load.allowed.fetch_add(500, SeqCst);
            back_up(&server, &to);
            assert!(total() > before, "messages are acked while a backup is made");
            restored.push(Restored { folder: restore(&to), acked, newcomers });
        }
        drop(running);
        let sent: Vec<_> = senders.into_iter().map(|it| it.join().expect("it ends")).collect();
        (restored, sent)
    });
    let cuts = fs::read_dir(server.data().join("backups")).expect("cuts were made").count();
    assert_eq!(cuts, 0, "they are removed when they are copied");
    let minted = world.call("/im/message/get/id", json!({})).int("id");
    server.kill();
    let people = people.into_inner().expect("nobody panicked");
    let later = Later { sent, people, minted };
    for restored in restored {
        check(restored, &streams, &later);
    }
}

/// A server whose rows are more than a few files of nothing.
fn large() -> (Server, i64, Vec<i64>) {
    let server = Setup::shards(2).start();
    let world = World::on(&server, TENANT);
    let (anna, bo) = world.pair(Pair::Apart);
    let mut client = world.connect(anna);
    let content = "x".repeat(50_000);
    let sent = (0..150).map(|_| client.send(bo, &content)).collect();
    (server, bo, sent)
}

fn how_it_ends(child: &mut Child, signal: Signal) -> Option<i32> {
    let id = Pid::from_raw(child.id() as i32).expect("a child has an id");
    kill_process(id, signal).expect("our own child");
    child.wait().expect("our own child").code()
}

/// Holds invariants 1 and 2 of `backup`.
#[test]
fn a_backup_that_was_killed_is_refused_and_goes_on_where_it_was() {
    goes_on_where_it_was(Signal::KILL);
}

/// Holds invariant 3 of `backup`.
#[test]
fn a_backup_that_was_told_to_stop_removes_its_cut_and_goes_on_where_it_was() {
    goes_on_where_it_was(Signal::TERM);
}

fn goes_on_where_it_was(end: Signal) {
    let (server, bo, sent) = large();
    // What has become tables is the same when it is copied again.
    eventually("all is in tables", || (server.figure("anser_index_lag") == 0.0).then_some(()));
    let backup = Folder::new();
    let to = backup.path().join("backup");
    let files = to.join("files");
    let admin = server.admin.to_string();
    let mut command = Command::new(tools());
    command.args(["backup", "--rate", "1", "--admin", &admin, "--to", text(&to)]);
    let mut child =
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it was just built");
    let whole = || -> Option<BTreeMap<PathBuf, SystemTime>> {
        let paths = fs::read_dir(&files).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
        let whole = paths.filter(|path| path.extension().is_none());
        let times = whole.map(|path| (fs::metadata(&path).and_then(|file| file.modified()), path));
        let times: BTreeMap<_, _> =
            times.filter_map(|(time, path)| Some((path, time.ok()?))).collect();
        (!times.is_empty()).then_some(times)
    };
    eventually("a file that is copied", whole);
    let cuts = || fs::read_dir(server.data().join("backups")).expect("one was made").count();
    assert_eq!(cuts(), 1);
    match end {
        Signal::KILL => assert_eq!(how_it_ends(&mut child, end), None),
        _ => {
            assert_eq!(how_it_ends(&mut child, end), Some(1));
            assert_eq!(cuts(), 0, "its cut is removed");
        }
    }
    let before = whole().expect("it was there");
    let refused = run_tools(&["restore", "--from", text(&to), "--check"]);
    assert_eq!(refused.code, Some(1), "{}", refused.said);
    assert!(refused.said.contains("no backup was ever finished"), "{}", refused.said);
    back_up(&server, &to);
    let after = whole().expect("it is whole");
    let kept = before.iter().filter(|(path, time)| after.get(*path) == Some(*time)).count();
    let gone = before.keys().filter(|path| !after.contains_key(*path)).count();
    assert!(kept > 0, "nothing of {} files is kept", before.len());
    assert_eq!(kept + gone, before.len(), "what was there is not copied again");
    drop(server);
    let server = Setup::shards(2).start_in(restore(&to));
    assert_eq!(ids(&World::on(&server, TENANT).offline(bo)), sent);
}

/// Holds invariants 1, 2 and 3 of `restore`.
#[test]
fn a_damaged_backup_is_refused_by_name_and_nothing_is_written() {
    let (server, bo, sent) = large();
    let backup = Folder::new();
    let to = backup.path().join("backup");
    back_up(&server, &to);
    let files = fs::read_dir(to.join("files")).expect("it was made");
    let size = |path: &Path| fs::metadata(path).expect("it is there").len();
    let largest = files.map(|entry| entry.expect("it is there").path());
    let largest = largest.max_by_key(|path| size(path)).expect("there are some");
    let mut bytes = fs::read(&largest).expect("it is there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&largest, bytes).expect("it is ours");
    let folder = Folder::new();
    let refused = run_tools(&["restore", "--from", text(&to), "--data-dir", text(&folder.data())]);
    assert_eq!(refused.code, Some(1), "{}", refused.said);
    assert!(refused.said.contains(text(&largest)), "it is named: {}", refused.said);
    assert!(refused.said.contains("shard-"), "and whose it is: {}", refused.said);
    assert!(!folder.data().exists(), "nothing is written");
    // Who looks at what is there copies it anew.
    let admin = server.admin.to_string();
    let done = run_tools(&["backup", "--check", "--admin", &admin, "--to", text(&to)]);
    assert_eq!(done.code, Some(0), "{}", done.said);
    let folder = restore(&to);
    let again = run_tools(&["restore", "--from", text(&to), "--data-dir", text(&folder.data())]);
    assert_eq!(again.code, Some(1), "{}", again.said);
    assert!(again.said.contains("is not empty"), "{}", again.said);
    // A folder without its manifest is what a restore that was broken off leaves.
    let manifest = folder.data().join("manifest.toml");
    let whole = fs::read(&manifest).expect("it is whole");
    fs::remove_file(&manifest).expect("it is ours");
    fs::remove_file(folder.data().join("manifest.copy.toml")).expect("it is ours");
    let data = folder.data();
    let refused = anser_loadtest::server::run(&["serve", "--data-dir", text(&data)], &[]);
    assert_eq!(refused.code, Some(1), "{}", refused.said);
    assert!(refused.said.contains("manifest"), "{}", refused.said);
    fs::write(&manifest, whole).expect("it is ours");
    let server = Setup::shards(2).start_in(folder);
    assert_eq!(ids(&World::on(&server, TENANT).offline(bo)), sent);
}

#[test]
fn a_stopped_servers_folder_is_backed_up_too_and_a_running_ones_is_refused() {
    let (server, bo, sent) = large();
    let backup = Folder::new();
    let to = backup.path().join("backup");
    let data = server.data();
    let by_folder = || run_tools(&["backup", "--data-dir", text(&data), "--to", text(&to)]);
    let refused = by_folder();
    assert_eq!(refused.code, Some(1), "{}", refused.said);
    assert!(
        refused.said.contains("in use") && refused.said.contains("--admin"),
        "{}",
        refused.said
    );
    // A kill leaves in the log what tables lack.
    let stopped = server.kill();
    let done = by_folder();
    assert_eq!(done.code, Some(0), "{}", done.said);
    let server = Setup::shards(2).start_in(restore(&to));
    assert_eq!(ids(&World::on(&server, TENANT).offline(bo)), sent);
    let server = stopped.start();
    assert_eq!(ids(&World::on(&server, TENANT).offline(bo)), sent, "and is as it was");
}

/// Holds invariant 3 of `backup`.
#[test]
fn a_backup_that_fails_leaves_no_cut_and_says_why() {
    let (server, ..) = large();
    let backup = Folder::new();
    // There is a folder where a file has to go: the first one it would copy.
    let to = backup.path().join("backup");
    back_up(&server, &to);
    let mut files: Vec<_> =
        fs::read_dir(to.join("files")).expect("made").map(|it| it.expect("there").path()).collect();
    files.sort();
    fs::remove_file(&files[0]).expect("it is ours");
    fs::create_dir(files[0].with_extension("part")).expect("it is ours");
    let admin = server.admin.to_string();
    let failed = run_tools(&["backup", "--admin", &admin, "--to", text(&to)]);
    assert_eq!(failed.code, Some(1), "{}", failed.said);
    assert!(failed.said.contains(".part cannot be written"), "{}", failed.said);
    let cuts = fs::read_dir(server.data().join("backups")).expect("cuts were made").count();
    assert_eq!(cuts, 0);
    let none = backup.path().join("none");
    let nobody = run_tools(&["backup", "--admin", "127.0.0.1:1", "--to", text(&none)]);
    assert!(nobody.said.contains("no server answers"), "{}", nobody.said);
    assert!(!none.exists(), "nothing is made for nothing");
    let memory = Setup::shards(1).with("--store", "memory").start();
    let admin = memory.admin.to_string();
    let nothing = run_tools(&["backup", "--admin", &admin, "--to", text(&to)]);
    assert!(nothing.said.contains("nothing to back up"), "{}", nothing.said);
}

#[test]
fn an_empty_server_does_not_take_the_place_of_the_only_copy_unless_told_to() {
    let (server, bo, sent) = large();
    let backup = Folder::new();
    let to = backup.path().join("backup");
    back_up(&server, &to);
    let empty = Setup::shards(2).start();
    let admin = empty.admin.to_string();
    let again = ["backup", "--admin", &admin, "--to", text(&to)];
    let refused = run_tools(&again);
    assert_eq!(refused.code, Some(1), "{}", refused.said);
    let said = &refused.said;
    assert!(said.contains("another data folder") && said.contains("--replace"), "{said}");
    drop(server);
    let restored = Setup::shards(2).start_in(restore(&to));
    assert_eq!(ids(&World::on(&restored, TENANT).offline(bo)), sent);
    // What was restored goes on from there.
    back_up(&restored, &to);
    let told = run_tools(&[&again[..], &["--replace"]].concat());
    assert_eq!(told.code, Some(0), "{}", told.said);
}
