//! Who is where in a cluster: nodes with their leases, the names that their sessions hold, what they publish, and tokens.
//!
//! [`Directory`] is what a store has to offer; [`memory`] keeps it in this process, [`redis`] in Redis. What a node does with
//! it is in [`crate::cluster`].

pub mod memory;
pub mod redis;
pub mod tokens;

use std::time::Duration;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use weever_proto::Role;

use crate::names::{FullId, RoomName};
use crate::rooms::NodeName;
use tokens::TokenKey;

/// A node that isn't heard of for so long is dead.
pub const LEASE: Duration = Duration::from_secs(6);
/// From its death until its entries are cleared away. Names that it held are free from its death on.
pub const REAP_AFTER: Duration = Duration::from_secs(2);
/// Longest message, bytes. Changes are cut into such; what is longer is none of ours.
pub const MAX_MESSAGE: usize = 1024 * 1024;
/// Messages that wait for a reader. One that falls behind reads the state instead.
pub const MAX_WAITING: usize = 4096;

/// Why the directory has not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Away {
    /// There is no connection.
    #[error("the directory can't be reached: {0}")]
    Unreachable(String),
    /// There is one, but no answer came in time.
    #[error("the directory has not answered in time")]
    TimedOut,
    /// It has answered that this node may not do that.
    #[error("the directory does not allow it: {0}")]
    Denied(String),
    /// It has answered that it won't.
    #[error("the directory has refused: {0}")]
    Refused(String),
}

/// What comes of asking.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, Away>>;

/// One life of a node.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Member {
    /// Its name, told by its operator.
    pub node: NodeName,
    /// Which of its lives: random.
    pub incarnation: String,
}

/// What a node says of itself with every renewal of its lease.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Its life.
    pub incarnation: String,
    /// The place that only one process can have at a time: who has it after another knows that the other is gone.
    pub owner: String,
    /// Where clients reach it.
    #[serde(default)]
    pub url: Option<String>,
    /// Whether it takes sessions.
    #[serde(default)]
    pub takes: bool,
    /// How loaded it is, thousandths.
    #[serde(default)]
    pub load: u32,
    /// Whether its state is all there: until then what others know of it holds.
    #[serde(default)]
    pub settled: bool,
    /// It has ended, and its sessions wait for its next life.
    #[serde(default)]
    pub handed_over: bool,
}

/// A name in the cluster: of a session.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// As what.
    pub publishes: bool,
    /// Where.
    pub room: RoomName,
    /// As whom.
    pub id: FullId,
}

impl Name {
    /// Of a session.
    pub fn new(role: Role, room: &RoomName, id: &FullId) -> Self {
        Self {
            publishes: role == Role::Publisher,
            room: room.clone(),
            id: id.clone(),
        }
    }

    /// `p/room/id` or `s/room/id`. Names have no slash: no two give the same.
    pub fn emit(&self) -> String {
        let role = if self.publishes { 'p' } else { 's' };
        format!("{role}/{}/{}", self.room, self.id)
    }

    /// Reads what [`Name::emit`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let publishes = match parts.next()? {
            "p" => true,
            "s" => false,
            _ => return None,
        };
        let room = RoomName::new(parts.next()?).ok()?;
        let id = FullId::new(parts.next()?).ok()?;
        parts.next().is_none().then_some(Self { publishes, room, id })
    }
}

/// How a name is claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claiming {
    /// For somebody who comes. Who is silent gives way; what this node holds itself is left to it.
    Newcomer,
    /// For a session that this node has already.
    Session {
        /// Whether nothing is heard of it.
        silent: bool,
    },
}

/// What comes of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// The name is this node's, under the nonce given.
    Yes,
    /// This node has it, under another nonce: it decides itself. Nothing has changed.
    Own,
    /// Another node has it.
    Taken(NodeName),
}

/// What comes of entering.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entered {
    /// The name is this one's. What its last life left is kept.
    Yes,
    /// Another is called so, and lives.
    Held {
        /// Until when, by the directory's clock. Grows while it lives.
        until_ms: u64,
    },
}

/// A node as the directory knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its name.
    pub node: NodeName,
    /// What it said of itself. `None`: that can't be read.
    pub about: Option<About>,
    /// The number of its last change. It grows by one with each, and by more whenever it enters.
    pub sequence: u64,
    /// Whether its lease holds.
    pub alive: bool,
    /// Whether its lease has been over for so long that its entries are to be cleared away.
    pub reapable: bool,
}

/// What comes of renewing a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Renewed {
    /// It holds. All nodes, this one too.
    Yes(Vec<Seen>),
    /// It was over: others may have taken what it held. It has to enter anew.
    Lapsed,
    /// Another process has the node's name now.
    Replaced,
}

/// One field of a node's state: what it is now, or that it is gone.
pub type Field = (String, Option<String>);

/// All that is kept of a node's state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Whole {
    /// Of which life.
    pub incarnation: String,
    /// The number of the last change.
    pub sequence: u64,
    /// Names and values.
    pub fields: Vec<(String, String)>,
}

/// What is told to all nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// A node's state has changed.
    Change {
        /// Whose.
        member: Member,
        /// The number of the change.
        #[serde(default)]
        sequence: u64,
        /// What.
        fields: Vec<Field>,
    },
    /// A node is gone, and its entries are.
    Gone {
        /// Which.
        member: Member,
    },
    /// Somebody has another's name now: the session with this nonce is to end.
    Evict {
        /// Its node.
        node: NodeName,
        /// Of its claim, hexadecimal.
        nonce: String,
    },
    /// A node asks others.
    Ask {
        /// Who asks.
        from: Member,
        /// Names the question.
        question: u64,
        /// What is asked, JSON.
        asked: serde_json::Value,
    },
    /// What one answers.
    Tell {
        /// Whom.
        to: Member,
        /// Who answers.
        from: NodeName,
        /// The question.
        question: u64,
        /// JSON.
        answer: serde_json::Value,
    },
    /// Somebody said something in a room.
    Said {
        /// At which node.
        from: Member,
        /// The room.
        room: RoomName,
        /// With the name before it.
        text: String,
    },
    /// What happened at a node, as its own stream of events tells it.
    Event {
        /// Whose room's it is.
        room: Option<RoomName>,
        /// As its own readers get it.
        json: String,
    },
}

/// What a listener hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// Messages may have been missed: the state has to be read.
    Anew,
    /// One for everybody.
    Message(Message),
    /// Something that is no message of ours.
    Nonsense,
}

/// A store of all that a cluster's nodes know of each other.
///
/// Every operation ends within about a second, with an error at worst. Each is one atomic step.
pub trait Directory: Send + Sync {
    /// Sets or replaces a token. It is good for [`tokens::TOKEN_TTL`].
    fn put_token(&self, key: TokenKey, token: String) -> Answer<'_, ()>;
    /// The token in force.
    fn token(&self, key: TokenKey) -> Answer<'_, Option<String>>;

    /// Makes a room; `false` when it has been made already. It stays until it is deleted.
    fn create_room(&self, room: &RoomName) -> Answer<'_, bool>;
    /// Deletes a room.
    fn delete_room(&self, room: &RoomName) -> Answer<'_, ()>;
    /// Whether a room has been made.
    fn has_room(&self, room: &RoomName) -> Answer<'_, bool>;

    /// Takes a node's name, if it is free, this process's own, or left behind by its last life.
    fn enter(&self, member: &Member, about: &About) -> Answer<'_, Entered>;
    /// Lengthens a node's lease.
    fn renew(&self, member: &Member, about: &About) -> Answer<'_, Renewed>;
    /// Ends a node's lease, if it is still this life's.
    fn leave(&self, member: &Member) -> Answer<'_, ()>;
    /// Clears away entries of a node whose lease is over; `true` when nothing is left. To be repeated until then.
    fn reap(&self, node: &NodeName) -> Answer<'_, bool>;

    /// Claims a name. Whoever had it and gives way is told to end its session.
    fn claim(&self, member: &Member, name: &Name, nonce: u64, claiming: Claiming) -> Answer<'_, Claimed>;
    /// Gives a name back, if it is held under this nonce.
    fn release(&self, member: &Member, name: &Name, nonce: u64) -> Answer<'_, ()>;
    /// Notes whether the holder of a name is silent, if it is held under this nonce.
    fn set_silent(&self, member: &Member, name: &Name, nonce: u64, silent: bool) -> Answer<'_, ()>;
    /// All names that a node holds, with their nonces.
    fn claims(&self, node: &NodeName) -> Answer<'_, Vec<(Name, u64)>>;

    /// Changes a node's state, and tells everybody. `false`: it is not this life's any more, nothing has changed.
    fn change(&self, member: &Member, fields: Vec<Field>) -> Answer<'_, bool>;
    /// All of a node's state.
    fn read(&self, node: &NodeName) -> Answer<'_, Option<Whole>>;

    /// Tells everybody something, whoever listens.
    fn tell(&self, message: &Message) -> Answer<'_, ()>;
    /// Hears what everybody is told from now on. It begins with [`Heard::Anew`] as soon as it is connected, if it isn't yet.
    fn listen(&self) -> broadcast::Receiver<Heard>;

    /// Whether the directory answers at the moment.
    fn is_there(&self) -> bool;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written_and_differ() {
        let name = |publishes, room: &str, id: &str| Name {
            publishes,
            room: RoomName::new(room).unwrap(),
            id: FullId::new(id).unwrap(),
        };
        let all = [
            name(true, "a", "b"),
            name(false, "a", "b"),
            name(true, "a:b", "c"),
            name(true, "a", "b:c"),
            name(true, "{a}", "\"b\\"),
        ];
        let texts: std::collections::BTreeSet<String> = all.iter().map(Name::emit).collect();
        assert_eq!(texts.len(), all.len());
        for one in &all {
            assert_eq!(Name::parse(&one.emit()).as_ref(), Some(one));
        }
        for bad in ["", "p", "p/a", "p/a/", "x/a/b", "p/a/b/c", "p/a b/c"] {
            assert_eq!(Name::parse(bad), None, "{bad}");
        }
    }
}
