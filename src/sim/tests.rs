//! The rules, tried in the world: invariants of `chat` that no file can show alone.

use crate::api::{Acked, DeliveryState, Field, PageStart, Refusal, Reply, Request};
use crate::sim::users::{id, identity, text};
use crate::sim::world::{Sent, World};

/// A world, and two users who are at home on the same or on different shards.
pub(super) fn pairs() -> Vec<(World, crate::ids::UserId, crate::ids::UserId)> {
    let mut cases = Vec::new();
    for (shards, same) in [(1, true), (2, false), (4, true), (4, false)] {
        let mut world = World::new(shards);
        let first = world.register("first");
        let home_of = |user: crate::ids::UserId| user.home(shards);
        let second = (0..1000)
            .map(|n| world.register(&format!("second {n}")))
            .find(|user| (home_of(*user) == home_of(first)) == same)
            .expect("there is one in a thousand");
        cases.push((world, first, second));
    }
    cases
}

/// Invariant 1 of chat::send.
/// Invariant 3 of sim.
#[test]
fn a_message_is_acked_pushed_and_waits_until_it_is_acked() {
    for (mut world, a, b) in pairs() {
        let (ann, bob) = (world.connect(a), world.connect(b));
        world.take_sent(ann.connection);
        world.take_sent(bob.connection);
        world.send(ann, text(5000, b, "hello"));
        assert_eq!(world.take_sent(ann.connection), [], "nothing is acked before it is durable");
        world.settle();
        assert_eq!(world.take_sent(ann.connection), [Sent::Ack(id(5000))]);
        let pushed = world.take_sent(bob.connection);
        assert!(matches!(&pushed[..], [Sent::Message { content, again: false, .. }]
            if content == "hello"));
        world.pass(1000);
        assert_eq!(world.history(a)[0].state, DeliveryState::ServerToClientIng);
        assert_eq!(world.offline(b).len(), 1);
        world.ack(bob, Acked::One(id(5000)));
        world.pass(1000);
        assert_eq!(world.offline(b).len(), 0);
        assert_eq!(world.history(a)[0].state, DeliveryState::Client);
        assert_eq!(world.history(b)[0].state, DeliveryState::Client);
    }
}

/// Invariant 2 of chat::send.
#[test]
fn a_used_id_stores_nothing_again() {
    for (mut world, a, b) in pairs() {
        let ann = world.connect(a);
        world.take_sent(ann.connection);
        for content in ["one", "one", "two"] {
            world.send(ann, text(7, b, content));
        }
        world.settle();
        let sent = world.take_sent(ann.connection);
        assert_eq!(sent[0], Sent::Refused(Refusal::IdUsed));
        assert_eq!(sent[1..], [Sent::Ack(id(7)), Sent::Ack(id(7))]);
        assert_eq!((world.history(a).len(), world.history(b).len()), (1, 1));
    }
}

/// Invariant 3 of chat::send.
/// Invariant 2 of chat::shard.
#[test]
fn what_is_refused_changes_no_row() {
    let mut world = World::new(2);
    let a = world.register("a");
    let stranger = match world.call(Request::Register {
        identity: crate::api::Identity { company: "other".into(), ..identity("x") },
        name: None,
    }) {
        Sent::Reply(Reply::Registered(user)) => user,
        other => panic!("{other:?}"),
    };
    let ann = world.connect(a);
    world.settle();
    world.take_sent(ann.connection);
    let home = usize::from(world.home(a).0);
    let before = world.shards[home].store().row_count();
    let nobody = crate::ids::UserId::new(999_999).expect("positive");
    let drafts = [
        text(1, stranger, "x"),
        text(2, nobody, "x"),
        text(3, crate::ids::UserId::SYSTEM, "x"),
        crate::api::Draft { chat_type: crate::api::ChatType::Room, ..text(4, a, "x") },
        crate::api::Draft { from: Some(stranger), ..text(5, a, "x") },
    ];
    drafts.into_iter().for_each(|draft| world.send(ann, draft));
    world.settle();
    let unknown = Refusal::UnknownUser(Field("toUserId"));
    let expected = [
        unknown,
        unknown,
        Refusal::ToSystem,
        Refusal::NotBuilt(crate::api::ChatType::Room),
        Refusal::NotYou,
    ];
    assert_eq!(world.take_sent(ann.connection), expected.map(Sent::Refused));
    assert_eq!(world.shards[home].store().row_count(), before);
}

#[test]
fn a_full_disk_refuses_what_is_new_and_nothing_else() {
    for (mut world, a, b) in pairs() {
        let (ann, bob) = (world.connect(a), world.connect(b));
        world.send(ann, text(1, b, "before"));
        world.settle();
        world.take_sent(ann.connection);
        world.is_disk_full = true;
        world.send(ann, text(1, b, "before"));
        world.send(ann, text(2, b, "new"));
        world.send(ann, crate::api::Draft { id: None, ..text(3, b, "without an id") });
        world.settle();
        let full = Sent::Refused(Refusal::DiskFull);
        let mut sent = world.take_sent(ann.connection);
        sent.sort_by_key(|sent| *sent != Sent::Ack(id(1)));
        assert_eq!(sent, [Sent::Ack(id(1)), full.clone(), full.clone()]);
        let register = |name| Request::Register { identity: identity(name), name: None };
        assert_eq!(world.call(register("first")), Sent::Reply(Reply::Registered(a)));
        assert_eq!(world.call(register("new")), Sent::Reply(Reply::Refused(Refusal::DiskFull)));
        world.ack(bob, Acked::One(id(1)));
        world.settle();
        assert_eq!((world.offline(b).len(), world.history(b).len()), (0, 1));
        world.is_disk_full = false;
        world.send(ann, text(2, b, "new"));
        world.settle();
        assert_eq!(world.take_sent(ann.connection), [Sent::Ack(id(2))]);
    }
}

#[test]
fn the_first_ack_of_any_device_counts_and_others_are_ignored() {
    for (mut world, a, b) in pairs() {
        let (ann, bob, second) = (world.connect(a), world.connect(b), world.connect(b));
        world.send(ann, text(1, b, "x"));
        world.settle();
        for device in [bob, second] {
            let pushed = world.take_sent(device.connection);
            assert!(matches!(pushed[..], [Sent::Welcome { .. }, Sent::Message { .. }]));
        }
        world.ack(second, Acked::One(id(1)));
        world.ack(bob, Acked::One(id(1)));
        world.settle();
        assert_eq!(world.offline(b), []);
    }
}

/// Invariant 2 of chat::presence.
#[test]
fn the_17th_device_replaces_the_oldest() {
    let mut world = World::new(1);
    let a = world.register("a");
    let devices: Vec<_> = (0..17).map(|_| world.connect(a)).collect();
    assert_eq!(world.take_sent(devices[0].connection).last(), Some(&Sent::Closed));
    assert_ne!(world.take_sent(devices[1].connection).last(), Some(&Sent::Closed));
}

/// Invariant 1 of chat::notices.
#[test]
fn who_is_told_of_offline_messages_is_told_again_when_some_were_left_out() {
    for (mut world, a, b) in pairs() {
        let ann = world.connect(a);
        for number in 1..=5 {
            world.send(ann, text(number, b, "x"));
        }
        world.settle();
        let bob = world.connect(b);
        let welcome = Sent::Welcome { ack: None, waiting: 5 };
        assert_eq!(world.take_sent(bob.connection), [welcome]);
        let part = world.messages(Request::Offline { user: b, after_seq: 0, limit: 3 });
        assert_eq!(part.len(), 3);
        for kept in &part {
            assert_eq!(world.take_sent(bob.connection), []);
            world.ack(bob, Acked::One(kept.id));
            world.settle();
        }
        assert_eq!(world.take_sent(bob.connection), [Sent::Waiting(2)]);
    }
}

/// Invariants 1, 2 and 3 of chat::redeliver.
#[test]
fn an_unacked_push_comes_again_only_to_devices_that_ack() {
    for (mut world, a, b) in pairs() {
        let (ann, bob, mute) = (world.connect(a), world.connect(b), world.connect(b));
        world.send(ann, text(1, b, "first"));
        world.settle();
        world.ack(bob, Acked::One(id(1)));
        world.send(ann, text(2, b, "second"));
        world.settle();
        world.take_sent(bob.connection);
        world.take_sent(mute.connection);
        for round in 1..=7 {
            world.pass(crate::limits::REDELIVER_AFTER_MS + 1);
            let again = world.take_sent(bob.connection);
            assert_eq!(again.len(), usize::from(round <= 5), "round {round}: {again:?}");
        }
        assert_eq!(world.take_sent(mute.connection), []);
        assert_eq!(world.offline(b).len(), 1, "it waits whatever happens");
    }
}

/// Invariant 4 of chat::redeliver.
#[test]
fn what_is_not_on_disk_is_not_pushed_again_however_long_that_takes() {
    let mut world = World::new(1);
    let (a, b) = (world.register("a"), world.register("b"));
    let (ann, bob) = (world.connect(a), world.connect(b));
    world.send(ann, text(1, b, "first"));
    world.settle();
    world.ack(bob, Acked::One(id(1)));
    world.settle();
    world.take_sent(bob.connection);
    world.send(ann, text(2, b, "second"));
    world.pass_unsynced(crate::limits::REDELIVER_AFTER_MS + 1);
    assert_eq!(world.take_sent(bob.connection), []);
    world.sync(0);
    assert_eq!(world.take_sent(bob.connection).len(), 2, "pushed, and pushed again");
}

/// Invariant 2 of chat::history.
#[test]
fn pages_by_number_and_by_cursor_show_the_same() {
    for (mut world, a, b) in pairs() {
        let (ann, bob) = (world.connect(a), world.connect(b));
        for number in 1..=25 {
            let (from, to) = if number % 3 == 0 { (bob, a) } else { (ann, b) };
            world.send(from, text(number, to, "x"));
            world.settle();
        }
        world.send(ann, text(100, a, "a note"));
        world.settle();
        let pages = |world: &mut World, pair: bool| {
            let (mut numbered, mut by_cursor, mut before) = (Vec::new(), Vec::new(), None);
            for page in 1..=4 {
                let request = |start| match pair {
                    true => Request::PairPage { owner: a, peer: b, start, size: 8 },
                    false => Request::Page { user: a, start, size: 8 },
                };
                numbered.extend(world.messages(request(PageStart::Number(page))));
                let start = before.map_or(PageStart::Number(1), PageStart::Before);
                let next = world.messages(request(start));
                before = next.last().map(|kept| kept.seq).or(before);
                by_cursor.extend(next);
            }
            assert_eq!(numbered, by_cursor);
            numbered
        };
        assert_eq!(pages(&mut world, false).len(), 26);
        let pair = pages(&mut world, true);
        assert_eq!(pair.len(), 25);
        assert!(pair.windows(2).all(|two| two[0].seq > two[1].seq), "newest first");
    }
}

/// Invariant 1 of chat::history.
/// Invariant 3 of chat::records.
/// Invariant 3 of chat::shard.
#[test]
fn a_list_shows_nothing_that_came_after_it_was_asked_for() {
    let mut world = World::new(1);
    let (a, b) = (world.register("a"), world.register("b"));
    let ann = world.connect(a);
    world.send(ann, text(1, b, "x"));
    world.settle();
    let connection = world.connection(crate::ids::ShardId(0));
    let request = Request::Page { user: a, start: PageStart::Number(1), size: 10 };
    world.send(ann, text(2, b, "not durable yet"));
    world.turn(0, |_| crate::chat::event::Event::Request { connection, user: None, request });
    assert_eq!(world.take_sent(connection), [], "it waits for what it read");
    world.send(ann, text(3, b, "later"));
    world.sync(0);
    match &world.take_sent(connection)[..] {
        [Sent::Messages(page)] => assert_eq!(page.len(), 2),
        other => panic!("{other:?}"),
    }
}

/// Invariant 1 of chat::chats.
#[test]
fn clearing_reads_deleting_hides_and_a_new_message_brings_back_the_same_entry() {
    for (mut world, a, b) in pairs() {
        let ann = world.connect(a);
        (1..=3).for_each(|number| world.send(ann, text(number, b, "x")));
        world.settle();
        let chats = |world: &mut World| match world.call(Request::ChatList { user: b, limit: 10 }) {
            Sent::Chats(chats) => chats,
            Sent::Messages(none) if none.is_empty() => Vec::new(),
            other => panic!("{other:?}"),
        };
        let entry = chats(&mut world).remove(0);
        assert_eq!((entry.unread, entry.peer), (3, a));
        let chat = crate::ids::ChatId::new(entry.id as i64).expect("positive");
        assert_eq!(world.call(Request::ClearUnread(chat)), Sent::Reply(Reply::Empty));
        world.pass(1000);
        assert!(world.history(b).iter().all(|kept| kept.is_read));
        assert!(world.history(a).iter().all(|kept| kept.is_read), "its author sees it too");
        world.call(Request::DeleteChat(chat));
        assert_eq!(chats(&mut world), []);
        world.send(ann, text(4, b, "again"));
        world.settle();
        let back = chats(&mut world).remove(0);
        assert_eq!((back.id, back.unread, back.last), (entry.id, 1, Some(id(4))));
        assert_eq!(world.history(b).len(), 4, "its messages stayed");
    }
}

/// Invariant 1 of chat::register.
#[test]
fn one_identity_is_one_user_for_ever() {
    let mut world = World::new(4);
    let users: Vec<_> = (0..50).map(|n| world.register(&format!("n{n}"))).collect();
    let mut world = world.crash();
    let again: Vec<_> = (0..50).map(|n| world.register(&format!("n{n}"))).collect();
    assert_eq!(users, again);
    let mut distinct = users.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), 50);
}

/// Invariant 1 of chat::message_ids.
#[test]
fn minted_ids_rise_over_crashes() {
    let mut world = World::new(2);
    let mut last = 0;
    for _ in 0..5 {
        for _ in 0..20 {
            match world.call(Request::MintIds(None)) {
                Sent::Reply(Reply::Id(id)) => {
                    assert!(id.number() > last);
                    last = id.number();
                }
                other => panic!("{other:?}"),
            }
        }
        world = world.crash();
    }
}

/// Invariant 1 of chat::acknowledge.
/// Invariant 2 of chat::chats.
/// Invariants 1, 2 and 3 of chat::deliver.
/// Invariant 1 of chat::marks_relay.
/// Invariants 1, 2 and 3 of chat::outbox.
/// Invariant 4 of sim.
#[test]
fn nothing_acked_is_lost_doubled_or_reordered_whatever_crashes() {
    let met_damage = crate::sim::rules::run_all(0..300);
    assert!(met_damage > 300, "{met_damage}: what cannot be read is met, too");
}

/// Invariant 1 of chat.
/// Invariant 1 of chat::shard.
/// Invariant 1 of sim.
#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..20 {
        assert_eq!(crate::sim::rules::run(seed), crate::sim::rules::run(seed), "seed {seed}");
    }
    assert_ne!(crate::sim::rules::run(1).digest, crate::sim::rules::run(2).digest);
}

/// Invariant 3 of chat::acknowledge.
#[test]
fn one_turn_acks_no_more_than_a_step_and_ticks_do_the_rest() {
    let mut world = World::new(1);
    let (a, b) = (world.register("a"), world.register("b"));
    let (ann, bob) = (world.connect(a), world.connect(b));
    let total = crate::limits::ACKS_PER_STEP_MAX as i64 + 500;
    (1..=total).for_each(|number| world.send(ann, text(number, b, "x")));
    world.settle();
    world.take_sent(bob.connection);
    world.ack(bob, Acked::UpTo(id(total)));
    world.settle();
    assert_eq!(world.offline(b).len(), 500);
    world.pass(1);
    assert_eq!(world.offline(b).len(), 0);
}

/// Invariant 2 of chat::marks_relay.
#[test]
fn a_chat_tells_of_its_marks_once_in_a_while_however_often_they_change() {
    use crate::chat::event::{Effect, Event};
    use crate::limits::MARKS_EVERY_MS;
    let (mut world, a, b) = pairs().remove(1);
    let (ann, bob) = (world.connect(a), world.connect(b));
    world.pass(1000);
    let home = usize::from(world.home(b).0);
    let (mut now, mut notices) = (world.now(), Vec::new());
    for step in 1..=100_u64 {
        world.send(ann, text(step as i64, b, "x"));
        world.settle();
        world.ack(bob, Acked::One(id(step as i64)));
        now.steady_ms += 10;
        let mut turn = crate::chat::turn::Turn::default();
        world.shards[home].apply(Event::Tick, &now, &mut turn).expect("memory does not fail");
        world.shards[home].end_turn(&mut turn).expect("memory does not fail");
        let marks = turn.durable.iter().filter(|effect| matches!(effect, Effect::Marks { .. }));
        notices.extend(marks.map(|_| now.steady_ms));
    }
    assert!(notices.len() >= 4, "{notices:?}");
    assert!(notices.windows(2).all(|two| two[1] >= two[0] + MARKS_EVERY_MS), "{notices:?}");
}
