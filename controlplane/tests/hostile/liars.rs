//! A data plane that tells lies (SECURITY 14): of sessions that are another's, of names, keys and roles that are taken, in
//! states that are garbage. It is not believed, and the one whose they are notices nothing.

use std::time::{Duration, Instant};

use futures::{SinkExt, StreamExt};
use serde_json::Value;
use weever_controlplane::rooms::{Action, Entropy, Rooms, RoomsConfig, ShardId};
use weever_proto::{
    ChannelLabel, CloseReason, Command, DtlsRole, Event, FromShard, IceCredentials, Refusal, Role, SessionId,
    SessionSnapshot, SessionSpec, ToShard, WorkerId,
};

use crate::house::{Frames, House, OFFER, hello};
use crate::program::PATIENCE;

/// The next command of a kind.
async fn command(frames: &mut Frames, mut is_it: impl FnMut(&Command) -> bool) -> Command {
    let waiting = async {
        loop {
            match frames.next().await.unwrap().unwrap() {
                ToShard::Ping(nonce) => frames.send(FromShard::Pong(nonce)).await.unwrap(),
                ToShard::Command(command) if is_it(&command) => return command,
                _ => {}
            }
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("a command")
}

async fn dial(house: &House, name: &str, max_sessions: u32) -> Frames {
    let mut frames = house.dial().await;
    let mut hello = hello(name);
    hello.max_sessions = max_sessions;
    frames.send(FromShard::Hello(hello)).await.unwrap();
    assert!(matches!(frames.next().await, Some(Ok(ToShard::Welcome(_)))));
    frames
}

/// Of a session that no control plane made.
pub fn spec() -> SessionSpec {
    let ice = |ufrag: &str| IceCredentials {
        ufrag: ufrag.into(),
        password: "p".repeat(24),
    };
    SessionSpec {
        session: SessionId(1),
        worker: WorkerId(0),
        role: Role::Publisher,
        local: ice("ours"),
        remote: ice("theirs"),
        fingerprint: hello("x").fingerprint,
        dtls_role: DtlsRole::Server,
        data_channel: false,
        receive: vec![],
        extensions: vec![],
        state: b"garbage".to_vec(),
    }
}

pub fn snapshot(spec: SessionSpec) -> SessionSnapshot {
    SessionSnapshot {
        spec,
        routes: vec![],
        connected: true,
        silent: true,
        channel_open: true,
        chat_open: true,
        live_tracks: vec![],
        age_ms: u64::MAX,
    }
}

/// Joins on an honest data plane, and tells what it was commanded.
async fn joined(house: &House, honest: &mut Frames, path: &str) -> (SessionSpec, String) {
    let joining = house.join(path, OFFER);
    let making = async {
        let Command::CreateSession(spec) =
            command(honest, |one| matches!(one, Command::CreateSession(_))).await
        else {
            unreachable!()
        };
        let session = spec.session;
        honest
            .send(FromShard::Event(Event::SessionReady { session }))
            .await
            .unwrap();
        *spec
    };
    let (answer, spec) = tokio::join!(joining, making);
    assert_eq!(answer.status, 201);
    (spec, answer.header("location").unwrap().to_owned())
}

#[tokio::test]
async fn sessions_of_others_are_neither_taken_nor_touched() {
    let house = House::empty(&[]).await;
    let mut honest = dial(&house, "honest", 1000).await;
    honest.send(FromShard::SnapshotEnd(0)).await.unwrap();
    while house.get("/readiness").await.status != 200 {
        tokio::task::yield_now().await;
    }
    let (alice, location) = joined(&house, &mut honest, "/pub/r/alice").await;
    let session = alice.session;

    let mut liar = dial(&house, "liar", 1000).await;
    let known: Value = serde_json::from_slice(&alice.state).unwrap();
    let renamed = |role, name: &str, id: u64| {
        let mut state = known.clone();
        state["id"] = name.into();
        let mut spec = alice.clone();
        spec.session = SessionId(id);
        spec.role = role;
        spec.state = serde_json::to_vec(&state).unwrap();
        spec
    };
    let mut elsewhere = renamed(Role::Publisher, "mallory", 4);
    let mut state = known.clone();
    state["id"] = "mallory".into();
    state["key"] = "0123456789abcdef0123456789abcdef".into();
    elsewhere.state = serde_json::to_vec(&state).unwrap();
    elsewhere.worker = WorkerId(99);
    let mut garbage = alice.clone();
    (garbage.session, garbage.state) = (SessionId(5), b"{\"room\":\"r\"".to_vec());
    let lies = [
        ("her very session", alice.clone()),
        ("her name", renamed(Role::Publisher, "alice", 1)),
        (
            "her URL under another name",
            renamed(Role::Publisher, "mallory", 2),
        ),
        (
            "a publisher's state as a subscriber's",
            renamed(Role::Subscriber, "alice", 3),
        ),
        ("a worker that it does not have", elsewhere),
        ("garbage", garbage),
    ];
    let count = u32::try_from(lies.len()).unwrap();
    for (what, lie) in lies {
        let id = lie.session;
        liar.send(FromShard::Session(Box::new(snapshot(lie))))
            .await
            .unwrap();
        let answer = command(&mut liar, |one| {
            matches!(
                one,
                Command::CloseSession { .. } | Command::RestartIce { .. } | Command::SetState { .. }
            )
        })
        .await;
        assert_eq!(answer, Command::CloseSession { session: id }, "{what}");
    }
    liar.send(FromShard::SnapshotEnd(count)).await.unwrap();
    for lie in [
        Event::SessionClosed {
            session,
            reason: CloseReason::PeerClosed,
        },
        Event::CommandRefused {
            session,
            reason: Refusal::UnknownSession,
            detail: "gone".into(),
        },
        Event::SessionSilent {
            session,
            silent: true,
        },
        Event::Text {
            channel: ChannelLabel::Control,
            session,
            text: "STOP".into(),
        },
    ] {
        liar.send(FromShard::Event(lie)).await.unwrap();
    }
    // One that is its own comes after all of them.
    let text = "done".to_owned();
    let mut own = renamed(Role::Publisher, "own", 6);
    let mut state = known.clone();
    state["id"] = "own".into();
    state["key"] = "00000000000000000000000000000001".into();
    own.state = serde_json::to_vec(&state).unwrap();
    drop(liar);
    let mut liar = dial(&house, "reformed", 1000).await;
    liar.send(FromShard::Session(Box::new(snapshot(own))))
        .await
        .unwrap();
    liar.send(FromShard::SnapshotEnd(1)).await.unwrap();
    liar.send(FromShard::Event(Event::Text {
        channel: ChannelLabel::Control,
        session: SessionId(6),
        text,
    }))
    .await
    .unwrap();
    command(&mut liar, |one| matches!(one, Command::SendText { .. })).await;

    assert_eq!(house.get("/list/pub/r").await.body, "alice,own");
    assert_eq!(
        house.public("GET", &location, &[], "").await.status,
        200,
        "hers goes on"
    );
    assert_eq!(
        house.join("/pub/r/alice", OFFER).await.status,
        409,
        "nor is she silent"
    );
    let delete = house.public("DELETE", &location, &[], "").await;
    assert_eq!(delete.status, 200);
    let closed = command(&mut honest, |one| matches!(one, Command::CloseSession { .. })).await;
    assert_eq!(
        closed,
        Command::CloseSession { session },
        "her own data plane is told"
    );
}

#[tokio::test]
async fn a_snapshot_has_no_more_sessions_than_its_data_plane_has_room_for() {
    let house = House::empty(&[]).await;
    let mut honest = dial(&house, "honest", 1000).await;
    honest.send(FromShard::SnapshotEnd(0)).await.unwrap();
    while house.get("/readiness").await.status != 200 {
        tokio::task::yield_now().await;
    }
    let (mut spec, _) = joined(&house, &mut honest, "/pub/r/alice").await;
    let mut liar = dial(&house, "liar", 3).await;
    for n in 0..10 {
        spec.session = SessionId(n);
        if liar
            .send(FromShard::Session(Box::new(snapshot(spec.clone()))))
            .await
            .is_err()
        {
            break;
        }
    }
    let ended = async { while let Some(Ok(_)) = liar.next().await {} };
    tokio::time::timeout(PATIENCE, ended).await.expect("it is closed");
    // For that, and not because it was silent then.
    let counted = r#"weever_control_disconnects_total{reason="bad-snapshot"} 1"#;
    let deadline = Instant::now() + PATIENCE;
    while !house.get("/metrics").await.body.contains(counted) {
        assert!(Instant::now() < deadline, "it was closed for another reason");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

struct Counter(u64);

impl Entropy for Counter {
    fn draw(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }
}

/// Every value of a state replaced by something else of the same kind, one at a time.
fn mutations(value: &Value) -> Vec<Value> {
    let mut all = Vec::new();
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                for changed in mutations(inner).into_iter().chain([Value::Null]) {
                    let mut map = map.clone();
                    map[key] = changed;
                    all.push(Value::Object(map));
                }
                let mut map = map.clone();
                map.remove(key);
                all.push(Value::Object(map));
            }
        }
        Value::Array(list) => {
            all.push(Value::Array(vec![]));
            all.push(Value::Array(list.iter().chain(list).cloned().collect()));
            for (n, inner) in list.iter().enumerate() {
                for changed in mutations(inner) {
                    let mut list = list.clone();
                    list[n] = changed;
                    all.push(Value::Array(list));
                }
            }
        }
        Value::Number(_) => all.extend([0_u64, 1, 127, 255, u64::from(u32::MAX), u64::MAX].map(Value::from)),
        Value::String(text) => {
            all.extend(["", "\0", "a b\r\nm=x", "-1"].map(Value::from));
            all.push(text.repeat(100).into());
        }
        Value::Bool(is) => all.push((!is).into()),
        Value::Null => {}
    }
    all
}

fn act(rooms: &mut Rooms, now: Instant, action: Action) -> usize {
    let mut effects = Vec::new();
    rooms.handle(now, action, &mut effects);
    effects.len()
}

#[tokio::test]
async fn no_state_that_a_data_plane_hands_back_is_the_end_of_signalling() {
    // States as they are made, of one who publishes and one who watches with a control channel.
    let house = House::empty(&[]).await;
    let mut honest = dial(&house, "honest", 1000).await;
    honest.send(FromShard::SnapshotEnd(0)).await.unwrap();
    while house.get("/readiness").await.status != 200 {
        tokio::task::yield_now().await;
    }
    let (publisher, _) = joined(&house, &mut honest, "/pub/r/alice").await;
    let (subscriber, _) = joined(&house, &mut honest, "/sub/r/carol").await;
    let (shard, mut tried) = (ShardId(1), 0);
    for victim in [&publisher, &subscriber] {
        let state: Value = serde_json::from_slice(&victim.state).unwrap();
        for mutation in mutations(&state) {
            let mut now = Instant::now();
            let mut rooms = Rooms::new(RoomsConfig::default(), Box::new(Counter(1 << 40)));
            let up = Action::ShardUp {
                shard,
                hello: Box::new(hello("x")),
            };
            act(&mut rooms, now, up);
            let mut mutated = victim.clone();
            mutated.state = serde_json::to_vec(&mutation).unwrap();
            for spec in [mutated, publisher.clone(), subscriber.clone()] {
                act(
                    &mut rooms,
                    now,
                    Action::Snapshot {
                        shard,
                        session: Box::new(snapshot(spec)),
                    },
                );
            }
            act(&mut rooms, now, Action::SnapshotEnd { shard });
            for session in [publisher.session, subscriber.session] {
                for text in [
                    format!("SDP_OFFER {OFFER}"),
                    format!("SDP_ANSWER {OFFER}"),
                    "x".into(),
                ] {
                    act(
                        &mut rooms,
                        now,
                        Action::Event {
                            shard,
                            event: Event::Text {
                                channel: ChannelLabel::Control,
                                session,
                                text,
                            },
                        },
                    );
                }
                act(
                    &mut rooms,
                    now,
                    Action::Event {
                        shard,
                        event: Event::ChannelOpen {
                            channel: ChannelLabel::Control,
                            session,
                        },
                    },
                );
            }
            now += Duration::from_secs(11);
            act(&mut rooms, now, Action::Tick);
            let closed = Event::SessionClosed {
                session: publisher.session,
                reason: CloseReason::PeerClosed,
            };
            act(&mut rooms, now, Action::Event { shard, event: closed });
            tried += 1;
        }
    }
    assert!(tried > 400, "{tried} states");
}
