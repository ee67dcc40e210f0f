//! Each row by itself: its key, its version and shape, its home, and what it points to.

use super::{Audit, Finding, chat, row, said, scan};
use crate::chat::directory::first_index;
use crate::chat::records::letter_of;
use crate::ids::{SLOTS, ShardId, Slot, UserId};
use crate::store::keys::Key;
use crate::store::parts::Parts;
use crate::store::rows::{
    ArchivedMessageRow, ArchivedProfileRow, ChatIdRow, ChatRow, IdBlockRow, LateIdRow, NumberRow,
    OutboxRow, PairBlockRow, RowError, SlotRow, StreamRow, UserRow, WaitingRow, read, read_owned,
};
use crate::store::{Store, StoreError};

/// What the rows of a shard add up to.
struct Totals {
    /// Users of each slot.
    users: Vec<u32>,
    /// Chat entries of each slot.
    chats: Vec<u64>,
    /// Whose rows were seen last, and whether he is there.
    owner: Option<(UserId, bool)>,
}

/// Whether a value is a row of its key's kind.
fn check_value(parts: &Parts<'_>, value: &[u8]) -> Result<(), RowError> {
    match parts {
        Parts::Epoch
        | Parts::MintBound
        | Parts::Identity(_)
        | Parts::Tenant(_)
        | Parts::MarksDue { .. } => read_owned::<NumberRow>(value).map(drop),
        Parts::Slot(_) => read_owned::<SlotRow>(value).map(drop),
        Parts::Profile(_) => read::<ArchivedProfileRow<'_>>(value).map(drop),
        Parts::User(_) | Parts::Forgotten(_) => read_owned::<UserRow>(value).map(drop),
        Parts::Message { .. } | Parts::Aside { .. } => {
            let row = read::<ArchivedMessageRow<'_>>(value)?;
            letter_of(row).map(drop).ok_or(RowError::Damaged)
        }
        Parts::Chat { .. } | Parts::HiddenChat { .. } | Parts::ForgottenChat { .. } => {
            read_owned::<ChatRow>(value).map(drop)
        }
        Parts::ChatId(_) => read_owned::<ChatIdRow>(value).map(drop),
        Parts::Outbox { .. } => read_owned::<OutboxRow>(value).map(drop),
        Parts::Applied(_) => read_owned::<StreamRow>(value).map(drop),
        Parts::PairBlock { .. } => read_owned::<PairBlockRow>(value).map(drop),
        Parts::IdBlock { .. } => read_owned::<IdBlockRow>(value).map(drop),
        Parts::LateId { .. } => read_owned::<LateIdRow>(value).map(drop),
        Parts::Waiting { .. } => read_owned::<WaitingRow>(value).map(drop),
    }
}

impl<S: Store> Audit<'_, S> {
    pub(super) fn check_rows(&mut self, shard: ShardId) -> Result<(), StoreError> {
        let slots = usize::from(SLOTS);
        let mut totals = Totals { users: vec![0; slots], chats: vec![0; slots], owner: None };
        let store = self.store(shard);
        scan(store, &[0], &[u8::MAX], |key, value| {
            self.counts.rows += 1;
            self.check_row(shard, key, value, &mut totals)
        })?;
        self.check_slots(shard, &totals)
    }

    fn check_row(
        &mut self,
        shard: ShardId,
        key: &[u8],
        value: &[u8],
        totals: &mut Totals,
    ) -> Result<(), StoreError> {
        let Some(parts) = Parts::of(key) else {
            self.miss((shard, key), "a key of a known kind", "bytes that are none");
            return Ok(());
        };
        if let Err(error) = check_value(&parts, value) {
            let (key, part, expected) = (key.to_vec(), "value", "a row of its kind".to_owned());
            self.find(Finding { shard, key, part, expected, found: said(error), is_parted: false });
            return Ok(());
        }
        if let Some(slot) = parts.slot() {
            self.expect((shard, key), "home shard", slot.home(self.count()), shard);
        }
        if let Some(owner) = parts.owner() {
            self.check_owner(shard, key, owner, totals)?;
        }
        match parts {
            Parts::User(user) => totals.users[usize::from(user.slot().index())] += 1,
            Parts::ChatId(id) => {
                totals.chats[usize::from(id.slot().index())] += 1;
                self.check_chat_id(shard, key, value)?;
            }
            Parts::Identity(_) => self.check_identity(shard, key, value)?,
            Parts::MarksDue { reader, author }
                if chat(self.store(shard), reader, author)?.is_none() =>
            {
                self.miss((shard, key), "a chat whose marks are due", "no such chat");
            }
            Parts::Applied(from) => self.check_applied(shard, key, from, value)?,
            _ => {}
        }
        Ok(())
    }

    /// A row belongs to a registered user.
    fn check_owner(
        &mut self,
        shard: ShardId,
        key: &[u8],
        owner: UserId,
        totals: &mut Totals,
    ) -> Result<(), StoreError> {
        let is_there = match totals.owner {
            Some((last, is_there)) if last == owner => is_there,
            _ => self.store(shard).get(&Key::user(owner), |_| ())?.is_some(),
        };
        totals.owner = Some((owner, is_there));
        if !is_there {
            self.miss((shard, key), "a user who is registered", "no row of that user");
        }
        Ok(())
    }

    fn check_chat_id(
        &mut self,
        shard: ShardId,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), StoreError> {
        let Ok(ChatIdRow { owner, peer }) = read_owned::<ChatIdRow>(value) else { return Ok(()) };
        let user = |number: u32| UserId::new(i64::from(number));
        let (Some(owner), Some(peer)) = (user(owner), user(peer)) else {
            self.miss((shard, key), "a pair of users", "0");
            return Ok(());
        };
        let id = chat(self.store(shard), owner, peer)?.map(|chat| Key::chat_id_of(chat.id));
        let found = id.is_some_and(|id| *id == *key);
        if !found {
            self.miss((shard, key), "a chat of this pair with this id", "none");
        }
        Ok(())
    }

    fn check_identity(
        &mut self,
        shard: ShardId,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), StoreError> {
        let Ok(NumberRow(number)) = read_owned::<NumberRow>(value) else { return Ok(()) };
        let user = UserId::new(number as i64);
        let theirs = match user {
            Some(user) => self.store(shard).get(&Key::profile(user), super::users::identity_key)?,
            None => None,
        };
        if theirs.flatten().as_deref() != Some(key) {
            self.miss((shard, key), "a user whose profile has this identity", "another, or none");
        }
        Ok(())
    }

    fn check_applied(
        &mut self,
        shard: ShardId,
        key: &[u8],
        from: ShardId,
        value: &[u8],
    ) -> Result<(), StoreError> {
        let Ok(StreamRow { epoch, .. }) = read_owned::<StreamRow>(value) else { return Ok(()) };
        if from.0 >= self.count() || from == shard {
            self.miss((shard, key), "another shard's stream", "no such shard");
            return Ok(());
        }
        let key_of_epoch = Key::of(crate::store::keys::Kind::Epoch);
        let newest = row::<NumberRow>(self.store(from), &key_of_epoch)?.map_or(0, |row| row.0);
        if epoch > newest {
            let expected = format!("at most {newest}, the epoch of shard {from}");
            let (key, part, found) = (key.to_vec(), "epoch", epoch.to_string());
            self.find(Finding { shard, key, part, expected, found, is_parted: false });
        }
        Ok(())
    }

    /// Counters stand behind what was handed out, and all of that is there.
    fn check_slots(&mut self, shard: ShardId, totals: &Totals) -> Result<(), StoreError> {
        for index in 0..SLOTS {
            let slot = Slot::of(u64::from(index));
            let first = first_index(slot);
            let found = row::<SlotRow>(self.store(shard), &Key::slot(slot))?;
            let found = found.unwrap_or(SlotRow { next_user: first, next_chat: 1 });
            let place = usize::from(index);
            let key = Key::slot(slot);
            self.expect((shard, &key), "users", first + totals.users[place], found.next_user);
            self.expect((shard, &key), "chats", 1 + totals.chats[place], found.next_chat);
        }
        Ok(())
    }
}
