//! Tests of the ring's WebSocket clients against servers of a few lines, which misbehave.

use super::*;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Instant;

const MOST: Duration = Duration::from_millis(50);

/// A server that upgrades one connection and then does as told.
fn server<T: Send + 'static>(
    behave: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> (SocketAddr, JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let serve = move || {
        let (mut stream, _) = listener.accept().expect("a client");
        stream.set_nodelay(true).expect("a TCP socket");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("a request");
            head.extend(byte);
        }
        assert!(head.starts_with(b"GET /ws HTTP/1.1\r\n"), "{}", head.escape_ascii());
        behave(stream)
    };
    (address, std::thread::spawn(serve))
}

const UPGRADE: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";

fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let masked = false;
    Frame { first_byte: 0x80 | opcode, masked, payload }.bytes()
}

/// What was said, as text.
fn word(said: &Said<'_>) -> String {
    match said {
        Said::Upgraded => "upgraded".to_owned(),
        Said::Text(text) | Said::Bytes(text) => String::from_utf8_lossy(text).into_owned(),
        Said::Gone(why) => format!("gone: {why}"),
    }
}

/// All that is said until the connection ends, or an error.
fn all_said(sockets: &mut Sockets) -> Result<Vec<String>> {
    let (mut all, begun) = (Vec::new(), Instant::now());
    while !all.last().is_some_and(|last: &String| last.starts_with("gone")) {
        assert!(begun.elapsed() < crate::PATIENCE, "the end never came after {all:?}");
        sockets.round(MOST, |_, said, _| {
            all.push(word(&said));
            Ok(())
        })?;
    }
    Ok(all)
}

#[test]
fn frames_cut_into_single_bytes_are_read_whole_and_pings_answered() {
    let long = "x".repeat(70_000);
    let middle = "y".repeat(300);
    let texts = ["", "one", middle.as_str(), long.as_str()];
    let mut bytes = UPGRADE.to_vec();
    for text in texts {
        bytes.extend(frame(opcode::TEXT, text.as_bytes()));
        bytes.extend(frame(opcode::PING, b"?"));
    }
    let (address, serving) = server(move |mut stream| {
        let (cut, rest) = bytes.split_at(800);
        cut.iter().for_each(|byte| stream.write_all(&[*byte]).expect("written"));
        rest.chunks(4_097).for_each(|part| stream.write_all(part).expect("written"));
        let mut pongs = vec![0; 4 * Frame::whole(opcode::PONG, b"?").bytes().len()];
        stream.read_exact(&mut pongs).expect("every Ping is answered");
        pongs
    });
    let mut sockets = Sockets::new().expect("a ring");
    sockets.open(address).expect("begun");
    let mut said = all_said(&mut sockets).expect("a server like others");
    assert_eq!(said.pop().as_deref(), Some("gone: closed without a Close"));
    assert_eq!(said.remove(0), "upgraded");
    assert!(said == texts, "{} texts", said.len());
    let pongs = serving.join().expect("the server ends");
    assert_eq!(pongs, Frame::whole(opcode::PONG, b"?").bytes().repeat(4));
}

#[test]
fn a_peer_that_closes_is_told_once_and_its_place_can_be_taken_again() {
    let mut sockets = Sockets::new().expect("a ring");
    let farewell = |bytes: Vec<u8>| {
        server(move |mut stream| stream.write_all(&[UPGRADE, &bytes].concat()).expect("written"))
    };
    let (address, _) = farewell(frame(opcode::TEXT, b"bye"));
    assert_eq!(sockets.open(address).expect("begun"), 0);
    let said = all_said(&mut sockets).expect("a server like others");
    assert_eq!(said, ["upgraded", "bye", "gone: closed without a Close"]);

    // What follows a Close is not read, were it nonsense.
    let close = [frame(opcode::CLOSE, b"\x03\xF5too slow"), vec![0xFF; 9]].concat();
    let (address, _) = farewell(close);
    sockets.reopen(0, address).expect("the place is free");
    assert!(sockets.reopen(0, address).is_err(), "it is taken");
    let said = all_said(&mut sockets).expect("a server like others");
    assert_eq!(said, ["upgraded", "gone: Close 1013 too slow"]);
}

#[test]
fn a_connection_that_never_came_to_be_is_told() {
    let mut sockets = Sockets::new().expect("a ring");
    let refusing = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = refusing.local_addr().expect("bound");
    drop(refusing);
    sockets.open(address).expect("begun");
    let said = all_said(&mut sockets).expect("no breach of the protocol");
    assert!(said.len() == 1 && said[0].contains("refused"), "{said:?}");

    let (address, _) = server(|mut stream| {
        stream.write_all(b"HTTP/1.1 503 Service Unavailable\r\n\r\n{}").expect("written");
        // It waits for the client to go.
        stream.read(&mut [0]).unwrap_or(0)
    });
    sockets.reopen(0, address).expect("the place is free");
    let said = all_said(&mut sockets).expect("no breach of the protocol");
    assert_eq!(said, ["gone: not upgraded: HTTP/1.1 503 Service Unavailable"]);
}

#[test]
fn a_full_send_buffer_delays_and_loses_nothing() {
    const PARTS: usize = 40;
    const PART_BYTES: usize = 500_000;
    let (go, gone) = std::sync::mpsc::channel();
    let (address, serving) = server(move |mut stream| {
        stream.write_all(UPGRADE).expect("written");
        gone.recv().expect("the client says when");
        let mut received = vec![0; PARTS * PART_BYTES];
        stream.read_exact(&mut received).expect("all of it");
        received
    });
    let mut sockets = Sockets::new().expect("a ring");
    let place = sockets.open(address).expect("begun");
    let (mut is_open, begun) = (false, Instant::now());
    while !is_open {
        assert!(begun.elapsed() < crate::PATIENCE, "the connection is not opened");
        sockets
            .round(MOST, |_, said, _| {
                is_open |= matches!(said, Said::Upgraded);
                Ok(())
            })
            .expect("a server like others");
    }
    let part = |number: usize| (0..PART_BYTES).map(move |at| (at / 251 + number) as u8);
    for number in 0..PARTS {
        sockets.outbound(place).extend(part(number));
        sockets
            .round(Duration::from_millis(1), |_, said, _| bail!("{said:?}"))
            .expect("nothing blocks, and nothing is said");
    }
    go.send(()).expect("the server waits");
    let said = all_said(&mut sockets).expect("a server like others");
    assert_eq!(said.len(), 1);
    let received = serving.join().expect("the server ends");
    assert!(received.into_iter().eq((0..PARTS).flat_map(part)), "the bytes differ");
}

#[test]
fn what_no_server_should_send_is_an_error() {
    let masked = Frame::whole(opcode::TEXT, b"masked").bytes();
    let part = Frame { first_byte: opcode::TEXT, masked: false, payload: b"part" }.bytes();
    let huge = [&[0x81, 127][..], &u64::MAX.to_be_bytes()].concat();
    for wrong in [masked, part, huge, frame(opcode::CONTINUATION, b"rest")] {
        let shown = wrong.clone();
        let (address, _) = server(move |mut stream| {
            stream.write_all(&[UPGRADE, &wrong].concat()).expect("written");
        });
        let mut sockets = Sockets::new().expect("a ring");
        sockets.open(address).expect("begun");
        assert!(all_said(&mut sockets).is_err(), "{}", shown.escape_ascii());
    }
}

#[test]
fn a_connection_that_is_cut_ends_at_both_sides_and_others_go_on() {
    let until_end = |mut stream: TcpStream| {
        stream.write_all(UPGRADE).expect("written");
        let mut rest = Vec::new();
        // A reset is as good an end as any.
        let _ = stream.read_to_end(&mut rest);
        rest
    };
    let (first, serving_first) = server(until_end);
    let (second, serving_second) = server(until_end);
    let mut sockets = Sockets::new().expect("a ring");
    let [cut, kept] = [first, second].map(|address| sockets.open(address).expect("begun"));
    let mut said = Vec::new();
    let mut until = |sockets: &mut Sockets, count: usize| {
        let begun = Instant::now();
        while said.len() < count {
            assert!(begun.elapsed() < crate::PATIENCE, "{said:?} is not all");
            sockets
                .round(MOST, |place, heard, _| {
                    said.push((place, word(&heard)));
                    Ok(())
                })
                .expect("servers like others");
        }
        said.clone()
    };
    until(&mut sockets, 2);
    sockets.outbound(kept).extend(b"still here");
    sockets.cut(cut).expect("cut");
    let said = until(&mut sockets, 3);
    assert!(said[2].0 == cut && said[2].1.starts_with("gone"), "{said:?}");
    assert_eq!(serving_first.join().expect("the server ends"), b"");
    sockets.cut(kept).expect("cut");
    assert_eq!(serving_second.join().expect("the server ends"), b"still here");
}
