//! What a viewer offers: every codec that a browser has, and its one candidate. Nothing is left to trickle.

use std::fmt::Write;
use std::net::SocketAddr;

use str0m::IceCreds;

use crate::media::Codec;

/// RFC 8445 §5.1.2.1: a host candidate of the only interface.
const HOST_PRIORITY: u32 = (126 << 24) | (65_535 << 8) | 255;
const EXTENSIONS: [&str; 6] = [
    "urn:ietf:params:rtp-hdrext:sdes:mid",
    "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
    "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
    "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
    "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay",
    "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension",
];
/// Profiles and packetization modes that browsers offer, most wanted first.
const H264: [&str; 4] = [
    "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
    "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f",
    "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=4d001f",
    "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=640032",
];
/// First of the dynamic payload types (RFC 3551 §6).
const FIRST_PT: u8 = 96;
const OPUS_PT: u8 = 111;

/// Our end of a transport.
pub(crate) struct Local<'a> {
    pub(crate) ice: &'a IceCreds,
    /// `sha-256 AB:CD:...`
    pub(crate) fingerprint: &'a str,
    pub(crate) address: SocketAddr,
}

/// What a viewer wants.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wishes {
    /// Offered first.
    pub(crate) codec: Codec,
    pub(crate) audio: bool,
    /// Retransmission: NACK and RTX.
    pub(crate) nack: bool,
    /// Nothing but a data channel: media comes by the server's offers.
    pub(crate) channel_only: bool,
}

/// The whole offer.
pub(crate) fn offer(local: &Local<'_>, wishes: Wishes) -> String {
    let mids: Vec<&str> = match (wishes.channel_only, wishes.audio) {
        (true, _) => vec!["control"],
        (false, true) => vec!["audio", "video"],
        (false, false) => vec!["video"],
    };
    let mut sdp = head(&mids, 1);
    if wishes.channel_only {
        sdp.push_str("m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n");
        push_transport(&mut sdp, local, "actpass");
        sdp.push_str("a=mid:control\r\na=sctp-port:5000\r\na=max-message-size:1048576\r\n");
        return sdp;
    }
    if wishes.audio {
        push_audio(&mut sdp, local, wishes.nack);
    }
    push_video(&mut sdp, local, wishes);
    sdp
}

/// Session level, with all m-lines in one bundle (RFC 9143).
pub(super) fn head(mids: &[&str], version: u64) -> String {
    format!(
        "v=0\r\no=- 4611731400430051336 {version} IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {}\r\n\
         a=extmap-allow-mixed\r\na=msid-semantic: WMS *\r\n",
        mids.join(" ")
    )
}

/// What every m-line says about the transport (RFC 8839, RFC 8842).
pub(super) fn push_transport(sdp: &mut String, local: &Local<'_>, setup: &str) {
    let (ip, port) = (local.address.ip(), local.address.port());
    // Writing to a string can't fail.
    let _ = write!(
        sdp,
        "c=IN IP4 0.0.0.0\r\na=ice-ufrag:{}\r\na=ice-pwd:{}\r\na=fingerprint:{}\r\na=setup:{setup}\r\n\
         a=candidate:1 1 udp {HOST_PRIORITY} {ip} {port} typ host\r\na=end-of-candidates\r\n",
        local.ice.ufrag, local.ice.pass, local.fingerprint
    );
}

fn push_media(sdp: &mut String, kind: &str, pts: &[u8], local: &Local<'_>) {
    let list: Vec<String> = pts.iter().map(u8::to_string).collect();
    let _ = write!(sdp, "m={kind} 9 UDP/TLS/RTP/SAVPF {}\r\n", list.join(" "));
    push_transport(sdp, local, "actpass");
    let _ = write!(sdp, "a=mid:{kind}\r\n");
    for (index, uri) in EXTENSIONS.iter().enumerate() {
        let _ = write!(sdp, "a=extmap:{} {uri}\r\n", index + 1);
    }
    sdp.push_str("a=recvonly\r\na=rtcp-mux\r\na=rtcp-rsize\r\n");
}

fn push_audio(sdp: &mut String, local: &Local<'_>, nack: bool) {
    push_media(sdp, "audio", &[OPUS_PT], local);
    let _ = write!(
        sdp,
        "a=rtpmap:{OPUS_PT} opus/48000/2\r\na=fmtp:{OPUS_PT} minptime=10;useinbandfec=1\r\n\
         a=rtcp-fb:{OPUS_PT} transport-cc\r\n"
    );
    if nack {
        let _ = write!(sdp, "a=rtcp-fb:{OPUS_PT} nack\r\n");
    }
}

/// Format parameters of each payload type: one for each profile of H.264, one for each other codec.
fn formats(first: Codec) -> Vec<(Codec, Option<&'static str>)> {
    let mut all = vec![(Codec::Vp8, None), (Codec::Vp9, Some("profile-id=0"))];
    all.extend(H264.map(|fmtp| (Codec::H264, Some(fmtp))));
    all.push((Codec::Av1, Some("level-idx=5;profile=0;tier=0")));
    // A stable sort keeps the profiles' order.
    all.sort_by_key(|(codec, _)| *codec != first);
    all
}

fn push_video(sdp: &mut String, local: &Local<'_>, wishes: Wishes) {
    let formats = formats(wishes.codec);
    let step = if wishes.nack { 2 } else { 1 };
    // Those are fewer than the dynamic payload types.
    let pts: Vec<u8> = (FIRST_PT..=127)
        .filter(|pt| *pt != OPUS_PT)
        .take(formats.len() * step)
        .collect();
    push_media(sdp, "video", &pts, local);
    for ((codec, fmtp), pts) in formats.iter().zip(pts.chunks(step)) {
        let [pt, rtx @ ..] = pts else { continue };
        let _ = write!(
            sdp,
            "a=rtpmap:{pt} {}/90000\r\na=rtcp-fb:{pt} ccm fir\r\na=rtcp-fb:{pt} nack pli\r\n\
             a=rtcp-fb:{pt} goog-remb\r\na=rtcp-fb:{pt} transport-cc\r\n",
            codec.name()
        );
        if let Some(fmtp) = fmtp {
            let _ = write!(sdp, "a=fmtp:{pt} {fmtp}\r\n");
        }
        if let [rtx] = rtx {
            let _ = write!(
                sdp,
                "a=rtcp-fb:{pt} nack\r\na=rtpmap:{rtx} rtx/90000\r\na=fmtp:{rtx} apt={pt}\r\n"
            );
        }
    }
}
