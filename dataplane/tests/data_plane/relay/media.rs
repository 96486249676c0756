//! What a broadcast over several data planes comes to.

use weever_proto::{Command, Event, RELAY, Refusal, Role, Version, WorkerId, WorkerStats};

use super::{
    cluster::{Film, Node, dropped, is_unbroken, number_of, relay, remote_viewer, route},
    nats::Nats,
};
use crate::{
    data_plane::{DataPlane, settings},
    peer::{Peer, live_until},
    played_control_plane::ControlPlane,
};

/// A publisher at one data plane, viewers there and at two others, on both workers of each.
async fn broadcast(name: &str, keys: &[u8]) {
    let nats = Nats::running(name, "");
    let mut nodes = Vec::new();
    for node in ["a", "b", "c"] {
        nodes.push(Node::start(&format!("{name}-{node}"), relay(&nats, keys)).await);
    }
    for node in &mut nodes {
        node.connected().await;
    }
    let mut peers = vec![nodes[0].publisher().await];
    peers.push(nodes[0].viewer(0, 1, WorkerId(0)).await);
    for number in 1..=8 {
        let node = &mut nodes[1 + usize::from(number % 2)];
        peers.push(remote_viewer(node, number, number / 2 % 2).await);
    }
    let everybody = peers.len();
    let mut film = Film::new(peers);
    film.connected();
    film.shoot_until("everybody sees something", |peers| {
        peers[1..].iter().all(|viewer| !viewer.packets.is_empty())
    });
    let (before, sent_before) = (nats.figure("in_msgs"), nats.figure("out_msgs"));
    film.shoot_for(60, 1..everybody);
    let (came, left) = (
        nats.figure("in_msgs") - before,
        nats.figure("out_msgs") - sent_before,
    );
    for viewer in &mut film.peers[1..] {
        is_unbroken(viewer);
    }
    // Whatever came to the server left it once for each of the two data planes, and not for each of their eight viewers. Wishes,
    // of which there are few, go to one only.
    assert!(came >= 60, "{came} messages came");
    assert!(
        left <= 2 * came && left > came,
        "{left} messages left of {came} that came"
    );
    let subjects = nats.monitored("/subsz?subs=1");
    assert_eq!(
        subjects.matches("weever.media.0000000000000077").count(),
        2,
        "{subjects}"
    );
    assert_eq!(
        subjects.matches("weever.up.0000000000000077").count(),
        1,
        "{subjects}"
    );

    let (_, origin) = nodes[0].stats().await;
    assert_eq!(
        (origin.tracks_offered, origin.tracks_out, origin.tracks_in),
        (1, 1, 0)
    );
    assert!(
        origin.packets_out >= 480 && origin.messages_out < origin.packets_out,
        "{origin:?}"
    );
    for node in &mut nodes[1..] {
        let (_, relay) = node.stats().await;
        assert_eq!(
            (relay.tracks_offered, relay.tracks_out, relay.tracks_in),
            (0, 0, 1)
        );
        assert!(relay.packets_in >= 480 && relay.lost == 0, "{relay:?}");
        assert!(
            relay.delays.iter().sum::<u64>() > 0 && relay.clock_behind == 0,
            "{relay:?}"
        );
        assert!(relay.drops.iter().all(|(_, count)| *count == 0), "{relay:?}");
    }
    assert_eq!(dropped(&origin, "disconnected"), 0);
}

#[tokio::test]
async fn each_data_plane_gets_the_stream_once_however_many_watch_there() {
    broadcast("plain", &[]).await;
}

#[tokio::test]
async fn the_same_sealed() {
    broadcast("sealed", &[1, 2]).await;
}

/// A viewer that comes late gets a keyframe of the publisher's, which is elsewhere, and one that loses packets gets them again from
/// where it is.
#[tokio::test]
async fn keyframes_are_asked_of_the_publisher_and_lost_packets_of_the_data_plane() {
    let nats = Nats::running("requests", "");
    let mut a = Node::start("requests-a", relay(&nats, &[])).await;
    let mut b = Node::start("requests-b", relay(&nats, &[])).await;
    a.connected().await;
    b.connected().await;
    let first = remote_viewer(&mut b, 1, 0).await;
    let mut film = Film::new(vec![a.publisher().await, first]);
    film.connected();
    film.shoot_until("the first viewer sees something", |peers| {
        !peers[1].packets.is_empty()
    });
    film.shoot_for(20, 1..2);
    let asked = film.keyframes;

    let late = remote_viewer(&mut b, 2, 1).await;
    film.peers.push(late);
    film.shoot_until("the late viewer sees something", |peers| {
        !peers[2].packets.is_empty()
    });
    assert!(film.keyframes > asked, "the publisher was asked");

    film.peers[1].lossy = 10;
    film.shoot_for(60, 2..3);
    film.peers[1].lossy = 0;
    film.shoot_for(20, 1..3);
    let all = film.frame * super::cluster::PARTS;
    live_until(&mut film.peers, "everything lost comes again", |peers| {
        let first = peers[1].packets.iter().map(|(_, bytes)| number_of(bytes)).min();
        first.is_some_and(|first| peers[1].packets.len() as u64 >= all - first)
    });
    film.peers[1].packets.sort();
    film.peers[1].packets.dedup();
    for viewer in &mut film.peers[1..] {
        is_unbroken(viewer);
    }
    let sum = |workers: &[WorkerStats], of: fn(&WorkerStats) -> u64| workers.iter().map(of).sum::<u64>();
    let (workers, relay) = b.stats().await;
    assert!(sum(&workers, |worker| worker.rtx_packets) >= 40, "{workers:?}");
    assert!(relay.keyframe_requests >= 1, "{relay:?}");
    let (workers, _) = a.stats().await;
    assert_eq!(sum(&workers, |worker| worker.nacked_packets), 0, "{workers:?}");
}

/// Nobody there watches any more: nothing is sent there any more, and nothing at all when nobody anywhere does.
#[tokio::test]
async fn a_stream_flows_only_while_somebody_watches_it() {
    let nats = Nats::running("interest", "");
    let mut a = Node::start("interest-a", relay(&nats, &[])).await;
    let mut b = Node::start("interest-b", relay(&nats, &[])).await;
    a.connected().await;
    b.connected().await;
    let mut film = Film::new(vec![a.publisher().await]);
    film.connected();
    film.shoot_until("the publisher's media flows", |_| true);
    for _ in 0..10 {
        film.shoot();
    }
    let (_, idle) = a.stats().await;
    assert_eq!((idle.tracks_offered, idle.messages_out), (1, 0), "{idle:?}");

    let viewer = remote_viewer(&mut b, 1, 0).await;
    let session = viewer.spec.session;
    film.peers.push(viewer);
    film.connected();
    film.shoot_until("the viewer sees something", |peers| !peers[1].packets.is_empty());
    let viewer = film.peers.pop().unwrap();
    b.command(Command::CloseSession { session }).await;
    b.relay_until("the track is left", |relay| relay.tracks_in == 0)
        .await;
    a.relay_until("nobody follows", |relay| relay.tracks_out == 0)
        .await;
    drop(viewer);
    let (_, before) = a.stats().await;
    for _ in 0..10 {
        film.shoot();
    }
    let (_, after) = a.stats().await;
    assert_eq!(after.messages_out, before.messages_out, "{after:?}");
}

/// Without a relay a route from elsewhere is refused, in words.
#[tokio::test]
async fn a_data_plane_without_a_relay_says_so() {
    let control = ControlPlane::listening("no-relay");
    let _plane = DataPlane::start(settings(&control.socket()));
    let (mut talk, hello, _) = control.meet().await;
    assert!(!hello.relay);
    let viewer = Peer::new(10, 0, Role::Subscriber, &hello);
    talk.create(&viewer.spec).await;
    let route = Box::new(route(&viewer, 5, RELAY));
    talk.command(Command::PutRoute(route)).await;
    let Event::CommandRefused { reason, detail, .. } = talk.event().await else {
        panic!("not refused");
    };
    assert_eq!(reason, Refusal::Invalid);
    assert!(detail.contains("no relay"), "{detail}");
}

/// A control plane that doesn't know the relay is spared what it can't read.
#[tokio::test]
async fn routes_of_the_relay_are_left_out_for_an_older_control_plane() {
    let nats = Nats::absent("older-relay", "");
    let mut a = Node::start("older-relay", relay(&nats, &[])).await;
    let viewer = remote_viewer(&mut a, 1, 0).await;
    for (minor, routes) in [(2, 0), (3, 1)] {
        let version = Version { major: 1, minor };
        let snapshot = a.again(version).await;
        let held: Vec<usize> = snapshot.iter().map(|session| session.routes.len()).collect();
        assert_eq!(held, [routes], "1.{minor}");
        assert_eq!(snapshot[0].spec.session, viewer.spec.session);
    }
}
