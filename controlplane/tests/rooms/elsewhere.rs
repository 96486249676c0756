//! Publishers of other data planes and of other nodes.

use std::time::Duration;

use weever_controlplane::rooms::{
    Action, Claim, LivePublisher, LocalNews, NodeName, NodeNews, NodeState, OwnState, Reply, RoomsConfig,
    SessionKey,
};
use weever_proto::{Event, RELAY, Role, SessionId, WorkerId};

use crate::bench::{Bench, id, room};
use crate::offers;
use crate::restart::another_hello;

fn node(name: &str) -> NodeName {
    NodeName(name.into())
}

fn news(bench: &mut Bench, from: &str, news: NodeNews) {
    bench.act(Action::Node {
        node: node(from),
        news,
    });
}

/// What a node's directory tells others of what its rooms said, since this was asked last.
fn told(bench: &mut Bench) -> Vec<NodeNews> {
    let told = std::mem::take(&mut bench.told).into_iter();
    let news = told.filter_map(|news| match news {
        LocalNews::Published(publisher) => Some(NodeNews::Published(publisher)),
        LocalNews::Unpublished { room, id } => Some(NodeNews::Unpublished { room, id }),
        LocalNews::Viewers { room, count } => Some(NodeNews::Viewers { room, count }),
        LocalNews::Said { room, text } => Some(NodeNews::Said { room, text }),
        LocalNews::Released(_) | LocalNews::Silent { .. } => None,
    });
    news.collect()
}

/// Hands everything that one node told to another.
fn spread(from: &mut Bench, name: &str, to: &mut Bench) {
    for one in told(from) {
        news(to, name, one);
    }
}

fn publisher(bench: &mut Bench, name: &str) -> (SessionId, SessionKey) {
    let (session, key, _) = bench.enter(Role::Publisher, name, &offers::browser_publisher(&["VP8"]));
    (session, key)
}

fn viewer(bench: &mut Bench, name: &str) -> SessionId {
    let (session, ..) = bench.enter(Role::Subscriber, name, &offers::channel_only());
    bench.open_channel(session);
    session
}

fn shown(bench: &Bench, session: SessionId) -> Vec<(u64, WorkerId)> {
    let routes = bench.held[&session].routes.values();
    let mut all: Vec<_> = routes.map(|route| (route.track.0, route.track_worker)).collect();
    all.sort_unstable();
    all
}

fn tracks_of(bench: &Bench, session: SessionId) -> Vec<u64> {
    let receive = bench.held[&session].spec.receive.iter();
    let mut all: Vec<u64> = receive.map(|receive| receive.track.0).collect();
    all.sort_unstable();
    all
}

fn relayed(tracks: &[u64]) -> Vec<(u64, WorkerId)> {
    tracks.iter().map(|track| (*track, RELAY)).collect()
}

/// A publisher that the rooms of a second bench have made.
fn live(bench: &mut Bench, name: &str) -> (LivePublisher, SessionKey) {
    let (_, key) = publisher(bench, name);
    let published = bench.rooms.own_state().state.publishers;
    let found = published.into_iter().find(|one| one.id == id(name));
    (found.unwrap(), key)
}

#[test]
fn publishers_of_other_nodes_are_told_and_shown() {
    let (mut there, mut here) = (Bench::relaying(1, 1), Bench::relaying(1, 2));
    let bob = viewer(&mut here, "bob");
    here.answer_offer(bob);
    let (alice, key) = publisher(&mut there, "alice");
    let tracks = tracks_of(&there, alice);
    spread(&mut there, "there", &mut here);
    assert_eq!(here.hear(bob).unwrap(), "PUB_JOIN alice");
    let offer = here.answer_offer(bob);
    assert_eq!(offers::msids(&offer), ["alice audio0", "alice video0"]);
    assert_eq!(shown(&here, bob), relayed(&tracks));
    assert_eq!(here.list(Role::Publisher), [""; 0], "its own list has its own");

    // Who comes later sees it at once.
    let carol = viewer(&mut here, "carol");
    assert_eq!(
        offers::msids(&here.answer_offer(carol)),
        ["alice audio0", "alice video0"]
    );
    // Nobody sees their own, wherever it comes in.
    let own = viewer(&mut here, "alice+2");
    assert!(offers::msids(&here.answer_offer(own)).is_empty());

    there.leave(key);
    spread(&mut there, "there", &mut here);
    assert_eq!(here.hear(bob).unwrap(), "PUB_LEFT alice");
    assert!(shown(&here, bob).is_empty());
    assert!(offers::msids(&here.answer_offer(bob)).is_empty());
    assert_eq!(here.hear(own), None);
}

#[test]
fn without_a_relay_nobody_is_shown_what_cannot_come() {
    let (mut there, mut here) = (Bench::relaying(1, 2), Bench::new());
    let bob = viewer(&mut here, "bob");
    here.answer_offer(bob);
    publisher(&mut there, "alice");
    spread(&mut there, "there", &mut here);
    assert!(shown(&here, bob).is_empty());
}

#[test]
fn a_players_slots_show_the_longest_live_of_all_nodes() {
    let (mut there, mut here) = (Bench::relaying(1, 1), Bench::relaying(1, 2));
    let (first, first_key) = live(&mut there, "first");
    here.pass(Duration::from_secs(60));
    let (second, second_key) = publisher(&mut here, "second");
    let (player, ..) = here.enter(Role::Subscriber, "tv", &offers::player(&["VP8"]));
    assert_eq!(shown(&here, player).len(), 2);
    assert_eq!(
        shown(&here, player)[0].1,
        WorkerId(0),
        "only the one of this node is known"
    );
    // It has been there for longer; but who is shown stays, as at one node: the longest live comes first.
    spread(&mut there, "there", &mut here);
    let mut its: Vec<u64> = first.tracks.iter().map(|track| track.track).collect();
    its.sort_unstable();
    assert_eq!(shown(&here, player), relayed(&its));
    there.leave(first_key);
    spread(&mut there, "there", &mut here);
    assert_eq!(
        shown(&here, player).iter().map(|one| one.0).collect::<Vec<_>>(),
        tracks_of(&here, second)
    );
    here.leave(second_key);
    assert!(shown(&here, player).is_empty());
}

#[test]
fn a_publisher_that_moves_between_nodes_is_never_gone() {
    let (mut one, mut two, mut here) = (
        Bench::relaying(1, 1),
        Bench::relaying(1, 2),
        Bench::relaying(1, 3),
    );
    let bob = viewer(&mut here, "bob");
    here.answer_offer(bob);
    let (_, key) = live(&mut one, "alice");
    spread(&mut one, "one", &mut here);
    assert_eq!(here.hear(bob).unwrap(), "PUB_JOIN alice");
    here.answer_offer(bob);
    // The new one is heard of before the old one has gone.
    two.pass(Duration::from_secs(5));
    let (alice, _) = publisher(&mut two, "alice");
    spread(&mut two, "two", &mut here);
    here.answer_offer(bob);
    assert_eq!(shown(&here, bob), relayed(&tracks_of(&two, alice)));
    one.leave(key);
    spread(&mut one, "one", &mut here);
    assert_eq!(shown(&here, bob), relayed(&tracks_of(&two, alice)));
    let heard: Vec<String> = std::iter::from_fn(|| here.hear(bob)).collect();
    assert!(
        heard.iter().all(|text| text.starts_with("SDP_OFFER")),
        "{heard:?}"
    );

    // And home again, to the viewer's own node.
    let (home, _) = publisher(&mut here, "alice");
    here.answer_offer(bob);
    news(&mut here, "two", NodeNews::Gone);
    let routes = shown(&here, bob);
    let local: Vec<_> = tracks_of(&here, home)
        .into_iter()
        .map(|track| (track, WorkerId(0)))
        .collect();
    assert_eq!(routes, local);
    let heard: Vec<String> = std::iter::from_fn(|| here.hear(bob)).collect();
    assert!(
        heard.iter().all(|text| text.starts_with("SDP_OFFER")),
        "{heard:?}"
    );
}

#[test]
fn a_nodes_whole_state_replaces_what_was_known_of_it() {
    let (mut there, mut here) = (Bench::relaying(1, 1), Bench::relaying(1, 2));
    let bob = viewer(&mut here, "bob");
    here.answer_offer(bob);
    let (alice, _) = live(&mut there, "alice");
    let (carol, _) = live(&mut there, "carol");
    let state = |publishers: &[&LivePublisher], viewers| {
        NodeNews::State(NodeState {
            publishers: publishers.iter().map(|one| (*one).clone()).collect(),
            viewers,
        })
    };
    news(&mut here, "there", state(&[&alice], vec![(room(), 7)]));
    assert_eq!(here.hear(bob).unwrap(), "PUB_JOIN alice");
    here.answer_offer(bob);
    news(&mut here, "there", state(&[&alice], vec![(room(), 9)]));
    assert_eq!(here.hear(bob), None, "nothing is new");
    let restarted = LivePublisher {
        since_ms: alice.since_ms + 7,
        ..alice.clone()
    };
    news(&mut here, "there", NodeNews::Published(restarted));
    assert_eq!(here.hear(bob), None, "nor is a clock that differs");
    news(&mut here, "there", state(&[&carol], Vec::new()));
    assert_eq!(here.hear(bob).unwrap(), "PUB_LEFT alice");
    assert_eq!(here.hear(bob).unwrap(), "PUB_JOIN carol");
    assert_eq!(
        offers::msids(&here.answer_offer(bob)),
        ["carol audio0", "carol video0"]
    );
    // Another node's end is nothing to it.
    news(&mut here, "third", NodeNews::Gone);
    assert_eq!(here.hear(bob), None);
    news(&mut here, "there", NodeNews::Gone);
    assert_eq!(here.hear(bob).unwrap(), "PUB_LEFT carol");
    assert_eq!(here.rooms.publishers_elsewhere(), 0);
}

#[test]
fn counts_and_lists_are_those_of_all_nodes() {
    let (mut there, mut here) = (Bench::relaying(1, 1), Bench::relaying(1, 2));
    let (_, key, _) = here.enter(Role::Subscriber, "tv", &offers::player(&["VP8"]));
    publisher(&mut there, "alice");
    viewer(&mut there, "bob");
    viewer(&mut there, "carol");
    spread(&mut there, "there", &mut here);
    news(
        &mut here,
        "third",
        NodeNews::Viewers {
            room: room(),
            count: 40,
        },
    );
    let inspect = |bench: &mut Bench| {
        let request = bench.request();
        bench.act(Action::Inspect { request, key });
        match bench.replies.remove(&request).unwrap() {
            Reply::Found(status) => status,
            other => panic!("{other:?}"),
        }
    };
    let status = inspect(&mut here);
    assert_eq!(
        (status.publishers, status.subscribers),
        (vec!["alice".to_owned()], 43)
    );
    news(&mut here, "third", NodeNews::Gone);
    assert_eq!(inspect(&mut here).subscribers, 3);
}

#[test]
fn chat_reaches_all_nodes_once_and_only_those_where_somebody_is() {
    let (mut there, mut here) = (Bench::relaying(1, 1), Bench::relaying(1, 2));
    let (alice, _) = publisher(&mut there, "alice");
    there.open_chat(alice);
    there.told.clear();
    there.chat(alice, "anybody?");
    assert_eq!(told(&mut there), [], "nobody is elsewhere");
    let bob = viewer(&mut here, "bob");
    here.open_chat(bob);
    spread(&mut here, "here", &mut there);
    there.chat(alice, "hello");
    spread(&mut there, "there", &mut here);
    assert_eq!(here.held[&bob].chat, ["alice hello"]);
    assert_eq!(there.held[&alice].chat, ["alice anybody?", "alice hello"]);
    assert_eq!(told(&mut here), [], "what came from another node isn't sent on");
    let other = NodeNews::Said {
        room: weever_controlplane::names::RoomName::new("nobody").unwrap(),
        text: "x y".into(),
    };
    news(&mut here, "there", other);
    assert_eq!(here.held[&bob].chat.len(), 1);
}

#[test]
fn the_directory_is_told_of_each_change() {
    let mut bench = Bench::relaying(1, 1);
    bench.claim = 17;
    let (session, key) = publisher(&mut bench, "alice");
    bench.claim = 0;
    let claim = Claim {
        role: Role::Publisher,
        room: room(),
        id: id("alice"),
        nonce: 17,
    };
    let own = bench.rooms.own_state();
    let published = own.state.publishers[0].clone();
    assert_eq!(bench.told, [LocalNews::Published(published.clone())]);
    assert_eq!(published.tracks.len(), 2);
    assert_eq!(own.claims, [(claim.clone(), false, session)]);
    let (_, viewer_key, _) = bench.enter(Role::Subscriber, "tv", &offers::player(&["VP8"]));
    bench.told.clear();
    bench.event(Event::SessionSilent {
        session,
        silent: true,
    });
    bench.event(Event::SessionSilent {
        session,
        silent: true,
    });
    let silent = LocalNews::Silent {
        claim: claim.clone(),
        silent: true,
    };
    assert_eq!(std::mem::take(&mut bench.told), [silent]);
    assert!(bench.rooms.own_state().claims[0].1);
    assert_eq!(bench.rooms.own_state().state.viewers, [(room(), 1)]);
    bench.leave(viewer_key);
    let none = LocalNews::Viewers {
        room: room(),
        count: 0,
    };
    assert_eq!(std::mem::take(&mut bench.told), [none]);
    bench.leave(key);
    let gone = LocalNews::Unpublished {
        room: room(),
        id: id("alice"),
    };
    assert_eq!(
        std::mem::take(&mut bench.told),
        [gone, LocalNews::Released(claim)]
    );
    assert_eq!(bench.rooms.own_state(), OwnState::default());
}

#[test]
fn who_lost_its_name_to_another_node_ends() {
    let mut bench = Bench::relaying(1, 1);
    let (session, _) = publisher(&mut bench, "alice");
    bench.act(Action::Evict { session });
    assert!(bench.held.is_empty());
    assert!(bench.list(Role::Publisher).is_empty());
}

#[test]
fn a_claim_outlives_a_control_plane() {
    let mut bench = Bench::relaying(1, 1);
    bench.claim = 17;
    publisher(&mut bench, "alice");
    let before = bench.rooms.own_state();
    let mut bench = another_hello(RoomsConfig::default(), bench, 99, true);
    let after = bench.rooms.own_state();
    assert_eq!(after.claims, before.claims);
    assert_eq!(
        after.state.publishers[0].tracks,
        before.state.publishers[0].tracks
    );
    assert!(told(&mut bench).contains(&NodeNews::Published(after.state.publishers[0].clone())));
}

/// A viewer at `here` of alice at `there`; a new control plane has just met the data plane of `here`.
fn restarted() -> (Bench, LivePublisher, SessionId) {
    let (mut there, mut here) = (Bench::relaying(1, 1), Bench::relaying(1, 2));
    let bob = viewer(&mut here, "bob");
    here.answer_offer(bob);
    let (alice, _) = live(&mut there, "alice");
    news(&mut here, "there", NodeNews::Published(alice.clone()));
    assert_eq!(here.hear(bob).unwrap(), "PUB_JOIN alice");
    here.answer_offer(bob);
    let before = shown(&here, bob);
    assert_eq!(before.len(), 2);
    let here = another_hello(RoomsConfig::default(), here, 99, true);
    assert_eq!(shown(&here, bob), before, "media is left alone");
    (here, alice, bob)
}

#[test]
fn a_new_control_plane_leaves_relayed_media_alone_until_it_knows_the_others() {
    let (mut here, alice, bob) = restarted();
    assert_eq!(here.hear(bob), None);
    let before = shown(&here, bob);
    here.pass(Duration::from_secs(1));
    news(&mut here, "there", NodeNews::Published(alice));
    here.pass(Duration::from_secs(10));
    assert_eq!(here.hear(bob), None, "nothing has changed, so nothing is said");
    assert_eq!(shown(&here, bob), before);
    // And from then on everything as ever.
    news(&mut here, "there", NodeNews::Gone);
    assert_eq!(here.hear(bob).unwrap(), "PUB_LEFT alice");
    assert!(shown(&here, bob).is_empty());
}

#[test]
fn who_does_not_come_back_after_a_restart_is_gone() {
    let (mut here, _, bob) = restarted();
    publisher(&mut here, "carol");
    assert_eq!(here.hear(bob), None, "all of it is told at once");
    here.pass(Duration::from_secs(10));
    assert_eq!(here.hear(bob).unwrap(), "PUB_LEFT alice");
    assert_eq!(here.hear(bob).unwrap(), "PUB_JOIN carol");
    assert_eq!(
        offers::msids(&here.answer_offer(bob)),
        ["carol audio0", "carol video0"]
    );
    assert_eq!(shown(&here, bob).len(), 2);
}

#[test]
fn a_room_spreads_over_data_planes_that_have_a_relay() {
    let mut bench = Bench::relaying(2, 1);
    let (alice, _) = publisher(&mut bench, "alice");
    let near = viewer(&mut bench, "near");
    assert_eq!(
        bench.held[&near].second, bench.held[&alice].second,
        "as long as there is room"
    );
    bench.answer_offer(near);
    let home = if bench.held[&alice].second.is_some() {
        "other"
    } else {
        "shard"
    };
    assert_eq!(bench.drain_shard(home), None);
    let far = viewer(&mut bench, "far");
    assert_ne!(bench.held[&far].second, bench.held[&alice].second);
    assert_eq!(
        offers::msids(&bench.answer_offer(far)),
        ["alice audio0", "alice video0"]
    );
    assert_eq!(shown(&bench, far), relayed(&tracks_of(&bench, alice)));
    assert!(shown(&bench, near).iter().all(|one| one.1 == WorkerId(0)));
    // A publisher on the second one is shown on the first.
    let (bob, _) = publisher(&mut bench, "bob");
    assert_eq!(bench.hear(near).unwrap(), "PUB_JOIN bob");
    bench.answer_offer(near);
    let its = tracks_of(&bench, bob);
    assert!(relayed(&its).iter().all(|one| shown(&bench, near).contains(one)));
}
