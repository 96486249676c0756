//! Which worker of which data plane a newcomer gets.

use std::collections::BTreeMap;
use std::time::Duration;

use weever_proto::WorkerId;

use super::Rooms;
use super::api::{Refused, ShardId};
use super::shards::Shard;
use crate::names::RoomName;

/// Sessions of one room on one worker before the next worker is used.
const ROOM_BUDGET: usize = 2000;
/// Of a core, thousandths: a worker that uses more gets nobody else while another has room. What is left is for its
/// viewers' joins and retransmissions.
const SPILL: u32 = 800;
/// Loads that differ by less are alike, and the number of sessions decides.
const STEP: u32 = 100;
/// Asked of those who come before a data plane is there.
pub(super) const NO_SHARD_RETRY: Duration = Duration::from_secs(1);
/// Asked of those who come while we drain: another node, or another data plane, will take them.
pub(super) const DRAINING_RETRY: Duration = Duration::from_secs(5);

impl Rooms {
    /// Where a new session of a room goes: to the data plane that has most of the room, on the worker that has most of it
    /// until its budget or its core is used, then on the one with the most room. Where tracks can't cross data planes, the
    /// room stays with the one that has it, also while that is being drained; where they can, newcomers go to another when
    /// it is full or drained.
    pub(super) fn place(&self, room: &RoomName) -> Result<(ShardId, WorkerId), Refused> {
        let budget = if self.config.room_budget == 0 {
            ROOM_BUDGET
        } else {
            self.config.room_budget
        };
        let mut here: BTreeMap<(ShardId, WorkerId), usize> = BTreeMap::new();
        if let Some(room) = self.rooms.get(room) {
            let all = room.publishers.iter().chain(&room.subscribers);
            for session in all.filter_map(|id| self.sessions.get(id)) {
                *here.entry((session.shard, session.worker)).or_default() += 1;
            }
        }
        let nowhere = || {
            Refused::later("no data plane takes sessions right now", NO_SHARD_RETRY).because("no-data-plane")
        };
        let home = self.home(&here);
        let id = home.or_else(|| self.least_loaded(|_| true)).ok_or_else(nowhere)?;
        let shard = self.shards.get(&id).ok_or_else(nowhere)?;
        if shard.is_draining() {
            let detail = format!(
                "the data plane that has room {room} is being drained; try again when the room has moved"
            );
            return Err(Refused::later(detail, DRAINING_RETRY).because("draining"));
        }
        if !shard.takes_sessions() {
            return Err(nowhere());
        }
        let used = |worker: &WorkerId| here.get(&(id, *worker)).copied().unwrap_or(0);
        let fullest = shard
            .workers()
            .filter(|worker| (1..budget).contains(&used(worker)) && shard.permille(*worker) < SPILL)
            .max_by_key(used);
        let load = |worker: &WorkerId| (shard.permille(*worker) / STEP, shard.sessions_of(*worker));
        let worker = fullest.or_else(|| shard.workers().min_by_key(load));
        Ok((id, worker.ok_or_else(nowhere)?))
    }

    /// The data plane that a room's next session goes to, if the room is somewhere already.
    fn home(&self, here: &BTreeMap<(ShardId, WorkerId), usize>) -> Option<ShardId> {
        let mut shards: BTreeMap<ShardId, usize> = BTreeMap::new();
        for ((shard, _), sessions) in here {
            if self.shards.contains_key(shard) {
                *shards.entry(*shard).or_default() += sessions;
            }
        }
        let most = |among: &dyn Fn(&Shard) -> bool| {
            let known = shards
                .iter()
                .filter(|(id, _)| self.shards.get(id).is_some_and(among));
            let fuller = |one: &(&ShardId, &usize), other: &(&ShardId, &usize)| {
                // Of two that have as much of it, the older.
                (one.1, other.0).cmp(&(other.1, one.0))
            };
            known.max_by(fuller).map(|(id, _)| *id)
        };
        let home = most(&|_| true)?;
        let has_relay = |id: &ShardId| self.shards.get(id).is_some_and(Shard::has_relay);
        if !shards.keys().all(has_relay) {
            return Some(home);
        }
        let has_room = |shard: &Shard| {
            let mut workers = shard.workers();
            shard.takes_sessions() && workers.any(|worker| shard.permille(worker) < SPILL)
        };
        most(&has_room)
            .or_else(|| self.least_loaded(|shard| shard.has_relay() && has_room(shard)))
            .or_else(|| most(&Shard::takes_sessions))
            .or_else(|| self.least_loaded(Shard::has_relay))
            .or(Some(home))
    }

    /// Of those that take sessions.
    fn least_loaded(&self, among: impl Fn(&Shard) -> bool) -> Option<ShardId> {
        let open = self
            .shards
            .iter()
            .filter(|(_, shard)| shard.takes_sessions() && among(shard));
        open.min_by_key(|(_, shard)| {
            let workers = u32::try_from(shard.workers().count().max(1)).unwrap_or(u32::MAX);
            let permille = shard.workers().map(|worker| shard.permille(worker)).sum::<u32>() / workers;
            (permille / STEP, shard.sessions())
        })
        .map(|(id, _)| *id)
    }
}
