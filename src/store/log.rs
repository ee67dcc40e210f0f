//! The commit log of one shard: every turn's row changes, in order, on disk before its acks leave.
//! A sans-IO state machine: it says what is to be written where, and is told how that went.
//!
//! Invariants (of the log with its overlay and the LSM behind it):
//! 1. Positions become durable in their order, and only after the whole write that holds them and
//!    its sync have succeeded.
//! 2. A chunk reaches the LSM only when its last record is synced.
//! 3. The position that the LSM covers is written with the rows, in one batch.
//! 4. A chunk is dropped only after it was applied; a segment is used again only after the LSM
//!    has synced all that it holds.
//! 5. Replay takes contiguous positions only, of records whose checksum is seeded by their segment.
//! 6. Nothing is ever appended to a segment that was found at start.
//! 7. What waits to be written, and what waits to be indexed, is bounded: senders wait at the
//!    bound.
//! 8. A gap below something that was synced, or an LSM that is not the log's own, is a hard stop
//!    that changes nothing.
//!
//! Where they are kept: 1, 6 and half of 7 here, 4 in `segments`, 5 and 8 in `recovery`, 2 and the
//! rest of 4 and 7 in `recent` and `overlay`, 3 in `view`. Their tests: `sim::log_tests`.
//!
//! One write is in flight at a time; whatever turns append meanwhile goes into the next. Each
//! write begins on a block of its own, so that no block that holds something acked is ever
//! written again before it is released.
//!
//! Left to others: files, the ring, time (`node::log_writer`).

pub mod format;
pub mod recovery;
pub mod segments;

use super::aligned::{AlignedBuffer, BLOCK_BYTES};
use super::{Batch, Position};
use crate::limits::{LOG_READY_BYTES, LOG_WAITING_BYTES_MAX};
use format::{Header, append_record, peek_record, seal_record};
use segments::{Place, Segments};
use std::collections::VecDeque;

/// What an ack means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// On disk: no power cut takes it back.
    Sync,
    /// Written: no death of the process takes it back.
    Async,
}

/// Where a log goes on.
pub struct Beginning {
    /// The log's own number: no two logs have the same.
    pub log: u64,
    /// The last position found.
    pub written: Position,
    /// The first sequence that no segment has had.
    pub next_sequence: u64,
    /// Its files, none of which holds anything that is needed.
    pub free: Vec<Place>,
}

/// A write to be performed, whole.
pub struct Write {
    /// The file.
    pub place: u32,
    /// Where in it: whole blocks.
    pub offset: u64,
    /// Its bytes, from `from` on; goes back with [`Log::written`].
    pub buffer: AlignedBuffer,
    /// The first byte to write: 0 or one block.
    pub from: usize,
    /// Whether it counts only when it is on disk.
    pub syncs: bool,
}

/// Bytes of one file that are written and not synced, up to a position.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Unsynced {
    place: u32,
    last: Position,
}

/// One shard's commit log.
pub struct Log {
    number: u64,
    durability: Durability,
    segments: Segments,
    /// The first block is kept free for a segment's header.
    gathering: AlignedBuffer,
    spare: Option<AlignedBuffer>,
    in_flight: Option<Unsynced>,
    syncing: Option<Unsynced>,
    unsynced: VecDeque<Unsynced>,
    sync_asked: Position,
    appended: Position,
    written: Position,
    synced: Position,
    has_failed: bool,
}

impl Log {
    /// A log that goes on; all found counts as synced.
    pub fn new(beginning: Beginning, durability: Durability) -> Log {
        let Beginning { log, written, next_sequence, free } = beginning;
        Log {
            number: log,
            durability,
            segments: Segments::new(free, next_sequence),
            gathering: empty_buffer(),
            spare: Some(empty_buffer()),
            in_flight: None,
            syncing: None,
            unsynced: VecDeque::new(),
            sync_asked: written,
            appended: written,
            written,
            synced: written,
            has_failed: false,
        }
    }

    /// Takes memory for writes of [`LOG_READY_BYTES`] now.
    pub fn make_room(&mut self) {
        for buffer in [Some(&mut self.gathering), self.spare.as_mut()].into_iter().flatten() {
            let length = buffer.len();
            buffer.extend(&vec![0; LOG_READY_BYTES]);
            buffer.truncate(length);
        }
    }

    /// Appends a turn. It is written with the next write.
    pub fn append(&mut self, batch: &Batch) -> Position {
        assert!(!self.has_failed, "nothing is appended to a failed log");
        self.appended = self.appended.next();
        append_record(batch, self.appended, &mut self.gathering);
        self.appended
    }

    /// The next write, if there is something to write, nothing in flight and a file to write to.
    pub fn next_write(&mut self) -> Option<Write> {
        if self.has_failed || self.in_flight.is_some() || self.waiting_bytes() == 0 {
            return None;
        }
        let waiting = self.waiting_bytes().next_multiple_of(BLOCK_BYTES) as u64;
        let begins = waiting > self.segments.room();
        let room = if begins { self.segments.next_room()? } else { waiting };
        let mut rest = self.spare.take().expect("the other buffer is back when no write is out");
        if begins {
            self.segments.begin();
        }
        let (first, last) = self.seal(room as usize, &mut rest);
        let mut buffer = std::mem::replace(&mut self.gathering, rest);
        buffer.pad();
        let bytes = (buffer.len() - BLOCK_BYTES) as u64;
        let (place, offset) = self.segments.take(bytes, last);
        if begins {
            let (log, sequence, synced) = (self.number, self.segments.sequence(), self.synced);
            Header { log, sequence, first, synced }.write(buffer.bytes_mut());
        }
        self.in_flight = Some(Unsynced { place, last });
        let (offset, from) = if begins { (0, 0) } else { (offset, BLOCK_BYTES) };
        Some(Write { place, offset, buffer, from, syncs: self.durability == Durability::Sync })
    }

    /// Completes as many of the gathered records as fit into `room` bytes; the others are moved
    /// to `rest`. Returns the first and last position of those that stay.
    fn seal(&mut self, room: usize, rest: &mut AlignedBuffer) -> (Position, Position) {
        let (sequence, synced) = (self.segments.sequence(), self.synced);
        let (mut at, mut first, mut last) = (BLOCK_BYTES, None, Position::default());
        while let Some(head) = peek_record(&self.gathering.bytes()[at..]) {
            if at + head.length > BLOCK_BYTES + room {
                break;
            }
            let record = &mut self.gathering.bytes_mut()[at..at + head.length];
            seal_record(record, self.number, sequence, synced);
            first.get_or_insert(head.position);
            last = head.position;
            at += head.length;
        }
        rest.extend(&self.gathering.bytes()[at..]);
        self.gathering.truncate(at);
        (first.expect("a segment has room for the largest record"), last)
    }

    /// The write in flight is done: all of it, or it failed.
    pub fn written(&mut self, buffer: AlignedBuffer, outcome: Outcome) {
        let done = self.in_flight.take().expect("a write was in flight");
        let mut buffer = buffer;
        buffer.truncate(BLOCK_BYTES);
        self.spare = Some(buffer);
        if outcome == Outcome::Failed || self.has_failed {
            return self.fail();
        }
        assert!(done.last > self.written, "positions become durable in their order");
        self.written = done.last;
        match (self.durability, self.unsynced.back_mut()) {
            (Durability::Sync, _) => self.synced = done.last,
            (Durability::Async, Some(last)) if last.place == done.place => *last = done,
            (Durability::Async, _) => self.unsynced.push_back(done),
        }
    }

    /// Asks that all appended so far be on disk soon.
    pub fn ask_sync(&mut self) {
        self.sync_asked = self.appended;
    }

    /// The file to sync next, if that was asked for and is not done with each write.
    pub fn next_sync(&mut self) -> Option<u32> {
        let is_asked = self.sync_asked > self.synced && self.syncing.is_none();
        let next = self.unsynced.front().copied().filter(|_| is_asked && !self.has_failed)?;
        self.syncing = Some(next);
        Some(next.place)
    }

    /// The sync in flight is done.
    pub fn sync_done(&mut self, outcome: Outcome) {
        let done = self.syncing.take().expect("a sync was in flight");
        if outcome == Outcome::Failed || self.has_failed {
            return self.fail();
        }
        // More may have been written to the file since: that is still to be synced.
        if self.unsynced.front() == Some(&done) {
            self.unsynced.pop_front();
        }
        assert!(done.last > self.synced, "positions are synced in their order");
        self.synced = done.last;
    }

    fn fail(&mut self) {
        self.has_failed = true;
    }

    /// The LSM holds, on disk, all up to here: what holds no more than that may be used again.
    pub fn released(&mut self, position: Position) {
        assert!(position <= self.synced, "the LSM holds only what was synced");
        self.segments.release(position);
    }

    /// The files of this log.
    pub fn segments(&self) -> &Segments {
        &self.segments
    }

    /// The files of this log, to ask for more and to add them.
    pub fn segments_mut(&mut self) -> &mut Segments {
        &mut self.segments
    }

    /// Bytes of records that wait for the next write.
    pub fn waiting_bytes(&self) -> usize {
        self.gathering.len() - BLOCK_BYTES
    }

    /// As much waits as may wait.
    pub fn is_full(&self) -> bool {
        self.waiting_bytes() >= LOG_WAITING_BYTES_MAX
    }

    /// The last position appended.
    pub fn appended(&self) -> Position {
        self.appended
    }

    /// Acks up to here may leave.
    pub fn durable(&self) -> Position {
        match self.durability {
            Durability::Sync => self.synced,
            Durability::Async => self.written,
        }
    }

    /// Up to here everything is on disk.
    pub fn synced(&self) -> Position {
        self.synced
    }

    /// A write or sync has failed: no position becomes durable any more.
    pub fn has_failed(&self) -> bool {
        self.has_failed
    }
}

/// How a write or sync went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// All of it is done.
    Done,
    /// It failed, in whole or in part.
    Failed,
}

fn empty_buffer() -> AlignedBuffer {
    let mut buffer = AlignedBuffer::with_capacity(2 * BLOCK_BYTES);
    buffer.extend(&[0; BLOCK_BYTES]);
    buffer
}
