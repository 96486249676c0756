//! The control thread: keeps the control plane informed and has workers do what it says. Media goes on whatever happens
//! here.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, Interval, MissedTickBehavior, sleep, timeout},
};
use weever_proto::{
    ChannelLabel, Command, Event, FromShard, Hello, SessionId, ToShard, TrackStats, WorkerId, WorkerStats,
    limits::MAX_TRACK_STATS,
};
use weever_uring::Io;

use crate::{
    Ask, RunError,
    link::{AFRESH, Connection, LinkError, PATIENCE, Redial, dial},
    mailbox::{Mailbox, Order, Report, Reports},
    relay::RelayHandle,
    sessions::{Sessions, Verdict},
    worker::WorkerError,
};

/// How often statistics are sent.
const STATS_EVERY: Duration = Duration::from_secs(1);
/// Texts of control channels that wait for a control plane: no snapshot tells them again. When full, the oldest goes.
const TEXTS: usize = 4096;
/// Chat among them. When full, what comes is lost: it doesn't push out what is signalled.
const CHATS: usize = 1024;
/// Bytes of all of them.
const TEXT_BYTES: usize = 16 * 1024 * 1024;
/// How long a worker may leave its orders unread before it is taken for dead.
const STUCK: Duration = Duration::from_secs(5);
/// How long the end waits for goodbyes (DTLS close_notify), then for the threads, then for the last frames.
const GOODBYE: Duration = Duration::from_secs(1);

/// What the control thread is started with.
pub(crate) struct Control {
    pub(crate) socket: PathBuf,
    pub(crate) hello: Hello,
    pub(crate) mailboxes: Arc<[Mailbox]>,
    pub(crate) relay: Option<RelayHandle>,
    pub(crate) reports: Arc<Reports>,
    pub(crate) lives: mpsc::UnboundedReceiver<(WorkerId, Result<Option<Io>, WorkerError>)>,
    /// Threads that have not ended.
    pub(crate) running: usize,
    pub(crate) sessions: Sessions,
    pub(crate) texts: Texts,
    pub(crate) stats: Stats,
    pub(crate) drain_timeout: Duration,
    /// When a drain that was asked for from outside ends, whoever is left.
    pub(crate) drained_by: Option<Instant>,
    pub(crate) redial: Redial,
    /// When the control plane last accepted this data plane.
    pub(crate) accepted: Instant,
}

/// Where the conversation stands.
enum Link {
    Dialling(JoinHandle<Connection>),
    Up(Connection, Phase),
}

/// What is being said.
enum Phase {
    Snapshot(Snapshot),
    Live,
}

/// A snapshot under way.
struct Snapshot {
    missing: HashSet<WorkerId>,
    sessions: u32,
    /// News of workers whose snapshot is through, until all are.
    held: Vec<Event>,
    until: Instant,
}

/// What the link brought.
enum Heard {
    Connected(Option<Connection>),
    Frame(Result<ToShard, LinkError>),
}

impl Link {
    /// Cancel safe.
    async fn hear(&mut self) -> Heard {
        match self {
            Self::Dialling(dialling) => Heard::Connected(dialling.await.ok()),
            Self::Up(connection, Phase::Live) => Heard::Frame(connection.next().await),
            Self::Up(connection, Phase::Snapshot(snapshot)) => {
                match tokio::time::timeout_at(snapshot.until, connection.next()).await {
                    Ok(frame) => Heard::Frame(frame),
                    Err(_) => Heard::Frame(Err(LinkError::NoSnapshot)),
                }
            }
        }
    }
}

impl Control {
    /// Until asked to end, or drained, or a worker died.
    pub(crate) async fn run(mut self, mut asked: mpsc::Receiver<Ask>) -> Result<(), RunError> {
        let mut link = self.dial(Duration::ZERO);
        let mut tick = tokio::time::interval(STATS_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let result = self.talk(&mut link, &mut tick, &mut asked).await;
        if result.is_ok() {
            self.say_goodbye(&mut link).await;
        }
        self.stop_workers().await;
        match link {
            Link::Up(connection, _) => connection.finish(GOODBYE).await,
            Link::Dialling(dialling) => dialling.abort(),
        }
        result
    }

    fn dial(&self, pause: Duration) -> Link {
        Link::Dialling(tokio::spawn(dial(self.socket.clone(), self.hello.clone(), pause)))
    }

    fn redial(&mut self, error: &LinkError) -> Link {
        let pause = self.redial.after(self.accepted.elapsed());
        if pause.is_zero() {
            tracing::warn!(%error, "lost the control plane; media goes on, dialling again");
        } else if self.redial.is_faltering() {
            tracing::debug!(%error, ?pause, "lost the control plane once more");
        } else {
            tracing::warn!(%error, "lost the control plane again; dialling more and more rarely until a connection holds");
        }
        self.dial(pause)
    }

    async fn talk(
        &mut self,
        link: &mut Link,
        tick: &mut Interval,
        asked: &mut mpsc::Receiver<Ask>,
    ) -> Result<(), RunError> {
        loop {
            if self.sessions.is_draining() && self.sessions.is_empty() {
                tracing::info!("drained");
                return Ok(());
            }
            let reports = Arc::clone(&self.reports);
            let drained_by = self.drained_by;
            let outcome = tokio::select! {
                ask = asked.recv() => match ask {
                    Some(Ask::Drain) => {
                        self.drain(link).await?;
                        Ok(())
                    }
                    Some(Ask::End) | None => return Ok(()),
                },
                () = until(drained_by) => {
                    tracing::warn!(sessions = self.sessions.ids().len(), "drain timeout: ending with sessions left");
                    return Ok(());
                }
                Some((worker, life)) = self.lives.recv() => {
                    self.running -= 1;
                    let source = life.err().unwrap_or(WorkerError::Panicked);
                    return Err(RunError::Worker { worker, source });
                }
                heard = link.hear() => self.take(link, heard).await?,
                () = reports.filled() => self.take_reports(link),
                _ = tick.tick() => self.ask_for_stats(link).await?,
            };
            if let Err(error) = outcome {
                *link = self.redial(&error);
            }
        }
    }

    /// The control plane is to know. A hello says it to one of any version, so this dials again, as after a lost link.
    async fn drain(&mut self, link: &mut Link) -> Result<(), RunError> {
        self.drained_by = Some(Instant::now() + self.drain_timeout);
        if self.sessions.is_draining() {
            return Ok(());
        }
        let verdict = self.sessions.dispatch(Command::Drain);
        self.obey(verdict).await?;
        // What was said last is to arrive, and the name to be free again, before it is said anew.
        let again = self.dial(AFRESH);
        match std::mem::replace(link, again) {
            Link::Up(connection, _) => connection.finish(GOODBYE).await,
            Link::Dialling(dialling) => dialling.abort(),
        }
        Ok(())
    }

    /// What a command comes to; an event is the answer to who commanded.
    async fn obey(&mut self, verdict: Verdict) -> Result<Option<Event>, RunError> {
        match verdict {
            Verdict::Answer(event) => return Ok(Some(event)),
            Verdict::To(worker, command) => self.order(worker, Order::Command(command)).await?,
            Verdict::ToEach(parts) => {
                for (worker, command) in parts {
                    self.order(worker, Order::Command(command)).await?;
                }
            }
            Verdict::ToAll(command) => {
                // The next control plane is to know as well.
                self.hello.draining = self.sessions.is_draining();
                self.order_all(|| Order::Command(command.clone())).await?;
            }
        }
        Ok(None)
    }

    /// The inner error loses the link, the outer one the process.
    async fn take(&mut self, link: &mut Link, heard: Heard) -> Result<Result<(), LinkError>, RunError> {
        let frame = match heard {
            Heard::Connected(Some(connection)) => {
                if !self.redial.is_faltering() {
                    tracing::info!(socket = %self.socket.display(), "the control plane accepted this data plane");
                }
                self.accepted = Instant::now();
                *link = Link::Up(connection, Phase::Snapshot(self.start_snapshot().await?));
                return Ok(Ok(()));
            }
            Heard::Connected(None) => return Ok(Err(LinkError::Closed)),
            Heard::Frame(Ok(frame)) => frame,
            Heard::Frame(Err(error)) => return Ok(Err(error)),
        };
        let Link::Up(connection, _) = link else {
            return Ok(Ok(()));
        };
        match frame {
            ToShard::Ping(number) => Ok(connection.say(FromShard::Pong(number))),
            ToShard::Command(command) => {
                let verdict = self.sessions.dispatch(command);
                match (self.obey(verdict).await?, link) {
                    (Some(event), Link::Up(connection, _)) => Ok(connection.say(FromShard::Event(event))),
                    _ => Ok(Ok(())),
                }
            }
            ToShard::Refused(reason) => Ok(Err(LinkError::Refused(reason))),
            ToShard::Welcome(_) => Ok(Err(LinkError::OutOfTurn)),
        }
    }

    async fn start_snapshot(&mut self) -> Result<Snapshot, RunError> {
        self.sessions.expect_snapshots();
        // What was lost before doesn't matter any more: the snapshot tells it.
        self.reports.take_overflow();
        self.order_all(|| Order::Snapshot).await?;
        let missing = self.hello.workers.iter().map(|worker| worker.id).collect();
        Ok(Snapshot {
            missing,
            sessions: 0,
            held: Vec::new(),
            until: Instant::now() + PATIENCE,
        })
    }

    fn take_reports(&mut self, link: &mut Link) -> Result<(), LinkError> {
        // All of them first: with one lost the link is too, but the map of sessions needs each.
        let mut outcome = Ok(());
        while let Some((worker, report)) = self.reports.next() {
            outcome = outcome.and(self.take_report(link, worker, report));
        }
        if self.reports.take_overflow() && matches!(link, Link::Up(..)) {
            return Err(LinkError::Overflow);
        }
        outcome
    }

    fn take_report(&mut self, link: &mut Link, worker: WorkerId, report: Report) -> Result<(), LinkError> {
        match report {
            // For who watches now; no snapshot tells of them.
            Report::Event(Event::Packets(packets)) => match link {
                Link::Up(connection, Phase::Live) => connection.say_headers(packets),
                _ => Ok(()),
            },
            Report::Event(event) => {
                self.sessions.learn(&event);
                match link {
                    Link::Up(connection, Phase::Live) => return connection.say(FromShard::Event(event)),
                    Link::Up(_, Phase::Snapshot(snapshot)) if !snapshot.missing.contains(&worker) => {
                        snapshot.held.push(event);
                    }
                    // The snapshot to come says all of it but what peers said.
                    _ => self.texts.keep(event),
                }
                Ok(())
            }
            Report::Stats(worker, tracks) => {
                match (self.stats.take(*worker, tracks, self.relay.as_ref()), link) {
                    (Some(stats), Link::Up(connection, Phase::Live)) => connection.say(stats),
                    _ => Ok(()),
                }
            }
            Report::Snapshot(sessions) => {
                let Link::Up(connection, phase) = link else {
                    return Ok(());
                };
                let Phase::Snapshot(snapshot) = phase else {
                    return Ok(());
                };
                if !snapshot.missing.remove(&worker) {
                    return Ok(());
                }
                self.sessions.learn_snapshot(worker, &sessions);
                for session in sessions {
                    snapshot.sessions += 1;
                    connection.say(FromShard::Session(Box::new(session)))?;
                }
                if !snapshot.missing.is_empty() {
                    return Ok(());
                }
                connection.say(FromShard::SnapshotEnd(snapshot.sessions))?;
                if !self.redial.is_faltering() {
                    tracing::info!(sessions = snapshot.sessions, "the control plane has the snapshot");
                }
                let held = std::mem::take(&mut snapshot.held);
                *phase = Phase::Live;
                let texts = self.texts.take(|session| self.sessions.contains(session));
                texts
                    .into_iter()
                    .chain(held)
                    .try_for_each(|event| connection.say(FromShard::Event(event)))
            }
        }
    }

    async fn ask_for_stats(&mut self, link: &Link) -> Result<Result<(), LinkError>, RunError> {
        if let Link::Up(_, Phase::Live) = link {
            self.stats
                .expect(self.hello.workers.iter().map(|worker| worker.id));
            self.order_all(|| Order::Stats).await?;
        }
        Ok(Ok(()))
    }

    /// Waits while the worker's queue is full.
    async fn order(&self, worker: WorkerId, order: Order) -> Result<(), RunError> {
        let Some(mailbox) = self.mailboxes.get(usize::from(worker.0)) else {
            return Ok(());
        };
        let mut order = order;
        let deadline = Instant::now() + STUCK;
        while let Err(returned) = mailbox.order(order) {
            if Instant::now() > deadline {
                return Err(RunError::Stuck { worker });
            }
            order = returned;
            sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    async fn order_all(&self, order: impl Fn() -> Order) -> Result<(), RunError> {
        for worker in &self.hello.workers {
            self.order(worker.id, order()).await?;
        }
        Ok(())
    }

    /// Ends every session and tells the control plane, as far as that goes in [`GOODBYE`].
    async fn say_goodbye(&mut self, link: &mut Link) {
        let goodbye = async {
            for session in self.sessions.ids() {
                if let Verdict::To(worker, command) =
                    self.sessions.dispatch(Command::CloseSession { session })
                {
                    self.order(worker, Order::Command(command)).await?;
                }
            }
            while !self.sessions.is_empty() {
                let reports = Arc::clone(&self.reports);
                reports.filled().await;
                // A link that is lost now is not worth dialling again.
                let _ = self.take_reports(link);
            }
            Ok::<(), RunError>(())
        };
        let in_time = timeout(GOODBYE, goodbye).await;
        if !matches!(in_time, Ok(Ok(()))) {
            tracing::warn!("not every session could be closed in time");
        }
    }

    async fn stop_workers(&mut self) {
        let stopped = async {
            self.order_all(|| Order::Stop).await?;
            while self.running > 0 && self.lives.recv().await.is_some() {
                self.running -= 1;
            }
            if let Some(relay) = &mut self.relay {
                relay.end().await;
            }
            Ok::<(), RunError>(())
        };
        if !matches!(timeout(GOODBYE, stopped).await, Ok(Ok(()))) {
            tracing::warn!("not every worker stopped in time");
        }
    }
}

/// Completes at a moment, if there is one.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// Texts that came while nobody could be told.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    waiting: VecDeque<(SessionId, ChannelLabel, String)>,
    bytes: usize,
    chats: usize,
    dropped: u64,
}

impl Texts {
    fn keep(&mut self, event: Event) {
        let Event::Text {
            session,
            channel,
            text,
        } = event
        else {
            return;
        };
        let chats = usize::from(channel == ChannelLabel::Chat);
        if self.chats + chats > CHATS {
            self.dropped += 1;
            return;
        }
        self.chats += chats;
        self.bytes += text.len();
        self.waiting.push_back((session, channel, text));
        while self.waiting.len() > TEXTS || self.bytes > TEXT_BYTES {
            let Some((_, channel, oldest)) = self.waiting.pop_front() else {
                break;
            };
            self.chats -= usize::from(channel == ChannelLabel::Chat);
            self.bytes -= oldest.len();
            self.dropped += 1;
        }
    }

    /// Those of sessions that still are, oldest first.
    fn take(&mut self, is_known: impl Fn(SessionId) -> bool) -> Vec<Event> {
        if self.dropped > 0 {
            tracing::warn!(
                dropped = self.dropped,
                "texts of clients were lost while there was no control plane"
            );
        }
        let Self { waiting, .. } = std::mem::take(self);
        let known = waiting.into_iter().filter(|(session, ..)| is_known(*session));
        let event = |(session, channel, text)| Event::Text {
            session,
            channel,
            text,
        };
        known.map(event).collect()
    }
}

/// The latest counters of each worker.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    latest: BTreeMap<WorkerId, (WorkerStats, Vec<TrackStats>)>,
    awaited: HashSet<WorkerId>,
}

impl Stats {
    fn expect(&mut self, workers: impl Iterator<Item = WorkerId>) {
        self.awaited = workers.collect();
    }

    /// The whole, once the last one has reported.
    fn take(
        &mut self,
        worker: WorkerStats,
        tracks: Vec<TrackStats>,
        relay: Option<&RelayHandle>,
    ) -> Option<FromShard> {
        let complete = self.awaited.remove(&worker.worker) && self.awaited.is_empty();
        self.latest.insert(worker.worker, (worker, tracks));
        complete.then(|| FromShard::Stats {
            workers: self.latest.values().map(|(worker, _)| worker.clone()).collect(),
            tracks: self
                .latest
                .values()
                .flat_map(|(_, tracks)| tracks)
                .copied()
                .take(MAX_TRACK_STATS)
                .collect(),
            resident_memory: resident_memory().unwrap_or(0),
            relay: relay.map(|relay| Box::new(relay.stats())),
        })
    }
}

/// Of this process, bytes (`VmRSS` in proc(5)).
fn resident_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    kilobytes.checked_mul(1024)
}

#[cfg(test)]
mod tests;
