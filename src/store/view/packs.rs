//! Neighbouring rows of one owner as one row of a table.
//!
//! What the LSM does costs by the row: its filter, its place in a merge, its key. Messages of a
//! history and blocks of a chat are numbered without gaps, are put once and go from the oldest end,
//! so up to [`PACK_ROWS`] of them share a row there. Nobody above a view sees that.
//!
//! Invariants:
//! 1. What a view is given it gives back, row by row in the order of keys, however its rows are
//!    packed.
//! 2. A pack's rows are of one group: those whose numbers differ below [`PACK_ROWS`] only. Its key
//!    is that of its first row, so whoever looks for a row knows where it can be.
//! 3. Any bytes at all give rows or an error, never a panic.
//!
//! A pack: [`MARK`], how many rows, for each its place in the group and where its value ends, then
//! the values. A row alone is stored as it is.

use crate::limits::{PACK_BYTES, PACK_ROWS};
use crate::store::keys::{Key, counted};
use crate::store::rows::RowError;

/// The first byte of a pack. That of a row is its version, a small number.
const MARK: u8 = 0xFF;
/// Bytes before the places.
const HEAD_BYTES: usize = 2;
/// Bytes of a place and an end.
const ENTRY_BYTES: usize = 1 + size_of::<u32>();

const _: () = assert!(PACK_ROWS <= u8::MAX as u64 && PACK_ROWS.is_power_of_two());

/// A key that can be in a pack.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Numbered<'k> {
    prefix: &'k [u8],
    /// The row's number among those of its owner.
    pub number: u64,
}

impl<'k> Numbered<'k> {
    /// `None`: rows of this key are never packed.
    pub fn of(key: &'k [u8]) -> Option<Numbered<'k>> {
        let (prefix, number, rest) = counted(key)?;
        rest.is_empty().then_some(Numbered { prefix, number })
    }

    /// Whether both may be in one pack.
    pub fn is_beside(&self, other: &Numbered<'_>) -> bool {
        self.prefix == other.prefix && self.first() == other.first()
    }

    /// The key of the group's row with this number.
    pub fn key(&self, number: u64) -> Key {
        Key::numbered(self.prefix, number)
    }

    /// The first number of the group.
    pub fn first(&self) -> u64 {
        self.number - self.place()
    }

    /// Where the keys of the group end.
    pub fn end(&self) -> Key {
        self.key(self.first() + (PACK_ROWS - 1)).after()
    }

    /// The same owner's row of another number.
    pub fn at(&self, number: u64) -> Numbered<'k> {
        Numbered { number, ..*self }
    }

    fn place(&self) -> u64 {
        self.number % PACK_ROWS
    }

    /// Where a pack that has this row can lie, the likely places first: alone, with the whole
    /// group, and then with as many as came together.
    pub fn homes(self) -> impl Iterator<Item = Numbered<'k>> {
        let whole = (self.place() > 0).then(|| self.first());
        let between = (1..self.place()).rev().map(move |place| self.first() + place);
        let numbers = std::iter::once(self.number).chain(whole).chain(between);
        numbers.map(move |number| self.at(number))
    }

    /// Where a scan from a key begins: the pack that has its row may begin earlier. `None`: there.
    pub fn beginning(key: &'k [u8]) -> Option<Key> {
        // A key that goes on behind a number lies behind its row, and in its group.
        let (prefix, number, _) = counted(key)?;
        Some(Numbered { prefix, number }.floor())
    }

    /// The key of the first row that the group can have.
    pub fn floor(&self) -> Key {
        self.key(self.first())
    }

    /// The row with this number in what lies here; `None`: it is not there.
    pub fn find<'v>(&self, number: u64, value: &'v [u8]) -> Result<Option<&'v [u8]>, RowError> {
        Ok(self.rows(value)?.find(|(other, _)| *other == number).map(|(_, row)| row))
    }

    /// All rows of what lies under this key, rising: number and value.
    pub fn rows<'v>(
        &self,
        value: &'v [u8],
    ) -> Result<impl DoubleEndedIterator<Item = (u64, &'v [u8])> + use<'v>, RowError> {
        let (pack, alone, first) = (Pack::read(value)?, self.place(), self.first());
        let row = move |index| pack.row(index).unwrap_or((alone, value));
        Ok((0..pack.count.max(1)).map(row).map(move |(place, row)| (first + place, row)))
    }
}

/// A pack whose head was checked.
#[derive(Clone, Copy)]
struct Pack<'v> {
    value: &'v [u8],
    /// Rows; 0: it is none, but a row alone.
    count: usize,
}

impl<'v> Pack<'v> {
    fn read(value: &'v [u8]) -> Result<Pack<'v>, RowError> {
        let count = match value {
            [MARK, count, ..] => usize::from(*count),
            [MARK] => return Err(RowError::Damaged),
            _ => 0,
        };
        let pack = Pack { value, count };
        if count > 0 && (value.len() < pack.begin() || !pack.is_whole()) {
            return Err(RowError::Damaged);
        }
        Ok(pack)
    }

    fn is_whole(&self) -> bool {
        let (mut places, mut begin) = (0..PACK_ROWS, self.begin());
        for (place, end) in (0..self.count).map(|index| self.entry(index)) {
            if !places.contains(&place) || end < begin {
                return false;
            }
            (places.start, begin) = (place + 1, end);
        }
        begin == self.value.len()
    }

    /// Where the values begin.
    fn begin(&self) -> usize {
        HEAD_BYTES + self.count * ENTRY_BYTES
    }

    /// A row's place and where its value ends.
    fn entry(&self, index: usize) -> (u64, usize) {
        let bytes = &self.value[HEAD_BYTES + index * ENTRY_BYTES..][..ENTRY_BYTES];
        let end = u32::from_le_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]);
        (u64::from(bytes[0]), end as usize)
    }

    /// A row's place and value; `None`: there are not so many.
    fn row(&self, index: usize) -> Option<(u64, &'v [u8])> {
        let (place, end) = (index < self.count).then(|| self.entry(index))?;
        let begin = if index == 0 { self.begin() } else { self.entry(index - 1).1 };
        Some((place, &self.value[begin..end]))
    }
}

/// Rows of one group, oldest first, cut into packs of bounded size.
pub fn packs<'r, 'v>(
    mut rows: &'r [(u64, &'v [u8])],
) -> impl Iterator<Item = &'r [(u64, &'v [u8])]> {
    std::iter::from_fn(move || {
        let (mut count, mut bytes) = (0, 0);
        for (_, row) in rows {
            bytes += row.len();
            if count > 0 && bytes > PACK_BYTES {
                break;
            }
            count += 1;
        }
        let pack;
        (pack, rows) = rows.split_at(count);
        (!pack.is_empty()).then_some(pack)
    })
}

/// Writes the value of a pack of at least one row: number and value of each, rising.
pub fn write(rows: &[(u64, &[u8])], bytes: &mut Vec<u8>) {
    bytes.clear();
    if let [(_, row)] = rows {
        assert_ne!(row.first(), Some(&MARK), "a row begins with its version");
        bytes.extend_from_slice(row);
        return;
    }
    assert!(rows.len() as u64 <= PACK_ROWS, "they are of one group");
    assert!(rows.is_sorted_by(|one, next| one.0 < next.0), "each is there once");
    bytes.extend([MARK, rows.len() as u8]);
    let mut end = HEAD_BYTES + rows.len() * ENTRY_BYTES;
    for (number, row) in rows {
        end += row.len();
        let end = u32::try_from(end).expect("a pack is bounded far below 4 GiB");
        bytes.push((number % PACK_ROWS) as u8);
        bytes.extend_from_slice(&end.to_le_bytes());
    }
    rows.iter().for_each(|(_, row)| bytes.extend_from_slice(row));
}

#[cfg(test)]
#[path = "packs_tests.rs"]
mod tests;
