//! Writes and syncs of the commit log on a shard's ring.
//!
//! Invariants:
//! 1. One write and one sync are in flight at most; a write completes when all of it is done, or
//!    when some of it failed.
//! 2. The buffer of a write belongs to the ring until its completion.

use super::{Completion, Kind, Ring, Token};
use crate::store::aligned::{AlignedBuffer, BLOCK_BYTES};
use io_uring::opcode;
use io_uring::types::{Fd, FsyncFlags};
use rustix::fd::{AsRawFd, BorrowedFd, RawFd};
use rustix::io::{Errno, ReadWriteFlags};
use std::io;

const NO_TOKEN: Token = Token { index: 0, generation: 0 };

/// A write on its way.
pub(super) struct Writing {
    file: RawFd,
    buffer: AlignedBuffer,
    /// The first byte that is not written yet.
    at: usize,
    offset: u64,
    syncs: bool,
}

impl Ring {
    /// Writes `buffer` from its byte `from` on; with `syncs` it completes when that is on disk.
    /// The file stays open until then.
    pub fn write(
        &mut self,
        file: BorrowedFd<'_>,
        buffer: AlignedBuffer,
        from: usize,
        offset: u64,
        syncs: bool,
    ) -> io::Result<()> {
        assert!(self.writing.is_none(), "one write at a time");
        assert!(from < buffer.len(), "a write writes something");
        let file = file.as_raw_fd();
        self.writing = Some(Writing { file, buffer, at: from, offset, syncs });
        self.push_write()
    }

    /// Puts what was written to a file on disk.
    pub fn sync_data(&mut self, file: BorrowedFd<'_>) -> io::Result<()> {
        let entry = opcode::Fsync::new(Fd(file.as_raw_fd())).flags(FsyncFlags::DATASYNC);
        self.push(entry.build(), Kind::Sync, NO_TOKEN)
    }

    /// Hands all requests to the kernel now.
    pub fn submit(&mut self) -> io::Result<()> {
        self.enter()
    }

    fn push_write(&mut self) -> io::Result<()> {
        let writing = self.writing.as_ref().expect("only a live write is pushed");
        let rest = &writing.buffer.bytes()[writing.at..];
        let length = u32::try_from(rest.len()).expect("a write is bounded far below 4 GiB");
        let flags = if writing.syncs { ReadWriteFlags::DSYNC.bits() } else { 0 };
        let entry = opcode::Write::new(Fd(writing.file), rest.as_ptr(), length)
            .offset(writing.offset)
            .rw_flags(flags as i32);
        self.push(entry.build(), Kind::Write, NO_TOKEN)
    }

    /// A part of the write, or all of it, is done.
    pub(super) fn write_done(
        &mut self,
        result: Result<u32, Errno>,
    ) -> io::Result<Option<Completion>> {
        let writing = self.writing.as_mut().expect("a completion belongs to a live write");
        let bytes = result.unwrap_or(0) as usize;
        writing.at += bytes;
        writing.offset += bytes as u64;
        let is_whole = writing.at == writing.buffer.len();
        if matches!(result, Err(Errno::INTR | Errno::AGAIN)) || is_partly_done(bytes, is_whole) {
            self.push_write()?;
            return Ok(None);
        }
        let Writing { buffer, .. } = self.writing.take().expect("it was live just now");
        let result = if is_whole { Ok(()) } else { Err(result.err().unwrap_or(Errno::NOSPC)) };
        Ok(Some(Completion::Written { buffer, result }))
    }
}

/// Whole blocks were written, and not all of them: the rest can go on as it is.
fn is_partly_done(bytes: usize, is_whole: bool) -> bool {
    !is_whole && bytes > 0 && bytes.is_multiple_of(BLOCK_BYTES)
}
