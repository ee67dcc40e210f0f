//! A server over tables of which some bytes are not what was written.
#![allow(missing_docs)]

use anser_loadtest::http;
use anser_loadtest::json::Integers;
use anser_loadtest::server::{Folder, Setup, eventually, run, run_tools};
use anser_loadtest::world::{World, ids};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};

/// Kilobytes of messages between two who are not concerned: rows of others lie in other blocks.
const MESSAGES: usize = 200;

/// Where these bytes are in tables of a shard: the table, and the first of them in it.
fn places(data: &Path, shard: u16, bytes: &[u8]) -> Vec<(PathBuf, usize)> {
    let tables = data.join(format!("shard-{shard}/rows/keyspaces/1/tables"));
    let tables = fs::read_dir(tables).expect("it was stopped").filter_map(|table| {
        let path = table.expect("readable").path();
        let table = fs::read(&path).expect("readable");
        let found = table.windows(bytes.len()).position(|window| window == bytes);
        found.map(|at| (path, at))
    });
    let places: Vec<_> = tables.collect();
    assert!(!places.is_empty(), "no table has it");
    places
}

/// Changes a byte at each of these places; done twice they are as they were.
fn change(places: &[(PathBuf, usize)]) {
    for (path, at) in places {
        let mut table = fs::read(path).expect("readable");
        table[*at] ^= 0x20;
        fs::write(path, table).expect("it is ours");
    }
}

#[test]
fn who_needs_damaged_rows_is_told_and_all_others_are_served() {
    let server = Setup::shards(1).start();
    let world = World::on(&server, "damaged");
    let [ann, bo, cy, dee] = world.people();
    for (from, to) in [(ann, bo), (cy, dee)] {
        let mut client = world.connect(from);
        for number in 0..MESSAGES {
            client.post(to, &noise(from, number, 0..100));
        }
        client.send(to, "the last one");
    }
    let stopped = server.stop();
    let marker = noise(ann, MESSAGES / 2, 20..30);
    let places = places(&stopped.data(), 0, &marker.as_bytes()[..40]);
    change(&places);
    let table = &places[0].0;

    let server = stopped.start();
    let world = World::on(&server, "damaged again");
    let health = || http::get(server.admin, "/healthz");
    assert!(health().body.contains(r#""status":"ok""#), "nobody has met it");
    let page = json!({"userId": ann, "pageNum": 6, "pageSize": 20});
    world.refused("/im/message/user/get/page", page, "is damaged");
    let shown = health();
    assert_eq!(shown.status, 200, "others are served: {shown:?}");
    assert!(shown.body.contains(r#""status":"damaged""#), "{shown:?}");
    assert!(server.figure("anser_unreadable_total") >= 1.0);
    assert!(server.log().contains("anser-tools verify"), "{}", server.log());

    assert_eq!(world.offline(dee).len(), MESSAGES + 1);
    let newest = json!({"userId": ann, "pageNum": 1, "pageSize": 5});
    assert_eq!(world.list("/im/message/user/get/page", newest).len(), 5, "what is whole of hers");
    let (mut ann_here, mut bo_here) = (world.connect(ann), world.connect(bo));
    let id = ann_here.send(bo, "all the same");
    bo_here.expect_message(id);
    bo_here.ack(id);

    let backup = Folder::new();
    let (admin, to) = (server.admin.to_string(), backup.path().join("backup"));
    let to = to.to_str().expect("a plain name");
    let refused = run_tools(&["backup", "--admin", &admin, "--to", to]);
    assert_eq!(refused.code, Some(1), "{}", refused.said);
    let place = table.strip_prefix(server.data()).expect("it is the server's").display();
    let words = format!("{place} of the data folder is damaged");
    assert!(refused.said.contains(&words), "where it lies, not in a cut: {}", refused.said);

    let stopped = server.stop();
    let data = stopped.data();
    let found = run_tools(&["verify", "--data-dir", data.to_str().expect("a plain name")]);
    assert_eq!(found.code, Some(2), "{}", found.said);
    let name = table.file_name().and_then(|name| name.to_str()).expect("a number");
    assert!(found.said.contains(&format!("tables/{name}")), "{}", found.said);
    assert_eq!(stopped.start().stop().data(), data, "it starts again");
}

/// What comes for somebody whose rows cannot be read waits for him, and nobody else.
#[test]
fn what_comes_from_another_shard_is_set_aside_until_it_can_be_stored() {
    let server = Setup::shards(2).start();
    let world = World::on(&server, "set aside");
    // So many that rows of other kinds lie in other blocks.
    let people: Vec<i64> = (0..200).map(|_| world.person()).collect();
    let name = noise(1, 1, 0..16);
    let mut identity = world.identity("bo");
    identity["name"] = json!(name);
    let bo = world.call("/im/user/register", identity).int("userId");
    let home = world.home(bo);
    let abroad = people.iter().copied().filter(|user| world.home(*user) != home);
    let [ann, cy] = abroad.collect::<Vec<_>>()[..2] else { unreachable!("names spread") };
    let stopped = server.stop();
    let places = places(&stopped.data(), home, &name.as_bytes()[..40]);
    change(&places);

    let server = stopped.start();
    let world = World::on(&server, "set aside again");
    let (mut ann_here, mut cy_here) = (world.connect(ann), world.connect(cy));
    let sent: Vec<i64> = (0..20).map(|number| ann_here.send(bo, &number.to_string())).collect();
    eventually("they are set aside", || {
        (server.figure("anser_messages_set_aside") >= 20.0).then_some(())
    });
    let id = ann_here.send(cy, "all the same");
    cy_here.expect_message(id);
    let health = http::get(server.admin, "/healthz");
    assert_eq!(health.status, 200, "others are served: {health:?}");
    assert!(health.body.contains(r#""status":"damaged""#), "{health:?}");
    assert!(server.log().contains("are set aside"), "{}", server.log());

    let stopped = server.stop().start().stop();
    change(&places);
    let data = stopped.data();
    let data = data.to_str().expect("a plain name");
    let found = run_tools(&["verify", "--data-dir", data]);
    assert_eq!(found.code, Some(0), "{}", found.said);
    assert!(found.said.contains("20 more are set aside"), "{}", found.said);
    let refused = run_tools(&["export", "--data-dir", data]);
    assert_eq!(refused.code, Some(1), "{}", refused.said);
    assert!(refused.said.contains("set aside"), "{}", refused.said);

    let resharded = run(&["reshard", "--data-dir", data, "--shards", "3"], &[]);
    assert_eq!(resharded.code, Some(0), "{}", resharded.said);

    let server = stopped.with_shards(3).start();
    let world = World::on(&server, "mended");
    let arrived = eventually("they arrive", || {
        let offline = world.offline(bo);
        (offline.len() == 20).then_some(offline)
    });
    assert_eq!(ids(&arrived), sent);
    assert_eq!(server.figure("anser_messages_set_aside"), 0.0);
}

/// Letters that a table cannot make smaller.
fn noise(from: i64, number: usize, numbers: std::ops::Range<usize>) -> String {
    numbers.map(|n| format!("{:x}", mix(from, number, n))).collect()
}

/// A number that looks like any other.
fn mix(from: i64, number: usize, n: usize) -> u64 {
    let seed = (from as u64) << 32 | (number as u64) << 8 | n as u64;
    let mixed = (seed ^ seed >> 31).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed ^ mixed >> 29).wrapping_mul(0xBF58_476D_1CE4_E5B9)
}
