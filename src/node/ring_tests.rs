//! Tests of the ring on connections over loopback TCP, as the server has them.

use super::buffers::BUFFERS_AT_FIRST;
use super::*;
use rustix::event::{EventfdFlags, eventfd};
use rustix::net::{Shutdown, shutdown, sockopt};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

const TOKEN: Token = Token { index: 7, generation: 3 };

fn ring() -> Ring {
    let bell = eventfd(0, EventfdFlags::CLOEXEC).expect("an eventfd");
    Ring::new(bell).expect("this machine has io_uring")
}

/// Both ends of a connection: the server's, the client's.
pub(super) fn pair() -> (OwnedFd, OwnedFd) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let theirs = TcpStream::connect(listener.local_addr().expect("bound")).expect("connected");
    let (ours, _) = listener.accept().expect("accepted");
    (ours.into(), theirs.into())
}

/// Turns the ring until `enough` says so of all completions so far, or half a minute has passed.
fn until(ring: &mut Ring, mut enough: impl FnMut(&[Completion]) -> bool) -> Vec<Completion> {
    let mut all = Vec::new();
    let start = crate::node::clock::steady_nanos();
    while !enough(&all) {
        ring.turn(&mut all).expect("the ring turns");
        let waited = crate::node::clock::steady_nanos() - start;
        assert!(waited < 30_000_000_000, "nothing more than {all:?} happened");
        std::thread::yield_now();
    }
    all
}

fn has_ended(all: &[Completion]) -> bool {
    let last = |completion: &Completion| match completion {
        Completion::Received { more, .. } => !more,
        Completion::ReceiveEnded { .. } => true,
        _ => false,
    };
    all.iter().any(last)
}

/// Appends received bytes in order, gives buffers back, and returns how the receive ended.
fn take_bytes(
    ring: &mut Ring,
    all: Vec<Completion>,
    bytes: &mut Vec<u8>,
) -> Option<Result<(), Errno>> {
    let mut end = None;
    for completion in all {
        match completion {
            Completion::Received { mut filled, token, .. } => {
                assert_eq!(token, TOKEN);
                bytes.extend_from_slice(ring.bytes(&mut filled));
                ring.give_back(filled);
            }
            Completion::ReceiveEnded { result, .. } => end = Some(result),
            _ => {}
        }
    }
    end
}

/// Cancels the receive, again if it was missed, and returns all that completed until it ended.
fn cancel(ring: &mut Ring) -> Vec<Completion> {
    let is_missed = |completion: &Completion| matches!(completion, Completion::CancelMissed { .. });
    let mut before = Vec::new();
    loop {
        ring.cancel_receive(TOKEN).expect("cancelled");
        let all = until(ring, |all| has_ended(all) || all.iter().any(is_missed));
        let ended = has_ended(&all);
        before.extend(all);
        if ended {
            return before;
        }
    }
}

/// Invariant 3 of node::ring.
#[test]
fn cancel_racing_with_data_loses_and_doubles_nothing() {
    let mut ring = ring();
    for round in 0..300_usize {
        let (ours, theirs) = pair();
        ring.receive(ours.as_fd(), TOKEN).expect("armed");
        let sent: Vec<u8> = (0..20_000).map(|at| (at * 7 + round) as u8).collect();
        let writer = {
            let sent = sent.clone();
            std::thread::spawn(move || {
                for part in sent.chunks(1 + round * 13) {
                    rustix::io::write(&theirs, part).expect("written");
                }
            })
        };
        let mut received = Vec::new();
        // Cancel at a moment that differs from round to round, as a hand-off does.
        let wanted = round * 50;
        let mut count = 0;
        let mut end = None;
        while count < wanted && end.is_none() {
            let mut all = Vec::new();
            ring.turn(&mut all).expect("turned");
            end = if has_ended(&all) { Some(Ok(())) } else { None };
            let ended = take_bytes(&mut ring, all, &mut received);
            end = ended.or(end);
            count = received.len();
        }
        if end.is_none() {
            let all = cancel(&mut ring);
            end = take_bytes(&mut ring, all, &mut received);
        }
        // Another ring goes on where this one stopped.
        while end != Some(Ok(())) || received.len() < sent.len() {
            ring.receive(ours.as_fd(), TOKEN).expect("armed again");
            let all = until(&mut ring, has_ended);
            end = take_bytes(&mut ring, all, &mut received).or(end);
            if received.len() == sent.len() && end == Some(Ok(())) {
                break;
            }
        }
        writer.join().expect("the writer ends");
        assert!(received == sent, "round {round}: bytes differ");
    }
}

#[test]
fn the_end_of_input_is_told_after_all_bytes() {
    let mut ring = ring();
    let (ours, theirs) = pair();
    rustix::io::write(&theirs, b"last words").expect("written");
    drop(theirs);
    ring.receive(ours.as_fd(), TOKEN).expect("armed");
    let all = until(&mut ring, has_ended);
    let mut bytes = Vec::new();
    assert_eq!(take_bytes(&mut ring, all, &mut bytes), Some(Ok(())));
    assert_eq!(bytes, b"last words");
}

#[test]
fn the_end_that_comes_with_the_last_bytes_is_told() {
    let mut ring = ring();
    for round in 0..500 {
        let (ours, theirs) = pair();
        ring.receive(ours.as_fd(), TOKEN).expect("armed");
        ring.turn(&mut Vec::new()).expect("turned");
        // The kernel notes two events, and both are due when the ring looks.
        rustix::io::write(&theirs, b"last words").expect("written");
        if round % 2 == 0 {
            shutdown(&theirs, Shutdown::Write).expect("shut");
        } else {
            drop(theirs);
        }
        let all = until(&mut ring, has_ended);
        let mut bytes = Vec::new();
        assert_eq!(take_bytes(&mut ring, all, &mut bytes), Some(Ok(())), "round {round}");
        assert_eq!(bytes, b"last words");
    }
}

/// Invariant 1 of node::ring.
#[test]
fn without_buffers_a_receive_ends_and_goes_on_later() {
    let mut ring = ring();
    let (ours, theirs) = pair();
    let total = (usize::from(BUFFERS) + 10) * BUFFER_BYTES;
    let writer = std::thread::spawn(move || {
        let bytes: Vec<u8> = (0..total).map(|at| (at / 4096) as u8).collect();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let written = rustix::io::write(&theirs, rest).expect("written");
            rest = &rest[written..];
        }
    });
    let mut received = Vec::new();
    let mut starved = false;
    while received.len() < total {
        ring.receive(ours.as_fd(), TOKEN).expect("armed");
        let held = until(&mut ring, |all| {
            let length = |completion: &Completion| match completion {
                Completion::Received { filled, .. } => filled.length(),
                _ => 0,
            };
            has_ended(all) || received.len() + all.iter().map(length).sum::<usize>() == total
        });
        let end = take_bytes(&mut ring, held, &mut received);
        starved |= end == Some(Err(Errno::NOBUFS));
    }
    writer.join().expect("the writer ends");
    assert!(starved, "buffers never ran out");
    assert!(received.iter().enumerate().all(|(at, byte)| *byte == (at / 4096) as u8));
}

/// Invariant 1 of node::ring.
/// Invariant 1 of node::ring::buffers.
#[test]
fn buffers_are_taken_into_use_only_when_they_run_out() {
    let mut ring = ring();
    let (ours, theirs) = pair();
    ring.receive(ours.as_fd(), TOKEN).expect("armed");
    for _ in 0..2 * BUFFERS {
        rustix::io::write(&theirs, b"a heartbeat").expect("written");
        let all = until(&mut ring, |all| !all.is_empty());
        assert_eq!(take_bytes(&mut ring, all, &mut Vec::new()), None);
    }
    assert_eq!(ring.buffers.used, BUFFERS_AT_FIRST, "one at a time needs no more");
    let mut held = Vec::new();
    for used in [128, 256, 512, 1024, 1024] {
        while !held.iter().any(|completion| matches!(completion, Completion::ReceiveEnded { .. })) {
            rustix::io::write(&theirs, b"a heartbeat").expect("written");
            ring.turn(&mut held).expect("turned");
        }
        assert_eq!(ring.buffers.used, used);
        held.pop();
        ring.receive(ours.as_fd(), TOKEN).expect("armed again");
    }
    assert_eq!(held.len(), usize::from(BUFFERS), "every buffer was lent once");
    let _ = take_bytes(&mut ring, held, &mut Vec::new());
}

#[test]
fn a_send_gives_its_bytes_back_when_all_have_left() {
    let mut ring = ring();
    let (ours, theirs) = pair();
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|at| at as u8).collect();
    ring.send(ours.as_fd(), TOKEN, bytes.clone()).expect("sent");
    let reader = std::thread::spawn(move || {
        let mut all = vec![0; 3_000_000];
        let mut at = 0;
        while at < all.len() {
            at += rustix::io::read(&theirs, &mut all[at..]).expect("read");
        }
        all
    });
    let all = until(&mut ring, |all| !all.is_empty());
    let Completion::Sent { token, bytes: back, result } = &all[0] else { panic!("{all:?}") };
    assert_eq!((*token, *result), (TOKEN, Ok(())));
    assert!(*back == bytes && reader.join().expect("the reader ends") == bytes);
}

#[test]
fn a_dead_peer_fails_the_send_and_not_the_process() {
    let mut ring = ring();
    let (ours, theirs) = pair();
    // Closed with a reset, the peer is dead at once.
    sockopt::set_socket_linger(&theirs, Some(Duration::ZERO)).expect("a socket");
    drop(theirs);
    for error in [Errno::CONNRESET, Errno::PIPE] {
        ring.send(ours.as_fd(), TOKEN, vec![1; 100]).expect("pushed");
        let all = until(&mut ring, |all| !all.is_empty());
        let Completion::Sent { bytes, result, .. } = &all[0] else { panic!("{all:?}") };
        assert_eq!((bytes.len(), *result), (100, Err(error)));
    }
}

/// Invariant 4 of node::ring.
#[test]
fn completions_beyond_the_queue_wait_in_the_kernel() {
    let mut ring = ring();
    let sockets: Vec<_> = (0..200).map(|_| pair()).collect();
    let count = 20_000;
    for at in 0..count {
        let socket = sockets[at as usize % sockets.len()].0.as_fd();
        ring.cancel_receive(Token { index: at, generation: 1 }).expect("pushed");
        ring.send(socket, Token { index: at, generation: 0 }, vec![0; 16]).expect("pushed");
    }
    let all = until(&mut ring, |all| all.len() == 2 * count as usize);
    let mut seen = vec![[false; 2]; count as usize];
    for completion in &all {
        let (token, kind) = match completion {
            Completion::Sent { token, result: Ok(()), .. } => (token, 0),
            Completion::CancelMissed { token } => (token, 1),
            other => panic!("{other:?}"),
        };
        let seen = &mut seen[token.index as usize][kind];
        assert!(!std::mem::replace(seen, true), "told twice");
    }
}

/// Invariant 2 of node::ring.
#[test]
fn names_carry_kind_generation_and_index() {
    let token = Token { index: u32::MAX, generation: 0xAB_CDEF };
    for kind in [Kind::Accept, Kind::Receive, Kind::Send, Kind::Cancel, Kind::Tick, Kind::Bell] {
        assert_eq!(parse(name(kind, token)), (kind, token));
    }
}
