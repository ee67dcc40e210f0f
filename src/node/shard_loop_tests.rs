//! Tests of a shard's rounds: their order, what waits for the disk, and what an error ends.

use super::*;
use crate::api::{ChatType, MessageType, Request};
use crate::chat::event::{Effect, Letter, Relay, StreamPosition};
use crate::ids::{ConnectionId, MessageId, UserId};
use crate::limits::MESH_PARCELS_MAX;
use crate::node::house::{ACK, House, Peer, UPGRADE, auth, call, text};
use crate::node::journeys::Ended;
use crate::node::mesh::{Answer, Mesh, Post, bells, meshes};
use crate::store::memory::MemoryStore;
use crate::wire::session::Port;

const TO: ConnectionId = ConnectionId { shard: ShardId(2), index: 0, generation: 1 };

/// Lets one shard take in what a peer has sent, up to the end of its turn: nothing is synced.
fn take_turn(shard: &mut ShardLoop<MemoryStore>, sent: usize) {
    let mut received = 0;
    let start = steady_nanos();
    while received < sent {
        shard.ring.turn(&mut shard.completions).expect("it turns");
        for completion in &shard.completions {
            if let Completion::Received { filled, .. } = completion {
                received += filled.length();
            }
        }
        shard.reap(Phase::Serving);
        assert!(steady_nanos() - start < 30_000_000_000, "{received} of {sent} bytes came");
    }
    shard.decode().expect("no disk");
    shard.end_turn(steady_nanos()).expect("a write");
}

fn out_of(house: &mut House, peer: &Peer) -> String {
    let connection = house.server_side(0, peer).expect("it is open");
    String::from_utf8_lossy(&connection.out).into_owned()
}

/// Invariant 1 of node::shard_loop.
#[test]
fn what_the_mesh_brought_is_applied_before_a_request_of_the_same_round() {
    let mut house = House::new(2);
    let (anna, bo) = (house.person(0), house.person(1));
    let mut client = house.device(anna);
    let mut asking = house.connect(1, Port::Http);
    house.round();
    for count in 1..=20 {
        let sent = text(count, bo, "seen by whoever saw the Ack");
        client.say(&sent);
        client.received.clear();
        let start = steady_nanos();
        while client.count(ACK) == 0 {
            house.shards[0].round(Phase::Serving).expect("a round");
            assert!(steady_nanos() - start < 30_000_000_000, "no Ack");
        }
        // The Ack is out, the relay waits in the mesh: one round finds it and the question.
        let question =
            call("/im/user/chat/unread/count", &format!(r#"{{"userId":{}}}"#, bo.number()));
        asking.received.clear();
        asking.say(&question);
        let expected = format!("\"count\":{count}}}");
        house.until_received(&mut asking, &expected, 1);
    }
}

/// Invariant 2 of node::release.
#[test]
fn a_turns_relays_are_in_the_mesh_before_any_of_its_acks_is_sent() {
    let mut house = House::new(2);
    let (anna, bo) = (house.person(0), house.person(1));
    let mut client = house.device(anna);
    let sent = text(9, bo, "elsewhere");
    client.say(&sent);
    take_turn(&mut house.shards[0], sent.len());
    house.shards[0].sync_if_awaited().expect("a sync");
    assert!(out_of(&mut house, &client).contains(ACK), "the Ack is written");
    assert_eq!(house.shards[0].ring.sends_in_flight(), 0, "and not sent");
    let mut parcels = Vec::new();
    house.shards[1].desk.mesh.drain(&mut parcels);
    assert!(matches!(&parcels[..], [(ShardId(0), Parcel::Relays(relays))] if relays.len() == 1));
    house.shards[0].settle_touched().expect("no disk");
    assert_eq!(house.shards[0].ring.sends_in_flight(), 1);
}

/// Invariant 1 of node::durable.
/// Invariant 3 of node::shard_loop.
#[test]
fn durable_effects_leave_in_order_and_only_when_their_position_is_durable() {
    let mut house = House::new(1);
    let (anna, bo) = (house.person(0), house.person(0));
    let mut client = house.device(anna);
    for id in [21, 22, 23] {
        let sent = text(id, bo, "three turns");
        client.say(&sent);
        take_turn(&mut house.shards[0], sent.len());
        assert_eq!(out_of(&mut house, &client), "", "turn {id} is written and not durable");
    }
    assert_eq!(house.shards[0].desk.pending.len(), 3);
    house.shards[0].sync_if_awaited().expect("a sync");
    let out = out_of(&mut house, &client);
    let places = [21, 22, 23].map(|id| out.find(&format!("srcId\\\":{id}}}")));
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{out}");
}

/// Invariant 4 of node::listing.
#[test]
fn a_list_leaves_when_all_that_it_shows_is_durable() {
    let mut house = House::new(1);
    let (anna, bo) = (house.person(0), house.person(0));
    let (mut client, mut asking) = (house.device(anna), house.connect(0, Port::Http));
    house.round();
    let question = call("/im/message/offline", &format!(r#"{{"userId":{}}}"#, bo.number()));
    let mut ask = |house: &mut House| {
        asking.say(&question);
        take_turn(&mut house.shards[0], question.len());
        house.shards[0].move_log().expect("no disk");
        out_of(house, &asking)
    };
    assert!(ask(&mut house).ends_with("[]"), "all is durable: it leaves at once");
    let sent = text(31, bo, "not durable yet");
    client.say(&sent);
    take_turn(&mut house.shards[0], sent.len());
    let before = ask(&mut house);
    assert!(before.ends_with("[]"), "what it shows may be taken back: {before}");
    house.shards[0].sync_if_awaited().expect("a sync");
    let after = out_of(&mut house, &asking);
    assert!(after[before.len()..].contains("not durable yet"), "{after}");
}

/// Invariant 5 of node::listing.
#[test]
fn many_parts_that_wait_for_the_disk_are_not_all_made() {
    use crate::chat::event::Event;
    use crate::limits::HELD_PARTS_MAX;
    use crate::speech::Part;
    let mut house = House::new(1);
    let (anna, bo) = (house.person(0), house.person(0));
    let mut client = house.device(anna);
    house.round();
    let sent = text(51, bo, "waits for the disk");
    client.say(&sent);
    take_turn(&mut house.shards[0], sent.len());
    // Who asks is gone by the time.
    let to = ConnectionId { shard: ShardId(0), index: 9, generation: 9 };
    let desk = &mut house.shards[0].desk;
    for _ in 0..HELD_PARTS_MAX + 40 {
        let request = Request::Offline { user: bo, after_seq: 0, limit: 9 };
        desk.apply(Event::Request { connection: to, user: None, request }).expect("no disk");
        let Some(Effect::List { listing, .. }) = desk.turn.now.pop() else { panic!("no list") };
        desk.give_part(to, listing, Part::First, 0).expect("no disk");
    }
    assert_eq!(desk.held_parts.counts(), (HELD_PARTS_MAX, 40));
    house.shards[0].sync_if_awaited().expect("a sync");
    assert!(house.shards[0].desk.held_parts.is_empty());
}

/// Invariant 3 of chat::shard.
#[test]
fn a_count_leaves_when_what_it_counts_is_durable() {
    let mut house = House::new(1);
    let (anna, bo) = (house.person(0), house.person(0));
    let (mut client, mut asking) = (house.device(anna), house.connect(0, Port::Http));
    house.round();
    let sent = text(61, bo, "counts");
    client.say(&sent);
    take_turn(&mut house.shards[0], sent.len());
    let question = call("/im/user/chat/unread/count", &format!(r#"{{"userId":{}}}"#, bo.number()));
    asking.say(&question);
    take_turn(&mut house.shards[0], question.len());
    assert_eq!(out_of(&mut house, &asking), "");
    house.shards[0].sync_if_awaited().expect("a sync");
    assert!(out_of(&mut house, &asking).contains("\"count\":1"));
}

/// Invariant 5 of node::shard_loop.
/// Invariant 2 of node::durable.
#[test]
fn while_the_store_is_full_requests_and_parcels_wait_and_none_is_lost() {
    let mut house = House::new(2);
    let (anna, bo) = (house.person(0), house.person(1));
    let (mut client, mut other) = (house.device(anna), house.device(bo));
    for _ in 0..10 {
        house.round();
    }
    let store = house.shards[1].desk.shard.store_mut();
    store.set_full(true);
    let written = store.written();
    client.say(text(41, bo, "by the mesh"));
    house.until_received(&mut client, ACK, 1);
    let sent = text(42, anna, "by the ring");
    let bytes_in = |house: &House| house.shards[1].desk.metrics.counter(Counter::BytesIn);
    let before = bytes_in(&house);
    other.say(&sent);
    house.until("its bytes", |house| bytes_in(house) == before + sent.len() as u64);
    for _ in 0..20 {
        house.round();
    }
    let shard = &mut house.shards[1];
    assert_eq!(shard.desk.shard.store().written(), written, "no turn was made");
    assert_eq!((shard.inbox.len(), shard.parcels.len(), shard.deferred.len()), (1, 0, 0));
    assert!(!shard.is_busy(), "it does not spin");
    assert_eq!((other.count(ACK), other.count(r#""msgType":"Text""#)), (0, 0));
    house.shards[1].desk.shard.store_mut().set_full(false);
    house.until_received(&mut other, r#""msgType":"Text""#, 1);
    house.until_received(&mut other, ACK, 1);
    house.until_received(&mut client, r#""msgType":"Text""#, 1);
}

/// Invariant 4 of node::shard_loop.
#[test]
fn after_an_error_of_the_store_nothing_is_released_any_more() {
    let failures: [fn(&mut MemoryStore); 2] =
        [MemoryStore::fail_next_write, MemoryStore::fail_next_sync];
    for fail in failures {
        let mut house = House::new(1);
        let (anna, bo) = (house.person(0), house.person(0));
        let mut client = house.device(anna);
        fail(house.shards[0].desk.shard.store_mut());
        client.say(text(31, bo, "never acked"));
        let shard = &mut house.shards[0];
        let start = steady_nanos();
        let error = loop {
            match shard.round(Phase::Serving) {
                Ok(()) => assert!(steady_nanos() - start < 30_000_000_000, "nothing failed"),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, ShardError::Store(StoreError::Asked)), "{error}");
        for _ in 0..5 {
            client.say(text(32, bo, "nor this"));
            assert!(shard.round(Phase::Serving).is_err(), "a failed store stays failed");
        }
        assert_eq!(shard.ring.sends_in_flight(), 0);
        assert_eq!(client.count(ACK), 0);
    }
}

/// Invariants 1 and 2 of node::mesh.
#[test]
fn a_full_mesh_delays_messages_and_neither_loses_nor_reorders_any() {
    let mut house = House::new(2);
    let (anna, bo) = (house.person(0), house.person(1));
    let (mut client, mut reader) = (house.device(anna), house.device(bo));
    let total = MESH_PARCELS_MAX as u64 + 300;
    // The recipient's shard does nothing for so many turns of the author's.
    for id in 1..=total {
        client.say(text(id, bo, &format!("number {id}.")));
        let start = steady_nanos();
        while client.count(ACK) < id as usize {
            house.shards[0].round(Phase::Serving).expect("a round");
            assert!(steady_nanos() - start < 30_000_000_000, "no Ack: the author waits for nobody");
        }
    }
    assert!(house.shards[0].desk.metrics.counter(Counter::MeshFull) > 0);
    house.until_received(&mut reader, r#""msgType":"Text""#, total as usize);
    let came = String::from_utf8_lossy(&reader.received).into_owned();
    let places = (1..=total).map(|id| came.find(&format!("number {id}.")));
    let places: Vec<_> = places.collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted());
}

/// Invariant 3 of node::release.
#[test]
fn a_user_who_was_welcomed_and_is_gone_is_reported_as_gone() {
    let mut house = House::new(1);
    let user = house.person(0);
    let mut peer = house.connect(0, Port::WebSocket);
    peer.say(UPGRADE);
    house.until_received(&mut peer, "101", 1);
    let desk = &mut house.shards[0].desk;
    let to = desk.table.id(peer.token);
    desk.table.get(peer.token).expect("open").flags.dead = true;
    let welcome = Effect::Welcome { to, user, ack: None, notice: None };
    let mut ended = Ended::default();
    ended.turn.want(When::Now, welcome);
    desk.release(When::Now, &mut ended).expect("no disk");
    assert_eq!(desk.departed, [(to, user)]);
    house.until("it is gone", |house| house.server_side(0, &peer).is_none());
    let desk = &house.shards[0].desk;
    assert!(desk.departed.is_empty() && desk.authenticated == 0, "told once");
    // The next device of his is welcome.
    let mut next = house.connect(0, Port::WebSocket);
    next.say([UPGRADE.as_bytes(), &auth(user)].concat());
    house.until_received(&mut next, ACK, 1);
}

fn post(sequence: u64, to: UserId) -> Post {
    let letter = Letter {
        kind: MessageType::Text,
        from: UserId::new(1024 * 9).expect("positive"),
        to,
        team: None,
        event: None,
        id: MessageId::new(sequence as i64).expect("positive"),
        timestamp_ms: 1,
        chat_type: ChatType::Single,
    };
    let position = StreamPosition { epoch: 1, sequence };
    let (content, name) = ("x".into(), None);
    let server_send_time_ms = 1;
    let relay = Relay { position, letter, ordinal: sequence, server_send_time_ms, content, name };
    Post { relay, stamps: None }
}

/// Posts a relay from the first shard and then, from the third, the question how many came. A
/// shard that looked at the first lane before and at the third after has only the question.
fn ask_behind_relays(mut ends: [Mesh; 2], user: UserId, rounds: u64) {
    let mut parcels = Vec::new();
    for round in 1..=rounds {
        assert!(ends[0].post_relays(ShardId(1), vec![post(round, user)]).is_ok());
        let question = Box::new((TO, Request::UnreadCount(user)));
        ends[1].post(ShardId(1), Parcel::Forward(question));
        let start = steady_nanos();
        let body = loop {
            ends[0].drain(&mut parcels);
            parcels.clear();
            ends[1].drain(&mut parcels);
            if let Some((_, Parcel::Answer(_, Answer::Whole { body, .. }))) = parcels.pop() {
                break body;
            }
            assert!(steady_nanos() - start < 30_000_000_000, "no answer");
        };
        assert_eq!(String::from_utf8_lossy(&body), format!("{{\"count\":{round}}}"));
    }
}

/// Invariant 2 of node::shard_loop.
/// Invariant 2 of node::exchange.
#[test]
fn a_request_from_the_mesh_finds_every_relay_that_was_posted_before_it() {
    let mut house = House::new(3);
    let user = house.person(1);
    // The first and the third shard are this test's from now on.
    let fresh = meshes(&bells(3).expect("eventfds"));
    let [first, mine, third]: [Mesh; 3] = fresh.try_into().ok().expect("three ends");
    let shard = &mut house.shards[1];
    shard.desk.mesh = mine;
    let asker = std::thread::spawn(move || ask_behind_relays([first, third], user, 3_000));
    while !asker.is_finished() {
        shard.round(Phase::Serving).expect("a round");
    }
    asker.join().expect("every answer was right");
}
