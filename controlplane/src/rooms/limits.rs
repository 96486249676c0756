//! What a session was admitted with, and holding it to that.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use weever_proto::{Role, SessionId, TrackId, TrackStats};

use super::api::{Effect, Join, Refused, ShardId};
use super::{Room, Rooms, Tell};

/// A publisher may send a fifth more than its bit rate, averaged over [`super::rates::WINDOW`]: encoders aim at a rate, none keeps it.
const TOLERANCE_PERCENT: u64 = 20;
/// When a room that is full is worth another try.
const FULL_RETRY: Duration = Duration::from_secs(10);

/// What whoever admitted a session allows it. Left out: no limit. None is zero: whether that meant none or no limit, nobody
/// could tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Of a publisher, bits per second of all its media, without headers and retransmissions (as RFC 3890 counts).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bitrate: Option<NonZeroU64>,
    /// Seconds from the POST on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_duration: Option<NonZeroU64>,
    /// Of a publisher: subscribers of its room while it is there. Of a subscriber: with it in the room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_subscribers: Option<NonZeroU64>,
}

impl Limits {
    /// When a session that joined then has to end.
    pub(super) fn end(&self, joined: Instant) -> Option<Instant> {
        joined.checked_add(Duration::from_secs(self.max_duration?.get()))
    }

    fn is_exceeded_by(&self, bits_per_second: u64) -> bool {
        let allowed = |max: NonZeroU64| max.get().saturating_mul(100 + TOLERANCE_PERCENT) / 100;
        self.max_bitrate.is_some_and(|max| bits_per_second > allowed(max))
    }
}

impl Rooms {
    /// Whether there is room for another subscriber. Those who are in stay, whatever comes after them. `replaced` gives its place up.
    pub(super) fn check_room(&self, join: &Join, replaced: Option<SessionId>) -> Result<(), Refused> {
        if join.role != Role::Subscriber {
            return Ok(());
        }
        let Some(max) = self.max_subscribers(join) else {
            return Ok(());
        };
        let room = self.rooms.get(&join.room);
        let subscribers = room.map(|room| room.subscribers.as_slice()).unwrap_or_default();
        let there = subscribers.iter().filter(|id| Some(**id) != replaced).count();
        if there as u64 >= max.get() {
            return Err(Refused::later(
                format!("the room is full: it may have {max} subscribers, and has {there}"),
                FULL_RETRY,
            )
            .because("room-full"));
        }
        Ok(())
    }

    /// The smallest of what the room's publishers, and who wants in, were given.
    fn max_subscribers(&self, join: &Join) -> Option<NonZeroU64> {
        let publishers = self.rooms.get(&join.room).map(|room| room.publishers.as_slice());
        let sessions = publishers
            .unwrap_or_default()
            .iter()
            .filter_map(|id| self.sessions.get(id));
        let given = sessions.filter_map(|session| session.state.limits.max_subscribers);
        given.chain(join.limits.max_subscribers).min()
    }

    /// Remembers when a session's time is up.
    pub(super) fn limit_duration(&mut self, id: SessionId) {
        let end = self.sessions.get(&id).and_then(super::Session::must_end);
        self.timers.extend(end.map(|at| (at, id)));
    }

    /// What a data plane counted of its tracks. Publishers that send too much, and don't stop, are disconnected.
    pub(super) fn counted(
        &mut self,
        now: Instant,
        shard: ShardId,
        tracks: &[TrackStats],
        effects: &mut Vec<Effect>,
    ) {
        let bytes: std::collections::HashMap<TrackId, u64> =
            tracks.iter().map(|stats| (stats.track, stats.bytes)).collect();
        let Self { rooms, sessions, .. } = self;
        let mut exceeding = Vec::new();
        for id in rooms.values().flat_map(|room: &Room| &room.publishers) {
            let Some(session) = sessions.get_mut(id).filter(|session| session.shard == shard) else {
                continue;
            };
            let known = session.tracks().iter().filter_map(|track| {
                let track = TrackId(track.track);
                Some((track, *bytes.get(&track)?))
            });
            let known: Vec<(TrackId, u64)> = known.collect();
            session.meter.read(now, known);
            if session
                .meter
                .sustained()
                .is_some_and(|rate| session.state.limits.is_exceeded_by(rate))
            {
                exceeding.push(*id);
            }
        }
        for id in exceeding {
            self.end(now, id, "bitrate-exceeded", Tell::Shard, effects);
        }
    }
}
