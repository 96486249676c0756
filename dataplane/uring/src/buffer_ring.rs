//! Receive buffers that the kernel picks from by itself (io_uring_register_buf_ring(3)).
//!
//! A buffer belongs to the kernel from [`BufferRing::recycle`] until a completion names it, and to this process from
//! then until the next `recycle`.
#![allow(unsafe_code)]

use std::{
    io,
    sync::atomic::{AtomicU16, Ordering},
};

use io_uring::{Submitter, types::BufRingEntry};

use crate::region::Region;

/// Buffers of a ring, a power of two. Each holds one datagram or one train; more wait in the sockets.
pub(crate) const BUFFERS: u16 = 256;
/// The longest train (65,535 bytes) and what the kernel puts before it. One page more than 64 KiB, so that a small
/// datagram touches one page and the buffers' beginnings fall into different sets of the cache.
pub(crate) const BUFFER_LEN: usize = BUFFER_BYTES as usize;
const BUFFER_BYTES: u32 = 17 * 4096;
/// The only group of this ring.
pub(crate) const GROUP: u16 = 0;

#[derive(Debug)]
pub(crate) struct BufferRing {
    entries: Region,
    buffers: Region,
    tail: u16,
}

impl BufferRing {
    pub(crate) fn new() -> io::Result<Self> {
        let entries = Region::new(usize::from(BUFFERS) * size_of::<BufRingEntry>())?;
        let buffers = Region::new(usize::from(BUFFERS) * BUFFER_LEN)?;
        Ok(Self {
            entries,
            buffers,
            tail: 0,
        })
    }

    /// Makes all buffers known to the ring and gives them to the kernel.
    ///
    /// # Safety
    /// `self` must not be dropped before the ring behind `submitter` is gone or has no receive operation left.
    pub(crate) unsafe fn register(&mut self, submitter: &Submitter<'_>) -> io::Result<()> {
        let base = self
            .entries
            .address(0, usize::from(BUFFERS) * size_of::<BufRingEntry>());
        // SAFETY: the entries are page-aligned (a mapping's begin), as many as announced, and live long enough by this
        // function's own contract.
        unsafe { submitter.register_buf_ring_with_flags(base as u64, BUFFERS, GROUP, 0)? };
        for id in 0..BUFFERS {
            self.recycle(id);
        }
        self.publish();
        Ok(())
    }

    fn buffer_offset(id: u16) -> usize {
        usize::from(id) * BUFFER_LEN
    }

    /// Gives a buffer back; the kernel sees it after [`BufferRing::publish`].
    pub(crate) fn recycle(&mut self, id: u16) {
        let address = self.buffers.address(Self::buffer_offset(id), BUFFER_LEN) as u64;
        let slot = usize::from(self.tail & (BUFFERS - 1));
        let size = size_of::<BufRingEntry>();
        let entry = self.entries.address(slot * size, size).cast::<BufRingEntry>();
        // SAFETY: the address is within the entries (checked by `address`) and aligned, since the base is page-aligned
        // and the offset a multiple of the entry's size; zeroed memory is a valid entry. The kernel doesn't read
        // entries at or after the published tail, and there are never more than BUFFERS buffers to give back, so
        // this one is not in its hands. The setters leave the tail alone that lies in entry 0's last bytes.
        let entry = unsafe { &mut *entry };
        entry.set_addr(address);
        entry.set_len(BUFFER_BYTES);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Shows the kernel all buffers given back so far.
    pub(crate) fn publish(&mut self) {
        let base = self
            .entries
            .address(0, size_of::<BufRingEntry>())
            .cast::<BufRingEntry>();
        // SAFETY: `base` is the first entry, initialised (zeroed mapping), and aligned for a u16 inside of it. The
        // kernel only reads the tail, with acquire semantics, to which this release store is the counterpart.
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(base).cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }

    /// The first `len` bytes of a buffer that a completion named.
    ///
    /// # Safety
    /// A completion must have named `id`, and it must not have been recycled since.
    pub(crate) unsafe fn filled(&mut self, id: u16, len: usize) -> &mut [u8] {
        // SAFETY: between completion and `recycle` the kernel doesn't touch the buffer; the caller keeps to that span.
        unsafe {
            self.buffers
                .slice_mut(Self::buffer_offset(id), len.min(BUFFER_LEN))
        }
    }
}
