//! Listening sockets: one of each kind a shard, all on the same ports.
//!
//! Invariants:
//! 1. An address that another process listens on is refused, though ports are shared among shards.
//! 2. When descriptors run out accepting pauses for [`ACCEPT_PAUSE_MS`]; it never spins, and
//!    connections that are open go on.
//!
//! Left to others: what is accepted (`shard_loop`).

use crate::limits::ACCEPT_PAUSE_MS;
use crate::metrics::Gauge;
use crate::node::ring::Ring;
use crate::wire::session::Port;
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, listen, sockopt};
use std::io;
use std::net::SocketAddr;

/// Connections that wait to be accepted, as far as the kernel allows (somaxconn).
const BACKLOG: i32 = 65_535;

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

#[derive(Clone, Copy, PartialEq, Eq)]
enum Accepting {
    Off,
    Armed,
}

/// A shard's listening sockets.
pub struct Listeners {
    sockets: [Option<OwnedFd>; 2],
    accepting: [Accepting; 2],
    paused_until_ms: Option<u64>,
}

impl Listeners {
    /// Listening sockets of one shard, in the order of [`PORTS`].
    pub fn new(http: Option<OwnedFd>, ws: Option<OwnedFd>) -> Listeners {
        Listeners { sockets: [http, ws], accepting: [Accepting::Off; 2], paused_until_ms: None }
    }

    /// Arms what is not armed, unless accepting pauses.
    pub fn accept(&mut self, ring: &mut Ring, now_ms: u64) -> io::Result<()> {
        if self.paused_until_ms.is_some_and(|until| now_ms < until) {
            return Ok(());
        }
        self.paused_until_ms = None;
        for (index, socket) in self.sockets.iter().enumerate() {
            if let Some(socket) = socket
                && self.accepting[index] == Accepting::Off
            {
                self.accepting[index] = Accepting::Armed;
                ring.accept(socket.as_fd(), index as u32)?;
            }
        }
        Ok(())
    }

    /// A listener accepts no more until it is armed again.
    pub fn ended(&mut self, index: u32) {
        self.accepting[index as usize] = Accepting::Off;
    }

    /// A listener failed: for want of descriptors, most likely.
    pub fn failed(&mut self, index: u32, error: Errno, now_ms: u64) {
        self.ended(index);
        if error != Errno::CONNABORTED && error != Errno::CANCELED {
            self.paused_until_ms = Some(now_ms + ACCEPT_PAUSE_MS);
        }
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
            if self.accepting[index] == Accepting::Armed {
                ring.cancel_accept(index as u32)?;
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
}
