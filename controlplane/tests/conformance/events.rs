//! WHEP's server-sent events (the extension of draft-ietf-wish-whep, `urn:ietf:params:whep:ext:core:server-sent-events`).

use serde_json::json;
use weever_proto::Event;

use crate::house::{House, OFFER};
use crate::offers;
use crate::stage::{JSON, Joined, Reading, Stage};

const H264: &str = "H264 packetization-mode=1;profile-level-id=42e01f";

fn player() -> String {
    offers::player(&[H264])
}

async fn watching(stage: &mut Stage, id: &str) -> (Joined, String) {
    let (joined, session) = stage.joined(&format!("/sub/r/{id}"), &player()).await;
    stage.say(Event::SessionConnected { session });
    let endpoint = joined.extension("server-sent-events").unwrap().0.to_owned();
    (joined, endpoint)
}

#[tokio::test]
async fn a_players_201_links_to_them_and_lists_them() {
    let mut stage = Stage::with(&[]).await;
    let (joined, _) = stage.joined("/sub/r/tv", &player()).await;
    let (target, link) = joined.extension("server-sent-events").unwrap();
    assert_eq!(target, format!("{}/events", joined.location));
    assert_eq!(
        link,
        format!(
            "<{target}>; rel=\"urn:ietf:params:whep:ext:core:server-sent-events\"; \
             events=\"active,inactive,layers,viewercount,reconnect\""
        )
    );
}

#[tokio::test]
async fn a_subscriber_without_slots_has_all_but_layers() {
    let mut stage = Stage::with(&[]).await;
    let (joined, _) = stage.joined("/sub/r/bob", &offers::channel_only()).await;
    let (_, link) = joined.extension("server-sent-events").unwrap();
    assert!(
        link.ends_with("events=\"active,inactive,viewercount,reconnect\""),
        "{link}"
    );
}

#[tokio::test]
async fn a_publisher_has_none() {
    let mut stage = Stage::with(&[]).await;
    let (joined, _) = stage.joined("/pub/r/alice", &offers::encoder()).await;
    assert!(joined.extension("server-sent-events").is_none());
    let refused = stage
        .house
        .public(
            "POST",
            &format!("{}/events", joined.location),
            &[JSON],
            "[\"active\"]",
        )
        .await;
    assert_eq!(refused.problem().0, 400);
}

#[tokio::test]
async fn a_post_is_201_with_the_location_of_a_stream() {
    let mut stage = Stage::with(&[]).await;
    let (joined, endpoint) = watching(&mut stage, "tv").await;
    let opened = stage
        .house
        .public("POST", &endpoint, &[JSON], "[\"active\",\"inactive\"]")
        .await;
    assert_eq!((opened.status, opened.body.as_str()), (201, ""));
    let location = opened.header("location").unwrap();
    assert!(location.starts_with(&joined.location) && location != endpoint);
}

#[tokio::test]
async fn a_stream_is_text_event_stream_that_nobody_keeps() {
    let mut stage = Stage::with(&[]).await;
    let (_, endpoint) = watching(&mut stage, "tv").await;
    let reading = Reading::of(&stage.house, &endpoint, "[\"active\"]").await;
    let head = reading.head.to_ascii_lowercase();
    assert!(head.contains("content-type: text/event-stream\r\n"), "{head}");
    assert!(head.contains("cache-control: no-store\r\n"), "{head}");
}

#[tokio::test]
async fn a_post_without_a_body_asks_for_all() {
    let mut stage = Stage::with(&[]).await;
    stage.live("/pub/r/alice", &offers::encoder()).await;
    let (_, endpoint) = watching(&mut stage, "tv").await;
    let opened = stage.house.public("POST", &endpoint, &[], "").await;
    assert_eq!(opened.status, 201, "{}", opened.body);
    let mut reading = Reading::get(&stage.house, opened.header("location").unwrap()).await;
    let mut names = vec![];
    for _ in 0..3 {
        names.push(reading.name().await.unwrap());
    }
    assert_eq!(names, ["viewercount", "active", "layers"]);
}

#[tokio::test]
async fn an_event_that_is_not_offered_is_400_and_opens_nothing() {
    let mut stage = Stage::with(&[]).await;
    let (_, endpoint) = watching(&mut stage, "tv").await;
    for body in ["[\"scte35\"]", "[\"active\",\"Active\"]", "{}", "[1]", "nonsense"] {
        let refused = stage.house.public("POST", &endpoint, &[JSON], body).await;
        assert_eq!(refused.header("location"), None);
        assert_eq!(refused.problem().0, 400, "{body}");
    }
    let (other, _) = stage.joined("/sub/r/bob", &offers::channel_only()).await;
    let endpoint = format!("{}/events", other.location);
    let refused = stage
        .house
        .public("POST", &endpoint, &[JSON], "[\"layers\"]")
        .await;
    assert_eq!(refused.problem().0, 400, "one that others have");
}

#[tokio::test]
async fn another_content_type_is_415_and_a_long_list_413() {
    let mut stage = Stage::with(&[]).await;
    let (_, endpoint) = watching(&mut stage, "tv").await;
    let text = [("content-type", "text/plain")];
    assert_eq!(
        stage
            .house
            .public("POST", &endpoint, &text, "[]")
            .await
            .problem()
            .0,
        415
    );
    let long = format!("[{}\"active\"]", "\"active\",".repeat(1000));
    assert_eq!(
        stage
            .house
            .public("POST", &endpoint, &[JSON], &long)
            .await
            .problem()
            .0,
        413
    );
}

#[tokio::test]
async fn active_comes_first_when_something_is_shown_already() {
    let mut stage = Stage::with(&[]).await;
    stage.live("/pub/r/alice", &offers::encoder()).await;
    let (_, endpoint) = watching(&mut stage, "tv").await;
    let mut reading = Reading::of(&stage.house, &endpoint, "[\"active\",\"inactive\"]").await;
    assert_eq!(reading.event().await.unwrap(), ("active".into(), json!({})));
}

/// The draft forbids an initial `inactive`.
#[tokio::test]
async fn nothing_comes_while_nothing_is_shown_then_active_and_inactive() {
    let mut stage = Stage::with(&[]).await;
    let (_, endpoint) = watching(&mut stage, "tv").await;
    let mut reading = Reading::of(&stage.house, &endpoint, "[\"active\",\"inactive\"]").await;
    let alice = stage.live("/pub/r/alice", &offers::encoder()).await;
    assert_eq!(
        reading.event().await.unwrap(),
        ("active".into(), json!({})),
        "and no inactive before it"
    );
    stage.leave(&alice).await;
    assert_eq!(reading.event().await.unwrap(), ("inactive".into(), json!({})));
    stage.live("/pub/r/alice", &offers::encoder()).await;
    assert_eq!(reading.name().await.unwrap(), "active", "in the same session");
}

#[tokio::test]
async fn a_publisher_that_takes_over_is_no_event() {
    let mut stage = Stage::with(&[]).await;
    let alice = stage.live("/pub/r/alice", &offers::encoder()).await;
    let bob = stage.live("/pub/r/bob", &offers::encoder()).await;
    let (_, endpoint) = watching(&mut stage, "tv").await;
    let mut reading = Reading::of(&stage.house, &endpoint, "[\"active\",\"inactive\"]").await;
    assert_eq!(reading.name().await.unwrap(), "active");
    stage.leave(&alice).await;
    stage.leave(&bob).await;
    assert_eq!(
        reading.name().await.unwrap(),
        "inactive",
        "when the last one has left"
    );
}

#[tokio::test]
async fn viewercount_is_told_first_and_when_it_changes() {
    let mut stage = Stage::with(&[]).await;
    let (_, endpoint) = watching(&mut stage, "tv0").await;
    let mut reading = Reading::of(&stage.house, &endpoint, "[\"viewercount\"]").await;
    assert_eq!(
        reading.event().await.unwrap(),
        ("viewercount".into(), json!({ "viewercount": 1 }))
    );
    let (other, _) = watching(&mut stage, "tv1").await;
    assert_eq!(reading.event().await.unwrap().1, json!({ "viewercount": 2 }));
    stage.leave(&other).await;
    assert_eq!(reading.event().await.unwrap().1, json!({ "viewercount": 1 }));
    stage.live("/pub/r/alice", &offers::encoder()).await;
    watching(&mut stage, "tv2").await;
    assert_eq!(
        reading.event().await.unwrap().1,
        json!({ "viewercount": 2 }),
        "publishers don't count"
    );
}

#[tokio::test]
async fn viewercounts_coalesce() {
    let mut stage = Stage::with(&[]).await;
    let (_, endpoint) = watching(&mut stage, "tv").await;
    let mut reading = Reading::of(&stage.house, &endpoint, "[\"viewercount\"]").await;
    for n in 0..50 {
        let joined = stage.join(&format!("/sub/r/v{n}"), OFFER).await;
        assert_eq!(joined.status, 201);
    }
    let mut told = 0;
    let last = loop {
        told += 1;
        let count = reading.event().await.unwrap().1["viewercount"].as_u64().unwrap();
        if count == 51 {
            break told;
        }
    };
    assert!(last < 50, "{last} counts for 50 who came");
}

#[tokio::test]
async fn other_rooms_are_not_heard_of() {
    let mut stage = Stage::with(&[]).await;
    let (_, endpoint) = watching(&mut stage, "tv").await;
    let mut reading = Reading::of(&stage.house, &endpoint, "[\"active\",\"viewercount\"]").await;
    assert_eq!(reading.name().await.unwrap(), "viewercount");
    stage.live("/pub/other/alice", &offers::encoder()).await;
    stage.joined("/sub/other/tv", OFFER).await;
    stage.live("/pub/r/alice", &offers::encoder()).await;
    assert_eq!(
        reading.name().await.unwrap(),
        "active",
        "its own is the next news"
    );
}

#[tokio::test]
async fn reconnect_is_told_when_the_node_drains() {
    let mut stage = Stage::with(&[]).await;
    let (_, endpoint) = watching(&mut stage, "tv").await;
    let mut reading = Reading::of(&stage.house, &endpoint, "[\"reconnect\"]").await;
    stage.drain().await;
    assert_eq!(reading.event().await.unwrap(), ("reconnect".into(), json!({})));
    let mut late = Reading::of(&stage.house, &endpoint, "[\"reconnect\"]").await;
    assert_eq!(late.name().await.unwrap(), "reconnect", "and to who asks later");
}

#[tokio::test]
async fn only_what_was_asked_for_is_told() {
    let mut stage = Stage::with(&[]).await;
    let (_, endpoint) = watching(&mut stage, "tv").await;
    let mut reading = Reading::of(&stage.house, &endpoint, "[\"inactive\"]").await;
    let alice = stage.live("/pub/r/alice", &offers::encoder()).await;
    stage.drain().await;
    stage.leave(&alice).await;
    assert_eq!(reading.name().await.unwrap(), "inactive");
}

/// The draft: events wait until they are asked for.
#[tokio::test]
async fn what_happens_before_the_stream_is_read_waits() {
    let mut stage = Stage::with(&[]).await;
    let (_, endpoint) = watching(&mut stage, "tv").await;
    let opened = stage
        .house
        .public("POST", &endpoint, &[JSON], "[\"active\",\"inactive\"]")
        .await;
    let alice = stage.live("/pub/r/alice", &offers::encoder()).await;
    stage.leave(&alice).await;
    let mut reading = Reading::get(&stage.house, opened.header("location").unwrap()).await;
    assert_eq!(reading.name().await.unwrap(), "active");
    assert_eq!(reading.name().await.unwrap(), "inactive");
}

#[tokio::test]
async fn delete_ends_the_stream_and_then_it_is_404() {
    let mut stage = Stage::with(&[]).await;
    let (joined, endpoint) = watching(&mut stage, "tv").await;
    let opened = stage
        .house
        .public("POST", &endpoint, &[JSON], "[\"active\"]")
        .await;
    let stream = opened.header("location").unwrap();
    let mut reading = Reading::get(&stage.house, stream).await;
    assert_eq!(stage.house.public("DELETE", stream, &[], "").await.status, 200);
    assert_eq!(reading.event().await, None);
    for method in ["GET", "DELETE"] {
        assert_eq!(
            stage.house.public(method, stream, &[], "").await.problem().0,
            404,
            "{method}"
        );
    }
    assert_eq!(
        stage.house.public("GET", &joined.location, &[], "").await.status,
        200,
        "the session stays"
    );
}

#[tokio::test]
async fn streams_end_with_their_session() {
    let mut stage = Stage::with(&[]).await;
    let (joined, endpoint) = watching(&mut stage, "tv").await;
    let opened = stage
        .house
        .public("POST", &endpoint, &[JSON], "[\"active\"]")
        .await;
    let stream = opened.header("location").unwrap();
    let mut reading = Reading::get(&stage.house, stream).await;
    stage.leave(&joined).await;
    assert_eq!(reading.event().await, None);
    assert_eq!(stage.house.public("GET", stream, &[], "").await.problem().0, 404);
    assert_eq!(
        stage
            .house
            .public("POST", &endpoint, &[JSON], "[]")
            .await
            .problem()
            .0,
        404
    );
}

#[tokio::test]
async fn a_stream_is_no_other_sessions() {
    let mut stage = Stage::with(&[]).await;
    let (_, endpoint) = watching(&mut stage, "tv").await;
    let (other, _) = watching(&mut stage, "other").await;
    let opened = stage
        .house
        .public("POST", &endpoint, &[JSON], "[\"active\"]")
        .await;
    let stream = opened.header("location").unwrap().rsplit('/').next().unwrap();
    let crossed = format!("{}/events/{stream}", other.location);
    for method in ["GET", "DELETE"] {
        assert_eq!(
            stage.house.public(method, &crossed, &[], "").await.problem().0,
            404,
            "{method}"
        );
    }
}

/// A client whose network broke comes back before the server has noticed.
#[tokio::test]
async fn who_comes_again_reads_on_and_the_old_connection_ends() {
    let mut stage = Stage::with(&[]).await;
    let (_, endpoint) = watching(&mut stage, "tv").await;
    let opened = stage
        .house
        .public("POST", &endpoint, &[JSON], "[\"active\"]")
        .await;
    let stream = opened.header("location").unwrap();
    let mut old = Reading::get(&stage.house, stream).await;
    let mut new = Reading::get(&stage.house, stream).await;
    assert_eq!(old.event().await, None);
    stage.live("/pub/r/alice", &offers::encoder()).await;
    assert_eq!(new.name().await.unwrap(), "active");
}

/// Players that open the Link with an `EventSource` at once.
#[tokio::test]
async fn get_on_the_link_reads_all_without_a_post() {
    let mut stage = Stage::with(&[]).await;
    stage.live("/pub/r/alice", &offers::encoder()).await;
    let (_, endpoint) = watching(&mut stage, "tv").await;
    let mut reading = Reading::get(&stage.house, &endpoint).await;
    assert!(reading.head.starts_with("HTTP/1.1 200"), "{}", reading.head);
    assert_eq!(reading.name().await.unwrap(), "viewercount");
    assert_eq!(reading.name().await.unwrap(), "active");
}

#[tokio::test]
async fn a_fifth_stream_ends_the_first() {
    let mut stage = Stage::with(&[]).await;
    let (_, endpoint) = watching(&mut stage, "tv").await;
    let mut first = Reading::of(&stage.house, &endpoint, "[\"active\"]").await;
    let mut others = vec![];
    for _ in 0..4 {
        others.push(Reading::of(&stage.house, &endpoint, "[\"active\"]").await);
    }
    assert_eq!(first.event().await, None);
    stage.live("/pub/r/alice", &offers::encoder()).await;
    for other in &mut others {
        assert_eq!(other.name().await.unwrap(), "active");
    }
}

#[tokio::test]
async fn who_does_not_read_is_cut_off() {
    let mut stage = Stage::with(&[]).await;
    let (_, endpoint) = watching(&mut stage, "tv").await;
    let opened = stage
        .house
        .public("POST", &endpoint, &[JSON], "[\"active\",\"inactive\"]")
        .await;
    let stream = opened.header("location").unwrap();
    for _ in 0..20 {
        let alice = stage.live("/pub/r/alice", &offers::encoder()).await;
        stage.leave(&alice).await;
    }
    let unread = stage.house.public("DELETE", stream, &[], "").await;
    assert_eq!(unread.problem().0, 404, "40 events were left unread");
}

/// Proxies cut connections that are silent for a minute.
#[tokio::test]
async fn a_stream_without_events_has_comments() {
    let mut stage = Stage::with(&[]).await;
    let (_, endpoint) = watching(&mut stage, "tv").await;
    let mut reading = Reading::of(&stage.house, &endpoint, "[\"active\"]").await;
    assert_eq!(reading.comment().await, Some(String::new()));
}

#[tokio::test]
async fn other_methods_are_405_with_allow() {
    let mut stage = Stage::with(&[]).await;
    let (_, endpoint) = watching(&mut stage, "tv").await;
    let stream = format!("{endpoint}/0000000000000000");
    for (path, method, allow) in [
        (&endpoint, "DELETE", "GET, POST, OPTIONS"),
        (&endpoint, "HEAD", "GET, POST, OPTIONS"),
        (&stream, "POST", "GET, DELETE, OPTIONS"),
        (&stream, "HEAD", "GET, DELETE, OPTIONS"),
    ] {
        let refused = stage.house.public(method, path, &[], "").await;
        assert_eq!(
            (refused.status, refused.header("allow")),
            (405, Some(allow)),
            "{method} {path}"
        );
    }
    let options = stage.house.public("OPTIONS", &endpoint, &[], "").await;
    assert_eq!(
        (options.status, options.header("accept-post")),
        (200, Some("application/json"))
    );
}

#[tokio::test]
async fn an_unknown_session_has_no_events() {
    let house = House::with(&[]).await;
    for path in [
        "/session/00000000000000000000000000000000/events",
        "/session/zz/events",
        "/session/00000000000000000000000000000000/events/0000000000000000",
    ] {
        assert_eq!(
            house.public("GET", path, &[], "").await.problem().0,
            404,
            "{path}"
        );
    }
}
