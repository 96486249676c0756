//! What a tap saw of one session's packets: their headers, never what they carry.

use crate::{Codec, Extension, SessionId, TrackId};

/// Some packets of a session that is watched, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packets {
    /// The session.
    pub session: SessionId,
    /// When this was handed out, microseconds since 1970.
    pub at_unix_us: u64,
    /// At most [`crate::limits::MAX_PACKET_RECORDS`].
    pub records: Vec<PacketRecord>,
    /// Packets that passed since the last batch and are not among `records`: over a limit, or nobody took them away.
    pub left_out: u64,
}

impl Packets {
    /// Without the records: they count as left out.
    #[must_use]
    pub fn thinned(mut self) -> Self {
        self.left_out += self.records.len() as u64;
        self.records = Vec::new();
        self
    }
}

/// One datagram of RTP or RTCP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PacketRecord {
    /// How long before [`Packets::at_unix_us`] it came or went, microseconds.
    pub age_us: u32,
    /// To the client; else from it.
    pub sent: bool,
    /// Bytes of UDP payload, as it went over the wire.
    pub size: u32,
    /// RTP: the header with CSRC list and extensions. RTCP: the compound packet in clear, with the contents of what is not a
    /// report zeroed; of one that is not authentic the first eight bytes. At most [`crate::limits::MAX_PACKET_HEADER`] bytes.
    pub header: Vec<u8>,
    /// Why the worker threw it away, if it did: the reason's name in metrics.
    pub dropped: Option<String>,
    /// What it is.
    pub kind: PacketKind,
}

/// What a datagram is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PacketKind {
    /// RTP, and what its header alone doesn't tell.
    Rtp(RtpNote),
    /// A compound of RTCP packets.
    Rtcp,
}

/// What is known of an RTP packet beyond its header.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RtpNote {
    /// Its track, where that is known.
    pub track: Option<TrackId>,
    /// What its payload type means. Of a retransmission: what is sent again.
    pub codec: Option<Codec>,
    /// A retransmission (RFC 4588).
    pub rtx: bool,
    /// It begins a keyframe.
    pub keyframe: bool,
    /// Bytes behind the header, padding included, the authentication tag not.
    pub payload: u32,
    /// Bytes of padding, where they are known: of what we send.
    pub padding: u32,
    /// Ids of the extensions in this header that were negotiated.
    pub extensions: Vec<Extension>,
}

/// Why a session is no longer watched, or isn't at all. The end of the session itself is told as such.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WatchEnd {
    /// It was asked for.
    Unwatched,
    /// Nobody renewed it in time.
    Expired,
    /// Its worker has no room for another tap.
    Full,
    /// There is no such session.
    UnknownSession,
}
