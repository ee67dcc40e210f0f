//! A store's folder before it is open: making it, opening what is there, refusing what is damaged.
//!
//! What this keeps are invariants 2 and 3 of `store::view`.

use super::brake::{Braked, Writer};
use super::copies::VERSION;
use super::listed::Listed;
use super::lists::CURRENT;
use super::unreadable;
use super::{COVERED_KEY, Covered, KEYSPACE, KEYSPACES, contents, damaged, lists, refused, table};
use crate::limits::STORE_FILES_MAX;
use crate::store::StoreError;
use crate::store::batch::Change;
use fjall::compaction::filter::Factory;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(super) fn open_database(
    folder: &Path,
    cache_bytes: u64,
    braked: &Braked,
) -> Result<Database, StoreError> {
    let filter: Arc<dyn Factory> = Arc::new(braked.clone());
    Database::builder(folder)
        .cache_size(cache_bytes)
        .manual_journal_persist(true)
        .max_cached_files(Some(STORE_FILES_MAX))
        // Nothing is flushed, and `merge` is called by those who know when.
        .worker_threads_unchecked(0)
        .with_compaction_filter_factories(Arc::new(move |name| {
            (name == KEYSPACE).then(|| filter.clone())
        }))
        .open()
        .map_err(|error| refused(folder, error))
}

pub(super) fn open_rows(database: &Database, folder: &Path) -> Result<Keyspace, StoreError> {
    let apart = Some(contents::options());
    let options =
        || KeyspaceCreateOptions::default().manual_journal_persist(true).with_kv_separation(apart);
    database.keyspace(KEYSPACE, options).map_err(|error| refused(folder, error))
}

/// Makes a store that holds nothing yet. A crash on the way leaves a folder of another name,
/// which the next attempt removes: fjall itself cannot open what it has half made.
pub(super) fn create(folder: &Path, beginning: Covered) -> Result<(), StoreError> {
    let mut unfinished = folder.as_os_str().to_owned();
    unfinished.push(".new");
    let unfinished = PathBuf::from(unfinished);
    match fs::remove_dir_all(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(unreadable(&unfinished, error));
        }
        _ => {}
    }
    let braked = Braked::default();
    let database = open_database(&unfinished, 0, &braked)?;
    let rows = open_rows(&database, &unfinished)?;
    let word = beginning.print();
    let word = std::iter::once((COVERED_KEY, Change::Put(&word[..])));
    let (tree, meter) = (&rows.tree, braked.meter(Writer::Indexer));
    table::write(tree, &Listed::of(tree), word, false, meter)?;
    database.persist(PersistMode::SyncAll).map_err(|error| refused(folder, error))?;
    drop((rows, database));
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
    fs::rename(&unfinished, folder)
        .and_then(|()| File::open(parent.unwrap_or(Path::new(".")))?.sync_all())
        .map_err(|error| unreadable(folder, error))
}

/// Refuses a folder with a part missing. fjall would make the part anew, empty, and delete the
/// rows that belong to it; with a name it does not know it would panic.
pub(super) fn refuse_damage(folder: &Path) -> Result<(), StoreError> {
    let mut journals = 0;
    for entry in entries(folder)? {
        let (name, is_file) = entry?;
        if let Some(number) = name.strip_suffix(".jnl") {
            if !is_file || number.parse::<u64>().is_err() {
                return Err(damaged(folder, "a journal's proper name"));
            }
            journals += 1;
        }
    }
    let keyspaces = folder.join(KEYSPACES);
    let mut tables = 0;
    for entry in entries(&keyspaces)? {
        let (name, is_file) = entry?;
        if is_file || name.parse::<u64>().is_err() {
            return Err(damaged(folder, "a keyspace's proper name"));
        }
        if !keyspaces.join(&name).join(CURRENT).is_file() {
            return Err(damaged(folder, "a keyspace's list of tables"));
        }
        lists::files(&keyspaces.join(&name))?;
        tables += 1;
    }
    let is_there = |name: &str| folder.join(name).is_file();
    match () {
        () if !is_there(VERSION) => Err(damaged(folder, "its version file")),
        () if !is_there("lock") => Err(damaged(folder, "its lock file")),
        () if journals == 0 => Err(damaged(folder, "its journal")),
        () if tables < 2 => Err(damaged(folder, "its keyspaces")),
        () => Ok(()),
    }
}

/// Names in a folder, and whether each is a file.
pub(super) fn entries(
    folder: &Path,
) -> Result<impl Iterator<Item = Result<(String, bool), StoreError>>, StoreError> {
    let entries = fs::read_dir(folder).map_err(|error| unreadable(folder, error))?;
    let folder = folder.to_owned();
    Ok(entries.map(move |entry| {
        let entry = entry.map_err(|error| unreadable(&folder, error))?;
        let kind = entry.file_type().map_err(|error| unreadable(&folder, error))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        Ok((name, kind.is_file()))
    }))
}
