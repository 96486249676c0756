//! `--auth-webhook`: another server decides who joins, and with what limits; what it does wrong is nobody's way in.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect};
use axum::routing::post;
use futures::future::join_all;
use serde_json::Value;
use tokio::net::TcpListener;

use crate::house::{House, OFFER};

/// A webhook that does what the token says.
#[derive(Clone, Default)]
struct Judge(Arc<Mutex<Vec<(HeaderMap, Value)>>>);

impl Judge {
    async fn start(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let (asked, elsewhere) = (self.clone(), self.clone());
        let router = Router::new()
            .route("/ask", post(move |headers, body| asked.decide(headers, body)))
            .route(
                "/elsewhere",
                post(move |headers, body| elsewhere.decide(headers, body)),
            );
        tokio::spawn(async move { axum::serve(listener, router).await });
        at
    }

    async fn decide(self, headers: HeaderMap, body: Bytes) -> axum::response::Response {
        let question: Value = serde_json::from_slice(&body).unwrap();
        let token = question["token"].as_str().unwrap_or_default().to_owned();
        self.0.lock().unwrap().push((headers, question));
        match token.as_str() {
            "limited" => r#"{"allowed":true,"max_bitrate":700000}"#.into_response(),
            "few" => r#"{"max_subscribers":1}"#.into_response(),
            "short" => r#"{"max_duration":1}"#.into_response(),
            "no" => r#"{"allowed":false,"reason":"not\r\ntoday"}"#.into_response(),
            "401" => StatusCode::UNAUTHORIZED.into_response(),
            "403" => (StatusCode::FORBIDDEN, r#"{"reason":"banned"}"#).into_response(),
            "500" => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            "204" => StatusCode::NO_CONTENT.into_response(),
            "307" => Redirect::temporary("/elsewhere").into_response(),
            "html" => "<html>log in first</html>".into_response(),
            "zero" => r#"{"max_bitrate":0}"#.into_response(),
            "long" => format!(r#"{{"reason":"{}"}}"#, "x".repeat(20_000)).into_response(),
            "hang" => std::future::pending().await,
            "slow" => {
                tokio::time::sleep(Duration::from_millis(100)).await;
                StatusCode::OK.into_response()
            }
            _ => StatusCode::OK.into_response(),
        }
    }

    fn questions(&self) -> Vec<(HeaderMap, Value)> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

async fn house(judge: &Judge, flags: &[&str]) -> House {
    let url = format!("--auth-webhook=http://{}/ask", judge.start().await);
    House::with(&[&[url.as_str()], flags].concat()).await
}

async fn join(house: &House, path: &str, token: &str) -> crate::house::Response {
    let headers = [
        ("content-type", "application/sdp"),
        ("user-agent", "test/1"),
        ("authorization", &format!("Bearer {token}")),
    ];
    house.public("POST", path, &headers, OFFER).await
}

#[tokio::test]
async fn the_webhook_is_told_who_asks_and_admits() {
    let judge = Judge::default();
    let house = house(&judge, &["--auth-webhook-secret=hunter2"]).await;
    assert_eq!(join(&house, "/pub/r/alice-screen+1", "yes").await.status, 201);
    assert_eq!(
        house.join("/sub/r/bob", OFFER).await.status,
        201,
        "without a token, too, if it says so"
    );
    let [(headers, first), (_, second)] = judge.questions().try_into().unwrap();
    assert_eq!(headers[header::AUTHORIZATION], "Bearer hunter2");
    assert_eq!(headers[header::CONTENT_TYPE], "application/json");
    let wanted = serde_json::json!({
        "role": "pub", "room": "r", "id": "alice", "full_id": "alice-screen+1", "remote_addr": "127.0.0.1",
        "user_agent": "test/1", "token": "yes", "counts": {"publishers": 0, "subscribers": 0},
    });
    assert_eq!(first, wanted);
    assert_eq!((&second["role"], &second["token"]), (&"sub".into(), &Value::Null));
    assert_eq!(second["counts"]["publishers"], 1);
}

#[tokio::test]
async fn limits_reach_the_session() {
    let judge = Judge::default();
    let house = house(&judge, &[]).await;
    let limited = join(&house, "/pub/r/alice", "limited").await;
    assert!(limited.body.contains("b=TIAS:700000\r\n"), "{}", limited.body);
    assert_eq!(join(&house, "/pub/r/bob", "few").await.status, 201);
    assert_eq!(join(&house, "/sub/r/v0", "yes").await.status, 201);
    let full = join(&house, "/sub/r/v1", "yes").await;
    assert!(full.header("retry-after").is_some());
    let (status, detail) = full.problem();
    assert!(status == 503 && detail.contains("full"), "{status} {detail}");
    let short = join(&house, "/pub/r/carol", "short").await;
    let session = short.header("location").unwrap();
    while house.public("GET", session, &[], "").await.status != 404 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn what_it_refuses_is_refused_in_its_words() {
    let judge = Judge::default();
    let house = house(&judge, &[]).await;
    for (token, status, detail) in [
        ("no", 403, "not  today"),
        ("401", 401, "bad token"),
        ("403", 403, "banned"),
    ] {
        let refused = join(&house, "/pub/r/alice", token).await;
        assert_eq!(refused.header("www-authenticate").is_some(), status == 401);
        assert_eq!(refused.problem(), (status, detail.to_owned()), "{token}");
    }
    assert_eq!(house.get("/list/pub/r").await.body, "");
}

#[tokio::test]
async fn what_it_does_wrong_lets_nobody_in() {
    let judge = Judge::default();
    let house = house(&judge, &["--auth-webhook-timeout=1"]).await;
    for token in ["500", "204", "307", "html", "zero", "long", "hang"] {
        let refused = join(&house, "/pub/r/alice", token).await;
        assert!(refused.header("retry-after").is_some(), "{token}");
        let (status, detail) = refused.problem();
        assert!(
            status == 503 && detail.contains("can't be found out"),
            "{token}: {status} {detail}"
        );
        assert_eq!(
            judge.questions().len(),
            1,
            "{token}: asked once, and nowhere else"
        );
    }
    let gone = House::with(&["--auth-webhook=http://127.0.0.1:9/ask"]).await;
    assert_eq!(join(&gone, "/pub/r/alice", "yes").await.problem().0, 503);
    assert_eq!(house.get("/list/pub/r").await.body, "");
}

#[tokio::test]
async fn a_webhook_that_hangs_piles_nothing_up() {
    let judge = Judge::default();
    let flags = [
        "--auth-webhook-timeout=2",
        "--auth-webhook-concurrency=1",
        "--max-joins-per-address=0",
    ];
    let house = house(&judge, &flags).await;
    let started = Instant::now();
    let joins = (0..60).map(|n| {
        let path = format!("/sub/r/v{n}");
        let house = &house;
        async move {
            let response = join(house, &path, "hang").await;
            (response.problem(), started.elapsed())
        }
    });
    let outcomes = join_all(joins).await;
    let refused = outcomes
        .iter()
        .filter(|((_, detail), _)| detail.contains("too many"))
        .count();
    assert!(outcomes.iter().all(|((status, _), _)| *status == 503));
    // One is asked about and 16 wait; all others are told at once, before the first has waited its time out.
    assert_eq!(refused, 60 - 17);
    assert_eq!(judge.questions().len(), 1);
    assert_eq!(
        join(&house, "/sub/r/v", "yes").await.status,
        201,
        "and then it is as before"
    );
}

#[tokio::test]
async fn of_two_with_one_name_one_gets_in_whenever_they_ask() {
    let judge = Judge::default();
    let house = house(&judge, &[]).await;
    let both = join_all((0..8).map(|_| join(&house, "/pub/r/alice", "slow"))).await;
    let mut all: Vec<u16> = both.iter().map(|response| response.status).collect();
    all.sort_unstable();
    assert_eq!(all, [201, 409, 409, 409, 409, 409, 409, 409]);
}
