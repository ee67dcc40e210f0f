//! What comes from other shards: streams first, then requests that were forwarded.
//!
//! Invariants:
//! 1. A turn ends when it is full, in the midst of a parcel, too; and when as much waits for the
//!    disk as may nothing more is applied: what is left is the first of the next round.
//! 2. A request is taken up when all that was posted before it has been applied.
//!
//! Left to others: carrying it (`mesh`), what it means (`chat`).

use crate::chat::event::Event;
use crate::metrics::Gauge;
use crate::metrics::rounds::Step;
use crate::node::clock::steady_nanos;
use crate::node::mesh::Parcel;
use crate::node::shard_loop::ShardLoop;
use crate::store::{Store, StoreError};

impl<S: Store> ShardLoop<S> {
    /// Drains the mesh. What streams bring is applied at once; requests wait for the second look.
    pub(super) fn exchange(&mut self) -> Result<(), StoreError> {
        let has_some = self.drain_mesh()?;
        if !self.deferred.is_empty() {
            self.take_up_requests()?;
        } else if !has_some {
            return Ok(());
        }
        self.steps.enter(Step::Tick, steady_nanos());
        Ok(())
    }

    /// Takes up requests of other shards, after a second look for what was posted before them.
    fn take_up_requests(&mut self) -> Result<(), StoreError> {
        let requests = self.deferred.len();
        self.drain_mesh()?;
        for _ in 0..requests {
            if self.desk.is_turn_full() || !self.parcels.is_empty() {
                break;
            }
            let Some((from, parcel)) = self.deferred.pop_front() else { break };
            match parcel {
                Parcel::Forward(forwarded) => {
                    let (connection, request) = *forwarded;
                    self.desk.admit(connection, None, request)?;
                }
                Parcel::Answer(to, answer) => self.desk.receive_answer(from, to, answer),
                Parcel::NextPart(to) => self.desk.next_part_abroad(to)?,
                Parcel::Abandon(to) => self.desk.abandon_list(to),
                Parcel::Move(moving) => self.take_over(*moving)?,
                _ => unreachable!("streams were applied before"),
            }
        }
        Ok(())
    }

    /// Applies what other shards have sent, in as many turns as that takes, until as much waits for
    /// the disk as may: the rest stays in `parcels`. Returns whether there were any.
    pub(super) fn drain_mesh(&mut self) -> Result<bool, StoreError> {
        self.desk.mesh.drain(&mut self.parcels);
        let has_some = !self.parcels.is_empty();
        let depth = self.parcels.len() + self.deferred.len();
        self.desk.metrics.set(Gauge::MeshDepth, depth as u64);
        while let Some((from, parcel)) = self.parcels.pop_front() {
            match parcel {
                Parcel::Relays(relays) => {
                    let relayed = steady_nanos();
                    let mut relays = relays.into_iter();
                    while let Some(post) = relays.next() {
                        if !self.has_room_for_more()? {
                            let rest = std::iter::once(post).chain(relays).collect();
                            self.parcels.push_front((from, Parcel::Relays(rest)));
                            return Ok(true);
                        }
                        self.desk.apply_relay(from, post, relayed)?;
                    }
                }
                Parcel::Confirm(stream) => {
                    self.desk.apply(Event::Confirmed { by: from, stream })?;
                }
                Parcel::Marks(notices) => {
                    for notice in notices {
                        self.desk.apply(Event::Marks { from, notice })?;
                    }
                }
                Parcel::MarksApplied(receipts) => {
                    for receipt in receipts {
                        self.desk.apply(Event::MarksApplied { by: from, receipt })?;
                    }
                }
                Parcel::Marker(number) => self.begin_cut(number)?,
                request => self.deferred.push_back((from, request)),
            }
        }
        Ok(has_some)
    }

    /// Ends a turn that is full. `false`: no other is begun for now.
    fn has_room_for_more(&mut self) -> Result<bool, StoreError> {
        if !self.desk.is_turn_full() {
            return Ok(true);
        }
        self.end_turn(steady_nanos())?;
        Ok(self.takes_requests())
    }
}

#[cfg(test)]
#[path = "exchange_tests.rs"]
mod tests;
