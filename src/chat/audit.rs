//! Whether the rows of a stopped server agree: everything that can be computed from the messages
//! is, and compared with what is there.
//!
//! Invariants:
//! 1. Rows that the rules have made give no finding, whatever crashed when.
//! 2. A changed, missing or extra row of any kind gives a finding that names it.
//! 3. What a power cut with `async` may leave gives findings that say so: the homes of two users
//!    disagree about what was between them, and each of the two agrees with itself.
//!
//! Memory is bounded by one user's chats, however many users and messages there are.
//!
//! In order: `rows` looks at each row by itself, `users` replays each history, `streams` compares
//! what shards sent each other.
//!
//! Left to others: opening the rows and the log's records (`node::offline`), printing.

mod chats;
mod rows;
mod streams;
mod users;

use crate::ids::{ShardId, UserId};
use crate::store::parts::words;
use crate::store::rows::{ChatRow, RowError, read_owned};
use crate::store::{Direction, Range, Store, StoreError};
use rkyv::api::high::{HighDeserializer, HighValidator};
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor::Error as ArchiveError;
use rkyv::{Archive, Deserialize, Portable};
use std::fmt;
use std::ops::ControlFlow;
use streams::Sums;

/// Users looked at between two scans for more.
const USERS_STEP: usize = 1024;

/// A row that is not as it should be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// The shard whose row it is.
    pub shard: ShardId,
    /// The row's key.
    pub key: Vec<u8>,
    /// Which part of it.
    pub part: &'static str,
    /// What follows from other rows.
    pub expected: String,
    /// What is there.
    pub found: String,
    /// Two homes disagree: a power cut with `async` may leave that (invariant 3).
    pub is_parted: bool,
}

impl fmt::Display for Finding {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { shard, key, part, expected, found, is_parted } = self;
        let key = words(key);
        write!(to, "shard {shard}, {key}: {part}: expected {expected}, found {found}")?;
        if *is_parted { to.write_str(" (two homes disagree)") } else { Ok(()) }
    }
}

/// What was looked at.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Counts {
    /// Rows of all kinds.
    pub rows: u64,
    /// Users.
    pub users: u64,
    /// Messages; one between two users is in both histories.
    pub messages: u64,
    /// Chats, listed or not.
    pub chats: u64,
    /// Of these, how many have been found to be parted: their owner was sent what he had already.
    pub parted_chats: u64,
    /// Messages that wait for an ack.
    pub waiting: u64,
    /// Messages on their way between shards.
    pub relays: u64,
    /// Messages that wait until their recipient's rows can be read.
    pub aside: u64,
    /// Findings.
    pub findings: u64,
    /// Of these, how many a power cut with `async` may have left.
    pub parted: u64,
}

/// What a part of the audit needs.
struct Audit<'a, S: Store> {
    shards: &'a [&'a S],
    report: &'a mut dyn FnMut(Finding),
    counts: Counts,
    sums: Sums,
}

/// Looks at all rows of all shards; `report` gets each finding. An error: rows cannot be read.
pub fn run<S: Store>(shards: &[&S], report: &mut dyn FnMut(Finding)) -> Result<Counts, StoreError> {
    let mut audit = Audit { shards, report, counts: Counts::default(), sums: Sums::default() };
    for shard in audit.places() {
        audit.check_rows(shard)?;
    }
    for shard in audit.places() {
        audit.check_users(shard)?;
    }
    for shard in audit.places() {
        audit.check_outbox(shard)?;
        audit.check_aside(shard)?;
    }
    audit.check_sums()?;
    Ok(audit.counts)
}

/// The same; gives the first finding that no power cut with `async` leaves.
pub fn damage<S: Store>(shards: &[&S]) -> Result<(Counts, Option<Finding>), StoreError> {
    let mut first = None;
    let counts = run(shards, &mut |finding| {
        if !finding.is_parted {
            first.get_or_insert(finding);
        }
    })?;
    Ok((counts, first))
}

impl<'a, S: Store> Audit<'a, S> {
    fn places(&self) -> impl Iterator<Item = ShardId> + use<S> {
        (0..self.shards.len() as u16).map(ShardId)
    }

    fn count(&self) -> u16 {
        self.shards.len() as u16
    }

    fn store(&self, shard: ShardId) -> &'a S {
        self.shards[usize::from(shard.0)]
    }

    fn home(&self, user: UserId) -> &'a S {
        self.store(user.home(self.count()))
    }

    fn find(&mut self, finding: Finding) {
        self.counts.findings += 1;
        self.counts.parted += u64::from(finding.is_parted);
        (self.report)(finding);
    }

    /// A finding if two values differ.
    fn expect<T: PartialEq + fmt::Debug>(
        &mut self,
        at: (ShardId, &[u8]),
        part: &'static str,
        expected: T,
        found: T,
    ) {
        self.expect_of(at, false, part, expected, found);
    }

    /// The same, of what two homes may disagree about.
    fn expect_of<T: PartialEq + fmt::Debug>(
        &mut self,
        (shard, key): (ShardId, &[u8]),
        is_parted: bool,
        part: &'static str,
        expected: T,
        found: T,
    ) {
        if expected != found {
            let (expected, found) = (format!("{expected:?}"), format!("{found:?}"));
            self.find(Finding { shard, key: key.to_vec(), part, expected, found, is_parted });
        }
    }

    /// A finding about a whole row.
    fn miss(&mut self, (shard, key): (ShardId, &[u8]), expected: &str, found: &str) {
        let (expected, found) = (expected.to_owned(), found.to_owned());
        let (key, part, is_parted) = (key.to_vec(), "row", false);
        self.find(Finding { shard, key, part, expected, found, is_parted });
    }
}

/// A row that can be read; one that cannot was found by `rows`.
fn row<R>(store: &impl Store, key: &[u8]) -> Result<Option<R>, StoreError>
where
    R: Archive,
    R::Archived: Portable
        + for<'a> CheckBytes<HighValidator<'a, ArchiveError>>
        + Deserialize<R, HighDeserializer<ArchiveError>>,
{
    Ok(store.get(key, read_owned::<R>)?.and_then(Result::ok))
}

/// A chat, in its owner's list or not.
fn chat(store: &impl Store, owner: UserId, peer: UserId) -> Result<Option<ChatRow>, StoreError> {
    use crate::store::keys::Key;
    match row::<ChatRow>(store, &Key::chat(owner, peer))? {
        Some(chat) => Ok(Some(chat)),
        None => row::<ChatRow>(store, &Key::hidden_chat(owner, peer)),
    }
}

/// Visits keys `from..to`, upwards; the first error ends it.
fn scan(
    store: &impl Store,
    from: &[u8],
    to: &[u8],
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut outcome = Ok(());
    store.scan(Range { from, to, direction: Direction::Forward }, &mut |key, value| {
        outcome = visit(key, value);
        if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    outcome
}

/// An error's words, for a finding.
fn said(error: RowError) -> String {
    error.to_string()
}
