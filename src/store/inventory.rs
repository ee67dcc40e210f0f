//! What a cut or a backup of a data folder consists of: each file by its path, size and checksum.
//! Plain data and its checks.
//!
//! Invariants:
//! 1. A list of a newer format, or one that cannot be read whole, is refused.
//! 2. A listed path stays within the folder that it is listed for.
//!
//! Left to others: making, copying and checking the files (`view::link`, `node::cuts`,
//! `node::backup`).

use crate::limits::SHARDS_MAX;
use crate::store::seal;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Component, Path};
use xxhash_rust::xxh3::Xxh3Default;

/// The format that is written, and the only one that is read.
pub const FORMAT: u32 = 1;

/// 128 bits of xxh3 over the bytes of a file; the LSM keeps the same of its tables.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Checksum(pub u128);

/// A file of a data folder.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    /// Where it is in the data folder, with `/` between names.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// Of all its bytes.
    pub checksum: Checksum,
}

/// All files of a cut or a backup.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inventory {
    /// The format of this list.
    pub format: u32,
    /// Shards that the data folder has.
    pub shards: u16,
    /// When the cut was begun: ms since 1970.
    pub made_ms: u64,
    /// Up to which of its turns each shard is in it.
    pub positions: Vec<u64>,
    /// Its files.
    #[serde(default)]
    pub files: Vec<Listed>,
}

/// Only the part that every format has.
#[derive(Deserialize)]
struct Head {
    format: u32,
}

/// Why a list is not used.
#[derive(Debug, thiserror::Error)]
pub enum InventoryError {
    /// Not TOML, or not with the keys of a list.
    #[error("it cannot be read: it is damaged")]
    Unreadable(#[source] Box<toml::de::Error>),
    /// Readable, and no server wrote it.
    #[error("it is wrong, {0}: it is damaged")]
    Wrong(&'static str),
    /// Written by a later server.
    #[error("it has format {found} and this program reads up to {FORMAT}: take a newer one")]
    Newer {
        /// Its format.
        found: u32,
    },
}

/// What is not the checksum of a file.
#[derive(Debug, thiserror::Error)]
#[error("a checksum is 32 hexadecimal digits")]
pub struct NoChecksum;

impl fmt::Display for Checksum {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", self.0)
    }
}

impl From<Checksum> for String {
    fn from(checksum: Checksum) -> String {
        checksum.to_string()
    }
}

impl TryFrom<String> for Checksum {
    type Error = NoChecksum;

    fn try_from(text: String) -> Result<Checksum, NoChecksum> {
        let is_whole = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u128::from_str_radix(&text, 16).ok().filter(|_| is_whole);
        number.map(Checksum).ok_or(NoChecksum)
    }
}

/// A checksum being made.
#[derive(Default)]
pub struct Summer(Xxh3Default);

impl Summer {
    /// Takes more bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum of all bytes taken.
    pub fn sum(&self) -> Checksum {
        Checksum(self.0.digest128())
    }
}

/// The checksum of some bytes.
pub fn checksum(bytes: &[u8]) -> Checksum {
    let mut summer = Summer::default();
    summer.add(bytes);
    summer.sum()
}

impl Inventory {
    /// Reads what [`Inventory::print`] wrote.
    pub fn parse(text: &str) -> Result<Inventory, InventoryError> {
        let unreadable = |error| InventoryError::Unreadable(Box::new(error));
        let Head { format } = toml::from_str(text).map_err(unreadable)?;
        if format > FORMAT {
            return Err(InventoryError::Newer { found: format });
        }
        match seal::is_sealed(text) {
            Ok(true) => {}
            Ok(false) => return Err(InventoryError::Wrong("it has no end")),
            Err(seal::Broken) => return Err(InventoryError::Wrong(seal::BROKEN)),
        }
        let inventory: Inventory = toml::from_str(text).map_err(unreadable)?;
        inventory.check()
    }

    /// The file's text; its last line seals the others.
    pub fn print(&self) -> String {
        seal::seal(toml::to_string(self).expect("numbers and short texts can be written"))
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    fn check(self) -> Result<Inventory, InventoryError> {
        let stays = |file: &Listed| {
            let mut parts = Path::new(&file.path).components();
            !file.path.is_empty() && parts.all(|part| matches!(part, Component::Normal(_)))
        };
        match () {
            () if self.format == 0 => Err(InventoryError::Wrong("there is no format 0")),
            () if !(1..=SHARDS_MAX).contains(&self.shards) => {
                Err(InventoryError::Wrong("shards is out of range"))
            }
            () if self.positions.len() != usize::from(self.shards) => {
                Err(InventoryError::Wrong("not every shard has its position"))
            }
            () if !self.files.iter().all(stays) => {
                Err(InventoryError::Wrong("a path leads out of the folder"))
            }
            () => Ok(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inventory(paths: &[&str]) -> Inventory {
        let listed = |path: &&str| Listed {
            path: (*path).to_owned(),
            bytes: 3,
            checksum: checksum(path.as_bytes()),
        };
        let files = paths.iter().map(listed).collect();
        Inventory { format: FORMAT, shards: 2, made_ms: 7, positions: vec![1, 2], files }
    }

    #[test]
    fn what_is_printed_is_read_again() {
        for paths in [&[][..], &["manifest.toml", "shard-0/rows/version"]] {
            let inventory = inventory(paths);
            let read = Inventory::parse(&inventory.print()).expect("just printed");
            assert_eq!((read.bytes(), &read), (3 * paths.len() as u64, &inventory));
        }
    }

    /// Invariant 1 of store::inventory.
    #[test]
    fn what_is_newer_cut_off_or_changed_is_refused() {
        let text = inventory(&["a", "b/c"]).print();
        for cut in 0..text.trim_end().len() {
            assert!(Inventory::parse(&text[..cut]).is_err(), "cut at {cut}");
        }
        for at in 0..text.trim_end().len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let changed = String::from_utf8(bytes).expect("ASCII");
            assert!(Inventory::parse(&changed).is_err(), "changed at {at}");
        }
        let newer = text.replacen("format = 1", "format = 2", 1);
        assert!(matches!(Inventory::parse(&newer), Err(InventoryError::Newer { found: 2 })));
    }

    /// Invariant 2 of store::inventory.
    #[test]
    fn a_path_that_leads_out_of_the_folder_is_refused() {
        for path in ["/etc/passwd", "../a", "a/../../b", "", "./a"] {
            let refused = Inventory::parse(&inventory(&[path]).print());
            assert!(matches!(refused, Err(InventoryError::Wrong(_))), "{path}");
        }
    }
}
