//! Every way to say no to a request that was understood. `Copy`: saying no allocates nothing.

use crate::api::ChatType;
use std::fmt;

/// A key of a request, named in refusals as the peer wrote it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field(pub &'static str);

/// Why a request was refused. `Display` is the `msg` of the answer, [`Refusal::code`] its `code`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The frame or body is not a JSON object.
    NotJson,
    /// A key that must be there is not, or is null.
    Missing(Field),
    /// A key holds another type than it should.
    WrongType {
        /// Which.
        field: Field,
        /// What it should hold, such as "a string".
        expected: &'static str,
    },
    /// A key holds a number or a length that is not allowed.
    OutOfRange {
        /// Which.
        field: Field,
        /// What is allowed, such as "1 to 200".
        allowed: &'static str,
    },
    /// A key names nothing that this server knows, such as a `msgType` of "Smell".
    UnknownValue(Field),
    /// A key names a user who was never registered (or lives in another company's application).
    UnknownUser(Field),
    /// No such identity.
    UnknownIdentity,
    /// No such chat entry.
    UnknownChat,
    /// A chat type of the contract that is not built yet.
    NotBuilt(ChatType),
    /// The system is nobody's correspondent.
    ToSystem,
    /// `fromUserId` is not the user of this connection.
    NotYou,
    /// The connection is authenticated already, for another user.
    AlreadySomebodyElse,
    /// The id was used before, with another content, type or recipient.
    IdUsed,
    /// `fromUserId` of an Auth is not a registered user, or his token is wrong.
    NotAuthenticated,
    /// Ids ran too far ahead of the clock.
    TooManyIds,
    /// A total of the server is used up; try again.
    Busy,
    /// The store has failed: nothing is accepted until that is mended.
    StoreFailed,
    /// Rows that the request needs cannot be read; nothing was changed.
    Unreadable,
    /// The disk has too little room: nothing new is stored until it has more.
    DiskFull,
    /// There are no more user ids in the identity's slot.
    SlotFull,
    /// The server is being stopped.
    Draining,
}

impl Refusal {
    /// The code as HTTP numbers such things.
    pub fn code(self) -> u16 {
        match self {
            Refusal::NotJson
            | Refusal::Missing(_)
            | Refusal::WrongType { .. }
            | Refusal::OutOfRange { .. }
            | Refusal::UnknownValue(_)
            | Refusal::NotBuilt(_)
            | Refusal::ToSystem => 400,
            Refusal::NotAuthenticated => 401,
            Refusal::NotYou => 403,
            Refusal::UnknownUser(_) | Refusal::UnknownIdentity | Refusal::UnknownChat => 404,
            Refusal::AlreadySomebodyElse | Refusal::IdUsed => 409,
            Refusal::TooManyIds => 429,
            Refusal::Unreadable => 500,
            Refusal::Busy
            | Refusal::StoreFailed
            | Refusal::DiskFull
            | Refusal::SlotFull
            | Refusal::Draining => 503,
        }
    }

    /// The key that was wrong, where it was one.
    pub fn field(self) -> Option<Field> {
        match self {
            Refusal::Missing(field)
            | Refusal::WrongType { field, .. }
            | Refusal::OutOfRange { field, .. }
            | Refusal::UnknownValue(field)
            | Refusal::UnknownUser(field) => Some(field),
            Refusal::NotYou => Some(Field("fromUserId")),
            _ => None,
        }
    }

    /// A short fixed word for counting refusals by reason.
    pub fn reason(self) -> &'static str {
        match self {
            Refusal::NotJson => "not_json",
            Refusal::Missing(_) => "missing",
            Refusal::WrongType { .. } => "wrong_type",
            Refusal::OutOfRange { .. } => "out_of_range",
            Refusal::UnknownValue(_) => "unknown_value",
            Refusal::UnknownUser(_) => "unknown_user",
            Refusal::UnknownIdentity => "unknown_identity",
            Refusal::UnknownChat => "unknown_chat",
            Refusal::NotBuilt(_) => "not_built",
            Refusal::ToSystem => "to_system",
            Refusal::NotYou => "not_you",
            Refusal::AlreadySomebodyElse => "already_somebody_else",
            Refusal::IdUsed => "id_used",
            Refusal::NotAuthenticated => "not_authenticated",
            Refusal::TooManyIds => "too_many_ids",
            Refusal::Busy => "busy",
            Refusal::StoreFailed => "store_failed",
            Refusal::Unreadable => "unreadable",
            Refusal::DiskFull => "disk_full",
            Refusal::SlotFull => "slot_full",
            Refusal::Draining => "draining",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NotJson => write!(out, "not a JSON object"),
            Refusal::Missing(Field(name)) => write!(out, "{name} is missing"),
            Refusal::WrongType { field: Field(name), expected } => {
                write!(out, "{name} must be {expected}")
            }
            Refusal::OutOfRange { field: Field(name), allowed } => {
                write!(out, "{name} must be {allowed}")
            }
            Refusal::UnknownValue(Field(name)) => write!(out, "{name} names nothing known here"),
            Refusal::UnknownUser(Field(name)) => write!(out, "{name} is not a known user"),
            Refusal::UnknownIdentity => {
                write!(out, "no user is registered with this company, app and thirdUserId")
            }
            Refusal::UnknownChat => write!(out, "id is not a known chat entry"),
            Refusal::NotBuilt(kind) => {
                write!(out, "chatType {} is not built yet: only Single is", kind.name())
            }
            Refusal::ToSystem => write!(out, "toUserId 1 is the system: nobody can write to it"),
            Refusal::NotYou => write!(out, "fromUserId is not the user of this connection"),
            Refusal::AlreadySomebodyElse => {
                write!(out, "this connection is authenticated for another user")
            }
            Refusal::IdUsed => {
                write!(out, "id was used before for another content, type or recipient")
            }
            Refusal::NotAuthenticated => {
                write!(out, "fromUserId is not a registered user, or the token is not his")
            }
            Refusal::TooManyIds => write!(out, "ids run too far ahead of the clock: slow down"),
            Refusal::Busy => write!(out, "the server is busy: try again"),
            Refusal::StoreFailed => write!(out, "the server cannot store anything now"),
            Refusal::Unreadable => {
                write!(out, "what the server has stored of this is damaged: nothing was changed")
            }
            Refusal::DiskFull => {
                write!(out, "the server's disk is full: nothing was stored, try again later")
            }
            Refusal::SlotFull => write!(out, "there are no user ids left for this identity"),
            Refusal::Draining => write!(out, "the server is stopping: connect again"),
        }
    }
}
