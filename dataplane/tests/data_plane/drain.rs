//! The two ways to end well.

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
    let mut plane = DataPlane::start(settings(&control.socket()));
    let (mut talk, ..) = control.meet().await;
    for session in 0..20 {
        talk.create(&spec(session, u16::try_from(session % 2).unwrap()))
            .await;
    }
    plane.ask_to_stop();
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
    let mut plane = DataPlane::start(settings(&control.socket()));
    plane.ask_to_stop();
    plane.end().unwrap();
}
