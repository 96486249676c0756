//! Control plane → data plane.

use crate::{
    ChannelLabel, Extension, IceCredentials, RELAY, Receive, RouteId, RouteSpec, SessionId, SessionSpec,
    Version,
};

/// What the control plane wants done. Each is idempotent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Makes a session. Answered by [`crate::Event::SessionReady`] or [`crate::Event::CommandRefused`]. For a session
    /// that exists: ready again, nothing changed.
    CreateSession(Box<SessionSpec>),
    /// Replaces what a publisher sends. Tracks that are no longer listed end.
    UpdateReceive {
        /// The publisher.
        session: SessionId,
        /// The whole new list.
        receive: Vec<Receive>,
        /// The whole new list.
        extensions: Vec<Extension>,
    },
    /// New ICE credentials (RFC 8445 §9). The old ones go on until the first valid check with the new.
    RestartIce {
        /// The session.
        session: SessionId,
        /// The server's new ones.
        local: IceCredentials,
        /// The client's new ones.
        remote: IceCredentials,
    },
    /// Makes, changes or switches a route.
    PutRoute(Box<RouteSpec>),
    /// Ends a route.
    RemoveRoute {
        /// The subscriber.
        session: SessionId,
        /// The route.
        route: RouteId,
    },
    /// Sends a text message on a channel; dropped when the channel isn't open.
    SendText {
        /// The session.
        session: SessionId,
        /// Which.
        channel: ChannelLabel,
        /// At most [`crate::limits::MAX_TEXT`] bytes.
        text: String,
    },
    /// Replaces the opaque signalling state.
    SetState {
        /// The session.
        session: SessionId,
        /// At most [`crate::limits::MAX_STATE`] bytes.
        state: Vec<u8>,
    },
    /// Ends a session, with a DTLS close_notify. Answered by [`crate::Event::SessionClosed`], also when it is unknown.
    CloseSession {
        /// The session.
        session: SessionId,
    },
    /// Refuse new sessions from now on; exit when the last has left.
    Drain,
    /// Sends one text message to many sessions; those that are gone or have no such channel are passed over. Since 1.2.
    Broadcast {
        /// At most [`crate::limits::MAX_BROADCAST`].
        sessions: Vec<SessionId>,
        /// Which of their channels.
        channel: ChannelLabel,
        /// At most [`crate::limits::MAX_TEXT`] bytes.
        text: String,
    },
    /// Tell the headers of the session's packets ([`crate::Event::Packets`]) for the next
    /// [`crate::limits::WATCH_LEASE_SECS`]; the same again renews it. Ends with [`crate::Event::WatchEnded`] or the session.
    Watch {
        /// The session.
        session: SessionId,
    },
    /// No longer.
    Unwatch {
        /// The session.
        session: SessionId,
    },
}

/// A frame towards the data plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToShard {
    /// The data plane is accepted; its snapshot is awaited.
    Welcome(Version),
    /// It isn't, and why. The connection closes.
    Refused(String),
    /// Do this.
    Command(Command),
    /// To be answered with the same number.
    Ping(u64),
}

impl Command {
    /// The minor version that added it.
    pub fn since(&self) -> u32 {
        match self {
            Self::CreateSession(_)
            | Self::UpdateReceive { .. }
            | Self::RestartIce { .. }
            | Self::RemoveRoute { .. }
            | Self::SetState { .. }
            | Self::CloseSession { .. }
            | Self::Drain => 0,
            Self::PutRoute(route) if route.track_worker == RELAY => 3,
            Self::PutRoute(_) => 0,
            Self::SendText { channel, .. } => channel.since(),
            Self::Broadcast { .. } | Self::Watch { .. } | Self::Unwatch { .. } => 2,
        }
    }
}

impl ToShard {
    /// The minor version that added it. Never sent to a data plane whose hello says less.
    pub fn since(&self) -> u32 {
        match self {
            Self::Welcome(_) | Self::Refused(_) | Self::Ping(_) => 0,
            Self::Command(command) => command.since(),
        }
    }
}
