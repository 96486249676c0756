//! DELETE, and what one session's URL may do to another.

use weever_proto::Command;

use crate::house::OFFER;
use crate::stage::Stage;

#[tokio::test]
async fn delete_is_200_and_ends_the_session() {
    let mut stage = Stage::with(&[]).await;
    let (joined, session) = stage.joined("/pub/r/alice", OFFER).await;
    assert_eq!(
        stage
            .house
            .public("DELETE", &joined.location, &[], "")
            .await
            .status,
        200
    );
    let closed = stage.told("its end", |command| match command {
        Command::CloseSession { session } => Some(*session),
        _ => None,
    });
    assert_eq!(closed.await, session);
    assert_eq!(stage.house.get("/list/pub/r").await.body, "");
    assert_eq!(
        stage.join("/pub/r/alice", OFFER).await.status,
        201,
        "the name is free"
    );
}

#[tokio::test]
async fn delete_ignores_if_match() {
    let mut stage = Stage::with(&[]).await;
    let (joined, _) = stage.joined("/pub/r/alice", OFFER).await;
    let headers = [("if-match", "\"whatever\"")];
    assert_eq!(
        stage
            .house
            .public("DELETE", &joined.location, &headers, "")
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn a_session_that_has_ended_is_404() {
    let mut stage = Stage::with(&[]).await;
    let (joined, _) = stage.joined("/sub/r/alice", OFFER).await;
    stage.house.public("DELETE", &joined.location, &[], "").await;
    for method in ["DELETE", "GET"] {
        assert_eq!(
            stage
                .house
                .public(method, &joined.location, &[], "")
                .await
                .problem()
                .0,
            404
        );
    }
    assert_eq!(
        stage
            .patch(&joined.location, Some("*"), "a=candidate:1\r\n")
            .await
            .problem()
            .0,
        404
    );
}

#[tokio::test]
async fn one_sessions_url_does_nothing_to_another() {
    let mut stage = Stage::with(&[]).await;
    let (mine, _) = stage.joined("/pub/r/alice", OFFER).await;
    let (theirs, _) = stage.joined("/pub/r/bob", OFFER).await;
    assert_ne!(mine.location, theirs.location);
    stage.house.public("DELETE", &mine.location, &[], "").await;
    assert_eq!(stage.house.get("/list/pub/r").await.body, "bob");
}
