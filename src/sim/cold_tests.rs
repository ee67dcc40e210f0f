//! Requests and lists over a cold disk, in the test world, which refuses reads of cold rows.

use crate::api::{Acked, DeliveryState, PageStart, Reply, Request};
use crate::ids::{ChatId, UserId};
use crate::sim::users::{Person, id, identity, text};
use crate::sim::world::{Sent, World};
use crate::store::Store;

/// Two users with a history of several blocks of everything, some of it acked, and ids out of
/// order; whoever is asked now has nothing in memory.
fn cold_world(shards: u16) -> (World, UserId, UserId) {
    let mut world = World::new(shards);
    let (a, b) = (world.register("a"), world.register("b"));
    let others: Vec<_> = (0..20).map(|n| world.register(&format!("other {n}"))).collect();
    let (ann, bob) = (world.connect(a), world.connect(b));
    for number in 1..=700_i64 {
        let (from, to) = if number % 3 == 0 { (bob, a) } else { (ann, b) };
        let out_of_order = if number % 50 == 0 { number - 45 } else { number + 1000 };
        world.send(from, text(out_of_order, to, "some text"));
        if number % 40 == 0 {
            let other = others[number as usize / 40 % others.len()];
            world.send(ann, text(number + 3000, other, "to others"));
        }
        if number % 90 == 1 {
            world.settle();
            let waiting = world.offline(b);
            world.ack(bob, Acked::UpTo(waiting[waiting.len() / 5].id));
        }
    }
    world.settle();
    world.pass(5000);
    let mut world = world.crash();
    world.settle();
    let mut world = world.crash();
    world.make_cold(u64::from(shards));
    (world, a, b)
}

/// Whether anything had to wait for the disk in there.
#[track_caller]
fn parks<R>(world: &mut World, act: impl FnOnce(&mut World) -> R) -> R {
    let before = world.parked();
    let result = act(world);
    world.thaw();
    assert!(world.parked() > before, "nothing was lacking on a cold disk");
    result
}

/// Invariant 3 of chat::needs.
/// Invariant 1 of chat::history::ahead.
/// Invariant 2 of sim::cold.
#[test]
fn requests_and_lists_that_lack_nothing_read_no_cold_row() {
    for shards in [1, 2, 4] {
        let (mut world, a, b) = cold_world(shards);
        let page = |start| Request::Page { user: a, start, size: 200 };
        let pair = |start| Request::PairPage { owner: a, peer: b, start, size: 200 };
        let newest = parks(&mut world, |world| world.messages(page(PageStart::Number(1))));
        let older = world.messages(page(PageStart::Before(newest[199].seq)));
        assert_eq!((newest.len(), older.len(), older[0].seq), (200, 200, newest[199].seq - 1));
        let of_pair = parks(&mut world, |world| world.messages(pair(PageStart::Number(3))));
        let before = PageStart::Before(of_pair[0].seq + 1);
        world.chill();
        let again = parks(&mut world, |world| world.messages(pair(before)));
        assert_eq!(of_pair, again);
        let waiting = parks(&mut world, |world| world.offline(b));
        assert!(waiting.len() > 150 && waiting.iter().all(|kept| kept.to == b));
        let chats =
            parks(&mut world, |world| world.call(Request::ChatList { user: a, limit: 100 }));
        assert!(matches!(chats, Sent::Chats(chats) if chats.len() > 10));
    }
}

/// Invariant 3 of chat::needs.
/// Invariant 1 of sim::cold.
#[test]
fn sending_and_acking_on_a_cold_disk_is_done_in_order_and_waits_first() {
    for shards in [1, 2, 4] {
        let (mut world, a, b) = cold_world(shards);
        let (ann, bob) = parks(&mut world, |world| (world.connect(a), world.connect(b)));
        world.send(ann, text(9000, b, "one"));
        world.send(ann, text(9001, b, "two"));
        // Long sent already, and out of order.
        world.send(ann, text(5, b, "some text"));
        world.send(ann, text(7, b, "late and new"));
        world.settle();
        let acks = world.take_sent(ann.connection).into_iter().filter_map(|sent| match sent {
            Sent::Ack(source) => Some(source.number()),
            Sent::Refused(_) => panic!("nothing is refused"),
            _ => None,
        });
        assert_eq!(acks.collect::<Vec<_>>(), [9000, 9001, 5, 7]);
        let mut world = world.crash();
        world.make_cold(7);
        let bob = Person { connection: world.connect(b).connection, ..bob };
        let waiting = world.offline(b);
        let mut world = world.crash();
        world.make_cold(8);
        let bob = Person { connection: world.connect(b).connection, ..bob };
        world.thaw();
        parks(&mut world, |world| world.ack(bob, Acked::One(waiting[3].id)));
        world.ack(bob, Acked::Many(&[waiting[0].id, waiting[60].id]));
        world.chill();
        world.ack(bob, Acked::UpTo(waiting[130].id));
        world.settle();
        world.pass(1000);
        let left = world.offline(b);
        let position = left.iter().position(|kept| kept.seq > waiting[130].seq);
        assert!(position <= Some(0), "all up to it are acked");
        let history = world.history(b);
        assert!(history.iter().any(|kept| kept.state != DeliveryState::Client));
    }
}

/// Invariant 3 of chat::needs.
#[test]
fn calls_about_users_and_chats_wait_for_a_cold_disk() {
    let (mut world, a, b) = cold_world(2);
    let register = Request::Register { identity: identity("a"), name: None };
    let again = parks(&mut world, |world| world.call(register));
    assert_eq!(again, Sent::Reply(Reply::Registered(a)));
    let chats = match world.call(Request::ChatList { user: b, limit: 3 }) {
        Sent::Chats(chats) => chats,
        other => panic!("{other:?}"),
    };
    let chat = ChatId::new(chats[0].id as i64).expect("positive");
    let mut world = world.crash();
    for request in [
        Request::Top { chat, top: true },
        Request::ClearUnread(chat),
        Request::ClearUnreadOf { owner: a, peer: b },
        Request::UnreadCount(b),
        Request::Find(identity("b")),
        Request::DeleteChat(chat),
    ] {
        world = world.crash();
        world.make_cold(3);
        let answer = parks(&mut world, |world| world.call(request.clone()));
        assert!(!matches!(answer, Sent::Reply(Reply::Refused(_))), "{request:?}");
        world.thaw();
    }
}

/// Invariants 1 and 2 of chat::needs.
#[test]
fn a_trusted_disk_lacks_nothing_and_asking_changes_no_row() {
    let (mut world, a, b) = cold_world(1);
    let request = Request::Send(text(id(9999).number(), b, "x"));
    let before = world.shards[0].store().written();
    let needs = world.shards[0].needs(Some(a), &request).expect("memory does not fail");
    assert!(!needs.is_empty());
    assert_eq!((world.shards[0].gathered_bytes(), world.shards[0].store().written()), (0, before));
    world.shards[0].warmth_mut().trust();
    assert_eq!(world.shards[0].needs(Some(a), &request).expect("memory does not fail"), []);
}
