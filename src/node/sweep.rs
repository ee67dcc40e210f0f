//! Deadlines: ten times a second a tenth of all connections is looked at.
//!
//! Invariants:
//! 1. A connection needs no timer: two numbers beside it say all there is to know.
//! 2. A deadline is noticed at most [`SWEEP_MS`] late and never early.
//! 3. Whoever answers a ping is never closed for silence.
//! 4. While the store is full, and nothing is read from anybody, no deadline comes nearer.
//!
//! Left to others: what a close looks like (`wire`).

use crate::limits::{CLOSING_MS_MAX, IDLE_MS_MAX, PING_AFTER_MS, UNAUTHENTICATED_MS_MAX};
use crate::node::connection::Connection;
use crate::node::desk::Desk;
use crate::node::ring::Token;
use crate::store::Store;
use crate::wire::session::CloseCode;

/// Each connection is looked at once in this time.
pub const SWEEP_MS: u32 = 1000;
/// Parts of a sweep: one each tick.
const PARTS: u32 = 10;

/// What is due for a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Due {
    /// Nothing.
    Nothing,
    /// A sign of life is asked for.
    Ping,
    /// It took too long to say who it is, or to finish its request.
    TooSlow,
    /// It never said anything at all, or has been silent for too long, or does not close.
    Cut,
}

/// What is due for a connection that was last heard of `heard` ms ago and whose present state
/// began `since` ms ago.
pub fn due(connection: &Connection, heard: u32, since: u32) -> Due {
    let is_beyond = |age: u32, bound: u64| u64::from(age) > bound;
    let flags = connection.flags;
    if flags.dead {
        return Due::Nothing;
    }
    if connection.session.is_closing() {
        let is_late = is_beyond(since, CLOSING_MS_MAX);
        return if is_late { Due::Cut } else { Due::Nothing };
    }
    if connection.is_held() || connection.session.is_awaiting() {
        // We owe the rest. A peer that takes none of it is another matter.
        let is_stuck = connection.sending > 0 && is_beyond(heard, 2 * IDLE_MS_MAX);
        return if is_stuck { Due::Cut } else { Due::Nothing };
    }
    if !flags.spoke {
        return if is_beyond(since, UNAUTHENTICATED_MS_MAX) { Due::Cut } else { Due::Nothing };
    }
    if flags.unfinished && connection.session.user().is_none() {
        return if is_beyond(since, UNAUTHENTICATED_MS_MAX) { Due::TooSlow } else { Due::Nothing };
    }
    if is_beyond(heard, IDLE_MS_MAX) {
        return Due::Cut;
    }
    let is_quiet = connection.session.is_websocket() && is_beyond(heard, PING_AFTER_MS);
    if is_quiet && !flags.pinged { Due::Ping } else { Due::Nothing }
}

impl<S: Store> Desk<S> {
    /// Looks at the `part`-th tenth of all connections.
    pub fn sweep(&mut self, part: u32) {
        let now_ms = self.now_ms();
        let mut index = part % PARTS;
        while index < self.table.places() {
            let (heard, since) = self.table.ages(index, now_ms);
            if let Some((token, connection)) = self.table.at(index) {
                let due = due(connection, heard, since);
                self.attend(token, due);
            }
            index += PARTS;
        }
    }

    fn attend(&mut self, token: Token, due: Due) {
        match due {
            Due::Nothing => {}
            Due::Ping => {
                if let Some(connection) = self.reach(token) {
                    connection.flags.pinged = true;
                    connection.session.ping(&mut connection.out);
                }
            }
            Due::TooSlow => {
                self.close(token, CloseCode::AuthTimeout);
                self.table.begin(token, self.now_ms());
            }
            Due::Cut => {
                if let Some(connection) = self.table.get(token) {
                    connection.flags.dead = true;
                }
                self.touch(token);
            }
        }
    }
}

#[cfg(test)]
#[path = "sweep_tests.rs"]
mod tests;
