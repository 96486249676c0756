//! The control socket: data planes dial in, say who they are, tell what they hold, and are told what to do.

mod complaints;
mod place;

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{Sink, SinkExt, Stream, StreamExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::codec::Framed;
use weever_proto::{ControlCodec, FrameError, FromShard, Hello, ToShard, VERSION, Version};

use complaints::Complaints;
pub use place::{SocketError, listen};

use crate::metrics::Metrics;
use crate::rooms::{Action, ShardId};
use crate::signalling::Signalling;

/// From the connection to its first frame.
const HELLO: Duration = Duration::from_secs(2);
const PING: Duration = Duration::from_secs(1);
/// A data plane that says nothing while so many are sent hangs: it sends statistics every second. Counted, not timed: after a
/// stop of this process its word may wait to be read.
const UNHEARD_PINGS: u32 = 5;
/// From the greeting to the end of the snapshot.
const SNAPSHOT: Duration = Duration::from_secs(30);
/// For the kernel to take what is written. Longer than this, and nobody reads.
const WRITE: Duration = Duration::from_secs(5);
/// Commands written in one go, so that the data plane is listened to in between.
const BATCH: usize = 256;
/// For the last commands to be written when the control plane ends.
const LAST_COMMANDS: Duration = Duration::from_secs(2);

/// Names in use, so that no two data planes have the same.
type Names = Arc<Mutex<HashSet<String>>>;

/// Takes connections until told to end, so many at once; then those that there are end when their last command has been written.
pub async fn serve(
    listener: UnixListener,
    max: usize,
    signalling: Signalling,
    metrics: Arc<Metrics>,
    mut end: watch::Receiver<bool>,
) {
    let names = Names::default();
    let complaints = Arc::new(Complaints::default());
    let room = Arc::new(Semaphore::new(max));
    loop {
        let accepted = tokio::select! {
            _ = end.wait_for(|end| *end) => break,
            accepted = accept(&listener, &room, &complaints) => accepted,
        };
        let Some((stream, permit)) = accepted else {
            return;
        };
        if !place::is_ours(&stream) {
            if complaints.is_news("", &"foreign") {
                tracing::warn!("control socket: another user's process dialled and was refused");
            }
            continue;
        }
        let connection = Connection {
            signalling: signalling.clone(),
            metrics: metrics.clone(),
            names: names.clone(),
            end: end.clone(),
            complaints: complaints.clone(),
        };
        tokio::spawn(async move {
            connection.serve(stream).await;
            drop(permit);
        });
    }
    drop(listener);
    // Fails when there is nobody left to let go.
    let _ = signalling.let_go_of_shards().await;
    let all = u32::try_from(max).unwrap_or(u32::MAX);
    // Who doesn't read by then will tell the next control plane what it has, and be told anew.
    let _ = tokio::time::timeout(LAST_COMMANDS, room.acquire_many(all)).await;
}

async fn accept(
    listener: &UnixListener,
    room: &Arc<Semaphore>,
    complaints: &Complaints,
) -> Option<(UnixStream, OwnedSemaphorePermit)> {
    let permit = room.clone().acquire_owned().await.ok()?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return Some((stream, permit)),
            Err(error) => {
                if complaints.is_news("", &error) {
                    tracing::warn!(%error, "control socket: accept");
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("it said nothing within {HELLO:?}")]
    NoHello,
    #[error("its first frame was no hello")]
    NotHello,
    #[error("it was refused: {0}")]
    Refused(String),
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("it closed the connection")]
    Closed,
    #[error("it was silent while {UNHEARD_PINGS} pings were sent")]
    Silent,
    #[error("its snapshot did not end within {SNAPSHOT:?}")]
    NoSnapshot,
    #[error("its snapshot has more than the {0} sessions that it has room for")]
    TooMany(u32),
    #[error("its snapshot had {0} sessions, and it says {1}")]
    Miscounted(u32, u32),
    #[error("it told of a snapshot that was over")]
    SnapshotAgain,
    #[error("it took no commands")]
    Hung,
    #[error("this control plane ends")]
    LetGo,
    #[error("it introduced itself twice")]
    HelloAgain,
}

impl Ended {
    /// For metrics.
    fn word(&self) -> &'static str {
        match self {
            Self::NoHello => "no-hello",
            Self::NotHello => "not-hello",
            Self::Refused(_) => "refused",
            Self::Frame(FrameError::Io(_)) => "broken",
            Self::Frame(_) => "bad-frame",
            Self::Closed => "closed",
            Self::Silent => "silent",
            Self::Hung => "hung",
            Self::LetGo => "let-go",
            Self::HelloAgain => "hello-again",
            Self::NoSnapshot => "no-snapshot",
            Self::TooMany(_) | Self::Miscounted(..) | Self::SnapshotAgain => "bad-snapshot",
        }
    }
}

struct Connection {
    signalling: Signalling,
    metrics: Arc<Metrics>,
    names: Names,
    /// Whether the control plane is ending.
    end: watch::Receiver<bool>,
    complaints: Arc<Complaints>,
}

impl Connection {
    async fn serve(self, stream: UnixStream) {
        let mut frames = Framed::new(stream, ControlCodec);
        let hello = match self.greet(&mut frames).await {
            Ok(hello) => hello,
            Err(reason) => {
                self.metrics.shard_disconnected(reason.word());
                if self.complaints.is_news("", &reason) {
                    tracing::warn!(%reason, "a data plane's connection was closed");
                }
                return;
            }
        };
        let (name, version) = (hello.name.clone(), hello.version);
        if version != VERSION {
            let (theirs, ours) = (version.minor, VERSION.minor);
            tracing::info!(
                name,
                theirs,
                ours,
                "a data plane speaks another minor version: what only one knows is left out"
            );
        }
        let shard = self.signalling.shard_id();
        let snapshot = Snapshot::begin(hello.max_sessions);
        if let Ok(commands) = self.signalling.shard_up(shard, hello).await {
            self.metrics.shard_connected();
            let reason = self.talk(&name, version, shard, snapshot, frames, commands).await;
            self.metrics.shard_disconnected(reason.word());
            let is_news = self.complaints.is_news(&name, &reason);
            match reason {
                // How an orderly end looks. What was lost by another is told with its sessions.
                Ended::Closed => tracing::info!(name, "a data plane closed its connection"),
                Ended::LetGo => tracing::info!(name, "a data plane was told everything"),
                reason if is_news => tracing::warn!(name, %reason, "a data plane's connection was closed"),
                reason => tracing::debug!(name, %reason, "a data plane's connection was closed again"),
            }
            // Fails only when the process is ending.
            let _ = self.signalling.act(Action::ShardDown { shard }).await;
            self.metrics.forget_workers(&name);
        }
        self.forget(&name);
    }

    fn forget(&self, name: &str) {
        if let Ok(mut names) = self.names.lock() {
            names.remove(name);
        }
    }

    async fn greet<F>(&self, frames: &mut F) -> Result<Hello, Ended>
    where
        F: Stream<Item = Result<FromShard, FrameError>> + Sink<ToShard, Error = FrameError> + Unpin,
    {
        let first = tokio::time::timeout(HELLO, frames.next())
            .await
            .map_err(|_| Ended::NoHello)?;
        let FromShard::Hello(hello) = first.ok_or(Ended::Closed)?? else {
            return Err(Ended::NotHello);
        };
        if let Err(reason) = self.admit(&hello) {
            write(frames, [ToShard::Refused(reason.clone())]).await?;
            return Err(Ended::Refused(reason));
        }
        if let Err(ended) = write(frames, [ToShard::Welcome(VERSION)]).await {
            self.forget(&hello.name);
            return Err(ended);
        }
        Ok(hello)
    }

    fn admit(&self, hello: &Hello) -> Result<(), String> {
        if hello.version.major != VERSION.major {
            let (theirs, ours) = (hello.version.major, VERSION.major);
            return Err(format!(
                "it speaks version {theirs} of the protocol, this control plane {ours}"
            ));
        }
        let mut workers = HashSet::new();
        if let Some(twice) = hello.workers.iter().find(|worker| !workers.insert(worker.id)) {
            return Err(format!("it has two workers with the number {}", twice.id.0));
        }
        let mut names = self
            .names
            .lock()
            .map_err(|_| "the control plane is ending".to_owned())?;
        if !names.insert(hello.name.clone()) {
            return Err(format!(
                "another data plane is connected as {:?}: give it another --name",
                hello.name
            ));
        }
        Ok(())
    }

    async fn talk<F>(
        &self,
        name: &str,
        version: Version,
        shard: ShardId,
        mut snapshot: Snapshot,
        mut frames: F,
        mut commands: mpsc::Receiver<ToShard>,
    ) -> Ended
    where
        F: Stream<Item = Result<FromShard, FrameError>> + Sink<ToShard, Error = FrameError> + Unpin,
    {
        let mut ping = tokio::time::interval(PING);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut unheard = 0;
        let mut nonce = 0;
        loop {
            tokio::select! {
                frame = frames.next() => match frame {
                    None => return Ended::Closed,
                    Some(Err(error)) => return error.into(),
                    Some(Ok(frame)) => {
                        unheard = 0;
                        let taken = match snapshot.check(&frame) {
                            Ok(()) => self.take(name, shard, frame).await,
                            Err(ended) => Err(ended),
                        };
                        if let Err(ended) = taken {
                            return ended;
                        }
                    }
                },
                command = commands.recv() => {
                    let Some(command) = command else {
                        return if *self.end.borrow() { Ended::LetGo } else { Ended::Hung };
                    };
                    // One flush for all that wait.
                    let waiting = std::iter::from_fn(|| commands.try_recv().ok()).take(BATCH);
                    let all = std::iter::once(command).chain(waiting);
                    // It may be too old to know them.
                    let known = all.filter(|frame| version.knows(frame.since()));
                    if let Err(ended) = write(&mut frames, known).await {
                        return ended;
                    }
                }
                _ = ping.tick() => {
                    if unheard > UNHEARD_PINGS {
                        return Ended::Silent;
                    }
                    if snapshot.is_late() {
                        return Ended::NoSnapshot;
                    }
                    unheard += 1;
                    nonce += 1;
                    if let Err(ended) = write(&mut frames, [ToShard::Ping(nonce)]).await {
                        return ended;
                    }
                }
            }
        }
    }

    async fn take(&self, name: &str, shard: ShardId, frame: FromShard) -> Result<(), Ended> {
        let action = match frame {
            FromShard::Hello(_) => return Err(Ended::HelloAgain),
            FromShard::Stats {
                workers,
                tracks,
                resident_memory,
                relay,
            } => {
                let permille = workers
                    .iter()
                    .map(|stats| (stats.worker, stats.load_permille))
                    .collect();
                self.metrics
                    .set_workers(name, workers, &tracks, resident_memory, relay);
                Action::Loads {
                    shard,
                    permille,
                    tracks,
                }
            }
            FromShard::Pong(_) => return Ok(()),
            FromShard::Event(event) => match self.signalling.windows().take(event) {
                Some(event) => Action::Event { shard, event },
                None => return Ok(()),
            },
            FromShard::Session(session) => Action::Snapshot { shard, session },
            FromShard::SnapshotEnd(_) => Action::SnapshotEnd { shard },
        };
        self.act(action).await
    }

    async fn act(&self, action: Action) -> Result<(), Ended> {
        self.signalling.act(action).await.map_err(|_| Ended::Closed)
    }
}

/// A data plane tells what it holds once, within its own bounds, and in time: its sessions of before wait for that.
struct Snapshot {
    told: u32,
    max: u32,
    /// When it has to be over; `None` when it is.
    until: Option<Instant>,
}

impl Snapshot {
    fn begin(max: u32) -> Self {
        Self {
            told: 0,
            max,
            until: Some(Instant::now() + SNAPSHOT),
        }
    }

    fn check(&mut self, frame: &FromShard) -> Result<(), Ended> {
        match frame {
            FromShard::Session(_) | FromShard::SnapshotEnd(_) if self.until.is_none() => {
                Err(Ended::SnapshotAgain)
            }
            FromShard::Session(_) if self.told == self.max => Err(Ended::TooMany(self.max)),
            FromShard::SnapshotEnd(count) if *count != self.told => Err(Ended::Miscounted(self.told, *count)),
            FromShard::Session(_) => {
                self.told += 1;
                Ok(())
            }
            FromShard::SnapshotEnd(_) => {
                self.until = None;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn is_late(&self) -> bool {
        self.until.is_some_and(|until| until < Instant::now())
    }
}

/// Writes all of them, or finds that nobody reads.
async fn write<F>(frames: &mut F, all: impl IntoIterator<Item = ToShard>) -> Result<(), Ended>
where
    F: Sink<ToShard, Error = FrameError> + Unpin,
{
    let writing = async {
        for one in all {
            frames.feed(one).await?;
        }
        frames.flush().await
    };
    match tokio::time::timeout(WRITE, writing).await {
        Ok(written) => Ok(written?),
        Err(_) => Err(Ended::Hung),
    }
}
