//! Which codecs and header extensions we know by which names, and when two descriptions of a codec mean the same.

use serde::{Deserialize, Serialize};
use weever_proto::{Codec, ExtensionKind, Kind};

/// A payload type as an SDP describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Format {
    /// 0 to 127.
    pub pt: u8,
    /// `VP8`, `opus`, `rtx`, ... as written.
    pub name: String,
    /// RTP clock, Hz.
    pub clock_rate: u32,
    /// Audio channels, where given.
    pub channels: Option<u8>,
    /// `a=fmtp`, without the payload type.
    pub fmtp: Option<String>,
    /// Values of `a=rtcp-fb`.
    pub feedback: Vec<String>,
}

impl Format {
    /// What it is, if we forward such.
    pub fn codec(&self) -> Option<Codec> {
        let codec = match self.name.to_ascii_lowercase().as_str() {
            "opus" => Codec::Opus,
            "pcmu" => Codec::Pcmu,
            "pcma" => Codec::Pcma,
            "red" if self.clock_rate == 48_000 => Codec::Red,
            "vp8" => Codec::Vp8,
            "vp9" => Codec::Vp9,
            "h264" => Codec::H264,
            "h265" => Codec::H265,
            "av1" => Codec::Av1,
            _ => return None,
        };
        Some(codec)
    }

    /// Whether it carries media of this kind by itself (redundancy and retransmission don't).
    pub fn is_primary(&self, kind: Kind) -> bool {
        self.codec()
            .is_some_and(|codec| codec != Codec::Red && kind_of(codec) == kind)
    }

    /// RFC 4588 §8.6: the payload type whose retransmissions it carries.
    pub fn apt(&self) -> Option<u8> {
        self.name
            .eq_ignore_ascii_case("rtx")
            .then(|| self.parameter("apt")?.parse().ok())
            .flatten()
    }

    /// A parameter of its fmtp.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.fmtp.as_deref()?.split(';').find_map(|part| {
            let (key, value) = part.split_once('=')?;
            key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// Whether a stream that is described so can be received by one who asks for `other`. Profiles decide: a decoder for
    /// one doesn't understand the other.
    pub fn fits(&self, other: &Self) -> bool {
        let codec = self.codec();
        if codec.is_none() || codec != other.codec() || self.clock_rate != other.clock_rate {
            return false;
        }
        let same = |name: &str, default: &str| {
            self.parameter(name).unwrap_or(default) == other.parameter(name).unwrap_or(default)
        };
        match codec {
            // RFC 6184 §8.1; levels may differ, as browsers allow (level-asymmetry-allowed). Who takes mode 1 takes the
            // single NAL units of mode 0 as well (§6.3).
            Some(Codec::H264) => {
                let is_single = self.parameter("packetization-mode").unwrap_or("0") == "0";
                (is_single || same("packetization-mode", "0")) && h264_profile(self) == h264_profile(other)
            }
            // RFC 9628 §6.1
            Some(Codec::Vp9) => same("profile-id", "0"),
            // AV1 RTP payload specification §7.2.1
            Some(Codec::Av1) => same("profile", "0"),
            // RFC 7798 §7.1
            Some(Codec::H265) => same("profile-id", "1"),
            Some(Codec::Opus) => true,
            _ => self.channels.unwrap_or(1) == other.channels.unwrap_or(1),
        }
    }

    /// The same, but for H.264 in packetization mode 1 to one who names no mode. By RFC 6184 §8.1 that means mode 0; but who
    /// can take mode 0 alone says so, while GStreamer's players name none and take any.
    pub fn fits_loosely(&self, other: &Self) -> bool {
        self.fits(other)
            || self.codec() == Some(Codec::H264)
                && self.parameter("packetization-mode") == Some("1")
                && other.codec() == self.codec()
                && other.parameter("packetization-mode").is_none()
                && h264_profile(self) == h264_profile(other)
    }

    /// Same codec and same parameters: may share a payload type within a BUNDLE group (RFC 8843 §10.1.2).
    pub fn is_same(&self, other: &Self) -> bool {
        self.codec().is_some()
            && self.codec() == other.codec()
            && (self.clock_rate, self.channels, &self.fmtp) == (other.clock_rate, other.channels, &other.fmtp)
    }
}

/// profile_idc of profile-level-id (RFC 6184 §8.1). Constraint flags don't count: what calls itself Baseline keeps to
/// Constrained Baseline in practice, and the flags of the other profiles only narrow them.
fn h264_profile(format: &Format) -> u8 {
    let id = format.parameter("profile-level-id").unwrap_or("42000a");
    id.get(..2)
        .and_then(|hex| u8::from_str_radix(hex, 16).ok())
        .unwrap_or(0)
}

/// Audio or video.
pub fn kind_of(codec: Codec) -> Kind {
    match codec {
        Codec::Opus | Codec::Pcmu | Codec::Pcma | Codec::Red => Kind::Audio,
        Codec::Vp8 | Codec::Vp9 | Codec::H264 | Codec::H265 | Codec::Av1 => Kind::Video,
    }
}

const EXTENSIONS: [(ExtensionKind, &str); 10] = [
    (ExtensionKind::Mid, "urn:ietf:params:rtp-hdrext:sdes:mid"),
    (
        ExtensionKind::Rid,
        "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
    ),
    (
        ExtensionKind::RepairedRid,
        "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",
    ),
    (
        ExtensionKind::AbsSendTime,
        "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
    ),
    (
        ExtensionKind::TransportCc,
        "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
    ),
    (
        ExtensionKind::AudioLevel,
        "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
    ),
    (
        ExtensionKind::PlayoutDelay,
        "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay",
    ),
    (ExtensionKind::VideoOrientation, "urn:3gpp:video-orientation"),
    (
        ExtensionKind::DependencyDescriptor,
        "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension",
    ),
    (
        ExtensionKind::AbsCaptureTime,
        "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time",
    ),
];

/// What an extension's URI means, if we know it.
pub fn extension_kind(uri: &str) -> Option<ExtensionKind> {
    EXTENSIONS
        .iter()
        .find(|(_, known)| *known == uri)
        .map(|(kind, _)| *kind)
}

/// The URI of an extension.
pub fn extension_uri(kind: ExtensionKind) -> &'static str {
    EXTENSIONS
        .iter()
        .find(|(known, _)| *known == kind)
        .map_or("", |(_, uri)| uri)
}

/// Extensions of our own offers and the ids that we give them.
pub fn own_extensions(kind: Kind) -> &'static [(u8, ExtensionKind)] {
    match kind {
        Kind::Audio => &[
            (1, ExtensionKind::Mid),
            (2, ExtensionKind::AbsSendTime),
            (4, ExtensionKind::AudioLevel),
            (8, ExtensionKind::AbsCaptureTime),
        ],
        Kind::Video => &[
            (1, ExtensionKind::Mid),
            (2, ExtensionKind::AbsSendTime),
            (5, ExtensionKind::PlayoutDelay),
            (6, ExtensionKind::VideoOrientation),
            (7, ExtensionKind::DependencyDescriptor),
            (8, ExtensionKind::AbsCaptureTime),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(name: &str, fmtp: &str) -> Format {
        Format {
            pt: 96,
            name: name.into(),
            clock_rate: 90_000,
            channels: None,
            fmtp: (!fmtp.is_empty()).then(|| fmtp.into()),
            feedback: vec![],
        }
    }

    #[test]
    fn profiles_decide_what_fits() {
        let h264 = |fmtp| format("H264", fmtp);
        let baseline = h264("level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f");
        assert!(
            baseline.fits(&h264("packetization-mode=1; profile-level-id=42e034")),
            "levels may differ"
        );
        assert!(
            !baseline.fits(&h264("profile-level-id=42e01f")),
            "packetization mode 0"
        );
        assert!(
            baseline.fits_loosely(&h264("profile-level-id=42e01f")),
            "no mode named"
        );
        assert!(!baseline.fits_loosely(&h264("packetization-mode=0;profile-level-id=42e01f")));
        assert!(!baseline.fits_loosely(&h264("profile-level-id=640c1f")));
        assert!(
            h264("profile-level-id=42001f").fits(&baseline),
            "single NAL units"
        );
        assert!(!baseline.fits(&h264("packetization-mode=1;profile-level-id=640c1f")));
        assert!(format("VP9", "").fits(&format("vp9", "profile-id=0")));
        assert!(!format("VP9", "profile-id=2").fits(&format("VP9", "")));
        assert!(!format("VP8", "").fits(&format("VP9", "")));
        assert!(
            !format("flexfec-03", "").fits(&format("flexfec-03", "")),
            "unknown codecs fit nothing"
        );
    }

    #[test]
    fn retransmissions_name_their_payload_type() {
        assert_eq!(format("rtx", "apt=96").apt(), Some(96));
        assert_eq!(format("rtx", "rtx-time=3000; apt=100").apt(), Some(100));
        assert_eq!(format("VP8", "apt=96").apt(), None);
    }
}
