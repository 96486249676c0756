//! One that watches: what it makes of each datagram, and what it tells the server.
//!
//! A packet is looked into as little as possible, since thousands of viewers share a core: its header always, its
//! payload only for a sample (`--verify`) and where a keyframe is waited for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::counts::{Counts, percent};
use crate::media::SendTimes;
use crate::peer::{Happening, Peer, PeerError, RTCP_OVERHEAD, Srtp};
use crate::sdp::{Description, Track};

mod feedback;
mod freeze;
mod header;
mod nack;
mod reception;
mod stream;
mod tracks;

use feedback::Arrivals;
use reception::Rtx;
use stream::Stream;

/// How long a viewer may take from its POST to the end of its handshake.
const CONNECT_MAX: Duration = Duration::from_secs(20);
/// Who is there for longer should have had a packet.
const STARVED_AFTER: Duration = Duration::from_secs(3);
/// Until a report has measured it.
const RTT_ASSUMED: Duration = Duration::from_millis(100);
/// RTCP's packet types, seen as payload types (RFC 5761 §4).
const RTCP: std::ops::RangeInclusive<u8> = 64..=95;

/// What all viewers of a run do alike.
#[derive(Debug, Clone)]
pub(crate) struct Habits {
    /// Of 2^32 packets, so many are authenticated and measured.
    pub(crate) verify: u64,
    pub(crate) clock: Clock,
    /// Lost packets are asked for, where the server takes that.
    pub(crate) nack: bool,
    /// Of a file's frames; else there are stamps in the payloads.
    pub(crate) times: Option<Arc<SendTimes>>,
    pub(crate) seed: u64,
}

/// Times of one viewer, from its POST on.
#[derive(Debug, Clone, Copy)]
struct Joined {
    begun: Instant,
    connected: bool,
    packet: bool,
    keyframe: bool,
}

/// What the run is told about one viewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Milestone {
    Connected,
    FirstPacket,
}

/// Everything that one read of a socket gave.
pub(crate) struct Read<'a> {
    pub(crate) source: SocketAddr,
    /// Of `stride` bytes each, the last one shorter.
    pub(crate) datagrams: &'a mut [u8],
    pub(crate) stride: usize,
    pub(crate) now: Instant,
    /// When it came to this machine.
    pub(crate) arrival: Instant,
}

/// One viewer.
pub(crate) struct Viewer {
    pub(crate) number: u32,
    /// Whose it is, of the servers that are watched.
    pub(crate) node: usize,
    pub(crate) peer: Peer,
    srtp: Option<Srtp>,
    tracks: Vec<Track>,
    streams: Vec<Stream>,
    rtx: Vec<Rtx>,
    /// Where the last packet's stream is.
    last: usize,
    ssrc: u32,
    joined: Joined,
    habits: Habits,
    random: fastrand::Rng,
    arrivals: Option<Arrivals>,
    report_at: Instant,
    pli_at: Instant,
    rtc_at: Instant,
    rtt: Duration,
    /// Media packets and bytes of the measurement.
    packets: u64,
    bytes: u64,
    closed_bytes: u64,
    reached: Option<Milestone>,
    /// The `Rtc` was given something since it was polled.
    touched: bool,
}

impl Viewer {
    /// `begun`: when it was POSTed.
    pub(crate) fn new(
        (number, node): (u32, usize),
        peer: Peer,
        server: Description,
        begun: Instant,
        habits: Habits,
    ) -> Self {
        let mut random = fastrand::Rng::with_seed(habits.seed ^ (u64::from(number) << 32));
        let now = Instant::now();
        let twcc = server.tracks.iter().find_map(|track| track.twcc_id);
        Self {
            number,
            node,
            peer,
            srtp: None,
            streams: Vec::with_capacity(server.tracks.len()),
            tracks: server.tracks,
            rtx: Vec::new(),
            last: 0,
            ssrc: random.u32(1..),
            joined: Joined {
                begun,
                connected: false,
                packet: false,
                keyframe: false,
            },
            habits,
            arrivals: twcc.map(|id| Arrivals::new(id, now)),
            report_at: now + feedback::REPORT.mul_f64(random.f64() + 0.5),
            pli_at: now,
            rtc_at: now,
            rtt: RTT_ASSUMED,
            packets: 0,
            bytes: 0,
            closed_bytes: 0,
            random,
            reached: None,
            touched: true,
        }
    }

    pub(crate) fn handle_read(&mut self, read: Read<'_>, counts: &mut Counts) -> Result<(), PeerError> {
        let Read {
            source,
            datagrams,
            stride,
            now,
            arrival,
        } = read;
        let clock = self.habits.clock.at(arrival);
        for datagram in datagrams.chunks_mut(stride.max(1)) {
            match datagram {
                [128..=191, second, ..] if RTCP.contains(&(*second & 0x7F)) => {
                    self.handle_rtcp(arrival, datagram);
                }
                [128..=191, ..] => self.handle_rtp(arrival, clock, datagram, counts),
                _ => {
                    self.touched = true;
                    self.peer.handle_datagram(now, source, datagram)?;
                }
            }
        }
        Ok(())
    }

    fn handle_rtcp(&mut self, now: Instant, datagram: &mut [u8]) {
        let length = self.srtp.as_ref().and_then(|srtp| srtp.open_rtcp(datagram));
        let Some(compound) = length.and_then(|length| datagram.get(..length)) else {
            return;
        };
        for (ssrc, middle) in feedback::sender_reports(compound) {
            if let Some(stream) = self.streams.iter_mut().find(|stream| stream.ssrc == ssrc) {
                stream.reception.sender_report = Some((middle, now));
            }
        }
    }

    /// What was reached since the last call.
    pub(crate) fn milestone(&mut self) -> Option<Milestone> {
        self.reached.take()
    }

    /// Lets ICE, DTLS and SCTP go on.
    pub(crate) fn poll(&mut self, now: Instant, counts: &mut Counts) -> Result<(), PeerError> {
        if !std::mem::take(&mut self.touched) {
            return Ok(());
        }
        let mut happened = Vec::new();
        loop {
            self.rtc_at = self.peer.poll(&mut happened)?;
            if happened.is_empty() {
                return Ok(());
            }
            for one in happened.drain(..) {
                match one {
                    Happening::Connected => {
                        let srtp = self.peer.srtp()?;
                        counts.cipher = Some(srtp.profile.name());
                        counts.join.add(now.saturating_duration_since(self.joined.begun));
                        self.srtp = Some(srtp);
                        self.joined.connected = true;
                        self.reached = Some(Milestone::Connected);
                    }
                    Happening::Message(text) => self.handle_message(&text)?,
                }
            }
        }
    }

    /// Control channel: the server offers what is live.
    fn handle_message(&mut self, text: &str) -> Result<(), PeerError> {
        let Some(offer) = text.strip_prefix("SDP_OFFER ") else {
            return Ok(());
        };
        let answer = self.peer.answer(offer)?;
        self.tracks = Description::parse(offer)?.tracks;
        if self.arrivals.is_none() {
            let twcc = self.tracks.iter().find_map(|track| track.twcc_id);
            self.arrivals = twcc.map(|id| Arrivals::new(id, Instant::now()));
        }
        self.peer.write(&format!("SDP_ANSWER {answer}"));
        Ok(())
    }

    /// When this viewer wants the time.
    pub(crate) fn timeout(&self) -> Instant {
        let mut at = self.rtc_at.min(self.report_at);
        if let Some(arrivals) = &self.arrivals {
            at = at.min(arrivals.next);
        }
        let holes = self.streams.iter().filter_map(|stream| stream.missing.next());
        holes.fold(at, Instant::min)
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant, counts: &mut Counts) -> Result<(), PeerError> {
        if self.rtc_at <= now {
            self.touched = true;
            self.peer.handle_timeout(now)?;
        }
        if !self.joined.connected {
            let waited = now.saturating_duration_since(self.joined.begun);
            return if waited < CONNECT_MAX {
                self.report_at = self.report_at.max(now + feedback::REPORT);
                Ok(())
            } else {
                Err(PeerError::NotConnected)
            };
        }
        self.send_nacks(now, counts);
        if self.report_at <= now {
            self.report_at = now + feedback::REPORT.mul_f64(self.random.f64() + 0.5);
            let cname = format!("loadgen-{}", self.number);
            let report = feedback::report(self.ssrc, &cname, &mut self.streams, now);
            self.send_rtcp(report);
            self.send_plis(now, counts);
        }
        if let Some(arrivals) = self.arrivals.as_mut().filter(|arrivals| arrivals.next <= now) {
            let media = self.streams.first().map_or(0, |stream| stream.ssrc);
            let feedback = arrivals.feedback(self.ssrc, media, now);
            self.send_rtcp(feedback);
        }
        Ok(())
    }

    fn send_nacks(&mut self, now: Instant, counts: &mut Counts) {
        let mut messages = Vec::new();
        let mut hopeless = false;
        for stream in self
            .streams
            .iter_mut()
            .filter(|stream| !stream.missing.is_empty())
        {
            let nack = self.habits.nack && self.tracks.get(stream.track).is_some_and(|track| track.nack);
            let due = stream.missing.due(now, self.rtt, nack);
            if due.hopeless {
                hopeless = true;
                stream.abandon();
            } else if !due.ask.is_empty() {
                counts.nacks += 1;
                messages.push(feedback::nack(self.ssrc, stream.ssrc, &due.ask));
            }
        }
        messages.into_iter().for_each(|message| self.send_rtcp(message));
        if hopeless {
            self.send_plis(now, counts);
        }
    }

    /// Asks for a keyframe of each stream that can't be shown without one.
    fn send_plis(&mut self, now: Instant, counts: &mut Counts) {
        if self.pli_at > now {
            return;
        }
        let lacking = |stream: &&Stream| {
            let track = self.tracks.get(stream.track);
            stream.broken && track.is_some_and(|track| track.video && track.pli)
        };
        let messages: Vec<_> = self
            .streams
            .iter()
            .filter(lacking)
            .map(|stream| feedback::pli(self.ssrc, stream.ssrc))
            .collect();
        if !messages.is_empty() {
            self.pli_at = now + feedback::PLI_INTERVAL;
            counts.plis += messages.len() as u64;
            messages.into_iter().for_each(|message| self.send_rtcp(message));
        }
    }

    fn send_rtcp(&mut self, message: Option<Vec<u8>>) {
        let (Some(mut message), Some(srtp)) = (message, self.srtp.as_mut()) else {
            return;
        };
        message.reserve(RTCP_OVERHEAD);
        if srtp.seal_rtcp(&mut message).is_some() {
            self.peer.send(&message);
        }
    }

    /// Packets, bytes and holes of the measurement so far.
    pub(crate) fn so_far(&self) -> (u64, u64, u64) {
        let holes = self.streams.iter().map(Stream::missing_so_far).sum();
        (self.packets, self.bytes, holes)
    }

    /// Ends the measurement; packets of it that are still on their way count until [`Self::collect`].
    pub(crate) fn close(&mut self) {
        self.streams.iter_mut().for_each(Stream::close);
        self.closed_bytes = std::mem::take(&mut self.bytes);
        self.packets = 0;
    }

    /// Adds what this viewer has seen in the closed measurement.
    pub(crate) fn collect(&mut self, now: Instant, counts: &mut Counts) {
        let (mut packets, mut missing) = (0, 0);
        for stream in &mut self.streams {
            let (came, never) = stream.collect();
            (packets, missing) = (packets + came, missing + never);
            let (freezes, frozen) = stream.freezes.take(now);
            counts.freezes += freezes;
            counts.frozen += frozen;
        }
        counts.viewers += 1;
        counts.with_media += u64::from(packets > 0);
        let stayed = now.saturating_duration_since(self.joined.begun);
        counts.starved += u64::from(packets == 0 && stayed > STARVED_AFTER);
        counts.packets += packets;
        counts.bytes += std::mem::take(&mut self.closed_bytes);
        counts.missing += missing;
        counts.send_drops += std::mem::take(&mut self.peer.send_drops);
        let worst = percent(missing, packets + missing);
        counts.worst_loss_percent = counts.worst_loss_percent.max(worst);
    }
}
