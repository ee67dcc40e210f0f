//! Which rows the next items of a list need that may be on a cold disk.
//!
//! Invariants:
//! 1. When nothing is lacking, the next [`LIST_AHEAD`] items read no cold row (but where marks have
//!    run full).
//!
//! Left to others: what a request reads before its list begins (`needs`).

use super::{Kind, Listing, Offline};
use crate::chat::needs::Needs;
use crate::chat::shard::Shard;
use crate::chat::waiting::Window;
use crate::ids::UserId;
use crate::limits::{LIST_AHEAD, NEEDS_MAX};
use crate::store::warmth::Need;
use crate::store::{Store, StoreError};

impl<S: Store> Shard<S> {
    /// What the next items of a list lack. None: they can be given.
    pub fn needs_of_list(&mut self, listing: &Listing) -> Result<Vec<Need>, StoreError> {
        self.lacking(|shard, needs| shard.needs_of_items(listing, needs))
    }

    fn needs_of_items(&mut self, listing: &Listing, needs: &mut Needs) -> Result<(), StoreError> {
        let (owner, count) = (listing.owner, u64::from(listing.left.min(LIST_AHEAD)));
        self.lacks_user(owner, needs);
        if needs.are_lacking() {
            return Ok(());
        }
        match &listing.kind {
            Kind::Page { next } => {
                let seqs = (next.saturating_sub(count) + 1..=*next).rev();
                self.needs_of_messages(owner, seqs, needs)?;
            }
            Kind::Pair { peer, next } => {
                self.needs_of_numbers(owner, *peer, (*next, count), needs)?;
            }
            Kind::Chats { peers } => {
                let peers = peers.iter().rev().take(count as usize);
                self.needs_of_chats(owner, peers, needs)?;
            }
            Kind::Offline(offline) => self.needs_of_offline(owner, offline, count, needs)?,
        }
        Ok(())
    }

    /// Messages, and the chats that they are of.
    fn needs_of_messages(
        &mut self,
        owner: UserId,
        seqs: impl Iterator<Item = u64>,
        needs: &mut Needs,
    ) -> Result<(), StoreError> {
        for seq in seqs {
            if needs.list.len() >= NEEDS_MAX {
                break;
            }
            if self.lacks_message(owner, seq, needs) {
                continue;
            }
            let peer = self.records.message(owner, seq, |stored, _| {
                let (from, to) = (stored.message.from, stored.message.to);
                if owner == from { to } else { from }
            })?;
            if let Some(peer) = peer {
                self.lacks_chat(owner, peer, needs);
            }
        }
        Ok(())
    }

    fn needs_of_numbers(
        &mut self,
        owner: UserId,
        peer: UserId,
        (next, count): (u64, u64),
        needs: &mut Needs,
    ) -> Result<(), StoreError> {
        if self.lacks_chat(owner, peer, needs) {
            return Ok(());
        }
        for number in (next.saturating_sub(count) + 1..=next).rev() {
            if self.lacks_number(owner, peer, number, needs)? {
                continue;
            }
            if let Some(seq) = self.records.seq_of_number(owner, peer, number)? {
                self.lacks_lone_message(owner, seq, needs);
            }
        }
        Ok(())
    }

    fn needs_of_chats<'a>(
        &mut self,
        owner: UserId,
        peers: impl Iterator<Item = &'a UserId>,
        needs: &mut Needs,
    ) -> Result<(), StoreError> {
        for peer in peers {
            if !self.lacks_chat(owner, *peer, needs)
                && let Some(chat) = self.records.chat(owner, *peer)?
            {
                let last = chat.last_seq;
                self.lacks_lone_message(owner, last, needs);
            }
        }
        Ok(())
    }

    fn needs_of_offline(
        &mut self,
        owner: UserId,
        offline: &Offline,
        count: u64,
        needs: &mut Needs,
    ) -> Result<(), StoreError> {
        let Offline { after, up_to, ref ahead, .. } = *offline;
        let window = Window { after, up_to, count: count as usize };
        if self.lacks_window(owner, window, needs)? {
            return Ok(());
        }
        let mut seqs = Vec::new();
        self.records.waiting_seqs(owner, window, &mut seqs)?;
        self.needs_of_messages(owner, ahead.iter().rev().chain(&seqs).copied(), needs)
    }
}
