//! The upgrade from HTTP to WebSocket.

use crate::wire::http::has_token;
use crate::wire::text::push;
use tungstenite::handshake::derive_accept_key;

/// What a head says about an upgrade.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Handshake {
    connection: bool,
    websocket: bool,
    version: bool,
    keys: u8,
    key: Option<[u8; 24]>,
}

/// What is to be made of a request to the WebSocket's path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// Upgrade, with this key.
    Accepted([u8; 24]),
    /// It asks for no upgrade, or for another version: 426.
    Required,
    /// It asks in a way that the RFC forbids: 400.
    Malformed,
}

impl Handshake {
    /// Notes a `Connection` line.
    pub(super) fn note_connection(&mut self, value: &[u8]) {
        self.connection |= has_token(value, "upgrade");
    }

    /// Notes any other line.
    pub(super) fn note(&mut self, name: &str, value: &[u8]) {
        if name.eq_ignore_ascii_case("Upgrade") {
            self.websocket |= has_token(value, "websocket");
        } else if name.eq_ignore_ascii_case("Sec-WebSocket-Version") {
            self.version = value == b"13";
        } else if name.eq_ignore_ascii_case("Sec-WebSocket-Key") {
            self.keys = self.keys.saturating_add(1);
            self.key = value.try_into().ok().filter(is_key);
        }
    }

    /// Judges them all together.
    pub(super) fn verdict(&self) -> Verdict {
        match (self.connection && self.websocket && self.version, self.keys, self.key) {
            (false, ..) => Verdict::Required,
            (true, 1, Some(key)) => Verdict::Accepted(key),
            (true, ..) => Verdict::Malformed,
        }
    }
}

/// Whether this is base64 of 16 bytes: 21 full digits, one of two bits, two of padding.
fn is_key(key: &[u8; 24]) -> bool {
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key[..21].iter().all(is_digit) && b"AQgw".contains(&key[21]) && key[22..] == *b"=="
}

/// Appends the answer that switches protocols.
pub(super) fn push_accept(key: &[u8; 24], out: &mut Vec<u8>) {
    push("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n", out);
    push("Sec-WebSocket-Accept: ", out);
    push(&derive_accept_key(key), out);
    push("\r\n\r\n", out);
}
