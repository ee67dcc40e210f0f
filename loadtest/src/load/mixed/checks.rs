//! Whether an answer of the server can be true, given what everybody has sent.

use super::model::{Floor, Model};
use crate::load::words;
use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// The most messages that an offline list gives.
pub const OFFLINE_MAX: usize = 10_000;

/// A message as lists and pages give it, as far as it is looked at.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kept<'a> {
    id: i64,
    from_user_id: i64,
    to_user_id: i64,
    content: &'a str,
    seq: i64,
}

/// An entry of a chat list, likewise.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Chat<'a> {
    to_user_id: i64,
    un_read_count: u64,
    #[serde(borrow)]
    last_msg_id: Last<'a>,
}

#[derive(Deserialize)]
struct Last<'a> {
    id: i64,
    content: &'a str,
}

#[derive(Deserialize)]
struct Count {
    count: u64,
}

/// What waited for somebody who was away.
#[derive(Debug, PartialEq, Eq)]
pub struct Waiting {
    /// How many messages of each other member of his circle he then knows.
    pub known: Vec<u64>,
    /// The last of the list.
    pub last: Option<i64>,
}

/// Where somebody is in a conversation that he reads page by page, newest first.
#[derive(Clone, Copy, Debug)]
pub struct Scroll {
    /// Of the other's messages, and of his own.
    ways: [Next; 2],
    /// The `beforeSeq` of the next page, where there may be one.
    pub before: Option<i64>,
}

/// Which message of one channel must come next.
#[derive(Clone, Copy, Debug)]
enum Next {
    /// None has come: the newest, so that there are at least so many.
    NewestOf(u64),
    /// The one before this.
    Before(u64),
}

impl Model {
    /// Checks that a message has its content, and that it is between these two.
    pub fn check_content(&self, id: i64, content: &[u8]) -> Result<(usize, usize, u64)> {
        let (author, reader, number) = self.message(id)?;
        let mut expected = Vec::with_capacity(words::CONTENT_BYTES);
        words::content(&mut expected, self.user(author), number);
        ensure!(content == expected, "message {id} has another content");
        Ok((author, reader, number))
    }

    fn check_kept(&self, kept: &Kept<'_>) -> Result<(usize, usize, u64)> {
        let found = self.check_content(kept.id, kept.content.as_bytes())?;
        let users = (self.user(found.0), self.user(found.1));
        ensure!(users == (kept.from_user_id, kept.to_user_id), "{} names others", kept.id);
        Ok(found)
    }

    /// An offline list is exactly what its owner has not acked, each author's in order.
    pub fn check_offline(&self, owner: usize, floor: &Floor, body: &[u8]) -> Result<Waiting> {
        let list: Vec<Kept<'_>> = serde_json::from_slice(body).context("an offline list")?;
        ensure!(list.len() < OFFLINE_MAX, "more messages wait than a list gives");
        let taken = |slot| self.channel(self.other(owner, slot), owner).taken;
        let mut known: Vec<u64> = (0..self.others()).map(taken).collect();
        for kept in &list {
            let (author, reader, number) = self.check_kept(kept)?;
            ensure!(reader == owner, "message {} is for another", kept.id);
            let slot = self.slot_of(owner, self.user(author)).context("one of his circle")?;
            let next = known[slot];
            ensure!(number == next, "message {} is number {number}, not {next}", kept.id);
            known[slot] += 1;
        }
        for (slot, ways) in floor.iter().enumerate() {
            let (known, stored) = (known[slot], ways.from);
            ensure!(known >= stored, "LOST: {known} of {stored} messages are in an offline list");
        }
        let last = list.last().map(|kept| kept.id);
        Ok(Waiting { known, last })
    }

    /// Begins to read a conversation with an other of this slot.
    pub fn scroll(floor: &Floor, slot: usize) -> Scroll {
        let ways = [Next::NewestOf(floor[slot].from), Next::NewestOf(floor[slot].to)];
        Scroll { ways, before: None }
    }

    /// A page goes on where the one before it ended, with nothing left out.
    pub fn check_page(
        &self,
        owner: usize,
        other: usize,
        scroll: &mut Scroll,
        page_size: usize,
        body: &[u8],
    ) -> Result<()> {
        let page: Vec<Kept<'_>> = serde_json::from_slice(body).context("a page")?;
        ensure!(page.len() <= page_size, "{} messages on a page of {page_size}", page.len());
        let mut seq_before = scroll.before.unwrap_or(i64::MAX);
        for kept in &page {
            let (author, reader, number) = self.check_kept(kept)?;
            let way = match (author, reader) {
                ways if ways == (other, owner) => &mut scroll.ways[0],
                ways if ways == (owner, other) => &mut scroll.ways[1],
                _ => anyhow::bail!("message {} is of another conversation", kept.id),
            };
            let fits = match *way {
                Next::NewestOf(stored) => number + 1 >= stored,
                Next::Before(later) => number + 1 == later,
            };
            ensure!(fits, "message {} is number {number} where {way:?} is next", kept.id);
            ensure!(kept.seq < seq_before, "a page goes from the newest to the oldest");
            (*way, seq_before) = (Next::Before(number), kept.seq);
        }
        let is_last = page.len() < page_size;
        let whole = |way: &Next| matches!(way, Next::NewestOf(0) | Next::Before(0));
        ensure!(!is_last || scroll.ways.iter().all(whole), "LOST: a conversation ends too early");
        scroll.before = (!is_last).then_some(seq_before);
        Ok(())
    }

    /// How many messages of an other somebody has not read: at least, at most.
    fn unread(&self, owner: usize, floor: &Floor, slot: usize) -> (u64, u64) {
        let channel = self.channel(self.other(owner, slot), owner);
        let (read_min, read_max) = channel.read;
        (floor[slot].from.saturating_sub(read_max), channel.sent() - read_min)
    }

    /// A chat list has everybody who wrote or was written to, the last message and the count of
    /// what was not read.
    pub fn check_chats(&self, owner: usize, floor: &Floor, body: &[u8]) -> Result<()> {
        let list: Vec<Chat<'_>> = serde_json::from_slice(body).context("a chat list")?;
        let mut is_there = vec![false; self.others()];
        for chat in &list {
            let slot = self.slot_of(owner, chat.to_user_id).context("a chat with a stranger")?;
            ensure!(!is_there[slot], "DOUBLED: the chat with {}", chat.to_user_id);
            is_there[slot] = true;
            let (least, most) = self.unread(owner, floor, slot);
            let count = chat.un_read_count;
            ensure!(
                (least..=most).contains(&count),
                "{count} messages of {} are unread, not {least} to {most}",
                chat.to_user_id
            );
            let last = &chat.last_msg_id;
            let (author, reader, number) = self.check_content(last.id, last.content.as_bytes())?;
            let stored = if author == owner { floor[slot].to } else { floor[slot].from };
            let other = self.other(owner, slot);
            let is_theirs =
                (author, reader) == (owner, other) || (author, reader) == (other, owner);
            ensure!(is_theirs, "message {} is of another chat", last.id);
            ensure!(number + 1 >= stored, "message {} is not the last of its chat", last.id);
        }
        for (slot, ways) in floor.iter().enumerate() {
            let is_due = ways.from + ways.to > 0;
            ensure!(!is_due || is_there[slot], "LOST: a chat with {}", self.other(owner, slot));
        }
        Ok(())
    }

    /// The count of all that was not read.
    pub fn check_unread(&self, owner: usize, floor: &Floor, body: &[u8]) -> Result<()> {
        let Count { count } = serde_json::from_slice(body).context("a count")?;
        let all = (0..self.others()).map(|slot| self.unread(owner, floor, slot));
        let (least, most) = all.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        ensure!(
            (least..=most).contains(&count),
            "{count} messages are unread, not {least} to {most}"
        );
        Ok(())
    }

    /// Somebody has read a conversation: what had come until then is no longer unread.
    pub fn note_read(&mut self, owner: usize, floor: &Floor, slot: usize) {
        let other = self.other(owner, slot);
        let channel = self.channel_mut(other, owner);
        channel.read = (floor[slot].from, channel.sent());
    }
}

#[cfg(test)]
#[path = "checks_tests.rs"]
mod tests;
