//! IVF: a header of 32 bytes, then frames behind 12 bytes of length and time.

use std::time::Duration;

use super::{Encoded, Failure, Found, MediaFile, is_keyframe};
use crate::media::Codec;

const HEADER: usize = 32;
const FRAME_HEADER: usize = 12;

pub(super) fn parse(bytes: &[u8]) -> Found {
    let (header, mut rest) = bytes
        .split_first_chunk::<HEADER>()
        .ok_or_else(|| Failure::Damaged("its header is cut off".into()))?;
    let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let codec = match &header[8..12] {
        b"VP80" => Codec::Vp8,
        b"VP90" => Codec::Vp9,
        b"AV01" => Codec::Av1,
        other => {
            let name = String::from_utf8_lossy(other).into_owned();
            return Err(Failure::Codec(name, "-c:v libvpx -c:a libopus out.webm"));
        }
    };
    // Units of time a second: rate over scale.
    let (rate, scale) = (f64::from(word(16)), f64::from(word(20)));
    let unit = scale / rate;
    if !unit.is_normal() || unit > 3600.0 {
        return Err(Failure::Damaged("its time base is not usable".into()));
    }
    let mut frames = Vec::new();
    while let Some((head, after)) = rest.split_first_chunk::<FRAME_HEADER>() {
        let [l0, l1, l2, l3, time @ ..] = *head;
        let length = usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).unwrap_or(usize::MAX);
        let (data, next) = after
            .split_at_checked(length)
            .ok_or_else(|| Failure::Damaged(format!("frame {} is cut off", frames.len() + 1)))?;
        let at = Duration::try_from_secs_f64(u64::from_le_bytes(time) as f64 * unit)
            .map_err(|_| Failure::Damaged(format!("frame {} has no usable time", frames.len() + 1)))?;
        frames.push(Encoded {
            at,
            keyframe: is_keyframe(codec, data),
            data: data.to_vec(),
        });
        rest = next;
    }
    Ok(MediaFile {
        video: Some((codec, frames)),
        ..MediaFile::default()
    })
}
