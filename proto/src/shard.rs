//! How a data plane introduces itself.

use std::net::SocketAddr;

use crate::{Fingerprint, WorkerId};

/// Version of the protocol. A different major is refused; a different minor is not: unknown fields are skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// Changes when an older peer would misunderstand.
    pub major: u32,
    /// Changes when something was added.
    pub minor: u32,
}

/// The version that this crate speaks.
pub const VERSION: Version = Version { major: 1, minor: 1 };

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
}
