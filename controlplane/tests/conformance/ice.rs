//! Trickle ICE and ICE restarts by PATCH (RFC 9725 §4.3).

use weever_proto::{Command, IceCredentials};

use crate::house::OFFER;
use crate::stage::{Joined, Stage};

/// Of [`OFFER`].
const SAME: &str = "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n\
    m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=candidate:1 1 udp 1 192.0.2.9 9 typ host\r\na=end-of-candidates\r\n";
const NEW: &str = "a=ice-ufrag:NeW1\r\na=ice-pwd:QqQqQqQqQqQqQqQqQqQqQqQq\r\n";
const NEWER: &str = "a=ice-ufrag:NeW2\r\na=ice-pwd:RrRrRrRrRrRrRrRrRrRrRrRr\r\n";

async fn joined() -> (Stage, Joined) {
    let mut stage = Stage::with(&[]).await;
    let (joined, _) = stage.joined("/pub/r/alice", OFFER).await;
    (stage, joined)
}

fn value<'a>(fragment: &'a str, name: &str) -> &'a str {
    fragment
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .unwrap_or_else(|| panic!("{name}: {fragment}"))
}

#[tokio::test]
async fn candidates_are_204_without_body_and_etag() {
    let (stage, joined) = joined().await;
    let trickled = stage.patch(&joined.location, Some(&joined.etag), SAME).await;
    assert_eq!((trickled.status, trickled.body.as_str()), (204, ""));
    assert_eq!(trickled.header("etag"), None, "RFC 9725 §4.3.2");
}

/// RFC 9725 §4.3.2: what can't be used is passed over, and the rest is taken.
#[tokio::test]
async fn candidates_that_cannot_be_used_are_passed_over() {
    let (stage, joined) = joined().await;
    let odd = format!(
        "{SAME}a=candidate:2 1 tcp 1 192.0.2.9 9 typ host tcptype active\r\n\
         a=candidate:3 1 udp 1 0a1b2c3d-4e5f.local 9 typ host\r\na=candidate:4 1 udp\r\na=candidate:\r\n"
    );
    assert_eq!(
        stage
            .patch(&joined.location, Some(&joined.etag), &odd)
            .await
            .status,
        204
    );
}

#[tokio::test]
async fn a_missing_if_match_is_accepted_when_the_ufrag_is_the_sessions() {
    let (stage, joined) = joined().await;
    assert_eq!(stage.patch(&joined.location, None, SAME).await.status, 204);
}

#[tokio::test]
async fn a_missing_if_match_is_428_when_it_is_not() {
    let (stage, joined) = joined().await;
    assert_eq!(stage.patch(&joined.location, None, NEW).await.problem().0, 428);
    let nothing = "a=candidate:1 1 udp 1 192.0.2.9 9 typ host\r\n";
    assert_eq!(
        stage.patch(&joined.location, None, nothing).await.problem().0,
        428
    );
    assert_eq!(
        stage.patch(&joined.location, None, SAME).await.status,
        204,
        "nothing has changed"
    );
}

#[tokio::test]
async fn a_stale_if_match_is_412() {
    let (stage, joined) = joined().await;
    let restarted = stage.patch(&joined.location, Some(&joined.etag), NEW).await;
    assert_eq!(restarted.status, 200);
    for fragment in [SAME, NEW, NEWER] {
        let stale = stage.patch(&joined.location, Some(&joined.etag), fragment).await;
        assert_eq!(stale.problem().0, 412);
    }
    let mine = stage.patch(&joined.location, restarted.header("etag"), NEW).await;
    assert_eq!(mine.status, 204, "nothing has changed");
}

#[tokio::test]
async fn an_etag_of_another_session_is_412() {
    let (mut stage, joined) = joined().await;
    let (other, _) = stage.joined("/pub/r/bob", OFFER).await;
    assert_eq!(
        stage
            .patch(&joined.location, Some(&other.etag), SAME)
            .await
            .problem()
            .0,
        412
    );
}

/// RFC 9110 §13.1.1: If-Match compares strongly.
#[tokio::test]
async fn a_weak_etag_matches_nothing() {
    let (stage, joined) = joined().await;
    let weak = format!("W/{}", joined.etag);
    assert_eq!(
        stage.patch(&joined.location, Some(&weak), SAME).await.problem().0,
        412
    );
}

/// RFC 9110 §13.1.1
#[tokio::test]
async fn if_match_may_be_a_list() {
    let (stage, joined) = joined().await;
    let list = format!("\"other\", {}", joined.etag);
    assert_eq!(stage.patch(&joined.location, Some(&list), SAME).await.status, 204);
}

/// RFC 9725 §4.3.3, quoted as in its example too.
#[tokio::test]
async fn a_restart_may_match_any_etag() {
    for any in ["*", "\"*\""] {
        let (stage, joined) = joined().await;
        assert_eq!(
            stage.patch(&joined.location, Some(any), NEW).await.status,
            200,
            "{any}"
        );
    }
}

#[tokio::test]
async fn a_restart_is_200_with_a_fragment() {
    let (stage, joined) = joined().await;
    let restarted = stage.patch(&joined.location, Some(&joined.etag), NEW).await;
    assert_eq!(restarted.status, 200);
    assert_eq!(
        restarted.header("content-type"),
        Some("application/trickle-ice-sdpfrag")
    );
}

#[tokio::test]
async fn a_restart_has_new_credentials_of_the_server() {
    let mut stage = Stage::with(&[]).await;
    let created = stage.join("/pub/r/alice", OFFER).await;
    let joined = Joined::from(&created);
    let session = stage.made().await.session;
    let restarted = stage.patch(&joined.location, Some(&joined.etag), NEW).await;
    let local = IceCredentials {
        ufrag: value(&restarted.body, "a=ice-ufrag:").to_owned(),
        password: value(&restarted.body, "a=ice-pwd:").to_owned(),
    };
    assert_ne!(local.ufrag, value(&created.body, "a=ice-ufrag:"));
    assert_ne!(local.password, value(&created.body, "a=ice-pwd:"));
    let commanded = stage.told("the restart", |command| match command {
        Command::RestartIce {
            session,
            local,
            remote,
        } => Some((*session, local.clone(), remote.clone())),
        _ => None,
    });
    let remote = IceCredentials {
        ufrag: "NeW1".into(),
        password: "QqQqQqQqQqQqQqQqQqQqQqQq".into(),
    };
    assert_eq!(commanded.await, (session, local, remote), "the data plane knows");
}

#[tokio::test]
async fn a_restart_has_all_candidates_and_says_that_these_are_all() {
    let (stage, joined) = joined().await;
    let restarted = stage.patch(&joined.location, Some(&joined.etag), NEW).await;
    assert!(value(&restarted.body, "a=candidate:").contains(" 127.0.0.1 9 typ host"));
    assert!(restarted.body.contains("a=end-of-candidates\r\n"));
    assert!(
        restarted.body.contains("a=ice-lite\r\n"),
        "as in the answer: RFC 9725 §4.3.3"
    );
    assert!(
        restarted
            .body
            .contains("m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n")
    );
}

#[tokio::test]
async fn a_restart_has_a_new_etag() {
    let (stage, joined) = joined().await;
    let restarted = stage.patch(&joined.location, Some(&joined.etag), NEW).await;
    let first = restarted.header("etag").unwrap().to_owned();
    assert!(first.starts_with('"') && first != joined.etag);
    let again = stage.patch(&joined.location, Some(&first), NEWER).await;
    assert!(
        again
            .header("etag")
            .is_some_and(|etag| etag != first && etag != joined.etag)
    );
}

#[tokio::test]
async fn a_failed_restart_keeps_the_old_session() {
    let (stage, joined) = joined().await;
    for (fragment, status) in [
        ("a=ice-ufrag:NeW1\r\n", 400),
        ("a=ice-ufrag:x\r\na=ice-pwd:y\r\n", 422),
        ("a=ice-ufrag:EsAw\r\na=ice-pwd:QqQqQqQqQqQqQqQqQqQqQqQq\r\n", 400),
    ] {
        let failed = stage.patch(&joined.location, Some(&joined.etag), fragment).await;
        assert_eq!(failed.problem().0, status, "{fragment}");
        let trickled = stage.patch(&joined.location, Some(&joined.etag), SAME).await;
        assert_eq!(
            trickled.status, 204,
            "the old ICE session goes on after {fragment}"
        );
    }
    assert_eq!(stage.house.get("/list/pub/r").await.body, "alice");
}

#[tokio::test]
async fn another_content_type_is_415_and_says_what_is_taken() {
    let (stage, joined) = joined().await;
    let headers = [
        ("content-type", "application/sdp"),
        ("if-match", joined.etag.as_str()),
    ];
    let refused = stage
        .house
        .public("PATCH", &joined.location, &headers, SAME)
        .await;
    assert_eq!(
        refused.header("accept-patch"),
        Some("application/trickle-ice-sdpfrag")
    );
    assert_eq!(refused.problem().0, 415);
}

#[tokio::test]
async fn what_is_no_fragment_is_400() {
    let (stage, joined) = joined().await;
    for fragment in ["", "hello", "v=0\r\n", "{}"] {
        let refused = stage.patch(&joined.location, Some(&joined.etag), fragment).await;
        assert_eq!(refused.problem().0, 400, "{fragment:?}");
    }
}

#[tokio::test]
async fn a_fragment_over_256_kib_is_413() {
    let (stage, joined) = joined().await;
    let huge = "a=candidate:1 1 udp 1 192.0.2.9 9 typ host\r\n".repeat(6000);
    assert_eq!(
        stage
            .patch(&joined.location, Some(&joined.etag), &huge)
            .await
            .problem()
            .0,
        413
    );
}
