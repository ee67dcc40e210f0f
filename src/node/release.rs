//! Effects leave: frames and answers go to connections, relays and notices to other shards.
//!
//! Invariants:
//! 1. An effect for a connection that is gone is dropped; what matters in it is in the rows.
//! 2. Relays of a turn are in the mesh before any of its Acks is sent: Acks are only put into a
//!    connection's output here, and outputs are sent when all of the turn is released.
//! 3. A user who was welcomed and is gone before he hears of it is reported as gone.
//!
//! Left to others: when a turn may be released (`shard_loop`), bytes (`speech`), lists (`listing`).

use crate::api::{DeliveryState, Reply};
use crate::chat::event::{CloseReason, Effect, OfflineNotice, ServerAck};
use crate::chat::turn::{Turn, When};
use crate::ids::{ConnectionId, ShardId};
use crate::limits::{PARCEL_RELAYS_MAX, SHARDS_MAX};
use crate::metrics::{Counter, TARGETS_MAX};
use crate::node::connection::token_of;
use crate::node::desk::Desk;
use crate::node::journeys::{Ended, Followed};
use crate::node::mesh::{Answer, Parcel, Post};
use crate::speech::{self, Pushed};
use crate::store::{Store, StoreError};
use crate::wire::encode;
use crate::wire::session::CloseCode;

impl<S: Store> Desk<S> {
    /// Performs the effects of a turn that may leave, in their order.
    pub fn release(&mut self, when: When, ended: &mut Ended) -> Result<(), StoreError> {
        let Ended { turn, journeys } = ended;
        let mut effects = std::mem::take(turn.effects(when));
        let mut at = 0;
        for (index, effect) in effects.drain(..).enumerate() {
            self.perform(effect, turn, journeys.of(&mut at, when, index))?;
        }
        self.post_gathered();
        *turn.effects(when) = effects;
        Ok(())
    }

    /// Performs what was to wait until it is on disk.
    pub fn release_settled(&mut self) -> Result<(), StoreError> {
        let (nothing, mut is_told) = (Turn::default(), false);
        while let Some(effect) = self.shard.next_settled() {
            self.perform(effect, &nothing, None)?;
            is_told = true;
        }
        if is_told {
            self.post_gathered();
        }
        Ok(())
    }

    fn perform(
        &mut self,
        effect: Effect,
        turn: &Turn,
        followed: Option<&mut Followed>,
    ) -> Result<(), StoreError> {
        match effect {
            Effect::Ack { to, ack } => {
                self.acknowledge(to, &ack);
                if let Some(followed) = followed {
                    followed.journey.id = ack.source.number();
                    let connection = self.table.get(token_of(to)).filter(|it| !it.is_over());
                    self.profile.acked(followed, connection.map(|it| &mut it.trail));
                }
            }
            Effect::Push { to, letter, content, state, stored } => {
                if let Some(connection) = self.reach(token_of(to)) {
                    let pushed = Pushed { letter, state, stored };
                    speech::push(pushed, turn.text(content), turn, &mut connection.out);
                }
                // Its author's other devices are shown it, too, in other states.
                if let Some(followed) = followed
                    && state == DeliveryState::ServerToClientIng
                {
                    followed.journey.id = letter.id.number();
                    let connection = self.table.get(token_of(to)).filter(|it| !it.is_over());
                    self.profile.pushed(followed, connection.map(|it| &mut it.trail));
                }
            }
            Effect::Relay { to, relay } => {
                let stamps = followed.map(|followed| followed.journey.stamps);
                self.relay(to, Post { relay, stamps });
            }
            Effect::Enroll { user, tenant } => self.shard.enroll(user, tenant),
            // Later ones hold all earlier ones: with `async` there are many at once.
            Effect::Confirm { to, stream } => self.confirms[usize::from(to.0)] = Some(stream),
            Effect::Marks { to, notice } => self.marks[usize::from(to.0)].push(notice),
            Effect::MarksApplied { to, receipt } => {
                self.receipts[usize::from(to.0)].push(receipt);
            }
            Effect::Reply { to, reply } => self.reply(to, &reply),
            Effect::List { to, listing } => self.begin_list(to, listing)?,
            Effect::Welcome { to, user, ack, notice } => {
                let token = token_of(to);
                let Some(connection) = self.reach(token) else {
                    self.departed.push((to, user));
                    if let Some(connection) = self.table.get(token) {
                        connection.flags.farewell = true;
                    }
                    return Ok(());
                };
                connection.session.welcome(user);
                connection.flags.unfinished = false;
                if !std::mem::replace(&mut connection.flags.known, true) {
                    self.authenticated += 1;
                }
                if let Some(ack) = ack {
                    self.acknowledge(to, &ack);
                }
                if let Some(notice) = notice {
                    self.notify(to, &notice);
                }
                self.make_ready(token);
            }
            Effect::RefuseAuth { to, source, refusal } => {
                if let Some(connection) = self.reach(token_of(to)) {
                    connection.session.refuse_auth(source, refusal, &mut connection.out);
                }
            }
            Effect::Refuse { to, source, refusal } => {
                if let Some(connection) = self.reach(token_of(to)) {
                    connection.session.refuse(source, refusal, &mut connection.out);
                }
            }
            Effect::Notice { to, notice } => self.notify(to, &notice),
            Effect::Close { to, reason: CloseReason::Replaced } => {
                self.close(token_of(to), CloseCode::Replaced);
            }
        }
        Ok(())
    }

    /// Gathers a relay, unless its stream is behind: then it is read from the outbox.
    fn relay(&mut self, to: ShardId, post: Post) {
        if !self.shard.may_post(to, post.relay.position) {
            return self.put_off(to, &post);
        }
        self.relays[usize::from(to.0)].push(post);
        if self.relays[usize::from(to.0)].len() >= PARCEL_RELAYS_MAX {
            self.post_relays(to);
        }
    }

    fn put_off(&mut self, to: ShardId, post: &Post) {
        if let Some(stamps) = post.stamps {
            self.profile.put_off(to, post.relay.position, stamps);
        }
    }

    fn acknowledge(&mut self, to: ConnectionId, ack: &ServerAck) {
        if let Some(connection) = self.reach(token_of(to)) {
            speech::acknowledge(ack, &mut connection.session, &mut connection.out);
            self.metrics.count(Counter::ServerAcks, 1);
        }
    }

    fn notify(&mut self, to: ConnectionId, notice: &OfflineNotice) {
        if let Some(connection) = self.reach(token_of(to)) {
            speech::notify(notice, &mut connection.out);
        }
    }

    /// Answers whoever asked, here or on another shard.
    pub(super) fn reply(&mut self, to: ConnectionId, reply: &Reply) {
        self.body.clear();
        let status = encode::reply_body(reply, &self.options, &mut self.body);
        if !self.is_here(to.shard) {
            let body = self.body.clone();
            return self.mesh.post(to.shard, Parcel::Answer(to, Answer::Whole { status, body }));
        }
        let body = std::mem::take(&mut self.body);
        self.answer(to, status, &body);
        self.body = body;
    }

    /// Answers a connection of this shard, and goes on with what it has said meanwhile.
    pub fn answer(&mut self, to: ConnectionId, status: u16, body: &[u8]) {
        let token = token_of(to);
        if let Some(connection) = self.reach(token) {
            connection.session.answer(status, body, &mut connection.out);
            self.make_ready(token);
        }
    }

    /// Posts what a release has gathered for other shards.
    fn post_gathered(&mut self) {
        for to in self.mesh.others() {
            let index = usize::from(to.0);
            if !self.relays[index].is_empty() {
                self.post_relays(to);
            }
            if !self.marks[index].is_empty() {
                let notices = std::mem::take(&mut self.marks[index]);
                self.mesh.post(to, Parcel::Marks(notices));
            }
            if !self.receipts[index].is_empty() {
                let receipts = std::mem::take(&mut self.receipts[index]);
                self.mesh.post(to, Parcel::MarksApplied(receipts));
            }
            if let Some(stream) = self.confirms[index].take() {
                self.mesh.post(to, Parcel::Confirm(stream));
            }
        }
    }

    fn post_relays(&mut self, to: ShardId) {
        let relays = std::mem::take(&mut self.relays[usize::from(to.0)]);
        self.offer_relays(to, relays);
    }

    /// Posts relays, or tells the rules that they are to be read again later; `false`: no room.
    fn offer_relays(&mut self, to: ShardId, relays: Vec<Post>) -> bool {
        let count = relays.len() as u64;
        let Err(relays) = self.mesh.post_relays(to, relays) else {
            self.metrics.relay(to.0, count);
            return true;
        };
        let first = relays.first().expect("an empty parcel is never posted").relay.position;
        relays.iter().for_each(|post| self.put_off(to, post));
        self.metrics.count(Counter::MeshFull, 1);
        self.shard.take_back(to, first);
        false
    }

    /// Reads on streams that are behind, as far as the mesh has room.
    pub fn catch_up(&mut self) -> Result<(), StoreError> {
        for to in self.mesh.others() {
            while self.shard.is_behind(to) {
                let relays = self.shard.read_outbox(to)?.into_iter().map(|relay| {
                    let stamps = self.profile.late(to, relay.position);
                    Post { relay, stamps }
                });
                let relays: Vec<Post> = relays.collect();
                if relays.is_empty() || !self.offer_relays(to, relays) {
                    break;
                }
            }
        }
        Ok(())
    }
}

const _: () = assert!(SHARDS_MAX as usize <= TARGETS_MAX, "relays are counted to each shard");
