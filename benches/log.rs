//! What a turn costs behind the rules and before the disk: its record in the log, its rows in the
//! overlay, and the sealing of both.
//!
//! One message and its ack change eight rows: two messages that stay, and users and chats that
//! are there already; each eighth adds four blocks. Run with
//! `cargo bench --bench log`. Prints CPU time a message: median, least and most of several rounds.
//!
//! Then what a read of one user's rows costs that finds nothing, beside sealed chunks full of rows
//! of others: each chunk is asked for the first time in each scan.

#[path = "common/clock.rs"]
mod clock;

use anser::store::keys::Kind;
use anser::store::log::segments::Place;
use anser::store::log::{Beginning, Durability, Log, Outcome};
use anser::store::memory::MemoryStore;
use anser::store::overlay::Overlay;
use anser::store::recent::Recent;
use anser::store::{Batch, Direction, Position, Range};
use clock::cpu_nanos;

const ROUNDS: usize = 9;
const TURN_MESSAGES: u64 = 64;
const TURNS: u64 = 400;
const USERS: u64 = 1000;
const CHUNKS: u64 = 14;
const CHUNK_TURNS: u64 = 70;
const SCANS: u64 = 1000;

fn main() {
    println!("one message, 8 row changes, in turns of {TURN_MESSAGES}");
    let mut recent = Recent::new(log());
    let mut number = 0;
    let mut rounds = Vec::new();
    for round in 0..ROUNDS + 2 {
        let batches: Vec<Batch> = (0..TURNS).map(|_| batch(&mut number)).collect();
        let begun = cpu_nanos();
        batches.iter().for_each(|batch| take(&mut recent, batch));
        // Two rounds warm up: memory reaches the size at which it stays.
        if round >= 2 {
            rounds.push((cpu_nanos() - begun) as f64 / (TURNS * TURN_MESSAGES) as f64);
        }
    }
    rounds.sort_by(f64::total_cmp);
    let (least, median, most) = (rounds[0], rounds[ROUNDS / 2], rounds[ROUNDS - 1]);
    println!("{median:.0} ns of CPU a message (least {least:.0}, most {most:.0})");
    read_beside_others();
}

/// Scans of rows that are in none of the sealed chunks.
fn read_beside_others() {
    let (mut overlay, mut number, below) = (Overlay::default(), 0, MemoryStore::default());
    for turn in 1..=CHUNKS * CHUNK_TURNS {
        overlay.apply(&batch(&mut number), Position(turn));
        if turn.is_multiple_of(CHUNK_TURNS) {
            overlay.seal();
        }
    }
    let key = |owner: u64, seq: u64| {
        let owner = (owner as u32).to_be_bytes();
        [&[Kind::Message as u8][..], &owner, &seq.to_be_bytes()].concat()
    };
    let begun = cpu_nanos();
    for scan in 0..SCANS {
        let owner = USERS + 1 + scan;
        let (from, to) = (key(owner, 0), key(owner, u64::MAX));
        let range = Range { from: &from, to: &to, direction: Direction::Backward };
        let nothing = &mut |_: &[u8], _: &[u8]| panic!("nothing is his");
        overlay.scan(&below, range, nothing).expect("memory does not fail");
    }
    let each = (cpu_nanos() - begun) / SCANS;
    println!("{each} ns of CPU a scan beside {CHUNKS} chunks of others");
}

fn log() -> Log {
    let free = (0..4).map(|number| Place { number, bytes: 1 << 26 }).collect();
    Log::new(Beginning { log: 1, written: Position(0), next_sequence: 1, free }, Durability::Sync)
}

/// What a shard does with a turn, but for the disk; chunks are applied at once.
fn take(recent: &mut Recent, batch: &Batch) {
    recent.append(batch);
    if let Some(write) = recent.log_mut().next_write() {
        recent.log_mut().written(write.buffer, Outcome::Done);
    }
    while let Some(chunk) = recent.next_chunk() {
        let last = chunk.last();
        drop(chunk);
        recent.applied(last);
        recent.released(last);
    }
}

fn batch(number: &mut u64) -> Batch {
    let mut batch = Batch::new();
    for _ in 0..TURN_MESSAGES {
        *number += 1;
        let (author, reader) = (*number % USERS, (*number + 1) % USERS);
        let key = |kind: Kind, user: u64, number: u64| {
            [&[kind as u8][..], &(user as u32).to_be_bytes(), &number.to_be_bytes()].concat()
        };
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
    batch
}
