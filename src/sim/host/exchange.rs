//! What comes from other shards, as in `node::exchange`: streams first, then requests.

use super::{Ground, Host};
use crate::api::Request;
use crate::chat::event::Event;
use crate::ids::{ConnectionId, ShardId};
use crate::sim::chronicle::Halt;
use crate::sim::coverage::Stage;
use crate::sim::host::cold::Waiting;
use crate::sim::mesh::Parcel;
use crate::store::Store;

impl Host {
    /// Drains the mesh. What streams bring is applied at once; requests wait for the second look.
    pub(super) fn exchange(&mut self, ground: &mut Ground<'_>) -> Result<(), Halt> {
        self.drain_mesh(ground)?;
        if self.deferred.is_empty() {
            return Ok(());
        }
        let requests = self.deferred.len();
        self.drain_mesh(ground)?;
        for _ in 0..requests {
            if self.is_turn_full(ground) || !self.parcels.is_empty() {
                break;
            }
            let Some((from, parcel)) = self.deferred.pop_front() else { break };
            match parcel {
                Parcel::Forward(connection, request) => self.admit(connection, request, ground)?,
                Parcel::Answer(to, answer) => {
                    ground.chronicle.pass(self.place.shard, Stage::Answered)?;
                    self.receive_answer(from, to, answer, ground);
                }
                Parcel::NextPart(to) => self.next_part_abroad(to, ground)?,
                Parcel::Abandon(to) => self.abandon_list(to),
                Parcel::Move(moving) => self.take_over(*moving, ground)?,
                _ => unreachable!("streams were applied before"),
            }
        }
        Ok(())
    }

    fn drain_mesh(&mut self, ground: &mut Ground<'_>) -> Result<(), Halt> {
        ground.mesh.drain(self.place.shard, &mut self.parcels);
        let shard = self.place.shard;
        while let Some((from, parcel)) = self.parcels.pop_front() {
            match parcel {
                Parcel::Relays(relays) => {
                    let mut relays = relays.into_iter();
                    while let Some(relay) = relays.next() {
                        if !self.has_room_for_more(ground)? {
                            let rest = std::iter::once(relay).chain(relays).collect();
                            self.parcels.push_front((from, Parcel::Relays(rest)));
                            return Ok(());
                        }
                        let (id, at) = (relay.letter.id.number(), relay.position);
                        let words = format_args!("delivers {id} of s{from}, {at:?}");
                        ground.chronicle.tell(shard, words);
                        self.apply(Event::Relay { from, relay })?;
                        ground.chronicle.pass(shard, Stage::Delivered)?;
                    }
                }
                Parcel::Confirm(stream) => {
                    ground.chronicle.tell(shard, format_args!("s{from} confirms {stream:?}"));
                    self.apply(Event::Confirmed { by: from, stream })?;
                    ground.chronicle.pass(shard, Stage::Confirmed)?;
                }
                Parcel::Marks(notices) => {
                    for notice in notices {
                        self.apply(Event::Marks { from, notice })?;
                        ground.chronicle.pass(shard, Stage::Marked)?;
                    }
                }
                Parcel::MarksApplied(receipts) => {
                    for receipt in receipts {
                        self.apply(Event::MarksApplied { by: from, receipt })?;
                    }
                }
                request => self.deferred.push_back((from, request)),
            }
        }
        Ok(())
    }

    /// Ends a turn that is full. `false`: no other is begun for now.
    fn has_room_for_more(&mut self, ground: &mut Ground<'_>) -> Result<bool, Halt> {
        if !self.is_turn_full(ground) {
            return Ok(true);
        }
        self.end_turn(ground)?;
        Ok(!self.shard.store().is_full())
    }

    /// Applies a request that another shard has decoded, or parks it.
    pub(super) fn admit(
        &mut self,
        to: ConnectionId,
        request: Request<'static>,
        ground: &mut Ground<'_>,
    ) -> Result<(), Halt> {
        let needs = self.shard.needs(None, &request)?;
        if needs.is_empty() || !self.parking.has_room() {
            self.apply(Event::Request { connection: to, user: None, request })?;
            return ground.chronicle.pass(self.place.shard, Stage::Applied);
        }
        if to.shard == self.place.shard
            && let Some(line) = self.lines.get(crate::sim::lines::token_of(to))
        {
            line.flags.parked = true;
        }
        let kept = crate::chat::kept::KeptRequest::of(request);
        self.parking.park(Waiting::Request(to, None, kept), needs, 1, &mut self.wants);
        ground.chronicle.pass(self.place.shard, Stage::Parked)
    }

    /// Reads on streams that are behind, as far as the mesh has room.
    pub(super) fn catch_up(&mut self, ground: &mut Ground<'_>) -> Result<(), Halt> {
        for to in self.others() {
            while self.shard.is_behind(to) {
                let relays = self.shard.read_outbox(to)?;
                if relays.is_empty() || !self.offer_relays(to, relays, ground) {
                    break;
                }
                ground.chronicle.pass(self.place.shard, Stage::CaughtUp)?;
            }
        }
        Ok(())
    }

    /// All other shards.
    pub(super) fn others(&self) -> impl Iterator<Item = ShardId> + use<> {
        let me = self.place.shard;
        (0..self.place.shards).map(ShardId).filter(move |shard| *shard != me)
    }
}
