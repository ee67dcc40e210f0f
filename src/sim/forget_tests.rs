//! Forgetting in the test world, where time passes when a test says so.

use crate::api::{Acked, PageStart, Refusal, Reply, Request};
use crate::chat::event::Event;
use crate::chat::forget::Retention;
use crate::ids::{ShardId, UserId};
use crate::limits::{FORGET_SWEEP_MS, FORGET_TICK_USERS};
use crate::sim::users::{Person, id, text};
use crate::sim::world::{Kept, Sent, World};
use crate::store::keys::{Key, Kind};
use crate::store::memory::MemoryStore;
use crate::store::parts::{Parts, kind_of, owned};
use crate::store::{Direction, Range, Store};
use std::ops::ControlFlow;

const DAY: u64 = 24 * 60 * 60 * 1_000;

fn by_number(messages: u64) -> Retention {
    Retention { messages: Some(messages), days: None }
}

fn by_age(days: u32) -> Retention {
    Retention { messages: None, days: Some(days) }
}

/// A world of so many shards and two users, connected; of two shards each has one.
fn pair(shards: u16, retention: Retention) -> (World, Person, Person) {
    let mut world = World::new(shards);
    world.retain(retention);
    let first = world.register("first");
    let others = (0..99).map(|n| world.register(&format!("second {n}")));
    let others: Vec<UserId> = others.collect();
    let is_apart = |user: &&UserId| shards == 1 || user.home(shards) != first.home(shards);
    let second = *others.iter().find(is_apart).expect("they are spread over the shards");
    let people = (world.connect(first), world.connect(second));
    (world, people.0, people.1)
}

fn forget_all(world: &mut World) {
    for _ in 0..40 {
        world.pass(100);
        for shard in 0..world.shards.len() {
            world.forget(shard);
        }
        world.settle();
    }
    crate::sim::checkers::audit(
        &world.shards.iter().map(|shard| shard.store()).collect::<Vec<_>>(),
    );
}

fn seqs(history: &[Kept]) -> Vec<u64> {
    history.iter().map(|kept| kept.seq).collect()
}

/// Keys of a user's rows of one kind.
fn keys_of(store: &MemoryStore, kind: Kind, user: UserId) -> Vec<Vec<u8>> {
    let (from, to) = owned(kind, user);
    let mut keys = Vec::new();
    let range = Range { from: &from, to: &to, direction: Direction::Forward };
    store
        .scan(range, &mut |key, _| {
            keys.push(key.to_vec());
            ControlFlow::Continue(())
        })
        .expect("memory does not fail");
    keys
}

/// Invariant 1 of chat::forget.
#[test]
fn by_number_all_but_the_newest_go() {
    for shards in [1, 2] {
        let (mut world, ann, bob) = pair(shards, by_number(20));
        for number in 1..=50 {
            world.send(ann, text(number, bob.user, "x"));
        }
        world.settle();
        forget_all(&mut world);
        for user in [ann.user, bob.user] {
            assert_eq!(seqs(&world.history(user)), (31..=50).rev().collect::<Vec<_>>());
        }
        let pair_of =
            |start, size| Request::PairPage { owner: ann.user, peer: bob.user, start, size };
        let page = world.messages(pair_of(PageStart::Number(2), 15));
        assert_eq!(seqs(&page), (31..=35).rev().collect::<Vec<_>>(), "a page ends there");
        assert_eq!(world.messages(pair_of(PageStart::Before(31), 15)), []);
        assert_eq!(world.messages(pair_of(PageStart::Before(33), 15)).len(), 2);
        let page = Request::Page { user: bob.user, start: PageStart::Number(3), size: 10 };
        assert_eq!(world.messages(page), []);
    }
}

/// Invariant 1 of chat::forget.
#[test]
fn by_age_all_before_the_first_that_is_younger_goes() {
    let (mut world, ann, bob) = pair(2, by_age(3));
    for day in 0..6_i64 {
        world.send(ann, text(100 + day, bob.user, "x"));
        world.settle();
        world.pass(DAY);
    }
    world.pass(DAY / 2);
    // As of the middle of day 6: of days 4 and 5 all is younger than three days.
    forget_all(&mut world);
    for user in [ann.user, bob.user] {
        assert_eq!(seqs(&world.history(user)), [6, 5]);
    }
    world.pass(30 * DAY);
    forget_all(&mut world);
    for user in [ann.user, bob.user] {
        assert_eq!(world.history(user), []);
        let Sent::Chats(chats) = world.call(Request::ChatList { user, limit: 9 }) else {
            panic!("chats stay")
        };
        assert_eq!((chats.len(), chats[0].last, chats[0].unread), (1, None, 0));
    }
    world.send(bob, text(500, ann.user, "again"));
    world.settle();
    assert_eq!(seqs(&world.history(ann.user)), [7], "places go on");
}

/// Invariant 2 of chat::forget.
#[test]
fn no_row_tells_of_a_forgotten_message() {
    let (mut world, ann, bob) = pair(2, by_number(10));
    // Rising ids and late ones, enough for blocks of all kinds; some are acked and read.
    for step in 0..300_i64 {
        let number = if step % 7 == 3 { 400 - step } else { 1000 + step };
        world.send(ann, text(number, bob.user, "x"));
        if step == 150 {
            world.settle();
            let waiting = world.offline(bob.user);
            waiting.iter().step_by(2).for_each(|kept| world.ack(bob, Acked::One(kept.id)));
        }
    }
    world.settle();
    forget_all(&mut world);
    let history = world.history(bob.user);
    assert_eq!(seqs(&history), (291..=300).rev().collect::<Vec<_>>());
    assert_eq!(seqs(&world.offline(bob.user)), (291..=300).collect::<Vec<_>>());
    let unread = world.call(Request::UnreadCount(bob.user));
    assert_eq!(unread, Sent::Reply(Reply::Count(10)));
    let store = world.shards[usize::from(world.home(bob.user).0)].store();
    assert_eq!(keys_of(store, Kind::Message, bob.user).len(), 10);
    let late = history.iter().filter(|kept| kept.id.number() < 1000).count();
    assert_eq!(keys_of(store, Kind::LateId, bob.user).len(), late);
    assert!(keys_of(store, Kind::IdBlock, bob.user).len() <= 3);
    assert!(keys_of(store, Kind::PairBlock, bob.user).len() <= 2);
    for key in keys_of(store, Kind::Waiting, bob.user) {
        let Some(Parts::Waiting { block, .. }) = Parts::of(&key) else { panic!("{key:?}") };
        assert!((block + 1) * 128 > 290, "nothing before waits");
    }
}

/// Invariant 3 of chat::forget.
#[test]
fn what_is_on_its_way_is_not_forgotten() {
    let (mut world, ann, bob) = pair(2, by_number(4));
    let home = usize::from(world.home(ann.user).0);
    for number in 1..=20 {
        world.send(ann, text(number, bob.user, "x"));
    }
    world.sync(home);
    // Nothing was delivered, so nothing is confirmed.
    world.forget(home);
    assert_eq!(world.history(ann.user).len(), 20);
    world = world.crash();
    world.retain(by_number(4));
    assert_eq!(world.history(bob.user).len(), 20, "a relay is read from the author's copy");
    forget_all(&mut world);
    assert_eq!((world.history(ann.user).len(), world.history(bob.user).len()), (4, 4));
}

/// Invariant 4 of chat::forget.
#[test]
fn one_event_forgets_so_many_and_the_next_goes_on() {
    let (mut world, ann, bob) = pair(1, Retention::default());
    for number in 1..=40 {
        world.send(ann, text(number, bob.user, "x"));
    }
    world.settle();
    world.retain(by_number(1));
    // The first sweep finds everybody.
    (0..20).for_each(|_| world.pass(100));
    let mut lengths = Vec::new();
    while let Some(user) = world.shards[0].next_to_forget() {
        world.turn(0, |_| Event::Forget { user });
        world.settle();
        if user == bob.user {
            lengths.push(world.history(user).len());
        }
    }
    assert_eq!(lengths, [25, 9, 1]);
    assert_eq!(world.history(ann.user).len(), 1);
}

/// Invariant 6 of chat::forget.
#[test]
fn a_forgotten_message_is_not_stored_again() {
    let (mut world, ann, bob) = pair(2, by_number(3));
    // Her history is long, his is not.
    world.send(ann, text(1, bob.user, "once"));
    (2..=30).for_each(|number| world.send(ann, text(number, ann.user, "a note")));
    world.settle();
    forget_all(&mut world);
    assert_eq!(world.history(bob.user).len(), 1);
    world.take_sent(ann.connection);
    world.send(ann, text(1, bob.user, "once"));
    world.send(ann, text(30, ann.user, "a note"));
    world.settle();
    let expected = [Sent::Refused(Refusal::IdUsed), Sent::Ack(id(30))];
    assert_eq!(world.take_sent(ann.connection), expected);
    assert_eq!(world.history(bob.user).len(), 1);
}

/// Invariant 7 of chat::forget.
#[test]
fn each_user_is_looked_at_once_in_a_sweep_and_few_in_a_tick() {
    let mut world = World::new(2);
    world.retain(by_number(100));
    let users: Vec<UserId> = (0..400).map(|n| world.register(&format!("u{n}"))).collect();
    let mut seen: Vec<UserId> = Vec::new();
    let look = |world: &mut World, seen: &mut Vec<UserId>, ticks: u64| {
        for _ in 0..ticks {
            world.pass(100);
            for shard in &mut world.shards {
                let before = seen.len();
                seen.extend(std::iter::from_fn(|| shard.next_to_forget()));
                assert!(seen.len() - before <= FORGET_TICK_USERS, "in one tick");
            }
        }
    };
    look(&mut world, &mut seen, 100);
    seen.sort_unstable();
    let mut all = users.clone();
    all.sort_unstable();
    assert_eq!(seen, all, "each of them once");
    world.pass(FORGET_SWEEP_MS - 100 * 100);
    seen.clear();
    look(&mut world, &mut seen, 100);
    seen.sort_unstable();
    assert_eq!(seen, all, "and once more");
    assert_eq!(users[0].home(2), ShardId(users[0].slot().index() % 2));
    assert!(kind_of(&Key::forgotten(users[0])).is_some());
}
