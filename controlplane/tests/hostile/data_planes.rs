//! What comes over the control socket and should not (SECURITY 14): cut, oversized, out of turn, without end. One clear line
//! in the log, and everybody else goes on.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::Duration;

use bytes::BytesMut;
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio_util::codec::Encoder;
use weever_controlplane::shards::{SocketError, listen};
use weever_proto::{ChannelLabel, Event, FromShard, SessionId, ShardCodec, ToShard, WorkerId};

use crate::house::{Frames, House, OFFER, hello, request};
use crate::program::{PATIENCE, Program};

fn bytes_of(frame: FromShard) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    ShardCodec.encode(frame, &mut bytes).unwrap();
    bytes.to_vec()
}

/// Reads until it is closed, on a clock that jumps.
async fn is_closed(frames: &mut Frames) {
    tokio::time::pause();
    let ended = async { while let Some(Ok(_)) = frames.next().await {} };
    let ended = tokio::time::timeout(Duration::from_secs(120), ended).await;
    tokio::time::resume();
    assert!(ended.is_ok(), "it is still listened to");
}

async fn greeted(house: &House, name: &str) -> Frames {
    let mut frames = house.dial().await;
    let mut hello = hello(name);
    hello.max_sessions = 3;
    frames.send(FromShard::Hello(hello)).await.unwrap();
    assert!(matches!(frames.next().await, Some(Ok(ToShard::Welcome(_)))));
    frames
}

#[tokio::test]
async fn frames_cut_at_every_byte_are_one_line_in_the_log() {
    let program = Program::with_data_plane("cut", "info", &[]).await;
    let socket = program.socket();
    let whole = bytes_of(FromShard::Hello(hello("cut")));
    let strange: [&[u8]; 4] = [
        &[0xff; 8],
        &[0, 0, 0, 0],
        b"GET / HTTP/1.1\r\n\r\n",
        &[0, 0, 0, 3, 0xff, 0xff, 0xff],
    ];
    let pieces = (0..whole.len()).map(|at| &whole[..at]).chain(strange);
    let mut cut = 0;
    for piece in pieces {
        let mut stream = UnixStream::connect(&socket).await.unwrap();
        let _ = stream.write_all(piece).await;
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest))
            .await
            .expect("it is closed");
        assert!(rest.is_empty(), "nobody was greeted: {rest:?}");
        cut += 1;
    }
    assert!(cut > 50, "{cut} times");
    // One that is whole, and then cut: its name is free again each time.
    let stats = bytes_of(FromShard::Event(Event::ChannelOpen {
        channel: ChannelLabel::Control,
        session: SessionId(7),
    }));
    for at in 1..stats.len() {
        let mut stream = UnixStream::connect(&socket).await.unwrap();
        stream.write_all(&[&whole, &stats[..at]].concat()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest))
            .await
            .expect("it is closed");
        assert!(!rest.is_empty(), "it was greeted");
    }
    assert_eq!(
        request(
            program.public,
            "POST",
            "/pub/r/a",
            &[("content-type", "application/sdp")],
            OFFER
        )
        .await
        .status,
        201
    );
    let log = program.log();
    let said = |what: &str| log.lines().filter(|line| line.contains(what)).count();
    let (closed, all) = (said("a data plane's connection was closed"), log.lines().count());
    assert!(
        (1..=12).contains(&closed),
        "{closed} lines for {cut} connections:\n{log}"
    );
    assert!(all < cut, "{all} lines:\n{log}");
}

#[tokio::test]
async fn two_with_one_name_are_told_and_the_log_is_not_flooded() {
    let program = Program::with_data_plane("twins", "info", &[]).await;
    for _ in 0..50 {
        let mut frames = program.dial().await;
        frames.send(FromShard::Hello(hello("played"))).await.unwrap();
        let Some(Ok(ToShard::Refused(why))) = frames.next().await else {
            panic!()
        };
        assert!(why.contains("--name"), "{why}");
    }
    let log = program.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("--name")).collect();
    assert_eq!(lines.len(), 1, "once a minute is enough: {lines:?}");
    assert_eq!(
        request(program.private, "GET", "/readiness", &[], "")
            .await
            .status,
        200,
        "the first one stays"
    );
}

#[tokio::test]
async fn a_hello_that_contradicts_itself_is_refused() {
    let house = House::empty(&[]).await;
    let mut frames = house.dial().await;
    let mut twice = hello("twice");
    twice.workers.push(twice.workers[0].clone());
    frames.send(FromShard::Hello(twice)).await.unwrap();
    let Some(Ok(ToShard::Refused(why))) = frames.next().await else {
        panic!()
    };
    assert!(why.contains("two workers"), "{why}");
}

#[tokio::test]
async fn a_snapshot_that_does_not_end_counts_wrong_or_comes_twice_ends_the_connection() {
    let house = House::with(&[]).await;
    // It goes on talking, but never of the end of its snapshot.
    let frames = greeted(&house, "endless").await;
    let (mut say, mut hear) = frames.split();
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    let talking = async {
        while let Some(Ok(frame)) = hear.next().await {
            if let ToShard::Ping(nonce) = frame
                && say.send(FromShard::Pong(nonce)).await.is_err()
            {
                return;
            }
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(120), talking).await;
    let waited = began.elapsed();
    tokio::time::resume();
    assert!(ended.is_ok() && waited > Duration::from_secs(10), "{waited:?}");

    let mut frames = greeted(&house, "miscounts").await;
    frames.send(FromShard::SnapshotEnd(7)).await.unwrap();
    is_closed(&mut frames).await;
    let mut frames = greeted(&house, "again").await;
    frames.send(FromShard::SnapshotEnd(0)).await.unwrap();
    frames.send(FromShard::SnapshotEnd(0)).await.unwrap();
    is_closed(&mut frames).await;
    assert_eq!(house.join("/pub/r/a", OFFER).await.status, 201);
}

#[tokio::test]
async fn one_that_takes_no_commands_is_given_up() {
    let house = House::with(&[]).await;
    let mut frames = house.dial().await;
    let mut deaf = hello("deaf");
    deaf.max_sessions = u32::MAX;
    frames.send(FromShard::Hello(deaf)).await.unwrap();
    // It tells of sessions that nobody knows, and each is answered by a command to close it. It reads none of them.
    let unknown = bytes_of(FromShard::Session(Box::new(crate::liars::snapshot(
        crate::liars::spec(),
    ))));
    let many = unknown.repeat(100);
    tokio::time::pause();
    let mut stream = frames.into_inner();
    let telling = async { while stream.write_all(&many).await.is_ok() {} };
    let given_up = tokio::time::timeout(Duration::from_secs(60), telling).await;
    tokio::time::resume();
    assert!(given_up.is_ok(), "it is still waited for");
    assert_eq!(house.join("/pub/r/a", OFFER).await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_events_keeps_nobody_else_waiting_for_ever() {
    let house = House::with(&["--max-joins-per-address=0"]).await;
    let mut frames = greeted(&house, "loud").await;
    frames.send(FromShard::SnapshotEnd(0)).await.unwrap();
    let (mut say, mut hear) = frames.split();
    let flood = tokio::spawn(async move {
        let mut sent = 0_u64;
        loop {
            let session = SessionId(sent);
            let lie = match sent % 4 {
                0 => Event::SessionReady { session },
                1 => Event::SessionSilent {
                    session,
                    silent: true,
                },
                2 => Event::Text {
                    channel: ChannelLabel::Control,
                    session,
                    text: "STOP".into(),
                },
                _ => Event::TrackLive {
                    session,
                    track: weever_proto::TrackId(sent),
                },
            };
            if say.feed(FromShard::Event(lie)).await.is_err() {
                return sent;
            }
            sent += 1;
            tokio::task::consume_budget().await;
        }
    });
    let drain = tokio::spawn(async move { while let Some(Ok(_)) = hear.next().await {} });
    for n in 0..20 {
        let joined = tokio::time::timeout(PATIENCE, house.join(&format!("/pub/r/p{n}"), OFFER)).await;
        assert!([201, 503].contains(&joined.expect("it is answered").status));
    }
    assert_eq!(house.get("/liveness").await.status, 200);
    assert!(!flood.is_finished(), "it goes on");
    flood.abort();
    drain.abort();
}

#[tokio::test]
async fn places_that_others_could_tamper_with_are_refused() {
    let dir = std::env::temp_dir().join(format!("weever-places-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join("control.sock");
    let mode = |mode| std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(mode)).unwrap();
    // A file, a link to a file, a link to nowhere: none is replaced.
    let file = dir.join("precious");
    std::fs::write(&file, "precious").unwrap();
    symlink(&file, &path).unwrap();
    assert!(matches!(listen(&path), Err(SocketError::NoSocket(_))));
    std::fs::remove_file(&path).unwrap();
    symlink(dir.join("nowhere"), &path).unwrap();
    assert!(matches!(listen(&path), Err(SocketError::NoSocket(_))));
    std::fs::remove_file(&path).unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
    // Where everybody writes, somebody may put a socket of their own: but for /tmp, whose files are their owners'.
    mode(0o777);
    let refused = listen(&path).unwrap_err();
    assert!(matches!(refused, SocketError::Open(_)), "{refused}");
    assert!(refused.to_string().contains("chmod"), "{refused}");
    mode(0o1777);
    drop(listen(&path).unwrap());
    mode(0o700);
    std::fs::remove_dir_all(&dir).unwrap();
}

#[tokio::test]
async fn workers_that_are_not_there_get_no_session() {
    let house = House::empty(&[]).await;
    let mut frames = greeted(&house, "small").await;
    frames.send(FromShard::SnapshotEnd(0)).await.unwrap();
    let lie = |worker, load_permille| weever_proto::WorkerStats {
        worker: WorkerId(worker),
        sessions: u32::MAX,
        tracks: 0,
        routes: 0,
        packets_in: u64::MAX,
        bytes_in: 0,
        packets_out: 0,
        bytes_out: 0,
        sends: 0,
        rtx_packets: 0,
        nacked_packets: 0,
        keyframe_requests: 0,
        refused: 0,
        cpu_ns: u64::MAX,
        load_permille,
        egress_window_us: 0,
        delays: vec![u64::MAX; 12],
        delay_sum_us: u64::MAX,
        drops: vec![("a\"b\n# c".into(), 1)],
        io: "x\ny".into(),
    };
    let stats = FromShard::Stats {
        workers: vec![lie(0, u32::MAX), lie(9, 0), lie(9, 0)],
        tracks: vec![],
        resident_memory: u64::MAX,
        relay: None,
    };
    frames.send(stats).await.unwrap();
    let deadline = std::time::Instant::now() + PATIENCE;
    while !house.get("/shards").await.body.contains("\"load\":1.0") {
        assert!(
            std::time::Instant::now() < deadline,
            "{}",
            house.get("/shards").await.body
        );
    }
    let metrics = house.get("/metrics").await;
    assert_eq!(metrics.status, 200);
    for line in metrics
        .body
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
    {
        let value = line.rsplit(' ').next().unwrap();
        assert!(value.parse::<f64>().is_ok(), "a line that is none: {line:?}");
    }
}
