use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// PT 111, sequence 0x1234, timestamp 0x01020304, SSRC 0xCAFEBABE; two CSRCs; elements 1 (`0`) and 3 (3 bytes).
const GOLDEN: [u8; 38] = [
    0x92, 0xEF, 0x12, 0x34, 0x01, 0x02, 0x03, 0x04, 0xCA, 0xFE, 0xBA, 0xBE, // fixed
    0, 0, 0, 1, 0, 0, 0, 2, // CSRCs
    0xBE, 0xDE, 0, 2, 0x10, b'0', 0x32, 0xAA, 0xBB, 0xCC, 0, 0, // extension
    1, 2, 3, 4, 5, 6, // payload
];

fn elements(packet: &[u8]) -> Vec<(u8, Vec<u8>)> {
    RtpView::parse(packet)
        .unwrap()
        .extensions()
        .map(|(id, data)| (id, data.to_vec()))
        .collect()
}

/// A packet with an extension of this profile and body, the body padded with zeros to 32 bits.
fn with_extension(profile: u16, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x90, 96, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
    packet.extend(profile.to_be_bytes());
    packet.extend(u16::try_from(body.len().div_ceil(4)).unwrap().to_be_bytes());
    packet.extend(body);
    packet.resize(packet.len().next_multiple_of(4), 0);
    packet
}

#[test]
fn golden_packet_is_read() {
    let view = RtpView::parse(&GOLDEN).unwrap();
    assert!(view.marker() && view.has_extension() && !view.has_padding());
    assert_eq!((view.pt(), view.sequence()), (111, 0x1234));
    assert_eq!((view.timestamp(), view.ssrc()), (0x0102_0304, 0xCAFE_BABE));
    assert_eq!(view.header_len(), 32);
    assert_eq!(view.header(), &GOLDEN[..32]);
    assert_eq!(view.payload(), [1, 2, 3, 4, 5, 6]);
    assert_eq!(elements(&GOLDEN), [(1, vec![b'0']), (3, vec![0xAA, 0xBB, 0xCC])]);
    assert_eq!(view.extension(3), Some(&[0xAA, 0xBB, 0xCC][..]));
    assert_eq!(view.extension(2), None);
}

#[test]
fn golden_header_is_written() {
    let header = RtpHeader {
        marker: true,
        pt: 96,
        sequence: 7,
        timestamp: 8,
        ssrc: 9,
    };
    let mut out = [0xFF; 40];
    let mut writer = RtpHeaderWriter::new(&mut out, &header, Form::OneByte).unwrap();
    writer.push(4, &[0x61, 0x62]).unwrap();
    let len = writer.finish();
    assert_eq!(
        out[..len],
        [
            0x90, 0xE0, 0, 7, 0, 0, 0, 8, 0, 0, 0, 9, 0xBE, 0xDE, 0, 1, 0x41, 0x61, 0x62, 0
        ],
        "extension bit, block, one byte of padding"
    );
    assert_eq!(out[len], 0xFF, "nothing is written behind it");
}

#[test]
fn header_without_elements_has_no_extension() {
    let mut out = [0; 16];
    let writer = RtpHeaderWriter::new(&mut out, &RtpHeader::default(), Form::OneByte).unwrap();
    assert_eq!(writer.finish(), FIXED_HEADER);
    assert!(!RtpView::parse(&out[..12]).unwrap().has_extension());
}

#[test]
fn each_cut_of_a_packet_names_its_reason() {
    for len in 0..32 {
        let expected = match len {
            0..12 => WireError::Truncated,
            12..20 => WireError::CsrcOverrun,
            _ => WireError::ExtensionOverrun,
        };
        assert_eq!(
            RtpView::parse(&GOLDEN[..len]).unwrap_err(),
            expected,
            "{len} bytes"
        );
    }
    assert!(RtpView::parse(&GOLDEN[..32]).unwrap().payload().is_empty());
}

#[test]
fn other_versions_are_refused() {
    for version in [0u8, 1, 3] {
        let mut packet = GOLDEN;
        packet[0] = packet[0] & 0x3F | version << 6;
        assert_eq!(RtpView::parse(&packet).unwrap_err(), WireError::BadVersion);
    }
}

#[test]
fn fifteen_csrcs_need_their_sixty_bytes() {
    let mut packet = vec![0x8F; 12 + 60];
    assert_eq!(RtpView::parse(&packet).unwrap().header_len(), 72);
    packet.pop();
    assert_eq!(RtpView::parse(&packet).unwrap_err(), WireError::CsrcOverrun);
}

#[test]
fn padding_is_cut_or_refused() {
    let padded = |payload: &[u8]| {
        let mut packet = vec![0xA0, 96, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
        packet.extend(payload);
        packet
    };
    let unpadded = |payload: &[u8]| {
        let packet = padded(payload);
        RtpView::parse(&packet)
            .unwrap()
            .unpadded_payload()
            .map(<[u8]>::to_vec)
    };
    assert_eq!(unpadded(&[1, 2, 0, 2]), Ok(vec![1, 2]));
    assert_eq!(
        unpadded(&[0, 0, 0, 4]),
        Ok(vec![]),
        "padding only, as a bandwidth probe"
    );
    assert_eq!(unpadded(&[1, 2, 3, 0]), Err(WireError::BadPadding));
    assert_eq!(unpadded(&[1, 2, 3, 5]), Err(WireError::BadPadding));
    assert_eq!(unpadded(&[1, 2, 3, 255]), Err(WireError::BadPadding));
    assert_eq!(unpadded(&[]), Err(WireError::BadPadding));
    let mut longest = vec![0; 255];
    longest[254] = 255;
    assert_eq!(unpadded(&longest), Ok(vec![]));
}

#[test]
fn extension_longer_than_the_largest_datagram_is_refused() {
    let mut packet = vec![0; 65_507];
    packet[..16].copy_from_slice(&[0x90, 96, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0xBE, 0xDE, 0xFF, 0xFF]);
    assert_eq!(RtpView::parse(&packet).unwrap_err(), WireError::ExtensionOverrun);
    packet[15] = 0;
    packet[14] = 0x3F;
    assert_eq!(
        RtpView::parse(&packet).unwrap().extensions().count(),
        0,
        "64 KiB of padding elements"
    );
}

#[test]
fn one_byte_form_ends_at_15_at_0_with_length_and_at_an_overrun() {
    assert_eq!(
        elements(&with_extension(0xBEDE, &[0x10, 7, 0xF0, 9, 0x20, 8])),
        [(1, vec![7])]
    );
    assert_eq!(
        elements(&with_extension(0xBEDE, &[0x10, 7, 0x03, 0x20, 8])),
        [(1, vec![7])]
    );
    assert_eq!(
        elements(&with_extension(0xBEDE, &[0x10, 7, 0x2F, 9, 9, 9])),
        [(1, vec![7])]
    );
    assert_eq!(
        elements(&with_extension(0xBEDE, &[0, 0, 0x10, 7, 0, 0x20, 8])),
        [(1, vec![7]), (2, vec![8])]
    );
}

#[test]
fn two_byte_form_has_empty_elements_and_any_application_bits() {
    let body = [15, 0, 0, 0, 200, 3, 1, 2, 3, 9, 9];
    for profile in [0x1000, 0x1005, 0x100F] {
        assert_eq!(
            elements(&with_extension(profile, &body)),
            [(15, vec![]), (200, vec![1, 2, 3])]
        );
    }
    assert_eq!(elements(&with_extension(0x1010, &body)), [], "another profile");
    assert_eq!(
        elements(&with_extension(0x1000, &[1])),
        [(1, vec![])],
        "its length is the padding's zero"
    );
    assert_eq!(
        elements(&with_extension(0x1000, &[0, 0, 0, 1])),
        [],
        "an id without a length"
    );
}

#[test]
fn elements_that_the_form_cannot_hold_are_refused_unwritten() {
    let mut out = [0xFF; 64];
    let mut writer = ExtensionWriter::one_byte(&mut out).unwrap();
    for (id, len) in [(0, 1), (15, 1), (16, 1), (1, 0), (1, 17)] {
        assert_eq!(
            writer.push(id, &[1; 255][..len]),
            Err(WireError::BadElement),
            "id {id}, {len} bytes"
        );
    }
    assert_eq!(writer.finish(), 0);
    let mut out = [0xFF; 512];
    let mut writer = ExtensionWriter::two_byte(&mut out).unwrap();
    assert_eq!(writer.push(0, &[1]), Err(WireError::BadElement));
    assert_eq!(writer.push(1, &[0; 256]), Err(WireError::BadElement));
    writer.push(255, &[]).unwrap();
    assert_eq!(writer.finish(), 8);
    assert_eq!(out[..8], [0x10, 0, 0, 1, 255, 0, 0, 0]);
}

#[test]
fn an_element_without_room_for_its_padding_is_refused_and_the_rest_stays() {
    let mut out = [0xFF; 11];
    let mut writer = ExtensionWriter::one_byte(&mut out).unwrap();
    writer.push(1, &[7]).unwrap();
    assert_eq!(
        writer.push(2, &[8, 8]),
        Err(WireError::NoSpace),
        "it would end at 9 and be padded to 12"
    );
    assert_eq!(writer.finish(), 8);
    assert_eq!(out[..8], [0xBE, 0xDE, 0, 1, 0x10, 7, 0, 0]);
}

#[test]
fn too_small_outputs_and_payload_types_are_refused() {
    let header = RtpHeader::default();
    assert_eq!(header.emit(&mut [0; 11]), Err(WireError::NoSpace));
    assert_eq!(
        RtpHeader { pt: 128, ..header }.emit(&mut [0; 12]),
        Err(WireError::BadElement)
    );
    assert!(ExtensionWriter::one_byte(&mut [0; 3]).is_err());
    assert!(RtpHeaderWriter::new(&mut [0; 15], &header, Form::OneByte).is_err());
    set_extension_bit(&mut []);
    set_padding_bit(&mut []);
}

#[test]
fn demux_follows_rfc_7983_and_rfc_5761() {
    for first in 0..=255u8 {
        for second in 0..=255u8 {
            let expected = match (first, second) {
                (0..=3, _) => Demux::Stun,
                (20..=63, _) => Demux::Dtls,
                (128..=191, 192..=223) => Demux::Rtcp,
                (128..=191, _) => Demux::Rtp,
                _ => Demux::Unknown,
            };
            assert_eq!(Demux::of(&[first, second]), expected);
            assert_eq!(is_rtcp([first, second]), expected == Demux::Rtcp);
        }
    }
    assert_eq!(Demux::of(&[]), Demux::Unknown);
    assert_eq!(Demux::of(&[0]), Demux::Stun, "refused by its parser");
    assert_eq!(Demux::of(&[0x80]), Demux::Unknown);
}

proptest! {
    #[test]
    fn parse_never_panics_and_stays_within(packet in vec(any::<u8>(), 0..200), first in 0x80u8..0xC0) {
        let mut packet = packet;
        if let Some(byte) = packet.first_mut() {
            *byte = first;
        }
        if let Ok(view) = RtpView::parse(&packet) {
            prop_assert!(view.header_len() >= FIXED_HEADER && view.header_len() <= packet.len());
            prop_assert_eq!(view.header().len() + view.payload().len(), packet.len());
            prop_assert!(view.extensions().count() <= packet.len());
            prop_assert!(view.pt() < 128);
            if let Ok(payload) = view.unpadded_payload() {
                prop_assert!(payload.len() <= view.payload().len());
            }
        }
    }

    #[test]
    fn elements_terminate_on_any_block(body in vec(any::<u8>(), 0..256), two_byte: bool) {
        let packet = with_extension(if two_byte { 0x1000 } else { 0xBEDE }, &body);
        let view = RtpView::parse(&packet).unwrap();
        let bytes: usize = view.extensions().map(|(_, data)| data.len() + 1).sum();
        prop_assert!(bytes <= body.len().next_multiple_of(4));
        let mut elements = view.extensions();
        while elements.next().is_some() {}
        prop_assert_eq!(elements.next(), None);
    }

    #[test]
    fn what_is_written_is_read_back(
        marker: bool, pt in 0u8..128, sequence: u16, timestamp: u32, ssrc: u32, two_byte: bool, room in 0usize..200,
        elements in vec((1u8..15, vec(any::<u8>(), 1..17)), 0..8),
    ) {
        let header = RtpHeader { marker, pt, sequence, timestamp, ssrc };
        let form = if two_byte { Form::TwoByte } else { Form::OneByte };
        let mut out = vec![0xEE; 16 + room];
        let mut writer = RtpHeaderWriter::new(&mut out, &header, form).unwrap();
        let mut fitted = Vec::new();
        for (id, data) in elements {
            if writer.push(id, &data).is_ok() {
                fitted.push((id, data));
            }
        }
        let len = writer.finish();
        let view = RtpView::parse(&out[..len]).unwrap();
        prop_assert_eq!(view.header_len(), len);
        prop_assert_eq!(view.has_extension(), !fitted.is_empty());
        prop_assert_eq!(
            RtpHeader {
                marker: view.marker(), pt: view.pt(), sequence: view.sequence(), timestamp: view.timestamp(),
                ssrc: view.ssrc(),
            },
            header
        );
        let read: Vec<_> = view.extensions().map(|(id, data)| (id, data.to_vec())).collect();
        prop_assert_eq!(read, fitted);
        prop_assert!(out[len.max(16)..].iter().all(|byte| *byte == 0xEE));
    }

    #[test]
    fn large_elements_survive_the_two_byte_form(id in 1u8.., data in vec(any::<u8>(), 0..256)) {
        let mut block = vec![0; 300];
        let mut writer = ExtensionWriter::two_byte(&mut block).unwrap();
        writer.push(id, &data).unwrap();
        let len = writer.finish();
        prop_assert_eq!(len % 4, 0);
        let read = elements(&with_extension(0x1000, &block[4..len]));
        prop_assert_eq!(read, [(id, data)]);
    }
}
