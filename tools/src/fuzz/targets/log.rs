//! The commit log after any damage: a start finds the turns up to some position, whole and in
//! order, or says where something acked is missing. What was written is remembered; that is the
//! oracle.

use crate::fuzz::case::{Target, Trail, Wrong, hold, one_of};
use crate::fuzz::disk::{BLOCK, Disk, Record, Recovered, SEGMENT, recover};
use crate::fuzz::mutate::bound;
use anser::sim::prng::Prng;
use anser::store::Position;
use anser::store::log::format::Covered;
use anser::store::log::recovery::{Refusal, Spot};
use std::collections::BTreeMap;

/// What reads files.
pub type Recover = fn(Covered, &BTreeMap<u32, Vec<u8>>) -> Recovered;

/// The target. A case is a text: what is written, then what is damaged.
pub struct Log {
    /// The code under test.
    pub recover: Recover,
}

impl Default for Log {
    fn default() -> Log {
        Log { recover }
    }
}

impl Target for Log {
    fn name(&self) -> &'static str {
        "log"
    }

    fn words(&self) -> &'static [&'static str] {
        &[
            "async\n",
            "turn 10\n",
            "turn 4000\n",
            "turn 8999\n",
            "write\n",
            "sync\n",
            "index\n",
            "x 0 4096 1\n",
            "z 0 4096 512\n",
            "z 0 0 4096\n",
            "z 1 4096 8192\n",
            "m 0 4096 8192 4096\n",
            "c 0 8192\n",
            "f 0 4120 1\n",
        ]
    }

    fn make(&self, prng: &mut Prng) -> Vec<u8> {
        let mut text = String::from(if prng.once_in(3) { "async\n" } else { "" });
        for _ in 0..1 + prng.below(30) {
            text.push_str(&match prng.below(8) {
                0..4 => format!("turn {}\n", bound(prng) % 9000),
                4 | 5 => "write\n".to_owned(),
                6 => "sync\n".to_owned(),
                _ => "index\n".to_owned(),
            });
        }
        text.push_str("write\n");
        for _ in 0..prng.below(4) {
            text.push_str(&damage(prng));
        }
        text.into_bytes()
    }

    fn mend(&self, case: &mut Vec<u8>, prng: &mut Prng) {
        if case.last().is_some_and(|byte| *byte != b'\n') {
            case.push(b'\n');
        }
        case.extend(damage(prng).into_bytes());
    }

    fn run(&self, case: &[u8], trail: &mut Trail) -> Result<(), Wrong> {
        let disk = Disk::of(&String::from_utf8_lossy(case));
        let found = (self.recover)(disk.covered(), disk.files());
        note(&found, trail);
        check(&disk, &found).map_err(|rule| {
            let end = found.applied.last().map(|(position, ..)| *position);
            let words = format!("{:?}, the last given out is {end:?}", found.outcome);
            Wrong::new(rule, format!("{}: {words}", String::from_utf8_lossy(case).escape_debug()))
        })?;
        let again = (self.recover)(disk.covered(), disk.files());
        hold(again == found, "the same files are read the same", || format!("{:?}", again.outcome))
    }
}

fn damage(prng: &mut Prng) -> String {
    let place = prng.below(3);
    let block = prng.below((SEGMENT / BLOCK) as u64) * BLOCK as u64;
    let at = block + if prng.once_in(2) { prng.below(64) } else { prng.below(BLOCK as u64) };
    match prng.below(8) {
        0..3 => format!("x {place} {at} {}\n", 1 + prng.below(255)),
        3 => format!("z {place} {block} {}\n", one_of(&[512, 4096, 8192, 40_000], prng)),
        4 => format!("z {place} {at} {}\n", bound(prng) % 9000),
        5 => format!("m {place} {block} {} 4096\n", prng.below(8) * BLOCK as u64),
        6 => format!("c {place} {block}\n"),
        _ => format!("f {place} {at} {}\n", 1 + prng.below(255)),
    }
}

fn note(found: &Recovered, trail: &mut Trail) {
    trail.count("applied", found.applied.len());
    match found.outcome {
        Ok(end) => trail.count("last", end.last.0 as usize),
        Err(Refusal::Damaged { at, missing }) => {
            trail.note((at.place, at.offset / BLOCK as u64, at.offset.is_multiple_of(8)));
            trail.count("missing", missing.0 as usize);
        }
        Err(Refusal::Foreign { place }) => trail.note(("foreign", place)),
        Err(Refusal::Newer { place, .. }) => trail.note(("newer", place)),
    }
}

/// The rule that recovery has broken.
fn check(disk: &Disk, found: &Recovered) -> Result<(), &'static str> {
    let covered = disk.covered().position;
    let mut expected = disk.turns.iter().filter(|(position, ..)| *position > covered);
    let mut last = covered;
    for one in &found.applied {
        // Each change of each turn, or, where somebody forged a record, at least turn by turn.
        let is_next = one.0 == last || one.0 == last.next();
        if !is_next || (!disk.is_forged && expected.next() != Some(one)) {
            return Err("turns are given out whole and in order");
        }
        last = one.0;
    }
    if disk.is_forged {
        return Ok(());
    }
    if expected.next().is_some_and(|(position, ..)| *position == last) {
        return Err("turns are given out whole and in order");
    }
    if disk.is_moved {
        // A copy of a later record may lead away from the one behind it.
        return Ok(());
    }
    let missing = first_missing(disk);
    let is_proven = missing.is_some_and(|missing| proven(disk) >= missing);
    match (found.outcome, missing) {
        (Ok(end), None) if end.last == disk.written() && last == end.last => Ok(()),
        (Ok(end), Some(missing)) if !is_proven && end.last.next() == missing => Ok(()),
        (Ok(_), None) => Err("what is whole is found"),
        (Ok(_), Some(_)) if is_proven => Err("what was synced and cannot be read is refused"),
        (Ok(_), Some(_)) => Err("a torn end is the end"),
        (Err(_), _) if !is_proven => Err("nothing is refused that was not synced"),
        (Err(Refusal::Damaged { at, missing: told }), Some(missing)) => {
            match told == missing && is_place(disk, at, missing) {
                true => Ok(()),
                false => Err("damage is told with its segment and offset"),
            }
        }
        (Err(_), _) => Err("damage is told with its segment and offset"),
    }
}

fn has_header(disk: &Disk, place: u32) -> bool {
    // The rest of the block says nothing.
    disk.is_whole(place, 0, 56)
}

fn is_whole(disk: &Disk, record: &Record) -> bool {
    disk.is_whole(record.place, record.offset, record.offset + record.length)
}

/// The turns of a file that a start reaches: one behind the other, and behind those that cannot be
/// read although the LSM has them, if they say how long they are or a write begins there.
fn reached(disk: &Disk, place: u32) -> Vec<Position> {
    let covered = disk.covered().position;
    let mut records: Vec<&Record> = disk.records.iter().filter(|it| it.place == place).collect();
    records.sort_by_key(|record| record.offset);
    let (mut reached, mut is_behind) = (Vec::new(), has_header(disk, place));
    for record in records {
        let begins = record.offset.is_multiple_of(BLOCK) && record.position <= covered.next();
        if is_whole(disk, record) && (is_behind || begins) && has_header(disk, place) {
            reached.push(record.position);
            is_behind = true;
        } else if record.position > covered {
            break;
        } else {
            is_behind = disk.is_whole(place, record.offset + 8, record.offset + 12);
        }
    }
    reached
}

/// The first turn beyond the LSM that a start does not reach.
fn first_missing(disk: &Disk) -> Option<Position> {
    let covered = disk.covered().position;
    let reached: Vec<Position> =
        disk.headers.keys().flat_map(|place| reached(disk, *place)).collect();
    let needed = disk.records.iter().map(|record| record.position);
    needed.filter(|it| *it > covered && !reached.contains(it)).min()
}

/// Up to where all was on disk, as far as anything says so that a start looks at: headers, records
/// that are reached from one, and the first of each write, which begins a block. A file whose
/// first two blocks are zeros counts as one that nothing was written to.
fn proven(disk: &Disk) -> Position {
    let is_seen = |it: &&Record| {
        !is_blank(disk, it.place)
            && is_whole(disk, it)
            && (it.offset.is_multiple_of(BLOCK) || reached(disk, it.place).contains(&it.position))
    };
    let records = disk.records.iter().filter(is_seen).map(|record| record.synced);
    let headers = disk.headers.iter().filter(|(place, _)| has_header(disk, **place));
    let headers = headers.map(|(_, header)| header.synced);
    records.chain(headers).max().unwrap_or_default()
}

/// Whether a place is where the missing record should begin: behind the last one that is reached,
/// or at the beginning of its file. It may be in any file without a header, for all that anybody
/// can tell, and in one that looks as if nothing was written to it; and anywhere, if more than one
/// thing was damaged.
fn is_place(disk: &Disk, at: Spot, missing: Position) -> bool {
    let Some(record) = disk.records.iter().find(|it| it.position == missing) else { return false };
    let before = disk.records.iter().find(|it| it.position.next() == missing);
    let all = disk.headers.keys().flat_map(|place| reached(disk, *place));
    let reached = all.filter(|it| *it < missing).max();
    let last = disk.records.iter().find(|it| Some(it.position) == reached);
    let behind = [before, last].into_iter().flatten();
    let mut behind = behind.map(|it| (it.place, it.offset + it.length));
    let starts = [(record.place, 0), (record.place, BLOCK)];
    let at = (at.place, at.offset as usize);
    let is_headless = at.1 == 0 && !disk.is_whole(at.0, 0, 2 * BLOCK);
    let is_unknown = is_headless || is_blank(disk, record.place);
    let is_one_of_several = disk.damages > 1 && disk.files().contains_key(&at.0);
    let is_it = starts.contains(&at) || behind.any(|spot| spot == at);
    is_it || is_unknown || is_one_of_several
}

/// Whether a file looks as if nothing was written to it.
fn is_blank(disk: &Disk, place: u32) -> bool {
    disk.files()[&place][..2 * BLOCK].iter().all(|byte| *byte == 0)
}
