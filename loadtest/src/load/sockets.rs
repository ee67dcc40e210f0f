//! Clients, many on one thread: WebSocket's frames over [`Streams`], or their bytes as they are.
//!
//! A connection keeps only the frame that it has not read whole. Pings are answered. A frame that
//! no server should send is an error.

use super::part::Part;
use super::streams::{Heard, Streams};
use crate::websocket::{Frame, opcode, upgrade_request};
use anyhow::{Context, Result, bail, ensure};
use rustix::io::Errno;
use std::net::SocketAddr;
use std::time::Duration;

/// The longest frame that a server sends, bytes; also the longest answer to an upgrade.
const FRAME_BYTES_MAX: usize = 128 * 1024;

/// What a server says to a client.
#[derive(Debug)]
pub enum Said<'a> {
    /// The connection is open.
    Upgraded,
    /// A text.
    Text(&'a [u8]),
    /// Bytes: a binary message, or whatever came where there are no frames.
    Bytes(&'a [u8]),
    /// The connection has ended: why, in words. Its place is free.
    Gone(String),
}

impl<'a> Said<'a> {
    /// The text or the bytes, where nothing else should come.
    ///
    /// # Errors
    /// When it is neither.
    pub fn payload(&self) -> Result<&'a [u8]> {
        match self {
            Said::Bytes(bytes) => Ok(bytes),
            other => other.text(),
        }
    }

    /// The text, where nothing else should come.
    ///
    /// # Errors
    /// When it is none.
    pub fn text(&self) -> Result<&'a [u8]> {
        match self {
            Said::Text(text) => Ok(text),
            Said::Upgraded => bail!("a connection was opened that is not awaited"),
            Said::Bytes(bytes) => bail!("not a text: {}", bytes.escape_ascii()),
            Said::Gone(why) => bail!("a connection ended: {why}"),
        }
    }
}

/// How a connection begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Where the server listens.
    pub server: SocketAddr,
    /// What carries its words.
    pub transport: Transport,
}

/// What carries the words of a protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP as it is: words may come cut anywhere, and may be said at once.
    Stream,
    /// Messages of WebSocket, from when the server has upgraded.
    WebSocket {
        /// Where to upgrade.
        path: String,
        /// The subprotocol that is asked for.
        protocol: Option<&'static str>,
    },
}

impl Opening {
    /// A connection of this server's own protocol.
    pub fn seed(server: SocketAddr) -> Opening {
        let transport = Transport::WebSocket { path: "/ws".to_owned(), protocol: None };
        Opening { server, transport }
    }
}

/// Connections by their places.
pub struct Sockets {
    streams: Streams,
    sockets: Vec<Socket>,
    /// Places whose server has said the last that is read.
    done: Vec<usize>,
}

#[derive(Default)]
struct Socket {
    unfinished: Vec<u8>,
    has_frames: bool,
    is_upgraded: bool,
    last_words: Option<String>,
}

impl Sockets {
    /// No connections yet.
    ///
    /// # Errors
    /// Where the kernel gives no io_uring.
    pub fn new() -> Result<Sockets> {
        Sockets::of(&Part::default())
    }

    /// The same of one part of a run.
    ///
    /// # Errors
    /// Where the kernel gives no io_uring.
    pub fn of(part: &Part) -> Result<Sockets> {
        let (sockets, done) = Default::default();
        Ok(Sockets { streams: Streams::of(part)?, sockets, done })
    }

    /// Begins to connect and upgrade; gives the place, which counts from 0.
    ///
    /// # Errors
    /// When there are too few descriptors or ports.
    pub fn open(&mut self, server: SocketAddr) -> Result<usize> {
        self.open_as(&Opening::seed(server))
    }

    /// The same for a connection of any kind.
    ///
    /// # Errors
    /// The same.
    pub fn open_as(&mut self, opening: &Opening) -> Result<usize> {
        let place = self.streams.open(opening.server)?;
        self.sockets.push(Socket::default());
        self.begin(place, &opening.transport);
        Ok(place)
    }

    /// The same as [`Sockets::open`] at the place of a connection that has ended.
    ///
    /// # Errors
    /// The same, or when the place is not free.
    pub fn reopen(&mut self, place: usize, server: SocketAddr) -> Result<()> {
        self.reopen_as(place, &Opening::seed(server))
    }

    /// The same for a connection of any kind.
    ///
    /// # Errors
    /// The same.
    pub fn reopen_as(&mut self, place: usize, opening: &Opening) -> Result<()> {
        self.streams.reopen(place, opening.server)?;
        self.sockets[place] = Socket::default();
        self.begin(place, &opening.transport);
        Ok(())
    }

    fn begin(&mut self, place: usize, transport: &Transport) {
        let Transport::WebSocket { path, protocol } = transport else { return };
        self.sockets[place].has_frames = true;
        let request = upgrade_request(path);
        let head = request.strip_suffix("\r\n").expect("a head ends with an empty line");
        let out = self.streams.outbound(place);
        out.extend_from_slice(head.as_bytes());
        if let Some(protocol) = protocol {
            out.extend_from_slice(format!("Sec-WebSocket-Protocol: {protocol}\r\n").as_bytes());
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Ends a connection from this side, without a Close. Its end is told as every other; what
    /// the server said last may not be.
    ///
    /// # Errors
    /// Those of the ring.
    pub fn cut(&mut self, place: usize) -> Result<()> {
        self.streams.cut(place)
    }

    /// See [`Streams::tick_each`].
    pub fn tick_each(&mut self, tick: Duration) {
        self.streams.tick_each(tick);
    }

    /// Connections, ended ones too.
    pub fn count(&self) -> usize {
        self.sockets.len()
    }

    /// Frames that an open connection sends with the next round: append only.
    pub fn outbound(&mut self, place: usize) -> &mut Vec<u8> {
        self.streams.outbound(place)
    }

    /// Sends what is queued, waits until something is said, at most so long, and shows it with
    /// its place; what `hear` appends is sent by the next round.
    ///
    /// # Errors
    /// Those of the ring and of `hear`, and a server that breaks the protocol.
    pub fn round(
        &mut self,
        most: Duration,
        mut hear: impl FnMut(usize, Said<'_>, &mut Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        let Sockets { streams, sockets, done } = self;
        streams.round(most, |place, heard, out| match heard {
            Heard::Bytes(bytes) => {
                let socket = &mut sockets[place];
                if !socket.has_frames {
                    return hear(place, Said::Bytes(bytes), out);
                }
                socket.receive(bytes, out, &mut |said, out| hear(place, said, out))?;
                if socket.last_words.is_some() {
                    done.push(place);
                }
                Ok(())
            }
            Heard::Ended(error) => {
                let words = sockets[place].last_words.take();
                hear(place, Said::Gone(words.unwrap_or_else(|| end_words(error))), out)
            }
        })?;
        done.drain(..).try_for_each(|place| streams.cut(place))
    }
}

fn end_words(error: Option<Errno>) -> String {
    error.map_or("closed without a Close".to_owned(), |error| error.to_string())
}

impl Socket {
    /// Reads what has become whole.
    fn receive(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        hear: &mut impl FnMut(Said<'_>, &mut Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        if self.unfinished.is_empty() {
            let read = self.read(bytes, out, hear)?;
            self.unfinished.extend_from_slice(&bytes[read..]);
            return Ok(());
        }
        let mut all = std::mem::take(&mut self.unfinished);
        all.extend_from_slice(bytes);
        let read = self.read(&all, out, hear)?;
        // An idle connection holds no memory for what it once read.
        if read < all.len() {
            all.drain(..read);
            self.unfinished = all;
        }
        Ok(())
    }

    /// Shows each whole frame; gives how many bytes are read.
    fn read(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        hear: &mut impl FnMut(Said<'_>, &mut Vec<u8>) -> Result<()>,
    ) -> Result<usize> {
        let mut read = 0;
        if !self.is_upgraded && self.last_words.is_none() {
            let Some(head_bytes) = self.read_head(bytes)? else { return Ok(0) };
            read = head_bytes;
            if self.is_upgraded {
                hear(Said::Upgraded, out)?;
            }
        }
        while self.last_words.is_none()
            && let Some(frame) = ServerFrame::parse(&bytes[read..])?
        {
            let payload = &bytes[read + frame.head_bytes..read + frame.bytes];
            match frame.opcode {
                opcode::TEXT => hear(Said::Text(payload), out)?,
                opcode::BINARY => hear(Said::Bytes(payload), out)?,
                opcode::PING => Frame::whole(opcode::PONG, payload).write(out),
                opcode::PONG => {}
                opcode::CLOSE => self.last_words = Some(close_words(payload)),
                other => bail!("a frame of opcode {other}: {}", payload.escape_ascii()),
            }
            read += frame.bytes;
        }
        Ok(if self.last_words.is_some() { bytes.len() } else { read })
    }

    /// The answer to the upgrade, as soon as it is whole; a refusal is the last that is read.
    fn read_head(&mut self, bytes: &[u8]) -> Result<Option<usize>> {
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            ensure!(bytes.len() < FRAME_BYTES_MAX, "a head without an end");
            return Ok(None);
        };
        let head = &bytes[..end];
        self.is_upgraded = head.starts_with(b"HTTP/1.1 101 ");
        if !self.is_upgraded {
            let status = head.split(|byte| *byte == b'\r').next().unwrap_or(head);
            self.last_words = Some(format!("not upgraded: {}", status.escape_ascii()));
        }
        Ok(Some(end + 4))
    }
}

fn close_words(payload: &[u8]) -> String {
    match payload {
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            format!("Close {code} {}", String::from_utf8_lossy(reason)).trim_end().to_owned()
        }
        _ => "Close".to_owned(),
    }
}

/// The head of a server's frame that is there as a whole.
struct ServerFrame {
    opcode: u8,
    head_bytes: usize,
    bytes: usize,
}

impl ServerFrame {
    fn parse(bytes: &[u8]) -> Result<Option<ServerFrame>> {
        let [first, second, rest @ ..] = bytes else { return Ok(None) };
        ensure!(first & 0xF0 == 0x80, "a server's frame is whole and without extensions");
        let (length, head_bytes) = match (second, rest) {
            (126, [high, low, ..]) => (usize::from(u16::from_be_bytes([*high, *low])), 4),
            (127, _) => match rest.first_chunk() {
                Some(length) => {
                    let length = u64::from_be_bytes(*length);
                    (usize::try_from(length).context("a frame's length")?, 10)
                }
                None => return Ok(None),
            },
            (126, _) => return Ok(None),
            (length, _) if *length < 126 => (usize::from(*length), 2),
            _ => bail!("a server's frame is not masked"),
        };
        let total = length.saturating_add(head_bytes);
        ensure!(total <= FRAME_BYTES_MAX, "a frame of {total} bytes");
        let whole = bytes.len() >= total;
        Ok(whole.then_some(ServerFrame { opcode: first & 0x0F, head_bytes, bytes: total }))
    }
}

#[cfg(test)]
#[path = "sockets_tests.rs"]
mod tests;
