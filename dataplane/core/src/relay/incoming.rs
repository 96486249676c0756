//! Where viewers are: what comes of a track becomes handovers, as a sibling's would.

use std::sync::Arc;

use weever_proto::relay::{Message, Packets, Says};
use weever_proto::{Kind, TrackId};

use super::RelayDrop;
use crate::handover::{Body, Burst, Handover};
use crate::packet::Packet;
use crate::track::SenderReport;

/// Counts of packets begin far below; what lies above is nobody's.
const MAX_SEQ: u64 = 1 << 48;
/// Packets that a track may be ahead of what was last received of it: half an hour of a stream.
const MAX_JUMP: u64 = 1 << 20;
/// How far timestamps go on when an origin begins anew: a frame at 30/s by the clock of 90 kHz, 20 ms at 48 kHz.
const VIDEO_STEP: u32 = 3000;
const AUDIO_STEP: u32 = 960;

/// One track that comes from another process.
#[derive(Debug)]
pub struct Incoming {
    track: TrackId,
    kind: Kind,
    /// The origin's incarnation, and the number of its next message.
    origin: Option<(u64, u64)>,
    /// What is added to the origin's counts, so that the track's never break.
    shift: Shift,
    /// Highest number, and its packet's timestamp.
    newest: Option<(u64, u32)>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Shift {
    seq: u64,
    timestamp: u32,
}

/// What a message came to.
#[derive(Debug)]
pub struct Taken {
    /// For each worker that follows.
    pub handover: Handover,
    /// Messages that were lost before it.
    pub lost: u64,
    /// Packets in it.
    pub packets: usize,
    /// When the first of them came to the origin, microseconds since 1970; 0 if that is not known.
    pub came_us: u64,
}

impl Incoming {
    /// Nothing came yet.
    pub fn new(track: TrackId, kind: Kind) -> Self {
        Self {
            track,
            kind,
            origin: None,
            shift: Shift::default(),
            newest: None,
        }
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether anything came.
    pub fn has_begun(&self) -> bool {
        self.origin.is_some()
    }

    /// Takes a message.
    ///
    /// # Errors
    /// It is old, about another track, or says what can't be.
    pub fn take(&mut self, message: &Message<'_>) -> Result<Taken, RelayDrop> {
        let stamp = message.stamp;
        if stamp.track != self.track {
            return Err(RelayDrop::WrongTrack);
        }
        let (lost, anew) = match self.origin {
            None => (0, true),
            Some((source, next)) if source == stamp.source => {
                let lost = stamp.number.checked_sub(next).ok_or(RelayDrop::Old)?;
                (lost, false)
            }
            // The origin began anew: its earlier messages are old.
            Some((source, _)) if source < stamp.source => (stamp.number, true),
            Some(_) => return Err(RelayDrop::Old),
        };
        let next = stamp.number.checked_add(1).ok_or(RelayDrop::Malformed)?;
        let (body, packets, came_us) = match message.says {
            Says::Burst { came_us, packets } => {
                let count = packets.len();
                let shift = if anew { self.shift_of(packets) } else { self.shift };
                let burst = self.burst(packets, shift)?;
                self.shift = shift;
                (Body::Burst(Arc::new(burst)), count, came_us)
            }
            // Of an origin whose counts are not known yet it would be misread.
            Says::SenderReport { .. } if anew && self.newest.is_some() => return Err(RelayDrop::Old),
            Says::SenderReport { ntp, timestamp } => {
                let timestamp = timestamp.wrapping_add(self.shift.timestamp);
                (Body::SenderReport(SenderReport { ntp, timestamp }), 0, 0)
            }
            Says::Follow { .. } | Says::Unfollow | Says::RequestKeyframe => return Err(RelayDrop::Malformed),
        };
        self.origin = Some((stamp.source, next));
        Ok(Taken {
            handover: Handover::of_relay(self.track, body),
            lost,
            packets,
            came_us,
        })
    }

    /// By how much the counts of an origin that begins with these packets differ from ours.
    fn shift_of(&self, mut packets: Packets<'_>) -> Shift {
        let (Some((seq, timestamp)), Some(first)) = (self.newest, packets.next()) else {
            return Shift::default();
        };
        let step = match self.kind {
            Kind::Audio => AUDIO_STEP,
            Kind::Video => VIDEO_STEP,
        };
        Shift {
            seq: (seq + 1).wrapping_sub(first.seq),
            timestamp: timestamp.wrapping_add(step).wrapping_sub(first.timestamp),
        }
    }

    fn burst(&mut self, packets: Packets<'_>, shift: Shift) -> Result<Burst, RelayDrop> {
        let mut newest = self.newest;
        let mut taken = Vec::with_capacity(packets.len());
        for packet in packets {
            let seq = packet.seq.wrapping_add(shift.seq);
            let timestamp = packet.timestamp.wrapping_add(shift.timestamp);
            let (highest, _) = *newest.get_or_insert((seq, timestamp));
            if seq >= MAX_SEQ || seq.abs_diff(highest) > MAX_JUMP {
                return Err(RelayDrop::Malformed);
            }
            if seq > highest {
                newest = Some((seq, timestamp));
            }
            taken.push(Packet::relayed(&packet, seq, timestamp));
        }
        self.newest = newest;
        let (came, packets) = (None, taken);
        Ok(Burst { came, packets })
    }
}

#[cfg(test)]
mod tests;
