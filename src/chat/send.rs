//! A message arrives from its author, at the author's home.
//!
//! Invariants:
//! 1. An Ack is wanted only together with the rows that make the message safe, in one turn.
//! 2. A used id stores nothing again: the same message is acked again, another one is refused.
//! 3. What is refused changes no row.

use crate::api::{ChatType, DeliveryState, Draft, Field, Refusal, StoredMessage};
use crate::chat::by_id::Index;
use crate::chat::deliver::{Before, Delivery};
use crate::chat::event::{Effect, Letter, Now, Relay, Span};
use crate::chat::records::{AuthorName, Writing};
use crate::chat::shard::{Device, Shard};
use crate::chat::turn::{Turn, When};
use crate::ids::{MessageId, MintError, UserId};
use crate::metrics::Counter;
use crate::store::keys::{Key, Side};
use crate::store::rows::OutboxRow;
use crate::store::{Store, StoreError};

/// What a message under the same id is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Is {
    Same,
    Another,
}

/// What becomes of a draft.
enum Verdict {
    Refused(Refusal),
    /// It was sent before.
    Again(MessageId),
    /// It is new; its Ack leaves then.
    New(MessageId, When),
}

/// Where a message goes from its author's history.
enum Onward {
    /// It is a note to self.
    Nowhere,
    /// To a recipient of this shard, who may have it already.
    Here(Option<Before>),
    /// Behind what is set aside for him.
    Aside,
    /// To another shard.
    Abroad,
}

/// The message that a draft becomes.
fn letter_of(author: UserId, id: MessageId, draft: &Draft<'_>, now: &Now) -> Letter {
    Letter {
        kind: draft.kind,
        from: author,
        to: draft.to,
        team: draft.team,
        event: draft.event,
        id,
        timestamp_ms: draft.timestamp_ms.unwrap_or(now.wall_ms),
        chat_type: draft.chat_type,
    }
}

impl<S: Store> Shard<S> {
    pub(super) fn send(
        &mut self,
        device: Device,
        draft: &Draft<'_>,
        now: &Now,
        turn: &mut Turn,
    ) -> Result<(), StoreError> {
        match self.judge(device.user, draft, now)? {
            Verdict::Refused(refusal) => self.refuse(device.connection, draft.id, refusal, turn),
            Verdict::Again(id) => {
                self.metrics.count(Counter::SentAgain, 1);
                self.ack(device, id, When::Durable, now, turn);
            }
            Verdict::New(id, when) => {
                let letter = letter_of(device.user, id, draft, now);
                let way = self.prepare(&letter, draft.content)?;
                self.keep(device, &letter, draft.content, way, now, turn)?;
                self.ack(device, id, when, now, turn);
            }
        }
        Ok(())
    }

    fn ack(&mut self, device: Device, source: MessageId, when: When, now: &Now, turn: &mut Turn) {
        let ack = self.server_ack(device.user, source, ChatType::Single, now);
        turn.want(when, Effect::Ack { to: device.connection, ack });
    }

    fn judge(
        &mut self,
        author: UserId,
        draft: &Draft<'_>,
        now: &Now,
    ) -> Result<Verdict, StoreError> {
        if draft.from.is_some_and(|from| from != author) {
            return Ok(Verdict::Refused(Refusal::NotYou));
        }
        if draft.chat_type != ChatType::Single {
            return Ok(Verdict::Refused(Refusal::NotBuilt(draft.chat_type)));
        }
        if draft.to == UserId::SYSTEM {
            return Ok(Verdict::Refused(Refusal::ToSystem));
        }
        let user = self.records.user(author)?;
        let (tenant, highest_sent) = (user.tenant, user.highest_sent);
        if self.directory.tenant(draft.to) != Some(tenant) {
            return Ok(Verdict::Refused(Refusal::UnknownUser(Field("toUserId"))));
        }
        let Some(id) = draft.id else {
            if now.is_disk_full {
                return Ok(Verdict::Refused(Refusal::DiskFull));
            }
            return Ok(match self.mint(1, now) {
                Ok((minted, When::Now)) => Verdict::New(minted.first, When::Durable),
                Ok((minted, when)) => Verdict::New(minted.first, when),
                Err(MintError::TooFast) => Verdict::Refused(Refusal::TooManyIds),
            });
        };
        if id.number() <= highest_sent {
            match self.sent_before(author, id, draft)? {
                Some(Is::Same) => return Ok(Verdict::Again(id)),
                Some(Is::Another) => return Ok(Verdict::Refused(Refusal::IdUsed)),
                // It may be the one of a message that is forgotten, and that its recipient has.
                None if self.is_among_forgotten(author, id)? => {
                    return Ok(Verdict::Refused(Refusal::IdUsed));
                }
                None => {}
            }
        }
        Ok(match now.is_disk_full {
            true => Verdict::Refused(Refusal::DiskFull),
            false => Verdict::New(id, When::Durable),
        })
    }

    /// Compares a draft with what its author sent under its id before, if that is kept still.
    fn sent_before(
        &mut self,
        author: UserId,
        id: MessageId,
        draft: &Draft<'_>,
    ) -> Result<Option<Is>, StoreError> {
        let compare = |stored: StoredMessage<'_>, _| {
            let message = stored.message;
            let is_same = message.content == draft.content
                && message.kind == draft.kind
                && message.to == draft.to;
            // Others may have sent him theirs under the same id.
            let is_his = message.from == author;
            is_his.then_some(if is_same { Is::Same } else { Is::Another })
        };
        let mut found = None;
        self.each_of_id(Index { owner: author, side: Side::Sent }, id, |shard, seq| {
            found = found.or(shard.records.message(author, seq, compare)?.flatten());
            Ok(())
        })?;
        Ok(found)
    }

    /// Looks which way a new message goes, reads what that needs, so that nothing is changed when
    /// it cannot be read, and makes room in both lists.
    fn prepare(&mut self, letter: &Letter, content: &str) -> Result<Onward, StoreError> {
        let (author, peer) = (letter.from, letter.to);
        self.records.prepare_id(Index { owner: author, side: Side::Sent }, letter.id)?;
        let lacks_chat = self.lacks_chat_of(author, peer)?;
        let way = if peer == author {
            Onward::Nowhere
        } else if peer.home(self.place.shards) != self.place.shard {
            Onward::Abroad
        } else if self.aside.is_for(peer) {
            Onward::Aside
        } else {
            self.records.prepare_id(Index { owner: peer, side: Side::Received }, letter.id)?;
            let peer_lacks_chat = self.lacks_chat_of(peer, author)?;
            let before = self.is_there_before(letter, content)?;
            if peer_lacks_chat && before.is_none() {
                self.make_room(peer)?;
            }
            Onward::Here(before)
        };
        if lacks_chat {
            self.make_room(author)?;
        }
        Ok(way)
    }

    /// Puts a new message into its author's history and on its way.
    fn keep(
        &mut self,
        device: Device,
        letter: &Letter,
        content: &str,
        way: Onward,
        now: &Now,
        turn: &mut Turn,
    ) -> Result<(), StoreError> {
        let Letter { from: author, to: peer, id, .. } = *letter;
        let seq = self.records.next_seq(author)?;
        let user = self.records.change_user(author)?;
        user.highest_sent = user.highest_sent.max(id.number());
        let chat = self.chat_to_change(author, peer, now)?;
        chat.sent += 1;
        chat.updated_ms = now.wall_ms;
        let ordinal = chat.sent;
        if let Some(block) = chat.add_message(seq) {
            self.records.put_pair_block(author, peer, &block);
        }
        let writing = Writing {
            letter: *letter,
            ordinal,
            server_send_time_ms: now.wall_ms,
            content,
            name: AuthorName::Of(author),
        };
        self.records.put_message(author, seq, &writing);
        self.records.index_id(Index { owner: author, side: Side::Sent }, id, seq)?;
        self.forgetting.note(author, seq);
        self.metrics.count(Counter::Sent, 1);

        let span = self.send_on(seq, &writing, way, now, turn)?;
        self.show_other_devices(device, &writing, span, turn);
        Ok(())
    }

    /// Whether it is with a recipient of this shard already, whose author was at home on another
    /// when a power cut parted them.
    fn is_there_before(
        &mut self,
        letter: &Letter,
        content: &str,
    ) -> Result<Option<Before>, StoreError> {
        let sent = self.records.chat(letter.from, letter.to)?.map_or(0, |chat| chat.sent);
        self.arrived_before(letter, sent + 1, content)
    }

    /// Brings a message to its recipient, or on its way. Returns its text, if the turn keeps it
    /// already.
    fn send_on(
        &mut self,
        seq: u64,
        writing: &Writing<'_>,
        way: Onward,
        now: &Now,
        turn: &mut Turn,
    ) -> Result<Option<Span>, StoreError> {
        match way {
            Onward::Nowhere => {}
            Onward::Here(None) => {
                let delivery = Delivery { writing: *writing, when: When::Durable };
                return self.deliver(delivery, now, turn);
            }
            Onward::Here(Some(before)) => {
                self.count_anew(&writing.letter, writing.ordinal, before)?;
            }
            Onward::Aside => self.set_aside(writing, now),
            Onward::Abroad => self.send_abroad(seq, writing, turn)?,
        }
        Ok(None)
    }

    /// Puts a message on its way to the shard where its recipient is at home.
    fn send_abroad(
        &mut self,
        seq: u64,
        writing: &Writing<'_>,
        turn: &mut Turn,
    ) -> Result<(), StoreError> {
        let author = writing.letter.from;
        let home = writing.letter.to.home(self.place.shards);
        let position = self.outbox.next_position(home);
        let row = OutboxRow { author: author.number(), seq };
        self.records.put(&Key::outbox(home, position.epoch, position.sequence), &row);
        self.outbox.note_pending(home, position, row);
        let relay = Relay {
            position,
            letter: writing.letter,
            ordinal: writing.ordinal,
            server_send_time_ms: writing.server_send_time_ms,
            content: writing.content.into(),
            name: self.records.user(author)?.name.clone(),
        };
        turn.want(When::Durable, Effect::Relay { to: home, relay });
        Ok(())
    }

    /// Shows a message to its author's other devices, once it is safe.
    fn show_other_devices(
        &mut self,
        device: Device,
        writing: &Writing<'_>,
        mut span: Option<Span>,
        turn: &mut Turn,
    ) {
        let is_note = writing.letter.to == device.user;
        let state = if is_note { DeliveryState::Client } else { DeliveryState::Server };
        for seat in self.presence.of(device.user) {
            if seat.connection == device.connection {
                continue;
            }
            let content = *span.get_or_insert_with(|| turn.keep(writing.content));
            let letter = writing.letter;
            let push = Effect::Push { to: seat.connection, letter, content, state, stored: None };
            turn.want(When::Durable, push);
            self.metrics.count(Counter::Pushed, 1);
        }
    }
}
