//! What clients send, and a session that takes it.

use anser::api::{ChatType, DeliveryState, Message, MessageType};
use anser::ids::{MessageId, UserId};
use anser::wire::session::{Codec, Dialect, ErrorStyle, Port, Session, Step, WireOptions};
use std::hint::black_box;

/// What a text message says, in bytes.
pub const CONTENT_BYTES: usize = 200;
/// A minted id as it looks today: 19 digits.
pub const ID: i64 = 1_268_242_042_090_295_000;
/// The moment of all messages.
pub const MOMENT_MS: i64 = 1_722_492_806_373;
/// How sessions answer.
pub const OPTIONS: WireOptions = WireOptions {
    dialect: Dialect::Chat,
    errors: ErrorStyle::Seed,
    utc_offset_seconds: 0,
    origins: None,
};

/// One session and what it needs.
pub struct Wire {
    session: Session,
    codec: Codec,
    out: Vec<u8>,
}

impl Wire {
    /// A fresh connection for HTTP calls.
    pub fn http() -> Wire {
        Wire { session: Session::new(Port::Http), codec: Codec::new(OPTIONS), out: Vec::new() }
    }

    /// A session of user 1026, past its upgrade and its Auth.
    pub fn authenticated() -> Wire {
        let mut wire = Wire { session: Session::new(Port::WebSocket), ..Wire::http() };
        let (_, step) = wire.session.next(&mut wire.codec, &mut upgrade(), &mut wire.out);
        assert!(matches!(step, Step::Handled), "the upgrade is answered by the wire");
        wire.request(&mut masked(r#"{"msgType":"Auth","fromUserId":1026,"content":"token"}"#));
        wire.session.welcome(user(1026));
        wire.out.clear();
        wire
    }

    /// Decodes what is a request, whole.
    pub fn request(&mut self, bytes: &mut [u8]) {
        let (consumed, step) = self.session.next(&mut self.codec, bytes, &mut self.out);
        assert!(matches!(black_box(&step), Step::Request(_)), "a whole request: {step:?}");
        assert_eq!(consumed, bytes.len());
    }

    /// Takes what the wire itself handles; its answer is dropped.
    pub fn handled(&mut self, bytes: &mut [u8]) {
        let (consumed, step) = self.session.next(&mut self.codec, bytes, &mut self.out);
        assert!(matches!(step, Step::Handled), "the wire handles this: {step:?}");
        assert_eq!(consumed, bytes.len());
        black_box(&self.out);
        self.out.clear();
    }

    /// Looks at what is not all there.
    pub fn more(&mut self, bytes: &mut [u8]) {
        let (consumed, step) = self.session.next(&mut self.codec, bytes, &mut self.out);
        assert!(matches!(black_box(step), Step::More), "the rest is still to come");
        assert_eq!(consumed, 0);
    }

    /// Answers an HTTP call.
    pub fn answer(&mut self) {
        self.session.answer(200, b"", &mut self.out);
        black_box(&self.out);
        self.out.clear();
    }
}

/// The request that makes a WebSocket of a connection.
pub fn upgrade() -> Vec<u8> {
    b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        .to_vec()
}

/// A client's text frame.
pub fn masked(text: &str) -> Vec<u8> {
    frame(0x81, text)
}

/// A client's frame with this first byte.
pub fn frame(first: u8, payload: &str) -> Vec<u8> {
    let mask = [0x12, 0x34, 0x56, 0x78];
    let length = payload.len();
    let mut frame = vec![first];
    if length < 126 {
        frame.push(0x80 | length as u8);
    } else {
        frame.push(0x80 | 126);
        frame.extend_from_slice(&(length as u16).to_be_bytes());
    }
    frame.extend_from_slice(&mask);
    frame.extend(payload.bytes().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// What user 1026 sends user 2051.
pub fn text_message(content: &str) -> String {
    let ends = r#""toUserId":2051,"chatType":"Single","msgType":"Text","content":"#;
    format!(r#"{{"id":{ID},"fromUserId":1026,{ends}"{content}"}}"#)
}

/// The message that is made of it.
pub fn message(content: &str) -> Message<'_> {
    Message {
        kind: MessageType::Text,
        from: user(1026),
        to: user(2051),
        team: None,
        event: None,
        content,
        id: id(ID),
        timestamp_ms: MOMENT_MS,
        chat_type: ChatType::Single,
        state: DeliveryState::ServerToClientIng,
        is_read: false,
    }
}

/// A user.
pub fn user(number: i64) -> UserId {
    UserId::new(number).expect("a small positive number")
}

/// A message's id.
pub fn id(number: i64) -> MessageId {
    MessageId::new(number).expect("a positive number")
}

/// Latin letters, Han characters, and what JSON has to escape: about as many bytes each.
pub fn contents() -> [String; 3] {
    let repeated = |word: &str| word.repeat(CONTENT_BYTES / word.len());
    [repeated("x"), repeated("你好吗"), repeated("say \"hi\"\\n ")]
}
