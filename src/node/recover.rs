//! Opening a shard's store: the LSM, then what the log holds beyond it.
//!
//! Invariants:
//! 1. When this returns, the LSM holds all that was ever acked, on disk, and the log begins a
//!    segment that no record is in.
//! 2. A log without its LSM, or an LSM without its log, is refused.
//! 3. Rows that were put back get a new log: no segment of the old one is ever taken for its own.
//! 4. However often a server ends just after its start, and however little was merged, the LSM
//!    never gets more new tables than it can count (255; it would write a list of them that cannot
//!    be read again).
//!
//! Left to others: reading records (`store::log::recovery`), which thread does it (`indexer`).

use crate::limits::{FIRST_SEGMENT_BYTES, STORE_NEW_TABLES_MAX};
use crate::node::log_files::{self, LogFiles};
use crate::node::log_record;
use crate::store::aligned::BLOCK_BYTES;
use crate::store::log::format::{Covered, Header};
use crate::store::log::recovery::{Found, Recovery, Refusal};
use crate::store::log::segments::Place;
use crate::store::log::{Beginning, Durability, Log};
use crate::store::overlay::chunk::Chunk;
use crate::store::view::{Brake, View};
use crate::store::{Position, StoreError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A store that is ready, for its shard.
pub struct Opened {
    /// Reads what the LSM has.
    pub view: View,
    /// The log, to go on.
    pub log: Log,
    /// Its files.
    pub files: LogFiles,
}

/// The same, for the indexer.
pub struct Writable {
    /// Writes to the LSM.
    pub view: View,
    /// What it covers.
    pub covered: Covered,
    /// Where the LSM is.
    pub rows_folder: PathBuf,
    /// Where segments are made.
    pub log_folder: PathBuf,
    /// The number of the next segment's file.
    pub next_number: u32,
}

/// Where everything of a shard is.
pub(super) struct Folders {
    pub rows: PathBuf,
    pub log: PathBuf,
}

impl Folders {
    pub fn of(shard: &Path) -> Folders {
        Folders { rows: shard.join("rows"), log: shard.join("log") }
    }
}

/// Opens the store in `folder`, or makes it. `identity` becomes the number of a new log.
pub fn open(
    folder: &Path,
    identity: u64,
    durability: Durability,
    cache_bytes: u64,
) -> Result<(Opened, Writable), StoreError> {
    open_braked(folder, identity, durability, cache_bytes, None)
}

/// The same, with a brake on all that goes into tables from the beginning.
pub fn open_braked(
    folder: &Path,
    identity: u64,
    durability: Durability,
    cache_bytes: u64,
    brake: Option<Arc<dyn Brake>>,
) -> Result<(Opened, Writable), StoreError> {
    let folders = Folders::of(folder);
    let places = log_files::list(&folders.log)?;
    let found = read_heads(&folders.log, &places)?;
    refuse_half(&folders, &found)?;
    log_record::refuse_missing(&folders.log, &places)?;
    let places = match places.is_empty() {
        true => vec![make_first(&folders.log)?],
        false => places,
    };
    log_record::note(&folders.log, &places)?;
    let beginning = Covered { log: identity, position: Position(0), first_sequence: 1 };
    let mut view = View::open(&folders.rows, beginning, cache_bytes)?;
    tell_of_mended(view.mended());
    if let Some(brake) = &brake {
        view.brake(brake.clone());
    }
    wait_for_merging(&view, brake.as_deref())?;
    let covered = view.covered(&folders.rows)?;
    let covered = replay(&mut view, covered, &folders.log, &places, &found)?;
    let mut files = LogFiles::new(folders.log.clone());
    for place in &places {
        files.add(place.number, log_files::open(&folders.log, place.number)?);
    }
    let next_number = places.iter().map(|place| place.number).max().map_or(0, |last| last + 1);
    let Covered { log, position: written, first_sequence: next_sequence } = covered;
    let log = Log::new(Beginning { log, written, next_sequence, free: places }, durability);
    let opened = Opened { view: view.reader(), log, files };
    let Folders { rows: rows_folder, log: log_folder } = folders;
    Ok((opened, Writable { view, covered, rows_folder, log_folder, next_number }))
}

/// Gives rows that were put back, in `folder`, a log to go on with, which becomes `identity`.
/// There must be no log yet. All of it is on disk when this returns.
pub fn adopt(folder: &Path, identity: u64) -> Result<(), StoreError> {
    let folders = Folders::of(folder);
    if let Some(place) = log_files::list(&folders.log)?.first() {
        let segment = log_files::path(&folders.log, place.number);
        let why = "the rows beside it were put back without it";
        return Err(StoreError::LogForeign { segment, why });
    }
    if View::is_absent(&folders.rows)? {
        return Err(StoreError::Damaged { folder: folders.rows, missing: "all of it" });
    }
    let beginning = Covered { log: identity, position: Position(0), first_sequence: 1 };
    let mut view = View::open(&folders.rows, beginning, 0)?;
    let covered = view.covered(&folders.rows)?;
    let first = make_first(&folders.log)?;
    log_record::note(&folders.log, &[first])?;
    view.apply(&[], Covered { log: identity, ..covered })?;
    Ok(())
}

/// What was damaged when a store was opened, and is whole again, says something about the disk.
fn tell_of_mended(files: &[PathBuf]) {
    for file in files {
        let file = file.display();
        tracing::warn!(%file, "it was damaged, and is put back from its second copy");
    }
}

/// Every start makes a table. When there are too many, merging comes first.
fn wait_for_merging(view: &View, brake: Option<&dyn Brake>) -> Result<(), StoreError> {
    if view.new_tables() >= STORE_NEW_TABLES_MAX {
        if let Some(brake) = brake {
            brake.hurry();
        }
        view.merge_to(STORE_NEW_TABLES_MAX)?;
    }
    Ok(())
}

fn make_first(folder: &Path) -> Result<Place, StoreError> {
    log_files::make(folder, 0, FIRST_SEGMENT_BYTES, |_| ())?;
    Ok(Place { number: 0, bytes: FIRST_SEGMENT_BYTES })
}

pub(super) fn read_heads(folder: &Path, places: &[Place]) -> Result<Vec<Found>, StoreError> {
    let head = |place: &Place| {
        let blocks = log_files::read(folder, place.number, 2 * BLOCK_BYTES as u64)?;
        Ok(Found { place: place.number, head: Header::read(&blocks) })
    };
    places.iter().map(head).collect()
}

/// One half of a store without the other: going on would lose rows without a word.
pub(super) fn refuse_half(folders: &Folders, found: &[Found]) -> Result<(), StoreError> {
    use crate::store::log::format::Head;
    let has_rows = !View::is_absent(&folders.rows)?;
    let has_records = found.iter().any(|file| file.head != Head::Blank);
    let damaged =
        |folder: &Path, missing| Err(StoreError::Damaged { folder: folder.to_owned(), missing });
    match (has_rows, has_records) {
        (true, _) if found.is_empty() => damaged(&folders.log, "its commit log"),
        (false, true) => damaged(&folders.rows, "all of its rows, which the log builds upon,"),
        _ => Ok(()),
    }
}

/// Puts into the LSM what only the log has, and syncs it. Returns what is covered then, under the
/// first sequence of this run.
fn replay(
    view: &mut View,
    covered: Covered,
    folder: &Path,
    places: &[Place],
    found: &[Found],
) -> Result<Covered, StoreError> {
    let refused = |refusal| words(folder, refusal);
    let mut recovery = Recovery::new(covered, found).map_err(refused)?;
    let mut chunk = Chunk::default();
    for number in recovery.order() {
        let place = places.iter().find(|place| place.number == number);
        let bytes = place.expect("only files that were found are read").bytes;
        let bytes = log_files::read(folder, number, bytes)?;
        recovery.read(number, &bytes, |_, key, change| {
            chunk.change(key, change);
        });
    }
    // Nothing is changed before it is known that nothing is missing.
    let end = recovery.finish().map_err(refused)?;
    let now = Covered { position: end.last, first_sequence: end.next_sequence, ..covered };
    view.apply(&[Arc::new(chunk)], now)?;
    let replayed = end.last.0 - covered.position.0;
    if replayed > 0 {
        tracing::info!(replayed, folder = %folder.display(), "turns of the log were replayed");
    }
    Ok(now)
}

pub(super) fn words(folder: &Path, refusal: Refusal) -> StoreError {
    let segment = |place| log_files::path(folder, place);
    match refusal {
        Refusal::Damaged { at, missing } => {
            let (segment, offset) = (segment(at.place), at.offset);
            StoreError::LogDamaged { segment, offset, missing: missing.0 }
        }
        Refusal::Foreign { place } => {
            StoreError::LogForeign { segment: segment(place), why: "it belongs to another log" }
        }
        Refusal::Newer { place, .. } => {
            let why = "a newer server wrote it, start that one";
            StoreError::LogForeign { segment: segment(place), why }
        }
    }
}

#[cfg(test)]
#[path = "recover_tests.rs"]
pub(super) mod tests;
