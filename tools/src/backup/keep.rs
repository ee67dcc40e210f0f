//! Where a backup is kept: in a folder, or in one file. What both have in common.
//!
//! Invariants:
//! 1. A backup never takes the place of one that is another server's, or of a later moment, unless
//!    told to.
//!
//! Left to others: the folder (`folder`), the file (`archive`), the bytes (`copying`).

use super::Progress;
use super::archive::{self, Archive, Packed};
use super::copying::Source;
use super::folder::Folder;
use anser::node::manifest_file::MANIFEST;
use anser::store::inventory::{Checksum, Inventory, Listed};
use anser::store::manifest::Manifest;
use anyhow::{Context, bail};
use std::fs;
use std::io::Read;
use std::path::Path;

/// The name of the list of files; it comes last.
pub const LIST: &str = "backup.toml";
/// The folder of the files, each under its checksum.
pub const FILES: &str = "files";

/// A backup to read from.
pub trait Kept {
    /// Where it is.
    fn path(&self) -> &Path;
    /// The list of the backup that was finished there last, if one was.
    fn list(&self) -> anyhow::Result<Option<Inventory>>;
    /// Why there is no list.
    fn why_no_list(&self) -> &'static str;
    /// A file of the backup that was finished.
    fn open(&self, checksum: Checksum) -> anyhow::Result<Source<'_>>;
}

/// Where the next backup is put; until it is finished the one before counts.
pub trait Keep: Kept {
    /// These files will be put here, as far as it does not have them.
    fn begin(&mut self, next: &Inventory) -> anyhow::Result<()>;
    /// Whether a file is here. `is_read`: and is what it should be.
    fn has(&self, file: &Listed, is_read: bool) -> anyhow::Result<bool>;
    /// Copies a file to its place, unless it is another than was listed. Returns what it is.
    fn take(
        &mut self,
        from: &Path,
        file: &Listed,
        progress: &mut Progress,
    ) -> anyhow::Result<(u64, Checksum)>;
    /// All files of a list are here: from now on it is the backup.
    fn finish(&mut self, inventory: &Inventory) -> anyhow::Result<()>;
}

/// Whether something was put there before.
pub fn is_there(to: &Path) -> bool {
    to.exists() || archive::unfinished(to).exists()
}

/// A place for a backup, which is made if it is not there: a file where the name ends like one.
pub fn open_to_write(to: &Path) -> anyhow::Result<Box<dyn Keep>> {
    match is_file(to) {
        true => Ok(Box::new(Archive::open(to)?)),
        false => Ok(Box::new(Folder::open_to_write(to)?)),
    }
}

/// A backup that was finished, and its list.
pub fn open_to_read(from: &Path) -> anyhow::Result<(Box<dyn Kept>, Inventory)> {
    let kept: Box<dyn Kept> = match is_file(from) {
        true => Box::new(Packed::open(from)?),
        false => Box::new(Folder::open_to_read(from)),
    };
    match kept.list()? {
        Some(list) => Ok((kept, list)),
        None => bail!("{}: {}", from.display(), kept.why_no_list()),
    }
}

fn is_file(path: &Path) -> bool {
    !path.is_dir() && (path.is_file() || path.extension().is_some_and(|end| end == archive::END))
}

/// Refuses what is not the backup here, grown older: a server that came up empty on a new disk
/// would take with it the only copy of what was on the old one. It is known by the id of its
/// folder; `manifest`: of the server's.
pub fn refuse_to_go_back(keep: &dyn Keep, next: &Inventory, manifest: &Path) -> anyhow::Result<()> {
    let advice = "nothing was changed; give another place, or let go of that backup with --replace";
    let shown = keep.path().display();
    let here = keep.list().with_context(|| format!("the backup in {shown}: {advice}"))?;
    let Some(here) = here else { return Ok(()) };
    if next.shards != here.shards {
        let (old, new) = (here.shards, next.shards);
        bail!("the backup in {shown} has {old} shards, the server {new}: {advice}");
    }
    let new = fs::read_to_string(manifest).ok().and_then(|text| id_in(&text));
    if let (Some(old), Some(new)) = (id_of(keep, &here), new)
        && old != new
    {
        bail!("the backup in {shown} is of another data folder: {advice}");
    }
    let turns = here.positions.iter().zip(&next.positions);
    if let Some((shard, (old, new))) = turns.enumerate().find(|(_, (old, new))| old > new) {
        bail!(
            "the backup in {shown} is of another server, or of a later moment: shard {shard} was \
             at its turn {old} and is at {new}; {advice}"
        );
    }
    Ok(())
}

/// Which data folder a backup is of, if that is known.
fn id_of(keep: &dyn Keep, here: &Inventory) -> Option<u64> {
    let listed = here.files.iter().find(|file| file.path == MANIFEST)?;
    let mut text = String::new();
    keep.open(listed.checksum).ok()?.bytes.read_to_string(&mut text).ok()?;
    id_in(&text)
}

fn id_in(manifest: &str) -> Option<u64> {
    Some(Manifest::parse(manifest).ok()?.id).filter(|id| *id != 0)
}
#[cfg(test)]
mod tests {
    use super::super::fixture::{Temporary, inventory, listed};
    use super::*;

    /// Where backups may be, in a folder.
    fn places(folder: &Temporary) -> [std::path::PathBuf; 2] {
        ["backup", "backup.tar"].map(|name| folder.path().join(name))
    }

    /// Holds invariant 1 of `backup::keep`.
    #[test]
    fn a_backup_of_another_folder_is_refused_though_it_has_made_more_turns() {
        let beside = Temporary::new("another");
        let put = |name: &str, id: u64| {
            let manifest = Manifest { id, ..Manifest::new(1).expect("a count in range") };
            beside.put(name, manifest.print().as_bytes())
        };
        let (own, other, old) = (put("own", 7), put("other", 8), put("old", 0));
        let text = fs::read(&own).expect("temporary");
        let file = Listed { path: MANIFEST.to_owned(), ..listed(&text) };
        let at = |turn| Inventory { positions: vec![turn], ..inventory(vec![file.clone()]) };
        for to in places(&beside) {
            let mut keep = open_to_write(&to).expect("it is new");
            keep.take(&own, &file, &mut Progress::new("", 0, 0)).expect("temporary");
            keep.finish(&at(1)).expect("temporary");
            drop(keep);
            let keep = open_to_write(&to).expect("it is ours");
            let told = refuse_to_go_back(&*keep, &at(99), &other).expect_err("another");
            let told = told.to_string();
            assert!(told.contains("another data folder") && told.contains("--replace"), "{told}");
            for same in [&own, &old] {
                refuse_to_go_back(&*keep, &at(2), same).expect("it may be the same");
                refuse_to_go_back(&*keep, &at(0), same).expect_err("it goes back");
            }
        }
    }

    /// Holds invariant 1 of `backup::keep`.
    #[test]
    fn a_backup_that_would_go_back_in_time_is_refused() {
        let beside = Temporary::new("back");
        let at = |positions: &[u64]| Inventory {
            shards: positions.len() as u16,
            positions: positions.to_vec(),
            ..inventory(Vec::new())
        };
        let none = Path::new("");
        for to in places(&beside) {
            let mut keep = open_to_write(&to).expect("it is new");
            refuse_to_go_back(&*keep, &at(&[0, 0]), none).expect("there is none yet");
            keep.finish(&at(&[10, 20])).expect("temporary");
            drop(keep);
            let keep = open_to_write(&to).expect("it is ours");
            refuse_to_go_back(&*keep, &at(&[10, 21]), none).expect("it has gone on");
            for other in [at(&[11, 19]), at(&[0, 0]), at(&[30])] {
                let told = refuse_to_go_back(&*keep, &other, none).expect_err("it goes back");
                assert!(told.to_string().contains("--replace"), "{told}");
            }
            drop(keep);
            let mut keep = open_to_write(&to).expect("it is ours");
            let later = Inventory { format: 99, ..at(&[10, 20]) };
            keep.finish(&later).expect("temporary");
            drop(keep);
            let keep = open_to_write(&to).expect("it is ours");
            refuse_to_go_back(&*keep, &at(&[10, 21]), none).expect_err("of a later program");
        }
    }
}
