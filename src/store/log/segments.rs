//! Which files of a log hold what: free ones, full ones, and the one being filled.
//!
//! Invariants:
//! 1. A file is free only if the LSM holds, on disk, all that was ever written to it.
//! 2. Sequences rise by one with each segment begun; a place holds one segment at a time.
//!
//! Left to others: making, opening and zeroing files (`node`).

use crate::limits::{LOG_SEGMENTS_MAX, SEGMENT_SPARE_PARTS};
use crate::store::Position;
use crate::store::aligned::BLOCK_BYTES;
use std::collections::VecDeque;

/// A file of the log, named by its number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Place {
    /// The number in its name.
    pub number: u32,
    /// Its size: whole blocks.
    pub bytes: u64,
}

/// A segment and how far it is filled.
#[derive(Clone, Copy, Debug)]
struct Segment {
    place: Place,
    sequence: u64,
    end: u64,
    last: Position,
}

/// All files of a log.
pub struct Segments {
    free: VecDeque<Place>,
    full: VecDeque<Segment>,
    filling: Option<Segment>,
    next_sequence: u64,
    is_asked_for: bool,
    /// A write found no file for the bytes that wait.
    is_short: bool,
}

impl Segments {
    /// A log whose files are all free.
    pub fn new(free: impl IntoIterator<Item = Place>, next_sequence: u64) -> Segments {
        Segments {
            free: free.into_iter().collect(),
            full: VecDeque::new(),
            filling: None,
            next_sequence,
            is_asked_for: false,
            is_short: false,
        }
    }

    /// Bytes left in the segment being filled.
    pub fn room(&self) -> u64 {
        self.filling.map_or(0, |segment| segment.place.bytes - segment.end)
    }

    /// The same for whoever makes files: none once a write has found no free one.
    pub fn room_until_short(&self) -> u64 {
        if self.is_short { 0 } else { self.room() }
    }

    /// Bytes that the next segment has for records; `None`: there is no free file.
    pub fn next_room(&mut self) -> Option<u64> {
        self.is_short = self.free.is_empty();
        self.free.front().map(|place| place.bytes - BLOCK_BYTES as u64)
    }

    /// The segment being filled.
    pub fn sequence(&self) -> u64 {
        self.filling.expect("a segment was begun").sequence
    }

    /// Begins the next segment in a file that is free.
    pub fn begin(&mut self) {
        let place = self.free.pop_front().expect("`next_room` found a free file");
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let (end, last) = (BLOCK_BYTES as u64, Position::default());
        self.full.extend(self.filling.replace(Segment { place, sequence, end, last }));
    }

    /// Takes room for bytes, the last of which belong to `last`; gives their file and offset.
    pub fn take(&mut self, bytes: u64, last: Position) -> (u32, u64) {
        assert!(bytes <= self.room(), "a write stays within its segment");
        let segment = self.filling.as_mut().expect("a segment was begun");
        assert!(last > segment.last, "positions rise");
        let offset = segment.end;
        segment.end += bytes;
        segment.last = last;
        (segment.place.number, offset)
    }

    /// The LSM holds, on disk, all up to here.
    pub fn release(&mut self, position: Position) {
        while self.full.front().is_some_and(|segment| segment.last <= position) {
            self.free.extend(self.full.pop_front().map(|segment| segment.place));
        }
    }

    /// A new file is there.
    pub fn add(&mut self, place: Place) {
        (self.is_asked_for, self.is_short) = (false, false);
        self.free.push_back(place);
    }

    /// Whether one more file should be made now. Says so once for each [`Segments::add`].
    pub fn ask(&mut self) -> bool {
        let is_used = |segment: Segment| segment.end * SEGMENT_SPARE_PARTS > segment.place.bytes;
        // A large write may not fit although little of the segment is used.
        let is_wanted = self.is_short || self.filling.is_none_or(is_used);
        let is_due = self.free.is_empty() && is_wanted;
        let is_asked = is_due && !self.is_asked_for && self.count() < LOG_SEGMENTS_MAX;
        self.is_asked_for |= is_asked;
        is_asked
    }

    /// Files of this log.
    pub fn count(&self) -> usize {
        self.free.len() + self.full.len() + usize::from(self.filling.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Invariants 1 and 2 of store::log::segments.
    #[test]
    fn sequences_rise_by_one_and_a_place_holds_one_segment_at_a_time() {
        let place = |number| Place { number, bytes: 4 * BLOCK_BYTES as u64 };
        let mut segments = Segments::new([place(0), place(1), place(2)], 7);
        for turn in 0..30_u64 {
            segments.begin();
            assert_eq!(segments.sequence(), 7 + turn);
            let (number, offset) = segments.take(BLOCK_BYTES as u64, Position(turn + 1));
            assert_eq!((u64::from(number), offset), (turn % 3, BLOCK_BYTES as u64));
            assert_eq!(segments.count(), 3);
            if turn < 2 {
                continue;
            }
            assert!(segments.next_room().is_none(), "all hold what the LSM lacks");
            segments.release(Position(turn - 2));
            assert!(segments.next_room().is_none(), "the oldest holds one turn more");
            segments.release(Position(turn - 1));
            assert!(segments.next_room().is_some());
        }
    }

    #[test]
    fn a_write_that_finds_no_file_has_one_made_though_little_is_used() {
        let mut segments = Segments::new([Place { number: 0, bytes: 1 << 20 }], 1);
        segments.begin();
        segments.take(BLOCK_BYTES as u64, Position(1));
        assert!(!segments.ask(), "little is used");
        assert!(segments.next_room().is_none());
        assert!(segments.ask() && !segments.ask(), "once");
        segments.add(Place { number: 1, bytes: 1 << 20 });
        assert!(!segments.ask());
    }
}
