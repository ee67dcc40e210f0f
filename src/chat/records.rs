//! Rows as the rules see them: decoded, cached, changed in memory, written once a turn.
//!
//! Invariants:
//! 1. A read sees every change made before it, written out or not.
//! 2. However often a user or chat changes in a turn, its row is written once.
//! 3. `touched` of a user is at least the position of the last batch that changed any row of his:
//!    what a reply about him must wait for (visibility rule (c)).

use crate::api::{ChatType, EventType, MessageType, StoredMessage};
use crate::chat::by_id::LastBlock;
use crate::chat::cache::{Cache, Place};
use crate::chat::event::{Letter, Relay};
use crate::ids::{MessageId, TeamId, UserId};
use crate::limits::{CACHED_CHATS_MAX, CACHED_USERS_MAX};
use crate::store::batch::Change;
use crate::store::keys::{Key, Kind};
use crate::store::rows::{
    self, ArchivedMessageRow, ChatRow, MessageRow, RowError, RowSerializer, RowWriter, UserRow,
};
use crate::store::{Batch, Direction, Position, Range, Store, StoreError, Visit};
use rkyv::api::high::{HighDeserializer, HighValidator};
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor::Error as ArchiveError;
use rkyv::{Archive, Deserialize, Portable, Serialize};

/// A user in memory.
struct User {
    row: UserRow,
    touched: Position,
    changed: bool,
}

/// A chat in memory, with the kind of key that its row lies under on disk.
struct Chat {
    row: ChatRow,
    on_disk: Option<Listed>,
    changed: bool,
    touched: Position,
}

/// Whether a chat's row is among those of its owner's list.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Listed {
    Yes,
    No,
}

/// Whose name a message row carries.
#[derive(Clone, Copy)]
pub enum AuthorName<'a> {
    /// That of a user of this shard.
    Of(UserId),
    /// This.
    Is(Option<&'a str>),
}

/// What a message row holds beside its letter.
#[derive(Clone, Copy)]
pub struct Writing<'a> {
    /// The letter.
    pub letter: Letter,
    /// Its place among all that its author sent its recipient.
    pub ordinal: u64,
    /// Ms since the Unix epoch.
    pub server_send_time_ms: i64,
    /// Its text.
    pub content: &'a str,
    /// Its author's name.
    pub name: AuthorName<'a>,
}

impl<'a> Writing<'a> {
    /// A relay's.
    pub fn of(relay: &'a Relay) -> Writing<'a> {
        Writing {
            letter: relay.letter,
            ordinal: relay.ordinal,
            server_send_time_ms: relay.server_send_time_ms,
            content: &relay.content,
            name: AuthorName::Is(relay.name.as_deref()),
        }
    }
}

/// The rows of a shard and what a turn has changed of them.
pub struct Records<S: Store> {
    store: S,
    batch: Batch,
    writer: RowWriter,
    /// Which kinds of rows the batch changes: bit n is that of the kind numbered n.
    kinds: u64,
    /// Changes so far: see [`Records::changes`].
    changes: u64,
    /// Bytes of batches that were written and that nobody has counted.
    uncounted_bytes: u64,
    pub(super) last_block: LastBlock,
    users: Cache<UserId, User>,
    chats: Cache<(UserId, UserId), Chat>,
    changed_users: Vec<UserId>,
    changed_chats: Vec<(UserId, UserId)>,
    /// What their rows will come to, about.
    changed_bytes: usize,
}

impl<S: Store> Records<S> {
    /// Rows of a store, none of them read yet.
    pub fn new(store: S) -> Records<S> {
        Records {
            store,
            batch: Batch::new(),
            writer: RowWriter::default(),
            kinds: 0,
            changes: 0,
            uncounted_bytes: 0,
            last_block: None,
            users: Cache::new(CACHED_USERS_MAX),
            chats: Cache::new(CACHED_CHATS_MAX),
            changed_users: Vec::new(),
            changed_chats: Vec::new(),
            changed_bytes: 0,
        }
    }

    /// The store itself.
    pub fn store(&self) -> &S {
        &self.store
    }

    /// The store itself, to sync it.
    pub fn store_mut(&mut self) -> &mut S {
        &mut self.store
    }

    /// Bytes of row changes gathered since the last write, those of changed users and chats about.
    pub fn gathered_bytes(&self) -> usize {
        self.batch.size() + self.changed_bytes
    }

    /// The position that changes made now will have.
    pub fn next_position(&self) -> Position {
        self.store.written().next()
    }

    /// Puts a row.
    pub fn put<R>(&mut self, key: &[u8], row: &R)
    where
        R: for<'a> Serialize<RowSerializer<'a>>,
    {
        self.changes += 1;
        self.kinds |= kind_bit(key);
        self.batch.put_with(key, |bytes| self.writer.append(row, bytes));
    }

    /// Removes a row.
    pub fn remove(&mut self, key: &[u8]) {
        self.changes += 1;
        self.kinds |= kind_bit(key);
        self.batch.remove(key);
    }

    /// Reads a row.
    pub fn get<R>(&self, key: &[u8]) -> Result<Option<R>, StoreError>
    where
        R: Archive,
        R::Archived: Portable
            + for<'a> CheckBytes<HighValidator<'a, ArchiveError>>
            + Deserialize<R, HighDeserializer<ArchiveError>>,
    {
        match self.batch.get(key) {
            Some(Change::Put(bytes)) => Ok(Some(rows::read_owned(bytes)?)),
            Some(Change::Remove) => Ok(None),
            None => Ok(self.store.get(key, rows::read_owned::<R>)?.transpose()?),
        }
    }

    /// Whether reading a row certainly waits for no disk.
    pub fn is_at_hand(&self, key: &[u8]) -> bool {
        self.batch.get(key).is_some() || self.store.is_at_hand(key)
    }

    /// Whether a user's row is in memory.
    pub fn has_user(&self, user: UserId) -> bool {
        self.users.find(user).is_some()
    }

    /// How many changes were made, or begun, ever. The same as before: none was.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Visits rows of one kind. A scan sees the store alone: if rows of that kind have been
    /// changed, they are written out first.
    pub fn scan(
        &mut self,
        from: &[u8],
        to: &[u8],
        direction: Direction,
        visit: Visit<'_>,
    ) -> Result<(), StoreError> {
        let is_changed = self.kinds & kind_bit(from) != 0;
        if is_changed
            || !self.changed_users.is_empty() && from[0] == Kind::User as u8
            || !self.changed_chats.is_empty() && is_chat(from)
        {
            self.write_out()?;
        }
        self.store.scan(Range { from, to, direction }, visit)
    }

    /// Writes all changes as one batch, if there are any. Returns the bytes written.
    pub fn write_out(&mut self) -> Result<usize, StoreError> {
        for user in self.changed_users.drain(..) {
            let place = self.users.find(user).expect("a changed user is busy: he stays cached");
            let entry = self.users.at(place);
            entry.changed = false;
            let write = |bytes: &mut Vec<u8>| self.writer.append(&entry.row, bytes);
            self.batch.put_with(&Key::user(user), write);
        }
        for (owner, peer) in self.changed_chats.drain(..) {
            let place = self.chats.find((owner, peer)).expect("a changed chat is busy: it stays");
            let entry = self.chats.at(place);
            let (listed, here, elsewhere) = if entry.row.listed {
                (Listed::Yes, Key::chat(owner, peer), Key::hidden_chat(owner, peer))
            } else {
                (Listed::No, Key::hidden_chat(owner, peer), Key::chat(owner, peer))
            };
            if entry.on_disk.is_some_and(|before| before != listed) {
                self.batch.remove(&elsewhere);
            }
            entry.on_disk = Some(listed);
            entry.changed = false;
            let write = |bytes: &mut Vec<u8>| self.writer.append(&entry.row, bytes);
            self.batch.put_with(&here, write);
        }
        self.changed_bytes = 0;
        if self.batch.is_empty() {
            return Ok(0);
        }
        let bytes = self.batch.size();
        let expected = self.next_position();
        let position = self.store.write(&self.batch)?;
        assert_eq!(position, expected, "positions rise by one with each batch");
        self.batch.clear();
        self.kinds = 0;
        self.uncounted_bytes += bytes as u64;
        Ok(bytes)
    }

    /// Bytes written since this was asked last, also by scans in the midst of a turn.
    pub fn take_written_bytes(&mut self) -> u64 {
        std::mem::take(&mut self.uncounted_bytes)
    }

    fn place_of_user(&mut self, user: UserId) -> Result<Place, StoreError> {
        if let Some(place) = self.users.find(user) {
            return Ok(place);
        }
        let row = self.get::<UserRow>(&Key::user(user))?.ok_or(RowError::Missing)?;
        Ok(self.insert_user(user, User { row, touched: Position::default(), changed: false }))
    }

    fn insert_user(&mut self, user: UserId, entry: User) -> Place {
        let durable = self.store.durable();
        self.users.insert(user, entry, |user| user.changed || user.touched > durable)
    }

    /// A registered user of this shard.
    pub fn user(&mut self, user: UserId) -> Result<&UserRow, StoreError> {
        let place = self.place_of_user(user)?;
        Ok(&self.users.at(place).row)
    }

    /// The same, to be changed.
    pub fn change_user(&mut self, user: UserId) -> Result<&mut UserRow, StoreError> {
        let position = self.next_position();
        let place = self.place_of_user(user)?;
        self.changes += 1;
        let entry = self.users.at(place);
        if !std::mem::replace(&mut entry.changed, true) {
            self.changed_users.push(user);
            self.changed_bytes += USER_ROW_BYTES;
        }
        entry.touched = position;
        Ok(&mut entry.row)
    }

    /// Adds a user who is not there.
    pub fn add_user(&mut self, user: UserId, row: UserRow) {
        self.changes += 1;
        let entry = User { row, touched: self.next_position(), changed: true };
        self.insert_user(user, entry);
        self.changed_users.push(user);
        self.changed_bytes += USER_ROW_BYTES;
    }

    /// What a reply about this user must wait for; see visibility rule (c).
    pub fn touched(&mut self, user: UserId) -> Result<Position, StoreError> {
        let place = self.place_of_user(user)?;
        Ok(self.users.at(place).touched)
    }

    /// Notes that a row of this user was changed, one that is not his own.
    pub fn touch(&mut self, user: UserId) -> Result<(), StoreError> {
        let position = self.next_position();
        let place = self.place_of_user(user)?;
        self.changes += 1;
        self.users.at(place).touched = position;
        Ok(())
    }

    fn place_of_chat(&mut self, owner: UserId, peer: UserId) -> Result<Option<Place>, StoreError> {
        if let Some(place) = self.chats.find((owner, peer)) {
            return Ok(Some(place));
        }
        if let Some(row) = self.get::<ChatRow>(&Key::chat(owner, peer))? {
            return Ok(Some(self.insert_chat((owner, peer), row, Some(Listed::Yes))));
        }
        let hidden = self.get::<ChatRow>(&Key::hidden_chat(owner, peer))?;
        Ok(hidden.map(|row| self.insert_chat((owner, peer), row, Some(Listed::No))))
    }

    fn insert_chat(
        &mut self,
        chat: (UserId, UserId),
        row: ChatRow,
        on_disk: Option<Listed>,
    ) -> Place {
        let changed = on_disk.is_none();
        let touched = if changed { self.next_position() } else { Position::default() };
        let entry = Chat { row, on_disk, changed, touched };
        let durable = self.store.durable();
        self.chats.insert(chat, entry, |chat| chat.changed || chat.touched > durable)
    }

    /// A chat, in its owner's list or not; `None`: the two never wrote to each other.
    pub fn chat(&mut self, owner: UserId, peer: UserId) -> Result<Option<&ChatRow>, StoreError> {
        let place = self.place_of_chat(owner, peer)?;
        Ok(place.map(|place| &self.chats.at(place).row))
    }

    /// The same, if it is in memory.
    pub fn cached_chat(&self, owner: UserId, peer: UserId) -> Option<&ChatRow> {
        self.chats.peek((owner, peer)).map(|chat| &chat.row)
    }

    /// The same, to be changed.
    pub fn change_chat(
        &mut self,
        owner: UserId,
        peer: UserId,
    ) -> Result<Option<&mut ChatRow>, StoreError> {
        let Some(place) = self.place_of_chat(owner, peer)? else { return Ok(None) };
        self.touch(owner)?;
        let position = self.next_position();
        let chat = self.chats.at(place);
        if !std::mem::replace(&mut chat.changed, true) {
            self.changed_chats.push((owner, peer));
            self.changed_bytes += bytes_of(&chat.row);
        }
        chat.touched = position;
        Ok(Some(&mut chat.row))
    }

    /// Adds a chat that is not there.
    pub fn add_chat(
        &mut self,
        owner: UserId,
        peer: UserId,
        row: ChatRow,
    ) -> Result<(), StoreError> {
        self.changes += 1;
        self.changed_bytes += bytes_of(&row);
        self.insert_chat((owner, peer), row, None);
        self.changed_chats.push((owner, peer));
        self.touch(owner)
    }

    /// Puts a message into a user's history.
    pub fn put_message(&mut self, owner: UserId, seq: u64, writing: &Writing<'_>) {
        self.put_writing(&Key::message(owner, seq), writing);
    }

    /// Puts a message under any key.
    pub fn put_writing(&mut self, key: &Key, writing: &Writing<'_>) {
        let name = match writing.name {
            AuthorName::Is(name) => name,
            AuthorName::Of(author) => {
                self.users.peek(author).and_then(|user| user.row.name.as_deref())
            }
        };
        let letter = writing.letter;
        let row = MessageRow {
            from: letter.from.number(),
            to: letter.to.number(),
            kind: letter.kind as u8,
            chat_type: letter.chat_type as u8,
            event: letter.event.map(|event| event as u8),
            team: letter.team.map(|team| team.0),
            id: letter.id.number(),
            timestamp_ms: letter.timestamp_ms,
            server_send_time_ms: writing.server_send_time_ms,
            ordinal: writing.ordinal,
            content: writing.content,
            name,
        };
        self.changes += 1;
        self.kinds |= kind_bit(key);
        self.batch.put_with(key, |bytes| self.writer.append(&row, bytes));
    }

    /// Reads a message of a user's history where it lies; `None`: it is kept no more.
    pub fn message<R>(
        &self,
        owner: UserId,
        seq: u64,
        read: impl FnOnce(StoredMessage<'_>, u64) -> R,
    ) -> Result<Option<R>, StoreError> {
        self.message_at(&Key::message(owner, seq), seq, read)
    }

    /// Reads a message that lies under any key; `seq` is its number there.
    pub fn message_at<R>(
        &self,
        key: &Key,
        seq: u64,
        read: impl FnOnce(StoredMessage<'_>, u64) -> R,
    ) -> Result<Option<R>, StoreError> {
        let decode = |bytes: &[u8]| {
            let row = rows::read::<ArchivedMessageRow<'_>>(bytes)?;
            Ok::<R, RowError>(read(stored(row, seq)?, row.ordinal.to_native()))
        };
        match self.batch.get(key) {
            Some(Change::Put(bytes)) => Ok(Some(decode(bytes)?)),
            Some(Change::Remove) => Ok(None),
            None => Ok(self.store.get(key, decode)?.transpose()?),
        }
    }
}

/// Bytes of a user's row with a name and ids as long as may be.
const USER_ROW_BYTES: usize = 640;
/// Bytes of a chat's row without its ranges of marks, and of each of these.
const CHAT_ROW_BYTES: (usize, usize) = (320, 16);

/// What a chat's row comes to: with gaps in all of its marks much more than without.
fn bytes_of(chat: &ChatRow) -> usize {
    let marks = [&chat.pushed, &chat.acked, &chat.peer_pushed, &chat.peer_acked];
    let ranges: usize = marks.iter().map(|marks| marks.ranges.len()).sum();
    CHAT_ROW_BYTES.0 + ranges * CHAT_ROW_BYTES.1
}

/// The bit of a key's kind.
fn kind_bit(key: &[u8]) -> u64 {
    1 << key[0]
}

/// Whether a key is that of a chat, in its owner's list or not.
fn is_chat(key: &[u8]) -> bool {
    key[0] == Kind::Chat as u8 || key[0] == Kind::HiddenChat as u8
}

/// The letter that a message row holds.
pub(super) fn letter_of(row: &ArchivedMessageRow<'_>) -> Option<Letter> {
    let event = match row.event.as_ref() {
        None => None,
        Some(event) => Some(*EventType::ALL.get(usize::from(*event))?),
    };
    Some(Letter {
        kind: *MessageType::ALL.get(usize::from(row.kind))?,
        from: UserId::new(i64::from(row.from.to_native()))?,
        to: UserId::new(i64::from(row.to.to_native()))?,
        team: row.team.as_ref().map(|team| TeamId(team.to_native())),
        event,
        id: MessageId::new(row.id.to_native())?,
        timestamp_ms: row.timestamp_ms.to_native(),
        chat_type: *ChatType::ALL.get(usize::from(row.chat_type))?,
    })
}

/// A message row as the API shows it; state and isRead are set by whoever knows the marks.
fn stored<'a>(row: &'a ArchivedMessageRow<'_>, seq: u64) -> Result<StoredMessage<'a>, RowError> {
    let letter = letter_of(row).ok_or(RowError::Damaged)?;
    Ok(StoredMessage {
        message: letter.with(&row.content, crate::api::DeliveryState::Server),
        name: row.name.as_ref().map(|name| &**name),
        server_send_time_ms: row.server_send_time_ms.to_native(),
        seq,
    })
}

#[cfg(test)]
#[path = "records_tests.rs"]
mod tests;
