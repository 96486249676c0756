//! Somebody else has found the bus.

use std::time::Duration;

use weever_proto::relay::{BurstWriter, Form, Message, RelayPacket, Says, Stamp};

use super::{
    cluster::{Film, Node, TRACK, dropped, is_unbroken, relay, remote_viewer},
    nats::{Client, Nats},
};

fn plain(message: &Message<'_>) -> Vec<u8> {
    let mut bytes = Form::plain_head().to_vec();
    message.emit(&mut bytes);
    bytes
}

/// Whatever is said on the subjects, the stream goes on.
#[tokio::test]
async fn nonsense_on_the_subjects_is_counted_and_changes_nothing() {
    let nats = Nats::running("nonsense", "");
    let mut a = Node::start("nonsense-a", relay(&nats, &[])).await;
    let mut b = Node::start("nonsense-b", relay(&nats, &[])).await;
    a.connected().await;
    b.connected().await;
    let mut film = Film::new(vec![a.publisher().await, remote_viewer(&mut b, 1, 0).await]);
    film.connected();
    film.shoot_until("the viewer sees something", |peers| !peers[1].packets.is_empty());

    let mut client = Client::of(&nats);
    let (media, up) = (
        format!("weever.media.{:016x}", TRACK.0),
        format!("weever.up.{:016x}", TRACK.0),
    );
    let stamp = Stamp {
        track: TRACK,
        source: 1,
        number: 0,
    };
    let elsewhere = Stamp {
        track: weever_proto::TrackId(1),
        ..stamp
    };
    let (follow, report) = (
        Says::Follow { lease_ms: u16::MAX },
        Says::SenderReport { ntp: 0, timestamp: 0 },
    );
    let mut impossible = Form::plain_head().to_vec();
    let source = u64::MAX;
    let mut writer = BurstWriter::new(&mut impossible, Stamp { source, ..stamp }, 0, usize::MAX);
    assert!(writer.push(&RelayPacket {
        seq: u64::MAX,
        timestamp: 0,
        pt: 96,
        marker: false,
        keyframe: false,
        extensions: &[],
        payload: &[0; 20],
    }));
    writer.finish();
    let junk: Vec<Vec<u8>> = vec![
        Vec::new(),
        vec![0xff; 100_000],
        vec![1, 0],
        vec![1, 1, 2, 3],
        impossible[..impossible.len() - 1].to_vec(),
        plain(&Message {
            stamp: elsewhere,
            says: follow,
        }),
        // The follower's words at the origin's place and the other way round.
        plain(&Message {
            stamp,
            says: Says::RequestKeyframe,
        }),
        plain(&Message { stamp, says: report }),
    ];
    for bytes in &junk {
        for subject in [&media, &up] {
            client.publish(subject, bytes);
        }
        film.shoot();
    }
    // Packets with counts that can't be, of an origin newer than any.
    let impossible_too = {
        let mut bytes = impossible.clone();
        bytes.extend([0]);
        bytes
    };
    client.publish(&media, &impossible_too);
    client.flush();
    film.shoot_for(20, 1..2);
    is_unbroken(&mut film.peers[1]);
    let of_b = b
        .relay_until("the viewers' side has counted", |relay| {
            dropped(relay, "malformed") >= 6
        })
        .await;
    assert!(
        dropped(&of_b, "wrong_track") >= 1 && dropped(&of_b, "old") >= 1,
        "{of_b:?}"
    );
    let of_a = a
        .relay_until("the origin's side has counted", |relay| {
            dropped(relay, "malformed") >= 6
        })
        .await;
    assert!(
        dropped(&of_a, "wrong_track") >= 1 && dropped(&of_a, "not_following") >= 1,
        "{of_a:?}"
    );
    assert!(of_a.connected && of_b.connected);
}

/// With a key, what was recorded can't be played again, on no subject.
#[tokio::test]
async fn what_was_recorded_is_not_taken_again() {
    let nats = Nats::running("replay", "");
    let mut a = Node::start("replay-a", relay(&nats, &[5])).await;
    let mut b = Node::start("replay-b", relay(&nats, &[5])).await;
    a.connected().await;
    b.connected().await;
    let mut ear = Client::of(&nats);
    let (media, up) = (
        format!("weever.media.{:016x}", TRACK.0),
        format!("weever.up.{:016x}", TRACK.0),
    );
    for subject in [&media, &up] {
        ear.subscribe(subject);
    }
    let mut film = Film::new(vec![a.publisher().await, remote_viewer(&mut b, 1, 0).await]);
    film.connected();
    film.shoot_until("the viewer sees something", |peers| !peers[1].packets.is_empty());
    film.shoot_for(20, 1..2);
    let heard = ear.heard();
    let of = |subject: &str| heard.iter().filter(|(of, _)| of == subject).count();
    assert!(of(&media) >= 20 && of(&up) >= 1);
    let mut mouth = Client::of(&nats);
    for (subject, bytes) in &heard {
        mouth.publish(subject, bytes);
        // On the other subject it is not even read.
        mouth.publish(if *subject == media { &up } else { &media }, bytes);
    }
    mouth.flush();
    film.live_for(Duration::from_millis(100));
    film.shoot_for(20, 1..2);
    is_unbroken(&mut film.peers[1]);
    let recorded = of(&media) as u64;
    let of_b = b
        .relay_until("replays are counted", |relay| dropped(relay, "old") >= recorded)
        .await;
    assert!(dropped(&of_b, "forged") >= 1, "{of_b:?}");
    let of_a = a
        .relay_until("at the origin too", |relay| dropped(relay, "old") >= 1)
        .await;
    assert!(dropped(&of_a, "forged") >= recorded, "{of_a:?}");
}

/// One that subscribes to everything and reads nothing is its own trouble.
#[tokio::test]
async fn a_slow_consumer_slows_nobody() {
    let nats = Nats::running(
        "slow",
        "max_payload: 32768\nmax_pending: 65536\nwrite_deadline: \"1s\"",
    );
    let mut a = Node::start("slow-a", relay(&nats, &[])).await;
    let mut b = Node::start("slow-b", relay(&nats, &[])).await;
    a.connected().await;
    b.connected().await;
    let mut idler = Client::of(&nats);
    idler.subscribe("weever.>");
    let mut film = Film::new(vec![a.publisher().await, remote_viewer(&mut b, 1, 0).await]);
    film.connected();
    film.shoot_until("the viewer sees something", |peers| !peers[1].packets.is_empty());
    film.shoot_until("NATS lets go of the one that doesn't read", |_| {
        // What the sockets hold is filled by somebody else, so that it doesn't take minutes.
        let mut filler = Client::of(&nats);
        for _ in 0..20 {
            filler.publish("weever.filler", &[0; 30_000]);
        }
        filler.flush();
        nats.figure("slow_consumers") > 0
    });
    film.shoot_for(20, 1..2);
    is_unbroken(&mut film.peers[1]);
    drop(idler);
}
