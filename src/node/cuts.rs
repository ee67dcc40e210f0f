//! Cuts of the whole data folder: asked for on the admin port, begun by the shards, linked by the
//! indexer, copied by `anser-tools backup`.
//!
//! Invariants:
//! 1. One cut is made at a time. It is there whole, with the list of its files, or it has failed
//!    and is removed.
//! 2. At most [`CUTS_MAX`] cuts are kept, none over a start: they keep tables on the disk that
//!    compaction has done with.
//! 3. Whoever waits for a cut has his patience, and no shard waits for him.
//!
//! Left to others: what a shard does for a cut (`cutting`, `store::cut`), linking (`store::view`),
//! HTTP (`admin_cuts`).

use crate::ids::ShardId;
use crate::limits::{CUT_MS_MAX, CUTS_MAX};
use crate::node::data_folder;
use crate::node::manifest_file::{self, MANIFEST};
use crate::node::mesh::Doorbell;
use crate::store::StoreError;
use crate::store::inventory::{FORMAT, Inventory, Listed, checksum};
use crate::store::recent::Cut;
use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// Where cuts are, in the data folder.
pub const FOLDER: &str = "backups";
/// The list of a cut's files, in its folder.
pub const LIST: &str = "cut.toml";
/// The folder of a shard's rows, in the shard's folder.
pub const ROWS: &str = "rows";

/// A cut that is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Made {
    /// Its number.
    pub number: u64,
    /// Where it is.
    pub folder: PathBuf,
    /// Files in it.
    pub files: usize,
    /// Bytes of them; tables share theirs with the data folder.
    pub bytes: u64,
}

/// Why there is no cut.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CutError {
    /// There is a server and no data folder.
    #[error("this server keeps its rows in memory: there is nothing to back up")]
    NoDisk,
    /// One is being made.
    #[error("a cut is being made for another backup: ask again when that is done")]
    Busy,
    /// It took too long.
    #[error(
        "the shards and the indexer have not finished the cut within {} s: they do so later; ask \
         again then, and look at /healthz",
        CUT_MS_MAX / 1000
    )]
    Late,
    /// Something went wrong; the words say what.
    #[error("the cut failed: {0}")]
    Failed(String),
}

/// What one shard has of a cut.
struct Part {
    position: u64,
    files: Vec<Listed>,
}

struct Making {
    number: u64,
    made_ms: u64,
    parts: Vec<Option<Part>>,
    waits_for: usize,
    failure: Option<String>,
}

#[derive(Default)]
struct State {
    making: Option<Making>,
    /// How the newest that was finished went.
    outcome: Option<(u64, Result<Made, CutError>)>,
    kept: VecDeque<u64>,
}

/// All cuts of a server.
pub struct Cuts {
    /// The data folder.
    data: PathBuf,
    bells: Arc<[Doorbell]>,
    /// The newest cut asked for.
    wanted: AtomicU64,
    /// Shards that have begun it.
    begun: AtomicU64,
    state: Mutex<State>,
    changed: Condvar,
}

impl Cuts {
    /// None yet, of the data folder of the shards that have these bells.
    pub fn new(data: PathBuf, bells: Arc<[Doorbell]>) -> Cuts {
        let (wanted, begun) = (AtomicU64::new(0), AtomicU64::new(0));
        let (state, changed) = (Mutex::default(), Condvar::new());
        Cuts { data, bells, wanted, begun, state, changed }
    }

    /// Removes what an earlier run has left. Nobody copies it any more: its server has ended.
    pub fn remove_stale(&self) -> io::Result<()> {
        match fs::remove_dir_all(self.data.join(FOLDER)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            outcome => outcome,
        }
    }

    /// The newest cut that shards are to begin; 0: none. Costs one load.
    pub fn wanted(&self) -> u64 {
        self.wanted.load(Ordering::SeqCst)
    }

    /// A shard has begun the cut that is wanted.
    pub fn begin(&self) {
        let begun = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        assert!(begun <= self.bells.len() as u64, "each shard begins a cut once");
        if begun == self.bells.len() as u64 {
            // Some may hold back what waits for this.
            self.bells.iter().for_each(Doorbell::ring);
        }
    }

    /// Every shard has begun this cut.
    pub fn have_all_begun(&self, number: u64) -> bool {
        // A later one is wanted only when all have finished this one.
        self.wanted() > number || self.begun.load(Ordering::SeqCst) == self.bells.len() as u64
    }

    /// Tells the shards to begin a cut. Nobody waits.
    pub fn want(&self) -> Result<u64, CutError> {
        let mut state = self.state();
        if state.making.is_some() {
            return Err(CutError::Busy);
        }
        let number = self.wanted() + 1;
        let failed = |error: io::Error| CutError::Failed(error.to_string());
        fs::create_dir_all(self.folder(number)).map_err(failed)?;
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let waits_for = self.bells.len();
        let parts = (0..waits_for).map(|_| None).collect();
        let made_ms = since.as_millis() as u64;
        state.making = Some(Making { number, made_ms, parts, waits_for, failure: None });
        self.begun.store(0, Ordering::SeqCst);
        self.wanted.store(number, Ordering::SeqCst);
        self.bells.iter().for_each(Doorbell::ring);
        Ok(number)
    }

    /// Makes a cut and waits for it, as long as he who asks has patience.
    pub fn make(&self, patience: Duration) -> Result<Made, CutError> {
        let number = self.want()?;
        let deadline = Instant::now() + patience;
        let mut state = self.state();
        loop {
            if let Some((_, outcome)) = state.outcome.as_ref().filter(|(done, _)| *done >= number) {
                return outcome.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(CutError::Late);
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// How the newest cut that was finished went.
    pub fn newest(&self) -> Option<Result<Made, CutError>> {
        self.state().outcome.as_ref().map(|(_, outcome)| outcome.clone())
    }

    /// Where the rows of a shard in a cut are to be linked.
    pub fn rows_folder(&self, number: u64, shard: ShardId) -> PathBuf {
        data_folder::shard_folder(&self.folder(number), shard).join(ROWS)
    }

    /// A shard's rows were linked, or not. The last one finishes the cut.
    pub fn linked(&self, shard: ShardId, cut: Cut, outcome: Result<Vec<Listed>, StoreError>) {
        let mut state = self.state();
        let Some(making) = state.making.as_mut().filter(|making| making.number == cut.number)
        else {
            return;
        };
        match outcome {
            Ok(files) => {
                let files = files.into_iter().map(|file| in_shard(shard, file)).collect();
                let part = Part { position: cut.position.0, files };
                making.parts[usize::from(shard.0)] = Some(part);
            }
            Err(error) => {
                tracing::warn!(%shard, %error, "a cut cannot be made");
                making.failure = Some(error.in_full());
            }
        }
        making.waits_for -= 1;
        if making.waits_for == 0
            && let Some(making) = state.making.take()
        {
            self.finish(&mut state, making);
        }
    }

    fn finish(&self, state: &mut State, making: Making) {
        let number = making.number;
        let listed = self.list(making);
        if let Err(error) = &listed {
            tracing::warn!(number, %error, "a cut failed");
            self.remove_folder(number);
        } else {
            state.kept.push_back(number);
            while state.kept.len() > CUTS_MAX {
                state.kept.pop_front().into_iter().for_each(|oldest| self.remove_folder(oldest));
            }
        }
        state.outcome = Some((number, listed));
        self.changed.notify_all();
    }

    /// Writes down what a cut consists of.
    fn list(&self, making: Making) -> Result<Made, CutError> {
        if let Some(words) = making.failure {
            return Err(CutError::Failed(words));
        }
        let Making { number, made_ms, parts, .. } = making;
        let shards = u16::try_from(parts.len()).expect("there are at most 256 shards");
        let failed = |error: io::Error| CutError::Failed(error.to_string());
        let folder = self.folder(number);
        let manifest = manifest_file::text(&self.data).map_err(|error| {
            CutError::Failed(format!("{}: {error}", self.data.join(MANIFEST).display()))
        })?;
        fs::write(folder.join(MANIFEST), &manifest).map_err(failed)?;
        let (path, bytes) = (MANIFEST.to_owned(), manifest.len() as u64);
        let mut files = vec![Listed { path, bytes, checksum: checksum(manifest.as_bytes()) }];
        let mut positions = Vec::new();
        for part in parts {
            let part = part.expect("every shard was linked, or one has failed");
            positions.push(part.position);
            files.extend(part.files);
        }
        files.sort();
        let inventory = Inventory { format: FORMAT, shards, made_ms, positions, files };
        fs::write(folder.join(LIST), inventory.print()).map_err(failed)?;
        let made = Made { number, folder, files: inventory.files.len(), bytes: inventory.bytes() };
        tracing::info!(number, files = made.files, bytes = made.bytes, "a cut was made");
        Ok(made)
    }

    /// Removes a cut; `false`: there is none of this number.
    pub fn remove(&self, number: u64) -> bool {
        let mut state = self.state();
        let place = state.kept.iter().position(|kept| *kept == number);
        if let Some(place) = place {
            state.kept.remove(place);
            self.remove_folder(number);
        }
        place.is_some()
    }

    fn remove_folder(&self, number: u64) {
        if let Err(error) = fs::remove_dir_all(self.folder(number)) {
            tracing::warn!(number, %error, "a cut cannot be removed: the next start tries again");
        }
    }

    fn folder(&self, number: u64) -> PathBuf {
        self.data.join(FOLDER).join(format!("cut-{number}"))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A path of a shard's rows as one of the data folder.
pub fn in_shard(shard: ShardId, file: Listed) -> Listed {
    let folder = data_folder::shard_folder(Path::new(""), shard);
    let path = format!("{}/{ROWS}/{}", folder.display(), file.path);
    Listed { path, ..file }
}

/// An error and what caused it.
#[cfg(test)]
#[path = "cuts_tests.rs"]
mod tests;
