//! Those who come and go: resets at every stage of a connection, and one user from everywhere.

use super::raw;
use anser_loadtest::hostile::{MIB, Siege, at_once};
use anser_loadtest::http;
use anser_loadtest::load::process::open_files;
use anser_loadtest::server::{Setup, eventually};
use anser_loadtest::websocket::{Connection, Frame, Received, opcode, upgrade_request};
use anser_loadtest::world::{World, fresh_id};
use serde_json::json;
use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Connections that are reset.
const RESETS: usize = 4_000;
/// Connections of one user.
const DEVICES: usize = 1_000;
/// Those of them that the contract lets him have.
const DEVICES_MAX: usize = 16;

/// Closes with a reset: whatever is under way is lost.
fn reset(stream: &TcpStream) {
    rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO)).expect("a socket");
}

/// What is said before the reset, by how far a connection has come.
fn openings(world: &World, user: i64) -> Vec<(bool, Vec<u8>)> {
    let upgrade = upgrade_request("/ws");
    let auth = json!({"msgType": "Auth", "fromUserId": user, "content": "x", "id": 7}).to_string();
    let text = json!({"id": fresh_id(), "toUserId": user, "msgType": "Text", "content": "x"});
    let (auth, text) = (
        Frame::whole(opcode::TEXT, auth.as_bytes()).bytes(),
        Frame::whole(opcode::TEXT, text.to_string().as_bytes()).bytes(),
    );
    let known = [upgrade.as_bytes(), &auth].concat();
    let register = http::post("/im/user/register", &world.identity("reset").to_string());
    let page = http::post("/im/message/user/get/page", &json!({"userId": user}).to_string());
    vec![
        (true, Vec::new()),
        (true, b"GET /im/test HT".to_vec()),
        (true, register.as_bytes()[..register.len() - 5].to_vec()),
        (true, register.into_bytes()),
        (true, page.repeat(20).into_bytes()),
        (false, upgrade.as_bytes()[..40].to_vec()),
        (false, upgrade.as_bytes().to_vec()),
        (false, known.clone()),
        (false, [&known[..], &text[..20]].concat()),
        (false, [&known[..], &text].concat()),
    ]
}

#[test]
fn resets_at_every_stage_leave_nothing_behind() {
    let siege = Siege::of(Setup::shards(2));
    let world = siege.world("resets");
    let user = world.person();
    let openings = openings(&world, user);
    let process = siege.server().id();
    let files = || open_files(process).expect("it runs").0;
    let before = files();
    at_once(4, |part| {
        for number in (part..RESETS).step_by(4) {
            let (is_http, said) = &openings[number / 4 % openings.len()];
            let mut stream = raw(if *is_http { world.http } else { world.ws });
            // A peer that is closed already is no failure.
            let _ = stream.write_all(said);
            reset(&stream);
            if number.is_multiple_of(7) {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    });
    siege.until_left_alone(0);
    eventually("no descriptor is left", || (files() <= before + 8).then_some(()));
    world.connect(user).catch_up();
    siege.end(16 * MIB);
}

#[test]
fn one_user_from_a_thousand_connections_has_sixteen() {
    let siege = Siege::of(Setup::shards(2));
    let world = siege.world("everywhere");
    let (user, friend) = world.pairs()[1];
    let devices = at_once(4, |part| {
        let connect = |_| world.connect(user).connection;
        (part..DEVICES).step_by(4).map(connect).collect::<Vec<Connection>>()
    });
    let mut devices: Vec<Connection> = devices.into_iter().flatten().collect();
    siege.until_left_alone(DEVICES_MAX);
    let id = world.connect(friend).send(user, "to all of you").to_string();
    let (mut told, mut replaced) = (0, 0);
    for device in &mut devices {
        match device.next(Instant::now() + anser_loadtest::PATIENCE) {
            Received::Text(text) if text.contains(&id) => told += 1,
            Received::Close(code, _) => {
                assert_eq!(code, 4409);
                replaced += 1;
            }
            other => panic!("the message or a close was expected, not {other:?}"),
        }
    }
    assert_eq!((told, replaced), (DEVICES_MAX, DEVICES - DEVICES_MAX));
    siege.end(16 * MIB);
}
