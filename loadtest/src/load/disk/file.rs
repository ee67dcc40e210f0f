//! A file that is written as the server writes its log: in one write over the same ring at a time,
//! each on the disk when it ends, again and again over the same zeros.

use crate::load::streams::Streams;
use anser::limits::SEGMENT_BYTES;
use anser::node::log_files::{self, LogFiles};
use anser::store::aligned::AlignedBuffer;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// As large as a segment of the server's log. No write is larger.
pub const FILE_BYTES: u64 = SEGMENT_BYTES;
/// The longest wait for the disk before a look whether somebody has asked for the end.
pub const WAIT: Duration = Duration::from_millis(50);
/// The number of the only file.
const FILE: u32 = 0;

/// A file of zeros without a name, to be written over.
pub struct DiskFile {
    files: LogFiles,
    at: u64,
}

impl DiskFile {
    /// Makes it in a folder. It is gone when this is dropped, however this process ends.
    ///
    /// # Errors
    /// When there is no such folder, or no room in it.
    pub fn make(folder: &Path) -> Result<DiskFile> {
        let (number, words) = (std::process::id(), || format!("a file in {}", folder.display()));
        let file = log_files::make(folder, number, FILE_BYTES, |_| ()).with_context(words)?;
        fs::remove_file(log_files::path(folder, number)).with_context(words)?;
        let mut files = LogFiles::new(folder.to_owned());
        files.add(FILE, file);
        Ok(DiskFile { files, at: 0 })
    }

    /// Begins to write all of a buffer. It comes back by [`Streams::written`] when it is on disk.
    ///
    /// # Errors
    /// When it is larger than the file, and those of the ring.
    pub fn write(&mut self, mut buffer: AlignedBuffer, streams: &mut Streams) -> Result<()> {
        buffer.pad();
        let bytes = buffer.len() as u64;
        ensure!(
            bytes <= FILE_BYTES,
            "more is written at once than a file of {FILE_BYTES} bytes holds"
        );
        let at = if self.at + bytes > FILE_BYTES { 0 } else { self.at };
        self.at = at + bytes;
        streams.write(self.files.file(FILE), buffer, at, self.files.durable())
    }

    /// Writes all of a buffer, and gives it back when it is on disk.
    ///
    /// # Errors
    /// The same, and those of the disk.
    pub fn put(&mut self, buffer: AlignedBuffer, streams: &mut Streams) -> Result<AlignedBuffer> {
        self.write(buffer, streams)?;
        loop {
            streams.round(WAIT, |_, _, _| Ok(()))?;
            if let Some(buffer) = streams.written() {
                return Ok(buffer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::Folder;

    #[test]
    fn what_is_written_comes_back_and_the_file_is_used_again() {
        let folder = Folder::new();
        let mut disk = DiskFile::make(folder.path()).expect("a folder of its own");
        let left = fs::read_dir(folder.path()).expect("a folder").count();
        assert_eq!(left, 0, "nobody has to remove it");
        let mut streams = Streams::new().expect("a ring");
        let megabyte = vec![7; 1024 * 1024 - 1];
        for _ in 0..FILE_BYTES / 1024 / 1024 + 2 {
            let mut buffer = AlignedBuffer::with_capacity(0);
            buffer.extend(&megabyte);
            let written = disk.put(buffer, &mut streams).expect("the ring is well");
            assert_eq!(written.bytes()[..megabyte.len()], megabyte);
        }
        assert_eq!(disk.at, 2 * 1024 * 1024);
        let mut larger = AlignedBuffer::with_capacity(0);
        larger.extend(&vec![0; FILE_BYTES as usize + 1]);
        assert!(disk.write(larger, &mut streams).is_err());
        assert!(DiskFile::make(&folder.path().join("none")).is_err());
    }
}
