//! What the control plane wants done.

use std::time::Instant;

use str0m::RtcConfig;
use weever_proto::{
    CloseReason, Command, Event, Extension, RELAY, Receive, Refusal, Role, RouteId, RouteSpec, SessionId,
    SessionSpec, WorkerId, limits,
};

use super::Worker;
use crate::demux::SessionKey;
use crate::egress::Egress;
use crate::forward::Route;
use crate::handover::Body;
use crate::receive::Receiver;
use crate::session::{Media, Session, Viewer, ViewerRoute};
use crate::track::{Origin, TrackKey};
use crate::transport::{Channel, Transport};

/// Why a command is refused.
type Refused = (Refusal, &'static str);

impl Worker {
    pub(super) fn carry_out(&mut self, now: Instant, command: Command, egress: &mut impl Egress) {
        match command {
            Command::CreateSession(spec) => self.create_session(now, *spec),
            Command::UpdateReceive {
                session,
                receive,
                extensions,
            } => {
                self.with(session, |worker, key| {
                    worker.update_receive(key, &receive, extensions)
                });
            }
            Command::RestartIce {
                session,
                local,
                remote,
            } => self.with(session, |worker, key| {
                if !worker.demux.add_ufrag(&local.ufrag, key) {
                    return Err((Refusal::Invalid, "its username fragment is another session's"));
                }
                let unused = worker
                    .session(key)
                    .and_then(|session| session.ice.restart(local, remote));
                if let Some(ufrag) = unused {
                    worker.demux.remove_ufrag(&ufrag, key);
                }
                Ok(())
            }),
            Command::PutRoute(spec) => {
                self.with(spec.session, |worker, key| worker.put_route(now, key, *spec));
                self.request_keyframes(now, egress);
            }
            Command::RemoveRoute { session, route } => self.with(session, |worker, key| {
                worker.remove_route(key, route);
                Ok(())
            }),
            Command::SendText {
                session,
                channel,
                text,
            } => {
                if let Some(key) = self.session_keys.get(&session).copied() {
                    self.say(now, key, channel, &text, egress);
                }
            }
            Command::Broadcast {
                sessions,
                channel,
                text,
            } => self.broadcast(now, sessions, channel, text),
            Command::SetState { session, state } => self.with(session, |worker, key| {
                if let Some(session) = worker.session(key) {
                    session.spec.state = state;
                }
                Ok(())
            }),
            Command::CloseSession { session } => match self.session_keys.get(&session).copied() {
                Some(key) => self.end(now, key, CloseReason::Requested, egress),
                None => {
                    let reason = CloseReason::Requested;
                    self.events.push_back(Event::SessionClosed { session, reason });
                }
            },
            Command::Drain => self.draining = true,
            // Before the taps are set up: `handle_command`.
            Command::Watch { .. } | Command::Unwatch { .. } => {}
        }
    }

    /// Runs `act` on a session, and says so when there is none or it refuses.
    fn with(&mut self, session: SessionId, act: impl FnOnce(&mut Self, SessionKey) -> Result<(), Refused>) {
        let outcome = match self.session_keys.get(&session).copied() {
            Some(key) => act(self, key),
            None => Err((Refusal::UnknownSession, "no such session")),
        };
        if let Err((reason, detail)) = outcome {
            self.events.push_back(Event::CommandRefused {
                session,
                reason,
                detail: detail.into(),
            });
        }
    }

    fn create_session(&mut self, now: Instant, spec: SessionSpec) {
        let session = spec.session;
        let outcome = match self.session_keys.contains_key(&session) {
            true => Ok(()),
            false => self.admit_session(&spec).map(|()| self.insert_session(now, spec)),
        };
        self.events.push_back(match outcome {
            Ok(()) => Event::SessionReady { session },
            Err((reason, detail)) => {
                self.refused += 1;
                Event::CommandRefused {
                    session,
                    reason,
                    detail: detail.into(),
                }
            }
        });
    }

    fn admit_session(&self, spec: &SessionSpec) -> Result<(), Refused> {
        if spec.worker != self.config.id {
            return Err((Refusal::UnknownWorker, "it names another worker"));
        }
        if self.draining {
            return Err((Refusal::Draining, "the data plane is being drained"));
        }
        if self.sessions.len() >= self.config.max_sessions {
            return Err((Refusal::Full, "the worker has no room for another session"));
        }
        if spec.role == Role::Subscriber && self.load.is_full() {
            return Err((Refusal::Full, "the worker's core is full"));
        }
        if self.demux.by_ufrag(&spec.local.ufrag).is_some() {
            return Err((Refusal::Invalid, "its username fragment is another session's"));
        }
        if has_duplicate_mid(&spec.receive) {
            return Err((Refusal::Invalid, "two m-lines have one mid"));
        }
        Ok(())
    }

    fn insert_session(&mut self, now: Instant, spec: SessionSpec) {
        let config = match spec.role {
            Role::Publisher => Receiver::configure(&spec.receive, &spec.extensions),
            Role::Subscriber => RtcConfig::new().clear_codecs().clear_extension_map(),
        };
        let identity = self.config.identity.clone();
        let channel = match spec.role {
            _ if !spec.data_channel => Channel::None,
            Role::Publisher => Channel::Small,
            Role::Subscriber => Channel::Large,
        };
        let mut transport =
            Transport::new(&identity, config, spec.dtls_role, &spec.fingerprint, channel, now);
        // Slab keys are dense; 2^32 sessions do not fit in memory.
        let key = SessionKey::try_from(self.sessions.vacant_key()).unwrap_or(SessionKey::MAX);
        let media = match spec.role {
            Role::Publisher => Media::Publisher(Receiver::new(
                &spec.receive,
                &spec.extensions,
                &mut transport,
                |receive| self.source_track(receive, key),
            )),
            Role::Subscriber => Media::Subscriber(Viewer::default()),
        };
        self.session_keys.insert(spec.session, key);
        self.demux.add_ufrag(&spec.local.ufrag, key);
        self.sessions.insert(Session::new(spec, transport, media, now));
        if self.senders.len() <= key as usize {
            self.senders.resize_with(key as usize + 1, || None);
        }
        self.arm(key);
    }

    /// The track of a publisher's m-line. Viewers may have been waiting for it.
    fn source_track(&mut self, receive: &Receive, publisher: SessionKey) -> TrackKey {
        let key = self.track_or_new(receive.track, receive.kind);
        let Some(track) = self.tracks.get_mut(key) else {
            return key;
        };
        match std::mem::replace(&mut track.origin, Origin::Session(publisher)) {
            Origin::Session(known) if known == publisher => return key,
            Origin::Sibling(worker) => self.unfollow_at(receive.track, worker),
            Origin::Session(_) | Origin::None => {}
        }
        self.offer(receive.track, Body::Offered(receive.kind));
        key
    }

    fn update_receive(
        &mut self,
        key: SessionKey,
        receive: &[Receive],
        extensions: Vec<Extension>,
    ) -> Result<(), Refused> {
        if has_duplicate_mid(receive) {
            return Err((Refusal::Invalid, "two m-lines have one mid"));
        }
        let tracks: Vec<TrackKey> = receive.iter().map(|spec| self.source_track(spec, key)).collect();
        let Some(session) = self.sessions.get_mut(key as usize) else {
            return Ok(());
        };
        let Media::Publisher(receiver) = &mut session.media else {
            return Err((Refusal::Invalid, "a subscriber sends nothing"));
        };
        let id = session.spec.session;
        let known = |spec: &Receive| {
            let position = receive.iter().position(|other| other.track == spec.track);
            position
                .and_then(|position| tracks.get(position).copied())
                .unwrap_or(TrackKey::MAX)
        };
        let ended = receiver.update(receive, &extensions, &mut session.transport, known);
        session.spec.receive = receive.to_vec();
        session.spec.extensions = extensions;
        for stream in ended {
            self.end_track(id, stream.spec.track, stream.track, stream.live);
        }
        Ok(())
    }

    fn put_route(&mut self, now: Instant, key: SessionKey, spec: RouteSpec) -> Result<(), Refused> {
        if spec.track_worker == RELAY && !self.config.relay {
            return Err((
                Refusal::Invalid,
                "its track is another data plane's, and this one has no relay",
            ));
        }
        let track = self.track_or_new(spec.track, spec.kind);
        self.follow_at(track, spec.track_worker, spec.kind);
        let Some(viewer) = self.sessions.get_mut(key as usize).and_then(Session::viewer) else {
            self.release_track(track);
            return Err((Refusal::Invalid, "a publisher receives nothing"));
        };
        let route = match viewer.position(spec.route) {
            None if viewer.routes.len() >= limits::MAX_ROUTES => {
                self.release_track(track);
                return Err((Refusal::Full, "the session has no room for another route"));
            }
            None => {
                let mut route = Route::new(&spec, key, fastrand::u16(..), now);
                if let Some(parked) = viewer.unpark(spec.ssrc) {
                    route.resume(parked);
                }
                route
            }
            Some(held) if viewer.routes[held].track == track => {
                let position = viewer.routes[held].position;
                viewer.routes[held].spec = spec.clone();
                if let Some(route) = self
                    .tracks
                    .get_mut(track)
                    .and_then(|t| t.routes.get_mut(position))
                {
                    route.describe(&spec);
                }
                return Ok(());
            }
            Some(held) => {
                let old = viewer.routes.swap_remove(held);
                let Some(mut route) = self.detach(old.track, old.position) else {
                    return Ok(());
                };
                self.release_track(old.track);
                route.describe(&spec);
                route.switch(now);
                route
            }
        };
        self.attach(key, track, spec, route);
        // Before its DTLS is done a keyframe would be lost on it, and the next one held up: `connected` asks then.
        if self.senders.get(key as usize).is_some_and(Option::is_some) {
            self.want_keyframe_for_new(track);
        }
        Ok(())
    }

    fn attach(&mut self, key: SessionKey, track: TrackKey, spec: RouteSpec, route: Route) {
        let Some(routes) = self.tracks.get_mut(track).map(|track| &mut track.routes) else {
            return;
        };
        let position = routes.len();
        routes.push(route);
        if let Some(viewer) = self.sessions.get_mut(key as usize).and_then(Session::viewer) {
            viewer.routes.push(ViewerRoute {
                spec,
                track,
                position,
            });
        }
    }

    /// Takes a route out of its track, and tells the one that moves into its place.
    pub(super) fn detach(&mut self, track: TrackKey, position: usize) -> Option<Route> {
        let routes = &mut self.tracks.get_mut(track)?.routes;
        if position >= routes.len() {
            return None;
        }
        let route = routes.swap_remove(position);
        if let Some(moved) = routes.get(position) {
            let (session, id) = (moved.session as usize, moved.cold.id);
            if let Some(viewer) = self.sessions.get_mut(session).and_then(Session::viewer)
                && let Some(held) = viewer.position(id)
            {
                viewer.routes[held].position = position;
            }
        }
        Some(route)
    }

    fn remove_route(&mut self, key: SessionKey, route: RouteId) {
        let Some(viewer) = self.sessions.get_mut(key as usize).and_then(Session::viewer) else {
            return;
        };
        let Some(held) = viewer.position(route) else {
            return;
        };
        let old = viewer.routes.swap_remove(held);
        let ended = self.detach(old.track, old.position);
        self.release_track(old.track);
        let viewer = self.sessions.get_mut(key as usize).and_then(Session::viewer);
        if let (Some(viewer), Some(route)) = (viewer, ended) {
            viewer.park(route.park());
        }
    }

    /// This worker's number.
    pub fn id(&self) -> WorkerId {
        self.config.id
    }
}

fn has_duplicate_mid(receive: &[Receive]) -> bool {
    receive
        .iter()
        .enumerate()
        .any(|(n, spec)| receive[..n].iter().any(|other| other.mid == spec.mid))
}
