//! The mesh: a bounded queue of parcels for each ordered pair of shards, and the bells that wake
//! a parked shard.
//!
//! Invariants:
//! 1. Parcels of one shard to another arrive once and in the order in which they were posted.
//! 2. Posting never waits. What may not be lost and finds no room is kept by its sender and goes
//!    before anything later; relays that find no room are given back.
//! 3. No wake-up is lost: a shard says that it is parked before it looks at its queues for the
//!    last time, and a sender looks whether it is parked after it has posted.
//!
//! Left to others: what parcels mean (`shard_loop`, `forward`, `handoff`).

use crate::api::Request;
use crate::chat::event::{MarksNotice, MarksReceipt, Relay, StreamPosition};
use crate::ids::{ConnectionId, ShardId};
use crate::limits::MESH_PARCELS_MAX;
use crate::metrics::message::Stamps;
use crate::node::handoff::Moving;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

/// A message for a user of another shard, and when it was where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Post {
    /// The message.
    pub relay: Relay,
    /// `None`: it was received before the server started, or its time is not taken.
    pub stamps: Option<Stamps>,
}

/// What shards send each other. All of it is owned: nothing is shared.
pub enum Parcel {
    /// Messages of one stream, in order; at most [`crate::limits::PARCEL_RELAYS_MAX`].
    Relays(Vec<Post>),
    /// The sender's stream is kept up to here.
    Confirm(StreamPosition),
    /// What became of messages.
    Marks(Vec<MarksNotice>),
    /// Notices that are kept.
    MarksApplied(Vec<MarksReceipt>),
    /// An HTTP request whose rows the receiver keeps.
    Forward(Box<(ConnectionId, Request<'static>)>),
    /// What a forwarded request is answered with.
    Answer(ConnectionId, Answer),
    /// The part of a list that was answered last has left: the next one, please.
    NextPart(ConnectionId),
    /// Nobody waits for the rest of a list any more.
    Abandon(ConnectionId),
    /// What is posted behind it does not belong to this cut of the server.
    Marker(u64),
    /// A connection that lives with the receiver from now on.
    Move(Box<Moving>),
}

/// An answer, or a part of it, on its way to the connection that asked.
pub enum Answer {
    /// All of it.
    Whole {
        /// The HTTP status.
        status: u16,
        /// The body.
        body: Vec<u8>,
    },
    /// The beginning of a list.
    First(Vec<u8>),
    /// More of it.
    Next(Vec<u8>),
    /// The rest of it.
    Last(Vec<u8>),
    /// The rest of it cannot be read.
    Broken,
}

/// Wakes one shard.
pub struct Doorbell {
    eventfd: OwnedFd,
    parked: AtomicBool,
}

impl Doorbell {
    /// The eventfd that is written to when the shard is to wake.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.eventfd.as_fd()
    }

    /// Says that the shard will wait for its bell, unless it finds something after all.
    pub fn park(&self) {
        self.parked.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// Says that the shard looks by itself again.
    pub fn unpark(&self) {
        self.parked.store(false, Ordering::SeqCst);
    }

    /// Wakes the shard if it is parked.
    pub fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.parked.swap(false, Ordering::SeqCst) {
            // It fails only when the count is full: then the bell rings already.
            let _ = rustix::io::write(&self.eventfd, &1_u64.to_ne_bytes());
        }
    }
}

struct Lane {
    sender: SyncSender<Parcel>,
    kept: VecDeque<Parcel>,
    posted: bool,
}

/// One shard's ends of the mesh. Its index in each list is the other shard's number.
pub struct Mesh {
    me: ShardId,
    outgoing: Vec<Lane>,
    incoming: Vec<Receiver<Parcel>>,
    bells: Arc<[Doorbell]>,
}

/// The bells of `shards` shards.
pub fn bells(shards: u16) -> io::Result<Arc<[Doorbell]>> {
    let bell = |_| -> io::Result<Doorbell> {
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Doorbell { eventfd, parked: AtomicBool::new(false) })
    };
    (0..shards).map(bell).collect()
}

/// The ends of a mesh, one for each bell. A shard's lane to itself is there and stays empty.
pub fn meshes(bells: &Arc<[Doorbell]>) -> Vec<Mesh> {
    let count = bells.len();
    let mut incoming: Vec<Vec<Receiver<Parcel>>> = (0..count).map(|_| Vec::new()).collect();
    let mut outgoing: Vec<Vec<Lane>> = (0..count).map(|_| Vec::new()).collect();
    for (from, lanes) in outgoing.iter_mut().enumerate() {
        for (to, receivers) in incoming.iter_mut().enumerate() {
            let room = if from == to { 1 } else { MESH_PARCELS_MAX };
            let (sender, receiver) = sync_channel(room);
            lanes.push(Lane { sender, kept: VecDeque::new(), posted: false });
            receivers.push(receiver);
        }
    }
    let ends = outgoing.into_iter().zip(incoming).enumerate();
    ends.map(|(me, (outgoing, incoming))| Mesh {
        me: ShardId(me as u16),
        outgoing,
        incoming,
        bells: bells.clone(),
    })
    .collect()
}

impl Mesh {
    /// This shard's bell.
    pub fn bell(&self) -> &Doorbell {
        &self.bells[usize::from(self.me.0)]
    }

    /// The shard whose ends these are.
    pub fn shard(&self) -> ShardId {
        self.me
    }

    /// All other shards.
    pub fn others(&self) -> impl Iterator<Item = ShardId> + use<> {
        let me = self.me;
        (0..self.outgoing.len() as u16).map(ShardId).filter(move |shard| *shard != me)
    }

    /// Posts what may not be lost: at once, or as soon as there is room.
    pub fn post(&mut self, to: ShardId, parcel: Parcel) {
        assert!(to != self.me, "a shard writes no parcels to itself");
        let lane = &mut self.outgoing[usize::from(to.0)];
        lane.kept.push_back(parcel);
        lane.posted = true;
        lane.send_kept();
    }

    /// Posts relays now, or gives them back.
    pub fn post_relays(&mut self, to: ShardId, relays: Vec<Post>) -> Result<(), Vec<Post>> {
        assert!(to != self.me, "a shard writes no parcels to itself");
        let lane = &mut self.outgoing[usize::from(to.0)];
        lane.send_kept();
        if !lane.kept.is_empty() {
            return Err(relays);
        }
        lane.posted = true;
        match lane.sender.try_send(Parcel::Relays(relays)) {
            Err(TrySendError::Full(Parcel::Relays(relays))) => Err(relays),
            // Disconnected: the process is ending, and the outbox rows stay.
            _ => Ok(()),
        }
    }

    /// Sends what was kept, as far as there is room, and wakes whom something was posted to.
    pub fn flush(&mut self) {
        for (lane, bell) in self.outgoing.iter_mut().zip(self.bells.iter()) {
            lane.send_kept();
            if std::mem::take(&mut lane.posted) || !lane.kept.is_empty() {
                bell.ring();
            }
        }
    }

    /// Appends the parcels that wait for this shard.
    pub fn drain(&mut self, parcels: &mut impl Extend<(ShardId, Parcel)>) {
        for (from, receiver) in self.incoming.iter().enumerate() {
            let waiting = receiver.try_iter().take(MESH_PARCELS_MAX);
            parcels.extend(waiting.map(|parcel| (ShardId(from as u16), parcel)));
        }
    }

    /// Parcels that found no room and are kept here.
    pub fn kept(&self) -> usize {
        self.outgoing.iter().map(|lane| lane.kept.len()).sum()
    }
}

impl Lane {
    fn send_kept(&mut self) {
        while let Some(parcel) = self.kept.pop_front() {
            match self.sender.try_send(parcel) {
                Ok(()) => self.posted = true,
                Err(TrySendError::Full(parcel)) => return self.kept.push_front(parcel),
                // The other shard has ended, and with it whoever waited for this.
                Err(TrySendError::Disconnected(_)) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    fn position(sequence: u64) -> StreamPosition {
        StreamPosition { epoch: 1, sequence }
    }

    fn sequences(parcels: &[(ShardId, Parcel)]) -> Vec<u64> {
        let sequence = |parcel: &(ShardId, Parcel)| match parcel {
            (ShardId(0), Parcel::Confirm(at)) => at.sequence,
            _ => panic!("another parcel"),
        };
        parcels.iter().map(sequence).collect()
    }

    /// Invariants 1 and 2 of node::mesh.
    #[test]
    fn what_finds_no_room_is_kept_and_arrives_in_order() {
        let bells = bells(2).expect("eventfds");
        let mut ends = meshes(&bells);
        let total = MESH_PARCELS_MAX as u64 * 2 + 10;
        (0..total).for_each(|at| ends[0].post(ShardId(1), Parcel::Confirm(position(at))));
        assert_eq!(ends[0].kept(), MESH_PARCELS_MAX + 10);
        assert_eq!(ends[0].post_relays(ShardId(1), Vec::new()), Err(Vec::new()));
        let mut parcels = Vec::new();
        for _ in 0..3 {
            ends[1].drain(&mut parcels);
            ends[0].flush();
        }
        assert_eq!(sequences(&parcels), (0..total).collect::<Vec<_>>());
    }

    /// Invariant 3 of node::mesh.
    #[test]
    fn no_wake_up_is_lost() {
        let bells = bells(2).expect("eventfds");
        let mut ends = meshes(&bells);
        let (mut receiver, mut sender) = (ends.pop().expect("two"), ends.pop().expect("two"));
        let rounds = 20_000;
        let writer = std::thread::spawn(move || {
            for at in 0..rounds {
                sender.post(ShardId(1), Parcel::Confirm(position(at)));
                sender.flush();
            }
            while sender.kept() > 0 {
                sender.flush();
            }
            sender
        });
        let mut parcels = Vec::new();
        while parcels.len() < rounds as usize {
            receiver.bell().park();
            let before = parcels.len();
            receiver.drain(&mut parcels);
            if parcels.len() == before {
                let fd = receiver.bell().fd();
                let deadline = Timespec { tv_sec: 10, tv_nsec: 0 };
                let woken = poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&deadline));
                assert_eq!(woken, Ok(1), "nobody rang after {before} parcels");
            }
            receiver.bell().unpark();
        }
        writer.join().expect("the sender ends");
        assert_eq!(sequences(&parcels), (0..rounds).collect::<Vec<_>>());
    }
}
