//! One user: his history is replayed by the rules that made it, and what they would have written
//! is compared with what is there.

use super::chats::{Pair, Reading};
use super::{Audit, USERS_STEP, row, scan};
use crate::api::Identity;
use crate::chat::by_id::{Filed, file};
use crate::chat::directory::tenant_number;
use crate::chat::event::Letter;
use crate::chat::records::letter_of;
use crate::ids::{MessageId, ShardId, UserId};
use crate::limits::MARK_GAPS_MAX;
use crate::store::keys::{Key, KeyReader, Kind, Side};
use crate::store::parts::{Parts, owned, range_of};
use crate::store::rows::{
    ArchivedMessageRow, ArchivedProfileRow, IdBlockRow, IdEntry, LateIdRow, NumberRow,
    PairBlockRow, UserRow, WAITING_BLOCK, WaitingRow, read, read_owned,
};
use crate::store::{Direction, Range, Store, StoreError};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// A user being looked at.
pub(super) struct Walk<'a, S> {
    pub shard: ShardId,
    pub user: UserId,
    pub store: &'a S,
    /// His row as it is.
    pub found: UserRow,
    /// His row as it follows from the rest.
    pub expected: UserRow,
    pub pairs: BTreeMap<UserId, Pair>,
    /// Blocks of ids that the history makes, and late ids.
    id_blocks: u64,
    late_ids: u64,
    /// The block of waiting marks read last, and its marks.
    waiting: (u64, u128),
}

/// The key of the identity that a profile has.
pub(super) fn identity_key(profile: &[u8]) -> Option<Vec<u8>> {
    let profile = read::<ArchivedProfileRow<'_>>(profile).ok()?;
    Some(Key::identity(&Identity {
        company: (*profile.company).into(),
        app: (*profile.app).into(),
        third_user_id: (*profile.third_user_id).into(),
    }))
}

impl<S: Store> Audit<'_, S> {
    pub(super) fn check_users(&mut self, shard: ShardId) -> Result<(), StoreError> {
        let store = self.store(shard);
        let (from, to) = range_of(Kind::User);
        let mut from = from.to_vec();
        loop {
            let mut users = Vec::new();
            let range = Range { from: &from, to: &to, direction: Direction::Forward };
            store.scan(range, &mut |key, value| {
                if let (Some(Parts::User(user)), Ok(row)) = (Parts::of(key), read_owned(value)) {
                    users.push((user, row));
                }
                let is_enough = users.len() == USERS_STEP;
                if is_enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
            let Some((last, _)) = users.last() else { return Ok(()) };
            from = Key::user(*last).to_vec();
            from.push(0);
            for (user, row) in users {
                self.counts.users += 1;
                self.check_user(shard, user, row)?;
            }
        }
    }

    fn check_user(
        &mut self,
        shard: ShardId,
        user: UserId,
        found: UserRow,
    ) -> Result<(), StoreError> {
        let store = self.store(shard);
        // What is forgotten was taken out of all rows but those that begin the rest.
        let forgotten = row::<UserRow>(store, &Key::forgotten(user))?.unwrap_or_default();
        let (pairs, waiting) = (self.chats_of(shard, user)?, (u64::MAX, 0));
        let in_chats: u64 = {
            let counts = pairs.values().map(|pair| pair.forgotten.messages);
            counts.fold(0, u64::saturating_add)
        };
        let at = (shard, &Key::forgotten(user)[..]);
        self.expect(at, "forgotten messages", in_chats, forgotten.last_seq);
        let expected = UserRow { name: found.name.clone(), ..forgotten };
        let (id_blocks, late_ids) = (0, 0);
        let mut walk =
            Walk { shard, user, store, found, expected, pairs, id_blocks, late_ids, waiting };
        self.check_profile(&mut walk)?;
        let (from, to) = (Key::message(user, 0), Key::message(user, u64::MAX));
        scan(store, &from, &to, |key, value| self.check_message(&mut walk, key, value))?;
        self.check_blocks(&walk)?;
        self.check_waiting(&walk)?;
        self.check_chats(&mut walk)?;
        self.check_counters(&walk);
        Ok(())
    }

    /// Identity, profile and tenant belong together.
    fn check_profile(&mut self, walk: &mut Walk<'_, S>) -> Result<(), StoreError> {
        let Walk { shard, user, store, .. } = *walk;
        let key = Key::profile(user);
        let tenant = |profile: &[u8]| {
            let profile = read::<ArchivedProfileRow<'_>>(profile).ok()?;
            Some(tenant_number(&profile.company, &profile.app))
        };
        let identity = store.get(&key, identity_key)?.flatten();
        let tenant = store.get(&key, tenant)?.flatten();
        let (Some(identity), Some(tenant)) = (identity, tenant) else {
            self.miss((shard, &key), "a profile of this user", "none");
            walk.expected.tenant = walk.found.tenant;
            return Ok(());
        };
        let named = row::<NumberRow>(store, &identity)?.map(|row| row.0);
        self.expect((shard, &identity), "user", Some(u64::from(user.number())), named);
        let enrolled = row::<NumberRow>(store, &Key::tenant(user))?.map(|row| row.0);
        self.expect((shard, &Key::tenant(user)), "tenant", Some(u64::from(tenant)), enrolled);
        walk.expected.tenant = tenant;
        Ok(())
    }

    fn check_message(
        &mut self,
        walk: &mut Walk<'_, S>,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), StoreError> {
        let (shard, user) = (walk.shard, walk.user);
        let Some(Parts::Message { seq, .. }) = Parts::of(key) else { return Ok(()) };
        if seq <= walk.expected.last_seq {
            self.miss((shard, key), "none: it is forgotten", "a message");
            return Ok(());
        }
        for missing in (walk.expected.last_seq.saturating_add(1)..seq).take(8) {
            self.miss((shard, &Key::message(user, missing)), "a message", "none");
        }
        walk.expected.last_seq = seq;
        let Ok(message) = read::<ArchivedMessageRow<'_>>(value) else { return Ok(()) };
        let Some(letter) = letter_of(message) else { return Ok(()) };
        self.counts.messages += 1;
        if letter.from != user && letter.to != user {
            self.miss((shard, key), "a message from or to its owner", "one between others");
            return Ok(());
        }
        if !self.is_forgotten_by_either(walk, &letter, message.ordinal.to_native())? {
            self.sums.add(user, &letter, message);
        }
        self.check_index(walk, &letter, seq)?;
        let is_waiting = self.is_waiting(walk, seq)?;
        self.check_pair(walk, key, &letter, Reading { seq, ordinal: message.ordinal.to_native() })?;
        if letter.from == user {
            walk.expected.highest_sent = walk.expected.highest_sent.max(letter.id.number());
        } else {
            walk.expected.highest_received = walk.expected.highest_received.max(letter.id.number());
        }
        self.check_ack(walk, key, &letter, message.ordinal.to_native(), is_waiting);
        Ok(())
    }

    /// Replays the index of ids.
    fn check_index(
        &mut self,
        walk: &mut Walk<'_, S>,
        letter: &Letter,
        seq: u64,
    ) -> Result<(), StoreError> {
        let (shard, user, store) = (walk.shard, walk.user, walk.store);
        let (id, side) = (letter.id, Side::of(user, letter.from));
        match file(walk.expected.ids_mut(side), IdEntry { id: id.number(), seq }) {
            Filed::InRow => {}
            Filed::InBlock(block) => {
                walk.id_blocks += 1;
                let Some(lowest) = MessageId::new(block.entries[0].id) else { return Ok(()) };
                let key = Key::id_block(user, side, lowest);
                let found = row::<IdBlockRow>(store, &key)?;
                self.expect((shard, &key), "ids", Some(block), found);
            }
            Filed::Late { .. } => {
                walk.late_ids += 1;
                let key = Key::late_id(user, side, id);
                let found = row::<LateIdRow>(store, &key)?.unwrap_or_default().seqs;
                if !found.contains(&seq) {
                    self.expect((shard, &key), "seqs", vec![seq], found);
                }
            }
        }
        Ok(())
    }

    fn is_waiting(&mut self, walk: &mut Walk<'_, S>, seq: u64) -> Result<bool, StoreError> {
        let block = seq / WAITING_BLOCK;
        if walk.waiting.0 != block {
            let marks = if block == walk.found.last_seq / WAITING_BLOCK {
                walk.found.waiting
            } else {
                row::<WaitingRow>(walk.store, &Key::waiting(walk.user, block))?.map_or(0, |it| it.0)
            };
            walk.waiting = (block, marks);
        }
        Ok(walk.waiting.1 >> (seq % WAITING_BLOCK) & 1 == 1)
    }

    /// A message waits if and only if it was received and is not acked.
    fn check_ack(
        &mut self,
        walk: &mut Walk<'_, S>,
        key: &[u8],
        letter: &Letter,
        ordinal: u64,
        is_waiting: bool,
    ) {
        let is_received = letter.from != walk.user;
        let Some(pair) = walk.pairs.get_mut(&letter.from) else { return };
        let Some(chat) = pair.found.as_ref().filter(|_| is_received) else {
            self.expect((walk.shard, key), "waits for an ack", false, is_waiting);
            return;
        };
        // Marks that have had too many gaps may lack an ack that the offline list knows of.
        let may_lack = chat.received >= 2 * MARK_GAPS_MAX as u64;
        let is_acked = chat.acked.contains(ordinal);
        let unread = u64::from(letter.kind.is_content() && ordinal > chat.read_up_to);
        if is_acked || !may_lack {
            let at = (walk.shard, key);
            self.expect_of(at, chat.is_parted, "waits for an ack", !is_acked, is_waiting);
        }
        let (expected, sums) = (&mut pair.expected, &mut walk.expected);
        expected.unread = expected.unread.saturating_add(unread);
        expected.unacked = expected.unacked.saturating_add(u64::from(is_waiting));
        sums.offline = sums.offline.saturating_add(u64::from(is_waiting));
        if is_waiting && walk.waiting.0 == walk.found.last_seq / WAITING_BLOCK {
            walk.expected.waiting |= 1 << (key_seq(key) % WAITING_BLOCK);
        }
        self.counts.waiting += u64::from(is_waiting);
    }

    /// Nothing is indexed but what the history has.
    fn check_blocks(&mut self, walk: &Walk<'_, S>) -> Result<(), StoreError> {
        let (mut id_blocks, mut late_ids, mut extra) = (0, 0, Vec::new());
        let (from, to) = owned(Kind::IdBlock, walk.user);
        scan(walk.store, &from, &to, |_, _| {
            id_blocks += 1;
            Ok(())
        })?;
        self.expect((walk.shard, &from), "blocks of ids", walk.id_blocks, id_blocks);
        let (from, to) = owned(Kind::LateId, walk.user);
        scan(walk.store, &from, &to, |_, value| {
            late_ids += read_owned::<LateIdRow>(value).map_or(0, |row| row.seqs.len() as u64);
            Ok(())
        })?;
        self.expect((walk.shard, &from), "late ids", walk.late_ids, late_ids);
        let (from, to) = owned(Kind::PairBlock, walk.user);
        scan(walk.store, &from, &to, |key, value| {
            let Some(Parts::PairBlock { peer, block, .. }) = Parts::of(key) else { return Ok(()) };
            let blocks = walk.pairs.get(&peer).map_or(0..0, |pair| pair.blocks());
            if !blocks.contains(&block) && read_owned::<PairBlockRow>(value).is_ok() {
                extra.push(key.to_vec());
            }
            Ok(())
        })?;
        for key in extra {
            self.miss((walk.shard, &key), "no such block", "one");
        }
        Ok(())
    }

    /// Only messages wait.
    fn check_waiting(&mut self, walk: &Walk<'_, S>) -> Result<(), StoreError> {
        let (from, to) = owned(Kind::Waiting, walk.user);
        let newest = walk.found.last_seq / WAITING_BLOCK;
        let (mut marks, mut extra) = (u64::from(walk.found.waiting.count_ones()), Vec::new());
        scan(walk.store, &from, &to, |key, value| {
            let row = read_owned::<WaitingRow>(value).map_or(0, |row| row.0);
            marks += u64::from(row.count_ones());
            let block = match Parts::of(key) {
                Some(Parts::Waiting { block, .. }) => block,
                _ => u64::MAX,
            };
            if block >= newest || row == 0 {
                extra.push(key.to_vec());
            }
            Ok(())
        })?;
        for key in extra {
            self.miss((walk.shard, &key), "no such block of waiting marks", "one");
        }
        let key = Key::user(walk.user);
        self.expect((walk.shard, &key), "marks of waiting messages", walk.expected.offline, marks);
        Ok(())
    }

    fn check_counters(&mut self, walk: &Walk<'_, S>) {
        let (found, expected) = (&walk.found, &walk.expected);
        let key = Key::user(walk.user);
        let at = (walk.shard, &key[..]);
        self.expect(at, "tenant", expected.tenant, found.tenant);
        self.expect(at, "last seq", expected.last_seq, found.last_seq);
        self.expect(at, "highest id sent", expected.highest_sent, found.highest_sent);
        let (to, there) = (expected.highest_received, found.highest_received);
        self.expect(at, "highest id received", to, there);
        self.expect(at, "waiting messages", expected.offline, found.offline);
        self.expect(at, "newest waiting marks", expected.waiting, found.waiting);
        self.expect(at, "listed chats", expected.listed, found.listed);
        self.expect(at, "unread", expected.unread, found.unread);
        for side in Side::ALL {
            let (expected, found) = (expected.ids(side), found.ids(side));
            self.expect(at, "newest ids", &expected.recent, &found.recent);
            self.expect(at, "ids in blocks", expected.indexed_up_to, found.indexed_up_to);
            self.expect(at, "highest late id", expected.highest_late, found.highest_late);
        }
    }
}

fn key_seq(key: &[u8]) -> u64 {
    let mut reader = KeyReader::new(key);
    reader.user().and_then(|_| reader.number()).unwrap_or_default()
}
