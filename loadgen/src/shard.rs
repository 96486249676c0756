//! A thread full of viewers: one poll, their sockets, their timers.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, IoSliceMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use mio::{Events, Interest, Poll, Token, Waker};
use quinn_udp::{RecvMeta, UdpSockRef};
use rustc_hash::FxHashMap;
use rustix::thread::{CpuSet, sched_setaffinity};
use tokio::sync::{mpsc as tokio_mpsc, oneshot};

use crate::counts::PerNode;
use crate::viewer::{Milestone, Read, Viewer};

/// What one read of a socket can give: a GRO of 64 KiB each.
const READS: usize = 4;
const READ_SIZE: usize = 65_536;
const EVENTS_MAX: usize = 1024;
const WAKER: Token = Token(usize::MAX);
/// The live figures are told this often.
const TELL: Duration = Duration::from_millis(100);

/// While all viewers watch, the thread lets this long pass before it looks again: being woken for each viewer costs as much
/// as four packets. Arrivals are told by the kernel, so that no figure is the worse for it.
const GATHER: Duration = Duration::from_micros(200);
/// A datagram can't have waited for longer; the system's clock was set.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// What a shard is told.
pub(crate) enum Command {
    Join(Box<Viewer>),
    /// The viewer is gone once `oneshot` hears.
    Leave(u32, oneshot::Sender<()>),
    /// Ends the measurement.
    Close,
    /// Tells what the closed measurement brought.
    Collect(oneshot::Sender<PerNode>),
    Stop,
}

/// What a shard tells.
#[derive(Debug)]
pub(crate) enum Notice {
    Connected {
        node: usize,
    },
    FirstPacket {
        node: usize,
    },
    Failed {
        number: u32,
        node: usize,
        reason: String,
    },
}

/// Live figures, for progress.
#[derive(Debug, Default)]
pub(crate) struct Live {
    pub(crate) packets: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) missing: AtomicU64,
}

/// Where a shard is told things.
#[derive(Clone)]
pub(crate) struct Commands {
    sender: Sender<Command>,
    waker: Arc<Waker>,
}

impl Commands {
    /// A shard that has ended needs nothing any more.
    pub(crate) fn send(&self, command: Command) {
        let _ = self.sender.send(command);
        let _ = self.waker.wake();
    }
}

/// A running shard. Dropped, it ends.
pub(crate) struct Shard {
    pub(crate) commands: Commands,
    pub(crate) live: Arc<Live>,
    thread: Option<JoinHandle<()>>,
}

impl Shard {
    /// `cpu`: the core that its thread stays on.
    pub(crate) fn start(
        number: usize,
        cpu: Option<usize>,
        notices: tokio_mpsc::UnboundedSender<Notice>,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let (sender, receiver) = mpsc::channel();
        let live = Arc::new(Live::default());
        let turn = Turn {
            poll,
            commands: receiver,
            notices,
            live: live.clone(),
            viewers: Vec::new(),
            free: Vec::new(),
            numbers: FxHashMap::default(),
            timers: BinaryHeap::new(),
            counts: PerNode::default(),
            closed: PerNode::default(),
            connecting: 0,
            told: Instant::now(),
        };
        let thread = thread::Builder::new()
            .name(format!("viewers-{number}"))
            .spawn(move || {
                pin(cpu.as_slice());
                turn.run();
            })?;
        Ok(Self {
            commands: Commands { sender, waker },
            live,
            thread: Some(thread),
        })
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        self.commands.send(Command::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Keeps the calling thread, and those that it starts, on these cores; on any if there are none. Where that isn't
/// allowed it runs where it may.
pub(crate) fn pin(cpus: &[usize]) {
    let mut set = CpuSet::new();
    for cpu in cpus.iter().filter(|cpu| **cpu < CpuSet::MAX_CPU) {
        set.set(*cpu);
    }
    if set.count() > 0 {
        let _ = sched_setaffinity(None, &set);
    }
}

fn since_epoch() -> Duration {
    SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default()
}

/// When a read came to this machine, `system` being what the kernel's clock says now.
fn arrival(now: Instant, system: Duration, meta: &RecvMeta) -> Instant {
    let waited = meta.timestamp.and_then(|stamp| system.checked_sub(stamp));
    let waited = waited.filter(|waited| *waited < WAIT_MAX).unwrap_or_default();
    now.checked_sub(waited).unwrap_or(now)
}

struct Seat {
    viewer: Box<Viewer>,
    connected: bool,
    /// The timer that counts; earlier entries of the heap are void.
    armed: Instant,
}

/// What the thread works on.
struct Turn {
    poll: Poll,
    commands: Receiver<Command>,
    notices: tokio_mpsc::UnboundedSender<Notice>,
    live: Arc<Live>,
    viewers: Vec<Option<Seat>>,
    free: Vec<usize>,
    numbers: FxHashMap<u32, usize>,
    timers: BinaryHeap<Reverse<(Instant, usize)>>,
    counts: PerNode,
    /// Of the measurement that was closed.
    closed: PerNode,
    /// Viewers whose handshake goes on.
    connecting: usize,
    told: Instant,
}

impl Turn {
    fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS_MAX);
        let mut buffers = vec![0; READS * READ_SIZE];
        loop {
            let timeout = self.timers.peek().map_or(TELL, |Reverse((at, _))| {
                at.saturating_duration_since(Instant::now()).min(TELL)
            });
            if self.poll.poll(&mut events, Some(timeout)).is_err() {
                // Interrupted: there is nothing else that can go wrong.
                continue;
            }
            for event in &events {
                if event.token() != WAKER {
                    self.readable(event.token().0, &mut buffers);
                }
            }
            loop {
                match self.commands.try_recv() {
                    Ok(Command::Stop) | Err(mpsc::TryRecvError::Disconnected) => return,
                    Ok(command) => self.handle(command),
                    Err(mpsc::TryRecvError::Empty) => break,
                }
            }
            self.expire();
            self.tell();
            if self.connecting == 0 && !events.is_empty() {
                thread::sleep(GATHER);
            }
        }
    }

    fn handle(&mut self, command: Command) {
        match command {
            Command::Join(viewer) => self.join(viewer),
            Command::Leave(number, gone) => {
                if let Some(at) = self.numbers.get(&number).copied() {
                    self.remove(at);
                }
                let _ = gone.send(());
            }
            Command::Close => {
                self.seats().for_each(Viewer::close);
                let counts = std::mem::take(&mut self.counts);
                self.closed.merge(&counts);
            }
            Command::Collect(reply) => {
                let mut counts = std::mem::take(&mut self.closed);
                let now = Instant::now();
                self.seats()
                    .for_each(|viewer| viewer.collect(now, counts.of(viewer.node)));
                let _ = reply.send(counts);
            }
            Command::Stop => {}
        }
    }

    fn seats(&mut self) -> impl Iterator<Item = &mut Viewer> {
        self.viewers.iter_mut().flatten().map(|seat| &mut *seat.viewer)
    }

    fn join(&mut self, mut viewer: Box<Viewer>) {
        let at = self.free.pop().unwrap_or(self.viewers.len());
        let registered =
            self.poll
                .registry()
                .register(&mut viewer.peer.socket, Token(at), Interest::READABLE);
        let number = viewer.number;
        let seat = Some(Seat {
            viewer,
            connected: false,
            armed: Instant::now(),
        });
        self.connecting += 1;
        match self.viewers.get_mut(at) {
            Some(free) => *free = seat,
            None => self.viewers.push(seat),
        }
        self.numbers.insert(number, at);
        match registered {
            Ok(()) => self.go_on(at, Instant::now()),
            Err(error) => self.fail(at, &error),
        }
    }

    /// Takes all that a socket has.
    fn readable(&mut self, at: usize, buffers: &mut [u8]) {
        let Some(Some(seat)) = self.viewers.get_mut(at) else {
            return;
        };
        let viewer = &mut seat.viewer;
        let counts = self.counts.of(viewer.node);
        let mut failure = None;
        // Until it is empty: readiness is told once.
        loop {
            let mut metas = [RecvMeta::default(); READS];
            let got = {
                let mut chunks = buffers.chunks_mut(READ_SIZE).map(IoSliceMut::new);
                let mut slices: [IoSliceMut<'_>; READS] =
                    std::array::from_fn(|_| chunks.next().unwrap_or_else(|| IoSliceMut::new(&mut [])));
                let socket = UdpSockRef::from(&viewer.peer.socket);
                viewer.peer.state.recv(socket, &mut slices, &mut metas)
            };
            let got = match got {
                Ok(got) => got,
                // The server's port may be closed for a moment, between two of its lives.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
                Err(_) => break,
            };
            let (now, system) = (Instant::now(), since_epoch());
            for (meta, buffer) in metas.iter().zip(buffers.chunks_mut(READ_SIZE)).take(got) {
                let read = Read {
                    source: meta.addr,
                    datagrams: &mut buffer[..meta.len.min(READ_SIZE)],
                    stride: meta.stride,
                    now,
                    arrival: arrival(now, system, meta),
                };
                if let Err(error) = viewer.handle_read(read, counts) {
                    failure = Some(error);
                }
            }
            if got < READS {
                break;
            }
        }
        match failure {
            Some(error) => self.fail(at, &error),
            None => self.go_on(at, Instant::now()),
        }
    }

    /// Lets a viewer send, and sets its timer.
    fn go_on(&mut self, at: usize, now: Instant) {
        let Some(Some(seat)) = self.viewers.get_mut(at) else {
            return;
        };
        let node = seat.viewer.node;
        let polled = seat.viewer.poll(now, self.counts.of(node));
        while let Some(milestone) = seat.viewer.milestone() {
            if milestone == Milestone::Connected {
                seat.connected = true;
                self.connecting -= 1;
            }
            let _ = self.notices.send(match milestone {
                Milestone::Connected => Notice::Connected { node },
                Milestone::FirstPacket => Notice::FirstPacket { node },
            });
        }
        if let Err(error) = polled {
            return self.fail(at, &error);
        }
        let wanted = seat.viewer.timeout();
        if wanted < seat.armed || seat.armed <= now {
            seat.armed = wanted;
            self.timers.push(Reverse((wanted, at)));
        }
    }

    fn expire(&mut self) {
        let now = Instant::now();
        while let Some(Reverse((due, at))) = self
            .timers
            .peek()
            .copied()
            .filter(|Reverse((due, _))| *due <= now)
        {
            self.timers.pop();
            let Some(Some(seat)) = self.viewers.get_mut(at) else {
                continue;
            };
            if seat.armed != due {
                continue;
            }
            let counts = self.counts.of(seat.viewer.node);
            match seat.viewer.handle_timeout(now, counts) {
                Ok(()) => self.go_on(at, now),
                Err(error) => self.fail(at, &error),
            }
        }
    }

    fn fail(&mut self, at: usize, error: &dyn std::error::Error) {
        if let Some(viewer) = self.remove(at) {
            let _ = self.notices.send(Notice::Failed {
                number: viewer.number,
                node: viewer.node,
                reason: error.to_string(),
            });
        }
    }

    /// What it has seen is kept.
    fn remove(&mut self, at: usize) -> Option<Box<Viewer>> {
        let Seat {
            mut viewer,
            connected,
            ..
        } = self.viewers.get_mut(at)?.take()?;
        self.connecting -= usize::from(!connected);
        self.free.push(at);
        self.numbers.remove(&viewer.number);
        viewer.close();
        viewer.collect(Instant::now(), self.counts.of(viewer.node));
        let _ = self.poll.registry().deregister(&mut viewer.peer.socket);
        Some(viewer)
    }

    fn tell(&mut self) {
        let now = Instant::now();
        if now.saturating_duration_since(self.told) < TELL {
            return;
        }
        self.told = now;
        let (mut packets, mut bytes, mut missing) = (0, 0, 0);
        for viewer in self.seats() {
            let (came, size, never) = viewer.so_far();
            (packets, bytes, missing) = (packets + came, bytes + size, missing + never);
        }
        self.live.packets.store(packets, Ordering::Relaxed);
        self.live.bytes.store(bytes, Ordering::Relaxed);
        self.live.missing.store(missing, Ordering::Relaxed);
    }
}
