//! `anser reshard`, `anser-tools export` and `import`: the same people, seen from outside, on other
//! shards and in other folders.

use anser_loadtest::json::Integers;
use anser_loadtest::server::{
    Finished, Folder, Server, Setup, Stopped, binary, eventually, run, run_tools,
};
use anser_loadtest::world::World;
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const TENANT: &str = "resharded";
const PEOPLE: usize = 9;

fn reshard(data: &Path, shards: u16) -> Finished {
    let data = data.to_str().expect("a plain name");
    run(&["reshard", "--data-dir", data, "--shards", &shards.to_string()], &[])
}

#[track_caller]
fn resharded(stopped: Stopped, shards: u16) -> Stopped {
    let done = reshard(&stopped.data(), shards);
    assert_eq!(done.code, Some(0), "{}", done.said);
    is_clean(&stopped.data());
    stopped.with_shards(shards)
}

#[track_caller]
fn is_clean(data: &Path) {
    let done = run_tools(&["verify", "--data-dir", data.to_str().expect("a plain name")]);
    assert_eq!(done.code, Some(0), "{}", done.said);
}

fn people(world: &World) -> Vec<i64> {
    (0..PEOPLE).map(|number| world.register(&format!("person {number}"))).collect()
}

/// All that the people can see.
fn seen(world: &World, people: &[i64]) -> Vec<Value> {
    let mut seen = Vec::new();
    for user in people {
        let call = json!({"userId": user});
        seen.push(json!(world.chats(*user)));
        seen.push(world.call("/im/user/chat/unread/count", call));
        seen.push(json!(world.offline(*user)));
        for page in 1..4 {
            let call = json!({"userId": user, "pageNum": page, "pageSize": 200});
            seen.push(json!(world.list("/im/message/user/get/page", call)));
        }
        for peer in people {
            let call = json!({"fromUserId": user, "toUserId": peer, "pageSize": 200});
            seen.push(json!(world.list("/im/message/user/get/page", call)));
        }
    }
    seen
}

/// Both ends of each message show the same: all authors were told.
fn is_told(world: &World, people: &[i64]) -> bool {
    let shown = |owner: i64, peer: i64| {
        let call = json!({"fromUserId": owner, "toUserId": peer, "pageSize": 200});
        let page = world.list("/im/message/user/get/page", call);
        let shown = page.iter().map(|it| json!([it["id"], it["stateEnum"], it["isRead"]]));
        shown.collect::<Vec<_>>()
    };
    people.iter().all(|one| people.iter().all(|other| shown(*one, *other) == shown(*other, *one)))
}

/// Everybody writes to some others; some acks, some reads, a deleted chat, one at the top.
fn live(world: &World, people: &[i64], rounds: usize) {
    for (own, user) in people.iter().enumerate() {
        let mut client = world.connect(*user);
        for round in 0..rounds {
            client.send(people[(own + round * (own + 1)) % people.len()], "a word");
        }
    }
    for (own, user) in people.iter().enumerate() {
        let waiting = world.offline(*user);
        let mut client = world.connect(*user);
        waiting.iter().step_by(own + 2).for_each(|message| client.ack(message.int("id")));
        // What follows an ack shows that it was done.
        client.send(*user, "a note");
        let chats = world.chats(*user);
        let id = |index: usize| json!({"id": chats[index % chats.len()].int("id")});
        world.command("/im/user/chat/clear/unread", id(own));
        if own % 3 == 0 {
            world.command("/im/user/delete/chat/list", id(own + 1));
        }
        let top = chats[(own + 2) % chats.len()].int("id");
        world.post("/im/user/chat/top", json!({"id": top, "top": true}));
    }
}

/// Sends again what somebody sent before: it is acked and not stored.
fn send_again(world: &World, people: &[i64]) {
    let newest = &world.page(people[0])[0];
    let again = json!({"id": newest["id"], "toUserId": newest["toUserId"],
        "msgType": "Text", "content": newest["content"]});
    world.connect(newest.int("fromUserId")).say_acked(again);
}

/// A server with some days behind it, and what its people see.
fn server(shards: u16) -> (Server, Vec<Value>) {
    let server = Setup::shards(shards).start();
    let world = World::on(&server, TENANT);
    let people = people(&world);
    live(&world, &people, 40);
    eventually("that all authors were told", || is_told(&world, &people).then_some(()));
    let seen = seen(&world, &people);
    (server, seen)
}

/// Invariant 3 of node::reshard.
#[test]
fn people_see_the_same_on_another_number_of_shards_and_go_on() {
    let (mut server, mut before) = server(1);
    let mut minted = 0;
    for shards in [4, 3, 1] {
        server = resharded(server.stop(), shards).start();
        let world = World::on(&server, TENANT);
        let people = people(&world);
        let after = seen(&world, &people);
        for (index, (after, before)) in after.iter().zip(&before).enumerate() {
            assert_eq!(after, before, "part {index} on {shards} shards");
        }
        let ids = world.call("/im/message/get/id", json!({"count": 1000}));
        assert!(ids.int("id") > minted, "ids rise");
        minted = ids["ids"].as_array().and_then(|ids| ids.last()?.as_i64()).expect("1000 ids");
        send_again(&world, &people);
        assert_eq!(seen(&world, &people), after, "what was sent before is known");
        live(&world, &people, 3);
        eventually("that all authors were told", || is_told(&world, &people).then_some(()));
        before = seen(&world, &people);
    }
    is_clean(&server.stop().data());
}

/// Invariants 1 and 2 of node::reshard.
#[test]
fn a_reshard_that_is_killed_at_any_moment_leaves_a_folder_that_works() {
    let (server, before) = server(2);
    let mut stopped = server.stop();
    let data = stopped.data();
    let (mut now, mut finished) = (2, 0);
    for round in 0..10_u64 {
        let next = if now == 2 { 3 } else { 2 };
        let mut command = Command::new(binary());
        command.args(["reshard", "--shards", &next.to_string(), "--data-dir"]).arg(&data);
        let mut child = command.stderr(Stdio::null()).spawn().expect("it was just built");
        // Any moment is right: there is nothing to wait for.
        std::thread::sleep(Duration::from_millis(round * 17));
        child.kill().expect("our own child");
        child.wait().expect("our own child");
        is_clean(&data);
        let manifest = std::fs::read_to_string(data.join("manifest.toml")).expect("it is whole");
        if manifest.contains(&format!("shards = {next}")) {
            (now, finished) = (next, finished + 1);
        }
        if round % 5 == 4 {
            let server = stopped.with_shards(now).start();
            let world = World::on(&server, TENANT);
            assert_eq!(seen(&world, &people(&world)), before);
            stopped = server.stop();
        }
    }
    for _ in 0..2 {
        stopped = resharded(stopped, 5);
        let folders = std::fs::read_dir(&data).expect("it is there");
        let names = folders.map(|entry| entry.expect("it is there").file_name());
        let shards = names.filter(|name| name.to_string_lossy().starts_with("shard-"));
        assert_eq!(shards.count(), 5, "what was broken off is removed, after {finished} of 10");
    }
    let server = stopped.start();
    let world = World::on(&server, TENANT);
    assert_eq!(seen(&world, &people(&world)), before);
}

#[test]
fn a_resharded_folder_is_backed_up_and_restored_like_any_other() {
    let (server, before) = server(1);
    let stopped = resharded(server.stop(), 2);
    let (data, backup, folder) = (stopped.data(), Folder::new(), Folder::new());
    let to = text(&backup.path().join("backup"));
    for command in [
        vec!["backup", "--data-dir", &text(&data), "--to", &to],
        vec!["restore", "--from", &to, "--data-dir", &text(&folder.data())],
    ] {
        let done = run_tools(&command);
        assert_eq!(done.code, Some(0), "{}", done.said);
    }
    is_clean(&folder.data());
    let server = Setup::shards(2).start_in(folder);
    let world = World::on(&server, TENANT);
    assert_eq!(seen(&world, &people(&world)), before);
}

#[test]
fn a_running_servers_folder_and_another_count_are_refused_with_what_to_do() {
    let server = Setup::shards(2).start();
    let refused = reshard(&server.data(), 3);
    assert_eq!(refused.code, Some(1), "{}", refused.said);
    assert!(refused.said.contains("in use by another server"), "{}", refused.said);
    let stopped = server.stop();
    let data = stopped.data();
    let data = data.to_str().expect("a plain name");
    let refused = run(&["serve", "--data-dir", data, "--shards", "3"], &[]);
    assert_eq!(refused.code, Some(1), "{}", refused.said);
    assert!(refused.said.contains("anser reshard --shards 3"), "{}", refused.said);
    let refused = run(&["reshard", "--data-dir", data], &[]);
    assert_eq!(refused.code, Some(2), "{}", refused.said);
    let nothing = reshard(Path::new("/nowhere/at/all"), 3);
    assert_eq!(nothing.code, Some(1), "{}", nothing.said);
}

fn text(path: &Path) -> String {
    path.to_str().expect("a plain name").to_owned()
}

#[track_caller]
fn export(data: &Path, to: &Path) -> Vec<String> {
    let done = run_tools(&["export", "--data-dir", &text(data), "--to", &text(to)]);
    assert_eq!(done.code, Some(0), "{}", done.said);
    let mut lines: Vec<String> =
        std::fs::read_to_string(to).expect("it was written").lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

fn import(from: &Path, folder: &Folder, shards: u16) -> Finished {
    let (data, shards) = (text(&folder.data()), shards.to_string());
    run_tools(&["import", "--from", &text(from), "--data-dir", &data, "--shards", &shards])
}

/// Holds invariant 1 of `export`.
#[test]
fn people_see_the_same_in_a_folder_that_was_imported() {
    let (server, before) = server(2);
    let minted = World::on(&server, TENANT).call("/im/message/get/id", json!({})).int("id");
    let stopped = server.stop();
    let files = Folder::new();
    let (file, again) = (files.path().join("all.jsonl"), files.path().join("again.jsonl"));
    std::fs::create_dir_all(files.path()).expect("it is ours");
    let lines = export(&stopped.data(), &file);
    for shards in [3, 1] {
        let folder = Folder::new();
        let done = import(&file, &folder, shards);
        assert_eq!(done.code, Some(0), "{}", done.said);
        is_clean(&folder.data());
        assert_eq!(export(&folder.data(), &again), lines, "nothing is lost on the way");
        let server = Setup::shards(shards).start_in(folder);
        let world = World::on(&server, TENANT);
        let people = people(&world);
        assert_eq!(seen(&world, &people), before);
        let next = world.call("/im/message/get/id", json!({})).int("id");
        assert!(next > minted, "ids rise above all that were handed out");
        send_again(&world, &people);
        assert_eq!(seen(&world, &people), before, "what was sent before is known");
        live(&world, &people, 3);
        assert_eq!(world.register("somebody new"), world.register("somebody new"));
        is_clean(&server.stop().data());
    }
}

/// Holds invariant 1 of `import`.
/// Invariant 1 of node::import.
/// Invariant 2 of node::import.
#[test]
fn a_file_that_is_cut_off_or_changed_gives_no_data_folder() {
    let (server, _) = server(1);
    let stopped = server.stop();
    let files = Folder::new();
    std::fs::create_dir_all(files.path()).expect("it is ours");
    let file = files.path().join("all.jsonl");
    export(&stopped.data(), &file);
    let whole = std::fs::read_to_string(&file).expect("it was written");
    let lines: Vec<&str> = whole.lines().collect();
    let changed = |change: &dyn Fn(usize, &str) -> Option<String>| -> String {
        let changed = lines.iter().enumerate().filter_map(|(index, line)| change(index, line));
        changed.map(|line| line + "\n").collect()
    };
    let last = lines.len() - 1;
    let keep = |line: &str| Some(line.to_owned());
    let files_and_words = [
        (changed(&|index, line| keep(line).filter(|_| index < last)), "totals is missing"),
        (changed(&|index, line| keep(line).filter(|_| index != last - 1)), "it says Totals"),
        (changed(&|index, line| keep(line).filter(|_| index > 0)), "no export of anser"),
        (whole[..whole.len() / 2].to_owned(), "cut off after line"),
        (whole.replacen("a word", "another word", 1), "do not agree"),
    ];
    for (text, words) in files_and_words {
        std::fs::write(&file, text).expect("it is ours");
        let folder = Folder::new();
        let refused = import(&file, &folder, 2);
        assert_eq!(refused.code, Some(1), "{}", refused.said);
        assert!(refused.said.contains(words), "{words}: {}", refused.said);
        assert!(!folder.data().join("manifest.toml").exists(), "no server starts on it");
    }
    std::fs::write(&file, &whole).expect("it is ours");
    let refused = import(&file, &Folder::new(), 0);
    assert_eq!(refused.code, Some(1), "{}", refused.said);
    let folder = Folder::new();
    std::fs::create_dir_all(folder.data()).expect("it is ours");
    std::fs::write(folder.data().join("letter.txt"), "mine").expect("it is ours");
    let refused = import(&file, &folder, 2);
    assert_eq!(refused.code, Some(1), "{}", refused.said);
    assert!(refused.said.contains("is not empty"), "{}", refused.said);
    assert_eq!(std::fs::read_dir(folder.data()).expect("it is ours").count(), 1);
}
