//! Whether the disk of a file can put a single write through its cache.
//!
//! Many disks of virtual machines cannot: `RWF_DSYNC` then is a write and a flush of all of the
//! cache, which the kernel puts together in a thread bound to the core that the disk interrupts. At
//! 20,000 messages a second, with the indexer and the load on that core, that thread was not run
//! for up to 60 ms; asking for the flush ourselves made the slowest of a thousand messages 7 ms
//! late instead of 27, and the median 0.06 ms later (three pairs of 30 s).

use crate::node::ring::Ends;
use rustix::fd::BorrowedFd;
use std::fs;
use std::path::{Path, PathBuf};

/// How a write to this file is put on disk with the least delay.
pub fn durable(file: BorrowedFd<'_>) -> Ends {
    match queue(file) {
        Some(queue) if needs_flush(&queue) => Ends::Flushed,
        _ => Ends::Synced,
    }
}

/// Where the kernel tells of the disk; nowhere for file systems without one.
fn queue(file: BorrowedFd<'_>) -> Option<PathBuf> {
    let device = rustix::fs::fstat(file).ok()?.st_dev;
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let device = PathBuf::from(format!("/sys/dev/block/{major}:{minor}"));
    // A partition has the queue of its disk.
    [device.join("queue"), device.join("../queue")].into_iter().find(|queue| queue.is_dir())
}

/// The disk has a cache, and no way past it for one write.
fn needs_flush(queue: &Path) -> bool {
    let says = |name, word| {
        fs::read_to_string(queue.join(name)).is_ok_and(|text: String| text.trim() == word)
    };
    says("write_cache", "write back") && says("fua", "0")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::view::tests::TempFolder;
    use rustix::fd::AsFd;

    #[test]
    fn a_flush_is_needed_where_there_is_a_cache_and_no_way_past_it() {
        let folder = TempFolder::new();
        fs::create_dir_all(folder.path()).expect("temporary");
        let cases = [
            ("write back", "0", true),
            ("write back", "1", false),
            ("write through", "0", false),
            ("", "", false),
        ];
        for (cache, fua, expected) in cases {
            fs::write(folder.path().join("write_cache"), format!("{cache}\n")).expect("temporary");
            fs::write(folder.path().join("fua"), format!("{fua}\n")).expect("temporary");
            assert_eq!(needs_flush(folder.path()), expected, "{cache}, {fua}");
        }
    }

    #[test]
    fn a_file_without_a_disk_is_synced_by_its_writes() {
        let file = fs::File::open("/proc/self/stat").expect("on every Linux");
        assert_eq!((queue(file.as_fd()), durable(file.as_fd())), (None, Ends::Synced));
    }
}
