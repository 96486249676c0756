//! `/openapi.json` against the server: every documented operation is called, and what is answered is what is documented.

use std::collections::BTreeSet;
use std::time::Duration;

use jsonschema::Validator;
use serde_json::{Value, json};
use weever_controlplane::events::Events;
use weever_controlplane::names::{FullId, RoomName};
use weever_controlplane::rooms::{Notice, TrackName, Who};
use weever_proto::{Kind, Role, SessionId};

use crate::house::{House, OFFER, Response, request};

const SDP: (&str, &str) = ("content-type", "application/sdp");
const FRAGMENT: (&str, &str) = ("content-type", "application/trickle-ice-sdpfrag");
const JSON: (&str, &str) = ("content-type", "application/json");
const TOKEN: &str = r#"{"room":"r","id":"alice","token":"t"}"#;

struct Document(Value);

impl Document {
    async fn of(house: &House) -> Self {
        Self(serde_json::from_str(&house.get("/openapi.json").await.body).unwrap())
    }

    fn validator(&self, schema: &Value) -> Validator {
        let mut whole = schema.clone();
        whole["components"] = self.0["components"].clone();
        jsonschema::draft202012::new(&whole).unwrap()
    }

    fn resolved<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            Some(path) => self
                .0
                .pointer(path.trim_start_matches('#'))
                .unwrap_or_else(|| panic!("{path}")),
            None => value,
        }
    }

    fn operations(&self) -> BTreeSet<(String, String)> {
        let methods = |(path, item): (&String, &Value)| {
            let named = |method: &String| method != "servers" && method != "parameters";
            let item = item.as_object().unwrap();
            item.keys()
                .filter(|key| named(key))
                .map(|method| (method.clone(), path.clone()))
                .collect::<Vec<_>>()
        };
        self.0["paths"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(methods)
            .collect()
    }

    /// The answer is one of those that are documented for the operation.
    fn check(&self, method: &str, path: &str, answer: &Response) {
        let call = format!("{method} {path}: {} {}", answer.status, answer.body);
        let operation = &self.0["paths"][path][method];
        let documented = self.resolved(&operation["responses"][answer.status.to_string()]);
        assert!(documented.is_object(), "not documented: {call}");
        for (name, header) in documented["headers"].as_object().into_iter().flatten() {
            let Some(value) = answer.header(&name.to_ascii_lowercase()) else {
                assert_eq!(name, "Link", "{name} is missing: {call}");
                continue;
            };
            let value = value
                .parse::<u64>()
                .map_or_else(|_| json!(value), |number| json!(number));
            assert!(
                self.validator(&header["schema"]).is_valid(&value),
                "{name}: {value}: {call}"
            );
        }
        let Some(content) = documented["content"].as_object() else {
            return assert_eq!(answer.body, "", "{call}");
        };
        let kind = answer.header("content-type").unwrap_or_default();
        let kind = kind.split(';').next().unwrap();
        let schema = &content
            .get(kind)
            .unwrap_or_else(|| panic!("{kind} is not documented: {call}"))["schema"];
        // Lines of JSON are a text.
        let body = match kind.ends_with("json") && !kind.ends_with("ndjson") {
            true => serde_json::from_str(&answer.body).unwrap(),
            false => Value::from(answer.body.as_str()),
        };
        if let Err(error) = self.validator(schema).validate(&body) {
            panic!("{error}: {call}");
        }
    }
}

/// One call: the operation's method and path, the path that is called, headers and body, and the status wanted.
type Call<'a> = (&'a str, &'a str, &'a str, &'a [(&'a str, &'a str)], &'a str, u16);

const ROOM: &str = "/rooms/{room}";
const ONE: &str = "/rooms/{room}/{role}/{id}";
const PACKETS: &str = "/rooms/{room}/{role}/{id}/packets";
const PUB: &str = "/pub/{room}/{id}";
const SUB: &str = "/sub/{room}/{id}";

const CALLS: &[Call<'_>] = &[
    ("options", PUB, "/pub/r/alice", &[], "", 200),
    ("options", SUB, "/sub/r/bob", &[], "", 200),
    ("post", PUB, "/pub/r/alice", &[SDP], OFFER, 201),
    ("post", SUB, "/sub/r/bob", &[SDP], OFFER, 201),
    ("post", SUB, "/sub/r/carol?from=alice", &[SDP], OFFER, 201),
    ("post", PUB, "/pub/r/alice", &[SDP], OFFER, 409),
    ("post", PUB, "/pub/r/a%20b", &[SDP], OFFER, 400),
    ("post", PUB, "/pub/r/dave", &[SDP], "v=0", 400),
    ("post", PUB, "/pub/r/dave", &[], OFFER, 415),
    ("get", "/list/pub/{room}", "/list/pub/r", &[], "", 200),
    (
        "get",
        "/list/sub/{room}",
        "/list/sub/r",
        &[("accept", "application/json")],
        "",
        200,
    ),
    ("get", "/list/sub/{room}", "/list/sub/a%20b", &[], "", 400),
    ("post", "/create/pub", "/create/pub", &[JSON], TOKEN, 200),
    ("post", "/create/sub", "/create/sub", &[JSON], TOKEN, 200),
    ("post", "/create/sub", "/create/sub", &[JSON], "{}", 400),
    ("get", "/rooms", "/rooms", &[], "", 200),
    ("get", "/rooms", "/rooms?limit=0", &[], "", 200),
    ("get", "/rooms", "/rooms?limit=10001", &[], "", 400),
    ("get", "/rooms", "/rooms?limit=-1", &[], "", 400),
    ("get", "/rooms", "/rooms?after=a%20b", &[], "", 400),
    (
        "get",
        "/rooms",
        "/rooms",
        &[("origin", "http://evil.example")],
        "",
        403,
    ),
    ("get", ROOM, "/rooms/r", &[], "", 200),
    ("get", ROOM, "/rooms/r?limit=1", &[], "", 200),
    ("get", ROOM, "/rooms/r?after=bob", &[], "", 400),
    ("get", ROOM, "/rooms/nobody", &[], "", 404),
    ("post", ROOM, "/rooms/made", &[], "", 201),
    ("post", ROOM, "/rooms/made", &[], "", 409),
    ("get", ROOM, "/rooms/made", &[], "", 200),
    ("get", PACKETS, "/rooms/r/pub/alice/packets", &[], "", 426),
    (
        "get",
        PACKETS,
        "/rooms/r/pub/alice/packets?format=json&seconds=1",
        &[],
        "",
        200,
    ),
    (
        "get",
        PACKETS,
        "/rooms/r/pub/alice/packets?format=pcapng&seconds=0",
        &[],
        "",
        400,
    ),
    (
        "get",
        PACKETS,
        "/rooms/r/pub/nobody/packets?format=pcapng",
        &[],
        "",
        404,
    ),
    ("delete", ONE, "/rooms/r/sub/carol", &[], "", 200),
    ("delete", ONE, "/rooms/r/sub/carol", &[], "", 404),
    ("delete", ONE, "/rooms/r/chef/carol", &[], "", 400),
    ("delete", ROOM, "/rooms/r", &[], "", 200),
    ("delete", ROOM, "/rooms/r", &[], "", 404),
    ("get", "/events", "/events", &[], "", 426),
    ("get", "/events", "/events?room=a%20b", &[], "", 400),
    ("get", "/shards", "/shards", &[], "", 200),
    ("get", "/liveness", "/liveness", &[], "", 200),
    ("get", "/readiness", "/readiness", &[], "", 200),
    (
        "post",
        "/shards/{name}/drain",
        "/shards/nobody/drain",
        &[],
        "",
        404,
    ),
    (
        "post",
        "/shards/{name}/drain",
        "/shards/played/drain",
        &[],
        "",
        200,
    ),
    ("get", "/readiness", "/readiness", &[], "", 503),
    ("post", PUB, "/pub/r/dave", &[SDP], OFFER, 503),
    ("get", "/metrics", "/metrics", &[], "", 200),
    ("get", "/openapi.json", "/openapi.json", &[], "", 200),
];

/// Names and values.
type Headers = [(&'static str, &'static str)];

/// Calls on a session's own URL, which is made up as it is joined.
const SESSION_CALLS: &[(&str, &Headers, &str, u16)] = &[
    ("get", &[], "", 200),
    ("options", &[], "", 200),
    (
        "patch",
        &[FRAGMENT],
        "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n",
        204,
    ),
    (
        "patch",
        &[FRAGMENT, ("if-match", "*")],
        "a=ice-ufrag:neww\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui2\r\n",
        200,
    ),
    (
        "patch",
        &[FRAGMENT, ("if-match", "\"old\"")],
        "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n",
        412,
    ),
    (
        "patch",
        &[FRAGMENT],
        "a=ice-ufrag:else\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n",
        428,
    ),
    ("patch", &[], "a=ice-ufrag:EsAw\r\n", 415),
    ("delete", &[], "", 200),
    ("delete", &[], "", 404),
    ("get", &[], "", 404),
];

/// A player's m-line for pictures, behind [`OFFER`].
const PICTURE: &str = "m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=mid:1\r\na=recvonly\r\n\
    a=rtcp-mux\r\na=rtpmap:96 VP8/90000\r\n";

/// Calls below a player's URL. Streams that go on are read in `tests/conformance`.
const PLAYER_CALLS: &[(&str, &str, &Headers, &str, u16)] = &[
    ("options", "events", &[], "", 200),
    ("post", "events", &[JSON], "[\"active\"]", 201),
    ("post", "events", &[JSON], "[\"ads\"]", 400),
    ("post", "events", &[], "[]", 415),
    ("options", "events/{stream}", &[], "", 200),
    ("get", "events/{stream}", &[], "", 404),
    ("delete", "events/{stream}", &[], "", 404),
    ("options", "layer", &[], "", 200),
    ("get", "layer", &[], "", 200),
    ("post", "layer", &[JSON], "{}", 200),
    ("post", "layer", &[JSON], "{\"rid\":\"hd\"}", 422),
    ("delete", "layer", &[], "", 200),
];

#[tokio::test]
async fn every_documented_operation_answers_as_documented() {
    let house = House::with(&["--stun=stun.example:3478"]).await;
    let document = Document::of(&house).await;
    let mut called = BTreeSet::new();
    let session = house
        .join("/pub/other/eve", OFFER)
        .await
        .header("location")
        .unwrap()
        .to_owned();
    for (method, headers, body, status) in SESSION_CALLS {
        let answer = house
            .public(&method.to_uppercase(), &session, headers, body)
            .await;
        assert_eq!(answer.status, *status, "{method} {session}: {}", answer.body);
        document.check(method, "/session/{key}", &answer);
        called.insert(((*method).to_owned(), "/session/{key}".to_owned()));
    }
    let offer = OFFER.replace("BUNDLE 0", "BUNDLE 0 1") + PICTURE;
    let player = house.join("/sub/other/tv", &offer).await;
    let player = player.header("location").unwrap();
    for (method, below, headers, body, status) in PLAYER_CALLS {
        let at = format!("{player}/{}", below.replace("{stream}", "0000000000000000"));
        let answer = house.public(&method.to_uppercase(), &at, headers, body).await;
        assert_eq!(answer.status, *status, "{method} {at}: {}", answer.body);
        let path = format!("/session/{{key}}/{below}");
        document.check(method, &path, &answer);
        called.insert(((*method).to_owned(), path));
    }
    // Whoever is still in at the end is waited for.
    assert_eq!(house.public("DELETE", player, &[], "").await.status, 200);
    let ended = "/session/00000000000000000000000000000000/events";
    let answer = house.public("GET", ended, &[], "").await;
    document.check("get", "/session/{key}/events", &answer);
    called.insert(("get".to_owned(), "/session/{key}/events".to_owned()));
    for (method, path, real, headers, body, status) in CALLS {
        let is_public = document.0["paths"][path]["servers"].is_array();
        let at = if is_public {
            house.running.public
        } else {
            house.running.private
        };
        let answer = request(at, &method.to_uppercase(), real, headers, body).await;
        assert_eq!(answer.status, *status, "{method} {real}: {}", answer.body);
        document.check(method, path, &answer);
        called.insert(((*method).to_owned(), (*path).to_owned()));
    }
    // Last: it ends the process.
    let answer = house.get("/preStop").await;
    document.check("get", "/preStop", &answer);
    called.insert(("get".into(), "/preStop".into()));
    assert_eq!(called, document.operations());
}

#[tokio::test]
async fn each_path_takes_the_documented_methods_and_no_other() {
    let house = House::with(&[]).await;
    let document = Document::of(&house).await;
    for path in document.0["paths"].as_object().unwrap().keys() {
        let real = path
            .replace("{key}", "00000000000000000000000000000000")
            .replace("{role}", "pub")
            .replace(['{', '}'], "");
        let is_public = document.0["paths"][path]["servers"].is_array();
        let at = if is_public {
            house.running.public
        } else {
            house.running.private
        };
        let refused = request(at, "PUT", &real, &[], "").await;
        assert_eq!(refused.problem().0, 405, "{path}");
        let allowed: BTreeSet<String> = refused
            .header("allow")
            .unwrap()
            .split(',')
            .map(|method| method.trim().to_ascii_lowercase())
            .filter(|method| method != "head")
            .collect();
        let operations = document.operations();
        let documented: BTreeSet<String> = operations
            .into_iter()
            .filter(|(_, of)| of == path)
            .map(|(method, _)| method)
            .collect();
        assert_eq!(allowed, documented, "{path}");
    }
}

#[tokio::test]
async fn every_event_is_as_documented() {
    let house = House::empty(&[]).await;
    let document = Document::of(&house).await;
    let who = Who {
        session: SessionId(0xabc),
        room: RoomName::new("r").unwrap(),
        role: Role::Subscriber,
        id: FullId::new("alice+1").unwrap(),
    };
    let track = TrackName {
        label: "video0".into(),
        kind: Kind::Video,
        codec: "VP8".into(),
    };
    let (room, name, age) = (who.room.clone(), "one".to_owned(), Duration::from_secs(61));
    let connected = true;
    let notices = [
        Notice::Joined(who.clone()),
        Notice::Connected(who.clone()),
        Notice::Resumed {
            who: who.clone(),
            connected,
            age,
        },
        Notice::Lasting {
            who: who.clone(),
            connected,
            age,
        },
        Notice::Left {
            who: who.clone(),
            reason: "left",
            age,
        },
        Notice::TrackLive {
            who: who.clone(),
            track: track.clone(),
        },
        Notice::TrackGone { who, track },
        Notice::RoomOpened(room.clone()),
        Notice::RoomClosed(room),
        Notice::ShardReady {
            name: name.clone(),
            sessions: 1,
        },
        Notice::ShardDraining {
            name: name.clone(),
            sessions: 1,
        },
        Notice::ShardDrained { name: name.clone() },
        Notice::ShardLost { name, sessions: 1 },
    ];
    let events = Events::new(7, "here");
    notices.iter().for_each(|notice| events.publish(notice));
    let mut records = events.from_the_start().next().await.unwrap();
    let reset = events
        .from_now()
        .reset(weever_controlplane::events::event::ResetReason::Start);
    records.push(reset.into());
    let all: Vec<Value> = records
        .iter()
        .map(|one| serde_json::from_str(&one.json).unwrap())
        .collect();
    let validator = document.validator(&json!({"$ref": "#/components/schemas/Events"}));
    if let Err(error) = validator.validate(&json!({"events": all})) {
        panic!("{error}");
    }
    let documented = document.0["components"]["schemas"]["Event"]["oneOf"]
        .as_array()
        .unwrap()
        .len();
    assert_eq!(all.len(), documented, "each kind is here");
    assert!(
        !validator.is_valid(&json!({"events": [{"type": "reset"}]})),
        "the schema can say no"
    );
}
