//! Sessions of others (SECURITY 10): their URLs can't be guessed, nor found out, nor worked by anybody else's.

use std::collections::HashSet;

use futures::{SinkExt, StreamExt};
use tokio::sync::mpsc;
use weever_proto::{ChannelLabel, Command, Event, FromShard, SessionId, ToShard};

use crate::house::{House, OFFER, Response, hello, request};
use crate::wire::{exchange, statuses};

const KIND: &str = "application/trickle-ice-sdpfrag";
const METHODS: [&str; 4] = ["GET", "HEAD", "DELETE", "PATCH"];

fn location(created: &Response) -> &str {
    assert_eq!(created.status, 201, "{}", created.body);
    created.header("location").unwrap()
}

fn key(created: &Response) -> u128 {
    u128::from_str_radix(location(created).strip_prefix("/session/").unwrap(), 16).unwrap()
}

#[tokio::test]
async fn urls_are_128_random_bits() {
    const KEYS: usize = 800;
    /// Six standard deviations of a fair coin thrown so often: once in four million runs of this test.
    const FAIR: f64 = 6.0 * 0.5 * 28.3;
    let house = House::with(&["--max-joins-per-address=0"]).await;
    let mut keys = Vec::new();
    for n in 0..KEYS {
        let created = house.join(&format!("/pub/r/p{n}"), OFFER).await;
        keys.push(key(&created));
        assert_eq!(
            house.public("DELETE", location(&created), &[], "").await.status,
            200
        );
    }
    let half = |shift: u32| {
        keys.iter()
            .map(|key| key >> shift & u128::from(u64::MAX))
            .collect::<HashSet<_>>()
    };
    assert_eq!(
        (half(0).len(), half(64).len()),
        (KEYS, KEYS),
        "no half comes twice"
    );
    let mut neighbours: Vec<u128> = keys.windows(2).map(|two| two[0] ^ two[1]).collect();
    neighbours.push(keys[0]);
    for (what, all) in [("is", &keys), ("changes", &neighbours)] {
        for bit in 0..128 {
            let ones = all.iter().filter(|key| *key >> bit & 1 == 1).count();
            let off = (ones as f64 - KEYS as f64 / 2.0).abs();
            assert!(off < FAIR, "bit {bit} {what} 1 in {ones} of {KEYS}");
        }
    }
}

#[tokio::test]
async fn one_that_never_was_one_that_can_not_be_and_one_that_ended_are_the_same() {
    let house = House::with(&[]).await;
    let created = house.join("/pub/r/alice", OFFER).await;
    let ended = location(&created).to_owned();
    assert_eq!(house.public("DELETE", &ended, &[], "").await.status, 200);
    let etag = created.header("etag").unwrap();
    let bodies = [
        "",
        "hello",
        "a=candidate:1\r\n",
        "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n",
    ];
    for method in METHODS {
        for kind in [KIND, "application/sdp"] {
            for body in bodies
                .into_iter()
                .filter(|body| method == "PATCH" || body.is_empty())
            {
                let answer = async |path: &str| {
                    let headers = [("content-type", kind), ("if-match", etag)];
                    let mut answer = house.public(method, path, &headers, body).await;
                    answer.headers.retain(|(name, _)| name != "date");
                    (answer.status, answer.headers, answer.body)
                };
                let wanted = answer(&ended).await;
                let right = if method == "PATCH" && kind != KIND {
                    415
                } else {
                    404
                };
                assert_eq!(wanted.0, right, "{method} {kind}");
                for other in [
                    "/session/0123456789abcdef0123456789abcdef",
                    "/session/0123456789ABCDEF0123456789ABCDEF",
                    "/session/0",
                    "/session/alice",
                    "/session/%00",
                    "/session/..%2fpub%2fr",
                ] {
                    assert_eq!(answer(other).await, wanted, "{method} {other} {kind} {body:?}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_session_is_not_worked_by_what_belongs_to_another() {
    let house = House::with(&[]).await;
    let bobs = OFFER
        .replace("EsAw", "BoB1")
        .replace("P2uYro0UCOQ4zxjKXaWCBui1", "BbBbBbBbBbBbBbBbBbBbBbBb");
    let (alice, bob) = (
        house.join("/pub/r/alice", OFFER).await,
        house.join("/pub/r/bob", &bobs).await,
    );
    let bobs_fragment = "a=ice-ufrag:BoB1\r\na=ice-pwd:BbBbBbBbBbBbBbBbBbBbBbBb\r\n";
    let patch = async |if_match: Option<&str>| {
        let mut headers = vec![("content-type", KIND)];
        headers.extend(if_match.map(|etag| ("if-match", etag)));
        house
            .public("PATCH", location(&alice), &headers, bobs_fragment)
            .await
            .status
    };
    assert_eq!(patch(None).await, 428, "his ufrag is none of hers");
    assert_eq!(patch(bob.header("etag")).await, 412, "nor is his ETag");
    assert_eq!(
        patch(Some(&format!("W/{}", alice.header("etag").unwrap()))).await,
        412,
        "a weak one matches nothing"
    );
    let same = "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n";
    let headers = [
        ("content-type", KIND),
        ("if-match", alice.header("etag").unwrap()),
    ];
    let hers = house.public("PATCH", location(&alice), &headers, same).await;
    assert_eq!(
        hers.status, 204,
        "her credentials and her ETag are those of the beginning"
    );
    assert_eq!(house.get("/list/pub/r").await.body, "alice,bob");
}

#[tokio::test]
async fn paths_headers_and_forms_that_only_look_like_a_session_do_nothing_to_it() {
    let house = House::with(&[]).await;
    let created = house.join("/pub/r/alice", OFFER).await;
    let path = location(&created);
    let key = path.strip_prefix("/session/").unwrap();
    for trick in [
        format!(
            "/session/{}",
            key.to_ascii_uppercase()
                .replace(|c: char| c.is_ascii_digit(), "A")
        ),
        format!("/session/{key}/"),
        format!("/session//{key}"),
        format!("//session/{key}"),
        format!("/session/./{key}"),
        format!("/session/x/../{key}"),
        format!("/session/%2e%2e/session/{key}"),
        format!("/pub/..%2f..%2fsession%2f{key}"),
        format!("/session%2f{key}"),
        format!("/SESSION/{key}"),
        format!("/session/{key}%00"),
        format!("/session/{key}%20"),
        format!("/session/{key};a=b"),
        format!("/session/0x{key}"),
        format!("/session/+{}", &key[1..]),
        format!("/session/{}", &key[1..]),
        format!("/session?{key}"),
        format!("/session/?key={key}"),
        format!("/pub/r/alice?session={key}"),
        format!("/?/session/{key}"),
    ] {
        let answer = house.public("DELETE", &trick, &[], "").await;
        assert!((400..500).contains(&answer.status), "{trick}: {}", answer.status);
    }
    for name in ["x-http-method-override", "x-http-method", "x-method-override"] {
        assert_eq!(
            house.public("GET", path, &[(name, "DELETE")], "").await.status,
            200
        );
    }
    for name in ["x-original-url", "x-rewrite-url", "x-forwarded-prefix"] {
        assert_eq!(
            house
                .public("DELETE", "/session/0", &[(name, path)], "")
                .await
                .status,
            404
        );
    }
    // The operator's side is not on this port, whatever a request says of itself.
    for at in [
        "/rooms/r",
        "/preStop",
        "/metrics",
        "/shards",
        "http://127.0.0.1:9443/preStop",
    ] {
        for method in ["GET", "DELETE"] {
            let headers = [
                ("x-forwarded-host", "localhost:9443"),
                ("x-forwarded-for", "127.0.0.1"),
            ];
            let answer = house.public(method, at, &headers, "").await;
            assert!(
                [404, 405].contains(&answer.status),
                "{method} {at}: {}",
                answer.status
            );
        }
    }
    assert_eq!(
        house.public("GET", path, &[], "").await.status,
        200,
        "it is still there"
    );
    // RFC 9112 §3.2.2: a server takes the absolute form, and its authority instead of the Host.
    let absolute = format!("http://evil.example{path}");
    assert_eq!(house.public("DELETE", &absolute, &[], "").await.status, 200);
}

#[tokio::test]
async fn a_request_hides_no_other_one() {
    let house = House::with(&[]).await;
    let created = house.join("/pub/r/alice", OFFER).await;
    let hidden = format!("DELETE {} HTTP/1.1\r\nhost: w\r\n\r\n", location(&created));
    let length = hidden.len();
    for head in [
        format!("content-length: {length}\r\ncontent-length: 0\r\n"),
        format!("content-length: 0, {length}\r\n"),
        format!("content-length: +{length}\r\n"),
        format!("content-length : {length}\r\n"),
        format!("x: y\r\n content-length: {length}\r\ncontent-length: 0 0\r\n"),
        "transfer-encoding: xchunked\r\n".to_owned(),
        "transfer-encoding: chunked, identity\r\n".to_owned(),
        "transfer-encoding\u{b}: chunked\r\n".to_owned(),
        format!("transfer-encoding: chunked\r\ncontent-length: {length}\r\n"),
    ] {
        // A proxy that takes the one length sees a body, one that takes the other a second request.
        for body in [hidden.clone(), format!("0\r\n\r\n{hidden}")] {
            let bytes = format!("POST /pub/r/x HTTP/1.1\r\nhost: w\r\n{head}\r\n{body}");
            let answers = statuses(&exchange(house.running.public, bytes.as_bytes()).await);
            assert!(
                answers.iter().all(|status| *status >= 400),
                "{head:?}: {answers:?}"
            );
            assert!(answers.len() <= 1, "{head:?}: {answers:?}");
        }
    }
    let status = request(house.running.public, "GET", location(&created), &[], "")
        .await
        .status;
    assert_eq!(status, 200, "nobody ended it");
}

/// What clients say on their control channels, on behalf of a played data plane.
struct Channels {
    say: mpsc::UnboundedSender<Event>,
    told: mpsc::UnboundedReceiver<Command>,
}

async fn channels(house: &House) -> Channels {
    let mut frames = house.dial().await;
    frames.send(FromShard::Hello(hello("channels"))).await.unwrap();
    frames.send(FromShard::SnapshotEnd(0)).await.unwrap();
    let (say, mut said) = mpsc::unbounded_channel();
    let (tell, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let answer = tokio::select! {
                event = said.recv() => match event {
                    Some(event) => FromShard::Event(event),
                    None => return,
                },
                frame = frames.next() => match frame {
                    Some(Ok(ToShard::Ping(nonce))) => FromShard::Pong(nonce),
                    Some(Ok(ToShard::Command(command))) => {
                        let _ = tell.send(command.clone());
                        let Command::CreateSession(spec) = command else { continue };
                        FromShard::Event(Event::SessionReady { session: spec.session })
                    }
                    Some(Ok(_)) => continue,
                    _ => return,
                },
            };
            if frames.send(answer).await.is_err() {
                return;
            }
        }
    });
    while house.get("/readiness").await.status != 200 {
        tokio::task::yield_now().await;
    }
    Channels { say, told }
}

impl Channels {
    async fn created(&mut self) -> SessionId {
        loop {
            if let Command::CreateSession(spec) = self.told.recv().await.unwrap() {
                return spec.session;
            }
        }
    }

    async fn answer(&mut self, session: SessionId, text: &str) -> String {
        let said = Event::Text {
            channel: ChannelLabel::Control,
            session,
            text: text.to_owned(),
        };
        self.say.send(said).unwrap();
        loop {
            match self.told.recv().await.unwrap() {
                Command::SendText {
                    session: to, text, ..
                } => {
                    assert_eq!(to, session, "the answer goes to who asked");
                    return text;
                }
                Command::CloseSession { session: closed } => panic!("{closed:?} was closed"),
                _ => {}
            }
        }
    }
}

#[tokio::test]
async fn a_control_channel_speaks_for_its_own_session_only() {
    let house = House::empty(&[]).await;
    let mut channels = channels(&house).await;
    house.join("/pub/r/alice", OFFER).await;
    let alice = channels.created().await;
    house.join("/sub/r/carol", OFFER).await;
    let carol = channels.created().await;
    for session in [alice, carol] {
        channels.say.send(Event::SessionConnected { session }).unwrap();
    }
    for lie in [
        "PUB_JOIN mallory",
        "PUB_LEFT alice",
        "SDP_ANSWER v=0",
        "STOPP",
        "stop",
        " STOP",
        "SUB_LEFT carol",
        "\0",
        "",
    ] {
        assert_eq!(channels.answer(alice, lie).await, "OK", "{lie:?}");
    }
    // A subscriber that offers to send is a subscriber all the same.
    let answer = channels.answer(carol, &format!("SDP_OFFER {OFFER}")).await;
    assert!(answer.starts_with("SDP_ANSWER") || answer == "OK", "{answer}");
    for lie in [
        "PUB_JOIN mallory",
        "PUB_LEFT alice",
        "DELETE alice",
        "SDP_OFFER ",
        "SDP_OFFER v=0",
    ] {
        assert_eq!(channels.answer(carol, lie).await, "OK", "{lie:?}");
    }
    assert_eq!(house.get("/list/pub/r").await.body, "alice");
    assert_eq!(house.get("/list/sub/r").await.body, "carol");
    // Each ends itself, and nobody else.
    let text = "STOP alice".to_owned();
    channels
        .say
        .send(Event::Text {
            channel: ChannelLabel::Control,
            session: carol,
            text,
        })
        .unwrap();
    while channels.told.recv().await.unwrap() != (Command::CloseSession { session: carol }) {}
    assert_eq!(house.get("/list/sub/r").await.body, "");
    assert_eq!(house.get("/list/pub/r").await.body, "alice");
}
