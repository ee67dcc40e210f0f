//! Tests of decoding: order, the shard that a request is applied on, and what waits behind it.

use crate::chat::event::{Event, Now};
use crate::metrics::Counter;
use crate::node::house::{ACK, House, UPGRADE, auth, call, frame, text};
use crate::wire::session::Port;

/// Invariant 1 of node::intake.
#[test]
fn bytes_are_decoded_in_order_and_each_once_however_they_come() {
    let mut house = House::new(1);
    let (anna, bo) = (house.person(0), house.person(0));
    let mut bytes = [UPGRADE.as_bytes(), &auth(anna)].concat();
    (1..=40).for_each(|id| bytes.extend(text(1000 + id, bo, &"x".repeat(id as usize))));
    for cut in [1, 7, 100, 1000, bytes.len()] {
        let mut peer = house.connect(0, Port::WebSocket);
        for part in bytes.chunks(cut) {
            peer.say(part);
            house.round();
        }
        house.until_received(&mut peer, ACK, 41);
        let came = String::from_utf8_lossy(&peer.received).into_owned();
        let places: Vec<_> =
            (1..=40).map(|id| came.find(&format!("srcId\\\":{}}}", 1000 + id))).collect();
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{cut}: {places:?}");
    }
}

/// Invariant 3 of node::connection.
#[test]
fn bytes_that_cannot_be_decoded_yet_are_in_the_window_alone() {
    let mut house = House::new(1);
    let mut peer = house.connect(0, Port::Http);
    let request = call("/im/message/get/id", &format!("{{}}{}", " ".repeat(30_000)));
    let (most, last) = request.as_bytes().split_at(request.len() - 1);
    peer.say(most);
    house.until("all but one byte", |house| {
        let connection = house.server_side(0, &peer).expect("it is open");
        connection.waiting == 0 && connection.window.len() == most.len()
    });
    peer.say(last);
    house.until_received(&mut peer, "200 OK", 1);
    let connection = house.server_side(0, &peer).expect("it is open");
    assert_eq!((connection.waiting, connection.window.len()), (0, 0));
}

/// Invariant 2 of node::intake.
#[test]
fn a_request_is_applied_where_its_rows_are_whichever_shard_hears_it() {
    let mut house = House::new(2);
    let mut peer = house.connect(0, Port::Http);
    let registered = |house: &House| {
        [0, 1].map(|shard| house.shards[shard].desk.metrics.counter(Counter::Registered))
    };
    let mut expected = [0, 0];
    for number in 0..20 {
        let body = format!(r#"{{"company":"c","app":"a","thirdUserId":"n{number}"}}"#);
        let answer = house.ask(&mut peer, "/im/user/register", &body);
        let user: u64 = answer
            .rsplit_once("userId\":")
            .and_then(|(_, rest)| rest.trim_end_matches('}').parse().ok())
            .expect("a user's id");
        expected[(user % 1024 % 2) as usize] += 1;
        assert_eq!(registered(&house), expected, "{user}");
    }
    assert!(expected.iter().all(|count| *count > 0), "{expected:?}");
}

/// Invariant 3 of node::intake.
#[test]
fn nothing_is_decoded_behind_a_request_that_is_answered_elsewhere() {
    let mut house = House::new(2);
    let there = house.person(1);
    let mut peer = house.connect(0, Port::Http);
    let ask = call("/im/user/chat/unread/count", &format!(r#"{{"userId":{}}}"#, there.number()));
    let hello = "GET /im/test HTTP/1.1\r\nHost: a\r\n\r\n";
    peer.say(format!("{ask}{hello}"));
    // The other shard does nothing yet.
    let alone = |house: &mut House| {
        house.shards[0].round(crate::node::control::Phase::Serving).expect("a round");
    };
    let start = crate::node::clock::steady_nanos();
    while house.shards[0].desk.forwarded == 0 {
        alone(&mut house);
        assert!(crate::node::clock::steady_nanos() - start < 30_000_000_000, "never forwarded");
    }
    (0..50).for_each(|_| alone(&mut house));
    assert_eq!(peer.count("HTTP/1.1"), 0, "nothing is answered");
    assert_eq!(house.server_side(0, &peer).expect("open").window, hello.as_bytes());
    house.until_received(&mut peer, "HTTP/1.1 200", 2);
    let came = String::from_utf8_lossy(&peer.received).into_owned();
    assert!(came.find("\"count\":0") < came.find("Hello im"), "{came}");
}

/// Invariant 1 of node::desk.
#[test]
fn an_event_is_applied_at_the_moment_that_was_read_for_its_turn() {
    let mut house = House::new(1);
    let (anna, bo) = (house.person(0), house.person(0));
    let mut peer = house.device(anna);
    let desk = &mut house.shards[0].desk;
    let connection = desk.table.id(peer.token);
    desk.now = Now { wall_ms: 1_234_567_890_123, ..desk.now };
    let draft =
        frame(&format!(r#"{{"id":7,"toUserId":{},"msgType":"Text","content":"x"}}"#, bo.number()));
    desk.decode_received(peer.token, &mut draft.clone(), 1).expect("no disk");
    desk.apply(Event::Closed { connection, user: bo }).expect("no disk");
    assert_eq!(desk.applied, 2, "both are of this turn");
    house.until_received(&mut peer, ACK, 1);
    assert_eq!(peer.count("\"timestamp\":1234567890123"), 1);
}

/// Invariant 2 of node::desk.
#[test]
fn a_changed_connection_is_touched_once_until_it_is_settled() {
    let mut house = House::new(1);
    let peer = house.connect(0, Port::Http);
    house.round();
    let desk = &mut house.shards[0].desk;
    (0..5).for_each(|_| desk.touch(peer.token));
    assert_eq!(desk.touched, [peer.token]);
    house.round();
    let desk = &mut house.shards[0].desk;
    assert!(desk.touched.is_empty());
    desk.touch(peer.token);
    assert_eq!(desk.touched, [peer.token]);
}
