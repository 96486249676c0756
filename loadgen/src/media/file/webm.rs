//! WebM and Matroska.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::time::Duration;

use matroska_demuxer::{Frame, MatroskaFile};

use super::{Encoded, Failure, Found, MediaFile, is_keyframe};
use crate::media::Codec;

pub(super) fn parse(bytes: &[u8]) -> Found {
    let damaged = |error: matroska_demuxer::DemuxError| Failure::Damaged(error.to_string());
    let mut demuxer = MatroskaFile::open(Cursor::new(bytes)).map_err(damaged)?;
    let mut tracks = BTreeMap::new();
    for track in demuxer.tracks() {
        let codec = match track.codec_id() {
            "V_VP8" => Codec::Vp8,
            "V_VP9" => Codec::Vp9,
            "V_AV1" => Codec::Av1,
            "A_OPUS" => Codec::Opus,
            other if other.starts_with("S_") => continue,
            other => {
                return Err(Failure::Codec(
                    other.to_owned(),
                    "-c:v libvpx -c:a libopus out.webm",
                ));
            }
        };
        tracks.insert(track.track_number().get(), codec);
    }
    let scale = demuxer.info().timestamp_scale().get();
    let mut file = MediaFile::default();
    let mut frame = Frame::default();
    while demuxer.next_frame(&mut frame).map_err(damaged)? {
        let Some(codec) = tracks.get(&frame.track).copied() else {
            continue;
        };
        let data = std::mem::take(&mut frame.data);
        let encoded = Encoded {
            at: Duration::from_nanos(frame.timestamp.saturating_mul(scale)),
            keyframe: frame.is_keyframe.unwrap_or_else(|| is_keyframe(codec, &data)),
            data,
        };
        if codec == Codec::Opus {
            file.audio.get_or_insert_default().push(encoded);
        } else {
            // Of several pictures the first is sent.
            let (first, frames) = file.video.get_or_insert_with(|| (codec, Vec::new()));
            if *first == codec {
                frames.push(encoded);
            }
        }
    }
    Ok(file)
}
