//! What nodes ask each other: lists, rooms, to disconnect somebody, to be told of events.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{broadcast, mpsc};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{Cluster, Shared};
use crate::directory::{MAX_MESSAGE, Member, Message};
use crate::events::Events;
use crate::http::rooms;
use crate::names::{FullId, RoomName};
use crate::rooms::{Action, NodeName, Reply};

/// Until those who haven't answered are no longer waited for.
const PATIENCE: Duration = Duration::from_secs(1);
/// Rooms that a node tells of at once.
const MAX_ROOMS: usize = 1000;
/// How often those are asked for their events whose events are read here, and for how long they tell them.
const EVENTS_ASKED: Duration = Duration::from_secs(3);
const EVENTS_TOLD: Duration = Duration::from_secs(10);

/// A question to all nodes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Asked {
    /// Full IDs in a room.
    List {
        /// Which.
        publishers: bool,
        /// The room.
        room: RoomName,
    },
    /// Its rooms.
    Rooms,
    /// One of them, with its sessions.
    Room(RoomName),
    /// A room is to be emptied, or one session of it is to end.
    Disconnect {
        /// The room.
        room: RoomName,
        /// Whether a publisher, and who; `None` for all.
        who: Option<(bool, FullId)>,
    },
    /// Its events are read elsewhere: it is to tell them for a while.
    Events,
}

/// Questions that are waited for.
#[derive(Default)]
pub(super) struct Questions {
    last: AtomicU64,
    waiting: Mutex<HashMap<u64, mpsc::Sender<(NodeName, Value)>>>,
    /// Until when this node's events are told.
    events_until: Mutex<Option<Instant>>,
}

impl Questions {
    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, mpsc::Sender<(NodeName, Value)>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn answered(&self, question: u64, from: NodeName, answer: Value) {
        if let Some(answers) = self.waiting().get(&question) {
            // More answers than nodes were asked aren't waited for.
            let _ = answers.try_send((from, answer));
        }
    }

    fn tells_events(&self) -> bool {
        let until = *self.events_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| until > Instant::now())
    }

    fn tell_events_for(&self, time: Duration) {
        *self.events_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + time);
    }
}

/// A question that is waited for, until it is dropped.
struct Open<'a>(&'a Questions, u64);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.waiting().remove(&self.1);
    }
}

impl Cluster {
    /// Asks all other nodes. Those that don't answer within a second are left out.
    pub async fn ask_all(&self, asked: &Asked) -> Vec<(NodeName, Value)> {
        let shared = &self.0;
        let others = self.nodes().len() - 1;
        if others == 0 {
            return Vec::new();
        }
        let question = shared.questions.last.fetch_add(1, Ordering::Relaxed);
        let (answers, mut answered) = mpsc::channel(others);
        shared.questions.waiting().insert(question, answers);
        let _open = Open(&shared.questions, question);
        let message = Message::Ask {
            from: shared.member.clone(),
            question,
            // A tree of strings always has a JSON form.
            asked: serde_json::to_value(asked).unwrap_or_default(),
        };
        let deadline = Instant::now() + PATIENCE;
        if shared.tell(&message).await.is_err() {
            return Vec::new();
        }
        let mut all = Vec::new();
        while all.len() < others
            && let Ok(Some(answer)) = timeout_at(deadline, answered.recv()).await
        {
            all.push(answer);
        }
        all
    }

    /// Events of other nodes, from now on: the room's, and the JSON. They come for as long as this is polled.
    pub fn events(&self) -> OtherEvents {
        OtherEvents {
            cluster: self.clone(),
            events: self.0.events.subscribe(),
            ask_at: Instant::now(),
        }
    }
}

/// Events of other nodes.
pub struct OtherEvents {
    cluster: Cluster,
    events: broadcast::Receiver<(Option<RoomName>, String)>,
    ask_at: Instant,
}

impl OtherEvents {
    /// The next one. `None`: some were missed, or signalling has ended.
    pub async fn next(&mut self) -> Option<(Option<RoomName>, String)> {
        loop {
            tokio::select! {
                event = self.events.recv() => return event.ok(),
                () = sleep_until(self.ask_at) => {
                    self.ask_at = Instant::now() + EVENTS_ASKED;
                    let shared = &self.cluster.0;
                    let message = Message::Ask {
                        from: shared.member.clone(),
                        question: 0,
                        asked: serde_json::to_value(Asked::Events).unwrap_or_default(),
                    };
                    // It is asked again soon.
                    let _ = shared.tell(&message).await;
                }
            }
        }
    }
}

/// Answers a question of another node.
pub(super) async fn answer(shared: Arc<Shared>, to: Member, question: u64, asked: Value) {
    let Ok(asked) = serde_json::from_value::<Asked>(asked) else {
        return shared.metrics.ignored(1);
    };
    let Some(answer) = answer_to(&shared, asked).await else {
        return;
    };
    let message = Message::Tell {
        to,
        from: shared.member.node.clone(),
        question,
        answer,
    };
    if serde_json::to_vec(&message).is_ok_and(|bytes| bytes.len() < MAX_MESSAGE) {
        // Who asked waits no longer than a second.
        let _ = shared.tell(&message).await;
    }
}

async fn answer_to(shared: &Shared, asked: Asked) -> Option<Value> {
    let signalling = shared.signalling.get()?;
    match asked {
        Asked::List { publishers, room } => {
            let ids = signalling.ask(move |rooms| rooms.list(role(publishers), &room));
            serde_json::to_value(ids.await.ok()?).ok()
        }
        Asked::Rooms => rooms::as_json(signalling, MAX_ROOMS).await,
        Asked::Room(room) => rooms::one_as_json(signalling, room, &shared.member.node.0).await,
        Asked::Disconnect { room, who } => {
            let who = who.map(|(publishes, id)| (role(publishes), id));
            let reply = signalling.request(|request| Action::Disconnect { request, room, who });
            Some(Value::Bool(matches!(reply.await, Reply::Done)))
        }
        Asked::Events => {
            shared.questions.tell_events_for(EVENTS_TOLD);
            None
        }
    }
}

fn role(publishes: bool) -> weever_proto::Role {
    match publishes {
        true => weever_proto::Role::Publisher,
        false => weever_proto::Role::Subscriber,
    }
}

/// Tells this node's events to those who read them at other nodes.
pub(super) async fn tell_events(shared: Arc<Shared>) {
    let Some(mut reader) = shared
        .signalling
        .get()
        .map(|signalling| Events::from_now(signalling.events()))
    else {
        return;
    };
    loop {
        // Who has missed some has a gap that it isn't told of: there is no resuming across nodes.
        let Ok(records) = reader.next().await else {
            continue;
        };
        if !shared.questions.tells_events() {
            continue;
        }
        for record in records {
            let message = Message::Event {
                room: record.room.clone(),
                json: record.json.to_string(),
            };
            // As good as missed.
            let _ = shared.tell(&message).await;
        }
    }
}
