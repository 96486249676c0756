//! The public port under clients that mean ill or dawdle, and the site. What WHIP and WHEP demand: `tests/conformance`.

use crate::house::{House, OFFER, request};

#[tokio::test]
async fn hostile_descriptions_are_refused_quickly() {
    let house = House::with(&[]).await;
    let lines = "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=rtcp-mux\r\n".repeat(4000);
    let binary: String = (1..=127u8).map(char::from).collect();
    let pts: String = (0..300).map(|pt| format!(" {pt}")).collect();
    for (body, want) in [
        (format!("v=0\r\n{lines}"), 422),
        (binary.repeat(100), 400),
        (OFFER.replace("SAVPF 111", &format!("SAVPF{pts}")), 422),
        (format!("{OFFER}{}", &OFFER[OFFER.find("m=").unwrap()..]), 422),
        (OFFER.replace("a=rtcp-mux\r\n", ""), 422),
        (OFFER.replace("EsAw", "a b"), 422),
        (OFFER.replace("EsAw", "x"), 422),
    ] {
        let begun = std::time::Instant::now();
        let answer = house.join("/pub/r/evil", &body).await;
        assert_eq!(
            answer.status,
            want,
            "{}: {}",
            &body[..60.min(body.len())].escape_debug(),
            answer.body
        );
        assert!(begun.elapsed().as_secs() < 5, "not a matter of seconds");
    }
}

#[tokio::test]
async fn who_dawdles_does_not_keep_others_waiting() {
    use tokio::io::AsyncWriteExt;
    let house = House::with(&["--max-connections-per-address=20"]).await;
    let mut slow = Vec::new();
    for _ in 0..10 {
        let mut stream = tokio::net::TcpStream::connect(house.running.public)
            .await
            .unwrap();
        stream
            .write_all(b"POST /pub/r/slow HTTP/1.1\r\nhost: w\r\n")
            .await
            .unwrap();
        slow.push(stream);
    }
    assert_eq!(house.join("/pub/r/quick", OFFER).await.status, 201);
    for _ in 0..40 {
        slow.push(
            tokio::net::TcpStream::connect(house.running.public)
                .await
                .unwrap(),
        );
    }
    // The address has used up its connections; the private port is another server.
    assert_eq!(house.get("/liveness").await.status, 200);
    drop(slow);
    for _ in 0..200 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        if house.running.signalling.ask(|_| ()).await.is_ok() && probe(&house).await {
            return;
        }
    }
    panic!("its connections were not given back");
}

async fn probe(house: &House) -> bool {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let Ok(mut stream) = tokio::net::TcpStream::connect(house.running.public).await else {
        return false;
    };
    let asked = stream
        .write_all(b"GET / HTTP/1.1\r\nhost: w\r\nconnection: close\r\n\r\n")
        .await;
    let mut answer = Vec::new();
    asked.is_ok() && stream.read_to_end(&mut answer).await.is_ok() && answer.starts_with(b"HTTP/1.1 200")
}

#[tokio::test]
async fn the_site_is_served_with_its_policy() {
    let house = House::with(&[]).await;
    for at in [house.running.public, house.running.private] {
        let page = request(at, "GET", "/", &[], "").await;
        assert_eq!(
            (page.status, page.header("content-type")),
            (200, Some("text/html; charset=utf-8"))
        );
        assert!(
            page.header("content-security-policy")
                .unwrap()
                .starts_with("default-src 'self'")
        );
        let etag = page.header("etag").unwrap();
        assert_eq!(
            request(at, "GET", "/", &[("if-none-match", etag)], "")
                .await
                .status,
            304
        );
        assert_eq!(request(at, "GET", "/watch", &[], "").await.status, 200);
        assert_eq!(
            request(at, "GET", "/js/whip.js", &[], "")
                .await
                .header("content-type"),
            Some("text/javascript; charset=utf-8")
        );
        assert_eq!(request(at, "GET", "/../Cargo.toml", &[], "").await.status, 404);
        assert_eq!(request(at, "GET", "/nothing", &[], "").await.status, 404);
    }
}
