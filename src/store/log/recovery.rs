//! Reading a log after a crash: what it holds beyond the LSM, and whether that is all.
//!
//! Invariants:
//! 1. Records are given out in the order of their positions, without a gap, from the first that
//!    the LSM lacks to the last that is whole.
//! 2. Where the records end, the log ends only if nothing found later was written after a sync of
//!    what is missing; otherwise something acked is damaged, and nothing is decided here.
//!
//! Each record and header says up to which position all was on disk when it was written. One that
//! names a position which cannot be read proves damage; a torn write, whatever parts of it
//! reached the disk, proves nothing.
//!
//! Left to others: reading files (`node::log_files`).

use super::format::{
    Covered, Head, Header, RecordHead, peek_record, read_changes, read_record, record_at,
};
use crate::store::Position;
use crate::store::aligned::BLOCK_BYTES;
use crate::store::batch::Change;

/// Sequences that no run uses after a crash: segments may have had them whose header was lost, and
/// whose records must stay strangers.
const SEQUENCES_SKIPPED: u64 = 1024;

/// A place in the log's files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Spot {
    /// The file.
    pub place: u32,
    /// Bytes from its beginning.
    pub offset: u64,
}

/// Why a log is not replayed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Records that were on disk cannot be read.
    Damaged {
        /// Where reading ended.
        at: Spot,
        /// The first position that cannot be read.
        missing: Position,
    },
    /// A segment of another log, or the LSM of another.
    Foreign {
        /// The file.
        place: u32,
    },
    /// A segment of a later server.
    Newer {
        /// The file.
        place: u32,
        /// Its format.
        format: u32,
    },
}

/// A file and its first block.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// The file.
    pub place: u32,
    /// What its first block holds.
    pub head: Head,
}

/// What a log ends with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct End {
    /// The last position that is there.
    pub last: Position,
    /// The first sequence that no segment has had.
    pub next_sequence: u64,
}

/// A log being read.
pub struct Recovery {
    covered: Covered,
    /// Whole headers by sequence, then files whose header cannot be read.
    order: Vec<Found>,
    next: Position,
    stopped: Option<Spot>,
    last_spot: Option<Spot>,
    /// All up to here was once on disk.
    proven: Position,
    highest_sequence: u64,
}

impl Recovery {
    /// Begins with the first blocks of all files.
    pub fn new(covered: Covered, found: &[Found]) -> Result<Recovery, Refusal> {
        let mut order = Vec::new();
        let mut unreadable = Vec::new();
        let mut highest_sequence = covered.first_sequence.saturating_sub(1);
        for file in found {
            let place = file.place;
            match file.head {
                Head::Newer(format) => return Err(Refusal::Newer { place, format }),
                Head::Segment(header) if header.log != covered.log => {
                    return Err(Refusal::Foreign { place });
                }
                Head::Segment(header) => {
                    highest_sequence = highest_sequence.max(header.sequence);
                    if header.sequence >= covered.first_sequence {
                        order.push((header, *file));
                    }
                }
                Head::Unreadable => unreadable.push(*file),
                Head::Blank => {}
            }
        }
        let next = covered.position.next();
        order.sort_by_key(|(header, _)| header.sequence);
        // A segment whose successor begins with what the LSM has holds nothing that is needed.
        let is_covered = |(later, _): &&(Header, Found)| later.first <= next;
        let covered_count = order.iter().skip(1).take_while(is_covered).count();
        let needed = order.into_iter().skip(covered_count).map(|(_, file)| file);
        let order = needed.chain(unreadable).collect();
        let proven = covered.position;
        let (stopped, last_spot) = (None, None);
        Ok(Recovery { covered, order, next, stopped, last_spot, proven, highest_sequence })
    }

    /// The files to be read whole, in this order.
    pub fn order(&self) -> Vec<u32> {
        self.order.iter().map(|file| file.place).collect()
    }

    /// Reads a file; `apply` gets the changes of each record that the LSM lacks.
    pub fn read(
        &mut self,
        place: u32,
        bytes: &[u8],
        mut apply: impl FnMut(Position, &[u8], Change<'_>),
    ) {
        let file = self.order.iter().find(|file| file.place == place);
        let end = match file.map(|file| file.head) {
            Some(Head::Segment(header)) => self.replay(place, header, bytes, &mut apply),
            _ => 0,
        };
        self.look_for_proof(bytes, end);
    }

    /// Replays a segment as far as its records go; returns where they end.
    fn replay(
        &mut self,
        place: u32,
        header: Header,
        bytes: &[u8],
        apply: &mut impl FnMut(Position, &[u8], Change<'_>),
    ) -> usize {
        self.proven = self.proven.max(header.synced);
        if header.first > self.next {
            let here = Spot { place, offset: 0 };
            let before = self.last_spot.or(self.unreadable());
            self.stopped.get_or_insert(before.unwrap_or(here));
        }
        let (mut at, mut position) = (BLOCK_BYTES, header.first);
        while let Some((start, record)) = record_at(bytes, at, header, position)
            .or_else(|| self.record_behind(bytes, at, header, position))
        {
            position = record.position;
            if position == self.next && self.stopped.is_none() {
                let record_bytes = &bytes[start..start + record.length];
                let visit = |key: &[u8], change: Change<'_>| apply(position, key, change);
                if read_changes(record_bytes, record.changes, visit).is_none() {
                    break;
                }
                self.next = self.next.next();
            }
            self.proven = self.proven.max(record.synced);
            position = position.next();
            at = start + record.length;
        }
        self.last_spot = Some(Spot { place, offset: at as u64 });
        at
    }

    /// The beginning of a file whose header cannot be read, if there is one.
    fn unreadable(&self) -> Option<Spot> {
        let file = self.order.iter().find(|file| file.head == Head::Unreadable)?;
        Some(Spot { place: file.place, offset: 0 })
    }

    /// The record that goes on behind one which cannot be read although the LSM has it: where that
    /// one says that it ends, or at the beginning of a later write. Nothing is passed over that the
    /// LSM lacks.
    fn record_behind(
        &self,
        bytes: &[u8],
        at: usize,
        segment: Header,
        position: Position,
    ) -> Option<(usize, RecordHead)> {
        if position >= self.next {
            return None;
        }
        let block = at.next_multiple_of(BLOCK_BYTES);
        let told = [at, block].into_iter().filter_map(|start| {
            let head = peek_record(bytes.get(start..)?)?;
            Some(start + head.length)
        });
        told.chain((block..bytes.len()).step_by(BLOCK_BYTES)).find_map(|start| {
            let rest = bytes.get(start..)?;
            let head = peek_record(rest).filter(|head| head.sequence == segment.sequence)?;
            let is_wanted = (position..=self.next).contains(&head.position);
            (is_wanted && read_record(rest, segment.log).is_some()).then_some((start, head))
        })
    }

    /// Looks behind the end for records that say more than could be read was on disk.
    fn look_for_proof(&mut self, bytes: &[u8], from: usize) {
        for at in (from.next_multiple_of(BLOCK_BYTES)..bytes.len()).step_by(BLOCK_BYTES) {
            let Some(head) = peek_record(&bytes[at..]) else { continue };
            let is_news = head.sequence >= self.covered.first_sequence
                && head.synced > self.proven
                && head.position > head.synced;
            if is_news && read_record(&bytes[at..], self.covered.log).is_some() {
                self.highest_sequence = self.highest_sequence.max(head.sequence);
                self.proven = head.synced;
            }
        }
    }

    /// All files were read: the log's end, or why there is none.
    pub fn finish(self) -> Result<End, Refusal> {
        if self.proven >= self.next {
            let start = self.unreadable().unwrap_or(Spot { place: 0, offset: 0 });
            let at = self.stopped.or(self.last_spot).unwrap_or(start);
            return Err(Refusal::Damaged { at, missing: self.next });
        }
        let next_sequence = self.highest_sequence + SEQUENCES_SKIPPED;
        Ok(End { last: Position(self.next.0 - 1), next_sequence })
    }
}
