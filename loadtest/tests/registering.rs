//! `/im/user/register` and `/im/user/find`: identities, names, tenants and their refusals.
#![allow(missing_docs)]

use anser_loadtest::http;
use anser_loadtest::json::{Integers, Keys};
use anser_loadtest::on_every_shard_count;
use anser_loadtest::world::World;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const REGISTER: &str = "/im/user/register";
const FIND: &str = "/im/user/find";

on_every_shard_count! {
    the_same_triple_is_the_same_user,
    each_part_of_the_triple_counts,
    user_ids_are_small_and_neither_zero_nor_one,
    a_number_and_its_string_name_the_same_user,
    a_name_is_kept_until_another_is_given,
    finding_creates_nobody,
    incomplete_identities_are_refused_by_name,
    wrong_types_are_refused_by_name,
    unknown_keys_are_ignored,
    names_are_bounded,
    text_of_any_script_names_a_user,
    many_who_register_at_once_as_one_are_one,
    the_answer_has_one_key,
}

fn the_same_triple_is_the_same_user(world: &World) {
    let first = world.register("anna");
    assert_eq!(world.register("anna"), first);
    assert_ne!(world.register("Anna"), first, "case counts");
    assert_ne!(world.register("anna "), first, "spaces count");
}

fn each_part_of_the_triple_counts(world: &World) {
    let id = |company: &str, app: &str, third: &str| {
        let body = json!({"company": company, "app": app, "thirdUserId": third});
        world.call(REGISTER, body).int("userId")
    };
    let ids = [id("ab", "c", "d"), id("a", "bc", "d"), id("a", "b", "cd"), id("abc", "d", "a")];
    assert_eq!(BTreeSet::from(ids).len(), 4, "{ids:?}");
    assert_eq!(id("a", "bc", "d"), ids[1]);
}

fn user_ids_are_small_and_neither_zero_nor_one(world: &World) {
    let ids: Vec<i64> = (0..64).map(|_| world.person()).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{ids:?}");
    for id in ids {
        assert!((2..1 << 24).contains(&id), "{id} is not a small positive integer");
    }
}

fn a_number_and_its_string_name_the_same_user(world: &World) {
    let as_number = json!({"company": "n", "app": "n", "thirdUserId": 9007199254740993_i64});
    let as_text = json!({"company": "n", "app": "n", "thirdUserId": "9007199254740993"});
    let id = world.call(REGISTER, as_number.clone());
    assert_eq!(world.call(REGISTER, as_text.clone()), id);
    assert_eq!(world.call(FIND, as_number)["userId"], id["userId"]);
    assert_eq!(world.call(FIND, as_text)["userId"], id["userId"]);
}

fn a_name_is_kept_until_another_is_given(world: &World) {
    let named = |name: Option<&str>| {
        let mut body = world.identity("bo");
        if let Some(name) = name {
            body["name"] = json!(name);
        }
        world.call(REGISTER, body).int("userId")
    };
    let found = || world.call(FIND, world.identity("bo"))["name"].clone();
    let id = named(None);
    assert_eq!(found(), Value::Null);
    assert_eq!(named(Some("Bo 博")), id);
    assert_eq!(found(), "Bo 博");
    assert_eq!(named(None), id);
    assert_eq!(found(), "Bo 博", "registering without a name leaves it");
    assert_eq!(named(Some("Robert")), id);
    assert_eq!(found(), "Robert");
}

fn finding_creates_nobody(world: &World) {
    for _ in 0..2 {
        world.refused(FIND, world.identity("nobody"), "registered");
    }
    let id = world.register("nobody");
    let found = world.post(FIND, world.identity("nobody"));
    assert_eq!(Keys::of(&found.body).0, ["userId", "name"]);
    assert_eq!(found.json().int("userId"), id);
}

fn incomplete_identities_are_refused_by_name(world: &World) {
    for key in ["company", "app", "thirdUserId"] {
        for value in [None, Some(Value::Null), Some(json!(""))] {
            let mut body = world.identity("x");
            match value {
                None => drop(body.as_object_mut().expect("an object").remove(key)),
                Some(value) => body[key] = value,
            }
            world.refused(REGISTER, body.clone(), key);
            world.refused(FIND, body, key);
        }
    }
}

fn wrong_types_are_refused_by_name(world: &World) {
    for (key, value) in [
        ("company", json!({})),
        ("app", json!(["x"])),
        ("thirdUserId", json!(true)),
        ("thirdUserId", json!({"id": 1})),
        ("name", json!([1])),
    ] {
        let mut body = world.identity("x");
        body[key] = value;
        world.refused(REGISTER, body, key);
    }
    world.refused(FIND, world.identity("x"), "registered");
    for body in ["[]", "7", "\"text\"", "null", "{\"company\":", ""] {
        let answer = http::Client::connect(world.http).post(REGISTER, body);
        assert_eq!(answer.status, 500, "{body}: {answer:?}");
        assert_eq!(answer.json()["code"], 500);
    }
}

fn unknown_keys_are_ignored(world: &World) {
    let id = world.register("plain");
    let mut body = world.identity("plain");
    body["avatar"] = json!({"deep": [1, 2.5, "x", null, {"y": true}]});
    body["userId"] = json!(77);
    assert_eq!(world.call(REGISTER, body).int("userId"), id);
}

fn names_are_bounded(world: &World) {
    let long = "n".repeat(256);
    let id = world.register(&long);
    assert_eq!(world.register(&long), id);
    for key in ["company", "app", "thirdUserId", "name"] {
        let mut body = world.identity("long");
        body[key] = json!("n".repeat(257));
        world.refused(REGISTER, body, key);
    }
    world.refused(FIND, world.identity("long"), "registered");
}

fn text_of_any_script_names_a_user(world: &World) {
    for name in ["鸿雁", "🪿", "a\"b\\c", "line\nbreak", "\u{0}", "'; drop table", "\u{202e}x"]
    {
        let id = world.register(name);
        assert_eq!(world.register(name), id, "{name:?}");
        let mut body = world.identity(name);
        body["name"] = json!(name);
        world.call(REGISTER, body);
        assert_eq!(world.call(FIND, world.identity(name))["name"], name);
    }
    let mut client = http::Client::connect(world.http);
    let mut id_of = |third: &str| {
        let body = format!(r#"{{"company":"esc","app":"esc","thirdUserId":"{third}"}}"#);
        client.post(REGISTER, &body).json().int("userId")
    };
    assert_eq!(id_of("\\u9e3f\\ud83e\\udebf"), id_of("鸿🪿"), "escapes are the same text");
}

/// Invariant 2 of chat::register.
fn many_who_register_at_once_as_one_are_one(world: &World) {
    let ids: BTreeSet<i64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..16).map(|_| scope.spawn(|| world.register("crowd"))).collect();
        threads.into_iter().map(|thread| thread.join().expect("it answers")).collect()
    });
    assert_eq!(ids.len(), 1, "{ids:?}");
}

fn the_answer_has_one_key(world: &World) {
    let answer = world.post(REGISTER, world.identity("anna"));
    assert_eq!(Keys::of(&answer.body).0, ["userId"]);
    let kind = answer.header("content-type").expect("JSON says that it is JSON");
    assert!(kind.starts_with("application/json"), "{kind}");
}
