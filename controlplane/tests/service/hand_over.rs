//! A control plane that ends while its sessions live on.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use tokio::net::{TcpStream, UnixStream};
use weever_proto::{Command, Event, FromShard, ToShard};

use crate::house::{Frames, House, OFFER, hello};

/// How long an end may take, on a machine with other things to do.
const PATIENCE: Duration = Duration::from_secs(30);

/// The next command; pings are let go by.
async fn command(frames: &mut Frames) -> Option<Command> {
    loop {
        let next = tokio::time::timeout(PATIENCE, frames.next());
        match next.await.expect("a command, or the end")?.ok()? {
            ToShard::Command(command) => return Some(command),
            ToShard::Ping(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

async fn meet(house: &House) -> Frames {
    let mut frames = house.dial().await;
    frames.send(FromShard::Hello(hello("played"))).await.unwrap();
    assert!(matches!(frames.next().await, Some(Ok(ToShard::Welcome(_)))));
    frames.send(FromShard::SnapshotEnd(0)).await.unwrap();
    while house.get("/readiness").await.status != 200 {
        tokio::task::yield_now().await;
    }
    frames
}

#[tokio::test]
async fn what_was_decided_is_told_before_it_ends() {
    let mut house = House::empty(&[]).await;
    let mut frames = meet(&house).await;
    for id in 0..100 {
        let path = format!("/pub/room/p{id}");
        let join = house.join(&path, OFFER);
        let oblige = async {
            loop {
                if let Some(Command::CreateSession(spec)) = command(&mut frames).await {
                    let session = spec.session;
                    let ready = FromShard::Event(Event::SessionReady { session });
                    return frames.send(ready).await.unwrap();
                }
            }
        };
        let (joined, ()) = tokio::join!(join, oblige);
        assert_eq!(joined.status, 201);
    }
    assert_eq!(house.private("DELETE", "/rooms/room", "").await.status, 200);
    // Nothing was read since.
    tokio::time::timeout(PATIENCE, house.running.finish())
        .await
        .unwrap();
    let mut closed = 0;
    while let Some(command) = command(&mut frames).await {
        closed += u32::from(matches!(command, Command::CloseSession { .. }));
    }
    assert_eq!(closed, 100);
}

#[tokio::test]
async fn a_request_under_way_is_answered_and_nobody_new_is_heard() {
    let mut house = House::empty(&[]).await;
    let mut frames = meet(&house).await;
    let (public, private) = (house.running.public, house.running.private);
    let socket = house.running.control_socket.clone();
    let join = tokio::spawn(async move {
        let headers = [("content-type", "application/sdp")];
        crate::house::request(public, "POST", "/pub/room/alice", &headers, OFFER).await
    });
    let session = loop {
        if let Some(Command::CreateSession(spec)) = command(&mut frames).await {
            break spec.session;
        }
    };
    let answer_late = async {
        // The end has begun when nobody listens.
        while TcpStream::connect(public).await.is_ok() {
            tokio::task::yield_now().await;
        }
        let ready = FromShard::Event(Event::SessionReady { session });
        frames.send(ready).await.unwrap();
    };
    tokio::join!(house.running.finish(), answer_late);
    assert_eq!(join.await.unwrap().status, 201);
    assert!(TcpStream::connect(private).await.is_err());
    assert!(UnixStream::connect(&socket).await.is_err());
}

/// After its start a control plane knows of no session yet, while data planes are still dialling.
#[tokio::test]
async fn a_drain_waits_for_the_data_plane_that_may_hold_sessions() {
    let house = House::empty(&[]).await;
    let drained = house.get("/preStop");
    let dials = async {
        let mut frames = house.dial().await;
        frames.send(FromShard::Hello(hello("late"))).await.unwrap();
        assert!(matches!(frames.next().await, Some(Ok(ToShard::Welcome(_)))));
        // By now it has looked more than once.
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert_eq!(house.get("/liveness").await.status, 200, "it waits");
        frames.send(FromShard::SnapshotEnd(0)).await.unwrap();
        frames
    };
    let (drained, _frames) = tokio::join!(drained, dials);
    assert_eq!(drained.status, 200);
}
