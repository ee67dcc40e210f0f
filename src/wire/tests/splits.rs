//! How bytes are cut into pieces never changes what they mean.

use super::{Dice, Peer, call, masked, upgrade};
use crate::wire::session::Port;

/// Whole conversations, each from a fresh connection.
pub(super) fn fixtures() -> Vec<Vec<u8>> {
    let chunked = b"POST /im/user/register HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\
        11;x\r\n{\"company\":\"c\",\"a\r\n20\r\npp\":\"a\\u0041\",\"thirdUserId\":\"7\"}\r\n0\r\nT: u\r\n\r\n";
    let expecting = b"POST /im/message/get/id HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n\
        Content-Length: 11\r\n\r\n{\"count\":3}";
    let many = [
        b"GET /im/test HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(),
        call("/im/message/get/id", "{}"),
        chunked.to_vec(),
        expecting.to_vec(),
        call("/im/nothing", "{}"),
        call("/im/user/chat/list", "{“userId”:2}"),
        b"HEAD /im/test HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(),
        b"GET / HTTP/2.0\r\n\r\n".to_vec(),
    ];
    let talk = [
        upgrade(),
        masked(0x81, br#"{"msgType":"Text","toUserId":2,"id":1,"content":"early"}"#),
        masked(0x81, br#"{"msgType":"Heartbeat"}"#),
        masked(0x81, br#"{"msgType":"Auth","fromUserId":3,"content":"{'t'}"}"#),
        masked(0x01, "{\"msgType\":\"Text\",\"toUserId\":\"2\",\"content\":\"你".as_bytes()),
        masked(0x89, b"ping"),
        masked(0x80, "好\",\"id\":1268242042090295296}".as_bytes()),
        masked(0x81, "{“msgType”:“Text”,“toUserId”:2,“content”:“curly”}".as_bytes()),
        masked(0x81, br#"{"msgType":"Ack","content":"{'srcIds':[1,2,3]}"}"#),
        masked(0x81, b"nonsense"),
        masked(0x88, b"\x03\xe8bye"),
    ];
    let faults: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\nHost: h\nX: y\r\n\r\n",
        b"GET / HTTX/1.1\r\nHost: h\r\n\r\n",
        b"POST /im/test HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"POST /im/test HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}x",
        b"\r\n\r\nGET /im/test HTTP/1.0\r\n\r\nGET /im/test HTTP/1.0\r\n\r\n",
        b"POST /im/message/get/id HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n{}",
    ];
    let mut all = vec![many.concat(), talk.concat()];
    all.extend(faults.iter().map(|fault| fault.to_vec()));
    let binary = [upgrade(), masked(0x82, b"x")].concat();
    all.push(binary);
    all
}

/// What is said in the bare dialect, on both ports.
fn bare_fixtures() -> Vec<(Port, Vec<u8>)> {
    let talk = [
        upgrade(),
        masked(0x82, &[0xFF; 300]),
        masked(0x01, "你".as_bytes()),
        masked(0x89, b"ping"),
        masked(0x00, &"好".as_bytes()[..1]),
        masked(0x80, &"好".as_bytes()[1..]),
        masked(0x81, b"\xe4\xbd\xa0\xff"),
        masked(0x81, b"late"),
    ];
    let large = [upgrade(), masked(0x81, &[b'x'; 70_000])[..69_990].to_vec()].concat();
    let calls = [
        b"BREW /any HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi".to_vec(),
        b"PUT * HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(),
    ];
    vec![(Port::WebSocket, talk.concat()), (Port::WebSocket, large), (Port::Http, calls.concat())]
}

/// Everything that can be seen of a conversation.
pub(super) fn outcome(pieces: &[&[u8]]) -> (Vec<String>, String, bool, bool) {
    outcome_of(Peer::new(Port::Http), pieces)
}

fn outcome_of(mut peer: Peer, pieces: &[&[u8]]) -> (Vec<String>, String, bool, bool) {
    pieces.iter().for_each(|piece| peer.give(piece));
    let text = peer.text();
    let unfinished = peer.session.is_unfinished();
    (peer.seen, text, peer.session.is_closing(), unfinished)
}

/// Invariant 1 of wire::body.
/// Invariant 2 of wire::http.
#[test]
fn every_cut_in_two_and_byte_by_byte_gives_the_same_steps() {
    for bytes in fixtures() {
        let whole = outcome(&[&bytes]);
        for at in 1..bytes.len() {
            let (front, back) = bytes.split_at(at);
            assert_eq!(outcome(&[front, back]), whole, "cut at {at}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(outcome(&single), whole, "byte by byte");
    }
}

/// Invariant 1 of wire.
#[test]
fn random_cuts_give_the_same_steps() {
    let mut dice = Dice(2026);
    for bytes in fixtures() {
        let whole = outcome(&[&bytes]);
        for _ in 0..100 {
            let (mut rest, mut pieces) = (&bytes[..], Vec::new());
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(1 + dice.below(rest.len().min(60)));
                pieces.push(piece);
                rest = after;
            }
            assert_eq!(outcome(&pieces), whole);
        }
    }
}

/// Invariant 1 of wire.
#[test]
fn cuts_change_nothing_in_the_bare_dialect() {
    for (port, bytes) in bare_fixtures() {
        let whole = outcome_of(Peer::bare(port), &[&bytes]);
        for at in (1..bytes.len().min(1000)).chain([bytes.len() - 1]) {
            let (front, back) = bytes.split_at(at);
            let cut = outcome_of(Peer::bare(port), &[front, back]);
            assert!(cut == whole, "cut at {at}: {}", cut.1);
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert!(outcome_of(Peer::bare(port), &single) == whole, "byte by byte");
    }
}

#[test]
fn the_fixtures_mean_something() {
    let all = fixtures();
    let (seen, text, closing, _) = outcome(&[&all[0]]);
    assert_eq!(seen.len(), 6, "{seen:?}");
    assert!(closing && text.contains("505 ") && text.contains("100 Continue"), "{text}");
    let (seen, _, closing, _) = outcome(&[&all[1]]);
    assert_eq!(seen.len(), 5, "{seen:?}");
    assert!(closing && seen[1].contains("early") && seen[2].contains("你好"), "{seen:?}");
}
