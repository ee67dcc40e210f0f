//! TCP connections over one ring: bytes in, bytes out, and no task and no system call for each.
//!
//! A connection is known by its place, which it keeps until it has ended; then the place may be
//! taken again. What is to be sent is appended to [`Streams::outbound`] and leaves with the next
//! round, that of all connections in one system call; received bytes are shown where the kernel
//! put them and belong to the ring again afterwards, so an idle connection holds no buffer.

use super::part::Part;
use crate::interrupt;
use anser::node::ring::{self, Completion, Ends, Ring, Token};
use anser::store::aligned::AlignedBuffer;
use anyhow::{Context, Result, bail, ensure};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::time::{Duration, Instant};

/// Connections from one source address of 127.0.x.y: it has ports for three times as many, for
/// those that have ended occupy theirs for a minute.
const CONNECTIONS_PER_ADDRESS: usize = 7_000;
/// Source addresses in one part of 127.0.x.y.
const ADDRESSES_PER_PART: usize = 250;
/// Source ports, below those that the kernel gives: it takes milliseconds to find a free one among
/// many in use, and others' connections need its own.
const PORTS: Range<u16> = 10_000..32_000;

/// What is heard of a connection.
#[derive(Debug)]
pub enum Heard<'a> {
    /// Bytes, in order; the only ones it has ever been heard of until it has been connected.
    Bytes(&'a mut [u8]),
    /// The connection has ended, or never came to be; by an error, or because one side closed it.
    /// Its place is free.
    Ended(Option<Errno>),
}

/// Connections by their places, and the ring that drives them.
pub struct Streams {
    ring: Ring,
    completions: Vec<Completion>,
    streams: Vec<Stream>,
    /// Places with something to send.
    queued: Vec<usize>,
    part: Part,
    next_port: u16,
    listener: Option<TcpListener>,
    written: Option<AlignedBuffer>,
    /// How often there is a round at most.
    tick: Duration,
    next_tick: Instant,
}

#[derive(Default)]
struct Stream {
    /// There until the connection has ended: the ring may still name its number before.
    socket: Option<OwnedFd>,
    /// Which connection of this place it is: what the ring says of one before is not of it.
    generation: u32,
    outbound: Vec<u8>,
    /// An empty buffer that was sent.
    spare: Vec<u8>,
    is_queued: bool,
    is_sending: bool,
    is_receiving: bool,
    error: Option<Errno>,
}

impl Streams {
    /// No connections yet. Stays on the thread that made it.
    ///
    /// # Errors
    /// Where the kernel gives no io_uring.
    pub fn new() -> Result<Streams> {
        Streams::of(&Part::default())
    }

    /// The same of one part of a run: source addresses are chosen by the number in the whole, and
    /// rounds end when the run is called off.
    ///
    /// # Errors
    /// Where the kernel gives no io_uring.
    pub fn of(part: &Part) -> Result<Streams> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC).context("an eventfd")?;
        let ring = Ring::new(bell).context("this machine must allow io_uring")?;
        let (completions, streams, queued) = Default::default();
        // Runs at the same time begin at different ports, and so do parts of one.
        let begin = std::process::id() as usize + part.first_connection();
        let next_port = PORTS.start + (begin % PORTS.len()) as u16;
        let part = part.clone();
        Ok(Streams {
            ring,
            completions,
            streams,
            queued,
            part,
            next_port,
            listener: None,
            written: None,
            tick: Duration::ZERO,
            next_tick: Instant::now(),
        })
    }

    /// From now on each round sends, and then sleeps until so long after the one before, whatever
    /// comes meanwhile. Zero: a round waits until something comes.
    pub fn tick_each(&mut self, tick: Duration) {
        self.tick = tick;
    }

    /// Begins to connect and gives the place. Whether it succeeds is heard later: by its first
    /// bytes, or by its end. What is to be sent may be appended at once.
    ///
    /// # Errors
    /// When there are too few descriptors or ports.
    pub fn open(&mut self, server: SocketAddr) -> Result<usize> {
        let place = self.streams.len();
        let socket = self.connect(server, place)?;
        self.adopt(socket)
    }

    /// Connects a place again whose connection has ended.
    ///
    /// # Errors
    /// The same, or when the place is not free.
    pub fn reopen(&mut self, place: usize, server: SocketAddr) -> Result<()> {
        ensure!(self.streams[place].socket.is_none(), "connection {place} has not ended");
        let socket = self.connect(server, place)?;
        self.place(place, socket)
    }

    fn connect(&mut self, server: SocketAddr, place: usize) -> Result<OwnedFd> {
        let number = self.part.first_connection() + place;
        self.begin_to_connect(server, number).with_context(|| format!("connection {number}"))
    }

    /// Begins to connect; to a loopback address from one of the many that this machine has.
    fn begin_to_connect(&mut self, server: SocketAddr, number: usize) -> Result<OwnedFd> {
        let from = if server.is_ipv4() && server.ip().is_loopback() {
            Some(source_address(number)?)
        } else {
            None
        };
        for _ in PORTS {
            let socket = new_socket(server)?;
            let port = self.next_port;
            self.next_port = if port + 1 == PORTS.end { PORTS.start } else { port + 1 };
            let bound = from
                .map_or(Ok(()), |from| rustix::net::bind(&socket, &SocketAddr::from((from, port))));
            match bound.and_then(|()| rustix::net::connect(&socket, &server)) {
                Ok(()) | Err(Errno::INPROGRESS) => return Ok(socket),
                // The port is taken, or was in use a moment ago.
                Err(Errno::ADDRINUSE | Errno::ADDRNOTAVAIL) if from.is_some() => {}
                Err(error) => return Err(error.into()),
            }
        }
        bail!("no port is left")
    }

    /// Takes every connection that comes in by a listener, in the order of their coming.
    ///
    /// # Errors
    /// Those of the ring.
    pub fn accept(&mut self, listener: TcpListener) -> Result<()> {
        self.ring.accept(listener.as_fd(), 0)?;
        self.listener = Some(listener);
        Ok(())
    }

    /// Begins to write a buffer, of whole blocks, to a place in a file, which stays open until the
    /// buffer is back; one at a time.
    ///
    /// # Errors
    /// Those of the ring; those of the disk are the next round's.
    pub fn write(
        &mut self,
        file: BorrowedFd<'_>,
        buffer: AlignedBuffer,
        at: u64,
        ends: Ends,
    ) -> Result<()> {
        Ok(self.ring.write(file, buffer, 0, at, ends)?)
    }

    /// The buffer of the write, once that is done.
    pub fn written(&mut self) -> Option<AlignedBuffer> {
        self.written.take()
    }

    fn adopt(&mut self, socket: OwnedFd) -> Result<usize> {
        self.streams.push(Stream::default());
        let place = self.streams.len() - 1;
        self.place(place, socket)?;
        Ok(place)
    }

    fn place(&mut self, place: usize, socket: OwnedFd) -> Result<()> {
        // Else a frame waits up to 40 ms for the other's word that it has the one before.
        sockopt::set_tcp_nodelay(&socket, true)?;
        let stream = &mut self.streams[place];
        stream.outbound.clear();
        stream.error = None;
        stream.generation = stream.generation.wrapping_add(1);
        stream.socket = Some(socket);
        self.arm(place)
    }

    /// Ends a connection from this side. Its end is heard as every other; bytes that it was not
    /// heard of yet may be lost.
    ///
    /// # Errors
    /// Those of the ring.
    pub fn cut(&mut self, place: usize) -> Result<()> {
        let stream = &self.streams[place];
        if let Some(socket) = &stream.socket {
            ring::cut(socket);
        }
        // A receive that missed a reset waits for ever: shutting down says nothing to it.
        if stream.is_receiving {
            self.ring.cancel_receive(stream.token(place))?;
        }
        Ok(())
    }

    /// Bytes that a connection sends with the next round: append only. What is appended for one
    /// that has ended is forgotten.
    pub fn outbound(&mut self, place: usize) -> &mut Vec<u8> {
        self.queue(place);
        &mut self.streams[place].outbound
    }

    /// Sends what is queued, waits until something is heard, at most so long, and shows it; what
    /// `hear` appends is sent by the next round. One system call, unless very much is to be sent.
    ///
    /// # Errors
    /// Those of the ring and of `hear`.
    pub fn round(
        &mut self,
        most: Duration,
        mut hear: impl FnMut(usize, Heard<'_>, &mut Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        interrupt::check()?;
        self.part.check()?;
        self.send_queued()?;
        self.wait(most).context("io_uring")?;
        let mut completions = std::mem::take(&mut self.completions);
        self.ring.turn(&mut completions).context("io_uring")?;
        for completion in completions.drain(..) {
            self.complete(completion, &mut hear)?;
        }
        self.completions = completions;
        Ok(())
    }

    fn wait(&mut self, most: Duration) -> io::Result<()> {
        if self.tick == Duration::ZERO {
            return if most > Duration::ZERO { self.ring.wait_at_most(most) } else { Ok(()) };
        }
        self.ring.submit()?;
        let now = Instant::now();
        std::thread::sleep(self.next_tick.saturating_duration_since(now));
        // What was missed is not made up for.
        self.next_tick = self.next_tick.max(now) + self.tick;
        Ok(())
    }

    fn queue(&mut self, place: usize) {
        if !std::mem::replace(&mut self.streams[place].is_queued, true) {
            self.queued.push(place);
        }
    }

    fn send_queued(&mut self) -> Result<()> {
        for place in self.queued.drain(..) {
            let stream = &mut self.streams[place];
            let token = stream.token(place);
            stream.is_queued = false;
            let Some(socket) = &stream.socket else {
                stream.outbound.clear();
                continue;
            };
            // One send at a time: what was queued meanwhile follows when that is done.
            if !stream.is_sending && !stream.outbound.is_empty() {
                let spare = std::mem::take(&mut stream.spare);
                let bytes = std::mem::replace(&mut stream.outbound, spare);
                self.ring.send(socket.as_fd(), token, bytes)?;
                stream.is_sending = true;
            }
        }
        Ok(())
    }

    fn arm(&mut self, place: usize) -> Result<()> {
        let stream = &mut self.streams[place];
        if let Some(socket) = &stream.socket {
            self.ring.receive(socket.as_fd(), stream.token(place))?;
            stream.is_receiving = true;
        }
        Ok(())
    }

    fn complete(
        &mut self,
        completion: Completion,
        hear: &mut impl FnMut(usize, Heard<'_>, &mut Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        match completion {
            Completion::Received { token, mut filled, more } => {
                let place = token.index as usize;
                let out = &mut self.streams[place].outbound;
                hear(place, Heard::Bytes(self.ring.bytes(&mut filled)), out)?;
                self.ring.give_back(filled);
                self.queue(place);
                if more { Ok(()) } else { self.arm(place) }
            }
            Completion::ReceiveEnded { token, result } => {
                let place = token.index as usize;
                let again = [Errno::NOBUFS, Errno::AGAIN, Errno::INTR];
                if result.is_err_and(|error| again.contains(&error)) {
                    return self.arm(place);
                }
                self.streams[place].is_receiving = false;
                self.ending(place, result, hear)
            }
            Completion::Sent { token, mut bytes, result } => {
                let place = token.index as usize;
                bytes.clear();
                let stream = &mut self.streams[place];
                (stream.spare, stream.is_sending) = (bytes, false);
                if result.is_err() || !stream.is_receiving {
                    return self.ending(place, result, hear);
                }
                self.queue(place);
                Ok(())
            }
            Completion::Accepted { socket, .. } => {
                self.adopt(socket)?;
                match &self.listener {
                    Some(listener) => Ok(self.ring.accept(listener.as_fd(), 0)?),
                    None => Ok(()),
                }
            }
            Completion::CancelMissed { token } => {
                let stream = &self.streams[token.index as usize];
                let goes_on = stream.is_receiving && stream.token(token.index as usize) == token;
                if goes_on { self.cut(token.index as usize) } else { Ok(()) }
            }
            Completion::AcceptFailed { error, .. } => Err(error).context("accept"),
            Completion::Written { buffer, result } => {
                self.written = Some(buffer);
                result.context("a write to the disk")
            }
            other => unreachable!("{other:?} was never asked for"),
        }
    }

    /// One direction is over: so is the other, and when both are, the end is told.
    fn ending(
        &mut self,
        place: usize,
        result: Result<(), Errno>,
        hear: &mut impl FnMut(usize, Heard<'_>, &mut Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        self.cut(place)?;
        let stream = &mut self.streams[place];
        let error = result.err().filter(|error| *error != Errno::CANCELED);
        stream.error = stream.error.or(error);
        if stream.is_receiving || stream.is_sending {
            return Ok(());
        }
        stream.socket = None;
        stream.outbound.clear();
        hear(place, Heard::Ended(stream.error), &mut stream.outbound)
    }
}

impl Stream {
    fn token(&self, place: usize) -> Token {
        Token { index: place as u32, generation: self.generation & 0xFF_FFFF }
    }
}

fn new_socket(server: SocketAddr) -> Result<OwnedFd> {
    let family = if server.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    // The port of a connection that has just ended may be taken.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    Ok(socket)
}

/// The loopback address that so many connections share.
fn source_address(number: usize) -> Result<Ipv4Addr> {
    let address = number / CONNECTIONS_PER_ADDRESS;
    let part = u8::try_from(address / ADDRESSES_PER_PART).context("so many connections")?;
    // 127.0.0.1 is left to those who serve there.
    Ok(Ipv4Addr::new(127, 0, part, 2 + (address % ADDRESSES_PER_PART) as u8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_that_tick_are_so_far_apart_and_hear_what_came_meanwhile() {
        use std::io::Write;
        const TICK: Duration = Duration::from_millis(20);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let mut streams = Streams::new().expect("a ring");
        streams.open(listener.local_addr().expect("it is bound")).expect("a connection");
        let mut client = listener.accept().expect("a client").0;
        streams.tick_each(TICK);
        let (mut begun, mut heard) = (Instant::now(), 0);
        for round in 0..5 {
            client.write_all(b"a").and_then(|()| client.write_all(b"b")).expect("it is open");
            let note = |_, said: Heard<'_>, _: &mut Vec<u8>| {
                heard += if let Heard::Bytes(bytes) = said { bytes.len() } else { 0 };
                Ok(())
            };
            streams.round(Duration::ZERO, note).expect("the ring is well");
            if round == 0 {
                begun = Instant::now();
            }
        }
        assert!(begun.elapsed() > 2 * TICK, "{:?}: from tick to tick", begun.elapsed());
        assert_eq!(heard, 10, "what came while it slept, too");
    }

    /// A small write behind another would wait for the other end's word of the first.
    #[test]
    fn no_connection_gathers_what_it_sends() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let has_no_delay = |streams: &Streams| {
            let socket = streams.streams[0].socket.as_ref().expect("it is there");
            rustix::net::sockopt::tcp_nodelay(socket).expect("a TCP socket")
        };
        let mut streams = Streams::new().expect("a ring");
        streams.open(address).expect("a connection");
        assert!(has_no_delay(&streams), "of a first connection");
        drop(listener.accept().expect("a client"));
        let (begun, mut has_ended) = (Instant::now(), false);
        while !has_ended {
            assert!(begun.elapsed() < crate::PATIENCE, "its end is never heard");
            let hear = |_, heard: Heard<'_>, _: &mut Vec<u8>| {
                has_ended |= matches!(heard, Heard::Ended(_));
                Ok(())
            };
            streams.round(Duration::from_millis(50), hear).expect("the ring is well");
        }
        streams.reopen(0, address).expect("the place is free");
        assert!(has_no_delay(&streams), "of a later one");
    }
}
