//! Writes and syncs of the commit log on a shard's ring.
//!
//! Invariants:
//! 1. One write is in flight at most; it completes when all of it is done, or when some of it
//!    failed.
//! 2. The buffer of a write belongs to the ring until its completion.
//! 3. A write that is to be on disk completes when the disk has said so: of the write itself, or of
//!    the flush behind it.
//!
//! Syncs are not counted here: `store::log` asks for one at a time.

use super::{Completion, Kind, Ring, Token};
use crate::store::aligned::{AlignedBuffer, BLOCK_BYTES};
use io_uring::opcode;
use io_uring::types::{Fd, FsyncFlags};
use rustix::fd::{AsRawFd, BorrowedFd, RawFd};
use rustix::io::{Errno, ReadWriteFlags};
use std::io;

/// When a write completes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Ends {
    /// The kernel has it.
    Written,
    /// It is on disk, in one request (`RWF_DSYNC`).
    #[default]
    Synced,
    /// It is on disk, with a flush (`fdatasync`) behind it. A disk that cannot put a single write
    /// through its cache does the same for the other kind, but the kernel then ends it in a thread
    /// bound to the core of the disk's interrupts, which waits for whatever else runs there.
    Flushed,
}

const NO_TOKEN: Token = Token { index: 0, generation: 0 };

/// A write on its way.
pub(super) struct Writing {
    file: RawFd,
    buffer: AlignedBuffer,
    /// The first byte that is not written yet.
    at: usize,
    offset: u64,
    ends: Ends,
}

impl Writing {
    /// All is written: what is still on its way is the flush behind it.
    fn is_whole(&self) -> bool {
        self.at == self.buffer.len()
    }
}

impl Ring {
    /// Writes `buffer` from its byte `from` on. The file stays open until that completes.
    pub fn write(
        &mut self,
        file: BorrowedFd<'_>,
        buffer: AlignedBuffer,
        from: usize,
        offset: u64,
        ends: Ends,
    ) -> io::Result<()> {
        assert!(self.writing.is_none(), "one write at a time");
        assert!(from < buffer.len(), "a write writes something");
        let file = file.as_raw_fd();
        self.writing = Some(Writing { file, buffer, at: from, offset, ends });
        self.push_write()
    }

    /// Puts what was written to a file on disk.
    pub fn sync_data(&mut self, file: BorrowedFd<'_>) -> io::Result<()> {
        self.push_sync(file.as_raw_fd(), Kind::Sync)
    }

    /// Hands all requests to the kernel now.
    pub fn submit(&mut self) -> io::Result<()> {
        self.enter()
    }

    fn push_write(&mut self) -> io::Result<()> {
        let writing = self.writing.as_ref().expect("only a live write is pushed");
        let rest = &writing.buffer.bytes()[writing.at..];
        let length = u32::try_from(rest.len()).expect("a write is bounded far below 4 GiB");
        let flags = if writing.ends == Ends::Synced { ReadWriteFlags::DSYNC.bits() } else { 0 };
        let entry = opcode::Write::new(Fd(writing.file), rest.as_ptr(), length)
            .offset(writing.offset)
            .rw_flags(flags as i32);
        self.push(entry.build(), Kind::Write, NO_TOKEN)
    }

    /// Puts all that was written on disk; the write completes with it.
    fn push_flush(&mut self) -> io::Result<()> {
        let file = self.writing.as_ref().expect("only a live write is flushed").file;
        self.push_sync(file, Kind::Write)?;
        // It should not wait for the rest of the round.
        self.enter()
    }

    fn push_sync(&mut self, file: RawFd, kind: Kind) -> io::Result<()> {
        let entry = opcode::Fsync::new(Fd(file)).flags(FsyncFlags::DATASYNC);
        self.push(entry.build(), kind, NO_TOKEN)
    }

    /// A part of the write, or all of it, is done, or the flush behind it.
    pub(super) fn write_done(
        &mut self,
        result: Result<u32, Errno>,
    ) -> io::Result<Option<Completion>> {
        let writing = self.writing.as_mut().expect("a completion belongs to a live write");
        if writing.is_whole() {
            if matches!(result, Err(Errno::INTR | Errno::AGAIN)) {
                self.push_flush()?;
                return Ok(None);
            }
            let Writing { buffer, .. } = self.writing.take().expect("it was live just now");
            return Ok(Some(Completion::Written { buffer, result: result.map(drop) }));
        }
        let bytes = result.unwrap_or(0) as usize;
        writing.at += bytes;
        writing.offset += bytes as u64;
        let is_whole = writing.is_whole();
        if matches!(result, Err(Errno::INTR | Errno::AGAIN)) || is_partly_done(bytes, is_whole) {
            self.push_write()?;
            return Ok(None);
        }
        if is_whole && writing.ends == Ends::Flushed {
            self.push_flush()?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::clock::steady_nanos;
    use crate::store::view::tests::TempFolder;
    use rustix::event::{EventfdFlags, eventfd};
    use rustix::fd::AsFd;
    use std::fs::{self, File};

    fn ring() -> Ring {
        let bell = eventfd(0, EventfdFlags::CLOEXEC).expect("an eventfd");
        Ring::new(bell).expect("this machine has io_uring")
    }

    fn blocks(count: usize) -> AlignedBuffer {
        let mut buffer = AlignedBuffer::with_capacity(0);
        (0..count).for_each(|at| buffer.extend(&[(at % 250) as u8; BLOCK_BYTES]));
        buffer
    }

    fn written(ring: &mut Ring) -> (AlignedBuffer, Result<(), Errno>) {
        let (mut all, begun) = (Vec::new(), steady_nanos());
        loop {
            ring.turn(&mut all).expect("the ring turns");
            match all.pop() {
                Some(Completion::Written { buffer, result }) => return (buffer, result),
                Some(other) => panic!("{other:?}"),
                None => assert!(steady_nanos() - begun < 30_000_000_000, "it never ended"),
            }
            std::thread::yield_now();
        }
    }

    /// Invariants 1 and 2 of node::ring::write.
    #[test]
    fn a_write_gives_its_buffer_back_when_all_of_it_is_done_or_it_failed() {
        let (mut ring, folder) = (ring(), TempFolder::new());
        fs::create_dir_all(folder.path()).expect("temporary");
        let path = folder.path().join("file");
        let file = File::create_new(&path).expect("temporary");
        let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("on every Linux");
        for ends in [Ends::Written, Ends::Synced, Ends::Flushed] {
            let buffer = blocks(300);
            let address = buffer.bytes().as_ptr();
            ring.write(file.as_fd(), buffer, BLOCK_BYTES, 0, ends).expect("pushed");
            assert!(ring.writing.is_some(), "the ring has the buffer");
            let (buffer, result) = written(&mut ring);
            assert_eq!((result, buffer.bytes().as_ptr()), (Ok(()), address));
            assert!(fs::read(&path).expect("written") == buffer.bytes()[BLOCK_BYTES..]);
            ring.write(full.as_fd(), buffer, 0, 0, ends).expect("pushed");
            let (buffer, result) = written(&mut ring);
            assert_eq!((result, buffer.bytes().as_ptr()), (Err(Errno::NOSPC), address));
            assert!(ring.writing.is_none());
        }
    }

    /// Invariants 1 and 2 of node::ring::write.
    #[test]
    fn a_write_done_in_part_goes_on_and_a_torn_one_has_failed() {
        let file = File::open("/dev/null").expect("on every Linux");
        let block = BLOCK_BYTES as u32;
        let ends: [(Result<u32, Errno>, Result<(), Errno>); 3] = [
            (Ok(2 * block), Ok(())),
            (Ok(block + 1), Err(Errno::NOSPC)),
            (Err(Errno::IO), Err(Errno::IO)),
        ];
        for (last, expected) in ends {
            // Nothing is handed to the kernel: the test says how far it got.
            let mut ring = ring();
            ring.write(file.as_fd(), blocks(4), BLOCK_BYTES, 0, Ends::Synced).expect("pushed");
            for so_far in [Err(Errno::INTR), Ok(block)] {
                assert!(ring.write_done(so_far).expect("pushed again").is_none());
            }
            let writing = ring.writing.as_ref().expect("it goes on");
            assert_eq!((writing.at, writing.offset), (2 * BLOCK_BYTES, u64::from(block)));
            let done = ring.write_done(last).expect("no push");
            let Some(Completion::Written { buffer, result }) = done else { panic!("{done:?}") };
            assert_eq!((result, buffer.len()), (expected, 4 * BLOCK_BYTES));
        }
    }

    /// Invariant 3 of node::ring::write.
    #[test]
    fn what_is_flushed_completes_with_the_flush_and_not_before() {
        let file = File::open("/dev/null").expect("on every Linux");
        let bytes = 4 * BLOCK_BYTES as u32;
        for (flush, expected) in [(Ok(0), Ok(())), (Err(Errno::IO), Err(Errno::IO))] {
            let mut ring = ring();
            ring.write(file.as_fd(), blocks(4), 0, 0, Ends::Flushed).expect("pushed");
            assert!(ring.write_done(Ok(bytes)).expect("pushed").is_none(), "it is only written");
            assert!(ring.write_done(Err(Errno::INTR)).expect("pushed again").is_none());
            let done = ring.write_done(flush).expect("no push");
            let Some(Completion::Written { result, .. }) = done else { panic!("{done:?}") };
            assert_eq!(result, expected);
        }
        let mut ring = ring();
        ring.write(file.as_fd(), blocks(4), 0, 0, Ends::Flushed).expect("pushed");
        let done = ring.write_done(Err(Errno::NOSPC)).expect("nothing is flushed");
        assert!(matches!(done, Some(Completion::Written { result: Err(Errno::NOSPC), .. })));
    }

    /// Invariant 1 of node::ring::write.
    #[test]
    #[should_panic(expected = "one write at a time")]
    fn a_second_write_is_refused_while_one_is_in_flight() {
        let (mut ring, file) = (ring(), File::open("/dev/null").expect("on every Linux"));
        for _ in 0..2 {
            ring.write(file.as_fd(), blocks(1), 0, 0, Ends::Synced).expect("pushed");
        }
    }
}
