//! Rooms, who is in them, and what they are shown: a pure state machine.
//!
//! [`Rooms::handle`] takes an [`Action`] and appends [`Effect`]s. It opens no socket, asks no clock and draws no random
//! number by itself.
//!
//! Who publishes is *live* from the end of its handshake on; from then on subscribers are told and shown. Names are taken
//! from the POST on.

pub mod api;
mod census;
mod chat;
mod cluster;
mod elsewhere;
mod join;
mod leave;
mod limits;
mod packets;
mod placement;
mod published;
mod rates;
mod restart;
mod session;
mod settling;
mod shards;
mod show;
mod trace;
mod tracks;
mod viewers;
mod watching;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use weever_proto::{ChannelLabel, Command, Event, IceCredentials, Role, SessionId};

pub use api::{
    Action, Effect, Join, Layer, Notice, PlayerEvent, Refused, Reply, RequestId, SessionKey, SessionStatus,
    ShardId, StreamId, StreamNews, Topic, TrackName, Who,
};
pub use census::{Census, RoomDetail, RoomInfo, SessionInfo, ShardInfo, TrackInfo, WorkerInfo};
pub use chat::ChatCounts;
pub use cluster::{Claim, LivePublisher, LocalNews, NodeName, NodeNews, NodeState, OwnState};
pub use elsewhere::Clock;
use elsewhere::Elsewhere;
pub use limits::Limits;
use session::Session;
use shards::Shard;
pub use trace::{JoinOutcome, JoinTrace, Posted};
pub use tracks::Traffic;
use watching::Watchers;

use crate::names::{FullId, RoomName};
use crate::sdp::emit::LocalTransport;

/// How often a session's duration is told.
const MINUTE: Duration = Duration::from_secs(60);

/// Where random numbers come from. Tests count.
pub trait Entropy: Send {
    /// 64 bits that nobody can guess.
    fn draw(&mut self) -> u64;
}

/// How rooms are run.
#[derive(Debug, Clone, Default)]
pub struct RoomsConfig {
    /// Rooms must be created before they are joined.
    pub strict_rooms: bool,
    /// Sessions of one room that a worker takes before the next worker is used; 0 for the default.
    pub room_budget: usize,
    /// URL of the node that takes those who can't be taken here.
    pub overflow: Option<String>,
    /// What time it is, for other nodes.
    pub clock: Clock,
}

/// All rooms of a node.
pub struct Rooms {
    config: RoomsConfig,
    entropy: Box<dyn Entropy>,
    rooms: BTreeMap<RoomName, Room>,
    sessions: HashMap<SessionId, Session>,
    keys: HashMap<SessionKey, SessionId>,
    names: HashMap<(RoomName, Role, FullId), SessionId>,
    shards: BTreeMap<ShardId, Shard>,
    /// When to look at which session. What no longer holds is skipped.
    timers: BTreeSet<(Instant, SessionId)>,
    /// When to tell how long which session lasts. Those that have ended are skipped.
    minutes: BTreeSet<(Instant, SessionId)>,
    /// When to count which room's viewers for those who want to know.
    counts: BTreeSet<(Instant, RoomName)>,
    draining: bool,
    chat: ChatCounts,
    elsewhere: Elsewhere,
    clock: Clock,
}

/// Who is in a room. Sessions in the order in which they came.
#[derive(Debug, Default)]
struct Room {
    /// Made by an operator: stays when it is empty.
    created: bool,
    /// Since when somebody is in.
    since: Option<Instant>,
    publishers: Vec<SessionId>,
    subscribers: Vec<SessionId>,
    /// Publishers whose handshake is done, longest first.
    live: Vec<SessionId>,
    chat: chat::Budget,
    watchers: Watchers,
}

impl Rooms {
    /// Nobody is in.
    pub fn new(config: RoomsConfig, entropy: Box<dyn Entropy>) -> Self {
        Self {
            clock: config.clock,
            config,
            entropy,
            rooms: BTreeMap::new(),
            sessions: HashMap::new(),
            keys: HashMap::new(),
            names: HashMap::new(),
            shards: BTreeMap::new(),
            timers: BTreeSet::new(),
            minutes: BTreeSet::new(),
            counts: BTreeSet::new(),
            draining: false,
            chat: ChatCounts::default(),
            elsewhere: Elsewhere::default(),
        }
    }

    /// Takes an action; appends what is to be done about it.
    pub fn handle(&mut self, now: Instant, action: Action, effects: &mut Vec<Effect>) {
        match action {
            Action::Join(join) => self.join(now, *join, effects),
            Action::Trickle {
                request,
                key,
                if_match,
                fragment,
            } => {
                let reply = self.trickle(key, if_match.as_deref(), fragment, effects);
                reply_to(request, reply, effects);
            }
            Action::Leave { request, key } => {
                let reply = match self.keys.get(&key).copied() {
                    Some(session) => {
                        self.end(now, session, "left", Tell::Shard, effects);
                        Reply::Done
                    }
                    None => unknown_session(),
                };
                reply_to(request, reply, effects);
            }
            Action::Inspect { request, key } => reply_to(request, self.inspect(key), effects),
            Action::Watch { request, key, topics } => {
                let reply = self.watch(key, topics, effects);
                reply_to(request, reply, effects);
            }
            Action::Unwatch { request, key, stream } => {
                let reply = self.unwatch(key, stream, effects);
                reply_to(request, reply, effects);
            }
            Action::Layers { request, key } => reply_to(request, self.layers(key), effects),
            Action::CreateRoom { request, room } => reply_to(request, self.create_room(&room), effects),
            Action::Disconnect { request, room, who } => {
                let reply = self.disconnect(now, &room, who.as_ref(), effects);
                reply_to(request, reply, effects);
            }
            Action::ShardUp { shard, hello } => self.shard_up(now, shard, *hello, effects),
            Action::Snapshot { shard, session } => self.adopt(now, shard, *session, effects),
            Action::SnapshotEnd { shard } => self.snapshot_end(now, shard, effects),
            Action::ShardDown { shard } => self.shard_down(now, shard),
            Action::Loads {
                shard,
                permille,
                tracks,
            } => {
                self.measured(now, shard, permille, &tracks);
                self.counted(now, shard, &tracks, effects);
            }
            Action::Event { shard, event } => self.event(now, shard, event, effects),
            Action::Drain => {
                if !std::mem::replace(&mut self.draining, true) {
                    self.tell_reconnect(effects);
                }
            }
            Action::DrainShard { request, name } => {
                let reply = self.drain_shard(&name, effects);
                reply_to(request, reply, effects);
            }
            Action::WatchPackets { request, session } => {
                let reply = self.watch_packets(session, effects);
                reply_to(request, reply, effects);
            }
            Action::UnwatchPackets { session } => self.unwatch_packets(session, effects),
            Action::Node { node, news } => self.node_news(now, &node, news, effects),
            Action::Evict { session } => self.end(now, session, "replaced", Tell::Shard, effects),
            Action::Tick => self.tick(now, effects),
        }
    }

    /// When [`Action::Tick`] is due.
    pub fn next_tick(&self) -> Option<Instant> {
        let session = self.timers.first().map(|(at, _)| *at);
        let shard = self.shards.values().filter_map(Shard::grace_ends).min();
        let minute = self.minutes.first().map(|(at, _)| *at);
        let others = minute.into_iter().chain(self.next_count());
        session.into_iter().chain(shard).chain(others).min()
    }

    /// Whether a data plane is there and every one that is has told what it holds.
    pub fn knows_who_is_there(&self) -> bool {
        !self.shards.is_empty() && self.shards.values().all(Shard::is_ready)
    }

    /// Whether somebody could be let in now.
    pub fn is_ready(&self) -> bool {
        !self.draining && self.shards.values().any(Shard::takes_sessions)
    }

    /// How many sessions there are.
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    fn event(&mut self, now: Instant, shard: ShardId, event: Event, effects: &mut Vec<Effect>) {
        let id = match &event {
            Event::SessionReady { session }
            | Event::CommandRefused { session, .. }
            | Event::SessionConnected { session }
            | Event::SessionSilent { session, .. }
            | Event::SessionClosed { session, .. }
            | Event::ChannelOpen { session, .. }
            | Event::ChannelClosed { session, .. }
            | Event::Text { session, .. }
            | Event::TrackLive { session, .. }
            | Event::TrackGone { session, .. }
            | Event::JoinProgress { session, .. } => *session,
            // For those who look at packets: `crate::windows`.
            Event::Packets(_) | Event::WatchEnded { .. } => return,
        };
        if let (Event::SessionClosed { .. }, Some(shard)) = (&event, self.shards.get_mut(&shard)) {
            shard.has_closed(id);
        }
        // News of a session that is gone, or that another data plane has.
        let Some(session) = self
            .sessions
            .get_mut(&id)
            .filter(|session| session.shard == shard)
        else {
            return;
        };
        match event {
            Event::SessionReady { .. } => self.ready(now, id, effects),
            Event::CommandRefused { reason, detail, .. } => self.refused(now, id, reason, &detail, effects),
            Event::SessionConnected { .. } => self.connected(now, id, effects),
            Event::SessionSilent { silent, .. } => session.set_silent(silent, effects),
            Event::SessionClosed { reason, .. } => self.end(now, id, reason.as_str(), Tell::Nobody, effects),
            Event::ChannelOpen { channel, .. } => match channel {
                ChannelLabel::Control => {
                    session.channel_open = true;
                    self.restage(now, id, effects);
                }
                ChannelLabel::Chat => session.chat_open = true,
            },
            Event::ChannelClosed { channel, .. } => match channel {
                // A subscriber keeps what it is shown; an offer that is out won't be answered.
                ChannelLabel::Control => {
                    session.channel_open = false;
                    self.watch_viewers(now, id, false, effects);
                }
                ChannelLabel::Chat => session.chat_open = false,
            },
            Event::Text { channel, text, .. } => match channel {
                ChannelLabel::Control => self.text(now, id, &text, effects),
                ChannelLabel::Chat => self.chat(now, id, &text, effects),
            },
            Event::TrackLive { track, .. } => session.track_live(track, effects),
            Event::TrackGone { track, .. } => session.track_gone(track, effects),
            Event::JoinProgress { stage, after_us, .. } => {
                self.progress(now, id, stage, Duration::from_micros(after_us), effects);
            }
            Event::Packets(_) | Event::WatchEnded { .. } => {}
        }
    }

    fn tick(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        self.bury_lost_shards(now, effects);
        self.count_due(now, effects);
        while let Some((at, id)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            self.timers.remove(&(at, id));
            self.late(now, id, effects);
        }
        while let Some((at, id)) = self.minutes.first().copied().filter(|(at, _)| *at <= now) {
            self.minutes.remove(&(at, id));
            self.lasts(now, id, effects);
        }
    }

    /// Another minute of a session.
    fn lasts(&mut self, now: Instant, id: SessionId, effects: &mut Vec<Effect>) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        let age = now.saturating_duration_since(session.joined);
        effects.push(Effect::Notice(Notice::Lasting {
            who: session.who(),
            connected: session.connected,
            age,
        }));
        // Whole ones from the beginning, however late this one is told.
        self.minutes
            .insert((session.joined + MINUTE + whole_minutes(age), id));
    }

    /// A session's timer has run out: which?
    fn late(&mut self, now: Instant, id: SessionId, effects: &mut Vec<Effect>) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        let role = session.role();
        if session
            .starting
            .as_ref()
            .is_some_and(|starting| starting.deadline <= now)
        {
            return self.end(now, id, "data-plane-silent", Tell::Shard, effects);
        }
        if session.must_end().is_some_and(|at| at <= now) {
            return self.end(now, id, "duration-exceeded", Tell::Shard, effects);
        }
        if session
            .joining
            .as_ref()
            .is_some_and(|joining| joining.deadline() <= now)
        {
            self.end_trace(now, id, JoinOutcome::NoMedia, effects);
        }
        match role {
            Role::Publisher => self.tell_of_viewers(now, id, effects),
            Role::Subscriber => {
                self.unanswered(now, id, effects);
                self.settle(now, id, effects);
            }
        }
    }

    fn inspect(&self, key: SessionKey) -> Reply {
        let session = self.keys.get(&key).and_then(|id| self.sessions.get(id));
        let Some(session) = session else {
            return unknown_session();
        };
        let room = &session.state.room;
        Reply::Found(SessionStatus {
            room: room.to_string(),
            id: session.state.id.to_string(),
            role: if session.state.is_publisher() {
                "publisher"
            } else {
                "subscriber"
            },
            connected: session.connected,
            publishers: self
                .list_everywhere(room)
                .iter()
                .map(ToString::to_string)
                .collect(),
            subscribers: self.viewers(room),
        })
    }

    fn create_room(&mut self, name: &RoomName) -> Reply {
        let room = self.rooms.entry(name.clone()).or_default();
        if std::mem::replace(&mut room.created, true) {
            return Reply::Refused(Refused::new(409, format!("the room {name} exists already")));
        }
        Reply::Done
    }

    /// The transport of a session, as SDP tells it. `None` while its data plane is away.
    fn transport(&self, session: &Session) -> Option<LocalTransport> {
        let shard = self.shards.get(&session.shard)?;
        Some(LocalTransport {
            ice: session.state.local(),
            fingerprint: shard.fingerprint().clone(),
            candidates: shard.candidates(session.worker)?.to_vec(),
        })
    }

    /// Random ICE credentials: 48 bits of fragment, 144 of password (RFC 8445 §5.3 wants 24 and 128).
    fn credentials(&mut self) -> IceCredentials {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut letters = |n: usize| {
            let mut text = String::with_capacity(n);
            while text.len() < n {
                let bits = self.entropy.draw();
                for shift in (0..60).step_by(6).take(n - text.len()) {
                    let index = usize::try_from(bits >> shift & 63).unwrap_or(0);
                    text.push(char::from(ALPHABET[index]));
                }
            }
            text
        };
        IceCredentials {
            ufrag: letters(8),
            password: letters(24),
        }
    }
}

/// Whom the end of a session is news to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tell {
    /// Its data plane has to close it.
    Shard,
    /// Its data plane said so, or is gone.
    Nobody,
}

fn reply_to(request: RequestId, reply: Reply, effects: &mut Vec<Effect>) {
    effects.push(Effect::Reply { request, reply });
}

fn command(shard: ShardId, command: Command, effects: &mut Vec<Effect>) {
    effects.push(Effect::Command {
        shard,
        command: Box::new(command),
    });
}

fn whole_minutes(age: Duration) -> Duration {
    Duration::from_secs(age.as_secs() / MINUTE.as_secs() * MINUTE.as_secs())
}

fn unknown_session() -> Reply {
    Reply::Refused(Refused::no_session())
}
