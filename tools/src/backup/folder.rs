//! A backup in a folder: the files of the newest one, each under its checksum, and their list.
//!
//! Invariants:
//! 1. A file under a checksum's name is whole and on disk: it is written under another name first.
//! 2. A folder that holds anything else is left as it is.
//! 3. One backup writes to a folder at a time.

use super::Progress;
use super::copying::{Source, checksum_of, copy};
use super::keep::{FILES, Keep, Kept, LIST};
use anser::store::inventory::{Checksum, Inventory, Listed};
use anyhow::{Context, bail};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const UNFINISHED_LIST: &str = "backup.toml.new";
const LOCK: &str = "lock";
const UNFINISHED: &str = "part";

/// A backup folder.
pub struct Folder {
    folder: PathBuf,
    _lock: Option<File>,
}

impl Folder {
    /// A folder to put a backup into; it is made if it is not there.
    pub fn open_to_write(folder: &Path) -> anyhow::Result<Folder> {
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
        Ok(Folder { folder: folder.to_owned(), _lock: Some(lock) })
    }

    /// A folder to read a backup from.
    pub fn open_to_read(folder: &Path) -> Folder {
        Folder { folder: folder.to_owned(), _lock: None }
    }

    /// Where the file of a checksum is.
    fn file(&self, checksum: Checksum) -> PathBuf {
        self.folder.join(FILES).join(checksum.to_string())
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

impl Kept for Folder {
    fn path(&self) -> &Path {
        &self.folder
    }

    fn list(&self) -> anyhow::Result<Option<Inventory>> {
        let list = self.folder.join(LIST);
        let text = match fs::read_to_string(&list) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.with_context(|| format!("{} cannot be read", list.display()))?,
        };
        Ok(Some(Inventory::parse(&text).with_context(|| list.display().to_string())?))
    }

    fn why_no_list(&self) -> &'static str {
        if !self.folder.is_dir() {
            "there is no such folder"
        } else if self.folder.join(FILES).is_dir() {
            "no backup was ever finished there; run `anser-tools backup` again, it goes on where \
             it was broken off"
        } else {
            "it is no backup"
        }
    }

    fn open(&self, checksum: Checksum) -> anyhow::Result<Source<'_>> {
        Source::file(&self.file(checksum))
    }
}

impl Keep for Folder {
    fn begin(&mut self, _next: &Inventory) -> anyhow::Result<()> {
        Ok(())
    }

    fn has(&self, file: &Listed, is_read: bool) -> anyhow::Result<bool> {
        let path = self.file(file.checksum);
        match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error).with_context(|| path.display().to_string()),
            Ok(found) if found.len() != file.bytes => Ok(false),
            Ok(_) if is_read => {
                let (_, found) = checksum_of(self.open(file.checksum)?, &mut |_| Ok(()))?;
                Ok(found == file.checksum)
            }
            Ok(_) => Ok(true),
        }
    }

    fn take(
        &mut self,
        from: &Path,
        file: &Listed,
        progress: &mut Progress,
    ) -> anyhow::Result<(u64, Checksum)> {
        let to = self.file(file.checksum);
        let unfinished = to.with_extension(UNFINISHED);
        let found = copy(Source::file(from)?, &unfinished, &mut |bytes| progress.add(bytes))?;
        let cannot = || format!("{} cannot be written", to.display());
        match found == (file.bytes, file.checksum) {
            true => fs::rename(&unfinished, &to).with_context(cannot)?,
            false => fs::remove_file(&unfinished).with_context(cannot)?,
        }
        Ok(found)
    }

    /// What the list does not name goes.
    fn finish(&mut self, inventory: &Inventory) -> anyhow::Result<()> {
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
}
#[cfg(test)]
mod tests {
    use super::super::fixture::{Temporary, inventory, listed};
    use super::super::keep::open_to_read;
    use super::*;

    /// Holds invariant 1 of `backup::folder`.
    #[test]
    fn only_what_is_whole_gets_a_checksums_name() {
        let (folder, beside) = (Temporary::new("whole"), Temporary::new("whole-source"));
        let mut keep = Folder::open_to_write(folder.path()).expect("new");
        let file = listed(b"what was written");
        let mut progress = Progress::new("", 0, 0);
        let from = beside.put("source", b"what was writteN");
        let found = keep.take(&from, &file, &mut progress).expect("it can be read");
        assert_ne!(found, (file.bytes, file.checksum));
        assert!(!keep.has(&file, false).expect("temporary"));
        beside.put("source", b"what was written");
        keep.take(&from, &file, &mut progress).expect("it can be read");
        assert!(keep.has(&file, true).expect("temporary"));
        fs::write(keep.file(file.checksum), b"what was writteN").expect("temporary");
        assert!(!keep.has(&file, true).expect("temporary"), "who looks finds out");
        fs::write(keep.file(file.checksum), b"short").expect("temporary");
        assert!(!keep.has(&file, false).expect("temporary"));
        let nothing = open_to_read(folder.path()).err().expect("no list").to_string();
        assert!(nothing.contains("no backup was ever finished"), "{nothing}");
        keep.take(&from, &file, &mut progress).expect("it can be read");
        fs::write(folder.path().join(FILES).join("other"), b"").expect("temporary");
        keep.finish(&inventory(vec![file.clone()])).expect("temporary");
        let files = fs::read_dir(folder.path().join(FILES)).expect("temporary");
        assert_eq!(files.count(), 1);
        let (_, found) = open_to_read(folder.path()).expect("it is finished");
        assert_eq!(found.files, [file]);
    }

    /// Holds invariants 2 and 3 of `backup::folder`.
    #[test]
    fn a_folder_of_somebody_else_and_one_in_use_are_refused() {
        let folder = Temporary::new("foreign");
        let keep = Folder::open_to_write(folder.path()).expect("new");
        let refused = Folder::open_to_write(folder.path()).err().expect("in use").to_string();
        assert!(refused.contains("another backup"), "{refused}");
        drop(keep);
        Folder::open_to_write(folder.path()).expect("it is free again");
        let letter = folder.put("letter.txt", b"mine");
        let refused = Folder::open_to_write(folder.path()).err().expect("foreign").to_string();
        assert!(refused.contains("letter.txt"), "{refused}");
        assert!(letter.exists());
    }
}
