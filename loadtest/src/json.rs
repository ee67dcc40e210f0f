//! JSON as it stands on the wire: what `serde_json::Value` forgets (order) or hides (text).

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use std::fmt;

/// The 11 keys of a frame, in the order of the contract.
pub const FRAME_KEYS: [&str; 11] = [
    "msgType",
    "fromUserId",
    "toUserId",
    "teamId",
    "eventType",
    "content",
    "id",
    "timestamp",
    "chatType",
    "stateEnum",
    "isRead",
];

/// The keys that stored messages have beside [`FRAME_KEYS`].
pub const STORED_KEYS: [&str; 3] = ["name", "serverSendTime", "seq"];

/// The keys of one JSON object in the order they are written.
#[derive(Debug, PartialEq, Eq)]
pub struct Keys(pub Vec<String>);

impl Keys {
    /// Reads the keys of an object.
    #[track_caller]
    pub fn of(text: &str) -> Keys {
        parse(text)
    }

    /// Reads the keys of each object of an array.
    #[track_caller]
    pub fn of_each(text: &str) -> Vec<Keys> {
        parse(text)
    }
}

#[track_caller]
fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> T {
    match serde_json::from_str(text) {
        Ok(value) => value,
        Err(error) => panic!("not the JSON that was expected ({error}): {text}"),
    }
}

/// Reads any JSON value, with every integer exact.
#[track_caller]
pub fn value(text: &str) -> Value {
    parse(text)
}

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Keys, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Keys;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
                let mut keys = Vec::new();
                while let Some((key, IgnoredAny)) = map.next_entry()? {
                    keys.push(key);
                }
                Ok(Keys(keys))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// Integers of a JSON object, read without any float between.
pub trait Integers {
    /// The integer under a key; panics when there is none.
    fn int(&self, key: &str) -> i64;
    /// The string under a key; panics when there is none.
    fn text(&self, key: &str) -> &str;
}

impl Integers for Value {
    #[track_caller]
    fn int(&self, key: &str) -> i64 {
        match self.get(key).and_then(Value::as_i64) {
            Some(number) => number,
            None => panic!("{key} is no integer in {self}"),
        }
    }

    #[track_caller]
    fn text(&self, key: &str) -> &str {
        match self.get(key).and_then(Value::as_str) {
            Some(text) => text,
            None => panic!("{key} is no string in {self}"),
        }
    }
}
