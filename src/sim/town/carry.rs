//! Bytes between people and shards: cut anywhere, late, and sometimes hardly at all.

use super::{Happening, Town};
use crate::sim::chronicle::Halt;
use crate::sim::coverage::Fault;
use crate::sim::network::{SOCKET_BYTES, SocketId};

impl Town<'_> {
    /// Schedules what sockets have to carry.
    pub(super) fn carry(&mut self) {
        for socket in self.ground.network.take_newcomers() {
            let micros = 20 + self.prng.below(2_000);
            self.after(micros, Happening::Accept(socket));
        }
        for id in self.ground.network.take_stirred() {
            let socket = self.ground.network.at(id);
            let may_rise = socket.listener.is_some() && !socket.is_rising && !socket.is_risen;
            let rises = may_rise && socket.up.stirs();
            let may_fall = !socket.is_deaf && !socket.is_falling && !socket.is_fallen;
            let falls = may_fall && socket.down.stirs();
            let is_taken = socket.is_full && socket.down.len() <= SOCKET_BYTES;
            socket.is_rising |= rises;
            socket.is_falling |= falls;
            socket.is_full &= !is_taken;
            // A reader's megabyte takes minutes: in the evening he reads as all do.
            socket.is_slow &= !(falls && self.is_evening);
            let is_slow = socket.is_slow;
            if rises {
                let micros = self.latency();
                self.after(micros, Happening::Rise(id));
            }
            if falls {
                let slow = if is_slow { self.prng.below(400_000) } else { 0 };
                if is_slow {
                    self.ground.chronicle.begin(Fault::SlowReader);
                }
                let micros = self.latency() + slow;
                self.after(micros, Happening::Fall(id));
            }
            if is_taken {
                self.after(1 + id.0 as u64 % 7, Happening::Sent(id));
            }
        }
    }

    fn latency(&mut self) -> u64 {
        match self.prng.below(40) {
            0 => self.prng.below(30_000),
            _ => 10 + self.prng.below(300),
        }
    }

    /// How much arrives at once.
    fn piece(&mut self) -> usize {
        match self.prng.below(8) {
            0 => 1 + self.prng.below(40) as usize,
            1 => 100 + self.prng.below(400) as usize,
            _ => 4096,
        }
    }

    /// Some shard accepts a connection.
    pub(super) fn accept(&mut self, socket: SocketId) {
        if self.hosts.is_empty() {
            return self.ground.network.refuse(socket);
        }
        if !self.is_serving {
            return self.after(2_000, Happening::Accept(socket));
        }
        let shard = self.prng.below(self.hosts.len() as u64) as usize;
        let port = self.ground.network.at(socket).port;
        self.hosts[shard].accept(socket, port, &mut self.ground);
        self.wake(self.hosts[shard].place.shard);
    }

    /// Bytes, or the end of them, arrive at the server.
    pub(super) fn rise(&mut self, id: SocketId) -> Result<(), Halt> {
        let piece = self.piece();
        let socket = self.ground.network.at(id);
        socket.is_rising = false;
        // In the mesh, or gone: whoever listens next hears of it.
        let Some((shard, token)) = socket.listener else { return Ok(()) };
        let bytes = socket.up.take(piece);
        let (is_over, is_dead) = (socket.up.is_over(), socket.is_deaf);
        socket.is_risen = is_over;
        let host = &mut self.hosts[usize::from(shard.0)];
        if is_over {
            host.receive_end(token, is_dead);
        } else {
            self.ground.network.stir(id);
        }
        self.wake(shard);
        if bytes.is_empty() {
            return Ok(());
        }
        self.hosts[usize::from(shard.0)].receive(token, bytes, &mut self.ground)
    }

    /// Bytes, or the end of them, arrive at a client.
    pub(super) fn fall(&mut self, id: SocketId) -> Result<(), Halt> {
        let piece = self.piece();
        let socket = self.ground.network.at(id);
        socket.is_falling = false;
        if socket.is_slow {
            self.ground.chronicle.end(Fault::SlowReader);
        }
        if socket.is_deaf {
            return Ok(());
        }
        let bytes = socket.down.take(piece);
        let is_over = socket.down.is_over();
        socket.is_fallen = is_over;
        self.crowd.hear(id, &bytes, &mut self.ground)?;
        match is_over {
            true => self.crowd.hear_end(id, &mut self.ground)?,
            false => self.ground.network.stir(id),
        }
        Ok(())
    }

    /// A socket has taken what was sent.
    pub(super) fn sent(&mut self, id: SocketId) {
        if let Some((shard, token)) = self.ground.network.at(id).listener {
            self.hosts[usize::from(shard.0)].sent(token);
            self.wake(shard);
        }
    }
}
