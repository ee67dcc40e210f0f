//! A server over tables of which some bytes are not what was written.
#![allow(missing_docs)]

use anser_loadtest::http;
use anser_loadtest::server::{Setup, run_tools};
use anser_loadtest::world::World;
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};

/// Kilobytes of messages between two who are not concerned: rows of others lie in other blocks.
const MESSAGES: usize = 200;

/// Changes one byte of these in a table of the only shard. Returns which table.
fn damage(data: &Path, bytes: &[u8]) -> PathBuf {
    let tables = data.join("shard-0/rows/keyspaces/1/tables");
    for table in fs::read_dir(tables).expect("it was stopped") {
        let path = table.expect("readable").path();
        let mut table = fs::read(&path).expect("readable");
        let found = table.windows(bytes.len()).position(|window| window == bytes);
        if let Some(at) = found {
            table[at] ^= 0x20;
            fs::write(&path, table).expect("it is ours");
            return path;
        }
    }
    panic!("no table has it");
}

#[test]
fn who_needs_damaged_rows_is_told_and_all_others_are_served() {
    let server = Setup::shards(1).start();
    let world = World::on(&server, "damaged");
    let [ann, bo, cy, dee] = world.people();
    for (from, to) in [(ann, bo), (cy, dee)] {
        let mut client = world.connect(from);
        for number in 0..MESSAGES {
            // Nothing that a table could be made smaller by.
            let text: String = (0..100).map(|n| format!("{:x}", mix(from, number, n))).collect();
            client.post(to, &text);
        }
        client.send(to, "the last one");
    }
    let stopped = server.stop();
    let marker: String = (20..30).map(|n| format!("{:x}", mix(ann, MESSAGES / 2, n))).collect();
    let table = damage(&stopped.data(), &marker.as_bytes()[..40]);

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
    let stopped = server.stop();
    let data = stopped.data();
    let found = run_tools(&["verify", "--data-dir", data.to_str().expect("a plain name")]);
    assert_eq!(found.code, Some(2), "{}", found.said);
    let name = table.file_name().and_then(|name| name.to_str()).expect("a number");
    assert!(found.said.contains(&format!("tables/{name}")), "{}", found.said);
    assert_eq!(stopped.start().stop().data(), data, "it starts again");
}

/// A number that looks like any other.
fn mix(from: i64, number: usize, n: usize) -> u64 {
    let seed = (from as u64) << 32 | (number as u64) << 8 | n as u64;
    let mixed = (seed ^ seed >> 31).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed ^ mixed >> 29).wrapping_mul(0xBF58_476D_1CE4_E5B9)
}
