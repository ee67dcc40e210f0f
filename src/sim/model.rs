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
use crate::ids::UserId;
use crate::sim::disk::Crash;
use crate::sim::observation::{DeviceId, Moment};
use crate::store::log::Durability;
use std::collections::{BTreeMap, BTreeSet};

pub mod message;
use message::{Draft, Message, Sending};

/// How many observations came before: of two, the one with the lower step came first.
pub type Step = u64;

/// Later than any step.
pub const NEVER: Step = Step::MAX;

/// An author, and the id that he gave a message.
pub type Key = (UserId, i64);

/// Something that becomes true once, and stays so.
#[derive(Clone, Copy, Default, Debug)]
pub struct Fact {
    /// It was not true yet when the server was asked at this step.
    not_at: Step,
    /// It was true when an answer came at this step.
    since: Option<Step>,
}

impl Fact {
    /// Whoever asks at `asked` must see it.
    pub fn is_sure(&self, asked: Step) -> bool {
        self.since.is_some_and(|since| since <= asked)
    }

    /// An answer has shown it.
    pub fn holds(&mut self, answered: Step) {
        self.since = Some(self.since.map_or(answered, |since| since.min(answered)));
    }

    /// What was asked at `asked` was answered as if it was not true. Returns whether it may be.
    #[must_use]
    pub fn holds_not(&mut self, asked: Step) -> bool {
        self.not_at = self.not_at.max(asked);
        !self.is_sure(asked)
    }

    fn take_back(&mut self, durable: Step) {
        self.since = self.since.filter(|since| *since <= durable);
    }
}

/// Something that a client has asked for: it happens once between two steps, or never.
#[derive(Clone, Copy, Debug)]
pub struct Deed {
    /// It was put on the wire.
    pub begun: Step,
    /// It cannot happen any more: it was answered, or the server went down.
    pub over: Step,
}

impl Deed {
    /// Something that is begun.
    pub fn new(begun: Step) -> Deed {
        Deed { begun, over: NEVER }
    }

    /// By `answered`, it may have made this true of a message.
    pub fn may_have_made(&self, fact: &Fact, message: &Message, answered: Step) -> bool {
        self.begun < answered && message.first_sent() < self.over && fact.not_at < self.over
    }
}

/// A flag that is set and unset: which values it may have.
#[derive(Clone, Debug)]
pub struct Flag {
    writes: Vec<Write>,
}

#[derive(Clone, Copy, Debug)]
struct Write {
    value: bool,
    deed: Deed,
    is_sure: bool,
}

impl Default for Flag {
    fn default() -> Flag {
        let deed = Deed { begun: 0, over: 0 };
        Flag { writes: vec![Write { value: false, deed, is_sure: true }] }
    }
}

impl Flag {
    /// Somebody has asked for this value.
    pub fn write(&mut self, value: bool, begun: Step) {
        self.writes.push(Write { value, deed: Deed::new(begun), is_sure: false });
    }

    /// What was asked for at `begun` was done.
    pub fn is_done(&mut self, begun: Step, answered: Step) {
        for write in self.writes.iter_mut().filter(|write| write.deed.begun == begun) {
            write.deed.over = answered;
            write.is_sure = true;
        }
    }

    /// It was refused.
    pub fn is_refused(&mut self, begun: Step) {
        self.writes.retain(|write| write.deed.begun != begun);
    }

    /// Nobody who wants to change it is still waiting.
    pub fn is_still(&self, asked: Step) -> bool {
        self.writes.iter().all(|write| write.deed.over <= asked || write.deed.begun == asked)
    }

    /// Whether it may have this value for one who asks. Then it had it.
    pub fn shows(&mut self, value: bool, asked: Step, answered: Step) -> bool {
        let is_replaced = |first: &Write| {
            let mut sure = self.writes.iter().filter(|write| write.is_sure);
            sure.any(|write| write.deed.begun > first.deed.over && write.deed.over <= asked)
        };
        let may_be = |write: &Write| {
            write.value == value && write.deed.begun < answered && !is_replaced(write)
        };
        let is_possible = self.writes.iter().any(may_be);
        let deed = Deed { begun: asked, over: answered };
        self.writes.push(Write { value, deed, is_sure: true });
        is_possible
    }
}

/// An entry of a chat list, as far as its owner knows it.
#[derive(Clone, Default, Debug)]
pub struct Chat {
    /// The entry's own id.
    pub id: Option<u64>,
    /// When it was made, in words.
    pub created: Option<String>,
    /// What may have read its messages: clears and deletes.
    pub clears: Vec<Deed>,
    /// What may have taken it off the list.
    pub deletes: Vec<Deed>,
    /// The last delete that was answered.
    pub deleted: Option<Deed>,
    /// Kept at the head of the list.
    pub top: Flag,
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
    /// Every message that was ever sent.
    pub messages: BTreeMap<Key, Message>,
    /// The messages that may be in a user's history.
    of: BTreeMap<UserId, BTreeSet<Key>>,
    /// Histories, as far as they were shown, and since when.
    pub histories: BTreeMap<(UserId, u64), (Key, Step)>,
    /// Of whose history nothing up to this number is kept any more.
    pub forgotten: BTreeMap<UserId, u64>,
    /// By owner and peer.
    pub chats: BTreeMap<(UserId, UserId), Chat>,
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
            messages: BTreeMap::new(),
            of: BTreeMap::new(),
            histories: BTreeMap::new(),
            forgotten: BTreeMap::new(),
            chats: BTreeMap::new(),
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

    /// The messages that may be in a user's history.
    pub fn messages_of(&self, owner: UserId) -> impl Iterator<Item = &Message> {
        let keys = self.of.get(&owner).into_iter().flatten();
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
        if !is_late {
            message.arrived.holds(answered);
        }
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
            may(deed) && !last.into_iter().all(|last| last.seq(user) < message.seq(user))
        };
        fact.since.is_some()
            || self.acks.get(&(user, message.key.1)).into_iter().flatten().any(may)
            || self.up_tos.get(&user).into_iter().flatten().any(may_reach)
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
        let newest = self.messages_of(owner).filter(|one| one.may_be_kept(answered)).count() as u64;
        message.seq(owner).map_or(newest > keep, |seq| seq + keep <= newest)
    }

    /// The server goes down: what was not answered happened before this, or never.
    pub fn crashed(&mut self, crash: Crash, durable: Moment) {
        let step = self.step;
        let close = |deed: &mut Deed| deed.over = deed.over.min(step);
        let sendings = self.messages.values_mut().flat_map(|message| &mut message.sendings);
        sendings.for_each(|sending| close(&mut sending.deed));
        self.acks.values_mut().flatten().for_each(close);
        self.up_tos.values_mut().flatten().for_each(|(_, deed)| close(deed));
        for chat in self.chats.values_mut() {
            chat.clears.iter_mut().chain(&mut chat.deletes).for_each(close);
            chat.top.writes.iter_mut().for_each(|write| close(&mut write.deed));
        }
        if crash == Crash::PowerCut && self.terms.durability == Durability::Async {
            let before = self.moments.range(..=durable).next_back();
            self.take_back(before.map_or(0, |(_, step)| *step));
        }
    }

    fn take_back(&mut self, durable: Step) {
        self.messages.values_mut().for_each(|message| message.take_back(durable));
        self.histories.retain(|_, (_, since)| *since <= durable);
        for chat in self.chats.values_mut() {
            chat.deleted = chat.deleted.filter(|deed| deed.over <= durable);
            chat.top
                .writes
                .iter_mut()
                .for_each(|write| write.is_sure &= write.deed.over <= durable);
        }
    }

    /// All that was under way has come to rest.
    pub fn came_to_rest(&mut self) {
        let step = self.step;
        self.messages.values_mut().filter(|message| message.kept.is_sure(step)).for_each(
            |message| {
                message.arrived.holds(step);
            },
        );
    }
}
