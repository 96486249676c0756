//! Sending with `SENDMSG` through a ring, up to 32 bursts a system call.
//!
//! A ring of its own: receiving is announced through an eventfd, and completed sends must not wake anybody.
#![allow(unsafe_code)]

use std::{io, mem::ManuallyDrop, net::SocketAddr, os::fd::AsRawFd, rc::Rc};

use io_uring::{IoUring, opcode, types::Fd};

use crate::{
    BoundSockets, Counters, OpenError, Outbound, SLOT_LEN, SocketIndex, envelope::Envelope, region::Region,
};

/// Send slots. With `MSG_DONTWAIT` a send completes while it is submitted, so hardly more than [`SUBMIT_AT`] are ever
/// away at once.
const SLOTS: u16 = 64;
/// Sends that are handed over together without being asked to.
const SUBMIT_AT: usize = 32;
/// One page more than a slot, so that the slots' beginnings fall into different sets of the cache.
const SLOT_STRIDE: usize = SLOT_LEN + 4096;

/// The sending half on a ring.
pub struct RingOutbound {
    ring: ManuallyDrop<IoUring>,
    memory: ManuallyDrop<Region>,
    /// One for each slot. Their headers point into themselves, so the box is never moved out of or replaced.
    envelopes: ManuallyDrop<Box<[Envelope]>>,
    sockets: Rc<BoundSockets>,
    /// Slots that neither the caller nor the kernel has. The last one given back goes first: it is in the cache.
    free: Vec<u16>,
    /// The slot that the caller has.
    taken: Option<u16>,
    queued: usize,
    counters: Counters,
}

impl std::fmt::Debug for RingOutbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RingOutbound")
            .field("free", &self.free.len())
            .finish_non_exhaustive()
    }
}

impl RingOutbound {
    pub(crate) fn new(sockets: Rc<BoundSockets>) -> Result<Self, OpenError> {
        let failed = |step| move |source| OpenError::Uring { step, source };
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_coop_taskrun()
            .setup_submit_all()
            .setup_cqsize(2 * u32::from(SLOTS))
            .dontfork()
            .build(u32::from(SLOTS))
            .map_err(failed("send ring"))?;
        let memory = Region::new(usize::from(SLOTS) * SLOT_STRIDE).map_err(failed("send slots"))?;
        let envelopes: Box<[Envelope]> = (0..SLOTS).map(|_| Envelope::empty()).collect();
        Ok(Self {
            ring: ManuallyDrop::new(ring),
            memory: ManuallyDrop::new(memory),
            envelopes: ManuallyDrop::new(envelopes),
            sockets,
            free: (0..SLOTS).rev().collect(),
            taken: None,
            queued: 0,
            counters: Counters::default(),
        })
    }

    fn in_flight(&self) -> usize {
        usize::from(SLOTS) - self.free.len() - usize::from(self.taken.is_some())
    }

    /// Takes the slots back whose sends have completed.
    fn reap(&mut self) {
        let Self {
            ring,
            memory,
            envelopes,
            sockets,
            free,
            counters,
            ..
        } = self;
        for completion in ring.completion() {
            let Ok(slot) = u16::try_from(completion.user_data()) else {
                continue;
            };
            let Some(envelope) = envelopes.get(usize::from(slot)) else {
                continue;
            };
            let result = match completion.result() {
                error @ ..0 => Err(io::Error::from_raw_os_error(-error)),
                _ => Ok(()),
            };
            if let Some(socket) = sockets.get(envelope.socket) {
                // SAFETY: the send of this slot has completed (this is its completion), so the kernel is done with it,
                // and the slot is not free yet, so the caller doesn't have it.
                let bytes = unsafe { memory.slice_mut(usize::from(slot) * SLOT_STRIDE, envelope.len) };
                envelope.settle(result, socket, bytes, counters);
            }
            free.push(slot);
        }
    }
}

impl Outbound for RingOutbound {
    fn slot(&mut self) -> Option<&mut [u8]> {
        if self.taken.is_none() {
            if self.free.is_empty() {
                self.submit();
            }
            self.taken = self.free.pop();
        }
        let Some(slot) = self.taken else {
            self.counters.dropped_no_slot += 1;
            return None;
        };
        // SAFETY: a slot is taken from `free`, where it comes only by its completion: the kernel doesn't have it.
        Some(unsafe { self.memory.slice_mut(usize::from(slot) * SLOT_STRIDE, SLOT_LEN) })
    }

    fn send(&mut self, socket: SocketIndex, to: SocketAddr, len: usize, segment: usize) {
        let index = usize::from(socket.0);
        let (Some(fd), Some(slot)) = (self.sockets.get(index).map(AsRawFd::as_raw_fd), self.taken) else {
            debug_assert!(
                false,
                "a send to socket {index} without a slot, or there is no such socket"
            );
            return;
        };
        let len = len.min(SLOT_LEN);
        let bytes = self.memory.address(usize::from(slot) * SLOT_STRIDE, SLOT_LEN);
        let envelope = &mut self.envelopes[usize::from(slot)];
        let header = envelope.address_to(index, to, bytes, len, segment);
        let entry = opcode::SendMsg::new(Fd(fd), header)
            .flags(libc::MSG_DONTWAIT.cast_unsigned())
            .build()
            .user_data(u64::from(slot));
        // SAFETY: the header, what it points to in the boxed envelope, and the slot's bytes stay in place and are not
        // written to until the completion has put the slot back on `free` (`slot` and `send` only use slots from
        // there); `drop` waits for all completions or leaks them. The socket stays open as long (`sockets`).
        let pushed = unsafe { self.ring.submission().push(&entry) };
        // The queue has an entry for each slot, and each slot at most one send in it.
        debug_assert!(pushed.is_ok(), "submission queue is full");
        if pushed.is_ok() {
            self.taken = None;
            self.queued += 1;
        }
        if self.queued >= SUBMIT_AT {
            self.submit();
        }
    }

    fn submit(&mut self) {
        if self.queued > 0 {
            match self.ring.submit() {
                Ok(submitted) => self.queued = self.queued.saturating_sub(submitted),
                // The sends stay queued for the next call.
                Err(_) => self.counters.submit_errors += 1,
            }
        }
        self.reap();
    }

    fn counters(&self) -> Counters {
        self.counters
    }
}

impl Drop for RingOutbound {
    fn drop(&mut self) {
        self.submit();
        // Sends don't wait for anything, so this ends at once; a broken ring ends it too.
        for _ in 0..SLOTS {
            if self.in_flight() == 0 || self.ring.submit_and_wait(1).is_err() {
                break;
            }
            self.reap();
        }
        if self.in_flight() > 0 {
            tracing::error!("sends did not complete; their memory is left alone");
            return;
        }
        // SAFETY: each is dropped once, here, and not used again; no send is in flight, so the kernel has no pointer
        // into them.
        unsafe {
            ManuallyDrop::drop(&mut self.ring);
            ManuallyDrop::drop(&mut self.envelopes);
            ManuallyDrop::drop(&mut self.memory);
        }
    }
}
