//! An event, as its readers get it.

use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::http::rooms::{kind_word, role_word};
use crate::names::{FullId, RoomName};
use crate::rooms::{Notice, TrackName, Who};
use crate::timestamps::rfc3339;

/// Something that happened.
#[derive(Debug, Serialize)]
pub struct Event<'a> {
    /// The epoch and a number: strictly increasing within an epoch, which is the life of a control plane.
    id: &'a str,
    /// When, RFC 3339.
    at: String,
    /// Where.
    node: &'a str,
    #[serde(flatten)]
    happening: Happening,
}

impl<'a> Event<'a> {
    /// It happens now.
    pub fn now(id: &'a str, node: &'a str, happening: Happening) -> Self {
        Self {
            id,
            at: rfc3339(SystemTime::now()),
            node,
            happening,
        }
    }
}

/// What happened.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Happening {
    /// A name was taken: the answer is on its way.
    SessionJoined {
        /// Whose.
        #[serde(flatten)]
        session: Session,
    },
    /// Media can flow.
    SessionConnected {
        /// Whose.
        #[serde(flatten)]
        session: Session,
    },
    /// A data plane held it when this control plane started.
    SessionResumed {
        /// Whose.
        #[serde(flatten)]
        session: Session,
        /// Whether media flows.
        connected: bool,
        /// How long it has been there.
        seconds: u64,
    },
    /// It is there, another minute.
    SessionDuration {
        /// Whose.
        #[serde(flatten)]
        session: Session,
        /// Whether media flows.
        connected: bool,
        /// How long it has been there.
        seconds: u64,
    },
    /// Gone.
    SessionLeft {
        /// Whose.
        #[serde(flatten)]
        session: Session,
        /// Why.
        reason: &'static str,
        /// How long it was there.
        seconds: u64,
    },
    /// The first packet of a track came.
    TrackLive {
        /// Whose.
        #[serde(flatten)]
        session: Session,
        /// Which.
        #[serde(flatten)]
        track: Track,
    },
    /// A track ended.
    TrackGone {
        /// Whose.
        #[serde(flatten)]
        session: Session,
        /// Which.
        #[serde(flatten)]
        track: Track,
    },
    /// Its first session is there.
    RoomOpened {
        /// Its name.
        room: RoomName,
    },
    /// Its last session has left.
    RoomClosed {
        /// Its name.
        room: RoomName,
    },
    /// A data plane takes sessions.
    ShardUp {
        /// Its name.
        shard: String,
        /// Sessions that it already had.
        sessions: usize,
    },
    /// A data plane gets nobody any more, and ends with its last session.
    ShardDraining {
        /// Its name.
        shard: String,
        /// Sessions that it still has.
        sessions: usize,
    },
    /// A data plane that was drained has ended.
    ShardDrained {
        /// Its name.
        shard: String,
    },
    /// A data plane is gone, and its sessions with it.
    ShardDown {
        /// Its name.
        shard: String,
        /// How many sessions.
        sessions: usize,
    },
    /// What happened before is not told: ask `GET /rooms`, and go on from there.
    Reset {
        /// Why.
        reason: ResetReason,
    },
}

/// Why a stream begins anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResetReason {
    /// No position was given: here it begins.
    Start,
    /// The position is none of this control plane's: it has started since.
    Unknown,
    /// The position is too long ago, or the reader too slow.
    Missed,
    /// Webhook: it didn't take them.
    Undelivered,
}

/// Whose session.
#[derive(Debug, Serialize)]
pub struct Session {
    /// Its public number.
    session: String,
    room: RoomName,
    /// `pub` or `sub`.
    role: &'static str,
    full_id: FullId,
}

/// Which track.
#[derive(Debug, Serialize)]
pub struct Track {
    /// `video0`
    track: String,
    /// `audio` or `video`.
    kind: &'static str,
    codec: String,
}

impl From<&Who> for Session {
    fn from(who: &Who) -> Self {
        Self {
            session: who.session.to_string(),
            room: who.room.clone(),
            role: role_word(who.role),
            full_id: who.id.clone(),
        }
    }
}

impl From<&TrackName> for Track {
    fn from(name: &TrackName) -> Self {
        Self {
            track: name.label.clone(),
            kind: kind_word(name.kind),
            codec: name.codec.clone(),
        }
    }
}

impl From<&Notice> for Happening {
    fn from(notice: &Notice) -> Self {
        let seconds = |age: &Duration| age.as_secs();
        match notice {
            Notice::Joined(who) => Self::SessionJoined { session: who.into() },
            Notice::Connected(who) => Self::SessionConnected { session: who.into() },
            Notice::Resumed { who, connected, age } => Self::SessionResumed {
                session: who.into(),
                connected: *connected,
                seconds: seconds(age),
            },
            Notice::Lasting { who, connected, age } => Self::SessionDuration {
                session: who.into(),
                connected: *connected,
                seconds: seconds(age),
            },
            Notice::Left { who, reason, age } => Self::SessionLeft {
                session: who.into(),
                reason,
                seconds: seconds(age),
            },
            Notice::TrackLive { who, track } => Self::TrackLive {
                session: who.into(),
                track: track.into(),
            },
            Notice::TrackGone { who, track } => Self::TrackGone {
                session: who.into(),
                track: track.into(),
            },
            Notice::RoomOpened(room) => Self::RoomOpened { room: room.clone() },
            Notice::RoomClosed(room) => Self::RoomClosed { room: room.clone() },
            Notice::ShardReady { name, sessions } => Self::ShardUp {
                shard: name.clone(),
                sessions: *sessions,
            },
            Notice::ShardDraining { name, sessions } => Self::ShardDraining {
                shard: name.clone(),
                sessions: *sessions,
            },
            Notice::ShardDrained { name } => Self::ShardDrained { shard: name.clone() },
            Notice::ShardLost { name, sessions } => Self::ShardDown {
                shard: name.clone(),
                sessions: *sessions,
            },
        }
    }
}

impl Happening {
    /// Whose room it concerns.
    pub fn room(&self) -> Option<&RoomName> {
        match self {
            Self::SessionJoined { session }
            | Self::SessionConnected { session }
            | Self::SessionResumed { session, .. }
            | Self::SessionDuration { session, .. }
            | Self::SessionLeft { session, .. }
            | Self::TrackLive { session, .. }
            | Self::TrackGone { session, .. } => Some(&session.room),
            Self::RoomOpened { room } | Self::RoomClosed { room } => Some(room),
            Self::ShardUp { .. }
            | Self::ShardDraining { .. }
            | Self::ShardDrained { .. }
            | Self::ShardDown { .. }
            | Self::Reset { .. } => None,
        }
    }
}
