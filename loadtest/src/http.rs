//! A blocking HTTP/1.1 client that shows bytes as they are and sends whatever it is told to.
//!
//! It keeps one connection, reads Content-Length and chunked answers, and hides nothing: no
//! redirects, no retries, no connection pool.

use crate::PATIENCE;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

/// One connection.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    received: Vec<u8>,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Header names in lower case, in order.
    pub headers: Vec<(String, String)>,
    /// The body, chunks joined.
    pub body: String,
}

impl Answer {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        crate::json::value(&self.body)
    }
}

/// Whether an answer has a body; HEAD's has none, whatever its headers say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Body {
    AsAnnounced,
    None,
}

impl Client {
    /// Connects.
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address);
        let stream = stream.unwrap_or_else(|error| panic!("connecting to {address}: {error}"));
        stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
        stream.set_write_timeout(Some(PATIENCE)).expect("not zero");
        stream.set_nodelay(true).expect("a TCP socket");
        Client { stream, received: Vec::new() }
    }

    /// The socket itself, for those who want to misbehave.
    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("the server reads");
    }

    /// Sends bytes; a server that has closed already is no failure.
    pub fn send_all_you_can(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref());
    }

    /// Posts a body and awaits the answer.
    #[track_caller]
    pub fn post(&mut self, path: &str, body: &str) -> Answer {
        self.send(post(path, body));
        self.answer()
    }

    /// Awaits the next answer.
    #[track_caller]
    pub fn answer(&mut self) -> Answer {
        self.read_answer(Body::AsAnnounced)
    }

    /// Awaits the head of the answer to a HEAD request.
    #[track_caller]
    pub fn answer_to_head(&mut self) -> Answer {
        self.read_answer(Body::None)
    }

    #[track_caller]
    fn read_answer(&mut self, body: Body) -> Answer {
        let (mut answer, head_bytes) = loop {
            match parse_head(&self.received) {
                Some(parsed) => break parsed,
                None => self.read_more("the head of an answer"),
            }
        };
        self.received.drain(..head_bytes);
        if body == Body::None || answer.status < 200 || answer.status == 204 {
            return answer;
        }
        let chunked = answer.header("transfer-encoding").is_some_and(|value| value == "chunked");
        let bytes = if chunked {
            self.read_chunks()
        } else {
            let length = answer.header("content-length").and_then(|value| value.parse().ok());
            let length: usize = length.expect("an answer says how long it is");
            self.read_exactly(length)
        };
        answer.body = String::from_utf8(bytes).expect("bodies are UTF-8");
        answer
    }

    #[track_caller]
    fn read_exactly(&mut self, length: usize) -> Vec<u8> {
        while self.received.len() < length {
            self.read_more("the rest of a body");
        }
        self.received.drain(..length).collect()
    }

    #[track_caller]
    fn read_chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let line = self.read_line();
            let size = usize::from_str_radix(line.trim(), 16).expect("a chunk's size is hex");
            body.extend(self.read_exactly(size));
            assert_eq!(self.read_line(), "\r\n", "a chunk ends with a line break");
            if size == 0 {
                return body;
            }
        }
    }

    #[track_caller]
    fn read_line(&mut self) -> String {
        loop {
            if let Some(end) = self.received.iter().position(|&byte| byte == b'\n') {
                let line = self.received.drain(..=end).collect();
                return String::from_utf8(line).expect("framing is ASCII");
            }
            self.read_more("a line");
        }
    }

    #[track_caller]
    fn read_more(&mut self, what: &str) {
        if !self.read_some() {
            panic!("the server closed before {what}; so far {:?}", as_text(&self.received));
        }
    }

    /// Reads once; false when the server has closed.
    #[track_caller]
    fn read_some(&mut self) -> bool {
        let mut part = [0; 64 * 1024];
        match self.stream.read(&mut part) {
            Ok(count) => {
                self.received.extend_from_slice(&part[..count]);
                count > 0
            }
            // A ring that this thread has given up is still being taken down.
            Err(error) if error.kind() == ErrorKind::Interrupted => true,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => panic!("{error}; so far {:?}", as_text(&self.received)),
        }
    }

    /// Awaits that the server closes, saying nothing more.
    #[track_caller]
    pub fn expect_closed(&mut self) {
        while self.read_some() {}
        assert_eq!(as_text(&self.received), "", "nothing comes before the close");
    }
}

fn parse_head(bytes: &[u8]) -> Option<(Answer, usize)> {
    let mut lines = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut lines);
    let length = match response.parse(bytes).expect("the server speaks HTTP") {
        httparse::Status::Complete(length) => length,
        httparse::Status::Partial => return None,
    };
    let text = |value: &[u8]| String::from_utf8(value.to_vec()).expect("headers are ASCII");
    let headers = response.headers.iter();
    let headers = headers.map(|line| (line.name.to_lowercase(), text(line.value))).collect();
    let status = response.code.expect("the head is complete");
    Some((Answer { status, headers, body: String::new() }, length))
}

fn as_text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(400).collect()
}

/// The bytes of an ordinary POST.
pub fn post(path: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// One request on a connection of its own.
#[track_caller]
pub fn get(address: SocketAddr, path: &str) -> Answer {
    let mut client = Client::connect(address);
    client.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
    client.answer()
}
