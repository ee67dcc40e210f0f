//! The LSM's list of its files, looked at before the LSM opens it: it believes what it reads there,
//! and removes every file that the list does not name.
//!
//! Invariants:
//! 1. A list that is not the one in force, byte for byte, is refused, and nothing is removed.
//! 2. So is a list that names a file that is not there, and a file that is none of the LSM's.
//! 3. Each file's checksum is known without opening the LSM: a file with another is told by name.
//!
//! `current` names the list in force and has its checksum; tables and contents have numbers for
//! names (lsm-tree 3.1).

use super::opening::entries;
use super::{CONTENTS, KEYSPACES, TABLES, unreadable};
use crate::store::StoreError;
use crate::store::inventory::{Checksum, Summer, checksum};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};

/// What names the list in force: its number, its checksum, and the kind of that.
pub(super) const CURRENT: &str = "current";
pub(super) const CURRENT_BYTES: usize = 25;
/// Bytes read of a file at once.
const READ_BYTES: usize = 256 * 1024;

/// Files by their paths, each with the checksum of all its bytes.
pub(super) type Files = BTreeMap<PathBuf, Checksum>;

/// A list in force.
pub(super) struct List {
    /// What names it.
    pub current: [u8; CURRENT_BYTES],
    /// Where it is.
    pub path: PathBuf,
    /// Itself.
    pub bytes: Vec<u8>,
}

impl List {
    /// The tables that it names, if it can be read.
    pub fn tables(&self) -> Option<Vec<(u64, Checksum)>> {
        Some(named(&self.bytes)?.0)
    }
}

/// Where the list of that number is.
pub(super) fn path(keyspace: &Path, number: u64) -> PathBuf {
    keyspace.join(format!("v{number}"))
}

/// The number of the list that a `current` is of, if these are its bytes.
pub(super) fn number_if_of(current: &[u8; CURRENT_BYTES], list: &[u8]) -> Option<u64> {
    let (number, rest) = current.split_first_chunk()?;
    let (sum, kind) = rest.split_first_chunk()?;
    let is_it = kind == [0] && u128::from_le_bytes(*sum) == checksum(list).0;
    is_it.then_some(u64::from_le_bytes(*number))
}

/// The files of a keyspace that its list names; all of them are there.
pub(super) fn files(keyspace: &Path) -> Result<Files, StoreError> {
    let list = in_force(keyspace)?;
    let unknown = || broken(&list.path, "it is of another layout than this server reads");
    let (tables, contents) = named(&list.bytes).ok_or_else(unknown)?;
    let mut files = Files::new();
    for (folder, named) in [(TABLES, tables), (CONTENTS, contents)] {
        let folder = keyspace.join(folder);
        let there = numbers(&folder)?;
        for (number, sum) in named {
            let file = folder.join(number.to_string());
            if !there.contains(&number) {
                return Err(broken(&file, "it is missing"));
            }
            files.insert(file, sum);
        }
    }
    Ok(files)
}

/// Those of these files that are not what was written, each read when it is its turn.
pub(super) fn changed(files: Files) -> impl Iterator<Item = Result<PathBuf, StoreError>> {
    files.into_iter().filter_map(|(path, expected)| match sum_of(&path) {
        Ok(sum) if sum == expected => None,
        Ok(_) => Some(Ok(path)),
        Err(error) => Some(Err(unreadable(&path, error))),
    })
}

/// An error of the LSM over this folder: in its place, which file is not what was written, if one
/// is. Reads files until it is found.
pub(super) fn tell(folder: &Path, error: StoreError) -> StoreError {
    let changed = || -> Result<Option<PathBuf>, StoreError> {
        let keyspaces = folder.join(KEYSPACES);
        for entry in entries(&keyspaces)? {
            let (name, _) = entry?;
            if let Some(file) = changed(files(&keyspaces.join(name))?).next() {
                return file.map(Some);
            }
        }
        Ok(None)
    };
    let why = "its bytes are not those that were written";
    match error {
        StoreError::Open { .. } | StoreError::Disk(_) | StoreError::Unreadable(_) => {
            changed().ok().flatten().map_or(error, |file| broken(&file, why))
        }
        error => error,
    }
}

/// The list in force.
pub(super) fn in_force(keyspace: &Path) -> Result<List, StoreError> {
    let names = keyspace.join(CURRENT);
    let read = |path: &Path| fs::read(path).map_err(|error| unreadable(path, error));
    let Ok(current) = <[u8; CURRENT_BYTES]>::try_from(read(&names)?) else {
        return Err(broken(&names, "it is not as long as it was written"));
    };
    let (number, _) = current.split_first_chunk().expect("it is longer");
    let path = path(keyspace, u64::from_le_bytes(*number));
    if !path.is_file() {
        return Err(broken(&path, "the list of the store's files, it is missing"));
    }
    let bytes = read(&path)?;
    match number_if_of(&current, &bytes) {
        Some(_) => Ok(List { current, path, bytes }),
        None => Err(broken(
            &path,
            "the list of the store's files, it is not the one that `current` beside it is of",
        )),
    }
}

/// Numbers and checksums of tables, and of contents.
type Named = (Vec<(u64, Checksum)>, Vec<(u64, Checksum)>);

/// What a list names; `None`: it cannot be read.
fn named(list: &[u8]) -> Option<Named> {
    let archive = sfa::Reader::from_reader(&mut Cursor::new(list)).ok()?;
    let section = |name: &[u8]| {
        let entry = archive.toc().section(name)?;
        let begin = usize::try_from(entry.pos()).ok()?;
        list.get(begin..)?.get(..usize::try_from(entry.len()).ok()?)
    };
    let (mut tables, mut contents) = (Vec::new(), Vec::new());
    let mut bytes = Bytes(section(b"tables")?);
    for _ in 0..bytes.number::<1>()? {
        for _ in 0..bytes.number::<1>()? {
            for _ in 0..bytes.number::<4>()? {
                tables.push(bytes.file()?);
                // What is older than what.
                bytes.number::<8>()?;
            }
        }
    }
    let mut bytes = Bytes(section(b"blob_files")?);
    for _ in 0..bytes.number::<4>()? {
        contents.push(bytes.file()?);
    }
    Some((tables, contents))
}

/// Bytes that are still to be read.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    /// A number of so many bytes, the lowest first.
    fn number<const BYTES: usize>(&mut self) -> Option<u128> {
        let (number, rest) = self.0.split_first_chunk::<BYTES>()?;
        self.0 = rest;
        Some(number.iter().rev().fold(0, |number, byte| number << 8 | u128::from(*byte)))
    }

    /// A file's number, and its checksum of the only kind.
    fn file(&mut self) -> Option<(u64, Checksum)> {
        let number = u64::try_from(self.number::<8>()?).ok()?;
        let is_known = self.number::<1>()? == 0;
        let sum = self.number::<16>()?;
        is_known.then_some((number, Checksum(sum)))
    }
}

/// The files of a folder by their numbers. The LSM cannot open a store beside any other.
fn numbers(folder: &Path) -> Result<BTreeSet<u64>, StoreError> {
    // A store may have nothing apart from its tables.
    if !folder.is_dir() {
        return Ok(BTreeSet::new());
    }
    let number = |entry: Result<(String, bool), StoreError>| {
        let (name, is_file) = entry?;
        let number = name.parse().ok().filter(|_| is_file);
        number.ok_or_else(|| StoreError::Foreign { file: folder.join(name) })
    };
    entries(folder)?.map(number).collect()
}

fn sum_of(path: &Path) -> io::Result<Checksum> {
    let (mut file, mut bytes, mut summer) =
        (File::open(path)?, vec![0; READ_BYTES], Summer::default());
    loop {
        match file.read(&mut bytes)? {
            0 => return Ok(summer.sum()),
            length => summer.add(&bytes[..length]),
        }
    }
}

fn broken(file: &Path, why: &'static str) -> StoreError {
    StoreError::Broken { file: file.to_owned(), why }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use crate::store::tests::put;
    use crate::store::view::View;
    use crate::store::view::copies::COPIES;
    use crate::store::view::tests::{BEGINNING, TempFolder, bytes_of, copy, flip, open_apart};

    /// A store with tables and contents, closed.
    fn store() -> TempFolder {
        let folder = TempFolder::new();
        let mut view = open_apart(&folder);
        for (key, byte) in [(b"a", 1), (b"b", 2), (b"c", 3)] {
            put(&mut view, key, &[byte; 5_000]);
        }
        drop(view);
        folder
    }

    fn keyspace(folder: &TempFolder) -> PathBuf {
        folder.path().join("keyspaces/1")
    }

    /// What opening says of a copy that was changed, and has no second copies of its lists. Nothing
    /// else may have changed.
    fn refusal(of: &TempFolder, change: impl FnOnce(&Path)) -> StoreError {
        let folder = TempFolder::new();
        copy(of.path(), folder.path());
        fs::remove_dir_all(folder.path().join(COPIES)).expect("a store has some");
        change(&keyspace(&folder));
        let before = bytes_of(folder.path());
        let opened = View::open_to_read(folder.path(), 0).err();
        let refusal = opened.expect("it is damaged");
        assert!(bytes_of(folder.path()) == before, "nothing was changed: {refusal}");
        refusal
    }

    fn list(keyspace: &Path) -> PathBuf {
        in_force(keyspace).expect("it is well").path
    }

    /// Invariant 1 of store::view::lists.
    #[test]
    fn a_list_with_any_other_byte_is_refused_and_nothing_is_removed() {
        let store = store();
        let list = list(&keyspace(&store));
        let name = list.file_name().expect("it has one").to_owned();
        // Every part of it has a byte among these.
        for at in (0..fs::read(&list).expect("a file").len()).step_by(11) {
            let refusal = refusal(&store, |keyspace| flip(&keyspace.join(&name), at));
            assert!(matches!(refusal, StoreError::Broken { .. }), "byte {at}: {refusal}");
        }
        for at in 0..CURRENT_BYTES {
            let refusal = refusal(&store, |keyspace| flip(&keyspace.join(CURRENT), at));
            assert!(matches!(refusal, StoreError::Broken { .. }), "byte {at}: {refusal}");
        }
        let shorter = refusal(&store, |keyspace| {
            let current = keyspace.join(CURRENT);
            let bytes = fs::read(&current).expect("a file");
            fs::write(current, &bytes[..CURRENT_BYTES - 1]).expect("it is ours");
        });
        assert!(matches!(shorter, StoreError::Broken { .. }), "{shorter}");
        let gone = refusal(&store, |keyspace| {
            fs::remove_file(keyspace.join(&name)).expect("it was there");
        });
        assert!(gone.to_string().contains("missing"), "{gone}");
    }

    /// Invariant 2 of store::view::lists.
    #[test]
    fn a_file_that_is_missing_or_foreign_is_told_by_its_name() {
        let store = store();
        let files = files(&keyspace(&store)).expect("all are there");
        for file in files.keys() {
            let relative = file.strip_prefix(keyspace(&store)).expect("it is in there");
            let refusal = refusal(&store, |keyspace| {
                fs::remove_file(keyspace.join(relative)).expect("it was there");
            });
            let words = refusal.to_string();
            assert!(words.contains(&*relative.to_string_lossy()), "{words}");
        }
        for folder in [TABLES, CONTENTS] {
            let refusal = refusal(&store, |keyspace| {
                fs::write(keyspace.join(folder).join("junk"), "?").expect("it is ours");
            });
            assert!(matches!(refusal, StoreError::Foreign { .. }), "{refusal}");
        }
    }

    /// Invariant 3 of store::view::lists.
    #[test]
    fn a_file_with_another_byte_is_told_by_its_name() {
        let store = store();
        let files = files(&keyspace(&store)).expect("all are there");
        assert!(files.keys().any(|file| file.parent().is_some_and(|it| it.ends_with(CONTENTS))));
        let changed = || -> Vec<PathBuf> {
            super::changed(files.clone()).collect::<Result<_, _>>().expect("they can be read")
        };
        assert_eq!(changed(), Vec::<PathBuf>::new());
        for file in files.keys() {
            flip(file, 20);
            assert_eq!(changed(), std::slice::from_ref(file));
            flip(file, 20);
        }
        // What the LSM itself refuses without a word gets one.
        let table = files.keys().find(|file| file.parent().is_some_and(|it| it.ends_with(TABLES)));
        let relative = table.expect("a table").strip_prefix(keyspace(&store)).expect("in there");
        let refusal = refusal(&store, |keyspace| {
            let bytes = fs::read(keyspace.join(relative)).expect("a file");
            fs::write(keyspace.join(relative), &bytes[..bytes.len() / 2]).expect("it is ours");
        });
        let words = refusal.to_string();
        assert!(words.contains(&*relative.to_string_lossy()), "{words}");
        let view = View::open(store.path(), BEGINNING, 0).expect("it is whole again");
        assert!(view.get(b"a", |value| value == [1; 5_000]).expect("it is there") == Some(true));
    }
}
