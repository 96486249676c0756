//! Fragments that nobody should PATCH (SECURITY 9), at a session that has to outlive them.

use crate::house::{House, OFFER};

const KIND: &str = "application/trickle-ice-sdpfrag";
const SAME: &str = "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n";

fn fill(unit: &str, length: usize) -> String {
    unit.repeat(length / unit.len())
}

#[tokio::test]
async fn hostile_fragments_are_refused_and_the_session_goes_on() {
    let house = House::with(&[]).await;
    let created = house.join("/pub/r/alice", OFFER).await;
    let (location, etag) = (
        created.header("location").unwrap(),
        created.header("etag").unwrap(),
    );
    let patch = async |body: &str| {
        let headers = [("content-type", KIND), ("if-match", etag)];
        house.public("PATCH", location, &headers, body).await.status
    };
    let pwd = "a=ice-pwd:QqQqQqQqQqQqQqQqQqQqQqQq\r\n";
    for (name, body, right) in [
        ("empty", String::new(), 400),
        ("blank", "\r\n \r\n".into(), 400),
        ("nul bytes", "\0\0\0".into(), 400),
        ("an offer", OFFER.into(), 400),
        ("too long", fill("a=candidate:x\r\n", 256 * 1024 + 15), 413),
        (
            "candidates without number",
            format!("{SAME}{}", fill("a=candidate:x\r\n", 250_000)),
            204,
        ),
        (
            "one candidate without end",
            format!("{SAME}a=candidate:{}\r\n", fill("x", 250_000)),
            204,
        ),
        ("a password alone", pwd.into(), 400),
        ("a fragment name alone", "a=ice-ufrag:NeW1\r\n".into(), 400),
        (
            "a name without end",
            format!("a=ice-ufrag:{}\r\n{pwd}", fill("x", 250_000)),
            422,
        ),
        ("a name with a nul", format!("a=ice-ufrag:Ne\0W\r\n{pwd}"), 422),
        (
            "a name with a line in it",
            format!("a=ice-ufrag:Ne\rW1\r\n{pwd}"),
            422,
        ),
        ("two names", format!("{SAME}a=ice-ufrag:NeW1\r\n"), 400),
        ("two passwords", format!("{SAME}{pwd}"), 400),
        (
            "two names, the new one first",
            format!("a=ice-ufrag:NeW1\r\n{pwd}{SAME}"),
            400,
        ),
        (
            "a password of another name",
            format!("a=ice-ufrag:EsAw\r\n{pwd}"),
            400,
        ),
        (
            "the same twice, as in two m-sections",
            format!("{SAME}m=audio 9 RTP/AVP 0\r\n{SAME}"),
            204,
        ),
    ] {
        assert_eq!(patch(&body).await, right, "{name}");
    }
    let status = house.public("GET", location, &[], "").await;
    assert_eq!(status.status, 200, "it is still there");
    // With the credentials and the ETag of the beginning.
    assert_eq!(patch(SAME).await, 204);
    let renewed = format!("a=ice-ufrag:NeW1\r\n{pwd}");
    assert_eq!(patch(&renewed).await, 200, "and can be restarted");
}
