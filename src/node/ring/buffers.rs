//! Receive buffers that a ring and the kernel hand each other.
//!
//! Invariants:
//! 1. Buffers are taken into use only when those in use ran out, and then given out again.
//!
//! Left to others: what arrives in them (`ring`).

// The kernel shares memory with us here: no safe call can say so. Each block states why it holds.
#![allow(unsafe_code)]

use io_uring::IoUring;
use io_uring::types::BufRingEntry;
use std::alloc::{Layout, alloc_zeroed, handle_alloc_error};
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

/// Receive buffers of a ring: a power of two. With none left a receive ends and is armed again.
pub const BUFFERS: u16 = 1024;
/// Those that the kernel fills at first, in turns. Each time they do not suffice they become twice
/// as many: memory is touched as traffic needs it, and stays in the processor's cache.
pub(super) const BUFFERS_AT_FIRST: u16 = 64;
/// Bytes of one receive buffer.
pub const BUFFER_BYTES: usize = 4096;
/// The only group of receive buffers.
pub(super) const GROUP: u16 = 0;

/// A receive buffer with bytes in it, lent by the ring until [`Ring::give_back`].
#[derive(Debug)]
#[must_use = "a buffer that is not given back is lost"]
pub struct Filled {
    pub(super) buffer: u16,
    pub(super) length: u32,
}

impl Filled {
    /// Bytes received.
    pub fn length(&self) -> usize {
        self.length as usize
    }
}

/// Receive buffers and the queue through which the kernel gets them.
pub(super) struct Buffers {
    entries: NonNull<BufRingEntry>,
    bytes: NonNull<u8>,
    tail: u16,
    /// Buffers in use: the others were never offered, and their pages never touched.
    pub(super) used: u16,
    pub(super) ran_out: bool,
}

impl Buffers {
    pub(super) fn new(uring: &IoUring) -> io::Result<Buffers> {
        let entries_size = usize::from(BUFFERS) * size_of::<BufRingEntry>();
        let entries = allocate(entries_size).cast::<BufRingEntry>();
        let bytes = allocate(usize::from(BUFFERS) * BUFFER_BYTES);
        // SAFETY: the memory is page-aligned, large enough, and never freed.
        unsafe {
            uring.submitter().register_buf_ring_with_flags(
                entries.as_ptr() as u64,
                BUFFERS,
                GROUP,
                0,
            )?;
        }
        let mut buffers = Buffers { entries, bytes, tail: 0, used: 0, ran_out: false };
        buffers.use_more(BUFFERS_AT_FIRST);
        Ok(buffers)
    }

    /// Takes twice as many buffers into use if those in use did not suffice since the last call.
    pub(super) fn grow_if_short(&mut self) {
        if std::mem::take(&mut self.ran_out) {
            self.use_more(self.used);
        }
    }

    /// Takes so many more buffers into use, as far as there are more.
    fn use_more(&mut self, count: u16) {
        let used = (self.used + count).min(BUFFERS);
        (self.used..used).for_each(|buffer| self.offer(buffer));
        self.used = used;
    }

    pub(super) fn bytes(&mut self, filled: &mut Filled) -> &mut [u8] {
        assert!(filled.buffer < BUFFERS, "buffers are numbered");
        let start = usize::from(filled.buffer) * BUFFER_BYTES;
        // SAFETY: the buffer lies within the allocation, which was zeroed, so all is initialised.
        let first = unsafe { self.bytes.add(start) };
        // SAFETY: the kernel is done with the buffer until it is offered again, which takes the
        // `Filled` away; nobody else holds it, for a `Filled` cannot be copied.
        unsafe { std::slice::from_raw_parts_mut(first.as_ptr(), filled.length()) }
    }

    pub(super) fn offer(&mut self, buffer: u16) {
        assert!(buffer < BUFFERS, "buffers are numbered");
        let place = usize::from(self.tail & (BUFFERS - 1));
        // SAFETY: the place lies within the allocation of `BUFFERS` entries; the kernel reads it
        // only once the tail has passed it, and then no more than `BUFFERS` are offered.
        let entry = unsafe { self.entries.add(place).as_mut() };
        // SAFETY: the buffer lies within the allocation.
        let first = unsafe { self.bytes.add(usize::from(buffer) * BUFFER_BYTES) };
        entry.set_addr(first.as_ptr() as u64);
        entry.set_len(BUFFER_BYTES as u32);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the base is the first entry of a registered ring.
        let tail = unsafe { BufRingEntry::tail(self.entries.as_ptr()) };
        // SAFETY: the tail is an aligned u16 of that allocation, shared with the kernel alone,
        // which reads it atomically.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }
}

/// Zeroed pages that are never freed.
fn allocate(size: usize) -> NonNull<u8> {
    let layout = Layout::from_size_align(size, 4096).expect("a page-aligned, small size");
    // SAFETY: the size is not zero.
    let memory = unsafe { alloc_zeroed(layout) };
    NonNull::new(memory).unwrap_or_else(|| handle_alloc_error(layout))
}
