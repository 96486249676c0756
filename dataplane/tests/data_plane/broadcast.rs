//! One publisher, viewers on its own and on another worker, and a control plane that is killed on the way.

use std::time::Duration;

use weever_proto::{
    ChannelLabel, Codec, Command, Event, FromShard, Kind, PayloadMap, PayloadType, Receive, Role, RouteId,
    RouteSpec, ToShard, TrackId, WorkerId, WorkerStats,
};
use weever_uring::IoChoice;

use crate::{
    data_plane::{DataPlane, settings, with_io},
    peer::{Peer, VP8, live_for, live_until},
    played_control_plane::{ControlPlane, Talk},
};

const TRACK: TrackId = TrackId(77);
pub(crate) const SOURCE: u32 = 0x1111;
const VIEWERS: usize = 6;
const FRAMES: u64 = 60;
/// Packets of a frame: enough for a burst that is cut by the kernel.
pub(crate) const PARTS: u64 = 8;

pub(crate) fn receive() -> Receive {
    Receive {
        track: TRACK,
        mid: "v".into(),
        kind: Kind::Video,
        payload_types: vec![PayloadType {
            pt: VP8,
            codec: Codec::Vp8,
            clock_rate: 90_000,
            rtx_pt: None,
            nack: true,
            pli: true,
            fir: false,
            transport_cc: false,
        }],
        ssrc: Some(SOURCE),
        rtx_ssrc: None,
    }
}

fn route(viewer: &Peer, ssrc: u32) -> RouteSpec {
    RouteSpec {
        route: RouteId(ssrc.into()),
        session: viewer.spec.session,
        track: TRACK,
        track_worker: WorkerId(0),
        mid: "v".into(),
        kind: Kind::Video,
        ssrc,
        rtx_ssrc: None,
        payload_map: vec![PayloadMap {
            from: VP8,
            to: VP8,
            rtx_to: None,
            codec: Codec::Vp8,
            clock_rate: 90_000,
        }],
        extensions: Vec::new(),
        cname: "alice".into(),
    }
}

fn viewer_ssrc(index: usize) -> u32 {
    0x2000 + u32::try_from(index).unwrap()
}

/// VP8 by its payload descriptor (RFC 7741 §4.2); content and length follow from the number.
fn payload(frame: u64, part: u64) -> Vec<u8> {
    let number = frame * PARTS + part;
    let mut bytes = vec![if part == 0 { 0x10 } else { 0 }, u8::from(frame != 0)];
    bytes.extend(number.to_be_bytes());
    bytes.resize(if part == PARTS - 1 { 333 } else { 1100 }, 0x5a);
    bytes
}

pub(crate) fn film(peers: &mut [Peer], frames: std::ops::Range<u64>) {
    for frame in frames {
        for part in 0..PARTS {
            let timestamp = u32::try_from(frame * 3000).unwrap();
            let marker = part == PARTS - 1;
            peers[0].write(
                SOURCE,
                1000 + frame * PARTS + part,
                timestamp,
                marker,
                payload(frame, part),
            );
        }
        live_for(peers, Duration::from_millis(20));
    }
}

async fn ping(talk: &mut Talk) {
    talk.say(ToShard::Ping(1)).await;
    loop {
        match talk.next().await {
            Some(FromShard::Pong(1)) => return,
            Some(_) => {}
            None => panic!("the data plane hung up"),
        }
    }
}

async fn broadcast(io: IoChoice, name: &str) {
    let mut control = ControlPlane::listening(name);
    let _plane = DataPlane::start(with_io(settings(&control.socket()), io));
    let (mut talk, hello, _) = control.meet().await;

    let mut peers = vec![Peer::new(1, 0, Role::Publisher, &hello)];
    peers[0].spec.receive = vec![receive()];
    peers[0].declare_send(SOURCE);
    talk.create(&peers[0].spec.clone()).await;
    for index in 0..VIEWERS {
        let worker = u16::try_from(index % 2).unwrap();
        let mut viewer = Peer::new(10 + index as u64, worker, Role::Subscriber, &hello);
        viewer.expect(viewer_ssrc(index));
        talk.create(&viewer.spec).await;
        talk.command(Command::PutRoute(Box::new(route(&viewer, viewer_ssrc(index)))))
            .await;
        peers.push(viewer);
    }
    live_until(&mut peers, "everybody connects", |peers| {
        peers.iter().all(Peer::is_open)
    });
    ping(&mut talk).await;

    film(&mut peers, 0..FRAMES / 3);
    ping(&mut talk).await;
    // The control plane is killed. Nobody notices.
    drop(talk);
    control.hang_up();
    film(&mut peers, FRAMES / 3..2 * FRAMES / 3);
    peers[1].say("said to nobody");
    live_for(&mut peers, Duration::from_millis(200));
    // Another one comes.
    control.listen();
    let (mut talk, _, snapshot) = control.meet().await;
    assert_eq!(snapshot.len(), 1 + VIEWERS);
    assert!(
        snapshot
            .iter()
            .all(|session| session.connected && session.channel_open)
    );
    let publisher = snapshot
        .iter()
        .find(|session| session.spec.role == Role::Publisher)
        .unwrap();
    assert_eq!(publisher.live_tracks, [TRACK]);
    assert_eq!(
        snapshot.iter().map(|session| session.routes.len()).sum::<usize>(),
        VIEWERS
    );
    let said = Event::Text {
        session: peers[1].spec.session,
        channel: ChannelLabel::Control,
        text: "said to nobody".into(),
    };
    assert_eq!(talk.event().await, said);
    film(&mut peers, 2 * FRAMES / 3..FRAMES);

    let expected: Vec<Vec<u8>> = (0..FRAMES)
        .flat_map(|frame| (0..PARTS).map(move |part| payload(frame, part)))
        .collect();
    live_until(&mut peers, "everything arrives", |peers| {
        peers[1..]
            .iter()
            .all(|viewer| viewer.packets.len() >= expected.len())
    });
    for viewer in &mut peers[1..] {
        viewer.packets.sort();
        assert!(
            viewer.packets.windows(2).all(|pair| pair[1].0 == pair[0].0 + 1),
            "no gap and none twice"
        );
        let payloads: Vec<_> = viewer
            .packets
            .iter()
            .map(|(_, payload)| payload.clone())
            .collect();
        assert!(payloads == expected, "every payload as it was sent");
    }
    let packets = u64::try_from(expected.len()).unwrap();
    // The first may have been asked for before the last packets.
    statistics(&mut talk).await;
    let (out, sends, of_track) = statistics(&mut talk).await;
    assert!(of_track >= packets);
    assert!(out >= packets * VIEWERS as u64);
    assert!(
        sends < out,
        "bursts of several packets were sent as one: {sends} sends, {out} packets"
    );
}

/// Packets sent, send operations, packets of the track.
async fn statistics(talk: &mut Talk) -> (u64, u64, u64) {
    loop {
        match talk.next().await {
            Some(FromShard::Stats { workers, tracks, .. }) => {
                let sum = |of: fn(&WorkerStats) -> u64| workers.iter().map(of).sum();
                let of_track = tracks.iter().map(|track| track.packets).sum();
                return (
                    sum(|worker| worker.packets_out),
                    sum(|worker| worker.sends),
                    of_track,
                );
            }
            Some(_) => {}
            None => panic!("the data plane hung up"),
        }
    }
}

#[tokio::test]
async fn on_io_uring() {
    broadcast(IoChoice::Uring, "broadcast-uring").await;
}

#[tokio::test]
async fn with_system_calls() {
    broadcast(IoChoice::Syscalls, "broadcast-syscalls").await;
}
