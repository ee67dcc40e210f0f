//! Wrong histories of lists and counts.

use super::*;

/// Three messages of Ann to Bob, who is shown them.
fn three() -> (Story, DeviceId, DeviceId) {
    let mut story = Story::new(SYNC);
    let (a, b) = (story.connect(ann()), story.connect(bob()));
    for id in 10..13 {
        story.sent(a, id, bob());
        holds(story.pushed(b, id));
    }
    (story, a, b)
}

fn all() -> [Shown; 3] {
    [shown(12, 3), shown(11, 2), shown(10, 1)]
}

fn waiting() -> [Shown; 3] {
    [shown(10, 1), shown(11, 2), shown(12, 3)]
}

const CHAT: Entry =
    Entry { id: 1030, peer: UserId::SYSTEM, top: false, unread: 3, last: 12, date: "d" };

fn chat() -> Entry {
    Entry { peer: ann(), ..CHAT }
}

fn clear() -> Call {
    Call::ClearUnreadOf { owner: bob(), peer: ann() }
}

fn empty() -> OwnedValue {
    OwnedValue::from(())
}

/// Invariant 4 of sim::checkers.
#[test]
fn a_count_that_is_one_off_is_found() {
    for (count, is_right) in [(2, false), (3, true), (4, false)] {
        let judged = three().0.unread(bob(), count);
        if is_right {
            holds(judged)
        } else {
            fails(judged, "unread", None)
        }
        let judged = three().0.chats(&[Entry { unread: count, ..chat() }]);
        if is_right { holds(judged) } else { fails(judged, "unread", None) }
    }
    fails(three().0.unread(ann(), 1), "unread", None);
}

/// Invariant 4 of sim::checkers.
#[test]
fn a_clear_reads_what_had_come_and_nothing_later() {
    let (mut story, a, _) = three();
    holds(story.call(clear(), &empty()));
    story.sent(a, 13, bob());
    holds(story.unread(bob(), 1));
    fails(story.unread(bob(), 0), "unread", None);
    fails(story.unread(bob(), 4), "unread", None);
    let read = all().map(|shown| Shown { is_read: true, ..shown });
    holds(story.page(bob(), &[&[shown(13, 4)][..], &read].concat()));
    fails(three().0.page(bob(), &read), "unread", Some(12));
}

/// Invariant 1 of sim::model.
/// Invariant 4 of sim::checkers.
#[test]
fn a_clear_without_an_answer_is_uncertain_until_a_page_settles_it() {
    let start = || {
        let (mut story, ..) = three();
        story.calls(&clear());
        story.kill();
        story
    };
    holds(start().unread(bob(), 0));
    holds(start().unread(bob(), 3));
    let mut story = start();
    holds(story.page(bob(), &all()));
    holds(story.unread(bob(), 3));
    fails(story.unread(bob(), 0), "unread", None);
    let mut story = start();
    holds(story.page(bob(), &all().map(|shown| Shown { is_read: true, ..shown })));
    holds(story.unread(bob(), 0));
    fails(story.unread(bob(), 3), "unread", None);
}

/// Invariant 5 of sim::checkers.
#[test]
fn what_waits_is_what_was_received_and_not_acked() {
    holds(three().0.offline(bob(), &waiting()));
    fails(three().0.offline(bob(), &waiting()[1..]), "offline", Some(10));
    fails(three().0.offline(bob(), &[shown(11, 2), shown(10, 1)]), "offline", Some(10));
    fails(three().0.offline(ann(), &[shown(10, 1)]), "offline", Some(10));
    for (count, is_right) in [(2, false), (3, true), (4, false)] {
        let (mut story, ..) = three();
        let b = story.connect(bob());
        let judged = story.hear(b, Heard::Waiting { count });
        if is_right { holds(judged) } else { fails(judged, "offline", None) }
    }
}

/// Invariant 1 of sim::model.
/// Invariant 5 of sim::checkers.
#[test]
fn an_ack_is_uncertain_until_a_later_answer_on_its_connection() {
    let start = || {
        let (mut story, _, b) = three();
        story.say(b, Said::Ack(vec![10]));
        (story, b)
    };
    holds(start().0.offline(bob(), &waiting()));
    holds(start().0.offline(bob(), &waiting()[1..]));
    fails(start().0.offline(bob(), &waiting()[2..]), "offline", Some(11));
    let (mut story, b) = start();
    story.sent(b, 50, ann());
    holds(story.offline(bob(), &waiting()[1..]));
    let (mut story, b) = start();
    story.sent(b, 50, ann());
    fails(story.offline(bob(), &waiting()), "offline", Some(10));
    // What was shown to be gone must not wait again.
    let (mut story, _) = start();
    holds(story.offline(bob(), &waiting()[1..]));
    fails(story.offline(bob(), &waiting()), "offline", Some(10));
    // Not after a crash either: what lists show of Acks is on disk.
    let (mut story, _) = start();
    holds(story.offline(bob(), &waiting()[1..]));
    story.kill();
    fails(story.offline(bob(), &waiting()), "offline", Some(10));
}

/// Invariant 5 of sim::checkers.
#[test]
fn who_is_not_told_that_messages_wait_is_found() {
    let (mut story, _, _) = three();
    let device = DeviceId { person: bob().number(), connection: 900 };
    story.say(device, Said::Auth { user: bob(), id: Some(77) });
    holds(story.hear(device, Heard::Ack { id: 1, source: 77 }));
    fails(story.hear(device, Heard::Pong), "offline", None);
}

/// Invariant 6 of sim::checkers.
#[test]
fn a_chat_whose_date_changes_without_a_message_is_found() {
    let (mut story, a, _) = three();
    holds(story.chats(&[chat()]));
    holds(story.chats(&[chat()]));
    let later = Entry { date: "e", ..chat() };
    fails(story.chats(&[later]), "lists", Some(12));
    story.sent(a, 13, bob());
    holds(story.chats(&[Entry { unread: 4, last: 13, ..later }]));
}

/// Invariant 6 of sim::checkers.
#[test]
fn a_limit_that_leaves_out_the_newest_chat_is_found() {
    let carl = UserId::new(8).expect("positive");
    let first_is = |entry: Entry| {
        let (mut story, ..) = three();
        let register = Call::Register { identity: identity("8"), name: None };
        holds(story.call(register, &json(r#"{"userId":8}"#.to_owned())));
        let device = story.connect(carl);
        story.sent(device, 13, bob());
        let newest = Shown { from: carl, ..shown(13, 4) };
        holds(story.page(bob(), &[&[newest][..], &all()].concat()));
        story.call(Call::ChatList { user: bob(), limit: 1 }, &entries(&[entry]))
    };
    holds(first_is(Entry { id: 2054, peer: carl, unread: 1, last: 13, ..CHAT }));
    fails(first_is(chat()), "lists", None);
}

/// Invariant 5 of sim::checkers.
#[test]
fn what_is_pushed_again_though_it_was_acked_is_found() {
    let (mut story, _, b) = three();
    story.say(b, Said::Ack(vec![10]));
    story.sent(b, 50, ann());
    holds(story.pushed_at(b, 11, Some(2)));
    // The server may have said it before it heard of the Ack.
    holds(story.pushed_at(b, 10, Some(1)));
    story.sent(b, 51, ann());
    holds(story.pushed_at(b, 11, Some(2)));
    fails(story.pushed_at(b, 10, Some(1)), "offline", Some(10));
}

/// Invariant 5 of sim::checkers.
#[test]
fn who_is_not_told_that_a_part_of_the_list_was_not_all_is_found() {
    let part = || Call::Offline { user: bob(), after_seq: 0, limit: 2 };
    let start = || {
        let (mut story, _, b) = three();
        holds(story.call(part(), &rows(&waiting()[..2])));
        (story, b)
    };
    let says = |story: &mut Story, b, ids: &[i64]| {
        story.say(b, Said::Ack(ids.to_vec()));
        story.send(b, 50, ann());
        story.acked(b, 50)
    };
    let (mut story, b) = start();
    fails(says(&mut story, b, &[10, 11]), "offline", None);
    let (mut story, b) = start();
    holds(says(&mut story, b, &[10]));
    let (mut story, b) = start();
    holds(says(&mut story, b, &[10, 11, 12]));
    let (mut story, b) = start();
    story.say(b, Said::Ack(vec![10, 11]));
    holds(story.hear(b, Heard::Waiting { count: 1 }));
    story.send(b, 50, ann());
    holds(story.acked(b, 50));
    // Whoever says no more may be gone for the server before it has read all that he said.
    let (mut story, b) = start();
    story.say(b, Said::Ack(vec![10, 11]));
    story.send(b, 50, ann());
    holds(story.note(&Observation::Left { device: b }));
    holds(story.acked(b, 50));
    // Then another part is the last; or nobody remembers any.
    let (mut story, b) = start();
    story.calls(&part());
    holds(says(&mut story, b, &[10, 11]));
    let (mut story, _, b) = three();
    let device = story.calls(&part());
    let whole = Call::Offline { user: bob(), after_seq: 0, limit: 100 };
    holds(story.call(whole, &rows(&waiting())));
    holds(story.answer(device, &part(), &rows(&waiting()[..2])));
    holds(says(&mut story, b, &[10, 11]));
    let (mut story, _) = start();
    story.kill();
    let b = story.connect(bob());
    holds(says(&mut story, b, &[10, 11]));
}

/// Invariant 5 of sim::checkers.
#[test]
fn an_ack_up_to_a_message_reaches_those_before_it_and_no_other() {
    let start = || {
        let (mut story, _, b) = three();
        holds(story.page(bob(), &all()));
        story.say(b, Said::AckUpTo(11));
        story.sent(b, 50, ann());
        story
    };
    holds(start().offline(bob(), &waiting()[2..]));
    fails(start().offline(bob(), &waiting()), "offline", Some(10));
    fails(start().offline(bob(), &[]), "offline", Some(12));
}

/// Invariants 5 and 6 of sim::checkers.
#[test]
fn a_state_that_nobody_brought_about_or_that_goes_back_is_found() {
    let client = [Shown { state: "Client", ..shown(12, 3) }, shown(11, 2), shown(10, 1)];
    fails(three().0.page(bob(), &client), "offline", Some(12));
    let (mut story, _, b) = three();
    story.say(b, Said::Ack(vec![12]));
    holds(story.page(bob(), &client));
    fails(story.page(bob(), &all()), "offline", Some(12));
    let mut story = three().0;
    let state = "ServerToClientIng";
    holds(story.page(bob(), &all().map(|shown| Shown { state, ..shown })));
    fails(story.page(bob(), &all()), "lists", Some(12));
}

/// Invariant 6 of sim::checkers.
#[test]
fn a_page_that_skips_or_begins_elsewhere_is_found() {
    let page = |start, size| Call::Page { user: bob(), start, size };
    let first = |size| page(PageStart::Number(1), size);
    let start = || {
        let (mut story, ..) = three();
        holds(story.page(bob(), &all()));
        story
    };
    holds(start().call(first(2), &rows(&all()[..2])));
    holds(start().call(page(PageStart::Number(2), 2), &rows(&all()[2..])));
    holds(start().call(page(PageStart::Before(3), 2), &rows(&all()[1..])));
    holds(start().call(page(PageStart::Number(3), 2), &rows(&[])));
    fails(start().call(first(2), &rows(&[all()[0], all()[2]])), "lists", None);
    fails(start().call(first(2), &rows(&all()[1..])), "lists", None);
    fails(start().call(page(PageStart::Number(2), 1), &rows(&all()[..1])), "lists", None);
    fails(start().call(page(PageStart::Number(2), 1), &rows(&all()[2..])), "lists", None);
    fails(start().call(page(PageStart::Before(3), 2), &rows(&all()[2..])), "lists", None);
    fails(start().call(page(PageStart::Before(3), 2), &rows(&all()[..2])), "lists", None);
    fails(start().call(page(PageStart::Number(2), 2), &rows(&[])), "lists", None);
    fails(start().call(first(10), &rows(&all()[..2])), "kept", Some(10));
    let pair = |size| {
        let (owner, peer, start) = (bob(), ann(), PageStart::Number(1));
        Call::PairPage { owner, peer, start, size }
    };
    holds(start().call(pair(10), &rows(&all())));
    fails(start().call(pair(2), &rows(&all()[1..])), "lists", None);
    let with_eve =
        Call::PairPage { owner: bob(), peer: eve(), start: PageStart::Number(1), size: 10 };
    fails(start().call(with_eve, &rows(&all())), "forged", Some(12));
}

/// Invariant 6 of sim::checkers.
#[test]
fn a_chat_list_in_another_order_or_without_an_entry_is_found() {
    let note = |story: &mut Story, b| {
        story.sent(b, 60, bob());
        Entry { id: 2054, peer: bob(), top: false, unread: 0, last: 60, date: "d" }
    };
    let noted = Shown { from: bob(), state: "Client", is_read: true, ..shown(60, 4) };
    let start = || {
        let (mut story, _, b) = three();
        let note = note(&mut story, b);
        holds(story.page(bob(), &[&[noted][..], &all()].concat()));
        (story, note)
    };
    let (mut story, note) = start();
    holds(story.chats(&[note, chat()]));
    let (mut story, note) = start();
    fails(story.chats(&[chat(), note]), "lists", None);
    let (mut story, note) = start();
    fails(story.chats(&[note]), "lists", None);
    let (mut story, note) = start();
    fails(story.chats(&[note, Entry { last: 11, ..chat() }]), "lists", Some(11));
    let top = Entry { top: true, ..chat() };
    let (mut story, note) = start();
    fails(story.chats(&[top, note]), "lists", None);
    let (mut story, note) = start();
    holds(story.chats(&[note, chat()]));
    let id = ChatId::new(1030).expect("positive");
    holds(story.call(Call::Top { chat: id, top: true }, &empty()));
    holds(story.chats(&[top, note]));
    fails(story.chats(&[note, chat()]), "lists", None);
}

/// Invariant 6 of sim::checkers.
#[test]
fn a_deleted_chat_is_gone_until_a_message_comes() {
    let start = || {
        let (mut story, a, _) = three();
        holds(story.page(bob(), &all()));
        holds(story.chats(&[chat()]));
        let id = ChatId::new(1030).expect("positive");
        holds(story.call(Call::DeleteChat(id), &empty()));
        (story, a)
    };
    let (mut story, _) = start();
    holds(story.chats(&[]));
    fails(story.chats(&[Entry { unread: 0, ..chat() }]), "lists", None);
    let (mut story, a) = start();
    story.sent(a, 13, bob());
    holds(story.chats(&[Entry { unread: 1, last: 13, ..chat() }]));
    fails(story.chats(&[]), "lists", None);
}
