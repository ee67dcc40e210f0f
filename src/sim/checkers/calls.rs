//! Calls and their answers.

use super::offline::Part;
use super::pages::Page;
use super::{Checkers, Span, failure};
use crate::ids::{ChatId, UserId};
use crate::sim::answers;
use crate::sim::model::{Deed, Step};
use crate::sim::observation::{Call, DeviceId, Failure};
use simd_json::OwnedValue;
use simd_json::prelude::Writable;

/// What a call may change in a chat.
#[derive(Clone, Copy)]
enum Change {
    Clear,
    Delete,
    Top(bool),
}

impl Checkers {
    /// The chats that a call may change, and how. One, but for ids of which nobody can be sure.
    fn change_of(&self, call: &Call) -> Option<(Vec<(UserId, UserId)>, Change)> {
        let pairs = |chat: &ChatId| self.model.pairs_of(*chat);
        Some(match call {
            Call::ClearUnread(chat) => (pairs(chat), Change::Clear),
            Call::ClearUnreadOf { owner, peer } => (vec![(*owner, *peer)], Change::Clear),
            Call::DeleteChat(chat) => (pairs(chat), Change::Delete),
            Call::Top { chat, top } => (pairs(chat), Change::Top(*top)),
            _ => return None,
        })
    }

    /// A client is about to call.
    pub(super) fn called(&mut self, device: DeviceId, call: &Call, begun: Step) {
        self.lines.entry(device).or_default().calls.push_back(begun);
        match call {
            Call::Register { identity, name } => {
                self.people.registers(identity, name.as_deref(), begun);
            }
            Call::Offline { user, .. } => self.parts.asked(*user),
            _ => {}
        }
        let Some((pairs, change)) = self.change_of(call) else { return };
        pairs.into_iter().for_each(|pair| self.begins(pair, change, begun));
    }

    /// Somebody wants to change a chat.
    fn begins(&mut self, pair: (UserId, UserId), change: Change, begun: Step) {
        let chat = self.model.chats.entry(pair).or_default();
        if let Change::Clear | Change::Delete = change {
            chat.clears.push(Deed::new(begun));
        }
        match change {
            Change::Clear => {}
            Change::Delete => {
                chat.deletes.push(Deed::new(begun));
                chat.top.write(false, begun);
            }
            Change::Top(top) => chat.top.write(top, begun),
        }
    }

    /// A change was answered: it is done, or it was refused.
    fn ended(&mut self, pair: (UserId, UserId), change: Change, is_done: bool, span: Span) {
        let chat = self.model.chats.entry(pair).or_default();
        for deeds in [&mut chat.clears, &mut chat.deletes] {
            deeds.retain(|deed| is_done || deed.begun != span.asked);
            let ended = deeds.iter_mut().filter(|deed| deed.begun == span.asked);
            ended.for_each(|deed| deed.over = span.answered);
        }
        if !is_done {
            return chat.top.is_refused(span.asked);
        }
        chat.top.is_done(span.asked, span.answered);
        if let Change::Delete = change {
            chat.deleted = Some(Deed { begun: span.asked, over: span.answered });
        }
        if let Change::Clear | Change::Delete = change {
            self.model.cleared(pair.0, pair.1, span.asked, span.answered);
        }
    }

    /// Judges an answer.
    pub(super) fn answered(
        &mut self,
        call: &Call,
        status: u16,
        body: &OwnedValue,
        span: Span,
    ) -> Result<(), Failure> {
        if let Call::Offline { user, .. } = call {
            self.parts.answered(*user);
        }
        if let Some((pairs, change)) = self.change_of(call) {
            // Of several it may have been any, and it stays possible for all of them.
            if let [pair] = pairs[..] {
                self.ended(pair, change, status == 200, span);
            }
        }
        if status != 200 {
            return self.check_refusal(call, status, body, span.asked);
        }
        self.see_answer(call, body, span)
    }

    /// Who is registered is refused nothing but when the server cannot.
    fn check_refusal(
        &self,
        call: &Call,
        status: u16,
        body: &OwnedValue,
        asked: Step,
    ) -> Result<(), Failure> {
        let known = |user| Some(user).filter(|user| self.people.knows(*user));
        let chat = |pair| Some(pair).filter(|pair| self.model.knows_chat(*pair, asked));
        let asker = match *call {
            Call::MintIds(_) => Some(UserId::SYSTEM),
            Call::Page { user, .. } | Call::Offline { user, .. } | Call::ChatList { user, .. } => {
                known(user)
            }
            Call::PairPage { owner, peer, .. } if self.people.knows(peer) => known(owner),
            Call::UnreadCount(user) => known(user),
            Call::Find(ref identity) => self.people.found(identity, asked),
            // What is deleted cannot be put on top.
            Call::ClearUnread(id) | Call::DeleteChat(id) => {
                let pair = self.model.chat_ids.get(&id.number());
                pair.and_then(|pair| chat(*pair)).map(|(owner, _)| owner)
            }
            Call::ClearUnreadOf { owner, peer } => chat((owner, peer)).map(|(owner, _)| owner),
            _ => None,
        };
        let may_be_busy = [408, 429, 503].contains(&status);
        match asker {
            Some(asker) if !may_be_busy => {
                let found = body.encode();
                let words = format!("{call:?}: expected an answer, found {status} {found}");
                Err(failure("lists", asker, words))
            }
            _ => Ok(()),
        }
    }

    fn see_answer(&mut self, call: &Call, body: &OwnedValue, span: Span) -> Result<(), Failure> {
        let text = || body.encode();
        match *call {
            Call::Register { ref identity, .. } => {
                self.is_registered(identity, body)?;
                self.people.is_answered(identity, span);
                Ok(())
            }
            Call::Find(ref identity) => {
                self.is_registered(identity, body)?;
                self.see_name(identity, body, span)
            }
            Call::MintIds(count) => {
                let ids = answers::ids(body);
                let ids = ids.filter(|ids| ids.len() == usize::from(count.unwrap_or(1)));
                let ids = ids.ok_or_else(|| self.unreadable("ids", UserId::SYSTEM, &text()))?;
                self.see_ids(&ids, span)
            }
            Call::Page { user, start, size } => {
                let rows = answers::rows(body);
                let rows = rows.ok_or_else(|| self.unreadable("a page", user, &text()))?;
                self.see_page(Page { owner: user, peer: None, start, size }, &rows, span)
            }
            Call::PairPage { owner, peer, start, size } => {
                let rows = answers::rows(body);
                let rows = rows.ok_or_else(|| self.unreadable("a page", owner, &text()))?;
                self.see_page(Page { owner, peer: Some(peer), start, size }, &rows, span)
            }
            Call::Offline { user, after_seq, limit } => {
                let rows = answers::rows(body);
                let rows = rows.ok_or_else(|| self.unreadable("messages", user, &text()))?;
                let part = Part { owner: user, after: after_seq, limit };
                self.see_offline(part, &rows, span)?;
                self.note_part(part, &rows, span);
                Ok(())
            }
            Call::ChatList { user, limit } => {
                let entries = answers::entries(body);
                let entries = entries.ok_or_else(|| self.unreadable("chats", user, &text()))?;
                self.see_chats(user, limit, &entries, span)
            }
            Call::UnreadCount(user) => {
                let count = answers::count(body);
                let count = count.ok_or_else(|| self.unreadable("a count", user, &text()))?;
                self.see_unread(user, count, span)
            }
            _ => Ok(()),
        }
    }

    /// Ids were minted: no one has any of them, and they are above all that were known before.
    pub(super) fn see_ids(&mut self, ids: &[i64], span: Span) -> Result<(), Failure> {
        let before = self.highest.range(..=span.asked).next_back().map_or(0, |(_, id)| *id);
        let mut last = before;
        for id in ids {
            let is_new = self.minted.insert(*id);
            if !is_new || *id <= last || *id % 1000 != 0 {
                let words = format!("expected a multiple of 1000 above {last}, found {id}");
                let words =
                    if is_new { words } else { format!("{words}, which was minted before") };
                let message = Some(*id);
                return Err(Failure { checker: "ids", user: None, message, words });
            }
            last = *id;
        }
        let highest = self.highest.values().next_back().copied().unwrap_or(0);
        self.highest.insert(span.answered, highest.max(last));
        Ok(())
    }
}
