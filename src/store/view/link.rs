//! A store's files as they are at one moment, under second names.
//!
//! Invariants:
//! 1. What is linked opens as a store of its own, with the rows that `apply` had put there when
//!    linking began, whatever compaction does meanwhile.
//! 2. The checksum of a table is that of the bytes that were written, not of what the disk has made
//!    of them: nothing is read to know it.
//!
//! Tables and what lies apart from them never change, so a second name keeps one as it is. The few
//! small files that do change are copied. Left to others: which moment it is (`node::indexer`).

use super::lists::{self, CURRENT};
use super::{CONTENTS, KEYSPACES, TABLES, View, damaged, unreadable};
use crate::limits::LINK_TRIES_MAX;
use crate::store::StoreError;
use crate::store::inventory::{Checksum, Listed, checksum};
use fjall::AbstractTree;
use std::fs;
use std::io;
use std::path::Path;

/// Where linked files go, and which they are.
struct Linking<'a> {
    folder: &'a Path,
    to: &'a Path,
    files: Vec<Listed>,
}

impl View {
    /// Gives the files of this store, which is in `folder`, second names below `to`, which is not
    /// there yet. Paths of what is returned begin there. Nothing of it is synced.
    pub fn link(&self, folder: &Path, to: &Path) -> Result<Vec<Listed>, StoreError> {
        let mut linking = Linking { folder, to, files: Vec::new() };
        linking.copy_small(Path::new("")).map_err(|error| unreadable(folder, error))?;
        // The LSM knows its folders by absolute paths, we perhaps by others.
        let keyspaces = Path::new(KEYSPACES);
        let tree = keyspaces.join(self.rows.path().file_name().expect("a keyspace has a name"));
        let named = fs::read_dir(folder.join(keyspaces));
        for entry in named.map_err(|error| unreadable(folder, error))? {
            let entry = entry.map_err(|error| unreadable(folder, error))?;
            let keyspace = keyspaces.join(entry.file_name());
            // fjall's own keyspace, of names, was written when the store was made.
            if keyspace != tree {
                let copied = linking.copy_small(&keyspace);
                copied
                    .and_then(|()| linking.copy_small(&keyspace.join(TABLES)))
                    .map_err(|error| unreadable(folder, error))?;
            }
        }
        for _ in 0..LINK_TRIES_MAX {
            match self.link_tables(&mut linking, &tree) {
                Ok(true) => return Ok(linking.files),
                Ok(false) => {}
                Err(error) => return Err(unreadable(folder, error)),
            }
        }
        Err(damaged(folder, "a list of tables that stays"))
    }

    /// Links the tables of the newest list; `false`: there is a newer one by now.
    fn link_tables(&self, linking: &mut Linking<'_>, tree: &Path) -> io::Result<bool> {
        // As long as it is held its tables stay.
        let version = self.rows.tree.current_version();
        let list = lists::path(tree, version.id());
        let current = fs::read(linking.folder.join(tree).join(CURRENT))?;
        if current.get(..8) != Some(&version.id().to_le_bytes()[..]) {
            return Ok(false);
        }
        match fs::read(linking.folder.join(&list)) {
            Ok(bytes) => {
                linking.put(&tree.join(CURRENT), &current)?;
                linking.put(&list, &bytes)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        }
        let tables = tree.join(TABLES);
        fs::create_dir_all(linking.to.join(&tables))?;
        for table in version.iter_tables() {
            let checksum = Checksum(table.checksum().into_u128());
            linking.link(&tables.join(table.id().to_string()), checksum)?;
        }
        let contents = tree.join(CONTENTS);
        fs::create_dir_all(linking.to.join(&contents))?;
        for file in version.blob_files.iter() {
            let checksum = Checksum(file.checksum().into_u128());
            linking.link(&contents.join(file.id().to_string()), checksum)?;
        }
        Ok(true)
    }
}

impl Linking<'_> {
    /// Copies the files of one folder, and not those of folders in it.
    fn copy_small(&mut self, path: &Path) -> io::Result<()> {
        for entry in fs::read_dir(self.folder.join(path))? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                self.put(&path.join(entry.file_name()), &fs::read(entry.path())?)?;
            }
        }
        Ok(())
    }

    fn put(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let to = self.to.join(path);
        fs::create_dir_all(to.parent().unwrap_or(self.to))?;
        fs::write(to, bytes)?;
        self.note(path, bytes.len() as u64, checksum(bytes));
        Ok(())
    }

    fn link(&mut self, path: &Path, checksum: Checksum) -> io::Result<()> {
        let to = self.to.join(path);
        fs::hard_link(self.folder.join(path), &to)?;
        self.note(path, fs::metadata(&to)?.len(), checksum);
        Ok(())
    }

    fn note(&mut self, path: &Path, bytes: u64, checksum: Checksum) {
        let path = path.to_str().expect("the LSM's names are ASCII").to_owned();
        self.files.push(Listed { path, bytes, checksum });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{APART_BYTES, STORE_MERGED_TABLES};
    use crate::store::tests::rows;
    use crate::store::view::tests::{BEGINNING, TempFolder, open_apart};
    use crate::store::{Batch, Direction, Store};

    const ROWS: u32 = 200;
    const ROUNDS: u32 = 60;
    const ALL: (&[u8], &[u8]) = (&[1], &[2]);

    /// A row's value; some lie apart from their table.
    fn of_round(row: u32, round: u32) -> Vec<u8> {
        let times = if row.is_multiple_of(20) { APART_BYTES as usize } else { 1 };
        round.to_le_bytes().repeat(times)
    }

    fn fill(view: &mut View, round: u32) {
        let mut batch = Batch::new();
        for row in 0..ROWS {
            batch.put(&[&[1][..], &row.to_be_bytes()].concat(), &of_round(row, round));
        }
        view.write(&batch).expect("the store is well");
    }

    /// Invariants 1 and 2 of store::view::link.
    #[test]
    fn what_is_linked_opens_with_the_rows_of_that_moment_whatever_is_merged() {
        let (folder, other) = (TempFolder::new(), TempFolder::new());
        let mut view = open_apart(&folder);
        for round in 0..ROUNDS {
            fill(&mut view, round);
            view.merge_to(STORE_MERGED_TABLES).expect("the store is well");
            let to = other.path().join(round.to_string());
            for file in view.link(folder.path(), &to).expect("a moment is found") {
                let bytes = fs::read(to.join(&file.path)).expect("it was linked");
                let found = (bytes.len() as u64, checksum(&bytes));
                assert_eq!(found, (file.bytes, file.checksum), "{}", file.path);
            }
        }
        let left = fs::read_dir(view.rows.path().join(TABLES)).expect("fjall's tables").count();
        assert!(left < ROUNDS as usize, "{left} tables are left of {ROUNDS} and more");
        drop(view);
        for round in 0..ROUNDS {
            let to = other.path().join(round.to_string());
            let copy = View::open(&to, BEGINNING, 1 << 20).expect("it is a store");
            let found = rows(&copy, ALL, Direction::Forward);
            assert_eq!(found.len(), ROWS as usize, "round {round}");
            let mut expected = (0..ROWS).map(|row| of_round(row, round));
            assert!(found.iter().all(|(_, value)| expected.next().as_ref() == Some(value)));
        }
    }
}
