//! RTP, RTCP, STUN.

use crate::{Seed, hex};

/// Version 2, payload type 96, sequence 1, timestamp 2, SSRC 3.
fn rtp_with(first: u8, rest: &str) -> Vec<u8> {
    let mut packet = hex("00 60 0001 00000002 00000003");
    packet[0] = first;
    packet.extend(hex(rest));
    packet
}

pub(crate) fn rtp() -> Vec<Seed> {
    vec![
        ("plain", rtp_with(0x80, "01020304")),
        ("marker", hex("80 e0 ffff ffffffff ffffffff 0102")),
        ("header-only", rtp_with(0x80, "")),
        ("one-byte", rtp_with(0x90, "bede0002 10 30 32 aabbcc 0000 0102")),
        (
            "one-byte-browser",
            rtp_with(0x90, "bede0003 10ff 22123456 3100 01 40 30 0000 0102"),
        ),
        (
            "one-byte-16-bytes",
            rtp_with(0x90, "bede0005 1f 000102030405060708090a0b0c0d0e0f 000000 01"),
        ),
        ("one-byte-id-15", rtp_with(0x90, "bede0002 1007 f009 2008 0000")),
        (
            "one-byte-id-0-with-length",
            rtp_with(0x90, "bede0002 1007 03 2008 000000"),
        ),
        ("one-byte-overrun", rtp_with(0x90, "bede0001 10 07 2f 09")),
        ("one-byte-all-padding", rtp_with(0x90, "bede0001 00000000 01")),
        (
            "two-byte",
            rtp_with(0x90, "10000003 0f00 00 c8 03 010203 0900 0000"),
        ),
        ("two-byte-application-bits", rtp_with(0x90, "100f0001 0101 07 00")),
        ("two-byte-no-length", rtp_with(0x90, "10000001 00 00 00 01")),
        ("two-byte-overrun", rtp_with(0x90, "10000001 01 ff 00 00")),
        ("other-profile", rtp_with(0x90, "abac0001 01020304")),
        ("empty-block", rtp_with(0x90, "bede0000 01")),
        ("block-overrun", rtp_with(0x90, "bedeffff 01")),
        ("cut-block-header", rtp_with(0x90, "bede00")),
        ("csrc-2", rtp_with(0x82, "00000001 00000002 0102")),
        ("csrc-15-overrun", rtp_with(0x8f, "00000001")),
        ("padding-2", rtp_with(0xa0, "0102 0002")),
        ("padding-only", rtp_with(0xa0, "00000004")),
        ("padding-0", rtp_with(0xa0, "01020300")),
        ("padding-255", rtp_with(0xa0, "010203ff")),
        ("padding-without-payload", rtp_with(0xa0, "")),
        (
            "everything",
            rtp_with(0xb1, "00000001 bede0001 10070000 01 02 0002"),
        ),
        ("version-1", rtp_with(0x40, "01")),
        ("one-byte-datagram", vec![0x80]),
        ("empty", vec![]),
        ("rtcp-type", hex("80 c8 0001 00000002 00000003")),
    ]
}

pub(crate) fn rtcp() -> Vec<Seed> {
    const SR: &str = "80c80006 01020304 e0000001 80000000 00003039 00000005 00001000";
    const BLOCK: &str = "00000009 ff fffffd 0001ffff 00000004 00000005 00000006";
    const PLI: &str = "81ce0002 00000001 00000002";
    vec![
        ("sr", hex(SR)),
        (
            "sr-sdes",
            hex(&format!("{SR} 81ca0003 01020304 0105616c696365 00")),
        ),
        ("sr-block", hex(&format!("81c8000c {} {BLOCK}", &SR[9..]))),
        ("rr-empty", hex("80c90001 00000001")),
        ("rr-block", hex(&format!("81c90007 00000001 {BLOCK}"))),
        ("rr-count-overrun", hex(&format!("9fc90007 00000001 {BLOCK}"))),
        (
            "sdes-two-chunks",
            hex("82ca0005 00000001 0101 61 0202 6263 00 00000002 0100 0000"),
        ),
        ("sdes-item-overrun", hex("81ca0002 00000001 01c86162")),
        ("sdes-unterminated", hex("81ca0002 00000001 01026162")),
        ("sdes-31-of-none", hex("9fca0000")),
        ("bye", hex("81cb0001 00000007")),
        ("bye-reason", hex("81cb0003 00000007 07 7363726565 6e 21")),
        ("bye-overrun", hex("82cb0001 00000007")),
        ("nack", hex("81cd0004 00000001 00000002 00648001 00750000")),
        ("nack-wrap", hex("81cd0003 00000001 00000002 ffffffff")),
        ("nack-nothing", hex("81cd0002 00000001 00000002")),
        (
            "nack-unordered",
            hex("81cd0005 00000001 00000002 0010ffff 00010001 0005ffff"),
        ),
        ("pli", hex(PLI)),
        ("pli-short", hex("81ce0001 00000001")),
        (
            "fir",
            hex("84ce0006 00000001 00000000 00000009 c8000000 0000000a 01000000"),
        ),
        ("fir-cut-entry", hex("84ce0003 00000001 00000000 00000009")),
        (
            "transport-cc",
            hex("8fcd0005 00000001 00000002 00090001 00000100 20010400"),
        ),
        (
            "remb",
            hex("8fce0005 00000001 00000000 52454d42 010bd090 00000007"),
        ),
        (
            "remb-largest",
            hex("8fce0004 00000001 00000000 52454d42 00ffffff"),
        ),
        (
            "remb-not-normal",
            hex("8fce0004 00000001 00000000 52454d42 00080001"),
        ),
        ("application-other", hex("8fce0003 00000001 00000000 474f4f47")),
        ("xr-then-pli", hex(&format!("80cf0001 00000001 {PLI}"))),
        ("padded", hex("a1ce0003 00000001 00000002 00000004")),
        ("padding-0", hex("a1ce0003 00000001 00000002 00000000")),
        ("padding-all", hex("a1ce0003 00000001 00000002 00000010")),
        ("empty-packets", hex("80d20000").repeat(16)),
        ("length-overrun", hex("81ceffff 00000001 00000002")),
        ("version-1-behind", hex(&format!("{PLI} 41ce0000 {PLI}"))),
        ("cut", hex("81ce00")),
    ]
}

pub(crate) fn stun() -> Vec<Seed> {
    const COOKIE: &str = "2112a442 b7e7a701bc34d686fa87dfae";
    const USERNAME: &str = "00060009 6576746a3a68367659202020";
    // RFC 5769 §2.1 to §2.3.
    let request = format!(
        "00010058 {COOKIE} 80220010 5354554e207465737420636c69656e74 00240004 6e0001ff 80290008 932ff9b151263b36 \
         {USERNAME} 00080014 9aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2 80280004 e57a3bcf"
    );
    let ipv4 = format!(
        "0101003c {COOKIE} 8022000b 7465737420766563746f7220 00200008 0001a147e112a643 \
         00080014 2b91f599fd9e90c38c7489f92af9ba53f06be7d7 80280004 c07d4c96"
    );
    let ipv6 = format!(
        "01010048 {COOKIE} 8022000b 7465737420766563746f7220 00200014 0002a147 0113a9faa5d3f179bc25f4b5bed2b9d9 \
         00080014 a382954e4be67bf11784c97c8292c275bfe3ed41 80280004 c8fb0b4c"
    );
    let mut flipped = hex(&request);
    flipped[60] ^= 1;
    let raw = |attributes: &str| {
        let attributes = hex(attributes);
        let mut message = hex(&format!("0001 {:04x} {COOKIE}", attributes.len()));
        message.extend(attributes);
        message
    };
    let integrity = format!("00080014 {}", "00".repeat(20));
    vec![
        ("rfc5769-request", hex(&request)),
        ("rfc5769-ipv4", hex(&ipv4)),
        ("rfc5769-ipv6", hex(&ipv6)),
        ("flipped", flipped),
        ("header-only", raw("")),
        ("username", raw(USERNAME)),
        ("username-twice", raw(&format!("{USERNAME} 00060003 783a7900"))),
        ("username-no-colon", raw("00060004 61626364")),
        ("username-empty", raw("00060000")),
        ("username-binary", raw("00060002 fffe0000")),
        ("username-overrun", raw("00060009 61000000")),
        (
            "as-chrome",
            raw(&format!(
                "{USERNAME} c0570004 00000001 802a0008 0000000000000001 00250000 00240004 6e001eff {integrity}"
            )),
        ),
        (
            "as-ffmpeg",
            raw(&format!(
                "{USERNAME} 00250000 802a0008 0000000000000001 {integrity} 80280004 00000000"
            )),
        ),
        (
            "behind-integrity",
            raw(&format!("{integrity} {USERNAME} 00250000")),
        ),
        ("integrity-short", raw("00080004 00000000")),
        ("integrity-twice", raw(&format!("{integrity} {integrity}"))),
        ("fingerprint-not-last", raw("80280004 00000000 00250000")),
        ("fingerprint-empty", raw("80280000")),
        ("priority-empty", raw("00240000")),
        ("controlled", raw("80290008 0000000000000007")),
        ("address-family-3", raw("00200008 0003000000000000")),
        ("address-long", raw("0020000c 0001000000000000 00000000")),
        (
            "error-487",
            hex(&format!(
                "01110018 {COOKIE} 00090011 00000457 526f6c6520436f6e666c696374 000000"
            )),
        ),
        ("error-700", raw("00090004 00000700")),
        ("unknown-attribute", raw("7fff0001 61000000")),
        ("length-odd", hex(&format!("00010003 {COOKIE} 000600"))),
        ("length-too-large", hex(&format!("0001ffff {COOKIE}"))),
        ("cookie-old", hex("00010000 00000000 b7e7a701bc34d686fa87dfae")),
        ("type-bits", hex(&format!("40010000 {COOKIE}"))),
        ("one-byte", vec![0]),
    ]
}
