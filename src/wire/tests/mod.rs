//! The wire's tests: a harness that plays the node, and one file for each kind of property.

mod bare;
mod frames;
mod http;
mod incoming;
mod lifecycle;
mod mutations;
mod outgoing;
mod splits;

use crate::api::Request;
use crate::wire::session::{Codec, Dialect, ErrorStyle, Port, Session, Step, WireOptions};

/// A session with its window, and a node that answers every call with `{}` and every Auth with a
/// welcome.
pub(super) struct Peer {
    pub(super) session: Session,
    pub(super) codec: Codec,
    window: Vec<u8>,
    /// Requests that reached the rules, as they print.
    pub(super) seen: Vec<String>,
    /// Everything sent.
    pub(super) out: Vec<u8>,
    /// Answer at once; otherwise requests stay open.
    pub(super) answers: bool,
}

impl Peer {
    pub(super) fn new(port: Port) -> Peer {
        Peer::styled(port, ErrorStyle::Seed)
    }

    pub(super) fn styled(port: Port, errors: ErrorStyle) -> Peer {
        Peer::with(port, WireOptions { errors, utc_offset_seconds: 8 * 3600, ..Default::default() })
    }

    /// One who says whatever he likes.
    pub(super) fn bare(port: Port) -> Peer {
        Peer::with(port, WireOptions { dialect: Dialect::Bare, ..Default::default() })
    }

    fn with(port: Port, options: WireOptions) -> Peer {
        Peer {
            session: Session::new(port),
            codec: Codec::new(options),
            window: Vec::new(),
            seen: Vec::new(),
            out: Vec::new(),
            answers: true,
        }
    }

    /// A WebSocket after its upgrade.
    pub(super) fn upgraded() -> Peer {
        let mut peer = Peer::new(Port::WebSocket);
        peer.give(&upgrade());
        assert!(peer.session.is_websocket(), "{}", peer.text());
        peer.out.clear();
        peer
    }

    /// A WebSocket of user 3.
    pub(super) fn authenticated() -> Peer {
        let mut peer = Peer::upgraded();
        peer.say(r#"{"msgType":"Auth","fromUserId":3,"content":"t"}"#);
        assert_eq!(peer.session.user().map(|user| user.number()), Some(3));
        peer.seen.clear();
        peer
    }

    /// Bytes arrive.
    pub(super) fn give(&mut self, bytes: &[u8]) {
        self.window.extend_from_slice(bytes);
        self.run();
    }

    /// A text frame arrives.
    pub(super) fn say(&mut self, text: &str) {
        self.give(&masked(0x81, text.as_bytes()));
    }

    /// Decodes until nothing more can be.
    pub(super) fn run(&mut self) {
        for _ in 0..100_000 {
            let (used, step) = self.session.next(&mut self.codec, &mut self.window, &mut self.out);
            let welcome = match step {
                Step::More => {
                    self.window.drain(..used);
                    return;
                }
                Step::Handled => None,
                Step::Message(form, message) => {
                    self.session.say(form, message, &mut self.out);
                    None
                }
                Step::Content(content) => {
                    self.session.answer(200, content, &mut self.out);
                    None
                }
                Step::Request(request) => {
                    self.seen.push(format!("{request:?}"));
                    match request {
                        Request::Auth { user, .. } => Some(user),
                        _ => None,
                    }
                }
            };
            self.window.drain(..used);
            if let Some(user) = welcome.filter(|_| self.answers) {
                self.session.welcome(user);
            } else if self.answers && !self.session.is_websocket() && self.session.is_awaiting() {
                self.session.answer(200, b"{}", &mut self.out);
            }
        }
        panic!("the session never comes to rest");
    }

    /// What was sent, as text.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.out).into_owned()
    }

    /// What was sent since the last look, as text.
    pub(super) fn taken(&mut self) -> String {
        let text = self.text();
        self.out.clear();
        text
    }

    /// The code of the close frame at the end of what was sent.
    pub(super) fn close_code(&self) -> Option<u16> {
        let at = self
            .out
            .windows(2)
            .rposition(|pair| pair[0] == 0x88 && pair[1] < 126 && pair[1] != 1)?;
        let code = self.out.get(at + 2..at + 4)?;
        Some(u16::from_be_bytes([code[0], code[1]]))
    }
}

/// A client's upgrade request.
pub(super) fn upgrade() -> Vec<u8> {
    b"GET /ws HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\
      Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        .to_vec()
}

/// A call with its body.
pub(super) fn call(path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n{body}").into()
}

/// A client's frame; `first` is its first byte.
pub(super) fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x12, 0x34, 0x56, 0x78];
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..=125 => frame.push(0x80 | length as u8),
        length @ 126..=0xFFFF => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// Numbers that look random and are always the same.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    /// A number below `end`.
    pub(super) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end.max(1)
    }
}
