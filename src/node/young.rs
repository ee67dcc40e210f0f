//! The files of one folder that are being written, handed to the disk as they grow.
//!
//! Who writes a table, or a file of contents, syncs it at its end. Whatever the kernel has not
//! begun to write by then goes at once: a merge of 36 MiB kept the disk from the commit log, and
//! where the disk is memory the core from the shard, for 13 to 19 ms in one call.
//!
//! Invariants:
//! 1. What comes to a file is handed to the disk with the next step, of a new file at most
//!    [`YOUNG_LOOK_BYTES`] later.
//! 2. A file that grows is watched until its end, however many come and end beside it. One that
//!    rests while [`YOUNG_TABLES_MAX`] others come or grow is left to its own sync.
//!
//! Left to others: how fast it grows (`pace`).

use crate::limits::{YOUNG_BLIND_LOOKS, YOUNG_LOOK_BYTES, YOUNG_TABLES_MAX};
use rustix::fs::{Advice, fadvise};
use std::cmp::Reverse;
use std::fs::File;
use std::num::NonZeroU64;
use std::path::Path;

/// Numbers of files that may be skipped.
const NUMBERS_SKIPPED: u64 = 8;

/// Files of one folder that are being written, or were a moment ago.
#[derive(Default)]
pub struct Young {
    next_number: Option<u64>,
    watched: Vec<Watched>,
    /// How often something was written.
    steps: u64,
    /// Bytes that were written since new ones were looked for.
    unlooked: usize,
    /// Looks that found none, since the last that did.
    blind_looks: u32,
}

struct Watched {
    file: File,
    /// Bytes that the disk has been handed.
    handed: u64,
    /// The step at which it was found, or had grown last.
    grew: u64,
}

impl Young {
    /// Hands to the disk what has come to the newest files since the last time; so many bytes have.
    pub fn wrote(&mut self, folder: &Path, bytes: usize) {
        self.steps += 1;
        self.unlooked = self.unlooked.saturating_add(bytes);
        if self.unlooked >= YOUNG_LOOK_BYTES {
            self.unlooked = 0;
            self.look(folder);
        }
        for watched in &mut self.watched {
            watched.hand_over(self.steps);
        }
    }

    /// Opens files that are new: eight calls, most of which find nothing.
    fn look(&mut self, folder: &Path) {
        let first = self.next_number.unwrap_or_else(|| newest(folder));
        self.blind_looks += 1;
        for number in first..first + NUMBERS_SKIPPED {
            // One that is gone was merged already.
            if let Ok(file) = File::open(folder.join(number.to_string())) {
                self.watched.push(Watched { file, handed: 0, grew: self.steps });
                self.next_number = Some(number + 1);
                self.blind_looks = 0;
            }
        }
        if self.blind_looks >= YOUNG_BLIND_LOOKS {
            (self.next_number, self.blind_looks) = (None, 0);
        }
        // Not the oldest go: a large merge goes on while many small tables come and end.
        self.watched.sort_by_key(|watched| Reverse(watched.grew));
        self.watched.truncate(YOUNG_TABLES_MAX);
    }
}

impl Watched {
    fn hand_over(&mut self, step: u64) {
        let bytes = self.file.metadata().map_or(0, |about| about.len());
        if let Some(more) = NonZeroU64::new(bytes.saturating_sub(self.handed)) {
            // What nobody needs in memory the kernel begins to write. An error is the business of
            // the file's own sync.
            let _ = fadvise(&self.file, self.handed, Some(more), Advice::DontNeed);
            (self.handed, self.grew) = (bytes, step);
        }
    }
}

/// The highest number of a file.
fn newest(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let number = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    entries.flatten().filter_map(number).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::view::tests::TempFolder;

    fn folder() -> TempFolder {
        let folder = TempFolder::new();
        std::fs::create_dir_all(folder.path()).expect("temporary");
        folder
    }

    fn write(folder: &TempFolder, number: u64, bytes: usize) {
        let path = folder.path().join(number.to_string());
        std::fs::write(path, vec![1; bytes]).expect("temporary");
    }

    /// Bytes handed over, largest first.
    fn handed(young: &Young) -> Vec<u64> {
        let mut handed: Vec<u64> = young.watched.iter().map(|watched| watched.handed).collect();
        handed.sort_unstable_by_key(|&bytes| Reverse(bytes));
        handed
    }

    /// Invariant 1 of node::young.
    #[test]
    fn files_are_handed_to_the_disk_as_they_grow() {
        let (folder, mut young) = (folder(), Young::default());
        write(&folder, 7, 5_000);
        young.wrote(folder.path(), YOUNG_LOOK_BYTES);
        write(&folder, 9, 100);
        write(&folder, 7, 9_000);
        young.wrote(folder.path(), YOUNG_LOOK_BYTES - 1);
        assert_eq!(handed(&young), [9_000], "it has not looked for new ones");
        young.wrote(folder.path(), 1);
        assert_eq!(handed(&young), [9_000, 100]);
        (10..20).for_each(|number| write(&folder, number, 1));
        (0..4).for_each(|_| young.wrote(folder.path(), YOUNG_LOOK_BYTES));
        assert_eq!((young.watched.len(), young.next_number), (YOUNG_TABLES_MAX, Some(20)));
        // Numbers may be left out.
        write(&folder, 900, 1);
        (0..=YOUNG_BLIND_LOOKS).for_each(|_| young.wrote(folder.path(), YOUNG_LOOK_BYTES));
        assert_eq!(young.next_number, Some(901));
    }

    /// Invariant 2 of node::young.
    #[test]
    fn a_file_that_grows_is_watched_though_many_come_and_end_beside_it() {
        let (folder, mut young) = (folder(), Young::default());
        let mut bytes = 1_000_000;
        write(&folder, 0, 1);
        young.wrote(folder.path(), YOUNG_LOOK_BYTES);
        for number in 1..10 * YOUNG_TABLES_MAX as u64 {
            write(&folder, 0, bytes);
            write(&folder, number, 1);
            young.wrote(folder.path(), YOUNG_LOOK_BYTES);
            assert_eq!(handed(&young)[0], bytes as u64);
            bytes += 1_000;
        }
        assert_eq!(young.watched.len(), YOUNG_TABLES_MAX);
        // One that rested meanwhile is no longer watched when it grows after all.
        write(&folder, 1, 2 * bytes);
        young.wrote(folder.path(), YOUNG_LOOK_BYTES);
        assert_eq!(handed(&young)[0], (bytes - 1_000) as u64);
    }
}
