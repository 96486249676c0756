//! Who may be shown to whom: publishers of the subscriber's own data plane, of others of this node, and of other nodes.

use weever_proto::{RELAY, WorkerId};

use super::Rooms;
use super::api::{Join, ShardId};
use super::session::Session;
use crate::names::{FullId, RoomName};
use crate::sdp::publish::PublishedTrack;
use crate::sdp::view::Candidate;

/// A live publisher as one subscriber gets it; taken out of the books.
#[derive(Debug, Clone)]
pub(super) struct Published {
    pub(super) id: FullId,
    /// Of the subscriber's data plane, or [`RELAY`].
    pub(super) worker: WorkerId,
    pub(super) tracks: Vec<PublishedTrack>,
}

impl Published {
    /// Whether a player that asked for `from`, a Full ID or an ID, means this one.
    pub(super) fn is_wanted(&self, from: Option<&str>) -> bool {
        from.is_none_or(|from| self.id.as_str() == from || self.id.base() == from)
    }
}

/// Their tracks, one after the other.
pub(super) fn candidates(published: &[Published]) -> Vec<Candidate<'_>> {
    let tracks = |one| {
        let Published { id, worker, tracks }: &Published = one;
        tracks.iter().map(move |track| Candidate {
            publisher: id.as_str(),
            track,
            worker: worker.0,
        })
    };
    published.iter().flat_map(tracks).collect()
}

impl Rooms {
    /// The live publishers that a subscriber may see, longest live first; not itself.
    pub(super) fn published(&self, subscriber: &Session) -> Vec<Published> {
        self.published_in(
            &subscriber.state.room,
            subscriber.state.id.base(),
            subscriber.shard,
        )
    }

    /// Whom a player will see first.
    pub(super) fn first_shown(&self, join: &Join, shard: ShardId) -> Option<Published> {
        let published = self.published_in(&join.room, join.id.base(), shard);
        published
            .into_iter()
            .find(|one| one.is_wanted(join.from.as_deref()))
    }

    fn published_in(&self, name: &RoomName, base: &str, shard: ShardId) -> Vec<Published> {
        let has_relay = |id: &ShardId| self.shards.get(id).is_some_and(|shard| shard.has_relay());
        let relays = has_relay(&shard);
        let live = self.rooms.get(name).map(|room| room.live.as_slice());
        let here = live
            .unwrap_or_default()
            .iter()
            .filter_map(|id| self.sessions.get(id))
            .filter(|other| other.shard == shard || relays && has_relay(&other.shard))
            .map(|other| {
                let published = Published {
                    id: other.state.id.clone(),
                    worker: if other.shard == shard { other.worker } else { RELAY },
                    tracks: other.tracks().to_vec(),
                };
                (self.clock.unix_ms(other.live_since), published)
            });
        let elsewhere = self
            .elsewhere
            .live(name)
            .filter(|_| relays)
            // Who is here as well is coming or going; here it is known better.
            .filter(|other| !self.is_live_here(name, &other.id))
            .map(|other| {
                let published = Published {
                    id: other.id.clone(),
                    worker: RELAY,
                    tracks: other.tracks.clone(),
                };
                (other.since_ms, published)
            });
        let mut all: Vec<(u64, Published)> = here.chain(elsewhere).collect();
        all.retain(|(_, one)| one.id.base() != base);
        // Stable: those of one moment stay as they came.
        all.sort_by_key(|(since, _)| *since);
        all.into_iter().map(|(_, one)| one).collect()
    }

    /// Whether a publisher of this node is live under that name.
    pub(super) fn is_live_here(&self, room: &RoomName, id: &FullId) -> bool {
        let live = self.rooms.get(room).map(|room| room.live.as_slice());
        let live = live.unwrap_or_default().iter();
        live.filter_map(|session| self.sessions.get(session))
            .any(|session| session.state.id == *id)
    }
}
