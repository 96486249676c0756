use proptest::collection::vec;
use proptest::prelude::*;

use super::super::WireError;
use super::*;

fn types(datagram: &[u8]) -> Vec<u8> {
    Compound::parse(datagram)
        .map(|packet| match packet {
            RtcpPacket::SenderReport { .. } => 200,
            RtcpPacket::ReceiverReport { .. } => 201,
            RtcpPacket::Sdes { .. } => 202,
            RtcpPacket::Bye { .. } => 203,
            RtcpPacket::Nack { .. } | RtcpPacket::TransportCc { .. } => 205,
            RtcpPacket::Pli { .. } | RtcpPacket::Fir { .. } | RtcpPacket::Remb { .. } => 206,
            RtcpPacket::Other(other) => other,
        })
        .collect()
}

/// Reads all that there is to read. Returns how many items came out.
fn drain(datagram: &[u8]) -> usize {
    Compound::parse(datagram)
        .map(|packet| match packet {
            RtcpPacket::SenderReport { reports, .. } | RtcpPacket::ReceiverReport { reports, .. } => {
                reports.count()
            }
            RtcpPacket::Sdes { items } => items.count(),
            RtcpPacket::Bye { sources } | RtcpPacket::Remb { sources, .. } => sources.count(),
            RtcpPacket::Nack { lost, .. } => lost.count(),
            RtcpPacket::Fir { entries, .. } => entries.count(),
            RtcpPacket::Pli { .. } | RtcpPacket::TransportCc { .. } | RtcpPacket::Other(_) => 0,
        })
        .map(|items| items + 1)
        .sum()
}

fn first(datagram: &[u8]) -> RtcpPacket<'_> {
    Compound::parse(datagram).next().unwrap()
}

#[test]
fn golden_sender_report_and_sdes() {
    let golden = [
        0x80, 200, 0, 6, 1, 2, 3, 4, 0xE0, 0, 0, 1, 0x80, 0, 0, 0, 0, 0, 0x30, 0x39, 0, 0, 0, 5, 0, 0, 0x10,
        0, // SR
        0x81, 202, 0, 4, 1, 2, 3, 4, 1, 5, b'a', b'l', b'i', b'c', b'e', 0, 0, 0, 0, 0, // SDES
    ];
    let mut out = [0xFF; 64];
    let report = emit_sender_report(&mut out, 0x0102_0304, 0xE000_0001_8000_0000, 12345, 5, 4096).unwrap();
    let sdes = emit_sdes_cname(&mut out[report..], 0x0102_0304, "alice").unwrap();
    assert_eq!(out[..report], golden[..28]);
    // SSRC, type, length, five bytes and the end: 12 bytes, so that nothing is padded.
    assert_eq!((report, sdes), (28, 16));
    assert_eq!(
        out[28..44],
        [0x81, 202, 0, 3, 1, 2, 3, 4, 1, 5, b'a', b'l', b'i', b'c', b'e', 0]
    );

    // A chunk may be padded by more words than it must.
    let packets: Vec<_> = Compound::parse(&golden).collect();
    let [
        RtcpPacket::SenderReport {
            ssrc,
            ntp,
            rtp,
            packets: sent,
            octets,
            reports,
        },
        RtcpPacket::Sdes { items },
    ] = packets.as_slice()
    else {
        panic!("{packets:?}")
    };
    assert_eq!((*ssrc, *ntp, *rtp), (0x0102_0304, 0xE000_0001_8000_0000, 12345));
    assert_eq!((*sent, *octets, reports.clone().count()), (5, 4096, 0));
    let items: Vec<_> = items.clone().collect();
    assert_eq!(
        items,
        [SdesItem {
            ssrc: 0x0102_0304,
            item_type: CNAME,
            text: b"alice"
        }]
    );
}

#[test]
fn golden_feedback() {
    let mut out = [0; 32];
    let len = emit_pli(&mut out, 1, 2).unwrap();
    assert_eq!(out[..len], [0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2]);
    let len = emit_fir(&mut out, 1, &[(9, 200)]).unwrap();
    assert_eq!(
        out[..len],
        [0x84, 206, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 200, 0, 0, 0]
    );
    let len = emit_nack(&mut out, 1, 2, [100, 101, 116, 117]).unwrap();
    assert_eq!(
        out[..len],
        [
            0x81, 205, 0, 4, 0, 0, 0, 1, 0, 0, 0, 2, 0, 100, 0x80, 1, 0, 117, 0, 0
        ]
    );
    let len = emit_bye(&mut out, &[7]).unwrap();
    assert_eq!(out[..len], [0x81, 203, 0, 1, 0, 0, 0, 7]);
    let len = emit_remb(&mut out, 1, 1_000_000, &[7]).unwrap();
    assert_eq!(
        out[..len],
        [
            0x8F, 206, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0, b'R', b'E', b'M', b'B', 1, 0x0B, 0xD0, 0x90, 0, 0, 0, 7
        ]
    );
}

#[test]
fn report_blocks_keep_sign_and_clamp() {
    let block = ReportBlock {
        ssrc: 1,
        fraction_lost: 255,
        cumulative_lost: -3,
        highest_sequence: 0x0001_FFFF,
        jitter: 4,
        last_sr: 5,
        delay_since_last_sr: 6,
    };
    let huge = ReportBlock {
        cumulative_lost: i32::MAX,
        ..block
    };
    let mut out = [0; 64];
    let len = emit_receiver_report(&mut out, 9, &[block, huge]).unwrap();
    let RtcpPacket::ReceiverReport { ssrc: 9, reports } = first(&out[..len]) else {
        panic!()
    };
    let read: Vec<_> = reports.collect();
    assert_eq!(
        read,
        [
            block,
            ReportBlock {
                cumulative_lost: 0x007F_FFFF,
                ..block
            }
        ]
    );
}

#[test]
fn nack_crosses_the_wrap() {
    let lost = [65_530, 65_535, 0, 10, 11];
    let mut out = [0; 32];
    let len = emit_nack(&mut out, 1, 2, lost).unwrap();
    assert_eq!(len, 20, "two entries: 65530 with 65535, 0 and 10; then 11");
    let RtcpPacket::Nack {
        sender: 1,
        media: 2,
        lost: read,
    } = first(&out[..len])
    else {
        panic!()
    };
    assert_eq!(read.collect::<Vec<_>>(), lost);
    assert_eq!(emit_nack(&mut out, 1, 2, []), Err(WireError::BadElement));
}

#[test]
fn largest_nack_is_bounded_by_its_bytes() {
    let mut datagram = vec![0xFF; 65_504];
    let words = u16::try_from(datagram.len() / 4 - 1).unwrap().to_be_bytes();
    datagram[..4].copy_from_slice(&[0x81, 205, words[0], words[1]]);
    assert_eq!(drain(&datagram), (65_504 - 12) / 4 * 17 + 1);
}

#[test]
fn transport_feedback_and_remb_are_told() {
    let twcc = [
        0x8F, 205, 0, 5, 0, 0, 0, 1, 0, 0, 0, 2, 0, 9, 0, 1, 0, 0, 1, 0, 0x20, 1, 4, 0,
    ];
    let RtcpPacket::TransportCc {
        sender: 1,
        media: 2,
        feedback,
    } = first(&twcc)
    else {
        panic!()
    };
    assert_eq!(feedback, &twcc[12..]);
    let remb = [
        0x8F, 206, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, b'R', b'E', b'M', b'B', 0, 0xFF, 0xFF, 0xFF,
    ];
    let RtcpPacket::Remb { bitrate, .. } = first(&remb) else {
        panic!()
    };
    assert_eq!(bitrate, u64::MAX, "2^18-1 << 63 saturates");
    let other = [0x8F, 206, 0, 3, 0, 0, 0, 1, 0, 0, 0, 0, b'G', b'O', b'O', b'G'];
    assert_eq!(types(&other), [206]);
    assert!(matches!(first(&other), RtcpPacket::Other(206)));
}

#[test]
fn unknown_types_are_passed_over_and_garbage_stops() {
    let xr = [0x80, 207, 0, 1, 0, 0, 0, 1];
    let pli = [0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2];
    assert_eq!(types(&[&xr[..], &pli].concat()), [207, 206]);
    assert_eq!(
        types(&[&pli[..], &[0x41, 206, 0, 0], &pli].concat()),
        [206],
        "version 1"
    );
    assert_eq!(
        types(&[&pli[..], &[0x81, 206, 0, 9], &pli].concat()),
        [206],
        "longer than the rest"
    );
    assert_eq!(types(&[&pli[..], &[0x81, 206, 0]].concat()), [206], "cut header");
    assert_eq!(
        types(&[0x81, 206, 0, 1, 0, 0, 0, 1]),
        [0; 0],
        "PLI without a media source"
    );
    assert_eq!(
        types(&[0x82, 201, 0, 1, 0, 0, 0, 1]),
        [0; 0],
        "reports counted that aren't there"
    );
    assert_eq!(
        types(&[0x82, 203, 0, 1, 0, 0, 0, 1]),
        [0; 0],
        "sources counted that aren't there"
    );
    assert_eq!(types(&[]), [0; 0]);
    assert_eq!(types(&[0x80]), [0; 0]);
}

#[test]
fn compound_of_empty_packets_ends() {
    let datagram = [0x80, 210, 0, 0].repeat(65_504 / 4);
    assert_eq!(types(&datagram).len(), 65_504 / 4);
}

#[test]
fn padding_is_taken_off_or_ends_the_compound() {
    let padded = |count: u8| [0xA1, 206, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, count];
    assert_eq!(types(&padded(4)), [206]);
    for wrong in [0, 1, 3, 8, 16, 20, 255] {
        assert_eq!(
            types(&padded(wrong)),
            [0; 0],
            "{wrong} bytes: 0, no multiple of 4, or into the fixed part"
        );
    }
    assert_eq!(types(&[0xA0, 203, 0, 0]), [0; 0], "no byte to hold the count");
}

#[test]
fn sdes_with_several_chunks_and_items() {
    let packet = [
        0x82, 202, 0, 8, 0, 0, 0, 1, 1, 1, b'a', 2, 3, b'b', b'c', b'd', 0, 0, 0,
        0, // two items, end, boundary
        0, 0, 0, 2, 1, 0, 0, 0, // empty CNAME, end, boundary
        8, 8, 8, 8, 8, 8, 8, 8, // chunk that isn't counted
    ];
    let RtcpPacket::Sdes { items } = first(&packet) else {
        panic!()
    };
    let read: Vec<_> = items
        .map(|item| (item.ssrc, item.item_type, item.text.to_vec()))
        .collect();
    assert_eq!(
        read,
        [(1, 1, b"a".to_vec()), (1, 2, b"bcd".to_vec()), (2, 1, vec![])]
    );
    let overrun = [0x81, 202, 0, 2, 0, 0, 0, 1, 1, 200, b'a', b'b'];
    assert_eq!(drain(&overrun), 1, "an item longer than the packet");
}

#[test]
fn outputs_that_are_too_small_are_refused() {
    for room in 0..28 {
        assert_eq!(
            emit_sender_report(&mut vec![0; room], 1, 2, 3, 4, 5),
            Err(WireError::NoSpace)
        );
    }
    assert_eq!(emit_pli(&mut [0; 11], 1, 2), Err(WireError::NoSpace));
    assert_eq!(emit_nack(&mut [0; 19], 1, 2, [1, 100]), Err(WireError::NoSpace));
    assert_eq!(
        emit_sdes_cname(&mut [0; 512], 1, &"x".repeat(256)),
        Err(WireError::BadElement)
    );
    assert_eq!(emit_bye(&mut [0; 512], &[0; 32]), Err(WireError::BadElement));
    assert_eq!(
        emit_receiver_report(&mut [0; 2048], 1, &[ReportBlock::default(); 32]),
        Err(WireError::BadElement)
    );
    assert_eq!(
        emit_remb(&mut [0; 2048], 1, 1, &[0; 256]),
        Err(WireError::BadElement)
    );
}

fn report_block() -> impl Strategy<Value = ReportBlock> {
    (any::<[u32; 5]>(), any::<u8>(), -0x0080_0000i32..0x0080_0000).prop_map(|(words, fraction_lost, lost)| {
        let [ssrc, highest_sequence, jitter, last_sr, delay_since_last_sr] = words;
        let cumulative_lost = lost;
        ReportBlock {
            ssrc,
            fraction_lost,
            cumulative_lost,
            highest_sequence,
            jitter,
            last_sr,
            delay_since_last_sr,
        }
    })
}

proptest! {
    #[test]
    fn never_panics_and_terminates(datagram in vec(any::<u8>(), 0..200)) {
        prop_assert!(drain(&datagram) <= datagram.len() * 17);
    }

    /// Headers that hold, so that every body parser sees noise.
    #[test]
    fn bodies_of_noise_terminate(
        count in 0u8..64, packet_type in 192u8..224, body in vec(any::<u8>(), 0..120), tail in vec(any::<u8>(), 0..8),
    ) {
        let words = body.len() / 4;
        let mut datagram = vec![0x80 | count, packet_type, 0, u8::try_from(words).unwrap()];
        datagram.extend(&body[..4 * words]);
        datagram.extend(tail);
        prop_assert!(drain(&datagram) <= datagram.len() * 17);
        let mut packets = Compound::parse(&datagram);
        while packets.next().is_some() {}
        prop_assert!(packets.next().is_none());
    }

    #[test]
    fn nack_is_read_back(start: u16, gaps in vec(1u16..40, 0..60)) {
        let mut lost = vec![start];
        for gap in gaps {
            lost.push(lost[lost.len() - 1].wrapping_add(gap));
        }
        let mut out = [0; 512];
        let len = emit_nack(&mut out, 1, 2, lost.iter().copied()).unwrap();
        let RtcpPacket::Nack { lost: read, .. } = first(&out[..len]) else { panic!() };
        prop_assert_eq!(read.collect::<Vec<_>>(), lost);
    }

    #[test]
    fn reports_are_read_back(
        ssrc: u32, ntp: u64, rtp: u32, sent: (u32, u32), blocks in vec(report_block(), 0..32), sources in vec(any::<u32>(), 0..32),
        cname in "[!-~]{0,255}",
    ) {
        let mut out = [0; 2048];
        let mut len = emit_sender_report_with(&mut out, ssrc, ntp, rtp, sent, &blocks).unwrap();
        len += emit_receiver_report(&mut out[len..], ssrc, &blocks).unwrap();
        len += emit_sdes_cname(&mut out[len..], ssrc, &cname).unwrap();
        len += emit_bye(&mut out[len..], &sources).unwrap();
        prop_assert_eq!(len % 4, 0);
        for packet in Compound::parse(&out[..len]) {
            match packet {
                RtcpPacket::SenderReport { ssrc: s, ntp: n, rtp: r, packets, octets, reports } => {
                    prop_assert_eq!((s, n, r, (packets, octets)), (ssrc, ntp, rtp, sent));
                    prop_assert_eq!(reports.collect::<Vec<_>>(), blocks.clone());
                }
                RtcpPacket::ReceiverReport { ssrc: s, reports } => {
                    prop_assert_eq!(s, ssrc);
                    prop_assert_eq!(reports.collect::<Vec<_>>(), blocks.clone());
                }
                RtcpPacket::Sdes { items } => {
                    let items: Vec<_> = items.collect();
                    prop_assert_eq!(items, [SdesItem { ssrc, item_type: CNAME, text: cname.as_bytes() }]);
                }
                RtcpPacket::Bye { sources: read } => prop_assert_eq!(read.collect::<Vec<_>>(), sources.clone()),
                other => prop_assert!(false, "{:?}", other),
            }
        }
        prop_assert_eq!(types(&out[..len]), [200, 201, 202, 203]);
    }

    #[test]
    fn fir_and_remb_are_read_back(entries in vec(any::<(u32, u8)>(), 0..20), bitrate: u64) {
        let mut out = [0; 256];
        let len = emit_fir(&mut out, 1, &entries).unwrap();
        let RtcpPacket::Fir { sender: 1, entries: read } = first(&out[..len]) else { panic!() };
        prop_assert_eq!(read.collect::<Vec<_>>(), entries);
        let len = emit_remb(&mut out, 1, bitrate, &[]).unwrap();
        let RtcpPacket::Remb { bitrate: read, .. } = first(&out[..len]) else { panic!() };
        prop_assert!(read <= bitrate && bitrate - read <= bitrate >> 17);
    }
}
