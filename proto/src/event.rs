//! Data plane → control plane.

use crate::{ChannelLabel, Hello, Packets, RouteSpec, SessionId, SessionSpec, TrackId, WatchEnd, WorkerId};

/// Why a command was not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// No room for another session.
    Full,
    /// It names a session that doesn't exist.
    UnknownSession,
    /// It names a worker that doesn't exist.
    UnknownWorker,
    /// It contradicts itself.
    Invalid,
    /// The data plane is being drained.
    Draining,
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The control plane asked for it.
    Requested,
    /// The peer closed its DTLS association.
    PeerClosed,
    /// No valid consent check for 30 s (RFC 7675 §5.1).
    ConsentExpired,
    /// ICE or DTLS did not complete in time.
    ConnectTimeout,
    /// The peer's certificate is not the one of its `a=fingerprint` (RFC 8122 §6.2).
    FingerprintMismatch,
    /// The handshake failed.
    DtlsFailed,
    /// A fault of ours.
    Internal,
}

impl CloseReason {
    /// Words for logs and events: `consent-expired`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::PeerClosed => "peer-closed",
            Self::ConsentExpired => "consent-expired",
            Self::ConnectTimeout => "connect-timeout",
            Self::FingerprintMismatch => "fingerprint-mismatch",
            Self::DtlsFailed => "dtls-failed",
            Self::Internal => "internal",
        }
    }
}

/// How far a session has come on its way to media.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum JoinStage {
    /// The first valid connectivity check came.
    Ice,
    /// The DTLS handshake is done.
    Dtls,
    /// Media passes: a publisher's first packet; to a subscriber the first keyframe, or sound if it has no picture.
    Media,
}

/// What happened to a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It exists and answers checks.
    SessionReady {
        /// The session.
        session: SessionId,
    },
    /// A command for it was not carried out.
    CommandRefused {
        /// The session that the command named.
        session: SessionId,
        /// The rule.
        reason: Refusal,
        /// For the log.
        detail: String,
    },
    /// Its DTLS handshake completed.
    SessionConnected {
        /// The session.
        session: SessionId,
    },
    /// Nothing valid was heard from it for 5 s (`silent`), or it is back.
    SessionSilent {
        /// The session.
        session: SessionId,
        /// Which of the two.
        silent: bool,
    },
    /// It is gone, and its tracks and routes with it.
    SessionClosed {
        /// The session.
        session: SessionId,
        /// Why.
        reason: CloseReason,
    },
    /// The client opened a channel.
    ChannelOpen {
        /// The session.
        session: SessionId,
        /// Which.
        channel: ChannelLabel,
    },
    /// The client closed a channel; the session goes on. Since 1.2.
    ChannelClosed {
        /// The session.
        session: SessionId,
        /// Which.
        channel: ChannelLabel,
    },
    /// A text message came on a channel.
    Text {
        /// The session.
        session: SessionId,
        /// Which.
        channel: ChannelLabel,
        /// At most [`crate::limits::MAX_TEXT`] bytes; on a chat channel 1 to [`crate::limits::MAX_CHAT`], and no faster
        /// than a sender may.
        text: String,
    },
    /// The first packet of a track came.
    TrackLive {
        /// The publisher.
        session: SessionId,
        /// The track.
        track: TrackId,
    },
    /// It has come this far. Each stage is told once. Since 1.2.
    JoinProgress {
        /// The session.
        session: SessionId,
        /// Which.
        stage: JoinStage,
        /// Microseconds after the session was created.
        after_us: u64,
    },
    /// A track ended or was replaced.
    TrackGone {
        /// The publisher.
        session: SessionId,
        /// The track.
        track: TrackId,
    },
    /// Headers of a session that is watched.
    Packets(Box<Packets>),
    /// A session is not watched, or no longer.
    WatchEnded {
        /// The session.
        session: SessionId,
        /// Why.
        reason: WatchEnd,
    },
}

/// A session as the data plane holds it, for a control plane that has just (re)started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionSnapshot {
    /// As created, with every later change.
    pub spec: SessionSpec,
    /// Its routes.
    pub routes: Vec<RouteSpec>,
    /// Whether DTLS is up.
    pub connected: bool,
    /// Whether nothing was heard from it for 5 s.
    pub silent: bool,
    /// Whether the control channel is open.
    pub channel_open: bool,
    /// Whether the chat channel is open. Since 1.2.
    pub chat_open: bool,
    /// Those of its tracks whose media flows.
    pub live_tracks: Vec<TrackId>,
    /// How long it has existed, milliseconds.
    pub age_ms: u64,
}

/// Upper bounds of [`WorkerStats::delays`], microseconds. Either side may be newer, so they never change.
pub const DELAY_BUCKETS_US: [u32; 11] = [
    100, 250, 500, 1000, 2500, 5000, 10_000, 20_000, 50_000, 100_000, 500_000,
];

/// Counters of one worker, absolute since the data plane started.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct WorkerStats {
    pub worker: WorkerId,
    pub sessions: u32,
    pub tracks: u32,
    pub routes: u32,
    pub packets_in: u64,
    pub bytes_in: u64,
    pub packets_out: u64,
    pub bytes_out: u64,
    /// Send operations: a burst of many packets is one.
    pub sends: u64,
    pub rtx_packets: u64,
    pub nacked_packets: u64,
    /// Sent to publishers.
    pub keyframe_requests: u64,
    /// Sessions that were not let in.
    pub refused: u64,
    /// CPU time of the worker's thread.
    pub cpu_ns: u64,
    /// Share of its core that the worker used of late, thousandths.
    pub load_permille: u32,
    /// How long packets wait for others of their frame, microseconds.
    pub egress_window_us: u32,
    /// Bursts by the delay from the arrival of their first packet to the sending of their last copy: one count for each
    /// of [`DELAY_BUCKETS_US`], and one for what took longer.
    pub delays: Vec<u64>,
    /// Of all of them, microseconds.
    pub delay_sum_us: u64,
    /// Datagrams and packets dropped, by reason.
    pub drops: Vec<(String, u64)>,
    /// `uring` or `syscalls`.
    pub io: String,
}

/// Counters of a data plane's relay, absolute since it started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct RelayStats {
    /// Whether the bus is there now, and how often it came.
    pub connected: bool,
    pub connects: u64,
    /// Tracks received here that others may follow, and that others do follow.
    pub tracks_offered: u32,
    pub tracks_out: u32,
    /// Tracks of others that are followed here.
    pub tracks_in: u32,
    pub messages_in: u64,
    pub bytes_in: u64,
    pub packets_in: u64,
    pub messages_out: u64,
    pub bytes_out: u64,
    pub packets_out: u64,
    /// Messages that were sent to us and never came.
    pub lost: u64,
    /// Asked of other data planes.
    pub keyframe_requests: u64,
    /// CPU time of the relay's thread.
    pub cpu_ns: u64,
    /// Bursts by the delay from the arrival of their first packet there to their arrival here, as in
    /// [`WorkerStats::delays`]; as good as the two clocks.
    pub delays: Vec<u64>,
    /// Of all of them, microseconds.
    pub delay_sum_us: u64,
    /// Bursts that came before they were sent: so far are the clocks apart. They count as no delay.
    pub clock_behind: u64,
    /// Messages dropped, by reason.
    pub drops: Vec<(String, u64)>,
}

/// Counters of one track, absolute since it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct TrackStats {
    pub track: TrackId,
    pub packets: u64,
    pub bytes: u64,
    pub keyframes: u64,
    /// Never received, also not by retransmission.
    pub lost: u64,
    /// Routes, on all workers of the data plane.
    pub viewers: u32,
}

/// A frame from the data plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromShard {
    /// Who it is. The first frame, and only that.
    Hello(Hello),
    /// Something happened.
    Event(Event),
    /// Once a second.
    Stats {
        /// One for each worker.
        workers: Vec<WorkerStats>,
        /// One for each track.
        tracks: Vec<TrackStats>,
        /// Memory of the whole data plane, bytes; 0 when it is not known.
        resident_memory: u64,
        /// Of its relay, if it has one. Since 1.3.
        relay: Option<Box<RelayStats>>,
    },
    /// One session of the snapshot.
    Session(Box<SessionSnapshot>),
    /// The snapshot is complete and had this many sessions.
    SnapshotEnd(u32),
    /// Answer to a ping.
    Pong(u64),
}

impl Event {
    /// The minor version that added it.
    pub fn since(&self) -> u32 {
        match self {
            Self::SessionReady { .. }
            | Self::CommandRefused { .. }
            | Self::SessionConnected { .. }
            | Self::SessionSilent { .. }
            | Self::SessionClosed { .. }
            | Self::TrackLive { .. }
            | Self::TrackGone { .. } => 0,
            Self::ChannelOpen { channel, .. } | Self::Text { channel, .. } => channel.since(),
            Self::ChannelClosed { .. }
            | Self::JoinProgress { .. }
            | Self::Packets(_)
            | Self::WatchEnded { .. } => 2,
        }
    }
}

impl FromShard {
    /// The minor version that added it. Never sent to a control plane whose welcome says less.
    pub fn since(&self) -> u32 {
        match self {
            Self::Hello(_) | Self::Stats { .. } | Self::Session(_) | Self::SnapshotEnd(_) | Self::Pong(_) => {
                0
            }
            Self::Event(event) => event.since(),
        }
    }
}
