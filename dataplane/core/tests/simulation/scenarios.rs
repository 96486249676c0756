//! What sessions live through.

use std::net::SocketAddr;
use std::time::Duration;

use weever_core::DropReason;
use weever_proto::{ChannelLabel, CloseReason, Command, DtlsRole, Event, IceCredentials, Kind, Role};

use crate::client::Got;
use crate::network::Faults;
use crate::world::World;

const SECOND: Duration = Duration::from_secs(1);

fn payloads(got: &[Got]) -> Vec<Vec<u8>> {
    let mut got: Vec<_> = got.to_vec();
    got.sort_by_key(|got| got.seq);
    got.iter().map(|got| got.payload.to_vec()).collect()
}

fn assert_unbroken(got: &[Got]) {
    let mut seqs: Vec<_> = got.iter().map(|got| got.seq).collect();
    seqs.sort_unstable();
    for pair in seqs.windows(2) {
        assert_eq!(
            pair[1],
            pair[0] + 1,
            "one number for each packet, no gap, none twice"
        );
    }
}

#[test]
fn every_packet_arrives_in_the_viewers_own_numbers() {
    let mut world = World::new(1, 1);
    let (publisher, track, ssrc) = world.publisher(0);
    let viewer = world.viewer(0);
    let route = world.route(viewer, 0, track, 0, Kind::Video);
    world.connect_all();
    let sent = world.film(publisher, ssrc, 1000, 60, 1000);
    world.run(SECOND);
    let got = &world.clients[viewer].got[&route.ssrc];
    assert_eq!(payloads(got), sent);
    assert_unbroken(got);
    assert!(
        got.iter().all(|got| got.rotation.is_some() == got.marker),
        "extensions travel with their packet"
    );
    let steps: Vec<_> = got
        .windows(2)
        .map(|pair| pair[1].timestamp.wrapping_sub(pair[0].timestamp))
        .collect();
    assert!(steps.iter().all(|step| [0, 3000].contains(step)), "{steps:?}");
    let live = |e: &Event| {
        *e == Event::TrackLive {
            session: world.clients[publisher].session,
            track,
        }
    };
    assert_eq!(world.events.iter().filter(|(_, e)| live(e)).count(), 1);
}

#[test]
fn sender_reports_keep_the_publishers_clock() {
    let mut world = World::new(2, 1);
    let (publisher, track, ssrc) = world.publisher(0);
    let viewer = world.viewer(0);
    let route = world.route(viewer, 0, track, 0, Kind::Video);
    world.connect_all();
    world.film(publisher, ssrc, 1, 450, 1000);
    let late = world.viewer(0);
    let second = world.route(late, 0, track, 0, Kind::Video);
    world.connect_all();
    world.film(publisher, ssrc, 1351, 60, 1);
    let first = world.clients[late].reports.first();
    let told = first.map(|report| *report.sender_info.ssrc);
    assert_eq!(told, Some(second.ssrc), "who is new is told at once");
    let reports = &world.clients[viewer].reports;
    assert!(
        (3..=5).contains(&reports.len()),
        "about every five seconds: {}",
        reports.len()
    );
    assert!(
        reports
            .iter()
            .all(|report| *report.sender_info.ssrc == route.ssrc)
    );
    let got = &world.clients[viewer].got[&route.ssrc];
    for report in reports {
        let rtp = u32::try_from(report.sender_info.rtp_time.numer() & 0xffff_ffff).unwrap();
        let nearest = got
            .iter()
            .map(|got| rtp.wrapping_sub(got.timestamp).cast_signed().unsigned_abs())
            .min();
        assert!(
            nearest.unwrap() <= 9000,
            "the report speaks in the viewer's timestamps: {nearest:?}"
        );
    }
}

#[test]
fn loss_on_the_way_to_a_viewer_is_repaired() {
    for lost in [20, 100] {
        let mut world = World::new(3 + u64::from(lost), 1);
        let (publisher, track, ssrc) = world.publisher(0);
        let viewer = world.viewer(0);
        let route = world.route(viewer, 0, track, 0, Kind::Video);
        world.connect_all();
        world.film(publisher, ssrc, 1000, 5, 1000);
        world.network.down = Faults {
            lost,
            ..Faults::default()
        };
        let sent = world.film(publisher, ssrc, 1015, 300, 1000);
        world.network.down = Faults::default();
        world.film(publisher, ssrc, 1915, 5, 1000);
        world.run(SECOND * 2);
        assert!(world.network.lost > 10, "the fault happened");
        let got = &world.clients[viewer].got[&route.ssrc];
        assert_unbroken(got);
        assert_eq!(payloads(got)[15..915], sent);
        assert!(world.workers[0].stats().rtx_packets >= 10);
    }
}

#[test]
fn loss_on_the_way_from_the_publisher_is_repaired() {
    let mut world = World::new(4, 1);
    let (publisher, track, ssrc) = world.publisher(0);
    let viewer = world.viewer(0);
    let route = world.route(viewer, 0, track, 0, Kind::Video);
    world.connect_all();
    world.film(publisher, ssrc, 1000, 5, 1000);
    world.network.up = Faults {
        lost: 50,
        ..Faults::default()
    };
    world.film(publisher, ssrc, 1015, 300, 1000);
    world.network.up = Faults::default();
    world.film(publisher, ssrc, 1915, 5, 1000);
    world.run(SECOND * 2);
    assert!(world.network.lost > 10, "the fault happened");
    let got = &world.clients[viewer].got[&route.ssrc];
    assert_eq!(got.len(), 930);
    assert_unbroken(got);
}

#[test]
fn a_bad_network_neither_doubles_nor_loses_and_consent_survives() {
    let mut world = World::new(5, 1);
    let (publisher, track, ssrc) = world.publisher(0);
    let viewer = world.viewer(0);
    let route = world.route(viewer, 0, track, 0, Kind::Video);
    world.connect_all();
    world.film(publisher, ssrc, 1000, 5, 1000);
    let faults = Faults {
        lost: 50,
        doubled: 200,
        jitter: Duration::from_millis(60),
    };
    (world.network.up, world.network.down) = (faults, faults);
    world.film(publisher, ssrc, 1015, 300, 1000);
    (world.network.up, world.network.down) = (Faults::default(), Faults::default());
    world.film(publisher, ssrc, 1915, 10, 1000);
    world.run(SECOND * 2);
    assert!(
        world.network.doubled > 50 && world.network.lost > 50,
        "the faults happened"
    );
    let got = &world.clients[viewer].got[&route.ssrc];
    let mut seqs: Vec<_> = got.iter().map(|got| got.seq).collect();
    seqs.sort_unstable();
    let count = seqs.len();
    seqs.dedup();
    assert_eq!(count, seqs.len());
    assert!(count >= 940, "{count} of 945");

    let faults = Faults {
        lost: 200,
        ..Faults::default()
    };
    (world.network.up, world.network.down) = (faults, faults);
    world.run(SECOND * 90);
    assert!(
        !world
            .events
            .iter()
            .any(|(_, e)| matches!(e, Event::SessionClosed { .. })),
        "{:?}",
        world.events
    );
}

#[test]
fn viewers_on_another_worker_get_the_same() {
    let mut world = World::new(6, 3);
    let (publisher, track, ssrc) = world.publisher(0);
    let near = world.viewer(0);
    let far = world.viewer(2);
    let near_route = world.route(near, 0, track, 0, Kind::Video);
    let far_route = world.route(far, 2, track, 0, Kind::Video);
    world.connect_all();
    let mut sent = world.film(publisher, ssrc, 1000, 30, 1000);
    world.network.down = Faults {
        lost: 50,
        ..Faults::default()
    };
    sent.extend(world.film(publisher, ssrc, 1090, 90, 1000));
    world.network.down = Faults::default();
    sent.extend(world.film(publisher, ssrc, 1360, 10, 1000));
    world.run(SECOND);
    assert_eq!(payloads(&world.clients[near].got[&near_route.ssrc]), sent);
    assert_eq!(payloads(&world.clients[far].got[&far_route.ssrc]), sent);
    assert!(
        world.workers[2].stats().rtx_packets > 0,
        "repaired from its own history"
    );
    assert!(!world.clients[far].reports.is_empty(), "reports cross too");

    let session = world.clients[far].session;
    world.command(2, Command::CloseSession { session });
    let session = world.clients[publisher].session;
    world.command(0, Command::CloseSession { session });
    let session = world.clients[near].session;
    world.command(0, Command::CloseSession { session });
    world.run(SECOND);
    for worker in &world.workers {
        let stats = worker.stats();
        assert_eq!(
            (stats.sessions, stats.tracks, stats.routes),
            (0, 0, 0),
            "nothing is left behind"
        );
    }
}

#[test]
fn a_viewer_that_comes_late_starts_with_a_keyframe_that_was_asked_for() {
    let mut world = World::new(7, 1);
    let (publisher, track, ssrc) = world.publisher(0);
    world.connect_all();
    world.film(publisher, ssrc, 1000, 30, 1000);
    assert!(
        world.clients[publisher].keyframe_requests.is_empty(),
        "nobody watches"
    );
    let viewer = world.viewer(0);
    let route = world.route(viewer, 0, track, 0, Kind::Video);
    world.film(publisher, ssrc, 1090, 30, 1_000_000);
    // Its first frame was the keyframe of that second film, which came before the handshake was done.
    assert!(
        !world.clients[publisher].keyframe_requests.is_empty(),
        "it was asked for"
    );
    world.film(publisher, ssrc, 1180, 10, 1000);
    world.run(SECOND);
    let got = &world.clients[viewer].got[&route.ssrc];
    assert_eq!(
        got[0].payload[..2],
        [0x10, 0],
        "the first packet begins a keyframe"
    );
    assert_eq!(got.len(), 30);
}

#[test]
fn a_keyframe_is_asked_for_when_the_viewer_can_take_it_and_not_before() {
    let mut world = World::new(31, 1);
    let (publisher, track, ssrc) = world.publisher(0);
    world.connect_all();
    world.film(publisher, ssrc, 1000, 30, 1000);
    world.network.delay = Duration::from_millis(100);
    let joined = world.now;
    let viewer = world.viewer(0);
    let route = world.route(viewer, 0, track, 0, Kind::Video);
    world.connect_all();
    world.run(Duration::from_millis(300));
    let asked = &world.clients[publisher].keyframe_requests;
    assert_eq!(asked.len(), 1, "one request, and it was not spent in vain");
    // A check and its response, three flights of DTLS, and the request's own way: five to six times 100 ms.
    assert!(
        asked[0] - joined >= Duration::from_millis(500),
        "{:?}",
        asked[0] - joined
    );
    world.film(publisher, ssrc, 1090, 10, 1000);
    world.run(SECOND);
    assert_eq!(world.clients[viewer].got[&route.ssrc].len(), 30);
}

#[test]
fn keyframe_requests_are_coalesced() {
    let mut world = World::new(8, 1);
    let (publisher, track, ssrc) = world.publisher(0);
    let viewers: Vec<_> = (0..40).map(|_| world.viewer(0)).collect();
    let routes: Vec<_> = viewers
        .iter()
        .map(|v| world.route(*v, 0, track, 0, Kind::Video))
        .collect();
    world.connect_all();
    world.film(publisher, ssrc, 1, 10, 1000);
    let before = world.clients[publisher].keyframe_requests.len();
    for _ in 0..50 {
        for (viewer, route) in viewers.iter().zip(&routes) {
            let now = world.now;
            world.clients[*viewer].request_keyframe(route.ssrc, now);
        }
        world.run(Duration::from_millis(100));
    }
    let asked = &world.clients[publisher].keyframe_requests[before..];
    assert!((5..=11).contains(&asked.len()), "{} requests in 5 s", asked.len());
    for pair in asked.windows(2) {
        assert!(
            pair[1] - pair[0] >= Duration::from_millis(490),
            "{:?}",
            pair[1] - pair[0]
        );
    }
}

#[test]
fn a_switch_of_tracks_is_one_unbroken_stream() {
    let mut world = World::new(9, 1);
    let (first, first_track, first_ssrc) = world.publisher(0);
    let (second, second_track, second_ssrc) = world.publisher(0);
    let viewer = world.viewer(0);
    let mut route = world.route(viewer, 0, first_track, 0, Kind::Video);
    world.connect_all();
    let mut sent = world.film(first, first_ssrc, 60_000, 30, 1000);
    route.track = second_track;
    world.command(0, Command::PutRoute(Box::new(route.clone())));
    world.film(first, first_ssrc, 60_090, 10, 1000);
    sent.extend(world.film(second, second_ssrc, 100, 30, 1000));
    route.track = first_track;
    world.command(0, Command::PutRoute(Box::new(route.clone())));
    sent.extend(world.film(first, first_ssrc, 60_120, 30, 1000));
    world.run(SECOND);
    let got = &world.clients[viewer].got[&route.ssrc];
    assert_unbroken(got);
    assert_eq!(payloads(got), sent);
    for pair in got.windows(2) {
        let step = pair[1].timestamp.wrapping_sub(pair[0].timestamp);
        let elapsed = (pair[1].at - pair[0].at).as_millis() * 90;
        assert!(
            u128::from(step) <= elapsed + 9000,
            "timestamps follow the clock: {step} in {elapsed}"
        );
    }
}

#[test]
fn a_route_that_ends_and_comes_back_is_one_stream_with_a_pause() {
    let mut world = World::new(20, 1);
    let (first, first_track, first_ssrc) = world.publisher(0);
    let (second, second_track, second_ssrc) = world.publisher(0);
    let viewer = world.viewer(0);
    let mut route = world.route(viewer, 0, first_track, 0, Kind::Video);
    world.connect_all();
    let mut sent = world.film(first, first_ssrc, 500, 30, 1000);
    let session = world.clients[viewer].session;
    world.command(
        0,
        Command::RemoveRoute {
            session,
            route: route.route,
        },
    );
    world.film(first, first_ssrc, 590, 10, 1000);
    route.track = second_track;
    world.command(0, Command::PutRoute(Box::new(route.clone())));
    sent.extend(world.film(second, second_ssrc, 7000, 30, 1000));
    world.run(SECOND);
    let got = &world.clients[viewer].got[&route.ssrc];
    assert_unbroken(got);
    assert_eq!(
        payloads(got),
        sent,
        "an index that was used before would have been refused as a replay"
    );
}

#[test]
fn a_nat_that_rebinds_is_followed() {
    let mut world = World::new(10, 1);
    let (publisher, track, ssrc) = world.publisher(0);
    let viewer = world.viewer(0);
    let route = world.route(viewer, 0, track, 0, Kind::Video);
    world.connect_all();
    world.film(publisher, ssrc, 1, 30, 1000);
    world.rebind(viewer, SocketAddr::from(([10, 9, 9, 9], 999)));
    world.rebind(publisher, SocketAddr::from(([10, 9, 9, 8], 998)));
    world.film(publisher, ssrc, 91, 180, 30);
    let got = world.clients[viewer].got[&route.ssrc].len();
    world.film(publisher, ssrc, 631, 60, 30);
    world.run(SECOND);
    assert_eq!(
        world.clients[viewer].got[&route.ssrc].len(),
        got + 180,
        "media flows at the new address"
    );
    assert!(
        world.workers[0].drops(DropReason::UnknownAddress) > 0,
        "until a check proved it"
    );
}

#[test]
fn ice_restart_keeps_the_old_until_the_new_is_proven() {
    let mut world = World::new(11, 1);
    let (publisher, track, ssrc) = world.publisher(0);
    let viewer = world.viewer(0);
    let route = world.route(viewer, 0, track, 0, Kind::Video);
    world.connect_all();
    world.film(publisher, ssrc, 1, 30, 1000);
    // A restart that the client never follows, then one that it does.
    for (n, follow) in [(1, false), (2, true)] {
        let local = IceCredentials {
            ufrag: format!("again{n}"),
            password: format!("password-after-restart-{n}"),
        };
        let remote = IceCredentials {
            ufrag: format!("mine{n}"),
            password: format!("client-after-restart-{n}-pw"),
        };
        let session = world.clients[viewer].session;
        world.command(
            0,
            Command::RestartIce {
                session,
                local: local.clone(),
                remote: remote.clone(),
            },
        );
        world.run(SECOND * 40);
        if follow {
            let mut api = world.clients[viewer].rtc.direct_api();
            api.set_local_ice_credentials(str0m::IceCreds {
                ufrag: remote.ufrag,
                pass: remote.password,
            });
            api.set_remote_ice_credentials(str0m::IceCreds {
                ufrag: local.ufrag,
                pass: local.password,
            });
            world.run(SECOND * 40);
        }
        let before = world.clients[viewer].got[&route.ssrc].len();
        world.film(publisher, ssrc, 1000 * n, 30, 30);
        world.run(SECOND);
        assert_eq!(
            world.clients[viewer].got[&route.ssrc].len(),
            before + 90,
            "restart {n}"
        );
    }
}

#[test]
fn silence_is_told_and_consent_expires() {
    let mut world = World::new(12, 1);
    let viewer = world.viewer(0);
    world.connect_all();
    world.run(SECOND * 20);
    let session = world.clients[viewer].session;
    let said = |world: &World, silent| {
        world
            .events
            .iter()
            .find(|(_, e)| *e == Event::SessionSilent { session, silent })
            .map(|(at, _)| *at)
    };
    assert_eq!(said(&world, true), None);
    world.network.up = Faults {
        lost: 1000,
        ..Faults::default()
    };
    let cut = world.elapsed();
    world.run(SECOND * 12);
    let silent = said(&world, true).expect("silence is told") - cut;
    assert!((SECOND..=SECOND * 6).contains(&silent), "{silent:?}");
    world.network.up = Faults::default();
    world.run(SECOND * 5);
    assert!(said(&world, false).is_some(), "it came back");
    world.network.up = Faults {
        lost: 1000,
        ..Faults::default()
    };
    let cut = world.elapsed();
    world.run(SECOND * 40);
    let closed = Event::SessionClosed {
        session,
        reason: CloseReason::ConsentExpired,
    };
    let at = world
        .events
        .iter()
        .find(|(_, e)| *e == closed)
        .expect("it ends")
        .0
        - cut;
    assert!((SECOND * 25..=SECOND * 31).contains(&at), "{at:?}");
    assert_eq!(world.workers[0].session_count(), 0);
}

#[test]
fn a_session_that_nobody_uses_ends() {
    let mut world = World::new(13, 1);
    world.network.up = Faults {
        lost: 1000,
        ..Faults::default()
    };
    let viewer = world.viewer(0);
    world.run(SECOND * 31);
    let session = world.clients[viewer].session;
    let closed = Event::SessionClosed {
        session,
        reason: CloseReason::ConnectTimeout,
    };
    assert!(world.events.iter().any(|(_, e)| *e == closed));
}

#[test]
fn a_wrong_certificate_is_refused() {
    let mut world = World::new(14, 1);
    for role in [DtlsRole::Server, DtlsRole::Client] {
        let n = world.join(0, Role::Subscriber, role, Vec::new(), |spec| {
            spec.fingerprint.value[3] ^= 1;
        });
        world.run(SECOND * 5);
        let session = world.clients[n].session;
        let closed = Event::SessionClosed {
            session,
            reason: CloseReason::FingerprintMismatch,
        };
        assert!(
            world.events.iter().any(|(_, e)| *e == closed),
            "{role:?} {:?}",
            world.events
        );
        assert!(
            !world
                .events
                .iter()
                .any(|(_, e)| *e == Event::SessionConnected { session })
        );
    }
}

#[test]
fn both_dtls_roles_carry_media_and_texts() {
    for role in [DtlsRole::Server, DtlsRole::Client] {
        let mut world = World::new(15, 1);
        let receive = world.audio("a", 77);
        let track = receive.track;
        let publisher = world.join(0, Role::Publisher, role, vec![receive], |_| {});
        world.clients[publisher].declare_send("a", str0m::media::MediaKind::Audio, 77, None);
        let viewer = world.join(0, Role::Subscriber, role, Vec::new(), |_| {});
        let route = world.route(viewer, 0, track, 0, Kind::Audio);
        world.connect_all();
        world.until(SECOND * 5, "channels open", |w| {
            w.clients.iter().all(|c| c.channel.is_some())
        });
        for n in 0..50u32 {
            let packet = crate::client::Outgoing {
                seq: 65_500 + u64::from(n),
                timestamp: 4_294_960_000u32.wrapping_add(n * 960),
                pt: crate::client::OPUS,
                payload: n.to_be_bytes().to_vec(),
                audio_level: Some(-20),
                ..Default::default()
            };
            let now = world.now;
            world.clients[publisher].write(77, packet, now);
            world.run(Duration::from_millis(20));
        }
        let got = &world.clients[viewer].got[&route.ssrc];
        assert_eq!(got.len(), 50, "{role:?}");
        assert_unbroken(got);
        assert!(got.iter().all(|got| got.audio_level == Some(-20)));

        let session = world.clients[viewer].session;
        let long = format!("SDP_OFFER {}", "v".repeat(200_000));
        world.command(
            0,
            Command::SendText {
                session,
                channel: ChannelLabel::Control,
                text: long.clone(),
            },
        );
        world.command(
            0,
            Command::SendText {
                session,
                channel: ChannelLabel::Control,
                text: "PUB_LEFT a".into(),
            },
        );
        // What a stock peer without SDP is allowed to send.
        let answer = format!("SDP_ANSWER {}", "v".repeat(60_000));
        let now = world.now;
        world.clients[viewer].say(&answer, now);
        world.run(SECOND * 10);
        assert_eq!(world.clients[viewer].texts, [long.clone(), "PUB_LEFT a".into()]);
        assert!(world.events.iter().any(|(_, e)| *e
            == Event::Text {
                session,
                channel: ChannelLabel::Control,
                text: answer.clone()
            }));
    }
}

#[test]
fn a_publisher_without_announced_ssrcs_is_found_by_mid() {
    let mut world = World::new(16, 1);
    let receive = world.video("v", None);
    let track = receive.track;
    let publisher = world.join(0, Role::Publisher, DtlsRole::Server, vec![receive], |_| {});
    world.clients[publisher].declare_send("v", str0m::media::MediaKind::Video, 50, Some(51));
    let viewer = world.viewer(0);
    let route = world.route(viewer, 0, track, 0, Kind::Video);
    world.connect_all();
    let sent = world.film(publisher, 50, 1, 20, 1000);
    world.run(SECOND);
    assert_eq!(payloads(&world.clients[viewer].got[&route.ssrc]), sent);
}

#[test]
fn tracks_that_come_with_a_renegotiation_flow() {
    let mut world = World::new(17, 1);
    let audio = world.audio("a", 70);
    let publisher = world.join(0, Role::Publisher, DtlsRole::Server, vec![audio.clone()], |_| {});
    world.clients[publisher].declare_send("a", str0m::media::MediaKind::Audio, 70, None);
    world.connect_all();
    world.clients[publisher].declare_send("v", str0m::media::MediaKind::Video, 80, Some(81));
    let video = world.video("v", Some((80, 81)));
    let track = video.track;
    let session = world.clients[publisher].session;
    let extensions = world.workers[0].snapshot(world.now)[0].spec.extensions.clone();
    let receive = vec![audio.clone(), video];
    world.command(
        0,
        Command::UpdateReceive {
            session,
            receive,
            extensions: extensions.clone(),
        },
    );
    let viewer = world.viewer(0);
    let route = world.route(viewer, 0, track, 0, Kind::Video);
    world.connect_all();
    world.film(publisher, 80, 1000, 5, 1000);
    world.network.up = Faults {
        lost: 50,
        ..Faults::default()
    };
    world.film(publisher, 80, 1015, 60, 1000);
    world.network.up = Faults::default();
    world.film(publisher, 80, 1195, 5, 1000);
    world.run(SECOND);
    assert!(world.network.lost > 0, "the fault happened");
    let got = &world.clients[viewer].got[&route.ssrc];
    assert_eq!(got.len(), 210, "repaired too, though its payload types came late");
    world.command(
        0,
        Command::UpdateReceive {
            session,
            receive: vec![audio],
            extensions,
        },
    );
    assert!(
        world
            .events
            .iter()
            .any(|(_, e)| *e == Event::TrackGone { session, track })
    );
}

#[test]
fn a_snapshot_tells_all() {
    let mut world = World::new(18, 1);
    let (publisher, track, ssrc) = world.publisher(0);
    let viewer = world.viewer(0);
    let route = world.route(viewer, 0, track, 0, Kind::Video);
    world.connect_all();
    world.until(SECOND * 5, "channels open", |w| {
        w.clients.iter().all(|c| c.channel.is_some())
    });
    world.film(publisher, ssrc, 1, 3, 1000);
    let session = world.clients[viewer].session;
    world.command(
        0,
        Command::SetState {
            session,
            state: b"mine".to_vec(),
        },
    );
    let snapshot = world.workers[0].snapshot(world.now);
    let of = |n: usize| {
        snapshot
            .iter()
            .find(|s| s.spec.session == world.clients[n].session)
            .unwrap()
    };
    assert_eq!(of(viewer).routes, [route]);
    assert_eq!(of(viewer).spec.state, b"mine");
    assert!(of(viewer).connected && of(viewer).channel_open && !of(viewer).chat_open && !of(viewer).silent);
    assert_eq!(of(publisher).live_tracks, [track]);
    // Commands are idempotent: what a new control plane repeats changes nothing.
    let spec = of(viewer).spec.clone();
    let again = of(viewer).routes[0].clone();
    world.command(0, Command::CreateSession(Box::new(spec)));
    world.command(0, Command::PutRoute(Box::new(again)));
    world.film(publisher, ssrc, 10, 30, 1000);
    assert_unbroken(world.clients[viewer].got.values().next().unwrap());
}

#[test]
fn a_goodbye_reaches_the_client() {
    let mut world = World::new(19, 1);
    let viewer = world.viewer(0);
    world.connect_all();
    let session = world.clients[viewer].session;
    world.command(0, Command::CloseSession { session });
    // Simulated time, with the way to the client in it: an operator who disconnects somebody waits for nothing.
    world.run(SECOND / 10);
    assert!(world.clients[viewer].closed, "close_notify came");
    world.events.clear();
    world.command(0, Command::CloseSession { session });
    assert!(
        matches!(world.events[0].1, Event::SessionClosed { .. }),
        "closing is idempotent"
    );
}
