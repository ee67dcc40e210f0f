//! People without a server: what they do, and what they do not let pass.

use super::super::day::BUILT_IN_NAME;
use super::*;
use serde_json::json;

/// Two people who write to each other, and nothing planned.
fn people() -> People {
    let mut day = Day::read(BUILT_IN_NAME).expect("it is ours");
    (day.users, day.circle) = (2, 2);
    let mut people = People::new(day, vec![7, 8], 1);
    people.plan.forget();
    people
}

fn ack(id: i64) -> String {
    format!(r#"{{"msgType":"Ack","content":"{{\"srcId\":{id}}}","id":5}}"#)
}

fn content(people: &People, author: usize, number: u64) -> String {
    let mut content = Vec::new();
    words::content(&mut content, people.model.user(author), number);
    String::from_utf8(content).expect("ASCII")
}

fn message(people: &People, author: usize, number: u64) -> String {
    let (id, content) =
        (people.model.id(author, 1 - author, number), content(people, author, number));
    let [from, to] = [author, 1 - author].map(|person| people.model.user(person));
    let users = format!(r#""fromUserId":{from},"toUserId":{to}"#);
    format!(r#"{{"msgType":"Text",{users},"content":"{content}","id":{id},"isRead":false}}"#)
}

/// An offline list of what 0 has written to 1.
fn list(people: &People, numbers: std::ops::Range<u64>) -> Vec<u8> {
    let item = |number| {
        json!({
            "id": people.model.id(0, 1, number), "seq": number, "fromUserId": 7, "toUserId": 8,
            "content": content(people, 0, number),
        })
    };
    serde_json::to_vec(&numbers.map(item).collect::<Vec<_>>()).expect("JSON")
}

/// Says a frame to somebody; gives what he answers at once.
fn hear(people: &mut People, person: usize, text: &str) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    people.hear(person, text.as_bytes(), &mut out, 0)?;
    Ok(out)
}

/// Gives somebody this message of 0.
fn get(people: &mut People, person: usize, number: u64) -> Result<Vec<u8>> {
    let text = message(people, 0, number);
    hear(people, person, &text)
}

/// Gives 0 the Ack of this message of his.
fn get_ack(people: &mut People, number: u64) -> Result<Vec<u8>> {
    let text = ack(people.model.id(0, 1, number));
    hear(people, 0, &text)
}

/// Somebody comes, so far that he fetches what he missed.
fn come(people: &mut People, person: usize) {
    people.come(person, 0);
    people.connected(person, &mut Vec::new());
    hear(people, person, &ack(people.model.user(person))).expect("an Ack");
}

fn come_wholly(people: &mut People, person: usize) {
    come(people, person);
    people.answered(person, 200, b"[]", 0).expect("nothing waits");
    people.todo.clear();
}

#[test]
fn whoever_is_there_gets_each_message_once_unchanged_and_in_order() {
    let mut people = people();
    (0..2).for_each(|person| come_wholly(&mut people, person));
    assert!(get(&mut people, 1, 0).is_err(), "it was not sent");
    (0..3).for_each(|_| people.send(0, 0, 0));
    let first = message(&people, 0, 0);
    let acked = hear(&mut people, 1, &first).expect("it is right");
    let mut expected = Vec::new();
    words::ack(&mut expected, people.model.id(0, 1, 0));
    assert_eq!(acked, expected);
    assert!(hear(&mut people, 1, &first).is_err(), "twice");
    assert!(get(&mut people, 1, 2).is_err(), "one is left out");
    let changed = message(&people, 0, 1).replace("7 1 ", "7 2 ");
    assert!(hear(&mut people, 1, &changed).is_err(), "changed");
    assert!(get(&mut people, 0, 1).is_err(), "to the wrong one");
    assert!(get_ack(&mut people, 1).is_err(), "an Ack too early");
    get_ack(&mut people, 0).expect("the first Ack");
    let strange = ack(people.model.id(0, 1, 1));
    assert!(hear(&mut people, 1, &strange).is_err(), "an Ack of another's message");
}

#[test]
fn what_comes_while_he_fetches_must_follow_what_he_finds() {
    for (found, is_right) in [(0..1, true), (0..2, true), (0..0, false)] {
        let mut people = people();
        come_wholly(&mut people, 0);
        (0..2).for_each(|_| people.send(0, 0, 0));
        come(&mut people, 1);
        let answered = get(&mut people, 1, 1).expect("it may come first");
        assert_eq!(answered, b"", "it is acked with the rest");
        let list = list(&people, found.clone());
        assert_eq!(people.answered(1, 200, &list, 0).is_ok(), is_right, "{found:?}");
        if is_right {
            assert_eq!(people.model.channel(0, 1).taken, 2);
        }
    }
}

#[test]
fn what_he_has_found_may_still_come_but_not_what_was_there_before_him() {
    let mut people = people();
    come_wholly(&mut people, 0);
    (0..3).for_each(|_| people.send(0, 0, 0));
    get_ack(&mut people, 0).expect("the first Ack");
    come(&mut people, 1);
    let list = list(&people, 0..3);
    people.answered(1, 200, &list, 0).expect("it is right");
    assert!(get(&mut people, 1, 0).is_err(), "the server had it when he came");
    assert_eq!(get(&mut people, 1, 1).expect("it came while he did"), b"", "it is acked");
    assert!(get(&mut people, 1, 1).is_err(), "twice");
    get(&mut people, 1, 2).expect("the next");
    people.send(0, 0, 0);
    assert_ne!(get(&mut people, 1, 3).expect("the next"), b"");
    assert_eq!(people.model.channel(0, 1).taken, 4);
}

#[test]
fn whoever_goes_finds_again_what_he_did_not_ack() {
    let mut people = people();
    (0..2).for_each(|person| come_wholly(&mut people, person));
    people.send(0, 0, 0);
    people.part(1);
    assert!(matches!(people.todo.last(), Some(Todo::Say(1, _))), "his last words");
    let late = get(&mut people, 1, 0).expect("it may still come");
    assert_eq!(late, b"");
    assert!(people.disconnected(1, "too early").is_err());
    hear(&mut people, 1, &ack(8)).expect("his last words are heard");
    assert_eq!(people.todo.last(), Some(&Todo::Cut(1)));
    people.disconnected(1, "as he wished").expect("he ended it");
    get_ack(&mut people, 0).expect("it is stored");
    come(&mut people, 1);
    assert!(people.answered(1, 200, b"[]", 0).is_err(), "it must be there");
    come_again_and_go_without_a_notice(people);
}

/// He has come, and messages waited, but nobody told him so.
fn come_again_and_go_without_a_notice(mut people: People) {
    let list = list(&people, 0..1);
    people.ask(1, super::super::asking::What::Offline, 0);
    people.answered(1, 200, &list, 0).expect("it is right");
    assert_eq!((people.found, people.model.channel(0, 1).taken), (1, 1));
    people.part(1);
    assert!(hear(&mut people, 1, &ack(8)).is_err(), "the notice is lost");
}

#[test]
fn nobody_goes_before_his_messages_are_acked() {
    let mut people = people();
    come_wholly(&mut people, 0);
    people.send(0, 0, 0);
    people.todo.clear();
    people.part(0);
    assert_eq!(people.todo, []);
    get_ack(&mut people, 0).expect("an Ack");
    assert!(matches!(people.todo.last(), Some(Todo::Say(0, _))));
}

#[test]
fn a_refusal_is_an_error() {
    let mut people = people();
    come(&mut people, 0);
    assert!(people.answered(0, 503, b"{}", 0).is_err());
    assert!(people.answered(0, 200, b"[]", 0).is_err(), "nobody asked");
    assert!(hear(&mut people, 0, r#"{"msgType":"Error","content":"x"}"#).is_err());
}
