//! The control socket and those who misuse it.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use weever_controlplane::shards::{SocketError, listen};
use weever_proto::{FromShard, ToShard, Version};

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
