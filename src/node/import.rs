//! A new data folder made of portable items.
//!
//! Invariants:
//! 1. A folder that holds anything is left as it is, and one that is not whole has no manifest: no
//!    server starts on it.
//! 2. The manifest comes only when the rows were read again, are as many, and agree, but for what
//!    a power cut with `async` had parted.
//!
//! Left to others: what rows an item makes (`chat::portable`), writing them (`reshard`).

use crate::chat::portable::{Builder, Item, ItemError};
use crate::ids::ShardId;
use crate::node::data_folder::{self, DataFolderError};
use crate::node::reshard::{ReshardError, Writing, check};
use crate::store::manifest::{Manifest, ManifestError};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Why there is no new folder.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// Something is in it.
    #[error(
        "{} is not empty: give a new folder (what an import that was broken off has left can be \
         removed)",
        folder.display()
    )]
    NotEmpty {
        /// The folder.
        folder: PathBuf,
    },
    /// The system refused something.
    #[error("the folder {} cannot be made", folder.display())]
    System {
        /// The folder.
        folder: PathBuf,
        /// What it says.
        source: io::Error,
    },
    /// No folder can have this count.
    #[error(transparent)]
    Count(#[from] ManifestError),
    /// An item contradicts those before.
    #[error(transparent)]
    Item(#[from] ItemError),
    /// Rows cannot be written, or do not agree.
    #[error("the rows cannot be made")]
    Rows(#[from] ReshardError),
    /// The manifest cannot be written.
    #[error(transparent)]
    DataFolder(#[from] DataFolderError),
}

/// What was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Imported {
    /// Rows.
    pub rows: u64,
    /// Places in which two homes disagree, as a power cut with `async` leaves them.
    pub parted: u64,
}

/// A folder being made.
pub struct Import {
    data: PathBuf,
    manifest: Manifest,
    writing: Writing,
    builder: Builder,
}

impl Import {
    /// Begins a folder, which must not be there or be empty.
    pub fn begin(data: &Path, shards: u16) -> Result<Import, ImportError> {
        let folder = data.to_owned();
        let manifest = Manifest::new(shards)?;
        let made = fs::create_dir_all(data).and_then(|()| Ok(fs::read_dir(data)?.next().is_none()));
        let random = match made.and_then(|is_empty| Ok((is_empty, data_folder::random()?))) {
            Ok((true, random)) => random,
            Ok((false, _)) => return Err(ImportError::NotEmpty { folder }),
            Err(source) => return Err(ImportError::System { folder, source }),
        };
        let manifest = manifest.named(random);
        let writing = Writing::begin(data, &manifest)?;
        Ok(Import { data: folder, manifest, writing, builder: Builder::default() })
    }

    /// Takes the next item.
    pub fn take(&mut self, item: &Item<'_>) -> Result<(), ImportError> {
        let mut outcome = Ok(());
        let writing = &mut self.writing;
        self.builder.take(item, &mut |key, value| put(writing, &mut outcome, key, value))?;
        Ok(outcome?)
    }

    /// Makes it a data folder, whose message ids begin above `mint_bound`.
    pub fn finish(mut self, mint_bound: u64) -> Result<Imported, ImportError> {
        let mut outcome = Ok(());
        let writing = &mut self.writing;
        self.builder.finish(&mut |key, value| put(writing, &mut outcome, key, value));
        outcome?;
        self.writing.mint_bound = mint_bound;
        let rows = self.writing.complete(&self.data, &self.manifest)?;
        let parted = check(&self.data, &self.manifest, rows)?;
        data_folder::finish(&self.data, &self.manifest)?;
        Ok(Imported { rows, parted })
    }
}

/// Writes a row, unless one before could not be written.
fn put(writing: &mut Writing, outcome: &mut Result<(), ReshardError>, key: &[u8], value: &[u8]) {
    if outcome.is_ok() {
        *outcome = writing.take(ShardId(0), key, value);
    }
}
