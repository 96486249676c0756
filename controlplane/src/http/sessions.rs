//! WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep): joining by POST, and the session's own URL.

use std::net::IpAddr;
use std::time::Instant;

use axum::body::Body;
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use serde::Deserialize;
use weever_proto::Role;

use super::limits::HeldBody;
use super::names_in_path::{Path, Query};
use super::problem::Problem;
use super::{App, Peer, player_events, player_layers};
use crate::auth::{Asking, Denied};
use crate::cluster::{Claimed, Held};
use crate::directory::Name;
use crate::names::{FullId, RoomName};
use crate::rooms::{Action, Join, Limits, NodeName, Posted, Refused, Reply, SessionKey, Topic};
use crate::sdp::{Description, Fragment, MAX_SDP, SdpError};
use crate::traceparent::TraceParent;

const SDP: &str = "application/sdp";
/// What is read of a body that is too large, so that its sender gets to see the answer.
const MAX_DISCARDED: usize = 4 * MAX_SDP;
const FRAGMENT: &str = "application/trickle-ice-sdpfrag";

/// What the query of a POST may say.
#[derive(Debug, Deserialize)]
pub struct JoinQuery {
    from: Option<String>,
    /// Another node sent it here.
    #[serde(default)]
    redirected: bool,
}

type Names = Path<(String, String)>;
type Joining = Query<JoinQuery>;

/// `/pub/{room}/{id}`
pub async fn publish(
    State(app): State<App>,
    peer: Peer,
    names: Names,
    query: Joining,
    request: Request<Body>,
) -> Response {
    endpoint(app, Role::Publisher, peer, names, query, request).await
}

/// `/sub/{room}/{id}`
pub async fn subscribe(
    State(app): State<App>,
    peer: Peer,
    names: Names,
    query: Joining,
    request: Request<Body>,
) -> Response {
    endpoint(app, Role::Subscriber, peer, names, query, request).await
}

async fn endpoint(
    app: App,
    role: Role,
    peer: Peer,
    Path((room, id)): Names,
    Query(query): Joining,
    request: Request<Body>,
) -> Response {
    match *request.method() {
        Method::POST => {
            let (parts, mut body) = request.into_parts();
            match join(&app, role, peer, (room, id), query, &parts, &mut body).await {
                Ok(response) => response,
                Err(problem) => {
                    discard(body).await;
                    problem.into_response()
                }
            }
        }
        Method::OPTIONS => {
            let mut headers = HeaderMap::new();
            headers.insert("accept-post", HeaderValue::from_static(SDP));
            headers.insert(header::ALLOW, HeaderValue::from_static("POST, OPTIONS"));
            // A preflight asks what a page may do, not how to connect.
            if !request
                .headers()
                .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
            {
                add_ice_servers(&app, &mut headers);
            }
            (StatusCode::OK, headers).into_response()
        }
        _ => Problem::method("POST, OPTIONS").into_response(),
    }
}

async fn join(
    app: &App,
    role: Role,
    peer: Peer,
    (room, id): (String, String),
    query: JoinQuery,
    parts: &Parts,
    body: &mut Body,
) -> Result<Response, Problem> {
    let headers = &parts.headers;
    let posted = Posted {
        at: Instant::now(),
        parent: headers
            .get("traceparent")
            .and_then(|value| TraceParent::parse(value.to_str().ok()?)),
    };
    let bad = |error: crate::names::NameError| Problem::new(StatusCode::BAD_REQUEST, error.to_string());
    let room = RoomName::new(room).map_err(bad)?;
    let id = FullId::new(id).map_err(bad)?;
    if !app.joins.admits(peer.counted()) {
        return Err(Problem::too_many(
            "too many joins from this address",
            app.joins.retry_after(),
        ));
    }
    if !is_type(headers, SDP) {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("Content-Type must be {SDP}"),
        )
        .with(header::ACCEPT, SDP));
    }
    let asking = Asking {
        role,
        room: &room,
        id: &id,
        address: peer.0,
        user_agent: headers
            .get(header::USER_AGENT)
            .and_then(|value| value.to_str().ok()),
        token: bearer(headers),
    };
    let limits = authorise(app, peer, asking).await?;
    let mut held = app.bodies.begin(peer.counted());
    let body = read(headers, body, &mut held).await?;
    let offer = parse(body).await?;
    drop(held);
    learn_room(app, &room).await;
    let held = claim(app, role, &room, &id).await?;
    let claim = held.as_ref().map_or(0, |held| held.nonce);
    let redirected = query.redirected;
    let reply = app
        .signalling
        .request(|request| {
            Action::Join(Box::new(Join {
                request,
                role,
                room,
                id,
                offer,
                from: query.from,
                redirected,
                claim,
                limits,
                posted,
            }))
        })
        .await;
    match reply {
        Reply::Created {
            answer,
            key,
            etag,
            topics,
        } => {
            confirm(app, role, held, key).await?;
            Ok(created(app, answer, key, &etag, topics))
        }
        Reply::Elsewhere { node } => Err(elsewhere(&node, &parts.uri)),
        Reply::Refused(refused) => match better_node(app, &refused, redirected) {
            Some(node) => Err(elsewhere(&node, &parts.uri)),
            None => Err(refused.into()),
        },
        other => Err(unexpected(&other)),
    }
}

/// With strict rooms: one that was made at another node is there here too.
async fn learn_room(app: &App, room: &RoomName) {
    let Some(cluster) = app.cluster.as_ref().filter(|_| app.config.strict_rooms) else {
        return;
    };
    let asked = room.clone();
    let is_known = app.signalling.ask(move |rooms| rooms.is_created(&asked)).await;
    if is_known == Ok(false) && cluster.has_room(room).await {
        let room = room.clone();
        // Two who come at once both make it.
        app.signalling
            .request(|request| Action::CreateRoom { request, room })
            .await;
    }
}

/// The name in the cluster, if there is one. It is given back when the claim is dropped.
async fn claim(app: &App, role: Role, room: &RoomName, id: &FullId) -> Result<Option<Held>, Problem> {
    let Some(cluster) = &app.cluster else {
        return Ok(None);
    };
    match cluster.claim(Name::new(role, room, id)).await {
        Claimed::Held(held) => Ok(Some(held)),
        Claimed::Taken(node) => Err(taken(role, &node)),
    }
}

async fn confirm(app: &App, role: Role, held: Option<Held>, key: SessionKey) -> Result<(), Problem> {
    let Some(held) = held else {
        return Ok(());
    };
    let Err(node) = held.confirm().await else {
        return Ok(());
    };
    app.signalling
        .request(|request| Action::Leave { request, key })
        .await;
    Err(taken(role, &node))
}

fn taken(role: Role, node: &NodeName) -> Problem {
    let role = match role {
        Role::Publisher => "publisher",
        Role::Subscriber => "subscriber",
    };
    let detail = format!("duplicate {role}: at the node {}", node.0);
    Problem::new(StatusCode::CONFLICT, detail)
}

/// Where somebody is sent who can't be taken here: once, and not if no node takes sessions.
fn better_node(app: &App, refused: &Refused, redirected: bool) -> Option<String> {
    let cluster = app.cluster.as_ref()?;
    (refused.status == 503 && !redirected).then(|| cluster.least_loaded())?
}

/// Who has guessed wrong too often is not heard for a while, with whatever token.
async fn authorise(app: &App, peer: Peer, asking: Asking<'_>) -> Result<Limits, Problem> {
    let address = peer.counted();
    if !app.failures.would_admit(address) {
        return Err(Problem::too_many(
            "too many bad tokens from this address",
            app.failures.retry_after(),
        ));
    }
    let decided = app.auth.admit(asking).await;
    if matches!(decided, Err(Denied::BadToken | Denied::Unauthorized(_))) {
        app.failures.admits(address);
    }
    Ok(decided?)
}

fn created(app: &App, answer: String, key: SessionKey, etag: &str, topics: &[Topic]) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(SDP));
    headers.insert("accept-patch", HeaderValue::from_static(FRAGMENT));
    for (name, value) in [
        (header::LOCATION, format!("/session/{key}")),
        (header::ETAG, etag.to_owned()),
    ] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    add_ice_servers(app, &mut headers);
    add_extensions(key, topics, &mut headers);
    (StatusCode::CREATED, headers, answer).into_response()
}

/// The node that takes who can't be taken here (RFC 9725 §4.5): the client repeats its POST there, under the same path. It says
/// that it was sent on, so that two full nodes don't send it to and fro.
fn elsewhere(node: &str, uri: &Uri) -> Problem {
    let query = uri.query().map_or_else(String::new, |query| format!("{query}&"));
    Problem::new(
        StatusCode::TEMPORARY_REDIRECT,
        "this node takes nobody now; the one that Location names does",
    )
    .with(
        header::LOCATION,
        format!("{node}{}?{query}redirected=true", uri.path()),
    )
}

/// One Link for each extension that the session has (draft-ietf-wish-whep §4.9).
fn add_extensions(key: SessionKey, topics: &[Topic], headers: &mut HeaderMap) {
    let mut links = Vec::new();
    if !topics.is_empty() {
        let events: Vec<&str> = topics.iter().map(|topic| topic.name()).collect();
        links.push(format!(
            "</session/{key}/events>; rel=\"{}\"; events=\"{}\"",
            player_events::REL,
            events.join(",")
        ));
    }
    if topics.contains(&Topic::Layers) {
        links.push(format!("</session/{key}/layer>; rel=\"{}\"", player_layers::REL));
    }
    for link in links {
        if let Ok(value) = HeaderValue::from_str(&link) {
            headers.append(header::LINK, value);
        }
    }
}

/// RFC 9725 §4.6: one Link for each STUN and TURN server.
fn add_ice_servers(app: &App, headers: &mut HeaderMap) {
    let quote = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    let (user, password) = (quote(&app.config.turn_username), quote(&app.config.turn_password));
    let stun = app
        .config
        .stun
        .iter()
        .map(|s| format!("<stun:{}>; rel=\"ice-server\"", s.0));
    let turn = app.config.turn.iter().map(|s| {
        format!(
            "<turn:{}>; rel=\"ice-server\"; username=\"{user}\"; credential=\"{password}\"; \
             credential-type=\"password\"",
            s.0
        )
    });
    for link in stun.chain(turn) {
        if let Ok(value) = HeaderValue::from_str(&link) {
            headers.append(header::LINK, value);
        }
    }
}

/// The media type, without its parameters (RFC 9110 §8.3.1).
pub(super) fn is_type(headers: &HeaderMap, wanted: &str) -> bool {
    let given = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    given.is_some_and(|given| {
        given
            .split(';')
            .next()
            .unwrap_or("")
            .trim()
            .eq_ignore_ascii_case(wanted)
    })
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?
        .split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

async fn read(headers: &HeaderMap, body: &mut Body, held: &mut HeldBody) -> Result<String, Problem> {
    let too_large = || {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body is larger than {MAX_SDP} bytes"),
        )
    };
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > MAX_SDP as u64) {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    let mut chunks = std::mem::take(body).into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk =
            chunk.map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "the body ended before its time"))?;
        if bytes.len() + chunk.len() > MAX_SDP {
            *body = Body::from_stream(chunks);
            return Err(too_large());
        }
        if !held.grow(chunk.len()) {
            let detail = "too much is being uploaded at once; try again in a moment";
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).with(header::RETRY_AFTER, "1"));
        }
        bytes.extend_from_slice(&chunk);
    }
    String::from_utf8(bytes).map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "bad SDP: it is not UTF-8"))
}

/// A connection that is closed with unread bytes loses the answer on its way.
async fn discard(body: Body) {
    let mut left = MAX_DISCARDED;
    let mut chunks = body.into_data_stream();
    while let Some(Ok(chunk)) = chunks.next().await {
        if chunk.len() > left {
            return;
        }
        left -= chunk.len();
    }
}

/// Large offers are read where they keep nobody waiting.
async fn parse(text: String) -> Result<Description, Problem> {
    const SMALL: usize = 32 * 1024;
    let parsed = if text.len() <= SMALL {
        Description::parse(&text)
    } else {
        let read = tokio::task::spawn_blocking(move || Description::parse(&text)).await;
        read.unwrap_or_else(|_| Err(SdpError::Malformed("it could not be read".into())))
    };
    parsed.map_err(|error| Refused::from(error).into())
}

/// Paths that look like an endpoint's and are none: a name is missing, or has a slash in it.
pub async fn misspelt(method: Method) -> Response {
    if method == Method::OPTIONS {
        return StatusCode::OK.into_response();
    }
    let detail =
        "the path is /pub/{room}/{id} or /sub/{room}/{id}; neither name may be empty or have a slash in it";
    Problem::new(StatusCode::BAD_REQUEST, detail).into_response()
}

/// `/session/{key}`
pub async fn session(
    State(app): State<App>,
    peer: Peer,
    Path(key): Path<String>,
    request: Request<Body>,
) -> Response {
    const ALLOW: &str = "GET, HEAD, PATCH, DELETE, OPTIONS";
    match *request.method() {
        Method::OPTIONS => (
            StatusCode::OK,
            [
                (header::ALLOW, ALLOW),
                (header::HeaderName::from_static("accept-patch"), FRAGMENT),
            ],
        )
            .into_response(),
        Method::GET | Method::HEAD | Method::DELETE | Method::PATCH => {
            let (parts, mut body) = request.into_parts();
            match act_on(
                &app,
                peer.counted(),
                &key,
                &parts.method,
                &parts.headers,
                &mut body,
            )
            .await
            {
                Ok(response) => response,
                Err(problem) => {
                    discard(body).await;
                    problem.into_response()
                }
            }
        }
        _ => Problem::method(ALLOW).into_response(),
    }
}

async fn act_on(
    app: &App,
    address: IpAddr,
    key: &str,
    method: &Method,
    headers: &HeaderMap,
    body: &mut Body,
) -> Result<Response, Problem> {
    // What can't be a key is refused like one that is none, or none any more: by the same looks, in the same order.
    let named = || SessionKey::parse(key).ok_or_else(gone);
    let reply = match *method {
        Method::DELETE => {
            let key = named()?;
            app.signalling
                .request(|request| Action::Leave { request, key })
                .await
        }
        Method::PATCH => {
            if !is_type(headers, FRAGMENT) {
                let detail = format!("Content-Type must be {FRAGMENT}");
                return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail)
                    .with(header::HeaderName::from_static("accept-patch"), FRAGMENT));
            }
            let tags: Vec<&str> = headers
                .get_all(header::IF_MATCH)
                .iter()
                .filter_map(|tags| tags.to_str().ok())
                .collect();
            let if_match = (!tags.is_empty()).then(|| tags.join(","));
            let mut held = app.bodies.begin(address);
            let fragment = Fragment::parse(&read(headers, body, &mut held).await?);
            drop(held);
            let key = named()?;
            app.signalling
                .request(|request| Action::Trickle {
                    request,
                    key,
                    if_match,
                    fragment,
                })
                .await
        }
        _ => {
            let key = named()?;
            app.signalling
                .request(|request| Action::Inspect { request, key })
                .await
        }
    };
    match reply {
        Reply::Done => Ok(StatusCode::OK.into_response()),
        Reply::Trickled => Ok(StatusCode::NO_CONTENT.into_response()),
        Reply::Restarted { fragment, etag } => Ok((
            StatusCode::OK,
            [(header::CONTENT_TYPE, FRAGMENT.to_owned()), (header::ETAG, etag)],
            fragment,
        )
            .into_response()),
        Reply::Found(status) => {
            Ok(([(header::CACHE_CONTROL, "no-store")], axum::Json(status)).into_response())
        }
        Reply::Refused(refused) => Err(refused.into()),
        other => Err(unexpected(&other)),
    }
}

pub(super) fn gone() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "there is no such session; it may have ended",
    )
}

pub(super) fn unexpected(reply: &Reply) -> Problem {
    tracing::error!(?reply, "a reply that fits no such request");
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "the server contradicted itself",
    )
}
