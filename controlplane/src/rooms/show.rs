//! What subscribers are told and shown, and what is said on control channels.

use std::collections::HashSet;
use std::time::Instant;

use weever_proto::{ChannelLabel, Command, Role, RouteId, SessionId, limits};

use super::api::Effect;
use super::published::{Published, candidates};
use super::session::{ANSWER, MediaState, Negotiation, Session};
use super::{Rooms, Tell, command};
use crate::names::{FullId, RoomName};
use crate::sdp::publish::{self, PublishedTrack};
use crate::sdp::view::View;
use crate::sdp::{Description, MAX_SECTIONS};

/// Longest SDP that a message holds behind its verb.
const MAX_OFFER: usize = limits::MAX_TEXT - "SDP_ANSWER ".len();

impl Rooms {
    /// A publisher came or went: everybody in the room is told, and then shown what is there now.
    pub(super) fn announce(
        &mut self,
        now: Instant,
        room: &RoomName,
        publisher: &FullId,
        verb: &str,
        effects: &mut Vec<Effect>,
    ) {
        self.tell_room(room, publisher, verb, effects);
        self.refresh_room(now, room, std::slice::from_ref(publisher), effects);
    }

    /// Tells those who subscribe over a control channel. Nobody is told of their own.
    pub(super) fn tell_room(
        &self,
        room: &RoomName,
        publisher: &FullId,
        verb: &str,
        effects: &mut Vec<Effect>,
    ) {
        let subscribers = self.rooms.get(room).map(|room| room.subscribers.as_slice());
        let sessions = subscribers.unwrap_or_default().iter();
        for session in sessions.filter_map(|id| self.sessions.get(id)) {
            let is_told = session.is_multistream() && session.settles.is_none();
            if is_told && session.state.id.base() != publisher.base() {
                self.say(session.id, format!("{verb} {publisher}"), effects);
            }
        }
    }

    /// What these publishers send is other than before: those who may see any of them are shown what is there now.
    pub(super) fn refresh_room(
        &mut self,
        now: Instant,
        room: &RoomName,
        changed: &[FullId],
        effects: &mut Vec<Effect>,
    ) {
        let subscribers = self.rooms.get(room).map(|room| room.subscribers.clone());
        for id in subscribers.unwrap_or_default() {
            let sees = |session: &Session| {
                let base = session.state.id.base();
                changed.iter().any(|publisher| publisher.base() != base)
            };
            if self.sessions.get(&id).is_some_and(sees) {
                self.refresh(now, id, effects);
            }
        }
    }

    fn published_to(&self, id: SessionId) -> Vec<Published> {
        let session = self.sessions.get(&id);
        session.map(|session| self.published(session)).unwrap_or_default()
    }

    /// Shows a subscriber what is there now, in its way.
    pub(super) fn refresh(&mut self, now: Instant, id: SessionId, effects: &mut Vec<Effect>) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        if session.settles.is_some() {
            self.recover(now, id, effects);
        } else if session.is_multistream() {
            self.restage(now, id, effects);
        } else if !session.state.is_publisher() {
            self.fill(id, effects);
        }
    }

    /// After a control plane's restart or a lost connection: makes the data plane's state what it should be.
    pub(super) fn recover(&mut self, now: Instant, id: SessionId, effects: &mut Vec<Effect>) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        if session.state.is_publisher() {
            return self.recover_watch(now, id, effects);
        }
        if self.is_settling(now, session) {
            return;
        }
        let published = self.published(session);
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.settles = None;
        if !session.is_multistream() {
            return self.refresh(now, id, effects);
        }
        let is_offered = matches!(session.negotiation, Negotiation::Offered { .. });
        if is_offered {
            // The answer will come, or the deadline.
            return self.sync_routes(id, &published, effects);
        }
        let candidates = candidates(&published);
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let Some(view) = session.view() else { return };
        let differs = !view.shows_exactly(&candidates);
        let mut news = Vec::new();
        if differs {
            // Who came and went while nobody looked.
            let shown = view.publishers();
            let is_there = |name: &str| published.iter().any(|one| one.id.as_str() == name);
            news.extend(
                shown
                    .iter()
                    .filter(|n| !is_there(n))
                    .map(|n| format!("PUB_LEFT {n}")),
            );
            let came = published
                .iter()
                .filter(|one| !one.tracks.is_empty() && !shown.contains(one.id.as_str()));
            news.extend(came.map(|one| format!("PUB_JOIN {}", one.id)));
        }
        let stale = session.stale;
        for text in news {
            self.say(id, text, effects);
        }
        if stale || differs {
            self.restage(now, id, effects);
        } else {
            self.sync_routes(id, &published, effects);
        }
    }

    /// A player's slots: one publisher fills them, the longest live that can or the one that was asked for.
    fn fill(&mut self, id: SessionId, effects: &mut Vec<Effect>) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        let published = self.published(session);
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let MediaState::Subscriber { view, from, .. } = &mut session.state.media else {
            return;
        };
        let before = view.clone();
        let wanted = |one: &&Published| one.is_wanted(from.as_deref());
        // The last resort empties the slots.
        let filled = published
            .iter()
            .filter(wanted)
            .any(|one| view.fill(&candidates(std::slice::from_ref(one))));
        if !filled {
            view.fill(&[]);
        }
        let changed = *view != before;
        self.sync_routes(id, &published, effects);
        if changed {
            self.save(id, effects);
        }
    }

    /// A control channel's subscriber: a new offer, now or when the last one is answered.
    pub(super) fn restage(&mut self, now: Instant, id: SessionId, effects: &mut Vec<Effect>) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.stale = true;
        if session.settles.is_some() {
            return;
        }
        let published = self.published_to(id);
        // What is gone is gone before the offer says so.
        self.sync_routes(id, &published, effects);
        self.offer(now, id, &published, effects);
    }

    fn offer(&mut self, now: Instant, id: SessionId, published: &[Published], effects: &mut Vec<Effect>) {
        let candidates = candidates(published);
        let Some(transport) = self.sessions.get(&id).and_then(|session| self.transport(session)) else {
            return;
        };
        let Self {
            sessions,
            entropy,
            timers,
            ..
        } = self;
        let Some(session) = sessions.get_mut(&id) else {
            return;
        };
        if !session.stale || !matches!(session.negotiation, Negotiation::Idle) {
            return;
        }
        let MediaState::Subscriber { view, offered, .. } = &mut session.state.media else {
            return;
        };
        *offered = true;
        session.stale = false;
        session.state.sdp_version += 1;
        let before = Box::new(view.clone());
        let (sdp_id, version) = (session.state.sdp_id, session.state.sdp_version);
        let mut shown = candidates.len();
        let sdp = loop {
            view.stage(&candidates[..shown], &mut || entropy.draw());
            let sdp = view.offer(&transport, sdp_id, version);
            if sdp.len() <= MAX_OFFER || shown == 0 {
                break sdp;
            }
            // More than a message holds: those who came last are left out.
            shown -= shown.div_ceil(16);
            view.clone_from(&before);
        };
        if shown < candidates.len() {
            let hidden = candidates.len() - shown;
            tracing::warn!(session = %id, shown, hidden, "more tracks than one offer can hold");
        }
        let deadline = now + ANSWER;
        session.negotiation = Negotiation::Offered {
            deadline,
            again: false,
            before,
        };
        timers.insert((deadline, id));
        self.sync_routes(id, published, effects);
        self.say_sdp(id, "SDP_OFFER", &sdp, effects);
        self.save(id, effects);
    }

    /// Says something on a control channel.
    pub(super) fn say(&self, id: SessionId, text: String, effects: &mut Vec<Effect>) {
        if let Some(session) = self.sessions.get(&id) {
            command(session.shard, control_text(id, text), effects);
        }
    }

    /// Says a verb and an SDP on a control channel. Both are made to fit; should they not, the peer hears nothing and
    /// deadlines decide, where a frame beyond its limit would cost all sessions the connection of their data plane.
    fn say_sdp(&self, id: SessionId, verb: &str, sdp: &str, effects: &mut Vec<Effect>) {
        let text = format!("{verb} {sdp}");
        if text.len() > limits::MAX_TEXT {
            tracing::warn!(session = %id, verb, bytes = text.len(), "an SDP that no message can hold");
            return;
        }
        self.say(id, text, effects);
    }

    fn send_offer(&self, id: SessionId, effects: &mut Vec<Effect>) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        let (MediaState::Subscriber { view, .. }, Some(transport)) =
            (&session.state.media, self.transport(session))
        else {
            return;
        };
        let sdp = view.offer(&transport, session.state.sdp_id, session.state.sdp_version);
        self.say_sdp(id, "SDP_OFFER", &sdp, effects);
    }

    /// An offer's deadline has come: it is made once more, then the session ends.
    pub(super) fn unanswered(&mut self, now: Instant, id: SessionId, effects: &mut Vec<Effect>) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let Negotiation::Offered { deadline, again, .. } = &mut session.negotiation else {
            return;
        };
        if *deadline > now {
            return;
        }
        if *again {
            return self.end(now, id, "unanswered-offer", Tell::Shard, effects);
        }
        *again = true;
        *deadline = now + ANSWER;
        self.timers.insert((*deadline, id));
        self.send_offer(id, effects);
    }

    /// Commands what differs between what is forwarded and what should be.
    fn sync_routes(&mut self, id: SessionId, published: &[Published], effects: &mut Vec<Effect>) {
        let candidates = candidates(published);
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let shard = session.shard;
        let Some(view) = session.view() else { return };
        let wanted = view.routes(id, &candidates);
        let stays: HashSet<RouteId> = wanted.iter().map(|route| route.route).collect();
        let mut gone: Vec<RouteId> = session
            .routes
            .keys()
            .filter(|route| !stays.contains(*route))
            .copied()
            .collect();
        gone.sort_unstable();
        for route in gone {
            session.routes.remove(&route);
            command(shard, Command::RemoveRoute { session: id, route }, effects);
        }
        for route in wanted {
            if session.routes.get(&route.route) != Some(&route) {
                session.routes.insert(route.route, route.clone());
                command(shard, Command::PutRoute(Box::new(route)), effects);
            }
        }
        self.tell_shown(id, effects);
    }

    /// Hands the signalling state to the data plane, for whoever comes after us.
    pub(super) fn save(&self, id: SessionId, effects: &mut Vec<Effect>) {
        if let Some(session) = self.sessions.get(&id) {
            let state = session.state.encode();
            if state.len() > limits::MAX_STATE {
                tracing::warn!(session = %id, bytes = state.len(), "a state that the data plane can't keep");
                return;
            }
            command(session.shard, Command::SetState { session: id, state }, effects);
        }
    }

    /// A message on a control channel.
    pub(super) fn text(&mut self, now: Instant, id: SessionId, text: &str, effects: &mut Vec<Effect>) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
        let understood = match (session.role(), verb) {
            (_, "STOP") => {
                self.end(now, id, "stopped", Tell::Shard, effects);
                return;
            }
            (Role::Publisher, "SDP_OFFER") => self.republish(now, id, rest, effects),
            (Role::Publisher, "SUBS") if matches!(rest, "ON" | "OFF") => {
                self.say(id, "OK".to_owned(), effects);
                self.watch_viewers(now, id, rest == "ON", effects);
                true
            }
            (Role::Subscriber, "SDP_ANSWER") => {
                self.answered(now, id, rest, effects);
                true
            }
            (Role::Subscriber, "SDP_OFFER") => self.glare(now, id, rest, effects),
            _ => false,
        };
        if !understood {
            self.say(id, "OK".to_owned(), effects);
        }
    }

    /// A publisher adds or removes tracks.
    fn republish(&mut self, now: Instant, id: SessionId, sdp: &str, effects: &mut Vec<Effect>) -> bool {
        let Some(session) = self.sessions.get(&id) else {
            return false;
        };
        let (Ok(offer), Some(transport)) = (session.offer(sdp), self.transport(session)) else {
            return false;
        };
        let Self {
            sessions, entropy, ..
        } = self;
        let Some(session) = sessions.get_mut(&id) else {
            return false;
        };
        let known = session.tracks().to_vec();
        let (sdp_id, version) = (session.state.sdp_id, session.state.sdp_version + 1);
        let max_bitrate = session.state.limits.max_bitrate;
        let mint = || entropy.draw();
        let Ok(made) = publish::answer(&offer, &transport, sdp_id, version, &known, max_bitrate, mint) else {
            return false;
        };
        let mut state = session.state.clone();
        state.sdp_version = version;
        if let MediaState::Publisher { tracks, .. } = &mut state.media {
            tracks.clone_from(&made.tracks);
        }
        if made.text.len() > MAX_OFFER || !state.fits() {
            return false;
        }
        let (shard, publisher) = (session.shard, session.state.id.clone());
        let receive = made.tracks.iter().map(PublishedTrack::receive).collect();
        let changed = made.tracks != known;
        session.state = state;
        let room = session.state.room.clone();
        let update = Command::UpdateReceive {
            session: id,
            receive,
            extensions: made.extensions,
        };
        let text = format!("SDP_ANSWER {}", made.text);
        session.renegotiated = vec![update, control_text(id, text)];
        for told in session.renegotiated.clone() {
            command(shard, told, effects);
        }
        self.save(id, effects);
        if changed {
            self.tell_published(id, effects);
            self.refresh_room(now, &room, &[publisher], effects);
        }
        true
    }

    /// A subscriber answered our offer. What can't be used counts as no answer: the deadline decides.
    fn answered(&mut self, now: Instant, id: SessionId, sdp: &str, effects: &mut Vec<Effect>) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let Negotiation::Offered { deadline, .. } = session.negotiation else {
            return;
        };
        let MediaState::Subscriber { view, offered, .. } = &mut session.state.media else {
            return;
        };
        let accepted = Description::parse(sdp)
            .map_err(|e| e.to_string())
            .and_then(|answer| view.accept(&answer));
        if let Err(error) = accepted {
            tracing::debug!(session = %id, %error, "an SDP_ANSWER that can't be used");
            return;
        }
        *offered = false;
        session.negotiation = Negotiation::Idle;
        self.timers.remove(&(deadline, id));
        let published = self.published_to(id);
        self.sync_routes(id, &published, effects);
        self.save(id, effects);
        self.offer(now, id, &published, effects);
    }

    /// A subscriber offers. If we do too, we yield (RFC 8829 §4.1.8): ours is taken back and made again.
    fn glare(&mut self, now: Instant, id: SessionId, sdp: &str, effects: &mut Vec<Effect>) -> bool {
        let Some(session) = self.sessions.get(&id) else {
            return false;
        };
        let (Ok(offer), Some(transport)) = (session.offer(sdp), self.transport(session)) else {
            return false;
        };
        let Some(session) = self.sessions.get_mut(&id) else {
            return false;
        };
        let mut stable: Option<(Instant, View)> = None;
        if let Negotiation::Offered { deadline, before, .. } = &session.negotiation {
            stable = Some((*deadline, (**before).clone()));
        }
        let (sdp_id, version) = (session.state.sdp_id, session.state.sdp_version + 1);
        let MediaState::Subscriber { view, offered, .. } = &mut session.state.media else {
            return false;
        };
        let mut agreed = stable
            .as_ref()
            .map_or_else(|| view.clone(), |(_, before)| before.clone());
        let Ok(answer) = agreed.answer_again(&offer, &transport, sdp_id, version) else {
            return false;
        };
        if answer.len() > MAX_OFFER || agreed.lines.len() > MAX_SECTIONS {
            return false;
        }
        *view = agreed;
        *offered = false;
        session.state.sdp_version = version;
        session.negotiation = Negotiation::Idle;
        session.stale |= stable.is_some();
        if let Some((deadline, _)) = stable {
            self.timers.remove(&(deadline, id));
        }
        self.say_sdp(id, "SDP_ANSWER", &answer, effects);
        let published = self.published_to(id);
        self.sync_routes(id, &published, effects);
        self.save(id, effects);
        self.offer(now, id, &published, effects);
        true
    }
}

fn control_text(session: SessionId, text: String) -> Command {
    Command::SendText {
        session,
        channel: ChannelLabel::Control,
        text,
    }
}
