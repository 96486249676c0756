//! The packet window: `GET /rooms/{room}/{role}/{id}/packets`. Headers of a session's RTP and RTCP as they pass, never what
//! they carry: as JSON over a WebSocket or line by line, or as a capture file that Wireshark opens.

mod capture;
mod header;
mod json;
mod rtcp;
mod view;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header as name};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::{Stream, StreamExt};
use serde::Deserialize;
use weever_proto::Role;

use super::App;
use super::names_in_path::{Path, Query};
use super::private::{Answer, bad_request, room_name, stopped};
use super::problem::Problem;
use super::sessions::unexpected;
use super::streams::{HeldBy, OpenStream};
use super::websocket::{Push, Upgrade, code};
use crate::names::{FullId, RoomName};
use crate::rooms::{Action, Reply};
use view::{Told, View};

/// `seconds` is at most this.
const MAX_SECONDS: u64 = 3600;

/// The one resource.
pub fn routes() -> Router<App> {
    Router::new().route("/rooms/{room}/{role}/{id}/packets", get(packets))
}

/// What the query says.
#[derive(Debug, Default, Deserialize)]
struct Asked {
    format: Option<Format>,
    seconds: Option<u64>,
    packets: Option<u64>,
    direction: Option<Direction>,
    kind: Option<PacketKind>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    /// A line for each.
    Json,
    Pcapng,
}

/// Seen from the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Direction {
    In,
    Out,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum PacketKind {
    Rtp,
    Rtcp,
}

impl Asked {
    fn check(&self) -> Result<(), Problem> {
        if self
            .seconds
            .is_some_and(|seconds| !(1..=MAX_SECONDS).contains(&seconds))
        {
            return Err(bad_request(format!("seconds is 1 to {MAX_SECONDS}")));
        }
        if self.packets == Some(0) {
            return Err(bad_request("packets is at least 1"));
        }
        Ok(())
    }
}

/// Whose packets.
struct Whose {
    room: RoomName,
    role: Role,
    id: FullId,
}

impl Whose {
    fn role(&self) -> &'static str {
        match self.role {
            Role::Publisher => "pub",
            Role::Subscriber => "sub",
        }
    }
}

async fn packets(
    State(app): State<App>,
    Path((room, role, id)): Path<(String, String, String)>,
    Query(asked): Query<Asked>,
    held: HeldBy,
    upgrade: Result<Upgrade, Problem>,
) -> Answer {
    let whose = Whose {
        room: room_name(room)?,
        role: match role.as_str() {
            "pub" => Role::Publisher,
            "sub" => Role::Subscriber,
            other => return Err(bad_request(format!("{other:?} is neither pub nor sub"))),
        },
        id: FullId::new(id).map_err(|error| bad_request(error.to_string()))?,
    };
    asked.check()?;
    let upgrade = match asked.format {
        None => Some(upgrade?),
        Some(_) => None,
    };
    let (view, open) = open(&app, &whose, &asked, held).await?;
    Ok(match (asked.format, upgrade) {
        (Some(Format::Pcapng), _) => as_capture(&whose, view, open),
        (None, Some(upgrade)) => upgrade.push(open, as_messages(&whose, view)),
        (Some(Format::Json) | None, _) => as_lines(&whose, view, open),
    })
}

async fn open(app: &App, whose: &Whose, asked: &Asked, held: HeldBy) -> Result<(View, OpenStream), Problem> {
    let (room, role, id) = (whose.room.clone(), whose.role, whose.id.clone());
    // The names too: by the time the last packets are told, their publisher may have left.
    let found = app
        .signalling
        .ask(move |rooms| Some((rooms.find(&room, role, &id)?, rooms.tracks(&room))))
        .await;
    let Some((session, tracks)) = found.map_err(stopped)? else {
        let (room, role, id) = (&whose.room, whose.role(), &whose.id);
        let detail = format!("there is no {role} {id} in the room {room}; it takes the Full ID");
        return Err(Problem::new(StatusCode::NOT_FOUND, detail));
    };
    let open = app.streams.open(held)?;
    let window = app.signalling.windows().open(session).map_err(|full| {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, full.to_string()).with(name::RETRY_AFTER, "5")
    })?;
    let view = View::new(app.signalling.clone(), window, whose.room.clone(), tracks, asked);
    match app
        .signalling
        .request(|request| Action::WatchPackets { request, session })
        .await
    {
        Reply::Done => Ok((view, open)),
        Reply::Refused(refused) => Err(refused.into()),
        other => Err(unexpected(&other)),
    }
}

fn told(view: View) -> impl Stream<Item = Told> {
    futures::stream::unfold(view, async |mut view| Some((view.next().await?, view)))
}

fn as_messages(whose: &Whose, view: View) -> impl Stream<Item = Push> + use<> {
    let first = Push::Text(json::session(whose).into());
    let end = |reason: &str| [Push::Text(json::end(reason).into()), Push::Close(code::DONE, "")];
    let pushes = move |told: Told| match &told {
        Told::End(reason) => futures::stream::iter(end(reason)).left_stream(),
        told => futures::stream::iter([Push::Text(json::told(told).into())]).right_stream(),
    };
    futures::stream::iter([first]).chain(told(view).flat_map(pushes))
}

fn as_lines(whose: &Whose, view: View, open: OpenStream) -> Response {
    let line = |mut text: String| {
        text.push('\n');
        Bytes::from(text)
    };
    let first = line(json::session(whose));
    let lines = told(view).map(move |told| line(json::told(&told)));
    let headers = [
        (name::CONTENT_TYPE, "application/x-ndjson"),
        (name::CACHE_CONTROL, "no-store"),
    ];
    let body = open.body(None, futures::stream::iter([first]).chain(lines));
    (headers, body).into_response()
}

fn as_capture(whose: &Whose, view: View, open: OpenStream) -> Response {
    let (room, role, id) = (&whose.room, whose.role(), &whose.id);
    let first = Bytes::from(capture::begin(&format!("{room}/{role}/{id}")));
    let mut capture = capture::Capture::default();
    let blocks = told(view).map(move |told| Bytes::from(capture.blocks(&told)));
    let blocks = blocks.filter(|blocks| std::future::ready(!blocks.is_empty()));
    // Names are printable ASCII; in a header and a file system some of it means something.
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || "+-_@".contains(c) {
            c
        } else {
            '_'
        }
    };
    let file: String = format!("{room}-{role}-{id}").chars().map(plain).collect();
    let headers = [
        (name::CONTENT_TYPE, "application/x-pcapng".to_owned()),
        (name::CACHE_CONTROL, "no-store".to_owned()),
        (
            name::CONTENT_DISPOSITION,
            format!("attachment; filename=\"{file}.pcapng\""),
        ),
    ];
    let body = open.body(None, futures::stream::iter([first]).chain(blocks));
    (headers, body).into_response()
}
