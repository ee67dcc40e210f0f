//! What a data folder says of itself: how many shards its rows are spread over, and how many
//! lanes its message ids are minted in. Plain data and its checks.
//!
//! Invariants:
//! 1. A start never changes a folder's shard count: another count would look for users where they
//!    are not. A reshard writes all rows anew, for the next generation, which begins with a new
//!    manifest.
//! 2. A manifest of a newer format, or one that cannot be read whole, is refused.
//! 3. Lanes are a power of two and at least one for each shard.
//!
//! How often a shard was started, its epoch, changes and is therefore none of these facts: it is a
//! row of the shard (`Kind::Epoch`), and `anser-tools inspect manifest` tells both.
//!
//! Left to others: files and the lock (`node::data_folder`).

use crate::limits::SHARDS_MAX;
use crate::store::seal;
use serde::{Deserialize, Serialize};

/// The format that this server writes. Since 6 large values lie apart from tables.
pub const FORMAT: u32 = 6;
/// The oldest that it reads. A folder goes on in its own format until its rows are written anew.
pub const OLDEST: u32 = 5;

/// Facts of a data folder that never change.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The layout of the whole folder.
    pub format: u32,
    /// Shards that the users are spread over.
    pub shards: u16,
    /// Lanes of message ids: a power of two, at least one a shard.
    pub lanes: u16,
    /// This server among many; 0 until there are many.
    pub node: u16,
    /// Which folder it is: those that were restored from its backups are the same one, grown
    /// older. 0: nobody knows, it was made before folders were told apart.
    #[serde(default)]
    pub id: u64,
    /// How often all rows were written anew for another shard count. Says which folders hold them.
    #[serde(default)]
    pub generation: u32,
}

/// Only the part that every format has.
#[derive(Deserialize)]
struct Header {
    format: u32,
}

/// Why a data folder is not used. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not TOML, or not with the keys of a manifest.
    #[error("its manifest.toml cannot be read: put it back from a copy")]
    Unreadable(#[source] Box<toml::de::Error>),
    /// Readable, and no server wrote it.
    #[error("its manifest.toml is wrong, {0}: put it back from a copy")]
    Wrong(&'static str),
    /// Written by a later server.
    #[error("it has format {found} and this server reads up to {FORMAT}: start a newer server")]
    Newer {
        /// The folder's format.
        found: u32,
    },
    /// Written by a server before the commit log.
    #[error(
        "it has format {found} and this server reads from {OLDEST} on: start the server that wrote \
         it, or give another --data-dir"
    )]
    Older {
        /// The folder's format.
        found: u32,
    },
    /// The count that was asked for is not the folder's.
    #[error(
        "it was made with {made} shards and you asked for {asked}: start with --shards {made}, \
         or run `anser reshard --shards {asked}` on it first"
    )]
    OtherShards {
        /// The folder's count.
        made: u16,
        /// The one asked for.
        asked: u16,
    },
    /// A new folder cannot be made with this count.
    #[error("it cannot have {asked} shards: ask for 1 to {SHARDS_MAX}")]
    Shards {
        /// The count asked for.
        asked: u16,
    },
}

impl Manifest {
    /// A new folder's manifest.
    pub fn new(shards: u16) -> Result<Manifest, ManifestError> {
        if !(1..=SHARDS_MAX).contains(&shards) {
            return Err(ManifestError::Shards { asked: shards });
        }
        Ok(Manifest {
            format: FORMAT,
            shards,
            lanes: shards.next_power_of_two(),
            node: 0,
            id: 0,
            generation: 0,
        })
    }

    /// The same with an id of 64 random bits, of which a file in TOML holds 63.
    pub fn named(self, random: u64) -> Manifest {
        Manifest { id: random >> 1, ..self }
    }

    /// Reads what [`Manifest::print`] wrote.
    pub fn parse(text: &str) -> Result<Manifest, ManifestError> {
        let unreadable = |error| ManifestError::Unreadable(Box::new(error));
        // Servers before the seal wrote none.
        seal::is_sealed(text).map_err(|seal::Broken| ManifestError::Wrong(seal::BROKEN))?;
        let header: Header = toml::from_str(text).map_err(unreadable)?;
        match header.format {
            found if found > FORMAT => return Err(ManifestError::Newer { found }),
            found @ 1..OLDEST => return Err(ManifestError::Older { found }),
            _ => {}
        }
        let manifest: Manifest = toml::from_str(text).map_err(unreadable)?;
        manifest.check()
    }

    /// The file's text.
    pub fn print(&self) -> String {
        let unless_0 = |name: &str, value: u64| match value {
            0 => String::new(),
            value => format!("{name} = {value}\n"),
        };
        let generation = unless_0("generation", u64::from(self.generation));
        let id = unless_0("id", self.id);
        seal::seal(format!(
            "# Written when this folder was made. Never change it: it says where rows are.\n\
             format = {}\nshards = {}\nlanes = {}\n{id}node = {}\n{generation}",
            self.format, self.shards, self.lanes, self.node
        ))
    }

    /// The manifest of the same rows when they are written anew for `shards`. Lanes never become
    /// fewer.
    pub fn resharded(self, shards: u16) -> Result<Manifest, ManifestError> {
        let Manifest { shards, lanes, .. } = Manifest::new(shards)?;
        let (lanes, generation) = (lanes.max(self.lanes), self.generation + 1);
        Ok(Manifest { format: FORMAT, shards, lanes, generation, ..self })
    }

    /// Refuses a start that asks for another shard count. `None`: the folder's is right.
    pub fn agree(self, asked: Option<u16>) -> Result<Manifest, ManifestError> {
        match asked {
            Some(asked) if asked != self.shards => {
                Err(ManifestError::OtherShards { made: self.shards, asked })
            }
            _ => Ok(self),
        }
    }

    fn check(self) -> Result<Manifest, ManifestError> {
        match self {
            Manifest { format: 0, .. } => Err(ManifestError::Wrong("there is no format 0")),
            Manifest { shards, .. } if !(1..=SHARDS_MAX).contains(&shards) => {
                Err(ManifestError::Wrong("shards is out of range"))
            }
            Manifest { lanes, shards, .. } if !lanes.is_power_of_two() || lanes < shards => {
                Err(ManifestError::Wrong("lanes is not a power of two that covers the shards"))
            }
            Manifest { node, .. } if node != 0 => Err(ManifestError::Wrong("node is not 0")),
            manifest => Ok(manifest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read_again() {
        for shards in [1, 2, 3, 4, 200, 256] {
            let manifest = Manifest::new(shards).expect("a count in range").named(u64::MAX);
            assert_eq!(Manifest::parse(&manifest.print()).expect("just printed"), manifest);
            let later = manifest.resharded(3).expect("a count in range");
            assert_eq!((later.shards, later.generation, later.id), (3, 1, manifest.id));
            assert!(later.lanes >= manifest.lanes && later.lanes >= 3);
            assert_eq!(Manifest::parse(&later.print()).expect("just printed"), later);
        }
    }

    /// Invariant 1 of store::manifest.
    #[test]
    fn a_folders_shard_count_never_changes() {
        let manifest = Manifest::new(2).expect("a count in range");
        assert_eq!(manifest.agree(None).expect("nothing asked"), manifest);
        assert_eq!(manifest.agree(Some(2)).expect("the same"), manifest);
        let refusal = manifest.agree(Some(4)).expect_err("another count").to_string();
        assert!(refusal.contains("made with 2 shards and you asked for 4"), "{refusal}");
        assert!(refusal.contains("--shards 2"), "{refusal}");
        assert!(refusal.contains("anser reshard --shards 4"), "{refusal}");
    }

    /// Invariant 2 of store::manifest.
    #[test]
    fn a_newer_format_is_refused_whatever_else_it_holds() {
        let newer = format!("format = {}\nslots = [1, 2]\n", FORMAT + 1);
        let refusal = Manifest::parse(&newer).expect_err("newer");
        assert!(matches!(refusal, ManifestError::Newer { found } if found == FORMAT + 1));
        let refusal = Manifest::parse("format = 1\nshards = 1\n").expect_err("older");
        assert!(matches!(refusal, ManifestError::Older { found: 1 }), "{refusal}");
        let oldest = Manifest { format: OLDEST, ..Manifest::new(2).expect("a count in range") };
        let read = Manifest::parse(&oldest.print()).expect("it is read");
        assert_eq!((read, read.resharded(2).expect("in range").format), (oldest, FORMAT));
    }

    /// Invariant 2 of store::manifest.
    #[test]
    fn a_manifest_that_cannot_be_read_whole_is_refused() {
        let whole = Manifest::new(2).expect("a count in range").named(1 << 40).print();
        let (bare, _) = whole.trim_end().rsplit_once("# ").expect("it is sealed");
        for cut in
            (0..whole.trim_end().len()).filter(|cut| ![0, 1].contains(&bare.len().abs_diff(*cut)))
        {
            assert!(Manifest::parse(&whole[..cut]).is_err(), "cut at {cut}");
        }
        for at in 0..whole.trim_end().len() {
            for bit in 0..7 {
                let mut bytes = whole.clone().into_bytes();
                bytes[at] ^= 1 << bit;
                let changed = String::from_utf8(bytes).expect("ASCII");
                assert!(Manifest::parse(&changed).is_err(), "bit {bit} of byte {at}: {changed}");
            }
        }
        assert!(Manifest::parse(&format!("{whole}more = 1\n")).is_err());
        Manifest::parse(bare).expect("servers before the seal wrote it so");
        assert!(Manifest::parse(&format!("{bare}more = 1\n")).is_err());
    }

    /// Invariant 3 of store::manifest.
    #[test]
    fn lanes_are_a_power_of_two_that_covers_the_shards() {
        for (shards, lanes) in [(1, 1), (2, 2), (3, 4), (5, 8), (256, 256)] {
            assert_eq!(Manifest::new(shards).expect("in range").lanes, lanes);
        }
        for wrong in [(2, 1), (2, 3), (0, 1), (257, 512)] {
            let right = Manifest::new(2).expect("in range");
            let text = Manifest { shards: wrong.0, lanes: wrong.1, ..right }.print();
            let refusal = Manifest::parse(&text).expect_err("they do not fit");
            assert!(!matches!(refusal, ManifestError::Older { .. }), "{text}: {refusal}");
        }
        assert!(Manifest::new(0).is_err() && Manifest::new(257).is_err());
    }
}
