//! How a data plane introduces itself.

use std::net::SocketAddr;

use crate::{Fingerprint, WorkerId};

/// Version of the protocol. A different major is refused. A different minor is not: who is older skips the fields, frames,
/// events and commands that it doesn't know, and is not sent those that it can't know (`since` of [`crate::ToShard`] and
/// [`crate::FromShard`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// Changes when an older peer would misunderstand.
    pub major: u32,
    /// Changes when something was added.
    pub minor: u32,
}

/// The version that this crate speaks. What each minor added:
///
/// - 1.1: `draining` in the hello.
/// - 1.2: kinds that a reader doesn't know are skipped. Chat channels: [`crate::ChannelLabel::Chat`],
///   [`crate::Event::ChannelClosed`], [`crate::Command::Broadcast`], `chat_open` in the snapshot. [`crate::Event::JoinProgress`].
///   Headers of packets: [`crate::Command::Watch`], [`crate::Command::Unwatch`], [`crate::Event::Packets`],
///   [`crate::Event::WatchEnded`].
/// - 1.3: tracks of other data planes: `relay` in the hello, [`crate::RELAY`] in a route.
pub const VERSION: Version = Version { major: 1, minor: 3 };

impl Version {
    /// Whether a peer of this version knows what the given minor of our major added.
    pub fn knows(self, minor: u32) -> bool {
        self.major == VERSION.major && self.minor >= minor
    }
}

/// A UDP address where a worker can be reached.
pub type Candidate = SocketAddr;

/// One worker of a data plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerHello {
    /// Its number.
    pub id: WorkerId,
    /// Where clients reach it, best first; never empty.
    pub candidates: Vec<Candidate>,
}

/// First message of a data plane on each connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The protocol that it speaks.
    pub version: Version,
    /// Its name, unique among the data planes of one control plane; 1 to 128 bytes.
    pub name: String,
    /// Drawn at random when the process starts: tells a reconnect from a restart.
    pub incarnation: u64,
    /// Software version, for people.
    pub software: String,
    /// Of the DTLS certificate that all its sessions show.
    pub fingerprint: Fingerprint,
    /// Never empty.
    pub workers: Vec<WorkerHello>,
    /// Sessions that it takes in all.
    pub max_sessions: u32,
    /// It was told to drain: it takes no new sessions, and ends with its last one.
    pub draining: bool,
    /// It can send its tracks to other data planes and get theirs.
    pub relay: bool,
}
