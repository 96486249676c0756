//! An RTP header as a data plane hands it on (RFC 3550 §5.1, RFC 8285), and what its extensions say.

use serde_json::{Value, json};
use weever_proto::{Extension, ExtensionKind};

/// The fixed part, the CSRC list, and where the extensions are.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header<'a> {
    pub(super) marker: bool,
    pub(super) pt: u8,
    pub(super) sequence: u16,
    pub(super) timestamp: u32,
    pub(super) ssrc: u32,
    pub(super) csrcs: Vec<u32>,
    two_byte: bool,
    elements: &'a [u8],
}

impl<'a> Header<'a> {
    /// `None` when it is no RTP header, or cut.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let (&[first, second, s0, s1, t0, t1, t2, t3, r0, r1, r2, r3], rest) =
            bytes.split_first_chunk::<12>()?;
        let (csrcs, rest) = rest.split_at_checked(4 * usize::from(first & 0x0f))?;
        let (mut two_byte, mut elements): (bool, &[u8]) = (false, &[]);
        if first & 0x10 != 0 {
            let (&[p0, p1, w0, w1], rest) = rest.split_first_chunk::<4>()?;
            let profile = u16::from_be_bytes([p0, p1]);
            two_byte = profile & 0xfff0 == 0x1000;
            if two_byte || profile == 0xbede {
                elements = rest.get(..4 * usize::from(u16::from_be_bytes([w0, w1])))?;
            }
        }
        Some(Self {
            marker: second & 0x80 != 0,
            pt: second & 0x7f,
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([r0, r1, r2, r3]),
            csrcs: csrcs.chunks_exact(4).filter_map(number).collect(),
            two_byte,
            elements,
        })
    }

    /// Ids and contents, in order.
    pub(super) fn elements(&self) -> impl Iterator<Item = (u8, &'a [u8])> + use<'a> {
        let (mut rest, two_byte) = (self.elements, self.two_byte);
        std::iter::from_fn(move || {
            loop {
                let (head, tail) = rest.split_first()?;
                let (id, len, tail) = match (*head, two_byte) {
                    // Padding.
                    (0, _) => {
                        rest = tail;
                        continue;
                    }
                    (id, true) => {
                        let (len, tail) = tail.split_first()?;
                        (id, usize::from(*len), tail)
                    }
                    // RFC 8285 §4.2: 15 ends the block.
                    (head, false) if head >> 4 == 15 => return None,
                    (head, false) => (head >> 4, usize::from(head & 0x0f) + 1, tail),
                };
                let (data, next) = tail.split_at_checked(len)?;
                rest = next;
                return Some((id, data));
            }
        })
    }
}

fn number(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes))
}

/// The extensions by what they mean; those that were not negotiated by their id.
pub(super) fn extensions(header: &Header<'_>, known: &[Extension]) -> serde_json::Map<String, Value> {
    let kind = |id: u8| known.iter().find(|extension| extension.id == id).map(|e| e.kind);
    let named = |(id, data): (u8, &[u8])| match kind(id) {
        Some(kind) => (
            name(kind).to_owned(),
            value(kind, data).unwrap_or_else(|| hex(data)),
        ),
        None => (format!("id{id}"), hex(data)),
    };
    header.elements().map(named).collect()
}

fn name(kind: ExtensionKind) -> &'static str {
    match kind {
        ExtensionKind::Mid => "mid",
        ExtensionKind::Rid => "rid",
        ExtensionKind::RepairedRid => "repaired_rid",
        ExtensionKind::AbsSendTime => "abs_send_time",
        ExtensionKind::TransportCc => "transport_cc",
        ExtensionKind::AudioLevel => "audio_level",
        ExtensionKind::PlayoutDelay => "playout_delay",
        ExtensionKind::VideoOrientation => "video_orientation",
        ExtensionKind::DependencyDescriptor => "dependency_descriptor",
        ExtensionKind::AbsCaptureTime => "abs_capture_time",
    }
}

/// `None` when it isn't of the form that it should have.
fn value(kind: ExtensionKind, data: &[u8]) -> Option<Value> {
    Some(match (kind, data) {
        (ExtensionKind::Mid | ExtensionKind::Rid | ExtensionKind::RepairedRid, text) => {
            std::str::from_utf8(text).ok()?.into()
        }
        // Seconds, modulo 64, as 6.18 fixed point.
        (ExtensionKind::AbsSendTime, &[a, b, c]) => {
            (f64::from(u32::from_be_bytes([0, a, b, c])) / f64::from(1 << 18)).into()
        }
        // Its second version has two bytes more, a request for feedback.
        (ExtensionKind::TransportCc, &[a, b, ..]) => u16::from_be_bytes([a, b]).into(),
        // RFC 6464 §3; in the two-byte form there is padding.
        (ExtensionKind::AudioLevel, &[level, ..]) => {
            json!({ "voice": level & 0x80 != 0, "dbov": -i16::from(level & 0x7f) })
        }
        // Two numbers of 12 bits, in 10 ms.
        (ExtensionKind::PlayoutDelay, &[a, b, c]) => {
            let both = u32::from_be_bytes([0, a, b, c]);
            json!({ "min_ms": (both >> 12) * 10, "max_ms": (both & 0xfff) * 10 })
        }
        // 3GPP TS 26.114 §7.4.5.
        (ExtensionKind::VideoOrientation, &[bits]) => json!({
            "rotation": u16::from(bits & 3) * 90,
            "flipped": bits & 4 != 0,
            "back_camera": bits & 8 != 0,
        }),
        (ExtensionKind::AbsCaptureTime, data) => {
            let (ntp, rest) = data.split_first_chunk::<8>()?;
            let offset = rest.first_chunk::<8>().map(|offset| i64::from_be_bytes(*offset));
            match offset {
                Some(offset) => json!({ "ntp": u64::from_be_bytes(*ntp), "offset_ntp": offset }),
                None => json!({ "ntp": u64::from_be_bytes(*ntp) }),
            }
        }
        _ => return None,
    })
}

fn hex(data: &[u8]) -> Value {
    use std::fmt::Write;
    let digits = data.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    });
    digits.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn known(kinds: &[(u8, ExtensionKind)]) -> Vec<Extension> {
        kinds.iter().map(|&(id, kind)| Extension { id, kind }).collect()
    }

    #[test]
    fn every_kind_is_told_in_its_own_words() {
        let mut bytes = vec![0x91, 0xe0, 0x12, 0x34, 0, 0, 0, 9, 0, 0, 0, 7, 0, 0, 0, 5];
        let elements: &[u8] = &[
            0x10, b'v', 0x22, 0x06, 0, 0, 0x31, 1, 2, 0x40, 0xa5, 0x52, 0x01, 0x40, 0x64, 0x60, 0x0b, 0x72,
            1, 2, 3, 0x87, 0, 0, 0, 1, 0x80, 0, 0, 0, 0x91, 0xaa, 0xbb, 0,
        ];
        bytes.extend([0xbe, 0xde, 0, u8::try_from(elements.len().div_ceil(4)).unwrap()]);
        bytes.extend(elements);
        bytes.resize(20 + elements.len().next_multiple_of(4), 0);
        let header = Header::read(&bytes).unwrap();
        assert!(header.marker);
        assert_eq!(
            (header.pt, header.sequence, header.timestamp, header.ssrc),
            (96, 0x1234, 9, 7)
        );
        assert_eq!(header.csrcs, [5]);
        use ExtensionKind as K;
        let known = known(&[
            (1, K::Mid),
            (2, K::AbsSendTime),
            (3, K::TransportCc),
            (4, K::AudioLevel),
            (5, K::PlayoutDelay),
            (6, K::VideoOrientation),
            (7, K::DependencyDescriptor),
            (8, K::AbsCaptureTime),
        ]);
        assert_eq!(
            Value::Object(extensions(&header, &known)),
            json!({
                "mid": "v", "abs_send_time": 1.5, "transport_cc": 258,
                "audio_level": { "voice": true, "dbov": -37 },
                "playout_delay": { "min_ms": 200, "max_ms": 1000 },
                "video_orientation": { "rotation": 270, "flipped": false, "back_camera": true },
                "dependency_descriptor": "010203",
                "abs_capture_time": { "ntp": 6_442_450_944u64 },
                "id9": "aabb",
            })
        );
    }

    #[test]
    fn what_has_another_form_is_told_as_it_is() {
        let mut bytes = vec![0x90, 96, 0, 1, 0, 0, 0, 9, 0, 0, 0, 7, 0x10, 0, 0, 2];
        bytes.extend([3, 2, 0xff, 0xfe, 0, 7, 0, 0]);
        let header = Header::read(&bytes).unwrap();
        let told = extensions(&header, &known(&[(3, ExtensionKind::Mid)]));
        assert_eq!(Value::Object(told), json!({ "mid": "fffe", "id7": "" }));
        assert_eq!(Header::read(&bytes[..20]), None, "cut");
        assert_eq!(Header::read(&bytes[..11]), None);
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..120), form in 0..3) {
            let mut bytes = bytes;
            if let (Some(head), 1..) = (bytes.get_mut(..16), form) {
                head[0] = 0x90;
                head[12..14].copy_from_slice(if form == 1 { &[0xbe, 0xde] } else { &[0x10, 0] });
                head[14..16].copy_from_slice(&[0, 5]);
            }
            if let Some(header) = Header::read(&bytes) {
                let all: Vec<_> = (1..15).map(|id| (id, [ExtensionKind::AudioLevel, ExtensionKind::AbsCaptureTime,
                    ExtensionKind::PlayoutDelay, ExtensionKind::TransportCc][usize::from(id) % 4])).collect();
                extensions(&header, &known(&all));
            }
        }
    }
}
