//! The connection to the control plane: dialling for ever, the handshake, and a writer that never holds anybody up.

use std::{io, os::unix::fs::MetadataExt, path::PathBuf, time::Duration};

use futures::SinkExt;
use tokio::{
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tokio_util::codec::{FramedRead, FramedWrite};
use weever_proto::{
    Event, FrameError, FromShard, Hello, Packets, RELAY, SessionSnapshot, ShardCodec, ToShard, VERSION,
    Version,
};

/// First and longest pause between two attempts; each is twice the one before.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// Before another connection in place of one that was just closed here: a control plane that has not noticed yet would refuse
/// the name.
pub(crate) const AFRESH: Duration = PAUSE_MIN;
/// A connection that held this long was a good one.
const LASTING: Duration = Duration::from_secs(10);
/// The control plane pings every second. One that says nothing, or reads nothing, for this long hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// Frames waiting to be written: a snapshot of every session and more. When full, the connection is given up.
const FRAMES: usize = 65_536;
/// With so many frames waiting, headers of watched packets don't add to them: 4 MiB at most.
const HEADERS_UNTIL: usize = 64;
/// The minor version that knows routes to the relay.
const KNOWS_RELAY: u32 = 3;
/// Frames that are put into one write.
const BATCH: usize = 256;

/// Why there is no connection, or none any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error("can't connect: {0}")]
    Connect(io::Error),
    #[error("it runs as another user (uid {0}) than this data plane")]
    Foreign(u32),
    #[error("it refused this data plane: {0}")]
    Refused(String),
    #[error("it speaks version {0}, this is version {ours}", ours = VERSION.major)]
    Version(u32),
    #[error("it sent a frame that is out of turn")]
    OutOfTurn,
    #[error("it said nothing for {s} s", s = PATIENCE.as_secs())]
    Silent,
    #[error("it reads too slowly or not at all")]
    Unread,
    #[error("it closed the connection")]
    Closed,
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("too many events at once; starting over with a snapshot")]
    Overflow,
    #[error("a worker did not report its sessions within {s} s", s = PATIENCE.as_secs())]
    NoSnapshot,
}

/// An accepted connection.
#[derive(Debug)]
pub(crate) struct Connection {
    reader: FramedRead<OwnedReadHalf, ShardCodec>,
    frames: mpsc::Sender<FromShard>,
    writer: JoinHandle<()>,
    heard: Instant,
    /// The control plane's.
    version: Version,
}

impl Connection {
    /// The next frame, or why there will be none. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<ToShard, LinkError> {
        let frame = futures::StreamExt::next(&mut self.reader);
        let frame = tokio::time::timeout_at(self.heard + PATIENCE, frame)
            .await
            .map_err(|_| LinkError::Silent)?;
        let frame = frame.ok_or(LinkError::Closed)??;
        self.heard = Instant::now();
        Ok(frame)
    }

    /// Queues a frame, unless the control plane is too old to know its kind.
    pub(crate) fn say(&self, frame: FromShard) -> Result<(), LinkError> {
        if !self.version.knows(frame.since()) {
            return Ok(());
        }
        let frame = match frame {
            FromShard::Session(session) if !self.version.knows(KNOWS_RELAY) => {
                FromShard::Session(without_relay(session))
            }
            frame => frame,
        };
        self.frames.try_send(frame).map_err(|_| LinkError::Unread)
    }

    /// Queues headers of watched packets: only their number, when others wait already.
    pub(crate) fn say_headers(&self, packets: Box<Packets>) -> Result<(), LinkError> {
        let packets = if self.frames.capacity() < FRAMES - HEADERS_UNTIL {
            Box::new(packets.thinned())
        } else {
            packets
        };
        self.say(FromShard::Event(Event::Packets(packets)))
    }

    /// Closes after what was said has been written, or after `patience`.
    pub(crate) async fn finish(self, patience: Duration) {
        let Self { frames, writer, .. } = self;
        drop(frames);
        // Whether it was written in time changes nothing any more.
        let _ = timeout(patience, writer).await;
    }
}

/// A control plane that doesn't know the relay could not read these routes, and with one of them not the session.
fn without_relay(mut session: Box<SessionSnapshot>) -> Box<SessionSnapshot> {
    session.routes.retain(|route| route.track_worker != RELAY);
    session
}

/// When to dial again after a connection was lost: at once, but later and later while none lasts. A control plane that
/// accepts everybody and then talks nonsense is not met a thousand times a second.
#[derive(Debug, Default)]
pub(crate) struct Redial {
    pause: Duration,
}

impl Redial {
    /// The last connection `lasted` so long.
    pub(crate) fn after(&mut self, lasted: Duration) -> Duration {
        if lasted >= LASTING {
            self.pause = Duration::ZERO;
        }
        let pause = self.pause;
        self.pause = (2 * pause).clamp(PAUSE_MIN, PAUSE_MAX);
        pause
    }

    /// Connections are lost again and again: each is no news any more.
    pub(crate) fn is_faltering(&self) -> bool {
        self.pause > 2 * PAUSE_MIN
    }
}

/// Dials until the control plane accepts.
pub(crate) async fn dial(path: PathBuf, hello: Hello, first: Duration) -> Connection {
    sleep(first).await;
    let mut pause = PAUSE_MIN;
    let mut said = String::new();
    loop {
        let error = match timeout(PATIENCE, attempt(&path, &hello)).await {
            Ok(Ok(connection)) => return connection,
            Ok(Err(error)) => error,
            Err(_) => LinkError::Silent,
        };
        let error = error.to_string();
        if error == said {
            tracing::debug!(socket = %path.display(), %error, "still no control plane");
        } else {
            tracing::warn!(socket = %path.display(), %error, "no control plane; trying again until there is one");
            said = error;
        }
        sleep(pause).await;
        pause = (2 * pause).min(PAUSE_MAX);
    }
}

async fn attempt(path: &PathBuf, hello: &Hello) -> Result<Connection, LinkError> {
    let stream = UnixStream::connect(path).await.map_err(LinkError::Connect)?;
    is_ours(&stream)?;
    let (reader, writer) = stream.into_split();
    let mut reader = FramedRead::new(reader, ShardCodec);
    let mut writer = FramedWrite::new(writer, ShardCodec);
    writer.send(FromShard::Hello(hello.clone())).await?;
    let version = match futures::StreamExt::next(&mut reader)
        .await
        .ok_or(LinkError::Closed)??
    {
        ToShard::Welcome(version) if version.major == VERSION.major => version,
        ToShard::Welcome(version) => return Err(LinkError::Version(version.major)),
        ToShard::Refused(reason) => return Err(LinkError::Refused(reason)),
        ToShard::Command(_) | ToShard::Ping(_) => return Err(LinkError::OutOfTurn),
    };
    if version != VERSION {
        let (theirs, ours) = (version.minor, VERSION.minor);
        tracing::info!(
            theirs,
            ours,
            "the control plane speaks another minor version: what only one knows is left out"
        );
    }
    let (frames, waiting) = mpsc::channel(FRAMES);
    let writer = tokio::spawn(write(writer, waiting));
    Ok(Connection {
        reader,
        frames,
        writer,
        heard: Instant::now(),
        version,
    })
}

/// Whoever has put a socket where ours should be does not get to say what is sent where. Root may dial whom it likes.
fn is_ours(stream: &UnixStream) -> Result<(), LinkError> {
    let peer = stream.peer_cred().map_err(LinkError::Connect)?.uid();
    let own = std::fs::metadata("/proc/self").map_or(0, |meta| meta.uid());
    match [0, own].contains(&peer) || own == 0 {
        true => Ok(()),
        false => Err(LinkError::Foreign(peer)),
    }
}

/// Ends when the connection is dropped and all is written, or when the other side doesn't take it.
async fn write(mut writer: FramedWrite<OwnedWriteHalf, ShardCodec>, mut waiting: mpsc::Receiver<FromShard>) {
    let mut batch = Vec::with_capacity(BATCH);
    while waiting.recv_many(&mut batch, BATCH).await > 0 {
        match timeout(PATIENCE, write_batch(&mut writer, &mut batch)).await {
            Ok(Ok(())) => {}
            // The reader learns of it too, or finds the queue closed.
            Ok(Err(error)) => return tracing::debug!(%error, "writing to the control plane failed"),
            Err(_) => return tracing::debug!("the control plane doesn't read"),
        }
    }
}

async fn write_batch(
    writer: &mut FramedWrite<OwnedWriteHalf, ShardCodec>,
    batch: &mut Vec<FromShard>,
) -> Result<(), FrameError> {
    for frame in batch.drain(..) {
        match writer.feed(frame).await {
            Err(error @ FrameError::Oversized(_)) => tracing::error!(%error, "a frame could not be sent"),
            result => result?,
        }
    }
    writer.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_that_do_not_last_are_made_ever_more_rarely() {
        let mut redial = Redial::default();
        let mut after = |lasted| redial.after(lasted).as_millis();
        let quick = Duration::from_millis(1);
        assert_eq!(after(quick), 0, "a restart is not waited for");
        let pauses: Vec<u128> = (0..7).map(|_| after(quick)).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 2000, 2000]);
        assert_eq!([after(LASTING), after(quick)], [0, 100]);
    }
}
