//! A day of random use of the rules alone, with crashes, and what must be true at its end.

use crate::api::{Acked, DeliveryState, Reply, Request};
use crate::chat::forget::Retention;
use crate::ids::{ShardId, UserId};
use crate::limits::FORGET_SWEEP_MS;
use crate::sim::checkers::audit;
use crate::sim::damage::REFUSED;
use crate::sim::prng::Prng;
use crate::sim::users::{Person, text};
use crate::sim::world::{Sent, World};
use crate::store::keys::Kind;
use crate::store::{Direction, Range, Store};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// What the users of a run know for certain.
#[derive(Clone, Default)]
struct Known {
    /// Messages whose Ack reached their author: (author, id) -> (recipient, content).
    acked: BTreeMap<(UserId, i64), (UserId, String)>,
    /// All that were ever sent.
    sent: BTreeMap<(UserId, i64), (UserId, String)>,
    /// Messages of each history that are kept; `None`: all.
    kept: Option<u64>,
}

/// What came of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ran {
    /// Of all rows at its end.
    pub digest: u64,
    /// Reads that met damage.
    pub met_damage: u64,
}

/// Runs one seed. With an odd one the disks are slow, with
/// one of three some messages cannot be read for a while, with one of five histories are forgotten
/// but for the newest few messages.
///
/// # Panics
/// When anything acked was lost, doubled, changed or reordered, or a count does not add up.
pub fn run(seed: u64) -> Ran {
    let mut prng = Prng::new(seed);
    let mut world = World::new(1 + prng.below(4) as u16);
    world.lane_room = 1 + prng.below(6) as usize;
    let mut users: Vec<UserId> = (0..6).map(|n| world.register(&format!("u{n}"))).collect();
    let mut people: Vec<Person> = users.iter().map(|user| world.connect(*user)).collect();
    let mut known = Known::default();
    let (mut cut, mut met_damage) = (None, 0);
    let retention =
        Retention { messages: seed.is_multiple_of(5).then(|| prng.below(30)), days: None };
    world.retain(retention);
    known.kept = retention.messages;
    let is_cold = seed % 2 == 1;
    let is_damaged = seed % 3 == 1;
    if is_cold {
        world.make_cold(seed);
    }
    for step in 1..200 {
        if is_cold {
            thaw_some(&mut world, &mut prng);
        }
        act(&mut world, &mut prng, &mut people, &mut known, step);
        note_acks(&mut world, &people, &mut known);
        if prng.once_in(40) {
            users.push(world.register(&format!("late {step}")));
            people.extend(users.last().map(|user| world.connect(*user)));
        }
        if prng.once_in(60) {
            met_damage += world.met_damage();
            world = world.crash();
            world.retain(retention);
            if is_cold {
                world.make_cold(seed + step as u64);
            }
            people = users.iter().map(|user| world.connect(*user)).collect();
            cut = None;
        }
        if prng.once_in(20) && cut.is_none() && world.want_cut() {
            cut = Some((users.clone(), known.acked.clone()));
        }
        if is_damaged && prng.once_in(30) {
            // Nothing is on its way: relays are read from messages.
            world.settle();
            world.damage(&mut prng, &[Kind::Message], 4);
        }
        if prng.once_in(4) {
            world.forget(prng.below(world.shards.len() as u64) as usize);
        }
        if prng.once_in(3) {
            world.look_for_cut(prng.below(world.shards.len() as u64) as usize);
        }
        if world.has_cut()
            && let Some((certain, acked)) = cut.take()
        {
            let known = Known { acked, ..known.clone() };
            check_cut(world.restored(), &mut prng, (&certain, &users), known);
        }
    }
    met_damage += world.met_damage();
    world.heal();
    world.settle();
    note_acks(&mut world, &people, &mut known);
    world.pass(1000);
    check(&mut world, &users, &known);
    check_forgotten(&mut world, &users, &known);
    Ran { digest: digest(&world), met_damage }
}

/// Slow disks give some of the rows that are waited for; now and then all is cold again.
fn thaw_some(world: &mut World, prng: &mut Prng) {
    for _ in 0..prng.below(8) {
        world.thaw_one();
    }
    if prng.once_in(10) {
        world.chill();
    }
}

/// A server that is started from a cut has all that was certain before, and goes on. Who registered
/// since is there with all that concerns him, or nothing of it.
fn check_cut(
    mut world: World,
    prng: &mut Prng,
    (certain, users): (&[UserId], &[UserId]),
    mut known: Known,
) {
    assert!(certain.iter().all(|user| world.knows(*user)), "a user is lost");
    let users: Vec<UserId> = users.iter().copied().filter(|user| world.knows(*user)).collect();
    world.pass(1000);
    check(&mut world, &users, &known);
    for user in &users {
        for kept in world.history(*user) {
            assert!(world.knows(kept.from) && world.knows(kept.to), "who wrote with {user:?}?");
        }
    }
    let mut people: Vec<Person> = users.iter().map(|user| world.connect(*user)).collect();
    for step in 1000..1030 {
        act(&mut world, prng, &mut people, &mut known, step);
        note_acks(&mut world, &people, &mut known);
    }
    world.settle();
    note_acks(&mut world, &people, &mut known);
    world.pass(1000);
    check(&mut world, &users, &known);
}

fn digest(world: &World) -> u64 {
    let all = Range { from: &[], to: &[0xFF; 8], direction: Direction::Forward };
    let mut digest = 0_u64;
    let mut add = |byte: &u8| digest = digest.wrapping_mul(0x100_0000_01B3) ^ u64::from(*byte);
    for shard in &world.shards {
        let scanned = shard.store().scan(all, &mut |key, value| {
            key.iter().chain(value).for_each(&mut add);
            ControlFlow::Continue(())
        });
        scanned.expect("memory does not fail");
    }
    digest
}

fn act(world: &mut World, prng: &mut Prng, people: &mut [Person], known: &mut Known, step: i64) {
    let who = prng.below(people.len() as u64) as usize;
    let shard = prng.below(world.shards.len() as u64);
    match prng.below(10) {
        0..=4 => {
            let to = people[prng.below(people.len() as u64) as usize].user;
            // Small ids are used by several authors; an old one is sent again now and then.
            let number = if prng.once_in(6) { 1 + prng.below(step as u64) as i64 } else { step };
            let author = people[who].user;
            let fresh = (to, format!("{step} of {seed}", seed = author.number()));
            let (to, content) = known.sent.entry((author, number)).or_insert(fresh).clone();
            world.send(people[who], text(number, to, &content));
        }
        5 => {
            let (user, after_seq, limit) = (people[who].user, 0, 10_000);
            let waiting = match world.call(Request::Offline { user, after_seq, limit }) {
                Sent::Messages(waiting) => waiting,
                refused => {
                    assert_eq!(refused, REFUSED);
                    Vec::new()
                }
            };
            if let Some(message) = waiting.get(prng.below(8) as usize) {
                let acked =
                    if prng.once_in(3) { Acked::UpTo(message.id) } else { Acked::One(message.id) };
                world.ack(people[who], acked);
            }
        }
        6 => {
            let to = ShardId(prng.below(world.shards.len() as u64) as u16);
            world.deliver(ShardId(shard as u16), to);
        }
        7 => world.sync(shard as usize),
        8 => {
            world.disconnect(people[who]);
            people[who] = world.connect(people[who].user);
        }
        _ => world.pass(prng.below(400)),
    }
}

fn note_acks(world: &mut World, people: &[Person], known: &mut Known) {
    for person in people {
        for sent in world.take_sent(person.connection) {
            if let Sent::Ack(source) = sent {
                let key = (person.user, source.number());
                known.acked.insert(key, known.sent[&key].clone());
            }
        }
    }
}

fn check(world: &mut World, users: &[UserId], known: &Known) {
    audit(&world.shards.iter().map(|shard| shard.store()).collect::<Vec<_>>());
    for user in users {
        let history = world.history(*user);
        assert!(history.len() < 200, "the run fits in one page");
        let mut seen = BTreeMap::new();
        for kept in &history {
            let key = (kept.from, kept.id.number());
            let (to, content) = &known.sent[&key];
            assert_eq!((&kept.to, &kept.content), (to, content), "a message was changed");
            assert_eq!(seen.insert(key, kept.seq), None, "a message is there twice");
        }
        // Who has fewer than are kept has forgotten none.
        let has_all = known.kept.is_none_or(|kept| (history.len() as u64) < kept);
        for (key, (to, _)) in &known.acked {
            if has_all && (key.0 == *user || to == user) {
                assert!(seen.contains_key(key), "{user:?} lost the acked message {key:?}");
            }
        }
        check_counts(world, *user, &history);
    }
    check_order(world, users, known);
}

/// When all was looked at, histories have as many messages as are kept.
fn check_forgotten(world: &mut World, users: &[UserId], known: &Known) {
    let Some(kept) = known.kept else { return };
    world.pass(FORGET_SWEEP_MS);
    for _ in 0..40 {
        world.pass(100);
        for shard in 0..world.shards.len() {
            world.forget(shard);
        }
        world.settle();
    }
    check(world, users, known);
    for user in users {
        let history = world.history(*user);
        let newest = history.first().map_or(0, |kept| kept.seq);
        assert_eq!(history.len() as u64, newest.min(kept), "{user:?} of {newest}");
        assert!(history.iter().map(|kept| kept.seq).rev().is_sorted());
    }
}

/// Offline list, states and unread counts, recomputed from the history.
fn check_counts(world: &mut World, user: UserId, history: &[crate::sim::world::Kept]) {
    let is_waiting = |kept: &&crate::sim::world::Kept| {
        kept.to == user && kept.from != user && kept.state != DeliveryState::Client
    };
    let mut expected: Vec<u64> = history.iter().filter(is_waiting).map(|kept| kept.seq).collect();
    expected.reverse();
    let waiting: Vec<u64> = world.offline(user).iter().map(|kept| kept.seq).collect();
    assert_eq!(waiting, expected, "the offline list of {user:?} is what is not acked");
    let received = history.iter().filter(|kept| kept.to == user && kept.from != user);
    let unread = received.filter(|kept| !kept.is_read).count() as u64;
    let counted = world.call(Request::UnreadCount(user));
    assert_eq!(counted, Sent::Reply(Reply::Count(unread)), "unread of {user:?}");
}

/// Both ends of a pair have the same messages in the same order of one author, in the same state.
fn check_order(world: &mut World, users: &[UserId], known: &Known) {
    for author in users {
        let sent = world.history(*author);
        for reader in users.iter().filter(|reader| *reader != author) {
            let of_pair =
                |kept: &&crate::sim::world::Kept| kept.from == *author && kept.to == *reader;
            let shown = |kept: &crate::sim::world::Kept| (kept.id, kept.state, kept.is_read);
            let mut there: Vec<_> =
                world.history(*reader).iter().filter(of_pair).map(shown).collect();
            let mut here: Vec<_> = sent.iter().filter(of_pair).map(shown).collect();
            if known.kept.is_some() {
                // One of the two may have forgotten more, of the oldest, which come last.
                let both = here.len().min(there.len());
                here.truncate(both);
                there.truncate(both);
            }
            assert_eq!(here, there, "{author:?} to {reader:?}");
        }
    }
}

/// Runs a range of seeds and names the one that fails. Returns how many reads met damage.
pub fn run_all(seeds: std::ops::Range<u64>) -> u64 {
    let run = |seed| match std::panic::catch_unwind(|| run(seed)) {
        Ok(ran) => ran.met_damage,
        Err(_) => panic!("replay with: a test that says crate::sim::rules::run({seed})"),
    };
    seeds.map(run).sum()
}
