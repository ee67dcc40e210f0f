//! Retention seen from outside: what is kept, what is not, and that it leaves the disk.
#![allow(missing_docs)]

use anser_loadtest::json::Integers;
use anser_loadtest::server::{Folder, Server, Setup, eventually, run_tools};
use anser_loadtest::world::{Pair, World, fresh_id, ids, now_ms};
use serde_json::Value;
use std::path::Path;

/// What a history may hold more than is kept, until the next look at it.
const SLACK: usize = 8;

fn tools(arguments: &[&str]) -> String {
    let done = run_tools(arguments);
    assert_eq!(done.code, Some(0), "{}", done.said);
    done.said
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a plain name")
}

fn is_clean(data: &Path) {
    let said = tools(&["verify", "--data-dir", path(data)]);
    assert!(said.contains(": 0 findings"), "{said}");
}

fn setup(setting: &str, value: &str) -> Setup {
    Setup::shards(2).with(setting, value)
}

#[test]
fn by_number_the_newest_are_kept_and_all_counts_follow() {
    let mut server = setup("--retain-messages", "100").start();
    let world = World::on(&server, "kept");
    for kind in [Pair::Together, Pair::Apart] {
        let (anna, bo) = world.pair(kind);
        let mut client = world.connect(anna);
        let sent = client.send_many(bo, 450);
        let is_short = |list: &[Value]| (100..100 + SLACK).contains(&list.len());
        for user in [anna, bo] {
            let page = eventually("the oldest go", || {
                Some(world.page(user)).filter(|page| is_short(page))
            });
            let newest: Vec<i64> = sent.iter().rev().take(page.len()).copied().collect();
            assert_eq!(ids(&page), newest);
        }
        let offline = world.offline(bo);
        assert_eq!(ids(&offline), sent[450 - offline.len()..], "nothing else is offered");
        assert!(is_short(&offline));
        let unread = world.call("/im/user/chat/unread/count", serde_json::json!({"userId": bo}));
        assert_eq!(unread.int("count") as usize, offline.len());
        let mut reader = world.connect(bo);
        reader.ack(sent[0]);
        offline.iter().for_each(|message| reader.ack(message.int("id")));
        eventually("all is acked", || world.offline(bo).is_empty().then_some(()));
    }
    let stopped = server.stop();
    is_clean(&stopped.data());
    server = stopped.start();
    assert!(server.is_running());
    let stopped = server.kill();
    is_clean(&stopped.data());
}

/// Lines of an export in which the first messages of each history are some days older.
fn aged(lines: &str, count: u64, days: i64) -> String {
    let (mut out, ms) = (String::new(), now_ms() - days * 24 * 60 * 60 * 1000);
    for line in lines.lines() {
        let mut item: Value = serde_json::from_str(line).expect("JSON");
        if let Some(message) = item.get_mut("message")
            && message["seq"].as_u64().is_some_and(|seq| seq <= count)
        {
            message["serverSendTime"] = ms.into();
        }
        out.push_str(&item.to_string());
        out.push('\n');
    }
    out
}

#[test]
fn by_age_what_is_older_goes_and_what_is_left_moves_on_to_another_folder() {
    let server = Setup::shards(2).start();
    let world = World::on(&server, "aged");
    let (anna, bo) = world.pair(Pair::Apart);
    let sent = world.connect(anna).send_many(bo, 50);
    let stopped = server.stop();
    let file = stopped.data().with_file_name("export");
    tools(&["export", "--data-dir", path(&stopped.data()), "--to", path(&file)]);
    let lines = std::fs::read_to_string(&file).expect("it was written");
    std::fs::write(&file, aged(&lines, 30, 3)).expect("temporary");
    let folder = Folder::new();
    let import = |to: &Path, from: &Path| {
        tools(&["import", "--data-dir", path(to), "--shards", "2", "--from", path(from)])
    };
    import(&folder.data(), &file);
    let server = setup("--retain-days", "2").start_in(folder);
    let world = world_on(&server);
    for user in [anna, bo] {
        let page = eventually("the old ones go", || {
            Some(world.page(user)).filter(|page| page.len() == 20)
        });
        assert_eq!(page[19].int("id"), sent[30]);
    }
    assert_eq!(ids(&world.offline(bo)), sent[30..]);
    let stopped = server.stop();
    is_clean(&stopped.data());
    tools(&["export", "--data-dir", path(&stopped.data()), "--to", path(&file)]);
    let again = Folder::new();
    import(&again.data(), &file);
    is_clean(&again.data());
    let server = Setup::shards(2).start_in(again);
    let world = world_on(&server);
    let newer = world.connect(bo).send(anna, "an answer");
    assert_eq!(ids(&world.page(anna))[..2], [newer, sent[49]]);
    assert_eq!(world.page(anna)[0].int("seq"), 51, "places go on");
}

fn world_on(server: &Server) -> World {
    World::on(server, "the same again")
}

fn bytes_of_rows(data: &Path) -> u64 {
    let mut bytes = 0;
    let mut folders = vec![data.to_owned()];
    while let Some(folder) = folders.pop() {
        // Tables go while we look.
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(about) if about.is_dir() && entry.file_name() != "log" => {
                    folders.push(entry.path());
                }
                Ok(about) if about.is_file() => bytes += about.len(),
                _ => {}
            }
        }
    }
    bytes
}

#[test]
fn what_is_forgotten_leaves_the_disk() {
    let server = Setup::shards(1).with("--retain-messages", "100").start();
    let world = World::on(&server, "gone");
    let (anna, bo) = world.pair(Pair::Together);
    let mut client = world.connect(anna);
    let content = "x".repeat(8_000);
    let before = bytes_of_rows(&server.data());
    for _ in 0..60 {
        let drafts: Vec<i64> = (0..100)
            .map(|_| {
                let id = fresh_id();
                let draft = client.draft(bo, id, &content);
                client.say(draft);
                id
            })
            .collect();
        drafts.into_iter().for_each(|id| drop(client.expect_ack(id)));
    }
    // 96 MB were written in two histories, of which 200 messages are left.
    eventually("tables are merged", || {
        (bytes_of_rows(&server.data()) < before + 20_000_000).then_some(())
    });
    let stopped = server.stop();
    is_clean(&stopped.data());
}

/// Whether any file of rows has this text in it.
fn is_on_disk(data: &Path, text: &str) -> bool {
    let tables = std::fs::read_dir(data.join("shard-0/rows/keyspaces/1/tables"));
    tables.into_iter().flatten().flatten().any(|entry| {
        // Tables go while we look.
        let bytes = std::fs::read(entry.path()).unwrap_or_default();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    })
}

#[test]
fn short_messages_that_are_forgotten_leave_a_small_store_too() {
    let server = Setup::shards(1).with("--retain-messages", "100").start();
    let world = World::on(&server, "short");
    let (anna, bo) = world.pair(Pair::Together);
    let mut client = world.connect(anna);
    let words: Vec<String> = (0..10).map(|_| format!("{:016x}", fresh_id())).collect();
    for word in &words {
        client.send(bo, word);
    }
    eventually("they are in a table", || is_on_disk(&server.data(), &words[0]).then_some(()));
    client.send_many(bo, 1_000);
    eventually("they are in none", || {
        words.iter().all(|word| !is_on_disk(&server.data(), word)).then_some(())
    });
    is_clean(&server.stop().data());
}
