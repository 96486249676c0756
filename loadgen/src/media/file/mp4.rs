//! MP4 (ISO/IEC 14496-12) with H.264, VP9 or AV1.

use std::time::Duration;

use re_mp4::{Avc1Box, Mp4, StsdBoxContent, Track};

use super::{Encoded, Failure, Found, MediaFile};
use crate::media::Codec;

const CONVERT: &str = "-c:v libvpx -c:a libopus out.webm";
/// Annex B of H.264.
const START_CODE: [u8; 4] = [0, 0, 0, 1];

pub(super) fn parse(bytes: &[u8]) -> Found {
    let mp4 = Mp4::read_bytes(bytes).map_err(|error| Failure::Damaged(error.to_string()))?;
    let mut file = MediaFile::default();
    for track in mp4.tracks().values() {
        let codec = match &track.trak(&mp4).mdia.minf.stbl.stsd.contents {
            StsdBoxContent::Avc1(avc1) => {
                let frames = frames(track, bytes, |data, key| byte_stream(avc1, data, key))?;
                file.video.get_or_insert((Codec::H264, frames));
                continue;
            }
            StsdBoxContent::Vp08(_) => Codec::Vp8,
            StsdBoxContent::Vp09(_) => Codec::Vp9,
            StsdBoxContent::Av01(_) => Codec::Av1,
            StsdBoxContent::Mp4a(_) => {
                return Err(Failure::Codec("AAC".into(), "-c:v copy -c:a libopus out.mp4"));
            }
            StsdBoxContent::Tx3g(_) => continue,
            StsdBoxContent::Hvc1(_) | StsdBoxContent::Hev1(_) => {
                return Err(Failure::Codec("H.265".into(), CONVERT));
            }
            StsdBoxContent::Unknown(name) if name.to_string() == "Opus" => {
                let frames = frames(track, bytes, |data, _| Some(data.to_vec()))?;
                file.audio.get_or_insert(frames);
                continue;
            }
            StsdBoxContent::Unknown(name) => return Err(Failure::Codec(name.to_string(), CONVERT)),
        };
        let frames = frames(track, bytes, |data, _| Some(data.to_vec()))?;
        file.video.get_or_insert((codec, frames));
    }
    Ok(file)
}

fn frames(
    track: &Track,
    bytes: &[u8],
    convert: impl Fn(&[u8], bool) -> Option<Vec<u8>>,
) -> Result<Vec<Encoded>, Failure> {
    let mut shown = i64::MIN;
    let mut found = Vec::with_capacity(track.samples.len().min(bytes.len()));
    for (number, sample) in track.samples.iter().enumerate() {
        if sample.composition_timestamp < shown {
            return Err(Failure::BFrames);
        }
        shown = sample.composition_timestamp;
        let damaged = || Failure::Damaged(format!("frame {} lies outside of it", number + 1));
        let begin = usize::try_from(sample.offset).map_err(|_| damaged())?;
        let length = usize::try_from(sample.size).map_err(|_| damaged())?;
        let data = bytes
            .get(begin..)
            .and_then(|rest| rest.get(..length))
            .ok_or_else(damaged)?;
        let seconds = shown as f64 / sample.timescale as f64;
        found.push(Encoded {
            at: Duration::try_from_secs_f64(seconds).map_err(|_| damaged())?,
            keyframe: sample.is_sync,
            data: convert(data, sample.is_sync)
                .ok_or_else(|| Failure::Damaged(format!("frame {} is no H.264", number + 1)))?,
        });
    }
    Ok(found)
}

/// Lengths become start codes; keyframes get the parameter sets (ISO/IEC 14496-15 §5).
fn byte_stream(avc1: &Avc1Box, mut data: &[u8], keyframe: bool) -> Option<Vec<u8>> {
    let config = &avc1.avcc;
    let mut out = Vec::with_capacity(data.len() + 100);
    if keyframe {
        for unit in config
            .sequence_parameter_sets
            .iter()
            .chain(&config.picture_parameter_sets)
        {
            out.extend(START_CODE);
            out.extend(&unit.bytes);
        }
    }
    let bytes = usize::from(config.length_size_minus_one & 3) + 1;
    while !data.is_empty() {
        let (length, rest) = data.split_at_checked(bytes)?;
        let length = length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        let (unit, next) = rest.split_at_checked(length)?;
        out.extend(START_CODE);
        out.extend(unit);
        data = next;
    }
    Some(out)
}
