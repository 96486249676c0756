//! Joins as OpenTelemetry traces: a collector that takes them, one that is not there, and one that hangs.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use weever_proto::{Command, Event, FromShard, JoinStage, SessionId, ToShard};

use crate::house::{Frames, House, OFFER, hello};

const PATIENCE: Duration = Duration::from_secs(30);

/// A control plane that sends its traces to `endpoint`, and a data plane whose sessions get media at once: by its own
/// word after 500, 520 and 550 ms.
async fn house(endpoint: &str) -> House {
    let house = House::empty(&["--pod-name=pod-7", &format!("--otlp-endpoint={endpoint}")]).await;
    let mut frames = house.dial().await;
    frames.send(FromShard::Hello(hello("played"))).await.unwrap();
    assert!(matches!(frames.next().await, Some(Ok(ToShard::Welcome(_)))));
    frames.send(FromShard::SnapshotEnd(0)).await.unwrap();
    tokio::spawn(connect_all(frames));
    while house.get("/readiness").await.status != 200 {
        tokio::task::yield_now().await;
    }
    house
}

async fn connect_all(mut frames: Frames) {
    while let Some(Ok(frame)) = frames.next().await {
        let ToShard::Command(Command::CreateSession(spec)) = frame else {
            continue;
        };
        let session = spec.session;
        let reach = |stage, ms: u64| Event::JoinProgress {
            session,
            stage,
            after_us: ms * 1000,
        };
        frames
            .send(FromShard::Event(Event::SessionReady { session }))
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_millis(600)).await;
        for event in [
            reach(JoinStage::Ice, 500),
            reach(JoinStage::Dtls, 520),
            Event::SessionConnected { session },
            reach(JoinStage::Media, 550),
        ] {
            frames.send(FromShard::Event(event)).await.unwrap();
        }
    }
}

/// The next export that a collector is sent.
async fn export(collector: &TcpListener) -> (String, ExportTraceServiceRequest) {
    let (mut stream, _) = timeout(PATIENCE, collector.accept()).await.unwrap().unwrap();
    let mut bytes = Vec::new();
    let head = loop {
        assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0);
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break bytes.drain(..end + 4).collect::<Vec<u8>>();
        }
    };
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.unwrap().trim().parse().unwrap();
    while bytes.len() < length {
        assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0);
    }
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    stream.write_all(answer).await.unwrap();
    (head, ExportTraceServiceRequest::decode(bytes.as_slice()).unwrap())
}

fn text(attributes: &[KeyValue], key: &str) -> String {
    let found = attributes.iter().find(|attribute| attribute.key == key);
    match found.and_then(|attribute| attribute.value.clone()?.value) {
        Some(Value::StringValue(text)) => text,
        other => panic!("{key}: {other:?} in {attributes:?}"),
    }
}

async fn post(house: &House, path: &str, traceparent: &str) -> u16 {
    let headers = [("content-type", "application/sdp"), ("traceparent", traceparent)];
    house.public("POST", path, &headers, OFFER).await.status
}

/// Waits for a line of /metrics.
async fn told(house: &House, line: &str) {
    let seen = async {
        while !house.get("/metrics").await.body.lines().any(|one| one == line) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    assert!(timeout(PATIENCE, seen).await.is_ok(), "no {line}");
}

#[tokio::test]
async fn a_join_is_a_trace() {
    let collector = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let house = house(&format!("http://{}", collector.local_addr().unwrap())).await;
    // One whose caller doesn't record it, and one whose caller does.
    let trace = "0af7651916cd43dd8448eb211c80319c";
    assert_eq!(
        post(
            &house,
            "/pub/r/bob",
            &format!("00-{}-b7ad6b7169203331-00", trace.replace('0', "1"))
        )
        .await,
        201
    );
    told(
        &house,
        "weever_join_seconds_count{role=\"pub\",stage=\"media\"} 1",
    )
    .await;
    assert_eq!(
        post(&house, "/pub/r/alice", &format!("00-{trace}-b7ad6b7169203331-01")).await,
        201
    );
    let (head, request) = export(&collector).await;
    assert!(head.starts_with("post /v1/traces http/1.1"), "{head}");
    assert!(head.contains("content-type: application/x-protobuf"), "{head}");
    let [of_resource] = request.resource_spans.as_slice() else {
        panic!("{request:?}")
    };
    let resource = of_resource.resource.as_ref().unwrap();
    assert_eq!(text(&resource.attributes, "service.name"), "weever");
    assert_eq!(
        text(&resource.attributes, "service.version"),
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(text(&resource.attributes, "k8s.pod.name"), "pod-7");

    let spans: Vec<_> = of_resource
        .scope_spans
        .iter()
        .flat_map(|scope| &scope.spans)
        .collect();
    let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["join", "answer", "ice", "dtls", "media"]);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert!(spans.iter().all(|span| hex(&span.trace_id) == trace));
    let join = spans[0];
    assert_eq!(hex(&join.parent_span_id), "b7ad6b7169203331");
    assert_eq!(text(&join.attributes, "weever.id"), "alice");
    assert_eq!(text(&join.attributes, "weever.outcome"), "media");
    let took = |n: usize| (spans[n].end_time_unix_nano - spans[n].start_time_unix_nano) / 1_000_000;
    for n in 1..5 {
        assert_eq!(spans[n].parent_span_id, join.span_id);
        if n > 2 {
            let before = spans[n - 1].end_time_unix_nano;
            assert_eq!(spans[n].start_time_unix_nano, before, "one after the other");
        }
    }
    // By the data plane's clock, and ICE from the answer on at the earliest.
    assert_eq!((took(3), took(4)), (20, 30));
    assert!(took(0) >= 550 && took(2) <= 500, "{} {}", took(0), took(2));
    told(&house, "weever_traces_total{outcome=\"sent\"} 1").await;
}

#[tokio::test]
async fn a_collector_that_is_not_there_costs_its_traces_only() {
    // A port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let house = house(&format!("http://127.0.0.1:{port}")).await;
    assert_eq!(house.join("/pub/r/alice", OFFER).await.status, 201);
    told(&house, "weever_traces_total{outcome=\"dropped\"} 1").await;
    assert_eq!(house.join("/pub/r/bob", OFFER).await.status, 201);
}

#[tokio::test]
async fn a_collector_that_hangs_keeps_nobody_waiting() {
    let collector = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let house = house(&format!("http://{}", collector.local_addr().unwrap())).await;
    assert_eq!(house.join("/pub/r/alice", OFFER).await.status, 201);
    // It takes the connection, and no more.
    let held: TcpStream = timeout(PATIENCE, collector.accept()).await.unwrap().unwrap().0;
    for n in 0..3 {
        assert_eq!(house.join(&format!("/pub/r/{n}"), OFFER).await.status, 201);
    }
    assert_eq!(house.get("/readiness").await.status, 200);
    let text = house.get("/metrics").await.body;
    let none = "weever_join_seconds_count{role=\"pub\",stage=\"media\"} 0";
    assert!(!text.contains(none), "its figures are there all the same: {text}");
    drop(held);
}

/// Ids in events are those of sessions that exist: this one never did.
#[tokio::test]
async fn progress_of_nobody_is_ignored() {
    let house = House::empty(&[]).await;
    let mut frames = house.dial().await;
    frames.send(FromShard::Hello(hello("played"))).await.unwrap();
    frames.send(FromShard::SnapshotEnd(0)).await.unwrap();
    let event = Event::JoinProgress {
        session: SessionId(7),
        stage: JoinStage::Media,
        after_us: 1,
    };
    frames.send(FromShard::Event(event)).await.unwrap();
    while house.get("/readiness").await.status != 200 {
        tokio::task::yield_now().await;
    }
    let text = house.get("/metrics").await.body;
    assert!(
        text.contains("weever_join_seconds_count{role=\"pub\",stage=\"media\"} 0"),
        "{text}"
    );
}
