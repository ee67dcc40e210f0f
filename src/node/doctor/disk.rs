//! The data folder: can it be written, how long a sync takes, how much room is left.

use super::{Check, Verdict};
use crate::node::log_files::{Directness, directness};
use crate::store::is_want_of_room;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Writes that are timed; the median counts.
const SYNCS: usize = 20;
const BLOCK_BYTES: usize = 4096;
/// A median above this makes every ack slow.
const SYNC_MAX: Duration = Duration::from_millis(20);
/// Room below which a server fills the disk soon.
const FREE_MIB_WARN: u64 = 1024;
/// Room below which it is not worth starting: a shard's log wants a segment.
const FREE_MIB_MIN: u64 = 64;

/// The folder, its sync time, its room. When it cannot be written there is nothing more to say.
pub fn examine(folder: &Path) -> Vec<Check> {
    match time_syncs(folder) {
        Err(error) => {
            let advice = match is_want_of_room(&error) {
                true => "make room there",
                false => "choose another with --data-dir",
            };
            let words = format!("{} cannot be written: {error}; {advice}", folder.display());
            vec![Check::new("data folder", Verdict::Fail, words)]
        }
        Ok(median) => {
            let (verdict, words) = judge_sync(median);
            vec![
                Check::new("data folder", Verdict::Ok, folder.display().to_string()),
                Check::new("fdatasync", verdict, words),
                direct_writes(folder),
                room(folder),
            ]
        }
    }
}

/// A file that goes when it is dropped.
struct Probe(PathBuf);

impl Drop for Probe {
    fn drop(&mut self) {
        // A probe that cannot be removed is an empty file of a known name: nothing to add.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn time_syncs(folder: &Path) -> io::Result<Duration> {
    std::fs::create_dir_all(folder)?;
    let probe = Probe(folder.join(format!(".doctor-{}", std::process::id())));
    let file = File::create_new(&probe.0)?;
    let block = [0_u8; BLOCK_BYTES];
    let mut taken = Vec::with_capacity(SYNCS);
    for index in 0..SYNCS {
        let start = Instant::now();
        file.write_all_at(&block, (index * BLOCK_BYTES) as u64)?;
        file.sync_data()?;
        taken.push(start.elapsed());
    }
    taken.sort_unstable();
    Ok(taken[SYNCS / 2])
}

pub(super) fn judge_sync(median: Duration) -> (Verdict, String) {
    let words = format!("{:.2} ms for 4 KiB (median of {SYNCS})", median.as_secs_f64() * 1e3);
    if median > SYNC_MAX {
        return (Verdict::Warn, format!("{words}: every ack waits for it; use a faster disk"));
    }
    (Verdict::Ok, words)
}

/// Whether the commit log is written past the page cache.
fn direct_writes(folder: &Path) -> Check {
    let (verdict, words) = match directness(folder) {
        Ok(found) => judge_directness(found),
        Err(error) => (Verdict::Fail, format!("a write with its sync is refused: {error}")),
    };
    Check::new("direct io", verdict, words)
}

pub(super) fn judge_directness(found: Directness) -> (Verdict, String) {
    match found {
        Directness::Direct => (Verdict::Ok, "O_DIRECT and RWF_DSYNC are taken".to_owned()),
        Directness::Cached => {
            let words = "the file system refuses O_DIRECT: the commit log goes through the page \
                         cache, which is as safe and slower; ext4 and xfs take it";
            (Verdict::Warn, words.to_owned())
        }
    }
}

fn room(folder: &Path) -> Check {
    let (verdict, words) = match rustix::fs::statvfs(folder) {
        Ok(found) => judge_room(found.f_bavail.saturating_mul(found.f_frsize) >> 20),
        Err(error) => (Verdict::Warn, format!("free space cannot be read: {error}")),
    };
    Check::new("disk space", verdict, words)
}

pub(super) fn judge_room(free_mib: u64) -> (Verdict, String) {
    let words = format!("{free_mib} MiB free");
    match free_mib {
        0..FREE_MIB_MIN => {
            (Verdict::Fail, format!("{words}: at least {FREE_MIB_MIN} MiB are needed"))
        }
        FREE_MIB_MIN..FREE_MIB_WARN => (Verdict::Warn, format!("{words}: it will be full soon")),
        _ => (Verdict::Ok, words),
    }
}
