//! What comes out of a session's transport, and how sessions end.

use std::time::{Duration, Instant};

use weever_proto::{ChannelLabel, CloseReason, Event, JoinStage, limits};

use super::Worker;
use crate::demux::SessionKey;
use crate::drops::DropReason;
use crate::egress::{Egress, send_datagram};
use crate::forward::{RtxBudget, Sender};
use crate::handover::Body;
use crate::session::{MAX_OUTBOX, Media};
use crate::srtp::{KeyingMaterial, Protect, UnprotectRtcp};
use crate::track::{Origin, TrackKey};
use crate::transport::{Broken, Happening};

/// Messages that a client may signal at once, and the time in which it earns another one. Clients need a few in a
/// second at most; each costs the control plane work.
const SIGNALS: u32 = 200;
const SIGNAL_PERIOD: Duration = Duration::from_millis(50);

impl Worker {
    /// Takes everything out of a session's transport and acts on it.
    pub(super) fn drain(&mut self, now: Instant, key: SessionKey, egress: &mut impl Egress) {
        loop {
            let Some(session) = self.sessions.get_mut(key as usize) else {
                return;
            };
            let selected = session.selected;
            let drops = &mut self.sent.drops;
            let polled = session.transport.poll(|datagram| {
                // Without a path there is nobody to send to yet.
                let Some(path) = selected else { return };
                if !send_datagram(egress, path, datagram) {
                    drops.count(DropReason::NoSendBuffer);
                }
            });
            match polled {
                Ok(Some(Happening::Closed)) => return self.end(now, key, CloseReason::PeerClosed, egress),
                Ok(Some(happening)) => self.act_on(now, key, happening),
                Ok(None) => break,
                Err(broken) => return self.end_broken(key, broken),
            }
        }
        self.empty_outbox(now, key, egress);
        self.arm(key);
    }

    fn act_on(&mut self, now: Instant, key: SessionKey, happening: Happening) {
        match happening {
            Happening::Connected => self.connected(now, key),
            Happening::ChannelOpen(channel) => {
                let Some(session) = self.session(key) else { return };
                let session = session.spec.session;
                self.events.push_back(Event::ChannelOpen { session, channel });
            }
            Happening::ChannelClosed(channel) => {
                let Some(session) = self.session(key) else { return };
                let session = session.spec.session;
                self.events.push_back(Event::ChannelClosed { session, channel });
            }
            Happening::Message {
                channel: ChannelLabel::Control,
                binary,
                data,
            } => self.signalled(now, key, binary, data),
            Happening::Message {
                channel: ChannelLabel::Chat,
                binary,
                data,
            } => self.chatted(now, key, binary, data),
            Happening::Rtp(packet) => self.published(now, key, *packet),
            Happening::Report(report) => {
                let Some(session) = self.session(key) else { return };
                let Some((track, report)) = session.receiver().and_then(|r| r.report(&report)) else {
                    return;
                };
                self.reported(track, report);
            }
            // Handled by the caller: it ends the session.
            Happening::Closed => {}
        }
    }

    /// The handshake is done. For a subscriber, media begins.
    fn connected(&mut self, now: Instant, key: SessionKey) {
        let Some(session) = self.sessions.get_mut(key as usize) else {
            return;
        };
        session.connected = true;
        let progress = session.progress(JoinStage::Dtls, now);
        let id = session.spec.session;
        let keys = session.transport.keys().get();
        let (Some(path), Media::Subscriber(viewer)) = (session.selected, &mut session.media) else {
            self.events.push_back(progress);
            self.events.push_back(Event::SessionConnected { session: id });
            return;
        };
        let made = keys.map(|keys: &KeyingMaterial| (Protect::new(keys), UnprotectRtcp::new(keys)));
        let Some((Ok(protect), Ok(rtcp))) = made else {
            return self.end_broken(key, Broken::Dtls);
        };
        viewer.rtcp = Some(rtcp);
        let tracks: Vec<TrackKey> = viewer.routes.iter().map(|route| route.track).collect();
        let sender = Sender {
            path,
            protect,
            transport_cc: 0,
            rtx: RtxBudget::new(now),
        };
        if let Some(slot) = self.senders.get_mut(key as usize) {
            *slot = Some(sender);
        }
        for track in tracks {
            self.want_keyframe_for_new(track);
        }
        self.events.push_back(progress);
        self.events.push_back(Event::SessionConnected { session: id });
    }

    /// A viewer of `track` has just arrived or switched: it needs a keyframe to begin with, if there are such things.
    pub(super) fn want_keyframe_for_new(&mut self, track: TrackKey) {
        let waits = |t: &crate::track::Track| t.routes.iter().any(crate::forward::Route::wants_keyframe);
        if self.tracks.get(track).is_some_and(waits) {
            self.want_keyframe(track);
        }
    }

    fn signalled(&mut self, now: Instant, key: SessionKey, binary: bool, data: Vec<u8>) {
        let Some(session) = self.session(key) else { return };
        if !session.signals.allows(now, SIGNALS, SIGNAL_PERIOD) {
            return self.received.drops.count(DropReason::ChannelTooFast);
        }
        let session = session.spec.session;
        let text = if data.len() > limits::MAX_TEXT {
            None
        } else {
            String::from_utf8(data).ok()
        };
        match text {
            // Signalling is text (SPEC of the control channel); binary frames are nobody's.
            Some(text) if !binary => self.events.push_back(Event::Text {
                session,
                channel: ChannelLabel::Control,
                text,
            }),
            _ => self.received.drops.count(DropReason::ChannelMessage),
        }
    }

    /// Whoever chats is answered here: what goes no further costs the control plane nothing.
    fn chatted(&mut self, now: Instant, key: SessionKey, binary: bool, data: Vec<u8>) {
        let Some(session) = self.session(key) else { return };
        let channel = ChannelLabel::Chat;
        match session.talker.says(now, binary, data) {
            Ok(text) => {
                let session = session.spec.session;
                self.events.push_back(Event::Text {
                    session,
                    channel,
                    text,
                });
            }
            Err(unsaid) => {
                if let Some(answer) = unsaid.answer {
                    // One who takes no answers gets none.
                    let _ = session.transport.write(channel, answer);
                }
                self.received.drops.count(unsaid.reason);
            }
        }
    }

    fn published(&mut self, now: Instant, key: SessionKey, packet: str0m::rtp::RtpPacket) {
        self.heard(now, key);
        let Some(session) = self.sessions.get_mut(key as usize) else {
            return;
        };
        // An authentic packet proves that the publisher is there, as a check would: some encoders stop checking.
        session.consented = Some(now);
        let Media::Publisher(receiver) = &mut session.media else {
            return;
        };
        let Some((index, packet)) = receiver.packet(packet, &mut session.transport, now) else {
            return self.received.drops.count(DropReason::RtpRejected);
        };
        let stream = &mut receiver.streams[index];
        let track = stream.track;
        if !std::mem::replace(&mut stream.live, true) {
            let event = Event::TrackLive {
                session: session.spec.session,
                track: stream.spec.track,
            };
            if !std::mem::replace(&mut session.has_media, true) {
                self.events.push_back(session.progress(JoinStage::Media, now));
            }
            self.events.push_back(event);
        }
        if let Some(track) = self.tracks.get_mut(track) {
            track.push(packet, now, &mut self.received.drops);
        }
        self.mark_ripe(track);
    }

    /// Says something on a channel. What a control channel's buffer doesn't take waits; on others it is lost.
    pub(super) fn say(
        &mut self,
        now: Instant,
        key: SessionKey,
        channel: ChannelLabel,
        text: &str,
        egress: &mut impl Egress,
    ) {
        let Some(session) = self.session(key) else { return };
        let taken = match channel {
            ChannelLabel::Control if !session.transport.is_open(channel) => false,
            ChannelLabel::Control => {
                let has_room = session.outbox.len() < MAX_OUTBOX;
                if has_room {
                    session.outbox.push_back(text.to_owned());
                }
                has_room
            }
            ChannelLabel::Chat => session.transport.write(channel, text),
        };
        if !taken {
            return self.sent.drops.count(DropReason::ChannelBacklog);
        }
        match channel {
            ChannelLabel::Control => self.empty_outbox(now, key, egress),
            ChannelLabel::Chat => self.drain(now, key, egress),
        }
    }

    /// Writes waiting texts to the control channel, as many as its buffer takes.
    pub(super) fn empty_outbox(&mut self, now: Instant, key: SessionKey, egress: &mut impl Egress) {
        let Some(session) = self.session(key) else { return };
        let mut wrote = false;
        while let Some(text) = session.outbox.front() {
            if !session.transport.write(ChannelLabel::Control, text) {
                break;
            }
            session.outbox.pop_front();
            wrote = true;
        }
        if wrote {
            self.drain(now, key, egress);
        }
    }

    /// Something authentic came from the peer.
    pub(super) fn heard(&mut self, now: Instant, key: SessionKey) {
        let Some(session) = self.session(key) else { return };
        session.heard = now;
        if std::mem::take(&mut session.silent) {
            let session = session.spec.session;
            self.events.push_back(Event::SessionSilent {
                session,
                silent: false,
            });
        }
    }

    pub(super) fn end_broken(&mut self, key: SessionKey, broken: Broken) {
        let reason = match broken {
            Broken::Fingerprint => CloseReason::FingerprintMismatch,
            Broken::Dtls => CloseReason::DtlsFailed,
        };
        self.remove_session(key, reason);
    }

    /// Ends a session with a goodbye (RFC 8446 §6.1: close_notify).
    pub(super) fn end(
        &mut self,
        now: Instant,
        key: SessionKey,
        reason: CloseReason,
        egress: &mut impl Egress,
    ) {
        if let Some(session) = self.session(key)
            && session.connected
        {
            session.transport.close();
            let selected = session.selected;
            // The time lets queued goodbyes out; what else it says no longer matters.
            let _ = session.transport.handle_timeout(now);
            let mut say = |datagram: &[u8]| {
                if let Some(path) = selected {
                    send_datagram(egress, path, datagram);
                }
            };
            while let Ok(Some(_)) = session.transport.poll(&mut say) {}
        }
        self.remove_session(key, reason);
    }

    fn remove_session(&mut self, key: SessionKey, reason: CloseReason) {
        let Some(session) = self.sessions.try_remove(key as usize) else {
            return;
        };
        let id = session.spec.session;
        self.session_keys.remove(&id);
        if let Some(slot) = self.senders.get_mut(key as usize) {
            *slot = None;
        }
        for ufrag in session.ice.ufrags() {
            self.demux.remove_ufrag(ufrag, key);
        }
        for path in &session.paths {
            self.demux.forget(*path, key);
        }
        match session.media {
            Media::Publisher(receiver) => {
                for stream in receiver.streams {
                    self.end_track(id, stream.spec.track, stream.track, stream.live);
                }
            }
            Media::Subscriber(viewer) => {
                for position in (0..viewer.routes.len()).rev() {
                    let route = &viewer.routes[position];
                    self.detach(route.track, route.position);
                    self.release_track(route.track);
                }
            }
        }
        self.events
            .push_back(Event::SessionClosed { session: id, reason });
    }

    /// A publisher's track has no source any more. Its routes stay until the control plane removes them.
    pub(super) fn end_track(
        &mut self,
        session: weever_proto::SessionId,
        id: weever_proto::TrackId,
        key: TrackKey,
        was_live: bool,
    ) {
        if let Some(track) = self.tracks.get_mut(key) {
            track.origin = Origin::None;
            self.offer(id, Body::Withdrawn);
        }
        self.drop_idle_track(key);
        if was_live {
            self.events.push_back(Event::TrackGone { session, track: id });
        }
    }
}
