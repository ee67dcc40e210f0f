//! A message arrives at its recipient's home.
//!
//! Invariants:
//! 1. A delivered message is in the recipient's history, in his offline list and in his chat list,
//!    all in one batch.
//! 2. A relay is applied once: what is not above the stream's last applied position is passed over.
//! 3. Messages of one author reach one recipient in the order in which they were sent.

use crate::api::DeliveryState;
use crate::chat::event::{Effect, Now, Relay, Span};
use crate::chat::records::{AuthorName, Writing};
use crate::chat::shard::Shard;
use crate::chat::turn::{Turn, When};
use crate::ids::ShardId;
use crate::metrics::Counter;
use crate::store::keys::Key;
use crate::store::rows::{NumberRow, OfflineIdRow, OfflineRow};
use crate::store::{Store, StoreError};

/// A message to deliver, and when it may be pushed: at once when another shard holds it safely.
pub(super) struct Delivery<'a> {
    /// The message.
    pub writing: Writing<'a>,
    /// When it may be pushed.
    pub when: When,
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
        if !self.outbox.take_in(&mut self.records, from, relay.position)? {
            return Ok(());
        }
        let recipient = relay.letter.to;
        assert_eq!(recipient.home(self.place.shards), self.place.shard, "relays come home");
        if !self.is_registered(recipient) {
            tracing::warn!(shard = self.place.shard.0, "a relay names a user who is not here");
            return Ok(());
        }
        let writing = Writing {
            letter: relay.letter,
            ordinal: relay.ordinal,
            server_send_time_ms: relay.server_send_time_ms,
            content: &relay.content,
            name: AuthorName::Is(relay.name.as_deref()),
        };
        self.deliver(Delivery { writing, when: When::Now }, now, turn)?;
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
        let user = self.records.change_user(owner)?;
        user.last_seq += 1;
        user.offline += 1;
        let seq = user.last_seq;
        if letter.kind.is_content() {
            user.unread += 1;
        }
        let may_share_id = letter.id.number() <= user.highest_received;
        user.highest_received = user.highest_received.max(letter.id.number());
        let chat = self.chat_to_change(owner, peer, now)?;
        chat.messages += 1;
        chat.received = chat.received.max(writing.ordinal);
        chat.unacked += 1;
        chat.last_seq = seq;
        chat.updated_ms = now.wall_ms;
        if letter.kind.is_content() {
            chat.unread += 1;
        }
        if is_present {
            chat.pushed.insert(writing.ordinal);
        }
        let number = chat.messages;
        self.records.put_message(owner, seq, &writing);
        self.records.put(&Key::pair(owner, peer, number), &NumberRow(seq));
        let waiting = OfflineRow {
            author: peer.number(),
            id: letter.id.number(),
            seq,
            ordinal: writing.ordinal,
        };
        self.await_ack(waiting, &letter, may_share_id)?;
        self.metrics.count(Counter::Delivered, 1);
        if !is_present {
            return Ok(None);
        }
        self.marks_changed(owner, peer);
        let content = turn.keep(writing.content);
        self.push(&writing, seq, content, when, now, turn);
        Ok(Some(content))
    }

    /// Puts a message into its recipient's offline list.
    fn await_ack(
        &mut self,
        waiting: OfflineRow,
        letter: &crate::chat::event::Letter,
        may_share_id: bool,
    ) -> Result<(), StoreError> {
        let key = Key::offline_id(letter.to, letter.id);
        let before = if may_share_id { self.records.get::<OfflineIdRow>(&key)? } else { None };
        let row = match before {
            None => OfflineIdRow { first: waiting, others: Vec::new() },
            Some(mut row) => {
                row.others.push(waiting);
                row
            }
        };
        self.records.put(&key, &row);
        self.records.put(&Key::offline(letter.to, waiting.seq), &waiting);
        Ok(())
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
