//! Watching a session's packets.

use weever_controlplane::rooms::{Action, Reply, RoomsConfig};
use weever_proto::{Role, SessionId, TrackId};

use crate::bench::{Bench, hello, id, room};
use crate::offers;

/// The status when it was refused.
fn watch(bench: &mut Bench, session: SessionId) -> Option<(u16, String)> {
    let request = bench.request();
    bench.act(Action::WatchPackets { request, session });
    match bench.replies.remove(&request).unwrap() {
        Reply::Done => None,
        Reply::Refused(refused) => Some((refused.status, refused.detail)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_session_is_found_by_its_name_and_its_tracks_have_labels() {
    let mut bench = Bench::new();
    let (alice, ..) = bench.enter(Role::Publisher, "alice+1", &offers::browser_publisher(&["VP8"]));
    let (viewer, ..) = bench.enter(Role::Subscriber, "alice+1", &offers::channel_only());
    let find = |bench: &Bench, role, name| bench.rooms.find(&room(), role, &id(name));
    assert_eq!(find(&bench, Role::Publisher, "alice+1"), Some(alice));
    assert_eq!(find(&bench, Role::Subscriber, "alice+1"), Some(viewer));
    assert_eq!(
        find(&bench, Role::Publisher, "alice"),
        None,
        "it takes the Full ID"
    );
    let named = bench.rooms.tracks(&room());
    let mut labels: Vec<_> = bench.held[&alice]
        .spec
        .receive
        .iter()
        .map(|receive| named[&TrackId(receive.track.0)].clone())
        .collect();
    labels.sort_by(|a, b| a.1.cmp(&b.1));
    let of_alice = |label: &str| (id("alice+1"), label.to_owned());
    assert_eq!(labels, [of_alice("audio0"), of_alice("video0")]);
    assert_eq!(watch(&mut bench, alice), None);
    assert_eq!(watch(&mut bench, alice), None, "renewed");
    assert_eq!(bench.watched, [alice, alice]);
    bench.act(Action::UnwatchPackets { session: alice });
    assert_eq!(bench.watched, []);
}

#[test]
fn what_cannot_be_watched_is_said() {
    let mut bench = Bench::new();
    let (alice, key, _) = bench.enter(Role::Publisher, "alice", &offers::speaker());
    bench.act(Action::ShardDown { shard: bench.shard });
    let (status, detail) = watch(&mut bench, alice).unwrap();
    assert_eq!(status, 503, "{detail}");
    bench.act(Action::UnwatchPackets { session: alice });
    bench.leave(key);
    assert_eq!(watch(&mut bench, alice).unwrap().0, 404);
    assert_eq!(bench.watched, []);
}

#[test]
fn an_older_data_plane_is_not_asked() {
    let mut bench = Bench::without_shard(RoomsConfig::default(), 1);
    let mut older = hello(1, 1);
    older.version.minor = 1;
    let shard = bench.shard;
    bench.act(Action::ShardUp {
        shard,
        hello: Box::new(older),
    });
    bench.act(Action::SnapshotEnd { shard });
    let (alice, ..) = bench.enter(Role::Publisher, "alice", &offers::speaker());
    let (status, detail) = watch(&mut bench, alice).unwrap();
    assert_eq!(status, 409, "{detail}");
    assert!(detail.contains("\"shard\" runs an older version"), "{detail}");
    assert_eq!(bench.watched, []);
}
