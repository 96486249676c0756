//! Subscribers with a control channel: everything of the room, renegotiated as it changes.

use std::collections::HashMap;
use std::time::Duration;

use weever_controlplane::sdp::Description;
use weever_proto::{Role, SessionId, limits};

use crate::bench::Bench;
use crate::offers;

fn subscriber(bench: &mut Bench, name: &str) -> SessionId {
    let (session, ..) = bench.enter(Role::Subscriber, name, &offers::channel_only());
    bench.open_channel(session);
    session
}

#[test]
fn the_first_offer_has_all_and_later_ones_follow_notices() {
    let mut bench = Bench::new();
    bench.enter(Role::Publisher, "alice+1", &offers::browser_publisher(&["VP8"]));
    let viewer = subscriber(&mut bench, "bob");
    assert!(bench.held[&viewer].routes.is_empty(), "nothing before the answer");
    let offer = bench.answer_offer(viewer);
    assert_eq!(offers::msids(&offer), ["alice+1 audio0", "alice+1 video0"]);
    assert!(offer.contains("a=setup:actpass\r\n") && offer.contains("a=sendonly\r\n"));
    assert!(offer.contains("a=ssrc-group:FID "));
    assert_eq!(bench.held[&viewer].routes.len(), 2);

    let (_, key, _) = bench.enter(Role::Publisher, "carol", &offers::speaker());
    assert_eq!(bench.hear(viewer).unwrap(), "PUB_JOIN carol");
    assert_eq!(offers::msids(&bench.answer_offer(viewer)).len(), 3);
    bench.leave(key);
    assert_eq!(bench.held[&viewer].routes.len(), 2, "its route ends at once");
    assert_eq!(bench.hear(viewer).unwrap(), "PUB_LEFT carol");
    let offer = bench.answer_offer(viewer);
    assert_eq!(offers::msids(&offer), ["alice+1 audio0", "alice+1 video0"]);
    assert_eq!(offer.matches("\r\nm=").count(), 4, "the m-line stays, refused");
    bench.enter(Role::Publisher, "dave", &offers::speaker());
    bench.hear(viewer).unwrap();
    let offer = bench.answer_offer(viewer);
    assert_eq!(offer.matches("\r\nm=").count(), 4, "and is used again");
}

#[test]
fn an_empty_room_is_offered_too() {
    let mut bench = Bench::new();
    let viewer = subscriber(&mut bench, "bob");
    let offer = bench.answer_offer(viewer);
    assert!(offers::msids(&offer).is_empty());
    assert_eq!(bench.hear(viewer), None);
}

#[test]
fn one_negotiation_at_a_time_and_changes_coalesce() {
    let mut bench = Bench::new();
    let viewer = subscriber(&mut bench, "bob");
    let first = bench.hear(viewer).unwrap();
    for n in 0..5 {
        bench.enter(Role::Publisher, &format!("p{n}"), &offers::speaker());
        assert_eq!(bench.hear(viewer).unwrap(), format!("PUB_JOIN p{n}"));
        assert_eq!(bench.hear(viewer), None, "the first offer is still out");
    }
    let answer = offers::answer(first.strip_prefix("SDP_OFFER ").unwrap(), "-");
    bench.say(viewer, &format!("SDP_ANSWER {answer}"));
    assert_eq!(offers::msids(&bench.answer_offer(viewer)).len(), 5);
    assert_eq!(bench.hear(viewer), None);
    assert_eq!(bench.held[&viewer].routes.len(), 5);
}

#[test]
fn an_unanswered_offer_is_made_once_more_then_the_session_ends() {
    let mut bench = Bench::new();
    let viewer = subscriber(&mut bench, "bob");
    let offer = bench.hear(viewer).unwrap();
    bench.pass(Duration::from_millis(9900));
    assert_eq!(bench.hear(viewer), None);
    bench.say(viewer, "SDP_ANSWER nonsense");
    bench.pass(Duration::from_millis(200));
    assert_eq!(bench.hear(viewer).unwrap(), offer, "the same again");
    bench.pass(Duration::from_secs(9));
    assert!(bench.held.contains_key(&viewer));
    bench.pass(Duration::from_secs(2));
    assert!(!bench.held.contains_key(&viewer), "it ends");
}

#[test]
fn what_a_client_cannot_decode_is_not_sent() {
    let mut bench = Bench::new();
    bench.enter(Role::Publisher, "alice", &offers::browser_publisher(&["H265"]));
    let viewer = subscriber(&mut bench, "bob");
    let text = bench.hear(viewer).unwrap();
    let answer = offers::answer(text.strip_prefix("SDP_OFFER ").unwrap(), "H265");
    bench.say(viewer, &format!("SDP_ANSWER {answer}"));
    assert_eq!(bench.held[&viewer].routes.len(), 1, "the sound");
    assert_eq!(bench.hear(viewer), None, "and it is not asked again and again");
}

#[test]
fn a_payload_type_means_one_thing() {
    let mut bench = Bench::new();
    let h264 = |profile: &str| format!("H264 packetization-mode=1;profile-level-id={profile}");
    for (n, codec) in [
        "VP8",
        &h264("42e01f"),
        "VP9 profile-id=0",
        &h264("640c1f"),
        "VP8",
        "AV1",
    ]
    .iter()
    .enumerate()
    {
        bench.enter(
            Role::Publisher,
            &format!("p{n}"),
            &offers::browser_publisher(&[codec]),
        );
    }
    let viewer = subscriber(&mut bench, "bob");
    let offer = Description::parse(&bench.answer_offer(viewer)).unwrap();
    let mut meaning: HashMap<u8, (String, Option<String>)> = HashMap::new();
    for format in offer.sections.iter().flat_map(|section| &section.formats) {
        let what = (format.name.clone(), format.fmtp.clone());
        assert_eq!(*meaning.entry(format.pt).or_insert_with(|| what.clone()), what);
    }
    let vp8: Vec<u8> = meaning
        .iter()
        .filter(|(_, (name, _))| name == "VP8")
        .map(|(pt, _)| *pt)
        .collect();
    assert_eq!(
        vp8,
        [96],
        "one number for what is the same, the publisher's where it is free"
    );
    assert_eq!(meaning[&63], ("red".into(), Some("111/111".into())));
}

#[test]
fn a_clients_own_offer_is_answered_and_ours_made_again() {
    let mut bench = Bench::new();
    let viewer = subscriber(&mut bench, "bob");
    bench.answer_offer(viewer);
    bench.enter(Role::Publisher, "alice", &offers::speaker());
    assert_eq!(bench.hear(viewer).unwrap(), "PUB_JOIN alice");
    let ours = bench.hear(viewer).unwrap();
    bench.say(viewer, &format!("SDP_OFFER {}", offers::channel_only()));
    let answer = bench.hear(viewer).unwrap();
    assert!(answer.starts_with("SDP_ANSWER v=0"));
    assert!(answer.contains("a=setup:passive\r\n"));
    let again = bench.hear(viewer).unwrap();
    assert_eq!(offers::msids(&again), offers::msids(&ours));
    // The answer to the offer that was taken back comes late: it fits the new one as well.
    let answer = offers::answer(again.strip_prefix("SDP_OFFER ").unwrap(), "-");
    bench.say(viewer, &format!("SDP_ANSWER {answer}"));
    assert_eq!(bench.held[&viewer].routes.len(), 1);
    bench.say(viewer, "SDP_OFFER nonsense");
    assert_eq!(bench.hear(viewer).unwrap(), "OK");
    bench.say(viewer, "what?");
    assert_eq!(bench.hear(viewer).unwrap(), "OK");
}

#[test]
fn what_was_refused_stays_refused_until_its_track_is_gone() {
    let mut bench = Bench::new();
    let (_, key, _) = bench.enter(Role::Publisher, "alice", &offers::browser_publisher(&["H265"]));
    let viewer = subscriber(&mut bench, "bob");
    let text = bench.hear(viewer).unwrap();
    let answer = offers::answer(text.strip_prefix("SDP_OFFER ").unwrap(), "H265");
    bench.say(viewer, &format!("SDP_ANSWER {answer}"));

    bench.enter(Role::Publisher, "carol", &offers::speaker());
    bench.hear(viewer).unwrap();
    let offer = bench.answer_offer(viewer);
    assert!(offer.contains("m=video 0 "), "it is not asked again");
    assert_eq!(offers::msids(&offer), ["alice audio0", "carol audio0"]);
    // The client offers: what it refused is answered so too (RFC 3264 §6).
    let mut own = offers::answer(&offer, "H265").replace("a=setup:active", "a=setup:actpass");
    own = own.replace("o=- 4611731400430051336 2", "o=- 4611731400430051336 3");
    bench.say(viewer, &format!("SDP_OFFER {own}"));
    let answer = bench.hear(viewer).unwrap();
    assert!(
        answer.starts_with("SDP_ANSWER ") && answer.contains("m=video 0 "),
        "{answer}"
    );
    let group = answer
        .split_once("a=group:BUNDLE ")
        .unwrap()
        .1
        .lines()
        .next()
        .unwrap();
    assert_eq!(group.split(' ').count(), 3, "channel and sounds: {group}");
    assert_eq!(bench.held[&viewer].routes.len(), 2, "what is heard goes on");

    bench.leave(key);
    bench.hear(viewer).unwrap();
    bench.answer_offer(viewer);
    bench.enter(Role::Publisher, "dave", &offers::browser_publisher(&["VP8"]));
    bench.hear(viewer).unwrap();
    let offer = bench.answer_offer(viewer);
    assert_eq!(offer.matches("\r\nm=").count(), 4, "both m-lines are used again");
    assert_eq!(bench.held[&viewer].routes.len(), 3);
}

#[test]
fn a_client_that_wants_no_picture_now_gets_it_later() {
    let mut bench = Bench::new();
    bench.enter(Role::Publisher, "alice", &offers::speaker());
    let viewer = subscriber(&mut bench, "bob");
    let offer = bench.hear(viewer).unwrap();
    let answer = offers::answer(offer.strip_prefix("SDP_OFFER ").unwrap(), "-");
    bench.say(
        viewer,
        &format!("SDP_ANSWER {}", answer.replace("a=recvonly", "a=inactive")),
    );
    assert!(bench.held[&viewer].routes.is_empty());
    let own = answer.replace("a=setup:active", "a=setup:actpass");
    bench.say(viewer, &format!("SDP_OFFER {own}"));
    let reply = bench.hear(viewer).unwrap();
    assert!(
        reply.starts_with("SDP_ANSWER ") && reply.contains("a=sendonly\r\n"),
        "{reply}"
    );
    assert_eq!(bench.held[&viewer].routes.len(), 1);
    bench.say(
        viewer,
        &format!("SDP_OFFER {}", own.replace("a=recvonly", "a=inactive")),
    );
    let reply = bench.hear(viewer).unwrap();
    assert!(
        reply.contains("a=inactive\r\n") && !reply.contains(" 0 UDP"),
        "{reply}"
    );
    assert!(bench.held[&viewer].routes.is_empty());
}

#[test]
fn an_answer_to_something_else_is_none() {
    let mut bench = Bench::new();
    bench.enter(Role::Publisher, "alice", &offers::speaker());
    let viewer = subscriber(&mut bench, "bob");
    let offer = bench.hear(viewer).unwrap();
    let answer = offers::answer(offer.strip_prefix("SDP_OFFER ").unwrap(), "-");
    let wrong = answer.replace("w0", "w9");
    bench.say(viewer, &format!("SDP_ANSWER {wrong}"));
    assert!(bench.held[&viewer].routes.is_empty());
    bench.say(viewer, &format!("SDP_ANSWER {answer}"));
    assert_eq!(bench.held[&viewer].routes.len(), 1);
}

/// Who was slow gets an offer twice and may answer twice; by then the next one can be out.
#[test]
fn a_second_answer_to_one_offer_is_none_to_the_next() {
    let mut bench = Bench::new();
    let (_, key, _) = bench.enter(Role::Publisher, "alice", &offers::speaker());
    let viewer = subscriber(&mut bench, "bob");
    let first = bench.hear(viewer).unwrap();
    bench.leave(key);
    bench.hear(viewer).unwrap();
    let answer = offers::answer(first.strip_prefix("SDP_OFFER ").unwrap(), "-");
    for _ in 0..2 {
        bench.say(viewer, &format!("SDP_ANSWER {answer}"));
    }
    let second = bench.hear(viewer).unwrap();
    assert!(offers::msids(&second).is_empty());
    // Were the second one taken, alice's m-line would be offered for another track while it is in use.
    bench.enter(Role::Publisher, "carol", &offers::speaker());
    assert_eq!(bench.hear(viewer).unwrap(), "PUB_JOIN carol");
    assert_eq!(bench.hear(viewer), None, "the second offer isn't answered yet");
    let answer = offers::answer(second.strip_prefix("SDP_OFFER ").unwrap(), "-");
    bench.say(viewer, &format!("SDP_ANSWER {answer}"));
    assert_eq!(offers::msids(&bench.answer_offer(viewer)), ["carol audio0"]);
}

#[test]
fn a_players_slots_rest_once_a_control_channel_is_open() {
    let mut bench = Bench::new();
    bench.enter(Role::Publisher, "alice", &offers::browser_publisher(&["VP8"]));
    let (viewer, _, answer) = bench.enter(Role::Subscriber, "bob", &offers::player_with_channel(&["VP8"]));
    assert!(answer.contains("a=group:BUNDLE 0 1 2\r\n"));
    assert_eq!(
        bench.held[&viewer].routes.len(),
        2,
        "a player until the channel opens"
    );
    bench.open_channel(viewer);
    assert!(bench.held[&viewer].routes.is_empty());
    let offer = bench.answer_offer(viewer);
    // Its first m-line carries the transport of all: it is not taken away.
    assert!(offer.contains("a=group:BUNDLE 0 1 2 w0 w1\r\n"), "{offer}");
    assert_eq!(offer.matches("a=inactive\r\n").count(), 2);
    assert_eq!(offers::msids(&offer), ["alice audio0", "alice video0"]);
    assert_eq!(bench.held[&viewer].routes.len(), 2);
    let mut meaning: HashMap<u8, String> = HashMap::new();
    for format in Description::parse(&offer)
        .unwrap()
        .sections
        .iter()
        .flat_map(|s| &s.formats)
    {
        assert_eq!(
            *meaning.entry(format.pt).or_insert_with(|| format.name.clone()),
            format.name
        );
    }
}

#[test]
fn payload_types_come_back_when_all_were_used() {
    let mut bench = Bench::new();
    let viewer = subscriber(&mut bench, "bob");
    bench.answer_offer(viewer);
    for n in 0..100 {
        // Each with parameters of its own, as encoders that announce their parameter sets have.
        let codec = format!("H264 packetization-mode=1;profile-level-id=42e01f;sprop-parameter-sets=Z{n}");
        let (_, key, _) = bench.enter(Role::Publisher, "alice", &offers::browser_publisher(&[&codec]));
        bench.hear(viewer).unwrap();
        let offer = bench.answer_offer(viewer);
        assert!(offer.contains(&format!("sprop-parameter-sets=Z{n}\r\n")));
        assert_eq!(bench.held[&viewer].routes.len(), 2);
        let mut meaning: HashMap<u8, (String, Option<String>)> = HashMap::new();
        for format in Description::parse(&offer)
            .unwrap()
            .sections
            .iter()
            .flat_map(|s| &s.formats)
        {
            let what = (format.name.clone(), format.fmtp.clone());
            assert_eq!(*meaning.entry(format.pt).or_insert_with(|| what.clone()), what);
        }
        bench.leave(key);
        bench.hear(viewer).unwrap();
        bench.answer_offer(viewer);
    }
}

#[test]
fn no_offer_is_longer_than_a_message() {
    let mut bench = Bench::new();
    for n in 0..180 {
        bench.enter(
            Role::Publisher,
            &format!("{n}-{}", "x".repeat(100)),
            &offers::browser_publisher(&["VP8"]),
        );
    }
    let viewer = subscriber(&mut bench, "bob");
    let offer = bench.answer_offer(viewer);
    assert!(offer.len() + "SDP_OFFER ".len() <= limits::MAX_TEXT);
    let shown = offers::msids(&offer).len();
    assert!((100..360).contains(&shown), "as many as fit: {shown}");
    assert_eq!(bench.held[&viewer].routes.len(), shown);
    assert!(bench.held[&viewer].spec.state.len() <= limits::MAX_STATE);
}
