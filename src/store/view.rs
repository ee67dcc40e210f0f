//! Rows of one shard on disk, in fjall. This folder alone knows fjall.
//!
//! Invariants:
//! 1. What `write` and `apply` returned for is on disk: a table of its own, and what lies apart
//!    from it, synced before they are listed. No journal is written, so none can be damaged.
//! 2. A store that opened holds every row that was synced: a folder with a part missing is
//!    refused, it is never taken for an empty one.
//! 3. A store is made whole or not at all: it is made under another name and then renamed.
//! 4. Rows of the log and the position up to which they reach come in one table: whatever a crash
//!    leaves, the row of [`COVERED_KEY`] says what is there.
//!
//! Left to others: the lock on the data folder (`node::data_folder`), what makes a turn durable
//! (`log`), when to apply and sync (`node::indexer`).

use super::is_want_of_room;
use super::log::format::{COVERED_KEY, Covered};
use super::overlay::chunk::Chunk;
use super::overlay::lasting::lasting;
use super::{Batch, Direction, Position, Range, Store, StoreError, Visit, batch::Change};
use crate::limits::APART_TABLE_BYTES;
use arc_swap::ArcSwap;
use brake::Braked;
use fjall::{AbstractTree, Database, Keyspace};
use lsm_tree::compaction::{CompactionStrategy, MoveDown, PullDown};
use lsm_tree::{InternalValue, Table};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

mod brake;
mod contents;
#[cfg(test)]
mod contents_tests;
mod copies;
mod leaving;
mod link;
mod listed;
mod lists;
mod opening;
pub mod packs;
mod table;
#[cfg(test)]
pub(crate) mod tests;
pub mod tiers;

pub use brake::{Brake, Folders, Writer, Written};
use copies::Copies;
use listed::Listed;
use opening::{create, open_database, open_rows, refuse_damage};
use packs::Numbered;
use tiers::{Lane, Levels, Step};

const KEYSPACE: &str = "rows";
/// Where keyspaces are, by their numbers.
const KEYSPACES: &str = "keyspaces";
/// Where a keyspace has its tables.
const TABLES: &str = "tables";
/// Where it has what lies apart from them.
const CONTENTS: &str = "blobs";

/// A store in a folder of its own. Positions are counted from 0 again after each opening: what
/// was found is durable.
pub struct View {
    listed: Listed,
    // Dropped before the database: the last handle of the database waits for its threads.
    rows: Keyspace,
    database: Database,
    braked: Braked,
    written: Position,
    synced: Position,
    failed: bool,
    /// Bytes that a table is made of from which on its large values lie apart.
    apart_from: usize,
    /// Files of contents that were stale before the last merge of what is old, and are: tables of
    /// other levels speak of them.
    unmovable: Arc<ArcSwap<BTreeSet<u64>>>,
    copies: Copies,
    /// Files that were damaged and put back when this was opened.
    mended: Vec<PathBuf>,
}

impl View {
    /// Opens the store in `folder`, or makes it with no rows but `beginning`. `cache_bytes`: blocks
    /// of tables kept in memory. Blocks until all that an earlier process wrote is replayed.
    pub fn open(folder: &Path, beginning: Covered, cache_bytes: u64) -> Result<View, StoreError> {
        if View::is_absent(folder)? {
            create(folder, beginning)?;
        }
        View::open_existing(folder, cache_bytes)
    }

    /// Opens a store that is there, to read it. No row changes and no table is made or merged: all
    /// that fjall does is to take its lock, sync its journal, and remove tables and lists of tables
    /// that are not in force, as every opening does.
    pub fn open_to_read(folder: &Path, cache_bytes: u64) -> Result<View, StoreError> {
        View::open_existing(folder, cache_bytes)
    }

    fn open_existing(folder: &Path, cache_bytes: u64) -> Result<View, StoreError> {
        let copies = Copies::of(folder);
        let mended = copies.mend()?;
        refuse_damage(folder)?;
        let braked = Braked::default();
        let told = |error| lists::tell(folder, error);
        let database = open_database(folder, cache_bytes, &braked).map_err(told)?;
        if !database.keyspace_exists(KEYSPACE) {
            return Err(damaged(folder, "its rows"));
        }
        let rows = open_rows(&database, folder).map_err(told)?;
        // A store without copies is as good as ever, until it is damaged.
        let _ = copies.renew_all();
        let listed = Listed::of(&rows.tree);
        Ok(View { mended, ..View::showing(listed, rows, database, braked, copies) })
    }

    fn showing(
        listed: Listed,
        rows: Keyspace,
        database: Database,
        braked: Braked,
        copies: Copies,
    ) -> View {
        View {
            listed,
            rows,
            database,
            braked,
            written: Position::default(),
            synced: Position::default(),
            failed: false,
            apart_from: APART_TABLE_BYTES,
            unmovable: Arc::default(),
            copies,
            mended: Vec::new(),
        }
    }

    /// Files that were damaged when this was opened, and put back from their second copies.
    pub fn mended(&self) -> &[PathBuf] {
        &self.mended
    }

    /// Nothing was ever stored here: no such folder, or an empty one.
    pub fn is_absent(folder: &Path) -> Result<bool, StoreError> {
        match fs::read_dir(folder) {
            Ok(mut entries) => Ok(entries.next().is_none()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) => Err(unreadable(folder, error)),
        }
    }

    /// Another handle on the same rows, for reading on another thread.
    pub fn reader(&self) -> View {
        let (rows, database) = (self.rows.clone(), self.database.clone());
        let (listed, braked) = (self.listed.clone(), self.braked.clone());
        let view = View::showing(listed, rows, database, braked, self.copies.clone());
        View { unmovable: self.unmovable.clone(), ..view }
    }

    /// The LSM has another list: shows it to readers, and keeps a second copy of it.
    fn show_list(&self) {
        self.listed.renew(&self.rows.tree);
        // Where there is no room for it the next list tries again; nothing else is the worse.
        let _ = self.copies.renew(self.rows.path());
    }

    /// Slows down whoever writes tables from now on, the LSM's own threads too.
    pub fn brake(&self, brake: Arc<dyn Brake>) {
        let [tables, contents] = [TABLES, CONTENTS].map(|folder| self.rows.path().join(folder));
        self.braked.set(brake, Folders { tables, contents });
    }

    /// An error of reading: in its place, which file is not what was written, if one is. May read
    /// all files.
    pub fn told(&self, error: StoreError) -> StoreError {
        match self.rows.path().ancestors().nth(2) {
            Some(folder) => lists::tell(folder, error),
            None => error,
        }
    }

    /// Files of the store that are not what was written. Reads them all.
    pub fn changed_files(&self) -> Result<Vec<PathBuf>, StoreError> {
        lists::changed(lists::files(self.rows.path())?).collect()
    }

    /// How much of the log the rows hold.
    pub fn covered(&self, folder: &Path) -> Result<Covered, StoreError> {
        let covered =
            self.get(COVERED_KEY, Covered::parse).map_err(|error| lists::tell(folder, error))?;
        let covered = covered.flatten();
        covered.ok_or_else(|| damaged(folder, "the word how much of the log it holds"))
    }

    /// Applies chunks, oldest first, together with the position up to which the log is covered
    /// then. All of it is on disk when this returns. Takes as long as the disk does. Returns in how
    /// many groups of rows what was to go stays, because what they were packed with cannot be read.
    pub fn apply(&mut self, chunks: &[Arc<Chunk>], covered: Covered) -> Result<u64, StoreError> {
        let word = covered.print();
        let word = std::iter::once((COVERED_KEY, Change::Put(&word[..])));
        let braked = self.braked.clone();
        let bytes = chunks.iter().map(|chunk| chunk.size()).sum();
        self.ingest(bytes, word.chain(lasting(chunks, || braked.rest())))
    }

    /// New tables that were not merged: they slow down every read.
    pub fn new_tables(&self) -> usize {
        self.rows.l0_table_count()
    }

    /// What the store holds.
    pub fn levels(&self) -> Levels {
        let version = self.rows.tree.current_version();
        let mut levels = Levels::default();
        for (found, level) in version.iter_levels().zip(&mut levels.levels) {
            (level.runs, level.tables) = (found.run_count(), found.table_count());
            level.bytes = found.size();
        }
        for table in version.iter_tables() {
            levels.rows += table.metadata.item_count;
            levels.marks += table.metadata.tombstone_count;
        }
        levels.contents = version.blob_files.on_disk_size();
        let unmovable = self.unmovable.load();
        for stale in contents::stale(&self.rows.tree) {
            levels.rest += stale.rest;
            levels.stale += if unmovable.contains(&stale.file) { 0 } else { stale.bytes };
        }
        levels
    }

    /// Merges or moves tables. The result is on disk when this returns, after seconds to minutes;
    /// others read, apply and merge meanwhile, but not the same levels. Given up with an error when
    /// the brake says so: then nothing has changed, and so it is after any error.
    pub fn merge(&self, lane: Lane, step: Step) -> Result<(), StoreError> {
        let stale = if lane == Lane::Old { contents::stale(&self.rows.tree) } else { Vec::new() };
        brake::merge_in(lane, self.apart_of_each(step, &stale));
        self.note_leaving(step);
        // Every reader reads what is newest, so nothing older is kept for any.
        let newest = self.rows.tree.get_highest_seqno().unwrap_or(0);
        let strategy: Arc<dyn CompactionStrategy> = match step {
            Step::Merge(from, to) => Arc::new(PullDown(from, to)),
            Step::Move(from, to) => Arc::new(MoveDown(from, to)),
        };
        let outcome = self.rows.tree.compact(strategy, newest);
        self.show_list();
        outcome.map_err(disk)?;
        match (lane, step) {
            (Lane::Old, _) => self.note_unmovable(&stale),
            // What hindered may have come to where it hinders no more.
            (Lane::Middle, Step::Move(..)) => self.unmovable.store(Arc::default()),
            _ => {}
        }
        self.listed.tidy(&self.rows.tree, self.rows.path()).map_err(disk)
    }

    /// How many bytes of what lies apart a merge writes anew for each of its rows, about.
    fn apart_of_each(&self, step: Step, stale: &[contents::Stale]) -> usize {
        let Step::Merge(from, to) = step else { return 0 };
        let mut rows = 0;
        self.each_table([from, to], |table| rows += table.metadata.item_count);
        let bytes: u64 = stale.iter().map(|stale| stale.rest).sum();
        bytes.div_ceil(rows.max(1)) as usize
    }

    /// Shows the tables of two levels.
    fn each_table(&self, levels: [u8; 2], visit: impl FnMut(&Table)) {
        let version = self.rows.tree.current_version();
        let levels = levels.into_iter().filter_map(|level| version.level(usize::from(level)));
        levels.flat_map(|level| level.iter().flat_map(|run| run.iter())).for_each(visit);
    }

    /// What was stale before and is has not gone, and would not the next time.
    fn note_unmovable(&self, before: &[contents::Stale]) {
        let was_there = |file: &u64| before.iter().any(|stale| stale.file == *file);
        let now = contents::stale(&self.rows.tree).into_iter().map(|stale| stale.file);
        self.unmovable.store(Arc::new(now.filter(was_there).collect()));
    }

    /// Merges until there are fewer new tables than that; nobody else merges meanwhile.
    pub fn merge_to(&self, new_tables: usize) -> Result<(), StoreError> {
        while self.new_tables() >= new_tables {
            let levels = self.levels();
            let due = |lane: &Lane| Some((*lane, lane.next(&levels)?));
            let Some((lane, step)) = Lane::ALL.iter().find_map(due) else { break };
            self.merge(lane, step)?;
        }
        Ok(())
    }

    /// Makes one table of so many bytes of changes in the order of their keys. Neither a journal
    /// nor a list in memory stands between: the log is the journal, the overlay the list.
    fn ingest<'a>(
        &mut self,
        bytes: usize,
        changes: impl Iterator<Item = (&'a [u8], Change<'a>)>,
    ) -> Result<u64, StoreError> {
        if self.failed {
            return Err(StoreError::Failed);
        }
        let meter = self.braked.meter(Writer::Indexer);
        let (tree, are_apart) = (&self.rows.tree, bytes >= self.apart_from);
        let outcome = table::write(tree, &self.listed, changes, are_apart, meter);
        self.show_list();
        self.checked(outcome)
    }

    /// Keeps the first error in mind for good, but for want of room: then no table was listed, and
    /// the same may be tried again.
    fn checked<T>(&mut self, outcome: Result<T, StoreError>) -> Result<T, StoreError> {
        match outcome {
            Err(error) if error.io().is_some_and(is_want_of_room) => Err(StoreError::NoRoom),
            outcome => outcome.inspect_err(|_| self.failed = true),
        }
    }
}

impl Store for View {
    fn get<R>(&self, key: &[u8], read: impl FnOnce(&[u8]) -> R) -> Result<Option<R>, StoreError> {
        let Some(row) = Numbered::of(key) else {
            let value = self.listed.get(key).map_err(unread)?;
            return Ok(value.map(|value| read(&value)));
        };
        for home in row.homes() {
            if let Some(value) = self.listed.get(&home.key(home.number)).map_err(unread)?
                && let Some(value) = home.find(row.number, &value)?
            {
                return Ok(Some(read(value)));
            }
        }
        Ok(None)
    }

    fn scan(&self, range: Range<'_>, visit: Visit<'_>) -> Result<(), StoreError> {
        if range.from >= range.to {
            return Ok(());
        }
        let floor = Numbered::beginning(range.from);
        let rows = self.listed.scan(floor.as_deref().unwrap_or(range.from), range.to);
        match range.direction {
            Direction::Forward => visit_each(rows, range, visit),
            Direction::Backward => visit_each(rows.rev(), range, visit),
        }
    }

    fn write(&mut self, batch: &Batch) -> Result<Position, StoreError> {
        let mut changes: Vec<_> = batch.iter().collect();
        changes.sort_unstable_by_key(|(key, _)| *key);
        self.ingest(batch.size(), changes.into_iter())?;
        self.written = self.written.next();
        Ok(self.written)
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        if self.failed {
            return Err(StoreError::Failed);
        }
        self.synced = self.written;
        Ok(())
    }

    fn written(&self) -> Position {
        self.written
    }

    fn durable(&self) -> Position {
        self.synced
    }

    fn synced(&self) -> Position {
        self.synced
    }
}

/// Shows rows as they were given, whatever packs they lie in.
fn visit_each(
    rows: impl Iterator<Item = lsm_tree::Result<InternalValue>>,
    range: Range<'_>,
    visit: Visit<'_>,
) -> Result<(), StoreError> {
    for row in rows {
        let row = row.map_err(unread)?;
        let (key, value) = (&row.key.user_key, &row.value);
        let flow = match Numbered::of(key) {
            None => visit(key, value),
            Some(home) => {
                let mut show = |(number, value): (u64, &[u8])| {
                    let key = home.key(number);
                    let is_meant = *range.from <= *key && *key < *range.to;
                    if is_meant { visit(&key, value) } else { ControlFlow::Continue(()) }
                };
                match range.direction {
                    Direction::Forward => home.rows(value)?.try_for_each(&mut show),
                    Direction::Backward => home.rows(value)?.rev().try_for_each(&mut show),
                }
            }
        };
        if flow.is_break() {
            break;
        }
    }
    Ok(())
}

fn disk(error: impl Into<fjall::Error>) -> StoreError {
    StoreError::Disk(Box::new(error.into()))
}

/// An error of reading, which writes nothing.
fn unread(error: lsm_tree::Error) -> StoreError {
    StoreError::Unreadable(Box::new(error))
}

fn refused(folder: &Path, error: fjall::Error) -> StoreError {
    match error {
        fjall::Error::Locked => StoreError::InUse { folder: folder.to_owned() },
        error => StoreError::Open { folder: folder.to_owned(), source: Box::new(error) },
    }
}

fn unreadable(folder: &Path, source: io::Error) -> StoreError {
    StoreError::Folder { folder: folder.to_owned(), source }
}

fn damaged(folder: &Path, missing: &'static str) -> StoreError {
    StoreError::Damaged { folder: folder.to_owned(), missing }
}
