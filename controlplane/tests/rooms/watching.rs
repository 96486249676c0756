//! Events of players, on the clock.

use std::collections::BTreeSet;
use std::time::Duration;

use weever_controlplane::rooms::{Action, PlayerEvent, Reply, SessionKey, StreamId, StreamNews, Topic};
use weever_proto::Role;

use crate::bench::Bench;
use crate::offers;

fn watch(bench: &mut Bench, key: SessionKey, topics: &[Topic]) -> StreamId {
    let request = bench.request();
    let topics = Some(topics.iter().copied().collect::<BTreeSet<_>>());
    bench.act(Action::Watch { request, key, topics });
    let Reply::Watching { stream } = bench.replies[&request] else {
        panic!("{:?}", bench.replies[&request])
    };
    stream
}

/// What a stream was told since it was asked last.
fn told(bench: &mut Bench, of: StreamId) -> Vec<PlayerEvent> {
    let news = std::mem::take(&mut bench.news);
    let event = |(stream, news): (StreamId, StreamNews)| match news {
        StreamNews::Event(event) if stream == of => Some(event),
        _ => None,
    };
    news.into_iter().filter_map(event).collect()
}

#[test]
fn a_room_is_counted_at_most_once_a_second() {
    let mut bench = Bench::new();
    let (_, key, _) = bench.enter(Role::Subscriber, "tv", &offers::player(&["VP8"]));
    let stream = watch(&mut bench, key, &[Topic::ViewerCount]);
    assert_eq!(told(&mut bench, stream), [PlayerEvent::ViewerCount(1)]);
    for n in 0..50 {
        bench.enter(Role::Subscriber, &format!("v{n}"), &offers::channel_only());
    }
    assert_eq!(
        told(&mut bench, stream),
        [PlayerEvent::ViewerCount(2)],
        "the first at once"
    );
    bench.pass(Duration::from_millis(999));
    assert_eq!(told(&mut bench, stream), []);
    bench.pass(Duration::from_millis(2));
    assert_eq!(
        told(&mut bench, stream),
        [PlayerEvent::ViewerCount(51)],
        "the others in one"
    );
    bench.pass(Duration::from_secs(10));
    assert_eq!(told(&mut bench, stream), [], "nothing has changed");
    let (_, key, _) = bench.enter(Role::Subscriber, "late", &offers::channel_only());
    assert_eq!(told(&mut bench, stream), [PlayerEvent::ViewerCount(52)]);
    bench.leave(key);
    bench.pass(Duration::from_secs(1));
    assert_eq!(told(&mut bench, stream), [PlayerEvent::ViewerCount(51)]);
}

#[test]
fn a_count_that_is_due_when_the_room_has_closed_is_forgotten() {
    let mut bench = Bench::new();
    let (_, tv, _) = bench.enter(Role::Subscriber, "tv", &offers::player(&["VP8"]));
    let old = watch(&mut bench, tv, &[Topic::ViewerCount]);
    for name in ["a", "b"] {
        let (_, key, _) = bench.enter(Role::Subscriber, name, &offers::channel_only());
        bench.leave(key);
    }
    bench.leave(tv);
    let (_, tv, _) = bench.enter(Role::Subscriber, "tv", &offers::player(&["VP8"]));
    let new = watch(&mut bench, tv, &[Topic::ViewerCount]);
    bench.news.clear();
    bench.pass(Duration::from_secs(5));
    assert_eq!((told(&mut bench, old), told(&mut bench, new)), (vec![], vec![]));
}

#[test]
fn streams_end_with_their_session_and_others_go_on() {
    let mut bench = Bench::new();
    let (_, tv, _) = bench.enter(Role::Subscriber, "tv", &offers::player(&["VP8"]));
    let (_, other, _) = bench.enter(Role::Subscriber, "other", &offers::player(&["VP8"]));
    let topics = [Topic::Active, Topic::Inactive];
    let (mine, theirs) = (watch(&mut bench, tv, &topics), watch(&mut bench, other, &topics));
    bench.news.clear();
    bench.leave(tv);
    assert_eq!(bench.news, [(mine, StreamNews::Ended)]);
    bench.enter(Role::Publisher, "alice", &offers::browser_publisher(&["VP8"]));
    assert_eq!(told(&mut bench, theirs), [PlayerEvent::Active]);
}

#[test]
fn a_player_whose_control_channel_opens_is_told_what_it_is_shown_there() {
    let mut bench = Bench::new();
    bench.enter(Role::Publisher, "alice", &offers::browser_publisher(&["VP8"]));
    let (viewer, key, _) = bench.enter(Role::Subscriber, "bob", &offers::player_with_channel(&["VP8"]));
    let stream = watch(&mut bench, key, &[Topic::Active, Topic::Inactive]);
    assert_eq!(told(&mut bench, stream), [PlayerEvent::Active]);
    bench.open_channel(viewer);
    assert_eq!(
        told(&mut bench, stream),
        [PlayerEvent::Inactive],
        "its slots rest"
    );
    bench.answer_offer(viewer);
    assert_eq!(told(&mut bench, stream), [PlayerEvent::Active]);
}
