//! Rows that the rules made are clean; rows that somebody doctored are found.

use crate::api::{Acked, Request};
use crate::chat::audit::{self, Counts, Finding};
use crate::chat::forget::Retention;
use crate::ids::{ChatId, MessageId, ShardId, UserId};
use crate::sim::users::{Person, text};
use crate::sim::world::{Sent, World};
use crate::store::keys::{Key, Kind, Side};
use crate::store::memory::MemoryStore;
use crate::store::parts::{Parts, kind_of};
use crate::store::rows::{
    ChatIdRow, ChatRow, IdBlockRow, LateIdRow, NumberRow, OutboxRow, PairBlockRow, RowSerializer,
    RowWriter, SlotRow, StreamRow, UserRow, WaitingRow, read_owned,
};
use crate::store::{Batch, Direction, Range, Store};
use rkyv::Serialize;
use rkyv::api::high::{HighDeserializer, HighValidator};
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor::Error as ArchiveError;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// Rows of all shards with every kind of row among them.
pub(super) struct Rows(pub(super) Vec<MemoryStore>);

fn rows() -> Rows {
    let (mut world, users, people) = settled_world();
    // Some are set aside for one who cannot look whether he has a chat with this stranger.
    let author = people[3];
    let is_abroad = |user: &&UserId| world.home(**user) != world.home(author.user);
    let reader = *users[4..].iter().find(is_abroad).expect("not all are at home together");
    let home = usize::from(world.home(reader).0);
    let store = world.shards[home].store_mut();
    store.set_damaged([Key::chat(reader, author.user).to_vec()].into());
    (0..3).for_each(|n| world.send(author, text(8000 + n, reader, "aside for now")));
    world.settle();
    world.heal();
    // Some wait in outboxes, and some marks are due.
    let other = users.iter().position(|user| world.home(*user) != world.home(users[1]));
    let other = users[other.expect("not all are at home together")];
    let waiting = world.offline(users[1]);
    world.ack(people[1], Acked::UpTo(waiting[9].id));
    (0..5).for_each(|n| world.send(people[1], text(9000 + n, other, "on the way")));
    world.sync(usize::from(world.home(users[1]).0));
    Rows::of(&world)
}

/// A day of a few users, with nothing under way.
pub(super) fn settled_world() -> (World, Vec<UserId>, Vec<Person>) {
    let mut world = World::new(3);
    world.retain(Retention { messages: Some(140), days: None });
    let users: Vec<UserId> = (0..6).map(|n| world.register(&format!("u{n}"))).collect();
    let people: Vec<_> = users.iter().map(|user| world.connect(*user)).collect();
    for step in 0..320_i64 {
        let (from, to) = (step % 3, (step * 7 + step / 5) % 6);
        let number = if step % 9 == 0 { 1000 - step } else { 2000 + step };
        world.send(people[from as usize], text(number, users[to as usize], "hello"));
        if step % 10 == 0 {
            world.settle();
            world.pass(250);
        }
    }
    world.settle();
    let offline = world.offline(users[1]);
    offline.iter().step_by(3).for_each(|kept| world.ack(people[1], Acked::One(kept.id)));
    let Sent::Chats(chats) = world.call(Request::ChatList { user: users[0], limit: 9 }) else {
        panic!("a chat list was asked for")
    };
    let chat = |index: usize| ChatId::new(chats[index].id as i64).expect("positive");
    world.call(Request::MintIds(None));
    world.call(Request::DeleteChat(chat(0)));
    world.call(Request::ClearUnread(chat(1)));
    world.settle();
    world.pass(1000);
    (0..3).for_each(|shard| assert!(world.forget(shard) > 0, "some histories are long"));
    world.settle();
    (world, users, people)
}

impl Rows {
    pub(super) fn of(world: &World) -> Rows {
        let copy = |store: &MemoryStore| store.crash_keeping(store.written());
        Rows(world.shards.iter().map(|shard| copy(shard.store())).collect())
    }

    pub(super) fn audit(&self) -> (Counts, Vec<Finding>) {
        let mut findings = Vec::new();
        let stores: Vec<_> = self.0.iter().collect();
        let counts = audit::run(&stores, &mut |finding| findings.push(finding));
        (counts.expect("memory does not fail"), findings)
    }

    pub(super) fn all(&self) -> BTreeMap<(usize, Vec<u8>), Vec<u8>> {
        let mut all = BTreeMap::new();
        let range = Range { from: &[0], to: &[u8::MAX], direction: Direction::Forward };
        for (shard, store) in self.0.iter().enumerate() {
            let mut visit = |key: &[u8], value: &[u8]| {
                all.insert((shard, key.to_vec()), value.to_vec());
                ControlFlow::Continue(())
            };
            store.scan(range, &mut visit).expect("memory does not fail");
        }
        all
    }

    fn put(&mut self, shard: usize, key: &[u8], value: Option<&[u8]>) {
        let mut batch = Batch::new();
        match value {
            Some(value) => batch.put(key, value),
            None => batch.remove(key),
        }
        self.0[shard].write(&batch).expect("memory does not fail");
    }

    /// Rows with one changed give a finding; then all is as it was.
    #[track_caller]
    fn is_found(&mut self, shard: usize, key: &[u8], value: Option<&[u8]>, before: &[u8]) {
        self.put(shard, key, value);
        let (counts, findings) = self.audit();
        let words = crate::store::parts::words(key);
        assert!(!findings.is_empty(), "{words} of shard {shard} is doctored and not found");
        assert_eq!(counts.findings, findings.len() as u64);
        self.put(shard, key, Some(before));
    }
}

/// Some rows of a kind, evenly spread.
fn some(rows: &Rows, kind: Kind) -> Vec<(usize, Vec<u8>, Vec<u8>)> {
    let all = rows.all().into_iter().filter(|((_, key), _)| kind_of(key) == Some(kind));
    let all: Vec<_> = all.map(|((shard, key), value)| (shard, key, value)).collect();
    let step = all.len().div_ceil(9).max(1);
    all.into_iter().step_by(step).collect()
}

fn bytes_of<R>(row: &R) -> Vec<u8>
where
    R: for<'a> Serialize<RowSerializer<'a>>,
{
    let mut bytes = Vec::new();
    RowWriter::default().append(row, &mut bytes);
    bytes
}

/// Invariant 1 of chat::audit.
#[test]
fn rows_that_the_rules_made_are_clean() {
    let (counts, findings) = rows().audit();
    assert_eq!(findings, []);
    assert!(counts.messages > 500 && counts.users == 6, "{counts:?}");
    assert!(counts.relays == 5 && counts.aside == 3, "{counts:?}");
    assert!(counts.waiting > 100 && counts.chats >= 18, "{counts:?}");
}

/// Invariant 2 of chat::audit.
#[test]
fn a_row_that_is_gone_or_unreadable_is_found() {
    let mut rows = rows();
    for kind in crate::store::parts::KINDS {
        let chosen = some(&rows, kind);
        assert!(!chosen.is_empty(), "there are rows of {kind:?}");
        for (shard, key, value) in chosen {
            let mut unreadable = value.clone();
            unreadable[0] = 9;
            rows.is_found(shard, &key, Some(&unreadable), &value);
            // What nothing else tells of: a bound of ids, and how far a stream was applied (what
            // comes twice is noticed), and marks that are due to one who has them already.
            let is_alone =
                matches!(kind, Kind::Epoch | Kind::MintBound | Kind::Applied | Kind::MarksDue);
            if !is_alone {
                rows.is_found(shard, &key, None, &value);
            }
        }
    }
    let key = [9, 9, 9];
    rows.put(0, &key, Some(&[1]));
    assert_eq!(rows.audit().1.len(), 1, "a kind that there is not");
}

/// Changes a row of type `R` in one way after the other.
fn doctor<R>(rows: &mut Rows, kind: Kind, ways: &[fn(&mut R)])
where
    R: rkyv::Archive + for<'a> Serialize<RowSerializer<'a>>,
    R::Archived: rkyv::Portable
        + for<'a> CheckBytes<HighValidator<'a, ArchiveError>>
        + rkyv::Deserialize<R, HighDeserializer<ArchiveError>>,
{
    for (shard, key, value) in some(rows, kind).into_iter().take(3) {
        for way in ways {
            let mut row = read_owned::<R>(&value).expect("it is whole");
            way(&mut row);
            rows.is_found(shard, &key, Some(&bytes_of(&row)), &value);
        }
    }
}

/// Invariant 2 of chat::audit.
#[test]
fn a_users_or_chats_row_that_says_something_else_is_found() {
    let mut rows = Rows::of(&settled_world().0);
    let user: &[fn(&mut UserRow)] = &[
        |row| row.tenant += 1,
        |row| row.last_seq += 1,
        |row| row.highest_sent += 1,
        |row| row.highest_received += 1,
        |row| row.offline += 1,
        |row| row.listed += 1,
        |row| row.unread += 1,
        |row| row.waiting ^= 4,
        |row| row.sent.recent.truncate(row.sent.recent.len().saturating_sub(1)),
        |row| row.sent.indexed_up_to += 1,
        |row| row.sent.highest_late += 1,
        |row| row.received.indexed_up_to += 1,
        |row| row.received.highest_late += 1,
    ];
    for (way, name) in user.iter().zip(0..) {
        // A user whose newest ids are in a block has none to lose.
        let is_empty = |row: &UserRow| row.sent.recent.is_empty();
        for (shard, key, value) in some(&rows, Kind::User) {
            let mut row = read_owned::<UserRow>(&value).expect("it is whole");
            if name == 8 && is_empty(&row) {
                continue;
            }
            way(&mut row);
            rows.is_found(shard, &key, Some(&bytes_of(&row)), &value);
        }
    }
    let chat: &[fn(&mut ChatRow)] = &[
        |row| row.id += 1024,
        |row| row.messages += 1,
        |row| row.recent.push(3),
        |row| row.last_seq += 1,
        |row| row.unread += 1,
        |row| row.received += 1,
        |row| row.unacked += 1,
        |row| row.pushed.up_to += 1000,
        |row| row.acked.up_to += 1000,
        |row| row.read_up_to += 1000,
        |row| row.sent += 1,
        |row| row.peer_pushed.up_to += 1,
        |row| row.peer_acked.up_to += 1,
        |row| row.peer_read_up_to += 1,
        |row| row.listed = !row.listed,
    ];
    doctor(&mut rows, Kind::Chat, chat);
    doctor(&mut rows, Kind::HiddenChat, chat);
}

/// Invariant 2 of chat::audit.
#[test]
fn any_other_row_that_says_something_else_is_found() {
    let mut rows = rows();
    let number: &[fn(&mut NumberRow)] = &[|row| row.0 += 1];
    doctor(&mut rows, Kind::Identity, number);
    doctor(&mut rows, Kind::Tenant, number);
    doctor::<SlotRow>(&mut rows, Kind::Slot, &[|row| row.next_user += 1, |row| row.next_chat += 1]);
    doctor::<ChatIdRow>(&mut rows, Kind::ChatId, &[|row| row.owner += 1, |row| row.peer += 1]);
    doctor::<PairBlockRow>(&mut rows, Kind::PairBlock, &[|row| row.seqs[3] += 1]);
    doctor::<IdBlockRow>(&mut rows, Kind::IdBlock, &[|row| row.entries[5].seq += 1]);
    doctor::<LateIdRow>(&mut rows, Kind::LateId, &[|row| row.seqs[0] += 1]);
    doctor::<WaitingRow>(&mut rows, Kind::Waiting, &[|row| row.0 ^= 1 << 77]);
    doctor::<OutboxRow>(&mut rows, Kind::Outbox, &[|row| row.seq = 1 << 40]);
    doctor::<StreamRow>(&mut rows, Kind::Applied, &[|row| row.epoch += 9]);
    let all = rows.all();
    let with_other_text = |value: &[u8]| {
        let mut other = value.to_vec();
        let texts: [&[u8]; 3] = [b"hello", b"on th", b"aside"];
        let at = other.windows(5).position(|part| texts.contains(&part));
        other[at.expect("its text")] = b'j';
        other
    };
    for (shard, key, value) in some(&rows, Kind::Aside) {
        rows.is_found(shard, &key, Some(&with_other_text(&value)), &value);
    }
    for (shard, key, value) in some(&rows, Kind::Message) {
        let Some(Parts::Message { owner, .. }) = Parts::of(&key) else { panic!("a message") };
        let other = with_other_text(&value);
        let note = crate::store::rows::read::<crate::store::rows::ArchivedMessageRow<'_>>(&value);
        let note = note.expect("it is whole");
        // A note to self has no other end, nor has what the other one has forgotten.
        let other_end = if owner.number() == note.from { note.to } else { note.from };
        let peer = UserId::new(i64::from(other_end.to_native())).expect("positive");
        let forgotten =
            all.get(&(usize::from(peer.home(3).0), Key::forgotten_chat(peer, owner).to_vec()));
        let forgotten = forgotten.map(|row| read_owned::<ChatRow>(row).expect("it is whole"));
        let ordinals = forgotten.map_or((0, 0), |chat| (chat.received, chat.sent));
        let first = if owner.number() == note.from { ordinals.0 } else { ordinals.1 };
        if note.from != note.to && note.ordinal > first {
            rows.is_found(shard, &key, Some(&other), &value);
            if note.to == owner.number() {
                let doubled = Key::aside(owner, 90);
                rows.put(shard, &doubled, Some(&value));
                assert!(!rows.audit().1.is_empty(), "it is there and set aside");
                rows.put(shard, &doubled, None);
            }
        }
        assert_eq!(owner.home(3), ShardId(shard as u16));
    }
    let alien = MessageId::new(77).expect("positive");
    let user = some(&rows, Kind::User)[0].1.clone();
    let Some(Parts::User(user)) = Parts::of(&user) else { panic!("a user") };
    let extra: [(Vec<u8>, Vec<u8>); 4] = [
        (Key::late_id(user, Side::Sent, alien).to_vec(), bytes_of(&LateIdRow { seqs: vec![1] })),
        (Key::waiting(user, 70).to_vec(), bytes_of(&WaitingRow(1))),
        (Key::pair_block(user, user, 70).to_vec(), bytes_of(&PairBlockRow { seqs: [1; 8] })),
        (Key::outbox(user.home(3), 90, 1).to_vec(), bytes_of(&OutboxRow { author: 5, seq: 1 })),
    ];
    for (key, value) in extra {
        let shard = usize::from(user.home(3).0);
        rows.put(shard, &key, Some(&value));
        assert!(!rows.audit().1.is_empty(), "{} is extra", crate::store::parts::words(&key));
        rows.put(shard, &key, None);
    }
    assert_eq!(rows.audit().1, []);
}
