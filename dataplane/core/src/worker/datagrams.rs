//! What the network brings.

use std::time::Instant;

use weever_proto::JoinStage;

use super::{Worker, handshakes};
use crate::demux::SessionKey;
use crate::drops::DropReason;
use crate::egress::{Egress, Path};
use crate::feedback::{self, Wish};
use crate::forward::resend;
use crate::ice::Check;
use crate::session::Media;
use crate::srtp::SrtpError;
use crate::track::TrackKey;
use crate::wire::rtp::{Demux as Protocol, RtpView};
use crate::wire::stun::{StunView, emit_binding_success, emit_role_conflict};

/// Largest SRTCP that a viewer may send: an Ethernet frame's worth.
const MAX_RTCP: usize = 1500;

/// Of a route: its track, and its position there.
type Place = (TrackKey, usize);

impl Worker {
    pub(super) fn take_datagram(
        &mut self,
        now: Instant,
        from: Path,
        datagram: &[u8],
        egress: &mut impl Egress,
    ) -> Result<(), DropReason> {
        let protocol = Protocol::of(datagram);
        if protocol == Protocol::Stun {
            return self.take_stun(now, from, datagram, egress);
        }
        let known = self.demux.by_path(from);
        match protocol {
            Protocol::Dtls => {
                let key = known.ok_or(DropReason::UnknownAddress)?;
                let session = self.session(key).ok_or(DropReason::UnknownAddress)?;
                // A publisher's media may follow its handshake at once, and publishers are few.
                if session.connected || session.viewer().is_none() {
                    return self.take_dtls(now, key, datagram, egress);
                }
                let id = session.spec.session;
                if session.handshakes_waiting >= handshakes::WAITING_EACH {
                    return Err(DropReason::HandshakeBacklog);
                }
                self.handshakes.wait(now, key, id, datagram)?;
                if let Some(session) = self.session(key) {
                    session.handshakes_waiting += 1;
                }
                Ok(())
            }
            Protocol::Rtp | Protocol::Rtcp => {
                let key = known.ok_or(DropReason::UnknownAddress)?;
                if self.is_publisher(key) {
                    self.take_published(now, key, protocol, datagram, egress)
                } else {
                    self.take_viewers(now, key, protocol, datagram, egress)
                }
            }
            _ => Err(DropReason::NotOurs),
        }
    }

    /// RFC 8445 §7.3. Nothing is answered, learnt or changed before the password was proven.
    fn take_stun(
        &mut self,
        now: Instant,
        from: Path,
        datagram: &[u8],
        egress: &mut impl Egress,
    ) -> Result<(), DropReason> {
        let request = StunView::parse(datagram).map_err(|_| DropReason::StunMalformed)?;
        if !request.is_binding_request() || request.fingerprint_ok() == Some(false) {
            return Err(DropReason::StunMalformed);
        }
        let (ufrag, _) = request.ufrags().ok_or(DropReason::StunUnknownUser)?;
        let key = self.demux.by_ufrag(ufrag).ok_or(DropReason::StunUnknownUser)?;
        let identity = self.config.identity.clone();
        let hmac = |key: &[u8], parts: &[&[u8]]| identity.hmac_sha1(key, parts);
        let session = self.session(key).ok_or(DropReason::StunUnknownUser)?;

        let (nominated, conflict, restarted) = match session.ice.check(&request, &identity) {
            Check::Refused => return Err(DropReason::StunIntegrity),
            Check::Valid {
                password,
                nominated,
                conflict,
                restarted,
            } => {
                let slot = egress.slot().ok_or(DropReason::NoSendBuffer)?;
                let transaction = request.transaction_id();
                let answer = if conflict {
                    emit_role_conflict(slot, &transaction, password, hmac)
                } else {
                    emit_binding_success(slot, &transaction, from.remote, password, hmac)
                };
                let len = answer.map_err(|_| DropReason::StunMalformed)?;
                egress.send(from, len, len);
                (nominated, conflict, restarted)
            }
        };
        if let Some(ufrag) = restarted {
            self.demux.remove_ufrag(&ufrag, key);
        }
        if !conflict {
            self.confirm_path(now, key, from, nominated, egress);
        }
        Ok(())
    }

    fn confirm_path(
        &mut self,
        now: Instant,
        key: SessionKey,
        from: Path,
        nominated: bool,
        egress: &mut impl Egress,
    ) {
        let identity = self.config.identity.clone();
        let Some(session) = self.session(key) else { return };
        let first = session.consented.is_none();
        let forgotten = session.checked(from, nominated, now);
        let progress = first.then(|| session.progress(JoinStage::Ice, now));
        let selected = session.selected;
        let confirmed = session.transport.confirm(&identity, now);
        self.events.extend(progress);
        self.demux.learn(from, key);
        if let Some(path) = forgotten {
            self.demux.forget(path, key);
        }
        if let (Some(Some(sender)), Some(path)) = (self.senders.get_mut(key as usize), selected) {
            sender.path = path;
        }
        self.heard(now, key);
        match confirmed {
            Ok(()) => self.drain(now, key, egress),
            Err(broken) => self.end_broken(key, broken),
        }
    }

    pub(super) fn take_dtls(
        &mut self,
        now: Instant,
        key: SessionKey,
        datagram: &[u8],
        egress: &mut impl Egress,
    ) -> Result<(), DropReason> {
        let session = self.session(key).ok_or(DropReason::UnknownAddress)?;
        let taken = session.transport.receive(datagram, now);
        self.settle(now, key, taken, DropReason::Dtls, egress)
    }

    fn take_published(
        &mut self,
        now: Instant,
        key: SessionKey,
        protocol: Protocol,
        datagram: &[u8],
        egress: &mut impl Egress,
    ) -> Result<(), DropReason> {
        let session = self.session(key).ok_or(DropReason::UnknownAddress)?;
        if !session.connected {
            return Err(DropReason::NoKeys);
        }
        let mut refused = DropReason::RtcpRejected;
        if protocol == Protocol::Rtp {
            refused = DropReason::RtpRejected;
            let rtp = RtpView::parse(datagram).map_err(|_| DropReason::RtpMalformed)?;
            if let Media::Publisher(receiver) = &mut session.media {
                receiver.prepare(&rtp, &mut session.transport);
            }
        }
        let taken = session.transport.receive(datagram, now);
        self.settle(now, key, taken, refused, egress)
    }

    /// Ends or drains a session after its transport took a datagram.
    fn settle(
        &mut self,
        now: Instant,
        key: SessionKey,
        taken: Result<bool, crate::transport::Broken>,
        refused: DropReason,
        egress: &mut impl Egress,
    ) -> Result<(), DropReason> {
        match taken {
            Err(broken) => {
                self.end_broken(key, broken);
                Err(refused)
            }
            Ok(accepted) => {
                self.drain(now, key, egress);
                if accepted { Ok(()) } else { Err(refused) }
            }
        }
    }

    fn take_viewers(
        &mut self,
        now: Instant,
        key: SessionKey,
        protocol: Protocol,
        datagram: &[u8],
        egress: &mut impl Egress,
    ) -> Result<(), DropReason> {
        if protocol == Protocol::Rtp {
            // A subscriber has nothing to send.
            return Err(DropReason::RtpRejected);
        }
        let session = self.session(key).ok_or(DropReason::UnknownAddress)?;
        let viewer = session.viewer().ok_or(DropReason::RtcpRejected)?;
        let keys = viewer.rtcp.as_mut().ok_or(DropReason::NoKeys)?;
        let mut plain = [0u8; MAX_RTCP];
        let len = keys.open(datagram, &mut plain).map_err(|error| match error {
            SrtpError::Replayed => DropReason::RtcpReplayed,
            _ => DropReason::RtcpRejected,
        })?;
        self.heard(now, key);
        let compound = plain.get(..len).unwrap_or_default();
        // A NACK names many packets of one stream: it is looked up once.
        let (mut named, mut route) = (None, None);
        feedback::read(compound, |wish| {
            let (Wish::Resend { ssrc, .. } | Wish::Keyframe { ssrc }) = wish else {
                return;
            };
            if named.replace(ssrc) != Some(ssrc) {
                route = self.find_route(key, ssrc);
            }
            match (wish, route) {
                (Wish::Resend { sequence, .. }, route) => self.resend(now, key, route, sequence, egress),
                (Wish::Keyframe { .. }, Some((track, _))) => self.want_keyframe(track),
                _ => {}
            }
        });
        Ok(())
    }

    /// Track and position of the route that the viewer knows as `ssrc`.
    fn find_route(&self, key: SessionKey, ssrc: u32) -> Option<Place> {
        match &self.sessions.get(key as usize)?.media {
            Media::Subscriber(viewer) => {
                let route = viewer.routes.iter().find(|route| route.spec.ssrc == ssrc)?;
                Some((route.track, route.position))
            }
            Media::Publisher(_) => None,
        }
    }

    fn resend(
        &mut self,
        now: Instant,
        key: SessionKey,
        place: Option<Place>,
        sequence: u16,
        egress: &mut impl Egress,
    ) {
        self.received.nacked_packets += 1;
        let Self {
            tracks,
            senders,
            sent,
            load,
            ..
        } = self;
        let outcome = (|| {
            let (track, position) = place.ok_or(DropReason::NackUnknown)?;
            let track = tracks.get_mut(track).ok_or(DropReason::NackUnknown)?;
            let route = track.routes.get_mut(position).ok_or(DropReason::NackUnknown)?;
            let sender = senders
                .get_mut(key as usize)
                .and_then(Option::as_mut)
                .ok_or(DropReason::NoKeys)?;
            let source = route.source(sequence).ok_or(DropReason::NackUnknown)?;
            let packet = track.history.get(source).ok_or(DropReason::NackUnknown)?;
            sender.rtx.take(route.ssrc, sequence, now, load.is_strained())?;
            resend(route, sender, packet, sequence, now, egress, sent)
        })();
        if let Err(reason) = outcome {
            self.sent.drops.count(reason);
        }
    }
}
