//! `--strict-rooms`, as clients and operators meet it.

use crate::house::{House, OFFER};

#[tokio::test]
async fn a_room_must_be_made_before_it_is_joined() {
    let house = House::with(&["--strict-rooms"]).await;
    for path in ["/pub/r/alice", "/sub/r/bob"] {
        let (status, detail) = house.join(path, OFFER).await.problem();
        assert_eq!(status, 404);
        assert!(detail.contains("created"), "{detail}");
    }
    assert_eq!(house.private("DELETE", "/rooms/r", "").await.problem().0, 404);
    assert_eq!(house.private("POST", "/rooms/a.b", "").await.problem().0, 400);
    assert_eq!(house.private("POST", "/rooms/r", "").await.status, 201);
    let (status, detail) = house.private("POST", "/rooms/r", "").await.problem();
    assert_eq!(status, 409);
    assert!(detail.contains("exists"), "{detail}");
    for path in ["/pub/r/alice", "/sub/r/bob"] {
        assert_eq!(house.join(path, OFFER).await.status, 201);
    }
    assert_eq!(house.join("/pub/other/alice", OFFER).await.problem().0, 404);
    assert_eq!(house.private("DELETE", "/rooms/r", "").await.status, 200);
    assert_eq!(house.get("/list/pub/r").await.body, "");
    assert_eq!(house.join("/pub/r/alice", OFFER).await.problem().0, 404);
}
