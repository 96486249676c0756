//! WHEP's layer extension (`urn:ietf:params:whep:ext:core:layer`): what there is to choose from, told truthfully. There is one
//! encoding of each picture.

use serde_json::{Value, json};

use crate::offers;
use crate::stage::{JSON, Joined, Reading, Stage};

const H264: &str = "H264 packetization-mode=1;profile-level-id=42e01f";

async fn player(stage: &mut Stage) -> (Joined, String) {
    let (joined, _) = stage.joined("/sub/r/tv", &offers::player(&[H264])).await;
    let layer = joined.extension("layer").unwrap().0.to_owned();
    (joined, layer)
}

async fn told(stage: &Stage, layer: &str) -> Value {
    let answer = stage.house.public("GET", layer, &[], "").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    serde_json::from_str(&answer.body).unwrap()
}

#[tokio::test]
async fn a_players_201_links_to_it() {
    let mut stage = Stage::with(&[]).await;
    let (joined, layer) = player(&mut stage).await;
    assert_eq!(layer, format!("{}/layer", joined.location));
    let (_, events) = joined.extension("server-sent-events").unwrap();
    assert!(events.contains("layers"), "the draft wants both");
}

#[tokio::test]
async fn who_has_no_slot_for_pictures_has_none() {
    let mut stage = Stage::with(&[]).await;
    let radio = offers::player(&[H264])
        .split_once("m=video")
        .unwrap()
        .0
        .replace("BUNDLE 0 1", "BUNDLE 0");
    for (path, offer) in [
        ("/sub/r/radio", radio),
        ("/sub/r/bob", offers::channel_only()),
        ("/pub/r/alice", offers::encoder()),
    ] {
        let (joined, _) = stage.joined(path, &offer).await;
        assert!(joined.extension("layer").is_none(), "{path}");
        let answer = stage
            .house
            .public("GET", &format!("{}/layer", joined.location), &[], "")
            .await;
        assert_eq!(answer.problem().0, 404, "{path}");
    }
}

#[tokio::test]
async fn each_picture_has_its_one_encoding_under_its_m_line() {
    let mut stage = Stage::with(&[]).await;
    let (_, layer) = player(&mut stage).await;
    assert_eq!(told(&stage, &layer).await, json!({}), "nothing is shown");
    let alice = stage.live("/pub/r/alice", &offers::encoder()).await;
    let one = json!({ "1": [{ "spatialLayerId": 0 }] });
    assert_eq!(told(&stage, &layer).await, one);
    stage.leave(&alice).await;
    assert_eq!(told(&stage, &layer).await, json!({}), "it is gone");
}

#[tokio::test]
async fn the_layers_event_tells_the_same() {
    let mut stage = Stage::with(&[]).await;
    let (joined, _) = player(&mut stage).await;
    let endpoint = joined.extension("server-sent-events").unwrap().0;
    let mut reading = Reading::of(&stage.house, endpoint, "[\"layers\"]").await;
    let alice = stage.live("/pub/r/alice", &offers::encoder()).await;
    let one = json!({ "1": [{ "spatialLayerId": 0 }] });
    assert_eq!(reading.event().await.unwrap(), ("layers".into(), one));
    stage.leave(&alice).await;
    assert_eq!(reading.event().await.unwrap(), ("layers".into(), json!({})));
}

#[tokio::test]
async fn what_is_sent_anyway_may_be_selected() {
    let mut stage = Stage::with(&[]).await;
    let (_, layer) = player(&mut stage).await;
    for selection in [
        "{}",
        r#"{"mediaId":"1"}"#,
        r#"{"mediaId":1,"spatialLayerId":0}"#,
        r#"{"maxSpatialLayerId":2}"#,
    ] {
        let answer = stage.house.public("POST", &layer, &[JSON], selection).await;
        assert_eq!(answer.status, 200, "{selection}: {}", answer.body);
    }
    assert_eq!(
        stage.house.public("DELETE", &layer, &[], "").await.status,
        200,
        "back to the default"
    );
}

#[tokio::test]
async fn what_there_is_not_cannot_be_selected() {
    let mut stage = Stage::with(&[]).await;
    let (_, layer) = player(&mut stage).await;
    for (selection, word) in [
        (r#"{"rid":"hd"}"#, "rid"),
        (r#"{"spatialLayerId":1}"#, "spatialLayerId"),
        (r#"{"temporalLayerId":0}"#, "temporalLayerId"),
        (r#"{"maxTemporalLayerId":1}"#, "maxTemporalLayerId"),
        (r#"{"maxWidth":640}"#, "maxWidth"),
        (r#"{"maxHeight":360}"#, "maxHeight"),
        (r#"{"mediaId":"0"}"#, "mediaId"),
        (r#"{"mediaId":"video"}"#, "mediaId"),
    ] {
        let (status, detail) = stage
            .house
            .public("POST", &layer, &[JSON], selection)
            .await
            .problem();
        assert!(
            status == 422 && detail.starts_with(word),
            "{selection}: {status} {detail}"
        );
    }
}

#[tokio::test]
async fn what_is_no_selection_is_refused() {
    let mut stage = Stage::with(&[]).await;
    let (_, layer) = player(&mut stage).await;
    for body in [
        "",
        "[]",
        "nonsense",
        r#"{"encodingId":"a"}"#,
        r#"{"spatialLayerId":-1}"#,
    ] {
        assert_eq!(
            stage
                .house
                .public("POST", &layer, &[JSON], body)
                .await
                .problem()
                .0,
            400,
            "{body}"
        );
    }
    assert_eq!(
        stage.house.public("POST", &layer, &[], "{}").await.problem().0,
        415
    );
    let long = format!("{{\"rid\":\"{}\"}}", "x".repeat(5000));
    assert_eq!(
        stage
            .house
            .public("POST", &layer, &[JSON], &long)
            .await
            .problem()
            .0,
        413
    );
}
