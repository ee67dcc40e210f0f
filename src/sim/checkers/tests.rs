//! Each checker, shown to fail on a history that is wrong in its way, and on nothing else.

use super::{Checkers, Terms};
use crate::api::{Identity, MessageType, PageStart};
use crate::chat::forget::Retention;
use crate::ids::{ChatId, UserId};
use crate::sim::disk::Crash;
use crate::sim::observation::{Call, DeviceId, Failure, Heard, Moment, Observation, Said, Sizes};
use crate::sim::users::identity;
use crate::store::log::Durability;
use simd_json::OwnedValue;

mod lists;
mod messages;

type Judged = Result<(), Failure>;

/// What people say and hear, in a few words; 10 ms apart.
struct Story {
    checkers: Checkers,
    ms: u64,
    devices: u32,
}

fn ann() -> UserId {
    UserId::new(5).expect("positive")
}

fn bob() -> UserId {
    UserId::new(6).expect("positive")
}

fn eve() -> UserId {
    UserId::new(7).expect("positive")
}

const SYNC: Terms = Terms {
    durability: Durability::Sync,
    retention: Retention { messages: None, days: None },
    lanes_may_fill: false,
};

/// A message as it stands in a list.
#[derive(Clone, Copy)]
struct Shown {
    id: i64,
    from: UserId,
    to: UserId,
    state: &'static str,
    is_read: bool,
    seq: u64,
}

/// A message of Ann to Bob, not reached yet.
fn shown(id: i64, seq: u64) -> Shown {
    Shown { id, from: ann(), to: bob(), state: "Server", is_read: false, seq }
}

/// The text of each message of these stories.
fn text(id: i64) -> String {
    format!("the text of {id}")
}

fn json(text: String) -> OwnedValue {
    simd_json::to_owned_value(&mut text.into_bytes()).expect("it is JSON")
}

fn row(shown: &Shown) -> String {
    let Shown { id, from, to, state, is_read, seq } = shown;
    format!(
        r#"{{"msgType":"Text","fromUserId":{},"toUserId":{},"teamId":null,"eventType":null,
        "content":"{}","id":{id},"timestamp":{id},"chatType":"Single","stateEnum":"{state}",
        "isRead":{is_read},"name":null,"serverSendTime":{id},"seq":{seq}}}"#,
        from.number(),
        to.number(),
        text(*id)
    )
}

fn rows(all: &[Shown]) -> OwnedValue {
    json(format!("[{}]", all.iter().map(row).collect::<Vec<_>>().join(",")))
}

/// An entry of Bob's list.
#[derive(Clone, Copy)]
struct Entry {
    id: u64,
    peer: UserId,
    top: bool,
    unread: u64,
    last: i64,
    date: &'static str,
}

fn entries(all: &[Entry]) -> OwnedValue {
    let entry = |entry: &Entry| {
        format!(
            r#"{{"top":{},"lastMsgId":{{"msgType":"Text","id":{last},"content":"{}",
            "timestamp":{last}}},"createTime":"c","fromUserId":{},"teamId":null,
            "updateTime":"{date}","id":{},"unReadCount":{},"toUserId":{},"chatType":"Single",
            "lastMsgDate":"{date}"}}"#,
            entry.top,
            text(entry.last),
            bob().number(),
            entry.id,
            entry.unread,
            entry.peer.number(),
            last = entry.last,
            date = entry.date,
        )
    };
    json(format!("[{}]", all.iter().map(entry).collect::<Vec<_>>().join(",")))
}

impl Story {
    fn new(terms: Terms) -> Story {
        let mut story = Story { checkers: Checkers::new(terms), ms: 0, devices: 0 };
        for (user, company) in [(ann(), "c"), (bob(), "c"), (eve(), "other")] {
            let name = user.number().to_string();
            let identity = Identity { company: company.into(), ..identity(&name) };
            let call = Call::Register { identity, name: None };
            story.call(call, &json(format!(r#"{{"userId":{}}}"#, user.number()))).expect("new");
        }
        story
    }

    fn note(&mut self, observation: &Observation<'_>) -> Judged {
        self.ms += 10;
        self.checkers.note(Moment { ms: self.ms }, observation)
    }

    fn say(&mut self, device: DeviceId, frame: Said) {
        self.note(&Observation::Said { device, frame: &frame }).expect("people may say anything");
    }

    fn hear(&mut self, device: DeviceId, frame: Heard) -> Judged {
        self.note(&Observation::Heard { device, frame: &frame })
    }

    /// A connection that is welcomed.
    fn connect(&mut self, user: UserId) -> DeviceId {
        self.devices += 1;
        let device = DeviceId { person: user.number(), connection: self.devices };
        let id = 1_000_001 + i64::from(self.devices);
        self.say(device, Said::Auth { user, id: Some(id) });
        self.hear(device, Heard::Ack { id: 1, source: id }).expect("it is welcomed");
        if self.checkers.lines[&device].owes_notice {
            let waits = self.checkers.model.messages_of(user);
            let count = waits.filter(|it| it.is_received_by(user) && it.is_kept_now()).count();
            self.hear(device, Heard::Waiting { count: count as u64 }).expect("so many wait");
        }
        device
    }

    fn send(&mut self, device: DeviceId, id: i64, to: UserId) {
        self.send_text(device, id, to, &text(id));
    }

    fn send_text(&mut self, device: DeviceId, id: i64, to: UserId, content: &str) {
        let (content, timestamp) = (content.to_owned(), Some(id));
        let (from, event, kind) = (None, None, MessageType::Text);
        self.say(device, Said::Message { id, from, to, kind, event, timestamp, content });
    }

    fn acked(&mut self, device: DeviceId, source: i64) -> Judged {
        self.hear(device, Heard::Ack { id: 1, source })
    }

    /// Sent, and acked.
    fn sent(&mut self, device: DeviceId, id: i64, to: UserId) {
        self.send(device, id, to);
        self.acked(device, id).expect("it was sent");
    }

    fn pushed(&mut self, device: DeviceId, id: i64) -> Judged {
        self.pushed_at(device, id, None)
    }

    /// What is pushed again has its seq.
    fn pushed_at(&mut self, device: DeviceId, id: i64, seq: Option<u64>) -> Judged {
        self.hear(
            device,
            Heard::Message {
                id,
                from: ann(),
                to: bob(),
                kind: "Text".to_owned(),
                event: None,
                timestamp: id,
                content: text(id),
                state: "ServerToClientIng".to_owned(),
                is_read: false,
                seq,
            },
        )
    }

    /// A call that is said and not answered.
    fn calls(&mut self, call: &Call) -> DeviceId {
        self.devices += 1;
        let device = DeviceId { person: DeviceId::STRANGER, connection: self.devices };
        self.note(&Observation::Called { device, call }).expect("people may ask anything");
        device
    }

    fn answer(&mut self, device: DeviceId, call: &Call, body: &OwnedValue) -> Judged {
        self.note(&Observation::Answered { device, call, status: 200, body })
    }

    fn refuse(&mut self, device: DeviceId, call: &Call, status: u16) -> Judged {
        self.note(&Observation::Answered { device, call, status, body: &OwnedValue::from(()) })
    }

    fn call(&mut self, call: Call, body: &OwnedValue) -> Judged {
        let device = self.calls(&call);
        self.answer(device, &call, body)
    }

    fn page(&mut self, user: UserId, all: &[Shown]) -> Judged {
        self.call(Call::Page { user, start: PageStart::Number(1), size: 10 }, &rows(all))
    }

    fn offline(&mut self, user: UserId, all: &[Shown]) -> Judged {
        self.call(Call::Offline { user, after_seq: 0, limit: 100 }, &rows(all))
    }

    fn unread(&mut self, user: UserId, count: u64) -> Judged {
        self.call(Call::UnreadCount(user), &json(format!(r#"{{"count":{count}}}"#)))
    }

    fn chats(&mut self, all: &[Entry]) -> Judged {
        self.call(Call::ChatList { user: bob(), limit: 10 }, &entries(all))
    }

    fn crash(&mut self, crash: Crash, durable: Moment) {
        self.note(&Observation::Crashed { crash, durable }).expect("nobody is to blame");
        self.note(&Observation::Recovered).expect("nobody is to blame");
    }

    fn kill(&mut self) {
        self.crash(Crash::Kill, Moment { ms: self.ms });
    }
}

#[track_caller]
fn fails(judged: Judged, checker: &str, message: Option<i64>) {
    let failure = judged.expect_err("the history is wrong");
    assert_eq!((failure.checker, failure.message), (checker, message), "{failure}");
    assert!(failure.to_string().starts_with(&format!("[{checker}]")), "{failure}");
}

#[track_caller]
fn holds(judged: Judged) {
    if let Err(failure) = judged {
        panic!("the history is right: {failure}");
    }
}

/// Invariant 9 of sim::checkers.
#[test]
fn sizes_beyond_their_limits_are_found() {
    let mut story = Story::new(SYNC);
    holds(story.note(&Observation::Sizes(&Sizes::default())));
    let parked = crate::limits::PARKED_MAX + 1;
    let sizes = Sizes { parked, ..Sizes::default() };
    fails(story.note(&Observation::Sizes(&sizes)), "bounds", None);
    let lane_parcels = crate::limits::MESH_PARCELS_MAX + 1;
    let sizes = Sizes { lane_parcels, ..Sizes::default() };
    fails(story.note(&Observation::Sizes(&sizes)), "bounds", None);
}

/// Invariant 10 of sim::checkers.
#[test]
fn what_is_not_answered_or_not_pushed_by_the_evening_is_found() {
    let start = || {
        let mut story = Story::new(SYNC);
        let (a, b) = (story.connect(ann()), story.connect(bob()));
        (story, a, b)
    };
    let (mut story, a, b) = start();
    story.sent(a, 10, bob());
    holds(story.pushed(b, 10));
    holds(story.note(&Observation::Evening));
    let outbox_rows = 1;
    let sizes = Sizes { outbox_rows, ..Sizes::default() };
    fails(story.note(&Observation::Sizes(&sizes)), "arrives", None);
    let (mut story, a, _) = start();
    story.send(a, 10, bob());
    fails(story.note(&Observation::Evening), "arrives", Some(10));
    let (mut story, a, _) = start();
    story.sent(a, 10, bob());
    fails(story.note(&Observation::Evening), "arrives", Some(10));
    let (mut story, ..) = start();
    story.calls(&Call::UnreadCount(ann()));
    fails(story.note(&Observation::Evening), "arrives", None);
    // A connection that is gone need not be told.
    let (mut story, a, b) = start();
    story.send(a, 10, bob());
    for device in [a, b] {
        holds(story.note(&Observation::Ended { device, code: None }));
    }
    holds(story.note(&Observation::Evening));
}

/// Invariant 10 of sim::checkers.
#[test]
fn two_sides_that_see_different_states_at_the_end_are_found() {
    for (state, is_right) in [("Client", true), ("Server", false)] {
        let mut story = Story::new(SYNC);
        let (a, b) = (story.connect(ann()), story.connect(bob()));
        story.sent(a, 10, bob());
        holds(story.pushed(b, 10));
        story.say(b, Said::Ack(vec![10]));
        holds(story.note(&Observation::Evening));
        holds(story.page(bob(), &[Shown { state: "Client", ..shown(10, 1) }]));
        holds(story.page(ann(), &[Shown { state, ..shown(10, 1) }]));
        let end = story.checkers.end();
        if is_right { holds(end) } else { fails(end, "arrives", Some(10)) }
    }
}

/// Invariant 7 of sim::checkers.
#[test]
fn ids_that_come_twice_or_fall_are_found() {
    let minted = |ids: &[i64]| {
        let mut story = Story::new(SYNC);
        let mut judged = Ok(());
        for id in ids {
            story.kill();
            judged =
                judged.and(story.call(Call::MintIds(None), &json(format!(r#"{{"id":{id}}}"#))));
        }
        judged
    };
    holds(minted(&[1000, 2000, 7000]));
    fails(minted(&[1000, 2000, 2000]), "ids", Some(2000));
    fails(minted(&[2000, 1000]), "ids", Some(1000));
    fails(minted(&[1001]), "ids", Some(1001));
    // Who asks before another is answered may be given less.
    let mut story = Story::new(SYNC);
    let call = Call::MintIds(None);
    let device = story.calls(&call);
    holds(story.call(call.clone(), &json(r#"{"id":9000}"#.to_owned())));
    holds(story.answer(device, &call, &json(r#"{"id":8000}"#.to_owned())));
}

/// Invariant 7 of sim::checkers.
#[test]
fn an_identity_with_two_users_is_found() {
    let mut story = Story::new(SYNC);
    let call = Call::Find(identity("5"));
    holds(story.call(call.clone(), &json(r#"{"userId":5,"name":null}"#.to_owned())));
    fails(story.call(call, &json(r#"{"userId":6,"name":null}"#.to_owned())), "ids", None);
}

/// Invariant 6 of sim::checkers.
#[test]
fn a_name_that_is_not_the_last_given_is_found() {
    let start = || {
        let mut story = Story::new(SYNC);
        for name in ["Ann", "Anna"] {
            let call = Call::Register { identity: identity("guest"), name: Some(name.into()) };
            holds(story.call(call, &json(r#"{"userId":9}"#.to_owned())));
        }
        story
    };
    let found = |story: &mut Story, name: &str| {
        let body = json(format!(r#"{{"userId":9,"name":{name}}}"#));
        story.call(Call::Find(identity("guest")), &body)
    };
    holds(found(&mut start(), r#""Anna""#));
    fails(found(&mut start(), r#""Ann""#), "lists", None);
    fails(found(&mut start(), "null"), "lists", None);
    // What is on its way may be there, and may be not.
    let mut story = start();
    let call = Call::Register { identity: identity("guest"), name: Some("Anne".into()) };
    story.calls(&call);
    holds(found(&mut story, r#""Anne""#));
    holds(found(&mut story, r#""Anna""#));
}

/// Invariant 7 of sim::checkers.
#[test]
fn a_registration_that_is_lost_is_found() {
    let guest = || identity("guest");
    let mut story = Story::new(SYNC);
    let (find, register) = (Call::Find(guest()), Call::Register { identity: guest(), name: None });
    let (early, call) = (story.calls(&find), story.calls(&register));
    holds(story.answer(call, &register, &json(r#"{"userId":9}"#.to_owned())));
    // He was asked for before.
    holds(story.refuse(early, &find, 500));
    story.kill();
    let late = story.calls(&find);
    holds(story.refuse(late, &find, 503));
    let late = story.calls(&find);
    fails(story.refuse(late, &find, 500), "lists", None);
}

/// Invariant 7 of sim::checkers.
#[test]
fn who_was_only_found_may_be_lost_where_acks_do_not_wait_for_the_disk() {
    let find = |name| Call::Find(identity(name));
    let nine = || json(r#"{"userId":9,"name":null}"#.to_owned());
    for (durability, may_be_lost) in [(Durability::Async, true), (Durability::Sync, false)] {
        let mut story = Story::new(Terms { durability, ..SYNC });
        holds(story.call(find("guest"), &nine()));
        story.crash(Crash::PowerCut, Moment { ms: 0 });
        let judged = story.call(find("other guest"), &nine());
        if may_be_lost {
            holds(judged);
        } else {
            fails(judged, "ids", None);
        }
    }
}

/// Invariant 7 of sim::checkers.
#[test]
fn a_chat_whose_id_changes_is_found() {
    let mut story = Story::new(SYNC);
    let a = story.connect(ann());
    story.sent(a, 10, bob());
    let entry = Entry { id: 1030, peer: ann(), top: false, unread: 1, last: 10, date: "d" };
    holds(story.chats(&[entry]));
    let chat = ChatId::new(1030).expect("positive");
    holds(story.call(Call::DeleteChat(chat), &OwnedValue::from(())));
    story.sent(a, 11, bob());
    fails(story.chats(&[Entry { id: 1031, last: 11, ..entry }]), "ids", None);
}
