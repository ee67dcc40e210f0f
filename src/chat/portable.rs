//! Users, chats and messages as plain data that outlives any layout of rows: taken out of the rows,
//! and made into rows again by the rules that made the first ones.
//!
//! Invariants:
//! 1. What was taken out and put in again gives the same rows, but for those of shards themselves.
//! 2. Data that contradicts itself is refused: a user of another slot, a seq that is not the next.
//!
//! Items of one user follow each other: he, his chats, his messages from the first on. Memory is
//! bounded by one user's chats and late ids.
//!
//! Left to others: text (`tools`), folders (`node::import`).

use crate::api::{ChatType, EventType, Identity, MessageType};
use crate::chat::by_id::{Filed, file};
use crate::chat::directory::{first_index, tenant_number};
use crate::ids::{ChatId, MessageId, SLOTS, Slot, UserId};
use crate::limits::NAME_BYTES_MAX;
use crate::store::keys::{Key, Side};
use crate::store::rows::{
    ChatIdRow, ChatRow, IdEntry, LateIdRow, MarksRow, MessageRow, NumberRow, ProfileRow,
    RowSerializer, RowWriter, SlotRow, UserRow, WAITING_BLOCK, WaitingRow,
};
use rkyv::Serialize as Row;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;

mod forgotten;
mod reading;

use forgotten::{bounded_count, forgotten_chat, forgotten_user};
pub use reading::{Visit, count_users, mint_bound, visit_all, waits_aside};

/// A user.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(missing_docs)] // The fields of the rows, by their names on the wire.
pub struct UserItem<'a> {
    pub user_id: u32,
    pub company: Cow<'a, str>,
    pub app: Cow<'a, str>,
    pub third_user_id: Cow<'a, str>,
    pub name: Option<Cow<'a, str>>,
    pub registered_ms: i64,
    /// What retention has removed of his history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forgotten: Option<ForgottenItem>,
}

/// The forgotten part of a history: what later messages build upon.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(missing_docs)] // See `UserRow`; ids in decimal.
pub struct ForgottenItem {
    pub last_seq: u64,
    pub highest_sent: String,
    pub highest_received: String,
    pub sent: ForgottenIdsItem,
    pub received: ForgottenIdsItem,
}

/// The forgotten part of the ids of what was sent, or received.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(missing_docs)] // See `IdsRow`; ids in decimal.
pub struct ForgottenIdsItem {
    pub indexed_up_to: String,
    pub highest_late: String,
    pub recent: Vec<(String, u64)>,
}

/// The forgotten part of a chat.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(missing_docs)] // See `ChatRow`.
pub struct ForgottenChatItem {
    pub messages: u64,
    pub recent: Vec<u64>,
    pub last_seq: u64,
    pub received: u64,
    pub sent: u64,
}

/// What the messages of a chat do not tell when some of their numbers came twice.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(missing_docs)] // See `ChatRow`.
pub struct PartedItem {
    pub received: u64,
    pub unread: u64,
}

/// How far messages of one direction have come, by their ordinals.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MarksItem {
    /// All up to here.
    pub up_to: u64,
    /// And these, first and last.
    pub ranges: Vec<(u64, u64)>,
}

/// A chat as its owner, the user before, sees it.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(missing_docs)] // See `ChatRow`.
pub struct ChatItem {
    pub id: u64,
    pub peer: u32,
    pub created_ms: i64,
    pub updated_ms: i64,
    pub top: bool,
    pub listed: bool,
    pub pushed: MarksItem,
    pub acked: MarksItem,
    pub read_up_to: u64,
    pub peer_pushed: MarksItem,
    pub peer_acked: MarksItem,
    pub peer_read_up_to: u64,
    /// The peer is still to be told of these marks.
    pub marks_due: bool,
    /// The peer's home has lost some that are here, and counted others by their numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parted: Option<PartedItem>,
    /// What retention has removed of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forgotten: Option<ForgottenChatItem>,
}

/// A message of the history of the user before.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(missing_docs)] // See `MessageRow`.
pub struct MessageItem<'a> {
    pub seq: u64,
    pub from: u32,
    pub to: u32,
    pub msg_type: Cow<'a, str>,
    pub chat_type: Cow<'a, str>,
    pub event_type: Option<Cow<'a, str>>,
    /// In decimal: many readers of JSON round it otherwise.
    pub team_id: Option<Cow<'a, str>>,
    /// In decimal.
    pub id: Cow<'a, str>,
    pub timestamp: i64,
    pub server_send_time: i64,
    pub ordinal: u64,
    pub content: Cow<'a, str>,
    pub name: Option<Cow<'a, str>>,
    /// Nobody has acked it yet.
    pub waits: bool,
}

/// One of them.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "camelCase")]
pub enum Item<'a> {
    /// See [`UserItem`].
    User(UserItem<'a>),
    /// See [`ChatItem`].
    Chat(ChatItem),
    /// See [`MessageItem`].
    Message(MessageItem<'a>),
}

/// How many there were.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(missing_docs)] // Of each kind.
pub struct Totals {
    pub users: u64,
    pub chats: u64,
    pub messages: u64,
}

impl Totals {
    /// One more.
    pub fn count(&mut self, item: &Item<'_>) {
        match item {
            Item::User(_) => self.users += 1,
            Item::Chat(_) => self.chats += 1,
            Item::Message(_) => self.messages += 1,
        }
    }
}

/// Why an item becomes no rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ItemError {
    /// A value that the field cannot have.
    #[error("`{0}` is out of range")]
    Range(&'static str),
    /// A user under another's id.
    #[error("the userId does not belong to this company, app and thirdUserId")]
    Identity,
    /// No user was given before.
    #[error("it comes before any user")]
    NoUser,
    /// A chat came after messages, or twice.
    #[error("a user's chats come once, before his messages")]
    Order,
    /// A message is missing.
    #[error("`seq` or `ordinal` is not the next one")]
    Gap,
    /// A message between others.
    #[error("the message is neither from nor to its user")]
    Stranger,
    /// A message of no chat.
    #[error("there is no chat with the other user")]
    NoChat,
}

/// Rows as they are made: key, value.
type Put<'a> = &'a mut dyn FnMut(&[u8], &[u8]);

/// A user whose items are coming.
struct Owner {
    user: UserId,
    row: UserRow,
    chats: BTreeMap<UserId, ChatRow>,
    late_ids: BTreeMap<(Side, MessageId), LateIdRow>,
    /// The seq before the first message that is to come.
    forgotten: u64,
}

/// Makes rows of items.
pub struct Builder {
    writer: RowWriter,
    bytes: Vec<u8>,
    owner: Option<Owner>,
    slots: Vec<SlotRow>,
}

impl Default for Builder {
    fn default() -> Builder {
        let slot = |index| {
            let next_user = first_index(Slot::of(u64::from(index)));
            SlotRow { next_user, next_chat: 1 }
        };
        let slots = (0..SLOTS).map(slot).collect();
        Builder { writer: RowWriter::default(), bytes: Vec::new(), owner: None, slots }
    }
}

impl Builder {
    /// Makes the rows of an item, or those that it completes.
    pub fn take(&mut self, item: &Item<'_>, put: Put<'_>) -> Result<(), ItemError> {
        match item {
            Item::User(user) => self.user(user, put),
            Item::Chat(chat) => self.chat(chat, put),
            Item::Message(message) => self.message(message, put),
        }
    }

    /// There are no more items.
    pub fn finish(mut self, put: Put<'_>) {
        self.end_user(put);
        for (index, row) in std::mem::take(&mut self.slots).into_iter().enumerate() {
            let slot = Slot::of(index as u64);
            if row.next_user > first_index(slot) || row.next_chat > 1 {
                self.put(&Key::slot(slot), &row, put);
            }
        }
    }

    fn put<R>(&mut self, key: &[u8], row: &R, put: Put<'_>)
    where
        R: for<'a> Row<RowSerializer<'a>>,
    {
        self.bytes.clear();
        self.writer.append(row, &mut self.bytes);
        put(key, &self.bytes);
    }

    fn user(&mut self, item: &UserItem<'_>, put: Put<'_>) -> Result<(), ItemError> {
        self.end_user(put);
        let user = person(item.user_id, "userId")?;
        let names = [&item.company, &item.app, &item.third_user_id];
        if user < UserId::FIRST || names.iter().any(|name| name.len() > NAME_BYTES_MAX) {
            return Err(ItemError::Range("userId or a name"));
        }
        let identity = Identity {
            company: Cow::Borrowed(&*item.company),
            app: Cow::Borrowed(&*item.app),
            third_user_id: Cow::Borrowed(&*item.third_user_id),
        };
        if identity.slot() != user.slot() {
            return Err(ItemError::Identity);
        }
        let slot = &mut self.slots[usize::from(user.slot().index())];
        slot.next_user = slot.next_user.max(user.index_in_slot() + 1);
        let tenant = tenant_number(&item.company, &item.app);
        let profile = ProfileRow {
            company: &item.company,
            app: &item.app,
            third_user_id: &item.third_user_id,
            registered_ms: item.registered_ms,
        };
        self.put(&Key::identity(&identity), &NumberRow(u64::from(user.number())), put);
        self.put(&Key::profile(user), &profile, put);
        self.put(&Key::tenant(user), &NumberRow(u64::from(tenant)), put);
        let name = item.name.as_deref().map(Into::into);
        let row = match &item.forgotten {
            None => UserRow::default(),
            Some(forgotten) => {
                let row = forgotten_user(forgotten)?;
                self.put(&Key::forgotten(user), &row, put);
                row
            }
        };
        let (forgotten, row) = (row.last_seq, UserRow { tenant, name, ..row });
        let (chats, late_ids) = (BTreeMap::new(), BTreeMap::new());
        self.owner = Some(Owner { user, row, chats, late_ids, forgotten });
        Ok(())
    }

    fn chat(&mut self, item: &ChatItem, put: Put<'_>) -> Result<(), ItemError> {
        let owner = self.owner.as_mut().ok_or(ItemError::NoUser)?;
        let peer = person(item.peer, "peer")?;
        let id = i64::try_from(item.id).ok().and_then(ChatId::new);
        let id = id.filter(|id| id.slot() == owner.user.slot()).ok_or(ItemError::Range("id"))?;
        let forgotten = item.forgotten.as_ref().map(forgotten_chat).transpose()?;
        let mut chat = ChatRow {
            id: item.id,
            created_ms: item.created_ms,
            updated_ms: item.updated_ms,
            top: item.top,
            listed: item.listed,
            pushed: marks(&item.pushed),
            acked: marks(&item.acked),
            read_up_to: item.read_up_to,
            peer_pushed: marks(&item.peer_pushed),
            peer_acked: marks(&item.peer_acked),
            peer_read_up_to: item.peer_read_up_to,
            is_parted: item.parted.is_some(),
            ..forgotten.clone().unwrap_or_default()
        };
        if let Some(parted) = item.parted {
            if bounded_count(parted.received, "received")? < chat.received {
                return Err(ItemError::Range("received"));
            }
            chat.received = parted.received;
            chat.unread = bounded_count(parted.unread, "unread")?;
        }
        if owner.row.last_seq > owner.forgotten || owner.chats.insert(peer, chat).is_some() {
            return Err(ItemError::Order);
        }
        owner.row.listed += u32::from(item.listed);
        let user = owner.user;
        let slot = &mut self.slots[usize::from(user.slot().index())];
        slot.next_chat = slot.next_chat.max(item.id / u64::from(SLOTS) + 1);
        let pair = ChatIdRow { owner: user.number(), peer: peer.number() };
        self.put(&Key::chat_id(id), &pair, put);
        if let Some(forgotten) = forgotten {
            self.put(&Key::forgotten_chat(user, peer), &forgotten, put);
        }
        if item.marks_due {
            self.put(&Key::marks_due(user, peer), &NumberRow(0), put);
        }
        Ok(())
    }

    fn message(&mut self, item: &MessageItem<'_>, put: Put<'_>) -> Result<(), ItemError> {
        let row = message_row(item)?;
        let id = MessageId::new(row.id).ok_or(ItemError::Range("id"))?;
        let mut owner = self.owner.take().ok_or(ItemError::NoUser)?;
        let (user, seq) = (owner.user, item.seq);
        let (from, to) = (person(item.from, "from")?, person(item.to, "to")?);
        if from != user && to != user {
            return Err(ItemError::Stranger);
        }
        let peer = if from == user { to } else { from };
        let chat = owner.chats.get_mut(&peer).ok_or(ItemError::NoChat)?;
        let is_parted = from != user && chat.is_parted;
        let count = if from == user { &mut chat.sent } else { &mut chat.received };
        // Where some came twice they are any of those that were counted before.
        let is_counted = match is_parted {
            true => (1..=*count).contains(&item.ordinal),
            false => item.ordinal == *count + 1,
        };
        if seq != owner.row.last_seq + 1 || !is_counted {
            return Err(ItemError::Gap);
        }
        if from == user && item.waits {
            return Err(ItemError::Range("waits"));
        }
        if !is_parted {
            *count = item.ordinal;
            let is_unread = from != user && row_is_content(&row) && item.ordinal > chat.read_up_to;
            chat.unread += u64::from(is_unread);
        }
        let waits = item.waits;
        chat.unacked += u64::from(waits);
        owner.row.offline += u64::from(waits);
        let whole = chat.add_message(seq);
        self.wait(&mut owner, waits, put);
        let side = Side::of(user, from);
        if from == user {
            owner.row.highest_sent = owner.row.highest_sent.max(row.id);
        } else {
            owner.row.highest_received = owner.row.highest_received.max(row.id);
        }
        match file(owner.row.ids_mut(side), IdEntry { id: row.id, seq }) {
            Filed::InRow => {}
            Filed::InBlock(block) => {
                let lowest = MessageId::new(block.entries[0].id).ok_or(ItemError::Range("id"))?;
                self.put(&Key::id_block(user, side, lowest), &block, put);
            }
            Filed::Late { .. } => owner.late_ids.entry((side, id)).or_default().seqs.push(seq),
        }
        if let Some(whole) = whole {
            self.put(&Key::pair_block(user, peer, whole.number), &whole.row, put);
        }
        self.put(&Key::message(user, seq), &row, put);
        self.owner = Some(owner);
        Ok(())
    }

    /// The next place of a history is taken, and waits or not.
    fn wait(&mut self, owner: &mut Owner, waits: bool, put: Put<'_>) {
        owner.row.last_seq += 1;
        let seq = owner.row.last_seq;
        if seq.is_multiple_of(WAITING_BLOCK) {
            let marks = std::mem::take(&mut owner.row.waiting);
            if marks != 0 {
                let key = Key::waiting(owner.user, seq / WAITING_BLOCK - 1);
                self.put(&key, &WaitingRow(marks), put);
            }
        }
        owner.row.waiting |= u128::from(waits) << (seq % WAITING_BLOCK);
    }

    fn end_user(&mut self, put: Put<'_>) {
        let Some(mut owner) = self.owner.take() else { return };
        let user = owner.user;
        for (peer, chat) in &owner.chats {
            owner.row.unread = owner.row.unread.saturating_add(chat.unread);
            let key = match chat.listed {
                true => Key::chat(user, *peer),
                false => Key::hidden_chat(user, *peer),
            };
            self.put(&key, chat, put);
        }
        for ((side, id), row) in &owner.late_ids {
            self.put(&Key::late_id(user, *side, *id), row, put);
        }
        self.put(&Key::user(user), &owner.row, put);
    }
}

fn person(number: u32, field: &'static str) -> Result<UserId, ItemError> {
    UserId::new(i64::from(number)).ok_or(ItemError::Range(field))
}

fn marks(item: &MarksItem) -> MarksRow {
    MarksRow { up_to: item.up_to, ranges: item.ranges.clone() }
}

fn row_is_content(row: &MessageRow<'_>) -> bool {
    MessageType::ALL.get(usize::from(row.kind)).is_some_and(|kind| kind.is_content())
}

/// The place of a word in its list.
fn place_of<T: std::fmt::Debug>(
    all: &[T],
    word: &str,
    field: &'static str,
) -> Result<u8, ItemError> {
    let found = all.iter().position(|one| format!("{one:?}") == word);
    found.map(|at| at as u8).ok_or(ItemError::Range(field))
}

fn message_row<'a>(item: &'a MessageItem<'_>) -> Result<MessageRow<'a>, ItemError> {
    let number = |text: &str, field| text.parse().map_err(|_| ItemError::Range(field));
    let event = item.event_type.as_deref();
    let team = item.team_id.as_deref();
    Ok(MessageRow {
        from: item.from,
        to: item.to,
        kind: place_of(&MessageType::ALL, &item.msg_type, "msgType")?,
        chat_type: place_of(&ChatType::ALL, &item.chat_type, "chatType")?,
        event: event.map(|word| place_of(&EventType::ALL, word, "eventType")).transpose()?,
        team: team.map(|text| number(text, "teamId")).transpose()?,
        id: number(&item.id, "id")?,
        timestamp_ms: item.timestamp,
        server_send_time_ms: item.server_send_time,
        ordinal: item.ordinal,
        content: &item.content,
        name: item.name.as_deref(),
    })
}
