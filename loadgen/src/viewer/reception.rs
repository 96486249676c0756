//! What a viewer does with an RTP packet.

use std::time::{Duration, Instant};

use super::header::Header;
use super::stream::{Arrival, Stream};
use super::tracks::{self, Belongs};
use super::{Habits, Milestone, Viewer};
use crate::counts::Counts;
use crate::media::{begins_keyframe, stamp_of};
use crate::peer::Srtp;

/// SSRCs that one viewer follows.
const STREAMS_MAX: usize = 1024;
/// RFC 4588 §4: the original sequence number comes first.
const OSN: usize = 2;

/// Retransmissions of one stream.
#[derive(Debug)]
pub(super) struct Rtx {
    ssrc: u32,
    track: usize,
    apt: u8,
    primary: Option<u32>,
    highest: u64,
}

/// Where the packets of an SSRC go.
enum Known {
    Stream(usize),
    Rtx(usize),
}

/// A packet that arrived.
struct Packet<'a> {
    header: Header,
    datagram: &'a mut [u8],
    now: Instant,
    /// `now` on the clock of stamps.
    clock: Duration,
}

impl Packet<'_> {
    /// The payload in clear, without padding.
    fn open(&mut self, srtp: &Srtp, index: u64) -> Option<&[u8]> {
        let length = srtp.open_rtp(self.datagram, self.header.length, self.header.ssrc, index)?;
        let payload = self.datagram.get(self.header.length..)?.get(..length)?;
        let padding = match payload.last() {
            Some(last) if self.header.padded => usize::from(*last),
            _ => 0,
        };
        payload.get(..length.checked_sub(padding)?)
    }
}

impl Viewer {
    pub(super) fn handle_rtp(
        &mut self,
        now: Instant,
        clock: Duration,
        datagram: &mut [u8],
        counts: &mut Counts,
    ) {
        let Some(header) = Header::parse(datagram) else {
            return;
        };
        if let Some(arrivals) = &mut self.arrivals
            && let Some(&[high, low]) = header.extension(datagram, arrivals.extension)
        {
            arrivals.add(u16::from_be_bytes([high, low]), now);
        }
        let packet = Packet {
            header,
            datagram,
            now,
            clock,
        };
        match self.known(&packet) {
            Some(Known::Stream(at)) => self.handle_media(at, packet, counts),
            Some(Known::Rtx(at)) => self.handle_rtx(at, packet, counts),
            None => {}
        }
    }

    fn known(&mut self, packet: &Packet<'_>) -> Option<Known> {
        let ssrc = packet.header.ssrc;
        if self
            .streams
            .get(self.last)
            .is_some_and(|stream| stream.ssrc == ssrc)
        {
            return Some(Known::Stream(self.last));
        }
        if let Some(at) = self.streams.iter().position(|stream| stream.ssrc == ssrc) {
            self.last = at;
            return Some(Known::Stream(at));
        }
        if let Some(at) = self.rtx.iter().position(|rtx| rtx.ssrc == ssrc) {
            return Some(Known::Rtx(at));
        }
        self.meet(packet)
    }

    /// An SSRC for the first time.
    fn meet(&mut self, packet: &Packet<'_>) -> Option<Known> {
        if self.srtp.is_none() || self.streams.len() + self.rtx.len() >= STREAMS_MAX {
            return None;
        }
        let Header {
            ssrc, pt, sequence, ..
        } = packet.header;
        let mid = |id| {
            let bytes = packet.header.extension(packet.datagram, id)?;
            Some(String::from_utf8_lossy(bytes).into_owned())
        };
        match tracks::belongs(&self.tracks, ssrc, pt, mid)? {
            Belongs::Media(track) => {
                let video = self.tracks.get(track)?;
                // A codec that isn't looked into has no keyframes to wait for.
                let keyframes = video.video && tracks::codec(video, pt).is_some();
                self.streams.push(Stream::new(ssrc, track, keyframes, sequence));
                Some(Known::Stream(self.streams.len() - 1))
            }
            Belongs::Rtx { track, apt, primary } => {
                self.rtx.push(Rtx {
                    ssrc,
                    track,
                    apt,
                    primary,
                    highest: u64::from(sequence),
                });
                Some(Known::Rtx(self.rtx.len() - 1))
            }
        }
    }

    fn handle_media(&mut self, at: usize, mut packet: Packet<'_>, counts: &mut Counts) {
        let (Some(srtp), Some(stream)) = (&self.srtp, self.streams.get_mut(at)) else {
            return;
        };
        let Some(track) = self.tracks.get(stream.track) else {
            return;
        };
        let header = packet.header;
        let index = stream.index(header.sequence);
        let (bytes, clock) = (packet.datagram.len() - header.length, packet.clock);
        let sampled = u64::from(self.random.u32(..)) < self.habits.verify;
        if sampled || stream.broken || !self.joined.packet {
            let Some(payload) = packet.open(srtp, index) else {
                counts.auth_failures += 1;
                return;
            };
            // What is looked into for a keyframe's sake would weigh the first packets of frames too much.
            if sampled {
                counts.verified += 1;
                measure(&self.habits, clock, header.marker, payload, counts);
            }
            if stream.broken
                && tracks::codec(track, header.pt).is_some_and(|codec| begins_keyframe(codec, payload))
            {
                stream.keyframe_begins(index);
            }
        }
        let ticks = media_ticks(clock, track.clock_rate);
        match stream.receive(index, header.marker, packet.now, Some((header.timestamp, ticks))) {
            Arrival::InOrder => {}
            Arrival::Late => counts.reordered += 1,
            Arrival::Resent => counts.recovered += 1,
            Arrival::Duplicate => {
                counts.duplicates += 1;
                return;
            }
            Arrival::Forgotten => return,
        }
        let keyframe = stream.keyframe_seen;
        self.packets += 1;
        self.bytes += bytes as u64;
        self.mark(packet.now, keyframe, counts);
    }

    /// Notes what came for the first time.
    fn mark(&mut self, now: Instant, keyframe: bool, counts: &mut Counts) {
        let took = || now.saturating_duration_since(self.joined.begun);
        if !self.joined.packet {
            counts.first_packet.add(took());
            self.joined.packet = true;
            self.reached = Some(Milestone::FirstPacket);
        }
        if keyframe && !self.joined.keyframe {
            counts.first_keyframe.add(took());
            self.joined.keyframe = true;
        }
    }

    fn handle_rtx(&mut self, at: usize, mut packet: Packet<'_>, counts: &mut Counts) {
        let (Some(srtp), Some(rtx)) = (&self.srtp, self.rtx.get_mut(at)) else {
            return;
        };
        let header = packet.header;
        let low = u16::try_from(rtx.highest & 0xFFFF).unwrap_or(0);
        let ahead = i64::from(header.sequence.wrapping_sub(low).cast_signed());
        let index = rtx
            .highest
            .checked_add_signed(ahead)
            .unwrap_or_else(|| u64::from(header.sequence));
        let Some(payload) = packet.open(srtp, index) else {
            counts.auth_failures += 1;
            return;
        };
        rtx.highest = rtx.highest.max(index);
        // Without one it only probes the way.
        let Some((osn, payload)) = payload.split_first_chunk::<OSN>() else {
            return;
        };
        let (track, apt, primary) = (rtx.track, rtx.apt, rtx.primary);
        let stream = self.streams.iter_mut().find(|stream| match primary {
            Some(primary) => stream.ssrc == primary,
            None => stream.track == track,
        });
        let Some(stream) = stream else { return };
        let original = stream.index(u16::from_be_bytes(*osn));
        let codec = self.tracks.get(track).and_then(|track| tracks::codec(track, apt));
        if stream.broken && codec.is_some_and(|codec| begins_keyframe(codec, payload)) {
            stream.keyframe_begins(original);
        }
        let bytes = payload.len() as u64;
        match stream.receive(original, header.marker, packet.now, None) {
            Arrival::InOrder | Arrival::Late | Arrival::Resent => {
                counts.recovered += 1;
                self.packets += 1;
                self.bytes += bytes;
            }
            Arrival::Duplicate => counts.duplicates += 1,
            Arrival::Forgotten => {}
        }
    }
}

/// Forwarding delay by the stamp in a payload, or by what is known of a file's frames.
fn measure(habits: &Habits, clock: Duration, marker: bool, payload: &[u8], counts: &mut Counts) {
    let sent = match &habits.times {
        Some(_) if !marker => return,
        Some(times) => times.find(payload),
        None => stamp_of(payload),
    };
    match sent {
        Some(sent) => counts.delay.add(clock.saturating_sub(sent)),
        None => counts.foreign += 1,
    }
}

/// A time on a media clock, which wraps (RFC 3550 §5.1).
fn media_ticks(clock: Duration, rate: u32) -> u32 {
    // Years of microseconds by a clock rate are below 2^64.
    let us = clock.as_secs() * 1_000_000 + u64::from(clock.subsec_micros());
    let ticks = us.wrapping_mul(u64::from(rate)) / 1_000_000;
    u32::try_from(ticks & u64::from(u32::MAX)).unwrap_or(0)
}
