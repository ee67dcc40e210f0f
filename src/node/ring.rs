//! The ring: one `io-uring` instance a shard, which accepts, receives and sends for every
//! connection of it, and writes its commit log.
//!
//! Invariants:
//! 1. Memory that the kernel may touch belongs to the ring: a send's bytes come back only with its
//!    completion, a receive buffer is lent out only between its completion and `give_back`. A ring
//!    that is dropped leaks what is still in flight.
//! 2. Every completion names the token it was asked for with; a token's generation tells a reused
//!    place from the one before.
//! 3. Bytes of one receive come in order. After [`Completion::Received`] without `more`, or
//!    [`Completion::ReceiveEnded`], and only then, nothing more comes until it is armed again.
//! 4. No completion is dropped: those that find the queue full wait in the kernel.
//!
//! A receive that stays armed may miss what comes together with the last bytes: a reset, and on
//! AF_UNIX the end of input (liburing issue 1549), but not TCP's FIN, after which the kernel looks
//! once more. Whoever was reset unnoticed is found by the next send, at the latest by `sweep`.
//!
//! Left to others: what bytes mean, who owns a socket, when to wait (`shard_loop`).

// The kernel shares memory with us here: no safe call can say so. Each block states why it holds.
#![allow(unsafe_code)]

mod buffers;
mod completion;
mod write;

pub use buffers::{BUFFER_BYTES, BUFFERS, Filled};
pub use completion::Completion;
pub use write::Ends;

use buffers::{Buffers, GROUP};
use io_uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags};
use std::io;
use std::time::Duration;

/// Requests handed to the kernel at once.
const SUBMISSIONS: u32 = 512;
/// Completions that wait for us before they wait in the kernel's own list.
const COMPLETIONS: u32 = 8192;
/// `IORING_ENTER_GETEVENTS`.
const GET_EVENTS: u32 = 1;

/// What a request is for: an index with the generation of its user (24 bits count).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Token {
    /// A place in the caller's table.
    pub index: u32,
    /// Which user of that place.
    pub generation: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
enum Kind {
    Accept = 1,
    Receive,
    Send,
    Cancel,
    Tick,
    Bell,
    Write,
    Sync,
}

/// Bytes on their way out.
struct Sending {
    token: Token,
    socket: RawFd,
    bytes: Vec<u8>,
    sent: usize,
}

/// One shard's driver of the kernel's io_uring. Stays on the thread that made it.
pub struct Ring {
    uring: IoUring,
    buffers: Buffers,
    sends: Vec<Option<Sending>>,
    free_sends: Vec<u32>,
    tick: Box<Timespec>,
    bell: OwnedFd,
    writing: Option<write::Writing>,
}

impl Ring {
    /// A ring that `bell`, an eventfd, wakes from [`Ring::wait`] each time it is written to.
    pub fn new(bell: OwnedFd) -> io::Result<Ring> {
        let uring: IoUring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_cqsize(COMPLETIONS)
            .build(SUBMISSIONS)?;
        assert!(uring.params().is_feature_nodrop(), "kernels this young drop no completion");
        let buffers = Buffers::new(&uring)?;
        let tick = Box::new(Timespec::new());
        let (sends, free_sends) = (Vec::new(), Vec::new());
        let mut ring = Ring { uring, buffers, sends, free_sends, tick, bell, writing: None };
        ring.watch_bell()?;
        Ok(ring)
    }

    fn watch_bell(&mut self) -> io::Result<()> {
        let readable = libc::POLLIN as u32;
        let entry = opcode::PollAdd::new(Fd(self.bell.as_raw_fd()), readable).multi(true).build();
        self.push(entry, Kind::Bell, Token { index: 0, generation: 0 })
    }

    /// Where the kernel's own threads do what it cannot do at once: syncs above all.
    pub fn bind_workers(&mut self, cores: &[usize]) -> io::Result<()> {
        // SAFETY: a set of cores is plain bits, and the empty one has none of them set.
        let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
        for core in cores {
            // SAFETY: it sets a bit of the set that is borrowed, and checks that there is one.
            unsafe { libc::CPU_SET(*core, &mut set) };
        }
        self.uring.submitter().register_iowq_aff(&set)
    }

    /// Accepts one connection.
    pub fn accept(&mut self, listener: BorrowedFd<'_>, index: u32) -> io::Result<()> {
        let token = Token { index, generation: 0 };
        let flags = SocketFlags::CLOEXEC.bits() as i32;
        // Nobody asks who it is.
        let (address, length) = (std::ptr::null_mut(), std::ptr::null_mut());
        let accept = opcode::Accept::new(Fd(listener.as_raw_fd()), address, length);
        self.push(accept.flags(flags).build(), Kind::Accept, token)
    }

    /// Receives from a socket until that fails, is cancelled, or buffers run out.
    pub fn receive(&mut self, socket: BorrowedFd<'_>, token: Token) -> io::Result<()> {
        let entry = opcode::RecvMulti::new(Fd(socket.as_raw_fd()), GROUP).build();
        self.push(entry, Kind::Receive, token)
    }

    /// Ends the receive of a token; its last completion still comes.
    pub fn cancel_receive(&mut self, token: Token) -> io::Result<()> {
        let entry = opcode::AsyncCancel::new(name(Kind::Receive, token)).build();
        self.push(entry, Kind::Cancel, token)
    }

    /// Ends all accepts of a listener.
    pub fn cancel_accepts(&mut self, index: u32) -> io::Result<()> {
        let token = Token { index, generation: 0 };
        let all = CancelBuilder::user_data(name(Kind::Accept, token)).all();
        self.push(opcode::AsyncCancel2::new(all).build(), Kind::Cancel, token)
    }

    /// Sends all of `bytes`. One send of a socket at a time: two would mix.
    pub fn send(&mut self, socket: BorrowedFd<'_>, token: Token, bytes: Vec<u8>) -> io::Result<()> {
        assert!(!bytes.is_empty(), "a send sends something");
        let sending = Sending { token, socket: socket.as_raw_fd(), bytes, sent: 0 };
        let place = match self.free_sends.pop() {
            Some(place) => place,
            None => {
                self.sends.push(None);
                (self.sends.len() - 1) as u32
            }
        };
        self.sends[place as usize] = Some(sending);
        self.push_send(place)
    }

    /// Completes once, after `millis`.
    pub fn tick(&mut self, millis: u32) -> io::Result<()> {
        *self.tick = Timespec::new().sec(u64::from(millis / 1000)).nsec(millis % 1000 * 1_000_000);
        let entry = opcode::Timeout::new(&raw const *self.tick).build();
        self.push(entry, Kind::Tick, Token { index: 0, generation: 0 })
    }

    /// Hands all requests to the kernel and appends what has completed to `completions`, at most
    /// as many as the queue holds. One system call, or none when there is nothing to say and
    /// completions wait already.
    pub fn turn(&mut self, completions: &mut Vec<Completion>) -> io::Result<()> {
        let waiting = {
            let submission = self.uring.submission();
            !submission.is_empty() || submission.taskrun() || submission.cq_overflow()
        };
        if waiting {
            self.enter()?;
        } else if self.uring.completion().is_empty() {
            self.run_deferred()?;
        }
        for _ in 0..COMPLETIONS {
            let Some(entry) = self.uring.completion().next() else { break };
            if let Some(completion) = self.complete(&entry)? {
                completions.push(completion);
            }
        }
        self.buffers.grow_if_short();
        Ok(())
    }

    /// Hands all requests to the kernel and waits until something has completed, or the bell rings.
    /// One system call.
    pub fn wait(&mut self) -> io::Result<()> {
        match self.uring.submit_and_wait(1) {
            Err(error) if is_passing(&error) => Ok(()),
            result => result.map(|_| ()),
        }
    }

    /// The same, but not for longer than this.
    pub fn wait_at_most(&mut self, time: Duration) -> io::Result<()> {
        let time = Timespec::from(time);
        let until = SubmitArgs::new().timespec(&time);
        match self.uring.submitter().submit_with_args(1, &until) {
            Err(error) if is_passing(&error) || is_timeout(&error) => Ok(()),
            result => result.map(|_| ()),
        }
    }

    /// The bytes of a lent buffer.
    pub fn bytes(&mut self, filled: &mut Filled) -> &mut [u8] {
        self.buffers.bytes(filled)
    }

    /// Lets the kernel fill the buffer again.
    pub fn give_back(&mut self, filled: Filled) {
        self.buffers.offer(filled.buffer);
    }

    /// Sends that have not completed.
    #[cfg(test)]
    pub fn sends_in_flight(&self) -> usize {
        self.sends.iter().flatten().count()
    }

    fn enter(&mut self) -> io::Result<()> {
        match self.uring.submit() {
            // Busy: completions wait in the kernel for room, which the caller now makes.
            Err(error) if is_passing(&error) => Ok(()),
            result => result.map(|_| ()),
        }
    }

    /// Lets the kernel finish what it put off. Its flag for that is not asked: whoever turns
    /// the ring and does not wait in it wants to be sure.
    fn run_deferred(&mut self) -> io::Result<()> {
        // SAFETY: no argument is passed, so the kernel reads no memory of ours.
        let entered = unsafe { self.uring.submitter().enter::<()>(0, 0, GET_EVENTS, None) };
        match entered {
            Err(error) if is_passing(&error) => Ok(()),
            result => result.map(|_| ()),
        }
    }

    fn push(&mut self, entry: squeue::Entry, kind: Kind, token: Token) -> io::Result<()> {
        let entry = entry.user_data(name(kind, token));
        // SAFETY: the entry names an open file and, for sends, writes and ticks, memory that
        // `self` keeps in place until the completion (invariant 1).
        while unsafe { self.uring.submission().push(&entry) }.is_err() {
            self.uring.submit()?;
        }
        Ok(())
    }

    fn push_send(&mut self, place: u32) -> io::Result<()> {
        let sending = self.sends[place as usize].as_ref().expect("only live sends are pushed");
        let rest = &sending.bytes[sending.sent..];
        // Waiting for all of it spares a completion for each time the socket's buffer is full.
        let flags = SendFlags::NOSIGNAL.bits() | RecvFlags::WAITALL.bits();
        let length = u32::try_from(rest.len()).expect("unsent bytes are bounded below 4 GiB");
        let entry =
            opcode::Send::new(Fd(sending.socket), rest.as_ptr(), length).flags(flags as i32);
        self.push(entry.build(), Kind::Send, Token { index: place, generation: 0 })
    }

    fn complete(&mut self, entry: &cqueue::Entry) -> io::Result<Option<Completion>> {
        let (kind, token) = parse(entry.user_data());
        let more = cqueue::more(entry.flags());
        let result = match entry.result() {
            length @ 0.. => Ok(length as u32),
            error => Err(Errno::from_raw_os_error(-error)),
        };
        Ok(Some(match kind {
            Kind::Accept => accepted(token.index, result),
            Kind::Receive => self.received(token, result, entry.flags(), more),
            Kind::Send => return self.sent(token.index, result),
            Kind::Tick => Completion::Ticked,
            // Whoever waits is awake by now. The count is never read: each write wakes anew.
            Kind::Bell if more => return Ok(None),
            Kind::Bell => return self.watch_bell().map(|()| None),
            Kind::Write => return self.write_done(result),
            Kind::Sync => Completion::Synced(result.map(|_| ())),
            Kind::Cancel if result.is_err() => Completion::CancelMissed { token },
            Kind::Cancel => return Ok(None),
        }))
    }

    fn received(
        &mut self,
        token: Token,
        result: Result<u32, Errno>,
        flags: u32,
        more: bool,
    ) -> Completion {
        match (result, cqueue::buffer_select(flags)) {
            (Ok(length @ 1..), Some(buffer)) => {
                assert!(length as usize <= BUFFER_BYTES, "the kernel keeps within a buffer");
                Completion::Received { token, filled: Filled { buffer, length }, more }
            }
            (result, buffer) => {
                if let Some(buffer) = buffer {
                    self.buffers.offer(buffer);
                }
                self.buffers.ran_out |= result == Err(Errno::NOBUFS);
                Completion::ReceiveEnded { token, result: result.map(|_| ()) }
            }
        }
    }

    fn sent(&mut self, place: u32, result: Result<u32, Errno>) -> io::Result<Option<Completion>> {
        let slot = &mut self.sends[place as usize];
        let sending = slot.as_mut().expect("a completion belongs to a live send");
        sending.sent += result.unwrap_or(0) as usize;
        if result.is_ok_and(|sent| sent > 0) && sending.sent < sending.bytes.len() {
            self.push_send(place)?;
            return Ok(None);
        }
        let whole = sending.sent == sending.bytes.len();
        let Sending { token, bytes, .. } = slot.take().expect("it was live just now");
        self.free_sends.push(place);
        let result = if whole { Ok(()) } else { Err(result.err().unwrap_or(Errno::PIPE)) };
        Ok(Some(Completion::Sent { token, bytes, result }))
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // The kernel may write to receive buffers (leaked by construction) and read from these
        // for a while after the ring's descriptor is closed.
        for sending in self.sends.drain(..) {
            std::mem::forget(sending);
        }
        std::mem::forget(self.writing.take());
        Box::leak(std::mem::replace(&mut self.tick, Box::new(Timespec::new())));
    }
}

fn accepted(listener: u32, result: Result<u32, Errno>) -> Completion {
    match result {
        Ok(number) => {
            // SAFETY: the kernel has just made this descriptor for us; nobody else knows it.
            let socket = unsafe { OwnedFd::from_raw_fd(number as RawFd) };
            Completion::Accepted { listener, socket }
        }
        Err(error) => Completion::AcceptFailed { listener, error },
    }
}

/// kind (8 bits) | generation (24) | index (32).
fn name(kind: Kind, token: Token) -> u64 {
    let generation = u64::from(token.generation & 0xFF_FFFF);
    (kind as u64) << 56 | generation << 32 | u64::from(token.index)
}

fn parse(name: u64) -> (Kind, Token) {
    let kind = match name >> 56 {
        1 => Kind::Accept,
        2 => Kind::Receive,
        3 => Kind::Send,
        4 => Kind::Cancel,
        5 => Kind::Tick,
        6 => Kind::Bell,
        7 => Kind::Write,
        8 => Kind::Sync,
        other => panic!("a completion of kind {other}, which was never asked for"),
    };
    (kind, Token { index: name as u32, generation: (name >> 32) as u32 & 0xFF_FFFF })
}

/// Errors of entering the ring that are over when completions have been taken.
fn is_passing(error: &io::Error) -> bool {
    let passing = [Errno::BUSY, Errno::INTR, Errno::AGAIN];
    passing.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

fn is_timeout(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::TIME.raw_os_error())
}

/// Ends both directions of a socket: what is armed on it completes.
pub fn cut(socket: &impl AsFd) {
    // A socket that is gone already is as good as cut.
    let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Both);
}

#[cfg(test)]
mod stress_peers;
#[cfg(test)]
mod stress_tests;
#[cfg(test)]
#[path = "ring_tests.rs"]
mod tests;
