//! The operator's side.

use std::time::Duration;

use futures::StreamExt;

use crate::house::{House, OFFER, request};
use crate::webhook::Hook;
use crate::websocket::open;

/// For anything that a busy machine may take its time for.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn tokens_lists_and_rooms() {
    let house = House::with(&[]).await;
    for body in [
        "",
        "{}",
        r#"{"room":"r","id":"a b","token":"t"}"#,
        r#"{"room":"r","id":"a","token":""}"#,
    ] {
        assert_eq!(
            house.private("POST", "/create/sub", body).await.problem().0,
            400,
            "{body}"
        );
    }
    let set = house
        .private("POST", "/create/sub", r#"{"room":"r","id":"a","token":"t"}"#)
        .await;
    assert_eq!((set.status, set.body.as_str()), (200, "sub set"));
    assert_eq!(house.get("/list/sub/r").await.body, "");
    house.join("/pub/r/alice", OFFER).await;
    house.join("/pub/r/bob+1", OFFER).await;
    house.join("/sub/r/carol", OFFER).await;
    assert_eq!(house.get("/list/pub/r").await.body, "alice,bob+1");
    assert_eq!(house.get("/list/sub/r").await.body, "carol");
    let at = house.running.private;
    let json = crate::house::request(at, "GET", "/list/pub/r", &[("accept", "application/json")], "").await;
    assert_eq!(json.body, r#"["alice","bob+1"]"#);

    assert_eq!(house.get("/rooms/nobody").await.problem().0, 404);

    assert_eq!(
        house.private("DELETE", "/rooms/r/pub/alice", "").await.status,
        200
    );
    assert_eq!(
        house
            .private("DELETE", "/rooms/r/pub/alice", "")
            .await
            .problem()
            .0,
        404
    );
    assert_eq!(
        house
            .private("DELETE", "/rooms/r/chef/alice", "")
            .await
            .problem()
            .0,
        400
    );
    assert_eq!(house.private("DELETE", "/rooms/r", "").await.status, 200);
    assert_eq!(house.get("/list/pub/r").await.body, "");
    assert_eq!(house.private("POST", "/rooms/r", "").await.status, 201);
    assert_eq!(house.private("POST", "/rooms/r", "").await.problem().0, 409);
}

#[tokio::test]
async fn probes_and_metrics() {
    let house = House::with(&["--pod-name=pod-7"]).await;
    assert_eq!(house.get("/liveness").await.body, "OK");
    assert_eq!(house.get("/readiness").await.body, "OK");
    house.join("/pub/r/alice", OFFER).await;
    let text = house.get("/metrics").await.body;
    assert!(
        text.contains("sfu_pod_peer_count{pod=\"pod-7\",room=\"r\",type=\"pub\"} 1\n"),
        "{text}"
    );
    assert!(text.contains("# HELP sfu_pod_peer_count "));
    house.join("/pub/r/alice", OFFER).await;
    house.join("/sub/../etc/passwd", OFFER).await;
    let text = house.get("/metrics").await.body;
    for line in [
        "weever_http_requests_total{method=\"POST\",route=\"/pub/{room}/{id}\",server=\"public\",status=\"201\"} 1",
        "weever_http_requests_total{method=\"POST\",route=\"/pub/{room}/{id}\",server=\"public\",status=\"409\"} 1",
        "weever_join_refusals_total{reason=\"duplicate\",role=\"pub\"} 1",
        "weever_control_connections_total 1",
        "weever_shard_ready{shard=\"played\"} 1",
        "weever_ready 1",
    ] {
        assert!(text.lines().any(|one| one == line), "{line}\n{text}");
    }
    assert!(!text.contains("passwd"), "paths are strangers' words: {text}");
    house.private("DELETE", "/rooms/r", "").await;
    let text = house.get("/metrics").await.body;
    assert!(
        !text.contains("room=\"r\""),
        "a room that is gone leaves nothing behind: {text}"
    );
    let house = House::empty(&[]).await;
    let busy = house.get("/readiness").await;
    assert_eq!((busy.status, busy.body.as_str()), (503, "BUSY"));
    let refused = house.join("/pub/r/alice", OFFER).await;
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(refused.problem().0, 503);
}

#[tokio::test]
async fn a_drain_refuses_waits_and_ends() {
    let house = House::with(&["--drain-timeout=1"]).await;
    house.join("/pub/r/alice", OFFER).await;
    let drained = house.get("/preStop");
    let meanwhile = async {
        while house.get("/readiness").await.status == 200 {
            tokio::task::yield_now().await;
        }
        house.join("/pub/r/bob", OFFER).await
    };
    let (drained, refused) = tokio::join!(drained, meanwhile);
    assert_eq!((drained.status, drained.body.as_str()), (200, "OK"));
    assert!(refused.header("retry-after").is_some());
    assert_eq!(refused.problem().0, 503);
}

/// The rest of a stream, as it is read.
async fn read_all(mut stream: tokio::net::TcpStream) -> String {
    use tokio::io::AsyncReadExt;
    let mut rest = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut rest))
        .await
        .unwrap()
        .unwrap();
    rest
}

#[tokio::test]
async fn who_is_still_in_when_a_drains_time_is_over_is_told_of() {
    use tokio::io::AsyncWriteExt;
    let mut hook = Hook::open(&[]).await;
    let url = format!("--event-webhook={}", hook.url);
    let mut house = House::with(&["--drain-timeout=1", &url]).await;
    for name in ["alice", "bob", "carol"] {
        house.join(&format!("/pub/r/{name}"), OFFER).await;
    }
    let mut lines = tokio::net::TcpStream::connect(house.running.private)
        .await
        .unwrap();
    lines
        .write_all(b"GET /events HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n")
        .await
        .unwrap();
    let mut socket = open(house.running.private, "/events").await;
    assert_eq!(house.get("/preStop").await.status, 200);
    let (lines, ()) = tokio::join!(read_all(lines), house.running.finish());
    assert_eq!(lines.matches("\"reason\":\"drained\"").count(), 3, "{lines}");
    let mut over_socket = 0;
    while let Ok(Some(Ok(message))) = tokio::time::timeout(PATIENCE, socket.next()).await {
        over_socket += usize::from(message.to_string().contains("\"reason\":\"drained\""));
    }
    assert_eq!(over_socket, 3);
    // What it had by the end of the process.
    let mut posted = String::new();
    while let Ok((_, body)) = hook.taken.try_recv() {
        posted.push_str(&body);
    }
    assert_eq!(posted.matches("\"reason\":\"drained\"").count(), 3, "{posted}");
}

#[tokio::test]
async fn data_planes_are_listed_and_drained_by_name() {
    let house = House::with(&[]).await;
    house.join("/pub/r/alice", OFFER).await;
    let shards =
        async || serde_json::from_str::<serde_json::Value>(&house.get("/shards").await.body).unwrap();
    let before = shards().await;
    assert_eq!(
        (&before[0]["ready"], &before[0]["draining"]),
        (&true.into(), &false.into())
    );
    assert_eq!(before[0]["workers"][0]["sessions"], 1);
    assert_eq!(before[0]["workers"][0]["candidates"][0], "127.0.0.1:9");
    let name = before[0]["name"].as_str().unwrap();
    assert_eq!(
        house
            .private("POST", "/shards/nobody/drain", "")
            .await
            .problem()
            .0,
        404
    );
    assert_eq!(
        house
            .private("GET", &format!("/shards/{name}/drain"), "")
            .await
            .status,
        405
    );
    for _ in 0..2 {
        assert_eq!(
            house
                .private("POST", &format!("/shards/{name}/drain"), "")
                .await
                .status,
            200
        );
    }
    let after = shards().await;
    assert_eq!(
        (&after[0]["ready"], &after[0]["draining"]),
        (&false.into(), &true.into())
    );
    let refused = house.join("/sub/r/bob", OFFER).await;
    assert_eq!(refused.header("retry-after"), Some("5"));
    let (status, detail) = refused.problem();
    assert!(
        status == 503 && detail.contains("room r is being drained"),
        "{detail}"
    );
    assert_eq!(house.get("/readiness").await.status, 503);
}

#[tokio::test]
async fn debug_shows_tokens_and_lists_publicly_and_only_then() {
    for (flags, status) in [(&[][..], 404), (&["--debug"][..], 200)] {
        let house = House::with(flags).await;
        assert_eq!(house.public("GET", "/list/pub/r", &[], "").await.status, status);
        assert_eq!(
            house.public("GET", "/metrics", &[], "").await.status,
            404,
            "never"
        );
    }
}

#[tokio::test]
async fn pages_of_other_sites_cannot_work_it() {
    let house = House::with(&[]).await;
    let ask = async |path: &str, header: (&str, &str)| {
        request(house.running.private, "GET", path, &[header], "").await
    };
    for path in ["/preStop", "/list/pub/r", "/rooms", "/metrics"] {
        let (status, detail) = ask(path, ("sec-fetch-site", "cross-site")).await.problem();
        assert_eq!(status, 403, "{path}: {detail}");
    }
    assert_eq!(
        ask("/list/pub/r", ("sec-fetch-site", "same-origin")).await.status,
        200
    );
    let link = ask("/manage.html", ("sec-fetch-site", "cross-site")).await;
    assert_eq!(link.status, 200, "a link may lead to the page");
    assert_eq!(house.get("/readiness").await.status, 200, "nobody has drained it");
}
