//! JSON: as a frame before and after Auth, and as the body of every call; serde_json is the oracle.

use crate::fuzz::case::{Target, Trail, Wrong, dice_of, hold, one_of, shown};
use crate::fuzz::mutate::bound;
use crate::fuzz::naive::frames::masked;
use crate::fuzz::naive::requests::{Asked, CALLS, NOT_JSON, Problem, call, frame};
use crate::fuzz::peer::{Conversation, Heard, Peer, note, talk};
use anser::ids::UserId;
use anser::limits::FRAME_BYTES_MAX;
use anser::sim::prng::Prng;

/// What the code under test makes of bytes.
pub type Reader = fn(Peer, &[&[u8]]) -> Result<Conversation, Wrong>;

/// The target.
pub struct Json {
    /// The code under test.
    pub reader: Reader,
}

impl Default for Json {
    fn default() -> Json {
        Json { reader: talk }
    }
}

impl Target for Json {
    fn name(&self) -> &'static str {
        "json"
    }

    fn words(&self) -> &'static [&'static str] {
        WORDS
    }

    fn make(&self, prng: &mut Prng) -> Vec<u8> {
        object(prng).into_bytes()
    }

    fn run(&self, case: &[u8], trail: &mut Trail) -> Result<(), Wrong> {
        let case = &case[..case.len().min(FRAME_BYTES_MAX)];
        let bytes = masked(0x81, case, &mut dice_of(case));
        for user in [None, UserId::new(3)] {
            let conversation = (self.reader)(Peer::upgraded(user), &[&bytes])?;
            note(&conversation, trail);
            check_frame(case, user, &conversation)?;
        }
        for path in CALLS {
            let length = case.len();
            let head =
                format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n");
            let bytes = [head.as_bytes(), case].concat();
            let conversation = (self.reader)(Peer::new(), &[&bytes])?;
            note(&conversation, trail);
            check_call(call(path, case), path, &conversation)?;
        }
        Ok(())
    }
}

/// What one frame is answered with is what its text asks for.
fn check_frame(
    text: &[u8],
    user: Option<UserId>,
    conversation: &Conversation,
) -> Result<(), Wrong> {
    let heard = &conversation.heard[..];
    let words = || format!("{} of {user:?}: {heard:?}", shown(text));
    if std::str::from_utf8(text).is_err() {
        return hold(*heard == [Heard::Close(Some(1007))], "text is UTF-8", words);
    }
    let expected = frame(text);
    let is_auth = |asked: &str| asked.starts_with("Auth");
    let is_right = match (&expected.asked, heard) {
        (Ok(asked), [Heard::Asked(found)]) => found == asked && (user.is_some() || is_auth(asked)),
        // Kept until somebody has authenticated, or a heartbeat.
        (Ok(asked), []) => user.is_none() && !is_auth(asked),
        (Err(problems), [Heard::Error { source, code, words }, rest @ ..]) => {
            let closes = *code == 401 && user.is_none();
            let ends = if closes { &[Heard::Close(Some(4401))][..] } else { &[] };
            *source == expected.source && is_among(*code, words, problems) && rest == ends
        }
        _ => false,
    };
    hold(is_right, "frames ask what serde_json reads", || format!("{}, not {expected:?}", words()))
}

/// What a call is answered with is what its body asks for.
pub fn check_call(expected: Asked, path: &str, conversation: &Conversation) -> Result<(), Wrong> {
    let is_right = match (&expected, &conversation.heard[..]) {
        (Ok(asked), [Heard::Asked(found), Heard::Answer { status: 200, .. }]) => found == asked,
        (Err(problems), [Heard::Answer { status, body, .. }]) => {
            is_refused(*status, body, problems)
        }
        _ => false,
    };
    hold(is_right, "bodies ask what serde_json reads", || {
        format!("{path}: {:?}, not {expected:?}", conversation.heard)
    })
}

/// Whether an answer says one of these.
pub fn is_refused(status: u16, body: &[u8], problems: &[Problem]) -> bool {
    let Ok(body) = serde_json::from_slice::<serde_json::Value>(body) else { return false };
    let words = body["msg"].as_str().unwrap_or_default();
    body["code"] == status && is_among(status, words, problems)
}

/// Whether a refusal says one of these.
pub fn is_among(code: u16, words: &str, problems: &[Problem]) -> bool {
    problems.iter().any(|one| one.code == code && words.contains(one.field))
        && (words.contains(NOT_JSON.field) == problems.contains(&NOT_JSON))
}

/// Words of frames and bodies.
pub const WORDS: &[&str] = &[
    "{\"msgType\":\"Text\",\"toUserId\":2,\"content\":\"x\"}",
    "\"msgType\"",
    "\"fromUserId\"",
    "\"toUserId\"",
    "\"teamId\"",
    "\"eventType\"",
    "\"content\"",
    "\"id\"",
    "\"timestamp\"",
    "\"chatType\"",
    "\"userId\"",
    "\"pageNum\"",
    "\"pageSize\"",
    "\"beforeSeq\"",
    "\"afterSeq\"",
    "\"limit\"",
    "\"company\"",
    "\"app\"",
    "\"thirdUserId\"",
    "\"name\"",
    "\"count\"",
    "\"top\"",
    "\"Auth\"",
    "\"Ack\"",
    "\"Heartbeat\"",
    "\"Error\"",
    "\"Text\"",
    "\"Event\"",
    "\"Single\"",
    "\"Group\"",
    "\"OfflineMessage\"",
    "\"{'srcId':1}\"",
    "{'srcIds':[1,2]}",
    "\"{'upTo':7}\"",
    "{\"token\":\"t\"}",
    "\"{'token'}\"",
    "“",
    "”",
    "null",
    "true",
    "false",
    "[]",
    "{}",
    "1268242042090295296",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551616",
    "-9223372036854775809",
    "1e3",
    "1.0",
    "-0",
    "1e400",
    "0.1e-5",
    "\\u0000",
    "\\ud800",
    "\\udc00",
    "\\ud83d\\ude00",
    "\\u4f60",
    "\\\\",
    "\\\"",
    "\\/",
    "你",
    "\u{feff}",
    "\u{2028}",
    ",",
    ":",
    "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
    "]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]",
];

/// An object that is mostly a frame or a body, in any spelling.
pub fn object(prng: &mut Prng) -> String {
    const KEYS: &[&str] = &[
        "msgType",
        "fromUserId",
        "toUserId",
        "teamId",
        "eventType",
        "content",
        "id",
        "timestamp",
        "chatType",
        "userId",
        "pageNum",
        "pageSize",
        "beforeSeq",
        "afterSeq",
        "limit",
        "company",
        "app",
        "thirdUserId",
        "name",
        "count",
        "top",
        "stateEnum",
    ];
    let mut entries = Vec::new();
    for key in KEYS {
        if prng.once_in(2) {
            let value = value(key, prng);
            entries.push(format!("{}{}:{}", string(key, prng), space(prng), value));
        }
    }
    if prng.once_in(2) {
        entries.reverse();
    }
    if prng.once_in(8) {
        let again = entries.get(prng.below(9) as usize).cloned();
        entries.extend(again);
    }
    let (before, after) = (space(prng), space(prng));
    format!("{before}{{{before}{}{after}}}{after}", entries.join(&format!("{before},{after}")))
}

fn space(prng: &mut Prng) -> &'static str {
    one_of::<&str>(&["", "", "", "", " ", "\n", "\t \r\n"], prng)
}

fn value(key: &str, prng: &mut Prng) -> String {
    if prng.once_in(12) {
        return (*one_of(&["null", "true", "[]", "{}", "1.5", "\"\"", "[{\"a\":[1]}]"], prng))
            .into();
    }
    let names: &[&str] = match key {
        "msgType" => &["Auth", "Ack", "Heartbeat", "Text", "Image", "Link", "Event", "Smell"],
        "chatType" => &["Single", "Single", "Group", "Room"],
        "eventType" => &["Like", "Relay", "Odd"],
        "content" => return content(prng),
        "top" => return (*one_of(&["true", "false", "1"], prng)).into(),
        "company" | "app" | "name" | "stateEnum" => &["c", "你好", "", "a\"b\\c"],
        "thirdUserId" if prng.once_in(2) => &["x", "7"],
        _ => &[],
    };
    if !names.is_empty() {
        let name = *one_of(names, prng);
        return string(name, prng);
    }
    let number = match prng.below(4) {
        0 => bound(prng).to_string(),
        1 => format!("-{}", bound(prng)),
        2 => prng.below(300).to_string(),
        _ => "3".to_owned(),
    };
    if prng.once_in(3) { format!("\"{number}\"") } else { number }
}

fn content(prng: &mut Prng) -> String {
    let quote = *one_of(&["'", "\\\"", ""], prng);
    let (number, space) = (bound(prng), space(prng).replace(['\n', '\t', '\r'], " "));
    let key = *one_of(&["srcId", "upTo", "srcIds", "token", "other"], prng);
    let value = match prng.below(3) {
        0 => format!("{quote}{number}{quote}"),
        1 => format!("[{number},{space}{quote}7{quote}]"),
        _ => number.to_string(),
    };
    match prng.below(6) {
        0 => string("hello 你 \u{1F600}", prng),
        1 => format!("\"{{{quote}{key}{quote}}}\""),
        2 => format!("{{\"{key}\":{value}}}").replace('\'', "\"").replace("\\\"", "\""),
        3 => format!("\"{{{quote}x{quote}:{quote}y{quote},{quote}{key}{quote}:{value}}}\""),
        _ => format!("\"{space}{{{quote}{key}{quote}{space}:{space}{value}{space}}}{space}\""),
    }
}

/// A string, with some of its letters escaped.
fn string(text: &str, prng: &mut Prng) -> String {
    let rate = *one_of(&[1000, 1000, 3], prng);
    let mut out = String::from('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            _ if prng.once_in(rate) => {
                let mut units = [0; 2];
                for unit in letter.encode_utf16(&mut units) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
            _ => out.push(letter),
        }
    }
    out + "\""
}
