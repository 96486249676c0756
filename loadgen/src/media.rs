//! Seeded video that looks like VP8 to a server (RFC 7741), with a time stamp in each packet.

use std::time::Duration;

/// Payload descriptor with a 15-bit picture id (RFC 7741 §4.2).
const DESCRIPTOR: usize = 4;
/// Frame tag, start code and size of a keyframe (RFC 6386 §9.1).
const KEYFRAME_HEADER: usize = 10;
/// Says that a stamp follows.
const MAGIC: [u8; 4] = *b"WvLg";
/// Where the magic lies in every payload: behind all headers.
const STAMP_AT: usize = DESCRIPTOR + KEYFRAME_HEADER;
/// Magic and microseconds.
const STAMP: usize = MAGIC.len() + 8;
/// Keyframes are so much larger than other frames.
const KEYFRAME_FACTOR: usize = 4;
/// Sizes of frames vary by this share, up and down.
const SPREAD: f64 = 0.2;
/// Random bytes that payloads are cut from.
const FILLER: usize = 64 * 1024;
/// Frames whose sizes are computed beforehand; then they repeat.
const SIZES: usize = 1024;

/// An Opus frame at 32 kbit/s, with the stamp in it.
const AUDIO: usize = 80;

/// What frames are made from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) kbit_per_second: u32,
    pub(crate) frames_per_second: u32,
    /// Largest payload, bytes.
    pub(crate) packet: usize,
    pub(crate) seed: u64,
}

/// A source of frames.
pub(crate) struct Video {
    packet: usize,
    sizes: Vec<usize>,
    filler: Vec<u8>,
    number: usize,
}

impl Video {
    pub(crate) fn new(shape: Shape) -> Self {
        let mut random = fastrand::Rng::with_seed(shape.seed);
        let mean = f64::from(shape.kbit_per_second) * 125.0 / f64::from(shape.frames_per_second);
        let sizes = (0..SIZES)
            .map(|_| {
                let share = 1.0 - SPREAD + 2.0 * SPREAD * random.f64();
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a size of some kilobytes"
                )]
                let size = (mean * share) as usize;
                size.max(STAMP_AT + STAMP)
            })
            .collect();
        let filler = (0..FILLER).map(|_| random.u8(..)).collect();
        Self {
            packet: shape.packet.max(STAMP_AT + STAMP),
            sizes,
            filler,
            number: 0,
        }
    }

    /// The payloads of the next frame; the last one gets the marker bit.
    pub(crate) fn frame(&mut self, keyframe: bool, stamp: Duration) -> Vec<Vec<u8>> {
        let size = self.sizes[self.number % SIZES] * if keyframe { KEYFRAME_FACTOR } else { 1 };
        let packets = size.div_ceil(self.packet);
        let each = size.div_ceil(packets).max(STAMP_AT + STAMP);
        let picture = u16::try_from(self.number % 0x8000).unwrap_or(0);
        let frame = (0..packets)
            .map(|index| {
                let from = (self.number * 7919 + index * each) % (FILLER - each.min(FILLER));
                let mut payload = self.filler[from..from + each].to_vec();
                write_descriptor(&mut payload, index == 0, picture);
                if index == 0 {
                    write_frame_header(&mut payload[DESCRIPTOR..], keyframe);
                }
                write_stamp(&mut payload, stamp);
                payload
            })
            .collect();
        self.number += 1;
        frame
    }
}

/// One audio packet.
pub(crate) fn audio(stamp: Duration) -> Vec<u8> {
    let mut payload = vec![0x78; AUDIO];
    write_stamp(&mut payload, stamp);
    payload
}

fn write_descriptor(payload: &mut [u8], first: bool, picture: u16) {
    payload[0] = 0x80 | if first { 0x10 } else { 0 };
    payload[1] = 0x80;
    payload[2..4].copy_from_slice(&(picture | 0x8000).to_be_bytes());
}

fn write_frame_header(header: &mut [u8], keyframe: bool) {
    // Bit 0: not a keyframe. Bit 4: to be shown.
    header[0] = 0x10 | u8::from(!keyframe);
    if keyframe {
        header[3..6].copy_from_slice(&[0x9d, 0x01, 0x2a]);
        header[6..8].copy_from_slice(&1280u16.to_le_bytes());
        header[8..10].copy_from_slice(&720u16.to_le_bytes());
    }
}

fn write_stamp(payload: &mut [u8], stamp: Duration) {
    let us = u64::try_from(stamp.as_micros()).unwrap_or(u64::MAX);
    payload[STAMP_AT..STAMP_AT + 4].copy_from_slice(&MAGIC);
    payload[STAMP_AT + 4..STAMP_AT + STAMP].copy_from_slice(&us.to_be_bytes());
}

/// The stamp of a payload of ours, `None` of any other.
pub(crate) fn stamp_of(payload: &[u8]) -> Option<Duration> {
    let bytes = payload.get(STAMP_AT..STAMP_AT + STAMP)?;
    let (magic, us) = bytes.split_at(MAGIC.len());
    (magic == MAGIC).then(|| Duration::from_micros(u64::from_be_bytes(us.try_into().unwrap_or_default())))
}

/// Whether a payload begins a VP8 keyframe.
pub(crate) fn begins_keyframe(_: Codec, payload: &[u8]) -> bool {
    payload.len() > DESCRIPTOR
        && payload[0] & 0x1F == 0x10
        && payload[0] & 0x80 != 0
        && payload[DESCRIPTOR] & 1 == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape {
        kbit_per_second: 1000,
        frames_per_second: 30,
        packet: 1100,
        seed: 7,
    };

    #[test]
    fn the_same_seed_gives_the_same_bytes() {
        let stamp = Duration::from_micros(5);
        let frames = |seed| {
            let mut video = Video::new(Shape { seed, ..SHAPE });
            (0..50).map(|n| video.frame(n == 0, stamp)).collect::<Vec<_>>()
        };
        assert_eq!(frames(7), frames(7));
        assert_ne!(frames(7), frames(8));
    }

    #[test]
    fn the_bit_rate_is_what_was_asked() {
        let mut video = Video::new(SHAPE);
        let bytes: usize = (0..SIZES)
            .flat_map(|_| video.frame(false, Duration::ZERO))
            .map(|payload| payload.len())
            .sum();
        let kbit_per_second = bytes as f64 * 8.0 / 1000.0 / (SIZES as f64 / 30.0);
        assert!((kbit_per_second - 1000.0).abs() < 50.0, "{kbit_per_second}");
    }

    #[test]
    fn keyframes_and_stamps_are_found_again() {
        let mut video = Video::new(SHAPE);
        let stamp = Duration::from_micros(123_456);
        let (key, delta) = (video.frame(true, stamp), video.frame(false, stamp));
        assert!(begins_keyframe(Codec::Vp8, &key[0]) && !begins_keyframe(Codec::Vp8, &delta[0]));
        assert!(key.len() > 1 && !begins_keyframe(Codec::Vp8, &key[1]));
        for payload in key.iter().chain(&delta) {
            assert_eq!(stamp_of(payload), Some(stamp));
            assert!(payload.len() <= SHAPE.packet);
        }
        assert_eq!(stamp_of(&audio(stamp)), Some(stamp));
        assert_eq!(stamp_of(&[0; 100]), None);
        assert_eq!(stamp_of(&[]), None);
    }

    #[test]
    fn small_and_large_shapes_hold() {
        for (kbit_per_second, frames_per_second, packet) in [(50, 240, 64), (100_000, 1, 1200)] {
            let mut video = Video::new(Shape {
                kbit_per_second,
                frames_per_second,
                packet,
                seed: 1,
            });
            for number in 0..100 {
                for payload in video.frame(number == 0, Duration::ZERO) {
                    assert!(payload.len() <= packet && stamp_of(&payload).is_some());
                }
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    Vp8,
    Vp9,
    H264,
    Av1,
    Opus,
}
impl std::str::FromStr for Codec {
    type Err = ();
    fn from_str(s: &str) -> Result<Self, ()> {
        Ok(match s {
            "vp8" => Self::Vp8,
            "vp9" => Self::Vp9,
            "h264" => Self::H264,
            "av1" => Self::Av1,
            "opus" => Self::Opus,
            _ => return Err(()),
        })
    }
}
impl Codec {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Vp8 => "VP8",
            Self::Vp9 => "VP9",
            Self::H264 => "H264",
            Self::Av1 => "AV1",
            Self::Opus => "opus",
        }
    }
}
impl Shape {
    pub(crate) fn of_publisher(self, n: u32) -> Self {
        Self {
            seed: self.seed ^ (u64::from(n) << 40),
            ..self
        }
    }
}
impl std::fmt::Display for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name().to_lowercase())
    }
}
