//! A track on an m-line of its own, offered by us.

use serde::{Deserialize, Serialize};
use weever_proto::{Kind, RouteSpec, SessionId};

use super::payload_types::Assigned;
use super::stream::{Stream, known_extensions, map, to_extensions};
use super::{Candidate, Line};
use crate::sdp::codecs::{extension_uri, own_extensions};
use crate::sdp::description::{Direction, Section};
use crate::sdp::emit::{Lines, LocalTransport};

/// A track that we offered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// Which.
    pub track: u64,
    pub(super) publisher: String,
    pub(super) label: String,
    pub(super) formats: Vec<(u8, Assigned)>,
    pub(super) video: bool,
    pub(super) stream: Stream,
    /// What the client can decode of it.
    pub(super) accepted: Option<Accepted>,
    /// The client has refused the m-line: it stays so until the track is gone.
    #[serde(default)]
    pub(super) refused: bool,
}

/// What the client's answer said of an offered track.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Accepted {
    payload_types: Vec<u8>,
    extensions: Vec<(u8, i32)>,
    /// It doesn't want it now.
    #[serde(default)]
    paused: bool,
}

impl Shown {
    /// Takes what the client says of it.
    pub(super) fn accept(&mut self, section: &Section) {
        let main = self.formats.first().map(|(_, assigned)| assigned.format.pt);
        let receives = matches!(section.direction, Direction::RecvOnly | Direction::SendRecv);
        let decodes = section.formats.iter().any(|format| Some(format.pt) == main);
        self.refused = section.rejected;
        self.accepted = (!section.rejected && decodes).then(|| {
            let offered = |pt: &u8| {
                let has = |a: &Assigned| a.format.pt == *pt || a.rtx_pt == Some(*pt);
                self.formats.iter().any(|(_, assigned)| has(assigned))
            };
            Accepted {
                payload_types: section
                    .formats
                    .iter()
                    .map(|format| format.pt)
                    .filter(offered)
                    .collect(),
                extensions: known_extensions(section),
                paused: !receives,
            }
        });
    }

    /// How the track gets there, if the client takes it.
    pub(super) fn route(
        &self,
        line: &Line,
        session: SessionId,
        candidate: &Candidate<'_>,
    ) -> Option<RouteSpec> {
        let accepted = self.accepted.as_ref().filter(|accepted| !accepted.paused)?;
        let takes = |pt: u8| accepted.payload_types.contains(&pt);
        let mut rtx = false;
        let mut payload_map = Vec::new();
        for (from, assigned) in self
            .formats
            .iter()
            .filter(|(_, assigned)| takes(assigned.format.pt))
        {
            let mut assigned = assigned.clone();
            assigned.rtx_pt = assigned.rtx_pt.filter(|pt| takes(*pt));
            rtx |= assigned.rtx_pt.is_some();
            payload_map.extend(map(*from, &assigned));
        }
        let extensions = to_extensions(&accepted.extensions);
        Some(
            self.stream
                .route(line, session, candidate, payload_map, extensions, rtx),
        )
    }

    /// In an offer, or, with what the client's own offer can take, in an answer.
    pub(super) fn write(
        &self,
        lines: &mut Lines,
        line: &Line,
        transport: &LocalTransport,
        setup: &str,
        candidates: bool,
        accepted: Option<&Accepted>,
    ) {
        let takes = |pt: &u8| accepted.is_none_or(|accepted| accepted.payload_types.contains(pt));
        let formats = || {
            self.formats
                .iter()
                .map(|(_, assigned)| assigned)
                .filter(|assigned| takes(&assigned.format.pt))
        };
        let pts = formats().flat_map(|a| std::iter::once(a.format.pt).chain(a.rtx_pt.filter(takes)));
        let fmt: Vec<String> = pts.map(|pt| pt.to_string()).collect();
        lines.media(&line.media, &line.proto, &fmt.join(" "), transport);
        lines.transport(&line.mid, setup, transport, candidates);
        let is_paused = accepted.is_some_and(|accepted| accepted.paused);
        lines.push(if is_paused { "a=inactive" } else { "a=sendonly" });
        lines.push("a=rtcp-mux");
        lines.push("a=rtcp-rsize");
        lines.line(format_args!("a=msid:{} {}", self.publisher, self.label));
        for assigned in formats() {
            lines.format(&assigned.format);
            if let Some(pt) = assigned.rtx_pt.filter(takes) {
                lines.line(format_args!("a=rtpmap:{pt} rtx/{}", assigned.format.clock_rate));
                lines.line(format_args!("a=fmtp:{pt} apt={}", assigned.format.pt));
            }
        }
        for (id, kind) in own_extensions(if self.video { Kind::Video } else { Kind::Audio }) {
            let is_theirs = |accepted: &Accepted| accepted.extensions.contains(&(*id, i32::from(*kind)));
            if accepted.is_none_or(is_theirs) {
                lines.line(format_args!("a=extmap:{id} {}", extension_uri(*kind)));
            }
        }
        let rtx = self.formats.iter().any(|(_, assigned)| assigned.rtx_pt.is_some());
        lines.stream(
            self.stream.ssrc,
            rtx.then_some(self.stream.rtx_ssrc),
            &self.publisher,
        );
    }
}
