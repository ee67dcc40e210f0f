//! What the content of a client's Ack names: an object, or the text of one with either kind of
//! quotes, read into tokens first.

use crate::fuzz::naive::json::{Json, decimal};
use anser::ids::MessageId;
use anser::limits::ACK_IDS_MAX;

/// What an Ack names.
pub enum Named {
    /// `srcId`.
    One(MessageId),
    /// `srcIds`.
    Many(Vec<MessageId>),
    /// `upTo`.
    UpTo(MessageId),
}

/// A part of a text.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Token {
    Sign(char),
    Word(String),
}

/// What a content names; `None`: nothing that is understood.
pub fn acked(content: &Json) -> Option<Named> {
    match content {
        Json::Object(_) => {
            let one = |field| content.get(field).map(|value| id(value.whole()));
            if let Some(found) = one("srcId") {
                return found.map(Named::One);
            }
            if let Some(found) = one("upTo") {
                return found.map(Named::UpTo);
            }
            let Json::List(values) = content.get("srcIds")? else { return None };
            many(values.iter().map(|value| id(value.whole())))
        }
        Json::Text(text) => of_tokens(&tokens(text)?),
        _ => None,
    }
}

fn id(number: Option<i128>) -> Option<MessageId> {
    number.and_then(|number| i64::try_from(number).ok()).and_then(MessageId::new)
}

fn many(ids: impl Iterator<Item = Option<MessageId>>) -> Option<Named> {
    let ids: Vec<MessageId> = ids.collect::<Option<_>>()?;
    (ids.len() <= ACK_IDS_MAX).then_some(Named::Many(ids))
}

fn tokens(text: &str) -> Option<Vec<Token>> {
    let (mut tokens, mut rest) = (Vec::new(), text);
    while let Some(first) = rest.chars().next() {
        let is_bare = |letter: char| letter.is_ascii_alphanumeric() || "+-._".contains(letter);
        match first {
            ' ' | '\t' | '\n' | '\r' | '\x0C' => rest = &rest[1..],
            '"' | '\'' => {
                let (word, after) = rest[1..].split_once(first)?;
                tokens.push(Token::Word(word.to_owned()));
                rest = after;
            }
            sign if "{}[]:,".contains(sign) => {
                tokens.push(Token::Sign(sign));
                rest = &rest[1..];
            }
            letter if is_bare(letter) => {
                let end = rest.find(|letter| !is_bare(letter)).unwrap_or(rest.len());
                tokens.push(Token::Word(rest[..end].to_owned()));
                rest = &rest[end..];
            }
            _ => return None,
        }
    }
    Some(tokens)
}

/// An object's entries, the last of the three keys counts. A comma may stand before the end.
fn of_tokens(tokens: &[Token]) -> Option<Named> {
    let [Token::Sign('{'), inside @ .., Token::Sign('}')] = tokens else { return None };
    let (mut named, mut rest) = (None, inside);
    while !rest.is_empty() {
        let [Token::Word(key), Token::Sign(':'), after @ ..] = rest else { return None };
        let number = |word: &str| id(decimal(word));
        let after = match (key.as_str(), after) {
            ("srcIds", [Token::Sign('['), ..]) => {
                let end = after.iter().position(|token| *token == Token::Sign(']'))?;
                named = Some(list(&after[1..end])?);
                &after[end + 1..]
            }
            ("srcIds", _) => return None,
            ("srcId", [Token::Word(word), after @ ..]) => {
                named = Some(Named::One(number(word)?));
                after
            }
            ("upTo", [Token::Word(word), after @ ..]) => {
                named = Some(Named::UpTo(number(word)?));
                after
            }
            (_, [Token::Word(_), after @ ..]) => after,
            _ => return None,
        };
        rest = match after {
            [] => &[],
            [Token::Sign(','), after @ ..] => after,
            _ => return None,
        };
    }
    named
}

fn list(inside: &[Token]) -> Option<Named> {
    let mut ids = Vec::new();
    for (index, token) in inside.iter().enumerate() {
        match token {
            Token::Word(word) if index % 2 == 0 => ids.push(id(decimal(word))),
            Token::Sign(',') if index % 2 == 1 => {}
            _ => return None,
        }
    }
    many(ids.into_iter())
}
