//! What the people of a town can know of their server, from what they said and heard alone.
//!
//! Each observation has a step. Of each message the model keeps everything that was put on a wire
//! under its id, and a few [`Fact`]s: it is kept, it has arrived, it is acked, it is read. A fact
//! is sure from the answer on that has shown it; before that it is possible, as long as something
//! that was said may have brought it about. Whoever asks at one step and is answered at another
//! must be shown all that was sure when he asked, and nothing that was impossible when he was
//! answered. What an answer shows is sure from then on. Histories are one map, from an owner and a
//! number to a message; pages, offline lists, chats and counts are all read off it.
//!
//! Invariants:
//! 1. Only an answer makes a fact sure; only an answer, or a crash, makes it impossible.
//! 2. A crash takes back nothing that was sure, but what `async` and a power cut may.
//!
//! Left to others: what is expected of the server ([`crate::sim::checkers`]).

use crate::chat::forget::Retention;
use crate::ids::{ChatId, UserId};
use crate::sim::disk::Crash;
use crate::sim::observation::{DeviceId, Moment};
use crate::store::log::Durability;
use std::collections::{BTreeMap, BTreeSet};

pub mod facts;
pub mod message;
pub use facts::{Deed, Fact, Flag, NEVER, Step};
use message::{Draft, Message, Sending};

/// An author, and the id that he gave a message.
pub type Key = (UserId, i64);

/// An entry of a chat list, as far as its owner knows it.
#[derive(Clone, Default, Debug)]
pub struct Chat {
    /// The entry's own id, and since when that is known.
    pub id: Option<(u64, Step)>,
    /// When it was made, in words.
    pub created: Option<String>,
    /// The last message that it was seen with, and when that changed it, in words.
    pub dated: Option<(Key, String)>,
    /// What may have read its messages: clears and deletes.
    pub clears: Vec<Deed>,
    /// What may have taken it off the list.
    pub deletes: Vec<Deed>,
    /// The last delete that was answered.
    pub deleted: Option<Deed>,
    /// Kept at the head of the list.
    pub top: Flag,
}

/// A message without an id.
#[derive(Clone, Debug)]
pub struct Nameless {
    /// Whose.
    pub author: UserId,
    /// Where it was said.
    pub device: DeviceId,
    /// What it says.
    pub draft: Draft,
    /// From when to when it may be taken in.
    pub deed: Deed,
    /// A power cut may have taken it from one of its two homes.
    pub is_parted: bool,
}

/// Which messages an Ack of a client names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Named {
    /// All received under these ids.
    Ids(Vec<i64>),
    /// All received up to the last one of this id.
    UpTo(i64),
}

/// What the server has promised in this run.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// When an Ack is given.
    pub durability: Durability,
    /// What is kept of histories.
    pub retention: Retention,
    /// Lanes between shards are narrow: a message may arrive after its Ack.
    pub lanes_may_fill: bool,
}

/// All that is known.
pub struct Model {
    /// What was promised.
    pub terms: Terms,
    /// The observation that is being looked at.
    pub step: Step,
    /// A power cut has taken back what `async` had acked: two homes need not agree any more.
    pub is_parted: bool,
    /// Every message that was ever sent.
    pub messages: BTreeMap<Key, Message>,
    /// Those without an id, as long as nobody knows which one the server made for them.
    pub nameless: Vec<Nameless>,
    /// The messages that may be in a user's history.
    of: BTreeMap<UserId, BTreeSet<Key>>,
    /// Histories, as far as they were shown, and since when.
    pub histories: BTreeMap<(UserId, u64), (Key, Step)>,
    /// Of whose history nothing up to this number is kept any more.
    pub forgotten: BTreeMap<UserId, u64>,
    /// By owner and peer.
    pub chats: BTreeMap<(UserId, UserId), Chat>,
    /// The pair of each chat id.
    pub chat_ids: BTreeMap<u64, (UserId, UserId)>,
    /// Chat ids that a power cut took back: another chat may have them since.
    lost_ids: BTreeSet<u64>,
    /// Acks of clients, by user and id.
    acks: BTreeMap<(UserId, i64), Vec<Deed>>,
    /// The same with all before.
    up_tos: BTreeMap<UserId, Vec<(i64, Deed)>>,
    /// The last step of each ms.
    moments: BTreeMap<Moment, Step>,
}

impl Model {
    /// Nothing has happened.
    pub fn new(terms: Terms) -> Model {
        Model {
            terms,
            step: 0,
            is_parted: false,
            messages: BTreeMap::new(),
            nameless: Vec::new(),
            of: BTreeMap::new(),
            histories: BTreeMap::new(),
            forgotten: BTreeMap::new(),
            chats: BTreeMap::new(),
            chat_ids: BTreeMap::new(),
            lost_ids: BTreeSet::new(),
            acks: BTreeMap::new(),
            up_tos: BTreeMap::new(),
            moments: BTreeMap::new(),
        }
    }

    /// The next observation is made.
    pub fn begin_step(&mut self, at: Moment) -> Step {
        self.step += 1;
        self.moments.insert(at, self.step);
        self.step
    }

    /// An author puts a message on a wire.
    pub fn sent(&mut self, key: Key, draft: Draft, device: DeviceId, begun: Step) {
        for user in [key.0, draft.to] {
            self.of.entry(user).or_default().insert(key);
        }
        let message = self.messages.entry(key).or_insert_with(|| Message::new(key));
        let known = message.drafts.iter().position(|known| *known == draft);
        let draft = known.unwrap_or_else(|| {
            message.drafts.push(draft);
            message.drafts.len() - 1
        });
        let deed = Deed::new(begun);
        message.sendings.push(Sending { device, draft, deed, is_answered: false });
    }

    /// It has shown which id a message without one was given.
    pub fn adopted(&mut self, key: Key, nameless: Nameless) {
        let Nameless { draft, device, deed, is_parted, .. } = nameless;
        self.sent(key, draft, device, deed.begun);
        let message = self.messages.get_mut(&key).expect("it was sent just now");
        message.sendings.iter_mut().for_each(|sending| sending.deed.over = deed.over);
        if is_parted {
            message.take_back(deed.over);
        }
    }

    /// Messages without an id that may be in a user's history.
    pub fn nameless_of(&self, owner: UserId) -> impl Iterator<Item = &Nameless> {
        self.nameless.iter().filter(move |one| one.author == owner || one.draft.to == owner)
    }

    /// The same from one author.
    pub fn nameless_from(&self, author: UserId, owner: UserId) -> impl Iterator<Item = &Nameless> {
        let others = self.nameless.iter().filter(move |one| one.author != owner);
        others.filter(move |one| one.author == author && one.draft.to == owner)
    }

    /// The messages that may be in a user's history.
    pub fn messages_of(&self, owner: UserId) -> impl Iterator<Item = &Message> {
        let keys = self.of.get(&owner).into_iter().flatten();
        self.may_be_of(owner, keys)
    }

    /// The same of one author.
    pub fn messages_from(&self, author: UserId, owner: UserId) -> impl Iterator<Item = &Message> {
        let keys = self.of.get(&owner).into_iter();
        let keys = keys.flat_map(move |keys| keys.range((author, i64::MIN)..=(author, i64::MAX)));
        self.may_be_of(owner, keys)
    }

    fn may_be_of<'a>(
        &'a self,
        owner: UserId,
        keys: impl Iterator<Item = &'a Key>,
    ) -> impl Iterator<Item = &'a Message> {
        keys.map(|key| &self.messages[key]).filter(move |message| message.may_be_of(owner))
    }

    /// The same, to learn something of them.
    fn each_of(&mut self, owner: UserId, mut act: impl FnMut(&mut Message)) {
        for key in self.of.get(&owner).into_iter().flatten() {
            act(self.messages.get_mut(key).expect("a message of a user is a message"));
        }
    }

    /// A message is kept: its author was told so, or somebody has seen it.
    pub fn is_kept(&mut self, key: Key, answered: Step) {
        let is_late = self.terms.lanes_may_fill;
        let message = self.messages.get_mut(&key).expect("who looks has found it");
        message.kept.holds(answered);
        if !is_late && !message.is_parted {
            message.arrived.holds(answered);
        }
    }

    /// Its recipient has seen a message.
    pub fn is_seen(&mut self, key: Key, answered: Step) {
        let message = self.messages.get_mut(&key).expect("who looks has found it");
        message.seen.holds(answered);
        message.arrived.holds(answered);
    }

    /// A history has shown a message at a number. `Err`: the message that is known to be there.
    pub fn is_at(&mut self, key: Key, owner: UserId, seq: u64, answered: Step) -> Result<(), Key> {
        let (known, _) = *self.histories.entry((owner, seq)).or_insert((key, answered));
        let message = self.messages.get_mut(&key).expect("who looks has found it");
        let sight = message.sight_mut(owner);
        let (before, _) = *sight.seq.get_or_insert((seq, answered));
        let is_there_twice = before != seq && !message.is_shaken;
        if known != key || is_there_twice { Err(known) } else { Ok(()) }
    }

    /// A client is about to ack messages.
    pub fn acks(&mut self, user: UserId, named: &Named, begun: Step) {
        let deed = Deed::new(begun);
        match named {
            Named::Ids(ids) => {
                ids.iter().for_each(|id| self.acks.entry((user, *id)).or_default().push(deed));
            }
            Named::UpTo(id) => self.up_tos.entry(user).or_default().push((*id, deed)),
        }
    }

    /// What a client has acked at `begun` was taken in, as a later answer shows.
    pub fn acked(&mut self, user: UserId, named: &Named, begun: Step, answered: Step) {
        let end = |deed: &mut Deed| {
            if deed.begun == begun {
                deed.over = answered;
            }
        };
        let is_there =
            move |message: &Message| message.is_received_by(user) && message.arrived.is_sure(begun);
        match named {
            Named::Ids(ids) => {
                for id in ids {
                    self.acks.entry((user, *id)).or_default().iter_mut().for_each(end);
                }
                self.each_of(user, |message| {
                    if ids.contains(&message.key.1) && is_there(message) {
                        message.at_recipient.acked.holds(answered);
                    }
                });
            }
            Named::UpTo(id) => {
                let up_tos = self.up_tos.entry(user).or_default();
                up_tos.iter_mut().for_each(|(_, deed)| end(deed));
                let named = self.messages_of(user).filter(|last| last.key.1 == *id);
                let last = named.filter(|last| is_there(last)).filter_map(|last| last.seq(user));
                let last = last.max().unwrap_or(0);
                self.each_of(user, |message| {
                    let is_before = message.seq(user).is_some_and(|seq| seq <= last);
                    if is_before && is_there(message) {
                        message.at_recipient.acked.holds(answered);
                    }
                });
            }
        }
    }

    /// Some client may have acked it by `answered`.
    pub fn may_be_acked(&self, message: &Message, user: UserId, answered: Step) -> bool {
        let fact = &message.at_recipient.acked;
        let may = |deed: &Deed| deed.may_have_made(fact, message, answered);
        let may_reach = |(id, deed): &(i64, Deed)| {
            let last = self.messages_of(user).filter(|last| last.key.1 == *id);
            let is_before = |last: &Message| match (last.seq(user), message.seq(user)) {
                (Some(last), Some(seq)) => last < seq,
                _ => false,
            };
            may(deed) && !last.into_iter().all(is_before)
        };
        fact.since.is_some()
            || self.acks.get(&(user, message.key.1)).into_iter().flatten().any(may)
            || self.up_tos.get(&user).into_iter().flatten().any(may_reach)
    }

    /// The chats that an id may stand for.
    pub fn pairs_of(&self, chat: ChatId) -> Vec<(UserId, UserId)> {
        if !self.lost_ids.contains(&chat.number()) {
            return self.chat_ids.get(&chat.number()).copied().into_iter().collect();
        }
        let owners = || self.of.keys().copied();
        let here = owners().filter(|owner| owner.slot() == chat.slot());
        here.flat_map(|owner| owners().map(move |peer| (owner, peer))).collect()
    }

    /// Whoever asks at `asked` finds an entry of these two.
    pub fn knows_chat(&self, (owner, peer): (UserId, UserId), asked: Step) -> bool {
        let id = self.chats.get(&(owner, peer)).and_then(|chat| chat.id);
        id.is_some_and(|(_, since)| since <= asked)
    }

    /// All of a chat that had arrived at `begun` is read.
    pub fn cleared(&mut self, owner: UserId, peer: UserId, begun: Step, answered: Step) {
        self.each_of(owner, |message| {
            let is_his = message.is_received_by(owner) && message.key.0 == peer;
            if is_his && message.arrived.is_sure(begun) {
                message.at_recipient.read.holds(answered);
            }
        });
    }

    /// Its recipient may have read it by `answered`.
    pub fn may_be_read(&self, message: &Message, owner: UserId, answered: Step) -> bool {
        let fact = &message.at_recipient.read;
        let clears = self.chats.get(&(owner, message.key.0)).into_iter();
        fact.since.is_some()
            || clears
                .flat_map(|chat| &chat.clears)
                .any(|deed| deed.may_have_made(fact, message, answered))
    }

    /// Retention may have taken it out of a history by `answered`.
    pub fn may_be_forgotten(&self, message: &Message, owner: UserId, answered: Step) -> bool {
        let keep = match (self.terms.retention.messages, self.terms.retention.days) {
            (Some(keep), None) => keep,
            (None, None) => return false,
            (_, Some(_)) => 0,
        };
        let newest = self.messages_of(owner).filter(|one| one.may_be_kept(answered)).count()
            + self.nameless_of(owner).count();
        let newest = newest as u64;
        message.seq(owner).map_or(newest > keep, |seq| seq + keep <= newest)
    }

    /// The server goes down: what was not answered happened before this, or never.
    pub fn crashed(&mut self, crash: Crash, durable: Moment) {
        let step = self.step;
        let close = |deed: &mut Deed| deed.over = deed.over.min(step);
        let sendings = self.messages.values_mut().flat_map(|message| &mut message.sendings);
        sendings.for_each(|sending| close(&mut sending.deed));
        self.nameless.iter_mut().for_each(|one| close(&mut one.deed));
        self.acks.values_mut().flatten().for_each(close);
        self.up_tos.values_mut().flatten().for_each(|(_, deed)| close(deed));
        for chat in self.chats.values_mut() {
            chat.clears.iter_mut().chain(&mut chat.deletes).for_each(close);
            chat.top.crashed(step);
        }
        if self.may_lose(crash) {
            let before = self.moments.range(..=durable).next_back();
            self.take_back(before.map_or(0, |(_, step)| *step));
        }
    }

    /// What a crash takes was acked before it was on disk.
    pub fn may_lose(&self, crash: Crash) -> bool {
        crash.may_lose(self.terms.durability)
    }

    fn take_back(&mut self, durable: Step) {
        self.is_parted = true;
        self.messages.values_mut().for_each(|message| message.take_back(durable));
        self.nameless.iter_mut().for_each(|one| one.is_parted = true);
        self.histories.retain(|_, (_, since)| *since <= durable);
        for chat in self.chats.values_mut() {
            chat.deleted = chat.deleted.filter(|deed| deed.over <= durable);
            chat.dated = None;
            if let Some((id, _)) = chat.id.take_if(|(_, since)| *since > durable) {
                self.chat_ids.remove(&id);
                self.lost_ids.insert(id);
                chat.created = None;
            }
            chat.top.take_back(durable);
        }
    }

    /// All that was under way has come to rest.
    pub fn came_to_rest(&mut self) {
        let step = self.step;
        for message in self.messages.values_mut() {
            if message.kept.is_sure(step) && !message.is_parted {
                message.arrived.holds(step);
            }
        }
    }
}
