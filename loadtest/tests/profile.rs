//! The latency profile on the admin port: where messages' time goes, and which were the slowest.
#![allow(missing_docs)]

use anser_loadtest::http;
use anser_loadtest::server::{Server, Setup, eventually};
use anser_loadtest::world::{Pair, World};
use serde_json::Value;

const BEFORE_RELEASE: [&str; 5] = ["decode", "apply", "write", "sync", "release"];
/// The stamps of a message in their order, but for `sent`, which has its own end.
const WAY: [&str; 9] = [
    "received",
    "decoded",
    "applied",
    "written",
    "synced",
    "released",
    "relayed",
    "delivered",
    "pushed",
];
const SECRET: &str = "nobody else's business";

fn ask(server: &Server, path: &str) -> Value {
    let answer = http::get(server.admin, path);
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    assert!(answer.json()["steadyNs"].as_u64() > Some(0), "{path}: {answer:?}");
    assert!(answer.json()["unixMs"].as_i64() > Some(0), "{path}: {answer:?}");
    answer.json()
}

/// Count and sum of a span, all shards together.
fn span(latency: &Value, name: &str) -> (u64, u64) {
    let shards = latency["shards"].as_array().expect("shards");
    let each = shards.iter().map(|shard| &shard["messages"][name]);
    let number = |value: &Value| value.as_u64().expect("a number");
    each.fold((0, 0), |(count, sum), span| {
        let buckets = span["buckets"].as_array().expect("buckets");
        let filled: u64 = buckets.iter().map(|bucket| number(&bucket[1])).sum();
        assert_eq!(filled, number(&span["count"]), "{name}: {span}");
        (count + filled, sum + number(&span["sumNs"]))
    })
}

/// People of one shard and of two chat; returns when the server has heard that all was sent.
fn chat(server: &Server, messages: usize) -> Value {
    let world = World::on(server, "profile");
    for kind in [Pair::Together, Pair::Apart] {
        let (anna, bo) = world.pair(kind);
        let (mut client, mut peer) = (world.connect(anna), world.connect(bo));
        for _ in 0..messages {
            let id = client.send(bo, SECRET);
            peer.expect_message(id);
        }
    }
    eventually("all is acked and pushed", || {
        let latency = ask(server, "/admin/latency");
        let all = messages as u64 * 2;
        let is_over = ["ack", "delivery"].iter().all(|name| span(&latency, name).0 >= all);
        is_over.then_some(latency)
    })
}

#[test]
fn every_message_is_in_the_profile_and_its_spans_add_up() {
    let server = Setup::shards(2).start();
    let latency = chat(&server, 50);
    for name in BEFORE_RELEASE.into_iter().chain(["send", "ack", "push", "delivery"]) {
        assert_eq!(span(&latency, name).0, 100, "{name}");
    }
    for name in ["relay", "deliver"] {
        assert_eq!(span(&latency, name).0, 50, "{name}");
    }
    let sum = |names: &[&str]| names.iter().map(|name| span(&latency, name).1).sum::<u64>();
    let before = sum(&BEFORE_RELEASE);
    assert_eq!(before + sum(&["send"]), sum(&["ack"]));
    assert_eq!(before + sum(&["relay", "deliver", "push"]), sum(&["delivery"]));
    for stage in ["turn", "write", "sync", "release", "away"] {
        assert!(latency["shards"][1]["rounds"][stage]["count"].as_u64() > Some(0), "{stage}");
    }
    let figures = http::get(server.admin, "/metrics").body;
    let count = |shard| {
        let start = format!("anser_message_seconds_count{{shard=\"{shard}\",span=\"ack\"}} ");
        let value = figures.lines().find_map(|line| line.strip_prefix(start.as_str()));
        value.and_then(|value| value.parse::<u64>().ok()).expect("a count")
    };
    assert_eq!(count(0) + count(1), 100);
    assert!(figures.contains("anser_away_total{shard=\"1\",doing=\"settle\"} "));
}

#[test]
fn the_slowest_messages_have_rising_stamps_and_no_contents() {
    let server = Setup::shards(2).start();
    chat(&server, 20);
    let messages = eventually("both ends have shown their slowest", || {
        let slow = ask(&server, "/admin/slow");
        let messages = slow["messages"].as_array().expect("messages").clone();
        let is_whole = |message: &Value| {
            let stamps = &message["stampsNs"];
            stamps["sent"].is_u64() && stamps["pushed"].is_u64()
        };
        (messages.len() == 40 && messages.iter().all(is_whole)).then_some(messages)
    });
    assert!(!http::get(server.admin, "/admin/slow").body.contains(SECRET));
    let total = |message: &Value| message["totalNs"].as_u64().expect("a number");
    assert!(messages.is_sorted_by(|one, next| total(one) >= total(next)), "slowest first");
    for message in &messages {
        let at = |name: &str| message["stampsNs"][name].as_u64();
        let times: Vec<u64> = WAY.iter().filter_map(|name| at(name)).collect();
        assert!(times[0] == 0 && times.is_sorted(), "{message}");
        let is_apart = message["shard"] != message["toShard"];
        assert_eq!(times.len(), if is_apart { 9 } else { 7 }, "{message}");
        assert!(at("sent") >= at("released"));
        assert_eq!(Some(total(message)), at("sent").max(at("pushed")));
        let id = message["id"].as_str().expect("text, as no other number is so long");
        assert!(id.parse::<i64>().is_ok(), "{message}");
        assert!(message["author"] != message["recipient"]);
    }
}

#[test]
fn rounds_that_took_long_are_told_newest_first_and_counted() {
    let server = Setup::shards(2).start();
    let world = World::on(&server, "away");
    let (anna, bo) = world.pair(Pair::Apart);
    let mut client = world.connect(anna);
    let rounds = eventually("a turn of a thousand messages takes more than 2 ms", || {
        let last = (0..1_000).map(|_| client.post(bo, SECRET)).last();
        client.expect_ack(last.expect("a thousand"));
        let away = ask(&server, "/admin/away");
        Some(away["rounds"].as_array().expect("rounds").clone()).filter(|rounds| !rounds.is_empty())
    });
    assert!(rounds.is_sorted_by_key(|round| std::cmp::Reverse(round["unixMs"].as_i64())));
    for round in &rounds {
        assert!(round["ns"].as_u64() > Some(2_000_000), "{round}");
        for part in ["doingNs", "waitedNs"] {
            assert!(round[part].as_u64() <= round["ns"].as_u64(), "{round}");
        }
    }
    let figures = http::get(server.admin, "/metrics").body;
    let counts = figures.lines().filter(|line| line.starts_with("anser_away_total{"));
    let named = |line: &str| {
        let doing = line.split("doing=\"").nth(1).and_then(|rest| rest.split('"').next());
        doing.is_some_and(|doing| rounds.iter().any(|round| round["doing"] == doing))
    };
    let counts = counts.filter(|line| named(line)).map(|line| line.rsplit(' ').next());
    let counted: u64 = counts.map(|count| count.and_then(|it| it.parse().ok()).unwrap_or(0)).sum();
    assert!(counted >= rounds.len() as u64, "{counted} of {}", rounds.len());
}
