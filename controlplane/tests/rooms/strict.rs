//! Rooms that must be created before they are joined.

use weever_controlplane::rooms::{Action, Reply, RoomsConfig};
use weever_proto::Role;

use crate::bench::{Bench, room};
use crate::offers;
use crate::restart::another_with;

fn strict() -> RoomsConfig {
    RoomsConfig {
        strict_rooms: true,
        ..RoomsConfig::default()
    }
}

fn status(reply: &Reply) -> u16 {
    match reply {
        Reply::Refused(refused) => refused.status,
        _ => 200,
    }
}

fn create(bench: &mut Bench) -> u16 {
    let request = bench.request();
    let room = room();
    bench.act(Action::CreateRoom { request, room });
    status(&bench.replies.remove(&request).unwrap())
}

fn delete(bench: &mut Bench) -> u16 {
    let request = bench.request();
    let (room, who) = (room(), None);
    bench.act(Action::Disconnect { request, room, who });
    status(&bench.replies.remove(&request).unwrap())
}

fn offer(role: Role) -> String {
    match role {
        Role::Publisher => offers::speaker(),
        Role::Subscriber => offers::channel_only(),
    }
}

fn join(bench: &mut Bench, role: Role, name: &str) -> u16 {
    status(&bench.join(role, name, &offer(role)))
}

#[test]
fn a_room_is_created_once_joined_and_deleted() {
    let mut bench = Bench::with(strict(), 1);
    for role in [Role::Publisher, Role::Subscriber] {
        assert_eq!(join(&mut bench, role, "alice"), 404);
    }
    assert_eq!(delete(&mut bench), 404);
    assert_eq!((create(&mut bench), create(&mut bench)), (200, 409));
    for role in [Role::Publisher, Role::Subscriber] {
        let (_, key, _) = bench.enter(role, "alice", &offer(role));
        bench.leave(key);
        assert_eq!(create(&mut bench), 409, "it stays when it is empty");
        assert_eq!(join(&mut bench, role, "alice"), 200);
    }
    assert_eq!(delete(&mut bench), 200);
    assert!(bench.held.is_empty(), "those who were in are out");
    assert_eq!(join(&mut bench, Role::Publisher, "alice"), 404);
    assert_eq!(
        (create(&mut bench), delete(&mut bench)),
        (200, 200),
        "an empty one too"
    );
    assert_eq!((delete(&mut bench), create(&mut bench)), (404, 200));
}

/// Without the flag creating is possible and never needed.
#[test]
fn rooms_that_were_joined_may_be_created_once_where_nobody_has_to() {
    let mut bench = Bench::new();
    assert_eq!(join(&mut bench, Role::Publisher, "alice"), 200);
    assert_eq!((create(&mut bench), create(&mut bench)), (200, 409));
}

/// State is in memory: what nobody is in is forgotten, what somebody is in was created.
#[test]
fn after_a_restart_the_rooms_that_are_in_use_are_there() {
    let mut bench = Bench::with(strict(), 1);
    create(&mut bench);
    bench.enter(Role::Publisher, "alice", &offers::speaker());
    let mut bench = another_with(strict(), bench, 5);
    assert_eq!(join(&mut bench, Role::Subscriber, "bob"), 200);
    assert_eq!(create(&mut bench), 409);
    assert_eq!(delete(&mut bench), 200);
    assert_eq!(join(&mut bench, Role::Subscriber, "bob"), 404);
    create(&mut bench);
    let mut bench = another_with(strict(), bench, 6);
    assert_eq!(join(&mut bench, Role::Subscriber, "bob"), 404);
}
