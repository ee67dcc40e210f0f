//! Contents apart from the tables: large values lie in files of their own, and a table says where.
//!
//! Nine tenths of what tables hold are packs of messages, which nobody changes; yet each merge
//! wrote them again. Kept apart they are written once and merges move keys (WiscKey's idea; the
//! files are the LSM's). The LSM reads them under the lock that readers must not wait for, so they
//! are read here.
//!
//! Invariants:
//! 1. What is read is what was written, or an error: each value has a checksum, over its key, too.
//! 2. Contents lie apart only from tables of `APART_TABLE_BYTES` or more: no merge makes few files
//!    of many, and a table is made every few seconds, however little it holds.
//! 3. What was removed leaves the disk: of a file of which a quarter or more is stale, a merge of
//!    all that speak of it keeps the rest, in another file.
//!
//! A file and its name are synced before a list of tables speaks of it.
//!
//! Left to others: when a merge should free what was removed (`view::tiers`).
//!
//! What is relied on here and is no promise of the LSM: what stands before a value in a file, how a
//! place is written, which files a merge writes anew.

use crate::limits::APART_BYTES;
use fjall::{CompressionType, KvSeparationOptions};
use lsm_tree::blob_tree::FragmentationMap;
use lsm_tree::{
    AbstractTree, AnyTree, BlobFile, Checksum, DescriptorTable, Error, GlobalTableId,
    InternalValue, Tree, TreeId, UserValue, ValueType, file,
};
use std::fs::File;
use std::io;
use std::sync::Arc;
use varint_rs::VarintReader;
use xxhash_rust::xxh3::xxh3_128;

/// What stands before each value: this, a checksum, what nobody needs, and the key's bytes.
const MAGIC: &[u8] = b"BLOB";
const CHECKSUM_BYTES: usize = size_of::<u128>();
const HEAD_BYTES: usize = MAGIC.len() + CHECKSUM_BYTES + 18;
/// A file is stale when one of so many parts of it was removed. A store keeps the one that it was
/// made with.
const STALE_PART: u64 = 4;

/// How a new store keeps contents apart.
pub(super) fn options() -> KvSeparationOptions {
    KvSeparationOptions::default()
        .compression(CompressionType::None)
        .separation_threshold(APART_BYTES)
        .staleness_threshold(1.0 / STALE_PART as f32)
        // All such files, not the oldest of them alone.
        .age_cutoff(1.0)
}

/// A file of which enough was removed to write the rest of it anew.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stale {
    pub file: u64,
    /// Bytes that were removed.
    pub bytes: u64,
    /// Bytes that were not.
    pub rest: u64,
}

/// The stale files of a tree. Costs a call of the system for each of which anything was removed.
pub(super) fn stale(tree: &AnyTree) -> Vec<Stale> {
    let version = tree.current_version();
    let look = |(file, removed): (&u64, &_)| {
        // The LSM tells no more than sums.
        let mut alone = FragmentationMap::default();
        alone.insert(*file, *removed);
        let bytes = alone.stale_bytes();
        let all = std::fs::metadata(version.blob_files.get(*file)?.path()).ok()?.len();
        let rest = all.saturating_sub(bytes);
        (bytes * STALE_PART >= all).then_some(Stale { file: *file, bytes, rest })
    };
    version.gc_stats().iter().filter_map(look).collect()
}

/// The tables alone. Whoever makes a table through them puts all of its values into it.
pub(super) fn tables(tree: &AnyTree) -> &Tree {
    match tree {
        AnyTree::Standard(tree) => tree,
        AnyTree::Blob(tree) => &tree.index,
    }
}

/// The contents that one list of tables speaks of.
pub(super) struct Contents {
    tree: TreeId,
    /// A file by its number, as long as the list names it.
    file: Box<dyn Fn(u64) -> Option<BlobFile> + Send + Sync>,
    /// Files that are open; those of tables are among them.
    opened: Option<Arc<DescriptorTable>>,
}

/// Where a value lies.
struct Place {
    offset: u64,
    file: u64,
    bytes: u32,
}

impl Place {
    fn parse(mut place: &[u8]) -> io::Result<Place> {
        let place = &mut place;
        let (offset, file) = (place.read_u64_varint()?, place.read_u64_varint()?);
        Ok(Place { offset, file, bytes: place.read_u32_varint()? })
    }
}

impl Contents {
    /// Those of a tree, whose list knows its files by their numbers.
    pub fn of(
        tree: &AnyTree,
        file: impl Fn(u64) -> Option<BlobFile> + Send + Sync + 'static,
    ) -> Contents {
        let opened = tables(tree).config.descriptor_table.clone();
        Contents { tree: tree.id(), file: Box::new(file), opened }
    }

    /// The row as if its value lay in the table. Reads the disk if it lies apart.
    pub fn resolve(&self, mut row: InternalValue) -> lsm_tree::Result<InternalValue> {
        if row.key.value_type == ValueType::Indirection {
            row.value = self.read(&row)?;
        }
        Ok(row)
    }

    fn read(&self, row: &InternalValue) -> lsm_tree::Result<UserValue> {
        let place = Place::parse(&row.value)?;
        let file = (self.file)(place.file).ok_or(Error::Unrecoverable)?;
        let key = &row.key.user_key[..];
        let before = HEAD_BYTES + key.len();
        let length = before + place.bytes as usize;
        let stored = file::read_exact(&*self.open(&file)?, place.offset, length)?;
        let checksum = stored[MAGIC.len()..].first_chunk().map(|it| u128::from_le_bytes(*it));
        let (Some(expected), true) = (checksum, stored.starts_with(MAGIC)) else {
            return Err(Error::InvalidHeader("Blob"));
        };
        let got = xxh3_128(&stored[HEAD_BYTES..]);
        if stored[HEAD_BYTES..before] != *key {
            return Err(Error::InvalidHeader("Blob"));
        }
        if got != expected {
            let (got, expected) = (Checksum::from_raw(got), Checksum::from_raw(expected));
            return Err(Error::ChecksumMismatch { got, expected });
        }
        Ok(UserValue::new(&stored[before..]))
    }

    fn open(&self, file: &BlobFile) -> io::Result<Arc<File>> {
        let id = GlobalTableId::from((self.tree, file.id()));
        if let Some(opened) = self.opened.as_ref().and_then(|it| it.access_for_blob_file(&id)) {
            return Ok(opened);
        }
        let opened = Arc::new(File::open(file.path())?);
        if let Some(all) = &self.opened {
            all.insert_for_blob_file(id, opened.clone());
        }
        Ok(opened)
    }
}
