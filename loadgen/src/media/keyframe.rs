//! Whether a payload begins a keyframe, of whatever encoder.

use super::Codec;

/// True for the first packet of a keyframe.
pub(crate) fn begins_keyframe(codec: Codec, payload: &[u8]) -> bool {
    let found = match codec {
        Codec::Vp8 => vp8(payload),
        Codec::Vp9 => vp9(payload),
        Codec::H264 => h264(payload),
        Codec::Av1 => av1(payload),
        Codec::Opus => None,
    };
    found.unwrap_or(false)
}

/// Bytes of a picture id whose first bit says whether it has 15 bits.
fn picture_id_len(first: u8) -> usize {
    if first & 0x80 == 0 { 1 } else { 2 }
}

/// RFC 7741 §4.2: start of the first partition, then the inverse key frame flag.
fn vp8(payload: &[u8]) -> Option<bool> {
    let first = *payload.first()?;
    let mut at = 1;
    if first & 0x80 != 0 {
        let more = *payload.get(at)?;
        at += 1;
        if more & 0x80 != 0 {
            at += picture_id_len(*payload.get(at)?);
        }
        at += usize::from(more & 0x40 != 0) + usize::from(more & 0x30 != 0);
    }
    let frame = *payload.get(at)?;
    Some(first & 0x1F == 0x10 && frame & 1 == 0)
}

/// RFC 9628 §4.2: start of a frame that isn't predicted, of the lowest spatial layer.
fn vp9(payload: &[u8]) -> Option<bool> {
    let first = *payload.first()?;
    let mut at = 1;
    if first & 0x80 != 0 {
        at += picture_id_len(*payload.get(at)?);
    }
    let layer = if first & 0x20 == 0 {
        0
    } else {
        *payload.get(at)? >> 1 & 0x07
    };
    Some(first & 0x40 == 0 && first & 0x08 != 0 && layer == 0)
}

/// RFC 6184: SPS or the start of an IDR slice, alone, aggregated or as a first fragment.
fn h264(payload: &[u8]) -> Option<bool> {
    const STAP_A: u8 = 24;
    const FU_A: u8 = 28;
    let begins = |unit: u8| matches!(unit & 0x1F, 5 | 7);
    let first = *payload.first()?;
    match first & 0x1F {
        STAP_A => {
            let mut rest = payload.get(1..)?;
            while let Some((length, after)) = rest.split_first_chunk::<2>() {
                if begins(*after.first()?) {
                    return Some(true);
                }
                rest = after.get(usize::from(u16::from_be_bytes(*length))..)?;
            }
            Some(false)
        }
        FU_A => {
            let header = *payload.get(1)?;
            Some(header & 0x80 != 0 && begins(header))
        }
        _ => Some(begins(first)),
    }
}

/// The AV1 RTP payload specification §4.4: N, the first packet of a coded video sequence.
fn av1(payload: &[u8]) -> Option<bool> {
    let first = *payload.first()?;
    Some(first & 0x88 == 0x08)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIDEO: [Codec; 4] = [Codec::Vp8, Codec::Vp9, Codec::H264, Codec::Av1];

    #[test]
    fn what_browsers_send_is_understood() {
        // Chromium's VP8: picture id, TL0PICIDX, TID and KEYIDX.
        assert!(begins_keyframe(
            Codec::Vp8,
            &[0x90, 0xE0, 0x92, 0x34, 0x07, 0x20, 0x50]
        ));
        assert!(!begins_keyframe(
            Codec::Vp8,
            &[0x90, 0xE0, 0x92, 0x34, 0x07, 0x20, 0x51]
        ));
        // RFC 7741's shortest.
        assert!(begins_keyframe(Codec::Vp8, &[0x10, 0x50]));
        // VP9 of two spatial layers: the upper one begins nothing.
        assert!(begins_keyframe(Codec::Vp9, &[0xAB, 0x92, 0x34, 0x00, 0x05, 0x82]));
        assert!(!begins_keyframe(
            Codec::Vp9,
            &[0xAB, 0x92, 0x34, 0x02, 0x05, 0x82]
        ));
        // H.264: SPS alone, IDR alone, in an aggregate after an access unit delimiter, as fragments.
        assert!(begins_keyframe(Codec::H264, &[0x67, 0x42]) && begins_keyframe(Codec::H264, &[0x65, 0x88]));
        assert!(begins_keyframe(
            Codec::H264,
            &[0x78, 0, 2, 0x09, 0xF0, 0, 2, 0x67, 0x42]
        ));
        assert!(!begins_keyframe(
            Codec::H264,
            &[0x78, 0, 2, 0x09, 0xF0, 0, 2, 0x41, 0x42]
        ));
        assert!(begins_keyframe(Codec::H264, &[0x7C, 0x85]) && !begins_keyframe(Codec::H264, &[0x7C, 0x05]));
        assert!(begins_keyframe(Codec::Av1, &[0x28, 0x0B]) && !begins_keyframe(Codec::Av1, &[0x90]));
        assert!(!begins_keyframe(Codec::Opus, &[0xF8]));
    }

    #[test]
    fn anything_is_taken_without_a_panic() {
        let mut random = fastrand::Rng::with_seed(3);
        for codec in VIDEO {
            for length in 0..40 {
                for _ in 0..200 {
                    let payload: Vec<u8> = (0..length).map(|_| random.u8(..)).collect();
                    begins_keyframe(codec, &payload);
                }
            }
        }
    }
}
