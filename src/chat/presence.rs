//! Who is connected: the devices of each user at home here.
//!
//! Invariants:
//! 1. A connection is listed from its Auth until it is gone or replaced, once.
//! 2. A user has at most [`CONNECTIONS_PER_USER_MAX`] devices; the next one replaces the oldest.

use crate::api::{ChatType, Refusal};
use crate::chat::event::{CloseReason, Effect, Now, OfflineNotice, ServerAck};
use crate::chat::pool::Pool;
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

/// The devices of one user, oldest first: nearly always one, which takes no memory of its own.
enum Seats {
    One(Seat),
    Several(Vec<Seat>),
}

/// Devices by user.
#[derive(Default)]
pub struct Presence {
    seats: Pool<UserId, Seats>,
}

impl Seats {
    fn all(&self) -> &[Seat] {
        match self {
            Seats::One(seat) => std::slice::from_ref(seat),
            Seats::Several(seats) => seats,
        }
    }

    fn all_mut(&mut self) -> &mut [Seat] {
        match self {
            Seats::One(seat) => std::slice::from_mut(seat),
            Seats::Several(seats) => seats,
        }
    }

    /// Adds the newest. Returns the one it replaces.
    fn add(&mut self, seat: Seat) -> Option<ConnectionId> {
        match self {
            Seats::One(oldest) => {
                *self = Seats::Several(vec![*oldest, seat]);
                None
            }
            Seats::Several(seats) => {
                let is_full = seats.len() >= CONNECTIONS_PER_USER_MAX;
                let replaced = is_full.then(|| seats.remove(0).connection);
                seats.push(seat);
                replaced
            }
        }
    }

    /// Removes a device that is one of several.
    fn remove(&mut self, connection: ConnectionId) {
        let Seats::Several(seats) = self else { return };
        seats.retain(|seat| seat.connection != connection);
        if let [seat] = **seats {
            *self = Seats::One(seat);
        }
    }
}

impl Presence {
    /// The devices of a user, oldest first.
    pub(super) fn of(&self, user: UserId) -> &[Seat] {
        self.seats.get(user).map_or(&[], Seats::all)
    }

    /// Adds a device. Returns the one it replaces.
    fn add(&mut self, device: Device) -> Option<ConnectionId> {
        let seat = Seat { connection: device.connection, acks: false };
        let Some(seats) = self.seats.get_mut(device.user) else {
            self.seats.insert(device.user, Seats::One(seat));
            return None;
        };
        assert!(
            seats.all().iter().all(|seat| seat.connection != device.connection),
            "a connection is authenticated once"
        );
        seats.add(seat)
    }

    /// Removes a device, if it is still listed.
    pub(super) fn remove(&mut self, device: Device) {
        match self.seats.get_mut(device.user) {
            Some(Seats::One(seat)) if seat.connection == device.connection => {
                self.seats.remove(device.user);
            }
            Some(seats) => seats.remove(device.connection),
            None => {}
        }
    }

    /// Notes that a device acks what it gets.
    pub(super) fn note_ack(&mut self, device: Device) {
        let Some(seats) = self.seats.get_mut(device.user) else { return };
        let mut seats = seats.all_mut().iter_mut();
        if let Some(seat) = seats.find(|seat| seat.connection == device.connection) {
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
            self.refuse_auth(connection, id, Refusal::NotAuthenticated, turn);
            return Ok(());
        }
        // It reads all that is read here: who is refused is not listed.
        let when = self.when_read(user)?;
        if let Some(oldest) = self.presence.add(Device { connection, user }) {
            let reason = CloseReason::Replaced;
            turn.want(When::Now, Effect::Close { to: oldest, reason });
        }
        self.metrics.count(Counter::Authenticated, 1);
        let ack = id.map(|source| self.server_ack(user, source, ChatType::Single, now));
        let notice = self.offline_notice(user, now)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ShardId;

    fn device(index: u32) -> Device {
        let connection = ConnectionId { shard: ShardId(1), index, generation: 1 };
        Device { connection, user: UserId::FIRST }
    }

    fn listed(presence: &Presence) -> Vec<u32> {
        presence.of(UserId::FIRST).iter().map(|seat| seat.connection.index).collect()
    }

    #[test]
    fn a_connection_is_listed_once_until_it_is_gone() {
        let mut presence = Presence::default();
        for index in [7, 8, 9] {
            assert_eq!(presence.add(device(index)), None);
        }
        presence.remove(device(8));
        assert_eq!(listed(&presence), [7, 9]);
        presence.remove(device(7));
        presence.remove(device(7));
        presence.note_ack(device(9));
        presence.note_ack(device(8));
        assert_eq!(listed(&presence), [9]);
        assert!(presence.of(UserId::FIRST)[0].acks);
        presence.remove(device(9));
        assert!(listed(&presence).is_empty() && presence.seats.count() == 0);
    }

    #[test]
    fn the_next_device_above_the_bound_replaces_the_oldest() {
        let mut presence = Presence::default();
        let bound = CONNECTIONS_PER_USER_MAX as u32;
        assert!((0..bound).all(|index| presence.add(device(index)).is_none()));
        assert_eq!(presence.add(device(bound)), Some(device(0).connection));
        assert_eq!(listed(&presence), (1..=bound).collect::<Vec<_>>());
    }
}
