//! A WebSocket's life: before Auth, refusals in a row, the end.

use super::{Peer, masked, upgrade};
use crate::api::Refusal;
use crate::ids::{MessageId, UserId};
use crate::limits::{HELD_FRAMES_MAX, REFUSED_FRAMES_MAX};
use crate::wire::session::{CloseCode, Port};

const AUTH: &str = r#"{"msgType":"Auth","fromUserId":3,"content":"t","id":8}"#;

fn note(id: usize) -> String {
    format!(r#"{{"msgType":"Text","toUserId":2,"id":{id},"content":"n{id}"}}"#)
}

/// Invariant 2 of wire::buffer.
/// Invariant 1 of wire::websocket.
#[test]
fn frames_before_auth_follow_it_in_order() {
    let mut peer = Peer::upgraded();
    peer.answers = false;
    for id in 1..=HELD_FRAMES_MAX {
        peer.say(&note(id));
    }
    peer.say(r#"{"msgType":"Heartbeat"}"#);
    assert!(peer.seen.is_empty() && peer.session.held_bytes() > 0 && peer.session.is_unfinished());
    peer.say(AUTH);
    peer.say(&note(1000));
    assert_eq!(peer.seen.len(), 1, "what follows waits for the answer");
    assert!(peer.session.is_awaiting());
    peer.session.welcome(UserId::new(3).expect("3 is a user"));
    peer.run();
    assert_eq!(peer.seen.len(), HELD_FRAMES_MAX + 2);
    for (seen, id) in peer.seen[1..].iter().zip((1..=HELD_FRAMES_MAX).chain([1000])) {
        assert!(seen.contains(&format!("content: \"n{id}\"")), "{seen}");
    }
    assert_eq!(peer.session.held_bytes(), 0);
    assert!(!peer.session.is_unfinished() && peer.out.is_empty());
}

/// Invariant 1 of wire::buffer.
#[test]
fn too_much_before_auth_closes_4408() {
    let mut many = Peer::upgraded();
    (0..=HELD_FRAMES_MAX).for_each(|id| many.say(&note(id)));
    assert_eq!(many.close_code(), Some(4408));
    let mut large = Peer::upgraded();
    let text = format!(r#"{{"msgType":"Text","toUserId":2,"content":"{}"}}"#, "x".repeat(40_000));
    large.say(&text);
    assert_eq!(large.close_code(), None);
    large.say(&text);
    assert_eq!((large.close_code(), large.session.held_bytes()), (Some(4408), 0));
}

#[test]
fn what_is_no_message_is_refused_before_auth_too() {
    let mut peer = Peer::upgraded();
    peer.say("nonsense");
    let text = peer.taken();
    assert!(text.contains("not a JSON object") && text.contains("\"toUserId\":null"), "{text}");
    peer.say(AUTH);
    assert_eq!(peer.session.user(), UserId::new(3));
}

#[test]
fn a_refused_auth_is_an_error_and_4401() {
    let mut peer = Peer::upgraded();
    peer.answers = false;
    peer.say(AUTH);
    peer.session.refuse_auth(MessageId::new(8), Refusal::NotAuthenticated, &mut peer.out);
    assert!(peer.text().contains("{\\\"srcId\\\":8,\\\"code\\\":401,"), "{}", peer.text());
    assert_eq!((peer.close_code(), peer.session.is_closing()), (Some(4401), true));
    for nobody in ["0", "-1", "4294967296", "99999999999999999999"] {
        let mut peer = Peer::upgraded();
        peer.say(&format!(r#"{{"msgType":"Auth","fromUserId":"{nobody}","content":"t"}}"#));
        assert_eq!(peer.close_code(), Some(4401), "{nobody}");
    }
}

#[test]
fn damage_is_no_fault_of_the_peer() {
    let mut peer = Peer::upgraded();
    peer.answers = false;
    peer.say(AUTH);
    peer.session.refuse_auth(MessageId::new(8), Refusal::Unreadable, &mut peer.out);
    assert!(peer.text().contains("{\\\"srcId\\\":8,\\\"code\\\":500,"), "{}", peer.text());
    assert_eq!((peer.close_code(), peer.session.is_closing()), (Some(1011), true));
    let mut peer = Peer::authenticated();
    for _ in 0..2 * REFUSED_FRAMES_MAX {
        peer.session.refuse(None, Refusal::Unreadable, &mut peer.out);
    }
    assert!(!peer.session.is_closing());
}

#[test]
fn a_second_auth_is_for_the_rules_and_nothing_waits_for_it() {
    let mut peer = Peer::authenticated();
    peer.answers = false;
    peer.say(AUTH);
    peer.say(&note(1));
    assert_eq!(peer.seen.len(), 2);
    assert!(!peer.session.is_awaiting());
}

/// Invariant 3 of wire::websocket.
#[test]
fn twenty_refusals_in_a_row_close_1008() {
    let most = REFUSED_FRAMES_MAX as usize;
    let mut peer = Peer::authenticated();
    (1..most).for_each(|_| peer.say("x"));
    peer.say(r#"{"msgType":"Heartbeat"}"#);
    (1..most).for_each(|_| peer.say("x"));
    peer.session.accepted();
    (2..most).for_each(|_| peer.say("x"));
    peer.session.refuse(None, Refusal::NotYou, &mut peer.out);
    assert!(!peer.session.is_closing());
    peer.say("x");
    assert_eq!((peer.close_code(), peer.session.is_closing()), (Some(1008), true));
    assert_eq!(peer.text().matches("\"Error\"").count(), 3 * most - 2);
    peer.session.refuse(None, Refusal::NotYou, &mut peer.out);
    assert_eq!(peer.close_code(), Some(1008), "nothing follows a close");
}

#[test]
fn the_end_of_input_ends_a_session_when_its_window_is_decoded() {
    let mut idle = Peer::authenticated();
    idle.session.end_of_input();
    idle.run();
    assert!(idle.session.is_closing());
    assert_eq!(idle.session.user(), UserId::new(3), "who it was is still known");
    let mut owed = Peer::new(Port::Http);
    owed.answers = false;
    let two = b"GET /im/test HTTP/1.1\r\nHost: h\r\n\r\n".repeat(2);
    owed.give(&two);
    owed.session.end_of_input();
    owed.answers = true;
    owed.session.answer(200, b"1", &mut owed.out);
    owed.run();
    assert_eq!(owed.text().matches("200 OK").count(), 2);
    assert!(owed.session.is_closing());
}

/// Invariant 3 of wire::session.
/// Invariant 2 of wire::websocket.
#[test]
fn a_closed_session_takes_everything_and_says_nothing() {
    let mut peer = Peer::authenticated();
    peer.session.close(CloseCode::GoingAway, &mut peer.out);
    let before = peer.out.clone();
    peer.give(&masked(0x89, b"x"));
    peer.say(&note(1));
    peer.session.ping(&mut peer.out);
    peer.session.close(CloseCode::Normal, &mut peer.out);
    assert_eq!((peer.out.clone(), peer.seen.len()), (before, 0));
}

#[test]
fn frames_behind_the_upgrade_are_decoded() {
    let mut peer = Peer::new(Port::Http);
    peer.give(&[upgrade(), masked(0x81, AUTH.as_bytes())].concat());
    assert_eq!(peer.session.user(), UserId::new(3));
}
