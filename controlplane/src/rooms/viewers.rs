//! Owner notices: a publisher that asked for it is told who comes to view its room, and who leaves.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use weever_proto::{Role, SessionId};

use super::Rooms;
use super::api::Effect;
use super::session::MediaState;
use crate::names::{FullId, RoomName};

/// Notices in one go.
const BATCH: usize = 10;
/// From one go to the next: a publisher hears of a hundred viewers in a second at most.
const PAUSE: Duration = Duration::from_millis(100);

/// What one publisher was told, and what there is to tell. Who comes and goes between two notices is not mentioned, so
/// this is never larger than the room.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Viewers that it believes to be there.
    told: HashSet<FullId>,
    /// Viewers of whom there may be news, oldest news first, each once.
    news: VecDeque<FullId>,
    /// The same.
    queued: HashSet<FullId>,
    /// When more may be told.
    next: Option<Instant>,
}

impl Watch {
    fn note(&mut self, viewer: FullId) {
        if self.queued.insert(viewer.clone()) {
            self.news.push_back(viewer);
        }
    }

    fn take(&mut self) -> Option<FullId> {
        let viewer = self.news.pop_front()?;
        self.queued.remove(&viewer);
        Some(viewer)
    }
}

impl Rooms {
    /// A publisher asks to be told of viewers, or not to be any more.
    pub(super) fn watch_viewers(&mut self, now: Instant, id: SessionId, on: bool, effects: &mut Vec<Effect>) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let MediaState::Publisher { watches, .. } = &mut session.state.media else {
            return;
        };
        let changed = std::mem::replace(watches, on) != on;
        // Who asks again gets no more in a second.
        let next = session.watch.take().and_then(|watch| watch.next);
        if on {
            self.begin_watch(now, id, next, effects);
        }
        if changed {
            self.save(id, effects);
        }
    }

    /// After a control plane's restart or a lost connection nobody knows what was told: the list begins anew.
    pub(super) fn recover_watch(&mut self, now: Instant, id: SessionId, effects: &mut Vec<Effect>) {
        let watches = self.sessions.get(&id).is_some_and(|session| {
            session.channel_open
                && matches!(session.state.media, MediaState::Publisher { watches, .. } if watches)
        });
        if watches {
            self.say(id, "SUBS ON".to_owned(), effects);
            self.begin_watch(now, id, None, effects);
        }
    }

    fn begin_watch(&mut self, now: Instant, id: SessionId, next: Option<Instant>, effects: &mut Vec<Effect>) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        let mut watch = Watch {
            next,
            ..Watch::default()
        };
        let room = self.rooms.get(&session.state.room);
        let viewers = room.map(|room| room.subscribers.as_slice()).unwrap_or_default();
        for viewer in viewers.iter().filter_map(|id| self.sessions.get(id)) {
            if viewer.connected && viewer.state.id.base() != session.state.id.base() {
                watch.note(viewer.state.id.clone());
            }
        }
        if let Some(session) = self.sessions.get_mut(&id) {
            session.watch = Some(watch);
        }
        self.tell_of_viewers(now, id, effects);
    }

    /// A viewer came or left. Nobody views their own media, so an owner's own ID is no news to it.
    pub(super) fn viewer_changed(
        &mut self,
        now: Instant,
        room: &RoomName,
        viewer: &FullId,
        effects: &mut Vec<Effect>,
    ) {
        let publishers = self.rooms.get(room).map(|room| room.publishers.clone());
        for id in publishers.unwrap_or_default() {
            let Some(session) = self.sessions.get_mut(&id) else {
                continue;
            };
            if session.state.id.base() == viewer.base() {
                continue;
            }
            if let Some(watch) = &mut session.watch {
                watch.note(viewer.clone());
                self.tell_of_viewers(now, id, effects);
            }
        }
    }

    /// Tells a publisher as much as it may hear at once.
    pub(super) fn tell_of_viewers(&mut self, now: Instant, id: SessionId, effects: &mut Vec<Effect>) {
        let Self {
            sessions,
            names,
            timers,
            ..
        } = self;
        let Some(session) = sessions.get_mut(&id) else {
            return;
        };
        let room = session.state.room.clone();
        let Some(mut watch) = session.watch.take() else {
            return;
        };
        if watch.next.is_some_and(|next| next > now) {
            session.watch = Some(watch);
            return;
        }
        let mut notices = Vec::new();
        while notices.len() < BATCH {
            let Some(viewer) = watch.take() else { break };
            let name = (room.clone(), Role::Subscriber, viewer);
            let is_there = names
                .get(&name)
                .and_then(|id| sessions.get(id))
                .is_some_and(|viewer| viewer.connected);
            let viewer = name.2;
            let verb = match (watch.told.contains(&viewer), is_there) {
                (false, true) => "SUB_JOIN",
                (true, false) => "SUB_LEFT",
                _ => continue,
            };
            notices.push(format!("{verb} {viewer}"));
            if is_there {
                watch.told.insert(viewer);
            } else {
                watch.told.remove(&viewer);
            }
        }
        watch.next = None;
        if !notices.is_empty() {
            let next = now + PAUSE;
            watch.next = Some(next);
            timers.insert((next, id));
        }
        if let Some(session) = sessions.get_mut(&id) {
            session.watch = Some(watch);
        }
        for notice in notices {
            self.say(id, notice, effects);
        }
    }
}
