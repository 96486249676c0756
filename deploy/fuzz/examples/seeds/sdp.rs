//! Session descriptions, cut down to what is read.

use crate::Seed;

const SESSION: &str = "v=0\no=- 1 1 IN IP4 127.0.0.1\ns=-\nt=0 0\n";
const TRANSPORT: &str = "a=ice-ufrag:EsAw\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\na=setup:actpass\na=rtcp-mux\n\
    a=fingerprint:sha-256 19:E2:1C:3B:4B:9F:81:E6:B8:5C:F4:A5:A8:D8:73:04:\
    BB:05:2F:70:9F:04:A9:0E:05:E9:26:33:E8:70:88:A2\n";
const OPUS: &str = "m=audio 9 UDP/TLS/RTP/SAVPF 111 63\nc=IN IP4 0.0.0.0\na=rtpmap:111 opus/48000/2\n\
    a=fmtp:111 minptime=10;useinbandfec=1\na=rtcp-fb:111 transport-cc\na=rtpmap:63 red/48000/2\na=fmtp:63 111/111\n";
const VP8: &str = "m=video 9 UDP/TLS/RTP/SAVPF 96 97\nc=IN IP4 0.0.0.0\na=rtpmap:96 VP8/90000\n\
    a=rtcp-fb:96 nack\na=rtcp-fb:96 nack pli\na=rtcp-fb:96 ccm fir\na=rtcp-fb:96 transport-cc\n\
    a=rtpmap:97 rtx/90000\na=fmtp:97 apt=96\n";
const CHANNEL: &str =
    "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\nc=IN IP4 0.0.0.0\na=sctp-port:5000\n";
const EXTENSIONS: &str = "a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid\n\
    a=extmap:2/sendonly http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time\n\
    a=extmap:15 urn:3gpp:video-orientation\n";

fn sdp(parts: &[&str]) -> Vec<u8> {
    parts.concat().replace('\n', "\r\n").into_bytes()
}

/// Each m-line with its mid, all in one BUNDLE group, all with this direction.
fn bundled(direction: &str, sections: &[&str]) -> Vec<u8> {
    let mids: Vec<String> = (0..sections.len()).map(|n| n.to_string()).collect();
    let group = format!("a=group:BUNDLE {}\n", mids.join(" "));
    let mut text = vec![SESSION.to_owned(), group];
    for (mid, section) in mids.iter().zip(sections) {
        let direction = if section.contains("RTP/") {
            format!("a={direction}\n")
        } else {
            String::new()
        };
        text.push(format!("{section}a=mid:{mid}\n{direction}{TRANSPORT}"));
    }
    sdp(&text.iter().map(String::as_str).collect::<Vec<_>>())
}

pub(crate) fn sdp_offer() -> Vec<Seed> {
    let h264 = "m=video 9 UDP/TLS/RTP/SAVPF 102\na=rtpmap:102 H264/90000\n\
        a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\n";
    let fid = format!("{VP8}a=ssrc-group:FID 1 2\na=ssrc:1 cname:a\na=msid:s t\n");
    let unknown = "m=video 9 UDP/TLS/RTP/SAVPF 96\na=rtpmap:96 theora/90000\n";
    let static_types = "m=audio 9 UDP/TLS/RTP/SAVPF 0 8 9\n";
    let rejected = "m=video 0 UDP/TLS/RTP/SAVPF 96\na=rtpmap:96 VP8/90000\n";
    let simulcast = format!("{VP8}a=rid:h send\na=rid:l send\na=simulcast:send h;l\n");
    let mut seeds = vec![
        (
            "browser-publishes",
            bundled(
                "sendonly",
                &[&format!("{OPUS}{EXTENSIONS}"), &format!("{fid}{EXTENSIONS}")],
            ),
        ),
        (
            "browser-publishes-all",
            bundled("sendrecv", &[OPUS, VP8, CHANNEL]),
        ),
        ("simulcast", bundled("sendonly", &[&simulcast])),
        ("channel-only", bundled("sendrecv", &[CHANNEL])),
        ("player", bundled("recvonly", &[OPUS, VP8])),
        ("player-channel", bundled("recvonly", &[CHANNEL, VP8, OPUS])),
        ("player-h264", bundled("recvonly", &[h264])),
        ("static-types", bundled("sendonly", &[static_types])),
        ("unknown-codec", bundled("sendonly", &[unknown])),
        ("one-rejected", bundled("sendonly", &[OPUS, rejected])),
        ("all-rejected", bundled("sendonly", &[rejected])),
        ("no-mid", sdp(&[SESSION, OPUS, "a=sendonly\n", TRANSPORT])),
        (
            "ffmpeg",
            sdp(&[
                SESSION,
                "a=group:BUNDLE 0\n",
                h264,
                "a=mid:0\na=sendonly\n",
                &TRANSPORT.replace("actpass", "passive"),
            ]),
        ),
        (
            "no-bundle",
            sdp(&[SESSION, OPUS, "a=mid:0\n", TRANSPORT, VP8, "a=mid:1\n", TRANSPORT]),
        ),
        (
            "no-fingerprint",
            sdp(&[
                SESSION,
                OPUS,
                "a=mid:0\na=rtcp-mux\na=ice-ufrag:EsAw\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\n",
            ]),
        ),
        ("no-ice", sdp(&[SESSION, OPUS, "a=mid:0\na=rtcp-mux\n"])),
        (
            "session-level",
            sdp(&[
                SESSION,
                "a=group:BUNDLE 0\n",
                TRANSPORT,
                VP8,
                "a=mid:0\na=rtcp-mux\na=sendonly\n",
            ]),
        ),
        (
            "mid-twice",
            sdp(&[
                SESSION,
                "a=group:BUNDLE 0\n",
                OPUS,
                "a=mid:0\n",
                TRANSPORT,
                VP8,
                "a=mid:0\n",
                TRANSPORT,
            ]),
        ),
        (
            "mid-long",
            sdp(&[SESSION, OPUS, "a=mid:01234567890123456\n", TRANSPORT]),
        ),
        (
            "type-128",
            sdp(&[
                SESSION,
                "m=video 9 UDP/TLS/RTP/SAVPF 128\na=rtpmap:128 VP8/90000\na=mid:0\n",
                TRANSPORT,
            ]),
        ),
        (
            "rtx-of-itself",
            bundled(
                "sendonly",
                &["m=video 9 UDP/TLS/RTP/SAVPF 97\na=rtpmap:97 rtx/90000\na=fmtp:97 apt=97\n"],
            ),
        ),
        (
            "bare-cr",
            b"v=0\ro=- 1 1 IN IP4 127.0.0.1\rs=-\rt=0 0\rm=audio 9 UDP/TLS/RTP/SAVPF 0\r".to_vec(),
        ),
        ("cut", bundled("sendonly", &[VP8])[..200].to_vec()),
        ("no-media", sdp(&[SESSION])),
        ("empty", vec![]),
    ];
    seeds.push((
        "not-text",
        [&bundled("sendonly", &[OPUS])[..], &[0xFF, 0xFE]].concat(),
    ));
    seeds
}

pub(crate) fn sdp_answer() -> Vec<Seed> {
    let opus = "m=audio 9 UDP/TLS/RTP/SAVPF 111\na=rtpmap:111 opus/48000/2\n";
    let vp8 = "m=video 9 UDP/TLS/RTP/SAVPF 96\na=rtpmap:96 VP8/90000\n";
    let refused = "m=video 0 UDP/TLS/RTP/SAVPF 0\n";
    let active = |offer: Vec<u8>| {
        String::from_utf8(offer)
            .expect("text")
            .replace("actpass", "active")
            .into_bytes()
    };
    let all = active(bundled("recvonly", &[CHANNEL, opus, vp8]));
    vec![
        ("accepts", all.clone()),
        (
            "accepts-with-rtx",
            active(bundled("recvonly", &[CHANNEL, OPUS, VP8])),
        ),
        (
            "accepts-with-extensions",
            active(bundled(
                "recvonly",
                &[CHANNEL, &format!("{OPUS}{EXTENSIONS}"), VP8],
            )),
        ),
        (
            "refuses-video",
            active(bundled("recvonly", &[CHANNEL, opus, refused])),
        ),
        ("inactive", active(bundled("inactive", &[CHANNEL, opus, vp8]))),
        ("sends", active(bundled("sendonly", &[CHANNEL, opus, vp8]))),
        ("one-too-few", active(bundled("recvonly", &[CHANNEL, opus]))),
        (
            "one-too-many",
            active(bundled("recvonly", &[CHANNEL, opus, vp8, vp8])),
        ),
        ("other-order", active(bundled("recvonly", &[CHANNEL, vp8, opus]))),
        (
            "other-codec",
            active(bundled("recvonly", &[CHANNEL, opus, &vp8.replace("VP8", "VP9")])),
        ),
        (
            "other-type",
            active(bundled("recvonly", &[CHANNEL, opus, &vp8.replace("96", "120")])),
        ),
        ("channel-only", active(bundled("recvonly", &[CHANNEL]))),
        ("cut", all[..300].to_vec()),
        ("empty", vec![]),
    ]
}

pub(crate) fn sdp_fragment() -> Vec<Seed> {
    let candidate = "a=candidate:1 1 udp 2122260223 192.0.2.1 61764 typ host generation 0\n";
    let ice = "a=ice-ufrag:EsAw\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\n";
    let media = "m=audio 9 RTP/AVP 0\na=mid:0\n";
    vec![
        ("trickle", sdp(&[ice, media, candidate, "a=end-of-candidates\n"])),
        ("restart", sdp(&[ice])),
        ("restart-in-media", sdp(&[media, ice])),
        ("candidate-only", sdp(&[candidate])),
        ("end-only", sdp(&["a=end-of-candidates\n"])),
        ("ufrag-only", sdp(&["a=ice-ufrag:EsAw\n"])),
        ("short", sdp(&["a=ice-ufrag:x\na=ice-pwd:y\n"])),
        (
            "characters",
            sdp(&["a=ice-ufrag:Es w\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\n"]),
        ),
        ("bare-lf", [ice, media].concat().into_bytes()),
        (
            "bare-cr",
            sdp(&[ice]).into_iter().filter(|byte| *byte != b'\n').collect(),
        ),
        (
            "tcp",
            sdp(&["a=candidate:1 1 tcp 1 192.0.2.1 9 typ host tcptype active\n"]),
        ),
        ("mdns", sdp(&["a=candidate:1 1 udp 1 4f2b.local 9 typ host\n"])),
        ("whole-sdp", sdp(&[SESSION, ice])),
        ("text", b"hello".to_vec()),
        ("not-text", vec![b'a', b'=', 0xFF]),
        ("empty", vec![]),
    ]
}
