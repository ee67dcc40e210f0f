//! The overlay against an ordered map, over rows below and beside chunks that come and go.

use super::*;
use crate::ids::UserId;
use crate::store::Direction;
use crate::store::keys::Key;
use crate::store::memory::MemoryStore;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// A small fixed-seed generator (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn key(&mut self) -> Vec<u8> {
        let kind = 7 + self.below(3) as u8;
        let mut key = vec![kind; 1 + self.below(2) as usize];
        key.push(self.below(200) as u8);
        if self.below(2) == 0 {
            // Of few owners, so that ranges of one of them are common.
            key = vec![kind, 0, 0, 0, self.below(3) as u8];
            key.extend((0..self.below(3)).map(|_| self.below(4) as u8));
        }
        key
    }
}

struct World {
    overlay: Overlay,
    below: MemoryStore,
    model: Rows,
    position: Position,
}

impl World {
    fn turn(&mut self, dice: &mut Dice) {
        let mut batch = Batch::new();
        for _ in 0..1 + dice.below(30) {
            let (key, value) = (dice.key(), vec![dice.below(256) as u8; dice.below(50) as usize]);
            if dice.below(4) == 0 {
                batch.remove(&key);
                self.model.remove(&key);
            } else {
                batch.put(&key, &value);
                self.model.insert(key, value);
            }
        }
        self.position = self.position.next();
        self.overlay.apply(&batch, self.position);
    }

    fn index(&mut self) {
        let Some(chunk) = self.overlay.sealed(0) else { return };
        let mut batch = Batch::new();
        for (key, change) in lasting::lasting(std::slice::from_ref(chunk), || {}) {
            match change {
                Change::Put(value) => batch.put(key, value),
                Change::Remove => batch.remove(key),
            }
        }
        self.below.write(&batch).expect("memory does not fail");
        self.overlay.drop_oldest();
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        match self.overlay.get(key) {
            Some(Change::Put(value)) => Some(value.to_vec()),
            Some(Change::Remove) => None,
            None => self.below.get(key, <[u8]>::to_vec).expect("memory does not fail"),
        }
    }

    fn scan(&self, range: Range<'_>, most: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut rows = Vec::new();
        let visit = &mut |key: &[u8], value: &[u8]| {
            rows.push((key.to_vec(), value.to_vec()));
            if rows.len() == most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        self.overlay.scan(&self.below, range, visit).expect("memory does not fail");
        rows
    }

    fn check(&self, dice: &mut Dice, words: &str) {
        let key = dice.key();
        assert_eq!(self.get(&key), self.model.get(&key).cloned(), "{words}");
        let (from, to) = (dice.key(), dice.key());
        let most = 1 + dice.below(100) as usize;
        let in_range = || self.model.iter().filter(|(key, _)| (&from..&to).contains(key));
        let owned = |(key, value): (&Vec<u8>, &Vec<u8>)| (key.clone(), value.clone());
        let range = Range { from: &from, to: &to, direction: Direction::Forward };
        let forward: Vec<_> = in_range().take(most).map(owned).collect();
        assert_eq!(self.scan(range, most), forward, "{words}");
        let range = Range { direction: Direction::Backward, ..range };
        let backward: Vec<_> = in_range().rev().take(most).map(owned).collect();
        assert_eq!(self.scan(range, most), backward, "{words}");
    }
}

/// Invariant 1 of store::overlay.
/// Invariant 1 of store::overlay::scan.
#[test]
fn every_read_sees_the_newest_change_over_chunks_and_rows_below() {
    for seed in 1..=12 {
        let mut dice = Dice(seed);
        let mut world = World {
            overlay: Overlay::default(),
            below: MemoryStore::default(),
            model: Rows::new(),
            position: Position::default(),
        };
        for round in 0..400 {
            match dice.below(8) {
                0 if !world.overlay.open().is_empty() => world.overlay.seal(),
                1 => world.index(),
                _ => world.turn(&mut dice),
            }
            world.check(&mut dice, &format!("seed {seed}, round {round}"));
        }
    }
}

/// Invariant 2 of store::overlay.
#[test]
fn chunks_leave_one_by_one_in_the_order_in_which_they_were_sealed() {
    let mut overlay = Overlay::default();
    for position in 1..=5_u8 {
        let mut batch = Batch::new();
        batch.put(&[position], b"row");
        overlay.apply(&batch, Position(u64::from(position)));
        overlay.seal();
    }
    for dropped in 0..=5_u8 {
        let held = (0..6).map_while(|index| overlay.sealed(index)).map(|chunk| chunk.last().0);
        assert!(held.eq(u64::from(dropped) + 1..=5), "{dropped} were dropped");
        let is_there = |key: &u8| overlay.get(&[*key]).is_some();
        assert_eq!((1..=5).filter(is_there).count(), usize::from(5 - dropped));
        if dropped < 5 {
            overlay.drop_oldest();
        }
    }
}

/// Invariant 4 of store::overlay.
#[test]
fn a_read_of_one_owner_leaves_chunks_without_rows_of_him_as_they_are() {
    let mut overlay = Overlay::default();
    let user = |number| UserId::new(number).expect("positive");
    for number in 1..=20 {
        let mut batch = Batch::new();
        (0..200).for_each(|seq| batch.put(&Key::message(user(number), 1000 - seq), b"row"));
        overlay.apply(&batch, Position(number as u64));
        overlay.seal();
    }
    let (from, to) = (Key::message(user(7), 0), Key::message(user(7), u64::MAX));
    let range = Range { from: &from, to: &to, direction: Direction::Forward };
    let mut rows = 0;
    let visit = &mut |_: &[u8], _: &[u8]| {
        rows += 1;
        ControlFlow::Continue(())
    };
    overlay.scan(&MemoryStore::default(), range, visit).expect("memory does not fail");
    assert_eq!(rows, 200);
    let in_order = overlay.sealed.iter().filter(|sealed| sealed.order.borrow().has_runs());
    assert_eq!(in_order.count(), 1, "of {} chunks", overlay.sealed.len());
    assert!(overlay.sealed_of(Owner::of(&from)).count() <= 3, "a few by chance");
}

#[test]
fn dropped_chunks_give_their_memory_to_the_next() {
    let mut overlay = Overlay::default();
    let mut batch = Batch::new();
    batch.put(b"key", &[7; 1000]);
    let mut addresses = std::collections::BTreeSet::new();
    for position in 1..20 {
        overlay.apply(&batch, Position(position));
        let Some(Change::Put(value)) = overlay.get(b"key") else { panic!("it was just put") };
        addresses.insert(value.as_ptr() as usize);
        overlay.seal();
        overlay.drop_oldest();
        assert_eq!((overlay.size(), overlay.get(b"key")), (0, None));
    }
    assert!(addresses.len() <= 2, "{addresses:?}");
}

fn fill(overlay: &mut Overlay, bytes: usize, position: &mut Position) {
    let mut rows = 0_u32..;
    while overlay.open().size() < bytes {
        let mut batch = Batch::new();
        batch.put(&rows.next().expect("numbers").to_be_bytes(), &[7; 60_000]);
        *position = position.next();
        overlay.apply(&batch, *position);
    }
}

/// Invariant 5 of store::overlay.
#[test]
fn spare_chunks_are_asked_for_once_rows_come_fast_and_given_back_when_they_are_slow() {
    let (mut overlay, mut position) = (Overlay::default(), Position::default());
    overlay.make_room();
    assert!(!overlay.ask_spare(), "nothing comes");
    fill(&mut overlay, CHUNK_BYTES / 2, &mut position);
    let asked = std::iter::from_fn(|| overlay.ask_spare().then_some(())).count();
    assert_eq!(asked, SPARE_CHUNKS_AHEAD);
    (0..asked).for_each(|_| overlay.add_spare(Chunk::ready(|| {})));
    assert!(!overlay.ask_spare(), "they are there");
    let allocated = |overlay: &mut Overlay| {
        let sealing = allocation_counter::measure(|| overlay.seal());
        sealing.bytes_total > CHUNK_BYTES as u64 / 2
    };
    for _ in 0..SPARE_CHUNKS_AHEAD {
        assert!(!allocated(&mut overlay), "a ready chunk is next");
        fill(&mut overlay, CHUNK_BYTES / 4, &mut position);
    }
    assert!(!overlay.ask_spare(), "rows come slowly");
    assert!(allocated(&mut overlay), "none is left");
    while overlay.sealed(0).is_some() {
        overlay.drop_oldest();
    }
    let spare = overlay.spare.len();
    assert!(spare > SPARE_CHUNKS_AHEAD);
    let slow = |overlay: &mut Overlay| {
        (0..SPARE_CHUNK_SECONDS).for_each(|_| overlay.give_back());
        overlay.spare.len()
    };
    assert_eq!(slow(&mut overlay), spare, "all were in use within the time before");
    for left in (1..spare).rev() {
        assert_eq!(slow(&mut overlay), left);
    }
    fill(&mut overlay, 1, &mut position);
    overlay.seal();
    overlay.drop_oldest();
    assert_eq!(slow(&mut overlay), 1, "one is needed, now and then");
    assert_eq!(slow(&mut overlay), 0);
}
