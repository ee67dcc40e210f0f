//! Whether the disk of the data folder has room, looked at once a second.
//!
//! A full disk should show before a write needs it. Below the reserve nothing new is stored: what
//! was taken up can still be written to tables, acks go on, and what is there can be read.
//!
//! Invariants:
//! 1. Room is short below the reserve, and enough again only a quarter above it: a disk that hovers
//!    there does not open and close the door each second.
//! 2. The reserve is never more than a part of the disk ([`DISK_RESERVE_PARTS`]): a small disk can
//!    be used, too.
//! 3. A disk that does not say how much room it has counts as it did before.
//!
//! Left to others: refusing (`chat`), holding tables back (`indexer`, `pace`).

use crate::limits::{DISK_LOOK_MS, DISK_RESERVE_PARTS};
use crate::metrics::{Gauge, ShardMetrics};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The disk of a folder.
pub struct Room {
    /// `None`: there is always room.
    folder: Option<PathBuf>,
}

/// Bytes of a disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Space {
    free: u64,
    all: u64,
}

/// What was seen so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Judge {
    reserve: u64,
    is_short: bool,
}

impl Room {
    /// The disk that a folder is on.
    pub fn of(folder: &Path) -> Arc<Room> {
        Arc::new(Room { folder: Some(folder.to_owned()) })
    }

    /// A disk without an end.
    pub fn endless() -> Arc<Room> {
        Arc::new(Room { folder: None })
    }

    /// A disk that is full to the last byte.
    #[cfg(test)]
    pub fn without_any() -> Arc<Room> {
        Room::of(Path::new("/proc"))
    }

    /// Whether so many bytes can be written now. One system call.
    pub fn has(&self, bytes: u64) -> bool {
        // A write that does not know better finds out by itself.
        self.space().is_none_or(|space| space.free >= bytes)
    }

    fn space(&self) -> Option<Space> {
        let about = rustix::fs::statvfs(self.folder.as_deref()?).ok()?;
        Some(Space {
            free: about.f_bavail.saturating_mul(about.f_frsize),
            all: about.f_blocks.saturating_mul(about.f_frsize),
        })
    }

    /// Looks from a thread of its own until the process ends, and shows all shards what it sees.
    /// `reserve`: bytes.
    pub fn watch(self: &Arc<Room>, reserve: u64, shards: Vec<Arc<ShardMetrics>>) -> io::Result<()> {
        let room = self.clone();
        let mut judge = Judge { reserve, is_short: false };
        room.look(&mut judge, &shards);
        std::thread::Builder::new().name("room".to_owned()).spawn(move || {
            loop {
                std::thread::sleep(Duration::from_millis(DISK_LOOK_MS));
                room.look(&mut judge, &shards);
            }
        })?;
        Ok(())
    }

    fn look(&self, judge: &mut Judge, shards: &[Arc<ShardMetrics>]) {
        let (Some(folder), Some(space)) = (&self.folder, self.space()) else { return };
        let before = judge.is_short;
        let reserve = judge.see(space);
        let (folder, free) = (folder.display(), space.free);
        match (before, judge.is_short) {
            (false, true) => tracing::error!(
                %folder, free, reserve,
                "the disk is full: nothing new is stored until there is room; reads and acks go on"
            ),
            (true, false) => tracing::info!(%folder, free, "the disk has room: all goes on"),
            _ => {}
        }
        for shard in shards {
            shard.set(Gauge::DiskFree, space.free);
            shard.set(Gauge::DiskFull, judge.is_short.into());
        }
    }
}

impl Judge {
    /// Takes a look at the disk. Returns the reserve that holds for it.
    fn see(&mut self, space: Space) -> u64 {
        let reserve = self.reserve.min(space.all / DISK_RESERVE_PARTS);
        let enough = if self.is_short { reserve + reserve / 4 } else { reserve };
        self.is_short = space.free < enough;
        reserve
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::view::tests::TempFolder;

    const GIB: u64 = 1 << 30;

    fn is_short_after(judge: &mut Judge, free: u64) -> bool {
        judge.see(Space { free, all: 100 * GIB });
        judge.is_short
    }

    /// Invariant 1 of node::room.
    #[test]
    fn room_is_short_below_the_reserve_and_enough_a_quarter_above_it() {
        let mut judge = Judge { reserve: 4 * GIB, is_short: false };
        let seen = [5, 4, 3, 4, 4, 5, 4, 3].map(|free| is_short_after(&mut judge, free * GIB));
        assert_eq!(seen, [false, false, true, true, true, false, false, true]);
    }

    /// Invariant 2 of node::room.
    #[test]
    fn the_reserve_is_a_part_of_a_small_disk_at_most() {
        let mut judge = Judge { reserve: 4 * GIB, is_short: false };
        assert_eq!(judge.see(Space { free: GIB, all: 4 * GIB }), 4 * GIB / DISK_RESERVE_PARTS);
        assert!(!judge.is_short);
        judge.see(Space { free: GIB / 4, all: 4 * GIB });
        assert!(judge.is_short);
    }

    /// Invariant 3 of node::room.
    #[test]
    fn a_disk_that_says_nothing_counts_as_before() {
        let room = Room::of(Path::new("/nowhere/at/all"));
        let shards = [Arc::<ShardMetrics>::default()];
        for is_short in [true, false] {
            shards[0].set(Gauge::DiskFull, is_short.into());
            room.look(&mut Judge { reserve: GIB, is_short }, &shards);
            assert_eq!(shards[0].gauge(Gauge::DiskFull), u64::from(is_short));
        }
        assert!(room.has(u64::MAX) && Room::endless().has(u64::MAX));
    }

    #[test]
    fn what_is_seen_is_shown() {
        let folder = TempFolder::new();
        std::fs::create_dir_all(folder.path()).expect("temporary");
        let (room, shards) = (Room::of(folder.path()), [Arc::<ShardMetrics>::default()]);
        room.look(&mut Judge { reserve: 0, is_short: true }, &shards);
        assert_eq!(shards[0].gauge(Gauge::DiskFull), 0);
        assert!(shards[0].gauge(Gauge::DiskFree) > 0);
        assert!(room.has(1) && !room.has(u64::MAX));
    }
}
