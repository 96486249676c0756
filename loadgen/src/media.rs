//! Media that servers take for real: seeded, made beforehand, with the payload headers of each codec and a time stamp
//! at the end of every payload.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

mod file;
mod keyframe;
mod payload;
mod send_times;
mod stamp;

pub(crate) use file::{Encoded, MediaFile};
pub(crate) use keyframe::begins_keyframe;
pub(crate) use send_times::SendTimes;
pub(crate) use stamp::{STAMP, stamp_of, write_stamp};

use payload::Part;

/// Keyframes are so much larger than other frames.
const KEYFRAME_FACTOR: f64 = 4.0;
/// Sizes of frames vary by this share, up and down.
const SPREAD: f64 = 0.2;
/// Random bytes that payloads are cut from.
const FILLER: usize = 64 * 1024;
/// Frames whose sizes are computed beforehand; then they repeat.
const SIZES: usize = 1024;
/// An Opus frame at 32 kbit/s.
const AUDIO: usize = 80;
/// RFC 6716 §3.1: 20 ms of CELT, mono, one frame.
const OPUS_TOC: u8 = 0xF8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    Vp8,
    Vp9,
    H264,
    Av1,
    Opus,
}

impl Codec {
    /// As in `a=rtpmap`.
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

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name().to_ascii_lowercase())
    }
}

/// None of ours.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UnknownCodec;

impl FromStr for Codec {
    type Err = UnknownCodec;

    fn from_str(name: &str) -> Result<Self, UnknownCodec> {
        let all = [Self::Vp8, Self::Vp9, Self::H264, Self::Av1, Self::Opus];
        let known = all
            .into_iter()
            .find(|codec| codec.name().eq_ignore_ascii_case(name));
        known.ok_or(UnknownCodec)
    }
}

/// What frames are made from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) codec: Codec,
    pub(crate) kbit_per_second: u32,
    pub(crate) frames_per_second: u32,
    /// Largest payload, bytes.
    pub(crate) packet: usize,
    /// Frames from one keyframe to the next; `None`: only when one is asked for.
    pub(crate) gop: Option<u32>,
    pub(crate) seed: u64,
}

impl Shape {
    /// Every publisher's media differs.
    pub(crate) fn of_publisher(self, number: u32) -> Self {
        Self {
            seed: self.seed ^ (u64::from(number) << 40),
            ..self
        }
    }

    /// Bytes of a frame that is no keyframe, on average.
    fn mean(&self) -> f64 {
        let mean = f64::from(self.kbit_per_second) * 125.0 / f64::from(self.frames_per_second);
        self.gop.map_or(mean, |gop| {
            mean / (1.0 + (KEYFRAME_FACTOR - 1.0) / f64::from(gop))
        })
    }
}

/// A frame's payloads in order; the last one gets the marker bit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) keyframe: bool,
    pub(crate) payloads: Vec<Vec<u8>>,
}

/// A source of frames.
pub(crate) struct Video {
    shape: Shape,
    sizes: Vec<f64>,
    filler: Vec<u8>,
    number: usize,
    since_keyframe: u32,
}

impl Video {
    pub(crate) fn new(shape: Shape) -> Self {
        let mut random = fastrand::Rng::with_seed(shape.seed);
        let mean = shape.mean();
        let sizes = (0..SIZES)
            .map(|_| mean * (1.0 - SPREAD + 2.0 * SPREAD * random.f64()))
            .collect();
        let filler = (0..FILLER).map(|_| random.u8(..)).collect();
        Self {
            shape,
            sizes,
            filler,
            number: 0,
            since_keyframe: 0,
        }
    }

    /// The next frame; the first one is a keyframe, and those that are asked for.
    pub(crate) fn frame(&mut self, asked: bool, stamp: Duration) -> Frame {
        let due = self.shape.gop.is_some_and(|gop| self.since_keyframe >= gop);
        let keyframe = asked || due || self.number == 0;
        let factor = if keyframe { KEYFRAME_FACTOR } else { 1.0 };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a size of some kilobytes"
        )]
        let size = (self.sizes[self.number % SIZES] * factor) as usize;
        let least = payload::HEADERS_MAX + STAMP;
        let largest = self.shape.packet.max(least);
        let count = size.div_ceil(largest).max(1);
        // Equal packets can travel in one send.
        let each = size.div_ceil(count).max(least);
        let payloads = (0..count)
            .map(|index| {
                let from = (self.number * 7919 + index * each) % (FILLER - each);
                let mut payload = self.filler[from..from + each].to_vec();
                let part = Part {
                    index,
                    last: index + 1 == count,
                    keyframe,
                    number: self.number,
                };
                payload::write_headers(self.shape.codec, &mut payload, part);
                write_stamp(&mut payload, stamp);
                payload
            })
            .collect();
        self.number += 1;
        self.since_keyframe = if keyframe { 1 } else { self.since_keyframe + 1 };
        Frame { keyframe, payloads }
    }
}

/// 20 ms of audio.
pub(crate) fn audio(stamp: Duration) -> Vec<u8> {
    let mut payload = vec![OPUS_TOC; AUDIO];
    write_stamp(&mut payload, stamp);
    payload
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIDEO: [Codec; 4] = [Codec::Vp8, Codec::Vp9, Codec::H264, Codec::Av1];

    fn shape(codec: Codec) -> Shape {
        Shape {
            codec,
            kbit_per_second: 1000,
            frames_per_second: 30,
            packet: 1100,
            gop: None,
            seed: 7,
        }
    }

    #[test]
    fn codecs_are_known_by_name() {
        for codec in VIDEO.into_iter().chain([Codec::Opus]) {
            assert_eq!(codec.to_string().parse(), Ok(codec));
            assert_eq!(codec.name().parse(), Ok(codec));
        }
        assert_eq!("h265".parse::<Codec>(), Err(UnknownCodec));
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes() {
        let stamp = Duration::from_micros(5);
        for codec in VIDEO {
            let frames = |seed| {
                let mut video = Video::new(Shape { seed, ..shape(codec) });
                (0..50).map(|n| video.frame(n == 9, stamp)).collect::<Vec<_>>()
            };
            assert_eq!(frames(7), frames(7));
            assert_ne!(frames(7), frames(8));
        }
    }

    #[test]
    fn the_bit_rate_is_what_was_asked() {
        for gop in [None, Some(30), Some(2)] {
            let mut video = Video::new(Shape {
                gop,
                ..shape(Codec::Vp8)
            });
            video.frame(true, Duration::ZERO);
            let bytes: usize = (0..3000)
                .flat_map(|_| video.frame(false, Duration::ZERO).payloads)
                .map(|payload| payload.len())
                .sum();
            let kbit_per_second = bytes as f64 * 8.0 / 1000.0 / 100.0;
            assert!(
                (kbit_per_second - 1000.0).abs() < 50.0,
                "{gop:?}: {kbit_per_second}"
            );
        }
    }

    #[test]
    fn keyframes_come_when_asked_for_and_by_the_gop() {
        let keyframes = |gop, asked: usize| {
            let mut video = Video::new(Shape {
                gop,
                ..shape(Codec::Av1)
            });
            (0..20)
                .filter(|n| video.frame(*n == asked, Duration::ZERO).keyframe)
                .collect::<Vec<_>>()
        };
        assert_eq!(keyframes(None, 5), [0, 5]);
        assert_eq!(keyframes(Some(8), 5), [0, 5, 13]);
    }

    #[test]
    fn keyframes_and_stamps_are_found_again() {
        let stamp = Duration::from_micros(123_456);
        for codec in VIDEO {
            let mut video = Video::new(shape(codec));
            let (key, delta) = (video.frame(true, stamp), video.frame(false, stamp));
            assert!(key.keyframe && !delta.keyframe && key.payloads.len() > 1);
            for (index, payload) in key.payloads.iter().enumerate() {
                // The second slice of H.264's keyframe could begin one.
                let begins = index <= usize::from(codec == Codec::H264);
                assert_eq!(begins_keyframe(codec, payload), begins, "{codec} packet {index}");
            }
            for payload in key.payloads.iter().chain(&delta.payloads) {
                assert_eq!(stamp_of(payload), Some(stamp));
                assert!(payload.len() <= 1100);
            }
            assert!(
                delta
                    .payloads
                    .iter()
                    .all(|payload| !begins_keyframe(codec, payload))
            );
        }
        assert_eq!(stamp_of(&audio(stamp)), Some(stamp));
    }

    #[test]
    fn a_frames_packets_are_equal() {
        for codec in VIDEO {
            let mut video = Video::new(shape(codec));
            for number in 0..100 {
                let frame = video.frame(number % 10 == 0, Duration::ZERO);
                assert!(
                    frame
                        .payloads
                        .windows(2)
                        .all(|pair| pair[0].len() == pair[1].len())
                );
            }
        }
    }

    #[test]
    fn small_and_large_shapes_hold() {
        for codec in VIDEO {
            for (kbit_per_second, frames_per_second, packet) in
                [(50, 240, 64), (100_000, 1, 1200), (50, 240, 1200)]
            {
                let mut video = Video::new(Shape {
                    kbit_per_second,
                    frames_per_second,
                    packet,
                    ..shape(codec)
                });
                for number in 0..100 {
                    let frame = video.frame(number % 7 == 0, Duration::ZERO);
                    assert!(begins_keyframe(codec, &frame.payloads[0]) == frame.keyframe);
                    for payload in frame.payloads {
                        assert!(payload.len() <= packet.max(64) && stamp_of(&payload).is_some());
                    }
                }
            }
        }
    }
}
