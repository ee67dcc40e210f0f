//! After each round, every connection that changed is settled: what it has to say is sent, what
//! it may hear is received, and whoever is done goes.
//!
//! Invariants:
//! 1. One send of a connection is in flight at a time; all that a round wrote goes in one.
//! 2. Our last bytes are sent before our side is shut, and the socket is closed only when the
//!    peer has shut its own or has had [`crate::limits::CLOSING_MS_MAX`]: no last word is lost.
//! 3. The rules hear exactly once that an authenticated connection is gone, whatever ended it.
//! 4. A peer who does not read is cut at its bound, and at a shard's total the largest holder is.
//!
//! Left to others: deadlines (`sweep`), moving (`handoff`).

use crate::limits::{SHARD_BODY_BYTES_MAX, WAITING_BUFFERS_MAX, WINDOW_BYTES_MAX};
use crate::metrics::{Counter, Gauge};
use crate::node::bounds::Bounds;
use crate::node::connection::{Connection, Errand, Receiving};
use crate::node::mesh::Parcel;
use crate::node::ring::{Token, cut};
use crate::node::shard_loop::ShardLoop;
use crate::store::{Store, StoreError};
use crate::wire::session::CloseCode;
use rustix::fd::AsFd;
use rustix::net::{Shutdown, shutdown};

/// What all connections of a shard hold together, bytes.
#[derive(Clone, Copy, Default, Debug)]
pub struct Totals {
    /// Written and not sent.
    pub unsent: usize,
    /// Held before Auth.
    pub held: usize,
    /// Of unfinished requests.
    pub body: usize,
}

/// Which total is exceeded.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Total {
    Unsent,
    Held,
    Body,
}

impl<S: Store> ShardLoop<S> {
    /// Settles all connections that changed.
    pub(super) fn settle_touched(&mut self) -> Result<(), StoreError> {
        let mut touched = std::mem::take(&mut self.desk.touched);
        for token in touched.drain(..) {
            if let Some(connection) = self.desk.table.get(token) {
                connection.flags.touched = false;
                self.settle(token)?;
            }
        }
        // Settling may touch others: they are settled in the next round.
        touched.append(&mut self.desk.touched);
        self.desk.touched = touched;
        self.keep_totals();
        Ok(())
    }

    fn settle(&mut self, token: Token) -> Result<(), StoreError> {
        self.cut_if_unread(token);
        self.say_farewell(token);
        let Some(connection) = self.desk.table.get(token) else { return Ok(()) };
        if connection.is_leaving() {
            self.count(token);
            self.flush(token);
            self.hand_off(token);
        } else {
            if connection.unsent() == 0 && connection.errand.is_some() && !connection.is_over() {
                self.desk.continue_list(token)?;
            }
            self.count(token);
            self.flush(token);
            self.arm(token);
            self.close_if_done(token);
        }
        self.remove_if_dead(token);
        Ok(())
    }

    /// Hands what was written to the ring, unless a send is in flight.
    fn flush(&mut self, token: Token) {
        let Some(connection) = self.desk.table.get(token) else { return };
        if connection.out.is_empty() || connection.flags.dead {
            let unused = std::mem::take(&mut connection.out);
            self.desk.profile.drop(std::mem::take(&mut connection.trail));
            return self.desk.recycle(unused);
        }
        if connection.sending > 0 {
            return;
        }
        let bytes = std::mem::take(&mut connection.out);
        connection.flags.flying = self.desk.profile.launch(connection.trail);
        connection.sending = u32::try_from(bytes.len()).expect("unsent bytes are bounded");
        self.desk.metrics.count(Counter::BytesOut, bytes.len() as u64);
        self.ring_failed |= self.ring.send(connection.socket.as_fd(), token, bytes).is_err();
    }

    /// Receives as long as there is room for what comes.
    fn arm(&mut self, token: Token) {
        let Some(connection) = self.desk.table.get(token) else { return };
        if connection.flags.ended || connection.flags.dead {
            return;
        }
        let has_room = connection.window.len() <= WINDOW_BYTES_MAX
            && connection.waiting <= WAITING_BUFFERS_MAX;
        match connection.receiving {
            Receiving::Off if has_room => {
                connection.receiving = Receiving::Armed;
                self.ring_failed |= self.ring.receive(connection.socket.as_fd(), token).is_err();
            }
            Receiving::Armed if !has_room => {
                connection.receiving = Receiving::Ending;
                self.ring_failed |= self.ring.cancel_receive(token).is_err();
            }
            _ => {}
        }
    }

    /// Shuts our side when all is said; ends when both are shut.
    fn close_if_done(&mut self, token: Token) {
        let now_ms = self.desk.now_ms();
        let Some(connection) = self.desk.table.get(token) else { return };
        if connection.flags.ended && !connection.flags.dead && connection.waiting == 0 {
            if !connection.session.is_closing() {
                connection.session.end_of_input();
            }
            let flags = connection.flags;
            let owes = connection.session.is_awaiting() || flags.ready || flags.parked;
            if !connection.session.is_closing() && !owes && connection.errand.is_none() {
                // Nothing more can come of it: half a request, or a WebSocket without a goodbye.
                connection.flags.dead = connection.unsent() == 0;
                return;
            }
        }
        if !connection.session.is_closing() || connection.unsent() > 0 || connection.flags.dead {
            return;
        }
        if connection.flags.ended {
            connection.flags.dead = true;
        } else if !connection.flags.shut {
            connection.flags.shut = true;
            // It fails only for a socket that is gone, whose receive then ends by itself.
            let _ = shutdown(&connection.socket, Shutdown::Write);
            self.desk.table.begin(token, now_ms);
        }
    }

    /// A peer who does not read: what waits for it is dropped, and it is told so if it ever reads.
    fn cut_if_unread(&mut self, token: Token) {
        let bounds = Bounds::of(self.desk.options.dialect);
        let Some(connection) = self.desk.table.get(token) else { return };
        if connection.unsent() > bounds.unsent && !connection.is_over() {
            self.cut_with(token, CloseCode::TryAgain);
        }
    }

    /// Closes a connection because of a bound.
    pub(super) fn cut_with(&mut self, token: Token, code: CloseCode) {
        let now_ms = self.desk.now_ms();
        let Some(connection) = self.desk.table.get(token) else { return };
        tracing::debug!(index = token.index, ?code, "cut at a bound");
        connection.out.clear();
        self.desk.profile.drop(std::mem::take(&mut connection.trail));
        connection.window = Vec::new();
        connection.session.close(code, &mut connection.out);
        connection.flags.cut = true;
        let errand = connection.errand.take();
        self.drop_errand(token, errand);
        self.desk.metrics.count(Counter::Cut, 1);
        self.desk.table.begin(token, now_ms);
        self.desk.touch(token);
    }

    /// Tells the rules that an authenticated connection is gone.
    fn say_farewell(&mut self, token: Token) {
        let id = self.desk.table.id(token);
        let Some(connection) = self.desk.table.get(token) else { return };
        let is_gone = connection.is_over() || connection.flags.ended && connection.waiting == 0;
        let Some(user) = connection.session.user().filter(|_| is_gone) else { return };
        if !std::mem::replace(&mut connection.flags.farewell, true) {
            self.desk.departed.push((id, user));
        }
    }

    /// Takes a dead connection out when nothing of it is in flight.
    fn remove_if_dead(&mut self, token: Token) {
        self.say_farewell(token);
        let Some(connection) = self.desk.table.get(token) else { return };
        if !connection.flags.dead {
            return;
        }
        if connection.receiving != Receiving::Off || connection.sending > 0 {
            cut(&connection.socket);
            return;
        }
        if connection.waiting > 0 {
            return;
        }
        self.uncount(token);
        let Some(connection) = self.desk.table.remove(token) else { return };
        self.desk.profile.drop(connection.trail);
        self.desk.metrics.count(Counter::Closed, 1);
        self.desk.authenticated -= u64::from(connection.flags.known);
        self.drop_errand(token, connection.errand);
    }

    /// Nobody waits for the rest of a list any more.
    fn drop_errand(&mut self, token: Token, errand: Option<Errand>) {
        if let Some(Errand::ListFrom(shard)) = errand {
            let id = self.desk.table.id(token);
            self.desk.forwarded -= 1;
            self.desk.mesh.post(shard, Parcel::Abandon(id));
        }
    }

    /// Counts what a connection holds in the shard's totals.
    fn count(&mut self, token: Token) {
        self.uncount(token);
        let Some(connection) = self.desk.table.get(token) else { return };
        let held = connection.window.len() + connection.session.held_bytes();
        let before_auth = connection.session.is_websocket() && connection.session.user().is_none();
        let unsent = if connection.flags.cut { 0 } else { connection.unsent() };
        connection.counted_unsent = unsent as u32;
        connection.counted_held = held as u32;
        connection.flags.holds_frames = before_auth;
        self.totals.unsent += unsent;
        *held_total(&mut self.totals, connection) += held;
    }

    /// Takes a connection out of the totals.
    pub(super) fn uncount(&mut self, token: Token) {
        let Some(connection) = self.desk.table.get(token) else { return };
        self.totals.unsent -= std::mem::take(&mut connection.counted_unsent) as usize;
        let held = std::mem::take(&mut connection.counted_held) as usize;
        *held_total(&mut self.totals, connection) -= held;
    }

    /// Cuts the largest holder of a total that is exceeded; the next round cuts the next.
    fn keep_totals(&mut self) {
        let Totals { unsent, held, body } = self.totals;
        let bounds = Bounds::of(self.desk.options.dialect);
        for (total, is_exceeded) in [
            (Total::Unsent, unsent > bounds.total_unsent),
            (Total::Held, held > bounds.total_held),
            (Total::Body, body > SHARD_BODY_BYTES_MAX),
        ] {
            if is_exceeded && let Some(token) = self.largest(total) {
                self.cut_with(token, CloseCode::TryAgain);
                self.uncount(token);
            }
        }
        self.desk.metrics.set(Gauge::UnsentBytes, self.totals.unsent as u64);
        self.desk.metrics.set(Gauge::HeldBytes, self.totals.held as u64);
        self.desk.metrics.set(Gauge::BodyBytes, self.totals.body as u64);
        self.desk.metrics.set(Gauge::Connections, self.desk.table.count() as u64);
        self.desk.metrics.set(Gauge::AuthenticatedNow, self.desk.authenticated);
    }

    fn largest(&mut self, total: Total) -> Option<Token> {
        let mut largest = None;
        for index in 0..self.desk.table.places() {
            let Some((token, connection)) = self.desk.table.at(index) else { continue };
            let bytes = match total {
                Total::Unsent => connection.counted_unsent,
                Total::Held if connection.flags.holds_frames => connection.counted_held,
                Total::Body if !connection.flags.holds_frames => connection.counted_held,
                Total::Held | Total::Body => 0,
            };
            if bytes > 0 && !connection.is_over() && largest.is_none_or(|(most, _)| bytes > most) {
                largest = Some((bytes, token));
            }
        }
        largest.map(|(_, token)| token)
    }
}

fn held_total<'a>(totals: &'a mut Totals, connection: &Connection) -> &'a mut usize {
    match connection.flags.holds_frames {
        true => &mut totals.held,
        false => &mut totals.body,
    }
}

#[cfg(test)]
#[path = "settle_tests.rs"]
mod tests;
