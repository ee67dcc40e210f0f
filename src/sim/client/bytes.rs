//! What clients of a town put on the wire, and how they read what comes back: written against the
//! contract, without a line of `wire`.
//!
//! Invariants:
//! 1. However what the server sends is cut, a client reads the same.

use crate::api::{Identity, PageStart, Request};
use crate::ids::UserId;
use crate::sim::observation::{Call, Heard, Said};
use simd_json::OwnedValue;
use simd_json::prelude::*;
use std::io::Cursor;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, OpCode};

/// The upgrade of a client that does not look at the answer to its key.
pub const UPGRADE: &str = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Opcodes of frames.
pub const CONTINUATION: u8 = 0;
pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// A client's frame; the first byte of `head` is its opcode, with 0x80 if it is the last.
pub fn frame(head: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut bytes = vec![head];
    match payload.len() {
        length @ 0..126 => bytes.push(0x80 | length as u8),
        length @ 126..0x1_0000 => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// A string as JSON has it.
pub fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    let mut rest = text;
    while let Some(at) = rest.find(['"', '\\', '\n']) {
        let (plain, special) = rest.split_at(at);
        quoted.push_str(plain);
        quoted.push_str(match special.as_bytes()[0] {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            _ => "\\n",
        });
        rest = &special[1..];
    }
    quoted.push_str(rest);
    quoted.push('"');
    quoted
}

/// The text of a client's frame.
pub fn text_of(said: &Said) -> String {
    match said {
        Said::Auth { user, id } => {
            let id = id.map_or(String::new(), |id| format!(",\"id\":{id}"));
            format!(r#"{{"msgType":"Auth","fromUserId":{},"content":"token"{id}}}"#, user.number())
        }
        Said::Message { id, from, to, kind, event, timestamp, content } => {
            let mut text = format!(r#"{{"msgType":"{}","toUserId":{}"#, kind.name(), to.number());
            if *id != 0 {
                text.push_str(&format!(",\"id\":{id}"));
            }
            if let Some(from) = from {
                text.push_str(&format!(",\"fromUserId\":{}", from.number()));
            }
            if let Some(event) = event {
                text.push_str(&format!(",\"eventType\":\"{}\"", event.name()));
            }
            if let Some(timestamp) = timestamp {
                text.push_str(&format!(",\"timestamp\":{timestamp}"));
            }
            text.push_str(&format!(",\"chatType\":\"Single\",\"content\":{}}}", quoted(content)));
            text
        }
        Said::Ack(ids) if ids.len() == 1 => {
            format!(r#"{{"chatType":"Single","msgType":"Ack","content":"{{'srcId':{}}}"}}"#, ids[0])
        }
        Said::Ack(ids) => {
            let ids: Vec<String> = ids.iter().map(i64::to_string).collect();
            format!(r#"{{"msgType":"Ack","content":"{{\"srcIds\":[{}]}}"}}"#, ids.join(","))
        }
        Said::AckUpTo(id) => format!(r#"{{"msgType":"Ack","content":"{{\"upTo\":{id}}}"}}"#),
        Said::Heartbeat => r#"{"msgType":"Heartbeat"}"#.to_owned(),
        Said::Ping | Said::Garbage => String::new(),
    }
}

/// The path and body of a call.
pub fn call_of(call: &Call) -> (&'static str, String) {
    let of_user = |user: &UserId| user.number();
    match call {
        Request::Register { identity, name } => {
            let name =
                name.as_ref().map_or(String::new(), |it| format!(",\"name\":{}", quoted(it)));
            ("user/register", format!("{{{}{name}}}", fields_of(identity)))
        }
        Request::Find(identity) => ("user/find", format!("{{{}}}", fields_of(identity))),
        Request::MintIds(None) => ("message/get/id", "{}".to_owned()),
        Request::MintIds(Some(count)) => ("message/get/id", format!("{{\"count\":{count}}}")),
        Request::Page { user, start, size } => {
            let body = format!("{{\"userId\":{}{}}}", of_user(user), page_of(start, *size));
            ("message/user/get/page", body)
        }
        Request::PairPage { owner, peer, start, size } => {
            let (owner, peer) = (of_user(owner), of_user(peer));
            let page = page_of(start, *size);
            let body = format!("{{\"fromUserId\":{owner},\"toUserId\":{peer}{page}}}");
            ("message/user/get/page", body)
        }
        Request::Offline { user, after_seq, limit } => {
            let user = of_user(user);
            let body = format!("{{\"userId\":{user},\"afterSeq\":{after_seq},\"limit\":{limit}}}");
            ("message/offline", body)
        }
        Request::ChatList { user, limit } => {
            ("user/chat/list", format!("{{\"userId\":{},\"limit\":{limit}}}", of_user(user)))
        }
        Request::ClearUnread(chat) => {
            ("user/chat/clear/unread", format!("{{\"id\":{}}}", chat.number()))
        }
        Request::ClearUnreadOf { owner, peer } => {
            let (owner, peer) = (of_user(owner), of_user(peer));
            let body = format!("{{\"fromUserId\":{owner},\"toUserId\":{peer}}}");
            ("user/chat/clear/unread2", body)
        }
        Request::DeleteChat(chat) => {
            ("user/delete/chat/list", format!("{{\"id\":{}}}", chat.number()))
        }
        Request::UnreadCount(user) => {
            ("user/chat/unread/count", format!("{{\"userId\":{}}}", of_user(user)))
        }
        Request::Top { chat, top } => {
            ("user/chat/top", format!("{{\"id\":{},\"top\":{top}}}", chat.number()))
        }
        Request::Auth { .. } | Request::Send(_) | Request::Ack(_) => unreachable!("no calls"),
        Request::Heartbeat | Request::Hello => unreachable!("no calls"),
    }
}

fn fields_of(identity: &Identity<'_>) -> String {
    let Identity { company, app, third_user_id } = identity;
    let (company, app) = (quoted(company), quoted(app));
    format!("\"company\":{company},\"app\":{app},\"thirdUserId\":{}", quoted(third_user_id))
}

fn page_of(start: &PageStart, size: u16) -> String {
    match start {
        PageStart::Number(number) => format!(",\"pageNum\":{number},\"pageSize\":{size}"),
        PageStart::Before(seq) => format!(",\"beforeSeq\":{seq},\"pageSize\":{size}"),
    }
}

/// The bytes of a call.
pub fn request(call: &Call, is_chunked: bool) -> Vec<u8> {
    let (path, body) = call_of(call);
    let head = format!("POST /im/{path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n");
    let (first, rest) = body.split_at(body.len() / 2);
    let rest = match is_chunked {
        false => format!("Content-Length: {}\r\n\r\n{body}", body.len()),
        true => format!(
            "Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{first}\r\n{:x}\r\n{rest}\r\n0\r\n\r\n",
            first.len(),
            rest.len()
        ),
    };
    (head + &rest).into_bytes()
}

/// Something that a client has read.
#[derive(Debug, PartialEq)]
pub enum Item {
    /// The upgrade was granted.
    Upgraded,
    /// A frame.
    Frame(Heard),
    /// An answer: HTTP's status, and the body.
    Answer(u16, OwnedValue),
}

/// Reads what a server sends.
#[derive(Default)]
pub struct Reader {
    bytes: Vec<u8>,
    is_upgraded: bool,
}

impl Reader {
    /// Takes bytes in.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole thing. An error: it is none that the contract knows.
    pub fn next(&mut self) -> Result<Option<Item>, String> {
        let read = if self.is_upgraded { frame_at(&self.bytes)? } else { answer_at(&self.bytes)? };
        let Some((item, used)) = read else { return Ok(None) };
        self.bytes.drain(..used);
        self.is_upgraded |= item == Item::Upgraded;
        Ok(Some(item))
    }
}

fn answer_at(bytes: &[u8]) -> Result<Option<(Item, usize)>, String> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let head = response.parse(bytes).map_err(|error| format!("no HTTP: {error}"))?;
    let httparse::Status::Complete(start) = head else { return Ok(None) };
    let status = response.code.unwrap_or(0);
    if status == 101 {
        return Ok(Some((Item::Upgraded, start)));
    }
    let header = |name: &str| {
        let found = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        found.and_then(|header| std::str::from_utf8(header.value).ok())
    };
    let (body, used) = match header("content-length").map(str::parse::<usize>) {
        Some(Ok(length)) if bytes.len() < start + length => return Ok(None),
        Some(Ok(length)) => (bytes[start..start + length].to_vec(), start + length),
        Some(Err(_)) => return Err("a content-length that is no number".to_owned()),
        None if header("transfer-encoding") == Some("chunked") => match chunks_at(bytes, start)? {
            Some(whole) => whole,
            None => return Ok(None),
        },
        None => return Err(format!("an answer {status} without an end")),
    };
    Ok(Some((Item::Answer(status, json(body)?), used)))
}

/// A chunked body, and where it ends.
fn chunks_at(bytes: &[u8], start: usize) -> Result<Option<(Vec<u8>, usize)>, String> {
    let (mut body, mut at) = (Vec::new(), start);
    loop {
        let line = bytes[at..].windows(2).position(|two| two == b"\r\n");
        let Some(length) = line else { return Ok(None) };
        let digits = std::str::from_utf8(&bytes[at..at + length]).unwrap_or("");
        let size = usize::from_str_radix(digits, 16).map_err(|_| "a chunk without a size")?;
        at += length + 2;
        if bytes.len() < at + size + 2 {
            return Ok(None);
        }
        body.extend_from_slice(&bytes[at..at + size]);
        at += size + 2;
        if size == 0 {
            return Ok(Some((body, at)));
        }
    }
}

fn json(mut body: Vec<u8>) -> Result<OwnedValue, String> {
    if body.is_empty() {
        return Ok(OwnedValue::null());
    }
    let before = body.clone();
    simd_json::to_owned_value(&mut body)
        .map_err(|error| format!("no JSON ({error}): {}", String::from_utf8_lossy(&before)))
}

fn frame_at(bytes: &[u8]) -> Result<Option<(Item, usize)>, String> {
    let mut cursor = Cursor::new(bytes);
    let parsed = FrameHeader::parse(&mut cursor).map_err(|error| format!("no frame: {error}"))?;
    let Some((header, length)) = parsed else { return Ok(None) };
    let (start, length) = (cursor.position() as usize, length as usize);
    if bytes.len() < start + length {
        return Ok(None);
    }
    if header.mask.is_some() || !header.is_final {
        return Err("a frame of the server is masked, or a fragment".to_owned());
    }
    let payload = &bytes[start..start + length];
    let heard = match header.opcode {
        OpCode::Control(Control::Ping) => Heard::Ping,
        OpCode::Control(Control::Pong) => Heard::Pong,
        OpCode::Control(Control::Close) => {
            let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
            Heard::Close { code }
        }
        OpCode::Data(_) => heard(payload)?,
        OpCode::Control(_) => return Err("a control frame that there is not".to_owned()),
    };
    Ok(Some((Item::Frame(heard), start + length)))
}

/// A text frame of the server.
fn heard(payload: &[u8]) -> Result<Heard, String> {
    let value = json(payload.to_vec())?;
    let wrong = |what: &str| format!("{what} in {}", String::from_utf8_lossy(payload));
    let text = |key: &str| value.get_str(key);
    let number = |key: &str| value.get_i64(key);
    let user = |key: &str| number(key).and_then(UserId::new);
    let content = text("content").ok_or_else(|| wrong("no content"))?;
    let id = number("id").ok_or_else(|| wrong("no id"))?;
    match (text("msgType"), text("eventType")) {
        (Some("Ack"), _) => {
            let source = json(content.as_bytes().to_vec())?.get_i64("srcId");
            Ok(Heard::Ack { id, source: source.ok_or_else(|| wrong("no srcId"))? })
        }
        (Some("Error"), _) => {
            let error = json(content.as_bytes().to_vec())?;
            Ok(Heard::Error {
                source: error.get_i64("srcId"),
                code: error.get_i64("code").ok_or_else(|| wrong("no code"))?,
                words: error.get_str("msg").unwrap_or_default().to_owned(),
            })
        }
        (Some("Event"), Some("OfflineMessage")) if number("fromUserId") == Some(1) => {
            let digits: String = content.chars().filter(char::is_ascii_digit).collect();
            Ok(Heard::Waiting { count: digits.parse().map_err(|_| wrong("no count"))? })
        }
        (Some(kind), event) => Ok(Heard::Message {
            id,
            from: user("fromUserId").ok_or_else(|| wrong("no author"))?,
            to: user("toUserId").ok_or_else(|| wrong("no recipient"))?,
            kind: kind.to_owned(),
            event: event.map(str::to_owned),
            content: content.to_owned(),
            timestamp: number("timestamp").ok_or_else(|| wrong("no timestamp"))?,
            state: text("stateEnum").unwrap_or_default().to_owned(),
            is_read: value.get_bool("isRead").ok_or_else(|| wrong("no isRead"))?,
            seq: number("seq").map(|seq| seq as u64),
        }),
        (None, _) => Err(wrong("no msgType")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server_frame(text: &str) -> Vec<u8> {
        let length = (text.len() as u16).to_be_bytes();
        [&[0x81, 126, length[0], length[1]][..], text.as_bytes()].concat()
    }

    /// Invariant 1 of sim::client::bytes.
    #[test]
    fn what_the_server_sends_reads_the_same_however_it_is_cut() {
        let ack =
            r#"{"msgType":"Ack","fromUserId":1,"toUserId":7,"content":"{\"srcId\":5}","id":9}"#;
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{\"id\":5}";
        let list =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n[\r\n1\r\n]\r\n0\r\n\r\n";
        let upgrade = "HTTP/1.1 101 Switching Protocols\r\n\r\n";
        let bytes = [
            answer.as_bytes(),
            list.as_bytes(),
            upgrade.as_bytes(),
            &server_frame(ack),
            &[0x88, 2, 0x03, 0xE9],
        ];
        let bytes = bytes.concat();
        for cut in [1, 3, 10, bytes.len()] {
            let (mut reader, mut items) = (Reader::default(), Vec::new());
            for part in bytes.chunks(cut) {
                reader.receive(part);
                while let Some(item) = reader.next().expect("all of it is in the contract") {
                    items.push(item);
                }
            }
            assert_eq!(items.len(), 5, "{items:?}");
            assert!(matches!(&items[0], Item::Answer(200, body) if body.get_i64("id") == Some(5)));
            assert!(matches!(&items[1], Item::Answer(200, body) if body.as_array().is_some()));
            assert_eq!(items[2], Item::Upgraded);
            assert_eq!(items[3], Item::Frame(Heard::Ack { id: 9, source: 5 }));
            assert_eq!(items[4], Item::Frame(Heard::Close { code: Some(1001) }));
        }
    }
}
