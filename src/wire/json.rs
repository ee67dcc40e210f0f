//! JSON in: one parse into a reused tape, then a look at the top object's values.
//!
//! Invariants:
//! 1. A whole number is exact or refused; it never passes through a float.
//! 2. Text that is no JSON is tried once more with curly quotes made straight, never otherwise.
//! 3. One huge document does not keep its memory: scratch that grew past the bounds is dropped.

use crate::api::{Field, Refusal};
use crate::limits::{FRAME_BYTES_MAX, JSON_DEPTH_MAX, JSON_VALUES_MAX};
use crate::wire::frame::Payload;
use simd_json::{Buffers, INPUT_PADDING, Node, StaticNode, Tape};

/// Scratch memory for parsing.
pub(super) struct Json {
    buffers: Buffers,
    tape: Tape<'static>,
    /// The text, unescaped in place, with the room behind it that simd-json wants.
    text: Vec<u8>,
    /// The same with its curly quotes made straight.
    retry: Vec<u8>,
    longest_bytes: usize,
}

/// One object of a parsed document.
#[derive(Clone, Copy)]
pub(super) struct Object<'t, 'a> {
    nodes: &'t [Node<'a>],
}

/// One value of a parsed document: its node, then those inside it.
#[derive(Clone, Copy)]
pub(super) struct Value<'t, 'a>(&'t [Node<'a>]);

impl Json {
    pub(super) fn new() -> Json {
        Json {
            buffers: Buffers::with_max_depth(0, JSON_DEPTH_MAX),
            tape: Tape(Vec::new()),
            text: Vec::new(),
            retry: Vec::new(),
            longest_bytes: 0,
        }
    }

    /// Parses a copy of `text` and hands its top object to `decode`. The copy is the only pass over
    /// a text before its parse: simd-json checks that it is UTF-8, and what to do with text that
    /// is not, or that has curly quotes, is asked only when it is no JSON.
    pub(super) fn read<'a, T>(
        &'a mut self,
        text: Payload<'_>,
        decode: impl for<'t> FnOnce(Result<Object<'t, 'a>, Refusal>) -> T,
    ) -> T {
        self.forget_the_huge();
        self.longest_bytes = self.longest_bytes.max(text.len());
        let Json { buffers, tape, text: copy, retry, .. } = self;
        let mut filled: Tape<'a> = std::mem::replace(tape, Tape(Vec::new())).reset();
        let padded_bytes = text.len() + INPUT_PADDING;
        if copy.len() < padded_bytes {
            copy.resize(padded_bytes, 0);
        }
        text.write_to(&mut copy[..text.len()]);
        let mut parsed = fill(&mut copy[..padded_bytes], buffers, &mut filled);
        if !parsed && straighten(text, retry) {
            retry.extend_from_slice(&[0; INPUT_PADDING]);
            filled = filled.reset();
            parsed = fill(retry, buffers, &mut filled);
        }
        let result = decode(match parsed {
            true => Object::top(&filled.0),
            false => Err(Refusal::NotJson),
        });
        *tape = filled.reset();
        result
    }

    /// Drops scratch memory that one huge document has left behind.
    fn forget_the_huge(&mut self) {
        if self.longest_bytes > FRAME_BYTES_MAX {
            *self = Json::new();
        }
    }
}

/// Parses a text with its padding into the tape; whether it was JSON.
fn fill<'a>(padded: &'a mut [u8], buffers: &mut Buffers, tape: &mut Tape<'a>) -> bool {
    let bytes = padded.len() - INPUT_PADDING;
    bytes > 0 && simd_json::fill_tape_padded(padded, bytes, buffers, tape).is_ok()
}

/// Copies the text with each U+201C and U+201D as a straight quote; whether there were any.
#[cold]
fn straighten(text: Payload<'_>, straight: &mut Vec<u8>) -> bool {
    straight.clear();
    text.append_to(straight);
    let (mut from, mut to) = (0, 0);
    while from < straight.len() {
        let is_curly = matches!(straight[from..], [0xE2, 0x80, 0x9C | 0x9D, ..]);
        straight[to] = if is_curly { b'"' } else { straight[from] };
        from += if is_curly { 3 } else { 1 };
        to += 1;
    }
    straight.truncate(to);
    to < from
}

impl<'t, 'a> Object<'t, 'a> {
    /// An object without keys.
    pub(super) const EMPTY: Self = Object { nodes: &[] };

    fn top(nodes: &'t [Node<'a>]) -> Result<Object<'t, 'a>, Refusal> {
        if nodes.len() > JSON_VALUES_MAX {
            return Err(Refusal::NotJson);
        }
        Value(nodes).object().ok_or(Refusal::NotJson)
    }

    /// Keys and values in their order.
    pub(super) fn entries(self) -> impl Iterator<Item = (&'a str, Value<'t, 'a>)> {
        let mut rest = self.nodes;
        std::iter::from_fn(move || {
            let (key, value) = rest.split_first()?;
            let Node::String(key) = key else { unreachable!("a key is a string") };
            rest = Value(value).after();
            Some((*key, Value(value)))
        })
    }

    /// The last value of a key that is there and not null.
    pub(super) fn get(self, name: &str) -> Option<Value<'t, 'a>> {
        let last = self.entries().filter(|(key, _)| *key == name).last();
        last.map(|(_, value)| value).filter(|value| !value.is_null())
    }
}

impl<'t, 'a> Value<'t, 'a> {
    /// The nodes behind this value.
    fn after(self) -> &'t [Node<'a>] {
        let inside = match self.0[0] {
            Node::Object { count, .. } | Node::Array { count, .. } => count,
            Node::String(_) | Node::Static(_) => 0,
        };
        &self.0[1 + inside..]
    }

    pub(super) fn is_null(self) -> bool {
        matches!(self.0[0], Node::Static(StaticNode::Null))
    }

    /// The value when it is an object.
    pub(super) fn object(self) -> Option<Object<'t, 'a>> {
        match self.0.first()? {
            Node::Object { count, .. } => Some(Object { nodes: &self.0[1..=*count] }),
            _ => None,
        }
    }

    /// The values of a list.
    pub(super) fn list(self) -> Option<impl Iterator<Item = Value<'t, 'a>>> {
        let Node::Array { count, .. } = self.0[0] else { return None };
        let mut rest = &self.0[1..=count];
        Some(std::iter::from_fn(move || {
            let value = (!rest.is_empty()).then_some(Value(rest))?;
            rest = value.after();
            Some(value)
        }))
    }

    /// The value when it is a string.
    pub(super) fn string(self) -> Option<&'a str> {
        match self.0[0] {
            Node::String(text) => Some(text),
            _ => None,
        }
    }

    /// The value when it is `true` or `false`.
    pub(super) fn flag(self) -> Option<bool> {
        match self.0[0] {
            Node::Static(StaticNode::Bool(flag)) => Some(flag),
            _ => None,
        }
    }

    /// The value when it is a whole number.
    pub(super) fn whole(self) -> Option<i128> {
        match self.0[0] {
            Node::Static(StaticNode::I64(number)) => Some(i128::from(number)),
            Node::Static(StaticNode::U64(number)) => Some(i128::from(number)),
            _ => None,
        }
    }

    /// A whole number, or the same as a decimal string.
    pub(super) fn integer(self, field: Field) -> Result<i64, Refusal> {
        let number = self.whole().or_else(|| decimal(self.string()?.as_bytes()));
        let number = number.ok_or(Refusal::WrongType { field, expected: "a whole number" })?;
        let allowed = "at most 9223372036854775807";
        i64::try_from(number).map_err(|_| Refusal::OutOfRange { field, allowed })
    }
}

/// The number that 1 to 20 digits stand for (with a minus before them, if any).
pub(super) fn decimal(digits: &[u8]) -> Option<i128> {
    let (sign, digits) = match digits.strip_prefix(b"-") {
        Some(digits) => (-1, digits),
        None => (1, digits),
    };
    let (last, front) = digits.split_last().filter(|(_, front)| front.len() < 20)?;
    let digit = |byte: &u8| Some(byte.wrapping_sub(b'0')).filter(|digit| *digit < 10);
    // 19 digits always fit a u64; only the last step needs the width of an i128.
    let front =
        front.iter().try_fold(0_u64, |number, byte| Some(number * 10 + u64::from(digit(byte)?)))?;
    Some(sign * (i128::from(front) * 10 + i128::from(digit(last)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Invariant 3 of wire::json.
    #[test]
    fn one_huge_document_does_not_keep_its_memory() {
        let mut json = Json::new();
        let mut read = |count: usize, padding: usize| {
            let values = "1,".repeat(count);
            let values = format!("{{\"a\":[{values}1]}}{}", " ".repeat(padding));
            json.read(Payload::plain(values.as_bytes()), |object| assert!(object.is_ok()));
            json.tape.0.capacity()
        };
        let huge = read(JSON_VALUES_MAX / 2, FRAME_BYTES_MAX);
        let after = read(50, 0);
        assert!(after < huge / 100, "{after} nodes of {huge} are kept");
        let most = read(10_000, 0);
        assert_eq!(read(50, 0), most, "what is not huge stays for the next");
    }
}
