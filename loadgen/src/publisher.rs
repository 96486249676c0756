//! The one that sends.

use std::time::{Duration, Instant};

use str0m::Event;
use str0m::format::Codec;
use str0m::media::{Mid, Pt};
use str0m::rtp::{RtpWrite, SeqNo};
use tokio::sync::{oneshot, watch};

use crate::client::{CONNECT, Client, ClientError};
use crate::media::{self, Clock, Shape, Video};
use crate::viewer::Phase;

const VIDEO_CLOCK: u32 = 90_000;
const AUDIO_CLOCK: u32 = 48_000;
const AUDIO_FRAME: Duration = Duration::from_millis(20);
/// How far behind its clock a publisher may be before it leaves frames out instead of sending a burst.
const BEHIND_MAX: Duration = Duration::from_millis(500);

/// What was sent while measuring.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Sent {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    pub(crate) frames: u64,
    pub(crate) keyframes: u64,
    /// Frames that came too late to be sent: the generator had no CPU.
    pub(crate) late_frames: u64,
    pub(crate) send_drops: u64,
}

struct Stream {
    mid: Mid,
    pt: Pt,
    sequence: u64,
}

impl Stream {
    fn new(client: &Client, mid: Mid, codec: Codec) -> Result<Self, ClientError> {
        let missing = ClientError::Missing(if codec == Codec::Vp8 { "VP8" } else { "Opus" });
        let media = client.rtc.media(mid).ok_or(ClientError::Missing("m-line"))?;
        let mut accepted = media.remote_pts().iter().copied();
        let pt = accepted
            .find(|pt| codec_of(client, *pt) == Some(codec))
            .ok_or(missing)?;
        Ok(Self {
            mid,
            pt,
            sequence: 1000,
        })
    }

    fn write(&mut self, client: &mut Client, time: u32, marker: bool, payload: Vec<u8>) {
        let mut api = client.rtc.direct_api();
        let Some(stream) = api.stream_tx_by_mid(self.mid, None) else {
            return;
        };
        let sequence = SeqNo::from(self.sequence);
        self.sequence += 1;
        stream.write_rtp(
            RtpWrite::new(self.pt, sequence, time, Instant::now(), payload)
                .marker(marker)
                .nackable(true),
        );
    }
}

fn codec_of(client: &Client, pt: Pt) -> Option<Codec> {
    client
        .rtc
        .codec_config()
        .params()
        .iter()
        .find(|params| params.pt() == pt)
        .map(|params| params.spec().codec)
}

/// Sends until the phase is `Done`; `connected` hears when the handshake is over.
pub(crate) async fn run(
    mut client: Client,
    shape: Shape,
    clock: Clock,
    mut phase: watch::Receiver<Phase>,
    connected: oneshot::Sender<()>,
) -> Result<Sent, ClientError> {
    let deadline = Instant::now() + CONNECT;
    loop {
        match client.next(deadline).await? {
            Some(Event::Connected) => break,
            Some(_) => {}
            None => {
                return Err(ClientError::Missing(
                    "way to its candidate: the publisher did not connect",
                ));
            }
        }
    }
    let _ = connected.send(());

    let mut video_stream = Stream::new(&client, client.video, Codec::Vp8)?;
    let mut audio_stream = client
        .audio
        .map(|mid| Stream::new(&client, mid, Codec::Opus))
        .transpose()?;
    let mut video = Video::new(shape);
    let mut sent = Sent::default();
    let frame_time = Duration::from_secs(1) / shape.frames_per_second;
    let begin = Instant::now();
    let (mut next_frame, mut next_audio) = (begin, begin);
    let mut keyframe = true;
    let mut measuring = false;
    loop {
        let now = *phase.borrow_and_update();
        if now == Phase::Done {
            break;
        }
        if now == Phase::Measure && !measuring {
            measuring = true;
            sent = Sent::default();
            client.send_drops = 0;
        }
        let due = if audio_stream.is_some() {
            next_frame.min(next_audio)
        } else {
            next_frame
        };
        if let Some(event) = client.next(due).await? {
            keyframe |= matches!(event, Event::KeyframeRequest(_));
            continue;
        }
        let since = Instant::now().saturating_duration_since(begin);
        if next_frame <= Instant::now() {
            let time = rtp_time(since, VIDEO_CLOCK);
            let payloads = video.frame(keyframe, clock.now());
            sent.frames += 1;
            sent.keyframes += u64::from(keyframe);
            keyframe = false;
            let last = payloads.len() - 1;
            for (index, payload) in payloads.into_iter().enumerate() {
                sent.packets += 1;
                sent.bytes += payload.len() as u64;
                video_stream.write(&mut client, time, index == last, payload);
            }
            next_frame += frame_time;
            while next_frame + BEHIND_MAX < Instant::now() {
                next_frame += frame_time;
                sent.late_frames += 1;
            }
            client.flush()?;
        }
        if let Some(stream) = audio_stream.as_mut().filter(|_| next_audio <= Instant::now()) {
            let payload = media::audio(clock.now());
            sent.packets += 1;
            sent.bytes += payload.len() as u64;
            stream.write(&mut client, rtp_time(since, AUDIO_CLOCK), false, payload);
            next_audio += AUDIO_FRAME;
            client.flush()?;
        }
    }
    sent.send_drops = client.send_drops;
    client.leave().await?;
    Ok(sent)
}

/// Time on an RTP clock, which wraps (RFC 3550 §5.1).
fn rtp_time(since: Duration, rate: u32) -> u32 {
    let ticks = since.as_micros() * u128::from(rate) / 1_000_000;
    u32::try_from(ticks & u128::from(u32::MAX)).unwrap_or(0)
}
