//! No bytes make a decoder panic or loop; and broken bytes too mean the same however they are cut.

use super::splits::{fixtures, outcome};
use super::{Dice, Peer, masked};

/// One to four bytes of a text changed, taken away, doubled or swapped for a telling one.
fn mutate(bytes: &[u8], dice: &mut Dice) -> Vec<u8> {
    const TELLING: &[u8] = b"\r\n\0\xff\x80\x81{}[]\":,;'\\0+- \t\x7f\xe2\x80\x9c";
    let mut changed = bytes.to_vec();
    for _ in 0..=dice.below(4) {
        if changed.is_empty() {
            break;
        }
        let at = dice.below(changed.len());
        match dice.below(5) {
            0 => changed[at] ^= 1 << dice.below(8),
            1 => drop(changed.remove(at)),
            2 => changed.insert(at, changed[at]),
            3 => changed.truncate(at),
            _ => changed[at] = TELLING[dice.below(TELLING.len())],
        }
    }
    changed
}

/// Invariant 2 of wire.
#[test]
fn mutated_conversations_neither_panic_nor_depend_on_their_cuts() {
    let mut dice = Dice(0x00C0_FFEE);
    for bytes in fixtures() {
        for round in 0..1500 {
            let changed = mutate(&bytes, &mut dice);
            let whole = outcome(&[&changed]);
            let (front, back) = changed.split_at(dice.below(changed.len()));
            assert_eq!(outcome(&[front, back]), whole, "round {round}: {changed:02x?}");
        }
    }
}

#[test]
fn mutated_messages_are_requests_or_errors_and_nothing_else() {
    let texts: [&[u8]; 6] = [
        br#"{"id":1268242042090295296,"fromUserId":3,"toUserId":2,"content":"a\u4f60\n"}"#,
        br#"{"msgType":"Text","toUserId":"2","timestamp":1722332144,"chatType":"Single"}"#,
        br#"{"msgType":"Ack","content":"{'srcId': 1268242042090295296}"}"#,
        br#"{"msgType":"Ack","content":"{\"srcIds\":[1,\"2\",'3'],\"x\":y}"}"#,
        br#"{"msgType":"Auth","fromUserId":3,"content":"{\"token\":\"a\\\\b\"}"}"#,
        "{“msgType”:“Text”,“toUserId”:2,“content”:“你”}".as_bytes(),
    ];
    let mut dice = Dice(77);
    let mut peer = Peer::authenticated();
    for round in 0..20_000 {
        let changed = mutate(texts[round % texts.len()], &mut dice);
        if std::str::from_utf8(&changed).is_err() {
            continue;
        }
        peer.session.accepted();
        peer.give(&masked(0x81, &changed));
        let said = peer.taken().matches("\"msgType\":\"Error\"").count();
        assert_eq!(peer.seen.drain(..).count() + said, 1, "{:?}", String::from_utf8(changed));
    }
}
