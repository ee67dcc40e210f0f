//! Makes one table of rows in the order of their keys, neighbours packed.

use super::brake::{Meter, Written};
use super::listed::Listed;
use super::packs::{self, Numbered};
use super::{CONTENTS, contents, disk};
use crate::limits::{APART_BYTES, PLACE_BYTES};
use crate::store::StoreError;
use crate::store::batch::Change;
use fjall::UserValue;
use lsm_tree::AnyTree;
use lsm_tree::file::fsync_directory;
use std::collections::{BTreeMap, BTreeSet};

/// Packs rows for a table that is being made.
struct Packer<'a, 'l, W> {
    /// What older tables have.
    listed: &'l Listed,
    /// Writes a row of the table.
    write: W,
    /// Changes of one group so far.
    group: Vec<(Numbered<'a>, Change<'a>)>,
    /// The value that is being made.
    value: Vec<u8>,
    /// Groups of which nothing was removed.
    kept: u64,
}

/// Makes a table of changes whose keys rise. It is on disk when this returns. Rows that are packed
/// are put only if no older table has them. `are_apart`: large values go to a file of their own.
/// Returns in how many groups what was to go stays, because a pack there cannot be read.
pub(super) fn write<'a>(
    tree: &AnyTree,
    listed: &Listed,
    changes: impl Iterator<Item = (&'a [u8], Change<'a>)>,
    are_apart: bool,
    mut meter: Meter,
) -> Result<u64, StoreError> {
    // A store of an earlier server keeps nothing apart.
    let are_apart = are_apart && matches!(tree, AnyTree::Blob(_));
    let whole = AnyTree::Standard(contents::tables(tree).clone());
    let tree = if are_apart { tree } else { &whole };
    let mut table = tree.ingestion().map_err(disk)?;
    let write = |key: &[u8], change: Change<'_>| match change {
        Change::Put(value) => {
            let row = match are_apart && value.len() >= APART_BYTES as usize {
                true => Written { tables: key.len() + PLACE_BYTES, apart: value.len() },
                false => Written { tables: key.len() + value.len(), apart: 0 },
            };
            // The indexer goes on in any case: it has what no table has.
            let _ = meter.add(row);
            table.write(key, value).map_err(disk)
        }
        Change::Remove => table.write_tombstone(key).map_err(disk),
    };
    let (group, value) = (Vec::new(), Vec::new());
    let mut packer = Packer { listed, write, group, value, kept: 0 };
    for (key, change) in changes {
        assert!(!key.is_empty(), "a row has a key");
        assert!(key.len() <= usize::from(u16::MAX), "the LSM counts a key's bytes in 16 bits");
        packer.add(key, change)?;
    }
    packer.pack()?;
    let kept = packer.kept;
    if are_apart {
        // All of its files have their names by now, and `finish` lists them.
        let folder = contents::tables(tree).config.path.join(CONTENTS);
        fsync_directory(&folder).map_err(lsm_tree::Error::from).map_err(disk)?;
    }
    table.finish().map_err(disk)?;
    Ok(kept)
}

impl<'a, W: FnMut(&[u8], Change<'_>) -> Result<(), StoreError>> Packer<'a, '_, W> {
    fn add(&mut self, key: &'a [u8], change: Change<'a>) -> Result<(), StoreError> {
        let numbered = Numbered::of(key);
        let first = self.group.first().map(|(first, _)| *first);
        let goes_on = first.is_some_and(|first| numbered.is_some_and(|row| row.is_beside(&first)));
        if !goes_on {
            self.pack()?;
        }
        match numbered {
            Some(numbered) => self.group.push((numbered, change)),
            None => (self.write)(key, change)?,
        }
        Ok(())
    }

    /// Writes what has gathered of one group.
    fn pack(&mut self) -> Result<(), StoreError> {
        let group = std::mem::take(&mut self.group);
        let Some((any, _)) = group.first() else { return Ok(()) };
        match group.iter().any(|(_, change)| matches!(change, Change::Remove)) {
            true => self.replace(*any, &group)?,
            false => self.put_beside(*any, &group)?,
        }
        self.group = group;
        self.group.clear();
        Ok(())
    }

    /// Some rows of a group go: what is left of all of its packs is packed anew. Where one of them
    /// cannot be read nobody knows what is left: they stay as they are, with what was to go.
    fn replace(
        &mut self,
        any: Numbered<'a>,
        group: &[(Numbered<'a>, Change<'a>)],
    ) -> Result<(), StoreError> {
        let mut before = Vec::<(u64, UserValue)>::new();
        for row in self.listed.scan(&any.floor(), &any.end()) {
            let Ok(row) = row else {
                self.kept += 1;
                return self.put_beside(any, group);
            };
            if let Some(key) = Numbered::of(&row.key.user_key) {
                before.push((key.number, row.value));
            }
        }
        let mut rows = BTreeMap::new();
        for (number, value) in &before {
            rows.extend(any.at(*number).rows(value)?);
        }
        for (row, change) in group {
            match change {
                Change::Put(value) => rows.insert(row.number, *value),
                Change::Remove => rows.remove(&row.number),
            };
        }
        let rows: Vec<_> = rows.into_iter().collect();
        self.put(any, &rows, before.iter().map(|(number, _)| *number).collect())
    }

    /// Writes the rows of a group that are put, which no older table has.
    fn put_beside(
        &mut self,
        any: Numbered<'a>,
        group: &[(Numbered<'a>, Change<'a>)],
    ) -> Result<(), StoreError> {
        let put = |(row, change): &(Numbered<'a>, Change<'a>)| match change {
            Change::Put(value) => Some((row.number, *value)),
            Change::Remove => None,
        };
        let rows: Vec<_> = group.iter().filter_map(put).collect();
        self.put(any, &rows, BTreeSet::new())
    }

    /// Writes packs of rows, in the place of those that begin with these numbers.
    fn put(
        &mut self,
        any: Numbered<'a>,
        rows: &[(u64, &[u8])],
        mut before: BTreeSet<u64>,
    ) -> Result<(), StoreError> {
        for pack in packs::packs(rows) {
            let (number, _) = pack[0];
            let later = before.split_off(&number);
            for gone in std::mem::replace(&mut before, later) {
                (self.write)(&any.key(gone), Change::Remove)?;
            }
            before.remove(&number);
            let mut value = std::mem::take(&mut self.value);
            packs::write(pack, &mut value);
            let outcome = (self.write)(&any.key(number), Change::Put(&value));
            self.value = value;
            outcome?;
        }
        before.into_iter().try_for_each(|gone| (self.write)(&any.key(gone), Change::Remove))
    }
}
