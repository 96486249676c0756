//! The connection to NATS: it never holds anybody up. What can't be sent at once is refused, what comes too fast is lost.

use std::time::Duration;

use async_nats::{
    Client, ConnectOptions, Event, Message, Subject, connection::State, rustls::crypto::aws_lc_rs,
};
use bytes::Bytes;
use futures::{FutureExt, Stream, StreamExt, stream::SelectAll};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use weever_core::relay::RelayDrop;
use weever_proto::TrackId;

use super::settings::{Login, RelaySettings};

/// Commands that wait for the connection's task: what may be sent late when a connection breaks.
const COMMANDS: usize = 64;
/// Messages of one track that wait to be taken: some seconds of video. What comes then is lost and counted.
const DELIVERIES: usize = 1024;
/// What the library tells of itself; more at once is told by nobody.
const EVENTS: usize = 128;
/// A server that says nothing for three of these is gone.
const PING: Duration = Duration::from_secs(2);
const HANDSHAKE: Duration = Duration::from_secs(5);
/// How long the first message waits that finds the commands full; those after it don't.
const PATIENCE: Duration = Duration::from_millis(5);
/// First and longest pause between two attempts to connect; each is twice the one before.
const PAUSE_MIN_MS: u64 = 50;
const PAUSE_MAX_MS: u64 = 2000;

/// Why there is no beginning to connect. That there is nobody to connect to is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BusError {
    #[error("reading the credentials: {0}")]
    Credentials(#[from] std::io::Error),
    #[error(transparent)]
    Connect(#[from] async_nats::ConnectError),
}

/// Which of a track's two subjects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Origin → followers.
    Media,
    /// Followers → origin.
    Up,
}

/// A message as it came.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) way: Way,
    pub(crate) track: TrackId,
    pub(crate) message: Message,
}

/// A subscription lasts as long as this.
#[derive(Debug)]
pub(crate) struct Subscription {
    _ends: oneshot::Sender<()>,
}

type Deliveries = std::pin::Pin<Box<dyn Stream<Item = Delivery> + Send>>;

pub(crate) struct Bus {
    client: Client,
    prefix: String,
    deliveries: SelectAll<Deliveries>,
    congested: bool,
}

impl Bus {
    /// Begins to connect, for ever. Must be called within an executor.
    pub(crate) async fn open(
        settings: &RelaySettings,
        name: &str,
    ) -> Result<(Self, mpsc::Receiver<Event>), BusError> {
        // Another part of the process may have done it.
        let _ = aws_lc_rs::default_provider().install_default();
        let (events, happened) = mpsc::channel(EVENTS);
        let mut options = ConnectOptions::new()
            .name(name)
            .no_echo()
            .require_tls(settings.is_tls())
            .retry_on_initial_connect()
            .max_reconnects(None)
            .reconnect_delay_callback(pause)
            .connection_timeout(HANDSHAKE)
            .ping_interval(PING)
            .client_capacity(COMMANDS)
            .subscription_capacity(DELIVERIES)
            .event_callback(move |event| {
                // When it is full it says nothing that isn't known by then.
                let _ = events.try_send(event);
                std::future::ready(())
            });
        if let Some(path) = &settings.ca_file {
            options = options.add_root_certificates(path.clone());
        }
        if let Some(path) = &settings.credentials {
            options = options.credentials_file(path).await?;
        }
        options = match settings.login.clone() {
            None => options,
            Some(Login::Token(token)) => options.token(token),
            Some(Login::Password(user, password)) => options.user_and_password(user, password),
        };
        let bus = Self {
            client: options.connect(settings.servers.clone()).await?,
            prefix: settings.prefix.clone(),
            deliveries: SelectAll::new(),
            congested: false,
        };
        Ok((bus, happened))
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    pub(crate) fn subject(&self, way: Way, track: TrackId) -> Subject {
        let (prefix, track) = (&self.prefix, track.0);
        let way = match way {
            Way::Media => "media",
            Way::Up => "up",
        };
        format!("{prefix}.{way}.{track:016x}").into()
    }

    /// Largest payload that the server takes.
    pub(crate) fn max_payload(&self) -> usize {
        self.client.max_payload()
    }

    /// Sends now, or not at all.
    pub(crate) async fn publish(&mut self, subject: Subject, payload: Bytes) -> Result<(), RelayDrop> {
        if !self.is_connected() {
            return Err(RelayDrop::Disconnected);
        }
        let publish = self.client.publish(subject, payload);
        let sent = if self.congested {
            publish.now_or_never()
        } else {
            timeout(PATIENCE, publish).await.ok()
        };
        self.congested = sent.is_none();
        match sent {
            Some(Ok(())) => Ok(()),
            Some(Err(_)) => Err(RelayDrop::Oversized),
            None => Err(RelayDrop::Congested),
        }
    }

    /// `None`: not now.
    pub(crate) async fn subscribe(&mut self, way: Way, track: TrackId) -> Option<Subscription> {
        if !self.is_connected() {
            return None;
        }
        let subscribe = self.client.subscribe(self.subject(way, track));
        let messages = timeout(PATIENCE, subscribe).await.ok()?.ok()?;
        let (ends, ended) = oneshot::channel();
        let deliveries = messages.map(move |message| Delivery { way, track, message });
        self.deliveries.push(deliveries.take_until(ended).boxed());
        Some(Subscription { _ends: ends })
    }

    /// The next message. Pending while there is no subscription. Cancel safe.
    pub(crate) async fn next(&mut self) -> Delivery {
        match self.deliveries.next().await {
            Some(delivery) => delivery,
            None => std::future::pending().await,
        }
    }

    /// What is there already.
    pub(crate) fn next_now(&mut self) -> Option<Delivery> {
        self.deliveries.next().now_or_never().flatten()
    }

    /// Until what was published is with the server.
    pub(crate) async fn flush(&self, patience: Duration) {
        if self.is_connected() {
            // What can't be sent any more says nothing that time doesn't.
            let _ = timeout(patience, self.client.flush()).await;
        }
    }
}

/// Before the attempt with this number, counted from 1. Not all data planes come back in the same moment.
fn pause(attempt: usize) -> Duration {
    let doublings = u32::try_from(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
    let most = PAUSE_MIN_MS
        .saturating_mul(2u64.saturating_pow(doublings))
        .min(PAUSE_MAX_MS);
    let jitter = getrandom::u32().map_or(0, u64::from) % most;
    Duration::from_millis(most / 2 + jitter / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_two_seconds() {
        assert!(pause(1) <= Duration::from_millis(PAUSE_MIN_MS));
        for attempt in [7, 100, usize::MAX] {
            let pause = pause(attempt).as_millis();
            assert!((1000..=2000).contains(&pause), "{pause}");
        }
    }
}
