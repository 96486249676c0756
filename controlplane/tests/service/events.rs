//! `/events`: over both of its ways, from where a client left off, and not for pages of other sites.

use std::net::SocketAddr;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::house::{House, OFFER, request};
use crate::websocket::open;

const PATIENCE: Duration = Duration::from_secs(30);

/// Server-sent events, as they are read.
struct Lines(BufReader<TcpStream>);

impl Lines {
    async fn open(at: SocketAddr, path: &str, headers: &str) -> Self {
        let mut stream = TcpStream::connect(at).await.unwrap();
        let ask =
            format!("GET {path} HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n{headers}\r\n");
        stream.write_all(ask.as_bytes()).await.unwrap();
        let mut lines = Self(BufReader::new(stream));
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            lines.0.read_line(&mut head).await.unwrap();
        }
        assert!(
            head.starts_with("HTTP/1.1 200") && head.contains("text/event-stream"),
            "{head}"
        );
        lines
    }

    /// The next event and its `id:`.
    async fn event(&mut self) -> (String, Value) {
        let mut id = String::new();
        loop {
            let mut line = String::new();
            tokio::time::timeout(PATIENCE, self.0.read_line(&mut line))
                .await
                .unwrap()
                .unwrap();
            if let Some(said) = line.strip_prefix("id: ") {
                id = said.trim().to_owned();
            } else if let Some(data) = line.strip_prefix("data: ") {
                return (id, serde_json::from_str(data).unwrap());
            }
        }
    }
}

/// The kinds of the next events.
async fn kinds(lines: &mut Lines, count: usize) -> Vec<String> {
    let mut kinds = Vec::new();
    for _ in 0..count {
        kinds.push(lines.event().await.1["type"].as_str().unwrap().to_owned());
    }
    kinds
}

#[tokio::test]
async fn a_life_over_both_ways() {
    let house = House::with(&["--pod-name=pod-7"]).await;
    let mut lines = Lines::open(house.running.private, "/events", "").await;
    let mut socket = open(house.running.private, "/events").await;
    let (id, reset) = lines.event().await;
    assert_eq!(
        (&reset["type"], &reset["reason"]),
        (&"reset".into(), &"start".into())
    );
    assert_eq!(reset["id"], id);
    let mut over_socket = async || loop {
        match tokio::time::timeout(PATIENCE, socket.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap()
        {
            Message::Text(text) => return serde_json::from_str::<Value>(&text).unwrap(),
            _ => continue,
        }
    };
    assert_eq!(over_socket().await["type"], "reset");

    house.join("/pub/r/alice+1", OFFER).await;
    house.private("DELETE", "/rooms/r", "").await;
    let mut last = String::new();
    for kind in ["room-opened", "session-joined", "session-left", "room-closed"] {
        let (id, event) = lines.event().await;
        assert_eq!(event["type"], kind);
        assert_eq!(
            (&event["id"], &event["room"], &event["node"]),
            (&id.as_str().into(), &"r".into(), &"pod-7".into())
        );
        assert_eq!(over_socket().await, event, "the same on both");
        if kind == "session-left" {
            assert_eq!(
                (&event["role"], &event["full_id"]),
                (&"pub".into(), &"alice+1".into())
            );
            assert_eq!(
                (&event["reason"], &event["seconds"]),
                (&"disconnected".into(), &0.into())
            );
        }
        let number = |id: &str| {
            id.rsplit_once('-')
                .map(|(_, number)| number.parse::<u64>().unwrap())
        };
        assert!(number(&id) > number(&last), "{id} behind {last}");
        last = id;
    }
}

#[tokio::test]
async fn a_session_has_one_public_number_and_no_key_is_told() {
    let house = House::with(&[]).await;
    let mut lines = Lines::open(house.running.private, "/events?room=r", "").await;
    let joined = house.join("/pub/r/alice", OFFER).await;
    let key = joined
        .header("location")
        .unwrap()
        .rsplit('/')
        .next()
        .unwrap()
        .to_owned();
    kinds(&mut lines, 2).await;
    let (_, event) = lines.event().await;
    let room: Value = serde_json::from_str(&house.get("/rooms/r").await.body).unwrap();
    assert_eq!(event["type"], "session-joined");
    assert_eq!(room["publishers"][0]["session"], event["session"]);
    assert!(!event.to_string().contains(&key) && !room.to_string().contains(&key));
}

#[tokio::test]
async fn a_client_goes_on_where_it_left_off() {
    let house = House::with(&[]).await;
    let at = house.running.private;
    let mut first = Lines::open(at, "/events", "").await;
    let (start, _) = first.event().await;
    drop(first);
    house.join("/pub/r/alice", OFFER).await;
    house.join("/pub/other/bob", OFFER).await;
    let told = ["room-opened", "session-joined", "room-opened", "session-joined"];
    let mut again = Lines::open(at, &format!("/events?after={start}"), "").await;
    assert_eq!(kinds(&mut again, 4).await, told);
    // What a browser sends when it comes back beats what it asked at first.
    let mut last = Lines::open(
        at,
        &format!("/events?after={start}"),
        &format!("last-event-id: {start}\r\n"),
    )
    .await;
    let (second, _) = last.event().await;
    let mut browser = Lines::open(
        at,
        &format!("/events?after={start}"),
        &format!("last-event-id: {second}\r\n"),
    )
    .await;
    assert_eq!(kinds(&mut browser, 3).await, told[1..]);
    let mut room = Lines::open(at, &format!("/events?after={start}&room=other"), "").await;
    assert_eq!(kinds(&mut room, 2).await, told[2..]);
    for unknown in ["0123456789abcdef-3", "nonsense", "-"] {
        let mut lines = Lines::open(at, &format!("/events?after={unknown}"), "").await;
        let (_, reset) = lines.event().await;
        assert_eq!(
            (&reset["type"], &reset["reason"]),
            (&"reset".into(), &"unknown".into()),
            "{unknown}"
        );
    }
}

#[tokio::test]
async fn data_planes_come_and_go() {
    let house = House::empty(&[]).await;
    let mut lines = Lines::open(house.running.private, "/events", "").await;
    let plane = house.oblige("one").await;
    assert_eq!(kinds(&mut lines, 2).await, ["reset", "shard-up"]);
    house.private("POST", "/shards/one/drain", "").await;
    let (_, draining) = lines.event().await;
    assert_eq!(
        (&draining["type"], &draining["shard"]),
        (&"shard-draining".into(), &"one".into())
    );
    plane.abort();
    assert_eq!(kinds(&mut lines, 1).await, ["shard-drained"]);
}

#[tokio::test]
async fn what_is_asked_wrongly_is_told() {
    let house = House::empty(&[]).await;
    let plain = house.get("/events").await;
    assert_eq!(plain.header("upgrade"), Some("websocket"));
    let (status, detail) = plain.problem();
    assert!(status == 426 && detail.contains("text/event-stream"), "{detail}");
    assert_eq!(house.get("/events?room=a%20b").await.problem().0, 400);
    assert_eq!(house.public("GET", "/events", &[], "").await.status, 404, "never");
}

/// Cross-site WebSocket hijacking: a page of another site, open in an operator's browser, opens a WebSocket to the private
/// API. Browsers let it; only the server can refuse.
#[tokio::test]
async fn pages_of_other_sites_get_no_websocket_and_no_stream() {
    let house = House::empty(&[]).await;
    let at = house.running.private;
    let open = async |name: &'static str, value: String| {
        let mut ask = format!("ws://{at}/events").into_client_request().unwrap();
        ask.headers_mut().insert(name, value.parse().unwrap());
        let stream = TcpStream::connect(at).await.unwrap();
        match client_async(ask, stream).await {
            Ok((mut socket, _)) => {
                socket.send(Message::Close(None)).await.unwrap();
                101
            }
            Err(Error::Http(response)) => response.status().as_u16(),
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!(open("origin", "http://evil.example".into()).await, 403);
    assert_eq!(open("origin", "null".into()).await, 403);
    assert_eq!(
        open("origin", format!("http://{}", house.running.public)).await,
        403,
        "another port is another site"
    );
    assert_eq!(open("sec-fetch-site", "cross-site".into()).await, 403);
    assert_eq!(
        open("host", "evil.example".into()).await,
        403,
        "a name that resolves to this machine"
    );
    assert_eq!(open("origin", format!("http://{at}")).await, 101, "our own page");
    let headers = [("accept", "text/event-stream"), ("origin", "http://evil.example")];
    assert_eq!(request(at, "GET", "/events", &headers, "").await.problem().0, 403);
}
