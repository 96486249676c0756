//! The control socket: data planes dial in, say who they are, tell what they hold, and are told what to do.

use std::collections::HashSet;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{Sink, SinkExt, Stream, StreamExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_util::codec::Framed;
use weever_proto::{ControlCodec, FrameError, FromShard, Hello, ToShard, VERSION, Version};

use crate::config::user_id;
use crate::metrics::Metrics;
use crate::rooms::{Action, ShardId};
use crate::signalling::Signalling;

/// From the connection to its first frame.
const HELLO: Duration = Duration::from_secs(2);
const PING: Duration = Duration::from_secs(1);
/// A data plane that says nothing for this long hangs: it sends statistics every second.
const SILENCE: Duration = Duration::from_secs(5);
/// For the kernel to take what is written. Longer than this, and nobody reads.
const WRITE: Duration = Duration::from_secs(5);
/// Commands written in one go, so that the data plane is listened to in between.
const BATCH: usize = 256;
/// Connections at once; a machine has fewer cores.
const MAX_SHARDS: usize = 1024;
/// For the last commands to be written when the control plane ends.
const LAST_COMMANDS: Duration = Duration::from_secs(2);

/// Why the control socket can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Somebody listens there.
    #[error("{0} is in use by another control plane: stop it, or name another socket with --control-socket")]
    InUse(String),
    /// Something else has the path.
    #[error("{0} exists and is no socket: remove it, or name another place with --control-socket")]
    NoSocket(String),
    /// Somebody else could put a socket of their own in its place.
    #[error("the directory {0} belongs to another user: name another place with --control-socket")]
    Foreign(String),
    /// The file system refused.
    #[error("control socket {path}: {source}; name another place with --control-socket")]
    Io {
        /// Which.
        path: String,
        /// Why.
        source: io::Error,
    },
}

/// Listens, for this user alone: directory 0700, socket 0600. What a dead control plane left behind is replaced.
pub fn listen(path: &Path) -> Result<UnixListener, SocketError> {
    let io = |source| SocketError::Io {
        path: path.display().to_string(),
        source,
    };
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    match dir.map(std::fs::metadata) {
        Some(Ok(meta)) if ![0, user_id()].contains(&meta.uid()) => {
            let dir = dir.map(|dir| dir.display().to_string());
            return Err(SocketError::Foreign(dir.unwrap_or_default()));
        }
        Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
            let mut builder = std::fs::DirBuilder::new();
            let dir = dir.unwrap_or(Path::new("."));
            builder.recursive(true).mode(0o700).create(dir).map_err(io)?;
        }
        _ => {}
    }
    if let Ok(meta) = std::fs::symlink_metadata(path) {
        if !meta.file_type().is_socket() {
            return Err(SocketError::NoSocket(path.display().to_string()));
        }
        match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => return Err(SocketError::InUse(path.display().to_string())),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path).map_err(io)?;
            }
            Err(error) => return Err(io(error)),
        }
    }
    let listener = UnixListener::bind(path).map_err(io)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(io)?;
    Ok(listener)
}

/// Names in use, so that no two data planes have the same.
type Names = Arc<Mutex<HashSet<String>>>;

/// Takes connections until told to end; then those that there are end when their last command has been written.
pub async fn serve(
    listener: UnixListener,
    signalling: Signalling,
    metrics: Arc<Metrics>,
    mut end: watch::Receiver<bool>,
) {
    let names = Names::default();
    let room = Arc::new(Semaphore::new(MAX_SHARDS));
    loop {
        let accepted = tokio::select! {
            _ = end.wait_for(|end| *end) => break,
            accepted = accept(&listener, &room) => accepted,
        };
        let Some((stream, permit)) = accepted else {
            return;
        };
        let connection = Connection {
            signalling: signalling.clone(),
            metrics: metrics.clone(),
            names: names.clone(),
            end: end.clone(),
        };
        tokio::spawn(async move {
            connection.serve(stream).await;
            drop(permit);
        });
    }
    drop(listener);
    // Fails when there is nobody left to let go.
    let _ = signalling.let_go_of_shards().await;
    let all = u32::try_from(MAX_SHARDS).unwrap_or(u32::MAX);
    // Who doesn't read by then will tell the next control plane what it has, and be told anew.
    let _ = tokio::time::timeout(LAST_COMMANDS, room.acquire_many(all)).await;
}

async fn accept(
    listener: &UnixListener,
    room: &Arc<Semaphore>,
) -> Option<(UnixStream, OwnedSemaphorePermit)> {
    let permit = room.clone().acquire_owned().await.ok()?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return Some((stream, permit)),
            Err(error) => {
                tracing::warn!(%error, "control socket: accept");
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
    #[error("it was silent for {SILENCE:?}")]
    Silent,
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
        }
    }
}

struct Connection {
    signalling: Signalling,
    metrics: Arc<Metrics>,
    names: Names,
    /// Whether the control plane is ending.
    end: watch::Receiver<bool>,
}

impl Connection {
    async fn serve(self, stream: UnixStream) {
        let mut frames = Framed::new(stream, ControlCodec);
        let hello = match self.greet(&mut frames).await {
            Ok(hello) => hello,
            Err(reason) => {
                self.metrics.shard_disconnected(reason.word());
                return tracing::warn!(%reason, "a data plane's connection was closed");
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
        if let Ok(commands) = self.signalling.shard_up(shard, hello).await {
            self.metrics.shard_connected();
            let reason = self.talk(&name, version, shard, frames, commands).await;
            self.metrics.shard_disconnected(reason.word());
            match reason {
                // How an orderly end looks. What was lost by another is told with its sessions.
                Ended::Closed => tracing::info!(name, "a data plane closed its connection"),
                Ended::LetGo => tracing::info!(name, "a data plane was told everything"),
                reason => tracing::warn!(name, %reason, "a data plane's connection was closed"),
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
        mut frames: F,
        mut commands: mpsc::Receiver<ToShard>,
    ) -> Ended
    where
        F: Stream<Item = Result<FromShard, FrameError>> + Sink<ToShard, Error = FrameError> + Unpin,
    {
        let mut ping = tokio::time::interval(PING);
        let mut heard = tokio::time::Instant::now();
        let mut nonce = 0;
        loop {
            tokio::select! {
                frame = frames.next() => match frame {
                    None => return Ended::Closed,
                    Some(Err(error)) => return error.into(),
                    Some(Ok(frame)) => {
                        heard = tokio::time::Instant::now();
                        if let Err(ended) = self.take(name, shard, frame).await {
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
                    if heard.elapsed() > SILENCE {
                        return Ended::Silent;
                    }
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
            } => {
                let permille = workers
                    .iter()
                    .map(|stats| (stats.worker, stats.load_permille))
                    .collect();
                self.metrics.set_workers(name, workers, &tracks, resident_memory);
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
        self.signalling.act(action).await.map_err(|_| Ended::Closed)
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
