//! The same scenarios against servers of others, small: every message is checked there too.
#![allow(missing_docs)]

use anser_loadtest::load::accounts::Target;
use anser_loadtest::load::driver::peer::{Peer, Protocol};
use anser_loadtest::load::open::Open;
use anser_loadtest::load::pingpong::PingPong;
use anser_loadtest::load::schedule::Arrivals;
use anser_loadtest::outcome::{Outcome, Run, Scenario};
use anser_loadtest::peers;
use anser_loadtest::programs::say_skipped;
use anser_loadtest::relay::{self, Relayed};
use anser_loadtest::server::eventually;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

fn target(server_pid: Option<u32>) -> Target {
    // Nobody listens where our own server would be.
    let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    Target { server_pid, ..Target::at(nobody, nobody) }
}

fn peer(protocol: Protocol, port: SocketAddr) -> Peer {
    Peer { protocol, peer: Some(port), ..Peer::seed() }
}

fn pingpong(peer: &Peer, server_pid: Option<u32>) -> PingPong {
    let (target, peer) = (target(server_pid), peer.clone());
    let (pairs, window, seconds, warm_seconds) = (5, 4, 1, 0);
    PingPong {
        target,
        run: Run::default(),
        peer,
        pairs,
        window,
        seconds,
        warm_seconds,
        no_limit: false,
    }
}

#[track_caller]
fn run(scenario: &impl Scenario) -> Value {
    let outcome = Outcome::of(scenario).expect("settings are plain");
    assert_eq!(outcome.error, None);
    outcome.line()
}

#[track_caller]
fn measure(protocol: Protocol, port: SocketAddr, server_pid: u32) {
    let peer = peer(protocol, port);
    let report = run(&pingpong(&peer, Some(server_pid)));
    assert!(report["delivered"].as_u64() > Some(0), "{report}");
    let count = |value: &Value| value.as_u64().expect("a number");
    let before = count(&report["delivered"]) - count(&report["delivery"]["count"]);
    assert!(before <= 20, "no more than was in flight when measuring began: {report}");
    let (target, users, rate, seconds) = (target(Some(server_pid)), 10, 200, 1);
    let (run_options, warm_seconds) = (Run::default(), 0);
    let open = Open {
        target,
        run: run_options,
        peer,
        users,
        rate,
        arrivals: Arrivals::InTurn,
        tick_us: 0,
        seconds,
        warm_seconds,
        no_limit: false,
    };
    let report = run(&open);
    assert_eq!((&report["delivered"], &report["ack"]["count"]), (&200.into(), &200.into()));
}

#[test]
fn mosquitto_is_measured_over_tcp_and_websocket() {
    let server = match peers::mosquitto() {
        Ok(server) => server,
        Err(reason) => return say_skipped("mosquitto under load", &reason),
    };
    measure(Protocol::Mqtt, server.ports[0], server.id);
    measure(Protocol::MqttWs, server.ports[1], server.id);
}

#[test]
fn prosody_is_measured_over_websocket() {
    let server = match peers::prosody() {
        Ok(server) => server,
        Err(reason) => return say_skipped("Prosody under load", &reason),
    };
    measure(Protocol::Xmpp, server.ports[0], server.id);
}

/// What stands between a client and a broker does to the client's messages.
type Misdeed = fn(&mut Vec<u8>);

/// A port that passes everything on to a broker; `misdeed` sees what comes back.
fn between(broker: SocketAddr, misdeed: Misdeed) -> SocketAddr {
    let pass = move |relayed: Relayed| pass(relayed.server, relayed.client, misdeed);
    relay::start(broker, pass).expect("a free port")
}

fn pass(mut from: TcpStream, mut to: TcpStream, misdeed: Misdeed) {
    let mut part = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut part) {
        let mut bytes = part[..count].to_vec();
        misdeed(&mut bytes);
        if to.write_all(&bytes).is_err() {
            return;
        }
    }
}

/// Where a message begins in what a broker says: a PUBLISH with QoS 1 of two digits of length.
fn message_place(bytes: &[u8]) -> Option<usize> {
    bytes.windows(3).position(|three| three[0] == 0x32 && three[1] >= 0x80 && three[2] == 1)
}

#[test]
fn a_broker_that_changes_or_repeats_messages_is_found_out() {
    let server = match peers::mosquitto() {
        Ok(server) => server,
        Err(reason) => return say_skipped("misdeeds of a broker", &reason),
    };
    let changes: Misdeed = |bytes| {
        if message_place(bytes).is_some()
            && let Some(last) = bytes.iter_mut().rfind(|byte| **byte == b'x')
        {
            *last = b'y';
        }
    };
    let repeats: Misdeed = |bytes| {
        if let Some(start) = message_place(bytes) {
            let length = usize::from(bytes[start + 1] & 0x7F) + 128 + 3;
            if let Some(message) = bytes.get(start..start + length).map(<[u8]>::to_vec) {
                bytes.splice(start..start, message);
            }
        }
    };
    for (misdeed, words) in [(changes, "CHANGED: message "), (repeats, "DOUBLED: message ")] {
        let port = between(server.ports[0], misdeed);
        eventually("it listens", || TcpStream::connect(port).ok());
        let outcome = Outcome::of(&pingpong(&peer(Protocol::Mqtt, port), None));
        let error = outcome.expect("settings are plain").error.expect("it is found out");
        assert!(error.starts_with(words), "{error}");
    }
}
