//! Frames of the control socket.

use bytes::BytesMut;
use tokio_util::codec::Encoder;
use weever_proto::{
    ChannelLabel, CloseReason, Codec, Command, ControlCodec, DtlsRole, Event, Extension, ExtensionKind,
    Fingerprint, FromShard, Hello, IceCredentials, Kind, PacketKind, PacketRecord, Packets, PayloadMap,
    PayloadType, Receive, Refusal, Role, RouteId, RouteSpec, RtpNote, SessionId, SessionSnapshot,
    SessionSpec, ShardCodec, ToShard, TrackId, TrackStats, VERSION, WatchEnd, WorkerHello, WorkerId,
    WorkerStats,
};

use crate::{Seed, hex};

const SESSION: SessionId = SessionId(0x0102_0304_0506_0708);
const TRACK: TrackId = TrackId(7);

fn credentials(ufrag: &str) -> IceCredentials {
    IceCredentials {
        ufrag: ufrag.to_owned(),
        password: "0123456789abcdefghijkl".to_owned(),
    }
}

fn fingerprint() -> Fingerprint {
    Fingerprint {
        hash: "sha-256".to_owned(),
        value: (0..32).collect(),
    }
}

fn extensions() -> Vec<Extension> {
    vec![
        Extension {
            id: 1,
            kind: ExtensionKind::Mid,
        },
        Extension {
            id: 14,
            kind: ExtensionKind::TransportCc,
        },
    ]
}

fn receive() -> Receive {
    let payload_type = PayloadType {
        pt: 96,
        codec: Codec::Vp8,
        clock_rate: 90_000,
        rtx_pt: Some(97),
        nack: true,
        pli: true,
        fir: false,
        transport_cc: true,
    };
    Receive {
        track: TRACK,
        mid: "0".to_owned(),
        kind: Kind::Video,
        payload_types: vec![payload_type],
        ssrc: Some(1),
        rtx_ssrc: None,
    }
}

fn spec() -> SessionSpec {
    SessionSpec {
        session: SESSION,
        worker: WorkerId(1),
        role: Role::Publisher,
        local: credentials("abcd"),
        remote: credentials("efgh"),
        fingerprint: fingerprint(),
        dtls_role: DtlsRole::Server,
        data_channel: true,
        receive: vec![receive()],
        extensions: extensions(),
        state: b"opaque".to_vec(),
    }
}

fn route() -> RouteSpec {
    let map = PayloadMap {
        from: 96,
        to: 100,
        rtx_to: Some(101),
        codec: Codec::Vp8,
        clock_rate: 90_000,
    };
    RouteSpec {
        route: RouteId(9),
        session: SESSION,
        track: TRACK,
        track_worker: WorkerId(0),
        mid: "1".to_owned(),
        kind: Kind::Video,
        ssrc: 2,
        rtx_ssrc: Some(3),
        payload_map: vec![map],
        extensions: extensions(),
        cname: "alice+1".to_owned(),
    }
}

pub(crate) fn control(messages: impl IntoIterator<Item = ToShard>) -> Vec<u8> {
    let mut out = BytesMut::new();
    for message in messages {
        ControlCodec.encode(message, &mut out).expect("a small message");
    }
    out.to_vec()
}

fn shard(messages: impl IntoIterator<Item = FromShard>) -> Vec<u8> {
    let mut out = BytesMut::new();
    for message in messages {
        ShardCodec.encode(message, &mut out).expect("a small message");
    }
    out.to_vec()
}

fn cut(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(bytes.len() - 3);
    bytes
}

fn packets() -> Packets {
    let note = RtpNote {
        track: Some(TRACK),
        codec: Some(Codec::Vp8),
        keyframe: true,
        payload: 1000,
        extensions: extensions(),
        ..RtpNote::default()
    };
    let record = |kind, header| PacketRecord {
        age_us: 20_000,
        sent: true,
        size: 1040,
        header,
        dropped: None,
        kind,
    };
    let rtp = hex("90600001 00000002 000003e8 bede0001 10300000");
    let rtcp = hex("80c90001 000003e8 81ce0002 00000001 000003e8");
    Packets {
        session: SESSION,
        at_unix_us: 1_800_000_000_000_000,
        records: vec![record(PacketKind::Rtp(note), rtp), record(PacketKind::Rtcp, rtcp)],
        left_out: 7,
    }
}

/// What a hostile or broken peer sends, whichever side reads it.
fn broken() -> Vec<Seed> {
    vec![
        ("empty", vec![]),
        ("cut-prefix", hex("000000")),
        ("empty-frame", hex("00000000")),
        ("oversized", hex("ffffffff 00")),
        ("unknown-field", hex("00000003 fa3e00")),
        ("unknown-body-kind", hex("00000002 7a00")),
        ("group", hex("00000002 0b0c")),
        ("varint-endless", hex("0000000b 08ffffffffffffffffffff")),
        ("inner-overrun", hex("00000002 0a7f")),
        ("nested-empty", hex("00000004 1a020a00")),
        ("field-0", hex("00000002 0000")),
    ]
}

pub(crate) fn to_shard() -> Vec<Seed> {
    let command = |command| control([ToShard::Command(command)]);
    let update = Command::UpdateReceive {
        session: SESSION,
        receive: vec![receive()],
        extensions: extensions(),
    };
    let restart = Command::RestartIce {
        session: SESSION,
        local: credentials("ijkl"),
        remote: credentials("mnop"),
    };
    let mut seeds = broken();
    seeds.extend([
        ("welcome", control([ToShard::Welcome(VERSION)])),
        (
            "refused",
            control([ToShard::Refused("another one has this name".to_owned())]),
        ),
        ("ping", control([ToShard::Ping(u64::MAX)])),
        (
            "create-session",
            command(Command::CreateSession(Box::new(spec()))),
        ),
        ("update-receive", command(update)),
        ("restart-ice", command(restart)),
        ("put-route", command(Command::PutRoute(Box::new(route())))),
        (
            "remove-route",
            command(Command::RemoveRoute {
                session: SESSION,
                route: RouteId(9),
            }),
        ),
        (
            "send-text",
            command(Command::SendText {
                session: SESSION,
                channel: ChannelLabel::Control,
                text: "PUB_JOIN alice+1".to_owned(),
            }),
        ),
        (
            "set-state",
            command(Command::SetState {
                session: SESSION,
                state: vec![0, 255],
            }),
        ),
        (
            "close-session",
            command(Command::CloseSession { session: SESSION }),
        ),
        ("drain", command(Command::Drain)),
        ("watch", command(Command::Watch { session: SESSION })),
        ("unwatch", command(Command::Unwatch { session: SESSION })),
        (
            "broadcast",
            command(Command::Broadcast {
                sessions: vec![SESSION, SessionId(6)],
                channel: ChannelLabel::Chat,
                text: "alice+1 good evening".to_owned(),
            }),
        ),
        (
            "several",
            control([
                ToShard::Welcome(VERSION),
                ToShard::Ping(1),
                ToShard::Command(Command::Drain),
            ]),
        ),
        (
            "cut-create-session",
            cut(command(Command::CreateSession(Box::new(spec())))),
        ),
    ]);
    seeds
}

pub(crate) fn from_shard() -> Vec<Seed> {
    let hello = Hello {
        version: VERSION,
        name: "shard-0".to_owned(),
        incarnation: 42,
        software: "0.1.0".to_owned(),
        fingerprint: fingerprint(),
        workers: vec![WorkerHello {
            id: WorkerId(0),
            candidates: vec![
                "192.0.2.1:8443".parse().expect("an address"),
                "[2001:db8::1]:8443".parse().expect("an address"),
            ],
        }],
        max_sessions: 10_000,
        draining: false,
        relay: false,
    };
    let snapshot = SessionSnapshot {
        spec: spec(),
        routes: vec![route()],
        connected: true,
        silent: false,
        channel_open: true,
        chat_open: true,
        live_tracks: vec![TRACK],
        age_ms: 1234,
    };
    let stats = FromShard::Stats {
        workers: vec![WorkerStats {
            worker: WorkerId(0),
            sessions: 1,
            tracks: 2,
            routes: 3,
            packets_in: 4,
            bytes_in: 5,
            packets_out: 6,
            bytes_out: u64::MAX,
            sends: 7,
            rtx_packets: 8,
            nacked_packets: 9,
            keyframe_requests: 10,
            refused: 3,
            load_permille: 620,
            egress_window_us: 2750,
            delays: vec![9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0, 1],
            delay_sum_us: 1_230_000,
            cpu_ns: 11,
            drops: vec![("bad-rtp".to_owned(), 12)],
            io: "uring".to_owned(),
        }],
        tracks: vec![TrackStats {
            track: TRACK,
            packets: 1,
            bytes: 2,
            keyframes: 3,
            lost: 4,
            viewers: 5,
        }],
        resident_memory: 1 << 26,
        relay: None,
    };
    let event = |event| shard([FromShard::Event(event)]);
    let refused = Event::CommandRefused {
        session: SESSION,
        reason: Refusal::Full,
        detail: "full".to_owned(),
    };
    let mut seeds = broken();
    seeds.extend([
        ("hello", shard([FromShard::Hello(hello.clone())])),
        ("stats", shard([stats])),
        ("session", shard([FromShard::Session(Box::new(snapshot.clone()))])),
        ("snapshot-end", shard([FromShard::SnapshotEnd(1)])),
        ("pong", shard([FromShard::Pong(1)])),
        ("session-ready", event(Event::SessionReady { session: SESSION })),
        ("command-refused", event(refused)),
        (
            "session-connected",
            event(Event::SessionConnected { session: SESSION }),
        ),
        (
            "session-silent",
            event(Event::SessionSilent {
                session: SESSION,
                silent: true,
            }),
        ),
        (
            "session-closed",
            event(Event::SessionClosed {
                session: SESSION,
                reason: CloseReason::PeerClosed,
            }),
        ),
        (
            "channel-open",
            event(Event::ChannelOpen {
                session: SESSION,
                channel: ChannelLabel::Control,
            }),
        ),
        (
            "text",
            event(Event::Text {
                session: SESSION,
                channel: ChannelLabel::Control,
                text: "STOP".to_owned(),
            }),
        ),
        (
            "channel-closed",
            event(Event::ChannelClosed {
                session: SESSION,
                channel: ChannelLabel::Chat,
            }),
        ),
        (
            "chat",
            event(Event::Text {
                session: SESSION,
                channel: ChannelLabel::Chat,
                text: "good evening".to_owned(),
            }),
        ),
        (
            "track-live",
            event(Event::TrackLive {
                session: SESSION,
                track: TRACK,
            }),
        ),
        (
            "track-gone",
            event(Event::TrackGone {
                session: SESSION,
                track: TRACK,
            }),
        ),
        ("packets", event(Event::Packets(Box::new(packets())))),
        (
            "watch-ended",
            event(Event::WatchEnded {
                session: SESSION,
                reason: WatchEnd::Full,
            }),
        ),
        ("cut-hello", cut(shard([FromShard::Hello(hello.clone())]))),
        (
            "resync",
            shard([
                FromShard::Hello(hello),
                FromShard::Session(Box::new(snapshot)),
                FromShard::SnapshotEnd(1),
            ]),
        ),
    ]);
    seeds
}
