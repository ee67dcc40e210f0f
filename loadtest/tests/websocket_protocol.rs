//! RFC 6455 over raw sockets: the handshake, frames, fragments, control frames and close codes.
#![allow(missing_docs)]

use anser_loadtest::PATIENCE;
use anser_loadtest::http::Client as HttpClient;
use anser_loadtest::on_every_shard_count;
use anser_loadtest::websocket::{Connection, Frame, KEY, Received, opcode, upgrade_request};
use anser_loadtest::world::{Client, World, fresh_id, ids};
use serde_json::json;
use std::time::Instant;

on_every_shard_count! {
    the_upgrade_works_on_both_ports,
    upgrades_that_are_none_are_refused,
    no_extension_or_protocol_is_agreed,
    another_implementation_chats,
    binary_frames_close_1003,
    violations_close_1002,
    invalid_utf8_closes_1007,
    a_frame_of_exactly_the_limit_is_read,
    more_than_the_limit_closes_1009,
    fragments_are_put_together,
    frames_may_come_byte_by_byte,
    pings_are_answered_and_pongs_ignored,
    a_close_is_answered_with_its_code,
    a_vanished_peer_is_forgotten,
}

fn the_upgrade_works_on_both_ports(world: &World) {
    let user = world.person();
    for address in [world.ws, world.http] {
        let mut client = Client::over(Connection::open(address));
        client.authenticate(user);
        client.send(user, "over this port");
    }
    assert_eq!(world.page(user).len(), 2);
}

fn upgrades_that_are_none_are_refused(world: &World) {
    let legal = upgrade_request("/ws");
    for (from, to, allowed) in [
        ("/ws", "/nowhere", &[404][..]),
        ("GET", "POST", &[405, 400]),
        ("Version: 13", "Version: 8", &[426, 400]),
        ("Sec-WebSocket-Version: 13\r\n", "", &[426, 400]),
        (KEY, "c2hvcnQ=", &[400]),
        (KEY, "!", &[400]),
        (&format!("Sec-WebSocket-Key: {KEY}\r\n"), "", &[400]),
        ("Upgrade: websocket", "Upgrade: h2c", &[426, 400]),
        ("Connection: Upgrade", "Connection: keep-alive", &[426, 400]),
    ] {
        for address in [world.ws, world.http] {
            let mut client = HttpClient::connect(address);
            client.send_all_you_can(legal.replace(from, to));
            let answer = client.answer();
            assert!(allowed.contains(&answer.status), "{to:?}: {answer:?}");
            assert_eq!(answer.json()["code"], answer.status, "{to:?}: {answer:?}");
        }
    }
}

fn no_extension_or_protocol_is_agreed(world: &World) {
    let request = upgrade_request("/ws").replace(
        "Host",
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\
         Sec-WebSocket-Protocol: chat, superchat\r\nOrigin: http://web.example\r\nHost",
    );
    let request = request.replace("Connection: Upgrade", "connection: keep-alive, UPGRADE");
    let mut client = HttpClient::connect(world.ws);
    client.send(request);
    let answer = client.answer();
    assert_eq!(answer.status, 101, "{answer:?}");
    assert_eq!(answer.header("sec-websocket-extensions"), None);
    assert_eq!(answer.header("sec-websocket-protocol"), None);
}

fn another_implementation_chats(world: &World) {
    use tungstenite::Message;
    for (anna, bo) in world.pairs() {
        let connect = |user: i64| {
            let stream = std::net::TcpStream::connect(world.ws).expect("the server listens");
            stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
            let url = format!("ws://{}/ws", world.ws);
            let (mut socket, _) = tungstenite::client(url, stream).expect("a handshake");
            let auth = json!({"msgType": "Auth", "fromUserId": user, "content": "t", "id": 7});
            socket.send(Message::text(auth.to_string())).expect("it reads");
            assert!(socket.read().expect("an Ack").to_text().expect("text").contains("srcId"));
            socket
        };
        let (mut first, mut second) = (connect(anna), connect(bo));
        for number in 0..20 {
            let text = json!({"id": fresh_id(), "fromUserId": anna, "toUserId": bo,
                "chatType": "Single", "msgType": "Text", "content": format!("你好 {number}")});
            first.send(Message::text(text.to_string())).expect("it reads");
            let ack = first.read().expect("an Ack");
            assert!(ack.to_text().expect("text").contains(&text["id"].to_string()));
            let pushed = second.read().expect("a push");
            assert!(pushed.to_text().expect("text").contains(&format!("你好 {number}")));
        }
        first.close(None).expect("it reads");
        while let Ok(message) = first.read() {
            assert!(message.is_close(), "{message}");
        }
    }
}

fn binary_frames_close_1003(world: &World) {
    for mut connection in [Connection::open(world.ws), world.connect(world.person()).connection] {
        connection.send(&Frame::whole(opcode::BINARY, b"{\"msgType\":\"Heartbeat\"}"));
        connection.expect_close(1003);
    }
}

fn violations_close_1002(world: &World) {
    let control = |opcode, payload| Frame { first_byte: opcode, masked: true, payload };
    let long = [b'x'; 126];
    let whole = Frame::whole(opcode::TEXT, b"{}");
    let mut violations: Vec<(&str, Vec<u8>)> = vec![
        ("an unmasked frame", Frame { masked: false, ..whole.clone() }.bytes()),
        ("a fragmented Ping", control(opcode::PING, b"x").bytes()),
        ("a fragmented Close", control(opcode::CLOSE, b"").bytes()),
        ("a Ping of 126 bytes", Frame::whole(opcode::PING, &long).bytes()),
        ("a Close of 126 bytes", Frame::whole(opcode::CLOSE, &long).bytes()),
        ("a continuation of nothing", Frame::whole(opcode::CONTINUATION, b"x").bytes()),
        ("a Close of one byte", Frame::whole(opcode::CLOSE, b"x").bytes()),
        ("a length of two bytes that fits one", [&[0x81, 0xFE, 0, 2][..], b"mask", b"xx"].concat()),
        (
            "a length of eight bytes that fits one",
            [&[0x81, 0xFF, 0, 0, 0, 0, 0, 0, 0, 2][..], b"mask", b"xx"].concat(),
        ),
    ];
    for bit in [0x40, 0x20, 0x10] {
        let frame = Frame { first_byte: 0x81 | bit, ..whole.clone() };
        violations.push(("a reserved bit", frame.bytes()));
    }
    for opcode in [3, 4, 7, 11, 15] {
        violations.push(("a reserved opcode", Frame::whole(opcode, b"x").bytes()));
    }
    let text_in_fragments = [Frame::part(opcode::TEXT, b"{").bytes(), whole.bytes()].concat();
    violations.push(("a text between fragments", text_in_fragments));
    for code in [0_u16, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535] {
        let close = Frame::whole(opcode::CLOSE, &code.to_be_bytes()).bytes();
        violations.push(("a Close with a code that is not to be sent", close));
    }
    for (what, bytes) in violations {
        let mut connection = Connection::open(world.ws);
        connection.send_all_you_can(&bytes);
        assert_eq!(connection.until_closed(PATIENCE), 1002, "{what}: {bytes:02x?}");
    }
    let mut known = world.connect(world.person());
    known.connection.send_bytes(&Frame { masked: false, ..whole }.bytes());
    known.connection.expect_close(1002);
}

fn invalid_utf8_closes_1007(world: &World) {
    let bad: [&[u8]; 6] = [
        b"\xff",
        b"{\"a\":\"\xc3\"}",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xc0\xaf",
        b"\xe9\x9b",
    ];
    for payload in bad {
        let mut connection = Connection::open(world.ws);
        connection.send(&Frame::whole(opcode::TEXT, payload));
        connection.expect_close(1007);
        let mut in_parts = Connection::open(world.ws);
        let (first, second) = payload.split_at(payload.len() / 2);
        let bytes = [Frame::part(opcode::TEXT, first), Frame::whole(opcode::CONTINUATION, second)];
        in_parts.send_all_you_can(&bytes.map(|frame| frame.bytes()).concat());
        in_parts.expect_close(1007);
    }
    // The first wrong byte is enough: the rest of the frame, or of the message, never comes.
    let text = Frame::whole(opcode::TEXT, b"{\"msgType\":\"\xff and so on").bytes();
    let begun = Frame::part(opcode::TEXT, b"{\"msgType\":\"\xff").bytes();
    for unfinished in [&text[..6 + 13], &begun] {
        let mut waiting = Connection::open(world.ws);
        waiting.send_bytes(unfinished);
        waiting.expect_close(1007);
    }
    let mut reason = Connection::open(world.ws);
    reason.send(&Frame::whole(opcode::CLOSE, &[0x03, 0xE8, 0xFF]));
    let code = reason.until_closed(PATIENCE);
    assert!(matches!(code, 1002 | 1007), "a reason that is no UTF-8: {code}");
}

/// A legal Send of exactly this many bytes.
fn sized(to: i64, id: i64, bytes: usize) -> String {
    let frame = |padding: usize| {
        json!({"id": id, "toUserId": to, "msgType": "Text", "content": "x".repeat(padding)})
            .to_string()
    };
    frame(bytes - frame(0).len())
}

fn a_frame_of_exactly_the_limit_is_read(world: &World) {
    for (anna, bo) in world.pairs() {
        let (mut client, mut peer) = (world.connect(anna), world.connect(bo));
        for bytes in [125, 126, 127, 65_535, 65_536] {
            let id = fresh_id();
            let text = sized(bo, id, bytes);
            assert_eq!(text.len(), bytes);
            client.connection.send_text(&text);
            client.expect_ack(id);
            peer.expect_message(id);
        }
    }
}

fn more_than_the_limit_closes_1009(world: &World) {
    let [anna, bo] = world.people();
    let mut client = world.connect(anna);
    client.connection.send_all_you_can(
        &Frame::whole(opcode::TEXT, sized(bo, fresh_id(), 65_537).as_bytes()).bytes(),
    );
    client.connection.expect_close(1009);

    let mut announced = world.connect(anna);
    let head = [&[0x81, 0xFF, 0x7F][..], &[0xFF; 7], b"mask"].concat();
    announced.connection.send_bytes(&head);
    announced.connection.expect_close(1009);

    let mut in_parts = world.connect(anna);
    let half = [b'x'; 40_000];
    in_parts.connection.send_bytes(&Frame::part(opcode::TEXT, &half).bytes());
    in_parts.connection.send_all_you_can(&Frame::part(opcode::CONTINUATION, &half).bytes());
    in_parts.connection.expect_close(1009);
    assert_eq!(ids(&world.page(bo)), Vec::<i64>::new());
}

fn fragments_are_put_together(world: &World) {
    for (anna, bo) in world.pairs() {
        let (mut client, mut peer) = (world.connect(anna), world.connect(bo));
        let id = fresh_id();
        let text = json!({"id": id, "toUserId": bo, "msgType": "Text", "content": "鸿雁传书"});
        let text = text.to_string();
        let mut bytes = Frame::part(opcode::TEXT, b"").bytes();
        for (place, byte) in text.bytes().enumerate() {
            Frame::part(opcode::CONTINUATION, &[byte]).write(&mut bytes);
            if place % 16 == 0 {
                Frame::whole(opcode::PING, &[place as u8]).write(&mut bytes);
            }
        }
        Frame::whole(opcode::CONTINUATION, b"").write(&mut bytes);
        client.connection.send_bytes(&bytes);
        client.expect_ack(id);
        assert_eq!(peer.expect_message(id).json["content"], "鸿雁传书");
        let (id, half) = (fresh_id(), 32_768);
        let text = sized(bo, id, 65_536);
        client.connection.send(&Frame::part(opcode::TEXT, &text.as_bytes()[..half]));
        client.connection.send(&Frame::whole(opcode::CONTINUATION, &text.as_bytes()[half..]));
        client.expect_ack(id);
        peer.expect_message(id);
    }
}

fn frames_may_come_byte_by_byte(world: &World) {
    let [anna, bo] = world.people();
    let mut client = world.connect(anna);
    let id = fresh_id();
    let draft = client.draft(bo, id, "slowly").to_string();
    for byte in Frame::whole(opcode::TEXT, draft.as_bytes()).bytes() {
        client.connection.send_bytes(&[byte]);
    }
    client.expect_ack(id);
}

fn pings_are_answered_and_pongs_ignored(world: &World) {
    let mut strangers = Connection::open(world.ws);
    let mut known = world.connect(world.person());
    for connection in [&mut strangers, &mut known.connection] {
        for payload in [&b""[..], b"are you there", &[0xFF; 125]] {
            connection.send(&Frame::whole(opcode::PONG, b"unasked"));
            connection.send(&Frame::whole(opcode::PING, payload));
            let answer = connection.next(Instant::now() + PATIENCE);
            assert_eq!(answer, Received::Pong(payload.to_vec()));
        }
    }
}

fn a_close_is_answered_with_its_code(world: &World) {
    for code in [1000_u16, 1001, 1003, 1007, 1011, 3000, 4000, 4999] {
        let mut connection = Connection::open(world.ws);
        let payload = [&code.to_be_bytes()[..], b"goodbye"].concat();
        connection.send(&Frame::whole(opcode::CLOSE, &payload));
        assert_eq!(connection.until_closed(PATIENCE), code);
        assert_eq!(connection.next(Instant::now() + PATIENCE), Received::Gone);
    }
    let mut client = world.connect(world.person());
    client.connection.send(&Frame::whole(opcode::CLOSE, b""));
    let code = client.connection.until_closed(PATIENCE);
    assert!(matches!(code, 1000 | 1005), "{code}");

    let [anna, bo] = world.people();
    let mut after = world.connect(anna);
    let draft = after.draft(bo, fresh_id(), "after the end").to_string();
    let close = Frame::whole(opcode::CLOSE, &1000_u16.to_be_bytes()).bytes();
    let text = Frame::whole(opcode::TEXT, draft.as_bytes()).bytes();
    after.connection.send_bytes(&[close, text].concat());
    assert_eq!(after.connection.until_closed(PATIENCE), 1000);
    assert_eq!(ids(&world.page(bo)), Vec::<i64>::new(), "nothing after a Close is read");
}

fn a_vanished_peer_is_forgotten(world: &World) {
    let (anna, bo) = world.pairs()[1];
    let mut client = world.connect(anna);
    for _ in 0..20 {
        let mut peer = world.connect(bo);
        peer.connection.send_bytes(&[0x81, 0xFE, 0xFF]);
        drop(peer);
    }
    let mut last = world.connect(bo);
    let id = client.send(bo, "are you back?");
    last.expect_message(id);
}
