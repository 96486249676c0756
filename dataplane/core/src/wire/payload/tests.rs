use proptest::collection::vec;
use proptest::prelude::*;
use weever_proto::Codec;

use super::keyframe_start;

const VIDEO: [Codec; 5] = [Codec::Vp8, Codec::Vp9, Codec::H264, Codec::H265, Codec::Av1];

fn check(codec: Codec, cases: &[(&[u8], bool, &str)]) {
    for (payload, expected, what) in cases {
        assert_eq!(
            keyframe_start(codec, payload),
            *expected,
            "{codec:?}: {what}: {payload:02x?}"
        );
    }
}

#[test]
fn vp8() {
    check(
        Codec::Vp8,
        &[
            (
                &[0x10, 0x50, 0x00, 0x00, 0x9D, 0x01, 0x2A],
                true,
                "first partition, P = 0",
            ),
            (&[0x10, 0x51, 0x00, 0x00], false, "interframe"),
            (&[0x00, 0x50], false, "not the start of a partition"),
            (&[0x11, 0x50], false, "second partition"),
            (&[0x90, 0x80, 0x12, 0x50], true, "7-bit picture id"),
            (&[0x90, 0x80, 0x92, 0x34, 0x50], true, "15-bit picture id"),
            (
                &[0x90, 0xE0, 0x92, 0x34, 0x07, 0x20, 0x50],
                true,
                "picture id, TL0PICIDX, TID",
            ),
            (&[0x90, 0x10, 0x01, 0x50], true, "KEYIDX only"),
            (
                &[0x90, 0xF0, 0x92, 0x34, 0x07, 0x20, 0x51],
                false,
                "interframe behind all of them",
            ),
            (&[0x90, 0xE0, 0x92, 0x34, 0x07, 0x20], false, "descriptor only"),
            (&[0x90], false, "cut descriptor"),
            (&[0x10], false, "no payload"),
        ],
    );
}

#[test]
fn vp9() {
    check(
        Codec::Vp9,
        &[
            (&[0x08, 0x82], true, "B, not P"),
            (&[0x48, 0x82], false, "P"),
            (&[0x00, 0x82], false, "not B"),
            (&[0x8C, 0x92, 0x34, 0x82], true, "15-bit picture id, E"),
            (&[0xA8, 0x12, 0x00, 0x05, 0x82], true, "layer 0, non-flexible"),
            (
                &[0xA8, 0x12, 0x02, 0x05, 0x82],
                false,
                "spatial layer 1 of a keyframe",
            ),
            (
                &[0xB8, 0x92, 0x34, 0x10, 0x82],
                true,
                "flexible, layer 0, switching up",
            ),
            (&[0xA8, 0x92, 0x34], false, "cut before the layer"),
            (&[0x88], false, "cut before the picture id"),
        ],
    );
}

#[test]
fn h264() {
    check(
        Codec::H264,
        &[
            (&[0x65, 0x88], true, "IDR slice"),
            (&[0x67, 0x42], true, "SPS"),
            (&[0x68, 0xCE], false, "PPS"),
            (&[0x41, 0x9A], false, "slice"),
            (&[0x06, 0x05], false, "SEI"),
            (
                &[0x78, 0, 2, 0x67, 0x42, 0, 2, 0x68, 0xCE],
                true,
                "STAP-A: SPS, PPS",
            ),
            (&[0x78, 0, 2, 0x09, 0xF0, 0, 1, 0x65], true, "STAP-A: AUD, IDR"),
            (&[0x78, 0, 2, 0x09, 0xF0, 0, 1, 0x41], false, "STAP-A: AUD, slice"),
            (&[0x78, 0, 9, 0x67], false, "STAP-A: size too large"),
            (
                &[0x78, 0, 0, 0, 0, 0, 1, 0x65],
                true,
                "STAP-A: empty units before",
            ),
            (&[0x78, 0], false, "STAP-A: cut"),
            (&[0x79, 0, 1, 0, 1, 0x65], true, "STAP-B"),
            (&[0x7C, 0x85, 1], true, "FU-A, start of an IDR slice"),
            (&[0x7C, 0x05, 1], false, "FU-A, middle"),
            (&[0x7C, 0x45, 1], false, "FU-A, end"),
            (&[0x7C, 0x81, 1], false, "FU-A, start of a slice"),
            (&[0x7C], false, "FU-A, cut"),
            (&[0x60], false, "type 0"),
            (&[0x7E, 0x85], false, "type 30"),
        ],
    );
}

#[test]
fn h265() {
    check(
        Codec::H265,
        &[
            (&[0x26, 0x01, 0xAF], true, "IDR_W_RADL (19)"),
            (&[0x2A, 0x01], true, "CRA (21)"),
            (&[0x20, 0x01], true, "BLA_W_LP (16)"),
            (&[0x40, 0x01], true, "VPS (32)"),
            (&[0x42, 0x01], true, "SPS (33)"),
            (&[0x44, 0x01], true, "PPS (34)"),
            (&[0x46, 0x01], false, "AUD (35)"),
            (&[0x02, 0x01], false, "TRAIL_R (1)"),
            (&[0x30, 0x01], false, "reserved (24)"),
            (
                &[0x60, 0x01, 0, 2, 0x40, 0x01, 0, 2, 0x26, 0x01],
                true,
                "AP with VPS",
            ),
            (
                &[0x60, 0x01, 0, 2, 0x46, 0x01, 0, 2, 0x02, 0x01],
                false,
                "AP without",
            ),
            (&[0x60, 0x01, 0, 9, 0x40], false, "AP, size too large"),
            (&[0x62, 0x01, 0x93, 1], true, "FU, start of IDR"),
            (&[0x62, 0x01, 0x13, 1], false, "FU, middle"),
            (&[0x62, 0x01, 0x81, 1], false, "FU, start of TRAIL_R"),
            (&[0x62, 0x01], false, "FU, cut"),
            (&[0x26], false, "half a header"),
        ],
    );
}

#[test]
fn av1() {
    check(
        Codec::Av1,
        &[
            (&[0x18, 0x0A, 0x0B], true, "N, W = 1"),
            (&[0x98, 0x0A], false, "N and Z contradict each other"),
            (&[0x08], false, "N without anything"),
            (
                &[0x10, 0x08, 0x00],
                true,
                "sequence header, W = 1, without a length",
            ),
            (&[0x10, 0x30, 0x00], false, "frame"),
            (
                &[0x20, 0x02, 0x12, 0x00, 0x08, 0x00],
                true,
                "W = 2: temporal delimiter, sequence header",
            ),
            (
                &[0x20, 0x02, 0x12, 0x00, 0x30, 0x00],
                false,
                "W = 2: temporal delimiter, frame",
            ),
            (
                &[0x00, 0x02, 0x12, 0x00, 0x02, 0x08, 0x00],
                true,
                "W = 0: each with a length",
            ),
            (
                &[0x00, 0x82, 0x00, 0x12, 0x00, 0x01, 0x08],
                true,
                "length in two bytes",
            ),
            (&[0x90, 0x08, 0x00], false, "Z: the rest of an older OBU"),
            (&[0xA0, 0x01, 0x08, 0x08, 0x00], true, "Z, then a sequence header"),
            (&[0x00, 0x7F, 0x08], false, "length too large"),
            (
                &[0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF],
                false,
                "endless length",
            ),
            (
                &[0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F, 0x08],
                false,
                "length above 32 bits",
            ),
            (&[0x00, 0x00, 0x00, 0x00], false, "empty elements"),
        ],
    );
}

#[test]
fn audio_always_starts() {
    for codec in [Codec::Opus, Codec::Pcmu, Codec::Pcma, Codec::Red] {
        assert!(keyframe_start(codec, &[]) && keyframe_start(codec, &[0xFF]));
    }
}

#[test]
fn nothing_and_the_largest_datagram_are_no_keyframes() {
    for codec in VIDEO {
        assert!(!keyframe_start(codec, &[]));
        assert!(!keyframe_start(codec, &vec![0; 65_507]), "{codec:?}");
    }
}

proptest! {
    #[test]
    fn never_panics(payload in vec(any::<u8>(), 0..100)) {
        for codec in VIDEO {
            let _ = keyframe_start(codec, &payload);
        }
    }

    /// Aggregates are the loops here: each type of theirs with any sizes inside.
    #[test]
    fn aggregates_terminate(mut payload in vec(0u8..4, 2..300), head in prop::sample::select(vec![0x78u8, 0x79, 0x60, 0, 0x80])) {
        payload[0] = head;
        for codec in VIDEO {
            let _ = keyframe_start(codec, &payload);
        }
    }
}
