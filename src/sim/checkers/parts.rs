//! Offline lists that were given in part: who has acked all of a part is told that more waits.

use super::offline::Part;
use super::{Checkers, Span, failure};
use crate::ids::UserId;
use crate::sim::answers::Row;
use crate::sim::model::{Key, Step};
use crate::sim::observation::{DeviceId, Failure};
use std::collections::BTreeMap;

/// The last part that a user was given, if it is sure that it was not all.
struct Given {
    span: Span,
    keys: Vec<Key>,
}

/// All users' parts.
#[derive(Default)]
pub(super) struct Parts {
    given: BTreeMap<UserId, Given>,
    /// Lists that were asked for and not given.
    open: BTreeMap<UserId, Open>,
}

/// Lists of a user that are under way.
#[derive(Default)]
struct Open {
    count: usize,
    /// Several are, or were since the last time that none was: nobody knows which was made last.
    is_mixed: bool,
}

/// A part as it is before a connection's acks are known to be done.
pub(super) struct Before {
    given: Given,
    /// Of its messages these were not acked for sure.
    unsure: Vec<Key>,
}

impl Parts {
    /// Somebody asks for a list of a user: the part before it is the last no more.
    pub fn asked(&mut self, user: UserId) {
        self.given.remove(&user);
        let open = self.open.entry(user).or_default();
        open.is_mixed = open.count > 0;
        open.count += 1;
    }

    /// It was answered.
    pub fn answered(&mut self, user: UserId) {
        self.open.entry(user).and_modify(|open| open.count -= 1);
    }
}

impl Checkers {
    /// A list was given. Whether it is the last part, and not all, is noted if it is sure.
    pub(super) fn note_part(&mut self, part: Part, rows: &[Row], span: Span) {
        let Part { owner, after, limit } = part;
        let retention = self.model.terms.retention;
        let forgets = retention.messages.is_some() || retention.days.is_some();
        let is_last =
            self.parts.open.get(&owner).is_some_and(|open| open.count == 0 && !open.is_mixed);
        if forgets || !is_last || after > 0 || rows.len() < limit as usize {
            return;
        }
        let keys: Vec<Key> = rows.iter().map(|row| (row.from, row.id)).collect();
        let is_plain = keys.iter().all(|key| {
            let message = &self.model.messages[key];
            let may_be_acked = self.model.may_be_acked(message, owner, span.answered);
            !may_be_acked && !message.is_of_two() && !message.is_shaken
        });
        let is_all = self.waits_beyond(owner, &keys, span).is_none();
        if is_plain && !is_all {
            self.parts.given.insert(owner, Given { span, keys });
        }
    }

    /// A message that waits for sure, and is none of these.
    fn waits_beyond(&self, owner: UserId, keys: &[Key], span: Span) -> Option<Key> {
        let mut others =
            self.model.messages_of(owner).filter(|message| !keys.contains(&message.key));
        others.find(|message| self.waits_surely(message, owner, span)).map(|message| message.key)
    }

    /// The last part of a user, before it is known that what a connection acked until `begun` is
    /// done. `None`: whoever acked its messages, it is not sure when.
    pub(super) fn part_before(&mut self, user: UserId, begun: Step) -> Option<Before> {
        let given = self.parts.given.remove(&user)?;
        let fact = |key: &Key| self.model.messages[key].at_recipient.acked;
        let is_known_late = |key: &Key| fact(key).is_sure(Step::MAX) && !fact(key).is_sure(begun);
        if given.keys.iter().any(is_known_late) {
            return None;
        }
        let unsure = given.keys.iter().filter(|key| !fact(key).is_sure(begun)).copied().collect();
        Some(Before { given, unsure })
    }

    /// They are done, as was heard just now: if all of the part is acked with it, its connection
    /// was told before that more waits.
    pub(super) fn part_after(
        &mut self,
        (user, device): (UserId, DeviceId),
        before: Before,
        step: Step,
    ) -> Result<(), Failure> {
        let Before { given, unsure } = before;
        let is_acked = |key: &Key| self.model.messages[key].at_recipient.acked.is_sure(step);
        if !unsure.iter().all(is_acked) {
            self.parts.given.insert(user, given);
            return Ok(());
        }
        let line = &self.lines[&device];
        let was_there =
            line.welcomed.is_some_and(|welcomed| welcomed < given.span.asked) && !line.has_left;
        let is_told = line.told.is_some_and(|told| told > given.span.asked);
        if unsure.is_empty() || !was_there || is_told {
            return Ok(());
        }
        let meanwhile = Span { asked: given.span.answered, answered: step };
        match self.waits_beyond(user, &given.keys, meanwhile) {
            None => Ok(()),
            Some(key) => {
                let words = format!(
                    "{device} acked all of a part of the offline list, {:?}: expected it to be \
                     told that more waits, such as {key:?}",
                    given.keys
                );
                Err(failure("offline", user, words))
            }
        }
    }
}
