//! WHIP and WHEP, requirement by requirement.

use crate::house::{House, OFFER, request};

#[tokio::test]
async fn a_post_is_answered_with_201_and_all_that_belongs_to_it() {
    let flags = [
        "--stun=stun.example.org:3478",
        "--turn=turn.example.org:3478",
        "--turn-username=u\"x",
        "--turn-password=p",
    ];
    let house = House::with(&flags).await;
    let created = house.join("/pub/testroom/alice%2Bk3x9", OFFER).await;
    assert_eq!(created.status, 201, "{}", created.body);
    assert_eq!(created.header("content-type"), Some("application/sdp"));
    assert_eq!(
        created.header("accept-patch"),
        Some("application/trickle-ice-sdpfrag")
    );
    let location = created.header("location").unwrap();
    let key = location.strip_prefix("/session/").unwrap();
    assert!(key.len() == 32 && key.bytes().all(|c| c.is_ascii_hexdigit()) && !location.contains("http"));
    let etag = created.header("etag").unwrap();
    assert!(etag.starts_with('"') && etag.ends_with('"'), "strong: {etag}");
    let links = created.all("link");
    assert_eq!(links[0], "<stun:stun.example.org:3478>; rel=\"ice-server\"");
    assert_eq!(
        links[1],
        "<turn:turn.example.org:3478>; rel=\"ice-server\"; username=\"u\\\"x\"; credential=\"p\"; credential-type=\"password\""
    );
    assert!(created.body.starts_with("v=0\r\n") && created.body.contains("a=candidate:"));
    assert_eq!(house.get("/list/pub/testroom").await.body, "alice+k3x9");

    let status = house.public("GET", location, &[], "").await;
    let json: serde_json::Value = serde_json::from_str(&status.body).unwrap();
    assert_eq!(
        (json["id"].as_str(), json["subscribers"].as_u64()),
        (Some("alice+k3x9"), Some(0))
    );
    let head = house.public("HEAD", location, &[], "").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(
        house
            .public("DELETE", location, &[("if-match", "\"whatever\"")], "")
            .await
            .status,
        200
    );
    assert_eq!(house.public("DELETE", location, &[], "").await.problem().0, 404);
    assert_eq!(house.get("/list/pub/testroom").await.body, "");
}

#[tokio::test]
async fn every_refusal_is_a_problem_that_says_why() {
    let house = House::with(&[]).await;
    let sdp = [("content-type", "application/sdp")];
    let post = async |path: &str, headers: &[(&str, &str)], body: &str| {
        house.public("POST", path, headers, body).await.problem()
    };
    assert_eq!(
        post("/pub/r/a", &sdp, "").await,
        (400, "bad SDP: it is empty".into())
    );
    let (status, detail) = post("/pub/r/a", &sdp, "hello").await;
    assert!(status == 400 && detail.starts_with("bad SDP"), "{detail}");
    let (status, detail) = post("/pub/r%20oom/a", &sdp, OFFER).await;
    assert!(status == 400 && detail.contains("' '"), "{detail}");
    let (status, detail) = post("/sub/r/a.b", &sdp, OFFER).await;
    assert!(status == 400 && detail.contains("'.'"), "{detail}");
    assert_eq!(
        post("/pub/r/a", &[("content-type", "text/plain")], OFFER).await.0,
        415
    );
    assert_eq!(post("/pub/r/a", &[], OFFER).await.0, 415);
    assert_eq!(post("/pub/r/a", &sdp, &"a".repeat(256 * 1024 + 1)).await.0, 413);
    let (status, detail) = post(
        "/pub/r/a",
        &sdp,
        &OFFER.replace("a=fingerprint", "a=x-fingerprint"),
    )
    .await;
    assert!(status == 422 && detail.contains("fingerprint"), "{detail}");
    let (status, detail) = post("/pub/r/a", &sdp, &OFFER.replace("opus/48000", "speex/8000")).await;
    assert!(status == 422 && detail.contains("codec"), "{detail}");
    for (role, word) in [("pub", "publisher"), ("sub", "subscriber")] {
        let path = format!("/{role}/r/twice");
        assert_eq!(house.join(&path, OFFER).await.status, 201);
        assert_eq!(post(&path, &sdp, OFFER).await, (409, format!("duplicate {word}")));
    }
    assert_eq!(house.join("/pub/r/spaced", OFFER).await.status, 201);
    assert_eq!(
        house
            .public(
                "POST",
                "/pub/r/charset",
                &[("content-type", "Application/SDP; charset=utf-8")],
                OFFER
            )
            .await
            .status,
        201
    );
}

#[tokio::test]
async fn other_methods_are_405_and_say_what_is_allowed() {
    let house = House::with(&[]).await;
    for (method, path, allow) in [
        ("PUT", "/pub/r/a", "POST, OPTIONS"),
        ("GET", "/sub/r/a", "POST, OPTIONS"),
        ("DELETE", "/pub/r/a", "POST, OPTIONS"),
        (
            "POST",
            "/session/00000000000000000000000000000000",
            "GET, HEAD, PATCH, DELETE, OPTIONS",
        ),
    ] {
        let refused = house.public(method, path, &[], "").await;
        assert_eq!(refused.header("allow"), Some(allow), "{method} {path}");
        assert_eq!(refused.problem().0, 405);
    }
}

#[tokio::test]
async fn options_need_no_token_and_tell_of_ice_servers_but_not_in_a_preflight() {
    let house = House::with(&[
        "--auth",
        "--stun=stun.example.org:3478",
        "--cors-domain=example.org",
    ])
    .await;
    let options = house.public("OPTIONS", "/pub/r/a", &[], "").await;
    assert_eq!(
        (options.status, options.header("accept-post")),
        (200, Some("application/sdp"))
    );
    assert_eq!(options.all("link").len(), 1);
    let ask = [
        ("origin", "https://app.example.org"),
        ("access-control-request-method", "PATCH"),
    ];
    for path in ["/pub/r/a", "/session/00000000000000000000000000000000"] {
        let preflight = house.public("OPTIONS", path, &ask, "").await;
        assert_eq!(preflight.status, 200);
        assert!(preflight.all("link").is_empty());
        assert_eq!(
            preflight.header("access-control-allow-origin"),
            Some("https://app.example.org")
        );
        let methods = preflight.header("access-control-allow-methods").unwrap();
        assert!(methods.contains("PATCH") && methods.contains("DELETE"));
    }
    let stranger = [
        ("origin", "https://example.org.evil.com"),
        ("access-control-request-method", "POST"),
    ];
    let preflight = house.public("OPTIONS", "/pub/r/a", &stranger, "").await;
    assert_eq!(preflight.header("access-control-allow-origin"), None);
    let headers = [
        ("origin", "https://example.org"),
        ("content-type", "application/sdp"),
    ];
    let refused = house.public("POST", "/pub/r/a", &headers, OFFER).await;
    assert_eq!(
        refused.header("access-control-expose-headers"),
        Some("Location, ETag, Link, Accept-Patch")
    );
}

#[tokio::test]
async fn tokens_belong_to_one_id_and_role() {
    let house = House::with(&["--auth"]).await;
    let set = house
        .private(
            "POST",
            "/create/pub",
            r#"{"room":"r","id":"alice","token":"secret"}"#,
        )
        .await;
    assert_eq!((set.status, set.body.as_str()), (200, "pub set"));
    let post = async |path: &str, authorization: Option<&str>| {
        let mut headers = vec![("content-type", "application/sdp")];
        headers.extend(authorization.map(|value| ("authorization", value)));
        house.public("POST", path, &headers, OFFER).await
    };
    for (path, authorization) in [
        ("/pub/r/alice", None),
        ("/pub/r/alice", Some("Bearer wrong")),
        ("/pub/r/alice", Some("Basic secret")),
        ("/sub/r/alice", Some("Bearer secret")),
        ("/pub/r/bob", Some("Bearer secret")),
        ("/pub/other/alice", Some("Bearer secret")),
    ] {
        let refused = post(path, authorization).await;
        assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
        assert_eq!(
            refused.problem(),
            (401, "bad token".into()),
            "{path} {authorization:?}"
        );
    }
    for path in ["/pub/r/alice", "/pub/r/alice+2", "/pub/r/alice-screen"] {
        assert_eq!(post(path, Some("bearer secret")).await.status, 201, "{path}");
    }
}

#[tokio::test]
async fn trickle_and_restart_over_patch() {
    let house = House::with(&[]).await;
    let created = house.join("/pub/r/alice", OFFER).await;
    let (location, etag) = (
        created.header("location").unwrap(),
        created.header("etag").unwrap(),
    );
    let patch = async |if_match: Option<&str>, kind: &str, body: &str| {
        let mut headers = vec![("content-type", kind)];
        headers.extend(if_match.map(|etag| ("if-match", etag)));
        house.public("PATCH", location, &headers, body).await
    };
    const KIND: &str = "application/trickle-ice-sdpfrag";
    let same = "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\na=candidate:1 1 udp 1 192.0.2.9 9 typ host\r\n";
    let new = "a=ice-ufrag:NeW1\r\na=ice-pwd:QqQqQqQqQqQqQqQqQqQqQqQq\r\n";
    assert_eq!(patch(Some(etag), KIND, same).await.status, 204);
    assert_eq!(patch(None, KIND, same).await.status, 204);
    assert_eq!(patch(None, KIND, new).await.problem().0, 428);
    assert_eq!(patch(Some("\"old\""), KIND, new).await.problem().0, 412);
    assert_eq!(patch(Some(etag), "application/sdp", new).await.problem().0, 415);
    assert_eq!(patch(Some(etag), KIND, "").await.problem().0, 400);
    let restarted = patch(Some(etag), KIND, new).await;
    assert_eq!(
        (restarted.status, restarted.header("content-type")),
        (200, Some(KIND))
    );
    assert_ne!(restarted.header("etag"), Some(etag));
    assert!(restarted.body.contains("a=ice-ufrag:") && restarted.body.contains("a=candidate:"));
}

#[tokio::test]
async fn guessed_urls_lead_nowhere() {
    let house = House::with(&[]).await;
    house.join("/pub/r/alice", OFFER).await;
    for key in [
        "0",
        "00000000000000000000000000000000",
        "zz",
        "../pub/r",
        "0000000000000000000000000000000A",
    ] {
        for method in ["GET", "DELETE", "PATCH"] {
            let headers = [("content-type", "application/trickle-ice-sdpfrag")];
            let body = if method == "PATCH" {
                "a=candidate:1\r\n"
            } else {
                ""
            };
            let answer = house
                .public(method, &format!("/session/{key}"), &headers, body)
                .await;
            assert!(matches!(answer.status, 404), "{method} {key}: {}", answer.status);
        }
    }
}

#[tokio::test]
async fn floods_of_joins_are_told_to_wait() {
    let house = House::with(&["--max-joins-per-address=2"]).await;
    let mut refused = 0;
    for n in 0..20 {
        let answer = house.join(&format!("/pub/r/p{n}"), OFFER).await;
        if answer.status == 429 {
            assert_eq!(answer.header("retry-after"), Some("1"));
            refused += 1;
        }
    }
    assert!(refused >= 10, "{refused}");
}

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
