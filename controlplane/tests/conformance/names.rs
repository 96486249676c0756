//! Names of rooms and people (SPEC of names: 1 to 128 characters of printable ASCII without space and . , / # * >), Full IDs and
//! IDs.

use weever_proto::{Command, Event};

use crate::house::{House, OFFER};
use crate::offers;
use crate::stage::{Stage, patiently};

#[tokio::test]
async fn a_bad_character_is_400_and_named() {
    let house = House::with(&[]).await;
    for (encoded, named) in [
        ("%20", "' '"),
        (".", "'.'"),
        (",", "','"),
        ("%23", "'#'"),
        ("*", "'*'"),
        ("%3E", "'>'"),
        ("%00", "'\\0'"),
        ("%7F", "'\\u{7f}'"),
        ("%C3%A4", "'ä'"),
    ] {
        for path in [
            format!("/pub/a{encoded}b/x"),
            format!("/pub/r/a{encoded}b"),
            format!("/sub/a{encoded}b/x"),
            format!("/sub/r/a{encoded}b"),
        ] {
            let (status, detail) = house.join(&path, OFFER).await.problem();
            assert_eq!(status, 400, "{path}");
            assert!(detail.contains(named), "{path}: {detail}");
        }
    }
}

#[tokio::test]
async fn a_name_without_characters_or_with_a_slash_is_400() {
    let house = House::with(&[]).await;
    for path in ["/pub//a", "/pub/r/", "/pub/r", "/sub/r/a/b", "/sub/r%2Fa/b"] {
        assert_eq!(house.join(path, OFFER).await.problem().0, 400, "{path}");
    }
}

#[tokio::test]
async fn names_have_1_to_128_characters() {
    let house = House::with(&[]).await;
    let (most, more) = ("n".repeat(128), "n".repeat(129));
    assert_eq!(
        house.join(&format!("/pub/{most}/{most}"), OFFER).await.status,
        201
    );
    assert_eq!(house.join("/pub/r/a", OFFER).await.status, 201);
    for path in [format!("/pub/{more}/a"), format!("/pub/r/{more}")] {
        let (status, detail) = house.join(&path, OFFER).await.problem();
        assert!(status == 400 && detail.contains("at most 128"), "{detail}");
    }
}

#[tokio::test]
async fn all_other_printable_characters_are_names() {
    let house = House::with(&[]).await;
    let name: String = ('!'..='~').filter(|c| !".,/#*>".contains(*c)).collect();
    let encoded: String = name.bytes().map(|c| format!("%{c:02X}")).collect();
    assert_eq!(
        house
            .join(&format!("/pub/{encoded}/a{encoded}"), OFFER)
            .await
            .status,
        201
    );
    let listed = house.get(&format!("/list/pub/{encoded}")).await.body;
    assert_eq!(listed, format!("a{name}"));
}

#[tokio::test]
async fn a_full_id_without_an_id_is_400() {
    let house = House::with(&[]).await;
    for id in ["+k3x9", "-screen", "-screen+1"] {
        assert_eq!(
            house.join(&format!("/pub/r/{id}"), OFFER).await.problem().0,
            400,
            "{id}"
        );
    }
}

#[tokio::test]
async fn full_ids_of_one_id_do_not_clash() {
    let house = House::with(&[]).await;
    for id in ["alice", "alice+1", "alice+2", "alice-screen", "alice-screen+1"] {
        assert_eq!(
            house.join(&format!("/pub/r/{id}"), OFFER).await.status,
            201,
            "{id}"
        );
    }
    let listed = house.get("/list/pub/r").await.body;
    assert_eq!(listed, "alice,alice+1,alice+2,alice-screen,alice-screen+1");
}

#[tokio::test]
async fn one_name_may_publish_and_subscribe_and_be_in_two_rooms() {
    let house = House::with(&[]).await;
    for path in ["/pub/r/alice", "/sub/r/alice", "/pub/other/alice"] {
        assert_eq!(house.join(path, OFFER).await.status, 201, "{path}");
    }
}

#[tokio::test]
async fn nobody_receives_their_own_media_nor_their_screens() {
    let mut stage = Stage::with(&[]).await;
    for id in ["alice+cam", "alice-screen+1", "bob"] {
        stage.live(&format!("/pub/r/{id}"), &offers::encoder()).await;
    }
    let fitting = offers::player(&["H264 packetization-mode=1;profile-level-id=42e01f"]);
    let answer = stage.join("/sub/r/alice+tv", &fitting).await;
    let msids = offers::msids(&answer.body);
    assert!(msids.iter().all(|msid| msid.starts_with("bob ")), "{msids:?}");
}

/// The data plane says so after five seconds without a check and without media.
#[tokio::test]
async fn a_full_id_that_is_silent_gives_way() {
    let mut stage = Stage::with(&[]).await;
    let (_, old) = stage.joined("/pub/r/alice", OFFER).await;
    assert_eq!(stage.join("/pub/r/alice", OFFER).await.problem().0, 409);
    stage.say(Event::SessionSilent {
        session: old,
        silent: true,
    });
    patiently("its name", async {
        while stage.join("/pub/r/alice", OFFER).await.status != 201 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let closed = stage.told("the end of the old one", |command| match command {
        Command::CloseSession { session } => Some(*session),
        _ => None,
    });
    assert_eq!(closed.await, old);
    assert_eq!(stage.house.get("/list/pub/r").await.body, "alice");
}

#[tokio::test]
async fn a_full_id_that_is_heard_again_does_not() {
    let mut stage = Stage::with(&[]).await;
    let (joined, session) = stage.joined("/pub/r/alice", OFFER).await;
    for silent in [true, false] {
        stage.say(Event::SessionSilent { session, silent });
    }
    stage.say(Event::SessionConnected { session });
    // Events come in order: once the last is there, so are those before it.
    patiently("what was said last", async {
        while !stage.status(&joined).await.contains("\"connected\":true") {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(stage.join("/pub/r/alice", OFFER).await.problem().0, 409);
}
