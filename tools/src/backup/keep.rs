//! A backup folder: the files of the newest backup, each under its checksum, and the list of them.
//!
//! Invariants:
//! 1. A file under a checksum's name is whole and on disk: it is written under another name first.
//! 2. A folder that holds anything else is left as it is.
//! 3. One backup writes to a folder at a time.

use super::Progress;
use anser::node::manifest_file::MANIFEST;
use anser::store::inventory::{Checksum, Inventory, Listed, Summer};
use anser::store::manifest::Manifest;
use anyhow::{Context, bail};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

const LIST: &str = "backup.toml";
const UNFINISHED_LIST: &str = "backup.toml.new";
const FILES: &str = "files";
const LOCK: &str = "lock";
const UNFINISHED: &str = "part";
/// Bytes read at once.
const PART: usize = 1024 * 1024;
/// Bytes that are written before they are synced: what the kernel has to write at once keeps the
/// server's log waiting, where both are on one disk.
const UNSYNCED_MAX: u64 = 4 * 1024 * 1024;

/// A backup folder.
pub struct Keep {
    folder: PathBuf,
    _lock: Option<File>,
}

impl Keep {
    /// A folder to put a backup into; it is made if it is not there.
    pub fn open_to_write(folder: &Path) -> anyhow::Result<Keep> {
        let cannot = || format!("the backup folder {} cannot be used", folder.display());
        fs::create_dir_all(folder).with_context(cannot)?;
        for entry in fs::read_dir(folder).with_context(cannot)? {
            let name = entry.with_context(cannot)?.file_name();
            if ![LIST, UNFINISHED_LIST, FILES, LOCK].iter().any(|ours| name == *ours) {
                bail!(
                    "{} holds {} and is no backup folder: give a new one, or that of an earlier \
                     backup",
                    folder.display(),
                    name.display()
                );
            }
        }
        let lock = File::create(folder.join(LOCK)).with_context(cannot)?;
        if lock.try_lock().is_err() {
            bail!("another backup is writing to {}", folder.display());
        }
        fs::create_dir_all(folder.join(FILES)).with_context(cannot)?;
        Ok(Keep { folder: folder.to_owned(), _lock: Some(lock) })
    }

    /// Refuses what is not the backup here, grown older: a server that came up empty on a new disk
    /// would take with it the only copy of what was on the old one. It is known by the id of its
    /// folder; `manifest`: of the server's.
    pub fn refuse_to_go_back(&self, next: &Inventory, manifest: &Path) -> anyhow::Result<()> {
        let advice = "nothing was changed; give another folder, or let go of that backup with \
                      --replace";
        let here = read_list(&self.folder)
            .with_context(|| format!("the backup in {}: {advice}", self.shown()))?;
        let Some(here) = here else { return Ok(()) };
        if next.shards != here.shards {
            let (old, new) = (here.shards, next.shards);
            bail!("the backup in {} has {old} shards, the server {new}: {advice}", self.shown());
        }
        let (old, new) = (folder_id(&self.manifest_of(&here)), folder_id(manifest));
        if let (Some(old), Some(new)) = (old, new)
            && old != new
        {
            bail!("the backup in {} is of another data folder: {advice}", self.shown());
        }
        let turns = here.positions.iter().zip(&next.positions);
        if let Some((shard, (old, new))) = turns.enumerate().find(|(_, (old, new))| old > new) {
            bail!(
                "the backup in {} is of another server, or of a later moment: shard {shard} was at \
                 its turn {old} and is at {new}; {advice}",
                self.shown()
            );
        }
        Ok(())
    }

    /// Where the manifest of the backup is, if it has one.
    fn manifest_of(&self, here: &Inventory) -> PathBuf {
        let listed = here.files.iter().find(|file| file.path == MANIFEST);
        listed.map_or_else(PathBuf::new, |file| self.path(file.checksum))
    }

    fn shown(&self) -> std::path::Display<'_> {
        self.folder.display()
    }

    /// A folder to read a backup from, and its list.
    pub fn open_to_read(folder: &Path) -> anyhow::Result<(Keep, Inventory)> {
        let Some(inventory) = read_list(folder)? else {
            bail!("{}: {}", folder.display(), why_no_list(folder))
        };
        Ok((Keep { folder: folder.to_owned(), _lock: None }, inventory))
    }

    /// Where the file of a checksum is.
    pub fn path(&self, checksum: Checksum) -> PathBuf {
        self.folder.join(FILES).join(checksum.to_string())
    }

    /// Whether a file is here. `is_read`: and is what it should be.
    pub fn has(&self, file: &Listed, is_read: bool) -> anyhow::Result<bool> {
        let path = self.path(file.checksum);
        match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error).with_context(|| path.display().to_string()),
            Ok(found) if found.len() != file.bytes => Ok(false),
            Ok(_) if is_read => Ok(checksum_of(&path, &mut |_| Ok(()))?.1 == file.checksum),
            Ok(_) => Ok(true),
        }
    }

    /// Copies a file to its place, unless it is another than was listed. Returns what it is.
    pub fn take(
        &self,
        from: &Path,
        file: &Listed,
        progress: &mut Progress,
    ) -> anyhow::Result<(u64, Checksum)> {
        let to = self.path(file.checksum);
        let unfinished = to.with_extension(UNFINISHED);
        let found = copy(from, &unfinished, &mut |bytes| progress.add(bytes))?;
        let cannot = || format!("{} cannot be written", to.display());
        match found == (file.bytes, file.checksum) {
            true => fs::rename(&unfinished, &to).with_context(cannot)?,
            false => fs::remove_file(&unfinished).with_context(cannot)?,
        }
        Ok(found)
    }

    /// All files of a list are here: from now on it is the backup. What it does not name goes.
    pub fn finish(&self, inventory: &Inventory) -> anyhow::Result<()> {
        let finish = || -> io::Result<()> {
            File::open(self.folder.join(FILES))?.sync_all()?;
            let unfinished = self.folder.join(UNFINISHED_LIST);
            let mut list = File::create(&unfinished)?;
            list.write_all(inventory.print().as_bytes())?;
            list.sync_all()?;
            fs::rename(&unfinished, self.folder.join(LIST))?;
            File::open(&self.folder)?.sync_all()
        };
        finish().with_context(|| format!("{} cannot be written", self.folder.display()))?;
        self.sweep(inventory)
            .context("the backup is whole; what it does not need cannot be removed")
    }

    fn sweep(&self, inventory: &Inventory) -> io::Result<()> {
        let needed = super::contents(inventory);
        for entry in fs::read_dir(self.folder.join(FILES))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let checksum = Checksum::try_from(name);
            if !checksum.is_ok_and(|checksum| needed.contains_key(&checksum)) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

/// The list of the backup in a folder, if one was finished there.
/// Which data folder a manifest is of, if that is known.
fn folder_id(manifest: &Path) -> Option<u64> {
    let manifest = Manifest::parse(&fs::read_to_string(manifest).ok()?).ok()?;
    Some(manifest.id).filter(|id| *id != 0)
}

fn read_list(folder: &Path) -> anyhow::Result<Option<Inventory>> {
    let list = folder.join(LIST);
    let text = match fs::read_to_string(&list) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.with_context(|| format!("{} cannot be read", list.display()))?,
    };
    Ok(Some(Inventory::parse(&text).with_context(|| list.display().to_string())?))
}

/// What a folder is that has no list.
fn why_no_list(folder: &Path) -> &'static str {
    if !folder.is_dir() {
        "there is no such folder"
    } else if folder.join(FILES).is_dir() {
        "no backup was ever finished there; run `anser-tools backup` again, it goes on where it \
         was broken off"
    } else {
        "it is no backup"
    }
}

/// What is told of bytes that were read. An error ends it.
pub type Done<'a> = &'a mut dyn FnMut(u64) -> anyhow::Result<()>;

/// Copies a file; it is on disk then. Returns the bytes that were read, and their checksum.
pub fn copy(from: &Path, to: &Path, done: Done<'_>) -> anyhow::Result<(u64, Checksum)> {
    let cannot = || format!("{} cannot be written", to.display());
    let mut copy = File::create(to).with_context(cannot)?;
    let mut unsynced = 0;
    let found = read(from, &mut |part| {
        copy.write_all(part).with_context(cannot)?;
        unsynced += part.len() as u64;
        if unsynced >= UNSYNCED_MAX {
            unsynced = 0;
            copy.sync_data().with_context(cannot)?;
        }
        done(part.len() as u64)
    })?;
    copy.sync_all().with_context(cannot)?;
    Ok(found)
}

/// The size of a file and its checksum.
pub fn checksum_of(path: &Path, done: Done<'_>) -> anyhow::Result<(u64, Checksum)> {
    read(path, &mut |part| done(part.len() as u64))
}

/// Reads a file in parts, to its end or the first error of `take`.
fn read(
    path: &Path,
    take: &mut dyn FnMut(&[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<(u64, Checksum)> {
    let cannot = || format!("{} cannot be read", path.display());
    let mut file = File::open(path).with_context(cannot)?;
    let (mut part, mut bytes, mut summer) = (vec![0; PART], 0, Summer::default());
    loop {
        let length = file.read(&mut part).with_context(cannot)?;
        if length == 0 {
            return Ok((bytes, summer.sum()));
        }
        take(&part[..length])?;
        summer.add(&part[..length]);
        bytes += length as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anser::store::inventory::checksum;

    /// A folder of its own, removed with its owner.
    struct Temporary(PathBuf);

    impl Temporary {
        fn new(name: &str) -> Temporary {
            let name = format!("anser-keep-{}-{name}", std::process::id());
            Temporary(std::env::temp_dir().join(name))
        }
    }

    impl Drop for Temporary {
        fn drop(&mut self) {
            // Nothing depends on it.
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn listed(bytes: &[u8]) -> Listed {
        Listed { path: "a".to_owned(), bytes: bytes.len() as u64, checksum: checksum(bytes) }
    }

    fn inventory(files: Vec<Listed>) -> Inventory {
        Inventory { format: 1, shards: 1, made_ms: 0, positions: vec![0], files }
    }

    /// Holds invariant 1 of `backup::keep`.
    #[test]
    fn only_what_is_whole_gets_a_checksums_name() {
        let folder = Temporary::new("whole");
        let keep = Keep::open_to_write(&folder.0).expect("new");
        let from = folder.0.join(FILES).join("source");
        let file = listed(b"what was written");
        let mut progress = Progress::new("", 0, 0);
        fs::write(&from, b"what was writteN").expect("temporary");
        let found = keep.take(&from, &file, &mut progress).expect("it can be read");
        assert_ne!(found, (file.bytes, file.checksum));
        assert!(!keep.has(&file, false).expect("temporary"));
        fs::write(&from, b"what was written").expect("temporary");
        keep.take(&from, &file, &mut progress).expect("it can be read");
        assert!(keep.has(&file, true).expect("temporary"));
        fs::write(keep.path(file.checksum), b"what was writteN").expect("temporary");
        assert!(!keep.has(&file, true).expect("temporary"), "who looks finds out");
        fs::write(keep.path(file.checksum), b"short").expect("temporary");
        assert!(!keep.has(&file, false).expect("temporary"));
        let nothing = Keep::open_to_read(&folder.0).err().expect("no list").to_string();
        assert!(nothing.contains("no backup was ever finished"), "{nothing}");
        keep.take(&from, &file, &mut progress).expect("it can be read");
        keep.finish(&inventory(vec![file.clone()])).expect("temporary");
        assert_eq!(fs::read_dir(folder.0.join(FILES)).expect("temporary").count(), 1);
        let (_, found) = Keep::open_to_read(&folder.0).expect("it is finished");
        assert_eq!(found.files, [file]);
    }

    #[test]
    fn a_backup_of_another_folder_is_refused_though_it_has_made_more_turns() {
        let (folder, beside) = (Temporary::new("another"), Temporary::new("beside"));
        fs::create_dir_all(&beside.0).expect("temporary");
        let keep = Keep::open_to_write(&folder.0).expect("it is new");
        let put = |name: &str, id: u64| {
            let path = beside.0.join(name);
            let manifest = Manifest { id, ..Manifest::new(1).expect("a count in range") };
            fs::write(&path, manifest.print()).expect("temporary");
            path
        };
        let (own, other, old) = (put("own", 7), put("other", 8), put("old", 0));
        let (bytes, checksum) =
            copy(&own, &beside.0.join("copy"), &mut |_| Ok(())).expect("temporary");
        let file = Listed { path: MANIFEST.to_owned(), bytes, checksum };
        keep.take(&own, &file, &mut Progress::new("", 0, 0)).expect("temporary");
        let at = |turn| Inventory { positions: vec![turn], ..inventory(vec![file.clone()]) };
        keep.finish(&at(1)).expect("temporary");
        let told = keep.refuse_to_go_back(&at(99), &other).expect_err("another").to_string();
        assert!(told.contains("another data folder") && told.contains("--replace"), "{told}");
        for same in [&own, &old] {
            keep.refuse_to_go_back(&at(2), same).expect("it may be the same");
            keep.refuse_to_go_back(&at(0), same).expect_err("it goes back");
        }
    }

    #[test]
    fn a_backup_that_would_go_back_in_time_is_refused() {
        let folder = Temporary::new("back");
        let keep = Keep::open_to_write(&folder.0).expect("it is new");
        let at = |positions: &[u64]| Inventory {
            shards: positions.len() as u16,
            positions: positions.to_vec(),
            ..inventory(Vec::new())
        };
        let none = Path::new("");
        keep.refuse_to_go_back(&at(&[0, 0]), none).expect("there is none yet");
        keep.finish(&at(&[10, 20])).expect("temporary");
        keep.refuse_to_go_back(&at(&[10, 21]), none).expect("it has gone on");
        for other in [at(&[11, 19]), at(&[0, 0]), at(&[30])] {
            let told = keep.refuse_to_go_back(&other, none).expect_err("it goes back").to_string();
            assert!(told.contains("--replace"), "{told}");
        }
        fs::write(folder.0.join(LIST), "format = 99").expect("temporary");
        keep.refuse_to_go_back(&at(&[10, 21]), none).expect_err("it is of a later program");
    }

    /// Holds invariants 2 and 3 of `backup::keep`.
    #[test]
    fn a_folder_of_somebody_else_and_one_in_use_are_refused() {
        let folder = Temporary::new("foreign");
        let keep = Keep::open_to_write(&folder.0).expect("new");
        let refused = Keep::open_to_write(&folder.0).err().expect("in use").to_string();
        assert!(refused.contains("another backup"), "{refused}");
        drop(keep);
        Keep::open_to_write(&folder.0).expect("it is free again");
        fs::write(folder.0.join("letter.txt"), "mine").expect("temporary");
        let refused = Keep::open_to_write(&folder.0).err().expect("foreign").to_string();
        assert!(refused.contains("letter.txt"), "{refused}");
        assert!(folder.0.join("letter.txt").exists());
    }
}
