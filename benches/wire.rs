//! What the wire alone costs for each frame of a message: decode and encode, without the rules.
//!
//! Run with `cargo bench --bench wire`. Prints CPU time and allocations a frame: median, least and
//! most of several rounds. With the name of a line as an argument only that one is run and no clock
//! is read, which suits `valgrind --tool=callgrind --toggle-collect='wire::*_all'`: instruction
//! counts do not depend on what else the machine does.

#[path = "common/clock.rs"]
mod clock;
#[path = "common/frame.rs"]
mod frame;

use allocation_counter::measure;
use anser::api::{ChatType, DeliveryState, Message, MessageType};
use anser::ids::{MessageId, UserId};
use anser::wire::encode;
use anser::wire::session::{Codec, ErrorStyle, Port, Session, Step, WireOptions};
use clock::cpu_nanos;
use frame::masked;
use std::hint::black_box;

const ROUNDS: usize = 9;
const FRAMES: usize = 4096;
const CONTENT_BYTES: usize = 200;
/// A minted id as it looks today: 19 digits.
const ID: i64 = 1_268_242_042_090_295_000;

/// Does one line's work once: nanoseconds and allocations a frame.
type Round<'a> = &'a dyn Fn() -> (f64, f64);

fn main() {
    println!("one frame, {CONTENT_BYTES} bytes of text where there is text");
    // Cargo passes `--bench` itself.
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let clock = if only.is_some() { || 0 } else { cpu_nanos };
    let (latin, han) = ("x".repeat(CONTENT_BYTES), "你好吗".repeat(CONTENT_BYTES / 9));
    let quoted = "say \"hi\"\\n ".repeat(CONTENT_BYTES / 11);
    let lines: [(&str, Round<'_>); 8] = [
        ("decode-send", &|| decoding(&send(&latin), clock)),
        ("decode-send-han", &|| decoding(&send(&han), clock)),
        ("decode-send-escaped", &|| decoding(&send(&quoted.replace('"', "\\\"")), clock)),
        ("decode-ack", &|| decoding(&ack(), clock)),
        ("encode-ack", &|| encoding(write_ack, clock)),
        ("encode-push", &|| encoding(|out| write_push(&latin, out), clock)),
        ("encode-push-han", &|| encoding(|out| write_push(&han, out), clock)),
        ("encode-push-escaped", &|| encoding(|out| write_push(&quoted, out), clock)),
    ];
    for (name, round) in lines {
        if only.as_ref().is_none_or(|only| only == name) {
            report(name, round);
        }
    }
}

/// Runs the rounds of one line; the first two warm up.
fn report(name: &str, round: Round<'_>) {
    let mut rounds: Vec<(f64, f64)> = (0..ROUNDS + 2).map(|_| round()).skip(2).collect();
    rounds.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (least, median, most) = (rounds[0].0, rounds[ROUNDS / 2].0, rounds[ROUNDS - 1].0);
    let allocations = rounds.iter().map(|round| round.1).fold(0.0, f64::max);
    println!(
        "{name:<20} {median:>4.0} ns of CPU a frame (least {least:.0}, most {most:.0}), \
         at most {allocations:.4} allocations a frame"
    );
}

/// Nanoseconds and allocations a frame of decoding many like this one.
fn decoding(text: &str, clock: fn() -> u64) -> (f64, f64) {
    let options = WireOptions { errors: ErrorStyle::Seed, utc_offset_seconds: 0 };
    let mut codec = Codec::new(options);
    let mut session = authenticated(&mut codec);
    let mut frames: Vec<Vec<u8>> = vec![masked(text); FRAMES];
    // The codec's scratch memory reaches its size.
    decode_all(&mut session, &mut codec, &mut [masked(text)]);
    let start = clock();
    let counted = measure(|| decode_all(&mut session, &mut codec, &mut frames));
    ((clock() - start) as f64 / FRAMES as f64, counted.count_total as f64 / FRAMES as f64)
}

#[inline(never)]
fn decode_all(session: &mut Session, codec: &mut Codec, frames: &mut [Vec<u8>]) {
    let mut out = Vec::new();
    for frame in frames {
        let (consumed, step) = session.next(codec, frame, &mut out);
        let Step::Request(request) = step else { panic!("a whole frame is a request") };
        black_box(&request);
        assert_eq!(consumed, frame.len());
    }
    assert!(out.is_empty(), "nothing is refused here");
}

/// Nanoseconds and allocations a frame of encoding many.
fn encoding(write: impl Fn(&mut Vec<u8>), clock: fn() -> u64) -> (f64, f64) {
    let mut out = Vec::with_capacity(64 << 10);
    let start = clock();
    let counted = measure(|| encode_all(write, &mut out));
    ((clock() - start) as f64 / FRAMES as f64, counted.count_total as f64 / FRAMES as f64)
}

#[inline(never)]
fn encode_all(write: impl Fn(&mut Vec<u8>), out: &mut Vec<u8>) {
    for _ in 0..FRAMES {
        write(out);
        if black_box(&*out).len() > 32 << 10 {
            out.clear();
        }
    }
}

fn user(number: i64) -> UserId {
    UserId::new(number).expect("a small positive number")
}

fn id(number: i64) -> MessageId {
    MessageId::new(number).expect("a positive number")
}

/// A session of user 1026, past its upgrade and its Auth.
fn authenticated(codec: &mut Codec) -> Session {
    let mut session = Session::new(Port::WebSocket);
    let mut upgrade = b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        .to_vec();
    let mut out = Vec::new();
    let (_, step) = session.next(codec, &mut upgrade, &mut out);
    assert!(matches!(step, Step::Handled), "the upgrade is answered by the wire");
    let mut auth = masked(r#"{"msgType":"Auth","fromUserId":1026,"content":"token"}"#);
    let (_, step) = session.next(codec, &mut auth, &mut out);
    assert!(matches!(step, Step::Request(_)), "an Auth is for the rules");
    session.welcome(user(1026));
    session
}

fn send(content: &str) -> String {
    let ends = r#""toUserId":2051,"chatType":"Single","msgType":"Text","content":"#;
    format!(r#"{{"id":{ID},"fromUserId":1026,{ends}"{content}"}}"#)
}

fn ack() -> String {
    format!(r#"{{"chatType":"Single","msgType":"Ack","content":"{{'srcId':{ID}}}"}}"#)
}

fn write_ack(out: &mut Vec<u8>) {
    encode::ack_frame(id(ID + 1), user(1026), ChatType::Single, id(ID), 1_722_492_806_373, out);
}

fn write_push(content: &str, out: &mut Vec<u8>) {
    let message = Message {
        kind: MessageType::Text,
        from: user(1026),
        to: user(2051),
        team: None,
        event: None,
        content,
        id: id(ID),
        timestamp_ms: 1_722_492_806_373,
        chat_type: ChatType::Single,
        state: DeliveryState::ServerToClientIng,
        is_read: false,
    };
    encode::message_frame(&message, out);
}
