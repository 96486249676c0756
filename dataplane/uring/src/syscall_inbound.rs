//! Receiving with `recvmmsg` over an epoll set of the sockets.
#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    rc::Rc,
};

use crate::{
    BoundSockets, Counters, Inbound, OpenError, Received, SocketIndex,
    address::{self, ADDRESS_LEN, ADDRESS_SOCKLEN},
    control::{self, GRO_SPACE},
    envelope::EMPTY_HEADER,
    media::deal,
    region::Region,
};

/// Datagrams or trains of one system call.
const BATCH: usize = VECTOR as usize;
const VECTOR: libc::c_uint = 16;
/// Holds the longest train: 65,535 bytes of UDP payload. One page more than 64 KiB, so that the buffers' beginnings
/// fall into different sets of the cache.
const BUFFER_LEN: usize = 17 * 4096;
/// Errors in a row from one socket before it is taken for broken. A queued ICMP error is reported once.
const MAX_ERRORS: u32 = 64;

/// The plain receiving half.
#[derive(Debug)]
pub struct SyscallInbound {
    sockets: Rc<BoundSockets>,
    epoll: OwnedFd,
    batch: Batch,
    /// The socket to begin with, so that none starves when the budget is always used up.
    next: usize,
    counters: Counters,
}

impl SyscallInbound {
    pub(crate) fn new(sockets: Rc<BoundSockets>) -> Result<Self, OpenError> {
        let failed = |step| move |source| OpenError::Syscalls { step, source };
        let epoll = watch(sockets.fds()).map_err(failed("epoll set"))?;
        let batch = Batch::new().map_err(failed("receive buffers"))?;
        Ok(Self {
            sockets,
            epoll,
            batch,
            next: 0,
            counters: Counters::default(),
        })
    }

    /// Receives from one socket until it is empty or the budget is used.
    fn drain(
        &mut self,
        index: usize,
        budget: usize,
        dealt: &mut usize,
        each: &mut impl FnMut(Received<'_>),
    ) -> io::Result<()> {
        let Some(fd) = self.sockets.get(index).map(AsRawFd::as_raw_fd) else {
            return Ok(());
        };
        let socket = SocketIndex(u8::try_from(index).unwrap_or(u8::MAX));
        let mut errors = 0;
        while *dealt < budget {
            match self.batch.receive(fd) {
                Ok(count) => {
                    errors = 0;
                    for message in 0..count {
                        *dealt += self.batch.deal(message, socket, &mut self.counters, each);
                    }
                    if count < BATCH {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.counters.receive_errors += 1;
                    errors += 1;
                    if errors >= MAX_ERRORS {
                        return Err(error);
                    }
                }
            }
        }
        Ok(())
    }
}

impl Inbound for SyscallInbound {
    fn readiness(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    fn receive(&mut self, budget: usize, mut each: impl FnMut(Received<'_>)) -> io::Result<usize> {
        let sockets = self.sockets.len();
        let mut dealt = 0;
        for _ in 0..sockets {
            let index = self.next % sockets;
            self.next = index + 1;
            self.drain(index, budget, &mut dealt, &mut each)?;
            if dealt >= budget {
                break;
            }
        }
        Ok(dealt)
    }

    fn counters(&self) -> Counters {
        self.counters
    }
}

fn watch(fds: impl Iterator<Item = RawFd>) -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    if epoll < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `epoll` is a descriptor that was just made and that nothing else owns.
    let epoll = unsafe { OwnedFd::from_raw_fd(epoll) };
    for fd in fds {
        let mut event = libc::epoll_event {
            events: libc::EPOLLIN.cast_unsigned(),
            u64: 0,
        };
        // SAFETY: the kernel reads one `epoll_event`, which lives here.
        if unsafe { libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &raw mut event) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(epoll)
}

/// Room for the datagrams of one `recvmmsg`.
struct Batch {
    headers: Box<[libc::mmsghdr]>,
    iovs: Box<[libc::iovec]>,
    names: Box<[[u8; ADDRESS_LEN]]>,
    controls: Box<[[u8; GRO_SPACE]]>,
    buffers: Region,
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch")
            .field("buffers", &self.buffers)
            .finish_non_exhaustive()
    }
}

impl Batch {
    fn new() -> io::Result<Self> {
        let buffers = Region::new(BATCH * BUFFER_LEN)?;
        let empty = libc::iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: 0,
        };
        Ok(Self {
            headers: vec![
                libc::mmsghdr {
                    msg_hdr: EMPTY_HEADER,
                    msg_len: 0
                };
                BATCH
            ]
            .into(),
            iovs: vec![empty; BATCH].into(),
            names: vec![[0; ADDRESS_LEN]; BATCH].into(),
            controls: vec![[0; GRO_SPACE]; BATCH].into(),
            buffers,
        })
    }

    fn receive(&mut self, fd: RawFd) -> io::Result<usize> {
        for index in 0..BATCH {
            self.iovs[index] = libc::iovec {
                iov_base: self.buffers.address(index * BUFFER_LEN, BUFFER_LEN).cast(),
                iov_len: BUFFER_LEN,
            };
            let header = &mut self.headers[index].msg_hdr;
            header.msg_name = self.names[index].as_mut_ptr().cast();
            header.msg_namelen = ADDRESS_SOCKLEN;
            header.msg_iov = &raw mut self.iovs[index];
            header.msg_iovlen = 1;
            header.msg_control = self.controls[index].as_mut_ptr().cast();
            header.msg_controllen = GRO_SPACE as _;
        }
        // SAFETY: each header points to its own name, control space and buffer with their true lengths (set above);
        // all are owned by `self`, exclusively borrowed, and the call is synchronous.
        let count = unsafe {
            libc::recvmmsg(
                fd,
                self.headers.as_mut_ptr(),
                VECTOR,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    }

    fn deal(
        &mut self,
        index: usize,
        socket: SocketIndex,
        counters: &mut Counters,
        each: &mut impl FnMut(Received<'_>),
    ) -> usize {
        let header = &self.headers[index];
        if header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 {
            counters.dropped_truncated += 1;
            return 0;
        }
        let name_len = (header.msg_hdr.msg_namelen as usize).min(ADDRESS_LEN);
        let Some(from) = address::parse(&self.names[index][..name_len]) else {
            return 0;
        };
        #[allow(clippy::unnecessary_cast)] // smaller than usize on some C libraries
        let control_len = (header.msg_hdr.msg_controllen as usize).min(GRO_SPACE);
        let segment = control::gro_segment(&self.controls[index][..control_len]);
        let len = (header.msg_len as usize).min(BUFFER_LEN);
        // SAFETY: `recvmmsg` has returned, so no kernel operation has the buffer.
        let payload = unsafe { self.buffers.slice_mut(index * BUFFER_LEN, len) };
        deal(counters, socket, from, payload, segment, each)
    }
}
