//! What workers of one process say to each other. Tracks cross workers by reference, never by copy, once for each worker
//! however many viewers it has.

use std::sync::Arc;

use weever_proto::{Kind, TrackId, WorkerId};

use crate::packet::Packet;
use crate::track::SenderReport;

/// A message to another worker of the same process.
#[derive(Debug)]
pub struct Handover {
    pub(crate) from: WorkerId,
    pub(crate) track: TrackId,
    pub(crate) body: Body,
}

impl Handover {
    /// True: a packet or report of a stream, whose loss is a loss like any other. False: a request that is made once and
    /// must arrive.
    pub fn is_media(&self) -> bool {
        match self.body {
            Body::Burst(_) | Body::SenderReport(_) => true,
            Body::Follow(_) | Body::Unfollow | Body::RequestKeyframe => false,
        }
    }
}

#[derive(Debug)]
pub(crate) enum Body {
    /// Viewer's worker → publisher's: send me this track.
    Follow(Kind),
    /// Viewer's worker → publisher's: I have no viewer for it any more.
    Unfollow,
    /// Viewer's worker → publisher's.
    RequestKeyframe,
    /// Publisher's worker → viewers'.
    Burst(Arc<Burst>),
    /// Publisher's worker → viewers'.
    SenderReport(SenderReport),
}

/// Packets of a track that travel together.
#[derive(Debug)]
pub(crate) struct Burst {
    pub(crate) packets: Vec<Packet>,
}
