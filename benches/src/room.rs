//! A room in a worker, with as many viewers as asked: real handshakes, no network between, a clock that moves by the frame.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::media::MediaKind;
use weever_core::wire::rtp::Demux;
use weever_core::{Egress, Identity, Path, SLOT, Worker, WorkerConfig};
use weever_proto::{
    Codec, Command, DtlsRole, Extension, ExtensionKind, IceCredentials, Kind, PayloadMap, PayloadType,
    Receive, Role, RouteId, RouteSpec, SessionId, SessionSpec, TrackId, WorkerId,
};

use crate::client::{self, Client, Outgoing};
use crate::packets::VIDEO_PAYLOAD;

const SERVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)), 8443);
const WORKER: WorkerId = WorkerId(0);
const TRACK: TrackId = TrackId(1);
const SSRC: u32 = 0x1000_0000;
/// 30 frames a second: bursts that follow each other sooner would be paced.
const FRAME_INTERVAL: Duration = Duration::from_millis(33);
/// Long enough for str0m's NACK and for a new budget of retransmissions.
const NACK_AFTER: Duration = Duration::from_millis(150);
/// Long enough for a receiver report (RFC 3550 §6.2, as str0m has it).
const REPORT_AFTER: Duration = Duration::from_secs(2);
/// A handshake takes four turns or so.
const TURNS_MAX: u32 = 10_000;

/// Takes datagrams as a socket would, and keeps or only counts them.
#[derive(Default)]
pub struct Outbox {
    slot: Vec<u8>,
    /// Datagrams are copied to `sent`.
    pub keeps: bool,
    /// What was kept.
    pub sent: Vec<(Path, Vec<u8>)>,
    /// System calls that it would have been.
    pub sends: u64,
    /// Datagrams in them.
    pub datagrams: u64,
}

impl Egress for Outbox {
    fn slot(&mut self) -> Option<&mut [u8]> {
        if self.slot.is_empty() {
            self.slot.resize(SLOT, 0);
        }
        Some(&mut self.slot)
    }

    fn send(&mut self, to: Path, len: usize, segment: usize) {
        self.sends += 1;
        self.datagrams += len.div_ceil(segment) as u64;
        if self.keeps {
            let datagrams = self.slot[..len].chunks(segment);
            self.sent
                .extend(datagrams.map(|datagram| (to, datagram.to_vec())));
        }
    }
}

/// One publisher of one video track, and its viewers.
pub struct Room {
    /// What is measured.
    pub worker: Worker,
    /// What it sends.
    pub outbox: Outbox,
    /// The clock.
    pub now: Instant,
    identity: Arc<Identity>,
    publisher: Client,
    viewers: Vec<Path>,
    talking: Vec<Client>,
    sequence: u64,
}

impl Room {
    /// Everybody is connected, and watches. `talking`: so many of them keep their end, to send RTCP.
    ///
    /// # Panics
    /// When a handshake fails.
    #[must_use]
    pub fn new(viewers: u32, talking: usize) -> Self {
        let now = Instant::now();
        let identity = Identity::generate().expect("a certificate");
        let worker = Worker::new(
            WorkerConfig {
                id: WORKER,
                identity: identity.clone(),
                max_sessions: 10_000,
                egress_window_max: Duration::from_millis(5),
                relay: false,
            },
            now,
        );
        let publisher = Client::new(SessionId(1), address(0), now, "publisher");
        let mut room = Self {
            worker,
            outbox: Outbox::default(),
            now,
            identity: identity.clone(),
            publisher,
            viewers: Vec::new(),
            talking: Vec::new(),
            sequence: 0,
        };
        let fingerprint = identity.fingerprint().clone();
        room.publisher
            .declare_send("v", MediaKind::Video, SSRC, Some(SSRC + 1));
        let nobody = Client::new(SessionId(0), address(0), now, "none");
        let mut publisher = std::mem::replace(&mut room.publisher, nobody);
        room.connect(&mut publisher, Role::Publisher, &fingerprint);
        room.publisher = publisher;
        // The track is live before anybody watches it.
        room.push_burst(1);
        room.flush();
        for number in 1..=viewers {
            let session = SessionId(u64::from(number) + 1);
            let mut viewer = Client::new(session, address(number), now, &number.to_string());
            room.connect(&mut viewer, Role::Subscriber, &fingerprint);
            let route = route(number, session);
            viewer.expect(&route.mid, MediaKind::Video, route.ssrc, route.rtx_ssrc);
            room.command(Command::PutRoute(Box::new(route)));
            room.viewers.push(path(number));
            if room.talking.len() < talking {
                room.talking.push(viewer);
            }
        }
        room.push_keyframe();
        room.flush();
        room
    }

    fn command(&mut self, command: Command) {
        self.worker.handle_command(self.now, command, &mut self.outbox);
        self.drain();
    }

    fn drain(&mut self) {
        while self.worker.poll_event().is_some() {}
        while self.worker.poll_handover().is_some() {}
    }

    /// ICE and DTLS, datagram by datagram.
    fn connect(&mut self, client: &mut Client, role: Role, fingerprint: &weever_proto::Fingerprint) {
        let local = IceCredentials {
            ufrag: format!("server{}", client.session.0),
            password: "server-password-0123456789".into(),
        };
        let spec = spec(client, role, local.clone());
        client.accept(SERVER, &local, fingerprint, true);
        self.command(Command::CreateSession(Box::new(spec)));
        self.outbox.keeps = true;
        let from = Path {
            socket: 0,
            remote: client.addr,
        };
        for turn in 0.. {
            assert!(turn < TURNS_MAX, "a handshake takes for ever");
            client.tick(self.now);
            for datagram in std::mem::take(&mut client.out) {
                self.worker
                    .handle_datagram(self.now, from, &datagram, &mut self.outbox);
            }
            self.worker.flush(self.now, &mut self.outbox);
            self.drain();
            let answers = std::mem::take(&mut self.outbox.sent);
            if answers.is_empty() {
                if client.connected {
                    break;
                }
                self.now += Duration::from_millis(1);
                self.worker.handle_timeout(self.now, &mut self.outbox);
            }
            for (to, datagram) in answers {
                if to == from {
                    client.receive(SERVER, &datagram, self.now);
                }
            }
        }
        self.outbox.keeps = false;
    }

    /// So many other workers have a viewer each for the track.
    pub fn share(&mut self, workers: u16) {
        for id in 1..=workers {
            let config = WorkerConfig {
                id: WorkerId(id),
                identity: self.identity.clone(),
                max_sessions: 1,
                egress_window_max: Duration::ZERO,
                relay: false,
            };
            let mut sibling = Worker::new(config, self.now);
            let number = 1_000_000 + u32::from(id);
            let session = SessionId(u64::from(number));
            let mut viewer = Client::new(session, address(number), self.now, &number.to_string());
            let local = IceCredentials {
                ufrag: format!("server{number}"),
                password: "server-password-0123456789".into(),
            };
            let spec = SessionSpec {
                worker: WorkerId(id),
                ..spec(&mut viewer, Role::Subscriber, local)
            };
            let route = Box::new(route(number, session));
            for command in [Command::CreateSession(Box::new(spec)), Command::PutRoute(route)] {
                sibling.handle_command(self.now, command, &mut self.outbox);
            }
            while let Some((_, handover)) = sibling.poll_handover() {
                self.worker.handle_handover(self.now, handover, &mut self.outbox);
            }
        }
    }

    /// How many messages wait for other workers; they are thrown away.
    pub fn hand_over(&mut self) -> usize {
        std::iter::from_fn(|| self.worker.poll_handover()).count()
    }

    /// What the publisher would send next: packets of one frame, protected.
    pub fn publish(&mut self, packets: u64) -> Vec<Vec<u8>> {
        self.frame(packets, false)
    }

    fn frame(&mut self, packets: u64, keyframe: bool) -> Vec<Vec<u8>> {
        self.now += FRAME_INTERVAL;
        for part in 0..packets {
            let mut payload = vec![0x5A; VIDEO_PAYLOAD];
            // RFC 7741 §4.2: start of a frame; the first byte of the frame says whether it is a keyframe.
            payload[0] = if part == 0 { 0x10 } else { 0 };
            payload[1] = u8::from(!keyframe);
            let packet = Outgoing {
                seq: self.sequence,
                timestamp: 0,
                pt: client::VP8,
                marker: part + 1 == packets,
                payload,
                ..Outgoing::default()
            };
            self.sequence += 1;
            self.publisher.write(SSRC, packet, self.now);
        }
        let Self {
            worker,
            outbox,
            now,
            publisher,
            ..
        } = self;
        let all = std::mem::take(&mut publisher.out);
        let (frame, others): (Vec<_>, Vec<_>) = all
            .into_iter()
            .partition(|datagram| Demux::of(datagram) == Demux::Rtp);
        // Connectivity checks and reports go on meanwhile, and are nobody's to measure.
        for datagram in others {
            answer(worker, outbox, *now, publisher, &datagram);
        }
        frame
    }

    /// The worker takes a frame of so many packets; nothing is forwarded yet.
    pub fn push_burst(&mut self, packets: u64) {
        let datagrams = self.publish(packets);
        self.take(&datagrams);
    }

    fn push_keyframe(&mut self) {
        let datagrams = self.frame(1, true);
        self.take(&datagrams);
    }

    /// The worker takes what the publisher sent.
    pub fn take(&mut self, datagrams: &[Vec<u8>]) {
        for datagram in datagrams {
            self.take_from(path(0), datagram);
        }
    }

    /// The worker takes what somebody sent.
    pub fn take_from(&mut self, from: Path, datagram: &[u8]) {
        self.worker
            .handle_datagram(self.now, from, datagram, &mut self.outbox);
    }

    /// The worker forwards what it has, and nobody hears what else it says.
    pub fn flush(&mut self) {
        self.forward();
        self.drain();
    }

    /// The worker forwards what it has.
    pub fn forward(&mut self) {
        self.worker.flush(self.now, &mut self.outbox);
        self.worker.end_turn(self.now, self.now);
    }

    /// Sends a frame of which every talking viewer misses each `every`th packet. Returns the RTCP by which they say so;
    /// the worker has not seen it yet. The last packet has to come: it shows that others are missing.
    ///
    /// # Panics
    /// When a viewer doesn't ask for what it lacks.
    pub fn lose(&mut self, packets: u64, every: usize) -> Vec<(Path, Vec<u8>)> {
        let sent = self.send_kept(packets);
        for viewer in &mut self.talking {
            deliver(&sent, viewer, self.now, |number| (number + 1) % every != 0);
        }
        let asked = self.collect_rtcp(NACK_AFTER, |_, _| {});
        for viewer in &mut self.talking {
            // They come late, so that it doesn't ask again.
            deliver(&sent, viewer, self.now, |number| (number + 1) % every == 0);
        }
        asked
    }

    /// Sends a frame to talking viewers. Returns what they report of it: RR, and transport-wide feedback.
    ///
    /// # Panics
    /// When a viewer has nothing to report.
    pub fn report(&mut self, packets: u64) -> Vec<(Path, Vec<u8>)> {
        let sent = self.send_kept(packets);
        for viewer in &mut self.talking {
            deliver(&sent, viewer, self.now, |_| true);
        }
        self.collect_rtcp(REPORT_AFTER, |_, _| {})
    }

    /// What talking viewers send when each wants a keyframe.
    ///
    /// # Panics
    /// When a viewer doesn't ask.
    pub fn plead(&mut self) -> Vec<(Path, Vec<u8>)> {
        self.collect_rtcp(Duration::ZERO, |viewer, now| {
            let number = u32::try_from(viewer.session.0 - 1).expect("few viewers");
            viewer.request_keyframe(route(number, viewer.session).ssrc, now);
        })
    }

    fn send_kept(&mut self, packets: u64) -> Vec<(Path, Vec<u8>)> {
        self.push_burst(packets);
        self.outbox.keeps = true;
        self.flush();
        self.outbox.keeps = false;
        std::mem::take(&mut self.outbox.sent)
    }

    /// What talking viewers send within `time` after `act`. Connectivity checks go on meanwhile.
    fn collect_rtcp(&mut self, time: Duration, act: impl Fn(&mut Client, Instant)) -> Vec<(Path, Vec<u8>)> {
        self.wait(time);
        let Self {
            worker,
            outbox,
            now,
            talking,
            ..
        } = self;
        let mut said = Vec::new();
        for viewer in talking {
            act(viewer, *now);
            viewer.tick(*now);
            let from = Path {
                socket: 0,
                remote: viewer.addr,
            };
            let before = said.len();
            for datagram in std::mem::take(&mut viewer.out) {
                if Demux::of(&datagram) == Demux::Rtcp {
                    said.push((from, datagram));
                } else {
                    answer(worker, outbox, *now, viewer, &datagram);
                }
            }
            assert!(said.len() > before, "a viewer that says nothing");
        }
        said
    }

    /// Where the viewers are.
    #[must_use]
    pub fn viewers(&self) -> &[Path] {
        &self.viewers
    }

    /// Lets time pass, so that what is old is forgotten.
    pub fn wait(&mut self, time: Duration) {
        self.now += time;
    }
}

/// Connectivity checks and the like: the worker takes one and the client what is said to it.
fn answer(worker: &mut Worker, outbox: &mut Outbox, now: Instant, client: &mut Client, datagram: &[u8]) {
    let from = Path {
        socket: 0,
        remote: client.addr,
    };
    outbox.keeps = true;
    worker.handle_datagram(now, from, datagram, outbox);
    outbox.keeps = false;
    for (_, answer) in std::mem::take(&mut outbox.sent) {
        client.receive(SERVER, &answer, now);
    }
}

/// Hands a viewer those of its datagrams whose number is wanted.
fn deliver(sent: &[(Path, Vec<u8>)], viewer: &mut Client, now: Instant, wanted: impl Fn(usize) -> bool) {
    let (to, mut number) = (viewer.addr, 0);
    for (_, datagram) in sent.iter().filter(|(path, _)| path.remote == to) {
        if wanted(number) {
            viewer.receive(SERVER, datagram, now);
        }
        number += 1;
    }
}

fn address(number: u32) -> SocketAddr {
    let [_, a, b, c] = number.to_be_bytes();
    SocketAddr::from(([10, a + 1, b, c], 5000))
}

/// Where viewer `number` is.
#[must_use]
pub fn path(number: u32) -> Path {
    Path {
        socket: 0,
        remote: address(number),
    }
}

fn extensions() -> Vec<Extension> {
    [
        (client::MID_ID, ExtensionKind::Mid),
        (client::AUDIO_LEVEL_ID, ExtensionKind::AudioLevel),
        (client::ROTATION_ID, ExtensionKind::VideoOrientation),
        (client::TWCC_ID, ExtensionKind::TransportCc),
    ]
    .map(|(id, kind)| Extension { id, kind })
    .to_vec()
}

fn spec(client: &mut Client, role: Role, local: IceCredentials) -> SessionSpec {
    let track = Receive {
        track: TRACK,
        mid: "v".into(),
        kind: Kind::Video,
        payload_types: vec![PayloadType {
            pt: client::VP8,
            codec: Codec::Vp8,
            clock_rate: 90_000,
            rtx_pt: Some(client::VP8_RTX),
            nack: true,
            pli: true,
            fir: true,
            transport_cc: true,
        }],
        ssrc: Some(SSRC),
        rtx_ssrc: Some(SSRC + 1),
    };
    SessionSpec {
        session: client.session,
        worker: WORKER,
        role,
        local,
        remote: client.credentials(),
        fingerprint: client.fingerprint(),
        dtls_role: DtlsRole::Server,
        data_channel: false,
        receive: if role == Role::Publisher {
            vec![track]
        } else {
            Vec::new()
        },
        extensions: extensions(),
        state: Vec::new(),
    }
}

/// How viewer `number` is shown the track.
#[must_use]
pub fn route(number: u32, session: SessionId) -> RouteSpec {
    let ssrc = 0x2000_0000 + number * 2;
    RouteSpec {
        route: RouteId(u64::from(number)),
        session,
        track: TRACK,
        track_worker: WORKER,
        mid: "v".into(),
        kind: Kind::Video,
        ssrc,
        rtx_ssrc: Some(ssrc + 1),
        payload_map: vec![PayloadMap {
            from: client::VP8,
            to: client::VP8,
            rtx_to: Some(client::VP8_RTX),
            codec: Codec::Vp8,
            clock_rate: 90_000,
        }],
        extensions: extensions(),
        cname: "alice".into(),
    }
}
