//! Rows in memory: the batch of a turn, its record in the log, the overlay that shows it.
//!
//! One message and its ack change eight rows: two messages that stay, and users and chats that
//! are there already; each eighth adds four blocks.

use crate::case::{Case, Meter, Run};
use anser::store::keys::Kind;
use anser::store::log::segments::Place;
use anser::store::log::{Beginning, Durability, Log, Outcome};
use anser::store::memory::MemoryStore;
use anser::store::overlay::Overlay;
use anser::store::recent::Recent;
use anser::store::{Batch, Direction, Position, Range};
use std::hint::black_box;

const TURN_MESSAGES: u64 = 64;
const TURNS: u64 = 16;
const MESSAGES: u64 = TURNS * TURN_MESSAGES;
const USERS: u64 = 1000;
/// What waits to become tables.
const CHUNKS: u64 = 14;
const CHUNK_TURNS: u64 = 6;

/// In the order in which a turn meets them.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("store/batch", MESSAGES, batched),
        Case::new("store/log", MESSAGES, logged),
        Case::new("store/log-and-overlay", MESSAGES, taken),
        Case::repeated("store/overlay-get", 1024, get),
        Case::repeated("store/overlay-absent", 1024, scan_beside_others),
    ]
}

/// A message's changes are gathered.
fn batched() -> Run {
    let (mut batch, mut number) = (Batch::new(), 0);
    Box::new(move |meter: &mut Meter| {
        meter.take(|| {
            for _ in 0..TURNS {
                batch.clear();
                fill(&mut batch, &mut number);
                black_box(&batch);
            }
        });
    })
}

/// They become a record, which is sealed as for a write.
fn logged() -> Run {
    let (mut log, mut number) = (log(), 0);
    Box::new(move |meter: &mut Meter| {
        let batches = batches(&mut number);
        meter.take(|| {
            for batch in &batches {
                log.append(batch);
                write(&mut log);
            }
        });
        log.released(log.synced());
    })
}

/// What a shard does with them, but for the disk; chunks are applied at once.
fn taken() -> Run {
    let (mut recent, mut number) = (Recent::new(log()), 0);
    Box::new(move |meter: &mut Meter| {
        let batches = batches(&mut number);
        meter.take(|| {
            for batch in &batches {
                recent.append(batch);
                write(recent.log_mut());
            }
        });
        recent.seal();
        while let Some(chunk) = recent.next_chunk() {
            let last = chunk.last();
            drop(chunk);
            recent.applied(last);
            recent.released(last);
        }
    })
}

/// A read of a row that is on its way to a table.
fn get() -> impl FnMut() {
    let (overlay, mut number) = (overlay(1), 0);
    move || {
        number = (number + 611) % (CHUNK_TURNS * TURN_MESSAGES);
        let found = overlay.get(&key(Kind::Message, (number + 1) % USERS, number + 1));
        assert!(black_box(found).is_some(), "it was put");
    }
}

/// A read of one user's rows that finds nothing, beside chunks full of rows of others.
fn scan_beside_others() -> impl FnMut() {
    let (overlay, below, mut owner) = (overlay(CHUNKS), MemoryStore::default(), USERS);
    move || {
        owner += 1;
        let (from, to) = (key(Kind::Message, owner, 0), key(Kind::Message, owner, u64::MAX));
        let range = Range { from: &from, to: &to, direction: Direction::Backward };
        let nothing = &mut |_: &[u8], _: &[u8]| panic!("nothing is his");
        overlay.scan(&below, range, nothing).expect("memory does not fail");
    }
}

fn overlay(chunks: u64) -> Overlay {
    let (mut overlay, mut batch, mut number) = (Overlay::default(), Batch::new(), 0);
    for turn in 1..=chunks * CHUNK_TURNS {
        batch.clear();
        fill(&mut batch, &mut number);
        overlay.apply(&batch, Position(turn));
        if turn.is_multiple_of(CHUNK_TURNS) {
            overlay.seal();
        }
    }
    overlay
}

fn log() -> Log {
    let free = (0..4).map(|number| Place { number, bytes: 1 << 26 }).collect();
    Log::new(Beginning { log: 1, written: Position(0), next_sequence: 1, free }, Durability::Sync)
}

fn write(log: &mut Log) {
    let write = log.next_write().expect("a turn waits");
    log.written(black_box(write).buffer, Outcome::Done);
}

fn batches(number: &mut u64) -> Vec<Batch> {
    let batch = |_| {
        let mut batch = Batch::new();
        fill(&mut batch, number);
        batch
    };
    (0..TURNS).map(batch).collect()
}

/// A turn's changes.
fn fill(batch: &mut Batch, number: &mut u64) {
    for _ in 0..TURN_MESSAGES {
        *number += 1;
        let (author, reader) = (*number % USERS, (*number + 1) % USERS);
        batch.put(&key(Kind::Message, author, *number), &[7; 300]);
        batch.put(&key(Kind::Message, reader, *number), &[7; 300]);
        for (owner, peer) in [(author, reader), (reader, author), (reader, author)] {
            batch.put(&key(Kind::Chat, owner, peer), &[7; 250]);
            batch.put(&key(Kind::User, owner, 0), &[7; 150]);
        }
        for owner in [author, reader].into_iter().filter(|_| number.is_multiple_of(8)) {
            batch.put(&key(Kind::IdBlock, owner, *number), &[7; 129]);
            batch.put(&key(Kind::PairBlock, owner, *number), &[7; 65]);
        }
    }
}

fn key(kind: Kind, user: u64, number: u64) -> [u8; 13] {
    let mut key = [kind as u8; 13];
    key[1..5].copy_from_slice(&(user as u32).to_be_bytes());
    key[5..].copy_from_slice(&number.to_be_bytes());
    key
}
