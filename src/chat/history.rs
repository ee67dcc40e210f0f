//! Lists: pages of a history, offline messages, chats. Given item by item, as the peer takes them.
//!
//! Invariants:
//! 1. A list shows what was there when it was asked for, and nothing that came later.
//! 2. A page costs the same at any depth: places are computed, nothing is skipped over.
//! 3. Giving a list changes no row.

use crate::api::{ChatEntry, DeliveryState, Field, PageStart, Refusal, Request, StoredMessage};
use crate::chat::shard::{Item, Shard, Sink};
use crate::chat::waiting::Window;
use crate::ids::{ChatId, UserId};
use crate::limits::OFFLINE_STEP_ROWS;
use crate::metrics::Counter;
use crate::store::rows::{ChatRow, RowError};
use crate::store::{Position, Store, StoreError};
use std::ops::ControlFlow;

mod ahead;

/// A list that is being given.
#[derive(Debug)]
pub struct Listing {
    owner: UserId,
    left: u32,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// The owner's history, next this seq and down from it.
    Page { next: u64 },
    /// One chat of it, next this number and down from it.
    Pair { peer: UserId, next: u64 },
    /// What waits.
    Offline(Offline),
    /// The chat list, in order; given from the end of the vector.
    Chats { peers: Vec<UserId> },
}

/// An offline list: what waits above `after`, up to `up_to`.
#[derive(Debug)]
struct Offline {
    after: u64,
    up_to: u64,
    is_begun: bool,
    /// The next ones, last first.
    ahead: Vec<u64>,
}

/// Where a page of `size` begins when its items are numbered densely up to `newest`.
fn first_of_page(newest: u64, start: PageStart, size: u16) -> u64 {
    match start {
        PageStart::Number(page) => {
            newest.saturating_sub(page.saturating_sub(1).saturating_mul(u64::from(size)))
        }
        PageStart::Before(seq) => newest.min(seq.saturating_sub(1)),
    }
}

impl<S: Store> Shard<S> {
    /// Begins a list; or says why not.
    pub(super) fn listing(
        &mut self,
        call: &Request<'_>,
    ) -> Result<Result<Listing, Refusal>, StoreError> {
        let unknown = |name| Ok(Err(Refusal::UnknownUser(Field(name))));
        let (owner, left, kind) = match *call {
            Request::Page { user, start, size } => {
                if !self.is_registered(user) {
                    return unknown("userId");
                }
                let next = first_of_page(self.records.user(user)?.last_seq, start, size);
                (user, u32::from(size), Kind::Page { next })
            }
            Request::PairPage { owner, peer, start, size } => {
                if !self.is_registered(owner) {
                    return unknown("fromUserId");
                }
                if !self.is_registered(peer) {
                    return unknown("toUserId");
                }
                let next = self.first_of_pair(owner, peer, start, size)?;
                (owner, u32::from(size), Kind::Pair { peer, next })
            }
            Request::Offline { user, after_seq, limit } => {
                if !self.is_registered(user) {
                    return unknown("userId");
                }
                let up_to = self.records.user(user)?.last_seq;
                let ahead = Vec::new();
                let offline = Offline { after: after_seq, up_to, is_begun: false, ahead };
                (user, limit, Kind::Offline(offline))
            }
            Request::ChatList { user, limit } => {
                if !self.is_registered(user) {
                    return unknown("userId");
                }
                let ranked = self.ranked_chats(user)?;
                let shown = ranked.into_iter().take(limit as usize).map(|(_, peer)| peer);
                let mut peers: Vec<UserId> = shown.collect();
                peers.reverse();
                (user, limit, Kind::Chats { peers })
            }
            _ => unreachable!("only lists are listed"),
        };
        Ok(Ok(Listing { owner, left, kind }))
    }

    /// The number in a chat at which a page of it begins.
    fn first_of_pair(
        &mut self,
        owner: UserId,
        peer: UserId,
        start: PageStart,
        size: u16,
    ) -> Result<u64, StoreError> {
        let newest = self.records.chat(owner, peer)?.map_or(0, |chat| chat.messages);
        let PageStart::Before(seq) = start else { return Ok(first_of_page(newest, start, size)) };
        // Numbers and seqs rise together: the greatest number with a seq below is found by halves.
        let (mut below, mut above) = (0, newest + 1);
        while above - below > 1 {
            let middle = below + (above - below) / 2;
            let found = self.records.seq_of_number(owner, peer, middle)?;
            // What is kept no more is older than all that is.
            if found.is_none_or(|found| found < seq) { below = middle } else { above = middle }
        }
        Ok(below)
    }

    /// What has to be durable before a part of a list that is given now may leave: all that was
    /// changed of its owner so far.
    pub fn needed_by(&mut self, listing: &Listing) -> Result<Position, StoreError> {
        self.records.touched(listing.owner)
    }

    /// Gives the next items of a list to `sink`, until it breaks (the item it broke at was taken)
    /// or all are given: then `true`.
    pub fn list(&mut self, listing: &mut Listing, sink: Sink<'_>) -> Result<bool, StoreError> {
        while listing.left > 0 {
            let outcome = match &mut listing.kind {
                Kind::Page { next } => self.give_page(listing.owner, next, sink)?,
                Kind::Pair { peer, next } => self.give_pair(listing.owner, *peer, next, sink)?,
                Kind::Chats { peers } => self.give_chat(listing.owner, peers, sink)?,
                Kind::Offline(offline) => self.give_offline(listing.owner, offline, sink)?,
            };
            match outcome {
                Given::One(flow) => {
                    listing.left -= 1;
                    if flow.is_break() {
                        return Ok(false);
                    }
                }
                Given::Skipped => {}
                Given::AtEnd => break,
            }
        }
        if let Kind::Offline(offline) = &listing.kind {
            self.end_offline(listing, offline)?;
        }
        Ok(true)
    }

    fn give_page(
        &mut self,
        owner: UserId,
        next: &mut u64,
        sink: Sink<'_>,
    ) -> Result<Given, StoreError> {
        if *next == 0 {
            return Ok(Given::AtEnd);
        }
        let seq = std::mem::replace(next, *next - 1);
        Ok(self.give_message(owner, seq, sink)?.map_or(Given::AtEnd, Given::One))
    }

    fn give_pair(
        &mut self,
        owner: UserId,
        peer: UserId,
        next: &mut u64,
        sink: Sink<'_>,
    ) -> Result<Given, StoreError> {
        if *next == 0 {
            return Ok(Given::AtEnd);
        }
        let number = std::mem::replace(next, *next - 1);
        let found = self.records.seq_of_number(owner, peer, number)?;
        let Some(seq) = found else { return Ok(Given::AtEnd) };
        Ok(self.give_message(owner, seq, sink)?.map_or(Given::AtEnd, Given::One))
    }

    fn give_chat(
        &mut self,
        owner: UserId,
        peers: &mut Vec<UserId>,
        sink: Sink<'_>,
    ) -> Result<Given, StoreError> {
        let Some(peer) = peers.pop() else { return Ok(Given::AtEnd) };
        let Some(chat) = self.records.chat(owner, peer)?.filter(|chat| chat.listed) else {
            return Ok(Given::Skipped);
        };
        let entry = ChatEntry {
            owner,
            peer,
            id: ChatId::new(chat.id as i64).ok_or(RowError::Damaged)?,
            top: chat.top,
            created_ms: chat.created_ms,
            updated_ms: chat.updated_ms,
            unread: chat.unread,
            last: None,
        };
        let last_seq = chat.last_seq;
        let given = self.records.message(owner, last_seq, |stored, _| {
            sink(Item::Chat(ChatEntry { last: Some(stored.message), ..entry }))
        })?;
        Ok(Given::One(given.unwrap_or_else(|| sink(Item::Chat(entry)))))
    }

    /// Gives one message as its owner sees it; `None`: it is kept no more.
    fn give_message(
        &mut self,
        owner: UserId,
        seq: u64,
        sink: Sink<'_>,
    ) -> Result<Option<ControlFlow<()>>, StoreError> {
        let mut is_waiting: Option<bool> = None;
        // Read where it lies: a second and third time only when it turns out what it lacks.
        loop {
            let records = &self.records;
            let outcome = records.message(owner, seq, |mut stored, ordinal| {
                let (from, to) = (stored.message.from, stored.message.to);
                let peer = if owner == from { to } else { from };
                let chat = records.cached_chat(owner, peer).ok_or(Lacking::Chat(peer))?;
                (stored.message.state, stored.message.is_read) =
                    sight_of(chat, owner, &stored, ordinal);
                // Marks that ran full may have left an ack out; the offline list has not.
                if owner == to && from != to && chat.acked.is_full() {
                    let is_acked = !is_waiting.ok_or(Lacking::Waiting)?;
                    if is_acked {
                        stored.message.state = DeliveryState::Client;
                    }
                }
                Ok(sink(Item::Message(stored)))
            })?;
            match outcome {
                None => return Ok(None),
                Some(Ok(flow)) => return Ok(Some(flow)),
                Some(Err(Lacking::Waiting)) => {
                    is_waiting = Some(self.records.is_waiting(owner, seq)?);
                }
                Some(Err(Lacking::Chat(peer))) => {
                    self.records.chat(owner, peer)?.ok_or(RowError::Missing)?;
                }
            }
        }
    }

    fn give_offline(
        &mut self,
        owner: UserId,
        offline: &mut Offline,
        sink: Sink<'_>,
    ) -> Result<Given, StoreError> {
        if !std::mem::replace(&mut offline.is_begun, true) {
            self.notices.begin(owner, offline.after);
        }
        let Some(seq) = self.next_offline(owner, offline)? else { return Ok(Given::AtEnd) };
        offline.after = seq;
        let Some(flow) = self.give_message(owner, seq, sink)? else { return Ok(Given::Skipped) };
        self.notices.note_given(owner, seq);
        self.metrics.count(Counter::OfflineServed, 1);
        Ok(Given::One(flow))
    }

    /// The next place of an offline list. Some are looked up at once: what is acked meanwhile may
    /// still be given.
    fn next_offline(
        &mut self,
        owner: UserId,
        offline: &mut Offline,
    ) -> Result<Option<u64>, StoreError> {
        if offline.ahead.is_empty() {
            let (after, up_to) = (offline.after, offline.up_to);
            let window = Window { after, up_to, count: OFFLINE_STEP_ROWS };
            self.records.waiting_seqs(owner, window, &mut offline.ahead)?;
            offline.ahead.reverse();
        }
        Ok(offline.ahead.pop())
    }

    /// Remembers whether an offline list has left something out.
    fn end_offline(&mut self, listing: &Listing, offline: &Offline) -> Result<(), StoreError> {
        let window = Window { after: offline.after, up_to: u64::MAX, count: 1 };
        let mut left_out = Vec::new();
        self.records.waiting_seqs(listing.owner, window, &mut left_out)?;
        self.notices.end(listing.owner, !left_out.is_empty() && listing.left == 0);
        Ok(())
    }
}

/// What giving a message needs and does not have yet.
enum Lacking {
    /// The row of this chat.
    Chat(UserId),
    /// Whether it waits for an ack.
    Waiting,
}

/// What one step of a list gave.
enum Given {
    One(ControlFlow<()>),
    Skipped,
    AtEnd,
}

/// The state and isRead of a message, as the owner of this copy sees it.
fn sight_of(
    chat: &ChatRow,
    owner: UserId,
    stored: &StoredMessage<'_>,
    ordinal: u64,
) -> (DeliveryState, bool) {
    let (from, to) = (stored.message.from, stored.message.to);
    if from == to {
        return (DeliveryState::Client, true);
    }
    let (acked, pushed, read_up_to) = if owner == to {
        (&chat.acked, &chat.pushed, chat.read_up_to)
    } else {
        (&chat.peer_acked, &chat.peer_pushed, chat.peer_read_up_to)
    };
    let state = if acked.contains(ordinal) {
        DeliveryState::Client
    } else if pushed.contains(ordinal) {
        DeliveryState::ServerToClientIng
    } else {
        DeliveryState::Server
    };
    (state, ordinal <= read_up_to)
}
