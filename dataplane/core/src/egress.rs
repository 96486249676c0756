//! The way out, as the core sees it.

use std::net::SocketAddr;

/// Where a datagram came from, and so where its answer goes: one of the worker's sockets and the peer's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Path {
    /// Index of the local socket.
    pub socket: u8,
    /// The peer.
    pub remote: SocketAddr,
}

/// Takes datagrams. Implemented over send buffers that the kernel reads from, so that a packet is written once.
pub trait Egress {
    /// A free buffer of at least [`SLOT`] bytes, the same one until it is sent; or `None` when all are in flight: the caller
    /// drops and counts.
    fn slot(&mut self) -> Option<&mut [u8]>;

    /// Sends the first `len` bytes of the buffer that [`Egress::slot`] gave last, cut into datagrams of `segment` bytes;
    /// the last may be shorter. A `segment` of `len` or more is one datagram.
    fn send(&mut self, to: Path, len: usize, segment: usize);
}

/// Bytes of a send buffer: the largest UDP payload over IPv4.
pub const SLOT: usize = 65_507;
/// Most datagrams of one send (`UDP_MAX_SEGMENTS` of Linux before 6.9 is 64).
pub const MAX_SEGMENTS: usize = 64;

/// Copies one finished datagram out. Returns false when there was no buffer.
pub(crate) fn send_datagram(egress: &mut impl Egress, to: Path, datagram: &[u8]) -> bool {
    let Some(slot) = egress.slot() else { return false };
    let Some(room) = slot.get_mut(..datagram.len()) else {
        return false;
    };
    room.copy_from_slice(datagram);
    egress.send(to, datagram.len(), datagram.len());
    true
}
