//! The mesh of a town: a queue of parcels for each ordered pair of shards. What is posted is there
//! for whoever looks; a shard that is slow to look delays it.
//!
//! Invariants:
//! 1. Parcels of one shard to another arrive once and in the order in which they were posted.
//! 2. Relays that find no room are given back; what may not be lost always finds some.

use crate::api::Request;
use crate::chat::event::{MarksNotice, MarksReceipt, Relay, StreamPosition};
use crate::ids::{ConnectionId, ShardId};
use crate::sim::host::Moving;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What shards send each other, as in `node::mesh`.
pub enum Parcel {
    /// Messages of one stream, in order.
    Relays(Vec<Relay>),
    /// The sender's stream is kept up to here.
    Confirm(StreamPosition),
    /// What became of messages.
    Marks(Vec<MarksNotice>),
    /// Notices that are kept.
    MarksApplied(Vec<MarksReceipt>),
    /// An HTTP request whose rows the receiver keeps.
    Forward(ConnectionId, Request<'static>),
    /// What it is answered with.
    Answer(ConnectionId, Answer),
    /// The part of a list that was answered last has left: the next one, please.
    NextPart(ConnectionId),
    /// Nobody waits for the rest of a list any more.
    Abandon(ConnectionId),
    /// A connection that lives with the receiver from now on.
    Move(Box<Moving>),
}

/// An answer, or a part of it.
pub enum Answer {
    /// All of it: status, body.
    Whole(u16, Vec<u8>),
    /// The beginning of a list.
    First(Vec<u8>),
    /// More of it.
    Next(Vec<u8>),
    /// The rest of it.
    Last(Vec<u8>),
}

/// All lanes.
pub struct Mesh {
    lanes: BTreeMap<(ShardId, ShardId), VecDeque<Parcel>>,
    /// Parcels of a lane from which on relays find no room.
    room: usize,
    /// To whom something was posted since it was last asked.
    rung: BTreeSet<ShardId>,
}

impl Mesh {
    /// Empty lanes.
    pub fn new(room: usize) -> Mesh {
        Mesh { lanes: BTreeMap::new(), room, rung: BTreeSet::new() }
    }

    /// Posts what may not be lost.
    pub fn post(&mut self, from: ShardId, to: ShardId, parcel: Parcel) {
        assert!(to != from, "a shard writes no parcels to itself");
        self.lanes.entry((from, to)).or_default().push_back(parcel);
        self.rung.insert(to);
    }

    /// Posts relays now, or gives them back.
    pub fn post_relays(
        &mut self,
        from: ShardId,
        to: ShardId,
        relays: Vec<Relay>,
    ) -> Result<(), Vec<Relay>> {
        if self.waiting(from, to) >= self.room {
            return Err(relays);
        }
        self.post(from, to, Parcel::Relays(relays));
        Ok(())
    }

    /// Takes all that waits for a shard.
    pub fn drain(&mut self, to: ShardId, parcels: &mut VecDeque<(ShardId, Parcel)>) {
        for ((from, _), lane) in self.lanes.iter_mut().filter(|((_, there), _)| *there == to) {
            parcels.extend(lane.drain(..).map(|parcel| (*from, parcel)));
        }
    }

    /// Parcels that wait in a lane.
    pub fn waiting(&self, from: ShardId, to: ShardId) -> usize {
        self.lanes.get(&(from, to)).map_or(0, VecDeque::len)
    }

    /// The most that wait in any lane.
    pub fn waiting_max(&self) -> usize {
        self.lanes.values().map(VecDeque::len).max().unwrap_or(0)
    }

    /// The shards that are to be woken.
    pub fn take_rung(&mut self) -> BTreeSet<ShardId> {
        std::mem::take(&mut self.rung)
    }

    /// All is lost, but for the sockets that were on their way: they end with it.
    pub fn crash(&mut self) {
        self.lanes.clear();
        self.rung.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Invariants 1 and 2 of sim::mesh.
    #[test]
    fn parcels_arrive_in_order_and_relays_find_room_or_come_back() {
        let mut mesh = Mesh::new(2);
        let (one, two) = (ShardId(0), ShardId(1));
        let position = |sequence| StreamPosition { epoch: 1, sequence };
        mesh.post(one, two, Parcel::Confirm(position(1)));
        assert!(mesh.post_relays(one, two, Vec::new()).is_ok());
        assert!(mesh.post_relays(one, two, Vec::new()).is_err());
        assert!(mesh.post_relays(two, one, Vec::new()).is_ok(), "another lane");
        mesh.post(one, two, Parcel::Confirm(position(2)));
        let mut parcels = VecDeque::new();
        mesh.drain(two, &mut parcels);
        let sequence = |(_, parcel): &(ShardId, Parcel)| match parcel {
            Parcel::Confirm(position) => position.sequence,
            _ => 0,
        };
        assert_eq!(parcels.iter().map(sequence).collect::<Vec<_>>(), [1, 0, 2]);
        assert_eq!(mesh.take_rung(), [one, two].into());
        assert_eq!(mesh.waiting_max(), 1);
    }
}
