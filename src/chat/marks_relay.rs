//! Authors see how far their messages have come: a reader's marks go to the author's shard.
//!
//! Invariants:
//! 1. A change of marks reaches the author's chat, whatever crashes: its row stays until the
//!    author's shard holds it durably.
//! 2. However often marks change, a chat sends them at most once in [`MARKS_EVERY_MS`].
//! 3. Notices may come twice or late: marks only grow.

use crate::chat::cache::FixedMap;
use crate::chat::event::{Effect, MarksNotice, MarksReceipt, Now};
use crate::chat::records::Records;
use crate::chat::shard::Shard;
use crate::chat::turn::{Turn, When};
use crate::ids::{ShardId, UserId};
use crate::limits::{MARKS_EVERY_MS, MARKS_PER_STEP_MAX};
use crate::store::keys::{Key, KeyReader, Kind};
use crate::store::rows::{NumberRow, RowError};
use crate::store::{Direction, Store, StoreError};
use std::collections::VecDeque;
use std::ops::ControlFlow;

/// One chat whose author is to be told.
struct Due {
    is_queued: bool,
    /// Of the last notice sent.
    version: u64,
}

/// Chats whose authors are to be told, by reader and author.
#[derive(Default)]
pub struct MarksRelay {
    dues: FixedMap<(UserId, UserId), Due>,
    queue: VecDeque<(UserId, UserId)>,
    versions: u64,
    next_ms: u64,
}

impl MarksRelay {
    /// Finds what an earlier run did not see through.
    pub(super) fn open<S: Store>(records: &mut Records<S>) -> Result<MarksRelay, StoreError> {
        let (from, to) = (Key::of(Kind::MarksDue), Key::of(Kind::MarksDue).after());
        let mut relay = MarksRelay::default();
        let mut is_damaged = false;
        records.scan(&from, &to, Direction::Forward, &mut |key, _| {
            let mut reader = KeyReader::new(key);
            match (reader.user(), reader.user()) {
                (Some(user), Some(author)) => relay.enqueue(user, author),
                _ => is_damaged = true,
            }
            ControlFlow::Continue(())
        })?;
        if is_damaged { Err(RowError::Key.into()) } else { Ok(relay) }
    }

    fn enqueue(&mut self, reader: UserId, author: UserId) {
        self.dues.insert((reader, author), Due { is_queued: true, version: 0 });
        self.queue.push_back((reader, author));
    }

    /// The next chat to tell of, under a new version.
    fn next(&mut self) -> Option<MarksReceipt> {
        let (reader, author) = self.queue.pop_front()?;
        self.versions += 1;
        let due = self.dues.get_mut(&(reader, author)).expect("what is queued is due");
        due.is_queued = false;
        due.version = self.versions;
        Some(MarksReceipt { reader, author, version: self.versions })
    }
}

impl<S: Store> Shard<S> {
    /// The marks of what `reader` received from `author` have changed.
    pub(super) fn marks_changed(&mut self, reader: UserId, author: UserId) {
        match self.marks.dues.get_mut(&(reader, author)) {
            Some(due) if due.is_queued => {}
            Some(due) => {
                due.is_queued = true;
                self.marks.queue.push_back((reader, author));
            }
            None => {
                self.marks.enqueue(reader, author);
                self.records.put(&Key::marks_due(reader, author), &NumberRow(0));
            }
        }
    }

    /// Tells authors, some of them each time.
    pub(super) fn relay_marks(&mut self, now: &Now, turn: &mut Turn) -> Result<(), StoreError> {
        if now.steady_ms < self.marks.next_ms {
            return Ok(());
        }
        self.marks.next_ms = now.steady_ms + MARKS_EVERY_MS;
        for _ in 0..MARKS_PER_STEP_MAX {
            let Some(receipt) = self.marks.next() else { break };
            // Passed over they are told when they change again, or after the next start.
            self.attempt(turn, |shard, turn| shard.tell_marks(receipt, turn))?;
        }
        Ok(())
    }

    fn tell_marks(&mut self, receipt: MarksReceipt, turn: &mut Turn) -> Result<(), StoreError> {
        let chat = self.records.chat(receipt.reader, receipt.author)?.ok_or(RowError::Missing)?;
        let notice = MarksNotice {
            receipt,
            pushed: chat.pushed.clone(),
            acked: chat.acked.clone(),
            read_up_to: chat.read_up_to,
        };
        let home = receipt.author.home(self.place.shards);
        if home == self.place.shard {
            self.note_marks(&notice)?;
            self.marks_applied(receipt);
        } else {
            turn.want(When::Durable, Effect::Marks { to: home, notice });
        }
        Ok(())
    }

    /// Another shard's reader tells an author of this one.
    pub(super) fn marks_received(
        &mut self,
        from: ShardId,
        notice: &MarksNotice,
        turn: &mut Turn,
    ) -> Result<(), StoreError> {
        self.note_marks(notice)?;
        turn.want(When::Settled, Effect::MarksApplied { to: from, receipt: notice.receipt });
        Ok(())
    }

    /// Puts a reader's marks into the author's chat.
    fn note_marks(&mut self, notice: &MarksNotice) -> Result<(), StoreError> {
        let MarksReceipt { reader, author, .. } = notice.receipt;
        let Some(chat) = self.records.change_chat(author, reader)? else { return Ok(()) };
        chat.peer_pushed.merge(&notice.pushed);
        chat.peer_acked.merge(&notice.acked);
        chat.peer_pushed.raise(chat.peer_acked.up_to);
        chat.peer_read_up_to = chat.peer_read_up_to.max(notice.read_up_to);
        Ok(())
    }

    /// The author's shard holds a notice: its row goes, unless marks have changed since.
    pub(super) fn marks_applied(&mut self, receipt: MarksReceipt) {
        let chat = (receipt.reader, receipt.author);
        let Some(due) = self.marks.dues.get(&chat) else { return };
        if due.version == receipt.version && !due.is_queued {
            self.marks.dues.remove(&chat);
            self.records.remove(&Key::marks_due(receipt.reader, receipt.author));
        }
    }
}
