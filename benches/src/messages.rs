//! Messages of the control socket.

use weever_proto::{
    Codec, Command, DtlsRole, Extension, ExtensionKind, Fingerprint, FromShard, IceCredentials, Kind,
    PayloadMap, Role, RouteId, RouteSpec, SessionId, SessionSnapshot, SessionSpec, ToShard, TrackId,
    TrackStats, WorkerId, WorkerStats,
};

fn extensions() -> Vec<Extension> {
    [
        (1, ExtensionKind::Mid),
        (2, ExtensionKind::AbsSendTime),
        (3, ExtensionKind::TransportCc),
        (4, ExtensionKind::AudioLevel),
    ]
    .map(|(id, kind)| Extension { id, kind })
    .to_vec()
}

/// A subscriber with 4 KiB of signalling state.
pub fn session() -> SessionSpec {
    let credentials = || IceCredentials {
        ufrag: "abcd".to_owned(),
        password: "0123456789abcdefghijklmn".to_owned(),
    };
    SessionSpec {
        session: SessionId(0x0123_4567_89AB_CDEF),
        worker: WorkerId(0),
        role: Role::Subscriber,
        local: credentials(),
        remote: credentials(),
        fingerprint: Fingerprint {
            hash: "sha-256".to_owned(),
            value: vec![0x5A; 32],
        },
        dtls_role: DtlsRole::Server,
        data_channel: true,
        receive: Vec::new(),
        extensions: Vec::new(),
        state: vec![0x5A; 4096],
    }
}

/// One track on its way to one subscriber.
pub fn route() -> RouteSpec {
    RouteSpec {
        route: RouteId(1),
        session: SessionId(0x0123_4567_89AB_CDEF),
        track: TrackId(2),
        track_worker: WorkerId(0),
        mid: "12".to_owned(),
        kind: Kind::Video,
        ssrc: 3,
        rtx_ssrc: Some(4),
        payload_map: vec![PayloadMap {
            from: 96,
            to: 100,
            rtx_to: Some(101),
            codec: Codec::Vp8,
            clock_rate: 90_000,
        }],
        extensions: extensions(),
        cname: "alice+k3x9".to_owned(),
    }
}

/// What each join costs once for each track of the room.
pub fn put_route() -> ToShard {
    ToShard::Command(Command::PutRoute(Box::new(route())))
}

/// One session of a resync, with routes to 20 tracks.
pub fn snapshot() -> FromShard {
    FromShard::Session(Box::new(SessionSnapshot {
        spec: session(),
        routes: vec![route(); 20],
        connected: true,
        silent: false,
        channel_open: true,
        chat_open: false,
        live_tracks: Vec::new(),
        age_ms: 60_000,
    }))
}

/// Statistics of 2 workers and 200 tracks, sent each second.
pub fn stats() -> FromShard {
    let worker = |id| WorkerStats {
        worker: WorkerId(id),
        sessions: 500,
        tracks: 100,
        routes: 10_000,
        packets_in: 1 << 30,
        bytes_in: 1 << 40,
        packets_out: 1 << 35,
        bytes_out: 1 << 45,
        sends: 1 << 32,
        rtx_packets: 1 << 20,
        nacked_packets: 1 << 20,
        keyframe_requests: 1000,
        refused: 3,
        load_permille: 620,
        egress_window_us: 2750,
        delays: vec![9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0, 1],
        delay_sum_us: 1_230_000,
        cpu_ns: 1 << 40,
        drops: (0..12).map(|n| (format!("reason-{n}"), n)).collect(),
        io: "uring".to_owned(),
    };
    let track = |track| TrackStats {
        track: TrackId(track),
        packets: 1 << 20,
        bytes: 1 << 30,
        keyframes: 60,
        lost: 3,
        viewers: 100,
    };
    FromShard::Stats {
        workers: vec![worker(0), worker(1)],
        tracks: (0..200).map(track).collect(),
        resident_memory: 1 << 28,
        relay: None,
    }
}
