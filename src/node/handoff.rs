//! A connection moves to the shard where its user is at home.
//!
//! Invariants:
//! 1. A connection moves only when nothing of it is in flight: its receive has ended, its sends
//!    are done, and all its received bytes are in its window, in order.
//! 2. It arrives with all that it had: socket, protocol state, window, output, and the request
//!    that made it go, which the new shard applies before anything else of it.
//! 3. A connection that dies on the way goes nowhere.
//!
//! Left to others: which request makes a connection move (`chat::way`).

use crate::api::Request;
use crate::chat::way::Habits;
use crate::metrics::Counter;
use crate::node::connection::{Connection, Errand, Flags, Receiving};
use crate::node::mesh::Parcel;
use crate::node::ring::Token;
use crate::node::shard_loop::ShardLoop;
use crate::store::{Store, StoreError};
use crate::wire::session::{CloseCode, Session};
use rustix::fd::OwnedFd;

/// A connection between two shards.
pub struct Moving {
    socket: OwnedFd,
    session: Session,
    window: Vec<u8>,
    out: Vec<u8>,
    received_ns: u64,
    ended: bool,
    request: Request<'static>,
}

impl<S: Store> ShardLoop<S> {
    /// Lets a leaving connection go as soon as nothing of it is in flight.
    pub(super) fn hand_off(&mut self, token: Token) {
        let Some(connection) = self.desk.table.get(token) else { return };
        if connection.receiving == Receiving::Armed {
            connection.receiving = Receiving::Ending;
            self.ring_failed |= self.ring.cancel_receive(token).is_err();
        }
        let still = connection.receiving == Receiving::Off
            && connection.sending == 0
            && connection.waiting == 0;
        if !still || connection.flags.dead {
            return;
        }
        let Some(Errand::Leave(leave)) = connection.errand.take() else { return };
        let (to, request) = *leave;
        self.uncount(token);
        let received_ns = self.desk.table.received_ns(token, self.desk.profile.round);
        let Some(connection) = self.desk.table.remove(token) else { return };
        let Connection { socket, session, window, out, flags, .. } = connection;
        self.desk.profile.drop(connection.trail);
        let ended = flags.ended;
        let moving = Moving { socket, session, window, out, received_ns, ended, request };
        self.desk.mesh.post(to, Parcel::Move(Box::new(moving)));
    }

    /// Takes over a connection and applies the request that made it come.
    pub(super) fn take_over(&mut self, moving: Moving) -> Result<(), StoreError> {
        let now_ms = self.desk.now_ms();
        let Moving { socket, session, window, out, received_ns, ended, request } = moving;
        let mut connection = Connection::new(socket, session);
        connection.window = window;
        connection.out = out;
        connection.habits = Habits::moved(now_ms);
        connection.flags = Flags { ended, spoke: true, ..Flags::default() };
        let token = self.desk.table.insert(connection, now_ms);
        self.desk.table.wait_since(token, received_ns);
        self.desk.metrics.count(Counter::MovedIn, 1);
        self.desk.touch(token);
        if self.is_draining() {
            self.desk.close(token, CloseCode::GoingAway);
            return Ok(());
        }
        let connection = self.desk.table.id(token);
        self.desk.admit(connection, None, request)
    }
}

#[cfg(test)]
#[path = "handoff_tests.rs"]
mod tests;
