//! What tests of backups have in common.

use anser::store::inventory::{Inventory, Listed, checksum};
use std::fs;
use std::path::{Path, PathBuf};

/// A folder of its own, removed with its owner.
pub struct Temporary(PathBuf);

impl Temporary {
    pub fn new(name: &str) -> Temporary {
        let name = format!("anser-backup-{}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).expect("temporary");
        Temporary(folder)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Puts a file here, under a name.
    pub fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, bytes).expect("temporary");
        path
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Nothing depends on it.
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub fn listed(bytes: &[u8]) -> Listed {
    Listed { path: "a".to_owned(), bytes: bytes.len() as u64, checksum: checksum(bytes) }
}

pub fn inventory(files: Vec<Listed>) -> Inventory {
    Inventory { format: 1, shards: 1, made_ms: 0, positions: vec![0], files }
}
