//! One viewer's view of a track: its own SSRC, payload types, extension ids, and an unbroken count of sequence numbers
//! and timestamps, whatever the track behind it does.

use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use weever_proto::{Codec, Extension, ExtensionKind, Kind, PayloadMap, RouteId, RouteSpec};

use super::Sender;
use crate::demux::SessionKey;
use crate::drops::DropReason;
use crate::packet::Packet;
use crate::srtp::MAX_RTP_TAG;
use crate::wire::red;
use crate::wire::rtp::{Form, RtpHeader, RtpHeaderWriter, set_padding_bit};

/// Payload types of one route that are looked at: a codec, its redundancy, and room for a change of codec.
const MAX_MAPPED: usize = 16;
/// Kinds of extensions, 0 unused: index by [`ExtensionKind`] as number.
const KINDS: usize = 11;
/// Without a keyframe for this long, whatever comes is forwarded: a codec that we misread must not stay black.
const KEYFRAME_PATIENCE: Duration = Duration::from_secs(3);
/// Extension elements longer than this need the two-byte form (RFC 8285 §4.2).
const ONE_BYTE_MAX: usize = 16;

/// A track × subscriber: what forwarding reads and writes for each burst, in two cache lines. Thousands stand side by
/// side.
pub(crate) struct Route {
    pub(crate) session: SessionKey,
    pub(crate) ssrc: u32,
    /// Just made or switched: nothing passes before a keyframe (video).
    waiting: bool,
    /// The subscriber's sequence number is the track's plus this, modulo 2^64.
    seq_offset: u64,
    /// Same for timestamps, modulo 2^32.
    timestamp_offset: u32,
    /// Track's sequence number below which nothing is forwarded: those numbers belong to what the route showed before.
    floor: u64,
    /// One more than the highest sequence number sent, extended.
    next: u64,
    last_timestamp: u32,
    last_sent: Instant,
    /// The payload type that nearly all packets have: first of all in `cold`.
    usual: Option<PayloadMap>,
    extension_ids: [u8; KINDS],
    mid: ArrayVec<u8, 16>,
    kind: Kind,
    /// Whether it had a sender report.
    pub(crate) reported: bool,
    /// For sender reports.
    pub(crate) packets: u32,
    pub(crate) octets: u32,
    pub(crate) cold: Box<Cold>,
}

const _: () = assert!(size_of::<Route>() <= 2 * 64);

/// What a route needs now and then.
pub(crate) struct Cold {
    pub(crate) id: RouteId,
    /// Retransmissions, where negotiated.
    pub(crate) rtx_ssrc: Option<u32>,
    /// Next sequence number of the retransmission stream, extended.
    pub(crate) rtx_next: u64,
    /// When it was made or switched.
    waiting_since: Instant,
    clock_rate: u32,
    payload_map: ArrayVec<PayloadMap, MAX_MAPPED>,
}

/// An ended route's stream, as far as it can be continued.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parked {
    pub(crate) ssrc: u32,
    next: u64,
    rtx_next: u64,
    last_timestamp: u32,
    last_sent: Instant,
    packets: u32,
    octets: u32,
}

impl Route {
    /// `first` is where its sequence numbers begin; RFC 3550 §5.1 wants it random, and half the space below it keeps
    /// the receiver's guess of the roll-over counter right (RFC 3711 §3.3.1).
    pub(crate) fn new(spec: &RouteSpec, session: SessionKey, first: u16, now: Instant) -> Self {
        let mut route = Self {
            session,
            ssrc: spec.ssrc,
            waiting: true,
            seq_offset: 0,
            timestamp_offset: 0,
            floor: 0,
            next: u64::from(first & 0x7fff),
            last_timestamp: u32::from(first) << 8,
            last_sent: now,
            usual: None,
            extension_ids: [0; KINDS],
            mid: ArrayVec::new(),
            kind: spec.kind,
            reported: false,
            packets: 0,
            octets: 0,
            cold: Box::new(Cold {
                id: spec.route,
                rtx_ssrc: spec.rtx_ssrc,
                rtx_next: 1,
                waiting_since: now,
                clock_rate: 90_000,
                payload_map: ArrayVec::new(),
            }),
        };
        route.describe(spec);
        route
    }

    /// What must be remembered of it when it ends: its SSRC may come back, and under one key no index may be used twice.
    pub(crate) fn park(&self) -> Parked {
        Parked {
            ssrc: self.ssrc,
            next: self.next,
            rtx_next: self.cold.rtx_next,
            last_timestamp: self.last_timestamp,
            last_sent: self.last_sent,
            packets: self.packets,
            octets: self.octets,
        }
    }

    /// Goes on where a parked one ended: for the receiver it is one stream with a pause.
    pub(crate) fn resume(&mut self, parked: Parked) {
        self.next = parked.next;
        self.cold.rtx_next = parked.rtx_next;
        self.last_timestamp = parked.last_timestamp;
        self.last_sent = parked.last_sent;
        self.packets = parked.packets;
        self.octets = parked.octets;
    }

    /// Takes over names and numbers that a renegotiation may change; the RTP stream goes on.
    pub(crate) fn describe(&mut self, spec: &RouteSpec) {
        self.cold.payload_map = spec.payload_map.iter().copied().take(MAX_MAPPED).collect();
        self.usual = self.cold.payload_map.first().copied();
        self.extension_ids = extension_ids(&spec.extensions);
        self.mid = spec.mid.bytes().take(16).collect();
        if let Some(usual) = self.usual {
            self.cold.clock_rate = usual.clock_rate;
        }
    }

    /// From now on another track is shown: the next packet is the first of it.
    pub(crate) fn switch(&mut self, now: Instant) {
        self.waiting = true;
        self.cold.waiting_since = now;
        self.reported = false;
    }

    /// Whether it waits for a keyframe.
    pub(crate) fn wants_keyframe(&self) -> bool {
        self.kind == Kind::Video && self.waiting
    }

    /// Whether its viewer is being sent the track.
    pub(crate) fn is_showing(&self) -> bool {
        !self.waiting
    }

    /// Whether the packet goes to this viewer; opens the gate when it is the one that was waited for, and notes that in
    /// `begun`.
    pub(crate) fn admit(&mut self, packet: &Packet, now: Instant, begun: &mut Vec<SessionKey>) -> bool {
        if self.waiting {
            let waited = now.saturating_duration_since(self.cold.waiting_since);
            if self.kind == Kind::Video && !packet.keyframe && waited < KEYFRAME_PATIENCE {
                return false;
            }
            self.rebase(packet, now);
            begun.push(self.session);
        }
        packet.seq >= self.floor
    }

    /// Places the packet right after what was sent last: the next number, and a timestamp as far on as the clock is.
    fn rebase(&mut self, packet: &Packet, now: Instant) {
        let elapsed = now.saturating_duration_since(self.last_sent).as_millis();
        let elapsed = u64::try_from(elapsed)
            .unwrap_or(u64::MAX)
            .saturating_mul(u64::from(self.cold.clock_rate))
            / 1000;
        // Timestamps wrap (RFC 3550 §5.1).
        let ahead = u32::try_from(elapsed.max(1) & 0xffff_ffff).unwrap_or(1);
        self.seq_offset = self.next.wrapping_sub(packet.seq);
        self.timestamp_offset = self
            .last_timestamp
            .wrapping_add(ahead)
            .wrapping_sub(packet.timestamp);
        self.floor = packet.seq;
        self.waiting = false;
    }

    /// The payload type at the viewer and what is sent under it: of redundant audio that the viewer doesn't know, the
    /// primary block.
    pub(crate) fn payload<'p>(&self, packet: &'p Packet) -> Option<(PayloadMap, &'p [u8])> {
        if let Some(map) = self.usual
            && map.from == packet.pt
            && map.codec != Codec::Red
        {
            return Some((map, &packet.payload));
        }
        let find = |pt: u8| self.cold.payload_map.iter().copied().find(|map| map.from == pt);
        match find(packet.pt) {
            // Blocks name the payload types of what they hold: those are right only if nothing was renamed.
            Some(map) if map.codec != Codec::Red => Some((map, &packet.payload)),
            red => {
                let (pt, primary) = red::primary_block(&packet.payload)?;
                let primary_map = find(pt)?;
                match red {
                    Some(map) if primary_map.to == pt => Some((map, &packet.payload)),
                    _ if packet.pt != pt => Some((primary_map, primary)),
                    _ => None,
                }
            }
        }
    }

    /// Sequence number at the viewer, extended: the SRTP index too.
    pub(crate) fn sequence(&self, packet: &Packet) -> u64 {
        packet.seq.wrapping_add(self.seq_offset)
    }

    pub(crate) fn timestamp(&self, timestamp: u32) -> u32 {
        timestamp.wrapping_add(self.timestamp_offset)
    }

    /// Track's sequence number of the packet that the viewer knows under `sequence`, if it was sent.
    pub(crate) fn source(&self, sequence: u16) -> Option<u64> {
        if self.waiting {
            return None;
        }
        let newest = self.next.checked_sub(1)?;
        // The cast cuts to the 16 bits that go over the wire.
        #[allow(clippy::cast_possible_truncation)]
        let back = (newest as u16).wrapping_sub(sequence);
        let source = newest.checked_sub(u64::from(back))?.wrapping_sub(self.seq_offset);
        (source >= self.floor && source.wrapping_add(self.seq_offset) < self.next).then_some(source)
    }

    /// Writes header, extensions and sealed payload to `out`. Returns the datagram's length.
    pub(crate) fn emit(
        &mut self,
        packet: &Packet,
        sender: &mut Sender,
        now: Instant,
        out: &mut [u8],
    ) -> Result<usize, DropReason> {
        let (map, payload) = self.payload(packet).ok_or(DropReason::PayloadTypeUnmapped)?;
        let index = self.sequence(packet);
        let timestamp = self.timestamp(packet.timestamp);
        let stream = Stream {
            pt: map.to,
            ssrc: self.ssrc,
            index,
            timestamp,
        };
        let header = self.write_header(packet, stream, sender, now, out)?;
        let padding = usize::from(packet.padding);
        if padding > 0 {
            set_padding_bit(out);
        }
        let len = sender
            .protect
            .rtp(out, header, self.ssrc, index, payload)
            .map_err(|_| DropReason::Oversized)?;
        if index >= self.next {
            self.next = index + 1;
            self.last_timestamp = timestamp;
            self.last_sent = now;
        }
        self.packets = self.packets.wrapping_add(1);
        self.octets = self
            .octets
            .wrapping_add(u32::try_from(payload.len().saturating_sub(padding)).unwrap_or(0));
        Ok(len)
    }

    /// Writes the header of `packet` as `stream` has it. Returns its bytes.
    pub(crate) fn write_header(
        &self,
        packet: &Packet,
        stream: Stream,
        sender: &mut Sender,
        now: Instant,
        out: &mut [u8],
    ) -> Result<usize, DropReason> {
        #[allow(clippy::cast_possible_truncation)]
        let header = RtpHeader {
            marker: packet.marker,
            pt: stream.pt,
            sequence: stream.index as u16,
            timestamp: stream.timestamp,
            ssrc: stream.ssrc,
        };
        let long = |(_, data): (u8, &[u8])| data.len() > ONE_BYTE_MAX || data.is_empty();
        let form = if packet.extensions.iter().any(long) {
            Form::TwoByte
        } else {
            Form::OneByte
        };
        let mut writer = RtpHeaderWriter::new(out, &header, form).map_err(|_| DropReason::Oversized)?;
        let own = |kind: ExtensionKind| Some(self.extension_ids[kind as usize]).filter(|id| *id != 0);
        let mut push = |id: u8, data: &[u8]| writer.push(id, data).map_err(|_| DropReason::Oversized);
        if let Some(id) = own(ExtensionKind::Mid) {
            push(id, &self.mid)?;
        }
        if let Some(id) = own(ExtensionKind::AbsSendTime) {
            push(id, &abs_send_time(now))?;
        }
        if let Some(id) = own(ExtensionKind::TransportCc) {
            push(id, &sender.transport_cc.to_be_bytes())?;
            sender.transport_cc = sender.transport_cc.wrapping_add(1);
        }
        for (kind, data) in packet.extensions.iter() {
            let id = self.extension_ids.get(usize::from(kind)).copied().unwrap_or(0);
            if id != 0 {
                push(id, data)?;
            }
        }
        Ok(writer.finish())
    }

    /// An upper bound of what [`Route::emit`] writes for `packet`.
    pub(crate) fn bound(packet: &Packet) -> usize {
        const FIXED: usize = 12 + 4 + 17 + 4 + 3 + 3;
        let extensions: usize = packet.extensions.iter().map(|(_, data)| data.len() + 2).sum();
        FIXED + extensions + packet.payload.len() + MAX_RTP_TAG
    }
}

/// Under which numbers a packet is sent: as itself, or as a retransmission.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stream {
    pub(crate) pt: u8,
    pub(crate) ssrc: u32,
    /// Extended sequence number.
    pub(crate) index: u64,
    pub(crate) timestamp: u32,
}

fn extension_ids(extensions: &[Extension]) -> [u8; KINDS] {
    let mut ids = [0; KINDS];
    for extension in extensions {
        if let Some(slot) = ids.get_mut(extension.kind as usize) {
            *slot = extension.id;
        }
    }
    ids
}

/// Seconds as 6.18 fixed point, any epoch
/// (<http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time>).
fn abs_send_time(now: Instant) -> [u8; 3] {
    use std::sync::OnceLock;
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    let since = now.saturating_duration_since(*EPOCH.get_or_init(|| now));
    let fixed =
        (u128::from(since.as_secs()) << 18) + (u128::from(since.subsec_nanos()) << 18) / 1_000_000_000;
    let [.., a, b, c] = fixed.to_be_bytes();
    [a, b, c]
}
