//! Data planes: coming, going, and telling what they hold.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use weever_proto::{
    Command, Fingerprint, Hello, SessionId, SessionSnapshot, TrackId, TrackStats, Version, WorkerHello,
    WorkerId,
};

use super::api::{Effect, Notice, Refused, Reply, ShardId};
use super::rates::Meter;
use super::session::{MediaState, Negotiation, Session, State};
use super::tracks::{Traffic, TrafficOfTracks};
use super::watching::EventStreams;
use super::{Rooms, ShardInfo, Tell, WorkerInfo, command};

/// How long a lost data plane's sessions wait for it to dial again.
const GRACE: Duration = Duration::from_secs(1);
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
    /// It gets nobody any more, and ends with its last session.
    draining: bool,
    traffic: TrafficOfTracks,
}

impl Shard {
    pub(super) fn name(&self) -> &str {
        &self.hello.name
    }

    /// Of the protocol.
    pub(super) fn version(&self) -> Version {
        self.hello.version
    }

    /// It can send tracks to other data planes, and get theirs.
    pub(super) fn has_relay(&self) -> bool {
        self.hello.relay && self.hello.version.knows(3)
    }

    /// Its connection is lost, or its snapshot isn't complete.
    pub(super) fn is_away(&self) -> bool {
        self.lost.is_some() || !self.ready
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
        self.ready && !self.draining && self.lost.is_none() && self.sessions() < max
    }

    /// It has told which sessions it holds.
    pub(super) fn is_ready(&self) -> bool {
        self.ready
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining
    }

    /// What its tracks carry, as it said last.
    pub(super) fn traffic(&self, track: TrackId) -> Option<Traffic> {
        self.traffic.of(track)
    }

    /// Sessions on all of its workers.
    pub(super) fn sessions(&self) -> usize {
        self.load.values().sum()
    }

    pub(super) fn sessions_of(&self, worker: WorkerId) -> usize {
        self.load.get(&worker).copied().unwrap_or(0)
    }

    /// Share of its core that a worker uses, thousandths.
    pub(super) fn permille(&self, worker: WorkerId) -> u32 {
        self.permille.get(&worker).copied().unwrap_or(0)
    }

    pub(super) fn workers(&self) -> impl Iterator<Item = WorkerId> {
        self.hello.workers.iter().map(|worker| worker.id)
    }

    pub(super) fn info(&self) -> ShardInfo {
        let worker = |hello: &WorkerHello| WorkerInfo {
            worker: hello.id.0,
            candidates: hello.candidates.clone(),
            sessions: self.sessions_of(hello.id),
            load_permille: self.permille(hello.id),
        };
        ShardInfo {
            name: self.hello.name.clone(),
            software: self.hello.software.clone(),
            ready: self.takes_sessions(),
            draining: self.draining,
            workers: self.hello.workers.iter().map(worker).collect(),
        }
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
        let (mut load, mut closing, mut draining) = (BTreeMap::new(), BTreeSet::new(), hello.draining);
        if let Some((old, shard)) = same_name.map(|(old, shard)| (*old, shard)) {
            if shard.hello.incarnation == hello.incarnation {
                // The same process dialled again: its sessions live on, and the snapshot will tell which.
                load.clone_from(&shard.load);
                closing.clone_from(&shard.closing);
                // The command may have been lost with the connection.
                draining |= shard.draining;
                for session in self.sessions.values_mut().filter(|session| session.shard == old) {
                    session.shard = id;
                    session.seen = false;
                }
                self.shards.remove(&old);
            } else {
                self.bury(now, old, effects);
            }
        }
        if draining && !hello.draining {
            command(id, Command::Drain, effects);
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
                draining,
                traffic: TrafficOfTracks::default(),
            },
        );
    }

    /// From now on the data plane of this name gets nobody. Those who are on it stay.
    pub(super) fn drain_shard(&mut self, name: &str, effects: &mut Vec<Effect>) -> Reply {
        let found = self.shards.iter_mut().find(|(_, shard)| shard.hello.name == name);
        let Some((id, shard)) = found else {
            return Reply::Refused(Refused::new(404, format!("no data plane is called {name:?}")));
        };
        if !std::mem::replace(&mut shard.draining, true) {
            command(*id, Command::Drain, effects);
            effects.push(Effect::Notice(Notice::ShardDraining {
                name: name.to_owned(),
                sessions: shard.sessions(),
            }));
        }
        Reply::Done
    }

    pub(super) fn measured(
        &mut self,
        now: Instant,
        id: ShardId,
        permille: Vec<(WorkerId, u32)>,
        tracks: &[TrackStats],
    ) {
        if let Some(shard) = self.shards.get_mut(&id) {
            let whole = |(worker, permille): (WorkerId, u32)| (worker, permille.min(1000));
            shard.permille = permille.into_iter().map(whole).collect();
            shard.traffic.measured(now, tracks);
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
        if self.sessions.get(&id).is_some_and(|known| known.shard != shard) {
            // It is another data plane's.
            return command(shard, Command::CloseSession { session: id }, effects);
        }
        if let Some(session) = self.sessions.get_mut(&id) {
            session.seen = true;
            session.routes = routes;
            let live = snapshot.live_tracks.clone();
            session.set_silent(snapshot.silent, effects);
            // What the connection lost is said again.
            session.stale |= snapshot.channel_open && !session.channel_open;
            session.channel_open = snapshot.channel_open;
            session.chat_open = snapshot.chat_open;
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
            return self.live_tracks_are(id, &live, effects);
        }
        let state = State::decode(&snapshot.spec.state);
        let Some((state, key)) = state.and_then(|state| state.key().map(|key| (state, key))) else {
            // Of a version that wrote its state in another way, or not ours at all.
            return command(shard, Command::CloseSession { session: id }, effects);
        };
        let name = (state.room.clone(), snapshot.spec.role, state.id.clone());
        let is_taken = self.names.contains_key(&name) || self.keys.contains_key(&key);
        let contradicts = state.role() != snapshot.spec.role || !self.has_worker(shard, snapshot.spec.worker);
        if is_taken || contradicts {
            return command(shard, Command::CloseSession { session: id }, effects);
        }
        if let Some(shard) = self.shards.get_mut(&shard) {
            shard.add_load(snapshot.spec.worker);
        }
        let age = Duration::from_millis(snapshot.age_ms);
        let joined = now.checked_sub(age).unwrap_or(now);
        let offered = matches!(&state.media, MediaState::Subscriber { offered: true, .. });
        let session = Session {
            id,
            shard,
            worker: snapshot.spec.worker,
            joined,
            live_since: joined,
            starting: None,
            joining: None,
            connected: snapshot.connected,
            silent: snapshot.silent,
            channel_open: snapshot.channel_open,
            chat_open: snapshot.chat_open,
            live_tracks: BTreeMap::new(),
            routes,
            negotiation: Negotiation::Idle,
            // An offer may have been lost with the old control plane, or its answer: it is made again.
            stale: offered,
            watch: None,
            renegotiated: Vec::new(),
            settles: None,
            seen: true,
            meter: Meter::default(),
            event_streams: EventStreams::default(),
            state,
        };
        let (room, viewer) = (session.state.room.clone(), session.state.id.clone());
        let is_viewer = session.connected && !session.state.is_publisher();
        let resumed = Notice::Resumed {
            who: session.who(),
            connected: session.connected,
            age: now.saturating_duration_since(session.joined),
        };
        let is_subscriber = !session.state.is_publisher();
        self.insert(session, key, effects);
        if is_subscriber {
            self.tell_viewers(&room, effects);
        }
        if self.config.strict_rooms
            && let Some(room) = self.rooms.get_mut(&room)
        {
            // Somebody is in, so it was created, and not deleted.
            room.created = true;
        }
        if is_viewer {
            // Of another data plane, whose publishers are there already.
            self.viewer_changed(now, &room, &viewer, effects);
        }
        effects.push(Effect::Notice(resumed));
        self.begin_settling(id);
        self.live_tracks_are(id, &snapshot.live_tracks, effects);
    }

    fn has_worker(&self, shard: ShardId, worker: WorkerId) -> bool {
        self.shards
            .get(&shard)
            .is_some_and(|shard| shard.candidates(worker).is_some())
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
        self.recover_live(&held, effects);
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
        let name = shard.hello.name;
        effects.push(Effect::Notice(if shard.draining && sessions == 0 {
            Notice::ShardDrained { name }
        } else {
            Notice::ShardLost { name, sessions }
        }));
    }
}
