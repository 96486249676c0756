//! Clients as they are: who begins DTLS, who trickles, who says nothing of itself.

use weever_proto::{DtlsRole, Event, WorkerHello, WorkerId, limits};

use crate::house::{OFFER, hello};
use crate::offers;
use crate::stage::Stage;

fn wire(text: &str) -> String {
    text.lines().map(|line| format!("{line}\r\n")).collect()
}

#[tokio::test]
async fn a_client_that_can_do_either_begins_dtls() {
    let mut stage = Stage::with(&[]).await;
    for (n, setup) in ["actpass", "active"].into_iter().enumerate() {
        let offer = OFFER.replace("setup:actpass", &format!("setup:{setup}"));
        let answer = stage.join(&format!("/pub/r/p{n}"), &offer).await;
        assert!(
            answer.body.contains("a=setup:passive\r\n"),
            "RFC 9725 §4.4.4: {setup}"
        );
        assert_eq!(stage.made().await.dtls_role, DtlsRole::Server);
    }
}

/// ffmpeg.
#[tokio::test]
async fn for_a_client_that_waits_the_server_begins_dtls() {
    let mut stage = Stage::with(&[]).await;
    for role in ["pub", "sub"] {
        let offer = OFFER.replace("setup:actpass", "setup:passive");
        let answer = stage.join(&format!("/{role}/r/waits"), &offer).await;
        assert!(answer.body.contains("a=setup:active\r\n"), "{role}");
        assert_eq!(stage.made().await.dtls_role, DtlsRole::Client);
    }
}

#[tokio::test]
async fn a_client_without_candidates_and_without_trickle_is_served() {
    let mut stage = Stage::with(&[]).await;
    assert!(!OFFER.contains("a=candidate") && !OFFER.contains("trickle"));
    for role in ["pub", "sub"] {
        let path = format!("/{role}/r/silent");
        let answer = stage.join(&path, OFFER).await;
        assert_eq!(answer.status, 201);
        // All that it needs to begin: where to, and the password of its checks.
        for line in [
            "a=candidate:",
            "a=ice-ufrag:",
            "a=ice-pwd:",
            "a=ice-lite\r\n",
            "a=fingerprint:",
        ] {
            assert!(answer.body.contains(line), "{line}");
        }
        let spec = stage.made().await;
        assert_eq!(spec.remote.ufrag, "EsAw", "its checks are awaited");
    }
}

#[tokio::test]
async fn a_client_with_candidates_in_its_offer_is_served() {
    let stage = Stage::with(&[]).await;
    let offer =
        format!("{OFFER}a=candidate:1 1 udp 2122260223 192.0.2.1 61764 typ host\r\na=end-of-candidates\r\n");
    assert_eq!(stage.join("/pub/r/alice", &offer).await.status, 201);
}

#[tokio::test]
async fn who_opens_no_data_channel_is_served_just_as_well() {
    let mut stage = Stage::with(&[]).await;
    stage.live("/pub/r/encoder", &offers::encoder()).await;
    let (_, player) = stage
        .joined(
            "/sub/r/tv",
            &offers::player(&["H264 packetization-mode=1;profile-level-id=42e01f"]),
        )
        .await;
    stage.say(Event::SessionConnected { session: player });
    let mut routes = 0;
    while routes < 2 {
        routes += stage
            .told("both routes", |command| match command {
                weever_proto::Command::PutRoute(route) => Some(usize::from(route.session == player)),
                _ => None,
            })
            .await;
    }
}

/// Its buffer for the answer has 8 KiB.
#[tokio::test]
async fn ffmpegs_answer_stays_below_8_kib() {
    let mut hello = hello("wide");
    let at = |n: usize| {
        format!("[2001:db8:1111:2222:3333:4444:5555:{n:x}]:8443")
            .parse()
            .unwrap()
    };
    hello.workers = vec![WorkerHello {
        id: WorkerId(0),
        candidates: (0..limits::MAX_CANDIDATES).map(at).collect(),
    }];
    let stage = Stage::on(&[], hello).await;
    for offer in [
        wire(include_str!("../sdp/clients/ffmpeg.sdp")),
        wire(include_str!("../sdp/clients/ffmpeg-video-only.sdp")),
        wire(include_str!("../sdp/clients/obs.sdp")),
    ] {
        let answer = stage.join(&format!("/pub/r/{}", offer.len()), &offer).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        assert!(answer.body.len() < 8192, "{} bytes", answer.body.len());
        assert_eq!(
            answer.body.matches("a=candidate:").count(),
            limits::MAX_CANDIDATES
        );
    }
}

/// It takes the first candidate over UDP, whatever its address.
#[tokio::test]
async fn the_first_candidate_is_the_best_and_udp() {
    let mut hello = hello("two");
    hello.workers[0].candidates = vec![
        "203.0.113.9:8443".parse().unwrap(),
        "192.0.2.4:8443".parse().unwrap(),
    ];
    let stage = Stage::on(&[], hello).await;
    let answer = stage
        .join("/pub/r/ffmpeg", &wire(include_str!("../sdp/clients/ffmpeg.sdp")))
        .await;
    let first = answer
        .body
        .lines()
        .find(|line| line.starts_with("a=candidate:"))
        .unwrap();
    assert!(
        first.contains(" udp ") && first.contains(" 203.0.113.9 8443 typ host"),
        "{first}"
    );
}

#[tokio::test]
async fn every_client_we_know_of_is_answered_201() {
    let stage = Stage::with(&[]).await;
    macro_rules! all {
        ($($role:literal $name:literal),* $(,)?) => {
            [$(($role, $name, wire(include_str!(concat!("../sdp/clients/", $name, ".sdp"))))),*]
        };
    }
    for (role, name, offer) in all![
        "pub" "aiortc-publisher",
        "pub" "chrome-publisher",
        "pub" "chrome-simulcast",
        "pub" "ffmpeg",
        "pub" "ffmpeg-video-only",
        "pub" "firefox-publisher",
        "pub" "gstreamer-publisher",
        "pub" "obs",
        "pub" "pion-publisher",
        "pub" "safari-publisher",
        "pub" "simple-whip-client",
        "sub" "aiortc-player",
        "sub" "chrome-player",
        "sub" "gstreamer-player",
        "sub" "pion-player",
        "sub" "simple-whep-client",
        "sub" "whepclientsrc",
    ] {
        let answer = stage.join(&format!("/{role}/clients/{name}"), &offer).await;
        assert_eq!(answer.status, 201, "{name}: {}", answer.body);
    }
}
