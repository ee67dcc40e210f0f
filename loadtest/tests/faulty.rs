//! A server that loses, doubles, reorders, changes or delays is caught: between it and the load
//! stands a relay that does so on purpose.
#![allow(missing_docs)]

use anser_loadtest::load::accounts::Target;
use anser_loadtest::load::driver::peer::Peer;
use anser_loadtest::load::open::Open;
use anser_loadtest::load::pingpong::PingPong;
use anser_loadtest::load::schedule::Arrivals;
use anser_loadtest::outcome::{Outcome, Run};
use anser_loadtest::relay::{self, Relayed};
use anser_loadtest::server::{Server, Setup, eventually};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// What the relay does to one frame from the server, or to all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    Nothing,
    Drop,
    Double,
    /// The frame comes after the one that follows it.
    Swap,
    /// One byte of it is another.
    Alter,
    /// It says that it is to another.
    Readdress,
    /// Every frame comes so much later.
    Delay(Duration),
}

/// The frames of one kind that pass before the one that is meddled with.
const PASS: u32 = 20;

/// Which frames, and how many of them were there.
struct Plan {
    fault: Fault,
    kind: &'static str,
    seen: AtomicU32,
}

/// A port that passes everything on to a server, but for one frame, or all too late.
fn between(server: SocketAddr, fault: Fault, kind: &'static str) -> SocketAddr {
    let plan = Plan { fault, kind, seen: AtomicU32::new(0) };
    let pass = move |relayed: Relayed| plan.relay_frames(relayed.server, relayed.client);
    relay::start(server, pass).expect("a free port")
}

impl Plan {
    fn relay_frames(&self, mut server: TcpStream, client: TcpStream) {
        let (frames, queue) = mpsc::channel::<(Instant, Vec<u8>)>();
        thread::spawn(move || write_when_due(client, queue));
        let send = |frame: Vec<u8>| {
            let late = if let Fault::Delay(late) = self.fault { late } else { Duration::ZERO };
            frames.send((Instant::now() + late, frame)).is_ok()
        };
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match read(&mut server, 1) {
                Some(byte) => head.extend(byte),
                None => return,
            }
        }
        let (mut held, mut open) = (None, send(head));
        while let Some(mut frame) = read_frame(&mut server).filter(|_| open) {
            let fault = self.fault_for(&frame);
            match fault {
                Fault::Drop => continue,
                Fault::Swap => {
                    held = Some(frame);
                    continue;
                }
                Fault::Double => open &= send(frame.clone()),
                Fault::Alter => alter(&mut frame),
                Fault::Readdress => readdress(&mut frame),
                Fault::Nothing | Fault::Delay(_) => {}
            }
            let is_of_kind = self.is_of_kind(&frame);
            open &= send(frame);
            if is_of_kind && let Some(held) = held.take() {
                open &= send(held);
            }
        }
    }

    fn is_of_kind(&self, frame: &[u8]) -> bool {
        String::from_utf8_lossy(frame).contains(self.kind)
    }

    fn fault_for(&self, frame: &[u8]) -> Fault {
        let is_it = self.is_of_kind(frame) && self.seen.fetch_add(1, Ordering::Relaxed) == PASS;
        if is_it { self.fault } else { Fault::Nothing }
    }
}

/// Changes a byte of the content's padding.
fn alter(frame: &mut [u8]) {
    let place = frame.windows(4).position(|window| window == b"xxxx");
    frame[place.expect("contents are padded") + 1] = b'y';
}

/// Changes a digit of the recipient.
fn readdress(frame: &mut [u8]) {
    let key = b"\"toUserId\":";
    let place = frame.windows(key.len()).position(|window| window == key);
    let digit = &mut frame[place.expect("it is to somebody") + key.len()];
    *digit = if *digit == b'9' { b'8' } else { *digit + 1 };
}

fn write_when_due(mut client: TcpStream, queue: mpsc::Receiver<(Instant, Vec<u8>)>) {
    for (due, bytes) in queue {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if client.write_all(&bytes).is_err() {
            return;
        }
    }
}

/// A whole frame of a server, which masks nothing; `None` at the end of the connection.
fn read_frame(server: &mut TcpStream) -> Option<Vec<u8>> {
    let mut frame = read(server, 2)?;
    let length = match frame[1] {
        126 => {
            frame.extend(read(server, 2)?);
            usize::from(u16::from_be_bytes([frame[2], frame[3]]))
        }
        short => usize::from(short),
    };
    frame.extend(read(server, length)?);
    Some(frame)
}

fn read(stream: &mut TcpStream, count: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).ok().map(|()| bytes)
}

fn target(server: &Server, fault: Fault, kind: &'static str) -> Target {
    let ws = between(server.ws, fault, kind);
    Target::at(server.http, ws)
}

/// How a run ends when one frame of a kind is meddled with.
#[track_caller]
fn error_of(server: &Server, fault: Fault, kind: &'static str, parts: usize) -> String {
    let connections_per_thread = Some(4 / parts);
    let pingpong = PingPong {
        target: Target { connections_per_thread, ..target(server, fault, kind) },
        run: Run::default(),
        peer: Peer::seed(),
        pairs: 2,
        window: 8,
        seconds: 10,
        warm_seconds: 0,
        no_limit: false,
    };
    let outcome = Outcome::of(&pingpong).expect("settings are plain");
    outcome.error.unwrap_or_else(|| panic!("{fault:?} of a {kind} was not caught"))
}

const MESSAGE: &str = r#""msgType":"Text""#;
const ACK: &str = r#""msgType":"Ack""#;

/// Whether a word is a message's id, by which the server knows it.
fn names_an_id(error: &str) -> bool {
    let is_id = |word: &str| word.len() >= 18 && word.bytes().all(|byte| byte.is_ascii_digit());
    error.split(' ').any(is_id)
}

#[test]
fn what_is_done_to_a_message_is_named() {
    let server = Setup::shards(1).start();
    for (fault, name) in [
        (Fault::Drop, "LOST: message "),
        (Fault::Double, "DOUBLED: message "),
        (Fault::Swap, "OUT OF ORDER: message "),
        (Fault::Alter, "CHANGED: message "),
        (Fault::Readdress, "CHANGED: message "),
    ] {
        let error = error_of(&server, fault, MESSAGE, 1);
        assert!(error.starts_with(name) && names_an_id(&error), "{fault:?}: {error}");
    }
}

#[test]
fn what_is_done_to_an_ack_is_named() {
    let server = Setup::shards(1).start();
    for (fault, name) in [
        (Fault::Drop, "LOST: the Ack "),
        (Fault::Double, "DOUBLED: the Ack "),
        (Fault::Swap, "OUT OF ORDER: the Ack "),
    ] {
        for parts in [1, 2] {
            let begun = Instant::now();
            let error = error_of(&server, fault, ACK, parts);
            assert!(error.starts_with(name) && names_an_id(&error), "{fault:?}: {error}");
            assert!(begun.elapsed() < Duration::from_secs(10), "all parts end at once");
        }
    }
}

/// 200 messages a second for 2 s.
fn open(target: Target) -> Open {
    Open {
        target,
        run: Run::default(),
        peer: Peer::seed(),
        users: 4,
        rate: 200,
        arrivals: Arrivals::InTurn,
        tick_us: 0,
        seconds: 2,
        warm_seconds: 0,
        no_limit: false,
    }
}

#[test]
fn a_delay_of_all_frames_shows_in_every_percentile() {
    let server = Setup::shards(1).start();
    let late = Duration::from_millis(50);
    for (fault, least_ms) in [(Fault::Nothing, 0.0), (Fault::Delay(late), 50.0)] {
        let outcome = Outcome::of(&open(target(&server, fault, MESSAGE))).expect("plain settings");
        assert_eq!(outcome.error, None);
        for name in ["ack", "delivery"] {
            let shortest_ms = outcome.latencies[name].quantile_ms(0.0);
            assert!(shortest_ms >= least_ms, "{name} of {shortest_ms} ms");
        }
        assert_eq!(outcome.figures["delivered"], 400);
    }
}

#[test]
fn a_server_that_does_not_hold_the_rate_has_lost_nothing() {
    let server = Setup::shards(1).start();
    let late = Fault::Delay(Duration::from_secs(4));
    let outcome = Outcome::of(&open(target(&server, late, MESSAGE))).expect("plain settings");
    assert_eq!(outcome.error, None, "all come, though late");
    let is_told = |flag: &String| flag.contains("did not hold 200 messages a second");
    assert!(outcome.flags.iter().any(is_told), "{:?}", outcome.flags);
}

/// Whatever was measured until then is there, and why it ended.
#[test]
fn a_server_that_dies_leaves_what_was_measured() {
    let server = Setup::shards(1).start();
    let (server_pid, admin) = (Some(server.id()), Some(server.admin));
    let target = Target { server_pid, admin, ..Target::at(server.http, server.ws) };
    let mut load = open(target);
    load.seconds = 60;
    let (begun, measured) = (Instant::now(), thread::spawn(move || Outcome::of(&load)));
    eventually("it is under load", || {
        (server.figure("anser_messages_sent_total") > 100.0).then_some(())
    });
    drop(server.kill());
    let outcome = measured.join().expect("it does not panic").expect("plain settings");
    assert!(begun.elapsed() < Duration::from_secs(50), "it ends when the server does");
    let error = outcome.error.as_deref().unwrap_or_default();
    assert!(error.contains("connection"), "{error:?}");
    assert!(outcome.figures["delivered"].as_u64() > Some(0), "{}", outcome.figures);
    assert_eq!(outcome.figures["server_resident_bytes"], Value::Null, "nobody knows");
    let is_told = |flag: &String| flag.ends_with("its process has ended");
    assert!(outcome.flags.iter().any(is_told), "{:?}", outcome.flags);
}
