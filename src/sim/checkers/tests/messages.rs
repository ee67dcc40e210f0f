//! Wrong histories of messages: lost, doubled, out of order, forged.

use super::*;

/// Invariant 1 of sim::checkers.
#[test]
fn an_acked_message_that_is_lost_is_found() {
    let start = || {
        let mut story = Story::new(SYNC);
        let a = story.connect(ann());
        story.sent(a, 10, bob());
        story.send(a, 11, bob());
        story.kill();
        story
    };
    for user in [ann(), bob()] {
        holds(start().page(user, &[shown(10, 1)]));
        holds(start().page(user, &[shown(11, 2), shown(10, 1)]));
        fails(start().page(user, &[]), "kept", Some(10));
        fails(start().page(user, &[shown(11, 1)]), "kept", Some(10));
    }
}

/// Invariant 1 of sim::checkers.
#[test]
fn what_was_seen_is_as_safe_as_what_was_acked() {
    let mut story = Story::new(SYNC);
    let (a, b) = (story.connect(ann()), story.connect(bob()));
    story.send(a, 10, bob());
    holds(story.pushed(b, 10));
    story.kill();
    fails(story.page(ann(), &[]), "kept", Some(10));
}

/// Invariant 1 of sim::checkers.
#[test]
fn retention_may_forget_the_oldest_and_nothing_else() {
    let retention = Retention { messages: Some(2), days: None };
    let start = || {
        let mut story = Story::new(Terms { retention, ..SYNC });
        let a = story.connect(ann());
        (10..14).for_each(|id| story.sent(a, id, bob()));
        holds(story.page(bob(), &[shown(13, 4), shown(12, 3), shown(11, 2), shown(10, 1)]));
        story
    };
    holds(start().page(bob(), &[shown(13, 4), shown(12, 3)]));
    holds(start().offline(bob(), &[shown(12, 3), shown(13, 4)]));
    holds(start().unread(bob(), 2));
    fails(start().page(bob(), &[shown(13, 4)]), "kept", Some(12));
    fails(start().offline(bob(), &[shown(13, 4)]), "offline", Some(12));
    fails(start().unread(bob(), 1), "unread", None);
}

/// Invariant 1 of sim::model.
/// Invariant 2 of sim::checkers.
#[test]
fn what_an_answer_has_shown_to_be_gone_must_stay_gone() {
    let start = || {
        let mut story = Story::new(SYNC);
        let a = story.connect(ann());
        story.sent(a, 10, bob());
        story.send(a, 11, bob());
        story
    };
    // Without a crash it may still be on its way.
    let mut story = start();
    holds(story.page(ann(), &[shown(10, 1)]));
    holds(story.page(ann(), &[shown(11, 2), shown(10, 1)]));
    let mut story = start();
    story.kill();
    holds(story.page(ann(), &[shown(10, 1)]));
    fails(story.page(ann(), &[shown(11, 2), shown(10, 1)]), "once", Some(11));
    // Unless it is sent again.
    let mut story = start();
    story.kill();
    holds(story.page(ann(), &[shown(10, 1)]));
    let a = story.connect(ann());
    story.sent(a, 11, bob());
    holds(story.page(ann(), &[shown(11, 2), shown(10, 1)]));
}

/// Invariant 2 of sim::checkers.
#[test]
fn a_message_that_is_there_twice_is_found() {
    let start = || {
        let mut story = Story::new(SYNC);
        let a = story.connect(ann());
        story.sent(a, 10, bob());
        story.sent(a, 10, bob());
        story
    };
    holds(start().page(bob(), &[shown(10, 1)]));
    fails(start().page(bob(), &[shown(10, 2), shown(10, 1)]), "once", Some(10));
    let mut story = start();
    holds(story.page(bob(), &[shown(10, 1)]));
    fails(story.page(bob(), &[shown(10, 2)]), "once", Some(10));
}

/// Invariant 2 of sim::checkers.
#[test]
fn a_push_that_comes_twice_on_one_connection_is_found() {
    let mut story = Story::new(SYNC);
    let (a, b) = (story.connect(ann()), story.connect(bob()));
    story.send(a, 10, bob());
    holds(story.pushed(b, 10));
    fails(story.pushed(b, 10), "once", Some(10));
    // On another one, after a crash, it may.
    let mut story = Story::new(SYNC);
    let (a, b) = (story.connect(ann()), story.connect(bob()));
    story.send(a, 10, bob());
    holds(story.pushed(b, 10));
    story.kill();
    let b = story.connect(bob());
    holds(story.pushed(b, 10));
}

/// Invariant 2 of sim::checkers.
#[test]
fn an_id_that_is_used_again_for_another_text_is_refused_and_not_acked() {
    let start = || {
        let mut story = Story::new(SYNC);
        let a = story.connect(ann());
        story.sent(a, 10, bob());
        story.send_text(a, 10, bob(), "something else");
        (story, a)
    };
    let (mut story, a) = start();
    let words = "used".to_owned();
    holds(story.hear(a, Heard::Error { source: Some(10), code: 409, words: words.clone() }));
    holds(story.page(bob(), &[shown(10, 1)]));
    let (mut story, a) = start();
    fails(story.acked(a, 10), "forged", Some(10));
    // The same text must not be refused so.
    let mut story = Story::new(SYNC);
    let a = story.connect(ann());
    story.send(a, 10, bob());
    story.send(a, 10, bob());
    holds(story.acked(a, 10));
    let refused = story.hear(a, Heard::Error { source: Some(10), code: 409, words });
    fails(refused, "once", Some(10));
}

/// Invariant 3 of sim::checkers.
#[test]
fn messages_out_of_order_are_found() {
    let start = || {
        let mut story = Story::new(SYNC);
        let (a, b) = (story.connect(ann()), story.connect(bob()));
        story.send(a, 12, bob());
        story.send(a, 11, bob());
        (story, b)
    };
    let (mut story, _) = start();
    holds(story.page(bob(), &[shown(11, 2), shown(12, 1)]));
    let (mut story, _) = start();
    fails(story.page(bob(), &[shown(12, 2), shown(11, 1)]), "order", Some(12));
    let (mut story, b) = start();
    holds(story.pushed(b, 12));
    holds(story.pushed(b, 11));
    let (mut story, b) = start();
    holds(story.pushed(b, 11));
    fails(story.pushed(b, 12), "order", Some(12));
    // Two devices of one author have no order, but for Acks.
    let mut story = Story::new(SYNC);
    let (one, other) = (story.connect(ann()), story.connect(ann()));
    story.send(one, 11, bob());
    story.send(other, 12, bob());
    holds(story.page(bob(), &[shown(11, 2), shown(12, 1)]));
    let mut story = Story::new(SYNC);
    let (one, other) = (story.connect(ann()), story.connect(ann()));
    story.sent(one, 11, bob());
    story.send(other, 12, bob());
    fails(story.page(bob(), &[shown(11, 2), shown(12, 1)]), "order", Some(11));
}

/// Invariant 3 of sim::checkers.
#[test]
fn what_is_refused_after_it_was_forgotten_keeps_the_place_of_its_first_sending() {
    let retention = Retention { messages: Some(2), days: None };
    let mut story = Story::new(Terms { retention, ..SYNC });
    let (a, b) = (story.connect(ann()), story.connect(bob()));
    for id in [10, 11, 10] {
        story.send(a, id, bob());
    }
    let words = "used".to_owned();
    holds(story.hear(a, Heard::Error { source: Some(10), code: 409, words }));
    holds(story.acked(a, 10));
    holds(story.acked(a, 11));
    holds(story.pushed(b, 10));
    holds(story.pushed(b, 11));
}

/// Invariant 3 of sim::checkers.
#[test]
fn a_push_that_is_passed_over_is_found() {
    let mut story = Story::new(SYNC);
    let (a, b) = (story.connect(ann()), story.connect(bob()));
    story.sent(a, 10, bob());
    story.sent(a, 11, bob());
    fails(story.pushed(b, 11), "order", Some(10));
    let mut story = Story::new(SYNC);
    let a = story.connect(ann());
    story.sent(a, 10, bob());
    // Who came later is not pushed what was there.
    let b = story.connect(bob());
    story.sent(a, 11, bob());
    holds(story.pushed(b, 11));
}

/// Invariant 1 of sim::checkers.
#[test]
fn what_was_kept_before_is_acked_whatever_the_disk_lacks() {
    let refusal = |source| Heard::Error { source: Some(source), code: 503, words: "full".into() };
    let mut story = Story::new(SYNC);
    let a = story.connect(ann());
    story.send(a, 10, bob());
    holds(story.hear(a, refusal(10)));
    story.sent(a, 11, bob());
    story.send(a, 11, bob());
    fails(story.hear(a, refusal(11)), "kept", Some(11));
}

/// Invariant 10 of sim::checkers.
#[test]
fn who_says_auth_again_is_answered_by_who_he_says_he_is() {
    let again = |user, answer: fn(i64) -> Heard| {
        let mut story = Story::new(SYNC);
        let a = story.connect(ann());
        story.say(a, Said::Auth { user, id: Some(77) });
        story.hear(a, answer(77))
    };
    let ack = |source| Heard::Ack { id: 1, source };
    let error = |source| Heard::Error { source: Some(source), code: 409, words: String::new() };
    holds(again(ann(), ack));
    holds(again(bob(), error));
    fails(again(bob(), ack), "forged", None);
    fails(again(ann(), error), "arrives", None);
    let mut story = Story::new(SYNC);
    let a = story.connect(ann());
    story.say(a, Said::Auth { user: ann(), id: Some(77) });
    fails(story.note(&Observation::Evening), "arrives", None);
}

/// Invariant 10 of sim::checkers.
#[test]
fn a_connection_that_makes_room_where_there_was_enough_is_found() {
    let replaced_beside = |others| {
        let mut story = Story::new(SYNC);
        let first = story.connect(ann());
        for _ in 0..others {
            story.connect(ann());
        }
        story.hear(first, Heard::Close { code: Some(4409) })
    };
    holds(replaced_beside(16));
    fails(replaced_beside(15), "arrives", None);
    let mut story = Story::new(SYNC);
    for _ in 0..17 {
        story.connect(ann());
    }
    fails(story.note(&Observation::Evening), "bounds", None);
}

/// Invariant 10 of sim::checkers.
#[test]
fn what_nobody_acks_is_missed_where_it_is_not_pushed_again() {
    let night = |has_acked: bool, is_pushed_again: bool| {
        let mut story = Story::new(SYNC);
        let (a, b) = (story.connect(ann()), story.connect(bob()));
        story.sent(a, 10, bob());
        holds(story.pushed(b, 10));
        if has_acked {
            story.say(b, Said::Ack(vec![99]));
        }
        if is_pushed_again {
            holds(story.pushed_at(b, 10, Some(1)));
        }
        story.note(&Observation::Morning)
    };
    holds(night(true, true));
    holds(night(false, false));
    fails(night(true, false), "arrives", Some(10));
}

/// Invariant 10 of sim::checkers.
#[test]
fn whoever_says_what_is_right_is_not_shut_out() {
    let start = || {
        let mut story = Story::new(SYNC);
        let a = story.connect(ann());
        (story, a)
    };
    for code in [1002, 1003, 1007, 1009] {
        let (mut story, a) = start();
        fails(story.hear(a, Heard::Close { code: Some(code) }), "arrives", None);
        let (mut story, a) = start();
        story.say(a, Said::Garbage);
        holds(story.hear(a, Heard::Close { code: Some(code) }));
    }
    let (mut story, a) = start();
    holds(story.hear(a, Heard::Close { code: Some(1001) }));
}

/// Invariant 8 of sim::checkers.
#[test]
fn messages_that_nobody_sent_so_are_found() {
    let start = || {
        let mut story = Story::new(SYNC);
        let a = story.connect(ann());
        story.sent(a, 10, bob());
        story
    };
    fails(start().page(bob(), &[shown(10, 1), shown(11, 2)]), "forged", Some(11));
    fails(start().page(bob(), &[Shown { from: eve(), ..shown(10, 1) }]), "forged", Some(10));
    fails(start().page(eve(), &[shown(10, 1)]), "forged", Some(10));
    let mut story = start();
    let changed = format!("[{}]", row(&shown(10, 1)).replace("the text", "a text"));
    let call = Call::Page { user: bob(), start: PageStart::Number(1), size: 10 };
    fails(story.call(call, &json(changed)), "forged", Some(10));
    // A frame in another's name, or to another company, must be refused.
    for (from, to) in [(Some(bob()), bob()), (None, eve())] {
        let mut story = start();
        let a = story.connect(ann());
        let (event, timestamp, kind) = (None, Some(20), MessageType::Text);
        let content = text(20);
        story.say(a, Said::Message { id: 20, from, to, kind, event, timestamp, content });
        fails(story.acked(a, 20), "forged", Some(20));
        fails(story.page(to, &[Shown { to, ..shown(20, 2) }]), "forged", Some(20));
    }
}

/// Invariant 2 of sim::model.
#[test]
fn an_async_power_cut_takes_back_what_was_not_on_disk_and_nothing_else() {
    let start = |durability| {
        let mut story = Story::new(Terms { durability, ..SYNC });
        let a = story.connect(ann());
        story.sent(a, 10, bob());
        let durable = Moment { ms: story.ms };
        story.sent(a, 11, bob());
        (story, durable)
    };
    for crash in [Crash::Kill, Crash::PowerCut] {
        for durability in [Durability::Sync, Durability::Async] {
            let (mut story, durable) = start(durability);
            story.crash(crash, durable);
            let judged = story.page(ann(), &[shown(10, 1)]);
            let may_lose = (crash, durability) == (Crash::PowerCut, Durability::Async);
            if may_lose {
                holds(judged)
            } else {
                fails(judged, "kept", Some(11))
            }
            let (mut story, durable) = start(durability);
            story.crash(crash, durable);
            fails(story.page(ann(), &[]), "kept", Some(10));
        }
    }
}

/// Invariant 2 of sim::model.
#[test]
fn a_power_cut_may_take_a_message_without_an_id_from_its_author_alone() {
    for (durability, may_lose) in [(Durability::Async, true), (Durability::Sync, false)] {
        let mut story = Story::new(Terms { durability, ..SYNC });
        let a = story.connect(ann());
        let (from, to, event, kind) = (None, bob(), None, MessageType::Text);
        let (content, timestamp) = (text(1000), Some(1000));
        story.say(a, Said::Message { id: 0, from, to, kind, event, timestamp, content });
        story.crash(Crash::PowerCut, Moment { ms: story.ms });
        holds(story.page(bob(), &[shown(1000, 1)]));
        let judged = story.page(ann(), &[]);
        if may_lose { holds(judged) } else { fails(judged, "kept", Some(1000)) }
    }
}

/// Invariant 2 of sim::model.
#[test]
fn what_a_recipient_alone_has_left_is_not_taken_for_what_its_author_has_sent_since() {
    for (durability, may_lose) in [(Durability::Async, true), (Durability::Sync, false)] {
        let mut story = Story::new(Terms { durability, ..SYNC });
        let a = story.connect(ann());
        story.sent(a, 10, bob());
        story.crash(Crash::PowerCut, Moment { ms: 0 });
        if may_lose {
            let a = story.connect(ann());
            story.send_text(a, 10, ann(), &text(10));
            holds(story.acked(a, 10));
        }
        holds(story.page(bob(), &[shown(10, 1)]));
        let judged = story.call(Call::ChatList { user: ann(), limit: 10 }, &rows(&[]));
        if may_lose { holds(judged) } else { fails(judged, "lists", None) }
    }
}
