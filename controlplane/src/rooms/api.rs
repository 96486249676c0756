//! What the rooms are told, and what they say.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use weever_proto::{Command, Event, Hello, Kind, Role, SessionId, SessionSnapshot, TrackStats, WorkerId};

use super::cluster::{LocalNews, NodeName, NodeNews};
use super::limits::Limits;
use super::trace::{JoinTrace, Posted};
use crate::names::{FullId, RoomName};
use crate::sdp::{Description, Fragment, SdpError};

/// Pairs a reply with the request that it answers. Made by the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// A data plane's connection, not its process: a reconnect has a new one. Made by the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u64);

/// The unguessable part of a session's URL: 128 random bits, as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionKey(pub u128);

impl SessionKey {
    /// Reads exactly what [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
        if text.len() != 32 || !text.bytes().all(hex) {
            return None;
        }
        u128::from_str_radix(text, 16).ok().map(Self)
    }
}

impl fmt::Display for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// A key opens its session: logs get none of it.
impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKey(..)")
    }
}

/// Names one stream of a session's events: 64 random bits, as 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StreamId(pub u64);

impl StreamId {
    /// Reads exactly what [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        let id = u64::from_str_radix(text, 16).ok().map(Self)?;
        (id.to_string() == text).then_some(id)
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A kind of event that a subscriber may ask for (draft-ietf-wish-whep, server-sent events).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// Something is shown.
    Active,
    /// Nothing is shown any more.
    Inactive,
    /// The layers of what is shown.
    Layers,
    /// How many subscribe in the room.
    ViewerCount,
    /// It should join anew.
    Reconnect,
}

impl Topic {
    /// Of a player with m-lines for pictures.
    pub const ALL: [Self; 5] = [
        Self::Active,
        Self::Inactive,
        Self::Layers,
        Self::ViewerCount,
        Self::Reconnect,
    ];
    /// Of other subscribers.
    pub const WITHOUT_LAYERS: [Self; 4] = [Self::Active, Self::Inactive, Self::ViewerCount, Self::Reconnect];

    /// As the draft spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
            Self::Layers => "layers",
            Self::ViewerCount => "viewercount",
            Self::Reconnect => "reconnect",
        }
    }

    /// Reads [`Topic::name`].
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|topic| topic.name() == name)
    }
}

/// One layer of a picture. Each has one as yet, which is all there is of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {}

/// What a subscriber is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlayerEvent {
    /// Something is shown.
    Active,
    /// Nothing is shown any more.
    Inactive,
    /// What is shown, by the index of its m-line.
    Layers(BTreeMap<usize, Layer>),
    /// How many subscribe in the room.
    ViewerCount(usize),
    /// It should join anew: this node is being drained.
    Reconnect,
}

impl PlayerEvent {
    /// Its kind.
    pub fn topic(&self) -> Topic {
        match self {
            Self::Active => Topic::Active,
            Self::Inactive => Topic::Inactive,
            Self::Layers(_) => Topic::Layers,
            Self::ViewerCount(_) => Topic::ViewerCount,
            Self::Reconnect => Topic::Reconnect,
        }
    }
}

/// What becomes of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamNews {
    /// It begins.
    Opened {
        /// Whose it is.
        session: SessionKey,
    },
    /// To be read by its client, in order.
    Event(PlayerEvent),
    /// It is over, and what waits with it.
    Ended,
}

/// Somebody wants in.
#[derive(Debug)]
pub struct Join {
    /// To be named in the reply.
    pub request: RequestId,
    /// Which way their media goes.
    pub role: Role,
    /// Where to.
    pub room: RoomName,
    /// As whom.
    pub id: FullId,
    /// Read by [`Description::parse`].
    pub offer: Description,
    /// Players: whose media the slots show (Full ID or ID); default the longest live.
    pub from: Option<String>,
    /// What whoever admitted them allows.
    pub limits: Limits,
    /// When it was asked for.
    pub posted: Posted,
    /// Another node sent them here: they are not sent on.
    pub redirected: bool,
    /// Of the claim to the name in the cluster's directory; 0 without one.
    pub claim: u64,
}

/// What happened, or is wanted.
#[derive(Debug)]
pub enum Action {
    /// POST. Answered by [`Reply::Created`] or [`Reply::Refused`], maybe only after the data plane has answered.
    Join(Box<Join>),
    /// PATCH.
    Trickle {
        /// To be named in the reply.
        request: RequestId,
        /// Of the URL.
        key: SessionKey,
        /// The header, as it came.
        if_match: Option<String>,
        /// What the body said (RFC 8840 §9). Read before it comes here: however long, it keeps nobody else waiting.
        fragment: Result<Fragment, SdpError>,
    },
    /// DELETE.
    Leave {
        /// To be named in the reply.
        request: RequestId,
        /// Of the URL.
        key: SessionKey,
    },
    /// GET and HEAD.
    Inspect {
        /// To be named in the reply.
        request: RequestId,
        /// Of the URL.
        key: SessionKey,
    },
    /// A subscriber opens a stream of events. Answered by [`Reply::Watching`].
    Watch {
        /// To be named in the reply.
        request: RequestId,
        /// Of the URL.
        key: SessionKey,
        /// Which events; `None` for all that it can have.
        topics: Option<BTreeSet<Topic>>,
    },
    /// It closes one.
    Unwatch {
        /// To be named in the reply.
        request: RequestId,
        /// Of the URL.
        key: SessionKey,
        /// Which.
        stream: StreamId,
    },
    /// It asks for the layers of what it is shown. Answered by [`Reply::Layers`].
    Layers {
        /// To be named in the reply.
        request: RequestId,
        /// Of the URL.
        key: SessionKey,
    },
    /// An operator makes a room.
    CreateRoom {
        /// To be named in the reply.
        request: RequestId,
        /// Its name.
        room: RoomName,
    },
    /// An operator disconnects a room, or one session of it.
    Disconnect {
        /// To be named in the reply.
        request: RequestId,
        /// The room.
        room: RoomName,
        /// One of its sessions; `None` for all.
        who: Option<(Role, FullId)>,
    },
    /// A data plane connected and was found in order. Its snapshot follows.
    ShardUp {
        /// Its connection.
        shard: ShardId,
        /// What it said of itself.
        hello: Box<Hello>,
    },
    /// One session that it holds.
    Snapshot {
        /// Its connection.
        shard: ShardId,
        /// The session.
        session: Box<SessionSnapshot>,
    },
    /// That was all; from now on it takes new sessions.
    SnapshotEnd {
        /// Its connection.
        shard: ShardId,
    },
    /// The connection is gone.
    ShardDown {
        /// Which.
        shard: ShardId,
    },
    /// What a data plane measured of its workers.
    Loads {
        /// Its connection.
        shard: ShardId,
        /// Share of its core that each uses, thousandths.
        permille: Vec<(WorkerId, u32)>,
        /// Counters of all of its tracks.
        tracks: Vec<TrackStats>,
    },
    /// Something happened to a session of a data plane.
    Event {
        /// Its connection.
        shard: ShardId,
        /// What.
        event: Event,
    },
    /// From now on nobody is let in.
    Drain,
    /// From now on a data plane gets nobody, and it ends with its last session.
    DrainShard {
        /// To be named in the reply.
        request: RequestId,
        /// Its name.
        name: String,
    },
    /// Somebody looks at a session's packets. Holds for [`weever_proto::limits::WATCH_LEASE_SECS`].
    WatchPackets {
        /// To be named in the reply.
        request: RequestId,
        /// The session.
        session: SessionId,
    },
    /// Nobody does any more.
    UnwatchPackets {
        /// The session.
        session: SessionId,
    },
    /// News of another node of the cluster.
    Node {
        /// Its name.
        node: NodeName,
        /// What.
        news: NodeNews,
    },
    /// Somebody else has a session's name now, at another node: it ends.
    Evict {
        /// The session.
        session: SessionId,
    },
    /// The time of [`crate::rooms::Rooms::next_tick`] has come.
    Tick,
}

/// What is to be done about it.
#[derive(Debug)]
pub enum Effect {
    /// To be sent to a data plane.
    Command {
        /// Its connection.
        shard: ShardId,
        /// What it is to do.
        command: Box<Command>,
    },
    /// To be given to who asked.
    Reply {
        /// Who.
        request: RequestId,
        /// What.
        reply: Reply,
    },
    /// For a subscriber that asked for events.
    Stream {
        /// The stream.
        stream: StreamId,
        /// What becomes of it.
        news: StreamNews,
    },
    /// For the directory of the cluster.
    Local(LocalNews),
    /// For logs, metrics, event streams.
    Notice(Notice),
    /// A join is over, one way or the other: for logs, metrics, traces.
    Traced(Box<JoinTrace>),
}

/// The outcome of a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// 201
    Created {
        /// The SDP answer.
        answer: String,
        /// For the Location.
        key: SessionKey,
        /// Strong, with its quotes.
        etag: String,
        /// The events that it can be told.
        topics: &'static [Topic],
    },
    /// 307: another node takes them.
    Elsewhere {
        /// Its public URL, to which the path is added.
        node: String,
    },
    /// 204: the candidates were taken.
    Trickled,
    /// 200: new ICE credentials.
    Restarted {
        /// The body.
        fragment: String,
        /// Strong, with its quotes.
        etag: String,
    },
    /// 200: gone, or made.
    Done,
    /// 201: a stream of events is open.
    Watching {
        /// Its name.
        stream: StreamId,
    },
    /// 200: what there is to choose from.
    Layers {
        /// Indices of the m-lines for pictures.
        pictures: Vec<usize>,
        /// What is shown on them now.
        layers: BTreeMap<usize, Layer>,
    },
    /// 200: how a session is.
    Found(SessionStatus),
    /// No.
    Refused(Refused),
}

/// What GET on a session's URL tells its client.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct SessionStatus {
    /// The room's name.
    pub room: String,
    /// The Full ID.
    pub id: String,
    /// `publisher` or `subscriber`.
    pub role: &'static str,
    /// Whether its media connection stands.
    pub connected: bool,
    /// Full IDs of the room's publishers, longest there first.
    pub publishers: Vec<String>,
    /// How many subscribe in the room.
    pub subscribers: usize,
}

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The HTTP status.
    pub status: u16,
    /// What and where, and what to do.
    pub detail: String,
    /// When to try again.
    pub retry_after: Option<Duration>,
    /// A word for the metrics, where the status alone doesn't say it.
    pub reason: Option<&'static str>,
}

impl Refused {
    pub(crate) fn new(status: u16, detail: impl Into<String>) -> Self {
        Self {
            status,
            detail: detail.into(),
            retry_after: None,
            reason: None,
        }
    }

    /// The URL is of no session.
    pub(crate) fn no_session() -> Self {
        Self::new(404, "there is no such session; it may have ended")
    }

    pub(crate) fn later(detail: impl Into<String>, retry_after: Duration) -> Self {
        Self {
            status: 503,
            detail: detail.into(),
            retry_after: Some(retry_after),
            reason: None,
        }
    }

    pub(crate) fn because(mut self, reason: &'static str) -> Self {
        self.reason = Some(reason);
        self
    }
}

/// Whom a notice is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who {
    /// The session. It opens nothing: clients know it by its [`SessionKey`], operators by this.
    pub session: SessionId,
    /// The room.
    pub room: RoomName,
    /// Which way media goes.
    pub role: Role,
    /// Full ID.
    pub id: FullId,
}

/// A track, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackName {
    /// `video0`, `audio0`, `video1`.
    pub label: String,
    /// Audio or video.
    pub kind: Kind,
    /// As SDP calls it: `VP8`, `opus`.
    pub codec: String,
}

/// A change of state that others may want to know of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A name was taken: the answer is on its way.
    Joined(Who),
    /// Media can flow.
    Connected(Who),
    /// A data plane held it when this control plane met it first: it has joined at another one, before.
    Resumed {
        /// Whose session.
        who: Who,
        /// Whether media flows.
        connected: bool,
        /// How long it has been there.
        age: Duration,
    },
    /// A session is there, another minute.
    Lasting {
        /// Whose session.
        who: Who,
        /// Whether media flows.
        connected: bool,
        /// How long it has been there.
        age: Duration,
    },
    /// Gone.
    Left {
        /// Whose session.
        who: Who,
        /// `left`, `stopped`, `replaced`, `disconnected`, `shard-lost`, `unanswered-offer`, `duration-exceeded`,
        /// `bitrate-exceeded`, or the data plane's word.
        reason: &'static str,
        /// How long it was there.
        age: Duration,
    },
    /// The first packet of a track came.
    TrackLive {
        /// Whose.
        who: Who,
        /// Which.
        track: TrackName,
    },
    /// A track ended.
    TrackGone {
        /// Whose.
        who: Who,
        /// Which.
        track: TrackName,
    },
    /// Its first session is there.
    RoomOpened(RoomName),
    /// Its last session has left.
    RoomClosed(RoomName),
    /// A data plane takes sessions.
    ShardReady {
        /// Its name.
        name: String,
        /// Sessions that it already had.
        sessions: usize,
    },
    /// A data plane gets nobody any more, and ends with its last session.
    ShardDraining {
        /// Its name.
        name: String,
        /// Sessions that it still has.
        sessions: usize,
    },
    /// A data plane that was drained has ended.
    ShardDrained {
        /// Its name.
        name: String,
    },
    /// A data plane is gone, and its sessions with it.
    ShardLost {
        /// Its name.
        name: String,
        /// How many sessions.
        sessions: usize,
    },
}
