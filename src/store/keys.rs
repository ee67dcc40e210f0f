//! Where rows lie: one kind byte, then ids in big endian, so that rows of one owner are neighbours
//! in the order in which they are read.
//!
//! Invariants:
//! 1. Two different rows never share a key; but for identities a key is at most
//!    [`KEY_BYTES_MAX`] bytes and lives on the stack.
//! 2. Of one owner, byte order is the order of seq, number, peer or id.
//! 3. A kind's number never changes its meaning: it is on disk.

use crate::api::Identity;
use crate::ids::{ChatId, MessageId, ShardId, Slot, UserId};
use crate::limits::NAME_BYTES_MAX;

/// Bytes of the longest key but for identities: a place in an outbox.
pub const KEY_BYTES_MAX: usize = 1 + 2 + 8 + 8;
/// Bytes of the longest identity's key.
pub const IDENTITY_KEY_BYTES_MAX: usize = 1 + 3 * (2 + NAME_BYTES_MAX);

/// What a row is about. The first byte of its key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// Of the shard: its relay epoch.
    Epoch = 1,
    /// Of the shard: the bound of ids it may show.
    MintBound = 2,
    /// slot -> the next indexes of users and chats in it.
    Slot = 3,
    /// identity -> user.
    Identity = 4,
    /// user -> tenant.
    Tenant = 5,
    /// user -> identity.
    Profile = 6,
    /// user -> his counters and name.
    User = 7,
    /// owner, seq -> a message of his history.
    Message = 8,
    /// owner, peer -> a chat in his list.
    Chat = 13,
    /// owner, peer -> a chat that has left his list.
    HiddenChat = 14,
    /// chat id -> owner and peer.
    ChatId = 15,
    /// destination, epoch, sequence -> a message on its way to another shard.
    Outbox = 16,
    /// source -> how far its stream of relays has been applied.
    Applied = 17,
    /// reader, author -> the author's shard must be told of the reader's marks.
    MarksDue = 18,
    /// owner, peer, block -> seqs: the messages of one chat, numbered densely from 1.
    PairBlock = 19,
    /// owner, side, lowest id -> the ids of a block of that side and where they are.
    IdBlock = 20,
    /// owner, side, id -> where it is: of ids that came when a higher one of that side was in a
    /// block already.
    LateId = 21,
    /// owner, block -> which places of his history wait for his ack.
    Waiting = 22,
    /// user -> the forgotten part of his history, as a user of its own.
    Forgotten = 23,
    /// owner, peer -> the forgotten part of a chat, as a chat of its own.
    ForgottenChat = 24,
    /// recipient, number -> a message to him that waits until his rows can be read.
    Aside = 25,
}

/// Which messages of a history.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Side {
    /// Those that its owner sent.
    Sent = 0,
    /// Those that he received.
    Received = 1,
}

impl Side {
    /// Both of them.
    pub const ALL: [Side; 2] = [Side::Sent, Side::Received];

    /// Where in a user's history a message of this author is.
    pub fn of(owner: UserId, author: UserId) -> Side {
        if author == owner { Side::Sent } else { Side::Received }
    }
}

/// A key, built in place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key {
    bytes: [u8; KEY_BYTES_MAX],
    length: u8,
}

impl std::ops::Deref for Key {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl Key {
    /// The first key of a kind; with [`Key::after`] the bounds of all its rows.
    pub fn of(kind: Kind) -> Key {
        let mut key = Key { bytes: [0; KEY_BYTES_MAX], length: 0 };
        key.push(&[kind as u8]);
        key
    }

    fn push(&mut self, part: &[u8]) {
        let start = usize::from(self.length);
        let end = start + part.len();
        assert!(end <= KEY_BYTES_MAX, "a key is bounded by its parts");
        self.bytes[start..end].copy_from_slice(part);
        self.length = end as u8;
    }

    fn with(mut self, part: &[u8]) -> Key {
        self.push(part);
        self
    }

    fn with_user(self, user: UserId) -> Key {
        self.with(&user.number().to_be_bytes())
    }

    fn with_number(self, number: u64) -> Key {
        self.with(&number.to_be_bytes())
    }

    /// The smallest key above all that begin with this one.
    pub fn after(mut self) -> Key {
        let last = self.iter().rposition(|byte| *byte != 0xFF);
        let last = last.expect("kinds are small numbers, so the first byte is never 255");
        self.bytes[last] += 1;
        self.length = last as u8 + 1;
        self
    }

    /// See [`Kind::Slot`].
    pub fn slot(slot: Slot) -> Key {
        Key::of(Kind::Slot).with(&slot.index().to_be_bytes())
    }

    /// See [`Kind::Identity`]. Each part is at most [`NAME_BYTES_MAX`] bytes.
    pub fn identity(identity: &Identity<'_>) -> Vec<u8> {
        let mut key = vec![Kind::Identity as u8];
        for part in [&identity.company, &identity.app, &identity.third_user_id] {
            assert!(part.len() <= NAME_BYTES_MAX, "names are bounded when decoded");
            key.extend_from_slice(&(part.len() as u16).to_be_bytes());
            key.extend_from_slice(part.as_bytes());
        }
        key
    }

    /// See [`Kind::Tenant`].
    pub fn tenant(user: UserId) -> Key {
        Key::of(Kind::Tenant).with_user(user)
    }

    /// See [`Kind::Profile`].
    pub fn profile(user: UserId) -> Key {
        Key::of(Kind::Profile).with_user(user)
    }

    /// See [`Kind::User`].
    pub fn user(user: UserId) -> Key {
        Key::of(Kind::User).with_user(user)
    }

    /// See [`Kind::Message`].
    pub fn message(owner: UserId, seq: u64) -> Key {
        Key::of(Kind::Message).with_user(owner).with_number(seq)
    }

    /// A key of what [`counted`] gives.
    pub fn numbered(prefix: &[u8], number: u64) -> Key {
        Key { bytes: [0; KEY_BYTES_MAX], length: 0 }.with(prefix).with_number(number)
    }

    /// See [`Kind::PairBlock`].
    pub fn pair_block(owner: UserId, peer: UserId, block: u64) -> Key {
        Key::of(Kind::PairBlock).with_user(owner).with_user(peer).with_number(block)
    }

    /// See [`Kind::IdBlock`].
    pub fn id_block(owner: UserId, side: Side, lowest: MessageId) -> Key {
        Key::id_blocks(owner, side).with_number(lowest.number() as u64)
    }

    /// All of one of a user's id indexes: a prefix of [`Key::id_block`].
    pub fn id_blocks(owner: UserId, side: Side) -> Key {
        Key::of(Kind::IdBlock).with_user(owner).with(&[side as u8])
    }

    /// See [`Kind::LateId`].
    pub fn late_id(owner: UserId, side: Side, id: MessageId) -> Key {
        let owned = Key::of(Kind::LateId).with_user(owner).with(&[side as u8]);
        owned.with_number(id.number() as u64)
    }

    /// See [`Kind::Waiting`].
    pub fn waiting(owner: UserId, block: u64) -> Key {
        Key::of(Kind::Waiting).with_user(owner).with_number(block)
    }

    /// See [`Kind::Forgotten`].
    pub fn forgotten(user: UserId) -> Key {
        Key::of(Kind::Forgotten).with_user(user)
    }

    /// See [`Kind::ForgottenChat`].
    pub fn forgotten_chat(owner: UserId, peer: UserId) -> Key {
        Key::of(Kind::ForgottenChat).with_user(owner).with_user(peer)
    }

    /// See [`Kind::Aside`].
    pub fn aside(recipient: UserId, number: u64) -> Key {
        Key::aside_of(recipient).with_number(number)
    }

    /// All that is set aside for a user: a prefix of [`Key::aside`].
    pub fn aside_of(recipient: UserId) -> Key {
        Key::of(Kind::Aside).with_user(recipient)
    }

    /// See [`Kind::Chat`].
    pub fn chat(owner: UserId, peer: UserId) -> Key {
        Key::of(Kind::Chat).with_user(owner).with_user(peer)
    }

    /// All of a user's list: a prefix of [`Key::chat`].
    pub fn chats(owner: UserId) -> Key {
        Key::of(Kind::Chat).with_user(owner)
    }

    /// See [`Kind::HiddenChat`].
    pub fn hidden_chat(owner: UserId, peer: UserId) -> Key {
        Key::of(Kind::HiddenChat).with_user(owner).with_user(peer)
    }

    /// See [`Kind::ChatId`].
    pub fn chat_id(chat: ChatId) -> Key {
        Key::of(Kind::ChatId).with_number(chat.number())
    }

    /// The same, of a number that a row holds.
    pub fn chat_id_of(number: u64) -> Key {
        Key::of(Kind::ChatId).with_number(number)
    }

    /// See [`Kind::Outbox`].
    pub fn outbox(to: ShardId, epoch: u64, sequence: u64) -> Key {
        Key::outbox_of(to).with_number(epoch).with_number(sequence)
    }

    /// All of a stream: a prefix of [`Key::outbox`].
    pub fn outbox_of(to: ShardId) -> Key {
        Key::of(Kind::Outbox).with(&to.0.to_be_bytes())
    }

    /// See [`Kind::Applied`].
    pub fn applied(from: ShardId) -> Key {
        Key::of(Kind::Applied).with(&from.0.to_be_bytes())
    }

    /// See [`Kind::MarksDue`].
    pub fn marks_due(reader: UserId, author: UserId) -> Key {
        Key::of(Kind::MarksDue).with_user(reader).with_user(author)
    }
}

/// Whose message a row is, and its seq; `None`: it is the row of something else.
pub fn message_of(key: &[u8]) -> Option<(UserId, u64)> {
    let mut reader = KeyReader::new(key);
    let is_message = key.first() == Some(&(Kind::Message as u8));
    if is_message { Some((reader.user()?, reader.number()?)) } else { None }
}

/// Rows that are numbered without gaps, are put once and then only removed, from the oldest end:
/// what the keys of all of one owner begin with, the number, and what goes on behind it (nothing,
/// in the key of a row). `None`: rows of this kind are not.
pub fn counted(key: &[u8]) -> Option<(&[u8], u64, &[u8])> {
    const MESSAGE: u8 = Kind::Message as u8;
    const PAIR_BLOCK: u8 = Kind::PairBlock as u8;
    let prefix_bytes = match *key.first()? {
        MESSAGE => 5,
        PAIR_BLOCK => 9,
        _ => return None,
    };
    let (prefix, rest) = key.split_at_checked(prefix_bytes)?;
    let (number, rest) = rest.split_first_chunk()?;
    Some((prefix, u64::from_be_bytes(*number), rest))
}

/// Reads big-endian numbers off a key, after its kind byte.
pub struct KeyReader<'a> {
    rest: &'a [u8],
}

impl<'a> KeyReader<'a> {
    /// Of any key.
    pub fn new(key: &'a [u8]) -> KeyReader<'a> {
        KeyReader { rest: key.get(1..).unwrap_or_default() }
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (part, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*part)
    }

    /// Nothing is left.
    pub fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next 2 bytes.
    pub fn shard(&mut self) -> Option<ShardId> {
        self.take().map(u16::from_be_bytes).map(ShardId)
    }

    /// The next byte.
    pub fn side(&mut self) -> Option<Side> {
        let [number] = self.take()?;
        Side::ALL.get(usize::from(number)).copied()
    }

    /// The next 4 bytes.
    pub fn user(&mut self) -> Option<UserId> {
        UserId::new(i64::from(u32::from_be_bytes(self.take()?)))
    }

    /// The next 8 bytes.
    pub fn number(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(number: i64) -> UserId {
        UserId::new(number).expect("positive")
    }

    /// Invariant 2 of store::keys.
    #[test]
    fn byte_order_is_the_order_of_seq() {
        assert!(*Key::message(user(5), 255) < *Key::message(user(5), 256));
        assert!(*Key::message(user(5), u64::MAX) < *Key::message(user(6), 0));
        assert!(*Key::pair_block(user(5), user(9), 3) < *Key::pair_block(user(5), user(9), 4));
        assert!(*Key::waiting(user(5), 255) < *Key::waiting(user(5), 256));
        assert!(*Key::outbox(ShardId(1), 2, 9) < *Key::outbox(ShardId(1), 3, 1));
    }

    /// Invariant 1 of store::keys.
    #[test]
    fn two_identities_never_share_a_key() {
        let identity = |company: &'static str, app: &'static str| Identity {
            company: company.into(),
            app: app.into(),
            third_user_id: "x".into(),
        };
        let keys = [identity("ab", "c"), identity("a", "bc"), identity("a\0b", "c")];
        assert_ne!(Key::identity(&keys[0]), Key::identity(&keys[1]));
        assert_ne!(Key::identity(&keys[0]), Key::identity(&keys[2]));
        let long = "y".repeat(NAME_BYTES_MAX);
        let longest = Identity {
            company: long.as_str().into(),
            app: long.as_str().into(),
            third_user_id: long.as_str().into(),
        };
        assert_eq!(Key::identity(&longest).len(), IDENTITY_KEY_BYTES_MAX);
    }

    #[test]
    fn a_prefix_and_what_comes_after_it_bound_its_rows() {
        let key = Key::chat(user(0x01FF), user(u32::MAX.into()));
        let (from, to) = (Key::chats(user(0x01FF)), Key::chats(user(0x01FF)).after());
        assert!(*from <= *key && *key < *to);
        assert!(*Key::chat(user(0x0200), user(2)) >= *to);
    }

    /// Invariant 1 of store::keys.
    #[test]
    fn a_key_says_what_it_was_made_of() {
        let key = Key::outbox(ShardId(3), 7, 9);
        let mut reader = KeyReader::new(&key);
        assert_eq!(reader.shard(), Some(ShardId(3)));
        assert_eq!((reader.number(), reader.number()), (Some(7), Some(9)));
        assert_eq!(reader.number(), None);
        assert_eq!(KeyReader::new(&[]).user(), None);
    }

    #[test]
    fn messages_and_blocks_are_counted() {
        let (owner, peer) = (user(5), user(6));
        for key in [Key::message(owner, 77), Key::pair_block(owner, peer, 77)] {
            let (prefix, number, rest) = counted(&key).expect("it is numbered");
            assert_eq!((Key::numbered(prefix, number), number, rest), (key, 77, &[][..]));
            assert_eq!(counted(&key[..key.len() - 1]), None);
        }
        assert_eq!(counted(&Key::waiting(owner, 77)), None);
    }

    /// Invariant 3 of store::keys.
    #[test]
    fn a_kinds_number_never_changes() {
        let kinds = [
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
        let numbers = (1..=8).chain(13..=25);
        assert!(kinds.into_iter().map(|kind| kind as u8).eq(numbers), "they are on disk");
    }
}
