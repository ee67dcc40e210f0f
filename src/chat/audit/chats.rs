//! The chats of one user: what his history says of each, and what the other one's chat says.

use super::users::Walk;
use super::{Audit, chat, row, scan};
use crate::chat::event::Letter;
use crate::chat::marks::Marks;
use crate::ids::{ChatId, ShardId, UserId};
use crate::limits::MARK_GAPS_MAX;
use crate::store::keys::{Key, Kind};
use crate::store::parts::{Parts, owned};
use crate::store::rows::{ChatIdRow, ChatRow, NumberRow, PAIR_BLOCK, PairBlockRow, read_owned};
use crate::store::{Store, StoreError};
use std::collections::BTreeMap;
use std::ops::Range;

/// More messages than any chat will ever have.
const COUNT_MAX: u64 = i64::MAX as u64;

/// A chat being looked at.
#[derive(Default)]
pub(super) struct Pair {
    /// Its row as it is.
    pub found: Option<ChatRow>,
    /// Its row as it follows from the messages.
    pub expected: ChatRow,
    /// The forgotten part of it.
    pub forgotten: ChatRow,
    /// The last ordinals sent and received that one of the two has forgotten; looked up once.
    horizon: Option<(u64, u64)>,
}

impl Pair {
    /// The peer's home has lost messages that are here.
    pub fn is_parted(&self) -> bool {
        self.found.as_ref().is_some_and(|chat| chat.is_parted)
    }

    /// Blocks that are whole, and not all forgotten.
    pub fn blocks(&self) -> Range<u64> {
        let block = PAIR_BLOCK as u64;
        self.forgotten.messages / block..self.expected.messages / block
    }
}

/// Where a message is.
#[derive(Clone, Copy)]
pub(super) struct Reading {
    /// Its place in the history.
    pub seq: u64,
    /// Its place among all that its author sent its recipient.
    pub ordinal: u64,
}

impl<S: Store> Audit<'_, S> {
    /// The chats of a user, in his list or not.
    pub(super) fn chats_of(
        &mut self,
        shard: ShardId,
        user: UserId,
    ) -> Result<BTreeMap<UserId, Pair>, StoreError> {
        let mut pairs = BTreeMap::new();
        for kind in [Kind::Chat, Kind::HiddenChat] {
            let (from, to) = owned(kind, user);
            let store = self.store(shard);
            scan(store, &from, &to, |key, value| {
                let (peer, is_listed) = match Parts::of(key) {
                    Some(Parts::Chat { peer, .. }) => (peer, true),
                    Some(Parts::HiddenChat { peer, .. }) => (peer, false),
                    _ => return Ok(()),
                };
                let Ok(row) = read_owned::<ChatRow>(value) else { return Ok(()) };
                self.counts.chats += 1;
                self.expect((shard, key), "listed", is_listed, row.listed);
                let pair = Pair { found: Some(row), ..Pair::default() };
                if pairs.insert(peer, pair).is_some() {
                    self.miss((shard, key), "a chat in the list or out of it", "both");
                }
                Ok(())
            })?;
        }
        let (from, to) = owned(Kind::ForgottenChat, user);
        scan(self.store(shard), &from, &to, |key, value| {
            if let Some(Parts::ForgottenChat { peer, .. }) = Parts::of(key)
                && let Ok(row) = read_owned::<ChatRow>(value)
            {
                let pair: &mut Pair = pairs.entry(peer).or_default();
                // Whoever counts on from here comes to no end of the numbers.
                if [row.messages, row.sent, row.received].iter().all(|it| *it < COUNT_MAX) {
                    (pair.expected, pair.forgotten) = (row.clone(), row);
                } else {
                    self.miss((shard, key), "counts that a chat can come to", "greater ones");
                }
            }
            Ok(())
        })?;
        Ok(pairs)
    }

    /// Whether one of the two has forgotten a message, so that it has one row at most.
    pub(super) fn is_forgotten_by_either(
        &self,
        walk: &mut Walk<'_, S>,
        letter: &Letter,
        ordinal: u64,
    ) -> Result<bool, StoreError> {
        let (user, peer) = (walk.user, letter.other(walk.user));
        let pair = walk.pairs.entry(peer).or_default();
        let (sent, received) = match pair.horizon {
            Some(known) => known,
            None => {
                let known = (self.horizon(user, peer)?, self.horizon(peer, user)?);
                *pair.horizon.insert(known)
            }
        };
        Ok(ordinal <= if letter.from == user { sent } else { received })
    }

    /// The last of what one sent the other that either of them has forgotten.
    pub(super) fn horizon(&self, from: UserId, to: UserId) -> Result<u64, StoreError> {
        let sent = row::<ChatRow>(self.home(from), &Key::forgotten_chat(from, to))?;
        let received = row::<ChatRow>(self.home(to), &Key::forgotten_chat(to, from))?;
        Ok(sent.map_or(0, |chat| chat.sent).max(received.map_or(0, |chat| chat.received)))
    }

    /// Replays a message in its chat.
    pub(super) fn check_pair(
        &mut self,
        walk: &mut Walk<'_, S>,
        key: &[u8],
        letter: &Letter,
        reading: Reading,
    ) -> Result<(), StoreError> {
        let (shard, user) = (walk.shard, walk.user);
        let peer = if letter.from == user { letter.to } else { letter.from };
        let pair = walk.pairs.entry(peer).or_default();
        let whole = pair.expected.add_message(reading.seq);
        let is_his = letter.from == user;
        let is_parted = !is_his && pair.is_parted();
        let count = if is_his { &mut pair.expected.sent } else { &mut pair.expected.received };
        let next = count.saturating_add(1);
        *count = if is_parted { reading.ordinal.max(*count) } else { reading.ordinal };
        self.expect_of((shard, key), is_parted, "ordinal", next, reading.ordinal);
        if let Some(whole) = whole {
            let key = Key::pair_block(user, peer, whole.number);
            let found = row::<PairBlockRow>(walk.store, &key)?;
            self.expect((shard, &key), "seqs", Some(whole.row), found);
        }
        Ok(())
    }

    pub(super) fn check_chats(&mut self, walk: &mut Walk<'_, S>) -> Result<(), StoreError> {
        let (shard, user) = (walk.shard, walk.user);
        for (peer, pair) in std::mem::take(&mut walk.pairs) {
            let Some(found) = pair.found else {
                self.miss((shard, &Key::chat(user, peer)), "a chat with these messages", "none");
                continue;
            };
            let key = match found.listed {
                true => Key::chat(user, peer),
                false => Key::hidden_chat(user, peer),
            };
            let at = (shard, &key[..]);
            let mut expected = pair.expected;
            if found.is_parted {
                self.counts.parted_chats += 1;
                // Numbers that came twice do not tell what is read.
                expected.unread = found.unread;
            }
            let sums = &mut walk.expected;
            sums.listed = sums.listed.saturating_add(u32::from(found.listed));
            sums.unread = sums.unread.saturating_add(expected.unread);
            self.expect(at, "messages", expected.messages, found.messages);
            self.expect(at, "newest seqs", &expected.recent, &found.recent);
            self.expect(at, "last seq", expected.last_seq, found.last_seq);
            self.expect(at, "unread", expected.unread, found.unread);
            self.expect_of(at, found.is_parted, "received", expected.received, found.received);
            self.expect(at, "waiting messages", expected.unacked, found.unacked);
            self.expect(at, "sent", expected.sent, found.sent);
            if !found.listed {
                self.expect(at, "unread of a chat not listed", 0, found.unread);
                self.expect(at, "top of a chat not listed", false, found.top);
            }
            let (read, peer_read) = (found.read_up_to, found.peer_read_up_to);
            self.expect(at, "read up to", read.min(found.received), read);
            let peer_read_of_sent = peer_read.min(found.sent);
            self.expect_of(at, true, "read by the peer up to", peer_read_of_sent, peer_read);
            self.check_marks(at, "pushed", &found.pushed, found.received, false);
            self.check_marks(at, "acked", &found.acked, found.received, false);
            self.check_marks(at, "pushed to the peer", &found.peer_pushed, found.sent, true);
            self.check_marks(at, "acked by the peer", &found.peer_acked, found.sent, true);
            self.check_id(walk, at, peer, found.id)?;
            self.check_peer(walk, at, peer, &found)?;
        }
        Ok(())
    }

    /// Marks name only ordinals that there are, in their order.
    fn check_marks(
        &mut self,
        at: (ShardId, &[u8]),
        part: &'static str,
        marks: &Marks,
        most: u64,
        is_parted: bool,
    ) {
        let mut above = marks.up_to;
        let is_right = marks.ranges.iter().all(|&(first, last)| {
            let is_apart = first.saturating_sub(1) > above && last >= first;
            above = last;
            is_apart
        });
        let is_right = is_right && marks.ranges.len() <= MARK_GAPS_MAX;
        let is_parted = is_parted && is_right;
        if !is_right || above > most {
            let expected = format!("marks up to {most}, apart and rising");
            let found = format!("{marks:?}");
            let (shard, key) = (at.0, at.1.to_vec());
            self.find(super::Finding { shard, key, part, expected, found, is_parted });
        }
    }

    /// A chat's id leads to it.
    fn check_id(
        &mut self,
        walk: &Walk<'_, S>,
        at: (ShardId, &[u8]),
        peer: UserId,
        id: u64,
    ) -> Result<(), StoreError> {
        let Some(id) = ChatId::new(id as i64) else {
            self.miss(at, "an id", "none");
            return Ok(());
        };
        self.expect(at, "slot of its id", walk.user.slot(), id.slot());
        let found = row::<ChatIdRow>(walk.store, &Key::chat_id(id))?;
        let expected = ChatIdRow { owner: walk.user.number(), peer: peer.number() };
        self.expect((at.0, &Key::chat_id(id)), "pair", Some(expected), found);
        Ok(())
    }

    /// What the author's chat knows of the reader's marks.
    fn check_peer(
        &mut self,
        walk: &Walk<'_, S>,
        at: (ShardId, &[u8]),
        peer: UserId,
        found: &ChatRow,
    ) -> Result<(), StoreError> {
        let there = self.home(peer);
        let tenant = row::<NumberRow>(there, &Key::tenant(peer))?.map(|row| row.0);
        self.expect(at, "tenant of the peer", Some(u64::from(walk.found.tenant)), tenant);
        // Notes to self are not received: there are no marks of them.
        let theirs = match peer == walk.user {
            true => ChatRow::default(),
            false => chat(there, peer, walk.user)?.unwrap_or_default(),
        };
        // Marks that have had too many gaps leave some out, and not the same at both ends.
        let may_lack = theirs.received >= 2 * MARK_GAPS_MAX as u64;
        let is_due = there.get(&Key::marks_due(peer, walk.user), |_| ())?.is_some();
        let known = (&found.peer_pushed, &found.peer_acked, found.peer_read_up_to);
        let real = (&theirs.pushed, &theirs.acked, theirs.read_up_to);
        let is_behind =
            known.0.up_to <= real.0.up_to && known.1.up_to <= real.1.up_to && known.2 <= real.2;
        let is_right = if is_due || may_lack { is_behind } else { known == real };
        if !is_right {
            self.expect_of(at, true, "marks of the peer (pushed, acked, read)", real, known);
        }
        Ok(())
    }
}
