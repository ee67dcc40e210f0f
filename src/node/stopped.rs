//! A cut of a data folder that no server uses.
//!
//! Invariants:
//! 1. The folder is locked as long as its cut is used: no server starts meanwhile.
//!
//! It is opened as a start would: what only the commit log has is put into the tables first.
//! Left to others: the cut (`cuts`), reading the log (`recover`).

use crate::ids::ShardId;
use crate::node::cuts::{CutError, Cuts, Made};
use crate::node::data_folder::{self, DataFolderError, FolderLock};
use crate::node::mesh::bells;
use crate::node::{indexer, recover};
use crate::store::StoreError;
use crate::store::log::Durability;
use crate::store::recent::Cut;
use std::io;
use std::path::Path;

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum StoppedError {
    /// The folder cannot be used.
    #[error(transparent)]
    DataFolder(#[from] DataFolderError),
    /// The system refused something.
    #[error("the folder cannot be opened")]
    System(#[from] io::Error),
    /// A shard's rows cannot be opened.
    #[error("shard {0} cannot be opened")]
    Store(ShardId, #[source] StoreError),
    /// The cut was not made.
    #[error(transparent)]
    Cut(#[from] CutError),
}

/// The cut and the lock.
pub struct Stopped {
    cuts: Cuts,
    made: Made,
    _lock: FolderLock,
}

impl Stopped {
    /// Opens a data folder and makes a cut of it.
    pub fn open(data: &Path) -> Result<Stopped, StoppedError> {
        let (manifest, lock) = data_folder::open_stopped(data)?;
        let data = data.canonicalize()?;
        let cuts = Cuts::new(data.clone(), bells(manifest.shards)?);
        cuts.remove_stale()?;
        let number = cuts.want()?;
        for shard in (0..manifest.shards).map(ShardId) {
            let refused = |error| StoppedError::Store(shard, error);
            let folder = data_folder::home(&data, &manifest, shard);
            let (_opened, writable) =
                recover::open(&folder, indexer::identity()?, Durability::Sync, 0)
                    .map_err(refused)?;
            let cut = Cut { number, position: writable.covered.position };
            let to = cuts.rows_folder(number, shard);
            cuts.linked(shard, cut, writable.view.link(&writable.rows_folder, &to));
        }
        let made = cuts.newest().unwrap_or(Err(CutError::Late))?;
        Ok(Stopped { cuts, made, _lock: lock })
    }

    /// Where the cut is.
    pub fn folder(&self) -> &Path {
        &self.made.folder
    }

    /// Removes the cut.
    pub fn remove(self) -> io::Result<()> {
        self.cuts.remove_stale()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::data_folder::{Shards, open_or_create};
    use crate::store::inventory::Inventory;
    use crate::store::view::tests::TempFolder;

    /// Invariant 1 of node::stopped.
    #[test]
    fn a_folder_is_locked_while_its_cut_is_used() {
        let folder = TempFolder::new();
        let shards = Shards { asked: Some(2), default: 1 };
        let running = open_or_create(folder.path(), shards).expect("new");
        assert!(matches!(Stopped::open(folder.path()), Err(StoppedError::DataFolder(_))));
        drop(running);
        let stopped = Stopped::open(folder.path()).expect("nobody uses it");
        assert!(open_or_create(folder.path(), shards).is_err(), "it is in use");
        let list = std::fs::read_to_string(stopped.folder().join(crate::node::cuts::LIST));
        let list = Inventory::parse(&list.expect("it is whole")).expect("just written");
        assert_eq!(list.shards, 2);
        stopped.remove().expect("temporary");
        open_or_create(folder.path(), shards).expect("it is free");
        let nothing = TempFolder::new();
        assert!(Stopped::open(nothing.path()).is_err() && !nothing.path().exists());
    }
}
