//! What of RTCP is nobody's business: contents that applications put into it, names of people, and padding.
//!
//! The lengths stay, so that what is left still reads as RTCP (RFC 3550 §6.1).

/// Packet types whose contents are known to be reports (RFC 3550 §12.1, RFC 4585 §6.1).
const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SDES: u8 = 202;
const BYE: u8 = 203;
const APP: u8 = 204;
const TRANSPORT_FEEDBACK: u8 = 205;
const PAYLOAD_FEEDBACK: u8 = 206;
/// Payload feedback whose contents are the application's; REMB is one of them (RFC 4585 §6.4).
const APPLICATION: u8 = 15;
/// SDES item of the canonical name (RFC 3550 §6.5.1).
const CNAME: u8 = 1;
/// Header and SSRC.
const HEAD: usize = 8;

/// Zeroes in a plain compound packet what is not a report. What can't be understood is zeroed as a whole.
pub(crate) fn mask(compound: &mut [u8]) {
    let mut rest = compound;
    while let Some(len) = length(rest) {
        let (packet, next) = rest.split_at_mut(len);
        mask_packet(packet);
        rest = next;
    }
    rest.fill(0);
}

/// Bytes of the packet that `bytes` begins with, if it is one.
fn length(bytes: &[u8]) -> Option<usize> {
    let [first, _, high, low] = *bytes.first_chunk::<4>()?;
    let len = 4 * (usize::from(u16::from_be_bytes([high, low])) + 1);
    (first >> 6 == 2 && len <= bytes.len()).then_some(len)
}

fn mask_packet(packet: &mut [u8]) {
    let Some([first, packet_type, ..]) = packet.first_chunk::<4>().copied() else {
        return;
    };
    let count = first & 0x1f;
    if first & 0x20 != 0 {
        let padding = usize::from(packet.last().copied().unwrap_or(0));
        let from = packet.len().saturating_sub(padding).max(4);
        let to = packet.len() - 1;
        if let Some(padding) = packet.get_mut(from..to) {
            padding.fill(0);
        }
    }
    let reports = 24 * usize::from(count);
    let kept = match packet_type {
        SENDER_REPORT => HEAD + 20 + reports,
        RECEIVER_REPORT => HEAD + reports,
        // Not the reason for leaving, which is free text.
        BYE => 4 + 4 * usize::from(count),
        SDES => return mask_descriptions(packet, count),
        // The application's name.
        APP => HEAD + 4,
        PAYLOAD_FEEDBACK if count == APPLICATION && packet.get(12..16) != Some(b"REMB") => HEAD + 4,
        TRANSPORT_FEEDBACK | PAYLOAD_FEEDBACK => return,
        _ => HEAD,
    };
    zero_from(packet, kept);
}

/// Of a packet with padding, the count stays: without it the packet would not be one.
fn zero_from(packet: &mut [u8], kept: usize) {
    let padded = packet.first().is_some_and(|first| first & 0x20 != 0);
    let to = packet.len() - usize::from(padded);
    if let Some(rest) = packet.get_mut(kept..to) {
        rest.fill(0);
    }
}

/// RFC 3550 §6.5: chunks of an SSRC and items; of those the CNAME stays.
fn mask_descriptions(packet: &mut [u8], chunks: u8) {
    let mut at = 4;
    for _ in 0..chunks {
        let begin = at + 4;
        at = begin;
        loop {
            match packet.get(at).copied() {
                None => return,
                // Zeros up to the next 32-bit boundary.
                Some(0) => break at = (at + 1).next_multiple_of(4),
                Some(kind) => {
                    let len = usize::from(packet.get(at + 1).copied().unwrap_or(0));
                    let text = at + 2..at + 2 + len;
                    match packet.get_mut(text.clone()) {
                        Some(text) if kind != CNAME => text.fill(0),
                        Some(_) => {}
                        // Longer than the packet: what there is of it goes.
                        None => return zero_from(packet, at),
                    }
                    at = text.end;
                }
            }
        }
    }
    zero_from(packet, at);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::rtcp::{
        Compound, RtcpPacket, emit_nack, emit_pli, emit_remb, emit_sdes_cname, emit_sender_report,
    };

    fn masked(bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        mask(&mut bytes);
        bytes
    }

    #[test]
    fn reports_and_feedback_stay_as_they_are() {
        let mut bytes = [0u8; 256];
        let mut len = emit_sender_report(&mut bytes, 1, 2, 3, 4, 5).unwrap();
        len += emit_sdes_cname(&mut bytes[len..], 1, "alice").unwrap();
        len += emit_nack(&mut bytes[len..], 1, 7, [10u16, 12, 300]).unwrap();
        len += emit_pli(&mut bytes[len..], 1, 8).unwrap();
        len += emit_remb(&mut bytes[len..], 1, 500_000, &[7]).unwrap();
        assert_eq!(masked(&bytes[..len]), bytes[..len]);
    }

    #[test]
    fn what_applications_and_people_say_goes() {
        // APP "name" with data; BYE with a reason; SDES with CNAME "cn", NAME "Bob", NOTE "hi".
        let app = b"\x80\xcc\x00\x03\0\0\0\x01name\x01\x02\x03\x04";
        assert_eq!(masked(app), b"\x80\xcc\x00\x03\0\0\0\x01name\0\0\0\0");
        let bye = b"\x81\xcb\x00\x02\0\0\0\x01\x03bye";
        assert_eq!(masked(bye), b"\x81\xcb\x00\x02\0\0\0\x01\0\0\0\0");
        let sdes = b"\x81\xca\x00\x05\0\0\0\x01\x01\x02cn\x02\x03Bob\x07\x02hi\0\0\0";
        assert_eq!(
            masked(sdes),
            b"\x81\xca\x00\x05\0\0\0\x01\x01\x02cn\x02\x03\0\0\0\x07\x02\0\0\0\0\0"
        );
        let feedback = b"\x8f\xce\x00\x03\0\0\0\x01\0\0\0\x02said";
        assert_eq!(masked(feedback), b"\x8f\xce\x00\x03\0\0\0\x01\0\0\0\x02\0\0\0\0");
        let padded = b"\xa1\xcb\x00\x02\0\0\0\x01\x05\x06\x07\x04";
        assert_eq!(masked(padded), b"\xa1\xcb\x00\x02\0\0\0\x01\0\0\0\x04");
        assert_eq!(
            masked(b"\x80\xff\x00\x02\0\0\0\x01secr"),
            b"\x80\xff\x00\x02\0\0\0\x01\0\0\0\0"
        );
        assert_eq!(
            masked(b"\x80\xc9\x00\x09\0\0\0\x01secr"),
            [0; 12],
            "no packet at all"
        );
    }

    proptest! {
        #[test]
        fn nothing_panics_and_nothing_new_appears(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            packet_type in 200u8..208,
            count in 0u8..64,
        ) {
            let mut bytes = bytes;
            if bytes.len() >= 4 {
                let words = u8::try_from(bytes.len() / 4 - 1).unwrap();
                bytes[..4].copy_from_slice(&[0x80 | count, packet_type, 0, words]);
            }
            for (before, after) in bytes.iter().zip(masked(&bytes)) {
                prop_assert!(after == 0 || after == *before);
            }
            let mut twice = masked(&bytes);
            mask(&mut twice);
            prop_assert_eq!(&twice, &masked(&bytes));
            for packet in Compound::parse(&twice) {
                if let RtcpPacket::Sdes { items } = packet {
                    for item in items {
                        prop_assert!(item.item_type == CNAME || item.text.iter().all(|byte| *byte == 0));
                    }
                }
            }
        }
    }
}
