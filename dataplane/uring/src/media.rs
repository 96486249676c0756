//! A worker's media socket: the two halves that a backend implements, and the choice of the backend.

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd},
    rc::Rc,
};

use crate::{
    BoundSockets, Counters, bind::sockopt::receive_queue_drops, ring_inbound::RingInbound,
    ring_outbound::RingOutbound, syscall_inbound::SyscallInbound, syscall_outbound::SyscallOutbound,
};

/// Bytes of a send slot: more than the 65,507 that fit a UDP datagram or a burst of them.
pub const SLOT_LEN: usize = 64 * 1024;
/// Datagrams of one burst: what every kernel with `UDP_SEGMENT` takes (newer ones take 128).
pub const MAX_SEGMENTS: usize = 64;

/// One of the addresses that a media socket listens on, counted from 0 in the order given to [`crate::bind()`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SocketIndex(pub u8);

/// One datagram.
#[derive(Debug)]
pub struct Received<'a> {
    /// The address that it came to.
    pub socket: SocketIndex,
    /// Who sent it.
    pub from: SocketAddr,
    /// What it says; never empty. The caller may scribble over it.
    pub datagram: &'a mut [u8],
}

/// The receiving half.
pub trait Inbound {
    /// Becomes readable when [`Inbound::receive`] has something to give; suits edge-triggered polling.
    fn readiness(&self) -> BorrowedFd<'_>;

    /// Hands over what has arrived and returns how many datagrams that were. Never blocks. Stops after `budget`
    /// datagrams, or up to one train ([`MAX_SEGMENTS`] or so) later. Less than `budget` means that all was handed
    /// over: wait for readiness. Otherwise call again before waiting.
    ///
    /// # Errors
    /// The socket or ring is broken for good. The noise of peers (ICMP errors) is counted instead.
    fn receive(&mut self, budget: usize, each: impl FnMut(Received<'_>)) -> io::Result<usize>;

    /// What came in so far.
    fn counters(&self) -> Counters;
}

/// The sending half.
pub trait Outbound {
    /// A free buffer of [`SLOT_LEN`] bytes, the same one until [`Outbound::send`] sends it. `None`, and counted, when
    /// the kernel still has all of them.
    fn slot(&mut self) -> Option<&mut [u8]>;

    /// Sends the first `len` bytes of the slot just written, as datagrams of `segment` bytes, at most
    /// [`MAX_SEGMENTS`]; the last may be shorter. With `segment >= len` it is one datagram. May wait until
    /// [`Outbound::submit`]. What the kernel won't take is dropped and counted.
    fn send(&mut self, socket: SocketIndex, to: SocketAddr, len: usize, segment: usize);

    /// Hands all sends to the kernel and takes the slots back that it is done with.
    fn submit(&mut self);

    /// What went out so far.
    fn counters(&self) -> Counters;
}

/// The backend asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IoChoice {
    /// io_uring where the kernel allows it, system calls elsewhere.
    #[default]
    Auto,
    /// io_uring or nothing.
    Uring,
    /// Plain system calls.
    Syscalls,
}

/// The backend at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Io {
    /// io_uring.
    Uring,
    /// recvmmsg and sendmsg.
    Syscalls,
}

impl Io {
    /// As statistics name it: `uring` or `syscalls`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Uring => "uring",
            Self::Syscalls => "syscalls",
        }
    }
}

/// Why no backend could be put on the sockets.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// io_uring was asked for by name and can't be had.
    #[error(
        "io_uring: {step}: {source} (Linux 6.0 or newer, and allowed by seccomp and kernel.io_uring_disabled?)"
    )]
    Uring {
        /// What was tried.
        step: &'static str,
        /// The kernel's word.
        source: io::Error,
    },
    /// The plain backend failed.
    #[error("system call backend: {step}: {source}")]
    Syscalls {
        /// What was tried.
        step: &'static str,
        /// The kernel's word.
        source: io::Error,
    },
}

/// Either backend's receiving half.
#[derive(Debug)]
#[allow(missing_docs, clippy::large_enum_variant)] // one a worker
pub enum AnyInbound {
    Uring(RingInbound),
    Syscalls(SyscallInbound),
}

/// Either backend's sending half.
#[derive(Debug)]
#[allow(missing_docs, clippy::large_enum_variant)] // one a worker
pub enum AnyOutbound {
    Uring(RingOutbound),
    Syscalls(SyscallOutbound),
}

/// The sockets of a worker with a backend on them. Stays on the thread that opened it. The halves are apart so that
/// the receive callback can send.
#[derive(Debug)]
pub struct MediaSocket {
    /// Receives.
    pub inbound: AnyInbound,
    /// Sends.
    pub outbound: AnyOutbound,
    /// The backend.
    pub io: Io,
    /// Why it is not io_uring although [`IoChoice::Auto`] would have preferred that.
    pub fallback: Option<OpenError>,
    sockets: Rc<BoundSockets>,
}

/// Puts a backend on the sockets. To be called on the thread that will use them.
///
/// # Errors
/// The backend named can't be had; with [`IoChoice::Auto`], neither of them.
pub fn open(sockets: BoundSockets, choice: IoChoice) -> Result<MediaSocket, OpenError> {
    let sockets = Rc::new(sockets);
    let fallback = match choice {
        IoChoice::Syscalls => None,
        IoChoice::Uring => return open_ring(&sockets),
        IoChoice::Auto => match open_ring(&sockets) {
            Ok(media) => return Ok(media),
            Err(error) => Some(error),
        },
    };
    Ok(MediaSocket {
        inbound: AnyInbound::Syscalls(SyscallInbound::new(Rc::clone(&sockets))?),
        outbound: AnyOutbound::Syscalls(SyscallOutbound::new(Rc::clone(&sockets))?),
        io: Io::Syscalls,
        fallback,
        sockets,
    })
}

fn open_ring(sockets: &Rc<BoundSockets>) -> Result<MediaSocket, OpenError> {
    Ok(MediaSocket {
        outbound: AnyOutbound::Uring(RingOutbound::new(Rc::clone(sockets))?),
        inbound: AnyInbound::Uring(RingInbound::new(Rc::clone(sockets))?),
        io: Io::Uring,
        fallback: None,
        sockets: Rc::clone(sockets),
    })
}

impl MediaSocket {
    /// The addresses listened on; [`SocketIndex`] counts them.
    pub fn local_addresses(&self) -> &[SocketAddr] {
        self.sockets.addresses()
    }

    /// Both halves' counters, and what the kernel dropped before either saw it. A system call for each socket: ask
    /// once a second, not once a packet.
    pub fn counters(&self) -> Counters {
        let mut counters = self.inbound.counters().merged(&self.outbound.counters());
        for index in 0..self.sockets.len() {
            let drops = self
                .sockets
                .get(index)
                .map_or(0, |socket| receive_queue_drops(socket.as_fd()));
            counters.dropped_receive_queue += u64::from(drops);
        }
        counters
    }
}

impl Inbound for AnyInbound {
    fn readiness(&self) -> BorrowedFd<'_> {
        match self {
            Self::Uring(half) => half.readiness(),
            Self::Syscalls(half) => half.readiness(),
        }
    }

    fn receive(&mut self, budget: usize, each: impl FnMut(Received<'_>)) -> io::Result<usize> {
        match self {
            Self::Uring(half) => half.receive(budget, each),
            Self::Syscalls(half) => half.receive(budget, each),
        }
    }

    fn counters(&self) -> Counters {
        match self {
            Self::Uring(half) => half.counters(),
            Self::Syscalls(half) => half.counters(),
        }
    }
}

impl Outbound for AnyOutbound {
    fn slot(&mut self) -> Option<&mut [u8]> {
        match self {
            Self::Uring(half) => half.slot(),
            Self::Syscalls(half) => half.slot(),
        }
    }

    fn send(&mut self, socket: SocketIndex, to: SocketAddr, len: usize, segment: usize) {
        match self {
            Self::Uring(half) => half.send(socket, to, len, segment),
            Self::Syscalls(half) => half.send(socket, to, len, segment),
        }
    }

    fn submit(&mut self) {
        match self {
            Self::Uring(half) => half.submit(),
            Self::Syscalls(half) => half.submit(),
        }
    }

    fn counters(&self) -> Counters {
        match self {
            Self::Uring(half) => half.counters(),
            Self::Syscalls(half) => half.counters(),
        }
    }
}

/// Deals a payload out as the datagrams that it was coalesced from, and counts them.
pub(crate) fn deal(
    counters: &mut Counters,
    socket: SocketIndex,
    from: SocketAddr,
    payload: &mut [u8],
    segment: Option<usize>,
    each: &mut impl FnMut(Received<'_>),
) -> usize {
    let mut dealt = 0;
    let segment = segment.unwrap_or(payload.len()).max(1);
    for datagram in payload.chunks_mut(segment) {
        dealt += 1;
        counters.bytes_in += datagram.len() as u64;
        each(Received {
            socket,
            from,
            datagram,
        });
    }
    counters.datagrams_in += dealt as u64;
    dealt
}
