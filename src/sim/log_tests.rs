//! The invariants of the commit log (`store::log`), each under its number, on a simulated disk.

use crate::limits::{CHUNK_BYTES, LOG_WAITING_BYTES_MAX, OVERLAY_BYTES_MAX};
use crate::sim::disk::Crash;
use crate::sim::machine::Machine;
use crate::sim::prng::Prng;
use crate::sim::storage::SEGMENT;
use crate::store::aligned::BLOCK_BYTES;
use crate::store::keys::Kind;
use crate::store::log::format::{Head, Header};
use crate::store::log::recovery::{Refusal, Spot};
use crate::store::log::{Durability, Outcome};
use crate::store::{Batch, Position, Store, StoreError};
use std::collections::BTreeSet;

/// A turn with a few rows of several kinds; outbox rows come and go once.
fn batch(prng: &mut Prng, turn: u64) -> Batch {
    let mut batch = Batch::new();
    for _ in 0..1 + prng.below(6) {
        let key = [Kind::Chat as u8, prng.below(20) as u8];
        match prng.below(4) {
            0 => batch.remove(&key),
            _ => batch.put(&key, &vec![prng.below(256) as u8; prng.below(900) as usize]),
        }
    }
    let outbox = |turn: u64| [&[Kind::Outbox as u8][..], &turn.to_be_bytes()].concat();
    batch.put(&outbox(turn), &[turn as u8; 40]);
    if turn > 3 {
        batch.remove(&outbox(turn - 3));
    }
    batch
}

fn turns(machine: &mut Machine, prng: &mut Prng, count: u64) {
    for _ in 0..count {
        let next = machine.store.written().0 + 1;
        machine.turn(&batch(prng, next));
    }
}

/// Wanders: whatever can happen next happens with some chance.
fn wander(machine: &mut Machine, prng: &mut Prng, steps: u64) {
    for _ in 0..steps {
        match prng.below(9) {
            0..3 => turns(machine, prng, 1),
            3 => drop(machine.storage.in_flight.is_some() || machine.start_write()),
            4 => machine.finish_write(Outcome::Done),
            5 => machine.store.sync().expect("the store is well"),
            6 => drop(machine.sync_one()),
            7 => machine.seal(),
            _ if prng.once_in(3) => machine.sync_lsm(),
            _ => machine.apply(1 + prng.below(3) as usize),
        }
    }
}

/// Invariant 1 of sim::machine.
/// Invariant 1 of sim::storage.
#[test]
fn acked_turns_survive_kills_and_power_cuts_under_any_seed() {
    for durability in [Durability::Sync, Durability::Async] {
        for seed in 0..150 {
            let mut prng = Prng::new(seed);
            let mut machine = Machine::new(durability, 4);
            for round in 0..6 {
                let steps = prng.below(400);
                wander(&mut machine, &mut prng, steps);
                let crash = if prng.once_in(3) { Crash::Kill } else { Crash::PowerCut };
                let outcome = machine.crash(crash, &mut prng);
                machine = outcome.unwrap_or_else(|refusal| {
                    panic!("{durability:?}, seed {seed}, round {round}: {refusal:?}")
                });
            }
            machine.settle();
        }
    }
}

/// Invariant 1 of store::log.
#[test]
fn invariant_1_positions_become_durable_in_order_and_only_after_write_and_sync() {
    let mut prng = Prng::new(1);
    let mut machine = Machine::new(Durability::Sync, 2);
    turns(&mut machine, &mut prng, 3);
    assert!(machine.start_write());
    turns(&mut machine, &mut prng, 2);
    assert!(!machine.start_write(), "one write at a time");
    assert_eq!(machine.store.durable(), Position(0), "a write in flight is no ack");
    machine.finish_write(Outcome::Done);
    assert_eq!(machine.store.durable(), Position(3), "and not what came after it");
    assert!(machine.start_write());
    machine.finish_write(Outcome::Failed);
    assert_eq!(machine.store.durable(), Position(3));
    assert!(!machine.start_write(), "a failed log writes nothing any more");
    assert!(matches!(machine.store.write(&Batch::new()), Err(StoreError::Failed)));
    assert!(matches!(machine.store.sync(), Err(StoreError::Failed)));
    machine.seal();
    assert!(machine.storage.chunks.is_empty(), "and the LSM gets nothing more");
}

/// Invariant 1 of store::log.
#[test]
fn invariant_1_in_async_mode_an_ack_follows_the_write_and_synced_follows_the_sync() {
    let mut prng = Prng::new(1);
    let mut machine = Machine::new(Durability::Async, 2);
    turns(&mut machine, &mut prng, 3);
    assert!(machine.start_write());
    machine.finish_write(Outcome::Done);
    assert_eq!((machine.store.durable(), machine.store.synced()), (Position(3), Position(0)));
    assert!(!machine.sync_one(), "nobody asked");
    machine.store.sync().expect("the store is well");
    assert!(machine.sync_one() && !machine.sync_one());
    assert_eq!((machine.store.durable(), machine.store.synced()), (Position(3), Position(3)));
}

/// Invariants 2 and 4 of store::log.
/// Invariants 2 and 3 of store::recent.
#[test]
fn invariant_2_a_chunk_reaches_the_lsm_only_when_its_last_record_is_synced() {
    let mut prng = Prng::new(2);
    for durability in [Durability::Sync, Durability::Async] {
        let mut machine = Machine::new(durability, 2);
        turns(&mut machine, &mut prng, 2);
        assert!(machine.start_write());
        turns(&mut machine, &mut prng, 1);
        machine.finish_write(Outcome::Done);
        machine.store.sync().expect("the store is well");
        machine.sync_one();
        assert_eq!(machine.store.synced(), Position(2));
        machine.seal();
        assert!(machine.storage.chunks.is_empty(), "turn 3 is in the chunk and not on disk");
        assert!(machine.start_write());
        machine.finish_write(Outcome::Done);
        machine.store.sync().expect("the store is well");
        machine.sync_one();
        machine.seal();
        assert_eq!(machine.storage.chunks.len(), 1);
        turns(&mut machine, &mut prng, 1);
        assert!(machine.start_write());
        machine.finish_write(Outcome::Done);
        machine.store.sync().expect("the store is well");
        machine.sync_one();
        machine.seal();
        let last: Vec<_> = machine.storage.chunks.iter().map(|chunk| chunk.last()).collect();
        assert_eq!(last, [Position(3), Position(4)], "each once, in order");
        let held = |machine: &mut Machine| {
            let overlay = machine.recent().overlay();
            [0, 1].map(|index| overlay.sealed(index).map(|chunk| chunk.last()))
        };
        assert_eq!(held(&mut machine), [Some(Position(3)), Some(Position(4))]);
        machine.apply_one();
        assert_eq!(held(&mut machine), [Some(Position(4)), None], "only what was applied went");
    }
}

/// Invariant 3 of store::log.
#[test]
fn invariant_3_the_covered_position_is_written_with_the_rows() {
    // Whatever part of what it was given the LSM keeps, the log adds just the rest.
    for seed in 0..40 {
        let mut prng = Prng::new(seed);
        let mut machine = Machine::new(Durability::Sync, 4);
        for _ in 0..5 {
            turns(&mut machine, &mut prng, 3);
            machine.start_write();
            machine.finish_write(Outcome::Done);
            machine.seal();
            machine.apply_one();
        }
        assert!(machine.store.below().synced() < machine.store.below().written());
        let machine = machine.crash(Crash::PowerCut, &mut prng).expect("the log is whole");
        assert_eq!(machine.store.written(), Position(15));
    }
}

/// Invariant 4 of store::log.
/// Invariant 1 of store::log::segments.
#[test]
fn invariant_4_a_segment_is_used_again_only_after_the_lsm_has_synced_it() {
    let mut prng = Prng::new(4);
    let mut machine = Machine::new(Durability::Sync, 2);
    loop {
        turns(&mut machine, &mut prng, 4);
        if !machine.start_write() {
            break;
        }
        machine.finish_write(Outcome::Done);
        machine.seal();
        machine.apply_one();
    }
    assert_eq!(machine.recent().log().segments().count(), 2);
    assert!(machine.recent().overlay().sealed(0).is_none(), "all but the last turns are applied");
    assert!(!machine.start_write(), "applied is not enough: the LSM may forget it");
    machine.sync_lsm();
    assert!(machine.start_write(), "now the first one is free");
    machine.finish_write(Outcome::Done);
    machine.crash(Crash::PowerCut, &mut prng).expect("nothing is missing");
}

/// Invariant 5 of store::log.
/// Invariants 1 and 2 of store::log::recovery.
#[test]
fn invariant_5_replay_takes_contiguous_positions_of_their_own_segment_only() {
    for seed in 0..60 {
        let mut prng = Prng::new(seed);
        // Files are used again and again, so that each is full of older records.
        let mut machine = Machine::new(Durability::Sync, 3);
        for _ in 0..30 {
            turns(&mut machine, &mut prng, 10);
            machine.settle();
        }
        turns(&mut machine, &mut prng, 5);
        machine.start_write();
        machine.finish_write(Outcome::Done);
        turns(&mut machine, &mut prng, 20);
        machine.start_write();
        let before = machine.store.durable();
        let machine = machine.crash(Crash::PowerCut, &mut prng).expect("a torn tail is no damage");
        assert!(machine.store.written() >= before);
    }
}

/// Invariant 6 of store::log.
#[test]
fn invariant_6_a_recovered_segment_is_never_appended_to() {
    let mut prng = Prng::new(6);
    let mut machine = Machine::new(Durability::Sync, 4);
    let mut seen = BTreeSet::new();
    for _ in 0..8 {
        turns(&mut machine, &mut prng, 2);
        machine.start_write();
        let write = machine.storage.in_flight.as_ref().expect("there is something to write");
        let Head::Segment(header) = Header::read(write.buffer.bytes()) else {
            panic!("the first write of a run begins a segment")
        };
        assert_eq!((write.offset, write.from), (0, 0));
        assert!(seen.insert(header.sequence), "a sequence is used once");
        machine.finish_write(Outcome::Done);
        machine = machine.crash(Crash::Kill, &mut prng).expect("whole");
    }
}

/// Invariant 7 of store::log.
#[test]
fn invariant_7_what_waits_is_bounded_and_nothing_is_dropped_at_the_bound() {
    let mut machine = Machine::new(Durability::Sync, 2);
    let mut batch = Batch::new();
    batch.put(&[Kind::Chat as u8, 1], &[7; 50_000]);
    let mut count = 0;
    while !machine.store.is_full() {
        machine.turn(&batch);
        machine.seal();
        count += 1;
        assert!(count < 1_000, "it is full before it is large");
    }
    let waiting = machine.recent().log().waiting_bytes();
    assert!((LOG_WAITING_BYTES_MAX..LOG_WAITING_BYTES_MAX + 60_000).contains(&waiting));
    while machine.store.is_full() {
        assert!(machine.start_write());
        machine.finish_write(Outcome::Done);
        machine.seal();
        machine.apply_one();
        machine.sync_lsm();
    }
    machine.settle();
    assert_eq!(machine.store.durable(), Position(count));
}

/// Invariant 7 of store::log.
/// Invariant 3 of store::overlay.
#[test]
fn invariant_7_the_overlay_is_bounded_too() {
    let mut machine = Machine::new(Durability::Sync, 3);
    let mut number = 0_u32;
    while !machine.recent().overlay().is_full() {
        let mut batch = Batch::new();
        for _ in 0..512 {
            number += 1;
            batch.put(&[&[Kind::Chat as u8][..], &number.to_be_bytes()].concat(), &[7; 100]);
        }
        machine.turn(&batch);
    }
    assert!(machine.store.is_full());
    let size = machine.recent().overlay().size();
    assert!((OVERLAY_BYTES_MAX..OVERLAY_BYTES_MAX + 100_000).contains(&size), "{size}");
    let sealed = machine.recent().overlay().sealed(0).expect("sealed by size").size();
    assert!((CHUNK_BYTES..CHUNK_BYTES + 100_000).contains(&sealed), "{sealed}");
}

/// Invariant 1 of store::recent.
/// Invariant 1 of store::logged.
#[test]
fn a_turn_is_in_the_log_and_in_the_overlay_or_in_neither_and_never_in_the_lsm() {
    let mut prng = Prng::new(9);
    let mut machine = Machine::new(Durability::Sync, 2);
    let below = machine.store.below().written();
    turns(&mut machine, &mut prng, 3);
    assert_eq!(machine.recent().log().appended(), Position(3));
    assert_eq!(machine.recent().overlay().open().last(), Position(3));
    machine.start_write();
    machine.finish_write(Outcome::Failed);
    let size = machine.recent().overlay().size();
    assert!(machine.store.write(&batch(&mut prng, 4)).is_err());
    assert_eq!(machine.recent().log().appended(), Position(3));
    assert_eq!(machine.recent().overlay().open().last(), Position(3));
    assert_eq!(machine.recent().overlay().size(), size);
    assert_eq!(machine.store.below().written(), below, "others write to the LSM");
}

/// A log of several segments, all of it synced and none of it indexed.
fn long_log(prng: &mut Prng, files: u32) -> Machine {
    let mut machine = Machine::new(Durability::Sync, files);
    loop {
        turns(&mut machine, prng, 3);
        if !machine.start_write() {
            return machine;
        }
        machine.finish_write(Outcome::Done);
    }
}

/// Invariant 8 of store::log.
/// Invariant 2 of store::log::recovery.
#[test]
fn invariant_8_damage_below_something_synced_is_a_hard_stop_that_names_the_place() {
    for seed in 0..200 {
        let mut prng = Prng::new(seed);
        let mut machine = long_log(&mut prng, 3);
        let place = prng.below(3) as u32;
        // The last write of the last segment may be torn: nothing tells that from damage.
        let end = if place == 2 { SEGMENT / 2 } else { SEGMENT };
        let at = prng.below(end) as usize;
        let file = machine.storage.disk.file_mut(place);
        // Zeros up to the end of a block may be what fills it up after a write.
        let block_end = (at + 1).next_multiple_of(BLOCK_BYTES);
        if file[at..block_end].iter().all(|byte| *byte == 0) {
            continue;
        }
        file[at] ^= 1 + prng.below(255) as u8;
        match machine.crash(Crash::Kill, &mut prng).err() {
            Some(Refusal::Damaged { at: spot, .. }) => {
                let distance = at as i64 - spot.offset as i64;
                let is_near = spot.place == place && (-4096..8192).contains(&distance);
                let is_header = at < BLOCK_BYTES;
                assert!(is_near || is_header, "seed {seed}: {place} {at} is called {spot:?}");
            }
            other => panic!("seed {seed}: byte {at} of {place} was changed: {other:?}"),
        }
    }
}

/// Invariant 8 of store::log.
#[test]
fn invariant_8_a_missing_or_foreign_segment_is_a_hard_stop() {
    let mut prng = Prng::new(8);
    for place in 0..2 {
        let mut machine = long_log(&mut prng, 3);
        machine.storage.disk.make(place, SEGMENT as usize);
        let refusal = machine.crash(Crash::Kill, &mut prng).err();
        assert!(matches!(refusal, Some(Refusal::Damaged { .. })), "{place}: {refusal:?}");
    }
    let mut machine = long_log(&mut prng, 3);
    let foreign = Header { log: 1, sequence: 9, first: Position(1), synced: Position(0) };
    foreign.write(machine.storage.disk.file_mut(1));
    let refusal = machine.crash(Crash::Kill, &mut prng).err();
    assert!(matches!(refusal, Some(Refusal::Foreign { place: 1 })), "{refusal:?}");
}

/// One turn, on disk.
fn written_turn(machine: &mut Machine, prng: &mut Prng) {
    turns(machine, prng, 1);
    assert!(machine.start_write());
    machine.finish_write(Outcome::Done);
}

/// Invariant 1 of store::log::recovery.
#[test]
fn damage_to_what_the_lsm_has_hides_nothing_behind_it() {
    // Within the record, and in what says how long it is.
    for byte in [50, 8] {
        let mut prng = Prng::new(10);
        let mut machine = Machine::new(Durability::Sync, 2);
        written_turn(&mut machine, &mut prng);
        machine.seal();
        machine.apply_one();
        machine.sync_lsm();
        written_turn(&mut machine, &mut prng);
        machine.storage.disk.file_mut(0)[BLOCK_BYTES + byte] ^= 1;
        let machine = machine.crash(Crash::Kill, &mut prng).expect("nothing is missing");
        assert_eq!(machine.store.written(), Position(2));
    }
}

/// Invariant 8 of store::log.
#[test]
fn invariant_8_a_header_that_became_zeros_is_a_hard_stop() {
    let mut prng = Prng::new(11);
    let mut machine = Machine::new(Durability::Sync, 2);
    written_turn(&mut machine, &mut prng);
    written_turn(&mut machine, &mut prng);
    machine.storage.disk.file_mut(0)[..BLOCK_BYTES].fill(0);
    let refusal = machine.crash(Crash::Kill, &mut prng).err();
    let missing = Position(1);
    assert!(matches!(refusal, Some(Refusal::Damaged { missing: told, .. }) if told == missing));
}

/// Invariant 8 of store::log.
#[test]
fn invariant_8_a_damaged_header_is_called_by_its_own_file() {
    let mut prng = Prng::new(12);
    let mut machine = long_log(&mut prng, 3);
    machine.storage.disk.file_mut(0)[9] ^= 1;
    let refusal = machine.crash(Crash::Kill, &mut prng).err();
    let (at, missing) = (Spot { place: 0, offset: 0 }, Position(1));
    assert_eq!(refusal, Some(Refusal::Damaged { at, missing }));
}
