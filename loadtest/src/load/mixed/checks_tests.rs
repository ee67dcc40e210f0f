//! Answers that are true, and each way in which they can be wrong.

use super::*;
use serde_json::{Value, json};

/// Two people: 0 has sent `numbers.0` messages to 1, who has sent `numbers.1` back; all are
/// stored, none is taken.
fn model(numbers: (u64, u64)) -> Model {
    let mut model = Model::new(vec![7, 8], 2);
    for (author, reader, count) in [(0, 1, numbers.0), (1, 0, numbers.1)] {
        let channel = model.channel_mut(author, reader);
        channel.sent_us = vec![0; count as usize];
        channel.stored = count;
    }
    model
}

fn content(model: &Model, author: usize, number: u64) -> String {
    let mut content = Vec::new();
    words::content(&mut content, model.user(author), number);
    String::from_utf8(content).expect("ASCII")
}

fn kept(model: &Model, author: usize, number: u64, seq: u64) -> Value {
    let reader = 1 - author;
    json!({
        "id": model.id(author, reader, number), "seq": seq,
        "fromUserId": model.user(author), "toUserId": model.user(reader),
        "content": content(model, author, number), "isRead": false,
    })
}

fn offline(model: &Model, list: &[Value]) -> Result<Waiting> {
    let body = serde_json::to_vec(list).expect("JSON");
    model.check_offline(1, &model.floor(1), &body)
}

#[test]
fn an_offline_list_is_exactly_what_is_missing() {
    let mut model = model((4, 0));
    model.channel_mut(0, 1).taken = 1;
    let list: Vec<Value> = (1..4).map(|number| kept(&model, 0, number, number)).collect();
    let last = Some(model.id(0, 1, 3));
    assert_eq!(offline(&model, &list).expect("it is right"), Waiting { known: vec![4], last });
    assert!(offline(&model, &list[1..]).is_err(), "the first is lost");
    assert!(offline(&model, &list[..2]).is_err(), "the last is lost");
    let with = |place: usize, item: Value| {
        let mut list = list.clone();
        list[place] = item;
        offline(&model, &list)
    };
    assert!(with(1, list[0].clone()).is_err(), "one is doubled");
    assert!(with(0, kept(&model, 0, 0, 1)).is_err(), "it was acked");
    let mut changed = list[1].clone();
    changed["content"] = json!("7 2 changed");
    assert!(with(1, changed).is_err(), "one is changed");
    let mut swapped = list.clone();
    swapped.swap(0, 1);
    assert!(offline(&model, &swapped).is_err(), "two are out of order");
    assert!(offline(&model, &[list, vec![kept(&model, 0, 4, 5)]].concat()).is_err(), "not sent");
}

#[test]
fn what_is_on_its_way_may_be_in_a_list_or_not() {
    let mut model = model((2, 0));
    model.channel_mut(0, 1).stored = 1;
    let list: Vec<Value> = (0..2).map(|number| kept(&model, 0, number, number)).collect();
    for end in [1, 2] {
        offline(&model, &list[..end]).expect("both are right");
    }
    assert!(offline(&model, &[]).is_err(), "the first was acked");
}

/// Reads pages of two in turn; gives where the last one goes on.
fn pages(model: &Model, pages: &[&[Value]]) -> Result<Option<i64>> {
    let mut scroll = Model::scroll(&model.floor(1), 0);
    for page in pages {
        let body = serde_json::to_vec(page).expect("JSON");
        model.check_page(1, 0, &mut scroll, 2, &body)?;
    }
    Ok(scroll.before)
}

#[test]
fn pages_leave_nothing_out_from_the_newest_to_the_first() {
    let model = model((3, 1));
    let all: Vec<Value> = [(0, 2, 4), (0, 1, 3), (1, 0, 2), (0, 0, 1)]
        .map(|(author, number, seq)| kept(&model, author, number, seq))
        .to_vec();
    assert_eq!(pages(&model, &[&all[..2]]).expect("it is right"), Some(3));
    assert_eq!(pages(&model, &[&all[..2], &all[2..]]).expect("they are right"), Some(1));
    assert_eq!(pages(&model, &[&all[..2], &all[2..], &[]]).expect("they are right"), None);
    assert!(pages(&model, &[&all[..2], &all[2..3]]).is_err(), "the first is lost");
    assert!(pages(&model, &[&all[..2], &[]]).is_err(), "two are lost");
    assert!(pages(&model, &[&all[1..3]]).is_err(), "the newest is lost");
    assert!(pages(&model, &[&all[..2], &all[1..3]]).is_err(), "one is doubled");
    assert!(pages(&model, &[&all[..2], &all[3..]]).is_err(), "one between is lost");
    let swapped = [all[1].clone(), all[0].clone()];
    assert!(pages(&model, &[&swapped]).is_err(), "two are out of order");
    assert!(pages(&model, &[&all[..3]]).is_err(), "a page is too long");
}

fn chat(model: &Model, unread: u64, last: (usize, u64)) -> Value {
    json!([{
        "toUserId": 7, "unReadCount": unread,
        "lastMsgId": {
            "id": model.id(last.0, 1 - last.0, last.1), "content": content(model, last.0, last.1),
        },
    }])
}

#[test]
fn a_chat_list_has_each_chat_its_last_message_and_what_is_unread() {
    let mut model = model((5, 2));
    let check = |model: &Model, list: Value| {
        model.check_chats(1, &model.floor(1), &serde_json::to_vec(&list).expect("JSON"))
    };
    check(&model, chat(&model, 5, (0, 4))).expect("it is right");
    check(&model, chat(&model, 5, (1, 1))).expect("that may be the last, too");
    assert!(check(&model, chat(&model, 4, (0, 4))).is_err(), "a wrong count");
    assert!(check(&model, chat(&model, 5, (0, 3))).is_err(), "not the last");
    assert!(check(&model, json!([])).is_err(), "the chat is lost");
    let twice = chat(&model, 5, (0, 4))[0].clone();
    assert!(check(&model, json!([twice.clone(), twice])).is_err(), "it is doubled");
    model.note_read(1, &model.floor(1), 0);
    model.channel_mut(0, 1).sent_us.push(0);
    for unread in [0, 1] {
        let one = chat(&model, unread, (0, 4));
        check(&model, one).expect("one message is on its way");
    }
    assert!(check(&model, chat(&model, 2, (0, 4))).is_err(), "a wrong count");
}

#[test]
fn the_count_of_all_that_is_unread_is_that_of_the_chats() {
    let model = model((5, 2));
    let check = |owner, count| {
        model.check_unread(owner, &model.floor(owner), format!(r#"{{"count":{count}}}"#).as_bytes())
    };
    check(1, 5).expect("it is right");
    check(0, 2).expect("it is right");
    assert!(check(1, 4).is_err() && check(1, 6).is_err() && check(0, 7).is_err());
}
