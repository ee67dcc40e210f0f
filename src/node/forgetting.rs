//! Retention, between other events: so much of it in each turn that it keeps up with what comes.
//!
//! Invariants:
//! 1. A turn looks at [`FORGET_TURN_USERS`] users and one for each four requests of it; what a full
//!    turn leaves is done in the next.
//! 2. Forgetting waits for rows on a slow disk like a request, and nobody waits for it.
//!
//! Left to others: who has something to forget, and what goes (`chat::forget`).

use crate::chat::event::Event;
use crate::chat::forget::Retention;
use crate::config::{Config, StoreKind};
use crate::ids::UserId;
use crate::limits::{FORGET_TURN_USERS, NEEDS_STAGES_MAX};
use crate::node::desk::Desk;
use crate::node::parking::Waiting;
use crate::store::{Store, StoreError};

/// Requests of a turn for each user more that it looks at.
const REQUESTS: usize = 4;

/// What an operator wants to keep. Where messages are thrown away there are none to forget.
pub fn retention(config: &Config) -> Retention {
    match config.store {
        StoreKind::Nothing => Retention::default(),
        StoreKind::Disk | StoreKind::Memory => {
            Retention { messages: config.retain_messages, days: config.retain_days }
        }
    }
}

impl<S: Store> Desk<S> {
    /// Lets some users forget.
    pub fn forget_some(&mut self) -> Result<(), StoreError> {
        let users = FORGET_TURN_USERS + self.applied / REQUESTS;
        for _ in 0..users {
            if self.shard.has_gathered_enough() {
                break;
            }
            let Some(user) = self.shard.next_to_forget() else { break };
            self.forget(user, 0)?;
        }
        Ok(())
    }

    /// Lets a user forget, or parks it; `stages`: how often it was parked before.
    pub fn forget(&mut self, user: UserId, stages: u8) -> Result<(), StoreError> {
        let needs = self.shard.needs_to_forget(user, &self.now)?;
        if needs.is_empty() || stages >= NEEDS_STAGES_MAX || !self.parking.has_room() {
            return self.apply(Event::Forget { user });
        }
        self.parking.park(Waiting::Chore(user), needs, stages + 1);
        Ok(())
    }
}

#[cfg(test)]
#[path = "forgetting_tests.rs"]
mod tests;
