//! Headers of packets.

use super::{Result, bytes, count, each, extensions, text};
use crate::{
    Invalid, PacketKind, PacketRecord, Packets, RtpNote, SessionId, TrackId, WatchEnd, limits, wire,
};

enumeration!(WatchEnd, "watch_end", { Unwatched, Expired, Full, UnknownSession });

impl From<Packets> for wire::Packets {
    fn from(p: Packets) -> Self {
        Self {
            session: p.session.0,
            at_unix_us: p.at_unix_us,
            records: p.records.into_iter().map(Into::into).collect(),
            left_out: p.left_out,
        }
    }
}

impl TryFrom<wire::Packets> for Packets {
    type Error = Invalid;
    fn try_from(p: wire::Packets) -> Result<Self> {
        count("packets.records", &p.records, limits::MAX_PACKET_RECORDS)?;
        Ok(Self {
            session: SessionId(p.session),
            at_unix_us: p.at_unix_us,
            records: each(p.records, TryInto::try_into)?,
            left_out: p.left_out,
        })
    }
}

impl From<PacketRecord> for wire::PacketRecord {
    fn from(r: PacketRecord) -> Self {
        Self {
            age_us: r.age_us,
            sent: r.sent,
            size: r.size,
            header: r.header,
            dropped: r.dropped.unwrap_or_default(),
            rtp: match r.kind {
                PacketKind::Rtp(note) => Some(note.into()),
                PacketKind::Rtcp => None,
            },
        }
    }
}

impl TryFrom<wire::PacketRecord> for PacketRecord {
    type Error = Invalid;
    fn try_from(r: wire::PacketRecord) -> Result<Self> {
        let dropped = text("packet.dropped", r.dropped, 0, limits::MAX_NAME)?;
        Ok(Self {
            age_us: r.age_us,
            sent: r.sent,
            size: r.size,
            header: bytes("packet.header", r.header, limits::MAX_PACKET_HEADER)?,
            dropped: Some(dropped).filter(|reason| !reason.is_empty()),
            kind: match r.rtp {
                Some(note) => PacketKind::Rtp(note.try_into()?),
                None => PacketKind::Rtcp,
            },
        })
    }
}

impl From<RtpNote> for wire::RtpNote {
    fn from(n: RtpNote) -> Self {
        Self {
            track: n.track.map(|track| track.0),
            codec: n.codec.map_or(0, Into::into),
            rtx: n.rtx,
            keyframe: n.keyframe,
            payload: n.payload,
            padding: n.padding,
            extensions: n.extensions.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<wire::RtpNote> for RtpNote {
    type Error = Invalid;
    fn try_from(n: wire::RtpNote) -> Result<Self> {
        Ok(Self {
            track: n.track.map(TrackId),
            codec: n.codec.try_into().ok(),
            rtx: n.rtx,
            keyframe: n.keyframe,
            payload: n.payload,
            padding: n.padding,
            extensions: extensions(n.extensions)?,
        })
    }
}
