//! `--event-webhook`: another server that takes events, hangs, lies, goes away and comes back.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use weever_controlplane::events::Events;
use weever_controlplane::events::webhook::{Patience, Secret, Webhook};
use weever_controlplane::metrics::Metrics;
use weever_controlplane::names::RoomName;
use weever_controlplane::rooms::{Census, Notice};

use crate::house::{House, OFFER};

const PATIENCE: Duration = Duration::from_secs(60);

/// What the next request meets.
#[derive(Clone, Copy)]
pub enum Mood {
    Refuses(u16),
    Hangs,
    /// Says that it took them elsewhere.
    Redirects,
}

/// Another server. It takes what comes when it is in no other mood.
pub struct Hook {
    pub url: String,
    moods: Arc<Mutex<VecDeque<Mood>>>,
    /// Each request that it took.
    pub taken: mpsc::UnboundedReceiver<(HeaderMap, String)>,
    /// How many requests came in all.
    asked: Arc<Mutex<usize>>,
}

#[derive(Clone)]
struct Desk {
    moods: Arc<Mutex<VecDeque<Mood>>>,
    took: mpsc::UnboundedSender<(HeaderMap, String)>,
    asked: Arc<Mutex<usize>>,
}

async fn hook(State(desk): State<Desk>, headers: HeaderMap, body: String) -> Response {
    *desk.asked.lock().unwrap() += 1;
    let mood = desk.moods.lock().unwrap().pop_front();
    match mood {
        Some(Mood::Refuses(status)) => StatusCode::from_u16(status).unwrap().into_response(),
        Some(Mood::Hangs) => std::future::pending().await,
        Some(Mood::Redirects) => (StatusCode::FOUND, [("location", "/")]).into_response(),
        None => {
            desk.took.send((headers, body)).unwrap();
            "what is said here is not read".into_response()
        }
    }
}

impl Hook {
    pub async fn open(moods: &[Mood]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(listener, moods)
    }

    fn on(listener: TcpListener, moods: &[Mood]) -> Self {
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let moods = Arc::new(Mutex::new(moods.iter().copied().collect()));
        let (took, taken) = mpsc::unbounded_channel();
        let asked = Arc::default();
        let desk = Desk {
            moods: Arc::clone(&moods),
            took,
            asked: Arc::clone(&asked),
        };
        let router = Router::new().route("/hook", post(hook)).with_state(desk);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            url,
            moods,
            taken,
            asked,
        }
    }

    async fn request(&mut self) -> (HeaderMap, String) {
        tokio::time::timeout(PATIENCE, self.taken.recv())
            .await
            .unwrap()
            .unwrap()
    }

    /// The next `count` events, whatever requests they come in.
    async fn events(&mut self, count: usize) -> Vec<Value> {
        let mut events = Vec::new();
        while events.len() < count {
            let body: Value = serde_json::from_str(&self.request().await.1).unwrap();
            events.extend(body["events"].as_array().unwrap().iter().cloned());
        }
        assert_eq!(events.len(), count);
        events
    }
}

fn opened(n: usize) -> Notice {
    Notice::RoomOpened(RoomName::new(format!("r{n}")).unwrap())
}

/// As `--event-webhook`, but for its patience.
fn run(events: &Events, url: &str, tries: u32) -> Arc<Metrics> {
    let metrics = Arc::new(Metrics::new("pod"));
    let patience = Patience {
        request: Duration::from_secs(1),
        first_pause: Duration::from_millis(1),
        longest_pause: Duration::from_millis(20),
        tries,
    };
    let webhook = Webhook::new(url.parse().unwrap(), None, patience, Arc::clone(&metrics)).unwrap();
    tokio::spawn(webhook.run(events.from_the_start()));
    metrics
}

/// `room` of each event, or its type.
fn rooms(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event.get("room").unwrap_or(&event["type"]).as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn events_come_as_they_happen_signed() {
    let mut hook = Hook::open(&[Mood::Refuses(500)]).await;
    let url = format!("--event-webhook={}", hook.url);
    let house = House::with(&[&url, "--event-webhook-secret=whsec_c2VjcmV0"]).await;
    house.join("/pub/r/alice", OFFER).await;
    let mut kinds = Vec::new();
    let mut ids = Vec::new();
    while kinds.len() < 4 {
        let (headers, body) = hook.request().await;
        let header = |name: &str| headers[name].to_str().unwrap().to_owned();
        assert_eq!(header("content-type"), "application/json");
        let secret = Secret::parse("whsec_c2VjcmV0").ok().unwrap();
        let timestamp = header("webhook-timestamp").parse().unwrap();
        assert_eq!(
            header("webhook-signature"),
            secret.sign(&header("webhook-id"), timestamp, &body)
        );
        let body: Value = serde_json::from_str(&body).unwrap();
        for event in body["events"].as_array().unwrap() {
            kinds.push(event["type"].as_str().unwrap().to_owned());
        }
        assert_eq!(
            body["events"][0]["id"],
            header("webhook-id"),
            "the same for each try"
        );
        ids.push(header("webhook-id"));
    }
    assert_eq!(kinds, ["reset", "shard-up", "room-opened", "session-joined"]);
    assert!(
        house
            .get("/metrics")
            .await
            .body
            .contains("weever_webhook_requests_total{outcome=\"error\",webhook=\"event\"} 1")
    );
}

#[tokio::test]
async fn order_holds_through_refusals_hangs_and_redirects() {
    let moods = [
        Mood::Refuses(500),
        Mood::Hangs,
        Mood::Refuses(404),
        Mood::Redirects,
        Mood::Refuses(429),
    ];
    let mut hook = Hook::open(&moods).await;
    let events = Events::new(7, "here");
    run(&events, &hook.url, 100);
    for n in 0..250 {
        events.publish(&opened(n));
        if n % 50 == 0 {
            hook.moods.lock().unwrap().push_back(Mood::Refuses(503));
            tokio::task::yield_now().await;
        }
    }
    let got = hook.events(251).await;
    let want: Vec<String> = (0..250).map(|n| format!("r{n}")).collect();
    assert_eq!(rooms(&got)[0], "reset");
    assert_eq!(rooms(&got)[1..], want);
    assert!(hook.moods.lock().unwrap().is_empty(), "each of its moods was met");
}

#[tokio::test]
async fn a_server_that_comes_back_gets_what_happened_meanwhile() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at: SocketAddr = listener.local_addr().unwrap();
    drop(listener);
    let events = Events::new(7, "here");
    let metrics = run(&events, &format!("http://{at}/hook"), 1_000_000);
    for n in 0..10 {
        events.publish(&opened(n));
    }
    while !metrics.render(&Census::default()).contains("outcome=\"error\"") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let listener = TcpListener::bind(at).await.unwrap();
    for garbage in [
        "",
        "garbage\r\n\r\n",
        "HTTP/1.1 200",
        "HTTP/1.1 999 \r\ncontent-length: -1\r\n\r\n",
    ] {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = [0; 4];
        stream.read_exact(&mut asked).await.unwrap();
        stream.write_all(garbage.as_bytes()).await.unwrap();
    }
    let mut hook = Hook::on(listener, &[]);
    let got = hook.events(11).await;
    assert_eq!(
        rooms(&got),
        [
            "reset", "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9"
        ]
    );
}

#[tokio::test]
async fn what_is_never_taken_is_dropped_counted_and_told() {
    let mut hook = Hook::open(&[Mood::Refuses(500); 3]).await;
    let events = Events::new(7, "here");
    for n in 0..5 {
        events.publish(&opened(n));
    }
    let metrics = run(&events, &hook.url, 3);
    // The first request alone is in a bad mood: the reset, with nothing else, and what comes then is taken.
    let got = hook.events(6).await;
    assert_eq!(got[0]["reason"], "undelivered");
    assert_eq!(rooms(&got)[1..], ["r0", "r1", "r2", "r3", "r4"]);
    hook.moods.lock().unwrap().extend([Mood::Refuses(500); 3]);
    events.publish(&opened(5));
    events.publish(&opened(6));
    // It asks for the second time: what comes now is no part of it.
    while *hook.asked.lock().unwrap() < 7 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    events.publish(&opened(7));
    let got = hook.events(2).await;
    assert_eq!(
        (&got[0]["type"], &got[0]["reason"]),
        (&"reset".into(), &"undelivered".into())
    );
    assert_eq!(rooms(&got)[1..], ["r7"]);
    assert!(
        metrics
            .render(&Census::default())
            .contains("weever_lost_events_total 2"),
        "{}",
        metrics.render(&Census::default())
    );
}
