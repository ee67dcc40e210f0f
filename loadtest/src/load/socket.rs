//! A non-blocking WebSocket client connection and the poll that watches many of them.
//!
//! Invariants:
//! 1. What is queued is written in order, in as few writes as the kernel takes.
//! 2. Bytes are read into one buffer shared by all; a connection keeps only an unfinished frame.
//! 3. A connection that ends, a Close, or a frame that no server should send is an error.

use crate::websocket::{opcode, upgrade_request};
use anyhow::{Context, Result, bail, ensure};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::net::{AddressFamily, SocketType};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Connections from one source address: more than this make `connect` slow.
const CONNECTIONS_PER_ADDRESS: usize = 7_000;
/// Bytes read at once.
const READ_BYTES: usize = 256 * 1024;

/// Watches connections by their index.
pub struct Poll {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    scratch: Vec<u8>,
}

impl Poll {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// Where the kernel gives no epoll.
    pub fn new() -> Result<Poll> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).context("epoll")?;
        Ok(Poll { epoll, events: Vec::with_capacity(1024), scratch: vec![0; READ_BYTES] })
    }

    /// Waits until something can be done, at most so long; appends the indexes of those ready.
    ///
    /// # Errors
    /// Those of epoll.
    pub fn wait(&mut self, most: Duration, ready: &mut Vec<usize>) -> Result<()> {
        let timeout = rustix::time::Timespec::try_from(most).context("a short wait")?;
        self.events.clear();
        let room = rustix::buffer::spare_capacity(&mut self.events);
        match epoll::wait(&self.epoll, room, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("epoll"),
        }
        ready.extend(self.events.iter().map(|event| {
            let data = event.data;
            data.u64() as usize
        }));
        Ok(())
    }
}

/// One connection.
#[derive(Debug)]
pub struct Socket {
    stream: TcpStream,
    index: usize,
    unfinished: Vec<u8>,
    /// Bytes to send: append, then [`Socket::flush`].
    pub outbound: Vec<u8>,
    awaits_room: bool,
}

impl Socket {
    /// Connects and upgrades the `index`-th connection, and watches it from now on.
    ///
    /// # Errors
    /// When the server does not take it.
    pub fn open(poll: &Poll, server: SocketAddr, index: usize) -> Result<Socket> {
        let mut stream = connect(server, index).context("connect")?;
        stream.set_nodelay(true)?;
        stream.write_all(upgrade_request("/ws").as_bytes())?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut part = [0; 512];
            let count = stream.read(&mut part).context("upgrade")?;
            ensure!(count > 0, "the server closed instead of upgrading");
            head.extend_from_slice(&part[..count]);
        }
        ensure!(head.starts_with(b"HTTP/1.1 101 "), "no upgrade: {}", head.escape_ascii());
        stream.set_nonblocking(true)?;
        epoll::add(&poll.epoll, &stream, EventData::new_u64(index as u64), EventFlags::IN)?;
        let (unfinished, outbound) = (Vec::new(), Vec::new());
        Ok(Socket { stream, index, unfinished, outbound, awaits_room: false })
    }

    /// Writes what is queued, as much as the kernel takes; the rest goes when there is room.
    ///
    /// # Errors
    /// When the connection has ended.
    pub fn flush(&mut self, poll: &Poll) -> Result<()> {
        let mut written = 0;
        while written < self.outbound.len() {
            match self.stream.write(&self.outbound[written..]) {
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("write"),
            }
        }
        self.outbound.drain(..written);
        let awaits_room = !self.outbound.is_empty();
        if awaits_room != self.awaits_room {
            self.awaits_room = awaits_room;
            let wanted =
                if awaits_room { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
            let data = EventData::new_u64(self.index as u64);
            epoll::modify(&poll.epoll, &self.stream, data, wanted)?;
        }
        Ok(())
    }

    /// Reads what is there and shows each text; what `on_text` appends is to be sent back.
    ///
    /// # Errors
    /// When the connection ends, and whatever `on_text` says.
    pub fn receive(
        &mut self,
        poll: &mut Poll,
        mut on_text: impl FnMut(&[u8], &mut Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        let scratch = &mut poll.scratch;
        let kept = self.unfinished.len();
        scratch[..kept].copy_from_slice(&self.unfinished);
        self.unfinished.clear();
        let end = kept
            + match self.stream.read(&mut scratch[kept..]) {
                Ok(0) => bail!("the server closed the connection"),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(error) => return Err(error).context("read"),
            };
        let mut start = 0;
        while let Some(frame) = ServerFrame::parse(&scratch[start..end])? {
            let payload = &scratch[start + frame.head_bytes..start + frame.bytes];
            match frame.opcode {
                opcode::TEXT => on_text(payload, &mut self.outbound)?,
                opcode::PING => {
                    let pong = crate::websocket::Frame::whole(opcode::PONG, payload);
                    pong.write(&mut self.outbound);
                }
                opcode::PONG => {}
                other => bail!("opcode {other}: {}", payload.escape_ascii()),
            }
            start += frame.bytes;
        }
        self.unfinished.extend_from_slice(&scratch[start..end]);
        if self.unfinished.is_empty() {
            self.unfinished.shrink_to(1024);
        }
        Ok(())
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
                Some(length) => (u64::from_be_bytes(*length) as usize, 10),
                None => return Ok(None),
            },
            (126, _) => return Ok(None),
            (length, _) if *length < 126 => (usize::from(*length), 2),
            _ => bail!("a server's frame is not masked"),
        };
        let total = length.saturating_add(head_bytes);
        ensure!(total <= READ_BYTES / 2, "a frame of {total} bytes");
        let whole = bytes.len() >= total;
        Ok(whole.then_some(ServerFrame { opcode: first & 0x0F, head_bytes, bytes: total }))
    }
}

/// Connects from a loopback address that is shared by at most [`CONNECTIONS_PER_ADDRESS`].
fn connect(server: SocketAddr, index: usize) -> Result<TcpStream> {
    let number = index / CONNECTIONS_PER_ADDRESS;
    if number == 0 || !server.ip().is_loopback() {
        return Ok(TcpStream::connect(server)?);
    }
    let source = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 1 + u8::try_from(number)?), 0));
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    rustix::net::bind(&socket, &source)?;
    rustix::net::connect(&socket, &server)?;
    Ok(TcpStream::from(socket))
}
