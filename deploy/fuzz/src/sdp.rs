//! What comes in at the HTTP port and on the control channel: offers, answers, trickled fragments.

use std::num::NonZeroU64;
use std::sync::OnceLock;

use bytes::BytesMut;
use tokio_util::codec::{Decoder, Encoder};
use weever_controlplane::sdp::emit::LocalTransport;
use weever_controlplane::sdp::publish::{self, PublishedTrack};
use weever_controlplane::sdp::view::{Candidate, View};
use weever_controlplane::sdp::{Description, Fragment, MAX_SECTIONS};
use weever_proto::{
    Command, ControlCodec, DtlsRole, Extension, Fingerprint, IceCredentials, Receive, Role, SessionId,
    SessionSpec, ShardCodec, ToShard, WorkerId,
};

/// Told to publishers in half of the cases.
const MAX_BITRATE: Option<NonZeroU64> = NonZeroU64::new(1);

fn transport() -> LocalTransport {
    LocalTransport {
        ice: IceCredentials {
            ufrag: "abcdefgh".to_owned(),
            password: "0123456789abcdefghijklmn".to_owned(),
        },
        fingerprint: Fingerprint {
            hash: "sha-256".to_owned(),
            value: vec![0x5A; 32],
        },
        candidates: vec![
            "192.0.2.1:8443".parse().expect("an address"),
            "[2001:db8::1]:8443".parse().expect("an address"),
        ],
    }
}

/// Numbers as the control plane draws them, but the same each time.
fn counter() -> impl FnMut() -> u64 {
    let mut last = 0x0001_0000_0000_0000;
    move || {
        last += 1;
        last
    }
}

/// The data plane takes it: a command that breaks a limit of the protocol would cost the connection.
fn is_carried(command: Command) {
    let message = ToShard::Command(command);
    let mut frame = BytesMut::new();
    ControlCodec
        .encode(message.clone(), &mut frame)
        .expect("a frame within its limit");
    assert_eq!(
        ShardCodec
            .decode(&mut frame)
            .expect("what SDP made is within the protocol's limits"),
        Some(message)
    );
}

/// Lines of the form `x=...`, each ended by CRLF: nothing that a client wrote broke out of its line.
fn is_clean(text: &str) {
    let body = text.strip_suffix("\r\n").expect("CRLF at the end");
    for line in body.split("\r\n") {
        assert!(!line.contains(['\r', '\n', '\0']), "{line:?}");
        assert!(
            line.as_bytes().first().is_some_and(u8::is_ascii_lowercase),
            "{line:?}"
        );
        assert_eq!(line.as_bytes().get(1), Some(&b'='), "{line:?}");
    }
}

fn spec(offer: &Description, receive: Vec<Receive>, extensions: Vec<Extension>) -> SessionSpec {
    SessionSpec {
        session: SessionId(1),
        worker: WorkerId(0),
        role: Role::Publisher,
        local: transport().ice,
        remote: offer.ice.clone(),
        fingerprint: offer.fingerprint.clone(),
        dtls_role: DtlsRole::Server,
        data_channel: offer.has_channel(),
        receive,
        extensions,
        state: Vec::new(),
    }
}

/// What a browser publishes: the tracks that viewers are shown.
fn stage() -> &'static [PublishedTrack] {
    static STAGE: OnceLock<Vec<PublishedTrack>> = OnceLock::new();
    STAGE.get_or_init(|| {
        let text = include_str!("../corpus/sdp_offer/browser-publishes");
        let offer = Description::parse(text).expect("a browser's offer");
        publish::answer(&offer, &transport(), 1, 1, &[], None, counter())
            .expect("media that we forward")
            .tracks
    })
}

fn candidates() -> Vec<Candidate<'static>> {
    stage()
        .iter()
        .map(|track| Candidate {
            publisher: "alice+k3x9",
            track,
            worker: 0,
        })
        .collect()
}

fn routes_are_carried(view: &View) {
    for route in view.routes(SessionId(2), &candidates()) {
        is_carried(Command::PutRoute(Box::new(route)));
    }
}

/// An offer, taken as a publisher's and as a subscriber's: what it makes is carried by the protocol, and what is
/// answered is an SDP.
pub fn sdp_offer(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(offer) = Description::parse(text) else {
        return;
    };
    assert!(!offer.sections.is_empty() && offer.sections.len() <= MAX_SECTIONS);
    if let Ok(answer) = publish::answer(&offer, &transport(), 7, 1, &[], MAX_BITRATE, counter()) {
        is_clean(&answer.text);
        let receive = answer.tracks.iter().map(PublishedTrack::receive).collect();
        is_carried(Command::CreateSession(Box::new(spec(
            &offer,
            receive,
            answer.extensions,
        ))));
        let again = publish::answer(&offer, &transport(), 7, 2, &answer.tracks, MAX_BITRATE, counter())
            .expect("the same offer");
        assert_eq!(again.tracks, answer.tracks, "what stays keeps its name");
        if !answer.tracks.is_empty() {
            let read = Description::parse(&answer.text).expect("our own answer");
            assert_eq!(read.sections.len(), offer.sections.len());
        }
    }
    let mut view = View::new(&offer, &mut counter());
    let answer = view.answer(&offer, &transport(), 7, "alice+k3x9");
    is_clean(&answer);
    if !view.is_empty() {
        let read = Description::parse(&answer).expect("our own answer");
        assert_eq!(read.sections.len(), offer.sections.len());
    }
    view.fill(&candidates());
    routes_are_carried(&view);
    if offer.has_channel() {
        renegotiate(view);
    }
}

/// All tracks are offered, and a client that mirrors the offer accepts it; then all of them leave.
fn renegotiate(mut view: View) {
    for (version, shown) in [(2, candidates()), (3, Vec::new()), (4, candidates())] {
        view.stage(&shown, &mut counter());
        let text = view.offer(&transport(), 7, version);
        is_clean(&text);
        let mirrored = Description::parse(&text).expect("our own offer");
        view.accept(&mirrored).expect("as many m-lines as were offered");
        routes_are_carried(&view);
    }
}

/// A subscriber's answer to an offer of ours, on the control channel.
pub fn sdp_answer(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(answer) = Description::parse(text) else {
        return;
    };
    let channel = include_str!("../corpus/sdp_offer/channel-only");
    let offer = Description::parse(channel).expect("an offer of nothing but a channel");
    let mut view = View::new(&offer, &mut counter());
    view.stage(&candidates(), &mut counter());
    let before = view.lines.len();
    // Other m-lines than were offered, in number or by mid, are no answer to it.
    if view.accept(&answer).is_ok() {
        assert_eq!(answer.sections.len(), before);
    }
    routes_are_carried(&view);
    renegotiate(view);
}

/// A PATCH body.
pub fn sdp_fragment(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(fragment) = Fragment::parse(text) else {
        return;
    };
    assert!(fragment.candidates <= data.len());
    let Some(ice) = fragment.ice else { return };
    let text = Fragment::restarted(
        &ice,
        &transport().candidates,
        "m=audio 9 UDP/TLS/RTP/SAVPF 111",
        "0",
    );
    is_clean(&text);
    assert_eq!(
        Fragment::parse(&text).expect("our own fragment").ice.as_ref(),
        Some(&ice)
    );
    is_carried(Command::RestartIce {
        session: SessionId(1),
        local: transport().ice,
        remote: ice,
    });
}
