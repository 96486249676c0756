//! Control planes and data planes that come back, or don't; ICE restarts.

use std::time::Duration;

use weever_controlplane::rooms::{Action, Notice, Reply, RoomsConfig, SessionKey, ShardId};
use weever_controlplane::sdp::Fragment;
use weever_proto::{Role, SessionId};

use crate::bench::{Bench, hello};
use crate::offers;

/// Another control plane takes over what the data plane holds.
pub fn another(old: Bench, seed: u64) -> Bench {
    another_with(RoomsConfig::default(), old, seed)
}

pub fn another_with(config: RoomsConfig, old: Bench, seed: u64) -> Bench {
    another_hello(config, old, seed, false)
}

/// The same, of a data plane with or without a relay.
pub fn another_hello(config: RoomsConfig, mut old: Bench, seed: u64, relay: bool) -> Bench {
    let mut new = Bench::without_shard(config, seed);
    new.shard = ShardId(77);
    let snapshot = old.snapshot();
    new.held = std::mem::take(&mut old.held);
    new.act(Action::ShardUp {
        shard: new.shard,
        hello: Box::new(weever_proto::Hello { relay, ..hello(1, 1) }),
    });
    assert!(!new.rooms.is_ready(), "not before the snapshot is whole");
    let shard = new.shard;
    for session in snapshot {
        new.act(Action::Snapshot {
            shard,
            session: Box::new(session),
        });
    }
    new.act(Action::SnapshotEnd { shard });
    new
}

#[test]
fn a_new_control_plane_goes_on_where_the_old_one_died() {
    let mut bench = Bench::new();
    let (alice, alice_key, _) = bench.enter(Role::Publisher, "alice", &offers::browser_publisher(&["VP8"]));
    bench.open_channel(alice);
    let (viewer, viewer_key, _) = bench.enter(Role::Subscriber, "bob", &offers::channel_only());
    bench.open_channel(viewer);
    bench.answer_offer(viewer);
    let (player, ..) = bench.enter(Role::Subscriber, "tv", &offers::player(&["VP8"]));
    let routes = |bench: &Bench, id: SessionId| bench.held[&id].routes.clone();
    let before = (routes(&bench, viewer), routes(&bench, player));

    let mut bench = another(bench, 99);
    assert_eq!(bench.list(Role::Publisher), ["alice"]);
    assert_eq!(bench.list(Role::Subscriber).len(), 2);
    assert_eq!(
        (routes(&bench, viewer), routes(&bench, player)),
        before,
        "media is left alone"
    );
    assert!(
        bench.held[&viewer].texts.is_empty(),
        "nothing has changed, so nothing is said"
    );
    assert!(
        matches!(bench.join(Role::Publisher, "alice", &offers::speaker()), Reply::Refused(r) if r.status == 409)
    );

    // Joining, renegotiating and leaving go on, for old and new.
    let (_, carol_key, _) = bench.enter(Role::Publisher, "carol", &offers::speaker());
    assert_eq!(bench.hear(viewer).unwrap(), "PUB_JOIN carol");
    assert_eq!(offers::msids(&bench.answer_offer(viewer)).len(), 3);
    bench.say(alice, &format!("SDP_OFFER {}", offers::speaker()));
    assert!(bench.hear(alice).unwrap().starts_with("SDP_ANSWER"));
    assert_eq!(
        offers::msids(&bench.answer_offer(viewer)),
        ["alice audio0", "carol audio0"]
    );
    assert_eq!(bench.leave(carol_key), Reply::Done);
    assert_eq!(bench.hear(viewer).unwrap(), "PUB_LEFT carol");
    bench.answer_offer(viewer);
    assert_eq!(
        bench.leave(alice_key),
        Reply::Done,
        "the old Location still works"
    );
    assert_eq!(bench.leave(viewer_key), Reply::Done);
    assert_eq!(bench.held.len(), 1);
}

#[test]
fn an_offer_that_was_out_when_the_control_plane_died_is_made_again() {
    let mut bench = Bench::new();
    bench.enter(Role::Publisher, "alice", &offers::speaker());
    let (viewer, ..) = bench.enter(Role::Subscriber, "bob", &offers::channel_only());
    bench.open_channel(viewer);
    bench.hear(viewer).unwrap();
    let mut bench = another(bench, 5);
    assert_eq!(offers::msids(&bench.answer_offer(viewer)), ["alice audio0"]);
    assert_eq!(bench.held[&viewer].routes.len(), 1);
}

#[test]
fn who_came_and_went_while_nobody_looked_is_told() {
    let mut bench = Bench::new();
    let (alice, ..) = bench.enter(Role::Publisher, "alice", &offers::speaker());
    let (carol, ..) = bench.enter(Role::Publisher, "carol", &offers::speaker());
    bench.held.get_mut(&carol).unwrap().connected = false;
    let (viewer, ..) = bench.enter(Role::Subscriber, "bob", &offers::channel_only());
    bench.open_channel(viewer);
    bench.answer_offer(viewer);
    // The data plane goes on alone: one leaves it.
    bench.held.remove(&alice);
    let mut bench = another(bench, 5);
    let mut news = vec![bench.hear(viewer).unwrap(), bench.hear(viewer).unwrap()];
    news.sort();
    // Carol's handshake isn't done in the eyes of the new control plane: she isn't live.
    assert_eq!(news, ["PUB_LEFT alice", "PUB_LEFT carol"]);
    assert!(offers::msids(&bench.answer_offer(viewer)).is_empty());
    bench.connect(carol);
    assert_eq!(bench.hear(viewer).unwrap(), "PUB_JOIN carol");
    assert_eq!(offers::msids(&bench.answer_offer(viewer)), ["carol audio0"]);
}

/// The connection breaks; the process behind it doesn't.
pub fn redial(bench: &mut Bench, lost: impl FnOnce(&mut Bench)) {
    bench.act(Action::ShardDown { shard: bench.shard });
    bench.deaf = true;
    lost(bench);
    bench.deaf = false;
    let snapshot = bench.snapshot();
    bench.shard = ShardId(bench.shard.0 + 1);
    let shard = bench.shard;
    bench.act(Action::ShardUp {
        shard,
        hello: Box::new(hello(1, 1)),
    });
    for session in snapshot {
        let session = Box::new(session);
        bench.act(Action::Snapshot { shard, session });
    }
    bench.act(Action::SnapshotEnd { shard });
}

#[test]
fn commands_that_a_broken_connection_lost_are_given_again() {
    let mut bench = Bench::new();
    let (alice, alice_key, _) = bench.enter(Role::Publisher, "alice", &offers::speaker());
    bench.enter(Role::Publisher, "carol", &offers::speaker());
    let (viewer, ..) = bench.enter(Role::Subscriber, "bob", &offers::channel_only());
    bench.open_channel(viewer);
    bench.answer_offer(viewer);
    redial(&mut bench, |bench| {
        assert_eq!(bench.leave(alice_key), Reply::Done);
    });
    assert!(!bench.held.contains_key(&alice), "who left doesn't come back");
    assert_eq!(bench.list(Role::Publisher), ["carol"]);
    assert_eq!(bench.held[&viewer].routes.len(), 1);
    // The offer was lost too: it is made again in time.
    bench.pass(Duration::from_secs(11));
    assert_eq!(offers::msids(&bench.answer_offer(viewer)), ["carol audio0"]);
    // And what is kept is what is true: yet another control plane finds all as it is.
    let bench = another(bench, 9);
    assert_eq!(bench.list(Role::Publisher), ["carol"]);
    assert!(bench.held[&viewer].texts.is_empty());
}

#[test]
fn a_publishers_renegotiation_that_a_broken_connection_lost_is_told_again() {
    let mut bench = Bench::new();
    let (alice, ..) = bench.enter(Role::Publisher, "alice", &offers::speaker());
    bench.open_channel(alice);
    let both = format!("SDP_OFFER {}", offers::browser_publisher(&["VP8"]));
    redial(&mut bench, |bench| bench.say(alice, &both));
    assert_eq!(bench.held[&alice].spec.receive.len(), 2);
    assert!(!bench.held[&alice].spec.extensions.is_empty());
    assert!(bench.hear(alice).unwrap().starts_with("SDP_ANSWER"));
    // What arrived is not told twice.
    redial(&mut bench, |_| {});
    assert_eq!(bench.hear(alice), None);
}

#[test]
fn a_session_that_was_made_while_the_connection_broke_is_answered() {
    let mut bench = Bench::new();
    bench.obliging = false;
    assert_eq!(
        bench.join(Role::Publisher, "alice", &offers::speaker()),
        Reply::Trickled,
        "no answer yet"
    );
    assert!(bench.replies.is_empty());
    redial(&mut bench, |_| {});
    let reply = bench.replies.drain().next().expect("an answer").1;
    assert!(matches!(reply, Reply::Created { .. }), "{reply:?}");
    bench.pass(Duration::from_secs(6));
    assert_eq!(bench.list(Role::Publisher), ["alice"]);
}

#[test]
fn states_that_cannot_be_read_are_closed() {
    let mut bench = Bench::new();
    let (session, ..) = bench.enter(Role::Publisher, "alice", &offers::speaker());
    bench.held.get_mut(&session).unwrap().spec.state = b"of the future".to_vec();
    let bench = another(bench, 5);
    assert!(bench.held.is_empty());
    assert_eq!(bench.rooms.session_count(), 0);
}

#[test]
fn a_lost_data_plane_is_waited_for_a_second() {
    let mut bench = Bench::new();
    let (_, key, _) = bench.enter(Role::Publisher, "alice", &offers::speaker());
    bench.act(Action::ShardDown { shard: bench.shard });
    assert!(!bench.rooms.is_ready());
    bench.pass(Duration::from_millis(500));
    assert_eq!(bench.list(Role::Publisher), ["alice"]);
    let snapshot = bench.snapshot();
    bench.shard = ShardId(2);
    bench.act(Action::ShardUp {
        shard: ShardId(2),
        hello: Box::new(hello(1, 1)),
    });
    for session in snapshot {
        bench.act(Action::Snapshot {
            shard: ShardId(2),
            session: Box::new(session),
        });
    }
    bench.act(Action::SnapshotEnd { shard: ShardId(2) });
    bench.pass(Duration::from_secs(5));
    assert_eq!(bench.list(Role::Publisher), ["alice"]);
    assert_eq!(bench.leave(key), Reply::Done);
    assert!(bench.held.is_empty(), "commands reach the new connection");
}

#[test]
fn a_dead_data_planes_sessions_are_told_and_reaped() {
    for comes_back in [false, true] {
        let mut bench = Bench::new();
        bench.enter(Role::Publisher, "alice", &offers::speaker());
        bench.enter(Role::Subscriber, "bob", &offers::channel_only());
        bench.act(Action::ShardDown { shard: bench.shard });
        bench.held.clear();
        if comes_back {
            bench.shard = ShardId(2);
            bench.act(Action::ShardUp {
                shard: ShardId(2),
                hello: Box::new(hello(2, 1)),
            });
            bench.act(Action::SnapshotEnd { shard: ShardId(2) });
        } else {
            bench.pass(Duration::from_millis(1100));
        }
        assert_eq!(bench.rooms.session_count(), 0);
        assert!(bench.notices.iter().any(|n| matches!(
            n,
            Notice::Left {
                reason: "shard-lost",
                ..
            }
        )));
        assert!(
            bench
                .notices
                .iter()
                .any(|n| matches!(n, Notice::ShardLost { sessions: 2, .. }))
        );
        if comes_back {
            bench.enter(Role::Publisher, "alice", &offers::speaker());
        }
    }
}

#[test]
fn a_drained_data_plane_keeps_its_rooms_and_gets_no_other() {
    let mut bench = Bench::new();
    let (_, alice, _) = bench.enter(Role::Publisher, "alice", &offers::speaker());
    assert_eq!(bench.drain_shard("nobody"), Some(404));
    assert_eq!(bench.drain_shard("shard"), None);
    assert_eq!(bench.drain_shard("shard"), None, "once is enough");
    assert_eq!(bench.drains, 1);
    let held = bench.rooms.shards();
    assert!(held[0].draining && !held[0].ready && held[0].workers[0].sessions == 1);
    assert!(!bench.rooms.is_ready());
    let refused = bench.join(Role::Publisher, "bob", &offers::speaker());
    assert!(matches!(&refused, Reply::Refused(r) if r.status == 503 && r.retry_after.is_some()));

    // The connection breaks, and the command may have been lost with it: it is said again.
    bench.act(Action::ShardDown { shard: bench.shard });
    bench.shard = ShardId(2);
    let snapshot = bench.snapshot();
    bench.act(Action::ShardUp {
        shard: ShardId(2),
        hello: Box::new(hello(1, 1)),
    });
    assert_eq!(bench.drains, 2);
    for session in snapshot {
        bench.act(Action::Snapshot {
            shard: ShardId(2),
            session: Box::new(session),
        });
    }
    bench.act(Action::SnapshotEnd { shard: ShardId(2) });
    assert_eq!(bench.rooms.session_count(), 1);
    assert!(!bench.rooms.is_ready());

    // Its last session leaves, it ends, another takes its place.
    assert_eq!(bench.leave(alice), Reply::Done);
    bench.act(Action::ShardDown { shard: ShardId(2) });
    bench.shard = ShardId(3);
    bench.act(Action::ShardUp {
        shard: ShardId(3),
        hello: Box::new(hello(2, 1)),
    });
    bench.act(Action::SnapshotEnd { shard: ShardId(3) });
    let drained = |notice: &Notice| matches!(notice, Notice::ShardDrained { name } if name == "shard");
    assert!(bench.notices.iter().any(drained));
    assert!(
        !bench
            .notices
            .iter()
            .any(|notice| matches!(notice, Notice::ShardLost { .. }))
    );
    bench.enter(Role::Publisher, "alice", &offers::speaker());
}

#[test]
fn a_new_control_plane_knows_who_is_being_drained() {
    let mut bench = Bench::without_shard(RoomsConfig::default(), 1);
    let mut hello = hello(1, 1);
    hello.draining = true;
    bench.act(Action::ShardUp {
        shard: bench.shard,
        hello: Box::new(hello),
    });
    bench.act(Action::SnapshotEnd { shard: bench.shard });
    assert!(!bench.rooms.is_ready());
    assert_eq!(bench.drains, 0, "it knows by itself");
}

fn patch(bench: &mut Bench, key: SessionKey, if_match: Option<&str>, fragment: &str) -> Reply {
    let request = bench.request();
    bench.act(Action::Trickle {
        request,
        key,
        if_match: if_match.map(Into::into),
        fragment: Fragment::parse(fragment),
    });
    bench.replies.remove(&request).unwrap()
}

fn status(reply: &Reply) -> u16 {
    match reply {
        Reply::Refused(refused) => refused.status,
        other => panic!("{other:?}"),
    }
}

#[test]
fn trickle_and_restart() {
    const SAME: &str = "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\nm=audio 9 RTP/AVP 0\r\n\
                        a=mid:0\r\na=candidate:1 1 udp 1 192.0.2.9 9 typ host\r\n";
    const NEW: &str = "a=ice-ufrag:NeW1\r\na=ice-pwd:QqQqQqQqQqQqQqQqQqQqQqQq\r\n";
    let mut bench = Bench::new();
    let Reply::Created { key, etag, .. } = bench.join(Role::Publisher, "alice", &offers::speaker()) else {
        panic!()
    };
    let session = *bench.held.keys().next().unwrap();
    assert_eq!(patch(&mut bench, key, None, SAME), Reply::Trickled);
    assert_eq!(patch(&mut bench, key, Some(&etag), SAME), Reply::Trickled);
    let bare = "a=candidate:1 1 udp 1 192.0.2.9 9 typ host\r\n";
    assert_eq!(patch(&mut bench, key, Some(&etag), bare), Reply::Trickled);
    assert_eq!(status(&patch(&mut bench, key, None, bare)), 428);
    assert_eq!(status(&patch(&mut bench, key, None, NEW)), 428);
    assert_eq!(status(&patch(&mut bench, key, Some("\"stale\""), NEW)), 412);
    assert_eq!(status(&patch(&mut bench, key, Some(&etag), "nonsense")), 400);
    let before = bench.held[&session].spec.local.clone();
    let reply = patch(&mut bench, key, Some(&etag), NEW);
    let Reply::Restarted {
        fragment,
        etag: fresh,
    } = reply
    else {
        panic!("{reply:?}")
    };
    assert_ne!(etag, fresh);
    let spec = &bench.held[&session].spec;
    assert_eq!(spec.remote.ufrag, "NeW1");
    assert_ne!(spec.local, before);
    assert!(fragment.contains(&format!("a=ice-ufrag:{}\r\n", spec.local.ufrag)));
    assert_eq!(fragment.matches("a=candidate:").count(), 2);
    assert_eq!(
        status(&patch(&mut bench, key, Some(&etag), NEW)),
        412,
        "the old ETag is stale now"
    );
    assert_eq!(patch(&mut bench, key, Some(&fresh), NEW), Reply::Trickled);
    assert!(matches!(
        patch(&mut bench, key, Some("*"), SAME),
        Reply::Restarted { .. }
    ));
    assert_eq!(status(&patch(&mut bench, SessionKey(5), None, SAME)), 404);
}
