//! Two and three nodes as their users meet them.

use std::time::{Duration, Instant};

use futures::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use weever_controlplane::rooms::Rooms;
use weever_controlplane::{End, StartError};
use weever_proto::{Command, Event, FromShard, SessionId, ToShard};

use crate::house::{Frames, House, OFFER, hello};
use crate::redis_server::RedisServer;

pub const PATIENCE: Duration = Duration::from_secs(30);

/// Until it is so.
pub async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let begin = Instant::now();
    while !is_so().await {
        assert!(begin.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A data plane whose sessions connect at once, and that tells what it is told to tell.
async fn connect_all(mut frames: Frames, mut events: mpsc::UnboundedReceiver<Event>) {
    loop {
        let frame = tokio::select! {
            frame = frames.next() => match frame {
                Some(Ok(frame)) => frame,
                _ => return,
            },
            Some(event) = events.recv() => {
                frames.send(FromShard::Event(event)).await.unwrap();
                continue;
            }
        };
        let answers = match frame {
            ToShard::Ping(nonce) => vec![FromShard::Pong(nonce)],
            ToShard::Command(Command::CreateSession(spec)) => {
                let session = spec.session;
                vec![
                    FromShard::Event(Event::SessionReady { session }),
                    FromShard::Event(Event::SessionConnected { session }),
                ]
            }
            _ => continue,
        };
        for answer in answers {
            if frames.send(answer).await.is_err() {
                return;
            }
        }
    }
}

pub struct Node {
    pub house: House,
    pub events: mpsc::UnboundedSender<Event>,
    plane: tokio::task::JoinHandle<()>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.plane.abort();
    }
}

pub async fn node(url: &str, name: &str, flags: &[&str]) -> Node {
    let (redis, name) = (format!("--redis={url}"), format!("--pod-name={name}"));
    let mut all = vec![redis.as_str(), name.as_str()];
    all.extend(flags);
    let house = House::empty(&all).await;
    let mut frames = house.dial().await;
    frames.send(FromShard::Hello(hello("played"))).await.unwrap();
    assert!(matches!(frames.next().await, Some(Ok(ToShard::Welcome(_)))));
    frames.send(FromShard::SnapshotEnd(0)).await.unwrap();
    let (events, told) = mpsc::unbounded_channel();
    let plane = tokio::spawn(connect_all(frames, told));
    until("ready", async || house.get("/readiness").await.status == 200).await;
    Node { house, events, plane }
}

impl Node {
    pub async fn elsewhere(&self) -> usize {
        self.house
            .running
            .signalling
            .ask(Rooms::publishers_elsewhere)
            .await
            .unwrap()
    }

    pub async fn sees(&self, publishers: usize) {
        until(&format!("{publishers} publishers elsewhere"), async || {
            self.elsewhere().await == publishers
        })
        .await;
    }

    /// Knows so many nodes, itself too.
    pub async fn knows(&self, nodes: usize) {
        until(&format!("{nodes} nodes"), async || {
            self.metric("weever_directory_nodes").await == nodes as f64
        })
        .await;
    }

    pub async fn metric(&self, name: &str) -> f64 {
        let text = self.house.get("/metrics").await.body;
        let line = text
            .lines()
            .find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
        line.and_then(|line| line.rsplit_once(' ')?.1.parse().ok())
            .unwrap_or_else(|| panic!("{name} in {text}"))
    }

    pub async fn join(&self, path: &str) -> u16 {
        self.house.join(path, OFFER).await.status
    }

    pub async fn session(&self, id: &str) -> SessionId {
        let own = self.house.running.signalling.ask(Rooms::own_state).await.unwrap();
        let mut claims = own.claims.into_iter();
        claims.find(|(claim, ..)| claim.id.as_str() == id).unwrap().2
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn publishers_are_known_everywhere_and_nobody_twice() {
    let redis = RedisServer::start(&[]).await;
    let url = redis.url();
    let one = node(&url, "one", &[]).await;
    let two = node(&url, "two", &[]).await;
    let three = node(&url, "three", &[]).await;
    for node in [&one, &two, &three] {
        node.knows(3).await;
    }
    assert_eq!(one.join("/pub/r/alice").await, 201);
    two.sees(1).await;
    three.sees(1).await;
    let (status, detail) = two.house.join("/pub/r/alice", OFFER).await.problem();
    assert!(
        status == 409 && detail.contains("duplicate publisher: at the node one"),
        "{detail}"
    );
    assert_eq!(two.join("/pub/r/bob").await, 201);
    assert_eq!(three.join("/sub/r/carol").await, 201);
    one.sees(1).await;
    // Lists are of the whole cluster.
    for node in [&one, &two, &three] {
        let body = node.house.get("/list/pub/r").await.body;
        let mut list: Vec<&str> = body.split(',').collect();
        list.sort_unstable();
        assert_eq!(list, ["alice", "bob"]);
        assert_eq!(node.house.get("/list/sub/r").await.body, "carol");
    }
    let rooms: Value = serde_json::from_str(&one.house.get("/rooms?scope=cluster").await.body).unwrap();
    let mut nodes: Vec<&str> = rooms
        .as_array()
        .unwrap()
        .iter()
        .map(|room| room["node"].as_str().unwrap())
        .collect();
    nodes.sort_unstable();
    assert_eq!(nodes, ["one", "three", "two"]);
    let room: Value = serde_json::from_str(&one.house.get("/rooms/r?scope=cluster").await.body).unwrap();
    assert_eq!(
        (&room["publisher_count"], &room["subscriber_count"]),
        (&2.into(), &1.into())
    );
    assert_eq!(room["subscribers"][0]["node"], "three");
    // Whoever is asked, the right node disconnects.
    assert_eq!(
        three
            .house
            .private("DELETE", "/rooms/r/pub/alice", "")
            .await
            .status,
        200
    );
    three.sees(1).await;
    assert_eq!(
        three
            .house
            .private("DELETE", "/rooms/r/pub/alice", "")
            .await
            .status,
        404
    );
    assert_eq!(two.join("/pub/r/alice").await, 201, "the name is free");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_come_at_once_under_one_name_one_is_let_in() {
    let redis = RedisServer::start(&[]).await;
    let url = redis.url();
    let (one, two) = (node(&url, "one", &[]).await, node(&url, "two", &[]).await);
    one.knows(2).await;
    two.knows(2).await;
    for round in 0..10 {
        let path = format!("/pub/r/p{round}");
        let all = (0..6).map(|n| {
            if n % 2 == 0 {
                one.join(&path)
            } else {
                two.join(&path)
            }
        });
        let mut statuses = futures::future::join_all(all).await;
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 409, 409, 409, 409, 409], "{path}");
    }
    let claims = redis.run(&["HLEN", "{weever}:claims"]).await;
    assert_eq!(claims, "int(10)");
    assert_eq!(one.house.private("DELETE", "/rooms/r", "").await.status, 200);
    until("no claim is left", async || {
        redis.run(&["HLEN", "{weever}:claims"]).await == "int(0)"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_name_is_one_node() {
    let redis = RedisServer::start(&[]).await;
    let one = node(&redis.url(), "one", &[]).await;
    let flags = [format!("--redis={}", redis.url()), "--pod-name=one".into()];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let Err(error @ StartError::Directory(_)) = House::attempt(&flags, None).await else {
        panic!("two of one name");
    };
    assert!(
        error.to_string().contains("another node is called \"one\""),
        "{error}"
    );
    assert_eq!(one.join("/pub/r/a").await, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_in_order_is_gone_at_once_and_what_is_handed_over_stays() {
    let redis = RedisServer::start(&[]).await;
    let url = redis.url();
    let watching = node(&url, "watching", &[]).await;
    let mut handed = node(&url, "handed", &[]).await;
    let mut drained = node(&url, "drained", &[]).await;
    assert_eq!(handed.join("/pub/r/stays").await, 201);
    assert_eq!(drained.join("/pub/r/goes").await, 201);
    watching.sees(2).await;
    drained.house.running.finish().await;
    drained.house.running.part(End::Drained).await;
    let begin = Instant::now();
    watching.sees(1).await;
    assert!(begin.elapsed() < Duration::from_secs(5), "not only by its lease");
    handed.house.running.finish().await;
    handed.house.running.part(End::HandedOver).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(watching.elsewhere().await, 1, "no death");
    // The next life, at another place; it has no sessions: they ended with their data plane.
    let next = node(&url, "handed", &[]).await;
    watching.sees(0).await;
    assert_eq!(next.join("/pub/r/stays").await, 201);
    watching.sees(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_finds_no_place_is_sent_to_a_node_that_has_one() {
    let redis = RedisServer::start(&[]).await;
    let url = redis.url();
    let full = House::empty(&[&format!("--redis={url}"), "--pod-name=full"]).await;
    let refused = full.join("/pub/r/a", OFFER).await;
    assert_eq!(refused.status, 503, "nobody has a place");
    let _open = node(&url, "open", &["--advertise-url=https://open.example:8443/"]).await;
    until("a way out", async || {
        full.join("/pub/r/a", OFFER).await.status == 307
    })
    .await;
    let sent = full.join("/pub/r/a?x=1", OFFER).await;
    assert_eq!(
        sent.header("location"),
        Some("https://open.example:8443/pub/r/a?x=1&redirected=true")
    );
    assert_eq!(
        full.join("/pub/r/a?redirected=true", OFFER).await.status,
        503,
        "never twice"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_name_is_taken_over_at_another_node() {
    let redis = RedisServer::start(&[]).await;
    let url = redis.url();
    let (one, two) = (node(&url, "one", &[]).await, node(&url, "two", &[]).await);
    one.knows(2).await;
    assert_eq!(one.join("/pub/r/alice").await, 201);
    two.sees(1).await;
    assert_eq!(two.join("/pub/r/alice").await, 409);
    let session = one.session("alice").await;
    one.events
        .send(Event::SessionSilent {
            session,
            silent: true,
        })
        .unwrap();
    until("it may be taken over", async || {
        two.join("/pub/r/alice").await == 201
    })
    .await;
    until("the old one has ended", async || {
        one.house
            .running
            .signalling
            .ask(Rooms::session_count)
            .await
            .unwrap()
            == 0
    })
    .await;
    one.sees(1).await;
    two.sees(0).await;
    assert_eq!(
        one.join("/pub/r/alice").await,
        409,
        "the late release of the old one has freed nothing"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_all_nodes_are_read_at_one() {
    let redis = RedisServer::start(&[]).await;
    let url = redis.url();
    let (one, two) = (node(&url, "one", &[]).await, node(&url, "two", &[]).await);
    let mut stream = TcpStream::connect(one.house.running.private).await.unwrap();
    let request =
        "GET /events?scope=cluster&room=r HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let (mut text, mut number) = (String::new(), 0);
    let mut heard = async |node: &Node, name: &str| {
        let begin = Instant::now();
        // Nodes are asked for their events once somebody reads: the first few may be missed.
        while !(text.contains(&format!("\"node\":\"{name}\"")) && text.contains(&format!("{name}-{number}")))
        {
            assert!(begin.elapsed() < PATIENCE, "{text}");
            number += 1;
            assert_eq!(node.join(&format!("/pub/other/{name}-{number}")).await, 201);
            assert_eq!(node.join(&format!("/pub/r/{name}-{number}")).await, 201);
            let mut buffer = [0; 64 * 1024];
            let read = tokio::time::timeout(Duration::from_millis(500), stream.read(&mut buffer));
            if let Ok(read) = read.await {
                text.push_str(&String::from_utf8_lossy(&buffer[..read.unwrap()]));
            }
        }
        assert!(!text.contains("\"room\":\"other\""), "{text}");
    };
    Box::pin(heard(&one, "one")).await;
    Box::pin(heard(&two, "two")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_that_is_made_at_one_node_is_there_at_all() {
    let redis = RedisServer::start(&[]).await;
    let url = redis.url();
    let strict = ["--strict-rooms"];
    let (one, two) = (node(&url, "one", &strict).await, node(&url, "two", &strict).await);
    assert_eq!(two.join("/pub/r/alice").await, 404);
    assert_eq!(one.house.private("POST", "/rooms/r", "").await.status, 201);
    assert_eq!(two.house.private("POST", "/rooms/r", "").await.status, 409);
    assert_eq!(two.join("/pub/r/alice").await, 201);
    assert_eq!(one.join("/pub/r/bob").await, 201);
    assert_eq!(two.house.private("DELETE", "/rooms/r", "").await.status, 200);
    for node in [&one, &two] {
        assert_eq!(node.join("/pub/r/carol").await, 404);
    }
    assert_eq!(one.house.private("POST", "/rooms/r", "").await.status, 201);
}
