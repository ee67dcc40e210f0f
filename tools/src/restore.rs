//! `anser-tools restore`: a data folder made of a backup.
//!
//! Invariants:
//! 1. Nothing is written before all of the backup was read and found to be what was put there.
//! 2. No server starts on a folder that is not whole: its manifest comes last.
//! 3. A folder that holds anything is left as it is.

use crate::backup::{Kept, Progress, Source, checksum_of, contents, copy, open_to_read};
use anser::ids::ShardId;
use anser::node::data_folder::{self, shard_folder};
use anser::node::manifest_file::MANIFEST;
use anser::node::{indexer, recover};
use anser::store::inventory::{Inventory, Listed};
use anser::store::manifest::Manifest;
use anyhow::{Context, bail, ensure};
use clap::Args;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What `restore` is told.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Where the backup is
    #[arg(long, value_name = "FOLDER|FILE.tar")]
    from: PathBuf,
    /// Where the data folder is to be: not there yet, or empty
    #[arg(long, value_name = "FOLDER", required_unless_present = "check")]
    data_dir: Option<PathBuf>,
    /// Only read the backup and say whether it is whole
    #[arg(long)]
    check: bool,
}

/// Runs `restore`.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let (keep, inventory) = open_to_read(&arguments.from)?;
    let data = arguments.data_dir.as_deref().filter(|_| !arguments.check);
    if let Some(data) = data {
        refuse_used(data)?;
    }
    check(&*keep, &inventory)?;
    let (files, bytes) = (inventory.files.len(), inventory.bytes());
    match data {
        Some(data) => {
            restore(&*keep, &inventory, data)?;
            println!(
                "restore: {files} files, {bytes} bytes; start `anser --data-dir {}`",
                data.display()
            );
        }
        None => println!("restore: {files} files, {bytes} bytes, all as they were put there"),
    }
    Ok(ExitCode::SUCCESS)
}

fn refuse_used(data: &Path) -> anyhow::Result<()> {
    match fs::read_dir(data).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Ok(false) => bail!(
            "{} is not empty: give a new folder with --data-dir (what a restore that was broken \
             off has left can be removed)",
            data.display()
        ),
        Err(error) => Err(error).with_context(|| data.display().to_string()),
    }
}

/// Reads the whole backup.
fn check(keep: &dyn Kept, inventory: &Inventory) -> anyhow::Result<()> {
    let contents = contents(inventory);
    let bytes = contents.values().map(|file| file.bytes).sum();
    let mut progress = Progress::new("reading", bytes, 0);
    for file in contents.values() {
        let source = keep.open(file.checksum)?;
        let name = source.name.clone();
        let found = checksum_of(source, &mut |bytes| progress.add(bytes))?;
        if found != (file.bytes, file.checksum) {
            bail!(
                "{name} ({} of the data folder) is damaged; nothing was written: take another \
                 backup, or run `anser-tools backup --check` while there is a server to back up",
                file.path
            );
        }
    }
    progress.end();
    Ok(())
}

fn restore(keep: &dyn Kept, inventory: &Inventory, data: &Path) -> anyhow::Result<()> {
    let (manifests, files): (Vec<&Listed>, Vec<&Listed>) =
        inventory.files.iter().partition(|file| file.path == MANIFEST);
    let manifest = manifests.first().context("the backup has no manifest")?;
    let mut text = String::new();
    keep.open(manifest.checksum)?.bytes.read_to_string(&mut text)?;
    let manifest = Manifest::parse(&text).context("the backup's manifest")?;
    ensure!(manifest.shards == inventory.shards, "the backup is of two data folders");
    let mut progress = Progress::new("copying", 2 * inventory.bytes(), 0);
    fs::create_dir_all(data).with_context(|| data.display().to_string())?;
    let mut folders = BTreeSet::from([data.to_owned()]);
    for file in files {
        put(keep, file, data, &mut progress)?;
        let to = data.join(&file.path);
        folders.extend(to.ancestors().skip(1).take_while(|up| *up != data).map(Path::to_owned));
    }
    progress.end();
    for folder in folders {
        File::open(&folder)?.sync_all().with_context(|| folder.display().to_string())?;
    }
    for shard in (0..manifest.shards).map(ShardId) {
        let folder = shard_folder(data, shard);
        recover::adopt(&folder, indexer::identity()?)
            .with_context(|| format!("the rows of shard {shard}"))?;
        File::open(&folder)?.sync_all().with_context(|| folder.display().to_string())?;
    }
    // A backup has its rows where a folder has them that was never resharded.
    Ok(data_folder::finish(data, &Manifest { generation: 0, ..manifest })?)
}

/// Copies one file to where it belongs, and reads it there again.
fn put(keep: &dyn Kept, file: &Listed, data: &Path, progress: &mut Progress) -> anyhow::Result<()> {
    let to = data.join(&file.path);
    fs::create_dir_all(to.parent().unwrap_or(data)).with_context(|| to.display().to_string())?;
    let expected = (file.bytes, file.checksum);
    let read = copy(keep.open(file.checksum)?, &to, &mut |bytes| progress.add(bytes))?;
    let written = checksum_of(Source::file(&to)?, &mut |bytes| progress.add(bytes))?;
    if read != expected || written != expected {
        bail!("{} is not what the backup holds: the disk changes what it keeps", to.display());
    }
    Ok(())
}
