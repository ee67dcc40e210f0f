//! Files that no table list names any more: their bytes are given back a few at a time.
//!
//! The LSM removes what a merge has replaced at once. Where the file system tells its disk what has
//! become free (`discard`), 32 MiB hold the disk for 17 ms and a merge of all that is old for
//! seconds, and whatever is written to the log waits. So a merge gives what it will replace a
//! second name first, in a folder for that; what has no other name is cut there, piece by piece.
//!
//! Invariants:
//! 1. A file that has another name, because a list, a reader or a cut has it, stays as it is: also
//!    where a file system does not count names well, as long as the LSM's own is there.
//! 2. What has none becomes shorter by [`GIVEN_BACK_STEP_BYTES`] at most at a time, and is removed
//!    when nothing is left of it.
//! 3. What was not given back when the server stopped, or crashed, is given back by the next one.
//! 4. What cannot be cut is removed at once, if it can, and keeps nothing else from being given
//!    back.
//!
//! Left to others: how fast (`node::remover`).

use super::tiers::Step;
use super::{View, contents};
use crate::limits::GIVEN_BACK_STEP_BYTES;
use fjall::AbstractTree;
use std::fs::{self, OpenOptions};
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The folder of second names, beside those of the LSM.
const LEAVING: &str = "leaving";

impl View {
    /// Gives second names to all files that a merge may replace, if they are given back later on.
    /// A file that gets none is removed at once.
    pub(super) fn note_leaving(&self, step: Step) {
        let Step::Merge(from, to) = step else { return };
        let Some(folder) = self.leaving().filter(|_| self.braked.is_on()) else { return };
        // Where there can be no such folder the next line fails as well.
        let _ = fs::create_dir(&folder);
        self.each_table([from, to], |table| note(&folder, &table.path));
        let version = self.rows.tree.current_version();
        let stale = contents::stale(&self.rows.tree).into_iter();
        for file in stale.filter_map(|stale| version.blob_files.get(stale.file)) {
            note(&folder, file.path());
        }
    }

    /// Cuts all that has no other name. `rest` is told after each piece how many bytes it had, and
    /// how many all have; it may wait, or put off what is left.
    ///
    /// # Errors
    /// Those of the file system. What is left can be given back another time.
    pub fn give_back(&self, rest: impl FnMut(u64, u64) -> ControlFlow<()>) -> io::Result<()> {
        self.leaving().map_or(Ok(()), |folder| give_back(&folder, self.rows.path(), rest))
    }

    fn leaving(&self) -> Option<PathBuf> {
        Some(self.rows.path().ancestors().nth(2)?.join(LEAVING))
    }
}

fn note(folder: &Path, file: &Path) {
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let (Some(kind), Some(number)) = (file.parent().and_then(name), name(file)) else { return };
    let second = folder.join(format!("{kind}-{number}"));
    // One that a merge before has noted, and not replaced, has the name already.
    if fs::hard_link(file, &second).is_ok()
        && fs::metadata(&second).is_ok_and(|about| about.nlink() < 2)
    {
        // This file system does not count names.
        let _ = fs::remove_file(second);
    }
}

/// Where the LSM has a file that has this second name.
fn first_name(keyspace: &Path, second: &Path) -> Option<PathBuf> {
    let (kind, number) = second.file_name()?.to_str()?.split_once('-')?;
    Some(keyspace.join(kind).join(number))
}

fn give_back(
    folder: &Path,
    keyspace: &Path,
    mut rest: impl FnMut(u64, u64) -> ControlFlow<()>,
) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    let mut superfluous = Vec::new();
    for entry in entries {
        let entry = entry?;
        let about = entry.metadata()?;
        let is_ours = first_name(keyspace, &entry.path()).is_some_and(|first| !first.exists());
        if about.is_file() && about.nlink() == 1 && is_ours {
            superfluous.push((entry.path(), about.len()));
        }
    }
    let all = superfluous.iter().map(|(_, bytes)| bytes).sum();
    let mut outcome = Ok(());
    for (path, bytes) in superfluous {
        match cut(&path, bytes, |piece| rest(piece, all)) {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) => break,
            Err(error) => outcome = fs::remove_file(&path).and(outcome).map_err(|_| error),
        }
    }
    outcome
}

/// Cuts a file down to nothing, and removes it.
fn cut(
    path: &Path,
    bytes: u64,
    mut rest: impl FnMut(u64) -> ControlFlow<()>,
) -> io::Result<ControlFlow<()>> {
    let (file, mut left) = (OpenOptions::new().write(true).open(path)?, bytes);
    while left > 0 {
        // The first piece is what is left over: then no block is cut in two.
        let piece = match left % GIVEN_BACK_STEP_BYTES {
            0 => GIVEN_BACK_STEP_BYTES,
            over => over,
        };
        left -= piece;
        file.set_len(left)?;
        if rest(piece).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    fs::remove_file(path)?;
    Ok(ControlFlow::Continue(()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{put, value};
    use crate::store::view::brake::{Brake, Folders, Writer, Written};
    use crate::store::view::tests::{TempFolder, open};
    use crate::store::view::tiers::Lane;
    use std::sync::Arc;

    struct Off;

    impl Brake for Off {
        fn wrote(&self, _: &Folders, _: Written, _: Writer) -> ControlFlow<()> {
            ControlFlow::Continue(())
        }
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("it is there");
        let name = |entry: io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
        let mut names: Vec<_> = entries.map(|it| name(it).into_string().expect("ours")).collect();
        names.sort();
        names
    }

    fn give_all_back(view: &View) {
        view.give_back(|_, _| ControlFlow::Continue(())).expect("there is nothing amiss");
    }

    /// Invariants 1 and 3 of store::view::leaving.
    #[test]
    fn what_a_merge_has_replaced_stays_until_nobody_reads_it() {
        let folder = TempFolder::new();
        let mut view = open(&folder);
        view.brake(Arc::new(Off));
        for row in 0..3 {
            put(&mut view, &[b'a', row], b"row");
        }
        let leaving = view.leaving().expect("a folder of its own");
        let reader = view.reader();
        let held = reader.rows.tree.current_version();
        view.merge(Lane::New, Step::Merge(0, 1)).expect("it is merged");
        let noted = names(&leaving);
        assert!(noted.len() >= 3 && noted.iter().all(|name| name.starts_with("tables-")));
        give_all_back(&view);
        assert_eq!(names(&leaving), noted, "a reader has the list before");
        drop(held);
        // The LSM lets go of lists that are gone when it makes the next.
        view.merge(Lane::New, Step::Move(1, 2)).expect("it is moved");
        view.give_back(|_, _| ControlFlow::Break(())).expect("there is nothing amiss");
        assert_eq!(names(&leaving).len(), noted.len(), "the server stops");
        drop((reader, view));
        let view = open(&folder);
        give_all_back(&view);
        assert_eq!(names(&leaving), Vec::<String>::new());
        assert_eq!(value(&view, b"a\x02"), Some(b"row".to_vec()));
    }

    /// Invariant 2 of store::view::leaving.
    #[test]
    fn bytes_are_given_back_a_few_at_a_time() {
        let folder = TempFolder::new();
        fs::create_dir_all(folder.path()).expect("temporary");
        let bytes = 2 * GIVEN_BACK_STEP_BYTES + 5;
        let at = |name: &str| folder.path().join(name);
        for name in ["tables-1", "tables-2", "tables-3"] {
            fs::write(at(name), vec![1; bytes as usize]).expect("temporary");
        }
        fs::hard_link(at("tables-2"), at("tables-9")).expect("a second name");
        let (mut before, mut pieces) = (2 * bytes, 0);
        let none = folder.path().join("keyspace");
        give_back(folder.path(), &none, |piece, all| {
            let sum = ["tables-1", "tables-3"].map(|name| fs::metadata(at(name)));
            let sum: u64 = sum.into_iter().flatten().map(|about| about.len()).sum();
            assert_eq!((before - sum, all), (piece, 2 * bytes));
            assert!(piece <= GIVEN_BACK_STEP_BYTES);
            (before, pieces) = (sum, pieces + 1);
            ControlFlow::Continue(())
        })
        .expect("there is nothing amiss");
        assert_eq!((before, pieces), (0, 6));
        assert_eq!(names(folder.path()), ["tables-2", "tables-9"]);
        assert_eq!(fs::metadata(at("tables-2")).expect("it is there").len(), bytes);
        assert!(give_back(&at("none"), &none, |_, _| ControlFlow::Break(())).is_ok());
    }

    /// Invariant 1 of store::view::leaving.
    #[test]
    fn what_the_lsm_names_is_not_cut_however_names_are_counted() {
        let folder = TempFolder::new();
        let [leaving, tables] = ["leaving", "tables"].map(|name| folder.path().join(name));
        for file in [leaving.join("tables-7"), leaving.join("tables-8"), tables.join("7")] {
            fs::create_dir_all(file.parent().expect("in a folder")).expect("temporary");
            fs::write(file, b"rows").expect("temporary");
        }
        give_back(&leaving, folder.path(), |_, _| ControlFlow::Continue(())).expect("all is well");
        assert_eq!(names(&leaving), ["tables-7"]);
        assert_eq!(fs::read(leaving.join("tables-7")).expect("it is there"), b"rows");
    }

    /// Invariant 4 of store::view::leaving.
    #[test]
    fn what_cannot_be_cut_keeps_nothing_else() {
        let folder = TempFolder::new();
        fs::create_dir_all(folder.path().join("tables-0")).expect("temporary");
        for name in ["tables-1", "tables-2", "unknown"] {
            fs::write(folder.path().join(name), b"rows").expect("temporary");
        }
        let (mut pieces, keyspace) = (0, folder.path().join("keyspace"));
        let outcome = give_back(folder.path(), &keyspace, |_, _| {
            pieces += 1;
            let cut = ["tables-1", "tables-2"].map(|name| folder.path().join(name));
            let is_cut = |path: &&PathBuf| fs::metadata(path).is_ok_and(|about| about.len() == 0);
            if let Some(path) = cut.iter().find(is_cut).filter(|_| pieces == 1) {
                fs::remove_file(path).expect("somebody is quicker");
            }
            ControlFlow::Continue(())
        });
        assert!(outcome.is_err() && pieces == 2, "{outcome:?}: the other one was cut, too");
        assert_eq!(names(folder.path()), ["tables-0", "unknown"], "neither is ours");
    }
}
