//! What a data plane has to know of a session: the description that the control plane made out of SDP.

use std::fmt;

use crate::{RouteId, SessionId, TrackId, WorkerId};

/// Which way media goes, seen from the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The client sends.
    Publisher,
    /// The client receives.
    Subscriber,
}

/// The server's own part in the DTLS handshake (RFC 5763 §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DtlsRole {
    /// The server sends the ClientHello: the offer said `a=setup:passive`.
    Client,
    /// The server waits for it, and so chooses the SRTP profile.
    Server,
}

/// Kind of media of an m-line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `m=audio`
    Audio,
    /// `m=video`
    Video,
}

/// A data channel that the client may open, by its label. Others are nobody's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChannelLabel {
    /// `control`: signalling.
    Control,
    /// `chat`: texts for the room. Since 1.2.
    Chat,
}

impl ChannelLabel {
    /// As the client writes it (RFC 8832 §5.1).
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Chat => "chat",
        }
    }

    /// The minor version that added it.
    pub(crate) fn since(self) -> u32 {
        match self {
            Self::Control => 0,
            Self::Chat => 2,
        }
    }
}

/// Username fragment and password of one side (RFC 8839 §5.4).
#[derive(Clone, PartialEq, Eq)]
pub struct IceCredentials {
    /// 4 to 256 characters.
    pub ufrag: String,
    /// 22 to 256 characters.
    pub password: String,
}

impl fmt::Debug for IceCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IceCredentials")
            .field("ufrag", &self.ufrag)
            .finish_non_exhaustive()
    }
}

/// Hash of a DTLS certificate (RFC 8122 §5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    /// Name of the hash function, lower case: `sha-256`.
    pub hash: String,
    /// The digest.
    pub value: Vec<u8>,
}

/// A codec by its media subtype.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// RFC 7587
    Opus,
    /// RFC 3551 §4.5.14
    Pcmu,
    /// RFC 3551 §4.5.14
    Pcma,
    /// Redundant audio around another codec (RFC 2198)
    Red,
    /// RFC 7741
    Vp8,
    /// RFC 9628
    Vp9,
    /// RFC 6184
    H264,
    /// RFC 7798
    H265,
    /// AV1 RTP payload specification 1.0
    Av1,
}

/// What an RTP header extension means (RFC 8285), whatever its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ExtensionKind {
    /// `urn:ietf:params:rtp-hdrext:sdes:mid` (RFC 9143)
    Mid = 1,
    /// `urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id` (RFC 8852)
    Rid = 2,
    /// `urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id` (RFC 8852)
    RepairedRid = 3,
    /// `http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time`
    AbsSendTime = 4,
    /// `http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01`
    TransportCc = 5,
    /// `urn:ietf:params:rtp-hdrext:ssrc-audio-level` (RFC 6464)
    AudioLevel = 6,
    /// `http://www.webrtc.org/experiments/rtp-hdrext/playout-delay`
    PlayoutDelay = 7,
    /// `urn:3gpp:video-orientation`
    VideoOrientation = 8,
    /// `https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension`
    DependencyDescriptor = 9,
    /// `http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time`
    AbsCaptureTime = 10,
}

/// An extension and the id that one side's SDP gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extension {
    /// 1 to 14 (one-byte form, RFC 8285 §4.2).
    pub id: u8,
    /// What it means.
    pub kind: ExtensionKind,
}

/// One payload type that a publisher may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PayloadType {
    /// 0 to 127.
    pub pt: u8,
    /// What it carries.
    pub codec: Codec,
    /// RTP clock, Hz; never 0.
    pub clock_rate: u32,
    /// The payload type of its retransmissions (RFC 4588).
    pub rtx_pt: Option<u8>,
    /// `a=rtcp-fb: nack`
    pub nack: bool,
    /// `a=rtcp-fb: nack pli`
    pub pli: bool,
    /// `a=rtcp-fb: ccm fir`
    pub fir: bool,
    /// `a=rtcp-fb: transport-cc`
    pub transport_cc: bool,
}

/// One m-line that a publisher sends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receive {
    /// The track that it feeds.
    pub track: TrackId,
    /// `a=mid`, 1 to 16 bytes.
    pub mid: String,
    /// Audio or video.
    pub kind: Kind,
    /// The accepted payload types; the first is what the publisher is expected to send.
    pub payload_types: Vec<PayloadType>,
    /// From `a=ssrc`, where the offer has it.
    pub ssrc: Option<u32>,
    /// From `a=ssrc-group:FID`, where the offer has it.
    pub rtx_ssrc: Option<u32>,
}

/// All that makes a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionSpec {
    /// Its name.
    pub session: SessionId,
    /// The worker that is to own it: its candidates stand in the answer.
    pub worker: WorkerId,
    /// Publisher or subscriber.
    pub role: Role,
    /// The server's ICE credentials, made by the control plane.
    pub local: IceCredentials,
    /// The client's, from its SDP.
    pub remote: IceCredentials,
    /// The certificate that the client must show.
    pub fingerprint: Fingerprint,
    /// The server's part in the handshake.
    pub dtls_role: DtlsRole,
    /// Whether SCTP was negotiated.
    pub data_channel: bool,
    /// Publisher: what it sends. Empty for a subscriber.
    pub receive: Vec<Receive>,
    /// Publisher: ids of its header extensions.
    pub extensions: Vec<Extension>,
    /// The control plane's own memory of the session, opaque here, handed back in a snapshot.
    pub state: Vec<u8>,
}

/// How one payload type of a track is called at the subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PayloadMap {
    /// At the publisher.
    pub from: u8,
    /// At the subscriber.
    pub to: u8,
    /// The subscriber's payload type for retransmissions of it.
    pub rtx_to: Option<u8>,
    /// What it carries. A `Red` packet whose payload type is not mapped is sent as its primary block (RFC 2198 §3),
    /// when that one's is.
    pub codec: Codec,
    /// RTP clock, Hz.
    pub clock_rate: u32,
}

/// A track on its way to one subscriber.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteSpec {
    /// Its name. Putting a route that exists changes it in place; with another track it is a switch.
    pub route: RouteId,
    /// The subscriber.
    pub session: SessionId,
    /// What is forwarded.
    pub track: TrackId,
    /// The worker of the same data plane that receives the track; [`crate::RELAY`] if another data plane does (since 1.3).
    pub track_worker: WorkerId,
    /// `a=mid` of the subscriber's m-line.
    pub mid: String,
    /// Audio or video.
    pub kind: Kind,
    /// SSRC that the subscriber sees.
    pub ssrc: u32,
    /// SSRC of its retransmissions; present when RTX was negotiated.
    pub rtx_ssrc: Option<u32>,
    /// Payload types. A packet of any other is not forwarded.
    pub payload_map: Vec<PayloadMap>,
    /// Ids of header extensions at the subscriber.
    pub extensions: Vec<Extension>,
    /// CNAME for its sender reports (RFC 3550 §6.5.1), 1 to 255 bytes.
    pub cname: String,
}
