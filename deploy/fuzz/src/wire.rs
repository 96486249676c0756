//! What comes in at the UDP port, before and after SRTP.

use weever_core::wire::rtcp::{self as control, Compound, ReportBlock, RtcpPacket};
use weever_core::wire::rtp::{Demux, Form, RtpHeader, RtpHeaderWriter, RtpView, is_rtcp};
use weever_core::wire::stun::{BindingRequest, IceRole, StunView, emit_binding_request};
use weever_core::wire::{payload as media, red as redundant};
use weever_proto::Codec;

/// RTP headers and their extensions: what is read can be written, and reads the same again.
pub fn rtp(data: &[u8]) {
    if let [first, second, ..] = *data {
        assert_eq!(Demux::of(data) == Demux::Rtcp, is_rtcp([first, second]));
    }
    let Ok(view) = RtpView::parse(data) else { return };
    assert_eq!(view.header().len(), view.header_len());
    assert_eq!(view.header().len() + view.payload().len(), data.len());
    if let Ok(payload) = view.unpadded_payload() {
        assert!(view.payload().starts_with(payload));
        assert_eq!(payload.len() < view.payload().len(), view.has_padding());
    }
    let elements: Vec<_> = view.extensions().collect();
    for (id, data) in &elements {
        assert_ne!(*id, 0);
        assert!(data.len() <= 255);
        assert!(view.extension(*id).is_some());
    }
    let header = RtpHeader {
        marker: view.marker(),
        pt: view.pt(),
        sequence: view.sequence(),
        timestamp: view.timestamp(),
        ssrc: view.ssrc(),
    };
    for form in [Form::OneByte, Form::TwoByte] {
        rewrite(&header, form, &elements);
    }
}

fn rewrite(header: &RtpHeader, form: Form, elements: &[(u8, &[u8])]) {
    let mut out = vec![
        0;
        16 + elements
            .iter()
            .map(|(_, data)| data.len() + 2)
            .sum::<usize>()
            .next_multiple_of(4)
    ];
    let mut writer = RtpHeaderWriter::new(&mut out, header, form).expect("room for the fixed part");
    let mut written = Vec::new();
    for (id, data) in elements {
        assert_eq!(writer.push(*id, data).is_ok(), form.holds(*id, data.len()));
        if form.holds(*id, data.len()) {
            written.push((*id, *data));
        }
    }
    let len = writer.finish();
    let view = RtpView::parse(&out[..len]).expect("our own header");
    assert_eq!(view.header_len(), len);
    assert!(view.extensions().eq(written.iter().copied()));
    assert_eq!(
        (view.marker(), view.pt(), view.sequence()),
        (header.marker, header.pt, header.sequence)
    );
    assert_eq!((view.timestamp(), view.ssrc()), (header.timestamp, header.ssrc));
}

/// Compound RTCP: every packet is walked to its end, and what we can write reads the same again.
pub fn rtcp(data: &[u8]) {
    let mut packets = 0;
    let mut out = vec![0; 4096 + 2 * data.len()];
    for packet in Compound::parse(data) {
        packets += 1;
        let len = match packet.clone() {
            RtcpPacket::SenderReport {
                ssrc,
                ntp,
                rtp,
                packets,
                octets,
                reports,
            } => {
                let blocks: Vec<ReportBlock> = reports.collect();
                control::emit_sender_report_with(&mut out, ssrc, ntp, rtp, (packets, octets), &blocks)
            }
            RtcpPacket::ReceiverReport { ssrc, reports } => {
                control::emit_receiver_report(&mut out, ssrc, &reports.collect::<Vec<_>>())
            }
            RtcpPacket::Sdes { items } => {
                assert!(items.count() <= data.len() / 2);
                continue;
            }
            RtcpPacket::Bye { sources } => control::emit_bye(&mut out, &sources.collect::<Vec<_>>()),
            RtcpPacket::Nack { sender, media, lost } => nack(&mut out, sender, media, lost),
            RtcpPacket::Pli { sender, media } => control::emit_pli(&mut out, sender, media),
            RtcpPacket::Fir { sender, entries } => {
                control::emit_fir(&mut out, sender, &entries.collect::<Vec<_>>())
            }
            RtcpPacket::TransportCc { feedback, .. } => {
                assert!(feedback.len() <= data.len());
                continue;
            }
            RtcpPacket::Remb {
                bitrate: u64::MAX, ..
            }
            | RtcpPacket::Other(_) => continue, // saturated
            RtcpPacket::Remb {
                sender,
                bitrate,
                sources,
            } => control::emit_remb(&mut out, sender, bitrate, &sources.collect::<Vec<_>>()),
        };
        let len = len.expect("what was read fits in what can be written");
        if len > 0 {
            assert_eq!(
                summary(&Compound::parse(&out[..len]).next().expect("our own packet")),
                summary(&packet)
            );
        }
    }
    assert!(packets <= data.len() / 4);
}

/// A NACK for nothing can't be written; any other names each sequence number once for each time it was asked.
fn nack(
    out: &mut [u8],
    sender: u32,
    media: u32,
    lost: impl Iterator<Item = u16> + Clone,
) -> Result<usize, weever_core::wire::WireError> {
    if lost.clone().next().is_none() {
        Ok(0)
    } else {
        control::emit_nack(out, sender, media, lost)
    }
}

/// A packet as plain numbers, to be compared.
fn summary(packet: &RtcpPacket<'_>) -> Vec<u64> {
    let blocks = |reports: control::Reports<'_>| {
        let fields = |b: ReportBlock| {
            let lost = u64::from(b.cumulative_lost.cast_unsigned());
            [
                b.ssrc,
                b.fraction_lost.into(),
                b.highest_sequence,
                b.jitter,
                b.last_sr,
                b.delay_since_last_sr,
            ]
            .map(u64::from)
            .into_iter()
            .chain([lost])
        };
        reports.flat_map(fields).collect::<Vec<_>>()
    };
    match packet.clone() {
        RtcpPacket::SenderReport {
            ssrc,
            ntp,
            rtp,
            packets,
            octets,
            reports,
        } => [
            &[ssrc.into(), ntp, rtp.into(), packets.into(), octets.into()][..],
            &blocks(reports),
        ]
        .concat(),
        RtcpPacket::ReceiverReport { ssrc, reports } => [&[ssrc.into()][..], &blocks(reports)].concat(),
        RtcpPacket::Bye { sources } => sources.map(u64::from).collect(),
        RtcpPacket::Nack { sender, media, lost } => {
            let mut lost: Vec<u64> = lost.map(u64::from).collect();
            lost.sort_unstable();
            lost.dedup();
            [&[sender.into(), media.into()][..], &lost].concat()
        }
        RtcpPacket::Pli { sender, media } => vec![sender.into(), media.into()],
        RtcpPacket::Fir { sender, entries } => {
            let entries = entries.flat_map(|(ssrc, sequence)| [u64::from(ssrc), u64::from(sequence)]);
            [u64::from(sender)].into_iter().chain(entries).collect()
        }
        RtcpPacket::Remb {
            sender,
            bitrate,
            sources,
        } => [sender.into(), bitrate]
            .into_iter()
            .chain(sources.map(u64::from))
            .collect(),
        RtcpPacket::Sdes { .. } | RtcpPacket::TransportCc { .. } | RtcpPacket::Other(_) => Vec::new(),
    }
}

/// Not HMAC, but as sensitive to key and message as these targets need.
fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 20] {
    let mut state = 0xCBF2_9CE4_8422_2325u64;
    for byte in key.iter().chain(parts.iter().copied().flatten()) {
        state = (state ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3);
    }
    let mut out = [0; 20];
    out.chunks_mut(8)
        .for_each(|chunk| chunk.copy_from_slice(&state.to_be_bytes()[..chunk.len()]));
    out
}

/// STUN messages: a request that was read can be written, then verifies and reads the same again. And what comes to the same
/// port before anybody is known: a `ClientHello`.
pub fn stun(data: &[u8]) {
    let _ = weever_core::wire::client_hello::is_of_general_library(data);
    let Ok(view) = StunView::parse(data) else { return };
    assert!(view.has_integrity() || !view.verify_integrity("password", mac));
    let _ = (
        view.fingerprint_ok(),
        view.mapped_address(),
        view.error_code(),
        view.verify_integrity("", mac),
    );
    if let Some((local, remote)) = view.ufrags() {
        assert_eq!(
            view.username().map(str::len),
            Some(local.len() + 1 + remote.len())
        );
    }
    let Some(username) = view.username() else { return };
    let role = view.ice_controlling().map(IceRole::Controlling);
    let request = BindingRequest {
        transaction: view.transaction_id(),
        username,
        password: "password",
        priority: view.priority(),
        role: role.or(view.ice_controlled().map(IceRole::Controlled)),
        use_candidate: view.use_candidate(),
    };
    let mut out = [0; 1024];
    let len = emit_binding_request(&mut out, &request, mac).expect("a USERNAME that was accepted");
    let ours = StunView::parse(&out[..len]).expect("our own request");
    assert!(ours.is_binding_request() && ours.verify_integrity("password", mac));
    assert!(!ours.verify_integrity("another", mac));
    assert_eq!(ours.fingerprint_ok(), Some(true));
    assert_eq!(
        (ours.username(), ours.transaction_id()),
        (Some(username), view.transaction_id())
    );
    assert_eq!(
        (ours.priority(), ours.use_candidate()),
        (view.priority(), view.use_candidate())
    );
}

/// Keyframe detection. The first byte chooses the codec.
pub fn payload(data: &[u8]) {
    const CODECS: [Codec; 9] = [
        Codec::Vp8,
        Codec::Vp9,
        Codec::H264,
        Codec::H265,
        Codec::Av1,
        Codec::Opus,
        Codec::Pcmu,
        Codec::Pcma,
        Codec::Red,
    ];
    let Some((choice, payload)) = data.split_first() else {
        return;
    };
    let codec = CODECS[usize::from(*choice) % CODECS.len()];
    let starts = media::keyframe_start(codec, payload);
    let audio = matches!(codec, Codec::Opus | Codec::Pcmu | Codec::Pcma | Codec::Red);
    assert!(!audio || starts);
    assert!(audio || !starts || !payload.is_empty());
}

/// Redundant audio: the blocks are the payload, no byte more or less.
pub fn red(data: &[u8]) {
    let primary = redundant::primary_block(data);
    let Some(blocks) = redundant::blocks(data) else {
        assert_eq!(primary, None);
        return;
    };
    let blocks: Vec<_> = blocks.collect();
    let last = blocks.last().expect("a primary block");
    assert_eq!(primary, Some((last.pt, last.data)));
    assert_eq!(last.timestamp_offset, 0);
    let bytes: usize = blocks.iter().map(|block| block.data.len()).sum();
    assert_eq!(bytes + 4 * (blocks.len() - 1) + 1, data.len());
    assert!(
        blocks
            .iter()
            .all(|block| block.pt < 128 && block.timestamp_offset < 1 << 14)
    );
}
