//! What can happen to a shard, and what it wants done: the vocabulary between rules and node.

use crate::api::{
    ChatType, DeliveryState, EventType, Message, MessageType, Refusal, Reply, Request,
};
use crate::chat::history::Listing;
use crate::chat::marks::Marks;
use crate::ids::{ConnectionId, MessageId, MintClock, ShardId, TeamId, UserId};

/// The moment of a turn; read once, by `node`.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Ms since the Unix epoch, for people. May jump either way.
    pub wall_ms: i64,
    /// Ms since some start, for durations. Never goes back.
    pub steady_ms: u64,
    /// For minting.
    pub mint: MintClock,
    /// The disk has too little room for anything new.
    pub is_disk_full: bool,
}

/// What happened.
pub enum Event<'a> {
    /// A peer asks. Auth, Send, Ack and Heartbeat come from WebSockets, all else from HTTP; a
    /// request arrives only at its home (see [`Request::home`]).
    Request {
        /// Who waits for the answer; for a forwarded request its shard is another one.
        connection: ConnectionId,
        /// The user of an authenticated WebSocket.
        user: Option<UserId>,
        /// What is asked.
        request: Request<'a>,
    },
    /// Time to forget some of a user's oldest messages, as [`Shard::next_to_forget`] has said.
    ///
    /// [`Shard::next_to_forget`]: crate::chat::shard::Shard::next_to_forget
    Forget {
        /// Whose.
        user: UserId,
    },
    /// An authenticated connection is gone.
    Closed {
        /// Which.
        connection: ConnectionId,
        /// Whose.
        user: UserId,
    },
    /// Another shard's message for a user of this one, in the order of its stream.
    Relay {
        /// The author's home.
        from: ShardId,
        /// The message.
        relay: Relay,
    },
    /// Another shard has on disk what its stream brought it up to here.
    Confirmed {
        /// The recipient's home.
        by: ShardId,
        /// The last position it has.
        stream: StreamPosition,
    },
    /// What a recipient's shard tells the author's of his messages' fate.
    Marks {
        /// The recipient's home.
        from: ShardId,
        /// The marks.
        notice: MarksNotice,
    },
    /// The author's shard has a notice on disk.
    MarksApplied {
        /// The author's home.
        by: ShardId,
        /// Which notice.
        receipt: MarksReceipt,
    },
    /// Some 10 times a second: whatever is due.
    Tick,
}

/// A place in the stream of relays from one shard to another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct StreamPosition {
    /// Grows with every start of the sending shard.
    pub epoch: u64,
    /// Dense, from 1, within an epoch.
    pub sequence: u64,
}

/// One message on its way from the author's home to the recipient's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Relay {
    /// Its place in the stream.
    pub position: StreamPosition,
    /// The message without its text.
    pub letter: Letter,
    /// Its place among all that this author sent this recipient: dense, from 1.
    pub ordinal: u64,
    /// Ms since the Unix epoch, when the author's home stored it.
    pub server_send_time_ms: i64,
    /// Its text.
    pub content: Box<str>,
    /// The author's name.
    pub name: Option<Box<str>>,
}

/// A message but for its text: plain data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Letter {
    /// Text to Link, or Event.
    pub kind: MessageType,
    /// The author.
    pub from: UserId,
    /// The recipient.
    pub to: UserId,
    /// Carried as sent.
    pub team: Option<TeamId>,
    /// Carried as sent.
    pub event: Option<EventType>,
    /// Unique for its author.
    pub id: MessageId,
    /// Ms since the Unix epoch.
    pub timestamp_ms: i64,
    /// Single.
    pub chat_type: ChatType,
}

impl Letter {
    /// The one that `owner`, who is its author or its recipient, has this chat with.
    pub fn other(&self, owner: UserId) -> UserId {
        if self.from == owner { self.to } else { self.from }
    }

    /// The message of this letter and its text, not read yet.
    pub fn with(self, content: &str, state: DeliveryState) -> Message<'_> {
        Message {
            kind: self.kind,
            from: self.from,
            to: self.to,
            team: self.team,
            event: self.event,
            content,
            id: self.id,
            timestamp_ms: self.timestamp_ms,
            chat_type: self.chat_type,
            state,
            is_read: false,
        }
    }

    /// The letter of a message.
    pub fn of(message: &Message<'_>) -> Letter {
        Letter {
            kind: message.kind,
            from: message.from,
            to: message.to,
            team: message.team,
            event: message.event,
            id: message.id,
            timestamp_ms: message.timestamp_ms,
            chat_type: message.chat_type,
        }
    }
}

/// How far a reader has come with an author's messages. Later notices hold all earlier ones.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MarksNotice {
    /// Who and which.
    pub receipt: MarksReceipt,
    /// Ordinals pushed to the reader.
    pub pushed: Marks,
    /// Ordinals that the reader acked.
    pub acked: Marks,
    /// All ordinals up to here are read.
    pub read_up_to: u64,
}

/// Names one notice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MarksReceipt {
    /// Who received the messages.
    pub reader: UserId,
    /// Who wrote them.
    pub author: UserId,
    /// Grows with every notice of this reader's shard.
    pub version: u64,
}

/// The server's Ack of a message (or of an Auth that carried an id).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ServerAck {
    /// The frame's own id.
    pub id: MessageId,
    /// Who gets it.
    pub user: UserId,
    /// As in the message.
    pub chat_type: ChatType,
    /// The message acked.
    pub source: MessageId,
    /// Ms since the Unix epoch.
    pub timestamp_ms: i64,
}

/// The event "you have `count` offline messages".
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OfflineNotice {
    /// The frame's own id.
    pub id: MessageId,
    /// Who gets it.
    pub user: UserId,
    /// How many wait.
    pub count: u64,
    /// Ms since the Unix epoch.
    pub timestamp_ms: i64,
}

/// Why the rules end a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CloseReason {
    /// A newer connection of the same user took its place (4409).
    Replaced,
}

/// Text kept by a [`crate::chat::turn::Turn`]: `start..end` in its arena.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// Byte after the last.
    pub end: u32,
}

/// What a message pushed again carries beyond its frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoredPart {
    /// The author's name.
    pub name: Option<Span>,
    /// Ms since the Unix epoch.
    pub server_send_time_ms: i64,
    /// The recipient's seq.
    pub seq: u64,
}

/// What is to be done, by `node`.
#[derive(Debug)]
pub enum Effect {
    /// Answer an HTTP request.
    Reply {
        /// Whose.
        to: ConnectionId,
        /// With what.
        reply: Reply,
    },
    /// Answer an HTTP request with a list: call `Shard::list` until it says that all is there. What
    /// it gives may leave when what `Shard::needed_by` says is durable.
    List {
        /// Whose.
        to: ConnectionId,
        /// What is in it.
        listing: Box<Listing>,
    },
    /// Auth succeeded.
    Welcome {
        /// Whose.
        to: ConnectionId,
        /// Who it is from now on.
        user: UserId,
        /// Sent when the Auth asked for it.
        ack: Option<ServerAck>,
        /// Sent when messages wait.
        notice: Option<OfflineNotice>,
    },
    /// Auth failed: an Error frame, then close.
    RefuseAuth {
        /// Whose.
        to: ConnectionId,
        /// The Auth's id.
        source: Option<MessageId>,
        /// Why.
        refusal: Refusal,
    },
    /// An Error frame.
    Refuse {
        /// Whose.
        to: ConnectionId,
        /// The frame refused, where it had an id.
        source: Option<MessageId>,
        /// Why.
        refusal: Refusal,
    },
    /// An Ack frame.
    Ack {
        /// Whose.
        to: ConnectionId,
        /// The ack.
        ack: ServerAck,
    },
    /// An OfflineMessage event.
    Notice {
        /// Whose.
        to: ConnectionId,
        /// The event.
        notice: OfflineNotice,
    },
    /// A message.
    Push {
        /// Whose.
        to: ConnectionId,
        /// The message.
        letter: Letter,
        /// Its text.
        content: Span,
        /// The state in which its reader sees it.
        state: DeliveryState,
        /// Present when it is pushed again.
        stored: Option<StoredPart>,
    },
    /// End a connection.
    Close {
        /// Which.
        to: ConnectionId,
        /// Why.
        reason: CloseReason,
    },
    /// Tell the directory of a user whose rows are on disk now: call `Shard::enroll`.
    Enroll {
        /// Who.
        user: UserId,
        /// Where.
        tenant: u32,
    },
    /// Post to another shard, when `Shard::may_post` agrees.
    Relay {
        /// The recipient's home.
        to: ShardId,
        /// The message.
        relay: Relay,
    },
    /// Tell another shard that its relays up to here are on disk.
    Confirm {
        /// The author's home.
        to: ShardId,
        /// The last one.
        stream: StreamPosition,
    },
    /// Tell the author's shard.
    Marks {
        /// The author's home.
        to: ShardId,
        /// The marks.
        notice: MarksNotice,
    },
    /// Tell the reader's shard.
    MarksApplied {
        /// The reader's home.
        to: ShardId,
        /// Which notice.
        receipt: MarksReceipt,
    },
}
