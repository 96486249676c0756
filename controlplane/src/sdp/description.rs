//! An offer or answer as an SFU sees it.

use std::collections::HashSet;

use sdp_types::{Attribute, Media, Session};
use weever_proto::{Fingerprint, IceCredentials, Kind, limits};

use super::codecs::Format;
use super::{MAX_SDP, MAX_SECTIONS, SdpError};

/// `a=rtcp-fb` lines of one m-line that are read: 128 payload types, each with all that is known.
const MAX_FEEDBACK: usize = 128 * 8;

/// A session description, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Of the one transport that BUNDLE makes.
    pub ice: IceCredentials,
    /// The certificate that the DTLS handshake must show.
    pub fingerprint: Fingerprint,
    /// Who begins the handshake.
    pub setup: Setup,
    /// The m-lines, in order.
    pub sections: Vec<Section>,
}

/// `a=setup` (RFC 4145 §4, RFC 8842 §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setup {
    /// Either way.
    ActPass,
    /// It begins.
    Active,
    /// It waits: the server begins.
    Passive,
}

/// What an m-line is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SectionKind {
    /// Media over RTP.
    Media(Kind),
    /// A data channel (RFC 8841).
    Application,
    /// Nothing that we serve.
    Other,
}

/// RFC 8866 §6.7
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Both.
    SendRecv,
    /// The describing side sends.
    SendOnly,
    /// The describing side receives.
    RecvOnly,
    /// Neither.
    Inactive,
}

/// One m-line and what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// What it is for.
    pub kind: SectionKind,
    /// `audio`, `video`, ... as written.
    pub media: String,
    /// Transport protocol, as written.
    pub proto: String,
    /// Formats, as written.
    pub fmt: String,
    /// `a=mid`; empty where a single m-line has none.
    pub mid: String,
    /// Port 0 outside a BUNDLE group: not wanted (RFC 3264 §6).
    pub rejected: bool,
    /// Which way media goes, seen from who wrote it.
    pub direction: Direction,
    /// Payload types in order of preference.
    pub formats: Vec<Format>,
    /// Header extensions: id and URI (RFC 8285 §5).
    pub extensions: Vec<(u8, String)>,
    /// First SSRC.
    pub ssrc: Option<u32>,
    /// SSRC of its retransmissions, from `a=ssrc-group:FID`.
    pub rtx_ssrc: Option<u32>,
}

impl Section {
    /// Audio or video, if it is media.
    pub fn media_kind(&self) -> Option<Kind> {
        match self.kind {
            SectionKind::Media(kind) => Some(kind),
            _ => None,
        }
    }

    /// The retransmission payload type of `pt`.
    pub fn rtx_of(&self, pt: u8) -> Option<u8> {
        self.formats
            .iter()
            .find(|format| format.apt() == Some(pt))
            .map(|format| format.pt)
    }
}

impl Description {
    /// Reads an offer or answer of a client.
    ///
    /// # Errors
    /// [`SdpError::Malformed`] when it is no SDP; [`SdpError::Unservable`] when it is, but not one over which a WebRTC
    /// session with BUNDLE, rtcp-mux, ICE and DTLS can be made.
    pub fn parse(text: &str) -> Result<Self, SdpError> {
        if text.trim().is_empty() {
            return Err(SdpError::malformed("it is empty"));
        }
        if text.len() > MAX_SDP {
            return Err(SdpError::malformed(format!(
                "{} bytes, at most {MAX_SDP} are read",
                text.len()
            )));
        }
        // Before the library allocates for each of them.
        let lines = text.lines().filter(|line| line.starts_with("m=")).count();
        if lines > MAX_SECTIONS {
            return Err(SdpError::unservable(format!(
                "{lines} m-lines, at most {MAX_SECTIONS} are served"
            )));
        }
        if text.bytes().any(|byte| byte == 0) {
            return Err(SdpError::malformed("it contains NUL"));
        }
        let session =
            Session::parse(text.as_bytes()).map_err(|error| SdpError::malformed(error.to_string()))?;
        if session.medias.is_empty() {
            return Err(SdpError::malformed("it has no m-line"));
        }
        let bundle = bundle_group(&session);
        let shared = direction(&session.attributes).unwrap_or(Direction::SendRecv);
        let mut sections = Vec::with_capacity(session.medias.len());
        for (n, media) in session.medias.iter().enumerate() {
            sections.push(section(n, media, shared, &bundle)?);
        }
        check_mids(&sections, &bundle)?;
        let transport = Transport::of(&session, &sections)?;
        Ok(Self {
            ice: transport.ice,
            fingerprint: transport.fingerprint,
            setup: transport.setup,
            sections,
        })
    }

    /// Whether it has a data channel.
    pub fn has_channel(&self) -> bool {
        self.sections
            .iter()
            .any(|section| section.kind == SectionKind::Application && !section.rejected)
    }
}

/// Value of a media-level attribute, or of the session's.
fn attribute<'a>(media: Option<&'a Media>, session: &'a Session, name: &str) -> Option<&'a str> {
    let own = media.into_iter().flat_map(|media| &media.attributes);
    own.chain(&session.attributes)
        .find(|attribute| attribute.attribute.eq_ignore_ascii_case(name))
        .map(|attribute| attribute.value.as_deref().unwrap_or("").trim())
}

fn values<'a>(media: &'a Media, name: &'a str) -> impl Iterator<Item = &'a str> {
    media
        .attributes
        .iter()
        .filter(move |a| a.attribute.eq_ignore_ascii_case(name))
        .filter_map(|a| a.value.as_deref())
}

fn has(media: &Media, name: &str) -> bool {
    media
        .attributes
        .iter()
        .any(|attribute| attribute.attribute.eq_ignore_ascii_case(name))
}

/// Mids of the first BUNDLE group (RFC 9143 §7.2).
fn bundle_group(session: &Session) -> HashSet<String> {
    session
        .attributes
        .iter()
        .filter(|a| a.attribute == "group")
        .filter_map(|a| a.value.as_deref()?.strip_prefix("BUNDLE"))
        .take(1)
        .flat_map(str::split_ascii_whitespace)
        .map(str::to_owned)
        .collect()
}

fn section(
    n: usize,
    media: &Media,
    shared: Direction,
    bundle: &HashSet<String>,
) -> Result<Section, SdpError> {
    let rtp = media.proto.to_ascii_uppercase().contains("RTP/");
    let kind = match media.media.as_str() {
        "audio" if rtp => SectionKind::Media(Kind::Audio),
        "video" if rtp => SectionKind::Media(Kind::Video),
        "application" if media.proto.to_ascii_uppercase().ends_with("DTLS/SCTP") => SectionKind::Application,
        _ => SectionKind::Other,
    };
    let mid = values(media, "mid").next().unwrap_or("").trim().to_owned();
    let bundle_only = has(media, "bundle-only") && bundle.contains(&mid);
    let rejected = (media.port == 0 && !bundle_only) || kind == SectionKind::Other;
    let is_media = matches!(kind, SectionKind::Media(_));
    if is_media && !rejected && !has(media, "rtcp-mux") {
        return Err(SdpError::unservable(format!(
            "m-line {n} ({}) has no a=rtcp-mux",
            media.media
        )));
    }
    let (ssrc, rtx_ssrc) = if is_media { ssrcs(media) } else { (None, None) };
    Ok(Section {
        kind,
        media: media.media.clone(),
        proto: media.proto.clone(),
        fmt: media.fmt.clone(),
        mid,
        rejected,
        direction: direction(&media.attributes).unwrap_or(shared),
        formats: if is_media { formats(n, media)? } else { Vec::new() },
        extensions: if is_media { extensions(media) } else { Vec::new() },
        ssrc,
        rtx_ssrc,
    })
}

fn direction(attributes: &[Attribute]) -> Option<Direction> {
    let of = |attribute: &Attribute| match attribute.attribute.as_str() {
        "sendrecv" => Some(Direction::SendRecv),
        "sendonly" => Some(Direction::SendOnly),
        "recvonly" => Some(Direction::RecvOnly),
        "inactive" => Some(Direction::Inactive),
        _ => None,
    };
    attributes.iter().find_map(of)
}

/// Static payload types that an m-line may use without `a=rtpmap` (RFC 3551 §6).
fn static_format(pt: u8) -> Option<Format> {
    let name = match pt {
        0 => "PCMU",
        8 => "PCMA",
        _ => return None,
    };
    Some(Format {
        pt,
        name: name.into(),
        clock_rate: 8000,
        channels: None,
        fmtp: None,
        feedback: Vec::new(),
    })
}

fn formats(n: usize, media: &Media) -> Result<Vec<Format>, SdpError> {
    let mut described = Described::of(media);
    let mut formats: Vec<Format> = Vec::new();
    let mut seen = [false; 128];
    for token in media.fmt.split_ascii_whitespace() {
        let pt = token.parse::<u8>().ok().filter(|pt| *pt <= 127).ok_or_else(|| {
            SdpError::unservable(format!(
                "m-line {n} ({}): {token:?} is no payload type (0 to 127)",
                media.media
            ))
        })?;
        if std::mem::replace(&mut seen[usize::from(pt)], true) {
            continue;
        }
        // A payload type that nothing explains is of no use to us.
        formats.extend(described.take(pt));
    }
    Ok(formats)
}

/// What the attributes of an m-line say of payload types: read once, however many of both there are.
struct Described<'a> {
    formats: [Option<Format>; 128],
    fmtp: [Option<&'a str>; 128],
    feedback: Vec<(Option<u8>, &'a str)>,
}

impl<'a> Described<'a> {
    fn of(media: &'a Media) -> Self {
        let mut all = Self {
            formats: [const { None }; 128],
            fmtp: [None; 128],
            feedback: Vec::new(),
        };
        for attribute in &media.attributes {
            let Some(value) = attribute.value.as_deref() else {
                continue;
            };
            let Some((head, rest)) = value.trim_start().split_once(' ') else {
                continue;
            };
            let is = |name: &str| attribute.attribute.eq_ignore_ascii_case(name);
            let pt = head.parse::<u8>().ok().filter(|pt| *pt <= 127);
            if is("rtcp-fb") && all.feedback.len() < MAX_FEEDBACK && (pt.is_some() || head == "*") {
                all.feedback.push((pt, rest.trim()));
            }
            let Some((pt, slot)) = pt.map(|pt| (pt, usize::from(pt))) else {
                continue;
            };
            if is("rtpmap") && all.formats[slot].is_none() {
                all.formats[slot] = rtpmap(rest.trim(), pt);
            } else if is("fmtp") && all.fmtp[slot].is_none() {
                all.fmtp[slot] = Some(rest.trim());
            }
        }
        all
    }

    fn take(&mut self, pt: u8) -> Option<Format> {
        let slot = usize::from(pt);
        let mut format = self.formats[slot].take().or_else(|| static_format(pt))?;
        format.fmtp = self.fmtp[slot].map(str::to_owned);
        for (_, value) in self
            .feedback
            .iter()
            .filter(|(of, _)| of.is_none_or(|of| of == pt))
        {
            // Some clients say it twice.
            if format.feedback.len() < 16 && !format.feedback.iter().any(|known| known == value) {
                format.feedback.push((*value).to_owned());
            }
        }
        Some(format)
    }
}

/// RFC 8866 §6.6: `<name>/<clock rate>[/<channels>]`
fn rtpmap(value: &str, pt: u8) -> Option<Format> {
    let mut parts = value.split('/');
    let name = parts.next()?.trim().to_owned();
    let clock_rate = parts.next()?.trim().parse().ok().filter(|rate| *rate > 0)?;
    let channels = parts.next().and_then(|channels| channels.trim().parse().ok());
    Some(Format {
        pt,
        name,
        clock_rate,
        channels,
        fmtp: None,
        feedback: Vec::new(),
    })
}

/// RFC 8285 §5: `<id>[/<direction>] <uri> [<attributes>]`. Ids above 14 need the two-byte form on each packet.
fn extensions(media: &Media) -> Vec<(u8, String)> {
    let parse = |value: &str| {
        let mut words = value.split_ascii_whitespace();
        let id: u8 = words.next()?.split('/').next()?.parse().ok()?;
        let uri = words.next()?.to_owned();
        (1..=14).contains(&id).then_some((id, uri))
    };
    values(media, "extmap").filter_map(parse).take(64).collect()
}

/// RFC 5576: the first stream, and its repair stream.
fn ssrcs(media: &Media) -> (Option<u32>, Option<u32>) {
    let group = values(media, "ssrc-group").find_map(|value| {
        let mut words = value
            .strip_prefix("FID ")?
            .split_ascii_whitespace()
            .map(str::parse::<u32>);
        Some((words.next()?.ok()?, words.next()?.ok()?))
    });
    if let Some((main, rtx)) = group {
        return (Some(main), Some(rtx));
    }
    let first = values(media, "ssrc").find_map(|value| value.split_ascii_whitespace().next()?.parse().ok());
    (first, None)
}

/// RFC 8866 §9: `token-char`. Anything else in a mid would break our own lines that repeat it (RFC 5888 §4).
fn is_token_char(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]".contains(&byte)
}

fn check_mids(sections: &[Section], bundle: &HashSet<String>) -> Result<(), SdpError> {
    let mut seen = HashSet::new();
    let used: Vec<&Section> = sections.iter().filter(|section| !section.rejected).collect();
    if used.is_empty() {
        return Err(SdpError::unservable(
            "every m-line is rejected or of no kind that is served",
        ));
    }
    for section in &used {
        if !section.mid.bytes().all(is_token_char) {
            let mid = &section.mid;
            return Err(SdpError::unservable(format!(
                "a=mid:{mid:?} has a character that it must not have"
            )));
        }
        if section.mid.is_empty() && section.kind == SectionKind::Application {
            // The channel is for later negotiations, and those need names (RFC 8829 §5.2.1).
            return Err(SdpError::unservable("the data channel has no a=mid"));
        }
        if section.mid.len() > limits::MAX_MID {
            let (mid, max) = (&section.mid, limits::MAX_MID);
            return Err(SdpError::unservable(format!(
                "a=mid:{mid} is longer than {max} characters"
            )));
        }
        if !seen.insert(&section.mid) {
            return Err(SdpError::unservable(format!(
                "two m-lines have a=mid:{}",
                section.mid
            )));
        }
        if used.len() > 1 && !bundle.contains(&section.mid) {
            let mid = &section.mid;
            return Err(SdpError::unservable(format!(
                "a=group:BUNDLE doesn't name the m-line with a=mid:{mid:?}"
            )));
        }
    }
    Ok(())
}

/// What all m-lines share.
struct Transport {
    ice: IceCredentials,
    fingerprint: Fingerprint,
    setup: Setup,
}

impl Transport {
    /// From the first m-line in use, which tags the BUNDLE group, or else from the session.
    fn of(session: &Session, sections: &[Section]) -> Result<Self, SdpError> {
        let tagged = sections
            .iter()
            .position(|section| !section.rejected)
            .and_then(|n| session.medias.get(n));
        let get = |name: &str| attribute(tagged, session, name);
        let missing = |name: &str| SdpError::unservable(format!("there is no a={name}"));
        let ufrag = get("ice-ufrag").ok_or_else(|| missing("ice-ufrag"))?;
        let password = get("ice-pwd").ok_or_else(|| missing("ice-pwd"))?;
        let setup = match get("setup") {
            Some("active") => Setup::Active,
            Some("passive") => Setup::Passive,
            // RFC 8842 §5.3: absent means what an offer should say.
            _ => Setup::ActPass,
        };
        Ok(Self {
            ice: credentials(ufrag, password)?,
            fingerprint: fingerprint(tagged, session)?,
            setup,
        })
    }
}

/// Checks what RFC 8839 §5.4 demands of credentials.
pub(crate) fn credentials(ufrag: &str, password: &str) -> Result<IceCredentials, SdpError> {
    let ice_char = |c: char| c.is_ascii_alphanumeric() || c == '+' || c == '/';
    for (name, value, min) in [
        ("ice-ufrag", ufrag, limits::MIN_UFRAG),
        ("ice-pwd", password, limits::MIN_PASSWORD),
    ] {
        // Deployed clients use '-' and '_' too; what matters is that nothing breaks a line or a USERNAME.
        if !value.chars().all(|c| ice_char(c) || "-_=.".contains(c)) {
            return Err(SdpError::unservable(format!(
                "a={name} has a character that it must not have"
            )));
        }
        if value.len() < min || value.len() > limits::MAX_ICE {
            let max = limits::MAX_ICE;
            return Err(SdpError::unservable(format!(
                "a={name} has {} characters, not {min} to {max}",
                value.len()
            )));
        }
    }
    Ok(IceCredentials {
        ufrag: ufrag.into(),
        password: password.into(),
    })
}

/// SHA-256 where it is given, else SHA-1: what the handshake can be checked with.
fn fingerprint(media: Option<&Media>, session: &Session) -> Result<Fingerprint, SdpError> {
    let own = media.into_iter().flat_map(|media| &media.attributes);
    let all: Vec<&str> = own
        .chain(&session.attributes)
        .filter(|a| a.attribute == "fingerprint")
        .filter_map(|a| a.value.as_deref())
        .collect();
    if all.is_empty() {
        return Err(SdpError::unservable("there is no a=fingerprint"));
    }
    for (hash, len) in [("sha-256", 32), ("sha-1", 20)] {
        for text in &all {
            let Some((name, digest)) = text.trim().split_once(' ') else {
                continue;
            };
            if !name.eq_ignore_ascii_case(hash) {
                continue;
            }
            let value: Option<Vec<u8>> = digest
                .trim()
                .split(':')
                .map(|byte| u8::from_str_radix(byte, 16).ok())
                .collect();
            let value = value.filter(|value| value.len() == len);
            let value =
                value.ok_or_else(|| SdpError::unservable(format!("a=fingerprint:{hash} is malformed")))?;
            return Ok(Fingerprint {
                hash: hash.into(),
                value,
            });
        }
    }
    Err(SdpError::unservable("no a=fingerprint with sha-256 or sha-1"))
}
