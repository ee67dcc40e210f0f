//! Who is connected: the devices of each user at home here.
//!
//! Invariants:
//! 1. A connection is listed from its Auth until it is gone or replaced, once.
//! 2. A user has at most [`CONNECTIONS_PER_USER_MAX`] devices; the next one replaces the oldest.

use crate::api::{ChatType, Refusal};
use crate::chat::cache::FixedMap;
use crate::chat::event::{CloseReason, Effect, Now, OfflineNotice, ServerAck};
use crate::chat::shard::{Device, Shard};
use crate::chat::turn::{Turn, When};
use crate::ids::{ConnectionId, MessageId, UserId};
use crate::limits::CONNECTIONS_PER_USER_MAX;
use crate::metrics::Counter;
use crate::store::{Store, StoreError};

/// A connection of a user who is at home here.
#[derive(Clone, Copy)]
pub(super) struct Seat {
    /// The connection.
    pub connection: ConnectionId,
    /// It has acked a message: it is of the kind that does.
    pub acks: bool,
}

/// Devices by user, oldest first.
#[derive(Default)]
pub struct Presence {
    seats: FixedMap<UserId, Vec<Seat>>,
}

impl Presence {
    /// The devices of a user, oldest first.
    pub(super) fn of(&self, user: UserId) -> &[Seat] {
        self.seats.get(&user).map_or(&[], Vec::as_slice)
    }

    /// Adds a device. Returns the one it replaces.
    fn add(&mut self, device: Device) -> Option<ConnectionId> {
        let seats = self.seats.entry(device.user).or_insert_with(|| Vec::with_capacity(1));
        assert!(
            seats.iter().all(|seat| seat.connection != device.connection),
            "a connection is authenticated once"
        );
        let replaced =
            (seats.len() >= CONNECTIONS_PER_USER_MAX).then(|| seats.remove(0).connection);
        seats.push(Seat { connection: device.connection, acks: false });
        replaced
    }

    /// Removes a device, if it is still listed.
    pub(super) fn remove(&mut self, device: Device) {
        let Some(seats) = self.seats.get_mut(&device.user) else { return };
        seats.retain(|seat| seat.connection != device.connection);
        if seats.is_empty() {
            self.seats.remove(&device.user);
        }
    }

    /// Notes that a device acks what it gets.
    pub(super) fn note_ack(&mut self, device: Device) {
        let Some(seats) = self.seats.get_mut(&device.user) else { return };
        let seat = seats.iter_mut().find(|seat| seat.connection == device.connection);
        if let Some(seat) = seat {
            seat.acks = true;
        }
    }
}

impl<S: Store> Shard<S> {
    pub(super) fn authenticate(
        &mut self,
        connection: ConnectionId,
        before: Option<UserId>,
        user: UserId,
        id: Option<MessageId>,
        now: &Now,
        turn: &mut Turn,
    ) -> Result<(), StoreError> {
        match before {
            Some(before) if before != user => {
                self.refuse(connection, id, Refusal::AlreadySomebodyElse, turn);
                return Ok(());
            }
            Some(_) => {
                if let Some(source) = id {
                    let ack = self.server_ack(user, source, ChatType::Single, now);
                    turn.want(When::Now, Effect::Ack { to: connection, ack });
                }
                return Ok(());
            }
            None => {}
        }
        if !self.is_registered(user) {
            self.metrics.refuse(Refusal::NotAuthenticated.reason());
            turn.want(When::Now, Effect::RefuseAuth { to: connection, source: id });
            return Ok(());
        }
        if let Some(oldest) = self.presence.add(Device { connection, user }) {
            let reason = CloseReason::Replaced;
            turn.want(When::Now, Effect::Close { to: oldest, reason });
        }
        self.metrics.count(Counter::Authenticated, 1);
        let ack = id.map(|source| self.server_ack(user, source, ChatType::Single, now));
        let notice = self.offline_notice(user, now)?;
        let when = self.when_read(user)?;
        turn.want(when, Effect::Welcome { to: connection, user, ack, notice });
        Ok(())
    }

    /// An Ack of the server's own.
    pub(super) fn server_ack(
        &mut self,
        user: UserId,
        source: MessageId,
        chat_type: ChatType,
        now: &Now,
    ) -> ServerAck {
        let id = self.ids.frame(now);
        ServerAck { id, user, chat_type, source, timestamp_ms: now.wall_ms }
    }

    /// Tells how many messages wait; `None`: none do.
    pub(super) fn offline_notice(
        &mut self,
        user: UserId,
        now: &Now,
    ) -> Result<Option<OfflineNotice>, StoreError> {
        let count = self.records.user(user)?.offline;
        let id = self.ids.frame(now);
        let notice = OfflineNotice { id, user, count, timestamp_ms: now.wall_ms };
        Ok((count > 0).then_some(notice))
    }
}
