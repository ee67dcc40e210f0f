//! WebSocket messages in: JSON text to a [`Request`], with every tolerance of the contract.
//!
//! Invariants:
//! 1. A refusal names the frame's `id` whenever that could be read.
//! 2. Nothing is concluded from keys that a type of message does not need.

use crate::api::{ChatType, Draft, EventType, Field, MessageType, Refusal, Request};
use crate::ids::{MessageId, TeamId, UserId};
use crate::wire::codec::Decoder;
use crate::wire::fields;
use crate::wire::frame::Payload;
use crate::wire::json::{Object, Value};
use crate::wire::{ack, text};
use std::borrow::Cow;

/// A frame that was refused by the wire itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Refused {
    /// The frame's id, where it had one.
    pub(super) source: Option<MessageId>,
    /// Why.
    pub(super) refusal: Refusal,
}

/// The keys of a frame that mean something; null is as good as missing.
#[derive(Default)]
struct Keys<'t, 'a> {
    kind: Option<Value<'t, 'a>>,
    from: Option<Value<'t, 'a>>,
    to: Option<Value<'t, 'a>>,
    team: Option<Value<'t, 'a>>,
    event: Option<Value<'t, 'a>>,
    content: Option<Value<'t, 'a>>,
    id: Option<Value<'t, 'a>>,
    timestamp: Option<Value<'t, 'a>>,
    chat_type: Option<Value<'t, 'a>>,
}

/// Decodes one message.
pub(super) fn decode<'a>(
    decoder: &'a mut Decoder,
    message: Payload<'_>,
) -> Result<Request<'a>, Refused> {
    let Decoder { json, ids } = decoder;
    json.read(message, |object| {
        let keys = Keys::of(object.map_err(|refusal| Refused { source: None, refusal })?);
        let id = keys.id.map_or(Ok(None), |id| fields::message_id(id, Field("id")));
        let source = id.ok().flatten();
        keys.request(id, ids).map_err(|refusal| Refused { source, refusal })
    })
}

impl<'t, 'a> Keys<'t, 'a> {
    fn of(object: Object<'t, 'a>) -> Keys<'t, 'a> {
        let mut keys = Keys::default();
        for (key, value) in object.entries() {
            let place = match key {
                "msgType" => &mut keys.kind,
                "fromUserId" => &mut keys.from,
                "toUserId" => &mut keys.to,
                "teamId" => &mut keys.team,
                "eventType" => &mut keys.event,
                "content" => &mut keys.content,
                "id" => &mut keys.id,
                "timestamp" => &mut keys.timestamp,
                "chatType" => &mut keys.chat_type,
                _ => continue,
            };
            *place = (!value.is_null()).then_some(value);
        }
        keys
    }

    fn request(
        self,
        id: Result<Option<MessageId>, Refusal>,
        ids: &'a mut Vec<MessageId>,
    ) -> Result<Request<'a>, Refusal> {
        let field = Field("msgType");
        let name = fields::string(fields::required(self.kind, field)?, field)?;
        match MessageType::from_name(name).ok_or(Refusal::UnknownValue(field))? {
            MessageType::Heartbeat => Ok(Request::Heartbeat),
            MessageType::Ack => {
                let content = fields::required(self.content, Field("content"))?;
                ack::acked(content, ids).map(Request::Ack)
            }
            MessageType::Auth => self.auth(id?),
            MessageType::Error => Err(Refusal::UnknownValue(field)),
            kind => self.draft(kind, id?).map(Request::Send),
        }
    }

    /// Whoever names no user, or one that cannot be, is not authenticated: there is nobody to ask
    /// the rules for.
    fn auth(&self, id: Option<MessageId>) -> Result<Request<'a>, Refusal> {
        let number = self.from.and_then(|from| from.integer(Field("fromUserId")).ok());
        let user = number.and_then(UserId::new).ok_or(Refusal::NotAuthenticated)?;
        Ok(Request::Auth { user, token: self.token()?, id })
    }

    /// The token, however it is wrapped; a missing one is empty.
    fn token(&self) -> Result<Cow<'a, str>, Refusal> {
        let field = Field("content");
        let Some(content) = self.content else { return Ok(Cow::Borrowed("")) };
        let wrapped = content.object().and_then(|object| object.get("token"));
        match (wrapped, content.string()) {
            (Some(token), _) => fields::string(token, Field("token")).map(Cow::Borrowed),
            (None, Some(content)) => Ok(text::unwrap_token(content)),
            (None, None) => Err(Refusal::WrongType { field, expected: "a token" }),
        }
    }

    fn draft(self, kind: MessageType, id: Option<MessageId>) -> Result<Draft<'a>, Refusal> {
        let chat_type = named(self.chat_type, Field("chatType"), ChatType::from_name)?;
        let chat_type = chat_type.unwrap_or(ChatType::Single);
        let field = Field("toUserId");
        let to = match self.to {
            Some(to) => fields::user(to, field)?,
            None if chat_type == ChatType::Single => return Err(Refusal::Missing(field)),
            None => return Err(Refusal::NotBuilt(chat_type)),
        };
        let content = Field("content");
        Ok(Draft {
            id,
            from: self.author()?,
            to,
            team: match self.team {
                Some(team) => Some(TeamId(team.integer(Field("teamId"))?)),
                None => None,
            },
            kind,
            chat_type,
            event: named(self.event, Field("eventType"), EventType::from_name)?,
            content: self.content.map_or(Ok(""), |value| fields::string(value, content))?,
            timestamp_ms: match self.timestamp {
                Some(timestamp) => fields::timestamp(timestamp, Field("timestamp"))?,
                None => None,
            },
        })
    }

    /// A number that no user can have is at any rate not this connection's user.
    fn author(&self) -> Result<Option<UserId>, Refusal> {
        let field = Field("fromUserId");
        let Some(from) = self.from else { return Ok(None) };
        match fields::user(from, field) {
            Err(Refusal::UnknownUser(_)) => Err(Refusal::NotYou),
            user => user.map(Some),
        }
    }
}

/// A value that is one of a few known names, if it is there.
fn named<T>(
    value: Option<Value<'_, '_>>,
    field: Field,
    known: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, Refusal> {
    let Some(value) = value else { return Ok(None) };
    known(fields::string(value, field)?).map(Some).ok_or(Refusal::UnknownValue(field))
}
