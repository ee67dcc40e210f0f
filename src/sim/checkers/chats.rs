//! Chat lists and unread counts.

use super::{Checkers, Span, about, failure};
use crate::ids::UserId;
use crate::sim::answers::{Entry, Last};
use crate::sim::model::message::Message;
use crate::sim::model::{Deed, Key};
use crate::sim::observation::Failure;
use std::collections::BTreeSet;

impl Checkers {
    /// Which of a peer's messages are unread for sure, and how many may be.
    fn unread_of(&self, owner: UserId, peer: UserId, span: Span) -> (Vec<Key>, u64) {
        let his = || self.model.messages_from(peer, owner);
        let sure = his().filter(|message| {
            message.is_received_by(owner)
                && message.is_content()
                && message.arrived.is_sure(span.asked)
                && !self.model.may_be_read(message, owner, span.answered)
                && !self.model.may_be_forgotten(message, owner, span.answered)
        });
        let may_be_unread = his().filter(|message| {
            message.may_be_received_by(owner)
                && message.possible().any(|draft| draft.kind.is_content())
                && message.may_be_kept(span.answered)
                && (message.is_of_two() || !message.at_recipient.read.is_sure(span.asked))
        });
        let most: u64 = may_be_unread.map(|message| 1 + u64::from(message.is_shaken)).sum();
        let nameless = self.model.nameless_from(peer, owner);
        let nameless = nameless.filter(|one| one.draft.kind.is_content()).count() as u64;
        (sure.map(|message| message.key).collect(), most + nameless)
    }

    /// Whoever may have written with a user.
    fn peers_of(&self, owner: UserId) -> BTreeSet<UserId> {
        let of = |message: &Message| {
            let others = message.possible().map(|draft| draft.to);
            let others: Vec<UserId> = others.filter(|_| message.key.0 == owner).collect();
            if message.key.0 == owner { others } else { vec![message.key.0] }
        };
        let nameless = self.model.nameless_of(owner).filter(|one| one.author != owner);
        let nameless = nameless.map(|one| one.author);
        self.model.messages_of(owner).flat_map(of).chain(nameless).collect()
    }

    /// A user's unread count was shown.
    pub(super) fn see_unread(&self, owner: UserId, count: u64, span: Span) -> Result<(), Failure> {
        let (mut sure, mut most) = (Vec::new(), 0);
        for peer in self.peers_of(owner) {
            let (his, may_be) = self.unread_of(owner, peer, span);
            sure.extend(his);
            most += may_be;
        }
        if !(sure.len() as u64..=most).contains(&count) {
            let words = format!("expected at most {most} unread, with {sure:?}; found {count}");
            return Err(failure("unread", owner, words));
        }
        Ok(())
    }

    /// A chat list was shown.
    pub(super) fn see_chats(
        &mut self,
        owner: UserId,
        limit: u32,
        entries: &[Entry],
        span: Span,
    ) -> Result<(), Failure> {
        let mut peers = BTreeSet::new();
        for entry in entries {
            if entry.owner != owner {
                let words = format!("expected his own entries, found one of {:?}", entry.owner);
                return Err(failure("forged", owner, words));
            }
            if !peers.insert(entry.peer) {
                let words = format!("expected one entry with {:?}, found another", entry.peer);
                return Err(failure("lists", owner, words));
            }
            self.see_entry(owner, entry, span)?;
        }
        let ranks = self.check_ranks(owner, entries, span)?;
        let is_whole = entries.len() < limit as usize;
        for peer in self.peers_of(owner) {
            let is_listed = peers.contains(&peer);
            if is_listed && self.is_surely_hidden(owner, peer, span) {
                let words = format!("expected no entry with {peer:?}, which was deleted; found it");
                return Err(failure("lists", owner, words));
            }
            if is_whole && !is_listed && self.is_surely_listed(owner, peer, span) {
                let words = format!("expected an entry with {peer:?}, found none");
                return Err(failure("lists", owner, words));
            }
            if !is_whole && !is_listed && self.is_surely_listed(owner, peer, span) {
                self.check_left_out(owner, peer, &ranks, span)?;
            }
        }
        Ok(())
    }

    fn see_entry(&mut self, owner: UserId, entry: &Entry, span: Span) -> Result<(), Failure> {
        let peer = entry.peer;
        let chat = self.model.chats.entry((owner, peer)).or_default();
        let (id, _) = *chat.id.get_or_insert((entry.id, span.answered));
        let pair = *self.model.chat_ids.entry(entry.id).or_insert((owner, peer));
        if id != entry.id || pair != (owner, peer) {
            let words = format!(
                "expected the entry with {peer:?} to be {id} for ever, found {}, which is {pair:?}",
                entry.id
            );
            return Err(failure("ids", owner, words));
        }
        let created = chat.created.get_or_insert_with(|| entry.created.clone()).clone();
        let is_top_possible = chat.top.shows(entry.top, span.asked, span.answered);
        let dated = entry.last.as_ref().map(|_| &entry.updated);
        if created != entry.created || dated != entry.last_date.as_ref() {
            let words = format!("expected it made at {created}, changed at {dated:?}: {entry:?}");
            return Err(failure("lists", owner, words));
        }
        if !is_top_possible {
            let words = format!("expected top to be as it was set, found {entry:?}");
            return Err(failure("lists", owner, words));
        }
        let (sure, most) = self.unread_of(owner, peer, span);
        let found = entry.unread;
        if !(sure.len() as u64..=most).contains(&found) {
            let words = format!(
                "with {peer:?}: expected at most {most} unread, with {sure:?}; found {found}"
            );
            return Err(failure("unread", owner, words));
        }
        match &entry.last {
            Some(last) => self.see_last(owner, entry, last, span),
            None => self.check_forgotten(owner, peer, span),
        }
    }

    /// The message that an entry shows as its last.
    fn key_of(&self, owner: UserId, peer: UserId, last: &Last) -> Option<Key> {
        [owner, peer].into_iter().map(|author| (author, last.id)).find(|key| {
            let is_it = |message: &Message| {
                message.may_be_between(owner, peer)
                    && message.possible().any(|draft| {
                        draft.content == last.content && draft.kind.name() == last.kind
                    })
            };
            self.model.messages.get(key).is_some_and(is_it)
        })
    }

    fn see_last(
        &mut self,
        owner: UserId,
        entry: &Entry,
        last: &Last,
        span: Span,
    ) -> Result<(), Failure> {
        let peer = entry.peer;
        let Some(key) = self.key_of(owner, peer, last) else {
            // The server may have made its id, and nobody was told yet.
            return if self.may_be_nameless(&last.content) {
                Ok(())
            } else {
                let words = format!("expected a last message with {peer:?}, found {last:?}");
                Err(failure("forged", owner, words))
            };
        };
        let message = &self.model.messages[&key];
        let chat = self.model.chats.entry((owner, peer)).or_default();
        let dated = chat.dated.replace((key, entry.updated.clone()));
        let is_other = dated.is_some_and(|(of, date)| of == key && date != entry.updated);
        if is_other && !message.is_of_two() && !message.is_shaken {
            let words = format!("expected the date as it was for this last message: {entry:?}");
            return Err(about("lists", owner, key, words));
        }
        if !message.may_be_kept(span.answered) {
            let words = "expected it gone, as an answer has shown; it is the last of a chat";
            return Err(about("once", owner, key, words.to_owned()));
        }
        let rows = self.model.histories.range((owner, 0)..=(owner, u64::MAX)).rev();
        let mut sure = rows.filter(|(_, (other, since))| {
            *since <= span.asked && self.model.messages[other].is_between(owner, peer)
        });
        if let Some(((_, newest), (other, _))) = sure.next() {
            let shown = message.seq(owner);
            let is_older = !message.is_of_two() && shown.is_some_and(|seq| seq < *newest);
            let other_one = &self.model.messages[other];
            // What others sent is in his history from when it has arrived.
            let is_comparable = message.key.0 == other_one.key.0
                || message.is_surely_in(owner, other_one.first_sent());
            let is_before = shown.is_none() && is_comparable && message.precedes(other_one);
            if is_older || is_before {
                let words = format!(
                    "expected the last message with {peer:?} to be {} at {newest} or a later one; \
                     found this one, at {shown:?}",
                    other.1
                );
                return Err(about("lists", owner, key, words));
            }
        }
        Ok(())
    }

    fn may_be_nameless(&self, content: &str) -> bool {
        self.model.nameless.iter().any(|one| one.draft.content == content)
    }

    /// An entry without a last message: all were forgotten.
    fn check_forgotten(&self, owner: UserId, peer: UserId, span: Span) -> Result<(), Failure> {
        let mut kept = self.model.messages_of(owner).filter(|message| {
            message.is_between(owner, peer)
                && message.is_surely_in(owner, span.asked)
                && !self.model.may_be_forgotten(message, owner, span.answered)
        });
        kept.next().map_or(Ok(()), |message| {
            let words = format!("expected a last message with {peer:?}, such as this; found none");
            Err(about("lists", owner, message.key, words))
        })
    }

    /// `top` first, then by the last message, newest first, as far as nothing can have changed.
    /// The ranks of which that is sure.
    fn check_ranks(
        &self,
        owner: UserId,
        entries: &[Entry],
        span: Span,
    ) -> Result<Vec<(bool, u64)>, Failure> {
        let rank = |entry: &Entry| {
            let chat = &self.model.chats[&(owner, entry.peer)];
            let key = self.key_of(owner, entry.peer, entry.last.as_ref()?)?;
            let message = &self.model.messages[&key];
            let is_still = chat.top.is_still(span.asked) && message.is_surely_in(owner, span.asked);
            // One that was lost and sent again may be twice in a history, and is here once.
            let may_be_two = message.is_of_two() || message.is_parted && message.is_shaken;
            (is_still && !may_be_two).then_some((entry.top, message.seq(owner)?))
        };
        let ranks: Vec<(bool, u64)> = entries.iter().filter_map(rank).collect();
        if ranks.windows(2).any(|two| two[0] < two[1]) {
            let words = format!("expected top chats, then the newest, first; found {ranks:?}");
            return Err(failure("lists", owner, words));
        }
        Ok(ranks)
    }

    /// What a limit leaves out is not newer than what it lets through.
    fn check_left_out(
        &self,
        owner: UserId,
        peer: UserId,
        shown: &[(bool, u64)],
        span: Span,
    ) -> Result<(), Failure> {
        // What was sent again after that may be twice in a history, and is the last of a chat once.
        if self.model.is_parted {
            return Ok(());
        }
        let last = self.model.messages_of(owner).filter(|message| {
            let is_surely_his = message.is_between(owner, peer) && !message.is_of_two();
            is_surely_his && message.is_surely_in(owner, span.asked)
        });
        // It may be a top chat, too: then it ranks even higher.
        let rank = (false, last.filter_map(|message| message.seq(owner)).max().unwrap_or(0));
        if let Some(lower) = shown.iter().find(|shown| **shown < rank) {
            let words = format!("expected the entry with {peer:?} before {lower:?}, found it cut");
            return Err(failure("lists", owner, words));
        }
        Ok(())
    }

    /// A message has come that no delete can have taken along.
    fn is_surely_listed(&self, owner: UserId, peer: UserId, span: Span) -> bool {
        let deletes = self.model.chats.get(&(owner, peer)).map(|chat| &chat.deletes[..]);
        let deletes = deletes.unwrap_or(&[]);
        let may_hide = |deed: &Deed, message: &Message| {
            deed.begun < span.answered && message.first_sent() < deed.over
        };
        self.model.messages_of(owner).any(|message| {
            message.is_between(owner, peer)
                && message.is_surely_in(owner, span.asked)
                && !deletes.iter().any(|deed| may_hide(deed, message))
        })
    }

    /// It was deleted, and no message can have come since.
    fn is_surely_hidden(&self, owner: UserId, peer: UserId, span: Span) -> bool {
        let chat = self.model.chats.get(&(owner, peer));
        let deleted = chat.and_then(|chat| chat.deleted).filter(|deed| deed.over <= span.asked);
        let mut nameless = self.model.nameless_of(owner);
        let may_be_new = nameless.any(|one| one.author == peer || one.draft.to == peer);
        deleted.filter(|_| !may_be_new).is_some_and(|deed| {
            let mut messages = self.model.messages_of(owner);
            messages.all(|message| {
                !message.may_be_between(owner, peer)
                    || !message.may_be_kept(span.answered)
                    || (message.is_surely_in(owner, deed.begun) && !message.is_shaken)
            })
        })
    }
}
