//! The way from a track's history to its viewers: one header and one seal for each packet and viewer, one send for each
//! viewer and burst.

mod burst;
mod padding;
mod report;
mod rewrite;
mod rtx;

pub(crate) use burst::forward_burst;
pub(crate) use padding::equalise;
pub(crate) use report::send_report;
pub(crate) use rewrite::{Parked, Route, Stream};
pub(crate) use rtx::{RtxBudget, resend};

use crate::demux::SessionKey;
use crate::drops::Drops;
use crate::egress::Path;
use crate::srtp::Protect;

/// What sending to one subscriber takes; exists once its handshake is done.
pub(crate) struct Sender {
    /// Where it is.
    pub(crate) path: Path,
    pub(crate) protect: Protect,
    /// Next transport-wide sequence number (draft-holmer-rmcat-transport-wide-cc-extensions §2).
    pub(crate) transport_cc: u16,
    pub(crate) rtx: RtxBudget,
}

/// What went out of a worker.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    pub(crate) sends: u64,
    pub(crate) rtx_packets: u64,
    pub(crate) drops: Drops,
    /// Sessions whose route has just begun, or begun anew, to show its track.
    pub(crate) begun: Vec<SessionKey>,
}
