//! WebSockets that are opened and left alone: nobody reads what they are told, or what they ask for.

use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use weever_controlplane::http::listen::{Server, bind};
use weever_controlplane::http::problem::Problem;
use weever_controlplane::http::streams::{HeldBy, Streams};
use weever_controlplane::http::websocket::{Push, Upgrade};

use crate::house::{OFFER, request};
use crate::program::{PATIENCE, Program};
use crate::websockets::{FIN, PING, Socket, TEXT, frame};

const MIB: u64 = 1 << 20;

/// Takes as little as the kernel lets it, so that the server's side is soon full.
async fn opened_and_not_read(program: &Program) -> Socket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(2048).unwrap();
    let mut socket = Socket(socket.connect(program.private).await.unwrap());
    assert_eq!(socket.upgrade().await, 101);
    socket
}

/// Each ping has to be answered (RFC 6455 §5.5.2), but pongs may not pile up: the last of them will do (§5.5.3).
#[tokio::test(flavor = "multi_thread")]
async fn pings_whose_pongs_nobody_reads_take_no_memory() {
    const SENT: u64 = 128 * MIB;
    let program = Program::with_data_plane("pings", "warn", &[]).await;
    let mut socket = opened_and_not_read(&program).await;
    let before = program.resident();
    let pings = frame(FIN | PING, &[7; 125]).repeat(10_000);
    let (mut sent, mut most) = (0, 0);
    // Who reads nothing is not kept for long: it may be cut off before all is sent.
    while sent < SENT && socket.0.write_all(&pings).await.is_ok() {
        sent += pings.len() as u64;
        most = most.max(program.resident().saturating_sub(before));
    }
    assert!(sent > SENT / 2, "only {sent} bytes of pings were taken");
    assert!(most < 32 * MIB, "{most} bytes for {sent} bytes of pings");
    assert_eq!(
        request(program.private, "GET", "/liveness", &[], "").await.status,
        200
    );
}

/// Eighty that never read while thousands of events happen, and one that does.
#[tokio::test(flavor = "multi_thread")]
async fn who_never_reads_costs_nobody_else_anything() {
    const IDLE: usize = 80;
    const JOINS: usize = 1000;
    let program = Program::with_data_plane("unread", "warn", &["--max-joins-per-address=0"]).await;
    let mut reader = Socket::open(program.private).await;
    let mut idle = Vec::new();
    for _ in 0..IDLE {
        idle.push(opened_and_not_read(&program).await);
    }
    assert!(program.descriptors() > IDLE, "all are open");
    let before = program.resident();
    let (public, private) = (program.public, program.private);
    let happening = tokio::spawn(async move {
        for n in 0..JOINS {
            let path = format!("/pub/room{n}/alice");
            let answer = request(
                public,
                "POST",
                &path,
                &[("content-type", "application/sdp")],
                OFFER,
            )
            .await;
            assert_eq!(answer.status, 201);
            let ended = request(private, "DELETE", &format!("/rooms/room{n}"), &[], "").await;
            assert!(ended.status < 300, "{}", ended.body);
        }
    });
    let (mut closed, mut told) = (0, 0);
    while closed < JOINS {
        let (first, event) = reader.frame().await.expect("the one that reads is served");
        told += event.len() as u64;
        let event = String::from_utf8_lossy(&event);
        closed += usize::from(first == FIN | TEXT && event.contains(r#""type":"room-closed""#));
    }
    happening.await.unwrap();
    let all = told * IDLE as u64;
    let grown = program.resident().saturating_sub(before);
    assert!(
        all > 40 * MIB && grown < all / 2,
        "{grown} bytes grown, {all} bytes told"
    );
    assert_eq!(idle.len(), IDLE, "none of which has closed");
}

/// Nothing but what an [`Upgrade`] does with a peer that takes nothing: ten seconds, and its place is another's.
#[tokio::test]
async fn who_never_reads_is_cut_off() {
    async fn endless(
        State(streams): State<Streams>,
        held: HeldBy,
        upgrade: Upgrade,
    ) -> Result<Response, Problem> {
        let much = Push::Text("x".repeat(60_000).into());
        Ok(upgrade.push(streams.open(held)?, futures::stream::repeat(much)))
    }
    let (_stop, stopped) = tokio::sync::watch::channel(false);
    let listener = bind("test", "--port", "127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let at = listener.local_addr().unwrap();
    let streams = Streams::holding(1, stopped.clone());
    let server = Server {
        listener,
        tls: None,
        router: Router::new().route("/events", get(endless)).with_state(streams),
        max_connections: 10,
        max_per_address: 10,
        patient: true,
    };
    tokio::spawn(server.serve(stopped));
    let idle = Socket::open(at).await;
    let upgrade = async || Socket(TcpStream::connect(at).await.unwrap()).upgrade().await;
    assert_eq!(upgrade().await, 503, "its place is taken");
    let deadline = Instant::now() + PATIENCE;
    while upgrade().await != 101 {
        assert!(Instant::now() < deadline, "it is still served");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    drop(idle);
}

async fn eventually(what: &str, look: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !look() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Opened by the hundred and dropped, some in the middle of a frame: places and descriptors come back.
#[tokio::test(flavor = "multi_thread")]
async fn hundreds_opened_and_dropped_leave_nothing() {
    /// All places, and some more.
    const AT_ONCE: usize = 120;
    const ROUNDS: usize = 5;
    let flags = ["--max-connections-per-address=1000"];
    let program = Program::with_data_plane("dropped", "warn", &flags).await;
    assert_eq!(
        request(program.private, "GET", "/liveness", &[], "").await.status,
        200
    );
    let before = program.descriptors();
    for _ in 0..ROUNDS {
        let mut open = Vec::new();
        let mut refused = 0;
        for n in 0..AT_ONCE {
            let mut socket = Socket(TcpStream::connect(program.private).await.unwrap());
            match socket.upgrade().await {
                101 if n % 3 == 0 => socket.send(&frame(FIN | TEXT, b"half")[..5]).await,
                101 => {}
                503 => refused += 1,
                other => panic!("{other}"),
            }
            open.push(socket);
        }
        assert!(refused > 0, "there are only so many places");
        assert!(program.descriptors() > AT_ONCE - refused, "they were open");
        drop(open);
        eventually("descriptors came back", || program.descriptors() <= before).await;
    }
    Socket::open(program.private).await;
    assert!(!program.log().contains("panicked"), "{}", program.log());
}
