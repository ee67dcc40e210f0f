//! Another number of shards: all rows of a stopped server's folder are written anew, each at the
//! home that its user has then.
//!
//! Invariants:
//! 1. Until the new manifest is there the old rows are all that counts, and none of them is
//!    changed; from then on the new ones are. The manifest comes whole or not at all.
//! 2. The manifest comes only when the new rows were read again, are as many, and agree, but for
//!    what a power cut with `async` has parted: that is told, and stays as it was.
//! 3. Message ids that are handed out later are above all that were handed out before.
//!
//! Broken off at any moment the folder works, and the same command goes on: what was left half
//! written, or not yet removed, is removed first. Rows of relays are none of a user's: what is on
//! its way between shards must have arrived.
//!
//! Left to others: the names of folders (`data_folder`), which rows agree (`chat::audit`).

use crate::chat::audit;
use crate::ids::ShardId;
use crate::limits::{RESHARD_BYTES_MAX, STORE_NEW_TABLES_CALM};
use crate::node::data_folder::{self, DataFolderError};
use crate::node::offline::{OfflineError, OfflineShard, open_shards};
use crate::node::{indexer, recover};
use crate::store::keys::{Key, Kind};
use crate::store::log::format::Covered;
use crate::store::manifest::{Manifest, ManifestError};
use crate::store::parts::{Parts, words};
use crate::store::rows::{NumberRow, RowWriter, StreamRow, read_owned};
use crate::store::view::View;
use crate::store::{Batch, Direction, Position, Range, Store, StoreError};
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// Bytes of table blocks that each new store keeps in memory while it is written.
const CACHE_BYTES: u64 = 1024 * 1024;

/// Why rows were not written anew. The old ones are as they were.
#[derive(Debug, thiserror::Error)]
pub enum ReshardError {
    /// The folder cannot be used.
    #[error(transparent)]
    DataFolder(#[from] DataFolderError),
    /// No folder can have this count.
    #[error(transparent)]
    Count(#[from] ManifestError),
    /// A shard cannot be read.
    #[error(transparent)]
    Offline(#[from] OfflineError),
    /// Messages wait in an outbox.
    #[error(
        "shard {from} holds messages that shard {to} has not got yet: start the server once more \
         with --shards {shards}, wait for `ready`, stop it, and run this again"
    )]
    Underway {
        /// Whose outbox.
        from: ShardId,
        /// Where they go.
        to: ShardId,
        /// The old count.
        shards: u16,
    },
    /// A row is of no known kind.
    #[error("{0} is a row of no known kind: run `anser-tools verify`; nothing was changed")]
    Unknown(String),
    /// Rows cannot be read or written.
    #[error("the rows of shard {0} cannot be written anew; nothing was changed")]
    Store(ShardId, #[source] StoreError),
    /// The system refused something.
    #[error("cannot {doing} {}", path.display())]
    System {
        /// What was tried.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// What it says.
        source: io::Error,
    },
    /// The new rows do not agree, or are not as many.
    #[error(
        "the new rows do not agree ({0}): nothing was changed; run `anser-tools verify` on the \
         folder"
    )]
    Findings(String),
}

/// What was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Done {
    /// Nothing but tidying up.
    Already(u16),
    /// So many rows are at home on so many shards.
    Resharded {
        /// Rows.
        rows: u64,
        /// Shards.
        shards: u16,
        /// Findings that a power cut with `async` has left.
        parted: u64,
    },
}

impl fmt::Display for Done {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Done::Already(shards) => write!(to, "reshard: there are {shards} shards already"),
            Done::Resharded { rows, shards, parted: 0 } => {
                write!(to, "reshard: {rows} rows on {shards} shards, verified")
            }
            Done::Resharded { rows, shards, parted } => {
                write!(
                    to,
                    "reshard: {rows} rows on {shards} shards, verified; two homes disagree in \
                     {parted} places, as before (a power cut with `--durability async` leaves \
                     that; `anser-tools verify` names them)"
                )
            }
        }
    }
}

/// Writes the rows of `data` anew for `shards`. `say` gets a line now and then.
pub fn run(data: &Path, shards: u16, say: &mut dyn FnMut(&str)) -> Result<Done, ReshardError> {
    let (old, _lock) = data_folder::open_stopped(data)?;
    let new = old.resharded(shards)?;
    remove_strays(data, &old)?;
    if old.shards == shards {
        return Ok(Done::Already(shards));
    }
    let from = open_shards(data, &old)?;
    refuse_underway(&from)?;
    let written = write_and_check(data, &from, &new, say);
    // What has failed would only take room. The first error is the one that counts.
    let (rows, parted) = written.inspect_err(|_| drop(remove_strays(data, &old)))?;
    data_folder::finish(data, &new)?;
    drop(from);
    say("removing the old rows");
    remove_strays(data, &new)?;
    Ok(Done::Resharded { rows, shards, parted })
}

/// How many rows there are, and findings that a power cut with `async` has left.
fn write_and_check(
    data: &Path,
    from: &[OfflineShard],
    new: &Manifest,
    say: &mut dyn FnMut(&str),
) -> Result<(u64, u64), ReshardError> {
    let rows = write_anew(data, from, new, say)?;
    say("reading the new rows");
    let parted = check(data, new, rows)?;
    refuse_more(from, parted)?;
    Ok((rows, parted))
}

/// Removes what is not of the manifest's generation.
fn remove_strays(data: &Path, manifest: &Manifest) -> Result<(), ReshardError> {
    for path in data_folder::strays(data, manifest)? {
        let doing = "remove";
        fs::remove_dir_all(&path).map_err(|source| ReshardError::System { doing, path, source })?;
    }
    Ok(())
}

/// A relay that was applied and not confirmed is nowhere missing; any other would be lost.
pub fn refuse_underway(from: &[OfflineShard]) -> Result<(), ReshardError> {
    let shards = from.len() as u16;
    for shard in from {
        let refused = |error| ReshardError::Store(shard.shard, error);
        for to in (0..shards).map(ShardId) {
            let applied = from[usize::from(to.0)]
                .get(&Key::applied(shard.shard), read_owned::<StreamRow>)
                .and_then(|row| Ok(row.transpose()?));
            let applied = applied.map_err(refused)?.map_or((0, 0), |row| (row.epoch, row.sequence));
            let first = Key::outbox(to, applied.0, applied.1 + 1);
            let end = Key::outbox_of(to).after();
            let range = Range { from: &first, to: &end, direction: Direction::Forward };
            let mut is_empty = true;
            let mut visit = |_: &[u8], _: &[u8]| {
                is_empty = false;
                ControlFlow::Break(())
            };
            shard.scan(range, &mut visit).map_err(refused)?;
            if !is_empty {
                return Err(ReshardError::Underway { from: shard.shard, to, shards });
            }
        }
    }
    Ok(())
}

/// New shards while they are written.
pub(super) struct Writing {
    views: Vec<View>,
    batches: Vec<Batch>,
    gathered_bytes: usize,
    rows: u64,
    /// The highest of all shards.
    epoch: u64,
    /// Every shard hands out ids above this one.
    pub(super) mint_bound: u64,
}

/// Returns how many rows there are then.
fn write_anew(
    data: &Path,
    from: &[OfflineShard],
    new: &Manifest,
    say: &mut dyn FnMut(&str),
) -> Result<u64, ReshardError> {
    let mut writing = Writing::begin(data, new)?;
    for shard in from {
        say(&format!("writing the rows of shard {} of {}", shard.shard, from.len()));
        let mut outcome = Ok(());
        let all = Range { from: &[0], to: &[u8::MAX], direction: Direction::Forward };
        let mut visit = |key: &[u8], value: &[u8]| {
            outcome = writing.take(shard.shard, key, value);
            if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        let scanned = shard.scan(all, &mut visit);
        outcome?;
        scanned.map_err(|error| ReshardError::Store(shard.shard, error))?;
    }
    writing.complete(data, new)
}

fn make(data: &Path, new: &Manifest, shard: ShardId) -> Result<View, ReshardError> {
    let folder = data_folder::home(data, new, shard);
    let doing = "make";
    let refused = |source| ReshardError::System { doing, path: folder.clone(), source };
    fs::create_dir_all(&folder).map_err(refused)?;
    // The log is made when all rows are there; it gets a name of its own then.
    let beginning = Covered { log: 0, position: Position(0), first_sequence: 1 };
    View::open(&folder.join("rows"), beginning, CACHE_BYTES)
        .map_err(|error| ReshardError::Store(shard, error))
}

/// Gives the rows of a shard a log to go on with.
fn finish(data: &Path, new: &Manifest, shard: ShardId) -> Result<(), ReshardError> {
    let folder = data_folder::home(data, new, shard);
    let doing = "read /dev/urandom for";
    let refused = |source| ReshardError::System { doing, path: folder.clone(), source };
    let identity = indexer::identity().map_err(refused)?;
    recover::adopt(&folder, identity).map_err(|error| ReshardError::Store(shard, error))?;
    sync(&folder)
}

fn sync(folder: &Path) -> Result<(), ReshardError> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    let (doing, path) = ("sync", folder.to_owned());
    synced.map_err(|source| ReshardError::System { doing, path, source })
}

impl Writing {
    /// Makes the shards of a manifest.
    pub(super) fn begin(data: &Path, new: &Manifest) -> Result<Writing, ReshardError> {
        let views = (0..new.shards).map(ShardId).map(|shard| make(data, new, shard));
        let views = views.collect::<Result<Vec<_>, _>>()?;
        let batches = views.iter().map(|_| Batch::new()).collect();
        let (rows, gathered_bytes, epoch, mint_bound) = (0, 0, 0, 0);
        Ok(Writing { views, batches, gathered_bytes, rows, epoch, mint_bound })
    }

    /// Writes what is left and all that a shard needs besides. Returns how many rows there are.
    pub(super) fn complete(mut self, data: &Path, new: &Manifest) -> Result<u64, ReshardError> {
        self.put_counters();
        for shard in (0..new.shards).map(ShardId) {
            self.write_out(shard)?;
        }
        let rows = self.rows;
        drop(self);
        for shard in (0..new.shards).map(ShardId) {
            finish(data, new, shard)?;
        }
        sync(data)?;
        Ok(rows)
    }

    /// Takes a row to its new home.
    pub(super) fn take(
        &mut self,
        from: ShardId,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), ReshardError> {
        let number = || {
            let row = read_owned::<NumberRow>(value);
            row.map(|row| row.0).map_err(|error| ReshardError::Store(from, error.into()))
        };
        let Some(parts) = Parts::of(key) else { return Err(ReshardError::Unknown(words(key))) };
        let slot = match parts {
            Parts::Epoch => {
                self.epoch = self.epoch.max(number()?);
                return Ok(());
            }
            Parts::MintBound => {
                self.mint_bound = self.mint_bound.max(number()?);
                return Ok(());
            }
            // Streams begin anew.
            Parts::Outbox { .. } | Parts::Applied(_) => return Ok(()),
            parts => parts.slot().expect("all other rows are of a slot"),
        };
        let home = slot.home(self.views.len() as u16);
        let batch = &mut self.batches[usize::from(home.0)];
        let before = batch.size();
        batch.put(key, value);
        self.gathered_bytes += batch.size() - before;
        self.rows += 1;
        if self.gathered_bytes >= RESHARD_BYTES_MAX { self.write_out_largest() } else { Ok(()) }
    }

    /// Makes room by one table, the largest there can be: of many shards all would be small.
    fn write_out_largest(&mut self) -> Result<(), ReshardError> {
        let sizes = self.batches.iter().map(Batch::size).zip(0..);
        let (size, largest) = sizes.max().expect("there is a shard");
        self.gathered_bytes -= size;
        self.write_out(ShardId(largest))
    }

    /// What each shard has for itself.
    fn put_counters(&mut self) {
        let mut writer = RowWriter::default();
        let counters = [(Kind::Epoch, self.epoch), (Kind::MintBound, self.mint_bound)];
        for batch in &mut self.batches {
            for (kind, number) in counters {
                let row = NumberRow(number);
                batch.put_with(&Key::of(kind), |bytes| writer.append(&row, bytes));
                self.rows += 1;
            }
        }
    }

    fn write_out(&mut self, shard: ShardId) -> Result<(), ReshardError> {
        let refused = |error| ReshardError::Store(shard, error);
        let index = usize::from(shard.0);
        let (view, batch) = (&mut self.views[index], &mut self.batches[index]);
        if !batch.is_empty() {
            view.write(batch).map_err(refused)?;
            batch.clear();
        }
        view.merge_to(STORE_NEW_TABLES_CALM).map_err(refused)
    }
}

/// Two homes disagree no more often than before.
fn refuse_more(from: &[OfflineShard], parted: u64) -> Result<(), ReshardError> {
    if parted == 0 {
        return Ok(());
    }
    let stores: Vec<_> = from.iter().collect();
    let counts = audit::run(&stores, &mut |_| ());
    let before = counts.map_err(|error| ReshardError::Store(ShardId(0), error))?.parted;
    match parted == before {
        true => Ok(()),
        false => Err(ReshardError::Findings(format!(
            "two homes disagree in {parted} places, where {before} were before"
        ))),
    }
}

/// Reads the new rows again. Returns how often two homes disagree.
pub(super) fn check(data: &Path, new: &Manifest, rows: u64) -> Result<u64, ReshardError> {
    let shards = open_shards(data, new)?;
    let stores: Vec<_> = shards.iter().collect();
    let audited = audit::damage(&stores);
    let (counts, first) = audited.map_err(|error| ReshardError::Store(ShardId(0), error))?;
    match first {
        Some(finding) => Err(ReshardError::Findings(finding.to_string())),
        None if counts.rows != rows => {
            Err(ReshardError::Findings(format!("{} rows of {rows}", counts.rows)))
        }
        None => Ok(counts.parted),
    }
}

#[cfg(test)]
#[path = "reshard_tests.rs"]
mod tests;
