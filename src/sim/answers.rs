//! Answers of the server, read as a client reads them: every key that the contract names, and no
//! other.

use crate::ids::UserId;
use simd_json::OwnedValue;
use simd_json::prelude::*;

/// A message of a list: 14 keys.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)] // Each is the key of its name.
pub struct Row {
    pub kind: String,
    pub from: UserId,
    pub to: UserId,
    pub event: Option<String>,
    pub content: String,
    pub id: i64,
    pub timestamp: i64,
    pub state: String,
    pub is_read: bool,
    pub name: Option<String>,
    pub server_send_time: i64,
    pub seq: u64,
}

/// An entry of a chat list.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)] // Each is the key of its name.
pub struct Entry {
    pub id: u64,
    pub owner: UserId,
    pub peer: UserId,
    pub top: bool,
    pub unread: u64,
    pub created: String,
    pub updated: String,
    pub last_date: Option<String>,
    pub last: Option<Last>,
}

/// The last message of an entry.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)] // Each is the key of its name.
pub struct Last {
    pub kind: String,
    pub id: i64,
    pub content: String,
    pub timestamp: i64,
}

/// Keys of an object; each reads as what it is, or not at all.
struct Object<'a>(&'a OwnedValue);

impl Object<'_> {
    fn has_keys(&self, count: usize) -> Option<()> {
        (self.0.as_object()?.len() == count).then_some(())
    }

    fn number(&self, key: &str) -> Option<i64> {
        self.0.get(key)?.as_i64()
    }

    fn text(&self, key: &str) -> Option<String> {
        self.0.get(key)?.as_str().map(str::to_owned)
    }

    fn flag(&self, key: &str) -> Option<bool> {
        self.0.get(key)?.as_bool()
    }

    fn user(&self, key: &str) -> Option<UserId> {
        UserId::new(self.number(key)?)
    }

    /// Null, or a text.
    fn text_or_null(&self, key: &str) -> Option<Option<String>> {
        let value = self.0.get(key)?;
        if value.is_null() { Some(None) } else { Some(Some(value.as_str()?.to_owned())) }
    }

    fn is(&self, key: &str, text: &str) -> Option<()> {
        (self.0.get(key)?.as_str()? == text).then_some(())
    }

    fn is_null(&self, key: &str) -> Option<()> {
        self.0.get(key)?.is_null().then_some(())
    }
}

fn row(value: &OwnedValue) -> Option<Row> {
    let object = Object(value);
    object.has_keys(14)?;
    object.is("chatType", "Single")?;
    object.is_null("teamId")?;
    Some(Row {
        kind: object.text("msgType")?,
        from: object.user("fromUserId")?,
        to: object.user("toUserId")?,
        event: object.text_or_null("eventType")?,
        content: object.text("content")?,
        id: object.number("id")?,
        timestamp: object.number("timestamp")?,
        state: object.text("stateEnum")?,
        is_read: object.flag("isRead")?,
        name: object.text_or_null("name")?,
        server_send_time: object.number("serverSendTime")?,
        seq: u64::try_from(object.number("seq")?).ok()?,
    })
}

fn entry(value: &OwnedValue) -> Option<Entry> {
    let object = Object(value);
    object.has_keys(11)?;
    object.is("chatType", "Single")?;
    object.is_null("teamId")?;
    let last = value.get("lastMsgId")?;
    let last = if last.is_null() { None } else { Some(last_message(last)?) };
    Some(Entry {
        id: u64::try_from(object.number("id")?).ok()?,
        owner: object.user("fromUserId")?,
        peer: object.user("toUserId")?,
        top: object.flag("top")?,
        unread: u64::try_from(object.number("unReadCount")?).ok()?,
        created: object.text("createTime")?,
        updated: object.text("updateTime")?,
        last_date: object.text_or_null("lastMsgDate")?,
        last,
    })
}

fn last_message(value: &OwnedValue) -> Option<Last> {
    let object = Object(value);
    object.has_keys(4)?;
    Some(Last {
        kind: object.text("msgType")?,
        id: object.number("id")?,
        content: object.text("content")?,
        timestamp: object.number("timestamp")?,
    })
}

/// The messages of a page or an offline list.
pub fn rows(body: &OwnedValue) -> Option<Vec<Row>> {
    body.as_array()?.iter().map(row).collect()
}

/// The entries of a chat list.
pub fn entries(body: &OwnedValue) -> Option<Vec<Entry>> {
    body.as_array()?.iter().map(entry).collect()
}

/// `{"count":n}`.
pub fn count(body: &OwnedValue) -> Option<u64> {
    Object(body).has_keys(1)?;
    u64::try_from(Object(body).number("count")?).ok()
}

/// `{"userId":n}`, and a name if there is one.
pub fn user(body: &OwnedValue) -> Option<UserId> {
    Object(body).user("userId")
}

/// `{"id":n}`, or with `"ids":[n,..]`.
pub fn ids(body: &OwnedValue) -> Option<Vec<i64>> {
    let first = Object(body).number("id")?;
    let Some(ids) = body.get("ids") else { return Some(vec![first]) };
    let ids: Vec<i64> = ids.as_array()?.iter().map(|id| id.as_i64()).collect::<Option<_>>()?;
    (ids.first() == Some(&first)).then_some(ids)
}
