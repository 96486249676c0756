//! The bytes on the socket: golden frames, limits, and readers that survive anything.

#![allow(clippy::unwrap_used, clippy::panic)]

use bytes::{BufMut, BytesMut};
use proptest::prelude::*;
use tokio_util::codec::{Decoder, Encoder};
use weever_proto::{
    ChannelLabel, CloseReason, Codec, Command, ControlCodec, DtlsRole, Event, Extension, ExtensionKind,
    Fingerprint, FrameError, FromShard, Hello, IceCredentials, JoinStage, Kind, PacketKind, PacketRecord,
    Packets, PayloadMap, PayloadType, RELAY, Receive, Refusal, RelayStats, Role, RouteId, RouteSpec, RtpNote,
    SessionId, SessionSnapshot, SessionSpec, ShardCodec, ToShard, TrackId, TrackStats, VERSION, Version,
    WatchEnd, WorkerHello, WorkerId, WorkerStats, limits,
};

fn hello() -> Hello {
    Hello {
        version: VERSION,
        name: "shard-0".into(),
        incarnation: 0x0102_0304_0506_0708,
        software: "0.1.0".into(),
        fingerprint: Fingerprint {
            hash: "sha-256".into(),
            value: vec![0xab; 32],
        },
        workers: vec![WorkerHello {
            id: WorkerId(0),
            candidates: vec![
                "192.0.2.1:8443".parse().unwrap(),
                "[2001:db8::1]:8443".parse().unwrap(),
            ],
        }],
        max_sessions: 5000,
        draining: false,
        relay: false,
    }
}

fn spec() -> SessionSpec {
    SessionSpec {
        session: SessionId(0x1111_2222_3333_4444),
        worker: WorkerId(3),
        role: Role::Publisher,
        local: IceCredentials {
            ufrag: "abcd".into(),
            password: "0123456789012345678901".into(),
        },
        remote: IceCredentials {
            ufrag: "efgh".into(),
            password: "abcdefghijklmnopqrstuv".into(),
        },
        fingerprint: Fingerprint {
            hash: "sha-256".into(),
            value: vec![0xcd; 32],
        },
        dtls_role: DtlsRole::Server,
        data_channel: true,
        receive: vec![Receive {
            track: TrackId(7),
            mid: "0".into(),
            kind: Kind::Video,
            payload_types: vec![PayloadType {
                pt: 96,
                codec: Codec::Vp8,
                clock_rate: 90_000,
                rtx_pt: Some(97),
                nack: true,
                pli: true,
                fir: false,
                transport_cc: true,
            }],
            ssrc: Some(0xdead_beef),
            rtx_ssrc: None,
        }],
        extensions: vec![Extension {
            id: 4,
            kind: ExtensionKind::Mid,
        }],
        state: b"opaque".to_vec(),
    }
}

fn route() -> RouteSpec {
    RouteSpec {
        route: RouteId(9),
        session: SessionId(8),
        track: TrackId(7),
        track_worker: WorkerId(1),
        mid: "1".into(),
        kind: Kind::Audio,
        ssrc: 1234,
        rtx_ssrc: Some(1235),
        payload_map: vec![PayloadMap {
            from: 111,
            to: 109,
            rtx_to: None,
            codec: Codec::Opus,
            clock_rate: 48_000,
        }],
        extensions: vec![Extension {
            id: 1,
            kind: ExtensionKind::AudioLevel,
        }],
        cname: "alice+k3x9".into(),
    }
}

fn packets() -> Packets {
    let rtp = PacketRecord {
        age_us: 3,
        sent: true,
        size: 40,
        header: vec![0x80, 0x60],
        dropped: Some("late".into()),
        kind: PacketKind::Rtp(RtpNote {
            track: Some(TrackId(6)),
            codec: Some(Codec::Vp8),
            rtx: true,
            keyframe: true,
            payload: 20,
            padding: 2,
            extensions: vec![Extension {
                id: 4,
                kind: ExtensionKind::Mid,
            }],
        }),
    };
    Packets {
        session: SessionId(5),
        at_unix_us: 7,
        records: vec![rtp],
        left_out: 2,
    }
}

fn to_shard() -> Vec<ToShard> {
    let session = SessionId(5);
    let credentials = spec().local;
    let commands = [
        Command::CreateSession(Box::new(spec())),
        Command::UpdateReceive {
            session,
            receive: spec().receive,
            extensions: spec().extensions,
        },
        Command::RestartIce {
            session,
            local: credentials.clone(),
            remote: credentials,
        },
        Command::PutRoute(Box::new(route())),
        Command::RemoveRoute {
            session,
            route: RouteId(9),
        },
        Command::SendText {
            session,
            channel: ChannelLabel::Control,
            text: "PUB_JOIN alice".into(),
        },
        Command::SetState {
            session,
            state: vec![1, 2, 3],
        },
        Command::CloseSession { session },
        Command::Drain,
    ];
    let mut all = vec![
        ToShard::Welcome(VERSION),
        ToShard::Refused("name taken".into()),
        ToShard::Ping(77),
    ];
    all.extend(commands.map(ToShard::Command));
    all
}

/// What 1.2 added.
fn to_newer_shard() -> Vec<ToShard> {
    let chat = Command::SendText {
        session: SessionId(5),
        channel: ChannelLabel::Chat,
        text: "* too fast".into(),
    };
    let broadcast = |sessions: &[u64], channel| Command::Broadcast {
        sessions: sessions.iter().copied().map(SessionId).collect(),
        channel,
        text: "alice+k3x9 good evening".into(),
    };
    let session = SessionId(5);
    [
        chat,
        broadcast(&[5, 6, 1 << 60], ChannelLabel::Chat),
        broadcast(&[5], ChannelLabel::Control),
        Command::Watch { session },
        Command::Unwatch { session },
    ]
    .map(ToShard::Command)
    .into()
}

/// What 1.2 added.
fn from_newer_shard() -> Vec<FromShard> {
    let (session, channel) = (SessionId(5), ChannelLabel::Chat);
    [
        Event::ChannelOpen { session, channel },
        Event::Text {
            session,
            channel,
            text: "good evening".into(),
        },
        Event::JoinProgress {
            session,
            stage: JoinStage::Media,
            after_us: 1_234_567,
        },
        Event::ChannelClosed { session, channel },
        Event::ChannelClosed {
            session,
            channel: ChannelLabel::Control,
        },
        Event::Packets(Box::new(packets())),
        Event::WatchEnded {
            session,
            reason: WatchEnd::Expired,
        },
    ]
    .map(FromShard::Event)
    .into()
}

fn from_shard() -> Vec<FromShard> {
    let (session, track) = (SessionId(5), TrackId(6));
    let events = [
        Event::SessionReady { session },
        Event::CommandRefused {
            session,
            reason: Refusal::Full,
            detail: "no room".into(),
        },
        Event::SessionConnected { session },
        Event::SessionSilent {
            session,
            silent: true,
        },
        Event::SessionClosed {
            session,
            reason: CloseReason::ConsentExpired,
        },
        Event::ChannelOpen {
            session,
            channel: ChannelLabel::Control,
        },
        Event::Text {
            session,
            channel: ChannelLabel::Control,
            text: "STOP".into(),
        },
        Event::TrackLive { session, track },
        Event::TrackGone { session, track },
    ];
    let worker = WorkerStats {
        worker: WorkerId(2),
        sessions: 1,
        tracks: 2,
        routes: 3,
        packets_in: 4,
        bytes_in: 5,
        packets_out: 6,
        bytes_out: 7,
        sends: 8,
        rtx_packets: 9,
        nacked_packets: 10,
        keyframe_requests: 11,
        refused: 3,
        load_permille: 620,
        egress_window_us: 2750,
        delays: vec![9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0, 1],
        delay_sum_us: 1_230_000,
        cpu_ns: 12,
        drops: vec![("late".into(), 13)],
        io: "uring".into(),
    };
    let tracks = vec![TrackStats {
        track,
        packets: 1,
        bytes: 2,
        keyframes: 3,
        lost: 4,
        viewers: 5,
    }];
    let snapshot = SessionSnapshot {
        spec: spec(),
        routes: vec![route()],
        connected: true,
        silent: false,
        channel_open: true,
        chat_open: true,
        live_tracks: vec![track],
        age_ms: 1500,
    };
    let mut all = vec![
        FromShard::Hello(hello()),
        FromShard::Stats {
            workers: vec![worker],
            tracks,
            resident_memory: 1 << 30,
            relay: Some(Box::new(relay_stats())),
        },
        FromShard::Session(Box::new(snapshot)),
        FromShard::SnapshotEnd(1),
        FromShard::Pong(77),
    ];
    all.extend(events.map(FromShard::Event));
    all
}

fn relay_stats() -> RelayStats {
    RelayStats {
        connected: true,
        connects: 2,
        tracks_offered: 3,
        tracks_out: 4,
        tracks_in: 5,
        messages_in: 6,
        bytes_in: 7,
        packets_in: 8,
        messages_out: 9,
        bytes_out: 10,
        packets_out: 11,
        lost: 12,
        keyframe_requests: 13,
        cpu_ns: 14,
        delays: vec![15; 12],
        delay_sum_us: 16,
        clock_behind: 17,
        drops: vec![("forged".into(), 18)],
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// If one of these changes, data planes and control planes of different builds no longer understand each other.
#[test]
fn golden_frames() {
    let mut frame = BytesMut::new();
    ShardCodec.encode(FromShard::Hello(hello()), &mut frame).unwrap();
    assert_eq!(hex(&frame), GOLDEN_HELLO);
    frame.clear();
    ControlCodec
        .encode(
            ToShard::Command(Command::CreateSession(Box::new(spec()))),
            &mut frame,
        )
        .unwrap();
    assert_eq!(hex(&frame), GOLDEN_CREATE);
    frame.clear();
    ControlCodec
        .encode(ToShard::Command(Command::PutRoute(Box::new(route()))), &mut frame)
        .unwrap();
    assert_eq!(hex(&frame), GOLDEN_ROUTE);
    frame.clear();
    let closed = Event::SessionClosed {
        session: SessionId(5),
        reason: CloseReason::ConsentExpired,
    };
    ShardCodec.encode(FromShard::Event(closed), &mut frame).unwrap();
    assert_eq!(hex(&frame), GOLDEN_CLOSED);
    frame.clear();
    let progress = Event::JoinProgress {
        session: SessionId(5),
        stage: JoinStage::Media,
        after_us: 1_234_567,
    };
    ShardCodec.encode(FromShard::Event(progress), &mut frame).unwrap();
    assert_eq!(hex(&frame), GOLDEN_PROGRESS);
    frame.clear();
    let watch = Command::Watch {
        session: SessionId(5),
    };
    ControlCodec.encode(ToShard::Command(watch), &mut frame).unwrap();
    assert_eq!(hex(&frame), GOLDEN_WATCH);
    frame.clear();
    let packets = Event::Packets(Box::new(packets()));
    ShardCodec.encode(FromShard::Event(packets), &mut frame).unwrap();
    assert_eq!(hex(&frame), GOLDEN_PACKETS);
}

const GOLDEN_HELLO: &str = "000000730a71080110031a0773686172642d302108070605040302012a05302e312e30322b0a077368612d3235361220abababababababababababababababababababababababababababababababab3a2212090a04c000020110fb4112150a1020010db800000000000000000000000110fb41408827";
const GOLDEN_CREATE: &str = "000000ba1ab7010ab40109444433332222111110031801221e0a04616263641216303132333435363738393031323334353637383930312a1e0a046566676812166162636465666768696a6b6c6d6e6f70717273747576322b0a077368612d3235361220cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd380240014a2609070000000000000012013018022210086010101890bf05206128013001400128effdb6f50d5204080410015a066f7061717565";
const GOLDEN_ROUTE: &str = "0000004a1a48224609090000000000000011080000000000000019070000000000000020012a0131300138d20940d3094a0a086f106d20012880f7025204080110065a0a616c6963652b6b337839";
const GOLDEN_CLOSED: &str = "0000000f120d2a0b0905000000000000001003";
const GOLDEN_PROGRESS: &str = "0000001312116a0f09050000000000000010031887ad4b";

const GOLDEN_WATCH: &str = "0000000d1a0b5a09090500000000000000";
const GOLDEN_PACKETS: &str = "0000004512435a410905000000000000001107000000000000001a2b080310011828220280602a046c6174653219090600000000000000101018012001281430023a04080410012002";

#[test]
fn every_message_survives_the_way() {
    let mut wire = BytesMut::new();
    let to_shard = || to_shard().into_iter().chain(to_newer_shard());
    let from_shard = || from_shard().into_iter().chain(from_newer_shard());
    for message in to_shard() {
        ControlCodec.encode(message, &mut wire).unwrap();
    }
    for message in to_shard() {
        assert_eq!(ShardCodec.decode(&mut wire).unwrap(), Some(message));
    }
    assert!(wire.is_empty());
    for message in from_shard() {
        ShardCodec.encode(message, &mut wire).unwrap();
    }
    for message in from_shard() {
        assert_eq!(ControlCodec.decode(&mut wire).unwrap(), Some(message));
    }
    assert!(wire.is_empty());
}

#[test]
fn frames_may_come_byte_by_byte() {
    let mut whole = BytesMut::new();
    ControlCodec
        .encode(ToShard::Command(Command::PutRoute(Box::new(route()))), &mut whole)
        .unwrap();
    let mut wire = BytesMut::new();
    for (n, byte) in whole.iter().enumerate() {
        wire.put_u8(*byte);
        let decoded = ShardCodec.decode(&mut wire).unwrap();
        assert_eq!(decoded.is_some(), n + 1 == whole.len());
    }
}

#[test]
fn oversized_frames_are_refused_before_they_are_read_or_sent() {
    let mut wire = BytesMut::new();
    wire.put_u32(u32::try_from(limits::MAX_FRAME).unwrap() + 1);
    assert!(matches!(
        ShardCodec.decode(&mut wire),
        Err(FrameError::Oversized(_))
    ));
    let state = vec![0; limits::MAX_FRAME + 1];
    let message = ToShard::Command(Command::SetState {
        session: SessionId(1),
        state,
    });
    assert!(matches!(
        ControlCodec.encode(message, &mut BytesMut::new()),
        Err(FrameError::Oversized(_))
    ));
}

/// Encodes without checking, decodes with.
fn refused(message: ToShard) -> String {
    let mut wire = BytesMut::new();
    ControlCodec.encode(message, &mut wire).unwrap();
    match ShardCodec.decode(&mut wire) {
        Err(FrameError::Invalid(invalid)) => invalid.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn values_beyond_their_limits_are_refused_by_name() {
    let create = |alter: fn(&mut SessionSpec)| {
        let mut spec = spec();
        alter(&mut spec);
        ToShard::Command(Command::CreateSession(Box::new(spec)))
    };
    for (message, want) in [
        (create(|s| s.local.ufrag = "abc".into()), "session.local"),
        (create(|s| s.remote.password = "x".repeat(257)), "session.remote"),
        (
            create(|s| s.fingerprint.value = vec![0; 65]),
            "session.fingerprint",
        ),
        (create(|s| s.receive[0].mid = "m".repeat(17)), "receive.mid"),
        (
            create(|s| s.receive[0].payload_types[0].pt = 128),
            "payload_type.pt",
        ),
        (
            create(|s| s.receive[0].payload_types[0].clock_rate = 0),
            "clock_rate",
        ),
        (
            create(|s| s.receive[0].payload_types.clear()),
            "receive.payload_types",
        ),
        (create(|s| s.receive = vec![s.receive[0].clone(); 65]), "receive"),
        (create(|s| s.extensions[0].id = 15), "extension.id"),
        (
            create(|s| s.state = vec![0; limits::MAX_STATE + 1]),
            "session.state",
        ),
        (create(|s| s.worker = WorkerId(300)), "worker"),
    ] {
        let said = refused(message);
        assert!(said.starts_with(want), "{said:?} should name {want:?}");
    }
    let (channel, text) = (ChannelLabel::Control, "x".repeat(limits::MAX_TEXT + 1));
    let said = refused(ToShard::Command(Command::SendText {
        session: SessionId(1),
        channel,
        text: text.clone(),
    }));
    assert!(said.contains("at most"), "{said}");
    for (sessions, text, want) in [
        (1, text, "broadcast.text"),
        (limits::MAX_BROADCAST + 1, String::new(), "broadcast.sessions"),
    ] {
        let sessions = vec![SessionId(1); sessions];
        let said = refused(ToShard::Command(Command::Broadcast {
            sessions,
            channel,
            text,
        }));
        assert!(said.starts_with(want), "{said:?} should name {want:?}");
    }
    let from_shard = |alter: fn(&mut Packets)| {
        let mut packets = packets();
        alter(&mut packets);
        let mut wire = BytesMut::new();
        let event = FromShard::Event(Event::Packets(Box::new(packets)));
        ShardCodec.encode(event, &mut wire).unwrap();
        match ControlCodec.decode(&mut wire) {
            Err(FrameError::Invalid(invalid)) => invalid.field,
            other => panic!("{other:?}"),
        }
    };
    let many = from_shard(|p| p.records = vec![p.records[0].clone(); limits::MAX_PACKET_RECORDS + 1]);
    assert_eq!(many, "packets.records");
    let long = from_shard(|p| p.records[0].header = vec![0; limits::MAX_PACKET_HEADER + 1]);
    assert_eq!(long, "packet.header");
}

/// A whole batch of the longest headers is a frame.
#[test]
fn the_largest_batch_fits_a_frame() {
    let mut packets = packets();
    packets.records[0].header = vec![0; limits::MAX_PACKET_HEADER];
    packets.records = vec![packets.records[0].clone(); limits::MAX_PACKET_RECORDS];
    let event = FromShard::Event(Event::Packets(Box::new(packets)));
    let mut wire = BytesMut::new();
    ShardCodec.encode(event.clone(), &mut wire).unwrap();
    assert_eq!(ControlCodec.decode(&mut wire).unwrap(), Some(event));
}

#[test]
fn an_empty_frame_is_refused() {
    let mut wire = BytesMut::from(&[0, 0, 0, 0][..]);
    assert!(matches!(
        ShardCodec.decode(&mut wire),
        Err(FrameError::Invalid(_))
    ));
    let mut wire = BytesMut::from(&[0, 0, 0, 0][..]);
    assert!(matches!(
        ControlCodec.decode(&mut wire),
        Err(FrameError::Invalid(_))
    ));
}

/// A newer peer may send fields that we don't know.
#[test]
fn unknown_fields_are_skipped() {
    let mut wire = BytesMut::from(&[0, 0, 0, 7, 0x22, 2, 8, 77, 0xf8, 0x7f, 1][..]);
    assert_eq!(ShardCodec.decode(&mut wire).unwrap(), Some(ToShard::Ping(77)));
}

/// A newer peer may send frames, commands and events that we don't know: as if they had not been sent.
#[test]
fn unknown_kinds_are_skipped() {
    // Field 2000 of a frame; of a command (field 3) and of an event (field 2); an event or command with nothing in it.
    let kind = [0x82, 0x7d, 1, 0];
    let frame = |body: &[u8]| [&[0, 0, 0, u8::try_from(body.len()).unwrap()], body].concat();
    let inner = |field: u8| [&[field << 3 | 2, 4][..], &kind].concat();
    for unknown in [frame(&kind), frame(&inner(3)), frame(&[0x1a, 0])] {
        let mut wire = BytesMut::from(&unknown[..]);
        assert_eq!(ShardCodec.decode(&mut wire).unwrap(), None, "{unknown:?}");
        assert!(wire.is_empty(), "{unknown:?} was consumed");
        let mut wire = BytesMut::from(&[&unknown[..], &unknown].concat()[..]);
        ControlCodec.encode(ToShard::Ping(77), &mut wire).unwrap();
        assert_eq!(ShardCodec.decode(&mut wire).unwrap(), Some(ToShard::Ping(77)));
    }
    for unknown in [frame(&kind), frame(&inner(2)), frame(&[0x12, 0])] {
        let mut wire = BytesMut::from(&[&unknown[..], &unknown].concat()[..]);
        ShardCodec.encode(FromShard::Pong(77), &mut wire).unwrap();
        assert_eq!(ControlCodec.decode(&mut wire).unwrap(), Some(FromShard::Pong(77)));
        assert!(wire.is_empty());
    }
}

/// As of 1.1 a text and a channel are those of `control`: the same bytes as ever, and nothing else is meant by them.
#[test]
fn a_channel_without_a_label_is_the_control_channel() {
    let mut wire = BytesMut::from(&[0, 0, 0, 13, 0x12, 11, 0x32, 9, 0x09, 5, 0, 0, 0, 0, 0, 0, 0][..]);
    let golden = wire.clone();
    let open = FromShard::Event(Event::ChannelOpen {
        session: SessionId(5),
        channel: ChannelLabel::Control,
    });
    assert_eq!(ControlCodec.decode(&mut wire).unwrap(), Some(open.clone()));
    let mut wire = BytesMut::new();
    ShardCodec.encode(open, &mut wire).unwrap();
    assert_eq!(wire, golden);
    // A channel that a newer minor version added is an unknown kind.
    let newer = [
        0, 0, 0, 15, 0x12, 13, 0x32, 11, 0x09, 5, 0, 0, 0, 0, 0, 0, 0, 0x10, 99,
    ];
    assert_eq!(
        ControlCodec.decode(&mut BytesMut::from(&newer[..])).unwrap(),
        None
    );
}

/// A newer peer may have reasons that we don't know: the end of a session and a refusal are news all the same.
#[test]
fn unknown_reasons_are_read_as_general_ones() {
    let event = |bytes: &[u8]| {
        let mut wire = BytesMut::new();
        wire.put_u32(u32::try_from(bytes.len()).unwrap());
        wire.extend_from_slice(bytes);
        ControlCodec.decode(&mut wire).unwrap()
    };
    let session = SessionId(5);
    let id = [0x09, 5, 0, 0, 0, 0, 0, 0, 0, 0x10, 99];
    assert_eq!(
        event(&[&[0x12, 13, 0x2a, 11][..], &id].concat()),
        Some(FromShard::Event(Event::SessionClosed {
            session,
            reason: CloseReason::Internal
        }))
    );
    assert_eq!(
        event(&[&[0x12, 13, 0x12, 11][..], &id].concat()),
        Some(FromShard::Event(Event::CommandRefused {
            session,
            reason: Refusal::Invalid,
            detail: String::new()
        }))
    );
}

/// The whole of 1.1 is understood by 1.0 and 1.1: what has no `since` of its own must never get one.
#[test]
fn what_an_older_minor_knew_stays_known() {
    for message in to_shard() {
        assert_eq!(message.since(), 0, "{message:?}");
    }
    for message in from_shard() {
        assert_eq!(message.since(), 0, "{message:?}");
    }
    for message in to_newer_shard() {
        assert_eq!(message.since(), 2, "{message:?}");
    }
    for message in from_newer_shard() {
        assert_eq!(message.since(), 2, "{message:?}");
    }
    let old = Version {
        major: VERSION.major,
        minor: 1,
    };
    assert!(old.knows(0) && old.knows(1) && !old.knows(2) && VERSION.knows(3));
    let elsewhere = RouteSpec {
        track_worker: RELAY,
        ..route()
    };
    assert_eq!(Command::PutRoute(Box::new(elsewhere)).since(), 3);
    assert!(
        !Version {
            major: VERSION.major + 1,
            minor: 9
        }
        .knows(0),
        "another major is another protocol"
    );
}

proptest! {
    #[test]
    fn readers_survive_noise(noise in prop::collection::vec(any::<u8>(), 0..300)) {
        for prefixed in [false, true] {
            let mut wire = BytesMut::new();
            if prefixed {
                wire.put_u32(u32::try_from(noise.len()).unwrap());
            }
            wire.extend_from_slice(&noise);
            let mut copy = wire.clone();
            while let Ok(Some(_)) = ShardCodec.decode(&mut copy) {}
            while let Ok(Some(_)) = ControlCodec.decode(&mut wire) {}
        }
    }

    #[test]
    fn readers_survive_damage(n in 0usize..12, at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut wire = BytesMut::new();
        ControlCodec.encode(to_shard().swap_remove(n), &mut wire).unwrap();
        let at = at.index(wire.len());
        wire[at] ^= 1 << bit;
        while let Ok(Some(_)) = ShardCodec.decode(&mut wire) {}
    }
}
