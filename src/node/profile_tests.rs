//! The profile of shards that are stepped by hand.

use super::*;
use crate::limits::{MESH_PARCELS_MAX, UNSENT_BYTES_MAX};
use crate::metrics::rounds::Step;
use crate::metrics::slowest::{WINDOW_NS, slowest_of};
use crate::node::clock::steady_nanos;
use crate::node::control::Phase;
use crate::node::house::{ACK, House, Peer, text};

const TEXT: &str = r#""msgType":"Text""#;

/// How often a span was recorded on a shard, and all that it took, ns.
fn span(house: &House, shard: usize, span: Span) -> (u64, u64) {
    let (counts, sum) = house.shards[shard].desk.metrics.span(span).read();
    (counts.iter().sum(), sum)
}

fn sums(house: &House, spans: &[(usize, Span)]) -> u64 {
    spans.iter().map(|(shard, of)| span(house, *shard, *of).1).sum()
}

/// The spans before an Ack leaves, on the author's shard.
fn before_release(shard: usize) -> Vec<(usize, Span)> {
    Span::BEFORE_RELEASE.map(|span| (shard, span)).to_vec()
}

/// What there is to be seen as slow now.
fn slowest(house: &mut House) -> Vec<Journey> {
    let shards = &mut house.shards;
    let shown: Vec<_> =
        shards.iter_mut().filter_map(|it| it.desk.profile.slowest.look(1)).collect();
    slowest_of(shown.iter(), steady_nanos(), WINDOW_NS)
}

/// Sends messages one by one, until each is acked and pushed and the server knows it.
fn chat(house: &mut House, (author, reader): (&mut Peer, &mut Peer), to: UserId, count: u64) {
    let before = (author.count(ACK), reader.count(TEXT));
    for id in 1..=count {
        author.say(text(1000 + id, to, "how long does it take?"));
        house.until_received(author, ACK, before.0 + id as usize);
        house.until_received(reader, TEXT, before.1 + id as usize);
    }
    (0..5).for_each(|_| house.round());
}

/// Invariant 1 of node::profile.
#[test]
fn spans_add_up_exactly_on_one_shard() {
    let mut house = House::new(1);
    let (anna, bo) = (house.person(0), house.person(0));
    let (mut author, mut reader) = (house.device(anna), house.device(bo));
    chat(&mut house, (&mut author, &mut reader), bo, 20);
    for of in Span::ALL {
        let wanted = if [Span::Relay, Span::Deliver].contains(of) { 0 } else { 20 };
        assert_eq!(span(&house, 0, *of).0, wanted, "{}", of.name());
    }
    let before = sums(&house, &before_release(0));
    let rest = |of| span(&house, 0, of).1;
    assert_eq!(before + rest(Span::Send), rest(Span::Ack));
    assert_eq!(before + rest(Span::Push), rest(Span::Delivery));
    assert!(rest(Span::Sync) > 0 && rest(Span::Decode) > 0);
    assert_eq!(house.shards[0].desk.profile.trails.count(), 0);
}

/// Invariant 1 of node::profile.
#[test]
fn spans_add_up_exactly_across_shards_and_both_ends_know_the_message() {
    let mut house = House::new(2);
    let (anna, bo) = (house.person(0), house.person(1));
    let (mut author, mut reader) = (house.device(anna), house.device(bo));
    chat(&mut house, (&mut author, &mut reader), bo, 20);
    let before = sums(&house, &before_release(0));
    assert_eq!(before + span(&house, 0, Span::Send).1, span(&house, 0, Span::Ack).1);
    let way = [Span::Relay, Span::Deliver, Span::Push].map(|span| (1, span));
    assert!(way.iter().all(|(shard, of)| span(&house, *shard, *of).0 == 20));
    assert_eq!(before + sums(&house, &way), span(&house, 1, Span::Delivery).1);
    assert_eq!(span(&house, 1, Span::Ack).0 + span(&house, 0, Span::Delivery).0, 0);
    let all = slowest(&mut house);
    assert_eq!(all.len(), 20, "each once, though two shards know it");
    for journey in &all {
        assert_eq!((journey.shard, journey.to_shard), (0, 1));
        assert_eq!((journey.author, journey.recipient), (anna.number(), bo.number()));
        assert!((1001..=1020).contains(&journey.id));
        let way = Stamp::ALL.iter().filter(|stamp| **stamp != Stamp::Sent);
        let times: Vec<_> = way.map(|stamp| journey.stamps.at(*stamp)).collect();
        assert!(times.iter().all(Option::is_some) && times.is_sorted(), "{journey:?}");
        assert!(journey.stamps.at(Stamp::Sent) >= journey.stamps.at(Stamp::Released));
    }
}

#[test]
fn a_resend_counts_as_acked_and_whoever_is_absent_or_refused_is_not_pushed_to() {
    let mut house = House::new(2);
    let (anna, absent) = (house.person(0), house.person(1));
    let mut author = house.device(anna);
    let nobody = UserId::new(1024 * 77 + 3).expect("positive");
    for _ in 0..2 {
        author.say(text(5, absent, "the same twice"));
    }
    house.until_received(&mut author, ACK, 2);
    author.say(text(6, nobody, "to nobody"));
    house.until_received(&mut author, r#""msgType":"Error""#, 1);
    (0..5).for_each(|_| house.round());
    for of in [Span::Decode, Span::Release, Span::Send, Span::Ack] {
        assert_eq!(span(&house, 0, of).0, 2, "{}", of.name());
    }
    assert_eq!(span(&house, 1, Span::Deliver).0, 1, "it is stored for him");
    assert_eq!((span(&house, 1, Span::Push).0, span(&house, 0, Span::Push).0), (0, 0));
}

#[test]
fn a_message_to_several_devices_is_one_delivery() {
    let mut house = House::new(1);
    let (anna, bo) = (house.person(0), house.person(0));
    let (mut author, mut reader) = (house.device(anna), house.device(bo));
    let mut others = [house.device(bo), house.device(bo), house.device(anna)];
    chat(&mut house, (&mut author, &mut reader), bo, 3);
    for other in &mut others {
        house.until_received(other, TEXT, 3);
    }
    (0..5).for_each(|_| house.round());
    assert_eq!(span(&house, 0, Span::Delivery).0, 3);
    assert_eq!(span(&house, 0, Span::Ack).0, 3);
}

/// Invariant 2 of node::profile.
#[test]
fn the_time_of_a_relay_that_found_the_mesh_full_goes_on() {
    let mut house = House::new(2);
    let (anna, bo) = (house.person(0), house.person(1));
    let (mut author, mut reader) = (house.device(anna), house.device(bo));
    let total = MESH_PARCELS_MAX + 100;
    for id in 1..=total {
        author.say(text(id as u64, bo, "one parcel each"));
        let start = steady_nanos();
        while author.count(ACK) < id {
            house.shards[0].round(Phase::Serving).expect("a round");
            assert!(steady_nanos() - start < 30_000_000_000, "no Ack");
        }
    }
    assert!(!house.shards[0].desk.profile.late[1].is_empty());
    house.until_received(&mut reader, TEXT, total);
    (0..5).for_each(|_| house.round());
    assert!(house.shards[0].desk.profile.late[1].is_empty());
    for of in [Span::Relay, Span::Push, Span::Delivery] {
        assert_eq!(span(&house, 1, of).0, total as u64, "{}", of.name());
    }
    assert_eq!(house.shards[0].desk.metrics.counter(Counter::Unfollowed), 0);
}

#[test]
fn frames_of_a_connection_that_is_cut_are_followed_no_more() {
    let mut house = House::new(1);
    let (anna, bo) = (house.person(0), house.person(0));
    let mut author = house.device(anna);
    let reader = house.connect_narrow(0, crate::wire::session::Port::WebSocket);
    let mut reader = Peer { ..reader };
    reader.say(crate::node::house::UPGRADE);
    reader.say(crate::node::house::auth(bo));
    house.until_received(&mut reader, ACK, 1);
    let content = "x".repeat(32 * 1024);
    // He reads nothing: his socket fills, then what waits for it.
    let cut = |house: &House| house.shards[0].desk.metrics.counter(Counter::Cut);
    let most = 4 * UNSENT_BYTES_MAX / content.len();
    for id in 1..=most {
        author.say(text(id as u64, bo, &content));
        house.until_received(&mut author, ACK, id);
        if cut(&house) > 0 {
            break;
        }
    }
    assert_eq!(cut(&house), 1);
    drop(reader);
    let trails = |house: &House| house.shards[0].desk.profile.trails.count();
    house.until("nothing is followed", |house| trails(house) == 0);
    let (pushed, _) = span(&house, 0, Span::Push);
    let acked = author.count(ACK) as u64;
    assert!(pushed < acked && span(&house, 0, Span::Ack).0 == acked, "{pushed} of {acked}");
}

#[test]
fn a_message_that_waits_in_the_window_counts_from_its_last_bytes() {
    let mut house = House::new(1);
    let (anna, bo) = (house.person(0), house.person(0));
    let mut author = house.device(anna);
    let sent = text(9, bo, "in two parts");
    author.say(&sent[..20]);
    let window = |house: &mut House, peer: &Peer| {
        house.server_side(0, peer).map_or(0, |connection| connection.window.len())
    };
    house.until("the first part", |house| window(house, &author) == 20);
    let desk = &house.shards[0].desk;
    let first = desk.table.received_ns(author.token, desk.profile.round);
    house.round();
    let between = steady_nanos();
    author.say(&sent[20..]);
    house.until_received(&mut author, ACK, 1);
    (0..3).for_each(|_| house.round());
    let journey = slowest(&mut house)[0];
    assert!(first < between && journey.stamps.received() > between, "{journey:?}");
}

#[test]
fn a_round_that_took_long_is_counted_under_its_longest_step() {
    let mut house = House::new(1);
    let away = |house: &House| house.shards[0].desk.metrics.away(Step::Ring);
    // The machine may be away, too, in the midst of another step: then it is tried again.
    house.until("a round that names the ring", |house| {
        let steps = &mut house.shards[0].steps;
        steps.go_on();
        let begun = steps.looked();
        while steady_nanos() < begun + 20_000_000 {}
        house.round();
        away(house) > 0
    });
    let rounds = house.shards[0].desk.metrics.away_rounds();
    let last = rounds.last().expect("it was counted");
    assert_eq!((last.doing, away(&house)), (Step::Ring, 1));
    assert!(last.doing_nanos >= 10_000_000 && last.nanos >= 20_000_000, "{last:?}");
}
