//! The content of a client's Ack: `{"srcId":N}`, `{"srcIds":[..]}` or `{"upTo":N}`, as an object
//! or as a string of one, with either kind of quotes.
//!
//! Invariants:
//! 1. At most [`ACK_IDS_MAX`] ids are gathered, and every one of them names a message.
//!
//! Each byte of the text is looked at once or twice: no nesting, no backtracking.

use crate::api::{Acked, Field, Refusal};
use crate::ids::MessageId;
use crate::limits::ACK_IDS_MAX;
use crate::wire::fields::positive_message_id;
use crate::wire::json::{Object, Value, decimal};

const SOURCE: Field = Field("srcId");
const SOURCES: Field = Field("srcIds");
const UP_TO: Field = Field("upTo");
/// What is said of a content that is none of the three.
const WRONG: Refusal =
    Refusal::WrongType { field: Field("content"), expected: "{'srcId':N} in a string" };

/// The messages that a content names; `ids` is scratch memory for a list of them.
pub(super) fn acked<'a>(
    content: Value<'_, 'a>,
    ids: &'a mut Vec<MessageId>,
) -> Result<Acked<'a>, Refusal> {
    ids.clear();
    let which = match (content.object(), content.string()) {
        (Some(object), _) => of_object(object, ids)?,
        (None, Some(text)) => of_text(text.as_bytes(), ids)?,
        (None, None) => return Err(WRONG),
    };
    match (which, &ids[..]) {
        (SOURCES, ids) => Ok(Acked::Many(ids)),
        (SOURCE, [id]) => Ok(Acked::One(*id)),
        (UP_TO, [id]) => Ok(Acked::UpTo(*id)),
        _ => Err(WRONG),
    }
}

/// Gathers the ids of an object; says which key held them.
fn of_object(object: Object<'_, '_>, ids: &mut Vec<MessageId>) -> Result<Field, Refusal> {
    for field in [SOURCE, UP_TO] {
        if let Some(value) = object.get(field.0) {
            add(i128::from(value.integer(field)?), field, ids)?;
            return Ok(field);
        }
    }
    let list = object.get(SOURCES.0).ok_or(WRONG)?.list();
    for value in list.ok_or(Refusal::WrongType { field: SOURCES, expected: "a list of ids" })? {
        add(i128::from(value.integer(SOURCES)?), SOURCES, ids)?;
    }
    Ok(SOURCES)
}

fn add(number: i128, field: Field, ids: &mut Vec<MessageId>) -> Result<(), Refusal> {
    if ids.len() >= ACK_IDS_MAX {
        return Err(Refusal::OutOfRange { field, allowed: "at most 4096 ids" });
    }
    ids.push(positive_message_id(number, field)?);
    Ok(())
}

/// Gathers the ids of an object in text; says which key held them. Other keys are skipped, of a
/// key named twice the last counts.
fn of_text(text: &[u8], ids: &mut Vec<MessageId>) -> Result<Field, Refusal> {
    let mut scanner = Scanner { rest: text };
    let mut which = None;
    scanner.expect(b'{')?;
    while !scanner.eat(b'}') {
        let field = match scanner.word()? {
            b"srcId" => Some(SOURCE),
            b"srcIds" => Some(SOURCES),
            b"upTo" => Some(UP_TO),
            _ => None,
        };
        scanner.expect(b':')?;
        match field {
            Some(field) => {
                ids.clear();
                scanner.ids(field, ids)?;
                which = Some(field);
            }
            None => drop(scanner.word()?),
        }
        if !scanner.eat(b',') {
            scanner.expect(b'}')?;
            break;
        }
    }
    scanner.skip_spaces();
    if scanner.rest.is_empty() { which.ok_or(WRONG) } else { Err(WRONG) }
}

/// Reads tokens off the front of a text.
struct Scanner<'a> {
    rest: &'a [u8],
}

impl<'a> Scanner<'a> {
    fn skip_spaces(&mut self) {
        self.rest = self.rest.trim_ascii_start();
    }

    /// Takes this byte if it comes next.
    fn eat(&mut self, byte: u8) -> bool {
        self.skip_spaces();
        let found = self.rest.first() == Some(&byte);
        if found {
            self.rest = &self.rest[1..];
        }
        found
    }

    fn expect(&mut self, byte: u8) -> Result<(), Refusal> {
        if self.eat(byte) { Ok(()) } else { Err(WRONG) }
    }

    /// What stands between quotes of one kind, or a run of letters, digits and signs.
    fn word(&mut self) -> Result<&'a [u8], Refusal> {
        self.skip_spaces();
        let (start, end, next) = match self.rest {
            [quote @ (b'"' | b'\''), inside @ ..] => {
                let length = inside.iter().position(|byte| byte == quote).ok_or(WRONG)?;
                (1, 1 + length, 2 + length)
            }
            bare => {
                let is_bare = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-._".contains(byte);
                let length = bare.iter().position(|byte| !is_bare(byte)).unwrap_or(bare.len());
                (0, length, length)
            }
        };
        let word = &self.rest[start..end];
        self.rest = &self.rest[next..];
        if next == 0 { Err(WRONG) } else { Ok(word) }
    }

    fn id(&mut self, field: Field, ids: &mut Vec<MessageId>) -> Result<(), Refusal> {
        let expected = "a whole number";
        let number = decimal(self.word()?).ok_or(Refusal::WrongType { field, expected })?;
        add(number, field, ids)
    }

    fn ids(&mut self, field: Field, ids: &mut Vec<MessageId>) -> Result<(), Refusal> {
        if field != SOURCES {
            return self.id(field, ids);
        }
        self.expect(b'[')?;
        while !self.eat(b']') {
            self.id(field, ids)?;
            if !self.eat(b',') {
                return self.expect(b']');
            }
        }
        Ok(())
    }
}

const _: () = assert!(ACK_IDS_MAX == 4096, "the refusal above says so");
