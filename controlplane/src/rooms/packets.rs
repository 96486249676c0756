//! Watching a session's packets: whether that can be done, and what its tracks are called.

use std::collections::HashMap;
use std::time::Duration;

use weever_proto::{Command, Role, SessionId, TrackId};

use super::api::{Effect, Refused, Reply};
use super::{Rooms, command, unknown_session};
use crate::names::{FullId, RoomName};

/// When to ask again for a session whose data plane is away.
const AWAY: Duration = Duration::from_secs(1);

impl Rooms {
    /// The session of that name.
    pub fn find(&self, room: &RoomName, role: Role, id: &FullId) -> Option<SessionId> {
        self.names.get(&(room.clone(), role, id.clone())).copied()
    }

    /// Whose each track of a room is, and its label (`video0`).
    pub fn tracks(&self, room: &RoomName) -> HashMap<TrackId, (FullId, String)> {
        let publishers = self.rooms.get(room).into_iter().flat_map(|room| &room.publishers);
        let sessions = publishers.filter_map(|id| self.sessions.get(id));
        sessions
            .flat_map(|session| {
                let named = |track: &crate::sdp::publish::PublishedTrack| {
                    (
                        TrackId(track.track),
                        (session.state.id.clone(), track.label.clone()),
                    )
                };
                session.tracks().iter().map(named)
            })
            .collect()
    }

    /// Has a session's packets told for a while.
    pub(super) fn watch_packets(&self, id: SessionId, effects: &mut Vec<Effect>) -> Reply {
        let Some(session) = self.sessions.get(&id) else {
            return unknown_session();
        };
        let Some(shard) = self.shards.get(&session.shard).filter(|shard| !shard.is_away()) else {
            return Reply::Refused(Refused::later("the session's data plane is away", AWAY));
        };
        let watch = Command::Watch { session: id };
        if !shard.version().knows(watch.since()) {
            let detail = format!(
                "the session's data plane {:?} runs an older version, whose packets can't be looked at",
                shard.name()
            );
            return Reply::Refused(Refused::new(409, detail));
        }
        command(session.shard, watch, effects);
        Reply::Done
    }

    /// No longer.
    pub(super) fn unwatch_packets(&self, id: SessionId, effects: &mut Vec<Effect>) {
        // Of a data plane that is away the tap ends by itself.
        if let Some(session) = self.sessions.get(&id) {
            command(session.shard, Command::Unwatch { session: id }, effects);
        }
    }
}
