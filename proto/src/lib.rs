//! The protocol between Weever's control plane and its data planes.
//!
//! The control plane listens on a Unix socket, data planes dial it. Frames are length-delimited protobuf
//! ([`frame`]); what they say is [`ToShard`] and [`FromShard`]. The generated types stay inside this crate: readers get
//! checked Rust types whose every field is within its limit ([`limits`]), or an [`Invalid`] that names the field.
//!
//! Conversation: the data plane says [`Hello`]; the control plane answers `Welcome` or `Refused`; the data plane sends a
//! snapshot of every session that it holds, then `SnapshotEnd`; from then on commands go one way, events and statistics
//! the other. Commands are idempotent: the same one again changes nothing.
//!
//! No I/O here.

mod command;
mod convert;
mod event;
pub mod frame;
mod ids;
pub mod limits;
mod packets;
pub mod relay;
mod session;
mod shard;

pub use command::{Command, ToShard};
pub use event::{
    CloseReason, DELAY_BUCKETS_US, Event, FromShard, JoinStage, Refusal, RelayStats, SessionSnapshot,
    TrackStats, WorkerStats,
};
pub use frame::{ControlCodec, FrameError, ShardCodec};
pub use ids::{RELAY, RouteId, SessionId, TrackId, WorkerId};
pub use packets::{PacketKind, PacketRecord, Packets, RtpNote, WatchEnd};
pub use session::{
    ChannelLabel, Codec, DtlsRole, Extension, ExtensionKind, Fingerprint, IceCredentials, Kind, PayloadMap,
    PayloadType, Receive, Role, RouteSpec, SessionSpec,
};
pub use shard::{Candidate, Hello, VERSION, Version, WorkerHello};

/// The generated protobuf types. Only [`convert`] touches them.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
mod wire {
    include!(concat!(env!("OUT_DIR"), "/weever.ipc.rs"));
}

/// A message that parsed as protobuf but says something that can't be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct Invalid {
    /// Dotted path of the field, e.g. `create_session.local.ufrag`.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

impl Invalid {
    pub(crate) fn new(field: &'static str, problem: impl Into<String>) -> Self {
        Self {
            field,
            problem: problem.into(),
        }
    }

    pub(crate) fn missing(field: &'static str) -> Self {
        Self::new(field, "missing")
    }
}
