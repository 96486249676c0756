//! What subscribers are told beside their media: the events of draft-ietf-wish-whep's server-sent events extension.
//!
//! The rooms know what happened and who asked for what; what waits to be read is kept by the shell.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use weever_proto::{Role, SessionId};

use super::api::{Effect, Layer, PlayerEvent, Refused, Reply, SessionKey, StreamId, StreamNews, Topic};
use super::session::{MediaState, Session};
use super::{Rooms, unknown_session};
use crate::names::RoomName;

/// Streams of one session. One more ends the oldest: a page that was loaded anew has left it behind.
const MAX_STREAMS: usize = 4;
/// A room's viewers are counted for its streams at most this often, however many come and go.
const COUNT_EVERY: Duration = Duration::from_secs(1);

/// A session's streams, the oldest first, and what they were told last.
#[derive(Debug, Default)]
pub(super) struct EventStreams {
    streams: Vec<(StreamId, BTreeSet<Topic>)>,
    active: bool,
    layers: BTreeMap<usize, Layer>,
}

/// Who in a room has streams, and when their viewers were counted.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    sessions: BTreeSet<SessionId>,
    counted: Option<Instant>,
    due: Option<Instant>,
}

impl Rooms {
    /// Opens a stream. What is so already is told first.
    pub(super) fn watch(
        &mut self,
        key: SessionKey,
        topics: Option<BTreeSet<Topic>>,
        effects: &mut Vec<Effect>,
    ) -> Reply {
        let Some(id) = self.keys.get(&key).copied() else {
            return unknown_session();
        };
        let stream = StreamId(self.entropy.draw());
        let (layers, draining) = (self.layers_of(id), self.draining);
        let Some(session) = self.sessions.get_mut(&id) else {
            return unknown_session();
        };
        let known = session.topics();
        let topics = topics.unwrap_or_else(|| known.iter().copied().collect());
        if let Some(unknown) = topics.iter().find(|topic| !known.contains(topic)) {
            let detail = format!("this session has no {:?} events", unknown.name());
            return Reply::Refused(Refused::new(400, detail));
        }
        let active = !session.routes.is_empty();
        let watch = &mut session.event_streams;
        if watch.streams.len() >= MAX_STREAMS {
            let (oldest, _) = watch.streams.remove(0);
            news(oldest, StreamNews::Ended, effects);
        }
        news(stream, StreamNews::Opened { session: key }, effects);
        watch.active = active;
        watch.layers.clone_from(&layers);
        let room = session.state.room.clone();
        let mut first = vec![PlayerEvent::ViewerCount(self.viewers(&room))];
        // An initial `inactive` is not sent: a player that has just come knows that it sees nothing.
        if active {
            first.push(PlayerEvent::Active);
            first.push(PlayerEvent::Layers(layers));
        }
        if draining {
            first.push(PlayerEvent::Reconnect);
        }
        for event in first.into_iter().filter(|event| topics.contains(&event.topic())) {
            news(stream, StreamNews::Event(event), effects);
        }
        if let Some(session) = self.sessions.get_mut(&id) {
            session.event_streams.streams.push((stream, topics));
        }
        if let Some(room) = self.rooms.get_mut(&room) {
            room.watchers.sessions.insert(id);
        }
        Reply::Watching { stream }
    }

    /// Ends one stream.
    pub(super) fn unwatch(&mut self, key: SessionKey, stream: StreamId, effects: &mut Vec<Effect>) -> Reply {
        let Some(session) = self.keys.get(&key).and_then(|id| self.sessions.get_mut(id)) else {
            return unknown_session();
        };
        let streams = &mut session.event_streams.streams;
        let Some(at) = streams.iter().position(|(id, _)| *id == stream) else {
            return unknown_stream();
        };
        streams.remove(at);
        news(stream, StreamNews::Ended, effects);
        if streams.is_empty()
            && let Some(room) = self.rooms.get_mut(&session.state.room)
        {
            room.watchers.sessions.remove(&session.id);
        }
        Reply::Done
    }

    /// The layers of what a session is shown, by m-line.
    pub(super) fn layers(&self, key: SessionKey) -> Reply {
        let Some((id, session)) = self
            .keys
            .get(&key)
            .and_then(|id| Some((*id, self.sessions.get(id)?)))
        else {
            return unknown_session();
        };
        if !session.topics().contains(&Topic::Layers) {
            return Reply::Refused(Refused::new(
                404,
                "this session has no m-line for pictures to choose for",
            ));
        }
        Reply::Layers {
            pictures: session.pictures(),
            layers: self.layers_of(id),
        }
    }

    fn layers_of(&self, id: SessionId) -> BTreeMap<usize, Layer> {
        let Some(session) = self.sessions.get(&id) else {
            return BTreeMap::new();
        };
        let MediaState::Subscriber { view, .. } = &session.state.media else {
            return BTreeMap::new();
        };
        let is_shown = |mid: &str| session.routes.values().any(|route| route.mid == mid);
        let pictures = view.pictures().filter(|(_, mid)| is_shown(mid));
        pictures.map(|(line, _)| (line, Layer {})).collect()
    }

    /// What a session is shown may have changed.
    pub(super) fn tell_shown(&mut self, id: SessionId, effects: &mut Vec<Effect>) {
        let is_watched = |session: &Session| !session.event_streams.streams.is_empty();
        if !self.sessions.get(&id).is_some_and(is_watched) {
            return;
        }
        let layers = self.layers_of(id);
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let active = !session.routes.is_empty();
        if std::mem::replace(&mut session.event_streams.active, active) != active {
            let event = if active {
                PlayerEvent::Active
            } else {
                PlayerEvent::Inactive
            };
            session.event_streams.tell(&event, effects);
        }
        if session.event_streams.layers != layers {
            session.event_streams.layers.clone_from(&layers);
            session.event_streams.tell(&PlayerEvent::Layers(layers), effects);
        }
    }

    /// A viewer came or went: those who want to know are told, now or when the next count is due.
    pub(super) fn viewers_changed(&mut self, now: Instant, name: &RoomName, effects: &mut Vec<Effect>) {
        let Some(room) = self.rooms.get_mut(name) else {
            return;
        };
        let watchers = &mut room.watchers;
        if watchers.sessions.is_empty() || watchers.due.is_some() {
            return;
        }
        match watchers.counted.map(|counted| counted + COUNT_EVERY) {
            Some(next) if next > now => {
                watchers.due = Some(next);
                self.counts.insert((next, name.clone()));
            }
            _ => self.count(now, name, effects),
        }
    }

    /// When the next count is due.
    pub(super) fn next_count(&self) -> Option<Instant> {
        self.counts.first().map(|(at, _)| *at)
    }

    pub(super) fn count_due(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        while self.next_count().is_some_and(|at| at <= now) {
            let Some((at, name)) = self.counts.pop_first() else {
                return;
            };
            // A room of that name may have come and gone.
            if self
                .rooms
                .get(&name)
                .is_some_and(|room| room.watchers.due == Some(at))
            {
                self.count(now, &name, effects);
            }
        }
    }

    fn count(&mut self, now: Instant, name: &RoomName, effects: &mut Vec<Effect>) {
        let event = PlayerEvent::ViewerCount(self.viewers(name));
        let Some(room) = self.rooms.get_mut(name) else {
            return;
        };
        room.watchers.counted = Some(now);
        room.watchers.due = None;
        for session in room
            .watchers
            .sessions
            .iter()
            .filter_map(|id| self.sessions.get(id))
        {
            session.event_streams.tell(&event, effects);
        }
    }

    /// On all nodes.
    pub(super) fn viewers(&self, room: &RoomName) -> usize {
        let here = self.rooms.get(room).map_or(0, |room| room.subscribers.len());
        here + self.elsewhere.viewers(room)
    }

    /// The node is being drained: whoever can is to go on elsewhere.
    pub(super) fn tell_reconnect(&self, effects: &mut Vec<Effect>) {
        for id in self.rooms.values().flat_map(|room| &room.watchers.sessions) {
            if let Some(session) = self.sessions.get(id) {
                session.event_streams.tell(&PlayerEvent::Reconnect, effects);
            }
        }
    }

    /// A session has left: its streams end with it, and others have one viewer less.
    pub(super) fn end_watch(&mut self, now: Instant, session: &Session, effects: &mut Vec<Effect>) {
        for (stream, _) in &session.event_streams.streams {
            news(*stream, StreamNews::Ended, effects);
        }
        let name = &session.state.room;
        if let Some(room) = self.rooms.get_mut(name) {
            room.watchers.sessions.remove(&session.id);
        }
        if session.role() == Role::Subscriber {
            self.viewers_changed(now, name, effects);
        }
    }
}

impl EventStreams {
    fn tell(&self, event: &PlayerEvent, effects: &mut Vec<Effect>) {
        for (stream, topics) in &self.streams {
            if topics.contains(&event.topic()) {
                news(*stream, StreamNews::Event(event.clone()), effects);
            }
        }
    }
}

impl Session {
    /// The events that it can be told: none of those who send, layers to those who have m-lines for pictures.
    pub(super) fn topics(&self) -> &'static [Topic] {
        if self.state.is_publisher() {
            return &[];
        }
        if self.pictures().is_empty() {
            &Topic::WITHOUT_LAYERS
        } else {
            &Topic::ALL
        }
    }

    /// A player's m-lines for pictures.
    fn pictures(&self) -> Vec<usize> {
        match &self.state.media {
            MediaState::Subscriber { view, .. } => view.pictures().map(|(line, _)| line).collect(),
            MediaState::Publisher { .. } => Vec::new(),
        }
    }
}

fn news(stream: StreamId, news: StreamNews, effects: &mut Vec<Effect>) {
    effects.push(Effect::Stream { stream, news });
}

fn unknown_stream() -> Reply {
    Reply::Refused(Refused::new(
        404,
        "there is no such stream of events; it may have ended",
    ))
}
