use str0m::IceCreds;

use super::*;
use crate::media::Codec;

const FINGERPRINT: &str =
    "sha-256 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF";

fn creds() -> IceCreds {
    IceCreds {
        ufrag: "ufrag".into(),
        pass: "password-of-22-letters".into(),
    }
}

fn wishes() -> Wishes {
    Wishes {
        codec: Codec::H264,
        audio: true,
        nack: true,
        channel_only: false,
    }
}

fn with_local<T>(use_it: impl FnOnce(&Local<'_>) -> T) -> T {
    let ice = creds();
    use_it(&Local {
        ice: &ice,
        fingerprint: FINGERPRINT,
        address: "127.0.0.1:5000".parse().unwrap(),
    })
}

#[test]
fn an_offer_says_what_is_wanted() {
    let sdp = with_local(|local| offer(local, wishes()));
    let read = Description::parse(&sdp).unwrap();
    assert_eq!(read.candidates, ["127.0.0.1:5000".parse().unwrap()]);
    assert_eq!(read.ice.ufrag, "ufrag");
    let [audio, video] = read.tracks.as_slice() else {
        panic!("{sdp}");
    };
    assert!(!audio.video && video.video && video.nack && video.pli);
    // The wanted codec comes first, each with its retransmission.
    assert_eq!(video.pts[0].1, PtUse::Media(Some(Codec::H264)));
    assert_eq!(video.pts[1].1, PtUse::Rtx(video.pts[0].0));
    for codec in [Codec::Vp8, Codec::Vp9, Codec::H264, Codec::Av1] {
        assert!(
            video
                .pts
                .iter()
                .any(|(_, what)| *what == PtUse::Media(Some(codec))),
            "{codec}"
        );
    }
    let pts: std::collections::BTreeSet<_> = video.pts.iter().map(|(pt, _)| *pt).collect();
    assert_eq!(pts.len(), video.pts.len(), "no payload type twice");
}

#[test]
fn without_retransmission_none_is_offered() {
    let plain = Wishes {
        nack: false,
        audio: false,
        ..wishes()
    };
    let sdp = with_local(|local| offer(local, plain));
    assert!(!sdp.contains("rtx") && !sdp.lines().any(|line| line.ends_with(" nack")));
    let control = Wishes {
        channel_only: true,
        ..wishes()
    };
    let sdp = with_local(|local| offer(local, control));
    assert!(sdp.contains("webrtc-datachannel") && !sdp.contains("m=video"));
}

/// As a server writes it that puts the transport in the session part, or in the m-lines, or gives too much.
#[test]
fn answers_of_different_habits_are_read() {
    let answer = |session: &str, media: &str| {
        format!(
            "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n{session}m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\n\
             c=IN IP4 0.0.0.0\r\n{media}a=mid:0\r\na=sendonly\r\na=rtcp-mux\r\na=rtpmap:96 VP8/90000\r\n\
             a=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\na=ssrc-group:FID 10 11\r\na=extmap:3 urn:ietf:params:rtp-hdrext:sdes:mid\r\n"
        )
    };
    let transport = |setup: &str| {
        format!(
            "a=ice-ufrag:u\r\na=ice-pwd:p\r\na=fingerprint:{FINGERPRINT}\r\na=fingerprint:sha-512 01:02\r\na=setup:{setup}\r\n\
             a=candidate:1 1 tcp 1 10.0.0.1 9 typ host tcptype passive\r\na=candidate:2 1 UDP 9 name.local 5 typ host\r\n\
             a=candidate:3 1 UDP 8 10.0.0.2 8443 typ host generation 0\r\n"
        )
    };
    for sdp in [
        answer(&transport("passive"), ""),
        answer("", &transport("passive")),
    ] {
        let read = Description::parse(&sdp).unwrap();
        assert!(read.we_are_client);
        assert_eq!(read.candidates, ["10.0.0.2:8443".parse().unwrap()]);
        assert_eq!(read.fingerprint.bytes.len(), 32);
        let [track] = read.tracks.as_slice() else {
            panic!("{sdp}");
        };
        assert_eq!(
            track.pts,
            [(96, PtUse::Media(Some(Codec::Vp8))), (97, PtUse::Rtx(96))]
        );
        assert_eq!((track.pairs.as_slice(), track.mid_id), (&[(10, 11)][..], Some(3)));
    }
    assert!(
        !Description::parse(&answer("", &transport("active")))
            .unwrap()
            .we_are_client
    );
}

#[test]
fn what_is_missing_is_named() {
    let told = |sdp: &str| Description::parse(sdp).unwrap_err().to_string();
    assert!(told("").contains("can't be read"));
    assert!(told("v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n").contains("a=ice-ufrag"));
    let bare = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=ice-ufrag:u\r\na=ice-pwd:p\r\n";
    assert!(told(bare).contains("a=fingerprint"));
    assert!(told(&format!("{bare}a=fingerprint:sha-256 XY\r\n")).contains("a=fingerprint"));
}

#[test]
fn an_answer_takes_what_is_offered() {
    let offered = with_local(|local| offer(local, wishes()))
        .replace("a=recvonly", "a=sendonly")
        .replace("m=audio 9", "m=audio 0");
    let sdp = with_local(|local| answer(&offered, local, true)).unwrap();
    let read = Description::parse(&sdp).unwrap();
    assert!(
        sdp.contains("a=setup:active")
            && sdp.contains("m=audio 0 ")
            && sdp.contains("a=group:BUNDLE video\r\n")
    );
    // Refused is the first m-line; of the other one everything is taken.
    assert_eq!(read.tracks.len(), 1);
    assert_eq!(
        read.tracks[0].pts,
        Description::parse(&offered).unwrap().tracks[0].pts
    );
    assert!(sdp.contains("a=recvonly"));
    assert!(with_local(|local| answer("nonsense", local, true)).is_err());
}
