//! 307 to another node (RFC 9725 §4.5).

use crate::house::{House, OFFER, Response};
use crate::stage::{Manner, SDP, Stage};

const NODE: &str = "--overflow-url=https://other.example:8443/weever/";

fn sent_on(answer: &Response) -> &str {
    assert_eq!(answer.status, 307, "{}", answer.body);
    answer.header("location").unwrap()
}

#[tokio::test]
async fn a_node_that_drains_sends_newcomers_on() {
    let stage = Stage::with(&[NODE]).await;
    assert_eq!(stage.join("/pub/r/early", OFFER).await.status, 201, "not before");
    stage.drain().await;
    for path in ["/pub/r/alice%2Bk3x9", "/sub/r/bob"] {
        let answer = stage.join(path, OFFER).await;
        assert_eq!(
            sent_on(&answer),
            format!("https://other.example:8443/weever{path}?redirected=true")
        );
    }
}

#[tokio::test]
async fn a_node_without_a_data_plane_sends_newcomers_on() {
    let house = House::empty(&[NODE]).await;
    sent_on(&house.join("/pub/r/alice", OFFER).await);
}

#[tokio::test]
async fn a_full_data_plane_sends_newcomers_on() {
    let stage = Stage::with(&[NODE]).await;
    stage.behave(Manner::Refuse);
    sent_on(&stage.join("/sub/r/bob", OFFER).await);
    assert_eq!(
        stage.house.get("/list/sub/r").await.body,
        "",
        "and keeps no place for them"
    );
}

#[tokio::test]
async fn the_query_goes_along() {
    let stage = Stage::with(&[NODE]).await;
    stage.drain().await;
    let answer = stage.join("/sub/r/bob?from=alice", OFFER).await;
    assert!(sent_on(&answer).ends_with("/sub/r/bob?from=alice&redirected=true"));
}

/// Two full nodes would send it to and fro.
#[tokio::test]
async fn who_was_sent_here_is_not_sent_on() {
    let stage = Stage::with(&[NODE]).await;
    stage.drain().await;
    let answer = stage.join("/pub/r/alice?redirected=true", OFFER).await;
    assert!(answer.header("retry-after").is_some());
    assert_eq!(answer.problem().0, 503);
}

#[tokio::test]
async fn a_client_that_follows_gets_in() {
    let other = Stage::with(&[]).await;
    let at = format!("http://{}", other.house.running.public);
    let full = Stage::with(&[&format!("--overflow-url={at}")]).await;
    full.drain().await;
    let answer = full.join("/sub/r/bob?from=alice", OFFER).await;
    let path = sent_on(&answer).strip_prefix(&at).unwrap();
    let created = other.house.public("POST", path, &[SDP], OFFER).await;
    assert_eq!(created.status, 201, "{}", created.body);
    assert_eq!(other.house.get("/list/sub/r").await.body, "bob");
}

#[tokio::test]
async fn refusals_that_another_node_would_repeat_stay_refusals() {
    let stage = Stage::with(&[NODE, "--auth"]).await;
    stage.drain().await;
    assert_eq!(
        stage.join("/pub/r/alice", OFFER).await.problem().0,
        401,
        "strangers are not sent on"
    );
    let stage = Stage::with(&[NODE]).await;
    stage.drain().await;
    assert_eq!(stage.join("/pub/r/alice", "hello").await.problem().0, 400);
    assert_eq!(stage.join("/pub/r/al.ice", OFFER).await.problem().0, 400);
}

#[tokio::test]
async fn who_is_in_stays_in() {
    let mut stage = Stage::with(&[NODE]).await;
    let (joined, _) = stage.joined("/pub/r/alice", OFFER).await;
    stage.drain().await;
    assert_eq!(
        stage.house.public("GET", &joined.location, &[], "").await.status,
        200
    );
    assert_eq!(
        stage
            .house
            .public("DELETE", &joined.location, &[], "")
            .await
            .status,
        200
    );
}
