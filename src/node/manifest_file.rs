//! The manifest's file, and the second copy of it: without it a folder's rows are found by nobody.
//!
//! Invariants:
//! 1. The manifest is there whole or not at all, and so is its copy.
//! 2. A manifest that is damaged or gone is put back from a copy that is whole. Where there is no
//!    such copy it is refused; it is never made anew beside a copy.
//! 3. A copy is of the manifest in force: before another one is written the copy goes.
//!
//! Left to others: who may use a folder (`node::data_folder`), what a manifest means
//! (`store::manifest`).

use crate::node::data_folder::write_whole;
use crate::store::manifest::{Manifest, ManifestError};
use std::fs::{self, File};
use std::io;
use std::path::Path;

/// The name of a data folder's manifest.
pub const MANIFEST: &str = "manifest.toml";
/// The name of its second copy.
pub const COPY: &str = "manifest.copy.toml";

/// Why a manifest is not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The operating system refused.
    #[error(transparent)]
    System(#[from] io::Error),
    /// It says no, or is damaged.
    #[error(transparent)]
    Refused(#[from] ManifestError),
}

/// What was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Found {
    /// The manifest in force.
    pub manifest: Manifest,
    /// It was damaged or gone, and is put back.
    pub is_mended: bool,
}

/// Whether a folder has a manifest, or a copy of one.
pub fn is_there(folder: &Path) -> io::Result<bool> {
    let exists = |name| match folder.join(name).try_exists() {
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(false),
        found => found,
    };
    Ok(exists(MANIFEST)? || exists(COPY)?)
}

/// Reads a folder's manifest, and puts back what of both is damaged or gone. `None`: it never had
/// one. Whoever calls this holds the folder's lock.
pub fn open(folder: &Path) -> Result<Option<Found>, ReadError> {
    let (first, copy) = (read(folder, MANIFEST), read(folder, COPY));
    match (first, copy) {
        (Ok(None), Ok(None)) => Ok(None),
        (Ok(Some((text, manifest))), copy) => {
            let is_copied = copy.is_ok_and(|copy| copy.is_some_and(|(copy, _)| copy == text));
            if !is_copied {
                // Without room for it, it is written at a later start.
                let _ = write_whole(folder, COPY, &text);
            }
            Ok(Some(Found { manifest, is_mended: false }))
        }
        (Err(refusal), _) if !refusal.is_damage() => Err(refusal),
        (_, Ok(Some((text, manifest)))) => {
            write_whole(folder, MANIFEST, &text)?;
            Ok(Some(Found { manifest, is_mended: true }))
        }
        (Err(refusal), _) | (_, Err(refusal)) => Err(refusal),
    }
}

/// The text of a folder's manifest, from whichever of both is whole, while a server uses it.
pub fn text(folder: &Path) -> Result<String, ReadError> {
    let gone = || io::Error::from(io::ErrorKind::NotFound).into();
    match (read(folder, MANIFEST), read(folder, COPY)) {
        (Ok(Some((text, _))), _) | (_, Ok(Some((text, _)))) => Ok(text),
        (Err(refusal), _) => Err(refusal),
        (Ok(None), _) => Err(gone()),
    }
}

/// Makes this the manifest of a folder. On disk when this returns.
pub fn write(folder: &Path, manifest: &Manifest) -> io::Result<()> {
    match fs::remove_file(folder.join(COPY)) {
        Ok(()) => File::open(folder)?.sync_all()?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let text = manifest.print();
    write_whole(folder, MANIFEST, &text)?;
    write_whole(folder, COPY, &text)
}

impl ReadError {
    /// Whether another copy may help.
    fn is_damage(&self) -> bool {
        use ManifestError::{Unreadable, Wrong};
        matches!(self, ReadError::System(_) | ReadError::Refused(Unreadable(_) | Wrong(_)))
    }
}

/// One of both; `None`: it is not there. Bytes that are no text are damage like any other.
fn read(folder: &Path, name: &str) -> Result<Option<(String, Manifest)>, ReadError> {
    let bytes = match fs::read(folder.join(name)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        bytes => bytes?,
    };
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let manifest = Manifest::parse(&text)?;
    Ok(Some((text, manifest)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::manifest::FORMAT;
    use crate::store::view::tests::TempFolder;

    fn manifest() -> Manifest {
        Manifest::new(3).expect("a count in range").named(1 << 40)
    }

    fn folder() -> TempFolder {
        let folder = TempFolder::new();
        fs::create_dir_all(folder.path()).expect("temporary");
        write(folder.path(), &manifest()).expect("there is room");
        folder
    }

    fn damage(folder: &TempFolder, name: &str) {
        let path = folder.path().join(name);
        let mut bytes = fs::read(&path).expect("it is there");
        bytes[90] ^= 0x80;
        fs::write(path, bytes).expect("temporary");
    }

    fn found(folder: &TempFolder) -> Found {
        open(folder.path()).expect("one of both is whole").expect("it is there")
    }

    /// Invariants 1 and 2 of node::manifest_file.
    #[test]
    fn what_is_damaged_or_gone_is_put_back_from_the_other() {
        let folder = folder();
        let whole = Found { manifest: manifest(), is_mended: false };
        let mended = Found { is_mended: true, ..whole };
        assert_eq!(found(&folder), whole);
        for is_gone in [false, true] {
            for (name, expected) in [(MANIFEST, mended), (COPY, whole)] {
                match is_gone {
                    true => fs::remove_file(folder.path().join(name)).expect("it is there"),
                    false => damage(&folder, name),
                }
                assert!(is_there(folder.path()).expect("temporary"));
                assert_eq!(text(folder.path()).expect("one is whole"), manifest().print());
                assert_eq!(found(&folder), expected, "{name}");
                assert_eq!(found(&folder), whole, "{name} is put back");
            }
        }
    }

    /// Invariant 2 of node::manifest_file.
    #[test]
    fn without_a_whole_copy_it_is_refused_and_never_made_anew() {
        let folder = folder();
        damage(&folder, COPY);
        fs::remove_file(folder.path().join(MANIFEST)).expect("it is there");
        assert!(matches!(open(folder.path()), Err(ReadError::Refused(_))));
        write(folder.path(), &manifest()).expect("there is room");
        for name in [MANIFEST, COPY] {
            damage(&folder, name);
        }
        assert!(matches!(open(folder.path()), Err(ReadError::Refused(_))));
        assert!(text(folder.path()).is_err());
        write(folder.path(), &manifest()).expect("there is room");
        let newer = Manifest { format: FORMAT + 1, ..manifest() }.print();
        fs::write(folder.path().join(MANIFEST), newer).expect("temporary");
        let refusal = open(folder.path()).expect_err("a copy is no way around it");
        assert!(matches!(refusal, ReadError::Refused(ManifestError::Newer { .. })), "{refusal}");
    }

    /// Invariant 3 of node::manifest_file.
    #[test]
    fn a_copy_of_an_earlier_manifest_never_outlives_it() {
        let folder = folder();
        let later = manifest().resharded(2).expect("in range");
        // The power fails when the next manifest is there, and its copy is not.
        fs::create_dir(folder.path().join(format!("{COPY}.new"))).expect("temporary");
        write(folder.path(), &later).expect_err("its copy cannot be written");
        assert!(!folder.path().join(COPY).exists());
        fs::remove_dir(folder.path().join(format!("{COPY}.new"))).expect("temporary");
        assert_eq!(found(&folder).manifest, later);
        damage(&folder, MANIFEST);
        assert_eq!(found(&folder), Found { manifest: later, is_mended: true });
    }
}
