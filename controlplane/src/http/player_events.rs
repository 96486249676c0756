//! WHEP's server-sent events: `/session/{key}/events`, where streams are opened, and `/session/{key}/events/{stream}`, where
//! they are read.

use std::collections::BTreeSet;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, Method, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::App;
use super::names_in_path::Path;
use super::player_layers;
use super::problem::Problem;
use super::sessions::{gone, is_type, unexpected};
use super::streams::HeldBy;
use crate::player_events::Reader;
use crate::rooms::{Action, PlayerEvent, Reply, SessionKey, StreamId, Topic};
use crate::signalling::Signalling;

/// The extension's name, for the `Link` of the answer to a POST.
pub const REL: &str = "urn:ietf:params:whep:ext:core:server-sent-events";

/// Streams that are read at once. A player needs one, and a connection for it.
pub const MAX_READING: usize = 10_000;
/// Bytes of a list of events.
const MAX_BODY: usize = 4 * 1024;
const JSON: &str = "application/json";
/// Sent when there was nothing else for a while: a comment, which browsers pass over.
const HEARTBEAT: Bytes = Bytes::from_static(b":\n\n");

/// `/session/{key}/events`. POST opens a stream of the events that its body lists, or of all without a body. Players that
/// know nothing of POST read here: GET is a stream of all, as long as it is read.
pub async fn endpoint(
    State(app): State<App>,
    Path(key): Path<String>,
    held: HeldBy,
    request: Request<Body>,
) -> Response {
    const ALLOW: &str = "GET, POST, OPTIONS";
    let method = request.method().clone();
    if method == Method::OPTIONS {
        let accept = (HeaderName::from_static("accept-post"), JSON);
        return (StatusCode::OK, [(header::ALLOW, ALLOW), accept]).into_response();
    }
    if method != Method::POST && method != Method::GET {
        return Problem::method(ALLOW).into_response();
    }
    let Some(key) = SessionKey::parse(&key) else {
        return gone().into_response();
    };
    let answer = match method {
        Method::POST => open(&app, key, request).await,
        _ => listen(&app, key, held).await,
    };
    answer.unwrap_or_else(IntoResponse::into_response)
}

/// `/session/{key}/events/{stream}`
pub async fn stream(
    State(app): State<App>,
    Path((key, stream)): Path<(String, String)>,
    held: HeldBy,
    request: Request<Body>,
) -> Response {
    const ALLOW: &str = "GET, DELETE, OPTIONS";
    let method = request.method();
    if *method == Method::OPTIONS {
        return (StatusCode::OK, [(header::ALLOW, ALLOW)]).into_response();
    }
    if *method != Method::GET && *method != Method::DELETE {
        return Problem::method(ALLOW).into_response();
    }
    let (Some(key), Some(stream)) = (SessionKey::parse(&key), StreamId::parse(&stream)) else {
        return no_stream().into_response();
    };
    let answer = match *method {
        Method::DELETE => close(&app, key, stream).await,
        _ => match app.signalling.player_events().read(key, stream) {
            Some(reader) => body(&app, held, reader, None),
            None => Err(no_stream()),
        },
    };
    answer.unwrap_or_else(IntoResponse::into_response)
}

fn no_stream() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "there is no such stream of events; it may have ended",
    )
}

async fn open(app: &App, key: SessionKey, request: Request<Body>) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, MAX_BODY).await.map_err(|_| {
        let detail = format!("a list of events has at most {MAX_BODY} bytes");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
    })?;
    if !body.is_empty() && !is_type(&parts.headers, JSON) {
        let detail = format!("Content-Type must be {JSON}");
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail).with(header::ACCEPT, JSON));
    }
    let stream = watch(app, key, topics(&body)?).await?;
    let location = format!("/session/{key}/events/{stream}");
    let no_body = [
        (header::LOCATION, location),
        (header::CONTENT_LENGTH, "0".to_owned()),
    ];
    Ok((StatusCode::CREATED, no_body).into_response())
}

/// What the body of a POST asks for; `None` for everything.
///
/// # Errors
/// 400: it is no list of names of events.
pub fn topics(body: &[u8]) -> Result<Option<BTreeSet<Topic>>, Problem> {
    if body.is_empty() {
        return Ok(None);
    }
    let bad = |detail: String| Problem::new(StatusCode::BAD_REQUEST, detail);
    let names: Vec<String> = serde_json::from_slice(body)
        .map_err(|error| bad(format!("a JSON array of names of events wanted: {error}")))?;
    let known = || Topic::ALL.map(Topic::name).join(", ");
    let topic = |name: &String| {
        Topic::parse(name).ok_or_else(|| bad(format!("there are no {name:?} events, but {}", known())))
    };
    names.iter().map(topic).collect::<Result<_, _>>().map(Some)
}

async fn watch(app: &App, key: SessionKey, topics: Option<BTreeSet<Topic>>) -> Result<StreamId, Problem> {
    let reply = app
        .signalling
        .request(|request| Action::Watch { request, key, topics })
        .await;
    match reply {
        Reply::Watching { stream } => Ok(stream),
        Reply::Refused(refused) => Err(refused.into()),
        other => Err(unexpected(&other)),
    }
}

async fn listen(app: &App, key: SessionKey, held: HeldBy) -> Result<Response, Problem> {
    let stream = watch(app, key, None).await?;
    let open = Open {
        signalling: app.signalling.clone(),
        key,
        stream,
    };
    let reader = app
        .signalling
        .player_events()
        .read(key, stream)
        .ok_or_else(no_stream)?;
    body(app, held, reader, Some(open))
}

/// A stream that ends when nobody reads it.
struct Open {
    signalling: Signalling,
    key: SessionKey,
    stream: StreamId,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.signalling.close_stream(self.key, self.stream);
    }
}

async fn close(app: &App, key: SessionKey, stream: StreamId) -> Result<Response, Problem> {
    let reply = app
        .signalling
        .request(|request| Action::Unwatch { request, key, stream })
        .await;
    match reply {
        Reply::Done => Ok(StatusCode::OK.into_response()),
        Reply::Refused(refused) => Err(refused.into()),
        other => Err(unexpected(&other)),
    }
}

fn body(app: &App, held: HeldBy, reader: Reader, open: Option<Open>) -> Result<Response, Problem> {
    let place = app.player_streams.open(held)?;
    let next = |(mut reader, open): (Reader, Option<Open>)| async move {
        let event = reader.next().await?;
        Some((write(&event), (reader, open)))
    };
    let feed = futures::stream::unfold((reader, open), next);
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/event-stream"),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // nginx keeps an answer back until it has much of it.
        (
            HeaderName::from_static("x-accel-buffering"),
            HeaderValue::from_static("no"),
        ),
    ];
    Ok((headers, place.body(Some(HEARTBEAT), feed)).into_response())
}

/// One event, its data on one line.
fn write(event: &PlayerEvent) -> Bytes {
    let data = match event {
        PlayerEvent::ViewerCount(viewers) => serde_json::json!({ "viewercount": viewers }),
        PlayerEvent::Layers(layers) => player_layers::json(layers),
        PlayerEvent::Active | PlayerEvent::Inactive | PlayerEvent::Reconnect => serde_json::json!({}),
    };
    format!("event: {}\ndata: {data}\n\n", event.topic().name()).into()
}
