//! Those that send.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use str0m::Event;
use tokio::sync::{oneshot, watch};

use crate::client::{CONNECT, Client, ClientError};
use crate::clock::Clock;
use crate::media::{MediaFile, SendTimes, Shape};
use crate::signal::Signal;

mod frames;
mod packets;

/// How far behind its clock a publisher may be before it leaves frames out instead of sending a burst.
const BEHIND_MAX: Duration = Duration::from_millis(500);

/// What publishers have sent so far, all together.
#[derive(Debug, Default)]
pub(crate) struct Sending {
    packets: AtomicU64,
    bytes: AtomicU64,
    frames: AtomicU64,
    keyframes: AtomicU64,
    late_frames: AtomicU64,
    send_drops: AtomicU64,
    nacked: AtomicU64,
    keyframe_requests: AtomicU64,
}

/// [`Sending`] at a moment, or between two.
#[derive(Debug, Default, Clone, Copy, serde::Serialize)]
pub(crate) struct Sent {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    pub(crate) frames: u64,
    pub(crate) keyframes: u64,
    /// Came too late to be sent: the generator had no CPU.
    pub(crate) late_frames: u64,
    /// The socket did not take them.
    pub(crate) send_drops: u64,
    /// The server asked for them again.
    pub(crate) nacked: u64,
    pub(crate) keyframe_requests: u64,
}

impl Sending {
    pub(crate) fn now(&self) -> Sent {
        let get = |value: &AtomicU64| value.load(Ordering::Relaxed);
        Sent {
            packets: get(&self.packets),
            bytes: get(&self.bytes),
            frames: get(&self.frames),
            keyframes: get(&self.keyframes),
            late_frames: get(&self.late_frames),
            send_drops: get(&self.send_drops),
            nacked: get(&self.nacked),
            keyframe_requests: get(&self.keyframe_requests),
        }
    }
}

impl Sent {
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            packets: self.packets - before.packets,
            bytes: self.bytes - before.bytes,
            frames: self.frames - before.frames,
            keyframes: self.keyframes - before.keyframes,
            late_frames: self.late_frames - before.late_frames,
            send_drops: self.send_drops - before.send_drops,
            nacked: self.nacked - before.nacked,
            keyframe_requests: self.keyframe_requests - before.keyframe_requests,
        }
    }
}

fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

/// How a publisher sends.
#[derive(Debug, Clone)]
pub(crate) struct Style {
    pub(crate) shape: Shape,
    /// A frame's packets are spread over its interval, not sent at once.
    pub(crate) paced: bool,
    /// Packets are kept to be sent again when the server asks.
    pub(crate) nack: bool,
    pub(crate) clock: Clock,
    pub(crate) sending: Arc<Sending>,
    /// Sent instead of what is made.
    pub(crate) file: Option<Filed>,
}

/// A file to be sent, and the table by which viewers know when.
#[derive(Debug, Clone)]
pub(crate) struct Filed {
    pub(crate) path: String,
    pub(crate) media: Arc<MediaFile>,
    pub(crate) times: Arc<SendTimes>,
}

/// What one publisher has to send.
trait Source {
    /// When there is something next.
    fn due(&self) -> Instant;
    /// Sends what is due.
    fn turn(&mut self, client: &mut Client) -> Result<(), ClientError>;
    /// The server asks for a keyframe.
    fn ask_keyframe(&mut self);
}

/// Waits for the handshake.
pub(crate) async fn connect(client: &mut Client) -> Result<(), ClientError> {
    let deadline = Instant::now() + CONNECT;
    loop {
        match client.next(deadline).await? {
            Some(Event::Connected) => return Ok(()),
            Some(_) => {}
            None => return Err(ClientError::NotConnected),
        }
    }
}

/// Sends until `stop` is true, and leaves, whatever went wrong; `connected` hears when the handshake is over.
pub(crate) async fn run(
    mut client: Client,
    style: Style,
    signal: Signal,
    stop: watch::Receiver<bool>,
    connected: oneshot::Sender<()>,
) -> Result<(), ClientError> {
    let sent = send(&mut client, style, stop, connected).await;
    let left = client.leave(&signal).await;
    sent.and(left)
}

async fn send(
    client: &mut Client,
    style: Style,
    stop: watch::Receiver<bool>,
    connected: oneshot::Sender<()>,
) -> Result<(), ClientError> {
    connect(client).await?;
    let _ = connected.send(());
    let mut source: Box<dyn Source + Send> = match style.file.clone() {
        Some(filed) => Box::new(frames::Frames::new(client, &style, filed)),
        None => Box::new(packets::Packets::new(client, &style)),
    };
    let mut drops = 0;
    let mut told = BTreeMap::new();
    while !*stop.borrow() {
        let event = client.next(source.due()).await?;
        let Some(event) = event else {
            source.turn(client)?;
            add(&style.sending.send_drops, client.send_drops - drops);
            drops = client.send_drops;
            continue;
        };
        match event {
            Event::KeyframeRequest(_) => {
                source.ask_keyframe();
                add(&style.sending.keyframe_requests, 1);
            }
            Event::MediaEgressStats(stats) => {
                // str0m tells sums, of each m-line; and it alone knows how many packets a file's frame takes.
                let (nacks, packets) = told
                    .insert(stats.mid, (stats.nacks, stats.packets))
                    .unwrap_or_default();
                add(&style.sending.nacked, stats.nacks.saturating_sub(nacks));
                if style.file.is_some() {
                    add(&style.sending.packets, stats.packets.saturating_sub(packets));
                }
            }
            Event::Closed => return Err(ClientError::Closed),
            _ => {}
        }
    }
    Ok(())
}
