//! A player's m-line: it waits for tracks and shows them one after the other.

use serde::{Deserialize, Serialize};
use weever_proto::{Codec, Kind, RouteSpec, SessionId};

use super::payload_types::{Assigned, VIDEO_FEEDBACK};
use super::stream::{Draw, Stream, known_extensions, map, to_extensions};
use super::{Candidate, Line};
use crate::sdp::codecs::{Format, extension_uri, kind_of};
use crate::sdp::description::{Direction, Section};
use crate::sdp::emit::{Lines, LocalTransport};
use crate::sdp::publish::wraps;

/// A player's m-line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    pub(super) formats: Vec<Assigned>,
    extensions: Vec<(u8, i32)>,
    stream: Stream,
    /// Whether it is for pictures.
    pub video: bool,
    /// The track that it shows.
    pub showing: Option<u64>,
}

impl Slot {
    /// What an m-line of a player's offer becomes, if it wants to receive something that we know.
    pub(super) fn new(section: &Section, kind: Kind, draw: &mut impl Draw) -> Option<Self> {
        if section.direction == Direction::SendOnly {
            return None;
        }
        let formats: Vec<Assigned> = section
            .formats
            .iter()
            .filter(|format| format.codec().is_some_and(|c| kind_of(c) == kind))
            .map(|format| {
                let mut format = format.clone();
                format
                    .feedback
                    .retain(|value| kind == Kind::Video && VIDEO_FEEDBACK.contains(&value.as_str()));
                Assigned {
                    rtx_pt: section.rtx_of(format.pt).filter(|_| kind == Kind::Video),
                    format,
                }
            })
            .collect();
        if !formats.iter().any(|assigned| assigned.format.is_primary(kind)) {
            return None;
        }
        Some(Self {
            formats,
            extensions: known_extensions(section),
            stream: Stream::new(draw),
            video: kind == Kind::Video,
            showing: None,
        })
    }

    /// The player's own payload type for what a publisher sends.
    pub(super) fn fitting(&self, sent: &Format) -> Option<&Assigned> {
        let exact = self.formats.iter().find(|mine| sent.fits(&mine.format));
        exact.or_else(|| self.formats.iter().find(|mine| sent.fits_loosely(&mine.format)))
    }

    /// How the candidate's track gets here.
    pub(super) fn route(
        &self,
        line: &Line,
        session: SessionId,
        candidate: &Candidate<'_>,
    ) -> Option<RouteSpec> {
        let track = candidate.track;
        let main = self.fitting(&track.format)?;
        let mut payload_map = vec![map(track.format.pt, main)?];
        // See [`View::show`]: as it is only where its blocks mean the same here.
        let wraps_same = |a: &&Assigned| {
            a.format.codec() == Some(Codec::Red)
                && main.format.pt == track.format.pt
                && wraps(&a.format, main.format.pt)
        };
        if let Some(red) = &track.red
            && let Some(mine) = self.formats.iter().find(wraps_same)
        {
            payload_map.extend(map(red.pt, mine));
        }
        Some(self.stream.route(
            line,
            session,
            candidate,
            payload_map,
            to_extensions(&self.extensions),
            self.has_rtx(),
        ))
    }

    fn has_rtx(&self) -> bool {
        self.formats.iter().any(|assigned| assigned.rtx_pt.is_some())
    }

    /// In an offer of ours: it keeps its place and sends nothing.
    pub(super) fn rest(
        &self,
        lines: &mut Lines,
        line: &Line,
        transport: &LocalTransport,
        setup: &str,
        candidates: bool,
    ) {
        let fmt: Vec<String> = self
            .formats
            .iter()
            .map(|assigned| assigned.format.pt.to_string())
            .collect();
        lines.media(&line.media, &line.proto, &fmt.join(" "), transport);
        lines.transport(&line.mid, setup, transport, candidates);
        lines.push("a=inactive");
        lines.push("a=rtcp-mux");
        self.formats
            .iter()
            .for_each(|assigned| lines.format(&assigned.format));
    }

    /// In the answer to the offer that made it.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn write(
        &self,
        lines: &mut Lines,
        line: &Line,
        section: &Section,
        transport: &LocalTransport,
        setup: &str,
        candidates: bool,
        stream_id: &str,
    ) {
        let pts = self
            .formats
            .iter()
            .flat_map(|a| std::iter::once(a.format.pt).chain(a.rtx_pt));
        let fmt: Vec<String> = pts.map(|pt| pt.to_string()).collect();
        lines.media(&line.media, &line.proto, &fmt.join(" "), transport);
        lines.transport(&line.mid, setup, transport, candidates);
        lines.push("a=sendonly");
        lines.push("a=rtcp-mux");
        lines.push("a=rtcp-mux-only");
        lines.push("a=rtcp-rsize");
        let label = if self.video { "video0" } else { "audio0" };
        lines.line(format_args!("a=msid:{stream_id} {label}"));
        for assigned in &self.formats {
            lines.format(&assigned.format);
            let rtx = section
                .formats
                .iter()
                .find(|format| Some(format.pt) == assigned.rtx_pt);
            if let Some(rtx) = rtx {
                lines.format(&Format {
                    feedback: Vec::new(),
                    ..rtx.clone()
                });
            }
        }
        for extension in to_extensions(&self.extensions) {
            lines.line(format_args!(
                "a=extmap:{} {}",
                extension.id,
                extension_uri(extension.kind)
            ));
        }
        lines.stream(
            self.stream.ssrc,
            self.has_rtx().then_some(self.stream.rtx_ssrc),
            stream_id,
        );
    }
}
