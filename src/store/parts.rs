//! Keys taken apart: which row a key names, in words and as data.
//!
//! Invariants:
//! 1. Any bytes give the parts of a key that `keys` makes, or nothing.

use super::keys::{Key, KeyReader, Kind, Side};
use crate::api::Identity;
use crate::ids::{ChatId, MessageId, ShardId, Slot, UserId};
use crate::limits::NAME_BYTES_MAX;
use std::borrow::Cow;
use std::fmt;

/// What a key names. See [`Kind`] for each.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)] // Each is the kind of its name.
pub enum Parts<'a> {
    Epoch,
    MintBound,
    Slot(Slot),
    Identity(Identity<'a>),
    Tenant(UserId),
    Profile(UserId),
    User(UserId),
    Message { owner: UserId, seq: u64 },
    Chat { owner: UserId, peer: UserId },
    HiddenChat { owner: UserId, peer: UserId },
    ChatId(ChatId),
    Outbox { to: ShardId, epoch: u64, sequence: u64 },
    Applied(ShardId),
    MarksDue { reader: UserId, author: UserId },
    PairBlock { owner: UserId, peer: UserId, block: u64 },
    IdBlock { owner: UserId, side: Side, lowest: MessageId },
    LateId { owner: UserId, side: Side, id: MessageId },
    Waiting { owner: UserId, block: u64 },
    Forgotten(UserId),
    ForgottenChat { owner: UserId, peer: UserId },
    Aside { recipient: UserId, number: u64 },
}

/// All kinds, in the order of their numbers.
pub const KINDS: [Kind; 21] = [
    Kind::Epoch,
    Kind::MintBound,
    Kind::Slot,
    Kind::Identity,
    Kind::Tenant,
    Kind::Profile,
    Kind::User,
    Kind::Message,
    Kind::Chat,
    Kind::HiddenChat,
    Kind::ChatId,
    Kind::Outbox,
    Kind::Applied,
    Kind::MarksDue,
    Kind::PairBlock,
    Kind::IdBlock,
    Kind::LateId,
    Kind::Waiting,
    Kind::Forgotten,
    Kind::ForgottenChat,
    Kind::Aside,
];

/// The kind of a key.
pub fn kind_of(key: &[u8]) -> Option<Kind> {
    let first = *key.first()?;
    KINDS.into_iter().find(|kind| *kind as u8 == first)
}

impl<'a> Parts<'a> {
    /// The parts of a key; `None`: it is none of ours.
    pub fn of(key: &'a [u8]) -> Option<Parts<'a>> {
        let kind = kind_of(key)?;
        if kind == Kind::Identity {
            return identity(key).map(Parts::Identity);
        }
        let mut reader = KeyReader::new(key);
        let read = &mut reader;
        let parts = match kind {
            Kind::Epoch => Parts::Epoch,
            Kind::MintBound => Parts::MintBound,
            Kind::Slot => Parts::Slot(slot(read)?),
            Kind::Identity => return None,
            Kind::Tenant => Parts::Tenant(read.user()?),
            Kind::Profile => Parts::Profile(read.user()?),
            Kind::User => Parts::User(read.user()?),
            Kind::Message => Parts::Message { owner: read.user()?, seq: read.number()? },
            Kind::Chat => Parts::Chat { owner: read.user()?, peer: read.user()? },
            Kind::HiddenChat => Parts::HiddenChat { owner: read.user()?, peer: read.user()? },
            Kind::ChatId => Parts::ChatId(ChatId::new(read.number()? as i64)?),
            Kind::Outbox => {
                let to = read.shard()?;
                Parts::Outbox { to, epoch: read.number()?, sequence: read.number()? }
            }
            Kind::Applied => Parts::Applied(read.shard()?),
            Kind::MarksDue => Parts::MarksDue { reader: read.user()?, author: read.user()? },
            Kind::PairBlock => {
                let owner = read.user()?;
                Parts::PairBlock { owner, peer: read.user()?, block: read.number()? }
            }
            Kind::IdBlock => {
                Parts::IdBlock { owner: read.user()?, side: read.side()?, lowest: id(read)? }
            }
            Kind::LateId => {
                Parts::LateId { owner: read.user()?, side: read.side()?, id: id(read)? }
            }
            Kind::Waiting => Parts::Waiting { owner: read.user()?, block: read.number()? },
            Kind::Forgotten => Parts::Forgotten(read.user()?),
            Kind::ForgottenChat => Parts::ForgottenChat { owner: read.user()?, peer: read.user()? },
            Kind::Aside => Parts::Aside { recipient: read.user()?, number: read.number()? },
        };
        read.is_at_end().then_some(parts)
    }

    /// The slot whose home keeps the row; `None`: it is of the shard itself.
    pub fn slot(&self) -> Option<Slot> {
        match self {
            Parts::Epoch | Parts::MintBound | Parts::Outbox { .. } | Parts::Applied(_) => None,
            Parts::Slot(slot) => Some(*slot),
            Parts::Identity(identity) => Some(identity.slot()),
            Parts::ChatId(chat) => Some(chat.slot()),
            _ => self.owner().map(UserId::slot),
        }
    }

    /// Whose row it is, if it is a user's.
    pub fn owner(&self) -> Option<UserId> {
        match *self {
            Parts::Tenant(owner)
            | Parts::Profile(owner)
            | Parts::User(owner)
            | Parts::Forgotten(owner) => Some(owner),
            Parts::Message { owner, .. }
            | Parts::Chat { owner, .. }
            | Parts::HiddenChat { owner, .. }
            | Parts::MarksDue { reader: owner, .. }
            | Parts::PairBlock { owner, .. }
            | Parts::IdBlock { owner, .. }
            | Parts::LateId { owner, .. }
            | Parts::Waiting { owner, .. }
            | Parts::ForgottenChat { owner, .. }
            | Parts::Aside { recipient: owner, .. } => Some(owner),
            _ => None,
        }
    }
}

fn slot(reader: &mut KeyReader<'_>) -> Option<Slot> {
    // A slot is written in two bytes, as a shard is.
    let index = reader.shard()?.0;
    (index < crate::ids::SLOTS).then(|| Slot::of(u64::from(index)))
}

fn id(reader: &mut KeyReader<'_>) -> Option<MessageId> {
    MessageId::new(reader.number()? as i64)
}

fn identity(key: &[u8]) -> Option<Identity<'_>> {
    let mut rest = &key[1..];
    let mut part = || {
        let (length, after) = rest.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (text, after) = after.split_at_checked(length)?;
        rest = after;
        let text = std::str::from_utf8(text).ok()?;
        (length <= NAME_BYTES_MAX).then_some(Cow::Borrowed(text))
    };
    let identity = Identity { company: part()?, app: part()?, third_user_id: part()? };
    rest.is_empty().then_some(identity)
}

impl fmt::Display for Parts<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Parts::Epoch => write!(to, "epoch"),
            Parts::MintBound => write!(to, "mint bound"),
            Parts::Slot(slot) => write!(to, "slot {}", slot.index()),
            Parts::Identity(who) => {
                write!(to, "identity {}/{}/{}", who.company, who.app, who.third_user_id)
            }
            Parts::Tenant(user) => write!(to, "tenant {}", user.number()),
            Parts::Profile(user) => write!(to, "profile {}", user.number()),
            Parts::User(user) => write!(to, "user {}", user.number()),
            Parts::Message { owner, seq } => write!(to, "message {}/{seq}", owner.number()),
            Parts::Chat { owner, peer } => {
                write!(to, "chat {}/{}", owner.number(), peer.number())
            }
            Parts::HiddenChat { owner, peer } => {
                write!(to, "hidden chat {}/{}", owner.number(), peer.number())
            }
            Parts::ChatId(chat) => write!(to, "chat id {}", chat.number()),
            Parts::Outbox { to: shard, epoch, sequence } => {
                write!(to, "outbox {shard}/{epoch}/{sequence}")
            }
            Parts::Applied(from) => write!(to, "applied {from}"),
            Parts::MarksDue { reader, author } => {
                write!(to, "marks due {}/{}", reader.number(), author.number())
            }
            Parts::PairBlock { owner, peer, block } => {
                write!(to, "pair block {}/{}/{block}", owner.number(), peer.number())
            }
            Parts::IdBlock { owner, side, lowest } => {
                write!(to, "id block {}/{side:?}/{}", owner.number(), lowest.number())
            }
            Parts::LateId { owner, side, id } => {
                write!(to, "late id {}/{side:?}/{}", owner.number(), id.number())
            }
            Parts::Waiting { owner, block } => {
                write!(to, "waiting {}/{block}", owner.number())
            }
            Parts::Forgotten(user) => write!(to, "forgotten {}", user.number()),
            Parts::ForgottenChat { owner, peer } => {
                write!(to, "forgotten chat {}/{}", owner.number(), peer.number())
            }
            Parts::Aside { recipient, number } => {
                write!(to, "aside {}/{number}", recipient.number())
            }
        }
    }
}

/// A key in words; one that is none of ours in hexadecimal.
pub fn words(key: &[u8]) -> String {
    match Parts::of(key) {
        Some(parts) => parts.to_string(),
        None => {
            let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("key {hex}")
        }
    }
}

/// The keys of a kind: from, and up to but not including.
pub fn range_of(kind: Kind) -> (Key, Key) {
    (Key::of(kind), Key::of(kind).after())
}

/// The keys of a kind that belong to one user: from, and up to but not including. Not of an
/// identity, which begins with no user.
pub fn owned(kind: Kind, user: UserId) -> (Vec<u8>, Vec<u8>) {
    let from = [&[kind as u8], &user.number().to_be_bytes()[..]].concat();
    let to = match UserId::new(i64::from(user.number()) + 1) {
        Some(next) => [&[kind as u8], &next.number().to_be_bytes()[..]].concat(),
        None => vec![kind as u8 + 1],
    };
    (from, to)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Invariant 1 of store::parts.
    #[test]
    fn any_bytes_give_the_parts_of_a_key_or_nothing() {
        let user = |number| UserId::new(number).expect("positive");
        let who = Identity { company: "a".into(), app: "b".into(), third_user_id: "".into() };
        let message = MessageId::new(1 << 60).expect("positive");
        let keys: Vec<(Vec<u8>, &str)> = vec![
            (Key::of(Kind::Epoch).to_vec(), "epoch"),
            (Key::slot(Slot::of(1023)).to_vec(), "slot 1023"),
            (Key::identity(&who), "identity a/b/"),
            (Key::message(user(5), 7).to_vec(), "message 5/7"),
            (Key::hidden_chat(user(5), user(6)).to_vec(), "hidden chat 5/6"),
            (Key::outbox(ShardId(2), 3, 4).to_vec(), "outbox 2/3/4"),
            (
                Key::id_block(user(5), Side::Received, message).to_vec(),
                "id block 5/Received/1152921504606846976",
            ),
            (Key::waiting(user(5), 0).to_vec(), "waiting 5/0"),
            (Key::forgotten(user(5)).to_vec(), "forgotten 5"),
            (Key::forgotten_chat(user(5), user(6)).to_vec(), "forgotten chat 5/6"),
            (Key::aside(user(5), 7).to_vec(), "aside 5/7"),
        ];
        for (key, expected) in &keys {
            assert_eq!(words(key), *expected);
            for cut in 0..key.len() {
                assert_eq!(Parts::of(&key[..cut]), None, "{expected} cut at {cut}");
            }
            assert_eq!(Parts::of(&[&key[..], &[0]].concat()), None, "{expected} and more");
        }
        assert_eq!(Parts::of(&[9, 0, 0]), None, "no kind");
        assert_eq!(words(&[9, 255]), "key 09ff");
        assert_eq!(Parts::of(&Key::slot(Slot::of(9))).and_then(|it| it.slot()), Some(Slot::of(9)));
    }
}
