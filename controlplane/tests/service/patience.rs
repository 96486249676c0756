//! Clients that dawdle, hang up, or come over TLS and HTTP/2.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use weever_proto::{Command, Event, FromShard, ToShard};

use crate::house::{Frames, House, OFFER, hello};

/// Longer than the server waits for anything, with room for a busy machine.
const LONG: Duration = Duration::from_secs(60);

/// Sends the beginning of something and returns what came until the server closed.
async fn begin(house: &House, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(house.running.public).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(LONG, stream.read_to_end(&mut answer))
        .await
        .expect("the server lets go")
        .unwrap();
    answer
}

#[tokio::test]
async fn no_connection_is_kept_for_nothing() {
    let house = House::with(&[]).await;
    let body = b"POST /pub/r/slow HTTP/1.1\r\nhost: w\r\ncontent-type: application/sdp\r\ncontent-length: 99\r\n\r\nv=0";
    let (silent, undecided, headers, preface, late) = tokio::join!(
        begin(&house, b""),
        begin(&house, b"P"),
        begin(&house, b"POST /pub/r/slow HTTP/1.1\r\nhost: w\r\n"),
        begin(&house, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"),
        begin(&house, body),
    );
    assert!(silent.is_empty() && undecided.is_empty());
    assert!(headers.is_empty() || headers.starts_with(b"HTTP/1.1 408"));
    assert_eq!(preface.get(3), Some(&4), "SETTINGS, and then nothing was asked");
    assert!(
        late.starts_with(b"HTTP/1.1 408"),
        "{}",
        String::from_utf8_lossy(&late)
    );
    assert_eq!(house.join("/pub/r/quick", OFFER).await.status, 201);
}

/// The next command that is none of the house's own.
async fn command(frames: &mut Frames) -> Command {
    loop {
        match frames.next().await.unwrap().unwrap() {
            ToShard::Ping(nonce) => frames.send(FromShard::Pong(nonce)).await.unwrap(),
            ToShard::Command(command) => return command,
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_client_that_hangs_up_before_its_answer_leaves_nothing_behind() {
    let house = House::empty(&[]).await;
    let mut frames = house.dial().await;
    frames.send(FromShard::Hello(hello("thoughtful"))).await.unwrap();
    frames.send(FromShard::SnapshotEnd(0)).await.unwrap();
    while house.get("/readiness").await.status != 200 {
        tokio::task::yield_now().await;
    }
    // The server needs a moment to see that the client has gone; how long is the machine's affair.
    for wait_ms in [50, 200, 800, 2000] {
        let mut client = TcpStream::connect(house.running.public).await.unwrap();
        let head = format!(
            "POST /pub/r/gone{wait_ms} HTTP/1.1\r\nhost: w\r\ncontent-type: application/sdp\r\ncontent-length: {}\r\n\r\n",
            OFFER.len()
        );
        client.write_all((head + OFFER).as_bytes()).await.unwrap();
        let Command::CreateSession(spec) = command(&mut frames).await else {
            panic!()
        };
        drop(client);
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        let session = spec.session;
        frames
            .send(FromShard::Event(Event::SessionReady { session }))
            .await
            .unwrap();
        let closed = async { while command(&mut frames).await != (Command::CloseSession { session }) {} };
        if tokio::time::timeout(Duration::from_secs(2), closed).await.is_ok() {
            assert!(
                !house
                    .get("/list/pub/r")
                    .await
                    .body
                    .contains(&format!("gone{wait_ms}"))
            );
            return;
        }
    }
    panic!("its session was never closed");
}

#[tokio::test]
async fn paths_that_are_nearly_right_are_told_so() {
    let house = House::with(&[]).await;
    for path in [
        "/pub/r",
        "/pub//a",
        "/sub/r/",
        "/pub/r/a/b",
        "/pub/r%2Fa/b",
        "/pub/%FF/a",
        "/sub/r/+x",
    ] {
        let (status, detail) = house.join(path, OFFER).await.problem();
        assert_eq!(status, 400, "{path}: {detail}");
    }
    assert_eq!(house.join("/sub/r/a?from=x&from=y", OFFER).await.problem().0, 400);
    assert_eq!(house.join("/nothing/here", OFFER).await.problem().0, 404);
    let refused = house.join("/index.html", OFFER).await;
    assert_eq!(refused.header("allow"), Some("GET, HEAD"));
    assert_eq!(refused.problem().0, 405);
    for (method, path, allow) in [
        ("PUT", "/rooms/r", "POST"),
        ("HEAD", "/preStop", "GET"),
        ("GET", "/create/pub", "POST"),
    ] {
        let refused = house.private(method, path, "").await;
        assert_eq!(refused.status, 405, "{method} {path}");
        assert!(
            refused.header("allow").unwrap().contains(allow),
            "{method} {path}"
        );
    }
    let set = r#"{"room":"r","id":"a","token":"white space"}"#;
    assert_eq!(house.private("POST", "/create/pub", set).await.problem().0, 400);
}

#[tokio::test]
async fn requests_under_way_are_answered_at_the_end() {
    let house = House::empty(&[]).await;
    let mut frames = house.dial().await;
    frames.send(FromShard::Hello(hello("last"))).await.unwrap();
    frames.send(FromShard::SnapshotEnd(0)).await.unwrap();
    while house.get("/readiness").await.status != 200 {
        tokio::task::yield_now().await;
    }
    let (joined, ()) = tokio::join!(house.join("/pub/r/a", OFFER), async {
        let Command::CreateSession(spec) = command(&mut frames).await else {
            panic!()
        };
        let session = spec.session;
        house.running.refuse_connections();
        frames
            .send(FromShard::Event(Event::SessionReady { session }))
            .await
            .unwrap();
    });
    assert_eq!(joined.status, 201);
    while TcpStream::connect(house.running.public).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
