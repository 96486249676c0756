//! What the rooms say happened, and what they say is there.

use std::time::Duration;

use weever_controlplane::rooms::{Action, Notice};
use weever_proto::{Event, Role, TrackId, TrackStats};

use crate::bench::{Bench, hello, id, room};
use crate::offers;

/// Which notices came since the last call, in a word each.
fn told(bench: &mut Bench) -> Vec<String> {
    let word = |notice: Notice| match notice {
        Notice::Joined(who) => format!("joined {}", who.id),
        Notice::Connected(who) => format!("connected {}", who.id),
        Notice::Resumed { who, connected, age } => {
            format!("resumed {} {connected} {}", who.id, age.as_secs())
        }
        Notice::Lasting { who, age, .. } => format!("lasting {} {}", who.id, age.as_secs()),
        Notice::Left { who, reason, age } => format!("left {} {reason} {}", who.id, age.as_secs()),
        Notice::TrackLive { who, track } => format!("live {} {} {}", who.id, track.label, track.codec),
        Notice::TrackGone { who, track } => format!("gone {} {} {}", who.id, track.label, track.codec),
        Notice::RoomOpened(room) => format!("opened {room}"),
        Notice::RoomClosed(room) => format!("closed {room}"),
        Notice::ShardReady { name, sessions } => format!("up {name} {sessions}"),
        Notice::ShardDraining { name, sessions } => format!("draining {name} {sessions}"),
        Notice::ShardDrained { name } => format!("drained {name}"),
        Notice::ShardLost { name, sessions } => format!("down {name} {sessions}"),
    };
    std::mem::take(&mut bench.notices).into_iter().map(word).collect()
}

fn live(bench: &mut Bench, name: &str) -> (weever_proto::SessionId, TrackId) {
    let (session, ..) = bench.enter(Role::Publisher, name, &offers::speaker());
    let track = bench.held[&session].spec.receive[0].track;
    bench.event(Event::TrackLive { session, track });
    (session, track)
}

#[test]
fn a_life_is_told_in_its_order() {
    let mut bench = Bench::new();
    assert_eq!(told(&mut bench), ["up shard 0"]);
    let (session, track) = live(&mut bench, "alice");
    let began = [
        "opened testroom",
        "joined alice",
        "connected alice",
        "live alice audio0 opus",
    ];
    assert_eq!(told(&mut bench), began);
    bench.event(Event::TrackLive { session, track });
    assert_eq!(told(&mut bench), [""; 0], "once");
    bench.pass(Duration::from_secs(150));
    assert_eq!(told(&mut bench), ["lasting alice 60", "lasting alice 120"]);
    bench.event(Event::TrackGone { session, track });
    assert_eq!(told(&mut bench), ["gone alice audio0 opus"]);
    bench.event(Event::TrackLive { session, track });
    told(&mut bench);
    bench.say(session, "STOP");
    let ended = [
        "gone alice audio0 opus",
        "left alice stopped 150",
        "closed testroom",
    ];
    assert_eq!(told(&mut bench), ended);
    bench.pass(Duration::from_secs(600));
    assert_eq!(told(&mut bench), [""; 0], "its minutes are over");
}

#[test]
fn who_is_disconnected_is_told_to_the_data_plane_at_once() {
    let mut bench = Bench::new();
    let (session, ..) = bench.enter(Role::Publisher, "alice", &offers::speaker());
    bench.enter(Role::Subscriber, "bob", &offers::channel_only());
    told(&mut bench);
    let request = bench.request();
    let who = Some((Role::Publisher, id("alice")));
    bench.act(Action::Disconnect {
        request,
        room: room(),
        who,
    });
    // Without a tick, an answer or anything else in between.
    assert!(
        !bench.held.contains_key(&session),
        "CloseSession came with the same action"
    );
    assert_eq!(told(&mut bench), ["left alice disconnected 0"]);
    let request = bench.request();
    bench.act(Action::Disconnect {
        request,
        room: room(),
        who: None,
    });
    assert!(bench.held.is_empty());
    assert_eq!(told(&mut bench), ["left bob disconnected 0", "closed testroom"]);
}

#[test]
fn a_new_control_plane_tells_whom_it_found() {
    let mut bench = Bench::new();
    let (_, track) = live(&mut bench, "alice");
    let mut snapshot = bench.snapshot();
    snapshot[0].live_tracks = vec![track];
    snapshot[0].age_ms = 200_000;
    let mut next = Bench::without_shard(Default::default(), 2);
    next.held = std::mem::take(&mut bench.held);
    let shard = next.shard;
    next.act(Action::ShardUp {
        shard,
        hello: Box::new(hello(1, 1)),
    });
    for session in snapshot {
        next.act(Action::Snapshot {
            shard,
            session: Box::new(session),
        });
    }
    next.act(Action::SnapshotEnd { shard });
    let found = [
        "opened testroom",
        "resumed alice true 200",
        "live alice audio0 opus",
        "up shard 1",
    ];
    assert_eq!(told(&mut next), found);
    next.pass(Duration::from_secs(1));
    assert_eq!(told(&mut next), ["lasting alice 200"]);
    next.pass(Duration::from_secs(40));
    assert_eq!(
        told(&mut next),
        ["lasting alice 240"],
        "whole minutes from then on"
    );
}

#[test]
fn tracks_that_came_and_went_while_the_connection_was_broken() {
    let mut bench = Bench::new();
    let (session, track) = live(&mut bench, "alice");
    told(&mut bench);
    let again = |bench: &mut Bench, live_tracks: Vec<TrackId>| {
        let mut snapshot = bench.snapshot();
        snapshot[0].live_tracks = live_tracks;
        let shard = bench.shard;
        bench.act(Action::ShardDown { shard });
        bench.act(Action::ShardUp {
            shard,
            hello: Box::new(hello(1, 1)),
        });
        for session in snapshot {
            bench.act(Action::Snapshot {
                shard,
                session: Box::new(session),
            });
        }
        bench.act(Action::SnapshotEnd { shard });
    };
    again(&mut bench, vec![]);
    assert_eq!(told(&mut bench), ["gone alice audio0 opus", "up shard 1"]);
    again(&mut bench, vec![track]);
    assert_eq!(told(&mut bench), ["live alice audio0 opus", "up shard 1"]);
    assert!(bench.held.contains_key(&session));
}

#[test]
fn a_data_plane_is_drained() {
    let mut bench = Bench::new();
    bench.enter(Role::Publisher, "alice", &offers::speaker());
    told(&mut bench);
    for _ in 0..2 {
        bench.drain_shard("shard");
    }
    assert_eq!(told(&mut bench), ["draining shard 1"], "once");
}

#[test]
fn what_tracks_carry_is_known() {
    let mut bench = Bench::new();
    let (_, track) = live(&mut bench, "alice");
    bench.enter(Role::Subscriber, "bob", &offers::channel_only());
    for (packets, bytes) in [(50, 5_000), (100, 10_000)] {
        bench.act(Action::Loads {
            shard: bench.shard,
            permille: vec![],
            tracks: vec![TrackStats {
                track,
                packets,
                bytes,
                keyframes: 1,
                lost: 2,
                viewers: 1,
            }],
        });
        bench.pass(Duration::from_secs(1));
    }
    let info = &bench.rooms.rooms(bench.now, None, 10)[0];
    assert_eq!((info.publishers, info.subscribers, info.live_tracks), (1, 1, 1));
    assert_eq!((info.bits, info.age), (40_000.0, Some(Duration::from_secs(2))));
    let detail = bench.rooms.room(bench.now, &room(), None, 10).unwrap();
    let carried = &detail.publishers[0].tracks[0];
    let traffic = carried.traffic.unwrap();
    assert!(carried.live && traffic.total.lost == 2 && traffic.rate.unwrap().packets == 50.0);
}

#[test]
fn a_room_of_many_is_read_page_by_page() {
    let mut bench = Bench::new();
    for n in 0..25 {
        bench.enter(Role::Subscriber, &format!("v{n}"), &offers::channel_only());
    }
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = bench.rooms.room(bench.now, &room(), after, 10).unwrap();
        assert_eq!(page.info.subscribers, 25);
        seen.extend(page.subscribers.iter().map(|one| one.id.to_string()));
        after = page.subscribers.last().map(|one| one.session);
        if !page.more {
            break;
        }
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 25, "each once");
    let none = bench.rooms.room(bench.now, &room(), None, 0).unwrap();
    assert!(none.subscribers.is_empty() && none.more);
    assert!(bench.rooms.rooms(bench.now, Some(&room()), 10).is_empty());
}
