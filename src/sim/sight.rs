//! What reads of a shard's rows show while many are in its log and not yet in the LSM, against what
//! the LSM will have in the end.
//!
//! Invariants:
//! 1. A row that reads show too much, too little, or with another value, is named.
//!
//! It asks chunks for their changes, one by one, and an ordered map for the rest: the overlay's own
//! ways of looking into several chunks at once are what is judged.

use crate::sim::storage::{Rows, recent};
use crate::store::batch::Change;
use crate::store::overlay::chunk::Chunk;
use crate::store::parts;
use crate::store::{Direction, Range, Store};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// Rows by their keys; those that chunks remove stand there as nothing.
type Model = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Looks at every row: by its key, and among all of its kind from both ends.
///
/// # Errors
/// The first row that reads show wrongly, in words.
pub fn look(rows: &mut Rows) -> Result<(), String> {
    let model = model(rows);
    for (key, expected) in &model {
        let found = rows.get(key, <[u8]>::to_vec).expect("memory does not fail");
        if found != *expected {
            return Err(wrong("read by its key", key, expected.as_ref(), found.as_ref()));
        }
    }
    for kind in 0..u8::MAX {
        let (from, to) = ([kind], [kind + 1]);
        let all = model.range(from.to_vec()..to.to_vec());
        let mut expected: Vec<_> =
            all.filter_map(|(key, value)| Some((key, value.as_ref()?))).collect();
        for direction in [Direction::Forward, Direction::Backward] {
            scan(rows, Range { from: &from, to: &to, direction }, &expected)?;
            expected.reverse();
        }
    }
    Ok(())
}

/// What the LSM has when all chunks are applied.
fn model(rows: &mut Rows) -> Model {
    let mut model = Model::new();
    let range = Range { from: &[0], to: &[u8::MAX], direction: Direction::Forward };
    let below = rows.below().scan(range, &mut |key, value| {
        model.insert(key.to_vec(), Some(value.to_vec()));
        ControlFlow::Continue(())
    });
    below.expect("memory does not fail");
    let overlay = recent(rows).overlay();
    let sealed = (0..).map_while(|index| overlay.sealed(index));
    let mut apply = |chunk: &Chunk| {
        for at in 0..chunk.count() as u32 {
            let value = match chunk.change_at(at) {
                Change::Put(value) => Some(value.to_vec()),
                Change::Remove => None,
            };
            model.insert(chunk.key_at(at).to_vec(), value);
        }
    };
    sealed.for_each(|chunk| apply(chunk));
    apply(overlay.open());
    model
}

fn scan(rows: &Rows, range: Range<'_>, expected: &[(&Vec<u8>, &Vec<u8>)]) -> Result<(), String> {
    let (mut next, mut first) = (expected.iter(), None);
    let scanned = rows.scan(range, &mut |key, value| {
        match next.next() {
            Some((other, content)) if other[..] == *key && content[..] == *value => {
                return ControlFlow::Continue(());
            }
            Some((other, content)) if other[..] == *key => {
                first = Some(wrong("scanned", key, Some(*content), Some(&value.to_vec())));
            }
            Some((other, _)) => {
                let (found, expected) = (parts::words(key), parts::words(other));
                first = Some(format!("a scan shows {found} where {expected} is next"));
            }
            None => first = Some(format!("a scan shows {}, which is gone", parts::words(key))),
        }
        ControlFlow::Break(())
    });
    scanned.expect("memory does not fail");
    let missing = || next.next().map(|(key, _)| format!("a scan leaves out {}", parts::words(key)));
    first.or_else(missing).map_or(Ok(()), Err)
}

fn wrong(how: &str, key: &[u8], expected: Option<&Vec<u8>>, found: Option<&Vec<u8>>) -> String {
    let key = parts::words(key);
    format!("{key}, {how}: expected {expected:?}, found {found:?}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::storage::Storage;
    use crate::store::Batch;
    use crate::store::log::Durability;

    fn write(rows: &mut Rows, changes: &[(&[u8], Change<'_>)]) {
        let mut batch = Batch::new();
        for (key, change) in changes {
            match change {
                Change::Put(value) => batch.put(key, value),
                Change::Remove => batch.remove(key),
            }
        }
        rows.write(&batch).expect("the log is well");
    }

    /// Invariant 1 of sim::sight.
    #[test]
    fn a_row_that_reads_show_wrongly_is_named() {
        let (mut rows, _storage) = Storage::new(Durability::Sync, 1);
        let keys: Vec<[u8; 5]> = (0..4).map(|number| [7, 0, 0, 0, number]).collect();
        let put = |value| Change::Put(value);
        write(&mut rows, &[(&keys[0], put(b"old")), (&keys[1], put(b"old"))]);
        recent(&mut rows).seal();
        write(&mut rows, &[(&keys[1], Change::Remove), (&keys[2], put(b"new"))]);
        assert_eq!(look(&mut rows), Ok(()));
        let row = |at: usize, value: &'static [u8]| (keys[at].to_vec(), value.to_vec());
        let right = [row(0, b"old"), row(2, b"new")];
        let range = Range { from: &[7], to: &[8], direction: Direction::Forward };
        let judge = |model: &[(Vec<u8>, Vec<u8>)]| {
            let expected: Vec<_> = model.iter().map(|(key, value)| (key, value)).collect();
            scan(&rows, range, &expected)
        };
        assert_eq!(judge(&right), Ok(()));
        let wrong = [
            vec![right[0].clone()],
            vec![right[0].clone(), row(1, b"old"), right[1].clone()],
            vec![right[0].clone(), right[1].clone(), row(3, b"new")],
            vec![right[0].clone(), row(2, b"other")],
        ];
        for model in wrong {
            let words = judge(&model).expect_err("it is wrong");
            assert!(words.contains("scan"), "{words}");
        }
    }
}
