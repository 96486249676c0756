//! What nodes of a cluster tell each other about their rooms.

use serde::{Deserialize, Serialize};
use weever_proto::{Role, SessionId};

use crate::names::{FullId, RoomName};
use crate::sdp::publish::PublishedTrack;

/// A node of the cluster, by the name that its operator gave it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeName(pub String);

/// A publisher that is live, as nodes other than its own know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LivePublisher {
    /// Its room.
    pub room: RoomName,
    /// Its Full ID.
    pub id: FullId,
    /// Its session.
    pub session: u64,
    /// Since when it is live, milliseconds of Unix time by its node's clock. The longest live is shown first.
    pub since_ms: u64,
    /// What it sends.
    pub tracks: Vec<PublishedTrack>,
}

/// A name that a session of this node holds in the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Claim {
    /// As what.
    pub role: Role,
    /// Where.
    pub room: RoomName,
    /// As whom.
    pub id: FullId,
    /// Told by whoever claimed it: another claim to the same name has another one.
    pub nonce: u64,
}

/// News of this node, for the directory. Later ones of the same subject replace earlier ones, but for what was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalNews {
    /// A publisher is live, or its tracks are others now.
    Published(LivePublisher),
    /// It isn't live any more.
    Unpublished {
        /// Its room.
        room: RoomName,
        /// Its Full ID.
        id: FullId,
    },
    /// How many subscribe in a room.
    Viewers {
        /// The room.
        room: RoomName,
        /// On this node.
        count: u32,
    },
    /// Somebody said something in a room that others may be in.
    Said {
        /// The room.
        room: RoomName,
        /// With the name before it.
        text: String,
    },
    /// A session has ended: its name is free.
    Released(Claim),
    /// Nothing was heard of a session for five seconds, or it is back. While it is silent another may claim its name.
    Silent {
        /// Its name.
        claim: Claim,
        /// Which of the two.
        silent: bool,
    },
}

/// All that the directory holds of a node, for whoever meets it first or has lost count of its news.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeState {
    /// Its live publishers.
    pub publishers: Vec<LivePublisher>,
    /// How many subscribe in which of its rooms.
    pub viewers: Vec<(RoomName, u32)>,
}

/// News of another node, from the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeNews {
    /// This is all that it has. What was known of it and isn't in here is gone.
    State(NodeState),
    /// As [`LocalNews::Published`].
    Published(LivePublisher),
    /// As [`LocalNews::Unpublished`].
    Unpublished {
        /// The room.
        room: RoomName,
        /// The Full ID.
        id: FullId,
    },
    /// As [`LocalNews::Viewers`].
    Viewers {
        /// The room.
        room: RoomName,
        /// On that node.
        count: u32,
    },
    /// As [`LocalNews::Said`].
    Said {
        /// The room.
        room: RoomName,
        /// With the name before it.
        text: String,
    },
    /// It has ended, or its lease ran out: it has nothing any more.
    Gone,
}

/// All of this node's own, for a directory that has just been reached, or has lost it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnState {
    /// What others are to know.
    pub state: NodeState,
    /// Rooms that an operator has made.
    pub created: Vec<RoomName>,
    /// Names of all sessions, whether each is silent, and whose it is.
    pub claims: Vec<(Claim, bool, SessionId)>,
}
