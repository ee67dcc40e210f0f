//! A WebSocket client that writes its own frames, so that it can write illegal ones too.
//!
//! It checks what a client must check of a server: the handshake's accept key, no masks, no
//! reserved bits, only known opcodes. Pings are answered unless told otherwise.

use crate::PATIENCE;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Opcodes of RFC 6455.
pub mod opcode {
    /// A further part of a fragmented message.
    pub const CONTINUATION: u8 = 0;
    /// UTF-8 text.
    pub const TEXT: u8 = 1;
    /// Bytes.
    pub const BINARY: u8 = 2;
    /// The end.
    pub const CLOSE: u8 = 8;
    /// Are you there?
    pub const PING: u8 = 9;
    /// I am.
    pub const PONG: u8 = 10;
}

/// A client's frame, legal or not.
#[derive(Clone, Debug)]
pub struct Frame<'a> {
    /// The first byte: FIN, RSV1..3, opcode.
    pub first_byte: u8,
    /// Whether it is masked, as a client's frame must be.
    pub masked: bool,
    /// The payload before masking.
    pub payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// A whole legal frame.
    pub fn whole(opcode: u8, payload: &'a [u8]) -> Frame<'a> {
        Frame { first_byte: 0x80 | opcode, masked: true, payload }
    }

    /// A legal frame that others follow.
    pub fn part(opcode: u8, payload: &'a [u8]) -> Frame<'a> {
        Frame { first_byte: opcode, masked: true, payload }
    }

    /// Its bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.payload.len() + 14);
        self.write(&mut out);
        out
    }

    /// Appends its bytes.
    pub fn write(&self, out: &mut Vec<u8>) {
        const MASK: [u8; 4] = [0x5A, 0x01, 0xFE, 0x33];
        let mask_bit = if self.masked { 0x80 } else { 0 };
        out.push(self.first_byte);
        match self.payload.len() {
            length @ 0..=125 => out.push(mask_bit | length as u8),
            length @ 126..=0xFFFF => {
                out.push(mask_bit | 126);
                out.extend((length as u16).to_be_bytes());
            }
            length => {
                out.push(mask_bit | 127);
                out.extend((length as u64).to_be_bytes());
            }
        }
        if !self.masked {
            return out.extend(self.payload);
        }
        out.extend(MASK);
        out.extend(self.payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    }
}

/// What the server sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Vec<u8>),
    /// A Ping.
    Ping(Vec<u8>),
    /// A Pong.
    Pong(Vec<u8>),
    /// A Close with its code (1005 when it has none) and reason.
    Close(u16, String),
    /// The socket ended without a Close.
    Gone,
    /// Nothing until the deadline.
    Nothing,
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
    /// Whether Pings are answered.
    pub answers_pings: bool,
}

/// The bytes of a legal upgrade request.
pub fn upgrade_request(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    )
}

/// The key that [`upgrade_request`] sends (the example of RFC 6455).
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

impl Connection {
    /// Connects and upgrades.
    #[track_caller]
    pub fn open(address: SocketAddr) -> Connection {
        Connection::open_with(address, &[])
    }

    /// Connects, upgrades and sends more bytes in the same write.
    #[track_caller]
    pub fn open_with(address: SocketAddr, more: &[u8]) -> Connection {
        let stream = TcpStream::connect(address).expect("the server listens");
        Connection::upgrade(stream, more)
    }

    /// Upgrades a socket and sends more bytes in the same write.
    #[track_caller]
    pub fn upgrade(stream: TcpStream, more: &[u8]) -> Connection {
        stream.set_nodelay(true).expect("a TCP socket");
        stream.set_write_timeout(Some(PATIENCE)).expect("not zero");
        let mut connection = Connection { stream, received: Vec::new(), answers_pings: true };
        connection.send_bytes(&[upgrade_request("/ws").as_bytes(), more].concat());
        let deadline = Instant::now() + PATIENCE;
        let end = loop {
            match connection.received.windows(4).position(|four| four == b"\r\n\r\n") {
                Some(start) => break start + 4,
                None => assert!(connection.read_more(deadline), "the server upgrades in time"),
            }
        };
        let head: Vec<u8> = connection.received.drain(..end).collect();
        let head = String::from_utf8(head).expect("a head is ASCII");
        assert!(head.starts_with("HTTP/1.1 101 "), "an upgrade, not {head}");
        let accept = tungstenite::handshake::derive_accept_key(KEY.as_bytes());
        assert!(head.contains(&accept), "the accept key {accept} in {head}");
        connection
    }

    /// The socket itself.
    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
    }

    /// Sends bytes; a server that has closed already is no failure.
    pub fn send_all_you_can(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Sends a frame.
    #[track_caller]
    pub fn send(&mut self, frame: &Frame<'_>) {
        self.send_bytes(&frame.bytes());
    }

    /// Sends a text message.
    #[track_caller]
    pub fn send_text(&mut self, text: &str) {
        self.send(&Frame::whole(opcode::TEXT, text.as_bytes()));
    }

    /// The next message of the server; waits until the deadline.
    #[track_caller]
    pub fn next(&mut self, deadline: Instant) -> Received {
        loop {
            if let Some(received) = self.parse() {
                if let (Received::Ping(payload), true) = (&received, self.answers_pings) {
                    let pong = Frame::whole(opcode::PONG, payload).bytes();
                    self.send_all_you_can(&pong);
                }
                return received;
            }
            let before = self.received.len();
            if !self.read_more(deadline) {
                return Received::Gone;
            }
            if self.received.len() == before && Instant::now() >= deadline {
                return Received::Nothing;
            }
        }
    }

    /// All that the server says until the socket ends.
    #[track_caller]
    pub fn until_gone(&mut self) -> Vec<Received> {
        let (deadline, mut said) = (Instant::now() + PATIENCE, Vec::new());
        loop {
            match self.next(deadline) {
                Received::Gone => return said,
                Received::Nothing => panic!("the socket does not end; so far {said:.200?}"),
                received => said.push(received),
            }
        }
    }

    /// The next text message.
    #[track_caller]
    pub fn next_text(&mut self) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.next(deadline) {
                Received::Text(text) => return text,
                Received::Ping(_) | Received::Pong(_) => {}
                other => panic!("a text was expected, not {other:?}"),
            }
        }
    }

    /// Reads on, dropping texts, until the server closes; returns the close code.
    #[track_caller]
    pub fn until_closed(&mut self, within: Duration) -> u16 {
        let deadline = Instant::now() + within;
        loop {
            match self.next(deadline) {
                Received::Close(code, _) => return code,
                Received::Text(_) | Received::Ping(_) | Received::Pong(_) => {}
                other => panic!("a close was expected, not {other:?}"),
            }
        }
    }

    /// Awaits a Close with this code, then answers it and awaits the end of the socket.
    #[track_caller]
    pub fn expect_close(&mut self, code: u16) {
        assert_eq!(self.until_closed(PATIENCE), code, "the close code");
        self.send_all_you_can(&Frame::whole(opcode::CLOSE, &code.to_be_bytes()).bytes());
        let rest = self.next(Instant::now() + PATIENCE);
        assert_eq!(rest, Received::Gone, "after a Close the server ends the connection");
    }

    /// Reads once; false when the socket has ended.
    #[track_caller]
    fn read_more(&mut self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = left.max(Duration::from_millis(1));
        self.stream.set_read_timeout(Some(timeout)).expect("not zero");
        let mut part = [0; 64 * 1024];
        match self.stream.read(&mut part) {
            Ok(count) => {
                self.received.extend_from_slice(&part[..count]);
                count > 0
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => true,
                ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => false,
                _ => panic!("{error}"),
            },
        }
    }

    #[track_caller]
    fn parse(&mut self) -> Option<Received> {
        let bytes = &self.received;
        let (first, second) = (*bytes.first()?, *bytes.get(1)?);
        assert_eq!(first & 0xF0, 0x80, "the server's frames are whole and without extensions");
        assert_eq!(second & 0x80, 0, "the server's frames are not masked");
        let (length, start) = match second {
            126 => (u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)), 4),
            127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?), 10),
            length => (u64::from(length), 2),
        };
        let end = start + length as usize;
        let payload = bytes.get(start..end)?.to_vec();
        self.received.drain(..end);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("texts are UTF-8");
        Some(match first & 0x0F {
            opcode::TEXT => Received::Text(text(&payload)),
            opcode::BINARY => Received::Binary(payload),
            opcode::PING => Received::Ping(payload),
            opcode::PONG => Received::Pong(payload),
            opcode::CLOSE => match payload.split_first_chunk::<2>() {
                Some((code, reason)) => Received::Close(u16::from_be_bytes(*code), text(reason)),
                None => Received::Close(1005, String::new()),
            },
            other => panic!("the server sent a frame of opcode {other}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// Another implementation that sends every text back until it is closed.
    fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("bound");
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let mut socket = tungstenite::accept(stream).expect("a legal upgrade");
                while let Ok(message) = socket.read() {
                    if message.is_text() {
                        socket.send(message).expect("the client reads");
                    }
                }
            }
        });
        address
    }

    #[test]
    fn legal_frames_of_every_size_are_read_by_another_implementation() {
        let mut connection = Connection::open(echo());
        for bytes in [0, 1, 125, 126, 65_535, 65_536, 200_000] {
            let text = "x".repeat(bytes);
            connection.send_text(&text);
            assert_eq!(connection.next_text(), text);
        }
        connection.send(&Frame::part(opcode::TEXT, "鸿雁".as_bytes()));
        connection.send(&Frame::whole(opcode::CONTINUATION, "传书".as_bytes()));
        assert_eq!(connection.next_text(), "鸿雁传书");
    }

    #[test]
    fn pings_closes_and_the_end_are_seen() {
        let mut connection = Connection::open(echo());
        connection.send(&Frame::whole(opcode::PING, b"?"));
        let soon = || Instant::now() + PATIENCE;
        assert_eq!(connection.next(soon()), Received::Pong(b"?".to_vec()));
        assert_eq!(connection.next(Instant::now()), Received::Nothing);
        connection.send(&Frame::whole(opcode::CLOSE, &[0x0F, 0xA0]));
        assert_eq!(connection.next(soon()), Received::Close(4000, String::new()));
        assert_eq!(connection.next(soon()), Received::Gone);
    }

    #[test]
    fn illegal_frames_are_sent_as_they_are() {
        let mut connection = Connection::open(echo());
        connection.send(&Frame { masked: false, ..Frame::whole(opcode::TEXT, b"bare") });
        assert_eq!(connection.next(Instant::now() + PATIENCE), Received::Gone);
    }
}
