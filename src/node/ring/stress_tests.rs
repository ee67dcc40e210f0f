//! The ring under stress: many connections over two rings of one thread, as shards have them, with
//! cancels and hand-offs in the midst of data, ends of input, resets and rings without buffers, and
//! a log that is written meanwhile. Every byte is known by its connection and place.
//!
//! Planted mistakes that it was seen to catch: a buffer given back twice, given back while it is
//! lent, or never; bytes of a send, or of a write to the log, freed before they are sent; names
//! without their generation.

use super::stress_peers::{Mode, Peer, Peers, fill, is_of, word};
use super::*;
use crate::node::clock::steady_nanos;
use crate::store::aligned::{AlignedBuffer, BLOCK_BYTES};
use crate::store::view::tests::TempFolder;
use rustix::event::{EventfdFlags, eventfd};
use rustix::net::{Shutdown, shutdown};
use std::collections::VecDeque;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;

/// How long there is stress, ns; what is under way then has half a minute to end.
const STRESS_NS: u64 = 4_000_000_000;
const PATIENCE_NS: u64 = 30_000_000_000;
/// Connections at a time.
const PLACES: usize = 48;
/// What memory holds that its owner has given away or back.
const POISON: u8 = 0xE7;
/// How writes to the log end, in turn.
const ENDS: [Ends; 3] = [Ends::Synced, Ends::Written, Ends::Flushed];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Receiving {
    Off,
    Armed,
    Ending,
}

/// The server's end of a connection.
struct End {
    socket: OwnedFd,
    serial: u32,
    generation: u32,
    ring: usize,
    receiving: Receiving,
    received: u64,
    sent: u64,
    is_sending: bool,
    is_over: bool,
}

/// A buffer that is lent, and what must be in it as long as it is.
struct Lent {
    ring: usize,
    filled: Filled,
    serial: u32,
    at: u64,
}

#[derive(Default, Debug)]
struct Seen {
    bytes: u64,
    moves: u64,
    missed: u64,
    starved: u64,
    ends: u64,
    resets: u64,
    writes: u64,
}

struct Stress {
    rings: [Ring; 2],
    ends: Vec<End>,
    lent: VecDeque<Lent>,
    is_lent: [Vec<bool>; 2],
    log: File,
    wrote: Option<u64>,
    dice: u64,
    serials: u32,
    peers: Peers,
    seen: Seen,
}

impl Stress {
    fn new(folder: &TempFolder) -> Stress {
        let ring = || {
            let bell = eventfd(0, EventfdFlags::CLOEXEC).expect("an eventfd");
            Ring::new(bell).expect("this machine has io_uring")
        };
        fs::create_dir_all(folder.path()).expect("temporary");
        let path = folder.path().join("log");
        let log = File::options().read(true).write(true).create_new(true).open(path);
        let is_lent = || vec![false; usize::from(BUFFERS)];
        let mut stress = Stress {
            rings: [ring(), ring()],
            ends: Vec::new(),
            lent: VecDeque::new(),
            is_lent: [is_lent(), is_lent()],
            log: log.expect("temporary"),
            wrote: None,
            dice: 7,
            serials: 0,
            peers: Peers::start(),
            seen: Seen::default(),
        };
        for place in 0..PLACES {
            let end = stress.open(place, 0);
            stress.ends.push(end);
        }
        stress
    }

    fn below(&mut self, end: u64) -> u64 {
        self.dice += 1;
        word(self.dice) % end
    }

    /// A new connection for a place; its peer begins to talk.
    fn open(&mut self, place: usize, generation: u32) -> End {
        let serial = self.serials;
        self.serials += 1;
        let (ours, theirs) = super::tests::pair();
        let mode = if self.below(4) == 0 { Mode::Reset } else { Mode::Shut };
        let total = 1 + self.below(400_000);
        self.peers.talk(Peer::new(theirs, serial, total, mode));
        let (ring, receiving) = (place % 2, Receiving::Off);
        let (received, sent, is_sending, is_over) = (0, 0, false, false);
        End {
            socket: ours,
            serial,
            generation,
            ring,
            receiving,
            received,
            sent,
            is_sending,
            is_over,
        }
    }

    fn token(&self, place: usize) -> Token {
        Token { index: place as u32, generation: self.ends[place].generation }
    }

    /// The place that a completion is for; `None`: it has somebody else by now.
    fn place_of(&self, token: Token) -> Option<usize> {
        let place = token.index as usize;
        (self.ends[place].generation == token.generation).then_some(place)
    }

    fn turn(&mut self, ring: usize) {
        let mut completions = Vec::new();
        self.rings[ring].turn(&mut completions).expect("the ring turns");
        for completion in completions {
            self.note(ring, completion);
        }
    }

    fn note(&mut self, ring: usize, completion: Completion) {
        match completion {
            Completion::Received { token, filled, more } => {
                let place = self.place_of(token).expect("nobody leaves with a receive armed");
                self.lend(ring, place, filled);
                if !more {
                    self.ends[place].receiving = Receiving::Off;
                }
            }
            Completion::ReceiveEnded { token, result } => {
                let place = self.place_of(token).expect("nobody leaves with a receive armed");
                assert!(
                    self.ends[place].ring == ring && self.ends[place].receiving != Receiving::Off
                );
                self.ends[place].receiving = Receiving::Off;
                match result {
                    Ok(()) => self.ended(place),
                    Err(Errno::CANCELED | Errno::INTR | Errno::AGAIN) => {}
                    Err(Errno::NOBUFS) => self.seen.starved += 1,
                    Err(_) => {
                        self.seen.resets += 1;
                        self.ends[place].is_over = true;
                    }
                }
            }
            Completion::CancelMissed { token } => {
                self.seen.missed += 1;
                let place = self.place_of(token);
                let is_there = |place: &usize| {
                    let end = &self.ends[*place];
                    end.receiving == Receiving::Ending && end.ring == ring
                };
                if place.filter(is_there).is_some() {
                    self.rings[ring].cancel_receive(token).expect("pushed");
                }
            }
            Completion::Sent { token, mut bytes, result } => {
                let place = self.place_of(token).expect("nobody leaves while he sends");
                let end = &mut self.ends[place];
                assert!(
                    is_of(!end.serial, end.sent, &bytes),
                    "a send's bytes are as they were given"
                );
                bytes.fill(POISON);
                end.sent += bytes.len() as u64;
                (end.is_sending, end.is_over) = (false, end.is_over || result.is_err());
            }
            Completion::Written { mut buffer, result } => {
                let number = self.wrote.take().expect("a write was asked for");
                assert_eq!(result, Ok(()));
                assert!(is_of(number as u32, 0, buffer.bytes()), "as it was given");
                let mut on_disk = vec![0; buffer.len()];
                self.log.read_exact_at(&mut on_disk, number % 8 * 65_536).expect("written");
                assert!(on_disk == buffer.bytes(), "write {number} is what the file has");
                buffer.bytes_mut().fill(POISON);
                self.seen.writes += 1;
            }
            other => panic!("{other:?} was not asked for"),
        }
    }

    /// What came in must follow what came before; it is looked at again before it is given back.
    fn lend(&mut self, ring: usize, place: usize, mut filled: Filled) {
        let end = &mut self.ends[place];
        assert_eq!(end.ring, ring, "it receives where it is");
        let is_lent = &mut self.is_lent[ring][usize::from(filled.buffer)];
        assert!(!std::mem::replace(is_lent, true), "a buffer is lent to one at a time");
        let (serial, at) = (end.serial, end.received);
        assert!(is_of(serial, at, self.rings[ring].bytes(&mut filled)), "in order, and each once");
        end.received += filled.length() as u64;
        self.seen.bytes += filled.length() as u64;
        self.lent.push_back(Lent { ring, filled, serial, at });
    }

    fn give_back(&mut self) {
        let Some(Lent { ring, mut filled, serial, at }) = self.lent.pop_front() else { return };
        let bytes = self.rings[ring].bytes(&mut filled);
        assert!(is_of(serial, at, bytes), "nobody writes to a buffer that is lent");
        bytes.fill(POISON);
        self.is_lent[ring][usize::from(filled.buffer)] = false;
        self.rings[ring].give_back(filled);
    }

    fn ended(&mut self, place: usize) {
        self.seen.ends += 1;
        let end = &mut self.ends[place];
        let total = self.peers.total_of(end.serial);
        assert!(total.is_none_or(|total| total == end.received), "the end comes after all bytes");
        end.is_over = true;
    }

    /// Something that a shard might do with a connection now.
    fn act(&mut self, place: usize, comes_again: bool) {
        let (token, dice) = (self.token(place), self.below(16));
        let size = 1 + self.below(60_000) as usize;
        let end = &mut self.ends[place];
        if end.is_over {
            if end.receiving != Receiving::Off || end.is_sending {
                cut(&end.socket);
            } else if comes_again {
                let generation = end.generation + 1;
                self.ends[place] = self.open(place, generation);
            }
            return;
        }
        match (end.receiving, dice) {
            (Receiving::Off, 0..8) => {
                // It has nothing in flight but perhaps a send: it may go to the other ring.
                if !end.is_sending && dice < 4 {
                    end.ring = 1 - end.ring;
                    self.seen.moves += 1;
                }
                end.receiving = Receiving::Armed;
                self.rings[end.ring].receive(end.socket.as_fd(), token).expect("pushed");
            }
            (Receiving::Armed, 0) => {
                end.receiving = Receiving::Ending;
                self.rings[end.ring].cancel_receive(token).expect("pushed");
            }
            _ => {}
        }
        let end = &mut self.ends[place];
        if dice < 3 && !end.is_sending {
            end.is_sending = true;
            let mut bytes = vec![0; size];
            fill(!end.serial, end.sent, &mut bytes);
            self.rings[end.ring].send(end.socket.as_fd(), token, bytes).expect("pushed");
        }
    }

    /// Writes blocks of a number of their own over those of eight writes ago.
    fn write(&mut self) {
        if self.wrote.is_some() {
            return;
        }
        let number = self.seen.writes;
        let mut buffer = AlignedBuffer::with_capacity(0);
        buffer.extend(&vec![0; BLOCK_BYTES * (1 + self.below(16) as usize)]);
        fill(number as u32, 0, buffer.bytes_mut());
        self.wrote = Some(number);
        let at = number % 8 * 65_536;
        self.rings[0]
            .write(self.log.as_fd(), buffer, 0, at, ENDS[number as usize % ENDS.len()])
            .expect("pushed");
    }

    fn stress(&mut self, begun: u64) {
        while steady_nanos() - begun < STRESS_NS {
            // Now and then nothing is given back until there is nothing left to lend.
            let is_greedy = (steady_nanos() - begun) / 250_000_000 % 4 == 3;
            for ring in 0..2 {
                self.turn(ring);
            }
            for place in 0..PLACES {
                self.act(place, true);
            }
            self.write();
            let count = if is_greedy { 0 } else { self.below(1 + 2 * self.lent.len() as u64) };
            (0..count).for_each(|_| self.give_back());
        }
    }

    /// Lets everything end, and asserts that it does.
    fn settle(&mut self, begun: u64) {
        self.peers.finish();
        let is_busy = |end: &End| !end.is_over || end.is_sending || end.receiving != Receiving::Off;
        while self.ends.iter().any(is_busy) || self.wrote.is_some() {
            (0..2).for_each(|ring| self.turn(ring));
            (0..PLACES).for_each(|place| self.act(place, false));
            while !self.lent.is_empty() {
                self.give_back();
            }
            assert!(steady_nanos() - begun < PATIENCE_NS, "{:?}", self.seen);
            std::thread::yield_now();
        }
        for end in &self.ends {
            // The peer hears the end, if it is still there.
            let _ = shutdown(&end.socket, Shutdown::Both);
        }
    }

    /// Each buffer in use can be lent, and none of them twice: none was lost, none doubled.
    fn account(&mut self) {
        for ring in 0..2 {
            assert_eq!(self.rings[ring].sends_in_flight(), 0);
            assert_eq!(self.rings[ring].free_sends.len(), self.rings[ring].sends.len());
            let used = usize::from(self.rings[ring].buffers.used);
            let (ours, theirs) = super::tests::pair();
            let token = Token { index: u32::MAX, generation: 1 };
            self.rings[ring].receive(ours.as_fd(), token).expect("armed");
            let (mut lent, mut is_out, begun) = (Vec::new(), false, steady_nanos());
            while !is_out {
                rustix::io::write(&theirs, &[1]).expect("written");
                let mut completions = Vec::new();
                self.rings[ring].turn(&mut completions).expect("turned");
                for completion in completions {
                    match completion {
                        Completion::Received { filled, .. } => lent.push(filled.buffer),
                        Completion::ReceiveEnded { .. } => is_out = true,
                        // A cancel that was overtaken by the end of all.
                        Completion::CancelMissed { .. } => {}
                        other => panic!("{other:?}"),
                    }
                }
                assert!(steady_nanos() - begun < PATIENCE_NS, "buffers never run out");
            }
            lent.sort_unstable();
            assert_eq!(lent, (0..used as u16).collect::<Vec<u16>>(), "each buffer once");
        }
    }
}

/// Invariant 1 of node::ring.
/// Invariant 2 of node::ring.
/// Invariant 3 of node::ring.
#[test]
fn under_stress_no_byte_and_no_buffer_is_lost_doubled_or_touched_by_two() {
    let folder = TempFolder::new();
    let mut stress = Stress::new(&folder);
    let begun = steady_nanos();
    stress.stress(begun);
    stress.settle(begun);
    let heard = stress.peers.join();
    stress.account();
    let seen = &stress.seen;
    let (Seen { moves, starved, ends, resets, writes, .. }, serials) = (seen, stress.serials);
    eprintln!("{seen:?}, {serials} connections, {heard} bytes came back");
    assert!([moves, starved, ends, resets, writes].iter().all(|count| **count > 0), "{seen:?}");
    assert!(heard > 0, "sends arrive");
}
