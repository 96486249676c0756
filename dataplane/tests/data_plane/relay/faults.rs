//! NATS is absent, dies, hangs, or doesn't let us in. Whoever watches where the publisher is never notices.

use std::time::{Duration, Instant};

use weever_dataplane::Login;
use weever_proto::WorkerId;

use super::{
    cluster::{Film, Node, PARTS, dropped, is_unbroken, newest, relay, remote_viewer},
    nats::Nats,
};

/// Publisher and a viewer at one, a viewer at the other.
async fn stage(a: &mut Node, b: &mut Node) -> Film {
    let local = a.viewer(0, 1, WorkerId(0)).await;
    let remote = remote_viewer(b, 1, 0).await;
    Film::new(vec![a.publisher().await, local, remote])
}

/// What went wrong is over: the remote viewer sees what is sent now, and the local one saw everything.
fn is_well(film: &mut Film) {
    let since = film.frame * PARTS;
    film.shoot_until("the remote viewer sees the stream again", |peers| {
        newest(&peers[2]).is_some_and(|number| number >= since)
    });
    film.shoot_for(20, 1..3);
    is_unbroken(&mut film.peers[1]);
    // From the keyframe on with which it began anew, the remote one's is whole too.
    let remote = &mut film.peers[2];
    remote
        .packets
        .retain(|(_, bytes)| super::cluster::number_of(bytes) >= since);
    let keyframe =
        |(_, bytes): &(u64, Vec<u8>)| bytes[1] == 0 && super::cluster::number_of(bytes).is_multiple_of(PARTS);
    remote.packets.sort();
    let first = remote.packets.iter().position(keyframe).expect("a keyframe came");
    remote.packets.drain(..first);
    is_unbroken(remote);
}

/// Frames for so long; whether the remote viewer saw none of their end.
fn is_cut_off(film: &mut Film, time: Duration) -> bool {
    let end = Instant::now() + time;
    while Instant::now() < end {
        film.shoot();
    }
    let half = film.frame * PARTS;
    for _ in 0..10 {
        film.shoot();
    }
    newest(&film.peers[2]).is_none_or(|number| number < half)
}

#[tokio::test]
async fn nats_is_killed_under_load_and_comes_back() {
    let mut nats = Nats::running("killed", "");
    let mut a = Node::start("killed-a", relay(&nats, &[7])).await;
    let mut b = Node::start("killed-b", relay(&nats, &[7])).await;
    a.connected().await;
    b.connected().await;
    let mut film = stage(&mut a, &mut b).await;
    film.connected();
    film.shoot_until("both see something", |peers| {
        peers[1..].iter().all(|viewer| !viewer.packets.is_empty())
    });
    nats.kill();
    assert!(is_cut_off(&mut film, Duration::from_millis(500)));
    let away = a
        .relay_until("the loss is noticed", |relay| !relay.connected)
        .await;
    assert!(dropped(&away, "disconnected") > 0, "{away:?}");
    nats.start();
    is_well(&mut film);
    for node in [&mut a, &mut b] {
        let relay = node.relay_until("it is back", |relay| relay.connected).await;
        assert_eq!(relay.connects, 2, "{relay:?}");
    }
}

/// For longer than leases last: whoever followed has to say so again.
#[tokio::test]
async fn nats_comes_back_after_leases_are_over() {
    let mut nats = Nats::running("leases", "");
    let mut a = Node::start("leases-a", relay(&nats, &[])).await;
    let mut b = Node::start("leases-b", relay(&nats, &[])).await;
    a.connected().await;
    b.connected().await;
    let mut film = stage(&mut a, &mut b).await;
    film.connected();
    film.shoot_until("the remote viewer sees something", |peers| {
        !peers[2].packets.is_empty()
    });
    nats.kill();
    assert!(is_cut_off(&mut film, Duration::from_secs(7)));
    a.relay_until("nobody follows any more", |relay| relay.tracks_out == 0)
        .await;
    nats.start();
    is_well(&mut film);
}

#[tokio::test]
async fn nats_is_absent_at_the_start() {
    let mut nats = Nats::absent("absent", "");
    let mut a = Node::start("absent-a", relay(&nats, &[])).await;
    let mut b = Node::start("absent-b", relay(&nats, &[])).await;
    let mut film = stage(&mut a, &mut b).await;
    film.connected();
    film.shoot_until("the local viewer sees something", |peers| {
        !peers[1].packets.is_empty()
    });
    assert!(is_cut_off(&mut film, Duration::from_millis(200)) && film.peers[2].packets.is_empty());
    let (_, relay) = a.stats().await;
    assert!(
        !relay.connected && relay.connects == 0 && relay.messages_out == 0,
        "{relay:?}"
    );
    nats.start();
    is_well(&mut film);
}

/// The server is there and does nothing. What it holds back is late, and then lost; nobody waits for it.
#[tokio::test]
async fn nats_hangs() {
    let nats = Nats::running("hangs", "");
    let mut a = Node::start("hangs-a", relay(&nats, &[])).await;
    let mut b = Node::start("hangs-b", relay(&nats, &[])).await;
    a.connected().await;
    b.connected().await;
    let mut film = stage(&mut a, &mut b).await;
    film.connected();
    film.shoot_until("the remote viewer sees something", |peers| {
        !peers[2].packets.is_empty()
    });
    nats.signal("STOP");
    assert!(is_cut_off(&mut film, Duration::from_secs(2)));
    a.relay_until("a server that says nothing is given up", |relay| !relay.connected)
        .await;
    film.shoot();
    nats.signal("CONT");
    is_well(&mut film);
}

#[tokio::test]
async fn a_wrong_password_keeps_one_out_and_nobody_else() {
    let nats = Nats::running("password", "authorization { user: weever, password: right }");
    let with = |password: &str| {
        let login = Some(Login::Password("weever".into(), password.into()));
        weever_dataplane::RelaySettings {
            login,
            ..relay(&nats, &[])
        }
    };
    let mut a = Node::start("password-a", with("right")).await;
    let mut b = Node::start("password-b", with("right")).await;
    let mut outside = Node::start("password-c", with("wrong")).await;
    a.connected().await;
    b.connected().await;
    let mut film = stage(&mut a, &mut b).await;
    film.peers.push(remote_viewer(&mut outside, 2, 0).await);
    film.connected();
    film.shoot_until("the remote viewer sees something", |peers| {
        !peers[2].packets.is_empty()
    });
    film.shoot_for(20, 1..3);
    assert!(film.peers[3].packets.is_empty());
    let (_, relay) = outside.stats().await;
    assert!(!relay.connected && relay.connects == 0, "{relay:?}");
    assert!(nats.monitored("/varz").contains("\"connections\": 2"));
}

/// Who has another key hears nothing and says nothing, and it is counted at both ends.
#[tokio::test]
async fn a_wrong_relay_key_is_no_key() {
    let nats = Nats::running("key", "");
    let mut a = Node::start("key-a", relay(&nats, &[1])).await;
    let mut b = Node::start("key-b", relay(&nats, &[2, 1])).await;
    let mut wrong = Node::start("key-c", relay(&nats, &[3])).await;
    let mut none = Node::start("key-d", relay(&nats, &[])).await;
    for node in [&mut a, &mut b, &mut wrong, &mut none] {
        node.connected().await;
    }
    let mut film = Film::new(vec![a.publisher().await]);
    for node in [&mut wrong, &mut none] {
        film.peers.push(remote_viewer(node, 1, 0).await);
    }
    film.connected();
    for _ in 0..20 {
        film.shoot();
    }
    a.relay_until("wishes are refused", |relay| {
        dropped(relay, "unknown_key") > 0 && dropped(relay, "unsealed") > 0 && relay.messages_out == 0
    })
    .await;
    // One in the middle of a rotation seals by a key that the origin doesn't have yet: its wishes go unheard as well.
    let middle = Film::new(vec![remote_viewer(&mut b, 1, 0).await]);
    film.peers.extend(middle.peers);
    for _ in 0..20 {
        film.shoot();
    }
    let (_, relay) = a.stats().await;
    assert_eq!(relay.messages_out, 0);
    // A viewer by whom it flows: the others get every message and can't read it.
    let mut right = Node::start("key-e", self::relay(&nats, &[1])).await;
    right.connected().await;
    film.peers.push(remote_viewer(&mut right, 1, 0).await);
    film.connected();
    film.shoot_until("the one with the key sees something", |peers| {
        !peers[4].packets.is_empty()
    });
    film.shoot_until("the one with both keys too", |peers| !peers[3].packets.is_empty());
    film.shoot_for(20, 3..5);
    assert!(film.peers[1..3].iter().all(|viewer| viewer.packets.is_empty()));
    let (_, relay) = wrong.stats().await;
    assert!(
        dropped(&relay, "unknown_key") >= 20 && relay.packets_in == 0,
        "{relay:?}"
    );
    let (_, relay) = none.stats().await;
    assert!(
        dropped(&relay, "sealed") >= 20 && relay.packets_in == 0,
        "{relay:?}"
    );
}
