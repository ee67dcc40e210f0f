//! Effects leave, as in `node::release` and `node::durable`.

use super::{Ground, Host};
use crate::api::Reply;
use crate::chat::event::{CloseReason, Effect, Relay};
use crate::chat::turn::{Turn, When};
use crate::ids::{ConnectionId, ShardId};
use crate::sim::chronicle::Halt;
use crate::sim::coverage::Stage;
use crate::sim::lines::token_of;
use crate::sim::mesh::{Answer, Parcel};
use crate::speech::{self, Pushed};
use crate::store::Store;
use crate::wire::encode;
use crate::wire::session::CloseCode;

impl Host {
    /// Releases what has become durable, in order.
    pub(super) fn release_durable(&mut self, ground: &mut Ground<'_>) -> Result<(), Halt> {
        let store = self.shard.store();
        let (durable, synced) = (store.durable(), store.synced());
        while self.unsynced.front().is_some_and(|(position, _)| *position <= synced) {
            self.unsynced.pop_front();
        }
        for index in 0..self.pending.len() {
            let mut turn = std::mem::take(&mut self.pending[index]);
            if turn.position <= durable && !turn.durable.is_empty() {
                self.release(When::Durable, &mut turn, ground)?;
                ground.chronicle.pass(self.place.shard, Stage::Released)?;
            }
            if turn.position <= synced && !turn.synced.is_empty() {
                self.release(When::Synced, &mut turn, ground)?;
                ground.chronicle.pass(self.place.shard, Stage::Released)?;
            }
            self.pending[index] = turn;
        }
        let is_done = |turn: &Turn| turn.durable.is_empty() && turn.synced.is_empty();
        while self.pending.front().is_some_and(is_done) {
            self.pending.pop_front();
        }
        self.give_durable_parts(ground);
        let nothing = Turn::default();
        while let Some(effect) = self.shard.next_settled() {
            self.perform(effect, &nothing, ground)?;
        }
        self.post_gathered(ground)
    }

    /// Performs the effects of a turn that may leave, in their order.
    pub(super) fn release(
        &mut self,
        when: When,
        turn: &mut Turn,
        ground: &mut Ground<'_>,
    ) -> Result<(), Halt> {
        for effect in std::mem::take(turn.effects(when)) {
            self.perform(effect, turn, ground)?;
        }
        self.post_gathered(ground)
    }

    fn perform(
        &mut self,
        effect: Effect,
        turn: &Turn,
        ground: &mut Ground<'_>,
    ) -> Result<(), Halt> {
        match effect {
            Effect::Ack { to, ack } => {
                if let Some(line) = self.reach(token_of(to)) {
                    speech::acknowledge(&ack, &mut line.session, &mut line.out);
                }
            }
            Effect::Push { to, letter, content, state, stored } => {
                if let Some(line) = self.reach(token_of(to)) {
                    let pushed = Pushed { letter, state, stored };
                    speech::push(pushed, turn.text(content), turn, &mut line.out);
                }
            }
            Effect::Relay { to, relay } => self.relay(to, relay, ground),
            Effect::Enroll { user, tenant } => self.shard.enroll(user, tenant),
            Effect::Confirm { to, stream } => {
                ground.mesh.post(self.place.shard, to, Parcel::Confirm(stream));
            }
            Effect::Marks { to, notice } => self.marks[usize::from(to.0)].push(notice),
            Effect::MarksApplied { to, receipt } => {
                self.receipts[usize::from(to.0)].push(receipt);
            }
            Effect::Reply { to, reply } => self.reply(to, &reply, ground),
            Effect::List { to, listing } => self.begin_list(to, listing, ground)?,
            Effect::Welcome { to, user, ack, notice } => {
                let token = token_of(to);
                let Some(line) = self.reach(token) else {
                    self.departed.push((to, user));
                    if let Some(line) = self.lines.get(token) {
                        line.flags.farewell = true;
                    }
                    return Ok(());
                };
                line.session.welcome(user);
                if let Some(ack) = ack {
                    speech::acknowledge(&ack, &mut line.session, &mut line.out);
                }
                if let Some(notice) = notice {
                    speech::notify(&notice, &mut line.out);
                }
                self.make_ready(token);
            }
            Effect::RefuseAuth { to, source, refusal } => {
                if let Some(line) = self.reach(token_of(to)) {
                    line.session.refuse_auth(source, refusal, &mut line.out);
                }
            }
            Effect::Refuse { to, source, refusal } => {
                if let Some(line) = self.reach(token_of(to)) {
                    line.session.refuse(source, refusal, &mut line.out);
                }
            }
            Effect::Notice { to, notice } => {
                if let Some(line) = self.reach(token_of(to)) {
                    speech::notify(&notice, &mut line.out);
                }
            }
            Effect::Close { to, reason: CloseReason::Replaced } => {
                if let Some(line) = self.reach(token_of(to)) {
                    line.session.close(CloseCode::Replaced, &mut line.out);
                }
            }
        }
        Ok(())
    }

    /// Gathers a relay, unless its stream is behind: then it is read from the outbox.
    fn relay(&mut self, to: ShardId, relay: Relay, ground: &mut Ground<'_>) {
        if self.shard.may_post(to, relay.position) {
            let words = (relay.letter.id.number(), relay.position);
            let chronicle = &mut ground.chronicle;
            chronicle
                .tell(self.place.shard, format_args!("relays {} to s{to}, {:?}", words.0, words.1));
            self.relays[usize::from(to.0)].push(relay);
        }
    }

    /// Answers whoever asked, here or on another shard.
    fn reply(&mut self, to: ConnectionId, reply: &Reply, ground: &mut Ground<'_>) {
        let mut body = Vec::new();
        let status = encode::reply_body(reply, &self.options, &mut body);
        match to.shard == self.place.shard {
            true => self.answer(to, status, &body),
            false => {
                let answer = Answer::Whole(status, body);
                ground.mesh.post(self.place.shard, to.shard, Parcel::Answer(to, answer));
            }
        }
    }

    /// Answers a connection of this shard, and goes on with what it has said meanwhile.
    pub(super) fn answer(&mut self, to: ConnectionId, status: u16, body: &[u8]) {
        let token = token_of(to);
        if let Some(line) = self.reach(token) {
            line.session.answer(status, body, &mut line.out);
            self.make_ready(token);
        }
    }

    /// Posts what a release has gathered for other shards.
    fn post_gathered(&mut self, ground: &mut Ground<'_>) -> Result<(), Halt> {
        let me = self.place.shard;
        for to in self.others() {
            let index = usize::from(to.0);
            if !self.relays[index].is_empty() {
                let relays = std::mem::take(&mut self.relays[index]);
                let is_posted = self.offer_relays(to, relays, ground);
                let stage = if is_posted { Stage::Relayed } else { Stage::PutOff };
                ground.chronicle.pass(me, stage)?;
            }
            if !self.marks[index].is_empty() {
                let notices = std::mem::take(&mut self.marks[index]);
                ground.mesh.post(me, to, Parcel::Marks(notices));
            }
            if !self.receipts[index].is_empty() {
                let receipts = std::mem::take(&mut self.receipts[index]);
                ground.mesh.post(me, to, Parcel::MarksApplied(receipts));
            }
        }
        Ok(())
    }

    /// Posts relays, or tells the rules that they are to be read again later; `false`: no room.
    pub(super) fn offer_relays(
        &mut self,
        to: ShardId,
        relays: Vec<Relay>,
        ground: &mut Ground<'_>,
    ) -> bool {
        let Err(relays) = ground.mesh.post_relays(self.place.shard, to, relays) else {
            return true;
        };
        let first = relays.first().expect("an empty parcel is never posted").position;
        ground.chronicle.tell(self.place.shard, format_args!("no room for {first:?} to s{to}"));
        self.shard.take_back(to, first);
        false
    }
}
