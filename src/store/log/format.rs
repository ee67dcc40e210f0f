//! What a segment of the commit log looks like: a header block, then records.
//!
//! Invariants:
//! 1. A header or record is taken for one only if its checksum holds, and a record's is seeded by
//!    the log and the segment it was written to: what an earlier use left behind is none.
//! 2. Each write begins on a block; within it records follow each other without gaps, and zeros
//!    fill its last block.
//!
//! All numbers are little-endian. Header: magic (8 bytes), format (4), zero (4), log (8),
//! sequence (8), first position (8), synced (8), checksum (8). Record: checksum (8), bytes of the
//! whole record (4), changes (4), sequence (8), position (8), synced (8), then for each change
//! the key's bytes (2), the value's bytes (4, all ones: the row goes), key, value.

use crate::store::aligned::{AlignedBuffer, BLOCK_BYTES};
use crate::store::batch::Change;
use crate::store::{Batch, Position};
use xxhash_rust::xxh3::xxh3_64_with_seed;

const MAGIC: [u8; 8] = *b"anserlog";
/// The format written, and the newest read.
pub const FORMAT: u32 = 1;
/// Bytes of a segment's header with its checksum; the rest of its block is zero.
const HEADER_BYTES: usize = 56;
/// Bytes of a record before its first change.
const RECORD_HEAD_BYTES: usize = 40;
/// Stands for the length of a value when the row goes.
const REMOVED: u32 = u32::MAX;
/// The key of the row in the LSM that says how much of the log it holds. No kind of row is 0.
pub const COVERED_KEY: &[u8] = b"\0covered";

/// What a segment says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Which log it belongs to.
    pub log: u64,
    /// Its place in the log: each use of a file is a new segment with the next number.
    pub sequence: u64,
    /// The position of its first record.
    pub first: Position,
    /// All up to here was on disk before the segment was begun.
    pub synced: Position,
}

/// What a file's first block holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Head {
    /// A segment.
    Segment(Header),
    /// Nothing was ever written to it.
    Blank,
    /// A segment of a later server.
    Newer(u32),
    /// Something, and not a whole header.
    Unreadable,
}

/// What a record says of itself, its changes not read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordHead {
    /// Bytes of the whole record.
    pub length: usize,
    /// Row changes in it.
    pub changes: u32,
    /// The segment it was written to.
    pub sequence: u64,
    /// The position of its turn.
    pub position: Position,
    /// All up to here was on disk before the record was written.
    pub synced: Position,
}

/// How much of a log the LSM holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Covered {
    /// The log.
    pub log: u64,
    /// All up to here is in the LSM.
    pub position: Position,
    /// Segments below this number belong to earlier runs and hold nothing more.
    pub first_sequence: u64,
}

fn seed(log: u64, sequence: u64) -> u64 {
    xxh3_64_with_seed(&sequence.to_le_bytes(), log)
}

fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn half(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

impl Header {
    /// The header's block is written to the beginning of `block`.
    pub fn write(&self, block: &mut [u8]) {
        let block = &mut block[..BLOCK_BYTES];
        block.fill(0);
        block[..8].copy_from_slice(&MAGIC);
        block[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        let numbers = [self.log, self.sequence, self.first.0, self.synced.0];
        for (index, value) in numbers.into_iter().enumerate() {
            block[16 + 8 * index..][..8].copy_from_slice(&value.to_le_bytes());
        }
        let checksum = xxh3_64_with_seed(&block[..HEADER_BYTES - 8], u64::from(FORMAT));
        block[HEADER_BYTES - 8..HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
    }

    /// Reads a file's first blocks: the header's, and at least one more to tell a file that was
    /// never written to from one whose header is gone.
    pub fn read(block: &[u8]) -> Head {
        if block.len() < BLOCK_BYTES {
            return Head::Unreadable;
        }
        if block.iter().all(|byte| *byte == 0) {
            return Head::Blank;
        }
        if block[..8] != MAGIC {
            return Head::Unreadable;
        }
        let format = half(block, 8);
        let checksum = xxh3_64_with_seed(&block[..HEADER_BYTES - 8], u64::from(format));
        match () {
            () if checksum != number(block, HEADER_BYTES - 8) => Head::Unreadable,
            () if format > FORMAT => Head::Newer(format),
            () => Head::Segment(Header {
                log: number(block, 16),
                sequence: number(block, 24),
                first: Position(number(block, 32)),
                synced: Position(number(block, 40)),
            }),
        }
    }
}

/// Appends a turn's changes as a record that still lacks its segment and checksum.
pub fn append_record(batch: &Batch, position: Position, to: &mut AlignedBuffer) {
    let start = to.len();
    to.extend(&[0; RECORD_HEAD_BYTES]);
    let mut changes = 0_u32;
    for (key, change) in batch.iter() {
        let key_bytes = u16::try_from(key.len()).expect("keys are bounded far below 64 KiB");
        let (value, value_bytes) = match change {
            Change::Put(value) => (value, value.len() as u32),
            Change::Remove => (&[][..], REMOVED),
        };
        let mut lengths = [0; 6];
        lengths[..2].copy_from_slice(&key_bytes.to_le_bytes());
        lengths[2..].copy_from_slice(&value_bytes.to_le_bytes());
        to.extend(&lengths);
        to.extend(key);
        to.extend(value);
        changes += 1;
    }
    let length = u32::try_from(to.len() - start).expect("a turn is bounded far below 4 GiB");
    let head = &mut to.bytes_mut()[start..start + RECORD_HEAD_BYTES];
    head[8..12].copy_from_slice(&length.to_le_bytes());
    head[12..16].copy_from_slice(&changes.to_le_bytes());
    head[24..32].copy_from_slice(&position.0.to_le_bytes());
}

/// Completes the record that `bytes` holds.
pub fn seal_record(bytes: &mut [u8], log: u64, sequence: u64, synced: Position) {
    bytes[16..24].copy_from_slice(&sequence.to_le_bytes());
    bytes[32..40].copy_from_slice(&synced.0.to_le_bytes());
    let checksum = xxh3_64_with_seed(&bytes[8..], seed(log, sequence));
    bytes[..8].copy_from_slice(&checksum.to_le_bytes());
}

/// The record that begins at `bytes` as it describes itself; its checksum is not asked.
pub fn peek_record(bytes: &[u8]) -> Option<RecordHead> {
    if bytes.len() < RECORD_HEAD_BYTES {
        return None;
    }
    let length = half(bytes, 8) as usize;
    (RECORD_HEAD_BYTES..=bytes.len()).contains(&length).then(|| RecordHead {
        length,
        changes: half(bytes, 12),
        sequence: number(bytes, 16),
        position: Position(number(bytes, 24)),
        synced: Position(number(bytes, 32)),
    })
}

/// The whole record that begins at `bytes` and was written by this log.
pub fn read_record(bytes: &[u8], log: u64) -> Option<RecordHead> {
    let head = peek_record(bytes)?;
    let checksum = xxh3_64_with_seed(&bytes[8..head.length], seed(log, head.sequence));
    (checksum == number(bytes, 0)).then_some(head)
}

/// The record of a position in a segment's bytes: it begins at `at`, or at the next block, if a
/// write ended at `at`. Returns also where it begins.
pub fn record_at(
    bytes: &[u8],
    at: usize,
    segment: Header,
    position: Position,
) -> Option<(usize, RecordHead)> {
    [at, at.next_multiple_of(BLOCK_BYTES)].into_iter().find_map(|start| {
        let record = read_record(bytes.get(start..)?, segment.log)?;
        let is_it = record.sequence == segment.sequence && record.position == position;
        is_it.then_some((start, record))
    })
}

/// Visits the changes of a whole record; `None`: it does not hold what it says.
pub fn read_changes<'a>(
    record: &'a [u8],
    changes: u32,
    mut visit: impl FnMut(&'a [u8], Change<'a>),
) -> Option<()> {
    let mut rest = &record[RECORD_HEAD_BYTES..];
    for _ in 0..changes {
        let (lengths, after) = rest.split_at_checked(6)?;
        let key_bytes = usize::from(u16::from_le_bytes([lengths[0], lengths[1]]));
        let value_bytes = half(lengths, 2);
        let (key, after) = after.split_at_checked(key_bytes)?;
        if value_bytes == REMOVED {
            visit(key, Change::Remove);
            rest = after;
        } else {
            let (value, after) = after.split_at_checked(value_bytes as usize)?;
            visit(key, Change::Put(value));
            rest = after;
        }
    }
    rest.is_empty().then_some(())
}

impl Covered {
    /// The row's value.
    pub fn print(&self) -> [u8; 28] {
        let mut bytes = [0; 28];
        bytes[..4].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[4..12].copy_from_slice(&self.log.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.position.0.to_le_bytes());
        bytes[20..].copy_from_slice(&self.first_sequence.to_le_bytes());
        bytes
    }

    /// Reads the row's value; `None`: this server did not write it.
    pub fn parse(bytes: &[u8]) -> Option<Covered> {
        let is_ours = bytes.len() == 28 && half(bytes, 0) == FORMAT;
        is_ours.then(|| Covered {
            log: number(bytes, 4),
            position: Position(number(bytes, 12)),
            first_sequence: number(bytes, 20),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::log::segments::Place;
    use crate::store::log::{Beginning, Durability, Log, Outcome};

    fn record(log: u64, sequence: u64) -> AlignedBuffer {
        let mut batch = Batch::new();
        batch.put(b"key", b"value");
        batch.remove(b"gone");
        batch.put(b"empty", b"");
        let mut buffer = AlignedBuffer::with_capacity(0);
        append_record(&batch, Position(9), &mut buffer);
        seal_record(buffer.bytes_mut(), log, sequence, Position(8));
        buffer
    }

    #[test]
    fn what_was_written_is_read_again() {
        let buffer = record(5, 2);
        let head = read_record(buffer.bytes(), 5).expect("whole");
        assert_eq!((head.length, head.changes), (buffer.len(), 3));
        assert_eq!((head.sequence, head.position, head.synced), (2, Position(9), Position(8)));
        let mut changes = Vec::new();
        read_changes(buffer.bytes(), head.changes, |key, change| changes.push((key, change)))
            .expect("it holds what it says");
        let put = |key: &'static [u8], value: &'static [u8]| (key, Change::Put(value));
        let expected = [put(b"key", b"value"), (b"gone", Change::Remove), put(b"empty", b"")];
        assert_eq!(changes, expected);
    }

    /// Invariant 1 of store::log::format.
    #[test]
    fn a_record_with_any_byte_changed_or_missing_is_none() {
        let buffer = record(5, 2);
        for at in 0..buffer.len() {
            let mut changed = buffer.bytes().to_vec();
            changed[at] ^= 1;
            assert!(read_record(&changed, 5).is_none(), "byte {at} changed");
            assert!(read_record(&buffer.bytes()[..at], 5).is_none(), "cut at {at}");
        }
        assert!(read_record(buffer.bytes(), 6).is_none(), "another log's");
    }

    /// Invariant 1 of store::log::format.
    #[test]
    fn a_header_with_any_byte_changed_is_none() {
        let header = Header { log: 1, sequence: 2, first: Position(3), synced: Position(2) };
        let mut block = vec![9; BLOCK_BYTES];
        header.write(&mut block);
        assert_eq!(Header::read(&block), Head::Segment(header));
        for at in 0..HEADER_BYTES {
            let mut changed = block.clone();
            changed[at] ^= 0x80;
            assert_eq!(Header::read(&changed), Head::Unreadable, "byte {at}");
        }
        assert_eq!(Header::read(&[0; 2 * BLOCK_BYTES]), Head::Blank);
        let headless = [[0; BLOCK_BYTES], [1; BLOCK_BYTES]].concat();
        assert_eq!(Header::read(&headless), Head::Unreadable);
    }

    /// Invariant 2 of store::log::format.
    #[test]
    fn a_write_begins_on_a_block_has_no_gaps_and_ends_in_zeros() {
        let (written, next_sequence) = (Position(0), 1);
        let free = vec![Place { number: 0, bytes: 1 << 20 }];
        let beginning = Beginning { log: 5, written, next_sequence, free };
        let mut log = Log::new(beginning, Durability::Sync);
        let (mut end, mut position) = (0, Position(0));
        for turns in 1..20_usize {
            for turn in 0..turns {
                let mut batch = Batch::new();
                batch.put(b"key", &vec![7; 1 + turn * 391]);
                log.append(&batch);
            }
            let write = log.next_write().expect("there is room");
            assert_eq!((write.offset, write.offset % BLOCK_BYTES as u64), (end, 0));
            let bytes = write.buffer.bytes();
            end += (bytes.len() - write.from) as u64;
            let mut at = BLOCK_BYTES;
            for _ in 0..turns {
                let head = read_record(&bytes[at..], 5).expect("it follows the one before");
                position = position.next();
                assert_eq!((head.position, head.sequence), (position, 1));
                at += head.length;
            }
            assert_eq!(bytes.len(), at.next_multiple_of(BLOCK_BYTES));
            assert!(bytes[at..].iter().all(|byte| *byte == 0));
            log.written(write.buffer, Outcome::Done);
        }
    }

    #[test]
    fn what_the_lsm_covers_is_read_again() {
        let covered = Covered { log: 7, position: Position(8), first_sequence: 9 };
        assert_eq!(Covered::parse(&covered.print()), Some(covered));
        assert_eq!(Covered::parse(&covered.print()[..27]), None);
    }
}
