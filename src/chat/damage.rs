//! Rows that cannot be read: whoever needs them is told so, and all others are served.
//!
//! A part of a disk may lose what was written there, years later. That is found when it is read,
//! which may be in the midst of an event.
//!
//! Invariants:
//! 1. An event that meets such a row before it has changed any is refused: it changes no row, and
//!    nothing that it wanted leaves but the refusal.
//! 2. One that has changed rows ends the shard: half an event is never written.
//! 3. What rules do by themselves passes over such rows and goes on with all others. Nothing is
//!    forgotten that cannot be read.
//! 4. A relay is never passed over, for its author was told that it is safe: it is set aside.
//!
//! Most of what is stored is messages, and no event changes anything before it has read them.
//! Left to others: which rows are damaged (`store`), what becomes of what is set aside (`aside`), a
//! list that is cut off in its midst (`node`).

use crate::api::{Refusal, Reply, Request};
use crate::chat::acknowledge::source_of;
use crate::chat::shard::Shard;
use crate::chat::turn::{Turn, When};
use crate::ids::{ConnectionId, MessageId};
use crate::metrics::Counter;
use crate::store::{Store, StoreError};

/// Who is told that his request met damage, and how.
#[derive(Clone, Copy)]
pub(super) enum Asker {
    /// By an Error frame about his Auth's id, and the end of the connection.
    Auth(ConnectionId, Option<MessageId>),
    /// By an Error frame about this id.
    Frame(ConnectionId, Option<MessageId>),
    /// By the answer to his call.
    Call(ConnectionId),
}

impl Asker {
    /// Who has asked for this.
    pub fn of(connection: ConnectionId, request: &Request<'_>) -> Asker {
        match request {
            Request::Auth { id, .. } => Asker::Auth(connection, *id),
            Request::Send(draft) => Asker::Frame(connection, draft.id),
            Request::Ack(acked) => Asker::Frame(connection, source_of(*acked)),
            Request::Heartbeat => Asker::Frame(connection, None),
            _ => Asker::Call(connection),
        }
    }
}

impl<S: Store> Shard<S> {
    /// Does what changes all of its rows or none. `None`: it met damage, has changed nothing, and
    /// what it wanted is taken back. It met damage later: that error, and the shard must stop.
    #[inline]
    pub(super) fn attempt<R>(
        &mut self,
        turn: &mut Turn,
        work: impl FnOnce(&mut Self, &mut Turn) -> Result<R, StoreError>,
    ) -> Result<Option<R>, StoreError> {
        let (changes, wanted) = (self.records.changes(), turn.mark());
        match work(self, turn) {
            Ok(done) => Ok(Some(done)),
            Err(error) if self.records.changes() != changes => Err(error),
            Err(error) => {
                self.pass_over(error)?;
                turn.take_back(wanted);
                Ok(None)
            }
        }
    }

    /// What was read by whoever changes nothing. `None`: it met damage.
    pub fn unless_damaged<R>(
        &self,
        outcome: Result<R, StoreError>,
    ) -> Result<Option<R>, StoreError> {
        match outcome {
            Ok(read) => Ok(Some(read)),
            Err(error) => self.pass_over(error).map(|()| None),
        }
    }

    /// Notes damage; any other error stays one.
    #[cold]
    fn pass_over(&self, error: StoreError) -> Result<(), StoreError> {
        if !error.is_of_some_rows() {
            return Err(error);
        }
        self.metrics.count(Counter::Unreadable, 1);
        // Whoever asks again and again is not told of each time.
        let times = self.metrics.counter(Counter::Unreadable);
        if times.is_power_of_two() {
            tracing::error!(shard = %self.place.shard, times, "{}", error.in_full());
        }
        Ok(())
    }

    /// Tells somebody that his request met damage.
    pub(super) fn tell_of_damage(&mut self, asker: Asker, turn: &mut Turn) {
        let refusal = Refusal::Unreadable;
        match asker {
            Asker::Auth(to, source) => self.refuse_auth(to, source, refusal, turn),
            Asker::Frame(to, source) => self.refuse(to, source, refusal, turn),
            Asker::Call(to) => self.reply(to, When::Now, Reply::Refused(refusal), turn),
        }
    }
}
