//! One core's share of the work: its sessions, tracks and routes, and all that happens to them.
//!
//! This file is the table of contents; what each entry does stands in the files beside it.

mod broadcasts;
mod commands;
mod datagrams;
mod fanout;
mod handshakes;
mod happenings;
mod siblings;
mod taps;
mod timers;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;
use slab::Slab;
use weever_proto::{
    Command, Event, Kind, SessionId, SessionSnapshot, TrackId, TrackStats, WorkerId, WorkerStats,
};

use self::broadcasts::Broadcasts;
use self::handshakes::Handshakes;
use crate::crypto::Identity;
use crate::delay::Delays;
use crate::demux::{Demux, SessionKey};
use crate::drops::{DropReason, Drops};
use crate::egress::{Egress, Path};
use crate::forward::{Sender, Sent};
use crate::handover::Handover;
use crate::load::Load;
use crate::session::{Media, Session};
use crate::tap::Taps;
use crate::timer::TimerWheel;
use crate::track::{Origin, Track, TrackKey};

/// What a worker is given to start with.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// Its number in the process.
    pub id: WorkerId,
    /// The process's certificate.
    pub identity: Arc<Identity>,
    /// Sessions beyond this are refused.
    pub max_sessions: usize,
    /// How long a packet may wait for others of its frame when the core is busy. On a calm one nothing waits.
    pub egress_window_max: Duration,
    /// There is a relay: handovers to [`weever_proto::RELAY`] arrive.
    pub relay: bool,
}

/// Sessions, tracks and routes of one core. Single-threaded; see the crate's documentation for the contract.
pub struct Worker {
    config: WorkerConfig,
    sessions: Slab<Session>,
    session_keys: FxHashMap<SessionId, SessionKey>,
    /// Beside `sessions`, by the same key: the part that forwarding touches.
    senders: Vec<Option<Sender>>,
    tracks: Slab<Track>,
    track_keys: FxHashMap<TrackId, TrackKey>,
    demux: Demux,
    wheel: TimerWheel,
    /// Tracks with packets or reports to forward.
    ripe: Vec<TrackKey>,
    /// Tracks for which a keyframe is wanted.
    wanting: Vec<TrackKey>,
    handshakes: Handshakes,
    broadcasts: Broadcasts,
    events: VecDeque<Event>,
    handovers: VecDeque<(WorkerId, Handover)>,
    received: Received,
    sent: Sent,
    draining: bool,
    load: Load,
    delays: Delays,
    /// Who is watched.
    taps: Taps,
    /// Sessions that were not let in.
    refused: u64,
    /// Reused between turns.
    due: Vec<u32>,
    /// Likewise.
    burst: Vec<u64>,
}

/// What came in.
#[derive(Debug, Default)]
struct Received {
    packets: u64,
    bytes: u64,
    nacked_packets: u64,
    keyframe_requests: u64,
    drops: Drops,
}

impl Worker {
    /// An empty worker.
    pub fn new(config: WorkerConfig, now: Instant) -> Self {
        let load = Load::new(config.egress_window_max, now);
        Self {
            config,
            sessions: Slab::new(),
            session_keys: FxHashMap::default(),
            senders: Vec::new(),
            tracks: Slab::new(),
            track_keys: FxHashMap::default(),
            demux: Demux::default(),
            wheel: TimerWheel::new(now),
            ripe: Vec::new(),
            wanting: Vec::new(),
            handshakes: Handshakes::default(),
            broadcasts: Broadcasts::default(),
            events: VecDeque::new(),
            handovers: VecDeque::new(),
            received: Received::default(),
            sent: Sent::default(),
            draining: false,
            load,
            delays: Delays::default(),
            taps: Taps::default(),
            refused: 0,
            due: Vec::new(),
            burst: Vec::new(),
        }
    }

    /// Takes one datagram as the socket gave it.
    pub fn handle_datagram(&mut self, now: Instant, from: Path, datagram: &[u8], egress: &mut impl Egress) {
        self.received.packets += 1;
        self.received.bytes += datagram.len() as u64;
        let taken = if self.taps.is_empty() {
            self.take_datagram(now, from, datagram, egress)
        } else {
            self.take_watched_datagram(now, from, datagram, egress)
        };
        if let Err(reason) = taken {
            self.received.drops.count(reason);
        }
    }

    /// Carries out a command of the control plane. Answers are events.
    pub fn handle_command(&mut self, now: Instant, command: Command, egress: &mut impl Egress) {
        match command {
            Command::Watch { session } => self.watch(now, session),
            Command::Unwatch { session } => self.unwatch(now, session),
            command if self.taps.is_empty() => self.carry_out(now, command, egress),
            command => self.watched(now, egress, |worker, egress| {
                worker.carry_out(now, command, egress);
            }),
        }
    }

    /// Takes what another worker of the process handed over.
    pub fn handle_handover(&mut self, now: Instant, handover: Handover, egress: &mut impl Egress) {
        if let Err(reason) = self.take_handover(now, handover) {
            self.received.drops.count(reason);
        }
        if self.taps.is_empty() {
            self.request_keyframes(now, egress);
        } else {
            self.watched(now, egress, |worker, egress| {
                worker.request_keyframes(now, egress);
            });
        }
    }

    /// Does what time alone brings about.
    pub fn handle_timeout(&mut self, now: Instant, egress: &mut impl Egress) {
        if self.taps.is_empty() {
            self.serve(now, egress);
        } else {
            self.watched(now, egress, |worker, egress| worker.serve(now, egress));
        }
    }

    /// Sends the bursts that have gathered for long enough, then goes on with some of the handshakes and of the texts for
    /// many that wait.
    pub fn flush(&mut self, now: Instant, egress: &mut impl Egress) {
        if self.taps.is_empty() {
            self.send_due(now, egress);
        } else {
            self.watched(now, egress, |worker, egress| worker.send_due(now, egress));
        }
    }

    /// The turn of the loop that began at `began` is over at `ended`.
    pub fn end_turn(&mut self, began: Instant, ended: Instant) {
        self.load.observe(began, ended);
        self.delays.end(ended);
    }

    /// When [`Worker::handle_timeout`] or [`Worker::flush`] is due. Moves with every call that changes something.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let keyframe = self
            .wanting
            .iter()
            .filter_map(|key| self.tracks.get(*key)?.keyframes.next())
            .min();
        [
            self.wheel.next(),
            keyframe,
            self.next_burst(),
            self.handshakes.next(),
            self.broadcasts.next(),
            self.taps.next(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// What the control plane is to be told, oldest first.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// What other workers are to be handed, oldest first.
    pub fn poll_handover(&mut self) -> Option<(WorkerId, Handover)> {
        self.handovers.pop_front()
    }

    /// Every session as it is, for a control plane that has to learn them anew.
    pub fn snapshot(&self, now: Instant) -> Vec<SessionSnapshot> {
        self.sessions
            .iter()
            .map(|(_, session)| session.snapshot(now))
            .collect()
    }

    /// There is more to do at once, without anything coming in.
    pub fn is_behind(&self) -> bool {
        self.handshakes.next().is_some() || self.broadcasts.next().is_some()
    }

    /// How many sessions there are.
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// Counters since the start. CPU time and I/O backend are the caller's to fill in.
    pub fn stats(&self) -> WorkerStats {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let drops = DropReason::ALL.iter().map(|reason| {
            (
                reason.as_str().to_owned(),
                self.received.drops.get(*reason) + self.sent.drops.get(*reason),
            )
        });
        WorkerStats {
            worker: self.config.id,
            sessions: count(self.sessions.len()),
            tracks: count(self.tracks.len()),
            routes: count(self.tracks.iter().map(|(_, track)| track.routes.len()).sum()),
            packets_in: self.received.packets,
            bytes_in: self.received.bytes,
            packets_out: self.sent.packets,
            bytes_out: self.sent.bytes,
            sends: self.sent.sends,
            rtx_packets: self.sent.rtx_packets,
            nacked_packets: self.received.nacked_packets,
            keyframe_requests: self.received.keyframe_requests,
            refused: self.refused,
            cpu_ns: 0,
            load_permille: self.load.permille(),
            egress_window_us: micros(self.load.window()),
            delays: self.delays.counts().to_vec(),
            delay_sum_us: self.delays.sum_us(),
            drops: drops.collect(),
            io: String::new(),
        }
    }

    /// Counters of each track that a publisher of this worker feeds; viewers are those of this worker.
    pub fn track_stats(&self) -> Vec<TrackStats> {
        let own = self
            .tracks
            .iter()
            .filter(|(_, track)| matches!(track.origin, Origin::Session(_)));
        own.map(|(_, track)| TrackStats {
            track: track.id,
            packets: track.stats.packets,
            bytes: track.stats.bytes,
            keyframes: track.stats.keyframes,
            lost: track.lost(),
            viewers: u32::try_from(track.routes.len()).unwrap_or(u32::MAX),
        })
        .collect()
    }

    /// The counter of one reason.
    pub fn drops(&self, reason: DropReason) -> u64 {
        self.received.drops.get(reason) + self.sent.drops.get(reason)
    }

    fn serve(&mut self, now: Instant, egress: &mut impl Egress) {
        self.serve_deadlines(now, egress);
        self.request_keyframes(now, egress);
    }

    fn send_due(&mut self, now: Instant, egress: &mut impl Egress) {
        self.forward_due(now, egress);
        self.shake_hands(now, egress);
        self.spread(now, egress);
        self.request_keyframes(now, egress);
    }

    fn session(&mut self, key: SessionKey) -> Option<&mut Session> {
        self.sessions.get_mut(key as usize)
    }

    fn track_or_new(&mut self, id: TrackId, kind: Kind) -> TrackKey {
        if let Some(key) = self.track_keys.get(&id) {
            return *key;
        }
        let key = self.tracks.insert(Track::new(id, kind));
        self.track_keys.insert(id, key);
        key
    }

    /// Forgets a track that has neither source nor viewer.
    fn drop_idle_track(&mut self, key: TrackKey) {
        if self.tracks.get(key).is_some_and(Track::is_idle) {
            let track = self.tracks.remove(key);
            self.track_keys.remove(&track.id);
            self.ripe.retain(|ripe| *ripe != key);
            self.wanting.retain(|wanting| *wanting != key);
        }
    }

    /// Somebody wants a keyframe of this track.
    fn want_keyframe(&mut self, key: TrackKey) {
        let Some(track) = self.tracks.get_mut(key) else {
            return;
        };
        track.keyframes.want();
        if !std::mem::replace(&mut track.wanting, true) {
            self.wanting.push(key);
        }
    }

    fn mark_ripe(&mut self, key: TrackKey) {
        if let Some(track) = self.tracks.get_mut(key)
            && !std::mem::replace(&mut track.ripe, true)
        {
            self.ripe.push(key);
        }
    }

    fn is_publisher(&self, key: SessionKey) -> bool {
        self.sessions
            .get(key as usize)
            .is_some_and(|s| matches!(s.media, Media::Publisher(_)))
    }
}

fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}
