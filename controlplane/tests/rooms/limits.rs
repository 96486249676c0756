//! What a session was admitted with is what it gets: bit rate, duration, subscribers.

use std::num::NonZeroU64;
use std::time::Duration;

use weever_controlplane::rooms::{Action, Limits, Notice, Reply};
use weever_proto::{Event, Role, SessionId, TrackStats};

use crate::bench::Bench;
use crate::offers;
use crate::restart::another;

fn bitrate(max: u64) -> Limits {
    Limits {
        max_bitrate: NonZeroU64::new(max),
        ..Limits::default()
    }
}

fn duration(seconds: u64) -> Limits {
    Limits {
        max_duration: NonZeroU64::new(seconds),
        ..Limits::default()
    }
}

fn subscribers(max: u64) -> Limits {
    Limits {
        max_subscribers: NonZeroU64::new(max),
        ..Limits::default()
    }
}

fn reason(bench: &Bench, name: &str) -> Option<&'static str> {
    bench.notices.iter().find_map(|notice| match notice {
        Notice::Left { who, reason, .. } if who.id.as_str() == name => Some(*reason),
        _ => None,
    })
}

/// Lets a publisher's first track have sent `bytes` more by the next second, and the next, for that many seconds.
fn send(bench: &mut Bench, publisher: SessionId, sent: &mut u64, bytes: u64, seconds: usize) {
    for _ in 0..seconds {
        let Some(held) = bench.held.get(&publisher) else {
            return;
        };
        let track = held.spec.receive[0].track;
        bench.pass(Duration::from_secs(1));
        *sent += bytes;
        let stats = TrackStats {
            track,
            packets: *sent / 1000,
            bytes: *sent,
            keyframes: 1,
            lost: 0,
            viewers: 0,
        };
        bench.act(Action::Loads {
            shard: bench.shard,
            permille: Vec::new(),
            tracks: vec![stats],
        });
    }
}

#[test]
fn a_session_ends_when_its_time_is_up() {
    let mut bench = Bench::new();
    bench.limits = duration(60);
    let (alice, ..) = bench.enter(Role::Publisher, "alice", &offers::speaker());
    bench.limits = Limits::default();
    let (bob, ..) = bench.enter(Role::Subscriber, "bob", &offers::channel_only());
    bench.pass(Duration::from_millis(59_900));
    assert!(bench.held.contains_key(&alice));
    bench.pass(Duration::from_millis(200));
    assert!(!bench.held.contains_key(&alice));
    assert_eq!(reason(&bench, "alice"), Some("duration-exceeded"));
    bench.pass(Duration::from_secs(1_000_000));
    assert!(bench.held.contains_key(&bob), "who has no limit stays");
}

#[test]
fn who_leaves_early_leaves_no_timer_and_the_end_of_time_is_none() {
    let mut bench = Bench::new();
    bench.limits = duration(3600);
    let (_, key, _) = bench.enter(Role::Publisher, "alice", &offers::speaker());
    assert!(bench.rooms.next_tick().is_some());
    bench.leave(key);
    // What else was waited for is over by then.
    bench.pass(Duration::from_secs(120));
    assert_eq!(bench.rooms.next_tick(), None);
    bench.limits = duration(u64::MAX);
    let (alice, ..) = bench.enter(Role::Publisher, "alice", &offers::speaker());
    bench.pass(Duration::from_secs(120));
    assert!(bench.held.contains_key(&alice));
}

#[test]
fn the_time_that_is_left_survives_the_control_plane() {
    let mut bench = Bench::new();
    bench.limits = duration(60);
    let (alice, ..) = bench.enter(Role::Publisher, "alice", &offers::speaker());
    bench.pass(Duration::from_secs(40));
    let mut bench = another(bench, 99);
    bench.pass(Duration::from_secs(19));
    assert!(bench.held.contains_key(&alice));
    bench.pass(Duration::from_secs(2));
    assert!(!bench.held.contains_key(&alice));
    assert_eq!(reason(&bench, "alice"), Some("duration-exceeded"));
}

#[test]
fn a_publisher_that_sends_too_much_for_too_long_is_disconnected() {
    let mut bench = Bench::new();
    bench.limits = bitrate(800_000);
    let (alice, ..) = bench.enter(Role::Publisher, "alice", &offers::speaker());
    let mut sent = 0;
    // A fifth more is let pass for ever, and a burst that the average swallows too.
    send(&mut bench, alice, &mut sent, 119_000, 60);
    send(&mut bench, alice, &mut sent, 50_000, 5);
    send(&mut bench, alice, &mut sent, 300_000, 1);
    send(&mut bench, alice, &mut sent, 50_000, 5);
    assert!(bench.held.contains_key(&alice));
    send(&mut bench, alice, &mut sent, 150_000, 3);
    assert!(bench.held.contains_key(&alice), "not yet");
    send(&mut bench, alice, &mut sent, 150_000, 3);
    assert!(!bench.held.contains_key(&alice));
    assert_eq!(reason(&bench, "alice"), Some("bitrate-exceeded"));
}

#[test]
fn a_limited_bit_rate_survives_the_control_plane_and_counts_from_there() {
    let mut bench = Bench::new();
    bench.limits = bitrate(800_000);
    let (alice, ..) = bench.enter(Role::Publisher, "alice", &offers::speaker());
    let mut sent = 0;
    send(&mut bench, alice, &mut sent, 100_000, 1000);
    let mut bench = another(bench, 99);
    send(&mut bench, alice, &mut sent, 100_000, 10);
    assert!(
        bench.held.contains_key(&alice),
        "what it sent before is not counted again"
    );
    send(&mut bench, alice, &mut sent, 200_000, 6);
    assert_eq!(reason(&bench, "alice"), Some("bitrate-exceeded"));
}

#[test]
fn a_publisher_is_told_its_bit_rate_in_every_answer() {
    let mut bench = Bench::new();
    bench.limits = bitrate(1_000_000);
    let (alice, _, answer) = bench.enter(Role::Publisher, "alice", &offers::browser_publisher(&["VP8"]));
    for line in ["b=AS:128\r\nb=TIAS:128000\r\n", "b=AS:872\r\nb=TIAS:872000\r\n"] {
        assert_eq!(answer.matches(line).count(), 1, "{line:?} in {answer}");
    }
    bench.open_channel(alice);
    bench.say(
        alice,
        &format!("SDP_OFFER {}", offers::browser_publisher(&["VP8"])),
    );
    let answer = bench.hear(alice).unwrap();
    assert_eq!(answer.matches("b=TIAS:872000\r\n").count(), 1, "{answer}");
    bench.limits = Limits::default();
    let (.., answer) = bench.enter(Role::Publisher, "bob", &offers::browser_publisher(&["VP8"]));
    assert!(!answer.contains("\r\nb="));
}

#[test]
fn a_full_room_takes_no_more_subscribers_while_its_publisher_is_there() {
    let mut bench = Bench::new();
    bench.enter(Role::Subscriber, "v0", &offers::channel_only());
    bench.enter(Role::Subscriber, "v1", &offers::channel_only());
    bench.limits = subscribers(3);
    let (_, alice, _) = bench.enter(Role::Publisher, "alice", &offers::speaker());
    bench.limits = Limits::default();
    let (v2, ..) = bench.enter(Role::Subscriber, "v2", &offers::channel_only());
    let Reply::Refused(refused) = bench.join(Role::Subscriber, "v3", &offers::channel_only()) else {
        panic!("let in")
    };
    assert_eq!((refused.status, refused.retry_after.is_some()), (503, true));
    assert!(
        refused.detail.contains("full") && refused.detail.contains('3'),
        "{}",
        refused.detail
    );
    // Who comes straight back takes its own place.
    bench.event(Event::SessionSilent {
        session: v2,
        silent: true,
    });
    bench.enter(Role::Subscriber, "v2", &offers::channel_only());
    bench.enter(Role::Publisher, "bob", &offers::speaker());
    bench.leave(alice);
    bench.enter(Role::Subscriber, "v3", &offers::channel_only());
}

#[test]
fn a_subscriber_may_be_let_in_only_while_few_are_there() {
    let mut bench = Bench::new();
    bench.limits = subscribers(1);
    bench.enter(Role::Subscriber, "v0", &offers::channel_only());
    assert!(
        matches!(bench.join(Role::Subscriber, "v1", &offers::channel_only()), Reply::Refused(r) if r.status == 503)
    );
    bench.limits = Limits::default();
    bench.enter(Role::Subscriber, "v1", &offers::channel_only());
}
