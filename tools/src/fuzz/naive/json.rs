//! JSON as serde_json reads it, with the few things that the contract adds or forbids.

use anser::limits::{JSON_DEPTH_MAX, JSON_VALUES_MAX};
use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use std::cell::RefCell;
use std::fmt;

/// A value. Keys are as many as there are, also when two are the same.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Json {
    /// `null`.
    Null,
    /// `true` or `false`.
    Flag(bool),
    /// A number without point and exponent.
    Whole(i128),
    /// Any other number.
    Broken,
    /// A string.
    Text(String),
    /// A list.
    List(Vec<Json>),
    /// An object.
    Object(Vec<(String, Json)>),
}

/// Reads a text; where it is no JSON, once more with curly quotes made straight. `None`: it is no
/// object that this server takes.
pub fn read_object(text: &[u8]) -> Option<Json> {
    let value = parse(text).or_else(|| {
        let curly = std::str::from_utf8(text).ok()?;
        let straight = curly.replace(['\u{201C}', '\u{201D}'], "\"");
        parse(straight.as_bytes())
    })?;
    let is_taken = matches!(value, Json::Object(_)) && value.count() <= JSON_VALUES_MAX;
    is_taken.then_some(value)
}

/// Reads a text that must be JSON, no deeper than allowed, with no number beyond 64 bits.
fn parse(text: &[u8]) -> Option<Json> {
    let numbers = numbers(text);
    let reader = Reader { numbers: &RefCell::new(numbers.into_iter()), fits: &RefCell::new(true) };
    let mut source = serde_json::Deserializer::from_slice(text);
    let value = reader.deserialize(&mut source).ok()?;
    source.end().ok()?;
    (*reader.fits.borrow() && value.depth() <= JSON_DEPTH_MAX).then_some(value)
}

/// The numbers of a text in their order, as they are written.
fn numbers(text: &[u8]) -> Vec<String> {
    let (mut numbers, mut at) = (Vec::new(), 0);
    while at < text.len() {
        match text[at] {
            b'"' => {
                at += 1;
                while at < text.len() && text[at] != b'"' {
                    at += if text[at] == b'\\' { 2 } else { 1 };
                }
                at += 1;
            }
            b'-' | b'0'..=b'9' => {
                let is_part = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
                let length = text[at..].iter().take_while(|byte| is_part(byte)).count();
                numbers.push(String::from_utf8_lossy(&text[at..at + length]).into_owned());
                at += length;
            }
            _ => at += 1,
        }
    }
    numbers
}

impl Json {
    /// How deep objects and lists lie in each other.
    fn depth(&self) -> usize {
        let inside = |values: &mut dyn Iterator<Item = &Json>| {
            1 + values.map(Json::depth).max().unwrap_or(0)
        };
        match self {
            Json::List(values) => inside(&mut values.iter()),
            Json::Object(entries) => inside(&mut entries.iter().map(|(_, value)| value)),
            _ => 0,
        }
    }

    /// Values and keys.
    fn count(&self) -> usize {
        match self {
            Json::List(values) => 1 + values.iter().map(Json::count).sum::<usize>(),
            Json::Object(entries) => {
                1 + entries.iter().map(|(_, value)| 1 + value.count()).sum::<usize>()
            }
            _ => 1,
        }
    }

    /// The last value of a key, if that is not null.
    pub fn get(&self, name: &str) -> Option<&Json> {
        let Json::Object(entries) = self else { return None };
        let (_, value) = entries.iter().rfind(|(key, _)| key == name)?;
        Some(value).filter(|value| **value != Json::Null)
    }

    /// A string.
    pub fn text(&self) -> Option<&str> {
        match self {
            Json::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A whole number, or a string of one in at most 20 digits.
    pub fn whole(&self) -> Option<i128> {
        match self {
            Json::Whole(number) => Some(*number),
            Json::Text(text) => decimal(text),
            _ => None,
        }
    }
}

/// Digits, at most 20, with a minus before them or without.
pub fn decimal(text: &str) -> Option<i128> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_decimal =
        (1..=20).contains(&digits.len()) && digits.bytes().all(|it| it.is_ascii_digit());
    if is_decimal { text.parse().ok() } else { None }
}

/// What serde_json gives, beside the numbers as they are written.
#[derive(Clone, Copy)]
struct Reader<'n> {
    numbers: &'n RefCell<std::vec::IntoIter<String>>,
    fits: &'n RefCell<bool>,
}

impl Reader<'_> {
    fn number(self) -> Json {
        let written = self.numbers.borrow_mut().next().unwrap_or_default();
        if written.contains(['.', 'e', 'E']) {
            return Json::Broken;
        }
        let number: Option<i128> = written.parse().ok();
        let fits = |number: &i128| (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(number);
        number.filter(fits).map_or_else(
            || {
                self.fits.replace(false);
                Json::Null
            },
            Json::Whole,
        )
    }
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Json;

    fn deserialize<D: serde::Deserializer<'de>>(self, source: D) -> Result<Json, D::Error> {
        source.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Json;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Json, E> {
        Ok(Json::Flag(flag))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Json, E> {
        Ok(self.number())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Json, E> {
        Ok(self.number())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Json, E> {
        Ok(self.number())
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Json, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(self)? {
            values.push(value);
        }
        Ok(Json::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key()? {
            entries.push((key, map.next_value_seed(self)?));
        }
        Ok(Json::Object(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_exact_or_no_json() {
        let whole = |text: &str| read_object(format!("{{\"a\":{text}}}").as_bytes());
        let get = |text: &str| whole(text).and_then(|json| json.get("a").cloned());
        assert_eq!(get("1268242042090295297"), Some(Json::Whole(1_268_242_042_090_295_297)));
        assert_eq!(get("18446744073709551615"), Some(Json::Whole(u64::MAX.into())));
        assert_eq!(get("-0"), Some(Json::Whole(0)));
        assert_eq!([get("18446744073709551616"), get("01"), get("+1")], [None, None, None]);
        assert_eq!(get("1.0"), Some(Json::Broken));
        assert_eq!(get("\"x 5\""), Some(Json::Text("x 5".into())));
    }

    #[test]
    fn curly_quotes_count_only_where_nothing_else_is_json() {
        let get = |text: &str| read_object(text.as_bytes()).and_then(|it| it.get("a").cloned());
        assert_eq!(get("{“a”:“b”}"), Some(Json::Text("b".into())));
        assert_eq!(get("{\"a\":\"“b”\"}"), Some(Json::Text("“b”".into())));
        assert_eq!(get("{\"a\":1,\"a\":null}"), None);
    }
}
