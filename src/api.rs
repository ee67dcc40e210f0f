//! The public API as plain data: what a peer may ask, and what he is told. No bytes, no rules.
//!
//! Text is borrowed from the bytes it arrived in (or from the row it was read from), so that
//! carrying a message from the wire to the store copies its content once.

use crate::ids::{ChatId, MessageId, Minted, Slot, TeamId, UserId};
use std::borrow::Cow;

mod refusal;
pub use refusal::{Field, Refusal};

/// `msgType`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum MessageType {
    /// Opens a session.
    Auth,
    /// Acknowledges a message.
    Ack,
    /// Keeps a connection alive.
    Heartbeat,
    /// Tells a client what was refused.
    Error,
    /// Plain text.
    Text,
    /// A URL of a picture.
    Image,
    /// A URL of a file.
    File,
    /// A URL of a film.
    Video,
    /// A URL of a recording.
    Audio,
    /// A place.
    Location,
    /// A link.
    Link,
    /// Something that happened; never counted as unread.
    Event,
}

impl MessageType {
    /// Every type, by its number.
    pub const ALL: [MessageType; 12] = {
        use MessageType::*;
        [Auth, Ack, Heartbeat, Error, Text, Image, File, Video, Audio, Location, Link, Event]
    };

    /// Text to Link: what a person wrote, and what counts as unread.
    pub fn is_content(self) -> bool {
        (MessageType::Text as u8..=MessageType::Link as u8).contains(&(self as u8))
    }

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            MessageType::Auth => "Auth",
            MessageType::Ack => "Ack",
            MessageType::Heartbeat => "Heartbeat",
            MessageType::Error => "Error",
            MessageType::Text => "Text",
            MessageType::Image => "Image",
            MessageType::File => "File",
            MessageType::Video => "Video",
            MessageType::Audio => "Audio",
            MessageType::Location => "Location",
            MessageType::Link => "Link",
            MessageType::Event => "Event",
        }
    }

    /// The type of a name on the wire.
    pub fn from_name(name: &str) -> Option<MessageType> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// `chatType`. Only Single is built.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum ChatType {
    /// Two people, or one with himself.
    Single,
    /// A team.
    Group,
    /// Whatever an application makes of it.
    Custom,
    /// A room.
    Room,
}

impl ChatType {
    /// Every type, by its number.
    pub const ALL: [ChatType; 4] =
        [ChatType::Single, ChatType::Group, ChatType::Custom, ChatType::Room];

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            ChatType::Single => "Single",
            ChatType::Group => "Group",
            ChatType::Custom => "Custom",
            ChatType::Room => "Room",
        }
    }

    /// The type of a name on the wire.
    pub fn from_name(name: &str) -> Option<ChatType> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// `eventType`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
#[allow(missing_docs)] // The names are the contract's; it says nothing more about them.
pub enum EventType {
    OfflineMessage,
    Offline,
    Online,
    Comment,
    Like,
    Relay,
    Share,
    Follow,
    Unfollow,
}

impl EventType {
    /// Every type, by its number.
    pub const ALL: [EventType; 9] = {
        use EventType::*;
        [OfflineMessage, Offline, Online, Comment, Like, Relay, Share, Follow, Unfollow]
    };

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            EventType::OfflineMessage => "OfflineMessage",
            EventType::Offline => "Offline",
            EventType::Online => "Online",
            EventType::Comment => "Comment",
            EventType::Like => "Like",
            EventType::Relay => "Relay",
            EventType::Share => "Share",
            EventType::Follow => "Follow",
            EventType::Unfollow => "Unfollow",
        }
    }

    /// The type of a name on the wire.
    pub fn from_name(name: &str) -> Option<EventType> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// `stateEnum`: how far a message has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeliveryState {
    /// Sent, not stored.
    ClientToServerIng,
    /// Stored, recipient not reached.
    Server,
    /// Pushed, not acked.
    ServerToClientIng,
    /// Acked by the recipient.
    Client,
}

impl DeliveryState {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            DeliveryState::ClientToServerIng => "ClientToServerIng",
            DeliveryState::Server => "Server",
            DeliveryState::ServerToClientIng => "ServerToClientIng",
            DeliveryState::Client => "Client",
        }
    }
}

/// A message: the 11 keys of a frame, in the order of the contract but for `content`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Message<'a> {
    /// What it is; Text to Link, or Event.
    pub kind: MessageType,
    /// Its author.
    pub from: UserId,
    /// Its recipient; the author himself in a note to self.
    pub to: UserId,
    /// Its team, carried as sent.
    pub team: Option<TeamId>,
    /// What happened, in an Event.
    pub event: Option<EventType>,
    /// At most [`crate::limits::FRAME_BYTES_MAX`] bytes.
    pub content: &'a str,
    /// Unique for its author.
    pub id: MessageId,
    /// Ms since the Unix epoch, the author's if he sent one.
    pub timestamp_ms: i64,
    /// Always Single, until others are built.
    pub chat_type: ChatType,
    /// As the reader of this copy sees it.
    pub state: DeliveryState,
    /// As the reader of this copy sees it.
    pub is_read: bool,
}

/// A message as it lies in a user's history: 14 keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoredMessage<'a> {
    /// The 11 keys of its frame.
    pub message: Message<'a>,
    /// The author's name when he sent it.
    pub name: Option<&'a str>,
    /// Ms since the Unix epoch, when the server stored it.
    pub server_send_time_ms: i64,
    /// Its place in the history of the user who reads it: dense, from 1.
    pub seq: u64,
}

/// One entry of a chat list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChatEntry<'a> {
    /// Whose list it is in.
    pub owner: UserId,
    /// Whom he talks with.
    pub peer: UserId,
    /// The entry's own id.
    pub id: ChatId,
    /// Kept at the head of the list.
    pub top: bool,
    /// Ms since the Unix epoch.
    pub created_ms: i64,
    /// Ms since the Unix epoch, of the last message.
    pub updated_ms: i64,
    /// Content messages received since the last clear.
    pub unread: u64,
    /// The last message of the chat; `None` when it is kept no more.
    pub last: Option<Message<'a>>,
}

/// What a client sends as a message: checked by the rules, not by the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Draft<'a> {
    /// `None`: the server makes one.
    pub id: Option<MessageId>,
    /// `None`: the authenticated user.
    pub from: Option<UserId>,
    /// The recipient.
    pub to: UserId,
    /// Carried as sent.
    pub team: Option<TeamId>,
    /// Text to Link, or Event.
    pub kind: MessageType,
    /// Missing means Single.
    pub chat_type: ChatType,
    /// Carried as sent.
    pub event: Option<EventType>,
    /// Missing or null means empty.
    pub content: &'a str,
    /// Ms since the Unix epoch (seconds are already multiplied); `None`: the server's clock.
    pub timestamp_ms: Option<i64>,
}

/// Which messages a client's Ack names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Acked<'a> {
    /// `{"srcId":N}`.
    One(MessageId),
    /// `{"srcIds":[...]}`, at most [`crate::limits::ACK_IDS_MAX`].
    Many(&'a [MessageId]),
    /// `{"upTo":N}`: N and all that arrived before it.
    UpTo(MessageId),
}

/// Who somebody is in an application's own words. Each part is at most
/// [`crate::limits::NAME_BYTES_MAX`] bytes and not empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity<'a> {
    /// The company.
    pub company: Cow<'a, str>,
    /// The company's application.
    pub app: Cow<'a, str>,
    /// The application's name of its user; a number reads as its decimal string.
    pub third_user_id: Cow<'a, str>,
}

/// Where a page begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PageStart {
    /// The `pageNum`-th page, counted from 1.
    Number(u64),
    /// What came before this `seq`.
    Before(u64),
}

/// What a peer asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request<'a> {
    /// WebSocket: who is there.
    Auth {
        /// Who he says he is.
        user: UserId,
        /// His token, however it was wrapped.
        token: Cow<'a, str>,
        /// Asks for an Ack with this srcId.
        id: Option<MessageId>,
    },
    /// WebSocket: a message.
    Send(Draft<'a>),
    /// WebSocket: a client's Ack.
    Ack(Acked<'a>),
    /// WebSocket: nothing but a sign of life.
    Heartbeat,
    /// Registers an identity, or finds it and sets its name.
    Register {
        /// Who.
        identity: Identity<'a>,
        /// `None` leaves the name as it is.
        name: Option<Cow<'a, str>>,
    },
    /// Finds an identity without creating it.
    Find(Identity<'a>),
    /// Mints ids. `None`: one, answered as `{"id":N}`.
    MintIds(Option<u16>),
    /// A page of everything a user sent and received, newest first.
    Page {
        /// Whose history.
        user: UserId,
        /// Where it begins.
        start: PageStart,
        /// 1..=200.
        size: u16,
    },
    /// A page of one chat as its owner sees it, newest first.
    PairPage {
        /// Whose history.
        owner: UserId,
        /// With whom.
        peer: UserId,
        /// Where it begins.
        start: PageStart,
        /// 1..=200.
        size: u16,
    },
    /// What no client of the user has acked, oldest first.
    Offline {
        /// Whose.
        user: UserId,
        /// Only messages with a greater `seq`; 0 for all.
        after_seq: u64,
        /// 1..=10,000.
        limit: u32,
    },
    /// The chat list.
    ChatList {
        /// Whose.
        user: UserId,
        /// 1..=10,000.
        limit: u32,
    },
    /// Clears an entry's unread count.
    ClearUnread(ChatId),
    /// The same by pair.
    ClearUnreadOf {
        /// Whose list.
        owner: UserId,
        /// Whose entry in it.
        peer: UserId,
    },
    /// Removes an entry from its list.
    DeleteChat(ChatId),
    /// Sums the unread counts of a list.
    UnreadCount(UserId),
    /// Moves an entry to the head of its list, or back.
    Top {
        /// The entry.
        chat: ChatId,
        /// At the head, or not.
        top: bool,
    },
    /// `GET /im/test`.
    Hello,
}

/// Which shard can answer a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Home {
    /// The one it arrived at, whichever that is.
    Anywhere,
    /// The one that keeps this slot.
    Slot(Slot),
}

impl Request<'_> {
    /// Where the rows lie that this request touches.
    pub fn home(&self) -> Home {
        match self {
            Request::Auth { user, .. }
            | Request::Page { user, .. }
            | Request::PairPage { owner: user, .. }
            | Request::Offline { user, .. }
            | Request::ChatList { user, .. }
            | Request::ClearUnreadOf { owner: user, .. }
            | Request::UnreadCount(user) => Home::Slot(user.slot()),
            Request::ClearUnread(chat) | Request::DeleteChat(chat) | Request::Top { chat, .. } => {
                Home::Slot(chat.slot())
            }
            Request::Register { identity, .. } | Request::Find(identity) => {
                Home::Slot(identity.slot())
            }
            // A session sits at its user's home already when it sends these.
            Request::Send(_) | Request::Ack(_) | Request::Heartbeat => Home::Anywhere,
            Request::MintIds(_) | Request::Hello => Home::Anywhere,
        }
    }

    /// The same request with its text copied, fit to cross to another shard.
    ///
    /// # Panics
    /// For Send and Ack, which never cross: their session already sits at its user's home.
    pub fn into_owned(self) -> Request<'static> {
        match self {
            Request::Auth { user, token, id } => {
                Request::Auth { user, token: Cow::Owned(token.into_owned()), id }
            }
            Request::Register { identity, name } => Request::Register {
                identity: identity.into_owned(),
                name: name.map(|name| Cow::Owned(name.into_owned())),
            },
            Request::Find(identity) => Request::Find(identity.into_owned()),
            Request::Send(_) | Request::Ack(_) => panic!("messages and acks never cross shards"),
            Request::Heartbeat => Request::Heartbeat,
            Request::MintIds(count) => Request::MintIds(count),
            Request::Page { user, start, size } => Request::Page { user, start, size },
            Request::PairPage { owner, peer, start, size } => {
                Request::PairPage { owner, peer, start, size }
            }
            Request::Offline { user, after_seq, limit } => {
                Request::Offline { user, after_seq, limit }
            }
            Request::ChatList { user, limit } => Request::ChatList { user, limit },
            Request::ClearUnread(chat) => Request::ClearUnread(chat),
            Request::ClearUnreadOf { owner, peer } => Request::ClearUnreadOf { owner, peer },
            Request::DeleteChat(chat) => Request::DeleteChat(chat),
            Request::UnreadCount(user) => Request::UnreadCount(user),
            Request::Top { chat, top } => Request::Top { chat, top },
            Request::Hello => Request::Hello,
        }
    }
}

impl Identity<'_> {
    /// The slot in which this identity is (or would be) registered. Fixed for ever.
    pub fn slot(&self) -> Slot {
        let mut hash = xxhash_rust::xxh3::Xxh3Default::new();
        for part in [&self.company, &self.app, &self.third_user_id] {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        Slot::of(hash.digest())
    }

    /// The same with its text copied.
    pub fn into_owned(self) -> Identity<'static> {
        Identity {
            company: Cow::Owned(self.company.into_owned()),
            app: Cow::Owned(self.app.into_owned()),
            third_user_id: Cow::Owned(self.third_user_id.into_owned()),
        }
    }
}

/// What an HTTP request is answered with, but for lists, which are streamed item by item.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// `{"userId":5}`.
    Registered(UserId),
    /// `{"userId":5,"name":..}`.
    Found {
        /// Who.
        user: UserId,
        /// His name, if ever given.
        name: Option<Box<str>>,
    },
    /// `{"id":N}`.
    Id(MessageId),
    /// `{"id":first,"ids":[...]}`.
    Ids(Minted),
    /// `{"count":n}`.
    Count(u64),
    /// 200 with an empty body.
    Empty,
    /// `Hello im`.
    Hello,
    /// Refused, in plain words.
    Refused(Refusal),
}
