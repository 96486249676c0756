//! Watching a session's packets. Nothing here runs while nobody watches.

use std::collections::VecDeque;
use std::time::Instant;

use weever_proto::{
    Codec, Event, Extension, PacketKind, PacketRecord, RtpNote, SessionId, TrackId, WatchEnd,
};

use super::Worker;
use crate::demux::SessionKey;
use crate::drops::DropReason;
use crate::egress::{Egress, Path};
use crate::packet::Packet;
use crate::session::Media;
use crate::tap::{Keys, LEASE, MAX_RTP_HEADER, MAX_TAPS, Seen, Tap, Tapped, Taps, mask};
use crate::wire::rtp::RtpView;

/// Of SRTCP, what is in clear whatever the key (RFC 3711 §3.4).
const RTCP_CLEAR: usize = 8;

impl Worker {
    /// Watches a session, or goes on to.
    pub(super) fn watch(&mut self, now: Instant, session: SessionId) {
        if let Some(tap) = self.taps.find(session) {
            tap.until = now + LEASE;
            return;
        }
        let reason = match self.session_keys.get(&session) {
            None => WatchEnd::UnknownSession,
            Some(_) if self.taps.0.len() >= MAX_TAPS => WatchEnd::Full,
            Some(key) => return self.taps.0.push(Tap::new(session, *key, now)),
        };
        self.events.push_back(Event::WatchEnded { session, reason });
    }

    pub(super) fn unwatch(&mut self, now: Instant, session: SessionId) {
        self.end_watch(now, session, WatchEnd::Unwatched);
    }

    fn end_watch(&mut self, now: Instant, session: SessionId, reason: WatchEnd) {
        if let Some(at) = self.taps.0.iter().position(|tap| tap.session == session) {
            hand_out(&mut self.events, &mut self.taps.0.swap_remove(at), now);
        }
        self.events.push_back(Event::WatchEnded { session, reason });
    }

    /// [`Worker::handle_datagram`] while there are taps.
    #[cold]
    pub(super) fn take_watched_datagram(
        &mut self,
        now: Instant,
        from: Path,
        datagram: &[u8],
        egress: &mut impl Egress,
    ) -> Result<(), DropReason> {
        self.watched(now, egress, |worker, egress| {
            egress.taps.see_received(now, from, datagram);
            let taken = worker.take_datagram(now, from, datagram, egress);
            if let Err(reason) = taken {
                egress.taps.dropped(from, reason);
            }
            taken
        })
    }

    /// Lets the taps see what `act` sends.
    #[cold]
    pub(super) fn watched<E: Egress, R>(
        &mut self,
        now: Instant,
        egress: &mut E,
        act: impl FnOnce(&mut Self, &mut Tapped<'_, E>) -> R,
    ) -> R {
        let mut taps = std::mem::take(&mut self.taps);
        for tap in &mut taps.0 {
            self.locate(tap);
        }
        let mut egress = Tapped {
            egress,
            taps: &mut taps,
            now,
        };
        let done = act(self, &mut egress);
        for tap in &mut taps.0 {
            for seen in std::mem::take(&mut tap.seen) {
                let (at, record) = (seen.at, self.read(tap, seen));
                tap.record(at, record);
                if tap.is_full() {
                    hand_out(&mut self.events, tap, now);
                }
            }
        }
        self.end_taps(now, &mut taps);
        self.taps = taps;
        done
    }

    /// Where the session is, and its keys.
    fn locate(&self, tap: &mut Tap) {
        let session = self.sessions.get(tap.key as usize);
        let Some(session) = session.filter(|session| session.spec.session == tap.session) else {
            return;
        };
        tap.paths = session.paths.clone();
        if tap.keys.is_none() && session.connected {
            tap.keys = session.transport.keys().get().and_then(Keys::new);
        }
    }

    /// Batches whose time has come, and taps that end: by themselves, or with their session.
    fn end_taps(&mut self, now: Instant, taps: &mut Taps) {
        let Self {
            events, session_keys, ..
        } = self;
        taps.0.retain_mut(|tap| {
            let lives = session_keys.get(&tap.session) == Some(&tap.key);
            let ends = !lives || tap.until <= now;
            if ends || tap.batch_due().is_some_and(|due| due <= now) {
                hand_out(events, tap, now);
            }
            if ends && lives {
                events.push_back(Event::WatchEnded {
                    session: tap.session,
                    reason: WatchEnd::Expired,
                });
            }
            !ends
        });
    }

    fn read(&self, tap: &mut Tap, seen: Seen) -> PacketRecord {
        let size = u32::try_from(seen.size).unwrap_or(u32::MAX);
        // str0m takes what isn't authentic without a word, so what became of a packet is looked up.
        let (header, kind, refused) = if seen.is_rtp {
            let tag = tap.keys.as_ref().map_or(0, |keys| keys.rtp_tag);
            let (note, is_there) = self.note(tap.key, &seen, tag);
            let refused = (!seen.sent && !is_there).then_some(DropReason::RtpRejected);
            (seen.bytes, PacketKind::Rtp(note), refused)
        } else {
            let (header, is_read) = read_rtcp(tap, seen.sent, seen.bytes);
            let refused = (!seen.sent && !is_read).then_some(DropReason::RtcpRejected);
            (header, PacketKind::Rtcp, refused)
        };
        let dropped = seen.dropped.or(refused);
        PacketRecord {
            age_us: 0,
            sent: seen.sent,
            size,
            header,
            dropped: dropped.map(|reason| reason.as_str().to_owned()),
            kind,
        }
    }

    /// What an RTP packet was, as far as its session tells, and whether it is in its track's history. What a retransmission
    /// repeats is sealed, so of that the answer is yes.
    fn note(&self, key: SessionKey, seen: &Seen, tag: usize) -> (RtpNote, bool) {
        let payload = seen.size.saturating_sub(seen.bytes.len() + tag);
        let nothing = RtpNote {
            payload: u32::try_from(payload).unwrap_or(u32::MAX),
            ..RtpNote::default()
        };
        let (Ok(rtp), Some(session)) = (RtpView::parse(&seen.bytes), self.sessions.get(key as usize)) else {
            let is_cut = seen.bytes.len() >= MAX_RTP_HEADER;
            return (nothing, is_cut);
        };
        let about = match (&session.media, seen.sent) {
            (Media::Subscriber(viewer), true) => self.about_sent(viewer, &rtp),
            (Media::Publisher(receiver), false) => {
                self.about_received(receiver, &session.spec.extensions, &rtp)
            }
            _ => None,
        };
        let Some(about) = about else {
            return (nothing, false);
        };
        let mut extensions: Vec<Extension> = Vec::new();
        for (id, _) in rtp.extensions() {
            let named = about.extensions.iter().find(|extension| extension.id == id);
            extensions.extend(named.filter(|named| !extensions.contains(named)));
        }
        let note = RtpNote {
            track: Some(about.track),
            codec: about.codec,
            rtx: about.rtx,
            keyframe: about.packet.is_some_and(|packet| packet.keyframe),
            padding: about
                .packet
                .filter(|_| seen.sent)
                .map_or(0, |packet| packet.padding.into()),
            extensions,
            ..nothing
        };
        (note, about.rtx || about.packet.is_some())
    }

    fn about_sent<'a>(&'a self, viewer: &'a crate::session::Viewer, rtp: &RtpView<'_>) -> Option<About<'a>> {
        let (ssrc, pt) = (rtp.ssrc(), rtp.pt());
        let of =
            |held: &&crate::session::ViewerRoute| held.spec.ssrc == ssrc || held.spec.rtx_ssrc == Some(ssrc);
        let held = viewer.routes.iter().find(of)?;
        let rtx = held.spec.ssrc != ssrc;
        let mut maps = held.spec.payload_map.iter();
        let map = maps.find(|map| if rtx { map.rtx_to == Some(pt) } else { map.to == pt });
        let packet = self.tracks.get(held.track).filter(|_| !rtx).and_then(|track| {
            let source = track.routes.get(held.position)?.source(rtp.sequence())?;
            track.history.get(source)
        });
        Some(About {
            track: held.spec.track,
            codec: map.map(|map| map.codec),
            rtx,
            packet,
            extensions: &held.spec.extensions,
        })
    }

    fn about_received<'a>(
        &'a self,
        receiver: &crate::receive::Receiver,
        extensions: &'a [Extension],
        rtp: &RtpView<'_>,
    ) -> Option<About<'a>> {
        let (stream, rtx) = receiver.stream_of(rtp)?;
        let pt = rtp.pt();
        let mut types = stream.spec.payload_types.iter();
        let payload_type = types.find(|p| if rtx { p.rtx_pt == Some(pt) } else { p.pt == pt });
        let placed = stream.placed(rtp.ssrc(), rtp.sequence()).filter(|_| !rtx);
        let packet = self
            .tracks
            .get(stream.track)
            .zip(placed)
            .and_then(|(track, seq)| track.history.get(seq));
        Some(About {
            track: stream.spec.track,
            codec: payload_type.map(|p| p.codec),
            rtx,
            packet,
            extensions,
        })
    }
}

/// Tells what a tap has gathered: if its session has just ended, before that.
fn hand_out(events: &mut VecDeque<Event>, tap: &mut Tap, now: Instant) {
    let Some(batch) = tap.batch(now) else { return };
    let is_end =
        |event: &Event| matches!(event, Event::SessionClosed { session, .. } if *session == tap.session);
    let place = events.iter().position(is_end).unwrap_or(events.len());
    events.insert(place, Event::Packets(Box::new(batch)));
}

/// What a session knows of a packet.
struct About<'a> {
    track: TrackId,
    codec: Option<Codec>,
    rtx: bool,
    packet: Option<&'a Packet>,
    extensions: &'a [Extension],
}

/// In clear, as far as that is possible and right; and whether it is.
fn read_rtcp(tap: &mut Tap, sent: bool, mut packet: Vec<u8>) -> (Vec<u8>, bool) {
    let mut plain = vec![0; packet.len()];
    let keys = tap.keys.as_mut();
    let opened = keys.and_then(|keys| {
        let open = if sent { &mut keys.ours } else { &mut keys.theirs };
        open.open(&packet, &mut plain).ok()
    });
    match opened {
        Some(len) => {
            plain.truncate(len);
            mask(&mut plain);
            (plain, true)
        }
        None => {
            packet.truncate(RTCP_CLEAR);
            (packet, false)
        }
    }
}
