//! Packs, and a view whose rows are packed, against an ordered map.

use super::*;
use crate::ids::UserId;
use crate::store::tests::{Dice, Row, rows, value};
use crate::store::view::View;
use crate::store::view::tests::{TempFolder, open};
use crate::store::view::tiers::{Lane, Step};
use crate::store::{Batch, Direction, Store};
use std::collections::BTreeMap;

fn user(number: i64) -> UserId {
    UserId::new(number).expect("positive")
}

/// Rows of one owner, about to be put.
struct Owner {
    prefix: Vec<u8>,
    next: u64,
    oldest: u64,
}

/// Puts rows at the newer end and removes some at the older.
fn play(
    owner: &mut Owner,
    dice: &mut Dice,
    batch: &mut Batch,
    model: &mut BTreeMap<Vec<u8>, Vec<u8>>,
) {
    for _ in 0..dice.below(25) {
        let key = Key::numbered(&owner.prefix, owner.next).to_vec();
        let bytes = if dice.below(30) == 0 { PACK_BYTES } else { dice.below(50) as usize };
        let row = vec![2 + owner.next as u8 % 100; 1 + bytes];
        batch.put(&key, &row);
        model.insert(key, row);
        // Numbers may be left out.
        owner.next += 1 + dice.below(12) / 11;
    }
    for _ in 0..dice.below(2) * dice.below(40) {
        if owner.oldest < owner.next {
            let key = Key::numbered(&owner.prefix, owner.oldest).to_vec();
            batch.remove(&key);
            model.remove(&key);
            owner.oldest += 1;
        }
    }
}

fn looks_like(view: &View, model: &BTreeMap<Vec<u8>, Vec<u8>>, dice: &mut Dice, keys: &[Vec<u8>]) {
    let bound = |dice: &mut Dice| match dice.below(4) {
        0 => vec![dice.below(30) as u8],
        _ => {
            let mut key = keys[dice.below(keys.len() as u64) as usize].clone();
            if dice.below(4) == 0 {
                key.push(0);
            }
            key.truncate(key.len() - dice.below(2) as usize * dice.below(10) as usize);
            key
        }
    };
    for _ in 0..40 {
        let (from, to) = (bound(dice), bound(dice));
        let within = |(key, _): &(&Vec<u8>, &Vec<u8>)| from <= **key && **key < to;
        let owned = |(key, row): (&Vec<u8>, &Vec<u8>)| (key.clone(), row.clone());
        let mut expected: Vec<Row> = model.iter().filter(within).map(owned).collect();
        assert_eq!(rows(view, (&from, &to), Direction::Forward), expected);
        expected.reverse();
        assert_eq!(rows(view, (&from, &to), Direction::Backward), expected);
        assert_eq!(value(view, &from), model.get(&from).cloned());
    }
    for key in keys {
        assert_eq!(value(view, key), model.get(key).cloned());
    }
}

/// Invariant 1 of store::view::packs.
#[test]
fn a_view_gives_back_what_it_was_given_however_it_is_packed() {
    for seed in 1..=12 {
        let (folder, mut dice) = (TempFolder::new(), Dice(seed));
        let (mut view, mut model) = (open(&folder), BTreeMap::new());
        // Of half of the stores some tables have large values apart.
        view.apart_from = if seed % 2 == 0 { 3_000 } else { usize::MAX };
        // `open` puts a row of its own.
        rows(&view, (&[0], &[255]), Direction::Forward).into_iter().for_each(|(key, row)| {
            model.insert(key, row);
        });
        let mut owners: Vec<Owner> = [Key::message(user(5), 0), Key::message(user(6), 0)]
            .iter()
            .chain([&Key::pair_block(user(5), user(6), 0), &Key::waiting(user(5), 0)])
            .map(|key| Owner { prefix: key[..key.len() - 8].to_vec(), next: 1, oldest: 1 })
            .collect();
        for _ in 0..12 {
            let mut batch = Batch::new();
            for owner in &mut owners {
                play(owner, &mut dice, &mut batch, &mut model);
            }
            view.write(&batch).expect("the store is well");
            match dice.below(4) {
                0 => view.merge(Lane::New, Step::Merge(0, 1)).expect("the store is well"),
                1 => view.merge(Lane::Old, Step::Merge(1, 6)).expect("the store is well"),
                _ => {}
            }
        }
        let keys: Vec<Vec<u8>> = owners
            .iter()
            .flat_map(|owner| {
                (0..owner.next + 20).map(|number| Key::numbered(&owner.prefix, number))
            })
            .map(|key| key.to_vec())
            .collect();
        looks_like(&view, &model, &mut dice, &keys);
        drop(view);
        looks_like(&open(&folder), &model, &mut dice, &keys);
    }
}

/// Invariant 2 of store::view::packs.
#[test]
fn a_pack_lies_where_its_rows_are_looked_for() {
    let keys: Vec<Key> = (0..64).map(|seq| Key::message(user(5), seq)).collect();
    for (seq, key) in keys.iter().enumerate() {
        let row = Numbered::of(key).expect("messages are packed");
        let homes: Vec<u64> = row.homes().map(|home| home.number).collect();
        let (seq, mut every) = (seq as u64, homes.clone());
        every.sort_unstable();
        let group = seq / PACK_ROWS * PACK_ROWS;
        assert_eq!(every, (group..=seq).collect::<Vec<_>>(), "each once");
        assert_eq!((homes[0], row.first()), (seq, group));
        assert_eq!(row.floor(), keys[group as usize]);
        for (other, key) in keys.iter().enumerate() {
            let is_beside = row.is_beside(&Numbered::of(key).expect("messages are packed"));
            assert_eq!(is_beside, other as u64 / PACK_ROWS == seq / PACK_ROWS);
        }
    }
    let other = Key::message(user(6), 1);
    assert!(
        !Numbered::of(&keys[1]).expect("it is").is_beside(&Numbered::of(&other).expect("it is"))
    );
    assert_eq!(Numbered::of(&Key::waiting(user(5), 3)), None);
}

#[test]
fn a_pack_is_no_larger_than_who_reads_one_row_should_read() {
    let (small, large) = (vec![2; PACK_BYTES / 5], vec![2; PACK_BYTES * 2]);
    let rows: Vec<(u64, &[u8])> = (0..9).map(|number| (number, &small[..])).collect();
    assert_eq!(packs(&rows).map(<[_]>::len).collect::<Vec<_>>(), [5, 4]);
    let rows = [(0, &small[..]), (1, &large), (2, &small)];
    assert_eq!(packs(&rows).map(<[_]>::len).collect::<Vec<_>>(), [1, 1, 1]);
}

/// Invariant 3 of store::view::packs.
#[test]
fn any_bytes_give_rows_or_an_error() {
    let (mut whole, mut dice) = (Vec::new(), Dice(7));
    write(&[(17, b"one"), (18, b""), (30, b"three")], &mut whole);
    let key = Key::message(user(5), 17);
    let home = Numbered::of(&key).expect("messages are packed");
    let read = |bytes: &[u8]| home.rows(bytes).map(Iterator::count);
    assert_eq!(home.find(30, &whole), Ok(Some(&b"three"[..])));
    assert_eq!((home.find(19, &whole), read(&whole)), (Ok(None), Ok(3)));
    assert_eq!((read(&[MARK]), read(&[])), (Err(RowError::Damaged), Ok(1)));
    for _ in 0..20_000 {
        let mut bytes = whole.clone();
        let at = dice.below(bytes.len() as u64) as usize;
        bytes[at] ^= dice.below(256) as u8;
        bytes.truncate(bytes.len() - dice.below(8) as usize);
        let _ = read(&bytes);
    }
}
