//! Bearer tokens (RFC 9725 §4.7.1, RFC 6750).

use crate::house::{House, OFFER, Response};

async fn house() -> House {
    let house = House::with(&["--auth"]).await;
    let token = r#"{"room":"r","id":"alice","token":"secret"}"#;
    let set = house.private("POST", "/create/pub", token).await;
    assert_eq!((set.status, set.body.as_str()), (200, "pub set"));
    house
}

async fn post(house: &House, path: &str, authorization: Option<&str>) -> Response {
    let mut headers = vec![("content-type", "application/sdp")];
    headers.extend(authorization.map(|value| ("authorization", value)));
    house.public("POST", path, &headers, OFFER).await
}

#[tokio::test]
async fn a_missing_or_wrong_token_is_401_bad_token() {
    let house = house().await;
    for authorization in [
        None,
        Some("Bearer wrong"),
        Some("Bearer "),
        Some("Basic secret"),
        Some("secret"),
    ] {
        let refused = post(&house, "/pub/r/alice", authorization).await;
        assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
        assert_eq!(refused.problem(), (401, "bad token".into()), "{authorization:?}");
    }
}

#[tokio::test]
async fn the_right_token_is_let_in() {
    let house = house().await;
    assert_eq!(
        post(&house, "/pub/r/alice", Some("Bearer secret")).await.status,
        201
    );
    assert_eq!(
        post(&house, "/pub/r/alice+2", Some("bearer secret")).await.status,
        201,
        "any case"
    );
}

#[tokio::test]
async fn a_token_belongs_to_the_id_with_all_its_full_ids() {
    let house = house().await;
    for id in ["alice", "alice+2", "alice-screen", "alice-screen+1"] {
        let path = format!("/pub/r/{id}");
        assert_eq!(
            post(&house, &path, Some("Bearer secret")).await.status,
            201,
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_token_is_good_for_its_role_room_and_id_only() {
    let house = house().await;
    for path in ["/sub/r/alice", "/pub/r/bob", "/pub/other/alice"] {
        assert_eq!(
            post(&house, path, Some("Bearer secret")).await.problem().0,
            401,
            "{path}"
        );
    }
}

/// Before anything else is told: a stranger learns nothing of the room.
#[tokio::test]
async fn a_duplicate_without_a_token_is_401() {
    let house = house().await;
    assert_eq!(
        post(&house, "/pub/r/alice", Some("Bearer secret")).await.status,
        201
    );
    assert_eq!(post(&house, "/pub/r/alice", None).await.problem().0, 401);
}
