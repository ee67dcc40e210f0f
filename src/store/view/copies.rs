//! Second copies of the small files without which the LSM cannot open a store at all: a bit that
//! changes in one of them costs nothing. (One that changes in a table costs what the block of the
//! table holds, and what lies apart has checksums of its own.)
//!
//! Invariants:
//! 1. Any damage to one of `version`, `current`, the list that it names, or the files in which the
//!    LSM keeps the names of keyspaces, is put back from its copy before the LSM opens.
//! 2. What is whole is never replaced, and what is damaged never by the copy of an older list.
//! 3. A copy that is damaged, half written or missing does no harm, and is made anew.
//!
//! Copies are written in place and are not synced: they serve against what happens to a disk, not
//! against a crash, which leaves the files themselves whole. So they cost a write into memory for
//! each new list.

use super::lists::{self, CURRENT, CURRENT_BYTES, List};
use super::opening::entries;
use super::{KEYSPACES, TABLES, unreadable};
use crate::store::StoreError;
use crate::store::inventory::checksum;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The folder of copies, beside the LSM's files. The copy of a list is named after its keyspace,
/// and the copy of a table after its keyspace and itself: `0-7`.
pub(super) const COPIES: &str = "copies";
/// The LSM's own keyspace, of names. It is written when a store is made, and small.
const NAMES: &str = "0";
/// What is put back while it is written.
const UNFINISHED: &str = "unfinished";
/// What tells the LSM its layout, and what stands in it.
pub(super) const VERSION: &str = "version";
const VERSION_BYTES: &[u8] = b"FJL\x03";
/// So many bytes of a `current` may be damaged: of 16 bytes of checksum, those of any other list
/// differ in more.
const DAMAGE_MAX: usize = 12;

/// The copies of one store.
#[derive(Clone)]
pub(super) struct Copies {
    folder: PathBuf,
}

impl Copies {
    /// Of the store in `folder`.
    pub fn of(folder: &Path) -> Copies {
        Copies { folder: folder.to_owned() }
    }

    /// Puts back what is damaged and has a copy. Returns which files that are.
    pub fn mend(&self) -> Result<Vec<PathBuf>, StoreError> {
        let (mut mended, copies) = (Vec::new(), self.folder.join(COPIES));
        if !copies.is_dir() {
            return Ok(mended);
        }
        self.put_back(self.folder.join(VERSION), VERSION_BYTES, &mut mended)?;
        // Lists first: they say what tables have to be.
        let mut names = entries(&copies)?.collect::<Result<Vec<_>, _>>()?;
        names.sort_by_key(|(name, _)| name.contains('-'));
        for (name, _) in names {
            let (keyspace, table) = name
                .split_once('-')
                .map_or((&*name, None), |(keyspace, table)| (keyspace, Some(table)));
            let keyspace = self.folder.join(KEYSPACES).join(keyspace);
            // A copy that cannot be read is none.
            let Ok(copy) = fs::read(copies.join(&name)) else { continue };
            match table {
                _ if !keyspace.is_dir() => {}
                None => self.mend_list(&keyspace, &copy, &mut mended)?,
                Some(table) => self.mend_table(&keyspace, table, &copy, &mut mended)?,
            }
        }
        Ok(mended)
    }

    /// Copies all that there is to copy, from a store that has opened.
    pub fn renew_all(&self) -> io::Result<()> {
        fs::create_dir_all(self.folder.join(COPIES))?;
        let names = self.folder.join(KEYSPACES).join(NAMES);
        for table in fs::read_dir(names.join(TABLES))? {
            let table = table?;
            let name = format!("{NAMES}-{}", table.file_name().to_string_lossy());
            overwrite(&self.open(&name)?, &fs::read(table.path())?)?;
        }
        for keyspace in fs::read_dir(self.folder.join(KEYSPACES))? {
            self.renew(&keyspace?.path())?;
        }
        Ok(())
    }

    /// Copies the list in force of one keyspace.
    pub fn renew(&self, keyspace: &Path) -> io::Result<()> {
        let Some(name) = keyspace.file_name() else { return Ok(()) };
        let copy = self.open(&name.to_string_lossy())?;
        // Lists change in several threads, and the last one to copy has to see the last change.
        copy.lock()?;
        // Another thread may change it at this moment; then that one copies it, after us.
        let Ok(List { current, bytes, .. }) = lists::in_force(keyspace) else { return Ok(()) };
        overwrite(&copy, &[&current[..], &bytes].concat())
    }

    /// A copy to be written.
    fn open(&self, name: &str) -> io::Result<File> {
        let path = self.folder.join(COPIES).join(name);
        File::options().write(true).create(true).truncate(false).open(path)
    }

    /// Puts back the list in force, and what names it, if they are damaged and this is their copy.
    fn mend_list(
        &self,
        keyspace: &Path,
        copy: &[u8],
        mended: &mut Vec<PathBuf>,
    ) -> Result<(), StoreError> {
        if lists::in_force(keyspace).is_ok() {
            return Ok(());
        }
        let Some((current, bytes)) = copy.split_first_chunk::<CURRENT_BYTES>() else {
            return Ok(());
        };
        let Some(number) = lists::number_if_of(current, bytes) else { return Ok(()) };
        let found = fs::read(keyspace.join(CURRENT)).unwrap_or_default();
        if !may_have_been(&found, current) || has_newer(keyspace, number)? {
            return Ok(());
        }
        self.put_back(lists::path(keyspace, number), bytes, mended)?;
        self.put_back(keyspace.join(CURRENT), current, mended)
    }

    /// Puts back a table that is not what its list says, if its copy is.
    fn mend_table(
        &self,
        keyspace: &Path,
        table: &str,
        copy: &[u8],
        mended: &mut Vec<PathBuf>,
    ) -> Result<(), StoreError> {
        let Ok(list) = lists::in_force(keyspace) else { return Ok(()) };
        let sum =
            list.tables().into_iter().flatten().find(|(number, _)| number.to_string() == *table);
        match sum.is_some_and(|(_, sum)| sum == checksum(copy)) {
            true => self.put_back(keyspace.join(TABLES).join(table), copy, mended),
            false => Ok(()),
        }
    }

    /// Makes a file hold these bytes if it holds others, whole or not at all.
    fn put_back(
        &self,
        path: PathBuf,
        bytes: &[u8],
        mended: &mut Vec<PathBuf>,
    ) -> Result<(), StoreError> {
        if fs::read(&path).is_ok_and(|found| found == bytes) {
            return Ok(());
        }
        // Not beside it: the LSM wants no other name among its files.
        let unfinished = self.folder.join(COPIES).join(UNFINISHED);
        let folder = path.parent().expect("a file is in a folder");
        let write = || {
            let mut file = File::create(&unfinished)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&unfinished, &path)?;
            File::open(folder)?.sync_all()
        };
        write().map_err(|error| unreadable(&path, error))?;
        mended.push(path);
        Ok(())
    }
}

/// In place: a file that is made anew costs the file system's journal more than its bytes.
fn overwrite(file: &File, bytes: &[u8]) -> io::Result<()> {
    file.write_all_at(bytes, 0)?;
    match file.metadata()?.len() == bytes.len() as u64 {
        true => Ok(()),
        false => file.set_len(bytes.len() as u64),
    }
}

/// Whether damage makes the one of the other. Nothing, and zeros, are what a disk makes of any.
fn may_have_been(found: &[u8], written: &[u8; CURRENT_BYTES]) -> bool {
    let differ = found.iter().zip(written).filter(|(a, b)| a != b).count();
    let differ = differ + found.len().abs_diff(CURRENT_BYTES);
    differ <= DAMAGE_MAX || found.iter().all(|byte| *byte == 0)
}

/// A list of a higher number is on disk before it is in force: without one, none is.
fn has_newer(keyspace: &Path, than: u64) -> Result<bool, StoreError> {
    for entry in entries(keyspace)? {
        let (name, _) = entry?;
        let number = name.strip_prefix('v').and_then(|number| number.parse::<u64>().ok());
        if number.is_some_and(|number| number > than) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{put, value};
    use crate::store::view::View;
    use crate::store::view::tests::{BEGINNING, TempFolder, bytes_of, copy, flip, open};

    /// A store with a few tables, closed, and its small files.
    fn store() -> (TempFolder, Vec<PathBuf>) {
        let folder = TempFolder::new();
        let mut view = open(&folder);
        for key in [b"a", b"b", b"c"] {
            put(&mut view, key, b"1");
        }
        drop(view);
        let list = |keyspace: &str| {
            let keyspace = Path::new(KEYSPACES).join(keyspace);
            let list = lists::in_force(&folder.path().join(&keyspace)).expect("it is well");
            let (number, _) = list.current.split_first_chunk().expect("it is longer");
            [keyspace.join(CURRENT), lists::path(&keyspace, u64::from_le_bytes(*number))]
        };
        let small = [list("0"), list("1")].concat();
        let names = Path::new(KEYSPACES).join(NAMES).join(TABLES).join("0");
        let small = [small, vec![PathBuf::from(VERSION), names]].concat();
        (folder, small)
    }

    /// The same after a change; what of it was put back, or why it is refused.
    fn changed(
        of: &TempFolder,
        change: impl FnOnce(&Path),
    ) -> (TempFolder, Result<Vec<PathBuf>, StoreError>) {
        let folder = TempFolder::new();
        copy(of.path(), folder.path());
        change(folder.path());
        let view = View::open(folder.path(), BEGINNING, 0);
        let mended = view.map(|view| {
            assert!([b"a", b"b", b"c"].iter().all(|key| value(&view, *key) == Some(b"1".to_vec())));
            let mended = view.mended().iter();
            mended.map(|path| path.strip_prefix(folder.path()).expect("in it").into()).collect()
        });
        (folder, mended)
    }

    fn small_bytes(folder: &TempFolder, small: &[PathBuf]) -> Vec<Vec<u8>> {
        small.iter().map(|file| fs::read(folder.path().join(file)).expect("a file")).collect()
    }

    /// Invariant 1 of store::view::copies.
    #[test]
    fn a_small_file_with_any_other_byte_gone_or_empty_is_put_back() {
        let (store, small) = store();
        let before = small_bytes(&store, &small);
        for file in &small {
            let length = fs::read(store.path().join(file)).expect("a file").len();
            let damages = (0..length).step_by(1 + length / 20).map(Some).chain([None]);
            for at in damages {
                let (folder, mended) = changed(&store, |folder| match at {
                    Some(at) => flip(&folder.join(file), at),
                    None => fs::write(folder.join(file), "").expect("ours"),
                });
                let mended = mended.unwrap_or_else(|error| panic!("{file:?}, {at:?}: {error}"));
                assert_eq!(mended, std::slice::from_ref(file), "{at:?}");
                assert!(small_bytes(&folder, &small) == before, "{file:?}, {at:?}");
            }
        }
        let (_, mended) = changed(&store, |_| {});
        assert_eq!(mended.expect("it is well"), Vec::<PathBuf>::new());
    }

    /// Invariant 2 of store::view::copies.
    #[test]
    fn the_copy_of_an_older_list_replaces_nothing() {
        let (store, small) = store();
        let (current, list) = (&small[2], &small[3]);
        let copies = bytes_of(&store.path().join(COPIES));
        // The list goes on, and its copy was never written.
        put(&mut open(&store), b"d", b"1");
        let newer = store.path().join(KEYSPACES).join("1");
        let newer = lists::in_force(&newer).expect("it is well");
        for (path, bytes) in &copies {
            fs::write(path, bytes).expect("ours");
        }
        let (folder, mended) = changed(&store, |_| {});
        assert_eq!(mended.expect("it is well"), Vec::<PathBuf>::new());
        assert_eq!(value(&open(&folder), b"d"), Some(b"1".to_vec()));
        // Both lists are there, or only what names the newer one.
        for gone in [None, Some(&newer)] {
            for damaged in [current, list] {
                let (folder, refused) = changed(&store, |folder| {
                    let list = newer.path.strip_prefix(store.path()).expect("in it");
                    match gone {
                        Some(_) => fs::remove_file(folder.join(list)).expect("it was there"),
                        None if damaged == current => flip(&folder.join(current), 9),
                        None => flip(&folder.join(list), 9),
                    }
                });
                assert!(refused.is_err(), "{damaged:?}");
                let left = fs::read(folder.path().join(current)).expect("a file");
                assert!(left[..8] == newer.current[..8], "it was left as it is");
            }
        }
    }

    /// Invariant 3 of store::view::copies.
    #[test]
    fn a_copy_that_is_damaged_or_gone_does_no_harm_and_is_made_anew() {
        let (store, small) = store();
        let (before, copies) = (small_bytes(&store, &small), store.path().join(COPIES));
        let copied = bytes_of(&copies);
        assert_eq!(copied.len(), 3, "two lists, and the table of names");
        for path in copied.keys() {
            let name = path.file_name().expect("it has one");
            for cut in [None, Some(0), Some(30)] {
                let (folder, mended) = changed(&store, |folder| {
                    let copy = folder.join(COPIES).join(name);
                    match cut {
                        None => flip(&copy, 40),
                        Some(cut) => fs::write(&copy, &copied[path][..cut]).expect("ours"),
                    }
                });
                assert_eq!(mended.expect("it is well"), Vec::<PathBuf>::new());
                assert!(small_bytes(&folder, &small) == before);
                let anew = fs::read(folder.path().join(COPIES).join(name)).expect("a file");
                assert!(anew == copied[path], "{name:?}");
            }
        }
        let (folder, mended) = changed(&store, |folder| {
            fs::remove_dir_all(folder.join(COPIES)).expect("it was there");
        });
        assert_eq!(mended.expect("a store of an earlier server"), Vec::<PathBuf>::new());
        assert_eq!(bytes_of(&folder.path().join(COPIES)).len(), 3);
    }
}
