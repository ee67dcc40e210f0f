//! What rows hold: rkyv behind a version byte.
//!
//! Invariants:
//! 1. The first byte of a row is the version of its shape; a row of another version is refused,
//!    never misread.
//! 2. Any bytes at all give a row or an error, never a panic.
//!
//! Writing a row appends to the buffer given and allocates nothing besides, once warm.

use crate::store::keys::Side;
use rkyv::api::high::HighValidator;
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor::Error as ArchiveError;
use rkyv::rancor::Strategy;
use rkyv::ser::Serializer;
use rkyv::ser::allocator::{Arena, ArenaHandle};
use rkyv::with::{InlineAsBox, Map};
use rkyv::{Archive, Deserialize, Portable, Serialize};

/// The shape of all rows below.
const VERSION: u8 = 3;

/// Why bytes are not a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RowError {
    /// Nothing there.
    #[error("it is empty")]
    Empty,
    /// Written by another version of this server.
    #[error("its version is {0}, this server reads {VERSION}")]
    Version(u8),
    /// Not what this kind of row holds.
    #[error("it is damaged")]
    Damaged,
    /// A key is not of its kind's shape.
    #[error("its key is damaged")]
    Key,
    /// A row that another row points to is not there.
    #[error("it is missing")]
    Missing,
}

/// Counters of a slot: the next user and the next chat entry get these indexes.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlotRow {
    /// For `UserId::in_slot`.
    pub next_user: u32,
    /// For `ChatId::in_slot`.
    pub next_chat: u64,
}

/// Who a user is in his application's words.
#[derive(Archive, Serialize, Debug)]
pub struct ProfileRow<'a> {
    /// The company.
    #[rkyv(with = InlineAsBox)]
    pub company: &'a str,
    /// Its application.
    #[rkyv(with = InlineAsBox)]
    pub app: &'a str,
    /// The application's name of its user.
    #[rkyv(with = InlineAsBox)]
    pub third_user_id: &'a str,
    /// Ms since the Unix epoch.
    pub registered_ms: i64,
}

/// A user's counters.
#[derive(Archive, Serialize, Deserialize, Clone, PartialEq, Eq, Debug, Default)]
pub struct UserRow {
    /// The tenant: users of others are strangers to him.
    pub tenant: u32,
    /// The seq of the newest message in his history; 0 if there is none.
    pub last_seq: u64,
    /// The highest id he ever sent a message under. A higher one is surely new.
    pub highest_sent: i64,
    /// The highest id he ever received a message under. A higher one surely waits alone.
    pub highest_received: i64,
    /// Messages that wait for an ack.
    pub offline: u64,
    /// Entries in his chat list.
    pub listed: u32,
    /// Unread messages over all of them.
    pub unread: u64,
    /// Which messages of the newest block of his history wait for an ack; see [`WaitingRow`].
    pub waiting: u128,
    /// The ids of what he sent.
    pub sent: IdsRow,
    /// The ids of what he received.
    pub received: IdsRow,
    /// His name, if ever given.
    pub name: Option<Box<str>>,
}

/// The newest end of one of a user's id indexes.
#[derive(Archive, Serialize, Deserialize, Clone, PartialEq, Eq, Debug, Default)]
pub struct IdsRow {
    /// The newest ids, in no block yet: fewer than [`ID_BLOCK`].
    pub recent: Vec<IdEntry>,
    /// The highest id that is in a block.
    pub indexed_up_to: i64,
    /// The highest id that has a row of late ids. A higher one surely has none.
    pub highest_late: i64,
}

impl UserRow {
    /// The ids of one side.
    pub fn ids(&self, side: Side) -> &IdsRow {
        match side {
            Side::Sent => &self.sent,
            Side::Received => &self.received,
        }
    }

    /// The same, to change them.
    pub fn ids_mut(&mut self, side: Side) -> &mut IdsRow {
        match side {
            Side::Sent => &mut self.sent,
            Side::Received => &mut self.received,
        }
    }
}

/// Ids of one block of a user's id index.
pub const ID_BLOCK: usize = 8;
/// Messages of one block of a chat.
pub const PAIR_BLOCK: usize = 8;
/// Places of a history that one row of waiting marks covers.
pub const WAITING_BLOCK: u64 = u128::BITS as u64;

/// Under which id a message of a history was sent.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct IdEntry {
    /// The id.
    pub id: i64,
    /// The message's seq in this history.
    pub seq: u64,
}

/// A block of a user's id index.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
pub struct IdBlockRow {
    /// In the order of ids, then of seqs.
    pub entries: [IdEntry; ID_BLOCK],
}

/// Where the messages are that came late under one id.
#[derive(Archive, Serialize, Deserialize, Clone, PartialEq, Eq, Debug, Default)]
pub struct LateIdRow {
    /// Rising.
    pub seqs: Vec<u64>,
}

/// A block of a chat's messages.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
pub struct PairBlockRow {
    /// Rising.
    pub seqs: [u64; PAIR_BLOCK],
}

/// Which messages of a block of a history wait for an ack: bit n is the seq n above the block's
/// first, which is its number times [`WAITING_BLOCK`].
#[derive(Archive, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
pub struct WaitingRow(pub u128);

/// One message of one user's history.
#[derive(Archive, Serialize, Debug)]
pub struct MessageRow<'a> {
    /// The author.
    pub from: u32,
    /// The recipient.
    pub to: u32,
    /// `MessageType` as a number.
    pub kind: u8,
    /// `ChatType` as a number.
    pub chat_type: u8,
    /// `EventType` as a number.
    pub event: Option<u8>,
    /// The team, carried as sent.
    pub team: Option<i64>,
    /// The message's id.
    pub id: i64,
    /// Ms since the Unix epoch.
    pub timestamp_ms: i64,
    /// Ms since the Unix epoch.
    pub server_send_time_ms: i64,
    /// Its place among all that this author sent this recipient, from 1.
    pub ordinal: u64,
    /// The text.
    #[rkyv(with = InlineAsBox)]
    pub content: &'a str,
    /// The author's name when he sent it.
    #[rkyv(with = Map<InlineAsBox>)]
    pub name: Option<&'a str>,
}

/// A set of ordinals: all up to `up_to`, and some ranges (first, last) above.
#[derive(Archive, Serialize, Deserialize, Clone, PartialEq, Eq, Debug, Default)]
pub struct MarksRow {
    /// All of 1..=this.
    pub up_to: u64,
    /// Rising, apart, none touching `up_to`.
    pub ranges: Vec<(u64, u64)>,
}

/// One chat as its owner sees it.
#[derive(Archive, Serialize, Deserialize, Clone, PartialEq, Eq, Debug, Default)]
pub struct ChatRow {
    /// The entry's id.
    pub id: u64,
    /// Ms since the Unix epoch.
    pub created_ms: i64,
    /// Ms since the Unix epoch, of the last message.
    pub updated_ms: i64,
    /// Kept at the head of the list.
    pub top: bool,
    /// In the list, not deleted from it.
    pub listed: bool,
    /// Messages of both directions: the number of the newest.
    pub messages: u64,
    /// The seqs of the newest of them, in no block yet: fewer than [`PAIR_BLOCK`].
    pub recent: Vec<u64>,
    /// The seq of the newest message in the owner's history.
    pub last_seq: u64,
    /// Content messages received since the last clear.
    pub unread: u64,
    /// Ordinal of the newest message received.
    pub received: u64,
    /// The peer's home has lost messages that are here, by a power cut with `async`, and counted
    /// others by their ordinals since: whoever sends one again is told by its id.
    pub is_parted: bool,
    /// How many of those received wait for an ack.
    pub unacked: u64,
    /// Of those received: pushed to the owner.
    pub pushed: MarksRow,
    /// Of those received: acked by the owner.
    pub acked: MarksRow,
    /// Of those received: read by the owner, all up to here.
    pub read_up_to: u64,
    /// Ordinal of the newest message sent.
    pub sent: u64,
    /// Of those sent: pushed to the peer.
    pub peer_pushed: MarksRow,
    /// Of those sent: acked by the peer.
    pub peer_acked: MarksRow,
    /// Of those sent: read by the peer, all up to here.
    pub peer_read_up_to: u64,
}

/// Whose chat an entry id names.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChatIdRow {
    /// The list's owner.
    pub owner: u32,
    /// The other one.
    pub peer: u32,
}

/// A message on its way: where its text lies.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutboxRow {
    /// Its author, of this shard.
    pub author: u32,
    /// Its seq in the author's history.
    pub seq: u64,
}

/// A place in a stream of relays.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
pub struct StreamRow {
    /// The sender's epoch.
    pub epoch: u64,
    /// The place within it.
    pub sequence: u64,
}

/// A single number: an epoch, a bound, a seq, a tenant, a user.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
pub struct NumberRow(pub u64);

/// What serializes rows: they hold no shared pointers, so none are looked for.
pub type RowSerializer<'a> = Strategy<Serializer<Vec<u8>, ArenaHandle<'a>, ()>, ArchiveError>;

/// Writes rows, with scratch memory of its own.
#[derive(Default)]
pub struct RowWriter {
    arena: Arena,
}

impl RowWriter {
    /// Appends a row to `bytes`.
    pub fn append<R>(&mut self, row: &R, bytes: &mut Vec<u8>)
    where
        R: for<'a> Serialize<RowSerializer<'a>>,
    {
        bytes.push(VERSION);
        let mut serializer = Serializer::new(std::mem::take(bytes), self.arena.acquire(), ());
        rkyv::api::serialize_using::<_, ArchiveError>(row, &mut serializer)
            .expect("memory grows, so nothing can fail");
        *bytes = serializer.into_writer();
    }
}

/// Reads a row in place.
pub fn read<A>(bytes: &[u8]) -> Result<&A, RowError>
where
    A: Portable + for<'a> CheckBytes<HighValidator<'a, ArchiveError>>,
{
    match bytes.split_first() {
        None => Err(RowError::Empty),
        Some((&VERSION, row)) => {
            rkyv::access::<A, ArchiveError>(row).map_err(|_| RowError::Damaged)
        }
        Some((&version, _)) => Err(RowError::Version(version)),
    }
}

/// Reads a row into an owned value.
pub fn read_owned<R>(bytes: &[u8]) -> Result<R, RowError>
where
    R: Archive,
    R::Archived: Portable
        + for<'a> CheckBytes<HighValidator<'a, ArchiveError>>
        + Deserialize<R, rkyv::api::high::HighDeserializer<ArchiveError>>,
{
    let archived = read::<R::Archived>(bytes)?;
    rkyv::deserialize::<R, ArchiveError>(archived).map_err(|_| RowError::Damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message<'a>(content: &'a str, name: Option<&'a str>) -> MessageRow<'a> {
        MessageRow {
            from: 3,
            to: 2,
            kind: 4,
            chat_type: 0,
            event: Some(2),
            team: None,
            id: i64::MAX,
            timestamp_ms: 5,
            server_send_time_ms: 6,
            ordinal: 7,
            content,
            name,
        }
    }

    fn bytes_of(row: &MessageRow<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        RowWriter::default().append(row, &mut bytes);
        bytes
    }

    #[test]
    fn a_row_reads_back_wherever_it_lies() {
        for shift in 0..8 {
            let mut bytes = vec![0xEE; shift];
            RowWriter::default().append(&message("你好", Some("Ann")), &mut bytes);
            let row = read::<ArchivedMessageRow<'_>>(&bytes[shift..]).expect("whole");
            assert_eq!(&*row.content, "你好");
            assert_eq!(row.name.as_ref().map(|name| &**name), Some("Ann"));
            assert_eq!(row.id.to_native(), i64::MAX);
        }
    }

    /// Invariant 1 of store::rows.
    #[test]
    fn a_row_of_another_version_is_refused() {
        let mut bytes = bytes_of(&message("a", None));
        bytes[0] = 9;
        assert_eq!(read::<ArchivedMessageRow<'_>>(&bytes).err(), Some(RowError::Version(9)));
        assert_eq!(read::<ArchivedMessageRow<'_>>(&[]).err(), Some(RowError::Empty));
    }

    /// Invariant 2 of store::rows.
    #[test]
    fn any_bytes_give_a_row_or_an_error() {
        let whole = bytes_of(&message("hello", Some("Bob")));
        let mut seed = 1_u64;
        for _ in 0..20_000 {
            let mut bytes = whole.clone();
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = (seed >> 33) as usize % bytes.len();
            bytes[at] ^= (seed >> 20) as u8;
            bytes.truncate(bytes.len() - (seed >> 60) as usize);
            let _ = read::<ArchivedMessageRow<'_>>(&bytes);
            let _ = read_owned::<ChatRow>(&bytes);
        }
    }

    #[test]
    fn an_owned_row_reads_back() {
        let marks = MarksRow { up_to: 4, ranges: vec![(6, 9)] };
        let row = ChatRow { id: 77, pushed: marks, ..ChatRow::default() };
        let mut bytes = Vec::new();
        RowWriter::default().append(&row, &mut bytes);
        assert_eq!(read_owned::<ChatRow>(&bytes), Ok(row));
    }
}
