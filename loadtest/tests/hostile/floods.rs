//! Those who send as much as they can: endless heads, fragments and chunks, pings, acks of nothing,
//! bad frames, Auths. Each costs its own connection, and others wait their turn with it.

use super::raw;
use anser_loadtest::hostile::{MIB, Siege, at_once};
use anser_loadtest::http;
use anser_loadtest::server::Setup;
use anser_loadtest::websocket::{Connection, Frame, Received, opcode, upgrade_request};
use anser_loadtest::world::{World, fresh_id};
use serde_json::json;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// How long a flood lasts.
const FLOOD: Duration = Duration::from_millis(2_500);
/// Threads that flood at once, each its own connections.
const THREADS: usize = 4;

/// Whether it goes to the HTTP port, how it begins, what follows without end, what is answered.
type Endless<'a> = (bool, &'a [u8], &'a [u8], &'a [u8]);

/// Writes the same again and again, until the flood is over or the connection.
fn flood(stream: &mut TcpStream, bytes: &[u8], until: Instant) -> usize {
    let mut written = 0;
    stream.set_write_timeout(Some(Duration::from_millis(100))).expect("not zero");
    while Instant::now() < until {
        match stream.write(&bytes[written % bytes.len()..]) {
            Ok(count) => written += count,
            // The server reads no more just now.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => break,
        }
    }
    written
}

/// Reads until the server has closed; what it said.
fn last_words(stream: &mut TcpStream) -> Vec<u8> {
    let (mut all, mut part) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut part) {
            Ok(0) => return all,
            Ok(count) => all.extend_from_slice(&part[..count]),
            // What was sent behind the end makes the kernel reset instead of close.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return all,
            Err(error) => panic!("{error}; so far {}", String::from_utf8_lossy(&all)),
        }
    }
}

#[test]
fn heads_chunks_and_fragments_without_end_are_cut_at_their_bounds() {
    let siege = Siege::of(Setup::shards(2));
    let world = siege.world("endless");
    let until = Instant::now() + FLOOD;
    let chunked =
        "POST /im/message/get/id HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    let long_line = "A".repeat(1000);
    let part = Frame::part(opcode::CONTINUATION, &[b' '; 1000]).bytes();
    let upgrade = upgrade_request("/ws");
    let text = [upgrade.as_bytes(), &Frame::part(opcode::TEXT, b"{").bytes()];
    let endless: [Endless<'_>; 6] = [
        (true, b"GET / HTTP/1.1\r\nHost: h\r\n", b"A: b\r\n", b"HTTP/1.1 431"),
        (true, b"GET / HTTP/1.1\r\nHost: h\r\nA: ", long_line.as_bytes(), b"HTTP/1.1 431"),
        (true, b"GET /", long_line.as_bytes(), b"HTTP/1.1 414"),
        (true, chunked.as_bytes(), long_line.as_bytes(), b"HTTP/1.1 400"),
        (true, chunked.as_bytes(), b"1;a=b\r\nx\r\n", b"HTTP/1.1 413"),
        (false, &text.concat(), &part, &1009_u16.to_be_bytes()),
    ];
    let cut: Vec<usize> = at_once(THREADS, |number| {
        let mut count = 0;
        while Instant::now() < until {
            let (is_http, begin, more, end) = endless[(number + count) % endless.len()];
            let mut stream = raw(if is_http { world.http } else { world.ws });
            let _ = stream.write_all(begin);
            // Four megabytes at most: each is cut far before.
            let part = more.repeat((64 << 10) / more.len());
            for _ in 0..64 {
                if stream.write_all(&part).is_err() {
                    break;
                }
            }
            let said = last_words(&mut stream);
            let is_said = said.windows(end.len()).any(|window| window == end);
            // The kernel may have thrown it away with what was sent behind the end.
            assert!(is_said || said.is_empty(), "{:?}", String::from_utf8_lossy(&said));
            count += 1;
        }
        count
    });
    assert!(cut.iter().all(|count| *count >= 3), "each kind came: {cut:?}");
    siege.end(16 * MIB);
}

/// Floods as known users, and reads nothing.
fn flood_as_known(world: &World, bytes: &[u8], until: Instant) -> (Vec<Connection>, usize) {
    let done = at_once(THREADS, |_| {
        let mut connection = world.connect(world.person()).connection;
        let written = flood(connection.stream(), bytes, until);
        (connection, written)
    });
    let written = done.iter().map(|(_, written)| written).sum();
    (done.into_iter().map(|(connection, _)| connection).collect(), written)
}

#[test]
fn pings_whose_pongs_nobody_reads_are_bounded() {
    let siege = Siege::of(Setup::shards(2));
    let world = siege.world("pings");
    let ping = Frame::whole(opcode::PING, &[0x55; 125]).bytes().repeat(500);
    let (connections, written) = flood_as_known(&world, &ping, Instant::now() + FLOOD);
    assert!(written > 1 << 20, "a flood, not {written} bytes");
    drop(connections);
    siege.end(THREADS as u64 * 4 * MIB);
}

/// An Ack of 4,096 ids costs as much as thousands of messages: it must not hold up others.
#[test]
fn acks_of_thousands_of_unknown_ids_hold_up_nobody() {
    let siege = Siege::of(Setup::shards(2));
    let world = siege.world("acks");
    let first = fresh_id();
    let ids: Vec<i64> = (0..3_000).map(|number| first + number).collect();
    let content = json!({"srcIds": ids}).to_string();
    let ack = json!({"msgType": "Ack", "content": content}).to_string();
    let frame = Frame::whole(opcode::TEXT, ack.as_bytes()).bytes();
    let (connections, written) = flood_as_known(&world, &frame, Instant::now() + FLOOD);
    assert!(written > 4 * frame.len(), "a flood, not {written} bytes");
    drop(connections);
    siege.end(16 * MIB);
}

#[test]
fn frames_that_mean_nothing_hold_up_nobody() {
    let siege = Siege::of(Setup::shards(2));
    let world = siege.world("meaningless");
    let mut frames = Vec::new();
    let beat = json!({"msgType": "Heartbeat"}).to_string();
    for number in 0..200 {
        // Nineteen bad ones are forgiven by a good one.
        let text = if number % 20 == 19 { beat.as_str() } else { "{}" };
        Frame::whole(opcode::TEXT, text.as_bytes()).write(&mut frames);
        Frame::part(opcode::TEXT, b"").write(&mut frames);
        (0..20).for_each(|_| Frame::part(opcode::CONTINUATION, b"").write(&mut frames));
        Frame::whole(opcode::CONTINUATION, beat.as_bytes()).write(&mut frames);
    }
    let (connections, written) = flood_as_known(&world, &frames, Instant::now() + FLOOD);
    assert!(written > frames.len(), "a flood, not {written} bytes");
    drop(connections);
    siege.end(16 * MIB);
}

#[test]
fn auths_without_end_hold_up_nobody() {
    let siege = Siege::of(Setup::shards(2));
    let world = siege.world("auths");
    let user = world.person();
    let auth = |user: i64| json!({"msgType": "Auth", "fromUserId": user, "content": "x"});
    let again = Frame::whole(opcode::TEXT, auth(user).to_string().as_bytes()).bytes().repeat(100);
    let nobody = Frame::whole(opcode::TEXT, auth(15_000_000).to_string().as_bytes()).bytes();
    let until = Instant::now() + FLOOD;
    let refused = at_once(THREADS, |number| {
        if number == 0 {
            let mut known = world.connect(user).connection;
            flood(known.stream(), &again, until);
            return 0;
        }
        let mut count = 0;
        while Instant::now() < until {
            let mut stranger = Connection::open_with(world.ws, &nobody);
            assert_eq!(stranger.until_closed(anser_loadtest::PATIENCE), 4401);
            count += 1;
        }
        count
    });
    assert!(refused.iter().sum::<i32>() > 10, "a storm, not {refused:?}");
    siege.end(16 * MIB);
}

/// A frame that says how long it will be and then says nothing costs what has come of it.
#[test]
fn lengths_that_are_only_declared_cost_nothing() {
    let siege = Siege::of(Setup::shards(2));
    let world = siege.world("declared");
    let lengths = [65_537, 1 << 31, 1 << 32, (1 << 63) - 1, 1 << 63, u64::MAX];
    let declared = |length: u64| [&[0x81, 0xFF][..], &length.to_be_bytes(), b"mask"].concat();
    for length in lengths {
        let mut connection = Connection::open_with(world.ws, &declared(length));
        let code = connection.until_closed(anser_loadtest::PATIENCE);
        // The highest bit must be 0.
        let expected = if length >> 63 == 1 { [1002, 1009] } else { [1009; 2] };
        assert!(expected.contains(&code), "{length}: {code}");
    }
    for length in ["1048577", "4294967296", "9223372036854775808", "18446744073709551616"] {
        let mut client = http::Client::connect(world.http);
        client.send_all_you_can(format!(
            "POST /im/message/get/id HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n"
        ));
        assert_eq!(client.answer().status, 413, "{length}");
    }
    let open = |number: usize| -> Vec<TcpStream> {
        let one = |count: usize| {
            let mut stream = raw(if count.is_multiple_of(2) { world.http } else { world.ws });
            let begin = match count % 2 {
                0 => b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1048576\r\n\r\n{".to_vec(),
                _ => [upgrade_request("/ws").as_bytes(), &declared(65_536)].concat(),
            };
            stream.write_all(&begin).expect("the server reads");
            stream
        };
        (number..500).step_by(2).map(one).collect()
    };
    let held: Vec<TcpStream> = at_once(2, open).into_iter().flatten().collect();
    assert_eq!(held.len(), 500);
    let mut alive = Connection::open(world.ws);
    alive.send(&Frame::whole(opcode::PING, b"all is read"));
    assert!(matches!(alive.next(Instant::now() + anser_loadtest::PATIENCE), Received::Pong(_)));
    siege.end(8 * MIB);
}
