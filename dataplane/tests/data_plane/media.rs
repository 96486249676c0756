//! Datagrams in and out through a worker's loop, on both backends.

use weever_proto::FromShard;
use weever_uring::IoChoice;

use crate::{
    data_plane::{DataPlane, settings, with_io},
    played_control_plane::{ControlPlane, Talk, spec},
    stun_client::StunClient,
};

async fn statistics(talk: &mut Talk) -> (u64, Vec<String>) {
    loop {
        match talk.next().await {
            Some(FromShard::Stats { workers, .. }) => {
                let packets_in = workers.iter().map(|worker| worker.packets_in).sum();
                return (packets_in, workers.into_iter().map(|worker| worker.io).collect());
            }
            Some(_) => {}
            None => panic!("the data plane hung up"),
        }
    }
}

/// Checks of every session reach it at each of its addresses and are answered from there; thousands in a row, so that
/// a wake-up that got lost would show.
async fn checks_are_answered(io: IoChoice, name: &str) {
    let control = ControlPlane::listening(name);
    let _plane = DataPlane::start(with_io(settings(&control.socket()), io));
    let (mut talk, hello, _) = control.meet().await;
    let mut asked = 0;
    for worker in &hello.workers {
        let spec = spec(100 + u64::from(worker.id.0), worker.id.0);
        talk.create(&spec).await;
        for &address in &worker.candidates {
            let mut client = StunClient::towards(address);
            for _ in 0..500 {
                client.ask(&spec, &spec.local.password);
                client.is_answered();
                asked += 1;
            }
        }
    }
    // The answer to a stranger would have come before the answer to the client's own check.
    let address = hello.workers[0].candidates[0];
    let (mut stranger, mut client) = (StunClient::towards(address), StunClient::towards(address));
    let own = spec(100, 0);
    for wrong in ["", "not the password at all!"] {
        stranger.ask(&own, wrong);
        client.ask(&own, &own.local.password);
        client.is_answered();
        assert!(!stranger.has_answer());
        asked += 2;
    }
    // The first may have been asked for before the last checks.
    statistics(&mut talk).await;
    let (packets_in, backends) = statistics(&mut talk).await;
    assert_eq!(packets_in, asked);
    assert_eq!(backends, [name.trim_start_matches("checks-"); 2]);
}

#[tokio::test]
async fn checks_are_answered_on_io_uring() {
    checks_are_answered(IoChoice::Uring, "checks-uring").await;
}

#[tokio::test]
async fn checks_are_answered_with_system_calls() {
    checks_are_answered(IoChoice::Syscalls, "checks-syscalls").await;
}

/// Media doesn't need a control plane: checks are answered while there is none.
#[tokio::test]
async fn checks_are_answered_without_a_control_plane() {
    let mut control = ControlPlane::listening("alone");
    let _plane = DataPlane::start(settings(&control.socket()));
    let (mut talk, hello, _) = control.meet().await;
    let spec = spec(1, 1);
    talk.create(&spec).await;
    drop(talk);
    control.hang_up();
    let mut client = StunClient::towards(hello.workers[1].candidates[0]);
    for _ in 0..200 {
        client.ask(&spec, &spec.local.password);
        client.is_answered();
    }
    control.listen();
    let (_, _, snapshot) = control.meet().await;
    assert_eq!(snapshot.len(), 1);
}
