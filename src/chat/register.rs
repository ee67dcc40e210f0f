//! Registering users, and finding them.
//!
//! Invariants:
//! 1. One identity is one user for ever.
//! 2. A user is in the directory before his registration is answered, and on disk before that.

use crate::api::{Identity, Refusal, Reply};
use crate::chat::directory::{first_index, tenant_number};
use crate::chat::event::{Effect, Now};
use crate::chat::shard::Shard;
use crate::chat::turn::{Turn, When};
use crate::ids::{Slot, UserId};
use crate::metrics::Counter;
use crate::store::keys::Key;
use crate::store::rows::{NumberRow, ProfileRow, SlotRow, UserRow};
use crate::store::{Store, StoreError};
use std::borrow::Cow;

impl<S: Store> Shard<S> {
    pub(super) fn register(
        &mut self,
        identity: &Identity<'_>,
        name: Option<Cow<'_, str>>,
        now: &Now,
        turn: &mut Turn,
    ) -> Result<(When, Reply), StoreError> {
        assert_eq!(
            identity.slot().home(self.place.shards),
            self.place.shard,
            "a registration comes to the identity's home"
        );
        let user = match self.user_of(identity)? {
            Some(user) => user,
            None if now.is_disk_full => {
                return Ok((When::Now, Reply::Refused(Refusal::DiskFull)));
            }
            None => match self.add_user(identity, now, turn)? {
                Some(user) => user,
                None => return Ok((When::Now, Reply::Refused(Refusal::SlotFull))),
            },
        };
        if let Some(name) = name
            && self.records.user(user)?.name.as_deref() != Some(&*name)
        {
            self.records.change_user(user)?.name = Some(name.into_owned().into_boxed_str());
        }
        // Synced also when nothing changed: the first answer may still wait for the disk.
        Ok((When::Synced, Reply::Registered(user)))
    }

    pub(super) fn user_of(&self, identity: &Identity<'_>) -> Result<Option<UserId>, StoreError> {
        let row = self.records.get::<NumberRow>(&Key::identity(identity))?;
        Ok(row.and_then(|NumberRow(user)| UserId::new(user as i64)))
    }

    /// Adds a user; `None`: his slot has no ids left.
    fn add_user(
        &mut self,
        identity: &Identity<'_>,
        now: &Now,
        turn: &mut Turn,
    ) -> Result<Option<UserId>, StoreError> {
        let slot = identity.slot();
        let mut counters = self.slot_counters(slot)?;
        let Some(user) = UserId::in_slot(slot, counters.next_user) else { return Ok(None) };
        counters.next_user += 1;
        self.records.put(&Key::slot(slot), &counters);
        let tenant = tenant_number(&identity.company, &identity.app);
        let profile = ProfileRow {
            company: &identity.company,
            app: &identity.app,
            third_user_id: &identity.third_user_id,
            registered_ms: now.wall_ms,
        };
        self.records.put(&Key::identity(identity), &NumberRow(u64::from(user.number())));
        self.records.put(&Key::profile(user), &profile);
        self.records.put(&Key::tenant(user), &NumberRow(u64::from(tenant)));
        self.records.add_user(user, UserRow { tenant, ..UserRow::default() });
        turn.want(When::Synced, Effect::Enroll { user, tenant });
        self.metrics.count(Counter::Registered, 1);
        Ok(Some(user))
    }

    /// The next indexes of a slot.
    pub(super) fn slot_counters(&self, slot: Slot) -> Result<SlotRow, StoreError> {
        let fresh = SlotRow { next_user: first_index(slot), next_chat: 1 };
        Ok(self.records.get::<SlotRow>(&Key::slot(slot))?.unwrap_or(fresh))
    }

    pub(super) fn find(&mut self, identity: &Identity<'_>) -> Result<(When, Reply), StoreError> {
        let found = self.user_of(identity)?.filter(|user| self.is_registered(*user));
        let Some(user) = found else {
            return Ok((When::Now, Reply::Refused(Refusal::UnknownIdentity)));
        };
        let name = self.records.user(user)?.name.clone();
        Ok((self.when_read(user)?, Reply::Found { user, name }))
    }
}
