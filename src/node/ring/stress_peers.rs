//! The other ends of the stress test's connections: two threads that write and read in pieces of
//! any size, and know every byte.

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown, sockopt};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// How a peer ends when it has said all.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It says no more, and hears what there is.
    Shut,
    /// It is gone at once.
    Reset,
}

/// A peer.
pub struct Peer {
    socket: OwnedFd,
    serial: u32,
    total: u64,
    mode: Mode,
    said: u64,
    heard: u64,
    is_over: bool,
}

/// A number that looks random and is the same for the same input (SplitMix64).
pub fn word(input: u64) -> u64 {
    let mut bits = input.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

/// The bytes of a stream from a place on.
fn stream(serial: u32, at: u64) -> impl Iterator<Item = u8> {
    let words = (at >> 3..).map(move |place| word(u64::from(serial) << 32 | place));
    words.flat_map(u64::to_le_bytes).skip((at & 7) as usize)
}

/// Fills in the bytes of a stream from a place on.
pub fn fill(serial: u32, at: u64, bytes: &mut [u8]) {
    bytes.iter_mut().zip(stream(serial, at)).for_each(|(byte, right)| *byte = right);
}

/// Whether these are the bytes of a stream from a place on.
pub fn is_of(serial: u32, at: u64, bytes: &[u8]) -> bool {
    bytes.iter().zip(stream(serial, at)).all(|(byte, right)| *byte == right)
}

impl Peer {
    pub fn new(socket: OwnedFd, serial: u32, total: u64, mode: Mode) -> Peer {
        Peer { socket, serial, total, mode, said: 0, heard: 0, is_over: false }
    }

    fn speak(&mut self, dice: u64, ends_now: bool) {
        if self.said == self.total {
            return;
        }
        let most = if dice.is_multiple_of(3) { 100 } else { 20_000 };
        let rest = (self.total - self.said) as usize;
        let mut bytes = vec![0; (1 + dice % most).min(rest as u64) as usize];
        fill(self.serial, self.said, &mut bytes);
        match send(&self.socket, &bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(count) => self.said += count as u64,
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.is_over = true,
        }
        if self.said == self.total || (ends_now && self.mode == Mode::Reset) {
            match self.mode {
                Mode::Shut => shutdown(&self.socket, Shutdown::Write).unwrap_or_default(),
                Mode::Reset => {
                    sockopt::set_socket_linger(&self.socket, Some(Duration::ZERO))
                        .expect("a socket");
                    self.is_over = true;
                }
            }
        }
    }

    fn listen(&mut self, part: &mut [u8]) {
        match recv(&self.socket, &mut *part, RecvFlags::DONTWAIT) {
            Ok((0, _)) => self.is_over = true,
            Ok((count, _)) => {
                assert!(is_of(!self.serial, self.heard, &part[..count]), "what was sent arrives");
                self.heard += count as u64;
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.is_over = true,
        }
    }
}

/// All peers.
pub struct Peers {
    queues: Vec<Sender<Peer>>,
    threads: Vec<JoinHandle<u64>>,
    is_ending: Arc<AtomicBool>,
    totals: BTreeMap<u32, u64>,
}

impl Peers {
    pub fn start() -> Peers {
        let is_ending = Arc::new(AtomicBool::new(false));
        let (mut queues, mut threads) = (Vec::new(), Vec::new());
        for seed in 0..2 {
            let (queue, inbox) = channel();
            let is_ending = is_ending.clone();
            queues.push(queue);
            threads.push(std::thread::spawn(move || run(&inbox, seed << 40, &is_ending)));
        }
        Peers { queues, threads, is_ending, totals: BTreeMap::new() }
    }

    pub fn talk(&mut self, peer: Peer) {
        if peer.mode == Mode::Shut {
            self.totals.insert(peer.serial, peer.total);
        }
        let queue = &self.queues[peer.serial as usize % self.queues.len()];
        queue.send(peer).expect("peers end last");
    }

    /// How much a peer says in all, if all of it must arrive.
    pub fn total_of(&self, serial: u32) -> Option<u64> {
        self.totals.get(&serial).copied()
    }

    /// No more peers come, and those there are say what they have to say.
    pub fn finish(&mut self) {
        self.is_ending.store(true, Ordering::SeqCst);
        self.queues.clear();
    }

    /// What all of them have heard, bytes.
    pub fn join(&mut self) -> u64 {
        self.threads.drain(..).map(|thread| thread.join().expect("every byte was right")).sum()
    }
}

fn run(inbox: &Receiver<Peer>, seed: u64, is_ending: &AtomicBool) -> u64 {
    let (mut peers, mut heard, mut dice, mut part) = (Vec::new(), 0, seed, vec![0; 32 * 1024]);
    loop {
        let ends_now = is_ending.load(Ordering::SeqCst);
        peers.extend(inbox.try_iter());
        for peer in &mut peers {
            dice += 1;
            let said = word(dice);
            if said & 0xF00 != 0 {
                peer.speak(said, ends_now);
            }
            peer.listen(&mut part);
            if peer.is_over {
                heard += peer.heard;
            }
        }
        peers.retain(|peer: &Peer| !peer.is_over);
        if peers.is_empty() && ends_now {
            return heard;
        }
        std::thread::yield_now();
    }
}
