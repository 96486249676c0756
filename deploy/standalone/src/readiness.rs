//! What is asked of the private API: whether Weever is ready, and a drain.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use weever_controlplane::PARENT;

const PAUSE: Duration = Duration::from_millis(50);
/// For one question and its answer.
const ANSWER: Duration = Duration::from_secs(2);
/// Bytes of the answer that are looked at.
const ANSWER_BYTES: usize = 12;

/// Completes when `/readiness` answers 200.
pub(crate) async fn ready(private: SocketAddr) {
    while !matches!(timeout(ANSWER, is_ok(private, "/readiness")).await, Ok(Ok(true))) {
        tokio::time::sleep(PAUSE).await;
    }
}

/// Completes when `/preStop` answers 200: the drain is over.
pub(crate) async fn pre_stop(private: SocketAddr) {
    while !matches!(is_ok(private, "/preStop").await, Ok(true)) {
        tokio::time::sleep(PAUSE).await;
    }
}

async fn is_ok(private: SocketAddr, path: &str) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(private).await?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {private}\r\nUser-Agent: {PARENT}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = [0; ANSWER_BYTES];
    stream.read_exact(&mut answer).await?;
    Ok(&answer == b"HTTP/1.1 200")
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn waits_until_the_answer_is_200() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let private = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            for answer in [
                "HTTP/1.1 503 Service Unavailable\r\n\r\nBUSY",
                "no",
                "HTTP/1.1 200 OK\r\n\r\nOK",
            ] {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 512];
                let length = stream.read(&mut request).await.unwrap();
                assert!(request[..length].starts_with(b"GET /readiness HTTP/1.1\r\n"));
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        ready(private).await;
        server.await.unwrap();
    }
}
