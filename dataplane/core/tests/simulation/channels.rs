//! The chat channel beside the control channel.

use std::time::Duration;

use weever_core::DropReason;
use weever_proto::{ChannelLabel, Command, Event, SessionId, limits};

use crate::world::World;

const SECOND: Duration = Duration::from_secs(1);
const CHAT: ChannelLabel = ChannelLabel::Chat;

/// Viewers of one worker with both channels open.
fn room(seed: u64, viewers: usize) -> World {
    let mut world = World::new(seed, 1);
    for _ in 0..viewers {
        world.viewer(0);
    }
    world.connect_all();
    world.until(SECOND * 20, "control channels open", |w| {
        w.clients.iter().all(|c| c.channel.is_some())
    });
    let now = world.now;
    for client in &mut world.clients {
        client.open_another("chat", now);
    }
    world.until(SECOND * 20, "chat channels open", |w| {
        w.clients.iter().all(|c| c.chat.is_some())
    });
    world.run(SECOND);
    world
}

fn chat(world: &mut World, n: usize, binary: bool, data: &[u8]) {
    let now = world.now;
    world.clients[n].chat(binary, data, now);
    world.run(SECOND / 5);
}

fn chatted(world: &World, session: SessionId) -> Vec<String> {
    let of = |event: &Event| match event {
        Event::Text {
            session: from,
            channel: CHAT,
            text,
        } if *from == session => Some(text.clone()),
        _ => None,
    };
    world.events.iter().filter_map(|(_, event)| of(event)).collect()
}

#[test]
fn two_channels_are_told_apart_by_label_and_others_are_nobodys() {
    let mut world = room(41, 1);
    let session = world.clients[0].session;
    let opened = |world: &World, channel| {
        let open = Event::ChannelOpen { session, channel };
        world.events.iter().filter(|(_, event)| *event == open).count()
    };
    assert_eq!(opened(&world, ChannelLabel::Control), 1);
    assert_eq!(opened(&world, CHAT), 1);
    let snapshot = &world.workers[0].snapshot(world.now)[0];
    assert!(snapshot.channel_open && snapshot.chat_open);

    chat(&mut world, 0, false, "good evening \u{1f41f}".as_bytes());
    assert_eq!(chatted(&world, session), ["good evening \u{1f41f}"]);
    for (channel, text) in [(CHAT, "bob hello"), (ChannelLabel::Control, "OK")] {
        let text = text.to_owned();
        world.command(
            0,
            Command::SendText {
                session,
                channel,
                text,
            },
        );
    }
    world.run(SECOND);
    assert_eq!(world.clients[0].chats, ["bob hello"]);
    assert_eq!(world.clients[0].texts, ["OK"]);

    let now = world.now;
    world.clients[0].close_chat(now);
    world.run(SECOND * 2);
    let closed = Event::ChannelClosed {
        session,
        channel: CHAT,
    };
    assert!(world.events.iter().any(|(_, event)| *event == closed));
    assert!(!world.workers[0].snapshot(world.now)[0].chat_open);
    let lost = world.workers[0].drops(DropReason::ChannelBacklog);
    world.command(
        0,
        Command::SendText {
            session,
            channel: CHAT,
            text: "bob still there?".into(),
        },
    );
    assert_eq!(world.workers[0].drops(DropReason::ChannelBacklog), lost + 1);

    let now = world.now;
    world.clients[0].open_another("files", now);
    world.until(SECOND * 5, "it opens all the same", |w| {
        w.clients[0].chat.is_some()
    });
    let events = world.events.len();
    chat(&mut world, 0, false, b"nobody listens");
    assert_eq!(world.events.len(), events);
}

#[test]
fn what_may_not_be_said_is_answered_and_counted() {
    let mut world = room(42, 1);
    let session = world.clients[0].session;
    let long = "x".repeat(limits::MAX_CHAT);
    chat(&mut world, 0, false, long.as_bytes());
    chat(&mut world, 0, false, format!("{long}x").as_bytes());
    chat(&mut world, 0, true, b"hello");
    chat(&mut world, 0, false, &[0xc3, 0x28]);
    assert_eq!(chatted(&world, session), [long]);
    let answers = std::mem::take(&mut world.clients[0].chats);
    assert_eq!(answers.len(), 3, "{answers:?}");
    assert!(answers.iter().all(|answer| answer.starts_with("* not sent: ")));
    assert_eq!(world.workers[0].drops(DropReason::ChatMessage), 3);

    world.run(SECOND * 10);
    let now = world.now;
    for _ in 0..200 {
        world.clients[0].chat(false, b"spam", now);
    }
    world.run(SECOND);
    let said = chatted(&world, session).len() - 1;
    assert!((10..=13).contains(&said), "{said} of 200 at once");
    assert_eq!(world.workers[0].drops(DropReason::ChatTooFast), 200 - said as u64);
    assert!(
        world.clients[0].chats.len() <= 3,
        "a flood isn't answered with one"
    );
}

#[test]
fn a_flood_of_signals_costs_the_control_plane_a_few_in_a_second() {
    let mut world = room(45, 1);
    for _ in 0..10 {
        let now = world.now;
        for _ in 0..300 {
            world.clients[0].say("x", now);
        }
        world.run(SECOND);
    }
    let is_signal = |event: &Event| {
        matches!(
            event,
            Event::Text {
                channel: ChannelLabel::Control,
                ..
            }
        )
    };
    let came = world.events.iter().filter(|(_, event)| is_signal(event)).count();
    assert!((200..=200 + 20 * 13).contains(&came), "{came} of 3000");
    assert_eq!(
        world.workers[0].drops(DropReason::ChannelTooFast),
        3000 - came as u64
    );
}

#[test]
fn a_text_for_many_goes_to_each_of_them_bit_by_bit() {
    let mut world = room(43, 70);
    let mut sessions: Vec<SessionId> = world.clients.iter().map(|client| client.session).collect();
    let absent = sessions.pop().unwrap();
    // Who is gone, or was never there, is passed over.
    sessions.insert(3, SessionId(1));
    world.command(
        0,
        Command::Broadcast {
            sessions,
            channel: CHAT,
            text: "alice hello".into(),
        },
    );
    world.run(SECOND);
    for client in &world.clients {
        let want: &[&str] = if client.session == absent {
            &[]
        } else {
            &["alice hello"]
        };
        assert_eq!(client.chats, want);
    }
}

/// A viewer that takes no more misses what is said, and nobody else does.
#[test]
fn a_client_that_does_not_read_holds_nobody_up() {
    let mut world = room(44, 2);
    let sessions: Vec<SessionId> = world.clients.iter().map(|client| client.session).collect();
    let text = "x".repeat(4000);
    for _ in 0..100 {
        world.command(
            0,
            Command::Broadcast {
                sessions: sessions.clone(),
                channel: CHAT,
                text: text.clone(),
            },
        );
    }
    // All at once: more than may wait.
    world.run(SECOND * 5);
    let lost = world.workers[0].drops(DropReason::ChannelBacklog);
    let came: usize = world.clients.iter().map(|client| client.chats.len()).sum();
    assert!(lost > 0 && came > 0);
    assert_eq!(came as u64 + lost, 200);
    world.command(
        0,
        Command::SendText {
            session: sessions[0],
            channel: ChannelLabel::Control,
            text: "PUB_JOIN bob".into(),
        },
    );
    world.run(SECOND);
    assert_eq!(world.clients[0].texts, ["PUB_JOIN bob"], "signalling goes on");
}
