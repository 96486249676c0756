//! RTCP as JSON.

use rtcp_types::prelude::*;
use rtcp_types::{
    Compound, Fir, Nack, Packet, PayloadFeedback, Pli, ReportBlock, Sdes, TransportFeedback, Twcc,
    TwccPacketStatus,
};
use serde_json::{Value, json};

/// Numbers that are told of one packet: an honest one has fewer.
const MAX_LISTED: usize = 256;
/// SDES item of the canonical name (RFC 3550 §6.5.1).
const CNAME: u8 = 1;

/// The packets of a plain compound; `None` when it is not to be understood.
pub(super) fn packets(compound: &[u8]) -> Option<Vec<Value>> {
    let packets = Compound::parse(compound).ok()?;
    packets.map(|packet| Some(one(&packet.ok()?))).collect()
}

fn one(packet: &Packet<'_>) -> Value {
    match packet {
        Packet::Sr(sr) => json!({
            "type": "sr",
            "ssrc": sr.ssrc(),
            "ntp": sr.ntp_timestamp(),
            "rtp_timestamp": sr.rtp_timestamp(),
            "packets": sr.packet_count(),
            "octets": sr.octet_count(),
            "reports": sr.report_blocks().map(|block| report(&block)).collect::<Vec<_>>(),
        }),
        Packet::Rr(rr) => json!({
            "type": "rr",
            "ssrc": rr.ssrc(),
            "reports": rr.report_blocks().map(|block| report(&block)).collect::<Vec<_>>(),
        }),
        Packet::Sdes(sdes) => names(sdes),
        Packet::Bye(bye) => json!({ "type": "bye", "ssrcs": bye.ssrcs().collect::<Vec<_>>() }),
        Packet::App(app) => {
            let name = app.get_name_string().unwrap_or_default();
            json!({ "type": "app", "ssrc": app.ssrc(), "name": name })
        }
        Packet::TransportFeedback(feedback) => transport(feedback),
        Packet::PayloadFeedback(feedback) => payload(feedback),
        Packet::Xr(_) => json!({ "type": "xr" }),
        Packet::Unknown(unknown) => json!({ "type": "other", "packet_type": unknown.type_() }),
    }
}

fn report(block: &ReportBlock<'_>) -> Value {
    // 24 bits with a sign: duplicates make it negative.
    let lost = (block.cumulative_lost() << 8).cast_signed() >> 8;
    json!({
        "ssrc": block.ssrc(),
        "fraction_lost": f64::from(block.fraction_lost()) / 256.0,
        "lost": lost,
        "highest_seq": block.extended_sequence_number(),
        "jitter": block.interarrival_jitter(),
        "last_sr": block.last_sender_report_timestamp(),
        "delay_since_last_sr": f64::from(block.delay_since_last_sender_report_timestamp()) / 65536.0,
    })
}

fn names(sdes: &Sdes<'_>) -> Value {
    let chunk = |chunk: &rtcp_types::SdesChunk<'_>| {
        let cname = chunk.items().find(|item| item.type_() == CNAME);
        let cname = cname.map(|item| String::from_utf8_lossy(item.value()).into_owned());
        json!({ "ssrc": chunk.ssrc(), "cname": cname })
    };
    json!({ "type": "sdes", "chunks": sdes.chunks().map(chunk).collect::<Vec<_>>() })
}

fn transport(feedback: &TransportFeedback<'_>) -> Value {
    let (sender, media) = (feedback.sender_ssrc(), feedback.media_ssrc());
    if let Ok(nack) = feedback.parse_fci::<Nack<'_>>() {
        let lost: Vec<u16> = nack.entries().take(MAX_LISTED).collect();
        return json!({ "type": "nack", "sender": sender, "media": media, "lost": lost });
    }
    if let Ok(twcc) = feedback.parse_fci::<Twcc<'_>>() {
        return json!({
            "type": "transport_cc", "sender": sender, "media": media,
            "feedback": twcc.feedback_packet_count(),
            "base_seq": twcc.base_sequence_number(),
            "reference_ms": u64::from(twcc.reference_time()) * 64,
            "packets": arrivals(&twcc),
        });
    }
    json!({ "type": "transport_feedback", "sender": sender, "media": media, "format": feedback.count() })
}

/// For each packet from the first on: milliseconds after the one before, or null where it didn't come.
fn arrivals(twcc: &Twcc<'_>) -> Vec<Option<f64>> {
    let all = twcc.packets().map_while(Result::ok).take(MAX_LISTED);
    all.map(|(_, status)| match status {
        TwccPacketStatus::Received { delta } => Some(f64::from(delta) / 4.0),
        TwccPacketStatus::NotReceived => None,
    })
    .collect()
}

fn payload(feedback: &PayloadFeedback<'_>) -> Value {
    let (sender, media) = (feedback.sender_ssrc(), feedback.media_ssrc());
    if feedback.parse_fci::<Pli<'_>>().is_ok() {
        return json!({ "type": "pli", "sender": sender, "media": media });
    }
    if let Ok(fir) = feedback.parse_fci::<Fir<'_>>() {
        let entries = fir.entries().take(MAX_LISTED);
        let entries = entries.map(|entry| json!({ "ssrc": entry.ssrc(), "command": entry.sequence() }));
        return json!({ "type": "fir", "sender": sender, "entries": entries.collect::<Vec<_>>() });
    }
    json!({ "type": "payload_feedback", "sender": sender, "media": media, "format": feedback.count() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_browsers_and_we_send_is_told() {
        // As laid out in RFC 3550 §6.4 and §6.5, RFC 4585 §6.2 and §6.3, RFC 5104 §4.3.1.
        let report = b"\0\0\0\x07\x40\xff\xff\xfe\0\x01\0\x02\0\0\0\x03\0\0\0\x04\0\x01\x80\0";
        let mut bytes = b"\x81\xc9\0\x07\0\0\0\x01".to_vec();
        bytes.extend(report);
        bytes.extend(b"\x81\xca\0\x03\0\0\0\x01\x01\x05alice\0".get(..16).unwrap());
        bytes.extend(b"\x81\xcd\0\x03\0\0\0\x01\0\0\0\x07\0\x0a\0\x02");
        bytes.extend(b"\x81\xce\0\x02\0\0\0\x01\0\0\0\x08");
        bytes.extend(b"\x84\xce\0\x04\0\0\0\x01\0\0\0\0\0\0\0\x09\x05\0\0\0");
        bytes.extend(
            b"\x8f\xcd\0\x05\0\0\0\x01\0\0\0\x07\0\x64\0\x03\0\0\x02\x2a\xd1\x00\x04\x08\0\0\0\0"
                .get(..24)
                .unwrap(),
        );
        let told = packets(&bytes).unwrap();
        assert_eq!(
            told[0],
            json!({ "type": "rr", "ssrc": 1, "reports": [{
                "ssrc": 7, "fraction_lost": 0.25, "lost": -2, "highest_seq": 65538, "jitter": 3, "last_sr": 4,
                "delay_since_last_sr": 1.5,
            }] })
        );
        assert_eq!(
            told[1],
            json!({ "type": "sdes", "chunks": [{ "ssrc": 1, "cname": "alice" }] })
        );
        assert_eq!(
            told[2],
            json!({ "type": "nack", "sender": 1, "media": 7, "lost": [10, 12] })
        );
        assert_eq!(told[3], json!({ "type": "pli", "sender": 1, "media": 8 }));
        let fir = json!({ "type": "fir", "sender": 1, "entries": [{ "ssrc": 9, "command": 5 }] });
        assert_eq!(told[4], fir);
        assert_eq!(
            told[5],
            json!({
                "type": "transport_cc", "sender": 1, "media": 7, "feedback": 42, "base_seq": 100,
                "reference_ms": 128, "packets": [1.0, null, 2.0],
            })
        );
    }

    #[test]
    fn what_is_cut_or_sealed_is_not_understood() {
        assert_eq!(packets(b"\x81\xc9\0\x07\0\0\0\x01"), None);
        assert_eq!(packets(b""), None);
    }

    proptest! {
        /// The crate that reads it is not ours.
        #[test]
        fn nothing_panics_and_little_is_told(
            body in prop::collection::vec(any::<u8>(), 0..120),
            packet_type in 199u8..210,
            count in 0u8..64,
        ) {
            let mut bytes = vec![0x80 | count, packet_type, 0, 0];
            bytes.extend(&body);
            bytes.truncate(bytes.len() / 4 * 4);
            bytes[3] = u8::try_from(bytes.len() / 4 - 1).unwrap();
            if let Some(told) = packets(&bytes) {
                let text = serde_json::to_string(&told).unwrap();
                prop_assert!(text.len() < 16 * 1024, "{}", text.len());
            }
        }
    }
}
