//! What waits for a user: received, and not acked.

use super::{Checkers, Span, about, failure};
use crate::ids::UserId;
use crate::sim::answers::Row;
use crate::sim::model::Key;
use crate::sim::model::message::Message;
use crate::sim::observation::Failure;

/// Which part of an offline list was asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub owner: UserId,
    pub after: u64,
    pub limit: u32,
}

impl Checkers {
    /// It waits, and nobody can have changed that.
    pub(super) fn waits_surely(&self, message: &Message, owner: UserId, span: Span) -> bool {
        message.is_received_by(owner)
            && message.is_surely_in(owner, span.asked)
            && !self.model.may_be_acked(message, owner, span.answered)
            && !self.model.may_be_forgotten(message, owner, span.answered)
    }

    /// Something waits for a user, for sure.
    pub(super) fn waits_any(&self, user: UserId, span: Span) -> bool {
        self.model.messages_of(user).any(|message| self.waits_surely(message, user, span))
    }

    /// An offline list was shown.
    pub(super) fn see_offline(
        &mut self,
        part: Part,
        rows: &[Row],
        span: Span,
    ) -> Result<(), Failure> {
        let owner = part.owner;
        let mut above = part.after;
        for row in rows {
            let key = (row.from, row.id);
            self.see_row(owner, row, span)?;
            if row.seq <= above {
                let words = format!("{part:?}: expected seqs above {above}, found {}", row.seq);
                return Err(about("offline", owner, key, words));
            }
            above = row.seq;
            let message = &self.model.messages[&key];
            let is_gone =
                !message.is_received_by(owner) || message.at_recipient.acked.is_sure(span.asked);
            if is_gone && !message.is_of_two() {
                let words = "expected it gone from the offline list, found it there".to_owned();
                return Err(about("offline", owner, key, words));
            }
        }
        if rows.len() > part.limit as usize {
            let words = format!("{part:?}: expected {} rows at most", part.limit);
            return Err(failure("offline", owner, words));
        }
        // What lies beyond the limit was not asked for.
        let is_cut = rows.len() == part.limit as usize;
        let is_asked_for = |message: &Message| match message.seq(owner) {
            Some(seq) => seq > part.after && (!is_cut || seq < above),
            None => part.after == 0 && !is_cut,
        };
        let shown: Vec<Key> = rows.iter().map(|row| (row.from, row.id)).collect();
        let missing = self.model.messages_of(owner).filter(|message| {
            message.is_received_by(owner) && is_asked_for(message) && !shown.contains(&message.key)
        });
        let missing: Vec<Key> = missing.map(|message| message.key).collect();
        for key in missing {
            let message = &self.model.messages[&key];
            if self.waits_surely(message, owner, span) {
                let words = "expected it in the offline list, for nobody has acked it; not found";
                return Err(about("offline", owner, key, words.to_owned()));
            }
            let may_be_gone = self.model.may_be_forgotten(message, owner, span.answered);
            if message.is_surely_in(owner, span.asked) && !may_be_gone {
                let message = self.model.messages.get_mut(&key).expect("it is one of them");
                message.at_recipient.acked.holds(span.answered);
            }
        }
        Ok(())
    }

    /// A device was told how many messages wait.
    pub(super) fn see_waiting(&self, owner: UserId, count: u64, span: Span) -> Result<(), Failure> {
        let mine = || self.model.messages_of(owner);
        let sure = mine().filter(|message| self.waits_surely(message, owner, span));
        let sure: Vec<Key> = sure.map(|message| message.key).collect();
        let may_wait = mine().filter(|message| {
            message.may_be_received_by(owner)
                && message.may_be_kept(span.answered)
                && (message.is_of_two() || !message.at_recipient.acked.is_sure(span.asked))
        });
        let most: u64 = may_wait.map(|message| 1 + u64::from(message.is_shaken)).sum();
        let nameless = self.model.nameless_of(owner).filter(|one| one.author != owner);
        let most = most + nameless.count() as u64;
        if !(sure.len() as u64..=most).contains(&count) {
            let words = format!("expected at most {most} waiting, with {sure:?}; found {count}");
            return Err(failure("offline", owner, words));
        }
        Ok(())
    }
}
