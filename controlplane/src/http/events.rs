//! The stream API: `GET /events`, as a WebSocket or as server-sent events (WHATWG HTML §9.2).
//!
//! It begins with a `reset` event unless it goes on where another one ended: by `Last-Event-ID`, as browsers send it by
//! themselves, or by `?after=`.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::IntoResponse;
use axum::routing::get;
use futures::{Stream, StreamExt};
use serde::Deserialize;

use super::App;
use super::names_in_path::Query;
use super::private::{Answer, room_name};
use super::problem::Problem;
use super::rooms::Scope;
use super::streams::HeldBy;
use super::websocket::{Push, Upgrade, code};
use crate::cluster::Cluster;
use crate::cluster::questions::OtherEvents;
use crate::events::event::ResetReason;
use crate::events::{Events, Reader, Record};
use crate::names::RoomName;

const TOO_SLOW: &str = "too slow: events were missed; connect again with ?after=<the last id>";
/// Browsers come back after this, milliseconds.
const RETRY: &str = "retry: 2000\n\n";
const BEAT: Bytes = Bytes::from_static(b":\n\n");

/// Whatever begins with `/events`.
pub fn routes() -> Router<App> {
    Router::new().route("/events", get(events))
}

#[derive(Deserialize)]
struct Asked {
    room: Option<String>,
    after: Option<String>,
    #[serde(default)]
    scope: Scope,
}

async fn events(
    State(app): State<App>,
    Query(asked): Query<Asked>,
    held: HeldBy,
    headers: HeaderMap,
    upgrade: Result<Upgrade, Problem>,
) -> Answer {
    let room = asked.room.map(room_name).transpose()?;
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    // A browser that comes back asks the same URL: what it heard since is in the header.
    let after = text(header::HeaderName::from_static("last-event-id")).or(asked.after.as_deref());
    let others = app.cluster.as_ref().filter(|_| asked.scope == Scope::Cluster);
    let others = told_elsewhere(others.map(Cluster::events), room.clone());
    let told = until_missed(begin(app.signalling.events(), after, room), others);
    if text(header::ACCEPT).is_some_and(|accept| accept.contains("text/event-stream")) {
        let body = app.streams.open(held)?.body(Some(BEAT), as_lines(told));
        let headers = [
            (header::CONTENT_TYPE, "text/event-stream"),
            (header::CACHE_CONTROL, "no-store"),
            // nginx keeps an answer back until it has much of it.
            (header::HeaderName::from_static("x-accel-buffering"), "no"),
        ];
        return Ok((headers, body).into_response());
    }
    let upgrade = upgrade.map_err(|why| why.or("server-sent events, by Accept: text/event-stream"))?;
    Ok(upgrade.push(app.streams.open(held)?, as_messages(told)))
}

enum Told {
    Event(Arc<Record>),
    /// Of another node, JSON.
    Elsewhere(String),
    TooSlow,
}

struct Telling {
    reader: Reader,
    room: Option<RoomName>,
    waiting: VecDeque<Arc<Record>>,
    over: bool,
}

fn begin(events: &Events, after: Option<&str>, room: Option<RoomName>) -> impl Stream<Item = Told> + use<> {
    let resumed = match after {
        Some(after) => events.resume(after),
        None => Err(ResetReason::Start),
    };
    let mut waiting = VecDeque::new();
    let reader = resumed.unwrap_or_else(|reason| {
        let reader = events.from_now();
        waiting.push_back(Arc::new(reader.reset(reason)));
        reader
    });
    let telling = Telling {
        reader,
        room,
        waiting,
        over: false,
    };
    futures::stream::unfold(telling, async |mut telling| {
        Some((telling.next().await?, telling))
    })
}

impl Telling {
    async fn next(&mut self) -> Option<Told> {
        while !self.over {
            if let Some(record) = self.waiting.pop_front() {
                return Some(Told::Event(record));
            }
            match self.reader.next().await {
                Ok(records) => {
                    let wanted = |record: &Arc<Record>| self.room.is_none() || record.room == self.room;
                    self.waiting.extend(records.into_iter().filter(wanted));
                }
                Err(_) => {
                    self.over = true;
                    return Some(Told::TooSlow);
                }
            }
        }
        None
    }
}

/// Both, until events of either were missed.
fn until_missed(
    own: impl Stream<Item = Told> + Send + 'static,
    others: impl Stream<Item = Told> + Send + 'static,
) -> impl Stream<Item = Told> {
    let both = futures::stream::select(own.boxed(), others.boxed());
    futures::stream::unfold((both, false), async |(mut both, over)| {
        if over {
            return None;
        }
        let told = both.next().await?;
        let over = matches!(told, Told::TooSlow);
        Some((told, (both, over)))
    })
}

/// What happens at other nodes. There is no going on behind an event of theirs: it has no id here.
fn told_elsewhere(others: Option<OtherEvents>, room: Option<RoomName>) -> impl Stream<Item = Told> {
    futures::stream::unfold((others, room), async |(mut others, room)| {
        let Some(events) = &mut others else {
            // This node's own go on.
            return std::future::pending().await;
        };
        loop {
            let Some((of, json)) = events.next().await else {
                return Some((Told::TooSlow, (None, room)));
            };
            if room.is_none() || of == room {
                return Some((Told::Elsewhere(json), (others, room)));
            }
        }
    })
}

fn as_messages(told: impl Stream<Item = Told>) -> impl Stream<Item = Push> {
    told.map(|told| match told {
        Told::Event(record) => Push::Text(record.json.clone()),
        Told::Elsewhere(json) => Push::Text(json.into()),
        Told::TooSlow => Push::Close(code::POLICY, TOO_SLOW),
    })
}

fn as_lines(told: impl Stream<Item = Told>) -> impl Stream<Item = Bytes> {
    let lines = told.map(|told| match told {
        Told::Event(record) => format!("id: {}\ndata: {}\n\n", record.id, record.json),
        // A line break would end the line: JSON that is written on one has none.
        Told::Elsewhere(json) => format!("data: {}\n\n", json.replace(['\n', '\r'], " ")),
        Told::TooSlow => format!(": {TOO_SLOW}\n\n"),
    });
    futures::stream::once(async { RETRY.to_owned() })
        .chain(lines)
        .map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::HISTORY;
    use crate::rooms::Notice;

    fn opened(room: &str) -> Notice {
        Notice::RoomOpened(RoomName::new(room).unwrap())
    }

    #[tokio::test]
    async fn a_slow_reader_is_told_and_cut_off() {
        let events = Events::new(7, "here");
        let mut told = std::pin::pin!(as_messages(begin(&events, None, None)));
        let Some(Push::Text(reset)) = told.next().await else {
            panic!("a reset first")
        };
        assert!(reset.contains(r#""type":"reset","reason":"start""#), "{reset}");
        for _ in 0..=HISTORY {
            events.publish(&opened("r"));
        }
        assert_eq!(told.next().await, Some(Push::Close(code::POLICY, TOO_SLOW)));
        assert_eq!(told.next().await, None);
        assert!(TOO_SLOW.len() <= 123, "RFC 6455 §5.5");
    }

    #[tokio::test]
    async fn one_room_alone() {
        let events = Events::new(7, "here");
        events.publish(&opened("a"));
        let mut told = std::pin::pin!(as_lines(begin(
            &events,
            Some("0000000000000007-0"),
            Some(RoomName::new("b").unwrap())
        )));
        events.publish(&Notice::ShardDrained { name: "one".into() });
        events.publish(&opened("b"));
        assert_eq!(told.next().await.unwrap(), RETRY);
        let line = told.next().await.unwrap();
        assert!(line.starts_with(b"id: 0000000000000007-3\ndata: {\"id\":\"0000000000000007-3\","));
        assert!(line.ends_with(b"\"type\":\"room-opened\",\"room\":\"b\"}\n\n"));
    }
}
