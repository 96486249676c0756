//! What workers of one process say to each other, and to the relay that stands for other processes. Tracks cross workers by reference, never by copy, once for each worker
//! however many viewers it has.

use std::sync::Arc;
use std::time::Instant;

use weever_proto::{Kind, TrackId, WorkerId};

use crate::packet::Packet;
use crate::track::SenderReport;

/// A message to another worker of the same process, or to the relay.
#[derive(Debug, Clone)]
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
            Body::Follow(_) | Body::Unfollow | Body::RequestKeyframe | Body::Offered(_) | Body::Withdrawn => {
                false
            }
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) enum Body {
    /// Viewer's worker → publisher's: send me this track.
    Follow(Kind),
    /// Viewer's worker → publisher's: I have no viewer for it any more.
    Unfollow,
    /// Viewer's worker → publisher's.
    RequestKeyframe,
    /// Publisher's worker → relay: others may follow this track here.
    Offered(Kind),
    /// Publisher's worker → relay: no longer.
    Withdrawn,
    /// Publisher's worker → viewers'.
    Burst(Arc<Burst>),
    /// Publisher's worker → viewers'.
    SenderReport(SenderReport),
}

/// Packets of a track that travel together.
#[derive(Debug)]
pub(crate) struct Burst {
    /// When the first of them came to this process.
    pub(crate) came: Option<Instant>,
    pub(crate) packets: Vec<Packet>,
}
