//! `anser-tools backup`: one moment of a data folder, put into a folder of its own, or one file.
//!
//! Invariants:
//! 1. A backup's list comes last: until then the backup before is the one that counts, and nothing
//!    of it is touched.
//! 2. What was copied before is not copied again, whoever broke off whatever.
//! 3. The server's cut is removed when its copy is done, has failed, or was broken off by a signal
//!    that can be caught.
//!
//! Left to others: making the cut (`anser::node::cuts`), where it is kept (`keep`), reading it back
//! (`restore`).

mod admin;
mod archive;
mod copying;
#[cfg(test)]
mod fixture;
mod folder;
mod keep;

use anser::config::reached_at;
use anser::node::cuts::LIST;
use anser::node::data_folder::DataFolderError;
use anser::node::manifest_file::MANIFEST;
use anser::node::stopped::{Stopped, StoppedError};
use anser::store::inventory::{Checksum, Inventory, Listed};
use anyhow::{Context, anyhow, bail, ensure};
use clap::Args;
pub use copying::{Source, checksum_of, copy};
use indicatif::{ProgressBar, ProgressStyle};
use keep::Keep;
pub use keep::{Kept, open_to_read};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What `backup` is told.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Where the backup is kept: a folder that is new, empty, or that of an earlier backup, which
    /// is then added to; or a file whose name ends in .tar, which takes the place of the one before
    #[arg(long, value_name = "FOLDER|FILE.tar")]
    to: PathBuf,
    /// The admin port of the running server
    #[arg(long, default_value = "127.0.0.1:8094", value_parser = reached_at,
          conflicts_with = "data_dir")]
    admin: SocketAddr,
    /// The data folder of a server that is not running
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
    /// Copy no more than so many MiB a second; 0: as fast as it goes
    #[arg(long, value_name = "MIB", default_value_t = 0)]
    rate: u64,
    /// Read again what a folder has, and copy anew what is damaged
    #[arg(long)]
    check: bool,
    /// Let go of the backup that is there, though it is of another server or of a later moment
    #[arg(long)]
    replace: bool,
}

/// Bytes copied and to be copied, and no faster than was asked for.
pub struct Progress {
    bar: ProgressBar,
    begun: Instant,
    bytes: u64,
    /// Bytes a second; 0: any.
    rate: u64,
    /// SIGINT or SIGTERM has come.
    is_told_to_stop: Arc<AtomicBool>,
}

impl Progress {
    /// A bar on a terminal, nothing elsewhere.
    pub fn new(what: &'static str, bytes: u64, rate: u64) -> Progress {
        let style = ProgressStyle::with_template(
            "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
        );
        let bar = ProgressBar::new(bytes).with_message(what);
        bar.set_style(style.expect("the template is right"));
        let is_told_to_stop = Arc::default();
        Progress { bar, begun: Instant::now(), bytes: 0, rate, is_told_to_stop }
    }

    /// The same, which ends what is done when the process is told to stop.
    fn stopped_by_signals(self) -> anyhow::Result<Progress> {
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, self.is_told_to_stop.clone())?;
        }
        Ok(self)
    }

    /// So many more bytes are done; an error: enough.
    pub fn add(&mut self, bytes: u64) -> anyhow::Result<()> {
        ensure!(
            !self.is_told_to_stop.load(Ordering::Relaxed),
            "told to stop: run it again, it goes on where it was"
        );
        self.bytes += bytes;
        self.bar.inc(bytes);
        if self.rate > 0 {
            let due = Duration::from_secs_f64(self.bytes as f64 / self.rate as f64);
            std::thread::sleep(due.saturating_sub(self.begun.elapsed()));
        }
        Ok(())
    }

    /// Takes the bar away.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}

/// What is copied from, and how it is let go.
enum Origin {
    Running { admin: SocketAddr, cut: admin::Cut },
    Stopped(Box<Stopped>),
}

impl Origin {
    fn folder(&self) -> &Path {
        match self {
            Origin::Running { cut, .. } => &cut.folder,
            Origin::Stopped(stopped) => stopped.folder(),
        }
    }

    fn let_go(self) -> anyhow::Result<()> {
        match self {
            Origin::Running { admin, cut } => admin::remove_cut(admin, cut.number),
            Origin::Stopped(stopped) => Ok(stopped.remove()?),
        }
    }
}

/// Runs `backup`.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    // What is there is looked at before the server has any work; something new is made when there
    // is something to put into it.
    let is_there = keep::is_there(&arguments.to);
    let keep = is_there.then(|| keep::open_to_write(&arguments.to)).transpose()?;
    let origin = match &arguments.data_dir {
        Some(data) => {
            let stopped = Stopped::open(data).map_err(|error| match error {
                StoppedError::DataFolder(DataFolderError::InUse { .. }) => anyhow!(error).context(
                    "--data-dir is for a server that is stopped; of one that runs give --admin, \
                     its admin port",
                ),
                error => error.into(),
            })?;
            Origin::Stopped(Box::new(stopped))
        }
        None => {
            let admin = arguments.admin;
            Origin::Running { admin, cut: admin::make_cut(admin)? }
        }
    };
    let copied = copy_all(&origin, keep, arguments);
    // The copy's own error says more than that of letting go.
    let gone = origin.let_go();
    let Copied { inventory, files, bytes } = copied?;
    gone?;
    println!(
        "backup: {} files, {} bytes in {}; copied {files} files, {bytes} bytes",
        inventory.files.len(),
        inventory.bytes(),
        arguments.to.display()
    );
    Ok(ExitCode::SUCCESS)
}

/// What was done.
struct Copied {
    inventory: Inventory,
    files: usize,
    bytes: u64,
}

fn copy_all(
    origin: &Origin,
    keep: Option<Box<dyn Keep>>,
    arguments: &Arguments,
) -> anyhow::Result<Copied> {
    let list = origin.folder().join(LIST);
    let text = fs::read_to_string(&list)
        .with_context(|| format!("cannot read {}: is the server on this machine?", list.display()));
    let inventory = Inventory::parse(&text?).with_context(|| list.display().to_string())?;
    let mut keep = keep.map_or_else(|| keep::open_to_write(&arguments.to), Ok)?;
    if !arguments.replace {
        keep::refuse_to_go_back(&*keep, &inventory, &origin.folder().join(MANIFEST))?;
    }
    keep.begin(&inventory)?;
    let mut missing = BTreeMap::new();
    for file in &inventory.files {
        if !keep.has(file, arguments.check)? {
            missing.insert(file.checksum, file);
        }
    }
    let bytes = missing.values().map(|file| file.bytes).sum();
    let progress = Progress::new("copying", bytes, arguments.rate << 20);
    let mut progress = progress.stopped_by_signals()?;
    for file in missing.values() {
        take(origin.folder(), &mut *keep, file, &mut progress)?;
    }
    progress.end();
    keep.finish(&inventory)?;
    Ok(Copied { files: missing.len(), bytes, inventory })
}

fn take(
    from: &Path,
    keep: &mut dyn Keep,
    file: &Listed,
    progress: &mut Progress,
) -> anyhow::Result<()> {
    let from = from.join(&file.path);
    let found = keep.take(&from, file, progress)?;
    if found != (file.bytes, file.checksum) {
        if !from.exists() {
            bail!("{} went while it was read: try again", from.display());
        }
        bail!(
            "{} of the data folder is damaged: its bytes are not those that the server wrote; \
             nothing of the backup before was changed. Run `anser-tools verify` on the data folder",
            file.path
        );
    }
    Ok(())
}

/// Which files a list names, each content once.
pub fn contents(inventory: &Inventory) -> BTreeMap<Checksum, &Listed> {
    inventory.files.iter().map(|file| (file.checksum, file)).collect()
}
