//! Who and what is there, for lists and JSON.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use weever_proto::{Role, SessionId, TrackId};

use super::api::TrackName;
use super::chat::ChatCounts;
use super::session::Session;
use super::shards::Shard;
use super::tracks::Traffic;
use super::{Room, Rooms};
use crate::names::{FullId, RoomName};

/// A room at a glance.
#[derive(Debug, Clone, PartialEq)]
pub struct RoomInfo {
    /// Its name.
    pub room: RoomName,
    /// Made by an operator: stays when it is empty.
    pub created: bool,
    /// How long somebody has been in; `None` when nobody is.
    pub age: Option<Duration>,
    /// How many publish.
    pub publishers: usize,
    /// How many subscribe.
    pub subscribers: usize,
    /// Tracks whose media flows.
    pub live_tracks: usize,
    /// Bits a second that its publishers send.
    pub bits: f64,
}

/// A room and who is in.
#[derive(Debug, Clone, PartialEq)]
pub struct RoomDetail {
    /// At a glance.
    pub info: RoomInfo,
    /// All of them, in the order in which they came.
    pub publishers: Vec<SessionInfo>,
    /// Those asked for, by session.
    pub subscribers: Vec<SessionInfo>,
    /// There are more of them behind the last one.
    pub more: bool,
}

/// One live session.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionInfo {
    /// Its number, which opens nothing.
    pub session: SessionId,
    /// Which way media goes.
    pub role: Role,
    /// Who.
    pub id: FullId,
    /// Whether its media connection stands.
    pub connected: bool,
    /// Nothing was heard from it for 5 s.
    pub silent: bool,
    /// How long it has been there.
    pub age: Duration,
    /// Its data plane.
    pub shard: String,
    /// Of its data plane.
    pub worker: u16,
    /// What a publisher sends.
    pub tracks: Vec<TrackInfo>,
    /// How many tracks a subscriber is sent.
    pub receives: usize,
}

/// A publisher's track.
#[derive(Debug, Clone, PartialEq)]
pub struct TrackInfo {
    /// What it is.
    pub name: TrackName,
    /// Whether its media flows.
    pub live: bool,
    /// What it carries; `None` before its data plane has said so.
    pub traffic: Option<Traffic>,
}

/// A data plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardInfo {
    /// Its name.
    pub name: String,
    /// The software version that it named.
    pub software: String,
    /// Whether it gets new sessions.
    pub ready: bool,
    /// It gets nobody any more, and ends with its last session.
    pub draining: bool,
    /// Its workers.
    pub workers: Vec<WorkerInfo>,
}

/// A worker of a data plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerInfo {
    /// Its number.
    pub worker: u16,
    /// Where clients reach it, best first.
    pub candidates: Vec<SocketAddr>,
    /// Sessions on it.
    pub sessions: usize,
    /// Share of its core that it uses, thousandths, as it said last.
    pub load_permille: u32,
}

/// What there is on a node, for its metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Census {
    /// Name, publishers and subscribers of each room.
    pub rooms: Vec<(RoomName, usize, usize)>,
    /// Data planes that are connected, or were a moment ago.
    pub shards: Vec<ShardInfo>,
    /// Whether somebody could be let in now.
    pub ready: bool,
    /// Nobody is let in any more.
    pub draining: bool,
    /// What was said.
    pub chat: ChatCounts,
}

impl Rooms {
    /// Full IDs of a role in a room, in the order in which they came.
    pub fn list(&self, role: Role, room: &RoomName) -> Vec<FullId> {
        let Some(room) = self.rooms.get(room) else {
            return Vec::new();
        };
        let all = if role == Role::Publisher {
            &room.publishers
        } else {
            &room.subscribers
        };
        all.iter()
            .filter_map(|id| Some(self.sessions.get(id)?.state.id.clone()))
            .collect()
    }

    /// Rooms by name, at most `limit`, those behind `after`.
    pub fn rooms(&self, now: Instant, after: Option<&RoomName>, limit: usize) -> Vec<RoomInfo> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        self.rooms
            .range((from, Unbounded))
            .take(limit)
            .map(|(name, room)| self.room_info(now, name, room))
            .collect()
    }

    /// Who is in a room; of its subscribers at most `limit`, those behind `after`. `None` when there is no such room.
    pub fn room(
        &self,
        now: Instant,
        name: &RoomName,
        after: Option<SessionId>,
        limit: usize,
    ) -> Option<RoomDetail> {
        let room = self.rooms.get(name)?;
        let publishers = room
            .publishers
            .iter()
            .filter_map(|id| self.session_info(now, *id));
        // By number, so that who comes and goes between two questions shifts nobody.
        let behind = |id: &SessionId| after.is_none_or(|after| *id > after);
        let mut subscribers: Vec<SessionId> = room.subscribers.iter().copied().filter(behind).collect();
        subscribers.sort_unstable();
        let more = subscribers.len() > limit;
        subscribers.truncate(limit);
        Some(RoomDetail {
            info: self.room_info(now, name, room),
            publishers: publishers.collect(),
            subscribers: subscribers
                .into_iter()
                .filter_map(|id| self.session_info(now, id))
                .collect(),
            more,
        })
    }

    fn room_info(&self, now: Instant, name: &RoomName, room: &Room) -> RoomInfo {
        let publishers = || room.publishers.iter().filter_map(|id| self.sessions.get(id));
        let bits = |session: &Session| -> f64 {
            let traffic =
                |track: &TrackId| Some(self.shards.get(&session.shard)?.traffic(*track)?.rate?.bits);
            session.live_tracks.keys().filter_map(traffic).sum()
        };
        RoomInfo {
            room: name.clone(),
            created: room.created,
            age: room.since.map(|since| now.saturating_duration_since(since)),
            publishers: room.publishers.len(),
            subscribers: room.subscribers.len(),
            live_tracks: publishers().map(|session| session.live_tracks.len()).sum(),
            bits: publishers().map(bits).sum(),
        }
    }

    fn session_info(&self, now: Instant, id: SessionId) -> Option<SessionInfo> {
        let session = self.sessions.get(&id)?;
        let shard = self.shards.get(&session.shard);
        let track = |track: &crate::sdp::publish::PublishedTrack| {
            let id = TrackId(track.track);
            TrackInfo {
                name: track.name(),
                live: session.live_tracks.contains_key(&id),
                traffic: shard.and_then(|shard| shard.traffic(id)),
            }
        };
        Some(SessionInfo {
            session: id,
            role: session.role(),
            id: session.state.id.clone(),
            connected: session.connected,
            silent: session.silent,
            age: now.saturating_duration_since(session.joined),
            shard: shard.map(|shard| shard.name().to_owned()).unwrap_or_default(),
            worker: session.worker.0,
            tracks: session.tracks().iter().map(track).collect(),
            receives: session.routes.len(),
        })
    }

    /// What there is, counted.
    pub fn census(&self) -> Census {
        let count =
            |(name, room): (&RoomName, &Room)| (name.clone(), room.publishers.len(), room.subscribers.len());
        Census {
            rooms: self.rooms.iter().map(count).collect(),
            shards: self.shards(),
            ready: self.is_ready(),
            draining: self.draining,
            chat: self.chat_counts(),
        }
    }

    /// All data planes, in the order in which they came.
    pub fn shards(&self) -> Vec<ShardInfo> {
        self.shards.values().map(Shard::info).collect()
    }
}
