//! Integer names. Each is unique for the life of a cluster: the control plane draws them at random, so that those of a
//! restarted control plane never meet the ones that its data planes still hold.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{:016x}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

id!(
    /// One ICE + DTLS transport: one publisher's or one subscriber's PeerConnection.
    SessionId,
    "s-"
);
id!(
    /// One encoded stream of a publisher: an m-line that it sends on.
    TrackId,
    "t-"
);
id!(
    /// A track on its way to one subscriber. The same id with another track is a switch: the subscriber sees one
    /// unbroken RTP stream.
    RouteId,
    "r-"
);

/// A worker thread of one data plane, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(pub u16);

/// In place of a worker: the track comes from another data plane, by the relay. No worker is called so.
pub const RELAY: WorkerId = WorkerId(u16::MAX);

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "w{}", self.0)
    }
}
