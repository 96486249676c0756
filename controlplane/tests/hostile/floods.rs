//! Too much at once (SECURITY 12): of connections, of bodies, of joins. Who is over a limit is told so, and when to come again.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::house::{House, OFFER};
use crate::program::{PATIENCE, Program};
use crate::wire::{exchange, post, status, statuses};

fn asks_to_wait(answer: &[u8]) -> bool {
    String::from_utf8_lossy(answer)
        .to_ascii_lowercase()
        .contains("\r\nretry-after: ")
}

#[tokio::test]
async fn an_address_with_too_many_connections_is_told_so() {
    let house = House::with(&["--max-connections-per-address=20"]).await;
    let mut held = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(house.running.public).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        held.push(stream);
    }
    let refused = exchange(house.running.public, &post("/pub/r/late", OFFER.as_bytes())).await;
    assert_eq!(status(&refused), 429, "{}", String::from_utf8_lossy(&refused));
    assert!(asks_to_wait(&refused));
    assert!(
        refused
            .windows(24)
            .any(|bytes| bytes == b"application/problem+json")
    );
    // Thousands of them at once: some are told, none is served, nothing else is concerned.
    let mut more = Vec::new();
    for _ in 0..500 {
        more.push(TcpStream::connect(house.running.public).await.unwrap());
    }
    assert_eq!(house.get("/liveness").await.status, 200);
    drop(held);
    drop(more);
    let deadline = std::time::Instant::now() + PATIENCE;
    while house.join("/pub/r/again", OFFER).await.status != 201 {
        assert!(
            std::time::Instant::now() < deadline,
            "its connections were not given back"
        );
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn joins_on_one_connection_are_counted_like_any_others() {
    let house = House::with(&["--max-joins-per-address=3"]).await;
    let one = |n: usize| {
        let last = if n == 99 { "connection: close\r\n" } else { "" };
        format!(
            "POST /pub/r/p{n} HTTP/1.1\r\nhost: w\r\n{last}content-type: application/sdp\r\ncontent-length: 3\r\n\r\nv=0"
        )
    };
    let all: String = (0..100).map(one).collect();
    let answers = exchange(house.running.public, all.as_bytes()).await;
    let statuses = statuses(&answers);
    let refused = statuses.iter().filter(|status| **status == 429).count();
    assert_eq!(statuses.len(), 100);
    assert!((50..100).contains(&refused), "{refused} of 100");
    assert!(asks_to_wait(&answers));
}

/// Bodies that come and never end: each is within the rules, all of them together would be 150 MiB.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_being_read_have_a_bound_in_all() {
    const SENDERS: usize = 600;
    const LENGTH: usize = 250_000;
    let flags = ["--max-joins-per-address=0", "--max-connections-per-address=1000"];
    let program = Program::with_data_plane("bodies", "warn", &flags).await;
    let before = program.resident();
    let mut senders = tokio::task::JoinSet::new();
    for n in 0..SENDERS {
        let at = program.public;
        senders.spawn(async move {
            let mut stream = TcpStream::connect(at).await.unwrap();
            let whole = post(&format!("/pub/r/p{n}"), &vec![b'v'; LENGTH]);
            // All but the last byte.
            let _ = stream.write_all(&whole[..whole.len() - 1]).await;
            let mut answer = Vec::new();
            let waiting = stream.read_to_end(&mut answer);
            let _ = tokio::time::timeout(std::time::Duration::from_secs(4), waiting).await;
            (stream, answer)
        });
    }
    let mut held = Vec::new();
    let mut refused = 0;
    while let Some(sent) = senders.join_next().await {
        let (stream, answer) = sent.unwrap();
        if status(&answer) == 503 {
            assert!(asks_to_wait(&answer));
            refused += 1;
        }
        held.push(stream);
    }
    assert!(refused > SENDERS / 2, "{refused} of {SENDERS} were refused");
    assert!(refused < SENDERS, "the first ones were let in");
    let grown = program.resident().saturating_sub(before);
    assert!(grown < 110 << 20, "{grown} bytes");
    drop(held);
    let deadline = std::time::Instant::now() + PATIENCE;
    while status(&exchange(program.public, &post("/pub/r/again", OFFER.as_bytes())).await) != 201 {
        assert!(
            std::time::Instant::now() < deadline,
            "what they held was not given back"
        );
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn thousands_of_silent_connections_cost_little_memory() {
    const CONNECTIONS: usize = 1500;
    let program = Program::with_data_plane("silent", "warn", &["--max-connections-per-address=5000"]).await;
    let before = program.resident();
    let mut silent = Vec::new();
    for n in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(program.public).await.unwrap();
        if n % 2 == 0 {
            stream.write_all(b"GET / HTTP/1.1\r\nhost:").await.unwrap();
        }
        silent.push(stream);
    }
    let served = exchange(program.public, &post("/pub/r/quick", OFFER.as_bytes())).await;
    assert_eq!(status(&served), 201);
    let grown = program.resident().saturating_sub(before);
    let each = grown / CONNECTIONS as u64;
    assert!(each < 64 << 10, "{each} bytes for each");
    // They were not thrown out to make room: there is plenty.
    assert_eq!(
        silent[0].try_read(&mut [0]).unwrap_err().kind(),
        std::io::ErrorKind::WouldBlock
    );
    let mut rest = Vec::new();
    silent[1]
        .write_all(b"GET /nothing HTTP/1.1\r\nhost: w\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    silent[1].read_to_end(&mut rest).await.unwrap();
    assert_eq!(status(&rest), 404);
}
