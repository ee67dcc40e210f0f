//! Rows taken out and put in again.

use crate::chat::portable::{
    Builder, ForgottenChatItem, ForgottenIdsItem, ForgottenItem, Item, ItemError, visit_all,
};
use crate::sim::audit_tests::{Rows, settled_world};
use crate::store::keys::Kind;
use crate::store::parts::kind_of;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// Rows that belong to users, wherever they are at home.
pub(super) fn of_users(rows: &Rows) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let is_of_shard = |key: &[u8]| {
        let own = [Kind::Epoch, Kind::MintBound, Kind::Outbox, Kind::Applied];
        kind_of(key).is_some_and(|kind| own.contains(&kind))
    };
    let all = rows.all().into_iter().map(|((_, key), value)| (key, value));
    all.filter(|(key, _)| !is_of_shard(key)).collect()
}

/// All items as text.
fn exported(rows: &Rows) -> Vec<String> {
    let stores: Vec<_> = rows.0.iter().collect();
    let mut lines = Vec::new();
    let mut visit = |item: &Item<'_>| {
        lines.push(toml::to_string(item).expect("it is plain data"));
        ControlFlow::Continue(())
    };
    visit_all(&stores, &mut visit).expect("memory does not fail");
    lines
}

fn item(line: &str) -> Item<'static> {
    toml::from_str(line).expect("just written")
}

fn for_each_of(
    items: &mut dyn Iterator<Item = Item<'static>>,
    mut take: impl FnMut(Item<'static>) -> Result<(), ItemError>,
) -> Result<(), ItemError> {
    for item in items {
        take(item)?;
    }
    Ok(())
}

/// The rows that the items of these make.
pub(super) fn rebuilt(rows: &Rows) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let (mut builder, mut built) = (Builder::default(), BTreeMap::new());
    let mut put = |key: &[u8], value: &[u8]| {
        assert_eq!(built.insert(key.to_vec(), value.to_vec()), None, "each row is made once");
    };
    for line in exported(rows) {
        builder.take(&item(&line), &mut put).expect("it agrees");
    }
    builder.finish(&mut put);
    built
}

/// Invariant 1 of chat::portable.
#[test]
fn what_was_taken_out_and_put_in_again_gives_the_same_rows() {
    let rows = Rows::of(&settled_world().0);
    let (built, expected) = (rebuilt(&rows), of_users(&rows));
    for (key, value) in &expected {
        assert_eq!(built.get(key), Some(value), "{}", crate::store::parts::words(key));
    }
    assert_eq!(built.len(), expected.len());
}

/// Invariant 2 of chat::portable.
#[test]
fn items_that_contradict_themselves_are_refused() {
    let lines = exported(&Rows::of(&settled_world().0));
    let outcome = |lines: &mut dyn Iterator<Item = Item<'static>>| {
        let mut builder = Builder::default();
        for_each_of(lines, |item| builder.take(&item, &mut |_, _| ()))
    };
    let first_message = lines.iter().position(|line| line.starts_with("[message")).expect("one");
    let without = |left_out: usize| {
        let kept = lines.iter().enumerate().filter(move |(index, _)| *index != left_out);
        kept.map(|(_, line)| item(line))
    };
    assert_eq!(outcome(&mut without(usize::MAX)), Ok(()));
    assert_eq!(outcome(&mut without(0)), Err(ItemError::NoUser));
    assert_eq!(outcome(&mut without(first_message)), Err(ItemError::Gap));
    let mut stranger = item(&lines[0]);
    if let Item::User(user) = &mut stranger {
        user.user_id += 1;
    }
    assert_eq!(outcome(&mut [stranger].into_iter()), Err(ItemError::Identity));
    let mut late_chat = lines[..=first_message].to_vec();
    late_chat.push(lines[1].clone());
    assert_eq!(outcome(&mut late_chat.iter().map(|line| item(line))), Err(ItemError::Order));
}

/// Invariant 2 of chat::portable.
#[test]
fn nothing_comes_behind_the_last_number_there_is() {
    let lines = exported(&Rows::of(&settled_world().0));
    let outcome = |items: &[Item<'static>]| {
        let mut builder = Builder::default();
        let mut all = items.iter().cloned();
        for_each_of(&mut all, |item| builder.take(&item, &mut |_, _| ()))
    };
    let ids = || {
        let zero = || "0".to_owned();
        ForgottenIdsItem { indexed_up_to: zero(), highest_late: zero(), recent: Vec::new() }
    };
    let mut items = [item(&lines[0]), item(&lines[1])];
    if let Item::User(user) = &mut items[0] {
        let (highest_sent, highest_received) = ("0".to_owned(), "0".to_owned());
        let (last_seq, sent, received) = (u64::MAX, ids(), ids());
        let forgotten = ForgottenItem { last_seq, highest_sent, highest_received, sent, received };
        user.forgotten = Some(forgotten);
    }
    assert_eq!(outcome(&items), Err(ItemError::Range("lastSeq")));
    items[0] = item(&lines[0]);
    let all = ForgottenChatItem { messages: 0, recent: vec![], last_seq: 0, received: 0, sent: 0 };
    let many = [
        ("messages", ForgottenChatItem { messages: u64::MAX, recent: vec![1; 7], ..all.clone() }),
        ("received", ForgottenChatItem { received: u64::MAX, ..all.clone() }),
        ("sent", ForgottenChatItem { sent: u64::MAX, ..all.clone() }),
    ];
    for (field, forgotten) in many {
        let Item::Chat(chat) = &mut items[1] else { panic!("a chat follows its user") };
        chat.forgotten = Some(forgotten);
        assert_eq!(outcome(&items), Err(ItemError::Range(field)));
    }
}

/// Invariant 2 of chat::portable.
#[test]
fn nobody_waits_for_an_ack_of_his_own() {
    let lines = exported(&Rows::of(&settled_world().0));
    let (mut builder, mut user, mut refused) = (Builder::default(), 0, 0);
    for line in lines {
        let mut item = item(&line);
        let is_own = matches!(&item, Item::Message(message) if message.from == user);
        match &mut item {
            Item::User(next) => user = next.user_id,
            Item::Message(message) if is_own => message.waits = true,
            _ => {}
        }
        let outcome = builder.take(&item, &mut |_, _| ());
        if is_own {
            assert_eq!(outcome, Err(ItemError::Range("waits")));
            refused += 1;
            break;
        }
        assert_eq!(outcome, Ok(()));
    }
    assert!(refused > 0, "somebody has written");
}
