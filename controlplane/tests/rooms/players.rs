//! WHEP players: slots that are filled by whoever is there.

use weever_proto::{Codec, Role, SessionId};

use crate::bench::Bench;
use crate::offers;

fn shown(bench: &Bench, player: SessionId) -> Vec<(u64, String)> {
    let mut all: Vec<_> = bench.held[&player]
        .routes
        .values()
        .map(|route| (route.track.0, route.mid.clone()))
        .collect();
    all.sort_by(|a, b| a.1.cmp(&b.1));
    all
}

fn tracks(bench: &Bench, publisher: SessionId) -> Vec<u64> {
    bench.held[&publisher]
        .spec
        .receive
        .iter()
        .map(|receive| receive.track.0)
        .collect()
}

#[test]
fn a_player_waits_plays_and_plays_again_in_one_session() {
    let mut bench = Bench::new();
    let (player, _, answer) = bench.enter(Role::Subscriber, "tv", &offers::player(&["VP8", "H264"]));
    assert!(answer.contains("a=sendonly\r\n"));
    assert!(bench.held[&player].routes.is_empty(), "nobody is live");
    let (first, key, _) = bench.enter(Role::Publisher, "alice", &offers::browser_publisher(&["VP8"]));
    let want: Vec<_> = tracks(&bench, first)
        .into_iter()
        .zip(["0".to_owned(), "1".to_owned()])
        .collect();
    assert_eq!(shown(&bench, player), want);
    let before: Vec<_> = bench.held[&player]
        .routes
        .values()
        .map(|r| (r.route, r.ssrc))
        .collect();
    bench.leave(key);
    assert!(bench.held[&player].routes.is_empty());
    bench.enter(Role::Publisher, "alice", &offers::browser_publisher(&["VP8"]));
    let after: Vec<_> = bench.held[&player]
        .routes
        .values()
        .map(|r| (r.route, r.ssrc))
        .collect();
    assert_eq!(before, after, "the same streams go on");
    assert!(bench.held[&player].texts.is_empty(), "without renegotiation");
}

#[test]
fn when_the_shown_one_leaves_the_next_is_shown() {
    let mut bench = Bench::new();
    let (player, ..) = bench.enter(Role::Subscriber, "tv", &offers::player(&["VP8"]));
    let (first, key, _) = bench.enter(Role::Publisher, "alice", &offers::browser_publisher(&["VP8"]));
    let (second, ..) = bench.enter(Role::Publisher, "bob", &offers::browser_publisher(&["VP8"]));
    assert_eq!(shown(&bench, player)[1].0, tracks(&bench, first)[1]);
    bench.leave(key);
    assert_eq!(shown(&bench, player)[1].0, tracks(&bench, second)[1]);
}

#[test]
fn from_picks_one() {
    let mut bench = Bench::new();
    bench.enter(Role::Publisher, "alice", &offers::browser_publisher(&["VP8"]));
    let (second, ..) = bench.enter(Role::Publisher, "bob+7", &offers::browser_publisher(&["VP8"]));
    for (n, from) in ["bob", "bob+7"].into_iter().enumerate() {
        let before: Vec<SessionId> = bench.held.keys().copied().collect();
        bench.join_from(
            Role::Subscriber,
            &format!("tv{n}"),
            &offers::player(&["VP8"]),
            Some(from),
        );
        let player = *bench.held.keys().find(|id| !before.contains(id)).unwrap();
        assert_eq!(shown(&bench, player)[1].0, tracks(&bench, second)[1]);
    }
    let before: Vec<SessionId> = bench.held.keys().copied().collect();
    bench.join_from(Role::Subscriber, "tv9", &offers::player(&["VP8"]), Some("carol"));
    let player = *bench.held.keys().find(|id| !before.contains(id)).unwrap();
    assert!(
        bench.held[&player].routes.is_empty(),
        "who isn't there is waited for"
    );
}

#[test]
fn codecs_must_fit_and_payload_types_are_the_players() {
    let mut bench = Bench::new();
    let profile = "H264 packetization-mode=1;profile-level-id=42e01f";
    let (player, ..) = bench.enter(Role::Subscriber, "tv", &offers::player(&["VP9", "VP8", profile]));
    let (old, ..) = bench.enter(Role::Subscriber, "old", &offers::player(&["VP8"]));
    bench.enter(Role::Publisher, "alice", &offers::browser_publisher(&[profile]));
    let video = bench.held[&player]
        .routes
        .values()
        .find(|r| r.mid == "1")
        .unwrap();
    let map = video.payload_map[0];
    assert_eq!(
        (map.from, map.to, map.rtx_to, map.codec),
        (96, 100, Some(101), Codec::H264)
    );
    assert!(video.rtx_ssrc.is_some());
    let audio = bench.held[&player]
        .routes
        .values()
        .find(|r| r.mid == "0")
        .unwrap();
    assert_eq!(audio.payload_map.len(), 2, "Opus, and RED around it");
    assert!(audio.rtx_ssrc.is_none());
    let old = &bench.held[&old].routes;
    assert_eq!(
        old.len(),
        1,
        "it hears, and waits for a picture that it can decode"
    );
}

#[test]
fn nobody_sees_themselves() {
    let mut bench = Bench::new();
    let (player, ..) = bench.enter(Role::Subscriber, "alice+tv", &offers::player(&["VP8"]));
    bench.enter(Role::Publisher, "alice+cam", &offers::browser_publisher(&["VP8"]));
    bench.enter(
        Role::Publisher,
        "alice-screen+1",
        &offers::browser_publisher(&["VP8"]),
    );
    assert!(bench.held[&player].routes.is_empty());
    bench.enter(Role::Publisher, "bob", &offers::browser_publisher(&["VP8"]));
    assert_eq!(bench.held[&player].routes.len(), 2);
}
