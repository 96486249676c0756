//! Made media, packet by packet.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use str0m::media::{Mid, Pt};
use str0m::rtp::{RtpWrite, SeqNo};

use super::{BEHIND_MAX, Source, Style, add};
use crate::client::{Client, ClientError};
use crate::media::{self, Video};

const VIDEO_CLOCK: u32 = 90_000;
const AUDIO_CLOCK: u32 = 48_000;
const AUDIO_FRAME: Duration = Duration::from_millis(20);
/// A paced frame's packets are spread over this share of its interval.
const PACED_SHARE: f64 = 0.8;

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

/// What one publisher has to send.
pub(super) struct Packets {
    style: Style,
    video: Option<(Stream, Video)>,
    audio: Option<Stream>,
    begin: Instant,
    frame_time: Duration,
    next_frame: Instant,
    next_audio: Instant,
    keyframe: bool,
    queue: VecDeque<Packet>,
}

impl Packets {
    pub(super) fn new(client: &Client, style: &Style) -> Self {
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
            style: style.clone(),
        }
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
}

impl Source for Packets {
    fn due(&self) -> Instant {
        let mut due = self.next_frame;
        if self.audio.is_some() {
            due = due.min(self.next_audio);
        }
        self.queue.front().map_or(due, |packet| due.min(packet.due))
    }

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
        Ok(())
    }

    fn ask_keyframe(&mut self) {
        self.keyframe = true;
    }
}

/// Time on an RTP clock, which wraps (RFC 3550 §5.1).
fn rtp_time(since: Duration, rate: u32) -> u32 {
    let ticks = since.as_micros() * u128::from(rate) / 1_000_000;
    u32::try_from(ticks & u128::from(u32::MAX)).unwrap_or(0)
}
