//! Single fields of a request, each with the refusal that names it.

use crate::api::{Field, Refusal};
use crate::ids::{ChatId, MessageId, UserId};
use crate::limits::NAME_BYTES_MAX;
use crate::wire::json::{Object, Value};
use std::borrow::Cow;
use std::ops::RangeInclusive;

/// What a positive id may be.
const POSITIVE: &str = "a positive number";
/// Where timestamps in seconds end and those in milliseconds begin.
const SECONDS_END: i64 = 100_000_000_000;

/// A key that must be there.
pub(super) fn required<'t, 'a>(
    value: Option<Value<'t, 'a>>,
    field: Field,
) -> Result<Value<'t, 'a>, Refusal> {
    value.ok_or(Refusal::Missing(field))
}

/// A string.
pub(super) fn string<'a>(value: Value<'_, 'a>, field: Field) -> Result<&'a str, Refusal> {
    value.string().ok_or(Refusal::WrongType { field, expected: "a string" })
}

/// A user id. A number that no user can ever have is an unknown user.
pub(super) fn user(value: Value<'_, '_>, field: Field) -> Result<UserId, Refusal> {
    match value.integer(field)? {
        number if number <= 0 => Err(Refusal::OutOfRange { field, allowed: POSITIVE }),
        number => UserId::new(number).ok_or(Refusal::UnknownUser(field)),
    }
}

/// The user id that a body must hold under this name.
pub(super) fn user_of(body: Object<'_, '_>, name: &'static str) -> Result<UserId, Refusal> {
    let field = Field(name);
    user(required(body.get(name), field)?, field)
}

/// A message id; 0 says the same as no id.
pub(super) fn message_id(value: Value<'_, '_>, field: Field) -> Result<Option<MessageId>, Refusal> {
    match value.integer(field)? {
        0 => Ok(None),
        number => positive_message_id(i128::from(number), field).map(Some),
    }
}

/// A message id that must name a message.
pub(super) fn positive_message_id(number: i128, field: Field) -> Result<MessageId, Refusal> {
    let id = i64::try_from(number).ok().and_then(MessageId::new);
    id.ok_or(Refusal::OutOfRange { field, allowed: POSITIVE })
}

/// The chat entry that a body must name under `id`.
pub(super) fn chat_of(body: Object<'_, '_>) -> Result<ChatId, Refusal> {
    let field = Field("id");
    let number = required(body.get("id"), field)?.integer(field)?;
    ChatId::new(number).ok_or(Refusal::OutOfRange { field, allowed: POSITIVE })
}

/// Ms since the epoch; ten digits are seconds, 0 says the same as no timestamp.
pub(super) fn timestamp(value: Value<'_, '_>, field: Field) -> Result<Option<i64>, Refusal> {
    match value.integer(field)? {
        0 => Ok(None),
        number if number < 0 => Err(Refusal::OutOfRange { field, allowed: POSITIVE }),
        number if number < SECONDS_END => Ok(Some(number * 1000)),
        number => Ok(Some(number)),
    }
}

/// A number that has to lie in a range, which `allowed` gives in words.
pub(super) fn ranged(
    body: Object<'_, '_>,
    name: &'static str,
    range: RangeInclusive<i64>,
    allowed: &'static str,
) -> Result<Option<i64>, Refusal> {
    let field = Field(name);
    let Some(value) = body.get(name) else { return Ok(None) };
    match value.integer(field)? {
        number if range.contains(&number) => Ok(Some(number)),
        _ => Err(Refusal::OutOfRange { field, allowed }),
    }
}

/// A part of an identity: a string of 1 to [`NAME_BYTES_MAX`] bytes.
pub(super) fn name_part<'a>(
    body: Object<'_, 'a>,
    name: &'static str,
) -> Result<Cow<'a, str>, Refusal> {
    let field = Field(name);
    let text = string(required(body.get(name), field)?, field)?;
    part_of(Cow::Borrowed(text), field)
}

/// `thirdUserId`: as a string, or as a number that reads as its decimal string.
pub(super) fn third_user_id<'a>(body: Object<'_, 'a>) -> Result<Cow<'a, str>, Refusal> {
    let field = Field("thirdUserId");
    let value = required(body.get(field.0), field)?;
    match (value.string(), value.whole()) {
        (Some(text), _) => part_of(Cow::Borrowed(text), field),
        (None, Some(number)) => Ok(Cow::Owned(number.to_string())),
        (None, None) => Err(Refusal::WrongType { field, expected: "a string or a whole number" }),
    }
}

fn part_of(text: Cow<'_, str>, field: Field) -> Result<Cow<'_, str>, Refusal> {
    match text.len() {
        1..=NAME_BYTES_MAX => Ok(text),
        _ => Err(Refusal::OutOfRange { field, allowed: "1 to 256 bytes long" }),
    }
}

/// `name`: a string of at most [`NAME_BYTES_MAX`] bytes, if it is there.
pub(super) fn display_name<'a>(body: Object<'_, 'a>) -> Result<Option<Cow<'a, str>>, Refusal> {
    let field = Field("name");
    let Some(value) = body.get(field.0) else { return Ok(None) };
    match string(value, field)? {
        text if text.len() <= NAME_BYTES_MAX => Ok(Some(Cow::Borrowed(text))),
        _ => Err(Refusal::OutOfRange { field, allowed: "at most 256 bytes long" }),
    }
}

const _: () = assert!(NAME_BYTES_MAX == 256, "the refusals above say so");
