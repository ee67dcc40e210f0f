//! Frames: what the RFC forbids closes with its code; tungstenite is the oracle.

use super::{Dice, Peer, masked};
use crate::limits::FRAME_BYTES_MAX;
use crate::wire::frame::push_text;
use std::io::Cursor;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::protocol::{Role, WebSocketContext};
use tungstenite::{Bytes, Message};

const HEARTBEAT: &str = r#"{"msgType":"Heartbeat","fromUserId":3}"#;

/// The code of the close after these bytes.
fn close_of(bytes: &[u8]) -> Option<u16> {
    let mut peer = Peer::authenticated();
    peer.give(bytes);
    assert_eq!(peer.session.is_closing(), peer.close_code().is_some(), "{bytes:02x?}");
    peer.close_code()
}

/// Invariant 2 of wire::frame.
#[test]
fn what_the_rfc_forbids_closes_with_its_code() {
    let unmasked = [&[0x81, 2][..], b"{}"].concat();
    let table: [(Vec<u8>, u16); 20] = [
        (unmasked, 1002),
        (masked(0xC1, b"{}"), 1002),
        (masked(0xA1, b"{}"), 1002),
        (masked(0x91, b"{}"), 1002),
        (masked(0x83, b""), 1002),
        (masked(0x8B, b""), 1002),
        (masked(0x09, b""), 1002),
        (masked(0x89, &[0; 126]), 1002),
        (masked(0x80, b"{}"), 1002),
        ([masked(0x01, b"{"), masked(0x81, b"}")].concat(), 1002),
        ([masked(0x01, b"{"), masked(0x82, b"}")].concat(), 1002),
        (masked(0x82, b"{}"), 1003),
        (masked(0x81, b"\xff"), 1007),
        ([masked(0x01, b"\xe4\xbd"), masked(0x80, b"x")].concat(), 1007),
        (vec![0x81, 0xFE, 0, 5, 0, 0, 0, 0], 1002),
        (vec![0x81, 0xFF, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0], 1002),
        (vec![0x81, 0xFF, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0], 1009),
        (vec![0x81, 0xFF, 0xFF, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0], 1002),
        ([masked(0x01, b"xx"), vec![0x80, 0xFE, 0xFF, 0xFF, 0, 0, 0, 0]].concat(), 1009),
        (masked(0x88, b"\x03"), 1002),
    ];
    for (bytes, code) in table {
        assert_eq!(close_of(&bytes), Some(code), "{bytes:02x?}");
    }
}

#[test]
fn text_that_is_no_utf_8_is_told_from_text_that_is_only_no_json() {
    let broken: [&[u8]; 5] = [
        b"{\"msgType\":\"Heartbeat\",\"a\":\"\xff\"}",
        b"{\"msgType\":\"Heartbeat\",\"a\":\"\xff",
        b"\xe4\xbd",
        b"{} \xc0\x80",
        b"{\xe2\x80\x9cmsgType\xe2\x80\x9d:\xe2\x80\x9c\xff\xe2\x80\x9d}",
    ];
    for text in broken {
        assert_eq!(close_of(&masked(0x81, text)), Some(1007), "{text:02x?}");
    }
    // Unescaping moves bytes before the error is found; what was sent is UTF-8 all the same.
    for text in ["", "{\"a\":\"\\n你\" x}", "{\"a\":\"\\u4f60你", "你", "[1]"] {
        assert_eq!(close_of(&masked(0x81, text.as_bytes())), None, "{text}");
    }
}

#[test]
fn close_frames_are_echoed_when_they_are_valid() {
    for (code, echoed) in [
        (1000, 1000),
        (1001, 1001),
        (1011, 1011),
        (3000, 3000),
        (4999, 4999),
        (999, 1002),
        (1004, 1002),
        (1005, 1002),
        (1006, 1002),
        (1012, 1012),
        (1014, 1014),
        (1015, 1002),
        (2999, 1002),
        (5000, 1002),
    ] {
        let payload = [&u16::to_be_bytes(code)[..], b"bye"].concat();
        assert_eq!(close_of(&masked(0x88, &payload)), Some(echoed), "{code}");
    }
    assert_eq!(close_of(&masked(0x88, b"\x03\xe8\xff")), Some(1007));
    let mut peer = Peer::authenticated();
    peer.give(&[masked(0x88, b""), masked(0x89, b"late")].concat());
    assert_eq!(peer.out, [0x88, 0], "nothing follows a close");
    assert!(peer.session.is_closing());
}

#[test]
fn pings_are_answered_between_fragments() {
    let mut peer = Peer::authenticated();
    let (front, back) = HEARTBEAT.split_at(9);
    peer.give(&masked(0x01, front.as_bytes()));
    assert_eq!(peer.session.held_bytes(), 9);
    peer.give(&masked(0x89, b"abc"));
    peer.give(&masked(0x8A, b"unasked"));
    peer.give(&masked(0x00, b""));
    peer.give(&masked(0x80, back.as_bytes()));
    assert_eq!(peer.out, [&[0x8A, 3][..], b"abc"].concat());
    assert_eq!(peer.seen, ["Heartbeat"]);
    assert_eq!(peer.session.held_bytes(), 0);
    peer.session.ping(&mut peer.out);
    assert!(peer.out.ends_with(&[0x89, 0]));
}

/// Invariant 1 of wire::frame.
#[test]
fn the_largest_frame_passes_and_no_larger_one() {
    let mut text = HEARTBEAT.to_string();
    text.push_str(&" ".repeat(FRAME_BYTES_MAX - text.len()));
    let mut peer = Peer::authenticated();
    peer.say(&text);
    assert_eq!(peer.seen, ["Heartbeat"]);
    peer.say(&(text + " "));
    assert_eq!(peer.close_code(), Some(1009));
}

#[test]
fn frames_that_tungstenite_writes_are_read() {
    let mut dice = Dice(7);
    let mut socket = Cursor::new(Vec::new());
    let mut client = WebSocketContext::new(Role::Client, None);
    let mut sent = Vec::new();
    for length in [0, 1, 80, 81, 125, 126, 1000, 65_000] {
        let content: String =
            (0..length).map(|_| char::from(b'a' + dice.below(26) as u8)).collect();
        let text = format!(r#"{{"msgType":"Text","toUserId":2,"content":"{content}"}}"#);
        client.write(&mut socket, Message::text(text)).expect("a message can be written");
        sent.push(content);
    }
    client.flush(&mut socket).expect("memory takes all");
    let mut peer = Peer::authenticated();
    peer.give(socket.get_ref());
    assert_eq!(peer.seen.len(), sent.len(), "{}", peer.text());
    for (seen, content) in peer.seen.iter().zip(sent) {
        assert!(seen.contains(&format!("content: {content:?}")), "{seen}");
    }
}

/// Invariant 3 of wire::frame.
#[test]
fn frames_that_are_written_here_are_read_by_tungstenite() {
    let (mut bytes, mut texts) = (Vec::new(), Vec::new());
    for length in [0, 1, 125, 126, 127, 65_535, 65_536, 200_000] {
        let text = "g".repeat(length);
        push_text(&mut bytes, |out| out.extend_from_slice(text.as_bytes()));
        texts.push(text);
    }
    let mut peer = Peer::authenticated();
    peer.session.close(crate::wire::session::CloseCode::Replaced, &mut bytes);
    let mut socket = Cursor::new(bytes);
    let mut client = WebSocketContext::new(Role::Client, None);
    for text in texts {
        assert_eq!(client.read(&mut socket).expect("a whole frame"), Message::text(text));
    }
    let Message::Close(Some(close)) = client.read(&mut socket).expect("the close") else {
        panic!("the last frame is a close");
    };
    assert_eq!(close.code, CloseCode::Library(4409));
}

#[test]
fn fragments_that_tungstenite_writes_are_put_together() {
    let mut bytes = Vec::new();
    let (front, back) = HEARTBEAT.split_at(20);
    for (part, opcode, is_final) in [(front, Data::Text, false), (back, Data::Continue, true)] {
        let part = Bytes::copy_from_slice(part.as_bytes());
        let frame = Frame::message(part, OpCode::Data(opcode), is_final);
        let mut raw = Vec::new();
        frame.format(&mut raw).expect("memory takes all");
        // Written without a mask, as a server would: mask it as a client must.
        bytes.extend(masked(raw[0], &raw[2..]));
    }
    let mut peer = Peer::authenticated();
    peer.give(&bytes);
    assert_eq!(peer.seen, ["Heartbeat"]);
}
