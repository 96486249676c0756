//! Offers as the clients write them that we promise to serve.

use weever_controlplane::sdp::view::View;
use weever_controlplane::sdp::{Description, SectionKind, Setup};
use weever_proto::{Codec, SessionId};

use crate::{is_sound, numbers, numbers_from, publish, shown, transport, wire};

macro_rules! client {
    ($name:literal) => {
        wire(include_str!(concat!("clients/", $name, ".sdp")))
    };
}

fn parse(text: &str) -> Description {
    Description::parse(text).unwrap_or_else(|error| panic!("{error}"))
}

/// Mid, codecs, RTX.
type Track = (String, Vec<Codec>, Option<u8>);

/// A publisher's tracks and the answer, checked: sound, and small enough for everybody.
fn published(text: &str) -> (Vec<Track>, String) {
    let offer = parse(text);
    let answer = publish(&offer).unwrap();
    let read = is_sound(&answer.text);
    assert_eq!(read.sections.len(), offer.sections.len());
    for (ours, theirs) in read.sections.iter().zip(&offer.sections) {
        assert_eq!(
            (&ours.mid, &ours.media, &ours.proto),
            (&theirs.mid, &theirs.media, &theirs.proto)
        );
        for format in &ours.formats {
            let same = theirs.formats.iter().find(|f| f.pt == format.pt).unwrap();
            assert_eq!(
                (&format.name, &format.fmtp),
                (&same.name, &same.fmtp),
                "echoed as offered"
            );
        }
        for extension in &ours.extensions {
            assert!(theirs.extensions.contains(extension));
        }
    }
    assert!(answer.text.len() < 8192, "{} bytes", answer.text.len());
    let tracks = answer.tracks.iter().map(|track| {
        let receive = track.receive();
        let codecs = receive.payload_types.iter().map(|pt| pt.codec).collect();
        (track.mid.clone(), codecs, track.rtx_pt)
    });
    (tracks.collect(), answer.text)
}

fn track(mid: &str, codecs: &[Codec], rtx: Option<u8>) -> Track {
    (mid.to_owned(), codecs.to_vec(), rtx)
}

#[test]
fn chrome_publishes() {
    let (tracks, answer) = published(&client!("chrome-publisher"));
    assert_eq!(
        tracks,
        [
            track("0", &[Codec::Opus, Codec::Red], None),
            track("1", &[Codec::Vp8], Some(97))
        ]
    );
    assert!(answer.contains("a=group:BUNDLE 0 1 2\r\n") && answer.contains("a=setup:passive\r\n"));
    assert!(
        answer.contains("m=audio 8443 UDP/TLS/RTP/SAVPF 111 63\r\n"),
        "the client's order decides"
    );
    assert_eq!(
        answer.matches("a=recvonly\r\n").count(),
        2,
        "sendrecv is answered so"
    );
    assert!(!answer.contains("goog-remb") && answer.contains("a=rtcp-fb:96 transport-cc\r\n"));
    assert!(answer.contains("a=sctp-port:5000\r\n"));
}

#[test]
fn layers_are_not_taken_yet() {
    let (tracks, answer) = published(&client!("chrome-simulcast"));
    assert_eq!(tracks, [track("0", &[Codec::Vp8], Some(97))]);
    assert!(!answer.contains("a=simulcast") && !answer.contains("a=rid:"));
}

#[test]
fn firefox_publishes() {
    let (tracks, answer) = published(&client!("firefox-publisher"));
    assert_eq!(
        tracks,
        [
            track("0", &[Codec::Opus], None),
            track("1", &[Codec::Vp8], Some(124))
        ]
    );
    // Its second and third m-line come with port 0 and a=bundle-only.
    assert!(answer.contains("m=video 8443 ") && answer.contains("m=application 8443 "));
    assert!(
        answer.contains("a=fmtp:109 maxplaybackrate=48000;stereo=1;useinbandfec=1\r\n"),
        "stereo stays"
    );
}

#[test]
fn safari_publishes() {
    let (tracks, answer) = published(&client!("safari-publisher"));
    assert_eq!(tracks[0], track("0", &[Codec::H264], Some(97)));
    assert!(
        answer
            .contains("a=fmtp:96 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=640c1f\r\n")
    );
}

#[test]
fn obs_publishes() {
    let text = client!("obs");
    let (tracks, answer) = published(&text);
    assert_eq!(
        tracks,
        [track("0", &[Codec::Opus], None), track("1", &[Codec::H264], None)]
    );
    assert!(answer.contains("a=rtcp-fb:96 nack\r\n") && !answer.contains("a=extmap:"));
    assert_eq!(parse(&text).ice.ufrag, "Tz4h", "credentials of the session level");
}

#[test]
fn ffmpeg_publishes() {
    let text = client!("ffmpeg");
    assert_eq!(parse(&text).setup, Setup::Passive);
    let (tracks, answer) = published(&text);
    assert_eq!(
        tracks,
        [track("0", &[Codec::Opus], None), track("1", &[Codec::H264], None)]
    );
    assert_eq!(
        answer.matches("a=setup:active\r\n").count(),
        2,
        "it waits, so we call"
    );
    let first = answer
        .lines()
        .find(|line| line.starts_with("a=candidate:"))
        .unwrap();
    assert!(
        first.contains(" udp ") && first.contains(" 203.0.113.7 8443 typ host"),
        "it takes the first: {first}"
    );
}

#[test]
fn ffmpeg_publishes_without_sound() {
    // Its BUNDLE group names a mid that isn't there.
    let (tracks, answer) = published(&client!("ffmpeg-video-only"));
    assert_eq!(tracks, [track("1", &[Codec::H264], None)]);
    assert!(answer.contains("a=group:BUNDLE 1\r\n"));
}

#[test]
fn gstreamer_publishes() {
    let (tracks, answer) = published(&client!("gstreamer-publisher"));
    assert_eq!(
        tracks,
        [
            track("video0", &[Codec::H264], Some(97)),
            track("audio1", &[Codec::Opus], None)
        ]
    );
    assert!(
        answer.contains("sprop-parameter-sets=Z0LAFtoCgPRA,aM48gA=="),
        "viewers need them"
    );
}

#[test]
fn aiortc_pion_and_the_simple_client_publish() {
    let (tracks, _) = published(&client!("aiortc-publisher"));
    assert_eq!(
        tracks,
        [
            track("0", &[Codec::Opus], None),
            track("1", &[Codec::Vp8], Some(98))
        ]
    );
    let aiortc = parse(&client!("aiortc-publisher"));
    assert_eq!(aiortc.fingerprint.hash, "sha-256", "of the three that it gives");
    let (tracks, answer) = published(&client!("pion-publisher"));
    assert_eq!(
        tracks,
        [
            track("0", &[Codec::Vp8], Some(97)),
            track("1", &[Codec::Opus], None)
        ]
    );
    assert_eq!(
        answer.matches("a=rtcp-fb:96 nack\r\n").count(),
        1,
        "it says so twice"
    );
    let (tracks, _) = published(&client!("simple-whip-client"));
    assert_eq!(
        tracks,
        [
            track("audio0", &[Codec::Opus], None),
            track("video1", &[Codec::Vp8], None)
        ]
    );
}

/// What each publisher's media looks like to each player: mid and codec of what is forwarded.
#[test]
fn players_get_what_they_can_decode() {
    let players = [
        ("chrome", client!("chrome-player"), ["0", "1"]),
        ("aiortc", client!("aiortc-player"), ["1", "0"]),
        ("pion", client!("pion-player"), ["0", "1"]),
        ("gstreamer", client!("gstreamer-player"), ["video1", "audio0"]),
        ("simple", client!("simple-whep-client"), ["video1", "audio0"]),
        ("whepclientsrc", client!("whepclientsrc"), ["video0", "audio1"]),
    ];
    let publishers = [
        (
            "chrome",
            client!("chrome-publisher"),
            "chrome aiortc pion gstreamer simple whepclientsrc",
        ),
        ("safari", client!("safari-publisher"), "chrome"),
        (
            "obs",
            client!("obs"),
            "chrome aiortc pion gstreamer whepclientsrc",
        ),
        (
            "ffmpeg",
            client!("ffmpeg"),
            "chrome aiortc pion gstreamer whepclientsrc",
        ),
        (
            "gstreamer",
            client!("gstreamer-publisher"),
            "chrome aiortc pion gstreamer whepclientsrc",
        ),
        (
            "pion",
            client!("pion-publisher"),
            "chrome aiortc pion gstreamer simple whepclientsrc",
        ),
    ];
    for (player, text, [video, audio]) in &players {
        let offer = parse(text);
        let mut draw = numbers();
        let mut view = View::new(&offer, &mut draw);
        let answer = is_sound(&view.answer(&offer, &transport(), 7, "alice"));
        assert_eq!(answer.sections.len(), offer.sections.len());
        assert!(answer.sections.iter().all(|section| !section.rejected));
        for (publisher, text, decode) in &publishers {
            let made = publish(&parse(text)).unwrap();
            let tracks = shown("alice", &made);
            assert!(view.fill(&tracks));
            let routes = view.routes(SessionId(1), &tracks);
            let mut mids: Vec<&str> = routes.iter().map(|route| route.mid.as_str()).collect();
            let mut want = vec![*audio];
            if decode.split(' ').any(|one| one == *player) {
                want.push(*video);
            }
            mids.sort_unstable();
            want.sort_unstable();
            assert_eq!(mids, want, "{publisher} to {player}");
            for route in &routes {
                let section = offer
                    .sections
                    .iter()
                    .find(|section| section.mid == route.mid)
                    .unwrap();
                for map in &route.payload_map {
                    assert!(
                        section
                            .formats
                            .iter()
                            .any(|f| f.pt == map.to && f.codec() == Some(map.codec))
                    );
                }
            }
        }
    }
}

#[test]
fn the_codec_that_will_come_stands_first() {
    let offer = parse(&client!("chrome-player"));
    let made = publish(&parse(&client!("ffmpeg"))).unwrap();
    let mut view = View::new(&offer, &mut numbers());
    view.prefer(&shown("alice", &made));
    let answer = is_sound(&view.answer(&offer, &transport(), 7, "alice"));
    assert_eq!(answer.sections[0].formats[0].name, "H264");
    assert!(
        answer.sections[0].formats.len() > 4,
        "any later publisher fits as well"
    );
    let sound = answer
        .sections
        .iter()
        .find(|section| section.media == "audio")
        .unwrap();
    assert_eq!(sound.formats[0].name, "opus");
}

#[test]
fn redundancy_goes_only_where_its_blocks_are_understood() {
    let made = publish(&parse(&client!("chrome-publisher"))).unwrap();
    let tracks = shown("alice", &made);
    let player = client!("chrome-player");
    for (text, codecs) in [
        (player.clone(), vec![Codec::Opus, Codec::Red]),
        // Opus has another number there: the blocks inside would name the wrong one.
        (
            player
                .replace(":111 ", ":110 ")
                .replace("111/111", "110/110")
                .replace("SAVPF 111 63 9 0 8 13 110", "SAVPF 110 63"),
            vec![Codec::Opus],
        ),
    ] {
        let offer = parse(&text);
        let mut view = View::new(&offer, &mut numbers());
        view.fill(&tracks);
        let routes = view.routes(SessionId(1), &tracks);
        let audio = routes.iter().find(|route| route.mid == "1").unwrap();
        let mapped: Vec<Codec> = audio.payload_map.iter().map(|map| map.codec).collect();
        assert_eq!(mapped, codecs);
    }
}

#[test]
fn what_a_browser_is_offered() {
    let alice = publish(&parse(&client!("chrome-publisher"))).unwrap();
    let obs = publish::answer(
        &parse(&client!("obs")),
        &transport(),
        43,
        1,
        &[],
        None,
        numbers_from(5),
    )
    .unwrap();
    let text = client!("chrome-publisher");
    let channel = &text[text.find("m=application").unwrap()..];
    let head = &text[..text.find("m=audio").unwrap()];
    let offer = parse(&(head.replace("BUNDLE 0 1 2", "BUNDLE 2") + channel));
    let mut draw = numbers();
    let mut view = View::new(&offer, &mut draw);
    let mut tracks = shown("alice+1", &alice);
    tracks.extend(shown("obs", &obs));
    view.stage(&tracks, &mut draw);
    let sdp = view.offer(&transport(), 9, 2);
    let read = is_sound(&sdp);
    assert_eq!(read.sections[0].kind, SectionKind::Application);
    let names: Vec<Vec<&str>> = read.sections[1..]
        .iter()
        .map(|section| section.formats.iter().map(|f| f.name.as_str()).collect())
        .collect();
    assert_eq!(
        names,
        [
            vec!["opus", "red"],
            vec!["VP8", "rtx"],
            vec!["opus"],
            vec!["H264", "rtx"]
        ]
    );
    for msid in ["alice+1 audio0", "alice+1 video0", "obs audio0", "obs video0"] {
        assert!(sdp.contains(&format!("a=msid:{msid}\r\n")), "{msid}");
    }
    // RFC 8843 §10.1.2: what differs has another number. OBS asks for stereo, Chrome doesn't.
    let opus: Vec<u8> = [1, 3].iter().map(|n| read.sections[*n].formats[0].pt).collect();
    assert_eq!(
        opus[0], 111,
        "the publisher's own, so that redundant audio can go as it is"
    );
    assert_ne!(opus[0], opus[1]);
    assert_eq!(read.setup, Setup::ActPass);
}
