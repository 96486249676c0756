//! The ways to end well.

use std::time::Duration;

use weever_dataplane::{Ask, Settings};
use weever_proto::{CloseReason, Command, Event, Refusal, SessionId};

use crate::{
    data_plane::{DataPlane, settings},
    played_control_plane::{ControlPlane, spec},
};

#[tokio::test]
async fn drained_it_refuses_the_new_and_ends_with_the_last() {
    let control = ControlPlane::listening("drains");
    let plane = DataPlane::start(settings(&control.socket()));
    let (mut talk, ..) = control.meet().await;
    talk.create(&spec(1, 0)).await;
    talk.create(&spec(2, 1)).await;
    talk.command(Command::Drain).await;
    talk.command(Command::CreateSession(Box::new(spec(3, 0)))).await;
    let Event::CommandRefused {
        session: SessionId(3),
        reason: Refusal::Draining,
        ..
    } = talk.event().await
    else {
        panic!("not refused");
    };
    for session in [1, 2] {
        let session = SessionId(session);
        talk.command(Command::CloseSession { session }).await;
        assert_eq!(
            talk.event().await,
            Event::SessionClosed {
                session,
                reason: CloseReason::Requested
            }
        );
    }
    talk.is_closed().await;
    plane.end().unwrap();
}

#[tokio::test]
async fn drained_it_says_so_to_the_next_control_plane() {
    let control = ControlPlane::listening("drains-on");
    let plane = DataPlane::start(settings(&control.socket()));
    let (mut talk, hello, _) = control.meet().await;
    assert!(!hello.draining);
    talk.create(&spec(1, 0)).await;
    talk.command(Command::Drain).await;
    // It has been taken in when what follows it is answered.
    talk.command(Command::CreateSession(Box::new(spec(2, 0)))).await;
    talk.event().await;
    drop(talk);
    let (mut talk, hello, sessions) = control.meet().await;
    assert!(hello.draining);
    assert_eq!(sessions.len(), 1);
    let session = SessionId(1);
    talk.command(Command::CloseSession { session }).await;
    talk.event().await;
    talk.is_closed().await;
    plane.end().unwrap();
}

#[tokio::test]
async fn drained_while_empty_it_ends_at_once() {
    let control = ControlPlane::listening("drains-empty");
    let plane = DataPlane::start(settings(&control.socket()));
    let (mut talk, ..) = control.meet().await;
    talk.command(Command::Drain).await;
    talk.is_closed().await;
    plane.end().unwrap();
}

#[tokio::test]
async fn stopped_it_says_which_sessions_end() {
    let control = ControlPlane::listening("stops");
    let plane = DataPlane::start(settings(&control.socket()));
    let (mut talk, ..) = control.meet().await;
    for session in 0..20 {
        talk.create(&spec(session, u16::try_from(session % 2).unwrap()))
            .await;
    }
    plane.ask(Ask::End);
    let mut closed = Vec::new();
    for _ in 0..20 {
        match talk.event().await {
            Event::SessionClosed {
                session,
                reason: CloseReason::Requested,
            } => closed.push(session.0),
            other => panic!("{other:?}"),
        }
    }
    closed.sort_unstable();
    assert_eq!(closed, (0..20).collect::<Vec<_>>());
    talk.is_closed().await;
    plane.end().unwrap();
}

#[tokio::test]
async fn stopped_without_a_control_plane_it_ends_too() {
    let control = ControlPlane::absent("stops-alone");
    let plane = DataPlane::start(settings(&control.socket()));
    plane.ask(Ask::End);
    plane.end().unwrap();
}

#[tokio::test]
async fn asked_to_drain_it_says_so_by_dialling_again_and_ends_with_the_last() {
    let control = ControlPlane::listening("asked-drains");
    let plane = DataPlane::start(settings(&control.socket()));
    let (mut talk, ..) = control.meet().await;
    talk.create(&spec(1, 0)).await;
    plane.ask(Ask::Drain);
    talk.is_closed().await;
    let (mut talk, hello, sessions) = control.meet().await;
    assert!(hello.draining);
    assert_eq!(sessions.len(), 1, "who is there stays");
    talk.command(Command::CreateSession(Box::new(spec(2, 0)))).await;
    let refused = talk.event().await;
    assert!(
        matches!(
            refused,
            Event::CommandRefused {
                reason: Refusal::Draining,
                ..
            }
        ),
        "{refused:?}"
    );
    let session = SessionId(1);
    talk.command(Command::CloseSession { session }).await;
    talk.event().await;
    talk.is_closed().await;
    plane.end().unwrap();
}

#[tokio::test]
async fn asked_to_drain_without_a_control_plane_it_tells_the_next_one() {
    let mut control = ControlPlane::listening("asked-drains-alone");
    let plane = DataPlane::start(settings(&control.socket()));
    let (mut talk, ..) = control.meet().await;
    talk.create(&spec(1, 0)).await;
    control.hang_up();
    drop(talk);
    plane.ask(Ask::Drain);
    control.listen();
    let (mut talk, hello, sessions) = loop {
        let met = control.meet().await;
        // It may have dialled before it was asked; it will dial again.
        if met.1.draining {
            break met;
        }
    };
    assert!(hello.draining);
    assert_eq!(sessions.len(), 1);
    plane.ask(Ask::End);
    talk.is_closed().await;
    plane.end().unwrap();
}

#[tokio::test]
async fn a_drain_ends_with_its_timeout_whoever_is_left() {
    let control = ControlPlane::listening("drain-timeout");
    let plane = DataPlane::start(Settings {
        drain_timeout: Duration::from_secs(1),
        ..settings(&control.socket())
    });
    let (mut talk, ..) = control.meet().await;
    talk.create(&spec(1, 0)).await;
    plane.ask(Ask::Drain);
    talk.is_closed().await;
    // Whether it gets to dial again before is a matter of the machine.
    plane.end().unwrap();
}

#[tokio::test]
async fn drained_by_its_control_plane_and_asked_as_well_it_ends_in_time() {
    let control = ControlPlane::listening("drained-twice");
    let plane = DataPlane::start(Settings {
        drain_timeout: Duration::ZERO,
        ..settings(&control.socket())
    });
    let (mut talk, ..) = control.meet().await;
    talk.create(&spec(1, 0)).await;
    talk.command(Command::Drain).await;
    talk.command(Command::CreateSession(Box::new(spec(2, 0)))).await;
    talk.event().await;
    plane.ask(Ask::Drain);
    // No need to dial again: it was the control plane's own wish.
    assert_eq!(
        talk.event().await,
        Event::SessionClosed {
            session: SessionId(1),
            reason: CloseReason::Requested
        }
    );
    talk.is_closed().await;
    plane.end().unwrap();
}
