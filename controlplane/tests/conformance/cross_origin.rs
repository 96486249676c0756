//! Pages of other origins (`--cors-domain`, FETCH).

use crate::house::{House, OFFER, Response};

const SESSION: &str = "/session/00000000000000000000000000000000";

async fn preflight(house: &House, path: &str, origin: &str, method: &str) -> Response {
    let ask = [("origin", origin), ("access-control-request-method", method)];
    house.public("OPTIONS", path, &ask, "").await
}

#[tokio::test]
async fn the_domain_and_its_subdomains_are_let_in() {
    let house = House::with(&["--cors-domain=example.org"]).await;
    for origin in [
        "https://example.org",
        "https://app.example.org",
        "http://a.b.example.org:8080",
    ] {
        let created = house
            .public(
                "POST",
                &format!("/pub/r/{}", origin.len()),
                &[("origin", origin), ("content-type", "application/sdp")],
                OFFER,
            )
            .await;
        assert_eq!(created.status, 201);
        assert_eq!(created.header("access-control-allow-origin"), Some(origin));
        assert!(created.all("vary").contains(&"Origin"), "caches keep them apart");
    }
}

#[tokio::test]
async fn other_origins_are_not() {
    let house = House::with(&["--cors-domain=example.org"]).await;
    for origin in [
        "https://example.org.evil.com",
        "https://evilexample.org",
        "https://example.com",
        "null",
    ] {
        let answer = preflight(&house, "/pub/r/a", origin, "POST").await;
        assert_eq!(answer.header("access-control-allow-origin"), None, "{origin}");
        assert_eq!(answer.header("access-control-allow-methods"), None, "{origin}");
    }
}

#[tokio::test]
async fn without_a_domain_nobody_is() {
    let house = House::with(&[]).await;
    let answer = preflight(&house, "/pub/r/a", "https://example.org", "POST").await;
    assert_eq!(answer.header("access-control-allow-origin"), None);
}

#[tokio::test]
async fn what_clients_read_is_exposed() {
    let house = House::with(&["--cors-domain=example.org"]).await;
    let headers = [
        ("origin", "https://example.org"),
        ("content-type", "application/sdp"),
    ];
    for offer in [OFFER, "a refusal is read too"] {
        let answer = house.public("POST", "/pub/r/a", &headers, offer).await;
        assert_eq!(
            answer.header("access-control-expose-headers"),
            Some("Location, ETag, Link, Accept-Patch")
        );
    }
}

#[tokio::test]
async fn patch_and_delete_are_allowed() {
    let house = House::with(&["--cors-domain=example.org"]).await;
    for (path, method) in [("/pub/r/a", "POST"), (SESSION, "PATCH"), (SESSION, "DELETE")] {
        let answer = preflight(&house, path, "https://example.org", method).await;
        assert_eq!(answer.status, 200);
        let allowed = answer.header("access-control-allow-methods").unwrap();
        assert!(
            ["POST", "PATCH", "DELETE"].iter().all(|m| allowed.contains(m)),
            "{allowed}"
        );
    }
}

#[tokio::test]
async fn the_headers_that_clients_send_are_allowed() {
    let house = House::with(&["--cors-domain=example.org"]).await;
    let answer = preflight(&house, SESSION, "https://example.org", "PATCH").await;
    let allowed = answer
        .header("access-control-allow-headers")
        .unwrap()
        .to_ascii_lowercase();
    for header in ["authorization", "content-type", "if-match"] {
        assert!(allowed.contains(header), "{header} in {allowed}");
    }
}

#[tokio::test]
async fn events_and_layers_are_for_them_too() {
    let house = House::with(&["--cors-domain=example.org"]).await;
    for path in ["events", "layer", "events/0000000000000000"] {
        let answer = preflight(
            &house,
            &format!("{SESSION}/{path}"),
            "https://example.org",
            "POST",
        )
        .await;
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.header("access-control-allow-origin").is_some(), "{path}");
    }
}
