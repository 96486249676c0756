//! Payloads.

use crate::{Seed, hex};

/// The first byte chooses the codec: 0 VP8, 1 VP9, 2 H.264, 3 H.265, 4 AV1, 5 Opus.
pub(crate) fn payload() -> Vec<Seed> {
    vec![
        ("vp8-key", hex("00 10 500000 9d012a")),
        ("vp8-inter", hex("00 10 510000")),
        ("vp8-extended", hex("00 90 f0 9234 07 20 50")),
        ("vp8-cut", hex("00 90 80 92")),
        ("vp9-key", hex("01 08 82")),
        ("vp9-layers", hex("01 a8 12 00 05 82")),
        ("vp9-flexible", hex("01 b8 9234 10 82")),
        ("vp9-upper-layer", hex("01 a8 12 02 05 82")),
        ("vp9-cut", hex("01 a8 92")),
        ("h264-idr", hex("02 65 88")),
        ("h264-stap-a", hex("02 78 0002 6742 0002 68ce")),
        ("h264-stap-a-overrun", hex("02 78 0009 67")),
        ("h264-stap-a-empty", hex("02 78 0000 0000 0001 65")),
        ("h264-stap-b", hex("02 79 0001 0001 65")),
        ("h264-fu-a", hex("02 7c 85 01")),
        ("h264-fu-a-cut", hex("02 7c")),
        ("h265-idr", hex("03 2601 af")),
        ("h265-ap", hex("03 6001 0002 4001 0002 2601")),
        ("h265-ap-overrun", hex("03 6001 ffff 40")),
        ("h265-fu", hex("03 6201 93 01")),
        ("h265-cut", hex("03 26")),
        ("av1-new-sequence", hex("04 18 0a0b")),
        ("av1-two", hex("04 20 02 1200 0800")),
        ("av1-lengths", hex("04 00 02 1200 02 0800")),
        ("av1-continued", hex("04 a0 01 08 0800")),
        ("av1-endless-length", hex("04 00 ffffffffffffffffff")),
        ("av1-32-bit-length", hex("04 00 ffffffff0f 08")),
        ("av1-empty-elements", hex("04 00 000000")),
        ("opus", hex("05 78 01")),
        ("empty", hex("02")),
    ]
}

pub(crate) fn red() -> Vec<Seed> {
    vec![
        ("primary-only", hex("6f 0102")),
        ("primary-empty", hex("6f")),
        ("one-redundant", hex("ef 0f0003 6f 010203 0908")),
        ("two-redundant", hex("ef 1e0002 ef 0f0001 6f 0102 03 04")),
        ("empty-redundant", hex("ef 0f0000 6f 0908")),
        ("other-types", hex("80 fffc01 00 01 02")),
        ("largest-offset", hex("ef fffc00 6f 01")),
        ("largest-length", hex("ef 0003ff 6f 01")),
        ("cut-header", hex("ef 0f00")),
        ("no-primary", hex("ef 0f0000")),
        ("overrun", hex("ef 0f0003 6f 0102")),
        ("headers-only", hex("ff ffffff ff ffffff ff ffffff")),
        ("empty", vec![]),
    ]
}
