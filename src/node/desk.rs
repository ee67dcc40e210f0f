//! What a shard works with but for its ring: connections, rules, mesh, and the turn being made.
//!
//! Invariants:
//! 1. An event is applied only within a turn, at the moment that was read for it.
//! 2. A connection that was changed is in `touched` once, until it is settled.
//! 3. At most [`SPARE_BUFFERS_MAX`] output buffers are kept, none above [`SPARE_BYTES_MAX`].
//!
//! Nothing here waits or asks the kernel. Left to others: sending and receiving (`settle`), the
//! order of a turn (`shard_loop`).

use crate::chat::directory::Directory;
use crate::chat::event::{Event, MarksNotice, MarksReceipt, Now, StreamPosition};
use crate::chat::history::Listing;
use crate::chat::shard::{Place, Shard};
use crate::chat::turn::Turn;
use crate::ids::{ConnectionId, ShardId, UserId};
use crate::limits::TURN_REQUESTS_MAX;
use crate::metrics::ShardMetrics;
use crate::metrics::message::Journey;
use crate::node::connection::{Connection, Table};
use crate::node::journeys::{Ended, Wanted};
use crate::node::listing::HeldParts;
use crate::node::mesh::{Mesh, Post};
use crate::node::parking::Parking;
use crate::node::profile::Profile;
use crate::node::ring::Token;
use crate::store::{Store, StoreError};
use crate::wire::session::{CloseCode, Codec, WireOptions};
use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::Arc;

/// Output buffers kept for the next who has something to say.
const SPARE_BUFFERS_MAX: usize = 64;
/// Bytes of a buffer that is kept; larger ones go back to the allocator.
const SPARE_BYTES_MAX: usize = 64 * 1024;

/// One shard's state, apart from its ring.
pub struct Desk<S: Store> {
    /// Which shard this is.
    pub place: Place,
    /// Its connections.
    pub table: Table,
    /// Scratch memory of the wire.
    pub codec: Codec,
    /// Settings of the wire.
    pub options: WireOptions,
    /// The rules.
    pub shard: Shard<S>,
    /// Who exists.
    pub directory: Arc<Directory>,
    /// This shard's figures.
    pub metrics: Arc<ShardMetrics>,
    /// When messages were where.
    pub profile: Profile,
    /// Ways to the other shards.
    pub mesh: Mesh,
    /// The moment of this turn.
    pub now: Now,
    /// Ms in which nothing was read from anybody.
    deaf_ms: u64,
    /// The turn being made.
    pub turn: Turn,
    /// Events applied in it.
    pub applied: usize,
    /// Turns whose effects wait to be durable.
    pub pending: VecDeque<Ended>,
    /// Turns to be used again.
    pub spare_turns: Vec<Ended>,
    /// Connections to settle.
    pub touched: Vec<Token>,
    /// Connections to decode though nothing came in.
    pub ready: VecDeque<Token>,
    /// Authenticated connections that are gone and of which the rules do not know it.
    pub departed: Vec<(ConnectionId, UserId)>,
    /// Relays to post, by shard.
    pub relays: Vec<Vec<Post>>,
    /// Notices to post, by shard.
    pub marks: Vec<Vec<MarksNotice>>,
    /// Receipts to post, by shard.
    pub receipts: Vec<Vec<MarksReceipt>>,
    /// Confirms to post, by shard.
    pub confirms: Vec<Option<StreamPosition>>,
    /// HTTP requests that other shards are answering.
    pub forwarded: usize,
    /// Lists being answered to connections of other shards.
    pub abroad: BTreeMap<(u16, u32, u32), Box<Listing>>,
    /// Parts of lists that wait to be durable.
    pub held_parts: HeldParts,
    /// Events that wait for rows.
    pub parking: Parking,
    /// Connections with an authenticated user.
    pub authenticated: u64,
    spare_buffers: Vec<Vec<u8>>,
    /// Scratch memory for bodies.
    pub body: Vec<u8>,
}

/// What a desk is made of.
pub struct Fittings<S: Store> {
    /// Which shard.
    pub place: Place,
    /// Settings of the wire.
    pub options: WireOptions,
    /// The rules, opened.
    pub shard: Shard<S>,
    /// Who exists.
    pub directory: Arc<Directory>,
    /// Its figures.
    pub metrics: Arc<ShardMetrics>,
    /// Its ends of the mesh.
    pub mesh: Mesh,
    /// The moment it starts.
    pub now: Now,
}

impl<S: Store> Desk<S> {
    /// An empty desk.
    pub fn new(fittings: Fittings<S>) -> Desk<S> {
        let Fittings { place, options, shard, directory, metrics, mesh, now } = fittings;
        let shards = usize::from(place.shards);
        Desk {
            place,
            table: Table::new(place.shard),
            codec: Codec::new(options),
            options,
            shard,
            directory,
            profile: Profile::new(place, metrics.clone()),
            metrics,
            mesh,
            now,
            deaf_ms: 0,
            turn: Turn::default(),
            applied: 0,
            pending: VecDeque::new(),
            spare_turns: Vec::new(),
            touched: Vec::new(),
            ready: VecDeque::new(),
            departed: Vec::new(),
            relays: (0..shards).map(|_| Vec::new()).collect(),
            marks: (0..shards).map(|_| Vec::new()).collect(),
            receipts: (0..shards).map(|_| Vec::new()).collect(),
            confirms: vec![None; shards],
            forwarded: 0,
            abroad: BTreeMap::new(),
            held_parts: HeldParts::default(),
            parking: Parking::default(),
            authenticated: 0,
            spare_buffers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// The time by which connections are judged, in ms, wrapping: only differences mean anything.
    /// It stands still while the store is full, because peers are not heard then.
    pub fn now_ms(&self) -> u32 {
        (self.now.steady_ms - self.deaf_ms) as u32
    }

    /// Another moment has come.
    pub fn begin_round(&mut self, now: Now) {
        if self.shard.store().is_full() {
            self.deaf_ms += now.steady_ms.saturating_sub(self.now.steady_ms);
        }
        self.codec.set_time(now.wall_ms);
        self.now = now;
    }

    /// Applies one event in the turn being made.
    pub fn apply(&mut self, event: Event<'_>) -> Result<(), StoreError> {
        self.applied += 1;
        self.parking.begin_event();
        self.shard.apply(event, &self.now, &mut self.turn)?;
        self.end_event();
        Ok(())
    }

    /// Applies an event; if it is a message with a journey, its way is followed.
    pub fn apply_message(
        &mut self,
        event: Event<'_>,
        journey: Option<Journey>,
    ) -> Result<(), StoreError> {
        let Some(journey) = journey else { return self.apply(event) };
        let before = Wanted::of(&self.turn);
        self.apply(event)?;
        self.profile.journeys.add(journey, before, &self.turn);
        Ok(())
    }

    /// Applies a relay that was taken up at `relayed`, steady ns.
    pub fn apply_relay(
        &mut self,
        from: ShardId,
        post: Post,
        relayed: u64,
    ) -> Result<(), StoreError> {
        let Post { relay, stamps } = post;
        let journey = stamps.map(|stamps| self.profile.arrive(&relay.letter, stamps, relayed));
        self.apply_message(Event::Relay { from, relay }, journey)
    }

    /// The turn being made has ended: its events were applied, then its rows written, at these
    /// moments, steady ns. Another one is begun.
    pub fn take_turn(&mut self, applied: u64, written: u64) -> Ended {
        let Ended { turn, journeys } = self.spare_turns.pop().unwrap_or_default();
        Ended {
            turn: std::mem::replace(&mut self.turn, turn),
            journeys: self.profile.end_turn(applied, written, journeys),
        }
    }

    /// The turn has taken up as much as one turn may.
    pub fn is_turn_full(&self) -> bool {
        self.applied >= TURN_REQUESTS_MAX || self.shard.has_gathered_enough()
    }

    /// Puts a connection on the list of those to settle.
    pub fn touch(&mut self, token: Token) {
        let Some(connection) = self.table.get(token) else { return };
        if !std::mem::replace(&mut connection.flags.touched, true) {
            self.touched.push(token);
        }
    }

    /// Puts a connection on the list of those to decode.
    pub fn make_ready(&mut self, token: Token) {
        let Some(connection) = self.table.get(token) else { return };
        if !std::mem::replace(&mut connection.flags.ready, true) {
            self.ready.push_back(token);
        }
    }

    /// A connection of this shard that can still be told something, with memory for its output.
    pub fn reach(&mut self, token: Token) -> Option<&mut Connection> {
        self.touch(token);
        let connection = self.table.get(token).filter(|connection| !connection.is_over())?;
        if connection.out.capacity() == 0 {
            connection.out = self.spare_buffers.pop().unwrap_or_default();
        }
        Some(connection)
    }

    /// Ends a connection with a code, in the words of its protocol.
    pub fn close(&mut self, token: Token, code: CloseCode) {
        if let Some(connection) = self.reach(token) {
            let Connection { session, out, .. } = connection;
            session.close(code, out);
        }
    }

    /// Whether a shard is this one.
    pub fn is_here(&self, shard: ShardId) -> bool {
        shard == self.place.shard
    }

    /// Keeps an output buffer for the next, or lets it go.
    pub fn recycle(&mut self, mut buffer: Vec<u8>) {
        let fits = (1..=SPARE_BYTES_MAX).contains(&buffer.capacity());
        if fits && self.spare_buffers.len() < SPARE_BUFFERS_MAX {
            buffer.clear();
            self.spare_buffers.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::house::lone_desk;

    /// Invariant 3 of node::desk.
    #[test]
    fn few_output_buffers_are_kept_and_no_large_one() {
        let mut desk = lone_desk();
        desk.recycle(Vec::with_capacity(SPARE_BYTES_MAX + 1));
        desk.recycle(Vec::new());
        assert!(desk.spare_buffers.is_empty());
        (0..1000).for_each(|_| desk.recycle(vec![1; 100]));
        assert_eq!(desk.spare_buffers.len(), SPARE_BUFFERS_MAX);
        assert!(desk.spare_buffers.iter().all(Vec::is_empty));
    }
}
