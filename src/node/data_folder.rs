//! The data folder: who may use it, and what it says of itself.
//!
//! Invariants:
//! 1. One process uses a folder at a time: it holds the lock for as long as [`FolderLock`] lives,
//!    and the operating system gives it back however the process ends.
//! 2. A folder that is not ours is left as it was found.
//! 3. Once all shards of a folder were made it says so, on disk before anybody is served. From then
//!    on one that is missing is never made anew, empty: the folder is refused, and so it is with
//!    one more than the manifest knows.
//!
//! Left to others: the manifest's file (`node::manifest_file`) and what it means
//! (`store::manifest`), the rows (`store::view`).

use crate::node::manifest_file::{self, COPY, Found, MANIFEST, ReadError};
use crate::store::manifest::{Manifest, ManifestError};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// The end of a file's name while it is written.
const UNFINISHED: &str = ".new";
const LOCK: &str = "lock";
/// The file that says that all shards were made.
const COMPLETE: &str = "complete";
const COMPLETE_TEXT: &str = "All shards of this folder were made. Never remove this file: without \
    it a shard that is lost would be made anew, empty.\n";

/// The folder is ours until this is dropped.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
    mended: Option<PathBuf>,
}

/// Shard counts of a start.
#[derive(Clone, Copy, Debug)]
pub struct Shards {
    /// What the operator said; `None`: nothing.
    pub asked: Option<u16>,
    /// For a new folder when he said nothing.
    pub default: u16,
}

/// Why the data folder is not used.
#[derive(Debug, thiserror::Error)]
pub enum DataFolderError {
    /// The operating system refused.
    #[error("the data folder {}: cannot {doing}", folder.display())]
    System {
        /// The data folder.
        folder: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// What it says.
        source: io::Error,
    },
    /// Another server holds the lock.
    #[error(
        "the data folder {} is in use by another server (process {holder}): stop it, or give \
         this one another --data-dir",
        folder.display()
    )]
    InUse {
        /// The data folder.
        folder: PathBuf,
        /// Its process id, as far as it is known.
        holder: String,
    },
    /// There are files and no manifest among them.
    #[error(
        "the folder {} is not empty and holds no manifest.toml, it is not a data folder: give an \
         empty or a new one with --data-dir, or put manifest.toml back from a copy",
        folder.display()
    )]
    Foreign {
        /// The folder.
        folder: PathBuf,
    },
    /// There is nothing to be read.
    #[error("{} {why}", folder.display())]
    NoData {
        /// What was given.
        folder: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// What was there is gone.
    #[error(
        "{} is missing or empty, and messages were in it: nothing was changed; put it back from a \
         copy of the same moment as the rest, or restore a backup",
        shard.display()
    )]
    ShardMissing {
        /// The folder of a shard.
        shard: PathBuf,
    },
    /// There is a shard that the manifest does not know.
    #[error(
        "{} is of no shard: the manifest.toml beside it says {shards} shards; nothing was changed: \
         put manifest.toml back from a copy of the same moment",
        shard.display()
    )]
    ShardUnknown {
        /// The folder of a shard.
        shard: PathBuf,
        /// How many there are.
        shards: u16,
    },
    /// The manifest says no.
    #[error("the data folder {}", folder.display())]
    Manifest {
        /// The data folder.
        folder: PathBuf,
        /// Why, and what to do.
        source: ManifestError,
    },
}

/// Takes the lock of `folder` and reads its manifest. A missing or empty folder is made a data
/// folder first.
pub fn open_or_create(
    folder: &Path,
    shards: Shards,
) -> Result<(Manifest, FolderLock), DataFolderError> {
    let system =
        |doing| move |source| DataFolderError::System { folder: folder.to_owned(), doing, source };
    let refused = |source| DataFolderError::Manifest { folder: folder.to_owned(), source };
    // A count that no folder can have is refused before anything is made.
    let new = Manifest::new(shards.asked.unwrap_or(shards.default)).map_err(refused)?;
    fs::create_dir_all(folder).map_err(system("make it"))?;
    if is_foreign(folder).map_err(system("list it"))? {
        return Err(DataFolderError::Foreign { folder: folder.to_owned() });
    }
    let mut lock = lock(folder)?;
    let manifest = match manifest_file::open(folder) {
        Ok(Some(Found { manifest, is_mended })) => {
            if is_mended {
                let file = folder.join(MANIFEST);
                tracing::warn!(file = %file.display(), "it is put back from its second copy");
                lock.mended = Some(file);
            }
            manifest.agree(shards.asked)
        }
        Ok(None) => {
            let named = random().map(|random| new.named(random)).map_err(system("name it"))?;
            manifest_file::write(folder, &named).map_err(system("write its manifest.toml"))?;
            Ok(named)
        }
        Err(ReadError::Refused(refusal)) => Err(refusal),
        Err(ReadError::System(error)) => return Err(system("read its manifest.toml")(error)),
    };
    let manifest = manifest.map_err(refused)?;
    refuse_missing(folder, &manifest)?;
    Ok((manifest, lock))
}

impl FolderLock {
    /// The manifest, if it was damaged or gone and is put back.
    pub fn mended(&self) -> Option<&Path> {
        self.mended.as_deref()
    }
}

/// What tells a new folder from all others.
pub fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(u64::from_ne_bytes(bytes))
}

/// All shards are made: syncs the folders that they are in, and says so for good.
pub fn complete(folder: &Path, manifest: &Manifest) -> Result<(), DataFolderError> {
    if folder.join(COMPLETE).exists() {
        return Ok(());
    }
    let doing = "sync its folders";
    let refused = |source| DataFolderError::System { folder: folder.to_owned(), doing, source };
    for shard in (0..manifest.shards).map(crate::ids::ShardId) {
        sync_folders(&home(folder, manifest, shard)).map_err(refused)?;
    }
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(refused)?;
    write_whole(folder, COMPLETE, COMPLETE_TEXT).map_err(refused)
}

/// Syncs a folder and all folders in it, the innermost first.
fn sync_folders(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_folders(&entry.path())?;
        }
    }
    File::open(folder)?.sync_all()
}

/// Refuses a folder with a shard more than it says, and one that had all of them and lacks one.
fn refuse_missing(folder: &Path, manifest: &Manifest) -> Result<(), DataFolderError> {
    let shards = manifest.shards;
    let beyond = home(folder, manifest, crate::ids::ShardId(shards));
    if beyond.exists() {
        return Err(DataFolderError::ShardUnknown { shard: beyond, shards });
    }
    if !folder.join(COMPLETE).exists() {
        return Ok(());
    }
    for shard in (0..manifest.shards).map(crate::ids::ShardId) {
        let shard = home(folder, manifest, shard);
        let is_empty = fs::read_dir(&shard).map_or(true, |mut entries| entries.next().is_none());
        if is_empty {
            return Err(DataFolderError::ShardMissing { shard });
        }
    }
    Ok(())
}

/// Takes the lock of a data folder that is there and in nobody's use, and reads its manifest.
pub fn open_stopped(folder: &Path) -> Result<(Manifest, FolderLock), DataFolderError> {
    let doing = "read its manifest.toml";
    let system = |source| DataFolderError::System { folder: folder.to_owned(), doing, source };
    let no_data = |why| Err(DataFolderError::NoData { folder: folder.to_owned(), why });
    if !manifest_file::is_there(folder).map_err(system)? {
        return match fs::metadata(folder) {
            Ok(found) if found.is_dir() => no_data(
                "holds no manifest.toml: it is no data folder, or manifest.toml has to be put back \
                 from a copy",
            ),
            Err(error) if error.kind() == io::ErrorKind::NotFound => no_data("is not there"),
            found => found.map_err(system).and(no_data("is no folder")),
        };
    }
    open_or_create(folder, Shards { asked: None, default: 1 })
}

/// Makes a folder that holds everything else a data folder: its manifest comes last.
pub fn finish(folder: &Path, manifest: &Manifest) -> Result<(), DataFolderError> {
    complete(folder, manifest)?;
    let doing = "write its manifest.toml";
    let refused = |source| DataFolderError::System { folder: folder.to_owned(), doing, source };
    manifest_file::write(folder, manifest).map_err(refused)
}

/// Where a shard's rows and log are, in the generation that the manifest names.
pub fn home(folder: &Path, manifest: &Manifest, shard: crate::ids::ShardId) -> PathBuf {
    match manifest.generation {
        0 => shard_folder(folder, shard),
        later => folder.join(format!("shard-{shard}.{later}")),
    }
}

/// The folders of shards of any other generation, whoever left them.
pub fn strays(folder: &Path, manifest: &Manifest) -> Result<Vec<PathBuf>, DataFolderError> {
    let doing = "list it";
    let refused = |source| DataFolderError::System { folder: folder.to_owned(), doing, source };
    let mut strays = Vec::new();
    for entry in fs::read_dir(folder).map_err(refused)? {
        let entry = entry.map_err(refused)?;
        let generation = generation_of(&entry.file_name().to_string_lossy());
        if generation.is_some_and(|generation| generation != manifest.generation) {
            strays.push(entry.path());
        }
    }
    Ok(strays)
}

/// The generation of a shard's folder; `None`: it is none.
fn generation_of(name: &str) -> Option<u32> {
    let rest = name.strip_prefix("shard-")?;
    let (shard, generation) = rest.split_once('.').unwrap_or((rest, "0"));
    shard.parse::<u16>().ok()?;
    generation.parse().ok()
}

/// Where a shard's rows are in a folder that was never resharded, and in backups.
pub fn shard_folder(folder: &Path, shard: crate::ids::ShardId) -> PathBuf {
    folder.join(format!("shard-{shard}"))
}

/// Beginnings of the names of files by which a start tries the folder; it removes them at once.
const PROBES: [&str; 2] = [".doctor-", ".direct-"];

/// Files, none of them a manifest. What a first start leaves when it dies early is ours.
fn is_foreign(folder: &Path) -> io::Result<bool> {
    let mut others = false;
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        if name == MANIFEST || name == COPY {
            return Ok(false);
        }
        let is_probe = PROBES.iter().any(|probe| name.to_string_lossy().starts_with(probe));
        let is_unfinished = name.to_string_lossy() == format!("{MANIFEST}{UNFINISHED}");
        others |= name != LOCK && !is_unfinished && !is_probe;
    }
    Ok(others)
}

fn lock(folder: &Path) -> Result<FolderLock, DataFolderError> {
    let system =
        |doing| move |source| DataFolderError::System { folder: folder.to_owned(), doing, source };
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let mut file = options.open(folder.join(LOCK)).map_err(system("open its lock file"))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::Error(error)) => return Err(system("lock it")(error)),
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            if file.read_to_string(&mut holder).is_err() || holder.trim().is_empty() {
                holder = "unknown".to_owned();
            }
            let (folder, holder) = (folder.to_owned(), holder.trim().to_owned());
            return Err(DataFolderError::InUse { folder, holder });
        }
    }
    file.set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(system("write its lock file"))?;
    Ok(FolderLock { _file: file, mended: None })
}

/// Writes a file under another name, syncs it, and only then gives it its name.
pub(super) fn write_whole(folder: &Path, name: &str, text: &str) -> io::Result<()> {
    let unfinished = folder.join(format!("{name}{UNFINISHED}"));
    let mut file = File::create(&unfinished)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&unfinished, folder.join(name))?;
    File::open(folder)?.sync_all()?;
    match folder.canonicalize()?.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::view::tests::TempFolder;
    use std::error::Error;

    fn open(folder: &TempFolder, asked: Option<u16>) -> Result<Manifest, DataFolderError> {
        open_or_create(folder.path(), Shards { asked, default: 2 }).map(|(manifest, _)| manifest)
    }

    #[test]
    fn a_new_folder_gets_the_count_asked_for_and_keeps_it() {
        let folder = TempFolder::new();
        assert_eq!(open(&folder, Some(4)).expect("new").shards, 4);
        assert_eq!(open(&folder, None).expect("made").shards, 4);
        let refusal = open(&folder, Some(2)).expect_err("another count");
        assert!(refusal.to_string().contains(&folder.path().display().to_string()), "{refusal}");
        let cause = refusal.source().expect("the manifest's").to_string();
        assert!(cause.contains("--shards 4"), "{cause}");
        let other = TempFolder::new();
        assert_eq!(open(&other, None).expect("new").shards, 2);
    }

    /// Invariant 1 of node::data_folder.
    #[test]
    fn a_second_server_on_the_same_folder_is_refused() {
        let folder = TempFolder::new();
        let shards = Shards { asked: None, default: 1 };
        let (_, lock) = open_or_create(folder.path(), shards).expect("the first");
        let refusal = open(&folder, None).expect_err("the second").to_string();
        assert!(refusal.contains("in use"), "{refusal}");
        assert!(refusal.contains(&std::process::id().to_string()), "{refusal}");
        drop(lock);
        open(&folder, None).expect("the first has gone");
    }

    /// Invariant 2 of node::data_folder.
    #[test]
    fn a_foreign_folder_is_refused_and_left_as_it_was() {
        let folder = TempFolder::new();
        fs::create_dir_all(folder.path()).expect("temporary");
        fs::write(folder.path().join("letter.txt"), "mine").expect("temporary");
        assert!(matches!(open(&folder, None), Err(DataFolderError::Foreign { .. })));
        assert_eq!(fs::read_dir(folder.path()).expect("temporary").count(), 1);
    }

    #[test]
    fn a_manifest_is_read_whole_or_refused() {
        let folder = TempFolder::new();
        fs::create_dir_all(folder.path()).expect("temporary");
        fs::write(folder.path().join("manifest.toml.new"), "format = ").expect("temporary");
        assert_eq!(open(&folder, Some(1)).expect("an early death is ours").shards, 1);
        assert!(!folder.path().join("manifest.toml.new").exists());
        let cut = |name| fs::write(folder.path().join(name), "format = ").expect("temporary");
        cut(MANIFEST);
        let shards = Shards { asked: None, default: 2 };
        let (manifest, lock) = open_or_create(folder.path(), shards).expect("its copy is whole");
        assert_eq!(manifest.shards, 1);
        assert_eq!(lock.mended(), Some(folder.path().join(MANIFEST).as_path()));
        drop(lock);
        [MANIFEST, COPY].into_iter().for_each(cut);
        let refusal = open(&folder, None).expect_err("cut");
        assert!(matches!(refusal, DataFolderError::Manifest { .. }), "{refusal}");
    }

    #[test]
    fn what_a_start_leaves_that_died_while_it_tried_the_folder_is_ours() {
        let folder = TempFolder::new();
        fs::create_dir_all(folder.path()).expect("temporary");
        for probe in PROBES {
            fs::write(folder.path().join(format!("{probe}123")), "").expect("temporary");
        }
        assert_eq!(open(&folder, Some(1)).expect("an early death is ours").shards, 1);
    }

    /// Invariant 3 of node::data_folder.
    #[test]
    fn a_shard_that_is_missing_is_refused_and_never_made_anew() {
        let folder = TempFolder::new();
        let manifest = open(&folder, Some(2)).expect("new");
        let shards = [0, 1].map(|shard| home(folder.path(), &manifest, crate::ids::ShardId(shard)));
        // A first start that died in the midst of making them goes on.
        fs::create_dir_all(shards[0].join("rows")).expect("temporary");
        open(&folder, None).expect("it was never complete");
        assert!(complete(folder.path(), &manifest).is_err(), "one is not made");
        fs::create_dir_all(shards[1].join("rows")).expect("temporary");
        complete(folder.path(), &manifest).expect("all are made");
        open(&folder, None).expect("all are there");
        for shard in &shards {
            fs::remove_dir(shard.join("rows")).expect("temporary");
            let refusal = open(&folder, None).expect_err("it is empty").to_string();
            assert!(refusal.contains(&shard.display().to_string()), "{refusal}");
            fs::remove_dir(shard).expect("temporary");
            assert!(matches!(open(&folder, None), Err(DataFolderError::ShardMissing { .. })));
            fs::create_dir_all(shard.join("rows")).expect("temporary");
        }
        open(&folder, None).expect("they were put back");
    }

    /// Invariant 3 of node::data_folder.
    #[test]
    fn a_manifest_of_fewer_shards_than_there_are_is_refused() {
        let folder = TempFolder::new();
        let manifest = open(&folder, Some(2)).expect("new");
        let beyond = home(folder.path(), &manifest, crate::ids::ShardId(2));
        fs::create_dir_all(&beyond).expect("temporary");
        let refusal = open(&folder, None).expect_err("it is of nobody").to_string();
        assert!(refusal.contains(&beyond.display().to_string()), "{refusal}");
        fs::remove_dir(&beyond).expect("temporary");
        open(&folder, None).expect("all are known");
    }

    #[test]
    fn a_count_that_cannot_be_makes_nothing() {
        let folder = TempFolder::new();
        assert!(open(&folder, Some(0)).is_err());
        assert!(!folder.path().exists());
    }
}
