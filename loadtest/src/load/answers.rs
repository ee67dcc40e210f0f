//! HTTP answers out of bytes that come cut anywhere.

use anyhow::{Context, Result, ensure};

/// The longest head of an answer, bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Lines in a head.
const HEADERS_MAX: usize = 32;

/// What has come of a connection's answers and is not whole.
#[derive(Debug, Default)]
pub struct Answers {
    received: Vec<u8>,
    /// The parts of a chunked body, joined.
    body: Vec<u8>,
}

/// One answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// The status code.
    pub status: u16,
    /// The body, chunks joined.
    pub body: &'a [u8],
}

/// How long a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Bytes(usize),
    Chunks,
}

struct Head {
    status: u16,
    bytes: usize,
    length: Length,
}

impl Answers {
    /// Takes what came and shows each answer that has become whole, in order.
    ///
    /// # Errors
    /// When it is not HTTP, and whatever `show` says.
    pub fn receive(
        &mut self,
        bytes: &[u8],
        mut show: impl FnMut(Answer<'_>) -> Result<()>,
    ) -> Result<()> {
        self.received.extend_from_slice(bytes);
        let mut start = 0;
        while let Some(head) = Head::read(&self.received[start..])? {
            let rest = &self.received[start + head.bytes..];
            let body_bytes = match head.length {
                Length::Bytes(bytes) if rest.len() < bytes => break,
                Length::Bytes(bytes) => {
                    show(Answer { status: head.status, body: &rest[..bytes] })?;
                    bytes
                }
                Length::Chunks => {
                    let Some(bytes) = join_chunks(rest, &mut self.body)? else { break };
                    show(Answer { status: head.status, body: &self.body })?;
                    bytes
                }
            };
            start += head.bytes + body_bytes;
        }
        self.received.drain(..start);
        Ok(())
    }
}

impl Head {
    fn read(bytes: &[u8]) -> Result<Option<Head>> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(head_bytes) = response.parse(bytes).context("HTTP")? else {
            ensure!(bytes.len() < HEAD_BYTES_MAX, "a head without an end");
            return Ok(None);
        };
        let value = |name: &str| {
            let named = |header: &&httparse::Header<'_>| header.name.eq_ignore_ascii_case(name);
            let header = response.headers.iter().find(named)?;
            std::str::from_utf8(header.value).ok()
        };
        let length = match value("content-length").and_then(|value| value.parse().ok()) {
            Some(bytes) => Length::Bytes(bytes),
            None => {
                let is_chunked = value("transfer-encoding") == Some("chunked");
                ensure!(is_chunked, "an answer that does not say how long it is");
                Length::Chunks
            }
        };
        let status = response.code.context("an answer without a status")?;
        Ok(Some(Head { status, bytes: head_bytes, length }))
    }
}

/// Joins the chunks of a body into `body`; gives their bytes on the wire once all are there.
fn join_chunks(bytes: &[u8], body: &mut Vec<u8>) -> Result<Option<usize>> {
    body.clear();
    let mut start = 0;
    loop {
        let rest = &bytes[start..];
        let Some(end) = rest.windows(2).position(|two| two == b"\r\n") else { return Ok(None) };
        let size = std::str::from_utf8(&rest[..end]).context("a chunk's size")?;
        let size = usize::from_str_radix(size.trim(), 16).context("a chunk's size")?;
        let Some(chunk) = rest.get(end + 2..end + 2 + size + 2) else { return Ok(None) };
        ensure!(chunk.ends_with(b"\r\n"), "a chunk longer than it says");
        body.extend_from_slice(&chunk[..size]);
        start += end + 2 + size + 2;
        if size == 0 {
            return Ok(Some(start));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst\
                       HTTP/1.1 500 Internal Server Error\r\ntransfer-encoding: chunked\r\n\r\n\
                       3\r\nsec\r\n3\r\nond\r\n0\r\n\r\n\
                       HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

    fn read(pieces: &[&str]) -> Result<Vec<(u16, String)>> {
        let (mut answers, mut seen) = (Answers::default(), Vec::new());
        for piece in pieces {
            answers.receive(piece.as_bytes(), |answer| {
                seen.push((answer.status, String::from_utf8_lossy(answer.body).into_owned()));
                Ok(())
            })?;
        }
        assert!(answers.received.is_empty(), "nothing is left");
        Ok(seen)
    }

    #[test]
    fn answers_are_whole_and_in_order_wherever_they_are_cut() {
        let expected =
            [(200, "first".to_owned()), (500, "second".to_owned()), (200, String::new())];
        for cut in 0..=TWO.len() {
            let (first, second) = TWO.split_at(cut);
            let answers = read(&[first, second]).expect("this is HTTP");
            assert_eq!(answers, expected, "cut at {cut}");
        }
        let bytes: Vec<&str> = TWO.split_inclusive(|_: char| true).collect();
        assert_eq!(read(&bytes).expect("this is HTTP"), expected);
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        for text in [
            "SSH-2.0-x\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            &format!("{chunked}x\r\n"),
            &format!("{chunked}1\r\nabc\r\n"),
        ] {
            assert!(read(&[text]).is_err(), "{text:?}");
        }
    }
}
