//! What a server's answer or offer says, as far as a viewer needs it.

use std::net::{IpAddr, SocketAddr};

use sdp_types::{Candidate as SdpCandidate, CandidateAddress, Media, RtpMap, Session, SsrcGroup};
use str0m::IceCreds;
use str0m::crypto::Fingerprint;
use thiserror::Error;

use crate::media::Codec;

const MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
const TWCC: &str = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";

#[derive(Debug, Error)]
pub(crate) enum SdpError {
    #[error("the server's SDP can't be read: {0}")]
    Malformed(String),
    #[error("the server's SDP has no {0}")]
    Missing(&'static str),
}

/// What packets with a payload type are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PtUse {
    /// Media; `None`: of a codec that is forwarded but not looked into.
    Media(Option<Codec>),
    /// Retransmissions of another payload type (RFC 4588).
    Rtx(u8),
}

/// One m-line with media.
#[derive(Debug, Clone)]
pub(crate) struct Track {
    pub(crate) mid: String,
    pub(crate) video: bool,
    pub(crate) clock_rate: u32,
    pub(crate) pts: Vec<(u8, PtUse)>,
    /// SSRC and that of its retransmissions.
    pub(crate) pairs: Vec<(u32, u32)>,
    pub(crate) nack: bool,
    pub(crate) pli: bool,
    /// Extension ids: `a=extmap`.
    pub(crate) mid_id: Option<u8>,
    pub(crate) twcc_id: Option<u8>,
}

/// A server's description.
#[derive(Debug, Clone)]
pub(crate) struct Description {
    pub(crate) ice: IceCreds,
    pub(crate) fingerprint: Fingerprint,
    /// Whether we start the DTLS handshake.
    pub(crate) we_are_client: bool,
    /// UDP, first component, with an address.
    pub(crate) candidates: Vec<SocketAddr>,
    pub(crate) tracks: Vec<Track>,
}

impl Description {
    pub(crate) fn parse(sdp: &str) -> Result<Self, SdpError> {
        let session = parse(sdp)?;
        let find = |name: &'static str| {
            let medias = session.medias.iter();
            let of_media = medias.filter_map(|media| media.get_first_attribute_value(name).flatten());
            session
                .get_first_attribute_value(name)
                .flatten()
                .into_iter()
                .chain(of_media)
                .next()
        };
        let ufrag = find("ice-ufrag").ok_or(SdpError::Missing("a=ice-ufrag"))?;
        let pass = find("ice-pwd").ok_or(SdpError::Missing("a=ice-pwd"))?;
        let fingerprint = find("fingerprint")
            .and_then(fingerprint)
            .ok_or(SdpError::Missing("usable a=fingerprint"))?;
        Ok(Self {
            ice: IceCreds {
                ufrag: ufrag.to_owned(),
                pass: pass.to_owned(),
            },
            fingerprint,
            we_are_client: find("setup").is_some_and(|setup| setup != "active"),
            candidates: candidates(&session),
            tracks: session
                .medias
                .iter()
                .filter(|media| media.port != 0 && matches!(media.media.as_str(), "audio" | "video"))
                .map(track)
                .collect(),
        })
    }
}

pub(super) fn parse(sdp: &str) -> Result<Session, SdpError> {
    Session::parse(sdp.as_bytes()).map_err(|error| SdpError::Malformed(error.to_string()))
}

/// RFC 8122 §5: hash function and colon-separated bytes.
fn fingerprint(value: &str) -> Option<Fingerprint> {
    let (hash, hex) = value.trim().split_once(' ')?;
    let bytes: Option<Vec<u8>> = hex
        .trim()
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).ok())
        .collect();
    Some(Fingerprint {
        hash_func: hash.to_ascii_lowercase(),
        bytes: bytes?,
    })
}

fn candidates(session: &Session) -> Vec<SocketAddr> {
    let mut found = Vec::new();
    let of_medias = session.medias.iter().flat_map(|media| &media.attributes);
    for attribute in session.attributes.iter().chain(of_medias) {
        let Some(value) = attribute
            .value
            .as_deref()
            .filter(|_| attribute.attribute == "candidate")
        else {
            continue;
        };
        let Some(address) = udp_address(value) else {
            continue;
        };
        if !found.contains(&address) {
            found.push(address);
        }
    }
    found
}

/// RFC 8839 §5.1. Names (mDNS) and TCP are not for us.
fn udp_address(value: &str) -> Option<SocketAddr> {
    let candidate: SdpCandidate = value.parse().ok()?;
    let udp = candidate.component_id == 1 && candidate.transport.eq_ignore_ascii_case("udp");
    let ip: IpAddr = match candidate.address {
        CandidateAddress::IpAddr(ip) => ip,
        CandidateAddress::FQDN(_) => return None,
    };
    (udp && candidate.port != 0).then(|| SocketAddr::new(ip, candidate.port))
}

fn track(media: &Media) -> Track {
    let value = |name: &'static str| media.get_first_attribute_value(name).flatten();
    let attributes = || media.attributes.iter();
    let values = |name: &'static str| {
        attributes()
            .filter(move |attribute| attribute.attribute == name)
            .filter_map(|attribute| attribute.value.as_deref())
    };
    let maps: Vec<RtpMap> = values("rtpmap").filter_map(|value| value.parse().ok()).collect();
    let apt = |pt: u8| {
        values("fmtp").find_map(|value| {
            let (format, parameters) = value.split_once(' ')?;
            let apt = parameters
                .split(';')
                .find_map(|one| one.trim().strip_prefix("apt="))?;
            (format.parse() == Ok(pt)).then(|| apt.parse().ok())?
        })
    };
    let extension = |uri: &str| {
        values("extmap").find_map(|value| {
            let (id, name) = value.split_once(' ')?;
            (name.split(' ').next() == Some(uri)).then(|| id.split('/').next()?.parse().ok())?
        })
    };
    let feedback = |wanted: &str| {
        values("rtcp-fb").any(|value| value.split_once(' ').is_some_and(|(_, what)| what == wanted))
    };
    Track {
        mid: value("mid").unwrap_or_default().to_owned(),
        video: media.media == "video",
        clock_rate: maps.first().map_or(90_000, |map| map.clock_rate),
        pts: maps
            .iter()
            .map(|map| {
                let rtx = map.encoding_name.eq_ignore_ascii_case("rtx");
                let what = match apt(map.payload_type).filter(|_| rtx) {
                    Some(apt) => PtUse::Rtx(apt),
                    None => PtUse::Media(map.encoding_name.to_ascii_lowercase().parse().ok()),
                };
                (map.payload_type, what)
            })
            .collect(),
        pairs: values("ssrc-group")
            .filter_map(|value| value.parse::<SsrcGroup>().ok())
            .filter(|group| group.semantics.as_str() == "FID")
            .filter_map(|group| Some((*group.ssrc_ids.first()?, *group.ssrc_ids.get(1)?)))
            .collect(),
        nack: feedback("nack"),
        pli: feedback("nack pli"),
        mid_id: extension(MID),
        twcc_id: extension(TWCC),
    }
}
