//! Rooms as JSON, and the action API: making a room, disconnecting those who are in one.

use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use serde::{Deserialize, Serialize};
use weever_proto::{Kind, Role, SessionId};

use super::App;
use super::names_in_path::{Path, Query};
use super::private::{Answer, bad_request, done, room_name, stopped};
use super::problem::Problem;
use crate::names::{FullId, RoomName};
use crate::rooms::{Action, RoomInfo, SessionInfo, TrackInfo};
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

async fn list(State(app): State<App>, Query(asked): Query<Page>) -> Answer {
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
    let node = &app.config.pod_name;
    let sessions = |all: Vec<SessionInfo>| all.into_iter().map(|one| session_json(node, one)).collect();
    let json = DetailJson {
        room: room_json(found.info),
        publishers: sessions(found.publishers),
        subscribers: sessions(found.subscribers),
    };
    Ok(page(json, next))
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
    let reply = app
        .signalling
        .request(|request| Action::CreateRoom { request, room })
        .await;
    done(reply, StatusCode::CREATED)
}

async fn disconnect_all(State(app): State<App>, Path(room): Path<String>) -> Answer {
    let room = room_name(room)?;
    let reply = app
        .signalling
        .request(|request| Action::Disconnect {
            request,
            room,
            who: None,
        })
        .await;
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
    let who = Some((role, id));
    let reply = app
        .signalling
        .request(|request| Action::Disconnect { request, room, who })
        .await;
    done(reply, StatusCode::OK)
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
