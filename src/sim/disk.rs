//! A simulated disk for a commit log: files of blocks, writes that are torn, reordered or lost.
//!
//! Invariants:
//! 1. What was synced is there after any crash; of the rest each sector is there or is not.
//! 2. A kill loses nothing that was written.

use crate::sim::prng::Prng;
use crate::store::log::Durability;
use std::collections::BTreeMap;

/// What a disk writes whole.
const SECTOR_BYTES: usize = 512;

/// How a machine goes down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Crash {
    /// The process dies; the system has what was written.
    Kill,
    /// The power goes; sectors that were not synced are there or not.
    PowerCut,
}

impl Crash {
    /// Whether it may take what was acked.
    pub fn may_lose(self, durability: Durability) -> bool {
        (self, durability) == (Crash::PowerCut, Durability::Async)
    }
}

/// A write that is with the disk and not yet on it.
struct Pending {
    place: u32,
    offset: usize,
    bytes: Vec<u8>,
}

/// Files by their number.
#[derive(Default)]
pub struct Disk {
    files: BTreeMap<u32, Vec<u8>>,
    pending: Vec<Pending>,
}

impl Disk {
    /// Makes a file of zeros.
    pub fn make(&mut self, place: u32, bytes: usize) {
        self.files.insert(place, vec![0; bytes]);
    }

    /// Starts to write.
    pub fn write(&mut self, place: u32, offset: u64, bytes: &[u8]) {
        let offset = offset as usize;
        assert!(offset + bytes.len() <= self.files[&place].len(), "a write stays within its file");
        self.pending.push(Pending { place, offset, bytes: bytes.to_vec() });
    }

    /// Puts all writes to a file on the disk.
    pub fn sync(&mut self, place: u32) {
        for write in self.pending.extract_if(.., |write| write.place == place) {
            put(&mut self.files, &write, |_| true);
        }
    }

    /// What the disk holds when the machine is back.
    pub fn crash(mut self, crash: Crash, prng: &mut Prng) -> Disk {
        for write in &self.pending {
            let sectors = write.bytes.len().div_ceil(SECTOR_BYTES) as u64;
            // Where it is whole no longer, or the one sector that is missing.
            let place = prng.below(sectors.max(1)) as usize;
            let way = if crash == Crash::Kill { 0 } else { prng.below(4) };
            put(&mut self.files, write, |sector| match way {
                0 => true,
                1 => sector < place,
                2 => sector != place,
                _ => prng.once_in(2),
            });
        }
        self.pending.clear();
        self
    }

    /// All files.
    pub fn files(&self) -> impl Iterator<Item = (u32, &[u8])> {
        self.files.iter().map(|(place, bytes)| (*place, bytes.as_slice()))
    }

    /// A file, to be damaged.
    pub fn file_mut(&mut self, place: u32) -> &mut [u8] {
        self.files.get_mut(&place).expect("the file is there")
    }
}

fn put(
    files: &mut BTreeMap<u32, Vec<u8>>,
    write: &Pending,
    mut is_kept: impl FnMut(usize) -> bool,
) {
    let file = files.get_mut(&write.place).expect("the file is there");
    for (index, sector) in write.bytes.chunks(SECTOR_BYTES).enumerate() {
        if is_kept(index) {
            let start = write.offset + index * SECTOR_BYTES;
            file[start..start + sector.len()].copy_from_slice(sector);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: usize = 16 * SECTOR_BYTES;

    /// A disk with ones that were synced, and twos over the second half that were not.
    fn disk() -> Disk {
        let mut disk = Disk::default();
        disk.make(0, BYTES);
        disk.write(0, 0, &[1; BYTES]);
        disk.sync(0);
        disk.write(0, BYTES as u64 / 2, &[2; BYTES / 2]);
        disk
    }

    fn bytes(disk: &Disk) -> &[u8] {
        disk.files().next().expect("one was made").1
    }

    /// Invariant 1 of sim::disk.
    #[test]
    fn a_power_cut_keeps_what_was_synced_and_tears_the_rest_by_sectors() {
        let mut torn = 0;
        for seed in 0..100 {
            let after = disk().crash(Crash::PowerCut, &mut Prng::new(seed));
            let (synced, rest) = bytes(&after).split_at(BYTES / 2);
            assert!(synced.iter().all(|byte| *byte == 1));
            let is_whole = |sector: &[u8]| sector.iter().all(|byte| *byte == sector[0]);
            assert!(rest.chunks(SECTOR_BYTES).all(is_whole));
            assert!(rest.iter().all(|byte| [1, 2].contains(byte)));
            torn += usize::from(rest.contains(&1) && rest.contains(&2));
        }
        assert!((20..100).contains(&torn), "{torn}");
    }

    /// Invariant 2 of sim::disk.
    #[test]
    fn a_kill_loses_nothing_that_was_written() {
        for seed in 0..20 {
            let after = disk().crash(Crash::Kill, &mut Prng::new(seed));
            assert_eq!(bytes(&after), [[1; BYTES / 2], [2; BYTES / 2]].concat());
        }
    }
}
