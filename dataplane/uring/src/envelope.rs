//! What a `sendmsg` needs besides the bytes: destination, segment size, and the structures that point at them.

use std::{io, net::SocketAddr};

use socket2::{SockAddr, Socket};

use crate::{Counters, address::RawAddress, control::SegmentControl, counters::datagrams};

/// One send. `header` points into its own envelope: it is good from [`Envelope::address_to`] until the envelope moves.
#[repr(C)]
pub(crate) struct Envelope {
    header: libc::msghdr,
    iov: libc::iovec,
    address: RawAddress,
    control: SegmentControl,
    pub(crate) to: SocketAddr,
    pub(crate) socket: usize,
    pub(crate) len: usize,
    pub(crate) segment: usize,
}

impl std::fmt::Debug for Envelope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Envelope")
            .field("len", &self.len)
            .field("segment", &self.segment)
            .finish_non_exhaustive()
    }
}

impl Envelope {
    pub(crate) const fn empty() -> Self {
        Self {
            header: EMPTY_HEADER,
            iov: libc::iovec {
                iov_base: std::ptr::null_mut(),
                iov_len: 0,
            },
            address: RawAddress::empty(),
            control: SegmentControl::new(0),
            to: SocketAddr::V4(std::net::SocketAddrV4::new(std::net::Ipv4Addr::UNSPECIFIED, 0)),
            socket: 0,
            len: 0,
            segment: 0,
        }
    }

    /// Fills it in for a send of `len` bytes at `bytes` and answers the header for the kernel, which may read the
    /// header, the envelope and the bytes until the send has completed.
    pub(crate) fn address_to(
        &mut self,
        socket: usize,
        to: SocketAddr,
        bytes: *mut u8,
        len: usize,
        segment: usize,
    ) -> *const libc::msghdr {
        self.address.set(to);
        (self.to, self.socket, self.len, self.segment) = (to, socket, len, segment);
        self.iov = libc::iovec {
            iov_base: bytes.cast(),
            iov_len: len,
        };
        self.header.msg_name = (&raw mut self.address).cast();
        self.header.msg_namelen = self.address.len();
        self.header.msg_iov = &raw mut self.iov;
        self.header.msg_iovlen = 1;
        match u16::try_from(segment) {
            Ok(size) if segment < len => {
                self.control = SegmentControl::new(size);
                self.header.msg_control = (&raw mut self.control).cast();
                self.header.msg_controllen = size_of::<SegmentControl>() as _;
            }
            _ => {
                self.header.msg_control = std::ptr::null_mut();
                self.header.msg_controllen = 0;
            }
        }
        &raw const self.header
    }

    /// Counts how the send ended. A burst that the kernel won't cut goes out as single datagrams, here and now.
    /// `bytes` are the envelope's.
    pub(crate) fn settle(
        &self,
        result: io::Result<()>,
        socket: &Socket,
        bytes: &[u8],
        counters: &mut Counters,
    ) {
        match result {
            Ok(()) => counters.count_sent(self.len, self.segment),
            Err(error) if self.segment < self.len && is_about_segments(&error) => {
                counters.segmentation_fallbacks += 1;
                self.send_singly(socket, bytes, counters);
            }
            Err(error) => counters.count_send_error(&error, datagrams(self.len, self.segment)),
        }
    }

    fn send_singly(&self, socket: &Socket, bytes: &[u8], counters: &mut Counters) {
        let to = SockAddr::from(self.to);
        for datagram in bytes[..self.len].chunks(self.segment.max(1)) {
            match socket.send_to_with_flags(datagram, &to, libc::MSG_DONTWAIT) {
                Ok(_) => counters.count_sent(datagram.len(), datagram.len()),
                Err(error) => counters.count_send_error(&error, 1),
            }
        }
    }
}

/// What kernels answer when a segment doesn't fit the path's MTU, there are too many of them, or the way out can't
/// checksum them (udp(7), `UDP_SEGMENT`).
fn is_about_segments(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMSGSIZE | libc::EINVAL | libc::EIO)
    )
}

/// A header without anything.
pub(crate) const EMPTY_HEADER: libc::msghdr = {
    #[allow(unsafe_code)]
    // SAFETY: `msghdr` consists of pointers and integers, for all of which zero is a value.
    unsafe {
        std::mem::zeroed()
    }
};
