//! The RTP stream behind an m-line: its numbers, and how a track gets onto it.

use serde::{Deserialize, Serialize};
use weever_proto::{Extension, ExtensionKind, PayloadMap, RouteId, RouteSpec, SessionId, TrackId, WorkerId};

use super::payload_types::Assigned;
use super::{Candidate, Line};
use crate::sdp::codecs::extension_kind;
use crate::sdp::description::Section;

/// Draws the numbers that a stream needs.
pub trait Draw {
    /// 64 bits.
    fn draw(&mut self) -> u64;
}

impl<F: FnMut() -> u64> Draw for F {
    fn draw(&mut self) -> u64 {
        self()
    }
}

/// The RTP stream behind a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stream {
    route: u64,
    pub(super) ssrc: u32,
    pub(super) rtx_ssrc: u32,
}

impl Stream {
    /// With numbers of its own.
    pub(super) fn new(draw: &mut impl Draw) -> Self {
        let [a, b, c, d, ..] = draw.draw().to_be_bytes();
        // Never 0, which means a probe, and the repair stream right behind it.
        let ssrc = u32::from_be_bytes([a, b, c, d]).clamp(1, u32::MAX - 1);
        Self {
            route: draw.draw(),
            ssrc,
            rtx_ssrc: ssrc + 1,
        }
    }

    /// What the data plane is told.
    pub(super) fn route(
        self,
        line: &Line,
        session: SessionId,
        candidate: &Candidate<'_>,
        payload_map: Vec<PayloadMap>,
        extensions: Vec<Extension>,
        rtx: bool,
    ) -> RouteSpec {
        RouteSpec {
            route: RouteId(self.route),
            session,
            track: TrackId(candidate.track.track),
            track_worker: WorkerId(candidate.worker),
            // A single m-line may have none.
            mid: if line.mid.is_empty() {
                "0".into()
            } else {
                line.mid.clone()
            },
            kind: candidate.track.kind(),
            ssrc: self.ssrc,
            rtx_ssrc: rtx.then_some(self.rtx_ssrc),
            payload_map,
            extensions,
            cname: candidate.publisher.to_owned(),
        }
    }
}

/// From a publisher's payload type to what it is here.
pub(super) fn map(from: u8, to: &Assigned) -> Option<PayloadMap> {
    Some(PayloadMap {
        from,
        to: to.format.pt,
        rtx_to: to.rtx_pt,
        codec: to.format.codec()?,
        clock_rate: to.format.clock_rate,
    })
}

/// Rids belong to publishers; transport feedback is of no use without an estimate to feed.
fn shown_to_viewers(kind: ExtensionKind) -> bool {
    !matches!(
        kind,
        ExtensionKind::Rid | ExtensionKind::RepairedRid | ExtensionKind::TransportCc
    )
}

/// Those that we know, each once.
pub(super) fn known_extensions(section: &Section) -> Vec<(u8, i32)> {
    let mut all: Vec<(u8, i32)> = Vec::new();
    for (id, uri) in &section.extensions {
        let Some(kind) = extension_kind(uri).filter(|kind| shown_to_viewers(*kind)) else {
            continue;
        };
        let kind = i32::from(kind);
        if !all.iter().any(|(known, other)| known == id || *other == kind) {
            all.push((*id, kind));
        }
    }
    all
}

/// As the data plane is told of them.
pub(super) fn to_extensions(pairs: &[(u8, i32)]) -> Vec<Extension> {
    pairs
        .iter()
        .filter_map(|(id, kind)| {
            Some(Extension {
                id: *id,
                kind: (*kind).try_into().ok()?,
            })
        })
        .collect()
}
