//! The packet window, with a data plane that is played.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketOption;
use pcap_file::pcapng::{Block, PcapNgReader};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use weever_proto::{
    CloseReason, Codec, Command, Event, Extension, ExtensionKind, FromShard, PacketKind, PacketRecord,
    Packets, RtpNote, SessionId, SessionSpec, ToShard, TrackId, Version, WatchEnd,
};

use crate::house::{House, OFFER, hello};

const PATIENCE: Duration = Duration::from_secs(30);
const PATH: &str = "/rooms/r/pub/alice+1/packets";
const AT: u64 = 1_800_000_000_000_000;

/// A data plane that makes sessions, says what it is told to say, and passes on what it is commanded.
struct Plane {
    commands: mpsc::UnboundedReceiver<Command>,
    say: mpsc::UnboundedSender<FromShard>,
}

impl Plane {
    async fn start(house: &House, version: Option<Version>) -> Self {
        let mut frames = house.dial().await;
        let mut hello = hello("played");
        hello.version = version.unwrap_or(hello.version);
        frames.send(FromShard::Hello(hello)).await.unwrap();
        frames.send(FromShard::SnapshotEnd(0)).await.unwrap();
        let (commanded, commands) = mpsc::unbounded_channel();
        let (say, mut said) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            loop {
                let answer = tokio::select! {
                    frame = frames.next() => match frame {
                        Some(Ok(ToShard::Ping(nonce))) => FromShard::Pong(nonce),
                        Some(Ok(ToShard::Command(command))) => {
                            let ready = match &command {
                                Command::CreateSession(spec) => Some(spec.session),
                                _ => None,
                            };
                            let _ = commanded.send(command);
                            let Some(session) = ready else { continue };
                            FromShard::Event(Event::SessionReady { session })
                        }
                        Some(Ok(_)) => continue,
                        _ => return,
                    },
                    Some(frame) = said.recv() => frame,
                };
                if frames.send(answer).await.is_err() {
                    return;
                }
            }
        });
        while house.get("/readiness").await.status != 200 {
            tokio::task::yield_now().await;
        }
        Self { commands, say }
    }

    async fn next<T>(&mut self, mut wanted: impl FnMut(Command) -> Option<T>) -> T {
        let next = async {
            loop {
                if let Some(found) = wanted(self.commands.recv().await.unwrap()) {
                    return found;
                }
            }
        };
        tokio::time::timeout(PATIENCE, next).await.unwrap()
    }

    /// Has Alice publish.
    async fn publisher(&mut self, house: &House) -> SessionSpec {
        assert_eq!(house.join("/pub/r/alice+1", OFFER).await.status, 201);
        self.next(|command| match command {
            Command::CreateSession(spec) => Some(*spec),
            _ => None,
        })
        .await
    }

    async fn watched(&mut self) -> SessionId {
        self.next(|command| match command {
            Command::Watch { session } => Some(session),
            _ => None,
        })
        .await
    }

    async fn unwatched(&mut self) -> SessionId {
        self.next(|command| match command {
            Command::Unwatch { session } => Some(session),
            _ => None,
        })
        .await
    }

    fn event(&self, event: Event) {
        self.say.send(FromShard::Event(event)).unwrap();
    }

    fn packets(&self, session: SessionId, records: Vec<PacketRecord>, left_out: u64) {
        self.event(Event::Packets(Box::new(Packets {
            session,
            at_unix_us: AT,
            records,
            left_out,
        })));
    }
}

/// With the mid and a sequence number of the transport.
fn rtp(track: TrackId, sequence: u8) -> PacketRecord {
    let header = vec![
        0xb0, 0xef, 0, sequence, 0, 0, 0, 9, 0, 0, 0, 7, 0xbe, 0xde, 0, 2, 0x10, b'0', 0x21, 1, 2, 0, 0, 0,
    ];
    let kinds = [(1, ExtensionKind::Mid), (2, ExtensionKind::TransportCc)];
    PacketRecord {
        age_us: 1000 - u32::from(sequence),
        sent: false,
        size: 1000 + 24 + 16,
        header,
        dropped: None,
        kind: PacketKind::Rtp(RtpNote {
            track: Some(track),
            codec: Some(Codec::Opus),
            rtx: false,
            keyframe: sequence == 1,
            payload: 1000,
            padding: 0,
            extensions: kinds.map(|(id, kind)| Extension { id, kind }).to_vec(),
        }),
    }
}

fn rtcp() -> PacketRecord {
    PacketRecord {
        age_us: 0,
        sent: true,
        size: 40,
        header: b"\x80\xc9\0\x01\0\0\0\x01\x81\xce\0\x02\0\0\0\x01\0\0\0\x08".to_vec(),
        dropped: None,
        kind: PacketKind::Rtcp,
    }
}

/// Status line and headers, and the body put together from its chunks (RFC 9112 §7.1).
async fn fetch(house: &House, path: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(house.running.private).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    read.expect("the server ends it").unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..end].to_vec())
        .unwrap()
        .to_ascii_lowercase();
    assert!(head.contains("transfer-encoding: chunked"), "{head}");
    let (mut rest, mut body) = (&answer[end + 4..], Vec::new());
    loop {
        let line = rest.windows(2).position(|two| two == b"\r\n").unwrap();
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16).unwrap();
        if size == 0 {
            return (head, body);
        }
        body.extend(&rest[line + 2..][..size]);
        rest = &rest[line + 2 + size + 2..];
    }
}

async fn house() -> (House, Plane, SessionSpec) {
    let house = House::empty(&[]).await;
    let mut plane = Plane::start(&house, None).await;
    let spec = plane.publisher(&house).await;
    (house, plane, spec)
}

#[tokio::test]
async fn each_packet_is_a_line_of_json() {
    let (house, mut plane, spec) = house().await;
    let track = spec.receive[0].track;
    let told = async {
        let session = plane.watched().await;
        assert_eq!(session, spec.session);
        plane.packets(session, vec![rtp(track, 1), rtcp()], 0);
        plane.packets(session, vec![rtp(track, 2), rtp(track, 3)], 7);
        assert_eq!(plane.unwatched().await, session);
    };
    let path = format!("{PATH}?format=json&packets=3");
    let ((head, body), ()) = tokio::join!(fetch(&house, &path), told);
    assert!(head.starts_with("http/1.1 200"));
    assert!(head.contains("content-type: application/x-ndjson"));
    let body = String::from_utf8(body).unwrap();
    let lines: Vec<Value> = body
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let rtp = |sequence: u64| {
        json!({
            "type": "rtp", "unix_us": AT - 1000 + sequence, "direction": "in", "size": 1040,
            "ssrc": 7, "pt": 111, "seq": sequence, "timestamp": 9, "marker": true,
            "publisher": "alice+1", "track": "audio0", "codec": "opus", "rtx": false, "keyframe": sequence == 1,
            "header_size": 24, "payload_size": 1000, "padding": null,
            "extensions": { "mid": "0", "transport_cc": 258 },
        })
    };
    let feedback = json!({
        "type": "rtcp", "unix_us": AT, "direction": "out", "size": 40,
        "packets": [{ "type": "rr", "ssrc": 1, "reports": [] }, { "type": "pli", "sender": 1, "media": 8 }],
    });
    let session = json!({ "type": "session", "room": "r", "role": "pub", "full_id": "alice+1" });
    assert_eq!(lines[..3], [session, rtp(1), feedback]);
    assert_eq!(lines[3..5], [json!({ "type": "left_out", "packets": 7 }), rtp(2)]);
    assert_eq!(lines[5]["type"], "end");
    assert_eq!(lines.len(), 6);
}

#[tokio::test]
async fn direction_and_kind_choose() {
    let (house, mut plane, spec) = house().await;
    let track = spec.receive[0].track;
    for (query, wanted) in [
        ("direction=out", "rtcp"),
        ("kind=rtcp", "rtcp"),
        ("direction=in&kind=rtp", "rtp"),
    ] {
        let told = async {
            let session = plane.watched().await;
            plane.packets(session, vec![rtp(track, 1), rtcp()], 0);
            plane.unwatched().await;
        };
        let path = format!("{PATH}?format=json&packets=1&{query}");
        let ((_, body), ()) = tokio::join!(fetch(&house, &path), told);
        let body = String::from_utf8(body).unwrap();
        let line: Value = serde_json::from_str(body.lines().nth(1).unwrap()).unwrap();
        assert_eq!(line["type"], wanted, "{query}");
    }
}

#[tokio::test]
async fn a_capture_is_what_other_software_reads() {
    let (house, mut plane, spec) = house().await;
    let track = spec.receive[0].track;
    let told = async {
        let session = plane.watched().await;
        plane.packets(session, vec![rtp(track, 1)], 0);
        plane.packets(session, vec![rtcp()], 9);
        plane.event(Event::SessionClosed {
            session,
            reason: CloseReason::PeerClosed,
        });
    };
    let path = format!("{PATH}?format=pcapng");
    let ((head, body), ()) = tokio::join!(fetch(&house, &path), told);
    assert!(head.contains("content-type: application/x-pcapng"));
    assert!(head.contains("content-disposition: attachment; filename=\"r-pub-alice+1.pcapng\""));
    let mut reader = PcapNgReader::new(&body[..]).unwrap();
    let mut blocks = Vec::new();
    while let Some(block) = reader.next_block() {
        blocks.push(block.unwrap().into_owned());
    }
    let [
        Block::InterfaceDescription(interface),
        Block::EnhancedPacket(media),
        Block::EnhancedPacket(report),
        rest,
    ] = &blocks[..]
    else {
        panic!("{blocks:?}")
    };
    assert_eq!(u32::from(interface.linktype), 252);
    // The crate takes every unit for a nanosecond. Ours is the one that is meant without an option: a microsecond.
    assert_eq!(media.timestamp, Duration::from_nanos(AT - 999));
    assert_eq!(report.timestamp, Duration::from_nanos(AT));
    let record = rtp(track, 1);
    let (tags, header) = media.data.split_at(media.data.len() - record.header.len());
    assert!(tags.windows(4).any(|four| four == b"rtp\0"));
    assert_eq!(header[1..], record.header[1..]);
    assert_eq!(header[0], 0x90, "its padding is not among what is written");
    assert_eq!(
        media.original_len as usize,
        media.data.len() + 1000,
        "what was cut off"
    );
    assert!(report.data.ends_with(&rtcp().header));
    assert_eq!(report.original_len as usize, report.data.len());
    let comment = EnhancedPacketOption::Comment("alice+1 audio0, opus, keyframe, padded".into());
    assert_eq!(media.options, [comment, EnhancedPacketOption::Flags(1)]);
    assert_eq!(
        report.options,
        [EnhancedPacketOption::Flags(2), EnhancedPacketOption::DropCount(9)]
    );
    assert!(matches!(rest, Block::InterfaceStatistics(_)), "{rest:?}");
}

#[tokio::test]
async fn a_websocket_is_told_until_the_session_ends() {
    let (house, mut plane, spec) = house().await;
    let url = format!("ws://{}{PATH}", house.running.private);
    let (mut socket, _) =
        tokio_tungstenite::client_async(&url, TcpStream::connect(house.running.private).await.unwrap())
            .await
            .unwrap();
    let session = plane.watched().await;
    plane.packets(session, vec![rtp(spec.receive[0].track, 1)], 0);
    assert_eq!(plane.watched().await, session, "the tap is renewed");
    plane.event(Event::SessionClosed {
        session,
        reason: CloseReason::PeerClosed,
    });
    let mut types = Vec::new();
    let close = loop {
        match tokio::time::timeout(PATIENCE, socket.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap()
        {
            Message::Text(text) => types.push(serde_json::from_str::<Value>(&text).unwrap()),
            Message::Close(frame) => break frame.unwrap(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(u16::from(close.code), 1000);
    let kinds: Vec<_> = types.iter().map(|told| told["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["session", "rtp", "end"]);
    assert_eq!(types[2]["reason"], "the session ended: peer-closed");
    assert!(socket.next().await.is_none_or(|rest| rest.is_err()), "and closed");
}

#[tokio::test]
async fn who_hangs_up_switches_the_tap_off_unless_another_looks() {
    let (house, mut plane, spec) = house().await;
    let open = async || {
        let mut stream = TcpStream::connect(house.running.private).await.unwrap();
        let request = format!("GET {PATH}?format=json HTTP/1.1\r\nhost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.read_exact(&mut [0; 12]).await.unwrap();
        stream
    };
    let first = open().await;
    plane.watched().await;
    let second = open().await;
    plane.watched().await;
    drop(first);
    // The renewal of the second comes; an end would have come before it.
    let next = plane
        .next(|command| match command {
            Command::Watch { .. } => Some(true),
            Command::Unwatch { .. } => Some(false),
            _ => None,
        })
        .await;
    assert!(next);
    drop(second);
    assert_eq!(plane.unwatched().await, spec.session);
}

#[tokio::test]
async fn what_cannot_be_watched_is_refused_in_words() {
    let (house, mut plane, spec) = house().await;
    for (path, status, words) in [
        ("/rooms/r/pub/alice/packets?format=json", 404, "Full ID"),
        ("/rooms/r/sub/alice+1/packets?format=json", 404, "sub alice+1"),
        ("/rooms/other/pub/alice+1/packets?format=json", 404, "room other"),
        (
            "/rooms/r/chef/alice+1/packets?format=json",
            400,
            "neither pub nor sub",
        ),
        ("/rooms/r.r/pub/alice+1/packets?format=json", 400, ""),
        ("/rooms/r/pub/alice+1/packets?format=gif", 400, "gif"),
        (
            "/rooms/r/pub/alice+1/packets?format=json&seconds=0",
            400,
            "1 to 3600",
        ),
        (
            "/rooms/r/pub/alice+1/packets?format=json&packets=0",
            400,
            "at least 1",
        ),
        ("/rooms/r/pub/alice+1/packets?format=json&direction=up", 400, "up"),
        ("/rooms/r/pub/alice+1/packets?format=json&kind=sctp", 400, "sctp"),
        ("/rooms/r/pub/alice+1/packets", 426, "WebSocket"),
    ] {
        let (got, detail) = house.get(path).await.problem();
        assert_eq!(got, status, "{path}: {detail}");
        assert!(detail.contains(words), "{path}: {detail}");
    }
    assert_eq!(house.private("DELETE", PATH, "").await.problem().0, 405);
    // Its worker has no room for another tap.
    let full = async {
        let session = plane.watched().await;
        let reason = WatchEnd::Full;
        plane.event(Event::WatchEnded { session, reason });
    };
    let path = format!("{PATH}?format=json");
    let ((_, body), ()) = tokio::join!(fetch(&house, &path), full);
    let body = String::from_utf8(body).unwrap();
    assert!(
        body.lines().last().unwrap().contains("as many sessions"),
        "{body}"
    );
    assert_eq!(plane.unwatched().await, spec.session);
}

#[tokio::test]
async fn an_older_data_plane_is_not_asked() {
    let house = House::empty(&[]).await;
    let mut plane = Plane::start(&house, Some(Version { major: 1, minor: 1 })).await;
    plane.publisher(&house).await;
    let (status, detail) = house.get(&format!("{PATH}?format=json")).await.problem();
    assert_eq!(status, 409, "{detail}");
}

#[tokio::test]
async fn seconds_end_it() {
    let (house, mut plane, _) = house().await;
    let path = format!("{PATH}?format=json&seconds=1");
    let ((_, body), _) = tokio::join!(fetch(&house, &path), plane.unwatched());
    let body = String::from_utf8(body).unwrap();
    assert!(
        body.ends_with("{\"type\":\"end\",\"reason\":\"the time that was asked for is over\"}\n"),
        "{body}"
    );
}
