//! Which rows an event will read that may be on a cold disk, asked before it is applied.
//!
//! The answer follows the rules by hand, one step of reading after the other: what the next step
//! reads is known when the rows of the one before are warm. Whoever asks has them fetched and asks
//! again, until nothing is lacking.
//!
//! Invariants:
//! 1. Nothing is lacking of what is in memory, and while the disk is trusted nothing at all.
//! 2. Asking changes no row.
//! 3. A request of which nothing is lacking reads no cold row, in the cases that happen every day.
//!    (What rules do by themselves, ticks and what other shards bring, is not asked about; rows
//!    that the recipient's shard will read are fetched before a message is sent there.)
//!
//! Left to others: lists (`history::ahead`), fetching (`node`).

use crate::api::{Acked, Draft, Identity, PageStart, Request};
use crate::chat::by_id::Index;
use crate::chat::by_number;
use crate::chat::shard::Shard;
use crate::chat::waiting::{self, Window};
use crate::ids::{ChatId, MessageId, ShardId, UserId};
use crate::limits::{ACKS_PER_STEP_MAX, CHATS_MAX, NEEDS_MAX};
use crate::store::keys::{Key, Side};
use crate::store::warmth::{Need, Tag};
use crate::store::{Direction, Store, StoreError};

/// What is lacking, at most [`NEEDS_MAX`] at once.
#[derive(Default)]
pub(super) struct Needs {
    pub list: Vec<Need>,
    is_lacking: bool,
}

impl Needs {
    fn push(&mut self, need: Need) {
        self.is_lacking = true;
        if self.list.len() < NEEDS_MAX && self.list.last() != Some(&need) {
            self.list.push(need);
        }
    }

    /// The next step cannot be asked about yet.
    pub fn are_lacking(&self) -> bool {
        self.is_lacking
    }
}

impl<S: Store> Shard<S> {
    /// What a request lacks; `user`: whose connection it came by. None: it can be applied.
    pub fn needs(
        &mut self,
        user: Option<UserId>,
        request: &Request<'_>,
    ) -> Result<Vec<Need>, StoreError> {
        self.lacking(|shard, needs| shard.needs_of_request(user, request, needs))
    }

    /// What is lacking of what `ask` looks at. Where it meets damage it ends, and so does whoever
    /// goes on.
    pub(super) fn lacking(
        &mut self,
        ask: impl FnOnce(&mut Self, &mut Needs) -> Result<(), StoreError>,
    ) -> Result<Vec<Need>, StoreError> {
        let mut needs = Needs::default();
        if self.warmth.is_trusting() {
            return Ok(needs.list);
        }
        match ask(self, &mut needs) {
            Err(error) if !error.is_of_some_rows() => Err(error),
            _ => Ok(needs.list),
        }
    }

    fn needs_of_request(
        &mut self,
        user: Option<UserId>,
        request: &Request<'_>,
        needs: &mut Needs,
    ) -> Result<(), StoreError> {
        match *request {
            Request::Auth { user: claimed, .. } if user.is_none() => {
                self.lacks_user(claimed, needs);
            }
            Request::Send(ref draft) => {
                if let Some(author) = user {
                    self.needs_to_send(author, draft, needs)?;
                }
            }
            Request::Ack(acked) => {
                if let Some(user) = user {
                    self.needs_to_ack(user, acked, needs)?;
                }
            }
            Request::Register { ref identity, .. } | Request::Find(ref identity) => {
                self.needs_of_identity(identity, needs)?;
            }
            Request::ClearUnread(chat) | Request::DeleteChat(chat) | Request::Top { chat, .. } => {
                self.needs_of_chat(chat, needs)?;
            }
            Request::ClearUnreadOf { owner, peer } => self.needs_of_pair(owner, peer, needs),
            Request::UnreadCount(user)
            | Request::Page { user, .. }
            | Request::Offline { user, .. } => self.lacks_user(user, needs),
            Request::PairPage { owner, peer, start, .. } => {
                self.needs_to_find_place(owner, peer, start, needs)?;
            }
            Request::ChatList { user, .. } => {
                self.lacks_user(user, needs);
                let rows_max = CHATS_MAX as usize * 2;
                let range = (Key::chats(user), Key::chats(user).after());
                self.lacks_range(range, Direction::Forward, rows_max, needs);
            }
            Request::Auth { .. } | Request::Heartbeat => {}
            Request::MintIds(_) | Request::Hello => {}
        }
        Ok(())
    }

    fn needs_to_send(
        &mut self,
        author: UserId,
        draft: &Draft<'_>,
        needs: &mut Needs,
    ) -> Result<(), StoreError> {
        if !self.is_registered(draft.to) || draft.to == UserId::SYSTEM {
            return Ok(());
        }
        self.lacks_user(author, needs);
        self.lacks_chat(author, draft.to, needs);
        if draft.to != author {
            self.lacks_user(draft.to, needs);
            self.lacks_chat(draft.to, author, needs);
        }
        if needs.are_lacking() {
            return Ok(());
        }
        let here = self.place.shard;
        let pairs = [(author, draft.to, Side::Sent), (draft.to, author, Side::Received)];
        for (owner, peer, side) in pairs {
            if owner.home(self.place.shards) != here {
                continue;
            }
            if self.records.chat(owner, peer)?.is_none() {
                self.lacks_row(here, &Key::slot(owner.slot()), needs);
            }
            let is_late = self.records.user(owner)?.ids(side).indexed_up_to;
            if let Some(id) = draft.id.filter(|id| id.number() <= is_late) {
                self.lacks_row(here, &Key::late_id(owner, side, id), needs);
            }
        }
        let highest_sent = self.records.user(author)?.highest_sent;
        if let Some(id) = draft.id.filter(|id| id.number() <= highest_sent) {
            let index = Index { owner: author, side: Side::Sent };
            for seq in self.seqs_of_id(index, id, needs)? {
                self.lacks_message(author, seq, needs);
            }
            self.lacks_row(here, &Key::forgotten(author), needs);
        }
        Ok(())
    }

    fn needs_to_ack(
        &mut self,
        user: UserId,
        acked: Acked<'_>,
        needs: &mut Needs,
    ) -> Result<(), StoreError> {
        self.lacks_user(user, needs);
        if needs.are_lacking() {
            return Ok(());
        }
        match acked {
            Acked::One(id) => self.needs_to_ack_id(user, id, needs),
            Acked::Many(ids) => ids.iter().try_for_each(|id| {
                let is_enough = needs.list.len() >= NEEDS_MAX;
                if is_enough { Ok(()) } else { self.needs_to_ack_id(user, *id, needs) }
            }),
            Acked::UpTo(id) => self.needs_to_ack_up_to(user, id, needs),
        }
    }

    fn needs_to_ack_id(
        &mut self,
        user: UserId,
        id: MessageId,
        needs: &mut Needs,
    ) -> Result<(), StoreError> {
        if let Some(received) = self.expected.find(user, id) {
            self.lacks_marks(user, received.seq, needs)?;
            self.lacks_chat(user, received.author, needs);
            self.lacks_chat(received.author, user, needs);
            return Ok(());
        }
        for seq in self.seqs_of_id(Index { owner: user, side: Side::Received }, id, needs)? {
            self.needs_to_ack_seq(user, seq, needs)?;
        }
        Ok(())
    }

    fn needs_to_ack_seq(
        &mut self,
        user: UserId,
        seq: u64,
        needs: &mut Needs,
    ) -> Result<(), StoreError> {
        let lacks_marks = self.lacks_marks(user, seq, needs)?;
        if !self.lacks_message(user, seq, needs) && !lacks_marks {
            let author = self.records.message(user, seq, |stored, _| stored.message.from)?;
            if let Some(author) = author {
                self.lacks_chat(user, author, needs);
                self.lacks_chat(author, user, needs);
            }
        }
        Ok(())
    }

    fn needs_to_ack_up_to(
        &mut self,
        user: UserId,
        id: MessageId,
        needs: &mut Needs,
    ) -> Result<(), StoreError> {
        let seqs = self.seqs_of_id(Index { owner: user, side: Side::Received }, id, needs)?;
        let Some(up_to) = seqs.into_iter().max() else { return Ok(()) };
        let window = Window { after: 0, up_to, count: ACKS_PER_STEP_MAX };
        self.lacks_window(user, window, needs)?;
        if needs.are_lacking() {
            return Ok(());
        }
        let mut waiting = Vec::new();
        self.records.waiting_seqs(user, window, &mut waiting)?;
        for seq in waiting {
            if needs.list.len() >= NEEDS_MAX {
                break;
            }
            self.needs_to_ack_seq(user, seq, needs)?;
        }
        Ok(())
    }

    fn needs_of_identity(
        &mut self,
        identity: &Identity<'_>,
        needs: &mut Needs,
    ) -> Result<(), StoreError> {
        let here = self.place.shard;
        if self.lacks_row(here, &Key::identity(identity), needs) {
            return Ok(());
        }
        match self.user_of(identity)? {
            Some(user) => self.lacks_user(user, needs),
            None => drop(self.lacks_row(here, &Key::slot(identity.slot()), needs)),
        }
        Ok(())
    }

    fn needs_of_chat(&mut self, chat: ChatId, needs: &mut Needs) -> Result<(), StoreError> {
        if !self.lacks_row(self.place.shard, &Key::chat_id(chat), needs)
            && let Some((owner, peer)) = self.pair_of(chat)?
        {
            self.needs_of_pair(owner, peer, needs);
        }
        Ok(())
    }

    fn needs_of_pair(&mut self, owner: UserId, peer: UserId, needs: &mut Needs) {
        if self.is_registered(owner) && self.is_registered(peer) {
            self.lacks_user(owner, needs);
            self.lacks_chat(owner, peer, needs);
            self.lacks_chat(peer, owner, needs);
        }
    }

    fn needs_to_find_place(
        &mut self,
        owner: UserId,
        peer: UserId,
        start: PageStart,
        needs: &mut Needs,
    ) -> Result<(), StoreError> {
        if !self.is_registered(owner) {
            return Ok(());
        }
        self.lacks_user(owner, needs);
        self.lacks_chat(owner, peer, needs);
        let PageStart::Before(seq) = start else { return Ok(()) };
        if needs.are_lacking() {
            return Ok(());
        }
        // As `first_of_pair` looks for it.
        let newest = self.records.chat(owner, peer)?.map_or(0, |chat| chat.messages);
        let (mut below, mut above) = (0, newest + 1);
        while above - below > 1 {
            let middle = below + (above - below) / 2;
            if self.lacks_number(owner, peer, middle, needs)? {
                return Ok(());
            }
            let found = self.records.seq_of_number(owner, peer, middle)?;
            if found.is_none_or(|found| found < seq) { below = middle } else { above = middle }
        }
        Ok(())
    }

    /// The seqs of an id, as far as finding them lacks nothing.
    fn seqs_of_id(
        &mut self,
        index: Index,
        id: MessageId,
        needs: &mut Needs,
    ) -> Result<Vec<u64>, StoreError> {
        let (mut seqs, Index { owner, side }) = (Vec::new(), index);
        if id.number() <= self.records.user(owner)?.ids(side).indexed_up_to {
            let lacks_row = self.lacks_row(self.place.shard, &Key::late_id(owner, side, id), needs);
            let range = (Key::id_blocks(owner, side), Key::id_block(owner, side, id).after());
            if self.lacks_range(range, Direction::Backward, 1, needs) || lacks_row {
                return Ok(seqs);
            }
        }
        self.records.find_id(index, id, &mut seqs)?;
        Ok(seqs)
    }

    /// Whether a row is lacking, here or at another shard.
    pub(super) fn lacks_row(&self, at: ShardId, key: &[u8], needs: &mut Needs) -> bool {
        let is_at_hand = at == self.place.shard && self.records.is_at_hand(key);
        let is_lacking = !is_at_hand && !self.warmth.has(Tag::of_row(key));
        if is_lacking {
            needs.push(Need::row(at, key));
        }
        is_lacking
    }

    pub(super) fn lacks_range(
        &self,
        range: (Key, Key),
        direction: Direction,
        rows_max: usize,
        needs: &mut Needs,
    ) -> bool {
        let is_at_hand = self.records.is_at_hand(&range.0);
        let is_lacking = !is_at_hand && !self.warmth.has(Tag::of_range(&range.0, &range.1));
        if is_lacking {
            needs.push(Need::range(self.place.shard, range, direction, rows_max));
        }
        is_lacking
    }

    pub(super) fn lacks_user(&self, user: UserId, needs: &mut Needs) {
        let home = user.home(self.place.shards);
        let is_here = home == self.place.shard && self.records.has_user(user);
        if !is_here && self.is_registered(user) {
            self.lacks_row(home, &Key::user(user), needs);
        }
    }

    pub(super) fn lacks_chat(&self, owner: UserId, peer: UserId, needs: &mut Needs) -> bool {
        let home = owner.home(self.place.shards);
        if home == self.place.shard && self.records.cached_chat(owner, peer).is_some() {
            return false;
        }
        let lacks_listed = self.lacks_row(home, &Key::chat(owner, peer), needs);
        self.lacks_row(home, &Key::hidden_chat(owner, peer), needs) || lacks_listed
    }

    /// Whether a message's row is lacking; if so its neighbours are fetched with it.
    pub(super) fn lacks_message(&self, owner: UserId, seq: u64, needs: &mut Needs) -> bool {
        let key = Key::message(owner, seq);
        let is_warm =
            self.warmth.has(Tag::of_messages(owner, seq)) || self.warmth.has(Tag::of_row(&key));
        let is_lacking = !is_warm && !self.records.is_at_hand(&key);
        if is_lacking {
            needs.push(Need::messages(self.place.shard, owner, seq));
        }
        is_lacking
    }

    /// The same for one whose neighbours are not asked for.
    pub(super) fn lacks_lone_message(&self, owner: UserId, seq: u64, needs: &mut Needs) -> bool {
        !self.warmth.has(Tag::of_messages(owner, seq))
            && self.lacks_row(self.place.shard, &Key::message(owner, seq), needs)
    }

    /// Whether it is lacking which messages wait around a place; the user's row is not.
    pub(super) fn lacks_marks(
        &mut self,
        owner: UserId,
        seq: u64,
        needs: &mut Needs,
    ) -> Result<bool, StoreError> {
        let newest = waiting::place_of(self.records.user(owner)?.last_seq).0;
        let block = waiting::place_of(seq).0;
        let key = Key::waiting(owner, block);
        Ok(block != newest && self.lacks_row(self.place.shard, &key, needs))
    }

    /// Whether it is lacking which messages wait in a window; the user's row is not.
    pub(super) fn lacks_window(
        &mut self,
        owner: UserId,
        window: Window,
        needs: &mut Needs,
    ) -> Result<bool, StoreError> {
        let user = self.records.user(owner)?;
        let Window { after, up_to, count } = window;
        let newest = waiting::place_of(user.last_seq).0;
        let first = waiting::place_of(after + 1).0;
        if after >= up_to || user.offline == 0 || first >= newest {
            return Ok(false);
        }
        let end = newest.min(waiting::place_of(up_to).0 + 1);
        let range = (Key::waiting(owner, first), Key::waiting(owner, end));
        Ok(self.lacks_range(range, Direction::Forward, count, needs))
    }

    /// Whether the place of a chat's message is lacking; the chat's row is not.
    pub(super) fn lacks_number(
        &mut self,
        owner: UserId,
        peer: UserId,
        number: u64,
        needs: &mut Needs,
    ) -> Result<bool, StoreError> {
        let Some(chat) = self.records.chat(owner, peer)? else { return Ok(false) };
        let block = by_number::place_of(number.max(1)).0;
        let is_in_row = block >= by_number::place_of(chat.messages + 1).0;
        let key = Key::pair_block(owner, peer, block);
        Ok(!is_in_row && self.lacks_row(self.place.shard, &key, needs))
    }
}
