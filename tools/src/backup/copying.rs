//! Bytes on their way, counted and summed up.

use anser::store::inventory::{Checksum, Summer};
use anyhow::Context;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

/// Bytes read at once.
const PART: usize = 1024 * 1024;
/// Bytes that are written before they are synced: what the kernel has to write at once keeps the
/// server's log waiting, where both are on one disk.
const UNSYNCED_MAX: u64 = 4 * 1024 * 1024;

/// What is told of bytes that were read. An error ends it.
pub type Done<'a> = &'a mut dyn FnMut(u64) -> anyhow::Result<()>;

/// What is read from, and its name for people.
pub struct Source<'a> {
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub bytes: Box<dyn Read + 'a>,
}

impl Source<'_> {
    /// A file.
    pub fn file(path: &Path) -> anyhow::Result<Source<'static>> {
        let name = path.display().to_string();
        let file = File::open(path).with_context(|| format!("{name} cannot be read"))?;
        Ok(Source { name, bytes: Box::new(file) })
    }

    /// Reads to the end, or to the first error of `take`. Returns how many bytes there were, and
    /// their checksum.
    fn read(
        &mut self,
        take: &mut dyn FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<(u64, Checksum)> {
        let (mut part, mut bytes, mut summer) = (vec![0; PART], 0, Summer::default());
        loop {
            let length = self.bytes.read(&mut part);
            let length = length.with_context(|| format!("{} cannot be read", self.name))?;
            if length == 0 {
                return Ok((bytes, summer.sum()));
            }
            take(&part[..length])?;
            summer.add(&part[..length]);
            bytes += length as u64;
        }
    }
}

/// The size of what can be read, and its checksum.
pub fn checksum_of(mut from: Source<'_>, done: Done<'_>) -> anyhow::Result<(u64, Checksum)> {
    from.read(&mut |part| done(part.len() as u64))
}

/// Copies to where a file is at, whose path is for people. It is on disk then. Returns the bytes
/// that were read, and their checksum.
pub fn pour(
    mut from: Source<'_>,
    to: &mut File,
    path: &Path,
    done: Done<'_>,
) -> anyhow::Result<(u64, Checksum)> {
    let cannot = || format!("{} cannot be written", path.display());
    let mut unsynced = 0;
    let found = from.read(&mut |part| {
        to.write_all(part).with_context(cannot)?;
        unsynced += part.len() as u64;
        if unsynced >= UNSYNCED_MAX {
            unsynced = 0;
            to.sync_data().with_context(cannot)?;
        }
        done(part.len() as u64)
    })?;
    to.sync_all().with_context(cannot)?;
    Ok(found)
}

/// Copies to a new file; it is on disk then. Returns the bytes that were read, and their checksum.
pub fn copy(from: Source<'_>, to: &Path, done: Done<'_>) -> anyhow::Result<(u64, Checksum)> {
    let cannot = || format!("{} cannot be written", to.display());
    pour(from, &mut File::create(to).with_context(cannot)?, to, done)
}
