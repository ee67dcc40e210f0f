//! The data folder of a stopped server, opened to be read.
//!
//! Invariants:
//! 1. The folder is locked for as long as it is open: a running server's is refused, and none
//!    starts meanwhile.
//! 2. No row and no segment is changed. The file `lock` is written, and fjall does what
//!    [`View::open_to_read`] says.
//! 3. What is read is what a server would show that starts now: the LSM's rows, and over them the
//!    turns that only the commit log has.
//!
//! The log's tail is held in memory: at most [`crate::limits::LOG_SEGMENTS_MAX`] segments, as a
//! rule far less, the last value of each row.
//!
//! Left to others: what rows mean (`chat`), going on with the folder (`recover`).

use crate::ids::ShardId;
use crate::node::data_folder::{self, DataFolderError, FolderLock};
use crate::node::log_files;
use crate::node::log_record;
use crate::node::recover::{Folders, read_heads, refuse_half, words};
use crate::store::batch::Change;
use crate::store::log::format::{COVERED_KEY, Covered, Head, Header, read_changes, record_at};
use crate::store::log::recovery::{Found, Recovery};
use crate::store::log::segments::Place;
use crate::store::manifest::Manifest;
use crate::store::memory::MemoryStore;
use crate::store::overlay::Overlay;
use crate::store::view::View;
use crate::store::{Batch, Position, Range, Store, StoreError, Visit};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// Bytes of table blocks that each shard's store keeps in memory.
const CACHE_BYTES: u64 = 32 * 1024 * 1024;

/// Why a folder is not read.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// The folder cannot be used.
    #[error(transparent)]
    DataFolder(#[from] DataFolderError),
    /// A shard's rows cannot be opened.
    #[error("shard {0} cannot be read")]
    Store(ShardId, #[source] StoreError),
}

/// A data folder that no server uses.
pub struct Offline {
    /// What it says of itself.
    pub manifest: Manifest,
    /// Its shards, in order.
    pub shards: Vec<OfflineShard>,
    lock: FolderLock,
}

impl Offline {
    /// Opens all shards of a folder.
    pub fn open(data: &Path) -> Result<Offline, OfflineError> {
        let (manifest, lock) = data_folder::open_stopped(data)?;
        let shards = open_shards(data, &manifest)?;
        Ok(Offline { manifest, shards, lock })
    }

    /// The manifest's file, if it was damaged or gone and is put back.
    pub fn mended(&self) -> Option<&Path> {
        self.lock.mended()
    }
}

/// Opens the shards that a manifest names, in a folder whose lock is held.
pub fn open_shards(data: &Path, manifest: &Manifest) -> Result<Vec<OfflineShard>, OfflineError> {
    let open = |shard: ShardId| {
        let opened = OfflineShard::open(shard, &data_folder::home(data, manifest, shard));
        opened.map_err(|error| OfflineError::Store(shard, error))
    };
    (0..manifest.shards).map(ShardId).map(open).collect()
}

/// What the LSM of a shard is; a shard that a first start did not get to make has none.
enum Below {
    View(View),
    Nothing(Box<MemoryStore>),
}

/// One shard. It is a [`Store`] that takes nothing.
pub struct OfflineShard {
    /// Which one.
    pub shard: ShardId,
    /// How much of the log the LSM holds.
    pub covered: Covered,
    /// The last turn there is.
    pub last: Position,
    log_folder: PathBuf,
    segments: Vec<(Header, Place)>,
    below: Below,
    tail: Overlay,
}

/// A record of a log.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    /// The position of its turn.
    pub position: Position,
    /// The file that it is in.
    pub place: Place,
    /// Where it begins there, in bytes.
    pub offset: u64,
    bytes: &'a [u8],
    changes: u32,
}

/// Records that ought to be in a segment and cannot be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Gap {
    /// The file.
    pub segment: PathBuf,
    /// Where reading ended.
    pub offset: u64,
    /// The first position that cannot be read.
    pub first: Position,
    /// The first one that is there again.
    pub next: Position,
}

impl<'a> Record<'a> {
    /// Row changes in it.
    pub fn count(&self) -> u32 {
        self.changes
    }

    /// Bytes of it.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Visits its row changes; `None`: it does not hold what it says.
    pub fn changes(&self, visit: impl FnMut(&'a [u8], Change<'a>)) -> Option<()> {
        read_changes(self.bytes, self.changes, visit)
    }
}

impl OfflineShard {
    /// Opens the shard in `folder`.
    pub fn open(shard: ShardId, folder: &Path) -> Result<OfflineShard, StoreError> {
        let folders = Folders::of(folder);
        let (places, _) = log_files::find(&folders.log)?;
        let found = read_heads(&folders.log, &places)?;
        refuse_half(&folders, &found)?;
        log_record::refuse_missing(&folders.log, &places)?;
        let (below, covered) = if View::is_absent(&folders.rows)? {
            let covered = Covered { log: 0, position: Position(0), first_sequence: 1 };
            (Below::Nothing(Box::default()), covered)
        } else {
            let view = View::open_to_read(&folders.rows, CACHE_BYTES)?;
            let covered = view.covered(&folders.rows)?;
            (Below::View(view), covered)
        };
        let (tail, last) = read_tail(covered, &folders.log, &places, &found)?;
        let header = |(place, found): (&Place, &Found)| match found.head {
            Head::Segment(header) => Some((header, *place)),
            _ => None,
        };
        let mut segments: Vec<_> = places.iter().zip(&found).filter_map(header).collect();
        segments.sort_by_key(|(header, _)| header.sequence);
        Ok(OfflineShard { shard, covered, last, log_folder: folders.log, segments, below, tail })
    }

    /// Visits the log's records from one position to another, both included, as far as segments
    /// still hold them. Reads a segment at a time into memory.
    pub fn records(
        &self,
        from: Position,
        to: Position,
        visit: &mut dyn FnMut(Record<'_>) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        for (index, (header, place)) in self.segments.iter().enumerate() {
            let next = self.next_first(index).unwrap_or(self.last.next());
            if next <= from || header.first > to {
                continue;
            }
            let bytes = log_files::read(&self.log_folder, place.number, place.bytes)?;
            let mut walk = Walk::new(&bytes, *header, *place);
            while let Some(record) = walk.next() {
                if record.position >= next || record.position > to {
                    break;
                }
                if record.position >= from && visit(record).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Files of the LSM that were damaged when this was opened, and put back from second copies.
    pub fn mended(&self) -> &[PathBuf] {
        match &self.below {
            Below::View(view) => view.mended(),
            Below::Nothing(_) => &[],
        }
    }

    /// Files of the LSM that are not what was written. Reads them all.
    pub fn changed_files(&self) -> Result<Vec<PathBuf>, StoreError> {
        match &self.below {
            Below::View(view) => view.changed_files(),
            Below::Nothing(_) => Ok(Vec::new()),
        }
    }

    /// Reads every segment. Returns how many records are whole, and what is missing among those
    /// that the LSM holds too (what only the log has was read when the shard was opened).
    pub fn check_log(&self) -> Result<(u64, Vec<Gap>), StoreError> {
        let (mut whole, mut gaps) = (0, Vec::new());
        for (index, (header, place)) in self.segments.iter().enumerate() {
            let bytes = log_files::read(&self.log_folder, place.number, place.bytes)?;
            let mut walk = Walk::new(&bytes, *header, *place);
            let next = self.next_first(index);
            let end = next.unwrap_or(Position(u64::MAX));
            while walk.position < end
                && let Some(record) = walk.next()
            {
                if record.changes(|_, _| ()).is_none() {
                    break;
                }
                whole += 1;
            }
            if let Some(next) = next.filter(|next| walk.position < *next) {
                let segment = log_files::path(&self.log_folder, place.number);
                let (offset, first) = (walk.at as u64, walk.position);
                gaps.push(Gap { segment, offset, first, next });
            }
        }
        Ok((whole, gaps))
    }

    /// The first position of the segment that was begun after this one, if it is still there.
    fn next_first(&self, index: usize) -> Option<Position> {
        let (next, _) = self.segments.get(index + 1)?;
        let follows = next.sequence == self.segments[index].0.sequence + 1;
        follows.then_some(next.first)
    }

    /// The path of a segment.
    pub fn path(&self, place: Place) -> PathBuf {
        log_files::path(&self.log_folder, place.number)
    }
}

/// A segment being read.
struct Walk<'a> {
    bytes: &'a [u8],
    header: Header,
    place: Place,
    at: usize,
    position: Position,
}

impl<'a> Walk<'a> {
    fn new(bytes: &'a [u8], header: Header, place: Place) -> Walk<'a> {
        let at = crate::store::aligned::BLOCK_BYTES;
        Walk { bytes, header, place, at, position: header.first }
    }

    fn next(&mut self) -> Option<Record<'a>> {
        let (start, head) = record_at(self.bytes, self.at, self.header, self.position)?;
        self.at = start + head.length;
        let (position, place) = (self.position, self.place);
        self.position = position.next();
        let bytes = &self.bytes[start..self.at];
        Some(Record { position, place, offset: start as u64, bytes, changes: head.changes })
    }
}

/// The turns that the LSM lacks, and the last position there is.
fn read_tail(
    covered: Covered,
    folder: &Path,
    places: &[Place],
    found: &[Found],
) -> Result<(Overlay, Position), StoreError> {
    let refused = |refusal| words(folder, refusal);
    let mut recovery = Recovery::new(covered, found).map_err(refused)?;
    let (mut tail, mut batch, mut last) = (Overlay::default(), Batch::new(), covered.position);
    for number in recovery.order() {
        let place = places.iter().find(|place| place.number == number);
        let bytes = place.expect("only files that were found are read").bytes;
        let bytes = log_files::read(folder, number, bytes)?;
        recovery.read(number, &bytes, |position, key, change| {
            if position > last && !batch.is_empty() {
                tail.apply(&batch, last);
                batch.clear();
            }
            last = position;
            match change {
                Change::Put(value) => batch.put(key, value),
                Change::Remove => batch.remove(key),
            }
        });
    }
    if !batch.is_empty() {
        tail.apply(&batch, last);
    }
    Ok((tail, recovery.finish().map_err(refused)?.last))
}

impl Store for OfflineShard {
    fn get<R>(&self, key: &[u8], read: impl FnOnce(&[u8]) -> R) -> Result<Option<R>, StoreError> {
        match (self.tail.get(key), &self.below) {
            (Some(Change::Put(value)), _) => Ok(Some(read(value))),
            (Some(Change::Remove), _) => Ok(None),
            (None, _) if key == COVERED_KEY => Ok(None),
            (None, Below::View(view)) => view.get(key, read),
            (None, Below::Nothing(store)) => store.get(key, read),
        }
    }

    fn scan(&self, range: Range<'_>, visit: Visit<'_>) -> Result<(), StoreError> {
        // The word how much of the log the LSM holds is no row of the shard.
        let mut visit = |key: &[u8], value: &[u8]| match key {
            COVERED_KEY => ControlFlow::Continue(()),
            _ => visit(key, value),
        };
        match &self.below {
            Below::View(view) => self.tail.scan(view, range, &mut visit),
            Below::Nothing(store) => self.tail.scan(&**store, range, &mut visit),
        }
    }

    fn write(&mut self, _: &Batch) -> Result<Position, StoreError> {
        Err(StoreError::ReadOnly)
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn written(&self) -> Position {
        self.last
    }

    fn durable(&self) -> Position {
        self.last
    }

    fn synced(&self) -> Position {
        self.last
    }
}

#[cfg(test)]
#[path = "offline_tests.rs"]
mod tests;
