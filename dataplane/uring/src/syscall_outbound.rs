//! Sending with `sendmsg`: one call a burst, made at once, so one slot is enough.
#![allow(unsafe_code)]

use std::{io, net::SocketAddr, os::fd::AsRawFd, rc::Rc};

use crate::{BoundSockets, Counters, OpenError, Outbound, SLOT_LEN, SocketIndex, envelope::Envelope};

/// The plain sending half.
#[derive(Debug)]
pub struct SyscallOutbound {
    sockets: Rc<BoundSockets>,
    slot: Box<[u8]>,
    envelope: Envelope,
    counters: Counters,
}

impl SyscallOutbound {
    #[allow(clippy::unnecessary_wraps)] // both backends' halves are made alike
    pub(crate) fn new(sockets: Rc<BoundSockets>) -> Result<Self, OpenError> {
        let slot = vec![0; SLOT_LEN].into_boxed_slice();
        Ok(Self {
            sockets,
            slot,
            envelope: Envelope::empty(),
            counters: Counters::default(),
        })
    }
}

impl Outbound for SyscallOutbound {
    fn slot(&mut self) -> Option<&mut [u8]> {
        Some(&mut self.slot)
    }

    fn send(&mut self, socket: SocketIndex, to: SocketAddr, len: usize, segment: usize) {
        let index = usize::from(socket.0);
        let Some(socket) = self.sockets.get(index) else {
            debug_assert!(false, "there is no socket {index}");
            return;
        };
        let len = len.min(SLOT_LEN);
        let header = self
            .envelope
            .address_to(index, to, self.slot.as_mut_ptr(), len, segment);
        // SAFETY: `header` was just filled in: it points to the envelope's address and control message and to `len`
        // bytes of the slot, all owned by `self` and untouched during the call.
        let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), header, libc::MSG_DONTWAIT) };
        let result = if sent < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        };
        self.envelope
            .settle(result, socket, &self.slot, &mut self.counters);
    }

    fn submit(&mut self) {}

    fn counters(&self) -> Counters {
        self.counters
    }
}
