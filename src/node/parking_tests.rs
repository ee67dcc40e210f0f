//! Parked requests and lists in a house whose readers are the test itself: nothing is fetched
//! until it says so.

use super::*;
use crate::api::{ChatType, Draft, Identity, MessageType, PageStart};
use crate::ids::{MessageId, ShardId};
use crate::node::control::Phase;
use crate::node::core_wait::tests::{beside_another, until_waited};
use crate::node::house::{ACK, House, Peer, call, lone_desk, text};
use crate::node::mesh::bells;
use crate::node::readers::{Jobs, fetchers};
use crate::wire::session::Port;

/// A house on slow disks, and what its readers are to do.
fn cold_house(house: &mut House) -> Vec<Jobs> {
    let bells = bells(house.shards.len() as u16).expect("eventfds");
    let ends = fetchers(&bells).into_iter().zip(&mut house.shards);
    let cold = |((fetcher, jobs), shard): (
        (Fetcher, Jobs),
        &mut crate::node::shard_loop::ShardLoop<_>,
    )| {
        make_cold(&mut shard.desk, fetcher);
        jobs
    };
    ends.map(cold).collect()
}

fn make_cold(desk: &mut Desk<crate::store::memory::MemoryStore>, fetcher: Fetcher) {
    desk.fetch_with(fetcher);
    desk.shard.store_mut().make_cold();
}

/// Fetches all that is asked for now; returns how many rows or groups of rows.
fn fetch_all(jobs: &[Jobs], took_ns: u64) -> usize {
    let mut fetched = 0;
    for jobs in jobs {
        while let Some(job) = jobs.next() {
            jobs.perform(job, took_ns);
            fetched += 1;
        }
    }
    fetched
}

/// What an Ack of an id holds.
fn acked(id: u64) -> String {
    format!("srcId\\\":{id}}}")
}

/// Ten messages of one user to another, all settled.
fn write_ten(house: &mut House, from: &mut Peer, to: UserId) {
    (1..=10).for_each(|id| from.say(text(id, to, "an old one")));
    house.until_received(from, ACK, 10);
    from.received.clear();
}

fn page_of(user: UserId) -> String {
    call("/im/message/user/get/page", &format!(r#"{{"userId":{},"pageSize":50}}"#, user.number()))
}

/// Invariants 1 and 2 of node::parking.
#[test]
fn a_parked_request_keeps_its_connections_order_while_others_of_the_shard_go_on() {
    let mut house = House::new(1);
    let [a, b, c] = [0; 3].map(|shard| house.person(shard));
    let (mut ann, mut bob, mut cyd) = (house.device(a), house.device(b), house.device(c));
    write_ten(&mut house, &mut ann, b);
    house.until_received(&mut bob, "an old one", 10);
    cyd.say(text(1, c, "a note of hers"));
    house.until_received(&mut cyd, ACK, 1);
    let jobs = cold_house(&mut house);
    // To compare it with what she sent under this id before, that must be read.
    ann.say(text(3, b, "an old one"));
    ann.say(text(50, b, "behind it"));
    house.until("something is parked", |house| house.shards[0].desk.parking.count() == 1);
    for id in 60..90 {
        cyd.say(text(id, c, "a note of hers"));
        house.until_received(&mut cyd, &acked(id), 1);
    }
    assert_eq!(ann.count(ACK) + bob.count("behind it"), 0, "she waits for her rows");
    assert_eq!(house.shards[0].desk.parking.count(), 1);
    house.until("her messages are acked", |_| {
        fetch_all(&jobs, 0);
        ann.count(ACK) == 2
    });
    let heard = String::from_utf8_lossy(&ann.received).into_owned();
    let at = |id: u64| heard.find(&acked(id)).expect("it was acked");
    assert!(at(3) < at(50), "{heard}");
    house.until_received(&mut bob, "behind it", 1);
    assert_eq!(bob.count("an old one"), 10, "what was sent before is not stored again");
}

/// Invariant 1 of node::parking.
#[test]
fn a_list_over_a_cold_disk_is_given_whole_here_and_abroad_when_its_rows_are_there() {
    let mut house = House::new(2);
    let (a, b) = (house.person(0), house.person(0));
    let mut ann = house.device(a);
    write_ten(&mut house, &mut ann, b);
    let jobs = cold_house(&mut house);
    for shard in [0, 1] {
        house.shards[0].desk.shard.warmth_mut().trust();
        house.shards[0].desk.shard.warmth_mut().distrust();
        let mut reader = house.connect(shard, Port::Http);
        reader.say(page_of(a));
        house.until("it is parked", |house| house.shards[0].desk.parking.count() == 1);
        let before = reader.count("HTTP/1.1");
        (0..20).for_each(|_| house.round());
        assert_eq!((before, reader.count("HTTP/1.1")), (0, 0), "nothing is said before");
        house.until("the page is there", |_| {
            fetch_all(&jobs, 0);
            reader.count("an old one") == 10
        });
        assert_eq!(house.shards[0].desk.parking.count(), 0);
    }
}

/// What was sent before under the id 3.
fn old_one(to: UserId) -> Draft<'static> {
    Draft {
        id: MessageId::new(3),
        from: None,
        to,
        team: None,
        kind: MessageType::Text,
        chat_type: ChatType::Single,
        event: None,
        content: "an old one",
        timestamp_ms: None,
    }
}

/// Invariant 3 of node::parking.
#[test]
fn what_waits_is_bounded_and_in_the_end_reads_for_itself() {
    let mut house = House::new(1);
    let (a, b) = (house.person(0), house.person(0));
    let mut ann = house.device(a);
    write_ten(&mut house, &mut ann, b);
    for id in 11..=1_000 {
        ann.say(text(id, b, "more of them"));
    }
    house.until_received(&mut ann, ACK, 990);
    let jobs = cold_house(&mut house);
    let desk = &mut house.shards[0].desk;
    let page = |size| Request::Page { user: a, start: PageStart::Number(1), size };
    let to = |index| ConnectionId { shard: ShardId(0), index, generation: 0 };
    let listing = |desk: &mut Desk<_>| {
        desk.admit(to(9_999_999), None, page(200)).expect("memory does not fail");
        let effects = std::mem::take(&mut desk.turn.now);
        effects.into_iter().find_map(|effect| match effect {
            crate::chat::event::Effect::List { listing, .. } => Some(listing),
            _ => None,
        })
    };
    let listing = listing(desk).expect("he is in memory");
    desk.give_part(to(1), listing, Part::First, 0).expect("memory does not fail");
    let asked: Vec<_> = std::iter::from_fn(|| jobs[0].next()).collect();
    assert_eq!((asked.len(), desk.parking.count()), (NEEDS_UNDER_WAY_MAX, 1));
    let request = || Request::Send(old_one(b));
    for index in 2..=PARKED_MAX as u32 {
        desk.admit(to(index), Some(a), request()).expect("memory does not fail");
    }
    assert_eq!((desk.parking.count(), desk.turn.durable.len()), (PARKED_MAX, 0));
    desk.admit(to(1_000_000), Some(a), request()).expect("memory does not fail");
    assert_eq!((desk.parking.count(), desk.turn.durable.len()), (PARKED_MAX, 1), "it is acked");
    // Rows that leave memory as soon as they are there.
    asked.into_iter().for_each(|job| jobs[0].perform(job, 0));
    let mut rounds = 0;
    while house.shards[0].desk.parking.count() > 0 {
        fetch_all(&jobs, 2 * SLOW_READ_NS);
        let desk = &mut house.shards[0].desk;
        desk.shard.warmth_mut().age(rounds * 3 * crate::limits::WARM_MS);
        desk.applied = 0;
        desk.resume_parked().expect("memory does not fail");
        rounds += 1;
        assert!(rounds < 10_000, "{} wait for ever", desk.parking.count());
    }
    assert_eq!(house.shards[0].desk.turn.durable.len(), PARKED_MAX);
}

/// Invariant 4 of node::parking.
#[test]
fn a_disk_is_trusted_while_it_is_quick() {
    let (fetcher, jobs) = fetchers(&bells(1).expect("an eventfd")).pop().expect("one shard");
    let mut desk = lone_desk();
    make_cold(&mut desk, fetcher);
    let identity = |n: u32| {
        let third_user_id = format!("nobody {n}").into();
        Request::Find(Identity { company: "c".into(), app: "a".into(), third_user_id })
    };
    let to = ConnectionId { shard: ShardId(0), index: 1, generation: 0 };
    let mut next = 0;
    let mut find = |desk: &mut Desk<_>, took_ns| {
        next += 1;
        desk.applied = 0;
        desk.admit(to, None, identity(next)).expect("memory does not fail");
        while fetch_all(std::slice::from_ref(&jobs), took_ns) > 0 {
            desk.resume_parked().expect("memory does not fail");
        }
        desk.shard.warmth_mut().is_trusting()
    };
    for round in 0..2 {
        assert!((1..QUICK_READS / 2).all(|_| !find(&mut desk, 0)), "round {round}");
        assert!(!find(&mut desk, SLOW_READ_NS), "one that was slow");
        let quick = (0..QUICK_READS).take_while(|_| !find(&mut desk, 0)).count() as u32;
        assert!((QUICK_READS / 2 - 1..QUICK_READS).contains(&quick), "{quick}");
        // What took long may have been a full turn; a second time it is known to be one event.
        desk.parking.timed_events = 0;
        for is_alone in [false, true] {
            desk.parking.core_waited(steady_nanos());
            desk.parking.begin_round(steady_nanos() - 2 * SLOW_READ_NS);
            desk.shard.store().get(b"row", |_| ()).expect("memory does not fail");
            desk.end_event();
            assert_eq!(desk.shard.warmth_mut().is_trusting(), !is_alone);
        }
    }
}

/// Invariant 4 of node::parking.
#[test]
fn a_shard_without_a_core_does_not_make_the_disk_slow_nor_a_slow_one_quick() {
    let (trusts_busy_core, trusts_slow_disk) = beside_another(|| {
        let (fetcher, _jobs) = fetchers(&bells(1).expect("an eventfd")).pop().expect("one shard");
        let mut desk = lone_desk();
        make_cold(&mut desk, fetcher);
        desk.shard.warmth_mut().trust();
        desk.parking.timed_events = TIMED_EVENTS;
        // An event of which the shard had no core for most of the time. What it had it is left
        // out, as if its looks had taken none.
        desk.parking.begin_event();
        until_waited(4 * SLOW_READ_NS);
        desk.parking.looked_ns = steady_nanos() - 4 * SLOW_READ_NS;
        desk.shard.store().get(b"row", |_| ()).expect("memory does not fail");
        desk.end_event();
        let trusts_busy_core = desk.shard.warmth_mut().is_trusting();
        // One that waited for the disk, after the shard had waited for its core.
        until_waited(4 * SLOW_READ_NS);
        desk.parking.begin_event();
        desk.parking.looked_ns -= 2 * SLOW_READ_NS;
        desk.shard.store().get(b"row", |_| ()).expect("memory does not fail");
        desk.end_event();
        (trusts_busy_core, desk.shard.warmth_mut().is_trusting())
    });
    assert!(trusts_busy_core && !trusts_slow_disk, "{trusts_busy_core} {trusts_slow_disk}");
}

#[test]
fn draining_waits_for_what_is_parked() {
    let mut house = House::new(1);
    let (a, b) = (house.person(0), house.person(0));
    let mut ann = house.device(a);
    write_ten(&mut house, &mut ann, b);
    let jobs = cold_house(&mut house);
    ann.say(text(3, b, "an old one"));
    house.until("it is parked", |house| house.shards[0].desk.parking.count() == 1);
    for _ in 0..20 {
        house.shards[0].round(Phase::Draining).expect("nothing fails in memory");
    }
    assert!(ann.read() && ann.received.is_empty(), "she is owed an ack and not closed");
    let begun = steady_nanos();
    while ann.count("srcId") == 0 {
        fetch_all(&jobs, 0);
        house.shards[0].round(Phase::Draining).expect("nothing fails in memory");
        assert!(steady_nanos() - begun < 30_000_000_000, "no ack");
    }
}
