//! The operator's side: tokens, lists, data planes, probes, metrics. Rooms are in [`super::rooms`].

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use serde::{Deserialize, Serialize};
use weever_proto::Role;

use super::App;
use super::names_in_path::Path;
use super::problem::{Problem, directory_away};
use super::sessions::unexpected;
use crate::cluster::questions::Asked;
use crate::directory::tokens::MAX_TOKEN;
use crate::names::{FullId, RoomName};
use crate::rooms::{Action, Reply, ShardInfo, WorkerInfo};

/// Bytes of a JSON body.
const MAX_BODY: usize = 16 * 1024;
/// How often a drain looks whether everybody has left.
const DRAIN_LOOK: Duration = Duration::from_millis(200);
/// How long a drain waits for a data plane that may hold sessions: after its start a control plane knows of none yet.
const DIALLING: Duration = Duration::from_secs(5);

/// `/create` and `/list`: also public with `--debug`.
pub fn tokens_and_lists() -> Router<App> {
    Router::new()
        .route("/create/pub", post(create_pub))
        .route("/create/sub", post(create_sub))
        .route("/list/pub/{room}", get(list_pub))
        .route("/list/sub/{room}", get(list_sub))
}

/// Everything else.
pub fn operations() -> Router<App> {
    let no_head = || any(|| async { Problem::method("GET") });
    Router::new()
        .route("/liveness", get(|| async { "OK" }))
        .route("/readiness", get(readiness))
        // HEAD must not end the process.
        .route("/preStop", no_head().get(pre_stop).head(|| async { Problem::method("GET") }))
        .route("/metrics", get(metrics))
        .route("/shards", get(shards))
        .route("/shards/{name}/drain", post(drain_shard))
}

pub(super) type Answer = Result<Response, Problem>;

pub(super) fn bad_request(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail)
}

pub(super) fn room_name(name: String) -> Result<RoomName, Problem> {
    RoomName::new(name).map_err(|error| bad_request(error.to_string()))
}

/// Body of `/create/*`.
#[derive(Deserialize)]
struct Create {
    room: String,
    id: String,
    token: String,
}

async fn create_pub(State(app): State<App>, request: Request<Body>) -> Answer {
    create(&app, Role::Publisher, request).await
}

async fn create_sub(State(app): State<App>, request: Request<Body>) -> Answer {
    create(&app, Role::Subscriber, request).await
}

async fn create(app: &App, role: Role, request: Request<Body>) -> Answer {
    let body = to_bytes(request.into_body(), MAX_BODY)
        .await
        .map_err(|_| Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("at most {MAX_BODY} bytes")))?;
    let create: Create = serde_json::from_slice(&body)
        .map_err(|error| bad_request(format!("JSON {{\"room\", \"id\", \"token\"}} wanted: {error}")))?;
    let room = room_name(create.room)?;
    let id = FullId::new(create.id).map_err(|error| bad_request(error.to_string()))?;
    if create.token.is_empty() || create.token.len() > MAX_TOKEN {
        return Err(bad_request(format!("a token has 1 to {MAX_TOKEN} bytes")));
    }
    if let Some(bad) = create.token.bytes().position(|c| !c.is_ascii_graphic()) {
        let detail = format!("a token is printable ASCII without spaces, this one is not at byte {bad}");
        return Err(bad_request(detail));
    }
    let set = app.auth.set(role, &room, &id, create.token).await;
    set.map_err(|error| directory_away(error.to_string()))?;
    Ok(if role == Role::Publisher {
        "pub set"
    } else {
        "sub set"
    }
    .into_response())
}

async fn list_pub(State(app): State<App>, Path(room): Path<String>, headers: HeaderMap) -> Answer {
    list(&app, Role::Publisher, room, &headers).await
}

async fn list_sub(State(app): State<App>, Path(room): Path<String>, headers: HeaderMap) -> Answer {
    list(&app, Role::Subscriber, room, &headers).await
}

async fn list(app: &App, role: Role, room: String, headers: &HeaderMap) -> Answer {
    let room = room_name(room)?;
    let asked = Asked::List {
        publishers: role == Role::Publisher,
        room: room.clone(),
    };
    let ids = app
        .signalling
        .ask(move |rooms| rooms.list(role, &room))
        .await
        .map_err(stopped)?;
    let mut ids: Vec<String> = ids.into_iter().map(Into::into).collect();
    if let Some(cluster) = &app.cluster {
        for (_, answer) in cluster.ask_all(&asked).await {
            let others: Vec<FullId> = serde_json::from_value(answer).unwrap_or_default();
            ids.extend(others.into_iter().map(Into::into));
        }
    }
    let json = headers
        .get(header::ACCEPT)
        .and_then(|v| v.to_str().ok())
        .is_some_and(|v| v.contains("json"));
    Ok(if json {
        axum::Json(ids).into_response()
    } else {
        ids.join(",").into_response()
    })
}

#[allow(clippy::needless_pass_by_value)]
pub(super) fn stopped(error: crate::signalling::Stopped) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()).with(header::RETRY_AFTER, "1")
}

async fn readiness(State(app): State<App>) -> Response {
    match app.signalling.ask(crate::rooms::Rooms::is_ready).await {
        Ok(true) => "OK".into_response(),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "BUSY").into_response(),
    }
}

/// Refuses who comes, waits for those who are in, then lets the process end. It does so even when who asked has gone.
async fn pre_stop(State(app): State<App>) -> Answer {
    app.signalling.act(Action::Drain).await.map_err(stopped)?;
    tracing::info!(timeout = ?app.config.drain_timeout, "draining");
    let drained = tokio::spawn(drain(app));
    // It neither panics nor is cancelled, save by the end of the process.
    let _ = drained.await;
    Ok("OK".into_response())
}

async fn drain(app: App) {
    let begin = Instant::now();
    while begin.elapsed() < app.config.drain_timeout {
        let left = app
            .signalling
            .ask(|rooms| (rooms.session_count(), rooms.knows_who_is_there()));
        match left.await {
            Ok((0, knows)) if knows || begin.elapsed() >= DIALLING => break,
            Ok(_) => tokio::time::sleep(DRAIN_LOOK).await,
            Err(_) => break,
        }
    }
    app.stop.send_replace(true);
}

async fn metrics(State(app): State<App>) -> Answer {
    let census = app
        .signalling
        .ask(crate::rooms::Rooms::census)
        .await
        .map_err(stopped)?;
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    Ok((kind, app.metrics.render(&census)).into_response())
}

#[derive(Serialize)]
struct ShardJson {
    name: String,
    software: String,
    ready: bool,
    draining: bool,
    workers: Vec<WorkerJson>,
}

#[derive(Serialize)]
struct WorkerJson {
    worker: u16,
    sessions: usize,
    /// Of its core, 0 to 1.
    load: f64,
    candidates: Vec<SocketAddr>,
}

fn shard_json(shard: ShardInfo) -> ShardJson {
    let worker = |worker: WorkerInfo| WorkerJson {
        worker: worker.worker,
        sessions: worker.sessions,
        load: f64::from(worker.load_permille) / 1000.0,
        candidates: worker.candidates,
    };
    ShardJson {
        name: shard.name,
        software: shard.software,
        ready: shard.ready,
        draining: shard.draining,
        workers: shard.workers.into_iter().map(worker).collect(),
    }
}

async fn shards(State(app): State<App>) -> Answer {
    let shards = app
        .signalling
        .ask(crate::rooms::Rooms::shards)
        .await
        .map_err(stopped)?;
    Ok(axum::Json(shards.into_iter().map(shard_json).collect::<Vec<_>>()).into_response())
}

async fn drain_shard(State(app): State<App>, Path(name): Path<String>) -> Answer {
    let reply = app
        .signalling
        .request(|request| Action::DrainShard { request, name })
        .await;
    done(reply, StatusCode::OK)
}

pub(super) fn done(reply: Reply, status: StatusCode) -> Answer {
    match reply {
        Reply::Done => Ok(status.into_response()),
        Reply::Refused(refused) => Err(refused.into()),
        other => Err(unexpected(&other)),
    }
}
