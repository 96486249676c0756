//! Clients that take their time (SECURITY 12): with headers, bodies, handshakes and answers. They are let go, and cost others
//! nothing. Once nothing is left but to wait, the clock is stopped, so that it jumps to whatever the server waits for.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::house::{House, OFFER, request};

/// Longer than the server waits for anything.
const LONG: Duration = Duration::from_secs(120);

/// Waits on a clock that jumps, and returns how long it would have been.
async fn until_closed(stream: &mut TcpStream) -> (Vec<u8>, Duration) {
    tokio::time::pause();
    let (began, mut answer) = (Instant::now(), Vec::new());
    let closed = tokio::time::timeout(LONG, stream.read_to_end(&mut answer)).await;
    let waited = began.elapsed();
    tokio::time::resume();
    // A reset is as good an end as any.
    let _ = closed.expect("the server lets go");
    (answer, waited)
}

#[tokio::test]
async fn headers_that_never_end_are_not_waited_for() {
    let house = House::with(&[]).await;
    let mut stream = TcpStream::connect(house.running.public).await.unwrap();
    stream
        .write_all(b"POST /pub/r/slow HTTP/1.1\r\nhost: w\r\n")
        .await
        .unwrap();
    // A header each second, as slow-loris does: each a sign of life, none an end.
    tokio::time::pause();
    let began = Instant::now();
    let mut lines = 0;
    while stream.write_all(b"x-a: b\r\n").await.is_ok() {
        tokio::time::sleep(Duration::from_secs(1)).await;
        lines += 1;
        assert!(began.elapsed() < LONG, "still open after {lines} lines");
    }
    tokio::time::resume();
    assert!(lines >= 5, "it was given some time: {lines} lines");
    assert_eq!(house.join("/pub/r/quick", OFFER).await.status, 201);
}

#[tokio::test]
async fn a_body_that_drips_is_not_waited_for() {
    let house = House::with(&[]).await;
    let head = "POST /pub/r/slow HTTP/1.1\r\nhost: w\r\ncontent-type: application/sdp\r\ncontent-length: 9999\r\n\r\n";
    let mut stream = TcpStream::connect(house.running.public).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    tokio::time::pause();
    let began = Instant::now();
    while stream.write_all(b"v").await.is_ok() && began.elapsed() < LONG {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(began.elapsed() < LONG, "it is still listened to");
    tokio::time::resume();
    assert_eq!(
        house.join("/pub/r/slow", OFFER).await.status,
        201,
        "nor does it keep the name"
    );
}

#[tokio::test]
async fn an_answer_that_is_not_read_is_not_kept() {
    let house = House::with(&[]).await;
    let stream = tokio::net::TcpSocket::new_v4().unwrap();
    stream.set_recv_buffer_size(4096).unwrap();
    let mut stream = stream.connect(house.running.public).await.unwrap();
    // More answers than the buffers of both kernels hold.
    let ask = b"GET /css/weever.css HTTP/1.1\r\nhost: w\r\n\r\n".repeat(2000);
    let asked = tokio::time::timeout(Duration::from_secs(5), stream.write_all(&ask)).await;
    tokio::time::pause();
    tokio::time::sleep(LONG).await;
    tokio::time::resume();
    let mut got = Vec::new();
    let _ = tokio::time::timeout(LONG, stream.read_to_end(&mut got))
        .await
        .expect("the server let go");
    let answers = got
        .windows(15)
        .filter(|bytes| bytes == b"HTTP/1.1 200 OK")
        .count();
    assert!(
        answers > 0 && answers < 2000,
        "{answers} of 2000 were answered, asked: {asked:?}"
    );
    assert_eq!(house.join("/pub/r/quick", OFFER).await.status, 201);
}

#[tokio::test]
async fn a_handshake_that_stalls_is_not_waited_for() {
    let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let dir = std::env::temp_dir().join(format!("weever-stalls-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    std::fs::write(&cert, own.cert.pem()).unwrap();
    std::fs::write(&key, own.signing_key.serialize_pem()).unwrap();
    let flags = [
        format!("--cert-file={}", cert.display()),
        format!("--key-file={}", key.display()),
    ];
    let house = House::with(&flags.each_ref().map(String::as_str)).await;
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(rustls::pki_types::CertificateDer::from_pem_file(&cert).unwrap())
        .unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    // A record that announces 512 bytes of ClientHello, and brings one; a plain request; nothing.
    for bytes in [b"\x16\x03\x01\x02\x00\x01".as_slice(), b"GET / HTTP/1.1\r\n", b""] {
        let mut stream = TcpStream::connect(house.running.public).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let (_, waited) = until_closed(&mut stream).await;
        assert!(waited < Duration::from_secs(30), "{waited:?}");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(house.running.public).await.unwrap();
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect(name, stream).await.expect("others shake hands");
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: w\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn in_a_crowd_who_asks_for_nothing_gives_way() {
    const ROOM: usize = 40;
    let house = House::with(&["--max-connections=40", "--max-connections-per-address=1000"]).await;
    let mut idle = Vec::new();
    for n in 0..ROOM {
        let mut stream = TcpStream::connect(house.running.public).await.unwrap();
        if n % 2 == 0 {
            // One that was served and stays, as browsers do for half a minute.
            stream
                .write_all(b"GET / HTTP/1.1\r\nhost: w\r\n\r\n")
                .await
                .unwrap();
        }
        idle.push(stream);
    }
    tokio::time::pause();
    let began = Instant::now();
    let page = request(house.running.public, "GET", "/", &[], "").await;
    let waited = began.elapsed();
    tokio::time::resume();
    assert_eq!(page.status, 200);
    assert!(
        waited < Duration::from_secs(8),
        "{waited:?}, as long as the idle ones would have been waited for"
    );
}

#[tokio::test]
async fn without_a_crowd_who_asks_for_nothing_may_stay() {
    let house = House::with(&[]).await;
    let mut stream = TcpStream::connect(house.running.public).await.unwrap();
    stream
        .write_all(b"HEAD / HTTP/1.1\r\nhost: w\r\n\r\n")
        .await
        .unwrap();
    let mut head = [0; 64];
    assert!(stream.read(&mut head).await.unwrap() > 0);
    let (_, waited) = until_closed(&mut stream).await;
    assert!((8..60).contains(&waited.as_secs()), "{waited:?}");
}
