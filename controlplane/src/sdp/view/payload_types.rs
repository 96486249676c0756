//! The payload types of a session: none comes to mean another thing while it is in use.

use serde::{Deserialize, Serialize};
use weever_proto::Kind;

use crate::sdp::codecs::Format;

/// Bits that a subscriber may answer with for video; audio gets none.
pub(super) const VIDEO_FEEDBACK: [&str; 3] = ["nack", "nack pli", "ccm fir"];

/// A codec with its payload type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Assigned {
    /// What it is, under the payload type that this session gives it.
    pub(super) format: Format,
    /// Of its retransmissions (RFC 4588).
    pub(super) rtx_pt: Option<u8>,
}

/// All that mean something in a session.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct PayloadTypes(Vec<Assigned>);

impl PayloadTypes {
    /// Those that the client chose.
    pub(super) fn learn(&mut self, theirs: &[Assigned]) {
        self.0.extend_from_slice(theirs);
    }

    /// Gives a codec its payload type in this session: what it has already, the publisher's own, or a free one. The last
    /// ones go to codecs, not to retransmissions.
    pub(super) fn assign(&mut self, format: &Format, kind: Kind, inside: Option<u8>) -> Option<Assigned> {
        let mut wanted = Format {
            feedback: Vec::new(),
            ..format.clone()
        };
        if let Some(pt) = inside {
            wanted.fmtp = Some(format!("{pt}/{pt}"));
        }
        if kind == Kind::Video {
            wanted.feedback = VIDEO_FEEDBACK.map(str::to_owned).to_vec();
        }
        if let Some(known) = self.0.iter().find(|known| known.format.is_same(&wanted)) {
            return Some(known.clone());
        }
        let wish = self.free().find(|pt| *pt == format.pt);
        wanted.pt = wish.or_else(|| self.free().next())?;
        let repair = self.free().find(|pt| *pt != wanted.pt);
        let assigned = Assigned {
            rtx_pt: repair.filter(|_| kind == Kind::Video),
            format: wanted,
        };
        self.0.push(assigned.clone());
        Some(assigned)
    }

    /// Best first. RFC 5761 §4: 64 to 95 look like RTCP; below 35 most are static (RFC 3551), and wished for at most.
    pub(super) fn free(&self) -> impl Iterator<Item = u8> {
        let mut used = [false; 128];
        for known in &self.0 {
            for pt in std::iter::once(known.format.pt).chain(known.rtx_pt) {
                if let Some(slot) = used.get_mut(usize::from(pt)) {
                    *slot = true;
                }
            }
        }
        (96..=127)
            .chain(35..=63)
            .chain([0, 8])
            .filter(move |pt| !used[usize::from(*pt)])
    }

    /// Forgets those that `is_used` doesn't know: they may mean something else from now on.
    pub(super) fn retain(&mut self, is_used: impl FnMut(&Assigned) -> bool) {
        self.0.retain(is_used);
    }
}
