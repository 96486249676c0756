//! Where keyframes start, by the payload descriptors of each codec. Looks at plaintext payloads.

use weever_proto::Codec;

use super::cursor::Reader;

/// Whether this RTP payload begins a keyframe, or holds the start of one: from here on a decoder needs nothing older.
/// Parameter sets (H.264, H.265) and sequence headers (AV1) count, as they come right before it. Always true for audio.
/// False for what can't be parsed.
#[must_use]
pub fn keyframe_start(codec: Codec, payload: &[u8]) -> bool {
    match codec {
        Codec::Opus | Codec::Pcmu | Codec::Pcma | Codec::Red => true,
        Codec::Vp8 => vp8(payload).unwrap_or(false),
        Codec::Vp9 => vp9(payload).unwrap_or(false),
        Codec::H264 => h264(payload).unwrap_or(false),
        Codec::H265 => h265(payload).unwrap_or(false),
        Codec::Av1 => av1(payload).unwrap_or(false),
    }
}

/// RFC 7741 §4.2 (descriptor) and §4.3 (payload header).
fn vp8(payload: &[u8]) -> Option<bool> {
    let mut rest = Reader(payload);
    let descriptor = rest.u8()?;
    // S: start of a partition; PID: of the first one.
    if descriptor & 0x10 == 0 || descriptor & 0x07 != 0 {
        return Some(false);
    }
    if descriptor & 0x80 != 0 {
        let extended = rest.u8()?;
        if extended & 0x80 != 0 && rest.u8()? & 0x80 != 0 {
            rest.u8()?; // M: the picture id has 15 bits
        }
        if extended & 0x40 != 0 {
            rest.u8()?; // TL0PICIDX
        }
        if extended & 0x30 != 0 {
            rest.u8()?; // TID, Y, KEYIDX
        }
    }
    // P, inverse key frame flag.
    Some(rest.u8()? & 0x01 == 0)
}

/// RFC 9628 §4.2.
fn vp9(payload: &[u8]) -> Option<bool> {
    let mut rest = Reader(payload);
    let descriptor = rest.u8()?;
    let (picture_id, predicted, layers, begins) = (
        descriptor & 0x80 != 0,
        descriptor & 0x40 != 0,
        descriptor & 0x20 != 0,
        descriptor & 0x08 != 0,
    );
    if predicted || !begins {
        return Some(false);
    }
    if picture_id && rest.u8()? & 0x80 != 0 {
        rest.u8()?; // M: 15 bits
    }
    if layers {
        // TID, U, SID, D
        return Some(rest.u8()? >> 1 & 0x07 == 0);
    }
    Some(true)
}

/// RFC 6184 §5.2: NAL unit types.
fn h264_type(header: u8) -> u8 {
    header & 0x1F
}

/// Coded slice of an IDR picture, sequence parameter set.
fn h264_starts(nal_type: u8) -> bool {
    matches!(nal_type, 5 | 7)
}

/// RFC 6184 §5.6 to §5.8.
fn h264(payload: &[u8]) -> Option<bool> {
    let mut rest = Reader(payload);
    match h264_type(rest.u8()?) {
        nal_type @ 1..=23 => Some(h264_starts(nal_type)),
        24 => any_nal(rest, |nal| h264_starts(h264_type(nal))),
        25 => {
            rest.u16()?; // DON
            any_nal(rest, |nal| h264_starts(h264_type(nal)))
        }
        28 | 29 => {
            let fragment = rest.u8()?;
            Some(fragment & 0x80 != 0 && h264_starts(h264_type(fragment)))
        }
        _ => Some(false),
    }
}

/// Whether an aggregation packet (16-bit size before each NAL unit) holds one whose first byte passes.
fn any_nal(mut rest: Reader<'_>, starts: impl Fn(u8) -> bool) -> Option<bool> {
    while !rest.is_empty() {
        let size = usize::from(rest.u16()?);
        if rest.take(size)?.first().is_some_and(|header| starts(*header)) {
            return Some(true);
        }
    }
    Some(false)
}

/// RFC 7798 §1.1.4: the type is the six bits below the forbidden one.
fn h265_type(header: u8) -> u8 {
    header >> 1 & 0x3F
}

/// IRAP pictures; VPS, SPS, PPS.
fn h265_starts(nal_type: u8) -> bool {
    matches!(nal_type, 16..=23 | 32..=34)
}

/// RFC 7798 §4.4.1 to §4.4.3, without DONL (`sprop-max-don-diff` is never negotiated).
fn h265(payload: &[u8]) -> Option<bool> {
    let mut rest = Reader(payload);
    let [header, _] = rest.array()?;
    match h265_type(header) {
        48 => any_nal(rest, |nal| h265_starts(h265_type(nal))),
        49 => {
            let fragment = rest.u8()?;
            Some(fragment & 0x80 != 0 && h265_starts(fragment & 0x3F))
        }
        nal_type => Some(h265_starts(nal_type)),
    }
}

/// `OBU_SEQUENCE_HEADER` (AV1 bitstream specification §6.2.2).
const SEQUENCE_HEADER: u8 = 1;

/// AV1 RTP payload specification 1.0 §4.4: aggregation header `Z Y W W N - - -`, then OBU elements.
fn av1(payload: &[u8]) -> Option<bool> {
    let mut rest = Reader(payload);
    let aggregation = rest.u8()?;
    let continues = aggregation & 0x80 != 0;
    let elements = aggregation >> 4 & 0x03;
    if aggregation & 0x08 != 0 {
        // A packet that starts a coded video sequence can't continue an OBU.
        return Some(!continues && !rest.is_empty());
    }
    let mut index = 0u8;
    while !rest.is_empty() {
        index = index.saturating_add(1);
        // W elements, the last without a length; W = 0: any number, each with one.
        let size = if elements != 0 && index >= elements {
            rest.0.len()
        } else {
            leb128(&mut rest)?
        };
        let element = rest.take(size)?;
        let fragment_of_older = continues && index == 1;
        if !fragment_of_older
            && element
                .first()
                .is_some_and(|obu| obu >> 3 & 0x0F == SEQUENCE_HEADER)
        {
            return Some(true);
        }
    }
    Some(false)
}

/// AV1 bitstream specification §4.10.5: at most eight bytes, 32 bits.
fn leb128(rest: &mut Reader<'_>) -> Option<usize> {
    let mut value = 0u64;
    for shift in (0..56).step_by(7) {
        let byte = rest.u8()?;
        value |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return u32::try_from(value).ok().and_then(|v| usize::try_from(v).ok());
        }
    }
    None
}

#[cfg(test)]
mod tests;
