//! Listening sockets: one of each kind a shard, all on the same ports.
//!
//! Invariants:
//! 1. An address that another process listens on is refused, though ports are shared among shards.
//! 2. When descriptors run out accepting pauses for [`ACCEPT_PAUSE_MS`]; it never spins, and
//!    connections that are open go on.
//! 3. Connections have the lowest descriptors alone: of those above, which the server needs for its
//!    files, no more than [`ACCEPTS_AT_ONCE`] of each listening socket are ever a connection's, and
//!    that is closed as soon as it is seen.
//!
//! The kernel gives the lowest descriptor that is free: who is given a high one is told by it that
//! all below are taken.
//!
//! Left to others: what is accepted (`shard_loop`).

use crate::limits::{
    ACCEPT_PAUSE_MS, ACCEPT_SAID_MS, ACCEPTS_AT_ONCE, FILES_KEPT, FILES_KEPT_PARTS,
    FILES_KEPT_PER_SHARD,
};
use crate::metrics::Gauge;
use crate::node::ring::Ring;
use crate::wire::session::Port;
use rustix::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, listen, sockopt};
use std::fmt::Display;
use std::io;
use std::net::SocketAddr;

/// Connections that wait to be accepted, as far as the kernel allows (somaxconn).
const BACKLOG: i32 = 65_535;

/// Why accepting pauses, usually.
const FULL: &str = "as many are open as there are descriptors for (ulimit -n)";

/// The two ports, by their index in [`Listeners`].
pub const PORTS: [Port; 2] = [Port::Http, Port::WebSocket];

/// One listening socket for each shard, all on one address. Port 0 becomes a free one.
pub fn bind_all(address: SocketAddr, shards: u16) -> io::Result<(SocketAddr, Vec<OwnedFd>)> {
    // Shared ports would let a second server in silently: this one shares with nobody.
    drop(bind_one(address, Sharing::Nobody)?);
    let first = bind_one(address, Sharing::Shards)?;
    let address = SocketAddr::try_from(getsockname(&first)?)?;
    let mut sockets = vec![first];
    for _ in 1..shards {
        sockets.push(bind_one(address, Sharing::Shards)?);
    }
    for socket in &sockets {
        listen(socket, BACKLOG)?;
    }
    Ok((address, sockets))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sharing {
    Nobody,
    Shards,
}

fn bind_one(address: SocketAddr, sharing: Sharing) -> io::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_reuseport(&socket, sharing == Sharing::Shards)?;
    // Accepted sockets inherit it.
    sockopt::set_tcp_nodelay(&socket, true)?;
    bind(&socket, &address)?;
    Ok(socket)
}

/// How many of so many descriptors connections may have.
pub fn files_for_connections(files: u64, shards: u16) -> u64 {
    let kept = FILES_KEPT + FILES_KEPT_PER_SHARD * u64::from(shards);
    files - kept.min(files / FILES_KEPT_PARTS)
}

/// A shard's listening sockets.
pub struct Listeners {
    sockets: [Option<OwnedFd>; 2],
    /// Accepts that are armed, of each.
    armed: [u32; 2],
    /// As many may be: few after a pause, more as connections come in.
    at_once: u32,
    paused_until_ms: Option<u64>,
    /// Until when it is not said again that accepting pauses.
    is_said_until_ms: u64,
    /// The first descriptor that is none for connections.
    files_end: u64,
}

impl Listeners {
    /// Listening sockets of one shard, in the order of [`PORTS`]; connections have the descriptors
    /// below `files_end`.
    pub fn new(http: Option<OwnedFd>, ws: Option<OwnedFd>, files_end: u64) -> Listeners {
        Listeners {
            sockets: [http, ws],
            armed: [0; 2],
            at_once: 1,
            paused_until_ms: None,
            is_said_until_ms: 0,
            files_end,
        }
    }

    /// Arms what is not armed, unless accepting pauses.
    pub fn accept(&mut self, ring: &mut Ring, now_ms: u64) -> io::Result<()> {
        if let Some(until) = self.paused_until_ms {
            if now_ms < until {
                return Ok(());
            }
            if !self.has_room() {
                self.pause(now_ms, &FULL);
                return Ok(());
            }
            self.paused_until_ms = None;
        }
        for (index, socket) in self.sockets.iter().enumerate() {
            let Some(socket) = socket else { continue };
            while self.armed[index] < self.at_once {
                self.armed[index] += 1;
                ring.accept(socket.as_fd(), index as u32)?;
            }
        }
        Ok(())
    }

    /// A connection came in. `false`: there is no room for it, and accepting pauses.
    pub fn accepted(&mut self, index: u32, socket: &OwnedFd, now_ms: u64) -> bool {
        self.armed[index as usize] -= 1;
        let has_room = self.is_low(socket.as_raw_fd());
        match has_room {
            true => self.at_once = (self.at_once + 1).min(ACCEPTS_AT_ONCE),
            false => self.pause(now_ms, &FULL),
        }
        has_room
    }

    /// None came in: for want of descriptors, most likely.
    pub fn failed(&mut self, index: u32, error: Errno, now_ms: u64) {
        self.armed[index as usize] -= 1;
        if error != Errno::CONNABORTED && error != Errno::CANCELED {
            self.pause(now_ms, &error);
        }
    }

    fn pause(&mut self, now_ms: u64, why: &dyn Display) {
        if now_ms >= self.is_said_until_ms {
            self.is_said_until_ms = now_ms + ACCEPT_SAID_MS;
            tracing::warn!("connections wait to be accepted: {why}");
        }
        self.at_once = 1;
        self.paused_until_ms = Some(now_ms + ACCEPT_PAUSE_MS);
    }

    /// Whether the next descriptor is one for connections.
    fn has_room(&self) -> bool {
        let Some(socket) = self.sockets.iter().flatten().next() else { return false };
        let next = rustix::io::fcntl_dupfd_cloexec(socket, 0);
        next.is_ok_and(|next| self.is_low(next.as_raw_fd()))
    }

    fn is_low(&self, file: RawFd) -> bool {
        u64::try_from(file).is_ok_and(|file| file < self.files_end)
    }

    /// Whether accepting pauses.
    pub fn is_paused(&self) -> bool {
        self.paused_until_ms.is_some()
    }

    /// The figure for [`Gauge::AcceptPaused`].
    pub fn gauge(&self) -> (Gauge, u64) {
        (Gauge::AcceptPaused, u64::from(self.is_paused()))
    }

    /// Accepts nothing from now on, and lets others have the ports.
    pub fn stop(&mut self, ring: &mut Ring) -> io::Result<()> {
        for index in 0..self.sockets.len() {
            if self.armed[index] > 0 {
                ring.cancel_accepts(index as u32)?;
            }
        }
        self.sockets = [None, None];
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Invariant 1 of node::listener.
    #[test]
    fn shards_share_a_port_and_a_second_server_is_refused() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let (address, sockets) = bind_all(any, 3).expect("a free port");
        assert_eq!(sockets.len(), 3);
        assert_ne!(address.port(), 0);
        let refused = bind_all(address, 1).expect_err("somebody listens there");
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn connections_leave_descriptors_to_the_server() {
        assert_eq!(files_for_connections(20_000, 2), 20_000 - 64 - 2 * 192);
        assert_eq!(files_for_connections(300, 2), 150, "of few they have half");
        assert!(files_for_connections(u64::MAX, 256) > u64::MAX / 2);
    }
}
