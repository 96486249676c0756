//! Taps: the headers of one session's packets, told while somebody watches.
//!
//! A tap looks at datagrams where they enter and leave the worker: [`Tapped`] stands before the caller's [`Egress`] only
//! while there is a tap, so forwarding itself knows nothing of it. What it notes in a call of the worker is read
//! afterwards (`worker/taps.rs`), when what the packets were about is at hand.
//!
//! | limit | when it is reached |
//! |---|---|
//! | [`MAX_TAPS`] of a worker | another one is refused |
//! | [`RTP_A_SECOND`], [`RTCP_A_SECOND`] of a tap | the packet is counted as left out |
//! | [`BATCH_BYTES`], [`limits::MAX_PACKET_RECORDS`] of a batch | it is handed out before its time |

mod mask;

use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use weever_proto::{PacketRecord, Packets, SessionId, limits};

pub(crate) use mask::mask;

use crate::demux::SessionKey;
use crate::drops::DropReason;
use crate::egress::{Egress, Path};
use crate::session::MAX_PATHS;
use crate::srtp::{KeyingMaterial, UnprotectRtcp};
use crate::wire::rtp::{Demux as Protocol, RtpView};

/// Sessions of one worker that are watched at once.
pub(crate) const MAX_TAPS: usize = 4;
/// RTP of one tap in a second: a room of ten cameras.
pub(crate) const RTP_A_SECOND: u32 = 4000;
/// RTCP has a share of its own: what went wrong must not be lost in what went well.
pub(crate) const RTCP_A_SECOND: u32 = 1000;
/// Headers wait this long for others to be handed out with.
const BATCH: Duration = Duration::from_millis(50);
/// Bytes of headers in a batch, beyond which it is full.
const BATCH_BYTES: usize = 64 * 1024;
/// Bytes kept of an RTP header; the longest that is usual is AV1's dependency structure, about a hundred.
pub(crate) const MAX_RTP_HEADER: usize = 512;
/// See [`limits::WATCH_LEASE_SECS`].
pub(crate) const LEASE: Duration = Duration::from_secs(limits::WATCH_LEASE_SECS);
const SECOND: Duration = Duration::from_secs(1);

/// One watched session.
pub(crate) struct Tap {
    pub(crate) session: SessionId,
    pub(crate) key: SessionKey,
    /// Without a renewal it ends then.
    pub(crate) until: Instant,
    /// Where the session is.
    pub(crate) paths: ArrayVec<Path, MAX_PATHS>,
    /// Once its handshake is done.
    pub(crate) keys: Option<Keys>,
    /// Of the worker's current call, to be read at its end.
    pub(crate) seen: Vec<Seen>,
    records: Vec<(Instant, PacketRecord)>,
    record_bytes: usize,
    left_out: u64,
    rtp: Budget,
    rtcp: Budget,
}

/// What it takes to read the session's RTCP.
pub(crate) struct Keys {
    pub(crate) theirs: UnprotectRtcp,
    pub(crate) ours: UnprotectRtcp,
    /// Bytes that protection adds to an RTP packet.
    pub(crate) rtp_tag: usize,
}

impl Keys {
    pub(crate) fn new(material: &KeyingMaterial) -> Option<Self> {
        Some(Self {
            theirs: UnprotectRtcp::new(material).ok()?,
            ours: UnprotectRtcp::of_ours(material).ok()?,
            rtp_tag: material.profile().rtp_tag(),
        })
    }
}

/// A datagram as it passed.
pub(crate) struct Seen {
    pub(crate) at: Instant,
    pub(crate) sent: bool,
    pub(crate) size: usize,
    /// RTP: its header. RTCP: all of it.
    pub(crate) bytes: Vec<u8>,
    pub(crate) is_rtp: bool,
    pub(crate) dropped: Option<DropReason>,
}

impl Tap {
    pub(crate) fn new(session: SessionId, key: SessionKey, now: Instant) -> Self {
        Self {
            session,
            key,
            until: now + LEASE,
            paths: ArrayVec::new(),
            keys: None,
            seen: Vec::new(),
            records: Vec::new(),
            record_bytes: 0,
            left_out: 0,
            rtp: Budget::new(RTP_A_SECOND, now),
            rtcp: Budget::new(RTCP_A_SECOND, now),
        }
    }

    fn see(&mut self, now: Instant, sent: bool, datagram: &[u8]) {
        let (budget, bytes) = match Protocol::of(datagram) {
            Protocol::Rtp => {
                // What isn't even RTP is noted by its first bytes.
                let header = RtpView::parse(datagram).map_or(datagram.len().min(12), |rtp| rtp.header_len());
                (&mut self.rtp, datagram.get(..header.min(MAX_RTP_HEADER)))
            }
            Protocol::Rtcp => (
                &mut self.rtcp,
                datagram.get(..datagram.len().min(limits::MAX_PACKET_HEADER)),
            ),
            _ => return,
        };
        if !budget.take(now) {
            self.left_out += 1;
            return;
        }
        self.seen.push(Seen {
            at: now,
            sent,
            size: datagram.len(),
            bytes: bytes.unwrap_or_default().to_vec(),
            is_rtp: Protocol::of(datagram) == Protocol::Rtp,
            dropped: None,
        });
    }

    pub(crate) fn record(&mut self, at: Instant, record: PacketRecord) {
        self.record_bytes += record.header.len();
        self.records.push((at, record));
    }

    /// A whole batch is there.
    pub(crate) fn is_full(&self) -> bool {
        self.records.len() >= limits::MAX_PACKET_RECORDS || self.record_bytes >= BATCH_BYTES
    }

    /// When its batch is to be handed out.
    pub(crate) fn batch_due(&self) -> Option<Instant> {
        self.records.first().map(|(at, _)| *at + BATCH)
    }

    /// Hands out what there is.
    pub(crate) fn batch(&mut self, now: Instant) -> Option<Packets> {
        if self.records.is_empty() && self.left_out == 0 {
            return None;
        }
        self.record_bytes = 0;
        let age = |at: Instant| now.saturating_duration_since(at).as_micros();
        let aged = |(at, mut record): (Instant, PacketRecord)| {
            record.age_us = u32::try_from(age(at)).unwrap_or(u32::MAX);
            record
        };
        Some(Packets {
            session: self.session,
            at_unix_us: 0,
            records: std::mem::take(&mut self.records).into_iter().map(aged).collect(),
            left_out: std::mem::take(&mut self.left_out),
        })
    }
}

/// So many in a second.
struct Budget {
    a_second: u32,
    left: u32,
    refill: Instant,
}

impl Budget {
    fn new(a_second: u32, now: Instant) -> Self {
        Self {
            a_second,
            left: a_second,
            refill: now + SECOND,
        }
    }

    fn take(&mut self, now: Instant) -> bool {
        if now >= self.refill {
            self.left = self.a_second;
            self.refill = now + SECOND;
        }
        let has = self.left > 0;
        self.left = self.left.saturating_sub(1);
        has
    }
}

/// The taps of a worker; nearly always none.
#[derive(Default)]
pub(crate) struct Taps(pub(crate) Vec<Tap>);

impl Taps {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn find(&mut self, session: SessionId) -> Option<&mut Tap> {
        self.0.iter_mut().find(|tap| tap.session == session)
    }

    /// When one of them has something to hand out, or ends.
    pub(crate) fn next(&self) -> Option<Instant> {
        let due = |tap: &Tap| tap.batch_due().map_or(tap.until, |due| due.min(tap.until));
        self.0.iter().map(due).min()
    }

    fn at(&mut self, path: Path) -> Option<&mut Tap> {
        self.0.iter_mut().find(|tap| tap.paths.contains(&path))
    }

    /// A datagram has come.
    pub(crate) fn see_received(&mut self, now: Instant, from: Path, datagram: &[u8]) {
        if let Some(tap) = self.at(from) {
            tap.see(now, false, datagram);
        }
    }

    /// The datagram that has just been seen to come was thrown away.
    pub(crate) fn dropped(&mut self, from: Path, reason: DropReason) {
        let seen = self.at(from).and_then(|tap| tap.seen.first_mut());
        if let Some(received) = seen.filter(|seen| !seen.sent) {
            received.dropped = Some(reason);
        }
    }
}

/// The caller's way out, with taps before it.
pub(crate) struct Tapped<'a, E> {
    pub(crate) egress: &'a mut E,
    pub(crate) taps: &'a mut Taps,
    pub(crate) now: Instant,
}

impl<E: Egress> Egress for Tapped<'_, E> {
    fn slot(&mut self) -> Option<&mut [u8]> {
        self.egress.slot()
    }

    fn send(&mut self, to: Path, len: usize, segment: usize) {
        if let (Some(tap), Some(slot)) = (self.taps.at(to), self.egress.slot()) {
            let train = slot.get(..len).unwrap_or_default();
            for datagram in train.chunks(segment.max(1)) {
                tap.see(self.now, true, datagram);
            }
        }
        self.egress.send(to, len, segment);
    }
}
