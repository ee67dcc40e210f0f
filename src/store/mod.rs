//! Rows of one shard: reading them, changing them, and knowing when a change is safe.
//!
//! Invariants:
//! 1. A position is given to each written batch, rising by one. A batch is there whole or not at
//!    all, also after a crash.
//! 2. `durable() <= written()`, both only rise, and `synced() <= durable()`.
//! 3. What `written()` covers, every later read sees.
//! 4. After a failed write or sync a store is failed for good: it takes no batch and its durable
//!    position stands still.
//!
//! On disk: a turn's changes become one record of the `log`, whose write and sync make it durable.
//! Until an indexer has put them into the LSM (`view`) the `overlay` shows them. The log is the
//! record, the LSM is a view of it.
//!
//! Why nothing acked is lost, whenever the power goes:
//! - An ack leaves only when `durable()` has reached its batch, and that rises only when the write
//!   that holds the batch, and its sync, have succeeded (`node::log_writer` performs them).
//! - A record lies on blocks of its own, which are not written again while anybody may need it: its
//!   segment is used anew only after the LSM has synced all that the segment holds.
//! - What the LSM holds it holds with the position that it reaches, both listed in one step: after
//!   a crash it is at some position p, and each record behind p is still in the log.
//! - A start replays the records from p + 1 on, as long as one follows the other; each has a
//!   checksum that only its own segment, in its present use, can have. What was never acked may end
//!   torn; a gap below something that was synced is damage, and the start changes nothing.
//!
//! With `Durability::Async` the same holds for a death of the process, with "written" for "synced".
//! The log's own invariants, and where each is kept and tested, are at the head of `log`.
//!
//! Left to others: what rows mean (`chat`), when to sync (`node`).

pub mod aligned;
pub mod batch;
mod blocks;
pub mod cut;
pub mod inventory;
pub mod keys;
pub mod log;
pub mod logged;
pub mod manifest;
pub mod memory;
pub mod overlay;
pub mod parts;
pub mod recent;
pub mod rows;
pub mod seal;
#[cfg(test)]
pub(crate) mod tests;
mod tree;
pub mod view;
pub mod warmth;

pub use batch::Batch;
use std::error::Error;
use std::ops::ControlFlow;
use std::path::PathBuf;

/// The place of a written batch in its shard's order, from 1. 0: before all.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Position(pub u64);

impl Position {
    /// The position that the next batch gets.
    pub fn next(self) -> Position {
        Position(self.0 + 1)
    }
}

/// Which way a scan runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// From `from` up.
    Forward,
    /// From below `to` down.
    Backward,
}

/// Keys `from..to`, in one direction.
#[derive(Clone, Copy, Debug)]
pub struct Range<'a> {
    /// The first key, included.
    pub from: &'a [u8],
    /// The last key, left out.
    pub to: &'a [u8],
    /// Which way.
    pub direction: Direction,
}

/// What a scan calls for each row: key, value. `Break` ends the scan.
pub type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;

/// Why the store could not do as it was told. Always a matter of the disk.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The LSM refused; every later call is refused too.
    #[error("the store on disk failed")]
    Disk(#[source] Box<fjall::Error>),
    /// Rows are there and cannot be read. Nothing has changed, and others may well be readable.
    #[error(
        "rows on the disk cannot be read; if a file of them is damaged, `anser-tools verify` says \
         which"
    )]
    Unreadable(#[source] Box<dyn Error + Send + Sync>),
    /// A row is not what was written there.
    #[error("a row cannot be read: {0}")]
    Row(#[from] rows::RowError),
    /// The folder is there, and the LSM cannot make sense of it.
    #[error(
        "the store in {} cannot be opened; nothing was changed: put it back from a copy, or \
         restore a backup",
        folder.display()
    )]
    Open {
        /// The shard's folder.
        folder: PathBuf,
        /// What the LSM says.
        source: Box<fjall::Error>,
    },
    /// The operating system refused the folder itself.
    #[error("{} cannot be used", folder.display())]
    Folder {
        /// The folder, or a file in it.
        folder: PathBuf,
        /// What it says.
        source: std::io::Error,
    },
    /// New tables would be too many, for they are merged no more.
    #[error(
        "tables are merged no more, and there are as many as may be: the server stops; if a file \
         of them is damaged, `anser-tools verify` says which"
    )]
    Unmerged(#[source] Box<StoreError>),
    /// A store holds what another shard should.
    #[error(
        "user {user} is here and at home on another shard; nothing was changed: put each shard's \
         folder back where it was"
    )]
    Misplaced {
        /// One of them.
        user: u32,
    },
    /// A part of a store is gone: opening it would lose rows.
    #[error(
        "the store in {} is damaged, {missing} is missing: put it back from a copy",
        folder.display()
    )]
    Damaged {
        /// The shard's folder.
        folder: PathBuf,
        /// Which part.
        missing: &'static str,
    },
    /// A file of a store is not what was written, or is gone.
    #[error(
        "{} is damaged, {why}; nothing was changed: put it back from a copy, or restore a backup",
        file.display()
    )]
    Broken {
        /// The file.
        file: PathBuf,
        /// In what way.
        why: &'static str,
    },
    /// A file in a store's folders is none that a server makes.
    #[error("{} is no file of the store: move it away", file.display())]
    Foreign {
        /// The file.
        file: PathBuf,
    },
    /// A write to the commit log, or its sync, went wrong.
    #[error(
        "the commit log cannot be written ({}): nothing more is acked; look at the disk, then \
         start again: all that was acked is there",
        segment.display()
    )]
    Log {
        /// The file.
        segment: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// There is too little room for what was to be written; nothing was.
    #[error("the disk has no room for it")]
    NoRoom,
    /// Acked records cannot be read.
    #[error(
        "the commit log is damaged: byte {offset} of {} should begin turn {missing}, which was \
         acked and cannot be read; nothing was changed: put the data folder back from a copy, or \
         this file alone if it is of the same start",
        segment.display()
    )]
    LogDamaged {
        /// The file.
        segment: PathBuf,
        /// Where in it.
        offset: u64,
        /// The position that should be there.
        missing: u64,
    },
    /// A segment is gone, or some of its bytes.
    #[error(
        "{} of the commit log is {why}: it may have held what was acked; nothing was changed: put \
         the data folder back as it was, or remove {} to go on without",
        segment.display(),
        record.display()
    )]
    LogMissing {
        /// The file.
        segment: PathBuf,
        /// What is the matter with it.
        why: &'static str,
        /// Where it is said that there was one.
        record: PathBuf,
    },
    /// What a log has cannot be known.
    #[error(
        "{} is damaged, which says what files the commit log beside it has; nothing was changed: \
         put it back from a copy, or, if none of them is missing or was cut short, remove it: the \
         server makes it anew",
        record.display()
    )]
    LogRecordBroken {
        /// Where it is said.
        record: PathBuf,
    },
    /// A file among the segments is none of this log.
    #[error(
        "{} is no segment of this shard's commit log: {why}; nothing was changed: put the data \
         folder back as it was",
        segment.display()
    )]
    LogForeign {
        /// The file.
        segment: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The indexer failed earlier, or is gone.
    #[error("the indexer has stopped: rows reach the store no more")]
    Indexer,
    /// Another process has it open.
    #[error("the store in {} is in use by another process", folder.display())]
    InUse {
        /// The shard's folder.
        folder: PathBuf,
    },
    /// It was opened to be read.
    #[error("the store was opened to be read, it takes no rows")]
    ReadOnly,
    /// A test asked for it.
    #[error("the store failed because a test asked for it")]
    Asked,
    /// An earlier call failed.
    #[error("the store failed earlier and takes nothing any more")]
    Failed,
}

impl StoreError {
    /// It is a matter of these rows alone: see [`StoreError::Unreadable`].
    pub fn is_of_some_rows(&self) -> bool {
        matches!(self, StoreError::Unreadable(_))
    }

    fn causes(&self) -> impl Iterator<Item = &(dyn Error + 'static)> {
        std::iter::successors(self.source(), |cause| (**cause).source())
    }

    /// Its words and those of its causes.
    pub fn in_full(&self) -> String {
        self.causes().fold(self.to_string(), |words, cause| format!("{words}: {cause}"))
    }

    /// What the operating system says, if it is behind it.
    pub fn io(&self) -> Option<&std::io::Error> {
        self.causes().find_map(|cause| cause.downcast_ref())
    }
}

/// There was too little room on the disk, or for its user: that passes.
pub fn is_want_of_room(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded)
}

/// Rows of one shard: [`logged::LoggedStore`] over [`view::View`] on disk, or
/// [`memory::MemoryStore`].
pub trait Store {
    /// Reads one row in place. `None`: no such row.
    fn get<R>(&self, key: &[u8], read: impl FnOnce(&[u8]) -> R) -> Result<Option<R>, StoreError>;

    /// Visits rows in key order (or against it).
    fn scan(&self, range: Range<'_>, visit: Visit<'_>) -> Result<(), StoreError>;

    /// Writes a batch and gives it the next position. It is durable later: see [`Store::durable`].
    fn write(&mut self, batch: &Batch) -> Result<Position, StoreError>;

    /// Wants all that was written to be on disk. Without [`Store::recent`] it is when this returns;
    /// with it, when `synced()` says so.
    fn sync(&mut self) -> Result<(), StoreError>;

    /// The position of the last written batch.
    fn written(&self) -> Position;

    /// Acks up to here may leave: as safe as the configured durability promises.
    fn durable(&self) -> Position;

    /// Up to here everything is on disk, whatever the durability.
    fn synced(&self) -> Position;

    /// Whether reading a row certainly waits for no disk.
    fn is_at_hand(&self, _key: &[u8]) -> bool {
        true
    }

    /// Reads so far that may have waited for a disk.
    fn reads_below(&self) -> u64 {
        0
    }

    /// As much waits for the disk as may: nothing more should be written for now.
    fn is_full(&self) -> bool {
        false
    }

    /// What the owner has to keep moving, if this store has such.
    fn recent(&mut self) -> Option<&mut recent::Recent> {
        None
    }
}
