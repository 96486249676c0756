//! What clients offer and answer, shaped after the real ones.

use weever_controlplane::sdp::{Description, SectionKind};

const FINGERPRINT: &str = "a=fingerprint:sha-256 \
    1E:9D:6A:5C:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:01:02:03:04:05:06:07:08:09:0A:0B:0C";

fn transport(setup: &str) -> String {
    format!(
        "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\na=ice-options:trickle\r\n{FINGERPRINT}\r\n\
         a=setup:{setup}\r\n"
    )
}

fn head(mids: &str) -> String {
    format!(
        "v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {mids}\r\n\
         a=extmap-allow-mixed\r\na=msid-semantic: WMS\r\n"
    )
}

fn channel(mid: &str) -> String {
    format!(
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\n{}a=mid:{mid}\r\na=sctp-port:5000\r\n\
         a=max-message-size:262144\r\n",
        transport("actpass")
    )
}

fn audio(mid: &str, direction: &str, ssrc: u32) -> String {
    format!(
        "m=audio 9 UDP/TLS/RTP/SAVPF 111 63 9 0 8 13 110 126\r\nc=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\n{}\
         a=mid:{mid}\r\na=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\n\
         a=extmap:2 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time\r\n\
         a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\na={direction}\r\na=msid:- mic\r\na=rtcp-mux\r\na=rtcp-rsize\r\n\
         a=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 transport-cc\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n\
         a=rtpmap:63 red/48000/2\r\na=fmtp:63 111/111\r\na=rtpmap:9 G722/8000\r\na=rtpmap:0 PCMU/8000\r\n\
         a=rtpmap:8 PCMA/8000\r\na=rtpmap:13 CN/8000\r\na=rtpmap:110 telephone-event/48000\r\n\
         a=rtpmap:126 telephone-event/8000\r\na=ssrc:{ssrc} cname:abc\r\na=ssrc:{ssrc} msid:- mic\r\n",
        transport("actpass")
    )
}

fn video(mid: &str, direction: &str, ssrc: u32, codecs: &[&str]) -> String {
    let mut text = String::new();
    let mut pts = String::new();
    for (n, codec) in codecs.iter().enumerate() {
        let pt = 96 + 2 * n;
        let rtx = pt + 1;
        let (name, fmtp) = codec.split_once(' ').unwrap_or((codec, ""));
        pts.push_str(&format!(" {pt} {rtx}"));
        text.push_str(&format!("a=rtpmap:{pt} {name}/90000\r\n"));
        for value in ["goog-remb", "transport-cc", "ccm fir", "nack", "nack pli"] {
            text.push_str(&format!("a=rtcp-fb:{pt} {value}\r\n"));
        }
        if !fmtp.is_empty() {
            text.push_str(&format!("a=fmtp:{pt} {fmtp}\r\n"));
        }
        text.push_str(&format!("a=rtpmap:{rtx} rtx/90000\r\na=fmtp:{rtx} apt={pt}\r\n"));
    }
    let rtx_ssrc = ssrc + 1;
    format!(
        "m=video 9 UDP/TLS/RTP/SAVPF{pts}\r\nc=IN IP4 0.0.0.0\r\n{}a=mid:{mid}\r\n\
         a=extmap:13 urn:3gpp:video-orientation\r\na=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\n\
         a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n\
         a=extmap:7 http://www.webrtc.org/experiments/rtp-hdrext/video-timing\r\na={direction}\r\na=msid:- cam\r\n\
         a=rtcp-mux\r\na=rtcp-rsize\r\n{text}a=ssrc-group:FID {ssrc} {rtx_ssrc}\r\na=ssrc:{ssrc} cname:abc\r\n\
         a=ssrc:{rtx_ssrc} cname:abc\r\n",
        transport("actpass")
    )
}

/// As a browser publishes camera and microphone, with a control channel.
pub fn browser_publisher(codecs: &[&str]) -> String {
    head("0 1 2") + &audio("0", "sendonly", 1000) + &video("1", "sendonly", 2000, codecs) + &channel("2")
}

/// Sound only.
pub fn speaker() -> String {
    head("0 1") + &audio("0", "sendrecv", 1000) + &channel("1")
}

/// Nothing but the control channel.
pub fn channel_only() -> String {
    head("0") + &channel("0")
}

/// A WHEP player of one sound and one picture.
pub fn player(codecs: &[&str]) -> String {
    head("0 1") + &audio("0", "recvonly", 3) + &video("1", "recvonly", 4, codecs)
}

/// A player that opens a control channel as well.
pub fn player_with_channel(codecs: &[&str]) -> String {
    player(codecs).replace("BUNDLE 0 1", "BUNDLE 0 1 2") + &channel("2")
}

/// Like ffmpeg's: passive, no extensions, no channel.
pub fn encoder() -> String {
    let text = head("0 1")
        + &audio("0", "sendonly", 5)
        + &video(
            "1",
            "sendonly",
            6,
            &["H264 packetization-mode=1;profile-level-id=42e01f"],
        );
    let text: Vec<&str> = text
        .split_inclusive("\r\n")
        .filter(|l| !l.starts_with("a=extmap"))
        .collect();
    text.concat().replace("a=setup:actpass", "a=setup:passive")
}

/// Answers an offer of the server as a browser would that knows all codecs but `unknown`.
pub fn answer(offer: &str, unknown: &str) -> String {
    let parsed = Description::parse(offer).unwrap();
    let used: Vec<&str> = parsed
        .sections
        .iter()
        .filter(|s| !s.rejected)
        .map(|s| s.mid.as_str())
        .collect();
    let mut text = head(&used.join(" "));
    for section in &parsed.sections {
        let refused = section.rejected
            || section
                .formats
                .iter()
                .any(|f| f.name.eq_ignore_ascii_case(unknown));
        let port = if refused { 0 } else { 9 };
        text.push_str(&format!(
            "m={} {port} {} {}\r\nc=IN IP4 0.0.0.0\r\n",
            section.media, section.proto, section.fmt
        ));
        text.push_str(&transport("active"));
        text.push_str(&format!("a=mid:{}\r\n", section.mid));
        if section.kind == SectionKind::Application {
            text.push_str("a=sctp-port:5000\r\n");
            continue;
        }
        text.push_str(if refused {
            "a=inactive\r\n"
        } else {
            "a=recvonly\r\na=rtcp-mux\r\n"
        });
        for (id, uri) in &section.extensions {
            text.push_str(&format!("a=extmap:{id} {uri}\r\n"));
        }
        for format in &section.formats {
            text.push_str(&format!(
                "a=rtpmap:{} {}/{}\r\n",
                format.pt, format.name, format.clock_rate
            ));
            if let Some(fmtp) = &format.fmtp {
                text.push_str(&format!("a=fmtp:{} {fmtp}\r\n", format.pt));
            }
        }
    }
    text
}

/// `publisher label` of each stream that an offer shows.
pub fn msids(offer: &str) -> Vec<String> {
    let mut all: Vec<String> = offer
        .lines()
        .filter_map(|l| l.strip_prefix("a=msid:"))
        .map(str::to_owned)
        .collect();
    all.sort();
    all
}
