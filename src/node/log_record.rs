//! Which files a shard's log has, kept beside it: a segment that is gone, or was cut short, looks
//! like one that was never made, and may hold what was acked.
//!
//! Invariants:
//! 1. A segment is in the record, on disk, before anything is written to it.
//! 2. A log that lacks one of its record, or some of its bytes, is refused, and so is one whose
//!    record is not what was written.
//!
//! A folder without a record, of an earlier server or put back from a backup, gets one when it
//! is started.

use crate::node::data_folder::write_whole;
use crate::node::log_files;
use crate::store::log::segments::Place;
use crate::store::{StoreError, is_want_of_room, seal};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Its name, beside the folder of the log.
const NAME: &str = "segments.toml";
const HEAD: &str =
    "# The files of the commit log beside this and their bytes. The server keeps it.\n";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    segments: Vec<Segment>,
}

#[derive(Serialize, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(deny_unknown_fields)]
struct Segment {
    number: u32,
    bytes: u64,
}

fn path(log: &Path) -> PathBuf {
    log.with_file_name(NAME)
}

/// Refuses a log, in this folder and with these files, that lacks something.
pub fn refuse_missing(log: &Path, found: &[Place]) -> Result<(), StoreError> {
    let record = path(log);
    let text = match fs::read(&record) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        bytes => bytes.map_err(|source| refused(&record, source))?,
    };
    let text = String::from_utf8_lossy(&text);
    // Servers before the seal wrote none.
    let sealed = seal::is_sealed(&text).map(|_| ()).map_err(|seal::Broken| ());
    let read = sealed.and_then(|()| toml::from_str(&text).map_err(|_| ()));
    let Record { segments } =
        read.map_err(|()| StoreError::LogRecordBroken { record: record.clone() })?;
    for Segment { number, bytes } in segments {
        let place = found.iter().find(|place| place.number == number);
        let why = match place {
            None => "missing",
            Some(place) if place.bytes < bytes => "shorter than it was made",
            Some(_) => continue,
        };
        let segment = log_files::path(log, number);
        return Err(StoreError::LogMissing { segment, why, record });
    }
    Ok(())
}

/// Records the files that a log has. On disk when this returns.
pub fn note(log: &Path, places: &[Place]) -> Result<(), StoreError> {
    let segments = places.iter().map(|&Place { number, bytes }| Segment { number, bytes });
    let mut record = Record { segments: segments.collect() };
    record.segments.sort();
    let words = toml::to_string(&record).expect("numbers are TOML");
    let (path, text) = (path(log), seal::seal(format!("{HEAD}{words}")));
    if fs::read_to_string(&path).is_ok_and(|before| before == text) {
        return Ok(());
    }
    let shard = path.parent().expect("a log is in the folder of its shard");
    write_whole(shard, NAME, &text).map_err(|source| match is_want_of_room(&source) {
        true => StoreError::NoRoom,
        false => refused(&path, source),
    })
}

fn refused(path: &Path, source: io::Error) -> StoreError {
    StoreError::Folder { folder: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::view::tests::TempFolder;

    const PLACES: [Place; 2] = [Place { number: 0, bytes: 8192 }, Place { number: 1, bytes: 4096 }];

    /// Invariant 2 of node::log_record.
    #[test]
    fn a_log_without_one_of_its_files_is_refused_by_name() {
        let folder = TempFolder::new();
        let log = folder.path().join("log");
        fs::create_dir_all(&log).expect("temporary");
        refuse_missing(&log, &[]).expect("nothing is known of it");
        note(&log, &PLACES).expect("there is room");
        refuse_missing(&log, &PLACES).expect("all are there");
        let more = [PLACES[0], PLACES[1], Place { number: 2, bytes: 4096 }];
        refuse_missing(&log, &more).expect("one was made and not yet noted");
        let shorter = [PLACES[0], Place { number: 1, bytes: 2048 }];
        let cases = [(&PLACES[..1], "missing"), (&PLACES[1..], "missing"), (&shorter, "shorter")];
        for (found, why) in cases {
            let refusal = refuse_missing(&log, found).expect_err("it lacks one").to_string();
            assert!(refusal.contains(why) && refusal.contains(NAME), "{refusal}");
        }
        note(&log, &more).expect("there is room");
        assert!(refuse_missing(&log, &PLACES).is_err());
    }

    /// Invariant 2 of node::log_record.
    #[test]
    fn a_record_that_is_not_what_was_written_is_refused() {
        let folder = TempFolder::new();
        let log = folder.path().join("log");
        fs::create_dir_all(&log).expect("temporary");
        note(&log, &PLACES).expect("there is room");
        let whole = fs::read_to_string(path(&log)).expect("just written");
        for at in 0..whole.trim_end().len() {
            let mut bytes = whole.clone().into_bytes();
            bytes[at] ^= 1;
            fs::write(path(&log), bytes).expect("temporary");
            let refusal = refuse_missing(&log, &PLACES).expect_err("it was changed");
            assert!(matches!(refusal, StoreError::LogRecordBroken { .. }), "at {at}: {refusal}");
        }
        for wrong in ["segments = 7", ""] {
            fs::write(path(&log), wrong).expect("temporary");
            let refusal = refuse_missing(&log, &PLACES).expect_err("it is none").to_string();
            assert!(refusal.contains("remove it"), "{refusal}");
        }
        let (bare, _) = whole.trim_end().rsplit_once("# ").expect("it is sealed");
        fs::write(path(&log), bare).expect("temporary");
        refuse_missing(&log, &PLACES).expect("servers before the seal wrote it so");
    }
}
