//! Sockets of a town: two streams of bytes each, which arrive cut anywhere, and late.
//!
//! Invariants:
//! 1. Bytes arrive in the order in which they were sent, each once, as long as nobody goes down.
//! 2. What was sent before an end arrives before it.
//!
//! Left to others: when something arrives (`town`), and what it means.

use crate::ids::ShardId;
use crate::sim::chronicle::Chronicle;
use crate::sim::lines::Token;
use crate::sim::observation::DeviceId;
use crate::sim::prng::Prng;
use crate::wire::session::Port;
use std::collections::VecDeque;

/// Bytes of one direction that a socket keeps for a peer who does not read.
pub const SOCKET_BYTES: usize = 16 * 1024;

/// A socket: an index into those of the town.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct SocketId(pub u32);

/// Bytes on their way, and whether more come.
#[derive(Default)]
pub struct Stream {
    bytes: VecDeque<u8>,
    is_ended: bool,
}

impl Stream {
    /// Bytes that have not arrived.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Sends. After an end nothing is sent.
    pub fn send(&mut self, bytes: &[u8]) {
        if !self.is_ended {
            self.bytes.extend(bytes);
        }
    }

    /// Sends no more.
    pub fn end(&mut self) {
        self.is_ended = true;
    }

    /// Takes at most so many bytes.
    pub fn take(&mut self, count: usize) -> Vec<u8> {
        let count = count.min(self.bytes.len());
        let (front, back) = self.bytes.as_slices();
        let of_front = count.min(front.len());
        let taken = [&front[..of_front], &back[..count - of_front]].concat();
        self.bytes.drain(..count);
        taken
    }

    /// Something is to be carried, the end included.
    pub fn stirs(&self) -> bool {
        !self.bytes.is_empty() || self.is_ended
    }

    /// All has arrived, and nothing more comes.
    pub fn is_over(&self) -> bool {
        self.is_ended && self.bytes.is_empty()
    }

    /// Of what is on its way only so many bytes arrive; then it ends.
    pub fn tear(&mut self, kept: usize) {
        self.bytes.truncate(kept);
        self.is_ended = true;
    }
}

/// One connection.
pub struct Socket {
    /// Whose it is.
    pub device: DeviceId,
    /// Where it came in.
    pub port: Port,
    /// To the server.
    pub up: Stream,
    /// To the client.
    pub down: Stream,
    /// The shard that it lives on, and its name there. `None`: it is in the mesh, or gone.
    pub listener: Option<(ShardId, Token)>,
    /// The server waits until the socket has taken what was sent.
    pub is_full: bool,
    /// Bytes are about to arrive at the server.
    pub is_rising: bool,
    /// Bytes are about to arrive at the client.
    pub is_falling: bool,
    /// The server's listener knows that the client sends no more.
    pub is_risen: bool,
    /// The client knows that the server sends no more.
    pub is_fallen: bool,
    /// The client reads slowly.
    pub is_slow: bool,
    /// The client's side is gone: what is sent to it goes nowhere.
    pub is_deaf: bool,
}

/// All sockets there ever were.
#[derive(Default)]
pub struct Network {
    sockets: Vec<Socket>,
    /// Sockets of which something is to be carried.
    stirred: Vec<SocketId>,
    /// Sockets that no shard has accepted.
    newcomers: Vec<SocketId>,
}

impl Network {
    /// A client connects.
    pub fn connect(&mut self, person: u32, port: Port) -> SocketId {
        let id = SocketId(self.sockets.len() as u32);
        self.sockets.push(Socket {
            device: DeviceId { person, connection: id.0 },
            port,
            up: Stream::default(),
            down: Stream::default(),
            listener: None,
            is_full: false,
            is_rising: false,
            is_falling: false,
            is_risen: false,
            is_fallen: false,
            is_slow: false,
            is_deaf: false,
        });
        self.newcomers.push(id);
        id
    }

    /// A socket.
    pub fn at(&mut self, id: SocketId) -> &mut Socket {
        &mut self.sockets[id.0 as usize]
    }

    /// The client sends.
    pub fn send_up(&mut self, id: SocketId, bytes: &[u8]) {
        self.at(id).up.send(bytes);
        self.stirred.push(id);
    }

    /// The client sends no more.
    pub fn end_up(&mut self, id: SocketId) {
        self.at(id).up.end();
        self.stirred.push(id);
    }

    /// The client's side is gone.
    pub fn reset(&mut self, id: SocketId) {
        let socket = self.at(id);
        socket.is_deaf = true;
        socket.up.end();
        socket.down.tear(0);
        self.stirred.push(id);
    }

    /// The server sends.
    pub fn send_down(&mut self, id: SocketId, bytes: &[u8], chronicle: &mut Chronicle<'_>) {
        chronicle.digest(bytes);
        let socket = self.at(id);
        socket.is_full = true;
        if !socket.is_deaf {
            socket.down.send(bytes);
        }
        self.stirred.push(id);
    }

    /// The server sends no more.
    pub fn end_down(&mut self, id: SocketId) {
        self.at(id).down.end();
        self.stirred.push(id);
    }

    /// A shard listens to a socket, or nobody does for now.
    pub fn listen(&mut self, id: SocketId, listener: Option<(ShardId, Token)>) {
        let socket = self.at(id);
        socket.listener = listener;
        socket.is_risen = false;
        self.stirred.push(id);
    }

    /// There is more to carry.
    pub fn stir(&mut self, id: SocketId) {
        self.stirred.push(id);
    }

    /// Sockets of which something may be carried now.
    pub fn take_stirred(&mut self) -> Vec<SocketId> {
        std::mem::take(&mut self.stirred)
    }

    /// Sockets that no shard has accepted.
    pub fn take_newcomers(&mut self) -> Vec<SocketId> {
        std::mem::take(&mut self.newcomers)
    }

    /// The server is gone. Some of what it has sent may arrive all the same.
    pub fn crash(&mut self, prng: &mut Prng, arrives: bool) {
        for (socket, index) in self.sockets.iter_mut().zip(0..) {
            let was_open = socket.listener.take().is_some() || !socket.down.is_ended;
            let has_rest = !arrives && socket.down.len() > 0;
            if was_open || has_rest {
                socket.up.tear(0);
                let kept = prng.below(socket.down.len() as u64 + 1) as usize;
                socket.down.tear(if arrives { kept } else { 0 });
                socket.is_full = false;
                self.stirred.push(SocketId(index));
            }
        }
    }

    /// Nobody listens there: a connection that nobody accepted ends.
    pub fn refuse(&mut self, id: SocketId) {
        let socket = self.at(id);
        socket.up.tear(0);
        socket.down.tear(0);
        self.stirred.push(id);
    }

    /// Bytes on their way, of all sockets.
    pub fn in_flight(&self) -> usize {
        let waits = |socket: &Socket| {
            let up = socket.listener.map_or(0, |_| socket.up.len());
            up + if socket.is_deaf { 0 } else { socket.down.len() }
        };
        self.sockets.iter().map(waits).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Invariants 1 and 2 of sim::network.
    #[test]
    fn bytes_arrive_in_order_and_before_the_end() {
        let mut network = Network::default();
        let id = network.connect(3, Port::Http);
        network.send_up(id, b"hello ");
        network.send_up(id, b"world");
        network.end_up(id);
        network.send_up(id, b"never sent");
        let mut arrived = Vec::new();
        while !network.at(id).up.is_over() {
            arrived.extend(network.at(id).up.take(4));
        }
        assert_eq!(arrived, b"hello world");
        assert_eq!(network.at(id).device, DeviceId { person: 3, connection: 0 });
        let mut down = Stream::default();
        down.send(b"torn away");
        down.tear(4);
        assert_eq!((down.take(100), down.is_over()), (b"torn".to_vec(), true));
    }
}
