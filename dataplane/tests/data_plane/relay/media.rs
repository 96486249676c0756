//! What a broadcast over several data planes comes to.

use weever_proto::WorkerId;

use super::{
    cluster::{Film, Node, dropped, is_unbroken, relay, remote_viewer},
    nats::Nats,
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
