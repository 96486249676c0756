//! A session that is watched, over real sockets.

use std::time::{SystemTime, UNIX_EPOCH};

use weever_proto::{Command, Event, PacketKind, Packets, Role, WatchEnd};

use crate::{
    broadcast::{PARTS, SOURCE, film, receive},
    data_plane::{DataPlane, settings},
    peer::{Peer, live_until},
    played_control_plane::{ControlPlane, Talk},
};

const FRAMES: u64 = 5;

fn unix_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_micros()).unwrap()
}

/// Sequence numbers of the RTP that came, until there are so many; with the batch of each.
async fn told(talk: &mut Talk, packets: u64) -> Vec<(u16, Packets)> {
    let mut all = Vec::new();
    while (all.len() as u64) < packets {
        let Event::Packets(batch) = talk.event().await else {
            continue;
        };
        for record in &batch.records {
            if matches!(record.kind, PacketKind::Rtp(_)) && !record.sent {
                let sequence = u16::from_be_bytes([record.header[2], record.header[3]]);
                all.push((sequence, (*batch).clone()));
            }
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_are_dated_and_told_to_who_asks() {
    let control = ControlPlane::listening("taps");
    let _plane = DataPlane::start(settings(&control.socket()));
    let (mut talk, hello, _) = control.meet().await;
    let mut peers = vec![Peer::new(1, 0, Role::Publisher, &hello)];
    peers[0].spec.receive = vec![receive()];
    peers[0].declare_send(SOURCE);
    talk.create(&peers[0].spec.clone()).await;
    live_until(&mut peers, "it connects", |peers| peers[0].is_open());

    let session = peers[0].spec.session;
    talk.command(Command::Watch { session }).await;
    // Once this is answered the worker has done what it was told before.
    talk.command(Command::CreateSession(Box::new(peers[0].spec.clone())))
        .await;
    while talk.event().await != (Event::SessionReady { session }) {}
    let began = unix_us();
    film(&mut peers, 0..FRAMES);
    let told = told(&mut talk, FRAMES * PARTS).await;
    let ended = unix_us();
    let sequences: Vec<u64> = told.iter().map(|(sequence, _)| u64::from(*sequence)).collect();
    assert_eq!(sequences, (1000..1000 + FRAMES * PARTS).collect::<Vec<_>>());
    for (_, batch) in &told {
        assert_eq!((batch.session, batch.left_out), (session, 0));
        assert!(
            (began..=ended).contains(&batch.at_unix_us),
            "{began} {} {ended}",
            batch.at_unix_us
        );
    }
    talk.command(Command::Unwatch { session }).await;
    let end = Event::WatchEnded {
        session,
        reason: WatchEnd::Unwatched,
    };
    while talk.event().await != end {}
}
