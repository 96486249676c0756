//! The headers that each codec's payloads begin with.

use super::Codec;

/// Room that any of them needs.
pub(super) const HEADERS_MAX: usize = 40;

const WIDTH: u16 = 1280;
const HEIGHT: u16 = 720;

/// Where in a frame a packet lies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub(super) index: usize,
    pub(super) last: bool,
    pub(super) keyframe: bool,
    /// Of the frame.
    pub(super) number: usize,
}

impl Part {
    fn first(self) -> bool {
        self.index == 0
    }
}

/// Writes over the beginning of a payload of at least [`HEADERS_MAX`] bytes.
pub(super) fn write_headers(codec: Codec, payload: &mut [u8], part: Part) {
    let headers = match codec {
        Codec::Vp8 => vp8(part),
        Codec::Vp9 => vp9(part),
        Codec::H264 => h264(part, payload.len()),
        Codec::Av1 => av1(part),
        Codec::Opus => Vec::new(),
    };
    if let Some(begin) = payload.get_mut(..headers.len()) {
        begin.copy_from_slice(&headers);
    }
}

/// 15 bits, with the bit that says so.
fn picture_id(part: Part) -> [u8; 2] {
    let id = u16::try_from(part.number % 0x8000).unwrap_or(0);
    (id | 0x8000).to_be_bytes()
}

/// RFC 7741 §4.2 and §4.3; RFC 6386 §9.1.
fn vp8(part: Part) -> Vec<u8> {
    let start = if part.first() { 0x10 } else { 0 };
    let mut out = vec![0x80 | start, 0x80];
    out.extend(picture_id(part));
    if part.first() {
        // Bit 0: not a keyframe; bit 4: shown.
        out.extend([0x10 | u8::from(!part.keyframe), 0, 0]);
        if part.keyframe {
            out.extend([0x9D, 0x01, 0x2A]);
            out.extend(WIDTH.to_le_bytes());
            out.extend(HEIGHT.to_le_bytes());
        }
    }
    out
}

/// RFC 9628 §4.2, non-flexible mode, one spatial layer; the VP9 bitstream's uncompressed header.
fn vp9(part: Part) -> Vec<u8> {
    let structure = part.first() && part.keyframe;
    let flags = [
        (true, 0x80),
        (!part.keyframe, 0x40),
        (part.first(), 0x08),
        (part.last, 0x04),
        (structure, 0x02),
    ];
    let descriptor = flags.iter().filter(|(on, _)| *on).map(|(_, bit)| bit).sum();
    let mut out = vec![descriptor];
    out.extend(picture_id(part));
    if structure {
        // One layer, with its resolution.
        out.push(0x10);
        out.extend(WIDTH.to_be_bytes());
        out.extend(HEIGHT.to_be_bytes());
    }
    if part.first() {
        // Frame marker, profile 0, frame type, shown.
        out.push(if part.keyframe { 0x82 } else { 0x86 });
        if part.keyframe {
            out.extend([0x49, 0x83, 0x42]);
        }
    }
    out
}

/// Constrained baseline, level 3.1, 1280x720.
const SPS: [u8; 13] = [
    0x67, 0x42, 0xC0, 0x1F, 0xDA, 0x01, 0x40, 0x16, 0xE8, 0x40, 0x00, 0x00, 0x80,
];
const PPS: [u8; 4] = [0x68, 0xCE, 0x3C, 0x80];

/// RFC 6184. A keyframe's first packet aggregates SPS, PPS and a slice (§5.7.1); all others are fragments (§5.8).
fn h264(part: Part, length: usize) -> Vec<u8> {
    const STAP_A: u8 = 24;
    const FU_A: u8 = 28;
    const IDR: u8 = 5;
    const SLICE: u8 = 1;
    const REFERENCE: u8 = 0x60;
    if part.keyframe && part.first() {
        let mut out = vec![REFERENCE | STAP_A];
        for unit in [&SPS[..], &PPS[..]] {
            out.extend(u16::try_from(unit.len()).unwrap_or(0).to_be_bytes());
            out.extend(unit);
        }
        let rest = length.saturating_sub(out.len() + 2);
        out.extend(u16::try_from(rest).unwrap_or(u16::MAX).to_be_bytes());
        out.push(REFERENCE | IDR);
        return out;
    }
    let kind = if part.keyframe { IDR } else { SLICE };
    if part.first() && part.last {
        return vec![REFERENCE | kind];
    }
    // After the aggregate with the first slice of a keyframe comes its second one.
    let starts = part.index == usize::from(part.keyframe);
    let start = if starts { 0x80 } else { 0 };
    let end = if part.last { 0x40 } else { 0 };
    vec![REFERENCE | FU_A, start | end | kind]
}

/// The AV1 RTP payload specification §4.4; OBUs without their size field.
fn av1(part: Part) -> Vec<u8> {
    const CONTINUES: u8 = 0x80;
    const GOES_ON: u8 = 0x40;
    const ONE_OBU: u8 = 0x10;
    const TWO_OBUS: u8 = 0x20;
    const NEW_SEQUENCE: u8 = 0x08;
    /// Main profile, level 4.0, 1280x720.
    const SEQUENCE_HEADER: [u8; 11] = [0x08, 0x00, 0x00, 0x00, 0x42, 0xA7, 0xBF, 0xE4, 0x60, 0x0D, 0x00];
    const FRAME: u8 = 6 << 3;
    let goes_on = if part.last { 0 } else { GOES_ON };
    if !part.first() {
        return vec![CONTINUES | goes_on | ONE_OBU];
    }
    if !part.keyframe {
        return vec![goes_on | ONE_OBU, FRAME];
    }
    let length = u8::try_from(SEQUENCE_HEADER.len()).unwrap_or(0);
    let mut out = vec![goes_on | TWO_OBUS | NEW_SEQUENCE, length];
    out.extend(SEQUENCE_HEADER);
    out.push(FRAME);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(codec: Codec, index: usize, last: bool, keyframe: bool) -> Vec<u8> {
        let mut payload = vec![0xEE; 100];
        let part = Part {
            index,
            last,
            keyframe,
            number: 5,
        };
        write_headers(codec, &mut payload, part);
        let end = payload
            .iter()
            .rposition(|byte| *byte != 0xEE)
            .map_or(0, |at| at + 1);
        payload.truncate(end);
        assert!(end <= HEADERS_MAX);
        payload
    }

    #[test]
    fn vp8_is_as_the_rfc_has_it() {
        let key = [0x90, 0x80, 0x80, 5, 0x10, 0, 0, 0x9D, 1, 0x2A, 0, 5, 0xD0, 2];
        assert_eq!(headers(Codec::Vp8, 0, false, true), key);
        assert_eq!(headers(Codec::Vp8, 2, true, true), [0x80, 0x80, 0x80, 5]);
        assert_eq!(
            headers(Codec::Vp8, 0, true, false),
            [0x90, 0x80, 0x80, 5, 0x11, 0, 0]
        );
    }

    #[test]
    fn vp9_is_as_the_rfc_has_it() {
        let key = [0x8A, 0x80, 5, 0x10, 5, 0, 2, 0xD0, 0x82, 0x49, 0x83, 0x42];
        assert_eq!(headers(Codec::Vp9, 0, false, true), key);
        assert_eq!(headers(Codec::Vp9, 2, true, true), [0x84, 0x80, 5]);
        assert_eq!(headers(Codec::Vp9, 0, true, false), [0xCC, 0x80, 5, 0x86]);
    }

    #[test]
    fn h264_is_as_the_rfc_has_it() {
        let key = headers(Codec::H264, 0, false, true);
        assert_eq!(key[..4], [0x78, 0, 13, 0x67]);
        assert_eq!(key[16..19], [0, 4, 0x68]);
        // What is left of 100 bytes is one slice.
        assert_eq!(key[22..], [0, 76, 0x65]);
        assert_eq!(headers(Codec::H264, 1, false, true), [0x7C, 0x85]);
        assert_eq!(headers(Codec::H264, 2, true, true), [0x7C, 0x45]);
        assert_eq!(headers(Codec::H264, 0, false, false), [0x7C, 0x81]);
        assert_eq!(headers(Codec::H264, 0, true, false), [0x61]);
    }

    #[test]
    fn av1_is_as_its_specification_has_it() {
        let key = headers(Codec::Av1, 0, false, true);
        assert_eq!(key[..3], [0x68, 11, 0x08]);
        assert_eq!(key[13..], [0x30]);
        assert_eq!(headers(Codec::Av1, 2, false, true), [0xD0]);
        assert_eq!(headers(Codec::Av1, 2, true, false), [0x90]);
        assert_eq!(headers(Codec::Av1, 0, true, false), [0x10, 0x30]);
    }
}
