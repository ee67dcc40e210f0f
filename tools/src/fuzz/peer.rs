//! The wire under test: a connection that is given bytes in pieces, and what was heard of it.

use crate::fuzz::case::{Trail, Wrong, hold};
use anser::api::Request;
use anser::ids::UserId;
use anser::sim::prng::Prng;
use anser::wire::session::{Codec, Dialect, ErrorStyle, Port, Session, Step, WireOptions};
use serde_json::Value;

/// Something that a peer of the server would notice, or its rules.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Heard {
    /// A request reached the rules: as it prints.
    Asked(String),
    /// An answer over HTTP; `closes`: it says that it is the last; no `body`: there was none.
    Answer { status: u16, closes: bool, body: Vec<u8> },
    /// `100 Continue`.
    Continue,
    /// `101 Switching Protocols`.
    Upgraded,
    /// An Error frame.
    Error { source: Option<i64>, code: u16, words: String },
    /// Any other text frame.
    Frame(Value),
    /// A pong.
    Pong(Vec<u8>),
    /// A close frame: its code.
    Close(Option<u16>),
}

/// A whole conversation.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Conversation {
    /// What was heard, in order.
    pub heard: Vec<Heard>,
    /// The session wants nothing more.
    pub is_closing: bool,
    /// It is in the middle of something.
    pub is_unfinished: bool,
    /// Bytes done with, but for those behind a close.
    pub consumed: usize,
}

/// What answers requests.
pub trait Rules {
    /// Answers a request: by the session, or by frames.
    fn answer(&mut self, session: &mut Session, request: Request<'_>, out: &mut Vec<u8>);
}

/// Rules that agree with everything: calls are answered with `{}`, who authenticates is welcome.
pub struct Agreeable;

impl Rules for Agreeable {
    fn answer(&mut self, session: &mut Session, request: Request<'_>, out: &mut Vec<u8>) {
        match request {
            Request::Auth { user, .. } if session.user().is_none() => session.welcome(user),
            _ if session.is_websocket() => session.accepted(),
            _ => session.answer(200, b"{}", out),
        }
    }
}

/// The bytes in pieces of at most so many.
fn pieces<'b>(bytes: &'b [u8], most: u64, prng: &mut Prng) -> Vec<&'b [u8]> {
    let (mut pieces, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        let length = (1 + prng.below(most) as usize).min(rest.len());
        let (piece, after) = rest.split_at(length);
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// The settings of the wire: refusals have codes of their own.
pub const OPTIONS: WireOptions = WireOptions {
    errors: ErrorStyle::Rest,
    utc_offset_seconds: 0,
    dialect: Dialect::Chat,
    origins: None,
};

/// A connection.
pub struct Peer {
    session: Session,
    codec: Codec,
    window: Vec<u8>,
    out: Vec<u8>,
    /// What was heard so far.
    pub conversation: Conversation,
}

impl Peer {
    /// A fresh connection.
    pub fn new() -> Peer {
        Peer {
            session: Session::new(Port::Http),
            codec: Codec::new(OPTIONS),
            window: Vec::new(),
            out: Vec::new(),
            conversation: Conversation::default(),
        }
    }

    /// A WebSocket, of user 3 if it is to be authenticated.
    pub fn upgraded(user: Option<UserId>) -> Peer {
        let mut peer = Peer::new();
        peer.give(UPGRADE, &mut Agreeable).expect("the upgrade is good");
        assert_eq!(peer.conversation.heard, [Heard::Upgraded]);
        if let Some(user) = user {
            peer.session.welcome(user);
        }
        peer.conversation = Conversation::default();
        peer
    }

    /// The protocol.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Bytes arrive; all that can be done with them is done.
    pub fn give(&mut self, bytes: &[u8], rules: &mut dyn Rules) -> Result<(), Wrong> {
        self.window.extend_from_slice(bytes);
        let steps_max = 1000 + 4 * self.window.len();
        for _ in 0..steps_max {
            let is_over = self.session.is_closing();
            let (used, step) = self.session.next(&mut self.codec, &mut self.window, &mut self.out);
            hold(used <= self.window.len(), "consumes what there is", || used.to_string())?;
            let request = match step {
                Step::More => None,
                Step::Handled => {
                    hold(!is_over, "does nothing after the close", || "handled".into())?;
                    self.hear()?;
                    self.done(used);
                    continue;
                }
                Step::Request(request) => Some(request),
                Step::Message(..) | Step::Content(_) => {
                    return Err(Wrong::new("speaks its dialect", "something is given as it came"));
                }
            };
            let Some(request) = request else {
                self.done(used);
                hold(self.out.is_empty(), "says something for each step", || "more".into())?;
                self.conversation.is_closing = self.session.is_closing();
                self.conversation.is_unfinished = self.session.is_unfinished();
                return Ok(());
            };
            hold(!is_over, "asks nothing after the close", || format!("{request:?}"))?;
            self.conversation.heard.push(Heard::Asked(format!("{request:?}")));
            rules.answer(&mut self.session, request, &mut self.out);
            self.hear()?;
            self.done(used);
        }
        Err(Wrong::new("comes to rest", format!("not within {steps_max} steps")))
    }

    fn done(&mut self, used: usize) {
        if !self.session.is_closing() {
            self.conversation.consumed += used;
        }
        self.window.drain(..used);
    }

    /// Takes apart what was said.
    fn hear(&mut self) -> Result<(), Wrong> {
        let heard = &mut self.conversation.heard;
        let mut rest = &self.out[..];
        while !rest.is_empty() {
            let is_closed = matches!(heard.last(), Some(Heard::Close(_)));
            hold(!is_closed, "says nothing after the close", || format!("{rest:?}"))?;
            let next = if rest[0] == b'H' { answer(rest) } else { frame(rest) };
            let words = || format!("{:?}", String::from_utf8_lossy(rest));
            let Some((one, bytes)) = next else {
                return Err(Wrong::new("answers are whole", words()));
            };
            heard.push(one);
            rest = &rest[bytes..];
        }
        self.out.clear();
        Ok(())
    }
}

/// The upgrade of a client.
pub const UPGRADE: &[u8] = b"GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// An answer over HTTP at the front, and its bytes. An answer without body ends what was said.
fn answer(said: &[u8]) -> Option<(Heard, usize)> {
    let end = said.windows(4).position(|part| part == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&said[..end]);
    let mut lines = head.trim_end().split("\r\n");
    let status: u16 = lines.next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let lines: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(": ")).collect();
    let get = |name: &str| lines.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
    match status {
        100 => return Some((Heard::Continue, end)),
        101 => return Some((Heard::Upgraded, end)),
        _ => {}
    }
    let closes = get("Connection") == Some("close");
    let length = get("Content-Length").map_or(Some(0), |length| length.parse().ok())?;
    let has_body = said.len() > end;
    let body = if has_body { said.get(end..end + length)? } else { &[] };
    Some((Heard::Answer { status, closes, body: body.to_vec() }, end + body.len()))
}

/// A server's frame at the front, and its bytes.
fn frame(said: &[u8]) -> Option<(Heard, usize)> {
    let (head, rest) = said.split_at_checked(2)?;
    let (length, rest) = match head[1] {
        length @ 0..=125 => (usize::from(length), rest),
        126 => {
            let (length, rest) = rest.split_first_chunk()?;
            (usize::from(u16::from_be_bytes(*length)), rest)
        }
        _ => return None,
    };
    let payload = rest.get(..length)?;
    let bytes = said.len() - rest.len() + length;
    let heard = match head[0] {
        0x81 => text(payload)?,
        0x8A => Heard::Pong(payload.to_vec()),
        0x88 => {
            let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
            Heard::Close(code)
        }
        _ => return None,
    };
    Some((heard, bytes))
}

fn text(payload: &[u8]) -> Option<Heard> {
    let frame: Value = serde_json::from_slice(payload).ok()?;
    if frame["msgType"] != "Error" {
        return Some(Heard::Frame(frame));
    }
    let content: Value = serde_json::from_str(frame["content"].as_str()?).ok()?;
    Some(Heard::Error {
        source: content["srcId"].as_i64(),
        code: u16::try_from(content["code"].as_u64()?).ok()?,
        words: content["msg"].as_str()?.to_owned(),
    })
}

/// Gives bytes in pieces to a connection that agrees with everything.
pub fn talk(mut peer: Peer, pieces: &[&[u8]]) -> Result<Conversation, Wrong> {
    for piece in pieces {
        peer.give(piece, &mut Agreeable)?;
    }
    Ok(peer.conversation)
}

/// What gives bytes in pieces to a connection of its own.
type Converse<'c> = &'c mut dyn FnMut(&[&[u8]]) -> Result<Conversation, Wrong>;

/// Whether a conversation is the same however its bytes are cut.
pub fn same_however_cut(
    whole: &Conversation,
    case: &[u8],
    prng: &mut Prng,
    converse: Converse<'_>,
) -> Result<(), Wrong> {
    let most = match prng.below(6) {
        0 if case.len() < 2000 => 1,
        0..3 => case.len() as u64,
        _ => 40,
    };
    let pieces = pieces(case, most.max(1), prng);
    let other = converse(&pieces)?;
    hold(other == *whole, "means the same however it is cut", || {
        let lengths: Vec<usize> = pieces.iter().map(|piece| piece.len()).collect();
        format!("whole {whole:?}, in pieces of {lengths:?} {other:?}")
    })
}

/// Notes what a conversation did.
pub fn note(conversation: &Conversation, trail: &mut Trail) {
    for heard in &conversation.heard {
        match heard {
            Heard::Asked(words) => {
                let kind = words.split([' ', '(']).next().unwrap_or("");
                trail.note(kind);
                // Which fields are there, not what is in them.
                let mask = words.match_indices("None").map(|(at, _)| words[..at].rfind(' '));
                trail.count("nones", mask.count());
            }
            Heard::Answer { status, closes, body } => {
                trail.note((status, closes));
                if *status == 400 {
                    trail.note(body);
                }
            }
            Heard::Error { code, words, source } => trail.note((code, words, source.is_some())),
            Heard::Frame(frame) => trail.note(frame["msgType"].to_string()),
            Heard::Pong(payload) => trail.count("pong", payload.len()),
            Heard::Close(code) => trail.note(("close", code)),
            Heard::Continue | Heard::Upgraded => trail.note(format!("{heard:?}")),
        }
    }
    trail.note((conversation.is_closing, conversation.is_unfinished));
    trail.count("heard", conversation.heard.len());
}
