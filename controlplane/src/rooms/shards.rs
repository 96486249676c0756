//! Data planes: coming, going, and telling what they hold.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use weever_proto::{Command, Fingerprint, Hello, SessionId, SessionSnapshot, WorkerId};

use super::api::{Effect, Notice, ShardId};
use super::session::{MediaState, Negotiation, Session, State};
use super::{Rooms, Tell, command};

/// How long a lost data plane's sessions wait for it to dial again.
const GRACE: Duration = Duration::from_secs(1);
/// Sessions of one room on one worker before the next worker is used.
const ROOM_BUDGET: usize = 2000;
/// Of a core, thousandths: a worker that uses more gets nobody else while another has room. What is left is for its
/// viewers' joins and retransmissions.
const SPILL: u32 = 800;
/// Loads that differ by less are alike, and the number of sessions decides.
const STEP: u32 = 100;

/// A data plane's connection.
#[derive(Debug)]
pub(super) struct Shard {
    hello: Hello,
    /// Its snapshot is complete.
    ready: bool,
    /// Since when it is gone.
    lost: Option<Instant>,
    /// Sessions on each worker.
    load: BTreeMap<WorkerId, usize>,
    /// Share of its core that each worker uses, thousandths, as it said last.
    permille: BTreeMap<WorkerId, u32>,
    /// Sessions that it was told to close and has not said to be closed: the command may be lost with the connection.
    closing: BTreeSet<SessionId>,
}

impl Shard {
    pub(super) fn name(&self) -> &str {
        &self.hello.name
    }

    pub(super) fn fingerprint(&self) -> &Fingerprint {
        &self.hello.fingerprint
    }

    pub(super) fn candidates(&self, worker: WorkerId) -> Option<&[SocketAddr]> {
        self.hello
            .workers
            .iter()
            .find(|w| w.id == worker)
            .map(|w| w.candidates.as_slice())
    }

    pub(super) fn grace_ends(&self) -> Option<Instant> {
        self.lost.map(|at| at + GRACE)
    }

    pub(super) fn takes_sessions(&self) -> bool {
        let max = usize::try_from(self.hello.max_sessions).unwrap_or(usize::MAX);
        self.ready && self.lost.is_none() && self.load.values().sum::<usize>() < max
    }

    pub(super) fn is_reachable(&self) -> bool {
        self.lost.is_none()
    }

    pub(super) fn begins_closing(&mut self, session: SessionId) {
        self.closing.insert(session);
    }

    pub(super) fn has_closed(&mut self, session: SessionId) {
        self.closing.remove(&session);
    }

    pub(super) fn add_load(&mut self, worker: WorkerId) {
        *self.load.entry(worker).or_default() += 1;
    }

    pub(super) fn remove_load(&mut self, worker: WorkerId) {
        if let Some(load) = self.load.get_mut(&worker) {
            *load = load.saturating_sub(1);
        }
    }
}

impl Rooms {
    pub(super) fn shard_up(&mut self, now: Instant, id: ShardId, hello: Hello, effects: &mut Vec<Effect>) {
        let same_name = self
            .shards
            .iter()
            .find(|(_, shard)| shard.hello.name == hello.name);
        let (mut load, mut closing) = (BTreeMap::new(), BTreeSet::new());
        if let Some((old, shard)) = same_name.map(|(old, shard)| (*old, shard)) {
            if shard.hello.incarnation == hello.incarnation {
                // The same process dialled again: its sessions live on, and the snapshot will tell which.
                load.clone_from(&shard.load);
                closing.clone_from(&shard.closing);
                for session in self.sessions.values_mut().filter(|session| session.shard == old) {
                    session.shard = id;
                    session.seen = false;
                }
                self.shards.remove(&old);
            } else {
                self.bury(now, old, effects);
            }
        }
        self.shards.insert(
            id,
            Shard {
                hello,
                ready: false,
                lost: None,
                load,
                permille: BTreeMap::new(),
                closing,
            },
        );
    }

    pub(super) fn measured(&mut self, id: ShardId, permille: Vec<(WorkerId, u32)>) {
        if let Some(shard) = self.shards.get_mut(&id) {
            let whole = |(worker, permille): (WorkerId, u32)| (worker, permille.min(1000));
            shard.permille = permille.into_iter().map(whole).collect();
        }
    }

    /// Takes over a session that the data plane holds.
    pub(super) fn adopt(
        &mut self,
        now: Instant,
        shard: ShardId,
        snapshot: SessionSnapshot,
        effects: &mut Vec<Effect>,
    ) {
        let id = snapshot.spec.session;
        let routes: HashMap<_, _> = snapshot
            .routes
            .into_iter()
            .map(|route| (route.route, route))
            .collect();
        if self.shards.get(&shard).is_some_and(|s| s.closing.contains(&id)) {
            return command(shard, Command::CloseSession { session: id }, effects);
        }
        if let Some(session) = self.sessions.get_mut(&id) {
            session.seen = true;
            session.routes = routes;
            session.silent = snapshot.silent;
            // What the connection lost is said again.
            session.stale |= snapshot.channel_open && !session.channel_open;
            session.channel_open = snapshot.channel_open;
            let (local, remote) = (session.state.local(), session.state.remote());
            if snapshot.spec.local != local {
                let restart = Command::RestartIce {
                    session: id,
                    local,
                    remote,
                };
                command(shard, restart, effects);
            }
            if snapshot.spec.state != session.state.encode() {
                let version = State::decode(&snapshot.spec.state).map(|state| state.sdp_version);
                if version != Some(session.state.sdp_version) {
                    for lost in session.renegotiated.clone() {
                        command(shard, lost, effects);
                    }
                }
                self.save(id, effects);
            }
            self.ready(now, id, effects);
            if snapshot.connected {
                self.connected(now, id, effects);
            }
            return;
        }
        let state = State::decode(&snapshot.spec.state);
        let Some((state, key)) = state.and_then(|state| state.key().map(|key| (state, key))) else {
            // Of a version that wrote its state in another way, or not ours at all.
            return command(shard, Command::CloseSession { session: id }, effects);
        };
        let name = (state.room.clone(), snapshot.spec.role, state.id.clone());
        if self.names.contains_key(&name) {
            return command(shard, Command::CloseSession { session: id }, effects);
        }
        if let Some(shard) = self.shards.get_mut(&shard) {
            shard.add_load(snapshot.spec.worker);
        }
        let offered = matches!(&state.media, MediaState::Subscriber { offered: true, .. });
        let session = Session {
            id,
            shard,
            worker: snapshot.spec.worker,
            joined: now
                .checked_sub(Duration::from_millis(snapshot.age_ms))
                .unwrap_or(now),
            starting: None,
            connected: snapshot.connected,
            silent: snapshot.silent,
            channel_open: snapshot.channel_open,
            routes,
            negotiation: Negotiation::Idle,
            // An offer may have been lost with the old control plane, or its answer: it is made again.
            stale: offered,
            renegotiated: Vec::new(),
            seen: true,
            state,
        };
        self.insert(session, key, effects);
    }

    pub(super) fn snapshot_end(&mut self, now: Instant, id: ShardId, effects: &mut Vec<Effect>) {
        let Some(shard) = self.shards.get_mut(&id) else {
            return;
        };
        shard.ready = true;
        // Those that it still had were told again; of the others there is nothing to wait for.
        shard.closing.clear();
        let name = shard.hello.name.clone();
        let mut held: Vec<(Instant, SessionId)> = Vec::new();
        let mut missing = Vec::new();
        for session in self.sessions.values_mut().filter(|session| session.shard == id) {
            // One that is just being made was commanded before the connection broke: it is told by its absence.
            if session.seen {
                held.push((session.joined, session.id));
            } else {
                missing.push(session.id);
            }
        }
        for session in missing {
            self.end(now, session, "shard-lost", Tell::Nobody, effects);
        }
        let sessions = held.len();
        effects.push(Effect::Notice(Notice::ShardReady { name, sessions }));
        // Who was there first is shown first, as before.
        held.sort_unstable();
        self.recover_live(&held);
        for (_, session) in held {
            self.recover(now, session, effects);
        }
    }

    pub(super) fn shard_down(&mut self, now: Instant, id: ShardId) {
        if let Some(shard) = self.shards.get_mut(&id) {
            shard.lost = Some(now);
        }
    }

    pub(super) fn bury_lost_shards(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let over = |shard: &Shard| shard.grace_ends().is_some_and(|at| at <= now);
        let lost: Vec<ShardId> = self
            .shards
            .iter()
            .filter(|(_, shard)| over(shard))
            .map(|(id, _)| *id)
            .collect();
        for id in lost {
            self.bury(now, id, effects);
        }
    }

    /// A data plane is gone for good, and its sessions with it.
    fn bury(&mut self, now: Instant, id: ShardId, effects: &mut Vec<Effect>) {
        let Some(shard) = self.shards.remove(&id) else {
            return;
        };
        let mut gone: Vec<SessionId> = self
            .sessions
            .values()
            .filter(|s| s.shard == id)
            .map(|s| s.id)
            .collect();
        gone.sort_unstable();
        let sessions = gone.len();
        for session in gone {
            self.end(now, session, "shard-lost", Tell::Nobody, effects);
        }
        effects.push(Effect::Notice(Notice::ShardLost {
            name: shard.hello.name,
            sessions,
        }));
    }

    /// Where a new session of a room goes: to the data plane that has the room, on the worker that has most of it until
    /// its budget or its core is used, then on the one with the most room; tracks don't cross data planes.
    pub(super) fn place(&self, room: &crate::names::RoomName) -> Option<(ShardId, WorkerId)> {
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
        let home = here
            .keys()
            .map(|(shard, _)| *shard)
            .find(|id| self.shards.contains_key(id));
        let takes = |id: &ShardId| self.shards.get(id).is_some_and(Shard::takes_sessions);
        let shard = match home {
            Some(home) => takes(&home).then_some(home)?,
            None => self.least_loaded()?,
        };
        let held = self.shards.get(&shard)?;
        let workers = &held.hello.workers;
        let permille = |id: &WorkerId| held.permille.get(id).copied().unwrap_or(0);
        let used = |worker: &WorkerId| here.get(&(shard, *worker)).copied().unwrap_or(0);
        let ids = || workers.iter().map(|worker| worker.id);
        let fullest = ids()
            .filter(|id| (1..budget).contains(&used(id)) && permille(id) < SPILL)
            .max_by_key(used);
        let load = |id: &WorkerId| (permille(id) / STEP, held.load.get(id).copied().unwrap_or(0));
        let worker = fullest.or_else(|| ids().min_by_key(load))?;
        Some((shard, worker))
    }

    fn least_loaded(&self) -> Option<ShardId> {
        let open = self.shards.iter().filter(|(_, shard)| shard.takes_sessions());
        open.min_by_key(|(_, shard)| {
            let workers = u32::try_from(shard.hello.workers.len().max(1)).unwrap_or(u32::MAX);
            let permille = shard.permille.values().sum::<u32>() / workers;
            (permille / STEP, shard.load.values().sum::<usize>())
        })
        .map(|(id, _)| *id)
    }
}
