//! Every code with which a POST may be refused, and the texts that clients know.

use crate::house::{House, OFFER, Response};
use crate::offers;
use crate::stage::{Manner, SDP, Stage};

async fn refused(house: &House, offer: &str) -> (u16, String) {
    let (status, detail) = house.join("/pub/r/a", offer).await.problem();
    assert_eq!(house.get("/list/pub/r").await.body, "", "nothing is left behind");
    (status, detail)
}

async fn unservable(offer: &str, word: &str) {
    let house = House::with(&[]).await;
    let (status, detail) = refused(&house, offer).await;
    assert_eq!(status, 422, "{detail}");
    assert!(detail.contains(word), "{detail}");
}

fn later(refused: &Response, status: u16) {
    let after: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&after), "{after}");
    assert_eq!(refused.problem().0, status);
}

/// RFC 9457 §3.1
#[tokio::test]
async fn a_refusal_is_a_problem_with_type_title_status_and_detail() {
    let house = House::with(&[]).await;
    let refused = house.join("/pub/r/a", "").await;
    assert_eq!(refused.header("content-type"), Some("application/problem+json"));
    let body: serde_json::Value = serde_json::from_str(&refused.body).unwrap();
    assert_eq!(body["type"], "about:blank");
    assert_eq!(body["title"], "Bad Request");
    assert_eq!(body["status"], 400);
    assert_eq!(body["detail"], "bad SDP: it is empty");
}

#[tokio::test]
async fn an_empty_body_is_400_bad_sdp() {
    let house = House::with(&[]).await;
    for body in ["", "\r\n", "   "] {
        let (status, detail) = refused(&house, body).await;
        assert!(status == 400 && detail.starts_with("bad SDP"), "{detail}");
    }
}

#[tokio::test]
async fn what_is_no_sdp_is_400_bad_sdp() {
    let house = House::with(&[]).await;
    for body in ["hello", "{\"sdp\":\"v=0\"}", "v=0\r\n", &OFFER[..40]] {
        let (status, detail) = refused(&house, body).await;
        assert!(
            status == 400 && detail.starts_with("bad SDP"),
            "{body:?}: {detail}"
        );
    }
}

#[tokio::test]
async fn another_content_type_is_415() {
    let house = House::with(&[]).await;
    for kind in ["text/plain", "application/json", "application/sdpx", ""] {
        let refused = house
            .public("POST", "/pub/r/a", &[("content-type", kind)], OFFER)
            .await;
        assert_eq!(refused.header("accept"), Some("application/sdp"), "what it takes");
        assert_eq!(refused.problem().0, 415, "{kind}");
    }
    assert_eq!(
        house.public("POST", "/sub/r/a", &[], OFFER).await.problem().0,
        415
    );
}

#[tokio::test]
async fn a_body_over_256_kib_is_413() {
    let house = House::with(&[]).await;
    let (status, _) = refused(&house, &"a".repeat(256 * 1024 + 1)).await;
    assert_eq!(status, 413);
    let (status, _) = refused(&house, &"a".repeat(256 * 1024)).await;
    assert_eq!(status, 400, "at the limit it is read");
}

#[tokio::test]
async fn a_full_id_that_is_taken_is_409() {
    let house = House::with(&[]).await;
    for (role, word) in [("pub", "publisher"), ("sub", "subscriber")] {
        let path = format!("/{role}/r/twice");
        assert_eq!(house.join(&path, OFFER).await.status, 201);
        let again = house.join(&path, OFFER).await.problem();
        assert_eq!(again, (409, format!("duplicate {word}")));
    }
}

#[tokio::test]
async fn a_full_id_is_taken_from_the_post_on() {
    let mut stage = Stage::with(&[]).await;
    stage.behave(Manner::Dawdle);
    let house = &stage.house;
    let at = (house.running.public, "/pub/r/alice");
    let first = tokio::spawn(async move { crate::house::request(at.0, "POST", at.1, &[SDP], OFFER).await });
    let session = stage.made().await.session;
    // The first has no answer yet.
    let second = stage.join("/pub/r/alice", OFFER).await.problem();
    assert_eq!(second, (409, "duplicate publisher".into()));
    stage.say(weever_proto::Event::SessionReady { session });
    assert_eq!(first.await.unwrap().status, 201);
}

#[tokio::test]
async fn of_many_who_come_at_once_one_gets_the_name() {
    let house = House::with(&[]).await;
    let all = (0..20).map(|_| house.join("/pub/r/alice", OFFER));
    let mut statuses: Vec<u16> = futures::future::join_all(all)
        .await
        .iter()
        .map(|r| r.status)
        .collect();
    statuses.sort_unstable();
    assert_eq!(statuses[0], 201);
    assert!(statuses[1..].iter().all(|status| *status == 409), "{statuses:?}");
}

#[tokio::test]
async fn m_lines_without_bundle_are_422() {
    unservable(&offers::encoder().replace("a=group:BUNDLE 0 1\r\n", ""), "BUNDLE").await;
}

#[tokio::test]
async fn an_m_line_outside_of_the_bundle_is_422() {
    unservable(&offers::encoder().replace("BUNDLE 0 1", "BUNDLE 0"), "BUNDLE").await;
}

#[tokio::test]
async fn no_fingerprint_is_422() {
    unservable(&OFFER.replace("a=fingerprint", "a=x-fingerprint"), "fingerprint").await;
}

#[tokio::test]
async fn a_hash_that_cannot_be_checked_is_422() {
    unservable(
        &OFFER.replace("a=fingerprint:sha-256", "a=fingerprint:md5"),
        "fingerprint",
    )
    .await;
}

#[tokio::test]
async fn no_ice_credentials_are_422() {
    unservable(&OFFER.replace("a=ice-ufrag", "a=x-ufrag"), "ice-ufrag").await;
    unservable(&OFFER.replace("a=ice-pwd", "a=x-pwd"), "ice-pwd").await;
}

#[tokio::test]
async fn no_rtcp_mux_is_422() {
    unservable(&OFFER.replace("a=rtcp-mux\r\n", ""), "rtcp-mux").await;
}

#[tokio::test]
async fn no_codec_in_common_is_422() {
    unservable(&OFFER.replace("opus/48000", "speex/8000"), "codec").await;
}

#[tokio::test]
async fn a_player_that_knows_no_codec_is_422() {
    let house = House::with(&[]).await;
    let offer = OFFER
        .replace("opus/48000", "speex/8000")
        .replace("sendrecv", "recvonly");
    let (status, detail) = house.join("/sub/r/a", &offer).await.problem();
    assert!(status == 422 && detail.contains("receive"), "{detail}");
}

/// RFC 9725 §4.4.3: no partially successful answers.
#[tokio::test]
async fn sound_without_the_picture_that_was_offered_is_422() {
    unservable(
        &offers::encoder().replace("H264/90000", "THEORA/90000"),
        "m-line 1 (video)",
    )
    .await;
}

#[tokio::test]
async fn a_publisher_that_sends_nothing_is_422() {
    unservable(&OFFER.replace("a=sendrecv", "a=recvonly"), "nothing to send").await;
    unservable(&OFFER.replace("a=sendrecv", "a=inactive"), "nothing to send").await;
}

#[tokio::test]
async fn too_many_joins_from_one_address_are_429_with_retry_after() {
    let house = House::with(&["--max-joins-per-address=2"]).await;
    let mut refused = 0;
    for n in 0..20 {
        let answer = house.join(&format!("/pub/r/p{n}"), OFFER).await;
        if answer.status != 201 {
            later(&answer, 429);
            refused += 1;
        }
    }
    assert!(refused >= 10, "{refused}");
}

#[tokio::test]
async fn without_a_data_plane_it_is_503_with_retry_after() {
    let house = House::empty(&[]).await;
    later(&house.join("/pub/r/a", OFFER).await, 503);
}

#[tokio::test]
async fn a_node_that_drains_is_503_with_retry_after() {
    let stage = Stage::with(&[]).await;
    stage.drain().await;
    for path in ["/pub/r/a", "/sub/r/a"] {
        later(&stage.join(path, OFFER).await, 503);
    }
}

#[tokio::test]
async fn a_data_plane_that_is_full_is_503_with_retry_after() {
    let stage = Stage::with(&[]).await;
    stage.behave(Manner::Refuse);
    later(&stage.join("/sub/r/a", OFFER).await, 503);
    assert_eq!(
        stage.house.get("/list/sub/r").await.body,
        "",
        "the name is free again"
    );
    stage.behave(Manner::Oblige);
    assert_eq!(stage.join("/sub/r/a", OFFER).await.status, 201);
}

#[tokio::test]
async fn an_unknown_room_of_strict_ones_is_404() {
    let house = House::with(&["--strict-rooms"]).await;
    assert_eq!(house.join("/pub/r/a", OFFER).await.problem().0, 404);
    assert_eq!(house.private("POST", "/rooms/r", "").await.status, 201);
    assert_eq!(
        house.private("POST", "/rooms/r", "").await.problem().0,
        409,
        "only once"
    );
    assert_eq!(house.join("/pub/r/a", OFFER).await.status, 201);
}
