//! What JSON asks for, field by field, as the contract has it: all that is wrong with it, not only
//! the first that somebody stumbles over.

use crate::fuzz::naive::ack;
use crate::fuzz::naive::json::{Json, read_object};
use anser::api::{Acked, ChatType, Draft, EventType, Identity, MessageType, PageStart, Request};
use anser::ids::{ChatId, MessageId, TeamId, UserId};
use anser::limits::NAME_BYTES_MAX;

/// Something wrong with a request: the code, and the field that its words name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// As HTTP numbers it.
    pub code: u16,
    /// The key, or words.
    pub field: &'static str,
}

/// A request as it prints, or all that is wrong with it.
pub type Asked = Result<String, Vec<Problem>>;

/// What is said of what is no JSON object.
pub const NOT_JSON: Problem = Problem { code: 400, field: "not a JSON object" };

/// A frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// Its id, if it has a good one.
    pub source: Option<i64>,
    /// What it asks.
    pub asked: Asked,
    /// What that means for a chat, if it asks anything.
    pub means: Option<Means>,
}

/// What a frame means for a chat.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)] // The fields of the contract.
pub enum Means {
    Auth { user: UserId },
    Ack,
    Heartbeat,
    Send { from: Option<UserId>, to: UserId, chat_type: ChatType, letter: Letter },
}

/// What stays of a message.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)] // The fields of the contract.
pub struct Letter {
    pub kind: MessageType,
    pub to: UserId,
    pub content: String,
}

/// Gathers what is wrong.
#[derive(Default)]
struct Fields(Vec<Problem>);

impl Fields {
    fn wrong<T>(&mut self, code: u16, field: &'static str) -> Option<T> {
        self.0.push(Problem { code, field });
        None
    }

    /// A number within 64 bits.
    fn integer(&mut self, value: &Json, field: &'static str) -> Option<i64> {
        match value.whole().and_then(|number| i64::try_from(number).ok()) {
            Some(number) => Some(number),
            None => self.wrong(400, field),
        }
    }

    fn user(&mut self, value: Option<&Json>, field: &'static str, unknown: u16) -> Option<UserId> {
        let Some(value) = value else { return self.wrong(400, field) };
        let number = self.integer(value, field)?;
        match UserId::new(number) {
            Some(user) => Some(user),
            None if number <= 0 => self.wrong(400, field),
            None => self.wrong(unknown, field),
        }
    }

    fn text<'j>(&mut self, value: Option<&'j Json>, field: &'static str) -> Option<&'j str> {
        match value.map(Json::text) {
            Some(Some(text)) => Some(text),
            Some(None) => self.wrong(400, field),
            None => None,
        }
    }

    fn named<T>(
        &mut self,
        value: Option<&Json>,
        field: &'static str,
        known: fn(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.text(value, field)?;
        known(text).or_else(|| self.wrong(400, field))
    }

    fn ranged(&mut self, object: &Json, field: &'static str, from: i64, to: i64) -> Option<i64> {
        let number = self.integer(object.get(field)?, field)?;
        if (from..=to).contains(&number) { Some(number) } else { self.wrong(400, field) }
    }

    fn chat(&mut self, object: &Json) -> Option<ChatId> {
        let Some(value) = object.get("id") else { return self.wrong(400, "id") };
        let number = self.integer(value, "id")?;
        ChatId::new(number).or_else(|| self.wrong(400, "id"))
    }

    fn name<'j>(&mut self, object: &'j Json, field: &'static str) -> Option<&'j str> {
        if object.get(field).is_none() {
            return self.wrong(400, field);
        }
        let text = self.text(object.get(field), field)?;
        let is_fit = (1..=NAME_BYTES_MAX).contains(&text.len());
        if is_fit { Some(text) } else { self.wrong(400, field) }
    }

    fn identity(&mut self, object: &Json) -> Option<Identity<'static>> {
        let company = self.name(object, "company").map(str::to_owned);
        let app = self.name(object, "app").map(str::to_owned);
        let third = match object.get("thirdUserId") {
            Some(Json::Whole(number)) => Some(number.to_string()),
            _ => self.name(object, "thirdUserId").map(str::to_owned),
        };
        Some(Identity { company: company?.into(), app: app?.into(), third_user_id: third?.into() })
    }

    fn done(self, request: Option<Request<'_>>) -> Asked {
        match (request, self.0) {
            (Some(request), problems) if problems.is_empty() => Ok(format!("{request:?}")),
            (_, problems) => Err(problems),
        }
    }
}

/// What a whole text frame asks.
pub fn frame(text: &[u8]) -> Frame {
    let Some(object) = read_object(text) else {
        return Frame { source: None, asked: Err(vec![NOT_JSON]), means: None };
    };
    let mut fields = Fields::default();
    let number = object.get("id").map(|id| fields.integer(id, "id"));
    let id = match number {
        None | Some(Some(0)) => None,
        Some(number) => {
            number.and_then(|it| MessageId::new(it).or_else(|| fields.wrong(400, "id")))
        }
    };
    let source = id.map(MessageId::number);
    let kind = match object.get("msgType") {
        None => fields.wrong(400, "msgType"),
        kind => fields.named(kind, "msgType", MessageType::from_name),
    };
    let (asked, means) = match kind {
        None => (Err(fields.0), None),
        Some(MessageType::Heartbeat) => {
            (Ok(format!("{:?}", Request::Heartbeat)), Some(Means::Heartbeat))
        }
        Some(MessageType::Error) => (Err(vec![Problem { code: 400, field: "msgType" }]), None),
        Some(MessageType::Ack) => (acked(&object), Some(Means::Ack)),
        Some(MessageType::Auth) => auth(&object, id, fields),
        Some(kind) => draft(&object, kind, id, fields),
    };
    let means = means.filter(|_| asked.is_ok());
    Frame { source, asked, means }
}

fn acked(object: &Json) -> Asked {
    let mut fields = Fields::default();
    let Some(content) = object.get("content") else {
        return Err(vec![Problem { code: 400, field: "content" }]);
    };
    let request = match ack::acked(content) {
        Some(ack::Named::Many(ids)) => return Ok(format!("{:?}", Request::Ack(Acked::Many(&ids)))),
        Some(ack::Named::One(id)) => Some(Request::Ack(Acked::One(id))),
        Some(ack::Named::UpTo(id)) => Some(Request::Ack(Acked::UpTo(id))),
        None => {
            // Which of them is named is the decoder's affair.
            for field in ["content", "srcId", "srcIds", "upTo"] {
                fields.wrong::<()>(400, field);
            }
            None
        }
    };
    fields.done(request)
}

fn auth(object: &Json, id: Option<MessageId>, mut fields: Fields) -> (Asked, Option<Means>) {
    let number = object.get("fromUserId").and_then(Json::whole);
    let user = number.and_then(|it| i64::try_from(it).ok()).and_then(UserId::new);
    if user.is_none() {
        fields.wrong::<()>(401, "fromUserId");
    }
    let content = object.get("content");
    let token = match (content, content.and_then(|content| content.get("token"))) {
        (None, _) => Some(String::new()),
        (_, Some(token)) => fields.text(Some(token), "token").map(str::to_owned),
        (Some(Json::Text(content)), None) => Some(token(content)),
        (Some(_), None) => fields.wrong(400, "content"),
    };
    let request =
        user.zip(token).map(|(user, token)| Request::Auth { user, token: token.into(), id });
    (fields.done(request), user.map(|user| Means::Auth { user }))
}

/// A token out of `{'token'}`, `{"token"}` or `{"token":"..."}`; else as it is.
fn token(content: &str) -> String {
    let unwrap = || {
        let inside = content.trim().strip_prefix('{')?.strip_suffix('}')?.trim();
        let quote = inside.chars().next().filter(|first| "\"'".contains(*first))?;
        let parts: Vec<&str> = inside.split(quote).collect();
        // Before the first quote and behind the last there is nothing.
        let plain = match parts[..] {
            ["", token, ""] => token.to_owned(),
            ["", "token", colon, ref rest @ .., ""] if colon.trim() == ":" && !rest.is_empty() => {
                rest.join(&quote.to_string())
            }
            _ => return None,
        };
        let mut escaped = false;
        let mut kept: String = plain
            .chars()
            .filter(|letter| {
                escaped = *letter == '\\' && !escaped;
                !escaped
            })
            .collect();
        // A backslash that escapes nothing is one.
        if escaped {
            kept.push('\\');
        }
        Some(kept)
    };
    unwrap().unwrap_or_else(|| content.to_owned())
}

fn draft(
    object: &Json,
    kind: MessageType,
    id: Option<MessageId>,
    mut fields: Fields,
) -> (Asked, Option<Means>) {
    let chat_type = match object.get("chatType") {
        None => Some(ChatType::Single),
        given => fields.named(given, "chatType", ChatType::from_name),
    };
    let to = match (object.get("toUserId"), chat_type) {
        (None, Some(other)) if other != ChatType::Single => fields.wrong(400, "chatType"),
        (to, _) => fields.user(to, "toUserId", 404),
    };
    let from = object.get("fromUserId").and_then(|from| fields.user(Some(from), "fromUserId", 403));
    let team = object.get("teamId").and_then(|team| fields.integer(team, "teamId")).map(TeamId);
    let event = fields.named(object.get("eventType"), "eventType", EventType::from_name);
    let content = fields.text(object.get("content"), "content").unwrap_or("");
    let timestamp_ms = object.get("timestamp").and_then(|timestamp| {
        match fields.integer(timestamp, "timestamp")? {
            0 => None,
            number if number < 0 => fields.wrong(400, "timestamp"),
            seconds if seconds < 100_000_000_000 => Some(seconds * 1000),
            number => Some(number),
        }
    });
    let request = to.zip(chat_type).map(|(to, chat_type)| {
        Request::Send(Draft { id, from, to, team, kind, chat_type, event, content, timestamp_ms })
    });
    let means = to.zip(chat_type).map(|(to, chat_type)| {
        let letter = Letter { kind, to, content: content.to_owned() };
        Means::Send { from, to, chat_type, letter }
    });
    (fields.done(request), means)
}

/// The calls by their paths.
pub const CALLS: [&str; 11] = [
    "/im/user/register",
    "/im/user/find",
    "/im/message/get/id",
    "/im/message/user/get/page",
    "/im/message/offline",
    "/im/user/chat/list",
    "/im/user/chat/clear/unread",
    "/im/user/chat/clear/unread2",
    "/im/user/delete/chat/list",
    "/im/user/chat/unread/count",
    "/im/user/chat/top",
];

/// What the body of a call asks.
pub fn call(path: &str, body: &[u8]) -> Asked {
    let is_empty = body.iter().all(u8::is_ascii_whitespace);
    let object = if is_empty { Some(Json::Object(Vec::new())) } else { read_object(body) };
    let Some(object) = object else { return Err(vec![NOT_JSON]) };
    let mut fields = Fields::default();
    let request = match path {
        "/im/message/user/get/page" => page(&object, &mut fields),
        "/im/message/offline" => {
            let user = fields.user(object.get("userId"), "userId", 404);
            let after_seq = fields.ranged(&object, "afterSeq", 0, i64::MAX).unwrap_or(0) as u64;
            let limit = fields.ranged(&object, "limit", 1, 10_000).unwrap_or(10_000) as u32;
            user.map(|user| Request::Offline { user, after_seq, limit })
        }
        "/im/user/chat/list" => {
            let user = fields.user(object.get("userId"), "userId", 404);
            let limit = fields.ranged(&object, "limit", 1, 10_000).unwrap_or(10_000) as u32;
            user.map(|user| Request::ChatList { user, limit })
        }
        _ => short_call(path, &object, &mut fields),
    };
    fields.done(request)
}

fn short_call(path: &str, object: &Json, fields: &mut Fields) -> Option<Request<'static>> {
    match path {
        "/im/user/register" => {
            let identity = fields.identity(object);
            let name = fields.text(object.get("name"), "name").map(str::to_owned);
            if name.as_ref().is_some_and(|name| name.len() > NAME_BYTES_MAX) {
                fields.wrong::<()>(400, "name");
            }
            Some(Request::Register { identity: identity?, name: name.map(Into::into) })
        }
        "/im/user/find" => fields.identity(object).map(Request::Find),
        "/im/message/get/id" => {
            let count = fields.ranged(object, "count", 1, 1000);
            Some(Request::MintIds(count.map(|count| count as u16)))
        }
        "/im/user/chat/clear/unread" => fields.chat(object).map(Request::ClearUnread),
        "/im/user/chat/clear/unread2" => {
            let owner = fields.user(object.get("fromUserId"), "fromUserId", 404);
            let peer = fields.user(object.get("toUserId"), "toUserId", 404);
            Some(Request::ClearUnreadOf { owner: owner?, peer: peer? })
        }
        "/im/user/delete/chat/list" => fields.chat(object).map(Request::DeleteChat),
        "/im/user/chat/unread/count" => {
            fields.user(object.get("userId"), "userId", 404).map(Request::UnreadCount)
        }
        "/im/user/chat/top" => {
            let chat = fields.chat(object);
            let top = match object.get("top") {
                Some(Json::Flag(top)) => Some(*top),
                _ => fields.wrong(400, "top"),
            };
            Some(Request::Top { chat: chat?, top: top? })
        }
        _ => unreachable!("all calls are listed"),
    }
}

fn page(object: &Json, fields: &mut Fields) -> Option<Request<'static>> {
    let size = fields.ranged(object, "pageSize", 1, 200).unwrap_or(10) as u16;
    let number = fields.ranged(object, "pageNum", 1, i64::MAX).unwrap_or(1) as u64;
    let before = fields.ranged(object, "beforeSeq", 0, i64::MAX);
    let start = before.map_or(PageStart::Number(number), |seq| PageStart::Before(seq as u64));
    if object.get("userId").is_some() || object.get("fromUserId").is_none() {
        let user = fields.user(object.get("userId"), "userId", 404)?;
        return Some(Request::Page { user, start, size });
    }
    let owner = fields.user(object.get("fromUserId"), "fromUserId", 404);
    let peer = fields.user(object.get("toUserId"), "toUserId", 404);
    Some(Request::PairPage { owner: owner?, peer: peer?, start, size })
}
