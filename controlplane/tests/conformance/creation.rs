//! What belongs to a 201 (RFC 9725 §4.2, §4.6; draft-ietf-wish-whep §4.2).

use weever_controlplane::sdp::{Description, Direction};
use weever_proto::{WorkerHello, WorkerId};

use crate::house::{House, OFFER, hello};
use crate::offers;
use crate::stage::Stage;

const ROLES: [&str; 2] = ["pub", "sub"];

#[tokio::test]
async fn a_post_is_answered_with_exactly_201() {
    let house = House::with(&[]).await;
    for role in ROLES {
        assert_eq!(
            house.join(&format!("/{role}/r/alice"), OFFER).await.status,
            201,
            "{role}"
        );
        let id = house.get(&format!("/list/{role}/r")).await.body;
        assert_eq!(id, "alice", "and is in");
    }
}

#[tokio::test]
async fn the_answer_is_sdp() {
    let house = House::with(&[]).await;
    for role in ROLES {
        let created = house.join(&format!("/{role}/r/alice"), OFFER).await;
        assert_eq!(created.header("content-type"), Some("application/sdp"));
        assert!(created.body.starts_with("v=0\r\n"), "{}", created.body);
        Description::parse(&created.body).unwrap();
    }
}

#[tokio::test]
async fn the_content_type_may_have_parameters_and_any_case() {
    let house = House::with(&[]).await;
    let headers = [("content-type", "Application/SDP; charset=utf-8")];
    assert_eq!(
        house.public("POST", "/pub/r/alice", &headers, OFFER).await.status,
        201
    );
}

#[tokio::test]
async fn the_location_is_an_absolute_path_without_http() {
    let house = House::with(&[]).await;
    for role in ROLES {
        let created = house.join(&format!("/{role}/r/alice"), OFFER).await;
        let location = created.header("location").unwrap();
        assert!(
            location.starts_with('/') && !location.starts_with("//"),
            "{location}"
        );
        assert!(!location.contains("http"), "{location}");
    }
}

#[tokio::test]
async fn the_locations_last_segment_cannot_be_guessed() {
    let house = House::with(&[]).await;
    let mut all = std::collections::HashSet::new();
    for n in 0..20 {
        let created = house.join(&format!("/sub/r/v{n}"), OFFER).await;
        let key = created
            .header("location")
            .unwrap()
            .rsplit('/')
            .next()
            .unwrap()
            .to_owned();
        assert_eq!(key.len(), 32, "128 bits: {key}");
        assert!(key.bytes().all(|c| c.is_ascii_hexdigit()));
        let bits = u128::from_str_radix(&key, 16).unwrap();
        assert!(
            (20..108).contains(&bits.count_ones()),
            "random, not counted: {key}"
        );
        assert!(all.insert(key));
    }
}

#[tokio::test]
async fn the_etag_is_strong() {
    let house = House::with(&[]).await;
    for role in ROLES {
        let created = house.join(&format!("/{role}/r/alice"), OFFER).await;
        let etag = created.header("etag").unwrap();
        let inner = etag.strip_prefix('"').and_then(|e| e.strip_suffix('"')).unwrap();
        assert!(!inner.is_empty() && !inner.contains('"'), "{etag}");
    }
}

#[tokio::test]
async fn each_session_has_an_etag_of_its_own() {
    let house = House::with(&[]).await;
    let one = house.join("/pub/r/a", OFFER).await;
    let other = house.join("/pub/r/b", OFFER).await;
    assert_ne!(one.header("etag"), other.header("etag"));
}

#[tokio::test]
async fn accept_patch_names_the_fragment() {
    let house = House::with(&[]).await;
    for role in ROLES {
        let created = house.join(&format!("/{role}/r/alice"), OFFER).await;
        assert_eq!(
            created.header("accept-patch"),
            Some("application/trickle-ice-sdpfrag")
        );
    }
}

#[tokio::test]
async fn each_stun_and_turn_server_has_a_link() {
    let house = House::with(&[
        "--stun=stun.example.org:3478,stun2.example.org",
        "--turn=turn.example.org:3478?transport=tcp",
        "--turn-username=u\"x",
        "--turn-password=p",
    ])
    .await;
    for role in ROLES {
        let created = house.join(&format!("/{role}/r/alice"), OFFER).await;
        let ice: Vec<&str> = created
            .all("link")
            .into_iter()
            .filter(|link| link.contains("ice-server"))
            .collect();
        assert_eq!(
            ice,
            [
                "<stun:stun.example.org:3478>; rel=\"ice-server\"",
                "<stun:stun2.example.org>; rel=\"ice-server\"",
                "<turn:turn.example.org:3478?transport=tcp>; rel=\"ice-server\"; username=\"u\\\"x\"; credential=\"p\"; \
                 credential-type=\"password\"",
            ]
        );
    }
}

#[tokio::test]
async fn without_servers_there_is_no_ice_link() {
    let house = House::with(&[]).await;
    for role in ROLES {
        let created = house.join(&format!("/{role}/r/alice"), OFFER).await;
        assert!(!created.all("link").iter().any(|link| link.contains("ice-server")));
    }
}

/// Who orders them: `--public-ip`, the default route's interface, the others. That is `dataplane/src/addresses.rs`, and tested
/// there; here all of them have to arrive in that order.
#[tokio::test]
async fn all_candidates_are_in_the_answer_best_first() {
    let mut hello = hello("wide");
    let at = [
        "203.0.113.9:8443",
        "192.0.2.4:8443",
        "[2001:db8::4]:8443",
        "10.1.2.3:8443",
    ];
    hello.workers = vec![WorkerHello {
        id: WorkerId(0),
        candidates: at.iter().map(|at| at.parse().unwrap()).collect(),
    }];
    let stage = Stage::on(&[], hello).await;
    for role in ROLES {
        let offer = if role == "pub" {
            offers::encoder()
        } else {
            offers::player(&["VP8"])
        };
        let created = stage.join(&format!("/{role}/r/alice"), &offer).await;
        let candidates = candidates(&created.body);
        let hosts: Vec<&str> = candidates.iter().map(|c| c.4.as_str()).collect();
        assert_eq!(hosts, ["203.0.113.9", "192.0.2.4", "2001:db8::4", "10.1.2.3"]);
        for (_, component, protocol, _, _, port) in &candidates {
            assert_eq!(
                (component.as_str(), protocol.as_str(), port.as_str()),
                ("1", "udp", "8443")
            );
        }
        assert!(candidates.is_sorted_by(|a, b| a.3 > b.3), "priorities fall");
        assert!(
            created.body.contains("a=end-of-candidates\r\n"),
            "and there are no more"
        );
    }
}

/// The simple clients look nowhere else.
#[tokio::test]
async fn the_candidates_are_in_the_first_m_section() {
    let house = House::with(&[]).await;
    let created = house.join("/pub/r/alice", &offers::encoder()).await;
    let parts: Vec<&str> = created.body.split("\r\nm=").collect();
    assert!(parts.len() == 3 && !parts[0].contains("a=candidate"));
    assert!(parts[1].contains("a=candidate:") && !parts[2].contains("a=candidate:"));
}

#[tokio::test]
async fn a_publishers_answer_receives_and_a_players_sends() {
    let house = House::with(&[]).await;
    let directions = |sdp: &str| -> Vec<Direction> {
        let parsed = Description::parse(sdp).unwrap();
        parsed.sections.iter().map(|section| section.direction).collect()
    };
    let published = house.join("/pub/r/alice", &offers::encoder()).await;
    assert_eq!(directions(&published.body), [Direction::RecvOnly; 2]);
    let played = house.join("/sub/r/tv", &offers::player(&["VP8"])).await;
    assert_eq!(directions(&played.body), [Direction::SendOnly; 2]);
}

#[tokio::test]
async fn everything_is_bundled_and_muxed() {
    let house = House::with(&[]).await;
    for (path, offer) in [
        ("/pub/r/alice", offers::encoder()),
        ("/sub/r/tv", offers::player(&["VP8"])),
    ] {
        let answer = house.join(path, &offer).await.body;
        assert!(answer.contains("a=group:BUNDLE 0 1\r\n"), "{answer}");
        for section in answer.split("\r\nm=").skip(1) {
            assert!(section.contains("a=rtcp-mux\r\n"), "RFC 9725 §4.4.1: {section}");
            assert!(
                section.contains("a=rtcp-mux-only\r\n"),
                "RFC 9725 §4.4.1: {section}"
            );
        }
    }
}

#[tokio::test]
async fn a_player_gets_one_media_stream() {
    let house = House::with(&[]).await;
    let answer = house.join("/sub/r/tv", &offers::player(&["VP8"])).await.body;
    let streams: Vec<String> = offers::msids(&answer)
        .iter()
        .map(|msid| msid.split(' ').next().unwrap().to_owned())
        .collect();
    assert_eq!(streams.len(), 2);
    assert_eq!(streams[0], streams[1]);
}

/// Foundation, component, protocol, priority, host, port.
type Candidate = (String, String, String, u32, String, String);

fn candidates(answer: &str) -> Vec<Candidate> {
    let lines = answer
        .lines()
        .filter_map(|line| line.strip_prefix("a=candidate:"));
    lines
        .map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            let text = |n: usize| words[n].to_owned();
            (
                text(0),
                text(1),
                text(2),
                words[3].parse().unwrap(),
                text(4),
                text(5),
            )
        })
        .collect()
}
