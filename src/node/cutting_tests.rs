//! Cuts of shards that are stepped by hand.

use super::*;
use crate::api::{ChatType, Draft, Identity, MessageType, Request};
use crate::chat::event::Event;
use crate::ids::{ConnectionId, MessageId, ShardId, UserId};
use crate::node::control::Phase;
use crate::node::house::House;
use crate::store::keys::Key;

const NOBODY: ConnectionId = ConnectionId { shard: ShardId(0), index: 0, generation: 9 };

fn text(id: i64, to: UserId) -> Draft<'static> {
    Draft {
        id: MessageId::new(id),
        from: None,
        to,
        team: None,
        kind: MessageType::Text,
        chat_type: ChatType::Single,
        event: None,
        content: "cut in the middle",
        timestamp_ms: None,
    }
}

/// One turn of a shard, which is written and not durable.
fn turn(house: &mut House, shard: usize, user: Option<UserId>, request: Request<'_>) {
    let shard = &mut house.shards[shard];
    let connection = ConnectionId { shard: shard.desk.place.shard, ..NOBODY };
    shard.desk.apply(Event::Request { connection, user, request }).expect("no disk");
    shard.end_turn(steady_nanos()).expect("no disk");
}

/// Whether a cut of a shard has a message: the first, second, .. of a user's history.
fn has_message(house: &House, shard: usize, owner: UserId, seq: u64) -> bool {
    let shard = &house.shards[shard];
    let cut = shard.desk.shard.store().crash_keeping(shard.cut.position());
    cut.get(&Key::message(owner, seq), |_| ()).expect("no disk").is_some()
}

/// Invariant 1 of node::cutting.
/// Invariant 1 of store::cut.
#[test]
fn a_cut_falls_where_the_marker_is_among_what_others_post() {
    let mut house = House::new(2);
    let (anna, bo) = (house.person(0), house.person(1));
    (0..10).for_each(|_| house.round());
    turn(&mut house, 0, Some(anna), Request::Send(text(1, bo)));
    house.shards[0].sync_if_awaited().expect("no disk");
    turn(&mut house, 0, Some(anna), Request::Send(text(2, bo)));
    house.cuts.want().expect("nothing else is made");
    house.shards[0].look_for_cut().expect("no disk");
    turn(&mut house, 0, Some(anna), Request::Send(text(3, bo)));
    assert!(has_message(&house, 0, anna, 2) && !has_message(&house, 0, anna, 3));
    let sender = &house.shards[0];
    let cut = sender.desk.shard.store().crash_keeping(sender.cut.position());
    let waits = Key::outbox(ShardId(1), 1, 2);
    assert!(cut.get(&waits, |_| ()).expect("no disk").is_some(), "what is on its way is kept");
    house.shards[0].sync_if_awaited().expect("no disk");
    house.shards[0].desk.mesh.flush();
    assert!(house.shards[1].cut.is_new(1));
    house.shards[1].drain_mesh().expect("no disk");
    assert!(!house.shards[1].cut.is_new(1), "the marker made it begin");
    house.shards[1].end_turn(steady_nanos()).expect("no disk");
    let now = house.shards[1].desk.shard.store();
    assert!(now.get(&Key::message(bo, 3), |_| ()).expect("no disk").is_some(), "all have come");
    assert!(has_message(&house, 1, bo, 1), "it had come before");
    assert!(!has_message(&house, 1, bo, 2), "it was on its way");
}

/// Invariant 2 of node::cutting.
#[test]
fn a_shard_begins_a_cut_once_also_while_its_store_is_full() {
    let mut house = House::new(3);
    (0..10).for_each(|_| house.round());
    house.shards[2].desk.shard.store_mut().set_full(true);
    assert!(!house.shards[2].has_cut_news());
    house.cuts.want().expect("nothing else is made");
    assert!(house.shards[2].has_cut_news(), "it does not sleep over it");
    house.shards[0].round(Phase::Serving).expect("a round");
    house.shards[1].drain_mesh().expect("a round");
    assert!(!house.cuts.have_all_begun(1));
    house.shards[2].round(Phase::Serving).expect("a round");
    assert!(house.cuts.have_all_begun(1), "one by itself, one by a marker, one being full");
    house.shards[2].desk.shard.store_mut().set_full(false);
    // Each draws two more markers; beginning twice would be one shard too many.
    (0..5).for_each(|_| house.round());
    assert!(house.shards.iter().all(|shard| !shard.cut.is_new(1) && !shard.has_cut_news()));
}

/// Invariant 2 of store::cut.
#[test]
fn who_registers_while_a_cut_is_begun_is_known_to_others_when_all_have_begun() {
    let mut house = House::new(2);
    (0..10).for_each(|_| house.round());
    house.cuts.want().expect("nothing else is made");
    house.shards[0].look_for_cut().expect("no disk");
    let name = |n: u32| Identity {
        company: "c".into(),
        app: "a".into(),
        third_user_id: format!("late {n}").into(),
    };
    let is_here = |n: &u32| {
        let request = Request::Register { identity: name(*n), name: None };
        matches!(request.home(), crate::api::Home::Slot(slot) if slot.home(2) == ShardId(0))
    };
    let late = (0..).find(is_here).expect("half of all");
    turn(&mut house, 0, None, Request::Register { identity: name(late), name: None });
    let synced = |house: &House| {
        let pending = &house.shards[0].desk.pending;
        pending.iter().filter(|ended| !ended.turn.synced.is_empty()).count()
    };
    for _ in 0..5 {
        house.shards[0].round(Phase::Serving).expect("a round");
        let store = house.shards[0].desk.shard.store();
        assert_eq!(store.synced(), store.written(), "it is on disk");
        assert_eq!(synced(&house), 1, "and nobody has heard of it");
    }
    house.shards[1].round(Phase::Serving).expect("a round");
    assert!(house.shards[0].has_cut_news());
    house.shards[0].round(Phase::Serving).expect("a round");
    assert_eq!(synced(&house), 0);
}
