//! A worker's thread: one core, one media socket, one [`weever_core::Worker`], and the loop that ties them together.

use std::{
    future::Future,
    io,
    os::fd::OwnedFd,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    thread::JoinHandle,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use tokio::{io::unix::AsyncFd, sync::mpsc, time::Sleep};
use weever_core::{Egress, Path, Worker, WorkerConfig};
use weever_proto::{Event, RELAY, WorkerId, limits::MAX_DROP_REASONS};
use weever_uring::{
    AnyOutbound, BoundSockets, Inbound, Io, IoChoice, MediaSocket, OpenError, Outbound, SocketIndex,
};

use crate::mailbox::{Mailbox, Order, RelayMailbox, Report, Reports};

/// What one turn of the loop takes on at most before the others get their turn.
const DATAGRAMS_A_TURN: usize = 256;
const ORDERS_A_TURN: usize = 64;
const HANDOVERS_A_TURN: usize = 256;

/// Submission entries of the executor's own ring. The media socket has rings of its own.
const EXECUTOR_ENTRIES: u32 = 64;

/// All that a worker's thread is started with.
pub(crate) struct Start {
    pub(crate) config: WorkerConfig,
    pub(crate) sockets: BoundSockets,
    pub(crate) io: IoChoice,
    /// The core to stay on; `None` leaves the choice to the kernel.
    pub(crate) cpu: Option<usize>,
    /// Of all workers, this one included, by number.
    pub(crate) mailboxes: Arc<[Mailbox]>,
    /// If there is a relay.
    pub(crate) relay: Option<Arc<RelayMailbox>>,
    pub(crate) reports: Arc<Reports>,
}

/// How a worker's thread ended.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// No backend for its sockets.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The executor could not be made, or the media socket broke.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A fault of ours. The panic's own message was printed when it happened.
    #[error("it panicked")]
    Panicked,
}

/// Reports from threads about themselves: `Ok(Some(io))` once it serves, then how it ended.
pub(crate) type Lives = mpsc::UnboundedSender<(WorkerId, Result<Option<Io>, WorkerError>)>;

/// Starts the thread. Exactly one end is sent to `lives`.
pub(crate) fn spawn(start: Start, lives: Lives) -> io::Result<JoinHandle<()>> {
    let id = start.config.id;
    std::thread::Builder::new()
        .name(format!("worker-{}", id.0))
        .spawn(move || {
            let announce = lives.clone();
            let ended = catch_unwind(AssertUnwindSafe(|| run(start, &announce)))
                .unwrap_or(Err(WorkerError::Panicked));
            // Nobody listens any more only when the process is ending.
            let _ = lives.send((id, ended.map(|()| None)));
        })
}

fn run(start: Start, lives: &Lives) -> Result<(), WorkerError> {
    let Start {
        config,
        sockets,
        io,
        cpu,
        mailboxes,
        relay,
        reports,
    } = start;
    let id = config.id;
    if let Some(Err(error)) = cpu.map(weever_uring::pin_to_cpu) {
        tracing::warn!(worker = %id, ?cpu, %error, "can't stay on one core");
    }
    let media = weever_uring::open(sockets, io)?;
    if let Some(reason) = &media.fallback {
        tracing::warn!(worker = %id, %reason, "io_uring can't be used; going on with plain system calls");
    }
    let backend = media.io;
    let worker = Worker::new(config, Instant::now());
    let turn = Turn {
        id,
        worker,
        media,
        mailboxes,
        relay,
        reports,
    };
    let _ = lives.send((id, Ok(Some(backend))));
    match backend {
        Io::Uring => on_ring(turn.serve()),
        Io::Syscalls => on_epoll(turn.serve()),
    }
}

fn on_ring(serve: impl Future<Output = io::Result<()>>) -> Result<(), WorkerError> {
    let mut ring = tokio_uring::uring_builder();
    // Not DEFER_TASKRUN: under it nothing completes while the executor waits in epoll.
    ring.setup_single_issuer().setup_coop_taskrun();
    let mut builder = tokio_uring::builder();
    builder.entries(EXECUTOR_ENTRIES).uring_builder(&ring);
    Ok(tokio_uring::Runtime::new(&builder)?.block_on(serve)?)
}

fn on_epoll(serve: impl Future<Output = io::Result<()>>) -> Result<(), WorkerError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(runtime.block_on(serve)?)
}

/// The core's way out over the media socket.
struct Slots<'a>(&'a mut AnyOutbound);

impl Egress for Slots<'_> {
    fn slot(&mut self) -> Option<&mut [u8]> {
        self.0.slot()
    }

    fn send(&mut self, to: Path, len: usize, segment: usize) {
        self.0.send(SocketIndex(to.socket), to.remote, len, segment);
    }
}

/// The core knows no wall clock: what it noted at `now` gets its date here.
fn dated(mut event: Event, now: Instant) -> Event {
    if let Event::Packets(packets) = &mut event {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at = since.saturating_sub(now.elapsed()).as_micros();
        packets.at_unix_us = u64::try_from(at).unwrap_or(u64::MAX);
    }
    event
}

/// What is left to do after a turn.
#[derive(Debug, PartialEq, Eq)]
enum Left {
    Nothing,
    More,
    Stop,
}

struct Turn {
    id: WorkerId,
    worker: Worker,
    media: MediaSocket,
    mailboxes: Arc<[Mailbox]>,
    relay: Option<Arc<RelayMailbox>>,
    reports: Arc<Reports>,
}

impl Turn {
    async fn serve(mut self) -> io::Result<()> {
        let readiness = weever_uring::watch(&self.media.inbound)?;
        let mut alarm = Box::pin(tokio::time::sleep_until(tokio::time::Instant::now()));
        let mailboxes = Arc::clone(&self.mailboxes);
        let mailbox = &mailboxes[usize::from(self.id.0)];
        loop {
            match self.take(mailbox)? {
                Left::Nothing => self.wait(&readiness, mailbox, alarm.as_mut()).await?,
                // The executor's own tasks get a chance too.
                Left::More => tokio::task::yield_now().await,
                Left::Stop => return Ok(()),
            }
        }
    }

    /// One turn: datagrams, orders, handovers, timers, bursts, and what comes out of all that.
    fn take(&mut self, mailbox: &Mailbox) -> io::Result<Left> {
        let now = Instant::now();
        let Self { worker, media, .. } = self;
        let mut egress = Slots(&mut media.outbound);
        let datagrams = media.inbound.receive(DATAGRAMS_A_TURN, |received| {
            let from = Path {
                socket: received.socket.0,
                remote: received.from,
            };
            worker.handle_datagram(now, from, received.datagram, &mut egress);
        })?;
        let mut stop = false;
        for _ in 0..ORDERS_A_TURN {
            let Some(order) = mailbox.next_order() else { break };
            stop |= self.obey(now, order, mailbox);
        }
        let Self {
            worker,
            media,
            mailboxes,
            relay,
            reports,
            id,
        } = self;
        let mut egress = Slots(&mut media.outbound);
        for _ in 0..HANDOVERS_A_TURN {
            let Some(handover) = mailbox.next_handover() else {
                break;
            };
            worker.handle_handover(now, handover, &mut egress);
        }
        if worker.poll_timeout().is_some_and(|due| due <= now) {
            worker.handle_timeout(now, &mut egress);
        }
        worker.flush(now, &mut egress);
        media.outbound.submit();
        while let Some(event) = worker.poll_event() {
            reports.report(*id, Report::Event(dated(event, now)));
        }
        while let Some((to, handover)) = worker.poll_handover() {
            if let (RELAY, Some(relay)) = (to, &*relay) {
                relay.hand_over(handover);
            } else if let Some(mailbox) = mailboxes.get(usize::from(to.0)) {
                mailbox.hand_over(handover)?;
            }
        }
        worker.end_turn(now, Instant::now());
        Ok(
            match (
                stop,
                datagrams >= DATAGRAMS_A_TURN || !mailbox.is_empty() || worker.is_behind(),
            ) {
                (true, _) => Left::Stop,
                (false, true) => Left::More,
                (false, false) => Left::Nothing,
            },
        )
    }

    /// True: stop.
    fn obey(&mut self, now: Instant, order: Order, mailbox: &Mailbox) -> bool {
        match order {
            Order::Command(command) => {
                self.worker
                    .handle_command(now, command, &mut Slots(&mut self.media.outbound));
            }
            Order::Snapshot => {
                // What happened before is part of the snapshot; it must not be read after it as news.
                while let Some(event) = self.worker.poll_event() {
                    self.reports.report(self.id, Report::Event(dated(event, now)));
                }
                self.reports
                    .report(self.id, Report::Snapshot(self.worker.snapshot(now)));
            }
            Order::Stats => self.report_stats(mailbox),
            Order::Stop => return true,
        }
        false
    }

    fn report_stats(&self, mailbox: &Mailbox) {
        let mut stats = self.worker.stats();
        stats.cpu_ns = weever_uring::thread_cpu_ns();
        stats.io = self.media.io.as_str().to_owned();
        let sockets = self.media.counters().drops();
        stats
            .drops
            .extend(sockets.map(|(reason, count)| (reason.to_owned(), count)));
        stats
            .drops
            .push(("handover-queue-full".to_owned(), mailbox.media_dropped()));
        stats.drops.truncate(MAX_DROP_REASONS);
        self.reports
            .report(self.id, Report::Stats(Box::new(stats), self.worker.track_stats()));
    }

    /// Until a datagram, an order, a handover or the next deadline comes.
    async fn wait(
        &self,
        readiness: &AsyncFd<OwnedFd>,
        mailbox: &Mailbox,
        mut alarm: Pin<&mut Sleep>,
    ) -> io::Result<()> {
        let due = self.worker.poll_timeout().map(tokio::time::Instant::from_std);
        if let Some(due) = due.filter(|due| *due != alarm.deadline()) {
            alarm.as_mut().reset(due);
        }
        tokio::select! {
            biased;
            // The turn that follows takes all there is, so what was announced so far is done with.
            ready = readiness.readable() => ready?.clear_ready(),
            () = mailbox.filled() => {}
            () = alarm, if due.is_some() => {}
        }
        Ok(())
    }
}
