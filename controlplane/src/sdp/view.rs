//! What a subscriber is shown: its m-lines, each a place for one track, and the texts that tell of them.

mod payload_types;
mod shown;
mod slot;
mod stream;

use serde::{Deserialize, Serialize};
use weever_proto::{Kind, RouteSpec, SessionId};

use self::payload_types::PayloadTypes;
pub use self::shown::Shown;
pub use self::slot::Slot;
pub use self::stream::Draw;
use self::stream::Stream;
use super::MAX_SECTIONS;
use super::description::{Description, Direction, Section, SectionKind};
use super::emit::{Lines, LocalTransport};
use super::publish::{PublishedTrack, answer_setup};

/// The m-lines of a subscriber, in order. An SDP never has fewer than it had; ours never has more than it needs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// In SDP order.
    pub lines: Vec<Line>,
    /// Payload types that mean something in this session, so that none comes to mean another thing.
    payload_types: PayloadTypes,
    /// For mids of our own.
    next_mid: u32,
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

/// A codec, and either its retransmissions or redundancy around it.
const PAYLOAD_TYPES_OF_A_TRACK: usize = 2;

impl View {
    /// From the first offer: what it has is kept in order; what it wants to receive becomes slots.
    pub fn new(offer: &Description, draw: &mut impl Draw) -> Self {
        let mut view = Self::default();
        for section in &offer.sections {
            let place = match section.media_kind() {
                _ if section.rejected => Place::Free,
                None if section.kind == SectionKind::Application => Place::Channel,
                Some(kind) if section.direction != Direction::Inactive => {
                    match Slot::new(section, kind, draw) {
                        Some(slot) => Place::Slot(slot),
                        None => Place::Free,
                    }
                }
                _ => Place::Free,
            };
            if let Place::Slot(slot) = &place {
                view.payload_types.learn(&slot.formats);
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

    /// Whether it may have come about by what is done here: one that was kept elsewhere is looked at before it is used.
    pub fn is_sound(&self) -> bool {
        self.lines.len() <= MAX_SECTIONS && self.next_mid < u32::MAX / 2
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
            .payload_types
            .free()
            .nth(PAYLOAD_TYPES_OF_A_TRACK - 1)
            .is_none()
        {
            self.forget_payload_types();
        }
        // With every payload type in use by what is on stage, a codec that none of them means can't be shown.
        let Some(main) = self.payload_types.assign(&track.format, track.kind(), None) else {
            return;
        };
        let mut formats = vec![(track.format.pt, main.clone())];
        // The blocks inside of RED name the publisher's payload type: only where that is ours too can it go as it is.
        // Elsewhere the data plane sends its primary block.
        if let Some(red) = track.red.as_ref().filter(|_| main.format.pt == track.format.pt) {
            let mine = self.payload_types.assign(red, Kind::Audio, Some(main.format.pt));
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
        self.check_dropped(answer)?;
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

    /// Who answers with media on what this offer takes away answers an earlier one (RFC 3264 §6: a refused m-line stays
    /// refused), for the second time: its m-lines must not be used again yet.
    fn check_dropped(&self, answer: &Description) -> Result<(), String> {
        for (line, section) in self.lines.iter().zip(&answer.sections) {
            let receives = matches!(section.direction, Direction::RecvOnly | Direction::SendRecv);
            if line.place == Place::Dropping && !section.rejected && receives {
                return Err(format!(
                    "it still receives on a=mid:{}, which is no longer offered",
                    line.mid
                ));
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

    /// A player's m-lines for pictures: index and mid.
    pub fn pictures(&self) -> impl Iterator<Item = (usize, &str)> {
        let is_picture = |line: &Line| matches!(&line.place, Place::Slot(slot) if slot.video);
        let lines = self.lines.iter().enumerate();
        lines
            .filter(move |(_, line)| is_picture(line))
            .map(|(n, line)| (n, line.mid.as_str()))
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
            let fitting = choice
                .and_then(|c| slot.fitting(&c.track.format))
                .map(|mine| mine.format.pt);
            if let Some(at) = slot
                .formats
                .iter()
                .position(|mine| Some(mine.format.pt) == fitting)
            {
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
