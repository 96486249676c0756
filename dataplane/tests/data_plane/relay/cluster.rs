//! Data planes that share a NATS server, the film that a publisher sends, and what its viewers see of it.

use std::time::{Duration, Instant};

use weever_core::relay::Key;
use weever_dataplane::{RelaySettings, Settings};
use weever_proto::{
    Codec, Command, Event, FromShard, Hello, Kind, PayloadMap, PayloadType, RELAY, Receive, RelayStats, Role,
    RouteId, RouteSpec, SessionSnapshot, ToShard, TrackId, VERSION, Version, WorkerId, WorkerStats,
};

use super::nats::Nats;
use crate::{
    PATIENCE,
    data_plane::{DataPlane, settings},
    peer::{Peer, VP8, VP8_RTX},
    played_control_plane::{ControlPlane, Talk},
};

pub(crate) const TRACK: TrackId = TrackId(0x77);
pub(crate) const SOURCE: u32 = 0x1111;
/// Between a viewer's SSRC and that of its retransmissions.
const RTX: u32 = 0x1000;
/// Packets of a frame.
pub(crate) const PARTS: u64 = 8;

/// A data plane that heard from its control plane so lately has not given it up.
const FRESH: Duration = Duration::from_secs(2);

/// A data plane and its control plane.
pub(crate) struct Node {
    pub(crate) talk: Talk,
    pub(crate) hello: Hello,
    _plane: DataPlane,
    control: ControlPlane,
    /// When it last heard from its control plane.
    heard: Instant,
}

pub(crate) fn relay(nats: &Nats, keys: &[u8]) -> RelaySettings {
    RelaySettings {
        servers: vec![nats.url().parse().unwrap()],
        login: None,
        credentials: None,
        ca_file: None,
        prefix: "weever".into(),
        keys: keys.iter().map(|byte| Key::new([*byte; 32])).collect(),
    }
}

impl Node {
    pub(crate) async fn start(name: &str, relay: RelaySettings) -> Self {
        let control = ControlPlane::listening(name);
        let plane = DataPlane::start(Settings {
            name: name.to_owned(),
            relay: Some(relay),
            ..settings(&control.socket())
        });
        let (talk, hello, _) = control.meet().await;
        assert!(hello.relay);
        Self {
            talk,
            hello,
            _plane: plane,
            control,
            heard: Instant::now(),
        }
    }

    pub(crate) async fn publisher(&mut self) -> Peer {
        let mut peer = Peer::new(1, 0, Role::Publisher, &self.hello);
        peer.spec.receive = vec![receive()];
        peer.declare_send(SOURCE);
        self.create(&peer).await;
        peer
    }

    /// A viewer of the film, which comes from a worker here or from elsewhere.
    pub(crate) async fn viewer(&mut self, number: u16, worker: u16, from: WorkerId) -> Peer {
        let ssrc = 0x2000 + u32::from(number);
        let mut viewer = Peer::new(10 + u64::from(number), worker, Role::Subscriber, &self.hello);
        viewer.expect_with_rtx(ssrc, ssrc + RTX);
        self.create(&viewer).await;
        let route = Box::new(route(&viewer, ssrc, from));
        self.command(Command::PutRoute(route)).await;
        viewer
    }

    async fn create(&mut self, peer: &Peer) {
        let (spec, session) = (Box::new(peer.spec.clone()), peer.spec.session);
        self.command(Command::CreateSession(spec)).await;
        // Of others there may be news.
        while self.talk.event().await != (Event::SessionReady { session }) {}
    }

    /// Commands it; if it has dialled again meanwhile, by the new connection.
    pub(crate) async fn command(&mut self, command: Command) {
        if self.heard.elapsed() > FRESH {
            self.again(VERSION).await;
        }
        self.heard = Instant::now();
        self.talk.command(command).await;
    }

    /// Hangs up, and accepts it again as a control plane of some version.
    pub(crate) async fn again(&mut self, version: Version) -> Vec<SessionSnapshot> {
        // The old connection ends with the talk.
        self.control.hang_up();
        self.control.listen();
        self.talk.hang_up().await;
        self.talk = self.control.accept().await;
        self.talk.hello().await;
        self.talk.say(ToShard::Welcome(version)).await;
        self.heard = Instant::now();
        self.talk.snapshot().await
    }

    /// The next frame. While the test was elsewhere, the data plane may have taken the control plane for dead: it has
    /// dialled again.
    async fn next(&mut self) -> FromShard {
        loop {
            if let Some(frame) = self.talk.next().await {
                return frame;
            }
            (self.talk, _, _) = self.control.meet().await;
            self.heard = Instant::now();
        }
    }

    /// The latest of both.
    pub(crate) async fn stats(&mut self) -> (Vec<WorkerStats>, RelayStats) {
        // What was sent before may be older than what is asked now.
        let asked = Instant::now();
        loop {
            if let FromShard::Stats { workers, relay, .. } = self.next().await
                && asked.elapsed() > Duration::from_millis(1200)
            {
                return (workers, *relay.expect("there is a relay"));
            }
        }
    }

    pub(crate) async fn relay_until(&mut self, what: &str, done: impl Fn(&RelayStats) -> bool) -> RelayStats {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let FromShard::Stats { relay, .. } = self.next().await {
                let relay = *relay.expect("there is a relay");
                if done(&relay) {
                    return relay;
                }
                assert!(Instant::now() < deadline, "{what}: not in time: {relay:?}");
            }
        }
    }

    pub(crate) async fn connected(&mut self) {
        self.relay_until("connected to NATS", |relay| relay.connected)
            .await;
    }
}

pub(crate) fn dropped(relay: &RelayStats, reason: &str) -> u64 {
    let found = relay.drops.iter().find(|(name, _)| name == reason);
    found.unwrap_or_else(|| panic!("no reason {reason}")).1
}

fn receive() -> Receive {
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

pub(crate) fn route(viewer: &Peer, ssrc: u32, from: WorkerId) -> RouteSpec {
    RouteSpec {
        route: RouteId(ssrc.into()),
        session: viewer.spec.session,
        track: TRACK,
        track_worker: from,
        mid: "v".into(),
        kind: Kind::Video,
        ssrc,
        rtx_ssrc: Some(ssrc + RTX),
        payload_map: vec![PayloadMap {
            from: VP8,
            to: VP8,
            rtx_to: Some(VP8_RTX),
            codec: Codec::Vp8,
            clock_rate: 90_000,
        }],
        extensions: Vec::new(),
        cname: "alice".into(),
    }
}

/// The newest packet of the publisher's that a viewer has.
pub(crate) fn newest(viewer: &Peer) -> Option<u64> {
    viewer.packets.iter().map(|(_, bytes)| number_of(bytes)).max()
}

pub(crate) async fn remote_viewer(node: &mut Node, number: u16, worker: u16) -> Peer {
    node.viewer(number, worker, RELAY).await
}

/// VP8 by its payload descriptor (RFC 7741 §4.2); content and length follow from the number.
pub(crate) fn payload(frame: u64, part: u64, keyframe: bool) -> Vec<u8> {
    let number = frame * PARTS + part;
    let mut bytes = vec![if part == 0 { 0x10 } else { 0 }, u8::from(!keyframe)];
    bytes.extend(number.to_be_bytes());
    bytes.resize(if part == PARTS - 1 { 333 } else { 1100 }, 0x5a);
    bytes
}

/// A number that [`payload`] wrote.
pub(crate) fn number_of(payload: &[u8]) -> u64 {
    u64::from_be_bytes(payload[2..10].try_into().unwrap())
}

/// Everybody's peers together.
pub(crate) struct Film {
    pub(crate) peers: Vec<Peer>,
    pub(crate) frame: u64,
    /// That were asked for.
    pub(crate) keyframes: u64,
}

impl Film {
    /// The first is the publisher.
    pub(crate) fn new(peers: Vec<Peer>) -> Self {
        Self {
            peers,
            frame: 0,
            keyframes: 0,
        }
    }

    /// Sends one frame; a keyframe if it was asked for one, or when it begins.
    pub(crate) fn shoot(&mut self) {
        let asked = std::mem::take(&mut self.peers[0].keyframe_wanted);
        self.keyframes += u64::from(asked);
        let keyframe = asked || self.frame == 0;
        for part in 0..PARTS {
            let (frame, marker) = (self.frame, part == PARTS - 1);
            let timestamp = u32::try_from(frame * 3000).unwrap();
            let bytes = payload(frame, part, keyframe);
            self.peers[0].write(SOURCE, 1000 + frame * PARTS + part, timestamp, marker, bytes);
        }
        self.frame += 1;
        self.live_for(Duration::from_millis(20));
    }

    pub(crate) fn live_for(&mut self, time: Duration) {
        crate::peer::live_for(&mut self.peers, time);
    }

    pub(crate) fn connected(&mut self) {
        crate::peer::live_until(&mut self.peers, "everybody connects", |peers| {
            peers.iter().all(Peer::is_open)
        });
    }

    /// Goes on until something is so.
    pub(crate) fn shoot_until(&mut self, what: &str, mut done: impl FnMut(&[Peer]) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(&self.peers) {
            assert!(Instant::now() < deadline, "{what}: not in time");
            self.shoot();
        }
    }

    /// Sends so many frames, and waits until each of these viewers has the last packet.
    pub(crate) fn shoot_for(&mut self, frames: u64, viewers: std::ops::Range<usize>) {
        for _ in 0..frames {
            self.shoot();
        }
        let last = self.frame * PARTS - 1;
        crate::peer::live_until(&mut self.peers, "the last packet arrives", |peers| {
            peers[viewers.clone()]
                .iter()
                .all(|viewer| viewer.packets.iter().any(|(_, bytes)| number_of(bytes) == last))
        });
    }
}

/// From its first to its last packet nothing is missing and nothing came twice, neither in the viewer's own count nor in the
/// publisher's. The first is a keyframe's.
pub(crate) fn is_unbroken(viewer: &mut Peer) {
    viewer.packets.sort();
    let (first, payload) = &viewer.packets[0];
    let number = number_of(payload);
    assert_eq!((number % PARTS, payload[1]), (0, 0), "it begins with a keyframe");
    for (at, (seq, payload)) in viewer.packets.iter().enumerate() {
        assert_eq!(*seq, first + at as u64, "the viewer's count");
        assert_eq!(number_of(payload), number + at as u64, "the publisher's count");
        assert_eq!(
            payload.len(),
            if number_of(payload) % PARTS == PARTS - 1 {
                333
            } else {
                1100
            }
        );
    }
}
