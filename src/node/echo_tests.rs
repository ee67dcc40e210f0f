//! Tests of the echo, on a house whose only shard says back what comes.

use super::*;
use crate::limits::{ECHO_UNSENT_BYTES, FRAME_BYTES_MAX, WINDOW_BYTES_MAX};
use crate::node::house::{House, Peer, UPGRADE, call, frame};
use crate::node::ring::{BUFFER_BYTES, BUFFERS};
use crate::wire::session::{Codec, Port};
use std::io::Write;

fn echoing() -> House {
    let mut house = House::new(1);
    let options = WireOptions { dialect: Dialect::Bare, ..Default::default() };
    let desk = &mut house.shards[0].desk;
    (desk.options, desk.codec) = (options, Codec::new(options));
    house
}

/// Invariant 1 of node::echo.
#[test]
fn what_comes_is_said_back_in_order() {
    let mut house = echoing();
    let mut peer = house.connect(0, Port::Http);
    peer.say(call("/any", "first") + &call("/other", "second"));
    house.until("two answers", |_| peer.count("HTTP/1.1 200 OK") == 2 && peer.count("second") == 1);
    let text = String::from_utf8_lossy(&peer.received).into_owned();
    assert!(text.find("\r\n\r\nfirst").is_some_and(|at| text[at..].contains("\r\n\r\nsecond")));
    let mut peer = house.connect(0, Port::WebSocket);
    peer.say(UPGRADE);
    house.until("the upgrade", |_| peer.count("\r\n\r\n") == 1);
    peer.received.clear();
    peer.say([frame("one"), frame(""), frame("two")].concat());
    house.until("three messages", |_| peer.count("two") == 1);
    assert_eq!(peer.received, b"\x81\x03one\x81\x00\x81\x03two");
}

/// Writes on until the kernel takes no more; whether it has taken any.
fn write_on(peer: &mut Peer, said: &[u8], at: &mut usize) -> bool {
    let before = *at;
    while let Ok(bytes) = peer.stream.write(&said[*at..]) {
        *at += bytes;
        if *at == said.len() {
            break;
        }
    }
    *at > before
}

/// Invariant 2 of node::echo.
#[test]
fn who_does_not_read_is_not_heard_until_he_does() {
    let mut house = echoing();
    let mut peer = house.connect_narrow(0, Port::WebSocket);
    peer.say(UPGRADE);
    house.until("the upgrade", |_| peer.count("\r\n\r\n") == 1);
    peer.received.clear();
    let text = "x".repeat(60_000);
    let (said, mut at, mut idle) = (frame(&text).repeat(600), 0, 0);
    while idle < 200 {
        idle = if write_on(&mut peer, &said, &mut at) { 0 } else { idle + 1 };
        house.round();
    }
    assert!(at < said.len() / 2, "{at} bytes of {} were taken", said.len());
    let connection = house.server_side(0, &peer).expect("it is open");
    assert!(connection.unsent() > ECHO_UNSENT_BYTES, "{}", connection.unsent());
    assert!(connection.unsent() < ECHO_UNSENT_BYTES + 2 * FRAME_BYTES_MAX);
    assert!(connection.window.len() < WINDOW_BYTES_MAX + usize::from(BUFFERS) * BUFFER_BYTES);
    let awaited = 600 * (4 + text.len());
    house.until("all of it", |_| {
        write_on(&mut peer, &said, &mut at);
        peer.read();
        peer.received.len() >= awaited
    });
    let whole = [&[0x81, 126][..], &60_000_u16.to_be_bytes(), text.as_bytes()].concat();
    assert!(peer.received.chunks(whole.len()).all(|message| message == whole));
}
