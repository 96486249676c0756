//! What a worker tells of sessions on their way to media.

use std::time::Duration;

use str0m::media::MediaKind;
use weever_proto::{DtlsRole, Event, JoinStage, Kind, Role};

use crate::client::{self, Outgoing};
use crate::world::World;

const SECOND: Duration = Duration::from_secs(1);

/// The stages that a client's session reached, and when (milliseconds of its own).
fn stages(world: &World, client: usize) -> Vec<(JoinStage, u64)> {
    let own = world.clients[client].session;
    let stage = |event: &Event| match event {
        Event::JoinProgress {
            session,
            stage,
            after_us,
        } if *session == own => Some((*stage, after_us / 1000)),
        _ => None,
    };
    world
        .events
        .iter()
        .filter_map(|(_, event)| stage(event))
        .collect()
}

#[test]
fn each_stage_of_a_join_is_told_once() {
    let mut world = World::new(77, 2);
    let (publisher, track, ssrc) = world.publisher(0);
    let viewers = [world.viewer(0), world.viewer(1)];
    for viewer in viewers {
        world.route(viewer, u16::from(viewer == viewers[1]), track, 0, Kind::Video);
    }
    world.connect_all();
    for client in [publisher, viewers[0], viewers[1]] {
        let all = stages(&world, client);
        let names: Vec<_> = all.iter().map(|(stage, _)| *stage).collect();
        assert_eq!(
            names,
            [JoinStage::Ice, JoinStage::Dtls],
            "without media none is told"
        );
        assert!(all[0].1 <= all[1].1, "{all:?}");
    }
    let connected = world.elapsed();
    world.film(publisher, ssrc, 1, 30, 1000);
    world.run(SECOND);
    for client in [publisher, viewers[0], viewers[1]] {
        let all = stages(&world, client);
        assert_eq!(all.len(), 3, "{all:?}");
        let (stage, at) = all[2];
        assert_eq!(stage, JoinStage::Media);
        let since = u64::try_from(connected.as_millis()).unwrap();
        assert!(
            (since..since + 1000).contains(&at),
            "{at} ms, connected at {since}"
        );
    }
    // Shown another time, it has joined all the same.
    let viewer = viewers[0];
    world.route(viewer, 0, track, 0, Kind::Video);
    world.film(publisher, ssrc, 91, 30, 10);
    world.run(SECOND);
    assert_eq!(stages(&world, viewer).len(), 3);
}

#[test]
fn sound_is_no_picture() {
    let mut world = World::new(78, 1);
    let ssrc = 0x2000_0000;
    let (video, audio) = (
        world.video("v", Some((ssrc, ssrc + 1))),
        world.audio("a", ssrc + 2),
    );
    let tracks = (video.track, audio.track);
    let publisher = world.join(0, Role::Publisher, DtlsRole::Server, vec![video, audio], |_| {});
    world.clients[publisher].declare_send("v", MediaKind::Video, ssrc, Some(ssrc + 1));
    world.clients[publisher].declare_send("a", MediaKind::Audio, ssrc + 2, None);
    let (both, sound) = (world.viewer(0), world.viewer(0));
    world.route(both, 0, tracks.0, 0, Kind::Video);
    world.route(both, 0, tracks.1, 0, Kind::Audio);
    world.route(sound, 0, tracks.1, 0, Kind::Audio);
    world.connect_all();
    for n in 0..10u32 {
        let packet = Outgoing {
            seq: u64::from(n),
            timestamp: 960 * n,
            pt: client::OPUS,
            marker: false,
            payload: vec![0x7c; 80],
            rotation: None,
            audio_level: None,
        };
        world.clients[publisher].write(ssrc + 2, packet, world.now);
        world.run(SECOND / 50);
    }
    let media = |world: &World, n| {
        stages(world, n)
            .iter()
            .any(|(stage, _)| *stage == JoinStage::Media)
    };
    assert!(media(&world, sound), "who only listens has media");
    assert!(!media(&world, both), "who is to see something has none yet");
    world.film(publisher, ssrc, 1, 10, 1000);
    world.run(SECOND);
    assert!(media(&world, both));
}
