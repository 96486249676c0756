//! Getting in and out.

use std::time::Duration;

use weever_controlplane::names::RoomName;
use weever_controlplane::rooms::{Action, Limits, Notice, Reply, RoomsConfig};
use weever_controlplane::sdp::Description;
use weever_proto::{Codec, DtlsRole, Event, Kind, Refusal, Role, WorkerId, limits};

use crate::bench::{Bench, id, room};
use crate::offers;

fn status(reply: &Reply) -> u16 {
    match reply {
        Reply::Refused(refused) => refused.status,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn a_publisher_is_answered_with_one_codec_for_each_m_line() {
    let mut bench = Bench::new();
    let (session, _, answer) = bench.enter(
        Role::Publisher,
        "alice",
        &offers::browser_publisher(&["VP9", "VP8"]),
    );
    let parsed = Description::parse(&answer).unwrap();
    assert_eq!(parsed.sections.len(), 3);
    let video = &parsed.sections[1];
    let names: Vec<&str> = video.formats.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names, ["VP9", "rtx"]);
    assert!(!video.formats[0].feedback.iter().any(|f| f == "goog-remb"));
    let audio: Vec<&str> = parsed.sections[0]
        .formats
        .iter()
        .map(|f| f.name.as_str())
        .collect();
    assert_eq!(audio, ["opus", "red"]);
    assert!(answer.contains("a=fmtp:111 minptime=10;useinbandfec=1\r\n"));
    assert!(answer.contains("a=ice-lite\r\n") && answer.contains("a=setup:passive\r\n"));
    assert!(answer.contains("a=recvonly\r\n") && !answer.contains("video-timing"));
    let first = answer.split("m=video").next().unwrap();
    assert_eq!(
        first.matches("a=candidate:").count(),
        2,
        "all candidates stand in the first section"
    );
    assert_eq!(answer.matches("a=candidate:").count(), 2);
    assert!(answer.contains("m=audio 8443 ") && answer.contains("c=IN IP4 192.0.2.1\r\n"));
    assert!(answer.len() < 8192);

    let spec = &bench.held[&session].spec;
    assert_eq!(spec.dtls_role, DtlsRole::Server);
    assert!(spec.data_channel);
    assert_eq!(spec.receive.len(), 2);
    assert_eq!(
        (spec.receive[1].ssrc, spec.receive[1].rtx_ssrc),
        (Some(2000), Some(2001))
    );
    let video = spec.receive[1].payload_types[0];
    assert_eq!(
        (video.codec, video.rtx_pt, video.nack, video.pli),
        (Codec::Vp9, Some(97), true, true)
    );
    assert_eq!(spec.receive[0].payload_types[1].codec, Codec::Red);
}

#[test]
fn an_encoder_that_waits_is_called() {
    let mut bench = Bench::new();
    let (session, _, answer) = bench.enter(Role::Publisher, "obs", &offers::encoder());
    assert!(answer.contains("a=setup:active\r\n") && !answer.contains("a=extmap:"));
    let spec = &bench.held[&session].spec;
    assert_eq!(spec.dtls_role, DtlsRole::Client);
    assert!(!spec.data_channel && spec.extensions.is_empty());
    assert_eq!(spec.receive[1].payload_types[0].codec, Codec::H264);
}

#[test]
fn names_are_taken_at_the_post() {
    let mut bench = Bench::new();
    bench.obliging = false;
    assert_eq!(
        bench.join(Role::Publisher, "alice", &offers::speaker()),
        Reply::Trickled,
        "no answer yet"
    );
    let second = bench.join(Role::Publisher, "alice", &offers::speaker());
    assert_eq!(status(&second), 409);
    assert!(matches!(&second, Reply::Refused(r) if r.detail == "duplicate publisher"));
    bench.obliging = true;
    bench.enter(Role::Publisher, "alice+2", &offers::speaker());
    bench.enter(Role::Subscriber, "alice", &offers::channel_only());
    let again = bench.join(Role::Subscriber, "alice", &offers::channel_only());
    assert!(matches!(&again, Reply::Refused(r) if r.detail == "duplicate subscriber"));
    assert_eq!(bench.list(Role::Publisher), ["alice", "alice+2"]);
}

#[test]
fn the_silent_give_way() {
    let mut bench = Bench::new();
    let (old, key, _) = bench.enter(Role::Publisher, "obs", &offers::encoder());
    bench.event(Event::SessionSilent {
        session: old,
        silent: true,
    });
    let (new, ..) = bench.enter(Role::Publisher, "obs", &offers::encoder());
    assert!(!bench.held.contains_key(&old) && bench.held.contains_key(&new));
    assert_eq!(status(&bench.leave(key)), 404, "the old URL is dead");
    assert_eq!(bench.list(Role::Publisher), ["obs"]);
}

#[test]
fn a_data_plane_that_does_not_answer_is_not_waited_for() {
    let mut bench = Bench::new();
    bench.obliging = false;
    let request = bench.request();
    let join = weever_controlplane::rooms::Join {
        request,
        role: Role::Publisher,
        room: room(),
        id: id("alice"),
        offer: Description::parse(&offers::speaker()).unwrap(),
        from: None,
        limits: Limits::default(),
        posted: bench.posted(),
        redirected: false,
        claim: 0,
    };
    bench.act(Action::Join(Box::new(join)));
    bench.pass(Duration::from_secs(6));
    assert_eq!(status(&bench.replies[&request]), 503);
    assert!(bench.list(Role::Publisher).is_empty());
}

#[test]
fn a_full_data_plane_refuses_for_the_control_plane() {
    let mut bench = Bench::new();
    bench.obliging = false;
    let request = bench.request();
    let join = weever_controlplane::rooms::Join {
        request,
        role: Role::Publisher,
        room: room(),
        id: id("alice"),
        offer: Description::parse(&offers::speaker()).unwrap(),
        from: None,
        limits: Limits::default(),
        posted: bench.posted(),
        redirected: false,
        claim: 0,
    };
    bench.act(Action::Join(Box::new(join)));
    let session = *bench.held.keys().next().unwrap();
    bench.event(Event::CommandRefused {
        session,
        reason: Refusal::Full,
        detail: "no room".into(),
    });
    assert!(
        matches!(&bench.replies[&request], Reply::Refused(r) if r.status == 503 && r.retry_after.is_some())
    );
    assert_eq!(bench.rooms.session_count(), 0);
}

#[test]
fn offers_that_cannot_be_served_are_422() {
    let mut bench = Bench::new();
    let flexfec = offers::browser_publisher(&["flexfec-03"]);
    let only_video: String = flexfec
        .replace("opus/48000/2", "amr/8000")
        .replace("PCMU", "x")
        .replace("PCMA", "x");
    assert_eq!(status(&bench.join(Role::Publisher, "a", &only_video)), 422);
    let nothing = offers::player(&["flexfec-03"]);
    let nothing = nothing
        .replace("opus/48000/2", "amr/8000")
        .replace("PCMU", "x")
        .replace("PCMA", "x");
    assert_eq!(status(&bench.join(Role::Subscriber, "a", &nothing)), 422);
    assert_eq!(bench.rooms.session_count(), 0);
}

#[test]
fn all_that_a_newcomer_sends_is_taken_or_nothing() {
    let mut bench = Bench::new();
    let half = offers::browser_publisher(&["flexfec-03"]);
    assert_eq!(status(&bench.join(Role::Publisher, "a", &half)), 422);
    assert!(bench.held.is_empty());
    // Who is in goes on with what can be taken.
    let (session, ..) = bench.enter(Role::Publisher, "a", &offers::speaker());
    bench.open_channel(session);
    bench.say(session, &format!("SDP_OFFER {half}"));
    let answer = bench.hear(session).unwrap();
    assert!(
        answer.contains("m=video 0 ") && answer.contains("a=group:BUNDLE 0 2\r\n"),
        "{answer}"
    );
    assert_eq!(bench.held[&session].spec.receive.len(), 1);
}

#[test]
fn without_a_data_plane_or_while_draining_nobody_is_let_in() {
    let mut bench = Bench::without_shard(RoomsConfig::default(), 1);
    assert!(!bench.rooms.is_ready());
    assert_eq!(
        status(&bench.join(Role::Publisher, "alice", &offers::speaker())),
        503
    );
    let mut bench = Bench::new();
    assert!(bench.rooms.is_ready());
    bench.enter(Role::Publisher, "alice", &offers::speaker());
    bench.act(Action::Drain);
    assert!(!bench.rooms.is_ready());
    let refused = bench.join(Role::Publisher, "bob", &offers::speaker());
    assert!(matches!(&refused, Reply::Refused(r) if r.status == 503 && r.retry_after.is_some()));
    assert_eq!(bench.rooms.session_count(), 1, "those who are in stay");
}

#[test]
fn operators_disconnect_one_or_all() {
    let mut bench = Bench::new();
    bench.enter(Role::Publisher, "alice", &offers::speaker());
    bench.enter(Role::Publisher, "bob", &offers::speaker());
    bench.enter(Role::Subscriber, "carol", &offers::channel_only());
    let mut disconnect = |who| {
        let request = bench.request();
        bench.act(Action::Disconnect {
            request,
            room: room(),
            who,
        });
        (bench.replies.remove(&request).unwrap(), bench.held.len())
    };
    assert_eq!(disconnect(Some((Role::Publisher, id("alice")))), (Reply::Done, 2));
    assert_eq!(status(&disconnect(Some((Role::Publisher, id("alice")))).0), 404);
    assert_eq!(disconnect(None), (Reply::Done, 0));
    assert_eq!(
        status(&disconnect(None).0),
        404,
        "the room closed with its last session"
    );
    assert!(bench.notices.contains(&Notice::RoomClosed(room())));
}

#[test]
fn a_room_stays_on_its_worker_until_the_budget_is_used() {
    let mut bench = Bench::with(
        RoomsConfig {
            room_budget: 3,
            ..RoomsConfig::default()
        },
        3,
    );
    for n in 0..7 {
        bench.enter(Role::Publisher, &format!("p{n}"), &offers::speaker());
    }
    let mut used = [0; 3];
    for held in bench.held.values() {
        used[usize::from(held.spec.worker.0)] += 1;
    }
    used.sort_unstable();
    assert_eq!(used, [1, 3, 3]);
    let other = RoomName::new("other").unwrap();
    assert!(bench.rooms.room(bench.now, &other, None, 10).is_none());
    let detail = bench.rooms.room(bench.now, &room(), None, 10).unwrap();
    let name = &detail.publishers[0].tracks[0].name;
    assert_eq!((name.label.as_str(), name.codec.as_str()), ("audio0", "opus"));
}

#[test]
fn a_room_leaves_a_worker_whose_core_is_used() {
    let mut bench = Bench::with(RoomsConfig::default(), 3);
    let enter = |bench: &mut Bench, name: &str| {
        let (session, ..) = bench.enter(Role::Publisher, name, &offers::speaker());
        bench.held[&session].spec.worker
    };
    let first = enter(&mut bench, "a");
    assert_eq!(enter(&mut bench, "b"), first);
    let shard = bench.shard;
    let loads = |busy: u32, others: u32| {
        let of = |n| (WorkerId(n), if WorkerId(n) == first { busy } else { others });
        Action::Loads {
            shard,
            permille: (0..3).map(of).collect(),
            tracks: Vec::new(),
        }
    };
    bench.act(loads(810, 300));
    let second = enter(&mut bench, "c");
    assert_ne!(second, first);
    assert_eq!(enter(&mut bench, "d"), second, "where the room is already");
    // All are used: the one with the most room.
    bench.act(loads(850, 990));
    assert_eq!(enter(&mut bench, "e"), first);
    bench.act(loads(100, 100));
    assert_eq!(enter(&mut bench, "f"), first);
}

#[test]
fn a_status_tells_who_is_there() {
    let mut bench = Bench::new();
    bench.enter(Role::Publisher, "alice", &offers::speaker());
    let (_, key, _) = bench.enter(Role::Subscriber, "bob+1", &offers::channel_only());
    let request = bench.request();
    bench.act(Action::Inspect { request, key });
    let Reply::Found(status) = bench.replies.remove(&request).unwrap() else {
        panic!()
    };
    assert_eq!(
        (status.room.as_str(), status.id.as_str(), status.role),
        ("testroom", "bob+1", "subscriber")
    );
    assert_eq!(
        (status.connected, status.publishers, status.subscribers),
        (true, vec!["alice".to_owned()], 1)
    );
}

#[test]
fn a_publisher_that_changes_its_codec_is_shown_anew() {
    let mut bench = Bench::new();
    let (publisher, ..) = bench.enter(Role::Publisher, "alice", &offers::browser_publisher(&["VP8"]));
    bench.open_channel(publisher);
    let (viewer, ..) = bench.enter(Role::Subscriber, "bob", &offers::channel_only());
    bench.open_channel(viewer);
    bench.answer_offer(viewer);
    let old = bench.held[&publisher].spec.receive[1].track;
    bench.say(
        publisher,
        &format!("SDP_OFFER {}", offers::browser_publisher(&["VP9"])),
    );
    assert_ne!(bench.held[&publisher].spec.receive[1].track, old);
    let offer = bench.answer_offer(viewer);
    assert_eq!(offers::msids(&offer), ["alice audio0", "alice video0"]);
    assert!(offer.contains(" VP9/90000") && !offer.contains(" VP8/90000"));
    let codecs: Vec<Codec> = bench.held[&viewer]
        .routes
        .values()
        .flat_map(|r| &r.payload_map)
        .map(|map| map.codec)
        .collect();
    assert!(codecs.contains(&Codec::Vp9) && !codecs.contains(&Codec::Vp8));
}

#[test]
fn an_offer_too_large_to_be_kept_is_refused() {
    let mut bench = Bench::new();
    let escaped = format!("VP8 {}", "\"".repeat(240_000));
    let reply = bench.join(Role::Publisher, "a", &offers::browser_publisher(&[&escaped]));
    let reply = match reply {
        Reply::Created { .. } => bench.join(Role::Subscriber, "b", &offers::player(&[&escaped])),
        refused => refused,
    };
    assert!(
        bench
            .held
            .values()
            .all(|held| held.spec.state.len() <= limits::MAX_STATE)
    );
    assert!(matches!(reply, Reply::Created { .. }) || status(&reply) == 422);
    let worst = format!("VP8 {}", "\u{1}".repeat(240_000));
    assert_eq!(
        status(&bench.join(Role::Publisher, "c", &offers::browser_publisher(&[&worst]))),
        422
    );
}

#[test]
fn the_one_who_called_goes_on_calling() {
    let mut bench = Bench::new();
    let waiting = offers::browser_publisher(&["VP8"]).replace("a=setup:actpass", "a=setup:passive");
    let (publisher, ..) = bench.enter(Role::Publisher, "alice", &waiting);
    bench.open_channel(publisher);
    bench.say(
        publisher,
        &format!("SDP_OFFER {}", offers::browser_publisher(&["VP8"])),
    );
    let answer = bench.hear(publisher).unwrap();
    assert!(answer.contains("a=setup:active\r\n"), "RFC 8842 §5.5: roles stay");
}

#[test]
fn tracks_that_a_publisher_adds_and_removes_are_followed() {
    let mut bench = Bench::new();
    let (publisher, ..) = bench.enter(Role::Publisher, "alice", &offers::speaker());
    bench.open_channel(publisher);
    let (viewer, ..) = bench.enter(Role::Subscriber, "bob", &offers::channel_only());
    bench.open_channel(viewer);
    assert_eq!(offers::msids(&bench.answer_offer(viewer)), ["alice audio0"]);
    let audio = bench.held[&publisher].spec.receive[0].track;

    bench.say(
        publisher,
        &format!("SDP_OFFER {}", offers::browser_publisher(&["VP8"])),
    );
    let text = bench.hear(publisher).unwrap();
    assert!(text.starts_with("SDP_ANSWER v=0"), "{text}");
    let receive = &bench.held[&publisher].spec.receive;
    assert_eq!(receive.len(), 2);
    assert_eq!(receive[0].track, audio, "what stays keeps its track");
    assert_eq!(receive[1].kind, Kind::Video);
    assert_eq!(
        offers::msids(&bench.answer_offer(viewer)),
        ["alice audio0", "alice video0"]
    );
    assert_eq!(bench.held[&viewer].routes.len(), 2);

    bench.say(publisher, &format!("SDP_OFFER {}", offers::speaker()));
    bench.hear(publisher).unwrap();
    assert_eq!(
        bench.held[&viewer].routes.len(),
        1,
        "gone before the offer says so"
    );
    assert_eq!(offers::msids(&bench.answer_offer(viewer)), ["alice audio0"]);

    bench.say(publisher, "hello");
    assert_eq!(bench.hear(publisher).unwrap(), "OK");
    bench.say(publisher, "SDP_OFFER nonsense");
    assert_eq!(bench.hear(publisher).unwrap(), "OK");
    bench.say(publisher, "STOP");
    assert!(!bench.held.contains_key(&publisher));
}
