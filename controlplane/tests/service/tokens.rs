//! Tokens as clients meet them: set by an operator, or signed.

use std::time::Duration;

use jsonwebtoken::{EncodingKey, Header, encode, get_current_timestamp};
use serde_json::json;

use crate::house::{House, OFFER, Response};

async fn join(house: &House, path: &str, token: &str) -> Response {
    let authorization = format!("Bearer {token}");
    let headers = [
        ("content-type", "application/sdp"),
        ("authorization", &*authorization),
    ];
    house.public("POST", path, &headers, OFFER).await
}

fn refused(response: &Response) -> bool {
    assert_eq!(response.header("www-authenticate"), Some("Bearer"));
    response.problem() == (401, "bad token".into())
}

#[tokio::test]
async fn a_token_is_for_one_role_one_room_and_one_id() {
    let house = House::with(&["--auth"]).await;
    let set = r#"{"room":"r","id":"alice","token":"correct-horse"}"#;
    assert_eq!(house.private("POST", "/create/pub", set).await.body, "pub set");
    for (path, token) in [
        ("/sub/r/alice", "correct-horse"),
        ("/pub/s/alice", "correct-horse"),
        ("/pub/r/bob", "correct-horse"),
        ("/pub/r/alice", "correct-hors"),
        ("/pub/r/alice", "correct-horse "),
        ("/pub/r/alice", ""),
        ("/pub/r/alice", &"x".repeat(10_000)),
    ] {
        let response = join(&house, path, token).await;
        // A header's value ends before its last space (RFC 9110 §5.5).
        match token.trim_end() == "correct-horse" && path == "/pub/r/alice" {
            true => assert_eq!(response.status, 201),
            false => assert!(refused(&response), "{path} {token}"),
        }
    }
    assert!(refused(&house.join("/pub/r/alice+2", OFFER).await), "none at all");
    assert_eq!(join(&house, "/pub/r/alice+3", "correct-horse").await.status, 201);
}

#[tokio::test]
async fn signed_tokens_let_in_and_keys_are_rotated_under_a_running_server() {
    let path = std::env::temp_dir().join(format!("weever-jwks-service-{}", std::process::id()));
    // base64url of 32 times the letter a, or b.
    let (a, b) = (
        "YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE",
        "YmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmI",
    );
    let set =
        |k: &str| std::fs::write(&path, json!({ "keys": [{ "kty": "oct", "k": k }] }).to_string()).unwrap();
    let sign = |letter: u8, limit: u64| {
        let exp = get_current_timestamp() + 600;
        let claims = json!({ "role": "pub", "room": "r", "id": "alice", "exp": exp, "max_bitrate": limit });
        encode(
            &Header::default(),
            &claims,
            &EncodingKey::from_secret(&[letter; 32]),
        )
        .unwrap()
    };
    set(a);
    let house = House::with(&[&format!("--jwks-file={}", path.display())]).await;
    let first = join(&house, "/pub/r/alice", &sign(b'a', 500_000)).await;
    assert!(
        first.status == 201 && first.body.contains("b=TIAS:500000\r\n"),
        "{}",
        first.body
    );
    assert!(refused(&join(&house, "/sub/r/alice", &sign(b'a', 1)).await));
    assert!(refused(&join(&house, "/pub/r/alice+2", &sign(b'b', 1)).await));
    set(b);
    while join(&house, "/pub/r/alice+2", &sign(b'b', 1)).await.status != 201 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(
        refused(&join(&house, "/pub/r/alice+3", &sign(b'a', 1)).await),
        "the old key is gone"
    );
    std::fs::remove_file(&path).unwrap();
}

#[tokio::test]
async fn who_guesses_is_not_heard_for_a_while() {
    let house = House::with(&["--auth", "--max-bad-tokens-per-address=3"]).await;
    let set = r#"{"room":"r","id":"alice","token":"right"}"#;
    house.private("POST", "/create/pub", set).await;
    for n in 0..3 {
        assert_eq!(
            join(&house, &format!("/pub/r/alice+{n}"), "right").await.status,
            201,
            "good ones cost nothing"
        );
        assert!(refused(&join(&house, "/pub/r/alice", "wrong").await));
    }
    for token in ["wrong", "right"] {
        let response = join(&house, "/pub/r/alice", token).await;
        assert_eq!(response.header("retry-after"), Some("20"));
        let (status, detail) = response.problem();
        assert!(
            status == 429 && detail.contains("bad tokens"),
            "{status} {detail}"
        );
    }
}

#[tokio::test]
async fn requests_of_an_address_are_limited_on_the_public_port() {
    let house = House::with(&["--max-requests-per-address=1"]).await;
    let mut statuses = Vec::new();
    for _ in 0..20 {
        let response = house.public("GET", "/", &[], "").await;
        if response.status == 429 {
            assert_eq!(response.header("retry-after"), Some("1"));
        }
        statuses.push(response.status);
    }
    assert_eq!(statuses[..2], [200, 200]);
    assert!(statuses.contains(&429), "{statuses:?}");
    assert_eq!(house.get("/liveness").await.status, 200, "operators are not");
}
