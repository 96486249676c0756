//! Answering those who send.

use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};
use weever_proto::{Codec, Extension, Kind, PayloadType, Receive, TrackId, limits};

use super::SdpError;
use super::codecs::{Format, extension_kind, kind_of};
use super::description::{Description, Direction, Section, SectionKind, Setup};
use super::emit::{Lines, LocalTransport};

/// Of a limited bit rate a sound gets no more than this, bits per second: music in stereo needs no more.
const MAX_SOUND: u64 = 128_000;

/// One m-line that a publisher sends on, as it was negotiated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedTrack {
    /// Its number in the data plane.
    pub track: u64,
    /// `a=mid` at the publisher.
    pub mid: String,
    /// Its name among the publisher's tracks: `video0`, `audio0`, `video1`.
    pub label: String,
    /// The codec, under the publisher's payload type.
    pub format: Format,
    /// Payload type of its retransmissions.
    pub rtx_pt: Option<u8>,
    /// Redundant audio around it (RFC 2198).
    pub red: Option<Format>,
    ssrc: Option<u32>,
    rtx_ssrc: Option<u32>,
}

impl PublishedTrack {
    /// Audio or video.
    pub fn kind(&self) -> Kind {
        self.format.codec().map_or(Kind::Video, kind_of)
    }

    /// As the data plane is told.
    pub fn receive(&self) -> Receive {
        let has = |value: &str| self.format.feedback.iter().any(|feedback| feedback == value);
        let main = PayloadType {
            pt: self.format.pt,
            codec: self.format.codec().unwrap_or(Codec::Opus),
            clock_rate: self.format.clock_rate,
            rtx_pt: self.rtx_pt,
            nack: has("nack"),
            pli: has("nack pli"),
            fir: has("ccm fir"),
            transport_cc: has("transport-cc"),
        };
        let red = self.red.as_ref().map(|red| PayloadType {
            pt: red.pt,
            codec: Codec::Red,
            clock_rate: red.clock_rate,
            rtx_pt: None,
            nack: false,
            pli: false,
            fir: false,
            transport_cc: main.transport_cc,
        });
        Receive {
            track: TrackId(self.track),
            // A lone m-line may have none; the data plane wants a name, and has no other to confuse it with.
            mid: if self.mid.is_empty() {
                "0".into()
            } else {
                self.mid.clone()
            },
            kind: self.kind(),
            payload_types: std::iter::once(main).chain(red).collect(),
            ssrc: self.ssrc,
            rtx_ssrc: self.rtx_ssrc,
        }
    }
}

/// An answer to a publisher, and what it agreed to.
#[derive(Debug)]
pub struct PublishAnswer {
    /// The SDP.
    pub text: String,
    /// What will be received, in the order of the m-lines.
    pub tracks: Vec<PublishedTrack>,
    /// Ids of the header extensions.
    pub extensions: Vec<Extension>,
}

/// Answers an offer of somebody who sends: every m-line with its first codec that we forward.
///
/// `known` are the tracks so far; an m-line that stays keeps its track and label. `max_bitrate`, bits per second of all media, is
/// shared out among the m-lines. `mint` makes track numbers.
///
/// # Errors
/// [`SdpError::Unservable`] when media is offered, but none that we forward.
pub fn answer(
    offer: &Description,
    transport: &LocalTransport,
    id: u64,
    version: u64,
    known: &[PublishedTrack],
    max_bitrate: Option<NonZeroU64>,
    mut mint: impl FnMut() -> u64,
) -> Result<PublishAnswer, SdpError> {
    let mut tracks: Vec<PublishedTrack> = Vec::new();
    for section in &offer.sections {
        if let Some(track) = receive(section, known, &tracks, &mut mint) {
            tracks.push(track);
        }
    }
    let offered = |section: &&Section| section.media_kind().is_some() && sends(section);
    if tracks.is_empty() && offer.sections.iter().any(|section| offered(&section)) {
        return Err(SdpError::unservable(
            "no codec in common: Opus, PCMU, PCMA, VP8, VP9, H264, H265 and AV1 are forwarded",
        ));
    }
    if tracks.len() > limits::MAX_RECEIVE {
        let (n, max) = (tracks.len(), limits::MAX_RECEIVE);
        return Err(SdpError::unservable(format!(
            "{n} m-lines with media, at most {max} are received"
        )));
    }
    let text = write(offer, transport, id, version, &tracks, max_bitrate);
    Ok(PublishAnswer {
        text,
        extensions: extensions(offer, &tracks),
        tracks,
    })
}

/// Who begins to publish gets all that it wants to send taken, or nothing (RFC 9725 §4.4.3): a picture without its sound would
/// look like a success.
///
/// # Errors
/// [`SdpError::Unservable`] names the m-line that is left, or says that there is none.
pub fn check_whole(offer: &Description, tracks: &[PublishedTrack]) -> Result<(), SdpError> {
    let is_left = |section: &Section| {
        section.media_kind().is_some()
            && sends(section)
            && !tracks.iter().any(|track| track.mid == section.mid)
    };
    if let Some((n, left)) = offer
        .sections
        .iter()
        .enumerate()
        .find(|(_, section)| is_left(section))
    {
        return Err(SdpError::unservable(format!(
            "m-line {n} ({}): no codec in common; all of what is offered is taken, or nothing",
            left.media
        )));
    }
    match tracks.is_empty() && !offer.has_channel() {
        true => Err(SdpError::unservable(
            "nothing to send: the offer has no m-line that sends, nor a data channel",
        )),
        false => Ok(()),
    }
}

fn sends(section: &Section) -> bool {
    !section.rejected && matches!(section.direction, Direction::SendRecv | Direction::SendOnly)
}

/// What is taken of one m-line.
fn receive(
    section: &Section,
    known: &[PublishedTrack],
    others: &[PublishedTrack],
    mint: &mut impl FnMut() -> u64,
) -> Option<PublishedTrack> {
    let kind = section.media_kind().filter(|_| sends(section))?;
    let mut format = section
        .formats
        .iter()
        .find(|format| format.is_primary(kind))?
        .clone();
    format.feedback.retain(|value| {
        value == "transport-cc"
            || (kind == Kind::Video && matches!(value.as_str(), "nack" | "nack pli" | "ccm fir"))
    });
    let rtx_pt = section.rtx_of(format.pt).filter(|_| kind == Kind::Video);
    let is_red = |red: &&Format| red.codec() == Some(Codec::Red) && wraps(red, format.pt);
    let red = section.formats.iter().find(is_red).cloned().map(|mut red| {
        red.feedback.retain(|value| value == "transport-cc");
        red
    });
    let old = known
        .iter()
        .find(|track| track.mid == section.mid && track.kind() == kind);
    // Viewers were told its codec: with another it is another track, under the same name.
    let same = old.filter(|old| old.format.pt == format.pt && old.format.is_same(&format));
    let prefix = if kind == Kind::Video { "video" } else { "audio" };
    let taken = |label: &String| known.iter().chain(others).any(|track| track.label == *label);
    let fresh = || {
        (0..)
            .map(|n| format!("{prefix}{n}"))
            .find(|label| !taken(label))
            .unwrap_or_default()
    };
    Some(PublishedTrack {
        track: same.map_or_else(mint, |old| old.track),
        mid: section.mid.clone(),
        label: old.map_or_else(fresh, |old| old.label.clone()),
        format,
        rtx_pt,
        red,
        ssrc: section.ssrc,
        rtx_ssrc: section.rtx_ssrc.filter(|_| rtx_pt.is_some()),
    })
}

/// RFC 2198 §5: the fmtp of RED lists the payload types inside.
pub(crate) fn wraps(red: &Format, pt: u8) -> bool {
    red.fmtp
        .as_deref()
        .is_some_and(|fmtp| fmtp.split('/').all(|inner| inner.trim().parse() == Ok(pt)))
}

fn extensions(offer: &Description, tracks: &[PublishedTrack]) -> Vec<Extension> {
    let mut all: Vec<Extension> = Vec::new();
    for section in offer
        .sections
        .iter()
        .filter(|section| tracks.iter().any(|track| track.mid == section.mid))
    {
        for (id, uri) in &section.extensions {
            let Some(kind) = extension_kind(uri) else { continue };
            // RFC 8843 §10.1.3: within a group an id means one thing.
            if all.len() < limits::MAX_EXTENSIONS && !all.iter().any(|e| e.id == *id || e.kind == kind) {
                all.push(Extension { id: *id, kind });
            }
        }
    }
    all
}

fn write(
    offer: &Description,
    transport: &LocalTransport,
    id: u64,
    version: u64,
    tracks: &[PublishedTrack],
    max_bitrate: Option<NonZeroU64>,
) -> String {
    let find = |section: &Section| {
        tracks
            .iter()
            .find(|track| track.mid == section.mid && sends(section))
    };
    let used = |section: &Section| match section.kind {
        SectionKind::Application => !section.rejected,
        // What the client has stopped sending stays in place, inactive.
        SectionKind::Media(_) => !section.rejected && (find(section).is_some() || !sends(section)),
        SectionKind::Other => false,
    };
    let bundle: Vec<&str> = offer
        .sections
        .iter()
        .filter(|s| used(s))
        .map(|s| s.mid.as_str())
        .collect();
    let grouped = bundle.iter().all(|mid| !mid.is_empty());
    let mut lines = Lines::session(id, version, if grouped { &bundle } else { &[] });
    let setup = answer_setup(offer.setup);
    let mut first = true;
    for section in &offer.sections {
        if !used(section) {
            lines.rejected(&section.media, &section.proto, &section.fmt, &section.mid);
            continue;
        }
        let candidates = std::mem::take(&mut first);
        match find(section) {
            Some(track) => {
                let share = max_bitrate.map(|max| share(max, tracks, track.kind()));
                received(&mut lines, section, track, transport, setup, candidates, share);
            }
            None if section.kind == SectionKind::Application => {
                lines.media(&section.media, &section.proto, &section.fmt, transport);
                lines.transport(&section.mid, setup, transport, candidates);
                lines.channel();
            }
            None => {
                let pt = section
                    .formats
                    .first()
                    .map_or_else(|| section.fmt.clone(), |f| f.pt.to_string());
                lines.media(&section.media, &section.proto, &pt, transport);
                lines.transport(&section.mid, setup, transport, candidates);
                lines.push("a=inactive");
                lines.push("a=rtcp-mux");
                lines.push("a=rtcp-mux-only");
                section
                    .formats
                    .first()
                    .iter()
                    .for_each(|format| lines.format(&without_feedback(format)));
            }
        }
    }
    lines.finish()
}

/// What one m-line gets of a session's bit rate: sounds a quarter at most, pictures the rest.
fn share(max: NonZeroU64, tracks: &[PublishedTrack], kind: Kind) -> u64 {
    let of = |kind| tracks.iter().filter(|track| track.kind() == kind).count() as u64;
    let (max, sounds, pictures) = (max.get(), of(Kind::Audio), of(Kind::Video));
    let sound = match (sounds, pictures) {
        (0, _) => 0,
        (_, 0) => max / sounds,
        _ => (max / 4 / sounds).min(MAX_SOUND),
    };
    match kind {
        Kind::Audio => sound.max(1),
        Kind::Video => ((max - sound * sounds) / pictures.max(1)).max(1),
    }
}

fn without_feedback(format: &Format) -> Format {
    Format {
        feedback: Vec::new(),
        ..format.clone()
    }
}

fn received(
    lines: &mut Lines,
    section: &Section,
    track: &PublishedTrack,
    transport: &LocalTransport,
    setup: &str,
    candidates: bool,
    max_bitrate: Option<u64>,
) {
    // In the client's own order: one that puts RED first sends it.
    let formats: Vec<&Format> = section
        .formats
        .iter()
        .filter_map(|format| match format.pt {
            pt if pt == track.format.pt => Some(&track.format),
            pt if Some(pt) == track.rtx_pt => Some(format),
            pt => track.red.as_ref().filter(|red| red.pt == pt),
        })
        .collect();
    let fmt: Vec<String> = formats.iter().map(|format| format.pt.to_string()).collect();
    lines.media(&section.media, &section.proto, &fmt.join(" "), transport);
    if let Some(bits_per_second) = max_bitrate {
        lines.bandwidth(bits_per_second);
    }
    lines.transport(&section.mid, setup, transport, candidates);
    lines.push("a=recvonly");
    lines.push("a=rtcp-mux");
    lines.push("a=rtcp-mux-only");
    lines.push("a=rtcp-rsize");
    for format in formats {
        lines.format(format);
    }
    for (id, uri) in &section.extensions {
        if extension_kind(uri).is_some() {
            lines.line(format_args!("a=extmap:{id} {uri}"));
        }
    }
}

/// RFC 8842 §5.3: we wait, unless the client does.
pub(crate) fn answer_setup(offered: Setup) -> &'static str {
    match offered {
        Setup::Passive => "active",
        Setup::ActPass | Setup::Active => "passive",
    }
}
