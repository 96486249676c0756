//! What a join's trace tells.

use std::time::Duration;

use weever_controlplane::rooms::{Action, Join, JoinOutcome, JoinTrace, Limits, Posted};
use weever_controlplane::sdp::Description;
use weever_controlplane::traceparent::TraceParent;
use weever_proto::{Event, JoinStage, Role, SessionId};

use crate::bench::{Bench, id, room};
use crate::offers;

const MS: Duration = Duration::from_millis(1);

/// Posted 20 ms ago. The session's id.
fn join(bench: &mut Bench, role: Role, name: &str, offer: &str) -> SessionId {
    let before: Vec<SessionId> = bench.held.keys().copied().collect();
    let parent = TraceParent::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    let posted = Posted {
        at: bench.now,
        parent,
    };
    bench.now += 20 * MS;
    let join = Join {
        request: bench.request(),
        role,
        room: room(),
        id: id(name),
        offer: Description::parse(offer).unwrap(),
        from: None,
        redirected: false,
        claim: 0,
        limits: Limits::default(),
        posted,
    };
    bench.act(Action::Join(Box::new(join)));
    *bench.held.keys().find(|held| !before.contains(held)).unwrap()
}

/// The data plane reports a stage 5 ms late.
fn reach(bench: &mut Bench, session: SessionId, stage: JoinStage, after: Duration) {
    bench.now += after + 5 * MS;
    bench.event(Event::JoinProgress {
        session,
        stage,
        after_us: u64::try_from(after.as_micros()).unwrap(),
    });
    bench.now -= after + 5 * MS;
}

fn stages(trace: &JoinTrace) -> Vec<(&'static str, u128)> {
    trace.stages().map(|(name, at)| (name, at.as_millis())).collect()
}

#[test]
fn a_publishers_join_ends_with_its_first_media() {
    let mut bench = Bench::new();
    let session = join(&mut bench, Role::Publisher, "alice", &offers::speaker());
    for (stage, ms) in [(JoinStage::Ice, 30), (JoinStage::Dtls, 70)] {
        reach(&mut bench, session, stage, ms * MS);
        assert!(bench.traces.is_empty());
    }
    reach(&mut bench, session, JoinStage::Media, 100 * MS);
    let [trace] = bench.traces.as_slice() else {
        panic!("{:?}", bench.traces)
    };
    assert_eq!((trace.session, trace.role), (session, Role::Publisher));
    assert_eq!((&trace.id, trace.shard.as_str()), (&id("alice"), "shard"));
    assert!(trace.parent.is_some_and(|parent| parent.sampled));
    assert_eq!(trace.outcome, JoinOutcome::Media);
    let all = [("answer", 20), ("ice", 50), ("dtls", 90), ("media", 120)];
    assert_eq!(stages(trace), all, "from the POST, by the data plane's clock");
    assert_eq!(trace.ended, 120 * MS);
    reach(&mut bench, session, JoinStage::Media, 200 * MS);
    bench.pass(Duration::from_secs(60));
    assert_eq!(bench.traces.len(), 1, "a join ends once");
}

#[test]
fn waiting_for_a_publisher_is_no_time_of_a_join() {
    let mut bench = Bench::new();
    let early = join(&mut bench, Role::Subscriber, "bob", &offers::player(&["opus"]));
    reach(&mut bench, early, JoinStage::Dtls, 70 * MS);
    assert_eq!(bench.traces[0].outcome, JoinOutcome::Waits);
    assert_eq!(stages(&bench.traces[0]), [("answer", 20), ("dtls", 90)]);
    bench.enter(Role::Publisher, "alice", &offers::speaker());
    bench.traces.clear();
    let own = join(
        &mut bench,
        Role::Subscriber,
        "alice+2",
        &offers::player(&["opus"]),
    );
    reach(&mut bench, own, JoinStage::Dtls, 70 * MS);
    assert_eq!(
        bench.traces[0].outcome,
        JoinOutcome::Waits,
        "nobody is shown to themselves"
    );
    let late = join(&mut bench, Role::Subscriber, "carol", &offers::player(&["opus"]));
    reach(&mut bench, late, JoinStage::Dtls, 70 * MS);
    assert_eq!(bench.traces.len(), 1, "there is somebody to see");
    reach(&mut bench, late, JoinStage::Media, 300 * MS);
    assert_eq!(stages(&bench.traces[1]).last(), Some(&("media", 320)));
}

#[test]
fn a_join_that_fails_is_told_with_its_reason() {
    let mut bench = Bench::new();
    let gone = join(&mut bench, Role::Publisher, "alice", &offers::speaker());
    reach(&mut bench, gone, JoinStage::Ice, 30 * MS);
    bench.now += 40 * MS;
    bench.event(Event::SessionClosed {
        session: gone,
        reason: weever_proto::CloseReason::DtlsFailed,
    });
    assert_eq!(bench.traces[0].outcome, JoinOutcome::Ended("dtls-failed"));
    assert_eq!(
        (stages(&bench.traces[0])[1], bench.traces[0].ended),
        (("ice", 50), 60 * MS)
    );

    let mute = join(&mut bench, Role::Publisher, "bob", &offers::speaker());
    reach(&mut bench, mute, JoinStage::Dtls, 70 * MS);
    bench.pass(Duration::from_secs(29));
    assert_eq!(bench.traces.len(), 1);
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.traces[1].outcome, JoinOutcome::NoMedia);
    bench.event(Event::SessionClosed {
        session: mute,
        reason: weever_proto::CloseReason::Requested,
    });
    assert_eq!(bench.traces.len(), 2);
}

#[test]
fn what_a_data_plane_says_of_the_future_is_cut() {
    let mut bench = Bench::new();
    let session = join(&mut bench, Role::Publisher, "alice", &offers::speaker());
    bench.event(Event::JoinProgress {
        session,
        stage: JoinStage::Media,
        after_us: u64::MAX,
    });
    assert_eq!(bench.traces[0].media, Some(20 * MS));
}
