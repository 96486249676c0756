//! What nobody may read (SECURITY 11): tokens, session URLs and passwords in the log, and the operator's side from elsewhere.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::house::{House, OFFER, Response, request};
use crate::http2::{self, frame};
use crate::program::{PATIENCE, Program};

const TOKEN: &str = "t0ken-of-alice-7f3a";
const WRONG: &str = "wr0ng-token-91bc";
const PASSWORD: &str = "turn-passw0rd-55aa";

async fn post(program: &Program, path: &str, token: &str) -> Response {
    let bearer = format!("Bearer {token}");
    let headers = [
        ("content-type", "application/sdp"),
        ("authorization", bearer.as_str()),
    ];
    request(program.public, "POST", path, &headers, OFFER).await
}

#[tokio::test]
async fn no_token_url_or_password_is_logged_even_at_trace() {
    let turn = format!("--turn-password={PASSWORD}");
    let flags = [
        "--auth",
        "--turn=turn.example.org:3478",
        "--turn-username=ann",
        turn.as_str(),
    ];
    let program = Program::with_data_plane("secrets", "trace,h2=trace", &flags).await;
    let set = format!(r#"{{"room":"r","id":"alice","token":"{TOKEN}"}}"#);
    let json = [("content-type", "application/json")];
    assert_eq!(
        request(program.private, "POST", "/create/pub", &json, &set)
            .await
            .status,
        200
    );
    let broken = format!(r#"{{"room":"r r","id":"alice","token":"{TOKEN}"}}"#);
    assert_eq!(
        request(program.private, "POST", "/create/pub", &json, &broken)
            .await
            .status,
        400
    );
    let cut = &set[..set.len() - 1];
    assert_eq!(
        request(program.private, "POST", "/create/pub", &json, cut)
            .await
            .status,
        400
    );

    assert_eq!(post(&program, "/pub/r/alice", WRONG).await.status, 401);
    assert_eq!(
        post(&program, "/sub/r/alice", TOKEN).await.problem(),
        (401, "bad token".into())
    );
    let created = post(&program, "/pub/r/alice", TOKEN).await;
    assert_eq!(created.status, 201);
    assert!(created.header("link").unwrap().contains(PASSWORD), "it is in use");
    let location = created.header("location").unwrap();
    let password = created
        .body
        .lines()
        .find_map(|line| line.strip_prefix("a=ice-pwd:"))
        .unwrap();
    let fragment = "a=ice-ufrag:NeW1\r\na=ice-pwd:QqQqQqQqQqQqQqQqQqQqQqQq\r\n";
    let headers = [
        ("content-type", "application/trickle-ice-sdpfrag"),
        ("if-match", "*"),
    ];
    assert_eq!(
        request(program.public, "PATCH", location, &headers, fragment)
            .await
            .status,
        200
    );
    over_http2(&program, location).await;
    assert_eq!(
        request(program.public, "DELETE", location, &[], "").await.status,
        200
    );

    let log = program.log();
    assert!(
        log.contains("TRACE") && log.contains("h2"),
        "the log is as chatty as it gets: {} bytes",
        log.len()
    );
    assert!(log.contains("alice"), "and tells of the session");
    let key = location.strip_prefix("/session/").unwrap();
    let number = u128::from_str_radix(key, 16).unwrap().to_string();
    for secret in [
        TOKEN, WRONG, PASSWORD, key, &number, password, "QqQqQqQq", "P2uYro0U",
    ] {
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret}");
    }
}

/// The libraries log other things of HTTP/2.
async fn over_http2(program: &Program, location: &str) {
    let mut stream = TcpStream::connect(program.public).await.unwrap();
    let mut fields = http2::request(b"\x83", "/pub/r/alice");
    for (name, value) in [
        ("authorization", format!("Bearer {TOKEN}")),
        ("content-type", "application/sdp".into()),
    ] {
        fields.extend(http2::literal(name, &value));
    }
    let bytes = [
        http2::preface(),
        frame(http2::HEADERS, http2::END_HEADERS, 1, &fields),
        frame(http2::DATA, http2::END_STREAM, 1, OFFER.as_bytes()),
        frame(
            http2::HEADERS,
            http2::END_HEADERS | http2::END_STREAM,
            3,
            &http2::request(b"\x82", location),
        ),
    ]
    .concat();
    stream.write_all(&bytes).await.unwrap();
    let mut ended = 0;
    while ended < 2 {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        stream.read_exact(&mut payload).await.unwrap();
        ended += usize::from(head[3] <= http2::HEADERS && head[4] & http2::END_STREAM != 0);
    }
}

#[tokio::test]
async fn the_operators_side_is_for_this_machine_and_not_for_its_browsers_guests() {
    let house = House::with(&[]).await;
    assert!(house.running.private.ip().is_loopback(), "unless told otherwise");
    let at = house.running.private;
    for headers in [
        &[("host", "evil.example")][..],
        &[("host", "0.0.0.0:9443")],
        &[("host", "127.0.0.1"), ("host", "evil.example")],
        &[("sec-fetch-site", "cross-site")],
        &[("origin", "https://evil.example")],
        &[("accept-language", "en")],
    ] {
        for path in ["/preStop", "/rooms", "/list/pub/r"] {
            if headers[0].0 == "accept-language" && path != "/preStop" {
                continue;
            }
            let lines: String = headers
                .iter()
                .map(|(name, value)| format!("{name}: {value}\r\n"))
                .collect();
            let host = if headers[0].0 == "host" {
                ""
            } else {
                "host: localhost\r\n"
            };
            let bytes = format!("GET {path} HTTP/1.1\r\n{host}{lines}connection: close\r\n\r\n");
            let answer = crate::wire::exchange(at, bytes.as_bytes()).await;
            let status = crate::wire::status(&answer);
            assert!([400, 403].contains(&status), "{path} {headers:?}: {status}");
        }
    }
    assert_eq!(house.get("/readiness").await.status, 200, "nobody drained it");
}

/// What may be read has one form: an operator looks a session of the lists up in the log.
#[tokio::test]
async fn a_session_is_called_the_same_in_lists_and_log() {
    let program = Program::with_data_plane("names", "info", &[]).await;
    let created = post(&program, "/pub/r/alice", TOKEN).await;
    assert_eq!(created.status, 201);
    let room = request(program.private, "GET", "/rooms/r", &[], "").await.body;
    let room: serde_json::Value = serde_json::from_str(&room).unwrap();
    let session = room["publishers"][0]["session"].as_str().unwrap();
    assert!(session.starts_with("s-"), "{room}");
    let left = request(
        program.public,
        "DELETE",
        created.header("location").unwrap(),
        &[],
        "",
    )
    .await;
    assert_eq!(left.status, 200);
    let line = format!("session={session} ");
    let deadline = std::time::Instant::now() + PATIENCE;
    while !program.log().contains(&line) {
        assert!(
            std::time::Instant::now() < deadline,
            "{line} is not in {}",
            program.log()
        );
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}
