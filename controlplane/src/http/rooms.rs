//! Rooms as JSON, and the action API: making a room, disconnecting those who are in one.

use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use weever_proto::{Kind, Role, SessionId};

use super::App;
use super::names_in_path::{Path, Query};
use super::private::{Answer, bad_request, done, room_name, stopped};
use super::problem::Problem;
use crate::cluster::questions::Asked;
use crate::names::{FullId, RoomName};
use crate::rooms::{Action, Reply, RoomDetail, RoomInfo, SessionInfo, TrackInfo};
use crate::signalling::Signalling;
use crate::timestamps::rfc3339;

/// Rooms, or subscribers of one room, in an answer.
const LIMIT: usize = 1000;
/// More are not given, whoever asks.
const MAX_LIMIT: usize = 10_000;

/// Whatever begins with `/rooms`.
pub fn routes() -> Router<App> {
    Router::new()
        .route("/rooms", get(list))
        .route("/rooms/{room}", get(one).post(create).delete(disconnect_all))
        .route("/rooms/{room}/{role}/{id}", delete(disconnect_one))
}

#[derive(Serialize)]
struct RoomJson {
    room: String,
    /// Whether it stays when it is empty.
    created: bool,
    since: Option<String>,
    seconds: u64,
    publisher_count: usize,
    subscriber_count: usize,
    live_tracks: usize,
    bits_per_second: u64,
}

#[derive(Serialize)]
struct DetailJson {
    #[serde(flatten)]
    room: RoomJson,
    publishers: Vec<SessionJson>,
    subscribers: Vec<SessionJson>,
}

#[derive(Serialize)]
struct SessionJson {
    session: String,
    role: &'static str,
    id: String,
    full_id: String,
    connected: bool,
    silent: bool,
    since: String,
    seconds: u64,
    node: String,
    shard: String,
    worker: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    tracks: Option<Vec<TrackJson>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    receives: Option<usize>,
}

#[derive(Serialize)]
struct TrackJson {
    track: String,
    kind: &'static str,
    codec: String,
    live: bool,
    /// `None` until its data plane has reported twice.
    bits_per_second: Option<u64>,
    packets_per_second: Option<u64>,
    packets: u64,
    bytes: u64,
    lost: u64,
    keyframes: u64,
    viewers: u32,
}

/// `pub` or `sub`, as in paths.
pub(crate) fn role_word(role: Role) -> &'static str {
    match role {
        Role::Publisher => "pub",
        Role::Subscriber => "sub",
    }
}

/// `audio` or `video`.
pub(crate) fn kind_word(kind: Kind) -> &'static str {
    match kind {
        Kind::Audio => "audio",
        Kind::Video => "video",
    }
}

fn since(age: Duration) -> String {
    let now = SystemTime::now();
    rfc3339(now.checked_sub(age).unwrap_or(now))
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn whole(rate: f64) -> u64 {
    // Neither negative nor near the end of what is whole.
    rate.round() as u64
}

fn room_json(info: RoomInfo) -> RoomJson {
    RoomJson {
        room: info.room.into(),
        created: info.created,
        since: info.age.map(since),
        seconds: info.age.unwrap_or_default().as_secs(),
        publisher_count: info.publishers,
        subscriber_count: info.subscribers,
        live_tracks: info.live_tracks,
        bits_per_second: whole(info.bits),
    }
}

fn session_json(node: &str, session: SessionInfo) -> SessionJson {
    let publishes = session.role == Role::Publisher;
    SessionJson {
        session: session.session.to_string(),
        role: role_word(session.role),
        id: session.id.base().to_owned(),
        full_id: session.id.into(),
        connected: session.connected,
        silent: session.silent,
        since: since(session.age),
        seconds: session.age.as_secs(),
        node: node.to_owned(),
        shard: session.shard,
        worker: session.worker,
        tracks: publishes.then(|| session.tracks.into_iter().map(track_json).collect()),
        receives: (!publishes).then_some(session.receives),
    }
}

fn track_json(track: TrackInfo) -> TrackJson {
    let rate = track.traffic.and_then(|traffic| traffic.rate);
    let total = track.traffic.map(|traffic| traffic.total);
    let count = |of: fn(weever_proto::TrackStats) -> u64| total.map_or(0, of);
    TrackJson {
        track: track.name.label,
        kind: kind_word(track.name.kind),
        codec: track.name.codec,
        live: track.live,
        bits_per_second: rate.map(|rate| whole(rate.bits)),
        packets_per_second: rate.map(|rate| whole(rate.packets)),
        packets: count(|total| total.packets),
        bytes: count(|total| total.bytes),
        lost: count(|total| total.lost),
        keyframes: count(|total| total.keyframes),
        viewers: total.map_or(0, |total| total.viewers),
    }
}

/// Of a list that may be long.
#[derive(Deserialize)]
struct Page {
    limit: Option<usize>,
    after: Option<String>,
    #[serde(default)]
    scope: Scope,
}

/// Of which nodes something is told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Scope {
    /// This one.
    #[default]
    Node,
    /// All. Without pages.
    Cluster,
}

impl Page {
    fn limit(&self) -> Result<usize, Problem> {
        match self.limit.unwrap_or(LIMIT) {
            limit if limit <= MAX_LIMIT => Ok(limit),
            more => Err(bad_request(format!(
                "limit={more}: at most {MAX_LIMIT} are given at once; Link names the rest"
            ))),
        }
    }
}

/// With `Link: <...>; rel="next"` (RFC 8288) when there is more.
fn page(json: impl Serialize, next: Option<String>) -> Response {
    let mut response = axum::Json(json).into_response();
    let next = next.and_then(|next| format!("<{next}>; rel=\"next\"").parse().ok());
    if let Some(next) = next {
        response.headers_mut().insert(header::LINK, next);
    }
    response
}

/// A name in a URL. What names may hold and URLs may not, is written as `%XX` (RFC 3986 §2.1).
fn escaped(name: &str) -> String {
    let one = |byte: u8| match byte.is_ascii_alphanumeric() || b"-_~".contains(&byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    name.bytes().map(one).collect()
}

/// What another node is told of the rooms here.
pub(crate) async fn as_json(signalling: &Signalling, limit: usize) -> Option<Value> {
    let found = signalling.ask(move |rooms| rooms.rooms(Instant::now(), None, limit));
    let rooms: Vec<RoomJson> = found.await.ok()?.into_iter().map(room_json).collect();
    serde_json::to_value(rooms).ok()
}

/// What another node is told of one of them. `null`: there is none.
pub(crate) async fn one_as_json(signalling: &Signalling, room: RoomName, node: &str) -> Option<Value> {
    let found = signalling.ask(move |rooms| rooms.room(Instant::now(), &room, None, LIMIT));
    let detail = found.await.ok()?.map(|found| detail_json(found, node));
    serde_json::to_value(detail).ok()
}

/// Rooms of all nodes, each with the name of its node: a room that is on several is there several times.
async fn everywhere(app: &App) -> Answer {
    let own = as_json(&app.signalling, LIMIT).await.unwrap_or_default();
    let all = of_all(app, own, &Asked::Rooms).await;
    let named = |(node, rooms): (String, Value)| {
        let Value::Array(rooms) = rooms else {
            return Vec::new();
        };
        let with_node = |mut room: Value| {
            if let Value::Object(room) = &mut room {
                room.insert("node".into(), node.clone().into());
            }
            room
        };
        rooms.into_iter().map(with_node).collect()
    };
    Ok(axum::Json(all.into_iter().flat_map(named).collect::<Vec<_>>()).into_response())
}

/// A room as it is on all nodes: sums, and everybody who is in.
async fn one_everywhere(app: &App, name: RoomName) -> Answer {
    let node = &app.config.pod_name;
    let own = one_as_json(&app.signalling, name.clone(), node)
        .await
        .unwrap_or_default();
    let all = of_all(app, own, &Asked::Room(name.clone())).await;
    let mut rooms = all.into_iter().filter_map(|(_, room)| match room {
        Value::Object(room) => Some(room),
        _ => None,
    });
    let mut whole = rooms.next().ok_or_else(|| no_room(&name))?;
    for room in rooms {
        for (key, other) in room {
            match (whole.get_mut(&key), other) {
                (Some(Value::Array(one)), Value::Array(other)) => one.extend(other),
                (Some(one @ Value::Number(_)), other) if key != "seconds" => {
                    let sum = one
                        .as_u64()
                        .unwrap_or(0)
                        .saturating_add(other.as_u64().unwrap_or(0));
                    *one = sum.into();
                }
                (Some(one @ Value::Number(_)), other) if other.as_u64() > one.as_u64() => *one = other,
                // Since when the earliest is in. Times are written so that they sort.
                (Some(one @ Value::String(_)), Value::String(other))
                    if key == "since" && one.as_str().is_some_and(|one| other.as_str() < one) =>
                {
                    *one = other.into();
                }
                (Some(one @ Value::Null), other) => *one = other,
                (Some(one @ Value::Bool(false)), other) => *one = other,
                _ => {}
            }
        }
    }
    Ok(axum::Json(whole).into_response())
}

/// What all nodes answer, this one first, with their names.
async fn of_all(app: &App, own: Value, asked: &Asked) -> Vec<(String, Value)> {
    let mut all = vec![(app.config.pod_name.clone(), own)];
    if let Some(cluster) = &app.cluster {
        let others = cluster.ask_all(asked).await;
        all.extend(others.into_iter().map(|(node, answer)| (node.0, answer)));
    }
    all
}

async fn list(State(app): State<App>, Query(asked): Query<Page>) -> Answer {
    if asked.scope == Scope::Cluster {
        return everywhere(&app).await;
    }
    let limit = asked.limit()?;
    let after = asked.after.map(room_name).transpose()?;
    let found = app
        .signalling
        .ask(move |rooms| rooms.rooms(Instant::now(), after.as_ref(), limit.saturating_add(1)))
        .await;
    let mut found = found.map_err(stopped)?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = |last: &RoomInfo| format!("/rooms?limit={limit}&after={}", escaped(last.room.as_str()));
    let next = found.last().filter(|_| more).map(next);
    Ok(page(found.into_iter().map(room_json).collect::<Vec<_>>(), next))
}

async fn one(State(app): State<App>, Path(room): Path<String>, Query(asked): Query<Page>) -> Answer {
    let (name, limit) = (room_name(room)?, asked.limit()?);
    if asked.scope == Scope::Cluster {
        return one_everywhere(&app, name).await;
    }
    let after = match &asked.after {
        None => None,
        Some(text) => Some(session_id(text).ok_or_else(|| {
            bad_request(format!(
                "after={text}: a session is wanted, such as s-0123456789abcdef"
            ))
        })?),
    };
    let room = name.clone();
    let found = app
        .signalling
        .ask(move |rooms| rooms.room(Instant::now(), &room, after, limit))
        .await;
    let Some(found) = found.map_err(stopped)? else {
        return Err(no_room(&name));
    };
    let next = |last: &SessionInfo| {
        let name = escaped(name.as_str());
        format!("/rooms/{name}?limit={limit}&after={}", last.session)
    };
    let next = found.subscribers.last().filter(|_| found.more).map(next);
    Ok(page(detail_json(found, &app.config.pod_name), next))
}

fn detail_json(found: RoomDetail, node: &str) -> DetailJson {
    let sessions = |all: Vec<SessionInfo>| all.into_iter().map(|one| session_json(node, one)).collect();
    DetailJson {
        room: room_json(found.info),
        publishers: sessions(found.publishers),
        subscribers: sessions(found.subscribers),
    }
}

fn no_room(name: &RoomName) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("there is no room {name}"))
}

/// Reads what [`SessionId`]'s `Display` writes.
pub(crate) fn session_id(text: &str) -> Option<SessionId> {
    let digits = text.strip_prefix("s-").filter(|digits| digits.len() == 16)?;
    let id = SessionId(u64::from_str_radix(digits, 16).ok()?);
    (id.to_string() == text).then_some(id)
}

async fn create(State(app): State<App>, Path(room): Path<String>) -> Answer {
    let room = room_name(room)?;
    if let Some(cluster) = &app.cluster
        && !cluster.create_room(&room).await
    {
        let detail = format!("the room {room} exists already");
        return Err(Problem::new(StatusCode::CONFLICT, detail));
    }
    let reply = app
        .signalling
        .request(|request| Action::CreateRoom { request, room })
        .await;
    done(reply, StatusCode::CREATED)
}

async fn disconnect_all(State(app): State<App>, Path(room): Path<String>) -> Answer {
    let room = room_name(room)?;
    if let Some(cluster) = &app.cluster {
        cluster.delete_room(&room).await;
    }
    disconnect(&app, room, None).await
}

/// Here and at all other nodes: one that has done it is enough.
async fn disconnect(app: &App, room: RoomName, who: Option<(Role, FullId)>) -> Answer {
    let asked = Asked::Disconnect {
        room: room.clone(),
        who: who.clone().map(|(role, id)| (role == Role::Publisher, id)),
    };
    let is_one = who.is_some();
    let reply = app
        .signalling
        .request(|request| Action::Disconnect { request, room, who })
        .await;
    let is_done = matches!(reply, Reply::Done);
    if let Some(cluster) = &app.cluster
        && !(is_one && is_done)
    {
        let answers = cluster.ask_all(&asked).await;
        if !is_done && answers.iter().any(|(_, answer)| *answer == Value::Bool(true)) {
            return done(Reply::Done, StatusCode::OK);
        }
    }
    done(reply, StatusCode::OK)
}

async fn disconnect_one(
    State(app): State<App>,
    Path((room, role, id)): Path<(String, String, String)>,
) -> Answer {
    let room = room_name(room)?;
    let id = FullId::new(id).map_err(|error| bad_request(error.to_string()))?;
    let role = match role.as_str() {
        "pub" => Role::Publisher,
        "sub" => Role::Subscriber,
        other => return Err(bad_request(format!("{other:?} is neither pub nor sub"))),
    };
    disconnect(&app, room, Some((role, id))).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_ids_are_read_as_they_are_written() {
        let id = SessionId(0x0123_4567_89ab_cdef);
        assert_eq!(session_id(&id.to_string()), Some(id));
        for bad in [
            "",
            "s-",
            "s-1",
            "0123456789abcdef",
            "s-0123456789ABCDEF",
            "s-+123456789abcdef",
        ] {
            assert_eq!(session_id(bad), None, "{bad}");
        }
    }

    #[test]
    fn names_are_escaped_where_urls_want_it() {
        assert_eq!(escaped("a-b_~+%?&="), "a-b_~%2B%25%3F%26%3D");
    }
}
