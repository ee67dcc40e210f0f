//! What rules do about rows that cannot be read.

use crate::api::{Acked, PageStart, Refusal, Reply, Request};
use crate::chat::event::{Effect, Event};
use crate::chat::forget::Retention;
use crate::chat::turn::Turn;
use crate::ids::{ChatId, ShardId, UserId};
use crate::limits::{FORGET_SWEEP_MS, REDELIVER_AFTER_MS};
use crate::sim::checkers::audit;
use crate::sim::damage::REFUSED;
use crate::sim::prng::Prng;
use crate::sim::users::{Person, id, identity, text};
use crate::sim::world::{Sent, World};
use crate::store::keys::{Key, Kind};
use crate::store::{Store, StoreError};
use std::collections::BTreeSet;
use std::ops::ControlFlow;

/// All that a request may read.
const KINDS: [Kind; 11] = [
    Kind::Identity,
    Kind::User,
    Kind::Message,
    Kind::Chat,
    Kind::HiddenChat,
    Kind::ChatId,
    Kind::PairBlock,
    Kind::IdBlock,
    Kind::LateId,
    Kind::Waiting,
    Kind::Slot,
];
const USERS: usize = 6;
const MESSAGES: i64 = 300;

/// People who have written to each other, some of it acked, and nothing of it in memory.
fn world_of_some_history(prng: &mut Prng) -> (World, Vec<UserId>) {
    let mut world = World::new(1);
    let users: Vec<UserId> = (0..USERS).map(|n| world.register(&format!("u{n}"))).collect();
    let people: Vec<Person> = users.iter().map(|user| world.connect(*user)).collect();
    for number in 1..=MESSAGES {
        let (from, to) = (prng.below(USERS as u64) as usize, prng.below(USERS as u64) as usize);
        // Most ids rise.
        let number = if prng.once_in(9) { number } else { number + 1_000 };
        world.send(people[from], text(number, users[to], &content(users[from], number)));
        if prng.once_in(7) {
            world.ack(people[to], Acked::One(id(number)));
        }
    }
    world.settle();
    (world.crash(), users)
}

fn content(author: UserId, number: i64) -> String {
    format!("{number} of {}", author.number())
}

/// What somebody may ask for; a message under an id that may be his already.
fn request<'a>(prng: &mut Prng, users: &[UserId], text_of: &'a mut String) -> Request<'a> {
    let mut some = || users[prng.below(USERS as u64) as usize];
    let (user, peer) = (some(), some());
    let chat = ChatId::in_slot(user.slot(), 1 + prng.below(12));
    let number = 1 + prng.below(2_000) as i64;
    match prng.below(13) {
        0..=2 => {
            *text_of = content(user, number);
            Request::Send(text(number, peer, text_of))
        }
        3 => Request::Ack(Acked::One(id(number))),
        4 => Request::Ack(Acked::UpTo(id(number))),
        5 => Request::Auth { user, token: "token".into(), id: None },
        6 => Request::Page { user, start: PageStart::Number(1), size: 50 },
        7 => Request::PairPage { owner: user, peer, start: PageStart::Before(40), size: 50 },
        8 => Request::Offline { user, after_seq: 0, limit: 50 },
        9 => Request::ChatList { user, limit: 50 },
        10 => Request::Register { identity: identity("u3"), name: Some("new".into()) },
        11 => Request::ClearUnreadOf { owner: user, peer },
        _ => Request::DeleteChat(chat),
    }
}

/// Asks by a connection of its own; what was wanted, and the error that ended the shard.
fn ask(world: &mut World, user: UserId, request: Request<'_>) -> (Turn, Result<(), StoreError>) {
    let (mut turn, now) = (Turn::default(), world.now());
    let connection = world.connection(ShardId(0));
    let user = match request {
        Request::Send(_) | Request::Ack(_) => Some(user),
        _ => None,
    };
    let event = Event::Request { connection, user, request };
    let outcome = world.shards[0].apply(event, &now, &mut turn);
    (turn, outcome)
}

fn is_refused(effect: &Effect) -> bool {
    match effect {
        Effect::Reply { reply, .. } => *reply == Reply::Refused(Refusal::Unreadable),
        Effect::Refuse { refusal, .. } | Effect::RefuseAuth { refusal, .. } => {
            *refusal == Refusal::Unreadable
        }
        _ => false,
    }
}

/// Reads what lists are wanted; they end at what cannot be read.
fn read_lists(world: &mut World, turn: &mut Turn) {
    for effect in turn.now.extract_if(.., |effect| matches!(effect, Effect::List { .. })) {
        let Effect::List { mut listing, .. } = effect else { continue };
        let outcome = world.shards[0].list(&mut listing, &mut |_| ControlFlow::Continue(()));
        world.shards[0].unless_damaged(outcome).expect("it is damaged, nothing else");
    }
}

/// Invariants 1 and 2 of chat::damage.
#[test]
fn who_needs_a_damaged_row_is_refused_and_nothing_of_it_is_done() {
    let (mut refused, mut ended, mut done) = (0, 0, 0);
    for seed in 0..60 {
        let mut prng = Prng::new(seed);
        let (mut world, users) = world_of_some_history(&mut prng);
        world.damage(&mut prng, &KINDS, 1 + seed % 9);
        for _ in 0..60 {
            let user = users[prng.below(USERS as u64) as usize];
            let mut text_of = String::new();
            let request = request(&mut prng, &users, &mut text_of);
            let may_be_half = matches!(request, Request::Ack(Acked::UpTo(_)));
            let written = world.shards[0].store().written();
            let (mut turn, outcome) = ask(&mut world, user, request.clone());
            if let Err(error) = outcome {
                assert!(error.is_of_some_rows(), "{error}");
                assert_eq!(world.shards[0].store().written(), written, "half of {request:?}");
                ended += 1;
                world = world.crash();
                world.damage(&mut prng, &KINDS, 1 + seed % 9);
                continue;
            }
            let wanted = turn.now.len() + turn.durable.len() + turn.synced.len();
            let is_refused = turn.now.iter().any(is_refused);
            read_lists(&mut world, &mut turn);
            world.shards[0].end_turn(&mut turn).expect("memory does not fail");
            done += usize::from(!is_refused);
            refused += usize::from(is_refused);
            if is_refused && !may_be_half {
                assert_eq!((wanted, turn.settled.len()), (1, 0), "{request:?}");
                assert_eq!(world.shards[0].store().written(), written, "half of {request:?}");
            }
        }
        world.heal();
        world.settle();
        world.pass(1_000);
        audit(&world.shards.iter().map(|shard| shard.store()).collect::<Vec<_>>());
    }
    assert!(refused > 500 && done > 500, "{refused} refused, {done} done");
    assert!(ended * 50 < refused, "{ended} ended the shard");
}

/// The rows of these keys of one shard cannot be read from now on.
fn break_rows(world: &mut World, shard: ShardId, keys: &[Key]) {
    let keys = keys.iter().map(|key| key.to_vec()).collect();
    world.shards[usize::from(shard.0)].store_mut().set_damaged(keys);
}

fn send_some(world: &mut World, from: Person, to: UserId, numbers: std::ops::RangeInclusive<i64>) {
    for number in numbers {
        world.send(from, text(number, to, &content(from.user, number)));
    }
    world.settle();
}

#[test]
fn rows_of_another_shard_are_refused() {
    let mut world = World::new(2);
    let users: Vec<UserId> = (0..9).map(|n| world.register(&format!("u{n}"))).collect();
    let shards: BTreeSet<ShardId> = users.iter().map(|user| world.home(*user)).collect();
    assert_eq!(shards.len(), 2, "names spread");
    let exchanged = world.shards.iter().rev().map(|shard| shard.store().crash()).collect();
    let refusal = World::open(exchanged, 0).err();
    assert!(matches!(refusal, Some(StoreError::Misplaced { .. })), "{refusal:?}");
}

/// Invariant 3 of chat::damage.
#[test]
fn what_rules_do_by_themselves_passes_over_damaged_rows() {
    let mut world = World::new(1);
    let (a, b) = (world.register("a"), world.register("b"));
    let (ann, bob) = (world.connect(a), world.connect(b));
    send_some(&mut world, ann, b, 1..=5);
    world.ack(bob, Acked::One(id(1)));
    world.settle();
    world.take_sent(bob.connection);
    break_rows(&mut world, ShardId(0), &[Key::message(b, 3)]);
    world.pass(REDELIVER_AFTER_MS);
    let again: Vec<i64> = world
        .take_sent(bob.connection)
        .into_iter()
        .filter_map(|sent| match sent {
            Sent::Message { id, again: true, .. } => Some(id.number()),
            _ => None,
        })
        .collect();
    assert_eq!((again, world.met_damage()), (vec![2, 4, 5], 1));
    let offline = Request::Offline { user: b, after_seq: 0, limit: 9 };
    assert_eq!(world.call(offline.clone()), REFUSED);
    world.heal();
    let Sent::Messages(waiting) = world.call(offline) else { panic!("nothing is damaged") };
    assert_eq!(waiting.iter().map(|kept| kept.id.number()).collect::<Vec<_>>(), [2, 3, 4, 5]);
}

/// Invariant 3 of chat::damage.
#[test]
fn what_cannot_be_read_is_not_forgotten_nor_what_is_newer() {
    let mut world = World::new(1);
    let (a, b) = (world.register("a"), world.register("b"));
    let ann = world.connect(a);
    send_some(&mut world, ann, b, 1..=40);
    world.retain(Retention { messages: Some(5), days: None });
    let oldest = |world: &mut World, user| {
        world.pass(FORGET_SWEEP_MS);
        for _ in 0..40 {
            world.pass(100);
            world.forget(0);
        }
        world.settle();
        world.history(user).last().map(|kept| kept.seq)
    };
    break_rows(&mut world, ShardId(0), &[Key::message(b, 20)]);
    assert_eq!(oldest(&mut world, a), Some(36), "another's history is whole");
    assert!(world.met_damage() > 0);
    assert_eq!(world.call(Request::UnreadCount(b)), Sent::Reply(Reply::Count(25)));
    world.heal();
    assert_eq!(
        world.history(b).last().map(|kept| kept.seq),
        Some(16),
        "what lies beside it stays, too"
    );
    assert_eq!(oldest(&mut world, b), Some(36), "it was found again");
    audit(&world.shards.iter().map(|shard| shard.store()).collect::<Vec<_>>());
}

/// Invariant 1 of chat::damage.
#[test]
fn of_two_messages_under_one_id_the_one_that_can_be_read_is_acked() {
    let mut world = World::new(1);
    let [a, b, c] = ["a", "b", "c"].map(|name| world.register(name));
    for author in [a, c] {
        let person = world.connect(author);
        world.send(person, text(5, b, &content(author, 5)));
    }
    world.settle();
    let mut world = world.crash();
    break_rows(&mut world, ShardId(0), &[Key::message(b, 2)]);
    let bob = world.connect(b);
    for _ in 0..2 {
        world.ack(bob, Acked::One(id(5)));
        world.settle();
        assert!(world.take_sent(bob.connection).contains(&Sent::Refused(Refusal::Unreadable)));
    }
    world.heal();
    let waiting: Vec<u64> = world.offline(b).into_iter().map(|kept| kept.seq).collect();
    assert_eq!(waiting, [2]);
}
