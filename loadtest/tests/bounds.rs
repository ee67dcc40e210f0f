//! WebSocket, points 8 and 10, and the totals of a shard: what happens at each bound, and that
//! it happens to nobody else.
#![allow(missing_docs)]

use anser_loadtest::PATIENCE;
use anser_loadtest::http;
use anser_loadtest::json::Integers;
use anser_loadtest::on_every_shard_count;
use anser_loadtest::server::{Setup, eventually};
use anser_loadtest::websocket::{Connection, Frame, Received, opcode};
use anser_loadtest::world::{Client, World, ids};
use serde_json::json;
use std::time::Instant;

on_every_shard_count! {
    a_user_holds_sixteen_connections_and_the_next_closes_the_oldest,
    twenty_refused_frames_in_a_row_close_1008,
    a_good_frame_between_bad_ones_forgives_them,
    who_does_not_read_is_cut_and_loses_nothing,
    a_bad_peer_disturbs_nobody_else,
}

fn a_user_holds_sixteen_connections_and_the_next_closes_the_oldest(world: &World) {
    for (anna, bo) in world.pairs() {
        let mut devices: Vec<Client> = (0..16).map(|_| world.connect(anna)).collect();
        let mut peer = world.connect(bo);
        let before = peer.send(anna, "to sixteen");
        devices.iter_mut().for_each(|device| drop(device.expect_message(before)));
        devices.push(world.connect(anna));
        devices.remove(0).connection.expect_close(4409);
        let after = peer.send(anna, "to sixteen again");
        devices.iter_mut().for_each(|device| drop(device.expect_message(after)));
        devices.push(world.connect(anna));
        devices.remove(0).connection.expect_close(4409);
        peer.expect_nothing_more();
    }
}

fn twenty_refused_frames_in_a_row_close_1008(world: &World) {
    let [anna, bo] = world.people();
    let mut stubborn = world.connect(anna);
    let mut peer = world.connect(bo);
    for number in 0..20 {
        match number % 3 {
            0 => stubborn.connection.send_text("no json"),
            1 => stubborn.say(json!({"id": 5, "toUserId": 15_000_000, "msgType": "Text"})),
            _ => stubborn.say(json!({"msgType": "Smell"})),
        }
        stubborn.expect_error();
    }
    stubborn.connection.expect_close(1008);
    let id = world.connect(anna).send(bo, "I am back");
    peer.expect_message(id);
}

fn a_good_frame_between_bad_ones_forgives_them(world: &World) {
    let anna = world.person();
    let mut client = world.connect(anna);
    for round in 0..4 {
        for _ in 0..19 {
            client.connection.send_text("no json");
            client.expect_error();
        }
        match round {
            0 => drop(client.send(anna, "good")),
            1 => client.say(json!({"msgType": "Heartbeat"})),
            2 => client.ack(123),
            _ => client.catch_up(),
        }
    }
    client.catch_up();
}

fn who_does_not_read_is_cut_and_loses_nothing(world: &World) {
    for (anna, bo) in world.pairs() {
        let (mut client, mut awake) = (world.connect(anna), world.connect(bo));
        let mut asleep = world.stranger();
        let socket = asleep.connection.stream();
        rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 16 * 1024).expect("a socket");
        asleep.authenticate(bo);
        let content = "x".repeat(60_000);
        let mut sent = Vec::new();
        for _ in 0..20 {
            let part: Vec<i64> = (0..10).map(|_| client.post(bo, &content)).collect();
            part.iter().for_each(|id| drop(client.expect_ack(*id)));
            part.iter().for_each(|id| drop(awake.expect_message(*id)));
            sent.extend(part);
        }
        let mut came = Vec::new();
        let code = loop {
            match asleep.connection.next(Instant::now() + PATIENCE) {
                Received::Text(text) => came.push(anser_loadtest::json::value(&text).int("id")),
                Received::Ping(_) | Received::Pong(_) => {}
                Received::Close(code, _) => break code,
                other => panic!("a close was expected, not {other:?}"),
            }
        };
        assert_eq!(code, 1013);
        assert!(came.len() < sent.len(), "12 MB do not fit into the sockets and 1 MiB");
        assert_eq!(came, sent[..came.len()], "what came, came in order and whole");
        assert_eq!(ids(&world.offline(bo)), sent, "nothing is lost");
        let next = client.send(bo, "the other device is still served");
        awake.expect_message(next);
    }
}

fn a_bad_peer_disturbs_nobody_else(world: &World) {
    let (anna, bo) = world.pairs()[1];
    let (mut client, mut peer) = (world.connect(anna), world.connect(bo));
    let garbage: [&[u8]; 5] = [
        b"\x00\x00\x00\x00",
        b"\xff\xff\xff\xff\xff\xff\xff\xff",
        b"GET / HTTP/1.1\r\n\r\n",
        &[0x81, 0xFF, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF],
        &[0x88, 0x80, 1, 2, 3, 4],
    ];
    for round in 0..40 {
        let mut bad = if round % 2 == 0 {
            Connection::open(world.ws)
        } else {
            world.connect(anna).connection
        };
        bad.send_all_you_can(garbage[round % garbage.len()]);
        let mut raw = http::Client::connect(if round % 3 == 0 { world.ws } else { world.http });
        raw.send_all_you_can(garbage[(round + 1) % garbage.len()]);
        if round % 5 == 0 {
            let id = client.send(bo, "undisturbed");
            peer.expect_message(id);
        }
    }
}

#[test]
fn unfinished_bodies_of_a_shard_are_bounded_and_the_rest_is_served() {
    let server = Setup::shards(1).start();
    let world = World::on(&server, "bodies");
    let mut body = world.identity("x");
    body["padding"] = json!("x".repeat((1 << 20) - 200));
    let request = http::post("/im/user/register", &body.to_string());
    let (start, end) = request.split_at(request.len() - 1);
    let mut holders: Vec<http::Client> = Vec::new();
    for _ in 0..90 {
        let mut client = http::Client::connect(world.http);
        client.send_all_you_can(start);
        holders.push(client);
    }
    let mut statuses = Vec::new();
    for holder in &mut holders {
        holder.send_all_you_can(end);
        statuses.push(holder.answer().status);
    }
    let count = |status| statuses.iter().filter(|other| **other == status).count();
    assert_eq!(count(200) + count(503), 90, "{statuses:?}");
    assert!(count(503) >= 1 && count(200) >= 40, "{statuses:?}");
    world.register("still served");
}

#[test]
fn frames_held_before_auth_are_bounded_for_a_shard() {
    let server = Setup::shards(1).start();
    let world = World::on(&server, "held");
    let [anna, bo] = world.people();
    let mut known = world.connect(anna);
    let held = json!({"toUserId": bo, "msgType": "Text", "content": "x".repeat(60_000)});
    let frame = Frame::whole(opcode::TEXT, held.to_string().as_bytes()).bytes();
    let mut strangers: Vec<Connection> = Vec::new();
    for _ in 0..320 {
        let mut stranger = Connection::open(world.ws);
        stranger.send_all_you_can(&frame);
        strangers.push(stranger);
    }
    known.send(bo, "undisturbed");
    // All that a stranger sent is read before its Ping is answered, or it is closed.
    let mut cut = 0;
    for stranger in &mut strangers {
        stranger.send_all_you_can(&Frame::whole(opcode::PING, b"?").bytes());
        match stranger.next(Instant::now() + PATIENCE) {
            Received::Pong(_) => {}
            Received::Close(code, _) => {
                assert_eq!(code, 1013);
                cut += 1;
            }
            other => panic!("a Pong or a Close was expected, not {other:?}"),
        }
    }
    assert!((1..160).contains(&cut), "{cut} of 320 strangers with 60 kB each were cut");
    known.send(bo, "still undisturbed");
}

/// Invariant 2 of node::listener.
#[test]
fn without_descriptors_accepting_pauses_and_the_rest_goes_on() {
    let server = Setup::shards(2).open_files(300).start();
    let world = World::on(&server, "descriptors");
    let [anna, bo] = world.people();
    let (mut client, mut peer) = (world.connect(anna), world.connect(bo));
    let waiting: Vec<_> = (0..400)
        .map(|_| std::net::TcpStream::connect(world.ws).expect("the backlog takes it"))
        .collect();
    for _ in 0..20 {
        let id = client.send(bo, "goes on");
        peer.expect_message(id);
        peer.ack(id);
    }
    peer.catch_up();
    let before = cpu_ms(server.id());
    let begun = Instant::now();
    while begun.elapsed().as_millis() < 500 {
        let id = client.send(bo, "goes on");
        peer.expect_message(id);
        anser_loadtest::server::pause();
    }
    let busy = cpu_ms(server.id()) - before;
    assert!(busy < 600, "{busy} ms of CPU in {:?}: it spins", begun.elapsed());
    drop(waiting);
    // While those who waited are seen to have gone, one more may be closed as they were.
    let has_room = || {
        let all_that_are_left = server.figure("anser_connections") <= 2.0;
        all_that_are_left && server.figure("anser_accept_paused") == 0.0
    };
    eventually("all who waited are gone", || has_room().then_some(()));
    let cleo = world.person();
    let id = world.connect(cleo).send(bo, "there is room again");
    peer.expect_message(id);
}

fn cpu_ms(process: u32) -> u64 {
    anser_loadtest::load::process::cpu_ms(process).expect("the server runs")
}

#[test]
fn ids_stop_ten_seconds_ahead_of_the_clock_and_go_on_later() {
    let server = Setup::shards(4).start();
    let world = World::on(&server, "minting");
    let mut client = http::Client::connect(world.http);
    let request = http::post("/im/message/get/id", "{\"count\":1000}");
    let deadline = Instant::now() + PATIENCE;
    let mut last = 0;
    let refused = 'minting: loop {
        assert!(Instant::now() < deadline, "no 429 though ids were minted as fast as can be");
        client.send(request.repeat(64));
        let answers: Vec<http::Answer> = (0..64).map(|_| client.answer()).collect();
        for answer in answers {
            if answer.status != 200 {
                break 'minting answer;
            }
            let first = answer.json().int("id");
            assert!(first > last);
            last = first;
        }
    };
    assert_eq!((refused.status, refused.json().int("code")), (429, 429), "{refused:?}");
    let id = anser_loadtest::server::eventually("ids again", || {
        let answer = world.post("/im/message/get/id", json!({}));
        (answer.status == 200).then(|| answer.json().int("id"))
    });
    assert!(id > last);
}
