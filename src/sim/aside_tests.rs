//! What comes for a user whose rows cannot be read.

use crate::api::{Refusal, Request};
use crate::ids::UserId;
use crate::limits::{ASIDE_EVERY_MS, ASIDE_PER_STEP_MAX};
use crate::metrics::Gauge;
use crate::sim::checkers::audit;
use crate::sim::prng::Prng;
use crate::sim::users::{Person, id, text};
use crate::sim::world::{Sent, World};
use crate::store::keys::{Key, Kind};
use crate::store::{Direction, Range, Store};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// Rows that are read when a message arrives.
const KINDS: [Kind; 8] = [
    Kind::User,
    Kind::Chat,
    Kind::HiddenChat,
    Kind::IdBlock,
    Kind::LateId,
    Kind::Waiting,
    Kind::Slot,
    Kind::PairBlock,
];

fn set_aside(world: &World) -> u64 {
    world.metrics.iter().map(|metrics| metrics.gauge(Gauge::SetAside)).sum()
}

/// Rows of what is set aside.
fn rows_aside(world: &World) -> usize {
    let (from, to) = (Key::of(Kind::Aside), Key::of(Kind::Aside).after());
    let range = Range { from: &from, to: &to, direction: Direction::Forward };
    let mut rows = 0;
    for shard in &world.shards {
        let mut visit = |_: &[u8], _: &[u8]| {
            rows += 1;
            ControlFlow::Continue(())
        };
        shard.store().scan(range, &mut visit).expect("nothing is damaged");
    }
    rows
}

/// An author at home on one shard, and two readers at home on the other.
fn three() -> (World, UserId, [UserId; 2]) {
    let mut world = World::new(2);
    let users: Vec<UserId> = (0..20).map(|n| world.register(&format!("u{n}"))).collect();
    let author = users[0];
    let mut others = users.into_iter().filter(|user| user.home(2) != author.home(2));
    let readers = [(); 2].map(|()| others.next().expect("names spread"));
    (world, author, readers)
}

/// The same rows, of which these of a user's home cannot be read.
fn restart_without(world: World, user: UserId, keys: &[Key]) -> World {
    let mut stores: Vec<_> = world.shards.iter().map(|shard| shard.store().crash()).collect();
    let keys = keys.iter().map(|key| key.to_vec()).collect();
    stores[usize::from(user.home(2).0)].set_damaged(keys);
    let mut world = World::open(stores, world.steady_ms()).expect("it opens all the same");
    world.settle();
    world
}

fn contents(world: &mut World, user: UserId) -> Vec<String> {
    let mut contents: Vec<String> = world.history(user).into_iter().map(|it| it.content).collect();
    contents.reverse();
    contents
}

fn acked(world: &mut World, person: Person) -> Vec<i64> {
    let sent = world.take_sent(person.connection).into_iter();
    sent.filter_map(|sent| match sent {
        Sent::Ack(id) => Some(id.number()),
        _ => None,
    })
    .collect()
}

/// Invariants 2 and 3 of chat::aside.
/// Invariant 4 of chat::damage.
#[test]
fn what_comes_for_a_user_whose_rows_cannot_be_read_waits_for_him_alone() {
    let (mut world, a, [b, c]) = three();
    let ann = world.connect(a);
    world.send(ann, text(1, b, "before"));
    world.send(ann, text(11, c, "before"));
    world.settle();
    let lost = [Key::user(b)];
    let mut world = restart_without(world, b, &lost);
    let (ann, cid) = (world.connect(a), world.connect(c));
    world.take_sent(cid.connection);
    for number in 2..=4 {
        world.send(ann, text(number, b, &format!("aside {number}")));
        world.send(ann, text(10 + number, c, &format!("to c {number}")));
    }
    world.settle();
    assert_eq!(acked(&mut world, ann), [2, 12, 3, 13, 4, 14]);
    assert_eq!(contents(&mut world, c), ["before", "to c 2", "to c 3", "to c 4"]);
    let pushed = world.take_sent(cid.connection);
    assert_eq!(pushed.len(), 3, "{pushed:?}");
    assert_eq!(set_aside(&world), 3);

    let mut world = restart_without(world, b, &lost);
    assert!(world.shards.iter().all(|shard| shard.is_replayed()), "nobody waits for this");
    world.pass(1);
    assert_eq!(set_aside(&world), 3, "they were tried, and are there still");
    let ann = world.connect(a);
    world.heal();
    // His rows can be read again, but what came before comes first; from his own shard, too.
    world.send(ann, text(20, b, "newer"));
    world.settle();
    let cid = world.connect(c);
    world.send(cid, text(30, b, "from c"));
    world.settle();
    assert_eq!(acked(&mut world, cid), [30]);
    assert_eq!((contents(&mut world, b).len(), set_aside(&world)), (1, 5));
    world.pass(ASIDE_EVERY_MS);
    world.settle();
    let expected = ["before", "aside 2", "aside 3", "aside 4", "newer", "from c"];
    assert_eq!(
        (contents(&mut world, b), set_aside(&world)),
        (expected.map(String::from).to_vec(), 0)
    );
    world.send(ann, text(21, b, "at once"));
    world.settle();
    assert_eq!(contents(&mut world, b).len(), 7);
    assert_eq!(rows_aside(&world), 0);
    audit(&world.shards.iter().map(|shard| shard.store()).collect::<Vec<_>>());
}

#[test]
fn much_that_was_set_aside_arrives_in_steps() {
    let (world, a, [b, _]) = three();
    let mut world = restart_without(world, b, &[Key::user(b)]);
    let ann = world.connect(a);
    let total = ASIDE_PER_STEP_MAX as i64 * 2 + 5;
    (1..=total).for_each(|number| world.send(ann, text(number, b, "x")));
    world.settle();
    assert_eq!(set_aside(&world), total as u64);
    let mut world = world.crash();
    let left: Vec<u64> = (0..3)
        .map(|_| {
            world.pass(1);
            set_aside(&world)
        })
        .collect();
    assert_eq!(left, [ASIDE_PER_STEP_MAX as u64 + 5, 5, 0]);
    let unread = world.call(Request::UnreadCount(b));
    assert_eq!(unread, Sent::Reply(crate::api::Reply::Count(total as u64)));
}

/// What a run has sent.
#[derive(Default)]
struct Story {
    /// By author and recipient, in order: number, and whether it was acked.
    sent: BTreeMap<(UserId, UserId), Vec<(i64, bool)>>,
    refused: usize,
    set_aside: u64,
}

/// Sends one message; whether it was acked is known when its shard has synced.
fn send_one(world: &mut World, story: &mut Story, people: &[Person], number: i64, prng: &mut Prng) {
    let (from, to) = (prng.below(6) as usize, prng.below(6) as usize);
    if from == to {
        return;
    }
    let (author, to) = (people[from], people[to].user);
    world.take_sent(author.connection);
    world.send(author, text(number, to, &number.to_string()));
    world.sync(usize::from(world.home(author.user).0));
    let sent = world.take_sent(author.connection);
    let is_refused = sent.contains(&Sent::Refused(Refusal::Unreadable));
    story.refused += usize::from(is_refused);
    if !is_refused {
        let is_acked = sent.contains(&Sent::Ack(id(number)));
        story.sent.entry((author.user, to)).or_default().push((number, is_acked));
    }
}

fn run(seed: u64, story: &mut Story) {
    let mut prng = Prng::new(seed);
    let mut world = World::new(3);
    let users: Vec<UserId> = (0..6).map(|n| world.register(&format!("u{n}"))).collect();
    let mut people: Vec<Person> = users.iter().map(|user| world.connect(*user)).collect();
    for number in 1..=160 {
        match prng.below(12) {
            0 => world.damage(&mut prng, &KINDS, 2),
            1 => world.heal(),
            2 => {
                story.set_aside += set_aside(&world);
                world = world.crash();
                people = users.iter().map(|user| world.connect(*user)).collect();
                world.damage(&mut prng, &KINDS, 3);
            }
            3 => world.pass_unsynced(ASIDE_EVERY_MS / 2),
            4 => world.settle(),
            _ => {
                // Most ids rise.
                let number = if prng.once_in(9) { number } else { number + 1_000 };
                send_one(&mut world, story, &people, number, &mut prng);
            }
        }
    }
    world.heal();
    world.settle();
    world.pass(ASIDE_EVERY_MS);
    world.pass(ASIDE_EVERY_MS);
    assert_eq!((set_aside(&world), rows_aside(&world)), (0, 0), "seed {seed}");
    check(&mut world, story, &users, seed);
    audit(&world.shards.iter().map(|shard| shard.store()).collect::<Vec<_>>());
}

/// Everybody has what he was sent, once, in its order.
fn check(world: &mut World, story: &Story, users: &[UserId], seed: u64) {
    for to in users {
        let mut arrived: BTreeMap<UserId, Vec<i64>> = BTreeMap::new();
        for kept in world.history(*to).into_iter().rev().filter(|kept| kept.from != *to) {
            arrived.entry(kept.from).or_default().push(kept.id.number());
        }
        for from in users.iter().filter(|from| *from != to) {
            let sent = story.sent.get(&(*from, *to)).map_or(&[][..], Vec::as_slice);
            let arrived = arrived.remove(from).unwrap_or_default();
            let expected: Vec<i64> = sent
                .iter()
                .filter(|(number, is_acked)| *is_acked || arrived.contains(number))
                .map(|(number, _)| *number)
                .collect();
            assert_eq!(arrived, expected, "seed {seed}: {from:?} to {to:?}");
        }
    }
}

/// Invariants 1 and 2 of chat::aside.
#[test]
fn nothing_that_was_set_aside_is_lost_doubled_or_reordered_whatever_crashes() {
    let (mut refused, mut aside) = (0, 0);
    for seed in 0..150 {
        let mut story = Story::default();
        run(seed, &mut story);
        refused += story.refused;
        aside += story.set_aside;
    }
    assert!(refused > 500 && aside > 500, "{refused} refused, {aside} set aside");
}
