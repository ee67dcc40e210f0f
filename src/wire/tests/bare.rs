//! The bare dialect, and what both share: texts that are wrong from some byte on, large frames.

use super::{Dice, Peer, call, masked, upgrade};
use crate::limits::ECHO_MESSAGE_BYTES_MAX;
use crate::wire::session::Port;

/// A WebSocket of the bare dialect.
fn bare() -> Peer {
    let mut peer = Peer::bare(Port::WebSocket);
    peer.give(&upgrade());
    assert!(peer.session.is_websocket() && !peer.session.is_unfinished(), "{}", peer.text());
    peer.out.clear();
    peer
}

/// A server's frame; `first` is its first byte.
fn plain(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..=125 => frame.push(length as u8),
        length @ 126..=0xFFFF => {
            frame.push(126);
            frame.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            frame.push(127);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame
}

/// Texts of which the last byte is the first that no UTF-8 has there.
fn wrong_at_last() -> Vec<Vec<u8>> {
    let wrong: [&[u8]; 14] = [
        b"\xff",
        b"\x80",
        b"\xc0",
        b"\xc1",
        b"\xf5",
        b"\xe0\x80",
        b"\xed\xa0",
        b"\xf0\x8f",
        b"\xf4\x90",
        b"\xc3(",
        b"\xe2\x82(",
        b"\xe2\xe2",
        b"\xf0\x9f\x92(",
        b"\xf0\x9f\x92\xc0",
    ];
    wrong.iter().map(|wrong| ["{\"κόσμε€💩\":\"".as_bytes(), wrong].concat()).collect()
}

/// Gives bytes one by one; the last of them, and none before, closes with 1007.
#[track_caller]
fn is_refused_at_last(mut peer: Peer, front: &[u8], single: &[Vec<u8>]) {
    peer.give(front);
    for (at, bytes) in single.iter().enumerate() {
        assert!(!peer.session.is_closing(), "{at} of {}: {bytes:02x?}", single.len());
        peer.give(bytes);
    }
    assert_eq!((peer.session.is_closing(), peer.close_code()), (true, Some(1007)));
}

/// Invariant 3 of wire::buffer.
#[test]
fn a_text_is_refused_at_its_first_wrong_byte_however_it_comes() {
    for text in wrong_at_last() {
        for peer in [Peer::upgraded as fn() -> Peer, Peer::authenticated, bare] {
            // In a frame of which more is to come.
            let frame = masked(0x81, &[&text[..], b"rest"].concat());
            let (head, rest) = frame.split_at(6);
            let bytes: Vec<_> = rest[..text.len()].iter().map(|byte| vec![*byte]).collect();
            is_refused_at_last(peer(), head, &bytes);
            // In fragments, the second of which has a part of it.
            let begun = [masked(0x01, &text[..3]), masked(0x80, &text[3..])[..6].to_vec()].concat();
            let rest = &masked(0x80, &text[3..])[6..];
            let bytes: Vec<_> = rest.iter().map(|byte| vec![*byte]).collect();
            is_refused_at_last(peer(), &begun, &bytes);
            // In fragments of a byte each, with pings between.
            let frames =
                text.iter().map(|byte| [masked(0x00, &[*byte]), masked(0x89, b"")].concat());
            is_refused_at_last(peer(), &masked(0x01, b""), &frames.collect::<Vec<_>>());
        }
        // In a frame that is taken in parts.
        let frame = masked(0x81, &[&text[..], &[b'x'; 100_000]].concat());
        let bytes: Vec<_> = frame[14..14 + text.len()].iter().map(|byte| vec![*byte]).collect();
        is_refused_at_last(bare(), &frame[..14], &bytes);
    }
}

#[test]
fn a_text_that_ends_within_a_character_is_refused_at_its_end() {
    for peer in [Peer::authenticated as fn() -> Peer, bare] {
        for cut in [&b"\xf0\x9f\x92"[..], b"\xe2\x82", b"\xc3"] {
            let whole = masked(0x81, cut);
            let parts = [masked(0x01, cut), masked(0x80, b"")].concat();
            for bytes in [whole, parts] {
                let mut peer = peer();
                peer.give(&bytes);
                assert_eq!(peer.close_code(), Some(1007), "{bytes:02x?}");
            }
        }
    }
    let mut binary = bare();
    binary.give(&[masked(0x02, b"\xff"), masked(0x80, b"\xc3")].concat());
    assert_eq!(binary.out, plain(0x82, b"\xff\xc3"), "bytes may be any");
}

#[test]
fn messages_of_any_size_come_back_however_they_are_cut() {
    let mut dice = Dice(2026);
    for bytes in [0, 1, 125, 126, 127, 128, 65_535, 65_536, 65_537, 70_000, 1 << 20] {
        let text: Vec<u8> = "鸿雁传书".bytes().cycle().take(bytes - bytes % 3).collect();
        let any: Vec<u8> = (0..bytes).map(|at| at as u8 ^ 0x55).collect();
        let (whole_text, whole_any) = (masked(0x81, &text), masked(0x82, &any));
        let said = [whole_text, masked(0x89, b"?"), whole_any].concat();
        let awaited = [plain(0x81, &text), plain(0x8A, b"?"), plain(0x82, &any)].concat();
        for most in [said.len(), 1 + said.len() / 7, 4096] {
            let (mut peer, mut rest) = (bare(), &said[..]);
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(1 + dice.below(rest.len().min(most)));
                peer.give(piece);
                rest = after;
            }
            assert!(peer.out == awaited, "{bytes} bytes in pieces of {most} at most");
            assert_eq!(peer.session.held_bytes(), 0);
        }
    }
}

#[test]
fn large_fragments_are_put_together_around_pings() {
    let part: Vec<u8> = (0..70_000).map(|at| at as u8).collect();
    let said = [
        masked(0x02, &part),
        masked(0x89, b"1"),
        masked(0x00, b""),
        masked(0x00, &part),
        masked(0x89, b"2"),
        masked(0x80, &part[..5]),
    ];
    let mut peer = bare();
    said.concat().chunks(1000).for_each(|piece| peer.give(piece));
    let whole = [&part[..], &part, &part[..5]].concat();
    assert!(peer.out == [plain(0x8A, b"1"), plain(0x8A, b"2"), plain(0x82, &whole)].concat());
    // What follows a part that is missing is a part of it.
    let mut peer = bare();
    peer.give(&masked(0x82, &part)[..60_000]);
    peer.give(&masked(0x89, b"no ping"));
    assert_eq!(peer.out, b"");
    assert!(peer.session.held_bytes() > 59_000);
    peer.session.end_of_input();
    peer.run();
    assert!(peer.session.is_closing() && peer.out.is_empty());
}

#[test]
fn the_bare_dialect_has_its_own_limit() {
    let head = |first: u8, length: usize| {
        [&[first, 0xFF][..], &(length as u64).to_be_bytes(), b"mask"].concat()
    };
    let mut peer = bare();
    peer.give(&head(0x82, ECHO_MESSAGE_BYTES_MAX));
    assert_eq!((peer.close_code(), peer.session.held_bytes()), (None, 0), "no room is made for it");
    for over in [
        head(0x82, ECHO_MESSAGE_BYTES_MAX + 1),
        head(0x81, usize::MAX >> 1),
        [masked(0x02, b"x"), head(0x80, ECHO_MESSAGE_BYTES_MAX)].concat(),
    ] {
        let mut peer = bare();
        peer.give(&over);
        assert_eq!(peer.close_code(), Some(1009));
    }
}

#[test]
fn every_method_and_path_is_answered_with_its_body() {
    let table = [
        ("GET", "/", ""),
        ("POST", "/a/b?c=d", "hello"),
        ("PUT", "http://h:80/x", "\u{1F4A9}"),
        ("OPTIONS", "*", ""),
        ("OPTIONS", "/x", "o"),
        ("delete", "/", "d"),
        ("M-SEARCH!#$%&'*+.^_`|~", "/", "m"),
    ];
    for (method, path, body) in table {
        let mut peer = Peer::bare(Port::Http);
        peer.give(&[method.as_bytes(), &call(path, body)[4..]].concat());
        let text = peer.text();
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{method} {path}: {text}");
        let end = format!("Content-Length: {}\r\n\r\n{body}", body.len());
        assert!(text.ends_with(&end), "{method} {path}: {text}");
        assert!(!peer.session.is_closing() && !peer.session.is_awaiting());
    }
    let mut head = Peer::bare(Port::Http);
    head.give(b"HEAD / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab");
    assert!(head.text().ends_with("Content-Length: 2\r\n\r\n"), "{}", head.text());
    let mut chunked = Peer::bare(Port::Http);
    chunked.give(
        b"PATCH /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\
          2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
    );
    assert!(chunked.text().ends_with("Content-Length: 3\r\n\r\nabc"), "{}", chunked.text());
}

#[test]
fn bare_websockets_open_on_every_path_and_only_there() {
    let request = String::from_utf8(upgrade()).expect("ASCII");
    for path in ["/", "/runCase?case=1", "/ws"] {
        let mut peer = Peer::bare(Port::WebSocket);
        peer.give(request.replace("/ws", path).as_bytes());
        assert!(peer.session.is_websocket(), "{path}");
    }
    let mut http = Peer::bare(Port::Http);
    http.give(&upgrade());
    assert!(http.text().starts_with("HTTP/1.1 200 "), "{}", http.text());
    let mut no_upgrade = Peer::bare(Port::WebSocket);
    no_upgrade.give(&call("/", ""));
    assert!(no_upgrade.text().starts_with("HTTP/1.1 405 "), "{}", no_upgrade.text());
}
