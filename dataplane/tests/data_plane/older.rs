//! A control plane of the protocol's first minor version, as one that still runs when a data plane is upgraded.

use weever_dataplane::Ask;
use weever_proto::{
    ChannelLabel, CloseReason, Command, Event, FromShard, Hello, Refusal, SessionId, ToShard, Version,
};

use crate::{
    data_plane::{DataPlane, settings},
    played_control_plane::{ControlPlane, Talk, spec},
    stun_client::StunClient,
};

const FIRST: Version = Version { major: 1, minor: 0 };

/// The next event; what 1.0 did not have is not understood.
async fn event(talk: &mut Talk) -> Event {
    loop {
        let frame = talk.next().await.expect("an event");
        assert_eq!(frame.since(), 0, "1.0 has no {frame:?}");
        match frame {
            FromShard::Stats { .. } | FromShard::Pong(_) => {}
            FromShard::Event(event) => return event,
            other => panic!("{other:?} in the middle of a conversation"),
        }
    }
}

async fn welcome(control: &ControlPlane) -> (Talk, Hello, usize) {
    let mut talk = control.accept().await;
    let hello = talk.hello().await;
    talk.say(ToShard::Welcome(FIRST)).await;
    let held = talk.snapshot().await.len();
    (talk, hello, held)
}

#[tokio::test]
async fn a_control_plane_of_the_first_minor_is_obeyed() {
    let control = ControlPlane::listening("older");
    let plane = DataPlane::start(settings(&control.socket()));
    let (mut talk, hello, _) = welcome(&control).await;
    for session in [1, 2] {
        talk.command(Command::CreateSession(Box::new(spec(session, 0))))
            .await;
        let session = SessionId(session);
        assert_eq!(event(&mut talk).await, Event::SessionReady { session });
    }
    // A newer control plane would be told of this first step.
    let mut client = StunClient::towards(hello.workers[0].candidates[0]);
    client.ask(&spec(1, 0), &spec(1, 0).local.password);
    client.is_answered();
    let session = SessionId(1);
    talk.command(Command::SendText {
        session,
        channel: ChannelLabel::Control,
        text: "hello".to_owned(),
    })
    .await;
    talk.command(Command::SetState {
        session,
        state: vec![1, 2, 3],
    })
    .await;
    talk.say(ToShard::Ping(7)).await;
    talk.command(Command::SetState {
        session: SessionId(9),
        state: vec![],
    })
    .await;
    let refused = event(&mut talk).await;
    assert!(
        matches!(
            refused,
            Event::CommandRefused {
                session: SessionId(9),
                reason: Refusal::UnknownSession,
                ..
            }
        ),
        "{refused:?}"
    );
    drop(talk);
    let (mut talk, _, held) = welcome(&control).await;
    assert_eq!(held, 2, "and told what it holds when it comes back");
    plane.ask(Ask::Drain);
    talk.is_closed().await;
    let (mut talk, _, held) = welcome(&control).await;
    assert_eq!(held, 2);
    for session in [1, 2].map(SessionId) {
        talk.command(Command::CloseSession { session }).await;
        let reason = CloseReason::Requested;
        assert_eq!(event(&mut talk).await, Event::SessionClosed { session, reason });
    }
    talk.is_closed().await;
    plane.end().unwrap();
}
