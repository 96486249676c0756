//! The connections to Redis: one for commands, one for messages. Both are made anew for as long as it takes.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::StreamExt;
use redis::{FromRedisValue, RedisError, ScriptInvocation};
use tokio::sync::{Mutex, Notify, broadcast, watch};
use tokio::time::timeout;

use super::PATIENCE;
use super::place::{CONNECT, Connection, Place, PlaceError, is_refusal};
use crate::directory::{Away, Heard, MAX_MESSAGE, MAX_WAITING};
use crate::metrics::DirectoryMetrics;

/// The first pause between two attempts to connect, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// How often it is looked whether the connection for messages still leads somewhere.
const PING: Duration = Duration::from_secs(2);
/// Operations without an answer, in a row, after which a new connection is tried: the old one may lead nowhere.
const TIMEOUTS: u32 = 3;

pub(super) struct Link {
    place: Place,
    channel: String,
    connection: watch::Sender<Option<Connection>>,
    lost: Notify,
    timeouts: AtomicU32,
    /// What was said of it last, in the log: the reason why it is away.
    said: Mutex<Option<String>>,
    listening: AtomicBool,
    /// Nobody uses it any more.
    over: AtomicBool,
    told: broadcast::Sender<Heard>,
    metrics: DirectoryMetrics,
}

impl Link {
    pub(super) fn new(place: Place, channel: String, metrics: DirectoryMetrics) -> Arc<Self> {
        Arc::new(Self {
            place,
            channel,
            connection: watch::Sender::new(None),
            lost: Notify::new(),
            timeouts: AtomicU32::new(0),
            said: Mutex::new(None),
            listening: AtomicBool::new(false),
            over: AtomicBool::new(false),
            told: broadcast::Sender::new(MAX_WAITING),
            metrics,
        })
    }

    /// The first attempt; from now on it goes on by itself, until the last who uses it is gone.
    pub(super) async fn first(self: &Arc<Self>) -> Result<(), PlaceError> {
        if let Err(error) = self.connect().await {
            if is_refusal(&error) {
                return Err(PlaceError::Refused(error.to_string()));
            }
            tracing::warn!(%error, "Redis is not there: serving without the cluster until it is");
            *self.said.lock().await = Some(error.to_string());
        }
        tokio::spawn(keep(Arc::downgrade(self)));
        tokio::spawn(hear(Arc::downgrade(self)));
        Ok(())
    }

    pub(super) fn listen(&self) -> broadcast::Receiver<Heard> {
        self.told.subscribe()
    }

    /// Ends both connections, soon.
    pub(super) fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
        self.lost.notify_one();
    }

    pub(super) fn is_there(&self) -> bool {
        self.connection.borrow().is_some() && self.listening.load(Ordering::Relaxed)
    }

    async fn connect(&self) -> Result<(), RedisError> {
        let connected = timeout(CONNECT, self.place.connect()).await;
        let connection =
            connected.map_err(|_| RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut)))??;
        self.timeouts.store(0, Ordering::Relaxed);
        self.connection.send_replace(Some(connection));
        self.metrics.connected(true);
        if self.said.lock().await.take().is_some() {
            tracing::info!("Redis is there again");
        }
        Ok(())
    }

    /// One line when it goes away, and one whenever the reason is another.
    async fn is_away(&self, why: &str) {
        let mut said = self.said.lock().await;
        if said.as_deref() != Some(why) {
            tracing::warn!(why, "Redis is away: serving without the cluster until it is back");
            *said = Some(why.to_owned());
        }
    }

    fn lose(&self) {
        if self.connection.send_replace(None).is_some() {
            self.metrics.connected(false);
        }
        self.lost.notify_one();
    }

    /// Runs a script, within a second.
    pub(super) async fn invoke<T: FromRedisValue + Send>(
        &self,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, Away> {
        let Some(connection) = self.connection.borrow().clone() else {
            return Err(Away::Unreachable("no connection".into()));
        };
        let run = async {
            match connection {
                Connection::One(mut one) => script.invoke_async(&mut one).await,
                Connection::Cluster(mut cluster) => script.invoke_async(&mut cluster).await,
            }
        };
        let error = match timeout(PATIENCE, run).await {
            Ok(Ok(done)) => {
                self.timeouts.store(0, Ordering::Relaxed);
                return Ok(done);
            }
            Ok(Err(error)) if !error.is_timeout() => error,
            Ok(Err(_)) | Err(_) => {
                if self.timeouts.fetch_add(1, Ordering::Relaxed) + 1 >= TIMEOUTS {
                    self.is_away("it does not answer").await;
                    self.lose();
                }
                return Err(Away::TimedOut);
            }
        };
        // A replica that was the master, a server that has no password any more: another connection may be better.
        let useless = error.is_unrecoverable_error()
            || error.is_io_error()
            || matches!(
                error.code(),
                Some("READONLY" | "LOADING" | "MASTERDOWN" | "CLUSTERDOWN" | "NOAUTH")
            );
        if useless {
            self.is_away(&error.to_string()).await;
            self.lose();
            return Err(Away::Unreachable(error.to_string()));
        }
        if is_refusal(&error) {
            return Err(Away::Denied(error.to_string()));
        }
        Err(Away::Refused(error.to_string()))
    }
}

/// Connects for commands whenever there is no connection.
async fn keep(link: Weak<Link>) {
    let mut pause = PAUSE.0;
    while let Some(link) = link.upgrade().filter(|link| !link.over.load(Ordering::Relaxed)) {
        if link.connection.borrow().is_some() {
            pause = PAUSE.0;
            link.lost.notified().await;
            continue;
        }
        match link.connect().await {
            Ok(()) => link.metrics.reconnected(),
            Err(error) => {
                link.is_away(&error.to_string()).await;
                drop(link);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE.1);
            }
        }
    }
}

/// Hears messages, for as long as anybody uses the link.
async fn hear(link: Weak<Link>) {
    let mut pause = PAUSE.0;
    while let Some(link) = link.upgrade().filter(|link| !link.over.load(Ordering::Relaxed)) {
        let listening = timeout(CONNECT, async {
            let mut listening = link.place.listen().await?;
            listening.subscribe(&link.channel).await?;
            Ok::<_, RedisError>(listening)
        });
        match listening.await {
            Ok(Ok(listening)) => {
                pause = PAUSE.0;
                link.listening.store(true, Ordering::Relaxed);
                // What was told before is not known.
                let _ = link.told.send(Heard::Anew);
                pass_on(&link, listening).await;
                link.listening.store(false, Ordering::Relaxed);
            }
            Ok(Err(_)) | Err(_) => {
                drop(link);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE.1);
            }
        }
    }
}

/// Until the connection ends, or leads nowhere any more.
async fn pass_on(link: &Link, listening: redis::aio::PubSub) {
    let (mut asking, mut messages) = listening.split();
    let mut ping = tokio::time::interval(PING);
    loop {
        tokio::select! {
            message = messages.next() => match message {
                Some(message) => {
                    let bytes = message.get_payload_bytes();
                    let read = (bytes.len() <= MAX_MESSAGE).then(|| serde_json::from_slice(bytes).ok());
                    // Maybe nobody listens.
                    let _ = link.told.send(read.flatten().map_or(Heard::Nonsense, Heard::Message));
                }
                None => return,
            },
            _ = ping.tick() => {
                if link.over.load(Ordering::Relaxed)
                    || !matches!(timeout(PATIENCE, asking.ping::<redis::Value>()).await, Ok(Ok(_)))
                {
                    return;
                }
            }
        }
    }
}
