//! Tests of deadlines: each state of a connection, and how long it may last.

use super::*;
use crate::api::Request;
use crate::ids::{ShardId, UserId};
use crate::node::connection::Errand;
use crate::node::connection::tests::connection;
use crate::node::house::lone_desk;
use crate::store::memory::MemoryStore;
use crate::wire::session::{Codec, Step, WireOptions};

const UPGRADE: &[u8] = b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const HELLO: &[u8] = b"GET /im/test HTTP/1.1\r\nHost: a\r\n\r\n";

/// A connection that has said this.
fn after(said: &[u8]) -> Connection {
    let options = WireOptions::default();
    let (mut connection, mut bytes) = (connection(), said.to_vec());
    let mut codec = Codec::new(options);
    let (_, step) = connection.session.next(&mut codec, &mut bytes, &mut Vec::new());
    assert!(!matches!(step, Step::Request(Request::Send(_))));
    connection.flags.spoke = true;
    connection.flags.unfinished = connection.session.is_unfinished();
    connection
}

fn authenticated() -> Connection {
    let mut connection = after(UPGRADE);
    connection.session.welcome(UserId::FIRST);
    connection.flags.unfinished = false;
    connection
}

#[test]
fn whoever_never_speaks_is_cut_and_not_before_his_time() {
    let silent = connection();
    assert_eq!(due(&silent, 10_000, 10_000), Due::Nothing);
    assert_eq!(due(&silent, 10_001, 10_001), Due::Cut);
}

#[test]
fn a_socket_without_a_user_is_told_so() {
    let connection = after(UPGRADE);
    assert_eq!(due(&connection, 5, 10_000), Due::Nothing);
    assert_eq!(due(&connection, 5, 10_001), Due::TooSlow);
}

/// Invariant 3 of node::sweep.
#[test]
fn a_ping_comes_before_silence_is_judged() {
    let mut connection = authenticated();
    assert_eq!(due(&connection, 45_000, 500_000), Due::Nothing);
    assert_eq!(due(&connection, 45_001, 500_000), Due::Ping);
    connection.flags.pinged = true;
    assert_eq!(due(&connection, 45_001 + SWEEP_MS, 500_000), Due::Nothing);
    assert_eq!(due(&connection, 90_001, 500_000), Due::Cut);
}

#[test]
fn closing_has_its_own_time() {
    let mut connection = authenticated();
    connection.session.close(CloseCode::GoingAway, &mut Vec::new());
    assert_eq!(due(&connection, 500_000, 5_000), Due::Nothing);
    assert_eq!(due(&connection, 0, 5_001), Due::Cut);
}

#[test]
fn silence_ends_a_connection_whose_end_the_ring_never_told() {
    let states = [
        ("fresh", connection()),
        ("half a head", after(&HELLO[..20])),
        ("idle", after(b"\r\n")),
        ("upgraded", after(UPGRADE)),
        ("authenticated", authenticated()),
    ];
    for (state, mut connection) in states {
        connection.flags.pinged = true;
        let due = due(&connection, 90_001, 90_001);
        assert!(matches!(due, Due::Cut | Due::TooSlow), "{state}: {due:?}");
    }
}

#[test]
fn whoever_takes_nothing_of_what_he_is_owed_is_cut() {
    let mut leaving = after(b"\r\n");
    leaving.errand = Some(Errand::Leave(Box::new((ShardId(1), Request::Hello))));
    let awaiting = after(HELLO);
    assert!(awaiting.session.is_awaiting());
    for mut connection in [leaving, awaiting] {
        assert_eq!(due(&connection, 500_000, 500_000), Due::Nothing, "we owe him");
        connection.sending = 1;
        assert_eq!(due(&connection, 180_000, 500_000), Due::Nothing);
        assert_eq!(due(&connection, 180_001, 500_000), Due::Cut);
    }
}

/// Connections numbered so that each tenth of a sweep looks at some.
/// Invariant 2 of node::sweep.
#[test]
fn a_deadline_is_noticed_by_the_sweep_that_follows_it_and_not_before() {
    let mut desk = lone_desk();
    let begun = desk.now_ms();
    let tokens: Vec<Token> = (0..25).map(|_| desk.table.insert(connection(), begun)).collect();
    let dead = |desk: &mut Desk<MemoryStore>| {
        let is_dead = |token: &&Token| desk.table.get(**token).is_some_and(|one| one.flags.dead);
        tokens.iter().filter(is_dead).count()
    };
    desk.now.steady_ms += UNAUTHENTICATED_MS_MAX;
    (0..PARTS).for_each(|part| desk.sweep(part));
    assert_eq!(dead(&mut desk), 0, "never early");
    desk.now.steady_ms += 1;
    (0..PARTS).for_each(|part| desk.sweep(part));
    assert_eq!(dead(&mut desk), 25, "one sweep, {SWEEP_MS} ms, looks at everybody");
}

/// Invariant 4 of node::sweep.
#[test]
fn while_nothing_is_read_no_deadline_comes_nearer() {
    let mut desk = lone_desk();
    let begun = desk.now_ms();
    let mut speaker = authenticated();
    speaker.flags.pinged = true;
    let tokens = [connection(), after(UPGRADE), speaker].map(|one| desk.table.insert(one, begun));
    let pass = |desk: &mut crate::node::desk::Desk<MemoryStore>, ms: u64| {
        let now = crate::chat::event::Now { steady_ms: desk.now.steady_ms + ms, ..desk.now };
        desk.begin_round(now);
        (0..PARTS).for_each(|part| desk.sweep(part));
    };
    let open = |desk: &mut crate::node::desk::Desk<MemoryStore>| {
        let is_open = |token: &&Token| {
            let one = desk.table.get(**token);
            one.is_some_and(|one| !one.flags.dead && !one.session.is_closing())
        };
        tokens.iter().filter(is_open).count()
    };
    pass(&mut desk, UNAUTHENTICATED_MS_MAX / 2);
    desk.shard.store_mut().set_full(true);
    (0..10).for_each(|_| pass(&mut desk, IDLE_MS_MAX));
    assert_eq!(open(&mut desk), 3, "nobody was heard");
    desk.shard.store_mut().set_full(false);
    pass(&mut desk, UNAUTHENTICATED_MS_MAX / 2);
    assert_eq!(open(&mut desk), 3, "their time goes on where it stood");
    pass(&mut desk, 1);
    assert_eq!(open(&mut desk), 1);
    pass(&mut desk, IDLE_MS_MAX);
    assert_eq!(open(&mut desk), 0);
}
