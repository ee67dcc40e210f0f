//! The frames of the contract as bytes: written without JSON in between, read by their keys.
//!
//! The server writes its keys in a fixed order without spaces; what deviates is a failure.

use super::frame;
use std::io::Write;

/// Bytes of a content: the method of the benchmarks asks for 200.
pub const CONTENT_BYTES: usize = 200;

/// What a server's frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word<'a> {
    /// A message of ours was stored.
    Ack {
        /// Its id.
        source: i64,
    },
    /// A message for us.
    Message {
        /// Its author.
        from: i64,
        /// Its recipient.
        to: i64,
        /// Its id.
        id: i64,
        /// Its content, which holds nothing that JSON escapes.
        content: &'a [u8],
    },
    /// The notice of waiting messages.
    Notice,
}

/// Reads a frame of the server; `None` for one that should not come (such as an Error).
pub fn read(text: &[u8]) -> Option<Word<'_>> {
    if text.starts_with(br#"{"msgType":"Ack","#) {
        return Some(Word::Ack { source: integer(after(text, br#"{\"srcId\":"#)?)? });
    }
    if text.starts_with(br#"{"msgType":"Event","#) {
        return Some(Word::Notice);
    }
    let rest = text.strip_prefix(br#"{"msgType":"Text","fromUserId":"#)?;
    let (from, to) = (integer(rest)?, integer(after(rest, br#","toUserId":"#)?)?);
    let rest = after(rest, br#""content":""#)?;
    let end = rest.iter().position(|&byte| byte == b'"')?;
    let id = integer(rest[end..].strip_prefix(br#"","id":"#)?)?;
    Some(Word::Message { from, to, id, content: &rest[..end] })
}

fn after<'a>(text: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let start = text.windows(key.len()).position(|window| window == key)?;
    Some(&text[start + key.len()..])
}

fn integer(text: &[u8]) -> Option<i64> {
    let digits = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    std::str::from_utf8(&text[..digits]).ok()?.parse().ok()
}

/// Appends an Auth that asks for an Ack of `id`.
pub fn auth(out: &mut Vec<u8>, user: i64, id: i64) {
    frame::text(out, |out| {
        let text = r#"{"msgType":"Auth","content":"load","fromUserId":"#;
        let _ = write!(out, r#"{text}{user},"id":{id}}}"#);
    });
}

/// Appends a Text whose content names its author and number, padded to [`CONTENT_BYTES`].
pub fn message(out: &mut Vec<u8>, from: i64, to: i64, id: i64, number: u64) {
    frame::text(out, |out| {
        let _ = write!(out, r#"{{"id":{id},"fromUserId":{from},"toUserId":{to},"#);
        out.extend_from_slice(br#""chatType":"Single","msgType":"Text","content":""#);
        content(out, from, number);
        out.extend_from_slice(br#""}"#);
    });
}

/// Appends the content that the `number`-th message of an author has.
pub fn content(out: &mut Vec<u8>, from: i64, number: u64) {
    let start = out.len();
    let _ = write!(out, "{from} {number} ");
    out.resize(start + CONTENT_BYTES, b'x');
}

/// Who wrote it, as a content says.
pub fn author(content: &[u8]) -> Option<i64> {
    integer(content)
}

/// Which of its author's messages a content says it is.
pub fn number(content: &[u8]) -> Option<u64> {
    let word = content.split(|byte| *byte == b' ').nth(1)?;
    std::str::from_utf8(word).ok()?.parse().ok()
}

/// Appends a client's Ack.
pub fn ack(out: &mut Vec<u8>, id: i64) {
    frame::text(out, |out| {
        let text = r#"{"chatType":"Single","msgType":"Ack","content":"{\"srcId\":"#;
        let _ = write!(out, r#"{text}{id}}}"}}"#);
    });
}

/// Appends a client's Ack of everything up to a message.
pub fn ack_up_to(out: &mut Vec<u8>, id: i64) {
    frame::text(out, |out| {
        let text = r#"{"chatType":"Single","msgType":"Ack","content":"{\"upTo\":"#;
        let _ = write!(out, r#"{text}{id}}}"}}"#);
    });
}

/// Appends a Heartbeat.
pub fn heartbeat(out: &mut Vec<u8>, user: i64) {
    frame::text(out, |out| drop(write!(out, r#"{{"fromUserId":{user},"msgType":"Heartbeat"}}"#)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(frame: &[u8]) -> serde_json::Value {
        let start = if frame[1] == 0xFE { 8 } else { 6 };
        let length = match frame[1] & 0x7F {
            126 => usize::from(u16::from_be_bytes([frame[2], frame[3]])),
            length => usize::from(length),
        };
        assert_eq!(frame.len(), start + length, "the frame says how long it is");
        serde_json::from_slice(&frame[start..]).expect("frames are JSON")
    }

    #[test]
    fn what_is_written_is_json_in_a_frame() {
        let written = |write: fn(&mut Vec<u8>)| {
            let mut out = Vec::new();
            write(&mut out);
            payload(&out)
        };
        assert_eq!(written(|out| auth(out, 7, 9))["id"], 9);
        assert_eq!(
            written(|out| ack(out, i64::MAX))["content"],
            format!("{{\"srcId\":{}}}", i64::MAX)
        );
        assert_eq!(written(|out| heartbeat(out, 7))["fromUserId"], 7);
        let message = written(|out| message(out, 2, 3, 1_268_242_042_090_295_297, 5));
        assert_eq!(message["id"], 1_268_242_042_090_295_297_i64);
        assert_eq!(message["content"].as_str().map(str::len), Some(CONTENT_BYTES));
    }

    #[test]
    fn frames_of_the_server_are_read_by_their_keys() {
        let ack = br#"{"msgType":"Ack","fromUserId":1,"content":"{\"srcId\":77}","id":5}"#;
        assert_eq!(read(ack), Some(Word::Ack { source: 77 }));
        let text = br#"{"msgType":"Text","fromUserId":3,"toUserId":4,"content":"3 1 xx","id":9}"#;
        let (from, to, id, content) = (3, 4, 9, &b"3 1 xx"[..]);
        assert_eq!(read(text), Some(Word::Message { from, to, id, content }));
        assert_eq!(read(br#"{"msgType":"Error","content":"x"}"#), None);
    }

    #[test]
    fn a_content_says_which_it_is() {
        let mut out = Vec::new();
        content(&mut out, 7, 12_345);
        let read = (out.len(), author(&out), number(&out));
        assert_eq!(read, (CONTENT_BYTES, Some(7), Some(12_345)));
        assert_eq!(number(b"7 x xxx"), None);
        assert_eq!(number(b"7"), None);
    }
}
