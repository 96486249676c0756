//! What holds for every description, also for those that nobody thought of.

use proptest::prelude::*;
use weever_controlplane::names::{FullId, RoomName};
use weever_controlplane::sdp::view::View;
use weever_controlplane::sdp::{Description, Fragment};
use weever_proto::SessionId;

use crate::{is_sound, numbers, publish, shown, transport, wire};

const CLIENTS: [&str; 6] = [
    include_str!("clients/chrome-publisher.sdp"),
    include_str!("clients/chrome-player.sdp"),
    include_str!("clients/firefox-publisher.sdp"),
    include_str!("clients/obs.sdp"),
    include_str!("clients/gstreamer-publisher.sdp"),
    include_str!("clients/aiortc-player.sdp"),
];

/// Whatever was read is answered soundly, or refused.
fn serve(text: &str) {
    let Ok(offer) = Description::parse(text) else {
        return;
    };
    if let Ok(answer) = publish(&offer) {
        let read = is_sound(&answer.text);
        assert_eq!(read.sections.len(), offer.sections.len());
    }
    let mut draw = numbers();
    let mut view = View::new(&offer, &mut draw);
    if !view.is_empty() {
        is_sound(&view.answer(&offer, &transport(), 1, "alice"));
        view.stage(&[], &mut draw);
        let ours = view.offer(&transport(), 1, 2);
        if ours.contains("a=group:BUNDLE ") {
            is_sound(&ours);
        }
    }
}

/// Real offers with lines lost, doubled, moved, or hurt.
fn mutated() -> impl Strategy<Value = String> {
    let change = (
        any::<prop::sample::Index>(),
        any::<prop::sample::Index>(),
        0..4u8,
        any::<char>(),
    );
    (0..CLIENTS.len(), prop::collection::vec(change, 1..8)).prop_map(|(client, changes)| {
        let mut lines: Vec<String> = CLIENTS[client].lines().map(str::to_owned).collect();
        for (at, to, kind, c) in changes {
            let (at, to) = (at.index(lines.len()), to.index(lines.len()));
            match kind {
                0 => drop(lines.remove(at)),
                1 => lines.insert(to, lines[at].clone()),
                2 => lines.swap(at, to),
                _ => {
                    let cut = lines[at].char_indices().map(|(n, _)| n).nth(to % 8).unwrap_or(0);
                    lines[at].insert(cut, c);
                }
            }
            if lines.is_empty() {
                lines.push("v=0".into());
            }
        }
        wire(&lines.join("\n"))
    })
}

/// An m-line of a made-up publisher: video or not, its codecs, what it does with them.
type Line = (bool, Vec<usize>, bool);

const VIDEO: [&str; 5] = ["VP8", "VP9", "H264", "AV1", "H265"];
const AUDIO: [&str; 3] = ["opus", "PCMU", "PCMA"];

fn offer_of(lines: &[Line]) -> String {
    let mut text = String::from("v=0\no=- 1 1 IN IP4 127.0.0.1\ns=-\nt=0 0\na=group:BUNDLE");
    (0..lines.len()).for_each(|n| text += &format!(" m{n}"));
    text += "\na=ice-ufrag:abcd\na=ice-pwd:0123456789012345678901\na=setup:actpass\n";
    text += &format!("a=fingerprint:sha-256 {}\n", ["AB"; 32].join(":"));
    for (n, (video, codecs, sends)) in lines.iter().enumerate() {
        let names: &[&str] = if *video { &VIDEO } else { &AUDIO };
        let rate = |name: &str| match name {
            "opus" => "48000/2",
            "PCMU" | "PCMA" => "8000",
            _ => "90000",
        };
        let pts: Vec<String> = (0..codecs.len()).map(|at| (96 + at).to_string()).collect();
        let media = if *video { "video" } else { "audio" };
        text += &format!(
            "m={media} 9 UDP/TLS/RTP/SAVPF {}\nc=IN IP4 0.0.0.0\na=mid:m{n}\na=rtcp-mux\n",
            pts.join(" ")
        );
        text += if *sends { "a=sendonly\n" } else { "a=recvonly\n" };
        for (at, codec) in codecs.iter().enumerate() {
            let name = names[codec % names.len()];
            text += &format!("a=rtpmap:{} {name}/{}\n", 96 + at, rate(name));
        }
    }
    wire(&text)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn any_text_is_read_or_refused(text in ".{0,400}") {
        serve(&text);
        serve(&format!("v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n{text}"));
        let _ = Fragment::parse(&text);
        let _ = Fragment::parse(&format!("a={text}"));
    }

    #[test]
    fn hurt_offers_are_served_soundly_or_refused(text in mutated()) {
        serve(&text);
        let _ = Fragment::parse(&text);
    }

    /// What is written is what is read: tracks, mids and order survive offer → answer → description, and our own offer
    /// → description, and everything that a client accepts is forwarded.
    #[test]
    fn written_is_read(
        lines in prop::collection::vec((any::<bool>(), prop::collection::vec(0..5usize, 1..4), any::<bool>()), 1..12)
    ) {
        let offer = Description::parse(&offer_of(&lines)).unwrap();
        let made = publish(&offer).unwrap();
        let answer = is_sound(&made.text);
        let sending: Vec<String> =
            lines.iter().enumerate().filter(|(_, line)| line.2).map(|(n, _)| format!("m{n}")).collect();
        let received: Vec<String> = made.tracks.iter().map(|track| track.mid.clone()).collect();
        prop_assert_eq!(&received, &sending);
        for (ours, theirs) in answer.sections.iter().zip(&offer.sections) {
            prop_assert_eq!(&ours.mid, &theirs.mid);
            prop_assert_eq!(ours.kind, theirs.kind);
        }

        let mut draw = numbers();
        let tracks = shown("alice", &made);
        let mut view = View::default();
        view.stage(&tracks, &mut draw);
        prop_assume!(!tracks.is_empty());
        let ours = is_sound(&view.offer(&transport(), 1, 1));
        prop_assert_eq!(ours.sections.len(), tracks.len());
        let mut accepting = ours.clone();
        accepting.sections.iter_mut().for_each(|section| {
            section.direction = weever_controlplane::sdp::Direction::RecvOnly;
        });
        view.accept(&accepting).unwrap();
        let routes = view.routes(SessionId(1), &tracks);
        let routed: Vec<u64> = routes.iter().map(|route| route.track.0).collect();
        let wanted: Vec<u64> = tracks.iter().map(|candidate| candidate.track.track).collect();
        prop_assert_eq!(routed, wanted);
        // What survives a restart is the same.
        let kept: View = serde_json::from_slice(&serde_json::to_vec(&view).unwrap()).unwrap();
        prop_assert_eq!(kept, view);
    }

    #[test]
    fn names_are_taken_whole_or_not_at_all(name in ".{0,140}", plain in "[!-~]{1,130}") {
        for name in [name, plain] {
            if let Ok(id) = FullId::new(name.as_str()) {
                prop_assert_eq!(id.as_str(), name.as_str());
                prop_assert!(!id.base().is_empty() && !id.base().contains('+'));
                prop_assert!(RoomName::new(name).is_ok());
            }
        }
    }
}
