//! Publishers that want to be told of their viewers.

use std::collections::BTreeSet;
use std::time::Duration;

use weever_proto::{Role, SessionId};

use crate::bench::Bench;
use crate::offers;
use crate::restart::{another, redial};

fn publisher(bench: &mut Bench, name: &str) -> SessionId {
    let (session, ..) = bench.enter(Role::Publisher, name, &offers::speaker());
    bench.open_channel(session);
    session
}

fn hear_all(bench: &mut Bench, session: SessionId) -> Vec<String> {
    std::iter::from_fn(|| bench.hear(session)).collect()
}

#[test]
fn who_asks_is_told_who_is_there_and_who_comes_and_goes() {
    let mut bench = Bench::new();
    let alice = publisher(&mut bench, "alice+1");
    let (_, bob, _) = bench.enter(Role::Subscriber, "bob+1", &offers::channel_only());
    assert_eq!(bench.hear(alice), None, "nobody is told who didn't ask");
    bench.say(alice, "SUBS ON");
    assert_eq!(hear_all(&mut bench, alice), ["OK", "SUB_JOIN bob+1"]);
    let carol = publisher(&mut bench, "carol");

    // A viewer is there when its connection stands, not when it asks for one.
    let before: Vec<SessionId> = bench.held.keys().copied().collect();
    bench.join(Role::Subscriber, "dave", &offers::player(&["VP8"]));
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.hear(alice), None);
    let dave = *bench.held.keys().find(|id| !before.contains(id)).unwrap();
    bench.connect(dave);
    assert_eq!(hear_all(&mut bench, alice), ["SUB_JOIN dave"]);
    bench.pass(Duration::from_secs(1));
    bench.leave(bob);
    assert_eq!(hear_all(&mut bench, alice), ["SUB_LEFT bob+1"]);
    assert_eq!(bench.hear(carol), None);

    bench.pass(Duration::from_secs(1));
    bench.say(alice, "SUBS OFF");
    bench.say(alice, "SUBS");
    bench.enter(Role::Subscriber, "erin", &offers::channel_only());
    bench.pass(Duration::from_secs(1));
    assert_eq!(hear_all(&mut bench, alice), ["OK", "OK"]);
    bench.say(alice, "SUBS ON");
    bench.pass(Duration::from_secs(1));
    assert_eq!(
        hear_all(&mut bench, alice),
        ["OK", "SUB_JOIN dave", "SUB_JOIN erin"],
        "from the beginning"
    );
}

/// Nobody gets media of their own, so nobody is their own viewer.
#[test]
fn an_owner_is_no_viewer_of_its_own() {
    let mut bench = Bench::new();
    let alice = publisher(&mut bench, "alice+1");
    bench.enter(Role::Subscriber, "alice+2", &offers::channel_only());
    bench.say(alice, "SUBS ON");
    let (_, key, _) = bench.enter(Role::Subscriber, "alice-screen+3", &offers::channel_only());
    bench.leave(key);
    bench.pass(Duration::from_secs(1));
    assert_eq!(hear_all(&mut bench, alice), ["OK"]);
}

#[test]
fn a_crowd_is_told_of_bit_by_bit_and_who_is_gone_by_then_is_not_mentioned() {
    let mut bench = Bench::new();
    let mut keys = Vec::new();
    for n in 0..500 {
        keys.push(
            bench
                .enter(Role::Subscriber, &format!("v{n}"), &offers::player(&["VP8"]))
                .1,
        );
    }
    let alice = publisher(&mut bench, "alice");
    bench.say(alice, "SUBS ON");
    assert_eq!(bench.held[&alice].texts.len(), 1 + 10);
    for key in keys.drain(100..) {
        bench.leave(key);
    }
    bench.pass(Duration::from_millis(500));
    assert!(bench.held[&alice].texts.len() <= 1 + 60, "100 a second");
    bench.pass(Duration::from_secs(10));
    let told = hear_all(&mut bench, alice);
    let want: BTreeSet<String> = (0..100).map(|n| format!("SUB_JOIN v{n}")).collect();
    assert_eq!(told.len(), 1 + want.len());
    assert_eq!(told[1..].iter().cloned().collect::<BTreeSet<_>>(), want);

    // One that flaps says no more than what it ends with.
    for _ in 0..50 {
        bench.leave(keys.pop().unwrap());
        let key = bench.enter(Role::Subscriber, "v99", &offers::player(&["VP8"])).1;
        keys.push(key);
        bench.pass(Duration::from_millis(1));
    }
    bench.pass(Duration::from_secs(1));
    let told = hear_all(&mut bench, alice);
    assert!(told.len() <= 4, "{told:?}");
    assert_eq!(told.last().unwrap(), "SUB_JOIN v99");
    bench.pass(Duration::from_secs(60));
    assert_eq!(bench.hear(alice), None, "nothing is left to be told");
}

#[test]
fn a_new_control_plane_begins_the_list_anew() {
    let mut bench = Bench::new();
    let alice = publisher(&mut bench, "alice");
    let carol = publisher(&mut bench, "carol");
    let (bob, ..) = bench.enter(Role::Subscriber, "bob", &offers::player(&["VP8"]));
    bench.enter(Role::Subscriber, "dave", &offers::player(&["VP8"]));
    bench.say(alice, "SUBS ON");
    bench.say(carol, "SUBS ON");
    bench.say(carol, "SUBS OFF");
    hear_all(&mut bench, alice);
    hear_all(&mut bench, carol);
    // One leaves while nobody looks.
    bench.held.remove(&bob);
    let mut bench = another(bench, 5);
    bench.pass(Duration::from_secs(1));
    assert_eq!(hear_all(&mut bench, alice), ["SUBS ON", "SUB_JOIN dave"]);
    bench.enter(Role::Subscriber, "erin", &offers::player(&["VP8"]));
    assert_eq!(hear_all(&mut bench, alice), ["SUB_JOIN erin"]);
    assert_eq!(bench.hear(carol), None);
    // A connection that broke may have lost notices.
    redial(&mut bench, |_| {});
    bench.pass(Duration::from_secs(1));
    assert_eq!(
        hear_all(&mut bench, alice),
        ["SUBS ON", "SUB_JOIN dave", "SUB_JOIN erin"]
    );
}
