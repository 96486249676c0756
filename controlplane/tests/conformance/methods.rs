//! Methods that the resources take, and those that they don't.

use crate::house::{House, OFFER};
use crate::stage::Stage;

const ENDPOINTS: [&str; 2] = ["/pub/r/a", "/sub/r/a"];
const NOBODYS: &str = "/session/00000000000000000000000000000000";

#[tokio::test]
async fn other_methods_on_an_endpoint_are_405_with_allow() {
    let house = House::with(&[]).await;
    for path in ENDPOINTS {
        for method in ["GET", "PUT", "PATCH", "DELETE", "TRACE"] {
            let refused = house.public(method, path, &[], "").await;
            assert_eq!(refused.header("allow"), Some("POST, OPTIONS"), "{method} {path}");
            assert_eq!(refused.problem().0, 405, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn other_methods_on_a_session_are_405_with_allow() {
    let mut stage = Stage::with(&[]).await;
    let (joined, _) = stage.joined("/pub/r/a", OFFER).await;
    for path in [joined.location.as_str(), NOBODYS] {
        for method in ["POST", "PUT", "TRACE"] {
            let refused = stage.house.public(method, path, &[], "").await;
            assert_eq!(refused.header("allow"), Some("GET, HEAD, PATCH, DELETE, OPTIONS"));
            assert_eq!(refused.problem().0, 405, "{method}");
        }
    }
}

#[tokio::test]
async fn options_are_200_with_accept_post() {
    let house = House::with(&[]).await;
    for path in ENDPOINTS {
        let options = house.public("OPTIONS", path, &[], "").await;
        assert_eq!(options.status, 200);
        assert_eq!(options.header("accept-post"), Some("application/sdp"));
        assert_eq!(options.header("allow"), Some("POST, OPTIONS"));
    }
}

#[tokio::test]
async fn options_of_a_session_are_200_with_accept_patch() {
    let mut stage = Stage::with(&[]).await;
    let (joined, _) = stage.joined("/pub/r/a", OFFER).await;
    let options = stage.house.public("OPTIONS", &joined.location, &[], "").await;
    assert_eq!(options.status, 200);
    assert_eq!(
        options.header("accept-patch"),
        Some("application/trickle-ice-sdpfrag")
    );
}

#[tokio::test]
async fn options_need_no_token() {
    let house = House::with(&["--auth"]).await;
    for path in ENDPOINTS {
        assert_eq!(house.public("OPTIONS", path, &[], "").await.status, 200);
        assert_eq!(house.join(path, OFFER).await.status, 401);
    }
}

/// RFC 9725 §4.6: for clients that can't change their servers after the offer.
#[tokio::test]
async fn options_tell_of_ice_servers() {
    let house = House::with(&["--stun=stun.example.org:3478"]).await;
    for path in ENDPOINTS {
        let options = house.public("OPTIONS", path, &[], "").await;
        assert_eq!(
            options.all("link"),
            ["<stun:stun.example.org:3478>; rel=\"ice-server\""]
        );
    }
}

#[tokio::test]
async fn a_preflight_tells_of_no_ice_servers() {
    let house = House::with(&["--stun=stun.example.org:3478", "--cors-domain=example.org"]).await;
    let ask = [
        ("origin", "https://example.org"),
        ("access-control-request-method", "POST"),
    ];
    for path in ENDPOINTS {
        let preflight = house.public("OPTIONS", path, &ask, "").await;
        assert_eq!(preflight.status, 200);
        assert!(preflight.all("link").is_empty());
    }
}

#[tokio::test]
async fn get_tells_how_a_session_is() {
    let mut stage = Stage::with(&[]).await;
    let (joined, _) = stage.joined("/pub/room/alice%2Bk3x9", OFFER).await;
    let found = stage.house.public("GET", &joined.location, &[], "").await;
    assert_eq!(found.status, 200);
    let status: serde_json::Value = serde_json::from_str(&found.body).unwrap();
    assert_eq!(status["room"], "room");
    assert_eq!(status["id"], "alice+k3x9");
    assert_eq!(status["role"], "publisher");
    assert_eq!(found.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn head_is_get_without_a_body() {
    let mut stage = Stage::with(&[]).await;
    let (joined, _) = stage.joined("/sub/r/a", OFFER).await;
    let head = stage.house.public("HEAD", &joined.location, &[], "").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[tokio::test]
async fn an_unknown_session_is_404_whatever_is_asked() {
    let mut stage = Stage::with(&[]).await;
    let (joined, _) = stage.joined("/pub/r/alice", OFFER).await;
    let short = joined.location.strip_suffix(|_: char| true).unwrap().to_owned();
    let upper = "/session/0000000000000000000000000000000A";
    for path in [NOBODYS, "/session/0", "/session/zz", upper, short.as_str()] {
        for method in ["GET", "DELETE", "PATCH"] {
            let headers = [crate::stage::FRAGMENT];
            let unknown = stage
                .house
                .public(method, path, &headers, "a=candidate:1\r\n")
                .await;
            assert_eq!(unknown.problem().0, 404, "{method} {path}");
        }
        let head = stage.house.public("HEAD", path, &[], "").await;
        assert_eq!(head.status, 404, "HEAD {path}");
    }
    let there = stage.house.public("GET", &joined.location, &[], "").await;
    assert_eq!(there.status, 200, "the one next to them is unharmed");
}
