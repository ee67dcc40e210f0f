//! What happened in the town as its people see it: all that the checkers may judge by.
//!
//! Left to others: what it should have been (`checkers`, `model`).

use crate::api::{EventType, MessageType, Request};
use crate::ids::{ShardId, UserId};
use crate::sim::disk::Crash;
use simd_json::OwnedValue;
use std::fmt;

/// A moment of the town, ms of virtual time since it was founded.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Moment {
    /// Ms.
    pub ms: u64,
}

/// One connection of one client; the name is never used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct DeviceId {
    /// Whose: an index into the town's people, or [`DeviceId::STRANGER`].
    pub person: u32,
    /// Counts all connections of the town.
    pub connection: u32,
}

impl DeviceId {
    /// Nobody's: whoever is no person of the town.
    pub const STRANGER: u32 = u32::MAX;
}

impl fmt::Display for DeviceId {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.person {
            DeviceId::STRANGER => write!(to, "stranger.c{}", self.connection),
            person => write!(to, "p{person}.c{}", self.connection),
        }
    }
}

/// An HTTP call, as its client means it. Never a frame.
pub type Call = Request<'static>;

/// What happened.
#[derive(Debug)]
pub enum Observation<'a> {
    /// A client is about to put a frame on its connection. It may arrive whole, in part or never.
    Said {
        /// Which.
        device: DeviceId,
        /// The frame.
        frame: &'a Said,
    },
    /// A client has read a whole frame.
    Heard {
        /// Which.
        device: DeviceId,
        /// The frame.
        frame: &'a Heard,
    },
    /// A client is about to put a call on its connection. It may be done and never answered.
    Called {
        /// Which.
        device: DeviceId,
        /// The call.
        call: &'a Call,
    },
    /// A client has read the whole answer to its oldest call.
    Answered {
        /// Which.
        device: DeviceId,
        /// The call.
        call: &'a Call,
        /// HTTP's status.
        status: u16,
        /// The body; null if it has none.
        body: &'a OwnedValue,
    },
    /// A client has ended its side of a connection: it says nothing more, and may still hear.
    Left {
        /// Which.
        device: DeviceId,
    },
    /// The connection is gone, for its client.
    Ended {
        /// Which.
        device: DeviceId,
        /// The code of the close frame, if one was read.
        code: Option<u16>,
    },
    /// The whole server goes down.
    Crashed {
        /// How.
        crash: Crash,
        /// What was observed up to this moment was on all disks.
        durable: Moment,
    },
    /// It serves again.
    Recovered,
    /// A shard stands still.
    Stalled(ShardId),
    /// It goes on.
    Resumed(ShardId),
    /// The disk has no room, or has some again.
    DiskFull(bool),
    /// A write to a shard's log has failed: it acks nothing more until the next start.
    DiskFailed(ShardId),
    /// The wall clock jumps by so many ms, either way.
    ClockJumped(i64),
    /// All faults have ended, and for as long as anybody waits for an Ack nothing was done since.
    Morning,
    /// All faults have ended, everything has come to rest: from now on answers are exact.
    Evening,
    /// What the server holds: the only look inside.
    Sizes(&'a Sizes),
}

/// A frame of a client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Said {
    /// Who it is.
    Auth {
        /// Who.
        user: UserId,
        /// Asks for an Ack with this srcId.
        id: Option<i64>,
    },
    /// A message.
    Message {
        /// Its id; 0: the server is to make one.
        id: i64,
        /// `None`: its author. Another user: it is forged.
        from: Option<UserId>,
        /// For whom.
        to: UserId,
        /// Text to Link, or Event.
        kind: MessageType,
        /// Carried as sent.
        event: Option<EventType>,
        /// `None`: the server's clock.
        timestamp: Option<i64>,
        /// Its text; never the same for two messages.
        content: String,
    },
    /// An Ack of some messages.
    Ack(Vec<i64>),
    /// An Ack of all up to one.
    AckUpTo(i64),
    /// A sign of life.
    Heartbeat,
    /// A WebSocket ping.
    Ping,
    /// Broken or hostile bytes.
    Garbage,
}

/// A frame of the server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Heard {
    /// A message (or an Auth that had an id) is stored.
    Ack {
        /// The frame's own id.
        id: i64,
        /// The id of what is stored.
        source: i64,
    },
    /// A message.
    Message {
        /// Its id.
        id: i64,
        /// Its author.
        from: UserId,
        /// Its recipient.
        to: UserId,
        /// Its type.
        kind: String,
        /// What happened, in an Event.
        event: Option<String>,
        /// Ms.
        timestamp: i64,
        /// Its text.
        content: String,
        /// Its state.
        state: String,
        /// Whether it is read.
        is_read: bool,
        /// Present when it is pushed again.
        seq: Option<u64>,
    },
    /// So many messages wait.
    Waiting {
        /// How many.
        count: u64,
    },
    /// Something was refused.
    Error {
        /// The frame's id, where it had one.
        source: Option<i64>,
        /// The code.
        code: i64,
        /// Why.
        words: String,
    },
    /// A sign of life is asked for.
    Ping,
    /// One was given.
    Pong,
    /// The server closes.
    Close {
        /// With this code.
        code: Option<u16>,
    },
}

/// What a server holds at a moment. All but the last: the most that any one shard does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sizes {
    /// Rows that are not in the LSM.
    pub overlay_bytes: usize,
    /// Records that wait for the write in flight.
    pub log_waiting_bytes: usize,
    /// Parcels waiting in one direction between two shards.
    pub lane_parcels: usize,
    /// Output of one session that its socket has not taken.
    pub session_unsent_bytes: usize,
    /// The same of a whole shard.
    pub unsent_bytes: usize,
    /// Frames held before Auth, and fragments, of one session.
    pub session_held_bytes: usize,
    /// The same of a whole shard.
    pub held_bytes: usize,
    /// Events that wait for rows.
    pub parked: usize,
    /// Relays that no other shard has confirmed, of all shards.
    pub outbox_rows: usize,
}

/// What must not be. Names whom and what it is about, so that both are found in a trace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// The checker that found it, or the part of the town that did.
    pub checker: &'static str,
    /// Whom.
    pub user: Option<UserId>,
    /// Which message.
    pub message: Option<i64>,
    /// What was expected and what was seen.
    pub words: String,
}

impl Failure {
    /// One that is about nobody in particular.
    pub fn of(checker: &'static str, words: String) -> Failure {
        Failure { checker, user: None, message: None, words }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "[{}] ", self.checker)?;
        if let Some(user) = self.user {
            write!(to, "user {}, ", user.number())?;
        }
        if let Some(message) = self.message {
            write!(to, "message {message}, ")?;
        }
        write!(to, "{}", self.words)
    }
}
