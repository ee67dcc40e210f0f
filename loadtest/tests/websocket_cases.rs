//! RFC 6455 case by case, against `conformance-echo`: numbered like the cases of the Autobahn
//! TestSuite, which ask the same of any server that echoes.
#![allow(missing_docs)]

use anser_loadtest::echo::Echo;
use anser_loadtest::websocket::{Connection, Frame, Received, opcode};

/// What is written, piece by piece, and all that comes back.
struct Case {
    name: String,
    pieces: Vec<Vec<u8>>,
    answers: Vec<Received>,
    /// The code of the server's Close. `None`: nothing is wrong, and our own is answered.
    code: Option<u16>,
}

impl Case {
    fn new(name: &str, said: Vec<Vec<u8>>) -> Case {
        let said = said.concat();
        Case { name: name.to_owned(), pieces: vec![said], answers: Vec::new(), code: None }
    }

    fn answered(mut self, answers: impl IntoIterator<Item = Received>) -> Case {
        self.answers.extend(answers);
        self
    }

    fn closed(self, code: u16) -> Case {
        Case { code: Some(code), ..self }
    }

    /// The same bytes in pieces of so many.
    fn in_pieces(self, bytes: usize) -> Case {
        let pieces = self.pieces.concat().chunks(bytes).map(<[u8]>::to_vec).collect();
        Case { pieces, ..self }
    }

    #[track_caller]
    fn run(mut self) {
        let mut connection = Connection::open(Echo::shared().ws);
        for piece in &self.pieces {
            connection.send_all_you_can(piece);
        }
        if self.code.is_none() {
            connection.send_all_you_can(&close(1000, ""));
        }
        self.answers.push(Received::Close(self.code.unwrap_or(1000), String::new()));
        let mut said = connection.until_gone();
        if let Some(Received::Close(code, reason)) = said.last_mut() {
            // Why is told in words of the server's own; 1005 stands for a Close without a code.
            assert!(self.code != Some(1000) || reason.is_empty(), "{}: {code}", self.name);
            reason.clear();
        }
        assert!(said == self.answers, "{}: {said:.300?}, not {:.300?}", self.name, self.answers);
    }
}

fn text(bytes: &[u8]) -> Vec<u8> {
    Frame::whole(opcode::TEXT, bytes).bytes()
}

fn binary(bytes: &[u8]) -> Vec<u8> {
    Frame::whole(opcode::BINARY, bytes).bytes()
}

fn ping(bytes: &[u8]) -> Vec<u8> {
    Frame::whole(opcode::PING, bytes).bytes()
}

/// The first fragment of a text.
fn begin(bytes: &[u8]) -> Vec<u8> {
    Frame::part(opcode::TEXT, bytes).bytes()
}

/// A further fragment.
fn more(bytes: &[u8]) -> Vec<u8> {
    Frame::part(opcode::CONTINUATION, bytes).bytes()
}

/// The last fragment.
fn last(bytes: &[u8]) -> Vec<u8> {
    Frame::whole(opcode::CONTINUATION, bytes).bytes()
}

fn close(code: u16, reason: &str) -> Vec<u8> {
    let payload = [&code.to_be_bytes()[..], reason.as_bytes()].concat();
    Frame::whole(opcode::CLOSE, &payload).bytes()
}

/// A frame whose first byte is this.
fn odd(first_byte: u8, payload: &[u8]) -> Vec<u8> {
    Frame { first_byte, masked: true, payload }.bytes()
}

fn said(text: &str) -> Received {
    Received::Text(text.to_owned())
}

fn pong(bytes: &[u8]) -> Received {
    Received::Pong(bytes.to_vec())
}

const HELLO: &str = "Hello, world!";
/// A text of two, three and two bytes a character.
const KOSME: &str = "κόσμε";

#[test]
fn framing_1() {
    for bytes in [0, 125, 126, 127, 128, 65_535, 65_536] {
        let letters = "*".repeat(bytes);
        let any = vec![0xFE; bytes];
        let case = |kind: &str| format!("1.{kind}: {bytes} bytes");
        Case::new(&case("1"), vec![text(letters.as_bytes())]).answered([said(&letters)]).run();
        let echoed = [Received::Binary(any.clone())];
        Case::new(&case("2"), vec![binary(&any)]).answered(echoed.clone()).run();
        Case::new(&case("1.8"), vec![text(letters.as_bytes())])
            .answered([said(&letters)])
            .in_pieces(997)
            .run();
        Case::new(&case("2.8"), vec![binary(&any)]).answered(echoed).in_pieces(997).run();
    }
    let unmasked = Frame { masked: false, ..Frame::whole(opcode::TEXT, b"bare") }.bytes();
    Case::new("5.1 of the RFC: no mask", vec![unmasked]).closed(1002).run();
}

#[test]
fn pings_and_pongs_2() {
    let bytes = [0, 0xFF, 0xFE, 0xFD, 0xFC, 0xFB, 0, 0xFF];
    let full = [0xFE; 125];
    let unasked = |payload| Frame::whole(opcode::PONG, payload).bytes();
    Case::new("2.1", vec![ping(b"")]).answered([pong(b"")]).run();
    Case::new("2.2", vec![ping(HELLO.as_bytes())]).answered([pong(HELLO.as_bytes())]).run();
    Case::new("2.3", vec![ping(&bytes)]).answered([pong(&bytes)]).run();
    Case::new("2.4", vec![ping(&full)]).answered([pong(&full)]).run();
    Case::new("2.5", vec![ping(&[0xFE; 126])]).closed(1002).run();
    Case::new("2.6", vec![ping(&full)]).answered([pong(&full)]).in_pieces(1).run();
    Case::new("2.7", vec![unasked(b"")]).run();
    Case::new("2.8", vec![unasked(b"unsolicited")]).run();
    Case::new("2.9", vec![unasked(b"unsolicited"), ping(b"?")]).answered([pong(b"?")]).run();
    let ten: Vec<String> = (0..10).map(|number| format!("payload-{number}")).collect();
    let pings = || ten.iter().map(|payload| ping(payload.as_bytes())).collect();
    let pongs = || ten.iter().map(|payload| pong(payload.as_bytes()));
    Case::new("2.10", pings()).answered(pongs()).run();
    Case::new("2.11", pings()).answered(pongs()).in_pieces(1).run();
}

#[test]
fn reserved_bits_3_and_opcodes_4() {
    for (name, first) in [
        ("3.1", 0x81 | 0x10),
        ("3.2", 0x81 | 0x20),
        ("3.4", 0x81 | 0x40),
        ("3.5", 0x82 | 0x50),
        ("3.6", 0x89 | 0x60),
        ("3.7", 0x88 | 0x70),
        ("4.1.1", 0x83),
        ("4.1.2", 0x84),
        ("4.1.3", 0x85),
        ("4.1.4", 0x86),
        ("4.1.5", 0x87),
        ("4.2.1", 0x8B),
        ("4.2.2", 0x8C),
        ("4.2.3", 0x8D),
        ("4.2.4", 0x8E),
        ("4.2.5", 0x8F),
    ] {
        for payload in [&b""[..], b"payload"] {
            Case::new(name, vec![odd(first, payload)]).closed(1002).run();
            let around = || vec![text(HELLO.as_bytes()), odd(first, payload), ping(b"late")];
            Case::new(name, around()).answered([said(HELLO)]).closed(1002).run();
            let single = Case::new(name, around()).answered([said(HELLO)]).closed(1002);
            single.in_pieces(1).run();
        }
    }
}

#[test]
fn fragments_5() {
    let whole = || [said("fragment1fragment2")];
    let (one, two) = (begin(b"fragment1"), last(b"fragment2"));
    let broken: [(&str, Vec<Vec<u8>>); 10] = [
        ("5.1", vec![odd(0x09, b"fragment1"), two.clone()]),
        ("5.2", vec![odd(0x0A, b"fragment1"), two.clone()]),
        ("5.9", vec![last(b"non-continuation"), text(HELLO.as_bytes())]),
        ("5.12", vec![more(b"non-continuation"), text(HELLO.as_bytes())]),
        ("5.16", vec![more(b"fragment1"), begin(b"fragment2"), last(b"fragment3")]),
        ("5.17", vec![last(b"fragment1"), begin(b"fragment2"), last(b"fragment3")]),
        ("5.18", vec![one.clone(), text(b"fragment2")]),
        ("5.18 binary", vec![one.clone(), binary(b"fragment2")]),
        ("5.18 begun", vec![one.clone(), begin(b"fragment2")]),
        ("5.1 close", vec![odd(0x08, b"\x03\xe8")]),
    ];
    for (name, frames) in broken {
        Case::new(name, frames.clone()).closed(1002).run();
        Case::new(name, frames).closed(1002).in_pieces(1).run();
    }
    let again = vec![one.clone(), two.clone(), last(b"fragment3")];
    Case::new("5.15", again).answered(whole()).closed(1002).run();
    for bytes in [usize::MAX, 7, 1] {
        let two_parts = || vec![one.clone(), two.clone()];
        Case::new("5.3", two_parts()).answered(whole()).in_pieces(bytes).run();
        let around = vec![one.clone(), ping(b"ping"), two.clone()];
        let answers = [pong(b"ping")].into_iter().chain(whole());
        Case::new("5.6", around).answered(answers).in_pieces(bytes).run();
        let many = [
            vec![one.clone(), more(b""), ping(b"1")],
            vec![
                Frame::whole(opcode::PONG, b"unasked").bytes(),
                more(b"-"),
                ping(b"2"),
                two.clone(),
            ],
        ];
        let answers = [pong(b"1"), pong(b"2"), said("fragment1-fragment2")];
        Case::new("5.19", many.concat()).answered(answers).in_pieces(bytes).run();
    }
    let bytes = vec![odd(0x02, &[0xFF; 3]), last(&[0xC0; 3])];
    let answer = Received::Binary(vec![0xFF, 0xFF, 0xFF, 0xC0, 0xC0, 0xC0]);
    Case::new("5.3 binary", bytes).answered([answer]).run();
}

#[test]
fn valid_texts_6() {
    Case::new("6.1.1", vec![text(b"")]).answered([said("")]).run();
    Case::new("6.1.2", vec![begin(b""), more(b""), last(b"")]).answered([said("")]).run();
    let middle = vec![begin(b""), more(b"middle frame payload"), last(b"")];
    Case::new("6.1.3", middle).answered([said("middle frame payload")]).run();
    let valid = [
        "Hello-µ@ßöäüàá-UTF-8!!",
        KOSME,
        "\0",
        "\u{80}",
        "\u{7F}\u{7FF}\u{800}\u{FFFF}\u{10000}\u{10FFFF}",
        "\u{D7FF}\u{E000}\u{FFFD}",
        "\u{FFFE}\u{FFFF}\u{1FFFE}\u{1FFFF}\u{2FFFE}\u{10FFFE}",
        "💩鸿雁传书",
    ];
    for letters in valid {
        let bytes = letters.as_bytes();
        Case::new("6.2.1", vec![text(bytes)]).answered([said(letters)]).run();
        let (front, back) = bytes.split_at(bytes.len() / 2);
        Case::new("6.2.2", vec![begin(front), last(back)]).answered([said(letters)]).run();
        let single = bytes.iter().map(|byte| more(&[*byte]));
        let single = [begin(b"")].into_iter().chain(single).chain([last(b"")]);
        Case::new("6.2.3", single.collect()).answered([said(letters)]).run();
        let slow = Case::new("6.2.4", vec![text(bytes)]).answered([said(letters)]);
        slow.in_pieces(1).run();
    }
}

/// Every byte that makes a text wrong is answered, though the frame or message goes on: nothing
/// behind it is ever sent.
#[test]
fn invalid_texts_6_fail_fast() {
    let invalid: [(&str, &[u8]); 26] = [
        ("6.3.1 surrogate", b"\xed\xa0"),
        ("6.4.1 beyond", b"\xf4\x90"),
        ("6.6.2", b"\xce\x20"),
        ("6.6.4", b"\xe1\x20"),
        ("6.6.6", b"\xe1\xbd\x20"),
        ("6.8.1 5 bytes", b"\xf8"),
        ("6.8.2 6 bytes", b"\xfc"),
        ("6.10.1", b"\xf7"),
        ("6.10.2", b"\xfb"),
        ("6.10.3", b"\xfd"),
        ("6.12.1", b"\x80"),
        ("6.12.2", b"\xbf"),
        ("6.14.1", b"\xc0"),
        ("6.14.2", b"\xe0\x20"),
        ("6.14.3", b"\xf0\x20"),
        ("6.15.1", b"\xc3\xe1"),
        ("6.16.1", b"\xfe"),
        ("6.16.2", b"\xff"),
        ("6.17.1 overlong", b"\xc0"),
        ("6.17.2", b"\xe0\x80"),
        ("6.17.3", b"\xf0\x80"),
        ("6.18.1", b"\xc1"),
        ("6.18.2", b"\xe0\x9f"),
        ("6.18.3", b"\xf0\x8f"),
        ("6.20.1", b"\xed\xa0"),
        ("6.21.8", b"\xed\xaf"),
    ];
    for (name, wrong) in invalid {
        let bytes = [KOSME.as_bytes(), wrong].concat();
        let rest = [&bytes[..], b"edited"].concat();
        Case::new(name, vec![text(&rest)]).closed(1007).run();
        let single = |bytes: &[u8]| bytes.iter().map(|byte| more(&[*byte])).collect::<Vec<_>>();
        let parts = [vec![begin(b"")], single(&bytes)].concat();
        Case::new(name, parts).closed(1007).run();
        let unfinished = text(&rest)[..6 + bytes.len()].to_vec();
        Case::new(name, vec![unfinished.clone()]).closed(1007).run();
        Case::new(name, vec![unfinished]).closed(1007).in_pieces(1).run();
        let large = text(&[&bytes[..], &[b'x'; 100_000]].concat())[..14 + bytes.len()].to_vec();
        Case::new(name, vec![large]).closed(1007).run();
    }
    for cut in [&b"\xce"[..], b"\xe1\xbd", b"\xf0\x9f\x92"] {
        Case::new("6.6.1", vec![text(cut)]).closed(1007).run();
        Case::new("6.6.1 in parts", vec![begin(cut), last(b"")]).closed(1007).run();
    }
}

#[test]
fn closing_7() {
    let late = || vec![close(1000, ""), text(b"late"), ping(b"late"), close(1001, "again")];
    Case::new("7.1.1", vec![text(b"Hello")]).answered([said("Hello")]).run();
    Case::new("7.1.2", late()).closed(1000).run();
    Case::new("7.1.5", [vec![begin(b"1")], late(), vec![last(b"2")]].concat()).closed(1000).run();
    let large = "BAsd7&jh23".repeat(26_214);
    let before = vec![text(large.as_bytes()), text(b"Hello World!")];
    let answers = [said(&large), said("Hello World!")];
    Case::new("7.1.6", [before, late()].concat()).answered(answers).closed(1000).run();
    let frame = |payload: &[u8]| vec![Frame::whole(opcode::CLOSE, payload).bytes()];
    let reason = |bytes| [&[3, 232][..], &vec![b'*'; bytes]].concat();
    Case::new("7.3.1 no code", frame(b"")).closed(1005).run();
    Case::new("7.3.2 one byte", frame(b"a")).closed(1002).run();
    Case::new("7.3.3", frame(b"\x03\xe8")).closed(1000).run();
    Case::new("7.3.4", frame(&reason(12))).closed(1000).run();
    Case::new("7.3.5 the longest", frame(&reason(123))).closed(1000).run();
    Case::new("7.3.6 a byte more", frame(&reason(124))).closed(1002).run();
    let bad = [&[3, 232][..], KOSME.as_bytes(), b"\xed\xa0\x80edited"].concat();
    Case::new("7.5.1", frame(&bad)).closed(1007).run();
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999] {
        Case::new("7.7", vec![close(code, ""), text(b"late")]).closed(code).run();
    }
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        Case::new("7.9, 7.13", vec![close(code, "")]).closed(1002).run();
    }
}

#[test]
fn large_messages_9() {
    for bytes in [1 << 16, 1 << 18, 1 << 20, 1 << 22, 1 << 24] {
        let letters = "BAsd7&jh23".repeat(bytes / 10);
        let any: Vec<u8> = letters.bytes().map(|byte| byte | 0x80).collect();
        let name = format!("9.1, 9.2: {bytes} bytes");
        Case::new(&name, vec![text(letters.as_bytes())]).answered([said(&letters)]).run();
        Case::new(&name, vec![binary(&any)]).answered([Received::Binary(any)]).run();
    }
    let letters = "*".repeat(1 << 20);
    for bytes in [64, 256, 1024, 4096, 16_384, 65_536, 1 << 18] {
        let parts = letters.as_bytes().chunks(bytes).map(more);
        let parts = [begin(b"")].into_iter().chain(parts).chain([last(b"")]).collect();
        let name = format!("9.3: fragments of {bytes}");
        Case::new(&name, parts).answered([said(&letters)]).run();
    }
    for bytes in [64, 1024, 65_536] {
        let name = format!("9.5: pieces of {bytes}");
        let case = Case::new(&name, vec![text(letters.as_bytes())]).answered([said(&letters)]);
        case.in_pieces(bytes).run();
    }
    let parts = [begin(b"")].into_iter().chain(letters.as_bytes()[..65_536].chunks(1300).map(more));
    let parts = parts.chain([last(b"")]).collect();
    Case::new("10.1.1", parts).answered([said(&letters[..65_536])]).run();
}

#[test]
fn more_than_the_limit_closes_1009_before_it_comes() {
    let head = |first: u8, bytes: u64| [&[first, 0xFF][..], &bytes.to_be_bytes(), b"mask"].concat();
    Case::new("64 MiB and a byte", vec![head(0x82, (64 << 20) + 1)]).closed(1009).run();
    Case::new("more than there is", vec![head(0x81, u64::MAX >> 1)]).closed(1009).run();
    let parts = vec![odd(0x02, b"x"), head(0x80, 64 << 20)];
    Case::new("in parts", parts).closed(1009).run();
}

#[test]
fn round_trips_9_7_keep_their_order() {
    let mut connection = Connection::open(Echo::shared().ws);
    for bytes in [0, 16, 64, 256, 1024, 4096] {
        for number in 0..200 {
            let letters = format!("{number:0bytes$}");
            connection.send_text(&letters);
            assert_eq!(connection.next_text(), letters);
        }
    }
}
