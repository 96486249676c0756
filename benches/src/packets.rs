//! Datagrams.

use weever_core::wire::rtcp::{
    ReportBlock, emit_nack, emit_receiver_report, emit_sdes_cname, emit_sender_report,
};
use weever_core::wire::rtp::{Form, RtpHeader, RtpHeaderWriter};
use weever_core::wire::stun::{BindingRequest, IceRole, emit_binding_request};
use weever_core::{KeyingMaterial, SrtpProfile};
use weever_proto::Codec;

/// Payload of a full video packet, bytes.
pub const VIDEO_PAYLOAD: usize = 1150;
/// Payload of 20 ms of Opus, bytes.
pub const AUDIO_PAYLOAD: usize = 80;
/// What the receiver of [`binding_request`] is called.
pub const USERNAME: &str = "srvu:clientuf";
/// Its password.
pub const PASSWORD: &str = "0123456789abcdefghijklmn";

/// The header that subscribers get.
pub const HEADER: RtpHeader = RtpHeader {
    marker: false,
    pt: 96,
    sequence: 4711,
    timestamp: 900_000,
    ssrc: 0x1234_5678,
};

/// HMAC-SHA1 of concatenated parts.
pub type Hmac = fn(&[u8], &[&[u8]]) -> [u8; 20];

/// Writes [`HEADER`] with the elements that Chromium's video has: mid, abs-send-time, transport-wide number, and a
/// dependency descriptor. Returns its length.
///
/// # Panics
/// When `out` is shorter than 64 bytes.
pub fn write_header(out: &mut [u8]) -> usize {
    let mut writer = RtpHeaderWriter::new(out, &HEADER, Form::OneByte).expect("64 bytes");
    for (id, data) in [
        (1, &b"0"[..]),
        (2, &[0x12, 0x34, 0x56]),
        (3, &[0, 42]),
        (4, &[0x80, 0x01, 0x17]),
    ] {
        writer.push(id, data).expect("64 bytes");
    }
    writer.finish()
}

/// A plain RTP packet with extensions and a payload of this size.
pub fn rtp(payload: usize) -> Vec<u8> {
    let mut packet = vec![0; 64];
    let len = write_header(&mut packet);
    packet.truncate(len);
    packet.resize(len + payload, 0x5A);
    packet
}

/// A sender report with its CNAME.
///
/// # Panics
/// Never: the buffer is large enough.
pub fn sender_report() -> Vec<u8> {
    let mut out = vec![0; 128];
    let mut len = emit_sender_report(&mut out, 1, 0xE000_0000_0000_0000, 2, 3, 4).expect("room");
    len += emit_sdes_cname(&mut out[len..], 1, "alice+k3x9").expect("room");
    out.truncate(len);
    out
}

/// What a lossy viewer sends: a receiver report of two streams and a NACK of 20 packets.
///
/// # Panics
/// Never: the buffer is large enough.
pub fn receiver_report_with_nack() -> Vec<u8> {
    let mut out = vec![0; 256];
    let mut len = emit_receiver_report(&mut out, 1, &[ReportBlock::default(); 2]).expect("room");
    len += emit_nack(&mut out[len..], 1, 2, (0..20).map(|n| 1000 + 3 * n)).expect("room");
    out.truncate(len);
    out
}

/// A consent check as Chromium sends it.
///
/// # Panics
/// Never: the buffer is large enough.
pub fn binding_request(hmac: Hmac) -> Vec<u8> {
    let request = BindingRequest {
        transaction: *b"transaction!",
        username: USERNAME,
        password: PASSWORD,
        priority: Some(1_853_817_087),
        role: Some(IceRole::Controlling(42)),
        use_candidate: true,
    };
    let mut out = vec![0; 256];
    let len = emit_binding_request(&mut out, &request, hmac).expect("room");
    out.truncate(len);
    out
}

/// First packets of keyframes, one for each video codec, and its name.
pub fn keyframes() -> [(&'static str, Codec, Vec<u8>); 5] {
    let filled = |head: &[u8]| {
        let mut payload = head.to_vec();
        payload.resize(VIDEO_PAYLOAD, 0x5A);
        payload
    };
    [
        (
            "vp8",
            Codec::Vp8,
            filled(&[0x90, 0xE0, 0x92, 0x34, 0x07, 0x20, 0x50]),
        ),
        ("vp9", Codec::Vp9, filled(&[0xA8, 0x92, 0x34, 0x00, 0x05, 0x82])),
        (
            "h264",
            Codec::H264,
            filled(&[0x78, 0, 4, 0x67, 0x42, 0, 0x1F, 0, 2, 0x68, 0xCE]),
        ),
        ("h265", Codec::H265, filled(&[0x62, 0x01, 0x93, 0xAF])),
        ("av1", Codec::Av1, filled(&[0x20, 0x02, 0x12, 0x00, 0x0A, 0x0B])),
    ]
}

/// Opus behind two redundant blocks.
pub fn red() -> Vec<u8> {
    let mut payload = vec![0xEF, 0x1E, 0x00, 80, 0xEF, 0x0F, 0x00, 80, 0x6F];
    payload.resize(payload.len() + 3 * AUDIO_PAYLOAD, 0x5A);
    payload
}

/// Keys of a server, the same each time.
pub fn keys(profile: SrtpProfile) -> KeyingMaterial {
    material(profile, false)
}

/// The keys of the server's peer.
pub fn peer_keys(profile: SrtpProfile) -> KeyingMaterial {
    material(profile, true)
}

fn material(profile: SrtpProfile, client: bool) -> KeyingMaterial {
    KeyingMaterial::new(
        profile,
        client,
        (0u8..=255).cycle().take(profile.keying_material_len()).collect(),
    )
}
