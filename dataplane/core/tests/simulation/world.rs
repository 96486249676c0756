//! Workers, clients, the network between them and the clock.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::media::MediaKind;
use weever_core::{Egress, Identity, Path, SLOT, Worker, WorkerConfig};
use weever_proto::{
    Codec, Command, DtlsRole, Event, Extension, ExtensionKind, IceCredentials, Kind, PayloadMap, PayloadType,
    Receive, Role, RouteId, RouteSpec, SessionId, SessionSpec, TrackId, WorkerId,
};

use crate::client::{self, Client, Outgoing};
use crate::network::Network;

/// Datagrams that a worker sent in one call.
#[derive(Default)]
pub struct Outbox {
    slot: Vec<u8>,
    pub sent: Vec<(Path, Vec<u8>)>,
    /// How many datagrams each send held.
    pub trains: Vec<usize>,
}

impl Egress for Outbox {
    fn slot(&mut self) -> Option<&mut [u8]> {
        self.slot.resize(SLOT, 0);
        Some(&mut self.slot)
    }

    fn send(&mut self, to: Path, len: usize, segment: usize) {
        assert!(len > 0 && segment > 0);
        self.trains.push(len.div_ceil(segment));
        for datagram in self.slot[..len].chunks(segment) {
            self.sent.push((to, datagram.to_vec()));
        }
    }
}

pub struct World {
    pub start: Instant,
    pub now: Instant,
    pub workers: Vec<Worker>,
    pub clients: Vec<Client>,
    pub network: Network,
    pub events: Vec<(Duration, Event)>,
    pub outbox: Outbox,
    identity: Arc<Identity>,
    by_address: HashMap<SocketAddr, usize>,
    next_id: u64,
    /// Share of its core that each worker is taken to use, thousandths.
    pub busy: Vec<u32>,
    /// When its last turn ended.
    turned: Vec<Instant>,
    /// Datagrams on the wire, for tests that look at them: time, from a worker, bytes.
    pub tap: Option<Vec<(Instant, SocketAddr, Vec<u8>)>>,
}

pub fn server(worker: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 8443 + worker))
}

impl World {
    pub fn new(seed: u64, workers: u16) -> Self {
        let start = Instant::now();
        let identity = Identity::generate().unwrap();
        let config = |id| WorkerConfig {
            id: WorkerId(id),
            identity: identity.clone(),
            max_sessions: 10_000,
            egress_window_max: Duration::from_millis(5),
            relay: false,
        };
        Self {
            start,
            now: start,
            workers: (0..workers).map(|id| Worker::new(config(id), start)).collect(),
            clients: Vec::new(),
            network: Network::new(seed),
            events: Vec::new(),
            outbox: Outbox::default(),
            identity,
            by_address: HashMap::new(),
            next_id: 1,
            busy: vec![0; usize::from(workers)],
            turned: vec![start; usize::from(workers)],
            tap: None,
        }
    }

    pub fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    pub fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    pub fn command(&mut self, worker: u16, command: Command) {
        let worker = usize::from(worker);
        self.workers[worker].handle_command(self.now, command, &mut self.outbox);
        self.settle(worker);
    }

    /// Adds a client and its session. `alter` may spoil what the worker is told.
    pub fn join(
        &mut self,
        worker: u16,
        role: Role,
        dtls_role: DtlsRole,
        receive: Vec<Receive>,
        alter: impl FnOnce(&mut SessionSpec),
    ) -> usize {
        let session = SessionId(self.id());
        let n = self.clients.len();
        let tag = format!("{n:04}");
        let host = u8::try_from(n % 250 + 1).unwrap();
        let addr = SocketAddr::from(([10, 1, u8::try_from(n / 250).unwrap(), host], 5000));
        let mut client = Client::new(session, addr, self.now, &tag);
        let local = IceCredentials {
            ufrag: format!("srv{tag}"),
            password: format!("server-password-{tag}-0123456"),
        };
        let extension = |id, kind| Extension { id, kind };
        let mut spec = SessionSpec {
            session,
            worker: WorkerId(worker),
            role,
            local: local.clone(),
            remote: client.credentials(),
            fingerprint: client.fingerprint(),
            dtls_role,
            data_channel: true,
            receive,
            extensions: vec![
                extension(client::MID_ID, ExtensionKind::Mid),
                extension(client::AUDIO_LEVEL_ID, ExtensionKind::AudioLevel),
                extension(client::ROTATION_ID, ExtensionKind::VideoOrientation),
                extension(client::TWCC_ID, ExtensionKind::TransportCc),
            ],
            state: tag.into_bytes(),
        };
        alter(&mut spec);
        let fingerprint = self.identity.fingerprint().clone();
        let active = dtls_role == DtlsRole::Server;
        client.accept(server(worker), &local, &fingerprint, active);
        if spec.data_channel {
            client.open_channel(active);
        }
        self.by_address.insert(addr, n);
        self.clients.push(client);
        self.command(worker, Command::CreateSession(Box::new(spec)));
        n
    }

    pub fn video(&mut self, mid: &str, ssrc: Option<(u32, u32)>) -> Receive {
        Receive {
            track: TrackId(self.id()),
            mid: mid.into(),
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
            ssrc: ssrc.map(|(main, _)| main),
            rtx_ssrc: ssrc.map(|(_, rtx)| rtx),
        }
    }

    pub fn audio(&mut self, mid: &str, ssrc: u32) -> Receive {
        Receive {
            track: TrackId(self.id()),
            mid: mid.into(),
            kind: Kind::Audio,
            payload_types: vec![PayloadType {
                pt: client::OPUS,
                codec: Codec::Opus,
                clock_rate: 48_000,
                rtx_pt: None,
                nack: false,
                pli: false,
                fir: false,
                transport_cc: true,
            }],
            ssrc: Some(ssrc),
            rtx_ssrc: None,
        }
    }

    /// A publisher of one video track. Returns its index, the track and its SSRC.
    pub fn publisher(&mut self, worker: u16) -> (usize, TrackId, u32) {
        let ssrc = 0x1000_0000 + u32::try_from(self.clients.len()).unwrap() * 16;
        let receive = self.video("v", Some((ssrc, ssrc + 1)));
        let track = receive.track;
        let n = self.join(worker, Role::Publisher, DtlsRole::Server, vec![receive], |_| {});
        self.clients[n].declare_send("v", MediaKind::Video, ssrc, Some(ssrc + 1));
        (n, track, ssrc)
    }

    pub fn viewer(&mut self, worker: u16) -> usize {
        self.join(worker, Role::Subscriber, DtlsRole::Server, Vec::new(), |_| {})
    }

    /// Shows a track to a viewer under an SSRC of its own.
    pub fn route(
        &mut self,
        viewer: usize,
        worker: u16,
        track: TrackId,
        track_worker: u16,
        kind: Kind,
    ) -> RouteSpec {
        let id = self.id();
        let ssrc = 0x2000_0000 + u32::try_from(id).unwrap() * 2;
        let (from, codec, clock_rate) = match kind {
            Kind::Video => (client::VP8, Codec::Vp8, 90_000),
            Kind::Audio => (client::OPUS, Codec::Opus, 48_000),
        };
        let video = kind == Kind::Video;
        let extension = |id, kind| Extension { id, kind };
        let spec = RouteSpec {
            route: RouteId(id),
            session: self.clients[viewer].session,
            track,
            track_worker: WorkerId(track_worker),
            mid: format!("m{id}"),
            kind,
            ssrc,
            rtx_ssrc: video.then_some(ssrc + 1),
            payload_map: vec![PayloadMap {
                from,
                to: from,
                rtx_to: video.then_some(client::VP8_RTX),
                codec,
                clock_rate,
            }],
            extensions: vec![
                extension(client::MID_ID, ExtensionKind::Mid),
                extension(client::AUDIO_LEVEL_ID, ExtensionKind::AudioLevel),
                extension(client::ROTATION_ID, ExtensionKind::VideoOrientation),
                extension(client::TWCC_ID, ExtensionKind::TransportCc),
            ],
            cname: "alice".into(),
        };
        let media = if video { MediaKind::Video } else { MediaKind::Audio };
        self.clients[viewer].expect(&spec.mid, media, ssrc, spec.rtx_ssrc);
        self.command(worker, Command::PutRoute(Box::new(spec.clone())));
        spec
    }

    /// Lets time pass.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            for n in 0..self.clients.len() {
                self.post(n);
            }
            let worker = self.workers.iter().filter_map(Worker::poll_timeout).min();
            let client = self.clients.iter().map(|client| client.timeout).min();
            let next = [worker, client, self.network.next()].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= end) else {
                break;
            };
            self.now = self.now.max(next);
            self.turn();
        }
        self.now = end;
    }

    fn turn(&mut self) {
        while let Some(datagram) = self.network.receive(self.now) {
            if let Some(n) = self.by_address.get(&datagram.to).copied() {
                self.clients[n].receive(datagram.from, &datagram.bytes, self.now);
                self.post(n);
                continue;
            }
            let Some(worker) =
                (0..self.workers.len()).find(|w| server(u16::try_from(*w).unwrap()) == datagram.to)
            else {
                continue;
            };
            let from = Path {
                socket: 0,
                remote: datagram.from,
            };
            self.workers[worker].handle_datagram(self.now, from, &datagram.bytes, &mut self.outbox);
            self.settle(worker);
        }
        for worker in 0..self.workers.len() {
            if self.workers[worker]
                .poll_timeout()
                .is_some_and(|at| at <= self.now)
            {
                self.workers[worker].handle_timeout(self.now, &mut self.outbox);
                self.settle(worker);
            }
        }
        for n in 0..self.clients.len() {
            if self.clients[n].timeout <= self.now {
                self.clients[n].tick(self.now);
                self.post(n);
            }
        }
    }

    /// Does what a worker's shell does at the end of a turn.
    pub fn settle(&mut self, worker: usize) {
        self.workers[worker].flush(self.now, &mut self.outbox);
        let turned = std::mem::replace(&mut self.turned[worker], self.now);
        let work = (self.now - turned) * self.busy[worker] / 1000;
        self.workers[worker].end_turn(self.now - work, self.now);
        let from = server(u16::try_from(worker).unwrap());
        for (path, bytes) in std::mem::take(&mut self.outbox.sent) {
            if let Some(tap) = &mut self.tap {
                tap.push((self.now, path.remote, bytes.clone()));
            }
            self.network.send(self.now, from, path.remote, &bytes, false);
        }
        while let Some(event) = self.workers[worker].poll_event() {
            self.events.push((self.elapsed(), event));
        }
        while let Some((to, handover)) = self.workers[worker].poll_handover() {
            let to = usize::from(to.0);
            self.workers[to].handle_handover(self.now, handover, &mut self.outbox);
            self.settle(to);
        }
    }

    /// Puts what a client wants sent on the network.
    fn post(&mut self, n: usize) {
        let (from, to) = (self.clients[n].addr, server(self.worker_of(n)));
        for bytes in std::mem::take(&mut self.clients[n].out) {
            self.network.send(self.now, from, to, &bytes, true);
        }
    }

    fn worker_of(&self, n: usize) -> u16 {
        let session = self.clients[n].session;
        let holds = |w: &&Worker| w.snapshot(self.now).iter().any(|s| s.spec.session == session);
        self.workers.iter().find(holds).map_or(0, |w| w.id().0)
    }

    /// A NAT gives the client another address; it does not know.
    pub fn rebind(&mut self, n: usize, addr: SocketAddr) {
        self.by_address.remove(&self.clients[n].addr);
        self.clients[n].addr = addr;
        self.by_address.insert(addr, n);
    }

    pub fn until(&mut self, limit: Duration, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let end = self.now + limit;
        while !done(self) {
            assert!(
                self.now < end,
                "{what}: not within {limit:?}; events {:?}",
                self.events
            );
            self.run(Duration::from_millis(5));
        }
    }

    pub fn connect_all(&mut self) {
        self.until(Duration::from_secs(20), "everybody connects", |world| {
            world.clients.iter().all(|client| client.connected)
        });
    }

    /// Sends one frame in packets with payloads of these sizes, `gap` apart. Returns the payloads.
    pub fn shoot(
        &mut self,
        n: usize,
        ssrc: u32,
        first: u64,
        keyframe: bool,
        sizes: &[usize],
        gap: Duration,
    ) -> Vec<Vec<u8>> {
        let mut payloads = Vec::new();
        for (part, size) in (0u64..).zip(sizes) {
            let mut payload = vp8(first + part, part == 0, keyframe);
            payload.resize(*size, 0x5a);
            payloads.push(payload.clone());
            let packet = Outgoing {
                seq: first + part,
                timestamp: u32::try_from((first * 1000) & 0xffff_ffff).unwrap(),
                pt: client::VP8,
                marker: part + 1 == sizes.len() as u64,
                payload,
                rotation: None,
                audio_level: None,
            };
            self.clients[n].write(ssrc, packet, self.now);
            self.post(n);
            self.run(gap);
        }
        payloads
    }

    /// Sends `frames` frames of three packets, 30 a second; every `gop`th is a keyframe. Returns the payloads.
    pub fn film(&mut self, n: usize, ssrc: u32, first: u64, frames: u64, gop: u64) -> Vec<Vec<u8>> {
        let mut payloads = Vec::new();
        for frame in 0..frames {
            for part in 0..3u64 {
                let seq = first + frame * 3 + part;
                let payload = vp8(seq, part == 0, frame % gop == 0);
                payloads.push(payload.clone());
                let packet = Outgoing {
                    seq,
                    timestamp: u32::try_from(((first + frame) * 3000) & 0xffff_ffff).unwrap(),
                    pt: client::VP8,
                    marker: part == 2,
                    payload,
                    rotation: (part == 2).then_some(str0m::rtp::VideoOrientation::Deg90),
                    audio_level: None,
                };
                self.clients[n].write(ssrc, packet, self.now);
                self.post(n);
            }
            self.run(Duration::from_millis(33));
        }
        payloads
    }
}

/// A packet that says it is VP8 (RFC 7741 §4.2, §4.3), of a length and content that follow from its number.
fn vp8(seq: u64, start: bool, keyframe: bool) -> Vec<u8> {
    let mut payload = vec![if start { 0x10 } else { 0 }, if keyframe { 0 } else { 1 }];
    payload.extend(seq.to_be_bytes());
    payload.resize(100 + usize::try_from(seq % 7).unwrap() * 100, 0xa5);
    payload
}
