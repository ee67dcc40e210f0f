//! The files of a shard's commit log: making, finding, opening and reading them.
//!
//! Invariants:
//! 1. A file with a segment's name is whole: it is filled with zeros and synced under another name
//!    first.
//! 2. Nothing is removed but what was never finished.
//!
//! Left to others: what is in a file (`store::log`), writing to it (`log_writer`).

use crate::node::disk_cache;
use crate::node::ring::Ends;
use crate::store::aligned::{AlignedBuffer, BLOCK_BYTES};
use crate::store::log::segments::Place;
use crate::store::{StoreError, is_want_of_room};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const SUFFIX: &str = ".segment";
const UNFINISHED: &str = ".new";
/// Bytes of zeros written at once: half a millisecond of a disk's time.
const ZEROS: usize = 256 * 1024;

/// Open files by their number.
#[derive(Default)]
pub struct LogFiles {
    folder: PathBuf,
    open: BTreeMap<u32, OwnedFd>,
    durable: Ends,
}

impl LogFiles {
    /// The files of a folder, none of them open.
    pub fn new(folder: PathBuf) -> LogFiles {
        LogFiles { folder, open: BTreeMap::new(), durable: Ends::default() }
    }

    /// Adds a file that [`make`] or [`open`] gave.
    pub fn add(&mut self, number: u32, file: OwnedFd) {
        if self.open.is_empty() {
            self.durable = disk_cache::durable(file.as_fd());
        }
        self.open.insert(number, file);
    }

    /// How a write to them gets onto the disk.
    pub fn durable(&self) -> Ends {
        self.durable
    }

    /// An open file.
    pub fn file(&self, number: u32) -> BorrowedFd<'_> {
        self.open.get(&number).expect("every place of the log has its file open").as_fd()
    }

    /// Where a file is, for words.
    pub fn path(&self, number: u32) -> PathBuf {
        path(&self.folder, number)
    }
}

/// The path of a segment.
pub fn path(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("{number:06}{SUFFIX}"))
}

/// The segments of a folder, by number; the folder is made if it is not there. What was never
/// finished is removed.
pub fn list(folder: &Path) -> Result<Vec<Place>, StoreError> {
    let refused = |source| StoreError::Folder { folder: folder.to_owned(), source };
    fs::create_dir_all(folder).map_err(refused)?;
    let (places, unfinished) = find(folder)?;
    unfinished.iter().try_for_each(fs::remove_file).map_err(refused)?;
    Ok(places)
}

/// The segments of a folder, by number, and the files that were never finished. Changes nothing.
pub fn find(folder: &Path) -> Result<(Vec<Place>, Vec<PathBuf>), StoreError> {
    let refused = |source| StoreError::Folder { folder: folder.to_owned(), source };
    let (mut places, mut unfinished) = (Vec::new(), Vec::new());
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((places, unfinished)),
        entries => entries.map_err(refused)?,
    };
    for entry in entries {
        let entry = entry.map_err(refused)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(UNFINISHED) {
            unfinished.push(entry.path());
            continue;
        }
        let bytes = entry.metadata().map_err(refused)?.len();
        let number = name.strip_suffix(SUFFIX).and_then(|number| number.parse().ok());
        let foreign = |why| StoreError::LogForeign { segment: entry.path(), why };
        let number = number.ok_or_else(|| foreign("its name is none of ours"))?;
        if bytes < 2 * BLOCK_BYTES as u64 || !bytes.is_multiple_of(BLOCK_BYTES as u64) {
            return Err(foreign("its size is none of ours"));
        }
        places.push(Place { number, bytes });
    }
    places.sort();
    Ok((places, unfinished))
}

/// The first `length` bytes of a segment.
pub fn read(folder: &Path, number: u32, length: u64) -> Result<Vec<u8>, StoreError> {
    let segment = path(folder, number);
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(length).expect("segments fit into memory")];
        File::open(&segment)?.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    };
    read().map_err(|source| StoreError::Folder { folder: segment.clone(), source })
}

/// Makes a segment full of zeros, whole and synced, and opens it. Takes as long as the disk does,
/// and as `rest`, which is told after each piece how many bytes are there. Nothing is left of one
/// for which there is no room.
pub fn make(
    folder: &Path,
    number: u32,
    bytes: u64,
    mut rest: impl FnMut(u64),
) -> Result<OwnedFd, StoreError> {
    let segment = path(folder, number);
    let unfinished = segment.with_extension(&UNFINISHED[1..]);
    let mut make = || -> io::Result<OwnedFd> {
        let file = open_file(&unfinished, OFlags::CREATE | OFlags::TRUNC)?;
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes)?;
        let mut zeros = AlignedBuffer::with_capacity(ZEROS);
        zeros.extend(&[0; ZEROS]);
        let mut at = 0;
        while at < bytes {
            let length = (bytes - at).min(ZEROS as u64) as usize;
            at += rustix::io::pwrite(&file, &zeros.bytes()[..length], at)? as u64;
            rest(at);
        }
        rustix::fs::fsync(&file)?;
        fs::rename(&unfinished, &segment)?;
        File::open(folder)?.sync_all()?;
        Ok(file)
    };
    make().map_err(|source| {
        // What is left there is removed at the next start.
        let _ = fs::remove_file(&unfinished);
        match is_want_of_room(&source) {
            true => StoreError::NoRoom,
            false => StoreError::Log { segment: segment.clone(), source },
        }
    })
}

/// Opens a segment to be written again.
pub fn open(folder: &Path, number: u32) -> Result<OwnedFd, StoreError> {
    let segment = path(folder, number);
    open_file(&segment, OFlags::empty()).map_err(|source| StoreError::Log { segment, source })
}

/// Whether files are written past the page cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Directness {
    /// They are.
    Direct,
    /// The file system refuses that.
    Cached,
}

/// How a folder's files are written.
pub fn directness(folder: &Path) -> io::Result<Directness> {
    let probe = folder.join(format!(".direct-{}", std::process::id()));
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::DIRECT;
    let opened = rustix::fs::open(&probe, flags, Mode::RUSR | Mode::WUSR);
    let written = opened.and_then(|file| {
        let mut block = AlignedBuffer::with_capacity(BLOCK_BYTES);
        block.extend(&[0; BLOCK_BYTES]);
        let flags = rustix::io::ReadWriteFlags::DSYNC;
        rustix::io::pwritev2(&file, &[io::IoSlice::new(block.bytes())], 0, flags)
    });
    // A probe that cannot be removed is a block of zeros with a telling name.
    let _ = fs::remove_file(&probe);
    match written {
        Ok(_) => Ok(Directness::Direct),
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(Directness::Cached),
        Err(error) => Err(error.into()),
    }
}

fn open_file(path: &Path, more: OFlags) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | more;
    let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
    match rustix::fs::open(path, flags | OFlags::DIRECT, mode) {
        // Some file systems have no direct writes: the page cache keeps the same promises.
        Err(Errno::INVAL) => Ok(rustix::fs::open(path, flags, mode)?),
        outcome => Ok(outcome?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::view::tests::TempFolder;

    /// Invariants 1 and 2 of node::log_files.
    #[test]
    fn a_segment_is_made_whole_and_found_again() {
        let folder = TempFolder::new();
        assert!(list(folder.path()).expect("made").is_empty());
        make(folder.path(), 3, 65_536, |_| ()).expect("there is room");
        fs::write(folder.path().join("000004.new"), "half").expect("temporary");
        let places = list(folder.path()).expect("ours");
        assert_eq!(places, [Place { number: 3, bytes: 65_536 }]);
        assert!(!folder.path().join("000004.new").exists());
        let bytes = read(folder.path(), 3, 65_536).expect("whole");
        assert!(bytes.iter().all(|byte| *byte == 0));
        open(folder.path(), 3).expect("it is there");
        directness(folder.path()).expect("the folder can be written");
        assert_eq!(list(folder.path()).expect("no probe is left").len(), 1);
    }

    /// Invariant 1 of node::log_files.
    #[test]
    fn a_segment_that_could_not_be_finished_has_no_segments_name() {
        let folder = TempFolder::new();
        assert!(list(folder.path()).expect("made").is_empty());
        // More than any disk has.
        assert!(make(folder.path(), 3, 1 << 62, |_| ()).is_err());
        assert!(!path(folder.path(), 3).exists());
        // Its other name is in use: it is not made under its own instead.
        fs::create_dir(folder.path().join("000004.new")).expect("temporary");
        assert!(make(folder.path(), 4, 65_536, |_| ()).is_err());
        assert!(!path(folder.path(), 4).exists());
    }

    /// Invariant 2 of node::log_files.
    #[test]
    fn what_is_no_segment_is_refused_and_named() {
        for (name, text) in [("notes.txt", "x"), ("000001.segment", "short")] {
            let folder = TempFolder::new();
            fs::create_dir_all(folder.path()).expect("temporary");
            fs::write(folder.path().join(name), text).expect("temporary");
            let refusal = list(folder.path()).expect_err("foreign");
            assert!(matches!(refusal, StoreError::LogForeign { .. }));
            assert!(refusal.to_string().contains(name), "{refusal}");
            assert!(folder.path().join(name).exists(), "it stays where it is");
        }
    }
}
