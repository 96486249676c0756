//! Against a server that the test plays: one that reads nothing, and one that says more than anybody takes.

use std::time::Instant;

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

use super::*;

const LONG: Duration = Duration::from_secs(30);
const TRACK: TrackId = TrackId(7);

#[test]
fn pauses_grow_to_two_seconds() {
    assert!(pause(1) <= Duration::from_millis(PAUSE_MIN_MS));
    for attempt in [7, 100, usize::MAX] {
        let pause = pause(attempt).as_millis();
        assert!((1000..=2000).contains(&pause), "{pause}");
    }
}

async fn served() -> (Bus, mpsc::Receiver<Event>, BufReader<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = RelaySettings {
        servers: vec![
            format!("nats://{}", listener.local_addr().unwrap())
                .parse()
                .unwrap(),
        ],
        login: None,
        credentials: None,
        ca_file: None,
        prefix: "weever".into(),
        keys: Vec::new(),
    };
    let (bus, events) = Bus::open(&settings, "test").await.unwrap();
    let (stream, _) = timeout(LONG, listener.accept()).await.unwrap().unwrap();
    let mut stream = BufReader::new(stream);
    let info = "INFO {\"server_id\":\"x\",\"version\":\"2.9.0\",\"proto\":1,\"host\":\"h\",\"port\":1,\"max_payload\":65536}\r\n";
    stream.write_all(info.as_bytes()).await.unwrap();
    until(&mut stream, "PING").await;
    stream.write_all(b"PONG\r\n").await.unwrap();
    let deadline = Instant::now() + LONG;
    while !bus.is_connected() {
        assert!(Instant::now() < deadline);
        tokio::task::yield_now().await;
    }
    (bus, events, stream)
}

/// Reads lines until one begins so.
async fn until(stream: &mut BufReader<TcpStream>, begin: &str) -> String {
    loop {
        let mut line = String::new();
        assert!(timeout(LONG, stream.read_line(&mut line)).await.unwrap().unwrap() > 0);
        if line.starts_with(begin) {
            return line;
        }
    }
}

/// What doesn't fit is refused; nobody waits, and nothing gathers.
#[tokio::test]
async fn a_server_that_reads_nothing_holds_nobody_up() {
    let (mut bus, _events, stream) = served().await;
    assert_eq!(bus.max_payload(), 65_536);
    let subject = bus.subject(Way::Media, TRACK);
    let payload = Bytes::from(vec![0; 60_000]);
    let deadline = Instant::now() + LONG;
    while bus.publish(subject.clone(), payload.clone()).await != Err(RelayDrop::Congested) {
        assert!(Instant::now() < deadline, "it takes everything");
    }
    let refused = Instant::now();
    for _ in 0..10_000 {
        let sent = bus.publish(subject.clone(), payload.clone()).await;
        assert_eq!(sent, Err(RelayDrop::Congested));
    }
    // Each would wait for 5 ms if it waited.
    assert!(
        refused.elapsed() < Duration::from_secs(25),
        "{:?}",
        refused.elapsed()
    );
    let large = Bytes::from(vec![0; 65_537]);
    assert_eq!(bus.publish(subject, large).await, Err(RelayDrop::Oversized));
    assert!(bus.subscribe(Way::Up, TRACK).await.is_none(), "not now");
    drop(stream);
}

/// What comes faster than it is taken is lost, and said to be.
#[tokio::test]
async fn a_server_that_says_too_much_fills_a_bounded_queue() {
    let (mut bus, mut events, mut stream) = served().await;
    let subscription = bus.subscribe(Way::Media, TRACK).await.unwrap();
    let line = until(&mut stream, "SUB").await;
    assert!(line.contains("weever.media.0000000000000007"), "{line}");
    let sid = line.trim().rsplit(' ').next().unwrap().to_owned();
    let message = format!("MSG weever.media.0000000000000007 {sid} 5\r\nhello\r\n");
    stream
        .write_all(message.repeat(DELIVERIES + 10).as_bytes())
        .await
        .unwrap();
    let slow = async {
        loop {
            if let Some(Event::SlowConsumer(_)) = events.recv().await {
                return;
            }
        }
    };
    timeout(LONG, slow).await.unwrap();
    let first = timeout(LONG, bus.next()).await.unwrap();
    assert_eq!((first.way, first.track), (Way::Media, TRACK));
    let mut came = 1;
    while let Ok(delivery) = timeout(Duration::from_secs(1), bus.next()).await {
        assert_eq!(delivery.message.payload[..], *b"hello");
        came += 1;
    }
    assert!((DELIVERIES..DELIVERIES + 10).contains(&came), "{came}");
    // The end of a subscription reaches the server.
    drop(subscription);
    tokio::select! {
        _ = until(&mut stream, "UNSUB") => {}
        delivery = bus.next() => panic!("{delivery:?}"),
    }
}

/// Not connected: nothing is sent and nothing is kept for later.
#[tokio::test]
async fn nothing_is_kept_for_a_server_that_is_away() {
    let (mut bus, _events, stream) = served().await;
    drop(stream);
    let deadline = Instant::now() + LONG;
    while bus.is_connected() {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let subject = bus.subject(Way::Media, TRACK);
    for _ in 0..10 * COMMANDS {
        let sent = bus.publish(subject.clone(), Bytes::from_static(b"late")).await;
        assert_eq!(sent, Err(RelayDrop::Disconnected));
    }
    assert!(bus.subscribe(Way::Up, TRACK).await.is_none());
}
