//! Getting out.

use std::time::{Duration, Instant};

use weever_proto::{Command, Role, SessionId};

use super::api::{Effect, Notice, Refused, Reply, Who};
use super::trace::JoinOutcome;
use super::{Rooms, Tell, command, reply_to};
use crate::names::{FullId, RoomName};

impl Rooms {
    /// Strikes a session from the books, and tells those whom it concerns.
    pub(super) fn end(
        &mut self,
        now: Instant,
        id: SessionId,
        reason: &'static str,
        tell: Tell,
        effects: &mut Vec<Effect>,
    ) {
        self.end_trace(now, id, JoinOutcome::Ended(reason), effects);
        let Some(session) = self.sessions.remove(&id) else {
            return;
        };
        let (role, room_name, full_id) = (
            session.role(),
            session.state.room.clone(),
            session.state.id.clone(),
        );
        if let Some(key) = session.state.key() {
            self.keys.remove(&key);
        }
        self.names.remove(&(room_name.clone(), role, full_id.clone()));
        if let Some(at) = session.must_end() {
            self.timers.remove(&(at, id));
        }
        if let Some(shard) = self.shards.get_mut(&session.shard) {
            shard.remove_load(session.worker);
        }
        if let Some(starting) = &session.starting {
            self.timers.remove(&(starting.deadline, id));
            let refused = Refused::later("the data plane did not take the session", Duration::from_secs(1))
                .because("data-plane-silent");
            reply_to(
                starting.request,
                self.turn_away(refused, starting.redirected),
                effects,
            );
        }
        if tell == Tell::Shard {
            if let Some(shard) = self.shards.get_mut(&session.shard) {
                shard.begins_closing(id);
            }
            command(session.shard, Command::CloseSession { session: id }, effects);
        }
        let who = Who {
            session: id,
            room: room_name.clone(),
            role,
            id: full_id.clone(),
        };
        for track in session.live_tracks.values().cloned() {
            let who = who.clone();
            effects.push(Effect::Notice(Notice::TrackGone { who, track }));
        }
        let was_live = self.rooms.get_mut(&room_name).is_some_and(|room| room.strike(id));
        self.tell_ended(&session, was_live, effects);
        self.end_watch(now, &session, effects);
        let age = now.saturating_duration_since(session.joined);
        effects.push(Effect::Notice(Notice::Left { who, reason, age }));
        if was_live && self.elsewhere.has(&room_name, &full_id) {
            // It goes on at another node.
            self.refresh_room(now, &room_name, std::slice::from_ref(&full_id), effects);
        } else if was_live {
            self.announce(now, &room_name, &full_id, "PUB_LEFT", effects);
        }
        if role == Role::Subscriber && session.connected {
            self.viewer_changed(now, &room_name, &full_id, effects);
        }
        if let Some(room) = self.rooms.get_mut(&room_name).filter(|room| room.is_empty()) {
            effects.push(Effect::Notice(Notice::RoomClosed(room_name.clone())));
            room.since = None;
            if !room.created {
                self.rooms.remove(&room_name);
            }
        }
    }

    pub(super) fn disconnect(
        &mut self,
        now: Instant,
        name: &RoomName,
        who: Option<&(Role, FullId)>,
        effects: &mut Vec<Effect>,
    ) -> Reply {
        let Some(room) = self.rooms.get_mut(name) else {
            return Reply::Refused(Refused::new(404, format!("there is no room {name}")));
        };
        let ids: Vec<SessionId> = match who {
            None => {
                room.created = false;
                room.publishers.iter().chain(&room.subscribers).copied().collect()
            }
            Some((role, id)) => self
                .names
                .get(&(name.clone(), *role, id.clone()))
                .copied()
                .into_iter()
                .collect(),
        };
        if let (Some((_, id)), true) = (who, ids.is_empty()) {
            return Reply::Refused(Refused::new(
                404,
                format!("nobody called {id} is in {name} in that role"),
            ));
        }
        for id in ids {
            self.end(now, id, "disconnected", Tell::Shard, effects);
        }
        // An empty room that an operator had made.
        if who.is_none() && self.rooms.get(name).is_some_and(super::Room::is_empty) {
            self.rooms.remove(name);
        }
        Reply::Done
    }
}

impl super::Room {
    /// Returns whether it was live.
    fn strike(&mut self, id: SessionId) -> bool {
        self.publishers.retain(|other| *other != id);
        self.subscribers.retain(|other| *other != id);
        let live = self.live.len();
        self.live.retain(|other| *other != id);
        self.live.len() < live
    }
}
