//! A backup in one file: a tar of what a backup folder holds, the list last.
//!
//! Invariants:
//! 1. The file has its name once it is whole and on disk: until then the backup before is as it
//!    was.
//! 2. Of what was broken off every file stays that has the checksum it is named by; what follows
//!    the last of them is cut off.
//! 3. One backup writes to a file at a time, and a file that is no backup is left as it is.
//! 4. Whoever unpacks it has a backup folder.

use super::Progress;
use super::copying::{Source, checksum_of, pour};
use super::keep::{FILES, Keep, Kept, LIST};
use anser::store::inventory::{Checksum, Inventory, Listed};
use anyhow::{Context, bail, ensure};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// How the name of a file ends that is to be made.
pub const END: &str = "tar";
/// Bytes that everything in a tar is a multiple of.
const BLOCK: u64 = 512;
/// What a tar ends with.
const LAST: [u8; 2 * BLOCK as usize] = [0; 2 * BLOCK as usize];

/// Where a backup is while it is written.
pub fn unfinished(to: &Path) -> PathBuf {
    let mut name = to.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

/// What a name in a tar stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Name {
    File(Checksum),
    List,
    Other,
}

/// Where the bytes of a file are in a tar.
#[derive(Clone, Copy)]
struct Place {
    at: u64,
    bytes: u64,
}

impl Place {
    /// Where the next begins.
    fn end(self) -> u64 {
        (self.at + self.bytes).next_multiple_of(BLOCK)
    }
}

/// The bytes of one file.
struct Reader<'a> {
    tar: &'a File,
    left: Place,
}

impl Read for Reader<'_> {
    fn read(&mut self, part: &mut [u8]) -> io::Result<usize> {
        let most = part.len().min(usize::try_from(self.left.bytes).unwrap_or(usize::MAX));
        let length = self.tar.read_at(&mut part[..most], self.left.at)?;
        self.left.at += length as u64;
        self.left.bytes -= length as u64;
        Ok(length)
    }
}

/// A tar to read from, whole or not.
pub struct Packed {
    path: PathBuf,
    tar: File,
    files: BTreeMap<Checksum, Place>,
    list: Option<Place>,
}

impl Packed {
    /// Opens a file, whatever it is.
    pub fn open(path: &Path) -> anyhow::Result<Packed> {
        let tar = File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
        let mut files = BTreeMap::new();
        let mut list = None;
        for (name, place) in pieces(&tar) {
            match name {
                Name::File(checksum) => drop(files.insert(checksum, place)),
                Name::List => list = Some(place),
                Name::Other => {}
            }
        }
        Ok(Packed { path: path.to_owned(), tar, files, list })
    }

    fn source(&self, name: &str, place: Place) -> Source<'_> {
        let name = format!("{name} in {}", self.path.display());
        Source { name, bytes: Box::new(Reader { tar: &self.tar, left: place }) }
    }
}

/// All that can be read of a tar, in order: to its end, or to where it is damaged.
fn pieces(mut tar: &File) -> Vec<(Name, Place)> {
    if tar.rewind().is_err() {
        return Vec::new();
    }
    let mut archive = tar::Archive::new(tar);
    let Ok(entries) = archive.entries_with_seek() else { return Vec::new() };
    let piece = |entry: tar::Entry<'_, &File>| {
        let name = entry.path().map_or(Name::Other, |path| name_of(&path));
        (name, Place { at: entry.raw_file_position(), bytes: entry.size() })
    };
    entries.map_while(Result::ok).map(piece).collect()
}

/// Also as whoever packs a backup folder himself may write it.
fn name_of(path: &Path) -> Name {
    let path = path.strip_prefix(".").unwrap_or(path);
    let checksum = || {
        let name = path.strip_prefix(FILES).ok()?.to_str()?;
        Checksum::try_from(name.to_owned()).ok()
    };
    match path == Path::new(LIST) {
        true => Name::List,
        false => checksum().map_or(Name::Other, Name::File),
    }
}

impl Kept for Packed {
    fn path(&self) -> &Path {
        &self.path
    }

    fn list(&self) -> anyhow::Result<Option<Inventory>> {
        let Some(place) = self.list else {
            let advice = "it is damaged, or its end is missing: take another backup";
            ensure!(self.files.is_empty(), "{}: {advice}", self.path.display());
            return Ok(None);
        };
        let mut source = self.source(LIST, place);
        let mut text = String::new();
        let read = source.bytes.read_to_string(&mut text);
        read.with_context(|| format!("{} cannot be read", source.name))?;
        Ok(Some(Inventory::parse(&text).with_context(|| source.name.clone())?))
    }

    fn why_no_list(&self) -> &'static str {
        "it is no backup"
    }

    fn open(&self, checksum: Checksum) -> anyhow::Result<Source<'_>> {
        let name = format!("{FILES}/{checksum}");
        match self.files.get(&checksum) {
            Some(place) => Ok(self.source(&name, *place)),
            None => bail!("{} lacks {name}: it is damaged", self.path.display()),
        }
    }
}

/// A file that a backup is put into.
pub struct Archive {
    path: PathBuf,
    /// The backup that counts, if there is one.
    before: Option<Packed>,
    part_path: PathBuf,
    part: File,
    /// What of the part is whole.
    files: BTreeMap<Checksum, Place>,
    /// Where the next begins.
    end: u64,
}

impl Archive {
    /// A file to put a backup into. What an earlier one has left that was broken off is kept.
    pub fn open(path: &Path) -> anyhow::Result<Archive> {
        let before = path.exists().then(|| Packed::open(path)).transpose()?;
        if before.as_ref().is_some_and(|before| matches!(before.list(), Ok(None))) {
            bail!("{} is no backup, and is left as it is: give another name", path.display());
        }
        let part_path = unfinished(path);
        let part = open_part(&part_path)?;
        let (path, files) = (path.to_owned(), BTreeMap::new());
        let mut archive = Archive { path, before, part_path, part, files, end: 0 };
        archive.keep_what_is_whole()?;
        Ok(archive)
    }

    fn keep_what_is_whole(&mut self) -> anyhow::Result<()> {
        let part = Packed::open(&self.part_path)?;
        let mut progress = Progress::new("reading again", part.tar.metadata()?.len(), 0);
        for (name, place) in pieces(&part.tar) {
            let Name::File(checksum) = name else { break };
            let source = part.source("a file", place);
            let found = checksum_of(source, &mut |bytes| progress.add(bytes))?;
            if found != (place.bytes, checksum) {
                break;
            }
            self.files.insert(checksum, place);
            self.end = place.end();
        }
        progress.end();
        self.cut_off()
    }

    /// Lets go of all behind what is whole.
    fn cut_off(&mut self) -> anyhow::Result<()> {
        self.part.set_len(self.end).with_context(|| self.cannot())?;
        self.part.seek(SeekFrom::Start(self.end)).with_context(|| self.cannot())?;
        Ok(())
    }

    fn cannot(&self) -> String {
        format!("{} cannot be written", self.part_path.display())
    }

    /// Writes what comes before a file's bytes. Returns where they are.
    fn write_head(&mut self, name: &str, bytes: u64) -> io::Result<Place> {
        let mut header = tar::Header::new_gnu();
        header.set_path(name)?;
        header.set_entry_type(tar::EntryType::Regular);
        header.set_size(bytes);
        header.set_mode(0o600);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_cksum();
        self.part.write_all(header.as_bytes())?;
        Ok(Place { at: self.end + BLOCK, bytes })
    }

    fn write_list(&mut self, inventory: &Inventory) -> io::Result<()> {
        let text = inventory.print();
        let place = self.write_head(LIST, text.len() as u64)?;
        self.part.write_all(text.as_bytes())?;
        self.part.set_len(place.end())?;
        self.part.seek(SeekFrom::Start(place.end()))?;
        self.part.write_all(&LAST)?;
        self.part.sync_all()
    }
}

/// Opens the file that is written to, for one at a time.
fn open_part(path: &Path) -> anyhow::Result<File> {
    let cannot = || format!("{} cannot be written", path.display());
    let mut options = File::options();
    let part = options.read(true).write(true).create(true).truncate(false).open(path);
    let part = part.with_context(cannot)?;
    // Who got its lock when another had just finished has a backup that counts.
    let is_ours = part.try_lock().is_ok()
        && fs::metadata(path).is_ok_and(|there| {
            part.metadata().is_ok_and(|ours| (there.dev(), there.ino()) == (ours.dev(), ours.ino()))
        });
    ensure!(is_ours, "another backup is writing to {}", path.display());
    let begins = format!("{FILES}/");
    let mut head = vec![0; begins.len()];
    let length = part.read_at(&mut head, 0).with_context(cannot)?;
    ensure!(
        begins.as_bytes().starts_with(&head[..length]),
        "{} is not of a backup, and is left as it is: move it away, or give another name",
        path.display()
    );
    Ok(part)
}

/// Of the backup that counts.
impl Kept for Archive {
    fn path(&self) -> &Path {
        &self.path
    }

    fn list(&self) -> anyhow::Result<Option<Inventory>> {
        self.before.as_ref().map_or(Ok(None), Packed::list)
    }

    fn why_no_list(&self) -> &'static str {
        "no backup was ever finished there"
    }

    fn open(&self, checksum: Checksum) -> anyhow::Result<Source<'_>> {
        self.before.as_ref().context("there is no backup yet")?.open(checksum)
    }
}

impl Keep for Archive {
    /// A part most of which is not needed any more is begun anew.
    fn begin(&mut self, next: &Inventory) -> anyhow::Result<()> {
        let needed = super::contents(next);
        let (mut kept, mut stale) = (0, 0);
        for (checksum, place) in &self.files {
            match needed.contains_key(checksum) {
                true => kept += place.bytes,
                false => stale += place.bytes,
            }
        }
        if stale > kept {
            self.files.clear();
            self.end = 0;
            self.cut_off()?;
        }
        Ok(())
    }

    /// All that is here was read when it was opened.
    fn has(&self, file: &Listed, _is_read: bool) -> anyhow::Result<bool> {
        Ok(self.files.contains_key(&file.checksum))
    }

    fn take(
        &mut self,
        from: &Path,
        file: &Listed,
        progress: &mut Progress,
    ) -> anyhow::Result<(u64, Checksum)> {
        let source = Source::file(from)?;
        let name = format!("{FILES}/{}", file.checksum);
        let place = self.write_head(&name, file.bytes).with_context(|| self.cannot())?;
        let done = &mut |bytes| progress.add(bytes);
        let found = pour(source, &mut self.part, &self.part_path, done)?;
        if found == (file.bytes, file.checksum) {
            self.files.insert(file.checksum, place);
            self.end = place.end();
        }
        // Up to where the next begins, or off, if it is another than was listed.
        self.cut_off()?;
        Ok(found)
    }

    fn finish(&mut self, inventory: &Inventory) -> anyhow::Result<()> {
        self.write_list(inventory).with_context(|| self.cannot())?;
        let name = || -> io::Result<()> {
            fs::rename(&self.part_path, &self.path)?;
            let folder = self.path.parent().filter(|folder| *folder != Path::new(""));
            File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
        };
        name().with_context(|| format!("{} cannot be written", self.path.display()))
    }
}

#[cfg(test)]
#[path = "archive_tests.rs"]
mod tests;
