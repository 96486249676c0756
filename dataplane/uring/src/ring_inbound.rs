//! Receiving with one multishot `RECVMSG` a socket, completions announced through an eventfd.
//!
//! The ring runs with `SINGLE_ISSUER` and `COOP_TASKRUN`; not with `DEFER_TASKRUN`, under which nothing would be
//! announced while the thread waits in epoll.
#![allow(unsafe_code)]

use std::{
    fs::File,
    io::{self, Read},
    mem::ManuallyDrop,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    rc::Rc,
    time::{Duration, Instant},
};

use io_uring::{
    IoUring, cqueue, opcode,
    types::{CancelBuilder, Fd, Timespec},
};

use crate::{
    BoundSockets, Counters, Inbound, OpenError, Received, SocketIndex, address,
    bind::MAX_SOCKETS,
    buffer_ring::{BUFFERS, BufferRing, GROUP},
    control::{self, GRO_SPACE},
    envelope::EMPTY_HEADER,
    media::deal,
};

/// One receive operation a socket.
const SUBMISSIONS: u32 = 32;
/// Each completion holds a buffer or ends an operation (and at most one more per socket after re-arming), so the queue
/// can't overflow.
const COMPLETIONS: u32 = 1024;
const _: () = assert!(MAX_SOCKETS <= SUBMISSIONS as usize);
const _: () = assert!(BUFFERS as usize + 2 * MAX_SOCKETS <= COMPLETIONS as usize);

/// `struct io_uring_recvmsg_out`: lengths of name, control and payload, and flags.
const OUT_HEADER_LEN: usize = 16;
/// Room for a name: `sockaddr_in6` is 28 bytes, rounded up so that what follows is aligned.
const NAME_SPACE: usize = NAME_SOCKLEN as usize;
const NAME_SOCKLEN: libc::socklen_t = 32;
const PAYLOAD_OFFSET: usize = OUT_HEADER_LEN + NAME_SPACE + GRO_SPACE;

/// Failed completions of one socket in a row before it is taken for broken. A queued ICMP error is reported once.
const MAX_ERRORS: u32 = 64;
/// How long the end waits for the kernel to let go of the buffers.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(2);

/// The receiving half on a ring.
pub struct RingInbound {
    ring: ManuallyDrop<IoUring>,
    buffers: ManuallyDrop<BufferRing>,
    /// The template of all receives: how much room for name and control. The kernel copies it when it takes the
    /// submission.
    template: Box<libc::msghdr>,
    sockets: Rc<BoundSockets>,
    receives: Vec<Receive>,
    announced: File,
    counters: Counters,
}

/// The operation of one socket.
#[derive(Debug, Clone, Copy, Default)]
struct Receive {
    armed: bool,
    errors: u32,
}

impl std::fmt::Debug for RingInbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RingInbound")
            .field("sockets", &self.sockets)
            .finish_non_exhaustive()
    }
}

impl RingInbound {
    /// A kernel that makes a `SINGLE_ISSUER` ring (6.0) has multishot `RECVMSG` and synchronous cancellation too.
    pub(crate) fn new(sockets: Rc<BoundSockets>) -> Result<Self, OpenError> {
        let failed = |step| move |source| OpenError::Uring { step, source };
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_coop_taskrun()
            .setup_cqsize(COMPLETIONS)
            .dontfork()
            .build(SUBMISSIONS)
            .map_err(failed("receive ring"))?;
        let announced = eventfd().map_err(failed("eventfd"))?;
        ring.submitter()
            .register_eventfd(announced.as_raw_fd())
            .map_err(failed("registering the eventfd"))?;
        let buffers = BufferRing::new().map_err(failed("receive buffers"))?;
        let mut template = Box::new(EMPTY_HEADER);
        template.msg_namelen = NAME_SOCKLEN;
        template.msg_controllen = GRO_SPACE as _;
        let receives = vec![Receive::default(); sockets.len()];
        let mut inbound = Self {
            ring: ManuallyDrop::new(ring),
            buffers: ManuallyDrop::new(buffers),
            template,
            sockets,
            receives,
            announced,
            counters: Counters::default(),
        };
        // SAFETY: `drop` frees the buffers only after every receive operation has ended, and leaks them otherwise.
        unsafe { inbound.buffers.register(&inbound.ring.submitter()) }
            .map_err(failed("registering the buffer ring"))?;
        inbound.arm().map_err(failed("first receive"))?;
        Ok(inbound)
    }

    /// Puts a receive operation on each socket that has none.
    fn arm(&mut self) -> io::Result<()> {
        let mut queued = false;
        for (index, (fd, receive)) in self.sockets.fds().zip(&mut self.receives).enumerate() {
            if receive.armed {
                continue;
            }
            let entry = opcode::RecvMsgMulti::new(Fd(fd), &raw const *self.template, GROUP)
                .build()
                .user_data(index as u64);
            // SAFETY: the template is boxed and lives as long as the ring; the socket stays open as long (`sockets`);
            // the buffers that the operation writes to outlive it (see `drop`).
            let pushed = unsafe { self.ring.submission().push(&entry) };
            // At most one submission a socket is queued, and the queue has room for MAX_SOCKETS of them.
            receive.armed = pushed.is_ok();
            queued = true;
        }
        if queued {
            submit(&self.ring)?;
        }
        Ok(())
    }

    /// Takes what the completion queue holds, up to the budget.
    fn reap(
        &mut self,
        budget: usize,
        dealt: &mut usize,
        each: &mut impl FnMut(Received<'_>),
    ) -> io::Result<()> {
        let Self {
            ring,
            buffers,
            receives,
            counters,
            ..
        } = self;
        let mut broken = Ok(());
        let mut completions = ring.completion();
        while *dealt < budget && broken.is_ok() {
            let Some(completion) = completions.next() else {
                completions.sync();
                if completions.is_empty() {
                    break;
                }
                continue;
            };
            let index = u8::try_from(completion.user_data()).unwrap_or(u8::MAX);
            let Some(receive) = receives.get_mut(usize::from(index)) else {
                continue;
            };
            if !cqueue::more(completion.flags()) {
                receive.armed = false;
            }
            match usize::try_from(completion.result()) {
                Ok(len) => {
                    receive.errors = 0;
                    let Some(id) = cqueue::buffer_select(completion.flags()) else {
                        continue;
                    };
                    // SAFETY: this completion names the buffer, and it is recycled only below.
                    let bytes = unsafe { buffers.filled(id, len) };
                    *dealt += unpack(counters, SocketIndex(index), bytes, each);
                    buffers.recycle(id);
                }
                Err(_) if completion.result() == -libc::ENOBUFS => counters.buffers_exhausted += 1,
                Err(_) => {
                    counters.receive_errors += 1;
                    receive.errors += 1;
                    if receive.errors >= MAX_ERRORS {
                        broken = Err(io::Error::from_raw_os_error(-completion.result()));
                    }
                }
            }
        }
        drop(completions);
        buffers.publish();
        broken
    }

    /// Ends all receive operations. False when the kernel didn't confirm in time.
    fn cancel(&mut self) -> bool {
        let _ = submit(&self.ring);
        let timeout = Timespec::from(CANCEL_TIMEOUT);
        let deadline = Instant::now() + CANCEL_TIMEOUT;
        while self.receives.iter().any(|receive| receive.armed) {
            let result = self
                .ring
                .submitter()
                .register_sync_cancel(Some(timeout), CancelBuilder::any());
            // ENOENT: nothing was left to cancel; the last completions say so too.
            if result.is_err_and(|error| error.raw_os_error() != Some(libc::ENOENT))
                || Instant::now() > deadline
            {
                return false;
            }
            for completion in self.ring.completion() {
                let index = usize::try_from(completion.user_data()).unwrap_or(usize::MAX);
                if let Some(receive) = self.receives.get_mut(index) {
                    receive.armed &= cqueue::more(completion.flags());
                }
            }
        }
        true
    }
}

impl Inbound for RingInbound {
    fn readiness(&self) -> BorrowedFd<'_> {
        self.announced.as_fd()
    }

    fn receive(&mut self, budget: usize, mut each: impl FnMut(Received<'_>)) -> io::Result<usize> {
        let mut dealt = 0;
        // What arrives from here on is found by looking; announcing it would only wake the thread for nothing.
        self.ring.completion().disable_eventfd();
        // Resets readiness and, being a system call, lets the kernel post what it has.
        let _ = self.announced.read(&mut [0; 8]);
        let mut result = Ok(());
        while dealt < budget {
            result = self.reap(budget, &mut dealt, &mut each);
            if result.is_ok() {
                result = self.arm();
            }
            let completions = self.ring.completion();
            completions.enable_eventfd();
            // A completion posted before that line was not announced: look once more.
            std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
            drop(completions);
            if result.is_err() || self.ring.completion().is_empty() {
                break;
            }
            self.ring.completion().disable_eventfd();
        }
        self.ring.completion().enable_eventfd();
        result.map(|()| dealt)
    }

    fn counters(&self) -> Counters {
        self.counters
    }
}

impl Drop for RingInbound {
    fn drop(&mut self) {
        if !self.cancel() {
            // Leaking some megabytes is better than the kernel writing into memory that is someone else's by then.
            tracing::error!("receive operations did not end in time; their buffers are left alone");
            return;
        }
        // SAFETY: each is dropped once, here, and not used again. Every receive operation has ended (`cancel`), so
        // nobody writes to the buffers. The ring goes first: with it the kernel forgets the buffer ring's address.
        unsafe {
            let _ = self.ring.submitter().unregister_buf_ring(GROUP);
            ManuallyDrop::drop(&mut self.ring);
            ManuallyDrop::drop(&mut self.buffers);
        }
    }
}

/// Takes a multishot `RECVMSG` result apart: header, name, control, payload, at fixed places.
fn unpack(
    counters: &mut Counters,
    socket: SocketIndex,
    bytes: &mut [u8],
    each: &mut impl FnMut(Received<'_>),
) -> usize {
    let Some((head, payload)) = bytes.split_at_mut_checked(PAYLOAD_OFFSET) else {
        return 0;
    };
    let word = |index: usize| {
        head[4 * index..]
            .first_chunk()
            .map_or(0, |bytes| u32::from_ne_bytes(*bytes) as usize)
    };
    let (name_len, control_len, payload_len, flags) = (word(0), word(1), word(2), word(3));
    if flags & libc::MSG_TRUNC as usize != 0 || payload_len > payload.len() {
        counters.dropped_truncated += 1;
        return 0;
    }
    let name = &head[OUT_HEADER_LEN..][..name_len.min(NAME_SPACE)];
    let control = &head[OUT_HEADER_LEN + NAME_SPACE..][..control_len.min(GRO_SPACE)];
    let Some(from) = address::parse(name) else {
        return 0;
    };
    deal(
        counters,
        socket,
        from,
        &mut payload[..payload_len],
        control::gro_segment(control),
        each,
    )
}

fn submit(ring: &IoUring) -> io::Result<()> {
    loop {
        match ring.submit() {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn eventfd() -> io::Result<File> {
    // SAFETY: no pointers.
    let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `fd` was just made and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) }.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_receive_ends_when_cancelled() {
        let peer = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        for traffic in [0, 1, 2 * u32::from(BUFFERS)] {
            let addresses = ["127.0.0.1:0".parse().unwrap(), "[::1]:0".parse().unwrap()];
            let sockets = Rc::new(crate::bind(&addresses).unwrap());
            let mut inbound = RingInbound::new(Rc::clone(&sockets)).unwrap();
            for number in 0..traffic {
                peer.send_to(&vec![0; 1 + number as usize % 99], sockets.addresses()[0])
                    .unwrap();
            }
            assert!(inbound.cancel());
            assert!(inbound.receives.iter().all(|receive| !receive.armed));
        }
    }

    #[test]
    fn hostile_layouts_are_dropped() {
        let mut counters = Counters::default();
        let mut none = |_: Received<'_>| panic!("nothing valid in it");
        for len in [0, 15, PAYLOAD_OFFSET - 1, PAYLOAD_OFFSET, 200] {
            assert_eq!(
                unpack(&mut counters, SocketIndex(0), &mut vec![0; len], &mut none),
                0
            );
            assert_eq!(
                unpack(&mut counters, SocketIndex(0), &mut vec![0xff; len], &mut none),
                0
            );
        }
        assert_eq!(counters.dropped_truncated, 2);
    }
}
