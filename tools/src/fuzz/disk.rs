//! A commit log on files in memory, driven by a text: what was written where, and what must be
//! found again.

use anser::store::batch::Change;
use anser::store::log::format::{Covered, Head, Header, peek_record, seal_record};
use anser::store::log::recovery::{End, Found, Recovery, Refusal};
use anser::store::log::segments::Place;
use anser::store::log::{Beginning, Durability, Log, Outcome};
use anser::store::{Batch, Position};
use std::collections::BTreeMap;

/// Bytes of a segment: few, so that many are begun.
pub const SEGMENT: usize = 32 * 1024;
/// What an address on the disk is a multiple of.
pub const BLOCK: usize = anser::store::aligned::BLOCK_BYTES;
/// Turns of one case.
const TURNS_MAX: u64 = 300;
/// The log's number.
const LOG: u64 = 77;

/// A change of a turn: its position, the key, the value if it was put.
pub type Applied = (Position, Vec<u8>, Option<Vec<u8>>);

/// A record where it was written.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// Its turn.
    pub position: Position,
    /// The file.
    pub place: u32,
    /// Where in it.
    pub offset: usize,
    /// Its bytes.
    pub length: usize,
    /// All up to here was on disk before it was written.
    pub synced: Position,
}

/// Files, and what is in them.
pub struct Disk {
    log: Log,
    files: BTreeMap<u32, Vec<u8>>,
    /// As it was written, before any damage.
    whole: BTreeMap<u32, Vec<u8>>,
    /// Records of the segments that the files hold now.
    pub records: Vec<Record>,
    /// Headers by their file.
    pub headers: BTreeMap<u32, Header>,
    /// All changes of all turns.
    pub turns: Vec<Applied>,
    covered: Position,
    /// Damage that carries a right checksum: anything may be found.
    pub is_forged: bool,
    /// How often something was damaged.
    pub damages: usize,
    /// Whole records may be where they do not belong.
    pub is_moved: bool,
}

/// What recovery made of the files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recovered {
    /// The end, or why there is none.
    pub outcome: Result<End, Refusal>,
    /// What was given out, in order.
    pub applied: Vec<Applied>,
}

/// Reads files as a start does.
pub fn recover(covered: Covered, files: &BTreeMap<u32, Vec<u8>>) -> Recovered {
    let head = |(place, bytes): (&u32, &Vec<u8>)| {
        let head = Header::read(&bytes[..2 * BLOCK]);
        Found { place: *place, head }
    };
    let found: Vec<Found> = files.iter().map(head).collect();
    let mut applied = Vec::new();
    let outcome = Recovery::new(covered, &found).and_then(|mut recovery| {
        for place in recovery.order() {
            recovery.read(place, &files[&place], |position, key, change| {
                let value = match change {
                    Change::Put(value) => Some(value.to_vec()),
                    Change::Remove => None,
                };
                applied.push((position, key.to_vec(), value));
            });
        }
        recovery.finish()
    });
    Recovered { outcome, applied }
}

impl Disk {
    /// An empty log with two files.
    fn new(durability: Durability) -> Disk {
        let free = (0..2).map(|number| Place { number, bytes: SEGMENT as u64 }).collect();
        let written = Position(0);
        let beginning = Beginning { log: LOG, written, next_sequence: 1, free };
        let files: BTreeMap<u32, Vec<u8>> = (0..2).map(|it| (it, vec![0; SEGMENT])).collect();
        Disk {
            log: Log::new(beginning, durability),
            whole: files.clone(),
            files,
            records: Vec::new(),
            headers: BTreeMap::new(),
            turns: Vec::new(),
            covered: written,
            is_forged: false,
            damages: 0,
            is_moved: false,
        }
    }

    /// What a text has made. Lines that say nothing are passed over.
    pub fn of(text: &str) -> Disk {
        let is_async = text.starts_with("async");
        let mut disk = Disk::new(if is_async { Durability::Async } else { Durability::Sync });
        let (writing, damage): (Vec<&str>, Vec<&str>) =
            text.lines().partition(|line| !line.starts_with(['x', 'z', 'f', 'm', 'c']));
        writing.iter().for_each(|line| disk.write_line(line));
        disk.whole = disk.files.clone();
        disk.damages = damage.len();
        damage.iter().for_each(|line| disk.damage_line(line));
        disk
    }

    fn write_line(&mut self, line: &str) {
        let mut words = line.split(' ');
        let word = words.next();
        let number = words.next().and_then(|word| word.parse().ok()).unwrap_or(1);
        match word {
            Some("turn") => self.turn(number),
            Some("write") => self.write(),
            Some("sync") => self.sync(),
            Some("index") => self.index(),
            _ => {}
        }
    }

    /// A turn that changes a row of so many bytes, and another.
    fn turn(&mut self, bytes: u64) {
        if self.log.appended().0 >= TURNS_MAX {
            return;
        }
        let mut batch = Batch::new();
        let turn = self.log.appended().next();
        batch.put(&turn.0.to_be_bytes(), &vec![turn.0 as u8; (bytes % 9000) as usize]);
        if bytes.is_multiple_of(3) {
            batch.remove(&(turn.0 / 2).to_be_bytes());
        }
        for (key, change) in batch.iter() {
            let value = match change {
                Change::Put(value) => Some(value.to_vec()),
                Change::Remove => None,
            };
            self.turns.push((turn, key.to_vec(), value));
        }
        self.log.append(&batch);
    }

    /// Writes what waits, as long as there are files for it.
    fn write(&mut self) {
        loop {
            if self.log.segments_mut().ask() {
                let number = self.files.len() as u32;
                self.files.insert(number, vec![0; SEGMENT]);
                self.log.segments_mut().add(Place { number, bytes: SEGMENT as u64 });
            }
            let Some(write) = self.log.next_write() else { return };
            let (place, start) = (write.place, write.offset as usize);
            let bytes = &write.buffer.bytes()[write.from..];
            self.files.get_mut(&place).expect("it was made")[start..start + bytes.len()]
                .copy_from_slice(bytes);
            if let (0, Head::Segment(header)) = (start, Header::read(bytes)) {
                self.records.retain(|record| record.place != place);
                self.headers.insert(place, header);
            }
            let mut at = if start == 0 { BLOCK } else { 0 };
            while let Some(head) = bytes.get(at..).and_then(peek_record) {
                self.records.push(Record {
                    position: head.position,
                    place,
                    offset: start + at,
                    length: head.length,
                    synced: head.synced,
                });
                at += head.length;
            }
            self.log.written(write.buffer, Outcome::Done);
        }
    }

    fn sync(&mut self) {
        self.log.ask_sync();
        while self.log.next_sync().is_some() {
            self.log.sync_done(Outcome::Done);
        }
    }

    /// The LSM takes all that is synced.
    fn index(&mut self) {
        self.covered = self.log.synced();
        self.log.released(self.covered);
    }

    fn damage_line(&mut self, line: &str) {
        let mut words = line.split(' ');
        let word = words.next().unwrap_or_default();
        let mut number =
            || words.next().and_then(|word| word.parse::<u32>().ok()).unwrap_or(0) as usize;
        let place = number() as u32 % self.files.len() as u32;
        let file = self.files.get_mut(&place).expect("files are numbered without gaps");
        let at = number() % file.len();
        match word {
            // Some bits of a byte.
            "x" => file[at] ^= (number() as u8).max(1),
            // Zeros.
            "z" => {
                let end = (at + number()).min(file.len());
                file[at..end].fill(0);
            }
            // Bytes from elsewhere in the file.
            "m" => {
                let (to, length) = (number() % file.len(), number());
                let length = length.min(file.len() - at).min(file.len() - to);
                file.copy_within(at..at + length, to);
                self.is_moved = true;
            }
            // The file ends early.
            "c" => {
                let blocks = (at / BLOCK).max(2);
                file.truncate(blocks * BLOCK);
            }
            // A byte of a record, whose checksum is right again.
            "f" => self.forge(place, at, (number() as u8).max(1)),
            _ => {}
        }
    }

    fn forge(&mut self, place: u32, at: usize, bits: u8) {
        let covers = |it: &&Record| {
            it.place == place && (it.offset + 8..it.offset + it.length).contains(&at)
        };
        let Some(record) = self.records.iter().find(covers) else { return };
        let file = self.files.get_mut(&place).expect("it was made");
        let bytes = file.get_mut(record.offset..record.offset + record.length);
        let Some(bytes) = bytes else { return };
        bytes[at - record.offset] ^= bits;
        let (sequence, synced) = (self.headers[&place].sequence, record.synced);
        seal_record(bytes, LOG, sequence, synced);
        self.is_forged = true;
    }

    /// What the LSM holds.
    pub fn covered(&self) -> Covered {
        Covered { log: LOG, position: self.covered, first_sequence: 1 }
    }

    /// The last turn that was written.
    pub fn written(&self) -> Position {
        self.records.iter().map(|record| record.position).max().unwrap_or(self.covered)
    }

    /// The files as they are now.
    pub fn files(&self) -> &BTreeMap<u32, Vec<u8>> {
        &self.files
    }

    /// Whether these bytes of a file are as they were written.
    pub fn is_whole(&self, place: u32, from: usize, to: usize) -> bool {
        self.files[&place].get(from..to) == self.whole[&place].get(from..to)
    }
}
