//! Page-aligned memory that the kernel and this process share by address.
#![allow(unsafe_code)]

use std::{io, ptr::NonNull};

/// One anonymous private mapping. Its pages are zero and take memory only once they are touched. It never moves.
#[derive(Debug)]
pub(crate) struct Region {
    base: NonNull<u8>,
    len: usize,
}

impl Region {
    pub(crate) fn new(len: usize) -> io::Result<Self> {
        // SAFETY: an anonymous mapping at an address of the kernel's choice touches no memory that exists already.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or_else(|| io::Error::other("mmap answered address 0"))?;
        Ok(Self { base, len })
    }

    /// Address of a stretch that lies inside the mapping.
    pub(crate) fn address(&self, offset: usize, len: usize) -> *mut u8 {
        assert!(
            offset.checked_add(len).is_some_and(|end| end <= self.len),
            "{offset}+{len} outside of {}",
            self.len
        );
        // SAFETY: offset <= self.len (asserted), so the result stays within, or one past, the mapping made in `new`.
        unsafe { self.base.as_ptr().add(offset) }
    }

    /// A stretch of it.
    ///
    /// # Safety
    /// For the life of the slice the kernel must not write to the stretch: no operation that has been given it may
    /// be in flight.
    pub(crate) unsafe fn slice_mut(&mut self, offset: usize, len: usize) -> &mut [u8] {
        // SAFETY: `address` checks the bounds; the pages are mapped read-write, zeroed at first, and no other Rust
        // reference exists (`&mut self`); the caller keeps the kernel away.
        unsafe { std::slice::from_raw_parts_mut(self.address(offset, len), len) }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: `base` and `len` are exactly what `mmap` was given; no slice outlives `self`, and the owners
        // (rings, batches) end kernel operations on it first or leak it.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}
