//! The control socket and those who misuse it.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use weever_controlplane::shards::{SocketError, listen};
use weever_proto::{ChannelLabel, Command, Event, FromShard, SessionId, ToShard, Version};

use crate::house::{House, OFFER, hello};

#[tokio::test]
async fn only_its_user_may_dial() {
    let house = House::empty(&[]).await;
    let socket = &house.running.control_socket;
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(socket), 0o600);
    assert_eq!(mode(socket.parent().unwrap()), 0o700);
    assert!(
        matches!(listen(socket), Err(SocketError::InUse(_))),
        "a live one is not taken over"
    );
}

#[tokio::test]
async fn what_a_dead_one_left_is_replaced() {
    let path = std::env::temp_dir().join(format!("weever-stale-{}.sock", std::process::id()));
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    drop(listen(&path).unwrap());
    std::fs::remove_file(&path).unwrap();
}

#[tokio::test]
async fn strangers_to_the_protocol_are_cut_off() {
    let house = House::with(&[]).await;
    for bytes in [
        &[0xff, 0xff, 0xff, 0xff][..],
        &[0, 0, 0, 5, 1, 2, 3, 4, 5],
        &[0, 0, 0, 0],
        b"GET / HTTP/1.1\r\n\r\n",
    ] {
        let mut stream = UnixStream::connect(&house.running.control_socket).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await;
        assert!(closed.is_ok() && rest.is_empty(), "{bytes:?}");
    }
    // One that says nothing is not waited for.
    let mut stream = UnixStream::connect(&house.running.control_socket).await.unwrap();
    let closed = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut [0])).await;
    assert!(matches!(closed, Ok(Ok(0))));
    assert_eq!(
        house.join("/pub/r/alice", OFFER).await.status,
        201,
        "others are not concerned"
    );
}

#[tokio::test]
async fn versions_and_names_are_checked() {
    let house = House::with(&[]).await;
    let mut other = hello("other");
    other.version = Version { major: 99, minor: 0 };
    for (hello, word) in [(other, "version"), (hello("played"), "--name")] {
        let mut frames = house.dial().await;
        frames.send(FromShard::Hello(hello)).await.unwrap();
        let Some(Ok(ToShard::Refused(reason))) = frames.next().await else {
            panic!()
        };
        assert!(reason.contains(word), "{reason}");
        assert!(frames.next().await.is_none(), "and closed");
    }
    let mut frames = house.dial().await;
    let mut newer = hello("newer");
    newer.version.minor += 7;
    frames.send(FromShard::Hello(newer)).await.unwrap();
    assert!(
        matches!(frames.next().await, Some(Ok(ToShard::Welcome(_)))),
        "a newer minor is no matter"
    );
    frames.send(FromShard::Hello(hello("newer"))).await.unwrap();
    while let Some(Ok(frame)) = frames.next().await {
        assert!(
            matches!(frame, ToShard::Ping(_)),
            "introducing oneself twice ends it"
        );
    }
}

/// A newer data plane: what it says that we don't know is as if it had not been said.
#[tokio::test]
async fn unknown_frames_and_events_are_skipped() {
    let house = House::empty(&[]).await;
    let mut frames = house.dial().await;
    // Field 2000, as a frame and as an event; also before the hello.
    let frame = [0, 0, 0, 4, 0x82, 0x7d, 1, 0];
    let event = [0, 0, 0, 6, 0x12, 4, 0x82, 0x7d, 1, 0];
    frames.get_mut().write_all(&frame).await.unwrap();
    let mut newer = hello("newer");
    newer.version.minor += 1;
    frames.send(FromShard::Hello(newer)).await.unwrap();
    assert!(matches!(frames.next().await, Some(Ok(ToShard::Welcome(_)))));
    frames
        .get_mut()
        .write_all(&[&frame[..], &event].concat())
        .await
        .unwrap();
    frames.send(FromShard::SnapshotEnd(0)).await.unwrap();
    while house.get("/readiness").await.status != 200 {
        assert!(
            !matches!(frames.next().await, None | Some(Err(_))),
            "the connection stays"
        );
    }
}

/// Chat came with 1.2: what it needs isn't sent to an older data plane, and what else there is to say is.
#[tokio::test]
async fn an_older_data_plane_is_not_told_what_it_cannot_know() {
    for minor in [1, 2, 3] {
        let house = House::empty(&[]).await;
        let mut frames = house.dial().await;
        let mut older = hello("older");
        older.version.minor = minor;
        frames.send(FromShard::Hello(older)).await.unwrap();
        assert!(matches!(frames.next().await, Some(Ok(ToShard::Welcome(_)))));
        frames.send(FromShard::SnapshotEnd(0)).await.unwrap();
        while house.get("/readiness").await.status != 200 {
            tokio::task::yield_now().await;
        }
        let joining = house.join("/pub/r/alice", OFFER);
        let serving = async {
            loop {
                let frame = frames.next().await.unwrap().unwrap();
                if let ToShard::Command(Command::CreateSession(spec)) = frame {
                    let session = spec.session;
                    for event in [
                        Event::SessionReady { session },
                        open(session, ChannelLabel::Control),
                        open(session, ChannelLabel::Chat),
                        said(session, ChannelLabel::Chat),
                        said(session, ChannelLabel::Control),
                    ] {
                        frames.send(FromShard::Event(event)).await.unwrap();
                    }
                    return;
                }
            }
        };
        let (joined, ()) = tokio::join!(joining, serving);
        assert_eq!(joined.status, 201);
        let mut broadcasts = 0;
        loop {
            match frames.next().await.unwrap().unwrap() {
                ToShard::Command(Command::Broadcast { text, .. }) => {
                    assert_eq!(text, "alice hello");
                    broadcasts += 1;
                }
                ToShard::Command(Command::SendText { text, .. }) => {
                    assert_eq!(text, "OK");
                    break;
                }
                _ => {}
            }
        }
        assert_eq!(broadcasts, i32::from(minor >= 2), "minor version {minor}");
    }
}

fn open(session: SessionId, channel: ChannelLabel) -> Event {
    Event::ChannelOpen { session, channel }
}

fn said(session: SessionId, channel: ChannelLabel) -> Event {
    let text = "hello".to_owned();
    Event::Text {
        session,
        channel,
        text,
    }
}

#[tokio::test]
async fn one_that_hangs_is_given_up() {
    let house = House::empty(&[]).await;
    let mut frames = house.dial().await;
    frames.send(FromShard::Hello(hello("sleepy"))).await.unwrap();
    frames.next().await.unwrap().unwrap();
    frames.send(FromShard::SnapshotEnd(0)).await.unwrap();
    while house.get("/readiness").await.status != 200 {
        tokio::task::yield_now().await;
    }
    // It reads its pings but says nothing.
    let ended = async { while let Some(Ok(_)) = frames.next().await {} };
    assert!(tokio::time::timeout(Duration::from_secs(20), ended).await.is_ok());
    assert_eq!(house.get("/readiness").await.status, 503);
}
