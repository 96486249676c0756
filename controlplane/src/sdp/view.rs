//! What a subscriber is shown: its m-lines, each a place for one track, and the texts that tell of them.

use serde::{Deserialize, Serialize};
use weever_proto::{
    Codec, Extension, ExtensionKind, Kind, PayloadMap, RouteId, RouteSpec, SessionId, TrackId, WorkerId,
};

use super::codecs::{Format, extension_kind, extension_uri, own_extensions};
use super::description::{Description, Direction, Section, SectionKind};
use super::emit::{Lines, LocalTransport};
use super::publish::{PublishedTrack, answer_setup, wraps};

/// The m-lines of a subscriber, in order. An SDP never has fewer than it had; ours never has more than it needs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// In SDP order.
    pub lines: Vec<Line>,
    /// Payload types that mean something in this session, so that none comes to mean another thing.
    payload_types: Vec<Assigned>,
    /// For mids of our own.
    next_mid: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Assigned {
    /// What it is, under the payload type that this session gives it.
    format: Format,
    rtx_pt: Option<u8>,
}

/// One m-line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// `a=mid`.
    pub mid: String,
    media: String,
    proto: String,
    fmt: String,
    /// What it is used for.
    pub place: Place,
}

/// What an m-line is used for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// The data channel.
    Channel,
    /// Nothing: refused in the first answer, or dropped and confirmed. May be used again (RFC 8829 §5.2.2).
    Free,
    /// Its track is gone; the client hasn't confirmed yet.
    Dropping,
    /// A player's: waits for tracks and shows them one after the other.
    Slot(Slot),
    /// One track, offered by us.
    Shown(Shown),
}

/// A player's m-line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    formats: Vec<Assigned>,
    extensions: Vec<(u8, i32)>,
    stream: Stream,
    /// Whether it is for pictures.
    pub video: bool,
    /// The track that it shows.
    pub showing: Option<u64>,
}

/// A track that we offered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// Which.
    pub track: u64,
    publisher: String,
    label: String,
    formats: Vec<(u8, Assigned)>,
    video: bool,
    stream: Stream,
    /// What the client can decode of it.
    accepted: Option<Accepted>,
    /// The client has refused the m-line: it stays so until the track is gone.
    #[serde(default)]
    refused: bool,
}

/// The RTP stream behind a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Stream {
    route: u64,
    ssrc: u32,
    rtx_ssrc: u32,
}

/// What the client's answer said of an offered track.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Accepted {
    payload_types: Vec<u8>,
    extensions: Vec<(u8, i32)>,
    /// It doesn't want it now.
    #[serde(default)]
    paused: bool,
}

/// A track that could be shown.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// Whose: Full ID.
    pub publisher: &'a str,
    /// What.
    pub track: &'a PublishedTrack,
    /// The worker that receives it.
    pub worker: u16,
}

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

impl Stream {
    fn new(draw: &mut impl Draw) -> Self {
        let [a, b, c, d, ..] = draw.draw().to_be_bytes();
        // Never 0, which means a probe, and the repair stream right behind it.
        let ssrc = u32::from_be_bytes([a, b, c, d]).clamp(1, u32::MAX - 1);
        Self {
            route: draw.draw(),
            ssrc,
            rtx_ssrc: ssrc + 1,
        }
    }
}

/// A codec, and either its retransmissions or redundancy around it.
const PAYLOAD_TYPES_OF_A_TRACK: usize = 2;
/// Bits that a subscriber may answer with for video; audio gets none.
const VIDEO_FEEDBACK: [&str; 3] = ["nack", "nack pli", "ccm fir"];

impl View {
    /// From the first offer: what it has is kept in order; what it wants to receive becomes slots.
    pub fn new(offer: &Description, draw: &mut impl Draw) -> Self {
        let mut view = Self::default();
        for section in &offer.sections {
            let place = match section.media_kind() {
                _ if section.rejected => Place::Free,
                None if section.kind == SectionKind::Application => Place::Channel,
                Some(kind) if section.direction != Direction::Inactive => match slot(section, kind, draw) {
                    Some(slot) => Place::Slot(slot),
                    None => Place::Free,
                },
                _ => Place::Free,
            };
            if let Place::Slot(slot) = &place {
                view.payload_types.extend(slot.formats.iter().cloned());
            }
            view.lines.push(Line {
                mid: section.mid.clone(),
                media: section.media.clone(),
                proto: section.proto.clone(),
                fmt: section.fmt.clone(),
                place,
            });
        }
        view
    }

    /// Whether there is anything to be served.
    pub fn is_empty(&self) -> bool {
        !self
            .lines
            .iter()
            .any(|line| matches!(line.place, Place::Channel | Place::Slot(_)))
    }

    /// Answers the first offer.
    pub fn answer(
        &self,
        offer: &Description,
        transport: &LocalTransport,
        id: u64,
        stream_id: &str,
    ) -> String {
        let used = |line: &&Line| matches!(line.place, Place::Channel | Place::Slot(_));
        let bundle: Vec<&str> = self
            .lines
            .iter()
            .filter(used)
            .map(|line| line.mid.as_str())
            .collect();
        let grouped = bundle.iter().all(|mid| !mid.is_empty());
        let mut lines = Lines::session(id, 1, if grouped { &bundle } else { &[] });
        let setup = answer_setup(offer.setup);
        let mut first = true;
        for (line, section) in self.lines.iter().zip(&offer.sections) {
            match &line.place {
                Place::Channel => {
                    lines.media(&line.media, &line.proto, &line.fmt, transport);
                    lines.transport(&line.mid, setup, transport, std::mem::take(&mut first));
                    lines.channel();
                }
                Place::Slot(slot) => {
                    let candidates = std::mem::take(&mut first);
                    slot.write(&mut lines, line, section, transport, setup, candidates, stream_id);
                }
                _ => lines.rejected(&line.media, &line.proto, &line.fmt, &line.mid),
            }
        }
        lines.finish()
    }

    /// Puts the given tracks on stage: those that stay keep their m-line, those that are gone drop theirs, new ones
    /// take a free one or a new one.
    pub fn stage(&mut self, tracks: &[Candidate<'_>], draw: &mut impl Draw) {
        for line in &mut self.lines {
            match &mut line.place {
                Place::Shown(shown) if !tracks.iter().any(|c| c.track.track == shown.track) => {
                    line.place = Place::Dropping;
                }
                // With a control channel everything is offered on m-lines of its own. A player's slots rest: the first
                // of them may carry the BUNDLE group's transport.
                Place::Slot(slot) => slot.showing = None,
                _ => {}
            }
        }
        for candidate in tracks {
            let is_on =
                |line: &Line| matches!(&line.place, Place::Shown(s) if s.track == candidate.track.track);
            if !self.lines.iter().any(is_on) {
                self.show(candidate, draw);
            }
        }
    }

    fn show(&mut self, candidate: &Candidate<'_>, draw: &mut impl Draw) {
        let track = candidate.track;
        if self
            .free_payload_types()
            .nth(PAYLOAD_TYPES_OF_A_TRACK - 1)
            .is_none()
        {
            self.forget_payload_types();
        }
        // With every payload type in use by what is on stage, a codec that none of them means can't be shown.
        let Some(main) = self.assign(&track.format, track.kind(), None) else {
            return;
        };
        let mut formats = vec![(track.format.pt, main.clone())];
        // The blocks inside of RED name the publisher's payload type: only where that is ours too can it go as it is.
        // Elsewhere the data plane sends its primary block.
        if let Some(red) = track.red.as_ref().filter(|_| main.format.pt == track.format.pt) {
            let mine = self.assign(red, Kind::Audio, Some(main.format.pt));
            formats.extend(mine.map(|mine| (red.pt, mine)));
        }
        let video = track.kind() == Kind::Video;
        let place = Place::Shown(Shown {
            track: track.track,
            publisher: candidate.publisher.to_owned(),
            label: track.label.clone(),
            formats,
            video,
            stream: Stream::new(draw),
            accepted: None,
            refused: false,
        });
        let mid = self.fresh_mid();
        let media = if video { "video" } else { "audio" };
        let line = Line {
            mid,
            media: media.into(),
            proto: "UDP/TLS/RTP/SAVPF".into(),
            fmt: String::new(),
            place,
        };
        match self.lines.iter_mut().find(|line| line.place == Place::Free) {
            Some(free) => *free = line,
            None => self.lines.push(line),
        }
    }

    fn fresh_mid(&mut self) -> String {
        loop {
            let mid = format!("w{}", self.next_mid);
            self.next_mid += 1;
            if !self.lines.iter().any(|line| line.mid == mid) {
                return mid;
            }
        }
    }

    /// Gives a codec its payload type in this session: what it has already, the publisher's own, or a free one. The last
    /// ones go to codecs, not to retransmissions.
    fn assign(&mut self, format: &Format, kind: Kind, inside: Option<u8>) -> Option<Assigned> {
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
        if let Some(known) = self
            .payload_types
            .iter()
            .find(|known| known.format.is_same(&wanted))
        {
            return Some(known.clone());
        }
        let wish = self.free_payload_types().find(|pt| *pt == format.pt);
        wanted.pt = wish.or_else(|| self.free_payload_types().next())?;
        let repair = self.free_payload_types().find(|pt| *pt != wanted.pt);
        let assigned = Assigned {
            rtx_pt: repair.filter(|_| kind == Kind::Video),
            format: wanted,
        };
        self.payload_types.push(assigned.clone());
        Some(assigned)
    }

    /// Best first. RFC 5761 §4: 64 to 95 look like RTCP; below 35 most are static (RFC 3551), and wished for at most.
    fn free_payload_types(&self) -> impl Iterator<Item = u8> {
        let mut used = [false; 128];
        for known in &self.payload_types {
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

    /// What no m-line uses any more may mean something else from now on.
    fn forget_payload_types(&mut self) {
        let lines = &self.lines;
        self.payload_types.retain(|known| {
            lines.iter().any(|line| match &line.place {
                Place::Shown(shown) => shown
                    .formats
                    .iter()
                    .any(|(_, assigned)| assigned.format.pt == known.format.pt),
                Place::Slot(slot) => slot.formats.contains(known),
                _ => false,
            })
        });
    }

    /// Offers the stage as it is.
    pub fn offer(&self, transport: &LocalTransport, id: u64, version: u64) -> String {
        // RFC 8842 §5.2: what the roles are was agreed on; an offer leaves it open all the same.
        self.write(transport, id, version, "actpass", None)
    }

    /// An offer, or an answer to the client's.
    fn write(
        &self,
        transport: &LocalTransport,
        id: u64,
        version: u64,
        setup: &str,
        offer: Option<&Description>,
    ) -> String {
        let used = |line: &&Line| match &line.place {
            Place::Channel | Place::Slot(_) => true,
            Place::Shown(shown) if offer.is_some() => shown.accepted.is_some(),
            Place::Shown(shown) => !shown.refused,
            Place::Free | Place::Dropping => false,
        };
        let bundle: Vec<&str> = self
            .lines
            .iter()
            .filter(used)
            .map(|line| line.mid.as_str())
            .collect();
        let mut lines = Lines::session(id, version, &bundle);
        let mut first = true;
        for line in &self.lines {
            if !used(&line) {
                lines.rejected(&line.media, &line.proto, &line.fmt, &line.mid);
                continue;
            }
            let candidates = std::mem::take(&mut first);
            match &line.place {
                Place::Shown(shown) => {
                    let accepted = shown.accepted.as_ref().filter(|_| offer.is_some());
                    shown.write(&mut lines, line, transport, setup, candidates, accepted);
                }
                Place::Slot(slot) => slot.rest(&mut lines, line, transport, setup, candidates),
                _ => {
                    lines.media(&line.media, &line.proto, &line.fmt, transport);
                    lines.transport(&line.mid, setup, transport, candidates);
                    lines.channel();
                }
            }
        }
        lines.finish()
    }

    /// Takes the client's answer to [`View::offer`].
    ///
    /// # Errors
    /// Says what doesn't fit the offer; then nothing has changed.
    pub fn accept(&mut self, answer: &Description) -> Result<(), String> {
        if answer.sections.len() != self.lines.len() {
            let (n, m) = (answer.sections.len(), self.lines.len());
            return Err(format!("it has {n} m-lines, the offer had {m}"));
        }
        self.check_mids(answer)?;
        for (line, section) in self.lines.iter_mut().zip(&answer.sections) {
            match &mut line.place {
                Place::Dropping => line.place = Place::Free,
                Place::Shown(shown) => shown.accept(section),
                _ => {}
            }
        }
        Ok(())
    }

    /// RFC 8829 §5.3.1: an m-line in use keeps its mid.
    fn check_mids(&self, theirs: &Description) -> Result<(), String> {
        for (line, section) in self.lines.iter().zip(&theirs.sections) {
            let is_free = matches!(line.place, Place::Free | Place::Dropping);
            if !is_free && !section.mid.is_empty() && section.mid != line.mid {
                return Err(format!("its a=mid:{} stands where {} was", section.mid, line.mid));
            }
        }
        Ok(())
    }

    /// Full IDs of those whose tracks are on stage.
    pub fn publishers(&self) -> std::collections::BTreeSet<&str> {
        self.lines
            .iter()
            .filter_map(|line| match &line.place {
                Place::Shown(shown) => Some(shown.publisher.as_str()),
                _ => None,
            })
            .collect()
    }

    /// What the data plane has to forward, given who is there.
    pub fn routes(&self, session: SessionId, tracks: &[Candidate<'_>]) -> Vec<RouteSpec> {
        let find = |track: u64| tracks.iter().find(|candidate| candidate.track.track == track);
        let route = |line: &Line| match &line.place {
            Place::Shown(shown) => shown.route(line, session, find(shown.track)?),
            Place::Slot(slot) => slot.route(line, session, find(slot.showing?)?),
            _ => None,
        };
        self.lines.iter().filter_map(route).collect()
    }

    /// Chooses for each slot what it shows: its n-th of a kind the publisher's n-th of that kind, if the player can
    /// decode it. Returns whether any shows something.
    pub fn fill(&mut self, tracks: &[Candidate<'_>]) -> bool {
        let mut any = false;
        for (slot, choice) in self.slots_for(tracks) {
            let choice = choice.filter(|c| slot.fitting(&c.track.format).is_some());
            slot.showing = choice.map(|c| c.track.track);
            any |= choice.is_some();
        }
        any
    }

    /// Puts first in each slot the codec that it will show: simple players look no further.
    pub fn prefer(&mut self, tracks: &[Candidate<'_>]) {
        for (slot, choice) in self.slots_for(tracks) {
            let fits = |assigned: &Assigned| choice.is_some_and(|c| c.track.format.fits(&assigned.format));
            if let Some(at) = slot.formats.iter().position(fits) {
                slot.formats[..=at].rotate_right(1);
            }
        }
    }

    /// Each slot with the publisher's track for it: the n-th of a kind belong together.
    fn slots_for<'t>(&mut self, tracks: &[Candidate<'t>]) -> Vec<(&mut Slot, Option<Candidate<'t>>)> {
        let mut nth = [0usize; 2];
        let mut all = Vec::new();
        for line in &mut self.lines {
            let Place::Slot(slot) = &mut line.place else {
                continue;
            };
            let seen = &mut nth[usize::from(slot.video)];
            let kind = if slot.video { Kind::Video } else { Kind::Audio };
            let choice = tracks.iter().filter(|c| c.track.kind() == kind).nth(*seen);
            *seen += 1;
            all.push((slot, choice.copied()));
        }
        all
    }

    /// Whether the tracks on stage are these and no others.
    pub fn shows_exactly(&self, tracks: &[Candidate<'_>]) -> bool {
        let shown: Vec<u64> = self
            .lines
            .iter()
            .filter_map(|line| match &line.place {
                Place::Shown(shown) => Some(shown.track),
                _ => None,
            })
            .collect();
        shown.len() == tracks.len()
            && tracks
                .iter()
                .all(|candidate| shown.contains(&candidate.track.track))
    }

    /// Answers an offer that the client made in mid-session: what it is shown goes on, what it adds is refused.
    ///
    /// # Errors
    /// When it has fewer m-lines than were agreed on, or other ones. What became of the view is of no use then.
    pub fn answer_again(
        &mut self,
        offer: &Description,
        transport: &LocalTransport,
        id: u64,
        version: u64,
    ) -> Result<String, String> {
        if offer.sections.len() < self.lines.len() {
            let (n, m) = (offer.sections.len(), self.lines.len());
            return Err(format!("it has {n} m-lines, {m} were agreed on"));
        }
        self.check_mids(offer)?;
        let known = self.lines.len();
        for (n, section) in offer.sections.iter().enumerate() {
            if let Some(line) = self.lines.get_mut(n) {
                line.offered_again(section);
            }
            // Its own m-lines, new or used again: they are refused, under the names that it gave them.
            let free = Line {
                mid: section.mid.clone(),
                media: section.media.clone(),
                proto: section.proto.clone(),
                fmt: section.fmt.clone(),
                place: Place::Free,
            };
            match self.lines.get_mut(n) {
                Some(line) if line.place == Place::Free => *line = free,
                Some(_) => {}
                None => self.lines.push(free),
            }
        }
        debug_assert!(self.lines.len() >= known, "m-lines never go away");
        Ok(self.write(transport, id, version, answer_setup(offer.setup), Some(offer)))
    }
}

impl Line {
    fn offered_again(&mut self, section: &Section) {
        match &mut self.place {
            Place::Dropping => self.place = Place::Free,
            Place::Slot(_) | Place::Channel if section.rejected => self.place = Place::Free,
            Place::Shown(shown) => {
                shown.accept(section);
                // Its codec is gone from the offer: the answer refuses it.
                shown.refused = shown.accepted.is_none();
            }
            _ => {}
        }
    }
}

fn slot(section: &Section, kind: Kind, draw: &mut impl Draw) -> Option<Slot> {
    if section.direction == Direction::SendOnly {
        return None;
    }
    let formats: Vec<Assigned> = section
        .formats
        .iter()
        .filter(|format| format.codec().is_some_and(|c| super::codecs::kind_of(c) == kind))
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
    Some(Slot {
        formats,
        extensions: known_extensions(section),
        stream: Stream::new(draw),
        video: kind == Kind::Video,
        showing: None,
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
fn known_extensions(section: &Section) -> Vec<(u8, i32)> {
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

fn to_extensions(pairs: &[(u8, i32)]) -> Vec<Extension> {
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

impl Slot {
    /// The player's own payload type for what a publisher sends.
    fn fitting(&self, sent: &Format) -> Option<&Assigned> {
        self.formats.iter().find(|assigned| sent.fits(&assigned.format))
    }

    fn route(&self, line: &Line, session: SessionId, candidate: &Candidate<'_>) -> Option<RouteSpec> {
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
    fn rest(
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

    #[allow(clippy::too_many_arguments)]
    fn write(
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

fn map(from: u8, to: &Assigned) -> Option<PayloadMap> {
    Some(PayloadMap {
        from,
        to: to.format.pt,
        rtx_to: to.rtx_pt,
        codec: to.format.codec()?,
        clock_rate: to.format.clock_rate,
    })
}

impl Stream {
    fn route(
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

impl Shown {
    fn accept(&mut self, section: &Section) {
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

    fn route(&self, line: &Line, session: SessionId, candidate: &Candidate<'_>) -> Option<RouteSpec> {
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
    fn write(
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
