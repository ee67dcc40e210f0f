//! One message of the model: what was sent under its id, and what answers have shown of it.

use super::{Deed, Fact, Key, NEVER, Step};
use crate::api::{EventType, MessageType};
use crate::ids::UserId;
use crate::sim::observation::DeviceId;

/// What an author put on the wire as a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Draft {
    /// The recipient.
    pub to: UserId,
    /// What it is.
    pub kind: MessageType,
    /// Carried as sent.
    pub event: Option<EventType>,
    /// `None`: the server's clock.
    pub timestamp: Option<i64>,
    /// The text.
    pub content: String,
}

/// One time that a draft was put on a wire.
#[derive(Clone, Copy, Debug)]
pub struct Sending {
    /// By which connection.
    pub device: DeviceId,
    /// Which of the message's drafts.
    pub draft: usize,
    /// From when to when the server may take it in.
    pub deed: Deed,
    /// It was answered, with an Ack or an Error.
    pub is_answered: bool,
}

/// How a message looks in one of the two histories that it is in.
#[derive(Clone, Copy, Default, Debug)]
pub struct Sight {
    /// Its number there, and since when that is known.
    pub seq: Option<(u64, Step)>,
    /// Pushed to its recipient.
    pub pushed: Fact,
    /// Acked by its recipient.
    pub acked: Fact,
    /// Read by its recipient.
    pub read: Fact,
}

/// Whose history.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// The author's.
    Author,
    /// The recipient's.
    Recipient,
}

/// What the server added to a message; the same wherever it is shown.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Added {
    /// Ms.
    pub timestamp: Option<i64>,
    /// Ms.
    pub server_send_time: Option<i64>,
    /// The author's name, where names are shown.
    pub name: Option<Option<String>>,
}

/// All that is known of a message.
#[derive(Clone, Debug)]
pub struct Message {
    /// Whose, and under which id.
    pub key: Key,
    /// What was sent under its id. More than one: only one of them was taken in.
    pub drafts: Vec<Draft>,
    /// The one that was, once something has shown that.
    pub taken: Option<usize>,
    /// When it was sent, first to last.
    pub sendings: Vec<Sending>,
    /// Its author's home keeps it.
    pub kept: Fact,
    /// Its recipient's home has it.
    pub arrived: Fact,
    /// Its recipient has seen it.
    pub seen: Fact,
    /// In its author's history.
    pub at_author: Sight,
    /// In its recipient's.
    pub at_recipient: Sight,
    /// What the server added.
    pub added: Added,
    /// A power cut may have taken it back after its Ack, or answers do not tell which of its drafts
    /// is kept: it may be kept twice, or with another text.
    pub is_shaken: bool,
    /// A power cut came after it was sent: its two homes may not agree on it for ever.
    pub is_parted: bool,
}

impl Message {
    /// Nothing was sent yet.
    pub fn new(key: Key) -> Message {
        Message {
            key,
            drafts: Vec::new(),
            taken: None,
            sendings: Vec::new(),
            kept: Fact::default(),
            arrived: Fact::default(),
            seen: Fact::default(),
            at_author: Sight::default(),
            at_recipient: Sight::default(),
            added: Added::default(),
            is_shaken: false,
            is_parted: false,
        }
    }

    /// The drafts that may be in a history: a power cut may have left one at one end, and another
    /// was taken in at the other since.
    pub fn possible(&self) -> impl Iterator<Item = &Draft> {
        self.drafts_with(self.taken.filter(|_| !self.is_parted))
    }

    /// The drafts that may be the one that is kept. What a power cut took back may be seen as one
    /// of them at a recipient whose copy is all that is left of it, and be kept as another since.
    pub fn candidates(&self) -> impl Iterator<Item = &Draft> {
        self.drafts_with(self.taken.filter(|_| !(self.is_parted && self.is_shaken)))
    }

    /// Only the one that was taken, if that is known.
    fn drafts_with(&self, taken: Option<usize>) -> impl Iterator<Item = &Draft> {
        let drafts = self.drafts.iter().enumerate();
        let left = drafts.filter(move |(index, _)| taken.is_none_or(|taken| taken == *index));
        left.map(|(_, draft)| draft)
    }

    /// It may be in this user's history.
    pub fn may_be_of(&self, owner: UserId) -> bool {
        self.key.0 == owner || self.possible().any(|draft| draft.to == owner)
    }

    /// It is in this user's history, if it is kept.
    pub fn is_of(&self, owner: UserId) -> bool {
        self.key.0 == owner || self.is_received_by(owner)
    }

    /// It is this user's to ack and to read, if it is kept.
    pub fn is_received_by(&self, user: UserId) -> bool {
        self.key.0 != user && self.candidates().all(|draft| draft.to == user)
    }

    /// It may be this user's to ack and to read.
    pub fn may_be_received_by(&self, user: UserId) -> bool {
        self.key.0 != user && self.possible().any(|draft| draft.to == user)
    }

    /// It belongs to the conversation of these two, if to any.
    pub fn is_between(&self, owner: UserId, peer: UserId) -> bool {
        let is_of = |from: UserId, to: UserId| {
            self.key.0 == from && self.candidates().all(|draft| draft.to == to)
        };
        is_of(owner, peer) || is_of(peer, owner)
    }

    /// It may belong to the conversation of these two.
    pub fn may_be_between(&self, owner: UserId, peer: UserId) -> bool {
        let may_be = |from: UserId, to: UserId| {
            self.key.0 == from && self.possible().any(|draft| draft.to == to)
        };
        may_be(owner, peer) || may_be(peer, owner)
    }

    /// What people wrote; it counts as unread.
    pub fn is_content(&self) -> bool {
        self.candidates().all(|draft| draft.kind.is_content())
    }

    /// When it was sent first.
    pub fn first_sent(&self) -> Step {
        self.sendings.first().map_or(NEVER, |sending| sending.deed.begun)
    }

    /// It may be kept, as far as who was answered at this step can know.
    pub fn may_be_kept(&self, answered: Step) -> bool {
        let may_be_taken_in = |sending: &Sending| {
            sending.deed.begun < answered && sending.deed.over > self.kept.not_at
        };
        // Where its author has lost it, its recipient may have it.
        let may_be_anywhere = self.is_parted && self.first_sent() < answered;
        let is_possible = self.kept.since.is_some() || may_be_anywhere;
        is_possible || self.sendings.iter().any(may_be_taken_in)
    }

    /// Some answer has shown that it is kept.
    pub fn is_kept_now(&self) -> bool {
        self.kept.since.is_some()
    }

    /// Whoever asks at this step finds it in the history of this user.
    pub fn is_surely_in(&self, owner: UserId, asked: Step) -> bool {
        let fact = if self.key.0 == owner { &self.kept } else { &self.arrived };
        self.is_of(owner) && fact.is_sure(asked)
    }

    /// Whether the server took this one in before that one. `false`: nobody knows.
    pub fn precedes(&self, other: &Message) -> bool {
        let first = other.first_sent();
        let Some(device) = other.sendings.first().map(|sending| sending.device) else {
            return false;
        };
        let is_before = |sending: &Sending| sending.device == device && sending.deed.begun < first;
        // What was said on another connection, too, may have come by that.
        let is_from_there_only = other.sendings.iter().all(|sending| sending.device == device);
        let is_said_before = is_from_there_only && self.sendings.iter().all(is_before);
        self.kept.is_sure(first) || is_said_before
    }

    /// How its author or its recipient sees it; a note to self is its author's.
    pub fn side(&self, owner: UserId) -> Side {
        if self.key.0 == owner { Side::Author } else { Side::Recipient }
    }

    /// The same.
    pub fn sight(&self, owner: UserId) -> &Sight {
        match self.side(owner) {
            Side::Author => &self.at_author,
            Side::Recipient => &self.at_recipient,
        }
    }

    /// The same, to learn.
    pub fn sight_mut(&mut self, owner: UserId) -> &mut Sight {
        match self.side(owner) {
            Side::Author => &mut self.at_author,
            Side::Recipient => &mut self.at_recipient,
        }
    }

    /// Two may have received it, each another draft: nobody can tell at whom it was seen.
    pub fn is_of_two(&self) -> bool {
        let mut others = self.possible().map(|draft| draft.to);
        others.next().is_some_and(|first| others.any(|other| other != first))
    }

    /// Its number in a history, if that is known.
    pub fn seq(&self, owner: UserId) -> Option<u64> {
        self.sight(owner).seq.map(|(seq, _)| seq)
    }

    /// A power cut took back what was not on disk yet.
    pub(super) fn take_back(&mut self, durable: Step) {
        if !self.kept.is_sure(durable) {
            self.is_shaken = true;
            self.taken = None;
        }
        self.is_parted = true;
        self.kept.take_back(durable);
        self.seen.take_back(durable);
        self.arrived = self.seen;
        for sight in [&mut self.at_author, &mut self.at_recipient] {
            sight.seq = sight.seq.filter(|(_, since)| *since <= durable);
            for fact in [&mut sight.pushed, &mut sight.acked, &mut sight.read] {
                fact.take_back(durable);
            }
        }
    }
}
