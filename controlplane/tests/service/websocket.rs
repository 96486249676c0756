//! WebSockets through the listener: their handshake, their end, and what they count as.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};
use weever_controlplane::http::listen::{Server, bind};
use weever_controlplane::http::problem::Problem;
use weever_controlplane::http::streams::{HeldBy, Streams};
use weever_controlplane::http::websocket::{Push, Upgrade};

use crate::house::request;

const PATIENCE: Duration = Duration::from_secs(30);

pub async fn open(at: SocketAddr, path: &str) -> WebSocketStream<TcpStream> {
    let stream = TcpStream::connect(at).await.unwrap();
    client_async(format!("ws://{at}{path}"), stream).await.unwrap().0
}

async fn numbers(
    State(streams): State<Streams>,
    held: HeldBy,
    upgrade: Upgrade,
) -> Result<Response, Problem> {
    let numbers = futures::stream::iter(0..3).map(|n| Push::Text(n.to_string().into()));
    let feed = numbers.chain(futures::stream::pending());
    Ok(upgrade.push(streams.open(held)?, feed))
}

async fn body(State(streams): State<Streams>, held: HeldBy) -> Result<Response, Problem> {
    let first = futures::stream::iter([Bytes::from_static(b"first")]);
    let body = streams
        .open(held)?
        .body(None, first.chain(futures::stream::pending()));
    Ok(Response::new(body))
}

/// One connection of each address at most.
async fn server() -> (SocketAddr, watch::Sender<bool>) {
    let (stop, stopped) = watch::channel(false);
    let listener = bind("test", "--port", "127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let at = listener.local_addr().unwrap();
    let router = Router::new()
        .route("/numbers", get(numbers))
        .route("/body", get(body))
        .with_state(Streams::new(stopped.clone()));
    let server = Server {
        listener,
        tls: None,
        router,
        max_connections: 10,
        max_per_address: 1,
        patient: true,
    };
    tokio::spawn(server.serve(stopped));
    (at, stop)
}

#[tokio::test]
async fn a_close_is_answered_and_flushed_before_the_connection_ends() {
    let (at, _stop) = server().await;
    let mut socket = open(at, "/numbers").await;
    for n in 0..3 {
        assert_eq!(
            socket.next().await.unwrap().unwrap(),
            Message::text(n.to_string())
        );
    }
    socket
        .send(Message::Ping(Bytes::from_static(b"there?")))
        .await
        .unwrap();
    let pong = socket.next().await.unwrap().unwrap();
    assert_eq!(pong, Message::Pong(Bytes::from_static(b"there?")));
    // By hand, to see what is on the wire: a masked close of code 1000, whose mask is zero.
    let mut stream = socket.into_inner();
    stream.write_all(b"\x88\x82\0\0\0\0\x03\xe8").await.unwrap();
    let mut rest = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(rest, b"\x88\x02\x03\xe8");
}

#[tokio::test]
async fn the_end_of_the_server_is_a_close_too() {
    let (at, stop) = server().await;
    let mut socket = open(at, "/numbers").await;
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("0"));
    stop.send_replace(true);
    let close = loop {
        match tokio::time::timeout(PATIENCE, socket.next()).await.unwrap() {
            Some(Ok(Message::Close(close))) => break close.unwrap(),
            Some(Ok(_)) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        (u16::from(close.code), close.reason.as_str()),
        (1001, "the server ends")
    );
}

#[tokio::test]
async fn a_websocket_counts_as_a_connection_until_it_ends() {
    let (at, _stop) = server().await;
    let mut socket = open(at, "/numbers").await;
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("0"));
    assert!(!is_let_in(at).await, "one connection of each address");
    drop(socket);
    tokio::time::timeout(PATIENCE, async {
        while !is_let_in(at).await {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}

/// Whether another connection of this address gets as far as the handler.
async fn is_let_in(at: SocketAddr) -> bool {
    let mut stream = TcpStream::connect(at).await.unwrap();
    // A server that refused at once may have closed before this is written.
    let _ = stream
        .write_all(b"GET /numbers HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .unwrap();
    answer.starts_with(b"HTTP/1.1 426 ")
}

#[tokio::test]
async fn another_request_is_told_what_is_wanted() {
    let (at, _stop) = server().await;
    let answer = request(at, "GET", "/numbers", &[], "").await;
    assert_eq!(answer.header("upgrade"), Some("websocket"));
    let (status, detail) = answer.problem();
    assert!(
        status == 426 && detail.contains("a WebSocket is wanted here"),
        "{detail}"
    );
}

#[tokio::test]
async fn a_body_that_goes_on_comes_piece_by_piece() {
    let (at, stop) = server().await;
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream
        .write_all(b"GET /body HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    let mut came = Vec::new();
    tokio::time::timeout(PATIENCE, async {
        while !came.ends_with(b"first\r\n") {
            assert_ne!(stream.read_buf(&mut came).await.unwrap(), 0);
        }
        stop.send_replace(true);
        stream.read_to_end(&mut came).await.unwrap();
    })
    .await
    .unwrap();
    assert!(came.ends_with(b"first\r\n0\r\n\r\n"), "and it ends in order");
}
