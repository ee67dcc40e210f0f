//! Offline lists that were given only in part: their owner is told again when he has acked it.
//!
//! Invariants:
//! 1. A user is told again only after all that the last part gave him is acked.
//! 2. At most [`NOTICES_MAX`] are remembered; a new one takes the place of any other.

use crate::chat::cache::FixedMap;
use crate::chat::event::{Effect, Now};
use crate::chat::shard::Shard;
use crate::chat::turn::{Turn, When};
use crate::ids::UserId;
use crate::limits::NOTICES_MAX;
use crate::store::{Store, StoreError};

/// A part of an offline list that was given.
#[derive(Clone, Copy)]
struct Part {
    /// The seqs given: above this,
    after: u64,
    /// up to this.
    up_to: u64,
    /// Given and not acked yet.
    unacked: u64,
    /// All of the part has been given, and more was left out.
    is_whole: bool,
}

/// The last part given to each user.
#[derive(Default)]
pub struct Notices {
    parts: FixedMap<UserId, Part>,
}

impl Notices {
    /// A part begins: nothing of it is given yet.
    pub(super) fn begin(&mut self, user: UserId, after: u64) {
        if self.parts.len() >= NOTICES_MAX {
            let any = self.parts.keys().next().copied();
            any.and_then(|any| self.parts.remove(&any));
        }
        self.parts.insert(user, Part { after, up_to: after, unacked: 0, is_whole: false });
    }

    /// A message of it was given.
    pub(super) fn note_given(&mut self, user: UserId, seq: u64) {
        if let Some(part) = self.parts.get_mut(&user) {
            part.up_to = part.up_to.max(seq);
            part.unacked += 1;
        }
    }

    /// The part is whole. `left_out`: messages wait that were not in it.
    pub(super) fn end(&mut self, user: UserId, left_out: bool) {
        match self.parts.get_mut(&user) {
            Some(part) if left_out => part.is_whole = true,
            _ => {
                self.parts.remove(&user);
            }
        }
    }

    /// A message was acked.
    pub(super) fn note_ack(&mut self, user: UserId, seq: u64) {
        if let Some(part) = self.parts.get_mut(&user)
            && part.after < seq
            && seq <= part.up_to
        {
            part.unacked = part.unacked.saturating_sub(1);
        }
    }

    /// Whether the user is to be told now; then it is forgotten.
    fn take_due(&mut self, user: UserId) -> bool {
        let is_due = self.parts.get(&user).is_some_and(|part| part.is_whole && part.unacked == 0);
        if is_due {
            self.parts.remove(&user);
        }
        is_due
    }
}

impl<S: Store> Shard<S> {
    /// Tells a user's devices of what waits, if he has acked all of a part.
    pub(super) fn tell_what_was_left_out(
        &mut self,
        user: UserId,
        now: &Now,
        turn: &mut Turn,
    ) -> Result<(), StoreError> {
        if !self.notices.take_due(user) {
            return Ok(());
        }
        let Some(notice) = self.offline_notice(user, now)? else { return Ok(()) };
        for seat in self.presence.of(user) {
            turn.want(When::Durable, Effect::Notice { to: seat.connection, notice });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Invariant 2 of chat::notices.
    #[test]
    fn no_more_parts_are_remembered_than_may_be_and_the_newest_is() {
        let mut notices = Notices::default();
        for number in 2..NOTICES_MAX as i64 + 1000 {
            let user = UserId::new(number).expect("positive");
            notices.begin(user, 0);
            notices.note_given(user, 1);
            notices.end(user, true);
            assert!(notices.parts.contains_key(&user) && notices.parts.len() <= NOTICES_MAX);
        }
        assert_eq!(notices.parts.len(), NOTICES_MAX);
    }
}
