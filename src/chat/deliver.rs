//! A message arrives at its recipient's home.
//!
//! Invariants:
//! 1. A delivered message is in the recipient's history, in his offline list and in his chat list,
//!    all in one batch.
//! 2. A relay is applied once: what is not above the stream's last applied position is passed over.
//! 3. Messages of one author reach one recipient in the order in which they were sent.
//! 4. A message that its author's home has lost, in a power cut with `async`, and that is sent
//!    again is not stored a second time where it arrived before.

use crate::api::{DeliveryState, StoredMessage};
use crate::chat::by_id::Index;
use crate::chat::event::{Effect, Letter, Now, Relay, Span};
use crate::chat::expected::Received;
use crate::chat::records::Writing;
use crate::chat::shard::Shard;
use crate::chat::turn::{Turn, When};
use crate::ids::ShardId;
use crate::metrics::Counter;
use crate::store::keys::Side;
use crate::store::rows::RowError;
use crate::store::{Store, StoreError};

/// A message to deliver, and when it may be pushed: at once when another shard holds it safely.
pub(super) struct Delivery<'a> {
    /// The message.
    pub writing: Writing<'a>,
    /// When it may be pushed.
    pub when: When,
}

/// A message that arrived earlier.
#[derive(Clone, Copy)]
pub(super) struct Before {
    ordinal: u64,
    is_acked: bool,
}

impl<S: Store> Shard<S> {
    /// A relay of another shard.
    pub(super) fn relayed(
        &mut self,
        from: ShardId,
        relay: &Relay,
        now: &Now,
        turn: &mut Turn,
    ) -> Result<(), StoreError> {
        let recipient = relay.letter.to;
        assert_eq!(recipient.home(self.place.shards), self.place.shard, "relays come home");
        if !self.outbox.is_new(from, relay.position) {
            return Ok(());
        }
        if !self.is_registered(recipient) {
            tracing::warn!(shard = self.place.shard.0, "a relay names a user who is not here");
            self.outbox.take_in(&mut self.records, from, relay.position);
            return Ok(());
        }
        let writing = Writing::of(relay);
        let has_arrived = !self.aside.is_for(recipient)
            && self.attempt(turn, |shard, turn| shard.arrive(&writing, now, turn))?.is_some();
        if !has_arrived {
            self.set_aside(&writing, now);
        }
        self.outbox.take_in(&mut self.records, from, relay.position);
        Ok(())
    }

    /// What another shard holds safely reaches its recipient.
    pub(super) fn arrive(
        &mut self,
        writing: &Writing<'_>,
        now: &Now,
        turn: &mut Turn,
    ) -> Result<(), StoreError> {
        let letter = &writing.letter;
        // All of this only reads; but it may scan, which writes out what was changed before.
        let before = self.arrived_before(letter, writing.ordinal, writing.content)?;
        self.records.prepare_id(Index { owner: letter.to, side: Side::Received }, letter.id)?;
        let lacks_chat = self.lacks_chat_of(letter.to, letter.from)?;
        if let Some(before) = before {
            return self.count_anew(letter, writing.ordinal, before);
        }
        if lacks_chat {
            self.make_room(letter.to)?;
        }
        self.deliver(Delivery { writing: *writing, when: When::Now }, now, turn)?;
        Ok(())
    }

    /// What is here already of what is new to its author's home. That counts what he sends to
    /// each: a number that is not above the last one tells that it has lost what it had sent.
    ///
    /// It changes nothing; but it may scan, which writes out what was changed before.
    pub(super) fn arrived_before(
        &mut self,
        letter: &Letter,
        ordinal: u64,
        content: &str,
    ) -> Result<Option<Before>, StoreError> {
        let (owner, author) = (letter.to, letter.from);
        let Some(chat) = self.records.chat(owner, author)? else { return Ok(None) };
        if !chat.is_parted && ordinal > chat.received {
            return Ok(None);
        }
        let compare = |stored: StoredMessage<'_>, ordinal| {
            let message = stored.message;
            let is_his = message.from == author && message.kind == letter.kind;
            (is_his && message.content == content).then_some(ordinal)
        };
        let mut before = None;
        self.each_of_id(Index { owner, side: Side::Received }, letter.id, |shard, seq| {
            let found = shard.records.message(owner, seq, compare)?.flatten();
            if let (None, Some(ordinal)) = (before, found) {
                let is_acked = !shard.records.is_waiting(owner, seq)?;
                before = Some(Before { ordinal, is_acked });
            }
            Ok(())
        })?;
        Ok(before)
    }

    /// His author's home counts it by another number now: what is known of it is told under that.
    pub(super) fn count_anew(
        &mut self,
        letter: &Letter,
        ordinal: u64,
        before: Before,
    ) -> Result<(), StoreError> {
        let (owner, author) = (letter.to, letter.from);
        let Before { ordinal: earlier, is_acked } = before;
        let chat = self.records.change_chat(owner, author)?.ok_or(RowError::Missing)?;
        chat.count_received(ordinal);
        if is_acked || chat.pushed.contains(earlier) {
            chat.pushed.insert(ordinal);
        }
        if is_acked {
            chat.acked.insert(ordinal);
        }
        self.marks_changed(owner, author);
        Ok(())
    }

    /// Stores a message for its recipient and pushes it. Returns its text, if the turn keeps it.
    pub(super) fn deliver(
        &mut self,
        delivery: Delivery<'_>,
        now: &Now,
        turn: &mut Turn,
    ) -> Result<Option<Span>, StoreError> {
        let Delivery { writing, when } = delivery;
        let letter = writing.letter;
        let (owner, peer) = (letter.to, letter.from);
        assert_ne!(owner, peer, "a note to self is not delivered");
        let is_present = !self.presence.of(owner).is_empty();
        let seq = self.records.next_seq(owner)?;
        self.records.begin_waiting(owner)?;
        let user = self.records.change_user(owner)?;
        user.offline += 1;
        if letter.kind.is_content() {
            user.unread += 1;
        }
        let is_first_of_id = letter.id.number() > user.highest_received;
        user.highest_received = user.highest_received.max(letter.id.number());
        let chat = self.chat_to_change(owner, peer, now)?;
        chat.count_received(writing.ordinal);
        chat.unacked += 1;
        chat.updated_ms = now.wall_ms;
        if letter.kind.is_content() {
            chat.unread += 1;
        }
        if is_present {
            chat.pushed.insert(writing.ordinal);
        }
        if let Some(block) = chat.add_message(seq) {
            self.records.put_pair_block(owner, peer, &block);
        }
        self.records.put_message(owner, seq, &writing);
        self.records.index_id(Index { owner, side: Side::Received }, letter.id, seq)?;
        self.forgetting.note(owner, seq);
        if !is_first_of_id {
            self.expected.forget(owner, letter.id);
        } else if is_present {
            let received = Received { seq, author: peer, ordinal: writing.ordinal };
            self.expected.expect(owner, letter.id, received);
        }
        self.metrics.count(Counter::Delivered, 1);
        if !is_present {
            return Ok(None);
        }
        self.marks_changed(owner, peer);
        let content = turn.keep(writing.content);
        self.push(&writing, seq, content, when, now, turn);
        Ok(Some(content))
    }

    fn push(
        &mut self,
        writing: &Writing<'_>,
        seq: u64,
        content: Span,
        when: When,
        now: &Now,
        turn: &mut Turn,
    ) {
        let letter = writing.letter;
        let state = DeliveryState::ServerToClientIng;
        for seat in self.presence.of(letter.to) {
            let push = Effect::Push { to: seat.connection, letter, content, state, stored: None };
            turn.want(when, push);
            self.metrics.count(Counter::Pushed, 1);
        }
        self.redelivery.expect_ack(letter.to, seq, now);
    }
}
