//! `/im/message/get/id`: what is handed out, and what is never handed out twice.
#![allow(missing_docs)]

use anser_loadtest::http::{Client, post};
use anser_loadtest::json::{Integers, Keys};
use anser_loadtest::on_every_shard_count;
use anser_loadtest::world::{EPOCH_MS, World, now_ms};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const MINT: &str = "/im/message/get/id";

on_every_shard_count! {
    an_id_is_a_multiple_of_a_thousand_near_the_snowflake_of_now,
    ids_survive_a_javascript_client,
    ids_rise_from_connection_to_connection,
    a_batch_holds_what_was_asked_for,
    ids_asked_for_at_once_are_unique,
    pipelined_ids_rise_in_order,
    counts_that_are_not_allowed_are_refused,
    a_body_is_not_needed,
}

#[track_caller]
fn batch(client: &mut Client, count: u32) -> Vec<i64> {
    let answer = client.post(MINT, &json!({"count": count}).to_string());
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(Keys::of(&answer.body).0, ["id", "ids"]);
    let answer = answer.json();
    let ids: Option<Vec<i64>> =
        answer["ids"].as_array().expect("ids").iter().map(Value::as_i64).collect();
    let ids = ids.expect("every id is an integer");
    assert_eq!(answer.int("id"), ids[0]);
    ids
}

fn an_id_is_a_multiple_of_a_thousand_near_the_snowflake_of_now(world: &World) {
    let before = now_ms();
    let answer = world.post(MINT, json!({}));
    assert_eq!(Keys::of(&answer.body).0, ["id"]);
    let id = answer.json().int("id");
    assert_eq!(id % 1000, 0, "{id}");
    let minted_ms = (id >> 22) + EPOCH_MS;
    assert!((before - 1000..now_ms() + 11_000).contains(&minted_ms), "{id} is of {minted_ms}");
}

fn ids_survive_a_javascript_client(world: &World) {
    let mut client = Client::connect(world.http);
    for id in batch(&mut client, 1000) {
        // The shortest decimal that reads as this float is what JSON.stringify writes.
        let written = format!("{:?}", id as f64);
        let (digits, exponent) = written.split_once('e').unwrap_or((&written, "0"));
        let (whole, fraction) = digits.split_once('.').expect("a float has a point");
        let fraction = fraction.trim_end_matches('0');
        let zeros = exponent.parse::<usize>().expect("an exponent").saturating_sub(fraction.len());
        let back = format!("{whole}{fraction}{}", "0".repeat(zeros));
        assert_eq!(back, id.to_string());
    }
}

fn ids_rise_from_connection_to_connection(world: &World) {
    let mut clients: Vec<Client> = (0..8).map(|_| Client::connect(world.http)).collect();
    let mut last = 0;
    for round in 0..400 {
        let client = &mut clients[round * 5 % 8];
        let ids = match round % 10 {
            0 => batch(client, 300),
            _ => vec![client.post(MINT, "{}").json().int("id")],
        };
        for id in ids {
            assert!(id > last, "{id} came after {last}");
            last = id;
        }
    }
}

fn a_batch_holds_what_was_asked_for(world: &World) {
    let mut client = Client::connect(world.http);
    for count in [1, 2, 7, 1000] {
        let ids = batch(&mut client, count);
        assert_eq!(ids.len(), count as usize);
        assert!(ids.windows(2).all(|two| two[0] < two[1]), "{ids:?}");
        assert!(ids.iter().all(|id| id % 1000 == 0), "{ids:?}");
    }
}

fn ids_asked_for_at_once_are_unique(world: &World) {
    let ids: Vec<i64> = std::thread::scope(|scope| {
        let ask = || {
            let mut client = Client::connect(world.http);
            (0..20).flat_map(|_| batch(&mut client, 100)).collect::<Vec<_>>()
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("it answers")).collect()
    });
    let unique: BTreeSet<&i64> = ids.iter().collect();
    assert_eq!((ids.len(), unique.len()), (16_000, 16_000));
}

fn pipelined_ids_rise_in_order(world: &World) {
    let mut client = Client::connect(world.http);
    client.send(post(MINT, "{}").repeat(500));
    let ids: Vec<i64> = (0..500).map(|_| client.answer().json().int("id")).collect();
    assert!(ids.windows(2).all(|two| two[0] < two[1]), "{ids:?}");
}

fn counts_that_are_not_allowed_are_refused(world: &World) {
    for count in
        [json!(0), json!(-1), json!(1001), json!(1e30), json!("many"), json!([]), json!(2.5)]
    {
        world.refused(MINT, json!({"count": count}), "count");
    }
}

fn a_body_is_not_needed(world: &World) {
    // What `fetch(url, {method: "POST"})` sends.
    let mut client = Client::connect(world.http);
    client.send(format!("POST {MINT} HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{{}}"));
    assert!(client.answer().json().int("id") > 0);
}
