//! The conversation with the control plane, and what it survives.

use std::time::{Duration, Instant};

use weever_proto::{CloseReason, Command, Event, FromShard, Refusal, SessionId, ToShard, VERSION, Version};

use crate::{
    data_plane::{DataPlane, settings},
    played_control_plane::{ControlPlane, spec},
};

#[tokio::test]
async fn introduces_itself_and_answers_pings() {
    let control = ControlPlane::listening("introduces");
    let _plane = DataPlane::start(settings(&control.socket()));
    let (mut talk, hello, snapshot) = control.meet().await;
    assert!(snapshot.is_empty());
    assert_eq!(
        (hello.name.as_str(), hello.version, hello.max_sessions),
        ("under-test", VERSION, 1000)
    );
    assert_eq!(hello.fingerprint.hash, "sha-256");
    assert_eq!(hello.workers.len(), 2);
    for (index, worker) in hello.workers.iter().enumerate() {
        assert_eq!(usize::from(worker.id.0), index);
        let hosts: Vec<String> = worker
            .candidates
            .iter()
            .map(|address| address.ip().to_string())
            .collect();
        assert_eq!(hosts, ["127.0.0.1", "::1"]);
        assert!(worker.candidates.iter().all(|address| address.port() != 0));
    }
    talk.say(ToShard::Ping(4711)).await;
    loop {
        match talk.next().await {
            Some(FromShard::Pong(number)) => break assert_eq!(number, 4711),
            Some(FromShard::Stats { .. }) => {}
            other => panic!("no pong but {other:?}"),
        }
    }
}

#[tokio::test]
async fn tells_its_statistics_without_being_asked() {
    let control = ControlPlane::listening("statistics");
    let _plane = DataPlane::start(settings(&control.socket()));
    let (mut talk, ..) = control.meet().await;
    talk.create(&spec(1, 1)).await;
    for _ in 0..2 {
        let Some(FromShard::Stats { workers, .. }) = talk.next().await else {
            panic!("no statistics")
        };
        let sessions: Vec<_> = workers
            .iter()
            .map(|worker| (worker.worker.0, worker.sessions))
            .collect();
        assert_eq!(sessions, [(0, 0), (1, 1)]);
        for worker in workers {
            assert!(worker.cpu_ns > 0);
            assert!(["uring", "syscalls"].contains(&worker.io.as_str()));
            assert!(
                worker
                    .drops
                    .iter()
                    .any(|(reason, _)| reason == "socket-send-buffer-full")
            );
        }
    }
}

#[tokio::test]
async fn a_control_plane_may_come_later_and_refuse_at_first() {
    let mut control = ControlPlane::absent("refused");
    let _plane = DataPlane::start(settings(&control.socket()));
    tokio::time::sleep(Duration::from_millis(300)).await;
    control.listen();

    let mut talk = control.accept().await;
    let first = talk.hello().await;
    talk.say(ToShard::Refused("another one has this name".into()))
        .await;
    talk.is_closed().await;

    let mut talk = control.accept().await;
    talk.hello().await;
    talk.say(ToShard::Welcome(Version {
        major: VERSION.major + 1,
        minor: 0,
    }))
    .await;
    talk.is_closed().await;

    let (mut talk, hello, _) = control.meet().await;
    assert_eq!(hello, first, "the same process says the same, every time");
    talk.create(&spec(1, 0)).await;
}

#[tokio::test]
async fn what_cannot_be_done_is_answered() {
    let control = ControlPlane::listening("answers");
    let _plane = DataPlane::start(settings(&control.socket()));
    let (mut talk, ..) = control.meet().await;
    let refused = |event, session, wanted| match event {
        Event::CommandRefused {
            session: SessionId(named),
            reason,
            ..
        } => {
            assert_eq!((named, reason), (session, wanted));
        }
        other => panic!("no refusal but {other:?}"),
    };
    talk.command(Command::SetState {
        session: SessionId(5),
        state: vec![1],
    })
    .await;
    refused(talk.event().await, 5, Refusal::UnknownSession);
    talk.command(Command::CreateSession(Box::new(spec(6, 2)))).await;
    refused(talk.event().await, 6, Refusal::UnknownWorker);
    talk.command(Command::CloseSession {
        session: SessionId(7),
    })
    .await;
    let closed = Event::SessionClosed {
        session: SessionId(7),
        reason: CloseReason::Requested,
    };
    assert_eq!(talk.event().await, closed);
}

/// The control plane is killed and comes back: it gets all sessions with their state, and goes on with them.
#[tokio::test]
async fn a_new_control_plane_takes_over_all_sessions() {
    let control = ControlPlane::listening("takes-over");
    let _plane = DataPlane::start(settings(&control.socket()));
    let (mut talk, before, _) = control.meet().await;
    for session in 0..300 {
        talk.create(&spec(session, u16::try_from(session % 2).unwrap()))
            .await;
    }
    talk.command(Command::SetState {
        session: SessionId(17),
        state: b"what I knew".to_vec(),
    })
    .await;
    talk.command(Command::CloseSession {
        session: SessionId(18),
    })
    .await;
    assert!(matches!(
        talk.event().await,
        Event::SessionClosed {
            session: SessionId(18),
            ..
        }
    ));
    drop(talk);

    let (mut talk, after, mut snapshot) = control.meet().await;
    assert_eq!(before.incarnation, after.incarnation);
    snapshot.sort_by_key(|session| session.spec.session);
    let expected: Vec<u64> = (0..300).filter(|session| *session != 18).collect();
    assert_eq!(
        snapshot
            .iter()
            .map(|session| session.spec.session.0)
            .collect::<Vec<_>>(),
        expected
    );
    assert_eq!(snapshot[17].spec.state, b"what I knew");
    assert_eq!(snapshot[16].spec, spec(16, 0));

    talk.create(&spec(17, 0)).await;
    talk.command(Command::CloseSession {
        session: SessionId(17),
    })
    .await;
    let closed = Event::SessionClosed {
        session: SessionId(17),
        reason: CloseReason::Requested,
    };
    assert_eq!(talk.event().await, closed);
    talk.create(&spec(1000, 1)).await;
}

#[tokio::test]
async fn nonsense_from_the_control_plane_ends_the_connection_and_nothing_else() {
    let control = ControlPlane::listening("nonsense");
    let _plane = DataPlane::start(settings(&control.socket()));
    let (mut talk, ..) = control.meet().await;
    talk.create(&spec(1, 0)).await;
    // A frame that is too long, one that is no protobuf, one cut short, and a second welcome.
    for bytes in [
        &[0xff, 0xff, 0xff, 0xff, 0][..],
        &[0, 0, 0, 3, 0xff, 0xff, 0xff],
        &[0, 0, 1, 0, 1],
    ] {
        talk.raw(bytes).await;
        if bytes.len() < 7 && bytes[0] == 0 {
            drop(talk);
        } else {
            talk.is_closed().await;
        }
        let met = control.meet().await;
        assert_eq!(met.2.len(), 1);
        talk = met.0;
    }
    talk.say(ToShard::Welcome(VERSION)).await;
    talk.is_closed().await;
    assert_eq!(control.meet().await.2.len(), 1);
}

/// A newer control plane: what it says that we don't know is as if it had not been said.
#[tokio::test]
async fn unknown_frames_and_commands_are_skipped() {
    let control = ControlPlane::listening("newer");
    let _plane = DataPlane::start(settings(&control.socket()));
    let mut talk = control.accept().await;
    talk.hello().await;
    // Field 2000, as a frame and as a command; also before the welcome.
    let frame = [0, 0, 0, 4, 0x82, 0x7d, 1, 0];
    let command = [0, 0, 0, 6, 0x1a, 4, 0x82, 0x7d, 1, 0];
    talk.raw(&frame).await;
    talk.say(ToShard::Welcome(Version {
        minor: VERSION.minor + 1,
        ..VERSION
    }))
    .await;
    assert!(talk.snapshot().await.is_empty());
    talk.raw(&[&frame[..], &command].concat()).await;
    talk.create(&spec(1, 0)).await;
}

/// Accepting everybody and failing at once is what a broken control plane, or a stranger at its place, does.
#[tokio::test]
async fn one_that_accepts_and_hangs_up_is_dialled_more_and_more_rarely() {
    let control = ControlPlane::listening("hangs-up");
    let _plane = DataPlane::start(settings(&control.socket()));
    let began = Instant::now();
    let mut met = 0;
    while began.elapsed() < Duration::from_secs(3) {
        let (talk, ..) = control.meet().await;
        drop(talk);
        met += 1;
    }
    assert!(met >= 2, "it comes back");
    assert!(met <= 10, "{met} times in {:?}", began.elapsed());
    let (mut talk, ..) = control.meet().await;
    talk.create(&spec(1, 0)).await;
}

#[tokio::test]
async fn a_control_plane_that_hangs_is_left() {
    let control = ControlPlane::listening("hangs");
    let _plane = DataPlane::start(settings(&control.socket()));
    let (mut talk, ..) = control.meet().await;
    talk.create(&spec(1, 0)).await;
    let silent_since = Instant::now();
    // Not a word, nor a closed socket, from here on.
    let (mut again, _, snapshot) = control.meet().await;
    assert!(silent_since.elapsed() >= Duration::from_secs(4));
    assert_eq!(snapshot.len(), 1);
    talk.is_closed().await;

    // One that accepts a connection and says nothing at all is left too.
    drop(again.next().await);
    drop(again);
    let mute = control.accept().await;
    let (_talk, _, snapshot) = control.meet().await;
    assert_eq!(snapshot.len(), 1);
    drop(mute);
}
