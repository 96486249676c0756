//! A data plane of the protocol's first minor version, as one that still runs when the control plane is upgraded.

use futures::{SinkExt, StreamExt};
use tokio::sync::mpsc;
use weever_proto::{
    CloseReason, Command, DtlsRole, Event, FromShard, Hello, IceCredentials, Role, SessionId,
    SessionSnapshot, SessionSpec, ToShard, Version, WorkerId,
};

use crate::house::{Frames, House, OFFER, hello};

/// As a build of 1.0 says it: nothing that came later is in it.
fn first_hello(name: &str) -> Hello {
    Hello {
        version: Version { major: 1, minor: 0 },
        draining: false,
        relay: false,
        ..hello(name)
    }
}

/// Does as it is told, and refuses to understand what 1.0 did not have. Tells which commands came.
async fn first_data_plane(mut frames: Frames, told: mpsc::UnboundedSender<Command>) {
    while let Some(Ok(frame)) = frames.next().await {
        let command = match frame {
            ToShard::Ping(nonce) => {
                frames.send(FromShard::Pong(nonce)).await.unwrap();
                continue;
            }
            ToShard::Command(command) => command,
            other => panic!("{other:?} in the middle of a conversation of 1.0"),
        };
        assert_eq!(command.since(), 0, "1.0 has no {command:?}");
        let events = match &command {
            Command::CreateSession(spec) => vec![
                Event::SessionReady {
                    session: spec.session,
                },
                Event::SessionConnected {
                    session: spec.session,
                },
            ],
            Command::CloseSession { session } => vec![Event::SessionClosed {
                session: *session,
                reason: CloseReason::Requested,
            }],
            _ => vec![],
        };
        for event in events {
            frames.send(FromShard::Event(event)).await.unwrap();
        }
        if told.send(command).is_err() {
            return;
        }
    }
}

async fn meet(
    house: &House,
    hello: Hello,
    sessions: Vec<SessionSnapshot>,
) -> mpsc::UnboundedReceiver<Command> {
    let mut frames = house.dial().await;
    frames.send(FromShard::Hello(hello)).await.unwrap();
    assert!(matches!(frames.next().await, Some(Ok(ToShard::Welcome(_)))));
    let count = u32::try_from(sessions.len()).unwrap();
    for session in sessions {
        frames.send(FromShard::Session(Box::new(session))).await.unwrap();
    }
    frames.send(FromShard::SnapshotEnd(count)).await.unwrap();
    let (told, commands) = mpsc::unbounded_channel();
    tokio::spawn(first_data_plane(frames, told));
    while house.get("/readiness").await.status != 200 {
        tokio::task::yield_now().await;
    }
    commands
}

#[tokio::test]
async fn a_data_plane_of_the_first_minor_is_served() {
    let house = House::empty(&[]).await;
    let mut commands = meet(&house, first_hello("first"), vec![]).await;
    let publisher = house.join("/pub/room/alice", OFFER).await;
    assert_eq!(publisher.status, 201, "{}", publisher.body);
    let viewer = house.join("/sub/room/viewer", OFFER).await;
    assert_eq!(viewer.status, 201, "{}", viewer.body);
    let restart = "a=ice-ufrag:new1\r\na=ice-pwd:newnewnewnewnewnewnewnew\r\n";
    let etag = viewer.header("etag").unwrap().to_owned();
    let headers = [
        ("content-type", "application/trickle-ice-sdpfrag"),
        ("if-match", etag.as_str()),
    ];
    let restarted = house
        .public("PATCH", viewer.header("location").unwrap(), &headers, restart)
        .await;
    assert_eq!(restarted.status, 200, "{}", restarted.body);
    let location = publisher.header("location").unwrap();
    assert_eq!(house.public("DELETE", location, &[], "").await.status, 200);
    assert_eq!(house.private("POST", "/shards/first/drain", "").await.status, 200);
    let mut seen = (0, 0, 0, 0);
    loop {
        match commands.recv().await.expect("it was told to drain") {
            Command::CreateSession(_) => seen.0 += 1,
            Command::RestartIce { .. } => seen.1 += 1,
            Command::CloseSession { .. } => seen.2 += 1,
            Command::PutRoute(_) => seen.3 += 1,
            Command::Drain => break,
            _ => {}
        }
    }
    assert_eq!(
        seen,
        (2, 1, 1, 1),
        "created, restarted, closed; the publisher's sound forwarded"
    );
    assert_eq!(house.get("/list/sub/room").await.body, "viewer");
}

/// An upgrade: what a session's state said under the old control plane, the new one takes over.
#[tokio::test]
async fn sessions_of_a_data_plane_of_the_first_minor_are_taken_over() {
    let old = House::empty(&[]).await;
    let mut commands = meet(&old, first_hello("first"), vec![]).await;
    let joined = old.join("/pub/room/alice", OFFER).await;
    assert_eq!(joined.status, 201);
    let Some(Command::CreateSession(spec)) = commands.recv().await else {
        panic!("no session")
    };
    let snapshot = SessionSnapshot {
        live_tracks: spec.receive.iter().map(|receive| receive.track).collect(),
        spec: *spec,
        routes: vec![],
        connected: true,
        silent: false,
        channel_open: false,
        chat_open: false,
        age_ms: 1000,
    };
    drop(old);
    let new = House::empty(&[]).await;
    let mut commands = meet(&new, first_hello("first"), vec![snapshot]).await;
    assert_eq!(new.get("/list/pub/room").await.body, "alice");
    assert_eq!(new.join("/pub/room/alice", OFFER).await.status, 409);
    let location = joined.header("location").unwrap();
    assert_eq!(new.public("DELETE", location, &[], "").await.status, 200);
    while !matches!(commands.recv().await, Some(Command::CloseSession { .. })) {}
}

/// What a build of 1.1 left with its data plane: a publisher, and a player of `whepclientsrc`.
#[tokio::test]
async fn states_that_an_older_build_left_are_taken_over() {
    let states = [
        (Role::Publisher, include_str!("older/publisher.json")),
        (Role::Subscriber, include_str!("older/player.json")),
    ];
    let house = House::empty(&[]).await;
    let sessions = (1..)
        .zip(states)
        .map(|(number, (role, state))| left_behind(number, role, state));
    let mut commands = meet(&house, first_hello("first"), sessions.collect()).await;
    assert_eq!(house.get("/list/pub/room").await.body, "alice+1");
    assert_eq!(house.get("/list/sub/room").await.body, "viewer");
    for (_, state) in states {
        let state: serde_json::Value = serde_json::from_str(state).unwrap();
        let location = format!("/session/{}", state["key"].as_str().unwrap());
        assert_eq!(house.public("DELETE", &location, &[], "").await.status, 200);
    }
    let mut closed = 0;
    while closed < 2 {
        closed += u32::from(matches!(
            commands.recv().await,
            Some(Command::CloseSession { .. })
        ));
    }
}

fn left_behind(number: u64, role: Role, state: &str) -> SessionSnapshot {
    let ice = IceCredentials {
        ufrag: "ufrag".into(),
        password: "p".repeat(24),
    };
    SessionSnapshot {
        spec: SessionSpec {
            session: SessionId(number),
            worker: WorkerId(0),
            role,
            local: ice.clone(),
            remote: ice,
            fingerprint: hello("any").fingerprint,
            dtls_role: DtlsRole::Server,
            data_channel: false,
            receive: vec![],
            extensions: vec![],
            state: state.as_bytes().to_vec(),
        },
        routes: vec![],
        connected: true,
        silent: false,
        channel_open: false,
        chat_open: false,
        live_tracks: vec![],
        age_ms: 1000,
    }
}
