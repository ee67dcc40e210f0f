//! Two homes that a power cut with `async` has parted: a recipient's has what the author's lost.

use crate::api::{Acked, DeliveryState};
use crate::ids::UserId;
use crate::sim::audit_tests::Rows;
use crate::sim::portable_tests::{of_users, rebuilt};
use crate::sim::tests::pairs;
use crate::sim::users::{Person, id, text};
use crate::sim::world::World;
use crate::store::memory::{Durability, MemoryStore};
use crate::store::{Batch, Store};

fn send(world: &mut World, ann: Person, to: UserId, ids: &[i64]) {
    for number in ids {
        world.send(ann, text(*number, to, &format!("words of {number}")));
        world.settle();
    }
}

/// Of 1 to 4 the author's home has lost 3 and 4, and he has sent these since.
fn parted(since: &[i64]) -> (World, UserId, UserId) {
    let (mut world, a, b) = pairs().remove(1);
    let home = usize::from(world.home(a).0);
    let (ann, bob) = (world.connect(a), world.connect(b));
    send(&mut world, ann, b, &[1, 2]);
    world.ack(bob, Acked::One(id(1)));
    let before = world.shards[home].store().crash();
    send(&mut world, ann, b, &[3, 4]);
    world.ack(bob, Acked::One(id(3)));
    world.settle();
    let mut world = world.part(home, before);
    let ann = world.connect(a);
    send(&mut world, ann, b, since);
    (0..20).for_each(|_| world.pass(1000));
    (world, a, b)
}

/// Nothing was sent since; as much as was lost; more, and some of it again.
const SINCE: [&[i64]; 4] = [&[], &[5], &[5, 6], &[5, 6, 7, 4, 3, 8]];

/// Invariant 3 of chat::audit.
#[test]
fn what_two_homes_disagree_about_is_told_as_such() {
    for since in SINCE {
        let (counts, findings) = Rows::of(&parted(since).0).audit();
        assert!(counts.findings > 0, "the author's home has lost some");
        assert!(findings.iter().all(|finding| finding.is_parted), "{since:?}: {findings:?}");
        assert_eq!(counts.parted, counts.findings);
    }
}

/// Invariant 1 of chat::portable.
#[test]
fn what_two_homes_disagree_about_is_taken_out_and_put_in_as_it_is() {
    for since in SINCE {
        let rows = Rows::of(&parted(since).0);
        assert_eq!(rebuilt(&rows), of_users(&rows), "{since:?}");
    }
}

/// Invariant 4 of chat::deliver.
#[test]
fn nor_is_it_when_both_are_at_home_on_one_shard_since() {
    for since in SINCE {
        let (world, a, b) = parted(since);
        let mut batch = Batch::new();
        rebuilt(&Rows::of(&world)).iter().for_each(|(key, row)| batch.put(key, row));
        let mut store = MemoryStore::default().with_durability(Durability::Manual);
        store.write(&batch).expect("memory does not fail");
        store.sync().expect("memory does not fail");
        let mut world = World::open(vec![store], 0).expect("they are whole");
        let ids = |world: &mut World| {
            let mut ids: Vec<_> = world.offline(b).iter().map(|kept| kept.id.number()).collect();
            ids.sort_unstable();
            ids
        };
        let before = ids(&mut world);
        let ann = world.connect(a);
        send(&mut world, ann, b, &[3, 4, 5, 6, 7, 8, 9]);
        let new = [5, 6, 7, 8, 9].into_iter().filter(|id| !since.contains(id));
        let mut expected: Vec<_> = before.into_iter().chain(new).collect();
        expected.sort_unstable();
        assert_eq!(ids(&mut world), expected, "{since:?}");
    }
}

/// Invariant 4 of chat::deliver.
#[test]
fn what_its_authors_home_has_lost_and_he_sends_again_is_not_stored_twice() {
    let (mut world, a, b) = pairs().remove(1);
    let home = usize::from(world.home(a).0);
    assert_ne!(world.home(a), world.home(b));
    let ann = world.connect(a);
    send(&mut world, ann, b, &[1]);
    let before = world.shards[home].store().crash();
    send(&mut world, ann, b, &[2, 3]);
    let mut world = world.part(home, before);
    let ann = world.connect(a);
    // A new one first, and more of them than were lost: numbers alone do not tell any more.
    send(&mut world, ann, b, &[4, 5, 2, 3, 6]);
    let offline: Vec<_> = world.offline(b).iter().map(|kept| kept.id.number()).collect();
    assert_eq!(offline, [1, 2, 3, 4, 5, 6]);
    // What its reader did with it is told anew, too.
    let bob = world.connect(b);
    world.ack(bob, Acked::UpTo(id(6)));
    let before = world.shards[home].store().crash();
    send(&mut world, ann, b, &[8, 9]);
    world.ack(bob, Acked::UpTo(id(9)));
    world.settle();
    let mut world = world.part(home, before);
    let ann = world.connect(a);
    send(&mut world, ann, b, &[10, 8, 9]);
    (0..20).for_each(|_| world.pass(1000));
    let nine = world.history(a).into_iter().find(|kept| kept.id == id(9));
    assert_eq!(nine.expect("it was sent again").state, DeliveryState::Client);
    // The same id with other words is another message: nothing acked is lost.
    let before = world.shards[home].store().crash();
    send(&mut world, ann, b, &[7]);
    let mut world = world.part(home, before);
    let ann = world.connect(a);
    world.send(ann, text(7, b, "other words"));
    world.settle();
    let words: Vec<_> = world.offline(b).into_iter().map(|kept| kept.content).collect();
    assert_eq!(words[1..], ["words of 7", "other words"]);
}
