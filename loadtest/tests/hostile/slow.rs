//! Those who take their time: dripped heads, bodies and frames, sockets that say nothing, upgrades
//! that are never finished. Ten seconds bound each, but for a user who is known.

use super::raw;
use anser_loadtest::hostile::{MIB, Siege};
use anser_loadtest::server::Setup;
use anser_loadtest::websocket::{Frame, opcode, upgrade_request};
use anser_loadtest::world::{Client, World};
use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// Connections of each kind.
const EACH: usize = 150;
/// The contract's ten seconds, a second in which the server looks at every connection, and what a
/// busy machine adds.
const GONE_WITHIN: Duration = Duration::from_secs(18);

/// Somebody who sends one byte after the other.
struct Dripper {
    stream: TcpStream,
    bytes: Vec<u8>,
    at: usize,
    is_over: bool,
}

impl Dripper {
    fn new(mut stream: TcpStream, at_once: &[u8], then: Vec<u8>) -> Dripper {
        let is_over = stream.write_all(at_once).is_err();
        Dripper { stream, bytes: then, at: 0, is_over }
    }

    fn drip(&mut self) {
        let byte = self.bytes[self.at % self.bytes.len()];
        self.at += 1;
        self.is_over |= self.stream.write_all(&[byte]).is_err();
    }
}

fn strangers(world: &World) -> Vec<Dripper> {
    let head = "POST /im/user/register HTTP/1.1\r\nHost: h\r\n";
    let body = format!("{head}Content-Length: 900000\r\n\r\n");
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\nfffff\r\n");
    let upgrade = upgrade_request("/ws");
    let half_done = &upgrade[..upgrade.len() - 2];
    let frame = Frame::whole(opcode::TEXT, &[b' '; 60_000]).bytes();
    let fragments = Frame::part(opcode::TEXT, b"{").bytes();
    let fragments = [&fragments[..], &Frame::part(opcode::CONTINUATION, b"").bytes()].concat();
    let mut all = Vec::new();
    for _ in 0..EACH {
        let (http, ws) = (|| raw(world.http), || raw(world.ws));
        all.push(Dripper::new(http(), b"", b"X: y\r\n".to_vec()));
        all.push(Dripper::new(http(), head.as_bytes(), b"A: b\r\n".to_vec()));
        all.push(Dripper::new(http(), body.as_bytes(), b" ".to_vec()));
        all.push(Dripper::new(http(), chunked.as_bytes(), b" ".to_vec()));
        all.push(Dripper::new(ws(), half_done.as_bytes(), b"A: b\r\n".to_vec()));
        all.push(Dripper::new(ws(), upgrade.as_bytes(), frame.clone()));
        all.push(Dripper::new(ws(), upgrade.as_bytes(), fragments.clone()));
    }
    all
}

/// Sockets whose peer says nothing, or says half of something and that it says no more.
fn half_open(world: &World) -> Vec<TcpStream> {
    let upgrade = upgrade_request("/ws");
    let said: [&[u8]; 5] = [b"", b"", b"GET /im/te", upgrade.as_bytes(), &[0x81, 0xFF]];
    let open = |place: usize| {
        let mut stream = raw(if place.is_multiple_of(2) { world.http } else { world.ws });
        let said = said[place % said.len()];
        // Who has half-closed may be closed at once.
        let _ = stream.write_all(said);
        if place.is_multiple_of(3) {
            let _ = stream.shutdown(Shutdown::Write);
        }
        stream
    };
    (0..4 * EACH).map(open).collect()
}

/// Known users who send a frame so slowly that it never ends: each is alive, so they may.
fn known(world: &World) -> Vec<Client> {
    let people: [i64; 4] = world.people();
    people.iter().flat_map(|user| (0..16).map(|_| world.connect(*user))).collect()
}

#[test]
fn whoever_takes_his_time_has_ten_seconds_and_costs_little() {
    let siege = Siege::of(Setup::shards(2));
    let world = siege.world("slow");
    let mut known = known(&world);
    let frame = Frame::whole(opcode::TEXT, &[b' '; 60_000]).bytes();
    let mut dripped = 32_000;
    let begin = |client: &mut Client| client.connection.send_all_you_can(&frame[..dripped]);
    known.iter_mut().for_each(begin);
    let begun = Instant::now();
    let (mut strangers, silent) = (strangers(&world), half_open(&world));
    let left = || siege.server().figure("anser_connections") as usize;
    assert!(left() > 1000, "they are there: {}", left());
    let enough = anser_loadtest::hostile::CONNECTIONS + known.len();
    while left() > enough {
        assert!(begun.elapsed() < GONE_WITHIN, "{} are left", left() - enough);
        strangers.iter_mut().filter(|dripper| !dripper.is_over).for_each(Dripper::drip);
        let next = &frame[dripped..=dripped];
        known.iter_mut().for_each(|client| client.connection.send_all_you_can(next));
        dripped += 1;
        std::thread::sleep(Duration::from_millis(300));
    }
    assert!(begun.elapsed() > Duration::from_secs(9), "dripping lasts as long as a request may");
    // The frames of known users lie with the server, which is what they cost.
    assert_eq!(left(), enough, "known users were left alone");
    drop(silent);
    known[0].connection.send_bytes(&frame[dripped..]);
    known[0].expect_error();
    siege.end(16 * MIB);
}
