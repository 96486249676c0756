//! Those that send.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use str0m::Event;
use str0m::media::{Mid, Pt};
use str0m::rtp::{RtpWrite, SeqNo};
use tokio::sync::{oneshot, watch};

use crate::client::{CONNECT, Client, ClientError};
use crate::clock::Clock;
use crate::media::{self, Shape, Video};
use crate::signal::Signal;

const VIDEO_CLOCK: u32 = 90_000;
const AUDIO_CLOCK: u32 = 48_000;
const AUDIO_FRAME: Duration = Duration::from_millis(20);
/// How far behind its clock a publisher may be before it leaves frames out instead of sending a burst.
const BEHIND_MAX: Duration = Duration::from_millis(500);
/// A paced frame's packets are spread over this share of its interval.
const PACED_SHARE: f64 = 0.8;

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
}

/// One SSRC's packets.
struct Stream {
    mid: Mid,
    pt: Pt,
    nack: bool,
    sequence: u64,
}

impl Stream {
    fn new((mid, pt): (Mid, Pt), nack: bool) -> Self {
        Self {
            mid,
            pt,
            nack,
            sequence: 1000,
        }
    }

    fn write(&mut self, client: &mut Client, packet: Packet) {
        let mut api = client.rtc.direct_api();
        let Some(stream) = api.stream_tx_by_mid(self.mid, None) else {
            return;
        };
        let sequence = SeqNo::from(self.sequence);
        self.sequence += 1;
        stream.write_rtp(
            RtpWrite::new(self.pt, sequence, packet.time, Instant::now(), packet.payload)
                .marker(packet.marker)
                .nackable(self.nack),
        );
    }
}

/// A packet, and when it is due.
struct Packet {
    due: Instant,
    time: u32,
    marker: bool,
    payload: Vec<u8>,
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

/// Sends until `stop` is true; `connected` hears when the handshake is over.
pub(crate) async fn run(
    mut client: Client,
    style: Style,
    signal: Signal,
    stop: watch::Receiver<bool>,
    connected: oneshot::Sender<()>,
) -> Result<(), ClientError> {
    connect(&mut client).await?;
    let _ = connected.send(());
    let mut source = Source::new(&client, &style);
    while !*stop.borrow() {
        let event = client.next(source.due()).await?;
        let Some(event) = event else {
            source.turn(&mut client)?;
            continue;
        };
        match event {
            Event::KeyframeRequest(_) => {
                source.keyframe = true;
                add(&style.sending.keyframe_requests, 1);
            }
            Event::MediaEgressStats(stats) => source.nacked(stats.nacks),
            Event::Closed => return Err(ClientError::Closed),
            _ => {}
        }
    }
    client.leave(&signal).await
}

/// What one publisher has to send.
struct Source {
    style: Style,
    video: Option<(Stream, Video)>,
    audio: Option<Stream>,
    begin: Instant,
    frame_time: Duration,
    next_frame: Instant,
    next_audio: Instant,
    keyframe: bool,
    queue: VecDeque<Packet>,
    nacks: u64,
    drops: u64,
}

impl Source {
    fn new(client: &Client, style: &Style) -> Self {
        let begin = Instant::now();
        Self {
            video: client
                .video
                .map(|media| (Stream::new(media, style.nack), Video::new(style.shape))),
            audio: client.audio.map(|media| Stream::new(media, style.nack)),
            begin,
            frame_time: Duration::from_secs(1) / style.shape.frames_per_second,
            next_frame: begin,
            next_audio: begin,
            keyframe: false,
            queue: VecDeque::new(),
            nacks: 0,
            drops: 0,
            style: style.clone(),
        }
    }

    fn due(&self) -> Instant {
        let mut due = self.next_frame;
        if self.audio.is_some() {
            due = due.min(self.next_audio);
        }
        self.queue.front().map_or(due, |packet| due.min(packet.due))
    }

    /// Sends what is due.
    fn turn(&mut self, client: &mut Client) -> Result<(), ClientError> {
        let now = Instant::now();
        if self.next_frame <= now {
            self.frame(now);
        }
        if self.next_audio <= now
            && let Some(stream) = &mut self.audio
        {
            let payload = media::audio(self.style.clock.now());
            add(&self.style.sending.packets, 1);
            add(&self.style.sending.bytes, payload.len() as u64);
            let time = rtp_time(now - self.begin, AUDIO_CLOCK);
            stream.write(
                client,
                Packet {
                    due: now,
                    time,
                    marker: false,
                    payload,
                },
            );
            self.next_audio += AUDIO_FRAME;
        }
        while self.queue.front().is_some_and(|packet| packet.due <= now) {
            let (Some(mut packet), Some((stream, _))) = (self.queue.pop_front(), &mut self.video) else {
                break;
            };
            if self.style.paced {
                media::write_stamp(&mut packet.payload, self.style.clock.now());
            }
            stream.write(client, packet);
        }
        client.flush()?;
        let drops = client.send_drops - self.drops;
        self.drops = client.send_drops;
        add(&self.style.sending.send_drops, drops);
        Ok(())
    }

    /// Makes the next frame, and leaves out those that are too late.
    fn frame(&mut self, now: Instant) {
        let sending = &self.style.sending;
        if let Some((_, video)) = &mut self.video {
            let time = rtp_time(now - self.begin, VIDEO_CLOCK);
            let frame = video.frame(std::mem::take(&mut self.keyframe), self.style.clock.now());
            add(&sending.frames, 1);
            add(&sending.keyframes, u64::from(frame.keyframe));
            let count = frame.payloads.len();
            for (index, payload) in frame.payloads.into_iter().enumerate() {
                add(&sending.packets, 1);
                add(&sending.bytes, payload.len() as u64);
                let share = if self.style.paced {
                    index as f64 / count as f64
                } else {
                    0.0
                };
                self.queue.push_back(Packet {
                    due: now + self.frame_time.mul_f64(share * PACED_SHARE),
                    time,
                    marker: index + 1 == count,
                    payload,
                });
            }
        }
        self.next_frame += self.frame_time;
        while self.next_frame + BEHIND_MAX < now {
            self.next_frame += self.frame_time;
            add(&sending.late_frames, 1);
        }
    }

    /// str0m tells a sum.
    fn nacked(&mut self, sum: u64) {
        add(&self.style.sending.nacked, sum.saturating_sub(self.nacks));
        self.nacks = self.nacks.max(sum);
    }
}

/// Time on an RTP clock, which wraps (RFC 3550 §5.1).
fn rtp_time(since: Duration, rate: u32) -> u32 {
    let ticks = since.as_micros() * u128::from(rate) / 1_000_000;
    u32::try_from(ticks & u128::from(u32::MAX)).unwrap_or(0)
}
